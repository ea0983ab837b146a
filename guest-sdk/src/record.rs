//! Reading: a [`Batch`] owns the columns that the host copied in, a [`Record`] borrows one row of them.

use crate::raw::{self, HeaderColumns, input_flag};

/// Records of one partition, oldest first.
///
/// Invariant: the host wrote the columns, so their lengths agree and their ends grow and stay inside the
/// bytes. A batch that breaks this panics; it cannot come from a host that keeps the contract.
#[derive(Debug)]
pub struct Batch {
    raw: raw::Batch,
    /// Where each record's headers end in the header columns; empty if no record has any.
    header_ends: Vec<u32>,
}

impl Batch {
    /// Takes the columns over. The header counts become ends in place, so this allocates nothing.
    pub(crate) fn new(mut raw: raw::Batch) -> Self {
        let mut header_ends = std::mem::take(&mut raw.headers.counts);
        let mut end = 0;
        for count in &mut header_ends {
            end += *count;
            *count = end;
        }
        Self { raw, header_ends }
    }

    /// The topic of all records.
    pub fn topic(&self) -> &str {
        &self.raw.topic
    }

    /// The partition of all records.
    pub fn partition(&self) -> i32 {
        self.raw.partition
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.raw.offsets.len()
    }

    /// Whether there is none. The host calls with at least one.
    pub fn is_empty(&self) -> bool {
        self.raw.offsets.is_empty()
    }

    /// The record at `index`, or none past the last.
    pub fn get(&self, index: usize) -> Option<Record<'_>> {
        if index >= self.len() {
            return None;
        }
        let flags = self.raw.flags.get(index).copied().unwrap_or(0);
        let key = slice(&self.raw.keys, &self.raw.key_ends, index);
        let value = slice(&self.raw.values, &self.raw.value_ends, index);
        Some(Record {
            batch: self,
            index,
            key: (flags & input_flag::NO_KEY == 0).then_some(key),
            value: (flags & input_flag::NO_VALUE == 0).then_some(value),
        })
    }

    /// The records, oldest first.
    pub fn iter(&self) -> Records<'_> {
        Records { batch: self, next: 0 }
    }

    /// Bytes of all values.
    pub(crate) fn value_bytes(&self) -> usize {
        self.raw.values.len()
    }
}

impl<'a> IntoIterator for &'a Batch {
    type Item = Record<'a>;
    type IntoIter = Records<'a>;

    fn into_iter(self) -> Records<'a> {
        self.iter()
    }
}

/// The records of a batch, oldest first.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    batch: &'a Batch,
    next: usize,
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    #[inline]
    fn next(&mut self) -> Option<Record<'a>> {
        let record = self.batch.get(self.next)?;
        self.next += 1;
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
    batch: &'a Batch,
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
        let ends = &self.batch.header_ends;
        let start = if self.index == 0 { 0 } else { ends.get(self.index - 1).copied().unwrap_or(0) };
        let end = ends.get(self.index).copied().unwrap_or(0);
        Headers { columns: &self.batch.raw.headers, next: start as usize, end: end as usize }
    }

    /// The last header of this name, which is the one that counts where a name repeats.
    pub fn header(&self, name: &str) -> Option<Header<'a>> {
        self.headers().rfind(|header| header.name == name.as_bytes())
    }

    /// Milliseconds since 1970; none where the record has no timestamp.
    pub fn timestamp(&self) -> Option<i64> {
        Some(self.batch.raw.timestamps[self.index]).filter(|&timestamp| timestamp != -1)
    }

    /// The record's offset in its partition.
    pub fn offset(&self) -> i64 {
        self.batch.raw.offsets[self.index]
    }

    /// The topic it came from.
    pub fn topic(&self) -> &'a str {
        &self.batch.raw.topic
    }

    /// The partition it came from.
    pub fn partition(&self) -> i32 {
        self.batch.raw.partition
    }

    /// How often this record was tried before; 0 at the first attempt, and at most 255.
    pub fn attempt(&self) -> u8 {
        self.batch.raw.attempts.get(self.index).copied().unwrap_or(0)
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
    columns: &'a HeaderColumns,
    next: usize,
    end: usize,
}

impl<'a> Headers<'a> {
    fn get(&self, index: usize) -> Header<'a> {
        let columns = self.columns;
        let null = columns.nulls.get(index).is_some_and(|&null| null != 0);
        Header {
            name: slice(&columns.names, &columns.name_ends, index),
            value: (!null).then(|| slice(&columns.values, &columns.value_ends, index)),
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
