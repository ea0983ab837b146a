//! One pipeline with everything around it: topics and group of its own, a configuration file, a home.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::host::{Home, Host};
use crate::kafka::Kafka;
use crate::reader::Record;
use crate::unique;

/// How long a test's records may take to be done; far more than any needs.
pub const DONE: Duration = Duration::from_secs(120);

/// A pipeline to be. What is not set keeps the host's default.
pub struct Job<'a> {
    /// Where its topics are.
    pub kafka: &'a Kafka,
    /// Its name.
    pub name: String,
    /// The input topic.
    pub input: String,
    /// The output topic.
    pub output: String,
    /// The dead-letter topic; used only after [`Job::dead_letters`].
    pub dead: String,
    /// The consumer group.
    pub group: String,
    /// Home of the host that [`Job::start`] starts.
    pub home: Home,
    handler: String,
    keys: BTreeMap<String, String>,
    tables: BTreeMap<String, BTreeMap<String, String>>,
    kafka_properties: BTreeMap<String, String>,
    host: BTreeMap<String, String>,
}

impl<'a> Job<'a> {
    /// A pipeline of this handler with input, output and dead-letter topics of `partitions` partitions.
    ///
    /// # Panics
    /// When the broker refuses a topic.
    #[must_use]
    pub fn new(kafka: &'a Kafka, handler: &Path, partitions: i32) -> Self {
        Self::with_topics(kafka, handler, partitions, &[])
    }

    /// The same for a run that [`Ledger::judge`](crate::ledger::Ledger::judge) judges: outputs and dead letters
    /// carry the time at which the broker appended them, not that of their input.
    ///
    /// # Panics
    /// As [`Job::new`].
    #[must_use]
    pub fn judged(kafka: &'a Kafka, handler: &Path, partitions: i32) -> Self {
        Self::with_topics(kafka, handler, partitions, &[("message.timestamp.type", "LogAppendTime")])
    }

    fn with_topics(kafka: &'a Kafka, handler: &Path, partitions: i32, arrivals: &[(&str, &str)]) -> Self {
        let name = unique("job");
        let topic = |role: &str, configs: &[(&str, &str)]| {
            let topic = format!("{name}-{role}");
            kafka.create_topic(&topic, partitions, configs);
            topic
        };
        Self {
            kafka,
            input: topic("in", &[]),
            output: topic("out", arrivals),
            dead: topic("dead", arrivals),
            group: format!("{name}-group"),
            name,
            home: Home::new(),
            handler: quoted(&handler.display().to_string()),
            keys: BTreeMap::new(),
            tables: BTreeMap::new(),
            kafka_properties: BTreeMap::new(),
            host: BTreeMap::new(),
        }
    }

    /// Sets a key of the pipeline, its value as TOML has it.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.keys.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets a key of a table of the pipeline (`limits`, `batch`, `in_flight`, `on_failure`, `allow`), its
    /// value as TOML has it.
    #[must_use]
    pub fn set_in(mut self, table: &str, key: &str, value: &str) -> Self {
        self.tables.entry(table.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets a key of `[host]`, its value as TOML has it.
    #[must_use]
    pub fn set_host(mut self, key: &str, value: &str) -> Self {
        self.host.insert(key.to_owned(), value.to_owned());
        self
    }

    /// A setting that the handler reads.
    #[must_use]
    pub fn config(self, key: &str, value: &str) -> Self {
        self.set_in("config", key, &quoted(value))
    }

    /// A property of the Kafka clients; the cluster's address unless it is set.
    #[must_use]
    pub fn kafka(mut self, property: &str, value: &str) -> Self {
        self.kafka_properties.insert(property.to_owned(), value.to_owned());
        self
    }

    /// The properties that were set.
    pub(crate) fn client_properties(&self) -> &BTreeMap<String, String> {
        &self.kafka_properties
    }

    /// A record that still fails after `retries` quick retries goes to the dead-letter topic.
    #[must_use]
    pub fn dead_letters(self, retries: u32) -> Self {
        let topic = quoted(&self.dead);
        self.then("dead-letter", retries).set_in("on_failure", "dead_letter_topic", &topic)
    }

    /// What follows after `retries` quick retries: `skip` or `halt`.
    #[must_use]
    pub fn then(self, what: &str, retries: u32) -> Self {
        self.set_in("on_failure", "retries", &retries.to_string())
            .set_in("on_failure", "then", &quoted(what))
            .set_in("on_failure", "backoff", r#"{ first = "2ms", max = "20ms" }"#)
    }

    /// The `[[pipeline]]` part of the configuration file.
    #[must_use]
    pub fn pipeline(&self) -> String {
        let mut text = String::from("[[pipeline]]\n");
        let mut keys = BTreeMap::from([
            ("name".to_owned(), quoted(&self.name)),
            ("handler".to_owned(), self.handler.clone()),
            ("input".to_owned(), format!("[{}]", quoted(&self.input))),
            ("outputs".to_owned(), format!("[{}]", quoted(&self.output))),
            ("group".to_owned(), quoted(&self.group)),
        ]);
        keys.extend(self.keys.clone());
        write_keys(&mut text, &keys);
        for (table, keys) in &self.tables {
            let _ = writeln!(text, "[pipeline.{table}]");
            write_keys(&mut text, keys);
        }
        text
    }

    /// The configuration file around `pipelines`: brokers, properties, a port that the system chooses.
    #[must_use]
    pub fn file_of(&self, pipelines: &str) -> String {
        self.file_with(pipelines, &[])
    }

    /// The same with further client properties, which win.
    fn file_with(&self, pipelines: &str, further: &[(&str, &str)]) -> String {
        let mut properties = self.kafka_properties.clone();
        properties.entry("bootstrap.servers".to_owned()).or_insert_with(|| self.kafka.bootstrap());
        properties
            .extend(further.iter().map(|(property, value)| ((*property).to_owned(), (*value).to_owned())));
        let mut text = String::from("[kafka]\n");
        for (property, value) in &properties {
            let _ = writeln!(text, "{} = {}", quoted(property), quoted(value));
        }
        text.push_str("[host]\n");
        write_keys(&mut text, &self.host);
        let _ = write!(text, "[http]\nlisten = \"127.0.0.1:0\"\n{pipelines}");
        text
    }

    /// Starts a host with this pipeline in the job's home; also after another run of it has ended.
    #[must_use]
    pub fn start(&self) -> Host {
        self.start_in(&self.home)
    }

    /// Starts a host with this pipeline in a home of its own: a second member of the group.
    #[must_use]
    pub fn start_in(&self, home: &Home) -> Host {
        self.start_with(home, &[])
    }

    /// The same with client properties of its own.
    #[must_use]
    pub fn start_with(&self, home: &Home, properties: &[(&str, &str)]) -> Host {
        let file = home.file("sandmill.toml", self.file_with(&self.pipeline(), properties));
        home.spawn(&[Path::new("run"), Path::new("--config"), &file])
    }

    /// Whether everything that the input holds now is committed. Partitions that are empty need no commit.
    #[must_use]
    pub fn is_done(&self) -> bool {
        let committed = self.kafka.committed_offsets(&self.group, &self.input);
        self.kafka
            .watermarks(&self.input)
            .into_iter()
            .all(|(partition, (low, high))| low == high || committed.get(&partition) == Some(&high))
    }

    /// Waits until everything that the input holds is committed, and the host's metrics and status show it.
    ///
    /// # Panics
    /// When that takes longer than [`DONE`], or the host ends before.
    #[track_caller]
    pub fn await_done(&self, host: &mut Host) {
        host.wait_until("all of the input was committed", DONE, |_| self.is_done());
        host.await_snapshot(DONE);
    }

    /// What the output holds.
    #[must_use]
    pub fn outputs(&self) -> Vec<Record> {
        self.kafka.read_all(&self.output)
    }

    /// What the dead-letter topic holds.
    #[must_use]
    pub fn dead(&self) -> Vec<Record> {
        self.kafka.read_all(&self.dead)
    }
}

/// A text as TOML has it.
#[must_use]
pub fn quoted(text: &str) -> String {
    format!("{text:?}")
}

fn write_keys(text: &mut String, keys: &BTreeMap<String, String>) {
    for (key, value) in keys {
        let _ = writeln!(text, "{key} = {value}");
    }
}
