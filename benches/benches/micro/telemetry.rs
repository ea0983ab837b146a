//! What metrics take: of a record on its way, and of a scrape.
//!
//! `record` is all that telemetry does between a call's start and the completion of its records: counting the
//! call, reading the clock for it, counting the records, and entering their latency. Nothing is done for a
//! single record, so a batch of one is the worst.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use sandmill::config::Pipeline;
use sandmill::ids::Fuel;
use sandmill::machine::Counters;
use sandmill::telemetry::snapshot::{PartitionSnapshot, PipelineSnapshot, ShardDepth};
use sandmill::telemetry::{Allowance, Executions, Histogram, PipelineEntry, Registry, exposition};
use sandmill::wasm::{Capabilities, InstanceLimits, InstanceSettings, LogLimits, LogSink, OutputLimits};
use sandmill::work::Ended;
use sandmill::worker::Workers;

use crate::measure::{CpuTime, per_record};

const PARTITIONS: i32 = 64;
const SHARDS: u32 = 8;

pub fn run(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("telemetry");
    let executions = Executions::default();
    let mut counters = Counters::default();
    for records in [1_u64, 16, 256] {
        per_record(&mut group, BenchmarkId::new("record", records), records as usize, |rounds| {
            for _ in 0..rounds {
                let since = Instant::now();
                let execution = executions.start();
                black_box(&executions);
                let spent = since.elapsed();
                execution.finish(Ended::Complete, spent, Fuel(1_000));
                counters.succeeded += records;
                counters.latency.observe(spent, records);
                black_box(&mut counters);
            }
        });
    }
    let registry = registry();
    println!("telemetry/exposition: {} bytes", exposition::text(&registry, "0.1.0", "50").len());
    per_record(&mut group, BenchmarkId::new("exposition", format!("{PARTITIONS}-partitions")), 1, |rounds| {
        for _ in 0..rounds {
            black_box(exposition::text(&registry, "0.1.0", "50"));
        }
    });
    group.finish();
}

/// That of a pipeline with nothing but defaults. A scrape does not show it.
fn allowance() -> Allowance {
    let Pipeline { limits, allow, max_instances, .. } = Pipeline::default();
    let log = LogLimits { record_bytes: 0, second_bytes: 0 };
    let output = OutputLimits { records: 0, bytes: 0, destinations: 0, failure_message: 0 };
    let settings = InstanceSettings {
        limits: InstanceLimits {
            start_fuel: Fuel(0),
            start_deadline: Duration::ZERO,
            memory: 0,
            host_calls: 0,
            output,
            log,
        },
        config: Vec::new(),
        log: Arc::new(LogSink::new("orders".into(), "parse".into(), log, Arc::default())),
        memory: Arc::new([]),
        capabilities: Capabilities::default(),
    };
    let workers = Workers::start(1).expect("the machine gives a thread");
    Allowance { limits, allow, max_instances, settings: Arc::new(settings), room: workers.room("orders") }
}

/// One busy pipeline.
fn registry() -> Registry {
    let entry = PipelineEntry::new(
        "orders".to_owned(),
        "orders".to_owned(),
        "key",
        vec!["orders".to_owned()],
        allowance(),
    );
    entry.deployed("parse", &format!("sha256:{:064x}", 1)).executions.start().finish(
        Ended::Complete,
        Duration::from_micros(70),
        Fuel(1_000),
    );
    let mut latency = Histogram::default();
    latency.observe(Duration::from_millis(3), 1_000);
    let partitions = (0..PARTITIONS).map(|partition| partition_snapshot(partition, &latency));
    let shards = (0..PARTITIONS.unsigned_abs() * SHARDS).map(|shard| ShardDepth {
        topic: "orders".to_owned(),
        shard,
        queued: 7,
    });
    entry.publish(PipelineSnapshot {
        partitions: partitions.collect(),
        shards: shards.collect(),
        joined: true,
        ..PipelineSnapshot::default()
    });
    let registry = Registry::default();
    registry.add(Arc::new(entry));
    registry
}

fn partition_snapshot(partition: i32, latency: &Histogram) -> PartitionSnapshot {
    PartitionSnapshot {
        topic: "orders".to_owned(),
        partition,
        position: 1_234_567,
        safe_offset: 1_234_000,
        committed_offset: Some(1_233_000),
        high_watermark: Some(1_300_000),
        last_stable_offset: Some(1_300_000),
        lag: 66_000,
        in_flight: 567,
        in_flight_bytes: 100_000,
        gaps: 12,
        metadata_size: 340,
        metadata_truncated: 0,
        metadata_full: false,
        commits_refused: None,
        paused: false,
        ending: false,
        blocked_by: None,
        succeeded: 1_234_000,
        failed: 3,
        commit_failures: Default::default(),
        latency: latency.clone(),
    }
}
