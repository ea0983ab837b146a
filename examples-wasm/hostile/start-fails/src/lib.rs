//! Fails before its first record.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `error` (default) | `start` returns an error |
//! | `trap` | `start` panics |
//! | `spin` | `start` never comes back |
//! | `memory` | `start` takes memory until it is denied |

use std::hint::{black_box, spin_loop};

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
            other => {
                Err(format!("config key `how` is {other:?}: expected error, trap, spin or memory").into())
            }
        }
    }

    fn handle(&mut self, _: Record<'_>, _: &mut Outputs) -> Result<(), Failure> {
        Err(Failure::reject("unreachable", "no instance of this handler starts"))
    }
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
    #[should_panic(expected = "as the config asks")]
    fn a_start_that_traps_panics() {
        let _ = Harness::<StartFails>::start([("how", "trap")]);
    }
}
