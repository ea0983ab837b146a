//! Workers: one operating-system thread a core, shared by all pipelines.
//!
//! A worker owns its instances and a single-threaded async runtime, so a handler that waits on the host does
//! not hold the core: its call is a future, and the worker polls others meanwhile. A handler that computes
//! yields at each tick of the epoch and so shares the core, too; pipelines share it by weight. Work arrives
//! over a queue whose length the machines bound; reports go back into the inbox of the pipeline they belong to.
//!
//! | file | does |
//! |---|---|
//! | `mod.rs` | threads, queues, which worker gets what |
//! | `executor.rs` | polls the calls of one worker |
//! | `share.rs` | whose turn it is |
//! | `code.rs` | what is called: a module, or what was compiled in |
//! | `generation.rs` | which module is called, and how another takes its place |
//! | `share_of_keys.rs` | PURE: which keys a canary runs |
//! | `comparison.rs`, `replay.rs` | what a shadow runs, and how it is compared |
//! | `sample.rs` | records on which a module is tried before it runs |
//! | `tally.rs` | what a generation did to records |
//! | `instances.rs` | warm instances of one worker, and which are given up |
//! | `room.rs` | calls that wait for memory that instances share |
//! | `run.rs` | one piece of work: call, isolate what fails |
//! | `settle.rs` | an answer: policy and publishing, in order |

mod code;
mod comparison;
mod executor;
mod generation;
mod instances;
mod replay;
mod room;
mod run;
mod sample;
mod settle;
mod share;
mod share_of_keys;
mod tally;

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::MissedTickBehavior;

use crate::dispatch::FailurePolicy;
use crate::inbox::Inbox;
use crate::kafka::Event;
use crate::kafka::publisher::Publisher;
use crate::work::{Finished, Report, Work};
pub use code::{Code, NativeHandler};
pub use comparison::{Compared, Comparison, Difference};
use executor::Executor;
pub use generation::{Candidate, Generation, Generations, Role, Route};
pub use instances::Keeping;
use instances::ROUND;
use replay::Replay;
pub use room::{HostRoom, Room};
use run::Local;
pub use sample::{Sample, Sampler};
pub use share_of_keys::Share;
pub use tally::Tally;

/// What the workers need to know of a pipeline. Shared by all of them.
#[derive(Debug)]
pub struct Callee {
    /// Tells it from other pipelines; small, as places of tables are made for it.
    pub id: usize,
    /// Its part of each core in relation to other pipelines that want it: at least 1.
    pub weight: u32,
    /// The handler, as it was deployed last.
    pub handler: Generations,
    /// What follows a failure.
    pub policy: FailurePolicy,
    /// Where outputs and dead letters go.
    pub publisher: Arc<Publisher>,
    /// Where reports go.
    pub inbox: Arc<Inbox<Event>>,
    /// Its pieces of work, by worker.
    pub load: Load,
    /// Records on which modules are tried.
    pub sample: Sampler,
}

/// Pieces of work that each worker has.
#[derive(Debug)]
pub struct Load(Box<[AtomicUsize]>);

impl Load {
    /// None yet, of so many workers.
    pub fn new(workers: usize) -> Self {
        Load((0..workers.max(1)).map(|_| AtomicUsize::new(0)).collect())
    }

    fn of(&self, worker: usize) -> &AtomicUsize {
        &self.0[worker]
    }
}

struct Job {
    work: Work,
    callee: Arc<Callee>,
}

/// What a worker's executor polls.
#[expect(clippy::large_enum_variant, reason = "a box for each piece of work would cost an allocation")]
enum Task {
    /// Records that somebody waits for.
    Job(Job),
    /// Records that a shadow runs.
    Replay(Box<Replay>),
}

/// The workers.
#[derive(Debug)]
pub struct Workers {
    workers: Vec<Worker>,
    /// Of all pipelines.
    load: Arc<Load>,
    room: Arc<HostRoom>,
}

#[derive(Debug)]
struct Worker {
    jobs: Option<UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Workers {
    /// Starts `count` workers.
    ///
    /// # Errors
    /// If the operating system gives no thread or no event queue.
    pub fn start(count: usize) -> std::io::Result<Workers> {
        let load = Arc::new(Load::new(count));
        let room = Arc::new(HostRoom::new(count.max(1)));
        let workers = (0..count.max(1)).map(|index| {
            let (jobs, received) = unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
            let (counted, room) = (load.clone(), room.clone());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{index}"))
                .spawn(move || runtime.block_on(serve(received, index, &counted, &room)))?;
            Ok(Worker { jobs: Some(jobs), thread: Some(thread) })
        });
        Ok(Workers { workers: workers.collect::<std::io::Result<_>>()?, load, room })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.workers.len()
    }

    /// The queue for a pipeline's calls that find no room.
    pub fn room(&self, pipeline: &str) -> Arc<Room> {
        Arc::new(Room::new(self.room.clone(), pipeline.to_owned()))
    }

    /// From now on calls of this pipeline run what `next` says. Generations that are not in it are handed back, retired:
    /// calls that run them end as they would have, and their idle instances are given up.
    pub fn switch(&self, callee: &Callee, next: Route) -> Vec<Arc<Generation>> {
        let before = callee.handler.replace(next);
        self.room.ask();
        before
    }

    /// Gives work to the worker that has the least of the same pipeline, and of those to the one that has the least
    /// of all. So the calls of each pipeline lie on all workers alike, whatever others do, and what each worker shares
    /// out fairly is shared out fairly over all of them.
    pub fn submit(&self, work: Work, callee: Arc<Callee>) {
        let load = |load: &Load, worker| load.of(worker).load(Ordering::Relaxed);
        let least = (0..self.workers.len())
            .min_by_key(|&worker| (load(&callee.load, worker), load(&self.load, worker)));
        let least = least.expect("there is at least one worker");
        let worker = &self.workers[least];
        self.load.of(least).fetch_add(1, Ordering::Relaxed);
        callee.load.of(least).fetch_add(1, Ordering::Relaxed);
        if let Some(jobs) = &worker.jobs
            && let Err(refused) = jobs.send(Job { work, callee })
        {
            // The worker is gone; whoever waits for the work is told so.
            let Job { work, callee } = refused.0;
            drop(Claim::new(work, &callee.inbox));
        }
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.jobs = None;
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take()
                && thread.join().is_err()
            {
                tracing::error!("a worker panicked");
            }
        }
    }
}

/// A worker's thread.
async fn serve(mut jobs: UnboundedReceiver<Job>, worker: usize, load: &Load, room: &HostRoom) {
    /// The runtime looks after timers at least so often, however much there is to do.
    const TIMERS: Duration = Duration::from_millis(1);
    /// New work that is taken in before somebody has his turn.
    const INTAKE: usize = 16;
    let local = Local::default();
    let mut executor = Executor::new();
    let mut open = true;
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked = room.asked();
    // Without a budget of the runtime's own, which would keep work and timers from tasks that are polled late in a turn.
    tokio::task::unconstrained(poll_fn(|cx| {
        executor.register(cx.waker());
        room.register(worker, cx.waker());
        if std::mem::replace(&mut asked, room.asked()) != asked {
            local.instances.borrow_mut().make_room();
        }
        while rounds.poll_tick(cx).is_ready() {
            local.instances.borrow_mut().next_round();
        }
        let since = Instant::now();
        let mut now = since;
        loop {
            for _ in 0..INTAKE {
                let Poll::Ready(job) = jobs.poll_recv(cx) else { break };
                match job {
                    Some(job) => {
                        let (pipeline, weight) = (job.callee.id, job.callee.weight);
                        executor.spawn(pipeline, weight, perform(Task::Job(job), &local, worker, load));
                    }
                    None => {
                        open = false;
                        break;
                    }
                }
            }
            while let Some(replay) = local.replays.borrow_mut().next() {
                let (pipeline, weight) = (replay.callee.id, replay.callee.weight);
                executor.spawn(
                    pipeline,
                    weight,
                    perform(Task::Replay(Box::new(replay)), &local, worker, load),
                );
            }
            match executor.turn(now) {
                Some(end) => now = end,
                None if open || !executor.is_empty() => return Poll::Pending,
                None => return Poll::Ready(()),
            }
            if now.duration_since(since) >= TIMERS {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }))
    .await;
}

async fn perform(task: Task, local: &Local, worker: usize, load: &Load) {
    match task {
        Task::Job(job) => finish(job, local, worker, load).await,
        Task::Replay(replay) => {
            let pipeline = replay.callee.id;
            if AssertUnwindSafe(run::replay(*replay, local)).catch_unwind().await.is_err() {
                tracing::error!("a shadow's call panicked in the host; please report this");
            }
            local.replays.borrow_mut().done(pipeline);
        }
    }
}

/// Runs one piece of work to its report.
async fn finish(Job { work, callee }: Job, local: &Local, worker: usize, load: &Load) {
    let claim = Claim::new(work, &callee.inbox);
    let run = AssertUnwindSafe(run::run(claim.work(), &callee, local)).catch_unwind();
    match run.await {
        Ok(report) => claim.finish(report),
        Err(_) => tracing::error!(
            origin = %claim.work().origin,
            "a call panicked in the host: its records run again; please report this"
        ),
    }
    callee.load.of(worker).fetch_sub(1, Ordering::Relaxed);
    load.of(worker).fetch_sub(1, Ordering::Relaxed);
}

/// Work that a worker has. Its records are reported exactly once: with what became of them, or, if it is
/// dropped by a panic, as not run.
struct Claim<'c> {
    work: Option<Work>,
    inbox: &'c Inbox<Event>,
}

impl<'c> Claim<'c> {
    fn new(work: Work, inbox: &'c Inbox<Event>) -> Self {
        Claim { work: Some(work), inbox }
    }

    fn work(&self) -> &Work {
        self.work.as_ref().expect("it is there until the claim is given up")
    }

    fn finish(mut self, report: Report) {
        self.report(report);
    }

    fn report(&mut self, report: Report) {
        if let Some(Work { ticket, epoch, batch, .. }) = self.work.take() {
            self.inbox.push(Event::Finished(Finished { ticket, epoch, batch, report }));
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(work) = &self.work {
            let all = 0..u32::try_from(work.batch.len()).expect("a batch holds fewer than 2^32 records");
            self.report(Report { not_run: all.collect(), alone: true, ..Report::default() });
        }
    }
}
