//! The producer's part: outputs and dead letters are acknowledged in any order, or refused for good.

use super::World;
use super::shape::Kind;
use crate::machine::RefusedRecord;
use crate::machine::tests::seen::Sight;
use crate::outcome::{Failure, Outcome};
use crate::work::Ticket;

/// What the producer holds.
pub struct Output {
    pub ticket: Ticket,
    /// The record of the batch that it belongs to.
    pub index: u32,
    pub letter: bool,
    /// Published by a call that was broken off: nobody counts it.
    pub stray: bool,
}

impl World {
    /// The broker says what became of some output.
    pub(super) fn settle_output(&mut self) {
        if self.outputs.is_empty() || self.silence > 0 {
            return;
        }
        self.events += 1;
        let output = self.outputs.swap_remove(self.rng.usize(..self.outputs.len()));
        let Output { ticket, index, letter, stray } = output;
        if letter && self.strikes(Kind::LostLetters, 40) {
            self.lose_letter(ticket);
            return;
        }
        if !letter && !stray && self.strikes(Kind::Refusals, 12) {
            note!(self, "the broker refuses an output of {ticket:?} record {index}");
            let failure = Failure::of(Outcome::HostError, "too large");
            self.machine.output_refused(ticket, index, failure, self.now);
            match self.open.get_mut(&ticket) {
                Some(open) if !open.answered => open.refused.push(index),
                Some(_) => {
                    self.seen.saw(Sight::RefusedAfterReport);
                    self.refuse(ticket, index);
                    self.complete_if_settled(ticket);
                }
                None => {}
            }
            return;
        }
        let mut count = 1;
        // Acknowledgements that come together are counted together.
        if self.rng.bool() {
            let before = self.outputs.len();
            self.outputs.retain(|other| other.ticket != ticket || other.stray || other.letter);
            count += (before - self.outputs.len()) as u32;
        }
        note!(self, "{count} acknowledged of {ticket:?}");
        self.machine.acknowledged(ticket, count, self.now);
        if let Some(open) = self.open.get_mut(&ticket) {
            open.settled += count;
            self.complete_if_settled(ticket);
        }
    }

    /// An output was refused: the record is dead-lettered, once, or the pipeline stops.
    pub(super) fn refuse(&mut self, ticket: Ticket, index: u32) {
        let Some(open) = self.open.get_mut(&ticket) else { return };
        let (log, serial) = (open.log, open.serial);
        let record = open.records[index as usize];
        if !self.is_alive(log, serial) {
            self.settle(ticket);
        } else if !self.options.dead_letters {
            self.seen.saw(Sight::RefusedWithoutLetters);
            self.has_failed();
        } else {
            self.settle(ticket);
            let Some(open) = self.open.get_mut(&ticket) else { return };
            if !open.lettered.contains(&index) {
                open.lettered.push(index);
                open.published += 1;
                open.given_up += 1;
                let offset = self.logs[log].records[record].offset;
                self.owed_letters.push((ticket, offset, open.attempts + 1));
            }
        }
    }

    fn settle(&mut self, ticket: Ticket) {
        if let Some(open) = self.open.get_mut(&ticket) {
            open.settled += 1;
        }
    }

    /// What is answered and acknowledged is complete.
    pub(super) fn complete_if_settled(&mut self, ticket: Ticket) {
        if !self.open.get(&ticket).is_some_and(|open| open.answered && open.settled >= open.published) {
            return;
        }
        let Some(open) = self.open.remove(&ticket) else { return };
        if !self.is_alive(open.log, open.serial) {
            return;
        }
        let log = &mut self.logs[open.log];
        log.unacknowledged -= 1;
        log.failed += u64::from(open.given_up);
        for record in open.done {
            promise!(log.complete(record), "{}: completed twice", log.name);
            self.seen.saw(Sight::Completed);
        }
    }

    /// The machine wants a dead letter published.
    pub(super) fn take_letter(&mut self, refused: RefusedRecord) {
        let RefusedRecord { ticket, record, attempts, .. } = &refused;
        let (ticket, offset) = (*ticket, record.offset().0);
        note!(self, "      dead letter of {ticket:?} offset {offset}");
        let owed = self.owed_letters.iter().position(|owed| *owed == (ticket, offset, *attempts));
        let Some(owed) = owed else {
            super::broken(format!(
                "{}: a dead letter of {offset}, attempt {attempts}, is wrong or the second",
                refused.origin
            ))
        };
        self.owed_letters.swap_remove(owed);
        let log = &self.logs[self.index_of(&refused.origin)];
        let Some(index) = log.index_of(offset) else {
            super::broken(format!("a dead letter of no record: {offset}"))
        };
        promise!(
            record.record() == log.records[index].record(),
            "the dead letter of {offset} is another record"
        );
        self.letters.push_back(refused);
    }

    /// The producer takes a dead letter, or refuses it at once.
    pub(super) fn send_letter(&mut self) {
        let Some(refused) = self.letters.pop_front() else { return };
        self.events += 1;
        if self.strikes(Kind::LostLetters, 20) {
            self.lose_letter(refused.ticket);
        } else {
            self.outputs.push(Output { ticket: refused.ticket, index: 0, letter: true, stray: false });
        }
    }

    /// A dead letter is refused for good: nothing may pass its record, and the pipeline stops.
    fn lose_letter(&mut self, ticket: Ticket) {
        note!(self, "a dead letter of {ticket:?} is refused");
        self.seen.saw(Sight::LetterRefused);
        self.machine.dead_letter_refused(ticket, 0, "simulated", self.now);
        self.has_failed();
    }
}
