package sandmill.peers;

import static java.nio.charset.StandardCharsets.ISO_8859_1;
import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Random;
import java.util.zip.GZIPInputStream;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The lines are those of the handler's own tests, in examples-wasm/access-log. */
class LineToJsonTest {
    private static final String GET =
        "83.149.9.216 - - [17/May/2015:10:05:03 +0000] \"GET /presentations/a.png HTTP/1.1\" 200 203023 "
            + "\"http://semicomplete.com/\" \"Mozilla/5.0 (Macintosh)\"";
    private static final String GET_JSON =
        "{\"client\":\"83.149.9.216\",\"ident\":null,\"user\":null,\"time\":\"2015-05-17T10:05:03Z\","
            + "\"method\":\"GET\",\"path\":\"/presentations/a.png\",\"protocol\":\"HTTP/1.1\",\"status\":200,"
            + "\"bytes\":203023,\"referer\":\"http://semicomplete.com/\",\"agent\":\"Mozilla/5.0 (Macintosh)\"}";
    private static final Path LOG = Path.of("../../../host/assets/apache_access.log.gz");

    private final LineToJson lineToJson = new LineToJson();

    private byte[] convert(byte[] line) throws Malformed {
        // In the middle of other bytes, as it stands in what was fetched.
        byte[] among = new byte[line.length + 20];
        Arrays.fill(among, (byte) '"');
        System.arraycopy(line, 0, among, 9, line.length);
        lineToJson.convert(among, 9, 9 + line.length);
        return lineToJson.toByteArray();
    }

    private String json(String line) throws Malformed {
        return new String(convert(line.getBytes(UTF_8)), UTF_8);
    }

    private String problem(String line) {
        return assertThrows(Malformed.class, () -> json(line)).getMessage();
    }

    /** The line with one part of it replaced. */
    private static String with(String part, String other) {
        assertTrue(GET.contains(part));
        return GET.replace(part, other);
    }

    private static String jsonWith(String part, String other) {
        assertTrue(GET_JSON.contains(part));
        return GET_JSON.replace(part, other);
    }

    @Test
    void aLineBecomesAnObjectWithAllFieldsInOrder() throws Malformed {
        assertEquals(GET_JSON, json(GET));
    }

    @Test
    void aDashIsNullAndATextIsNot() throws Malformed {
        assertEquals(
            "{\"client\":\"::1\",\"ident\":\"id\",\"user\":\"mary ann\",\"time\":\"2016-02-29T23:59:60-07:30\","
                + "\"method\":null,\"path\":null,\"protocol\":null,\"status\":304,\"bytes\":null,"
                + "\"referer\":null,\"agent\":null}",
            json("::1 id mary ann [29/Feb/2016:23:59:60 -0730] \"-\" 304 - \"-\" \"-\""));
    }

    @Test
    void aRequestThatIsNoneIsGivenAsItStands() throws Malformed {
        String request = "\"method\":\"GET\",\"path\":\"/presentations/a.png\",\"protocol\":\"HTTP/1.1\"";
        assertEquals(
            jsonWith(request, "\"method\":null,\"path\":\"\\\\x16\\\\x03\\\\x01\",\"protocol\":null"),
            json(with("GET /presentations/a.png HTTP/1.1", "\\x16\\x03\\x01")));
        assertEquals(
            jsonWith(request, "\"method\":null,\"path\":\"GET /presentations/a.png\",\"protocol\":null"),
            json(with(" HTTP/1.1", "")));
        assertEquals(jsonWith("a.png", "a b.png"), json(with("a.png", "a b.png")));
    }

    @Test
    void anEscapedQuoteDoesNotEndAField() throws Malformed {
        assertEquals(jsonWith("Mozilla/5.0", "a\\\\\\\"b\\\\\\\\"), json(with("Mozilla/5.0", "a\\\"b\\\\")));
    }

    @Test
    void anOpenLastFieldIsTakenAsItStandsAndALineBreakIsNoPartOfIt() throws Malformed {
        String open = GET.substring(0, GET.length() - 6);
        assertEquals(jsonWith("tosh)", ""), json(open));
        assertEquals(jsonWith("tosh)", "\\\\"), json(open + "\\"));
        assertEquals(GET_JSON, json(GET + "\r\n"));
        assertEquals(GET_JSON, json(GET + "\n"));
    }

    @Test
    void leadingZerosOfASizeMakeNoWrongJson() throws Malformed {
        assertEquals(jsonWith("203023", "0"), json(with("203023", "000")));
        assertEquals(jsonWith("203023", "70"), json(with("203023", "0070")));
    }

    @Test
    void aMalformedLineIsRefusedWithTheFieldAndTheByte() {
        assertEquals("client at byte 0: missing: the line ends here", problem(""));
        assertEquals("client at byte 12: a space should follow", problem("83.149.9.216"));
        assertEquals("client at byte 0: empty", problem(" - -"));
        assertEquals("time at byte 12: should begin with `[` and a digit", problem("1.2.3.4 - - x"));
        assertEquals("time at byte 21: the month should be one of Jan, Feb, …, Dec", problem(with("May", "Mai")));
        assertEquals("time at byte 18: the month has no such day", problem(with("17/May", "31/Feb")));
        assertEquals("time at byte 18: the month has no such day", problem(with("17/May/2015", "29/Feb/1900")));
        assertEquals("time at byte 30: the hour should be 00 to 23", problem(with("10:05:03", "24:05:03")));
        assertEquals("request at byte 46: should begin with a quote", problem(with("\"GET", "GET")));
        int status = GET.indexOf("200 ");
        assertEquals("status at byte " + status + ": should be three digits", problem(with(" 200 ", " 20x ")));
        assertEquals("status at byte " + (status + 3) + ": a space should follow", problem(with(" 200 ", " 2000 ")));
        assertEquals(
            "bytes at byte " + (status + 6) + ": should be digits, or `-` for none", problem(with("203023", "20k")));
        assertEquals(
            "agent at byte " + GET.length() + ": the line should end behind its closing quote", problem(GET + " x"));
        int cut = GET.indexOf("semi");
        assertEquals("referer at byte " + cut + ": the closing quote is missing", problem(GET.substring(0, cut)));
    }

    @Test
    void bytesOfAnyKindBecomeWhatAJavaStringWouldHold() throws Malformed {
        Random random = new Random(17);
        byte[] odd = {'"', '\\', 0, 0x1f, 0x7f, '\t', (byte) 0xc3, (byte) 0xa4, (byte) 0xe2, (byte) 0x9c, (byte) 0xf0};
        for (int round = 0; round < 200_000; round++) {
            byte[] text = new byte[random.nextInt(24)];
            random.nextBytes(text);
            for (int at = 0; at < text.length; at++) {
                int kind = random.nextInt(4);
                // Java replaces the three bytes of a surrogate by one character, Unicode and the handler by three.
                boolean plain = kind == 0 || text[at] == (byte) 0xed;
                text[at] = plain ? (byte) 'x' : kind == 1 ? odd[random.nextInt(odd.length)] : text[at];
            }
            assertEquals(escaped(new String(text, UTF_8)), string(text), () -> HexFormat.of().formatHex(text));
        }
        assertEquals("\\ufffd\\ufffd\\ufffdx", string(new byte[] {(byte) 0xed, (byte) 0xa0, (byte) 0x80, 'x'}));
    }

    private static String string(byte[] text) {
        JsonText json = new JsonText();
        json.clear(text.length, 1);
        json.string(text, 0, text.length, Bytes.special(text, 0, text.length) == text.length);
        String written = new String(json.bytes, 0, json.length, UTF_8);
        assertTrue(written.endsWith("\""));
        return written.substring(0, written.length() - 1);
    }

    /** The naive way to a JSON string. U+FFFD stands for what was no UTF-8: the texts above have none of their own. */
    private static String escaped(String text) {
        StringBuilder json = new StringBuilder();
        for (char one : text.toCharArray()) {
            switch (one) {
                case '"' -> json.append("\\\"");
                case '\\' -> json.append("\\\\");
                case '\n' -> json.append("\\n");
                case '\r' -> json.append("\\r");
                case '\t' -> json.append("\\t");
                case '\ufffd' -> json.append("\\ufffd");
                default -> json.append(one < ' ' ? String.format("\\u%04x", (int) one) : String.valueOf(one));
            }
        }
        return json.toString();
    }

    @Test
    void noLineThatIsCutAnywhereOrChangedInAByteBreaksTheReader() {
        for (int length = 0; length < GET.length(); length++) {
            attempt(GET.substring(0, length).getBytes(ISO_8859_1));
            for (char one : new char[] {0, ' ', '"', '[', '\\', '\n', 0xff}) {
                byte[] line = GET.getBytes(ISO_8859_1);
                line[length] = (byte) one;
                attempt(line);
            }
        }
    }

    private void attempt(byte[] line) {
        try {
            byte[] json = convert(line);
            assertTrue(json[0] == '{' && json[json.length - 1] == '}');
        } catch (Malformed malformed) {
            assertTrue(malformed.getMessage().contains(" at byte "));
        }
    }

    /** The sum is that of what the handler itself wrote, a line each, for the log of the repository. */
    @Test
    void theRealLogComesOutAsTheHandlerWritesIt(@TempDir Path folder) throws Exception {
        Path log = folder.resolve("access.log");
        try (GZIPInputStream packed = new GZIPInputStream(Files.newInputStream(LOG))) {
            Files.copy(packed, log);
        }
        ByteArrayOutputStream json = new ByteArrayOutputStream();
        SelfCheck.run(log, json);
        assertEquals(10_000, json.toString(UTF_8).lines().count());
        assertEquals(
            "9a0bde92fa8ddb7301ab5b3916398c6b5f873bf001cf23df4b1bbff0cf5b873f",
            HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(json.toByteArray())));
    }
}
