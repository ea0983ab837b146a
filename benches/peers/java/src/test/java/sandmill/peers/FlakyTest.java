package sandmill.peers;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;

import io.confluent.parallelconsumer.PCRetriableException;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.junit.jupiter.api.Test;

class FlakyTest {
    private static final List<String> ARGUMENTS = List.of(
        "--brokers", "b:1", "--input", "in", "--output", "out", "--dead", "dead", "--group", "g", "--in-flight", "4000",
        "--consumer", "session.timeout.ms=3000");

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static List<ProducerRecord<byte[], byte[]>> outputs(String value, int failures) throws Exception {
        ConsumerRecord<byte[], byte[]> record = new ConsumerRecord<>("in", 3, 7, bytes("k"), bytes(value));
        record.headers().add("n", bytes("12"));
        return new Flaky(Flaky.Settings.of(ARGUMENTS)).outputs(record, failures);
    }

    private static void assertGoesTo(String topic, String value, int failures) throws Exception {
        List<ProducerRecord<byte[], byte[]>> outputs = outputs(value, failures);
        assertEquals(1, outputs.size(), value);
        ProducerRecord<byte[], byte[]> output = outputs.get(0);
        assertEquals(topic, output.topic(), value);
        assertArrayEquals(bytes("k"), output.key());
        assertArrayEquals(bytes(value), output.value());
        assertArrayEquals(bytes("12"), output.headers().lastHeader("n").value());
    }

    @Test
    void whatSucceedsIsTheRecordUnchanged() throws Exception {
        assertGoesTo("out", "ok", 0);
        assertGoesTo("out", "else reject", 0);
        assertGoesTo("out", "wait:1", 0);
        assertGoesTo("out", "retry:2", 2);
        assertTrue(outputs("done and more", 0).isEmpty());
    }

    @Test
    void whatFailsIsTriedAgainAndThenADeadLetter() throws Exception {
        for (int failures = 0; failures < 3; failures++) {
            int times = failures;
            assertThrows(PCRetriableException.class, () -> outputs("trap", times));
            assertThrows(PCRetriableException.class, () -> outputs("retry:9", times));
        }
        assertThrows(PCRetriableException.class, () -> outputs("retry:2", 1));
        assertGoesTo("dead", "trap", 3);
        assertGoesTo("dead", "retry:9", 3);
        assertGoesTo("dead", "reject and more", 0);
        assertGoesTo("dead", "retry:x", 0);
        assertGoesTo("dead", "wait:-1", 0);
        assertArrayEquals(bytes("7"), outputs("reject", 0).get(0).headers().lastHeader("dlt-offset").value());
    }

    @Test
    void pausesGrowToTheirBound() {
        assertEquals(Duration.ofMillis(4), Flaky.pause(1));
        assertEquals(Duration.ofMillis(20), Flaky.pause(5));
        assertEquals(Duration.ofMillis(20), Flaky.pause(1_000));
    }

    @Test
    void theCommandLineIsReadAndWhatIsWrongIsNamed() throws Exception {
        Flaky.Settings settings = Flaky.Settings.of(ARGUMENTS);
        assertEquals(4_000, settings.inFlight());
        assertEquals(Map.of("session.timeout.ms", "3000"), settings.consumer());
        List<String> more = new ArrayList<>(ARGUMENTS);
        more.addAll(List.of("--speed", "9"));
        assertEquals("--speed is unknown", refusal(more));
        assertEquals("--group is missing", refusal(List.of("--brokers", "b", "--input", "i", "--output", "o", "--dead", "d")));
        assertEquals("--consumer should be KEY=VALUE, not x", refusal(List.of("--consumer", "x")));
    }

    private static String refusal(List<String> arguments) {
        return assertThrows(Options.Refused.class, () -> Flaky.Settings.of(arguments)).getMessage();
    }
}
