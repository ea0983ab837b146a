//! The clock: CPU time of the measuring thread.

use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkGroup, BenchmarkId};
use rustix::time::{ClockId, clock_gettime};

/// Criterion's measurement of the CPU time that the calling thread used, by user code and by the kernel for it.
pub struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        now()
    }

    fn end(&self, start: Duration) -> Duration {
        now() - start
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// CPU time of this thread since it began.
pub fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

/// A group of benchmarks.
pub type Group<'c> = BenchmarkGroup<'c, CpuTime>;

/// Measures `round`, which handles `records` records and gets the number of rounds to make, and reports the
/// time of one record.
pub fn per_record(group: &mut Group<'_>, id: BenchmarkId, records: usize, mut rounds: impl FnMut(u64)) {
    let records = u32::try_from(records).expect("a round handles a moderate number of records");
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|iterations| {
            let start = now();
            rounds(iterations);
            (now() - start) / records
        });
    });
}
