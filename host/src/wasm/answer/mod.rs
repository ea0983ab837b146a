//! Answers of guests: checked before anything of them is believed, then read without copying.
//!
//! A worker's call hands the columns that came out of a guest to [`check`]; what passes is an [`Answer`],
//! whose outputs and failures can be walked without a further test. Whoever wrote the guest chose every
//! number in those columns, so the rules of the contract are checked here, all of them, and an answer that
//! breaks one is refused whole: there is no partial publish.
//!
//! This module is pure: it knows no sandbox, thread or clock.

mod check;
mod output;
#[cfg(test)]
mod tests;

pub use check::{OutputLimits, Wrong, check};
pub use output::{Output, OutputHeaders, Outputs};

use crate::outcome::Failure;

/// Flag bit of an output: it has no key.
pub const NO_KEY: u8 = 1;
/// Flag bit of an output: it has no value: a tombstone.
pub const NO_VALUE: u8 = 1 << 1;
/// Flag bit of an output: it has the key of its input.
pub const INPUT_KEY: u8 = 1 << 2;
/// Flag bit of an output: it has the headers of its input.
pub const INPUT_HEADERS: u8 = 1 << 3;
/// Flag bit of an output: it has the timestamp of its input.
pub const INPUT_TIMESTAMP: u8 = 1 << 4;
/// Flag bit of an output: `partitions` holds its partition.
pub const PARTITION: u8 = 1 << 5;

/// What a guest returned, unchecked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawAnswer {
    /// Output records.
    pub outputs: Columns,
    /// Records that failed.
    pub failures: Vec<RawFailure>,
}

/// Columns of output records; the contract (`handler.wit`) says what each means. One that is absent there is
/// empty here.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Columns {
    pub inputs: Vec<u32>,
    pub destinations: Vec<u8>,
    pub partitions: Vec<i32>,
    pub keys: Vec<u8>,
    pub key_ends: Vec<u32>,
    pub values: Vec<u8>,
    pub value_ends: Vec<u32>,
    pub flags: Vec<u8>,
    pub timestamps: Vec<i64>,
    pub headers: HeaderColumns,
}

/// Columns of headers; the contract (`handler.wit`) says what each means.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)]
pub struct HeaderColumns {
    pub counts: Vec<u32>,
    pub names: Vec<u8>,
    pub name_ends: Vec<u32>,
    pub values: Vec<u8>,
    pub value_ends: Vec<u32>,
    pub nulls: Vec<u8>,
}

/// A record that a guest listed as failed, unchecked.
#[derive(Clone, Debug, PartialEq)]
pub struct RawFailure {
    /// Which record of the batch.
    pub input: u32,
    /// What shall become of it.
    pub kind: FailureKind,
    /// A short word for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// What a guest wants to become of a record that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Try it again, not before so many milliseconds; `None`: when the pipeline's backoff says.
    Retry(Option<u32>),
    /// Never try it again.
    Reject,
}

/// An answer that kept all rules. Records that no failure names are done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    columns: Columns,
    failures: Vec<(u32, Failure)>,
    bytes: usize,
}

impl Answer {
    /// Number of output records.
    pub fn output_count(&self) -> usize {
        self.columns.inputs.len()
    }

    /// Bytes of all output records, counted as against [`OutputLimits::bytes`].
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The records that failed, ascending by their index in the batch. Every outcome is
    /// [`Rejected`](crate::outcome::Outcome::Rejected); codes and messages are cut and safe to log.
    pub fn failures(&self) -> &[(u32, Failure)] {
        &self.failures
    }
}
