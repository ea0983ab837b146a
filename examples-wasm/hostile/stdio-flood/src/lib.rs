//! Writes without measure to its standard streams on a marked record (`!…`), and emits it unchanged like every other. It
//! needs no capability for that: standard libraries import the streams whether anybody writes or not.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `stdout` (default) | 16 MiB on standard output, without a line end |
//! | `stderr` | lines on standard error, until something stops it |
//! | `zeros` | one call that asks for 2^63 zeros on standard output: they cost the guest nothing |

use std::io::Write as _;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};
use wasip2::cli::stdout::get_stdout;

const CHUNK: usize = 1 << 20;
const CHUNKS: usize = 16;

enum Flood {
    Stdout,
    Stderr,
    Zeros,
}

#[sandmill_guest::handler]
impl Handler for Flood {
    fn start(config: &Config) -> Result<Self, StartError> {
        match config.get("how").unwrap_or("stdout") {
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            "zeros" => Ok(Self::Zeros),
            other => Err(format!("config key `how` is {other:?}: expected stdout, stderr or zeros").into()),
        }
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            match self {
                Self::Stdout => {
                    let chunk = vec![b'x'; CHUNK];
                    for _ in 0..CHUNKS {
                        // Nobody is told if it does not arrive.
                        let _ = std::io::stdout().write_all(&chunk);
                    }
                }
                Self::Stderr => loop {
                    let _ = writeln!(std::io::stderr(), "\u{1b}[31mlines without end\u{1b}[0m");
                },
                Self::Zeros => {
                    let _ = get_stdout().write_zeroes(1 << 63);
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
    fn what_is_not_marked_comes_out() {
        for how in ["stdout", "stderr", "zeros"] {
            let mut flood = Harness::<Flood>::start([("how", how)]).expect("the config is right");
            assert_eq!(flood.run(["a", ""]).texts(), ["a", ""]);
        }
        assert!(Harness::<Flood>::start([("how", "x")]).is_err());
    }
}
