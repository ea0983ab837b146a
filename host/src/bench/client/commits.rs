//! When the broker wrote which commit.
//!
//! The broker keeps commits as records of a topic, each with the time at which it was written. Reading them
//! after a run says to the millisecond when the last offset was committed, disturbs nothing while the run
//! lasts, and takes no one's word for it but the broker's.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cluster::{COMMITS, Cluster};
use super::reading::Reading;
use crate::bench::Error;

/// Versions of keys that belong to commits; the others belong to groups.
const COMMIT_KEYS: [i16; 2] = [0, 1];
/// The reading of a few records may take this long without any.
const STALL: Duration = Duration::from_secs(10);

/// Where the commits of a group will be written.
#[derive(Debug)]
pub struct Place {
    partition: i32,
    from: i64,
}

/// All commits of one group on one topic.
#[derive(Debug, Default)]
pub struct History {
    commits: Vec<Commit>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Commit {
    partition: i32,
    offset: i64,
    /// Milliseconds since 1970.
    at: i64,
}

impl Place {
    /// Where commits of `group` are written from now on. A broker that never saw a commit has no topic for
    /// them yet.
    ///
    /// # Errors
    /// If the topic may not be looked at.
    pub fn of(cluster: &Cluster, group: &str) -> Result<Option<Self>, Error> {
        if !cluster.has_topic(COMMITS)? {
            return Ok(None);
        }
        let marks = cluster.watermarks(COMMITS)?;
        let partition = partition_of(group, i32::try_from(marks.len()).unwrap_or(i32::MAX));
        Ok(marks.get(&partition).map(|(_, end)| Self { partition, from: *end }))
    }
}

impl History {
    /// Reads what the broker wrote for `group` on `topic` since `place` was looked up; `None` reads it all.
    ///
    /// # Errors
    /// If the topic cannot be read: for want of a permission, as a rule.
    pub fn read(cluster: &Cluster, place: Option<&Place>, group: &str, topic: &str) -> Result<Self, Error> {
        if !cluster.has_topic(COMMITS)? {
            return Ok(Self::default());
        }
        let marks = cluster.watermarks(COMMITS)?;
        let partition = partition_of(group, i32::try_from(marks.len()).unwrap_or(i32::MAX));
        let Some((start, end)) = marks.get(&partition) else { return Ok(Self::default()) };
        let from = place.filter(|place| place.partition == partition).map_or(*start, |place| place.from);
        let ranges = BTreeMap::from([(partition, (from.max(*start), *end))]);
        let mut config = cluster.consumer_config("sandmill-bench");
        config.set("isolation.level", "read_uncommitted");
        let mut commits = Vec::new();
        Reading::start(&config, COMMITS, &ranges)?.finish(STALL, |record| {
            commits.extend(commit(record.key(), record.payload(), record.timestamp_ms(), group, topic));
            Ok(())
        })?;
        Ok(Self { commits })
    }

    /// When the first record was committed: milliseconds since 1970.
    pub fn first(&self) -> Option<i64> {
        self.commits.iter().filter(|commit| commit.offset > 0).map(|commit| commit.at).min()
    }

    /// When every partition had reached its end for the first time: milliseconds since 1970. None: one has
    /// not. Empty partitions need no commit.
    pub fn reached(&self, ends: &BTreeMap<i32, i64>) -> Option<i64> {
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
    pub fn last_before(&self, moment: i64) -> Option<i64> {
        self.commits.iter().map(|commit| commit.at).filter(|at| *at < moment).max()
    }

    /// How many commits of partitions there were.
    pub fn len(&self) -> usize {
        self.commits.len()
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.commits.is_empty()
    }
}

/// The partition that holds a group's commits, as brokers choose it: by the group's hash in Java, its sign
/// dropped.
fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash =
        group.encode_utf16().fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}

/// The commit that a record stands for, if it is one of this group on this topic.
fn commit(key: Option<&[u8]>, value: Option<&[u8]>, at: i64, group: &str, topic: &str) -> Option<Commit> {
    let mut key = Bytes(key?);
    let ours = COMMIT_KEYS.contains(&key.i16()?) && key.text()? == group.as_bytes();
    if !ours || key.text()? != topic.as_bytes() {
        return None;
    }
    let partition = key.i32()?;
    // No value: the commit was deleted.
    let mut value = Bytes(value?);
    // In every version the offset follows the version.
    value.i16()?;
    Some(Commit { partition, offset: value.i64()?, at })
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

    /// Key and value as the broker writes them.
    fn record(version: i16, group: &str, topic: &str, partition: i32, offset: i64) -> (Vec<u8>, Vec<u8>) {
        let text = |text: &str| [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat();
        let key = [&version.to_be_bytes()[..], &text(group), &text(topic), &partition.to_be_bytes()].concat();
        let value = [&3_i16.to_be_bytes()[..], &offset.to_be_bytes(), &[0; 14]].concat();
        (key, value)
    }

    fn history(commits: &[(i32, i64, i64)]) -> History {
        let commits = commits.iter().filter_map(|(partition, offset, at)| {
            let (key, value) = record(1, "g", "t", *partition, *offset);
            commit(Some(&key), Some(&value), *at, "g", "t")
        });
        History { commits: commits.collect() }
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
        for (key, value) in [record(1, "h", "t", 0, 1), record(1, "g", "u", 0, 1), record(2, "g", "t", 0, 1)]
        {
            assert_eq!(commit(Some(&key), Some(&value), 1, "g", "t"), None);
        }
        let (key, value) = record(1, "g", "t", 0, 1);
        assert_eq!(commit(Some(&[0, 1, 0, 9, b'g']), Some(&value), 1, "g", "t"), None, "cut off");
        assert_eq!(commit(Some(&key), None, 1, "g", "t"), None, "deleted");
        assert!(commit(Some(&key), Some(&value), 1, "g", "t").is_some());
    }

    #[test]
    fn a_groups_partition_is_the_one_that_brokers_choose() {
        // "hello".hashCode() is 99162322, and this text's is the smallest number there is, which has no
        // positive counterpart: both as Java's documentation and every JVM have them.
        assert_eq!(partition_of("hello", 50), 99_162_322 % 50);
        assert_eq!(partition_of("polygenelubricants", 50), 0);
    }
}
