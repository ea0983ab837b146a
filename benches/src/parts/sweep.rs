//! `sweep`: one factor at a time from the base point, which is measured here too, so that every ratio is one of
//! the same minutes.

use sandmill::bench::Work;
use sandmill::config::Ordering;

use crate::rung::{Contender, Filling, Rung, Settings, Values};
use crate::sizes::{Scale, Sizes};

pub(super) fn rungs(sizes: &Sizes) -> Vec<Rung> {
    let base = Filling::base(sizes.records(6_000_000));
    let mut rungs = of_topic(&base, "", 2.4e6);
    for ordering in [Ordering::Partition, Ordering::Unordered] {
        for level in [Contender::Native, Contender::Wasm] {
            let rung = Rung::new(level(Settings::default()), base.clone(), Work::Noop, 2.4e6);
            let name = format!("{}, {}", rung.name, crate::rung::ordering_name(ordering));
            rungs.push(rung.ordering(ordering).named(name));
        }
    }
    for (bytes, name, records, expected) in
        [(1 << 10, "1 KiB", 1_500_000, 500e3), (10 << 10, "10 KiB", 150_000, 60e3)]
    {
        let topic =
            Filling { values: Values::Random(bytes), records: sizes.records(records), ..base.clone() };
        rungs.extend(of_topic(&topic, &format!(", {name}"), expected));
    }
    for (partitions, name) in [(1, ", 1 partition"), (64, ", 64 partitions")] {
        rungs.extend(of_topic(&Filling { partitions, ..base.clone() }, name, 2.2e6));
    }
    for (batch, expected, records) in [(1, 100e3, 500_000), (16, 1e6, 4_000_000)] {
        let topic = Filling { records: sizes.records(records), ..base.clone() };
        for level in [Contender::Native, Contender::Wasm] {
            let settings = Settings::default().set("pipeline.batch.records", batch);
            let rung = Rung::new(level(settings), topic.clone(), Work::Noop, expected);
            let name = format!("{}, at most {batch} a call", rung.name);
            rungs.push(rung.named(name));
        }
    }
    if sizes.scale == Scale::Smoke {
        // The other levels and orderings run in other parts.
        rungs.retain(|rung| rung.contender.level() == "wasm" && rung.topic != base);
    }
    rungs
}

/// The ceiling and both levels of ours on one topic.
fn of_topic(topic: &Filling, suffix: &str, expected: f64) -> Vec<Rung> {
    let levels =
        [Contender::RawBatch, Contender::Native(Settings::default()), Contender::Wasm(Settings::default())];
    let rung = |level| Rung::new(level, topic.clone(), Work::Noop, expected);
    levels
        .into_iter()
        .map(rung)
        .map(|rung| {
            let name = format!("{}{suffix}", rung.name);
            rung.named(name)
        })
        .collect()
}
