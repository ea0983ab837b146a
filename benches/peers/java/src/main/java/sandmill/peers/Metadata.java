package sandmill.peers;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.SortedSet;
import java.util.TreeSet;

import io.confluent.parallelconsumer.offsets.NoEncodingPossibleException;
import io.confluent.parallelconsumer.offsets.OffsetDecodingError;
import io.confluent.parallelconsumer.offsets.OffsetEncoding;
import io.confluent.parallelconsumer.offsets.OffsetMapCodecManager;
import io.confluent.parallelconsumer.offsets.OffsetMapCodecManager.HighestOffsetAndIncompletes;
import io.confluent.parallelconsumer.offsets.OffsetSimultaneousEncoder;

/**
 * What the Parallel Consumer would write into a commit, by its own encoder: for each line of stdin that names a
 * state of a partition, one line of JSON on stdout with the length of the text and the encoding that won.
 *
 * <p>A line holds the offset to commit, the end of the range (just past the highest completed record), and the
 * unfinished records as ranges: {@code 100 160 100-101 130-135}. What was written is read again with its own
 * reader, and has to say the same.
 */
final class Metadata {
    private Metadata() {}

    /** What a commit says. {@code chars} is 0 and there is no encoding where it says nothing. */
    record Written(int chars, String encoding) {
        String json() {
            return "{\"chars\":" + chars + ",\"encoding\":\"" + encoding + "\"}";
        }
    }

    static void run(InputStream stdin, PrintStream out) throws IOException {
        BufferedReader lines = new BufferedReader(new InputStreamReader(stdin, StandardCharsets.US_ASCII));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            out.println(written(line).json());
            out.flush();
        }
    }

    static Written written(String line) {
        String[] words = line.split(" ");
        long base = Long.parseLong(words[0]);
        long end = Long.parseLong(words[1]);
        SortedSet<Long> unfinished = new TreeSet<>();
        for (int each = 2; each < words.length; each++) {
            String[] range = words[each].split("-");
            for (long offset = Long.parseLong(range[0]); offset < Long.parseLong(range[1]); offset++) {
                unfinished.add(offset);
            }
        }
        // As its partition state does: with nothing unfinished there is nothing to tell.
        if (unfinished.isEmpty()) {
            return new Written(0, "");
        }
        SortedSet<Long> below = unfinished.headSet(end);
        byte[] packed = packed(base, end - 1, below);
        String text = Base64.getEncoder().encodeToString(packed);
        verify(text, base, below);
        return new Written(text.length(), OffsetEncoding.decode(packed[0]).name());
    }

    private static byte[] packed(long base, long highest, SortedSet<Long> unfinished) {
        try {
            return new OffsetSimultaneousEncoder(base, highest, unfinished).invoke().packSmallest();
        } catch (NoEncodingPossibleException none) {
            throw new IllegalStateException("no encoding for " + base + " to " + highest, none);
        }
    }

    private static void verify(String text, long base, SortedSet<Long> unfinished) {
        try {
            HighestOffsetAndIncompletes read =
                OffsetMapCodecManager.deserialiseIncompleteOffsetMapFromBase64(base, text);
            if (!read.getIncompleteOffsets().equals(unfinished)) {
                throw new IllegalStateException("what it wrote at " + base + " says something else when it is read");
            }
        } catch (OffsetDecodingError error) {
            throw new IllegalStateException("what it wrote at " + base + " cannot be read", error);
        }
    }
}
