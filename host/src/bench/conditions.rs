//! Under which conditions a result came about: without them its numbers mean nothing.

use std::fs;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Error;

/// Versions, machine and time of one result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Conditions {
    /// When the first run began, UTC.
    pub date: String,
    /// From then to the end of the last.
    pub took_seconds: f64,
    /// This program's version.
    pub sandmill: String,
    /// The commit that it was built from, where the build said so.
    pub commit: Option<String>,
    /// The first 16 digits of the SHA-256 of this program's file: which build it was in any case.
    pub program_sha256: String,
    /// The Kafka client's version.
    pub librdkafka: String,
    /// The Wasm engine's version.
    pub wasmtime: String,
    /// The processor's name.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory of the machine.
    pub memory_gib: f64,
    /// The kernel's version.
    pub kernel: String,
    /// Runnable processes on average over the last minute, when the first run began.
    pub load_average: f64,
}

impl Conditions {
    /// As they are now; [`Conditions::ended`] completes them.
    ///
    /// # Errors
    /// If this system does not say.
    pub fn gather() -> Result<Self, Error> {
        let unknown = |what: &str, reason: &dyn std::fmt::Display| Error::System {
            what: what.to_owned(),
            reason: reason.to_string(),
        };
        let cores = std::thread::available_parallelism();
        Ok(Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            took_seconds: 0.0,
            sandmill: env!("CARGO_PKG_VERSION").to_owned(),
            commit: option_env!("SANDMILL_COMMIT").map(str::to_owned),
            program_sha256: own_digest().map_err(|error| unknown("this program's own file", &error))?,
            librdkafka: super::client::version(),
            wasmtime: env!("SANDMILL_WASMTIME").to_owned(),
            cpu: line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: cores.map_err(|error| unknown("the number of cores", &error))?.get(),
            memory_gib: memory_gib().ok_or_else(|| unknown("/proc/meminfo", &"it says no total"))?,
            kernel: line_of("/proc/sys/kernel/osrelease", "").unwrap_or_default(),
            load_average: load_average().ok_or_else(|| unknown("/proc/loadavg", &"it says nothing"))?,
        })
    }

    /// The last run is over.
    pub fn ended(&mut self, begun: std::time::Instant) {
        self.took_seconds = begun.elapsed().as_secs_f64().round();
    }
}

fn own_digest() -> std::io::Result<String> {
    let digest = Sha256::digest(fs::read(std::env::current_exe()?)?);
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// What stands behind the colon of the first line that begins so.
fn line_of(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim_start_matches([' ', '\t', ':']).trim_end().to_owned())
}

fn memory_gib() -> Option<f64> {
    let total = line_of("/proc/meminfo", "MemTotal")?;
    let kib: f64 = total.split_whitespace().next()?.parse().ok()?;
    Some((kib / 1024.0 / 1024.0 * 10.0).round() / 10.0)
}

fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_says_what_it_is() {
        let conditions = Conditions::gather().unwrap();
        assert!(conditions.cores > 0 && conditions.memory_gib > 0.0 && !conditions.kernel.is_empty());
        assert_eq!(conditions.program_sha256.len(), 16);
        assert!(conditions.date.ends_with('Z') && conditions.librdkafka.contains('.'));
    }
}
