package sandmill.peers;

/** Why a line is none: the field that is wrong, the byte at which that shows, and what was expected there. */
final class Malformed extends Exception {
    private static final long serialVersionUID = 1L;

    Malformed(String field, int at, String problem) {
        // The place in the line says more than a stack trace, which costs microseconds.
        super(field + " at byte " + at + ": " + problem, null, false, false);
    }
}
