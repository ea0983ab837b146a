//! The consumer thread of a pipeline: the loop around the machine.
//!
//! It alone owns the Kafka consumer, the assignment and the commits. It decides nothing: it takes in what
//! the client, the workers, the producer and the lookup thread have, hands it to the machine, and carries
//! out what the machine wants. It never waits for any of them; when a turn brought nothing, it sleeps on one
//! waker that all of them call.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rdkafka::consumer::{BaseConsumer, Consumer as _, RebalanceProtocol};
use rdkafka::error::KafkaError;
use sandmill_kafka_ffi::{BatchQueue, Commits, Sleeper, Waker};

use super::context::Context;
use super::dead_letter::Origin;
use super::delivery::{Deliveries, Delivery};
use super::lookup::Lookups;
use super::positions::{End, Positions};
use super::publisher::Publisher;
use super::{Error, properties};
use crate::batch::TopicPartition;
use crate::ids::Epoch;
use crate::inbox::Inbox;
use crate::machine::{Assigned, Machine, RefusedRecord, Stopped};
use crate::telemetry::snapshot::{PipelineSnapshot, Taken};
use crate::time::Time;
use crate::work::{Finished, Work};

pub use super::lookup::Start;

/// What other threads tell the consumer thread.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the usual one; boxing it would allocate for each call"
)]
pub enum Event {
    /// A worker is done with a piece of work.
    Finished(Finished),
    /// Where assigned partitions start.
    Positions {
        /// Which rebalance asked.
        serial: u64,
        /// Each partition asked for starts somewhere, or is lost.
        found: Positions,
    },
    /// Where a partition starts whose position was gone.
    Reset {
        /// The assignment that asked.
        epoch: Epoch,
        /// The partition and its start.
        assigned: Assigned,
    },
    /// Where partitions end.
    Ends(Vec<End>),
    /// Stop; a second one skips the drain.
    Stop,
}

/// What follows when a partition's position does not exist any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnOffsetLost {
    /// The pipeline halts: records may be gone.
    Halt,
    /// Go on there.
    Resume(Start),
}

/// What the loop needs to know of its pipeline.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Client properties of the user.
    pub properties: BTreeMap<String, String>,
    /// Topics to consume.
    pub input: Vec<String>,
    /// Consumer group.
    pub group: String,
    /// Where a group starts that has committed nothing.
    pub start: Start,
    /// When a position is gone.
    pub on_offset_lost: OnOffsetLost,
    /// What all dead letters have in common.
    pub origin: CurrentOrigin,
}

/// What dead letters have in common that the consumer writes itself, for outputs that were refused after they were
/// published: the handler as it was deployed last.
#[derive(Clone)]
pub struct CurrentOrigin(Arc<dyn Fn() -> Arc<Origin> + Send + Sync>);

impl CurrentOrigin {
    /// Asks `current` each time.
    pub fn new(current: impl Fn() -> Arc<Origin> + Send + Sync + 'static) -> Self {
        CurrentOrigin(Arc::new(current))
    }

    pub(super) fn get(&self) -> Arc<Origin> {
        (self.0)()
    }
}

impl std::fmt::Debug for CurrentOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("CurrentOrigin").field(&self.get()).finish()
    }
}

/// Hands work to a worker.
pub type Dispatch = Box<dyn FnMut(Work) + Send>;
/// Takes the newest snapshot.
pub type Publish = Box<dyn FnMut(PipelineSnapshot) + Send>;

/// The thread's sleep and the waker that ends it, made before the consumer so that others can hold it.
#[derive(Debug)]
pub struct Sleep {
    pub(super) sleeper: Sleeper,
    waker: Waker,
}

impl Default for Sleep {
    fn default() -> Self {
        let sleeper = Sleeper::new();
        Sleep { waker: sleeper.waker(), sleeper }
    }
}

impl Sleep {
    /// A function that wakes the thread.
    pub fn wake(&self) -> impl Fn() + Send + Sync + 'static {
        let waker = self.waker.clone();
        move || waker.wake()
    }
}

/// The consumer of one pipeline.
pub struct Consumer {
    pub(super) settings: Settings,
    pub(super) machine: Machine,
    pub(super) inbox: Arc<Inbox<Event>>,
    pub(super) deliveries: Arc<Deliveries>,
    pub(super) publisher: Arc<Publisher>,
    pub(super) dispatch: Dispatch,
    pub(super) publish: Publish,
    sleep: Sleep,
    pub(super) started: Instant,

    // Declared in the order in which they have to be dropped: all of them before the consumer.
    closing: Closing,
    pub(super) lookups: Lookups,
    pub(super) queue: BatchQueue<Context>,
    pub(super) commits: Commits<Context>,
    pub(super) consumer: Arc<BaseConsumer<Context>>,

    pub(super) assigning: Option<u64>,
    pub(super) next_serial: u64,
    /// What the group wants back, as it named it.
    pub(super) revoking: Option<Vec<TopicPartition>>,
    /// Ends of partitions as fetched, where the client's cache does not help.
    pub(super) ends: Vec<End>,
    pub(super) ends_taken: Time,
    /// Dead letters that found the producer's queue full.
    pub(super) stalled_letters: VecDeque<RefusedRecord>,
    pub(super) stopped: Option<Stopped>,
    pub(super) mean_weight: usize,
    pub(super) taken: Taken,
    pub(super) last_commit: Option<SystemTime>,
    pub(super) last_turn: Time,
    pub(super) last_poll: Time,
    pub(super) last_snapshot: Time,
    pub(super) last_ends: Time,
    /// The group gave this host its part.
    pub(super) joined: bool,
    /// Why the broker cannot be used at the moment; shown in health.
    pub(super) trouble: Option<String>,
    pub(super) events: Vec<Event>,
    pub(super) reports: Vec<Delivery>,
}

impl Consumer {
    /// Sets the client up and subscribes.
    ///
    /// # Errors
    /// If the client refuses its configuration or cannot be set up. A broker that is away is no error.
    #[expect(clippy::too_many_arguments, reason = "called once, by the composition root, with what it made")]
    pub fn start(
        settings: Settings,
        machine: Machine,
        inbox: Arc<Inbox<Event>>,
        deliveries: Arc<Deliveries>,
        publisher: Arc<Publisher>,
        dispatch: Dispatch,
        publish: Publish,
        sleep: Sleep,
    ) -> Result<Consumer, Error> {
        let client = |error: KafkaError| Error::Client(error.to_string());
        let config = properties::consumer(&settings.properties, &settings.group);
        config.create_native_config().map_err(|error| Error::Properties(error.to_string()))?;
        let consumer: BaseConsumer<Context> =
            config.create_with_context(Context::default()).map_err(client)?;
        let consumer = Arc::new(consumer);
        let queue =
            BatchQueue::new(&consumer, &sleep.waker).map_err(|error| Error::Client(error.to_string()))?;
        let commits = Commits::new(&consumer, &sleep.waker);
        let lookups =
            Lookups::start(consumer.clone(), inbox.clone(), settings.start, settings.on_offset_lost)
                .map_err(|error| Error::Client(format!("no lookup thread: {error}")))?;
        let topics: Vec<&str> = settings.input.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(client)?;
        Ok(Consumer {
            settings,
            machine,
            inbox,
            deliveries,
            publisher,
            dispatch,
            publish,
            sleep,
            started: Instant::now(),
            closing: Closing(consumer.clone()),
            lookups,
            queue,
            commits,
            consumer,
            assigning: None,
            next_serial: 0,
            revoking: None,
            ends: Vec::new(),
            ends_taken: Time::ZERO,
            stalled_letters: VecDeque::new(),
            stopped: None,
            mean_weight: 128,
            taken: Taken::default(),
            last_commit: None,
            last_turn: Time::ZERO,
            last_poll: Time::ZERO,
            last_snapshot: Time::ZERO,
            last_ends: Time::ZERO,
            joined: false,
            trouble: None,
            events: Vec::new(),
            reports: Vec::new(),
        })
    }

    /// Runs until the machine has stopped, then leaves the group.
    pub fn run(mut self) -> Stopped {
        let stopped = loop {
            let busy = self.turn();
            if let Some(stopped) = self.stopped.take() {
                break stopped;
            }
            if !busy {
                if self.machine.waits_for_acknowledgements_only() {
                    self.publisher.hurry();
                }
                let now = self.now();
                let due = self.machine.next_due().map_or(LONGEST_SLEEP, |due| due.since(now));
                self.sleep.sleeper.wait(due.min(LONGEST_SLEEP));
            }
        };
        self.leave();
        stopped
    }

    /// Time since this consumer started.
    pub(super) fn now(&self) -> Time {
        Time::ZERO + self.started.elapsed()
    }

    /// True if the group protocol moves partitions one by one.
    pub(super) fn is_cooperative(&self) -> bool {
        matches!(self.consumer.rebalance_protocol(), RebalanceProtocol::Cooperative)
    }

    /// Leaves the group. Everything is committed and fenced. A broker that is away must not hold the process:
    /// after a bound the client is left to end with it.
    fn leave(mut self) {
        // The client waits for the answer to its last assignment, and would not leave before it.
        if let Some(serial) = self.assigning {
            self.assigned(serial, &Positions::default());
        }
        let Consumer { closing, lookups, queue, commits, consumer, publisher, .. } = self;
        publisher.flush(FLUSH);
        drop(closing);
        consumer.unsubscribe();
        let (over, ended) = std::sync::mpsc::channel::<()>();
        let closing = std::thread::Builder::new().name("closing".into()).spawn(move || {
            drop((lookups, queue, commits));
            drop(consumer);
            drop(over);
        });
        match closing {
            // The channel closes when the client is gone.
            Ok(_) if ended.recv_timeout(LEAVE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                tracing::warn!("the group was not left in time: no broker answers; the member will time out");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "no thread to leave the group on"),
        }
    }
}

/// From its end on the client gives partitions back by itself. The client's end waits until they are, and there is
/// no loop any more that would do it; also not if the thread panicked.
struct Closing(Arc<BaseConsumer<Context>>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.context().close();
    }
}

/// The loop turns at least so often: for snapshots, and because polling keeps the member in its group.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);
/// How long leaving the group may take.
const LEAVE: Duration = Duration::from_secs(8);
/// How long outputs of interrupted calls may linger at a stop.
const FLUSH: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::kafka::EmbeddedBroker;
    use crate::machine::tests::promises::options;

    /// A panic is an error of ours. It must not leave a thread behind that nobody can join, nor a member that the
    /// group waits for.
    #[test]
    fn a_consumer_that_panics_leaves_its_group_and_ends() {
        let broker = EmbeddedBroker::start().expect("a broker");
        broker.create_topic("in", 4).expect("a topic");
        let servers = ("bootstrap.servers".to_owned(), broker.bootstrap_servers());
        let sleep = Sleep::default();
        let (inbox, deliveries) = (Arc::new(Inbox::new(sleep.wake())), Deliveries::new(sleep.wake()));
        let settings = Settings {
            properties: BTreeMap::from([servers]),
            input: vec!["in".to_owned()],
            group: "group".to_owned(),
            start: Start::Earliest,
            on_offset_lost: OnOffsetLost::Halt,
            origin: CurrentOrigin::new(|| {
                Arc::new(Origin {
                    group: "group".into(),
                    handler: "h".into(),
                    module_digest: "sha256:0".into(),
                })
            }),
        };
        let publisher =
            Publisher::start(&settings.properties, &[], None, deliveries.clone()).expect("a producer");
        let publish = |snapshot: PipelineSnapshot| assert!(snapshot.partitions.is_empty(), "on purpose");
        let consumer = Consumer::start(
            settings,
            Machine::new(options()),
            inbox,
            deliveries,
            Arc::new(publisher),
            Box::new(|_| {}),
            Box::new(publish),
            sleep,
        );
        let consumer = consumer.expect("a consumer");
        let (ended, end) = channel();
        std::thread::spawn(move || {
            let run = std::thread::spawn(move || consumer.run());
            ended.send(run.join().is_err())
        });
        assert_eq!(end.recv_timeout(Duration::from_secs(60)), Ok(true), "it panicked, and its thread ended");
    }
}
