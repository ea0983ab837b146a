//! The cases that no host runs, and how a host says so.

use std::path::Path;
use std::time::Duration;

use super::Fate::{self, DoesNotStart, Refused, TooDear};
use super::modules::{
    bare_core_module, circle, component_cut_short, core_cut_short, crowd, empty, huge_function, nested_loops,
    notes, ten_thousand_functions, text_form,
};
use super::{Case, case};
use crate::host::Home;
use crate::job::Job;
use crate::kafka::Kafka;
use crate::refusal::{REFUSED as CODE, assert_said};

/// How long a host may take to say no, on a machine that compiles beside it.
const SAYS: Duration = Duration::from_secs(90);

/// Less than any start of these takes.
const SOON: super::Settings = &[("deadline", "\"500ms\"")];

/// As little as may be set.
const QUICK: super::Settings = &[("compile_time", "\"300ms\"")];

/// Modules that are none, ask for too much, or do not start.
pub const REFUSED: &[Case] = &[
    case("no-wasm", "is a text file", Refused(&["no-wasm.wasm", "no webassembly"])).made(notes),
    case("no-wasm", "is empty", Refused(&["no-wasm.wasm", "no webassembly"])).made(empty),
    case("no-wasm", "is WebAssembly in text form", Refused(&["no-wasm.wasm", "text form"])).made(text_form),
    case("cut-short", "is the first half of a component", Refused(&["cut-short.wasm", "cut short"]))
        .made(component_cut_short),
    case("cut-short", "is a core module without its last bytes", Refused(&["cut-short.wasm", "cut short"]))
        .made(core_cut_short),
    case(
        "no-exports",
        "is a component that exports nothing",
        Refused(&["no-exports.wasm", "export", "sandmill:handler"]),
    )
    .text(),
    case("no-exports", "is a core module that exports nothing", Refused(&["no-exports.wasm", "core module"]))
        .made(bare_core_module),
    case(
        "other-version",
        "speaks version 9.0.0 of the contract",
        Refused(&["hostile_other_version.wasm", "9.0.0", "0.1.0"]),
    ),
    case(
        "unknown-import",
        "asks for an import that no host has",
        Refused(&["unknown-import.wasm", "acme:storage/disk"]),
    )
    .text(),
    case("features", "shares its memory with threads", Refused(&["features.wasm", "threads"])).text(),
    case(
        "memories",
        "has three memories, each with a limit of its own",
        Refused(&["memories.wasm", "3 linear memories", "limits.memories"]),
    )
    .text(),
    case(
        "instances",
        "is made of a hundred core instances",
        Refused(&["instances.wasm", "100 core instances", "limits.core_instances"]),
    )
    .text(),
    case(
        "compiler-bombs",
        "has a type of two packages, each of which needs the other",
        Refused(&["compiler-bombs.wasm", "the compiler crashed", "overflowed its stack"]),
    )
    .made(circle),
    case(
        "compiler-bombs",
        "nests 1,000 loops over 2,000 locals",
        TooDear(&["compiler-bombs.wasm", "longer than 300ms", "host.compile_time"]),
    )
    .made(nested_loops)
    .host(QUICK),
    case(
        "compiler-bombs",
        "the same where memory runs out first",
        TooDear(&["compiler-bombs.wasm", "256 MiB", "host.compile_memory"]),
    )
    .made(nested_loops)
    .host(&[("compile_memory", "\"256MiB\"")]),
    case(
        "compiler-bombs",
        "has a function of 2.6 MB",
        TooDear(&["compiler-bombs.wasm", "longer than 300ms", "host.compile_time"]),
    )
    .made(huge_function)
    .host(QUICK),
    case(
        "compiler-bombs",
        "has ten thousand functions",
        TooDear(&["compiler-bombs.wasm", "longer than 300ms", "host.compile_time"]),
    )
    .made(ten_thousand_functions)
    .host(QUICK),
    case(
        "compiler-bombs",
        "has 200,001 functions",
        Refused(&["compiler-bombs.wasm", "200000 functions", "host.module_functions"]),
    )
    .made(crowd),
    case(
        "large-memory",
        "wants 4 GiB before anybody calls it",
        Refused(&["large-memory.wasm", "4294967296 bytes", "limits.memory"]),
    )
    .text(),
    case(
        "start-section",
        "computes without end while an instance is made",
        DoesNotStart(&["start-section.wasm"]),
    )
    .text()
    .limits(SOON),
    case("start-fails", "answers `start` with an error", DoesNotStart(&["start", "as the config asks"]))
        .config(&[("how", "error")]),
    case("start-fails", "panics in `start`", DoesNotStart(&["hostile_start_fails.wasm", "start", "trap"]))
        .config(&[("how", "trap")]),
    case("start-fails", "computes without end in `start`", DoesNotStart(&["start"]))
        .config(&[("how", "spin")])
        .limits(SOON),
    case(
        "start-fails",
        "takes memory in `start` until it is denied",
        DoesNotStart(&["start", "memory_limit"]),
    )
    .config(&[("how", "memory")]),
];

/// Has a host refuse a case: to run it, to check its configuration, and to inspect its module.
///
/// # Panics
/// When one of them does not, or says something else.
pub fn refuse(kafka: &Kafka, case: &Case) {
    let home = Home::new();
    let module = case.file(&home);
    let mut job = Job::new(kafka, &module, 1);
    for (key, value) in case.config {
        job = job.config(key, value);
    }
    for (key, value) in case.limits {
        job = job.set_in("limits", key, value);
    }
    for (key, value) in case.host {
        job = job.set_host(key, value);
    }
    let (Refused(words) | TooDear(words) | DoesNotStart(words)) = case.fate else {
        panic!("{} runs", case.name())
    };
    assert_said(&job.start().end(SAYS), CODE, words);
    let file = job.home.file("sandmill.toml", job.file_of(&job.pipeline()));
    let check = [Path::new("check"), Path::new("--offline"), Path::new("--config"), &file];
    assert_said(&job.home.spawn(&check).end(SAYS), CODE, words);
    let inspect = || home.spawn(&[Path::new("inspect"), &module]).end(SAYS);
    match case.fate {
        Fate::Refused(_) => assert_said(&inspect(), CODE, words),
        // Its `start` may need a config that `inspect` does not have: so it tells, and does not refuse. Without
        // one a handler goes the first of its ways, which is reason enough.
        Fate::DoesNotStart(_) => {
            let said = inspect();
            assert_eq!(said.code, 0, "{}", said.stderr);
            assert!(said.stdout.contains("start fails"), "{}: {}", case.name(), said.stdout);
        }
        _ => {}
    }
}
