//! The machine under a seeded simulation, and single promises by name.
//!
//! `world.rs` is the simulated broker, group, workers and producer. After every turn it compares the machine
//! with a naive model; `docs/SIMULATION.md` tells what is simulated and which promises are checked. A failing
//! seed repeats exactly, and is shrunk to a small run whose last steps are printed:
//!
//! ```text
//! SEED=17 cargo test --release --package sandmill simulation           this seed alone
//! SEEDS=1000000 cargo test --release --package sandmill simulation     as many, from 0
//! SEEDS=5000..6000 cargo test --release --package sandmill simulation  these
//! ```

mod circuit;
mod metadata;
pub(crate) mod promises;
mod seen;
mod shrink;
mod slow;
mod standstill;
mod world;

use std::cell::Cell;
use std::ops::Range;
use std::panic;

use seen::Seen;
use world::{Shape, run};

/// Seeds of one run of the quick tests.
const SEEDS: u64 = 40_000;
/// Seeds of the full tests.
const SEEDS_FULL: u64 = 400_000;
/// From so many seeds on a run has to have gone through everything that it is there for.
const ENOUGH: u64 = 5_000;

#[test]
fn simulation_keeps_every_promise() {
    let seeds = seeds();
    let mut seen = Seen::default();
    for seed in seeds.clone() {
        let ended = run(Shape::of(seed), false);
        if let Some(broken) = ended.broken {
            panic!("{}", report(seed, seed - seeds.start + 1, &broken));
        }
        seen.add(&ended.seen);
    }
    let runs = seeds.end - seeds.start;
    println!("{runs} runs went through:\n{seen}");
    if runs >= ENOUGH {
        let rare = seen.rarer_than(runs / 200);
        assert!(rare.is_empty(), "the simulation hardly goes through {rare:?}:\n{seen}");
    }
}

/// `SEED` or `SEEDS`, or as many as there is time for.
fn seeds() -> Range<u64> {
    let number = |text: &str| text.parse().expect("SEED and SEEDS are numbers, SEEDS may be a range: 5..17");
    if let Ok(seed) = std::env::var("SEED") {
        let seed = number(&seed);
        return seed..seed + 1;
    }
    match std::env::var("SEEDS") {
        Ok(seeds) => match seeds.split_once("..") {
            Some((from, to)) => number(from)..number(to),
            None => 0..number(&seeds),
        },
        Err(_) if std::env::var_os("SANDMILL_TESTS_FULL").is_some() => 0..SEEDS_FULL,
        Err(_) => 0..SEEDS,
    }
}

/// What a failure prints: the promise, the smallest run that breaks one, and its last steps.
///
/// Programs read the first line.
fn report(seed: u64, runs: u64, broken: &str) -> String {
    let mut text = format!("SEED={seed} breaks a promise, after {runs} runs: {broken}\n");
    quietly(|| {
        let (shape, ended) = shrink::shrink(Shape::of(seed));
        let broken = ended.broken.unwrap_or_default();
        text += &format!("shrunk to {shape}\nwhich breaks: {broken}\nafter\n");
        for line in ended.story {
            text += &line;
            text.push('\n');
        }
    });
    text
}

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Panics of the machine while a run is being shrunk are not news.
fn quietly(work: impl FnOnce()) {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !QUIET.get() {
            before(info);
        }
    }));
    QUIET.set(true);
    work();
    QUIET.set(false);
}
