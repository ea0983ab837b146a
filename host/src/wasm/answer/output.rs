//! Walking over the outputs of a checked answer.

use super::{
    Answer, Columns, HeaderColumns, INPUT_HEADERS, INPUT_KEY, INPUT_TIMESTAMP, NO_KEY, NO_VALUE, PARTITION,
};
use crate::batch::{Batch, HeaderIter, Headers, cut};

/// Bytes that a header weighs besides its name and value, as in a batch.
const HEADER_BYTES: usize = 9;

/// One record to publish; its parts borrow from the answer, or from the batch where it takes them from its
/// input.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a> {
    /// Which record of the batch it answers.
    pub input: usize,
    /// Index of a declared output topic.
    pub destination: usize,
    /// `None`: the partitioner decides.
    pub partition: Option<i32>,
    /// `None`: no key.
    pub key: Option<&'a [u8]>,
    /// `None`: a tombstone.
    pub value: Option<&'a [u8]>,
    /// Milliseconds since 1970; -1 for none.
    pub timestamp: i64,
    /// In their order; names may repeat.
    pub headers: OutputHeaders<'a>,
}

/// Headers of one output record.
#[derive(Clone, Copy, Debug)]
pub enum OutputHeaders<'a> {
    /// Those of its input.
    Input(Headers<'a>),
    /// Its own.
    Own {
        /// Headers of the whole answer.
        columns: &'a HeaderColumns,
        /// The record's first header.
        first: usize,
        /// How many it has.
        count: usize,
    },
}

impl<'a> OutputHeaders<'a> {
    /// Name and value of each header, in order; the value may be null.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        match self {
            OutputHeaders::Input(headers) => Iter::Input(headers.iter()),
            OutputHeaders::Own { columns, first, count } => {
                Iter::Own { columns, next: first, end: first + count }
            }
        }
    }

    /// True if there is no header.
    pub fn is_empty(self) -> bool {
        self.iter().next().is_none()
    }

    pub(super) fn weight(self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.map_or(0, <[u8]>::len) + HEADER_BYTES).sum()
    }
}

enum Iter<'a> {
    Input(HeaderIter<'a>),
    Own { columns: &'a HeaderColumns, next: usize, end: usize },
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Iter::Input(headers) => headers.next(),
            Iter::Own { next, end, .. } if next == end => None,
            Iter::Own { columns, next, .. } => {
                let header = *next;
                *next += 1;
                let null = columns.nulls.get(header) == Some(&1);
                let value = (!null).then(|| cut(&columns.values, &columns.value_ends, header));
                Some((cut(&columns.names, &columns.name_ends, header), value))
            }
        }
    }
}

/// Iterates over the outputs of an answer, in the order in which they are to be published.
#[derive(Clone, Debug)]
pub struct Outputs<'a> {
    columns: &'a Columns,
    batch: &'a Batch,
    next: usize,
    next_header: usize,
}

impl Answer {
    /// The records to publish, in order. `batch` is the one that the answer was checked against.
    ///
    /// # Panics
    /// If `batch` is another one, with fewer records.
    pub fn outputs<'a>(&'a self, batch: &'a Batch) -> Outputs<'a> {
        Outputs { columns: &self.columns, batch, next: 0, next_header: 0 }
    }
}

impl<'a> Iterator for Outputs<'a> {
    type Item = Output<'a>;

    fn next(&mut self) -> Option<Output<'a>> {
        let (columns, index) = (self.columns, self.next);
        let input = *columns.inputs.get(index)? as usize;
        self.next += 1;
        let flags = columns.flags.get(index).copied().unwrap_or(0);
        let of_input = self.batch.record(input);
        let key = if flags & NO_KEY != 0 {
            None
        } else if flags & INPUT_KEY != 0 || columns.key_ends.is_empty() {
            of_input.key
        } else {
            Some(cut(&columns.keys, &columns.key_ends, index))
        };
        let timestamp = match columns.timestamps.get(index) {
            Some(&timestamp) if flags & INPUT_TIMESTAMP == 0 => timestamp,
            _ => of_input.timestamp,
        };
        let headers = match columns.headers.counts.get(index) {
            Some(&count) if flags & INPUT_HEADERS == 0 => {
                let (first, count) = (self.next_header, count as usize);
                self.next_header += count;
                OutputHeaders::Own { columns: &columns.headers, first, count }
            }
            _ => OutputHeaders::Input(of_input.headers),
        };
        Some(Output {
            input,
            destination: columns.destinations.get(index).map_or(0, |&destination| usize::from(destination)),
            partition: (flags & PARTITION != 0).then(|| columns.partitions[index]),
            key,
            value: (flags & NO_VALUE == 0).then(|| cut(&columns.values, &columns.value_ends, index)),
            timestamp,
            headers,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.columns.inputs.len() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Outputs<'_> {}
