//! `cargo xtask corpus`: every handler that misbehaves on purpose, beside a well-behaved one.

use std::process::ExitCode;

use anyhow::Result;

use crate::paths::Paths;
use crate::prepared::Prepared;
use crate::shell;
use crate::stages::Stages;

/// Builds what it needs and runs it, with `docs` into the results and the page; gives its exit code.
pub fn run(paths: &Paths, docs: bool) -> Result<ExitCode> {
    let mut stages = Stages::begin();
    let prepared = Prepared::make(paths, &mut stages)?;
    stages.run("build", |_| shell::run(&mut paths.build()))?;
    stages.times();
    let mut command = prepared.command(paths, "hostile-corpus");
    if docs {
        command.arg("--docs");
    }
    let status = shell::status(&mut command)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
