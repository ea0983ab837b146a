//! A seeded run in which hosts and brokers die, sleep and come back at random, under a mixed load.
//!
//! The seed decides over the faults, their times, and the input, and is printed; threads and the network interleave
//! as they like. While it runs, every partition with unfinished records has to move every half minute; at the end the
//! ledger judges all of it.
//!
//! | part | on which thread |
//! |---|---|
//! | [`plan`](Step): who breaks when | pure |
//! | [`input`](Input): keys and values | producer |
//! | [`watch`](Watch): what comes out, what stands still | its own |
//! | [`ledgers`](Ledgers): the ledgers of several programs, side by side | pure |

mod input;
mod ledgers;
mod plan;
mod watch;

pub use input::Input;
pub use ledgers::{Column, Ledgers, Session};
pub use plan::{Act, Step, Who, plan};
pub use watch::{Stillness, Watch};

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::contender::{Contender, IN_FLIGHT};
use crate::fleet::Fleet;
use crate::guests::guest;
use crate::job::Job;
use crate::kafka::Kafka;
use crate::ledger::{Ledger, Metadata, Order, Verdict, now};
use crate::producer::Producer;
use crate::wait::{poll_for, wait_until};

/// Partitions of each topic.
const PARTITIONS: i32 = 16;

/// Places for hosts.
const HOSTS: usize = 4;

/// How long all of it may take to be done once nothing is broken any more.
const CALM: Duration = Duration::from_secs(120);

/// A partition that has unfinished records and does not move for so long stands still.
const STILL: Duration = Duration::from_secs(30);

/// Records that are produced together, and how often: 600 in a second, while no broker keeps them waiting.
const CHUNK: usize = 60;
const PACE: Duration = Duration::from_millis(100);

/// A node that was away may have cost members their sessions, which shows at most so many milliseconds later.
const AFTERMATH: i64 = 8_000;

/// How many examples of each fault a report names.
const EXAMPLES: usize = 5;

/// What a run found.
#[derive(Debug)]
pub struct Outcome {
    /// What ran.
    pub contender: Contender,
    /// What decided over faults and input.
    pub seed: u64,
    /// Inputs that were produced.
    pub records: usize,
    /// What was started, stopped, broken and mended.
    pub steps: usize,
    /// What the ledger says.
    pub verdict: Verdict,
    /// What stood still, and for how long.
    pub still: Stillness,
    /// Processes that ended by themselves.
    pub ended: Vec<String>,
    /// Processes that were told to stop and did not in order.
    pub disorderly: Vec<String>,
    /// How long it took until all was committed, once nothing was produced any more; none if it took too long.
    pub finished: Option<Duration>,
    /// Runnable processes on average over the last minute; none where the system does not say.
    pub load: Option<f64>,
}

impl Outcome {
    /// Fails the test unless every promise was kept.
    ///
    /// # Panics
    /// With the seed, all numbers, and a few examples of each.
    #[track_caller]
    pub fn assert_kept(&self) {
        assert!(self.moved_and_stopped(), "{self}");
        self.verdict.assert_kept();
    }

    /// Whether every promise was kept.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        self.moved_and_stopped() && self.verdict.is_kept()
    }

    fn moved_and_stopped(&self) -> bool {
        let lists = [&self.still.stalls, &self.ended, &self.disorderly];
        lists.iter().all(|list| list.is_empty()) && self.finished.is_some()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { contender, seed, records, steps, verdict, still, ended, disorderly, finished, load: _ } =
            self;
        writeln!(f, "{}, seed {seed}: {records} records, {steps} steps", contender.name())?;
        writeln!(f, "{verdict}")?;
        let lists =
            [("stalls", &still.stalls), ("ended by themselves", ended), ("not stopped in order", disorderly)];
        for (name, list) in lists {
            writeln!(f, "{name}: {} {:?}", list.len(), &list[..list.len().min(EXAMPLES)])?;
        }
        if let Some((partition, since)) = still.place {
            writeln!(f, "the longest still: partition {partition} from {since:?} for {:?}", still.longest)?;
        }
        match finished {
            Some(time) => write!(f, "all was committed {time:?} after the last input"),
            None => write!(f, "not all was committed {CALM:?} after the last input"),
        }
    }
}

/// Runs hosts for `time` and as long as it then takes to finish, on a cluster of three nodes that nobody else uses.
///
/// # Panics
/// When a host ends by itself, a broker does not come back, or what was produced is not done two minutes after the
/// last fault was mended.
#[must_use]
pub fn run(kafka: &Kafka, seed: u64, time: Duration) -> Outcome {
    run_with(kafka, Contender::Sandmill, seed, time, None)
}

/// The same for any program; logs of its processes go to a folder if one is named. What would fail a run of our
/// hosts is part of another program's outcome.
///
/// # Panics
/// As [`run`] for our hosts; else when a broker does not come back.
#[must_use]
pub fn run_with(
    kafka: &Kafka,
    contender: Contender,
    seed: u64,
    time: Duration,
    logs: Option<PathBuf>,
) -> Outcome {
    let job = Job::judged(kafka, &guest("flaky"), PARTITIONS)
        .dead_letters(3)
        .set_in("in_flight", "records", &IN_FLIGHT.to_string())
        .kafka("session.timeout.ms", "3000")
        .kafka("heartbeat.interval.ms", "300");
    let job = &job;
    let steps = plan(seed, time, HOSTS);
    let watch = Watch::start(kafka, job, STILL);
    let (stop, stopped) = channel();
    thread::scope(|scope| {
        // Whatever becomes of this thread: it drops the channel, which ends the other.
        let stop = stop;
        let input = scope.spawn(move || produce(job, seed, &stopped));
        let fleet = Fleet::of(contender.clone(), job, HOSTS).keep_logs(logs.clone());
        let mut run = Run { kafka, fleet, broken: [None; 3], started: Instant::now() };
        for step in &steps {
            run.take(step);
        }
        run.until(time);
        drop(stop);
        let ledger = input.join().expect("the producer does not panic: every record was taken");
        let calm = Instant::now();
        let done = poll_for(&format!("all was done after seed {seed}"), CALM, || {
            run.fleet.tend();
            job.is_done().then(|| calm.elapsed())
        });
        let finished = match done {
            Ok(time) => Some(time),
            Err(message) if contender.is_own() => panic!("{message}"),
            Err(_) => None,
        };
        let load = load();
        run.fleet.stop_all();
        let Fleet { faults, ended, disorderly, .. } = run.fleet;
        let metadata = if contender.is_own() { Metadata::Own } else { Metadata::Foreign };
        let verdict = ledger.judge_with(job, Order::Key, &faults, metadata);
        if let Some(folder) = logs {
            let file = folder.join("evidence.txt");
            let written = fs::create_dir_all(folder)
                .and_then(|()| fs::write(&file, format!("{faults}{}", ledger.evidence(job, &verdict))));
            written.unwrap_or_else(|error| panic!("{} cannot be written: {error}", file.display()));
        }
        Outcome {
            contender,
            seed,
            records: ledger.len(),
            steps: steps.len(),
            verdict,
            still: watch.finish(),
            ended,
            disorderly,
            finished,
            load,
        }
    })
}

/// Runnable processes on average over the last minute.
fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// Produces the seed's input until the other side of the channel is gone.
fn produce(job: &Job<'_>, seed: u64, stopped: &Receiver<()>) -> Ledger {
    let (mut input, mut ledger) = (Input::new(seed), Ledger::default());
    let producer = Producer::new(job.kafka);
    while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
        ledger.produce(&producer, &job.input, input.by_ref().take(CHUNK).collect());
    }
    ledger
}

/// The hands that break and mend.
struct Run<'a> {
    kafka: &'a Kafka,
    fleet: Fleet<'a>,
    /// Since when each node is broken: milliseconds since 1970.
    broken: [Option<i64>; 3],
    started: Instant,
}

impl Run<'_> {
    /// Waits until it is time for a step, and takes it.
    fn take(&mut self, step: &Step) {
        self.until(step.at);
        println!("{:>6.1} s  {step}", self.started.elapsed().as_secs_f64());
        match (step.who, step.act) {
            (Who::Host(host), Act::Start) => self.fleet.start(host),
            (Who::Host(host), Act::Leave) => self.fleet.leave(host),
            (Who::Host(host), Act::Kill) => self.fleet.kill(host),
            (Who::Host(host), Act::Pause) => self.fleet.pause(host),
            (Who::Host(host), Act::Resume) => self.fleet.resume(host),
            (Who::Node(node), act) => self.node(node, act),
        }
    }

    fn node(&mut self, node: usize, act: Act) {
        match act {
            Act::Start => self.kafka.launch(node),
            Act::Resume => self.kafka.resume(node),
            Act::Pause => self.kafka.pause(node),
            Act::Kill | Act::Leave => self.kafka.kill(node),
        }
        match act {
            Act::Start | Act::Resume => {
                let from = self.broken[node].take().unwrap_or_else(now);
                self.fleet.faults.span(&format!("the absence of node {node}"), from, now() + AFTERMATH);
            }
            Act::Pause | Act::Kill | Act::Leave => self.broken[node] = Some(now()),
        }
    }

    /// Lets time pass in which no host of ours may end.
    fn until(&mut self, at: Duration) {
        let limit = at.saturating_sub(self.started.elapsed()) + CALM;
        wait_until("it was time", limit, || {
            self.fleet.tend();
            self.started.elapsed() >= at
        });
    }
}
