//! A result as people read it: Markdown, on the terminal and in the documentation.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::conditions::Conditions;
use crate::parts;
use crate::results::{Part, Results, Row, number};
use crate::rung::Contender;
use crate::spread::{Spread, grouped, ratio, times};
use crate::targets::{Asked, Verdict, verdicts};

/// How a number is shown: its name, the head of its column, what it is multiplied by, digits behind the point.
struct Column {
    number: &'static str,
    head: &'static str,
    factor: f64,
    digits: usize,
}

/// Columns in their order; a part shows those that its rows have.
const COLUMNS: [Column; 30] = [
    column(number::RATE, "records/s", 1.0, 0),
    column(number::WARM_RATE, "of its second half", 1.0, 0),
    column(number::KEY_BOUND, "1/(w·p)", 1.0, 0),
    column(number::CPU, "CPU ns/record", 1.0, 0),
    column(number::BROKER_CPU, "broker's CPU ns/record", 1.0, 0),
    column(number::PEAK_RSS, "peak RSS, MB", 1e-6, 0),
    column(number::P50, "p50 ms", 1.0, 2),
    column(number::P99, "p99 ms", 1.0, 2),
    column(number::P999, "p99.9 ms", 1.0, 2),
    column("swaps", "swaps", 1.0, 0),
    column("pause_p99_ms", "longest pause of a swap, p99 of them, ms", 1.0, 3),
    column("switch_ms", "switch, ms", 1.0, 3),
    column("switch_max_ms", "switch at most, ms", 1.0, 3),
    column("deploy_ms", "deploy, ms", 1.0, 0),
    column("deploy_max_ms", "deploy at most, ms", 1.0, 0),
    column("rollback_max_ms", "rollback at most, ms", 1.0, 0),
    column("lost_records", "lost", 1.0, 0),
    column("repeated_records", "repeated", 1.0, 0),
    column("late_ms", "producer late at most, ms", 1.0, 1),
    column("bytes_each", "bytes each", 1.0, 0),
    column("growth_bytes", "growth, MB", 1e-6, 1),
    column("rss_bytes", "RSS, MB", 1e-6, 0),
    column("loaded_ms", "module loaded, ms", 1.0, 0),
    column("assigned_ms", "partitions assigned, ms", 1.0, 0),
    column("first_output_ms", "first output, ms", 1.0, 0),
    column("metadata_chars", "characters", 1.0, 0),
    column("gaps", "gaps", 1.0, 0),
    column("unnamed_records", "records not named", 1.0, 0),
    column("cpu_ns", "CPU ns", 1.0, 1),
    column(number::ELSEWHERE, "elsewhere, % of the machine", 100.0, 0),
];

const fn column(number: &'static str, head: &'static str, factor: f64, digits: usize) -> Column {
    Column { number, head, factor, digits }
}

/// Everything: targets, parts, what was left out, conditions. `images` is the folder of the charts as a reader of
/// the text has to name it; none: no charts.
pub(crate) fn markdown(results: &Results, images: Option<&str>) -> String {
    let mut text = String::new();
    let mut verdicts = verdicts(results);
    if images.is_none() {
        // On a terminal what is missing is only in the way.
        verdicts.retain(|verdict| verdict.measured.is_some());
    }
    targets(&mut text, &verdicts);
    for part in results.parts.iter().filter(|part| !part.rows.is_empty()) {
        let tells = parts::named(&part.name).map_or("", |part| part.tells);
        let _ = writeln!(text, "\n### `{}`\n\n{}\n", part.name, sentence(tells));
        if let (Some(folder), true) = (images, crate::chart::has_one(part)) {
            let _ = writeln!(text, "![{}]({folder}/{}.svg)\n", part.name, part.name);
        }
        table(&mut text, part);
    }
    left_out(&mut text, results);
    peers(&mut text, results);
    for session in &results.sessions {
        conditions(&mut text, session, results);
    }
    text
}

fn targets(text: &mut String, verdicts: &[Verdict]) {
    text.push_str("| target | asked | measured | |\n|---|---|---|---|\n");
    for verdict in verdicts {
        let unit = if verdict.unit.is_empty() { String::new() } else { format!(" {}", verdict.unit) };
        let asked = match verdict.asked {
            Asked::AtLeast(least) => format!("≥ {least}{unit}"),
            Asked::AtMost(most) => format!("≤ {most}{unit}"),
        };
        let digits = |value: f64| if value >= 100.0 { 0 } else { 2 };
        let measured = verdict.measured.map_or_else(
            || "not measured".to_owned(),
            |spread| format!("{}{unit}", shown(spread, digits(spread.median))),
        );
        let reached = match verdict.reached() {
            Some(true) => "reached",
            Some(false) => "**not reached**",
            None => "",
        };
        let _ = writeln!(text, "| {} | {asked} | {measured} | {reached} |", verdict.what);
    }
}

fn table(text: &mut String, part: &Part) {
    let columns: Vec<&Column> = COLUMNS
        .iter()
        .filter(|column| part.rows.iter().any(|row| !row.number(column.number).is_empty()))
        .collect();
    let reference = parts::named(&part.name).and_then(|plan| part.row(plan.reference));
    let mut heads = vec!["".to_owned()];
    for column in &columns {
        heads.push(column.head.to_owned());
        if column.number == number::RATE
            && let Some(reference) = reference
        {
            heads.push(format!("of {}", reference.name));
        }
    }
    let _ = writeln!(text, "| {} |\n|{}", heads.join(" | "), "---|".repeat(heads.len()));
    for row in &part.rows {
        let mut cells = vec![row.name.clone()];
        for column in &columns {
            cells.push(cell(row, column));
            if column.number == number::RATE
                && let Some(reference) = reference
            {
                let ratio = ratio(row.number(number::RATE), reference.number(number::RATE));
                cells.push(
                    ratio.map_or_else(String::new, |ratio| {
                        shown(ratio, if ratio.median < 0.1 { 4 } else { 2 })
                    }),
                );
            }
        }
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    for (name, reason) in part.failures() {
        let _ = writeln!(text, "\n**{name} failed** in {}", short(reason));
    }
}

/// What happened, and what the program said last: the lines between stand in the result.
fn short(reason: &str) -> String {
    let lines = || reason.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines().next(), lines().next_back()) {
        (Some(first), Some(last)) if first != last => format!("{first} {last}"),
        (first, _) => first.unwrap_or_default().to_owned(),
    }
}

fn cell(row: &Row, column: &Column) -> String {
    row.spread(column.number)
        .map_or_else(String::new, |spread| shown(times(spread, column.factor), column.digits))
}

/// The median with the smallest and the largest; alone where there is nothing around it.
fn shown(spread: Spread, digits: usize) -> String {
    let number = |value: f64| if digits == 0 { grouped(value) } else { format!("{value:.digits$}") };
    let (min, median, max) = (number(spread.min), number(spread.median), number(spread.max));
    if min == max { median } else { format!("{median} ({min} to {max})") }
}

fn left_out(text: &mut String, results: &Results) {
    for (level, reason) in &results.left_out {
        let _ = writeln!(text, "\nLeft out: {level} ({reason}).");
    }
}

fn conditions(text: &mut String, at: &Conditions, results: &Results) {
    let minutes: f64 = results.parts.iter().map(|part| part.took_seconds).sum::<f64>() / 60.0;
    let disk = results.parts.iter().map(|part| part.disk_bytes).max().unwrap_or_default();
    let _ = writeln!(
        text,
        "\nConditions: {date}; {sandmill} at commit {commit} (sha256 {digest}…), {cores} cores ({cpu}) shared with \
         the broker, {memory} GiB, Linux {kernel}; Apache Kafka {kafka} (one node, logs on {logs}, heap of 512 MiB, the quick \
         compiler only), librdkafka {librdkafka}, {java}; load average at the start {load:.2}. \
         {minutes:.0} minutes in all, at most {disk:.1} GB on disk.",
        date = at.machine.date,
        sandmill = at.host,
        commit = at.tree,
        digest = at.host_sha256,
        cores = at.machine.cores,
        cpu = at.machine.cpu,
        memory = at.machine.memory_gib,
        kernel = at.machine.kernel,
        kafka = at.kafka,
        logs = at.broker_logs,
        librdkafka = at.machine.librdkafka,
        java = at.java,
        load = at.machine.load_average,
        disk = disk as f64 / 1e9,
    );
}

/// What peers say of themselves: versions of clients and machines.
fn peers(text: &mut String, results: &Results) {
    let mut told = BTreeSet::new();
    for row in results.parts.iter().flat_map(|part| &part.rows) {
        let level = row.traits.get("level").map_or("", String::as_str);
        let details = row.raw.first().and_then(|raw| raw["details"].as_object());
        if let (true, Some(details)) = (Contender::PEERS.contains(&level), details) {
            let texts = details.iter().filter_map(|(key, value)| Some(format!("{key} {}", value.as_str()?)));
            let texts: Vec<String> = texts.collect();
            if !texts.is_empty() {
                told.insert(format!("{level}: {}", texts.join(", ")));
            }
        }
    }
    if !told.is_empty() {
        let _ = writeln!(text, "\nPeers: {}.", told.into_iter().collect::<Vec<_>>().join("; "));
    }
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some('`') | None => format!("{text}."),
        Some(first) => format!("{}{}.", first.to_uppercase(), characters.as_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizes::Scale;

    fn row(name: &str, rates: &[f64]) -> Row {
        let mut row = Row::new(name, &[]);
        for rate in rates {
            row.push(&[(number::RATE, *rate), (number::ELSEWHERE, 0.03)], serde_json::Value::Null);
        }
        row
    }

    #[test]
    fn a_part_is_a_table_with_ratios_to_its_reference() {
        let mut failed = row("wasm", &[2_000_000.0]);
        failed.failed = Some("pass 2: it stalled; it said:\nmore\nthe last\n".to_owned());
        let part = Part {
            name: "noop".to_owned(),
            session: 0,
            took_seconds: 60.0,
            disk_bytes: 1,
            topics: Vec::new(),
            rows: vec![row("raw, poll", &[1_000_000.0, 1_100_000.0]), failed],
        };
        let results = Results { parts: vec![part], ..Results::new(Scale::Full) };
        let text = markdown(&results, Some("images/bench"));
        assert!(text.contains("|  | records/s | of raw, poll | elsewhere, % of the machine |"), "{text}");
        assert!(text.contains("| raw, poll | 1,000,000 (1,000,000 to 1,100,000) | 1.00 | 3 |"), "{text}");
        assert!(text.contains("| wasm | 2,000,000 | 2.00 | 3 |"), "{text}");
        assert!(text.contains("**wasm failed** in pass 2: it stalled; it said: the last\n"), "{text}");
        assert!(text.contains("![noop](images/bench/noop.svg)"), "{text}");
        assert!(
            text.contains("| no-op, key order, Zipf keys: wasm / raw poll loop | ≥ 0.9 | 2.00 | reached |"),
            "{text}"
        );
    }

    #[test]
    fn every_number_has_one_column() {
        let mut names: Vec<_> = COLUMNS.iter().map(|column| column.number).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), COLUMNS.len());
    }
}
