//! Limits fire with the right outcome, and the next call on a fresh instance is served well.
//!
//! Guests are small core modules in text form; see [`guest`].

mod asking;
mod calls;
mod capabilities;
mod ending;
mod guest;
mod handles;
mod inspecting;
mod isolation;
mod limits;
mod loading;
mod logging;
mod room;
mod waiting;

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use self::guest::Guest;
use super::{
    Answer, Budget, Call, Capabilities, Compiled, Engine, EngineConfig, FileLimits, Grants, Instance,
    InstanceLimits, InstanceSettings, Key, LoadError, LogLimits, LogSink, Module, OutputLimits, compile,
};
use crate::batch::{Batch, Headers, Record, TopicPartition};
use crate::cancel::Cancel;
use crate::ids::{Fuel, Offset};
use crate::outcome::{Failure, Outcome};

const LIMITS: InstanceLimits = InstanceLimits {
    start_fuel: Fuel(10_000_000),
    start_deadline: Duration::from_secs(5),
    memory: 4 << 20,
    host_calls: 1_000,
    output: OutputLimits { records: 10, bytes: 10_000, destinations: 2, failure_message: 1024 },
    log: LogLimits { record_bytes: 4096, second_bytes: 64 << 10 },
};
const FUEL: Fuel = Fuel(100_000_000);
/// Fuel that no test uses up.
const ENDLESS: Fuel = Fuel(u64::MAX / 2);
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(20);

/// The engine of all tests: making one reserves a pool.
fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(&EngineConfig::new(100)).expect("the engine is made"))
}

/// As a worker's thread does it.
fn on_worker<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("the runtime is made")
        .block_on(future)
}

/// As the host does it, but compiled in this process: the bytes are ours.
fn make(engine: &Engine, bytes: &[u8], grants: Grants) -> Result<Module, LoadError> {
    let key = Key::from_bytes([7; 32]);
    let compiled =
        Compiled::open(compile(bytes, &key, &FileLimits::default())?, &key).expect("it was just sealed");
    Module::load(engine, &compiled, grants)
}

fn load(guest: &Guest) -> Module {
    make(engine(), &guest.core_module(), Grants::ALL).expect("the guest is a handler")
}

fn settings(limits: InstanceLimits) -> Arc<InstanceSettings> {
    let config = vec![("mode".to_owned(), "strict".to_owned())];
    let capabilities = Capabilities::default();
    let log = LogSink::new("orders".into(), "handler".into(), limits.log, capabilities.uses.clone());
    Arc::new(InstanceSettings { limits, config, log: Arc::new(log), memory: Arc::new([]), capabilities })
}

fn origin() -> TopicPartition {
    TopicPartition { topic: "orders".into(), partition: 3 }
}

/// A batch with a record for each of `values`; keys are `k0`, `k1`, …
fn batch(values: &[&str]) -> Batch {
    let mut batch = Batch::new();
    for (index, value) in (0_i64..).zip(values) {
        let key = format!("k{index}");
        let record = Record {
            offset: Offset(100 + index),
            timestamp: 1_700_000_000_000 + index,
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            headers: Headers::None,
        };
        batch.push(&record, 0, 0);
    }
    batch
}

/// Starts an instance and calls it once.
async fn call_once(
    module: &Module,
    settings: &Arc<InstanceSettings>,
    batch: &Batch,
    budget: Budget<'_>,
) -> Call {
    let instance =
        Instance::start(module, settings, &Arc::new(Cancel::new())).await.expect("the instance starts");
    instance.call(&origin(), batch, budget).await
}

/// What became of one record that is handled by `guest` under `limits`, with plenty of fuel and time; then
/// checks that the next one is served well.
fn outcome_of(guest: &Guest, limits: InstanceLimits) -> Result<Answer, Failure> {
    outcome_under(guest, limits, FUEL, LONG)
}

fn outcome_under(
    guest: &Guest,
    limits: InstanceLimits,
    fuel: Fuel,
    deadline: Duration,
) -> Result<Answer, Failure> {
    let (module, settings) = (load(guest), settings(limits));
    let cancel = Arc::new(Cancel::new());
    on_worker(async {
        let call =
            call_once(&module, &settings, &batch(&["bad"]), Budget { fuel, deadline, cancel: &cancel }).await;
        assert_served_well(&settings, &cancel).await;
        call.result.map(|(_, answer)| answer)
    })
}

/// A well-behaved neighbour gets its answer.
async fn assert_served_well(settings: &Arc<InstanceSettings>, cancel: &Arc<Cancel>) {
    static GOOD: OnceLock<Module> = OnceLock::new();
    let good = GOOD.get_or_init(|| load(&Guest::new("(i32.const 1024)")));
    let mut limits = settings.limits;
    limits.memory = limits.memory.max(1 << 20);
    limits.host_calls = limits.host_calls.max(100);
    let settings = Arc::new(InstanceSettings { limits, ..InstanceSettings::clone(settings) });
    let call =
        call_once(good, &settings, &batch(&["good"]), Budget { fuel: FUEL, deadline: LONG, cancel }).await;
    let (_, answer) = call.result.expect("the next record is served well");
    assert_eq!((answer.output_count(), answer.failures().len()), (0, 0));
}

fn assert_outcome(result: Result<Answer, Failure>, outcome: Outcome, message: &str) {
    let failure = result.expect_err("the call fails");
    assert_eq!(failure.outcome, outcome, "{failure}");
    assert!(failure.message.contains(message), "{failure}");
}
