//! `cargo xtask metadata-sizes`: how long commit metadata gets, beside that of Confluent's Parallel Consumer.

use anyhow::Result;

use crate::paths::Paths;
use crate::{peers, shell};

/// Builds the peer and the program that compares, which needs neither the Wasm engine nor the Kafka client, and
/// writes results and tables.
pub fn sizes(paths: &Paths) -> Result<()> {
    let jar = peers::java(paths)?;
    let package = ["run", "--release", "--quiet", "--package", "sandmill-metadata-sizes", "--"];
    shell::run(paths.cargo().args(package).arg(jar))
}
