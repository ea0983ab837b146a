package sandmill.peers;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.atomic.LongAdder;
import java.util.concurrent.locks.LockSupport;

import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.ParallelEoSStreamProcessor;
import io.confluent.parallelconsumer.PollContext;
import io.confluent.parallelconsumer.RecordContext;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Confluent's Parallel Consumer: it polls, keeps the order and commits; the functions here are its user's.
 *
 * <p>It commits asynchronously, which is its default, but as often as the others. Outputs go through its
 * {@code pollAndProduceMany}, which sends what a call gives and waits in that call's thread until all is
 * acknowledged; a function that sends and waits by itself was measured and is no faster.
 *
 * <p>When all records are finished it is closed at once, so that the last commit does not wait for its turn.
 */
final class Parallel implements Contender {
    private static final Duration COMMIT_EVERY = Duration.ofMillis(Clients.COMMIT_EVERY_MS);
    static final String VERSION_FILE =
        "/META-INF/maven/io.confluent.parallelconsumer/parallel-consumer-core/pom.properties";
    /** Where the sums of all bytes go, so that no compiler can leave the reading out. */
    private static volatile long sink;

    private final Options options;
    private final Report report;
    private final CountDownLatch finished = new CountDownLatch(1);
    /** Why the work or an output failed, from whatever thread. */
    private final AtomicReference<Exception> failure = new AtomicReference<>();
    /** Null without outputs. */
    private final KafkaProducer<byte[], byte[]> producer;
    private final ThreadLocal<LineToJson> linesToJson = ThreadLocal.withInitial(LineToJson::new);
    private final LongAdder bytes = new LongAdder();

    Parallel(Options options, Report report) {
        this.options = options;
        this.report = report;
        if (options.output().isPresent()) {
            Map<String, Object> settings = Clients.producer(options);
            SendFailures.watch(settings, this::fail);
            this.producer = new KafkaProducer<>(settings);
        } else {
            this.producer = null;
        }
    }

    @Override
    public void run() throws Exception {
        try (Admin admin = Topic.admin(options.brokers())) {
            Topic topic = Topic.look(admin, options.topic(), options.records());
            Commits commits = new Commits(topic);
            Map<String, Object> settings = Clients.consumer(options, ByteArrayDeserializer.class);
            commits.watch(settings);
            ParallelConsumerOptions<byte[], byte[]> tuned = tuned(new KafkaConsumer<>(settings));
            ParallelEoSStreamProcessor<byte[], byte[]> parallel = new ParallelEoSStreamProcessor<>(tuned);
            parallel.subscribe(Set.of(topic.name()));
            if (producer == null) {
                parallel.poll(this::take);
            } else {
                parallel.pollAndProduceMany(this::outputs, acknowledged -> finish(1));
            }
            await(parallel);
            parallel.closeDrainFirst();
            topic.checkCommitted(admin, options.group());
            Map<String, Object> details = Clients.details(report.secondHalfRate(commits.completeNanos()));
            details.put("parallel_consumer", Clients.version(VERSION_FILE));
            details.put("concurrency", tuned.getMaxConcurrency());
            details.put("batch", tuned.getBatchSize());
            report.done(commits.completeUnixMicros(), bytes.sum(), topic.ends(), details);
        }
    }

    @Override
    public void leave() {
        if (producer != null) {
            producer.close();
        }
    }

    private ParallelConsumerOptions<byte[], byte[]> tuned(KafkaConsumer<byte[], byte[]> consumer) {
        var tuned = ParallelConsumerOptions.<byte[], byte[]>builder()
            .consumer(consumer)
            .producer(producer)
            .ordering(ProcessingOrder.valueOf(options.ordering().name()))
            .commitInterval(COMMIT_EVERY);
        options.batch().ifPresent(tuned::batchSize);
        options.buffer().ifPresent(tuned::messageBufferSize);
        options.concurrency().ifPresent(tuned::maxConcurrency);
        return tuned.build();
    }

    /** Waits until all records are finished, or something failed. */
    private void await(ParallelEoSStreamProcessor<byte[], byte[]> parallel) throws Exception {
        Stall stall = new Stall();
        while (!finished.await(100, TimeUnit.MILLISECONDS)) {
            if (failure.get() != null) {
                throw failure.get();
            }
            if (parallel.isClosedOrFailed()) {
                // Throws why, also where it has not kept that as its failure.
                parallel.close();
                throw new IllegalStateException("the Parallel Consumer ended", parallel.getFailureCause());
            }
            stall.check(report.finished(), options.records());
        }
    }

    private void fail(Exception cause) {
        failure.compareAndSet(null, cause);
    }

    private void finish(long records) {
        if (report.finish(records) == options.records()) {
            finished.countDown();
        }
    }

    /** The user's function without outputs. */
    private void take(PollContext<byte[], byte[]> call) {
        report.first();
        // Of the ways to get at the records the one that copies least.
        List<RecordContext<byte[], byte[]>> records = call.getContextsFlattened();
        long sum = 0;
        for (RecordContext<byte[], byte[]> record : records) {
            sum += work(record.getConsumerRecord());
        }
        sink = sum;
        finish(records.size());
    }

    /** The user's function with outputs; they are sent behind it. */
    private List<ProducerRecord<byte[], byte[]>> outputs(PollContext<byte[], byte[]> call) {
        report.first();
        List<RecordContext<byte[], byte[]>> records = call.getContextsFlattened();
        List<ProducerRecord<byte[], byte[]>> outputs = new ArrayList<>(records.size());
        for (RecordContext<byte[], byte[]> context : records) {
            ConsumerRecord<byte[], byte[]> record = context.getConsumerRecord();
            work(record);
            byte[] json = linesToJson.get().toByteArray();
            outputs.add(new ProducerRecord<>(options.output().get(), null, record.timestamp(), record.key(), json));
        }
        return outputs;
    }

    private long work(ConsumerRecord<byte[], byte[]> record) {
        bytes.add(length(record.key()) + length(record.value()));
        switch (options.workload()) {
            case NOOP -> {
                return Bytes.sum(record.key(), 0, length(record.key()))
                    + Bytes.sum(record.value(), 0, length(record.value()));
            }
            case PARSE -> parse(record);
            case WAIT -> sleep();
        }
        return 0;
    }

    private static int length(byte[] part) {
        return part == null ? 0 : part.length;
    }

    private void parse(ConsumerRecord<byte[], byte[]> record) {
        try {
            if (record.value() == null) {
                throw new Malformed("value", 0, "a tombstone has no line");
            }
            linesToJson.get().convert(record.value(), 0, record.value().length);
        } catch (Malformed malformed) {
            // The Parallel Consumer would try again and again; this ends the run.
            fail(Clients.unreadable(record, malformed.getMessage()));
            throw new IllegalStateException(malformed);
        }
    }

    /** Holds the thread; {@link Thread#sleep} rounds parts of a millisecond up. */
    private void sleep() {
        long until = System.nanoTime() + (long) (options.waitMillis() * 1e6);
        for (long left = until - System.nanoTime(); left > 0; left = until - System.nanoTime()) {
            LockSupport.parkNanos(left);
        }
    }
}
