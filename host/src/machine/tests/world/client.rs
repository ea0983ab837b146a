//! The Kafka client's part: records handed out, fetching paused and resumed, and who produces them.

use super::World;
use super::log::{Owner, State};
use super::shape::Kind;
use crate::batch::TopicPartition;
use crate::ids::Offset;
use crate::machine::tests::seen::Sight;

impl World {
    /// Somebody produces.
    pub(super) fn produce(&mut self) {
        let index = self.rng.usize(..self.logs.len());
        let more = self.rng.usize(..60);
        let log = &mut self.logs[index];
        log.written = log.records.len().min(log.written + more);
        note!(self, "{}: the log ends at {}", self.logs[index].name, self.logs[index].end());
    }

    pub(super) fn poll_one(&mut self) {
        let index = self.rng.usize(..self.logs.len());
        self.poll(index);
    }

    /// Takes records of one partition from the client's queue, once a turn.
    pub(super) fn poll(&mut self, index: usize) {
        let log = &self.logs[index];
        if self.polled & 1 << index != 0
            || log.paused
            || !matches!(log.owner, Owner::Host)
            || !self.machine.may_consume()
        {
            return;
        }
        self.polled |= 1 << index;
        let Some(slot) = self.machine.slot_of(&log.name) else {
            super::broken(format!("{} is assigned and the machine does not know it", log.name))
        };
        let count = self.rng.usize(1..60).min(self.machine.room());
        if !self.takes_records(index) {
            // The client still had it in its queue; nothing may come of it.
            if let Some(record) =
                self.logs[index].records[..self.logs[index].written].get(self.logs[index].next)
            {
                self.machine.admit(slot, &record.record());
            }
            return;
        }
        self.check_room(index);
        self.deliver_again(index);
        let log = &mut self.logs[index];
        let from = log.next;
        let mut restored = 0;
        while log.next < log.written.min(from + count) {
            self.machine.admit(slot, &log.records[log.next].record());
            let known = log.next >= log.handed && log.lives[log.next].state == State::Done;
            restored += usize::from(known);
            log.hand_over();
        }
        let (next, written) = (log.next, log.written);
        for _ in 0..restored {
            self.seen.saw(Sight::Restored);
        }
        if next > from {
            self.events += 1;
            note!(
                self,
                "{}: polled records {from}..{next}, offsets {}..={}",
                self.logs[index].name,
                self.logs[index].records[from].offset,
                self.logs[index].records[next - 1].offset
            );
        }
        if !self.machine.partitions[slot.0 as usize].held.is_empty() {
            self.seen.saw(Sight::Held);
        }
        // The host asks the client for its position now and then: behind the last record handed out, and at
        // the log's end behind the markers.
        let log = &self.logs[index];
        let position = if next == written && next == log.handed {
            Some(log.end())
        } else {
            next.checked_sub(1).map(|last| log.records[last].offset + 1)
        };
        if let Some(position) = position.filter(|_| self.calm || self.rng.bool()) {
            let before = self.machine.position_of(&log.name);
            self.machine.end_of_partition(slot, Offset(position));
            if self.machine.position_of(&self.logs[index].name) != before {
                self.events += 1;
                note!(self, "{}: the client's position is {position}", self.logs[index].name);
            }
        }
    }

    /// The client goes back a little, as it may around a pause.
    fn deliver_again(&mut self, index: usize) {
        if self.strikes(Kind::Redelivery, 8) {
            let back = self.rng.usize(1..10);
            let log = &mut self.logs[index];
            let again = log.next.saturating_sub(back).max(log.first).min(log.next);
            if again < log.next {
                log.next = again;
                self.seen.saw(Sight::Redelivered);
                note!(self, "{}: the client delivers again from record {again} on", self.logs[index].name);
            }
        }
    }

    pub(super) fn pause(&mut self, name: &TopicPartition) {
        note!(self, "      pause {name}");
        self.seen.saw(Sight::Paused);
        let index = self.index_of(name);
        promise!(self.takes_records(index), "{name} is paused though it takes no records");
        let log = &mut self.logs[index];
        promise!(!log.paused, "{name} is paused twice");
        log.paused = true;
    }

    /// What was fetched ahead is gone: the client goes on where the machine says.
    pub(super) fn resume(&mut self, name: &TopicPartition) {
        note!(self, "      resume {name}");
        self.seen.saw(Sight::Resumed);
        let index = self.index_of(name);
        let position = self.machine.position_of(name).map_or(-1, |position| position.0);
        let log = &mut self.logs[index];
        promise!(log.paused, "{name} is resumed and was not paused");
        log.paused = false;
        log.next = log.index_from(position);
        let (next, handed) = (log.next, log.handed);
        promise!(next == handed, "{name} is resumed at record {next}, but {handed} were handed over");
    }
}
