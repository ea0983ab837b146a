//! Building a batch: the one copy of a record on the consumer's thread.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion};
use sandmill::batch::{Batch, Headers, Record};

use crate::measure::{CpuTime, per_record};
use crate::records::Source;

const RECORDS: usize = 256;

pub fn run(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("batch");
    let source = Source::noise(RECORDS);
    let headers: [(&[u8], Option<&[u8]>); 2] =
        [(b"trace", Some(b"4bf92f3577b34da6a3ce929d0e0e4736")), (b"retry", None)];
    for (name, headers) in [("plain", Headers::None), ("two-headers", Headers::List(&headers))] {
        let mut batch = Batch::new();
        per_record(&mut group, BenchmarkId::new("append", name), RECORDS, |rounds| {
            for _ in 0..rounds {
                batch.clear();
                for record in source.records(0) {
                    batch.push(&Record { headers, ..record }, 0, 0);
                }
                black_box(&batch);
            }
        });
    }
    let batch = source.batch();
    let mut part = Batch::new();
    per_record(&mut group, BenchmarkId::new("copy-part", "plain"), RECORDS / 2, |rounds| {
        for _ in 0..rounds {
            part.clear();
            batch.copy_to(0..RECORDS / 2, &mut part);
            black_box(&part);
        }
    });
    group.finish();
}
