//! Takes handles of the host's on a marked record (`!…`) and keeps them, until something stops it; every other record comes
//! out unchanged. A handle costs the guest four bytes, and the host an object behind it.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `timers` (default) | timers of an hour |
//! | `streams` | its standard output, again and again |

use std::mem::forget;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};
use wasip2::cli::stdout::get_stdout;
use wasip2::clocks::monotonic_clock::subscribe_duration;

const HOUR: u64 = 3_600_000_000_000;

#[derive(Clone, Copy)]
enum Handles {
    Timers,
    Streams,
}

#[sandmill_guest::handler]
impl Handler for Handles {
    fn start(config: &Config) -> Result<Self, StartError> {
        match config.get("how").unwrap_or("timers") {
            "timers" => Ok(Self::Timers),
            "streams" => Ok(Self::Streams),
            other => Err(format!("config key `how` is {other:?}: expected timers or streams").into()),
        }
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            loop {
                self.take();
            }
        }
        out.forward(record);
        Ok(())
    }
}

impl Handles {
    fn take(self) {
        match self {
            Self::Timers => forget(subscribe_duration(HOUR)),
            Self::Streams => forget(get_stdout()),
        }
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::Harness;

    use super::Handles;

    #[test]
    fn what_is_not_marked_comes_out() {
        for how in ["timers", "streams"] {
            let mut handles = Harness::<Handles>::start([("how", how)]).expect("the config is right");
            assert_eq!(handles.run(["a", ""]).texts(), ["a", ""]);
        }
        assert!(Harness::<Handles>::start([("how", "x")]).is_err());
    }
}
