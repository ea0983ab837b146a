package sandmill.peers;

import java.nio.charset.StandardCharsets;

/**
 * What the first word of a record's value asks for, as {@code examples-wasm/flaky} reads it.
 *
 * @param what what to do
 * @param number how often to fail, or how many milliseconds to wait; 0 for the others
 */
record Order(What what, long number) {
    enum What {
        /** Output: the record, unchanged. */
        EMIT,
        /** No output. */
        DONE,
        /** To the dead letters, at once. */
        REJECT,
        /** Fails every time. */
        TRAP,
        /** Fails as often as the number says, then is an output. */
        RETRY,
        /** Waits as long as the number says, then is an output. */
        WAIT
    }

    /** What cannot be read is rejected; a missing value is an output like any other. */
    static Order of(byte[] value) {
        if (value == null) {
            return new Order(What.EMIT, 0);
        }
        String text = new String(value, StandardCharsets.ISO_8859_1);
        int space = text.indexOf(' ');
        String word = space < 0 ? text : text.substring(0, space);
        int colon = word.indexOf(':');
        if (colon < 0) {
            return new Order(
                switch (word) {
                    case "done" -> What.DONE;
                    case "reject" -> What.REJECT;
                    case "trap" -> What.TRAP;
                    default -> What.EMIT;
                },
                0);
        }
        return switch (word.substring(0, colon)) {
            case "retry" -> numbered(What.RETRY, word.substring(colon + 1), 255);
            case "wait" -> numbered(What.WAIT, word.substring(colon + 1), Integer.MAX_VALUE);
            default -> new Order(What.EMIT, 0);
        };
    }

    private static Order numbered(What what, String text, long most) {
        try {
            long number = Long.parseLong(text);
            return number >= 0 && number <= most ? new Order(what, number) : new Order(What.REJECT, 0);
        } catch (NumberFormatException none) {
            return new Order(What.REJECT, 0);
        }
    }
}
