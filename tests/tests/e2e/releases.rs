//! Versions: deployed by command, tried as canary or shadow, promoted, taken back by whoever notices first, and found again
//! after a restart. Whatever is done, nothing is lost and nothing is done twice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sandmill_tests::host::Host;
use sandmill_tests::job::Job;
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, Order, over_keys};
use sandmill_tests::producer::Producer;
use sandmill_tests::reader::Record;
use sandmill_tests::releases::{Manner, Operator, build, name, put};
use serde_json::{Value, json};

const KEYS: usize = 200;
/// Until what was asked for is seen, on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// A pipeline that runs build 0, what it is fed, and who deploys.
struct Stage<'k> {
    job: Job<'k>,
    producer: Producer,
    ledger: Ledger,
}

impl<'k> Stage<'k> {
    fn new(kafka: &'k Kafka) -> Self {
        let job = Job::new(kafka, std::path::Path::new("stamp.wasm"), 4);
        let path = job.home.file("stamp.wasm", build(0, Manner::Works));
        assert!(path.exists());
        let mut job = job.dead_letters(0);
        // One partition shows the order of all outputs.
        job.output = kafka.new_topic("builds", 1);
        Stage { job, producer: Producer::new(kafka), ledger: Ledger::default() }
    }

    fn feed(&mut self, records: usize) {
        self.ledger.produce(&self.producer, &self.job.input, over_keys(records, KEYS, |_| b"x".to_vec()));
    }

    fn feed_and_wait(&mut self, records: usize, host: &mut Host) {
        self.feed(records);
        self.job.await_done(host);
    }

    fn operator(&self, host: &mut Host) -> Operator<'_> {
        Operator::of(&self.job.home, host, &self.job.name)
    }

    /// Every record has one output or one dead letter, and keys are in order.
    fn assert_exact(&self) -> Vec<Record> {
        let (outputs, dead) = (self.job.outputs(), self.job.dead());
        self.ledger.compare(&[&outputs, &dead], Order::Key).assert_exact();
        outputs
    }
}

/// How many outputs each build wrote.
fn by_build(outputs: &[Record]) -> BTreeMap<String, usize> {
    let mut builds = BTreeMap::new();
    for output in outputs {
        *builds.entry(output.text()).or_default() += 1;
    }
    builds
}

fn states(versions: &Value) -> Vec<(u64, String)> {
    let each = versions["versions"].as_array().expect("a list").iter();
    each.map(|version| {
        (
            version["version"].as_u64().expect("a number"),
            version["state"].as_str().expect("a word").to_owned(),
        )
    })
    .collect()
}

#[test]
fn a_deploy_by_command_survives_a_restart_and_is_taken_back_by_one_more() {
    let kafka = Kafka::shared();
    let mut stage = Stage::new(kafka);
    let mut host = stage.job.start();
    host.wait_ready();
    stage.feed_and_wait(100, &mut host);
    let story = stage.operator(&mut host).deploy(&build(1, Manner::Works), &[]);
    let steps: Vec<&str> =
        story["steps"].as_array().expect("a list").iter().filter_map(|step| step["step"].as_str()).collect();
    assert_eq!(steps[..7], ["wait", "read", "compile", "check", "start", "sample", "switch"], "{story:#}");
    assert_eq!((&story["version"], &story["generation"]), (&json!(2), &json!(2)));
    assert!(
        story["steps"][5]["detail"].as_str().is_some_and(|detail| detail.ends_with("records")),
        "{story:#}"
    );
    stage.feed_and_wait(100, &mut host);

    // The deployed version wins over the file, as that has not changed.
    assert_eq!(host.terminate().code, 0);
    let mut host = stage.job.start();
    host.wait_ready();
    let runs = host.status()["pipelines"][0]["runs"].clone();
    assert_eq!(
        (&runs["version"], &runs["source"], &runs["by"]),
        (&json!(2), &json!("upload"), &json!("host"))
    );
    assert!(runs["why"].as_str().is_some_and(|why| why.contains("file")), "{runs}");
    stage.feed_and_wait(100, &mut host);

    // One call goes back, and that survives, too.
    let operator = stage.operator(&mut host);
    let ended = operator.run("rollback", &[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stdout.contains("version 1") && ended.stdout.contains("switch"), "{}", ended.stdout);
    assert_eq!(states(&operator.versions()), [(1, "running".to_owned()), (2, "rolled_back".to_owned())]);
    let nothing = operator.run("rollback", &[]);
    assert_eq!(nothing.code, 3, "{nothing:?}");
    assert!(nothing.stderr.contains("no version before 1"), "{}", nothing.stderr);
    stage.feed_and_wait(100, &mut host);
    assert_eq!(host.terminate().code, 0);
    let mut host = stage.job.start();
    host.wait_ready();
    stage.feed_and_wait(100, &mut host);

    // The file's new content is the newest word.
    put(&stage.job.home.path().join("stamp.wasm"), &build(3, Manner::Works));
    let operator = stage.operator(&mut host);
    host.wait_until("the file was deployed", LONG, |_| operator.versions()["running"] == 3);
    drop(operator);
    stage.feed_and_wait(100, &mut host);
    let table = stage.operator(&mut host).run("versions", &[]);
    assert!(
        table.stdout.contains("rolled back") && table.stdout.contains("version 3 runs"),
        "{}",
        table.stdout
    );
    assert_eq!(host.terminate().code, 0);
    let outputs = stage.assert_exact();
    let counts = BTreeMap::from([(name(0), 300), (name(1), 200), (name(3), 100)]);
    assert_eq!(by_build(&outputs), counts);
}

#[test]
fn a_canary_runs_its_share_of_the_keys_each_of_them_alone_until_it_is_promoted() {
    let kafka = Kafka::shared();
    let mut stage = Stage::new(kafka);
    let mut host = stage.job.start();
    host.wait_ready();
    stage.feed_and_wait(1_000, &mut host);
    let story = stage.operator(&mut host).deploy(&build(1, Manner::Works), &["--canary", "30"]);
    assert_eq!((&story["mode"], &story["percent"]), (&json!("canary"), &json!(30)));
    stage.feed_and_wait(2_000, &mut host);
    // It is tried on the same keys after a restart.
    assert_eq!(host.terminate().code, 0);
    let mut host = stage.job.start();
    host.wait_ready();
    host.wait_until("the canary was started again", LONG, |host| host.log().contains("generation=2"));
    stage.feed_and_wait(2_000, &mut host);
    let operator = stage.operator(&mut host);
    host.wait_until("what the canary did was counted", LONG, |_| {
        operator.versions()["candidate"]["new"]["records"].as_u64() > Some(0)
    });
    let promoted = operator.ask("promote", &[]);
    assert_eq!((&promoted["state"], &promoted["version"]), (&json!("done"), &json!(2)));
    let again = operator.run("promote", &[]);
    assert!(again.code == 3 && again.stderr.contains("no canary"), "{again:?}");
    drop(operator);
    let before = stage.job.outputs().len();
    stage.feed_and_wait(1_000, &mut host);
    assert_eq!(host.terminate().code, 0);
    let outputs = stage.assert_exact();
    assert_eq!(by_build(&outputs[before..]), BTreeMap::from([(name(1), 1_000)]));
    let of = |build: u32, outputs: &[Record]| -> BTreeSet<Option<Vec<u8>>> {
        outputs
            .iter()
            .filter(|output| output.text() == name(build))
            .map(|output| output.key.clone())
            .collect()
    };
    let tried = &outputs[1_000..before];
    let (old, new) = (of(0, tried), of(1, tried));
    assert!(old.is_disjoint(&new), "a key was on both sides");
    assert_eq!(old.len() + new.len(), KEYS);
    assert!((35..=85).contains(&new.len()), "{} of {KEYS} keys", new.len());
}

#[test]
fn a_canary_that_fails_is_taken_back_by_itself_and_the_command_says_so() {
    let kafka = Kafka::shared();
    let mut stage = Stage::new(kafka);
    let mut host = stage.job.start();
    host.wait_ready();
    stage.feed_and_wait(2_000, &mut host);
    stage.operator(&mut host).deploy(&build(1, Manner::Fails), &["--canary", "50"]);
    host.wait_until("the canary was taken back", LONG, |host| {
        stage.feed(200);
        host.log().contains("the new version is taken back")
    });
    stage.job.await_done(&mut host);
    let operator = stage.operator(&mut host);
    let versions = operator.versions();
    assert_eq!(versions["candidate"], Value::Null, "{versions:#}");
    assert_eq!(states(&versions)[1], (2, "rolled_back".to_owned()));
    let reason = versions["versions"][1]["reason"].as_str().expect("it has one");
    assert!(reason.contains("records failed") && reason.contains("against 0 of"), "{reason}");
    // Its keys run on the old version again.
    let (before, dead) = (stage.job.outputs().len(), stage.job.dead().len());
    drop(operator);
    stage.feed_and_wait(500, &mut host);
    assert_eq!((stage.job.outputs().len(), stage.job.dead().len()), (before + 500, dead));
    assert!(dead > 0);
    assert_eq!(host.terminate().code, 0);
    stage.assert_exact();
}

#[test]
fn a_version_that_fails_where_the_one_before_did_not_is_taken_back_while_the_command_waits() {
    let kafka = Kafka::shared();
    let mut stage = Stage::new(kafka);
    let mut host = stage.job.start();
    host.wait_ready();
    stage.feed_and_wait(2_000, &mut host);
    let file = stage.job.home.file("failing.wasm", build(1, Manner::Fails));
    let url = host.url();
    let arguments = ["deploy", &stage.job.name, file.to_str().expect("text"), "--url", &url, "--wait"];
    let mut waiting = stage.job.home.spawn(&arguments);
    host.wait_until("the command ended", LONG, |_| {
        stage.feed(200);
        waiting.has_ended()
    });
    let ended = waiting.end(LONG);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.stdout.contains("rolled back"), "{}", ended.stdout);
    assert!(ended.stderr.contains("records failed"), "{}", ended.stderr);
    stage.job.await_done(&mut host);
    let dead = stage.job.dead().len();
    stage.feed_and_wait(500, &mut host);
    assert_eq!(stage.job.dead().len(), dead, "the version before runs again");
    // What was taken back is written down, with who did it.
    let audit =
        std::fs::read_to_string(stage.job.home.path().join("cache/sandmill/audit.jsonl")).expect("a log");
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let told: Vec<_> = lines.iter().map(|line| (&line["who"], &line["action"], &line["result"])).collect();
    let [host_name, itself] = [json!("host"), json!("sandmill")];
    let [deploy, rollback, asked, done] = ["deploy", "rollback", "asked", "done"].map(|word| json!(word));
    assert_eq!(
        told,
        [(&host_name, &deploy, &asked), (&host_name, &deploy, &done), (&itself, &rollback, &done)]
    );
    assert_eq!(host.terminate().code, 0);
    stage.assert_exact();
}

#[test]
fn a_version_that_is_slow_is_taken_back() {
    let kafka = Kafka::shared();
    let mut stage = Stage::new(kafka);
    // Every record alone, so that its time is its own.
    stage.job = stage.job.set_in("batch", "records", "1");
    let mut host = stage.job.start();
    host.wait_ready();
    stage.feed_and_wait(5_000, &mut host);
    stage.operator(&mut host).deploy(&build(1, Manner::Waits), &[]);
    host.wait_until("it was taken back", LONG * 2, |host| {
        stage.feed(200);
        host.log().contains("the new version is taken back")
    });
    let versions = stage.operator(&mut host).versions();
    let reason = versions["versions"][1]["reason"].as_str().expect("it has one");
    assert!(reason.contains("or longer"), "{reason}");
    stage.job.await_done(&mut host);
    assert_eq!(host.terminate().code, 0);
    stage.assert_exact();
}

#[test]
fn what_a_shadow_does_is_compared_and_never_published() {
    let kafka = Kafka::shared();
    let mut stage = Stage::new(kafka);
    let mut host = stage.job.start();
    host.wait_ready();
    stage.feed_and_wait(1_000, &mut host);
    let story = stage.operator(&mut host).deploy(&build(0, Manner::Other), &["--shadow"]);
    assert_eq!(story["mode"], "shadow");
    let mut compared = Value::Null;
    host.wait_until("enough was compared", LONG, |host| {
        stage.feed(200);
        stage.job.await_done(host);
        compared = stage.operator(host).versions()["candidate"]["shadow"].clone();
        compared["compared"].as_u64() > Some(1_000)
    });
    let (all, different) = (compared["compared"].as_f64().expect("a number"), compared["different"].as_f64());
    let share = different.expect("a number") / all;
    assert!((0.2..0.3).contains(&share), "one of four: {compared:#}");
    let sample = &compared["samples"][0];
    assert!(sample["offset"].as_u64().is_some_and(|offset| offset.is_multiple_of(4)), "{compared:#}");
    let shown = |side: &str| sample[side].as_str().expect("text").to_owned();
    assert!(shown("old").ends_with(&name(0)) && shown("new").ends_with(&format!("{}!", name(0))), "{sample}");
    let text = stage.operator(&mut host).run("versions", &[]).stdout;
    assert!(text.contains("a shadow") && text.contains("differ"), "{text}");
    // Nothing of it came out; promoted, it runs.
    assert_eq!(by_build(&stage.job.outputs()).len(), 1);
    let promoted = stage.operator(&mut host).ask("promote", &[]);
    assert_eq!(promoted["state"], "done", "{promoted:#}");
    stage.feed_and_wait(400, &mut host);
    assert_eq!(host.terminate().code, 0);
    let outputs = stage.assert_exact();
    assert!(by_build(&outputs)[&format!("{}!", name(0))] > 50);
}

#[test]
fn a_module_that_fails_on_what_flows_never_runs_for_anybody() {
    let kafka = Kafka::shared();
    let mut stage = Stage::new(kafka);
    let mut host = stage.job.start();
    host.wait_ready();
    stage.feed_and_wait(500, &mut host);
    let operator = stage.operator(&mut host);
    let file = operator.file("traps.wasm", &build(1, Manner::Traps));
    let file = file.to_str().expect("text");
    let ended = operator.run("deploy", &[file]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stderr.contains("sample: it fails on the record at offset"), "{}", ended.stderr);
    // On records that somebody gives it is tried in place of those.
    let one = operator.file("one.jsonl", b"{\"key\": \"a\", \"value\": \"b\"}\n");
    let wrong = operator.file("wrong.jsonl", b"{\"kee\": 1}\n");
    let ended = operator.run("deploy", &[file, "--sample", wrong.to_str().expect("text")]);
    assert_eq!(ended.code, 2, "{ended:?}");
    assert!(ended.stderr.contains("line 1") && ended.stderr.contains("kee"), "{}", ended.stderr);
    let ended = operator.run("deploy", &[file, "--sample", one.to_str().expect("text")]);
    assert_eq!(ended.code, 3, "{ended:?}");
    assert!(ended.stderr.contains("at offset 0 of sample/0"), "{}", ended.stderr);
    assert_eq!(states(&operator.versions()), [(1, "running".to_owned())]);
    drop(operator);
    stage.feed_and_wait(500, &mut host);
    assert_eq!(host.terminate().code, 0);
    let outputs = stage.assert_exact();
    assert_eq!(by_build(&outputs), BTreeMap::from([(name(0), 1_000)]));
}

#[test]
fn memory_returns_after_many_swaps() {
    let kafka = Kafka::shared();
    let mut stage = Stage::new(kafka);
    let mut host = stage.job.start();
    host.wait_ready();
    stage.feed_and_wait(1_000, &mut host);
    let (url, pipeline) = (host.url(), stage.job.name.clone());
    let token = std::fs::read_to_string(stage.job.home.path().join("cache/sandmill/token")).expect("a token");
    let authorization = format!("Bearer {}", token.trim());
    let mut swap = |host: &mut Host, number: usize| {
        let path = format!("{url}/api/v1/pipelines/{pipeline}/deploy?handler=stamp");
        let module = build(u32::try_from(number).expect("small"), Manner::Works);
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let mut story = Value::Null;
        // Four a second, once the rest is used up.
        host.wait_until("it was taken", LONG, |_| {
            let sent = agent
                .post(&path)
                .header("authorization", &authorization)
                .header("content-type", "application/wasm")
                .send(&module[..]);
            let mut sent = sent.expect("it answers");
            let text = sent.body_mut().read_to_string().expect("text");
            story = serde_json::from_str(&text).expect("JSON");
            assert!([202, 429].contains(&sent.status().as_u16()), "{story:#}");
            sent.status() == 202
        });
        let path = format!("/api/v1/deploys/{}", story["id"]);
        host.wait_until("it was deployed", LONG, |host| {
            let (_, text) = host.get(&path).expect("it answers");
            let story: Value = serde_json::from_str(&text).expect("JSON");
            assert_ne!(story["state"], "refused", "{story:#}");
            story["state"] == "done"
        });
        if number.is_multiple_of(10) {
            stage.feed(100);
        }
    };
    let (warm, swaps) = if sandmill_tests::full() { (100, 1_000) } else { (20, 60) };
    (1..=warm).for_each(|number| swap(&mut host, number));
    let before = host.resident_bytes();
    (warm + 1..=warm + swaps).for_each(|number| swap(&mut host, number));
    host.wait_until("nothing was left of the builds before", LONG, |host| {
        host.log().matches("nothing is left of the generation before").count() == warm + swaps
    });
    let after = host.resident_bytes();
    // Each of them is another module, of 100 KiB of code and as much beside it.
    let allowed = before + (4 << 20) + swaps as u64 * (40 << 10);
    assert!(after < allowed, "{} MiB grew to {} MiB", before >> 20, after >> 20);
    stage.job.await_done(&mut host);
    assert_eq!(host.terminate().code, 0);
    stage.assert_exact();
}

#[test]
fn of_a_shadow_that_traps_only_the_records_at_fault_differ_and_it_is_taken_back() {
    let kafka = Kafka::shared();
    let mut stage = Stage::new(kafka);
    // Tried before a record has come: nothing else keeps it from running.
    let mut host = stage.job.start();
    host.wait_ready();
    stage.operator(&mut host).deploy(&build(0, Manner::Traps), &["--shadow"]);
    let mut compared = Value::Null;
    host.wait_until("it was taken back", LONG, |host| {
        stage.feed(100);
        let candidate = stage.operator(host).versions()["candidate"].clone();
        if candidate["shadow"].is_object() {
            compared = candidate["shadow"].clone();
        }
        host.log().contains("the new version is taken back")
    });
    let number = |key: &str| compared[key].as_f64().expect("a number");
    assert!(number("compared") > 0.0 && number("different") < 0.5 * number("compared"), "{compared:#}");
    for sample in compared["samples"].as_array().expect("a list") {
        assert!(sample["offset"].as_u64().is_some_and(|offset| offset.is_multiple_of(4)), "{sample}");
        assert!(sample["new"].as_str().is_some_and(|new| new.contains("trap")), "{sample}");
    }
    stage.job.await_done(&mut host);
    assert!(stage.job.dead().is_empty(), "nobody else felt it");
    assert_eq!(host.terminate().code, 0);
    stage.assert_exact();
}

#[test]
fn a_file_that_was_refused_does_not_run_after_a_restart_either() {
    let kafka = Kafka::shared();
    let mut stage = Stage::new(kafka);
    let mut host = stage.job.start();
    host.wait_ready();
    stage.feed_and_wait(200, &mut host);
    put(&stage.job.home.path().join("stamp.wasm"), &build(1, Manner::Traps));
    host.wait_until("it was refused", LONG, |host| {
        host.status()["pipelines"][0]["last_deploy"]["step"] == "sample"
    });
    assert_eq!(host.terminate().code, 0);
    let mut host = stage.job.start();
    host.wait_ready();
    stage.feed_and_wait(200, &mut host);
    // Nor one that is put there meanwhile and cannot run.
    assert_eq!(host.terminate().code, 0);
    put(&stage.job.home.path().join("stamp.wasm"), b"a note");
    let mut host = stage.job.start();
    host.wait_ready();
    assert!(host.log().contains("the version that ran before does"), "{}", host.log());
    stage.feed_and_wait(200, &mut host);
    assert_eq!(host.terminate().code, 0);
    let outputs = stage.assert_exact();
    assert_eq!(by_build(&outputs), BTreeMap::from([(name(0), 600)]));
}
