//! Runs of one contender, and how they compare with another's.

use serde::{Deserialize, Serialize};

use super::{Measurement, Spread};

/// All runs of one contender on one topic.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    /// Whose.
    pub name: String,
    /// The run before those that count: it warms the broker, the page cache, the cache of compiled code.
    pub warm_up: Option<Measurement>,
    /// In the order in which they ran.
    pub repetitions: Vec<Measurement>,
}

impl Series {
    /// No run yet.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), warm_up: None, repetitions: Vec::new() }
    }

    /// Takes the run of a pass; pass 0 warms up.
    pub fn push(&mut self, pass: usize, run: Measurement) {
        if pass == 0 { self.warm_up = Some(run) } else { self.repetitions.push(run) }
    }

    fn spread(&self, number: fn(&Measurement) -> f64) -> Option<Spread> {
        Spread::of(self.repetitions.iter().map(number))
    }

    /// Records a second.
    pub fn rate(&self) -> Option<Spread> {
        self.spread(|run| run.records_per_second)
    }

    /// CPU seconds of the process for a million records, without what it used before its first record.
    pub fn cpu_seconds_per_million(&self) -> Option<Spread> {
        self.spread(|run| (run.cpu.process_seconds - run.cpu.start_seconds) / run.records as f64 * 1e6)
    }

    /// The most memory, in bytes.
    pub fn peak_rss_bytes(&self) -> Option<Spread> {
        self.spread(|run| run.peak_rss_bytes as f64)
    }

    /// This one's rate as a part of another's. Run by run: what disturbed a pass disturbed both sides.
    pub fn rate_of(&self, other: &Series) -> Option<Spread> {
        let pairs = self.repetitions.iter().zip(&other.repetitions);
        Spread::of(pairs.map(|(own, other)| own.records_per_second / other.records_per_second))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{ClockEnd, Cpu};

    fn run(rate: f64) -> Measurement {
        Measurement {
            records: 2_000_000,
            seconds: 2e6 / rate,
            records_per_second: rate,
            cpu: Cpu {
                process_seconds: 3.5,
                start_seconds: 0.5,
                broker_seconds: None,
                elsewhere_seconds: 0.1,
                window_seconds: 3.0,
                threads: Default::default(),
            },
            peak_rss_bytes: 1 << 20,
            clock_end: ClockEnd::Broker,
            details: serde_json::Map::new(),
        }
    }

    fn series(rates: &[f64]) -> Series {
        let mut series = Series::new("one");
        for (pass, rate) in rates.iter().enumerate() {
            series.push(pass, run(*rate));
        }
        series
    }

    #[test]
    fn a_ratio_compares_runs_of_the_same_pass_and_none_of_the_warm_up() {
        let (base, own) = (series(&[1.0, 100.0, 200.0, 400.0]), series(&[9.0, 50.0, 120.0, 160.0]));
        assert_eq!(own.rate_of(&base), Some(Spread { min: 0.4, median: 0.5, max: 0.6 }));
        assert_eq!(own.rate().map(|rate| rate.max), Some(160.0));
    }

    #[test]
    fn starting_costs_no_cpu_a_record() {
        let cpu = series(&[1.0, 1.0]).cpu_seconds_per_million();
        assert_eq!(cpu.map(|cpu| cpu.median), Some(1.5));
    }

    #[test]
    fn without_a_counted_run_there_is_nothing_to_say() {
        let warm = series(&[1.0]);
        assert!(warm.warm_up.is_some() && warm.rate().is_none() && warm.rate_of(&warm).is_none());
    }

    #[test]
    fn a_series_is_read_back_as_it_was_written() {
        let text = serde_json::to_string(&series(&[1.0, 2.0])).unwrap();
        let read: Series = serde_json::from_str(&text).unwrap();
        assert_eq!(read.repetitions, series(&[1.0, 2.0]).repetitions);
    }
}
