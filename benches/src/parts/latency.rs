//! `latency`: from when a record was due to when its output stood in the broker's log.
//!
//! An open loop: a producer keeps to its schedule whatever happens, so waiting counts. The first row says what the
//! host completes beside a producer that floods it; the others offer parts of that. In a latency are: the
//! producer's being late, its way to the broker and the append there, the host's fetch, the handler `echo`, the
//! host's producer with what it lingers, and the append of the output. Not in it: whatever a consumer of the output
//! needs, and the commit.

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

/// The rate that a target speaks of: records a second.
const STEADY: f64 = 1_000.0;

pub(super) const PART: Part = Part {
    name: "latency",
    tells: "from when a record was due to when its output stood in the broker's log, in an open loop",
    reference: "",
    passes: cold,
    kind: Kind::Own { seconds, bytes, run },
};

/// What is offered.
#[derive(Clone, Copy)]
struct Offer {
    rate: f64,
    /// What is set beyond the defaults.
    set: &'static [(&'static str, &'static str)],
}

fn seconds(sizes: &Sizes) -> f64 {
    let run = sizes.whole_loop().as_secs_f64() + 5.0;
    run * (5 * sizes.passes + 1) as f64
}

/// Input and output of the fastest row, at about what two cores do.
fn bytes(sizes: &Sizes) -> u64 {
    (500_000.0 * sizes.whole_loop().as_secs_f64()) as u64 * 2 * 120
}

fn run(session: &Session, passes: Passes) -> Result<Vec<Row>> {
    let first = Passes { counted: 1, warm_up: false };
    let mut rows =
        climb("latency", first, vec![Row::new("maximum", &[])], |_| maximum(session, ("echo", &[])));
    let maximum = rows[0].number(number::RATE).first().copied();
    let maximum = maximum
        .with_context(|| format!("without a maximum there are no parts of it: {:?}", rows[0].failed))?;
    let mut offers = vec![
        ("1,000/s".to_owned(), Offer { rate: STEADY, set: &[] }),
        ("1,000/s, linger 0".to_owned(), Offer { rate: STEADY, set: &[("kafka.linger.ms", "0")] }),
    ];
    for percent in [10_u32, 50, 90] {
        let rate = maximum * f64::from(percent) / 100.0;
        offers.push((format!("{percent} % of the maximum"), Offer { rate, set: &[] }));
    }
    let own = offers.iter().map(|(name, offer)| Row::new(name, &[("rate", &grouped(offer.rate))])).collect();
    rows.extend(climb("latency", passes, own, |index| offered(session, offers[index].1)));
    Ok(rows)
}

/// The host echoes what is offered.
fn offered(session: &Session, offer: Offer) -> Result<Sample> {
    let schedule = Schedule { rate: Some(offer.rate), lasts: session.sizes.whole_loop() };
    let mut keys = Zipf::new(KEYS, SEED);
    let next = |due, key: &mut Vec<u8>, value: &mut Vec<u8>| {
        write_key(keys.next().unwrap_or_default(), key);
        pacer::value("0ms", due, value);
    };
    let (paced, [latencies]) = open_loop::run(session, ("echo", offer.set), schedule, next, |_| 0)?;
    let [p50, p99, p999] = latencies.numbers();
    Ok(Sample {
        numbers: vec![p50, p99, p999, ("late_ms", paced.late_ms)],
        raw: json!({
            "offered_per_second": offer.rate, "sent": paced.records, "late_ms": paced.late_ms,
            "latency": latencies.raw(),
        }),
    })
}
