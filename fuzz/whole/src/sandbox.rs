//! The sandbox as a worker uses it: one engine, small limits, a batch, and a neighbour that has to be served well
//! whatever was called before.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sandmill::batch::{Batch, Headers, Record, TopicPartition};
use sandmill::cancel::Cancel;
use sandmill::ids::{Fuel, Offset};
use sandmill::outcome::{Failure, Outcome};
use sandmill::wasm::{
    Answer, Budget, Capabilities, Compiled, Engine, EngineConfig, FileLimits, Grants, Instance,
    InstanceLimits, InstanceSettings, Key, LogLimits, LogSink, MemoryBudget, Module, OutputLimits, compile,
};

use crate::guests;

/// What an instance may take.
pub const LIMITS: InstanceLimits = InstanceLimits {
    start_fuel: Fuel(5_000_000),
    start_deadline: DEADLINE,
    memory: 4 << 20,
    host_calls: 200,
    output: OutputLimits { records: 10, bytes: 10_000, destinations: 2, failure_message: 256 },
    log: LogLimits { record_bytes: 1_024, second_bytes: 16 << 10 },
};
/// What a file may hold.
pub const FILE: FileLimits = FileLimits { size: 64 << 20, functions: 200_000 };
const FUEL: Fuel = Fuel(5_000_000);
const DEADLINE: Duration = Duration::from_millis(500);
/// For guests that are right: the time in which the system runs other processes counts as well.
const PATIENT: Duration = Duration::from_secs(50);
/// A call that took so long was not held to its deadline, on however busy a machine.
const STALL: Duration = Duration::from_secs(60);

/// Under which compiled code is sealed here.
pub fn key() -> Key {
    Key::from_bytes([7; 32])
}

/// The engine of all checks.
pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new(&EngineConfig::new(10)).expect("the engine is made"))
}

/// A handler that was made here.
///
/// # Panics
/// If it is none.
pub fn load(bytes: &[u8]) -> Module {
    let compiled = compile(bytes, &key(), &FILE).unwrap_or_else(|refused| panic!("{refused}"));
    let compiled = Compiled::open(compiled, &key()).expect("it was just sealed");
    Module::load(engine(), &compiled, Grants::ALL).unwrap_or_else(|refused| panic!("{refused}"))
}

/// What the instances of a pipeline are made with.
pub fn settings(deadline: Duration, memory: &Arc<MemoryBudget>) -> InstanceSettings {
    InstanceSettings {
        limits: InstanceLimits { start_deadline: deadline, ..LIMITS },
        config: vec![("mode".to_owned(), "strict".to_owned())],
        log: Arc::new(LogSink::new("orders".into(), "handler".into(), LIMITS.log, Arc::default())),
        memory: Arc::new([Arc::clone(memory)]),
        capabilities: Capabilities::default(),
    }
}

/// Instances of one pipeline, whose memory is counted.
pub struct Pipeline {
    deadline: Duration,
    settings: Arc<InstanceSettings>,
    memory: Arc<MemoryBudget>,
    cancel: Arc<Cancel>,
    /// As that of a worker: all calls of an instance are made on one.
    runtime: tokio::runtime::Runtime,
}

impl Pipeline {
    /// For any guest.
    pub fn new() -> Self {
        Self::with_deadline(DEADLINE)
    }

    /// For a guest that is right and quick, however busy the machine is.
    pub fn patient() -> Self {
        Self::with_deadline(PATIENT)
    }

    /// With room for more than one instance may take: it is its own limit that has to hold it.
    fn with_deadline(deadline: Duration) -> Self {
        let memory = Arc::new(MemoryBudget::new(4 * LIMITS.memory));
        let settings = settings(deadline, &memory);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("the runtime is made");
        Self { deadline, settings: Arc::new(settings), memory, cancel: Arc::new(Cancel::new()), runtime }
    }

    /// Starts an instance.
    ///
    /// # Errors
    /// With what it failed.
    ///
    /// # Panics
    /// Where a promise breaks.
    pub fn start(&self, module: &Module) -> Result<Instance, Failure> {
        let since = Instant::now();
        let started = self.runtime.block_on(Instance::start(module, &self.settings, &self.cancel));
        assert!(since.elapsed() < STALL, "starting took {:?}", since.elapsed());
        match &started {
            Ok(instance) => self.assert_bounded(instance.memory()),
            Err(failure) => {
                assert_told(failure);
                let possible = [Outcome::InitializationFailed, Outcome::HostError];
                assert!(possible.contains(&failure.outcome), "{failure}");
                self.assert_nothing_held();
            }
        }
        started
    }

    /// Calls it.
    ///
    /// # Errors
    /// With what it failed.
    ///
    /// # Panics
    /// Where a promise breaks.
    pub fn call(&self, instance: Instance, batch: &Batch) -> Result<(Instance, Answer), Failure> {
        let origin = TopicPartition { topic: "orders".into(), partition: 3 };
        let budget = Budget { fuel: FUEL, deadline: self.deadline, cancel: &self.cancel };
        let since = Instant::now();
        let call = self.runtime.block_on(instance.call(&origin, batch, budget));
        assert!(since.elapsed() < STALL, "the call took {:?}", since.elapsed());
        self.assert_bounded(call.memory);
        assert!(call.fuel.0 <= FUEL.0, "{:?}", call.fuel);
        match &call.result {
            Ok((_, answer)) => {
                for output in answer.outputs(batch) {
                    assert!(output.input < batch.len() && output.destination < LIMITS.output.destinations);
                }
                assert!(answer.bytes() <= batch.len() * LIMITS.output.bytes);
                answer.failures().iter().for_each(|(_, failure)| assert_told(failure));
            }
            Err(failure) => {
                assert_told(failure);
                let impossible =
                    [Outcome::Success, Outcome::Rejected, Outcome::InitializationFailed, Outcome::Revoked];
                assert!(!impossible.contains(&failure.outcome), "{failure}");
                self.assert_nothing_held();
            }
        }
        call.result
    }

    fn assert_bounded(&self, memory: usize) {
        assert!(memory <= LIMITS.memory, "{memory} bytes");
        assert!(self.memory.used() <= LIMITS.memory, "{} bytes", self.memory.used());
    }

    /// Holds once all instances are gone.
    pub fn assert_nothing_held(&self) {
        assert_eq!(self.memory.used(), 0, "an instance is gone, and not its memory");
    }
}

impl Default for Pipeline {
    fn default() -> Self {
        Self::new()
    }
}

/// A handler that does nothing, called beside whatever else is called: it has to work.
pub fn assert_neighbour_is_served() {
    static GOOD: OnceLock<Module> = OnceLock::new();
    let good = GOOD.get_or_init(|| load(&guests::from_text(false, 2, "(i32.const 1024)", "")));
    let pipeline = Pipeline::patient();
    let instance = pipeline.start(good).expect("the neighbour starts");
    let (_, answer) = pipeline.call(instance, &batch(&[b"good"])).expect("the neighbour is served");
    assert_eq!((answer.output_count(), answer.failures().len()), (0, 0));
}

/// Records with these values; the second has neither key nor header.
pub fn batch(values: &[&[u8]]) -> Batch {
    let mut batch = Batch::new();
    let headers: &[(&[u8], Option<&[u8]>)] = &[(b"trace", Some(b"1")), (b"none", None)];
    for (index, value) in (0_i64..).zip(values) {
        let record = Record {
            offset: Offset(100 + index),
            timestamp: 1_700_000_000_000,
            key: (index != 1).then_some(b"key"),
            value: Some(value),
            headers: if index == 1 { Headers::None } else { Headers::List(headers) },
        };
        batch.push(&record, 0, 0);
    }
    batch
}

/// Whatever a guest did to it, a failure can be logged.
fn assert_told(failure: &Failure) {
    let longest = LIMITS.output.failure_message + 100;
    assert!(failure.message.len() <= longest, "{} bytes: {failure}", failure.message.len());
    let shown = format!("{} {failure}", failure.code);
    assert!(!shown.chars().any(char::is_control), "not escaped: {shown:?}");
}
