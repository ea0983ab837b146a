//! Logs without measure on a marked record (`!…`), and then emits it unchanged like every other: what it logs is cut,
//! and its records are as good as any.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `lines` (default) | ten thousand lines |
//! | `bytes` | one line of a MiB |
//! | `escapes` | what clears a screen, turns text around and forges a line of its own |
//! | `stdout` | bytes on standard output that are no text, without a line end |

use std::io::Write as _;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError, log};

enum Flood {
    Lines,
    Bytes,
    Escapes,
    Stdout,
}

#[sandmill_guest::handler]
impl Handler for Flood {
    fn start(config: &Config) -> Result<Self, StartError> {
        match config.get("how").unwrap_or("lines") {
            "lines" => Ok(Self::Lines),
            "bytes" => Ok(Self::Bytes),
            "escapes" => Ok(Self::Escapes),
            "stdout" => Ok(Self::Stdout),
            other => {
                Err(format!("config key `how` is {other:?}: expected lines, bytes, escapes or stdout").into())
            }
        }
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            match self {
                Self::Lines => (0..9_000).for_each(|line| log::warn!("line {line}")),
                Self::Bytes => log::error!("{}", "x".repeat(1 << 20)),
                Self::Escapes => {
                    log::info!(
                        "\u{1b}[2J\u{1b}]0;owned\u{7}\r\n2026-01-01T00:00:00Z ERROR forged\u{202e}txet"
                    );
                }
                Self::Stdout => {
                    // Nobody is told if it does not arrive.
                    let _ = std::io::stdout().write_all(&[0xff; 64 << 10]);
                }
            }
        }
        out.forward(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::Harness;

    use super::Flood;

    #[test]
    fn every_record_comes_out() {
        let mut handler = Harness::<Flood>::start([("how", "lines")]).expect("the config is right");
        assert_eq!(handler.run(["fine", "!"]).outputs().count(), 2);
        assert_eq!(sandmill_guest::testing::take_log().len(), 9_000);
    }
}
