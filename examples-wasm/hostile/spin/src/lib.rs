//! Never comes back from a marked record (`!…`); every other record comes out unchanged.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `compute` (default) | a loop in the guest: fuel ends it |
//! | `clock` | a loop of cheap host calls, which cost the guest next to nothing: the deadline ends it |
//! | `config` | the same with a function of the host's own: asks for its config, again and again |
//! | `log` | the same, and floods the log |

use std::hint::{black_box, spin_loop};
use std::time::Instant;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError, config, log};

#[derive(Clone, Copy)]
enum Spin {
    Compute,
    Clock,
    Config,
    Log,
}

#[sandmill_guest::handler]
impl Handler for Spin {
    fn start(config: &Config) -> Result<Self, StartError> {
        match config.get("how").unwrap_or("compute") {
            "compute" => Ok(Self::Compute),
            "clock" => Ok(Self::Clock),
            "config" => Ok(Self::Config),
            "log" => Ok(Self::Log),
            other => {
                Err(format!("config key `how` is {other:?}: expected compute, clock, config or log").into())
            }
        }
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            loop {
                self.turn();
            }
        }
        out.forward(record);
        Ok(())
    }
}

impl Spin {
    fn turn(self) {
        match self {
            Self::Compute => spin_loop(),
            Self::Clock => drop(black_box(Instant::now())),
            Self::Config => drop(black_box(config::get("how"))),
            Self::Log => log::error!("\u{1b}[31mlines without end\u{1b}[0m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::{Harness, take_log};

    use super::Spin;

    #[test]
    fn a_record_without_the_mark_comes_out() {
        for how in ["compute", "clock", "config", "log"] {
            let mut spin = Harness::<Spin>::start([("how", how)]).expect("the config is right");
            assert_eq!(spin.run(["a", ""]).texts(), ["a", ""]);
        }
        assert!(Harness::<Spin>::start([("how", "softly")]).is_err());
    }

    #[test]
    fn each_turn_of_the_log_flood_is_a_line() {
        take_log();
        Spin::Log.turn();
        Spin::Log.turn();
        assert_eq!(take_log().len(), 2);
    }
}
