//! Everything at once: hosts and brokers die, sleep and come back at random, and every promise is kept.

use sandmill_tests::kafka::Kafka;
use sandmill_tests::{chaos, chaos_time, seed};

/// The seed is printed first; `cargo xtask chaos --seed N` repeats its faults and its input.
#[test]
fn a_chaotic_run_loses_nothing_and_repeats_nothing_without_a_reason() {
    let (seed, time) = (seed(), chaos_time());
    println!("seed {seed}, {time:?}");
    let outcome = chaos::run(&Kafka::fragile(), seed, time);
    println!("{outcome}");
    outcome.assert_kept();
    let least = 30 * time.as_secs();
    assert!(outcome.records as u64 > least, "{} records are no load for {time:?}", outcome.records);
}
