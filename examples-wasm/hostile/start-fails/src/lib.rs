//! Fails before its first record.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `error` (default) | `start` returns an error |
//! | `trap` | `start` panics |
//! | `spin` | `start` never comes back |
//! | `memory` | `start` takes memory until it is denied |
//! | `late` | `start` succeeds until the moment in config `from`, in milliseconds since 1970, and panics from then on |

use std::hint::{black_box, spin_loop};
use std::time::{SystemTime, UNIX_EPOCH};

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

struct StartFails;

#[sandmill_guest::handler]
impl Handler for StartFails {
    fn start(config: &Config) -> Result<Self, StartError> {
        match config.get("how").unwrap_or("error") {
            "error" => Err("as the config asks".into()),
            "trap" => panic!("as the config asks"),
            "spin" => loop {
                spin_loop();
            },
            "memory" => take_all(),
            "late" => {
                let from: u128 = config.parse_or("from", u128::MAX)?;
                assert!(now() < from, "as the config asks");
                Ok(Self)
            }
            other => {
                Err(format!("config key `how` is {other:?}: expected error, trap, spin, memory or late")
                    .into())
            }
        }
    }

    fn handle(&mut self, _: Record<'_>, _: &mut Outputs) -> Result<(), Failure> {
        Err(Failure::reject("too-early", "this instance started before it should not"))
    }
}

/// Milliseconds since 1970.
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

/// Grows one block until it is denied, which ends the program.
fn take_all() -> ! {
    let mut block = Vec::new();
    loop {
        block.extend_from_slice(&[1; 1024]);
        block = black_box(block);
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::Harness;

    use super::StartFails;

    #[test]
    fn no_start_succeeds() {
        let text = |how| Harness::<StartFails>::start([("how", how)]).err().map(|error| error.to_string());
        assert_eq!(text("error").as_deref(), Some("as the config asks"));
        assert!(text("x").is_some_and(|text| text.starts_with("config key `how` is \"x\"")));
    }

    #[test]
    fn a_late_start_succeeds_until_its_moment() {
        assert!(Harness::<StartFails>::start([("how", "late")]).is_ok());
        let past = [("how", "late"), ("from", "1")];
        assert!(std::panic::catch_unwind(|| Harness::<StartFails>::start(past).is_ok()).is_err());
    }

    #[test]
    #[should_panic(expected = "as the config asks")]
    fn a_start_that_traps_panics() {
        let _ = Harness::<StartFails>::start([("how", "trap")]);
    }
}
