//! What a generation did to records, for whoever decides whether it stays: a few atomic additions a call.
//!
//! Each record counts once, by its first attempt: one that is tried again and again would count against its generation
//! as often as the pipeline's policy says.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::deploy::verdict::{self, CLASSES, Seen, TIMES_BUCKETS, Times};

/// Counts of one generation. Any thread may add and read.
#[derive(Debug)]
pub struct Tally {
    done: AtomicU64,
    failed: AtomicU64,
    times: [[AtomicU64; TIMES_BUCKETS]; CLASSES],
    /// How long calls waited for an instance that had to be started.
    starts: [AtomicU64; TIMES_BUCKETS],
}

impl Default for Tally {
    fn default() -> Self {
        Tally {
            done: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            times: [const { [const { AtomicU64::new(0) }; TIMES_BUCKETS] }; CLASSES],
            starts: [const { AtomicU64::new(0) }; TIMES_BUCKETS],
        }
    }
}

impl Tally {
    /// Adds records that were done, and that failed.
    pub(super) fn add(&self, done: u64, failed: u64) {
        for (counter, count) in [(&self.done, done), (&self.failed, failed)] {
            if count > 0 {
                counter.fetch_add(count, Relaxed);
            }
        }
    }

    /// Adds a call of so many records, which took so long. It counts once: what its records took is one measurement.
    pub(super) fn add_call(&self, records: u32, spent: Duration) {
        if let Some(each) = spent.checked_div(records) {
            self.times[verdict::class(records)][verdict::bucket(each)].fetch_add(1, Relaxed);
        }
    }

    /// A call waited so long for an instance that had to be started. That is all that a switch keeps records from: what is
    /// called next is known at once.
    pub(super) fn add_start(&self, waited: Duration) {
        self.starts[verdict::bucket(waited)].fetch_add(1, Relaxed);
    }

    /// How many calls waited for an instance to start, and how long: 99 of a hundred, and all of them, at most.
    pub fn starts(&self) -> (u64, Duration, Duration) {
        let counts: [u64; TIMES_BUCKETS] = std::array::from_fn(|bucket| self.starts[bucket].load(Relaxed));
        let times = Times::from_counts(counts);
        (times.count(), times.at_most(0.99), times.at_most(1.0))
    }

    /// All of it as it stands.
    pub fn read(&self) -> Seen {
        let (done, failed) = (self.done.load(Relaxed), self.failed.load(Relaxed));
        let times = self.times.each_ref().map(|class| class.each_ref().map(|count| count.load(Relaxed)));
        Seen { records: done + failed, failed, times: Times::from_classes(Box::new(times)) }
    }
}
