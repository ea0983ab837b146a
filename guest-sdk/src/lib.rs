//! Write Sandmill handlers in Rust: one function from a Kafka record to its outputs.
//!
//! ```
//! use sandmill_guest::{Failure, Outputs, Record, ResultExt};
//!
//! /// Doubles the number in the value.
//! #[sandmill_guest::handler]
//! fn double(record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
//!     let value = record.value().ok_or(Failure::reject("no-value", "a tombstone has no number"))?;
//!     let text = std::str::from_utf8(value).or_reject("not-utf8")?;
//!     let number: i64 = text.parse().or_reject("not-a-number")?;
//!     let mut output = out.record();
//!     write!(output, "{}", number * 2);
//!     output.emit();
//!     Ok(())
//! }
//!
//! // A handler is a plain function, so its test needs no Wasm and no Kafka.
//! let answer = sandmill_guest::testing::run(double, ["21", "many"]);
//! assert_eq!(answer.outputs().next().unwrap().value.as_deref(), Some(&b"42"[..]));
//! assert_eq!(answer.failure(1).unwrap().code(), "not-a-number");
//! ```
//!
//! Compiled with `cargo build --release --target wasm32-wasip2` as a `cdylib`, this is a component that the
//! host runs. A handler with state, or one that wants the whole batch, implements [`Handler`]; one that
//! wants the bare columns, [`raw::Guest`].
//!
//! # A record's way through the guest
//!
//! The host copies a batch into the guest's memory, column by column, and calls `handle` once. Its columns
//! lie in an arena that is emptied when the call is over; [`Batch`] borrows them as they are, and a [`Record`]
//! is an index and two slices. [`Outputs`] appends to the columns of the answer, which the host reads where
//! they are and which the next call fills again. What an output takes over from its input (key, headers,
//! timestamp) is not written at all: a column in which nothing differs stays absent. Nothing is allocated per
//! record, and in a steady state nothing per call.
//!
//! # Failing
//!
//! | what happens | effect |
//! |---|---|
//! | `Ok(())` | the record is done; its outputs are published |
//! | `Err(`[`Failure`]`)` | its outputs are taken back, the pipeline's policy decides; costs nothing |
//! | a panic | the instance is thrown away with all its state, the record is isolated and fails |
//!
//! # Module index
//!
//! - `record`: [`Batch`], [`Record`], [`Headers`]: reading.
//! - `outputs`: [`Outputs`], [`OutputRecord`], [`Answer`]: writing; `columns`: where it is written to, `copy`: how.
//! - `failure`: [`Failure`], [`ResultExt`].
//! - `handler`: the [`Handler`] trait; `export`: one instance, and the macros that export it.
//! - `abi`, `exports`, `arena`: the border, and where a batch lies.
//! - [`config`], [`log`], [`metrics`], [`secrets`], and with the feature `http` requests to servers: what the host offers,
//!   as far as the pipeline allows it. [`json`]: strings of JSON. [`testing`]: what stands in for the host in `cargo test`.
//! - [`raw`]: the contract itself.

// Only a host lowers a batch; a native build has none.
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
mod abi;
#[cfg(any(target_arch = "wasm32", test))]
mod arena;
mod columns;
pub mod config;
mod copy;
mod export;
#[cfg(target_arch = "wasm32")]
mod exports;
mod failure;
mod handler;
#[cfg(feature = "http")]
pub mod http;
pub mod json;
pub mod log;
pub mod metrics;
mod outputs;
pub mod raw;
mod record;
pub mod secrets;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use failure::{Failure, FailureKind, ResultExt};
pub use handler::{Handler, StartError};
pub use outputs::{Answer, OutputRecord, Outputs};
pub use record::{Batch, Header, Headers, Record, Records};
pub use sandmill_guest_macros::handler;

#[doc(hidden)]
pub mod __private {
    pub use crate::abi::{Answer as LentAnswer, CONTRACT, List, Lowered, Started};
    pub use crate::export::{RawSlot, Slot, used};
    #[cfg(target_arch = "wasm32")]
    pub use crate::exports::{handle, start};
}
