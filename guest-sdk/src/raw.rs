//! The contract without this crate's help: the columns as they cross the border.
//!
//! For a handler that computes on whole columns, and for tests that must answer wrongly. The host checks
//! every answer; what breaks the rules of `wit/handler.wit` is the outcome `invalid_output`.
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

pub use crate::bindings::exports::sandmill::handler::process::Guest;
pub use crate::bindings::sandmill::handler::types::{
    Answer, Batch, Failure, FailureKind, HeaderColumns, Outputs,
};

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
