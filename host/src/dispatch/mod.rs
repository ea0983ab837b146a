//! Which record runs next: pure structures that know no clock, thread or channel.
//!
//! The machine (see `machine`) owns one [`Shard`] for each slice of a partition's keys and asks it for work.
//! A record is in one of two places:
//!
//! * the **lane** of its shard: a queue of column batches, one of which may be out at a worker. This is the
//!   fast path: whole batches, nothing kept per key. A lane's one-batch-out rule is what keeps a key in one
//!   call at a time.
//! * the **key table** of its shard: a queue of its own for each key that needs one, because one of its
//!   records waits for a retry, has to run alone, or because it is slow, or the handler is for all keys, and
//!   keys must run side by side ([`Pacing::keyed`]). A key in the table never has records in the lane, so the
//!   two never race.
//!
//! A key returns to the lane when its queue has nothing special left, so a hot key that failed once is fast
//! again soon.

pub mod circuit;
pub mod keys;
pub mod pacing;
pub mod policy;
pub mod shard;
mod slow;

pub use circuit::Circuit;
pub use pacing::Pacing;
pub use policy::{Decision, FailurePolicy, Then};
pub use shard::{Admitted, Pace, Shard, Source, Taken};

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use std::hash::BuildHasher;

use crate::ids::Offset;

/// What order a pipeline keeps among the records of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// Records of one key in offset order; records without a key in any.
    Key,
    /// All records of the partition in offset order.
    Partition,
    /// None.
    Unordered,
}

/// Turns a record's key into the number that orders it.
///
/// The seed is random for each process, so that nobody can choose keys that collide. Two keys with one
/// number only wait for each other; nothing else goes wrong.
#[derive(Clone, Debug)]
pub struct Hasher {
    ordering: Ordering,
    state: SeedableRandomState,
}

impl Hasher {
    /// A hasher for one pipeline.
    pub fn new(ordering: Ordering, seed: u64) -> Self {
        Hasher { ordering, state: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()) }
    }

    /// Equal for records that must not overtake each other.
    pub fn hash(&self, key: Option<&[u8]>, offset: Offset) -> u64 {
        match (self.ordering, key) {
            (Ordering::Partition, _) => 0,
            (Ordering::Key, Some(key)) => self.state.hash_one(key),
            (Ordering::Key, None) | (Ordering::Unordered, _) => self.state.hash_one(offset.0),
        }
    }

    /// Which of `shards` a hash belongs to.
    pub fn shard(hash: u64, shards: usize) -> usize {
        // Multiply and shift: as even as a modulo, without its division (Lemire 2019).
        ((u128::from(hash) * shards as u128) >> 64) as usize
    }
}
