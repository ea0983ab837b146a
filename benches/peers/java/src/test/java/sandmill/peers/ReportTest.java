package sandmill.peers;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

import org.junit.jupiter.api.Test;

class ReportTest {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final Report report = new Report(new PrintStream(out, false, UTF_8), 100);

    @Test
    void theFirstRecordIsSaidOnceAndTheEndWithAllItsNumbers() {
        report.first();
        report.first();
        report.finish(60);
        assertEquals(100, report.finish(40));
        Map<String, Object> details = new LinkedHashMap<>();
        details.put("jvm_flags", List.of("-Xmx1g", "-Da=\"b\\\n"));
        details.put("jvm", 17);
        report.done(5, 12_345, new TreeMap<>(Map.of(0, 60L, 1, 40L)), details);
        List<String> lines = out.toString(UTF_8).lines().toList();
        assertEquals(2, lines.size());
        assertTrue(lines.get(0).matches("\\{\"event\":\"first\",\"unix_us\":1[0-9]{15}}"), lines.get(0));
        assertEquals(
            "{\"event\":\"done\",\"unix_us\":5,\"records\":100,\"bytes\":12345,\"where\":{\"0\":60,\"1\":40},"
                + "\"details\":{\"jvm_flags\":[\"-Xmx1g\",\"-Da=\\\"b\\\\\\u000a\"],\"jvm\":17}}",
            lines.get(1));
    }

    @Test
    void theSecondHalfBeginsWhereTheMiddleIsPassed() {
        report.finish(49);
        assertEquals(0, report.secondHalfRate(System.nanoTime()));
        report.finish(11);
        long passed = System.nanoTime();
        report.finish(40);
        double rate = report.secondHalfRate(passed + 1_000_000_000L);
        assertTrue(rate > 20 && rate <= 40, () -> "40 records in at least a second: " + rate);
    }

    @Test
    void nothingIsAnEmptyObjectAndAnEmptyList() {
        assertEquals("{\"a\":[],\"b\":{}}", Report.json(new TreeMap<>(Map.of("a", List.of(), "b", Map.of()))));
    }
}
