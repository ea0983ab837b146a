//! Waits on a marked record (`!…`); every other record comes out unchanged. The wait holds no core: the deadline ends it
//! all the same.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `hour` (default) | for an hour |
//! | `ever` | for as many nanoseconds as 64 bits can say, which end after any clock |

use std::time::Duration;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};
use wasip2::clocks::monotonic_clock::subscribe_duration;

struct Sleep(Duration);

#[sandmill_guest::handler]
impl Handler for Sleep {
    fn start(config: &Config) -> Result<Self, StartError> {
        match config.get("how").unwrap_or("hour") {
            "hour" => Ok(Self(Duration::from_secs(3_600))),
            "ever" => Ok(Self(Duration::from_nanos(u64::MAX))),
            other => Err(format!("config key `how` is {other:?}: expected hour or ever").into()),
        }
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            let nanos = u64::try_from(self.0.as_nanos()).expect("it was made of so many");
            subscribe_duration(nanos).block();
        }
        out.forward(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::Harness;

    use super::Sleep;

    #[test]
    fn what_is_not_marked_comes_out_at_once() {
        for how in ["hour", "ever"] {
            let mut sleep = Harness::<Sleep>::start([("how", how)]).expect("the config is right");
            assert_eq!(sleep.run(["fine"]).texts(), ["fine"]);
        }
        assert!(Harness::<Sleep>::start([("how", "x")]).is_err());
    }
}
