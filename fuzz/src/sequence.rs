//! From any metadata on, the host's bookkeeping equals a naive one, whatever happens to the partition.

use std::collections::BTreeSet;

use crate::TAG;
use crate::ids::Offset;
use crate::input::Input;
use crate::progress::{Admission, Budget, Progress, Reject, Restored, decode};

/// Things that happen in one case.
const MOST_STEPS: usize = 400;

/// See the module.
///
/// # Panics
/// Where the promise breaks.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let base = input.base();
    let truncate = input.byte() % 4 == 0;
    let budget = Budget::new(Budget::SMALLEST + input.number() as usize % 100, truncate);
    let length = usize::from(input.byte());
    let found = input.metadata(base, length);
    // What others wrote may be more than this budget would ever have let in.
    let exact = !truncate && found.is_empty();
    let mut partition = Partition::begin(base, decode(&found, base, TAG).ok(), budget, exact);
    for _ in 0..MOST_STEPS {
        if input.is_empty() {
            break;
        }
        partition.step(&mut input);
        partition.compare();
    }
    partition.finish();
}

/// The host's bookkeeping beside a naive one.
struct Partition {
    real: Progress,
    budget: Budget,
    /// Nothing may be cut off.
    exact: bool,
    position: i64,
    unfinished: BTreeSet<i64>,
    /// Completed in this life.
    done: BTreeSet<i64>,
    /// What the last commit told, or the metadata found at the start.
    told: Option<Restored>,
}

impl Partition {
    fn begin(base: Offset, told: Option<Restored>, budget: Budget, exact: bool) -> Self {
        Self {
            real: Progress::new(base, told.clone(), TAG),
            budget,
            exact,
            position: base.0,
            unfinished: BTreeSet::new(),
            done: BTreeSet::new(),
            told,
        }
    }

    fn was_told(&self, offset: i64) -> bool {
        self.told.as_ref().is_some_and(|told| told.is_completed(Offset(offset)))
    }

    fn safe(&self) -> i64 {
        self.unfinished.first().copied().unwrap_or(self.position)
    }

    /// The unfinished record of this rank, from the front or the back.
    fn ranked(&self, rank: u64) -> Option<i64> {
        let rank = rank as usize % self.unfinished.len().max(1);
        self.unfinished.iter().nth(rank).copied()
    }

    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 8 {
            0 | 1 => {
                let (hole, records) = (input.number(), 1 + input.byte() % 64);
                self.poll(hole, records);
            }
            2 => {
                let rank = input.number();
                if let Some(offset) = self.ranked(rank) {
                    self.complete(offset);
                }
            }
            3 => {
                // As scattered as can be.
                let (skipped, step) = (usize::from(input.byte()), 1 + usize::from(input.byte() % 8));
                let chosen: Vec<i64> = self.unfinished.iter().copied().skip(skipped).step_by(step).collect();
                chosen.into_iter().for_each(|offset| self.complete(offset));
            }
            4 => {
                // A completion of whatever offset, as an old epoch could send it.
                let offset = self.safe().wrapping_add(input.number() as i64);
                assert_eq!(self.real.complete(Offset(offset)), self.unfinished.contains(&offset));
                if self.unfinished.remove(&offset) {
                    self.done.insert(offset);
                }
            }
            5 => {
                // Delivered again.
                let offset = self.position.saturating_sub_unsigned(1 + input.number() % 1_000);
                assert!(self.real.may_admit(Offset(offset), &self.budget));
                assert_eq!(self.real.admit(Offset(offset)), Admission::Stale);
            }
            6 => {
                let end = self.position.saturating_add_unsigned(input.number() % (1 << 40));
                if end < i64::MAX - 1 {
                    self.real.eof(Offset(end));
                    self.position = self.position.max(end);
                }
            }
            _ => self.restart(),
        }
    }

    fn poll(&mut self, hole: u64, records: u8) {
        // No log gets as far as the last numbers.
        let start = self.position.checked_add_unsigned(hole).filter(|&start| start < i64::MAX - 100);
        let Some(start) = start else { return };
        for offset in (start..).take(records.into()) {
            if !self.real.may_admit(Offset(offset), &self.budget) {
                assert!(!self.unfinished.is_empty(), "an idle partition admits");
                return;
            }
            let expected = if self.was_told(offset) { Admission::AlreadyDone } else { Admission::Run };
            assert_eq!(self.real.admit(Offset(offset)), expected, "{offset}");
            self.position = offset + 1;
            if expected == Admission::Run {
                self.unfinished.insert(offset);
            }
        }
    }

    fn complete(&mut self, offset: i64) {
        assert!(self.real.complete(Offset(offset)), "{offset} is unfinished");
        self.unfinished.remove(&offset);
        self.done.insert(offset);
    }

    fn compare(&self) {
        assert_eq!((self.real.position().0, self.real.safe().0), (self.position, self.safe()));
        assert_eq!(self.real.unfinished(), self.unfinished.len());
        assert_eq!(self.real.oldest_unfinished().map(|offset| offset.0), self.unfinished.first().copied());
    }

    /// Commits, and starts again from what was committed.
    fn restart(&mut self) {
        let snapshot = self.real.snapshot(&self.budget);
        assert_eq!(snapshot.offset.0, self.safe());
        assert!(snapshot.metadata.len() <= self.budget.max_chars(), "{}", snapshot.metadata.len());
        assert!(!self.exact || snapshot.truncated == 0, "{} have no room", snapshot.truncated);
        let read = decode(snapshot.metadata.as_bytes(), snapshot.offset, TAG).expect("it was just written");
        // Nothing is named that is not complete, and what is complete is named up to where there was room.
        for &offset in &self.unfinished {
            assert!(!read.is_completed(Offset(offset)), "{offset} is unfinished, but named");
        }
        let (safe, end) = (snapshot.offset.0, read.horizon().0);
        let above = self.done.range(safe..).copied();
        let left_out = above.filter(|&offset| !read.is_completed(Offset(offset)));
        for offset in left_out {
            assert!(snapshot.truncated > 0 && offset >= end, "{offset} is complete, but not named");
        }
        // What was told of records that are not polled yet is told again, or a second restart would run them.
        let told_end = self.told.as_ref().map_or(0, |told| told.horizon().0);
        for offset in (self.position..told_end.max(end)).take(512) {
            let (named, told) = (read.is_completed(Offset(offset)), self.was_told(offset));
            let cut_off = snapshot.truncated > 0 && offset >= end;
            assert!(named == told || told && cut_off, "{offset}, not polled yet: named {named}, told {told}");
        }
        self.real = Progress::new(snapshot.offset, Some(read.clone()), TAG);
        self.position = snapshot.offset.0;
        self.told = Some(read);
        self.unfinished.clear();
        self.done.clear();
    }

    /// Completing what is unfinished lets the commit reach the position, and in the end nothing is told.
    fn finish(&mut self) {
        while let Some(offset) = self.unfinished.last().copied() {
            self.complete(offset);
        }
        self.compare();
        assert_eq!(self.real.safe(), self.real.position());
        if self.position < i64::MAX - (1 << 41) {
            self.real.eof(Offset(self.position + (1 << 40)));
            let last = self.real.snapshot(&self.budget);
            let read = decode(last.metadata.as_bytes(), last.offset, TAG).expect("it was just written");
            assert_eq!(read.horizon(), last.offset, "all is passed");
            let elsewhere = decode(last.metadata.as_bytes(), last.offset, TAG + 1);
            assert!(matches!(elsewhere, Err(Reject::ForeignTopic { .. })), "{elsewhere:?}");
        }
    }
}
