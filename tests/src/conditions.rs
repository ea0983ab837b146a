//! Under which conditions a run came about that goes into the documentation: machine and versions.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::contender::Contender;
use crate::required_path;

/// Machine and versions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Conditions {
    /// When it began, UTC.
    pub date: String,
    /// Commit of the working tree; `+` when it holds changes.
    pub tree: String,
    /// The processor's name.
    pub cpu: String,
    /// Cores that all of it shares: brokers, processes, the harness.
    pub cores: usize,
    /// Memory of the machine.
    pub memory_gib: f64,
    /// Runnable processes on average over the last minute, before it began.
    pub load_average: f64,
    /// Version of the brokers.
    pub kafka: String,
    /// Of each program, in the order in which they ran.
    pub versions: Vec<String>,
}

impl Conditions {
    /// Those of now, for these programs. What is in the folders of `code` decides over the results.
    ///
    /// # Errors
    /// When a program cannot be started, or the brokers' jars say no version.
    pub fn gather(contenders: &[Contender], code: &[&str]) -> Result<Self> {
        let machine = sandmill::bench::Conditions::gather()?;
        let version = |contender: &Contender| {
            contender.versions().with_context(|| format!("{} cannot be started", contender.name()))
        };
        Ok(Self {
            date: machine.date,
            tree: tree(code),
            cpu: machine.cpu,
            cores: machine.cores,
            memory_gib: machine.memory_gib,
            load_average: machine.load_average,
            kafka: kafka()?,
            versions: contenders.iter().map(version).collect::<Result<_>>()?,
        })
    }
}

/// The brokers' version, as their jar is named.
fn kafka() -> Result<String> {
    let jars = fs::read_dir(required_path("SANDMILL_KAFKA_LIBS"))?;
    let version = |name: &str| Some(name.strip_prefix("kafka-clients-")?.strip_suffix(".jar")?.to_owned());
    jars.filter_map(|jar| version(&jar.ok()?.file_name().into_string().ok()?))
        .next()
        .context("SANDMILL_KAFKA_LIBS holds no kafka-clients")
}

/// The commit that is checked out, with a mark where code differs from it; empty outside a repository.
fn tree(code: &[&str]) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let changed = !git(&[&["status", "--porcelain", "--"], code].concat()).is_empty();
    format!("{}{}", git(&["rev-parse", "--short=12", "HEAD"]), if changed { "+" } else { "" })
}
