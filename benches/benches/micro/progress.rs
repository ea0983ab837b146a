//! Admitting and completing records, and taking the next commit.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use sandmill::ids::Offset;
use sandmill::progress::{Admission, Budget, Progress};

use crate::measure::{CpuTime, per_record};
use crate::zipf::SplitMix;

/// Records in flight.
const WINDOW: i64 = 1_000;

pub fn run(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("progress");
    let budget = Budget::default();
    let orders = [("in-order", in_order()), ("reversed", reversed()), ("shuffled", shuffled())];
    for (name, order) in &orders {
        let mut progress = Progress::new(Offset(0), None, 7);
        per_record(&mut group, BenchmarkId::new("admit-complete", name), WINDOW as usize, |rounds| {
            for _ in 0..rounds {
                window(&mut progress, &budget, order);
            }
        });
    }
    let mut progress = Progress::new(Offset(0), None, 7);
    admit(&mut progress, &budget);
    for offset in 0..WINDOW {
        // Every tenth record is still out: the commit has to name the others.
        if offset % 10 != 0 {
            assert!(progress.complete(Offset(offset)));
        }
    }
    per_record(&mut group, BenchmarkId::new("snapshot", "100-gaps"), 1, |rounds| {
        for _ in 0..rounds {
            black_box(progress.snapshot(&budget));
        }
    });
    per_record(&mut group, BenchmarkId::new("safe-and-gaps", "100-gaps"), 1, |rounds| {
        for _ in 0..rounds {
            black_box((progress.safe(), progress.gap_count()));
        }
    });
    group.finish();
}

/// Admits a window of records behind the position.
fn admit(progress: &mut Progress, budget: &Budget) {
    let first = progress.position().0;
    for offset in first..first + WINDOW {
        assert!(progress.may_admit(Offset(offset), budget));
        assert_eq!(progress.admit(Offset(offset)), Admission::Run);
    }
}

/// Admits a window and completes it in this order.
fn window(progress: &mut Progress, budget: &Budget, order: &[i64]) {
    let first = progress.position().0;
    admit(progress, budget);
    for offset in order {
        assert!(progress.complete(Offset(first + offset)));
    }
    assert_eq!(progress.safe(), progress.position());
}

fn in_order() -> Vec<i64> {
    (0..WINDOW).collect()
}

fn reversed() -> Vec<i64> {
    (0..WINDOW).rev().collect()
}

fn shuffled() -> Vec<i64> {
    let mut random = SplitMix(1);
    let mut order = in_order();
    order.sort_by_cached_key(|_| random.number());
    order
}
