//! Client properties: which are refused, what is never shown, where secrets come from.

use std::fs;

use crate::config::librdkafka::{ALIASES, canonical, is_secret, names};
use crate::config::{ClientProperties, Config, RESERVED};

use super::{errors, file, load, source};

/// A file whose `[kafka]` holds one more line, the third.
fn with(property: &str) -> String {
    file("").replace("[[pipeline]]", &format!("{property}\n[[pipeline]]"))
}

#[test]
fn every_reserved_property_is_refused_with_what_to_do_instead() {
    for (name, reason) in RESERVED {
        assert_eq!(
            errors(&with(&format!("{name:?} = \"hunter2\"")), &[]),
            format!(":3:1: {name:?} in [kafka] belongs to the host: {reason}")
        );
        assert_eq!(
            errors(&file(&format!("[pipeline.kafka]\n{name:?} = true")), &[]),
            format!(":8:1: {name:?} in [pipeline.kafka] of \"access-log\" belongs to the host: {reason}")
        );
        assert_eq!(canonical(name), name, "the table holds the names that aliases are brought to");
    }
}

#[test]
fn reserved_properties_do_not_slip_in_under_other_names() {
    for (written, name) in [
        ("request.required.acks", "acks"),
        ("topic.acks", "acks"),
        ("topic.request.required.acks", "acks"),
        ("topic.auto.offset.reset", "auto.offset.reset"),
        ("auto.commit.enable", "enable.auto.commit"),
        ("topic.enable.auto.commit", "enable.auto.commit"),
        ("delivery.timeout.ms", "message.timeout.ms"),
        ("message.send.max.retries", "retries"),
    ] {
        let (_, reason) = RESERVED.iter().find(|(reserved, _)| *reserved == name).unwrap();
        assert_eq!(
            errors(&with(&format!("{written:?} = \"1\"")), &[]),
            format!(":3:1: {written:?} in [kafka] belongs to the host: {reason}")
        );
    }
    assert_eq!(
        errors(&with("\"test.mock.num.brokers\" = 1"), &[]),
        ":3:1: \"test.mock.num.brokers\" in [kafka] belongs to the host: use `--embedded-broker`"
    );
}

#[test]
fn every_alias_leads_to_a_property_that_librdkafka_has() {
    for (alias, name) in ALIASES {
        assert_eq!(canonical(alias), name);
        assert!(names().any(|known| known == name), "{name}");
    }
    assert_eq!(canonical("topic.blacklist"), "topic.blacklist");
    assert_eq!(canonical("topic.partitioner"), "partitioner");
}

#[test]
fn other_properties_pass_through_as_text() {
    let config = load(
        &with(
            "\"isolation.level\" = \"read_committed\"\n\"fetch.min.bytes\" = 1_000\n\"socket.keepalive.enable\" = true\n\
             \"topic.compression.level\" = -1",
        ),
        &[],
    );
    let properties: Vec<_> = config.kafka.iter().collect();
    assert_eq!(
        properties,
        [
            ("bootstrap.servers", "broker:9092"),
            ("compression.level", "-1"),
            ("fetch.min.bytes", "1000"),
            ("isolation.level", "read_committed"),
            ("partitioner", "murmur2_random"),
            ("socket.keepalive.enable", "true"),
        ]
    );
}

#[test]
fn the_partitioner_is_ours_unless_it_is_set() {
    assert_eq!(load(&file(""), &[]).pipelines[0].kafka.get("partitioner"), Some("murmur2_random"));
    let own = load(&file("[pipeline.kafka]\npartitioner = \"random\""), &[]);
    assert_eq!(own.pipelines[0].kafka.get("partitioner"), Some("random"));
    assert_eq!(own.kafka.get("partitioner"), Some("murmur2_random"));
}

#[test]
fn a_pipelines_properties_stand_over_the_global_ones() {
    let config =
        load(&file("[pipeline.kafka]\n\"metadata.broker.list\" = \"own:1\"\n\"client.id\" = \"x\""), &[]);
    assert_eq!(config.kafka.get("bootstrap.servers"), Some("broker:9092"));
    assert_eq!(config.kafka.get("client.id"), None);
    assert_eq!(config.pipelines[0].kafka.get("bootstrap.servers"), Some("own:1"));
    assert_eq!(config.pipelines[0].kafka.get("client.id"), Some("x"));
}

#[test]
fn mistaken_properties_are_told_without_their_values() {
    for (line, column, message) in [
        (
            "\"fetch.min.byts\" = \"hunter2\"",
            1,
            "unknown client property \"fetch.min.byts\" in [kafka]; did you mean \"fetch.min.bytes\"?",
        ),
        (
            "\"frobnicate\" = \"hunter2\"",
            1,
            "unknown client property \"frobnicate\" in [kafka]; librdkafka's CONFIGURATION.md lists them",
        ),
        (
            "sasl.password = \"hunter2\"",
            1,
            "unknown client property \"sasl\" in [kafka]; put the whole name in quotes: \"sasl.password\"",
        ),
        (
            "sasl.password = { env = \"hunter2\" }",
            1,
            "unknown client property \"sasl\" in [kafka]; put the whole name in quotes: \"sasl.password\"",
        ),
        (
            "\"sasl.password\" = 1.5",
            19,
            "\"sasl.password\" in [kafka]: expected text, a whole number, true or false, { file = \"path\" } or { env = \
             \"NAME\" }",
        ),
        (
            "\"sasl.password\" = { fiel = \"hunter2\" }",
            1,
            "\"sasl.password\" in [kafka]: a table here is { file = \"path\" } or { env = \"NAME\" }",
        ),
        (
            "\"sasl.password\" = { file = \"a\", env = \"b\" }",
            1,
            "\"sasl.password\" in [kafka]: a table here is { file = \"path\" } or { env = \"NAME\" }",
        ),
        (
            "\"sasl.password\" = { env = \"NOWHERE\" }",
            1,
            "\"sasl.password\" in [kafka]: the environment variable \"NOWHERE\" is not set",
        ),
        (
            "\"sasl.password\" = { file = \"nowhere\" }",
            1,
            "\"sasl.password\" in [kafka]: cannot read \"conf/nowhere\": No such file or directory (os error 2)",
        ),
        (
            // A mistake is one line, whatever a path has in it.
            "\"sasl.password\" = { file = \"no\\nwhere\" }",
            1,
            "\"sasl.password\" in [kafka]: cannot read \"conf/no\\nwhere\": No such file or directory (os error 2)",
        ),
        (
            "\"metadata.broker.list\" = \"x\"",
            1,
            "\"metadata.broker.list\" in [kafka]: the same property as \"bootstrap.servers\" at :2:1; keep one of them",
        ),
    ] {
        assert_eq!(errors(&with(line), &[]), format!(":3:{column}: {message}"));
    }
    assert_eq!(errors("kafka = 5", &[]), ":1:9: \"kafka\" in the file's top level: expected a table");
}

#[test]
fn secrets_come_from_files_beside_the_configuration_and_from_variables() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("password"), "hunter2\r\n").unwrap();
    fs::write(folder.path().join("key"), "zwei\nlines\n\n").unwrap();
    fs::write(folder.path().join("empty"), "\n").unwrap();
    let path = folder.path().join("sandmill.toml");
    let write = |name: &str| {
        let secrets = format!(
            "\"sasl.password\" = {{ file = {name:?} }}\n\"ssl.key.pem\" = {{ file = \"key\" }}\n\"client.id\" = {{ env = \
             \"SANDMILL_OWN\" }}"
        );
        fs::write(&path, with(&secrets)).unwrap();
        // Referring to a variable makes it ours: it is not taken for a mistyped one.
        Config::load(source("", &[("SANDMILL_OWN", "hunter3")]).file(&path))
    };
    let config = write("password").unwrap();
    assert_eq!(config.kafka.get("sasl.password"), Some("hunter2"));
    assert_eq!(config.kafka.get("ssl.key.pem"), Some("zwei\nlines\n"));
    assert_eq!(config.kafka.get("client.id"), Some("hunter3"));
    let shown = format!("{config} {config:?} {}", config.kafka);
    assert!(!shown.contains("hunter") && !shown.contains("zwei"), "{shown}");

    let empty = folder.path().join("empty");
    assert_eq!(
        write("empty").unwrap_err().to_string(),
        format!("{}:3:1: \"sasl.password\" in [kafka]: {empty:?} is empty", path.display())
    );
}

#[test]
fn nothing_that_prints_shows_a_secret() {
    let secret = [
        "sasl.password",
        "ssl.key.password",
        "ssl.key.pem",
        "ssl.keystore.password",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.client.credentials.client.secret",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.private.key.pem",
    ];
    for name in names() {
        assert_eq!(is_secret(name), secret.contains(&name), "{name}");
    }
    for name in secret {
        for (text, variable) in [
            (with(&format!("{name:?} = \"hunter2\"")), None),
            (file(&format!("[pipeline.kafka]\n{name:?} = \"hunter2\"")), None),
            (file(""), Some(format!("SANDMILL_KAFKA_{}", name.replace('.', "_").to_uppercase()))),
        ] {
            let variables: Vec<_> = variable.iter().map(|variable| (variable.as_str(), "hunter2")).collect();
            let config = load(&text, &variables);
            assert_eq!(config.pipelines[0].kafka.get(name), Some("hunter2"));
            let json = serde_json::to_string(&config.pipelines[0]).unwrap();
            let shown = format!("{config} {config:?} {config:#?} {} {json}", config.pipelines[0].kafka);
            assert!(!shown.contains("hunter2"), "{name}: {shown}");
            assert!(shown.contains("<redacted>"), "{name}: {shown}");
        }
    }
}

#[test]
fn properties_display_on_one_line() {
    let mut properties = ClientProperties::default();
    assert!(properties.is_empty());
    properties.set("metadata.broker.list", "a:1");
    properties.set("sasl.password", "hunter2");
    properties.set("client.id", "x");
    properties.remove("client.id");
    assert_eq!(properties.to_string(), "bootstrap.servers=a:1, sasl.password=<redacted>");
    assert_eq!(
        format!("{properties:?}"),
        "{\"bootstrap.servers\": \"a:1\", \"sasl.password\": \"<redacted>\"}"
    );
}
