//! The workers' part: calls end in any order, and what they report is honest.

use std::collections::BTreeSet;
use std::time::Duration;

use super::World;
use super::log::State;
use super::producer::Output;
use super::shape::Kind;
use crate::dispatch::Source;
use crate::ids::Fuel;
use crate::machine::tests::seen::Sight;
use crate::outcome::{Failure, Outcome};
use crate::time::Time;
use crate::work::{CallRecord, Calls, Ended, Finished, Halt, Report, Retry, Ticket, Work};

/// Work at a worker.
pub struct Call {
    pub work: Work,
    pub log: usize,
    pub serial: u64,
    /// Its records.
    records: Vec<usize>,
}

/// A report on its way.
pub struct Reported {
    finished: Finished,
    log: usize,
    serial: u64,
    /// Records that need no other call.
    done: Vec<usize>,
}

/// The model of work that is out, from its dispatch to its last acknowledgement.
pub struct Open {
    pub log: usize,
    pub serial: u64,
    pub attempts: u32,
    /// The records of its batch.
    pub records: Vec<usize>,
    /// Records that its acknowledgements complete.
    pub done: Vec<usize>,
    pub published: u32,
    pub settled: u32,
    pub given_up: u32,
    pub answered: bool,
    /// Refused before the report was there.
    pub refused: Vec<u32>,
    /// Records of the batch that are dead-lettered or skipped.
    pub lettered: Vec<u32>,
}

impl World {
    pub(super) fn start_call(&mut self, work: Work) {
        note!(
            self,
            "      call {:?} {} {:?} attempts {}",
            work.ticket,
            work.origin,
            work.batch.offsets(),
            work.attempts
        );
        let log = self.index_of(&work.origin);
        let records = self.check_dispatch(log, &work);
        let serial = self.logs[log].serial;
        for &index in &records {
            self.logs[log].lives[index].state = State::Out;
        }
        self.logs[log].calls += 1;
        if self.machine.tickets.get(work.ticket).is_some_and(|out| matches!(out.source, Source::Key(_))) {
            self.seen.saw(Sight::KeyedCall);
        }
        let open = Open {
            log,
            serial,
            attempts: work.attempts,
            records: records.clone(),
            done: Vec::new(),
            published: 0,
            settled: 0,
            given_up: 0,
            answered: false,
            refused: Vec::new(),
            lettered: Vec::new(),
        };
        let before = self.open.insert(work.ticket, open);
        promise!(before.is_none(), "{:?} names two pieces of work", work.ticket);
        self.calls.push(Call { work, log, serial, records });
    }

    /// Some call comes to its end: its outputs are in the producer, its report is on its way.
    pub(super) fn end_call(&mut self) {
        if self.calls.is_empty() || self.silence > 0 {
            return;
        }
        self.events += 1;
        if self.rng.u8(..100) == 0 {
            self.slow = !self.slow;
        }
        if self.rng.u8(..30) == 0 {
            // Answers find the producer's queue full, or find room again.
            let wait = !self.calm && self.rng.bool();
            self.machine.outputs_wait(wait);
        }
        let call = self.calls.swap_remove(self.rng.usize(..self.calls.len()));
        let cancelled = call.work.cancel.is_cancelled();
        if cancelled {
            self.seen.saw(Sight::Interrupted);
        }
        let kept = self.is_alive(call.log, call.serial) && self.takes_records(call.log);
        promise!(!(kept && cancelled), "{}: a call is told to end for nothing", call.work.origin);
        let ticket = call.work.ticket;
        let report = if cancelled && self.rng.bool() {
            self.publish_strays(ticket);
            Report { revoked: true, ..Report::default() }
        } else if self.strikes(Kind::Failures, 40) {
            self.publish_strays(ticket);
            self.seen.saw(Sight::Panicked);
            let all = 0..call.records.len() as u32;
            Report { not_run: all.collect(), alone: true, ..Report::default() }
        } else {
            self.answer(&call.work)
        };
        let done = self.take_effect(&call, &report);
        note!(self, "call {ticket:?} ends: {}", told(&report));
        let Call { work, log, serial, .. } = call;
        let finished = Finished { ticket, epoch: work.epoch, batch: work.batch, report };
        self.reports.push_back(Reported { finished, log, serial, done });
    }

    /// What a call published before it was broken off counts for nothing.
    fn publish_strays(&mut self, ticket: Ticket) {
        for _ in 0..self.rng.u8(..3) {
            self.outputs.push(Output { ticket, index: 0, letter: false, stray: true });
        }
    }

    /// Runs the records in order. What follows a record of its key that runs again is discarded with it.
    fn answer(&mut self, work: &Work) -> Report {
        let mut report = Report::default();
        let hashes = work.batch.hashes();
        let count = hashes.len();
        let mut blocked = Vec::new();
        for index in 0..count as u32 {
            let hash = hashes[index as usize];
            if report.halt.is_some() || report.alone || blocked.contains(&hash) {
                report.not_run.push(index);
                continue;
            }
            let chance = self.rng.u8(..100);
            let failing = self.shape.allows(Kind::Failures);
            let failure = |outcome| Failure::of(outcome, "simulated");
            if failing && chance < 8 && work.attempts < 4 {
                blocked.push(hash);
                let delay = Duration::from_micros(self.rng.u64(0..20_000));
                report.retries.push(Retry { index, delay, failure: failure(Outcome::Trap) });
                self.seen.saw(Sight::Retried);
            } else if failing && chance < 10 && count > 1 {
                // The search for the record at fault took too long: this one and the rest run alone.
                report.alone = true;
                report.not_run.push(index);
                self.seen.saw(Sight::Alone);
            } else if chance < 12 && self.strikes(Kind::Halt, 3) {
                report.halt = Some(Halt { index, failure: failure(Outcome::Rejected) });
                report.dead_letter_refused = self.options.dead_letters && self.rng.bool();
                self.seen.saw(Sight::Halted);
            } else {
                self.publish(work.ticket, index, &mut report);
                if failing && (12..16).contains(&chance) {
                    // Rejected, or its last output was too large: what stands of it is published all the same.
                    if self.options.dead_letters {
                        report.published += 1;
                        self.outputs.push(Output { ticket: work.ticket, index, letter: true, stray: false });
                    }
                    report.given_up.push((index, Outcome::Rejected));
                    self.seen.saw(Sight::GivenUp);
                }
            }
        }
        let waited = Duration::from_millis(if self.rng.u8(..10) == 0 { 20 } else { 0 });
        let micros = if self.slow { 500..3_000 } else { 1..20 };
        let call = CallRecord {
            records: count as u32,
            spent: Duration::from_micros(self.rng.u64(micros)) * count as u32 + waited,
            waited,
            fuel: Fuel(10),
            ended: Ended::Complete,
        };
        report.calls = Calls { each: vec![call] };
        report
    }

    fn publish(&mut self, ticket: Ticket, index: u32, report: &mut Report) {
        for _ in 0..[0, 0, 1, 2][self.rng.usize(..4)] {
            report.published += 1;
            self.outputs.push(Output { ticket, index, letter: false, stray: false });
        }
    }

    /// The records that need no other call; each takes effect here, in the order of its key.
    fn take_effect(&mut self, call: &Call, report: &Report) -> Vec<usize> {
        if report.revoked {
            return Vec::new();
        }
        let mut again: BTreeSet<u32> = report.retries.iter().map(|retry| retry.index).collect();
        again.extend(&report.not_run);
        again.extend(report.halt.iter().map(|halt| halt.index));
        let done = (0..).zip(&call.records).filter(|(index, _)| !again.contains(index));
        let done: Vec<usize> = done.map(|(_, record)| *record).collect();
        if self.is_alive(call.log, call.serial) {
            let ordering = self.options.ordering;
            let log = &mut self.logs[call.log];
            for &record in &done {
                let offset = log.records[record].offset;
                if let Some(order) = log.order(record, ordering) {
                    let before = std::mem::replace(&mut log.effect[order], offset);
                    promise!(before < offset, "{}: {offset} took effect after {before}", log.name);
                }
            }
        }
        done
    }

    /// The oldest report reaches the machine.
    pub(super) fn deliver_report(&mut self) {
        let Some(Reported { finished, log, serial, done }) = self.reports.pop_front() else {
            return;
        };
        self.events += 1;
        let ticket = finished.ticket;
        note!(self, "report of {ticket:?}");
        let alive = self.is_alive(log, serial);
        let revoked = finished.report.revoked;
        let fate = Fate::of(&finished.report);
        self.machine.finished(finished, self.now);
        let Some(open) = self.open.get_mut(&ticket) else {
            super::broken(format!("{ticket:?} ended before its report"))
        };
        if !alive {
            self.seen.saw(Sight::LateReport);
            self.open.remove(&ticket);
            return;
        }
        let origin = &mut self.logs[log];
        origin.calls -= 1;
        for &record in &open.records {
            origin.lives[record].state = State::Waits;
        }
        if revoked {
            self.open.remove(&ticket);
            return;
        }
        for &(index, delay) in &fate.retries {
            let life = &mut origin.lives[open.records[index as usize]];
            (life.attempts, life.due) = (open.attempts + 1, self.now + delay);
        }
        for &index in &fate.not_run {
            let life = &mut origin.lives[open.records[index as usize]];
            (life.attempts, life.alone, life.due) = (open.attempts, fate.alone, Time::ZERO);
        }
        for &record in &done {
            origin.lives[record].state = State::Publishing;
        }
        origin.unacknowledged += 1;
        open.answered = true;
        open.done = done;
        open.published = fate.published;
        open.given_up = fate.given_up.len() as u32;
        open.lettered = fate.given_up;
        let early = std::mem::take(&mut open.refused);
        if fate.halts {
            self.has_failed();
        }
        for index in early {
            self.seen.saw(Sight::RefusedBeforeReport);
            self.refuse(ticket, index);
        }
        self.complete_if_settled(ticket);
    }
}

/// What the model has to know of a report.
struct Fate {
    retries: Vec<(u32, Duration)>,
    not_run: Vec<u32>,
    alone: bool,
    given_up: Vec<u32>,
    published: u32,
    halts: bool,
}

impl Fate {
    fn of(report: &Report) -> Self {
        Fate {
            retries: report.retries.iter().map(|retry| (retry.index, retry.delay)).collect(),
            not_run: report.not_run.clone(),
            alone: report.alone,
            given_up: report.given_up.iter().map(|(index, _)| *index).collect(),
            published: report.published,
            halts: report.halt.is_some(),
        }
    }
}

fn told(report: &Report) -> String {
    if report.revoked {
        return "revoked".to_owned();
    }
    let retries: Vec<_> = report.retries.iter().map(|retry| retry.index).collect();
    let given_up: Vec<_> = report.given_up.iter().map(|(index, _)| index).collect();
    let halt = report.halt.as_ref().map(|halt| halt.index);
    let (not_run, alone) = (&report.not_run, if report.alone { " alone" } else { "" });
    format!(
        "{} published, again {retries:?}, not run{alone} {not_run:?}, given up {given_up:?}, halt {halt:?}",
        report.published
    )
}
