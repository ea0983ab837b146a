//! What of the host is pure and reads what others wrote, and what must hold of it for any input.
//!
//! Commit metadata can be written by anybody who may commit for the group, answers are written by whoever wrote the
//! guest, and files of configuration by people. So five checks take any bytes, read a case out of them, and panic where
//! a promise breaks:
//!
//! - [`decode`]: any metadata is refused or read, exactly as a slow reader of the format ([`plain`]) refuses or reads it;
//! - [`round_trip`]: whatever pattern of records is complete, what is written fits and says exactly that;
//! - [`sequence`]: from any metadata on, through polls, completions, commits and restarts, the host's bookkeeping
//!   equals a naive one;
//! - [`answer`]: any answer is accepted or refused, exactly as a slow reader of the contract does it;
//! - [`configuration`]: any text gives errors that each name a place, or a configuration that, printed, says the same;
//!   no password is in either.
//!
//! `cargo xtask fuzz` looks for inputs that break them, guided by the code that each input reaches (`fuzz_targets/`).
//! The folder `seeds/` holds inputs that led somewhere, and every one that ever broke a check; `tests/seeds.rs` runs
//! all of them in every test run, and `tests/generated.rs` a bounded number of drawn ones. What needs the whole host is
//! checked in `whole/`.

// Modules of the host, compiled into this crate: they are pure, and the host as a dependency would bring the Wasm engine
// along, minutes of compiling for what takes seconds here.
#[path = "../../host/src/batch/mod.rs"]
pub mod batch;
#[path = "../../host/src/config/mod.rs"]
pub mod config;
#[path = "../../host/src/ids.rs"]
pub mod ids;
#[path = "../../host/src/outcome.rs"]
pub mod outcome;
pub mod outgoing;
#[path = "../../host/src/progress/mod.rs"]
pub mod progress;
#[path = "../../host/src/time.rs"]
pub mod time;
pub mod wasm;

pub mod answer;
pub mod configuration;
pub mod decode;
pub mod input;
pub mod plain;
pub mod round_trip;
pub mod sequence;

/// A check of any input; it panics where a promise breaks.
pub type Check = fn(&[u8]);

/// The checks by the names of their targets.
pub const TARGETS: [(&str, Check); 5] = [
    ("decode", decode::check),
    ("round_trip", round_trip::check),
    ("sequence", sequence::check),
    ("answer", answer::check),
    ("config", configuration::check),
];

/// The topic that all cases belong to.
pub const TAG: u32 = 7;
