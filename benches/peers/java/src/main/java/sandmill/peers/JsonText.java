package sandmill.peers;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/** JSON as bytes, written from bytes that may be anything. Its room is asked for once, before the first store. */
final class JsonText {
    private static final byte[] HEX = "0123456789abcdef".getBytes(StandardCharsets.US_ASCII);

    /** At most sixteen bytes that are always the same, as two words: two stores write them. */
    record Fixed(long first, long second, int length) {
        static Fixed of(String ascii) {
            byte[] bytes = Arrays.copyOf(ascii.getBytes(StandardCharsets.US_ASCII), 16);
            return new Fixed((long) Bytes.WORD.get(bytes, 0), (long) Bytes.WORD.get(bytes, 8), ascii.length());
        }
    }

    /** Where the JSON stands, up to {@code length}. */
    byte[] bytes = new byte[4096];
    int length;

    /**
     * Begins anew, with room for {@code others} bytes of names and numbers and for {@code text} bytes of text,
     * each of which becomes at most the six of an escape.
     */
    void clear(int text, int others) {
        int most = Math.toIntExact(6L * text + others + 16);
        if (most > bytes.length) {
            bytes = new byte[most];
        }
        length = 0;
    }

    void put(Fixed fixed) {
        Bytes.WORD.set(bytes, length, fixed.first);
        Bytes.WORD.set(bytes, length + 8, fixed.second);
        length += fixed.length;
    }

    void put(char ascii) {
        bytes[length++] = (byte) ascii;
    }

    void put(byte[] from, int begin, int end) {
        System.arraycopy(from, begin, bytes, length, end - begin);
        length += end - begin;
    }

    /** Writes a string behind its opening quote, with the closing one. */
    void string(byte[] from, int begin, int end, boolean plain) {
        if (plain) {
            put(from, begin, end);
        } else {
            escaped(from, begin, end);
        }
        put('"');
    }

    private void escaped(byte[] from, int begin, int end) {
        int next = begin;
        while (next < end) {
            byte one = from[next];
            if (one < 0) {
                int character = Bytes.character(from, next, end);
                if (character > 0) {
                    put(from, next, next + character);
                    next += character;
                } else {
                    put("\\ufffd");
                    next -= character;
                }
                continue;
            }
            next++;
            switch (one) {
                case '"' -> put("\\\"");
                case '\\' -> put("\\\\");
                case '\n' -> put("\\n");
                case '\r' -> put("\\r");
                case '\t' -> put("\\t");
                default -> {
                    if (one < ' ') {
                        put("\\u00");
                        bytes[length++] = HEX[one >> 4];
                        bytes[length++] = HEX[one & 15];
                    } else {
                        bytes[length++] = one;
                    }
                }
            }
        }
    }

    private void put(String ascii) {
        for (int each = 0; each < ascii.length(); each++) {
            put(ascii.charAt(each));
        }
    }
}
