//! The status as JSON: the snapshot of every pipeline with what a reader needs beside it.

use serde::Serialize;

use super::VERSION;
use crate::config::{Allow, Host, Limits};
use crate::outcome::Outcome;
use crate::telemetry::executions::Counts;
use crate::telemetry::snapshot::PipelineSnapshot;
use crate::telemetry::{Allowance, Deployed, Histogram, PipelineEntry, PipelineState, Registry, Runs};
use crate::wasm::MemoryBudget;

/// The host.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    version: &'static str,
    wasmtime: &'static str,
    uptime_seconds: f64,
    /// As configured; none before the first handler is loaded.
    host: Option<Host>,
    /// Of all pipelines; none before the first handler is loaded.
    instances: Option<usize>,
    guest_memory: Option<Memory>,
    pipelines: Vec<Pipeline>,
}

/// One pipeline.
#[derive(Debug, Serialize)]
struct Pipeline {
    name: String,
    #[serde(flatten)]
    state: PipelineState,
    group: String,
    ordering: &'static str,
    input: Vec<String>,
    handler: String,
    module_digest: String,
    /// Which version runs and why; none of a handler that is part of this program.
    runs: Option<Runs>,
    last_deploy: Option<Deployed>,
    snapshot_age_seconds: f64,
    /// Sums over the partitions.
    totals: Totals,
    /// From first dispatch to completion, over all partitions.
    latency: Latency,
    calls: Calls,
    limits: Limits,
    allow: Allow,
    instances: Instances,
    guest_memory: Option<Memory>,
    log: Log,
    #[serde(flatten)]
    snapshot: PipelineSnapshot,
}

#[derive(Debug, Default, Serialize)]
struct Totals {
    succeeded: u64,
    failed: u64,
    in_flight: usize,
    lag: i64,
    gaps: usize,
}

/// Upper estimates, from the buckets of the histogram; none without observations or beyond its last bound.
#[derive(Debug, Serialize)]
struct Latency {
    p50_seconds: Option<f64>,
    p95_seconds: Option<f64>,
    p99_seconds: Option<f64>,
}

/// Memory that instances share.
#[derive(Debug, Serialize)]
struct Memory {
    used_bytes: usize,
    limit_bytes: usize,
}

impl Memory {
    fn of(budget: &MemoryBudget) -> Self {
        Memory { used_bytes: budget.used(), limit_bytes: budget.limit() }
    }
}

#[derive(Debug, Serialize)]
struct Instances {
    live: usize,
    /// `max_instances`.
    most: u32,
    /// Calls that wait for room.
    calls_waiting: usize,
}

/// Lines of the handler.
#[derive(Debug, Serialize)]
struct Log {
    lines: u64,
    dropped: u64,
}

#[derive(Debug, Serialize)]
struct Calls {
    executions: u64,
    active: i64,
    fuel: u64,
    errors: serde_json::Map<String, serde_json::Value>,
}

impl StatusReport {
    /// The status of everything in the registry.
    pub fn of(registry: &Registry, wasmtime: &'static str) -> Self {
        StatusReport {
            version: VERSION,
            wasmtime,
            uptime_seconds: registry.started().elapsed().as_secs_f64(),
            host: registry.host().map(|(host, _)| host.clone()),
            instances: registry.host().map(|(_, memory)| memory.live()),
            guest_memory: registry.host().map(|(_, memory)| Memory::of(memory)),
            pipelines: registry.pipelines().iter().map(|entry| Pipeline::of(entry)).collect(),
        }
    }
}

impl Pipeline {
    fn of(entry: &PipelineEntry) -> Self {
        let (snapshot, taken) = entry.snapshot();
        let mut totals = Totals::default();
        let mut latency = Histogram::default();
        for partition in &snapshot.partitions {
            totals.succeeded += partition.succeeded;
            totals.failed += partition.failed;
            totals.in_flight += partition.in_flight;
            totals.lag += partition.lag;
            totals.gaps += partition.gaps;
            latency.merge(&partition.latency);
        }
        let module = entry.module();
        let counts: Vec<Counts> = entry.modules().iter().map(|module| module.executions.read()).collect();
        let failed = |index: usize| counts.iter().map(|counts| counts.errors[index]).sum::<u64>();
        let errors = Outcome::ERRORS.iter().enumerate().map(|(index, outcome)| (outcome, failed(index)));
        let Allowance { limits, allow, max_instances, settings, room } = &entry.allowance;
        let memory = settings.memory.first();
        let (lines, dropped) = settings.capabilities.uses.lines();
        let quantile = |q| latency.quantile(q).filter(|seconds| seconds.is_finite());
        Pipeline {
            name: entry.name.clone(),
            state: entry.state(),
            group: entry.group.clone(),
            ordering: entry.ordering,
            input: entry.input.clone(),
            handler: module.handler.clone(),
            module_digest: module.digest.clone(),
            runs: entry.runs().map(|runs| Runs::clone(&runs)),
            last_deploy: entry.last_deploy(),
            snapshot_age_seconds: taken.elapsed().as_secs_f64(),
            totals,
            latency: Latency {
                p50_seconds: quantile(0.5),
                p95_seconds: quantile(0.95),
                p99_seconds: quantile(0.99),
            },
            calls: Calls {
                executions: counts.iter().map(Counts::executions).sum(),
                active: counts.iter().map(|counts| counts.active).sum(),
                fuel: counts.iter().map(|counts| counts.fuel).sum(),
                errors: errors.map(|(outcome, count)| (outcome.to_string(), count.into())).collect(),
            },
            limits: limits.clone(),
            allow: allow.clone(),
            instances: Instances {
                live: memory.map_or(0, |memory| memory.live()),
                most: *max_instances,
                calls_waiting: room.waiting(),
            },
            guest_memory: memory.map(|memory| Memory::of(memory)),
            log: Log { lines, dropped },
            snapshot: (*snapshot).clone(),
        }
    }
}
