//! What is seen of the machine from outside: read on a tick, never on the way of a record.

use std::time::Duration;

use super::partition::{Counters, Partition, Phase, Slot};
use super::{Machine, commit, tickets};
use crate::batch::TopicPartition;
use crate::dispatch::circuit;
use crate::ids::Offset;
use crate::time::Time;

/// One assigned partition as it stands.
#[derive(Clone, Debug)]
pub struct PartitionView {
    /// Which.
    pub name: TopicPartition,
    /// Next offset to poll.
    pub position: Offset,
    /// Next committable offset: nothing below it is unfinished.
    pub safe: Offset,
    /// As the broker acknowledged it.
    pub committed: Option<Offset>,
    /// Records admitted or held, and not complete.
    pub in_flight: usize,
    /// Their weight in bytes.
    pub bytes: usize,
    /// Ranges of unfinished records that lie below a completed one.
    pub gaps: usize,
    /// Characters of metadata in the last commit written.
    pub metadata_size: usize,
    /// Completed records that the last commits could not name.
    pub truncated: u64,
    /// For how long the broker has taken no commit, and why the last time.
    pub commits_refused: Option<(Duration, &'static str)>,
    /// True while fetched records are not admitted, because the commit metadata has no room for what may come of
    /// them.
    pub metadata_full: bool,
    /// The client was told to fetch nothing for it.
    pub paused: bool,
    /// The partition is being given back.
    pub ending: bool,
    /// What holds the safe offset back, if something was dispatched and is not complete.
    pub blocked: Option<Blocked>,
    /// What happened in this assignment.
    pub counters: Counters,
}

/// The oldest unfinished record.
#[derive(Clone, Debug)]
pub struct Blocked {
    /// Which.
    pub offset: Offset,
    /// Time since it was first dispatched; `None`: it never was.
    pub age: Option<Duration>,
    /// Calls that it has had, the present one included.
    pub attempts: u32,
    /// What it waits for.
    pub by: BlockedBy,
    /// Why it failed last, if it did.
    pub last_failure: Option<String>,
}

/// What an unfinished record waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockedBy {
    /// A worker.
    Queue,
    /// Its call.
    Handler,
    /// The acknowledgement of its outputs, since its call ended so long ago.
    Publish(Duration),
    /// Its next attempt, in this long.
    Backoff(Duration),
    /// The circuit, which is open.
    Circuit,
}

impl Machine {
    /// All assigned partitions.
    pub fn partitions(&self, now: Time) -> impl Iterator<Item = PartitionView> {
        self.partitions.iter().map(move |(index, partition)| PartitionView {
            name: partition.name.clone(),
            position: partition.progress.position(),
            safe: partition.progress.safe(),
            committed: partition.committed,
            in_flight: partition.in_flight(),
            bytes: partition.bytes,
            gaps: partition.progress.gap_count(),
            metadata_size: partition.metadata_size,
            truncated: partition.truncated,
            metadata_full: !partition.held.is_empty(),
            commits_refused: partition
                .refused
                .map(|(since, reason)| (now.since(since), commit::REASONS[reason as usize])),
            paused: partition.paused,
            ending: partition.phase != Phase::Active,
            blocked: self.blocked(Slot(index as u32), partition, now),
            counters: partition.counters.clone(),
        })
    }

    /// What the circuit saw when it opened, if it is open.
    pub fn circuit(&self) -> Option<circuit::Opened> {
        self.circuit.opened()
    }

    /// How often the circuit opened.
    pub fn circuit_openings(&self) -> u64 {
        self.circuit.times_opened()
    }

    fn blocked(&self, slot: Slot, partition: &Partition, now: Time) -> Option<Blocked> {
        let offset = partition.progress.oldest_unfinished()?;
        let last_failure = partition.last_failures.iter().find(|(known, _)| *known == offset);
        let last_failure = last_failure.map(|(_, failure)| failure.to_string());
        let blocked = |first: Option<Time>, attempts, by| Blocked {
            offset,
            age: first.map(|first| now.since(first)),
            attempts,
            by,
            last_failure: last_failure.clone(),
        };
        if let Some(out) = self.tickets.find(slot, partition.epoch, offset) {
            let by = match out.stage {
                tickets::Stage::Running => BlockedBy::Handler,
                tickets::Stage::Answered { since, .. } => BlockedBy::Publish(now.since(since)),
            };
            return Some(blocked(Some(out.first_dispatch), out.attempts + 1, by));
        }
        let queue = if self.circuit.opened().is_some() { BlockedBy::Circuit } else { BlockedBy::Queue };
        let parked = partition.shards.iter().find_map(|shard| shard.find(offset));
        Some(match parked {
            Some((attempts, first, Some(due))) => {
                blocked(first, attempts, BlockedBy::Backoff(due.since(now)))
            }
            Some((attempts, first, None)) => blocked(first, attempts, queue),
            None => blocked(None, 0, queue),
        })
    }

    /// Calls and answered calls that are out.
    pub fn outstanding(&self) -> usize {
        self.tickets.len()
    }

    /// Records that the next call may get.
    pub fn batch_bound(&self) -> usize {
        self.pacing.batch()
    }

    /// Dead letters that could not be published for good.
    pub fn dead_letter_failures(&self) -> u64 {
        self.dead_letter_failures
    }

    /// True once the pipeline is being stopped.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }
}
