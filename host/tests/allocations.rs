//! Nothing is allocated for a record: from its admission into column batches, through the call of a handler in
//! its sandbox, to the check of the answer and the walk over its outputs.
//!
//! A binary of its own, because it counts with the allocator. Counted is the thread that does all of this here;
//! in the host it is two. In a steady state a call makes a handful of allocations, whatever it carries: so many
//! more records in a call must not make more of them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use sandmill::batch::{Headers, Record, TopicPartition};
use sandmill::cancel::Cancel;
use sandmill::dispatch::Ordering;
use sandmill::dispatch::pacing::{Allowance, Bounds};
use sandmill::ids::{Fuel, Offset};
use sandmill::machine::{self, Assigned, Effect, InFlight, Machine, Options, Slot};
use sandmill::progress::Budget as MetadataBudget;
use sandmill::telemetry::Executions;
use sandmill::time::Time;
use sandmill::wasm::{
    Budget, Capabilities, Compiled, Engine, EngineConfig, FileLimits, Grants, Instance, InstanceLimits,
    InstanceSettings, Key, LogLimits, LogSink, Module, OutputLimits, compile,
};
use sandmill::work::{CallRecord, Calls, Ended, Finished, Report, Work};
use tokio::runtime::Runtime;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends frees its last memory after its counter is gone.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: everything is left to the system's allocator; counting touches no memory but a cell of this thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The handler that the demo carries: a line of a web server's log to JSON.
const HANDLER: &[u8] = include_bytes!(env!("SANDMILL_ACCESS_LOG"));
const LINE: &[u8] =
    br#"83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 203 "-" "curl/7.1""#;
const DEADLINE: Duration = Duration::from_secs(60);
const FUEL: Fuel = Fuel(1 << 40);

/// One pipeline on one thread.
struct Host {
    runtime: Runtime,
    machine: Machine,
    slot: Slot,
    next: i64,
    instance: Option<Instance>,
    executions: Executions,
    cancel: Arc<Cancel>,
    work: Vec<Work>,
    /// Calls and output bytes so far.
    calls: u64,
    output_bytes: u64,
}

impl Host {
    /// With calls of `batch` records, of a handler with this config.
    fn new(batch: usize, config: &[(&str, &str)]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let engine = Engine::new(&EngineConfig::new(1)).expect("an engine");
        let key = Key::from_bytes([7; 32]);
        let compiled =
            Compiled::open(compile(HANDLER, &key, &FileLimits::default()).expect("a handler"), &key)
                .expect("it is sealed");
        let module = Module::load(&engine, &compiled, Grants::default()).expect("a handler");
        let cancel = Arc::new(Cancel::new());
        let instance = runtime.block_on(Instance::start(&module, &settings(config), &cancel));
        let mut machine = Machine::new(options(batch));
        let assigned = Assigned {
            partition: TopicPartition { topic: "log".into(), partition: 0 },
            start: Offset(0),
            metadata: None,
            commit_start: false,
            topic_tag: 1,
            log_end: None,
        };
        let slot = machine.assigned(&[assigned], Time::ZERO)[0];
        Host {
            runtime,
            machine,
            slot,
            next: 0,
            instance: Some(instance.expect("it starts")),
            executions: Executions::default(),
            cancel,
            work: Vec::new(),
            calls: 0,
            output_bytes: 0,
        }
    }

    /// Takes `records` records all the way.
    fn run(&mut self, records: usize) {
        for key in 0..records {
            let key = (key % 97).to_le_bytes();
            let record = Record {
                offset: Offset(self.next),
                timestamp: 1_431_857_103_000,
                key: Some(&key),
                value: Some(LINE),
                headers: Headers::None,
            };
            self.next += 1;
            self.machine.admit(self.slot, &record);
        }
        loop {
            self.machine.advance(Time::ZERO);
            while let Some(effect) = self.machine.effect() {
                match effect {
                    Effect::Dispatch(work) => self.work.push(work),
                    // The first change is committed at once; later ones are an hour away.
                    Effect::Commit(entries) => {
                        let replies: Vec<_> =
                            entries.into_iter().map(|entry| (entry.partition, Ok(()))).collect();
                        self.machine.commit_replied(&replies, Time::ZERO);
                    }
                    other => panic!("nothing else is asked for: {other:?}"),
                }
            }
            let Some(work) = self.work.pop() else { break };
            self.call(work);
        }
        assert_eq!(self.machine.outstanding(), 0);
    }

    /// What a worker does, but for the producer.
    fn call(&mut self, work: Work) {
        let Work { ticket, epoch, origin, batch, allowance, .. } = work;
        let budget = Budget { fuel: allowance.fuel, deadline: allowance.deadline, cancel: &self.cancel };
        let execution = self.executions.start();
        let instance = self.instance.take().expect("it came back");
        let call = self.runtime.block_on(instance.call(&origin, &batch, budget));
        let (instance, answer) = call.result.expect("the handler answers");
        self.instance = Some(instance);
        assert!(answer.failures().is_empty());
        let mut published = 0;
        for output in answer.outputs(&batch) {
            self.output_bytes += output.value.map_or(0, <[u8]>::len) as u64;
            assert!(output.key.is_some() && output.headers.is_empty());
            published += 1;
        }
        execution.finish(Ended::Complete, call.polled + call.waited, call.fuel);
        let records = u32::try_from(batch.len()).expect("a batch is small");
        // As if each record took a microsecond: the machine then hands out full batches.
        let spent = Duration::from_micros(1) * records;
        let call =
            CallRecord { records, spent, waited: call.waited, fuel: call.fuel, ended: Ended::Complete };
        let report = Report { published, calls: Calls { each: vec![call] }, ..Report::default() };
        self.machine.finished(Finished { ticket, epoch, batch, report }, Time::ZERO);
        if published > 0 {
            self.machine.acknowledged(ticket, published, Time::ZERO);
        }
        self.calls += 1;
    }
}

fn settings(config: &[(&str, &str)]) -> Arc<InstanceSettings> {
    let log = LogLimits { record_bytes: 4 << 10, second_bytes: 64 << 10 };
    let output = OutputLimits { records: 10, bytes: 1 << 20, destinations: 1, failure_message: 1 << 10 };
    Arc::new(InstanceSettings {
        limits: InstanceLimits {
            start_fuel: FUEL,
            start_deadline: DEADLINE,
            memory: 64 << 20,
            host_calls: 100,
            output,
            log,
        },
        config: config.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
        log: Arc::new(LogSink::new("log".into(), "access_log".into(), log, Arc::default())),
        memory: Arc::new([]),
        capabilities: Capabilities::default(),
    })
}

fn options(batch: usize) -> Options {
    Options {
        ordering: Ordering::Key,
        shards: 4,
        lanes: 4,
        calls: 4,
        pacing: Bounds {
            records: batch,
            bytes: 1 << 20,
            time: Duration::from_secs(1),
            single: Allowance { fuel: FUEL, deadline: DEADLINE },
            waits: false,
        },
        in_flight: InFlight { records: 100_000, bytes: 1 << 30 },
        commit_interval: Duration::from_secs(3_600),
        budget: MetadataBudget::default(),
        metadata_limit: 4_096,
        give_back: machine::Bounds {
            drain: Duration::from_secs(1),
            interrupt: Duration::from_secs(1),
            commit: Duration::from_secs(1),
        },
        circuit: None,
        dead_letters: false,
        seed: 1,
    }
}

/// Records of one round: many more than there are keys, so that all shards are busy.
const ROUND: usize = 4_096;
/// Rounds before and while it is counted.
const WARM: usize = 5;
const COUNTED: usize = 10;

/// Allocations for each call in a steady state, and output bytes for each record.
fn per_call(batch: usize, config: &[(&str, &str)]) -> (f64, u64) {
    let mut host = Host::new(batch, config);
    (0..WARM).for_each(|_| host.run(ROUND));
    let (calls, bytes, allocations) = (host.calls, host.output_bytes, ALLOCATIONS.get());
    (0..COUNTED).for_each(|_| host.run(ROUND));
    let (calls, bytes) = (host.calls - calls, host.output_bytes - bytes);
    let allocations = ALLOCATIONS.get() - allocations;
    let records = COUNTED * ROUND;
    // The last batch of each shard is not full.
    assert!(calls <= 2 * (records / batch) as u64, "{calls} calls of {batch} for {records} records");
    (allocations as f64 / calls as f64, bytes / records as u64)
}

/// What one call may allocate: its fiber, the columns of its answer, its report, the queues of a turn. Far below
/// the records of a call.
const MOST: f64 = 8.0;

fn nothing_for_a_record(config: &[(&str, &str)]) -> u64 {
    let (small, bytes) = per_call(32, config);
    let (large, _) = per_call(256, config);
    println!("allocations a call: {small:.2} of 32 records, {large:.2} of 256");
    assert!(small <= MOST && large <= MOST, "{small} and {large} allocations a call");
    assert!(large <= small + 0.5, "{small} for 32 records, {large} for 256: they grow with the records");
    bytes
}

#[test]
fn a_record_without_output_allocates_nothing() {
    assert_eq!(nothing_for_a_record(&[("status", "599")]), 0);
}

#[test]
fn a_record_with_output_allocates_nothing() {
    let bytes = nothing_for_a_record(&[]);
    assert!(bytes > 100, "each record becomes JSON, of {bytes} bytes");
}
