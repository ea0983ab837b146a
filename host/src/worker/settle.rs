//! An answer takes effect: outputs and dead letters are published in the order of their records, and each
//! record's fate is entered into the report.

use std::sync::Arc;

use super::executor::Politeness;
use super::generation::Side;
use super::{Callee, Generation};
use crate::batch::Batch;
use crate::dispatch::{Decision, Then};
use crate::kafka::publisher::{DeadLetter, NotTaken, Tag};
use crate::outcome::{Failure, Outcome};
use crate::wasm::Answer;
use crate::work::{CallRecord, Ended, Halt, Report, Retry, Work};

/// The report of one piece of work as it grows.
pub(super) struct Settle<'w> {
    work: &'w Work,
    callee: &'w Callee,
    /// What the last call ran; none before the first.
    generation: Option<Arc<Generation>>,
    /// Records that the last call did, and that it failed on, by their first attempt.
    fresh: (u64, u64),
    report: Report,
    /// Hashes of keys that wait for a retry: what the same call did for later records of them is discarded.
    blocked: Vec<u64>,
}

impl<'w> Settle<'w> {
    pub fn new(work: &'w Work, callee: &'w Callee) -> Self {
        Settle {
            work,
            callee,
            generation: None,
            fresh: (0, 0),
            report: Report::default(),
            blocked: Vec::new(),
        }
    }

    /// The finished report.
    pub fn report(mut self) -> Report {
        self.count();
        if self.report.revoked {
            self.report.retries.clear();
            self.report.not_run.clear();
        }
        self.report.not_run.sort_unstable();
        debug_assert!(self.report.not_run.is_sorted_by(|a, b| a < b), "a record is left twice");
        self.report
    }

    /// What the next call runs, and its answer is settled by.
    pub fn begin(&mut self, side: Side) -> Arc<Generation> {
        self.count();
        self.generation.insert(self.callee.handler.of(side)).clone()
    }

    /// What the last call ran.
    pub fn generation(&self) -> &Generation {
        self.generation.as_ref().expect("an answer comes from a call that began")
    }

    /// A call was made.
    pub fn called(&mut self, call: CallRecord) {
        if let Ended::Without(outcome) = call.ended {
            self.generation().executions.count_error(outcome);
        }
        // A call of several records that did not answer says nothing of any of them.
        let is_revoked = call.ended == Ended::Without(Outcome::Revoked);
        if self.work.attempts == 0 && (call.answered() || call.records == 1) && !is_revoked {
            self.generation().tally.add_call(call.records, call.spent);
        }
        self.report.calls.each.push(call);
    }

    /// Adds to its generation what became of the last call's records.
    fn count(&mut self) {
        let (done, failed) = std::mem::take(&mut self.fresh);
        if let Some(generation) = &self.generation
            && self.work.attempts == 0
            && !self.report.revoked
        {
            generation.tally.add(done, failed);
        }
    }

    /// True if nothing more may be run: the assignment ended, or the pipeline halts.
    pub fn is_over(&self) -> bool {
        self.report.revoked || self.report.halt.is_some()
    }

    /// The assignment ended.
    pub fn revoke(&mut self) {
        self.report.revoked = true;
    }

    /// These records run again, in calls of their own.
    pub fn leave(&mut self, indices: impl IntoIterator<Item = u32>) {
        self.report.alone = true;
        for index in indices {
            // What follows it in its key must not overtake it.
            self.blocked.push(self.work.batch.hashes()[index as usize]);
            self.report.not_run.push(index);
        }
    }

    /// Those of these records that need not wait for an earlier one; the others are entered as not run.
    pub fn unblocked(&mut self, indices: Vec<u32>) -> Vec<u32> {
        let hashes = self.work.batch.hashes();
        let waits = |index: &u32| self.blocked.contains(&hashes[*index as usize]);
        let (blocked, free): (Vec<u32>, Vec<u32>) = indices.into_iter().partition(waits);
        self.report.not_run.extend(blocked);
        free
    }

    /// Takes an answer to `batch`, whose record i is record `indices[i]` of the work.
    pub async fn accept(&mut self, answer: &Answer, batch: &Batch, indices: impl IntoIterator<Item = u32>) {
        // A host that stood still may be about to publish what its successor has published.
        if self.callee.publisher.assured(&self.work.cancel).await.is_err() {
            return self.revoke();
        }
        let mut outputs = answer.outputs(batch).peekable();
        let mut failures = answer.failures().iter().peekable();
        let mut politeness = Politeness::default();
        for (position, index) in indices.into_iter().enumerate() {
            if self.is_over() || !self.blocked.is_empty() && self.blocked.contains(&batch.hashes()[position])
            {
                self.report.not_run.push(index);
                while outputs.next_if(|output| output.input == position).is_some() {}
                failures.next_if(|(input, _)| *input as usize == position);
                continue;
            }
            if let Some((_, failure)) = failures.next_if(|(input, _)| *input as usize == position) {
                self.generation().executions.count_error(failure.outcome);
                self.fail(index, failure).await;
                continue;
            }
            self.fresh.0 += 1;
            while let Some(output) = outputs.next_if(|output| output.input == position) {
                politeness.let_others_run().await;
                let tag = self.tag(index, false);
                match self.callee.publisher.publish(tag, &output, &self.work.cancel).await {
                    Ok(()) => self.report.published += 1,
                    Err(NotTaken::Cancelled) => return self.revoke(),
                    Err(NotTaken::Refused(reason)) => {
                        while outputs.next_if(|output| output.input == position).is_some() {}
                        let failure = Failure::of(
                            Outcome::HostError,
                            format!("the producer refused an output: {reason}"),
                        );
                        self.generation().executions.count_error(failure.outcome);
                        self.give_up(index, &failure, self.callee.policy.then).await;
                    }
                }
            }
        }
    }

    /// Record `index` failed in a call of its own, or by the handler's word.
    pub async fn fail(&mut self, index: u32, failure: &Failure) {
        self.fresh.1 += 1;
        let now = self.work.dispatched;
        let age = now.since(self.work.first_dispatch);
        match self.callee.policy.decide(failure, self.work.attempts, age, fastrand::u64(..)) {
            Decision::Retry(delay) => {
                self.blocked.push(self.work.batch.hashes()[index as usize]);
                self.report.retries.push(Retry { index, delay, failure: failure.clone() });
            }
            Decision::GiveUp(then) => self.give_up(index, failure, then).await,
        }
    }

    async fn give_up(&mut self, index: u32, failure: &Failure, then: Then) {
        match then {
            Then::Halt => {
                self.report.halt = Some(Halt { index, failure: failure.clone() });
                return;
            }
            Then::Skip => {}
            Then::DeadLetter => {
                let record = self.work.batch.record(index as usize);
                let letter = DeadLetter {
                    record: &record,
                    at: &self.work.origin,
                    failure,
                    attempts: self.work.attempts + 1,
                    origin: &self.generation().origin,
                };
                let tag = self.tag(index, true);
                match self.callee.publisher.dead_letter(tag, &letter, &self.work.cancel).await {
                    Ok(()) => self.report.published += 1,
                    Err(NotTaken::Cancelled) => return self.revoke(),
                    Err(NotTaken::Refused(reason)) => {
                        self.report.dead_letter_refused = true;
                        let message = format!("{failure}; and its dead letter was refused: {reason}");
                        self.report.halt =
                            Some(Halt { index, failure: Failure { message, ..failure.clone() } });
                        return;
                    }
                }
            }
        }
        self.report.given_up.push((index, failure.outcome));
    }

    fn tag(&self, index: u32, dead_letter: bool) -> Tag {
        let input = u16::try_from(index).expect("the configuration bounds batches to 65,535 records");
        Tag { ticket: self.work.ticket, input, dead_letter }
    }
}
