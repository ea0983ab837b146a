//! What an instance may take, and the limiter that holds it to its memory.
//!
//! The sandbox asks the limiter before every growth of a memory or table, on the worker's thread, from within
//! the guest. wasmtime's own limits count each memory alone, so a component with ten memories would get ten
//! times its share; this limiter sums memories and tables of a store and charges the sum to budgets that
//! instances share.
//!
//! A budget that is used up is nobody's fault in particular. Who found it so starts again with all that an instance
//! may take set aside from the beginning, so that what others do no longer decides what becomes of the call.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use wasmtime::ResourceLimiter;

use super::OutputLimits;
use super::log::LogLimits;
use crate::ids::Fuel;
use crate::outcome::Shared;

/// Bytes that one element of a table takes in the host.
const TABLE_ELEMENT: usize = size_of::<usize>();

/// What each instance of a pipeline may take. Fuel and deadline of calls are not here: every call brings its
/// own (see [`Budget`](super::Budget)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceLimits {
    /// Fuel for instantiation and `start`.
    pub start_fuel: Fuel,
    /// Computing plus waiting during instantiation and `start`.
    pub start_deadline: Duration,
    /// Bytes of all linear memories and tables of an instance.
    pub memory: usize,
    /// Calls of host functions, for each record of a batch; `start` counts as one record.
    pub host_calls: u32,
    /// What an answer may hold.
    pub output: OutputLimits,
    /// What may be logged.
    pub log: LogLimits,
}

impl InstanceLimits {
    /// Bytes that a guest may hand to the host at once, as an answer to `records` records or as the arguments
    /// of a host function.
    ///
    /// An honest answer fits into the guest's memory; a hostile one names the same bytes in every column and
    /// in every failure, so that lifting would make far more of them.
    pub(crate) fn lift_bytes(&self, records: usize) -> usize {
        /// Numbers in columns for each output record, headers left out.
        const COLUMNS: usize = 32;
        /// A failure with its code and message, as lifted.
        const FAILURE: usize = 256;
        let record =
            self.output.bytes + self.output.records * COLUMNS + FAILURE + self.output.failure_message;
        (records.max(1).saturating_mul(record)).min(self.memory)
    }
}

/// Memory that instances share: all instances of a pipeline, or of the host.
#[derive(Debug)]
pub struct MemoryBudget {
    of: Shared,
    limit: usize,
    used: AtomicUsize,
    live: AtomicUsize,
}

impl MemoryBudget {
    /// A host's budget of `limit` bytes, all free.
    pub const fn new(limit: usize) -> Self {
        MemoryBudget { of: Shared::Host, limit, used: AtomicUsize::new(0), live: AtomicUsize::new(0) }
    }

    /// That of a pipeline.
    pub const fn of_pipeline(limit: usize) -> Self {
        MemoryBudget { of: Shared::Pipeline, ..MemoryBudget::new(limit) }
    }

    /// Bytes that there are, free and used.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes that live instances hold, or have set aside.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Live instances.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Bytes that are left.
    pub fn free(&self) -> usize {
        self.limit.saturating_sub(self.used())
    }

    fn charge(&self, bytes: usize) -> bool {
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= self.limit)
            })
            .is_ok()
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Charges all budgets, or none and says which of them has no room.
fn charge_all(budgets: &[Arc<MemoryBudget>], bytes: usize) -> Result<(), Shared> {
    let Some(full) = budgets.iter().position(|budget| !budget.charge(bytes)) else { return Ok(()) };
    budgets[..full].iter().for_each(|budget| budget.release(bytes));
    Err(budgets[full].of)
}

/// Why a growth was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The instance has reached its own limit.
    Limit,
    /// A budget that the instance shares with others is used up.
    Budget(Shared),
}

/// Sums what a store holds and denies what goes beyond.
///
/// Invariant: `charged` is charged to every budget, and released when the limiter is dropped. It is never less than
/// `current`, and more only where memory was set aside, or held for an answer.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit: usize,
    budgets: Arc<[Arc<MemoryBudget>]>,
    current: usize,
    charged: usize,
    /// Bytes of the last answer, which `charged` has room for.
    answer: usize,
    denied: Option<Denied>,
}

impl Limiter {
    pub(crate) fn new(limit: usize, budgets: Arc<[Arc<MemoryBudget>]>) -> Self {
        for budget in budgets.iter() {
            budget.live.fetch_add(1, Ordering::Relaxed);
        }
        Limiter { limit, budgets, current: 0, charged: 0, answer: 0, denied: None }
    }

    /// Sets so many bytes aside, at most the limit: until it holds as much, no budget denies it anything.
    ///
    /// # Errors
    /// If a budget has not so much left: which.
    pub(crate) fn set_aside(&mut self, bytes: usize) -> Result<(), Shared> {
        self.charge(bytes.min(self.limit))
    }

    /// Bytes of memories and tables. They never shrink, so this is the peak as well.
    pub(crate) fn bytes(&self) -> usize {
        self.current
    }

    /// Forgets denials of earlier calls.
    pub(crate) fn begin_call(&mut self) {
        self.denied = None;
        self.answer = 0;
    }

    /// Whether a growth was denied since [`begin_call`](Limiter::begin_call), and why.
    pub(crate) fn denied(&self) -> Option<Denied> {
        self.denied
    }

    /// Finds room for an answer of so many bytes beside what the instance holds. It keeps that room for its next answer.
    pub(crate) fn hold(&mut self, answer: usize) -> bool {
        self.answer = answer;
        self.find(self.current.saturating_add(answer))
    }

    /// Bytes that are charged for the instance: what it holds, and room for what it answered or was set aside.
    pub(crate) fn charged(&self) -> usize {
        self.charged
    }

    fn grow(&mut self, bytes: usize) -> bool {
        let sum = self.current.saturating_add(bytes);
        let found = self.find(sum);
        if found {
            self.current = sum;
        }
        found
    }

    fn find(&mut self, sum: usize) -> bool {
        let denied = if sum > self.limit {
            Denied::Limit
        } else if let Err(shared) = self.charge(sum) {
            Denied::Budget(shared)
        } else {
            return true;
        };
        // Whatever is denied after a budget did might never have been asked for with room.
        if !matches!(self.denied, Some(Denied::Budget(_))) {
            self.denied = Some(denied);
        }
        false
    }

    /// Parts the last answer from what is charged for the instance: it stays charged for as long as the part lives. The
    /// instance may be called again meanwhile.
    pub(crate) fn part(&mut self) -> Part {
        let bytes = std::mem::take(&mut self.answer).min(self.charged - self.current);
        self.charged -= bytes;
        Part { budgets: Arc::clone(&self.budgets), bytes }
    }

    /// Charges budgets with what `sum` is more than what they were charged already.
    fn charge(&mut self, sum: usize) -> Result<(), Shared> {
        let bytes = sum.saturating_sub(self.charged);
        charge_all(&self.budgets, bytes)?;
        self.charged += bytes;
        Ok(())
    }
}

/// Memory of an answer that its instance does not count any more.
#[derive(Debug)]
pub struct Part {
    budgets: Arc<[Arc<MemoryBudget>]>,
    bytes: usize,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.budgets.iter().for_each(|budget| budget.release(self.bytes));
    }
}

impl Drop for Limiter {
    fn drop(&mut self) {
        for budget in self.budgets.iter() {
            budget.release(self.charged);
            budget.live.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        // Beyond what the module itself declares, growing fails whatever is answered here.
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current)))
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        Ok(self.grow(desired.saturating_sub(current).saturating_mul(TABLE_ELEMENT)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(limit: usize, budgets: &[&Arc<MemoryBudget>]) -> Limiter {
        Limiter::new(limit, budgets.iter().map(|&budget| Arc::clone(budget)).collect())
    }

    #[test]
    fn memories_and_tables_are_counted_together() {
        let mut limiter = limiter(1000, &[]);
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.memory_growing(0, 400, None).unwrap());
        assert!(limiter.table_growing(0, 25, None).unwrap());
        assert_eq!(limiter.bytes(), 1000);
        assert_eq!(limiter.denied(), None);
        assert!(!limiter.table_growing(25, 26, None).unwrap());
        assert_eq!(limiter.denied(), Some(Denied::Limit));
        assert_eq!(limiter.bytes(), 1000);
    }

    #[test]
    fn a_denial_is_remembered_until_the_next_call() {
        let mut limiter = limiter(10, &[]);
        assert!(!limiter.memory_growing(0, 11, None).unwrap());
        assert!(limiter.memory_growing(0, 5, None).unwrap());
        assert_eq!(limiter.denied(), Some(Denied::Limit));
        limiter.begin_call();
        assert_eq!(limiter.denied(), None);
    }

    #[test]
    fn what_a_budget_denied_is_not_forgotten_for_what_the_limit_denies() {
        let pipeline = Arc::new(MemoryBudget::of_pipeline(10));
        let mut limiter = limiter(20, &[&pipeline]);
        assert!(!limiter.memory_growing(0, 11, None).unwrap());
        assert!(!limiter.memory_growing(0, 21, None).unwrap());
        assert_eq!(limiter.denied(), Some(Denied::Budget(Shared::Pipeline)));
    }

    #[test]
    fn an_answer_is_charged_until_it_is_gone_also_apart_from_its_instance() {
        let pipeline = Arc::new(MemoryBudget::of_pipeline(100));
        let mut limiter = limiter(60, &[&pipeline]);
        assert!(limiter.memory_growing(0, 20, None).unwrap());
        assert!(limiter.hold(30));
        assert_eq!((limiter.bytes(), pipeline.used()), (20, 50));
        assert!(limiter.hold(10) && limiter.hold(30), "the room is there");
        assert_eq!(pipeline.used(), 50);
        let part = limiter.part();
        assert_eq!((limiter.charged(), pipeline.used()), (20, 50));
        assert!(limiter.hold(40), "the next answer");
        assert_eq!(pipeline.used(), 90);
        let other = limiter.part();
        assert!(!limiter.hold(11));
        assert_eq!(limiter.denied(), Some(Denied::Budget(Shared::Pipeline)));
        drop((part, other));
        assert_eq!(pipeline.used(), 20);
        assert!(!limiter.hold(41));
        drop(limiter);
        assert_eq!(pipeline.used(), 0);
    }

    #[test]
    fn growing_past_the_declared_maximum_is_the_modules_own_affair() {
        let mut limiter = limiter(1000, &[]);
        assert!(!limiter.memory_growing(100, 200, Some(150)).unwrap());
        assert_eq!((limiter.denied(), limiter.bytes()), (None, 0));
    }

    #[test]
    fn what_live_instances_hold_never_exceeds_a_shared_budget() {
        let (pipeline, host) = (Arc::new(MemoryBudget::of_pipeline(150)), Arc::new(MemoryBudget::new(100)));
        let mut first = limiter(1000, &[&pipeline, &host]);
        let mut second = limiter(1000, &[&pipeline, &host]);
        assert!(first.memory_growing(0, 60, None).unwrap());
        assert!(!second.memory_growing(0, 60, None).unwrap());
        assert_eq!(second.denied(), Some(Denied::Budget(Shared::Host)));
        assert_eq!((pipeline.used(), host.used()), (60, 60), "a denied growth leaves nothing charged");
        assert_eq!((pipeline.live(), host.live()), (2, 2));
        drop(first);
        assert_eq!((pipeline.used(), host.free(), host.live()), (0, 100, 1));
        assert!(second.memory_growing(0, 60, None).unwrap());
    }

    #[test]
    fn what_was_set_aside_no_budget_denies() {
        let (pipeline, host) = (Arc::new(MemoryBudget::of_pipeline(100)), Arc::new(MemoryBudget::new(150)));
        let mut first = limiter(80, &[&pipeline, &host]);
        assert_eq!(first.set_aside(usize::MAX), Ok(()));
        let mut second = limiter(80, &[&pipeline, &host]);
        assert_eq!(second.set_aside(80), Err(Shared::Pipeline));
        assert_eq!(
            (pipeline.used(), host.used()),
            (80, 80),
            "what cannot be set aside leaves nothing charged"
        );
        assert!(second.memory_growing(0, 20, None).unwrap());
        assert!(first.memory_growing(0, 80, None).unwrap(), "the budget is used up, but this was set aside");
        assert_eq!((pipeline.used(), first.bytes()), (100, 80));
        assert!(!first.memory_growing(80, 81, None).unwrap());
        assert_eq!(first.denied(), Some(Denied::Limit));
        drop((first, second));
        assert_eq!((pipeline.used(), host.used(), pipeline.live()), (0, 0, 0));
    }

    #[test]
    fn lifting_is_bounded_by_the_answers_limits_and_by_memory() {
        let output = OutputLimits { records: 10, bytes: 1000, destinations: 1, failure_message: 100 };
        let log = LogLimits { record_bytes: 0, second_bytes: 0 };
        let limits = InstanceLimits {
            start_fuel: Fuel(0),
            start_deadline: Duration::ZERO,
            memory: 10_000,
            host_calls: 0,
            output,
            log,
        };
        assert_eq!(limits.lift_bytes(0), limits.lift_bytes(1));
        assert!((1000..10_000).contains(&limits.lift_bytes(1)));
        assert_eq!(limits.lift_bytes(1_000_000), 10_000);
    }
}
