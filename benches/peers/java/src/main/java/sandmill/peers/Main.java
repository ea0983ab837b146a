package sandmill.peers;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.ExecutionException;

/**
 * What the ladder of benchmarks compares Sandmill with, in Java.
 *
 * <p>A contender reads one topic to its end, says on stdout how that goes ({@link Report}), and stays until its
 * stdin ends, so that its memory and its CPU time can be read while it lives. It ends with 0; with 1 where the
 * run failed, with 2 where the command line cannot be meant, and then says why on stderr.
 *
 * <p>{@code flaky} is no contender of the ladder: a service that runs until it is told to end ({@link Flaky}).
 */
public final class Main {
    private static final PrintStream OUT = utf8(FileDescriptor.out);
    private static final PrintStream ERR = utf8(FileDescriptor.err);

    private Main() {}

    public static void main(String[] arguments) {
        // Threads of the clients may still live.
        System.exit(run(arguments));
    }

    private static int run(String[] arguments) {
        try {
            if (arguments.length > 0 && arguments[0].equals("flaky")) {
                List<String> rest = List.of(arguments).subList(1, arguments.length);
                if (rest.equals(List.of("--version"))) {
                    OUT.println(Flaky.versions());
                    return 0;
                }
                return new Flaky(Flaky.Settings.of(rest)).run(OUT, ERR);
            }
            if (List.of(arguments).equals(List.of("metadata"))) {
                Metadata.run(System.in, OUT);
                return 0;
            }
            Options options = Options.of(List.of(arguments));
            if (options.selfcheck().isPresent()) {
                SelfCheck.run(options.selfcheck().get(), OUT);
                return 0;
            }
            Report report = new Report(OUT, options.records());
            Contender contender = contender(options, report);
            contender.run();
            awaitEndOfStdin();
            contender.leave();
            return 0;
        } catch (Options.Refused refused) {
            ERR.println(refused.getMessage() + "\n" + Options.USAGE + "\nor " + Flaky.USAGE);
            return 2;
        } catch (Throwable failed) {
            ERR.println("failed: " + reasons(failed));
            return 1;
        }
    }

    private static Contender contender(Options options, Report report) {
        return switch (options.kind()) {
            case PLAIN -> new Plain(options, report);
            case PARALLEL -> new Parallel(options, report);
        };
    }

    private static void awaitEndOfStdin() throws IOException {
        byte[] ignored = new byte[1024];
        while (System.in.read(ignored) >= 0) {
            // Nothing is asked here.
        }
    }

    /** What failed, and what that came from. */
    private static String reasons(Throwable failed) {
        StringBuilder reasons = new StringBuilder();
        String separator = "";
        for (Throwable each = failed; each != null; each = each.getCause()) {
            // It says nothing but that there is a cause.
            if (each instanceof ExecutionException && each.getCause() != null) {
                continue;
            }
            reasons.append(separator).append(each instanceof IllegalStateException ? each.getMessage() : each);
            separator = ": ";
        }
        return reasons.toString();
    }

    private static PrintStream utf8(FileDescriptor file) {
        return new PrintStream(new FileOutputStream(file), false, StandardCharsets.UTF_8);
    }
}
