//! Never comes back from a marked record (`!…`); every other record comes out unchanged.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `compute` (default) | a loop in the guest: fuel ends it |
//! | `clock` | a loop of cheap host calls, which cost the guest next to nothing: the deadline ends it |
//! | `config` | the same with a function of the host's own: asks for its config, again and again |
//! | `log` | the same, and floods the log |
//! | `fill` | fills 8 MiB again and again: one instruction each time, and as long as thousands |

use std::hint::{black_box, spin_loop};
use std::time::Instant;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError, config, log};

/// Less than an instance may have.
const FILL: usize = 8 << 20;

#[derive(Clone, Copy)]
enum Spin {
    Compute,
    Clock,
    Config,
    Log,
    Fill,
}

#[sandmill_guest::handler]
impl Handler for Spin {
    fn start(config: &Config) -> Result<Self, StartError> {
        match config.get("how").unwrap_or("compute") {
            "compute" => Ok(Self::Compute),
            "clock" => Ok(Self::Clock),
            "config" => Ok(Self::Config),
            "log" => Ok(Self::Log),
            "fill" => Ok(Self::Fill),
            other => {
                Err(format!("config key `how` is {other:?}: expected compute, clock, config, log or fill")
                    .into())
            }
        }
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            let mut memory = if let Self::Fill = self { vec![0; FILL] } else { Vec::new() };
            loop {
                self.turn(&mut memory);
            }
        }
        out.forward(record);
        Ok(())
    }
}

impl Spin {
    fn turn(self, memory: &mut [u8]) {
        match self {
            Self::Compute => spin_loop(),
            Self::Clock => drop(black_box(Instant::now())),
            Self::Config => drop(black_box(config::get("how"))),
            Self::Log => log::error!("\u{1b}[31mlines without end\u{1b}[0m"),
            Self::Fill => black_box(memory).fill(black_box(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::{Harness, take_log};

    use super::Spin;

    #[test]
    fn a_record_without_the_mark_comes_out() {
        for how in ["compute", "clock", "config", "log", "fill"] {
            let mut spin = Harness::<Spin>::start([("how", how)]).expect("the config is right");
            assert_eq!(spin.run(["a", ""]).texts(), ["a", ""]);
        }
        assert!(Harness::<Spin>::start([("how", "softly")]).is_err());
    }

    #[test]
    fn each_turn_of_the_log_flood_is_a_line() {
        take_log();
        Spin::Log.turn(&mut []);
        Spin::Log.turn(&mut []);
        assert_eq!(take_log().len(), 2);
    }
}
