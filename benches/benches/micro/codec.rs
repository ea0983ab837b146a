//! Commit metadata: what typical gaps take to write and to read, and how long they are.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use sandmill::ids::Offset;
use sandmill::progress::{Budget, Progress, decode};

use crate::measure::{CpuTime, per_record};
use crate::zipf::SplitMix;

const TAG: u32 = 7;

pub fn run(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("codec");
    let budget = Budget::default();
    for (name, progress) in cases() {
        let snapshot = progress.snapshot(&budget);
        println!(
            "codec/{name}: {} unfinished of {}, {} gaps: {} characters",
            progress.unfinished(),
            progress.position().distance_from(progress.safe()),
            progress.gap_count(),
            snapshot.metadata.len()
        );
        per_record(&mut group, BenchmarkId::new("encode", name), 1, |rounds| {
            for _ in 0..rounds {
                black_box(progress.snapshot(&budget));
            }
        });
        per_record(&mut group, BenchmarkId::new("decode", name), 1, |rounds| {
            for _ in 0..rounds {
                let restored = decode(snapshot.metadata.as_bytes(), snapshot.offset, TAG);
                black_box(restored.expect("it was just written"));
            }
        });
    }
    group.finish();
}

/// Partitions as they look when a commit is taken.
fn cases() -> [(&'static str, Progress); 4] {
    let mut random = SplitMix(3);
    [
        // One slow record, everything behind it done.
        ("one-gap", partition(2_000, |offset| offset == 0)),
        // Handlers that wait: a few records are out, all over what was polled.
        ("100-of-10000", partition(10_000, |offset| offset % 100 == 0)),
        // A busy host: batches of 16 are out or done.
        ("runs-of-16", partition(2_000, |offset| offset / 16 % 2 == 0)),
        // The worst: a coin for each record.
        ("coin-flips", partition(2_000, |_| random.number().is_multiple_of(2))),
    ]
}

/// `records` polled records, of which those are unfinished that `is_out` names.
fn partition(records: i64, mut is_out: impl FnMut(i64) -> bool) -> Progress {
    let mut progress = Progress::new(Offset(1_000_000), None, TAG);
    for offset in 0..records {
        let _ = progress.admit(Offset(1_000_000 + offset));
    }
    for offset in 0..records {
        if !is_out(offset) {
            assert!(progress.complete(Offset(1_000_000 + offset)));
        }
    }
    progress
}
