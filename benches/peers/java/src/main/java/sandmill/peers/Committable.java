package sandmill.peers;

import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import java.util.function.LongConsumer;

import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.Callback;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;

/**
 * How far each partition may be committed: never past a record whose output is not acknowledged.
 *
 * <p>It belongs to the thread that polls. Only a {@link Chunk} is told from the producer's thread.
 */
final class Committable {
    private final LongConsumer finish;
    private final Consumer<Exception> fail;
    /** By partition, the oldest first. */
    private final Map<TopicPartition, ArrayDeque<Chunk>> open = new HashMap<>();
    private final Map<TopicPartition, OffsetAndMetadata> finished = new HashMap<>();
    private boolean moved;

    /**
     * @param finish is told how many more records are finished, from the producer's thread too
     * @param fail is told why an output failed, from the producer's thread
     */
    Committable(LongConsumer finish, Consumer<Exception> fail) {
        this.finish = finish;
        this.fail = fail;
    }

    /** So many records in front of {@code next} are finished: they have no outputs. */
    void finished(TopicPartition partition, long next, int records) {
        move(partition, next);
        finish.accept(records);
    }

    /** So many records in front of {@code next} are begun, and each will have one output. */
    Chunk begin(TopicPartition partition, long next, int records) {
        Chunk chunk = new Chunk(next, records);
        open.computeIfAbsent(partition, none -> new ArrayDeque<>()).add(chunk);
        return chunk;
    }

    /** Whether more can be committed than at the last call. */
    boolean moved() {
        open.forEach((partition, chunks) -> {
            while (!chunks.isEmpty() && chunks.peek().open.get() == 0) {
                move(partition, chunks.poll().next);
            }
        });
        boolean since = moved;
        moved = false;
        return since;
    }

    /** The next offset of each partition as of the last call of {@link #moved}. */
    Map<TopicPartition, OffsetAndMetadata> offsets() {
        return Map.copyOf(finished);
    }

    private void move(TopicPartition partition, long next) {
        finished.put(partition, new OffsetAndMetadata(next));
        moved = true;
    }

    /** What one poll gave of one partition: one callback serves all its outputs. */
    final class Chunk implements Callback {
        private final long next;
        private final int records;
        private final AtomicInteger open;

        private Chunk(long next, int records) {
            this.next = next;
            this.records = records;
            this.open = new AtomicInteger(records);
        }

        @Override
        public void onCompletion(RecordMetadata metadata, Exception exception) {
            if (exception != null) {
                fail.accept(exception);
            } else if (open.decrementAndGet() == 0) {
                finish.accept(records);
            }
        }
    }
}
