//! The client's configuration: the user's properties over our defaults, under what we force.
//!
//! One set of properties serves consumer and producer; each gets what is its own, since the client warns
//! about every property of the other kind.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;

/// Defaults of ours that a user may override: consumer.
const CONSUMER_DEFAULTS: &[(&str, &str)] = &[
    // The client's default of one second stalls it that long whenever its queue fills: measured, 8 times
    // slower.
    ("fetch.queue.backoff.ms", "10"),
    ("queued.max.messages.kbytes", "65536"),
    ("queued.min.messages", "100000"),
    // An empty fetch waits this long at the broker; it bounds nothing else.
    ("fetch.wait.max.ms", "100"),
    ("allow.auto.create.topics", "false"),
];
/// With the classic group protocol only: the new one refuses it.
const CLASSIC_DEFAULTS: &[(&str, &str)] = &[("partition.assignment.strategy", "cooperative-sticky")];
/// What delivery rests on: consumer.
const CONSUMER_FORCED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    // The client's own default, `latest`, loses records without a word.
    ("auto.offset.reset", "error"),
    // With them this version of the client skips a record after a pause at the end of a partition.
    ("enable.partition.eof", "false"),
];
/// Defaults of ours that a user may override: producer.
const PRODUCER_DEFAULTS: &[(&str, &str)] = &[
    // The partitions that Java clients choose.
    ("partitioner", "murmur2_random"),
    // While more are coming only: see `haste`.
    ("linger.ms", "20"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
    ("message.max.bytes", "8388608"),
];
/// What delivery rests on: producer. Outputs wait for a broker that is away as long as it takes.
const PRODUCER_FORCED: &[(&str, &str)] =
    &[("enable.idempotence", "true"), ("acks", "all"), ("message.timeout.ms", "0")];

/// The client's default for `session.timeout.ms`, and the broker's for `group.consumer.session.timeout.ms`.
const SESSION_TIMEOUT: Duration = Duration::from_secs(45);

/// Properties that only a consumer has.
const CONSUMER_ONLY: &[&str] = &[
    "group.",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "coordinator.query",
    "max.poll.interval.ms",
    "queued.",
    "fetch.",
    "isolation.level",
    "check.crcs",
    "client.rack",
    "allow.auto.create.topics",
    "max.partition.fetch.bytes",
    "consume.callback",
    "offset.store",
    "enable.partition.eof",
    "auto.commit",
    "auto.offset",
    "enable.auto",
];
/// Properties that only a producer has.
const PRODUCER_ONLY: &[&str] = &[
    "partitioner",
    "linger.ms",
    "queue.buffering",
    "compression",
    "batch.",
    "sticky.",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "request.timeout.ms",
    "retries",
    "message.send.max.retries",
    "retry.backoff",
    "enable.gapless",
    "transaction",
    "delivery.report",
    "dr_cb",
    "acks",
    "request.required.acks",
    "enable.idempotence",
];

/// What the clients of a pipeline may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientMemory {
    /// Fetched and not taken yet, in bytes.
    pub fetched: u64,
    /// The same in records.
    pub fetched_records: u64,
    /// One fetch, which may come on top.
    pub one_fetch: u64,
    /// Outputs that wait for the broker, in bytes.
    pub outputs: u64,
    /// The same in records.
    pub outputs_records: u64,
}

/// Configuration of a pipeline's consumer.
pub fn consumer(user: &BTreeMap<String, String>, group: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    set(&mut config, CONSUMER_DEFAULTS);
    if user.get("group.protocol").is_none_or(|protocol| !protocol.eq_ignore_ascii_case("consumer")) {
        set(&mut config, CLASSIC_DEFAULTS);
    }
    overlay(&mut config, user, PRODUCER_ONLY);
    set(&mut config, CONSUMER_FORCED);
    config.set("group.id", group);
    named(&mut config, user);
    config
}

/// Configuration of a pipeline's producer.
pub fn producer(user: &BTreeMap<String, String>) -> ClientConfig {
    let mut config = ClientConfig::new();
    set(&mut config, PRODUCER_DEFAULTS);
    overlay(&mut config, user, CONSUMER_ONLY);
    set(&mut config, PRODUCER_FORCED);
    named(&mut config, user);
    config
}

/// After how long without a sign of life the group gives a member's partitions to others. With the group protocol
/// of Kafka 4 the broker decides; its default is the client's.
pub fn session_timeout(user: &BTreeMap<String, String>) -> Duration {
    let millis = user.get("session.timeout.ms").and_then(|text| text.parse().ok());
    millis.map_or(SESSION_TIMEOUT, Duration::from_millis)
}

/// What the clients may hold, as they are configured.
pub fn memory(user: &BTreeMap<String, String>) -> ClientMemory {
    // A configuration that the client refuses is told when it is used; here it counts as the default.
    let number = |config: ClientConfig, key, factor: u64| {
        let text = config.create_native_config().and_then(|native| native.get(key)).unwrap_or_default();
        text.parse::<u64>().unwrap_or_default().saturating_mul(factor)
    };
    let (consumer, producer) = (|| consumer(user, "memory"), || producer(user));
    ClientMemory {
        fetched: number(consumer(), "queued.max.messages.kbytes", 1024),
        fetched_records: number(consumer(), "queued.min.messages", 1),
        one_fetch: number(consumer(), "fetch.max.bytes", 1),
        outputs: number(producer(), "queue.buffering.max.kbytes", 1024),
        outputs_records: number(producer(), "queue.buffering.max.messages", 1),
    }
}

/// True unless the user decided how long outputs linger.
pub fn lingers_by_default(user: &BTreeMap<String, String>) -> bool {
    !user.contains_key("linger.ms")
}

fn set(config: &mut ClientConfig, properties: &[(&str, &str)]) {
    for (key, value) in properties {
        config.set(*key, *value);
    }
}

fn overlay(config: &mut ClientConfig, user: &BTreeMap<String, String>, foreign: &[&str]) {
    for (key, value) in user {
        if !foreign.iter().any(|prefix| key.starts_with(prefix)) {
            config.set(key, value);
        }
    }
}

/// What an operator sees in the broker's logs and quotas.
fn named(config: &mut ClientConfig, user: &BTreeMap<String, String>) {
    if !user.contains_key("client.id") {
        config.set("client.id", "sandmill");
    }
    // Lines of the client go through its log callback, filtered by the host's own filter.
    if !user.contains_key("log_level") {
        config.set("log_level", "4");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_user_overrides_defaults_but_not_what_delivery_rests_on() {
        let user = user(&[
            ("linger.ms", "50"),
            ("fetch.wait.max.ms", "7"),
            ("acks", "0"),
            ("auto.offset.reset", "latest"),
        ]);
        let consumer = consumer(&user, "g");
        assert_eq!(consumer.get("fetch.wait.max.ms"), Some("7"));
        assert_eq!(consumer.get("auto.offset.reset"), Some("error"));
        assert_eq!(consumer.get("linger.ms"), None, "a producer's property");
        assert_eq!(consumer.get("group.id"), Some("g"));
        let producer = producer(&user);
        assert_eq!(producer.get("linger.ms"), Some("50"));
        assert_eq!(producer.get("acks"), Some("all"));
        assert_eq!(producer.get("fetch.wait.max.ms"), None, "a consumer's property");
    }

    #[test]
    fn a_user_who_says_how_long_outputs_linger_is_obeyed() {
        assert!(lingers_by_default(&user(&[("compression.type", "lz4")])));
        assert!(!lingers_by_default(&user(&[("linger.ms", "20")])));
    }

    #[test]
    fn the_session_timeout_is_the_users_or_the_clients_default() {
        assert_eq!(session_timeout(&user(&[("session.timeout.ms", "6000")])), Duration::from_secs(6));
        let native = consumer(&user(&[]), "g").create_native_config().expect("a configuration");
        let default = native.get("session.timeout.ms").expect("the client has one");
        assert_eq!(default, SESSION_TIMEOUT.as_millis().to_string());
        assert_eq!(session_timeout(&user(&[])), SESSION_TIMEOUT);
    }

    #[test]
    fn the_new_group_protocol_gets_no_assignment_strategy() {
        let strategy = |user| consumer(&user, "g").get("partition.assignment.strategy").map(str::to_owned);
        assert_eq!(strategy(user(&[])).as_deref(), Some("cooperative-sticky"));
        assert_eq!(strategy(user(&[("group.protocol", "consumer")])), None);
    }

    #[test]
    fn every_property_that_the_configuration_knows_is_one_of_the_clients() {
        for name in crate::config::client_property_names() {
            let result = ClientConfig::new().set(name, "1").create_native_config();
            let refused = result.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(!refused.contains("No such configuration property"), "{name}: {refused}");
        }
    }

    #[test]
    fn the_client_takes_all_our_defaults() {
        consumer(&user(&[("bootstrap.servers", "localhost:1")]), "g")
            .create_native_config()
            .expect("consumer");
        producer(&user(&[("bootstrap.servers", "localhost:1")])).create_native_config().expect("producer");
    }
}
