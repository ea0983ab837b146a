//! `cargo deny`: licences, sources, bans, and advisories where their database can be reached.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Result, bail};

use crate::paths::{BESIDE, MAIN, Paths};
use crate::{shell, tools};

/// The release that is installed where none is there.
const VERSION: &str = "0.20.2";

/// Checks all workspaces; gives what was left out, if anything.
pub fn check(paths: &Paths) -> Result<Option<String>> {
    let deny = installed(paths)?;
    // It asks the network, and says no quickly where there is none.
    let database = shell::status(
        paths.command(&deny).args(["fetch", "db"]).stdout(Stdio::null()).stderr(Stdio::null()),
    )?;
    let mut checks = vec!["bans", "licenses", "sources"];
    if database.success() {
        checks.push("advisories");
    }
    for workspace in [MAIN].iter().chain(&BESIDE) {
        let mut command = paths.command(&deny);
        command
            .arg("--manifest-path")
            .arg(Path::new(workspace).join("Cargo.toml"))
            .args(["--all-features", "--config"])
            .arg(paths.root.join("deny.toml"))
            .args(["check", "--hide-inclusion-graph", "--show-stats"])
            .args(&checks);
        shell::run(&mut command)?;
    }
    Ok((!database.success()).then(|| "advisories (their database cannot be reached from here)".to_owned()))
}

/// The program: on the path, in the cache, or compiled into the cache. Unoptimized: that takes half of the
/// time, about a minute on two cores, and a check takes two seconds either way.
fn installed(paths: &Paths) -> Result<PathBuf> {
    if let Some(found) = tools::on_path("cargo-deny") {
        return Ok(found);
    }
    let root = paths.cache.join(format!("tools/cargo-deny-{VERSION}"));
    let program = root.join("bin/cargo-deny");
    if !program.is_file() {
        println!("compiling cargo-deny {VERSION} into {}, once", root.display());
        let mut cargo = paths.cargo();
        cargo
            .args(["install", "--debug", "--locked", "--version", VERSION, "--root"])
            .arg(&root)
            .arg("cargo-deny")
            .env("CARGO_TARGET_DIR", paths.target.join("tools"));
        shell::run(&mut cargo)?;
    }
    if !program.is_file() {
        bail!("cargo-deny is not at {} after it was installed", program.display());
    }
    Ok(program)
}
