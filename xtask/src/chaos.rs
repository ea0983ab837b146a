//! `cargo xtask chaos`: the chaotic run alone, or beside that of another program.

use std::process::ExitCode;

use anyhow::{Result, ensure};

use crate::paths::Paths;
use crate::prepared::Prepared;
use crate::stages::Stages;
use crate::{peers, shell, test};

/// The program beside which our host can run.
const CONFLUENT: &str = "confluent";

/// Minutes of a run of our own, and of each of two side by side.
const ALONE: u64 = 20;
const BESIDE: u64 = 3;

/// What to run.
#[derive(Debug, Default)]
pub struct Options {
    /// For how long things break.
    pub minutes: Option<u64>,
    /// What decides over the faults; without it one is drawn.
    pub seed: Option<u64>,
    /// Beside whom.
    pub against: Option<String>,
    /// Write the results and the page.
    pub docs: bool,
}

/// Builds what it needs and runs it; gives its exit code.
pub fn run(paths: &Paths, options: &Options) -> Result<ExitCode> {
    let Some(other) = &options.against else {
        ensure!(!options.docs, "--docs goes with --against {CONFLUENT}");
        return test::run(paths, &test::Options::chaos(options.minutes.unwrap_or(ALONE), options.seed));
    };
    ensure!(other == CONFLUENT, "--against can be {CONFLUENT}, not {other}");
    let mut stages = Stages::begin();
    let prepared = Prepared::make(paths, &mut stages)?;
    let jar = stages.run("Parallel Consumer", |_| peers::java(paths))?;
    stages.run("build", |_| shell::run(&mut paths.build()))?;
    stages.times();
    let mut command = prepared.command(paths, "side-by-side");
    command
        .args(["--minutes", &options.minutes.unwrap_or(BESIDE).to_string()])
        .arg("--jar")
        .arg(jar)
        .arg("--logs")
        .arg(paths.target.join("chaos"));
    if let Some(seed) = options.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if options.docs {
        command.arg("--docs");
    }
    let status = shell::status(&mut command)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
