//! Waits for too much at once on a marked record (`!…`); every other record comes out unchanged.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `many` (default) | five hundred timers of an hour, as many as there may be: nothing but the deadline ends that |
//! | `again` | one timer, named two million times: the list fits into the guest's memory, and not into what it may hand over |
//! | `none` | an empty list, for which nothing can ever be ready |

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::io::poll::{Pollable, poll};

const HOUR: u64 = 3_600_000_000_000;
/// The host has two objects for each, and room for 1,024.
const TIMERS: usize = 500;
const TIMES: usize = 2_000_000;

#[derive(Clone, Copy)]
enum Polls {
    Many,
    Again,
    None,
}

#[sandmill_guest::handler]
impl Handler for Polls {
    fn start(config: &Config) -> Result<Self, StartError> {
        match config.get("how").unwrap_or("many") {
            "many" => Ok(Self::Many),
            "again" => Ok(Self::Again),
            "none" => Ok(Self::None),
            other => Err(format!("config key `how` is {other:?}: expected many, again or none").into()),
        }
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            let timers: Vec<Pollable> = (0..self.timers()).map(|_| subscribe_duration(HOUR)).collect();
            let ready = poll(&self.list(&timers)).len();
            return Err(Failure::reject("unreachable", format!("{ready} of these were ready at once")));
        }
        out.forward(record);
        Ok(())
    }
}

impl Polls {
    fn timers(self) -> usize {
        match self {
            Self::Many => TIMERS,
            Self::Again => 1,
            Self::None => 0,
        }
    }

    fn list<T>(self, timers: &[T]) -> Vec<&T> {
        match self {
            Self::Many => timers.iter().collect(),
            Self::Again => vec![&timers[0]; TIMES],
            Self::None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::Harness;

    use super::{Polls, TIMES};

    #[test]
    fn what_is_not_marked_comes_out() {
        for how in ["many", "again", "none"] {
            let mut polls = Harness::<Polls>::start([("how", how)]).expect("the config is right");
            assert_eq!(polls.run(["a", ""]).texts(), ["a", ""]);
        }
        assert!(Harness::<Polls>::start([("how", "x")]).is_err());
    }

    #[test]
    fn each_way_has_a_list_of_its_own() {
        assert_eq!(Polls::Many.list(&[1, 2]), [&1, &2]);
        assert_eq!(Polls::Again.list(&[1]).len(), TIMES);
        assert!(Polls::None.list::<u8>(&[]).is_empty());
    }
}
