//! A single record that waits outside of any batch: for its key, or for its next attempt.

use super::{Batch, Headers, NO_KEY, NO_VALUE, Record};
use crate::ids::Offset;
use crate::time::Time;

/// One record that owns its bytes, in one allocation.
#[derive(Debug)]
pub struct Parked {
    offset: Offset,
    timestamp: i64,
    /// What orders it.
    pub hash: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was first handed to a worker; `None`: never yet.
    pub first_dispatch: Option<Time>,
    /// Run it in a call of its own, so that its limits are its own.
    pub alone: bool,
    flags: u8,
    key_len: u32,
    value_len: u32,
    /// Key, value, then headers packed as [`PackedHeaders`] reads them.
    bytes: Box<[u8]>,
}

impl Parked {
    /// Copies `record` out of the client's memory or of a batch.
    pub fn new(record: &Record<'_>, hash: u64, attempts: u32) -> Self {
        let key = record.key.unwrap_or_default();
        let value = record.value.unwrap_or_default();
        let headers: usize = record.headers.iter().map(|(n, v)| 8 + n.len() + v.map_or(0, <[u8]>::len)).sum();
        let mut bytes = Vec::with_capacity(key.len() + value.len() + headers);
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(value);
        for (name, value) in record.headers.iter() {
            bytes.extend_from_slice(&length(name).to_le_bytes());
            bytes.extend_from_slice(&value.map_or(NULL, length).to_le_bytes());
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(value.unwrap_or_default());
        }
        Parked {
            offset: record.offset,
            timestamp: record.timestamp,
            hash,
            attempts,
            first_dispatch: None,
            alone: false,
            flags: if record.key.is_none() { NO_KEY } else { 0 }
                | if record.value.is_none() { NO_VALUE } else { 0 },
            key_len: length(key),
            value_len: length(value),
            bytes: bytes.into_boxed_slice(),
        }
    }

    /// Takes record `index` out of `batch`, with what it knows of attempts.
    pub fn from_batch(batch: &Batch, index: usize, attempts: u32) -> Self {
        Parked::new(&batch.record(index), batch.hashes()[index], attempts)
    }

    /// Where it stands in its partition.
    pub fn offset(&self) -> Offset {
        self.offset
    }

    /// The record.
    pub fn record(&self) -> Record<'_> {
        let (key, rest) = self.bytes.split_at(self.key_len as usize);
        let (value, headers) = rest.split_at(self.value_len as usize);
        Record {
            offset: self.offset,
            timestamp: self.timestamp,
            key: (self.flags & NO_KEY == 0).then_some(key),
            value: (self.flags & NO_VALUE == 0).then_some(value),
            headers: if headers.is_empty() { Headers::None } else { Headers::Packed(PackedHeaders(headers)) },
        }
    }
}

/// Marks a null value in place of its length.
const NULL: u32 = u32::MAX;

/// Kafka's own limit on a record is 2 GiB, the width of its length fields.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a Kafka record is smaller than 2 GiB")
}

/// Headers end to end: length of name, length of value or [`NULL`], name, value.
#[derive(Clone, Copy, Debug)]
pub struct PackedHeaders<'a>(&'a [u8]);

impl<'a> PackedHeaders<'a> {
    /// The next header; `None` at the end.
    pub(super) fn take(&mut self) -> Option<(&'a [u8], Option<&'a [u8]>)> {
        let (name_len, rest) = self.0.split_first_chunk()?;
        let (value_len, rest) = rest.split_first_chunk()?;
        let value_len = u32::from_le_bytes(*value_len);
        let (name, rest) = rest.split_at(u32::from_le_bytes(*name_len) as usize);
        let (value, rest) = rest.split_at(if value_len == NULL { 0 } else { value_len as usize });
        self.0 = rest;
        Some((name, (value_len != NULL).then_some(value)))
    }
}
