//! One turn of the consumer thread: what comes in, what is carried out.

use std::time::{Duration, SystemTime};

use rdkafka::consumer::Consumer as _;
use sandmill_kafka_ffi::CommitEntry;

use super::consumer::{Consumer, Event};
use super::delivery::{Delivery, Tag};
use super::publisher::DeadLetter;
use super::replies;
use crate::batch::TopicPartition;
use crate::ids::Offset;
use crate::machine::commit::Entry;
use crate::machine::{Effect, RefusedRecord};
use crate::outcome::{Failure, Outcome};
use crate::telemetry::snapshot;
use crate::time::{Time, unix_us};

/// The client's own queue is served at least so often.
const POLL: Duration = Duration::from_millis(50);
/// From one snapshot to the next.
const SNAPSHOT: Duration = Duration::from_millis(200);
/// How often ends of partitions are fetched.
const ENDS: Duration = Duration::from_secs(5);

impl Consumer {
    /// One turn; false if nothing came in.
    pub(super) fn turn(&mut self) -> bool {
        self.notice_standstill();
        let mut busy = self.serve_client();
        busy |= self.take_events();
        busy |= self.take_reports();
        busy |= self.take_commit_replies();
        busy |= self.machine.may_consume() && self.consume();
        let now = self.now();
        self.machine.outputs_wait(self.publisher.is_full());
        self.machine.advance(now);
        if self.machine.is_sure() {
            self.publisher.lease().renew(self.turn_started());
        }
        self.carry_out();
        self.send_stalled_letters();
        if now.since(self.last_snapshot) >= SNAPSHOT || self.stopped.is_some() {
            self.last_snapshot = now;
            self.pass_markers();
            self.snapshot();
        }
        if now.since(self.last_ends) >= ENDS {
            self.last_ends = now;
            self.lookups.ends(self.machine.assigned_names().collect());
        }
        busy
    }

    /// When this turn started: what is known of the group was known then.
    fn turn_started(&self) -> std::time::Instant {
        self.started + self.last_turn.since(Time::ZERO)
    }

    /// After a standstill longer than the session time-out the group may have given everything to others, and
    /// this host does not know it yet. Workers see the lease of their outputs run out by themselves.
    fn notice_standstill(&mut self) {
        let now = self.now();
        let (stood, session) = (now.since(self.last_turn), self.publisher.lease().length());
        self.last_turn = now;
        if stood > session {
            self.machine.doubt(now);
            tracing::warn!(
                stood_seconds = stood.as_secs_f64(),
                session_seconds = session.as_secs_f64(),
                calls_with_the_producer = self.machine.outstanding(),
                "this host stood still for longer than the session time-out: its outputs wait until the group \
                 confirms the assignment; what the producer had already taken may come twice"
            );
        }
    }

    /// Serves the client's callbacks: rebalances and errors. Counts as polling, whatever else stands still.
    fn serve_client(&mut self) -> bool {
        let now = self.now();
        let mut busy = self.queue.has_events();
        if !busy && now.since(self.last_poll) < POLL {
            return false;
        }
        self.last_poll = now;
        let consumer = self.consumer.clone();
        loop {
            match consumer.poll(Duration::ZERO) {
                Some(Err(error)) => self.client_error(&error),
                // A record that came before its partition's queue was forwarded: as good as any.
                Some(Ok(message)) => self.admit_message(&message),
                None if self.queue.has_events() => busy = true,
                None => break,
            }
        }
        for asked in consumer.context().take_asked() {
            self.rebalance(asked);
            busy = true;
        }
        busy
    }

    fn take_events(&mut self) -> bool {
        let mut events = std::mem::take(&mut self.events);
        self.inbox.take_all(&mut events);
        let busy = !events.is_empty();
        for event in events.drain(..) {
            let now = self.now();
            match event {
                Event::Finished(finished) => self.machine.finished(finished, now),
                Event::Positions { serial, found } => self.assigned(serial, &found),
                Event::Reset { epoch, assigned } => self.reset(epoch, assigned),
                Event::Ends(ends) => {
                    // The broker answers.
                    self.trouble = None;
                    self.notice_new_topics(&ends, now);
                    (self.ends, self.ends_taken) = (ends, now);
                }
                Event::Stop => {
                    if !self.machine.is_stopping() {
                        tracing::info!(group = self.settings.group, "stopping: draining what is in flight");
                    }
                    self.machine.stop(now);
                }
            }
        }
        self.events = events;
        busy
    }

    fn take_reports(&mut self) -> bool {
        let mut reports = std::mem::take(&mut self.reports);
        self.deliveries.take_all(&mut reports);
        let busy = !reports.is_empty();
        for report in reports.drain(..) {
            let now = self.now();
            match report {
                Delivery::Acknowledged { ticket, count } => self.machine.acknowledged(ticket, count, now),
                Delivery::Refused { tag, reason } if tag.dead_letter => {
                    self.machine.dead_letter_refused(tag.ticket, u32::from(tag.input), &reason, now);
                }
                Delivery::Refused { tag, reason } => {
                    let failure =
                        Failure::of(Outcome::HostError, format!("the broker refused an output: {reason}"));
                    self.machine.output_refused(tag.ticket, u32::from(tag.input), failure, now);
                }
                Delivery::Fatal(reason) => {
                    self.machine.fail(format!("the producer cannot go on: {reason}"), now)
                }
            }
        }
        self.reports = reports;
        busy
    }

    fn take_commit_replies(&mut self) -> bool {
        let mut busy = false;
        while let Some(reply) = self.commits.poll_reply() {
            let now = self.now();
            if reply.error.is_none() {
                self.last_commit = Some(SystemTime::now());
            }
            self.machine.commit_replied(&replies::of(reply), now);
            busy = true;
        }
        busy
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.machine.effect() {
            match effect {
                Effect::Dispatch(work) => (self.dispatch)(work),
                Effect::Pause(partition) => self.pause(&partition),
                Effect::Resume(partition) => self.resume(&[partition]),
                Effect::Commit(entries) => self.commit(&entries),
                Effect::Unassign(partitions) => {
                    let asked = self.revoking.take();
                    // What the group asked for is answered also if nothing of it was assigned.
                    if asked.is_some() || !partitions.is_empty() {
                        self.unassign(&asked.unwrap_or(partitions));
                    }
                }
                Effect::DeadLetter(refused) => self.stalled_letters.push_back(refused),
                Effect::Stopped(stopped) => self.stopped = Some(stopped),
            }
        }
    }

    fn commit(&mut self, entries: &[Entry]) {
        let list: Vec<_> = entries
            .iter()
            .map(|entry| CommitEntry {
                topic: &entry.partition.topic,
                partition: entry.partition.partition,
                offset: entry.offset.0,
                metadata: (!entry.metadata.is_empty()).then_some(entry.metadata.as_str()),
            })
            .collect();
        if let Err(error) = self.commits.commit(&list) {
            tracing::warn!(%error, "the client did not take a commit; it is taken again");
            let now = self.now();
            self.machine.commit_replied(&[], now);
        }
    }

    /// Publishes dead letters of records whose outputs were refused, as far as the producer has room.
    fn send_stalled_letters(&mut self) {
        if !self.publisher.lease().holds() {
            return;
        }
        let current = self.settings.origin.get();
        while let Some(refused) = self.stalled_letters.front() {
            let RefusedRecord { ticket, index, origin, record, failure, attempts } = refused;
            let letter = DeadLetter {
                record: &record.record(),
                at: origin,
                failure,
                attempts: *attempts,
                origin: &current,
            };
            let (ticket, index) = (*ticket, *index);
            let input = u16::try_from(index).expect("a call has fewer records");
            let tag = Tag { ticket, input, dead_letter: true };
            match self.publisher.try_dead_letter(tag, &letter) {
                Ok(true) => {}
                Ok(false) => return,
                Err(reason) => {
                    let now = self.now();
                    self.machine.dead_letter_refused(ticket, index, &reason, now);
                }
            }
            self.stalled_letters.pop_front();
        }
    }

    /// Moves positions past what is no record at the end of a partition: transaction markers, aborted and
    /// compacted records. The client's position is behind them, and every record below it was handed out.
    fn pass_markers(&mut self) {
        let names: Vec<_> = self.machine.assigned_names().collect();
        let asked: Vec<_> = names.iter().map(|name| (&*name.topic, name.partition)).collect();
        match self.queue.positions(&asked) {
            Ok(positions) => {
                for (name, position) in names.iter().zip(positions) {
                    if let (Some(position), Some(slot)) = (position, self.machine.slot_of(name)) {
                        self.machine.end_of_partition(slot, Offset(position));
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "positions cannot be read now"),
        }
    }

    fn snapshot(&mut self) {
        let now = self.now();
        let ends = |name: &TopicPartition| {
            let cached =
                sandmill_kafka_ffi::cached_watermarks(self.consumer.client(), &name.topic, name.partition);
            let fetched = self.ends.iter().find(|end| end.partition == *name);
            snapshot::Ends {
                high: cached.ok().and_then(|marks| marks.high).max(fetched.and_then(|end| end.high)),
                stable: fetched.and_then(|end| end.stable),
            }
        };
        let mut snapshot = snapshot::of_machine(&self.machine, now, ends);
        snapshot.trouble.clone_from(&self.trouble);
        snapshot.joined = self.joined;
        snapshot.in_doubt = !self.machine.is_sure();
        snapshot.taken = self.taken;
        snapshot.last_commit_unix_us = self.last_commit.map(unix_us);
        (self.publish)(snapshot);
    }
}
