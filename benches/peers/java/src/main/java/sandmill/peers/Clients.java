package sandmill.peers;

import java.io.IOException;
import java.io.InputStream;
import java.lang.management.ManagementFactory;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;

import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The settings that both contenders share, the same as those of every other contender where it has them. */
final class Clients {
    /** How often progress is committed. */
    static final long COMMIT_EVERY_MS = 500;
    /** A poll has a price of its own; the Parallel Consumer is as fast with the default of 500. */
    private static final int POLL_RECORDS = 2_000;
    /** 16 KiB, the default, halved the rate of a plain loop with outputs of 340 bytes; 1 MiB gave no more. */
    private static final int BATCH_BYTES = 512 << 10;
    /** A broker that takes nothing for so long ends the run. */
    private static final int DELIVERY_MS = 60_000;

    private Clients() {}

    static Map<String, Object> consumer(Options options, Class<?> deserializer) {
        Map<String, Object> settings = new HashMap<>();
        settings.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, options.brokers());
        settings.put(ConsumerConfig.GROUP_ID_CONFIG, options.group());
        settings.put(ConsumerConfig.GROUP_PROTOCOL_CONFIG, "classic");
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        settings.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
        settings.put(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG, 100);
        settings.put(ConsumerConfig.MAX_PARTITION_FETCH_BYTES_CONFIG, 1 << 20);
        settings.put(ConsumerConfig.FETCH_MAX_BYTES_CONFIG, 64 << 20);
        settings.put(ConsumerConfig.MAX_POLL_RECORDS_CONFIG, POLL_RECORDS);
        settings.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, deserializer);
        settings.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, deserializer);
        return settings;
    }

    static Map<String, Object> producer(Options options) {
        Map<String, Object> settings = new HashMap<>();
        settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, options.brokers());
        settings.put(ProducerConfig.ACKS_CONFIG, "all");
        settings.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true);
        settings.put(ProducerConfig.COMPRESSION_TYPE_CONFIG, "none");
        settings.put(ProducerConfig.LINGER_MS_CONFIG, options.lingerMillis());
        settings.put(ProducerConfig.BATCH_SIZE_CONFIG, BATCH_BYTES);
        settings.put(ProducerConfig.DELIVERY_TIMEOUT_MS_CONFIG, DELIVERY_MS);
        settings.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class);
        settings.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class);
        return settings;
    }

    /** For a record that is no line of a log. */
    static IllegalStateException unreadable(ConsumerRecord<?, ?> record, String problem) {
        return new IllegalStateException(
            record.topic() + " [" + record.partition() + "] at offset " + record.offset() + ": " + problem);
    }

    /** The version that a library's own file names. */
    static String version(String resource) {
        try (InputStream file = Clients.class.getResourceAsStream(resource)) {
            Properties properties = new Properties();
            if (file != null) {
                properties.load(file);
            }
            return properties.getProperty("version", "unknown");
        } catch (IOException unreadable) {
            throw new IllegalStateException(resource + " cannot be read", unreadable);
        }
    }

    /** What stands beside every result: versions, memory, and the rate when the JVM is warm. */
    static Map<String, Object> details(double secondHalfRate) {
        Map<String, Object> details = new LinkedHashMap<>();
        details.put("second_half_records_per_second", Math.round(secondHalfRate));
        details.put("jvm", Runtime.version().toString());
        details.put("client", version("/kafka/kafka-version.properties"));
        details.put("heap_max_bytes", Runtime.getRuntime().maxMemory());
        details.put("jvm_flags", ManagementFactory.getRuntimeMXBean().getInputArguments());
        return details;
    }
}
