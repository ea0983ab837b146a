package sandmill.peers;

import java.io.PrintStream;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

/**
 * What a contender says on stdout, one JSON object a line: when it took the first record, once a second how
 * many are finished, and when the last offset was committed.
 *
 * <p>It also keeps the count of finished records, and so knows when the second half of them began: by then the
 * JVM has compiled what runs often.
 */
final class Report {
    private final PrintStream out;
    private final long records;
    private final AtomicBoolean begun = new AtomicBoolean();
    private final AtomicLong finished = new AtomicLong();
    /** When the second half began, and how many records were finished then; the latter is written last. */
    private volatile long halfNanos;
    private volatile long halfRecords;
    private final ScheduledExecutorService seconds = Executors.newSingleThreadScheduledExecutor(task -> {
        Thread thread = new Thread(task, "progress");
        thread.setDaemon(true);
        return thread;
    });

    /** For a run over so many records. */
    Report(PrintStream out, long records) {
        this.out = out;
        this.records = records;
    }

    /** Microseconds since 1970. */
    static long unixMicros() {
        Instant now = Instant.now();
        return now.getEpochSecond() * 1_000_000 + now.getNano() / 1_000;
    }

    /** The first record was taken; only the first call counts, from whatever thread. */
    void first() {
        if (!begun.get() && begun.compareAndSet(false, true)) {
            say("{\"event\":\"first\",\"unix_us\":" + unixMicros() + "}");
            seconds.scheduleAtFixedRate(this::progress, 1, 1, TimeUnit.SECONDS);
        }
    }

    /** So many more records are finished. Gives how many are in all. */
    long finish(long more) {
        long after = finished.addAndGet(more);
        long half = records / 2;
        if (after >= half && after - more < half) {
            halfNanos = System.nanoTime();
            halfRecords = after;
        }
        return after;
    }

    long finished() {
        return finished.get();
    }

    /** Records a second from the middle of the records to {@code endNanos}; 0 if that was no time. */
    double secondHalfRate(long endNanos) {
        long nanos = endNanos - halfNanos;
        return nanos > 0 && halfRecords > 0 ? (records - halfRecords) * 1e9 / nanos : 0;
    }

    /**
     * The last offset is committed, and that is acknowledged.
     *
     * @param unixMicros when the acknowledgement came
     * @param bytes the lengths of all keys and values that were read
     * @param where the next offset of each partition
     */
    void done(long unixMicros, long bytes, Map<Integer, Long> where, Map<String, Object> details) {
        seconds.shutdownNow();
        say("{\"event\":\"done\",\"unix_us\":" + unixMicros
            + ",\"records\":" + finished.get()
            + ",\"bytes\":" + bytes
            + ",\"where\":" + json(where)
            + ",\"details\":" + json(details) + "}");
    }

    private void progress() {
        say("{\"event\":\"progress\",\"records\":" + finished.get() + "}");
    }

    private synchronized void say(String line) {
        out.println(line);
        out.flush();
    }

    /** Numbers, texts, lists and maps of them as JSON. */
    static String json(Object value) {
        StringBuilder json = new StringBuilder();
        write(json, value);
        return json.toString();
    }

    private static void write(StringBuilder json, Object value) {
        if (value instanceof Map<?, ?> map) {
            String separator = "{";
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                json.append(separator);
                quote(json, entry.getKey().toString());
                write(json.append(':'), entry.getValue());
                separator = ",";
            }
            json.append(map.isEmpty() ? "{}" : "}");
        } else if (value instanceof List<?> list) {
            String separator = "[";
            for (Object each : list) {
                write(json.append(separator), each);
                separator = ",";
            }
            json.append(list.isEmpty() ? "[]" : "]");
        } else if (value instanceof Number) {
            json.append(value);
        } else {
            quote(json, value.toString());
        }
    }

    private static void quote(StringBuilder json, String text) {
        json.append('"');
        for (int at = 0; at < text.length(); at++) {
            char one = text.charAt(at);
            if (one == '"' || one == '\\') {
                json.append('\\').append(one);
            } else if (one < ' ') {
                json.append(String.format("\\u%04x", (int) one));
            } else {
                json.append(one);
            }
        }
        json.append('"');
    }
}
