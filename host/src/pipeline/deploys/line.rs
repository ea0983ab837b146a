//! The versions of one pipeline, and how one follows another. Owned by the thread that decides.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::opening::Opened;
use super::report::VersionsReport;
use super::trial::Trial;
use super::watched::{Recent, Watched};
use super::{Ask, Desk, Load, Loaded, Purpose, Turn};
use crate::config;
use crate::deploy::audit::Stage;
use crate::deploy::history::{FileSeen, History, Mode, Version};
use crate::deploy::story::{Action, Asker, Pause, Progress, Step, Teller, WatchState, millis};
use crate::deploy::{CompileError, Journal, Refused as ModuleRefused, Watch};
use crate::pipeline::StartError;
use crate::pipeline::load::LoadedHandler;
use crate::pipeline::source::{HandlerSource, stamp};
use crate::telemetry::{Deployed, PipelineEntry, Runs, Tried};
use crate::wasm::InstanceSettings;
use crate::worker::{Callee, Code, Generation, Sample, Workers};

/// Something of a generation may be left for so long before the log says so.
const DRAIN: Duration = Duration::from_secs(10);
/// Who takes a version back that nobody asked to take back.
pub(super) const ITSELF: &str = "sandmill";
/// Who deploys a file that changed.
const FILE: &str = "file";

/// Why a module does not run.
#[derive(Debug)]
pub(super) struct Refused {
    pub step: Step,
    pub reason: String,
    /// Another try may have another end with the same module.
    pub may_pass: bool,
}

impl Refused {
    pub fn panicked(pipeline: &str) -> Self {
        tracing::error!(pipeline, "a deploy panicked in the host; please report this");
        Refused {
            step: Step::Check,
            reason: "the host failed on it; please report this".to_owned(),
            may_pass: false,
        }
    }

    pub fn to_switch(reason: String) -> Self {
        Refused { step: Step::Switch, reason, may_pass: true }
    }
}

impl From<StartError> for Refused {
    fn from(error: StartError) -> Self {
        let (step, may_pass) = match &error {
            StartError::HandlerFile { .. } => (Step::Read, true),
            StartError::Module { reason: ModuleRefused::Compile(reason), .. } => {
                (Step::Compile, matches!(reason, CompileError::Process { .. }))
            }
            StartError::Module { .. } => (Step::Check, false),
            StartError::Pull { reason, .. } => (Step::Pull, reason.may_pass()),
            StartError::Unsigned { .. } => (Step::Verify, false),
            StartError::Trial { .. } => (Step::Start, false),
            StartError::Folder { .. } => (Step::Switch, true),
            _ => (Step::Read, true),
        };
        Refused { step, reason: error.to_string(), may_pass }
    }
}

/// A module that can run again at once.
#[derive(Clone)]
pub(super) struct Held {
    pub version: u64,
    pub handler: String,
    pub code: Code,
    pub settings: Arc<InstanceSettings>,
}

/// A generation that was replaced, and of which something is left.
pub(super) struct Draining {
    pub generation: Arc<Generation>,
    /// What took its place.
    pub next: Arc<Generation>,
    pub since: Instant,
    pub is_late: bool,
    pub teller: Option<Teller>,
}

/// A handler's file, and how it was last seen.
struct File {
    path: PathBuf,
    /// None: it is not watched.
    watch: Option<Watch>,
}

/// The versions of one pipeline.
///
/// It does not keep the pipeline alive: what is under way when the host ends is left.
pub(in crate::pipeline) struct Line {
    pub(super) config: config::Pipeline,
    pub(super) callee: Weak<Callee>,
    pub(super) entry: Arc<PipelineEntry>,
    file: Option<File>,
    is_file_loading: bool,
    pub(super) history: History,
    pub(super) journal: Option<Journal>,
    /// The journal lacks what the history has.
    pub(super) is_unwritten: bool,
    /// How often something was taken back: what was asked for before is not done after.
    pub(super) rollbacks: u64,
    pub(super) generations: u64,
    pub(super) before: Option<Held>,
    pub(super) watched: Option<Watched>,
    pub(super) draining: Vec<Draining>,
    pub(super) recent: Recent,
    given: Option<Arc<Sample>>,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("pipeline", &self.config.name).finish_non_exhaustive()
    }
}

impl Line {
    /// Of a pipeline that has just started with what was opened.
    pub fn new(
        pipeline: &config::Pipeline,
        opened: Opened,
        callee: &Arc<Callee>,
        entry: &Arc<PipelineEntry>,
    ) -> Self {
        let Opened { file, history, journal, .. } = opened;
        let file = file.map(|(path, stamp)| File { path, watch: pipeline.watch.then(|| Watch::new(stamp)) });
        let line = Line {
            config: pipeline.clone(),
            callee: Arc::downgrade(callee),
            entry: entry.clone(),
            file,
            is_file_loading: false,
            history,
            journal,
            is_unwritten: false,
            rollbacks: 0,
            generations: 1,
            before: None,
            watched: None,
            draining: Vec::new(),
            recent: Recent::default(),
            given: None,
        };
        line.show();
        line
    }

    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Why no shadow may run here, if so.
    pub(super) fn no_shadow(&self) -> Option<String> {
        self.has_effects().then(|| {
            format!(
                "pipeline {:?} may ask servers (`allow.http`) and is not `idempotent`: a shadow would ask them a \
                 second time",
                self.name()
            )
        })
    }

    /// Running a record for nobody would be felt by somebody.
    fn has_effects(&self) -> bool {
        !self.config.allow.http.is_empty() && !self.config.idempotent
    }

    pub(super) fn set_sample(&mut self, sample: Option<Sample>) {
        self.given = sample.map(Arc::new);
    }

    /// What was tried when the host ended is tried again.
    pub(super) fn resume(&mut self, index: usize, desk: &Desk) {
        let Some((version, mode)) = self.history.candidate() else { return };
        let source = HandlerSource::Stored { name: version.handler.clone(), digest: version.digest };
        let teller = desk.stories.begin(self.name(), Action::Resume, mode, Asker::own(ITSELF));
        let number = version.version;
        teller.tell(|story| story.version = Some(number));
        self.load(index, source, Purpose::Resume, teller, None, desk);
    }

    /// Somebody asks for something.
    pub(super) fn asked(
        &mut self,
        index: usize,
        ask: Ask,
        mut teller: Teller,
        turn: Option<Turn>,
        desk: &Desk,
    ) {
        match ask {
            Ask::Deploy { source, mode } => {
                self.load(index, source, Purpose::Deploy(mode), teller, turn, desk);
            }
            Ask::Promote => {
                teller.begin(Step::Switch);
                let done = self.promote(&teller, desk);
                self.finish(teller, done, desk);
            }
            Ask::Rollback { to: None } if self.history.candidate().is_some() => {
                teller.begin(Step::Switch);
                let reason = format!("taken back by {}", by(&teller));
                let done = self.drop_candidate(&reason, WatchState::RolledBack, &teller, desk);
                self.finish(teller, done, desk);
            }
            Ask::Rollback { to } => match self.history.before(to).cloned() {
                Err(reason) => {
                    teller.begin(Step::Switch);
                    self.finish(teller, Err(Refused::to_switch(reason.to_string())), desk);
                }
                Ok(version) => match self.before.clone().filter(|held| held.version == version.version) {
                    Some(held) => {
                        teller.begin(Step::Switch);
                        let reason = format!("taken back by {}", by(&teller));
                        let done = self.roll_back(&held, &reason, &teller, desk);
                        self.finish(teller, done, desk);
                    }
                    None => {
                        let Version { handler: name, digest, version, .. } = version;
                        let source = HandlerSource::Stored { name, digest };
                        self.load(index, source, Purpose::RollBack(version), teller, turn, desk);
                    }
                },
            },
        }
    }

    fn load(
        &self,
        line: usize,
        source: HandlerSource,
        purpose: Purpose,
        mut teller: Teller,
        turn: Option<Turn>,
        desk: &Desk,
    ) {
        teller.begin(Step::Wait);
        let trial = matches!(purpose, Purpose::Deploy(_) | Purpose::File).then(|| Trial {
            callee: self.callee.clone(),
            given: self.given.clone(),
            has_effects: self.has_effects(),
        });
        let pipeline = self.config.clone();
        // Who loads is gone only while the host ends.
        let _ = desk.loads.send(Load {
            line,
            pipeline,
            source,
            purpose,
            trial,
            rollbacks: self.rollbacks,
            teller,
            turn,
        });
    }

    /// A module was loaded, or was not.
    pub(super) fn loaded(&mut self, loaded: Loaded, desk: &Desk) {
        let Loaded { source, purpose, rollbacks, digest, mut teller, turn: _turn, result, .. } = loaded;
        if purpose == Purpose::File && !self.is_file_as_it_was_read(&result) {
            // It has changed meanwhile, perhaps while it was read: what is there now is looked at anew.
            return teller.forget();
        }
        let seen = match (&source, digest) {
            (HandlerSource::File(path), Some(digest)) => {
                Some(FileSeen { path: path.to_string_lossy().into_owned(), digest })
            }
            _ => None,
        };
        let done = match result {
            Err(refused) => {
                if let Some(seen) = seen.filter(|_| !refused.may_pass) {
                    // A restart does not run it either.
                    let mut history = self.history.clone();
                    history.refused_file(seen);
                    self.keep_if_possible(history);
                }
                Err(refused)
            }
            Ok(_) if rollbacks != self.rollbacks && purpose != Purpose::File => {
                let reason =
                    "something was taken back while it was loaded; ask again if it is to run after that";
                Err(Refused::to_switch(reason.to_owned()))
            }
            Ok(handler) => {
                teller.begin(Step::Switch);
                match purpose {
                    Purpose::Deploy(mode) => self.deploy(&handler, &source, mode, None, &teller, desk),
                    Purpose::File => self.deploy_file(&handler, &source, seen, &teller, desk),
                    Purpose::Resume => self.try_out(&handler, None, &teller, desk),
                    Purpose::RollBack(version) => {
                        let LoadedHandler { name: handler, code, settings, .. } = handler;
                        let reason = format!("taken back by {}", by(&teller));
                        self.roll_back(&Held { version, handler, code, settings }, &reason, &teller, desk)
                    }
                }
            }
        };
        if let (Purpose::Resume, Err(refused)) = (purpose, &done) {
            let mut history = self.history.clone();
            history.drop_candidate(Some(&format!("it could not be started again: {}", refused.reason)));
            self.keep_if_possible(history);
            self.show();
        }
        if let (Purpose::File, Err(Refused { may_pass: true, .. }), Some(File { watch: Some(watch), .. })) =
            (purpose, &done, &mut self.file)
        {
            watch.forget();
        }
        self.finish(teller, done, desk);
    }

    /// What was loaded from the file is what is in it.
    fn is_file_as_it_was_read(&mut self, result: &Result<LoadedHandler, Refused>) -> bool {
        self.is_file_loading = false;
        let Some(File { path, watch: Some(watch) }) = &mut self.file else { return false };
        if result.as_ref().is_err_and(|refused| refused.may_pass) {
            return true;
        }
        watch.was_read(stamp(path))
    }

    fn deploy_file(
        &mut self,
        handler: &LoadedHandler,
        source: &HandlerSource,
        seen: Option<FileSeen>,
        teller: &Teller,
        desk: &Desk,
    ) -> Result<(), Refused> {
        if seen.is_some() && self.history.file() == seen.as_ref() {
            let (pipeline, digest) = (self.name(), handler.code.version());
            tracing::info!(pipeline, digest, "the file changed, but not the module that it holds");
            return self.runs_already(teller);
        }
        self.deploy(handler, source, Mode::Full, seen, teller, desk)
    }

    pub(super) fn runs_already(&self, teller: &Teller) -> Result<(), Refused> {
        let callee = self.callee.upgrade().ok_or_else(ending)?;
        let current = callee.handler.current();
        let (generation, digest) = (current.number, current.code.version());
        self.entry.set_last_deploy(Deployed::running(generation, digest));
        let running = self.history.running().map(|running| running.version);
        teller.tell(|story| (story.version, story.generation) = (running, Some(generation)));
        Ok(())
    }

    /// The end of what was asked for.
    fn finish(&self, mut teller: Teller, done: Result<(), Refused>, desk: &Desk) {
        match done {
            Ok(()) => {
                teller.end_step();
                desk.write_down(&teller, Stage::Done);
                teller.tell(|story| story.state = Progress::Done);
            }
            Err(Refused { step, reason, .. }) => {
                let deployed = Deployed::refused(step.as_str(), reason.clone());
                let is_known = self.entry.last_deploy().is_some_and(|last| last.result == deployed.result);
                let by = by(&teller);
                if is_known && by == FILE && teller.asker().role.is_none() {
                    return teller.forget();
                }
                self.entry.set_last_deploy(deployed);
                let (pipeline, step_name) = (self.name(), step.as_str());
                tracing::error!(pipeline, by, step = step_name, reason, "not done: what runs goes on");
                teller.refuse_at(step, reason);
                desk.write_down(&teller, Stage::Refused);
            }
        }
    }

    pub(super) fn alive(&self, desk: &Desk) -> Result<(Arc<Callee>, Arc<Workers>), Refused> {
        Ok((self.callee.upgrade().ok_or_else(ending)?, desk.workers.upgrade().ok_or_else(ending)?))
    }

    /// Looks at the file, and at what the new version does.
    pub(super) fn look(&mut self, index: usize, desk: &Desk) {
        let Some(callee) = self.callee.upgrade() else { return };
        self.recent.look(&callee.handler.current());
        if self.is_unwritten {
            self.keep_if_possible(self.history.clone());
        }
        if let Some(watched) = &mut self.watched
            && let Some(reason) = watched.look(self.config.rollback.automatic)
        {
            self.take_back(&reason, desk);
        }
        if self.watched.as_ref().is_some_and(Watched::is_over) {
            self.watched = None;
        }
        let is_new = match &mut self.file {
            Some(File { path, watch: Some(watch) }) if !self.is_file_loading => watch.look(stamp(path)),
            _ => false,
        };
        if let (true, Some(File { path, .. })) = (is_new, &self.file) {
            self.is_file_loading = true;
            let source = HandlerSource::File(path.clone());
            let teller = desk.stories.begin(self.name(), Action::Deploy, Mode::Full, Asker::own(FILE));
            self.load(index, source, Purpose::File, teller, None, desk);
        }
    }

    /// The version that is watched does harm.
    fn take_back(&mut self, reason: &str, desk: &Desk) {
        let mut teller = desk.stories.begin(self.name(), Action::Rollback, Mode::Full, Asker::own(ITSELF));
        teller.begin(Step::Switch);
        teller.detail(reason);
        tracing::error!(pipeline = self.name(), reason, "the new version is taken back");
        let done = if self.history.candidate().is_some() {
            self.drop_candidate(reason, WatchState::RolledBack, &teller, desk)
        } else {
            match self.before.clone() {
                Some(held) => self.roll_back(&held, reason, &teller, desk),
                None => Err(Refused::to_switch("there is nothing to go back to".to_owned())),
            }
        };
        if done.is_err() {
            // Once said is enough: there is nothing else to run.
            self.replace_watch(WatchState::Harmful, reason);
        }
        self.finish(teller, done, desk);
    }

    pub(super) fn is_draining(&self) -> bool {
        !self.draining.is_empty()
    }

    /// Looks whether something is left of what was replaced.
    pub(super) fn drain(&mut self) {
        let pipeline = &self.config.name;
        self.draining.retain_mut(|draining| draining.goes_on(pipeline));
    }

    pub(super) fn show(&self) {
        let Some(version) = self.history.running().cloned() else { return };
        let candidate =
            self.history.candidate().map(|(version, mode)| Tried { version: version.clone(), mode });
        self.entry.set_runs(Runs { version, why: super::report::why(&self.history), candidate });
    }

    pub(super) fn report(&self) -> VersionsReport {
        VersionsReport::of(self.name(), &self.history, self.watched.as_ref())
    }
}

impl Draining {
    /// False once nothing is left. Says so, and if that takes long.
    fn goes_on(&mut self, pipeline: &str) -> bool {
        let generation = self.generation.number;
        if self.generation.is_gone() {
            let drained_ms = self.since.elapsed().as_millis();
            tracing::info!(pipeline, generation, %drained_ms, "nothing is left of the generation before");
            if let Some(teller) = self.teller.take() {
                teller.add(Step::Drain, self.since.elapsed());
                let (calls, p99, most) = self.next.tally.starts();
                let pause = Pause { calls, p99_ms: millis(p99), most_ms: millis(most) };
                teller.tell(|story| story.pause = Some(pause));
            }
            return false;
        }
        if !self.is_late && self.since.elapsed() > DRAIN {
            self.is_late = true;
            tracing::warn!(
                pipeline,
                generation,
                "calls of the generation before still run, or their answers wait for the brokers"
            );
        }
        true
    }
}

pub(super) fn ending() -> Refused {
    Refused::to_switch("the pipeline has ended".to_owned())
}

pub(super) fn by(teller: &Teller) -> String {
    teller.asker().name.clone()
}
