//! A result as people read it.

use comfy_table::{CellAlignment, Table, presets};

use super::result::{BenchResult, Shown};
use crate::bench::{ClockEnd, Level, Spread, grouped};

/// A wait below this part of a run says nothing.
const NOTABLE: f64 = 0.02;

/// The table and what has to be known with it.
pub(super) fn shown(result: &BenchResult) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "level",
        "records/s",
        "min to max",
        "of raw-poll",
        "CPU s per million",
        "peak memory",
    ]);
    for level in &result.levels {
        let text = |spread: Option<Spread>, shown: fn(f64) -> String| {
            spread.map_or_else(|| "–".to_owned(), |spread| shown(spread.median))
        };
        table.add_row([
            level.series.name.clone(),
            text(level.records_per_second, grouped),
            level
                .records_per_second
                .map_or_else(String::new, |rate| format!("{} to {}", grouped(rate.min), grouped(rate.max))),
            text(level.of_raw_poll, |ratio| format!("{ratio:.2}")),
            text(level.cpu_seconds_per_million, |seconds| format!("{seconds:.2}")),
            text(level.peak_rss_bytes, |bytes| format!("{:.0} MB", bytes / 1e6)),
        ]);
    }
    for column in 1..6 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    format!("{table}\n{}", conditions(result))
}

fn conditions(result: &BenchResult) -> String {
    let (at, settings, topic) = (&result.conditions, &result.settings, &result.topic);
    let mut text = format!(
        "Medians; passes after one to warm up: {repetitions}. {records} records in {partitions} partitions, keys of \
         {key:.0} and values of {value:.0} bytes on average, {keys} keys, the busiest with {busiest:.1} %; {workload} \
         {output}, {ordering:?} order, batches of at most {batch}.\n\
         sandmill {sandmill}, librdkafka {librdkafka}, wasmtime {wasmtime}; brokers {brokers}; {cores} cores of {cpu}, \
         {memory} GiB; load average {load:.1} before.",
        repetitions = settings.repetitions,
        records = grouped(topic.records as f64),
        partitions = topic.partitions,
        key = topic.mean_key_bytes,
        value = topic.mean_value_bytes,
        keys = grouped(topic.keys as f64),
        busiest = topic.busiest_key_share * 100.0,
        workload = settings.workload.name(),
        output = if settings.outputs { "with outputs" } else { "without outputs" },
        ordering = settings.ordering,
        batch = settings.batch,
        sandmill = at.sandmill,
        librdkafka = at.librdkafka,
        wasmtime = at.wasmtime,
        brokers = settings.brokers,
        cores = at.cores,
        cpu = at.cpu,
        memory = at.memory_gib,
        load = at.load_average,
    );
    let wait = result.levels.iter().filter_map(last_tick).reduce(f64::max);
    if let Some(wait) = wait.filter(|wait| *wait >= NOTABLE) {
        text.push_str(&format!(
            "\nUp to {:.0} % of a run of the host was the wait for its last commit: more records make it less.",
            wait * 100.0
        ));
    }
    if result
        .levels
        .iter()
        .flat_map(|level| &level.series.repetitions)
        .any(|run| run.clock_end == ClockEnd::Contender)
    {
        text.push_str(
            "\nThe end of the clock is the acknowledgement of the last commit: when the broker wrote it cannot be read, \
             or its clock is another machine's.",
        );
    }
    if settings.embedded_broker {
        text.push_str("\nThe broker ran inside this process: these figures mean little. Give --brokers.");
    }
    text
}

/// Which part of a host's clock may have gone by after the records were complete, at worst. Other levels
/// commit once they are through.
fn last_tick(level: &Shown) -> Option<f64> {
    Level::named(&level.series.name).filter(|level| level.is_host())?;
    let runs = level.series.repetitions.iter();
    let shares = runs.filter_map(|run| Some(run.details.get("last_tick_seconds")?.as_f64()? / run.seconds));
    shares.reduce(f64::max).map(|share| share.min(1.0))
}
