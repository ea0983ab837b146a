package sandmill.peers;

import java.nio.file.Path;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * The command line of a contender: which one, then long options, each with a value.
 *
 * @param output where the JSON of {@code parse} goes; without it, it is built and thrown away
 * @param waitMillis how long {@code wait} holds each record
 * @param ordering key, unless told otherwise
 * @param batch most records of a call; the peer's own default if absent
 * @param buffer how many records are held ready; the peer's own default if absent
 * @param concurrency how many calls run at once; the peer's own default if absent
 * @param lingerMillis how long the producer waits for more; 5, as with the others, unless told otherwise
 * @param selfcheck lines to turn into JSON, without a broker; nothing else counts then
 */
record Options(
    Kind kind,
    String brokers,
    String topic,
    String group,
    long records,
    Workload workload,
    Optional<String> output,
    double waitMillis,
    Ordering ordering,
    OptionalInt batch,
    OptionalInt buffer,
    OptionalInt concurrency,
    int lingerMillis,
    Optional<Path> selfcheck) {

    static final String USAGE =
        """
        plain | parallel
          --brokers HOST:PORT  --topic T  --group G  --records N
          --workload noop|parse   [--output TOPIC [--linger-ms L]]   (parallel: also wait, with --wait-ms W)
          [--ordering key|partition|unordered]         (plain: one thread keeps the order of partitions in any case)
          [--batch N] [--buffer N] [--concurrency N]   (parallel)
        or --selfcheck FILE
        or metadata, and states of partitions on stdin""";

    enum Kind { PLAIN, PARALLEL }

    enum Workload { NOOP, PARSE, WAIT }

    enum Ordering { KEY, PARTITION, UNORDERED }

    /** A command line that cannot be meant. */
    static final class Refused extends Exception {
        private static final long serialVersionUID = 1L;

        Refused(String message) {
            super(message);
        }
    }

    static Options of(List<String> arguments) throws Refused {
        Iterator<String> rest = arguments.iterator();
        String brokers = null;
        String topic = null;
        String group = null;
        Long records = null;
        Workload workload = null;
        String output = null;
        Double waitMillis = null;
        Ordering ordering = Ordering.KEY;
        OptionalInt batch = OptionalInt.empty();
        OptionalInt buffer = OptionalInt.empty();
        OptionalInt concurrency = OptionalInt.empty();
        int lingerMillis = 5;
        Path selfcheck = null;
        Kind kind = null;
        while (rest.hasNext()) {
            String option = rest.next();
            if (kind == null && !option.startsWith("-")) {
                kind = one(Kind.class, "the contender", option);
                continue;
            }
            if (!rest.hasNext()) {
                throw new Refused(option + " is unknown or needs a value");
            }
            String value = rest.next();
            switch (option) {
                case "--brokers" -> brokers = value;
                case "--topic" -> topic = value;
                case "--group" -> group = value;
                case "--records" -> records = number(option, value, 1, Long.MAX_VALUE);
                case "--workload" -> workload = one(Workload.class, option, value);
                case "--output" -> output = value;
                case "--wait-ms" -> waitMillis = millis(option, value);
                case "--ordering" -> ordering = one(Ordering.class, option, value);
                case "--batch" -> batch = positive(option, value);
                case "--buffer" -> buffer = positive(option, value);
                case "--concurrency" -> concurrency = positive(option, value);
                case "--linger-ms" -> lingerMillis = (int) number(option, value, 0, 1_000);
                case "--selfcheck" -> selfcheck = Path.of(value);
                default -> throw new Refused(option + " is unknown");
            }
        }
        if (selfcheck == null) {
            needed("the contender", kind);
            needed("--brokers", brokers);
            needed("--topic", topic);
            needed("--group", group);
            needed("--records", records);
            needed("--workload", workload);
            if (output != null && workload != Workload.PARSE) {
                throw new Refused("--output goes with --workload parse");
            }
            if ((waitMillis != null) != (workload == Workload.WAIT)) {
                throw new Refused("--workload wait and --wait-ms go together");
            }
            boolean tuned = batch.isPresent() || buffer.isPresent() || concurrency.isPresent();
            if (kind == Kind.PLAIN && (tuned || workload == Workload.WAIT)) {
                throw new Refused("plain has one thread: no --batch, --buffer, --concurrency, and no --workload wait");
            }
        }
        return new Options(
            kind, brokers, topic, group, records == null ? 0 : records, workload, Optional.ofNullable(output),
            waitMillis == null ? 0 : waitMillis, ordering, batch, buffer, concurrency, lingerMillis,
            Optional.ofNullable(selfcheck));
    }

    private static void needed(String what, Object value) throws Refused {
        if (value == null) {
            throw new Refused(what + " is missing");
        }
    }

    private static <E extends Enum<E>> E one(Class<E> of, String option, String value) throws Refused {
        for (E each : of.getEnumConstants()) {
            if (each.name().toLowerCase(Locale.ROOT).equals(value)) {
                return each;
            }
        }
        throw new Refused(option + " cannot be " + value);
    }

    private static OptionalInt positive(String option, String value) throws Refused {
        return OptionalInt.of((int) number(option, value, 1, Integer.MAX_VALUE));
    }

    private static long number(String option, String value, long least, long most) throws Refused {
        try {
            long number = Long.parseLong(value);
            if (number >= least && number <= most) {
                return number;
            }
        } catch (NumberFormatException none) {
            // The same as out of range.
        }
        throw new Refused(option + " should be a number from " + least + " to " + most + ", not " + value);
    }

    private static double millis(String option, String value) throws Refused {
        try {
            double millis = Double.parseDouble(value);
            if (millis >= 0 && millis <= 30_000) {
                return millis;
            }
        } catch (NumberFormatException none) {
            // The same as out of range.
        }
        throw new Refused(option + " should be a number of milliseconds up to 30,000, not " + value);
    }
}
