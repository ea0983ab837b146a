//! Check sums that tell whether the right records stand in a topic in the right order.
//!
//! What a topic's outputs have to be is computed once, from its inputs; what a contender wrote is read back
//! and summed up the same way. Nothing of either is kept but a number for each key.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::fast::FixedState;

use super::job::Sums;

/// The same in every process of one version; nothing is stored.
const SEED: u64 = 0x5a_4d11;

/// Adds up records.
#[derive(Debug)]
pub(super) struct Summing {
    hash: FixedState,
    records: u64,
    unordered: u64,
    /// By the hash of a key: the hash of its records so far.
    keys: HashMap<u64, u64>,
    partitions: BTreeMap<i32, u64>,
}

impl Default for Summing {
    fn default() -> Self {
        Self {
            hash: FixedState::with_seed(SEED),
            records: 0,
            unordered: 0,
            keys: HashMap::new(),
            partitions: BTreeMap::new(),
        }
    }
}

impl Summing {
    /// Adds the next record of a partition.
    pub(super) fn add(&mut self, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>, timestamp: i64) {
        let of_key = self.hash.hash_one(key);
        let mut hasher = self.hash.build_hasher();
        hasher.write_u64(of_key);
        hasher.write_i64(timestamp);
        hasher.write(value.unwrap_or(b"none"));
        let record = hasher.finish();
        self.records += 1;
        self.unordered = self.unordered.wrapping_add(record);
        for chain in [self.keys.entry(of_key).or_default(), self.partitions.entry(partition).or_default()] {
            *chain = self.hash.hash_one((*chain, record));
        }
    }

    /// The sums so far.
    pub(super) fn sums(&self) -> Sums {
        let by_key = self.keys.iter().map(|entry| self.hash.hash_one(entry));
        Sums {
            records: self.records,
            unordered: self.unordered,
            by_key: by_key.fold(0, u64::wrapping_add),
            by_partition: self.partitions.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records as partition, key and value.
    fn sums(records: &[(i32, &str, &str)]) -> Sums {
        let mut summing = Summing::default();
        for (partition, key, value) in records {
            summing.add(*partition, Some(key.as_bytes()), Some(value.as_bytes()), 5);
        }
        summing.sums()
    }

    #[test]
    fn records_of_different_keys_may_change_places_within_the_sum_by_key() {
        let (one, other) = (sums(&[(0, "a", "1"), (0, "b", "2")]), sums(&[(0, "b", "2"), (0, "a", "1")]));
        assert_eq!((one.by_key, one.unordered), (other.by_key, other.unordered));
        assert_ne!(one.by_partition, other.by_partition);
    }

    #[test]
    fn records_of_one_key_may_not() {
        let (one, other) = (sums(&[(0, "a", "1"), (0, "a", "2")]), sums(&[(0, "a", "2"), (0, "a", "1")]));
        assert_eq!(one.unordered, other.unordered);
        assert_ne!(one.by_key, other.by_key);
    }

    #[test]
    fn a_record_that_is_missing_doubled_or_changed_shows_in_every_sum() {
        let right = [(0, "a", "1"), (1, "b", "2")];
        for wrong in [
            &right[..1],
            &[right[0], right[1], right[1]],
            &[right[0], (1, "b", "3")],
            &[right[0], (1, "c", "2")],
            // Two of one kind do not cancel each other out.
            &[right[0], right[0], right[0], right[1]],
        ] {
            let (right, wrong) = (sums(&right), sums(wrong));
            assert_ne!(right.unordered, wrong.unordered);
            assert_ne!(right.by_key, wrong.by_key);
        }
        let mut timed = Summing::default();
        timed.add(0, Some(b"a"), Some(b"1"), 6);
        timed.add(1, Some(b"b"), Some(b"2"), 5);
        assert_ne!(timed.sums().by_key, sums(&right).by_key);
    }

    #[test]
    fn a_missing_key_is_not_an_empty_one() {
        let of = |key: Option<&[u8]>| {
            let mut summing = Summing::default();
            summing.add(0, key, None, 0);
            summing.sums().by_key
        };
        assert_ne!(of(None), of(Some(b"")));
    }
}
