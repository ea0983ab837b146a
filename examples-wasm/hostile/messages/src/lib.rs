//! Rejects a marked record (`!…`) with words that nobody should show as they are; every other record comes out unchanged.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `long` (default) | a message of a MiB |
//! | `escapes` | a message that clears a screen, forges a header and turns text around |
//! | `code` | a code of a MiB, with line ends |

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

enum Messages {
    Long,
    Escapes,
    Code,
}

#[sandmill_guest::handler]
impl Handler for Messages {
    fn start(config: &Config) -> Result<Self, StartError> {
        match config.get("how").unwrap_or("long") {
            "long" => Ok(Self::Long),
            "escapes" => Ok(Self::Escapes),
            "code" => Ok(Self::Code),
            other => Err(format!("config key `how` is {other:?}: expected long, escapes or code").into()),
        }
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            return Err(match self {
                Self::Long => Failure::reject("long", "x".repeat(1 << 20)),
                Self::Escapes => Failure::reject(
                    "escapes",
                    "\u{1b}[2J\r\nsandmill-error-type: none\u{202e}txet".to_owned(),
                ),
                Self::Code => Failure::reject("line\nend".repeat(1 << 17), "see the code"),
            });
        }
        out.forward(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::Harness;

    use super::Messages;

    #[test]
    fn only_marked_records_are_rejected() {
        let mut handler = Harness::<Messages>::start([("how", "escapes")]).expect("the config is right");
        let answer = handler.run(["fine", "!"]);
        assert_eq!((answer.outputs().count(), answer.failure(1).is_some()), (1, true));
    }
}
