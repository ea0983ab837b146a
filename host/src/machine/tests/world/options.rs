//! What follows from a seed before anything happens: the machine's options and what the topics hold.

use std::time::Duration;

use fastrand::Rng;

use super::log::{KEYS, Log, Stored, VALUE};
use super::shape::{Kind, Shape};
use crate::batch::TopicPartition;
use crate::dispatch::Ordering;
use crate::dispatch::pacing::{self, Allowance};
use crate::ids::Fuel;
use crate::machine::{Bounds, InFlight, Options};
use crate::progress::{Budget, MAX_SPAN};

/// The size of calls; one handler in eight is expected to wait.
fn pacing(records: usize, bytes: usize) -> pacing::Bounds {
    pacing::Bounds {
        records,
        bytes,
        time: Duration::from_millis(2),
        single: Allowance { fuel: Fuel(1_000), deadline: Duration::from_secs(5) },
        waits: bytes.is_multiple_of(8),
    }
}

/// The options of a run, and whether its commits may leave records out when their metadata is full.
pub fn options(rng: &mut Rng) -> (Options, bool) {
    // From metadata that takes nothing, by the broker's default, to all that may be configured.
    let metadata = [0, 30, 60, 120, 400, Budget::BROKER_DEFAULT, 32_767][rng.usize(..7)];
    let truncates = rng.bool();
    let millis = |rng: &mut Rng, most| Duration::from_millis(rng.u64(0..most));
    let options = Options {
        ordering: [Ordering::Key, Ordering::Partition, Ordering::Unordered, Ordering::Key][rng.usize(..4)],
        shards: [1, 2, 8][rng.usize(..3)],
        lanes: rng.usize(1..5),
        calls: rng.usize(1..9),
        pacing: pacing(rng.usize(1..20), rng.usize(100..2_000)),
        in_flight: InFlight { records: rng.usize(1..1_000), bytes: 1 << 20 },
        commit_interval: Duration::from_millis(rng.u64(1..50)),
        budget: Budget::new(metadata, truncates),
        // So large a limit leaves room for the metadata of few partitions in one request.
        metadata_limit: if rng.u8(..4) == 0 { 262_000 } else { metadata },
        give_back: Bounds {
            drain: millis(rng, 30),
            interrupt: millis(rng, 10),
            commit: Duration::from_millis([20, 150, 500][rng.usize(..3)]),
        },
        circuit: None,
        dead_letters: rng.u8(..3) > 0,
        seed: rng.u64(..),
    };
    (options, truncates)
}

/// The partitions of a run and all records that will ever be in them.
pub fn logs(rng: &mut Rng, shape: &Shape) -> Vec<Log> {
    (0..shape.partitions)
        .map(|number| {
            // The same numbers and the same keys on two topics.
            let topic = if number % 2 == 1 { "other" } else { "in" };
            let name = TopicPartition { topic: topic.into(), partition: (number / 2) as i32 };
            let begin = [0, 0, 5, 1 << 40][rng.usize(..4)];
            let holes = rng.u8(2..20);
            let mut next = begin;
            let records = (0..rng.u32(0..=shape.records))
                .map(|_| {
                    // Compaction, aborted transactions and their markers leave holes.
                    if rng.u8(..holes) == 0 {
                        next += hole(rng);
                    }
                    let record =
                        Stored { offset: next, key: rng.usize(..KEYS.len()), size: size(rng, shape) };
                    next += 1;
                    record
                })
                .collect();
            Log::new(name, number + 7, begin, records, rng.i64(0..3))
        })
        .collect()
}

/// The length of a hole: some offsets, many, or more than may ever lie between two records in flight.
fn hole(rng: &mut Rng) -> i64 {
    match rng.u8(..64) {
        0 => i64::try_from(MAX_SPAN).expect("a span is far below 2^63") + rng.i64(-2..3),
        1..4 => rng.i64(1_000..30_000),
        _ => rng.i64(1..80),
    }
}

/// Bytes of a value; 0: a tombstone.
fn size(rng: &mut Rng, shape: &Shape) -> usize {
    match rng.u8(..8) {
        0 if shape.allows(Kind::Large) => rng.usize(..=VALUE.len()),
        0 => 0,
        1 => rng.usize(..600),
        _ => rng.usize(..20),
    }
}
