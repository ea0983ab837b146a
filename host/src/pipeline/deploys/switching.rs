//! How one version of a pipeline follows another.
//!
//! Each way has the same order: what could still fail comes first, then the history is on the disk, then calls run something
//! else. A host that dies in between starts with what the history says.

use std::sync::Arc;
use std::time::Instant;

use super::Desk;
use super::line::{Draining, Held, Line, Refused, by};
use super::watched::Watched;
use crate::deploy::history::{Brought, FileSeen, History, Mode, Source};
use crate::deploy::story::{Teller, WatchState};
use crate::kafka::publisher::Origin;
use crate::pipeline::load::{LoadedHandler, Loader};
use crate::pipeline::source::HandlerSource;
use crate::telemetry::Deployed;
use crate::time::unix_millis;
use crate::wasm::InstanceSettings;
use crate::worker::{
    Callee, Candidate, Code, Comparison, Generation, Keeping, Role, Route, Share, Tally, Workers,
};

impl Line {
    /// Runs a module. `seen`: it is what the handler's file holds.
    pub(super) fn deploy(
        &mut self,
        handler: &LoadedHandler,
        source: &HandlerSource,
        mode: Mode,
        seen: Option<FileSeen>,
        teller: &Teller,
        desk: &Desk,
    ) -> Result<(), Refused> {
        let Code::Module(module) = &handler.code else { return Ok(()) };
        let digest = module.digest();
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
            return self.try_out(handler, Some((brought, mode)), teller, desk);
        }
        let (callee, workers) = self.alive(desk)?;
        let mut history = self.history.clone();
        if let Some(seen) = seen {
            history.saw_file(seen);
        }
        let before = history.running().map_or(0, |running| running.version);
        let version = history.run(brought);
        self.keep(history)?;
        let route = callee.handler.route();
        if version == before {
            // It runs already; what was tried beside it goes.
            self.switch(&callee, &workers, Route { candidate: None, ..(*route).clone() }, version, teller);
            if route.candidate.is_some() {
                self.replace_watch(WatchState::Replaced, "what runs was deployed again");
            }
            return Ok(());
        }
        let baseline = self.recent.before(&route.current);
        self.before = Some(held(before, &route.current));
        let next = self.generation(&handler.name, &handler.code, &handler.settings, &callee, false);
        self.switch(&callee, &workers, Route { current: next.clone(), candidate: None }, version, teller);
        self.replace_watch(WatchState::Replaced, "another version was deployed");
        self.watched = Some(Watched::full(&self.config.rollback, teller.again(), version, next, baseline));
        Ok(())
    }

    /// Runs a module beside the current one: a new version, or the one that was tried before.
    pub(super) fn try_out(
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
            let trial = Loader::trial_settings(&self.config, &settings);
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

    pub(super) fn promote(&mut self, teller: &Teller, desk: &Desk) -> Result<(), Refused> {
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

    pub(super) fn drop_candidate(
        &mut self,
        reason: &str,
        state: WatchState,
        teller: &Teller,
        desk: &Desk,
    ) -> Result<(), Refused> {
        let (callee, workers) = self.alive(desk)?;
        let mut history = self.history.clone();
        history.drop_candidate(Some(reason));
        let running = history.running().map_or(0, |running| running.version);
        self.keep_if_possible(history);
        let current = callee.handler.current();
        self.rollbacks += 1;
        self.switch(&callee, &workers, Route { current, candidate: None }, running, teller);
        self.replace_watch(state, reason);
        Ok(())
    }

    pub(super) fn roll_back(
        &mut self,
        to: &Held,
        reason: &str,
        teller: &Teller,
        desk: &Desk,
    ) -> Result<(), Refused> {
        let (callee, workers) = self.alive(desk)?;
        let mut history = self.history.clone();
        let before = history.running().map_or(0, |running| running.version);
        history.roll_back(to.version, reason).map_err(|reason| Refused::to_switch(reason.to_string()))?;
        self.keep_if_possible(history);
        let route = callee.handler.route();
        self.before = Some(held(before, &route.current));
        let next = self.generation(&to.handler, &to.code, &to.settings, &callee, false);
        self.rollbacks += 1;
        self.switch(&callee, &workers, Route { current: next, candidate: None }, to.version, teller);
        self.replace_watch(WatchState::RolledBack, reason);
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
    pub(super) fn replace_watch(&mut self, state: WatchState, reason: &str) {
        if let Some(watched) = self.watched.take() {
            watched.end(state, reason.to_owned());
        }
    }

    /// Keeps the history, for a restart as well.
    fn keep(&mut self, history: History) -> Result<(), Refused> {
        if let Some(journal) = &self.journal {
            let written = journal.write(&history);
            written.map_err(|error| {
                Refused::to_switch(format!("the history of versions cannot be written: {error}"))
            })?;
        }
        (self.history, self.is_unwritten) = (history, false);
        Ok(())
    }

    /// The same for what is done in any case: harm is ended although the disk is full.
    pub(super) fn keep_if_possible(&mut self, history: History) {
        self.history = history;
        let kept = self.keep(self.history.clone());
        if let Err(refused) = kept
            && !std::mem::replace(&mut self.is_unwritten, true)
        {
            let (pipeline, reason) = (self.name(), &refused.reason);
            tracing::error!(pipeline, reason, "it is done; a restart now would not know of it");
        }
    }
}

fn held(version: u64, generation: &Generation) -> Held {
    Held {
        version,
        handler: generation.origin.handler.clone(),
        code: generation.code.clone(),
        settings: generation.settings.clone(),
    }
}
