//! The newest snapshot of every pipeline, for whoever reads.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Instant;

use serde::Serialize;

use super::executions::Executions;
use super::snapshot::PipelineSnapshot;
use crate::config::{self, Allow, Limits};
use crate::deploy::history::{Mode, Version};
use crate::time::unix_millis;
use crate::wasm::{InstanceSettings, MemoryBudget};
use crate::worker::Room;

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

/// What a pipeline's handler may take and use, and what it takes.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// As configured.
    pub limits: Limits,
    /// As configured.
    pub allow: Allow,
    /// As configured.
    pub max_instances: u32,
    /// What its instances have in common: their memory, their log.
    pub settings: Arc<InstanceSettings>,
    /// Where its calls wait for room.
    pub room: Arc<Room>,
}

/// What came of a deploy.
#[derive(Clone, Debug, Serialize)]
pub struct Deployed {
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// What came of it.
    #[serde(flatten)]
    pub result: DeployResult,
}

/// What came of a deploy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum DeployResult {
    /// It is what runs since.
    Running {
        /// Which of the pipeline's, counted from the start of the host.
        generation: u64,
        /// As `sha256:…`.
        digest: String,
    },
    /// What ran before goes on.
    Refused {
        /// What failed: `read`, `compile`, `check`, `start`, `sample`, …
        step: &'static str,
        /// Why, for people.
        reason: String,
    },
}

impl Deployed {
    /// Since now this generation runs.
    pub fn running(generation: u64, digest: String) -> Self {
        Deployed::now(DeployResult::Running { generation, digest })
    }

    /// It was refused just now.
    pub fn refused(step: &'static str, reason: String) -> Self {
        Deployed::now(DeployResult::Refused { step, reason })
    }

    fn now(result: DeployResult) -> Self {
        Deployed { unix_ms: unix_millis(), result }
    }
}

/// Which version a pipeline runs, and why it is that one.
#[derive(Clone, Debug, Serialize)]
pub struct Runs {
    /// It.
    #[serde(flatten)]
    pub version: Version,
    /// Whether that is the handler's file or a deploy, and why, for people.
    pub why: String,
    /// What is tried beside it.
    pub candidate: Option<Tried>,
}

/// A version that is tried.
#[derive(Clone, Debug, Serialize)]
pub struct Tried {
    /// It.
    #[serde(flatten)]
    pub version: Version,
    /// How.
    #[serde(flatten)]
    pub mode: Mode,
}

/// Modules of a pipeline whose counters are shown: the current one, and those before it.
const MODULES: usize = 8;

/// A module that a pipeline runs, or ran.
#[derive(Debug)]
pub struct ModuleEntry {
    /// The handler's name.
    pub handler: String,
    /// SHA-256 of the module, as `sha256:…`.
    pub digest: String,
    /// Counters of its calls.
    pub executions: Arc<Executions>,
}

impl ModuleEntry {
    /// Label value that names the module: the first 12 digits of its digest.
    pub fn version(&self) -> &str {
        version_of(&self.digest)
    }
}

fn version_of(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}

/// One pipeline.
#[derive(Debug)]
pub struct PipelineEntry {
    /// Its name.
    pub name: String,
    /// Its consumer group.
    pub group: String,
    /// Ordering, as configured.
    pub ordering: &'static str,
    /// Input topics.
    pub input: Vec<String>,
    /// What its handler may take and use.
    pub allowance: Allowance,
    /// What came of the last deploy; none since the start.
    last_deploy: Mutex<Option<Deployed>>,
    /// Which version it runs; none of a handler that is part of this program.
    runs: Mutex<Option<Arc<Runs>>>,
    /// Modules that it ran, the current one last.
    modules: RwLock<Vec<Arc<ModuleEntry>>>,
    snapshot: Mutex<(Arc<PipelineSnapshot>, Instant)>,
    state: Mutex<PipelineState>,
}

impl PipelineEntry {
    /// A pipeline that was not started yet.
    pub fn new(
        name: String,
        group: String,
        ordering: &'static str,
        input: Vec<String>,
        allowance: Allowance,
    ) -> Self {
        PipelineEntry {
            name,
            group,
            ordering,
            input,
            allowance,
            last_deploy: Mutex::default(),
            runs: Mutex::default(),
            modules: RwLock::default(),
            snapshot: Mutex::new((Arc::default(), Instant::now())),
            state: Mutex::new(PipelineState::Starting),
        }
    }

    /// From now on it runs this module. One that it ran before goes on with its counters.
    pub fn deployed(&self, handler: &str, digest: &str) -> Arc<ModuleEntry> {
        self.add_module(handler, digest, true)
    }

    /// From now on this module is tried beside the one that it runs.
    pub fn tried(&self, handler: &str, digest: &str) -> Arc<ModuleEntry> {
        self.add_module(handler, digest, false)
    }

    /// Puts the module in the last place, which is that of the one that runs, or in the place before.
    fn add_module(&self, handler: &str, digest: &str, runs: bool) -> Arc<ModuleEntry> {
        let mut modules = self.modules.write().unwrap_or_else(PoisonError::into_inner);
        let known = modules
            .iter()
            .position(|known| known.handler == handler && known.version() == version_of(digest));
        let added = match known {
            // The one that runs stays the last.
            Some(at) if !runs && at + 1 == modules.len() => return modules[at].clone(),
            Some(at) => modules.remove(at),
            None => Arc::new(ModuleEntry {
                handler: handler.to_owned(),
                digest: digest.to_owned(),
                executions: Arc::default(),
            }),
        };
        let at = if runs { modules.len() } else { modules.len().saturating_sub(1) };
        modules.insert(at, added.clone());
        let excess = modules.len().saturating_sub(MODULES);
        modules.drain(..excess);
        added
    }

    /// Says what came of a deploy.
    pub fn set_last_deploy(&self, deployed: Deployed) {
        *self.last_deploy.lock().unwrap_or_else(PoisonError::into_inner) = Some(deployed);
    }

    /// What came of the last deploy; none since the start.
    pub fn last_deploy(&self) -> Option<Deployed> {
        self.last_deploy.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says which version it runs.
    pub fn set_runs(&self, runs: Runs) {
        *self.runs.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(runs));
    }

    /// Which version it runs; none of a handler that is part of this program.
    pub fn runs(&self) -> Option<Arc<Runs>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Modules that it ran, the current one last. There is one once the pipeline is added.
    pub fn modules(&self) -> Vec<Arc<ModuleEntry>> {
        self.modules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The module that it runs.
    ///
    /// # Panics
    /// Before the first was deployed.
    pub fn module(&self) -> Arc<ModuleEntry> {
        self.modules().pop().expect("a pipeline is shown with its module")
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
    host: OnceLock<(config::Host, Arc<MemoryBudget>)>,
    pipelines: RwLock<Vec<Arc<PipelineEntry>>>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry { started: Instant::now(), host: OnceLock::new(), pipelines: RwLock::default() }
    }
}

impl Registry {
    /// Says how the host is configured, and what memory all instances share. Once; a second time says nothing.
    pub fn set_host(&self, host: config::Host, memory: Arc<MemoryBudget>) {
        let _ = self.host.set((host, memory));
    }

    /// Both of these; none: nothing was loaded yet.
    pub fn host(&self) -> Option<(&config::Host, &MemoryBudget)> {
        self.host.get().map(|(host, memory)| (host, &**memory))
    }

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
