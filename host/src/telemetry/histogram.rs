//! A histogram with fixed bounds, owned by one thread: adding is two additions and a short search.

use std::time::Duration;

/// Upper bounds in seconds, from 10 µs to 30 s; a last bucket takes what is larger.
pub const BOUNDS: [f64; 21] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
    0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0,
];

/// Counts of durations by bucket. Mergeable: adding two gives the histogram of both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    /// Adds `times` observations of the same duration: what a batch of records has in common.
    pub fn observe(&mut self, duration: Duration, times: u64) {
        let seconds = duration.as_secs_f64();
        self.counts[bucket(seconds)] += times;
        self.sum += seconds * times as f64;
    }

    /// Adds all observations of another.
    pub fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.sum += other.sum;
    }

    /// A histogram of counts that were kept elsewhere, one a bucket.
    pub fn from_parts(counts: [u64; BOUNDS.len() + 1], sum: f64) -> Self {
        Histogram { counts, sum }
    }

    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of all observations in seconds.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// Upper bounds with the number of observations at or below each, as Prometheus wants them; without the
    /// infinite bucket, whose number is [`count`](Histogram::count).
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        BOUNDS.iter().zip(&self.counts).scan(0, |total, (&bound, &count)| {
            *total += count;
            Some((bound, *total))
        })
    }

    /// An upper estimate of the `quantile` (0 to 1) in seconds: the bound of the bucket it lies in, and
    /// infinity beyond the last. `None` without observations.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = (quantile * self.count() as f64).ceil().max(1.0) as u64;
        if self.count() == 0 {
            return None;
        }
        Some(self.cumulative().find(|(_, total)| *total >= rank).map_or(f64::INFINITY, |(bound, _)| bound))
    }
}

/// Index of the bucket that takes this many seconds.
pub(crate) fn bucket(seconds: f64) -> usize {
    BOUNDS.partition_point(|&bound| bound < seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_a_bound_belongs_to_that_bound() {
        let mut histogram = Histogram::default();
        histogram.observe(Duration::from_micros(10), 1);
        histogram.observe(Duration::from_micros(11), 2);
        histogram.observe(Duration::from_secs(60), 1);
        let cumulative: Vec<_> = histogram.cumulative().collect();
        assert_eq!(cumulative[0], (0.00001, 1));
        assert_eq!(cumulative[1], (0.000025, 3));
        assert_eq!(cumulative[20], (30.0, 3));
        assert_eq!(histogram.count(), 4);
        assert!((histogram.sum() - 60.000032).abs() < 1e-9);
    }

    #[test]
    fn quantiles_of_none_one_and_many() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), None);
        histogram.observe(Duration::from_millis(3), 1);
        assert_eq!(histogram.quantile(0.0), Some(0.005));
        assert_eq!(histogram.quantile(1.0), Some(0.005));
        histogram.observe(Duration::from_secs(40), 1);
        assert_eq!(histogram.quantile(0.5), Some(0.005));
        assert_eq!(histogram.quantile(0.99), Some(f64::INFINITY));
    }

    #[test]
    fn merging_is_adding() {
        let (mut a, mut b, mut both) = (Histogram::default(), Histogram::default(), Histogram::default());
        for (millis, times) in [(1, 3), (20, 1), (700, 2)] {
            let duration = Duration::from_millis(millis);
            if millis < 50 { &mut a } else { &mut b }.observe(duration, times);
            both.observe(duration, times);
        }
        a.merge(&b);
        assert_eq!(a.cumulative().collect::<Vec<_>>(), both.cumulative().collect::<Vec<_>>());
        assert_eq!(a.count(), 6);
    }
}
