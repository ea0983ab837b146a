//! Whether a version that was just deployed is taken back.
//!
//! A new version of a handler is *watched* for some minutes. What it does to records is held against a *baseline*: the
//! other version over the same time where both run, or else the old one just before. It is taken back if it surely
//! fails more of them, or surely takes longer. "Surely" is said by a bound and not by the two shares as they stand: who
//! compares shares at each of sixty looks takes back one unchanged version in five.
//!
//! * **Failures.** The share of failed records rose by more than [`Rule::error_increase`], and by more than half of
//!   what it was, by the lower bound of the difference of two shares of Newcombe, *Interval estimation for the
//!   difference between independent proportions*, 1998, method 10. It holds for few failures and for none, where the
//!   usual test does not. 3 standard errors, and not 2, because there are many looks; and in two looks running, because
//!   failures come in bursts: that takes back a tenth as many unchanged versions.
//! * **Everything fails.** The first 20 records failed, all of them, and less than half of the baseline did: there is
//!   no need to wait for 100.
//! * **Without a baseline** (the first version of all, or a pipeline that was idle) only what fails most records is
//!   taken back: more than half, by the lower bound of Wilson, 1927.
//! * **Times.** The median or the 95th percentile is longer than [`Rule::slowdown`] times what it was and a
//!   millisecond, by bounds that no assumption about times goes into, between calls of about as many records, each of
//!   which counts once: how many of n times are below a quantile is
//!   binomial, so the quantile lies between two of the times in their order. They are read from buckets, whose edges
//!   count in favour of the new version. In two looks running, too: times drift with what else the machine does.
//!
//! Little traffic decides nothing: then the version stays, and the verdict says how little was seen.
//!
//! Nothing here has a clock or counts anything: counts and the time since the watch began are handed in. What is handed
//! in are sums since the watch began, without what happened in the first seconds of a version, when everything is cold.

mod times;

use std::fmt;
use std::time::Duration;

pub use times::{CLASSES, TIMES_BUCKETS, Times, bucket, class};

/// Standard errors that bounds are away from what was measured. 3 is one in 740 of an honest look.
const Z: f64 = 3.0;
/// Least records of each version before shares are compared.
const LEAST_RECORDS: u64 = 100;
/// Least failed records before a share counts as risen.
const LEAST_FAILED: u64 = 10;
/// So many records at the start, all of them failed, are enough.
const FIRST: u64 = 20;
/// The share of failed records that is too much with nothing to compare it with, and up to which a baseline shows that
/// records can succeed.
const HALF: f64 = 0.5;
/// The share has to rise by so much of what it was: from 10 % to 15 %.
const OF_WHAT_IT_WAS: f64 = 0.5;
/// Least times of each version before they are compared. From about 170 on a 95th percentile has an upper bound at all.
const LEAST_TIMES: u64 = 1_000;
/// What is too long by less than this is of no interest to anybody.
const LEAST_LONGER: Duration = Duration::from_millis(1);
/// Looks running that have to find the same, each with records that are new.
const LOOKS: u32 = 2;
/// Which times are compared.
const QUANTILES: [f64; 2] = [0.5, 0.95];

/// What a version did to records, by their first attempt: one that succeeds when it is tried again has failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Records that a handler answered or failed on.
    pub records: u64,
    /// Those it failed on, as the handler's fault; at most `records`.
    pub failed: u64,
    /// How long it took for them.
    pub times: Times,
}

impl Seen {
    /// What came after `earlier`, which are sums of the same.
    pub fn since(&self, earlier: &Seen) -> Seen {
        Seen {
            records: self.records.saturating_sub(earlier.records),
            failed: self.failed.saturating_sub(earlier.failed),
            times: Times {
                counts: Box::new(std::array::from_fn(|class| {
                    let (mine, before) = (&self.times.counts[class], &earlier.times.counts[class]);
                    std::array::from_fn(|bucket| mine[bucket].saturating_sub(before[bucket]))
                })),
            },
        }
    }

    /// Adds what another part of the host has seen.
    pub fn merge(&mut self, other: &Seen) {
        self.records = self.records.saturating_add(other.records);
        self.failed = self.failed.saturating_add(other.failed);
        let mine = self.times.counts.as_flattened_mut().iter_mut();
        for (mine, theirs) in mine.zip(other.times.counts.as_flattened()) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    fn share(&self) -> Share {
        Share { failed: self.failed.min(self.records), records: self.records }
    }
}

/// When a version is taken back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// By how much the share of failed records may rise, 0 to 1; 0.01 lets 1 % become 2 %. It may rise by half of what
    /// it was, too, so a baseline that fails two of three records cannot be found worse.
    pub error_increase: f64,
    /// How many times as long records may take, at least 1. Times are known to within the 19 % of a bucket on both
    /// sides, to the new version's favour, so what is found is half more than this: 2.0 finds three times as slow and
    /// not twice, 1.3 finds twice as slow.
    pub slowdown: f64,
    /// How long a version is watched.
    pub of_watch: Duration,
}

/// What a new version is held against: sums over the time that it is about.
#[derive(Clone, Copy, Debug)]
pub enum Baseline<'s> {
    /// The other version over the same time, where both run.
    SameTime(&'s Seen),
    /// The version before it, just before.
    Before(&'s Seen),
    /// Nothing.
    None,
}

/// What is to become of the version.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing yet; how far it is, for people: `37 of 100 records`.
    Watching(String),
    /// The watch is over and it stays; a sentence that says on what ground.
    Keep(String),
    /// It is to be taken back.
    RollBack(Reason),
}

/// Failed records of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Those that failed.
    pub failed: u64,
    /// All; at least `failed`.
    pub records: u64,
}

impl Share {
    /// 0 to 1; of no records it is 0.
    pub fn rate(self) -> f64 {
        if self.records == 0 { 0.0 } else { self.failed as f64 / self.records as f64 }
    }

    /// Wilson's bounds of the share that all future records have, at `z` standard errors. Of at least one record.
    fn bounds(self, z: f64) -> (f64, f64) {
        let (p, n) = (self.rate(), self.records as f64);
        let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
        let (middle, scale) = (p + z * z / (2.0 * n), 1.0 + z * z / n);
        ((middle - half) / scale, (middle + half) / scale)
    }

    /// Newcombe's lower bound of how much higher this share is, at `z` standard errors. Both of at least one record.
    fn least_above(self, old: Share, z: f64) -> f64 {
        let (below, above) = (self.rate() - self.bounds(z).0, old.bounds(z).1 - old.rate());
        self.rate() - old.rate() - below.hypot(above)
    }
}

/// `212 of 4200 (5.05 %)`, or with `{:#}` `212 of 4200 records failed (5.05 %)`.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if f.alternate() { " records failed" } else { "" };
        write!(f, "{} of {}{what} ({:.2} %)", self.failed, self.records, self.rate() * 100.0)
    }
}

/// What the baseline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// Those of the other version over the same time.
    SameTime,
    /// Those before the deploy.
    Before,
}

impl fmt::Display for Against {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Against::SameTime => "with the other version over the same time",
            Against::Before => "before the deploy",
        })
    }
}

/// Why a version is taken back. Displays as one sentence with all that a person needs to check it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reason {
    /// Everything failed from the start.
    AllFailed {
        /// Of the new version.
        new: Share,
        /// Of the baseline.
        old: Share,
        /// Which that is.
        against: Against,
    },
    /// More failed than with the baseline.
    Failures {
        /// Of the new version.
        new: Share,
        /// Of the baseline.
        old: Share,
        /// Which that is.
        against: Against,
        /// The share surely rose by so much, 0 to 1.
        least: f64,
        /// And may have risen by so much.
        allowed: f64,
    },
    /// Most failed, and there is nothing to compare with.
    MostFailed {
        /// Of the new version.
        new: Share,
        /// The share is surely so high, 0 to 1.
        least: f64,
    },
    /// Records take longer than with the baseline.
    Slower {
        /// Which of the times, 0 to 1.
        quantile: f64,
        /// It is surely so long with the new version.
        least: Duration,
        /// Of how many times that is known.
        new: u64,
        /// It is surely not longer than this with the baseline.
        most: Duration,
        /// Of how many times that is known.
        old: u64,
        /// Which that is.
        against: Against,
        /// How many times as long is allowed.
        slowdown: f64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Reason::AllFailed { new, old, against } => write!(
                f,
                "all of the first {} records failed (100 %), against {old} {against}: {FIRST} are enough where less \
                 than {:.0} % failed {against}",
                new.records,
                HALF * 100.0
            ),
            Reason::Failures { new, old, against, least, allowed } => write!(
                f,
                "{new:#}, against {old} {against}: surely {:.2} points more (Newcombe's lower bound \
                 at {Z} standard errors, in {LOOKS} looks running), and the rule allows {:.2}",
                least * 100.0,
                allowed * 100.0
            ),
            Reason::MostFailed { new, least } => write!(
                f,
                "{new:#}, with nothing to compare with: surely more than {:.2} % (Wilson's lower bound \
                 at {Z} standard errors), and the rule allows {:.0} %",
                least * 100.0,
                HALF * 100.0
            ),
            Reason::Slower { quantile, least, new, most, old, against, slowdown } => write!(
                f,
                "{:.0} % of {new} records took {least:.1?} or longer, against {most:.1?} or shorter for {:.0} % of \
                 {old} {against} (bounds at {Z} standard errors, in {LOOKS} looks running): the rule allows {slowdown} \
                 times that and {LEAST_LONGER:?}",
                (1.0 - quantile) * 100.0,
                quantile * 100.0
            ),
        }
    }
}

/// Watches one new version.
#[derive(Clone, Debug)]
pub struct Observer {
    rule: Rule,
    /// Looks running in which surely more failed.
    more_failed: u32,
    /// Records that the new version had at the last look that was counted there.
    judged: u64,
    /// Looks running in which each of [`QUANTILES`] was too long.
    too_long: [u32; QUANTILES.len()],
    /// Times that the new version had at the last look that was counted there.
    counted: u64,
}

impl Observer {
    /// A watch that begins.
    pub fn new(rule: Rule) -> Self {
        Observer { rule, more_failed: 0, judged: 0, too_long: [0; QUANTILES.len()], counted: 0 }
    }

    /// What is to become of the version, `since` the watch began so long ago; both sides are sums. Looks are meant to
    /// be seconds apart. After [`Verdict::Keep`] or [`Verdict::RollBack`] the watch is over.
    pub fn look(&mut self, since: Duration, new: &Seen, baseline: Baseline<'_>) -> Verdict {
        let baseline = match baseline {
            Baseline::SameTime(old) => Some((old, Against::SameTime)),
            Baseline::Before(old) => Some((old, Against::Before)),
            Baseline::None => None,
        };
        let slower = baseline.and_then(|(old, against)| self.slower(&new.times, &old.times, against));
        let share = new.share();
        let found = match baseline {
            Some((old, against)) => self.failed_more(share, old.share(), against).or(slower),
            None => failed_most(share),
        };
        match found {
            Some(reason) => Verdict::RollBack(reason),
            None if since >= self.rule.of_watch => Verdict::Keep(self.kept(since, new, baseline)),
            None => Verdict::Watching(watching(share, baseline.map(|(old, against)| (old.share(), against)))),
        }
    }

    fn failed_more(&mut self, new: Share, old: Share, against: Against) -> Option<Reason> {
        if old.records < LEAST_RECORDS {
            // As good as nothing to compare with, unless it is what little was there that failed.
            return failed_most(new).filter(|_| old.rate() < HALF);
        }
        if new.records >= FIRST && new.failed == new.records && old.rate() < HALF {
            return Some(Reason::AllFailed { new, old, against });
        }
        if new.records < LEAST_RECORDS || new.failed < LEAST_FAILED {
            return None;
        }
        let (least, allowed) = (new.least_above(old, Z), self.allowed(old));
        // A look at which nothing is new would confirm the last one with the same records.
        let is_new = new.records != self.judged;
        self.judged = new.records;
        self.more_failed = if least > allowed { self.more_failed + u32::from(is_new) } else { 0 };
        (self.more_failed >= LOOKS).then_some(Reason::Failures { new, old, against, least, allowed })
    }

    /// By how much the share may rise from what it was.
    fn allowed(&self, old: Share) -> f64 {
        self.rule.error_increase.max(old.rate() * OF_WHAT_IT_WAS)
    }

    fn slower(&mut self, new: &Times, old: &Times, against: Against) -> Option<Reason> {
        let total = new.count();
        let (new, old) = new.comparable(old);
        let (count, of_old) = (new.count(), old.count());
        if count < LEAST_TIMES || of_old < LEAST_TIMES || total == self.counted {
            return None;
        }
        self.counted = total;
        let mut found = None;
        for (quantile, looks) in QUANTILES.into_iter().zip(&mut self.too_long) {
            let least = new.least(quantile);
            // In seconds: a duration times a number of any size may be too large for a duration.
            let allowed =
                |most: Duration| most.as_secs_f64() * self.rule.slowdown + LEAST_LONGER.as_secs_f64();
            let most = old.most(quantile).filter(|most| least.as_secs_f64() > allowed(*most));
            *looks = if most.is_some() { *looks + 1 } else { 0 };
            if let Some(most) = most.filter(|_| *looks >= LOOKS && found.is_none()) {
                let slowdown = self.rule.slowdown;
                found = Some(Reason::Slower {
                    quantile,
                    least,
                    new: count,
                    most,
                    old: of_old,
                    against,
                    slowdown,
                });
            }
        }
        found
    }

    /// Why it stays, and how much that says.
    fn kept(&self, since: Duration, new: &Seen, baseline: Option<(&Seen, Against)>) -> String {
        let time = humantime::format_duration(Duration::from_secs(since.as_secs()));
        let share = new.share();
        if share.records < LEAST_RECORDS {
            let failed = if share.failed == 0 { String::new() } else { format!(", {} failed", share.failed) };
            return format!("kept: only {} records in {time}{failed}, too few to tell", share.records);
        }
        let mut text = format!("kept: {share:#} in {time}");
        let Some((old, against)) = baseline.filter(|(old, _)| old.records > 0) else {
            return text + ", with nothing to compare with";
        };
        if old.records < LEAST_RECORDS {
            return text + &format!(", with only {} records {against} to compare with", old.records);
        }
        text += &format!(", against {} {against}", old.share());
        if share.rate() - old.share().rate() > self.allowed(old.share()) {
            text += "; that is more, but not surely so";
        }
        let (times, of_old) = new.times.comparable(&old.times);
        let (count, of_old) = (times.count(), of_old.count());
        if count < LEAST_TIMES || of_old < LEAST_TIMES {
            text += &format!("; {count} and {of_old} times are too few to tell whether it is slower");
        }
        text
    }
}

fn failed_most(new: Share) -> Option<Reason> {
    // Of no record there is no bound.
    let least = if new.records < FIRST { 0.0 } else { new.bounds(Z).0 };
    (least > HALF).then_some(Reason::MostFailed { new, least })
}

fn watching(new: Share, old: Option<(Share, Against)>) -> String {
    if new.records < LEAST_RECORDS {
        return format!("{} of {LEAST_RECORDS} records", new.records);
    }
    match old {
        None => format!("{new:#}, with nothing to compare with"),
        Some((old, against)) if old.records < LEAST_RECORDS => {
            format!("{new:#}; {} of {LEAST_RECORDS} to compare with {against}", old.records)
        }
        Some((old, against)) => format!("{new:#}, against {old} {against}"),
    }
}

#[cfg(test)]
mod tests;
