//! Instances: live sandboxes, and the calls that are made of them.
//!
//! A worker starts an instance, calls it with one batch after the other, and owns it in between. A call takes
//! the instance and gives it back only with an answer that kept all rules, so that whatever goes wrong (an
//! error, a refused answer, a future that is dropped) costs the instance: nobody knows what state it is in.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::Store;

use super::answer::{Answer, RawAnswer, check};
use super::bindings::{Handle, lower};
use super::failure::{Circumstances, but_for_room, classify, no_room};
use super::limits::{Denied, InstanceLimits, Limiter, MemoryBudget, Part};
use super::log::LogSink;
use super::meter::{Spent, Watch};
use super::module::Module;
use super::state::State;
use super::text;
use super::wasi::HANDLES;
use crate::batch::{Batch, TopicPartition};
use crate::cancel::Cancel;
use crate::ids::Fuel;
use crate::outcome::{Again, Failure, Outcome, Shared};
use crate::outgoing::Outgoing;
use crate::secrets::Secrets;
use crate::telemetry::{GuestMetrics, Uses};

/// What all instances of one pipeline and generation are made with.
#[derive(Clone, Debug)]
pub struct InstanceSettings {
    /// What each may take.
    pub limits: InstanceLimits,
    /// The pipeline's `config` table.
    pub config: Vec<(String, String)>,
    /// Where their lines go.
    pub log: Arc<LogSink>,
    /// Memory that they share with others: the pipeline's, then the host's.
    pub memory: Arc<[Arc<MemoryBudget>]>,
    /// What they may use besides.
    pub capabilities: Capabilities,
}

/// What the instances of a pipeline may use, as far as it is granted. Without anything by default.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    /// Counts uses.
    pub uses: Arc<Uses>,
    /// Metrics of the handler's own.
    pub metrics: Arc<GuestMetrics>,
    /// Values that nobody else shall see.
    pub secrets: Arc<Secrets>,
    /// Servers that it may ask.
    pub http: Option<Arc<Outgoing>>,
}

/// What one call may take.
#[derive(Clone, Copy, Debug)]
pub struct Budget<'a> {
    /// Instructions, more or less, of the guest.
    pub fuel: Fuel,
    /// Computing plus waiting on the host. Waiting for a turn does not count.
    pub deadline: Duration,
    /// Ends the call from another thread.
    pub cancel: &'a Arc<Cancel>,
}

/// How a call ended, and what it took.
#[derive(Debug)]
pub struct Call {
    /// The instance, for the next call, and its answer; or why there is neither.
    pub result: Result<(Instance, Answer), Failure>,
    /// Fuel that was used.
    pub fuel: Fuel,
    /// Time on a core.
    pub polled: Duration,
    /// Time waiting on the host.
    pub waited: Duration,
    /// Calls of host functions.
    pub host_calls: u32,
    /// Bytes of memories and tables that the instance holds, or held; they never shrink.
    pub memory: usize,
}

/// How much shared memory an instance has to find before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// What it starts with; more as it grows.
    ToStart,
    /// All that its limit allows, set aside: growing cannot fail for want of shared memory then.
    Everything,
}

/// Memory that was found for an instance which is still to start. It counts as held.
#[derive(Debug)]
pub struct Reserved {
    limiter: Limiter,
    need: Need,
}

impl Reserved {
    /// For an instance of `module`.
    ///
    /// # Errors
    /// If there is not so much left of what instances share: of what.
    pub fn new(module: &Module, settings: &InstanceSettings, need: Need) -> Result<Self, Shared> {
        let most = settings.limits.memory;
        let mut limiter = Limiter::new(most, Arc::clone(&settings.memory));
        limiter.set_aside(match need {
            Need::ToStart => usize::try_from(module.needs().memory).unwrap_or(most),
            Need::Everything => most,
        })?;
        Ok(Reserved { limiter, need })
    }
}

/// A live sandbox.
///
/// Invariant: no call runs in it and none has failed.
pub struct Instance {
    store: Store<State>,
    handle: Handle,
    watch: Watch,
    memory_at_start: usize,
    need: Need,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("memory", &self.memory()).finish_non_exhaustive()
    }
}

impl Instance {
    /// Makes an instance of `module` and calls its `start`, both under the limits of `settings`.
    ///
    /// Runs on the worker's runtime, which needs a timer.
    ///
    /// # Errors
    /// [`Outcome::InitializationFailed`] with the reason; [`Outcome::Revoked`] if `cancel` was set;
    /// [`Again::WithRoom`] if the pool or the shared memory has no room.
    pub async fn start(
        module: &Module,
        settings: &Arc<InstanceSettings>,
        cancel: &Arc<Cancel>,
    ) -> Result<Self, Failure> {
        let memory = Reserved::new(module, settings, Need::ToStart).map_err(no_room)?;
        Instance::start_in(memory, module, settings, cancel).await
    }

    /// The same, in memory that was found for it before.
    ///
    /// # Errors
    /// As [`start`](Instance::start).
    pub async fn start_in(
        memory: Reserved,
        module: &Module,
        settings: &Arc<InstanceSettings>,
        cancel: &Arc<Cancel>,
    ) -> Result<Self, Failure> {
        let Reserved { limiter, need } = memory;
        let limits = &settings.limits;
        let budget = Budget { fuel: limits.start_fuel, deadline: limits.start_deadline, cancel };
        let mut watch = Watch::new();
        let state = State::new(Arc::clone(settings), limiter, Arc::clone(watch.meter()), &budget);
        let mut store = Store::new(module.engine().wasmtime(), state);
        store.limiter(|state| &mut state.limiter);
        store.epoch_deadline_callback(State::on_tick);
        store.set_max_component_handles(HANDLES);
        begin(&mut store, 1, &budget);
        let config: Vec<_> =
            settings.config.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let run = async {
            let (start, handle) = module.linked().instantiate(&mut store).await?;
            let (started,) = start.call_async(&mut store, (&config,)).await?;
            store.data().check_host_calls()?;
            wasmtime::Result::Ok((handle, started))
        };
        let (result, _) = watch.run(budget.deadline, cancel, pin!(run)).await;
        store.data_mut().end_call(matches!(result, Ok(Ok((_, Ok(()))))));
        let failure = match result {
            Ok(Ok((handle, Ok(())))) => {
                write_lines(&mut store);
                let memory_at_start = store.data().limiter.bytes();
                return Ok(Instance { store, handle, watch, memory_at_start, need });
            }
            Ok(Ok((_, Err(reason)))) => Failure::of(
                Outcome::InitializationFailed,
                text::clean(
                    &settings.capabilities.secrets.redact(&format!("`start` failed: {reason}")),
                    limits.output.failure_message,
                ),
            ),
            Ok(Err(error)) => initialization(failure(&store, &error)),
            Err(stop) => initialization(stop.into()),
        };
        let failure = but_for_room(store.data().limiter.denied(), failure);
        if runs_no_more(&failure) {
            write_lines(&mut store);
        }
        Err(failure)
    }

    /// Bytes that it held when it had started.
    pub fn memory_at_start(&self) -> usize {
        self.memory_at_start
    }

    /// What it found before it started.
    pub fn need(&self) -> Need {
        self.need
    }

    /// Bytes of memories and tables that it holds; they never shrink.
    pub fn memory(&self) -> usize {
        self.store.data().limiter.bytes()
    }

    /// Bytes that count as held by it: its memory, and room for its largest answer so far.
    pub fn charged(&self) -> usize {
        self.store.data().limiter.charged()
    }

    /// Parts the last answer from the instance, so that it counts as long as the part lives and no longer.
    pub fn part(&mut self) -> Part {
        self.store.data_mut().limiter.part()
    }

    /// What a failure is that somebody else found in the last answer; see [`Again::WithRoom`].
    pub fn but_for_room(&self, failure: Failure) -> Failure {
        but_for_room(self.store.data().limiter.denied(), failure)
    }

    /// Calls `handle` with `batch`, whose records come from `origin`. All calls are made on one runtime.
    ///
    /// The answer was copied out of the instance, and counts as held by it until the next call, or until it is
    /// [parted](Instance::part) from it.
    ///
    /// Lines that the handler wrote are logged if its answer is accepted, or if the call was of one record:
    /// else the records run again and write them again.
    pub async fn call(mut self, origin: &TopicPartition, batch: &Batch, budget: Budget<'_>) -> Call {
        let store = &mut self.store;
        begin(store, batch.len(), &budget);
        // Batch and answer are hundreds of bytes of slices and vectors: each stays in its place, and does not
        // move through every future and result between here and the guest.
        let lowered = lower(origin, batch);
        let mut answer = RawAnswer::default();
        let run = async {
            answer = self.handle.call_async(&mut *store, (&lowered,)).await?.0.0.into();
            store.data_mut().count_answer()?;
            store.data().check_host_calls()?;
            wasmtime::Result::Ok(())
        };
        let (result, spent) = self.watch.run(budget.deadline, budget.cancel, pin!(run)).await;
        let left = store.get_fuel().expect("the engine is made with fuel");
        let fuel = Fuel(budget.fuel.0.saturating_sub(left));
        let (host_calls, memory) = (store.data().host_calls(), store.data().limiter.bytes());
        let checked = match result {
            Ok(Ok(())) => {
                hide(&store.data().settings, &mut answer);
                check(batch, answer, &store.data().settings.limits.output)
                    .map_err(Failure::from)
                    .and_then(|answer| with_room(store, answer))
            }
            Ok(Err(error)) => Err(failure(store, &error)),
            Err(stop) => Err(Failure::from(stop)),
        };
        let checked = checked.map_err(|failure| but_for_room(store.data().limiter.denied(), failure));
        store.data_mut().end_call(checked.is_ok());
        let result = match checked {
            Ok(answer) => {
                write_lines(store);
                Ok((self, answer))
            }
            Err(failure) => {
                if batch.len() == 1 && runs_no_more(&failure) {
                    write_lines(store);
                }
                Err(failure)
            }
        };
        let Spent { polled, waited } = spent;
        Call { result, fuel, polled, waited, host_calls, memory }
    }
}

/// Sets everything that is set again before each call of `records` records.
fn begin(store: &mut Store<State>, records: usize, budget: &Budget<'_>) {
    store.set_fuel(budget.fuel.0).expect("the engine is made with fuel");
    store.set_epoch_deadline(1);
    let lift_bytes = store.data().settings.limits.lift_bytes(records);
    store.set_hostcall_fuel(lift_bytes);
    store.data_mut().begin_call(records, budget);
}

fn failure(store: &Store<State>, error: &wasmtime::Error) -> Failure {
    let state = store.data();
    let last_words = state.lines.lock().last_words();
    let message_bytes = state.settings.limits.output.failure_message;
    let secrets = &*state.settings.capabilities.secrets;
    let denied = state.limiter.denied().is_some();
    classify(error, &Circumstances { denied, last_words: &last_words, secrets, message_bytes })
}

/// Takes secrets out of what goes to people and to dead letters. Outputs are the handler's own affair.
fn hide(settings: &InstanceSettings, answer: &mut RawAnswer) {
    let (secrets, most) = (&settings.capabilities.secrets, settings.limits.output.failure_message);
    if secrets.is_empty() {
        return;
    }
    for failure in &mut answer.failures {
        for text in [&mut failure.code, &mut failure.message] {
            if let Cow::Owned(hidden) = secrets.redact_head(text, most) {
                *text = hidden;
            }
        }
    }
}

/// An answer in which records failed after memory was denied that instances share says nothing of the records.
fn with_room(store: &Store<State>, answer: Answer) -> Result<Answer, Failure> {
    match store.data().limiter.denied() {
        Some(Denied::Budget(shared)) if !answer.failures().is_empty() => Err(no_room(shared)),
        _ => Ok(answer),
    }
}

/// Whether this call was the last of its kind: one that was cut off, or finds no room, is made again and logs again.
fn runs_no_more(failure: &Failure) -> bool {
    failure.outcome != Outcome::Revoked && !matches!(failure.again, Again::WithRoom(_))
}

/// What a failure during instantiation or `start` is called.
fn initialization(failure: Failure) -> Failure {
    match failure.outcome {
        Outcome::Revoked | Outcome::HostError => failure,
        outcome => Failure::of(Outcome::InitializationFailed, format!("{outcome}: {}", failure.message)),
    }
}

fn write_lines(store: &mut Store<State>) {
    let state = store.data_mut();
    state.settings.log.write(&mut state.lines.lock());
}
