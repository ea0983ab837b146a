//! `noop`: what a record costs that nobody does anything with, at the base point, for everybody.
//!
//! Slow contenders get fewer records of the same kind, so that each run lasts some seconds: a rate is a rate.

use sandmill::bench::Work;
use sandmill::config::Ordering;

use crate::rung::{Confluent, Contender, Filling, Keys, Rung, Settings};
use crate::sizes::Sizes;

/// Settings of Confluent's Parallel Consumer: batch, buffer.
const CONFLUENT: [(u32, Option<u32>); 4] = [(1, None), (100, None), (1, Some(20_000)), (100, Some(20_000))];

pub(super) fn rungs(sizes: &Sizes) -> Vec<Rung> {
    let topic = |records, keys| Filling::base(sizes.records(records)).keys(keys);
    let rung =
        |contender, records, expected| Rung::new(contender, topic(records, Keys::Zipf), Work::Noop, expected);
    let settings = Settings::default;
    let mut rungs = vec![
        rung(Contender::RawPoll, 10_000_000, 2.3e6),
        rung(Contender::RawBatch, 10_000_000, 3e6),
        rung(Contender::Native(settings()), 10_000_000, 2.5e6),
        rung(Contender::Wasm(settings()), 10_000_000, 2.4e6),
        rung(Contender::Wasm(settings()), 10_000_000, 2.4e6)
            .ordering(Ordering::Unordered)
            .named("wasm, unordered"),
        Rung::new(Contender::Wasm(settings()), topic(10_000_000, Keys::Uniform), Work::Noop, 2.4e6)
            .named("wasm, uniform keys"),
        rung(Contender::JavaPlain, 10_000_000, 2e6).ordering(Ordering::Partition),
        rung(Contender::FranzGo, 10_000_000, 3e6).ordering(Ordering::Partition),
        rung(Contender::Bento { batch: 1 }, 400_000, 96e3),
        rung(Contender::Bento { batch: 500 }, 2_000_000, 420e3),
    ];
    for (ordering, keys) in [
        (Ordering::Key, Keys::Zipf),
        (Ordering::Key, Keys::Uniform),
        (Ordering::Unordered, Keys::Zipf),
        (Ordering::Unordered, Keys::Uniform),
    ] {
        for (batch, buffer) in CONFLUENT {
            let (records, expected) = match (ordering, keys, batch) {
                (Ordering::Unordered, _, 1) => (200_000, 30e3),
                (Ordering::Unordered, ..) => (400_000, 90e3),
                (_, Keys::Uniform, _) => (60_000, 15e3),
                _ => (30_000, 6e3),
            };
            let contender = Contender::Confluent(Confluent { batch, buffer, ..Confluent::default() });
            let name = format!(
                "{}, {}{}",
                contender.name(),
                crate::rung::ordering_name(ordering),
                if keys == Keys::Uniform { ", uniform keys" } else { "" }
            );
            rungs.push(
                Rung::new(contender, topic(records, keys), Work::Noop, expected)
                    .ordering(ordering)
                    .named(name),
            );
        }
    }
    rungs
}
