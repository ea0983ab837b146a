//! The keys of one shard that need a queue of their own.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::batch::Parked;
use crate::time::Time;

/// Records of one key that wait, oldest first.
#[derive(Debug)]
pub(super) struct Key {
    pub waiting: VecDeque<Parked>,
    pub state: State,
}

/// What keeps a key's next record from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing: it stands in the dispatcher's list of ready keys.
    Ready,
    /// A record of it is in a call.
    Out,
    /// Its first record waits for its next attempt.
    Backoff(Time),
}

/// Keys by hash. The hash is already one, so it is not hashed again.
pub(super) type Table = HashMap<u64, Key, BuildHasherDefault<Identity>>;

/// Passes a 64-bit hash through.
#[derive(Default)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only 64-bit hashes are keys of this table")
    }

    fn write_u64(&mut self, hash: u64) {
        // `HashMap` takes the bucket from the low and a tag from the high bits; partition order hashes all
        // records to 0, every other hash is well mixed.
        self.0 = hash;
    }
}

impl Key {
    pub(super) fn new(state: State) -> Self {
        Key { waiting: VecDeque::new(), state }
    }

    /// How many records at the front may go into one call: records that have to be alone go alone.
    pub(super) fn run_length(&self, at_most: usize) -> usize {
        let together = self.waiting.iter().take(at_most).take_while(|r| !special(r)).count();
        together.max(1).min(self.waiting.len())
    }

    /// True if a record has to be tried alone, so that the key may not go back to the lane.
    pub(super) fn has_special(&self) -> bool {
        self.waiting.iter().any(special)
    }
}

/// A record that was tried before, or that has to run alone.
fn special(record: &Parked) -> bool {
    record.alone || record.attempts > 0
}
