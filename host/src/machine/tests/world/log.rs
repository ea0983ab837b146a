//! One partition: what the broker holds of it, and the naive model of what its owner has done.
//!
//! The model is one small state for each record. It is changed by what really happened (a call ended, an
//! acknowledgement arrived), never by what the machine says, and starts anew with each assignment from the
//! commit that the broker holds.

use crate::batch::{Headers, Record, TopicPartition};
use crate::dispatch::Ordering;
use crate::ids::{Epoch, Offset};
use crate::progress::{Progress, Restored};
use crate::time::Time;

/// Keys by number: no key, an empty one, and some others.
pub const KEYS: [Option<&[u8]>; 8] =
    [None, Some(b""), Some(b"a"), Some(b"b"), Some(b"c"), Some(b"dd"), Some(b"e"), Some(b"f")];

/// What values are cut from.
pub static VALUE: [u8; 60 << 10] = [7; 60 << 10];

const HEADER: [(&[u8], Option<&[u8]>); 2] = [(b"trace", Some(b"12")), (b"null", None)];

/// A record as the broker stores it.
#[derive(Clone, Copy, Debug)]
pub struct Stored {
    pub offset: i64,
    /// Index into [`KEYS`].
    pub key: usize,
    /// Bytes of its value.
    pub size: usize,
}

impl Stored {
    pub fn record(&self) -> Record<'static> {
        Record {
            offset: Offset(self.offset),
            timestamp: self.offset - 1,
            key: KEYS[self.key],
            value: (self.size > 0).then(|| &VALUE[..self.size]),
            headers: if self.size % 5 == 3 { Headers::List(&HEADER) } else { Headers::None },
        }
    }
}

/// Where a record is, in the present assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not handed to the owner yet.
    Ahead,
    /// Handed over, in no call.
    Waits,
    /// In a call.
    Out,
    /// It took effect; outputs of it are not acknowledged.
    Publishing,
    /// Complete, or said to be complete by the commit that the assignment started from.
    Done,
}

/// A record in the present assignment.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub state: State,
    pub attempts: u32,
    /// It has to run in a call of its own.
    pub alone: bool,
    /// It may not run again before.
    pub due: Time,
}

/// What the broker holds for the group.
#[derive(Clone, Debug)]
pub struct Committed {
    pub offset: i64,
    pub metadata: Vec<u8>,
}

/// Who has the partition.
#[derive(Debug)]
pub enum Owner {
    Nobody,
    /// This host asked where it starts.
    Assigning,
    /// This host.
    Host,
    /// A second member, with its own view of it.
    Member(Box<Progress>),
}

#[derive(Debug)]
pub struct Log {
    pub name: TopicPartition,
    /// Names the topic's id.
    pub tag: u32,
    pub records: Vec<Stored>,
    /// So many records were produced by now.
    pub written: usize,
    /// Records before this one were deleted.
    pub first: usize,
    /// Where the log begins.
    pub begin: i64,
    /// Offsets behind the last record that are markers.
    pub markers: i64,
    pub committed: Option<Committed>,
    pub owner: Owner,
    /// Counts assignments, of all owners.
    pub serial: u64,
    /// What the machine calls this assignment.
    pub epoch: Epoch,
    pub lives: Vec<Life>,
    /// Records handed to the owner: the next one that it has not seen.
    pub handed: usize,
    /// The record that the client delivers next.
    pub next: usize,
    /// The client fetches nothing.
    pub paused: bool,
    /// Records that wait, run or are being published, and their weight.
    pub open: usize,
    pub bytes: usize,
    /// Completed in this assignment, and those of them that were given up.
    pub completed: u64,
    pub failed: u64,
    /// Calls that are out, and answered ones with outputs that are not acknowledged.
    pub calls: usize,
    pub unacknowledged: usize,
    pub last_commit: i64,
    /// Commits in a row that had no room for it.
    pub left_out: usize,
    /// A commit of an older assignment landed in this one: the broker may hold less than it did.
    pub blurred: bool,
    /// The last offset that took effect, by key.
    pub effect: [i64; KEYS.len()],
    /// All records before this one are done.
    low: usize,
}

impl Log {
    pub fn new(name: TopicPartition, tag: u32, begin: i64, records: Vec<Stored>, markers: i64) -> Self {
        let life = Life { state: State::Ahead, attempts: 0, alone: false, due: Time::ZERO };
        Log {
            lives: vec![life; records.len()],
            name,
            tag,
            records,
            written: 0,
            first: 0,
            begin,
            markers,
            committed: None,
            owner: Owner::Nobody,
            serial: 0,
            epoch: Epoch(0),
            handed: 0,
            next: 0,
            paused: false,
            open: 0,
            bytes: 0,
            completed: 0,
            failed: 0,
            calls: 0,
            unacknowledged: 0,
            last_commit: begin,
            left_out: 0,
            blurred: false,
            effect: [i64::MIN; KEYS.len()],
            low: 0,
        }
    }

    /// Where the log ends now.
    pub fn end(&self) -> i64 {
        let markers = if self.written == self.records.len() { self.markers } else { 0 };
        self.written.checked_sub(1).map_or(self.begin, |last| self.records[last].offset + 1) + markers
    }

    /// Where a group starts that has committed nothing.
    pub fn earliest(&self) -> i64 {
        self.records.get(self.first).map_or_else(|| self.end(), |record| record.offset.min(self.end()))
    }

    /// The number of the record at this offset.
    pub fn index_of(&self, offset: i64) -> Option<usize> {
        self.records.binary_search_by_key(&offset, |record| record.offset).ok()
    }

    /// The first record at this offset or behind it.
    pub fn index_from(&self, offset: i64) -> usize {
        self.records.partition_point(|record| record.offset < offset)
    }

    /// A new owner starts here, with what the commit's metadata told.
    pub fn begin_assignment(&mut self, start: i64, restored: Option<&Restored>) {
        self.serial += 1;
        for (index, (life, record)) in self.lives.iter_mut().zip(&self.records).enumerate() {
            let told = restored.is_some_and(|restored| restored.is_completed(Offset(record.offset)));
            // Nobody can ask for a record that was deleted.
            let done = record.offset < start || told || index < self.first;
            let state = if done { State::Done } else { State::Ahead };
            *life = Life { state, attempts: 0, alone: false, due: Time::ZERO };
        }
        self.next = self.index_from(start).max(self.first);
        self.handed = self.next;
        self.paused = false;
        (self.open, self.bytes, self.calls, self.unacknowledged) = (0, 0, 0, 0);
        (self.completed, self.failed) = (0, 0);
        self.last_commit = start;
        self.left_out = 0;
        self.blurred = false;
        self.effect = [i64::MIN; KEYS.len()];
        self.low = 0;
    }

    /// Nobody has it any more.
    pub fn end_assignment(&mut self) {
        self.serial += 1;
        self.owner = Owner::Nobody;
    }

    /// The owner gets the record at `next`. True if it has to run.
    pub fn hand_over(&mut self) -> bool {
        let index = self.next;
        self.next += 1;
        if index < self.handed {
            return false;
        }
        self.handed = self.next;
        if self.lives[index].state != State::Ahead {
            return false;
        }
        self.lives[index].state = State::Waits;
        self.open += 1;
        self.bytes += self.records[index].record().weight();
        true
    }

    /// The record is complete. False if it was so before.
    pub fn complete(&mut self, index: usize) -> bool {
        if std::mem::replace(&mut self.lives[index].state, State::Done) == State::Done {
            return false;
        }
        self.open -= 1;
        self.bytes -= self.records[index].record().weight();
        self.completed += 1;
        true
    }

    pub fn is_done(&self, index: usize) -> bool {
        self.lives[index].state == State::Done
    }

    /// The first record that is not complete, handed over or not.
    pub fn first_unfinished(&mut self) -> usize {
        while self.lives.get(self.low).is_some_and(|life| life.state == State::Done) {
            self.low += 1;
        }
        self.low
    }

    /// All records before this one are complete.
    pub fn low(&self) -> usize {
        self.low
    }

    /// What orders a record: those with an equal one must not overtake each other. `None`: nothing does.
    pub fn order(&self, index: usize, ordering: Ordering) -> Option<usize> {
        match ordering {
            Ordering::Partition => Some(0),
            Ordering::Key => Some(self.records[index].key).filter(|key| *key > 0),
            Ordering::Unordered => None,
        }
    }

    /// True if all is done and committed.
    pub fn is_finished(&self) -> bool {
        matches!(self.owner, Owner::Host)
            && self.open == 0
            && self.handed == self.records.len()
            && self.committed.as_ref().is_some_and(|committed| committed.offset >= self.end())
    }
}
