package sandmill.peers;

import java.util.Arrays;

import sandmill.peers.JsonText.Fixed;

/**
 * The workload {@code parse}: turns a line of a web server's access log, combined format, into JSON.
 *
 * <pre>
 * 83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 203023 "-" "curl/7.1"
 * {"client":"83.149.9.216","ident":null,"user":null,"time":"2015-05-17T10:05:03Z","method":"GET",
 *  "path":"/a","protocol":"HTTP/1.1","status":200,"bytes":203023,"referer":null,"agent":"curl/7.1"}
 * </pre>
 *
 * <p>It writes byte for byte what the handler {@code examples-wasm/access-log} writes, and its messages are the
 * handler's. The fields of the JSON stand in the order of the line, so one pass reads and writes; nothing is
 * allocated for a line. One instance serves one thread; the JSON stands in it until the next line.
 */
final class LineToJson {
    /** A name before a text, and the same before null. */
    private record Name(Fixed text, Fixed none) {
        static Name of(String name) {
            return new Name(Fixed.of(",\"" + name + "\":\""), Fixed.of(",\"" + name + "\":null"));
        }
    }

    private static final Fixed CLIENT = Fixed.of("{\"client\":\"");
    private static final Name IDENT = Name.of("ident");
    private static final Name USER = Name.of("user");
    private static final Fixed TIME = Fixed.of(",\"time\":\"");
    private static final Name METHOD = Name.of("method");
    private static final Name PATH = Name.of("path");
    private static final Name PROTOCOL = Name.of("protocol");
    private static final Fixed STATUS = Fixed.of(",\"status\":");
    private static final Fixed BYTES = Fixed.of(",\"bytes\":");
    private static final Fixed NULL = Fixed.of("null");
    private static final Name REFERER = Name.of("referer");
    private static final Name AGENT = Name.of("agent");
    /** More than all names, the time and the punctuation take: they are under 160 bytes. */
    private static final int OTHERS = 256;

    private final Cursor cursor = new Cursor();
    private final JsonText json = new JsonText();

    /** Turns the line in {@code bytes} from {@code from} to {@code to}; one line break at its end is no part of it. */
    void convert(byte[] bytes, int from, int to) throws Malformed {
        cursor.begin(bytes, from, to);
        json.clear(to - from, OTHERS);
        cursor.word("client");
        text(CLIENT);
        cursor.word("ident");
        field(IDENT);
        cursor.user();
        field(USER);
        time();
        request();
        status();
        size();
        cursor.quoted("referer");
        cursor.space("referer");
        field(REFERER);
        cursor.lastQuoted("agent");
        field(AGENT);
        json.put('}');
    }

    /** How long the JSON is. */
    int length() {
        return json.length;
    }

    /** The JSON, in an array of its own. */
    byte[] toByteArray() {
        return Arrays.copyOf(json.bytes, json.length);
    }

    /** The text that was read last, or null for a dash. */
    private void field(Name name) {
        if (cursor.textIsDash()) {
            json.put(name.none);
        } else {
            text(name.text);
        }
    }

    private void text(Fixed name) {
        json.put(name);
        json.string(cursor.line, cursor.textFrom, cursor.textTo, cursor.textPlain);
    }

    /** A method, a path and a protocol in quotes, and a space; what is none of that is all path. */
    private void request() throws Malformed {
        cursor.quoted("request");
        cursor.space("request");
        byte[] line = cursor.line;
        int from = cursor.textFrom;
        int to = cursor.textTo;
        int first = Bytes.first(line, from, to, ' ');
        int last = Bytes.last(line, from, to, ' ');
        if (first < last && isHttp(line, last + 1, to)) {
            json.put(METHOD.text);
            json.string(line, from, first, cursor.textPlain);
            json.put(PATH.text);
            json.string(line, first + 1, last, cursor.textPlain);
            json.put(PROTOCOL.text);
            json.string(line, last + 1, to, cursor.textPlain);
        } else {
            json.put(METHOD.none);
            field(PATH);
            json.put(PROTOCOL.none);
        }
    }

    private static boolean isHttp(byte[] line, int from, int to) {
        return to - from >= 5
            && line[from] == 'H'
            && line[from + 1] == 'T'
            && line[from + 2] == 'T'
            && line[from + 3] == 'P'
            && line[from + 4] == '/';
    }

    /** Three digits and a space. */
    private void status() throws Malformed {
        byte[] line = cursor.line;
        int from = cursor.at;
        if (cursor.end - from < 3
            || line[from] == '0'
            || !Cursor.isDigit(line[from])
            || cursor.twoDigits(from + 1) < 0) {
            throw cursor.malformed("status", from, "should be three digits");
        }
        cursor.at = from + 3;
        cursor.space("status");
        json.put(STATUS);
        json.put(line, from, from + 3);
    }

    /** Digits or {@code -}, and a space. */
    private void size() throws Malformed {
        cursor.word("bytes");
        json.put(BYTES);
        if (cursor.textIsDash()) {
            json.put(NULL);
            return;
        }
        byte[] line = cursor.line;
        int from = cursor.textFrom;
        int to = cursor.textTo;
        for (int digit = from; digit < to; digit++) {
            if (!Cursor.isDigit(line[digit])) {
                throw cursor.malformed("bytes", digit, "should be digits, or `-` for none");
            }
        }
        // JSON knows no leading zeros.
        while (from < to - 1 && line[from] == '0') {
            from++;
        }
        json.put(line, from, to);
    }

    /** {@code [17/May/2015:10:05:03 +0000]} and a space. */
    private void time() throws Malformed {
        cursor.expect('[', "time", "should begin with `[`");
        byte[] line = cursor.line;
        int from = cursor.at;
        if (cursor.end - from < 26) {
            throw cursor.malformed("time", from, "cut off: `dd/Mmm/yyyy:hh:mm:ss +hhmm` has 26 bytes");
        }
        separator(from + 2, '/');
        separator(from + 6, '/');
        separator(from + 11, ':');
        separator(from + 14, ':');
        separator(from + 17, ':');
        separator(from + 20, ' ');
        int month = month(line[from + 3], line[from + 4], line[from + 5]);
        if (month == 0) {
            throw cursor.malformed("time", from + 3, "the month should be one of Jan, Feb, …, Dec");
        }
        int century = cursor.twoDigits(from + 7);
        int yearInIt = cursor.twoDigits(from + 9);
        if (century < 0 || yearInIt < 0) {
            throw cursor.malformed("time", from + 7, "the year should have four digits");
        }
        int day = cursor.twoDigits(from);
        if (day < 1 || day > days(century * 100 + yearInIt, month)) {
            throw cursor.malformed("time", from, "the month has no such day");
        }
        range(from + 12, 23, "the hour should be 00 to 23");
        range(from + 15, 59, "the minute should be 00 to 59");
        // 60 is a leap second.
        range(from + 18, 60, "the second should be 00 to 60");
        int hours = cursor.twoDigits(from + 22);
        int minutes = cursor.twoDigits(from + 24);
        boolean sign = line[from + 21] == '+' || line[from + 21] == '-';
        if (!sign || hours < 0 || hours > 23 || minutes < 0 || minutes > 59) {
            String problem = "the zone should be + or -, two digits of hours and two of minutes";
            throw cursor.malformed("time", from + 21, problem);
        }
        cursor.at = from + 26;
        cursor.expect(']', "time", "should end with `]`");
        cursor.space("time");
        rfc3339(line, from, month, hours == 0 && minutes == 0);
    }

    private void separator(int where, char wanted) throws Malformed {
        if (cursor.line[where] != wanted) {
            throw cursor.malformed("time", where, "should look like `dd/Mmm/yyyy:hh:mm:ss +hhmm`");
        }
    }

    private void range(int where, int highest, String problem) throws Malformed {
        int number = cursor.twoDigits(where);
        if (number < 0 || number > highest) {
            throw cursor.malformed("time", where, problem);
        }
    }

    private static int month(byte first, byte second, byte third) {
        return switch (first << 16 | second << 8 | third) {
            case 'J' << 16 | 'a' << 8 | 'n' -> 1;
            case 'F' << 16 | 'e' << 8 | 'b' -> 2;
            case 'M' << 16 | 'a' << 8 | 'r' -> 3;
            case 'A' << 16 | 'p' << 8 | 'r' -> 4;
            case 'M' << 16 | 'a' << 8 | 'y' -> 5;
            case 'J' << 16 | 'u' << 8 | 'n' -> 6;
            case 'J' << 16 | 'u' << 8 | 'l' -> 7;
            case 'A' << 16 | 'u' << 8 | 'g' -> 8;
            case 'S' << 16 | 'e' << 8 | 'p' -> 9;
            case 'O' << 16 | 'c' << 8 | 't' -> 10;
            case 'N' << 16 | 'o' << 8 | 'v' -> 11;
            case 'D' << 16 | 'e' << 8 | 'c' -> 12;
            default -> 0;
        };
    }

    private static int days(int year, int month) {
        return switch (month) {
            case 2 -> year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28;
            case 4, 6, 9, 11 -> 30;
            default -> 31;
        };
    }

    /** Writes the time that stands from {@code from} on as RFC 3339 does; each part is known to be in its range. */
    private void rfc3339(byte[] line, int from, int month, boolean utc) {
        json.put(TIME);
        json.put(line, from + 7, from + 11);
        json.put('-');
        json.put((char) ('0' + month / 10));
        json.put((char) ('0' + month % 10));
        json.put('-');
        json.put(line, from, from + 2);
        json.put('T');
        json.put(line, from + 12, from + 20);
        if (utc) {
            json.put('Z');
        } else {
            json.put(line, from + 21, from + 24);
            json.put(':');
            json.put(line, from + 24, from + 26);
        }
        json.put('"');
    }
}
