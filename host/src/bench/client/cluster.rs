//! The brokers as whoever measures needs them: topics made and removed, ends, commits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::types::RDKafkaErrorCode;
use sandmill_kafka_ffi::Isolation;

use crate::bench::Error;
use crate::kafka::properties;

/// For one answer of the broker.
pub(super) const REQUEST: Duration = Duration::from_secs(20);
/// For all partitions of a new topic to have a leader.
const LEADERS: Duration = Duration::from_secs(30);
/// How often they are looked for.
const LOOK: Duration = Duration::from_millis(20);

/// A connection for look-ups. Cheap to make, none of it is on any clock.
pub struct Cluster {
    properties: BTreeMap<String, String>,
    client: BaseConsumer,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("brokers", &self.properties.get(BROKERS)).finish_non_exhaustive()
    }
}

const BROKERS: &str = "bootstrap.servers";
/// Where brokers keep commits.
pub(super) const COMMITS: &str = "__consumer_offsets";

impl Cluster {
    /// A client of these brokers, with what else is needed to get in.
    ///
    /// # Errors
    /// If the client refuses a property. A broker that is away shows at the first request.
    pub fn connect(brokers: &str, properties: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut properties = properties.clone();
        properties.insert(BROKERS.to_owned(), brokers.to_owned());
        let client = config(&properties, "sandmill-bench").create().map_err(failed("set up a client"))?;
        Ok(Self { properties, client })
    }

    /// Settings of a consumer of these brokers, as the host has them by default.
    pub(super) fn consumer_config(&self, group: &str) -> ClientConfig {
        config(&self.properties, group)
    }

    /// Settings of a producer of these brokers, as the host has them by default: idempotent, murmur2.
    pub(super) fn producer_config(&self) -> ClientConfig {
        properties::producer(&self.properties)
    }

    /// Where the brokers that are there listen: what the first one says.
    ///
    /// # Errors
    /// If no broker answers.
    pub fn brokers(&self) -> Result<Vec<String>, Error> {
        let metadata = self.everything()?;
        Ok(metadata.brokers().iter().map(|broker| format!("{}:{}", broker.host(), broker.port())).collect())
    }

    /// Whether there is a topic of this name that we may see. Asking for it by name would create it on brokers
    /// that do so.
    ///
    /// # Errors
    /// If no broker answers.
    pub fn has_topic(&self, name: &str) -> Result<bool, Error> {
        Ok(self.everything()?.topics().iter().any(|topic| topic.name() == name))
    }

    fn everything(&self) -> Result<Metadata, Error> {
        let brokers = self.properties.get(BROKERS).map_or("", String::as_str);
        let action = format!("reach a broker at {brokers}");
        self.client.fetch_metadata(None, REQUEST).map_err(failed(&action))
    }

    /// Creates a topic, uncompressed and with the producers' times, and waits until each of its partitions has
    /// a leader. `copies` of `None`: as many as the broker makes by default.
    ///
    /// # Errors
    /// If the broker refuses it.
    pub fn create_topic(&self, name: &str, partitions: i32, copies: Option<i32>) -> Result<(), Error> {
        let action = format!("create topic {name:?}");
        // -1 is the broker's default.
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(copies.unwrap_or(-1)))
            .set("compression.type", "uncompressed")
            .set("message.timestamp.type", "CreateTime");
        let options = AdminOptions::new().operation_timeout(Some(REQUEST));
        let admin = self.admin()?;
        let results = block_on(admin.create_topics([&topic], &options))?.map_err(failed(&action))?;
        for result in results {
            result.map_err(|(_, code)| refused(&action, code))?;
        }
        self.await_leaders(name, partitions)
    }

    /// A new topic has leaders a moment later, and these know of it another moment later.
    #[expect(
        clippy::disallowed_methods,
        reason = "between two looks: a broker does not tell when it is ready"
    )]
    fn await_leaders(&self, name: &str, partitions: i32) -> Result<(), Error> {
        let until = Instant::now() + LEADERS;
        loop {
            let problem = match self.watermarks(name) {
                Ok(marks) if marks.len() == usize::try_from(partitions).unwrap_or(0) => return Ok(()),
                Ok(marks) => format!("{} of {partitions} partitions are there", marks.len()),
                Err(error) => error.to_string(),
            };
            if Instant::now() > until {
                let problem = format!("it is not ready {LEADERS:?} after it was created: {problem}");
                return Err(Error::Topic { topic: name.to_owned(), problem });
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Deletes a topic. It is gone a moment later.
    ///
    /// # Errors
    /// If the broker refuses it.
    pub fn delete_topic(&self, name: &str) -> Result<(), Error> {
        let action = format!("delete topic {name:?}");
        let options = AdminOptions::new().operation_timeout(Some(REQUEST));
        let admin = self.admin()?;
        let results = block_on(admin.delete_topics(&[name], &options))?.map_err(failed(&action))?;
        results.into_iter().try_for_each(|result| match result {
            Err((_, code)) => Err(refused(&action, code)),
            Ok(_) => Ok(()),
        })
    }

    /// Makes the broker forget what a group committed, once that has no members any more. Does nothing on a
    /// broker that keeps commits in no topic: that is an embedded one, which does not know the request, and
    /// over that this version of the client aborts the process.
    ///
    /// # Errors
    /// If the broker refuses it: the group has members, or never committed anything.
    pub fn delete_group(&self, group: &str) -> Result<(), Error> {
        if !self.has_topic(COMMITS)? {
            return Ok(());
        }
        let action = format!("delete group {group:?}");
        let options = AdminOptions::new().request_timeout(Some(REQUEST));
        let admin = self.admin()?;
        let results = block_on(admin.delete_groups(&[group], &options))?.map_err(failed(&action))?;
        results.into_iter().try_for_each(|result| match result {
            Err((_, code)) => Err(refused(&action, code)),
            Ok(_) => Ok(()),
        })
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, Error> {
        self.producer_config().create().map_err(failed("set up an admin client"))
    }

    /// How many partitions a topic has.
    ///
    /// # Errors
    /// If it does not exist, or no broker answers.
    pub fn partitions(&self, topic: &str) -> Result<i32, Error> {
        let action = format!("look up topic {topic:?}");
        let metadata = self.client.fetch_metadata(Some(topic), REQUEST).map_err(failed(&action))?;
        let found = metadata.topics().first();
        if let Some(code) = found.and_then(MetadataTopic::error) {
            return Err(refused(&action, RDKafkaErrorCode::from(code)));
        }
        let count = found.map_or(0, |topic| topic.partitions().len());
        i32::try_from(count)
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| refused(&action, RDKafkaErrorCode::UnknownTopicOrPartition))
    }

    /// The first offset and the end of each partition of a topic, as the broker says now.
    ///
    /// # Errors
    /// As [`Cluster::partitions`].
    pub fn watermarks(&self, topic: &str) -> Result<BTreeMap<i32, (i64, i64)>, Error> {
        let action = format!("look up the ends of topic {topic:?}");
        let names: Vec<(&str, i32)> = (0..self.partitions(topic)?).map(|part| (topic, part)).collect();
        let client = self.client.client();
        let starts = sandmill_kafka_ffi::start_offsets(client, &names, REQUEST).map_err(failed(&action))?;
        let ends = sandmill_kafka_ffi::end_offsets(client, &names, Isolation::ReadUncommitted, REQUEST)
            .map_err(failed(&action))?;
        names
            .iter()
            .zip(starts.into_iter().zip(ends))
            .map(|((_, partition), (start, end))| {
                let code = |code| refused(&action, code);
                Ok((*partition, (start.map_err(code)?, end.map_err(code)?)))
            })
            .collect()
    }

    /// The end of each partition.
    ///
    /// # Errors
    /// As [`Cluster::partitions`].
    pub fn ends(&self, topic: &str) -> Result<BTreeMap<i32, i64>, Error> {
        Ok(self.watermarks(topic)?.into_iter().map(|(partition, (_, end))| (partition, end)).collect())
    }

    /// What a group has committed for each partition of a topic; partitions without a commit are missing.
    ///
    /// # Errors
    /// If no coordinator answers, or the group may not be read.
    pub fn committed(&self, group: &str, topic: &str) -> Result<BTreeMap<i32, i64>, Error> {
        let action = format!("read the commits of group {group:?}");
        let names: Vec<(&str, i32)> = (0..self.partitions(topic)?).map(|part| (topic, part)).collect();
        let client: BaseConsumer = self.consumer_config(group).create().map_err(failed(&action))?;
        let answers =
            sandmill_kafka_ffi::committed(client.client(), &names, REQUEST).map_err(failed(&action))?;
        let mut committed = BTreeMap::new();
        for answer in answers {
            if let Some(code) = answer.error {
                return Err(refused(&action, code));
            }
            committed.extend(answer.offset.map(|offset| (answer.partition, offset)));
        }
        Ok(committed)
    }
}

fn config(properties: &BTreeMap<String, String>, group: &str) -> ClientConfig {
    properties::consumer(properties, group)
}

/// Turns what a client says into an error that says what was wanted of it.
pub(super) fn failed<E: std::fmt::Display>(action: &str) -> impl Fn(E) -> Error {
    move |reason| Error::Kafka { action: action.to_owned(), reason: reason.to_string() }
}

fn refused(action: &str, code: RDKafkaErrorCode) -> Error {
    failed(action)(code)
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Error> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().build().map_err(failed("wait for a broker"))?;
    Ok(runtime.block_on(future))
}
