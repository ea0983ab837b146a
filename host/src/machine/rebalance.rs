//! Assignments: taking partitions on, giving them back, losing them, stopping.
//!
//! Giving back is always the same way: admit nothing more, let calls that are out finish within a bound,
//! then interrupt those that still run, then commit, then fence: forget the partition, so that whatever
//! comes later for its epoch touches nothing. Records that were admitted and not dispatched are dropped at
//! once: their next owner runs them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::partition::{Counters, Partition, Phase, Slot};
use super::{Effect, Machine, Stopped};
use crate::batch::TopicPartition;
use crate::cancel::Cancel;
use crate::dispatch::{Ordering, Shard};
use crate::ids::{Epoch, Offset};
use crate::progress::{self, Progress};
use crate::time::Time;

/// A partition that the group gives to this host, with what the broker knows of it.
#[derive(Clone, Debug)]
pub struct Assigned {
    /// Which.
    pub partition: TopicPartition,
    /// The next offset to read.
    pub start: Offset,
    /// The metadata of the commit that `start` comes from, as raw bytes; `None` where nothing was committed. Of
    /// another topic it is ignored here as well, but then `start` is of that topic, too: whoever asks where
    /// partitions start decides about that first.
    pub metadata: Option<Vec<u8>>,
    /// True if `start` was not committed yet: it is committed at once, so that a later start of the group
    /// finds it.
    pub commit_start: bool,
    /// Tells this topic from another one of the same name; 0: unknown.
    pub topic_tag: u32,
    /// Where the log ends now, if known: metadata that speaks of more is of another log.
    pub log_end: Option<Offset>,
}

/// How long each step of giving back may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// For calls that are out to finish by themselves, and their outputs to be acknowledged.
    pub drain: Duration,
    /// For interrupted calls to end.
    pub interrupt: Duration,
    /// For the last commit to be acknowledged, retries included.
    pub commit: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Draining,
    Interrupting,
    Committing,
    /// The time for the commit is over, and an older group has to be given back first.
    Queued,
}

/// What a look at one group brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Something has to happen first.
    Waits,
    /// It is in its next stage.
    Moved,
    /// All of it is fenced or may be.
    Done,
}

/// Partitions that are being given back together.
#[derive(Debug)]
pub(super) struct GivingBack {
    parts: Vec<(Slot, Epoch)>,
    stage: Stage,
    until: Time,
}

impl Machine {
    /// Takes on partitions. Returns their slots, in order. A partition that is assigned already (given back to
    /// the same member before its revocation was done) is lost first, so that it starts a new epoch.
    pub fn assigned(&mut self, parts: &[Assigned], _now: Time) -> Vec<Slot> {
        for part in parts {
            if let Some(slot) = self.slot_of(&part.partition) {
                self.drop_slot(slot);
            }
        }
        parts.iter().map(|part| self.take_on(part)).collect()
    }

    fn take_on(&mut self, part: &Assigned) -> Slot {
        let mut ignored = false;
        let is_mute = part.metadata.as_ref().is_none_or(Vec::is_empty);
        let restored = match &part.metadata {
            Some(text) if !text.is_empty() => match read_metadata(text, part) {
                Ok(restored) => Some(restored),
                Err(reason) => {
                    tracing::warn!(
                        partition = %part.partition, offset = part.start.0, %reason,
                        "commit metadata ignored; resuming exactly at the committed offset, \
                         records completed above it run again"
                    );
                    ignored = true;
                    None
                }
            },
            _ => None,
        };
        self.next_epoch.0 += 1;
        let shards = match self.options.ordering {
            Ordering::Partition => 1,
            Ordering::Key | Ordering::Unordered => self.options.shards,
        };
        let entry = self.partitions.vacant_entry();
        let slot = Slot(u32::try_from(entry.key()).expect("slots are 32-bit numbers"));
        entry.insert(Partition {
            name: part.partition.clone(),
            epoch: self.next_epoch,
            phase: Phase::Active,
            progress: Progress::new(part.start, restored, part.topic_tag),
            shards: (0..shards).map(|_| Shard::default()).collect(),
            // Slots are used again, so the numbers stay below the most partitions ever held at once.
            first_shard: slot.0 * self.options.shards as u32,
            cancel: Arc::new(Cancel::new()),
            bytes: 0,
            held: VecDeque::new(),
            running: 0,
            unacknowledged: 0,
            over_since: None,
            paused: false,
            // Metadata that had to be ignored is overwritten soon: of a log that was cut back it could be taken
            // for true once the log has grown again. And a commit that does not say of which topic it is, as
            // tools write it, says so soon.
            dirty: part.commit_start || ignored || part.topic_tag != 0 && is_mute,
            unconfirmed: false,
            refused: None,
            committed: (!part.commit_start).then_some(part.start),
            metadata_size: part.metadata.as_ref().map_or(0, Vec::len),
            truncated: 0,
            last_failures: VecDeque::new(),
            counters: Counters::default(),
        });
        slot
    }

    /// Starts to give partitions back; [`Effect::Unassign`] follows. Partitions that are not assigned are
    /// named in it too, so that the client's own list is cleared whatever happened.
    pub fn revoke(&mut self, parts: &[TopicPartition], now: Time) {
        let held: Vec<_> = parts.iter().filter_map(|name| self.slot_of(name)).collect();
        let parts =
            held.into_iter().filter_map(|slot| Some((slot, self.partitions.get(slot.0 as usize)?.epoch)));
        let parts: Vec<_> = parts.collect();
        for (slot, _) in &parts {
            self.end_intake(*slot);
        }
        let until = now + self.options.give_back.drain;
        self.giving_back.push(GivingBack { parts, stage: Stage::Draining, until });
    }

    /// The group gave these partitions to somebody else: drops them at once and commits nothing. Where they were
    /// all that was being given back, nobody waits for that any more.
    pub fn lost(&mut self, parts: &[TopicPartition]) {
        for name in parts {
            if let Some(slot) = self.slot_of(name) {
                self.drop_slot(slot);
            }
        }
        let partitions = &self.partitions;
        let live = |(slot, epoch): &(Slot, Epoch)| {
            partitions.get(slot.0 as usize).is_some_and(|partition| partition.epoch == *epoch)
        };
        self.giving_back.retain(|giving| giving.parts.iter().any(live));
    }

    /// Stops: gives everything back; [`Effect::Stopped`] follows. A second call skips what is left of the
    /// drain.
    pub fn stop(&mut self, now: Time) {
        if self.stopping {
            for giving in &mut self.giving_back {
                if giving.stage == Stage::Draining {
                    giving.until = now;
                }
            }
            return;
        }
        self.stopping = true;
        let known: Vec<_> = self.giving_back.iter().flat_map(|giving| &giving.parts).collect();
        let slot = |index: usize| Slot(u32::try_from(index).expect("slots are 32-bit numbers"));
        let rest = self.partitions.iter().filter(|(index, p)| !known.contains(&&(slot(*index), p.epoch)));
        let names: Vec<_> = rest.map(|(_, p)| p.name.clone()).collect();
        self.revoke(&names, now);
    }

    /// Stops because the pipeline cannot go on; the first reason stays.
    pub fn fail(&mut self, reason: String, now: Time) {
        self.failure.get_or_insert(reason);
        if !self.stopping {
            self.stop(now);
        }
    }

    /// Drops what was admitted and never dispatched.
    fn end_intake(&mut self, slot: Slot) {
        let Some(partition) = self.partitions.get_mut(slot.0 as usize) else { return };
        if partition.phase != Phase::Active {
            return;
        }
        partition.phase = Phase::Draining;
        partition.held.clear();
        partition.over_since = None;
        for shard in &mut partition.shards {
            *shard = Shard::default();
        }
    }

    /// Moves everything that is being given back one step on, if it can.
    pub(super) fn give_back(&mut self, now: Time) {
        let mut index = 0;
        while index < self.giving_back.len() {
            match self.step(index, now) {
                Step::Waits => index += 1,
                Step::Moved => {}
                Step::Done => {
                    let done = self.giving_back.remove(index);
                    self.finish_giving_back(&done.parts);
                }
            }
        }
        if self.stopping && self.giving_back.is_empty() && !self.told_stopped {
            self.told_stopped = true;
            self.effects.push_back(Effect::Stopped(Stopped { failure: self.failure.take() }));
        }
    }

    /// One step of one group.
    fn step(&mut self, index: usize, now: Time) -> Step {
        let bounds = self.options.give_back;
        let GivingBack { parts, stage, until } = &self.giving_back[index];
        let (stage, until) = (*stage, *until);
        let live = |(slot, epoch): &&(Slot, Epoch)| self.partition(*slot, *epoch).is_some();
        let parts: Vec<_> = parts.iter().filter(live).copied().collect();
        let quiet =
            parts.iter().all(|&(slot, epoch)| self.partition(slot, epoch).is_none_or(Partition::is_quiet));
        let next = match stage {
            Stage::Draining if quiet => Some((Stage::Committing, now + bounds.commit)),
            Stage::Draining if now >= until => {
                for (slot, _) in &parts {
                    self.partitions[slot.0 as usize].cancel.cancel();
                }
                Some((Stage::Interrupting, now + bounds.interrupt))
            }
            // What the producer holds cannot be taken back: it is not waited for, and not committed.
            Stage::Interrupting
                if now >= until
                    || parts.iter().all(|(slot, _)| self.partitions[slot.0 as usize].running == 0) =>
            {
                Some((Stage::Committing, now + bounds.commit))
            }
            Stage::Committing => {
                let done = now >= until || parts.iter().all(|&(slot, epoch)| self.is_committed(slot, epoch));
                match index {
                    0 if done => return Step::Done,
                    // The client takes what is given back for what it asked back first, so the oldest goes first.
                    1.. if now >= until => Some((Stage::Queued, Time::NEVER)),
                    _ => None,
                }
            }
            Stage::Queued if index == 0 => return Step::Done,
            Stage::Draining | Stage::Interrupting | Stage::Queued => None,
        };
        let Some((stage, until)) = next else { return Step::Waits };
        if stage == Stage::Committing {
            for (slot, _) in &parts {
                self.partitions[slot.0 as usize].phase = Phase::Committing;
            }
        }
        self.giving_back[index].stage = stage;
        self.giving_back[index].until = until;
        Step::Moved
    }

    fn finish_giving_back(&mut self, parts: &[(Slot, Epoch)]) {
        let mut names = Vec::new();
        for &(slot, epoch) in parts {
            if let Some(partition) = self.partition(slot, epoch) {
                names.push(partition.name.clone());
                self.drop_slot(slot);
            }
        }
        self.effects.push_back(Effect::Unassign(names));
    }

    /// When the next step has to be taken at the latest.
    pub(super) fn give_back_due_at(&self) -> Option<Time> {
        self.giving_back.iter().map(|giving| giving.until).min()
    }

    /// Fences: from here on nothing that carries the epoch finds its partition.
    fn drop_slot(&mut self, slot: Slot) {
        if let Some(partition) = self.partitions.try_remove(slot.0 as usize) {
            partition.cancel.cancel();
        }
    }
}

fn read_metadata(text: &[u8], part: &Assigned) -> Result<progress::Restored, progress::Reject> {
    let restored = progress::decode(text, part.start, part.topic_tag)?;
    match part.log_end {
        Some(end) => restored.within_log(end),
        None => Ok(restored),
    }
}
