//! What guests do with their capabilities, and the metrics that are their own.
//!
//! A pipeline declares its handler's metrics in its configuration: name, kind, labels, and how many series each may
//! have. So a handler can neither invent families nor grow them: a combination of label values beyond the bound is the
//! series whose labels all say [`OTHER`]. Workers add to the cells of a series with an atomic or two, once for each
//! call that recorded something; a scrape reads them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// A capability whose functions are the host's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Use {
    Log,
    Config,
    Metrics,
    Secrets,
}

/// Label values, in the order of [`Use`].
pub const USES: [&str; 4] = ["log", "config", "metrics", "secrets"];

/// The label value of everything beyond a metric's bound.
pub const OTHER: &str = "other";

/// Bytes of a label value; what is longer is cut.
pub const LABEL_VALUE: usize = 128;

/// What one call of a handler used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally([(u32, Duration); USES.len()]);

impl Tally {
    /// Counts one use and the time that the host took for it.
    pub fn count(&mut self, of: Use, took: Duration) {
        let (calls, sum) = &mut self.0[of as usize];
        *calls = calls.saturating_add(1);
        *sum += took;
    }
}

/// How often guests of one pipeline used each capability, and how long the host took.
#[derive(Debug, Default)]
pub struct Uses {
    calls: [AtomicU64; USES.len()],
    nanos: [AtomicU64; USES.len()],
    lines: AtomicU64,
    dropped: AtomicU64,
}

impl Uses {
    /// Adds what one call of a handler used.
    pub fn add(&self, tally: &Tally) {
        for (place, &(calls, took)) in tally.0.iter().enumerate() {
            if calls > 0 {
                self.calls[place].fetch_add(u64::from(calls), Relaxed);
                self.nanos[place].fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
            }
        }
    }

    /// Calls so far, and the seconds that they took, in the order of [`USES`].
    pub fn read(&self) -> [(u64, f64); USES.len()] {
        std::array::from_fn(|place| {
            let nanos = self.nanos[place].load(Relaxed);
            (self.calls[place].load(Relaxed), Duration::from_nanos(nanos).as_secs_f64())
        })
    }

    /// Counts lines of the guests' that were written, and that a limit kept out.
    pub fn add_lines(&self, written: u64, dropped: u64) {
        self.lines.fetch_add(written, Relaxed);
        self.dropped.fetch_add(dropped, Relaxed);
    }

    /// Lines that were written, and that a limit kept out.
    pub fn lines(&self) -> (u64, u64) {
        (self.lines.load(Relaxed), self.dropped.load(Relaxed))
    }
}

/// How the values of a metric are added up.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// The sum of all values.
    Counter,
    /// The newest value of whichever instance was last.
    Gauge,
    /// How many values lie at or below each of these bounds, ascending.
    Histogram(Vec<f64>),
}

/// One metric that a pipeline declares.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    /// As the handler names it.
    pub name: String,
    /// As the endpoint shows it.
    pub family: String,
    /// How it adds up.
    pub kind: Kind,
    /// What it tells.
    pub help: String,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// Series that it may have, the one of [`OTHER`] left out.
    pub most_series: usize,
}

/// The metrics of one pipeline's handler.
#[derive(Debug, Default)]
pub struct GuestMetrics {
    metrics: Vec<Metric>,
    /// Where the series of each metric begin; one more for the end.
    starts: Vec<usize>,
    cells: Vec<OnceLock<Series>>,
}

#[derive(Debug)]
struct Metric {
    declared: Declared,
    /// Which label values have which place among the metric's series.
    known: Mutex<HashMap<Vec<String>, usize>>,
}

#[derive(Debug)]
struct Series {
    labels: Vec<String>,
    /// Bits of a float: the sum, or the gauge's value.
    value: AtomicU64,
    /// Values in each bucket of a histogram, the last one without a bound; none for the others.
    buckets: Box<[AtomicU64]>,
}

/// What was recorded and is not yet believed: of one series, in one call.
#[derive(Clone, Debug, Default)]
pub struct Pending {
    touched: bool,
    /// The sum of a counter or a histogram, or the newest value of a gauge.
    value: f64,
    /// Values in each bucket.
    buckets: Vec<u32>,
}

impl Pending {
    /// True once something was recorded.
    pub fn is_touched(&self) -> bool {
        self.touched
    }

    /// Forgets everything; what it has allocated stays.
    pub fn clear(&mut self) {
        self.touched = false;
        self.value = 0.0;
        self.buckets.fill(0);
    }
}

/// Why a series cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    /// The configuration has no such metric.
    #[error(
        "the pipeline declares no metric of this name: add `[pipeline.metrics.NAME]` to its configuration"
    )]
    Unknown,
    /// Not one value for each label.
    #[error("the metric has {expected} labels, got {found} values")]
    Labels {
        /// As declared.
        expected: usize,
        /// As handed in.
        found: usize,
    },
}

impl GuestMetrics {
    /// Metrics without series.
    pub fn new(declared: Vec<Declared>) -> Self {
        let mut starts = vec![0];
        for metric in &declared {
            // One more for what goes beyond.
            starts.push(starts[starts.len() - 1] + metric.most_series + 1);
        }
        let cells = (0..starts[starts.len() - 1]).map(|_| OnceLock::new()).collect();
        let metrics = declared.into_iter().map(|declared| Metric { declared, known: Mutex::default() });
        GuestMetrics { metrics: metrics.collect(), starts, cells }
    }

    /// True if none is declared.
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty()
    }

    /// The number of the series of metric `name` with these label values; made if there is room.
    ///
    /// # Errors
    /// If there is no such metric, or it has another number of labels.
    pub fn series(&self, name: &str, values: Vec<String>) -> Result<u32, SeriesError> {
        let place = self.metrics.iter().position(|metric| metric.declared.name == name);
        let place = place.ok_or(SeriesError::Unknown)?;
        let Metric { declared, known } = &self.metrics[place];
        let (expected, found) = (declared.labels.len(), values.len());
        if expected != found {
            return Err(SeriesError::Labels { expected, found });
        }
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        // Who asks for the series of everything else by its labels gets that one: no two series look alike.
        let is_other = expected > 0 && values.iter().all(|value| value == OTHER);
        let (at, labels) = match known.get(&values) {
            Some(&at) => (at, None),
            None if known.len() < declared.most_series && !is_other => {
                let at = known.len();
                known.insert(values.clone(), at);
                (at, Some(values))
            }
            None => (declared.most_series, Some(vec![OTHER.to_owned(); expected])),
        };
        let cell = self.starts[place] + at;
        if let Some(labels) = labels {
            let buckets = match &declared.kind {
                Kind::Histogram(bounds) => bounds.len() + 1,
                Kind::Counter | Kind::Gauge => 0,
            };
            self.cells[cell].get_or_init(|| Series {
                labels,
                value: AtomicU64::new(0),
                buckets: (0..buckets).map(|_| AtomicU64::new(0)).collect(),
            });
        }
        Ok(u32::try_from(cell).expect("the configuration bounds them"))
    }

    /// True if there is a series of this number.
    pub fn has(&self, series: u32) -> bool {
        self.cells.get(series as usize).is_some_and(|cell| cell.get().is_some())
    }

    /// Adds `value` to what is pending of a series; `None` if there is none of this number.
    pub fn record(&self, series: u32, value: f64, pending: &mut Pending) -> Option<()> {
        if !self.has(series) {
            return None;
        }
        let series = series as usize;
        pending.touched = true;
        match self.kind_of(series) {
            Kind::Counter if value >= 0.0 && (pending.value + value).is_finite() => pending.value += value,
            // A counter that falls, or is no number, would ruin what others have counted.
            Kind::Counter => {}
            Kind::Gauge => pending.value = value,
            Kind::Histogram(_) if value.is_nan() => {}
            Kind::Histogram(bounds) => {
                let bucket = bounds.partition_point(|bound| *bound < value);
                pending.buckets.resize(bounds.len() + 1, 0);
                pending.buckets[bucket] = pending.buckets[bucket].saturating_add(1);
                if (pending.value + value).is_finite() {
                    pending.value += value;
                }
            }
        }
        Some(())
    }

    /// Believes what is pending of a series.
    pub fn accept(&self, series: u32, pending: &Pending) {
        let Some(cell) = self.cells.get(series as usize).and_then(OnceLock::get) else { return };
        match self.kind_of(series as usize) {
            Kind::Gauge => cell.value.store(pending.value.to_bits(), Relaxed),
            Kind::Counter | Kind::Histogram(_) => {
                for (bucket, &count) in cell.buckets.iter().zip(&pending.buckets) {
                    bucket.fetch_add(u64::from(count), Relaxed);
                }
                // What would no longer be a number adds nothing.
                let add = |bits| {
                    let sum = f64::from_bits(bits) + pending.value;
                    sum.is_finite().then_some(sum.to_bits())
                };
                let _ = cell.value.try_update(Relaxed, Relaxed, add);
            }
        }
    }

    /// Shows every series: its metric, label values, value, and values in each bucket.
    pub fn read(&self, mut show: impl FnMut(&Declared, &[String], f64, &[u64])) {
        let mut buckets = Vec::new();
        for (metric, span) in self.metrics.iter().zip(self.starts.windows(2)) {
            for series in self.cells[span[0]..span[1]].iter().filter_map(OnceLock::get) {
                buckets.clear();
                buckets.extend(series.buckets.iter().map(|bucket| bucket.load(Relaxed)));
                let value = f64::from_bits(series.value.load(Relaxed));
                show(&metric.declared, &series.labels, value, &buckets);
            }
        }
    }

    fn kind_of(&self, series: usize) -> &Kind {
        let metric = self.starts.partition_point(|&start| start <= series) - 1;
        &self.metrics[metric].declared.kind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(name: &str, kind: Kind, labels: &[&str], most_series: usize) -> Declared {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let end = if kind == Kind::Counter { "_total" } else { "" };
        let family = format!("guest_{name}{end}");
        Declared { name: name.to_owned(), family, kind, help: String::new(), labels, most_series }
    }

    #[test]
    fn uses_are_counted_by_capability_with_their_time() {
        let (uses, mut tally) = (Uses::default(), Tally::default());
        tally.count(Use::Secrets, Duration::from_millis(250));
        tally.count(Use::Secrets, Duration::from_millis(250));
        tally.count(Use::Log, Duration::ZERO);
        uses.add(&tally);
        uses.add(&Tally::default());
        assert_eq!(uses.read(), [(1, 0.0), (0, 0.0), (0, 0.0), (2, 0.5)]);
        assert_eq!(USES[Use::Secrets as usize], "secrets");
    }

    fn shown(metrics: &GuestMetrics) -> Vec<(String, Vec<String>, f64, Vec<u64>)> {
        let mut all = Vec::new();
        metrics.read(|declared, labels, value, buckets| {
            all.push((declared.family.clone(), labels.to_vec(), value, buckets.to_vec()));
        });
        all
    }

    fn record(metrics: &GuestMetrics, name: &str, labels: &[&str], values: &[f64]) {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let series = metrics.series(name, labels).unwrap();
        let mut pending = Pending::default();
        for &value in values {
            metrics.record(series, value, &mut pending).unwrap();
        }
        metrics.accept(series, &pending);
    }

    #[test]
    fn counters_add_gauges_replace_and_histograms_sort() {
        let metrics = GuestMetrics::new(vec![
            declared("hits", Kind::Counter, &[], 1),
            declared("size", Kind::Gauge, &[], 1),
            declared("length", Kind::Histogram(vec![1.0, 10.0]), &[], 1),
        ]);
        for _ in 0..2 {
            record(&metrics, "hits", &[], &[1.0, 2.5, -1.0, f64::NAN, f64::INFINITY]);
            record(&metrics, "size", &[], &[7.0, 3.0]);
            record(&metrics, "length", &[], &[0.5, 1.0, 5.0, 11.0, f64::NAN]);
        }
        let none = Vec::new();
        assert_eq!(
            shown(&metrics),
            [
                ("guest_hits_total".to_owned(), none.clone(), 7.0, vec![]),
                ("guest_size".to_owned(), none.clone(), 3.0, vec![]),
                ("guest_length".to_owned(), none, 35.0, vec![4, 2, 2]),
            ]
        );
    }

    #[test]
    fn label_values_beyond_the_bound_are_counted_together() {
        let metrics = GuestMetrics::new(vec![declared("hits", Kind::Counter, &["key"], 3)]);
        for key in 0..100 {
            record(&metrics, "hits", &[&key.to_string()], &[1.0]);
        }
        record(&metrics, "hits", &["1"], &[1.0]);
        record(&metrics, "hits", &[OTHER], &[1.0]);
        let series: Vec<_> =
            shown(&metrics).into_iter().map(|(_, labels, value, _)| (labels[0].clone(), value)).collect();
        let expected = [("0", 1.0), ("1", 2.0), ("2", 1.0), (OTHER, 98.0)];
        assert_eq!(series, expected.map(|(label, value)| (label.to_owned(), value)));
    }

    #[test]
    fn no_sum_leaves_the_numbers() {
        let metrics = GuestMetrics::new(vec![
            declared("hits", Kind::Counter, &[], 1),
            declared("length", Kind::Histogram(vec![1.0]), &[], 1),
        ]);
        for name in ["hits", "length"] {
            record(&metrics, name, &[], &[1.0]);
            for _ in 0..3 {
                record(&metrics, name, &[], &[f64::MAX]);
                record(&metrics, name, &[], &[f64::MAX, f64::MAX]);
            }
        }
        for (name, _, value, _) in shown(&metrics) {
            assert_eq!(value, f64::MAX, "{name}");
        }
    }

    #[test]
    fn what_was_not_declared_has_no_series() {
        let metrics = GuestMetrics::new(vec![declared("hits", Kind::Counter, &["key"], 3)]);
        assert_eq!(metrics.series("misses", vec![]), Err(SeriesError::Unknown));
        let wrong = SeriesError::Labels { expected: 1, found: 2 };
        assert_eq!(metrics.series("hits", vec![String::new(); 2]), Err(wrong));
        let mut pending = Pending::default();
        for series in [0, 3, 4, u32::MAX] {
            assert_eq!(metrics.record(series, 1.0, &mut pending), None, "{series}");
            metrics.accept(series, &pending);
        }
        assert_eq!(shown(&metrics), []);
    }
}
