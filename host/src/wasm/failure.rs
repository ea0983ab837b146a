//! What an error of the sandbox means for the record that was being handled.
//!
//! Guest failures are data: everything that can go wrong in a call ends as a [`Failure`] with one of the
//! outcomes that metrics, dead letters and the API share. Names in traps and words on standard error were
//! chosen by the guest, so messages are cut and escaped here, and carry few frames.

use std::fmt::Write;
use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use super::limits::Denied;
use super::text;
use crate::outcome::{Again, Failure, Outcome, Shared};
use crate::secrets::Secrets;

/// Frames of a trap that a message shows.
const FRAMES: usize = 6;

/// Why the host ended a call. Raised as an error from within the guest, or returned by the meter while the
/// guest waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("still running after {0:?}")]
    Deadline(Duration),
    #[error("the assignment ended")]
    Revoked,
    #[error("more than {0} calls of host functions")]
    HostCalls(u32),
    #[error(
        "its answer of {answer} bytes and the {memory} bytes that the instance holds are more than `limits.memory` ({limit})"
    )]
    Answer { answer: usize, memory: usize, limit: usize },
}

impl Stop {
    const fn outcome(self) -> Outcome {
        match self {
            Stop::Deadline(_) => Outcome::Deadline,
            Stop::Revoked => Outcome::Revoked,
            Stop::HostCalls(_) => Outcome::HostError,
            Stop::Answer { .. } => Outcome::MemoryLimit,
        }
    }
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Failure {
        Failure::of(stop.outcome(), stop.to_string())
    }
}

/// What else is known when a call ends in an error.
pub(crate) struct Circumstances<'a> {
    /// Whether a growth was denied during the call.
    pub(crate) denied: bool,
    /// What the guest last wrote to standard error: a panic says there why. Escaped.
    pub(crate) last_words: &'a str,
    /// What the message may not show.
    pub(crate) secrets: &'a Secrets,
    /// Bytes of the message.
    pub(crate) message_bytes: usize,
}

/// The failure that `error`, from a call of a guest, stands for.
pub(crate) fn classify(error: &wasmtime::Error, circumstances: &Circumstances<'_>) -> Failure {
    if error.is::<PoolConcurrencyLimitError>() {
        return no_room(Shared::Host);
    }
    let outcome = outcome(error, circumstances.denied);
    Failure::of(outcome, describe(outcome, error, circumstances))
}

/// What instances share is used up: no fault of the record, or of the handler.
pub(crate) fn no_room(shared: Shared) -> Failure {
    Failure { again: Again::WithRoom(shared), ..Failure::of(Outcome::HostError, shared.used_up()) }
}

/// What a failure is after memory was `denied`. If it was memory that instances share, the failure says nothing of the
/// records or the handler, whatever the guest made of it: with room it would have gone another way.
pub(crate) fn but_for_room(denied: Option<Denied>, failure: Failure) -> Failure {
    match denied {
        Some(Denied::Budget(shared)) if failure.outcome != Outcome::Revoked => no_room(shared),
        _ => failure,
    }
}

fn outcome(error: &wasmtime::Error, denied: bool) -> Outcome {
    if let Some(stop) = error.downcast_ref::<Stop>() {
        return stop.outcome();
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Outcome::OutOfFuel,
        Some(_) if denied => Outcome::MemoryLimit,
        Some(_) => Outcome::Trap,
        None if error.is::<I32Exit>() => Outcome::Trap,
        // An error that passed through the guest's frames came out of a host function; one that did not comes
        // from lifting what the guest returned.
        None if error.is::<WasmBacktrace>() => Outcome::HostError,
        None => Outcome::InvalidOutput,
    }
}

fn describe(outcome: Outcome, error: &wasmtime::Error, circumstances: &Circumstances<'_>) -> String {
    let mut message = String::new();
    if outcome == Outcome::MemoryLimit {
        message.push_str("memory could not grow past its limit: ");
    }
    match error.downcast_ref::<I32Exit>() {
        Some(exit) => drop(write!(message, "the guest exited with status {}", exit.0)),
        None => drop(write!(message, "{}", error.root_cause())),
    }
    // Words come before frames, which have no names in most modules: what is too long is cut at its end.
    if !circumstances.last_words.is_empty() {
        message.push_str("; stderr: ");
        message.push_str(circumstances.last_words);
    }
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        frames(&mut message, backtrace);
    }
    text::clean(&circumstances.secrets.redact(&message), circumstances.message_bytes)
}

/// Appends the innermost functions of `backtrace`.
fn frames(message: &mut String, backtrace: &WasmBacktrace) {
    // The backtrace's own text demangles names: a headline, then `index: offset - module!function` per line.
    let shown = backtrace.to_string();
    let names = shown
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once(" - "))
        .map(|(_, name)| name.trim().trim_start_matches("<unknown>!"));
    for (index, name) in names.take(FRAMES).enumerate() {
        message.push_str(if index == 0 { "; in " } else { " < " });
        message.push_str(text::head(name, 100));
    }
}
