//! `cargo xtask test`: everything CI runs, stage after stage; the first failure ends it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::counts::Counts;
use crate::paths::{BESIDE, MAIN, Paths, SDK};
use crate::stages::Stages;
use crate::{bugs, deny, guests, kafka, shell, tools};

/// How many tests run at once, as the tests' harness knows it.
const THREADS: &str = "RUST_TEST_THREADS";

/// What to run.
#[derive(Debug, Default)]
pub struct Options {
    /// The tests that take longer as well.
    pub full: bool,
    /// Only tests whose names contain this, and none of the checks around them.
    pub filter: Option<String>,
    /// Variables for the tests.
    pub variables: Vec<(&'static str, String)>,
    /// Show what tests print, also where they pass.
    pub shown: bool,
}

impl Options {
    /// The chaotic run alone, for so long; without a seed it draws one.
    pub fn chaos(minutes: u64, seed: Option<u64>) -> Self {
        let mut variables = vec![("SANDMILL_TESTS_MINUTES", minutes.to_string())];
        variables.extend(seed.map(|seed| ("SANDMILL_TESTS_SEED", seed.to_string())));
        Self { filter: Some("chaos::a_chaotic_run".to_owned()), variables, shown: true, ..Self::default() }
    }
}

/// Runs all stages and prints the summary.
pub fn run(paths: &Paths, options: &Options) -> Result<ExitCode> {
    let mut stages = Stages::begin();
    let result = all(paths, options, &mut stages);
    stages.finish(&result);
    Ok(if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Formatting and lints alone.
pub fn check(paths: &Paths) -> Result<()> {
    tools::require(&tools::NATIVE)?;
    guests::add_targets(paths)?;
    format(paths)?;
    lints(paths)
}

fn all(paths: &Paths, options: &Options, stages: &mut Stages) -> Result<()> {
    stages.run("tools", |_| tools::require(&tools::NATIVE).and_then(|()| guests::add_targets(paths)))?;
    if options.filter.is_none() {
        stages.run("format", |_| format(paths))?;
        stages.run("lints", |_| lints(paths))?;
        stages.run("docs", |_| docs(paths))?;
        stages.run("dependencies", |stages| {
            deny::check(paths)?.into_iter().for_each(|part| stages.leave_out(part));
            Ok(())
        })?;
        stages.run("tests of SDK and example handlers", |stages| beside(paths, stages))?;
    }
    let guests = stages.run("handlers to Wasm", |_| guests::build(paths))?;
    let jars = stages.run("Apache Kafka", |stages| broker(paths, stages))?;
    stages.run("build", |_| shell::run(&mut paths.build()))?;
    stages.run("tests", |stages| {
        let mut cargo = paths.cargo();
        cargo.args(["test", "--release", "--workspace", "--no-fail-fast"]);
        if jars.is_none() {
            cargo.args(["--exclude", "sandmill-tests", "--exclude", "sandmill-benches"]);
        }
        cargo.args(&options.filter);
        // Most tests wait for brokers and hosts most of the time: on two cores four at once take half as long as two.
        if std::env::var_os(THREADS).is_none() {
            cargo.env(THREADS, "4");
        }
        cargo.env("SANDMILL_BIN", paths.binary()).env("SANDMILL_GUESTS", &guests);
        if let Some(jars) = &jars {
            cargo.env("SANDMILL_KAFKA_LIBS", jars);
        }
        if options.full {
            cargo.env("SANDMILL_TESTS_FULL", "1");
        }
        cargo.envs(options.variables.iter().map(|(name, value)| (name, value)));
        if options.shown {
            cargo.args(["--", "--nocapture"]);
        }
        counted(&mut cargo, &mut stages.counts)
    })?;
    if options.full && options.filter.is_none() {
        stages.run("bugs put in on purpose", |_| bugs::run(paths, None))?;
    }
    if !options.full && options.filter.is_none() {
        stages.leave_out("the longer tests (cargo xtask test --full)".to_owned());
    }
    Ok(())
}

/// All workspaces, as rustfmt.toml says.
fn format(paths: &Paths) -> Result<()> {
    for workspace in [MAIN].iter().chain(&BESIDE) {
        shell::run(paths.cargo_in(workspace).args(["fmt", "--all", "--check"]))?;
    }
    Ok(())
}

/// All lints are errors. The main workspace in the release profile, so that build scripts (the Kafka
/// client's takes a minute) run once for lints, docs and tests.
fn lints(paths: &Paths) -> Result<()> {
    shell::run(paths.cargo().args([
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    for workspace in BESIDE {
        let mut cargo = paths.cargo_in(workspace);
        shell::run(cargo.args([
            "clippy",
            "--workspace",
            "--all-features",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))?;
    }
    Ok(())
}

/// Docs without a warning: no dead link, nothing undocumented.
fn docs(paths: &Paths) -> Result<()> {
    let strict = ("RUSTDOCFLAGS", "-D warnings");
    shell::run(paths.cargo().args(["doc", "--release", "--workspace", "--no-deps"]).env(strict.0, strict.1))?;
    shell::run(
        paths
            .cargo_in(SDK)
            .args(["doc", "--workspace", "--all-features", "--no-deps"])
            .env(strict.0, strict.1),
    )
}

/// A handler is a plain function: the SDK and the examples test without Wasm. In the development profile:
/// that of release is made for guests, and slow to compile.
fn beside(paths: &Paths, stages: &mut Stages) -> Result<()> {
    for workspace in BESIDE {
        let mut cargo = paths.cargo_in(workspace);
        cargo.args(["test", "--workspace", "--all-features", "--no-fail-fast"]);
        counted(&mut cargo, &mut stages.counts)?;
    }
    Ok(())
}

/// The broker's jars; none where Java or Maven is missing.
fn broker(paths: &Paths, stages: &mut Stages) -> Result<Option<PathBuf>> {
    if !tools::JAVA.is_present() {
        stages.lacks_tool("the end-to-end tests", &tools::JAVA.missing())?;
        return Ok(None);
    }
    match kafka::jars(paths) {
        Err(_) if !tools::MAVEN.is_present() => {
            stages.lacks_tool("the end-to-end tests", &tools::MAVEN.missing())?;
            Ok(None)
        }
        jars => jars.map(Some),
    }
}

/// Runs `cargo test` and counts what it says.
fn counted(cargo: &mut std::process::Command, counts: &mut Counts) -> Result<()> {
    let status = shell::watched(cargo, |line| counts.add(line)).context("tests could not run")?;
    ensure!(status.success(), "`{}` failed ({status})", shell::shown(cargo));
    Ok(())
}
