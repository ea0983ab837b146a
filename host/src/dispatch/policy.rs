//! What follows a failure: try again, give up into the dead-letter topic, skip, or halt.
//!
//! Called by workers, which have to know before they publish what the call did for later records of the
//! same key. A pure function of the failure and of what was tried before.

use std::time::Duration;

use crate::outcome::{Again, Failure, Outcome};

/// What becomes of a record that failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Publish it to the dead-letter topic; it is complete once that is acknowledged.
    DeadLetter,
    /// Count it and go on.
    Skip,
    /// Stop the pipeline with everything before it committed.
    Halt,
}

/// A pipeline's policy on failures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailurePolicy {
    /// How often a record is tried again, at most.
    pub retries: u32,
    /// How long a record is tried again, at most, from its first dispatch; `None`: no such bound.
    pub retry_for: Option<Duration>,
    /// Upper end of the first wait.
    pub first_backoff: Duration,
    /// Upper end of every wait.
    pub max_backoff: Duration,
    /// What follows the last attempt.
    pub then: Then,
}

/// What follows one failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Run the record again after this long.
    Retry(Duration),
    /// It failed for good.
    GiveUp(Then),
}

impl FailurePolicy {
    /// Decides for a record that was tried `attempts` times before this failure and was first dispatched
    /// `age` ago. `random` is uniform over all numbers: waits have full jitter (Brooker, "Exponential Backoff
    /// And Jitter", 2015).
    ///
    /// A revoked call is no failure of the record and must not get here.
    pub fn decide(&self, failure: &Failure, attempts: u32, age: Duration, random: u64) -> Decision {
        debug_assert_ne!(failure.outcome, Outcome::Revoked, "a revoked record is not the policy's");
        let worth_it = failure.again != Again::Never && attempts < self.retries;
        if !worth_it || self.retry_for.is_some_and(|bound| age >= bound) {
            return Decision::GiveUp(self.then);
        }
        let ceiling = self.first_backoff.saturating_mul(1 << attempts.min(31)).min(self.max_backoff);
        let jittered = Duration::from_nanos(scale(nanos(ceiling), random));
        Decision::Retry(match failure.again {
            Again::After(asked) => asked.max(jittered),
            Again::Backoff | Again::Never | Again::WithRoom(_) => jittered,
        })
    }

    /// True if a failure of a first attempt may be tried again at all, so that later records of its key have
    /// to wait for it.
    pub fn may_retry(&self, failure: &Failure) -> bool {
        failure.again != Again::Never && self.retries > 0
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A number from 0 to `ceiling`, as `random` lies between 0 and 2^64.
fn scale(ceiling: u64, random: u64) -> u64 {
    ((u128::from(ceiling) * u128::from(random)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> FailurePolicy {
        FailurePolicy {
            retries: 3,
            retry_for: None,
            first_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_millis(250),
            then: Then::DeadLetter,
        }
    }

    fn failure(again: Again) -> Failure {
        Failure { again, ..Failure::of(Outcome::Trap, "x") }
    }

    #[test]
    fn waits_double_up_to_their_bound_and_are_jittered_down_to_zero() {
        let longest =
            |attempts| policy().decide(&failure(Again::Backoff), attempts, Duration::ZERO, u64::MAX);
        let almost = |ms: u64| Decision::Retry(Duration::from_millis(ms) - Duration::from_nanos(1));
        assert_eq!(longest(0), almost(100));
        assert_eq!(longest(1), almost(200));
        assert_eq!(longest(2), almost(250));
        assert_eq!(
            policy().decide(&failure(Again::Backoff), 2, Duration::ZERO, 0),
            Decision::Retry(Duration::ZERO)
        );
    }

    #[test]
    fn gives_up_after_the_last_retry_and_at_once_when_rejected() {
        let give_up = Decision::GiveUp(Then::DeadLetter);
        assert_eq!(policy().decide(&failure(Again::Backoff), 3, Duration::ZERO, 0), give_up);
        assert_eq!(policy().decide(&failure(Again::Never), 0, Duration::ZERO, 0), give_up);
        assert!(!policy().may_retry(&failure(Again::Never)));
        assert!(!FailurePolicy { retries: 0, ..policy() }.may_retry(&failure(Again::Backoff)));
    }

    #[test]
    fn gives_up_when_the_time_for_retries_is_over() {
        let bounded = FailurePolicy { retry_for: Some(Duration::from_secs(1)), ..policy() };
        let at = |age| bounded.decide(&failure(Again::Backoff), 1, age, 0);
        assert_eq!(at(Duration::from_millis(999)), Decision::Retry(Duration::ZERO));
        assert_eq!(at(Duration::from_secs(1)), Decision::GiveUp(Then::DeadLetter));
    }

    #[test]
    fn a_wait_that_the_handler_asks_for_is_kept_at_least() {
        let asked = Again::After(Duration::from_secs(7));
        let decision = policy().decide(&failure(asked), 0, Duration::ZERO, u64::MAX);
        assert_eq!(decision, Decision::Retry(Duration::from_secs(7)));
    }

    #[test]
    fn huge_numbers_of_attempts_do_not_overflow() {
        let endless = FailurePolicy { retries: u32::MAX, max_backoff: Duration::MAX, ..policy() };
        assert!(matches!(
            endless.decide(&failure(Again::Backoff), u32::MAX - 1, Duration::ZERO, u64::MAX),
            Decision::Retry(_)
        ));
    }
}
