//! How a host says that it will not: an exit code that tells whose fault it is, and a message that names the thing and
//! what to do, without a chain of causes and without a backtrace.

use crate::host::Ended;

/// A pipeline failed while it ran.
pub const FAILED: i32 = 1;
/// Wrong usage or configuration.
pub const USAGE: i32 = 2;
/// The host refused to start.
pub const REFUSED: i32 = 3;

/// The run ended with this code, and a message for people that has all of these words.
///
/// # Panics
/// When it did not.
#[track_caller]
pub fn assert_said(ended: &Ended, code: i32, words: &[&str]) {
    let text = &ended.stderr;
    assert_eq!(ended.code, code, "{text}");
    let lower = text.to_lowercase();
    for word in words {
        assert!(lower.contains(&word.to_lowercase()), "{word:?} is not in:\n{text}");
    }
    let ours = without_what_the_guest_said(text);
    for noise in
        ["panicked", "backtrace", "Caused by", "RUST_BACKTRACE", "Error:", "Error {", "/src/", ".rs:"]
    {
        assert!(!ours.contains(noise), "{noise:?} is in:\n{text}");
    }
    let last = text.lines().last().unwrap_or_default();
    assert!(last.starts_with("sandmill: "), "the last line is not the message:\n{text}");
    assert!(last.len() < 600, "a message of {} bytes", last.len());
}

/// The host's own words: a guest's standard error is passed on, in lines of its own and at the end of what
/// its trap says.
#[must_use]
pub fn without_what_the_guest_said(text: &str) -> String {
    let ours = text.lines().filter(|line| !line.contains("source=\"stderr\""));
    ours.map(|line| line.split("; stderr: ").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}
