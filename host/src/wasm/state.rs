//! What the host keeps beside a guest, inside its store.
//!
//! Host functions, the memory limiter and the hooks of the sandbox reach it while the guest runs, on the
//! worker's thread; between calls the instance resets what belongs to one call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sandmill_compiled::told::take_lifted;
use wasmtime::{StoreHookState, UpdateDeadline};

use super::failure::Stop;
use super::limits::Limiter;
use super::log::Lines;
use super::meter::Meter;
use super::recorded::Recorded;
use super::wasi::Wasi;
use super::{Budget, InstanceSettings};
use crate::cancel::Cancel;
use crate::secrets::Secrets;
use crate::telemetry::guest::{Tally, Use};

/// State of one instance.
pub(crate) struct State {
    pub(crate) settings: Arc<InstanceSettings>,
    pub(crate) limiter: Limiter,
    pub(crate) lines: SharedLines,
    pub(crate) recorded: Recorded,
    meter: Arc<Meter>,
    call: Running,
    wasi: Option<Box<Wasi>>,
}

/// What belongs to the call that runs.
struct Running {
    cancel: Arc<Cancel>,
    deadline: Duration,
    host_calls: u32,
    host_calls_at_most: u32,
    tally: Tally,
}

impl State {
    pub(crate) fn new(
        settings: Arc<InstanceSettings>,
        limiter: Limiter,
        meter: Arc<Meter>,
        budget: &Budget<'_>,
    ) -> Self {
        let call = Running {
            cancel: Arc::clone(budget.cancel),
            deadline: budget.deadline,
            host_calls: 0,
            host_calls_at_most: 0,
            tally: Tally::default(),
        };
        let lines = SharedLines::new(&settings.capabilities.secrets);
        State { settings, limiter, lines, recorded: Recorded::default(), meter, call, wasi: None }
    }

    /// Makes ready for a call of `records` records.
    pub(crate) fn begin_call(&mut self, records: usize, budget: &Budget<'_>) {
        let limits = &self.settings.limits;
        let records = u32::try_from(records).unwrap_or(u32::MAX).max(1);
        let call = &mut self.call;
        // Nearly always that of the call before.
        if !Arc::ptr_eq(&call.cancel, budget.cancel) {
            call.cancel = Arc::clone(budget.cancel);
        }
        call.deadline = budget.deadline;
        call.host_calls = 0;
        call.host_calls_at_most = limits.host_calls.saturating_mul(records);
        // What the pipeline cannot log in a second need not be kept either.
        let log_bytes = limits.log.record_bytes.saturating_mul(records as usize).min(limits.log.second_bytes);
        self.lines.lock().begin_call(log_bytes);
        self.limiter.begin_call();
        let _of_another = take_lifted();
        self.recorded.discard();
    }

    /// Counts what the call used, and believes what it recorded if its answer is accepted.
    pub(crate) fn end_call(&mut self, is_accepted: bool) {
        self.settings.capabilities.uses.add(&self.call.tally);
        self.call.tally = Tally::default();
        if is_accepted {
            self.recorded.accept(&self.settings.capabilities.metrics);
        }
    }

    /// Counts the answer that was copied out of the instance, if one was, as memory of it.
    ///
    /// # Errors
    /// If there is not so much left.
    pub(crate) fn count_answer(&mut self) -> Result<(), Stop> {
        let answer = take_lifted();
        if answer == 0 || self.limiter.hold(answer) {
            return Ok(());
        }
        Err(Stop::Answer { answer, memory: self.limiter.bytes(), limit: self.settings.limits.memory })
    }

    /// Counts a use of a capability that began at `since`.
    pub(crate) fn used(&mut self, of: Use, since: Instant) {
        self.call.tally.count(of, since.elapsed());
    }

    /// Counts a call of a host function.
    ///
    /// Every host function counts itself: the store has a hook for this too, but it runs at both ends of each
    /// of the twenty entries into the guest that one call of a handler takes, which was a seventh of its cost.
    ///
    /// # Errors
    /// If it is one too many.
    pub(crate) fn count_host_call(&mut self) -> Result<(), Stop> {
        self.call.host_calls = self.call.host_calls.saturating_add(1);
        self.check_host_calls()
    }

    /// What is wrong if there were too many calls of host functions: those of WASI only count, so that the next
    /// tick or the end of the call says it.
    ///
    /// # Errors
    /// If there were.
    pub(crate) fn check_host_calls(&self) -> Result<(), Stop> {
        let most = self.call.host_calls_at_most;
        if self.call.host_calls > most { Err(Stop::HostCalls(most)) } else { Ok(()) }
    }

    /// Host functions that the running call has called.
    pub(crate) fn host_calls(&self) -> u32 {
        self.call.host_calls
    }

    /// The guest's WASI, made when it is first used: most handlers never do.
    pub(crate) fn wasi(&mut self) -> &mut Wasi {
        let (lines, settings) = (&self.lines, &self.settings);
        self.wasi.get_or_insert_with(|| Box::new(Wasi::new(lines, settings)))
    }

    /// Runs at each tick of the epoch, from within the guest.
    pub(crate) fn on_tick(mut state: StoreHookState<'_, State>) -> wasmtime::Result<UpdateDeadline> {
        let state = state.data_mut();
        // Its answer was copied out, and it is freeing what that lay in.
        state.count_answer()?;
        state.check_host_calls()?;
        if state.call.cancel.is_cancelled() {
            return Err(Stop::Revoked.into());
        }
        if state.meter.is_due() {
            return Err(Stop::Deadline(state.call.deadline).into());
        }
        // Others that this thread serves come first; then it goes on until the next tick.
        Ok(UpdateDeadline::Yield(1))
    }
}

/// The lines of an instance, shared with its standard output and error.
#[derive(Clone, Debug)]
pub(crate) struct SharedLines(Arc<Mutex<Lines>>);

impl SharedLines {
    pub(crate) fn new(secrets: &Arc<Secrets>) -> Self {
        SharedLines(Arc::new(Mutex::new(Lines::new(secrets.clone()))))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Lines> {
        // All holders are on one thread, one after the other; a panic leaves lines that are good enough.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
