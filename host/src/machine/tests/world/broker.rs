//! The broker's part in commits: what it takes, what it refuses, and which replies arrive.

use super::World;
use super::log::{Committed, Log, Owner};
use super::shape::Kind;
use crate::batch::TopicPartition;
use crate::machine::commit::{Entry, Reason, Reply};
use crate::machine::partition::{Partition, Phase};
use crate::machine::tests::seen::Sight;

const REASONS: [Reason; 7] = [
    Reason::Rebalance,
    Reason::Fenced,
    Reason::MetadataTooLarge,
    Reason::Coordinator,
    Reason::Authorization,
    Reason::Timeout,
    Reason::Other,
];

/// One request that is one batch of the broker's offsets topic, at most.
const REQUEST_BYTES: usize = 512 << 10;

/// A commit on its way.
pub struct Request {
    /// Each with its log and the assignment that it was taken in.
    entries: Vec<(usize, u64, Entry)>,
    /// The answer, once the broker has it.
    replies: Option<Vec<Reply>>,
}

impl World {
    pub(super) fn take_commit(&mut self, entries: Vec<Entry>) {
        note!(self, "      commit {}", listed(&entries));
        promise!(self.request.is_none(), "two commits are outstanding");
        promise!(!entries.is_empty(), "a commit is empty");
        let bytes: usize = entries.iter().map(|entry| entry.metadata.len()).sum();
        promise!(bytes <= REQUEST_BYTES, "a commit of {bytes} bytes is too large for one request");
        let mut named: Vec<(usize, u64, Entry)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let index = self.index_of(&entry.partition);
            promise!(named.iter().all(|(known, ..)| *known != index), "a commit names a partition twice");
            self.check_commit(index, entry.offset.0, entry.metadata.as_bytes());
            let serial = self.logs[index].serial;
            named.push((index, serial, entry));
        }
        self.check_turns(&named);
        if self.strikes(Kind::Commits, 20) {
            note!(self, "the client does not take the commit");
            self.seen.saw(Sight::CommitNotTaken);
            self.not_taken = true;
            self.machine.commit_replied(&[], self.now);
            return;
        }
        self.request = Some(Request { entries: named, replies: None });
    }

    /// A partition that changed and finds no room in a request is not left out for ever.
    fn check_turns(&mut self, named: &[(usize, u64, Entry)]) {
        let given_back = |p: &Partition| p.phase == Phase::Committing;
        let named = |index| named.iter().any(|(known, ..)| *known == index);
        let partitions = &self.machine.partitions;
        let active =
            |name: &TopicPartition| partitions.iter().any(|(_, p)| p.name == *name && !given_back(p));
        // A request of what is given back alone is no regular one.
        let regular = (0..self.logs.len()).any(|index| named(index) && active(&self.logs[index].name));
        for (_, partition) in partitions {
            let index = self.index_of(&partition.name);
            let left_out = partition.dirty && regular && !named(index);
            if left_out {
                self.seen.saw(Sight::CommitFull);
            }
            let most = self.logs.len();
            let log = &mut self.logs[index];
            log.left_out = if left_out { log.left_out + 1 } else { 0 };
            promise!(
                log.left_out <= most,
                "{}: left out of {} commits that named others",
                log.name,
                log.left_out
            );
        }
    }

    /// A commit reaches the broker, or its reply the host.
    pub(super) fn move_commit(&mut self) {
        if self.silence > 0 || self.troubled(Kind::Commits) && self.rng.bool() {
            return;
        }
        let Some(mut request) = self.request.take() else { return };
        self.events += 1;
        match request.replies.take() {
            None => {
                request.replies = Some(self.land(&request));
                self.request = Some(request);
            }
            Some(replies) => {
                note!(self, "reply to the commit: {}", told(&replies));
                self.machine.commit_replied(&replies, self.now);
            }
        }
    }

    /// The broker takes a commit that was on its way when the host died.
    pub(super) fn land_orphan(&mut self) {
        if let Some(request) = self.request.take() {
            self.seen.saw(Sight::CrashedWithCommit);
            if request.replies.is_none() && self.rng.bool() {
                note!(self, "the last commit reached the broker");
                self.land(&request);
            }
        }
    }

    fn land(&mut self, request: &Request) -> Vec<Reply> {
        let mut replies: Vec<Reply> = Vec::with_capacity(request.entries.len());
        // The request as a whole fails: the broker may have it all the same.
        let whole = self.strikes(Kind::Commits, 6).then(|| REASONS[self.rng.usize(..REASONS.len())]);
        let taken = whole.is_none() || self.rng.bool();
        for (index, serial, entry) in &request.entries {
            let late = self.logs[*index].serial != *serial;
            // A member of an older generation is refused; one that has the partition again may not be.
            let refused = !matches!(self.logs[*index].owner, Owner::Host) || late && self.rng.bool();
            let mut result = match whole {
                _ if refused => Err(Reason::Rebalance),
                Some(reason) => Err(reason),
                None => Ok(()),
            };
            let mut takes = taken && !refused;
            if self.strikes(Kind::Commits, 6) {
                result = Err(REASONS[self.rng.usize(..REASONS.len())]);
                // If a part of a request is refused the client says so of other parts as well.
                takes &= self.rng.bool();
                self.seen.saw(Sight::CommitFailedInPart);
            }
            if takes {
                if late {
                    self.logs[*index].blurred = true;
                    self.seen.saw(Sight::CommitLandedLate);
                }
                if result.is_err() {
                    self.seen.saw(Sight::CommitReplyLost);
                }
                let metadata = entry.metadata.clone().into_bytes();
                self.logs[*index].committed = Some(Committed { offset: entry.offset.0, metadata });
            }
            replies.push((entry.partition.clone(), result));
        }
        if whole.is_some() && self.rng.bool() {
            // A reply that names nothing.
            replies.clear();
        }
        note!(self, "the broker {} the commit", if taken { "has" } else { "refuses" });
        replies
    }
}

/// The offset and the records above it that a commit says are complete.
pub fn told_complete(log: &Log, committed: Option<&Committed>) -> (i64, Option<crate::progress::Restored>) {
    let Some(committed) = committed else { return (log.earliest(), None) };
    let restored = (!committed.metadata.is_empty()).then(|| {
        let base = crate::ids::Offset(committed.offset);
        match crate::progress::decode(&committed.metadata, base, log.tag) {
            Ok(restored) => restored,
            Err(reason) => super::broken(format!("{}: metadata cannot be read back: {reason}", log.name)),
        }
    });
    (committed.offset, restored)
}

fn listed(entries: &[Entry]) -> String {
    let entry = |entry: &Entry| {
        format!("{} at {} with {} characters", entry.partition, entry.offset, entry.metadata.len())
    };
    entries.iter().map(entry).collect::<Vec<_>>().join(", ")
}

fn told(replies: &[Reply]) -> String {
    let reply = |(name, result): &Reply| match result {
        Ok(()) => format!("{name} committed"),
        Err(reason) => format!("{name} {reason:?}"),
    };
    replies.iter().map(reply).collect::<Vec<_>>().join(", ")
}
