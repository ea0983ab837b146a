//! The host's structure, held by reading its source: who may name which crate, what is pure, how long a
//! file may be.

use std::fs;
use std::path::{Path, PathBuf};

/// Crates that few folders of `host/src` alone may name. The Kafka client has two: the host's side, and the
/// bare client with which the host is compared.
const OWNERS: [(&str, &[&str]); 19] = [
    ("rdkafka", &["kafka", "bench/client"]),
    ("sandmill_kafka_ffi", &["kafka", "bench/client"]),
    ("sandmill_guest", &["bench/native"]),
    ("sandmill_compiled", &["wasm"]),
    ("wasmtime", &["wasm"]),
    ("wasmtime_wasi", &["wasm"]),
    ("wasmtime_wasi_http", &["wasm"]),
    ("wasmparser", &["wasm"]),
    ("hyper_util", &["http", "outgoing"]),
    ("hyper_rustls", &["outgoing"]),
    ("rustls", &["outgoing", "http", "deploy/registry"]),
    ("rustls_native_certs", &["outgoing", "http"]),
    ("tokio_rustls", &["http"]),
    ("oci_client", &["deploy/registry"]),
    ("reqwest", &["deploy/registry"]),
    ("tower_service", &["outgoing"]),
    ("axum", &["http"]),
    ("hyper", &["http"]),
    ("prometheus", &["telemetry"]),
];

/// Modules of the host that only these others may use: what measures it is no part of its work.
const CLOSED: [(&str, &[&str]); 1] = [("crate::bench", &["bench", "cli"])];

/// Modules without I/O: they take the time as an argument and know no thread, clock or channel.
const PURE: [&str; 4] = ["progress", "dispatch", "machine", "batch"];

/// What a pure module does not name.
const IMPURE: [&str; 8] = ["thread", "Instant", "SystemTime", "mpsc", "tokio", "Mutex", "Condvar", "Atomic"];

/// A file is one idea; tests do not count.
const LONGEST_FILE: usize = 500;

/// `main` parses, starts and gives the exit code.
const LONGEST_MAIN: usize = 80;

struct Source {
    /// Relative to the repository.
    path: PathBuf,
    /// Without tests.
    code: String,
}

impl Source {
    /// Code lines with their numbers, without comments and the contents of strings.
    fn lines(&self) -> impl Iterator<Item = (usize, String)> {
        self.code.lines().enumerate().map(|(at, line)| (at + 1, bare(line)))
    }

    fn lies_in(&self, module: &str) -> bool {
        let folder = Path::new("host/src").join(module);
        self.path.starts_with(&folder) || self.path == folder.with_extension("rs")
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository").to_owned()
}

/// All Rust files below a folder of the repository. A file of tests alone is left out.
fn sources(folder: &str) -> Vec<Source> {
    let root = repository();
    let mut folders = vec![root.join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
            let path = entry.expect("the folder can be read").path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
                let text = fs::read_to_string(&path).expect("a source file is text");
                let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default().to_owned();
                let path = path.strip_prefix(&root).expect("it was found below").to_owned();
                found.push(Source { path, code });
            }
        }
    }
    assert!(!found.is_empty(), "no source in {folder}");
    found
}

/// A line without its comment and without what stands in quotes.
fn bare(line: &str) -> String {
    let code = line.split("//").next().unwrap_or_default();
    code.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// Whether a path begins with this crate: `name::…` or `use name;`.
fn names_crate(line: &str, name: &str) -> bool {
    words(line, name).any(|rest| rest.starts_with("::"))
        || line.trim().trim_start_matches("pub ").strip_prefix("use ").is_some_and(|rest| {
            words(rest, name).next().is_some_and(|rest| rest.starts_with([';', ' ', ',', '}']))
        })
}

/// What follows each occurrence of `name` as a word of its own that no path leads to.
fn words<'a>(line: &'a str, name: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(name).filter_map(move |(at, _)| {
        let (before, rest) = (&line[..at], &line[at + name.len()..]);
        let inside = |c: char| c.is_alphanumeric() || c == '_';
        let whole = !before.ends_with(inside) && !before.ends_with("::") && !rest.starts_with(inside);
        whole.then_some(rest)
    })
}

#[test]
fn each_crate_of_the_outside_is_named_in_its_layer_only() {
    let sources = sources("host/src");
    let mut offences = Vec::new();
    for (name, owners) in OWNERS {
        for source in outside(&sources, owners) {
            for (number, _) in source.lines().filter(|(_, line)| names_crate(line, name)) {
                offences
                    .push(format!("{}:{number} names {name}: only {owners:?} may", source.path.display()));
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn what_measures_the_host_is_used_by_nothing_that_runs_it() {
    let sources = sources("host/src");
    let mut offences = Vec::new();
    for (module, users) in CLOSED {
        for source in outside(&sources, users) {
            for (number, _) in source.lines().filter(|(_, line)| line.contains(module)) {
                offences
                    .push(format!("{}:{number} uses {module}: only {users:?} may", source.path.display()));
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

/// Sources that lie in none of these layers, all of which exist.
fn outside<'s>(sources: &'s [Source], layers: &'s [&str]) -> impl Iterator<Item = &'s Source> {
    for layer in layers {
        assert!(sources.iter().any(|source| source.lies_in(layer)), "there is no layer {layer}");
    }
    sources.iter().filter(move |source| !layers.iter().any(|layer| source.lies_in(layer)))
}

#[test]
fn pure_modules_know_no_thread_clock_or_channel() {
    let sources = sources("host/src");
    let mut offences = Vec::new();
    for module in PURE {
        let mut files = sources.iter().filter(|source| source.lies_in(module)).peekable();
        assert!(files.peek().is_some(), "there is no module {module}");
        for source in files {
            for (number, line) in source.lines() {
                for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                    offences.push(format!("{}:{number} names {word}", source.path.display()));
                }
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn the_host_forbids_unsafe_code() {
    for root in ["host/src/lib.rs", "host/src/main.rs"] {
        let text = fs::read_to_string(repository().join(root)).expect("the host has it");
        assert!(text.contains("#![forbid(unsafe_code)]"), "{root} does not forbid unsafe code");
    }
}

#[test]
fn no_file_is_longer_than_one_idea() {
    let mut offences = Vec::new();
    for folder in
        ["host/src", "kafka-ffi/src", "guest-sdk", "examples-wasm", "tests", "benches/src", "xtask/src"]
    {
        for source in sources(folder) {
            let limit = if source.path.ends_with("host/src/main.rs") { LONGEST_MAIN } else { LONGEST_FILE };
            let lines = source.code.lines().count();
            if lines > limit {
                offences
                    .push(format!("{}: {lines} lines before its tests, not {limit}", source.path.display()));
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn the_scan_sees_paths_and_imports_and_nothing_else() {
    for line in ["let c: rdkafka::Offset;", "use rdkafka;", "pub use rdkafka::x;", "use {rdkafka::y};"] {
        assert!(names_crate(&bare(line), "rdkafka"), "{line}");
    }
    for line in [
        "// rdkafka::x",
        "\"rdkafka::x\"",
        "my_rdkafka::x",
        "rdkafka_sys::x",
        "crate::rdkafka::x",
        "wasmtime: &str,",
        "rdkafka,",
    ] {
        assert!(!names_crate(&bare(line), "rdkafka"), "{line}");
        assert!(!names_crate(&bare(line), "wasmtime"), "{line}");
    }
}
