use fastrand::Rng;
use proptest::prelude::*;

use super::times::{EDGES, OfClass};
use super::*;

/// Of calls of one record.
impl Times {
    fn least(&self, quantile: f64) -> Duration {
        OfClass(&self.counts[0]).least(quantile)
    }

    fn most(&self, quantile: f64) -> Option<Duration> {
        OfClass(&self.counts[0]).most(quantile)
    }
}

const WATCH: Duration = Duration::from_secs(300);
const RULE: Rule = Rule { error_increase: 0.01, slowdown: 2.0, of_watch: WATCH };
/// How often a version is looked at.
const EACH: Duration = Duration::from_secs(5);

fn seen(records: u64, failed: u64) -> Seen {
    Seen { records, failed, times: Times::default() }
}

/// So many times in one bucket.
fn times(count: u64, each: Duration) -> Times {
    let mut counts = [0; TIMES_BUCKETS];
    counts[bucket(each)] = count;
    Times::from_counts(counts)
}

fn took(count: u64, each: Duration) -> Seen {
    Seen { records: count, failed: 0, times: times(count, each) }
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// The second look, with one record more than at the first.
fn look(new: &Seen, baseline: Baseline<'_>) -> Verdict {
    let mut observer = Observer::new(RULE);
    let records = new.records.saturating_sub(1);
    let first = observer.look(EACH, &seen(records, new.failed.min(records)), baseline);
    if is_watching(&first) { observer.look(EACH * 2, new, baseline) } else { first }
}

/// The reason, as it is told.
fn reason(verdict: &Verdict) -> String {
    match verdict {
        Verdict::RollBack(reason) => reason.to_string(),
        other => panic!("not taken back: {other:?}"),
    }
}

fn is_watching(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Watching(_))
}

#[test]
fn a_share_that_surely_rose_is_a_reason_that_can_be_checked() {
    let verdict = look(&seen(4200, 212), Baseline::Before(&seen(3900, 38)));
    assert_eq!(
        reason(&verdict),
        "212 of 4200 records failed (5.05 %), against 38 of 3900 (0.97 %) before the deploy: surely 2.98 points more \
         (Newcombe's lower bound at 3 standard errors, in 2 looks running), and the rule allows 1.00"
    );
}

#[test]
fn the_bounds_are_those_of_the_papers() {
    // Newcombe's examples: 81 of 263, and 56 of 70 against 48 of 80, at 95 %.
    let z = 1.959_964;
    let (low, high) = Share { failed: 81, records: 263 }.bounds(z);
    assert!((low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5, "{low} {high}");
    let least = Share { failed: 56, records: 70 }.least_above(Share { failed: 48, records: 80 }, z);
    assert!((least - 0.0524).abs() < 5e-5, "{least}");
    let none = Share { failed: 0, records: 100 };
    assert_eq!(none.bounds(3.0).0, 0.0, "none of them failed, which is no certainty");
    assert!((none.bounds(3.0).1 - 9.0 / 109.0).abs() < 1e-12);
}

#[test]
fn a_share_has_to_be_higher_in_two_looks_with_new_records() {
    let old = seen(4000, 10);
    let mut observer = Observer::new(RULE);
    let mut at = |records, failed| observer.look(EACH, &seen(records, failed), Baseline::Before(&old));
    assert!(is_watching(&at(200, 20)));
    assert!(is_watching(&at(200, 20)), "the same records again confirm nothing");
    assert!(is_watching(&at(2000, 20)), "it was a burst");
    assert!(is_watching(&at(2200, 220)));
    reason(&at(2201, 221));
}

#[test]
fn a_share_may_rise_by_half_of_what_it_was() {
    let old = seen(100_000, 10_000);
    assert!(is_watching(&look(&seen(100_000, 14_900), Baseline::SameTime(&old))));
    reason(&look(&seen(100_000, 15_900), Baseline::SameTime(&old)));
}

#[test]
fn few_records_or_failures_decide_nothing() {
    let old = seen(10_000, 0);
    assert!(is_watching(&look(&seen(99, 50), Baseline::SameTime(&old))));
    assert!(is_watching(&look(&seen(101, 9), Baseline::SameTime(&old))));
    reason(&look(&seen(101, 50), Baseline::SameTime(&old)));
}

#[test]
fn a_version_that_fails_everything_is_found_at_twenty_records() {
    let old = seen(400, 3);
    assert!(is_watching(&look(&seen(19, 19), Baseline::Before(&old))));
    assert_eq!(
        reason(&look(&seen(20, 20), Baseline::Before(&old))),
        "all of the first 20 records failed (100 %), against 3 of 400 (0.75 %) before the deploy: 20 are enough where \
         less than 50 % failed before the deploy"
    );
    assert!(is_watching(&look(&seen(20, 19), Baseline::Before(&old))));
    // Where the old one fails as much, it is not the version that is at fault.
    assert!(is_watching(&look(&seen(20, 20), Baseline::Before(&seen(400, 200)))));
    assert!(is_watching(&look(&seen(5000, 5000), Baseline::Before(&seen(400, 400)))));
}

#[test]
fn without_a_baseline_only_what_fails_most_is_taken_back() {
    let few = seen(12, 0);
    for baseline in [Baseline::None, Baseline::Before(&few), Baseline::SameTime(&seen(0, 0))] {
        assert!(is_watching(&look(&seen(19, 19), baseline)));
        assert!(is_watching(&look(&seen(10_000, 5000), baseline)));
        assert_eq!(
            reason(&Observer::new(RULE).look(EACH, &seen(100, 80), baseline)),
            "80 of 100 records failed (80.00 %), with nothing to compare with: surely more than 65.77 % (Wilson's \
             lower bound at 3 standard errors), and the rule allows 50 %"
        );
    }
    assert!(
        is_watching(&look(&seen(100, 100), Baseline::Before(&seen(12, 12)))),
        "the little there was failed"
    );
}

#[test]
fn records_that_take_longer_are_found_at_the_second_look_with_new_ones() {
    let old = took(5000, millis(4));
    let mut observer = Observer::new(RULE);
    let mut slow = |count| observer.look(EACH, &took(count, millis(13)), Baseline::SameTime(&old));
    assert!(is_watching(&slow(999)) && is_watching(&slow(999)));
    assert!(is_watching(&slow(1000)));
    assert!(is_watching(&slow(1000)), "the same records again confirm nothing");
    assert_eq!(
        reason(&slow(1010)),
        "50 % of 1010 records took 11.6ms or longer, against 4.1ms or shorter for 50 % of 5000 with the other version \
         over the same time (bounds at 3 standard errors, in 2 looks running): the rule allows 2 times that and 1ms"
    );
}

#[test]
fn a_look_that_is_well_begins_the_count_again() {
    let old = took(5000, millis(4));
    let mut observer = Observer::new(RULE);
    for (count, each) in [(1000, 13), (2000, 4), (3000, 13), (4000, 4)] {
        let new = took(count, millis(each));
        assert!(is_watching(&observer.look(EACH, &new, Baseline::SameTime(&old))));
    }
}

#[test]
fn what_is_longer_by_less_than_a_millisecond_does_not_count() {
    let old = took(5000, Duration::from_micros(10));
    let mut observer = Observer::new(RULE);
    for count in [1000, 2000] {
        let new = took(count, Duration::from_micros(900));
        assert!(is_watching(&observer.look(EACH, &new, Baseline::SameTime(&old))));
    }
}

#[test]
fn at_the_end_it_says_how_little_it_saw() {
    let end = |new: &Seen, baseline: Baseline<'_>| match Observer::new(RULE).look(WATCH, new, baseline) {
        Verdict::Keep(text) => text,
        other => panic!("not kept: {other:?}"),
    };
    let busy = Seen { records: 4000, failed: 10, times: times(4000, millis(1)) };
    assert_eq!(end(&seen(12, 0), Baseline::Before(&busy)), "kept: only 12 records in 5m, too few to tell");
    assert_eq!(end(&seen(12, 7), Baseline::None), "kept: only 12 records in 5m, 7 failed, too few to tell");
    assert_eq!(
        end(&seen(1200, 3), Baseline::None),
        "kept: 3 of 1200 records failed (0.25 %) in 5m, with nothing to compare with"
    );
    assert_eq!(
        end(&seen(1200, 3), Baseline::Before(&seen(12, 0))),
        "kept: 3 of 1200 records failed (0.25 %) in 5m, with only 12 records before the deploy to compare with"
    );
    assert_eq!(
        end(&seen(110, 4), Baseline::Before(&busy)),
        "kept: 4 of 110 records failed (3.64 %) in 5m, against 10 of 4000 (0.25 %) before the deploy; that is more, \
         but not surely so; 0 and 4000 times are too few to tell whether it is slower"
    );
    assert_eq!(
        end(&busy, Baseline::SameTime(&busy)),
        "kept: 10 of 4000 records failed (0.25 %) in 5m, against 10 of 4000 (0.25 %) with the other version over the \
         same time"
    );
    // The last look decides, too.
    reason(&Observer::new(RULE).look(WATCH, &seen(30, 30), Baseline::Before(&busy)));
}

#[test]
fn meanwhile_it_says_how_far_it_is() {
    let text = |new: &Seen, baseline: Baseline<'_>| match look(new, baseline) {
        Verdict::Watching(text) => text,
        other => panic!("not watching: {other:?}"),
    };
    let (old, few) = (seen(4000, 10), seen(12, 0));
    assert_eq!(text(&seen(37, 1), Baseline::Before(&old)), "37 of 100 records");
    assert_eq!(
        text(&seen(1200, 3), Baseline::None),
        "3 of 1200 records failed (0.25 %), with nothing to compare with"
    );
    assert_eq!(
        text(&seen(1200, 3), Baseline::Before(&few)),
        "3 of 1200 records failed (0.25 %); 12 of 100 to compare with before the deploy"
    );
    assert_eq!(
        text(&seen(1200, 3), Baseline::Before(&old)),
        "3 of 1200 records failed (0.25 %), against 10 of 4000 (0.25 %) before the deploy"
    );
}

#[test]
fn buckets_are_a_fourth_of_a_doubling_apart_from_a_microsecond_to_an_hour() {
    assert_eq!((bucket(Duration::ZERO), bucket(Duration::from_micros(1))), (0, 0));
    assert_eq!((bucket(Duration::from_nanos(1001)), bucket(Duration::from_nanos(1190))), (1, 2));
    assert_eq!(bucket(Duration::from_micros(1024)), 40);
    assert_eq!((bucket(Duration::from_secs(3000)), bucket(Duration::from_secs(3600))), (126, 127));
    assert_eq!(bucket(Duration::MAX), TIMES_BUCKETS - 1);
    for (index, edge) in EDGES.into_iter().enumerate() {
        let exact = 1000.0 * (index as f64 / 4.0).exp2();
        assert!((edge as f64 - exact).abs() <= 1.0, "{index}: {edge} and not {exact}");
    }
}

#[test]
fn what_is_near_the_middle_is_on_neither_side_of_it_for_sure() {
    let (fast, slow) = (millis(1), millis(100));
    let mut both = times(4_900, fast);
    both.counts[0][bucket(slow)] = 5_100;
    assert!(both.least(0.5) < fast && both.most(0.5) > Some(slow), "it may be either");
    both.counts[0][bucket(slow)] = 6_000;
    assert!(both.least(0.5) > fast, "it is surely slow");
    assert_eq!(times(100, fast).most(0.95), None, "the longest of a hundred may be too short");
    assert_eq!((Times::default().least(0.5), Times::default().most(0.5)), (Duration::ZERO, None));
}

fn any_times() -> impl Strategy<Value = Times> {
    prop::collection::vec((0..TIMES_BUCKETS, any::<u64>()), 0..6).prop_map(|entries| {
        let mut counts = [0; TIMES_BUCKETS];
        entries.into_iter().for_each(|(bucket, count)| counts[bucket] = count);
        Times::from_counts(counts)
    })
}

fn any_seen() -> impl Strategy<Value = Seen> {
    (any::<u64>(), any::<u64>(), any_times()).prop_map(|(records, failed, times)| Seen {
        records,
        failed,
        times,
    })
}

proptest! {
    /// Also where counts contradict each other or were reset.
    #[test]
    fn any_numbers_lead_to_a_verdict(
        looks in prop::collection::vec((any::<u64>(), any_seen(), any_seen(), 0_usize..3), 1..5),
        error_increase in 0.0..1.0,
        slowdown in 1.0..1e300,
    ) {
        let mut observer = Observer::new(Rule { error_increase, slowdown, of_watch: WATCH });
        for (since, new, old, which) in looks {
            let baseline = [Baseline::None, Baseline::Before(&old), Baseline::SameTime(&old)][which];
            match observer.look(Duration::from_secs(since), &new, baseline) {
                Verdict::Watching(text) | Verdict::Keep(text) => prop_assert!(!text.contains("NaN")),
                Verdict::RollBack(reason) => {
                    prop_assert!(new.records >= FIRST || new.times.count() >= LEAST_TIMES);
                    prop_assert!(!reason.to_string().contains("NaN"));
                }
            }
        }
    }

    /// Against the times themselves, in their order.
    #[test]
    fn bounds_of_a_quantile_lie_around_it(
        each in prop::collection::vec(0_u64..10_000_000_000_000, 1000..1500),
        quantile in 0.01..0.99,
    ) {
        let mut counts = [0; TIMES_BUCKETS];
        each.iter().for_each(|&nanos| counts[bucket(Duration::from_nanos(nanos))] += 1);
        let (times, mut sorted) = (Times::from_counts(counts), each);
        sorted.sort_unstable();
        let middle = Duration::from_nanos(sorted[(sorted.len() as f64 * quantile) as usize]);
        prop_assert!(times.least(quantile) <= middle);
        prop_assert!(times.most(quantile).is_none_or(|most| middle <= most));
    }

    #[test]
    fn the_bounds_of_a_share_lie_around_it_and_tighten(records in 1_u64..1 << 40, part in 0.0..=1.0) {
        let share = Share { failed: (records as f64 * part) as u64, records };
        let more = Share { failed: share.failed * 4, records: records * 4 };
        let ((low, high), (closer_low, closer_high)) = (share.bounds(Z), more.bounds(Z));
        // Differences of numbers near 1 are exact to some 1e-15.
        let near = 1e-12;
        prop_assert!(-near <= low && low <= share.rate() + near && share.rate() <= high + near && high <= 1.0 + near);
        prop_assert!(low <= closer_low + near && closer_high <= high + near);
        prop_assert!(share.least_above(share, Z) <= 0.0, "nothing is surely higher than itself");
    }

    #[test]
    fn what_came_since_and_what_was_before_make_the_whole(
        (a, b) in (0_u64..1 << 60, 0_u64..1 << 60), (c, d) in (0_u64..1 << 60, 0_u64..1 << 60), at in 0..TIMES_BUCKETS,
    ) {
        let mut earlier = seen(a, b);
        earlier.times.counts[0][at] = c;
        let mut more = seen(c, d);
        more.times.counts[0][TIMES_BUCKETS - 1 - at] = a;
        let mut whole = earlier.clone();
        whole.merge(&more);
        prop_assert_eq!(whole.since(&earlier), more);
        prop_assert_eq!(earlier.since(&whole), Seen::default());
    }
}

// What the rule does to versions that are the same and to versions that are worse. Runs have seeds: they are the same
// each time.

/// A version as it really is.
#[derive(Clone, Copy)]
struct Version {
    /// Share of records that fail.
    fails: f64,
    /// Median of how long a record takes. The times are log-normal with σ = 1: the 95th percentile is 5.2 times that.
    takes: Duration,
}

/// Adds records. With bursts, failures come at half the rate in one of these calls and at one and a half in another.
fn add(random: &mut Rng, seen: &mut Seen, version: Version, records: u64, bursts: bool) {
    seen.records += records;
    let fails = match (bursts, random.bool()) {
        (true, true) => version.fails * 1.5,
        (true, false) => version.fails * 0.5,
        (false, _) => version.fails,
    };
    if fails >= 1.0 {
        seen.failed += records;
        return;
    }
    if fails <= 0.0 {
        return;
    }
    // Not each record is drawn, but how many succeed until the next that fails.
    let mut left = records as f64;
    loop {
        left -= 1.0 + ((1.0 - random.f64()).ln() / (1.0 - fails).ln()).floor();
        if left < 0.0 {
            return;
        }
        seen.failed += 1;
    }
}

fn add_times(random: &mut Rng, times: &mut Times, version: Version, records: u64) {
    for _ in 0..records {
        // Box and Muller, 1958.
        let normal = (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos();
        times.counts[0][bucket(version.takes.mul_f64(normal.exp()))] += 1;
    }
}

/// Watches one version and says after how many of its records it was taken back. The baseline is the minute before, or
/// the same time.
fn watch(random: &mut Rng, a_second: u64, old: Version, new: Version, bursts: bool) -> Option<u64> {
    let before = random.bool();
    let (mut baseline, mut seen) = (Seen::default(), Seen::default());
    for _ in 0..if before { 60 } else { 0 } {
        add(random, &mut baseline, old, a_second, bursts);
    }
    let mut observer = Observer::new(RULE);
    let mut since = Duration::ZERO;
    loop {
        since += EACH;
        for _ in 0..EACH.as_secs() {
            add(random, &mut seen, new, a_second, bursts);
            if !before {
                add(random, &mut baseline, old, a_second, bursts);
            }
        }
        let against = if before { Baseline::Before(&baseline) } else { Baseline::SameTime(&baseline) };
        match observer.look(since, &seen, against) {
            Verdict::Watching(_) => {}
            Verdict::Keep(_) => return None,
            Verdict::RollBack(_) => return Some(seen.records),
        }
    }
}

/// Over 20,000 watches each, of 60 looks, at most 8 were taken back where each record fails by itself (5 % of them, one
/// record a second), 6 where failures come in bursts and at most 10 % fail, and 33 of those with 40 % in bursts.
#[test]
fn an_unchanged_version_is_hardly_ever_taken_back_for_its_failures() {
    let mut random = Rng::with_seed(1);
    let (mut runs, mut wrong) = (0, Vec::new());
    for a_second in [1, 5, 50, 1000] {
        for fails in [0.0, 0.001, 0.01, 0.1, 0.4] {
            let same = Version { fails, takes: millis(1) };
            for run in 0..if a_second == 1000 { 60 } else { 180 } {
                runs += 1;
                if let Some(records) = watch(&mut random, a_second, same, same, run % 2 == 0) {
                    assert!(fails > 0.01, "{a_second} records a second of which {fails} fail, run {run}");
                    wrong.push((a_second, fails, records));
                }
            }
        }
    }
    assert!(runs == 3000 && wrong.len() <= 1, "of {runs} {wrong:?}");
}

#[test]
fn a_version_that_fails_more_is_found_within_so_many_records() {
    let mut random = Rng::with_seed(2);
    // From, to, records a second; records within which all of 100 are found, and half of them.
    for (from, to, a_second, all, half) in [
        (0.01, 0.05, 50, 3_000, 1_000),
        (0.01, 0.05, 1000, 10_000, 10_000),
        (0.0, 1.0, 5, 25, 25),
        (0.01, 1.0, 50, 250, 250),
        (0.1, 0.2, 50, 7_500, 1_500),
        (0.0, 0.02, 50, 7_500, 2_000),
    ] {
        let (old, new) = (Version { fails: from, takes: millis(1) }, Version { fails: to, takes: millis(1) });
        let mut needed: Vec<u64> = (0..100)
            .map(|_| watch(&mut random, a_second, old, new, false).expect("a worse version was kept"))
            .collect();
        needed.sort_unstable();
        assert!(needed[99] <= all && needed[50] <= half, "{from} to {to} at {a_second}: {needed:?}");
    }
}

/// After how many records of the new version, in 12 looks, it is found slower.
fn watch_times(random: &mut Rng, rule: Rule, a_look: u64, old: Version, new: Version) -> Option<u64> {
    let (mut baseline, mut seen) = (Seen::default(), Seen::default());
    let mut observer = Observer::new(rule);
    (1..=12).find_map(|look| {
        add_times(random, &mut seen.times, new, a_look);
        add_times(random, &mut baseline.times, old, a_look);
        let verdict = observer.look(EACH * look, &seen, Baseline::SameTime(&baseline));
        matches!(verdict, Verdict::RollBack(_)).then(|| seen.times.count())
    })
}

#[test]
fn a_version_as_fast_as_before_is_never_found_slower_and_a_slow_one_is() {
    let mut random = Rng::with_seed(3);
    let strict = Rule { slowdown: 1.3, ..RULE };
    // Rule, how many times as slow, records a look; of 60, how many are found, and within how many records all of
    // them and half.
    for (rule, factor, a_look, found, all, half) in [
        (RULE, 1.0, 500, 0, 0, 0),
        (strict, 1.0, 500, 0, 0, 0),
        (strict, 1.1, 500, 0, 0, 0),
        (strict, 2.0, 1000, 60, 9_000, 4_000),
        (RULE, 2.0, 500, 0, 0, 0),
        (RULE, 3.0, 1000, 60, 12_000, 5_000),
        (RULE, 4.0, 500, 60, 2_000, 1_500),
    ] {
        let mut needed: Vec<u64> = (0..60)
            .filter_map(|_| {
                // Anywhere in a bucket, and well above a millisecond.
                let takes = Duration::from_secs_f64(0.05 * random.f64().exp2());
                let (old, new) =
                    (Version { fails: 0.0, takes }, Version { fails: 0.0, takes: takes.mul_f64(factor) });
                watch_times(&mut random, rule, a_look, old, new)
            })
            .collect();
        needed.sort_unstable();
        assert_eq!(needed.len(), found, "{factor} times as slow at {}: {needed:?}", rule.slowdown);
        assert!(needed.last().is_none_or(|last| *last <= all), "{factor} times as slow: {needed:?}");
        assert!(needed.get(30).is_none_or(|middle| *middle <= half), "{factor} times as slow: {needed:?}");
    }
}

#[test]
fn times_are_compared_between_calls_of_about_as_many_records() {
    assert_eq!([1, 2, 3, 4, 127, 128, u32::MAX].map(class), [0, 1, 1, 2, 6, 7, 7]);
    // The same handler: a call costs 50 ms, whatever it holds. One side has calls of one record, the other of 64.
    let of = |records: u32, calls: u64| {
        let mut times = Times::default();
        times.counts[class(records)][bucket(Duration::from_millis(50) / records)] = calls;
        times
    };
    let mut observer = Observer::new(RULE);
    let mut looks = |new: Times, old: Times| {
        (1..=5).any(|look| {
            let mut more = new.clone();
            more.counts[0][0] += look;
            let new = Seen { records: 100_000, failed: 0, times: more };
            let old = Seen { records: 100_000, failed: 0, times: old.clone() };
            let since = Duration::from_secs(5 * look);
            matches!(observer.look(since, &new, Baseline::SameTime(&old)), Verdict::RollBack(_))
        })
    };
    assert!(!looks(of(1, 50_000), of(64, 50_000)), "the same module was taken back");
    assert!(!looks(of(64, 999), of(64, 50_000)), "of too few calls");
    let mut slow = Times::default();
    slow.counts[class(64)][bucket(Duration::from_millis(200) / 64 * 4)] = 5_000;
    assert!(looks(slow, of(64, 5_000)), "what is surely slow was not found");
}
