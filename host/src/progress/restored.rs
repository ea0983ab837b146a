//! What the commit metadata told about records that are not polled yet.
//!
//! After a restart or a rebalance some records above the committed offset are complete already. They must not
//! run again, and every commit must go on naming them until the position has passed them: a second restart
//! before that would run them again otherwise.

use std::ops::Range;

use super::bits::{self, bit_of, mask, word_of};
use super::codec::Reject;
use crate::ids::Offset;

/// Records that are complete although they are not polled yet: those from the committed offset up to a horizon,
/// but for some that are unfinished.
///
/// Memory: one bit for each offset up to the last unfinished one, so at most [`MAX_SPAN`](super::MAX_SPAN) / 8
/// bytes; a megabyte of completed records after it takes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The first offset that it tells about: first the committed offset, later the position.
    from: Offset,
    /// Just past the last offset that it tells about.
    horizon: Offset,
    /// The number of the first word.
    first: i64,
    /// The unfinished offsets.
    words: Vec<u64>,
    /// How many of them are not below `from`.
    unfinished: usize,
}

impl Restored {
    /// Everything in `from..horizon` is complete; there is room for exceptions up to the distance `end`.
    pub(super) fn new(from: Offset, horizon: Offset, end: u64) -> Self {
        let bits = if end > 0 { end + from.0 as u64 % 64 } else { 0 };
        let words = vec![0; bits.div_ceil(64) as usize];
        Self { from, horizon, first: word_of(from), words, unfinished: 0 }
    }

    /// Excepts offsets, as distances from `from`. Each is to be named once.
    pub(super) fn except(&mut self, unfinished: &Range<u64>) {
        let shift = self.from.0 as u64 % 64;
        self.unfinished += (unfinished.end - unfinished.start) as usize;
        bits::set(&mut self.words, unfinished.start + shift..unfinished.end + shift);
    }

    /// The committed offset that it belongs to.
    #[must_use]
    pub const fn base(&self) -> Offset {
        self.from
    }

    /// Just past the highest completed record.
    #[must_use]
    pub const fn horizon(&self) -> Offset {
        self.horizon
    }

    /// How many records below the horizon are still to be run.
    #[must_use]
    pub const fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// True if the record was completed earlier.
    #[must_use]
    pub fn is_completed(&self, offset: Offset) -> bool {
        self.completed_word(word_of(offset)) & bit_of(offset) != 0
    }

    /// The same, if the log is known to reach that far.
    ///
    /// # Errors
    /// [`Reject::PastLogEnd`] if it names completed records at or past `log_end`: the log lost its end, or was
    /// created again, and will use those offsets for records that nobody has seen yet.
    pub fn within_log(self, log_end: Offset) -> Result<Self, Reject> {
        if self.horizon > self.from.max(log_end) {
            return Err(Reject::PastLogEnd { horizon: self.horizon, log_end });
        }
        Ok(self)
    }

    /// How many records from `from` on are still to be run; `from` is not below the position.
    pub(super) fn unfinished_from(&self, from: Offset) -> usize {
        self.unfinished
            - bits::count(self.from, from.min(self.horizon), |number| self.unfinished_word(number))
    }

    /// Forgets what lies below the new position, which is below the horizon.
    pub(super) fn pass(&mut self, position: Offset) {
        self.unfinished = self.unfinished_from(position);
        self.from = position;
    }

    /// The unfinished offsets of word number `number`, at or above the position.
    pub(super) fn unfinished_word(&self, number: i64) -> u64 {
        self.word(number) & mask(number, self.from, self.horizon)
    }

    /// The completed offsets of word number `number`, at or above the position.
    pub(super) fn completed_word(&self, number: i64) -> u64 {
        !self.word(number) & mask(number, self.from, self.horizon)
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    fn word(&self, number: i64) -> u64 {
        self.words.get(number.wrapping_sub(self.first) as usize).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(from: i64, horizon: i64, unfinished: &[Range<i64>]) -> Restored {
        let distance = |offset: i64| (offset - from) as u64;
        let end = unfinished.last().map_or(0, |range| distance(range.end));
        let mut restored = Restored::new(Offset(from), Offset(horizon), end);
        for range in unfinished {
            restored.except(&(distance(range.start)..distance(range.end)));
        }
        restored
    }

    #[test]
    fn exactly_the_offsets_between_base_and_horizon_that_are_not_excepted_are_complete() {
        let restored = restored(100, 400, &[100..101, 150..300]);
        let completed: Vec<i64> = (0..500).filter(|&offset| restored.is_completed(Offset(offset))).collect();
        assert_eq!(completed, (101..150).chain(300..400).collect::<Vec<_>>());
        assert_eq!(restored.unfinished(), 151);
    }

    #[test]
    fn a_log_that_ends_below_the_horizon_is_another_log() {
        let restored = restored(100, 400, &[100..101, 102..103]);
        assert_eq!(restored.clone().within_log(Offset(400)), Ok(restored.clone()));
        let reject = Reject::PastLogEnd { horizon: Offset(400), log_end: Offset(399) };
        assert_eq!(restored.within_log(Offset(399)), Err(reject));
        let nothing = Restored::new(Offset(100), Offset(100), 0);
        assert!(nothing.within_log(Offset(7)).is_ok(), "it names no record");
    }

    #[test]
    fn passing_records_forgets_those_below_and_keeps_those_above() {
        let mut restored = restored(-70, 400, &[-70..-60, 63..65, 300..301]);
        assert_eq!(restored.unfinished_from(Offset(64)), 2);
        restored.pass(Offset(64));
        assert_eq!((restored.unfinished(), restored.is_completed(Offset(20))), (2, false));
        assert!(restored.is_completed(Offset(65)));
        assert_eq!(restored.unfinished_from(Offset(301)), 0);
        assert_eq!(restored.unfinished_from(Offset(i64::MAX)), 0);
    }

    #[test]
    fn a_long_completed_range_takes_no_memory() {
        let restored = restored(0, 1 << 24, &[0..1, 2..3]);
        assert_eq!(restored.memory(), 8);
        assert!(restored.is_completed(Offset((1 << 24) - 1)));
    }
}
