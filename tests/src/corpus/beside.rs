//! Runs a group of cases beside a well-behaved neighbour, and holds the host to its promise.
//!
//! All are pipelines of one host. The neighbour gets records for as long as the others have any, so that there is no
//! moment of harm at which it had nothing to do. Then the promise: the host is alive and ends in order, it never held
//! more memory than its configuration says, every record of the neighbour came out once, unchanged and in order, each
//! hostile pipeline lost the records that it harmed and no others, with the outcome that its case names, and goes on.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Case, Fate, Group};
use crate::guests::guest;
use crate::host::{Ended, Home, Host};
use crate::job::{DONE, Job};
use crate::kafka::Kafka;
use crate::ledger::{Ledger, Order, Report, now, number_of, over_keys};
use crate::metrics::Scrape;
use crate::producer::Producer;

/// Partitions of each topic.
const PARTITIONS: i32 = 2;
/// Records of each hostile pipeline: first those with some that are marked, then those that it has to serve all the same.
const FIRST: usize = 240;
const NEXT: usize = 100;
/// Which of the first are marked: each of so many, from the eighth on.
const MARKED: usize = 40;
/// Keys of each input.
const KEYS: usize = 24;
/// Records that the neighbour gets at once, and at most.
const STREAM: usize = 40;
const STREAM_AT_MOST: usize = 20_000;
/// The first of them is larger than any before by so many bytes, up to a size that a broker takes: its instances grow, so
/// that memory which others took is missed.
const GROWTH: usize = 20 << 10;
const LARGEST: usize = 400 << 10;

/// Workers of the host.
const WORKERS: u64 = 2;
/// `max_instances` of each pipeline.
const INSTANCES: u64 = 2;
/// What the client of a pipeline may keep, and what may be in flight: `queued.max.messages.kbytes`, `fetch.max.bytes`,
/// `queue.buffering.max.kbytes`, `in_flight.bytes`.
const QUEUED_MIB: u64 = 1;
const FETCH_MIB: u64 = 1;
const OUTPUTS_MIB: u64 = 2;
const IN_FLIGHT_MIB: u64 = 2;
/// The program, what modules compile to, and what allocators keep back: two thirds of what the host reckons.
const PROGRAM_MIB: u64 = 64;
/// Threads, buffers and lists of a pipeline: what is left when all of the above is counted.
const PIPELINE_MIB: u64 = 2;

/// Bytes of log that a pipeline may write in a second, and so with one call at most.
const LOG_KIB: usize = 16;

/// How long a start may fail to come before the moment from which no instance starts, in milliseconds.
const BEFORE_LATE: [i64; 3] = [3_000, 12_000, 40_000];

/// What a run measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Records of the neighbour, all done.
    pub neighbour: usize,
    /// The most that the host held at any time, in MiB.
    pub peak_mib: u64,
    /// What it may hold.
    pub bound_mib: u64,
}

/// One case as a pipeline.
struct Attack<'k> {
    case: &'static Case,
    job: Job<'k>,
    ledger: Ledger,
    /// Numbers of the records that it harms.
    victims: BTreeSet<usize>,
}

/// What a host with this group may hold at most, in MiB, by its configuration: the program; all instances; what workers
/// copy out of instances at once; and for each pipeline what its clients keep and what is in flight.
#[must_use]
pub fn bound_mib(group: &Group) -> u64 {
    let pipelines = group.cases.len() as u64 + 1;
    let client = QUEUED_MIB + FETCH_MIB + OUTPUTS_MIB;
    PROGRAM_MIB
        + group.guest_memory
        + WORKERS * group.memory
        + pipelines * (client + IN_FLIGHT_MIB + PIPELINE_MIB)
}

/// Runs the group, and says what its host held.
///
/// # Panics
/// When a promise is not kept, with what was found in its place.
pub fn run(kafka: &Kafka, group: &'static Group) -> Held {
    let producer = Producer::new(kafka);
    let modules = Home::new();
    // One failure of one of its records would halt it.
    let neighbour = small(Job::new(kafka, &guest("echo"), PARTITIONS), group).then("halt", 0);
    let mut book = Ledger::default();
    let stream = |book: &mut Ledger| {
        let large = (book.len() / STREAM * GROWTH).min(LARGEST);
        let values = |at| if at == 0 { vec![b'x'; large] } else { b"fine".to_vec() };
        book.produce(&producer, &neighbour.input, over_keys(STREAM, KEYS, values));
    };
    stream(&mut book);
    let mut attacks: Vec<Attack<'_>> =
        group.cases.iter().map(|case| Attack::new(kafka, &modules, group, case)).collect();
    let mut host = start(group, &neighbour, &attacks);
    for attack in &mut attacks {
        attack.produce(&producer, FIRST, |at| at % MARKED == 7);
    }
    await_all(&mut host, &attacks, |_| {
        if book.len() < STREAM_AT_MOST {
            stream(&mut book);
        }
    });
    for attack in &mut attacks {
        attack.produce(&producer, NEXT, |_| false);
    }
    await_all(&mut host, &attacks, |_| ());
    stream(&mut book);
    neighbour.await_done(&mut host);

    let metrics = host.metrics();
    attacks.iter().for_each(|attack| attack.check_metrics(&metrics));
    assert_eq!(metrics.errors_but_of_slow_batches(&neighbour.name), [], "calls of the neighbour failed");
    let (bound, said, peak) = (bound_mib(group), said_mib(&host), host.peak_bytes().div_ceil(1 << 20));
    println!("{}: {peak} of at most {bound} MiB; the host said {said}", group.name);
    assert!(peak <= bound, "{peak} MiB were held, {bound} is the bound");
    assert!(peak <= said, "{peak} MiB were held, the host said {said}");
    check_end(&host.terminate(), group);
    book.compare(&[&neighbour.outputs()], Order::Key).assert_exact();
    attacks.iter().for_each(Attack::check_arrivals);
    Held { neighbour: book.len(), peak_mib: peak, bound_mib: bound }
}

/// A pipeline whose share of the bound is small, so that what is not bounded shows.
fn small<'k>(job: Job<'k>, group: &Group) -> Job<'k> {
    let mib = |mib: u64| format!("\"{mib}MiB\"");
    job.set("max_instances", &INSTANCES.to_string())
        .set_in("in_flight", "bytes", &mib(IN_FLIGHT_MIB))
        .set_in("limits", "memory", &mib(group.memory))
        .kafka("queued.max.messages.kbytes", &(QUEUED_MIB << 10).to_string())
        .kafka("fetch.max.bytes", &(FETCH_MIB << 20).to_string())
        .kafka("message.max.bytes", &(FETCH_MIB << 20).to_string())
        .kafka("queue.buffering.max.kbytes", &(OUTPUTS_MIB << 10).to_string())
}

/// Starts the host. Where a handler is to start only before some moment, that is soon; the records wait for it.
fn start(group: &Group, neighbour: &Job<'_>, attacks: &[Attack<'_>]) -> Host {
    let is_late = attacks.iter().any(|attack| attack.case.fate == Fate::EveryStart);
    for before in BEFORE_LATE {
        let from = now() + before;
        let pipelines = attacks.iter().map(|attack| {
            let pipeline = attack.job.pipeline();
            pipeline.replace("[pipeline.config]", &format!("[pipeline.config]\nfrom = \"{from}\""))
        });
        let pipelines: String = [neighbour.pipeline()].into_iter().chain(pipelines).collect();
        let file = neighbour.file_of(&pipelines).replace(
            "[host]",
            &format!("[host]\nguest_memory = \"{}MiB\"\nworkers = {WORKERS}", group.guest_memory),
        );
        let file = neighbour.home.file("sandmill.toml", file);
        let mut host = neighbour.home.spawn(&[Path::new("run"), Path::new("--config"), &file]);
        if !is_late {
            return host;
        }
        // Who was too late compiled the module for the next one.
        let in_time = host.await_some("it said whether all handlers start", DONE, |host| {
            if host.log().contains("does not start") { Some(false) } else { ready(host).then_some(true) }
        });
        if in_time {
            host.wait_until("the moment had come", DONE, |_| now() > from);
            return host;
        }
    }
    panic!("no host started in time");
}

fn ready(host: &mut Host) -> bool {
    host.get("/readyz").is_some_and(|(code, _)| code == 200)
}

/// Waits until all hostile pipelines have done what they have.
fn await_all(host: &mut Host, attacks: &[Attack<'_>], mut meanwhile: impl FnMut(&mut Host)) {
    let mut open: Vec<&Attack<'_>> = attacks.iter().collect();
    let limit = Duration::from_secs(2 * DONE.as_secs());
    host.wait_until("all hostile pipelines were done", limit, |host| {
        assert!(!host.log().contains("the pipeline failed"), "{}", host.log());
        meanwhile(host);
        open.retain(|attack| !attack.job.is_done());
        open.is_empty()
    });
    host.await_snapshot(DONE);
}

/// The bound that the host itself said at its start, in MiB.
fn said_mib(host: &Host) -> u64 {
    let log = host.log();
    let (_, rest) = log.split_once("memory: at most ").expect("it says so at its start");
    let mib = rest.split("MiB").next().and_then(|digits| digits.parse().ok());
    mib.unwrap_or_else(|| panic!("no number of MiB in {rest:?}"))
}

/// It ended in order, and its log is one for people.
#[track_caller]
fn check_end(ended: &Ended, group: &Group) {
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    // The six marked records of each may run in as many calls as they have records; the host's own words.
    let most = (group.cases.len() + 1) * 8 * (LOG_KIB << 10);
    assert!(ended.stderr.len() <= most, "the log has {} bytes, {most} are the most", ended.stderr.len());
    let steers = ended.stderr.chars().find(|character| character.is_control() && *character != '\n');
    assert_eq!(steers, None, "what steers a terminal is in the log");
    let forged = ended.stderr.lines().find(|line| line.starts_with("2026-01-01"));
    assert_eq!(forged, None, "a line of a guest's own is in the log");
}

impl<'k> Attack<'k> {
    fn new(kafka: &'k Kafka, modules: &Home, group: &Group, case: &'static Case) -> Self {
        let mut job = small(Job::new(kafka, &case.file(modules), PARTITIONS), group)
            // Only where another instance is to serve a record is it tried again.
            .dead_letters(if let Fate::Again(_) = case.fate { 5 } else { 0 })
            .set_in("allow", "log", "true")
            .set_in("limits", "log_bytes_per_second", &format!("\"{LOG_KIB}KiB\""));
        for (key, value) in case.config {
            job = job.config(key, value);
        }
        for (key, value) in case.limits {
            job = job.set_in("limits", key, value);
        }
        for (table, key, value) in case.grants {
            job = job.set_in(table, key, value);
        }
        Self { case, job, ledger: Ledger::default(), victims: BTreeSet::new() }
    }

    fn produce(&mut self, producer: &Producer, count: usize, is_marked: impl Fn(usize) -> bool) {
        let first = self.ledger.len();
        let values = |at| if is_marked(at) { self.case.mark.as_bytes().to_vec() } else { b"fine".to_vec() };
        let places = self.ledger.produce(producer, &self.job.input, over_keys(count, KEYS, values));
        let harmed = places.iter().enumerate().filter(|(at, place)| match self.case.fate {
            Fate::Marked(_) => is_marked(*at),
            Fate::Odd(_) => place.offset % 2 != 0,
            Fate::EveryStart => true,
            _ => false,
        });
        self.victims.extend(harmed.map(|(at, _)| first + at));
    }

    /// Its failures have the outcome of the case, and no record but its victims failed.
    #[track_caller]
    fn check_metrics(&self, metrics: &Scrape) {
        let name = self.case.name();
        match self.case.fate.outcome() {
            Some(outcome) => {
                let least = self.victims.len().max(1) as f64;
                let counted = metrics.errors(&self.job.name);
                let expected = counted.iter().any(|(error, count)| *error == outcome && *count >= least);
                assert!(expected, "{name}: no {least} of {outcome} among {counted:?}");
                // A call of several marked records may take more than each alone, and fail in another way first.
            }
            None => assert_eq!(metrics.errors_but_of_slow_batches(&self.job.name), [], "{name}"),
        }
        let done = |status| {
            let labels = [("pipeline", self.job.name.as_str()), ("status", status)];
            metrics.sum("consumer_processed_total", &labels).unwrap_or(0.0)
        };
        let failed = self.victims.len();
        let expected = ((self.ledger.len() - failed) as f64, failed as f64);
        assert_eq!((done("success"), done("failure")), expected, "{name}: successes and failures");
    }

    /// Its victims, and no others, are dead letters; all others came out, if it emits at all.
    #[track_caller]
    fn check_arrivals(&self) {
        let (name, outputs, dead) = (self.case.name(), self.job.outputs(), self.job.dead());
        let numbers: Vec<usize> = dead.iter().filter_map(number_of).collect();
        assert_eq!(numbers.len(), self.victims.len(), "{name}: dead letters");
        assert_eq!(numbers.into_iter().collect::<BTreeSet<_>>(), self.victims, "{name}: dead letters");
        for letter in &dead {
            let outcome = letter.header("sandmill-error-type");
            assert_eq!(outcome.as_deref(), self.case.fate.outcome(), "{name}");
            let message = letter.header("sandmill-error-message").unwrap_or_default();
            assert!(message.len() <= 1024, "{name}: the message has {} bytes", message.len());
            assert!(!message.chars().any(char::is_control), "{name}: the message is {message:?}");
        }
        if self.case.emits() {
            let report = self.ledger.compare(&[&outputs, &dead], Order::Key);
            assert!(report == Report::default(), "{name}: {report}");
        } else {
            assert!(outputs.is_empty(), "{name}: it emits nothing");
        }
    }
}
