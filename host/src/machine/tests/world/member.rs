//! A second member of the group: takes partitions that nobody has, completes some of their records, commits,
//! and leaves. Positions and metadata so move on under the host.

use super::World;
use super::broker::told_complete;
use super::log::{Committed, Owner, State};
use crate::ids::Offset;
use crate::machine::tests::seen::Sight;
use crate::progress::{Admission, Progress};

impl World {
    pub(super) fn member_joins(&mut self) {
        let index = self.rng.usize(..self.logs.len());
        if !self.is_free(index) {
            return;
        }
        let log = &mut self.logs[index];
        let (start, restored) = told_complete(log, log.committed.as_ref());
        log.begin_assignment(start, restored.as_ref());
        log.owner = Owner::Member(Box::new(Progress::new(Offset(start), restored, log.tag)));
        note!(self, "{}: the second member has it from {start} on", self.logs[index].name);
        for _ in 0..self.rng.u8(1..4) {
            self.member_works(index);
        }
    }

    pub(super) fn member_acts(&mut self) {
        let index = self.rng.usize(..self.logs.len());
        self.member_works(index);
        if self.rng.bool() {
            self.member_leaves(index);
        }
    }

    pub(super) fn members_leave(&mut self) {
        for index in 0..self.logs.len() {
            self.member_leaves(index);
        }
    }

    /// Polls some records and completes some.
    fn member_works(&mut self, index: usize) {
        let log = &mut self.logs[index];
        // Taken out and put back: the model is changed beside it.
        let mut progress = match std::mem::replace(&mut log.owner, Owner::Nobody) {
            Owner::Member(progress) => progress,
            other => {
                log.owner = other;
                return;
            }
        };
        for _ in 0..self.rng.usize(..20) {
            let Some(record) = log.records[..log.written].get(log.next) else {
                progress.eof(Offset(log.end()));
                break;
            };
            let offset = Offset(record.offset);
            if !progress.may_admit(offset, &self.options.budget) {
                break;
            }
            let runs = progress.admit(offset) == Admission::Run;
            promise!(log.hand_over() == runs, "{}: {offset} does not start as the commit says", log.name);
        }
        for record in log.first_unfinished()..log.handed {
            if log.lives[record].state == State::Waits && self.rng.bool() {
                let offset = log.records[record].offset;
                promise!(progress.complete(Offset(offset)), "{}: {offset} cannot be completed", log.name);
                log.complete(record);
            }
        }
        log.owner = Owner::Member(progress);
    }

    /// Leaves, mostly with a commit.
    fn member_leaves(&mut self, index: usize) {
        let log = &self.logs[index];
        let Owner::Member(progress) = &log.owner else { return };
        if self.rng.u8(..4) == 0 {
            note!(self, "{}: the second member is gone without a commit", log.name);
            self.seen.saw(Sight::MemberVanished);
        } else {
            let snapshot = progress.snapshot(&self.options.budget);
            note!(self, "{}: the second member commits {} and leaves", log.name, snapshot.offset);
            self.seen.saw(Sight::MemberCommitted);
            let (offset, metadata) = (snapshot.offset.0, snapshot.metadata.into_bytes());
            self.check_commit(index, offset, &metadata);
            self.logs[index].committed = Some(Committed { offset, metadata });
        }
        self.logs[index].end_assignment();
    }
}
