//! What became of a record in one call: the closed vocabulary that metrics, dead letters and the API share.
//!
//! Guest failures are data. A worker makes them, the dispatcher's policy decides what follows, and nothing
//! on the way turns one into a Rust error.

use std::fmt;
use std::time::Duration;

/// What one attempt at one record came to. Every dispatched record yields exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The handler answered and did not list the record as failed.
    Success,
    /// The handler listed the record as failed.
    Rejected,
    /// The guest trapped: a panic, an `unreachable`, a wrong memory access, a stack overflow.
    Trap,
    /// The guest used more fuel than one record may.
    OutOfFuel,
    /// The guest was still running, or waiting on the host, when its wall-clock bound had passed.
    Deadline,
    /// A growth of memory or tables was denied and the guest did not survive that.
    MemoryLimit,
    /// The answer broke a rule of the contract.
    InvalidOutput,
    /// No instance could be made: instantiation or `start` failed.
    InitializationFailed,
    /// A host function refused to go on, or the host itself failed the call.
    HostError,
    /// The assignment ended before the call did; nothing of it was kept.
    Revoked,
}

impl Outcome {
    /// All outcomes that are failures of the handler or of its limits: the label values of
    /// `handler_errors_total`.
    pub const ERRORS: [Outcome; 8] = [
        Outcome::OutOfFuel,
        Outcome::Deadline,
        Outcome::MemoryLimit,
        Outcome::Trap,
        Outcome::Rejected,
        Outcome::InvalidOutput,
        Outcome::InitializationFailed,
        Outcome::HostError,
    ];

    /// The word for this outcome everywhere: label value, dead-letter header, API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Rejected => "rejected",
            Outcome::Trap => "trap",
            Outcome::OutOfFuel => "out_of_fuel",
            Outcome::Deadline => "deadline",
            Outcome::MemoryLimit => "memory_limit",
            Outcome::InvalidOutput => "invalid_output",
            Outcome::InitializationFailed => "initialization_failed",
            Outcome::HostError => "host_error",
            Outcome::Revoked => "revoked",
        }
    }

    /// Position in [`Outcome::ERRORS`]; `None` for what is no error.
    pub fn error_index(self) -> Option<usize> {
        Outcome::ERRORS.iter().position(|&known| known == self)
    }

    /// True where the guest used up time or fuel: running the same records again in the same call would
    /// cost as much again.
    pub const fn is_exhaustion(self) -> bool {
        matches!(self, Outcome::OutOfFuel | Outcome::Deadline)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What instances share, and may find used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// The memory of one pipeline's instances.
    Pipeline,
    /// What all pipelines of the host share: memory, and places for instances.
    Host,
}

impl Shared {
    /// Says for people that it is, and which limit that is.
    pub const fn used_up(self) -> &'static str {
        match self {
            Shared::Pipeline => {
                "the memory that the pipeline's instances share is used up (`limits.total_memory` is the limit)"
            }
            Shared::Host => {
                "the memory that all instances of the host share is used up (`host.guest_memory` is the limit)"
            }
        }
    }
}

/// Whether a failed record may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// As soon as there is room. This says nothing of the record: what instances share was used up. The worker waits
    /// for room itself, so no policy ever sees it.
    WithRoom(Shared),
    /// Never: the handler rejected it.
    Never,
    /// When the pipeline's backoff says.
    Backoff,
    /// Not before this long from now; the handler asked for it.
    After(Duration),
}

/// Why a record, or a whole call, failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Never [`Outcome::Success`].
    pub outcome: Outcome,
    /// Whether the policy may try again.
    pub again: Again,
    /// A short word for programs: the handler's own code, or the outcome's name. At most 64 bytes.
    pub code: String,
    /// A sentence for people, cut and escaped: safe to log.
    pub message: String,
}

impl Failure {
    /// A failure that the host found: code is the outcome's name, and the policy may try again.
    pub fn of(outcome: Outcome, message: impl Into<String>) -> Self {
        Failure { outcome, again: Again::Backoff, code: outcome.as_str().to_owned(), message: message.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.outcome, self.message)
    }
}
