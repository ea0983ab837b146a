package sandmill.peers;

import java.util.HashMap;
import java.util.Map;

import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerInterceptor;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.common.TopicPartition;

/**
 * Sees when the broker has acknowledged the last commit of a topic, where somebody else's code commits.
 *
 * <p>The client calls an interceptor behind each acknowledged commit. It makes the interceptor itself and gives
 * it the consumer's settings: among them stands the instance that wants to know.
 */
final class Commits {
    private static final String SETTING = "sandmill.commits";

    private final Topic topic;
    private final Map<TopicPartition, OffsetAndMetadata> committed = new HashMap<>();
    private long completeNanos;
    private long completeUnixMicros;

    Commits(Topic topic) {
        this.topic = topic;
    }

    void watch(Map<String, Object> consumer) {
        consumer.put(ConsumerConfig.INTERCEPTOR_CLASSES_CONFIG, Interceptor.class.getName());
        consumer.put(SETTING, this);
    }

    /** When everything was committed, as {@link System#nanoTime}. */
    synchronized long completeNanos() {
        check();
        return completeNanos;
    }

    /** When everything was committed, in microseconds since 1970. */
    synchronized long completeUnixMicros() {
        check();
        return completeUnixMicros;
    }

    private void check() {
        if (completeUnixMicros == 0) {
            throw new IllegalStateException(
                topic.name() + " was not committed to its end " + topic.ends() + " but to " + committed);
        }
    }

    private synchronized void acknowledged(Map<TopicPartition, OffsetAndMetadata> offsets) {
        committed.putAll(offsets);
        if (completeUnixMicros == 0 && topic.uncommitted(committed).isEmpty()) {
            completeNanos = System.nanoTime();
            completeUnixMicros = Report.unixMicros();
        }
    }

    /** What the client makes. */
    public static final class Interceptor implements ConsumerInterceptor<Object, Object> {
        private Commits commits;

        @Override
        public void configure(Map<String, ?> settings) {
            commits = (Commits) settings.get(SETTING);
        }

        @Override
        public ConsumerRecords<Object, Object> onConsume(ConsumerRecords<Object, Object> records) {
            return records;
        }

        @Override
        public void onCommit(Map<TopicPartition, OffsetAndMetadata> offsets) {
            commits.acknowledged(offsets);
        }

        @Override
        public void close() {
            // Nothing is held.
        }
    }
}
