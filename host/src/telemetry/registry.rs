//! The newest snapshot of every pipeline, for whoever reads.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use serde::Serialize;

use super::executions::Executions;
use super::guest::{GuestMetrics, Uses};
use super::requests::Requests;
use super::snapshot::PipelineSnapshot;

/// What a pipeline is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "reason")]
pub enum PipelineState {
    /// Waiting for its first assignment.
    Starting,
    /// Consuming.
    Running,
    /// It ended, for this reason; none: it was asked to.
    Ended(Option<String>),
}

/// What a pipeline's guests do besides handling records.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    /// How often they used what they are allowed.
    pub uses: Arc<Uses>,
    /// Metrics of their own.
    pub metrics: Arc<GuestMetrics>,
    /// Requests to servers outside, if any is allowed.
    pub requests: Option<Arc<Requests>>,
}

/// One pipeline.
#[derive(Debug)]
pub struct PipelineEntry {
    /// Its name.
    pub name: String,
    /// Its consumer group.
    pub group: String,
    /// Its handler's name.
    pub handler: String,
    /// SHA-256 of its module, as `sha256:…`.
    pub digest: String,
    /// Ordering, as configured.
    pub ordering: &'static str,
    /// Input topics.
    pub input: Vec<String>,
    /// Counters of its calls.
    pub executions: Arc<Executions>,
    /// What its guests do besides.
    pub guest: Guest,
    snapshot: Mutex<(Arc<PipelineSnapshot>, Instant)>,
    state: Mutex<PipelineState>,
}

impl PipelineEntry {
    /// A pipeline that was not started yet.
    pub fn new(
        name: String,
        group: String,
        handler: String,
        digest: String,
        ordering: &'static str,
        input: Vec<String>,
        guest: Guest,
    ) -> Self {
        PipelineEntry {
            name,
            group,
            handler,
            digest,
            ordering,
            input,
            executions: Arc::default(),
            guest,
            snapshot: Mutex::new((Arc::default(), Instant::now())),
            state: Mutex::new(PipelineState::Starting),
        }
    }

    /// Label value that names the module: the first 12 digits of its digest.
    pub fn module_version(&self) -> &str {
        let hex = self.digest.strip_prefix("sha256:").unwrap_or(&self.digest);
        hex.get(..12).unwrap_or(hex)
    }

    /// Puts the newest snapshot in place.
    pub fn publish(&self, snapshot: PipelineSnapshot) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == PipelineState::Starting && snapshot.joined {
            *state = PipelineState::Running;
        }
        drop(state);
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = (Arc::new(snapshot), Instant::now());
    }

    /// The newest snapshot, and when it was taken.
    pub fn snapshot(&self) -> (Arc<PipelineSnapshot>, Instant) {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that the pipeline ended. Its series go.
    pub fn ended(&self, failure: Option<String>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = PipelineState::Ended(failure);
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = (Arc::default(), Instant::now());
    }

    /// What it is doing.
    pub fn state(&self) -> PipelineState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// All pipelines of the host.
#[derive(Debug)]
pub struct Registry {
    started: Instant,
    pipelines: RwLock<Vec<Arc<PipelineEntry>>>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry { started: Instant::now(), pipelines: RwLock::default() }
    }
}

impl Registry {
    /// Adds a pipeline.
    pub fn add(&self, entry: Arc<PipelineEntry>) {
        self.pipelines.write().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// All pipelines.
    pub fn pipelines(&self) -> Vec<Arc<PipelineEntry>> {
        self.pipelines.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// When the host started.
    pub fn started(&self) -> Instant {
        self.started
    }
}
