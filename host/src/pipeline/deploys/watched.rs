//! A new version that is watched, and what the one before did until then.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config;
use crate::deploy::story::{Counts, Teller, WatchState, Watching};
use crate::deploy::verdict::{Baseline, Observer, Rule, Seen, Verdict};
use crate::time::unix_millis;
use crate::worker::{Compared, Comparison, Generation};

/// Times of a new version do not count before: its instances start, its code is cold.
const COLD: Duration = Duration::from_secs(5);
/// Time between two of the sums that are remembered.
const STEP: Duration = Duration::from_secs(15);
/// Sums that are remembered, 8 KiB each: ten minutes of them.
const STEPS: usize = 40;
/// The time before a deploy that it is held against, if enough came then.
const WINDOW: Duration = Duration::from_secs(60);
/// So many records are enough.
const ENOUGH: u64 = 1_000;

/// What the current generation did lately.
#[derive(Default)]
pub(super) struct Recent {
    generation: u64,
    sums: VecDeque<(Instant, Seen)>,
}

impl Recent {
    /// Remembers what it has done so far, once in a while.
    pub fn look(&mut self, current: &Generation) {
        if self.generation != current.number {
            *self = Recent { generation: current.number, sums: VecDeque::new() };
        }
        let now = Instant::now();
        if self.sums.back().is_none_or(|(last, _)| now.duration_since(*last) >= STEP) {
            if self.sums.len() == STEPS {
                self.sums.pop_front();
            }
            self.sums.push_back((now, current.tally.read()));
        }
    }

    /// What it did in the last minute; or for as much longer as it takes to have enough, and is remembered.
    pub fn before(&self, current: &Generation) -> Seen {
        let now = current.tally.read();
        if self.generation != current.number {
            return now;
        }
        let mut window = Seen::default();
        for (at, sum) in self.sums.iter().rev() {
            window = now.since(sum);
            if at.elapsed() >= WINDOW && window.records >= ENOUGH {
                return window;
            }
        }
        // All that is remembered; or all of a generation that is younger than that.
        if self.sums.len() < STEPS { now } else { window }
    }
}

/// What a version is held against.
enum Against {
    /// What the one before did before.
    Before(Seen),
    /// What the current one does meanwhile, since it had done so much.
    Current(Arc<Generation>, Seen),
    /// What the current one did with the same records.
    Shadowed(Arc<Comparison>),
}

/// A new version that is watched.
pub(super) struct Watched {
    teller: Teller,
    version: u64,
    observer: Observer,
    since: Instant,
    new: Arc<Generation>,
    /// What it had done when the watch began: a canary that was promoted has done much.
    begin: Seen,
    against: Against,
    /// What both had done when times began to count.
    warm: Option<(Seen, Seen)>,
    until_unix_ms: Option<u64>,
    is_over: bool,
    has_warned: bool,
}

impl Watched {
    /// One that runs alone, for as long as is configured.
    pub fn full(
        rule: &config::Rollback,
        teller: Teller,
        version: u64,
        new: Arc<Generation>,
        before: Seen,
    ) -> Self {
        let until = u64::try_from(rule.watch.as_millis()).unwrap_or(u64::MAX);
        let until = unix_millis().saturating_add(until);
        Watched::new(rule, rule.watch, Some(until), teller, version, new, Against::Before(before))
    }

    /// One that runs some keys, until somebody decides.
    pub fn canary(
        rule: &config::Rollback,
        teller: Teller,
        version: u64,
        new: Arc<Generation>,
        current: Arc<Generation>,
    ) -> Self {
        let done = current.tally.read();
        let against = Against::Current(current, done);
        Watched::new(rule, Duration::MAX, None, teller, version, new, against)
    }

    /// One that runs for nobody, until somebody decides.
    pub fn shadow(
        rule: &config::Rollback,
        teller: Teller,
        version: u64,
        new: Arc<Generation>,
        comparison: Arc<Comparison>,
    ) -> Self {
        Watched::new(rule, Duration::MAX, None, teller, version, new, Against::Shadowed(comparison))
    }

    fn new(
        rule: &config::Rollback,
        of_watch: Duration,
        until_unix_ms: Option<u64>,
        teller: Teller,
        version: u64,
        new: Arc<Generation>,
        against: Against,
    ) -> Self {
        let (error_increase, slowdown) =
            (f64::from(rule.error_increase) / 100.0, f64::from(rule.slowdown) / 100.0);
        let watched = Watched {
            teller,
            version,
            observer: Observer::new(Rule { error_increase, slowdown, of_watch }),
            since: Instant::now(),
            begin: new.tally.read(),
            new,
            against,
            warm: None,
            until_unix_ms,
            is_over: false,
            has_warned: false,
        };
        watched.tell(
            WatchState::Watching,
            "nothing was seen yet".to_owned(),
            &Seen::default(),
            &Seen::default(),
        );
        watched
    }

    /// Looks at what it does. A reason: it is to be taken back.
    pub fn look(&mut self, may_take_back: bool) -> Option<String> {
        let (new, old) = self.seen();
        let baseline = match (&self.against, old.records) {
            (Against::Before(_), 0) => Baseline::None,
            (Against::Before(_), _) => Baseline::Before(&old),
            _ => Baseline::SameTime(&old),
        };
        match self.observer.look(self.since.elapsed(), &new, baseline) {
            Verdict::Watching(how) => self.tell(WatchState::Watching, how, &new, &old),
            Verdict::Keep(reason) => {
                self.is_over = true;
                tracing::info!(version = self.version, reason, "the new version stays");
                self.tell(WatchState::Kept, reason, &new, &old);
            }
            Verdict::RollBack(reason) if may_take_back => {
                let reason = reason.to_string();
                self.tell(WatchState::Watching, reason.clone(), &new, &old);
                return Some(reason);
            }
            Verdict::RollBack(reason) => {
                let reason = format!("it should be taken back (`rollback.automatic` is off): {reason}");
                if !std::mem::replace(&mut self.has_warned, true) {
                    tracing::warn!(version = self.version, reason, "the new version does harm");
                }
                let is_over = self.until_unix_ms.is_some_and(|until| unix_millis() >= until);
                self.is_over = is_over;
                let state = if is_over { WatchState::Harmful } else { WatchState::Watching };
                self.tell(state, reason, &new, &old);
            }
        }
        None
    }

    /// True once it is kept.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// It is watched no longer.
    pub fn end(self, state: WatchState, reason: String) {
        let (new, old) = self.counts();
        let (new, old) = (
            Seen { records: new.records, failed: new.failed, ..Seen::default() },
            Seen { records: old.records, failed: old.failed, ..Seen::default() },
        );
        self.tell(state, reason, &new, &old);
    }

    /// What it did, and what it is held against.
    pub fn counts(&self) -> (Counts, Counts) {
        let of = |seen: &Seen| Counts { records: seen.records, failed: seen.failed };
        let (new, old) = self.sums();
        (of(&new), of(&old))
    }

    /// What a shadow differs in.
    pub fn compared(&self) -> Option<Compared> {
        match &self.against {
            Against::Shadowed(comparison) => Some(comparison.read()),
            _ => None,
        }
    }

    /// Sums since the watch began.
    fn sums(&self) -> (Seen, Seen) {
        match &self.against {
            Against::Before(before) => (self.new.tally.read().since(&self.begin), before.clone()),
            Against::Current(current, begin) => {
                (self.new.tally.read().since(&self.begin), current.tally.read().since(begin))
            }
            Against::Shadowed(comparison) => {
                let (old, new) = comparison.seen();
                (new, old)
            }
        }
    }

    /// The same, without times of the beginning.
    fn seen(&mut self) -> (Seen, Seen) {
        let (mut new, mut old) = self.sums();
        if self.warm.is_none() && self.since.elapsed() >= COLD {
            self.warm = Some((new.clone(), old.clone()));
        }
        match &self.warm {
            Some((new_then, old_then)) => {
                new.times = new.since(new_then).times;
                if matches!(self.against, Against::Current(..)) {
                    old.times = old.since(old_then).times;
                }
            }
            None => new.times = Seen::default().times,
        }
        (new, old)
    }

    fn tell(&self, state: WatchState, reason: String, new: &Seen, old: &Seen) {
        let of = |seen: &Seen| Counts { records: seen.records, failed: seen.failed };
        let until_unix_ms = self.until_unix_ms;
        let watch = Watching { state, reason, until_unix_ms, new: of(new), old: of(old) };
        self.teller.tell(|story| story.watch = Some(watch));
    }
}
