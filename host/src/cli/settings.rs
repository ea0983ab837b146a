//! Flags that describe what to run: shared by `run` and `check`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;

use super::Failure;
use crate::config::{Config, Listen, Ordering, Overrides, Source, Start};

/// What to run.
#[derive(Debug, Args)]
pub(super) struct Settings {
    /// The handler's module; describes one pipeline together with the flags below
    #[arg(value_name = "HANDLER.wasm", required_unless_present = "config", conflicts_with = "config")]
    handler: Option<PathBuf>,

    /// Configuration file with one or many pipelines
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Kafka brokers, as host:port with commas between
    #[arg(long, value_name = "HOST:PORT,…")]
    brokers: Option<String>,

    /// Topics to read
    #[arg(long, value_name = "TOPIC", value_delimiter = ',', conflicts_with = "config")]
    input: Vec<String>,

    /// Topics that the handler may write to, in the order in which it counts them
    #[arg(long, value_name = "TOPIC", value_delimiter = ',', conflicts_with = "config")]
    output: Vec<String>,

    /// Consumer group; without it `sandmill-` and the pipeline's name
    #[arg(long, conflicts_with = "config")]
    group: Option<String>,

    /// The pipeline's name; without it the handler's file name
    #[arg(long, conflicts_with = "config")]
    name: Option<String>,

    /// Which records wait for each other
    #[arg(long, conflicts_with = "config", value_parser = PossibleValuesParser::new(["key", "partition", "unordered"]).map(|text| ordering(&text)))]
    ordering: Option<Ordering>,

    /// Where to begin in partitions for which the group committed nothing
    #[arg(long, conflicts_with = "config", value_parser = PossibleValuesParser::new(["earliest", "latest"]).map(|text| start(&text)))]
    start: Option<Start>,

    /// Where records go that failed for good; without it the pipeline halts at the first
    #[arg(long, value_name = "TOPIC", conflicts_with = "config")]
    dead_letter_topic: Option<String>,

    /// Address of metrics, health and status, 127.0.0.1:9095 if nothing says otherwise; `off` opens no socket
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<Listen>,

    /// Any property of librdkafka, or a key of the configuration file with its path, such as host.workers=4,
    /// pipeline.limits.fuel=1000000; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,

    /// Use a broker inside this process, with the topics that the pipelines name; needs nothing else
    #[arg(long, conflicts_with = "brokers")]
    pub(super) embedded_broker: bool,
}

impl Settings {
    /// The configuration of file, environment and flags.
    pub(super) fn load(self) -> Result<Config, Failure> {
        let environment =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let overrides = Overrides {
            brokers: self.brokers,
            embedded_broker: self.embedded_broker,
            listen: self.listen,
            set: self.set,
            handler: self.handler,
            name: self.name,
            input: self.input,
            outputs: self.output,
            group: self.group,
            ordering: self.ordering,
            start: self.start,
            dead_letter_topic: self.dead_letter_topic,
        };
        let mut source = Source::new(environment).overrides(overrides);
        if let Some(file) = self.config {
            source = source.file(file);
        }
        Config::load(source).map_err(Failure::usage)
    }
}

/// Tables of the configuration file; every other first part of a key is a property of the client.
const TABLES: [&str; 5] = ["kafka", "host", "http", "modules", "pipeline"];

/// `KEY=VALUE` of a configuration, or of a client's property.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as KEY=VALUE")?;
    let first = key.split('.').next().unwrap_or_default();
    let key = if TABLES.contains(&first) { key.to_owned() } else { format!("kafka.{key}") };
    Ok((key, value.to_owned()))
}

pub(super) fn ordering(text: &str) -> Ordering {
    match text {
        "partition" => Ordering::Partition,
        "unordered" => Ordering::Unordered,
        _ => Ordering::Key,
    }
}

fn start(text: &str) -> Start {
    match text {
        "latest" => Start::Latest,
        _ => Start::Earliest,
    }
}
