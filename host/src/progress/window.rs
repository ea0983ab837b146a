//! The offsets that were polled and lie at or above the oldest unfinished one.
//!
//! A ring of words, two bits an offset: was it polled, and is it unfinished. Holes of the log (compaction,
//! transaction markers, retention) are offsets that were never polled: they take room, but hold up nothing.
//! Nothing is allocated for a record; the ring grows by doubling and gives memory back after a long stall.

use std::collections::VecDeque;

use super::bits::{bit_of, word_of};
use super::budget::MAX_SPAN;
use crate::ids::Offset;

/// 64 offsets.
#[derive(Clone, Copy, Debug, Default)]
struct Word {
    /// Records that the client delivered.
    polled: u64,
    /// Those of them that are not complete: a subset.
    unfinished: u64,
}

/// Words kept for the next records, whatever they took before: 64 KiB.
const KEPT: usize = 4096;

/// Words that hold any span that is allowed, wherever in a word it begins.
const MOST: usize = (MAX_SPAN / 64 + 1) as usize;

/// Invariant: the ring is empty, or its first word has an unfinished offset. So the oldest unfinished offset
/// is always at hand, and the length is bounded by the distance from it to the newest one polled.
#[derive(Debug)]
pub(super) struct Window {
    /// The number of the first word in the ring.
    first: i64,
    words: VecDeque<Word>,
    unfinished: usize,
    /// Just past the highest offset that was ever completed.
    completed_end: Offset,
}

impl Window {
    pub(super) const fn new(start: Offset) -> Self {
        Self { first: 0, words: VecDeque::new(), unfinished: 0, completed_end: start }
    }

    /// How many polled offsets are not complete.
    #[inline]
    pub(super) const fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// Just past the highest completed offset; where it lies below the oldest unfinished one it has no meaning.
    #[inline]
    pub(super) const fn completed_end(&self) -> Offset {
        self.completed_end
    }

    #[inline]
    pub(super) fn oldest_unfinished(&self) -> Option<Offset> {
        let bits = self.words.front()?.unfinished;
        Some(Offset((self.first << 6) + i64::from(bits.trailing_zeros())))
    }

    /// Enters an offset that has to be run. Offsets come in ascending order.
    #[inline]
    pub(super) fn insert_unfinished(&mut self, offset: Offset) {
        if self.words.is_empty() {
            self.first = word_of(offset);
        }
        let bit = bit_of(offset);
        let word = self.word_mut(offset);
        // Only i64::MAX can come twice, where the position stops rising; the count stays right even then.
        let new = word.unfinished & bit == 0;
        word.polled |= bit;
        word.unfinished |= bit;
        self.unfinished += usize::from(new);
    }

    /// Enters an offset that was complete before it was polled.
    pub(super) fn insert_completed(&mut self, offset: Offset) {
        // Below the oldest unfinished offset nothing is kept: an empty ring stays empty.
        if !self.words.is_empty() {
            self.word_mut(offset).polled |= bit_of(offset);
        }
        self.completed_end = self.completed_end.max(offset.next());
    }

    /// Marks an offset as complete. False if it was not unfinished.
    #[inline]
    pub(super) fn complete(&mut self, offset: Offset) -> bool {
        let bit = bit_of(offset);
        // An offset below the ring wraps to an index far beyond it.
        let index = word_of(offset).wrapping_sub(self.first) as usize;
        let Some(word) = self.words.get_mut(index) else { return false };
        if word.unfinished & bit == 0 {
            return false;
        }
        word.unfinished &= !bit;
        self.unfinished -= 1;
        self.completed_end = self.completed_end.max(offset.next());
        if index == 0 && word.unfinished == 0 {
            self.advance();
        }
        true
    }

    /// How many gaps there are: runs of unfinished records below a completed one.
    ///
    /// Counts the completed records whose nearest polled predecessor is unfinished, for each ends one gap. 64
    /// offsets at a time: a marker is set just above each unfinished record; added to a mask of the holes, a
    /// marker that lies in a hole is carried up to the first offset that was polled.
    pub(super) fn gap_count(&self) -> usize {
        let mut gaps = 0;
        let mut after_unfinished = 0;
        // Above the highest completed record no gap can end.
        let end = word_of(self.completed_end) + 1;
        let relevant = usize::try_from(end - self.first).unwrap_or(0);
        for Word { polled, unfinished } in self.words.iter().take(relevant) {
            let holes = !polled;
            let markers = unfinished << 1 | after_unfinished;
            let carried = holes.wrapping_add(markers & holes);
            let reached = (carried | markers) & polled;
            gaps += (reached & !unfinished).count_ones() as usize;
            if let Some(highest) = polled.checked_ilog2() {
                after_unfinished = unfinished >> highest & 1;
            }
        }
        gaps
    }

    /// The unfinished offsets of word number `number`.
    #[inline]
    pub(super) fn unfinished_word(&self, number: i64) -> u64 {
        self.word(number).unfinished
    }

    /// The completed offsets of word number `number`.
    pub(super) fn completed_word(&self, number: i64) -> u64 {
        let word = self.word(number);
        word.polled & !word.unfinished
    }

    #[inline]
    fn word(&self, number: i64) -> Word {
        self.words.get(number.wrapping_sub(self.first) as usize).copied().unwrap_or_default()
    }

    #[inline]
    fn word_mut(&mut self, offset: Offset) -> &mut Word {
        let index = word_of(offset).wrapping_sub(self.first) as usize;
        if index >= self.words.len() {
            self.grow(index);
        }
        &mut self.words[index]
    }

    #[cold]
    fn grow(&mut self, index: usize) {
        assert!(index < MOST, "the caller asks `may_admit` first, and it bounds the span");
        self.words.resize(index + 1, Word::default());
    }

    /// Restores the invariant after the first word's last unfinished offset was completed.
    fn advance(&mut self) {
        if self.unfinished == 0 {
            self.words.clear();
        } else {
            while self.words.front().is_some_and(|word| word.unfinished == 0) {
                self.words.pop_front();
                self.first += 1;
            }
        }
        // A stalled record makes the ring long; nothing else does. Growing again takes at least as many
        // records as are given back here, so the copy costs each of them nothing.
        let used = self.words.len().max(KEPT);
        if self.words.capacity() > 4 * used {
            self.words.shrink_to(used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(unfinished: &[i64]) -> Window {
        let mut window = Window::new(Offset(0));
        for &offset in unfinished {
            window.insert_unfinished(Offset(offset));
        }
        window
    }

    fn complete(window: &mut Window, offsets: &[i64]) {
        for &offset in offsets {
            assert!(window.complete(Offset(offset)), "{offset}");
        }
    }

    #[test]
    fn only_an_unfinished_offset_can_be_completed_and_only_once() {
        let mut window = window(&[100, 102, 300]);
        for never_polled in [i64::MIN, -1, 0, 99, 101, 103, 299, 301, 1 << 40, i64::MAX] {
            assert!(!window.complete(Offset(never_polled)), "{never_polled}");
        }
        complete(&mut window, &[102]);
        assert!(!window.complete(Offset(102)));
        complete(&mut window, &[100, 300]);
        assert!(!window.complete(Offset(300)));
        assert_eq!(window.unfinished(), 0);
    }

    #[test]
    fn the_oldest_unfinished_offset_jumps_over_completed_ones_and_holes() {
        let mut window = window(&[5, 6, 7, 900, 901]);
        complete(&mut window, &[6, 900]);
        assert_eq!(window.oldest_unfinished(), Some(Offset(5)));
        complete(&mut window, &[5]);
        assert_eq!(window.oldest_unfinished(), Some(Offset(7)));
        complete(&mut window, &[7]);
        assert_eq!(window.oldest_unfinished(), Some(Offset(901)));
        complete(&mut window, &[901]);
        assert_eq!(window.oldest_unfinished(), None);
    }

    #[test]
    fn a_gap_ends_at_a_completed_record_and_a_hole_neither_ends_nor_makes_one() {
        // Polled 0 2 4 6 8; the odd offsets are holes.
        let mut window = window(&[0, 2, 4, 6, 8]);
        assert_eq!(window.gap_count(), 0, "nothing is completed");
        complete(&mut window, &[6]);
        assert_eq!(window.gap_count(), 1, "0 2 4 are one gap across holes, 8 is in-flight tail");
        complete(&mut window, &[2]);
        assert_eq!(window.gap_count(), 2);
        complete(&mut window, &[8]);
        assert_eq!(window.gap_count(), 2, "0 and 4");
        complete(&mut window, &[0]);
        assert_eq!(window.gap_count(), 1);
        complete(&mut window, &[4]);
        assert_eq!(window.gap_count(), 0);
    }

    #[test]
    fn a_gap_that_spans_many_words_of_holes_is_one_gap() {
        let mut window = window(&[63, 64, 1000, 5000]);
        complete(&mut window, &[5000]);
        assert_eq!(window.gap_count(), 1);
        complete(&mut window, &[64]);
        assert_eq!(window.gap_count(), 2);
        complete(&mut window, &[1000]);
        assert_eq!(window.gap_count(), 1);
    }

    #[test]
    fn the_memory_of_a_long_stall_is_given_back_while_records_flow() {
        let mut window = window(&[0]);
        for offset in 1..2_000_000 {
            window.insert_unfinished(Offset(offset));
            if offset >= 10 {
                complete(&mut window, &[offset - 9]);
            }
        }
        assert!(window.words.capacity() >= 2_000_000 / 64);
        complete(&mut window, &[0]);
        assert_eq!(window.unfinished(), 9, "it never runs empty");
        assert!(window.words.capacity() <= 4 * KEPT, "{}", window.words.capacity());
    }

    #[test]
    fn records_in_steady_flow_take_no_more_words_than_their_span() {
        let mut window = window(&[0]);
        for offset in 1..100_000 {
            window.insert_unfinished(Offset(offset));
            complete(&mut window, &[offset - 1]);
            assert!(window.words.len() <= 2);
        }
        assert!(window.words.capacity() <= 8, "{}", window.words.capacity());
    }

    #[test]
    #[should_panic(expected = "may_admit")]
    fn a_span_that_nobody_asked_for_is_refused_before_memory_is_taken() {
        window(&[0, i64::MAX - 1]);
    }
}
