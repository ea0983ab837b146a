//! Computes and does nothing else: hashes every record again and again.
//!
//! What is asked for is a number of rounds, never a time: the clock is not read, so the same record costs the
//! same work on every machine, and every run of a comparison does as much as the other. [`ROUNDS_PER_US`] says
//! how many rounds are called a microsecond.
//!
//! | config | meaning |
//! |---|---|
//! | `us` | how many microseconds' worth of rounds for each record; 100 unless it is set |

use std::hint::black_box;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

/// Rounds that take about a microsecond, with fuel and epochs on, on the machine of `docs/BENCHMARKS.md`: 1.1 ns
/// each. A round waits for the one before (a multiplication and a shift: 5 cycles), so it is the core's clock
/// that counts, not its width.
const ROUNDS_PER_US: u64 = 900;

struct Cpu {
    rounds: u64,
}

#[sandmill_guest::handler]
impl Handler for Cpu {
    fn start(config: &Config) -> Result<Self, StartError> {
        let us: u32 = config.parse_or("us", 100)?;
        Ok(Self { rounds: u64::from(us) * ROUNDS_PER_US })
    }

    fn handle(&mut self, record: Record<'_>, _: &mut Outputs) -> Result<(), Failure> {
        black_box(hash(record.value().unwrap_or_default(), self.rounds));
        Ok(())
    }
}

/// FNV-1a over the value, then mixed with itself `rounds` times.
fn hash(value: &[u8], rounds: u64) -> u64 {
    const PRIME: u64 = 0x0100_0000_01b3;
    let start = value
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    (0..rounds).fold(start, |hash, _| (hash ^ (hash >> 29)).wrapping_mul(PRIME))
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::Harness;

    use super::{Cpu, hash};

    #[test]
    fn the_hash_without_rounds_is_the_published_one() {
        // From the test vectors of the FNV authors.
        assert_eq!(hash(b"", 0), 0xcbf2_9ce4_8422_2325);
        assert_eq!(hash(b"foobar", 0), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn every_round_changes_the_hash() {
        let hashes: Vec<u64> = (0..4).map(|rounds| hash(b"a", rounds)).collect();
        assert!((1..4).all(|at| !hashes[..at].contains(&hashes[at])), "{hashes:x?}");
    }

    #[test]
    fn every_record_is_done_and_nothing_comes_out() {
        let mut cpu = Harness::<Cpu>::start([("us", "3")]).expect("config");
        let answer = cpu.run(["a", "b"]);
        assert!(answer.failure(0).is_none() && answer.failure(1).is_none());
        assert_eq!(answer.outputs().count(), 0);
    }
}
