//! Counters of a pipeline's calls, kept by the workers: a few atomic additions for each call, none for a
//! record.
//!
//! executions = completions + calls that ended without an answer + active, at every moment: the number of
//! executions is derived from the others when it is read.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::histogram::{self, BOUNDS, Histogram};
use crate::ids::Fuel;
use crate::outcome::Outcome;
use crate::work::Ended;

/// How calls end, as label values: the first three came back with an answer.
pub const STATUSES: [&str; 4] = ["complete", "partial", "failed", "error"];

/// Counters of one pipeline and one module.
#[derive(Debug, Default)]
pub struct Executions {
    active: AtomicI64,
    ended: [Durations; STATUSES.len()],
    errors: [AtomicU64; Outcome::ERRORS.len()],
    revoked: AtomicU64,
    fuel: AtomicU64,
}

#[derive(Debug, Default)]
struct Durations {
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

/// What [`Executions`] held at one moment.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Calls that run or wait on the host.
    pub active: i64,
    /// Durations by how the call ended, in the order of [`STATUSES`].
    pub ended: [Histogram; STATUSES.len()],
    /// Failures, in the order of [`Outcome::ERRORS`].
    pub errors: [u64; Outcome::ERRORS.len()],
    /// Calls that a revoked assignment ended; they are no errors.
    pub revoked: u64,
    /// Fuel used by all calls.
    pub fuel: u64,
}

impl Counts {
    /// Calls that were started.
    pub fn executions(&self) -> u64 {
        self.ended.iter().map(Histogram::count).sum::<u64>() + self.active.max(0).cast_unsigned()
    }
}

impl Executions {
    /// Starts a call. It counts as active until the guard is gone.
    pub fn start(&self) -> Execution<'_> {
        self.active.fetch_add(1, Relaxed);
        Execution { executions: self, recorded: false }
    }

    /// Counts one failure of a record, or of a call of several records that ended without an answer.
    pub fn count_error(&self, outcome: Outcome) {
        match outcome.error_index() {
            Some(index) => &self.errors[index],
            None => &self.revoked,
        }
        .fetch_add(1, Relaxed);
    }

    /// Everything as it stands.
    pub fn read(&self) -> Counts {
        Counts {
            active: self.active.load(Relaxed),
            ended: std::array::from_fn(|index| {
                let durations = &self.ended[index];
                let counts = std::array::from_fn(|bucket| durations.counts[bucket].load(Relaxed));
                Histogram::from_parts(
                    counts,
                    Duration::from_nanos(durations.nanos.load(Relaxed)).as_secs_f64(),
                )
            }),
            errors: std::array::from_fn(|index| self.errors[index].load(Relaxed)),
            revoked: self.revoked.load(Relaxed),
            fuel: self.fuel.load(Relaxed),
        }
    }
}

/// A call that runs. Records its end exactly once, also when it is dropped by a panic or an early return, so
/// that the active gauge cannot drift.
#[derive(Debug)]
pub struct Execution<'e> {
    executions: &'e Executions,
    recorded: bool,
}

impl Execution<'_> {
    /// The call ended.
    pub fn finish(mut self, ended: Ended, spent: Duration, fuel: Fuel) {
        self.record(ended, spent, fuel);
    }

    fn record(&mut self, ended: Ended, spent: Duration, fuel: Fuel) {
        self.recorded = true;
        let status = match ended {
            Ended::Complete => 0,
            Ended::Partial => 1,
            Ended::Failed => 2,
            Ended::Without(_) => 3,
        };
        let durations = &self.executions.ended[status];
        durations.counts[histogram::bucket(spent.as_secs_f64())].fetch_add(1, Relaxed);
        durations.nanos.fetch_add(u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.executions.fuel.fetch_add(fuel.0, Relaxed);
        self.executions.active.fetch_sub(1, Relaxed);
    }
}

impl Drop for Execution<'_> {
    fn drop(&mut self) {
        if !self.recorded {
            self.record(Ended::Without(Outcome::HostError), Duration::ZERO, Fuel(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conserved(counts: &Counts) -> bool {
        let completions: u64 = counts.ended[..3].iter().map(Histogram::count).sum();
        counts.executions() == completions + counts.ended[3].count() + counts.active.cast_unsigned()
    }

    #[test]
    fn a_call_is_active_until_it_ends_and_recorded_once() {
        let executions = Executions::default();
        let first = executions.start();
        let second = executions.start();
        assert_eq!(executions.read().active, 2);
        assert_eq!(executions.read().executions(), 2);
        first.finish(Ended::Partial, Duration::from_millis(3), Fuel(7));
        second.finish(Ended::Without(Outcome::Trap), Duration::from_millis(1), Fuel(2));
        let counts = executions.read();
        assert_eq!(counts.active, 0);
        assert_eq!(counts.ended.each_ref().map(Histogram::count), [0, 1, 0, 1]);
        assert_eq!(counts.fuel, 9);
        assert!(conserved(&counts));
    }

    #[test]
    fn a_call_that_panics_or_returns_early_is_recorded_too() {
        let executions = Executions::default();
        drop(executions.start());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _running = executions.start();
            panic!("on purpose");
        }));
        assert!(panicked.is_err());
        let counts = executions.read();
        assert_eq!((counts.active, counts.ended[3].count()), (0, 2));
        assert!(conserved(&counts));
    }

    #[test]
    fn each_error_has_its_own_counter_and_a_revoked_call_is_no_error() {
        let executions = Executions::default();
        for outcome in Outcome::ERRORS {
            executions.count_error(outcome);
        }
        executions.count_error(Outcome::Revoked);
        assert_eq!(executions.read().errors, [1; 8]);
        assert_eq!(executions.read().revoked, 1);
    }
}
