//! `swap`: what a new module every second does to a pipeline that has more to do than it can, and how quickly one is
//! taken back.
//!
//! The base point through `stamp`, with output. Each run is a host of its own with a folder of its own, so that every
//! module is new to it. Both rows are watched for equally long; the one with swaps then goes back and forth between its
//! last two versions, still under load, works off its input, and must have written one output for each record.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sandmill::bench::{Topic, Work};
use sandmill_tests::host::{Home, Host};
use sandmill_tests::releases::{Manner, build};
use sandmill_tests::unique;
use serde_json::{Value, json};

use super::{Kind, Part, cold};
use crate::climb::{Passes, Sample, climb};
use crate::hosted::Pipeline;
use crate::operator::{Operator, Told, millis};
use crate::results::{Row, number};
use crate::rung::{Contender, Filling, Rung, Settings};
use crate::session::Session;
use crate::sizes::{Scale, Sizes};
use crate::topics::Topics;

/// The handler, and so the pipeline's name. It writes the name of its build.
const HANDLER: &str = "stamp";
/// Rows, in their order.
const ROWS: [&str; 2] = ["without swaps", "a swap a second"];
/// From the beginning of a deploy to that of the next.
const EVERY: Duration = Duration::from_secs(1);
/// Times that a version is taken back after the window.
const ROLLBACKS: usize = 10;
/// More than a core does in a second beside the broker: so many records the input has for each core and second.
const A_CORE: f64 = 600_000.0;
/// Records of the input at most, whatever the machine: they lie on a disk.
const MOST: u64 = 40_000_000;
/// Until the window begins, and for what is taken back after it, at most, in seconds.
const AROUND: f64 = 4.0;
/// Records in a second: tells how long a run takes, and nothing else.
const EXPECTED: f64 = 800_000.0;
/// Bytes of an output in the broker's log, about.
const OUTPUT: u64 = 45;
/// For a host to start, and for a window.
const LONG: Duration = Duration::from_secs(120);

pub(super) const PART: Part = Part {
    name: "swap",
    tells: "a new module every second under load, and versions that are taken back: pause, time, lost and repeated records",
    reference: ROWS[0],
    passes: cold,
    kind: Kind::Own { seconds, bytes, run },
};

/// More than a host does until it is stopped.
fn topic(sizes: &Sizes) -> Filling {
    if sizes.scale == Scale::Smoke {
        return Filling::base(1_000);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let seconds = sizes.whole_loop().as_secs_f64() + AROUND;
    Filling::base(((cores * A_CORE * seconds) as u64).min(MOST))
}

fn seconds(sizes: &Sizes) -> f64 {
    let topic = topic(sizes);
    let watched = sizes.whole_loop().as_secs_f64();
    // One is killed after its window, the other goes on to the end of its input.
    let both = 2.0 * (watched + 1.5) + AROUND.max(topic.records as f64 / EXPECTED - watched);
    topic.seconds() + both * cold(sizes).counted as f64
}

fn bytes(sizes: &Sizes) -> u64 {
    let topic = topic(sizes);
    topic.bytes() + topic.records * OUTPUT
}

fn run(session: &Session, passes: Passes) -> Result<Vec<Row>> {
    let filling = topic(&session.sizes);
    // Only to say which topic is to be filled.
    let rung = Rung::new(Contender::Wasm(Settings::default()), filling.clone(), Work::Noop, 1.0);
    let topics = Topics::fill(session, &[rung])?;
    let input = topics.get(&filling).context("the input was not filled")?;
    let rows = ROWS.map(|name| Row::new(name, &[("handler", HANDLER)])).into();
    Ok(climb("swap", passes, rows, |index| {
        let stage = Stage::start(session, input)?;
        if index == 0 { stage.without() } else { stage.with_swaps() }
    }))
}

/// A host that has begun to work.
struct Stage<'a> {
    session: &'a Session,
    input: &'a Topic,
    pipeline: Pipeline<'a>,
    host: Host,
    output: Output<'a>,
    operator: Operator,
    /// Goes after the host that lives in it.
    _home: Home,
}

/// What the output topic holds at one moment.
struct Mark {
    at: Instant,
    written: u64,
}

impl<'a> Stage<'a> {
    /// Starts a host, and waits until it has warmed up.
    fn start(session: &'a Session, input: &'a Topic) -> Result<Self> {
        let output = Output::new(session, input.partitions)?;
        let home = Home::new();
        let pipeline = Pipeline::new(session, HANDLER, &input.name).output(&output.name);
        let mut host = pipeline.spawn(&home);
        host.wait_for_log("\"message\":\"assigned\"", LONG);
        let operator = Operator::of(&home, &mut host, HANDLER)?;
        let mut stage = Stage { session, input, pipeline, host, output, operator, _home: home };
        stage.wait_till(Instant::now() + session.sizes.loop_warm_up);
        Ok(stage)
    }

    /// The reference: nothing but the load.
    fn without(mut self) -> Result<Sample> {
        let before = self.mark()?;
        self.wait_till(before.at + self.session.sizes.open_loop);
        let after = self.mark()?;
        let rate = self.rate(&before, &after)?;
        // What is still to be done is of no use to anybody.
        drop(self.host.kill());
        let seconds = (after.at - before.at).as_secs_f64();
        Ok(Sample {
            numbers: vec![(number::RATE, rate)],
            raw: json!({ "per_second": rate, "seconds": seconds }),
        })
    }

    fn with_swaps(mut self) -> Result<Sample> {
        // At least two, also in a window that is shorter than that.
        let count = (self.session.sizes.open_loop.as_secs_f64() / EVERY.as_secs_f64()).ceil().max(2.0) as u32;
        let modules: Vec<Vec<u8>> = (1..=count).map(|number| build(number, Manner::Works)).collect();
        let before = self.mark()?;
        let over = before.at + EVERY * count;
        let mut swaps = Vec::new();
        for (turn, module) in (1_u32..).zip(&modules) {
            swaps.push(self.operator.ask(&mut self.host, "deploy?handler=stamp", module)?.story);
            self.wait_till(before.at + EVERY * turn);
            // Deploys that take longer than a second are fewer, and the window is as long.
            if Instant::now() >= over {
                break;
            }
        }
        let after = self.mark()?;
        let rate = self.rate(&before, &after)?;
        let rollbacks = self.roll_back(&swaps)?;
        let [repeated, lost] = self.finish()?;

        let numbers = |of: &dyn Fn(&Value) -> f64| swaps.iter().map(of).collect::<Vec<f64>>();
        let pauses = numbers(&|story| story["pause"]["most_ms"].as_f64().unwrap_or(f64::INFINITY));
        let switches = numbers(&|story| millis(story, |step| step == "switch"));
        let deploys = numbers(&|story| millis(story, |step| step != "drain"));
        let took: Vec<f64> = rollbacks.iter().map(|told| told.took.as_secs_f64() * 1e3).collect();
        let numbers = vec![
            (number::RATE, rate),
            ("swaps", swaps.len() as f64),
            ("pause_p99_ms", quantile(&pauses, 0.99)?),
            ("switch_ms", quantile(&switches, 0.5)?),
            ("switch_max_ms", quantile(&switches, 1.0)?),
            ("deploy_ms", quantile(&deploys, 0.5)?),
            ("deploy_max_ms", quantile(&deploys, 1.0)?),
            ("rollback_max_ms", quantile(&took, 1.0)?),
            ("lost_records", lost as f64),
            ("repeated_records", repeated as f64),
        ];
        let raw = json!({
            "per_second": rate,
            "seconds": (after.at - before.at).as_secs_f64(),
            "swaps": swaps,
            "rollback_ms": took,
            "rollbacks": rollbacks.iter().map(|told| &told.story).collect::<Vec<_>>(),
        });
        Ok(Sample { numbers, raw })
    }

    /// Back and forth between the last two versions.
    fn roll_back(&mut self, swaps: &[Value]) -> Result<Vec<Told>> {
        let versions: Vec<u64> = swaps.iter().filter_map(|story| story["version"].as_u64()).collect();
        let [.., before, last] = versions[..] else {
            bail!("fewer than two deploys within the window: {swaps:?}")
        };
        let mut told = Vec::new();
        for turn in 0..ROLLBACKS {
            let to = if turn % 2 == 0 { before } else { last };
            told.push(self.operator.ask(&mut self.host, &format!("rollback?to={to}"), &[])?);
        }
        let after = self.mark()?;
        self.ensure_load(&after)?;
        Ok(told)
    }

    /// Waits for the rest, stops the host, and counts: how many outputs there are too many, and too few.
    fn finish(self) -> Result<[u64; 2]> {
        let Stage { session, input, pipeline, host, output, .. } = self;
        pipeline.finish(host)?;
        let written = u64::try_from(session.cluster.ends(&output.name)?.values().sum::<i64>())?;
        let [repeated, lost] = [written.saturating_sub(input.records), input.records.saturating_sub(written)];
        ensure!(
            repeated == 0 && lost == 0,
            "the output topic holds {written} records instead of {}: {lost} lost, {repeated} repeated",
            input.records
        );
        Ok([repeated, lost])
    }

    /// Waits, as long as the host runs.
    fn wait_till(&mut self, until: Instant) {
        self.host.wait_until("the time was over", LONG, |_| Instant::now() >= until);
    }

    fn mark(&self) -> Result<Mark> {
        let written = self.session.cluster.ends(&self.output.name)?.values().sum::<i64>();
        Ok(Mark { at: Instant::now(), written: u64::try_from(written)? })
    }

    /// Outputs written in a second between two marks.
    fn rate(&self, before: &Mark, after: &Mark) -> Result<f64> {
        self.ensure_load(after)?;
        Ok((after.written - before.written) as f64 / (after.at - before.at).as_secs_f64())
    }

    fn ensure_load(&self, mark: &Mark) -> Result<()> {
        let has_load = mark.written < self.input.records || self.session.sizes.scale == Scale::Smoke;
        ensure!(has_load, "the host ran out of its {} records before it was measured", self.input.records);
        Ok(())
    }
}

/// The output of one run. Dropped: deleted.
struct Output<'a> {
    session: &'a Session,
    name: String,
}

impl<'a> Output<'a> {
    fn new(session: &'a Session, partitions: i32) -> Result<Self> {
        let name = unique("swap-out");
        session.cluster.create_topic(&name, partitions, None)?;
        Ok(Self { session, name })
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.session.cluster.delete_topic(&self.name) {
            eprintln!("{error}");
        }
    }
}

/// The smallest value that this part of all does not exceed.
fn quantile(values: &[f64], part: f64) -> Result<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().context("nothing was measured")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let of = |part| quantile(&[3.0, 1.0, 2.0], part).ok();
        assert_eq!((of(0.5), of(0.99), of(1.0)), (Some(2.0), Some(3.0), Some(3.0)));
        assert!(quantile(&[], 0.5).is_err());
    }
}
