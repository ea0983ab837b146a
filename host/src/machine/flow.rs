//! Backpressure: when to take no more records, from all partitions or from one.
//!
//! Two steps. While any partition holds more than its share, or the pipeline more than its bound, nothing is
//! taken from the client's queue, which is bounded itself; polling goes on, so the member stays in its group.
//! That costs nothing and is the normal state of a saturated pipeline. A partition that stays over its share
//! for longer is blocked, by a retry or a slow key, and is paused, so that the others go on: pausing throws
//! away what the client fetched ahead, so it is not done for a moment's burst.

use std::time::Duration;

use super::partition::Phase;
use super::{Effect, Machine};
use crate::dispatch::Shard;
use crate::time::Time;

/// A partition that is over its share for this long is paused.
const PATIENCE: Duration = Duration::from_millis(100);
/// Each partition may hold at least so many records, however many partitions there are.
const LEAST_RECORDS: usize = 256;
/// So many records are taken at once even where less room is left: single ones would cost a call each.
const LEAST_CHUNK: usize = 64;
/// And so many bytes.
const LEAST_BYTES: usize = 1 << 20;

/// Bounds of records that are admitted and not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Records of the pipeline.
    pub records: usize,
    /// Bytes of the pipeline, by `Record::weight`.
    pub bytes: usize,
}

impl Machine {
    /// True if the consumer may take records from the client's queue.
    ///
    /// A partition may overshoot its share by 64 records: the bound on memory is the configured
    /// one and that.
    pub fn may_consume(&self) -> bool {
        self.partitions.iter().all(|(_, p)| p.paused || p.over_since.is_none())
    }

    /// True if outputs wait for their acknowledgement and nothing waits for a worker: no more outputs are
    /// coming that could be sent together with them.
    pub fn waits_for_acknowledgements_only(&self) -> bool {
        let nothing_waits = self.ready_lanes.is_empty() && self.ready_keys.is_empty();
        nothing_waits && self.tickets.len() > self.lanes_out + self.keys_out
    }

    /// How many records to take at once, of any partitions: as many as the fullest of them has room for.
    pub fn room(&self) -> usize {
        let share = self.share().records;
        let active = self.partitions.iter().filter(|(_, p)| !p.paused && p.phase == Phase::Active);
        active.map(|(_, p)| share.saturating_sub(p.in_flight())).min().unwrap_or(share).max(LEAST_CHUNK)
    }

    /// True if records of this topic are held back.
    pub fn is_backpressured(&self, topic: &str) -> bool {
        self.partitions.iter().any(|(_, p)| &*p.name.topic == topic && (p.paused || p.over_since.is_some()))
    }

    /// What each partition may hold.
    pub(super) fn share(&self) -> InFlight {
        let partitions = self.partitions.len().max(1);
        InFlight {
            records: (self.options.in_flight.records / partitions).max(LEAST_RECORDS),
            bytes: (self.options.in_flight.bytes / partitions).max(LEAST_BYTES),
        }
    }

    /// Looks at every partition: marks those over their share, pauses those that stay there, resumes those
    /// that came down to half of it, and admits held records that have room again.
    pub(super) fn regulate(&mut self, now: Time) {
        let share = self.share();
        let mut admit_from = Vec::new();
        for (index, partition) in &mut self.partitions {
            if partition.phase != Phase::Active {
                continue;
            }
            let (records, bytes) = (partition.in_flight(), partition.bytes);
            let part = if partition.over_since.is_some() { 2 } else { 1 };
            let over =
                !partition.held.is_empty() || records > share.records / part || bytes > share.bytes / part;
            match (over, partition.over_since) {
                (true, None) => partition.over_since = Some(now),
                (true, Some(since)) if !partition.paused && now.since(since) >= PATIENCE => {
                    partition.paused = true;
                    self.effects.push_back(Effect::Pause(partition.name.clone()));
                }
                (false, Some(_)) => {
                    partition.over_since = None;
                    if std::mem::take(&mut partition.paused) {
                        self.effects.push_back(Effect::Resume(partition.name.clone()));
                    }
                }
                _ => {}
            }
            if let Some(first) = partition.held.front()
                && partition.progress.may_admit(first.offset(), &self.options.budget)
            {
                admit_from.push(index);
            }
        }
        for index in admit_from {
            self.admit_held(index);
        }
    }

    /// Admits what was held, oldest first, as far as the commit metadata has room.
    fn admit_held(&mut self, index: usize) {
        while let Some(partition) = self.partitions.get_mut(index)
            && let Some(first) = partition.held.front()
            && partition.progress.may_admit(first.offset(), &self.options.budget)
        {
            let record = partition.held.pop_front().expect("it was just looked at");
            partition.bytes -= record.record().weight();
            self.enter(index, &record.record());
        }
    }

    /// When the next partition will have been over its share for too long.
    pub(super) fn pause_due_at(&self) -> Option<Time> {
        let waiting = self.partitions.iter().filter(|(_, p)| !p.paused && p.phase == Phase::Active);
        waiting.filter_map(|(_, p)| p.over_since).min().map(|since| since + PATIENCE)
    }

    /// Records that wait in each shard of the pipeline, by shard index, with the topic they belong to.
    pub fn queue_depths(&self) -> impl Iterator<Item = (&str, u32, usize)> {
        self.partitions.iter().flat_map(|(_, p)| {
            let depths = p.shards.iter().map(Shard::queued);
            depths.enumerate().map(|(index, depth)| (&*p.name.topic, p.first_shard + index as u32, depth))
        })
    }
}
