//! `cargo deny`: licences, sources, bans, and advisories where their database can be reached.

use std::path::Path;
use std::process::Stdio;

use anyhow::Result;

use crate::paths::{BESIDE, MAIN, Paths};
use crate::{shell, tools};

/// The release that is installed where none is there.
const VERSION: &str = "0.20.2";

/// Checks all workspaces; gives what was left out, if anything.
pub fn check(paths: &Paths) -> Result<Option<String>> {
    let deny = tools::installed(paths, "cargo-deny", VERSION)?;
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
