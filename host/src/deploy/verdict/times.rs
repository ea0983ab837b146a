//! Times that records took, counted so that they can be compared surely.

use std::time::Duration;

use super::Z;

/// Buckets of [`Times`].
pub const TIMES_BUCKETS: usize = 128;

/// Upper edges of all buckets but the last, in nanoseconds: 1 µs, and each 2^(1/4) times the one before; the last is
/// 51 minutes.
pub(super) const EDGES: [u64; TIMES_BUCKETS - 1] = {
    // 1,000 times 2^0, 2^(1/4), 2^(1/2) and 2^(3/4), with 32 bits after the point.
    let octave: [u128; 4] = [
        4_294_967_296_000,
        (1_189.207_115_002_721 * 4_294_967_296.0) as u128,
        (1_414.213_562_373_095 * 4_294_967_296.0) as u128,
        (1_681.792_830_507_429 * 4_294_967_296.0) as u128,
    ];
    let mut edges = [0; TIMES_BUCKETS - 1];
    let mut index = 0;
    while index < edges.len() {
        edges[index] = ((octave[index % 4] << (index / 4)) >> 32) as u64;
        index += 1;
    }
    edges
};

/// Index of the bucket that takes this time: what is not longer than its edge. The last takes what is over 51 minutes.
pub fn bucket(time: Duration) -> usize {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    EDGES.partition_point(|&edge| edge < nanos)
}

/// Classes of calls, by how many records they had: 1, 2 to 3, 4 to 7, and so on; the last has 128 and more. The cost of a
/// call is shared by its records, so times are compared between calls of about as many.
pub const CLASSES: usize = 8;

/// The class of a call of so many records.
pub fn class(records: u32) -> usize {
    (records.max(1).ilog2() as usize).min(CLASSES - 1)
}

/// Times that a record took, one for each call, in buckets and classes. Mergeable: adding two gives the times of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    pub(super) counts: Box<[[u64; TIMES_BUCKETS]; CLASSES]>,
}

/// Those of one class.
#[derive(Clone, Copy)]
pub(super) struct OfClass<'t>(pub(super) &'t [u64; TIMES_BUCKETS]);

impl Times {
    /// Times of calls of one record that were counted elsewhere, by [`bucket`].
    pub fn from_counts(counts: [u64; TIMES_BUCKETS]) -> Self {
        let mut times = Times::default();
        times.counts[0] = counts;
        times
    }

    /// Times that were counted elsewhere, by [`class`] and [`bucket`].
    pub fn from_classes(counts: Box<[[u64; TIMES_BUCKETS]; CLASSES]>) -> Self {
        Times { counts }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|class| OfClass(class).count()).fold(0, u64::saturating_add)
    }

    /// What so many of the calls of one record (0 to 1) did not exceed: the upper edge of a bucket. Zero of none.
    pub fn at_most(&self, share: f64) -> Duration {
        let times = OfClass(&self.counts[0]);
        let rank = (times.count() as f64 * share).ceil();
        if rank < 1.0 {
            return Duration::ZERO;
        }
        EDGES.get(times.bucket_of(rank)).copied().map_or(Duration::MAX, Duration::from_nanos)
    }

    /// The class of which both have the most, and those of both.
    pub(super) fn comparable<'t>(&'t self, other: &'t Times) -> (OfClass<'t>, OfClass<'t>) {
        let pairs = self.counts.iter().zip(other.counts.iter());
        let pairs = pairs.map(|(new, old)| (OfClass(new), OfClass(old)));
        let best =
            pairs.max_by_key(|(new, old)| (new.count().min(old.count()), new.count().max(old.count())));
        best.expect("there are classes")
    }
}

impl OfClass<'_> {
    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// Surely not longer than the `quantile` (0 to 1): the lower edge of the bucket of the time that stands [`Z`]
    /// standard errors before it in the order.
    pub(super) fn least(&self, quantile: f64) -> Duration {
        let count = self.count() as f64;
        // Nothing stands before the first, which is longer than nothing.
        let rank = (count * (quantile - spread(quantile, count))).floor();
        let bucket = if rank < 1.0 { 0 } else { self.bucket_of(rank) };
        bucket.checked_sub(1).map_or(Duration::ZERO, |below| Duration::from_nanos(EDGES[below]))
    }

    /// Surely not shorter than the `quantile`: the upper edge of the bucket of the time that stands as far after it.
    /// None: there are too few to say, or it is over 51 minutes.
    pub(super) fn most(&self, quantile: f64) -> Option<Duration> {
        let count = self.count() as f64;
        let rank = (count * (quantile + spread(quantile, count))).ceil() + 1.0;
        let bucket = (rank <= count).then(|| self.bucket_of(rank))?;
        EDGES.get(bucket).copied().map(Duration::from_nanos)
    }

    /// The bucket of the time at this place in the order, from 1.
    fn bucket_of(&self, rank: f64) -> usize {
        let mut below: u64 = 0;
        self.0
            .iter()
            .position(|&count| {
                below = below.saturating_add(count);
                below as f64 >= rank
            })
            .unwrap_or(TIMES_BUCKETS - 1)
    }
}

impl Default for Times {
    fn default() -> Self {
        Times { counts: Box::new([[0; TIMES_BUCKETS]; CLASSES]) }
    }
}

/// How far from its place in the order, as a share of all, a quantile may stand at [`Z`] standard errors. Finite, also
/// of nothing.
fn spread(quantile: f64, count: f64) -> f64 {
    Z * (quantile * (1.0 - quantile) / count.max(1.0)).sqrt()
}
