//! Every commit of a group, from the broker's own log of them.
//!
//! Kafka keeps commits as records of the topic `__consumer_offsets`, whose log shows them all, in the order in
//! which the group's coordinator took them, until compaction: much later than any test ends. A member asks only
//! for the last one; a judge wants all, because a commit that was wrong for a second is wrong.
//!
//! The form of these records is that of `OffsetCommitKey` and `OffsetCommitValue` in Apache Kafka's group
//! coordinator.

use super::Kafka;

/// The topic of commits.
const TOPIC: &str = "__consumer_offsets";

/// One commit of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The partition of the input.
    pub partition: i32,
    /// The next offset to read.
    pub offset: i64,
    /// The string that was committed beside it.
    pub metadata: String,
    /// When the coordinator took it: milliseconds since 1970.
    pub at: i64,
}

impl Kafka {
    /// All commits that a group ever made on a topic, in the order in which the broker took them.
    ///
    /// # Panics
    /// When the broker stops answering, or writes commits in a form that is not known here.
    #[must_use]
    pub fn commits_of(&self, group: &str, topic: &str) -> Vec<Commit> {
        let records = self.read_all(TOPIC);
        records
            .iter()
            .filter_map(|record| {
                let partition = partition_of(record.key.as_deref()?, group, topic)?;
                // Without a value: the commit was deleted, with its group or its topic.
                let value = record.value.as_deref()?;
                let (offset, metadata, at) = commit_of(value)
                    .unwrap_or_else(|| panic!("{TOPIC} has a commit in a form of its own: {value:?}"));
                Some(Commit { partition, offset, metadata, at })
            })
            .collect()
    }
}

/// The partition, if the key is that of a commit of this group on this topic.
fn partition_of(key: &[u8], group: &str, topic: &str) -> Option<i32> {
    let mut fields = Fields(key);
    // 0 and 1 are keys of commits, higher ones of groups and members.
    let of_commit = (0..=1).contains(&fields.i16()?);
    let matches = of_commit && fields.string()? == group.as_bytes() && fields.string()? == topic.as_bytes();
    if matches { fields.i32() } else { None }
}

/// Offset, metadata and time.
fn commit_of(value: &[u8]) -> Option<(i64, String, i64)> {
    let mut fields = Fields(value);
    let version = fields.i16()?;
    let offset = fields.i64()?;
    if version >= 3 {
        let _leader_epoch = fields.i32()?;
    }
    let metadata = match version {
        0..=3 => fields.string()?,
        4 => fields.compact_string()?,
        _ => return None,
    };
    Some((offset, String::from_utf8_lossy(metadata).into_owned(), fields.i64()?))
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_be_bytes(self.take(8)?.try_into().ok()?))
    }

    fn string(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.i16()?).ok()?;
        self.take(length)
    }

    /// With a length of seven bits a byte, counted from 1.
    fn compact_string(&mut self) -> Option<&'a [u8]> {
        let mut length = 0_usize;
        for shift in [0, 7, 14, 21] {
            let byte = self.take(1)?[0];
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return self.take(length.checked_sub(1)?);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(version: i16, group: &str, topic: &str, partition: i32) -> Vec<u8> {
        let mut key = version.to_be_bytes().to_vec();
        for text in [group, topic] {
            key.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
            key.extend(text.as_bytes());
        }
        key.extend(partition.to_be_bytes());
        key
    }

    #[test]
    fn keys_of_others_are_passed_over() {
        assert_eq!(partition_of(&key(1, "g", "t", 7), "g", "t"), Some(7));
        assert_eq!(partition_of(&key(1, "g", "other", 7), "g", "t"), None);
        assert_eq!(partition_of(&key(1, "other", "t", 7), "g", "t"), None);
        assert_eq!(partition_of(&key(2, "g", "t", 7), "g", "t"), None, "a group's own record");
        assert_eq!(partition_of(&[], "g", "t"), None);
    }

    #[test]
    fn commits_of_all_versions_are_read() {
        let text = "x".repeat(200);
        let plain = [&200_i16.to_be_bytes()[..], text.as_bytes()].concat();
        let compact = [&[0xc9, 0x01][..], text.as_bytes()].concat();
        let epoch = 5_i32.to_be_bytes();
        for (version, epoch, metadata) in
            [(1_i16, &[][..], &plain), (3, &epoch[..], &plain), (4, &epoch[..], &compact)]
        {
            let (offset, at) = (12_i64.to_be_bytes(), 99_i64.to_be_bytes());
            let value = [&version.to_be_bytes()[..], &offset, epoch, metadata, &at].concat();
            assert_eq!(commit_of(&value), Some((12, text.clone(), 99)), "version {version}");
            assert_eq!(commit_of(&value[..value.len() - 1]), None);
        }
        assert_eq!(commit_of(&5_i16.to_be_bytes()), None);
    }
}
