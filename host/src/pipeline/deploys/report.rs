//! What is told of a pipeline's versions.

use schemars::JsonSchema;
use serde::Serialize;

use super::watched::Watched;
use crate::deploy::history::{History, Mode, Source, State, Version};
use crate::deploy::story::Counts;
use crate::worker::Compared;

/// The versions of a pipeline.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct VersionsReport {
    /// Whose.
    pub pipeline: String,
    /// The version that runs; none of a handler that is part of the program.
    pub running: Option<u64>,
    /// Why that one, for people.
    pub why: String,
    /// What is tried beside it.
    pub candidate: Option<CandidateReport>,
    /// All that are kept, oldest first.
    pub versions: Vec<VersionReport>,
}

/// A version that is tried.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CandidateReport {
    /// Its number.
    pub version: u64,
    /// How it is tried.
    #[serde(flatten)]
    pub mode: Mode,
    /// Since when, in milliseconds since 1970.
    pub since_unix_ms: u64,
    /// What it did since the host started.
    pub new: Counts,
    /// What the current version did meanwhile; to the same records, if it is a shadow.
    pub old: Counts,
    /// How a shadow differs from what runs.
    pub shadow: Option<Compared>,
}

/// One version.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct VersionReport {
    /// Its number.
    pub version: u64,
    /// SHA-256 of its module, as `sha256:…`.
    pub digest: String,
    /// The handler's name.
    pub handler: String,
    /// Where it came from.
    pub source: Source,
    /// A path or a reference.
    pub from: Option<String>,
    /// Who deployed it.
    pub by: String,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// What it does.
    pub state: State,
    /// Why it was taken back.
    pub reason: Option<String>,
}

impl From<&Version> for VersionReport {
    fn from(version: &Version) -> Self {
        let Version { version, digest, handler, source, from, by, unix_ms, state, reason } = version.clone();
        let digest = format!("sha256:{digest}");
        VersionReport { version, digest, handler, source, from, by, unix_ms, state, reason }
    }
}

impl VersionsReport {
    pub(super) fn of(pipeline: &str, history: &History, watched: Option<&Watched>) -> Self {
        let candidate = history.candidate().map(|(version, mode)| {
            let (new, old) = watched.map(Watched::counts).unwrap_or_default();
            CandidateReport {
                version: version.version,
                mode,
                since_unix_ms: version.unix_ms,
                new,
                old,
                shadow: watched.and_then(Watched::compared),
            }
        });
        VersionsReport {
            pipeline: pipeline.to_owned(),
            running: history.running().map(|running| running.version),
            why: why(history),
            candidate,
            versions: history.versions().iter().map(VersionReport::from).collect(),
        }
    }
}

/// Why the version that runs is that one.
pub(super) fn why(history: &History) -> String {
    let Some(running) = history.running() else { return "it is part of the program".to_owned() };
    let taken_back = history
        .versions()
        .iter()
        .rev()
        .find(|other| other.version > running.version && other.state == State::RolledBack);
    if let Some(other) = taken_back {
        return format!("version {}, which came after it, was taken back", other.version);
    }
    match (running.source, history.file()) {
        (Source::File, _) => "it is the handler's file".to_owned(),
        (_, Some(file)) if file.digest != running.digest => format!(
            "deployed by {}, after the handler's file ({}) had the content that it still has",
            running.by, file.path
        ),
        _ => format!("deployed by {}", running.by),
    }
}
