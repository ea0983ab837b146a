//! Asks for random bytes without measure on a marked record (`!…`); every other record comes out unchanged. They cost the
//! guest next to nothing, and the host a computation.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `endless` (default) | 64 KiB in each of calls without end |
//! | `large` | 1 GiB in one call |

use std::hint::black_box;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

/// As much as one call of WASI gives.
const CHUNK: usize = 64 << 10;
/// More than the guest has memory for.
const LARGE: u64 = 1 << 30;

enum Random {
    Endless,
    Large,
}

#[sandmill_guest::handler]
impl Handler for Random {
    fn start(config: &Config) -> Result<Self, StartError> {
        match config.get("how").unwrap_or("endless") {
            "endless" => Ok(Self::Endless),
            "large" => Ok(Self::Large),
            other => Err(format!("config key `how` is {other:?}: expected endless or large").into()),
        }
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            match self {
                Self::Endless => {
                    let mut bytes = vec![0; CHUNK];
                    loop {
                        // Refused or not, it asks again.
                        let _ = black_box(getrandom::fill(&mut bytes));
                    }
                }
                Self::Large => drop(black_box(wasip2::random::random::get_random_bytes(LARGE))),
            }
        }
        out.forward(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::Harness;

    use super::Random;

    #[test]
    fn what_is_not_marked_comes_out() {
        for how in ["endless", "large"] {
            let mut random = Harness::<Random>::start([("how", how)]).expect("the config is right");
            assert_eq!(random.run(["a", ""]).texts(), ["a", ""]);
        }
        assert!(Harness::<Random>::start([("how", "x")]).is_err());
    }
}
