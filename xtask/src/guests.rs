//! The example handlers, compiled to Wasm.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::paths::{EXAMPLES, Paths};
use crate::shell;

/// Components, and the core modules of which the host makes components itself.
const TARGETS: [&str; 2] = ["wasm32-wasip2", "wasm32-wasip1"];

/// Builds all handlers for both targets; gives the folder in which `TARGET/release/NAME.wasm` lie.
pub fn build(paths: &Paths) -> Result<PathBuf> {
    add_targets(paths)?;
    for target in TARGETS {
        let mut cargo = paths.cargo_in(EXAMPLES);
        cargo.args(["build", "--release", "--workspace", "--target", target]);
        shell::run(&mut cargo)?;
    }
    Ok(paths.guests())
}

/// Builds the components with the names of their functions, which those for use are stripped of. They go to a
/// folder of their own, of the same form.
pub fn build_named(paths: &Paths) -> Result<PathBuf> {
    add_targets(paths)?;
    let folder = paths.target.join("guests-named");
    let mut cargo = paths.cargo_in(EXAMPLES);
    cargo
        .args(["build", "--release", "--workspace", "--target", TARGETS[0]])
        .env("CARGO_TARGET_DIR", &folder)
        .env("CARGO_PROFILE_RELEASE_STRIP", "none");
    shell::run(&mut cargo)?;
    Ok(folder)
}

/// Adds the Wasm targets to the toolchain if it has them not.
pub fn add_targets(paths: &Paths) -> Result<()> {
    let sysroot = shell::output(paths.command("rustc").args(["--print", "sysroot"]))?;
    let installed = Path::new(&sysroot).join("lib/rustlib");
    let missing: Vec<&str> =
        TARGETS.into_iter().filter(|target| !installed.join(target).join("lib").is_dir()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    shell::run(paths.command("rustup").args(["target", "add"]).args(&missing)).with_context(|| {
        format!(
            "the toolchain lacks {}; with rustup: rustup target add {}",
            missing.join(" and "),
            missing.join(" ")
        )
    })
}
