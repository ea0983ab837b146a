//! Deploys while records flow.
//!
//! Two threads, so that neither consumers nor workers ever wait for a module, and nothing that is decided in milliseconds
//! waits for a compiler:
//!
//! ```text
//! file changed ─┐                      ┌─ loads: read ► compile (child process) ► check ► start ► sample ─┐
//! API, command ─┴► decides: which next ┤                                                                  │
//!                        ▲             └──────────── any of these fails: what runs goes on ◄──────────────┤
//!                        └── switch ► watch ► kept, or taken back ◄───────────────────────────────────────┘
//! ```
//!
//! The thread that decides owns what there is of each pipeline: its versions, what is tried, what is watched. It looks at
//! files and at what versions do once a second. The thread that loads does one module after the other. The switch itself
//! is between two calls (see [`Generations`](crate::worker::Generations)); what runs then ends on what it began with.
//!
//! | file | does |
//! |---|---|
//! | `mod.rs` | the handle for others, and the two threads |
//! | `opening.rs` | what a pipeline starts with: its file, or what was deployed |
//! | `line.rs` | the versions of one pipeline: what is asked for, and what is seen |
//! | `switching.rs` | how one version follows another |
//! | `watched.rs` | a new version that is watched |
//! | `trial.rs` | a module runs a sample of records |
//! | `report.rs` | what is told of versions |

mod line;
mod opening;
mod report;
mod switching;
mod trial;
mod watched;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub(super) use line::Line;
pub use opening::Opened;
pub use report::{CandidateReport, VersionReport, VersionsReport};

use super::StartError;
use super::load::{LoadedHandler, Loader};
use super::source::HandlerSource;
use crate::config;
use crate::deploy::audit::{Audit, Entry, Stage};
use crate::deploy::history::Mode;
use crate::deploy::story::{Action, Asker, Step, Stories, Story, Teller};
use crate::time::unix_millis;
use crate::wasm::Digest;
use crate::worker::{Sample, Workers};
use line::Refused;
use trial::Trial;

/// How often files are looked at, and what versions do.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked whether a generation is gone.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// Modules that wait for their turn in memory, over all pipelines.
pub(super) const WAITING: usize = 4;

/// What somebody asks for.
#[derive(Debug)]
pub enum Ask {
    /// To run a module.
    Deploy {
        /// Where it comes from.
        source: HandlerSource,
        /// How it begins.
        mode: Mode,
    },
    /// To take back the candidate, or else to run this version again: none is the one before.
    Rollback {
        /// Its number.
        to: Option<u64>,
    },
    /// To run the candidate.
    Promote,
}

/// Why nobody even tries.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum NotAsked {
    #[error("there is no pipeline {name:?}; there are: {known}")]
    Unknown { name: String, known: String },
    #[error("{WAITING} deploys wait already; try again when they are done")]
    Busy,
    #[error("the host is stopping")]
    Stopping,
    #[error("{0}")]
    Cannot(String),
    #[error("it cannot be written down in the audit log, so it is not done: {0}")]
    NotWritten(String),
}

/// Asks for deploys and tells of them. Any thread; as many as want it.
#[derive(Clone, Debug)]
pub struct Deploys(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    messages: Mutex<Option<Sender<Message>>>,
    stories: Arc<Stories>,
    /// By pipeline, as it was a moment ago.
    reports: Mutex<HashMap<String, Arc<VersionsReport>>>,
    waiting: AtomicUsize,
    /// Pipelines, and why no shadow may run there, if so.
    pipelines: HashMap<String, Option<String>>,
    /// None: nothing is written down, as where the handler is part of this program.
    audit: Option<Audit>,
}

impl Shared {
    /// Writes down what somebody asks for, or what came of it.
    fn write_down(&self, asker: &Asker, stage: Stage, story: &Story) -> std::io::Result<()> {
        let Some(audit) = &self.audit else { return Ok(()) };
        let mode = match story.mode {
            Mode::Full => None,
            Mode::Canary { percent } => Some(format!("canary of {percent} %")),
            Mode::Shadow => Some("shadow".to_owned()),
        };
        audit.write(&Entry {
            module: story.from.clone(),
            mode,
            digest: story.digest.clone(),
            version: story.version,
            reason: story
                .refused
                .as_ref()
                .map(|refused| format!("{}: {}", refused.step.as_str(), refused.reason)),
            ..self.entry(asker, stage, story.action.as_str(), &story.pipeline)
        })
    }

    fn entry(&self, asker: &Asker, stage: Stage, action: &str, pipeline: &str) -> Entry {
        Entry {
            unix_ms: unix_millis(),
            who: Some(asker.name.clone()),
            role: asker.role,
            from: asker.from,
            action: action.to_owned(),
            pipeline: Some(pipeline.to_owned()),
            module: None,
            mode: None,
            digest: None,
            version: None,
            result: stage,
            reason: None,
        }
    }
}

/// What the thread that decides is told.
enum Message {
    Asked { pipeline: String, ask: Ask, teller: Teller, turn: Option<Turn> },
    Sample { pipeline: String, sample: Option<Sample> },
    Loaded(Loaded),
    Stop,
}

/// A place among those that wait; free again when it is dropped.
#[derive(Debug)]
struct Turn(Arc<Shared>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a module is loaded for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Somebody asked for it.
    Deploy(Mode),
    /// The handler's file changed.
    File,
    /// This version runs again.
    RollBack(u64),
    /// It was tried when the host ended.
    Resume,
}

/// A module to load.
struct Load {
    line: usize,
    pipeline: config::Pipeline,
    source: HandlerSource,
    purpose: Purpose,
    trial: Option<Trial>,
    /// How often something was taken back when it was asked for.
    rollbacks: u64,
    teller: Teller,
    turn: Option<Turn>,
}

/// A module that was loaded, or was not.
struct Loaded {
    line: usize,
    source: HandlerSource,
    purpose: Purpose,
    rollbacks: u64,
    /// What was read, whatever came of it.
    digest: Option<Digest>,
    teller: Teller,
    turn: Option<Turn>,
    result: Result<LoadedHandler, Refused>,
}

/// What lines need to have something done.
struct Desk {
    loads: Sender<Load>,
    shared: Weak<Shared>,
    stories: Arc<Stories>,
    workers: Weak<Workers>,
}

impl Desk {
    /// Writes down what came of something. That it happened cannot be undone by a full disk, so the log says it then.
    fn write_down(&self, teller: &Teller, stage: Stage) {
        let Some((shared, story)) = self.shared.upgrade().zip(self.stories.get(teller.id())) else { return };
        if let Err(error) = shared.write_down(teller.asker(), stage, &story) {
            let (pipeline, action) = (&story.pipeline, story.action.as_str());
            tracing::error!(pipeline, action, %error, "what was done cannot be written down in the audit log");
        }
    }
}

impl Deploys {
    /// Asks for a deploy; the number of its story comes back, and the deploy follows.
    ///
    /// # Errors
    /// If it makes no sense to try.
    pub fn ask(&self, pipeline: &str, ask: Ask, asker: Asker) -> Result<u64, NotAsked> {
        let shared = &self.0;
        let Some(no_shadow) = shared.pipelines.get(pipeline) else { return Err(self.unknown(pipeline)) };
        let (action, mode) = match &ask {
            Ask::Deploy { mode, .. } => (Action::Deploy, *mode),
            Ask::Rollback { .. } => (Action::Rollback, Mode::Full),
            Ask::Promote => (Action::Promote, Mode::Full),
        };
        if let (Mode::Shadow, Some(reason)) = (mode, no_shadow) {
            return Err(NotAsked::Cannot(reason.clone()));
        }
        let turn = match ask {
            Ask::Deploy { .. } => {
                let one_more = |waiting: usize| (waiting < WAITING).then_some(waiting + 1);
                let taken = shared.waiting.try_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
                taken.map_err(|_| NotAsked::Busy)?;
                Some(Turn(shared.clone()))
            }
            // To take something back never waits behind those.
            Ask::Rollback { .. } | Ask::Promote => None,
        };
        let teller = shared.stories.begin(pipeline, action, mode, asker);
        let id = teller.id();
        match &ask {
            Ask::Deploy { source, .. } => teller.tell(|story| story.from = source.written()),
            Ask::Rollback { to } => teller.tell(|story| story.version = *to),
            Ask::Promote => {}
        }
        if let Some(story) = shared.stories.get(id)
            && let Err(error) = shared.write_down(teller.asker(), Stage::Asked, &story)
        {
            teller.forget();
            return Err(NotAsked::NotWritten(error.to_string()));
        }
        self.send(Message::Asked { pipeline: pipeline.to_owned(), ask, teller, turn })?;
        Ok(id)
    }

    /// Gives the records on which modules are tried from now on; none: those that flow.
    ///
    /// # Errors
    /// If there is no such pipeline, or it cannot be written down.
    pub fn set_sample(&self, pipeline: &str, sample: Option<Sample>, asker: &Asker) -> Result<(), NotAsked> {
        self.versions(pipeline)?;
        let records = sample.as_ref().map_or(0, |sample| sample.batch.len());
        let entry = Entry {
            reason: Some(format!("{records} records")),
            ..self.0.entry(asker, Stage::Done, "sample", pipeline)
        };
        self.0
            .audit
            .iter()
            .try_for_each(|audit| audit.write(&entry))
            .map_err(|error| NotAsked::NotWritten(error.to_string()))?;
        self.send(Message::Sample { pipeline: pipeline.to_owned(), sample })
    }

    /// The newest lines of the audit log, the oldest of them first.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn audit(&self, lines: usize) -> std::io::Result<Vec<serde_json::Value>> {
        self.0.audit.as_ref().map_or(Ok(Vec::new()), |audit| audit.tail(lines))
    }

    /// What became of a deploy; none if it is not known, or no longer.
    pub fn story(&self, id: u64) -> Option<Story> {
        self.0.stories.get(id)
    }

    /// The versions of a pipeline.
    ///
    /// # Errors
    /// If there is no such pipeline.
    pub fn versions(&self, pipeline: &str) -> Result<Arc<VersionsReport>, NotAsked> {
        let reports = self.0.reports.lock().unwrap_or_else(PoisonError::into_inner);
        reports.get(pipeline).cloned().ok_or_else(|| self.unknown(pipeline))
    }

    fn unknown(&self, pipeline: &str) -> NotAsked {
        let mut known: Vec<&str> = self.0.pipelines.keys().map(String::as_str).collect();
        known.sort_unstable();
        NotAsked::Unknown { name: pipeline.to_owned(), known: known.join(", ") }
    }

    fn send(&self, message: Message) -> Result<(), NotAsked> {
        let messages = self.0.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.as_ref().and_then(|messages| messages.send(message).ok()).ok_or(NotAsked::Stopping)
    }
}

/// Deploys for all pipelines of a host. Begins nothing more once it is dropped.
#[derive(Debug)]
pub(super) struct Deployer {
    deploys: Deploys,
    threads: Vec<JoinHandle<()>>,
}

impl Deployer {
    /// Serves `lines` from now on.
    ///
    /// # Errors
    /// If there are no threads.
    pub(super) fn start(
        loader: Loader,
        lines: Vec<Line>,
        workers: &Arc<Workers>,
    ) -> Result<Self, StartError> {
        let path = loader.data_dir().join("audit.jsonl");
        // Where there is nothing to deploy, there is nothing to write down.
        let audit = (!lines.is_empty()).then(|| Audit::open(&path)).transpose();
        let audit = audit.map_err(|reason| StartError::Folder { path, reason })?;
        let (messages, received) = channel();
        let (loads, to_load) = channel();
        let pipelines = lines.iter().map(|line| (line.name().to_owned(), line.no_shadow())).collect();
        let stories = Arc::<Stories>::default();
        let shared = Arc::new(Shared {
            messages: Mutex::new(Some(messages.clone())),
            stories: stories.clone(),
            reports: Mutex::default(),
            waiting: AtomicUsize::new(0),
            pipelines,
            audit,
        });
        let desk = Desk { loads, shared: Arc::downgrade(&shared), stories, workers: Arc::downgrade(workers) };
        let mut service = Service { lines, desk, shared: shared.clone() };
        service.publish();
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(StartError::Thread)
        };
        let threads = vec![
            spawn("deploy-load", Box::new(move || load_all(loader, &to_load, &messages)))?,
            spawn("deploy", Box::new(move || service.serve(&received)))?,
        ];
        Ok(Deployer { deploys: Deploys(shared), threads })
    }

    /// What others ask with.
    pub(super) fn handle(&self) -> &Deploys {
        &self.deploys
    }

    /// Begins no further deploy.
    pub(super) fn stop(&self) {
        let messages = self.deploys.0.messages.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(messages) = messages {
            // Who is gone has stopped.
            let _ = messages.send(Message::Stop);
        }
    }
}

impl Drop for Deployer {
    fn drop(&mut self) {
        self.stop();
        // One that waits for a compiler is not waited for: it holds nothing that the others need to end.
        for thread in self.threads.drain(..).filter(JoinHandle::is_finished) {
            if thread.join().is_err() {
                tracing::error!("a thread that deploys panicked");
            }
        }
    }
}

/// Loads one module after the other, until nobody wants any more.
fn load_all(mut loader: Loader, to_load: &Receiver<Load>, messages: &Sender<Message>) {
    while let Ok(load) = to_load.recv() {
        let Load { line, pipeline, source, purpose, trial, rollbacks, mut teller, turn } = load;
        let load = AssertUnwindSafe(|| {
            let handler = loader.load_in_steps(&source, &pipeline, &mut teller)?;
            if let Some(trial) = trial {
                teller.begin(Step::Sample);
                teller.detail(trial.run(&pipeline, &handler)?);
            }
            loader.keep(&handler)?;
            Ok(handler)
        });
        let result = catch_unwind(load).unwrap_or_else(|_| Err(Refused::panicked(&pipeline.name)));
        let digest = teller.digest();
        let loaded = Loaded { line, source, purpose, rollbacks, digest, teller, turn, result };
        if messages.send(Message::Loaded(loaded)).is_err() {
            return;
        }
        loader.tidy();
    }
}

/// The thread that decides.
struct Service {
    lines: Vec<Line>,
    desk: Desk,
    shared: Arc<Shared>,
}

impl Service {
    fn serve(&mut self, received: &Receiver<Message>) {
        let mut next = Instant::now() + LOOK;
        self.on_each(Line::resume);
        loop {
            let until_look = next.saturating_duration_since(Instant::now());
            let is_draining = self.lines.iter().any(Line::is_draining);
            match received.recv_timeout(if is_draining { until_look.min(DRAIN_LOOK) } else { until_look }) {
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(message) => {
                    self.hear(message);
                    self.publish();
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.lines.iter_mut().for_each(Line::drain);
            if Instant::now() >= next {
                self.on_each(Line::look);
                self.publish();
                next = Instant::now() + LOOK;
            }
        }
    }

    fn hear(&mut self, message: Message) {
        let known = |name: &str| self.lines.iter().position(|line| line.name() == name);
        match message {
            Message::Asked { pipeline, ask, teller, turn } => {
                if let Some(index) = known(&pipeline) {
                    self.on(index, |line, desk| line.asked(index, ask, teller, turn, desk));
                }
            }
            Message::Sample { pipeline, sample } => {
                if let Some(index) = known(&pipeline) {
                    self.on(index, |line, _| line.set_sample(sample));
                }
            }
            Message::Loaded(loaded) => {
                self.on(loaded.line, |line, desk| line.loaded(loaded, desk));
            }
            Message::Stop => {}
        }
    }

    fn on_each(&mut self, mut act: impl FnMut(&mut Line, usize, &Desk)) {
        for index in 0..self.lines.len() {
            self.on(index, |line, desk| act(line, index, desk));
        }
    }

    fn on(&mut self, index: usize, act: impl FnOnce(&mut Line, &Desk)) {
        let (line, desk) = (&mut self.lines[index], &self.desk);
        if catch_unwind(AssertUnwindSafe(|| act(line, desk))).is_err() {
            let pipeline = self.lines[index].name();
            tracing::error!(pipeline, "a deploy panicked in the host; please report this");
        }
    }

    fn publish(&self) {
        let mut reports = self.shared.reports.lock().unwrap_or_else(PoisonError::into_inner);
        for line in &self.lines {
            reports.insert(line.name().to_owned(), Arc::new(line.report()));
        }
    }
}
