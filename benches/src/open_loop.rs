//! An open loop: a host beside a producer that keeps to its schedule, and what the loop's outputs tell.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use sandmill::bench::zipf::Zipf;
use sandmill_tests::unique;
use serde_json::json;

use crate::climb::Sample;
use crate::hosted::Pipeline;
use crate::latencies::{self, Latencies, STAMPED};
use crate::pacer::{self, Paced, Schedule};
use crate::results::number;
use crate::rung::KEYS;
use crate::session::Session;
use crate::sizes::Scale;

/// Keys follow from it.
pub(crate) const SEED: u64 = 0x1a7e;
/// Partitions of input and output.
const PARTITIONS: i32 = 8;
/// What the smoke run takes for the maximum.
const SMOKE: f64 = 2_000.0;

/// `key-0000` and so on.
pub(crate) fn write_key(number: usize, key: &mut Vec<u8>) {
    key.clear();
    key.extend_from_slice(format!("key-{number:04}").as_bytes());
}

/// A handler that emits every record, and what is set beyond the defaults.
pub(crate) type Handler<'a> = (&'a str, &'a [(&'a str, &'a str)]);

/// Runs a host beside a producer until all is committed, and reads the output: one record for each.
pub(crate) fn run<const KINDS: usize>(
    session: &Session,
    handler: Handler<'_>,
    schedule: Schedule,
    next: impl FnMut(u64, &mut Vec<u8>, &mut Vec<u8>),
    kind: impl Fn(&[u8]) -> usize,
) -> Result<(Paced, [Latencies; KINDS])> {
    let topics = Loop::new(session);
    let pipeline = topics.pipeline(handler);
    let host = pipeline.start();
    let paced = pacer::pace(&session.kafka.bootstrap(), &topics.input, schedule, next)?;
    pipeline.finish(host)?;
    let written = session.kafka.offsets_in(&topics.output);
    ensure!(
        u64::try_from(written)? == paced.records,
        "the output topic holds {written} records instead of {}",
        paced.records
    );
    let from = paced.begun_us + u64::try_from(session.sizes.loop_warm_up.as_micros())?;
    Ok((paced, latencies::read(session, &topics.output, from, kind)?))
}

/// What a host with this handler completes in a second while a producer beside it sends as fast as it can: the
/// maximum under the same sharing of cores as in the loops.
pub(crate) fn maximum(session: &Session, handler: Handler<'_>) -> Result<Sample> {
    if session.sizes.scale == Scale::Smoke {
        return Ok(Sample {
            numbers: vec![(number::RATE, SMOKE)],
            raw: json!("not measured in a smoke run"),
        });
    }
    let topics = Loop::new(session);
    let pipeline = topics.pipeline(handler);
    let host = pipeline.start();
    let sizes = &session.sizes;
    let schedule = Schedule { rate: None, lasts: sizes.whole_loop() + sizes.loop_warm_up };
    let (brokers, input) = (session.kafka.bootstrap(), topics.input.clone());
    let (sender, ended) = channel();
    let flood = std::thread::spawn(move || {
        let mut keys = Zipf::new(KEYS, SEED);
        let paced = pacer::pace(&brokers, &input, schedule, |due, key, value| {
            write_key(keys.next().unwrap_or_default(), key);
            pacer::value("0ms", due, value);
        });
        // Whoever waited too long is gone.
        let _ = sender.send(paced);
    });
    // The window begins once the host has started to work and ends before the producer does.
    let mut marks = Vec::new();
    for wait in [sizes.loop_warm_up, sizes.open_loop] {
        match ended.recv_timeout(wait) {
            Err(RecvTimeoutError::Timeout) => {
                marks.push((Instant::now(), session.kafka.offsets_in(&topics.output)));
            }
            Ok(paced) => paced.map(drop)?,
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let [(begun, before), (over, after)] = marks[..] else {
        return Err(anyhow!("the producer ended before its time"));
    };
    let paced = ended.recv().context("the producer's thread panicked")??;
    flood.join().map_err(|_| anyhow!("the producer's thread panicked"))?;
    // What is still to be done is of no use to anybody.
    drop(host.kill());
    let rate = (after - before) as f64 / (over - begun).as_secs_f64();
    ensure!(rate > 0.0, "the host completed nothing beside a flood of {} records", paced.records);
    let raw = json!({ "completed": after - before, "seconds": (over - begun).as_secs_f64(), "sent": paced.records });
    Ok(Sample { numbers: vec![(number::RATE, rate)], raw })
}

/// Input and output of one loop. Dropped: deleted.
struct Loop<'a> {
    session: &'a Session,
    input: String,
    output: String,
}

impl<'a> Loop<'a> {
    fn new(session: &'a Session) -> Self {
        let (input, output) = (unique("loop-in"), unique("loop-out"));
        session.kafka.create_topic(&input, PARTITIONS, &[]);
        session.kafka.create_topic(&output, PARTITIONS, &STAMPED);
        Self { session, input, output }
    }

    fn pipeline(&self, (handler, set): Handler<'_>) -> Pipeline<'a> {
        let pipeline = Pipeline::new(self.session, handler, &self.input).output(&self.output);
        set.iter().fold(pipeline, |pipeline, (key, value)| pipeline.set(key, value))
    }
}

impl Drop for Loop<'_> {
    fn drop(&mut self) {
        for topic in [&self.input, &self.output] {
            if let Err(error) = self.session.cluster.delete_topic(topic) {
                eprintln!("{error}");
            }
        }
    }
}
