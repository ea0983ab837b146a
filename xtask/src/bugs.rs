//! `cargo xtask bugs`: shows that the simulation finds bugs.
//!
//! The machine and what it stands on are pure: they compile alone, in seconds. This task copies them into a
//! crate of their own in the target folder, puts one bug in at a time, and runs the simulation until it breaks
//! a promise. A bug that survives is an error, and so is one whose place in the source is gone.

mod list;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use crate::paths::Paths;
use crate::shell;
use list::{BUGS, Bug};

/// What the simulation needs of `host/src`.
const PURE: [&str; 9] =
    ["batch", "cancel.rs", "dispatch", "ids.rs", "machine", "outcome.rs", "progress", "time.rs", "work.rs"];
/// One file of a folder that is not pure as a whole.
const HISTOGRAM: &str = "telemetry/histogram.rs";

const LIB: &str = "\
//! The pure modules of the host, for the simulation.
#![allow(dead_code, missing_docs, unused_imports)]
pub mod batch;
pub mod cancel;
pub mod dispatch;
pub mod ids;
pub mod machine;
pub mod outcome;
pub mod progress;
pub mod time;
pub mod work;
pub mod telemetry {
    mod histogram;
    pub use histogram::Histogram;
}
";

/// Crates that the pure modules and their tests use; their versions are the host's.
const DEPENDENCIES: [&str; 9] =
    ["base64", "crc32c", "fastrand", "foldhash", "futures-util", "slab", "thiserror", "tokio", "tracing"];
const FOR_TESTS: [&str; 1] = ["proptest"];

/// Seeds after which a bug counts as not found.
const SEEDS: u64 = 200_000;
/// Seeds that have to pass without a bug.
const SOUND: u64 = 200;

/// Puts in one bug after the other, and prints which seed found it.
pub fn run(paths: &Paths, filter: Option<&str>) -> Result<()> {
    let lab = Lab::set_up(paths)?;
    eprintln!("compiling the pure modules alone, then once more for each bug");
    if let Some(found) = lab.simulate(SOUND)? {
        bail!("without any bug the simulation breaks a promise: {found}");
    }
    let mut survivors = Vec::new();
    println!("| bug | what goes wrong | seed | runs | what the simulation says |\n|---|---|---|---|---|");
    for bug in BUGS.iter().filter(|bug| filter.is_none_or(|filter| bug.name.contains(filter))) {
        lab.put_in(bug)?;
        let found = lab.simulate(SEEDS).with_context(|| format!("with the bug {:?}", bug.name))?;
        lab.take_out(bug)?;
        match found {
            Some(Found { seed, runs, says }) => {
                println!("| {} | {} | {seed} | {runs} | {} |", bug.name, bug.what, says.replace('|', "/"));
            }
            None => {
                println!("| {} | {} | | {SEEDS} | **not found** |", bug.name, bug.what);
                survivors.push(bug.name);
            }
        }
    }
    ensure!(survivors.is_empty(), "bugs that the simulation does not find: {}", survivors.join(", "));
    Ok(())
}

/// The crate in the target folder.
struct Lab<'p> {
    paths: &'p Paths,
    source: PathBuf,
    folder: PathBuf,
}

/// How the simulation found a bug.
struct Found {
    seed: String,
    runs: String,
    says: String,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SEED={}: {}", self.seed, self.says)
    }
}

impl<'p> Lab<'p> {
    fn set_up(paths: &'p Paths) -> Result<Self> {
        let lab = Lab {
            paths,
            source: paths.root.join("host/src"),
            folder: paths.target.join("bugs").join("crate"),
        };
        if lab.folder.exists() {
            fs::remove_dir_all(&lab.folder).context("cannot clear the folder of the last run")?;
        }
        for module in PURE.iter().chain([&HISTOGRAM]) {
            copy(&lab.source.join(module), &lab.folder.join("src").join(module))?;
        }
        write(&lab.folder.join("src/lib.rs"), LIB)?;
        let host = read(&paths.root.join("host/Cargo.toml"))?;
        write(&lab.folder.join("Cargo.toml"), &manifest(&host)?)?;
        // The same versions as the host's: nothing has to be fetched.
        write(&lab.folder.join("Cargo.lock"), &read(&paths.root.join("Cargo.lock"))?)?;
        Ok(lab)
    }

    fn put_in(&self, bug: &Bug) -> Result<()> {
        let text = read(&self.source.join(bug.file))?;
        write(&self.folder.join("src").join(bug.file), &with(bug, &text)?)
    }

    fn take_out(&self, bug: &Bug) -> Result<()> {
        copy(&self.source.join(bug.file), &self.folder.join("src").join(bug.file))
    }

    /// Runs the simulation over so many seeds; says which one broke a promise.
    fn simulate(&self, seeds: u64) -> Result<Option<Found>> {
        let mut cargo = self.paths.cargo();
        cargo
            .args(["test", "--quiet", "--lib", "simulation_keeps_every_promise"])
            .current_dir(&self.folder)
            .env("CARGO_TARGET_DIR", self.paths.target.join("bugs").join("target"))
            .env("SEEDS", seeds.to_string())
            .env_remove("SEED")
            .stdin(Stdio::null());
        let output = cargo.output().with_context(|| format!("cannot start `{}`", shell::shown(&cargo)))?;
        if output.status.success() {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let found = text.lines().find_map(found);
        let errors = String::from_utf8_lossy(&output.stderr);
        found.map(Some).with_context(|| format!("the simulation could not run:\n{text}\n{errors}"))
    }
}

/// Reads the line with which the simulation reports a broken promise.
fn found(line: &str) -> Option<Found> {
    let (seed, rest) = line.strip_prefix("SEED=")?.split_once(" breaks a promise, after ")?;
    let (runs, says) = rest.split_once(" runs: ")?;
    Some(Found { seed: seed.to_owned(), runs: runs.to_owned(), says: says.to_owned() })
}

/// The file with the bug in it.
fn with(bug: &Bug, text: &str) -> Result<String> {
    let times = text.matches(bug.old).count();
    ensure!(
        times == 1,
        "the bug {:?} replaces text that occurs {times} times in {}, not once: mend xtask/src/bugs/list.rs",
        bug.name,
        bug.file
    );
    Ok(text.replacen(bug.old, bug.new, 1))
}

/// The crate's manifest, with dependencies as the host names them.
fn manifest(host: &str) -> Result<String> {
    let line = |name: &&str| {
        let named = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(" = "));
        host.lines().find(named).with_context(|| format!("the host does not depend on {name} any more"))
    };
    let lines = DEPENDENCIES.iter().map(line).collect::<Result<Vec<_>>>()?.join("\n");
    let for_tests = FOR_TESTS.iter().map(line).collect::<Result<Vec<_>>>()?.join("\n");
    Ok(format!(
        "[package]\nname = \"sandmill-pure\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n\
         [dependencies]\n{lines}\n\n[dev-dependencies]\n{for_tests}\n\n\
         # As release, but compiled in seconds: once for each bug, to run for a moment.\n\
         [profile.dev]\ndebug = false\noverflow-checks = false\ndebug-assertions = false\n\n[workspace]\n"
    ))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
            let name = entry.with_context(|| format!("cannot read {}", from.display()))?.file_name();
            copy(&from.join(&name), &to.join(&name))?;
        }
        return Ok(());
    }
    write(to, &read(from)?)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository").to_owned()
    }

    #[test]
    fn every_bug_finds_its_place_in_the_source() {
        for bug in BUGS {
            let text = read(&repository().join("host/src").join(bug.file)).expect("the file is there");
            let changed = with(bug, &text).expect("its text occurs once");
            assert_ne!(changed, text, "{}", bug.name);
        }
        assert!(BUGS.len() >= 10);
    }

    #[test]
    fn the_crate_takes_its_dependencies_from_the_host() {
        let host = read(&repository().join("host/Cargo.toml")).expect("the host has a manifest");
        let text = manifest(&host).expect("the host has them all");
        assert!(text.contains("\nproptest = ") && text.contains("\nslab = ") && !text.contains("wasmtime"));
        assert!(manifest("[dependencies]\n").is_err());
    }

    #[test]
    fn the_line_of_a_broken_promise_is_read_and_others_are_not() {
        let line = "SEED=17 breaks a promise, after 18 runs: in/0: a commit at 5 passes 4";
        let read = found(line).expect("it is one");
        assert_eq!((&*read.seed, &*read.runs, &*read.says), ("17", "18", "in/0: a commit at 5 passes 4"));
        assert!(found("SEED=17 is fine").is_none() && found("test result: ok").is_none());
    }
}
