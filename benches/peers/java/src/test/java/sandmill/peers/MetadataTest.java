package sandmill.peers;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.stream.Collectors;
import java.util.stream.LongStream;

import org.junit.jupiter.api.Test;

class MetadataTest {
    @Test
    void nothingUnfinishedTellsNothing() {
        assertEquals(new Metadata.Written(0, ""), Metadata.written("100 200"));
    }

    @Test
    void theEncoderThatIsShortestIsNamed() {
        assertTrue(Metadata.written("100 10100 100-101").encoding().startsWith("RunLength"));
        String alternating = LongStream.range(0, 500)
            .mapToObj(each -> (100 + 2 * each) + "-" + (101 + 2 * each))
            .collect(Collectors.joining(" ", "100 1100 ", ""));
        assertTrue(Metadata.written(alternating).encoding().startsWith("BitSet"), Metadata.written(alternating).json());
    }

    @Test
    void eachLineGetsALine() throws Exception {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        byte[] lines = "100 200\n100 110 100-101\n".getBytes(StandardCharsets.US_ASCII);
        Metadata.run(new ByteArrayInputStream(lines), new PrintStream(out, true, StandardCharsets.US_ASCII));
        String[] answers = out.toString(StandardCharsets.US_ASCII).split("\n");
        assertEquals(2, answers.length);
        assertEquals("{\"chars\":0,\"encoding\":\"\"}", answers[0]);
        assertTrue(answers[1].matches("\\{\"chars\":\\d+,\"encoding\":\"\\w+\"}"), answers[1]);
    }
}
