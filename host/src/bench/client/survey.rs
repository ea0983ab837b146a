//! What stands in a topic: read once, from its beginning to its end.
//!
//! A topic that was filled for the purpose is surveyed as one that was there before: what the broker holds is
//! what a contender has to read.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::cluster::Cluster;
use super::reading::Reading;
use crate::bench::native::access_log;
use crate::bench::sums::Summing;
use crate::bench::{Error, Sums, Topic};

/// A broker that hands over nothing for so long has stalled.
const STALL: Duration = Duration::from_secs(30);

impl Cluster {
    /// Counts a topic's records, bytes and keys, and where it ends. `parsed`: makes the check sums of what
    /// `parse` has to write.
    ///
    /// # Errors
    /// If it is empty or cannot be read, or a record is no line of a log where it has to be.
    pub fn survey(&self, name: &str, parsed: bool) -> Result<Topic, Error> {
        let problem = |problem: String| Error::Topic { topic: name.to_owned(), problem };
        let marks = self.watermarks(name)?;
        let mut topic = Topic {
            name: name.to_owned(),
            partitions: i32::try_from(marks.len()).unwrap_or(i32::MAX),
            ends: marks.keys().map(|partition| (*partition, 0)).collect(),
            ..Topic::default()
        };
        let (mut key_bytes, mut value_bytes) = (0_u64, 0_u64);
        let mut keys: HashMap<Vec<u8>, u64> = HashMap::new();
        let mut summing = parsed.then(Summing::default);
        let mut json = Vec::new();
        let mut reading = Reading::start(&self.consumer_config("sandmill-bench"), name, &marks)?;
        reading.finish(STALL, |record| {
            let key = record.key().unwrap_or_default();
            topic.records += 1;
            key_bytes += key.len() as u64;
            value_bytes += record.payload().map_or(0, <[u8]>::len) as u64;
            topic.ends.insert(record.partition(), record.offset() + 1);
            match keys.get_mut(key) {
                Some(count) => *count += 1,
                None => drop(keys.insert(key.to_vec(), 1)),
            }
            if let Some(summing) = &mut summing {
                json.clear();
                access_log::to_json(record.payload(), &mut json).map_err(|reason| {
                    let (partition, offset) = (record.partition(), record.offset());
                    problem(format!(
                        "the record at {partition}/{offset} is no line of an access log: {reason}"
                    ))
                })?;
                summing.add(record.partition(), record.key(), Some(&json), record.timestamp_ms());
            }
            Ok(())
        })?;
        if topic.records == 0 {
            return Err(problem("it is empty".to_owned()));
        }
        let busiest = keys.values().max().copied().unwrap_or_default();
        let records = topic.records as f64;
        Ok(Topic {
            bytes: key_bytes + value_bytes,
            keys: keys.len() as u64,
            busiest_key_share: busiest as f64 / records,
            mean_key_bytes: key_bytes as f64 / records,
            mean_value_bytes: value_bytes as f64 / records,
            parsed: summing.map(|summing| summing.sums()),
            ..topic
        })
    }

    /// The check sums of everything between these offsets of a topic.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(in crate::bench) fn sums(
        &self,
        name: &str,
        ranges: &BTreeMap<i32, (i64, i64)>,
    ) -> Result<Sums, Error> {
        let mut summing = Summing::default();
        let mut reading = Reading::start(&self.consumer_config("sandmill-bench"), name, ranges)?;
        reading.finish(STALL, |record| {
            summing.add(record.partition(), record.key(), record.payload(), record.timestamp_ms());
            Ok(())
        })?;
        Ok(summing.sums())
    }
}
