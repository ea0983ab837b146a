//! Under which conditions a result came about: without them its numbers mean nothing.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result};
use sandmill_tests::required_path;
use serde::Serialize;

use crate::level::Bench;

/// Versions, machine and time of one run of the ladder.
#[derive(Debug, Serialize)]
pub(crate) struct Conditions {
    /// When the run began, UTC.
    pub date: String,
    pub took_seconds: f64,
    /// Of the working tree in which the ladder ran; `+` when it holds changes. The host's binary is the one that
    /// was named, and its digest says which.
    pub commit: String,
    pub sandmill: String,
    /// The first digits of the SHA-256 of the host's binary; empty where there is no `sha256sum`.
    pub host_sha256: String,
    /// When the host's binary was written, UTC.
    pub host_built: String,
    pub kafka: String,
    pub librdkafka: String,
    pub java: String,
    pub cpu: String,
    pub cores: usize,
    pub memory_gib: f64,
    pub kernel: String,
    /// Runnable processes on average over the last minute, at the end of the run: the run itself included.
    pub load_average: f64,
}

impl Conditions {
    pub(crate) fn gather(bench: &Bench, begun: SystemTime) -> Result<Self> {
        let binary = required_path("SANDMILL_BIN");
        let built = fs::metadata(&binary)?.modified()?;
        Ok(Self {
            date: humantime::format_rfc3339_seconds(begun).to_string(),
            took_seconds: begun.elapsed()?.as_secs_f64().round(),
            commit: commit(),
            sandmill: bench.home.run(&["--version"]).stdout.trim().to_owned(),
            host_sha256: said(Command::new("sha256sum").arg(&binary)).chars().take(16).collect(),
            host_built: humantime::format_rfc3339_seconds(built).to_string(),
            kafka: kafka()?,
            librdkafka: rdkafka::util::get_rdkafka_version().1,
            java: said(Command::new("java").arg("--version")),
            cpu: line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: memory_gib().context("/proc/meminfo says no total")?,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            load_average: load_average().context("/proc/loadavg says nothing")?,
        })
    }
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

fn commit() -> String {
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

/// What stands behind the colon of the first line that begins so.
fn line_of(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

fn memory_gib() -> Option<f64> {
    let total = line_of("/proc/meminfo", "MemTotal")?;
    let kib: f64 = total.split_whitespace().next()?.parse().ok()?;
    Some((kib / 1024.0 / 1024.0 * 10.0).round() / 10.0)
}

fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}
