//! Keys that are slower than the others, as far as one shard knows.
//!
//! While most records are quick, records of many keys share a call, and one slow record holds up all of them, and
//! the lane with them. So a call that took much longer than its number of records explains makes all its keys
//! *suspects*: their next records run in queues of their own, beside each other. One that then is quick goes back
//! to the lane, one that is slow stays, and delays nobody but itself.
//!
//! The list is bounded: when it is full, suspects are forgotten first, then everything. What is forgotten is found
//! out again. So keys that never come again cannot fill it for good.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::keys::Identity;

/// Keys that one shard remembers, at most: 34 KiB.
const KEPT: usize = 1_024;

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It was in a call that took too long.
    Suspect,
    /// A call of its own took long.
    Slow,
}

/// The list.
#[derive(Debug, Default)]
pub(super) struct SlowKeys {
    keys: HashMap<u64, Verdict, BuildHasherDefault<Identity>>,
}

impl SlowKeys {
    /// True if the key needs a queue of its own.
    #[inline]
    pub fn contains(&self, hash: u64) -> bool {
        !self.keys.is_empty() && self.keys.contains_key(&hash)
    }

    /// One of these keys is slow.
    pub fn suspect(&mut self, hashes: &[u64]) {
        for &hash in hashes {
            if !self.keys.contains_key(&hash) {
                self.make_room();
                self.keys.insert(hash, Verdict::Suspect);
            }
        }
    }

    /// A call of this key alone was slow, or was not.
    pub fn judge(&mut self, hash: u64, slow: bool) {
        if slow {
            if !self.keys.contains_key(&hash) {
                self.make_room();
            }
            self.keys.insert(hash, Verdict::Slow);
        } else {
            self.keys.remove(&hash);
        }
    }

    pub fn is_slow(&self, hash: u64) -> bool {
        self.keys.get(&hash) == Some(&Verdict::Slow)
    }

    fn make_room(&mut self) {
        if self.keys.len() >= KEPT {
            self.keys.retain(|_, verdict| *verdict == Verdict::Slow);
        }
        if self.keys.len() >= KEPT {
            self.keys.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspect_is_cleared_or_convicted_by_a_call_of_its_own() {
        let mut keys = SlowKeys::default();
        keys.suspect(&[1, 2]);
        assert!(keys.contains(1) && keys.contains(2) && !keys.contains(3));
        keys.judge(1, false);
        keys.judge(2, true);
        assert!(!keys.contains(1) && keys.is_slow(2));
        keys.suspect(&[2]);
        assert!(keys.is_slow(2), "suspicion takes no knowledge away");
        keys.judge(2, false);
        assert!(!keys.contains(2));
    }

    #[test]
    fn it_is_bounded_and_forgets_suspects_first() {
        let mut keys = SlowKeys::default();
        keys.judge(7, true);
        keys.suspect(&(100..100 + 3 * KEPT as u64).collect::<Vec<_>>());
        assert!(keys.keys.len() <= KEPT && keys.is_slow(7));
        for hash in 10_000..10_000 + 2 * KEPT as u64 {
            keys.judge(hash, true);
        }
        assert!(keys.keys.len() <= KEPT);
        keys.suspect(&[1]);
        assert!(keys.contains(1), "keys that never come again do not fill it for good");
    }
}
