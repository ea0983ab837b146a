package sandmill.peers;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;
import org.junit.jupiter.api.Test;

class CommittableTest {
    private static final TopicPartition FIRST = new TopicPartition("t", 0);
    private static final TopicPartition SECOND = new TopicPartition("t", 1);

    private final List<Long> finished = new ArrayList<>();
    private final List<Exception> failed = new ArrayList<>();
    private final Committable committable = new Committable(finished::add, failed::add);

    private static void acknowledge(Committable.Chunk chunk, int outputs) {
        for (int output = 0; output < outputs; output++) {
            chunk.onCompletion(null, null);
        }
    }

    @Test
    void nothingIsCommittedPastAnOutputThatIsNotAcknowledged() {
        Committable.Chunk early = committable.begin(FIRST, 10, 3);
        Committable.Chunk late = committable.begin(FIRST, 20, 2);
        Committable.Chunk other = committable.begin(SECOND, 5, 1);
        acknowledge(late, 2);
        acknowledge(early, 2);
        assertFalse(committable.moved());
        acknowledge(other, 1);
        assertTrue(committable.moved());
        assertEquals(Map.of(SECOND, new OffsetAndMetadata(5)), committable.offsets());
        acknowledge(early, 1);
        assertTrue(committable.moved());
        assertEquals(
            Map.of(FIRST, new OffsetAndMetadata(20), SECOND, new OffsetAndMetadata(5)), committable.offsets());
        assertEquals(List.of(2L, 1L, 3L), finished);
        assertFalse(committable.moved());
    }

    @Test
    void anOutputThatFailedIsNeverCommitted() {
        Committable.Chunk chunk = committable.begin(FIRST, 10, 2);
        Exception refused = new IllegalArgumentException("too large");
        chunk.onCompletion(null, refused);
        acknowledge(chunk, 1);
        assertFalse(committable.moved());
        assertEquals(List.of(refused), failed);
        assertTrue(finished.isEmpty());
    }

    @Test
    void recordsWithoutOutputsAreFinishedAtOnce() {
        committable.finished(FIRST, 7, 7);
        assertTrue(committable.moved());
        assertEquals(Map.of(FIRST, new OffsetAndMetadata(7)), committable.offsets());
        assertEquals(List.of(7L), finished);
    }
}
