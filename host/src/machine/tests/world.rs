//! A simulated world around one machine.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use fastrand::Rng;

use crate::batch::{Headers, Record, TopicPartition};
use crate::dispatch::pacing::Allowance;
use crate::dispatch::{Ordering, pacing};
use crate::ids::{Fuel, Offset};
use crate::machine::commit::{Entry, Reason};
use crate::machine::{Assigned, Bounds, Effect, InFlight, Machine, Options};
use crate::outcome::{Failure, Outcome};
use crate::progress::{self, Budget};
use crate::time::Time;
use crate::work::{CallRecord, Calls, Ended, Finished, Report, Retry, Ticket, Work};

const KEYS: i64 = 7;
const METADATA_LIMIT: usize = 400;

/// What a run went through.
#[derive(Debug, Default)]
pub struct Seen {
    pub completed: u64,
    pub retries: u64,
    pub revokes: u64,
}

/// What the broker holds of one partition, and what is true of its records.
#[derive(Default)]
struct Log {
    /// Offsets of its records, with holes.
    offsets: Vec<i64>,
    /// Past its last offset, markers included.
    end: i64,
    /// What a group would find: the last acknowledged commit.
    committed: Option<(Offset, String)>,
    /// Records that were reported done, with all their outputs acknowledged, under the present assignment
    /// or one whose commit says so.
    complete: BTreeSet<i64>,
    /// Next record to be polled.
    next: usize,
    assigned: bool,
    /// Counts its assignments.
    serial: u64,
    paused: bool,
    /// Last offset that took effect, by key, in this assignment.
    effect: HashMap<i64, i64>,
}

pub struct World {
    rng: Rng,
    machine: Machine,
    ordering: Ordering,
    now: Time,
    logs: BTreeMap<TopicPartition, Log>,
    /// Each with the assignment that it was started in.
    running: Vec<(Work, u64)>,
    /// Acknowledgements that are due, with what they complete.
    unacknowledged: Vec<(Ticket, u32)>,
    /// Records whose outputs are not all acknowledged, by ticket.
    publishing: HashMap<u64, (TopicPartition, Vec<i64>, u32)>,
    /// Each with the assignment that it was taken in.
    committing: Option<Vec<(TopicPartition, Offset, String, u64)>>,
    revoking: bool,
    stopped: bool,
    seen: Seen,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let ordering = [Ordering::Key, Ordering::Partition, Ordering::Unordered][rng.usize(..3)];
        let options = Options {
            ordering,
            shards: [1, 2, 8][rng.usize(..3)],
            lanes: rng.usize(1..5),
            calls: rng.usize(1..9),
            pacing: pacing::Bounds {
                records: rng.usize(1..20),
                bytes: rng.usize(100..2_000),
                time: Duration::from_millis(2),
                single: Allowance { fuel: Fuel(1_000), deadline: Duration::from_secs(5) },
            },
            in_flight: InFlight { records: rng.usize(1..1_000), bytes: 1 << 20 },
            commit_interval: Duration::from_millis(rng.u64(1..50)),
            budget: Budget::new(METADATA_LIMIT, false),
            metadata_limit: METADATA_LIMIT,
            give_back: Bounds {
                drain: Duration::from_millis(rng.u64(0..30)),
                interrupt: Duration::from_millis(5),
                commit: Duration::from_millis(500),
            },
            circuit: None,
            dead_letters: true,
            seed,
        };
        let mut logs = BTreeMap::new();
        for partition in 0..rng.i32(1..4) {
            let mut log = Log { end: rng.i64(0..5), ..Log::default() };
            for _ in 0..rng.usize(0..120) {
                // Compaction and transaction markers leave holes.
                log.end += if rng.u8(..10) == 0 { rng.i64(1..80) } else { 0 };
                log.offsets.push(log.end);
                log.end += 1;
            }
            log.end += rng.i64(0..3);
            logs.insert(TopicPartition { topic: "in".into(), partition }, log);
        }
        World {
            rng,
            machine: Machine::new(options),
            ordering,
            now: Time::ZERO,
            logs,
            running: Vec::new(),
            unacknowledged: Vec::new(),
            publishing: HashMap::new(),
            committing: None,
            revoking: false,
            stopped: false,
            seen: Seen::default(),
        }
    }

    /// Disturbed for a while, then left alone until everything is done; then stopped.
    pub fn run(mut self) -> Seen {
        for step in 0..self.rng.usize(50..400) {
            self.step(step % 7 != 0);
        }
        let mut patience = 200_000;
        while !self.is_done() {
            self.step(false);
            patience -= 1;
            assert!(patience > 0, "stalled: {:#?}", self.machine.partitions(self.now).collect::<Vec<_>>());
        }
        self.check_everything_done();
        self.machine.stop(self.now);
        for _ in 0..10_000 {
            if self.stopped {
                return self.seen;
            }
            self.step(false);
        }
        panic!("the machine does not stop");
    }

    fn step(&mut self, disturb: bool) {
        self.now = self.now + Duration::from_micros(self.rng.u64(0..3_000));
        match self.rng.u8(..if disturb { 24 } else { 20 }) {
            0..6 => self.poll(),
            6..12 => self.finish_one(),
            12..17 => self.acknowledge_one(),
            17..20 => self.reply_to_commit(),
            20 => self.revoke(),
            21 => self.lose(),
            _ => self.assign(),
        }
        if !disturb && !self.machine.is_stopping() {
            self.assign();
        }
        self.machine.advance(self.now);
        self.carry_out();
    }

    fn is_done(&self) -> bool {
        let all =
            |log: &Log| log.assigned && log.committed.as_ref().is_some_and(|(offset, _)| offset.0 >= log.end);
        self.logs.values().all(all)
    }

    fn check_everything_done(&self) {
        for (name, log) in &self.logs {
            let all = log.offsets.iter().all(|offset| log.complete.contains(offset));
            assert!(all, "{name}: a record was lost");
            assert_eq!(
                log.committed.as_ref().map(|(offset, _)| offset.0),
                Some(log.end),
                "{name}: lag is not 0"
            );
        }
    }

    fn assign(&mut self) {
        let free: Vec<_> =
            self.logs.iter().filter(|(_, log)| !log.assigned).map(|(name, _)| name.clone()).collect();
        if free.is_empty() || self.revoking || self.machine.is_stopping() {
            return;
        }
        let mut assigned = Vec::new();
        for name in free {
            let log = self.logs.get_mut(&name).expect("it was just listed");
            let start =
                log.committed.as_ref().map_or(log.offsets.first().copied().unwrap_or(0), |(o, _)| o.0);
            log.next = log.offsets.partition_point(|&offset| offset < start);
            log.assigned = true;
            log.serial += 1;
            log.paused = false;
            log.effect.clear();
            // What no commit says was done is to be done again.
            log.complete = log
                .committed
                .as_ref()
                .map_or_else(BTreeSet::new, |(o, m)| said_complete(&log.offsets, *o, m));
            assigned.push(Assigned {
                partition: name,
                start: Offset(start),
                metadata: log.committed.as_ref().map(|(_, metadata)| metadata.clone().into_bytes()),
                commit_start: log.committed.is_none(),
                topic_tag: 7,
                log_end: Some(Offset(log.end)),
            });
        }
        self.machine.assigned(&assigned, self.now);
    }

    fn some_assigned(&mut self) -> Vec<TopicPartition> {
        let rng = &mut self.rng;
        let assigned = self.logs.iter().filter(|(_, log)| log.assigned).map(|(name, _)| name.clone());
        assigned.filter(|_| rng.bool()).collect()
    }

    fn revoke(&mut self) {
        let parts = self.some_assigned();
        if !parts.is_empty() && !self.revoking {
            self.revoking = true;
            self.seen.revokes += 1;
            self.machine.revoke(&parts, self.now);
        }
    }

    fn lose(&mut self) {
        if self.revoking {
            return;
        }
        let parts = self.some_assigned();
        self.machine.lost(&parts);
        for part in parts {
            self.given_back(&part);
        }
    }

    fn given_back(&mut self, part: &TopicPartition) {
        self.logs.get_mut(part).expect("it is one of ours").assigned = false;
        self.publishing.retain(|_, (origin, ..)| origin != part);
    }

    fn poll(&mut self) {
        if !self.machine.may_consume() {
            return;
        }
        let names: Vec<_> = self.logs.keys().cloned().collect();
        let name = &names[self.rng.usize(..names.len())];
        let count = self.rng.usize(1..30);
        let ask = self.rng.bool();
        let Some(slot) = self.machine.slot_of(name) else { return };
        let log = self.logs.get_mut(name).expect("it is one of ours");
        if log.paused {
            return;
        }
        for _ in 0..count {
            match log.offsets.get(log.next) {
                Some(&offset) => {
                    let key = [(offset % KEYS) as u8];
                    self.machine.admit(slot, &record(offset, &key));
                    log.next += 1;
                }
                None => self.machine.end_of_partition(slot, Offset(log.end)),
            }
        }
        // The host asks the client for its position now and then: behind the last record handed out.
        if ask && log.next > 0 {
            self.machine.end_of_partition(slot, Offset(log.offsets[log.next - 1] + 1));
        }
    }

    fn finish_one(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let (work, serial) = self.running.swap_remove(self.rng.usize(..self.running.len()));
        let mut report = self.report(&work);
        let cancelled = work.cancel.is_cancelled();
        if cancelled && self.rng.bool() {
            report = Report { revoked: true, ..Report::default() };
        }
        let open: BTreeSet<u32> =
            report.retries.iter().map(|retry| retry.index).chain(report.not_run.iter().copied()).collect();
        let done = (0..work.batch.len() as u32).filter(|index| !open.contains(index) && !report.revoked);
        let done: Vec<i64> = done.map(|index| work.batch.offsets()[index as usize]).collect();
        // The same ticket after its epoch is over means nothing.
        let alive = self.logs[&work.origin].assigned && self.logs[&work.origin].serial == serial;
        if alive {
            let log = self.logs.get_mut(&work.origin).expect("it is one of ours");
            for &offset in &done {
                let key = match self.ordering {
                    Ordering::Key => offset % KEYS,
                    Ordering::Partition => 0,
                    Ordering::Unordered => offset,
                };
                let before = log.effect.insert(key, offset);
                assert!(
                    before.is_none_or(|before| before < offset),
                    "key {key}: {offset} took effect after {before:?}"
                );
            }
            if report.published == 0 {
                self.complete(&work.origin, &done);
            } else {
                let ticket = ticket_bits(work.ticket);
                self.publishing.insert(ticket, (work.origin.clone(), done, report.published));
            }
        }
        for _ in 0..report.published {
            self.unacknowledged.push((work.ticket, 1));
        }
        self.seen.retries += report.retries.len() as u64;
        let finished = Finished { ticket: work.ticket, epoch: work.epoch, batch: work.batch, report };
        self.machine.finished(finished, self.now);
    }

    /// An honest worker: what follows a retried record of a key is discarded with it.
    fn report(&mut self, work: &Work) -> Report {
        let mut report = Report::default();
        let hashes = work.batch.hashes();
        let disperse = work.batch.len() > 1 && self.rng.u8(..20) == 0;
        let mut blocked = Vec::new();
        for index in 0..work.batch.len() as u32 {
            let hash = hashes[index as usize];
            if disperse || blocked.contains(&hash) {
                report.not_run.push(index);
            } else if work.attempts < 4 && self.rng.u8(..12) == 0 {
                blocked.push(hash);
                let failure = Failure::of(Outcome::Trap, "simulated");
                report.retries.push(Retry {
                    index,
                    delay: Duration::from_micros(self.rng.u64(0..20_000)),
                    failure,
                });
            } else if self.rng.u8(..30) == 0 {
                report.given_up.push((index, Outcome::Rejected));
            }
        }
        report.alone = disperse;
        report.published = if disperse { 0 } else { self.rng.u32(..4) };
        let micros = if self.rng.u8(..3) == 0 { 1_000 } else { 10 };
        let waited = Duration::from_millis(if self.rng.u8(..10) == 0 { 20 } else { 0 });
        let call = CallRecord {
            records: work.batch.len() as u32,
            spent: Duration::from_micros(self.rng.u64(1..micros)) * work.batch.len() as u32,
            waited,
            fuel: Fuel(10),
            ended: Ended::Complete,
        };
        report.calls = Calls { each: vec![call] };
        report
    }

    fn complete(&mut self, name: &TopicPartition, offsets: &[i64]) {
        let log = self.logs.get_mut(name).expect("it is one of ours");
        for &offset in offsets {
            assert!(log.complete.insert(offset), "{name}: {offset} completed twice");
            self.seen.completed += 1;
        }
    }

    fn acknowledge_one(&mut self) {
        if self.unacknowledged.is_empty() {
            return;
        }
        let (ticket, count) = self.unacknowledged.swap_remove(self.rng.usize(..self.unacknowledged.len()));
        if let Some((name, offsets, left)) = self.publishing.get_mut(&ticket_bits(ticket)) {
            *left -= count;
            if *left == 0 {
                let (name, offsets) = (name.clone(), std::mem::take(offsets));
                self.publishing.remove(&ticket_bits(ticket));
                self.complete(&name, &offsets);
            }
        }
        self.machine.acknowledged(ticket, count, self.now);
    }

    fn reply_to_commit(&mut self) {
        let Some(entries) = self.committing.take() else { return };
        let mut replies = Vec::new();
        for (name, offset, metadata, serial) in entries {
            if self.rng.u8(..6) == 0 {
                replies.push((name, Err(Reason::Coordinator)));
            } else {
                let log = self.logs.get_mut(&name).expect("it is one of ours");
                // A lost partition is somebody else's: the broker fences this member.
                if log.assigned && log.serial == serial {
                    log.committed = Some((offset, metadata));
                    replies.push((name, Ok(())));
                } else {
                    replies.push((name, Err(Reason::Rebalance)));
                }
            }
        }
        self.machine.commit_replied(&replies, self.now);
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.machine.effect() {
            match effect {
                Effect::Dispatch(work) => self.start(work),
                Effect::Pause(name) => self.pause(&name, true),
                Effect::Resume(name) => self.pause(&name, false),
                Effect::Commit(entries) => {
                    assert!(self.committing.is_none(), "two commits at once");
                    for entry in &entries {
                        self.check_commit(&entry.partition, entry.offset, &entry.metadata);
                    }
                    let with_serial = |entry: Entry| {
                        let serial = self.logs[&entry.partition].serial;
                        (entry.partition, entry.offset, entry.metadata, serial)
                    };
                    self.committing = Some(entries.into_iter().map(with_serial).collect());
                }
                Effect::Unassign(names) => {
                    self.revoking = false;
                    for name in names {
                        self.given_back(&name);
                    }
                }
                Effect::DeadLetter(_) => panic!("no output was refused"),
                Effect::Stopped(how) => {
                    assert_eq!(how.failure, None);
                    self.stopped = true;
                }
            }
        }
    }

    fn pause(&mut self, name: &TopicPartition, paused: bool) {
        self.logs.get_mut(name).expect("it is one of ours").paused = paused;
    }

    fn start(&mut self, work: Work) {
        let log = &self.logs[&work.origin];
        assert!(!work.batch.is_empty());
        for (&offset, hash) in work.batch.offsets().iter().zip(work.batch.hashes()) {
            assert!(
                !log.complete.contains(&offset),
                "{}: {offset} runs again though it is complete",
                work.origin
            );
            let same_key = |(other, _): &(Work, u64)| {
                other.origin == work.origin
                    && other.epoch == work.epoch
                    && other.batch.hashes().contains(hash)
            };
            assert!(
                !self.running.iter().any(same_key),
                "{}: the key of {offset} is in two calls",
                work.origin
            );
        }
        assert!(work.batch.offsets().is_sorted());
        assert!(work.attempts == 0 || work.batch.len() == 1, "a retried record has company");
        let serial = log.serial;
        self.running.push((work, serial));
    }

    fn check_commit(&self, name: &TopicPartition, offset: Offset, metadata: &str) {
        let log = &self.logs[name];
        let unfinished = |&&o: &&i64| o < offset.0 && !log.complete.contains(&o);
        let passed = log.offsets.iter().find(unfinished);
        assert_eq!(passed, None, "{name}: a commit of {offset} passes an unfinished record");
        assert!(offset.0 <= log.end);
        assert!(metadata.len() <= METADATA_LIMIT);
        assert_eq!(
            said_complete(&log.offsets, offset, metadata),
            log.complete,
            "{name}: the commit does not say exactly what is complete"
        );
    }
}

/// The records that a commit says are complete.
fn said_complete(offsets: &[i64], base: Offset, metadata: &str) -> BTreeSet<i64> {
    let read = || progress::decode(metadata.as_bytes(), base, 7).expect("our own metadata can be read");
    let restored = (!metadata.is_empty()).then(read);
    let above = |offset: i64| restored.as_ref().is_some_and(|restored| restored.is_completed(Offset(offset)));
    offsets.iter().copied().filter(|&offset| offset < base.0 || above(offset)).collect()
}

fn record(offset: i64, key: &[u8]) -> Record<'_> {
    Record {
        offset: Offset(offset),
        timestamp: -1,
        key: Some(key),
        value: Some(b"v"),
        headers: Headers::None,
    }
}

fn ticket_bits(ticket: Ticket) -> u64 {
    u64::from(ticket.serial) << 32 | u64::from(ticket.index)
}
