//! Handlers are replaced while records flow: nothing is lost, nothing is done twice, order is kept, and what cannot run
//! never takes the place of what does.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sandmill_tests::guests::guest;
use sandmill_tests::host::{Home, Host};
use sandmill_tests::job::Job;
use sandmill_tests::kafka::Kafka;
use sandmill_tests::ledger::{Ledger, Order, over_keys};
use sandmill_tests::producer::Producer;
use sandmill_tests::reader::Record;
use sandmill_tests::releases::{self, Manner, Operator, name, put, version_of};
use serde_json::Value;

const KEYS: usize = 100;
/// Until a file that changed is deployed, on a busy machine.
const LONG: Duration = Duration::from_secs(60);

fn build(number: u32) -> Vec<u8> {
    releases::build(number, Manner::Works)
}

/// A pipeline whose handler's file is its own.
fn job<'k>(kafka: &'k Kafka, modules: &Home) -> (Job<'k>, PathBuf) {
    let path = modules.file("stamp.wasm", build(0));
    (Job::new(kafka, &path, 4), path)
}

/// Calls of this build that ended.
fn calls_of(host: &mut Host, number: u32) -> f64 {
    host.metric("handler_completions_total", &[("module_version", &version_of(&build(number)))])
}

fn last_deploy(host: &mut Host) -> Value {
    host.status()["pipelines"][0]["last_deploy"].clone()
}

#[test]
fn a_handler_that_is_replaced_again_and_again_under_load_loses_and_repeats_nothing() {
    let kafka = Kafka::shared();
    let modules = Home::new();
    let (mut job, path) = job(kafka, &modules);
    // One partition shows the order of all outputs.
    job.output = kafka.new_topic("builds", 1);
    // So little memory that calls wait for it, and one on trial would find none.
    let job = job.set_in("batch", "bytes", "\"64KiB\"").set_in("limits", "memory", "\"512KiB\"").set_in(
        "limits",
        "total_memory",
        "\"512KiB\"",
    );
    let producer = Producer::new(kafka);
    let mut ledger = Ledger::default();
    let mut more = || {
        ledger.produce(&producer, &job.input, over_keys(500, KEYS, |_| b"x".to_vec()));
    };
    more();
    let mut host = job.start();
    host.wait_ready();
    let swaps = if sandmill_tests::full() { 30 } else { 6 };
    for number in 1..=swaps {
        put(&path, &build(number));
        host.wait_until("the new build was deployed", LONG, |host| {
            more();
            last_deploy(host)["generation"] == number + 1 && calls_of(host, number) > 0.0
        });
    }
    more();
    job.await_done(&mut host);
    host.wait_until("nothing was left of the builds before", LONG, |host| {
        host.log().matches("nothing is left of the generation before").count() == swaps as usize
    });
    assert_eq!(host.terminate().code, 0);
    let outputs = job.outputs();
    ledger.compare(&[&outputs], Order::Key).assert_exact();
    // Each came from one build, and no key went back to one that was replaced.
    let mut newest: BTreeMap<_, String> = BTreeMap::new();
    let mut builds = BTreeSet::new();
    for output in &outputs {
        let build = output.text();
        let before = newest.insert(output.key.clone(), build.clone());
        assert!(before.is_none_or(|before| before <= build), "a key went back to {build}");
        builds.insert(build);
    }
    assert_eq!(builds, (0..=swaps).map(name).collect());
}

#[test]
fn what_cannot_run_leaves_the_old_one_in_its_place_and_says_at_which_step_it_failed() {
    let kafka = Kafka::shared();
    let modules = Home::new();
    let (job, path) = job(kafka, &modules);
    let producer = Producer::new(kafka);
    let mut ledger = Ledger::default();
    let mut host = job.start();
    host.wait_ready();
    let whole = build(1);
    let no_handler = b"\0asm\x01\0\0\0".to_vec();
    let does_not_start = fs::read(guest("hostile_start_fails")).expect("the handler was built");
    for (module, step, word) in [
        (b"a note".to_vec(), "compile", "no WebAssembly"),
        (whole[..whole.len() / 2].to_vec(), "compile", "cut short"),
        (no_handler, "compile", "core module"),
        (does_not_start, "start", "start"),
    ] {
        put(&path, &module);
        host.wait_until("it was refused", LONG, |host| {
            let last = last_deploy(host);
            last["result"] == "refused"
                && last["step"] == step
                && last["reason"].as_str().is_some_and(|reason| reason.contains(word))
        });
        ledger.produce(&producer, &job.input, over_keys(100, KEYS, |_| b"x".to_vec()));
        job.await_done(&mut host);
    }
    // What was there before is no deploy, and neither is a file that is gone.
    fs::remove_file(&path).expect("it was there");
    put(&path, &build(0));
    host.wait_until("it was seen", LONG, |host| last_deploy(host)["generation"] == 1);
    put(&path, &whole);
    host.wait_until("it was deployed", LONG, |host| last_deploy(host)["generation"] == 2);
    ledger.produce(&producer, &job.input, over_keys(100, KEYS, |_| b"x".to_vec()));
    job.await_done(&mut host);
    assert_eq!(host.terminate().code, 0);
    let outputs = job.outputs();
    ledger.compare(&[&outputs], Order::Key).assert_exact();
    let of = |number| outputs.iter().filter(|output| output.text() == name(number)).count();
    assert_eq!((of(0), of(1)), (400, 100));
}

#[test]
fn a_swap_every_second_while_the_workers_are_saturated_loses_and_repeats_nothing() {
    let kafka = Kafka::shared();
    let modules = Home::new();
    let (mut job, path) = job(kafka, &modules);
    job.output = kafka.new_topic("builds", 1);
    let producer = Producer::new(kafka);
    let mut ledger = Ledger::default();
    // Each fourth record takes some milliseconds: the workers always have more than they can do.
    let busy = |number| releases::build(number, Manner::Waits);
    put(&path, &busy(0));
    ledger.produce(&producer, &job.input, over_keys(10_000, KEYS, |_| b"x".to_vec()));
    let mut host = job.start();
    host.wait_ready();
    let swaps: u32 = if sandmill_tests::full() { 60 } else { 6 };
    let operator = Operator::of(&job.home, &mut host, &job.name);
    let (mut looks, mut saturated) = (0, 0);
    for number in 1..=swaps {
        let since = Instant::now();
        drop(operator.deploy(&busy(number), &[]));
        host.wait_until("a second was over", LONG, |_| {
            let open = kafka.offsets_in(&job.input) - kafka.offsets_in(&job.output);
            looks += 1;
            saturated += u32::from(open > 0);
            if open < 10_000 {
                ledger.produce(&producer, &job.input, over_keys(5_000, KEYS, |_| b"x".to_vec()));
            }
            since.elapsed() >= Duration::from_secs(1)
        });
    }
    // A deploy that a busy machine takes long for may see the end of what was fed before.
    assert!(2 * saturated > looks, "the workers had nothing to do at {} of {looks} looks", looks - saturated);
    job.await_done(&mut host);
    assert_eq!(host.terminate().code, 0);
    let outputs = job.outputs();
    ledger.compare(&[&outputs], Order::Key).assert_exact();
    let mut newest: BTreeMap<_, String> = BTreeMap::new();
    for output in &outputs {
        let before = newest.insert(output.key.clone(), output.text());
        assert!(before.is_none_or(|before| before <= output.text()), "a key went back to {}", output.text());
    }
    let builds: BTreeSet<_> = outputs.iter().map(Record::text).collect();
    assert_eq!(builds.len() as u32, swaps + 1);
}
