//! `skew`: do slow keys delay others? An open loop at half of what the host does at most, twice: with all keys
//! quick, and with some slow.
//!
//! The slow keys lie outside the busiest hundred and get few records, so that none of them alone is more than it
//! can do: a key that gets a record every 50 ms and takes 50 ms for it would only show that queues grow.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use sandmill::bench::zipf::Zipf;
use serde_json::json;

use super::{Kind, Part, cold};
use crate::climb::{Passes, Sample, climb};
use crate::open_loop::{self, SEED, maximum, write_key};
use crate::pacer::{self, Schedule};
use crate::results::{Row, number};
use crate::rung::KEYS;
use crate::session::Session;
use crate::sizes::Sizes;
use crate::spread::grouped;

/// Waits as its records say, and emits them.
const HANDLER: open_loop::Handler<'_> = ("wait", &[("pipeline.config.emit", "true")]);
/// What a record of a slow key waits.
const SLOW: &str = "50ms";
/// Keys of a higher rank are never slow.
const BUSIEST: usize = 100;
/// A slow key gets less than this: records a second. Half of what it could do.
const MOST: f64 = 10.0;
/// How many keys are slow.
const SLOW_KEYS: usize = 20;

pub(super) const PART: Part = Part {
    name: "skew",
    tells: "quick keys in an open loop at half the maximum, without and with slow keys beside them",
    reference: "",
    passes: cold,
    kind: Kind::Own { seconds, bytes, run },
};

fn seconds(sizes: &Sizes) -> f64 {
    let run = sizes.whole_loop().as_secs_f64() + 5.0;
    run * (2 * sizes.passes + 1) as f64
}

fn bytes(sizes: &Sizes) -> u64 {
    (300_000.0 * sizes.whole_loop().as_secs_f64()) as u64 * 2 * 120
}

fn run(session: &Session, passes: Passes) -> Result<Vec<Row>> {
    let first = Passes { counted: 1, warm_up: false };
    let mut rows = climb("skew", first, vec![Row::new("maximum", &[])], |_| maximum(session, HANDLER));
    let maximum = rows[0].number(number::RATE).first().copied();
    let maximum =
        maximum.with_context(|| format!("without a maximum there is no half of it: {:?}", rows[0].failed))?;
    let rate = maximum / 2.0;
    let slow = slow_keys(rate);
    let own = ["without slow keys", "with slow keys"].map(|name| Row::new(name, &[("rate", &grouped(rate))]));
    rows.extend(climb("skew", passes, own.into(), |index| {
        let none = BTreeSet::new();
        offered(session, rate, &slow, if index == 0 { &none } else { &slow })
    }));
    Ok(rows)
}

/// Offers records of all keys. Those in `slow` wait; the figures are of the keys that are not in `watched`, so
/// that both rows speak of the same keys.
fn offered(
    session: &Session,
    rate: f64,
    watched: &BTreeSet<usize>,
    slow: &BTreeSet<usize>,
) -> Result<Sample> {
    let schedule = Schedule { rate: Some(rate), lasts: session.sizes.whole_loop() };
    let mut keys = Zipf::new(KEYS, SEED);
    let next = |due, key: &mut Vec<u8>, value: &mut Vec<u8>| {
        let number = keys.next().unwrap_or_default();
        write_key(number, key);
        pacer::value(if slow.contains(&number) { SLOW } else { "0ms" }, due, value);
    };
    let names: BTreeSet<Vec<u8>> = watched
        .iter()
        .map(|number| {
            let mut key = Vec::new();
            write_key(*number, &mut key);
            key
        })
        .collect();
    let (paced, [others, chosen]) =
        open_loop::run(session, HANDLER, schedule, next, |key| usize::from(names.contains(key)))?;
    let [p50, p99, p999] = others.numbers();
    Ok(Sample {
        numbers: vec![p50, p99, p999, ("late_ms", paced.late_ms)],
        raw: json!({
            "offered_per_second": rate, "sent": paced.records, "late_ms": paced.late_ms,
            "slow_keys": slow.len(), "other_keys": others.raw(), "chosen_keys": chosen.raw(),
        }),
    })
}

/// Numbers of the busiest keys that may be slow at this rate of all keys together.
fn slow_keys(rate: f64) -> BTreeSet<usize> {
    let sum: f64 = (1..=KEYS).map(|rank| 1.0 / rank as f64).sum();
    // Key number n has rank n + 1.
    let quiet = |number: &usize| rate / sum / ((number + 1) as f64) < MOST;
    (BUSIEST..KEYS).filter(quiet).take(SLOW_KEYS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_keys_are_outside_the_busiest_and_get_few_records() {
        // 1/H(10,000) = 0.1022: of 100,000 records a second, rank 1,022 gets 10.
        let slow = slow_keys(100_000.0);
        assert_eq!((slow.len(), slow.first()), (SLOW_KEYS, Some(&1_021)));
        assert_eq!(slow_keys(1_000.0).first(), Some(&BUSIEST));
        // So fast that no key is quiet: none is slow, and the row shows it.
        assert!(slow_keys(1e9).is_empty());
    }
}
