//! What a loaded configuration holds: defaults, completed keys, and its form as a file.

use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use crate::config::bounds::BOUNDS;
use crate::config::{
    Config, Host, OnMetadataFull, OnOffsetLost, Ordering, Pipeline, Size, Source, Start, Then,
};

use super::{errors, file, load};

#[test]
fn the_least_file_gets_the_promised_defaults() {
    let config = load(&file(""), &[]);
    assert_eq!(config.http.map(|http| http.listen.to_string()).as_deref(), Some("127.0.0.1:9095"));
    assert_eq!(config.host.guest_memory, Size::from_gib(4));
    assert_eq!(config.host.stack, Size::from_mib(1));
    assert_eq!(config.host.workers, None);
    assert_eq!(config.host.drain_timeout, Duration::from_secs(10));
    let pipeline = &config.pipelines[0];
    assert_eq!(pipeline.group, "sandmill-access-log");
    assert_eq!(pipeline.handler, Path::new("conf/handler.wasm"));
    assert_eq!(pipeline.ordering, Ordering::Key);
    assert_eq!(pipeline.start, Start::Earliest);
    assert_eq!(pipeline.on_offset_lost, OnOffsetLost::Halt);
    assert_eq!(pipeline.on_metadata_full, OnMetadataFull::Pause);
    assert_eq!(pipeline.on_failure.then, Then::Halt);
    let expected = Pipeline {
        name: pipeline.name.clone(),
        handler: pipeline.handler.clone(),
        input: pipeline.input.clone(),
        group: pipeline.group.clone(),
        kafka: pipeline.kafka.clone(),
        ..Pipeline::default()
    };
    assert_eq!(pipeline, &expected);
}

#[test]
fn every_default_is_within_its_bounds() {
    for bound in BOUNDS {
        assert_eq!(bound.check_host(&Host::default()), None, "{}", bound.key);
        assert_eq!(bound.check_pipeline(&Pipeline::default()), None, "{}", bound.key);
    }
}

#[test]
fn what_follows_a_failure_depends_on_the_dead_letter_topic_unless_it_is_written() {
    let then = |more: &str| load(&file(more), &[]).pipelines[0].on_failure.then;
    assert_eq!(then(""), Then::Halt);
    assert_eq!(then("on_failure.dead_letter_topic = \"d\""), Then::DeadLetter);
    assert_eq!(then("on_failure = { dead_letter_topic = \"d\", then = \"skip\" }"), Then::Skip);
    assert_eq!(then("on_failure = { dead_letter_topic = \"d\", then = \"halt\" }"), Then::Halt);
}

#[test]
fn without_a_word_pipelines_get_equal_parts_of_the_memory_and_each_enough_for_an_instance() {
    let totals = |more: &str| -> Vec<String> {
        let others = ["b", "c"].map(|name| {
            format!("[[pipeline]]\nname = {name:?}\nhandler = \"h.wasm\"\ninput = [\"in-{name}\"]\n")
        });
        let config = load(&file(&format!("{more}\n{}", others.concat())), &[]);
        config.pipelines.iter().map(|pipeline| pipeline.limits.total_memory.to_string()).collect()
    };
    assert_eq!(totals(""), ["1365MiB"; 3]);
    assert_eq!(totals("limits.total_memory = \"1GiB\""), ["1GiB", "1365MiB", "1365MiB"]);
    assert_eq!(totals("limits.memory = \"2GiB\""), ["2GiB", "1365MiB", "1365MiB"]);
    assert_eq!(load(&file(""), &[]).pipelines[0].limits.total_memory, Size::from_gib(4));
}

#[test]
fn the_memory_of_all_instances_holds_one_and_fits_into_the_hosts() {
    for (total, problem) in [
        ("32MiB", "limits.memory is 64MiB, limits.total_memory is 32MiB: no instance could take what it may"),
        ("5GiB", "5GiB is more than the host may give to all instances (guest_memory in [host]: 4GiB)"),
    ] {
        let found = errors(&file(&format!("limits.total_memory = {total:?}")), &[]);
        let wanted =
            format!("\"total_memory\" in [pipeline.limits] of \"access-log\": {problem}; change one of them");
        assert!(found.ends_with(&wanted) && found.lines().count() == 1, "{found}");
    }
}

#[test]
fn the_data_folder_follows_the_xdg_specification_unless_it_is_written() {
    let folder = |more: &str, variables: &[(&str, &str)]| load(&file(more), variables).host.data_dir;
    assert_eq!(folder("", &[]), Path::new("/home/mill/.cache/sandmill"));
    assert_eq!(folder("", &[("XDG_CACHE_HOME", "/cache")]), Path::new("/cache/sandmill"));
    assert_eq!(folder("", &[("XDG_CACHE_HOME", "relative")]), Path::new("/home/mill/.cache/sandmill"));
    assert_eq!(folder("[host]\ndata_dir = \"data\"", &[]), Path::new("conf/data"));
    assert_eq!(folder("[host]\ndata_dir = \"/data\"", &[]), Path::new("/data"));
    assert_eq!(
        errors(&file(""), &[("HOME", "")]),
        "configuration: missing key \"data_dir\" in [host]: neither XDG_CACHE_HOME nor HOME says where a default could \
         be; add data_dir = \"/var/lib/sandmill\""
    );
}

#[test]
fn http_can_be_off() {
    assert_eq!(load(&file("[http]\nlisten = \"off\""), &[]).http, None);
}

/// Reads a printed configuration again.
fn again(config: &Config) -> Config {
    let text = config.to_string();
    let environment = [("KEY".to_owned(), "hunter2".to_owned())];
    Config::load(Source::new(environment).text("sandmill.toml", &text))
        .unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[test]
fn the_configuration_in_force_is_a_file_that_says_the_same() {
    let config = load(
        &file(
            "config = { \"a b\" = \"\\\"quoted\\\"\\n\" }\non_failure = { retry_for = \"1m 30s\", dead_letter_topic = \"d\" }\n\
             [pipeline.kafka]\n\"client.id\" = \"own\"\n\"ssl.key.password\" = { env = \"KEY\" }\n\
             [[pipeline]]\nname = \"b\"\nhandler = \"/b.wasm\"\ninput = [\"x\", \"y\"]\n\
             [http]\nlisten = \"off\"\n[host]\nworkers = 3",
        ),
        &[("KEY", "hunter2")],
    );
    assert_eq!(again(&config), config);
    assert!(!config.to_string().contains("hunter2"));
    assert!(config.to_string().contains("[pipeline.kafka.\"ssl.key.password\"]\nenv = \"KEY\""), "{config}");
    // A pipeline prints only what is its own.
    assert_eq!(config.to_string().matches("murmur2_random").count(), 1);
}

proptest! {
    #[test]
    fn any_amounts_within_their_bounds_survive_printing(
        fuel in 1..=1_000_000_000_000_000u64,
        memory in (1u64 << 21)..=(4 << 30),
        deadline in 1..=3_600_000u64,
        retries in 0..=1_000_000u32,
        value in "\\PC*",
        name in "[a-z0-9][a-z0-9._-]{0,62}",
    ) {
        let mut config = load(&file(""), &[]);
        let pipeline = &mut config.pipelines[0];
        pipeline.limits.fuel = fuel;
        pipeline.limits.memory = Size::from_bytes(memory);
        pipeline.limits.deadline = Duration::from_millis(deadline);
        pipeline.on_failure.retries = retries;
        pipeline.config.insert("key".to_owned(), value);
        pipeline.name = name;
        prop_assert_eq!(again(&config), config);
    }

    #[test]
    fn no_text_makes_the_loader_panic(
        text in "(\\[kafka\\]|\\[\\[pipeline\\]\\]|[a-z]{1,4} = (1|\"x\"|\\[\\]|true)|\\PC{0,12}|\n){0,12}",
        variable in "SANDMILL_[A-Z_]{0,24}",
        key in "\\PC{0,12}",
    ) {
        let overrides = crate::config::Overrides { set: vec![(key, String::new())], ..Default::default() };
        let source = Source::new([(variable, "x".to_owned())]).text("sandmill.toml", text).overrides(overrides);
        let _ = Config::load(source).map_err(|errors| errors.to_string());
    }
}
