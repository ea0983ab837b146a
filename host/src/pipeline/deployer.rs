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

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::StartError;
use super::load::{HandlerSource, LoadedHandler, Loader, stamp};
use crate::config;
use crate::deploy::{CompileError, Refused, Stamp, Watch};
use crate::kafka::publisher::Origin;
use crate::telemetry::{Deployed, PipelineEntry};
use crate::worker::{Callee, Generation, Workers};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often it is looked whether a generation is gone.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// Something of a generation may be left for so long before the log says so.
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

    /// A look at the file, and a deploy if it has changed. What was replaced is handed back.
    fn look(&mut self, loader: &mut Loader, workers: &Weak<Workers>) -> Option<Draining> {
        if !self.watch.look(stamp(&self.file)) {
            return None;
        }
        let since = Instant::now();
        let loaded = loader.load(&HandlerSource::File(self.file.clone()), &self.pipeline);
        if loaded.as_ref().is_err_and(is_no_fault_of_the_module) {
            // It is looked at again, and so tried again.
            self.watch.forget();
        } else if !self.watch.was_read(stamp(&self.file)) {
            // It has changed meanwhile, perhaps while it was read: what is there now is looked at anew.
            return None;
        }
        match loaded {
            Ok(handler) => self.deploy(handler, since, workers),
            Err(error) => {
                self.refuse(step(&error), &error.to_string());
                None
            }
        }
    }

    fn refuse(&self, step: &'static str, reason: &str) {
        let (pipeline, file) = (&self.pipeline.name, &self.file);
        let deployed = Deployed::refused(step, reason.to_owned());
        let known = self.entry.last_deploy().is_some_and(|last| last.result == deployed.result);
        self.entry.set_last_deploy(deployed);
        if !known {
            tracing::error!(pipeline, ?file, step, reason, "not deployed: the handler that runs goes on");
        }
    }

    fn deploy(&self, handler: LoadedHandler, since: Instant, workers: &Weak<Workers>) -> Option<Draining> {
        let (callee, workers) = (self.callee.upgrade()?, workers.upgrade()?);
        let current = callee.handler.current();
        let (digest, pipeline) = (handler.code.version(), &self.pipeline.name);
        if current.code.version() == digest {
            tracing::info!(pipeline, digest, "the file changed, but not the module that it holds");
            self.entry.set_last_deploy(Deployed::running(current.number, digest));
            return None;
        }
        let module = self.entry.deployed(&handler.name, &digest);
        let group = current.origin.group.clone();
        let origin = Origin { group, handler: handler.name, module_digest: digest.clone() };
        let next = current.next(handler.code, handler.settings, module.executions.clone(), Arc::new(origin));
        let number = next.number;
        drop(current);
        let loaded = since.elapsed();
        let before = workers.switch(&callee, next);
        tracing::info!(
            pipeline,
            generation = number,
            digest,
            compiled_ms = handler.compiled_in.map(millis),
            loaded_ms = millis(loaded),
            "deployed"
        );
        self.entry.set_last_deploy(Deployed::running(number, digest));
        Some(Draining { pipeline: pipeline.clone(), before, since: Instant::now(), is_late: false })
    }
}

/// A generation that was replaced, and of which something is left.
struct Draining {
    pipeline: String,
    before: Arc<Generation>,
    since: Instant,
    is_late: bool,
}

impl Draining {
    /// False once nothing is left. Says so, and if that takes long.
    fn goes_on(&mut self) -> bool {
        let (pipeline, generation) = (&self.pipeline, self.before.number);
        if self.before.is_gone() {
            let drained_ms = millis(self.since.elapsed());
            tracing::info!(pipeline, generation, drained_ms, "nothing is left of the generation before");
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

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// True where another try may have another end with the same file.
fn is_no_fault_of_the_module(error: &StartError) -> bool {
    !matches!(step(error), "compile" | "check" | "trial")
        || matches!(error, StartError::Module { reason: Refused::Compile(CompileError::Process { .. }), .. })
}

/// What failed, in a word.
fn step(error: &StartError) -> &'static str {
    match error {
        StartError::HandlerFile { .. } => "read",
        StartError::Module { reason: Refused::Compile(_), .. } => "compile",
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
                let (mut draining, mut next) = (Vec::<Draining>::new(), Instant::now() + LOOK);
                loop {
                    let until_look = next.saturating_duration_since(Instant::now());
                    let wait = if draining.is_empty() { until_look } else { until_look.min(DRAIN_LOOK) };
                    if !is_asleep(&stopped, wait) {
                        return;
                    }
                    draining.retain_mut(Draining::goes_on);
                    if Instant::now() < next {
                        continue;
                    }
                    for target in &mut targets {
                        if !is_asleep(&stopped, Duration::ZERO) {
                            return;
                        }
                        let look = AssertUnwindSafe(|| target.look(&mut loader, &workers));
                        match catch_unwind(look) {
                            Ok(replaced) => draining.extend(replaced),
                            Err(_) => tracing::error!(
                                pipeline = target.pipeline.name,
                                "a deploy panicked in the host; please report this"
                            ),
                        }
                    }
                    next = Instant::now() + LOOK;
                }
            })
            .map_err(StartError::Thread)?;
        Ok(Deployer { stop: Some(stop), thread: Some(thread) })
    }

    /// Begins no further deploy.
    pub(super) fn stop(&self) {
        if let Some(stop) = &self.stop {
            // Who is gone has stopped.
            let _ = stop.send(());
        }
    }
}

/// Waits so long; false if it was told to stop meanwhile.
fn is_asleep(stopped: &Receiver<()>, wait: Duration) -> bool {
    matches!(stopped.recv_timeout(wait), Err(RecvTimeoutError::Timeout))
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
