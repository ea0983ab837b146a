//! The cases that run, by what they attack.

use super::Fate::{Again, EveryStart, Marked, Nothing, Odd};
use super::{Case, Group, case};

/// Groups of cases, each for a host of its own.
pub const GROUPS: &[Group] = &[
    Group { name: "answers", memory: 64, guest_memory: 768, cases: ANSWERS },
    Group { name: "words", memory: 16, guest_memory: 96, cases: WORDS },
    Group { name: "memory", memory: 16, guest_memory: 320, cases: MEMORY },
    Group { name: "hoard", memory: 48, guest_memory: 64, cases: HOARD },
    Group { name: "stack", memory: 16, guest_memory: 64, cases: STACK },
    Group { name: "time", memory: 16, guest_memory: 128, cases: TIME },
    Group { name: "host calls", memory: 32, guest_memory: 192, cases: HOST_CALLS },
    Group { name: "capabilities", memory: 16, guest_memory: 128, cases: CAPABILITIES },
    Group { name: "start", memory: 16, guest_memory: 32, cases: START },
];

/// Answers that break the contract, or hold more than one may.
const ANSWERS: &[Case] = &[
    wrong("has one length fewer than values", &[("kind", "lengths-disagree")]),
    wrong("has values that overlap", &[("kind", "ends-decrease")]),
    wrong("has a value that ends behind the bytes", &[("kind", "ends-past-bytes")]),
    wrong("answers a record that is not in the batch", &[("kind", "index-out-of-range")]),
    wrong("answers records out of order", &[("kind", "inputs-not-ascending")]),
    wrong("sets flags that have no meaning", &[("kind", "unknown-flags")]),
    wrong("names partitions without saying which", &[("kind", "partition-missing")]),
    wrong("emits to an output that is not declared", &[("kind", "unknown-destination")]),
    wrong("counts headers that are not there", &[("kind", "headers-missing")]),
    wrong("fails a record and emits for it", &[("kind", "failed-with-outputs")]),
    wrong("fails a record twice", &[("kind", "fails-twice")]),
    wrong("fails a record that is not in the batch", &[("kind", "failure-out-of-range")]),
    wrong("has 100,000 outputs for one record", &[("kind", "too-many")]),
    wrong("has one output of 32 MiB", &[("kind", "too-large")]),
    case("outputs", "emits 100,000 records", Marked("invalid_output")).config(&[("how", "records")]),
    case("outputs", "emits a record of 32 MiB", Marked("invalid_output")).config(&[("how", "bytes")]),
    case("outputs", "emits records without end", Marked("memory_limit")).config(&[("how", "endless")]),
    lifting("names the same megabyte in every column and failure, to be copied again and again", "!same"),
    lifting("says that a column has 2^32 - 1 entries", "!length"),
    lifting("says that a column lies outside of its memory", "!outside"),
    lifting("says that its answer lies where none can begin", "!crooked"),
];

const fn wrong(does: &'static str, config: super::Settings) -> Case {
    case("wrong-answers", does, Marked("invalid_output")).config(config)
}

const fn lifting(does: &'static str, mark: &'static str) -> Case {
    case("lifting", does, Marked("invalid_output")).text().mark(mark)
}

/// Words for people and programs that nobody should see as they are.
const WORDS: &[Case] = &[
    case("messages", "rejects with a message of 1 MiB", Marked("rejected")).config(&[("how", "long")]),
    case("messages", "rejects with words that steer terminals and forge a header", Marked("rejected"))
        .config(&[("how", "escapes")]),
    case("messages", "rejects with a code of 1 MiB that has line ends", Marked("rejected"))
        .config(&[("how", "code")]),
    case("log-flood", "logs 9,000 lines", Nothing).config(&[("how", "lines")]),
    case("log-flood", "logs a line of 1 MiB", Nothing).config(&[("how", "bytes")]),
    case("log-flood", "logs what steers terminals and forges a line", Nothing).config(&[("how", "escapes")]),
    case("log-flood", "writes what is no text to standard output", Nothing).config(&[("how", "stdout")]),
    case("stdio-flood", "writes 16 MiB to standard output, without a line end", Nothing)
        .config(&[("how", "stdout")]),
    case("stdio-flood", "writes lines to standard error until it is stopped", Marked("host_error"))
        .config(&[("how", "stderr")]),
    case("stdio-flood", "asks for 2^63 zeros on standard output", Marked("host_error"))
        .config(&[("how", "zeros")]),
    case("trap", "panics with a message of 1 MiB", Marked("trap")).config(&[("how", "long-panic")]),
];

/// More memory than there is.
const MEMORY: &[Case] = &[
    case("memory", "asks for nearly 2 GiB at once", Marked("memory_limit")).config(&[("how", "step")]),
    case("memory", "takes page after page", Marked("memory_limit")).config(&[("how", "pages")]),
    case("memory", "takes all there is, copes, and keeps the grown instance", Nothing)
        .config(&[("how", "pages"), ("then", "cope")]),
    case("tables", "grows a table until it is denied", Marked("trap")).text(),
    case("tables", "the same where the table counts as memory", Marked("memory_limit"))
        .text()
        .limits(&[("memory", "\"1280KiB\"")]),
    case("out-of-bounds", "writes to the end of the address space", Marked("trap"))
        .config(&[("how", "write")]),
    case("out-of-bounds", "reads from there", Marked("trap")).config(&[("how", "read")]),
    case("out-of-bounds", "writes just behind its memory", Marked("trap")).config(&[("how", "just-past")]),
];

/// All the memory that the host has for instances, which is less than two of these may take.
const HOARD: &[Case] =
    &[case("memory", "takes all that the host has for all instances, and waits with it", Marked("deadline"))
        .config(&[("how", "hold")])
        .limits(&[("deadline", "\"400ms\"")])];

/// The stack, and other ways to end at once.
const STACK: &[Case] = &[
    case("recursion", "calls itself without end", Marked("trap")).config(&[("how", "calls")]),
    case("recursion", "the same with a KiB of locals in each call", Marked("trap"))
        .config(&[("how", "frames")]),
    case("recursion", "the same through a table of functions", Marked("trap")).config(&[("how", "indirect")]),
    case("callback", "calls itself without end while the host calls it back for room", Marked("trap")).text(),
    case("trap", "panics", Marked("trap")).config(&[("how", "panic")]),
    case("trap", "aborts", Marked("trap")).config(&[("how", "abort")]),
    case("trap", "leaves by `exit`, as if all were well", Marked("trap")).config(&[("how", "exit")]),
    case("trap", "aborts on every other record", Odd("trap")).config(&[("when", "odd"), ("how", "abort")]),
    case("trap", "spoils its own state, so that it fails on the records that follow", Again("trap"))
        .config(&[("how", "poison")]),
];

/// Fuel that lasts for longer than the deadline, and host calls without measure.
const TIME_ONLY: super::Settings =
    &[("fuel", "1_000_000_000_000"), ("host_calls", "1_000_000_000"), ("deadline", "\"200ms\"")];

/// Calls that do not end.
const TIME: &[Case] = &[
    case("spin", "computes without end", Marked("out_of_fuel"))
        .config(&[("how", "compute")])
        .limits(&[("fuel", "20_000_000")]),
    case("spin", "the same where fuel is plenty", Marked("deadline"))
        .config(&[("how", "compute")])
        .limits(TIME_ONLY),
    case("spin", "asks for the time without end, where calls are plenty", Marked("deadline"))
        .config(&[("how", "clock")])
        .limits(TIME_ONLY),
    case("spin", "fills 8 MiB without end, each time in one instruction", Marked("deadline"))
        .config(&[("how", "fill")])
        .limits(TIME_ONLY),
    case("random", "asks for 64 KiB of random bytes without end", Marked("deadline"))
        .config(&[("how", "endless")])
        .limits(TIME_ONLY),
    case("sleep", "waits for an hour", Marked("deadline")).config(&[("how", "hour")]).limits(TIME_ONLY),
    case("sleep", "waits for as long as can be said", Marked("deadline"))
        .config(&[("how", "ever")])
        .limits(TIME_ONLY),
    case("polls", "waits for five hundred timers at once", Marked("deadline"))
        .config(&[("how", "many")])
        .limits(TIME_ONLY),
];

/// What the host can be asked for.
const HOST_CALLS: &[Case] = &[
    case("spin", "asks for the time without end", Marked("host_error")).config(&[("how", "clock")]),
    case("spin", "asks for its config without end", Marked("host_error")).config(&[("how", "config")]),
    case("spin", "logs without end", Marked("host_error")).config(&[("how", "log")]),
    case("random", "asks for 1 GiB of random bytes at once", Marked("host_error"))
        .config(&[("how", "large")]),
    case("handles", "makes timers and keeps each", Marked("host_error")).config(&[("how", "timers")]),
    case("handles", "asks for standard output again and again, and keeps each", Marked("host_error"))
        .config(&[("how", "streams")]),
    case("polls", "waits for one thing, named two million times", Marked("host_error"))
        .config(&[("how", "again")]),
    case("polls", "waits for nothing at all", Marked("host_error")).config(&[("how", "none")]),
    case(
        "reach",
        "looks for files, variables, arguments and input, and for a way to the network",
        Marked("rejected"),
    ),
];

/// Instances that are never made.
const START: &[Case] =
    &[case("start-fails", "starts when the host tries it, and from some moment on never again", EveryStart)
        .config(&[("how", "late")])];

/// A secret, and a metric that may show it.
const KEEPS: &[(&str, &str, &str)] =
    &[("secrets", "token", "{ env = \"HOME\" }"), ("metrics", "leaks", "{ labels = [\"key\"] }")];
/// A server that is down, and may be asked.
const ASKS: &[(&str, &str, &str)] = &[("allow", "http", "[\"http://127.0.0.9:9\"]")];

/// What is granted, used to harm.
const CAPABILITIES: &[Case] = &[
    case(
        "leak",
        "writes its secret to the log and the standard streams, and rejects with it",
        Marked("rejected"),
    )
    .config(&[("how", "log")])
    .grants(KEEPS),
    case("leak", "panics with its secret", Marked("trap")).config(&[("how", "panic")]).grants(KEEPS),
    case("leak", "puts its secret into a label", Nothing).config(&[("how", "label")]).grants(KEEPS),
    case("metric-flood", "makes a thousand series, and records what no counter should add", Nothing)
        .grants(&[("metrics", "floods", "{ labels = [\"key\"] }")]),
    case(
        "requests",
        "asks for loopback, private networks and the metadata of clouds, in all spellings",
        Nothing,
    )
    .config(&[("how", "inside"), ("url", "http://127.0.0.9:9")])
    .grants(ASKS),
    case("requests", "sends a hundred requests and lets go of none", Nothing)
        .config(&[("how", "many"), ("url", "http://127.0.0.9:9")])
        .grants(ASKS),
];
