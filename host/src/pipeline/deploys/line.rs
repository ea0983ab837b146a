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
use crate::deploy::history::{Brought, FileSeen, History, Mode, Source, Version};
use crate::deploy::story::{Action, Asker, Pause, Progress, Step, Teller, WatchState, millis};
use crate::deploy::{CompileError, Journal, Refused as ModuleRefused, Store, Watch};
use crate::kafka::publisher::Origin;
use crate::pipeline::StartError;
use crate::pipeline::load::{HandlerSource, LoadedHandler, stamp};
use crate::telemetry::{Deployed, PipelineEntry, Runs, Tried};
use crate::time::unix_millis;
use crate::wasm::InstanceSettings;
use crate::worker::{
    Callee, Candidate, Code, Comparison, Generation, Keeping, Role, Route, Sample, Share, Tally, Workers,
};

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

    fn to_switch(reason: String) -> Self {
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
            _ => (Step::Read, true),
        };
        Refused { step, reason: error.to_string(), may_pass }
    }
}

/// A module that can run again at once.
#[derive(Clone)]
struct Held {
    version: u64,
    handler: String,
    code: Code,
    settings: Arc<InstanceSettings>,
}

/// A generation that was replaced, and of which something is left.
struct Draining {
    generation: Arc<Generation>,
    /// What took its place.
    next: Arc<Generation>,
    since: Instant,
    is_late: bool,
    teller: Option<Teller>,
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
    config: config::Pipeline,
    callee: Weak<Callee>,
    entry: Arc<PipelineEntry>,
    file: Option<File>,
    is_file_loading: bool,
    pub(super) history: History,
    journal: Option<Journal>,
    store: Arc<Store>,
    generations: u64,
    before: Option<Held>,
    pub(super) watched: Option<Watched>,
    draining: Vec<Draining>,
    recent: Recent,
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
        let Opened { file, history, journal, store, .. } = opened;
        let file = file.map(|(path, stamp)| File { path, watch: pipeline.watch.then(|| Watch::new(stamp)) });
        let line = Line {
            config: pipeline.clone(),
            callee: Arc::downgrade(callee),
            entry: entry.clone(),
            file,
            is_file_loading: false,
            history,
            journal,
            store,
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
        let teller = desk.stories.begin(self.name(), Action::Deploy, mode, Asker::own(&version.by));
        let number = version.version;
        teller.tell(|story| story.version = Some(number));
        self.load(index, source, Purpose::Resume, teller, None, desk);
    }

    /// Somebody asks for something.
    pub(super) fn asked(&mut self, index: usize, ask: Ask, mut teller: Teller, turn: Turn, desk: &Desk) {
        match ask {
            Ask::Deploy { source, mode } => {
                self.load(index, source, Purpose::Deploy(mode), teller, Some(turn), desk);
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
                        let done = self.roll_back(held, reason, &teller, desk);
                        self.finish(teller, done, desk);
                    }
                    None => {
                        let Version { handler: name, digest, version, .. } = version;
                        let source = HandlerSource::Stored { name, digest };
                        self.load(index, source, Purpose::RollBack(version), teller, Some(turn), desk);
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
        let _ = desk.loads.send(Load { line, pipeline, source, purpose, trial, teller, turn });
    }

    /// A module was loaded, or was not.
    pub(super) fn loaded(&mut self, loaded: Loaded, desk: &Desk) {
        let Loaded { source, purpose, mut teller, turn: _turn, result, .. } = loaded;
        if purpose == Purpose::File && !self.is_file_as_it_was_read(&result) {
            // It has changed meanwhile, perhaps while it was read: what is there now is looked at anew.
            return teller.forget();
        }
        let done = match result {
            Err(refused) => Err(refused),
            Ok(handler) => {
                teller.begin(Step::Switch);
                match purpose {
                    Purpose::Deploy(mode) => self.deploy(handler, &source, mode, &teller, desk),
                    Purpose::File => self.deploy_file(handler, &source, &teller, desk),
                    Purpose::Resume => self.try_out(&handler, None, &teller, desk),
                    Purpose::RollBack(version) => {
                        let LoadedHandler { name: handler, code, settings, .. } = handler;
                        let reason = format!("taken back by {}", by(&teller));
                        self.roll_back(Held { version, handler, code, settings }, reason, &teller, desk)
                    }
                }
            }
        };
        if purpose == Purpose::Resume && done.is_err() {
            self.history.drop_candidate(None);
        }
        self.finish(teller, done, desk);
    }

    /// What was loaded from the file is what is in it.
    fn is_file_as_it_was_read(&mut self, result: &Result<LoadedHandler, Refused>) -> bool {
        self.is_file_loading = false;
        let Some(File { path, watch: Some(watch) }) = &mut self.file else { return false };
        if result.as_ref().is_err_and(|refused| refused.may_pass) {
            // It is looked at again, and so tried again.
            watch.forget();
            return true;
        }
        watch.was_read(stamp(path))
    }

    fn deploy_file(
        &mut self,
        handler: LoadedHandler,
        source: &HandlerSource,
        teller: &Teller,
        desk: &Desk,
    ) -> Result<(), Refused> {
        if let (HandlerSource::File(path), Code::Module(module)) = (source, &handler.code) {
            let seen = FileSeen { path: path.to_string_lossy().into_owned(), digest: module.digest() };
            let is_known = self.history.file() == Some(&seen);
            self.history.saw_file(seen);
            if is_known {
                let (pipeline, digest) = (self.name(), handler.code.version());
                tracing::info!(pipeline, digest, "the file changed, but not the module that it holds");
                return self.runs_already(teller);
            }
        }
        self.deploy(handler, source, Mode::Full, teller, desk)
    }

    fn runs_already(&self, teller: &Teller) -> Result<(), Refused> {
        let callee = self.callee.upgrade().ok_or_else(ending)?;
        let current = callee.handler.current();
        let (generation, digest) = (current.number, current.code.version());
        self.entry.set_last_deploy(Deployed::running(generation, digest));
        let running = self.history.running().map(|running| running.version);
        teller.tell(|story| (story.version, story.generation) = (running, Some(generation)));
        Ok(())
    }

    fn deploy(
        &mut self,
        handler: LoadedHandler,
        source: &HandlerSource,
        mode: Mode,
        teller: &Teller,
        desk: &Desk,
    ) -> Result<(), Refused> {
        let Code::Module(module) = &handler.code else { return Ok(()) };
        let digest = module.digest();
        if mode == Mode::Full
            && self.history.candidate().is_none()
            && self
                .history
                .running()
                .is_some_and(|running| (running.digest, &running.handler) == (digest, &handler.name))
        {
            return self.runs_already(teller);
        }
        if let Some(bytes) = &handler.module {
            let kept = self.store.put(&digest, bytes, handler.signature.as_deref());
            kept.map_err(|error| Refused::to_switch(format!("the module cannot be kept: {error}")))?;
        }
        let brought = Brought {
            digest,
            handler: handler.name.clone(),
            source: match source {
                HandlerSource::File(_) => Source::File,
                HandlerSource::Embedded { .. } | HandlerSource::Native { .. } => Source::BuiltIn,
                HandlerSource::Sent { .. } | HandlerSource::Stored { .. } => Source::Upload,
                HandlerSource::Registry(_) => Source::Registry,
            },
            from: handler.from.clone(),
            by: by(teller),
            unix_ms: unix_millis(),
        };
        if mode != Mode::Full {
            return self.try_out(&handler, Some((brought, mode)), teller, desk);
        }
        let (callee, workers) = self.alive(desk)?;
        let mut history = self.history.clone();
        let before = history.running().map_or(0, |running| running.version);
        let version = history.run(brought);
        self.keep(history)?;
        let route = callee.handler.route();
        let baseline = self.recent.before(&route.current);
        self.before = Some(held(before, &route.current));
        let next = self.generation(&handler.name, &handler.code, &handler.settings, &callee, false);
        self.switch(&callee, &workers, Route { current: next.clone(), candidate: None }, version, teller);
        self.replace_watch(WatchState::Replaced, "another version was deployed");
        self.watched = Some(Watched::full(&self.config.rollback, teller.again(), version, next, baseline));
        Ok(())
    }

    /// Runs a module beside the current one: a new version, or the one that was tried before.
    fn try_out(
        &mut self,
        handler: &LoadedHandler,
        new: Option<(Brought, Mode)>,
        teller: &Teller,
        desk: &Desk,
    ) -> Result<(), Refused> {
        let (callee, workers) = self.alive(desk)?;
        let mut history = self.history.clone();
        let (version, mode) = match new {
            Some((brought, mode)) => (history.try_out(brought, mode), mode),
            None => match history.candidate() {
                Some((version, mode)) => (version.version, mode),
                None => return Err(Refused::to_switch("it is tried no longer".to_owned())),
            },
        };
        self.keep(history)?;
        let Code::Module(module) = &handler.code else { return Ok(()) };
        let role = match mode {
            Mode::Canary { percent } => {
                Role::Canary(Share::new(percent, &module.digest(), self.config.ordering))
            }
            _ => Role::Shadow(Arc::<Comparison>::default()),
        };
        let mut settings = handler.settings.clone();
        if mode == Mode::Shadow {
            // What it says and counts is nobody's; memory it takes as the others do.
            let trial = crate::pipeline::load::Loader::trial_settings(&self.config, &settings);
            settings = Arc::new(InstanceSettings { memory: settings.memory.clone(), ..(*trial).clone() });
        }
        let generation = self.generation(&handler.name, &handler.code, &settings, &callee, true);
        let current = callee.handler.current();
        let candidate = Some(Candidate { generation: generation.clone(), role: role.clone() });
        self.switch(&callee, &workers, Route { current: current.clone(), candidate }, version, teller);
        self.replace_watch(WatchState::Replaced, "another version is tried");
        let rule = &self.config.rollback;
        self.watched = Some(match role {
            Role::Canary(_) => Watched::canary(rule, teller.again(), version, generation, current),
            Role::Shadow(comparison) => {
                Watched::shadow(rule, teller.again(), version, generation, comparison)
            }
        });
        Ok(())
    }

    fn promote(&mut self, teller: &Teller, desk: &Desk) -> Result<(), Refused> {
        let (callee, workers) = self.alive(desk)?;
        let mut history = self.history.clone();
        let before = history.running().map_or(0, |running| running.version);
        let version = history.promote().map_err(|reason| Refused::to_switch(reason.to_string()))?;
        let route = callee.handler.route();
        let Some(Candidate { generation, role }) = &route.candidate else {
            return Err(Refused::to_switch("the version is still being loaded; try again".to_owned()));
        };
        self.keep(history)?;
        let baseline = self.recent.before(&route.current);
        self.before = Some(held(before, &route.current));
        let next = match role {
            Role::Canary(_) => {
                self.entry.deployed(&generation.origin.handler, &generation.origin.module_digest);
                generation.clone()
            }
            // A shadow's instances are silent.
            Role::Shadow(_) => {
                let current = &route.current.settings;
                self.generation(&generation.origin.handler, &generation.code, current, &callee, false)
            }
        };
        self.switch(&callee, &workers, Route { current: next.clone(), candidate: None }, version, teller);
        self.replace_watch(WatchState::Promoted, &format!("promoted by {}", by(teller)));
        self.watched = Some(Watched::full(&self.config.rollback, teller.again(), version, next, baseline));
        Ok(())
    }

    fn drop_candidate(
        &mut self,
        reason: &str,
        state: WatchState,
        teller: &Teller,
        desk: &Desk,
    ) -> Result<(), Refused> {
        let (callee, workers) = self.alive(desk)?;
        let mut history = self.history.clone();
        history.drop_candidate(Some(reason.to_owned()));
        let running = history.running().map_or(0, |running| running.version);
        self.keep(history)?;
        let current = callee.handler.current();
        self.switch(&callee, &workers, Route { current, candidate: None }, running, teller);
        self.replace_watch(state, reason);
        Ok(())
    }

    fn roll_back(&mut self, to: Held, reason: String, teller: &Teller, desk: &Desk) -> Result<(), Refused> {
        let (callee, workers) = self.alive(desk)?;
        let mut history = self.history.clone();
        let before = history.running().map_or(0, |running| running.version);
        history
            .roll_back(to.version, reason.clone())
            .map_err(|reason| Refused::to_switch(reason.to_string()))?;
        self.keep(history)?;
        let route = callee.handler.route();
        self.before = Some(held(before, &route.current));
        let next = self.generation(&to.handler, &to.code, &to.settings, &callee, false);
        self.switch(&callee, &workers, Route { current: next, candidate: None }, to.version, teller);
        self.replace_watch(WatchState::RolledBack, &reason);
        Ok(())
    }

    /// A generation of this module, which runs nothing yet.
    fn generation(
        &mut self,
        handler: &str,
        code: &Code,
        settings: &Arc<InstanceSettings>,
        callee: &Callee,
        is_candidate: bool,
    ) -> Arc<Generation> {
        self.generations += 1;
        let current = callee.handler.current();
        let digest = code.version();
        let module = if is_candidate {
            self.entry.tried(handler, &digest)
        } else {
            self.entry.deployed(handler, &digest)
        };
        let group = current.origin.group.clone();
        let origin = Origin { group, handler: handler.to_owned(), module_digest: digest };
        Arc::new(Generation {
            number: self.generations,
            code: code.clone(),
            settings: settings.clone(),
            executions: module.executions.clone(),
            origin: Arc::new(origin),
            keeping: Keeping::of_generation(self.generations, &current.keeping),
            tally: Tally::default(),
        })
    }

    fn switch(&mut self, callee: &Callee, workers: &Workers, route: Route, version: u64, teller: &Teller) {
        let newest = route.candidate.as_ref().map_or(&route.current, |candidate| &candidate.generation);
        let newest = newest.clone();
        let (generation, digest) = (newest.number, newest.code.version());
        let handler = newest.origin.handler.clone();
        let gone = workers.switch(callee, route);
        let pipeline = self.name();
        tracing::info!(pipeline, version, generation, digest, by = by(teller), "deployed");
        self.entry.set_last_deploy(Deployed::running(generation, digest.clone()));
        teller.tell(|story| {
            (story.version, story.generation) = (Some(version), Some(generation));
            (story.digest, story.handler) = (Some(digest), Some(handler));
        });
        let since = Instant::now();
        let draining = gone.into_iter().map(|generation| Draining {
            generation,
            next: newest.clone(),
            since,
            is_late: false,
            teller: Some(teller.again()),
        });
        self.draining.extend(draining);
        self.show();
    }

    /// What is watched is watched no longer.
    fn replace_watch(&mut self, state: WatchState, reason: &str) {
        if let Some(watched) = self.watched.take() {
            watched.end(state, reason.to_owned());
        }
    }

    fn keep(&mut self, history: History) -> Result<(), Refused> {
        if let Some(journal) = &self.journal {
            let written = journal.write(&history);
            written.map_err(|error| {
                Refused::to_switch(format!("the history of versions cannot be written: {error}"))
            })?;
        }
        self.history = history;
        let named = self.history.digests().copied().collect();
        if let Err(error) = self.store.forget_others(&named) {
            tracing::warn!(pipeline = self.name(), %error, "the folder of modules cannot be tidied");
        }
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
                if is_known && by == FILE {
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

    fn alive(&self, desk: &Desk) -> Result<(Arc<Callee>, Arc<Workers>), Refused> {
        Ok((self.callee.upgrade().ok_or_else(ending)?, desk.workers.upgrade().ok_or_else(ending)?))
    }

    /// Looks at the file, and at what the new version does.
    pub(super) fn look(&mut self, index: usize, desk: &Desk) {
        let Some(callee) = self.callee.upgrade() else { return };
        self.recent.look(&callee.handler.current());
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
                Some(held) => self.roll_back(held, reason.to_owned(), &teller, desk),
                None => Err(Refused::to_switch("there is nothing to go back to".to_owned())),
            }
        };
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

    fn show(&self) {
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

fn ending() -> Refused {
    Refused::to_switch("the pipeline has ended".to_owned())
}

fn by(teller: &Teller) -> String {
    teller.asker().name.clone()
}

fn held(version: u64, generation: &Generation) -> Held {
    Held {
        version,
        handler: generation.origin.handler.clone(),
        code: generation.code.clone(),
        settings: generation.settings.clone(),
    }
}
