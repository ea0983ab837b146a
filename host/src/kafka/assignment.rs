//! What this host has of its group: partitions come and go, and each is fetched from where the machine is.
//!
//! The client takes what is said of its assignment while the group waits for an answer as that answer. So what the
//! host itself wants to change (a position that is gone) waits until the group has its own.

use rdkafka::consumer::Consumer as _;
use rdkafka::topic_partition_list::{Offset as ClientOffset, TopicPartitionList};

use super::consumer::{Consumer, OnOffsetLost};
use super::context::Rebalance;
use super::positions::{End, NEWS, Positions};
use crate::batch::TopicPartition;
use crate::ids::Epoch;
use crate::machine::Assigned;
use crate::time::Time;

/// Why a position is lost that the log may well have.
const CREATED_AGAIN: &str = "its topic was deleted and created again";

impl Consumer {
    pub(super) fn rebalance(&mut self, asked: Rebalance) {
        let now = self.now();
        match asked {
            Rebalance::Assign(partitions) => {
                tracing::info!(group = self.settings.group, partitions = %listed(&partitions), "assigned");
                self.next_serial += 1;
                self.assigning = Some(self.next_serial);
                if partitions.is_empty() || self.machine.is_stopping() {
                    self.assigned(self.next_serial, &Positions::default());
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
    pub(super) fn assigned(&mut self, serial: u64, found: &Positions) {
        if self.assigning != Some(serial) {
            return;
        }
        for partition in &found.lost {
            self.position_lost(partition, CREATED_AGAIN);
        }
        // While stopping, nothing is taken on any more; the client gets its answer all the same.
        let assigned = if self.machine.is_stopping() { &[] } else { &found.assigned[..] };
        for Assigned { partition, start, .. } in assigned {
            if found.created_again.contains(partition) {
                tracing::warn!(%partition, offset = start.0, "position reset: {CREATED_AGAIN} since the commit");
            }
        }
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
    pub(super) fn unassign(&mut self, partitions: &[TopicPartition]) {
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

    /// A topic that was deleted and created again has other records at the same offsets: the client would go on
    /// among them, past those before. Believed when told twice, seconds apart, as one broker may know of it later
    /// than another.
    pub(super) fn notice_new_topics(&mut self, ends: &[End], now: Time) {
        if now.since(self.ends_taken) < NEWS {
            return;
        }
        for end in ends {
            let twice = self
                .ends
                .iter()
                .any(|last| last.partition == end.partition && last.topic_tag == end.topic_tag);
            let known = self.machine.topic_tag(&end.partition);
            if twice && end.topic_tag != 0 && known.is_some_and(|known| known != end.topic_tag) {
                self.position_lost(&end.partition, CREATED_AGAIN);
            }
        }
    }

    /// Goes on with a partition whose position was gone, if it is still the assignment that asked.
    pub(super) fn reset(&mut self, epoch: Epoch, assigned: Assigned) {
        let partition = assigned.partition.clone();
        if self.machine.is_stopping() || self.machine.active_epoch(&partition) != Some(epoch) {
            return;
        }
        let answering = self.assigning.is_some() || self.revoking.is_some() || self.queue.has_events();
        if answering || !self.machine.is_sure() {
            // The client takes what is said of its assignment now for the answer to the group; and a new start would
            // end a doubt that the group has not. Asked again.
            if let OnOffsetLost::Resume(start) = self.settings.on_offset_lost {
                self.lookups.reset_later(partition, start, epoch);
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

    pub(super) fn pause(&mut self, partition: &TopicPartition) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&partition.topic, partition.partition);
        match self.consumer.pause(&list) {
            Ok(()) => tracing::debug!(%partition, "fetching is paused"),
            Err(error) => tracing::warn!(%error, %partition, "the client did not pause"),
        }
    }

    /// Fetches again, from where the machine is: the client's own resume alone may sleep for a second.
    pub(super) fn resume(&mut self, partitions: &[TopicPartition]) {
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
}

fn listed(partitions: &[TopicPartition]) -> String {
    let mut names: Vec<_> = partitions.iter().map(ToString::to_string).collect();
    names.sort();
    names.join(", ")
}
