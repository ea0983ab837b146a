//! The promises, against the naive model.

use super::World;
use super::broker::told_complete;
use super::log::{Life, Log, Owner, State};
use crate::dispatch::Shard;
use crate::ids::Offset;
use crate::machine::Stopped;
use crate::machine::partition::{Partition, Phase};
use crate::machine::tests::seen::Sight;
use crate::progress::{self, Restored};
use crate::time::Time;

/// A partition may hold so many records and bytes, however many partitions there are.
const LEAST_RECORDS: usize = 256;
const LEAST_BYTES: usize = 1 << 20;

impl World {
    /// After every turn.
    pub(super) fn check(&mut self) {
        self.check_what_is_out();
        for (_, partition) in &self.machine.partitions {
            let log = self.logs.iter_mut().find(|log| log.name == partition.name);
            match log.filter(|log| matches!(log.owner, Owner::Host)) {
                Some(log) => check_partition(partition, log),
                None => super::broken(format!("the machine holds {} and should not", partition.name)),
            }
        }
        let ours = self.logs.iter().filter(|log| matches!(log.owner, Owner::Host)).count();
        let known = self.machine.partitions.len();
        promise!(ours == known, "the group gave {ours} partitions, the machine holds {known}");
        // After a commit that the client did not take the next one may be due at once.
        let at_once = std::mem::take(&mut self.not_taken);
        if let Some(due) = self.machine.next_due().filter(|_| !at_once) {
            promise!(due > self.now, "the loop would spin: the next is due at once");
        }
        if let Some(revoking) = &self.revoking {
            promise!(self.now < revoking.until, "giving back takes longer than its bounds");
        }
        if let Some(until) = self.stopping {
            promise!(self.stopped || self.now < until, "stopping takes longer than its bounds");
        }
    }

    /// Nothing that is out is forgotten, and no more is out than may be.
    fn check_what_is_out(&self) {
        let (lanes, keys) = (self.machine.lanes_out, self.machine.keys_out);
        let out = self.calls.len() + self.reports.len();
        promise!(
            lanes + keys == out,
            "{out} calls are out, the machine counts {lanes} lanes and {keys} keys"
        );
        // Lanes that wait for long leave their places to others, but half of the instances are kept for keys.
        let most = self.options.lanes + self.options.calls / 2;
        promise!(lanes <= most, "{lanes} lanes are out, not {most}");
        let most = self.options.lanes + self.options.calls;
        promise!(out <= most, "{out} calls are out, not {most}");
        promise!(keys <= self.options.calls, "{keys} calls of keys are out");
        // What can run does: nothing waits for an input that may not come.
        let (lane, key) = (self.machine.may_send_lane(), self.machine.may_send_key());
        let waiting = (&self.machine.ready_lanes, &self.machine.ready_keys);
        promise!(!lane || waiting.0.is_empty(), "lanes are ready and not started: {:?}", waiting.0);
        promise!(!key || waiting.1.is_empty(), "keys are ready and not started: {:?}", waiting.1);
        let (open, counted) = (self.open.len(), self.machine.outstanding());
        promise!(
            open == counted,
            "{open} pieces of work are out or unacknowledged, the machine has {counted}"
        );
    }

    /// Before a poll: the bounds in flight hold, so a chunk more is the most that there will ever be.
    pub(super) fn check_room(&self, index: usize) {
        let log = &self.logs[index];
        let bound = self.options.in_flight;
        let records = (bound.records / self.sharers).max(LEAST_RECORDS);
        let bytes = (bound.bytes / self.sharers).max(LEAST_BYTES);
        promise!(
            log.open <= records && log.bytes <= bytes,
            "{}: records are taken though {} of {records} are in flight, {} of {bytes} bytes",
            log.name,
            log.open,
            log.bytes
        );
    }

    /// A commit, of whoever owns the partition: it passes nothing unfinished and says exactly what is done.
    pub(super) fn check_commit(&mut self, index: usize, offset: i64, metadata: &[u8]) {
        let (truncates, most) = (self.truncates, self.options.budget.max_chars());
        let log = &mut self.logs[index];
        let name = log.name.clone();
        promise!(
            !matches!(log.owner, Owner::Nobody | Owner::Assigning),
            "{name}: a commit of somebody else's"
        );
        let first = log.first_unfinished();
        let reach = reach(log, first);
        promise!(offset <= reach, "{name}: a commit at {offset} passes {reach}, which is not complete");
        let last = std::mem::replace(&mut log.last_commit, offset);
        promise!(last <= offset, "{name}: a commit at {offset} follows one at {last}");
        promise!(metadata.len() <= most, "{name}: {} characters of metadata, not {most}", metadata.len());
        let restored = match progress::decode(metadata, Offset(offset), log.tag) {
            Ok(restored) => restored,
            Err(reason) => {
                super::broken(format!("{name}: a commit at {offset} cannot be read back: {reason}"))
            }
        };
        if told_exactly(log, offset, &restored, truncates) {
            self.seen.saw(Sight::Truncated);
        }
    }

    /// What the group asked for was answered in time, with everything that completed committed.
    pub(super) fn check_given_back(&mut self, index: usize, since: Time) {
        let log = &self.logs[index];
        let late = self.now.since(since) >= self.options.give_back.commit;
        let (base, restored) = told_complete(log, log.committed.as_ref());
        let complete = |index: usize| {
            let offset = log.records[index].offset;
            let told = restored.as_ref().is_some_and(|restored| restored.is_completed(Offset(offset)));
            offset < base || told
        };
        let forgotten = (log.first..log.handed).find(|&index| log.is_done(index) && !complete(index));
        match forgotten.map(|forgotten| log.records[forgotten].offset) {
            Some(_) if late => self.seen.saw(Sight::GivenBackLate),
            Some(offset) if !log.blurred && !self.truncates => super::broken(format!(
                "{}: given back though {offset} is complete and not committed",
                log.name
            )),
            _ => {}
        }
    }

    /// Whatever still runs for a partition that is gone was told to end.
    pub(super) fn check_cancelled(&self, index: usize) {
        let serial = self.logs[index].serial;
        let mut calls = self.calls.iter().filter(|call| call.log == index && call.serial == serial);
        let told = calls.all(|call| call.work.cancel.is_cancelled());
        promise!(told, "{}: a call of a partition that is gone was not told to end", self.logs[index].name);
    }

    /// At the end of the machine.
    pub(super) fn check_stopped(&self, how: &Stopped) {
        let left = self.machine.partitions.len();
        promise!(left == 0, "stopped with {left} partitions that were not given back");
        promise!(self.stopping.is_some(), "stopped, and nobody asked for it");
        let (failed, failing) = (how.failure.is_some(), self.failing);
        promise!(failed == failing, "stopped with {:?}, but it has failed: {failing}", how.failure);
    }

    pub(super) fn check_all_is_done(&mut self) {
        for log in &mut self.logs {
            let first = log.first_unfinished();
            promise!(first == log.records.len(), "{}: record {first} was lost", log.name);
            let committed = log.committed.as_ref().map(|committed| committed.offset);
            promise!(committed == Some(log.end()), "{}: lag is not 0: {committed:?}", log.name);
            promise!(log.open == 0 && log.bytes == 0, "{}: {} records are in flight", log.name, log.open);
        }
        promise!(self.open.is_empty(), "at the end {} pieces of work are out", self.open.len());
    }

    pub(super) fn check_all_is_done_and_given_back(&self) {
        for log in &self.logs {
            let committed = log.committed.as_ref().map(|committed| committed.offset);
            promise!(committed == Some(log.end()), "{}: lag is not 0 after the stop", log.name);
        }
        promise!(self.open.is_empty(), "after the stop {} pieces of work are out", self.open.len());
    }

    /// Why nothing goes on, for people.
    pub(super) fn stuck(&self) -> String {
        let view = |view: crate::machine::PartitionView| {
            let blocked = view.blocked.map(|blocked| (blocked.offset, blocked.by));
            format!(
                "{} position {} safe {} committed {:?} in flight {} paused {} ending {} blocked {blocked:?}",
                view.name, view.position, view.safe, view.committed, view.in_flight, view.paused, view.ending
            )
        };
        self.machine.partitions(self.now).map(view).collect::<Vec<_>>().join("; ")
    }
}

/// No commit may pass this: the first record that is not complete, or the log's end.
fn reach(log: &Log, first: usize) -> i64 {
    log.records.get(first).map_or(log.end(), |record| record.offset.min(log.end()))
}

/// The machine's view of a partition is the model's.
fn check_partition(partition: &Partition, log: &mut Log) {
    let first = log.first_unfinished();
    let name = &log.name;
    promise!(partition.epoch == log.epoch, "{name}: epoch {} is over", partition.epoch);
    let (running, waiting) = (partition.running, partition.unacknowledged);
    promise!(running == log.calls, "{name}: {} calls are out, the machine has {running}", log.calls);
    promise!(
        waiting == log.unacknowledged,
        "{name}: {} answers are not acknowledged, the machine has {waiting}",
        log.unacknowledged
    );
    let (succeeded, failed) = (partition.counters.succeeded, partition.counters.failed);
    promise!(
        failed == log.failed && succeeded + failed == log.completed,
        "{name}: {} records completed and {} were given up, the machine counts {succeeded} and {failed}",
        log.completed,
        log.failed
    );
    let (safe, reach) = (partition.progress.safe().0, reach(log, first));
    promise!(safe <= reach, "{name}: the safe offset {safe} passes {reach}, which is not complete");
    if partition.phase != Phase::Active {
        return;
    }
    let (records, bytes) = (partition.in_flight(), partition.bytes);
    promise!(
        records == log.open && bytes == log.bytes,
        "{name}: {} records of {} bytes are in flight, the machine has {records} of {bytes}",
        log.open,
        log.bytes
    );
    // Each record that waits stands in exactly one queue.
    let waits = |life: &&Life| life.state == State::Waits;
    let waiting = log.lives[first..log.handed.max(first)].iter().filter(waits).count();
    let queued = partition.held.len() + partition.shards.iter().map(Shard::queued).sum::<usize>();
    promise!(waiting == queued, "{name}: {waiting} records wait, {queued} stand in queues");
    if first < log.handed && partition.held.is_empty() {
        promise!(safe == reach, "{name}: the safe offset is {safe}, and {reach} is the first unfinished");
    }
}

/// Compares what a commit says with what is done. True if it leaves records out, which it may if its metadata
/// is full.
fn told_exactly(log: &Log, base: i64, restored: &Restored, truncates: bool) -> bool {
    let mut left_out = false;
    for index in log.index_from(base).max(log.first)..log.records.len() {
        let offset = log.records[index].offset;
        let told = restored.is_completed(Offset(offset));
        let done = log.lives[index].state == State::Done;
        if done && !told && truncates && offset >= restored.horizon().0 {
            left_out = true;
            continue;
        }
        promise!(
            told == done,
            "{}: a commit at {base} says that {offset} is {}complete",
            log.name,
            if told { "" } else { "not " }
        );
    }
    left_out
}
