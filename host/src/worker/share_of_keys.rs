//! Which keys a canary runs.
//!
//! A key stays with one version: on each worker, after a restart, and on each host of a consumer group that tries the
//! same module with the same share. So the choice follows from the key and from the module alone; the module is in it so
//! that it is not always the same keys that get what is new. A larger share has all keys of a smaller one.

use crate::batch::{Record, TopicPartition};
use crate::config::Ordering;
use crate::wasm::Digest;

/// A share of the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    percent: u8,
    salt: [u8; 32],
    by_partition: bool,
}

impl Share {
    /// `percent` of 100 of the keys, for a module of this digest. A pipeline in partition order has no keys: there it is
    /// so many of the partitions.
    pub fn new(percent: u8, module: &Digest, ordering: Ordering) -> Self {
        Share { percent, salt: *module.bytes(), by_partition: ordering == Ordering::Partition }
    }

    /// How many of 100.
    pub fn percent(&self) -> u8 {
        self.percent
    }

    /// Whether the canary runs this record. One without a key is chosen by its offset: nothing waits for it.
    pub(super) fn takes(&self, record: &Record<'_>, origin: &TopicPartition) -> bool {
        let hash = crc32c::crc32c(&self.salt);
        let hash = match record.key {
            _ if self.by_partition => {
                let hash = crc32c::crc32c_append(hash, origin.topic.as_bytes());
                crc32c::crc32c_append(hash, &origin.partition.to_le_bytes())
            }
            Some(key) => crc32c::crc32c_append(hash, key),
            None => crc32c::crc32c_append(hash, &record.offset.0.to_le_bytes()),
        };
        // A check sum spreads its input, but not evenly over all of its bits; Fibonacci hashing does (Knuth, The Art of
        // Computer Programming, volume 3, section 6.4).
        let mixed = u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        ((mixed * 100) >> 32) < u64::from(self.percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Headers;
    use crate::ids::Offset;

    fn origin(partition: i32) -> TopicPartition {
        TopicPartition { topic: "orders".into(), partition }
    }

    fn takes(share: &Share, key: Option<&[u8]>, partition: i32, offset: i64) -> bool {
        let record =
            Record { offset: Offset(offset), timestamp: -1, key, value: None, headers: Headers::None };
        share.takes(&record, &origin(partition))
    }

    #[test]
    fn a_share_is_about_as_many_of_the_keys_as_it_says_and_a_larger_one_has_them_all() {
        for module in 0..8 {
            let digest = Digest::of(&[module]);
            let taken = |percent| -> Vec<u32> {
                let share = Share::new(percent, &digest, Ordering::Key);
                (0..10_000_u32)
                    .filter(|key| takes(&share, Some(format!("user-{key}").as_bytes()), 0, 0))
                    .collect()
            };
            let (small, large) = (taken(10), taken(30));
            assert!((850..=1_150).contains(&small.len()), "{} of 10,000", small.len());
            assert!((2_750..=3_250).contains(&large.len()), "{} of 10,000", large.len());
            assert!(small.iter().all(|key| large.binary_search(key).is_ok()));
        }
    }

    #[test]
    fn a_key_is_on_one_side_wherever_it_lies_and_modules_differ_in_their_keys() {
        let share = |module| Share::new(50, &Digest::of(&[module]), Ordering::Key);
        let (one, other) = (share(1), share(2));
        let keys: Vec<Vec<u8>> = (0..200_u32).map(|key| key.to_le_bytes().to_vec()).collect();
        for key in &keys {
            let sides: Vec<bool> = (0..10).map(|at| takes(&one, Some(key), at, i64::from(at))).collect();
            assert!(sides.iter().all(|side| *side == sides[0]));
        }
        let differ = keys.iter().filter(|key| takes(&one, Some(key), 0, 0) != takes(&other, Some(key), 0, 0));
        assert!((60..=140).contains(&differ.count()));
    }

    #[test]
    fn in_partition_order_a_whole_partition_is_on_one_side() {
        let share = Share::new(50, &Digest::of(&[1]), Ordering::Partition);
        let side = |partition, key: u8| takes(&share, Some(&[key]), partition, i64::from(key));
        for partition in 0..64 {
            assert!((0..100).all(|key| side(partition, key) == side(partition, 0)));
        }
        let taken = (0..64).filter(|partition| side(*partition, 0)).count();
        assert!((16..=48).contains(&taken), "{taken} of 64");
    }

    #[test]
    fn records_without_a_key_are_spread() {
        let share = Share::new(25, &Digest::of(&[1]), Ordering::Key);
        let taken = (0..10_000).filter(|offset| takes(&share, None, 3, *offset)).count();
        assert!((2_200..=2_800).contains(&taken), "{taken} of 10,000");
    }
}
