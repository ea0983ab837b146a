//! What stands in a topic that is filled for measuring: the same records in every run and every version.

use std::io::Read as _;

use flate2::read::GzDecoder;

use super::Error;
use super::zipf::{SplitMix, Zipf};

/// 10,000 lines of a real server's log; see `assets/README.md`.
pub(crate) const LOG: &[u8] = include_bytes!("../../assets/apache_access.log.gz");

/// Keys and values follow from it.
const SEED: u64 = 0x005a_4d11;

/// The kind of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Values of random bytes under keys `key-0000`, `key-0001` and so on.
    Random {
        /// Of each value.
        value_bytes: usize,
        /// Which keys.
        keys: Keys,
    },
    /// Lines of a web server's log, over and over; the key is the client's address.
    AccessLog,
}

/// How many keys there are, and how often each comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// By Zipf's law with s = 1: as in real topics, few are everywhere.
    Zipf(usize),
    /// Each as often as any other.
    Uniform(usize),
}

/// Makes one record after the other.
pub(super) enum Records {
    Random { keys: Draw, values: SplitMix, value_bytes: usize },
    Lines { lines: Vec<u8>, at: usize },
}

/// An endless draw of key numbers.
pub(super) enum Draw {
    Zipf(Zipf),
    Uniform(SplitMix, usize),
}

impl Content {
    /// Its records from the first on; they never end.
    pub(super) fn records(self) -> Result<Records, Error> {
        Ok(match self {
            Content::Random { value_bytes, keys } => {
                let keys = match keys {
                    Keys::Zipf(count) => Draw::Zipf(Zipf::new(count, SEED)),
                    Keys::Uniform(count) => Draw::Uniform(SplitMix(SEED ^ 1), count.max(1)),
                };
                Records::Random { keys, values: SplitMix(SEED), value_bytes }
            }
            Content::AccessLog => Records::Lines { lines: log()?, at: 0 },
        })
    }
}

/// The log, unpacked: lines with a line feed behind each.
///
/// # Errors
/// Never, unless the program was damaged.
pub fn log() -> Result<Vec<u8>, Error> {
    let mut lines = Vec::new();
    GzDecoder::new(LOG)
        .read_to_end(&mut lines)
        .map_err(|error| Error::System { what: "the built-in log".to_owned(), reason: error.to_string() })?;
    Ok(lines)
}

impl Records {
    /// Puts the next record's key and value in place of what the buffers hold.
    pub(super) fn next(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) {
        key.clear();
        value.clear();
        match self {
            Records::Random { keys, values, value_bytes } => {
                let number = keys.next();
                key.extend_from_slice(format!("key-{number:04}").as_bytes());
                while value.len() < *value_bytes {
                    value.extend_from_slice(&values.number().to_le_bytes());
                }
                value.truncate(*value_bytes);
            }
            Records::Lines { lines, at } => {
                let line = line_at(lines, at);
                let end = line.iter().position(|&byte| byte == b' ').unwrap_or(line.len());
                key.extend_from_slice(&line[..end]);
                value.extend_from_slice(line);
            }
        }
    }
}

/// The line that begins at `at`, which then stands at the next one, behind the last at the first.
fn line_at<'l>(lines: &'l [u8], at: &mut usize) -> &'l [u8] {
    if *at >= lines.len() {
        *at = 0;
    }
    let rest = &lines[*at..];
    let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
    *at += end + 1;
    rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end])
}

impl Draw {
    fn next(&mut self) -> usize {
        match self {
            Draw::Zipf(zipf) => zipf.next().unwrap_or_default(),
            Draw::Uniform(random, count) => (random.unit() * *count as f64) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(content: Content, count: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut records = content.records().unwrap();
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let next = |_| {
            records.next(&mut key, &mut value);
            (key.clone(), value.clone())
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn a_topic_is_the_same_in_every_run() {
        let content = Content::Random { value_bytes: 100, keys: Keys::Zipf(10_000) };
        let records = taken(content, 1_000);
        assert_eq!(records, taken(content, 1_000));
        assert!(records.iter().all(|(_, value)| value.len() == 100));
        // 1/H(10,000) = 0.1022
        let first = records.iter().filter(|(key, _)| key == b"key-0000").count();
        assert!((80..125).contains(&first), "{first}");
    }

    #[test]
    fn uniform_keys_come_equally_often() {
        let records = taken(Content::Random { value_bytes: 1, keys: Keys::Uniform(10) }, 10_000);
        for key in 0..10 {
            let name = format!("key-{key:04}").into_bytes();
            let count = records.iter().filter(|(key, _)| *key == name).count();
            assert!((900..1_100).contains(&count), "{key}: {count}");
        }
    }

    #[test]
    fn the_log_begins_again_behind_its_last_line() {
        let records = taken(Content::AccessLog, 10_001);
        assert_eq!(records[0], records[10_000]);
        assert_eq!(records[0].0, b"83.149.9.216");
        assert!(records.iter().all(|(key, value)| !key.is_empty() && value.starts_with(key)));
        assert!(!records[9_999].1.ends_with(b"\n"));
    }
}
