//! Calls itself without end on a marked record (`!…`); every other record comes out unchanged.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `calls` (default) | frames without memory: the engine's own stack runs out |
//! | `frames` | a KiB of locals in each frame: the guest's stack in its linear memory runs out |
//! | `indirect` | the same as `calls`, through a table of functions: nobody can tell beforehand who calls whom |

use std::hint::black_box;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

enum Recursion {
    Calls,
    Frames,
    Indirect,
}

#[sandmill_guest::handler]
impl Handler for Recursion {
    fn start(config: &Config) -> Result<Self, StartError> {
        match config.get("how").unwrap_or("calls") {
            "calls" => Ok(Self::Calls),
            "frames" => Ok(Self::Frames),
            "indirect" => Ok(Self::Indirect),
            other => Err(format!("config key `how` is {other:?}: expected calls, frames or indirect").into()),
        }
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            let depth = match self {
                Self::Calls => calls(u64::MAX),
                Self::Frames => frames(u64::MAX),
                Self::Indirect => indirect(u64::MAX),
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

/// Through an address that the compiler cannot see through, so that it is looked up in the table of functions.
#[inline(never)]
fn indirect(left: u64) -> u64 {
    let next: fn(u64) -> u64 = black_box(indirect);
    if left == 0 { 1 } else { next(left - 1).rotate_left(1) ^ left }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::Harness;

    use super::{Recursion, calls, frames, indirect};

    #[test]
    fn a_record_without_the_mark_comes_out() {
        for how in ["calls", "frames", "indirect"] {
            let mut recursion = Harness::<Recursion>::start([("how", how)]).expect("the config is right");
            assert_eq!(recursion.run(["a", ""]).texts(), ["a", ""]);
        }
        assert!(Harness::<Recursion>::start([("how", "x")]).is_err());
    }

    #[test]
    fn the_depth_is_what_was_asked_for() {
        assert_eq!(calls(2), (1_u64.rotate_left(1) ^ 1).rotate_left(1) ^ 2);
        assert_eq!(frames(3), 3 ^ 2 ^ 1);
        assert_eq!(indirect(2), calls(2));
    }
}
