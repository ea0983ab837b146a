//! When the broker wrote which commit.
//!
//! The broker keeps commits as records of a topic, each with the time at which it was written. Reading them
//! after a run says to the millisecond when the last offset was committed, disturbs nothing while the run
//! lasts, and takes no one's word for it but the broker's.

use std::collections::BTreeMap;

use sandmill_tests::kafka::Kafka;
use sandmill_tests::reader::Record;

/// Where brokers keep commits.
const TOPIC: &str = "__consumer_offsets";
/// Versions of keys that belong to commits; the others belong to groups.
const COMMIT_KEYS: [i16; 2] = [0, 1];

/// All commits of one group on one topic.
#[derive(Debug, Default)]
pub(crate) struct History {
    commits: Vec<Commit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Commit {
    partition: i32,
    offset: i64,
    /// Milliseconds since 1970.
    at: i64,
}

impl History {
    /// Reads what the broker holds.
    pub(crate) fn of(kafka: &Kafka, group: &str, topic: &str) -> Self {
        let all = kafka.read_all(TOPIC);
        Self { commits: all.iter().filter_map(|record| commit(record, group, topic)).collect() }
    }

    /// When the first record was committed: milliseconds since 1970.
    pub(crate) fn first(&self) -> Option<i64> {
        self.commits.iter().filter(|commit| commit.offset > 0).map(|commit| commit.at).min()
    }

    /// When every partition had reached its end for the first time: milliseconds since 1970. None: one has
    /// not. Empty partitions need no commit.
    pub(crate) fn reached(&self, ends: &BTreeMap<i32, i64>) -> Option<i64> {
        let reached = |partition: i32, end: i64| {
            let commits = self.commits.iter().filter(|commit| commit.partition == partition);
            commits.filter(|commit| commit.offset >= end).map(|commit| commit.at).min()
        };
        let times: Option<Vec<i64>> = ends
            .iter()
            .filter(|(_, end)| **end > 0)
            .map(|(partition, end)| reached(*partition, *end))
            .collect();
        times?.into_iter().max()
    }

    /// The last commit before this moment: milliseconds since 1970.
    pub(crate) fn last_before(&self, moment: i64) -> Option<i64> {
        self.commits.iter().map(|commit| commit.at).filter(|at| *at < moment).max()
    }

    /// How many commits of partitions there were.
    pub(crate) fn len(&self) -> usize {
        self.commits.len()
    }
}

/// The commit that a record stands for, if it is one of this group on this topic.
fn commit(record: &Record, group: &str, topic: &str) -> Option<Commit> {
    let mut key = Bytes(record.key.as_deref()?);
    let ours = COMMIT_KEYS.contains(&key.i16()?) && key.text()? == group.as_bytes();
    if !ours || key.text()? != topic.as_bytes() {
        return None;
    }
    let partition = key.i32()?;
    // No value: the commit was deleted.
    let mut value = Bytes(record.value.as_deref()?);
    // In every version the offset follows the version.
    value.i16()?;
    Some(Commit { partition, offset: value.i64()?, at: record.timestamp? })
}

/// Big-endian numbers and texts with their length before them.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.i16()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(version: i16, group: &str, topic: &str, partition: i32, offset: i64, at: i64) -> Record {
        let text = |text: &str| [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat();
        let key = [&version.to_be_bytes()[..], &text(group), &text(topic), &partition.to_be_bytes()].concat();
        let value = [&3_i16.to_be_bytes()[..], &offset.to_be_bytes(), &[0; 14]].concat();
        Record {
            partition: 0,
            offset: 0,
            timestamp: Some(at),
            key: Some(key),
            value: Some(value),
            headers: Vec::new(),
        }
    }

    fn history(commits: &[(i32, i64, i64)]) -> History {
        let records =
            commits.iter().map(|(partition, offset, at)| record(1, "g", "t", *partition, *offset, *at));
        History { commits: records.filter_map(|record| commit(&record, "g", "t")).collect() }
    }

    #[test]
    fn the_end_is_reached_when_the_last_partition_is_there_for_the_first_time() {
        let history = history(&[(0, 5, 100), (1, 3, 110), (0, 9, 120), (1, 7, 130), (0, 9, 140)]);
        assert_eq!(history.reached(&BTreeMap::from([(0, 9), (1, 7), (2, 0)])), Some(130));
        assert_eq!(history.reached(&BTreeMap::from([(0, 9), (1, 8)])), None);
        assert_eq!(history.last_before(130), Some(120));
        assert_eq!(history.last_before(100), None);
        assert_eq!(history.len(), 5);
    }

    #[test]
    fn a_commit_of_offset_0_is_no_record() {
        assert_eq!(history(&[(0, 0, 100), (1, 1, 110)]).first(), Some(110));
    }

    #[test]
    fn other_groups_topics_and_kinds_of_records_do_not_count() {
        for other in
            [record(1, "h", "t", 0, 1, 1), record(1, "g", "u", 0, 1, 1), record(2, "g", "t", 0, 1, 1)]
        {
            assert_eq!(commit(&other, "g", "t"), None);
        }
        let cut = Record { key: Some(vec![0, 1, 0, 9, b'g']), ..record(1, "g", "t", 0, 1, 1) };
        assert_eq!(commit(&cut, "g", "t"), None);
        let deleted = Record { value: None, ..record(1, "g", "t", 0, 1, 1) };
        assert_eq!(commit(&deleted, "g", "t"), None);
    }
}
