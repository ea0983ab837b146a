//! Reads an answer as the host does: holds it against the contract, and fills in what it leaves to the input.

use std::fmt;
use std::time::Duration;

use super::header_ends;
use crate::failure::Failure;
use crate::raw::{self, FailureKind, HeaderColumns, output_flag};
use crate::record::{Batch, Record};

/// Name and value of a header.
type OwnedHeader = (Vec<u8>, Option<Vec<u8>>);

/// One output, with everything that it takes over from its input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Index of the declared output.
    pub destination: u8,
    /// The partition, if the handler chose one.
    pub partition: Option<i32>,
    /// The key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// The headers: names and values.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Milliseconds since 1970.
    pub timestamp: Option<i64>,
}

/// What became of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, and these are its outputs.
    Done(Vec<Output>),
    /// It failed, and has no outputs.
    Failed(Failure),
}

/// What became of a batch: one outcome for each record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// In the order of the batch.
    pub outcomes: Vec<Outcome>,
}

impl Answered {
    /// The outputs of all records, in the order in which they are published.
    pub fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.outcomes.iter().flat_map(|outcome| match outcome {
            Outcome::Done(outputs) => outputs.as_slice(),
            Outcome::Failed(_) => &[],
        })
    }

    /// The values of all outputs as text, with an empty one for a tombstone.
    pub fn texts(&self) -> Vec<String> {
        self.outputs()
            .map(|output| String::from_utf8_lossy(output.value.as_deref().unwrap_or_default()).into_owned())
            .collect()
    }

    /// Why the record at `index` failed, if it did.
    pub fn failure(&self, index: usize) -> Option<&Failure> {
        match self.outcomes.get(index)? {
            Outcome::Done(_) => None,
            Outcome::Failed(failure) => Some(failure),
        }
    }
}

/// A rule of the contract that an answer breaks; the host calls this outcome `invalid_output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongAnswer(String);

impl fmt::Display for WrongAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongAnswer {}

macro_rules! ensure {
    ($holds:expr, $($text:tt)+) => {
        if !$holds {
            return Err(WrongAnswer(format!($($text)+)));
        }
    };
}

/// Reads what a handler answered to a batch. Which outputs a pipeline declares is unknown here, so every
/// destination is taken.
///
/// # Errors
/// If the answer breaks a rule of the contract.
pub fn read_answer(batch: &raw::Batch, answer: &raw::Answer) -> Result<Answered, WrongAnswer> {
    let header_ends = header_ends(batch);
    let batch = Batch::of(batch, &header_ends);
    let mut outcomes = vec![Outcome::Done(Vec::new()); batch.len()];

    for failure in &answer.failures {
        let outcome = outcomes.get_mut(failure.input as usize);
        let Some(outcome) = outcome else {
            return Err(WrongAnswer(format!(
                "failure of record {}, which is not in the batch",
                failure.input
            )));
        };
        ensure!(matches!(outcome, Outcome::Done(_)), "record {} fails twice", failure.input);
        ensure!(failure.code.len() <= 64, "code of {} bytes", failure.code.len());
        *outcome = Outcome::Failed(read_failure(failure));
    }

    let columns = OutputColumns::check(&answer.outputs)?;
    let mut before = 0;
    for (index, &input) in answer.outputs.inputs.iter().enumerate() {
        ensure!(input >= before, "output {index} answers record {input} after one that answers {before}");
        before = input;
        let Some(record) = batch.get(input as usize) else {
            return Err(WrongAnswer(format!("output {index} answers record {input}, which is not there")));
        };
        let output = columns.output(index, record)?;
        match &mut outcomes[input as usize] {
            Outcome::Done(outputs) => outputs.push(output),
            Outcome::Failed(_) => {
                return Err(WrongAnswer(format!("output {index} answers record {input}, which failed")));
            }
        }
    }
    Ok(Answered { outcomes })
}

fn read_failure(failure: &raw::Failure) -> Failure {
    let (code, message) = (failure.code.clone(), failure.message.clone());
    match failure.kind {
        FailureKind::Reject => Failure::reject(code, message),
        FailureKind::Retry(None) => Failure::retry(code, message),
        FailureKind::Retry(Some(millis)) => {
            Failure::retry_after(Duration::from_millis(millis.into()), code, message)
        }
    }
}

/// Columns whose lengths and ends are known to agree.
struct OutputColumns<'a> {
    raw: &'a raw::Outputs,
    keys: Vec<&'a [u8]>,
    values: Vec<&'a [u8]>,
    headers: Vec<Vec<OwnedHeader>>,
}

impl<'a> OutputColumns<'a> {
    fn check(raw: &'a raw::Outputs) -> Result<Self, WrongAnswer> {
        let outputs = raw.inputs.len();
        let optional = |name: &str, length: usize| {
            ensure!(length == 0 || length == outputs, "{length} {name} for {outputs} outputs");
            Ok(())
        };
        optional("destinations", raw.destinations.len())?;
        optional("partitions", raw.partitions.len())?;
        optional("key ends", raw.key_ends.len())?;
        optional("flags", raw.flags.len())?;
        optional("timestamps", raw.timestamps.len())?;
        optional("header counts", raw.headers.counts.len())?;
        ensure!(raw.value_ends.len() == outputs, "{} value ends for {outputs} outputs", raw.value_ends.len());
        Ok(Self {
            raw,
            keys: split("keys", &raw.keys, &raw.key_ends)?,
            values: split("values", &raw.values, &raw.value_ends)?,
            headers: split_headers(&raw.headers)?,
        })
    }

    fn output(&self, index: usize, input: Record<'_>) -> Result<Output, WrongAnswer> {
        let raw = self.raw;
        let flags = raw.flags.get(index).copied().unwrap_or(0);
        let has = |flag: u8| flags & flag != 0;
        ensure!(flags & !output_flag::ALL == 0, "output {index} has unknown flags {flags:#010b}");
        let value = self.values[index];
        let key = match self.keys.get(index) {
            _ if has(output_flag::NO_KEY) => None,
            Some(key) if !has(output_flag::INPUT_KEY) => Some(key.to_vec()),
            _ => input.key().map(<[u8]>::to_vec),
        };
        let headers = match self.headers.get(index) {
            Some(headers) if !has(output_flag::INPUT_HEADERS) => headers.clone(),
            _ => input
                .headers()
                .map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec)))
                .collect(),
        };
        let timestamp = match raw.timestamps.get(index) {
            Some(&timestamp) if !has(output_flag::INPUT_TIMESTAMP) => Some(timestamp),
            _ => input.timestamp(),
        };
        let partition = if has(output_flag::PARTITION) {
            let partition = raw.partitions.get(index).copied();
            ensure!(partition.is_some(), "output {index} names a partition, and there is no such column");
            partition
        } else {
            None
        };
        Ok(Output {
            destination: raw.destinations.get(index).copied().unwrap_or(0),
            partition,
            key,
            value: (!has(output_flag::NO_VALUE)).then(|| value.to_vec()),
            headers,
            timestamp,
        })
    }
}

fn split_headers(headers: &HeaderColumns) -> Result<Vec<Vec<OwnedHeader>>, WrongAnswer> {
    let names = split("header names", &headers.names, &headers.name_ends)?;
    let values = split("header values", &headers.values, &headers.value_ends)?;
    let total = headers.counts.iter().map(|&count| u64::from(count)).sum::<u64>();
    ensure!(names.len() as u64 == total, "{} header names for {total} headers", names.len());
    ensure!(values.len() as u64 == total, "{} header values for {total} headers", values.len());
    let nulls = headers.nulls.len();
    ensure!(nulls == 0 || nulls as u64 == total, "{nulls} header nulls for {total} headers");
    let mut all = names.iter().zip(&values).enumerate().map(|(index, (name, value))| {
        let null = headers.nulls.get(index).is_some_and(|&null| null != 0);
        (name.to_vec(), (!null).then(|| value.to_vec()))
    });
    Ok(headers.counts.iter().map(|&count| all.by_ref().take(count as usize).collect()).collect())
}

fn split<'a>(name: &str, bytes: &'a [u8], ends: &[u32]) -> Result<Vec<&'a [u8]>, WrongAnswer> {
    let mut start = 0;
    let mut entries = Vec::with_capacity(ends.len());
    for &end in ends {
        let end = end as usize;
        ensure!(end >= start, "an end of {name} is at {end}, before the one at {start}");
        ensure!(end <= bytes.len(), "an end of {name} is at {end}, and there are {} bytes", bytes.len());
        entries.push(&bytes[start..end]);
        start = end;
    }
    Ok(entries)
}
