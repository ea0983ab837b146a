//! How a run fails: always with who, where and why.

use std::time::Duration;

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The contender's program cannot be run.
    #[error("{name} cannot be started: {reason}; is {program} there, and may it be executed?")]
    Start {
        /// Who.
        name: String,
        /// What was started.
        program: String,
        /// What the system says.
        reason: std::io::Error,
    },
    /// It ended before it was done.
    #[error("{name} ended with {status} after {records} of {of} records; it said:\n{said}")]
    Ended {
        /// Who.
        name: String,
        /// Its exit code or signal.
        status: String,
        /// How far it was.
        records: u64,
        /// How far it should have come.
        of: u64,
        /// The end of its standard error.
        said: String,
    },
    /// It moved nothing for too long, and was killed.
    #[error(
        "{name} stalled: nothing moved for {stall:?} at {records} of {of} records{place}; it said:\n{said}"
    )]
    Stalled {
        /// Who.
        name: String,
        /// The bound.
        stall: Duration,
        /// How far it was.
        records: u64,
        /// How far it should have come.
        of: u64,
        /// Where it stood, by the broker's word and its own.
        place: String,
        /// The end of its standard error.
        said: String,
    },
    /// It printed something that the protocol does not know.
    #[error("{name} does not speak the protocol: {problem}: {line:?}")]
    Protocol {
        /// Who.
        name: String,
        /// What is wrong.
        problem: String,
        /// What it printed.
        line: String,
    },
    /// What it claims is not so.
    #[error("{name} is done, but {problem}")]
    Wrong {
        /// Who.
        name: String,
        /// What does not agree.
        problem: String,
    },
    /// The broker does not do what is asked.
    #[error("cannot {action}: {reason}")]
    Kafka {
        /// What was asked for.
        action: String,
        /// What client or broker say.
        reason: String,
    },
    /// A topic does not hold what a run needs.
    #[error("topic {topic:?} cannot be measured: {problem}")]
    Topic {
        /// Which.
        topic: String,
        /// What is wrong with it, and what to do.
        problem: String,
    },
    /// The kernel's counters cannot be read.
    #[error("cannot read {what}: {reason}")]
    System {
        /// Which.
        what: String,
        /// Why.
        reason: String,
    },
    /// Somebody asked for the end.
    #[error("interrupted")]
    Interrupted,
}
