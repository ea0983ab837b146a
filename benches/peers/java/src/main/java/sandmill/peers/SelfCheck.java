package sandmill.peers;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;

/** Turns the lines of a file into lines of JSON: for a comparison with what others make of it. */
final class SelfCheck {
    private SelfCheck() {}

    static void run(Path file, OutputStream stdout) throws IOException {
        byte[] lines = Files.readAllBytes(file);
        LineToJson lineToJson = new LineToJson();
        OutputStream out = new BufferedOutputStream(stdout, 1 << 16);
        int number = 0;
        for (int from = 0; from < lines.length; ) {
            int found = Bytes.first(lines, from, lines.length, '\n');
            int to = found < 0 ? lines.length : found;
            number++;
            try {
                lineToJson.convert(lines, from, to);
            } catch (Malformed malformed) {
                throw new IllegalStateException(file + ", line " + number + ": " + malformed.getMessage());
            }
            out.write(lineToJson.toByteArray());
            out.write('\n');
            from = to + 1;
        }
        out.flush();
    }
}
