//! Before anything is consumed: do broker, topics and permissions exist?
//!
//! Asked once at the start and by `sandmill check`. What can change later (a topic deleted, a permission
//! taken) is met again where it happens.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::context::Context;
use super::delivery::code;
use super::{Error, properties};

/// What a pipeline needs of the broker.
#[derive(Clone, Debug)]
pub struct Needs<'a> {
    /// Client properties of the user.
    pub properties: &'a BTreeMap<String, String>,
    /// Consumer group.
    pub group: &'a str,
    /// Topics it reads.
    pub input: &'a [String],
    /// Topics it writes.
    pub outputs: &'a [String],
    /// Where failed records go.
    pub dead_letters: Option<&'a str>,
}

/// How long a broker may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Checks all of it.
///
/// # Errors
/// The first thing that is missing.
pub fn check(needs: &Needs<'_>) -> Result<(), Error> {
    let config = properties::consumer(needs.properties, needs.group);
    config.create_native_config().map_err(|error| Error::Properties(error.to_string()))?;
    properties::producer(needs.properties)
        .create_native_config()
        .map_err(|error| Error::Properties(error.to_string()))?;
    let consumer: BaseConsumer<Context> =
        config.create_with_context(Context::default()).map_err(|error| Error::Client(error.to_string()))?;
    consumer.context().close();
    let all = consumer.fetch_metadata(None, TIMEOUT).map_err(|error| unreachable(needs, &error))?;
    let known: Vec<&str> = all.topics().iter().map(|topic| topic.name()).collect();
    let roles = needs
        .input
        .iter()
        .map(|topic| ("input", topic.as_str()))
        .chain(needs.outputs.iter().map(|topic| ("output", topic.as_str())))
        .chain(needs.dead_letters.map(|topic| ("dead-letter", topic)));
    for (role, topic) in roles {
        if !known.contains(&topic) {
            return Err(missing(&consumer, role, topic));
        }
    }
    let first = (needs.input[0].as_str(), 0);
    match sandmill_kafka_ffi::committed(consumer.client(), &[first], TIMEOUT) {
        Err(sandmill_kafka_ffi::Error::Refused { code: Code::GroupAuthorizationFailed, .. }) => {
            Err(Error::NotPermitted {
                what: format!("group {:?}", needs.group),
                reason: Code::GroupAuthorizationFailed.to_string(),
            })
        }
        Ok(parts) => match parts.iter().find_map(|part| part.error) {
            Some(code @ (Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed)) => Err(Error::NotPermitted {
                what: format!("group {:?} on topic {:?}", needs.group, first.0),
                reason: code.to_string(),
            }),
            _ => Ok(()),
        },
        // Passing trouble of the coordinator is the consumer's to wait out.
        Err(_) => Ok(()),
    }
}

/// A topic is not in the broker's list: it does not exist, or we may not see it.
fn missing(consumer: &BaseConsumer<Context>, role: &'static str, topic: &str) -> Error {
    let found = consumer.fetch_metadata(Some(topic), TIMEOUT);
    let error = found.ok().and_then(|metadata| metadata.topics().first().and_then(|topic| topic.error()));
    match error.map(Code::from) {
        Some(code @ Code::TopicAuthorizationFailed) => {
            Error::NotPermitted { what: format!("{role} topic {topic:?}"), reason: code.to_string() }
        }
        _ => Error::TopicMissing { role, topic: topic.to_owned() },
    }
}

fn unreachable(needs: &Needs<'_>, error: &KafkaError) -> Error {
    match code(error) {
        Code::Authentication | Code::SaslAuthenticationFailed | Code::ClusterAuthorizationFailed => {
            Error::NotPermitted { what: "the cluster".to_owned(), reason: error.to_string() }
        }
        _ => Error::Unreachable {
            brokers: needs.properties.get("bootstrap.servers").cloned().unwrap_or_default(),
            seconds: TIMEOUT.as_secs(),
            reason: error.to_string(),
        },
    }
}
