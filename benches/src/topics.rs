//! The topics of a part: filled before its first row, deleted after its last.

use anyhow::{Context, Result};
use sandmill::bench::Fill;
use sandmill::bench::{Content, Keys as BenchKeys, Topic};
use sandmill_tests::producer::{Outgoing, Producer};
use sandmill_tests::unique;
use serde_json::Value;

use crate::plan;
use crate::rung::{Filling, KEYS, Keys, Rung, Values};
use crate::session::Session;
use crate::spread::grouped;

/// Records produced between two flushes: what the filling holds in memory.
const PORTION: usize = 50_000;
/// Bytes of a value of `poison`.
const ORDER: usize = 100;

/// Filled topics. Dropped: deleted.
pub(crate) struct Topics<'a> {
    session: &'a Session,
    filled: Vec<(Filling, Topic)>,
}

impl<'a> Topics<'a> {
    /// Fills each topic that these rungs read.
    pub(crate) fn fill(session: &'a Session, rungs: &[Rung]) -> Result<Self> {
        let mut topics = Self { session, filled: Vec::new() };
        for filling in plan::topics(rungs) {
            eprintln!(
                "filling a topic: {} (about {} MB)",
                filling.described(),
                grouped(filling.bytes() as f64 / 1e6)
            );
            let topic =
                fill(session, filling).with_context(|| format!("cannot fill {}", filling.described()))?;
            topics.filled.push((filling.clone(), topic));
        }
        Ok(topics)
    }

    /// The one that was filled so.
    pub(crate) fn get(&self, filling: &Filling) -> Option<&Topic> {
        self.filled.iter().find(|(own, _)| own == filling).map(|(_, topic)| topic)
    }

    /// What stands in them, for the result.
    pub(crate) fn described(&self) -> Vec<Value> {
        let described = |(filling, topic): &(Filling, Topic)| {
            let mut value = serde_json::to_value(topic).unwrap_or_default();
            if let Some(fields) = value.as_object_mut() {
                fields.insert("content".to_owned(), filling.described().into());
                // Equal in one process only.
                fields.remove("parsed");
            }
            value
        };
        self.filled.iter().map(described).collect()
    }
}

impl Drop for Topics<'_> {
    fn drop(&mut self) {
        for (_, topic) in &self.filled {
            if let Err(error) = self.session.cluster.delete_topic(&topic.name) {
                eprintln!("{error}");
            }
        }
    }
}

fn fill(session: &Session, filling: &Filling) -> Result<Topic> {
    let name = unique("ladder");
    let Values::Orders { one_in_a_hundred } = filling.values else {
        let fill = Fill {
            name,
            partitions: filling.partitions,
            copies: None,
            records: filling.records,
            content: content(filling),
            parsed: filling.values == Values::AccessLog,
        };
        return Ok(session.cluster.fill(&fill, |_| true)?);
    };
    session.cluster.create_topic(&name, filling.partitions, None)?;
    let producer = Producer::new(&session.kafka);
    let mut records = orders(one_in_a_hundred).take(usize::try_from(filling.records)?);
    loop {
        let portion: Vec<Outgoing> = records.by_ref().take(PORTION).collect();
        if portion.is_empty() {
            break;
        }
        producer.send(&name, &portion);
    }
    Ok(session.cluster.survey(&name, false)?)
}

fn content(filling: &Filling) -> Content {
    match (filling.values, filling.keys) {
        (Values::Random(value_bytes), Keys::Uniform) => {
            Content::Random { value_bytes, keys: BenchKeys::Uniform(KEYS) }
        }
        (Values::Random(value_bytes), _) => Content::Random { value_bytes, keys: BenchKeys::Zipf(KEYS) },
        _ => Content::AccessLog,
    }
}

/// Records for `flaky`; every hundredth has the order to fail. Keys come in turn, so all are equally frequent.
fn orders(one_in_a_hundred: Option<&'static str>) -> impl Iterator<Item = Outgoing> {
    (0_usize..).map(move |number| {
        let order = one_in_a_hundred.filter(|_| number % 100 == 99).unwrap_or("done");
        let mut value = format!("{order} ").into_bytes();
        value.resize(ORDER, b'.');
        Outgoing::keyed(format!("key-{:04}", number.wrapping_mul(7) % KEYS), value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_order_in_a_hundred_is_to_fail() {
        let values: Vec<Vec<u8>> =
            orders(Some("trap")).take(1_000).filter_map(|record| record.value).collect();
        assert_eq!(values.iter().filter(|value| value.starts_with(b"trap ")).count(), 10);
        assert_eq!(values.iter().filter(|value| value.starts_with(b"done ")).count(), 990);
        assert!(values.iter().all(|value| value.len() == ORDER));
        assert!(
            orders(None)
                .take(1_000)
                .all(|record| record.value.is_some_and(|value| value.starts_with(b"done ")))
        );
    }

    #[test]
    fn every_key_has_its_turn() {
        let keys: std::collections::BTreeSet<_> = orders(None).take(KEYS).map(|record| record.key).collect();
        assert_eq!(keys.len(), KEYS);
    }
}
