//! Waits for every record, as a handler does that calls a service, and computes nothing.
//!
//! On Wasm the sleep is a wait on the monotonic clock of WASI, so that the host can run other handlers
//! meanwhile. A value whose first word is a number with or without a unit (`25`, `25ms`, `250us`; milliseconds
//! where none is said) gives the wait of its own record. No wait at all asks the host for nothing.
//!
//! | config | meaning |
//! |---|---|
//! | `ms` | how long to wait, in milliseconds; 10 unless it or `us` is set |
//! | `us` | the same in microseconds; added to `ms` |
//! | `emit` | `true`: emit the record, unchanged, after the wait |

use std::thread;
use std::time::Duration;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

struct Wait {
    duration: Duration,
    emit: bool,
}

#[sandmill_guest::handler]
impl Handler for Wait {
    fn start(config: &Config) -> Result<Self, StartError> {
        let (ms, us) = (config.parse("ms")?, config.parse("us")?);
        let duration = match (ms, us) {
            (None, None) => Duration::from_millis(10),
            _ => {
                Duration::from_millis(ms.unwrap_or(0)).saturating_add(Duration::from_micros(us.unwrap_or(0)))
            }
        };
        Ok(Self { duration, emit: config.parse_or("emit", false)? })
    }

    #[allow(clippy::disallowed_methods, reason = "to wait is what this handler is for")]
    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        let duration = record.value().and_then(duration).unwrap_or(self.duration);
        if !duration.is_zero() {
            thread::sleep(duration);
        }
        if self.emit {
            out.forward(record);
        }
        Ok(())
    }
}

fn duration(value: &[u8]) -> Option<Duration> {
    let word = value.split(|&byte| byte == b' ').next()?;
    let text = std::str::from_utf8(word).ok()?;
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let number = digits.parse().ok()?;
    match &text[digits.len()..] {
        "" | "ms" => Some(Duration::from_millis(number)),
        "us" => Some(Duration::from_micros(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use sandmill_guest::Config;
    use sandmill_guest::testing::Harness;

    use super::{Wait, duration};

    #[test]
    fn a_first_word_that_is_a_number_is_a_wait() {
        assert_eq!(duration(b"25"), Some(Duration::from_millis(25)));
        assert_eq!(duration(b"25ms"), Some(Duration::from_millis(25)));
        assert_eq!(duration(b"250us and more"), Some(Duration::from_micros(250)));
        for other in [&b""[..], b" 25", b"ms", b"-1", b"1h", b"1.5", b"99999999999999999999", b"\xff"] {
            assert_eq!(duration(other), None);
        }
    }

    #[test]
    fn every_record_waits_and_comes_out_if_asked() {
        let mut wait =
            Harness::<Wait>::start([("ms", "1"), ("us", "500"), ("emit", "true")]).expect("config");
        let started = Instant::now();
        let answer = wait.run(["x", "3ms", "0"]);
        assert!(started.elapsed() >= Duration::from_micros(4500));
        assert_eq!(answer.texts(), ["x", "3ms", "0"]);
    }

    #[test]
    fn nothing_comes_out_unless_asked() {
        let mut wait = Harness::<Wait>::start(Config::from([("us", "1")])).expect("config");
        assert_eq!(wait.run(["x"]).outputs().count(), 0);
    }
}
