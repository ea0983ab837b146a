//! Crashes on marked records (`!…`), on every other one, or on all; the rest comes out unchanged.
//!
//! | config `when` | meaning |
//! |---|---|
//! | `marked` (default) | the value begins with `!` |
//! | `odd` | the offset is odd |
//! | `always` | every record |
//!
//! | config `how` | meaning |
//! |---|---|
//! | `panic` (default) | a message on stderr, then a trap |
//! | `long-panic` | the same with a message of 1 MiB |
//! | `abort` | a trap without a word |
//! | `exit` | leaves through WASI with status 0, as if all were well |
//! | `poison` | the record itself comes out, and every later one of the instance panics |

use std::process::{abort, exit};

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

enum When {
    Marked,
    Odd,
    Always,
}

enum How {
    Panic,
    LongPanic,
    Abort,
    Exit,
    Poison,
}

struct Trap {
    when: When,
    how: How,
    poisoned: bool,
}

#[sandmill_guest::handler]
impl Handler for Trap {
    fn start(config: &Config) -> Result<Self, StartError> {
        let when = match config.get("when").unwrap_or("marked") {
            "marked" => When::Marked,
            "odd" => When::Odd,
            "always" => When::Always,
            other => {
                return Err(format!("config key `when` is {other:?}: expected marked, odd or always").into());
            }
        };
        let how = match config.get("how").unwrap_or("panic") {
            "panic" => How::Panic,
            "long-panic" => How::LongPanic,
            "abort" => How::Abort,
            "exit" => How::Exit,
            "poison" => How::Poison,
            other => {
                return Err(format!(
                    "config key `how` is {other:?}: expected panic, long-panic, abort, exit or poison"
                )
                .into());
            }
        };
        Ok(Self { when, how, poisoned: false })
    }

    #[allow(clippy::disallowed_methods, reason = "leaving is one of the ways to crash")]
    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        assert!(!self.poisoned, "an earlier record poisoned this instance");
        if self.is_due(record) {
            match self.how {
                How::Panic => panic!("as the config asks"),
                How::LongPanic => panic!("{}", "x".repeat(1024 * 1024)),
                How::Abort => abort(),
                How::Exit => exit(0),
                How::Poison => self.poisoned = true,
            }
        }
        out.forward(record);
        Ok(())
    }
}

impl Trap {
    fn is_due(&self, record: Record<'_>) -> bool {
        match self.when {
            When::Marked => record.value().is_some_and(|value| value.starts_with(b"!")),
            When::Odd => record.offset() % 2 != 0,
            When::Always => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use sandmill_guest::testing::{Harness, Input};

    use super::Trap;

    /// Whether a record of its own survives in a fresh instance.
    fn survives(config: [(&str, &str); 2], input: Input) -> bool {
        let mut trap = Harness::<Trap>::start(config).expect("the config is right");
        catch_unwind(AssertUnwindSafe(|| assert_eq!(trap.run([input]).outputs().count(), 1))).is_ok()
    }

    #[test]
    fn only_the_chosen_records_trap() {
        let marked = [("when", "marked"), ("how", "panic")];
        assert!(survives(marked, Input::new("a!")));
        assert!(!survives(marked, Input::new("!a")));
        let odd = [("when", "odd"), ("how", "long-panic")];
        assert!(survives(odd, Input::new("!").offset(4)));
        assert!(!survives(odd, Input::new("a").offset(5)));
        assert!(!survives([("when", "always"), ("how", "panic")], Input::tombstone()));
    }

    #[test]
    fn a_poisoned_instance_traps_on_the_next_record() {
        let mut trap = Harness::<Trap>::start([("how", "poison")]).expect("the config is right");
        assert_eq!(trap.run(["!a"]).texts(), ["!a"]);
        assert!(catch_unwind(AssertUnwindSafe(|| trap.run(["b"]))).is_err());
    }

    #[test]
    fn an_unknown_word_of_the_config_is_named() {
        for key in ["when", "how"] {
            let error = Harness::<Trap>::start([(key, "x")]).err().expect("x is no choice");
            assert!(error.to_string().starts_with(&format!("config key `{key}` is \"x\"")));
        }
    }
}
