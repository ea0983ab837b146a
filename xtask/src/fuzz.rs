//! `cargo xtask fuzz`: coverage-guided inputs against the bookkeeping of a partition.
//!
//! cargo-fuzz compiles the targets of `fuzz/` so that they tell libFuzzer which code an input reached. Its
//! sanitizers need an unstable compiler and look for what safe Rust does not have: without them the pinned one does.
//! New inputs go on from run to run in the target folder. One that breaks a check lands in `fuzz/seeds`, where every
//! test run meets it again.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, ensure};

use crate::paths::Paths;
use crate::{shell, tools};

/// The release that is installed where none is there.
const VERSION: &str = "0.13.2";

/// As `fuzz/Cargo.toml` names them.
const TARGETS: [&str; 3] = ["decode", "round_trip", "sequence"];

/// What a target says of its run.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// Places in the code that an input reached, of how many.
    reached: u64,
    places: u64,
    /// Inputs that were tried.
    inputs: u64,
}

/// Runs the targets one after the other; the code tells whether all checks held.
pub fn run(paths: &Paths, target: Option<&str>, minutes: u64) -> Result<ExitCode> {
    if let Some(target) = target {
        ensure!(TARGETS.contains(&target), "there is no target {target:?}, only {}", TARGETS.join(", "));
    }
    tools::require(&[tools::CXX])?;
    let program = tools::installed(paths, "cargo-fuzz", VERSION)?;
    let mut lines = Vec::new();
    let mut broken = Vec::new();
    for name in TARGETS.into_iter().filter(|name| target.is_none_or(|target| target == *name)) {
        println!("\n== {name}: {minutes} minutes");
        let mut told = Told::default();
        let mut command = command(paths, program.as_os_str(), name, minutes)?;
        let held = watched(&mut command, |line| told.read(line))?;
        lines.push(format!(
            "{name:>12}  {} inputs, {} of {} places in the code reached: {}",
            told.inputs,
            told.reached,
            told.places,
            if held { "held" } else { "BROKEN" }
        ));
        if !held {
            broken.push(name);
        }
    }
    println!("\n{}", lines.join("\n"));
    for name in &broken {
        println!("{name}: the input is in fuzz/seeds/{name}; `cargo test -p sandmill-fuzz` runs it alone");
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn command(paths: &Paths, program: &std::ffi::OsStr, name: &str, minutes: u64) -> Result<Command> {
    let work = paths.target.join("fuzz");
    let found = work.join("corpus").join(name);
    fs::create_dir_all(&found).with_context(|| format!("cannot create {}", found.display()))?;
    let seeds = paths.root.join("fuzz/seeds").join(name);
    let mut command = paths.command(program);
    command
        .args(["fuzz", "run", "--sanitizer", "none", "--features", "libfuzzer", "--target-dir"])
        .arg(work.join("build"))
        .arg(name)
        // New inputs go into the first folder.
        .args([&found, &seeds])
        .args(["--", "-print_final_stats=1", "-timeout=10", "-rss_limit_mb=512"])
        .arg(format!("-max_total_time={}", minutes * 60))
        .arg(format!("-artifact_prefix={}/", seeds.display()));
    Ok(command)
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
        assert_eq!(told, Told { reached: 417, places: 1537, inputs: 166_660 });
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
    fn the_targets_are_those_of_the_crate() {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/Cargo.toml");
        let manifest = fs::read_to_string(manifest).expect("the crate has a manifest");
        let named = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"));
        let named: Vec<&str> = named.filter_map(|file| file.strip_suffix(".rs\"")).collect();
        assert_eq!(named, TARGETS);
    }
}
