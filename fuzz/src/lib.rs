//! The bookkeeping of a partition alone, and what must hold of it for any input.
//!
//! Commit metadata can be written by anybody who may commit for the group, and it decides which records never run
//! again. So three checks take any bytes, read a case out of them, and panic where a promise breaks:
//!
//! - [`decode`]: any text is refused or read, exactly as a slow reader of the format ([`plain`]) refuses or reads it;
//! - [`round_trip`]: whatever pattern of records is complete, what is written fits and says exactly that;
//! - [`sequence`]: from any metadata on, through polls, completions, commits and restarts, the host's bookkeeping
//!   equals a naive one.
//!
//! `cargo xtask fuzz` looks for inputs that break them, guided by the code that each input reaches (`fuzz_targets/`).
//! The folder `seeds/` holds inputs that led somewhere, and every one that ever broke a check; `tests/seeds.rs`
//! runs all of them in every test run.

// Two modules of the host, compiled into this crate: they are pure, and the host as a dependency would bring the
// Wasm engine along, minutes of compiling for what takes seconds here.
#[path = "../../host/src/ids.rs"]
pub mod ids;
#[path = "../../host/src/progress/mod.rs"]
pub mod progress;

pub mod decode;
pub mod input;
pub mod plain;
pub mod round_trip;
pub mod sequence;

/// A check of any input; it panics where a promise breaks.
pub type Check = fn(&[u8]);

/// The checks by the names of their targets.
pub const TARGETS: [(&str, Check); 3] =
    [("decode", decode::check), ("round_trip", round_trip::check), ("sequence", sequence::check)];

/// The topic that all cases belong to.
pub const TAG: u32 = 7;
