//! What stands in for the host in `cargo test`: batches from plain values, answers as plain values.
//!
//! ```
//! use sandmill_guest::testing::{self, Input};
//! use sandmill_guest::{Failure, Outputs, Record};
//!
//! fn drop_tombstones(record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
//!     if record.value().is_some() {
//!         out.forward(record);
//!     }
//!     Ok(())
//! }
//!
//! let answer = testing::run(drop_tombstones, [Input::new("a").key("k"), Input::tombstone().key("k")]);
//! let outputs: Vec<_> = answer.outputs().collect();
//! assert_eq!(outputs.len(), 1);
//! assert_eq!(outputs[0].key.as_deref(), Some(&b"k"[..]));
//! ```
//!
//! The records make the same way as in the host, through the columns of the contract, and the answer is
//! held against the contract's rules. There are no limits here: for fuel, time and memory run the module
//! with `sandmill test`. Native builds only.

mod answer;
pub(crate) mod host;
mod input;

pub use answer::{Answered, Outcome, Output, WrongAnswer, read_answer};
#[cfg(feature = "http")]
pub use host::set_http;
pub use host::{Recorded, set_secrets, take_log, take_metrics};
pub use input::{Input, batch};

use crate::abi::into_ends;
use crate::config::Config;
use crate::export::Instance;
use crate::failure::Failure;
use crate::handler::{Handler, StartError};
use crate::outputs::Outputs;
use crate::raw;
use crate::record::{Batch, Record};

/// One instance of a handler.
pub struct Harness<H> {
    instance: Instance<H>,
}

impl<H: Handler> Harness<H> {
    /// Starts an instance with this `config`, which [`config::get`](crate::config::get) reads too, on this
    /// thread.
    ///
    /// # Errors
    /// What the handler's `start` returns.
    pub fn start(config: impl Into<Config>) -> Result<Self, StartError> {
        let config = config.into();
        let instance = Instance::start(&config);
        host::set_config(config);
        Ok(Self { instance: instance? })
    }

    /// Hands it one batch of these records.
    ///
    /// # Panics
    /// If the handler panics, which the host would answer by throwing the instance away.
    pub fn run<I: Into<Input>>(&mut self, inputs: impl IntoIterator<Item = I>) -> Answered {
        let columns = batch(inputs);
        let header_ends = header_ends(&columns);
        let (outputs, failures) = self.instance.handle(&Batch::of(&columns, &header_ends));
        let answer = raw::Answer { outputs: outputs.clone(), failures: failures.to_vec() };
        read_answer(&columns, &answer).expect("an answer that is built through `Answer` keeps the contract")
    }
}

/// Where the headers of each record end, as a batch wants it.
pub(crate) fn header_ends(columns: &raw::Batch) -> Vec<u32> {
    let mut counts = columns.headers.counts.clone();
    into_ends(&mut counts);
    counts
}

/// Hands one batch of these records to a handler that is a function.
pub fn run<F, I>(handler: F, inputs: impl IntoIterator<Item = I>) -> Answered
where
    F: FnMut(Record<'_>, &mut Outputs) -> Result<(), Failure>,
    I: Into<Input>,
{
    Harness { instance: Instance::of(Function(handler)) }.run(inputs)
}

struct Function<F>(F);

impl<F: FnMut(Record<'_>, &mut Outputs) -> Result<(), Failure>> Handler for Function<F> {
    fn start(_: &Config) -> Result<Self, StartError> {
        Err("a function of a test has no start".into())
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        self.0(record, out)
    }
}
