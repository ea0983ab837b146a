//! A shadow: a generation that runs what another has run, and is compared with it.
//!
//! Nothing that a shadow answers is published, and nothing waits for it: it runs as a task of its own once the records
//! are done, on a copy of them. So that it takes no more than it may, each worker has one such copy of a pipeline at
//! most; records that come meanwhile are skipped, and counted as that. At a rate that leaves the workers idle at times,
//! all of them are compared.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::batch::{Batch, TopicPartition};
use crate::deploy::verdict::Seen;
use crate::outcome::Failure;
use crate::wasm::{Answer, Output};

/// Differences that are kept to be looked at: the first ones.
const SAMPLES: usize = 16;
/// Bytes of each side of a sample.
const SHOWN: usize = 200;

/// What came of comparing a shadow with the current generation. Any thread may add and read.
#[derive(Debug, Default)]
pub struct Comparison {
    compared: AtomicU64,
    skipped: AtomicU64,
    different: AtomicU64,
    failed_old: AtomicU64,
    failed_new: AtomicU64,
    samples: Mutex<Vec<Difference>>,
}

/// One record that the two treat differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Difference {
    /// Topic and partition of the record, as `orders/3`.
    pub partition: String,
    /// Where it stands there.
    pub offset: i64,
    /// What the current generation made of it.
    pub old: String,
    /// What the shadow made of it.
    pub new: String,
}

/// What a comparison has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Compared {
    /// Records that both ran.
    pub compared: u64,
    /// Records that the shadow was not asked about, because it was still at others.
    pub skipped: u64,
    /// Records of which it made something else.
    pub different: u64,
    /// The first of those.
    pub samples: Vec<Difference>,
}

impl Comparison {
    /// These records were not given to the shadow.
    pub(super) fn skip(&self, records: usize) {
        self.skipped.fetch_add(records as u64, Relaxed);
    }

    /// Both ran `batch`.
    pub(super) fn add(
        &self,
        origin: &TopicPartition,
        batch: &Batch,
        old: &Result<Answer, Failure>,
        new: &Result<Answer, Failure>,
    ) {
        let (mut old, mut new) = (Fates::of(old, batch), Fates::of(new, batch));
        for (index, &offset) in batch.offsets().iter().enumerate() {
            self.count(origin, offset, &old.next(index), &new.next(index));
        }
    }

    fn count(&self, origin: &TopicPartition, offset: i64, old: &Fate<'_>, new: &Fate<'_>) {
        self.compared.fetch_add(1, Relaxed);
        self.failed_old.fetch_add(u64::from(old.failed.is_some()), Relaxed);
        self.failed_new.fetch_add(u64::from(new.failed.is_some()), Relaxed);
        if old == new {
            return;
        }
        self.different.fetch_add(1, Relaxed);
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() < SAMPLES {
            let partition = origin.to_string();
            samples.push(Difference { partition, offset, old: old.shown(), new: new.shown() });
        }
    }

    /// Both ran record `index` of `batch`; the shadow did so alone, as `one`.
    pub(super) fn add_one(
        &self,
        origin: &TopicPartition,
        batch: &Batch,
        index: usize,
        old: &Result<Answer, Failure>,
        one: &Batch,
        new: &Result<Answer, Failure>,
    ) {
        let mut fates = Fates::of(old, batch);
        let old = (0..=index).map(|index| fates.next(index)).last();
        let old = old.unwrap_or(Fate { failed: None, outputs: Vec::new() });
        self.count(origin, batch.offsets()[index], &old, &Fates::of(new, one).next(0));
    }

    /// What it has come to.
    pub fn read(&self) -> Compared {
        Compared {
            compared: self.compared.load(Relaxed),
            skipped: self.skipped.load(Relaxed),
            different: self.different.load(Relaxed),
            samples: self.samples.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// What each did to the records that both ran: first the current generation, then the shadow. Without times: a shadow
    /// runs when there is time.
    pub fn seen(&self) -> (Seen, Seen) {
        let records = self.compared.load(Relaxed);
        let of = |failed: &AtomicU64| Seen { records, failed: failed.load(Relaxed), ..Seen::default() };
        (of(&self.failed_old), of(&self.failed_new))
    }
}

/// What an answer makes of each record, one after the other.
struct Fates<'a> {
    outputs: std::iter::Peekable<Box<dyn Iterator<Item = Output<'a>> + 'a>>,
    failures: &'a [(u32, Failure)],
    all: Option<&'a Failure>,
}

/// What became of one record.
struct Fate<'a> {
    failed: Option<&'a Failure>,
    outputs: Vec<Output<'a>>,
}

impl<'a> Fates<'a> {
    fn of(answer: &'a Result<Answer, Failure>, batch: &'a Batch) -> Self {
        let (outputs, failures, all): (Box<dyn Iterator<Item = Output<'a>>>, _, _) = match answer {
            Ok(answer) => (Box::new(answer.outputs(batch)), answer.failures(), None),
            Err(failure) => (Box::new(std::iter::empty()), &[][..], Some(failure)),
        };
        Fates { outputs: outputs.peekable(), failures, all }
    }

    fn next(&mut self, index: usize) -> Fate<'a> {
        let mut outputs = Vec::new();
        while let Some(output) = self.outputs.next_if(|output| output.input == index) {
            outputs.push(output);
        }
        let failed = match self.failures.split_first() {
            Some(((input, failure), rest)) if *input as usize == index => {
                self.failures = rest;
                Some(failure)
            }
            _ => self.all,
        };
        Fate { failed, outputs }
    }
}

impl PartialEq for Fate<'_> {
    /// Equal in all that anybody else sees: what is published, in its order, or how the record failed. Words for people
    /// do not count.
    fn eq(&self, other: &Self) -> bool {
        match (self.failed, other.failed) {
            (Some(one), Some(two)) => (one.outcome, &one.code) == (two.outcome, &two.code),
            (None, None) => {
                self.outputs.len() == other.outputs.len()
                    && self.outputs.iter().zip(&other.outputs).all(|(one, two)| is_same(one, two))
            }
            _ => false,
        }
    }
}

fn is_same(one: &Output<'_>, two: &Output<'_>) -> bool {
    (one.destination, one.partition, one.key, one.value, one.timestamp)
        == (two.destination, two.partition, two.key, two.value, two.timestamp)
        && one.headers.iter().eq(two.headers.iter())
}

impl Fate<'_> {
    fn shown(&self) -> String {
        if let Some(failure) = self.failed {
            return cut(format!("failed: {} ({})", failure.message, failure.code));
        }
        let mut text = match self.outputs.len() {
            0 => return "no output".to_owned(),
            1 => String::new(),
            count => format!("{count} outputs: "),
        };
        for (index, output) in self.outputs.iter().enumerate() {
            if text.len() > SHOWN {
                break;
            }
            let bytes = |bytes: Option<&[u8]>| match bytes {
                Some(bytes) => crate::wasm::text::clean_bytes(bytes, SHOWN),
                None => "null".to_owned(),
            };
            let more = if index > 0 { "; " } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "{more}to {}: {} = {}",
                output.destination,
                bytes(output.key),
                bytes(output.value)
            );
        }
        cut(text)
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(SHOWN));
    text
}
