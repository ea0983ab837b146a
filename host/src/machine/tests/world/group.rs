//! The group's part: partitions are given, taken back, lost, and records deleted.

use super::World;
use super::broker::told_complete;
use super::hostile;
use super::log::{Committed, Owner};
use super::shape::Kind;
use crate::batch::TopicPartition;
use crate::ids::Offset;
use crate::machine::Assigned;
use crate::machine::tests::seen::Sight;
use crate::progress::Restored;
use crate::time::Time;

/// Where an assigned partition starts, as the broker said when it was asked.
pub struct Answer {
    log: usize,
    assigned: Assigned,
    restored: Option<Restored>,
}

/// What the group wants back.
pub struct Revoking {
    pub logs: Vec<usize>,
    since: Time,
    /// Until when it has to be given back.
    pub until: Time,
}

impl World {
    /// The group gives some of what nobody has to this host, which asks where they start.
    pub(super) fn assign(&mut self) {
        if !self.assigning.is_empty() || self.revoking.is_some() || self.stopping.is_some() {
            return;
        }
        let free: Vec<_> = (0..self.logs.len()).filter(|index| self.is_free(*index)).collect();
        let given: Vec<_> = free.into_iter().filter(|_| self.calm || self.rng.u8(..4) > 0).collect();
        self.ask_positions(&given);
    }

    pub(super) fn is_free(&self, index: usize) -> bool {
        matches!(self.logs[index].owner, Owner::Nobody)
    }

    fn ask_positions(&mut self, given: &[usize]) {
        for &index in given {
            let hostile = self.strikes(Kind::Hostile, 3);
            // Where nothing was ever committed the configuration says where to start.
            let latest = !self.calm && self.rng.u8(..10) == 0;
            let (rng, log) = (&mut self.rng, &mut self.logs[index]);
            log.owner = Owner::Assigning;
            let commit_start = log.committed.is_none();
            let mut metadata = log.committed.as_ref().map(|committed| committed.metadata.clone());
            if hostile && let Some(committed) = log.committed.take() {
                let (offset, left) = hostile::left(rng, log, committed);
                metadata = Some(left);
                log.committed = Some(Committed { offset, metadata: Vec::new() });
                self.seen.saw(Sight::HostileMetadata);
            }
            let (start, restored) = match &log.committed {
                None if latest => (log.end(), None),
                committed => told_complete(log, committed.as_ref()),
            };
            let assigned = Assigned {
                partition: log.name.clone(),
                start: Offset(start),
                metadata,
                commit_start,
                topic_tag: log.tag,
                log_end: Some(Offset(log.end())),
            };
            note!(self, "{}: the group gives it, it starts at {start}", log.name);
            self.assigning.push(Answer { log: index, assigned, restored });
        }
    }

    /// The broker's answer reaches the host.
    pub(super) fn answer_assignment(&mut self) {
        let answers = std::mem::take(&mut self.assigning);
        if answers.is_empty() {
            return;
        }
        self.events += 1;
        if self.stopping.is_some() {
            // Nothing is taken on any more.
            answers.iter().for_each(|answer| self.logs[answer.log].end_assignment());
            return;
        }
        let list: Vec<_> = answers.iter().map(|answer| answer.assigned.clone()).collect();
        self.machine.assigned(&list, self.now);
        for Answer { log, assigned, restored } in answers {
            self.begin_epoch(log, assigned.start, restored.as_ref());
        }
    }

    fn begin_epoch(&mut self, index: usize, start: Offset, restored: Option<&Restored>) {
        let log = &mut self.logs[index];
        log.begin_assignment(start.0, restored);
        log.owner = Owner::Host;
        let Some(epoch) = self.machine.active_epoch(&log.name) else {
            super::broken(format!("{} was assigned and is not", log.name))
        };
        log.epoch = epoch;
        note!(self, "{}: assigned from {start} in epoch {epoch}", log.name);
    }

    /// The group wants some partitions back, answered or not.
    pub(super) fn revoke(&mut self) {
        if self.revoking.is_some() {
            return;
        }
        let mut logs = self.some_of_ours();
        let unanswered = std::mem::take(&mut self.assigning);
        if !unanswered.is_empty() {
            self.seen.saw(Sight::RevokedWhileAssigning);
        }
        logs.extend(unanswered.iter().map(|answer| answer.log));
        if logs.is_empty() {
            return;
        }
        let names = self.names(&logs);
        note!(self, "revoke {}", listed(&names));
        if logs.iter().any(|index| self.logs[*index].calls > 0) {
            self.seen.saw(Sight::RevokedWithCalls);
        }
        self.revoking = Some(Revoking { logs, since: self.now, until: self.now + self.longest() });
        self.machine.revoke(&names, self.now);
    }

    fn some_of_ours(&mut self) -> Vec<usize> {
        let ours: Vec<_> =
            (0..self.logs.len()).filter(|index| matches!(self.logs[*index].owner, Owner::Host)).collect();
        ours.into_iter().filter(|_| self.rng.bool()).collect()
    }

    fn names(&self, logs: &[usize]) -> Vec<TopicPartition> {
        logs.iter().map(|index| self.logs[*index].name.clone()).collect()
    }

    /// The machine gives partitions back: what the group asked for is answered with it.
    pub(super) fn take_back(&mut self, names: &[TopicPartition]) {
        note!(self, "      give back {}", listed(names));
        let asked = self.revoking.take();
        let stopped = self.stopping.map(|_| self.stopped_at);
        let since = asked.iter().map(|asked| asked.since).chain(stopped).min().unwrap_or(self.now);
        let mut logs = asked.map(|asked| asked.logs).unwrap_or_default();
        for name in names {
            let index = self.index_of(name);
            if !logs.contains(&index) {
                logs.push(index);
            }
        }
        for index in logs {
            let name = self.logs[index].name.clone();
            promise!(self.machine.slot_of(&name).is_none(), "{name} is given back while it is being drained");
            if matches!(self.logs[index].owner, Owner::Host) {
                self.check_given_back(index, since);
            }
            self.check_cancelled(index);
            self.logs[index].end_assignment();
        }
    }

    pub(super) fn lose_some(&mut self) {
        let logs = self.some_to_lose();
        self.lose(&logs);
    }

    /// What is being revoked at that time is lost as well.
    fn some_to_lose(&mut self) -> Vec<usize> {
        let mut logs = self.some_of_ours();
        let revoking = self.revoking.iter().flat_map(|revoking| &revoking.logs);
        let ours = revoking.filter(|index| matches!(self.logs[**index].owner, Owner::Host));
        logs.extend(ours);
        logs.sort_unstable();
        logs.dedup();
        logs
    }

    /// Somebody else has these already.
    fn lose(&mut self, logs: &[usize]) {
        let names = self.names(logs);
        note!(self, "lost {}", listed(&names));
        if logs.iter().any(|index| self.logs[*index].calls > 0) {
            self.seen.saw(Sight::LostWithCalls);
        }
        self.machine.lost(&names);
        for &index in logs {
            self.check_cancelled(index);
            self.logs[index].end_assignment();
        }
        for answer in std::mem::take(&mut self.assigning) {
            self.logs[answer.log].end_assignment();
        }
        if let Some(revoking) = self.revoking.take() {
            // What was never answered is nobody's.
            for index in revoking.logs {
                if matches!(self.logs[index].owner, Owner::Assigning) {
                    self.logs[index].end_assignment();
                }
            }
        }
    }

    /// Lost and given again before the machine had time for anything.
    pub(super) fn lose_and_return(&mut self) {
        let logs = self.some_to_lose();
        if logs.iter().any(|index| self.logs[*index].calls > 0) && self.stopping.is_none() {
            self.seen.saw(Sight::ReturnedWithCalls);
        }
        self.lose(&logs);
        if self.stopping.is_none() {
            self.ask_positions(&logs);
            self.answer_assignment();
        }
    }

    /// Retention deletes records that were not polled yet: the position is gone, and is reset.
    pub(super) fn delete_records(&mut self) {
        let index = self.rng.usize(..self.logs.len());
        let log = &self.logs[index];
        if !self.takes_records(index) || log.next != log.handed || log.written < log.next + 2 {
            return;
        }
        let first = self.rng.usize(log.next + 1..log.written);
        self.seen.saw(Sight::Reset);
        self.logs[index].first = first;
        let start = Offset(self.logs[index].earliest());
        note!(self, "{}: records below {start} are deleted", self.logs[index].name);
        let assigned = Assigned {
            partition: self.logs[index].name.clone(),
            start,
            metadata: None,
            commit_start: true,
            topic_tag: 0,
            log_end: None,
        };
        self.machine.assigned(&[assigned], self.now);
        self.check_cancelled(index);
        self.begin_epoch(index, start, None);
    }
}

fn listed(names: &[TopicPartition]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
