//! Headers of records: as columns of a batch, and as a view of one record's.

use super::{cut, end};

/// Headers of all records of a batch, record after record.
///
/// Most topics carry none, so `counts` stays empty until the first header is seen, and then gets a zero for
/// each record before.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HeaderColumns {
    counts: Vec<u32>,
    /// Index of each record's first header; as long as `counts`.
    firsts: Vec<u32>,
    names: Vec<u8>,
    name_ends: Vec<u32>,
    values: Vec<u8>,
    value_ends: Vec<u32>,
    nulls: Vec<u8>,
    any_null: bool,
}

impl HeaderColumns {
    /// Appends the headers of record `index`, the newest.
    pub(super) fn push(&mut self, index: usize, headers: Headers<'_>) {
        if headers.is_empty() && self.counts.is_empty() {
            return;
        }
        let first = u32::try_from(self.name_ends.len()).expect("a batch holds fewer than 2^32 headers");
        // Records before the first header had none.
        if self.counts.len() < index {
            self.counts.resize(index, 0);
            self.firsts.resize(index, first);
        }
        self.firsts.push(first);
        let mut count = 0;
        for (name, value) in headers.iter() {
            self.names.extend_from_slice(name);
            self.name_ends.push(end(&self.names));
            self.values.extend_from_slice(value.unwrap_or_default());
            self.value_ends.push(end(&self.values));
            self.nulls.push(u8::from(value.is_none()));
            self.any_null |= value.is_none();
            count += 1;
        }
        self.counts.push(count);
    }

    /// The headers of record `index`.
    pub(super) fn of(&self, index: usize) -> Headers<'_> {
        match self.counts.get(index) {
            None | Some(0) => Headers::None,
            Some(&count) => Headers::Columns { columns: self, first: self.firsts[index], count },
        }
    }

    pub(super) fn clear(&mut self) {
        self.counts.clear();
        self.firsts.clear();
        self.names.clear();
        self.name_ends.clear();
        self.values.clear();
        self.value_ends.clear();
        self.nulls.clear();
        self.any_null = false;
    }

    /// Bytes of names, values and entries.
    pub(super) fn weight(&self) -> usize {
        self.names.len() + self.values.len() + self.name_ends.len() * HEADER_BYTES
    }

    pub(super) fn capacity(&self) -> usize {
        self.names.capacity() + self.values.capacity() + self.name_ends.capacity() * HEADER_BYTES
    }

    /// Headers of each record; empty if no record has any.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Names end to end, and where each ends.
    pub fn names(&self) -> (&[u8], &[u32]) {
        (&self.names, &self.name_ends)
    }

    /// Values end to end, and where each ends.
    pub fn values(&self) -> (&[u8], &[u32]) {
        (&self.values, &self.value_ends)
    }

    /// 1 where a value is null; empty if none is.
    pub fn nulls(&self) -> &[u8] {
        if self.any_null { &self.nulls } else { &[] }
    }

    fn header(&self, index: usize) -> (&[u8], Option<&[u8]>) {
        let value = (self.nulls[index] == 0).then(|| cut(&self.values, &self.value_ends, index));
        (cut(&self.names, &self.name_ends, index), value)
    }
}

/// Bytes of columns that each header takes besides its name and value.
const HEADER_BYTES: usize = 9;

/// The headers of one record.
#[derive(Clone, Copy, Debug)]
pub enum Headers<'a> {
    /// The record has none.
    None,
    /// Name and value of each, as the Kafka client hands them out.
    List(&'a [(&'a [u8], Option<&'a [u8]>)]),
    /// A part of a batch's columns.
    Columns {
        /// The columns of the whole batch.
        columns: &'a HeaderColumns,
        /// The record's first header.
        first: u32,
        /// How many it has.
        count: u32,
    },
    /// As a parked record keeps them.
    Packed(super::parked::PackedHeaders<'a>),
}

impl<'a> Headers<'a> {
    /// True if there is no header.
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }

    /// Name and value of each header, in order.
    pub fn iter(self) -> HeaderIter<'a> {
        HeaderIter { headers: self, next: 0 }
    }

    /// Bytes of names, values and entries.
    #[inline]
    pub fn weight(self) -> usize {
        // The usual record has none, and this is asked several times for each.
        if matches!(self, Headers::None) {
            return 0;
        }
        self.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len) + HEADER_BYTES).sum()
    }
}

impl PartialEq for Headers<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers<'_> {}

/// Iterates over the headers of one record.
#[derive(Clone, Debug)]
pub struct HeaderIter<'a> {
    headers: Headers<'a>,
    next: usize,
}

impl<'a> Iterator for HeaderIter<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        let header = match &mut self.headers {
            Headers::None => None,
            Headers::List(list) => list.get(self.next).copied(),
            Headers::Columns { columns, first, count } => {
                (self.next < *count as usize).then(|| columns.header(*first as usize + self.next))
            }
            Headers::Packed(packed) => packed.take(),
        };
        self.next += 1;
        header
    }
}
