//! One assigned partition, for the length of one assignment epoch.

use std::collections::VecDeque;
use std::sync::Arc;

use super::commit::Reason;
use crate::batch::{Parked, Record, TopicPartition};
use crate::cancel::Cancel;
use crate::dispatch::Shard;
use crate::ids::{Epoch, Offset};
use crate::outcome::Failure;
use crate::progress::Progress;
use crate::telemetry::Histogram;
use crate::time::Time;

/// Names an assigned partition inside the machine. Used again after the assignment; the epoch tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// What a partition is allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Records are admitted and dispatched.
    Active,
    /// It is being given back: nothing new is admitted or dispatched, what is out may still finish.
    Draining,
    /// It is being given back and what finished in time is being committed.
    Committing,
}

/// One assigned partition.
#[derive(Debug)]
pub(super) struct Partition {
    pub name: TopicPartition,
    pub epoch: Epoch,
    pub phase: Phase,
    pub progress: Progress,
    pub shards: Vec<Shard>,
    /// Index of its first shard among all shards of the pipeline.
    pub first_shard: u32,
    pub cancel: Arc<Cancel>,
    /// Weight of all admitted records that are not complete.
    pub bytes: usize,
    /// Polled, but not admitted yet, because the commit metadata has no room for their worst case. At most
    /// one chunk of polled records.
    pub held: VecDeque<Parked>,
    /// Calls that are out.
    pub running: usize,
    /// Answered calls whose outputs are not all acknowledged.
    pub unacknowledged: usize,
    /// Since when it holds more than its share.
    pub over_since: Option<Time>,
    /// The client was told to fetch nothing for it.
    pub paused: bool,
    /// Something changed since the last commit that was taken.
    pub dirty: bool,
    /// Nobody knows whether the group still counts on this host for it.
    pub unconfirmed: bool,
    /// Since when the broker has refused its commits, and why the last time.
    pub refused: Option<(Time, Reason)>,
    /// As the broker acknowledged it.
    pub committed: Option<Offset>,
    /// Characters of metadata in the last commit written.
    pub metadata_size: usize,
    /// Completed records that the last commit could not name, under `on_metadata_full = "truncate"`.
    pub truncated: u64,
    /// Why the oldest retried records failed last, bounded: for the answer to "what blocks?".
    pub last_failures: VecDeque<(Offset, Failure)>,
    pub counters: Counters,
}

/// What happened on a partition in this assignment, in records.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Completed by the handler.
    pub succeeded: u64,
    /// Given up: dead-lettered or skipped.
    pub failed: u64,
    /// From first dispatch to completion.
    pub latency: Histogram,
    /// Commits that failed, by reason: see [`super::commit::REASONS`].
    pub commit_failures: [u64; super::commit::REASONS.len()],
}

/// How many failures are remembered for the operator.
const FAILURES_KEPT: usize = 64;

impl Partition {
    /// True if the key is known to be slower than the others of its shard.
    pub fn is_slow(&self, shard: u32, hash: u64) -> bool {
        self.shards.get(shard as usize).is_some_and(|shard| shard.is_slow(hash))
    }

    /// Records admitted or held, and not complete.
    pub fn in_flight(&self) -> usize {
        self.progress.unfinished() + self.held.len()
    }

    /// The offset behind everything that was polled.
    pub fn next(&self) -> Offset {
        self.held.back().map_or(self.progress.position(), |last| last.offset().next())
    }

    /// True if no call is out and no acknowledgement is due.
    pub fn is_quiet(&self) -> bool {
        self.running == 0 && self.unacknowledged == 0
    }

    /// Keeps a record that cannot be admitted yet.
    pub fn hold(&mut self, record: &Record<'_>) {
        self.bytes += record.weight();
        self.held.push_back(Parked::new(record, 0, 0));
    }

    /// Remembers why a record failed.
    pub fn remember(&mut self, offset: Offset, failure: &Failure) {
        self.last_failures.retain(|(known, _)| *known != offset);
        if self.last_failures.len() == FAILURES_KEPT {
            // The oldest offset blocks first, so it is the last to be forgotten.
            let newest = self.last_failures.iter().enumerate().max_by_key(|(_, (offset, _))| *offset);
            if let Some((index, _)) = newest {
                self.last_failures.remove(index);
            }
        }
        self.last_failures.push_back((offset, failure.clone()));
    }

    /// Forgets failures of records that are complete.
    pub fn forget_completed(&mut self) {
        let safe = self.progress.safe();
        self.last_failures.retain(|(offset, _)| *offset >= safe);
    }
}
