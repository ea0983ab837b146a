//! Emits without end on a marked record (`!…`); every other record comes out unchanged.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `records` (default) | a hundred thousand empty records |
//! | `bytes` | one record of 32 MiB |
//! | `endless` | records of a KiB until something stops it |

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

const RECORDS: usize = 100_000;
const BYTES: usize = 32 << 20;

enum Flood {
    Records,
    Bytes,
    Endless,
}

#[sandmill_guest::handler]
impl Handler for Flood {
    fn start(config: &Config) -> Result<Self, StartError> {
        match config.get("how").unwrap_or("records") {
            "records" => Ok(Self::Records),
            "bytes" => Ok(Self::Bytes),
            "endless" => Ok(Self::Endless),
            other => Err(format!("config key `how` is {other:?}: expected records, bytes or endless").into()),
        }
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            match self {
                Self::Records => (0..RECORDS).for_each(|_| out.record().emit()),
                Self::Bytes => out.record().value(vec![b'x'; BYTES]).emit(),
                Self::Endless => loop {
                    out.record().value([b'x'; 1024]).emit();
                },
            }
            return Ok(());
        }
        out.forward(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::Harness;

    use super::{Flood, RECORDS};

    #[test]
    fn only_marked_records_flood() {
        let mut handler = Harness::<Flood>::start([("how", "records")]).expect("the config is right");
        assert_eq!(handler.run(["fine"]).outputs().count(), 1);
        assert_eq!(handler.run(["!"]).outputs().count(), RECORDS);
    }
}
