//! The judge of every delivery test: what was produced against what arrived.
//!
//! Each record carries its number in a header, which outputs inherit and dead letters keep, so its value is
//! free to say what the handler shall do with it. The ledger answers with numbers, so that a failing test
//! says how much went wrong and where. [`Ledger::compare`] looks at what arrived, [`Ledger::judge`] also at every
//! commit, for runs in which something is broken on purpose.

mod audit;

pub use audit::{Faults, Metadata, Verdict, now};

use std::collections::BTreeMap;
use std::fmt;

use crate::producer::{Outgoing, Place, Producer};
use crate::reader::Record;

/// The header that carries a record's number.
const HEADER: &str = "n";

/// How many examples of each fault a report names.
const EXAMPLES: usize = 5;

/// One record of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Input {
    key: Option<Vec<u8>>,
    place: Place,
}

/// In whose order outputs must first appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Records of one key of one partition.
    Key,
    /// Records of one partition. The output topic must have one partition, else nothing can be said.
    Partition,
    /// None.
    Unordered,
}

/// What was produced. Numbers count from 0 in the order of production.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    inputs: Vec<Input>,
}

/// What the comparison found. All numbers 0: every record arrived once and in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Inputs that reached neither outputs nor dead letters.
    pub lost: Vec<(usize, Place)>,
    /// Inputs that arrived more than once; one entry for each arrival after the first.
    pub repeated: Vec<(usize, Place)>,
    /// First arrivals that came after the first arrival of a later record of the same order.
    pub out_of_order: Vec<(usize, Place)>,
    /// Arrivals whose number was never produced, or whose key is not the input's.
    pub strange: Vec<String>,
}

impl Ledger {
    /// Numbers `records`, produces them to `topic` and enters them; gives their places.
    ///
    /// # Panics
    /// When the broker refuses one.
    pub fn produce(&mut self, producer: &Producer, topic: &str, mut records: Vec<Outgoing>) -> Vec<Place> {
        for (number, record) in (self.inputs.len()..).zip(&mut records) {
            record.headers.push((HEADER.to_owned(), Some(number.to_string().into_bytes())));
        }
        let places = producer.send(topic, &records);
        let entries = records.into_iter().zip(&places);
        self.inputs.extend(entries.map(|(record, place)| Input { key: record.key, place: *place }));
        places
    }

    /// How many records were produced.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Whether nothing was produced.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Compares with what arrived: one list for each topic (outputs, dead letters), as it was read: in
    /// order within each partition. Order is judged within each topic.
    #[must_use]
    pub fn compare(&self, arrived: &[&[Record]], order: Order) -> Report {
        let mut report = Report::default();
        let mut seen = vec![false; self.inputs.len()];
        for topic in arrived {
            self.compare_topic(topic, order, &mut seen, &mut report);
        }
        let missing = seen.iter().enumerate().filter(|(_, seen)| !**seen);
        report.lost = missing.map(|(number, _)| (number, self.inputs[number].place)).collect();
        report
    }

    fn compare_topic(&self, arrived: &[Record], order: Order, seen: &mut [bool], report: &mut Report) {
        // The furthest first arrival of each line of order: (input partition, key) to input offset.
        let mut furthest: BTreeMap<(i32, Option<&[u8]>), i64> = BTreeMap::new();
        for record in arrived {
            let Some((number, input)) = self.input_of(record) else {
                report.strange.push(format!("{}/{}: {}", record.partition, record.offset, record.text()));
                continue;
            };
            if record.key != input.key {
                report.strange.push(format!("record {number} has key {:?}", record.key));
            }
            if std::mem::replace(&mut seen[number], true) {
                report.repeated.push((number, input.place));
                continue;
            }
            let line = match order {
                Order::Key if input.key.is_some() => (input.place.partition, input.key.as_deref()),
                Order::Partition => (input.place.partition, None),
                Order::Key | Order::Unordered => continue,
            };
            let last = furthest.entry(line).or_insert(-1);
            if input.place.offset < *last {
                report.out_of_order.push((number, input.place));
            }
            *last = input.place.offset.max(*last);
        }
    }

    fn input_of(&self, record: &Record) -> Option<(usize, &Input)> {
        let number = number_of(record)?;
        Some((number, self.inputs.get(number)?))
    }
}

/// `count` records over `keys` keys in turn, each with the value that its place in the list gets.
#[must_use]
pub fn over_keys(count: usize, keys: usize, value: impl Fn(usize) -> Vec<u8>) -> Vec<Outgoing> {
    (0..count).map(|at| Outgoing::keyed(format!("key-{}", at % keys), value(at))).collect()
}

/// The number that a record carries: its place in the order of production.
#[must_use]
pub fn number_of(record: &Record) -> Option<usize> {
    record.header(HEADER)?.parse().ok()
}

impl Report {
    /// Fails the test unless every record arrived exactly once, in order and unchanged.
    ///
    /// # Panics
    /// With all numbers and a few examples of each.
    #[track_caller]
    pub fn assert_exact(&self) {
        assert!(*self == Self::default(), "{self}");
    }

    /// Fails the test unless every record arrived, in order and unchanged; some may have come again.
    ///
    /// # Panics
    /// With all numbers and a few examples of each.
    #[track_caller]
    pub fn assert_complete(&self) {
        let clean = self.lost.is_empty() && self.out_of_order.is_empty() && self.strange.is_empty();
        assert!(clean, "{self}");
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults =
            [("lost", &self.lost), ("repeated", &self.repeated), ("out of order", &self.out_of_order)];
        for (name, list) in faults {
            let examples = &list[..list.len().min(EXAMPLES)];
            writeln!(f, "{name}: {} {examples:?}", list.len())?;
        }
        let examples = &self.strange[..self.strange.len().min(EXAMPLES)];
        write!(f, "strange: {} {examples:?}", self.strange.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two keys in turn on one partition: number = offset.
    fn ledger(count: usize) -> Ledger {
        let inputs = (0..count).zip(0..).map(|(number, offset)| Input {
            key: Some(format!("key-{}", number % 2).into_bytes()),
            place: Place { partition: 0, offset },
        });
        Ledger { inputs: inputs.collect() }
    }

    fn arrivals(numbers: &[usize]) -> Vec<Record> {
        numbers
            .iter()
            .zip(0..)
            .map(|(number, offset)| Record {
                partition: 0,
                offset,
                timestamp: None,
                key: Some(format!("key-{}", number % 2).into_bytes()),
                value: None,
                headers: vec![(HEADER.to_owned(), Some(number.to_string().into_bytes()))],
            })
            .collect()
    }

    fn numbers(list: &[(usize, Place)]) -> Vec<usize> {
        list.iter().map(|(number, _)| *number).collect()
    }

    #[test]
    fn once_each_in_order_of_their_keys_is_exact() {
        ledger(6).compare(&[&arrivals(&[1, 0, 2, 4, 3, 5])], Order::Key).assert_exact();
    }

    #[test]
    fn the_lost_and_the_repeated_are_counted() {
        let report = ledger(6).compare(&[&arrivals(&[0, 1, 2, 2, 5, 2])], Order::Key);
        assert_eq!(numbers(&report.lost), [3, 4]);
        assert_eq!(numbers(&report.repeated), [2, 2]);
        assert!(report.out_of_order.is_empty());
    }

    #[test]
    fn a_record_that_overtook_its_key_is_seen() {
        let report = ledger(6).compare(&[&arrivals(&[0, 1, 4, 2, 3, 5])], Order::Key);
        assert_eq!(numbers(&report.out_of_order), [2]);
        let swapped = arrivals(&[1, 0, 2, 3, 4, 5]);
        assert!(ledger(6).compare(&[&swapped], Order::Key).out_of_order.is_empty());
        assert_eq!(numbers(&ledger(6).compare(&[&swapped], Order::Partition).out_of_order), [0]);
    }

    #[test]
    fn a_repeat_does_not_count_against_the_order() {
        let report = ledger(4).compare(&[&arrivals(&[0, 1, 2, 3, 0, 1])], Order::Partition);
        assert!(report.out_of_order.is_empty());
        assert_eq!(report.repeated.len(), 2);
    }

    #[test]
    fn foreign_numbers_and_changed_keys_are_strange() {
        let mut arrived = arrivals(&[0, 9]);
        arrived[0].key = None;
        assert_eq!(ledger(1).compare(&[&arrived], Order::Unordered).strange.len(), 2);
    }
}
