//! What a handler says of a record it could not handle.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::raw;

/// Bytes of a code that the contract allows.
const MAX_CODE: usize = 64;

/// What shall become of a record that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Try it again, not before so long; none: when the pipeline's backoff says.
    Retry(Option<Duration>),
    /// Never try it again.
    Reject,
}

/// Why a record could not be handled. It costs nothing: the instance lives on, and nothing that the record
/// emitted is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    kind: FailureKind,
    code: Cow<'static, str>,
    message: Cow<'static, str>,
}

impl Failure {
    /// The record is wrong and will never be right: the pipeline's `then` decides (dead letter, skip, halt).
    ///
    /// `code` is a short word for programs, such as `malformed`, cut after 64 bytes; `message` is a sentence
    /// for people, cut by the host at its limit.
    pub fn reject(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FailureKind::Reject, code, message)
    }

    /// The record may succeed later: it is tried again when the pipeline's backoff says, as often as its
    /// `retries` allow.
    pub fn retry(code: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(FailureKind::Retry(None), code, message)
    }

    /// As [`retry`](Self::retry), but not before `delay` is over. The contract counts in milliseconds, so it
    /// is rounded up to one, and 49 days are the most.
    pub fn retry_after(
        delay: Duration,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(FailureKind::Retry(Some(delay)), code, message)
    }

    fn new(
        kind: FailureKind,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { kind, code: code.into(), message: message.into() }
    }

    /// What shall become of the record.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// The word for programs.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn into_raw(self, input: u32) -> raw::Failure {
        let mut code = self.code.into_owned();
        code.truncate(code.floor_char_boundary(MAX_CODE));
        let kind = match self.kind {
            FailureKind::Reject => raw::FailureKind::Reject,
            FailureKind::Retry(delay) => raw::FailureKind::Retry(delay.map(|delay| {
                let millis = delay.as_nanos().div_ceil(1_000_000);
                u32::try_from(millis).unwrap_or(u32::MAX)
            })),
        };
        raw::Failure { input, kind, code, message: self.message.into_owned() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Failure {}

/// Turns an error into a [`Failure`] whose message is the error's text.
///
/// There is no conversion behind a bare `?`: whether trying again can help is the author's to say.
pub trait ResultExt<T> {
    /// [`Failure::reject`] with this code.
    fn or_reject(self, code: &'static str) -> Result<T, Failure>;

    /// [`Failure::retry`] with this code.
    fn or_retry(self, code: &'static str) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> ResultExt<T> for Result<T, E> {
    fn or_reject(self, code: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure::reject(code, error.to_string()))
    }

    fn or_retry(self, code: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure::retry(code, error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_rounded_up_to_milliseconds_and_never_wraps() {
        let millis = |delay| match Failure::retry_after(delay, "c", "m").into_raw(0).kind {
            raw::FailureKind::Retry(millis) => millis,
            raw::FailureKind::Reject => None,
        };
        assert_eq!(millis(Duration::ZERO), Some(0));
        assert_eq!(millis(Duration::from_micros(1)), Some(1));
        assert_eq!(millis(Duration::from_millis(1500)), Some(1500));
        assert_eq!(millis(Duration::MAX), Some(u32::MAX));
    }

    #[test]
    fn a_code_is_cut_after_64_bytes_and_between_characters() {
        let failure = Failure::reject("é".repeat(40), "m").into_raw(3);
        assert_eq!(failure.code, "é".repeat(32));
        let failure = Failure::reject(format!("x{}", "é".repeat(40)), "m").into_raw(3);
        assert_eq!(failure.code.len(), 63);
        assert_eq!(failure.input, 3);
    }

    #[test]
    fn an_error_becomes_a_failure_only_by_naming_what_to_do() {
        let number = |text: &str| text.parse::<u8>();
        assert_eq!(number("7").or_reject("number"), Ok(7));
        let failure = number("x").or_reject("number").unwrap_err();
        assert_eq!((failure.kind(), failure.code()), (FailureKind::Reject, "number"));
        assert_eq!(failure.message(), "invalid digit found in string");
        assert_eq!(number("x").or_retry("number").unwrap_err().kind(), FailureKind::Retry(None));
    }
}
