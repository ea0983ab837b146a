//! Waiting for conditions, with a deadline and a message that says what was waited for.

use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks at `probe` until it gives a value.
///
/// # Errors
/// After `limit`: what was waited for and for how long.
#[expect(
    clippy::disallowed_methods,
    reason = "between two looks at the condition that everyone else waits for"
)]
pub fn poll_for<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Result<T, String> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            return Err(format!("waited {limit:?} in vain until {what}"));
        }
        thread::sleep(INTERVAL);
    }
}

/// Waits until `condition` holds.
///
/// # Panics
/// When it does not within `limit`.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    if let Err(message) = poll_for(what, limit, || condition().then_some(())) {
        panic!("{message}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_is_seen() {
        let mut looks = 0;
        let seen = poll_for("three looks", Duration::from_secs(5), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(seen, Ok(3));
    }

    #[test]
    fn a_condition_that_never_comes_true_is_named() {
        let error = poll_for("pigs fly", Duration::from_millis(30), || None::<()>).unwrap_err();
        assert!(error.contains("pigs fly"), "{error}");
    }
}
