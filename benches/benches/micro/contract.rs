//! What a call of a handler costs: lowering the batch, the guest, lifting and checking the answer, with fuel,
//! epochs, deadline and memory limit on, on a runtime like a worker's.
//!
//! `noop` looks at every record and answers nothing; `echo` returns every record; `access-log` makes JSON of
//! lines of about 100 bytes, and of all lengths (`access-log-mixed`). `native` runs the same parser and the
//! same SDK without a sandbox. `wait` is the CPU time of a call that waits a millisecond, a hundred of them
//! side by side, next to as many bare sleeps.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use futures_util::future::join_all;
use sandmill::batch::{Batch, TopicPartition};
use sandmill::cancel::Cancel;
use sandmill::ids::Fuel;
use sandmill::wasm::{
    Budget, Capabilities, Engine, Instance, InstanceLimits, InstanceSettings, LogLimits, LogSink,
    MemoryBudget, Module, OutputLimits,
};
use tokio::runtime::Runtime;

use crate::measure::{CpuTime, Group, per_record};
use crate::records::{Source, origin};
use crate::{guests, native};

/// Records of one call.
const BATCHES: [usize; 4] = [1, 16, 256, 1_024];
/// Calls that wait side by side.
const WAITING: usize = 100;

const FUEL: Fuel = Fuel(1_000_000_000);
const DEADLINE: Duration = Duration::from_secs(5);

pub fn run(criterion: &mut Criterion<CpuTime>) {
    let engine = guests::engine(512);
    let mut group = criterion.benchmark_group("contract");
    for (name, guest, source) in [
        ("noop", "noop", Source::noise(1_024)),
        ("echo", "echo", Source::noise(1_024)),
        ("access-log", "access_log", Source::lines(1_024, 90..=110)),
        ("access-log-mixed", "access_log", Source::lines(1_024, 0..=10_000)),
    ] {
        let Some(bytes) = guests::read(guest) else { continue };
        println!("contract/{name}: values of {} bytes", source.mean_value());
        let sandbox = Sandbox::new(&engine, &bytes, &[]);
        for records in BATCHES {
            call(&mut group, BenchmarkId::new(name, records), &sandbox, &source.first(records));
        }
    }
    for records in BATCHES {
        let batch = native::columns(&Source::lines(1_024, 90..=110).first(records));
        let handler = native::AccessLog::start();
        per_record(&mut group, BenchmarkId::new("native-access-log", records), records, |rounds| {
            for _ in 0..rounds {
                black_box(handler.handle(black_box(&batch)));
            }
        });
    }
    wait(&mut group, &engine);
    group.finish();
}

/// A handler, and what a worker has to call it.
pub struct Sandbox {
    pub runtime: Runtime,
    pub module: Module,
    pub settings: Arc<InstanceSettings>,
    pub cancel: Arc<Cancel>,
    origin: TopicPartition,
}

impl Sandbox {
    /// With the limits that pipelines have by default.
    pub fn new(engine: &Engine, module: &[u8], config: &[(&str, &str)]) -> Self {
        let log = LogLimits { record_bytes: 4 << 10, second_bytes: 64 << 10 };
        let limits = InstanceLimits {
            start_fuel: FUEL,
            start_deadline: DEADLINE,
            memory: 64 << 20,
            host_calls: 10_000,
            output: OutputLimits {
                records: 1_000,
                bytes: 8 << 20,
                destinations: 1,
                failure_message: 1 << 10,
            },
            log,
        };
        let settings = InstanceSettings {
            limits,
            config: config.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
            log: Arc::new(LogSink::new("bench".into(), "bench".into(), log, Arc::default())),
            capabilities: Capabilities::default(),
            memory: Arc::new([Arc::new(MemoryBudget::new(4 << 30))]),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        Sandbox {
            runtime: runtime.expect("the machine gives an event queue"),
            module: guests::module(engine, module),
            settings: Arc::new(settings),
            cancel: Arc::new(Cancel::new()),
            origin: origin(),
        }
    }

    pub async fn start(&self) -> Instance {
        let started = Instance::start(&self.module, &self.settings, &self.cancel).await;
        started.expect("the handler starts")
    }

    /// Calls the handler `rounds` times with the same batch.
    async fn call(&self, mut instance: Instance, batch: &Batch, rounds: u64) -> Instance {
        for _ in 0..rounds {
            let budget = Budget { fuel: FUEL, deadline: DEADLINE, cancel: &self.cancel };
            let call = instance.call(&self.origin, batch, budget).await;
            let (same, answer) = call.result.expect("the handler answers");
            assert!(answer.failures().is_empty());
            black_box(&answer);
            instance = same;
        }
        instance
    }
}

fn call(group: &mut Group<'_>, id: BenchmarkId, sandbox: &Sandbox, batch: &Batch) {
    let mut instance = Some(sandbox.runtime.block_on(sandbox.start()));
    per_record(group, id, batch.len(), |rounds| {
        let warm = instance.take().expect("it is put back");
        instance = Some(sandbox.runtime.block_on(sandbox.call(warm, batch, rounds)));
    });
}

/// Calls that wait a millisecond on the host, and bare sleeps of the same length.
fn wait(group: &mut Group<'_>, engine: &Engine) {
    let Some(bytes) = guests::read("wait") else { return };
    let sandbox = Sandbox::new(engine, &bytes, &[("ms", "1")]);
    let batch = Source::noise(1).batch();
    let runtime = &sandbox.runtime;
    let mut warm: Vec<_> = (0..WAITING).map(|_| runtime.block_on(sandbox.start())).collect();
    group.sample_size(10);
    per_record(group, BenchmarkId::new("wait-1ms", WAITING), WAITING, |rounds| {
        let calls = warm.drain(..).map(|instance| sandbox.call(instance, &batch, rounds));
        warm = runtime.block_on(join_all(calls.collect::<Vec<_>>()));
    });
    per_record(group, BenchmarkId::new("bare-sleep-1ms", WAITING), WAITING, |rounds| {
        let sleeps = (0..WAITING).map(|_| async {
            for _ in 0..rounds {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        runtime.block_on(async { join_all(sleeps).await });
    });
}
