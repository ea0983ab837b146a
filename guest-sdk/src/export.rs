//! The glue between the contract's two functions and a [`Handler`]: one instance, its slot, the macros.
//!
//! The host makes one call at a time and never calls back into an instance, so a thread-local cell is all
//! the synchronization there is; on Wasm it compiles to a plain static. `abi` and `exports` hold the border
//! itself.

use std::cell::RefCell;
use std::marker::PhantomData;

use crate::abi::{self, Lent};
use crate::config::Config;
use crate::handler::{Handler, StartError};
use crate::outputs::Answer;
use crate::raw::{self, Guest};
use crate::record::Batch;

/// Makes a type that implements [`Handler`] this crate's handler; `#[handler]` on the `impl` does the same.
#[macro_export]
macro_rules! export {
    ($handler:ty) => {
        const _: () = {
            ::std::thread_local! {
                static SLOT: $crate::__private::Slot<$handler> = const { $crate::__private::Slot::new() };
            }
            $crate::__export!(SLOT);
        };
    };
}

/// Makes a type that implements [`raw::Guest`](crate::raw::Guest) this crate's handler.
#[macro_export]
macro_rules! export_raw {
    ($guest:ty) => {
        const _: () = {
            ::std::thread_local! {
                static SLOT: $crate::__private::RawSlot<$guest> = const { $crate::__private::RawSlot::new() };
            }
            $crate::__export!(SLOT);
        };
    };
}

/// Exports the contract's functions for a slot.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($slot:ident) => {
        // A native build is for tests and has nobody to export to: there the handler only counts as used.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = || $slot.with($crate::__private::used);

        /// What the exports mean, for the tools that make a component.
        #[cfg(target_arch = "wasm32")]
        #[used]
        #[unsafe(link_section = "component-type:sandmill-guest")]
        static CONTRACT: [u8; $crate::__private::CONTRACT.len()] = *$crate::__private::CONTRACT;

        #[cfg(target_arch = "wasm32")]
        #[unsafe(export_name = "sandmill:handler/process@0.1.0#start")]
        unsafe extern "C" fn start(
            config: *mut [$crate::__private::List<u8>; 2],
            len: usize,
        ) -> *const $crate::__private::Started {
            // SAFETY: the host keeps the canonical ABI.
            unsafe { $crate::__private::start(config, len, |config| $slot.with(|slot| slot.start(config))) }
        }

        #[cfg(target_arch = "wasm32")]
        #[unsafe(export_name = "sandmill:handler/process@0.1.0#handle")]
        unsafe extern "C" fn handle(
            batch: *const $crate::__private::Lowered,
        ) -> *const $crate::__private::LentAnswer {
            // SAFETY: the host keeps the canonical ABI.
            unsafe { $crate::__private::handle(batch, |batch| $slot.with(|slot| slot.lend(batch))) }
        }
    };
}

/// Nothing; whoever names it with a slot uses the slot.
#[doc(hidden)]
pub fn used<S>(_: &S) {}

/// A handler's value, and its last answer, whose columns are filled again and again.
pub(crate) struct Instance<H> {
    handler: H,
    answer: Answer,
}

impl<H: Handler> Instance<H> {
    pub fn start(config: &Config) -> Result<Self, StartError> {
        H::start(config).map(Self::of)
    }

    pub fn of(handler: H) -> Self {
        Self { handler, answer: Answer::new() }
    }

    /// The columns and failures of the answer, until the next call.
    pub fn handle(&mut self, batch: &Batch<'_>) -> (&raw::Outputs, &[raw::Failure]) {
        self.answer.clear();
        self.handler.handle_batch(batch, &mut self.answer);
        self.answer.as_raw()
    }
}

/// Holds the instance between the host's calls.
#[doc(hidden)]
pub struct Slot<H>(RefCell<State<Instance<H>>>);

struct State<I> {
    instance: Option<I>,
    lent: Lent,
}

const BEFORE_START: &str = "the host calls start before the first batch";

impl<H: Handler> Slot<H> {
    pub const fn new() -> Self {
        Self(RefCell::new(State { instance: None, lent: Lent::new() }))
    }

    pub fn start(&self, config: Vec<(String, String)>) -> Result<(), String> {
        let instance =
            Instance::start(&Config::from_entries(config)).map_err(|error| with_sources(&*error))?;
        self.0.borrow_mut().instance = Some(instance);
        Ok(())
    }

    /// Handles a batch; the answer stays where it is until the next one.
    pub fn lend(&self, batch: Batch<'_>) -> *const abi::Answer {
        let State { instance, lent } = &mut *self.0.borrow_mut();
        let (outputs, failures) = instance.as_mut().expect(BEFORE_START).handle(&batch);
        lent.answer(outputs, failures)
    }

    /// Handles a batch outside of Wasm, and hands its answer to `read`.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn call<T>(&self, columns: &raw::Batch, read: impl FnOnce(&raw::Outputs, &[raw::Failure]) -> T) -> T {
        let header_ends = crate::testing::header_ends(columns);
        let batch = Batch::of(columns, &header_ends);
        let mut state = self.0.borrow_mut();
        let (outputs, failures) = state.instance.as_mut().expect(BEFORE_START).handle(&batch);
        read(outputs, failures)
    }
}

impl<H: Handler> Default for Slot<H> {
    fn default() -> Self {
        Self::new()
    }
}

/// Holds what a handler on bare columns answered last.
#[doc(hidden)]
pub struct RawSlot<G> {
    last: RefCell<(Option<raw::Answer>, Lent)>,
    guest: PhantomData<G>,
}

impl<G: Guest> RawSlot<G> {
    pub const fn new() -> Self {
        Self { last: RefCell::new((None, Lent::new())), guest: PhantomData }
    }

    pub fn start(&self, config: Vec<(String, String)>) -> Result<(), String> {
        G::start(config)
    }

    /// Handles a batch; the answer stays where it is until the next one.
    pub fn lend(&self, batch: Batch<'_>) -> *const abi::Answer {
        let (last, lent) = &mut *self.last.borrow_mut();
        // It may be large: its memory is free for the next one.
        *last = None;
        let answer = last.insert(G::handle(batch.to_raw()));
        lent.answer(&answer.outputs, &answer.failures)
    }
}

impl<G: Guest> Default for RawSlot<G> {
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
