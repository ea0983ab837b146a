package sandmill.peers;

import java.util.concurrent.TimeUnit;

/** Ends a run in which nothing moves, should nobody watch it from outside. */
final class Stall {
    /** Longer than any answer of the broker takes, and than the watch of the ladder. */
    private static final long SECONDS = 60;

    private long seen = -1;
    private long since;

    /** Has to be told again and again how many records were moved, of how many. */
    void check(long records, long of) {
        long now = System.nanoTime();
        if (records != seen) {
            seen = records;
            since = now;
        } else if (now - since > TimeUnit.SECONDS.toNanos(SECONDS)) {
            throw new IllegalStateException(
                "stalled: no record in " + SECONDS + " s, at " + records + " of " + of + " records");
        }
    }
}
