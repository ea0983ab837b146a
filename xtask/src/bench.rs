//! `cargo xtask bench` and `cargo xtask profile`: build everything in release, then hand over to the ladder.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::paths::Paths;
use crate::prepared::Prepared;
use crate::stages::Stages;
use crate::{guests, kafka, peers, shell, tools};

/// The program that runs the benchmarks.
const LADDER: &str = "ladder";

/// What this task has to know of the ladder's arguments; all of them are passed on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    only: Vec<String>,
    skip: Vec<String>,
    quick: bool,
    /// Nothing runs, so nothing need be built but the ladder.
    talks_only: bool,
    /// 1,000 records, without peers.
    smoke: bool,
}

impl Seen {
    fn of(arguments: &[OsString]) -> Self {
        let mut seen = Self::default();
        let mut words = arguments.iter().map(|word| word.to_string_lossy().into_owned());
        while let Some(word) = words.next() {
            let (option, value) = match word.split_once('=') {
                Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let mut list = || {
                let value = value.clone().or_else(|| words.next()).unwrap_or_default();
                value.split(',').map(str::to_owned).collect::<Vec<_>>()
            };
            match option.as_str() {
                "--only" => seen.only.extend(list()),
                "--skip" => seen.skip.extend(list()),
                "--quick" => seen.quick = true,
                "--smoke" => seen.smoke = true,
                "--plan" | "--show" | "--help" | "-h" => seen.talks_only = true,
                _ => {}
            }
        }
        seen
    }

    fn wants(&self, part: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == part)
    }
}

/// Builds, measures, and gives the ladder's exit code.
pub fn bench(paths: &Paths, arguments: &[OsString]) -> Result<ExitCode> {
    let seen = Seen::of(arguments);
    let mut ladder = if seen.talks_only {
        shell::run(&mut paths.build())?;
        paths.command(paths.target.join("release").join(LADDER))
    } else {
        let mut stages = Stages::begin();
        let ladder = prepared(paths, &seen, &mut stages)?;
        stages.times();
        ladder
    };
    run(ladder.args(arguments))
}

fn prepared(paths: &Paths, seen: &Seen, stages: &mut Stages) -> Result<Command> {
    let prepared = Prepared::make(paths, stages)?;
    let skip = if seen.smoke { vec!["peers".to_owned()] } else { seen.skip.clone() };
    let peers = stages.run("peers", |_| peers::build(paths, &skip))?;
    stages.run("build", |_| shell::run(&mut paths.build()))?;
    let mut ladder = prepared.command(paths, LADDER);
    if seen.wants("micro") && !seen.smoke {
        stages.run("micro benchmarks", |_| micro(paths, &prepared.guests, seen.quick))?;
        ladder.arg("--criterion").arg(paths.target.join("criterion"));
    }
    for peer in peers {
        match peer.program {
            Ok(program) => ladder.arg("--peer").arg(format!("{}={}", peer.level, program.display())),
            Err(reason) => ladder.arg("--missing").arg(format!("{}={reason}", peer.level)),
        };
    }
    Ok(ladder)
}

/// Criterion's estimates go to `criterion` in the target folder.
fn micro(paths: &Paths, guests: &Path, quick: bool) -> Result<()> {
    let mut cargo = paths.cargo();
    cargo.args(["bench", "--workspace", "--bench", "micro"]).env("SANDMILL_GUESTS", guests);
    if quick {
        cargo.args(["--", "--quick"]);
    }
    shell::run(&mut cargo)
}

/// Flame graphs of a workload: host and guest.
pub fn profile(paths: &Paths, workload: &str, arguments: &[OsString]) -> Result<ExitCode> {
    tools::require(&tools::NATIVE)?;
    tools::require(&[tools::JAVA, tools::PERF])?;
    let prepared = Prepared { guests: guests::build_named(paths)?, jars: kafka::jars(paths)? };
    shell::run(&mut paths.build())?;
    run(prepared
        .command(paths, LADDER)
        .args(["--profile", workload, "--output"])
        .arg(paths.target.join("profiles"))
        .args(arguments))
}

fn run(ladder: &mut Command) -> Result<ExitCode> {
    let status = shell::status(ladder)?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_ladder_is_told_is_understood_in_both_forms() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let seen = Seen::of(&words(&["--name", "x", "--only=noop,micro", "--skip", "bento", "--quick"]));
        assert_eq!(seen.only, ["noop", "micro"]);
        assert_eq!(seen.skip, ["bento"]);
        assert!(seen.quick && !seen.talks_only && seen.wants("micro") && !seen.wants("parse"));
        assert!(Seen::of(&words(&["--plan"])).talks_only);
        assert!(Seen::of(&[]).wants("micro"));
    }
}
