//! What the host puts into the columns is what a handler reads.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{OwnedHeader, bytes, headers};
use crate::record::Batch;
use crate::testing::{Input, batch, header_ends};
use crate::{Header, Record};

/// A record as a struct of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Model {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<OwnedHeader>,
    timestamp: Option<i64>,
    offset: i64,
    attempt: u8,
}

impl Model {
    fn any() -> impl Strategy<Value = Self> {
        let timestamp = option::of(0..i64::MAX);
        (option::of(bytes()), option::of(bytes()), headers(), timestamp, any::<i64>(), 0..3_u8).prop_map(
            |(key, value, headers, timestamp, offset, attempt)| Self {
                key,
                value,
                headers,
                timestamp,
                offset,
                attempt,
            },
        )
    }

    /// Nothing that would fill an optional column.
    fn plain() -> impl Strategy<Value = Self> {
        (bytes(), bytes(), any::<i64>()).prop_map(|(key, value, offset)| Self {
            key: Some(key),
            value: Some(value),
            headers: Vec::new(),
            timestamp: None,
            offset,
            attempt: 0,
        })
    }

    fn input(&self) -> Input {
        let mut input = self.value.as_ref().map_or_else(Input::tombstone, Input::new);
        input = input.offset(self.offset).attempt(self.attempt);
        if let Some(key) = &self.key {
            input = input.key(key);
        }
        if let Some(timestamp) = self.timestamp {
            input = input.timestamp(timestamp);
        }
        self.headers.iter().fold(input, |input, (name, value)| match value {
            Some(value) => input.header(name, value),
            None => input.null_header(name),
        })
    }

    fn read(record: Record<'_>) -> Self {
        let owned = |header: Header<'_>| (header.name.to_vec(), header.value.map(<[u8]>::to_vec));
        Self {
            key: record.key().map(<[u8]>::to_vec),
            value: record.value().map(<[u8]>::to_vec),
            headers: record.headers().map(owned).collect(),
            timestamp: record.timestamp(),
            offset: record.offset(),
            attempt: record.attempt(),
        }
    }
}

proptest! {
    #[test]
    fn a_record_reads_as_it_was_written(models in vec(Model::any(), 0..12)) {
        let columns = batch(models.iter().map(Model::input));
        let header_ends = header_ends(&columns);
        let batch = Batch::of(&columns, &header_ends);
        prop_assert_eq!(&batch.to_raw(), &columns);
        prop_assert_eq!(batch.len(), models.len());
        let read: Vec<_> = batch.iter().map(Model::read).collect();
        prop_assert_eq!(&read, &models);
        for (index, model) in models.iter().enumerate() {
            let record = batch.get(index).expect("the index is in the batch");
            prop_assert_eq!(record.index(), index);
            prop_assert_eq!(&Model::read(record), model);
            let mut backwards: Vec<_> = record.headers().rev().collect();
            backwards.reverse();
            prop_assert_eq!(backwards, record.headers().collect::<Vec<_>>());
            prop_assert_eq!(record.headers().len(), model.headers.len());
        }
        prop_assert!(batch.get(models.len()).is_none());
    }

    #[test]
    fn columns_that_say_nothing_are_empty_and_read_all_the_same(models in vec(Model::plain(), 1..12)) {
        let columns = batch(models.iter().map(Model::input));
        prop_assert!(columns.flags.is_empty() && columns.attempts.is_empty());
        prop_assert!(columns.headers.counts.is_empty());
        let read: Vec<_> = Batch::of(&columns, &[]).iter().map(Model::read).collect();
        prop_assert_eq!(&read, &models);
    }
}

#[test]
fn the_last_header_of_a_name_counts() {
    let input = Input::new("v").header("a", "1").header("b", "2").header("a", "3").null_header("c");
    let columns = batch([input]);
    let header_ends = header_ends(&columns);
    let batch = Batch::of(&columns, &header_ends);
    let record = batch.get(0).expect("there is one");
    assert_eq!(record.header("a").and_then(|header| header.value), Some(&b"3"[..]));
    assert_eq!(record.header("c").map(|header| header.value), Some(None));
    assert_eq!(record.header("d"), None);
    assert_eq!((record.topic(), record.partition()), ("test", 0));
}
