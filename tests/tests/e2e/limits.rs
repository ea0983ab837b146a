//! Limits that are not a single record's: memory that instances share, what is kept warm, what a module may ask for; and
//! where all of them are shown.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sandmill_tests::guests::guest;
use sandmill_tests::host::{Ended, Home, Host};
use sandmill_tests::job::{DONE, Job};
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, Order, over_keys};
use sandmill_tests::producer::Producer;
use serde_json::Value;

const MIB: u64 = 1 << 20;
const REFUSED: i32 = 3;
/// Until what is idle is given up, and that is seen.
const LONG: Duration = Duration::from_secs(30);

/// A handler that waits in each of its calls and so has many instances at once, of 128 KiB each.
fn waiting<'a>(kafka: &'a Kafka) -> Job<'a> {
    Job::new(kafka, &guest("wait"), 4)
        .config("ms", "3")
        .config("emit", "true")
        .set("max_instances", "64")
        .set_in("batch", "bytes", "\"64KiB\"")
        .set_in("batch", "records", "4")
        .set_in("limits", "memory", "\"1MiB\"")
        .dead_letters(0)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Waits until everything is done, and looks all the while that no memory is over its limit.
fn await_done_within(jobs: &[&Job<'_>], host: &mut Host) {
    host.wait_ready();
    host.wait_until("everything was done", DONE, |host| {
        let status = host.status();
        let pipelines = status["pipelines"].as_array().expect("a list");
        for memory in
            pipelines.iter().map(|pipeline| &pipeline["guest_memory"]).chain([&status["guest_memory"]])
        {
            assert!(number(&memory["used_bytes"]) <= number(&memory["limit_bytes"]), "{status}");
        }
        jobs.iter().all(|job| job.is_done())
    });
}

/// No record was failed, for whatever reason, and each came out once.
fn assert_served(job: &Job<'_>, ledger: &Ledger, host: &mut Host) {
    assert_eq!(host.metrics().errors_but_of_slow_batches(&job.name), []);
    ledger.compare(&[&job.outputs()], Order::Key).assert_exact();
    assert_eq!(job.dead(), []);
}

#[test]
fn calls_that_find_no_room_wait_and_no_record_fails_for_it() {
    let kafka = Kafka::shared();
    // Room for eight instances; the handler is slow, so as many calls go out as there are keys, up to 64.
    let job = waiting(kafka).set_in("limits", "total_memory", "\"1MiB\"");
    let mut ledger = Ledger::default();
    ledger.produce(&Producer::new(kafka), &job.input, over_keys(1_200, 60, |_| b"5".to_vec()));
    let mut host = job.start();
    host.wait_ready();
    let mut waited = false;
    host.wait_until("calls waited for room", DONE, |host| {
        waited |= number(&host.status()["pipelines"][0]["instances"]["calls_waiting"]) > 0;
        waited || job.is_done()
    });
    assert!(waited, "64 calls found room where eight instances fit");
    await_done_within(&[&job], &mut host);
    host.await_snapshot(DONE);
    assert_served(&job, &ledger, &mut host);
    let status = host.status();
    assert_eq!(status["pipelines"][0]["guest_memory"]["limit_bytes"], MIB, "{status}");
    assert_eq!(host.terminate().code, 0);
}

/// The limits of two pipelines together are more than the host has; one keeps all of it warm for a day.
#[test]
fn who_needs_room_gets_that_of_idle_instances_of_other_pipelines() {
    let kafka = Kafka::shared();
    let jobs = [0, 1].map(|_| {
        waiting(kafka).set_in("limits", "total_memory", "\"1MiB\"").set_in("limits", "idle", "\"1day\"")
    });
    let [first, second] = &jobs;
    let first_text = first.file_of(&(first.pipeline() + &second.pipeline()));
    let text = first_text.replacen("[host]\n", "[host]\nguest_memory = \"1MiB\"\n", 1);
    let file = first.home.file("sandmill.toml", text);
    let mut host = first.home.spawn(&[Path::new("run"), Path::new("--config"), &file]);
    let producer = Producer::new(kafka);
    for job in [first, second, first] {
        let mut ledger = Ledger::default();
        let before = job.outputs().len();
        ledger.produce(&producer, &job.input, over_keys(300, 60, |_| b"3".to_vec()));
        await_done_within(&[job], &mut host);
        host.await_snapshot(DONE);
        assert_eq!(job.outputs().len(), before + 300);
        assert_eq!(job.dead(), []);
        assert_eq!(host.metrics().errors_but_of_slow_batches(&job.name), []);
        let status = host.status();
        assert!(number(&status["instances"]) > 0, "some are kept warm: {status}");
    }
    assert_eq!(host.terminate().code, 0);
}

/// Marked records take all the memory there is, many at once. What others hold must not decide what becomes of them:
/// each is ended by its own limit, and by nothing else.
#[test]
fn a_record_that_wants_too_much_memory_is_told_of_its_own_limit_whatever_others_hold() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("hostile_memory"), 4)
        .config("how", "pages")
        .set("max_instances", "16")
        .set_in("batch", "bytes", "\"64KiB\"")
        .set_in("limits", "memory", "\"8MiB\"")
        .set_in("limits", "total_memory", "\"10MiB\"")
        .dead_letters(0);
    let mut ledger = Ledger::default();
    let values = |at: usize| if at % 4 == 1 { b"!harm".to_vec() } else { b"fine".to_vec() };
    ledger.produce(&Producer::new(kafka), &job.input, over_keys(240, 24, values));
    let mut host = job.start();
    await_done_within(&[&job], &mut host);
    host.await_snapshot(DONE);
    let metrics = host.metrics();
    let errors: Vec<_> =
        metrics.errors_but_of_slow_batches(&job.name).iter().map(|(error, _)| *error).collect();
    assert_eq!(errors, ["memory_limit"]);
    assert_eq!(host.terminate().code, 0);
    let (outputs, dead) = (job.outputs(), job.dead());
    ledger.compare(&[&outputs, &dead], Order::Key).assert_exact();
    assert_eq!((outputs.len(), dead.len()), (180, 60));
    for letter in dead {
        assert_eq!(letter.text(), "!harm", "a neighbour was dead-lettered");
        assert_eq!(letter.header("sandmill-error-type").as_deref(), Some("memory_limit"));
    }
}

#[test]
fn what_has_grown_and_what_is_idle_is_given_up() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("hostile_memory"), 1)
        .config("how", "pages")
        .config("then", "cope")
        .set_in("limits", "memory", "\"32MiB\"")
        .set_in("limits", "idle", "\"4s\"");
    let producer = Producer::new(kafka);
    let mut host = job.start();
    let held = |host: &mut Host| {
        let status = host.status();
        let pipeline = &status["pipelines"][0];
        (number(&pipeline["instances"]["live"]), number(&pipeline["guest_memory"]["used_bytes"]))
    };
    // Kept warm: it is as small as it was when it started.
    producer.send(&job.input, &over_keys(1, 1, |_| b"fine".to_vec()));
    job.await_done(&mut host);
    let (live, small) = held(&mut host);
    assert!(live == 1 && small < 4 * MIB, "{live} instances hold {small} bytes");
    // It takes 32 MiB and gives them back, but linear memory never shrinks.
    producer.send(&job.input, &over_keys(1, 1, |_| b"!much".to_vec()));
    job.await_done(&mut host);
    assert_eq!(held(&mut host), (0, 0), "what has grown is not kept");
    producer.send(&job.input, &over_keys(1, 1, |_| b"fine".to_vec()));
    job.await_done(&mut host);
    assert_eq!(held(&mut host), (1, small));
    host.wait_until("the idle instance was given up", LONG, |host| held(host) == (0, 0));
    // And the next record is served well.
    producer.send(&job.input, &over_keys(1, 1, |_| b"fine".to_vec()));
    job.await_done(&mut host);
    assert_eq!(host.metrics().errors_but_of_slow_batches(&job.name), []);
    assert_eq!(job.outputs().len(), 4);
    assert_eq!(host.terminate().code, 0);
}

#[test]
fn without_the_grant_standard_error_reaches_no_log_and_still_explains_a_trap() {
    let kafka = Kafka::shared();
    for allowed in [false, true] {
        let job = Job::new(kafka, &guest("hostile_trap"), 1)
            .set_in("allow", "log", &allowed.to_string())
            .dead_letters(0);
        let values = |at: usize| if at == 3 { b"!harm".to_vec() } else { b"fine".to_vec() };
        Producer::new(kafka).send(&job.input, &over_keys(10, 10, values));
        let mut host = job.start();
        job.await_done(&mut host);
        let log = host.status()["pipelines"][0]["log"].clone();
        let (lines, dropped) = (number(&log["lines"]), number(&log["dropped"]));
        assert_eq!((lines > 0, dropped > 0), (allowed, !allowed), "{log}");
        let ended = host.terminate();
        assert_eq!(ended.code, 0);
        let logged = ended.stderr.contains("sandmill::handler") || ended.stderr.contains("stderr");
        assert_eq!(logged, allowed, "{}", ended.stderr);
        let [letter] = &job.dead()[..] else { panic!("one dead letter") };
        let message = letter.header("sandmill-error-message").unwrap_or_default();
        assert!(message.contains("stderr: "), "{message}");
    }
}

#[test]
fn the_status_shows_limits_grants_instances_and_memory() {
    let kafka = Kafka::shared();
    let job = Job::new(kafka, &guest("echo"), 1)
        .set("max_instances", "5")
        .set_in("limits", "fuel", "123_456_789")
        .set_in("limits", "memory", "\"16MiB\"")
        .set_host("guest_memory", "\"1GiB\"");
    Producer::new(kafka).send(&job.input, &over_keys(3, 3, |_| b"x".to_vec()));
    let mut host = job.start();
    job.await_done(&mut host);
    let status = host.status();
    assert_eq!(status["guest_memory"]["limit_bytes"], 1024 * MIB, "{status}");
    assert_eq!(status["host"]["guest_memory"], "1GiB", "{status}");
    assert_eq!(
        (&status["host"]["stack"], &status["host"]["compile_memory"]),
        (&"1MiB".into(), &"2GiB".into())
    );
    assert_eq!(status["host"]["module_functions"], 200_000);
    let pipeline = &status["pipelines"][0];
    for (key, value) in [
        ("fuel", Value::from(123_456_789)),
        ("deadline", "5s".into()),
        ("memory", "16MiB".into()),
        ("total_memory", "1GiB".into()),
        ("core_instances", 16.into()),
        ("output_records", 1_000.into()),
    ] {
        assert_eq!(pipeline["limits"][key], value, "{key}: {status}");
    }
    assert_eq!(pipeline["allow"]["log"], false);
    assert_eq!(pipeline["allow"]["config"], true);
    assert_eq!(pipeline["instances"]["most"], 5);
    assert_eq!(pipeline["instances"]["calls_waiting"], 0);
    assert!(number(&pipeline["instances"]["live"]) >= 1, "one is warm: {status}");
    assert_eq!(pipeline["instances"]["live"], status["instances"]);
    assert!(number(&pipeline["guest_memory"]["used_bytes"]) > MIB / 16, "{status}");
    assert_eq!(pipeline["guest_memory"]["limit_bytes"], 1024 * MIB);
    assert_eq!(host.terminate().code, 0);
}

/// A configuration with one pipeline of `echo`, with more lines for host and pipeline.
fn configured(host: &str, pipeline: &str) -> (Home, PathBuf) {
    let home = Home::new();
    let handler = guest("echo");
    let text = format!(
        "[kafka]\n\"bootstrap.servers\" = \"127.0.0.1:1\"\n[http]\nlisten = \"off\"\n[host]\n{host}\n\
         [[pipeline]]\nname = \"orders\"\nhandler = {:?}\ninput = [\"in\"]\n{pipeline}\n",
        handler.display().to_string()
    );
    let file = home.file("sandmill.toml", text);
    (home, file)
}

fn said(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, code, "{}{}", ended.stdout, ended.stderr);
    for word in words {
        assert!(
            ended.stdout.contains(word) || ended.stderr.contains(word),
            "{word}: {}{}",
            ended.stdout,
            ended.stderr
        );
    }
}

#[test]
fn inspect_shows_what_a_module_asks_for_beside_what_it_may_have() {
    let home = Home::new();
    let echo = guest("echo");
    let ended = home.run(&[Path::new("inspect"), &echo]);
    said(
        &ended,
        0,
        &[
            "of 67108864 bytes",
            "of 200000 functions",
            " of 16 core instances",
            "1 of 2 memories",
            "of 65536 KiB",
            "by default",
            "fuel = 1000000000",
            "deadline = \"5s\"",
            "accepted",
        ],
    );
    let (home, file) = configured("stack = \"2MiB\"", "[pipeline.limits]\nfuel = 77_000\nmemory = \"32MiB\"");
    let ended = home.run(&[Path::new("inspect"), Path::new("--config"), &file, Path::new("--json")]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).expect("one JSON object");
    assert_eq!(report["limits"]["fuel"], 77_000, "{report}");
    assert_eq!(report["limits"]["stack"], "2MiB");
    assert_eq!(report["allow"]["config"], true);
    assert!(number(&report["needs"]["core_instances"]) >= 1, "{report}");
    assert_eq!(report["needs"]["memories"], 1);
    let none = home.run(&["inspect", "--config", &file.display().to_string(), "--pipeline", "other"]);
    said(&none, 2, &["no pipeline \"other\"", "\"orders\""]);
}

/// `inspect`, `check` and `run` agree, and say which key to raise.
#[test]
fn a_module_that_asks_for_too_much_is_refused_with_the_limit_and_its_key() {
    for (host, pipeline, words) in [
        (
            "",
            "[pipeline.limits]\ncore_instances = 1",
            &["core instances, more than the 1", "raise `limits.core_instances`"][..],
        ),
        (
            "",
            "[pipeline.batch]\nbytes = \"1KiB\"\n[pipeline.limits]\nmemory = \"64KiB\"",
            &["more than the 65536", "raise `limits.memory`"],
        ),
        ("module_functions = 3", "", &["more than the 3 functions", "raise `host.module_functions`"]),
        ("module_size = \"2KiB\"", "", &["more than the 2048", "raise `host.module_size`"]),
    ] {
        let (home, file) = configured(host, pipeline);
        let echo = guest("echo");
        said(&home.run(&[Path::new("inspect"), &echo, Path::new("--config"), &file]), REFUSED, words);
        said(
            &home.run(&[Path::new("check"), Path::new("--offline"), Path::new("--config"), &file]),
            REFUSED,
            words,
        );
        said(&home.run(&[Path::new("run"), Path::new("--config"), &file]), REFUSED, words);
    }
}
