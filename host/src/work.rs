//! What crosses between the consumer thread and the workers: work goes out, a report comes back.
//!
//! In-flight work is a value. It cannot be cloned and has to be finished; it carries the epoch of the
//! assignment it belongs to, so that a report that comes too late frees its place and touches nothing else.
//! Work that is lost stalls its partition, which is visible; it can never lose a record.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::{Batch, TopicPartition};
use crate::cancel::Cancel;
use crate::dispatch::pacing::Allowance;
use crate::ids::{Epoch, Fuel};
use crate::outcome::{Failure, Outcome};
use crate::time::Time;

/// Names one piece of work of a pipeline, and after it the acknowledgements of its outputs. A late
/// acknowledgement of an old ticket finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Where the machine keeps it.
    pub index: u32,
    /// Tells it from earlier tickets of that place.
    pub serial: u32,
}

impl Ticket {
    /// Bits of an index: more work is never out at once, since the configuration bounds the records in flight.
    pub const INDEX_BITS: u32 = 20;
    /// Bits of a serial. It comes round after 134 million pieces of work, and no report is that late. Index and
    /// serial have to fit into the Kafka client's opaque pointer, with 17 bits to spare.
    pub const SERIAL_BITS: u32 = 27;
}

/// Records to run in one call.
#[derive(Debug)]
pub struct Work {
    /// Names it.
    pub ticket: Ticket,
    /// The assignment it belongs to.
    pub epoch: Epoch,
    /// Where its records come from.
    pub origin: TopicPartition,
    /// The records.
    pub batch: Batch,
    /// What the call may take.
    pub allowance: Allowance,
    /// Attempts before this one; 0 if there are several records.
    pub attempts: u32,
    /// When the record was first dispatched; now, for a first attempt.
    pub first_dispatch: Time,
    /// When it was dispatched.
    pub dispatched: Time,
    /// Set when the assignment is being revoked: the call has to end.
    pub cancel: Arc<Cancel>,
}

/// How a piece of work came back.
#[derive(Debug)]
pub struct Finished {
    /// Names the work.
    pub ticket: Ticket,
    /// The assignment it belongs to.
    pub epoch: Epoch,
    /// Its records, for those that run again, and for the memory.
    pub batch: Batch,
    /// What became of them.
    pub report: Report,
}

/// What became of the records of one piece of work. Records that no list names are done: they count as
/// successes once their outputs are acknowledged.
#[derive(Debug, Default)]
pub struct Report {
    /// Records that failed and run again, ascending.
    pub retries: Vec<Retry>,
    /// Records that were not run, or whose results were discarded because an earlier record of their key
    /// runs again. Ascending.
    pub not_run: Vec<u32>,
    /// Records in `not_run` have to run in calls of their own: one of them used up time or fuel.
    pub alone: bool,
    /// Records that failed for good and were dead-lettered or skipped, ascending. They are complete like
    /// the successes.
    pub given_up: Vec<(u32, Outcome)>,
    /// A record that failed for good under the policy `halt`. It and what follows it are not complete.
    pub halt: Option<Halt>,
    /// The producer refused a dead letter for good.
    pub dead_letter_refused: bool,
    /// The assignment ended before the call did: nothing was published and nothing is complete.
    pub revoked: bool,
    /// Output records and dead letters handed to the producer: as many acknowledgements follow.
    pub published: u32,
    /// What the calls took.
    pub calls: Calls,
}

impl Report {
    /// How many of the call's `records` succeeded, and how many failed, those that run again included. The
    /// others were not run.
    pub fn fates(&self, records: usize) -> (u32, u32) {
        let failed = self.retries.len() + self.given_up.len() + usize::from(self.halt.is_some());
        let succeeded = records.saturating_sub(failed + self.not_run.len());
        let count = |count| u32::try_from(count).expect("a batch holds fewer than 2^32 records");
        (count(succeeded), count(failed))
    }
}

/// A record that runs again.
#[derive(Debug)]
pub struct Retry {
    /// Which record of the batch.
    pub index: u32,
    /// How long it has to wait.
    pub delay: Duration,
    /// Why.
    pub failure: Failure,
}

/// The record on which the pipeline halts.
#[derive(Debug)]
pub struct Halt {
    /// Which record of the batch.
    pub index: u32,
    /// Why.
    pub failure: Failure,
}

/// What the calls of one piece of work took: more than one where a failing record had to be found.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// Calls that were made, each with its length, fuel and how it ended.
    pub each: Vec<CallRecord>,
}

/// One call of a handler.
#[derive(Clone, Copy, Debug)]
pub struct CallRecord {
    /// Records it got.
    pub records: u32,
    /// Computing plus waiting on the host.
    pub spent: Duration,
    /// Of that, waiting on the host.
    pub waited: Duration,
    /// Fuel it used.
    pub fuel: Fuel,
    /// How it ended.
    pub ended: Ended,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an answer in which no record failed.
    Complete,
    /// With an answer in which some records failed.
    Partial,
    /// With an answer in which all records failed.
    Failed,
    /// Without an answer that could be used: a trap, a limit, a wrong answer, a revoked assignment.
    Without(Outcome),
}

impl CallRecord {
    /// True if the handler answered, rightly, whatever became of the records.
    pub fn answered(&self) -> bool {
        !matches!(self.ended, Ended::Without(_))
    }
}
