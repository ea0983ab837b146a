//! The documentation and the JSON schema say what the code does.

use std::env;
use std::fs;
use std::path::PathBuf;

use serde_json::Value as Json;

use crate::config::bounds::BOUNDS;
use crate::config::schema::{Key, keys};
use crate::config::tree::{Node, Step, in_pipeline};
use crate::config::{Config, OTHER_VARIABLES, RESERVED, Source, Then, schema};

use super::{load, source};

fn docs(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "docs", name].iter().collect()
}

fn documentation() -> String {
    fs::read_to_string(docs("CONFIGURATION.md")).unwrap()
}

/// The part of the documentation under a heading, to the next heading.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let start = text.find(heading).unwrap_or_else(|| panic!("no heading {heading}")) + heading.len();
    let rest = &text[start..];
    &rest[..rest.find("\n#").unwrap_or(rest.len())]
}

fn schema_of<'a>(schema: &'a Json, key: &Key) -> &'a Json {
    let start = if key.in_pipeline { &schema["properties"]["pipeline"]["items"] } else { schema };
    key.path.iter().fold(start, |schema, step| &schema["properties"][step])
}

#[test]
fn every_key_is_documented_in_its_table_with_its_default_and_range() {
    let text = documentation();
    let schema = schema();
    assert!(keys().len() > 35, "{}", keys().len());
    for key in keys() {
        // Tables with names of the user's choice, which have sections of their own.
        let own = [
            (["kafka"], false, "## `[kafka]`\n"),
            (["secrets"], true, "### `[pipeline.secrets]`\n"),
            (["metrics"], true, "### `[pipeline.metrics.NAME]`\n"),
            (["http.tokens"], false, "### `[http.tokens.NAME]`\n"),
            (["modules.keys"], false, "### `[modules.keys]`\n"),
            (["modules.registries"], false, "### `[modules.registries.HOST]`\n"),
        ];
        if let Some((_, _, heading)) =
            own.iter().find(|([path], of, _)| key.path.join(".") == *path && key.in_pipeline == *of)
        {
            section(&text, heading);
            continue;
        }
        let table = section(&text, &format!("# `{}`\n", key.table()));
        let name = key.path.last().unwrap();
        let row = table
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")))
            .unwrap_or_else(|| panic!("{} has no row {name}", key.table()));
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let described = schema_of(&schema, key);
        match &described["default"] {
            Json::Null => assert!(!cells[2].is_empty(), "{row}"),
            Json::String(default) => assert_eq!(cells[2], format!("`{default}`"), "{row}"),
            default => assert_eq!(cells[2], format!("`{default}`"), "{row}"),
        }
        let dotted = key.path.join(".");
        if let Some(bound) = BOUNDS.iter().find(|b| b.key == dotted && b.in_pipeline() == key.in_pipeline) {
            assert_eq!(cells[3], bound.to_string(), "{row}");
        } else {
            assert_eq!(cells[3], "", "{row}");
        }
        for choice in described["oneOf"].as_array().into_iter().flatten() {
            let choice = choice["const"].as_str().unwrap();
            assert!(row.contains(&format!("`{choice}`")), "{choice} is missing: {row}");
        }
        assert!(
            described["description"].as_str().is_some_and(|text| text.len() > 10),
            "{dotted} is not described"
        );
    }
}

#[test]
fn every_key_of_a_metric_is_documented() {
    let text = documentation();
    let table = section(&text, "### `[pipeline.metrics.NAME]`\n");
    let schema = schema();
    let metric = &schema["properties"]["pipeline"]["items"]["properties"]["metrics"]["additionalProperties"];
    let keys = metric["properties"].as_object().expect("a metric has keys");
    assert!(keys.len() >= 5, "{keys:?}");
    for name in keys.keys() {
        assert!(table.contains(&format!("\n| `{name}` |")), "{name}");
    }
}

#[test]
fn every_key_of_a_token_and_of_a_registry_is_documented() {
    let (text, schema) = (documentation(), schema());
    for (heading, table, key) in [
        ("### `[http.tokens.NAME]`\n", "http", "tokens"),
        ("### `[modules.registries.HOST]`\n", "modules", "registries"),
    ] {
        let described = &schema["properties"][table]["properties"][key]["additionalProperties"];
        let keys = described["properties"].as_object().expect("it has keys");
        assert!(keys.len() >= 3, "{keys:?}");
        for name in keys.keys() {
            assert!(section(&text, heading).contains(&format!("\n| `{name}` |")), "{name}");
        }
    }
}

#[test]
fn every_bound_belongs_to_a_key() {
    for bound in BOUNDS {
        let found = keys()
            .iter()
            .any(|key| key.path.join(".") == bound.key && key.in_pipeline == bound.in_pipeline());
        assert!(found, "{}", bound.key);
    }
}

#[test]
fn every_reserved_property_is_documented_with_its_reason() {
    let text = documentation();
    let table = section(&text, "### Properties that belong to the host\n");
    for (name, reason) in RESERVED {
        assert!(table.contains(&format!("\n| `{name}` | {reason} |\n")), "{name}");
    }
    for variable in OTHER_VARIABLES {
        assert!(
            section(&text, "## Environment variables\n").contains(&format!("`{variable}`")),
            "{variable}"
        );
    }
}

/// The last TOML text of the documentation.
fn sample() -> String {
    let text = documentation();
    let start = text.rfind("```toml\n").unwrap() + "```toml\n".len();
    text[start..].split_once("\n```").unwrap().0.to_owned()
}

#[test]
fn the_sample_is_complete_and_its_values_are_the_defaults() {
    let text = sample();
    let mut findings = crate::config::error::Findings::default();
    let tree = Node::parse("sample.toml".as_ref(), &text, &mut findings);
    for key in keys() {
        let path = match key.in_pipeline {
            true => in_pipeline(0, &key.path.join(".")),
            false => key.path.iter().map(|step| Step::from(step.as_str())).collect(),
        };
        assert!(tree.get(&path).is_some(), "the sample has no {:?}", key.path);
    }
    let config = load(&text, &[]);
    let sample = &config.pipelines[0];
    let plain = load(
        "[kafka]\n\"bootstrap.servers\" = \"localhost:9092\"\n[[pipeline]]\nname = \"access-log\"\n\
         handler = \"handlers/access_log.wasm\"\ninput = [\"access\"]",
        &[],
    );
    let default = &plain.pipelines[0];
    assert_eq!(config.kafka, plain.kafka);
    let of_http = |config: &Config| config.http.as_ref().map(|http| (http.listen, http.admin, http.reads));
    assert_eq!(of_http(&config), of_http(&plain));
    assert_eq!(config.modules, plain.modules);
    assert_eq!(config.host.guest_memory, plain.host.guest_memory);
    assert_eq!(config.host.stack, plain.host.stack);
    assert_eq!(config.host.drain_timeout, plain.host.drain_timeout);
    assert_eq!(sample.group, default.group);
    assert_eq!(sample.limits, default.limits);
    assert_eq!(sample.batch, default.batch);
    assert_eq!(sample.in_flight, default.in_flight);
    assert_eq!(sample.on_failure.retries, default.on_failure.retries);
    assert_eq!(sample.on_failure.backoff, default.on_failure.backoff);
    assert_eq!(sample.on_failure.then, Then::DeadLetter);
    assert_eq!(sample.rollback, default.rollback);
    assert_eq!(
        (sample.ordering, sample.start, sample.on_offset_lost, sample.on_metadata_full),
        (default.ordering, default.start, default.on_offset_lost, default.on_metadata_full)
    );
    assert_eq!(
        (sample.max_instances, sample.commit_interval, sample.metadata_limit),
        (default.max_instances, default.commit_interval, default.metadata_limit)
    );
}

#[test]
fn every_other_toml_text_of_the_documentation_is_valid() {
    let text = documentation();
    let texts: Vec<&str> =
        text.split("```toml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    assert!(texts.len() >= 3);
    for toml in texts {
        let mut findings = crate::config::error::Findings::default();
        Node::parse("docs.toml".as_ref(), toml, &mut findings);
        assert_eq!(findings.check(), Ok(()), "{toml}");
    }
}

#[test]
fn the_documented_variables_exist() {
    let text = documentation();
    let table = section(&text, "## Environment variables\n");
    let variables: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(variables.len() >= 6, "{variables:?}");
    for variable in variables {
        let errors = Config::load(source(&sample(), &[(variable, "1")])).err();
        let errors = errors.map(|errors| errors.to_string()).unwrap_or_default();
        assert!(!errors.contains("no key of the configuration"), "{errors}");
    }
}

/// Run with `UPDATE_SCHEMA=1` to write the file.
#[test]
fn the_schema_file_is_what_the_code_says() {
    let path = docs("sandmill.schema.json");
    if env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&path, format!("{:#}\n", schema())).unwrap();
    }
    // Compared as JSON: the order of keys depends on which features of serde_json the whole build turns on.
    let file: Json = serde_json::from_str(&fs::read_to_string(&path).unwrap_or_default()).unwrap_or_default();
    assert!(file == schema(), "{} is out of date; run this test with UPDATE_SCHEMA=1", path.display());
}

#[test]
fn the_file_promised_to_operators_loads() {
    let text = r#"
        [kafka]                       # any librdkafka property passes through
        "bootstrap.servers" = "localhost:9092"

        [host]
        data_dir = "/var/lib/sandmill"   # module store, compiled cache, versions, counters
        guest_memory = "4GiB"          # all instances together; pipelines wait for room, never overshoot

        [http]
        listen = "127.0.0.1:9095"     # metrics, health, API, console
        token_file = "/etc/sandmill/token"   # for everything that changes something; generated on first start for loopback

        [[pipeline]]
        name     = "access-log"
        handler  = "handlers/access_log.wasm"
        input    = ["access"]
        group    = "sandmill-access-log"
        ordering = "key"              # key | partition | unordered
        start    = "earliest"         # where nothing was committed yet
        outputs  = ["access-json"]
        config   = { status = "404" }

        [pipeline.limits]
        fuel = 1_000_000_000
        deadline = "5s"
        memory = "64MiB"

        [pipeline.on_failure]
        retries = 5
        backoff = { first = "100ms", max = "30s" }
        then = "dead-letter"          # dead-letter | skip | halt
        dead_letter_topic = "access-dlq"

        [pipeline.allow]              # everything else is denied
        log = true
    "#;
    let config = Config::load(Source::new([]).text("/etc/sandmill/sandmill.toml", text)).unwrap();
    assert_eq!(config.pipelines[0].handler.to_str(), Some("/etc/sandmill/handlers/access_log.wasm"));
    assert_eq!(config.pipelines[0].config["status"], "404");
    assert!(config.pipelines[0].allow.log);
}
