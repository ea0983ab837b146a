//! A simulated world around one machine: broker, group, workers, producer and time.
//!
//! Each turn is one of the consumer loop's: some inputs in any order, then one `advance`, then its effects are
//! carried out as `kafka::turns` does. After every turn all promises are checked against the naive model in
//! `log.rs`. At the end the world is left alone until everything is complete and committed, and the host is
//! stopped.
//!
//! | file | plays |
//! |---|---|
//! | `shape.rs`, `options.rs` | what follows from the seed |
//! | `log.rs` | a partition at the broker, and the model of what is done of it |
//! | `broker.rs` | commits |
//! | `group.rs` | rebalances, retention |
//! | `host.rs` | stops, crashes, new starts |
//! | `member.rs` | a second member of the group |
//! | `hostile.rs` | commit metadata that nobody should trust |
//! | `client.rs` | polling and pausing |
//! | `workers.rs`, `producer.rs` | calls, outputs, dead letters |
//! | `ending.rs` | how a run comes to its end |
//! | `checks.rs`, `calls.rs` | the promises |

/// Notes a line of the run's story, if somebody wants to read it.
macro_rules! note {
    ($world:expr, $($text:tt)*) => {
        if $world.story.is_told() {
            $world.story.tell($world.now, &format!($($text)*));
        }
    };
}

/// Ends the run unless a promise is kept.
macro_rules! promise {
    ($kept:expr, $($text:tt)*) => {
        if !$kept {
            $crate::machine::tests::world::broken(format!($($text)*));
        }
    };
}

mod broker;
mod calls;
mod checks;
mod client;
mod ending;
mod group;
mod host;
mod hostile;
mod log;
mod member;
mod options;
mod producer;
mod shape;
mod story;
mod workers;

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use fastrand::Rng;

pub use shape::{Kind, Shape};

use super::seen::{Seen, Sight};
use crate::batch::TopicPartition;
use crate::machine::{Effect, Machine, Options, RefusedRecord};
use crate::time::Time;
use crate::work::Ticket;
use log::{Log, Owner};
use story::Story;

/// How a run ended.
pub struct Ended {
    /// The promise that was broken.
    pub broken: Option<String>,
    /// Disturbed turns that it took.
    pub turns: u32,
    pub seen: Seen,
    /// The last lines of the story, if it was told.
    pub story: Vec<String>,
}

/// Runs a shape to its end.
pub fn run(shape: Shape, told: bool) -> Ended {
    let mut world = World::new(shape, told);
    let result = catch_unwind(AssertUnwindSafe(|| world.live()));
    Ended {
        broken: result.err().map(|panic| said(&*panic)),
        turns: world.turn,
        seen: world.seen,
        story: world.story.lines(),
    }
}

/// A promise is broken. Not a panic of its own: those of the machine are told apart by being printed.
fn broken(text: String) -> ! {
    resume_unwind(Box::new(text))
}

fn said(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (None, Some(text)) => format!("panic: {text}"),
        (None, None) => "panic".to_owned(),
    }
}

struct World {
    shape: Shape,
    rng: Rng,
    options: Options,
    /// Commits may leave records out when their metadata is full.
    truncates: bool,
    machine: Machine,
    now: Time,
    logs: Vec<Log>,
    /// At the workers.
    calls: Vec<workers::Call>,
    /// On their way to the machine.
    reports: VecDeque<workers::Reported>,
    /// The model of what is out. Looked up only: its order is chance.
    open: HashMap<Ticket, workers::Open>,
    /// In the producer.
    outputs: Vec<producer::Output>,
    /// Dead letters that the machine asked for and the producer does not have yet.
    letters: VecDeque<RefusedRecord>,
    /// Dead letters that the machine has to ask for: ticket, offset, attempts.
    owed_letters: Vec<(Ticket, i64, u32)>,
    request: Option<broker::Request>,
    /// The client did not take a commit in this turn.
    not_taken: bool,
    assigning: Vec<group::Answer>,
    revoking: Option<group::Revoking>,
    /// When the last stop was asked for.
    stopped_at: Time,
    /// Until when the machine has to have stopped.
    stopping: Option<Time>,
    stopped: bool,
    /// It has to stop with a failure.
    failing: bool,
    /// No disturbance any more.
    calm: bool,
    /// The last stop: the host does not start again.
    closing: bool,
    /// Turns in which nothing answers.
    silence: u32,
    /// The handler is slow at the moment.
    slow: bool,
    /// Partitions that were polled in this turn, as bits.
    polled: u32,
    /// Partitions that shared the bounds when the machine last looked.
    sharers: usize,
    /// Counts what came in and what came out.
    events: u64,
    turn: u32,
    seen: Seen,
    story: Story,
}

impl World {
    fn new(shape: Shape, told: bool) -> Self {
        // Each by a generator of its own: a smaller shape changes as little else as can be.
        let (options, truncates) = options::options(&mut Rng::with_seed(shape.seed ^ 1 << 62));
        let logs = options::logs(&mut Rng::with_seed(shape.seed ^ 1 << 61), &shape);
        World {
            rng: Rng::with_seed(shape.seed ^ 1 << 60),
            machine: Machine::new(options.clone()),
            shape,
            options,
            truncates,
            now: Time::ZERO,
            logs,
            calls: Vec::new(),
            reports: VecDeque::new(),
            open: HashMap::new(),
            outputs: Vec::new(),
            letters: VecDeque::new(),
            owed_letters: Vec::new(),
            request: None,
            not_taken: false,
            assigning: Vec::new(),
            revoking: None,
            stopped_at: Time::ZERO,
            stopping: None,
            stopped: false,
            failing: false,
            calm: false,
            closing: false,
            silence: 0,
            slow: false,
            polled: 0,
            sharers: 1,
            events: 0,
            turn: 0,
            seen: Seen::default(),
            story: Story::new(told),
        }
    }

    fn live(&mut self) {
        note!(self, "{:?}", self.options);
        while self.turn < self.shape.turns {
            self.turn += 1;
            self.pass_time();
            for _ in 0..self.rng.u8(1..5) {
                self.input();
            }
            self.advance();
        }
        self.settle_down();
        self.check_all_is_done();
        self.close();
    }

    /// One input, or one thing that happens elsewhere.
    fn input(&mut self) {
        match self.rng.u8(..44) {
            0..10 => self.poll_one(),
            10..16 => self.end_call(),
            16..22 => self.deliver_report(),
            22..27 => self.settle_output(),
            27..30 => self.move_commit(),
            30..32 => self.answer_assignment(),
            32 => self.assign(),
            33 => self.send_letter(),
            34 => self.produce(),
            35 => self.member_acts(),
            _ => self.disturb(),
        }
    }

    fn disturb(&mut self) {
        let kind = Kind::EVENTS[self.rng.usize(..Kind::EVENTS.len())];
        if !self.troubled(kind) {
            return;
        }
        // What begins anew is rare, or nothing would ever get far.
        let rarely = self.rng.u8(..8) == 0;
        match kind {
            Kind::Revoke => self.revoke(),
            Kind::Lose if rarely => self.lose_some(),
            Kind::Return if rarely => self.lose_and_return(),
            Kind::Crash if rarely => self.crash(),
            Kind::Stop if rarely || self.stopping.is_some() => self.stop(),
            Kind::Takeover => self.member_joins(),
            Kind::Silence if rarely => {
                note!(self, "nothing answers for a while");
                self.silence = self.rng.u32(5..60);
            }
            Kind::Jump if rarely => self.jump(),
            Kind::Retention if rarely => self.delete_records(),
            _ => {}
        }
    }

    /// True if the run may meet this now.
    fn troubled(&self, kind: Kind) -> bool {
        !self.calm && self.shape.allows(kind)
    }

    /// One time in so many, where the run may meet this.
    fn strikes(&mut self, kind: Kind, one_in: u32) -> bool {
        self.troubled(kind) && self.rng.u32(..one_in) == 0
    }

    /// The loop wakes when the machine asks it to, or when something comes in; a busy one comes late.
    fn pass_time(&mut self) {
        let most = if self.silence > 0 { 40_000 } else { 3_000 };
        self.silence = self.silence.saturating_sub(1);
        let then = self.now + Duration::from_micros(self.rng.u64(0..most));
        // Bounds are held by a loop that is not late.
        let late = self.stopping.is_none() && self.revoking.is_none() && self.rng.u8(..4) == 0;
        self.now = match self.machine.next_due() {
            Some(due) if !late => then.min(due.max(self.now)),
            _ => then,
        };
        self.polled = 0;
    }

    fn jump(&mut self) {
        let minute = Duration::from_secs(60);
        note!(self, "the loop stood still for a minute");
        self.seen.saw(Sight::Jumped);
        self.now = self.now + minute;
        self.stopping = self.stopping.map(|until| until + minute);
        if let Some(revoking) = &mut self.revoking {
            revoking.until = revoking.until + minute;
        }
    }

    /// The machine does what can be done, and what it wants is carried out.
    fn advance(&mut self) {
        self.machine.advance(self.now);
        self.sharers = self.machine.partitions.len().max(1);
        self.carry_out();
        self.check();
        if self.stopped && !self.closing {
            self.start_again();
        }
    }

    /// As `kafka::turns` does it.
    fn carry_out(&mut self) {
        while let Some(effect) = self.machine.effect() {
            self.events += 1;
            promise!(!self.stopped, "something follows the end: {effect:?}");
            match effect {
                Effect::Dispatch(work) => self.start_call(work),
                Effect::Pause(name) => self.pause(&name),
                Effect::Resume(name) => self.resume(&name),
                Effect::Commit(entries) => self.take_commit(entries),
                Effect::Unassign(names) => self.take_back(&names),
                Effect::DeadLetter(refused) => self.take_letter(refused),
                Effect::Stopped(how) => {
                    note!(self, "      stopped: {:?}", how.failure);
                    self.check_stopped(&how);
                    self.stopped = true;
                }
            }
        }
        let owed = &self.owed_letters;
        promise!(owed.is_empty(), "no dead letter is asked for though an output was refused: {owed:?}");
    }

    fn index_of(&self, name: &TopicPartition) -> usize {
        match self.logs.iter().position(|log| log.name == *name) {
            Some(index) => index,
            None => broken(format!("there is no partition {name}")),
        }
    }

    /// True if the host has the partition in this very assignment.
    fn is_alive(&self, log: usize, serial: u64) -> bool {
        self.logs[log].serial == serial && matches!(self.logs[log].owner, Owner::Host)
    }

    /// True if the host has it and is not giving it back.
    fn takes_records(&self, log: usize) -> bool {
        let asked_back = self.revoking.as_ref().is_some_and(|revoking| revoking.logs.contains(&log));
        matches!(self.logs[log].owner, Owner::Host) && self.stopping.is_none() && !asked_back
    }

    /// The longest time that giving back, or stopping, may take.
    fn longest(&self) -> Duration {
        let bounds = self.options.give_back;
        bounds.drain + bounds.interrupt + bounds.commit
    }
}
