//! Succeeds or fails as the value's first word says, to see what a pipeline does about it.
//!
//! | first word | what happens |
//! |---|---|
//! | `retry:N` | fails with `retry` until it was tried N times before, then emits |
//! | `retry:N:MS` | the same, and asks for MS milliseconds before each further attempt |
//! | `reject` | fails with `reject` |
//! | `trap` | panics |
//! | `wait:MS` | waits MS milliseconds, then emits |
//! | `spin` | computes without end |
//! | `done` | succeeds and emits nothing |
//! | anything else, such as `ok` | emits the record, unchanged |
//!
//! What follows the first space is there to make the record longer.
//!
//! A failing record emits something first, which must never be published.

use std::hint::spin_loop;
use std::thread;
use std::time::Duration;

use sandmill_guest::{Failure, Outputs, Record, ResultExt};

/// Does what the value says.
#[sandmill_guest::handler]
fn flaky(record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
    match record.value().and_then(first_word) {
        Some(b"done") => Ok(()),
        Some(b"reject") => {
            out.emit("must not be seen");
            Err(Failure::reject("asked-for", "the value asks to be rejected"))
        }
        Some(b"trap") => panic!("the value asks for a panic"),
        Some(b"spin") => loop {
            spin_loop();
        },
        Some([b'w', b'a', b'i', b't', b':', rest @ ..]) => wait(rest, record, out),
        Some([b'r', b'e', b't', b'r', b'y', b':', rest @ ..]) => retry(rest, record, out),
        _ => {
            out.forward(record);
            Ok(())
        }
    }
}

fn first_word(value: &[u8]) -> Option<&[u8]> {
    value.split(|&byte| byte == b' ').next()
}

#[allow(clippy::disallowed_methods, reason = "to wait is what the value asks for")]
fn wait(ms: &[u8], record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
    let ms = std::str::from_utf8(ms).or_reject("wrong-order")?;
    thread::sleep(Duration::from_millis(ms.parse().or_reject("wrong-order")?));
    out.forward(record);
    Ok(())
}

fn retry(order: &[u8], record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
    let order = std::str::from_utf8(order).or_reject("wrong-order")?;
    let (attempts, delay) = match order.split_once(':') {
        Some((attempts, delay)) => {
            (attempts, Some(Duration::from_millis(delay.parse().or_reject("wrong-order")?)))
        }
        None => (order, None),
    };
    let attempts: u8 = attempts.parse().or_reject("wrong-order")?;
    if record.attempt() >= attempts {
        out.forward(record);
        return Ok(());
    }
    out.emit("must not be seen");
    let message = format!("attempt {} of the {attempts} that fail", record.attempt() + 1);
    Err(match delay {
        Some(delay) => Failure::retry_after(delay, "asked-for", message),
        None => Failure::retry("asked-for", message),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use sandmill_guest::testing::{self, Input};
    use sandmill_guest::{Failure, FailureKind};

    #[test]
    fn a_record_is_retried_until_it_was_tried_often_enough() {
        let answer = testing::run(
            super::flaky,
            [Input::new("retry:2"), Input::new("retry:2").attempt(1), Input::new("retry:2").attempt(2)],
        );
        assert_eq!(answer.failure(0).map(Failure::kind), Some(FailureKind::Retry(None)));
        assert_eq!(answer.failure(1).map(Failure::message), Some("attempt 2 of the 2 that fail"));
        assert_eq!(answer.failure(2), None);
        assert_eq!(answer.texts(), ["retry:2"]);
    }

    #[test]
    fn a_delay_is_passed_on() {
        let answer = testing::run(super::flaky, ["retry:1:250"]);
        let kind = FailureKind::Retry(Some(Duration::from_millis(250)));
        assert_eq!(answer.failure(0).map(Failure::kind), Some(kind));
    }

    #[test]
    fn a_wait_takes_its_time_and_comes_out() {
        let started = Instant::now();
        assert_eq!(testing::run(super::flaky, ["wait:5"]).texts(), ["wait:5"]);
        assert!(started.elapsed() >= Duration::from_millis(5));
    }

    #[test]
    fn an_order_that_cannot_be_read_is_rejected() {
        let answer = testing::run(super::flaky, ["retry:", "retry:x", "retry:1:x", "retry:300", "wait:x"]);
        for index in 0..5 {
            assert_eq!(answer.failure(index).map(Failure::code), Some("wrong-order"));
        }
    }

    #[test]
    fn only_what_succeeds_comes_out() {
        let answer = testing::run(
            super::flaky,
            [Input::new("ok").key("k"), Input::new("reject"), Input::new("else"), Input::tombstone()],
        );
        assert_eq!(answer.texts(), ["ok", "else", ""]);
        assert_eq!(answer.failure(1).map(Failure::kind), Some(FailureKind::Reject));
    }

    #[test]
    fn the_order_is_the_first_word() {
        let answer = testing::run(super::flaky, ["done", "done and more", "reject and more", "else reject"]);
        assert!(answer.failure(0).is_none() && answer.failure(1).is_none());
        assert_eq!(answer.failure(2).map(Failure::kind), Some(FailureKind::Reject));
        assert_eq!(answer.texts(), ["else reject"]);
    }

    #[test]
    #[should_panic(expected = "the value asks for a panic")]
    fn a_trap_is_a_panic() {
        testing::run(super::flaky, ["trap"]);
    }
}
