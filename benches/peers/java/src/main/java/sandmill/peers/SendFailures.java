package sandmill.peers;

import java.util.Map;
import java.util.function.Consumer;

import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerInterceptor;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;

/** Sees why an output failed, where somebody else's code sends it and would only try again. */
public final class SendFailures implements ProducerInterceptor<byte[], byte[]> {
    private static final String SETTING = "sandmill.send-failures";

    private Consumer<Exception> fail;

    /** Has {@code fail} told by the producer that will be made with these settings. */
    static void watch(Map<String, Object> producer, Consumer<Exception> fail) {
        producer.put(ProducerConfig.INTERCEPTOR_CLASSES_CONFIG, SendFailures.class.getName());
        producer.put(SETTING, fail);
    }

    @Override
    @SuppressWarnings("unchecked")
    public void configure(Map<String, ?> settings) {
        fail = (Consumer<Exception>) settings.get(SETTING);
    }

    @Override
    public ProducerRecord<byte[], byte[]> onSend(ProducerRecord<byte[], byte[]> output) {
        return output;
    }

    @Override
    public void onAcknowledgement(RecordMetadata metadata, Exception exception) {
        if (exception != null) {
            fail.accept(exception);
        }
    }

    @Override
    public void close() {
        // Nothing is held.
    }
}
