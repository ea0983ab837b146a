//! When and what to commit.
//!
//! A commit takes base offset and metadata of each changed partition as one snapshot. One commit is
//! outstanding at a time, so an older one cannot land last; what changes meanwhile goes with the next.
//! Committed means acknowledged by the broker.
//!
//! A request is bounded. Where it has no room for all partitions that changed, they take turns.

use std::time::Duration;

use super::partition::{Partition, Phase, Slot};
use super::{Effect, Machine};
use crate::batch::TopicPartition;
use crate::ids::{Epoch, Offset};
use crate::time::Time;

/// Why a commit failed: a closed set, the label values of `consumer_commit_failures_total`.
pub const REASONS: [&str; 7] =
    ["rebalance", "fenced", "metadata_too_large", "coordinator", "authorization", "timeout", "other"];

/// Index into [`REASONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The group is rebalancing, or the member's generation is over.
    Rebalance,
    /// Another member with this static identity took over.
    Fenced,
    /// The broker refuses metadata of this size.
    MetadataTooLarge,
    /// No coordinator, or it is loading or moving.
    Coordinator,
    /// No permission for the group or the topic.
    Authorization,
    /// No answer in time.
    Timeout,
    /// Any other.
    Other,
}

/// One partition of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which.
    pub partition: TopicPartition,
    /// The next offset to read: everything below is complete.
    pub offset: Offset,
    /// The topic and the completed records above it, encoded; empty: neither is known.
    pub metadata: String,
}

/// The broker's reply for one partition.
pub type Reply = (TopicPartition, Result<(), Reason>);

#[derive(Debug)]
struct Pending {
    slot: Slot,
    epoch: Epoch,
    entry: Entry,
    /// It was taken after the assignment had come into doubt: acknowledged, it says that the doubt is over.
    confirms: bool,
}

/// State of the commits of a pipeline.
#[derive(Debug, Default)]
pub(super) struct Commits {
    outstanding: Vec<Pending>,
    /// When the next regular commit is due.
    next: Time,
    /// The first partition that found no room in the last request.
    left_out: usize,
    /// From when on partitions that are given back may commit: later than now only after a failure.
    urgent: Time,
}

/// Bytes of one commit request, at most: one request becomes one batch of the broker's offsets topic.
const REQUEST_BYTES: usize = 512 << 10;
/// Bytes of a partition in a request besides its metadata, generously.
const ENTRY_BYTES: usize = 320;
/// After a failed commit of a partition that is being given back, the next try comes after this long.
const RETRY_AFTER: Duration = Duration::from_millis(100);

impl Machine {
    /// When the next commit is due; `None` while one is outstanding or nothing changed.
    pub(super) fn commit_due_at(&self) -> Option<Time> {
        if !self.commits.outstanding.is_empty() {
            return None;
        }
        let dirty = self.partitions.iter().filter(|(_, p)| p.dirty);
        dirty
            .map(|(_, p)| if p.phase == Phase::Committing { self.commits.urgent } else { self.commits.next })
            .min()
    }

    /// True if nothing of these partitions waits for a commit or for its reply.
    pub(super) fn is_committed(&self, slot: Slot, epoch: Epoch) -> bool {
        let waiting =
            self.commits.outstanding.iter().any(|pending| pending.slot == slot && pending.epoch == epoch);
        !waiting && !self.partition(slot, epoch).is_some_and(|partition| partition.dirty)
    }

    /// Commits what changed, if it is time: at each interval, and at once for partitions that are quiet and
    /// about to be given back.
    pub(super) fn commit_if_due(&mut self, now: Time) {
        if !self.commits.outstanding.is_empty() {
            return;
        }
        let due = now >= self.commits.next;
        if !due && self.giving_back.is_empty() {
            return;
        }
        let urgent = |p: &Partition| p.phase == Phase::Committing && now >= self.commits.urgent;
        let changed = self.partitions.iter().filter(|(_, p)| p.dirty && (due || urgent(p)));
        let mut changed: Vec<usize> = changed.map(|(index, _)| index).collect();
        // What is given back goes first. The others take turns where a request has no room for all of them, or
        // those at its end would never be committed.
        let left_out = self.commits.left_out;
        changed.sort_by_key(|&index| {
            (self.partitions[index].phase != Phase::Committing, index < left_out, index)
        });
        let mut bytes = 0;
        let mut entries = Vec::new();
        for index in changed {
            if bytes > REQUEST_BYTES.saturating_sub(2 * self.options.metadata_limit) {
                self.commits.left_out = index;
                break;
            }
            let partition = &mut self.partitions[index];
            let snapshot = partition.progress.snapshot(&self.options.budget);
            partition.truncated = snapshot.truncated;
            partition.dirty = false;
            bytes += snapshot.metadata.len() + ENTRY_BYTES;
            let entry = Entry {
                partition: partition.name.clone(),
                offset: snapshot.offset,
                metadata: snapshot.metadata,
            };
            let slot = Slot(u32::try_from(index).expect("slots are 32-bit numbers"));
            self.commits.outstanding.push(Pending {
                slot,
                epoch: partition.epoch,
                entry: entry.clone(),
                confirms: partition.unconfirmed,
            });
            entries.push(entry);
        }
        if !entries.is_empty() {
            if due {
                self.commits.next = now + self.options.commit_interval;
            }
            self.effects.push_back(Effect::Commit(entries));
        }
    }

    /// The assignment is in doubt: this host stood still for so long that the group may have gone on without
    /// it. Everything is committed again at once; the group's answer tells.
    pub fn doubt(&mut self, now: Time) {
        for (_, partition) in &mut self.partitions {
            partition.unconfirmed = true;
            partition.dirty = true;
        }
        self.commits.next = now;
    }

    /// False from [`doubt`](Machine::doubt) on until a commit of each partition was acknowledged that was
    /// taken afterwards, or the partition is gone.
    pub fn is_sure(&self) -> bool {
        self.partitions.iter().all(|(_, partition)| !partition.unconfirmed)
    }

    /// The broker's reply to the outstanding commit. A partition that the reply does not name failed.
    pub fn commit_replied(&mut self, replies: &[Reply], now: Time) {
        for pending in std::mem::take(&mut self.commits.outstanding) {
            let Some(partition) =
                self.partitions.get_mut(pending.slot.0 as usize).filter(|p| p.epoch == pending.epoch)
            else {
                // Its epoch is over. If the partition is here again, this commit may have landed on a newer one.
                let again = self.partitions.iter_mut().find(|(_, p)| p.name == pending.entry.partition);
                if let Some((_, partition)) = again {
                    partition.dirty = true;
                }
                continue;
            };
            let reply = replies.iter().find(|(name, _)| *name == pending.entry.partition);
            match reply.map_or(Err(Reason::Other), |(_, result)| *result) {
                Ok(()) => {
                    partition.unconfirmed &= !pending.confirms;
                    partition.refused = None;
                    partition.committed = Some(pending.entry.offset);
                    partition.metadata_size = pending.entry.metadata.len();
                }
                Err(reason) => {
                    partition.counters.commit_failures[reason as usize] += 1;
                    let since = partition.refused.map_or(now, |(since, _)| since);
                    partition.refused = Some((since, reason));
                    partition.dirty = true;
                    self.commits.urgent = now + RETRY_AFTER;
                    tracing::warn!(
                        partition = %pending.entry.partition,
                        offset = pending.entry.offset.0,
                        reason = REASONS[reason as usize],
                        "commit failed; it is taken again"
                    );
                }
            }
        }
    }
}
