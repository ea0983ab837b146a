//! The glue between the contract's two functions and a [`Handler`]: one instance, its slot, the macros.
//!
//! The host makes one call at a time and never calls back into an instance, so a thread-local cell is all
//! the synchronization there is; on Wasm it compiles to a plain static.

use std::cell::RefCell;

use crate::columns::Columns;
use crate::config::Config;
use crate::handler::{Handler, StartError};
use crate::outputs::Answer;
use crate::raw;
use crate::record::Batch;

/// Makes a type that implements [`Handler`] this crate's handler; `#[handler]` on the `impl` does the same.
#[macro_export]
macro_rules! export {
    ($handler:ty) => {
        const _: () = {
            ::std::thread_local! {
                static SLOT: $crate::__private::Slot<$handler> = const { $crate::__private::Slot::new() };
            }

            struct Exported;

            impl $crate::raw::Guest for Exported {
                fn start(
                    config: ::std::vec::Vec<(::std::string::String, ::std::string::String)>,
                ) -> ::core::result::Result<(), ::std::string::String> {
                    SLOT.with(|slot| slot.start(config))
                }

                fn handle(batch: $crate::raw::Batch) -> $crate::raw::Answer {
                    SLOT.with(|slot| slot.handle(batch))
                }
            }

            $crate::export_raw!(Exported);
        };
    };
}

/// Makes a type that implements [`raw::Guest`](crate::raw::Guest) this crate's handler.
#[macro_export]
macro_rules! export_raw {
    ($guest:ident) => {
        // A native build is for tests and has nobody to export to: there the guest only counts as used.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn($crate::raw::Batch) -> $crate::raw::Answer = <$guest as $crate::raw::Guest>::handle;
        #[cfg(target_arch = "wasm32")]
        $crate::bindings::export_handler!($guest with_types_in $crate::bindings);
    };
}

/// A handler's value, and what its last answer weighed.
pub(crate) struct Instance<H> {
    handler: H,
    last: Weight,
}

#[derive(Clone, Copy, Default)]
struct Weight {
    records: usize,
    value_bytes: usize,
    outputs: usize,
    output_bytes: usize,
}

impl<H: Handler> Instance<H> {
    pub fn start(config: &Config) -> Result<Self, StartError> {
        H::start(config).map(Self::of)
    }

    pub fn of(handler: H) -> Self {
        Self { handler, last: Weight::default() }
    }

    pub fn handle(&mut self, batch: raw::Batch) -> raw::Answer {
        let batch = Batch::new(batch);
        let mut answer = Answer::new(self.columns(&batch));
        self.handler.handle_batch(&batch, &mut answer);
        let (outputs, output_bytes) = answer.size();
        self.last = Weight { records: batch.len(), value_bytes: batch.value_bytes(), outputs, output_bytes };
        answer.into_raw()
    }

    /// Columns with the room that this batch needs if it comes to as much as the last one did, in
    /// proportion. Growing by doubling would copy the outputs about twice.
    fn columns(&self, batch: &Batch) -> Columns {
        let last = self.last;
        Columns::with_capacity(
            scale(last.outputs, last.records, batch.len(), MOST_OUTPUTS),
            scale(last.output_bytes, last.value_bytes, batch.value_bytes(), MOST_BYTES),
        )
    }
}

/// Room for more is never reserved on a guess: a guess may be wrong, and the guest's memory has a limit.
const MOST_OUTPUTS: usize = 16 * 1024;
const MOST_BYTES: usize = 1024 * 1024;

fn scale(last_out: usize, last_in: usize, now: usize, most: usize) -> usize {
    let expected = (last_out as u64).saturating_mul(now as u64) / (last_in as u64).max(1);
    // An eighth more, because batches of one size still differ.
    usize::try_from(expected.saturating_add(expected / 8)).map_or(most, |expected| expected.min(most))
}

/// Holds the instance between the host's calls.
#[doc(hidden)]
pub struct Slot<H>(RefCell<Option<Instance<H>>>);

impl<H: Handler> Slot<H> {
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    pub fn start(&self, config: Vec<(String, String)>) -> Result<(), String> {
        let instance =
            Instance::start(&Config::from_entries(config)).map_err(|error| with_sources(&*error))?;
        self.0.replace(Some(instance));
        Ok(())
    }

    pub fn handle(&self, batch: raw::Batch) -> raw::Answer {
        let mut instance = self.0.borrow_mut();
        instance.as_mut().expect("the host calls start before the first batch").handle(batch)
    }
}

impl<H: Handler> Default for Slot<H> {
    fn default() -> Self {
        Self::new()
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guess_of_the_room_follows_the_last_answer_and_never_exceeds_its_bound() {
        assert_eq!(scale(0, 0, 100, MOST_OUTPUTS), 0);
        assert_eq!(scale(800, 400, 100, MOST_OUTPUTS), 225);
        assert_eq!(scale(usize::MAX, 1, usize::MAX, MOST_BYTES), MOST_BYTES);
    }

    #[test]
    fn a_start_that_fails_says_why_with_all_causes() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("no limit")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        struct Failing;
        impl Handler for Failing {
            fn start(config: &Config) -> Result<Self, StartError> {
                config.require("limit")?.parse::<u8>().map_err(Outer)?;
                Ok(Self)
            }
            fn handle(&mut self, _: crate::Record<'_>, _: &mut crate::Outputs) -> Result<(), crate::Failure> {
                Ok(())
            }
        }
        let slot = Slot::<Failing>::new();
        let start = |value: &str| slot.start(vec![("limit".into(), value.into())]);
        assert_eq!(start("x"), Err("no limit: invalid digit found in string".into()));
        assert_eq!(start("7"), Ok(()));
    }
}
