package sandmill.peers;

import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.RetriableCommitFailedException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteBufferDeserializer;

/**
 * The plain consumer loop: one thread polls, does the work in place, and commits what is finished.
 *
 * <p>Records are read where the client holds them, without a copy. Outputs are handed to the producer and never
 * waited for: the loop goes on polling, and {@link Committable} says how far it may commit. Only the producer's
 * full buffer holds it up.
 */
final class Plain implements Contender {
    private static final Duration POLL = Duration.ofMillis(100);
    private static final long COMMIT_EVERY_NANOS = TimeUnit.MILLISECONDS.toNanos(Clients.COMMIT_EVERY_MS);
    /** Where the sums of all bytes go, so that no compiler can leave the reading out. */
    private static volatile long sink;

    private final Options options;
    private final Report report;
    private final KafkaConsumer<ByteBuffer, ByteBuffer> consumer;
    /** Null without outputs. */
    private final KafkaProducer<byte[], byte[]> producer;
    private final LineToJson lineToJson = new LineToJson();
    /** Why an output or a commit failed, from whatever thread. */
    private final AtomicReference<Exception> failure = new AtomicReference<>();
    private final Committable committable;
    private long taken;
    private long bytes;
    private long sum;

    Plain(Options options, Report report) {
        this.options = options;
        this.report = report;
        this.consumer = new KafkaConsumer<>(Clients.consumer(options, ByteBufferDeserializer.class));
        this.producer = options.output().isPresent() ? new KafkaProducer<>(Clients.producer(options)) : null;
        this.committable = new Committable(report::finish, cause -> failure.compareAndSet(null, cause));
    }

    @Override
    public void run() throws Exception {
        try (Admin admin = Topic.admin(options.brokers())) {
            Topic topic = Topic.look(admin, options.topic(), options.records());
            consumer.subscribe(Set.of(topic.name()));
            readToTheEnd();
            if (producer != null) {
                producer.flush();
            }
            check();
            committable.moved();
            consumer.commitSync(committable.offsets());
            long endNanos = System.nanoTime();
            long endUnixMicros = Report.unixMicros();
            topic.checkCommitted(admin, options.group());
            report.done(endUnixMicros, bytes, topic.ends(), Clients.details(report.secondHalfRate(endNanos)));
        }
    }

    @Override
    public void leave() {
        consumer.close();
        if (producer != null) {
            producer.close();
        }
    }

    private void readToTheEnd() throws Exception {
        Stall stall = new Stall();
        long lastCommit = System.nanoTime();
        while (taken < options.records()) {
            ConsumerRecords<ByteBuffer, ByteBuffer> records = consumer.poll(POLL);
            if (!records.isEmpty()) {
                report.first();
                take(records);
            }
            check();
            stall.check(taken, options.records());
            if (System.nanoTime() - lastCommit >= COMMIT_EVERY_NANOS) {
                commit();
                lastCommit = System.nanoTime();
            }
        }
    }

    private void take(ConsumerRecords<ByteBuffer, ByteBuffer> records) {
        for (TopicPartition partition : records.partitions()) {
            List<ConsumerRecord<ByteBuffer, ByteBuffer>> some = records.records(partition);
            long next = some.get(some.size() - 1).offset() + 1;
            if (producer == null) {
                for (ConsumerRecord<ByteBuffer, ByteBuffer> record : some) {
                    work(record);
                }
                committable.finished(partition, next, some.size());
            } else {
                Committable.Chunk chunk = committable.begin(partition, next, some.size());
                for (ConsumerRecord<ByteBuffer, ByteBuffer> record : some) {
                    work(record);
                    producer.send(output(record), chunk);
                }
            }
            taken += some.size();
        }
        sink = sum;
    }

    private void work(ConsumerRecord<ByteBuffer, ByteBuffer> record) {
        bytes += length(record.key()) + length(record.value());
        switch (options.workload()) {
            case NOOP -> sum += sum(record.key()) + sum(record.value());
            case PARSE -> parse(record);
            // The command line refuses it.
            case WAIT -> throw new IllegalStateException("one thread cannot wait for many records at once");
        }
    }

    private static int length(ByteBuffer part) {
        return part == null ? 0 : part.remaining();
    }

    private static long sum(ByteBuffer part) {
        if (part == null) {
            return 0;
        }
        int from = part.arrayOffset() + part.position();
        return Bytes.sum(part.array(), from, from + part.remaining());
    }

    private void parse(ConsumerRecord<ByteBuffer, ByteBuffer> record) {
        ByteBuffer value = record.value();
        try {
            if (value == null) {
                throw new Malformed("value", 0, "a tombstone has no line");
            }
            int from = value.arrayOffset() + value.position();
            lineToJson.convert(value.array(), from, from + value.remaining());
        } catch (Malformed malformed) {
            throw Clients.unreadable(record, malformed.getMessage());
        }
    }

    private ProducerRecord<byte[], byte[]> output(ConsumerRecord<ByteBuffer, ByteBuffer> record) {
        byte[] key = null;
        if (record.key() != null) {
            key = new byte[record.key().remaining()];
            record.key().get(record.key().position(), key);
        }
        byte[] json = lineToJson.toByteArray();
        return new ProducerRecord<>(options.output().get(), null, record.timestamp(), key, json);
    }

    private void check() throws Exception {
        if (failure.get() != null) {
            throw failure.get();
        }
    }

    private void commit() {
        if (!committable.moved()) {
            return;
        }
        consumer.commitAsync(committable.offsets(), (offsets, exception) -> {
            // The next commit covers one that may be repeated.
            if (exception != null && !(exception instanceof RetriableCommitFailedException)) {
                failure.compareAndSet(null, exception);
            }
        });
    }
}
