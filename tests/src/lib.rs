//! The harness of the end-to-end tests.
//!
//! The tests treat Sandmill as its user does: they run the built binary (`SANDMILL_BIN`) with handlers
//! that were compiled to Wasm (`SANDMILL_GUESTS`) against a real Apache Kafka started from its jars
//! (`SANDMILL_KAFKA_LIBS`), and look only at what the broker, the HTTP port, the log and the exit code
//! say. Of the host's crate only the reader of commit metadata is used, by the ledger. `cargo xtask
//! test` prepares all three and names them in the environment.
//!
//! - [`reaper`]: whatever a test starts ends with the test process, however that ends.
//! - [`kafka`]: brokers, one shared by all tests or a test's own, and what they hold.
//! - [`producer`], [`reader`]: records in, records out, commits.
//! - [`host`]: one run of the binary; [`metrics`]: its scrape; [`job`]: one pipeline, its topics and file.
//! - [`fleet`]: several hosts of one group, killed, paused and stopped; each fault is noted.
//! - [`contender`]: what the fleet runs, our host or another program that does the same.
//! - [`ledger`]: what was produced against what arrived; the judge of every delivery test.
//! - [`chaos`]: a seeded run with faults of all kinds, watched while it goes on.
//! - [`corpus`]: all handlers that misbehave, run beside a neighbour; [`refusal`]: how a host says no.
//! - [`registry`]: a registry of modules; [`fake_registry`]: one that answers as it is told.
//! - [`guests`], [`access_log`]: handlers and real input.
//! - [`conditions`], [`page`]: results for the documentation, and where they stand in it.
//! - [`wait`]: conditions with a deadline; no test sleeps instead.

pub mod access_log;
pub mod chaos;
pub mod conditions;
pub mod contender;
pub mod corpus;
pub mod fake_registry;
pub mod fleet;
pub mod guests;
pub mod host;
pub mod job;
pub mod kafka;
pub mod ledger;
pub mod metrics;
pub mod page;
pub mod producer;
pub mod reader;
pub mod reaper;
pub mod refusal;
pub mod registry;
pub mod releases;
pub mod server;
pub mod wait;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Set for the longer form of tests.
pub(crate) const FULL: &str = "SANDMILL_TESTS_FULL";

/// Names the seed of seeded tests.
pub(crate) const SEED: &str = "SANDMILL_TESTS_SEED";

/// Names the minutes of the chaotic run.
pub(crate) const MINUTES: &str = "SANDMILL_TESTS_MINUTES";

/// The path that `variable` names.
///
/// # Panics
/// When it is not set, or nothing is there: the tests cannot prepare this themselves.
#[must_use]
pub fn required_path(variable: &str) -> PathBuf {
    let value = std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set; run cargo xtask test, which prepares it"));
    let path = PathBuf::from(value);
    assert!(path.exists(), "{variable} names {}, which does not exist; run cargo xtask test", path.display());
    path
}

/// Whether the longer form of a test was asked for: `cargo xtask test --full`.
#[must_use]
pub fn full() -> bool {
    std::env::var_os(FULL).is_some()
}

/// What decides over the faults of a seeded test: a number of the caller's (`SANDMILL_TESTS_SEED`), or another one
/// in each run. Tests print it.
///
/// # Panics
/// When the variable holds no number.
#[must_use]
pub fn seed() -> u64 {
    match std::env::var(SEED) {
        Ok(text) => text.parse().unwrap_or_else(|error| panic!("{SEED} is {text:?}: {error}")),
        Err(_) => fastrand::u64(..),
    }
}

/// How long the chaotic run breaks things: the caller's minutes (`SANDMILL_TESTS_MINUTES`), three in the longer form
/// of tests, half of one else.
///
/// # Panics
/// When the variable holds no number.
#[must_use]
pub fn chaos_time() -> Duration {
    match std::env::var(MINUTES) {
        Ok(text) => {
            let minutes: u64 = text.parse().unwrap_or_else(|error| panic!("{MINUTES} is {text:?}: {error}"));
            Duration::from_secs(60 * minutes)
        }
        Err(_) if full() => Duration::from_secs(180),
        Err(_) => Duration::from_secs(30),
    }
}

/// A name that no other test of this run uses: for topics, groups and pipelines on the shared broker.
#[must_use]
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
