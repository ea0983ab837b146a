//! One turn of the consumer thread: what comes in, what is carried out.

use std::time::{Duration, SystemTime};

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset as ClientOffset, TopicPartitionList};
use sandmill_kafka_ffi::CommitEntry;

use super::consumer::{Consumer, Event, OnOffsetLost};
use super::context::Rebalance;
use super::delivery::{Delivery, Tag};
use super::lookup::End;
use super::publisher::DeadLetter;
use super::replies;
use crate::batch::TopicPartition;
use crate::ids::{Epoch, Offset};
use crate::machine::commit::Entry;
use crate::machine::{Assigned, Effect, RefusedRecord};
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

    fn rebalance(&mut self, asked: Rebalance) {
        let now = self.now();
        match asked {
            Rebalance::Assign(partitions) => {
                tracing::info!(group = self.settings.group, partitions = %listed(&partitions), "assigned");
                self.next_serial += 1;
                self.assigning = Some(self.next_serial);
                if partitions.is_empty() || self.machine.is_stopping() {
                    self.assigned(self.next_serial, &[]);
                } else {
                    self.lookups.positions(self.next_serial, partitions);
                }
            }
            Rebalance::Revoke { partitions, lost: true } => {
                tracing::warn!(
                    group = self.settings.group,
                    partitions = %listed(&partitions),
                    "assignment lost: what was in flight is not committed, its next owner runs it again"
                );
                self.assigning = None;
                self.revoking = None;
                self.machine.lost(&partitions);
                self.unassign(&partitions);
            }
            Rebalance::Revoke { partitions, lost: false } => {
                tracing::info!(group = self.settings.group, partitions = %listed(&partitions), "revoked");
                self.assigning = None;
                self.machine.revoke(&partitions, now);
                self.revoking = Some(partitions);
            }
        }
    }

    /// The lookup thread found where the partitions of a rebalance start.
    pub(super) fn assigned(&mut self, serial: u64, assigned: &[Assigned]) {
        if self.assigning != Some(serial) {
            return;
        }
        // While stopping, nothing is taken on any more; the client gets its answer all the same.
        let assigned = if self.machine.is_stopping() { &[] } else { assigned };
        self.assigning = None;
        self.joined = true;
        self.trouble = None;
        let mut list = TopicPartitionList::new();
        for part in assigned {
            let Assigned { partition, start, .. } = part;
            if let Err(error) = list.add_partition_offset(
                &partition.topic,
                partition.partition,
                ClientOffset::Offset(start.0),
            ) {
                tracing::error!(%error, %partition, "the client does not take this position");
            }
        }
        let now = self.now();
        let kept: Vec<_> = self.machine.fetching().collect();
        self.machine.assigned(assigned, now);
        let result = if self.is_cooperative() {
            self.queue.incremental_assign(&list)
        } else {
            self.queue.assign(&list)
        };
        if let Err(error) = result {
            self.machine.fail(format!("the client refused an assignment: {error}"), now);
        }
        // A partition that was paused when it left comes back paused.
        if let Err(error) = self.consumer.resume(&list) {
            tracing::warn!(%error, "the client did not resume what was assigned");
        }
        // The client paused what stayed while it rebalanced.
        if self.is_cooperative() {
            self.resume(&kept);
        }
        // Ends are known at once, so that lag is true from the first snapshot on.
        self.lookups.ends(self.machine.assigned_names().collect());
    }

    /// Gives partitions back to the group.
    fn unassign(&mut self, partitions: &[TopicPartition]) {
        let result = if self.is_cooperative() {
            let mut list = TopicPartitionList::new();
            for partition in partitions {
                list.add_partition(&partition.topic, partition.partition);
            }
            self.consumer.incremental_unassign(&list)
        } else {
            self.consumer.unassign()
        };
        if let Err(error) = result {
            tracing::warn!(%error, "the client did not take partitions back");
        }
    }

    fn take_events(&mut self) -> bool {
        let mut events = std::mem::take(&mut self.events);
        self.inbox.take_all(&mut events);
        let busy = !events.is_empty();
        for event in events.drain(..) {
            let now = self.now();
            match event {
                Event::Finished(finished) => self.machine.finished(finished, now),
                Event::Positions { serial, assigned } => self.assigned(serial, &assigned),
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

    /// A topic that was deleted and created again has other records at the same offsets: the client would go on
    /// among them, past those before. Believed when told twice, seconds apart, as one broker may know of it later than another.
    fn notice_new_topics(&mut self, ends: &[End], now: Time) {
        if now.since(self.ends_taken) < ENDS / 2 {
            return;
        }
        for end in ends {
            let twice = self
                .ends
                .iter()
                .any(|last| last.partition == end.partition && last.topic_tag == end.topic_tag);
            let known = self.machine.topic_tag(&end.partition);
            if twice && end.topic_tag != 0 && known.is_some_and(|known| known != end.topic_tag) {
                self.position_lost(
                    &end.partition,
                    "its topic was deleted and created again (to read the new one from its start also after a restart, \
                     reset the group's offsets first)",
                );
            }
        }
    }

    /// Goes on with a partition whose position was gone, if it is still the assignment that asked.
    fn reset(&mut self, epoch: Epoch, assigned: Assigned) {
        let partition = assigned.partition.clone();
        if self.machine.is_stopping() || self.machine.active_epoch(&partition) != Some(epoch) {
            return;
        }
        let answering = self.assigning.is_some() || self.revoking.is_some() || self.queue.has_events();
        if answering || !self.machine.is_sure() {
            // The client takes what is said of its assignment now for the answer to the group; and a new start would
            // end a doubt that the group has not. Asked again.
            if let OnOffsetLost::Resume(start) = self.settings.on_offset_lost {
                self.lookups.reset(partition, start, epoch);
            }
            return;
        }
        tracing::warn!(%partition, offset = assigned.start.0, "position reset: records in between are gone");
        let now = self.now();
        self.machine.assigned(&[assigned], now);
        self.start_fetching(&partition, now);
    }

    /// Starts to fetch a partition that the client has stopped for good, as it does when a position is gone:
    /// only a new assignment starts it.
    fn start_fetching(&mut self, partition: &TopicPartition, now: Time) {
        let cooperative = self.is_cooperative();
        if cooperative {
            self.unassign(std::slice::from_ref(partition));
        }
        // With the eager protocol an assignment is always the whole of it.
        let names: Vec<_> =
            if cooperative { vec![partition.clone()] } else { self.machine.assigned_names().collect() };
        let list = self.at_positions(&names);
        let result =
            if cooperative { self.queue.incremental_assign(&list) } else { self.queue.assign(&list) };
        if let Err(error) = result {
            self.machine.fail(format!("the client refused to start {partition} again: {error}"), now);
        }
        self.resume(std::slice::from_ref(partition));
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

    fn pause(&mut self, partition: &TopicPartition) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&partition.topic, partition.partition);
        match self.consumer.pause(&list) {
            Ok(()) => tracing::debug!(%partition, "fetching is paused"),
            Err(error) => tracing::warn!(%error, %partition, "the client did not pause"),
        }
    }

    /// Fetches again, from where the machine is: the client's own resume alone may sleep for a second.
    fn resume(&mut self, partitions: &[TopicPartition]) {
        let list = self.at_positions(partitions);
        if list.count() > 0
            && let Err(error) = self.queue.resume_at(&list)
        {
            tracing::warn!(%error, "the client did not resume");
        }
    }

    /// These partitions with the positions of the machine; without those that are not assigned.
    fn at_positions(&self, partitions: &[TopicPartition]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            if let Some(position) = self.machine.position_of(partition)
                && let Err(error) = list.add_partition_offset(
                    &partition.topic,
                    partition.partition,
                    ClientOffset::Offset(position.0),
                )
            {
                tracing::error!(%error, %partition, "the client does not take this position");
            }
        }
        list
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
        while let Some(refused) = self.stalled_letters.front() {
            let RefusedRecord { ticket, index, origin, record, failure, attempts } = refused;
            let letter = DeadLetter {
                record: &record.record(),
                at: origin,
                failure,
                attempts: *attempts,
                origin: &self.settings.origin,
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

fn listed(partitions: &[TopicPartition]) -> String {
    let mut names: Vec<_> = partitions.iter().map(ToString::to_string).collect();
    names.sort();
    names.join(", ")
}
