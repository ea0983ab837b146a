//! Requests of guests to servers outside, by whom they asked and how that ended.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use super::histogram::{self, BOUNDS, Histogram};

/// How a request ended, as a label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Asked {
    Status2xx,
    Status3xx,
    Status4xx,
    Status5xx,
    /// Not allowed: the server, the method, the address, or one more at once.
    Denied,
    Timeout,
    /// The request or its answer.
    TooLarge,
    /// No address, no connection, no trust.
    Unreachable,
    /// What came is no HTTP, or ended too early.
    Broken,
    /// The call of the handler ended before.
    Cancelled,
}

/// Label values, in the order of [`Asked`].
pub const RESULTS: [&str; 10] =
    ["2xx", "3xx", "4xx", "5xx", "denied", "timeout", "too_large", "unreachable", "broken", "cancelled"];

impl Asked {
    /// By the status of an answer.
    pub fn of_status(status: u16) -> Self {
        match status {
            0..300 => Asked::Status2xx,
            300..400 => Asked::Status3xx,
            400..500 => Asked::Status4xx,
            _ => Asked::Status5xx,
        }
    }
}

/// Counters of one pipeline's requests.
#[derive(Debug, Default)]
pub struct Requests {
    targets: Vec<Target>,
    denied: AtomicU64,
    open: AtomicI64,
}

#[derive(Debug)]
struct Target {
    /// The entry of the allow-list.
    name: String,
    results: [AtomicU64; RESULTS.len()],
    counts: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Requests {
    /// Counters for these entries of an allow-list.
    pub fn new(targets: Vec<String>) -> Self {
        let target = |name| Target {
            name,
            results: Default::default(),
            counts: Default::default(),
            nanos: AtomicU64::new(0),
        };
        Requests { targets: targets.into_iter().map(target).collect(), ..Self::default() }
    }

    /// Counts a request that was not made.
    pub fn denied(&self) {
        self.denied.fetch_add(1, Relaxed);
    }

    /// A request is made.
    pub fn begin(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    /// It is over.
    pub fn end(&self, target: usize, ended: Asked, took: Duration) {
        self.open.fetch_sub(1, Relaxed);
        let target = &self.targets[target];
        target.results[ended as usize].fetch_add(1, Relaxed);
        target.counts[histogram::bucket(took.as_secs_f64())].fetch_add(1, Relaxed);
        target.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Requests that are open.
    pub fn open(&self) -> i64 {
        self.open.load(Relaxed)
    }

    /// Requests that nobody on the list was asked.
    pub fn denied_count(&self) -> u64 {
        self.denied.load(Relaxed)
    }

    /// Shows every entry of the allow-list: its name, how its requests ended in the order of [`RESULTS`], how long they
    /// took.
    pub fn read(&self, mut show: impl FnMut(&str, [u64; RESULTS.len()], &Histogram)) {
        for target in &self.targets {
            let counts = std::array::from_fn(|bucket| target.counts[bucket].load(Relaxed));
            let seconds = Duration::from_nanos(target.nanos.load(Relaxed)).as_secs_f64();
            let results = std::array::from_fn(|result| target.results[result].load(Relaxed));
            show(&target.name, results, &Histogram::from_parts(counts, seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_is_counted_where_it_went_and_as_it_ended() {
        let requests = Requests::new(vec!["https://a".to_owned(), "https://b".to_owned()]);
        requests.begin();
        requests.begin();
        requests.end(1, Asked::of_status(204), Duration::from_millis(3));
        requests.denied();
        assert_eq!((requests.open(), requests.denied_count()), (1, 1));
        requests.end(1, Asked::Cancelled, Duration::from_millis(5));
        let mut shown = Vec::new();
        requests.read(|name, results, took| shown.push((name.to_owned(), results, took.count())));
        assert_eq!(shown[0], ("https://a".to_owned(), [0; RESULTS.len()], 0));
        assert_eq!(shown[1], ("https://b".to_owned(), [1, 0, 0, 0, 0, 0, 0, 0, 0, 1], 2));
        assert_eq!(RESULTS[Asked::Cancelled as usize], "cancelled");
        assert_eq!(RESULTS[Asked::of_status(503) as usize], "5xx");
    }
}
