//! The consumer's decisions: a state machine without I/O.
//!
//! Polled records, reports of workers, acknowledgements, rebalances, commit replies and the time go in;
//! [`Effect`]s come out: work to dispatch, partitions to pause, commits to send. The thread around it
//! (`kafka::consumer`) only moves data, so tests drive the very same machine through schedules that no
//! broker would ever produce twice.
//!
//! It is the one owner of assignment, progress and commits. It knows no clock, no thread and no channel, and
//! the same inputs in the same order give the same effects.
//!
//! | file | decides |
//! |---|---|
//! | `mod.rs` | admission, dispatch, reports, completion |
//! | `flow.rs` | backpressure |
//! | `commit.rs` | when and what to commit |
//! | `rebalance.rs` | assignments, giving back, stopping |
//! | `view.rs` | what is seen from outside |

pub mod commit;
mod finish;
mod flow;
mod partition;
mod rebalance;
#[cfg(test)]
pub(crate) mod tests;
mod tickets;
mod view;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use slab::Slab;

pub use flow::InFlight;
pub use partition::{Counters, Slot};
pub use rebalance::{Assigned, Bounds};
pub use view::{Blocked, BlockedBy, PartitionView};

use crate::batch::{Parked, Record, TopicPartition};
use crate::dispatch::circuit::Admits;
use crate::dispatch::shard::Pool;
use crate::dispatch::{Admitted, Circuit, Hasher, Ordering, Pacing, Source, Taken, circuit, pacing};
use crate::ids::{Epoch, Offset};
use crate::outcome::Failure;
use crate::progress::{Admission, Budget};
use crate::time::Time;
use crate::work::{Ticket, Work};
use commit::Commits;
use partition::{Partition, Phase};
use tickets::Tickets;

/// What the machine is told about its pipeline.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which records must not overtake each other.
    pub ordering: Ordering,
    /// Shards of a partition, at least 1. More shards than workers, so that none waits for a busy one.
    pub shards: usize,
    /// Lanes that may be out at once: what keeps the workers busy and no more.
    pub lanes: usize,
    /// Calls from key queues that may be out at once: each may wait and then holds an instance.
    pub calls: usize,
    /// Bounds of one call.
    pub pacing: pacing::Bounds,
    /// Bounds of what is admitted and not complete.
    pub in_flight: InFlight,
    /// From one commit to the next.
    pub commit_interval: Duration,
    /// What commit metadata may hold.
    pub budget: Budget,
    /// Characters of commit metadata that the broker takes.
    pub metadata_limit: usize,
    /// How long the steps of giving back may take.
    pub give_back: Bounds,
    /// When the pipeline pauses itself because too much fails; `None`: never.
    pub circuit: Option<circuit::Settings>,
    /// Whether an input whose output the broker refuses for good can be dead-lettered.
    pub dead_letters: bool,
    /// Makes the order of keys in shards unpredictable to outsiders.
    pub seed: u64,
}

/// What the machine wants done.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one; boxing it would allocate for each call"
)]
pub enum Effect {
    /// Run these records.
    Dispatch(Work),
    /// Fetch nothing for this partition until it is resumed.
    Pause(TopicPartition),
    /// Fetch again.
    Resume(TopicPartition),
    /// Send one commit request; its reply goes to [`Machine::commit_replied`].
    Commit(Vec<commit::Entry>),
    /// These partitions are drained, committed and fenced: give them back to the group.
    Unassign(Vec<TopicPartition>),
    /// Publish a dead letter for a record whose output the broker refused for good.
    DeadLetter(RefusedRecord),
    /// Everything is given back and committed. Nothing follows.
    Stopped(Stopped),
}

/// A record one of whose outputs the broker refused for good.
#[derive(Debug)]
pub struct RefusedRecord {
    /// The acknowledgement of the dead letter belongs to this ticket.
    pub ticket: Ticket,
    /// Which record of its call.
    pub index: u32,
    /// Where the record comes from.
    pub origin: TopicPartition,
    /// The record.
    pub record: Parked,
    /// What the broker said.
    pub failure: Failure,
    /// Calls that it took.
    pub attempts: u32,
}

/// How a pipeline ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Why it could not go on; `None`: it was asked to stop.
    pub failure: Option<String>,
}

/// The wait of a key, by when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Timer {
    due: Time,
    slot: Slot,
    epoch: Epoch,
    shard: u32,
    hash: u64,
}

/// The consumer's decisions for one pipeline.
#[derive(Debug)]
pub struct Machine {
    options: Options,
    hasher: Hasher,
    partitions: Slab<Partition>,
    next_epoch: Epoch,
    tickets: Tickets,
    pacing: Pacing,
    circuit: Circuit,
    /// What asks whether an open circuit may close.
    probe: Option<Ticket>,
    /// Never fed, so it stays at calls of one record.
    single: Pacing,
    pool: Pool,
    ready_lanes: VecDeque<(Slot, Epoch, u32)>,
    ready_keys: VecDeque<(Slot, Epoch, u32, u64)>,
    lanes_out: usize,
    /// Of those, the ones that are out for so long that they do not keep a worker busy.
    lanes_late: usize,
    /// Lanes in the order in which they went out, until they are back or late.
    lanes_sent: VecDeque<(Time, Ticket)>,
    keys_out: usize,
    outputs_wait: bool,
    timers: BinaryHeap<Reverse<Timer>>,
    commits: Commits,
    giving_back: Vec<rebalance::GivingBack>,
    stopping: bool,
    told_stopped: bool,
    failure: Option<String>,
    effects: VecDeque<Effect>,
    dead_letter_failures: u64,
}

impl Machine {
    /// A machine without partitions.
    pub fn new(options: Options) -> Self {
        Machine {
            hasher: Hasher::new(options.ordering, options.seed),
            pacing: Pacing::new(options.pacing),
            circuit: Circuit::new(options.circuit),
            probe: None,
            single: Pacing::new(options.pacing),
            options,
            partitions: Slab::new(),
            next_epoch: Epoch(0),
            tickets: Tickets::default(),
            pool: Pool::default(),
            ready_lanes: VecDeque::new(),
            ready_keys: VecDeque::new(),
            lanes_out: 0,
            lanes_late: 0,
            lanes_sent: VecDeque::new(),
            keys_out: 0,
            outputs_wait: false,
            timers: BinaryHeap::new(),
            commits: Commits::default(),
            giving_back: Vec::new(),
            stopping: false,
            told_stopped: false,
            failure: None,
            effects: VecDeque::new(),
            dead_letter_failures: 0,
        }
    }

    /// Takes in a polled record. A slot that is not assigned any more takes nothing.
    pub fn admit(&mut self, slot: Slot, record: &Record<'_>) {
        let index = slot.0 as usize;
        let Some(partition) = self.partitions.get_mut(index).filter(|p| p.phase == Phase::Active) else {
            return;
        };
        if partition.held.is_empty() && partition.progress.may_admit(record.offset, &self.options.budget) {
            self.enter(index, record);
        } else if partition.next() <= record.offset {
            partition.hold(record);
            // Regulated in earnest at the next turn; from here on nothing more is consumed.
            partition.over_since.get_or_insert(Time::ZERO);
        }
    }

    /// Enters a record into progress and into its shard.
    fn enter(&mut self, index: usize, record: &Record<'_>) {
        let partition = &mut self.partitions[index];
        match partition.progress.admit(record.offset) {
            Admission::Stale => return,
            Admission::AlreadyDone => {
                partition.dirty = true;
                return;
            }
            Admission::Run => {}
        }
        partition.bytes += record.weight();
        let hash = self.hasher.hash(record.key, record.offset);
        let shard = Hasher::shard(hash, partition.shards.len());
        let (slot, epoch) = (Slot(index as u32), partition.epoch);
        match partition.shards[shard].admit(record, hash, &self.pacing, &mut self.pool) {
            Admitted::LaneReady => self.ready_lanes.push_back((slot, epoch, shard as u32)),
            Admitted::KeyReady(hash) => self.ready_keys.push_back((slot, epoch, shard as u32, hash)),
            Admitted::KeyWaits(..) | Admitted::Queued => {}
        }
    }

    /// The broker has no record below `offset` that was not polled: moves past transaction markers and
    /// compacted records at the end of the log.
    pub fn end_of_partition(&mut self, slot: Slot, offset: Offset) {
        if let Some(partition) = self.partitions.get_mut(slot.0 as usize)
            && partition.phase == Phase::Active
            && partition.held.is_empty()
        {
            partition.dirty |= partition.progress.eof(offset);
        }
    }

    /// Does what can be done now: wakes keys, dispatches, regulates, commits, gives back. To be called after
    /// each round of inputs, and no later than [`next_due`](Machine::next_due).
    pub fn advance(&mut self, now: Time) {
        self.wake(now);
        // Regulating admits what was held, so it comes before what hands it out.
        self.regulate(now);
        self.dispatch(now);
        self.commit_if_due(now);
        self.give_back(now);
        // Giving back may have made a commit urgent.
        self.commit_if_due(now);
    }

    /// What shall be done, oldest first. Drain it after each call that takes something in.
    pub fn effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`advance`](Machine::advance) has something to do next, if nothing else happens.
    pub fn next_due(&self) -> Option<Time> {
        let retry = self.timers.peek().map(|Reverse(timer)| timer.due);
        let late = self.lanes_sent.front().filter(|_| !self.ready_lanes.is_empty() && !self.may_send_lane());
        let late = late.map(|(sent, _)| *sent + self.pacing.late_after());
        // Only if there is something to probe with: without it, being due would never end.
        let listed = !self.ready_keys.is_empty() || !self.ready_lanes.is_empty();
        let probe = self.circuit.due_at().filter(|_| listed && self.is_sure());
        [retry, late, probe, self.commit_due_at(), self.give_back_due_at(), self.pause_due_at()]
            .into_iter()
            .flatten()
            .min()
    }

    fn wake(&mut self, now: Time) {
        while let Some(Reverse(timer)) = self.timers.peek().copied()
            && timer.due <= now
        {
            self.timers.pop();
            let Timer { slot, epoch, shard, hash, .. } = timer;
            if let Some(partition) = live(&mut self.partitions, slot, epoch)
                && partition.shards[shard as usize].wake(hash, now)
            {
                self.ready_keys.push_back((slot, epoch, shard, hash));
            }
        }
    }

    /// Hands out work, keys and lanes in turn, as far as calls may be out.
    fn dispatch(&mut self, now: Time) {
        self.notice_late_lanes(now);
        if !self.is_sure() {
            // What ran now could not be published.
            return;
        }
        match self.circuit.admits(now) {
            Admits::All => loop {
                let lane = self.may_send_lane() && self.dispatch_lane(now);
                let key = self.may_send_key() && self.dispatch_key(now);
                if !lane && !key {
                    break;
                }
            },
            // What is listed may be gone: until something was sent.
            Admits::Probe => {
                while self.probe.is_none() && (self.dispatch_key(now) || self.dispatch_lane(now)) {}
            }
            Admits::Nothing => {}
        }
    }

    /// A lane whose call waits on the host keeps no worker busy, so another may go in its place.
    fn notice_late_lanes(&mut self, now: Time) {
        while let Some(&(sent, ticket)) = self.lanes_sent.front()
            && now.since(sent) >= self.pacing.late_after()
        {
            self.lanes_sent.pop_front();
            if let Some(out) = self.tickets.get(ticket).filter(|out| out.is_running()) {
                out.late = true;
                self.lanes_late += 1;
            }
        }
    }

    fn may_send_lane(&self) -> bool {
        // Half of the instances stay for keys with queues of their own.
        let more = if self.outputs_wait { 0 } else { self.lanes_late.min(self.options.calls / 2) };
        self.lanes_out < self.options.lanes + more && self.has_instance()
    }

    fn may_send_key(&self) -> bool {
        self.keys_out < self.options.calls && self.has_instance()
    }

    fn has_instance(&self) -> bool {
        self.lanes_out + self.keys_out < self.options.lanes + self.options.calls
    }

    /// Whether answers wait for room in the producer's queue. More calls would only add to them.
    pub fn outputs_wait(&mut self, wait: bool) {
        self.outputs_wait = wait;
    }

    /// Takes one lane off the ready list; false if it is empty.
    fn dispatch_lane(&mut self, now: Time) -> bool {
        let Some((slot, epoch, shard)) = self.ready_lanes.pop_front() else { return false };
        let keys = &mut self.ready_keys;
        let pacing = if self.circuit.admits(now) == Admits::Probe { &self.single } else { &self.pacing };
        let taken = live(&mut self.partitions, slot, epoch).filter(|p| p.phase == Phase::Active).and_then(
            |partition| {
                partition.shards[shard as usize].take_lane(pacing, &mut self.pool, |hash| {
                    keys.push_back((slot, epoch, shard, hash));
                })
            },
        );
        if let Some(taken) = taken {
            self.lanes_out += 1;
            let ticket = self.send(slot, epoch, shard, Source::Lane, taken, now);
            self.lanes_sent.push_back((now, ticket));
        }
        true
    }

    /// Takes one key off the ready list; false if it is empty.
    fn dispatch_key(&mut self, now: Time) -> bool {
        let Some((slot, epoch, shard, hash)) = self.ready_keys.pop_front() else { return false };
        let pacing = if self.circuit.admits(now) == Admits::Probe { &self.single } else { &self.pacing };
        let taken = live(&mut self.partitions, slot, epoch)
            .filter(|p| p.phase == Phase::Active)
            .and_then(|partition| partition.shards[shard as usize].take_key(hash, pacing, &mut self.pool));
        if let Some(taken) = taken {
            self.keys_out += 1;
            self.send(slot, epoch, shard, Source::Key(hash), taken, now);
        }
        true
    }

    fn send(
        &mut self,
        slot: Slot,
        epoch: Epoch,
        shard: u32,
        source: Source,
        taken: Taken,
        now: Time,
    ) -> Ticket {
        let Taken { batch, attempts, first_dispatch } = taken;
        let first_dispatch = first_dispatch.unwrap_or(now);
        let ticket = self.tickets.issue((slot, epoch, shard, source), (first_dispatch, attempts), &batch);
        if self.circuit.admits(now) == Admits::Probe {
            self.circuit.probe_sent();
            self.probe = Some(ticket);
        }
        let partition = &mut self.partitions[slot.0 as usize];
        partition.running += 1;
        self.effects.push_back(Effect::Dispatch(Work {
            ticket,
            epoch,
            origin: partition.name.clone(),
            allowance: self.pacing.allowance(batch.len()),
            batch,
            attempts,
            first_dispatch,
            dispatched: now,
            cancel: partition.cancel.clone(),
        }));
        ticket
    }

    /// The slot of an assigned partition.
    pub fn slot_of(&self, name: &TopicPartition) -> Option<Slot> {
        self.partitions.iter().find(|(_, p)| p.name == *name).map(|(index, _)| Slot(index as u32))
    }

    /// The slot of an assigned partition, by its parts.
    pub fn slot_named(&self, topic: &str, partition: i32) -> Option<Slot> {
        let named = |p: &Partition| p.name.partition == partition && &*p.name.topic == topic;
        self.partitions.iter().find(|(_, p)| named(p)).map(|(index, _)| Slot(index as u32))
    }

    /// All assigned partitions, by name.
    pub fn assigned_names(&self) -> impl Iterator<Item = TopicPartition> {
        self.partitions.iter().map(|(_, partition)| partition.name.clone())
    }

    /// The epoch of a partition that is assigned and not being given back.
    pub fn active_epoch(&self, name: &TopicPartition) -> Option<Epoch> {
        let active = |p: &Partition| p.phase == Phase::Active && p.name == *name;
        self.partitions.iter().find(|(_, p)| active(p)).map(|(_, partition)| partition.epoch)
    }

    /// Names the topic that an active partition was assigned of; `None`: it is not active, or the id is unknown.
    pub fn topic_tag(&self, name: &TopicPartition) -> Option<u32> {
        let slot = self.slot_of(name)?;
        let partition = self.partitions.get(slot.0 as usize).filter(|p| p.phase == Phase::Active)?;
        Some(partition.progress.topic_tag()).filter(|tag| *tag != 0)
    }

    /// Assigned partitions that records shall be fetched for.
    pub fn fetching(&self) -> impl Iterator<Item = TopicPartition> {
        let fetching = self.partitions.iter().filter(|(_, p)| p.phase == Phase::Active && !p.paused);
        fetching.map(|(_, partition)| partition.name.clone())
    }

    /// Where the client should be in an assigned partition: behind everything that was handed over.
    pub fn position_of(&self, name: &TopicPartition) -> Option<Offset> {
        let (_, partition) = self.partitions.iter().find(|(_, p)| p.name == *name)?;
        Some(partition.next())
    }

    fn partition(&self, slot: Slot, epoch: Epoch) -> Option<&Partition> {
        self.partitions.get(slot.0 as usize).filter(|p| p.epoch == epoch)
    }
}

/// The partition of this slot, if the epoch is still its own.
fn live(partitions: &mut Slab<Partition>, slot: Slot, epoch: Epoch) -> Option<&mut Partition> {
    partitions.get_mut(slot.0 as usize).filter(|p| p.epoch == epoch)
}
