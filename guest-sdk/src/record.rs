//! Reading: a [`Batch`] borrows the columns that the host copied in, a [`Record`] is one row of them.

use crate::raw::{self, HeaderColumns, input_flag};

/// Records of one partition, oldest first.
///
/// Invariant: the host wrote the columns, so their lengths agree and their ends grow and stay inside the
/// bytes. A batch that breaks this panics; it cannot come from a host that keeps the contract.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offsets: &'a [i64],
    pub(crate) timestamps: &'a [i64],
    pub(crate) keys: &'a [u8],
    pub(crate) key_ends: &'a [u32],
    pub(crate) values: &'a [u8],
    pub(crate) value_ends: &'a [u32],
    pub(crate) flags: &'a [u8],
    pub(crate) attempts: &'a [u8],
    pub(crate) headers: HeaderView<'a>,
}

/// Columns of headers, with where those of each record end in place of how many it has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeaderView<'a> {
    /// Empty if no record has any.
    pub(crate) ends: &'a [u32],
    pub(crate) names: &'a [u8],
    pub(crate) name_ends: &'a [u32],
    pub(crate) values: &'a [u8],
    pub(crate) value_ends: &'a [u32],
    pub(crate) nulls: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Borrows columns that a test or a native host made; `header_ends` come from their header counts.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn of(columns: &'a raw::Batch, header_ends: &'a [u32]) -> Self {
        let headers = &columns.headers;
        Self {
            topic: &columns.topic,
            partition: columns.partition,
            offsets: &columns.offsets,
            timestamps: &columns.timestamps,
            keys: &columns.keys,
            key_ends: &columns.key_ends,
            values: &columns.values,
            value_ends: &columns.value_ends,
            flags: &columns.flags,
            attempts: &columns.attempts,
            headers: HeaderView {
                ends: header_ends,
                names: &headers.names,
                name_ends: &headers.name_ends,
                values: &headers.values,
                value_ends: &headers.value_ends,
                nulls: &headers.nulls,
            },
        }
    }

    /// The same columns, owned.
    pub(crate) fn to_raw(self) -> raw::Batch {
        let headers = self.headers;
        let starts = std::iter::once(&0).chain(headers.ends);
        raw::Batch {
            topic: self.topic.to_owned(),
            partition: self.partition,
            offsets: self.offsets.to_vec(),
            timestamps: self.timestamps.to_vec(),
            keys: self.keys.to_vec(),
            key_ends: self.key_ends.to_vec(),
            values: self.values.to_vec(),
            value_ends: self.value_ends.to_vec(),
            flags: self.flags.to_vec(),
            attempts: self.attempts.to_vec(),
            headers: HeaderColumns {
                counts: headers.ends.iter().zip(starts).map(|(end, start)| end - start).collect(),
                names: headers.names.to_vec(),
                name_ends: headers.name_ends.to_vec(),
                values: headers.values.to_vec(),
                value_ends: headers.value_ends.to_vec(),
                nulls: headers.nulls.to_vec(),
            },
        }
    }

    /// The topic of all records.
    pub fn topic(&self) -> &'a str {
        self.topic
    }

    /// The partition of all records.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is none. The host calls with at least one.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The record at `index`, or none past the last.
    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        if index >= self.len() {
            return None;
        }
        let start = |ends: &[u32]| if index == 0 { 0 } else { ends[index - 1] as usize };
        Some(self.record(index, start(self.key_ends), start(self.value_ends)))
    }

    /// The records, oldest first.
    pub fn iter(&self) -> Records<'_> {
        Records { batch: self, next: 0, key_start: 0, value_start: 0 }
    }

    /// The record at `index`, whose key and value begin at these places.
    #[inline]
    fn record(&self, index: usize, key_start: usize, value_start: usize) -> Record<'_> {
        let key = &self.keys[key_start..self.key_ends[index] as usize];
        let value = &self.values[value_start..self.value_ends[index] as usize];
        let flags = if self.flags.is_empty() { 0 } else { self.flags[index] };
        Record {
            batch: self,
            index,
            key: (flags & input_flag::NO_KEY == 0).then_some(key),
            value: (flags & input_flag::NO_VALUE == 0).then_some(value),
        }
    }
}

impl<'a> IntoIterator for &'a Batch<'_> {
    type Item = Record<'a>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.iter()
    }
}

/// The records of a batch, oldest first.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    batch: &'a Batch<'a>,
    next: usize,
    key_start: usize,
    value_start: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let index = self.next;
        if index >= self.batch.len() {
            return None;
        }
        let record = self.batch.record(index, self.key_start, self.value_start);
        self.next = index + 1;
        self.key_start = self.batch.key_ends[index] as usize;
        self.value_start = self.batch.value_ends[index] as usize;
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.batch.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Records<'_> {}

/// One record: a row of its batch, cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    batch: &'a Batch<'a>,
    index: usize,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    /// The key; none is not the same as an empty one.
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// The value; none is a tombstone.
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    /// The headers, in the order in which the record has them.
    pub fn headers(&self) -> Headers<'a> {
        let ends = self.batch.headers.ends;
        let start = if self.index == 0 { 0 } else { ends.get(self.index - 1).copied().unwrap_or(0) };
        let end = ends.get(self.index).copied().unwrap_or(0);
        Headers { columns: self.batch.headers, next: start as usize, end: end as usize }
    }

    /// The last header of this name, which is the one that counts where a name repeats.
    pub fn header(&self, name: &str) -> Option<Header<'a>> {
        self.headers().rfind(|header| header.name == name.as_bytes())
    }

    /// Milliseconds since 1970; none where the record has no timestamp.
    pub fn timestamp(&self) -> Option<i64> {
        Some(self.batch.timestamps[self.index]).filter(|&timestamp| timestamp != -1)
    }

    /// The record's offset in its partition.
    pub fn offset(&self) -> i64 {
        self.batch.offsets[self.index]
    }

    /// The topic it came from.
    pub fn topic(&self) -> &'a str {
        self.batch.topic
    }

    /// The partition it came from.
    pub fn partition(&self) -> i32 {
        self.batch.partition
    }

    /// How often this record was tried before; 0 at the first attempt, and at most 255.
    pub fn attempt(&self) -> u8 {
        self.batch.attempts.get(self.index).copied().unwrap_or(0)
    }

    /// The record's place in its batch.
    pub fn index(&self) -> usize {
        self.index
    }
}

/// One header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The name; Kafka wants UTF-8, but not every producer keeps to it.
    pub name: &'a [u8],
    /// The value; none is not the same as an empty one.
    pub value: Option<&'a [u8]>,
}

/// The headers of one record, in order.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    columns: HeaderView<'a>,
    next: usize,
    end: usize,
}

impl<'a> Headers<'a> {
    fn get(&self, index: usize) -> Header<'a> {
        let columns = self.columns;
        let null = columns.nulls.get(index).is_some_and(|&null| null != 0);
        Header {
            name: slice(columns.names, columns.name_ends, index),
            value: (!null).then(|| slice(columns.values, columns.value_ends, index)),
        }
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        if self.next == self.end {
            return None;
        }
        self.next += 1;
        Some(self.get(self.next - 1))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }
}

impl DoubleEndedIterator for Headers<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        if self.next == self.end {
            return None;
        }
        self.end -= 1;
        Some(self.get(self.end))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Entry `index` of a column of byte strings that lie end to end.
#[inline]
fn slice<'a>(bytes: &'a [u8], ends: &[u32], index: usize) -> &'a [u8] {
    let start = if index == 0 { 0 } else { ends[index - 1] as usize };
    &bytes[start..ends[index] as usize]
}
