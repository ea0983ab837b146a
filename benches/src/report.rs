//! A result as people read it: Markdown, on the terminal and in the documentation.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::level::Level;
use crate::results::{FETCH_BUFFER_BYTES, Results, Series, Spread};

const BEGIN: &str = "<!-- ladder: begin -->";
const END: &str = "<!-- ladder: end -->";
/// Width of the longest bar, in characters.
const BAR: f64 = 40.0;
const MIB: f64 = 1024.0 * 1024.0;

/// Tables, chart and conditions.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::new();
    rates(&mut text, results);
    chart(&mut text, results);
    asked(&mut text, results);
    conditions(&mut text, results);
    text
}

fn rates(text: &mut String, results: &Results) {
    text.push_str(
        "| topic | level | records/s: median (min – max) | of raw | wait for the last commit | CPU s per million | of it by thread \
         | broker CPU s | elsewhere | peak RSS |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for series in &results.series {
        let (Some(rate), Some(cpu), Some(peak)) =
            (series.records_per_second, series.cpu_seconds_per_million, series.peak_rss_bytes)
        else {
            continue;
        };
        let ratio =
            ratio_of(results, series).map_or_else(|| "1".to_owned(), |ratio| format!("{:.2}", ratio.median));
        let _ = writeln!(
            text,
            "| {} | {} | {} ({} – {}) | {ratio} | {} | {:.2} | {} | {:.2} | {:.0} % | {:.0} MiB |",
            series.workload.name(),
            series.level.name(),
            grouped(rate.median),
            grouped(rate.min),
            grouped(rate.max),
            tick_share(series),
            cpu.median,
            threads(series),
            broker_seconds(series),
            elsewhere_share(series) * 100.0,
            peak.median / MIB,
        );
    }
}

/// CPU seconds by thread for a million records, from all repetitions, the smallest left out.
fn threads(series: &Series) -> String {
    let millions = series.repetitions.iter().map(|run| run.records as f64).sum::<f64>() / 1e6;
    let mut sums: std::collections::BTreeMap<&str, f64> = std::collections::BTreeMap::new();
    for run in &series.repetitions {
        for (name, seconds) in &run.cpu.threads {
            *sums.entry(name).or_default() += seconds / millions;
        }
    }
    let mut sums: Vec<_> = sums.into_iter().filter(|(_, seconds)| *seconds >= 0.01).collect();
    sums.sort_by(|one, other| other.1.total_cmp(&one.1));
    sums.iter().map(|(name, seconds)| format!("{name} {seconds:.2}")).collect::<Vec<_>>().join(", ")
}

/// The broker's CPU seconds for a million records.
fn broker_seconds(series: &Series) -> f64 {
    let records: u64 = series.repetitions.iter().map(|run| run.records).sum();
    series.repetitions.iter().map(|run| run.cpu.broker_seconds).sum::<f64>() / records as f64 * 1e6
}

/// Which part of the clock may have gone by after the records were complete, at worst.
fn tick_share(series: &Series) -> String {
    let runs = series.repetitions.iter();
    let shares = runs.filter_map(|run| Some(run.host.as_ref()?.last_tick_seconds / run.seconds));
    shares.reduce(f64::max).map_or_else(|| "–".to_owned(), |share| format!("≤ {:.0} %", share * 100.0))
}

/// Which part of the machine others used, in the repetition that was disturbed the most.
fn elsewhere_share(series: &Series) -> f64 {
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let shares =
        series.repetitions.iter().map(|run| run.cpu.elsewhere_seconds / run.cpu.window_seconds / cores);
    shares.fold(0.0, f64::max)
}

fn ratio_of<'a>(results: &'a Results, series: &Series) -> Option<&'a Spread> {
    let same =
        |ratio: &&crate::results::Ratio| ratio.workload == series.workload && ratio.level == series.level;
    results.ratios.iter().find(same).map(|ratio| &ratio.spread)
}

fn chart(text: &mut String, results: &Results) {
    let rate = |series: &Series| series.records_per_second.map_or(0.0, |rate| rate.median);
    let most = results.series.iter().map(rate).fold(1.0, f64::max);
    text.push_str("\n```text\n");
    for series in &results.series {
        let bar = "█".repeat((rate(series) / most * BAR).round() as usize);
        let name = format!("{} {}", series.workload.name(), series.level.name());
        let _ = writeln!(text, "{name:<16} {bar} {}", grouped(rate(series)));
    }
    text.push_str("```\n");
}

/// What was asked of the host, and what came out.
fn asked(text: &mut String, results: &Results) {
    text.push_str("\n| asked | measured: median (min – max) | |\n|---|---|---|\n");
    let mut row = |what: &str, measured: Option<(String, bool)>| {
        if let Some((measured, met)) = measured {
            let _ = writeln!(text, "| {what} | {measured} | {} |", if met { "met" } else { "**not met**" });
        }
    };
    let noop =
        results.series.iter().find(|series| series.workload.outputs() == 0 && series.level == Level::Wasm);
    let ratio = noop.and_then(|series| ratio_of(results, series));
    row(
        "a handler that does nothing, in key order: at least 0.4 of raw",
        ratio.map(|r| (format!("{:.2} ({:.2} – {:.2})", r.median, r.min, r.max), r.median >= 0.4)),
    );
    for series in results.series.iter().filter(|series| series.level == Level::Wasm) {
        let beyond = |peak: f64| (peak - FETCH_BUFFER_BYTES as f64) / MIB;
        row(
            &format!(
                "{}: peak RSS less the fetch buffers' bound of 64 MiB, below 200 MiB",
                series.workload.name()
            ),
            series.peak_rss_bytes.map(|peak| {
                let [min, median, max] = [peak.min, peak.median, peak.max].map(beyond);
                (format!("{median:.0} MiB ({min:.0} – {max:.0})"), max < 200.0)
            }),
        );
    }
    row(
        "start to first record, compiled code in the cache: within 500 ms",
        results
            .start_to_first_commit_ms
            .map(|ms| (format!("{:.0} ms ({:.0} – {:.0})", ms.median, ms.min, ms.max), ms.median <= 500.0)),
    );
}

fn conditions(text: &mut String, results: &Results) {
    let at = &results.conditions;
    let _ = write!(
        text,
        "\n{date}, {took:.0} s in all, {repetitions} repetitions after one to warm up. {sandmill} \
         (sha256 {digest}…, written {built}; working tree at commit {commit}), Apache Kafka {kafka}, librdkafka {librdkafka}, {java}. {cores} cores of {cpu}, \
         {memory} GiB, Linux {kernel}; load average at the end {load:.1}. Key order, at most {batch} records a call.",
        date = at.date,
        took = at.took_seconds,
        repetitions = results.settings.repetitions,
        sandmill = at.sandmill,
        commit = at.commit,
        built = at.host_built,
        digest = at.host_sha256,
        kafka = at.kafka,
        librdkafka = at.librdkafka,
        java = at.java,
        cores = at.cores,
        cpu = at.cpu,
        memory = at.memory_gib,
        kernel = at.kernel,
        load = at.load_average,
        batch = results.settings.batch,
    );
    for topic in &results.settings.topics {
        let number = |key: &str| topic[key].as_f64().unwrap_or_default();
        let _ = write!(
            text,
            " Topic {}: {} records over {} partitions, values of {:.0} B and keys of {:.0} B on average, {} keys, \
             the busiest with {:.1} %.",
            topic["workload"].as_str().unwrap_or_default(),
            grouped(number("records")),
            number("partitions"),
            number("mean_value_bytes"),
            number("mean_key_bytes"),
            grouped(number("keys")),
            number("busiest_key_share") * 100.0,
        );
    }
    text.push('\n');
}

/// A whole number with commas between its thousands.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Replaces what stands between the markers of docs/BENCHMARKS.md.
pub(crate) fn put_into_docs(table: &str) -> Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/BENCHMARKS.md");
    let old = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let new =
        between_markers(&old, table).with_context(|| format!("{} lacks {BEGIN} or {END}", file.display()))?;
    fs::write(&file, new).with_context(|| format!("cannot write {}", file.display()))
}

fn between_markers(old: &str, table: &str) -> Option<String> {
    let (before, rest) = old.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_markers_changes() {
        let old = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = between_markers(&old, "new\n").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert_eq!(between_markers(&new, "new\n").unwrap(), new);
        assert_eq!(between_markers("no markers", "new"), None);
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([999.0, 1_000.0, 1_234_567.4].map(grouped), ["999", "1,000", "1,234,567"]);
    }
}
