//! Column batches: how records travel from the consumer thread to a guest.
//!
//! The consumer thread appends each polled record to the open batch of its shard: the one copy out of the
//! Kafka client's memory. The batch then moves, whole, to a worker, which lowers its columns into a guest
//! with one memory copy each and sends the batch back with its report, to be cleared and used again. Nothing
//! is allocated per record; a batch owns a fixed number of vectors that grow to their working size once.
//!
//! A record that has to leave its batch, because its key waits for a retry, becomes a [`Parked`].

mod headers;
mod parked;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use headers::{HeaderColumns, HeaderIter, Headers};
pub use parked::Parked;

use crate::ids::Offset;

/// Flag bit: the record has no key (an empty key is a key).
pub const NO_KEY: u8 = 1;
/// Flag bit: the record has no value: a tombstone.
pub const NO_VALUE: u8 = 2;

/// A record's bytes and meta data, borrowed from wherever they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it stands in its partition.
    pub offset: Offset,
    /// Milliseconds since 1970; -1 where the record has none.
    pub timestamp: i64,
    /// `None`: no key. An empty key is a key.
    pub key: Option<&'a [u8]>,
    /// `None`: a tombstone.
    pub value: Option<&'a [u8]>,
    /// In their order; names may repeat.
    pub headers: Headers<'a>,
}

impl Record<'_> {
    /// What the record counts against limits in bytes: key, value and headers, plus a fixed sum for the
    /// columns' entries, so that a million empty records are not free.
    pub fn weight(&self) -> usize {
        ENTRY_BYTES
            + self.key.map_or(0, <[u8]>::len)
            + self.value.map_or(0, <[u8]>::len)
            + self.headers.weight()
    }
}

/// Bytes of columns that each record takes besides its key, value and headers.
pub const ENTRY_BYTES: usize = 48;

/// The partition that a batch's records come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number, as Kafka counts.
    pub partition: i32,
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// Records of one partition, oldest first, as columns.
///
/// Invariant: every per-record column has [`len`](Batch::len) entries; `…_ends` never decrease and their
/// last entry is the length of the bytes they cut.
#[derive(Debug, Default)]
pub struct Batch {
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    keys: Vec<u8>,
    key_ends: Vec<u32>,
    values: Vec<u8>,
    value_ends: Vec<u32>,
    flags: Vec<u8>,
    any_flag: bool,
    attempts: Vec<u8>,
    any_attempt: bool,
    headers: HeaderColumns,
    hashes: Vec<u64>,
}

impl Batch {
    /// An empty batch that owns no memory yet.
    pub fn new() -> Self {
        Batch::default()
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// True if there is no record.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// What the records count against limits in bytes; the sum of [`Record::weight`].
    pub fn weight(&self) -> usize {
        self.len() * ENTRY_BYTES + self.keys.len() + self.values.len() + self.headers.weight()
    }

    /// True if a record of `bytes` more still fits into the columns, whose ends are 32-bit numbers.
    pub fn has_room(&self, bytes: usize) -> bool {
        self.keys.len().max(self.values.len()).max(self.headers.weight()).saturating_add(bytes)
            < u32::MAX as usize
    }

    /// Appends one record. `hash` is what orders it (see `dispatch`), `attempts` how often it was tried.
    ///
    /// The caller keeps a batch below 4 GiB with [`has_room`](Batch::has_room).
    pub fn push(&mut self, record: &Record<'_>, hash: u64, attempts: u32) {
        self.offsets.push(record.offset.0);
        self.timestamps.push(record.timestamp);
        self.keys.extend_from_slice(record.key.unwrap_or_default());
        self.key_ends.push(end(&self.keys));
        self.values.extend_from_slice(record.value.unwrap_or_default());
        self.value_ends.push(end(&self.values));
        let flags =
            if record.key.is_none() { NO_KEY } else { 0 } | if record.value.is_none() { NO_VALUE } else { 0 };
        self.flags.push(flags);
        self.any_flag |= flags != 0;
        self.attempts.push(u8::try_from(attempts).unwrap_or(u8::MAX));
        self.any_attempt |= attempts != 0;
        self.headers.push(self.offsets.len() - 1, record.headers);
        self.hashes.push(hash);
    }

    /// Record `index`.
    ///
    /// # Panics
    /// If `index` is not below [`len`](Batch::len): indices of guests are checked before they get here.
    pub fn record(&self, index: usize) -> Record<'_> {
        let flags = self.flags[index];
        Record {
            offset: Offset(self.offsets[index]),
            timestamp: self.timestamps[index],
            key: (flags & NO_KEY == 0).then(|| cut(&self.keys, &self.key_ends, index)),
            value: (flags & NO_VALUE == 0).then(|| cut(&self.values, &self.value_ends, index)),
            headers: self.headers.of(index),
        }
    }

    /// All records in order.
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        (0..self.len()).map(|index| self.record(index))
    }

    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.offsets.clear();
        self.timestamps.clear();
        self.keys.clear();
        self.key_ends.clear();
        self.values.clear();
        self.value_ends.clear();
        self.flags.clear();
        self.any_flag = false;
        self.attempts.clear();
        self.any_attempt = false;
        self.headers.clear();
        self.hashes.clear();
    }

    /// Bytes of memory that an empty batch would keep.
    pub fn capacity(&self) -> usize {
        self.keys.capacity()
            + self.values.capacity()
            + self.offsets.capacity() * ENTRY_BYTES
            + self.headers.capacity()
    }

    /// Appends copies of the records at `indices` to `into`, with their hashes and attempts.
    pub fn copy_to(&self, indices: impl IntoIterator<Item = usize>, into: &mut Batch) {
        for index in indices {
            into.push(&self.record(index), self.hashes[index], u32::from(self.attempts[index]));
        }
    }

    /// Offsets, ascending.
    pub fn offsets(&self) -> &[i64] {
        &self.offsets
    }

    /// Milliseconds since 1970, -1 for none.
    pub fn timestamps(&self) -> &[i64] {
        &self.timestamps
    }

    /// Keys end to end, and where each ends.
    pub fn keys(&self) -> (&[u8], &[u32]) {
        (&self.keys, &self.key_ends)
    }

    /// Values end to end, and where each ends.
    pub fn values(&self) -> (&[u8], &[u32]) {
        (&self.values, &self.value_ends)
    }

    /// One byte a record, or empty if no bit is set in any.
    pub fn flags(&self) -> &[u8] {
        if self.any_flag { &self.flags } else { &[] }
    }

    /// One byte a record, or empty if all are first attempts. Saturates at 255.
    pub fn attempts(&self) -> &[u8] {
        if self.any_attempt { &self.attempts } else { &[] }
    }

    /// Headers of all records.
    pub fn headers(&self) -> &HeaderColumns {
        &self.headers
    }

    /// What orders each record: equal hashes are never in two calls at once.
    pub fn hashes(&self) -> &[u64] {
        &self.hashes
    }
}

/// Entry `index` of a column of bytes.
pub(crate) fn cut<'a>(bytes: &'a [u8], ends: &[u32], index: usize) -> &'a [u8] {
    let start = if index == 0 { 0 } else { ends[index - 1] as usize };
    &bytes[start..ends[index] as usize]
}

/// The end of what was just appended.
fn end(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("callers keep a batch below 4 GiB: see `has_room`")
}
