//! One shard: the lane and the key table of a slice of one partition's keys.
//!
//! Owned by the machine; every call comes from the consumer thread (or from a simulator). See the module
//! above for how lane and table divide the work.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use super::Pacing;
use super::keys::{Key, State, Table};
use super::slow::SlowKeys;
use crate::batch::{Batch, Parked, Record};
use crate::time::Time;

/// Where dispatched records came from, and so what their return frees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The shard's lane.
    Lane,
    /// The queue of the key with this hash.
    Key(u64),
}

/// What a call tells about the keys that were in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace<'a> {
    /// Nothing.
    Usual,
    /// One of these keys has to be slow.
    Suspicious(&'a [u64]),
    /// Its one key is slow.
    Slow(u64),
    /// Its one key is not.
    Quick(u64),
}

/// What became ready by an admission or a return; the caller lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// The lane has a batch and none is out.
    LaneReady,
    /// This key has a record and none is out.
    KeyReady(u64),
    /// This key's first record waits for its next attempt: wake it then.
    KeyWaits(u64, Time),
    /// Nothing new.
    Queued,
}

/// Records to run in one call.
#[derive(Debug)]
pub struct Taken {
    /// The records.
    pub batch: Batch,
    /// Attempts before this one of a record that runs alone; 0 for several.
    pub attempts: u32,
    /// When a record that runs alone was first dispatched, if it was.
    pub first_dispatch: Option<Time>,
}

/// A batch of the lane of which the first `from` records have left.
#[derive(Debug)]
struct Segment {
    batch: Batch,
    from: usize,
}

impl Segment {
    fn left(&self) -> usize {
        self.batch.len() - self.from
    }
}

/// Cleared batches that keep their memory, for use without allocation.
#[derive(Debug, Default)]
pub struct Pool {
    free: Vec<Batch>,
    /// What they hold in all.
    bytes: usize,
}

/// Batches kept, at most: one for each call of a handler that waits, and some more.
const POOLED_BATCHES: usize = 4_096;
/// Bytes that kept batches hold in all, at most.
const POOLED_BYTES: usize = 16 << 20;

impl Pool {
    /// An empty batch.
    pub fn take(&mut self) -> Batch {
        let batch = self.free.pop().unwrap_or_default();
        self.bytes -= batch.capacity();
        batch
    }

    /// Takes a batch back; one too many goes back to the system instead.
    pub fn give(&mut self, mut batch: Batch) {
        let bytes = self.bytes + batch.capacity();
        if self.free.len() < POOLED_BATCHES && bytes <= POOLED_BYTES {
            batch.clear();
            self.bytes = bytes;
            self.free.push(batch);
        }
    }
}

/// One shard.
///
/// Invariant: the hash of no record in the lane, queued or out, is in the key table or among the slow keys.
#[derive(Debug, Default)]
pub struct Shard {
    lane: VecDeque<Segment>,
    lane_out: bool,
    lane_listed: bool,
    keys: Table,
    slow: SlowKeys,
    queued: usize,
}

impl Shard {
    /// Records that wait here: admitted and not in a call.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Takes in a polled record.
    pub fn admit(&mut self, record: &Record<'_>, hash: u64, pacing: &Pacing, pool: &mut Pool) -> Admitted {
        self.queued += 1;
        let own_queue = !self.keys.is_empty() && self.keys.contains_key(&hash) || self.slow.contains(hash);
        if own_queue || pacing.keyed() && self.lane_is_idle() {
            return self.enqueue(Parked::new(record, hash, 0));
        }
        let bounds = pacing.bounds();
        let weight = record.weight();
        let fits = self.lane.back().is_some_and(|open| {
            let batch = &open.batch;
            // A key that comes back to the lane brings records that are older than what stands there.
            batch.offsets().last().is_none_or(|&last| last < record.offset.0)
                && batch.len() < bounds.records
                && batch.weight() + weight <= bounds.bytes
                && batch.has_room(weight)
        });
        if !fits {
            self.lane.push_back(Segment { batch: pool.take(), from: 0 });
        }
        let open = self.lane.back_mut().expect("a segment was just made sure of");
        open.batch.push(record, hash, 0);
        self.list_lane()
    }

    fn lane_is_idle(&self) -> bool {
        self.lane.is_empty() && !self.lane_out
    }

    fn list_lane(&mut self) -> Admitted {
        if self.lane_out || self.lane_listed || self.lane.is_empty() {
            return Admitted::Queued;
        }
        self.lane_listed = true;
        Admitted::LaneReady
    }

    /// Puts a record at the end of its key's queue.
    fn enqueue(&mut self, record: Parked) -> Admitted {
        let hash = record.hash;
        match self.keys.entry(hash) {
            Entry::Occupied(mut key) => {
                key.get_mut().waiting.push_back(record);
                Admitted::Queued
            }
            Entry::Vacant(place) => {
                place.insert(Key::new(State::Ready)).waiting.push_back(record);
                Admitted::KeyReady(hash)
            }
        }
    }

    /// The lane's next batch, after the lane was listed as ready. While the handler is slow the lane is
    /// dissolved into key queues instead, which `ready` is told.
    pub fn take_lane(
        &mut self,
        pacing: &Pacing,
        pool: &mut Pool,
        mut ready: impl FnMut(u64),
    ) -> Option<Taken> {
        self.lane_listed = false;
        if self.lane_out {
            return None;
        }
        if pacing.keyed() {
            self.dissolve_lane(pool, &mut ready);
            return None;
        }
        let segment = self.lane.front_mut()?;
        let count = pacing.batch().min(segment.left());
        let batch = if segment.from == 0 && count == segment.left() {
            self.lane.pop_front().expect("it was just looked at").batch
        } else {
            let mut part = pool.take();
            segment.batch.copy_to(segment.from..segment.from + count, &mut part);
            segment.from += count;
            if segment.left() == 0 {
                pool.give(self.lane.pop_front().expect("it was just looked at").batch);
            }
            part
        };
        self.queued -= batch.len();
        self.lane_out = true;
        Some(Taken { batch, attempts: 0, first_dispatch: None })
    }

    fn dissolve_lane(&mut self, pool: &mut Pool, ready: &mut impl FnMut(u64)) {
        while let Some(Segment { batch, from }) = self.lane.pop_front() {
            for index in from..batch.len() {
                if let Admitted::KeyReady(hash) = self.enqueue(Parked::from_batch(&batch, index, 0)) {
                    ready(hash);
                }
            }
            pool.give(batch);
        }
    }

    /// The next records of a key that was listed as ready.
    pub fn take_key(&mut self, hash: u64, pacing: &Pacing, pool: &mut Pool) -> Option<Taken> {
        let key = self.keys.get_mut(&hash).filter(|key| key.state == State::Ready)?;
        let first = key.waiting.front()?;
        let (attempts, first_dispatch) = (first.attempts, first.first_dispatch);
        let mut batch = pool.take();
        // The allowance of several records is that of quick ones.
        let at_most = if self.slow.contains(hash) { 1 } else { pacing.batch() };
        for _ in 0..key.run_length(at_most) {
            if !batch.is_empty() && batch.weight() >= pacing.bounds().bytes {
                break;
            }
            let record = key.waiting.pop_front().expect("the run was counted");
            batch.push(&record.record(), hash, record.attempts);
        }
        key.state = State::Out;
        self.queued -= batch.len();
        let alone = batch.len() == 1;
        Some(Taken {
            batch,
            attempts: if alone { attempts } else { 0 },
            first_dispatch: first_dispatch.filter(|_| alone),
        })
    }

    /// True if this key is known to be slower than the others.
    pub fn is_slow(&self, hash: u64) -> bool {
        self.slow.is_slow(hash)
    }

    /// Takes back what left with [`take_lane`](Shard::take_lane) or [`take_key`](Shard::take_key): `again`
    /// holds the records that shall run again, oldest first, each with the time from which on it may. What
    /// became ready, or waits, is told to `ready`. `pace` is what the call told about its keys.
    #[expect(clippy::too_many_arguments, reason = "what a return is made of; called from one place")]
    pub fn returned(
        &mut self,
        source: Source,
        again: Vec<(Parked, Time)>,
        pace: Pace<'_>,
        pacing: &Pacing,
        pool: &mut Pool,
        now: Time,
        mut ready: impl FnMut(Admitted),
    ) {
        self.queued += again.len();
        match source {
            Source::Lane => {
                self.lane_out = false;
                let special: Vec<u64> = again.iter().map(|(record, _)| record.hash).collect();
                for (record, due) in again {
                    self.defer(record, due, now, &mut ready);
                }
                if !special.is_empty() {
                    self.move_out_of_lane(&special, pool, &mut ready);
                }
                match pace {
                    Pace::Suspicious(hashes) => {
                        self.slow.suspect(hashes);
                        self.move_out_of_lane(hashes, pool, &mut ready);
                    }
                    Pace::Slow(hash) => {
                        self.slow.judge(hash, true);
                        self.move_out_of_lane(&[hash], pool, &mut ready);
                    }
                    Pace::Usual | Pace::Quick(_) => {}
                }
            }
            Source::Key(hash) => {
                match pace {
                    Pace::Slow(hash) => self.slow.judge(hash, true),
                    Pace::Quick(hash) => self.slow.judge(hash, false),
                    Pace::Usual | Pace::Suspicious(_) => {}
                }
                self.key_returned(hash, again, pacing, pool, now, &mut ready);
            }
        }
        if let Admitted::LaneReady = self.list_lane() {
            ready(Admitted::LaneReady);
        }
    }

    /// Puts a record that came back from the lane into its key's queue.
    fn defer(&mut self, record: Parked, due: Time, now: Time, ready: &mut impl FnMut(Admitted)) {
        let hash = record.hash;
        if let Admitted::KeyReady(_) = self.enqueue(record) {
            let key = self.keys.get_mut(&hash).expect("it was just entered");
            if due > now {
                key.state = State::Backoff(due);
                ready(Admitted::KeyWaits(hash, due));
            } else {
                ready(Admitted::KeyReady(hash));
            }
        }
    }

    /// Records of these keys that stand in the lane follow the ones in their keys' queues, in order. Keys that
    /// had no queue are told to `ready`.
    fn move_out_of_lane(&mut self, hashes: &[u64], pool: &mut Pool, ready: &mut impl FnMut(Admitted)) {
        let mut hashes = hashes.to_vec();
        hashes.sort_unstable();
        hashes.dedup();
        let is_one = |hash: &u64| hashes.binary_search(hash).is_ok();
        let mut lane = std::mem::take(&mut self.lane);
        for segment in &mut lane {
            let Segment { batch, from } = segment;
            if !batch.hashes()[*from..].iter().any(is_one) {
                continue;
            }
            let mut kept = pool.take();
            for index in *from..batch.len() {
                if is_one(&batch.hashes()[index]) {
                    let entered = self.enqueue(Parked::from_batch(batch, index, 0));
                    if let Admitted::KeyReady(_) = entered {
                        ready(entered);
                    }
                } else {
                    batch.copy_to([index], &mut kept);
                }
            }
            pool.give(std::mem::replace(batch, kept));
            *from = 0;
        }
        lane.retain(|segment| segment.left() > 0);
        self.lane = lane;
    }

    fn key_returned(
        &mut self,
        hash: u64,
        again: Vec<(Parked, Time)>,
        pacing: &Pacing,
        pool: &mut Pool,
        now: Time,
        ready: &mut impl FnMut(Admitted),
    ) {
        let key = self.keys.get_mut(&hash).expect("a key that is out stays in the table");
        let due = again.first().map_or(Time::ZERO, |(_, due)| *due);
        for (record, _) in again.into_iter().rev() {
            key.waiting.push_front(record);
        }
        if key.waiting.is_empty() {
            self.keys.remove(&hash);
        } else if due > now {
            key.state = State::Backoff(due);
            ready(Admitted::KeyWaits(hash, due));
        } else if pacing.keyed() || key.has_special() || self.slow.contains(hash) {
            key.state = State::Ready;
            ready(Admitted::KeyReady(hash));
        } else {
            // Nothing special is left: back to the fast path.
            let key = self.keys.remove(&hash).expect("it was just looked at");
            for record in key.waiting {
                self.queued -= 1;
                // The lane is listed by the caller.
                let listed = self.lane_listed;
                self.lane_listed = true;
                self.admit(&record.record(), hash, pacing, pool);
                self.lane_listed = listed;
            }
        }
    }

    /// The wait of a key is over. True if it became ready.
    pub fn wake(&mut self, hash: u64, now: Time) -> bool {
        match self.keys.get_mut(&hash) {
            Some(key) if matches!(key.state, State::Backoff(due) if due <= now) => {
                key.state = State::Ready;
                true
            }
            _ => false,
        }
    }

    /// The waiting record at `offset`, if it stands in a key's queue: attempts, first dispatch, and when it
    /// is due if it waits for its next attempt.
    pub fn find(&self, offset: crate::ids::Offset) -> Option<(u32, Option<Time>, Option<Time>)> {
        self.keys.values().find_map(|key| {
            let record = key.waiting.iter().find(|record| record.offset() == offset)?;
            let due = match key.state {
                State::Backoff(due) => Some(due),
                State::Ready | State::Out => None,
            };
            Some((record.attempts, record.first_dispatch, due))
        })
    }
}
