//! Before anything is consumed: do broker, topics and permissions exist?
//!
//! Asked once at the start and by `sandmill check`. What can change later (a topic deleted, a permission
//! taken) is met again where it happens.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::context::{Context, code, is_denial};
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
    /// The broker says what its topics take. The embedded one has no answer to that, and would be waited for in vain.
    pub tells_limits: bool,
}

/// How long a broker may take to answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long one try of a question may take.
const TRY: Duration = Duration::from_secs(1);

/// What was found besides that nothing is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Bytes of the largest batch that every topic takes that is written to (`max.message.bytes`, the smallest);
    /// `None`: the broker does not tell us.
    pub largest_batch: Option<u64>,
}

/// Checks all of it.
///
/// # Errors
/// The first thing that is missing.
pub fn check(needs: &Needs<'_>) -> Result<Found, Error> {
    let config = properties::consumer(needs.properties, needs.group);
    config.create_native_config().map_err(|error| Error::Properties(error.to_string()))?;
    properties::producer(needs.properties)
        .create_native_config()
        .map_err(|error| Error::Properties(error.to_string()))?;
    let consumer: BaseConsumer<Context> =
        config.create_with_context(Context::default()).map_err(|error| Error::Client(error.to_string()))?;
    consumer.context().close();
    let all =
        consumer.fetch_metadata(None, TIMEOUT).map_err(|error| unreachable(&consumer, needs, &error))?;
    let known: Vec<&str> = all.topics().iter().map(rdkafka::metadata::MetadataTopic::name).collect();
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
    group(&consumer, needs)?;
    Ok(Found { largest_batch: needs.tells_limits.then(|| largest_batch(needs)).flatten() })
}

/// The smallest limit of the topics that are written to. The broker holds it against whole batches: one that is too
/// large is refused with everything in it, whichever record made it so.
fn largest_batch(needs: &Needs<'_>) -> Option<u64> {
    let topics: Vec<_> = needs
        .outputs
        .iter()
        .map(String::as_str)
        .chain(needs.dead_letters)
        .map(ResourceSpecifier::Topic)
        .collect();
    if topics.is_empty() {
        return None;
    }
    let admin: AdminClient<DefaultClientContext> = properties::producer(needs.properties).create().ok()?;
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let runtime = tokio::runtime::Builder::new_current_thread().build().ok()?;
    let described = runtime.block_on(admin.describe_configs(&topics, &options));
    let described = described.inspect_err(|error| tracing::debug!(%error, "limits of topics are not known"));
    let limits = described.ok()?.into_iter().flatten();
    limits.filter_map(|topic| topic.get("max.message.bytes")?.value.as_ref()?.parse().ok()).min()
}

/// May the group be read? Passing trouble of its coordinator is the consumer's to wait out.
fn group(consumer: &BaseConsumer<Context>, needs: &Needs<'_>) -> Result<(), Error> {
    let first = (needs.input[0].as_str(), 0);
    let denied = |code: Code| Error::NotPermitted {
        what: format!("group {:?} on topic {:?}", needs.group, first.0),
        reason: code.to_string(),
    };
    let until = Instant::now() + TIMEOUT;
    while Instant::now() < until {
        match sandmill_kafka_ffi::committed(consumer.client(), &[first], TRY) {
            Ok(parts) => {
                let refused = parts.iter().find_map(|part| part.error).filter(|code| is_denial(*code));
                return refused.map_or(Ok(()), |code| Err(denied(code)));
            }
            Err(sandmill_kafka_ffi::Error::Refused { code, .. }) if is_denial(code) => {
                return Err(denied(code));
            }
            // A coordinator that says no is asked again by the client, which tells only its callback.
            Err(_) => {
                let told = match consumer.poll(Duration::ZERO) {
                    Some(Err(error)) => Some(code(&error)).filter(|code| is_denial(*code)),
                    _ => None,
                };
                if let Some(code) = told.or_else(|| consumer.context().denied()) {
                    return Err(denied(code));
                }
            }
        }
    }
    Ok(())
}

/// A topic is not in the broker's list: it does not exist, or we may not see it.
fn missing(consumer: &BaseConsumer<Context>, role: &'static str, topic: &str) -> Error {
    let found = consumer.fetch_metadata(Some(topic), TIMEOUT);
    let error = found
        .ok()
        .and_then(|metadata| metadata.topics().first().and_then(rdkafka::metadata::MetadataTopic::error));
    match error.map(Code::from) {
        Some(code @ Code::TopicAuthorizationFailed) => {
            Error::NotPermitted { what: format!("{role} topic {topic:?}"), reason: code.to_string() }
        }
        _ => Error::TopicMissing { role, topic: topic.to_owned() },
    }
}

/// No answer: because nobody is there, or because we are not let in, which the client tells only its callback.
fn unreachable(consumer: &BaseConsumer<Context>, needs: &Needs<'_>, error: &KafkaError) -> Error {
    let mut told = vec![error.clone()];
    let until = Instant::now() + TRY;
    while Instant::now() < until {
        if let Some(Err(error)) = consumer.poll(Duration::from_millis(50)) {
            told.push(error);
        }
        let told = told.iter().map(code).chain(consumer.context().denied());
        if let Some(code) = told.into_iter().find(|code| is_denial(*code)) {
            return Error::NotPermitted {
                what: "the cluster".to_owned(),
                reason: format!("{code:?}: {code}"),
            };
        }
    }
    Error::Unreachable {
        brokers: needs.properties.get("bootstrap.servers").cloned().unwrap_or_default(),
        seconds: TIMEOUT.as_secs(),
        reason: error.to_string(),
    }
}
