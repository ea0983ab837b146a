//! What is sent: records of 100 bytes with Zipf keys, and lines of a web server's log.

use sandmill::batch::{Batch, Headers, Record, TopicPartition};
use sandmill::ids::Offset;
use sandmill_tests::access_log;

use crate::zipf::{SplitMix, Zipf};

/// Different keys.
const KEYS: usize = 10_000;
/// Bytes of a value.
const VALUE: usize = 100;
const SEED: u64 = 0x005a_4d11;

/// Keys and values that records borrow from.
pub struct Source {
    keys: Vec<Vec<u8>>,
    values: Vec<Vec<u8>>,
}

impl Source {
    /// `count` records: 100 random bytes under a key drawn by Zipf's law.
    pub fn noise(count: usize) -> Self {
        let mut random = SplitMix(SEED);
        let keys = Zipf::new(KEYS, SEED).take(count).map(|key| format!("key-{key:04}").into_bytes());
        let value = || -> Vec<u8> {
            std::iter::repeat_with(|| random.number().to_le_bytes()).flatten().take(VALUE).collect()
        };
        Source { keys: keys.collect(), values: std::iter::repeat_with(value).take(count).collect() }
    }

    /// `count` real lines whose length lies in `lengths`, in their order and over again, keyed by address.
    pub fn lines(count: usize, lengths: std::ops::RangeInclusive<usize>) -> Self {
        let records = access_log::records();
        let fit = |line: &Option<Vec<u8>>| line.as_ref().is_some_and(|line| lengths.contains(&line.len()));
        let fitting: Vec<_> = records.into_iter().filter(|record| fit(&record.value)).collect();
        assert!(!fitting.is_empty(), "the log has lines of {lengths:?} bytes");
        let chosen = fitting.iter().cycle().take(count);
        Source {
            keys: chosen.clone().map(|record| record.key.clone().unwrap_or_default()).collect(),
            values: chosen.map(|record| record.value.clone().unwrap_or_default()).collect(),
        }
    }

    /// The records in order, with offsets from `first` on.
    pub fn records(&self, first: i64) -> impl Iterator<Item = Record<'_>> {
        (first..).zip(self.keys.iter().zip(&self.values)).map(|(offset, (key, value))| Record {
            offset: Offset(offset),
            timestamp: 1_431_857_103_000 + offset,
            key: Some(key),
            value: Some(value),
            headers: Headers::None,
        })
    }

    /// All of them as one batch.
    pub fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        self.records(0).for_each(|record| batch.push(&record, 0, 0));
        batch
    }

    /// The first `count` of them as a batch.
    pub fn first(&self, count: usize) -> Batch {
        let mut batch = Batch::new();
        self.records(0).take(count).for_each(|record| batch.push(&record, 0, 0));
        batch
    }

    /// Bytes of a value, on average.
    pub fn mean_value(&self) -> usize {
        self.values.iter().map(Vec::len).sum::<usize>() / self.values.len()
    }
}

/// Where all of them come from.
pub fn origin() -> TopicPartition {
    TopicPartition { topic: "orders".into(), partition: 3 }
}
