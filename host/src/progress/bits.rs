//! Walking over bits that are numbered by offset, 64 to a word.
//!
//! The window of polled records and the restored metadata both keep one bit an offset and both align their
//! words to multiples of 64 offsets, so that a word of one can be laid over a word of the other. A walk takes a
//! function from a word's number to the word: nothing is copied, and it does not know where the bits come from.

use std::ops::Range;

use crate::ids::Offset;

/// The number of the word that holds this offset's bit.
#[inline]
pub(super) const fn word_of(offset: Offset) -> i64 {
    offset.0 >> 6
}

/// This offset's bit in its word.
#[inline]
pub(super) const fn bit_of(offset: Offset) -> u64 {
    1 << (offset.0 & 63)
}

/// The bits of word number `word` that stand for offsets in `from..to`.
pub(super) const fn mask(word: i64, from: Offset, to: Offset) -> u64 {
    let start = word << 6;
    let skipped = from.distance_from(Offset(start));
    let kept = to.distance_from(Offset(start));
    let above = if skipped < 64 { u64::MAX << skipped } else { 0 };
    let below = if kept < 64 { (1 << kept) - 1 } else { u64::MAX };
    above & below
}

/// How many bits are set for offsets in `from..to`.
pub(super) fn count(from: Offset, to: Offset, word: impl Fn(i64) -> u64) -> usize {
    if from >= to {
        return 0;
    }
    let last = word_of(Offset(to.0 - 1));
    (word_of(from)..=last).map(|w| (word(w) & mask(w, from, to)).count_ones() as usize).sum()
}

/// The maximal runs of set bits for offsets in `from..to`, in order, as distances from `from`.
pub(super) fn runs(from: Offset, to: Offset, word: impl Fn(i64) -> u64) -> impl Iterator<Item = Range<u64>> {
    let mut at = from;
    std::iter::from_fn(move || {
        let start = seek(at, to, &word, 0)?;
        at = seek(start, to, &word, u64::MAX).unwrap_or(to);
        Some(start.distance_from(from)..at.distance_from(from))
    })
}

/// The first offset in `at..to` whose bit differs from those of `flip`.
fn seek(mut at: Offset, to: Offset, word: impl Fn(i64) -> u64, flip: u64) -> Option<Offset> {
    while at < to {
        let rest = (word(word_of(at)) ^ flip) >> (at.0 & 63);
        if rest != 0 {
            let found = Offset(at.0 + i64::from(rest.trailing_zeros()));
            return (found < to).then_some(found);
        }
        at = Offset(at.0 | 63).next();
    }
    None
}

/// Sets the bits `range` of a set that starts at `words[0]` and is long enough.
pub(super) fn set(words: &mut [u64], range: Range<u64>) {
    let (from, to) = (Offset(range.start as i64), Offset(range.end as i64));
    let affected = range.start as usize / 64..range.end.div_ceil(64) as usize;
    for (number, word) in affected.clone().zip(&mut words[affected]) {
        *word |= mask(number as i64, from, to);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_mask_keeps_exactly_the_offsets_asked_for_also_at_the_ends_of_the_number_line() {
        assert_eq!(mask(0, Offset(0), Offset(64)), u64::MAX);
        assert_eq!(mask(0, Offset(3), Offset(5)), 0b11000);
        assert_eq!(mask(1, Offset(3), Offset(66)), 0b11);
        assert_eq!(mask(1, Offset(3), Offset(64)), 0);
        assert_eq!(mask(-1, Offset(-2), Offset(9)), 0b11 << 62);
        assert_eq!(mask(word_of(Offset(i64::MAX)), Offset(i64::MAX - 1), Offset(i64::MAX)), 1 << 62);
        assert_eq!(mask(word_of(Offset(i64::MIN)), Offset(i64::MIN), Offset(i64::MAX)), u64::MAX);
    }

    #[test]
    fn a_walk_ends_at_the_largest_offset_instead_of_wrapping() {
        let top = Offset(i64::MAX);
        assert_eq!(runs(Offset(i64::MAX - 70), top, |_| 0).count(), 0);
        assert!(runs(Offset(i64::MAX - 70), top, |_| u64::MAX).eq(std::iter::once(0..70)));
        assert_eq!(count(Offset(i64::MAX - 70), top, |_| u64::MAX), 70);
    }

    proptest! {
        #[test]
        fn runs_and_counts_equal_those_of_a_set_of_numbers(
            ranges in prop::collection::vec((0u64..400, 0u64..150), 0..12),
            from in 0i64..500,
            length in 0i64..500,
        ) {
            let (mut words, mut naive) = ([0; 9], BTreeSet::new());
            for (start, length) in ranges {
                set(&mut words, start..start + length);
                naive.extend(start as i64..(start + length) as i64);
            }
            let word = |w: i64| words.get(w as usize).copied().unwrap_or(0);
            let to = from + length;
            let expected: Vec<i64> = naive.range(from..to).copied().collect();
            prop_assert_eq!(count(Offset(from), Offset(to), word), expected.len());

            let found: Vec<Range<u64>> = runs(Offset(from), Offset(to), word).collect();
            prop_assert!(found.windows(2).all(|pair| pair[0].end < pair[1].start), "not maximal: {:?}", found);
            let found: Vec<i64> = found.into_iter().flatten().map(|bit| from + bit as i64).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
