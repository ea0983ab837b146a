//! Under which conditions a result came about: without them its numbers mean nothing.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sandmill::bench::Conditions as Machine;
use sandmill_tests::required_path;
use serde::{Deserialize, Serialize};

/// Versions, machine and time of one session of the ladder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Conditions {
    /// The machine, the date, the load before the first part; `program_sha256` is the ladder's own.
    #[serde(flatten)]
    pub machine: Machine,
    /// Of the working tree in which the ladder ran; `+` when it holds changes. The host's binary is the one that
    /// was named, and its digest says which.
    pub tree: String,
    /// What the host's binary says of itself.
    pub host: String,
    /// The first digits of the SHA-256 of the host's binary.
    pub host_sha256: String,
    pub kafka: String,
    /// The kind of file system that the broker's logs lie on, as `stat -f` names it.
    #[serde(default)]
    pub broker_logs: String,
    pub java: String,
}

impl Conditions {
    /// As they are now. `binary` is the host's.
    pub(crate) fn gather(binary: &Path) -> Result<Self> {
        let host = said(Command::new(binary).arg("--version"));
        ensure!(!host.is_empty(), "{} --version says nothing: is it the host's binary?", binary.display());
        Ok(Self {
            machine: Machine::gather()?,
            tree: tree(),
            host,
            host_sha256: sha256(binary)?,
            kafka: kafka()?,
            broker_logs: said(Command::new("stat").args(["-f", "-c", "%T"]).arg(std::env::temp_dir())),
            java: said(Command::new("java").arg("--version")),
        })
    }
}

fn sha256(file: &Path) -> Result<String> {
    let digest = said(Command::new("sha256sum").arg(file));
    ensure!(digest.len() >= 64, "sha256sum gives no digest of {}; it is part of coreutils", file.display());
    Ok(digest.chars().take(16).collect())
}

/// The broker's version, as its jar is named.
fn kafka() -> Result<String> {
    let jars = fs::read_dir(required_path("SANDMILL_KAFKA_LIBS"))?;
    jars.filter_map(|jar| {
        let name = jar.ok()?.file_name().into_string().ok()?;
        Some(name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")?.to_owned())
    })
    .next()
    .context("SANDMILL_KAFKA_LIBS holds no kafka-clients")
}

fn tree() -> String {
    let git = |arguments: &[&str]| {
        said(Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments))
    };
    let changed = !git(&["status", "--porcelain", "--untracked-files=no"]).is_empty();
    format!("{}{}", git(&["rev-parse", "--short=12", "HEAD"]), if changed { "+" } else { "" })
}

/// The first line that a command prints; empty when it cannot be run.
fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or_default().trim().to_owned()
}
