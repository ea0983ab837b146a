//! Parts that vary the handler: one that computes, one that waits, one that fails, one that is watched.

use sandmill::bench::Work;
use sandmill::config::Ordering;

use crate::rung::{Confluent, Contender, Filling, Keys, Rung, Settings, Values, ordering_name};
use crate::sizes::{Scale, Sizes};

/// All of these; in a smoke run the first will do.
fn first<T: Copy>(sizes: &Sizes, all: &[T]) -> Vec<T> {
    let count = if sizes.scale == Scale::Smoke { 1 } else { all.len() };
    all[..count].to_vec()
}

/// `cpu`: does a second core bring twice as much?
pub(super) fn cpu(sizes: &Sizes) -> Vec<Rung> {
    let mut rungs = Vec::new();
    let all = [(100, 40_000), (10, 300_000), (1_000, 4_000)];
    for (us, records) in first(sizes, &all) {
        for workers in [1, 2] {
            let settings = Settings::module("cpu").set("pipeline.config.us", us).set("host.workers", workers);
            let expected = f64::from(workers) * 1e6 / f64::from(us) * 0.8;
            let topic = Filling::base(sizes.records(records)).keys(Keys::Uniform);
            let name = format!("{us} µs, {workers} worker{}", if workers == 1 { "" } else { "s" });
            rungs.push(Rung::new(Contender::Wasm(settings), topic, Work::Module, expected).named(name));
        }
    }
    rungs
}

/// As many calls at once as the host beside it has.
const CONFLUENT: Confluent =
    Confluent { batch: 1, buffer: Some(20_000), concurrency: Some(100), linger_ms: None };
/// Waits that are measured: milliseconds, calls at once, records.
const WAITS: [(f64, u32, u64); 5] = [
    (1.0, 100, 200_000),
    (10.0, 1_000, 300_000),
    (10.0, 100, 40_000),
    (5.0, 100, 60_000),
    (50.0, 100, 8_000),
];

/// `wait`: how many calls wait at once, beside as many tasks that do nothing but wait.
pub(super) fn wait(sizes: &Sizes) -> Vec<Rung> {
    let mut rungs = Vec::new();
    for (millis, at_once, records) in first(sizes, &WAITS) {
        let work = Work::Wait { millis };
        let expected = f64::from(at_once) / millis * 1e3 * 0.6;
        let topic = Filling::base(sizes.records(records)).keys(Keys::Uniform);
        let settings = Settings::module("wait").set("pipeline.max_instances", at_once);
        for contender in [Contender::Tasks { count: at_once }, Contender::Wasm(settings)] {
            let name = format!("{millis} ms, {at_once} at once, {}", contender.level());
            rungs.push(Rung::new(contender, topic.clone(), work, expected).named(name));
        }
    }
    // In key order the busiest key sets the pace: one of its records after the other.
    let settings = Settings::module("wait").set("pipeline.max_instances", 100);
    let topic = Filling::base(sizes.records(40_000));
    let zipf = Rung::new(Contender::Wasm(settings), topic, Work::Wait { millis: 1.0 }, 8e3);
    rungs.push(zipf.named("1 ms, 100 at once, wasm, Zipf keys"));
    for (ordering, records, expected) in [(Ordering::Key, 20_000, 4e3), (Ordering::Unordered, 100_000, 33e3)]
    {
        let contender = Contender::Confluent(CONFLUENT);
        let topic = Filling::base(sizes.records(records)).keys(Keys::Uniform);
        let rung = Rung::new(contender, topic, Work::Wait { millis: 1.0 }, expected).ordering(ordering);
        let name = format!("1 ms, 100 at once, Confluent, {}", ordering_name(ordering));
        rungs.push(rung.named(name));
    }
    rungs
}

/// Records of `poison`; one in a hundred of them fails.
const POISONED: u64 = 500_000;

/// `poison`: what isolation and dead letters cost those that do not fail.
pub(super) fn poison(sizes: &Sizes) -> Vec<Rung> {
    [None, Some("reject"), Some("trap")]
        .into_iter()
        .map(|one_in_a_hundred| {
            let topic = Filling {
                values: Values::Orders { one_in_a_hundred },
                ..Filling::base(sizes.records(POISONED))
            };
            let settings = Settings::module("flaky").set("pipeline.on_failure.retries", 0);
            let name = one_in_a_hundred.map_or_else(|| "none".to_owned(), |what| format!("1 % {what}"));
            Rung::new(Contender::Wasm(settings), topic, Work::Module, 200e3).named(name)
        })
        .collect()
}

/// `metrics`: the same host with nobody looking, and read once a second.
pub(super) fn metrics(sizes: &Sizes) -> Vec<Rung> {
    [("off", false), ("on", true)]
        .into_iter()
        .map(|(name, scraped)| {
            let settings = if scraped {
                Settings { scraped, ..Settings::default() }
            } else {
                Settings::default().set("http.listen", "off")
            };
            let topic = Filling::access_log(sizes.records(4_000_000));
            Rung::new(Contender::Wasm(settings), topic, Work::Parse, 1.2e6).named(name)
        })
        .collect()
}
