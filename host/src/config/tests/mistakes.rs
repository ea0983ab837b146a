//! Every kind of mistake, with the exact words that the operator reads.

use crate::config::{Config, Source};

use super::{MORE, errors, file, load};

/// One mistake in `more` at a line from its start (1) and a column, with its words.
#[track_caller]
fn mistake(more: &str, line: usize, column: usize, message: &str) {
    assert_eq!(errors(&file(more), &[]), format!(":{}:{column}: {message}", MORE + line - 1), "{more}");
}

#[test]
fn an_unknown_key_is_named_with_its_table_in_every_table() {
    for (table, name, wrong, right) in [
        ("[host]", "[host]", "data_dri", "data_dir"),
        ("[http]", "[http]", "listne", "listen"),
        ("", "[[pipeline]] \"access-log\"", "orderin", "ordering"),
        ("[pipeline.limits]", "[pipeline.limits] of \"access-log\"", "output-records", "output_records"),
        ("[pipeline.batch]", "[pipeline.batch] of \"access-log\"", "record", "records"),
        ("[pipeline.in_flight]", "[pipeline.in_flight] of \"access-log\"", "byte", "bytes"),
        ("[pipeline.on_failure]", "[pipeline.on_failure] of \"access-log\"", "retires", "retries"),
        (
            "[pipeline.on_failure.backoff]",
            "[pipeline.on_failure.backoff] of \"access-log\"",
            "frist",
            "first",
        ),
        ("[pipeline.allow]", "[pipeline.allow] of \"access-log\"", "logs", "log"),
    ] {
        mistake(
            &format!("{table}\n{wrong} = 1"),
            2,
            1,
            &format!("unknown key {wrong:?} in {name}; did you mean {right:?}?"),
        );
    }
    assert_eq!(
        errors(&format!("kafak = 1\n{}", file("")), &[]),
        ":1:1: unknown key \"kafak\" in the file's top level; did you mean \"kafka\"?"
    );
}

#[test]
fn a_key_in_the_wrong_table_is_sent_to_the_right_one() {
    mistake(
        "[pipeline.limits]\noutputs = []",
        2,
        1,
        "unknown key \"outputs\" in [pipeline.limits] of \"access-log\"; it belongs in [[pipeline]]",
    );
    mistake(
        "deadline = \"5s\"",
        1,
        1,
        "unknown key \"deadline\" in [[pipeline]] \"access-log\"; it belongs in [pipeline.limits]",
    );
    mistake(
        "records = 5",
        1,
        1,
        "unknown key \"records\" in [[pipeline]] \"access-log\"; it belongs in [pipeline.batch] or [pipeline.in_flight]",
    );
    mistake(
        "[pipeline.allow]\nhttp_server = true",
        2,
        1,
        "unknown key \"http_server\" in [pipeline.allow] of \"access-log\"; known here: \"log\", \"config\", \
         \"http\", \"http_methods\" or \"http_networks\"",
    );
}

#[test]
fn a_wrong_type_is_told_with_what_was_expected_and_found() {
    let of = "of \"access-log\"";
    for (more, column, message) in [
        (
            "group = 5",
            9,
            "\"group\" in [[pipeline]] \"access-log\": expected text in quotes, found the number 5",
        ),
        (
            "outputs = \"x\"",
            11,
            "\"outputs\" in [[pipeline]] \"access-log\": expected a list, found the text \"x\"",
        ),
        (
            "outputs = [\"x\", true]",
            17,
            "item 2 of \"outputs\" in [[pipeline]] \"access-log\": expected text in quotes, found true",
        ),
        (
            "max_instances = \"many\"",
            17,
            "\"max_instances\" in [[pipeline]] \"access-log\": expected a whole number from 0 to 4294967295, found \
             the text \"many\"",
        ),
        (
            "max_instances = 5_000_000_000",
            17,
            "\"max_instances\" in [[pipeline]] \"access-log\": expected a whole number from 0 to 4294967295, found \
             the number 5000000000",
        ),
        ("limits = 5", 10, "\"limits\" in [[pipeline]] \"access-log\": expected a table, found the number 5"),
        (
            "ordering = true",
            12,
            "\"ordering\" in [[pipeline]] \"access-log\": expected \"key\", \"partition\" or \"unordered\", found \
             true",
        ),
        (
            "commit_interval = 5",
            19,
            "\"commit_interval\" in [[pipeline]] \"access-log\": expected a duration like \"5s\", \"100ms\" or \
             \"1m 30s\", found the number 5",
        ),
        (
            "limits.fuel = 1.5",
            15,
            &format!(
                "\"fuel\" in [pipeline.limits] {of}: expected a whole number from 0 to 18446744073709551615, found \
                 a number with a fraction"
            ),
        ),
        (
            "limits.memory = 2024-01-01",
            17,
            &format!(
                "\"memory\" in [pipeline.limits] {of}: expected a size like \"64MiB\" or a number of bytes, found \
                 a date"
            ),
        ),
        (
            "allow.log = 1",
            13,
            &format!("\"log\" in [pipeline.allow] {of}: expected true or false, found the number 1"),
        ),
        (
            "config.status = 404",
            17,
            &format!("\"status\" in [pipeline.config] {of}: expected text in quotes, found the number 404"),
        ),
    ] {
        mistake(more, 1, column, message);
    }
    mistake(
        "[host]\nworkers = 0",
        2,
        11,
        "\"workers\" in [host]: expected a whole number from 1, found the number 0",
    );
    mistake(
        "[http]\nlisten = 9095",
        2,
        10,
        "\"listen\" in [http]: expected an address and port like \"127.0.0.1:9095\", or \"off\", found the number 9095",
    );
    assert_eq!(
        errors("[pipeline]\nname = \"a\"", &[]),
        ":1:2: \"pipeline\" in the file's top level: expected a list, found a table; write [[pipeline]] with two \
         brackets"
    );
}

#[test]
fn a_value_that_cannot_be_read_is_told_with_the_accepted_forms() {
    mistake(
        "[pipeline.limits]\ndeadline = \"5 parsecs\"",
        2,
        12,
        "\"deadline\" in [pipeline.limits] of \"access-log\": \"5 parsecs\" is not a duration; write a number and a \
         unit, like \"5s\", \"100ms\" or \"1m 30s\"",
    );
    mistake(
        "[pipeline.limits]\nmemory = \"64M\"",
        2,
        10,
        "\"memory\" in [pipeline.limits] of \"access-log\": \"64M\" is not a size; write a whole number and a unit, \
         like \"64MiB\" (1024 based) or \"64MB\" (1000 based), or only a number for bytes",
    );
    mistake(
        "ordering = \"keys\"",
        1,
        12,
        "\"ordering\" in [[pipeline]] \"access-log\": \"keys\" is not known here; did you mean \"key\"?",
    );
    mistake(
        "start = \"beginning\"",
        1,
        9,
        "\"start\" in [[pipeline]] \"access-log\": \"beginning\" is not known here; write \"earliest\" or \"latest\"",
    );
    mistake(
        "[http]\nlisten = \"localhost\"",
        2,
        10,
        "\"listen\" in [http]: \"localhost\" is not an address and port; write it like \"127.0.0.1:9095\" or \
         \"[::1]:9095\", or \"off\"",
    );
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_place_and_never_quoted() {
    let text = errors("[kafka]\n\"sasl.password\" = \"hunter2\n", &[]);
    assert!(text.starts_with(":2:27: not valid TOML: invalid basic string"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    assert_eq!(errors("[host]\n[host]\n", &[]), ":2:2: not valid TOML: duplicate key");
}

#[test]
fn columns_count_characters_and_names_cannot_control_the_terminal() {
    mistake(
        "config = { \"größe\" = 5 }",
        1,
        22,
        "\"größe\" in [pipeline.config] of \"access-log\": expected text in quotes, found the number 5",
    );
    mistake("\"\\u001b[2J\" = 1", 1, 1, UNKNOWN_ESCAPE);
}

const UNKNOWN_ESCAPE: &str = "unknown key \"\\u{1b}[2J\" in [[pipeline]] \"access-log\"; known here: \"name\", \
     \"handler\", \"watch\", \"input\", \"outputs\", \"group\", \"ordering\", \"start\", \"on_offset_lost\", \
     \"on_metadata_full\", \"max_instances\", \"weight\", \"idempotent\", \"commit_interval\", \"metadata_limit\", \"config\", \"kafka\", \
     \"limits\", \"batch\", \"in_flight\", \"on_failure\", \"circuit\", \"rollback\", \"allow\", \
     \"secrets\" or \"metrics\"";

#[test]
fn all_independent_mistakes_are_told_at_once_in_the_order_of_the_file() {
    let text = file(
        "orderin = \"key\"\noutputs = [1, \"x\", 2]\n[pipeline.limits]\nfuel = \"all\"\ndeadline = \"soon\"\n[host]\n\
         workrs = 2\n",
    );
    let variables = [("SANDMILL_HTTP_LISTEN", "nowhere"), ("SANDMILL_HSOT_STACK", "1MiB")];
    assert_eq!(
        errors(&text, &variables).lines().map(|line| line.split(": ").next().unwrap()).collect::<Vec<_>>(),
        [
            ":7:1",
            ":8:12",
            ":8:20",
            ":10:8",
            ":11:12",
            ":13:1",
            "environment variable SANDMILL_HSOT_STACK",
            "environment variable SANDMILL_HTTP_LISTEN"
        ]
    );
}

#[test]
fn missing_keys_are_told_with_an_example() {
    assert_eq!(
        errors("[[pipeline]]\n", &[]),
        "configuration: no brokers for [[pipeline]] number 1; add \"bootstrap.servers\" = \"host:9092\" to [kafka], or \
         give --brokers\n\
         :1:1: missing key \"handler\" in [[pipeline]] number 1; add handler = \"handlers/access_log.wasm\"\n\
         :1:1: missing key \"input\" in [[pipeline]] number 1; add input = [\"orders\"]\n\
         :1:1: missing key \"name\" in [[pipeline]] number 1; add name = \"access-log\""
    );
    assert_eq!(
        errors("[kafka]\n\"bootstrap.servers\" = \"b\"", &[]),
        "configuration: no pipeline; add a [[pipeline]] with name, handler and input"
    );
    assert_eq!(
        errors(&file("").replace("[\"access\"]", "[]"), &[]),
        ":6:9: \"input\" in [[pipeline]] \"access-log\": must not be empty; write input = [\"orders\"]"
    );
}

#[test]
fn names_groups_and_topics_must_be_what_kafka_and_metrics_take() {
    let long = "a".repeat(64);
    for name in ["Access", "-a", ".a", "a b", "ä", "a/b", &long] {
        assert_eq!(
            errors(&file("").replace("access-log", name), &[]),
            format!(
                ":4:8: \"name\" in [[pipeline]] {name:?}: {name:?} is not a name; write 1 to 63 of a-z, 0-9, \".\", \
                 \"_\", \"-\", first a letter or a digit"
            )
        );
    }
    for name in ["a", "0", "a.b_c-d", &long[1..]] {
        assert_eq!(load(&file("").replace("access-log", name), &[]).pipelines[0].name, name);
    }
    let long = "t".repeat(250);
    for topic in ["", ".", "..", "^all", "a b", "ä", &long] {
        mistake(
            &format!("outputs = [\"fine\", {topic:?}]"),
            1,
            20,
            &format!(
                "item 2 of \"outputs\" in [[pipeline]] \"access-log\": {topic:?} is not a topic; Kafka allows 1 to 249 \
                 of a-z, A-Z, 0-9, \".\", \"_\", \"-\""
            ),
        );
    }
    mistake(
        "group = \"\"",
        1,
        9,
        "\"group\" in [[pipeline]] \"access-log\": \"\" is not a consumer group; write 1 to 255 printable bytes",
    );
}

#[test]
fn records_that_would_go_round_for_ever_are_refused() {
    mistake(
        "outputs = [\"x\", \"access\"]",
        1,
        17,
        "item 2 of \"outputs\" in [[pipeline]] \"access-log\": topic \"access\" is also an input, so records would go \
         round for ever; write to another topic",
    );
    mistake(
        "on_failure.dead_letter_topic = \"access\"",
        1,
        32,
        "\"dead_letter_topic\" in [pipeline.on_failure] of \"access-log\": topic \"access\" is also an input, so failed \
         records would go round for ever; write another topic",
    );
}

#[test]
fn lists_of_topics_have_no_repetition_and_an_end() {
    mistake(
        "outputs = [\"x\", \"x\"]",
        1,
        17,
        "item 2 of \"outputs\" in [[pipeline]] \"access-log\": topic \"x\" stands twice in the list; remove one",
    );
    let topics = |count: usize| {
        format!("outputs = [{}]", (0..count).map(|n| format!("\"t{n}\",")).collect::<String>())
    };
    assert_eq!(load(&file(&topics(255)), &[]).pipelines[0].outputs.len(), 255);
    mistake(
        &topics(256),
        1,
        11,
        "\"outputs\" in [[pipeline]] \"access-log\": 256 topics; a pipeline can have at most 255: make two pipelines \
         of it",
    );
}

#[test]
fn every_bound_is_held_at_both_ends() {
    for (more, line, column, message) in [
        ("[host]\nstack = 1", 2, 9, "\"stack\" in [host]: 1B is out of range; choose from 64KiB to 64MiB"),
        (
            "[host]\nworkers = 1025",
            2,
            11,
            "\"workers\" in [host]: 1025 is out of range; choose from 1 to 1024",
        ),
        (
            "[host]\ndrain_timeout = \"0s\"",
            2,
            17,
            "\"drain_timeout\" in [host]: 0s is out of range; choose from 1ms to 1h",
        ),
        (
            "limits.fuel = 0",
            1,
            15,
            "\"fuel\" in [pipeline.limits] of \"access-log\": 0 is out of range; choose from 1 to 1000000000000000",
        ),
        (
            "limits.memory = \"8GiB\"\n[host]\nguest_memory = \"16GiB\"",
            1,
            17,
            "\"memory\" in [pipeline.limits] of \"access-log\": 8GiB is out of range; choose from 64KiB to 4GiB",
        ),
        (
            "commit_interval = \"500000y\"",
            1,
            19,
            "\"commit_interval\" in [[pipeline]] \"access-log\": 500000years is out of range; choose from 1ms to 1h",
        ),
    ] {
        mistake(more, line, column, message);
    }
}

#[test]
fn no_limit_may_be_zero() {
    for key in crate::config::schema::keys() {
        let key_name = key.path.join(".");
        let bound = crate::config::bounds::BOUNDS.iter().find(|bound| {
            bound.key == key_name
                && bound.in_pipeline() == key.in_pipeline
                && key_name != "on_failure.retries"
        });
        let Some(bound) = bound else { continue };
        let smallest = bound.to_string();
        let time = ["ms to", "us to", "1s to"].iter().any(|unit| smallest.contains(unit));
        let zero = if time { "\"0s\"" } else { "0" };
        let text = match key.in_pipeline {
            true => file(&format!("{key_name} = {zero}")),
            false => format!("{key_name} = {zero}\n{}", file("")),
        };
        let found = errors(&text, &[]);
        assert!(
            found.contains("out of range") || found.contains("from 1, found the number 0"),
            "{key_name}: {found}"
        );
    }
}

#[test]
fn amounts_that_contradict_each_other_are_told_where_one_is_written() {
    mistake(
        "batch.records = 40_000",
        1,
        17,
        "\"records\" in [pipeline.batch] of \"access-log\": batch.records is 40000, in_flight.records is 32768: a batch \
         would never fill; change one of them",
    );
    mistake(
        "in_flight.bytes = \"512KiB\"",
        1,
        19,
        "\"bytes\" in [pipeline.in_flight] of \"access-log\": batch.bytes is 1MiB, in_flight.bytes is 512KiB: a batch \
         would never fill; change one of them",
    );
    mistake(
        "limits.memory = \"1MiB\"",
        1,
        17,
        "\"memory\" in [pipeline.limits] of \"access-log\": batch.bytes is 1MiB, limits.memory is 1MiB: a batch would \
         not fit into the instance; change one of them",
    );
    mistake(
        "on_failure.backoff.max = \"50ms\"",
        1,
        26,
        "\"max\" in [pipeline.on_failure.backoff] of \"access-log\": on_failure.backoff.first is 100ms, \
         on_failure.backoff.max is 50ms: the first pause would be longer than the longest; change one of them",
    );
    mistake(
        "[host]\nguest_memory = \"32MiB\"",
        2,
        16,
        "\"guest_memory\" in [host]: 32MiB is less than one instance of \"access-log\" may have (memory in \
         [pipeline.limits]: 64MiB); change one of them",
    );
}

#[test]
fn dead_letters_need_a_topic() {
    mistake(
        "on_failure.then = \"dead-letter\"",
        1,
        19,
        "\"then\" in [pipeline.on_failure] of \"access-log\": \"dead-letter\" needs a topic; add dead_letter_topic = \
         \"…\" beside it",
    );
}

#[test]
fn pipelines_are_told_apart_by_name_and_by_group() {
    let second = |name: &str, topic: &str, more: &str| {
        file(&format!("[[pipeline]]\nname = {name:?}\nhandler = \"h\"\ninput = [\"x\", {topic:?}]\n{more}"))
    };
    assert_eq!(
        errors(&second("access-log", "access", ""), &[]),
        ":8:8: \"name\" in [[pipeline]] \"access-log\": another pipeline has the name \"access-log\" (:4:8); choose \
         another"
    );
    assert_eq!(
        errors(&second("b", "access", "group = \"sandmill-access-log\""), &[]),
        ":11:9: \"group\" in [[pipeline]] \"b\": pipeline \"access-log\" reads topic \"access\" with the same group \
         \"sandmill-access-log\", so each would see only a part of the records; give each its own group"
    );
    // The same group on other topics, the same topic in other groups, and another cluster are all fine.
    load(&second("b", "other", "group = \"sandmill-access-log\""), &[]);
    load(&second("b", "access", ""), &[]);
    load(
        &second("b", "access", "group = \"sandmill-access-log\"\nkafka.\"bootstrap.servers\" = \"other\""),
        &[],
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = Config::load(Source::new([]).file("/nowhere/sandmill.toml")).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "configuration: cannot read /nowhere/sandmill.toml: No such file or directory (os error 2)"
    );
    assert_eq!(
        Config::load(Source::new([])).unwrap_err().to_string(),
        "configuration: nothing to run; give HANDLER.wasm with --input, or --config FILE"
    );
}
