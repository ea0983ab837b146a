//! Which layer wins, how variables are named, what flags alone give.

use std::net::SocketAddr;
use std::path::Path;

use crate::config::{Config, Listen, Ordering, Overrides, Start, Then};

use super::{errors, failure, file, flags, load, source};

fn set(pairs: &[(&str, &str)]) -> Overrides {
    Overrides {
        set: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        ..Overrides::default()
    }
}

#[test]
fn flags_win_over_the_environment_which_wins_over_the_file_which_wins_over_defaults() {
    let fuel = |text: &str, variables: &[(&str, &str)], pairs: &[(&str, &str)]| {
        let source = source(text, variables).overrides(set(pairs));
        Config::load(source).unwrap().pipelines[0].limits.fuel
    };
    let variable = [("SANDMILL_PIPELINE_ACCESS_LOG_LIMITS_FUEL", "3_000")];
    let flag = [("pipeline.access-log.limits.fuel", "4000")];
    let written = file("limits.fuel = 2000");
    assert_eq!(fuel(&file(""), &[], &[]), 1_000_000_000);
    assert_eq!(fuel(&written, &[], &[]), 2_000);
    assert_eq!(fuel(&written, &variable, &[]), 3_000);
    assert_eq!(fuel(&file(""), &variable, &[]), 3_000);
    assert_eq!(fuel(&written, &variable, &flag), 4_000);
    assert_eq!(fuel(&written, &[], &flag), 4_000);
}

#[test]
fn an_alias_in_the_file_does_not_hide_a_variable_or_a_flag() {
    let text = file("").replace("bootstrap.servers", "metadata.broker.list");
    let brokers = |variables: &[(&str, &str)], overrides: Overrides| {
        let config = Config::load(source(&text, variables).overrides(overrides)).unwrap();
        assert_eq!(
            config.kafka.get("bootstrap.servers"),
            config.pipelines[0].kafka.get("metadata.broker.list")
        );
        config.kafka.get("bootstrap.servers").unwrap().to_owned()
    };
    let variable = [("SANDMILL_KAFKA_BOOTSTRAP_SERVERS", "environment:1")];
    let flag = || Overrides { brokers: Some("flag:1".to_owned()), ..Overrides::default() };
    assert_eq!(brokers(&[], Overrides::default()), "broker:9092");
    assert_eq!(brokers(&variable, Overrides::default()), "environment:1");
    assert_eq!(brokers(&variable, flag()), "flag:1");
    assert_eq!(
        brokers(&[("SANDMILL_KAFKA_METADATA_BROKER_LIST", "alias:1")], Overrides::default()),
        "alias:1"
    );
}

#[test]
fn every_kind_of_key_has_its_variable() {
    let config = load(
        &file("config = { \"max-age\" = \"1\" }\n[http]\nlisten = \"127.0.0.1:1\"\n[host]\nworkers = 1"),
        &[
            ("SANDMILL_HTTP_LISTEN", "off"),
            ("SANDMILL_HOST_DATA_DIR", "data"),
            ("SANDMILL_HOST_WORKERS", "3"),
            ("SANDMILL_HOST_GUEST_MEMORY", "1GiB"),
            ("SANDMILL_HOST_DRAIN_TIMEOUT", "1m 30s"),
            ("SANDMILL_KAFKA_CLIENT_ID", "mill"),
            ("SANDMILL_PIPELINE_ACCESS_LOG_INPUT", "a, b"),
            ("SANDMILL_PIPELINE_ACCESS_LOG_HANDLER", "other.wasm"),
            ("SANDMILL_PIPELINE_ACCESS_LOG_ORDERING", "partition"),
            ("SANDMILL_PIPELINE_ACCESS_LOG_ALLOW_LOG", "true"),
            ("SANDMILL_PIPELINE_ACCESS_LOG_ON_FAILURE_BACKOFF_FIRST", "7ms"),
            ("SANDMILL_PIPELINE_ACCESS_LOG_ON_FAILURE_RETRY_FOR", "1h"),
            ("SANDMILL_PIPELINE_ACCESS_LOG_ON_FAILURE_DEAD_LETTER_TOPIC", "dlq"),
            ("SANDMILL_PIPELINE_ACCESS_LOG_CONFIG_MAX_AGE", "2"),
            ("SANDMILL_PIPELINE_ACCESS_LOG_CONFIG_NEW_NAME", "3"),
            ("SANDMILL_PIPELINE_ACCESS_LOG_KAFKA_FETCH_MIN_BYTES", "9"),
            // Empty counts as not set.
            ("SANDMILL_PIPELINE_ACCESS_LOG_GROUP", ""),
            ("SANDMILL_LOG", "debug"),
            ("PATH", "/bin"),
        ],
    );
    let pipeline = &config.pipelines[0];
    assert_eq!(config.http, None);
    // From a variable: relative to the working directory, not to the file.
    assert_eq!(config.host.data_dir, Path::new("data"));
    assert_eq!(pipeline.handler, Path::new("other.wasm"));
    assert_eq!(config.host.workers.map(std::num::NonZero::get), Some(3));
    assert_eq!(config.host.guest_memory.bytes(), 1 << 30);
    assert_eq!(config.host.drain_timeout.as_secs(), 90);
    assert_eq!(config.kafka.get("client.id"), Some("mill"));
    assert_eq!(pipeline.input, ["a", "b"]);
    assert_eq!(pipeline.ordering, Ordering::Partition);
    assert!(pipeline.allow.log && pipeline.allow.config);
    assert_eq!(pipeline.on_failure.backoff.first.as_millis(), 7);
    assert_eq!(pipeline.on_failure.retry_for.map(|time| time.as_secs()), Some(3600));
    assert_eq!(pipeline.on_failure.then, Then::DeadLetter);
    let settings: Vec<_> =
        pipeline.config.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(settings, [("max-age", "2"), ("new_name", "3")]);
    assert_eq!(pipeline.kafka.get("fetch.min.bytes"), Some("9"));
    assert_eq!(config.kafka.get("fetch.min.bytes"), None);
    assert_eq!(pipeline.group, "sandmill-access-log");
}

#[test]
fn every_key_of_the_schema_can_be_set_by_its_variable() {
    // A value that no key takes: the error must name the key, so the variable was understood.
    for key in crate::config::schema::keys().iter().filter(|key| !key.open && key.path != ["name"]) {
        let name = key.path.join("_").to_uppercase();
        let variable = if key.in_pipeline {
            format!("SANDMILL_PIPELINE_ACCESS_LOG_{name}")
        } else {
            format!("SANDMILL_{name}")
        };
        let known = match Config::load(source(&file(""), &[(&variable, " ")])) {
            Ok(_) => true,
            Err(errors) => !errors.to_string().contains("no key of the configuration"),
        };
        assert!(known, "{variable}");
    }
}

#[test]
fn a_variable_that_means_nothing_is_told_with_the_nearest_name() {
    let unknown = |variable: &str, hint: &str| {
        assert_eq!(
            errors(&file(""), &[(variable, "1")]),
            format!("environment variable {variable}: no key of the configuration has this name; {hint}")
        );
    };
    unknown("SANDMILL_HTTP_LISTNE", "did you mean SANDMILL_HTTP_LISTEN?");
    unknown("SANDMILL_KAFKA_BOOTSTRAP_SERVER", "did you mean SANDMILL_KAFKA_BOOTSTRAP_SERVERS?");
    unknown(
        "SANDMILL_PIPELINE_ACCESS_LOG_LIMITS_FULE",
        "did you mean SANDMILL_PIPELINE_ACCESS_LOG_LIMITS_FUEL?",
    );
    unknown("SANDMILL_LOGS", "did you mean SANDMILL_LOG?");
    unknown("SANDMILL_PIPELINE_ORDERS_ORDERING", "the pipelines are \"access-log\"");
    unknown("SANDMILL_PIPELINE_ACCESS_LOG_NAME", "docs/CONFIGURATION.md says how variables are named");
    unknown("SANDMILL_HTTP_PORT", "docs/CONFIGURATION.md says how variables are named");
}

#[test]
fn a_bad_value_in_a_variable_is_told_with_the_variable() {
    assert_eq!(
        errors(&file(""), &[("SANDMILL_PIPELINE_ACCESS_LOG_LIMITS_FUEL", "much")]),
        "environment variable SANDMILL_PIPELINE_ACCESS_LOG_LIMITS_FUEL: \"fuel\" in [pipeline.limits] of \"access-log\": \
         expected a whole number from 0 to 18446744073709551615, found the text \"much\""
    );
    assert_eq!(
        errors(&file(""), &[("SANDMILL_PIPELINE_ACCESS_LOG_OUTPUTS", "x,access")]),
        "environment variable SANDMILL_PIPELINE_ACCESS_LOG_OUTPUTS: item 2 of \"outputs\" in [[pipeline]] \"access-log\": \
         topic \"access\" is also an input, so records would go round for ever; write to another topic"
    );
    assert_eq!(
        errors(&file(""), &[("SANDMILL_PIPELINE_ACCESS_LOG_KAFKA_GROUP_ID", "x")]),
        "environment variable SANDMILL_PIPELINE_ACCESS_LOG_KAFKA_GROUP_ID: \"group.id\" in [pipeline.kafka] of \
         \"access-log\" belongs to the host: use `group` in [[pipeline]]"
    );
}

#[test]
fn a_variable_that_means_two_keys_is_refused() {
    let text = file("[[pipeline]]\nname = \"access.log\"\nhandler = \"h\"\ninput = [\"x\"]");
    assert_eq!(
        errors(&text, &[("SANDMILL_PIPELINE_ACCESS_LOG_START", "latest")]),
        "environment variable SANDMILL_PIPELINE_ACCESS_LOG_START: means both \"start\" in [[pipeline]] \"access.log\" and \
         \"start\" in [[pipeline]] \"access-log\"; use the file or --set instead"
    );
    let start = |name: &str| {
        let config =
            Config::load(source(&text, &[]).overrides(set(&[(&format!("pipeline.{name}.start"), "latest")])));
        config.unwrap().pipelines.iter().map(|pipeline| pipeline.start).collect::<Vec<_>>()
    };
    assert_eq!(start("access-log"), [Start::Latest, Start::Earliest]);
    assert_eq!(start("access.log"), [Start::Earliest, Start::Latest]);
}

#[test]
fn a_pipeline_is_found_whose_name_begins_with_anothers() {
    let text = file("[[pipeline]]\nname = \"access\"\nhandler = \"h\"\ninput = [\"x\"]");
    let config = load(&text, &[("SANDMILL_PIPELINE_ACCESS_LOG_START", "latest")]);
    assert_eq!(config.pipelines[0].start, Start::Latest);
    assert_eq!(config.pipelines[1].start, Start::Earliest);
}

#[test]
fn variables_that_kubernetes_sets_for_services_do_no_harm() {
    load(
        &file(""),
        &[
            ("SANDMILL_SERVICE_HOST", "10.0.0.1"),
            ("SANDMILL_SERVICE_PORT", "9095"),
            ("SANDMILL_SERVICE_PORT_HTTP", "9095"),
            ("SANDMILL_PORT", "tcp://10.0.0.1:9095"),
            ("SANDMILL_PORT_9095_TCP", "tcp://10.0.0.1:9095"),
            ("SANDMILL_PORT_9095_TCP_PROTO", "tcp"),
            ("SANDMILL_PORT_9095_TCP_PORT", "9095"),
            ("SANDMILL_PORT_9095_TCP_ADDR", "10.0.0.1"),
            ("SANDMILL_KAFKA_SERVICE_HOST", "10.0.0.2"),
            ("SANDMILL_KAFKA_PORT", "tcp://10.0.0.2:9092"),
        ],
    );
    for (variable, value) in
        [("SANDMILL_PORT", "9095"), ("SANDMILL_PORT_X_TCP", "1"), ("SANDMILL_PORT_1_TCP_X", "1")]
    {
        assert!(errors(&file(""), &[(variable, value)]).contains("no key"), "{variable}");
    }
}

#[test]
fn flags_alone_describe_a_pipeline() {
    let config = Config::load(flags(Overrides {
        brokers: Some("b:1".to_owned()),
        handler: Some("target/Access Log.wasm".into()),
        input: vec!["in-1".to_owned(), "in-2".to_owned()],
        outputs: vec!["out".to_owned()],
        ordering: Some(Ordering::Unordered),
        start: Some(Start::Latest),
        dead_letter_topic: Some("dlq".to_owned()),
        listen: Some(Listen::At(SocketAddr::from(([127, 0, 0, 1], 80)))),
        ..set(&[
            ("pipeline.limits.memory", "1GiB"),
            ("pipeline.config.Mixed.Case", "x"),
            ("kafka.client.id", "me"),
        ])
    }))
    .unwrap();
    let pipeline = &config.pipelines[0];
    assert_eq!(pipeline.name, "access-log");
    assert_eq!(pipeline.group, "sandmill-access-log");
    assert_eq!(pipeline.handler, Path::new("target/Access Log.wasm"));
    assert_eq!(pipeline.input, ["in-1", "in-2"]);
    assert_eq!(pipeline.outputs, ["out"]);
    assert_eq!(pipeline.ordering, Ordering::Unordered);
    assert_eq!(pipeline.start, Start::Latest);
    assert_eq!(pipeline.on_failure.then, Then::DeadLetter);
    assert_eq!(pipeline.limits.memory.bytes(), 1 << 30);
    assert_eq!(pipeline.config["Mixed.Case"], "x");
    assert_eq!(config.http.map(|http| http.listen.port()), Some(80));
    assert_eq!(pipeline.kafka.get("client.id"), Some("me"));
}

#[test]
fn mistakes_in_flags_are_told_with_the_flag() {
    let run = |overrides: Overrides| {
        failure(flags(Overrides {
            handler: Some("h.wasm".into()),
            brokers: Some("b".to_owned()),
            input: vec!["in".to_owned()],
            ..overrides
        }))
    };
    assert_eq!(
        run(Overrides { name: Some("A".to_owned()), ..Overrides::default() }),
        "--name: \"name\" in [[pipeline]] \"A\": \"A\" is not a name; write 1 to 63 of a-z, 0-9, \".\", \"_\", \"-\", first \
         a letter or a digit"
    );
    assert_eq!(
        run(Overrides { outputs: vec!["in".to_owned()], ..Overrides::default() }),
        "--output: item 1 of \"outputs\" in [[pipeline]] \"h\": topic \"in\" is also an input, so records would go round \
         for ever; write to another topic"
    );
    assert_eq!(
        run(set(&[("host.worker", "1")])),
        "--set host.worker: unknown key \"host.worker\"; did you mean \"host.workers\"?"
    );
    assert_eq!(
        run(set(&[("pipeline.h.limits.memory", "x")])),
        "--set pipeline.h.limits.memory: \"memory\" in [pipeline.limits] of \"h\": \"x\" is not a size; write a whole \
         number and a unit, like \"64MiB\" (1024 based) or \"64MB\" (1000 based), or only a number for bytes"
    );
    assert_eq!(
        failure(flags(Overrides { handler: Some("h.wasm".into()), ..Overrides::default() })),
        "configuration: no brokers for [[pipeline]] \"h\"; add \"bootstrap.servers\" = \"host:9092\" to [kafka], or give \
         --brokers\n\
         HANDLER: missing key \"input\" in [[pipeline]] \"h\"; add input = [\"orders\"]"
    );
}

#[test]
fn set_needs_the_pipelines_name_when_there_are_several() {
    let text = file("[[pipeline]]\nname = \"b\"\nhandler = \"h\"\ninput = [\"x\"]");
    assert_eq!(
        failure(source(&text, &[]).overrides(set(&[("pipeline.start", "latest")]))),
        "--set pipeline.start: no such pipeline; write pipeline.NAME.KEY with the name \"access-log\" or \"b\""
    );
}

#[test]
fn flags_that_describe_a_pipeline_are_refused_beside_a_file() {
    let overrides = Overrides {
        handler: Some("h.wasm".into()),
        name: Some("n".to_owned()),
        input: vec!["x".to_owned()],
        outputs: vec!["y".to_owned()],
        group: Some("g".to_owned()),
        ordering: Some(Ordering::Key),
        start: Some(Start::Earliest),
        dead_letter_topic: Some("d".to_owned()),
        ..Overrides::default()
    };
    let refused = "describes a pipeline without a file; with one use the file's keys or --set";
    let flags = [
        "--dead-letter-topic",
        "--group",
        "--input",
        "--name",
        "--ordering",
        "--output",
        "--start",
        "HANDLER",
    ];
    assert_eq!(
        failure(source(&file(""), &[]).overrides(overrides)),
        flags.map(|flag| format!("{flag}: {refused}")).join("\n")
    );
}

#[test]
fn an_embedded_broker_needs_no_address_and_no_other_counts() {
    let embedded = || Overrides { embedded_broker: true, ..Overrides::default() };
    let variable = [("SANDMILL_KAFKA_BOOTSTRAP_SERVERS", "elsewhere:1")];
    let mut config = Config::load(source(&file(""), &variable).overrides(embedded())).unwrap();
    assert_eq!(config.kafka.get("bootstrap.servers"), None);
    assert_eq!(config.pipelines[0].kafka.get("bootstrap.servers"), None);
    config.set_brokers("127.0.0.1:5");
    assert_eq!(config.kafka.get("bootstrap.servers"), Some("127.0.0.1:5"));
    assert_eq!(config.pipelines[0].kafka.get("bootstrap.servers"), Some("127.0.0.1:5"));
}
