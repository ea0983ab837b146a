//! Starting a sandbox and dropping it: what every new, failed or replaced instance costs.

use criterion::{BenchmarkId, Criterion};

use crate::contract::Sandbox;
use crate::guests;
use crate::measure::{CpuTime, per_record};

pub fn run(criterion: &mut Criterion<CpuTime>) {
    let engine = guests::engine(512);
    let mut group = criterion.benchmark_group("instance");
    for guest in ["noop", "access_log"] {
        let Some(bytes) = guests::read(guest) else { continue };
        let sandbox = Sandbox::new(&engine, &bytes, &[]);
        per_record(&mut group, BenchmarkId::new("start-drop", guest), 1, |rounds| {
            sandbox.runtime.block_on(async {
                for _ in 0..rounds {
                    drop(sandbox.start().await);
                }
            });
        });
    }
    group.finish();
}
