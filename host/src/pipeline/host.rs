//! The running host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::deploys::{Deployer, Deploys, Line, Opened};
use super::load::Loader;
use super::{StartError, options};
use crate::config;
use crate::inbox::Inbox;
use crate::kafka::consumer::{CurrentOrigin, Settings, Sleep};
use crate::kafka::publisher::{Origin, Publisher};
use crate::kafka::{self, Consumer, Deliveries, Event};
use crate::machine::{Machine, Stopped};
use crate::telemetry::{Allowance, PipelineEntry, Registry};
use crate::work::Work;
use crate::worker::{Callee, Code, Generation, Generations, Keeping, Load, Sampler, Tally, Workers};

/// What the thread that waits for the host is told.
#[derive(Debug)]
pub enum HostEvent {
    /// SIGTERM or SIGINT.
    Signal,
    /// A pipeline is over.
    Ended(Ended),
}

/// A pipeline that is over.
#[derive(Debug)]
pub struct Ended {
    /// Its name.
    pub pipeline: String,
    /// Why it could not go on; none: it was asked to stop.
    pub failure: Option<String>,
}

/// Running pipelines on shared workers.
///
/// Dropping it stops everything: consumers drain, commit and leave, then the workers end.
#[derive(Debug)]
pub struct Host {
    // In the order in which they have to end.
    deployer: Option<Deployer>,
    lines: Vec<Line>,
    pipelines: Vec<Running>,
    workers: Arc<Workers>,
    registry: Arc<Registry>,
    events: Sender<HostEvent>,
    received: Receiver<HostEvent>,
}

#[derive(Debug)]
struct Running {
    name: String,
    inbox: Arc<Inbox<Event>>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    /// A host with `workers` workers and no pipeline.
    ///
    /// # Errors
    /// If the system gives no threads.
    pub fn start(workers: usize, registry: Arc<Registry>) -> Result<Host, StartError> {
        let (events, received) = channel();
        let workers = Arc::new(Workers::start(workers).map_err(StartError::Thread)?);
        Ok(Host {
            deployer: None,
            lines: Vec::new(),
            pipelines: Vec::new(),
            workers,
            registry,
            events,
            received,
        })
    }

    /// A sender for events of others, such as signals.
    pub fn events(&self) -> Sender<HostEvent> {
        self.events.clone()
    }

    /// Starts one pipeline.
    ///
    /// # Errors
    /// If the Kafka client refuses its configuration, or there are no threads.
    pub fn add(
        &mut self,
        pipeline: &config::Pipeline,
        host: &config::Host,
        opened: Opened,
    ) -> Result<(), StartError> {
        let handler = &opened.handler;
        let refused = |reason: kafka::Error| StartError::Kafka { pipeline: pipeline.name.clone(), reason };
        let digest = handler.code.version();
        let room = self.workers.room(&pipeline.name);
        let entry = Arc::new(PipelineEntry::new(
            pipeline.name.clone(),
            pipeline.group.clone(),
            options::ordering_name(pipeline.ordering),
            pipeline.input.clone(),
            Allowance {
                limits: pipeline.limits.clone(),
                allow: pipeline.allow.clone(),
                max_instances: pipeline.max_instances,
                settings: handler.settings.clone(),
                room: room.clone(),
            },
        ));
        let module = entry.deployed(&handler.name, &digest);
        let origin = Arc::new(Origin {
            group: pipeline.group.clone(),
            handler: handler.name.clone(),
            module_digest: digest,
        });
        let sleep = Sleep::default();
        let inbox = Arc::new(Inbox::new(sleep.wake()));
        let deliveries = Deliveries::new(sleep.wake());
        let properties: BTreeMap<String, String> =
            pipeline.kafka.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let publisher = Publisher::start(
            &properties,
            &pipeline.outputs,
            pipeline.on_failure.dead_letter_topic.as_deref(),
            deliveries.clone(),
        );
        let publisher = Arc::new(publisher.map_err(refused)?);
        let workers = self.workers.count();
        let id = self.pipelines.len();
        let first = Generation {
            number: 1,
            code: handler.code.clone(),
            settings: handler.settings.clone(),
            executions: module.executions.clone(),
            origin,
            keeping: Arc::new(Keeping {
                id: (id, 1),
                most: options::warm(pipeline, workers),
                idle: pipeline.limits.idle,
                room,
                retired: AtomicBool::new(false),
            }),
            tally: Tally::default(),
        };
        let callee = Arc::new(Callee {
            weight: pipeline.weight,
            id,
            handler: Generations::new(first),
            policy: options::policy(&pipeline.on_failure),
            publisher: publisher.clone(),
            inbox: inbox.clone(),
            load: Load::new(workers),
            sample: Sampler::default(),
        });
        if matches!(handler.code, Code::Module(_)) {
            self.lines.push(Line::new(pipeline, opened, &callee, &entry));
        }
        let settings = Settings {
            properties,
            input: pipeline.input.clone(),
            group: pipeline.group.clone(),
            start: options::start(pipeline.start),
            on_offset_lost: options::on_offset_lost(pipeline.on_offset_lost),
            origin: CurrentOrigin::new({
                let callee = callee.clone();
                move || callee.handler.current().origin.clone()
            }),
        };
        let machine =
            Machine::new(options::machine(pipeline, workers, host.drain_timeout, fastrand::u64(..)));
        let pool = self.workers.clone();
        let dispatch = Box::new(move |work: Work| pool.submit(work, callee.clone()));
        let shown = entry.clone();
        let publish = Box::new(move |snapshot| shown.publish(snapshot));
        let consumer = Consumer::start(
            settings,
            machine,
            inbox.clone(),
            deliveries,
            publisher,
            dispatch,
            publish,
            sleep,
        )
        .map_err(refused)?;
        let thread = self.spawn(&pipeline.name, consumer, entry.clone())?;
        self.registry.add(entry);
        self.pipelines.push(Running { name: pipeline.name.clone(), inbox, thread: Some(thread) });
        Ok(())
    }

    /// From now on modules can take each other's place: those of files that change, and those that somebody sends.
    ///
    /// # Errors
    /// If there are no threads.
    pub fn deploys(&mut self, loader: Loader) -> Result<Deploys, StartError> {
        let lines = std::mem::take(&mut self.lines);
        let deployer = Deployer::start(loader, lines, &self.workers)?;
        let handle = deployer.handle().clone();
        self.deployer = Some(deployer);
        Ok(handle)
    }

    fn spawn(
        &self,
        name: &str,
        consumer: Consumer,
        entry: Arc<PipelineEntry>,
    ) -> Result<JoinHandle<()>, StartError> {
        let (events, name) = (self.events.clone(), name.to_owned());
        std::thread::Builder::new()
            .name(format!("consumer-{name}"))
            .spawn(move || {
                let over =
                    Over { events, entry, name, failure: Some("its consumer thread panicked".to_owned()) };
                let Stopped { failure } = consumer.run();
                over.tell(failure);
            })
            .map_err(StartError::Thread)
    }

    /// The next event; none will come after the last pipeline ended and all senders are gone.
    pub fn next_event(&self) -> Option<HostEvent> {
        self.received.recv().ok()
    }

    /// The next event, if one comes within `timeout`.
    pub fn next_event_within(&self, timeout: Duration) -> Option<HostEvent> {
        self.received.recv_timeout(timeout).ok()
    }

    /// Asks all pipelines to stop; a second time, to skip the drain.
    pub fn stop(&self) {
        self.deployer.iter().for_each(Deployer::stop);
        for pipeline in &self.pipelines {
            pipeline.inbox.push(Event::Stop);
        }
    }

    /// Number of pipelines.
    pub fn pipelines(&self) -> usize {
        self.pipelines.len()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.deployer.take());
        self.stop();
        for pipeline in &mut self.pipelines {
            if let Some(thread) = pipeline.thread.take()
                && thread.join().is_err()
            {
                tracing::error!(pipeline = pipeline.name, "its consumer thread panicked");
            }
        }
    }
}

/// Tells that a pipeline is over, also when its thread panics.
struct Over {
    events: Sender<HostEvent>,
    entry: Arc<PipelineEntry>,
    name: String,
    failure: Option<String>,
}

impl Over {
    fn tell(mut self, failure: Option<String>) {
        self.failure = failure;
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        let failure = self.failure.take();
        self.entry.ended(failure.clone());
        // Nobody listens any more only while the process ends.
        let _ = self.events.send(HostEvent::Ended(Ended { pipeline: self.name.clone(), failure }));
    }
}
