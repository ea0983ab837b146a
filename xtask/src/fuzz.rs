//! `cargo xtask fuzz`: inputs that try to break what must hold for any of them.
//!
//! cargo-fuzz compiles the targets of `fuzz/`, which are pure, so that they tell libFuzzer which code an input reached.
//! Its sanitizers need an unstable compiler and look for what safe Rust does not have: without them the pinned one does.
//! The targets of `fuzz/whole/` need the whole host, which would compile for half an hour that way: their own program
//! draws inputs, and is guided by what the host says.
//!
//! New inputs go on from run to run in the target folder. One that breaks a check lands in `fuzz/seeds`, where every
//! test run meets it again.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::paths::Paths;
use crate::{guests, shell, tools};

/// The release that is installed where none is there.
const VERSION: &str = "0.13.2";

/// As `fuzz/Cargo.toml` names them.
const PURE: [&str; 5] = ["decode", "round_trip", "sequence", "answer", "config"];
/// As `fuzz/whole/src/lib.rs` names them.
const WHOLE: [&str; 3] = ["module", "lift", "http"];

/// How far one may go astray before it counts as broken: seconds for an input, MiB of memory.
const LIMITS: [&str; 2] = ["-timeout=10", "-rss_limit_mb=512"];

/// What a target says of its run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// Places in the code that an input reached, of how many.
    reached: u64,
    places: u64,
    /// Inputs that were tried.
    inputs: u64,
    /// Kinds of things that the host said.
    kinds: u64,
}

/// Runs the targets one after the other; the code tells whether all checks held.
pub fn run(paths: &Paths, target: Option<&str>, minutes: u64) -> Result<ExitCode> {
    let chosen: Vec<&str> =
        PURE.into_iter().chain(WHOLE).filter(|name| target.is_none_or(|target| target == *name)).collect();
    ensure!(!chosen.is_empty(), "there is no such target, only {}, {}", PURE.join(", "), WHOLE.join(", "));
    tools::require(&[tools::CXX])?;
    let mut lines = Vec::new();
    let mut broken = Vec::new();
    for name in chosen {
        println!("\n== {name}: {minutes} minutes");
        let mut told = Told::default();
        let mut command =
            if WHOLE.contains(&name) { whole(paths, name, minutes)? } else { pure(paths, name, minutes)? };
        let held = watched(&mut command, |line| told.read(line))?;
        lines.push(format!("{name:>12}  {told}: {}", if held { "held" } else { "BROKEN" }));
        if !held {
            broken.push(name);
        }
    }
    println!("\n{}", lines.join("\n"));
    for name in &broken {
        let package = if WHOLE.contains(name) { "sandmill-fuzz-whole" } else { "sandmill-fuzz" };
        println!(
            "{name}: the input is in fuzz/seeds/{name}; `cargo test --release -p {package}` runs it alone"
        );
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Under libFuzzer.
fn pure(paths: &Paths, name: &str, minutes: u64) -> Result<Command> {
    let program = tools::installed(paths, "cargo-fuzz", VERSION)?;
    let (seeds, found) = folders(paths, name)?;
    let mut command = paths.command(program);
    command
        .args(["fuzz", "run", "--sanitizer", "none", "--features", "libfuzzer", "--target-dir"])
        .arg(paths.target.join("fuzz").join("build"))
        .arg(name)
        // New inputs go into the first folder.
        .args([&found, &seeds])
        .args(["--", "-print_final_stats=1"])
        .args(LIMITS)
        .arg(format!("-max_total_time={}", minutes * 60))
        .arg(format!("-artifact_prefix={}/", seeds.display()));
    Ok(command)
}

/// In a program that has the whole host in it, with the compiled handlers.
fn whole(paths: &Paths, name: &str, minutes: u64) -> Result<Command> {
    let guests = guests::build(paths)?;
    let (seeds, found) = folders(paths, name)?;
    let mut cargo = paths.cargo();
    cargo
        .args(["run", "--release", "--package", "sandmill-fuzz-whole", "--", name])
        .args(["--seconds", &(minutes * 60).to_string()])
        .arg("--seeds")
        .arg(seeds)
        .arg("--corpus")
        .arg(found)
        .env("SANDMILL_GUESTS", guests);
    Ok(cargo)
}

/// Where its seeds are, and where inputs go that led somewhere.
fn folders(paths: &Paths, name: &str) -> Result<(PathBuf, PathBuf)> {
    let found = paths.target.join("fuzz").join("corpus").join(name);
    fs::create_dir_all(&found).with_context(|| format!("cannot create {}", found.display()))?;
    Ok((paths.root.join("fuzz/seeds").join(name), found))
}

/// Runs it, shows all but each new input, and hands the lines to `look`; gives whether it succeeded.
fn watched(command: &mut Command, mut look: impl FnMut(&str)) -> Result<bool> {
    let name = shell::shown(command);
    let (reader, writer) = std::io::pipe().context("no pipe")?;
    let copy = writer.try_clone().context("no pipe")?;
    let child = command.stdout(copy).stderr(writer).spawn();
    let mut child = child.with_context(|| format!("cannot start `{name}`"))?;
    // The ends that it writes to close with it, not with this copy of them.
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    for line in BufReader::new(reader).split(b'\n') {
        let line = line.with_context(|| format!("cannot read from `{name}`"))?;
        let line = String::from_utf8_lossy(&line);
        look(&line);
        if is_shown(&line) {
            println!("{line}");
        }
    }
    Ok(child.wait().with_context(|| format!("cannot wait for `{name}`"))?.success())
}

/// Not each input that led somewhere, nor the words that libFuzzer recommends.
fn is_shown(line: &str) -> bool {
    let news = ["NEW", "REDUCE", "RELOAD"].iter().any(|word| line.contains(word))
        && (line.starts_with('#') || line.starts_with('\t'));
    let words = line.starts_with("######") || (line.starts_with('"') && line.contains("# Uses:"));
    !news && !words && !line.contains("Failed to find function")
}

impl Told {
    fn read(&mut self, line: &str) {
        let number =
            |text: &str| text.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok());
        let behind = |mark: &str| line.split_once(mark).and_then(|(_, rest)| number(rest.trim_start()));
        if line.starts_with('#') {
            self.reached = behind("cov:").unwrap_or(self.reached);
            self.inputs = line.get(1..).and_then(number).unwrap_or(self.inputs);
        }
        self.places = behind("Loaded 1 modules   (").unwrap_or(self.places);
        self.inputs = behind("stat::number_of_executed_units:").unwrap_or(self.inputs);
        self.kinds = behind("stat::kinds:").unwrap_or(self.kinds);
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} inputs", self.inputs)?;
        match self.places {
            0 => write!(f, ", {} kinds of answers", self.kinds),
            places => write!(f, ", {} of {places} places in the code reached", self.reached),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_counted() {
        let mut told = Told::default();
        for line in [
            "INFO: Loaded 1 modules   (1537 inline 8-bit counters): 1537 [0x5560e8bf1d70, 0x5560e8bf2371), ",
            "#4096\tpulse  cov: 400 ft: 900 corp: 60/1b lim: 43 exec/s: 2048 rss: 40Mb",
            "#9000\tNEW    cov: 417 ft: 977 corp: 81/1b lim: 80 exec/s: 4500 rss: 41Mb L: 9/30 MS: 1 CopyPart-",
            "stat::number_of_executed_units: 166660",
        ] {
            told.read(line);
        }
        assert_eq!(told, Told { reached: 417, places: 1537, inputs: 166_660, kinds: 0 });
    }

    #[test]
    fn what_the_other_program_says_is_counted() {
        let mut told = Told::default();
        for line in ["#900 17 kinds, slowest 1s", "stat::number_of_executed_units: 1234", "stat::kinds: 56"] {
            told.read(line);
        }
        assert_eq!(told.to_string(), "1234 inputs, 56 kinds of answers");
    }

    #[test]
    fn what_a_check_says_is_shown_and_each_new_input_is_not() {
        assert!(is_shown("thread '<unnamed>' panicked at fuzz/src/decode.rs:29:26:"));
        assert!(is_shown("#4096\tpulse  cov: 400 ft: 900 corp: 60/1b lim: 43 exec/s: 2048 rss: 40Mb"));
        assert!(!is_shown(
            "#9000\tNEW    cov: 417 ft: 977 corp: 81/1b lim: 80 exec/s: 4500 rss: 41Mb L: 9/30"
        ));
        assert!(!is_shown("\"\\007\\000\" # Uses: 280"));
    }

    #[test]
    fn the_targets_are_those_of_the_crates() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz");
        let read = |file: &str| fs::read_to_string(format!("{folder}/{file}")).expect("the crate has it");
        let manifest = read("Cargo.toml");
        let named = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"));
        let named: Vec<&str> = named.filter_map(|file| file.strip_suffix(".rs\"")).collect();
        assert_eq!(named, PURE);
        let list = read("whole/src/lib.rs");
        let named = list.lines().filter_map(|line| line.trim().strip_prefix("Target { name: \""));
        let named: Vec<&str> = named.filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(named, WHOLE);
    }
}
