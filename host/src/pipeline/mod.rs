//! The composition root: from a configuration to running pipelines, and back down in order.
//!
//! This is the only place that knows all parts. It owns every thread's join handle and the order in which
//! they end: consumers first (each drains, commits and leaves its group), then workers, then HTTP.
//!
//! ```text
//!                     ┌────────────── pipeline ──────────────┐
//!   broker ──records──► consumer ──work──► workers (shared) ──┼─outputs─► producer ─► broker
//!                     │    ▲  ▲ ▲            │                │              │
//!                     │    │  │ └── reports ─┘                │              │
//!                     │    │  └──── acknowledgements ◄────────┼── delivery ◄─┘
//!                     │    └─────── positions ◄── lookup      │
//!                     └──────│───────────────────────────────┘
//!                            └─ snapshots ─► registry ─► HTTP
//! ```

mod deploys;
mod host;
mod inspecting;
mod load;
mod memory;
mod options;
mod signals;
mod source;

pub use crate::worker::Sample;
pub use deploys::{Ask, CandidateReport, Deploys, NotAsked, Opened, VersionReport, VersionsReport};
pub use host::{Ended, Host, HostEvent};
pub use inspecting::inspect;
pub use load::{LoadedHandler, Loader};
pub use memory::MemoryBound;
pub use signals::forward_signals;
pub use source::HandlerSource;

use crate::config;

/// Workers of a host: as many as it says, or one a core.
pub fn workers(host: &config::Host) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    host.workers.map_or_else(cores, usize::from)
}

/// Why the host did not start: the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A handler's file cannot be read.
    #[error("pipeline {pipeline:?}: cannot read the handler {path}: {reason}")]
    HandlerFile {
        /// Whose.
        pipeline: String,
        /// As configured.
        path: String,
        /// What the system says.
        reason: String,
    },
    /// A module is refused.
    #[error("pipeline {pipeline:?}: the handler {path} is refused: {reason}")]
    Module {
        /// Whose.
        pipeline: String,
        /// Where it came from.
        path: String,
        /// Why.
        reason: crate::deploy::Refused,
    },
    /// A registry does not give a module.
    #[error("pipeline {pipeline:?}: cannot fetch {reference}: {reason}")]
    Pull {
        /// Whose.
        pipeline: String,
        /// What was asked for.
        reference: String,
        /// Why.
        reason: crate::deploy::registry::NotPulled,
    },
    /// The keys of signatures cannot be used.
    #[error("[modules.keys]: {0}")]
    Keys(crate::deploy::KeyError),
    /// A module lacks signatures.
    #[error("pipeline {pipeline:?}: the handler {path} is refused: {reason}")]
    Unsigned {
        /// Whose.
        pipeline: String,
        /// Where it came from.
        path: String,
        /// What is missing.
        reason: crate::deploy::Unsigned,
    },
    /// An instance was made for trial, and that failed.
    #[error("pipeline {pipeline:?}: the handler {path} does not start: {reason}")]
    Trial {
        /// Whose.
        pipeline: String,
        /// Where it came from.
        path: String,
        /// Why.
        reason: crate::outcome::Failure,
    },
    /// The sandbox cannot be set up.
    #[error(transparent)]
    Engine(#[from] crate::wasm::EngineError),
    /// The folder of compiled code cannot be used.
    #[error(transparent)]
    Cache(#[from] crate::deploy::CacheError),
    /// Nobody can be asked.
    #[error("pipeline {pipeline:?}: {reason}")]
    Outgoing {
        /// Whose.
        pipeline: String,
        /// Why.
        reason: crate::outgoing::StartError,
    },
    /// A folder of the data directory cannot be used.
    #[error("the folder {} cannot be used: {reason}", path.display())]
    Folder {
        /// Which.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: std::io::Error,
    },
    /// The Kafka side.
    #[error("pipeline {pipeline:?}: {reason}")]
    Kafka {
        /// Whose.
        pipeline: String,
        /// Why.
        reason: crate::kafka::Error,
    },
    /// The HTTP side.
    #[error(transparent)]
    Http(#[from] crate::http::Error),
    /// The operating system gives no thread.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}
