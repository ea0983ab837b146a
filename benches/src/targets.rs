//! What the product is to reach, and whether it does: ratios of one run, computed from its result alone.
//!
//! A peer is taken at its best: of its settings the one with the highest median, and of a JVM the second half of
//! a run where that is quicker than the whole. What is judged is the median of the ratios pass by pass.

use serde::{Deserialize, Serialize};

use crate::results::{Part, Results, Row, number};
use crate::spread::{Spread, ratio, times};

/// The bound of the client's fetch queue under the host's default settings (`queued.max.messages.kbytes`).
const FETCH_BUFFER: f64 = (64 << 20) as f64;
const MIB: f64 = (1 << 20) as f64;

/// What is asked of a number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Asked {
    AtLeast(f64),
    AtMost(f64),
}

/// One target with what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub what: String,
    pub asked: Asked,
    pub unit: String,
    /// None: not measured in this run.
    pub measured: Option<Spread>,
}

impl Verdict {
    /// Whether it is reached; none where it was not measured.
    pub(crate) fn reached(&self) -> Option<bool> {
        let median = self.measured?.median;
        Some(match self.asked {
            Asked::AtLeast(least) => median >= least,
            Asked::AtMost(most) => median <= most,
        })
    }
}

/// All targets, in the order in which they were set.
pub(crate) fn verdicts(results: &Results) -> Vec<Verdict> {
    let rows = Rows(results);
    let mut verdicts = Vec::new();
    let mut target = |what: &str, asked: Asked, unit: &str, measured: Option<Spread>| {
        verdicts.push(Verdict { what: what.to_owned(), asked, unit: unit.to_owned(), measured });
    };
    use Asked::{AtLeast, AtMost};

    let noop = |row| rows.numbers("noop", row, number::RATE);
    target(
        "no-op, key order, Zipf keys: wasm / raw poll loop",
        AtLeast(0.9),
        "",
        noop("wasm").over(noop("raw, poll")),
    );
    target("the same: wasm / native host", AtLeast(0.95), "", noop("wasm").over(noop("native")));
    let parse = |row| rows.numbers("parse", row, number::RATE);
    target(
        "parse without output: wasm / native host",
        AtLeast(0.85),
        "",
        parse("wasm").over(parse("native")),
    );
    let output = |row| rows.numbers("parse-output", row, number::RATE);
    let loops = output("raw, consume and produce");
    target(
        "parse with one output: wasm / bare consume-produce loop",
        AtLeast(0.8),
        "",
        output("wasm").over(loops),
    );
    let franz = "plain franz-go loop";
    let what = "parse with one output: wasm / franz-go, both in order of a partition";
    target(what, AtLeast(1.5), "", output("wasm, partition").over(output(franz)));
    let what = "parse without output: wasm / franz-go, both in order of a partition";
    target(what, AtLeast(1.3), "", parse("wasm, partition").over(parse(franz)));

    let confluent = |part, ordering| {
        rows.best(
            part,
            &[
                ("level", "confluent"),
                ("ordering", ordering),
                ("keys", if part == "noop" { "zipf" } else { "log" }),
            ],
        )
    };
    let bento = |part| rows.best(part, &[("level", "bento")]);
    let what = "no-op, key order, Zipf keys: wasm / Confluent's Parallel Consumer at its best";
    target(what, AtLeast(100.0), "", noop("wasm").over(confluent("noop", "key")));
    let what = "no-op, unordered: wasm / Confluent's Parallel Consumer at its best";
    target(what, AtLeast(10.0), "", noop("wasm, unordered").over(confluent("noop", "unordered")));
    target("no-op: wasm / Bento at its best", AtLeast(5.0), "", noop("wasm").over(bento("noop")));
    let what = "parse with one output, key order: wasm / Confluent's at its best";
    target(what, AtLeast(20.0), "", output("wasm").over(confluent("parse-output", "key")));
    let what = "parse with one output: wasm / Bento at its best";
    target(what, AtLeast(5.0), "", output("wasm").over(bento("parse-output")));

    let wait = |row: &str| rows.numbers("wait", row, number::RATE);
    for (name, what) in [
        ("1 ms, 100 at once", "wait 1 ms, 100 in flight, key order, uniform keys: of 100 bare tokio tasks"),
        ("10 ms, 1000 at once", "wait 10 ms, 1,000 in flight: of 1,000 bare tokio tasks"),
    ] {
        let tasks = wait(&format!("{name}, tokio"));
        target(what, AtLeast(0.85), "", wait(&format!("{name}, wasm")).over(tasks));
    }
    let skew = |row| rows.numbers("skew", row, number::P99);
    let what = "skew: other keys' p99 with slow keys / without";
    target(what, AtMost(1.5), "", skew("with slow keys").over(skew("without slow keys")));
    let neighbour = |name| rows.against("neighbour", "an equal", name);
    let what = "rate beside a handler that misbehaves, the worst of all / beside an equal one";
    let by_median = |one: &Spread, other: &Spread| one.median.total_cmp(&other.median);
    let slowest = neighbour(number::RATE).and_then(|rates| rates.into_iter().min_by(by_median));
    target(what, AtLeast(0.9), "", slowest);
    let latest = neighbour(number::P99).and_then(|p99| p99.into_iter().max_by(by_median));
    target("the same: p99 from dispatch to completion", AtMost(2.0), "", latest);
    let swap = |name| rows.numbers("swap", "a swap a second", name).spread();
    target("a swap a second: p99 of the longest pauses", AtMost(1.0), "ms", swap("pause_p99_ms"));
    target("the same: longest rollback", AtMost(1_000.0), "ms", swap("rollback_max_ms"));
    let cpu = |row| rows.numbers("cpu", row, number::RATE);
    target(
        "cpu 100 µs: two workers / one",
        AtLeast(1.85),
        "",
        cpu("100 µs, 2 workers").over(cpu("100 µs, 1 worker")),
    );
    let micro = |row| rows.numbers("micro", row, "cpu_ns");
    let what = "metrics: CPU of a record in a micro benchmark, calls of one record";
    target(what, AtMost(100.0), "ns", micro("telemetry/record/1").spread());
    let metrics = |row| rows.numbers("metrics", row, number::CPU);
    target("metrics: CPU on / off with parse", AtMost(1.01), "", metrics("on").over(metrics("off")));
    let sweep = |row| rows.numbers("sweep", row, number::CPU);
    let what = "CPU of a record: 64 partitions / 1 partition";
    target(what, AtMost(1.15), "", sweep("wasm, 64 partitions").over(sweep("wasm, 1 partition")));
    let latency = |name| rows.numbers("latency", "1,000/s", name).spread();
    target("latency at 1,000 records/s, open loop: p50", AtMost(3.0), "ms", latency(number::P50));
    target("the same: p99", AtMost(15.0), "ms", latency(number::P99));
    let start = micro("instance/start-drop/noop").spread().map(|ns| times(ns, 1e-3));
    target("start of an instance with WASI", AtMost(10.0), "µs", start);
    let beyond = rows.largest(&["noop", "parse", "parse-output"]).map(|peak| Spread {
        min: (peak.min - FETCH_BUFFER) / MIB,
        median: (peak.median - FETCH_BUFFER) / MIB,
        max: (peak.max - FETCH_BUFFER) / MIB,
    });
    target(
        "peak RSS of wasm beyond the fetch buffer, largest of no-op and parse",
        AtMost(150.0),
        "MiB",
        beyond,
    );
    let growth = rows.first("flat", "growth_bytes").spread().map(|bytes| times(bytes, 1.0 / MIB));
    target("growth of a steady host, as long as `flat` says", AtMost(4.0), "MiB", growth);
    verdicts
}

/// Numbers of one row, pass by pass; none where the row is not there.
struct Numbers(Option<Vec<f64>>);

impl Numbers {
    fn over(self, below: Numbers) -> Option<Spread> {
        ratio(&self.0?, &below.0?)
    }

    fn spread(self) -> Option<Spread> {
        Spread::of(self.0?)
    }
}

struct Rows<'a>(&'a Results);

impl Rows<'_> {
    fn numbers(&self, part: &str, row: &str, name: &str) -> Numbers {
        Numbers(self.0.part(part).and_then(|part| part.row(row)).map(|row| row.number(name).to_vec()))
    }

    /// Of a part's only row.
    fn first(&self, part: &str, name: &str) -> Numbers {
        Numbers(self.0.part(part).and_then(|part| part.rows.first()).map(|row| row.number(name).to_vec()))
    }

    /// All rows of a part but one, over that one. None where one of them has no figure: the worst may be missing.
    fn against(&self, part: &str, reference: &str, name: &str) -> Option<Vec<Spread>> {
        let rows = self.0.part(part).map_or(&[][..], |part: &Part| &part.rows);
        let others = rows.iter().filter(|row| row.name != reference);
        let over = |row: &Row| self.numbers(part, &row.name, name).over(self.numbers(part, reference, name));
        others.map(over).collect()
    }

    /// Rates of the quickest row that has all these traits.
    fn best(&self, part: &str, traits: &[(&str, &str)]) -> Numbers {
        let rows = self.0.part(part).map_or(&[][..], |part: &Part| &part.rows);
        let fitting = rows.iter().filter(|row| traits.iter().all(|(key, value)| row.has(key, value)));
        let rates = fitting.map(best_rates).filter(|rates| !rates.is_empty());
        let median = |rates: &Vec<f64>| Spread::of(rates.iter().copied()).map_or(0.0, |spread| spread.median);
        Numbers(rates.max_by(|one, other| median(one).total_cmp(&median(other))))
    }

    /// The largest peak of a host with a module.
    fn largest(&self, parts: &[&str]) -> Option<Spread> {
        let rows = parts.iter().filter_map(|part| self.0.part(part)).flat_map(|part| &part.rows);
        let peaks =
            rows.filter(|row| row.has("level", "wasm")).filter_map(|row| row.spread(number::PEAK_RSS));
        peaks.max_by(|one, other| one.median.total_cmp(&other.median))
    }
}

/// The whole run or its second half, pass by pass, whichever was quicker.
fn best_rates(row: &Row) -> Vec<f64> {
    let whole = row.number(number::RATE);
    let half = row.number(number::WARM_RATE).iter().copied().chain(std::iter::repeat(0.0));
    whole.iter().zip(half).map(|(whole, half)| whole.max(half)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sizes::Scale;

    fn row(name: &str, traits: &[(&str, &str)], numbers: &[(&str, &[f64])]) -> Row {
        let numbers = numbers.iter().map(|(name, values)| ((*name).to_owned(), values.to_vec()));
        Row { numbers: numbers.collect(), ..Row::new(name, traits) }
    }

    fn results(parts: Vec<(&str, Vec<Row>)>) -> Results {
        let parts = parts.into_iter().map(|(name, rows)| Part {
            name: name.to_owned(),
            session: 0,
            took_seconds: 1.0,
            disk_bytes: 0,
            topics: Vec::new(),
            rows,
        });
        Results { parts: parts.collect(), left_out: BTreeMap::new(), ..Results::new(Scale::Full) }
    }

    fn verdict(results: &Results, what: &str) -> Verdict {
        let found = verdicts(results).into_iter().find(|verdict| verdict.what.contains(what));
        found.unwrap_or_else(|| panic!("no target {what:?}"))
    }

    #[test]
    fn nothing_measured_is_neither_reached_nor_missed() {
        let verdicts = verdicts(&results(Vec::new()));
        assert_eq!(verdicts.len(), 27);
        assert!(verdicts.iter().all(|verdict| verdict.measured.is_none() && verdict.reached().is_none()));
    }

    #[test]
    fn a_target_is_judged_by_the_median_of_its_ratios() {
        let of = |wasm: &[f64]| {
            let rows = vec![
                row("raw, poll", &[], &[(number::RATE, &[100.0, 100.0, 200.0])]),
                row("wasm", &[("level", "wasm")], &[(number::RATE, wasm)]),
            ];
            verdict(&results(vec![("noop", rows)]), "raw poll loop")
        };
        let close = of(&[80.0, 90.0, 190.0]);
        assert_eq!(close.measured, Some(Spread { min: 0.8, median: 0.9, max: 0.95 }));
        assert_eq!(close.reached(), Some(true));
        assert_eq!(of(&[80.0, 89.0, 190.0]).reached(), Some(false));
    }

    #[test]
    fn a_peer_is_taken_at_its_best() {
        let confluent = |name, ordering, rate: &[f64], warm: &[f64]| {
            let traits = [("level", "confluent"), ("ordering", ordering), ("keys", "zipf")];
            row(name, &traits, &[(number::RATE, rate), (number::WARM_RATE, warm)])
        };
        let rows = vec![
            row("wasm", &[("level", "wasm")], &[(number::RATE, &[1_000.0, 1_000.0])]),
            confluent("slow", "key", &[4.0, 4.0], &[]),
            confluent("warm", "key", &[3.0, 3.0], &[8.0, 5.0]),
            confluent("other ordering", "unordered", &[50.0, 50.0], &[]),
        ];
        let found = verdict(&results(vec![("noop", rows)]), "no-op, key order, Zipf keys: wasm / Confluent");
        assert_eq!(found.measured, Some(Spread { min: 125.0, median: 125.0, max: 200.0 }));
        assert_eq!(found.reached(), Some(true));
    }

    #[test]
    fn memory_is_what_lies_beyond_the_fetch_buffer() {
        let peak = |mib: f64| [mib * MIB];
        let rows = vec![
            row("raw, poll", &[("level", "raw")], &[(number::PEAK_RSS, &peak(900.0))]),
            row("wasm", &[("level", "wasm")], &[(number::PEAK_RSS, &peak(164.0))]),
            row("wasm, unordered", &[("level", "wasm")], &[(number::PEAK_RSS, &peak(204.0))]),
        ];
        let found = verdict(&results(vec![("noop", rows)]), "peak RSS");
        assert_eq!(found.measured.map(|spread| spread.median), Some(140.0));
        assert_eq!(found.reached(), Some(true));
    }
}
