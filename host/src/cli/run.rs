//! `sandmill run`: the main job.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Args;

use super::logging::{self, LogFormat};
use super::settings::Settings;
use super::{Failure, print};
use crate::config::Role;
use crate::config::{self, Config, Http, Pipeline};
use crate::http::{self, Admin, Certificates, Server, Tokens};
use crate::kafka::EmbeddedBroker;
use crate::kafka::preflight::{self, Found, Needs};
use crate::pipeline::{
    Deploys, Ended, HandlerSource, Host, HostEvent, Loader, MemoryBound, StartError, forward_signals, workers,
};
use crate::telemetry::Registry;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    settings: Settings,

    /// How log lines look
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,
}

/// Version of the Wasm engine, as locked when the host was built.
const WASMTIME: &str = env!("SANDMILL_WASMTIME");
/// Partitions of the topics that an embedded broker gets.
const EMBEDDED_PARTITIONS: i32 = 8;
/// Bytes of outputs that the client sends together at most.
const BATCH_SIZE: &str = "batch.size";
/// The client's default for it.
const LARGEST_BATCH: u64 = 1_000_000;

impl Run {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let embedded = self.settings.embedded_broker;
        let mut config = self.settings.load()?;
        logging::start(self.log_format, "info");
        let broker = embedded.then(|| embedded_broker(&mut config)).transpose()?;
        let started = Started::start(&config, None, broker.as_ref())?;
        // Its tokens and passwords are where they are needed.
        drop(config);
        if let Some(broker) = &broker {
            print(format_args!("embedded broker at {}", broker.bootstrap_servers()));
        }
        started.wait()
    }
}

/// Starts a broker in this process, creates the topics, and points the configuration at it.
pub(super) fn embedded_broker(config: &mut Config) -> Result<EmbeddedBroker, Failure> {
    let broker = EmbeddedBroker::start().map_err(Failure::start)?;
    let mut topics: Vec<&String> = Vec::new();
    for pipeline in &config.pipelines {
        topics.extend(
            pipeline.input.iter().chain(&pipeline.outputs).chain(&pipeline.on_failure.dead_letter_topic),
        );
    }
    topics.sort_unstable();
    topics.dedup();
    for topic in topics {
        broker.create_topic(topic, EMBEDDED_PARTITIONS).map_err(Failure::start)?;
    }
    config.set_brokers(&broker.bootstrap_servers());
    Ok(broker)
}

/// A host with all its pipelines.
pub(super) struct Started {
    // In the order in which they have to end.
    host: Host,
    pub(super) server: Option<Server>,
    pub(super) registry: Arc<Registry>,
    pub(super) deploys: Deploys,
}

impl Started {
    /// Starts everything, in the order in which it is cheapest to find out that it cannot be. `handler` takes
    /// the place of every pipeline's file, `embedded` that of all brokers.
    pub(super) fn start(
        config: &Config,
        handler: Option<&HandlerSource>,
        embedded: Option<&EmbeddedBroker>,
    ) -> Result<Started, Failure> {
        let stop = Stop::listen()?;
        let registry = Arc::new(Registry::default());
        let admin = config.http.as_ref().map(|http| admin(http, &config.host)).transpose()?.flatten();
        let server = config.http.as_ref().map(|http| {
            let tls = http.tls.as_ref().map(|(certificate, key)| Certificates::load(certificate, key));
            let tls = tls.transpose().map_err(Failure::start)?;
            Server::start(http.listen, registry.clone(), WASMTIME, admin.clone(), tls).map_err(Failure::start)
        });
        let server = server.transpose()?;
        if let Some(server) = &server {
            tracing::info!("listening on {}", server.url());
        }
        let sources: Vec<HandlerSource> = config
            .pipelines
            .iter()
            .map(|pipeline| handler.cloned().unwrap_or_else(|| HandlerSource::File(pipeline.handler.clone())))
            .collect();
        let mut loader = Loader::new(config);
        let mut handlers = Vec::new();
        for (pipeline, source) in config.pipelines.iter().zip(&sources) {
            handlers.push(loader.open(source, pipeline).map_err(Failure::start)?);
        }
        let found = preflight(config, embedded).map_err(Failure::start)?;
        tracing::info!("memory: {}", MemoryBound::of(config));
        let workers = workers(&config.host);
        registry.set_host(config.host.clone(), loader.memory().clone());
        let mut host = Host::start(workers, registry.clone()).map_err(Failure::start)?;
        stop.tell(&host);
        let pipelines = config.pipelines.iter().zip(found).map(|(pipeline, found)| within(pipeline, found));
        for (pipeline, opened) in pipelines.zip(handlers) {
            tracing::info!(
                pipeline = pipeline.name,
                group = pipeline.group,
                input = pipeline.input.join(","),
                outputs = pipeline.outputs.join(","),
                digest = opened.handler.code.short_version(),
                start = ?pipeline.start,
                workers,
                "starting"
            );
            host.add(&pipeline, &config.host, opened).map_err(Failure::start)?;
        }
        let deploys = host.deploys(loader).map_err(Failure::start)?;
        if let Some(admin) = admin {
            admin.serve(deploys.clone());
        }
        Ok(Started { host, server, registry, deploys })
    }

    /// Waits until all pipelines are over.
    pub(super) fn wait(self) -> Result<(), Failure> {
        let mut failures = Vec::new();
        let mut running = self.host.pipelines();
        while running > 0
            && let Some(event) = self.host.next_event()
        {
            match event {
                HostEvent::Signal => self.host.stop(),
                HostEvent::Ended(Ended { pipeline, failure }) => {
                    running -= 1;
                    match failure {
                        Some(failure) => {
                            tracing::error!(pipeline, failure, "the pipeline failed");
                            failures.push(format!("pipeline {pipeline:?} failed: {failure}"));
                        }
                        None => tracing::info!(pipeline, "stopped; everything that finished is committed"),
                    }
                }
            }
        }
        drop(self);
        if failures.is_empty() { Ok(()) } else { Err(Failure::pipeline(failures.join("\n"))) }
    }

    /// Waits for a signal, at most so long; true if one came.
    pub(super) fn interrupted(&self, timeout: Duration) -> bool {
        matches!(self.host.next_event_within(timeout), Some(HostEvent::Signal))
    }

    /// The next event, if one comes within `timeout`.
    pub(super) fn next_event_within(&self, timeout: Duration) -> Option<HostEvent> {
        self.host.next_event_within(timeout)
    }

    /// Asks all pipelines to stop.
    pub(super) fn stop(&self) {
        self.host.stop();
    }
}

/// The file of the host's own token, without another word.
pub(super) const TOKEN: &str = "token";

/// Where the host's own token lies; none: only those of the configuration count.
pub(super) fn token_file(http: &Http, host: &config::Host) -> Option<PathBuf> {
    let default = http.listen.ip().is_loopback().then(|| host.data_dir.join(TOKEN));
    http.token_file.clone().or(default)
}

/// Who may deploy; none: nobody.
fn admin(http: &Http, host: &config::Host) -> Result<Option<Arc<Admin>>, Failure> {
    if !http.admin {
        return Ok(None);
    }
    let mut tokens: Vec<_> =
        http.tokens.iter().map(|(name, role, token)| (name.clone(), *role, token.0.clone())).collect();
    if let Some(path) = token_file(http, host) {
        if let Some(folder) = path.parent() {
            let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|error| {
                Failure::start(format!("cannot make the folder {}: {error}", folder.display()))
            })?;
        }
        let token = http::read_or_make(&path).map_err(Failure::start)?;
        tokens.push(("host".to_owned(), Role::Admin, token));
    }
    let tokens = Tokens::new(tokens).map_err(Failure::usage)?;
    let most = usize::try_from(host.module_size.bytes()).unwrap_or(usize::MAX);
    Ok(Some(Arc::new(Admin::new(tokens, http.reads, most))))
}

/// Signals, from before the first thing is started.
struct Stop(Arc<OnceLock<Sender<HostEvent>>>);

impl Stop {
    /// Until there is a host, a signal ends the process with code 0: nothing is there that could be given back,
    /// and what a start waits for (a broker that does not answer) is not waited for any longer.
    fn listen() -> Result<Stop, Failure> {
        let host = Arc::new(OnceLock::<Sender<HostEvent>>::new());
        let told = host.clone();
        forward_signals(move || match told.get() {
            Some(events) => events.send(HostEvent::Signal).is_ok(),
            None => {
                tracing::info!("stopped before anything was consumed");
                #[expect(clippy::disallowed_methods, reason = "the main thread may wait in a client's call")]
                std::process::exit(0)
            }
        })
        .map_err(|error| Failure::start(StartError::Thread(error)))?;
        Ok(Stop(host))
    }

    /// From now on signals go to the host.
    fn tell(&self, host: &Host) {
        // A second host in one process would be an error of ours; the first has the signals then.
        let _ = self.0.set(host.events());
    }
}

/// Asks the broker for everything that the pipelines need, and what it found for each.
pub(super) fn preflight(
    config: &Config,
    embedded: Option<&EmbeddedBroker>,
) -> Result<Vec<Found>, StartError> {
    let found = config.pipelines.iter().map(|pipeline| {
        let properties =
            pipeline.kafka.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let needs = Needs {
            properties: &properties,
            group: &pipeline.group,
            input: &pipeline.input,
            outputs: &pipeline.outputs,
            dead_letters: pipeline.on_failure.dead_letter_topic.as_deref(),
            tells_limits: embedded.is_none(),
        };
        preflight::check(&needs)
            .map_err(|reason| StartError::Kafka { pipeline: pipeline.name.clone(), reason })
    });
    found.collect()
}

/// The pipeline with batches of outputs that its topics take, unless the user decided how large they are.
fn within(pipeline: &Pipeline, found: Found) -> Pipeline {
    let mut pipeline = pipeline.clone();
    if let Some(largest) = found.largest_batch.filter(|largest| *largest < LARGEST_BATCH)
        && pipeline.kafka.get(BATCH_SIZE).is_none()
    {
        pipeline.kafka.set(BATCH_SIZE, largest.to_string());
    }
    pipeline
}
