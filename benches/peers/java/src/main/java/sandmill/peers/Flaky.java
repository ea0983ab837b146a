package sandmill.peers;

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.Set;

import io.confluent.parallelconsumer.PCRetriableException;
import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import io.confluent.parallelconsumer.PollContext;
import io.confluent.parallelconsumer.RecordContext;
import org.apache.kafka.clients.consumer.CloseOptions;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * The handler {@code flaky} as a service on the Parallel Consumer, for runs in which processes and brokers die.
 *
 * <p>It is what its README describes: {@code pollAndProduceMany}, whose record counts as done when all that the
 * function gave is acknowledged, dead letters among it; order by key; the commit mode that is its default and that
 * the README suggests to start with ({@code PERIODIC_CONSUMER_ASYNCHRONOUS}); an idempotent producer; a retry
 * delay that grows. A failure of the whole is for whoever supervises the process: it says why and ends with 1.
 * SIGTERM drains ({@code closeDrainFirst}) and ends with 0, or with 1 where that fails.
 */
final class Flaky {
    static final String USAGE =
        "flaky --brokers HOST:PORT --input T --output T --dead T --group G --in-flight N [--consumer KEY=VALUE]…";

    /** Retries of a record that fails, before it is a dead letter: as the host's job has it. */
    private static final int RETRIES = 3;
    /** Pauses before retries, as the host's job has them; the default is one second, always. */
    private static final int FIRST_PAUSE_MS = 2;
    private static final int LONGEST_PAUSE_MS = 20;
    /** The README's figure, and a thread for each key: a key whose broker is away holds up no other. */
    private static final int CONCURRENCY = 1_000;
    /** The host's interval; the default of 5 s would repeat ten times as much after a crash. */
    private static final Duration COMMIT_EVERY = Duration.ofMillis(500);
    /** The producer's default. */
    private static final int DELIVERY_MS = 120_000;
    /** A little longer, so that the producer decides: a call given up before would be made twice. */
    private static final Duration SEND_TIMEOUT = Duration.ofMillis(DELIVERY_MS + 10_000);
    private static final Duration LOOK_EVERY = Duration.ofMillis(100);
    private static final Duration LEAVE = Duration.ofSeconds(5);

    private final Settings settings;
    /** Set when the process was told to end: then the library ends because we say so. */
    private volatile boolean leaving;

    /** The command line. */
    record Settings(
        String brokers, String input, String output, String dead, String group, int inFlight,
        Map<String, String> consumer) {

        static Settings of(List<String> arguments) throws Options.Refused {
            Map<String, String> given = new HashMap<>();
            Map<String, String> consumer = new HashMap<>();
            for (Iterator<String> rest = arguments.iterator(); rest.hasNext();) {
                String option = rest.next();
                if (!rest.hasNext()) {
                    throw new Options.Refused(option + " is unknown or needs a value");
                }
                String value = rest.next();
                if (!option.equals("--consumer")) {
                    given.put(option, value);
                    continue;
                }
                int equals = value.indexOf('=');
                if (equals < 1) {
                    throw new Options.Refused("--consumer should be KEY=VALUE, not " + value);
                }
                consumer.put(value.substring(0, equals), value.substring(equals + 1));
            }
            Settings settings = new Settings(
                taken(given, "--brokers"), taken(given, "--input"), taken(given, "--output"), taken(given, "--dead"),
                taken(given, "--group"), number(taken(given, "--in-flight")), consumer);
            for (String unknown : given.keySet()) {
                throw new Options.Refused(unknown + " is unknown");
            }
            return settings;
        }

        private static String taken(Map<String, String> given, String option) throws Options.Refused {
            String value = given.remove(option);
            if (value == null) {
                throw new Options.Refused(option + " is missing");
            }
            return value;
        }

        private static int number(String text) throws Options.Refused {
            try {
                int number = Integer.parseInt(text);
                if (number > 0) {
                    return number;
                }
            } catch (NumberFormatException none) {
                // The same as out of range.
            }
            throw new Options.Refused("--in-flight should be a number above 0, not " + text);
        }
    }

    /** Fails a record for this time; the library logs no stack of it. */
    private static final class Again extends PCRetriableException {
        private static final long serialVersionUID = 1L;

        Again(String message) {
            super(message);
        }
    }

    Flaky(Settings settings) {
        this.settings = settings;
    }

    /** Of all that it stands on. */
    static String versions() {
        Map<String, Object> details = Clients.details(0);
        return "Parallel Consumer " + Clients.version(Parallel.VERSION_FILE) + ", Kafka client " + details.get("client")
            + ", Java " + details.get("jvm");
    }

    /** Runs until the process is told to end, or the library gives up; gives the exit code of the latter. */
    int run(PrintStream out, PrintStream err) throws InterruptedException {
        KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(consumer());
        ParallelStreamProcessor<byte[], byte[]> parallel = ParallelStreamProcessor.createEosStreamProcessor(
            ParallelConsumerOptions.<byte[], byte[]>builder()
                .consumer(consumer)
                .producer(new KafkaProducer<>(producer()))
                .ordering(ProcessingOrder.KEY)
                .maxConcurrency(CONCURRENCY)
                .messageBufferSize(settings.inFlight())
                .commitInterval(COMMIT_EVERY)
                .sendTimeout(SEND_TIMEOUT)
                .retryDelayProvider(record -> pause(record.getNumberOfFailedAttempts()))
                .build());
        parallel.subscribe(Set.of(settings.input()));
        parallel.pollAndProduceMany(this::outputs);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            if (!parallel.isClosedOrFailed()) {
                leaving = true;
                Runtime.getRuntime().halt(drain(parallel, err));
            }
        }));
        out.println("running");
        out.flush();
        while (!parallel.isClosedOrFailed()) {
            Thread.sleep(LOOK_EVERY.toMillis());
        }
        while (leaving) {
            // The hook ends the process.
            Thread.sleep(LOOK_EVERY.toMillis());
        }
        err.println("the Parallel Consumer ended by itself");
        try {
            // It throws why.
            parallel.close();
        } catch (Exception cause) {
            cause.printStackTrace(err);
        }
        try {
            // It may have left it open, and its partitions would wait for the session to end.
            consumer.close(CloseOptions.timeout(LEAVE));
        } catch (RuntimeException cause) {
            err.println("the consumer cannot be closed: " + cause);
        }
        err.flush();
        return 1;
    }

    private static int drain(ParallelStreamProcessor<byte[], byte[]> parallel, PrintStream err) {
        try {
            parallel.closeDrainFirst();
            return 0;
        } catch (Exception cause) {
            cause.printStackTrace(err);
            err.flush();
            return 1;
        }
    }

    static Duration pause(int failures) {
        return Duration.ofMillis(Math.min(LONGEST_PAUSE_MS, (long) FIRST_PAUSE_MS << Math.min(failures, 10)));
    }

    /** The user's function: what it gives is acknowledged before the record counts as done. */
    private List<ProducerRecord<byte[], byte[]>> outputs(PollContext<byte[], byte[]> call) {
        RecordContext<byte[], byte[]> context = call.getSingleRecord();
        return outputs(context.getConsumerRecord(), context.getNumberOfFailedAttempts());
    }

    /** What a record gives that failed so often before; an exception fails it once more. */
    List<ProducerRecord<byte[], byte[]>> outputs(ConsumerRecord<byte[], byte[]> record, int failures) {
        Order order = Order.of(record.value());
        switch (order.what()) {
            case DONE -> {
                return List.of();
            }
            case REJECT -> {
                return List.of(deadLetter(record, failures, "rejected"));
            }
            case TRAP -> {
                return failed(record, failures, "the value asks for a failure");
            }
            case RETRY -> {
                if (failures < order.number()) {
                    return failed(record, failures, "attempt " + (failures + 1) + " of those that fail");
                }
            }
            case WAIT -> {
                try {
                    Thread.sleep(order.number());
                } catch (InterruptedException closing) {
                    Thread.currentThread().interrupt();
                    throw new Again("interrupted");
                }
            }
            case EMIT -> { }
        }
        return List.of(new ProducerRecord<>(
            settings.output(), null, null, record.key(), record.value(), new RecordHeaders(record.headers().toArray())));
    }

    private List<ProducerRecord<byte[], byte[]>> failed(
        ConsumerRecord<byte[], byte[]> record, int failures, String why) {
        if (failures < RETRIES) {
            throw new Again(why);
        }
        return List.of(deadLetter(record, failures, why));
    }

    /** The original, with where it comes from and why. */
    private ProducerRecord<byte[], byte[]> deadLetter(
        ConsumerRecord<byte[], byte[]> record, int failures, String why) {
        Headers headers = new RecordHeaders(record.headers().toArray());
        Map<String, Object> story = Map.of(
            "dlt-topic", record.topic(), "dlt-partition", record.partition(), "dlt-offset", record.offset(),
            "dlt-attempts", failures + 1, "dlt-message", why);
        story.forEach((name, value) -> headers.add(name, value.toString().getBytes(StandardCharsets.UTF_8)));
        return new ProducerRecord<>(settings.dead(), null, null, record.key(), record.value(), headers);
    }

    private Map<String, Object> consumer() {
        Map<String, Object> consumer = new HashMap<>();
        consumer.put(ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, settings.brokers());
        consumer.put(ConsumerConfig.GROUP_ID_CONFIG, settings.group());
        consumer.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false);
        // The default, latest, loses what a new group has not read yet.
        consumer.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        // The host's; the client's default takes all partitions from all members whenever one comes or goes.
        consumer.put(
            ConsumerConfig.PARTITION_ASSIGNMENT_STRATEGY_CONFIG, CooperativeStickyAssignor.class.getName());
        consumer.put(ConsumerConfig.KEY_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
        consumer.put(ConsumerConfig.VALUE_DESERIALIZER_CLASS_CONFIG, ByteArrayDeserializer.class);
        consumer.putAll(settings.consumer());
        return consumer;
    }

    private Map<String, Object> producer() {
        Map<String, Object> producer = new HashMap<>();
        producer.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, settings.brokers());
        producer.put(ProducerConfig.ACKS_CONFIG, "all");
        producer.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true);
        producer.put(ProducerConfig.DELIVERY_TIMEOUT_MS_CONFIG, DELIVERY_MS);
        // Each call waits for its output: to wait for more would delay the next record of its key.
        producer.put(ProducerConfig.LINGER_MS_CONFIG, 0);
        producer.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class);
        producer.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, ByteArraySerializer.class);
        return producer;
    }
}
