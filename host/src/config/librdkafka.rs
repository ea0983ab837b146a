//! What is known about librdkafka's properties: their names, and which of them belong to the host.
//!
//! Names are those of librdkafka 2.12 (its `CONFIGURATION.md`), the version that the host is built with, without
//! the ones that only code can set. A name too few here would refuse a good property, so whoever raises the
//! version of the client brings the lists up to date.

/// Properties that would break a promise of the host if a user set them, with what to do instead. Aliases are
/// brought to these names first.
pub const RESERVED: [(&str, &str); 16] = [
    ("group.id", "use `group` in [[pipeline]]"),
    ("enable.auto.commit", "the host commits what is complete and nothing else; remove it"),
    ("auto.commit.interval.ms", "use `commit_interval` in [[pipeline]]"),
    ("enable.auto.offset.store", "the host commits what is complete and nothing else; remove it"),
    ("offset.store.method", "offsets are kept in Kafka, where every host of the group finds them; remove it"),
    ("offset.store.path", "offsets are kept in Kafka, where every host of the group finds them; remove it"),
    (
        "offset.store.sync.interval.ms",
        "offsets are kept in Kafka, where every host of the group finds them; remove it",
    ),
    (
        "auto.offset.reset",
        "use `start` (nothing was committed yet) and `on_offset_lost` (it no longer exists) in [[pipeline]]",
    ),
    ("enable.partition.eof", "with it this version of the client skips records after a pause; remove it"),
    ("acks", "an input is complete only when all replicas have its outputs; remove it"),
    ("enable.idempotence", "without it a retry could repeat or reorder outputs; remove it"),
    ("transactional.id", "it must be one for each host and stay the same after a restart; remove it"),
    ("message.timeout.ms", "an output that gave up would leave its input undone for ever; remove it"),
    ("retries", "an output that gave up would leave its input undone for ever; remove it"),
    ("queuing.strategy", "outputs are sent in the order of their inputs; remove it"),
    ("delivery.report.only.error", "an input is complete when its outputs are reported; remove it"),
];

/// Why properties that begin with `test.mock.` are refused.
pub(super) const MOCK: &str = "use `--embedded-broker`";

/// Why `property`, by its canonical name, must not be set.
pub(super) fn reserved(property: &str) -> Option<&'static str> {
    if property.starts_with("test.mock.") {
        return Some(MOCK);
    }
    RESERVED.iter().find(|(name, _)| *name == property).map(|(_, reason)| *reason)
}

/// Other names of a property, and the one that this host uses: the name that Java clients know it by, where
/// there is one.
pub(super) const ALIASES: [(&str, &str); 12] = [
    ("auto.commit.enable", "enable.auto.commit"),
    ("compression.codec", "compression.type"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("fetch.message.max.bytes", "max.partition.fetch.bytes"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("message.send.max.retries", "retries"),
    ("metadata.broker.list", "bootstrap.servers"),
    ("queue.buffering.max.ms", "linger.ms"),
    ("request.required.acks", "acks"),
    ("sasl.mechanisms", "sasl.mechanism"),
    ("sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"),
    ("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"),
];

/// The one name of a property: without the prefix `topic.` that librdkafka ignores, and no alias.
pub(super) fn canonical(property: &str) -> &str {
    let known = |name: &str| {
        GLOBAL.contains(&name) || TOPIC.contains(&name) || ALIASES.iter().any(|(alias, _)| *alias == name)
    };
    let name = match property.strip_prefix("topic.") {
        Some(rest) if !known(property) && known(rest) => rest,
        _ => property,
    };
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| name)
}

/// All names that a client property may be written with. Public for the test that holds them against the client.
pub fn names() -> impl Iterator<Item = &'static str> {
    GLOBAL.into_iter().chain(TOPIC).chain(ALIASES.into_iter().map(|(alias, _)| alias))
}

/// Whether the value of a property is a password or the like and must not be shown.
pub(super) fn is_secret(property: &str) -> bool {
    let name = canonical(property).to_ascii_lowercase();
    ["password", "passphrase", "secret"].iter().any(|word| name.contains(word))
        || name.ends_with("key.pem")
        || name == "sasl.oauthbearer.config"
}

/// Properties of a client.
#[rustfmt::skip]
const GLOBAL: [&str; 138] = [
    "client.id", "bootstrap.servers", "message.max.bytes", "message.copy.max.bytes",
    "receive.message.max.bytes", "max.in.flight.requests.per.connection", "metadata.recovery.strategy",
    "metadata.recovery.rebootstrap.trigger.ms", "topic.metadata.refresh.interval.ms", "metadata.max.age.ms",
    "topic.metadata.refresh.fast.interval.ms", "topic.metadata.refresh.fast.cnt",
    "topic.metadata.refresh.sparse", "topic.metadata.propagation.max.ms", "topic.blacklist", "debug",
    "socket.timeout.ms", "socket.blocking.max.ms", "socket.send.buffer.bytes", "socket.receive.buffer.bytes",
    "socket.keepalive.enable", "socket.nagle.disable", "socket.max.fails", "broker.address.ttl",
    "broker.address.family", "socket.connection.setup.timeout.ms", "connections.max.idle.ms",
    "reconnect.backoff.jitter.ms", "reconnect.backoff.ms", "reconnect.backoff.max.ms",
    "statistics.interval.ms", "log_level", "log.thread.name", "enable.random.seed", "log.connection.close",
    "internal.termination.signal", "api.version.request", "api.version.request.timeout.ms",
    "api.version.fallback.ms", "broker.version.fallback", "allow.auto.create.topics", "security.protocol",
    "ssl.cipher.suites", "ssl.curves.list", "ssl.sigalgs.list", "ssl.key.location", "ssl.key.password",
    "ssl.key.pem", "ssl.certificate.location", "ssl.certificate.pem", "ssl.ca.location", "https.ca.location",
    "https.ca.pem", "ssl.ca.pem", "ssl.ca.certificate.stores", "ssl.crl.location", "ssl.keystore.location",
    "ssl.keystore.password", "ssl.providers", "ssl.engine.location", "ssl.engine.id",
    "enable.ssl.certificate.verification", "ssl.endpoint.identification.algorithm", "sasl.mechanism",
    "sasl.kerberos.service.name", "sasl.kerberos.principal", "sasl.kerberos.kinit.cmd",
    "sasl.kerberos.keytab", "sasl.kerberos.min.time.before.relogin", "sasl.username", "sasl.password",
    "sasl.oauthbearer.config", "enable.sasl.oauthbearer.unsecure.jwt", "sasl.oauthbearer.method",
    "sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret", "sasl.oauthbearer.scope",
    "sasl.oauthbearer.extensions", "sasl.oauthbearer.token.endpoint.url", "sasl.oauthbearer.grant.type",
    "sasl.oauthbearer.assertion.algorithm", "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.private.key.passphrase", "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.assertion.file", "sasl.oauthbearer.assertion.claim.aud",
    "sasl.oauthbearer.assertion.claim.exp.seconds", "sasl.oauthbearer.assertion.claim.iss",
    "sasl.oauthbearer.assertion.claim.jti.include", "sasl.oauthbearer.assertion.claim.nbf.seconds",
    "sasl.oauthbearer.assertion.claim.sub", "sasl.oauthbearer.assertion.jwt.template.file",
    "sasl.oauthbearer.metadata.authentication.type", "plugin.library.paths", "group.id", "group.instance.id",
    "partition.assignment.strategy", "session.timeout.ms", "heartbeat.interval.ms", "group.protocol.type",
    "group.protocol", "group.remote.assignor", "coordinator.query.interval.ms", "max.poll.interval.ms",
    "enable.auto.commit", "auto.commit.interval.ms", "enable.auto.offset.store", "queued.min.messages",
    "queued.max.messages.kbytes", "fetch.wait.max.ms", "fetch.queue.backoff.ms", "max.partition.fetch.bytes",
    "fetch.max.bytes", "fetch.min.bytes", "fetch.error.backoff.ms", "offset.store.method", "isolation.level",
    "enable.partition.eof", "check.crcs", "client.rack", "transactional.id", "transaction.timeout.ms",
    "enable.idempotence", "enable.gapless.guarantee", "queue.buffering.max.messages",
    "queue.buffering.max.kbytes", "linger.ms", "retries", "retry.backoff.ms", "retry.backoff.max.ms",
    "queue.buffering.backpressure.threshold", "compression.type", "batch.num.messages", "batch.size",
    "delivery.report.only.error", "sticky.partitioning.linger.ms", "client.dns.lookup", "enable.metrics.push",
];

/// Properties of a topic: librdkafka takes them among those of the client.
#[rustfmt::skip]
const TOPIC: [&str; 11] = [
    "acks", "request.timeout.ms", "message.timeout.ms", "queuing.strategy", "produce.offset.report",
    "partitioner", "compression.level", "auto.offset.reset", "offset.store.path",
    "offset.store.sync.interval.ms", "consume.callback.max.messages",
];
