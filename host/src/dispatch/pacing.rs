//! How many records one call gets: as many as are expected to take the time that a call shall take.
//!
//! A slow handler so gets batches of one and a fast one hundreds, and nobody has to configure it. Fed by the
//! machine with every call that was answered.

use std::time::Duration;

use crate::ids::Fuel;

/// Above this mean a handler counts as slow: its keys run side by side, each in calls of its own.
const SLOW: Duration = Duration::from_micros(500);
/// Below this mean a slow handler counts as fast again. Well apart from [`SLOW`], so that a handler between
/// the two does not switch back and forth.
const FAST: Duration = Duration::from_micros(125);
/// How much of a new call goes into the mean: one part in so many.
const WEIGHT: f64 = 8.0;
/// A call counts for at most, and at least, so many times the mean: a single stuck record says little about
/// the next one.
const OUTLIER: f64 = 4.0;
/// The batch bound grows by at most this factor from one call to the next, so that a handler nobody knows
/// yet shows itself on few records first.
const GROWTH: usize = 4;
/// A call of several records may take this many times what is expected before it counts as stuck …
const PATIENCE: u32 = 8;
/// … and this long in any case: below it, the operating system's scheduling is what one measures.
const SHORTEST_DEADLINE: Duration = Duration::from_millis(100);

/// A call of several records that took so many times what is expected holds a slow one.
const SUSPICIOUS: u32 = 4;
/// Fuel below which no call counts as slow: a few milliseconds of computing.
const SLOW_FUEL: u64 = 4_000_000;

/// What a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Fuel for the whole call.
    pub fuel: Fuel,
    /// Wall-clock time for the whole call.
    pub deadline: Duration,
}

/// Bounds that a pipeline's configuration sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Records of a call, at most.
    pub records: usize,
    /// Bytes of a call, at most, save for a single larger record.
    pub bytes: usize,
    /// Expected time of a call, at most, save for a single slower record.
    pub time: Duration,
    /// What a call of one record may take.
    pub single: Allowance,
    /// Calls are expected to wait on the host: keys run side by side before the first one has shown it.
    pub waits: bool,
}

/// The running estimate for one pipeline.
#[derive(Debug)]
pub struct Pacing {
    bounds: Bounds,
    /// Seconds per record.
    mean: Option<f64>,
    /// Fuel per record.
    fuel: f64,
    batch: usize,
    keyed: bool,
}

impl Pacing {
    /// Nothing is known yet: the first calls get one record each.
    pub fn new(bounds: Bounds) -> Self {
        Pacing { bounds, mean: None, fuel: 0.0, batch: 1, keyed: bounds.waits }
    }

    /// Takes in a call that answered for `records` records in `spent` (computing and waiting on the host) with
    /// `fuel`.
    pub fn answered(&mut self, records: usize, spent: Duration, fuel: Fuel) {
        if records == 0 {
            return;
        }
        let sample = spent.as_secs_f64() / records as f64;
        let mean = match self.mean {
            None => sample,
            Some(mean) => mean + (sample.clamp(mean / OUTLIER, mean * OUTLIER) - mean) / WEIGHT,
        };
        // Never zero, or the mean could not grow again.
        let mean = mean.max(1e-9);
        self.mean = Some(mean);
        let fuel = fuel.0 as f64 / records as f64;
        self.fuel = if self.fuel == 0.0 { fuel } else { self.fuel + (fuel - self.fuel) / WEIGHT };
        self.keyed = mean > if self.keyed { FAST } else { SLOW }.as_secs_f64();
        let wanted = (self.bounds.time.as_secs_f64() / mean) as usize;
        self.batch = wanted.clamp(1, self.bounds.records).min(self.batch.saturating_mul(GROWTH));
    }

    /// True if a call took so much longer than its number of records explains that one of them has to be slow.
    /// Goes by waiting and by fuel: time on a core is also that of whoever took the core away.
    pub fn is_suspicious(&self, records: usize, waited: Duration, fuel: Fuel) -> bool {
        let Some(mean) = self.mean.filter(|_| records > 1) else { return false };
        let expected = Duration::from_secs_f64(mean * records as f64).max(self.bounds.time);
        let usual = (self.fuel * records as f64) as u64;
        waited > expected * SUSPICIOUS || fuel.0 > usual.saturating_mul(SUSPICIOUS.into()).max(SLOW_FUEL)
    }

    /// True if a call of one key was slow.
    pub fn is_slow(&self, records: usize, waited: Duration, fuel: Fuel) -> bool {
        let records = records.max(1);
        waited > SLOW * u32::try_from(records).unwrap_or(u32::MAX) || fuel.0 / records as u64 > SLOW_FUEL
    }

    /// After how long a lane that is out no longer keeps a worker busy, but waits: a call on a busy worker is back
    /// long before.
    pub fn late_after(&self) -> Duration {
        (self.bounds.time * 5).max(Duration::from_millis(10))
    }

    /// Records of the next call, at most.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The configured bounds.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// True while the handler is so slow that keys must run side by side.
    pub fn keyed(&self) -> bool {
        self.keyed
    }

    /// What a call of so many records may take. More than one record get one record's fuel and a few times
    /// the mean for each: enough for every honest batch, and a stuck one is found soon. A limit outcome of a
    /// record comes only from a call of one.
    pub fn allowance(&self, records: usize) -> Allowance {
        let single = self.bounds.single;
        if records <= 1 {
            return single;
        }
        let fuel = (self.fuel * f64::from(PATIENCE) * records as f64) as u64;
        let expected =
            Duration::try_from_secs_f64(self.mean.unwrap_or(0.0) * records as f64).unwrap_or(Duration::MAX);
        Allowance {
            fuel: Fuel(single.fuel.0.saturating_add(fuel)),
            deadline: expected.saturating_mul(PATIENCE).max(SHORTEST_DEADLINE).min(single.deadline),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacing() -> Pacing {
        Pacing::new(Bounds {
            records: 256,
            bytes: 1 << 20,
            time: Duration::from_millis(2),
            single: Allowance { fuel: Fuel(1_000_000), deadline: Duration::from_secs(5) },
            waits: false,
        })
    }

    #[test]
    fn a_handler_that_is_expected_to_wait_is_slow_until_it_shows_otherwise() {
        let mut pacing = Pacing::new(Bounds { waits: true, ..*pacing().bounds() });
        assert!(pacing.keyed());
        feed(&mut pacing, 1, Duration::from_millis(50));
        assert!(pacing.keyed());
        feed(&mut pacing, 100, Duration::from_micros(5));
        assert!(!pacing.keyed());
    }

    fn feed(pacing: &mut Pacing, calls: usize, per_record: Duration) {
        for _ in 0..calls {
            let records = pacing.batch();
            pacing.answered(
                records,
                per_record * u32::try_from(records).unwrap(),
                Fuel(100 * records as u64),
            );
        }
    }

    #[test]
    fn a_fast_handler_grows_to_full_batches_in_few_calls() {
        let mut pacing = pacing();
        assert_eq!(pacing.batch(), 1);
        feed(&mut pacing, 4, Duration::from_micros(1));
        assert_eq!(pacing.batch(), 256);
        assert!(!pacing.keyed());
    }

    #[test]
    fn a_slow_handler_gets_batches_of_one_and_keys_side_by_side() {
        let mut pacing = pacing();
        feed(&mut pacing, 1, Duration::from_millis(10));
        assert_eq!(pacing.batch(), 1);
        assert!(pacing.keyed());
    }

    #[test]
    fn one_stuck_call_changes_little_and_a_handler_that_turned_slow_is_noticed() {
        let mut pacing = pacing();
        feed(&mut pacing, 20, Duration::from_micros(5));
        pacing.answered(1, Duration::from_secs(5), Fuel(1));
        assert!(!pacing.keyed());
        assert!(pacing.batch() > 100, "{}", pacing.batch());
        feed(&mut pacing, 40, Duration::from_millis(5));
        assert!(pacing.keyed());
        assert_eq!(pacing.batch(), 1);
        feed(&mut pacing, 80, Duration::from_micros(5));
        assert!(!pacing.keyed());
        assert_eq!(pacing.batch(), 256);
    }

    #[test]
    fn a_batch_gets_one_records_limits_and_some_of_the_mean_for_each() {
        let mut pacing = pacing();
        feed(&mut pacing, 20, Duration::from_micros(100));
        assert_eq!(pacing.allowance(1), pacing.bounds().single);
        let many = pacing.allowance(20);
        assert_eq!(many.fuel, Fuel(1_000_000 + 20 * 8 * 100));
        assert_eq!(many.deadline, SHORTEST_DEADLINE);
        feed(&mut pacing, 50, Duration::from_millis(400));
        assert_eq!(pacing.allowance(20).deadline, Duration::from_secs(5), "never above one record's");
    }
}
