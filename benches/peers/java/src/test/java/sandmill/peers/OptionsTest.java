package sandmill.peers;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;

import org.junit.jupiter.api.Test;

class OptionsTest {
    private static List<String> arguments(String kind, String... more) {
        List<String> arguments = new ArrayList<>(List.of(
            kind, "--brokers", "b:1", "--topic", "t", "--group", "g", "--records", "7"));
        arguments.addAll(List.of(more));
        return arguments;
    }

    private static String refusal(String kind, String... more) {
        return assertThrows(Options.Refused.class, () -> Options.of(arguments(kind, more))).getMessage();
    }

    @Test
    void whatIsGivenIsTakenAndWhatIsNotIsThePeersDefault() throws Exception {
        Options options = Options.of(arguments("parallel", "--workload", "wait", "--wait-ms", "0.5", "--batch", "20"));
        assertEquals(Options.Kind.PARALLEL, options.kind());
        assertEquals(Options.Workload.WAIT, options.workload());
        assertEquals(0.5, options.waitMillis());
        assertEquals(Options.Ordering.KEY, options.ordering());
        assertEquals(OptionalInt.of(20), options.batch());
        assertEquals(OptionalInt.empty(), options.buffer());
        assertEquals(5, options.lingerMillis());
        assertTrue(options.output().isEmpty());
    }

    @Test
    void aSelfCheckNeedsNothingElse() throws Exception {
        assertEquals(Path.of("f"), Options.of(List.of("plain", "--selfcheck", "f")).selfcheck().get());
        assertEquals(Path.of("f"), Options.of(List.of("--selfcheck", "f")).selfcheck().get());
    }

    @Test
    void whatCannotBeMeantIsRefusedWithItsName() {
        assertEquals("--workload is missing", refusal("plain"));
        assertEquals("the contender cannot be fast", refusal("fast"));
        assertEquals("--workload cannot be nop", refusal("plain", "--workload", "nop"));
        assertEquals("--speed is unknown", refusal("plain", "--speed", "9"));
        assertEquals("--batch is unknown or needs a value", refusal("parallel", "--workload", "noop", "--batch"));
        assertTrue(refusal("parallel", "--workload", "noop", "--batch", "0").startsWith("--batch should be a number"));
        assertEquals(
            "--output goes with --workload parse", refusal("plain", "--workload", "noop", "--output", "o"));
        assertEquals("--workload wait and --wait-ms go together", refusal("parallel", "--workload", "wait"));
        assertTrue(refusal("plain", "--workload", "noop", "--batch", "2").startsWith("plain has one thread"));
        assertTrue(refusal("plain", "--workload", "wait", "--wait-ms", "1").startsWith("plain has one thread"));
    }
}
