//! Records of a pipeline on which a module is tried before it runs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::batch::{Batch, Headers, Record, TopicPartition};
use crate::ids::Offset;
use crate::work::Work;

/// Records of a sample.
const RECORDS: usize = 32;
/// Bytes of a sample, unless its first record has more.
const BYTES: usize = 256 << 10;

/// The newest sample of a pipeline's records. Workers take it, whoever deploys asks for it.
#[derive(Debug)]
pub struct Sampler {
    wanted: AtomicBool,
    taken: Mutex<Taken>,
    enough: Condvar,
}

#[derive(Debug, Default)]
struct Taken {
    /// Of the last time.
    last: Vec<Sample>,
    /// Of this time.
    growing: Vec<Sample>,
}

impl Taken {
    /// What has grown is the newest.
    fn keep(&mut self) {
        if !self.growing.is_empty() {
            self.last = std::mem::take(&mut self.growing);
        }
    }
}

/// Records of one partition.
#[derive(Debug)]
pub struct Sample {
    /// Where they come from.
    pub origin: TopicPartition,
    /// They.
    pub batch: Batch,
}

impl Default for Sampler {
    /// Takes the first records that come.
    fn default() -> Self {
        Sampler { wanted: AtomicBool::new(true), taken: Mutex::default(), enough: Condvar::new() }
    }
}

impl Sampler {
    /// Takes records that flow, until there are enough or the time is over, and runs `with` on them; where none come, on
    /// those of the last time.
    pub fn take<R>(&self, time: Duration, with: impl FnOnce(&[Sample]) -> R) -> R {
        let lock = || self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        lock().keep();
        self.wanted.store(true, Ordering::Release);
        let is_growing = |_: &mut Taken| self.wanted.load(Ordering::Acquire);
        let waited = self.enough.wait_timeout_while(lock(), time, is_growing);
        let (mut taken, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.wanted.store(false, Ordering::Release);
        taken.keep();
        with(&taken.last)
    }

    /// Called for each piece of work: one look at a flag.
    pub(super) fn add(&self, work: &Work) {
        if !self.wanted.load(Ordering::Relaxed) {
            return;
        }
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        // Another worker may have brought the last.
        if !self.wanted.load(Ordering::Acquire) {
            return;
        }
        let records: usize = taken.growing.iter().map(|sample| sample.batch.len()).sum();
        let mut bytes: usize = taken.growing.iter().map(|sample| sample.batch.weight()).sum();
        let few = work.batch.records().take(RECORDS - records.min(RECORDS)).take_while(|record| {
            bytes += record.weight();
            bytes <= BYTES
        });
        let few = if records == 0 { few.count().max(1) } else { few.count() };
        let mut batch = Batch::new();
        work.batch.copy_to(0..few.min(work.batch.len()), &mut batch);
        if records + few >= RECORDS || bytes > BYTES {
            self.wanted.store(false, Ordering::Release);
            self.enough.notify_all();
        }
        if few > 0 {
            taken.growing.push(Sample { origin: work.origin.clone(), batch });
        }
    }
}

/// Records that somebody gives.
const GIVEN: usize = 1_000;

/// One of them, as it is written.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Given {
    key: Option<String>,
    /// Text as it is; whatever else as compact JSON.
    value: Option<serde_json::Value>,
    headers: BTreeMap<String, Option<String>>,
    timestamp: i64,
}

impl Default for Given {
    fn default() -> Self {
        Given { key: None, value: None, headers: BTreeMap::new(), timestamp: -1 }
    }
}

impl Sample {
    /// Records that stand in a file, one JSON object a line: `{"key": "…", "value": …, "headers": {…}, "timestamp": …}`,
    /// of which each may be left out. `None`: there is no line.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub fn from_json_lines(lines: &[u8]) -> Result<Option<Self>, String> {
        let mut batch = Batch::new();
        for (number, line) in (1..).zip(lines.split(|byte| *byte == b'\n')) {
            if line.trim_ascii().is_empty() {
                continue;
            }
            if batch.len() == GIVEN {
                return Err(format!("line {number}: a sample has at most {GIVEN} records"));
            }
            if !line.trim_ascii_start().starts_with(b"{") {
                return Err(format!("line {number}: a record is written as {{\"key\": …, \"value\": …}}"));
            }
            let Given { key, value, headers, timestamp } =
                serde_json::from_slice(line).map_err(|error| format!("line {number}: {error}"))?;
            let value = match value {
                None | Some(serde_json::Value::Null) => None,
                Some(serde_json::Value::String(text)) => Some(text),
                Some(other) => Some(other.to_string()),
            };
            let headers: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.as_bytes(), value.as_deref().map(str::as_bytes)))
                .collect();
            let record = Record {
                offset: Offset(i64::try_from(batch.len()).unwrap_or(i64::MAX)),
                timestamp,
                key: key.as_deref().map(str::as_bytes),
                value: value.as_deref().map(str::as_bytes),
                headers: Headers::List(&headers),
            };
            batch.push(&record, 0, 0);
        }
        let origin = TopicPartition { topic: "sample".into(), partition: 0 };
        Ok((!batch.is_empty()).then_some(Sample { origin, batch }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_from_lines() {
        let lines = br#"
{"key": "a", "value": "text", "headers": {"h": "1", "none": null}, "timestamp": 7}
{"value": {"n": [1, 2]}}

{}"#;
        let sample = Sample::from_json_lines(lines).expect("they are records").expect("there are some");
        let records: Vec<_> = sample.batch.records().map(|record| (record.key, record.value)).collect();
        let [first, second, third] = records[..] else { panic!("{} records", records.len()) };
        assert_eq!(first, (Some(&b"a"[..]), Some(&b"text"[..])));
        assert_eq!(second, (None, Some(&br#"{"n":[1,2]}"#[..])));
        assert_eq!(third, (None, None));
        let record = sample.batch.record(0);
        let headers: Vec<_> = record.headers.iter().collect();
        assert_eq!(headers, [(&b"h"[..], Some(&b"1"[..])), (b"none", None)]);
        assert_eq!(record.timestamp, 7);
        assert!(Sample::from_json_lines(b" \n\n").expect("no records").is_none());
    }

    #[test]
    fn what_is_no_record_is_named_by_its_line() {
        for (lines, at) in [(&b"{}\n[]"[..], "line 2"), (b"{\"kee\": 1}", "line 1: unknown field `kee`")] {
            let error = Sample::from_json_lines(lines).expect_err("it is no record");
            assert!(error.starts_with(at), "{error}");
        }
        let many = "{}\n".repeat(GIVEN + 1);
        assert!(Sample::from_json_lines(many.as_bytes()).is_err_and(|error| error.contains("at most 1000")));
    }
}
