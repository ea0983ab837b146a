//! How often each may ask.
//!
//! One bucket for each token, and one for everybody who has none: the set is closed, so nobody makes this table grow.
//! Addresses have no buckets, as behind a proxy all of them are one.
//!
//! A bucket is one moment: when it will be full again. Every request puts that moment off by the time one token takes
//! to come back, and may not put it off further than the whole bucket takes. It is the generic cell rate algorithm (ITU-T
//! I.371, 1993), which counts what a bucket of tokens counts, in whole nanoseconds and without rounding.
//!
//! Nothing here reads a clock.

use std::time::Duration;

/// Who has no token. Every other number that is no token's place stands for the same.
pub const NOBODY: usize = usize::MAX;

/// How often one may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests at once, after a rest. None are let through if it is zero.
    pub burst: u32,
    /// From one request to the next, in the long run. There is no limit if it is zero and `burst` is not.
    pub every: Duration,
}

/// The buckets of all tokens, and the one of everybody else.
#[derive(Clone, Debug)]
pub struct Buckets {
    tokens: Vec<Bucket>,
    nobody: Bucket,
}

impl Buckets {
    /// Full buckets: one for each of so many tokens, and one for everybody else.
    pub fn new(tokens: usize, each: Rate, nobody: Rate) -> Self {
        Buckets { tokens: vec![Bucket::new(each); tokens], nobody: Bucket::new(nobody) }
    }

    /// Counts a request of the token at place `who`, or of [`NOBODY`], at the moment `now` since a start that never
    /// changes. A moment before an earlier one counts as that one would without a rest in between.
    ///
    /// # Errors
    /// If it comes too early: the time after which it would be let through, if no other comes first. More than zero.
    /// Nothing was counted.
    pub fn take(&mut self, who: usize, now: Duration) -> Result<(), Duration> {
        self.tokens.get_mut(who).unwrap_or(&mut self.nobody).take(now)
    }
}

#[derive(Clone, Debug)]
struct Bucket {
    rate: Rate,
    /// When it is full again; any moment that has passed if it is full.
    full: Duration,
}

impl Bucket {
    fn new(rate: Rate) -> Self {
        Bucket { rate, full: Duration::ZERO }
    }

    fn take(&mut self, now: Duration) -> Result<(), Duration> {
        if self.rate.burst == 0 {
            return Err(Duration::MAX);
        }
        let whole = self.rate.every.saturating_mul(self.rate.burst);
        let full = self.full.max(now).saturating_add(self.rate.every);
        let early = full.saturating_sub(now.saturating_add(whole));
        if !early.is_zero() {
            return Err(early);
        }
        self.full = full;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EACH: Rate = Rate { burst: 3, every: Duration::from_millis(100) };
    const NONE: Rate = Rate { burst: 1, every: Duration::from_secs(1) };
    const NANO: Duration = Duration::from_nanos(1);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_goes_through_and_then_one_each_interval() {
        let mut buckets = Buckets::new(1, EACH, NONE);
        for _ in 0..3 {
            assert_eq!(buckets.take(0, at(5_000)), Ok(()));
        }
        assert_eq!(buckets.take(0, at(5_000)), Err(at(100)));
        assert_eq!(buckets.take(0, at(5_040)), Err(at(60)));
        assert_eq!(buckets.take(0, at(5_100)), Ok(()));
        assert_eq!(buckets.take(0, at(5_100)), Err(at(100)));
        // A rest fills it, and no more than that.
        for _ in 0..3 {
            assert_eq!(buckets.take(0, at(60_000)), Ok(()));
        }
        assert_eq!(buckets.take(0, at(60_000)), Err(at(100)));
    }

    #[test]
    fn who_asks_too_often_is_in_nobody_elses_way() {
        let mut buckets = Buckets::new(2, EACH, NONE);
        while buckets.take(NOBODY, at(0)).is_ok() {}
        while buckets.take(1, at(0)).is_ok() {}
        assert_eq!(buckets.take(0, at(0)), Ok(()));
        assert_eq!(buckets.take(2, at(0)), Err(at(1_000)), "there is no such token: it is nobody's");
    }

    #[test]
    fn limits_that_are_none_or_all_hold() {
        let all = Rate { burst: 1, every: Duration::ZERO };
        let mut buckets = Buckets::new(1, all, Rate { burst: 0, every: Duration::ZERO });
        for _ in 0..1_000 {
            assert_eq!(buckets.take(0, at(7)), Ok(()));
            assert_eq!(buckets.take(NOBODY, at(7)), Err(Duration::MAX));
        }
        let mut once = Buckets::new(1, Rate { burst: u32::MAX, every: Duration::MAX }, all);
        assert_eq!(once.take(0, Duration::MAX), Ok(()), "no sum overflows");
    }

    /// A bucket as books draw it: it holds nanoseconds of waiting, of which each request takes `every`.
    struct Naive {
        rate: Rate,
        held: u128,
        last: u128,
    }

    impl Naive {
        fn take(&mut self, now: Duration) -> bool {
            let whole = self.rate.every.as_nanos() * u128::from(self.rate.burst);
            self.held = whole.min(self.held + now.as_nanos() - self.last);
            self.last = now.as_nanos();
            let enough = self.held >= self.rate.every.as_nanos();
            if enough {
                self.held -= self.rate.every.as_nanos();
            }
            enough
        }
    }

    prop_compose! {
        /// A rate, and moments of requests that come twice as often as it allows, about.
        fn asked()(burst in 1_u32..8, every in 1_u64..1_000)(
            rate in Just(Rate { burst, every: Duration::from_nanos(every) }),
            pauses in prop::collection::vec(0..=every, 1..200),
        ) -> (Rate, Vec<Duration>) {
            let moments = pauses.into_iter().scan(Duration::ZERO, |now, pause| {
                *now += Duration::from_nanos(pause);
                Some(*now)
            });
            (rate, moments.collect())
        }
    }

    proptest! {
        #[test]
        fn no_span_lets_through_more_than_a_burst_and_what_comes_back((rate, moments) in asked()) {
            let mut buckets = Buckets::new(1, rate, NONE);
            let let_through: Vec<_> =
                moments.into_iter().filter(|now| buckets.take(0, *now).is_ok()).collect();
            for (first, from) in let_through.iter().enumerate() {
                for (last, to) in let_through.iter().enumerate().skip(first) {
                    let count = (last - first + 1) as u128;
                    let back = (*to - *from).as_nanos() / rate.every.as_nanos();
                    prop_assert!(count <= u128::from(rate.burst) + back, "{count} from {from:?} to {to:?}");
                }
            }
        }

        #[test]
        fn it_counts_as_a_bucket_of_tokens_does((rate, moments) in asked()) {
            let mut buckets = Buckets::new(1, rate, NONE);
            let whole = rate.every.as_nanos() * u128::from(rate.burst);
            let mut naive = Naive { rate, held: whole, last: 0 };
            for now in moments {
                prop_assert_eq!(buckets.take(0, now).is_ok(), naive.take(now), "at {:?}", now);
            }
        }

        #[test]
        fn who_waits_as_long_as_was_said_is_let_through_and_nobody_sooner((rate, moments) in asked()) {
            let mut buckets = Buckets::new(1, rate, NONE);
            for now in moments {
                if let Err(wait) = buckets.take(0, now) {
                    prop_assert!(!wait.is_zero() && wait <= rate.every);
                    prop_assert_eq!(buckets.clone().take(0, now + wait - NANO), Err(NANO));
                    prop_assert_eq!(buckets.clone().take(0, now + wait), Ok(()));
                }
            }
        }
    }
}
