//! Deploys while records flow.
//!
//! One thread of its own does them, one after the other, so that neither consumers nor workers ever wait for a module:
//!
//! ```text
//! the file changed ─► read ─► compile (child process) ─► check ─► start one for trial ─► switch ─► the old one ends
//!                       └───────────── any of these fails: the old one goes on, and the log says why ─┘
//! ```
//!
//! The switch is between two calls (see [`Generations`](crate::worker::Generations)); what runs then ends on what it
//! began with.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::StartError;
use super::load::{HandlerSource, LoadedHandler, Loader, stamp};
use crate::config;
use crate::deploy::{Stamp, Watch};
use crate::kafka::publisher::Origin;
use crate::telemetry::{Deployed, PipelineEntry};
use crate::worker::{Callee, Workers};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked whether a generation is gone.
const DRAIN_LOOK: Duration = Duration::from_millis(1);
/// Calls of a generation that was replaced may run on for so long before the log says that they do.
const DRAIN: Duration = Duration::from_secs(10);

/// A pipeline whose file is watched.
///
/// It does not keep the pipeline alive: what is under way when the host ends is left.
#[derive(Debug)]
pub(super) struct Target {
    pipeline: config::Pipeline,
    callee: Weak<Callee>,
    entry: Arc<PipelineEntry>,
    file: PathBuf,
    watch: Watch,
}

/// Deploys for all pipelines of a host. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Deployer {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Target {
    /// Of a pipeline whose handler's file was like `file` when it was read; none if it is from no file, or that is not
    /// watched.
    pub(super) fn of(
        pipeline: &config::Pipeline,
        file: Option<Stamp>,
        callee: &Arc<Callee>,
        entry: &Arc<PipelineEntry>,
    ) -> Option<Target> {
        let read = file.filter(|_| pipeline.watch)?;
        Some(Target {
            pipeline: pipeline.clone(),
            callee: Arc::downgrade(callee),
            entry: entry.clone(),
            file: pipeline.handler.clone(),
            watch: Watch::new(Some(read)),
        })
    }

    /// A look at the file, and a deploy if it has changed.
    fn look(&mut self, loader: &mut Loader, workers: &Weak<Workers>, stop: &Receiver<()>) {
        if !self.watch.look(stamp(&self.file)) {
            return;
        }
        let since = Instant::now();
        let loaded = loader.load(&HandlerSource::File(self.file.clone()), &self.pipeline);
        if !self.watch.was_read(stamp(&self.file)) {
            // It changed while it was read: what was read of it is nobody's module.
            return;
        }
        let (pipeline, file) = (&self.pipeline.name, self.file.display());
        match loaded {
            Ok(handler) => self.deploy(handler, since, workers, stop),
            Err(error) => {
                let (step, reason) = (step(&error), error.to_string());
                tracing::error!(pipeline, %file, step, reason, "not deployed: the handler that runs goes on");
                self.entry.set_last_deploy(Deployed::refused(step, reason));
            }
        }
    }

    fn deploy(&self, handler: LoadedHandler, since: Instant, workers: &Weak<Workers>, stop: &Receiver<()>) {
        let (Some(callee), Some(workers)) = (self.callee.upgrade(), workers.upgrade()) else { return };
        let current = callee.handler.current();
        let (digest, name) = (handler.code.version(), &self.pipeline.name);
        if current.code.version() == digest {
            tracing::info!(pipeline = name, digest, "the file changed, but not the module that it holds");
            return;
        }
        let module = self.entry.deployed(&handler.name, &digest);
        let group = current.origin.group.clone();
        let origin = Origin { group, handler: handler.name, module_digest: digest.clone() };
        let next = current.next(handler.code, handler.settings, module.executions.clone(), Arc::new(origin));
        let number = next.number;
        drop(current);
        let loaded = since.elapsed();
        let before = workers.switch(&callee, next);
        // Neither is to be kept by who only waits.
        drop((callee, workers));
        self.entry.set_last_deploy(Deployed::running(number, digest.clone()));
        let switched = Instant::now();
        tracing::info!(
            pipeline = name,
            generation = number,
            digest,
            compiled_ms = handler.compiled_in.map(|took| took.as_millis() as u64),
            loaded_ms = loaded.as_millis() as u64,
            "deployed"
        );
        let mut is_late = false;
        while !before.is_gone() {
            if !matches!(stop.recv_timeout(DRAIN_LOOK), Err(RecvTimeoutError::Timeout)) {
                return;
            }
            if !is_late && switched.elapsed() > DRAIN {
                is_late = true;
                tracing::warn!(
                    pipeline = name,
                    generation = before.number,
                    "calls of the generation before still run; they end by their deadline"
                );
            }
        }
        let drained_ms = switched.elapsed().as_millis() as u64;
        tracing::info!(
            pipeline = name,
            generation = before.number,
            drained_ms,
            "nothing is left of the generation before"
        );
    }
}

/// What failed, in a word.
fn step(error: &StartError) -> &'static str {
    match error {
        StartError::HandlerFile { .. } => "read",
        StartError::Module { reason: crate::deploy::Refused::Compile(_), .. } => "compile",
        StartError::Module { .. } => "check",
        StartError::Trial { .. } => "trial",
        _ => "prepare",
    }
}

impl Deployer {
    /// Watches the files of `targets`.
    ///
    /// # Errors
    /// If there is no thread.
    pub(super) fn start(
        mut loader: Loader,
        mut targets: Vec<Target>,
        workers: &Arc<Workers>,
    ) -> Result<Self, StartError> {
        let (stop, stopped) = channel();
        let workers = Arc::downgrade(workers);
        let thread = std::thread::Builder::new()
            .name("deploy".to_owned())
            .spawn(move || {
                while matches!(stopped.recv_timeout(LOOK), Err(RecvTimeoutError::Timeout)) {
                    for target in &mut targets {
                        target.look(&mut loader, &workers, &stopped);
                    }
                }
            })
            .map_err(StartError::Thread)?;
        Ok(Deployer { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Deployer {
    fn drop(&mut self) {
        drop(self.stop.take());
        // One that waits for a compiler is not waited for: it holds nothing that the others need to end.
        if let Some(thread) = self.thread.take().filter(JoinHandle::is_finished)
            && thread.join().is_err()
        {
            tracing::error!("the thread that deploys panicked");
        }
    }
}
