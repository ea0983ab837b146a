//! What a measurement needs and leaves behind no longer than it must: a broker, a topic, outputs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::time::SystemTime;

use indicatif::{ProgressBar, ProgressStyle};

use super::{Bench, Failure, failure, tell};
use crate::bench::{Cluster, Content, Error, Fill, Keys, Topic, Work};
use crate::cli::contender::environment;
use crate::config::{Config, Overrides, Source};
use crate::kafka::EmbeddedBroker;
use crate::time::unix_us;

/// Records where nothing else is said.
const RECORDS: u64 = 1_000_000;
/// The same in an embedded broker, which keeps 5 MiB a partition.
const EMBEDDED_RECORDS: u64 = 20_000;

/// Everything that all runs share. Dropped, it removes the topic that it made.
pub(super) struct Prepared {
    pub brokers: String,
    pub properties: BTreeMap<String, String>,
    pub topic: Topic,
    cluster: Cluster,
    embedded: Option<EmbeddedBroker>,
    /// The topic is ours to remove.
    remove: bool,
}

impl Prepared {
    /// Reaches the brokers and fills or surveys the topic.
    pub(super) fn new(bench: &Bench, work: Work, interrupt: &AtomicBool) -> Result<Self, Failure> {
        let config = config(bench)?;
        let named = config.kafka.get("bootstrap.servers").map(str::to_owned);
        let embedded = match &named {
            Some(_) => None,
            None => Some(EmbeddedBroker::start().map_err(Failure::start)?),
        };
        let brokers = match (named, &embedded) {
            (Some(named), _) => named,
            (None, broker) => broker.as_ref().map(EmbeddedBroker::bootstrap_servers).unwrap_or_default(),
        };
        if embedded.is_some() {
            tell("no --brokers: a broker inside this process is used, and the figures mean little");
        }
        let properties =
            config.kafka.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let cluster = Cluster::connect(&brokers, &properties).map_err(Failure::start)?;
        cluster.brokers().map_err(Failure::start)?;
        let mut prepared =
            Self { brokers, properties, topic: Topic::default(), cluster, embedded, remove: false };
        prepared.topic = match &bench.topic {
            Some(name) => prepared.survey(name, work)?,
            None => prepared.fill(bench, work, interrupt)?,
        };
        Ok(prepared)
    }

    /// Looks through a topic that is there.
    fn survey(&self, name: &str, work: Work) -> Result<Topic, Failure> {
        self.cluster.partitions(name).map_err(Failure::start)?;
        tell(format_args!("reading topic {name:?} once, to know what stands in it"));
        self.cluster.survey(name, work == Work::Parse).map_err(Failure::pipeline)
    }

    /// Makes a topic.
    fn fill(&mut self, bench: &Bench, work: Work, interrupt: &AtomicBool) -> Result<Topic, Failure> {
        let usual = if self.embedded.is_some() { EMBEDDED_RECORDS } else { RECORDS };
        let keys = bench.keys as usize;
        let keys = if bench.uniform { Keys::Uniform(keys) } else { Keys::Zipf(keys) };
        let fill = Fill {
            name: fresh_name("sandmill-bench"),
            partitions: bench.partitions,
            copies: bench.copies,
            records: bench.records.unwrap_or(usual),
            content: if work == Work::Parse {
                Content::AccessLog
            } else {
                Content::Random { value_bytes: bench.size, keys }
            },
            parsed: work == Work::Parse,
        };
        self.create(&fill.name, fill.partitions, fill.copies).map_err(Failure::start)?;
        self.remove = !bench.keep;
        // From here on it goes when this goes.
        self.topic.name.clone_from(&fill.name);
        tell(format_args!("filling topic {:?}", fill.name));
        let bar = progress_bar(fill.records);
        let told = |records| {
            bar.set_position(records);
            !interrupt.load(Relaxed)
        };
        let topic = self.cluster.fill_existing(&fill, told);
        bar.finish_and_clear();
        topic.map_err(failure)
    }

    fn create(&self, name: &str, partitions: i32, copies: Option<i32>) -> Result<(), Error> {
        match &self.embedded {
            None => self.cluster.create_topic(name, partitions, copies),
            Some(broker) => broker.create_topic(name, partitions).map_err(|error| Error::Kafka {
                action: format!("create topic {name:?}"),
                reason: error.to_string(),
            }),
        }
    }

    /// Where the outputs of one run go: a topic of the user's, or a new one that is removed with what this
    /// gives; none for a run that writes nothing.
    pub(super) fn output(&self, bench: &Bench, reads_only: bool) -> Result<Option<Output<'_>>, Error> {
        let Some(name) = bench.output.as_deref().filter(|_| !reads_only) else { return Ok(None) };
        if !name.is_empty() {
            self.cluster.partitions(name)?;
            return Ok(Some(Output { prepared: self, name: name.to_owned(), remove: false }));
        }
        let name = fresh_name("sandmill-bench-output");
        self.create(&name, self.topic.partitions, bench.copies)?;
        Ok(Some(Output { prepared: self, name, remove: true }))
    }

    /// Whether the topic still ends where it did.
    pub(super) fn check_unchanged(&self) -> Result<(), Error> {
        let ends = self.cluster.watermarks(&self.topic.name)?;
        let grown = ends.iter().any(|(partition, (_, end))| self.topic.ends.get(partition) < Some(end));
        if !grown {
            return Ok(());
        }
        let problem = "it grew meanwhile: stop whoever writes to it, or leave --topic away".to_owned();
        Err(Error::Topic { topic: self.topic.name.clone(), problem })
    }

    pub(super) fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    fn remove(&self, name: &str) {
        if self.embedded.is_none()
            && let Err(error) = self.cluster.delete_topic(name)
        {
            tell(format_args!("{error}; please delete it by hand"));
        }
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if self.remove {
            self.remove(&self.topic.name);
        }
    }
}

/// A topic for the outputs of one run.
pub(super) struct Output<'p> {
    prepared: &'p Prepared,
    name: String,
    remove: bool,
}

impl Output<'_> {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if self.remove {
            self.prepared.remove(&self.name);
        }
    }
}

/// A name that no other topic has.
fn fresh_name(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (now, process) = (unix_us(SystemTime::now()) / 1_000, std::process::id());
    format!("{prefix}-{now}-{process}-{}", NEXT.fetch_add(1, Relaxed))
}

/// The client's properties, checked, and what `--set` says with them.
fn config(bench: &Bench) -> Result<Config, Failure> {
    let environment = environment();
    let brokers = bench.brokers.is_some() || environment.contains_key("SANDMILL_KAFKA_BOOTSTRAP_SERVERS");
    let properties = bench.properties.iter().map(|(name, value)| (format!("kafka.{name}"), value.clone()));
    let overrides = Overrides {
        brokers: bench.brokers.clone(),
        embedded_broker: !brokers,
        handler: Some("bench.wasm".into()),
        input: vec![bench.topic.clone().unwrap_or_else(|| "sandmill-bench".to_owned())],
        set: properties.chain(bench.set.iter().cloned()).collect(),
        ..Overrides::default()
    };
    Config::load(Source::new(environment).overrides(overrides)).map_err(Failure::usage)
}

fn progress_bar(records: u64) -> ProgressBar {
    let style = "{bar:40.green/dim} {percent:>3} %  {human_pos} of {human_len} records  {per_sec}";
    let style = ProgressStyle::with_template(style).expect("the template is right").progress_chars("██░");
    ProgressBar::new(records).with_style(style)
}
