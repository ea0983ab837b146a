package sandmill.peers;

/**
 * Goes over a line once and takes texts out of it, without copying.
 *
 * <p>Whatever does not fit ends in {@link Malformed}. The text that was taken last stands in {@code text*}.
 */
final class Cursor {
    /** The bytes in which the line stands, from {@code begin} to {@code end}, read up to {@code at}. */
    byte[] line;
    int at;
    int end;
    private int begin;

    int textFrom;
    int textTo;
    /** Whether the text may be copied into a JSON string as it is. */
    boolean textPlain;

    /** Begins a line; one line break at its end is no part of it. */
    void begin(byte[] bytes, int from, int to) {
        line = bytes;
        begin = from;
        at = from;
        end = to;
        if (end > from && bytes[end - 1] == '\n') {
            end--;
        }
        if (end > from && bytes[end - 1] == '\r') {
            end--;
        }
    }

    Malformed malformed(String field, int where, String problem) {
        return new Malformed(field, where - begin, problem);
    }

    void expect(char wanted, String field, String problem) throws Malformed {
        if (at == end || line[at] != wanted) {
            throw malformed(field, at, problem);
        }
        at++;
    }

    void space(String after) throws Malformed {
        expect(' ', after, "a space should follow");
    }

    boolean textIsDash() {
        return textTo - textFrom == 1 && line[textFrom] == '-';
    }

    /** Bytes up to a space, which is taken too. */
    void word(String field) throws Malformed {
        int to = Bytes.first(line, at, end, ' ');
        if (to < 0) {
            boolean missing = at == end;
            throw malformed(field, end, missing ? "missing: the line ends here" : "a space should follow");
        }
        if (to == at) {
            throw malformed(field, at, "empty");
        }
        take(at, to);
    }

    /**
     * The user is whatever was typed into a browser's dialog, spaces and all: it ends where a space, a
     * {@code [} and a digit begin the time.
     */
    void user() throws Malformed {
        int from = at;
        word("user");
        while (!(at + 1 < end && line[at] == '[' && isDigit(line[at + 1]))) {
            int to = Bytes.first(line, at, end, ' ');
            if (to < 0) {
                throw malformed("time", at, "should begin with `[` and a digit");
            }
            take(from, to);
        }
    }

    private void take(int from, int to) {
        textFrom = from;
        textTo = to;
        textPlain = Bytes.special(line, from, to) == to;
        at = to + 1;
    }

    /** Text in quotes, without them. A quote after a backslash is part of the text. */
    void quoted(String field) throws Malformed {
        if (!openQuoted(field)) {
            throw malformed(field, end, "the closing quote is missing");
        }
    }

    /** The last field: where the line was cut off inside it, it is taken as it stands. */
    void lastQuoted(String field) throws Malformed {
        if (openQuoted(field) && at < end) {
            throw malformed(field, at, "the line should end behind its closing quote");
        }
    }

    /** Text from a quote to the next one, or to the end of the line. Gives whether there was a next one. */
    private boolean openQuoted(String field) throws Malformed {
        expect('"', field, "should begin with a quote");
        textFrom = at;
        textPlain = true;
        int next = at;
        while ((next = Bytes.special(line, next, end)) < end) {
            byte special = line[next];
            if (special == '"') {
                textTo = next;
                at = next + 1;
                return true;
            }
            textPlain = false;
            // The backslash and what it escapes; a line may end behind it.
            next = special == '\\' ? Math.min(next + 2, end) : next + 1;
        }
        textTo = end;
        at = end;
        return false;
    }

    /** The number of two digits, which stand before the line's end; negative if they are none. */
    int twoDigits(int where) {
        byte tens = line[where];
        byte ones = line[where + 1];
        return isDigit(tens) && isDigit(ones) ? (tens - '0') * 10 + (ones - '0') : -1;
    }

    static boolean isDigit(byte one) {
        return one >= '0' && one <= '9';
    }
}
