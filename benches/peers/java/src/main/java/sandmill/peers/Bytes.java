package sandmill.peers;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/**
 * Loops over bytes, eight at a time.
 *
 * <p>The byte of a word that a test looks for is marked in its highest bit; the lowest mark is the first byte
 * ("Determine if a word has a byte less than n", Bit Twiddling Hacks, Sean Eron Anderson). Marks above the
 * first may be wrong, because of the borrow, and are never looked at.
 */
final class Bytes {
    /** Eight bytes of an array, the first one lowest. */
    static final VarHandle WORD = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

    private static final long ONES = 0x0101010101010101L;
    private static final long HIGH = 0x8080808080808080L;

    private Bytes() {}

    /**
     * The first byte from {@code from} on that may not stand in a JSON string as it is or that ends a quoted
     * text: a quote, a backslash, a control character, or a part of a character beyond ASCII. {@code to} if
     * there is none.
     */
    static int special(byte[] bytes, int from, int to) {
        int at = from;
        for (; at <= to - 8; at += 8) {
            long word = (long) WORD.get(bytes, at);
            long quote = word ^ (ONES * '"');
            long backslash = word ^ (ONES * '\\');
            long marks = (quote - ONES) & ~quote | (backslash - ONES) & ~backslash | (word - ONES * ' ') & ~word | word;
            if ((marks & HIGH) != 0) {
                return at + (Long.numberOfTrailingZeros(marks & HIGH) >>> 3);
            }
        }
        for (; at < to; at++) {
            byte one = bytes[at];
            if (one < ' ' || one == '"' || one == '\\') {
                return at;
            }
        }
        return to;
    }

    /** The first {@code wanted} in the range, or -1. */
    static int first(byte[] bytes, int from, int to, char wanted) {
        for (int at = from; at < to; at++) {
            if (bytes[at] == wanted) {
                return at;
            }
        }
        return -1;
    }

    /** The last {@code wanted} in the range, or -1. */
    static int last(byte[] bytes, int from, int to, char wanted) {
        for (int at = to - 1; at >= from; at--) {
            if (bytes[at] == wanted) {
                return at;
            }
        }
        return -1;
    }

    /** A sum into which every byte of the range goes, so that none can be left unread. */
    static long sum(byte[] bytes, int from, int to) {
        long sum = 0;
        int at = from;
        for (; at <= to - 8; at += 8) {
            sum += (long) WORD.get(bytes, at);
        }
        for (; at < to; at++) {
            sum += bytes[at];
        }
        return sum;
    }

    /**
     * How long the UTF-8 character is that begins at {@code at}; negative, if it is none: of so many bytes,
     * which one U+FFFD stands for (Unicode 16, section 3.9, "Substitution of Maximal Subparts").
     */
    static int character(byte[] bytes, int at, int to) {
        int lead = bytes[at] & 0xff;
        if (lead < 0x80) {
            return 1;
        }
        if (lead < 0xc2 || lead > 0xf4) {
            return -1;
        }
        // The second byte has a range of its own where the character would be longer than it need be, a
        // surrogate, or beyond U+10FFFF.
        int lowest = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
        int highest = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
        int length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
        for (int more = 1; more < length; more++) {
            int next = at + more < to ? bytes[at + more] & 0xff : 0;
            if (next < lowest || next > highest) {
                return -more;
            }
            lowest = 0x80;
            highest = 0xbf;
        }
        return length;
    }
}
