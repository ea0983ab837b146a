package sandmill.peers;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashMap;
import java.util.Map;

import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.junit.jupiter.api.Test;

class CommitsTest {
    /** The third partition holds nothing any more. */
    private static final Topic TOPIC = new Topic("t", Map.of(0, 0L, 1, 5L, 2, 9L), Map.of(0, 10L, 1, 20L, 2, 9L));

    private static Map<TopicPartition, OffsetAndMetadata> offsets(int partition, long offset) {
        return Map.of(new TopicPartition("t", partition), new OffsetAndMetadata(offset));
    }

    @Test
    void theClockEndsWithTheFirstCommitThatMakesAllPartitionsComplete() {
        Commits commits = new Commits(TOPIC);
        Map<String, Object> settings = new HashMap<>();
        commits.watch(settings);
        Commits.Interceptor interceptor = new Commits.Interceptor();
        interceptor.configure(settings);
        interceptor.onCommit(offsets(1, 20));
        interceptor.onCommit(offsets(0, 9));
        String stands = assertThrows(IllegalStateException.class, commits::completeUnixMicros).getMessage();
        assertTrue(stands.startsWith("t was not committed to its end"), stands);
        interceptor.onCommit(offsets(0, 10));
        long complete = commits.completeNanos();
        interceptor.onCommit(offsets(0, 10));
        assertEquals(complete, commits.completeNanos());
    }
}
