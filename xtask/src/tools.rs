//! Programs that a machine must have, and the command that installs each.

use std::env;
use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::paths::Paths;
use crate::shell;

/// A program or header that no task can bring along.
pub struct Tool {
    name: &'static str,
    why: &'static str,
    /// For Debian and its relatives.
    install: &'static str,
    present: fn() -> bool,
}

/// What compiling the Kafka client needs.
pub const NATIVE: [Tool; 4] = [
    Tool {
        name: "cc",
        why: "compiles the Kafka client",
        install: "apt-get install gcc libc6-dev",
        present: || on_path("cc").is_some(),
    },
    Tool {
        name: "make",
        why: "compiles the Kafka client",
        install: "apt-get install make",
        present: || on_path("make").is_some(),
    },
    Tool {
        name: "zlib.h",
        why: "header of the Kafka client's compression",
        install: "apt-get install zlib1g-dev",
        present: || header("zlib.h"),
    },
    Tool {
        name: "openssl/ssl.h",
        why: "header of the Kafka client's TLS",
        install: "apt-get install libssl-dev pkg-config",
        present: || header("openssl/ssl.h") && on_path("pkg-config").is_some(),
    },
];

/// Runs the broker of the end-to-end tests.
pub const JAVA: Tool = Tool {
    name: "java",
    why: "runs the Apache Kafka of the end-to-end tests (17 or newer)",
    install: "apt-get install default-jre-headless",
    present: || on_path("java").is_some(),
};

/// Fetches that broker's jars.
pub const MAVEN: Tool = Tool {
    name: "mvn",
    why: "fetches the jars of Apache Kafka",
    install: "apt-get install maven",
    present: || on_path("mvn").is_some(),
};

/// Builds the peers that are written in Go.
pub const GO: Tool = Tool {
    name: "go",
    why: "builds the benchmark's peers that are written in Go (1.26 or newer)",
    install: "see https://go.dev/doc/install",
    present: || on_path("go").is_some(),
};

/// Compiles the fuzzer.
pub const CXX: Tool = Tool {
    name: "c++",
    why: "compiles libFuzzer, which guides the inputs of `cargo xtask fuzz`",
    install: "apt-get install g++",
    present: || on_path("c++").is_some(),
};

/// Samples where a program spends its time.
pub const PERF: Tool = Tool {
    name: "perf",
    why: "samples what is profiled",
    install: "apt-get install linux-perf",
    present: || on_path("perf").is_some(),
};

impl Tool {
    /// Whether this machine has it.
    pub fn is_present(&self) -> bool {
        (self.present)()
    }

    /// What is missing and what to do.
    pub fn missing(&self) -> String {
        format!("{} is missing: {}; install it: {}", self.name, self.why, self.install)
    }
}

/// Fails with all that is missing at once.
pub fn require(tools: &[Tool]) -> Result<()> {
    let missing: Vec<String> = tools.iter().filter(|tool| !tool.is_present()).map(Tool::missing).collect();
    if missing.is_empty() { Ok(()) } else { bail!("{}", missing.join("\n       ")) }
}

/// A subcommand of cargo: on the path, in the cache, or compiled into the cache. Unoptimized: that takes half of
/// the time, at most a minute on two cores, and none of them computes much itself.
pub fn installed(paths: &Paths, program: &str, version: &str) -> Result<PathBuf> {
    if let Some(found) = on_path(program) {
        return Ok(found);
    }
    let root = paths.cache.join(format!("tools/{program}-{version}"));
    let path = root.join("bin").join(program);
    if !path.is_file() {
        println!("compiling {program} {version} into {}, once", root.display());
        let mut cargo = paths.cargo();
        cargo
            .args(["install", "--debug", "--locked", "--version", version, "--root"])
            .arg(&root)
            .arg(program)
            .env("CARGO_TARGET_DIR", paths.target.join("tools"));
        shell::run(&mut cargo)?;
    }
    if !path.is_file() {
        bail!("{program} is not at {} after it was installed", path.display());
    }
    Ok(path)
}

/// Where a program lies.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// Where distributions keep headers; on other systems the compiler finds its own and says so itself.
fn header(name: &str) -> bool {
    !cfg!(target_os = "linux")
        || [
            "/usr/include",
            "/usr/local/include",
            "/usr/include/x86_64-linux-gnu",
            "/usr/include/aarch64-linux-gnu",
        ]
        .iter()
        .any(|folder| PathBuf::from(folder).join(name).is_file())
}
