//! The contract without this crate's help: the columns as they cross the border.
//!
//! For a handler that computes on whole columns, and for tests that must answer wrongly. A column that the
//! contract makes optional is empty here where it is absent. The host checks every answer; what breaks the
//! rules of `wit/handler.wit` is the outcome `invalid_output`.
//!
//! ```
//! use sandmill_guest::raw::{Answer, Batch, Guest, HeaderColumns, Outputs};
//!
//! struct CountBytes;
//!
//! impl Guest for CountBytes {
//!     fn start(_: Vec<(String, String)>) -> Result<(), String> {
//!         Ok(())
//!     }
//!
//!     fn handle(batch: Batch) -> Answer {
//!         let last = u32::try_from(batch.offsets.len() - 1).unwrap();
//!         let mut outputs = Outputs::default();
//!         outputs.inputs.push(last);
//!         outputs.values = batch.values.len().to_string().into_bytes();
//!         outputs.value_ends.push(outputs.values.len() as u32);
//!         Answer { outputs, failures: Vec::new() }
//!     }
//! }
//!
//! sandmill_guest::export_raw!(CountBytes);
//! ```

/// A handler on bare columns. [`export_raw!`](crate::export_raw) exports it.
pub trait Guest {
    /// Called once for each instance, before its first batch, with the pipeline's `config`.
    ///
    /// # Errors
    /// Why the instance cannot be used.
    fn start(config: Vec<(String, String)>) -> Result<(), String>;

    /// Called with records of one partition.
    fn handle(batch: Batch) -> Answer;
}

/// Records of one partition, oldest first. Entry i of every column belongs to record i.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Where all records come from.
    pub topic: String,
    /// Where all records come from.
    pub partition: i32,
    /// Ascending.
    pub offsets: Vec<i64>,
    /// Milliseconds since 1970; -1 where the record has none.
    pub timestamps: Vec<i64>,
    /// Keys end to end.
    pub keys: Vec<u8>,
    /// Where each key ends.
    pub key_ends: Vec<u32>,
    /// Values end to end.
    pub values: Vec<u8>,
    /// Where each value ends.
    pub value_ends: Vec<u32>,
    /// Bits of [`input_flag`]. Empty: none is set.
    pub flags: Vec<u8>,
    /// How often each record was tried before. Empty: all are first attempts.
    pub attempts: Vec<u8>,
    /// Headers of the records.
    pub headers: HeaderColumns,
}

/// Headers of all records of a batch, record after record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderColumns {
    /// How many headers each record has. Empty: no record has any, or all outputs have those of their inputs.
    pub counts: Vec<u32>,
    /// Names end to end.
    pub names: Vec<u8>,
    /// Where each name ends.
    pub name_ends: Vec<u32>,
    /// Values end to end.
    pub values: Vec<u8>,
    /// Where each value ends.
    pub value_ends: Vec<u32>,
    /// One byte a header: 1 where the value is null. Empty: no value is.
    pub nulls: Vec<u8>,
}

/// Output records, in the order in which they shall be published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Which record of the batch each output answers. Ascending.
    pub inputs: Vec<u32>,
    /// Index of a declared output topic. Empty: the first for all.
    pub destinations: Vec<u8>,
    /// Partition of each output; read only where its flag says so. Empty: the partitioner decides.
    pub partitions: Vec<i32>,
    /// Keys end to end.
    pub keys: Vec<u8>,
    /// Where each key ends. Empty: every output has the key of its input.
    pub key_ends: Vec<u32>,
    /// Values end to end.
    pub values: Vec<u8>,
    /// Where each value ends.
    pub value_ends: Vec<u32>,
    /// Bits of [`output_flag`]. Empty: none is set.
    pub flags: Vec<u8>,
    /// Milliseconds since 1970. Empty: every output has the timestamp of its input.
    pub timestamps: Vec<i64>,
    /// Headers of the outputs; without counts, every output has those of its input.
    pub headers: HeaderColumns,
}

/// What shall become of a record that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Try it again, not before so many milliseconds; none: when the pipeline's backoff says.
    Retry(Option<u32>),
    /// Never try it again.
    Reject,
}

/// One record that failed. A record that is in no failure is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which record of the batch.
    pub input: u32,
    /// What shall become of it.
    pub kind: FailureKind,
    /// A short word for programs; what is longer than 64 bytes is cut.
    pub code: String,
    /// A sentence for people; the host cuts it at its limit.
    pub message: String,
}

/// What a handler gives back for a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The records to publish.
    pub outputs: Outputs,
    /// The records that failed.
    pub failures: Vec<Failure>,
}

/// Bits of [`Batch::flags`]: what a record of the input lacks.
pub mod input_flag {
    /// The record has no key.
    pub const NO_KEY: u8 = 1;
    /// The record has no value: a tombstone.
    pub const NO_VALUE: u8 = 1 << 1;
}

/// Bits of [`Outputs::flags`]: what one output says against the rest of its column. Others are refused.
pub mod output_flag {
    /// The output has no key.
    pub const NO_KEY: u8 = 1;
    /// The output has no value: a tombstone.
    pub const NO_VALUE: u8 = 1 << 1;
    /// The output has the key of its input.
    pub const INPUT_KEY: u8 = 1 << 2;
    /// The output has the headers of its input.
    pub const INPUT_HEADERS: u8 = 1 << 3;
    /// The output has the timestamp of its input.
    pub const INPUT_TIMESTAMP: u8 = 1 << 4;
    /// [`Outputs::partitions`](super::Outputs::partitions) holds the output's partition.
    pub const PARTITION: u8 = 1 << 5;
    /// Every bit that has a meaning.
    pub const ALL: u8 = NO_KEY | NO_VALUE | INPUT_KEY | INPUT_HEADERS | INPUT_TIMESTAMP | PARTITION;
}
