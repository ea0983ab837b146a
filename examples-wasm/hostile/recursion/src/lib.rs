//! Calls itself without end on a marked record (`!…`); every other record comes out unchanged.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `calls` (default) | frames without memory: the engine's own stack runs out |
//! | `frames` | a KiB of locals in each frame: the guest's stack in its linear memory runs out |

use std::hint::black_box;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

enum Recursion {
    Calls,
    Frames,
}

#[sandmill_guest::handler]
impl Handler for Recursion {
    fn start(config: &Config) -> Result<Self, StartError> {
        match config.get("how").unwrap_or("calls") {
            "calls" => Ok(Self::Calls),
            "frames" => Ok(Self::Frames),
            other => Err(format!("config key `how` is {other:?}: expected calls or frames").into()),
        }
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            let depth = match self {
                Self::Calls => calls(u64::MAX),
                Self::Frames => frames(u64::MAX),
            };
            return Err(Failure::reject("unreachable", format!("came back from depth {depth}")));
        }
        out.forward(record);
        Ok(())
    }
}

/// What is done with the result keeps the compiler from turning the calls into a loop.
#[inline(never)]
fn calls(left: u64) -> u64 {
    if left == 0 { 1 } else { calls(left - 1).rotate_left(1) ^ left }
}

#[inline(never)]
fn frames(left: u64) -> u64 {
    let frame = black_box([left; 128]);
    if left == 0 { frame[0] } else { frames(left - 1) ^ black_box(&frame)[1] }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::Harness;

    use super::{Recursion, calls, frames};

    #[test]
    fn a_record_without_the_mark_comes_out() {
        for how in ["calls", "frames"] {
            let mut recursion = Harness::<Recursion>::start([("how", how)]).expect("the config is right");
            assert_eq!(recursion.run(["a", ""]).texts(), ["a", ""]);
        }
        assert!(Harness::<Recursion>::start([("how", "x")]).is_err());
    }

    #[test]
    fn the_depth_is_what_was_asked_for() {
        assert_eq!(calls(2), (1_u64.rotate_left(1) ^ 1).rotate_left(1) ^ 2);
        assert_eq!(frames(3), 3 ^ 2 ^ 1);
    }
}
