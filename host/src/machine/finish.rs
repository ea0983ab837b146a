//! Reports and acknowledgements: from "a call came back" to "the record is complete".
//!
//! A record is complete when it needs no further call and all it published is acknowledged. Its key is free
//! earlier, with the report: by then its outputs stand, in order, in the producer's queue.

use super::tickets::Stage;
use super::{Effect, Machine, RefusedRecord, Reverse, Slot, Timer, live};
use crate::batch::{Batch, Parked};
use crate::dispatch::{Admitted, Ordering, Pace, Source};
use crate::ids::Offset;
use crate::outcome::Failure;
use crate::time::Time;
use crate::work::{Finished, Report, Ticket};

impl Machine {
    /// Takes a worker's report. One of an epoch that is over frees its place and touches nothing else.
    pub fn finished(&mut self, finished: Finished, now: Time) {
        let Finished { ticket, epoch, batch, report } = finished;
        let Some(out) = self.tickets.get(ticket) else { return };
        let (slot, shard, source) = (out.slot, out.shard, out.source);
        match source {
            Source::Lane => {
                self.lanes_out -= 1;
                self.lanes_late -= usize::from(out.late);
            }
            Source::Key(_) => self.keys_out -= 1,
        }
        let pace = self.pace_of(source, &batch, &report);
        // A key that is slower than the others is no measure of them.
        let of_slow_key = |hash| self.partitions.get(slot.0 as usize).is_some_and(|p| p.is_slow(shard, hash));
        if !matches!(source, Source::Key(hash) if !self.pacing.keyed() && of_slow_key(hash)) {
            for call in report.calls.each.iter().filter(|call| call.answered()) {
                self.pacing.answered(call.records as usize, call.spent, call.fuel);
            }
        }
        let probe = self.probe.take_if(|probe| *probe == ticket).is_some();
        let Some(partition) = live(&mut self.partitions, slot, epoch) else {
            if probe {
                self.circuit.probe_returned(now);
            }
            self.end_ticket(ticket, batch);
            return;
        };
        partition.running -= 1;
        // What was out when the circuit opened does not say whether it may close.
        if report.revoked {
            // Interrupted, it says nothing.
            if probe {
                self.circuit.probe_returned(now);
            }
        } else if probe || !self.circuit.is_probing() {
            let (succeeded, failed) = report.fates(batch.len());
            self.circuit.observe(succeeded, failed, now);
        }
        if report.revoked {
            self.end_ticket(ticket, batch);
            return;
        }
        self.dead_letter_failures += u64::from(report.dead_letter_refused);
        self.run_again(ticket, (slot, shard), &batch, &report, pace, now);
        if let Some(halt) = &report.halt {
            let record = batch.record(halt.index as usize).offset;
            let place = &self.partitions[slot.0 as usize].name;
            let reason = format!("halted at {place} offset {}: {}", record.0, halt.failure);
            self.fail(reason, now);
        }
        self.settle(ticket, &report, batch, now);
    }

    /// Queues the records that run again, and tells the shard that the call is back.
    fn run_again(
        &mut self,
        ticket: Ticket,
        (slot, shard): (Slot, u32),
        batch: &Batch,
        report: &Report,
        pace: Pace<'_>,
        now: Time,
    ) {
        let out = self.tickets.get(ticket).expect("the caller holds it");
        let (source, epoch, attempts, first_dispatch) =
            (out.source, out.epoch, out.attempts, out.first_dispatch);
        let partition = &mut self.partitions[slot.0 as usize];
        let mut again: Vec<(u32, Parked, Time)> = Vec::new();
        for retry in &report.retries {
            let mut record = Parked::from_batch(batch, retry.index as usize, attempts + 1);
            record.first_dispatch = Some(first_dispatch);
            partition.remember(record.offset(), &retry.failure);
            again.push((retry.index, record, now + retry.delay));
        }
        for &index in &report.not_run {
            let mut record = Parked::from_batch(batch, index as usize, attempts);
            record.first_dispatch = Some(first_dispatch);
            record.alone = report.alone;
            again.push((index, record, Time::ZERO));
        }
        if partition.phase != super::Phase::Active {
            // Not complete, and not run again here: the next owner does.
            return;
        }
        again.sort_by_key(|(index, ..)| *index);
        let again: Vec<_> = again.into_iter().map(|(_, record, due)| (record, due)).collect();
        let (lanes, keys, timers) = (&mut self.ready_lanes, &mut self.ready_keys, &mut self.timers);
        partition.shards[shard as usize].returned(
            source,
            again,
            pace,
            &self.pacing,
            &mut self.pool,
            now,
            |ready| match ready {
                Admitted::LaneReady => lanes.push_back((slot, epoch, shard)),
                Admitted::KeyReady(hash) => keys.push_back((slot, epoch, shard, hash)),
                Admitted::KeyWaits(hash, due) => {
                    timers.push(Reverse(Timer { due, slot, epoch, shard, hash }))
                }
                Admitted::Queued => {}
            },
        );
    }

    /// What a report tells about its keys. Slow ones are singled out where keys have an order of their own, and
    /// while the handler is quick for most.
    fn pace_of<'b>(&self, source: Source, batch: &'b Batch, report: &Report) -> Pace<'b> {
        let [call] = report.calls.each.as_slice() else { return Pace::Usual };
        if self.options.ordering != Ordering::Key || self.pacing.keyed() || !call.answered() {
            return Pace::Usual;
        }
        let (records, hashes) = (call.records as usize, batch.hashes());
        match source {
            Source::Lane if hashes.iter().any(|hash| *hash != hashes[0]) => {
                let suspicious = self.pacing.is_suspicious(records, call.waited, call.fuel);
                if suspicious { Pace::Suspicious(hashes) } else { Pace::Usual }
            }
            // At low load a slow key mostly goes alone.
            Source::Lane if self.pacing.is_slow(records, call.waited, call.fuel) => Pace::Slow(hashes[0]),
            Source::Lane => Pace::Usual,
            Source::Key(hash) if self.pacing.is_slow(records, call.waited, call.fuel) => Pace::Slow(hash),
            Source::Key(hash) => Pace::Quick(hash),
        }
    }

    /// Completes what needs no acknowledgement, or keeps it until those are there.
    fn settle(&mut self, ticket: Ticket, report: &Report, batch: Batch, now: Time) {
        let out = self.tickets.get(ticket).expect("the caller holds it");
        let mut open: Vec<u32> = report.retries.iter().map(|retry| retry.index).collect();
        open.extend(&report.not_run);
        open.extend(report.halt.iter().map(|halt| halt.index));
        if !open.is_empty() {
            open.sort_unstable();
            let mut index = 0;
            out.offsets.retain(|_| {
                index += 1;
                open.binary_search(&(index - 1)).is_err()
            });
        }
        let given_up = u32::try_from(report.given_up.len()).expect("a batch holds fewer than 2^32 records");
        let slot = out.slot;
        let refused = std::mem::take(&mut out.refused);
        out.dead_lettered.extend(report.given_up.iter().map(|(index, _)| *index));
        out.stage = Stage::Answered { since: now, published: report.published, given_up, batch };
        self.partitions[slot.0 as usize].unacknowledged += 1;
        for (index, failure) in refused {
            self.output_refused(ticket, index, failure, now);
        }
        self.complete_if_acknowledged(ticket, now);
    }

    /// So many of a ticket's outputs are acknowledged. An acknowledgement may come before the report.
    pub fn acknowledged(&mut self, ticket: Ticket, count: u32, now: Time) {
        if let Some(out) = self.tickets.get(ticket) {
            out.acknowledged += count;
            self.complete_if_acknowledged(ticket, now);
        }
    }

    fn complete_if_acknowledged(&mut self, ticket: Ticket, now: Time) {
        let Some(out) = self.tickets.get(ticket) else { return };
        let acknowledged = out.acknowledged;
        if !matches!(out.stage, Stage::Answered { published, .. } if acknowledged >= published) {
            return;
        }
        let out = self.tickets.remove(ticket).expect("it was just looked at");
        let Stage::Answered { given_up, batch, .. } = out.stage else {
            unreachable!("it was just looked at")
        };
        if let Some(partition) = live(&mut self.partitions, out.slot, out.epoch) {
            partition.unacknowledged -= 1;
            let mut done = 0;
            for &offset in &out.offsets {
                done += u64::from(partition.progress.complete(offset));
            }
            let weight = if out.offsets.len() == batch.len() {
                batch.weight()
            } else {
                let complete = |offset: Offset| out.offsets.binary_search(&offset).is_ok();
                batch.records().filter(|record| complete(record.offset)).map(|record| record.weight()).sum()
            };
            partition.bytes = partition.bytes.saturating_sub(weight);
            partition.counters.failed += u64::from(given_up);
            partition.counters.succeeded += done.saturating_sub(u64::from(given_up));
            partition.counters.latency.observe(now.since(out.first_dispatch), done);
            partition.dirty |= done > 0;
            if !partition.last_failures.is_empty() {
                partition.forget_completed();
            }
        }
        self.tickets.recycle(out.offsets);
        self.pool.give(batch);
    }

    /// The broker refused an output of a record for good. The record is dead-lettered with the reason, or,
    /// where there is no dead-letter topic, the pipeline halts: publishing again would be refused again.
    pub fn output_refused(&mut self, ticket: Ticket, index: u32, failure: Failure, now: Time) {
        let dead_letters = self.options.dead_letters;
        let Some(out) = self.tickets.get(ticket) else { return };
        let (slot, epoch, attempts) = (out.slot, out.epoch, out.attempts);
        let Stage::Answered { published, given_up, batch, .. } = &mut out.stage else {
            // The report is on its way.
            out.refused.push((index, failure));
            return;
        };
        if live(&mut self.partitions, slot, epoch).is_none() {
            // Its assignment is over: the next owner runs it again.
            out.acknowledged += 1;
            self.complete_if_acknowledged(ticket, now);
            return;
        }
        let record = Parked::from_batch(batch, index as usize, attempts);
        let offset = record.offset();
        let first = !out.dead_lettered.contains(&index);
        if dead_letters {
            // The refused output counts as settled; the dead letter, one for each record, is waited for.
            out.acknowledged += 1;
            if first {
                *published += 1;
                *given_up += 1;
                out.dead_lettered.push(index);
            }
        }
        let Some(partition) = live(&mut self.partitions, slot, epoch) else { return };
        partition.remember(offset, &failure);
        let origin = partition.name.clone();
        if !dead_letters {
            self.fail(
                format!("halted at {origin} offset {}: an output was refused: {failure}", offset.0),
                now,
            );
        } else if first {
            let attempts = attempts + 1;
            self.effects.push_back(Effect::DeadLetter(RefusedRecord {
                ticket,
                index,
                origin,
                record,
                failure,
                attempts,
            }));
        } else {
            self.complete_if_acknowledged(ticket, now);
        }
    }

    /// A dead letter could not be published for good: its record, the `index`th of its call, is not complete, so
    /// nothing can pass it.
    pub fn dead_letter_refused(&mut self, ticket: Ticket, index: u32, reason: &str, now: Time) {
        self.dead_letter_failures += 1;
        let place = self.place_of(ticket, index).unwrap_or_default();
        self.fail(format!("a dead letter was refused{place}: {reason}"), now);
    }

    /// Where a record of a call comes from, if the call is still known.
    fn place_of(&mut self, ticket: Ticket, index: u32) -> Option<String> {
        let out = self.tickets.get(ticket)?;
        let (slot, epoch, index) = (out.slot, out.epoch, index as usize);
        let offset = match &out.stage {
            Stage::Running => out.offsets.get(index)?.0,
            Stage::Answered { batch, .. } => *batch.offsets().get(index)?,
        };
        let partition = live(&mut self.partitions, slot, epoch)?;
        Some(format!(", that of the record at offset {offset} of {}", partition.name))
    }

    fn end_ticket(&mut self, ticket: Ticket, batch: Batch) {
        if let Some(out) = self.tickets.remove(ticket) {
            self.tickets.recycle(out.offsets);
        }
        self.pool.give(batch);
    }
}
