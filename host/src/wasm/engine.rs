//! The sandbox's engine: one for the host, shared by all pipelines and workers.
//!
//! It fixes what every guest is compiled with (fuel and epoch checks, an explicit list of Wasm features), owns
//! the pool that instances come from, and the thread that advances the epoch.

use std::fs;
use std::num::NonZeroUsize;
use std::sync::Arc;

use wasmtime::{
    Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, ProfilingStrategy,
    WasmBacktraceDetails, WasmFeatures,
};

use super::needs::ComponentLimits;
use super::ticker::Ticker;

/// Elements of each table: Python and JavaScript bring tens of thousands.
pub(super) const TABLE_ELEMENTS: usize = 100_000;
/// Address space of one table.
const TABLE_BYTES: u64 = (TABLE_ELEMENTS * size_of::<usize>()) as u64;
/// Address space of one memory: 4 GiB that the guest can name and a guard behind it, so that compiled code
/// needs no bounds checks.
const MEMORY_RESERVATION: u64 = 4 << 30;
const MEMORY_GUARD: u64 = 32 << 20;
/// Stack for host functions, below the guest's own.
const HOST_STACK: usize = 512 << 10;
/// Stack that a slot of the pool keeps resident: about what a Rust handler uses. Cleared when its instance
/// ends.
const STACK_RESIDENT: usize = 8 << 10;
/// Linear memory that a slot keeps resident: its start, which is put back to what the module says when the
/// instance ends; what lies above goes back to the system. That is all of a small guest, which so starts and
/// ends without a page fault, in 6 instead of 14 µs. A Rust guest is small if it is linked with a stack of
/// 64 KiB; by default its stack has 1 MiB and lies first, and clearing the start of it, unused, costs 0.5 µs.
const MEMORY_RESIDENT: usize = 128 << 10;
/// Memory mappings of one pooled instance, measured; and what the rest of the host may need.
const MAPPINGS: u64 = 4;
const MAPPINGS_ELSEWHERE: u64 = 2_000;
/// Addresses that a process of a 64-bit Linux has, less some for everything else.
const ADDRESS_SPACE: u64 = (128 << 40) - (4 << 40);

/// What an engine is made for.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Live instances of all pipelines: how many each may have, and what each of these may be made of.
    pub pools: Vec<(u32, ComponentLimits)>,
    /// Bytes of stack that a guest may use.
    pub stack: usize,
    /// Writes names and places of compiled functions to `/tmp/perf-PID.map`, where `perf` looks for them.
    pub perf_map: bool,
}

impl EngineConfig {
    /// Settings for `instances` instances: stacks of 1 MiB.
    pub fn new(instances: u32) -> Self {
        EngineConfig { pools: vec![(instances, ComponentLimits::default())], stack: 1 << 20, perf_map: false }
    }

    /// Live instances, the sum over all pipelines.
    fn instances(&self) -> u32 {
        self.total(|_| 1)
    }

    /// The sum over all instances of what each may have of something.
    fn total(&self, each: impl Fn(&ComponentLimits) -> u32) -> u32 {
        let pools = self.pools.iter().map(|(instances, limits)| instances.saturating_mul(each(limits)));
        pools.fold(0, u32::saturating_add)
    }

    /// The most that an instance of any pipeline may have.
    fn largest(&self) -> ComponentLimits {
        let most = |each: fn(&ComponentLimits) -> u32| {
            self.pools.iter().map(|(_, limits)| each(limits)).max().unwrap_or_default()
        };
        ComponentLimits {
            core_instances: most(|limits| limits.core_instances),
            memories: most(|limits| limits.memories),
            tables: most(|limits| limits.tables),
        }
    }
}

/// Why there is no engine.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum EngineError {
    #[error(
        "{instances} instances need {needed} memory mappings, but `vm.max_map_count` is {allowed}: lower \
         `max_instances`, or raise it with `sysctl -w vm.max_map_count={needed}`"
    )]
    Mappings { instances: u32, needed: u64, allowed: u64 },
    #[error(
        "{instances} instances need {needed} GiB of address space, but this process has {allowed} GiB: lower \
         `max_instances` (or `limits.memories`, `limits.tables`), or lift the limit (`ulimit -v`)"
    )]
    AddressSpace { instances: u32, needed: u64, allowed: u64 },
    #[error("the engine of the sandbox cannot be made: {0}")]
    Engine(String),
}

/// A handle to the engine; cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    engine: wasmtime::Engine,
    limits: ComponentLimits,
    _ticker: Ticker,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Reserves the pool and starts the epoch.
    ///
    /// # Errors
    /// If the machine cannot hold so many instances.
    pub fn new(config: &EngineConfig) -> Result<Self, EngineError> {
        check_machine(config)?;
        let engine = wasmtime::Engine::new(&settings(config))
            .map_err(|error| EngineError::Engine(format!("{error:#}")))?;
        let ticker = Ticker::start(engine.clone()).map_err(|error| EngineError::Engine(error.to_string()))?;
        Ok(Engine(Arc::new(Inner { engine, limits: config.largest(), _ticker: ticker })))
    }

    /// What a component may ask for, whatever its pipeline allows.
    pub(super) fn limits(&self) -> &ComponentLimits {
        &self.0.limits
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.0.engine
    }
}

/// The Wasm features that are on; every other is off, also those that wasmtime learns later.
///
/// This is what Rust, C and TinyGo emit by default and what Python and JavaScript runtimes are built with.
/// Relaxed SIMD stays off because its results differ between machines; threads, exceptions, garbage
/// collection, tail calls and 64-bit memories because no supported tool chain needs them.
pub(crate) fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::CALL_INDIRECT_OVERLONG
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::BULK_MEMORY_OPT
        | WasmFeatures::SIMD
        | WasmFeatures::EXTENDED_CONST
        | WasmFeatures::FLOATS
        | WasmFeatures::COMPONENT_MODEL
}

/// All that decides what code is compiled to: the same for every host of this version, and for the child process that
/// compiles.
pub(super) fn code_settings() -> Config {
    let mut settings = Config::new();
    settings
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(features(), true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed)
        // Debug information of guests is read at every trap: slow, and theirs to choose.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .memory_reservation(MEMORY_RESERVATION)
        .memory_guard_size(MEMORY_GUARD)
        .memory_may_move(false);
    settings
}

fn settings(config: &EngineConfig) -> Config {
    let mut settings = code_settings();
    settings
        .max_wasm_stack(config.stack)
        .async_stack_size(stack_bytes(config.stack))
        // Clears stacks between instances: one guest's secrets never lie under another.
        .async_stack_zeroing(true)
        .wasm_backtrace_max_frames(NonZeroUsize::new(8))
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config)));
    if config.perf_map {
        settings.profiler(ProfilingStrategy::PerfMap);
    }
    settings
}

fn pool(config: &EngineConfig) -> PoolingAllocationConfig {
    let largest = config.largest();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(config.instances())
        .total_core_instances(config.total(|limits| limits.core_instances))
        .total_memories(config.total(|limits| limits.memories))
        .total_tables(config.total(|limits| limits.tables))
        .total_stacks(config.instances())
        .max_core_instances_per_component(largest.core_instances)
        .max_memories_per_component(largest.memories)
        .max_tables_per_component(largest.tables)
        .max_tables_per_module(largest.tables)
        .table_elements(TABLE_ELEMENTS)
        .async_stack_keep_resident(STACK_RESIDENT)
        .linear_memory_keep_resident(MEMORY_RESIDENT)
        .table_keep_resident(4 << 10);
    pool
}

/// Compares what the pool will need with what the machine allows: else a mapping fails much later, in the
/// middle of traffic.
fn check_machine(config: &EngineConfig) -> Result<(), EngineError> {
    let instances = config.instances();
    let needed = u64::from(instances) * MAPPINGS + MAPPINGS_ELSEWHERE;
    if let Some(allowed) = read_number("/proc/sys/vm/max_map_count").filter(|&allowed| needed > allowed) {
        return Err(EngineError::Mappings { instances, needed, allowed });
    }
    let tables = u64::from(config.total(|limits| limits.tables)) * TABLE_BYTES;
    let memories = u64::from(config.total(|limits| limits.memories));
    let needed = memories * (MEMORY_RESERVATION + MEMORY_GUARD) + tables;
    let allowed = address_space_limit().unwrap_or(u64::MAX).min(ADDRESS_SPACE);
    if needed > allowed {
        let (needed, allowed) = (needed >> 30, allowed >> 30);
        return Err(EngineError::AddressSpace { instances, needed, allowed });
    }
    Ok(())
}

fn read_number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The soft limit of this process's address space; `None`: no limit, or not a Linux.
fn address_space_limit() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max address space"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// Bytes that one call may take for its stack, where a guest has `stack` of them.
pub const fn stack_bytes(stack: usize) -> usize {
    stack + HOST_STACK
}
