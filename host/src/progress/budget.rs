//! How much may be in flight, so that the commit metadata always has room for it.
//!
//! The metadata names the completed records above the commit's base. Its size follows from which records are
//! still unfinished at the moment of the commit, and that is chosen by the handlers, not by us: checking
//! today's size at admission overflows when the records in flight complete alternately. So a record is admitted
//! only if *every* set of unfinished records that can come of it fits.
//!
//! # Why the bound holds
//! Let `u` records be unfinished (the new one included, and those that restored metadata still owes) and `S` be
//! the span, from the safe offset up to the position (or the restored horizon). Until the next admission a record
//! can only become complete and the safe offset can only rise, so a later commit encodes `k <= u` unfinished
//! offsets in a range of `s <= S`. Three of the [forms](super::forms) bound the payload:
//!
//! - *bitset*: one bit an offset, at most `ceil(s / 8)` bytes.
//! - *sparse*: one varint for each unfinished offset, of its distance from the one before it. A distance of d
//!   offsets costs one byte, one more from 2^7, one more from 2^14, one more from 2^21. The distances add up to
//!   less than `s`, so at most `s / 2^7` of them cost the second byte, and so on: together at most
//!   `k + min(k, s / 2^7) + min(k, s / 2^14) + min(k, s / 2^21)` bytes. `s` is at most [`MAX_SPAN`] = 2^24, so
//!   there is no fifth byte.
//! - *rice*: `1 + p` bits for each unfinished offset, and `(s - k) / 2^p` more for all their distances together,
//!   with the `p` for which that is least; [`rice`](super::rice) says why. A byte holds `p`. This is what a busy
//!   key that waits is admitted by: 13 % of the records unfinished cost 0.61 bits an offset in place of 1.
//!
//! All rise with `k` and with `s`, so the values for `u` and `S` bound every later commit. The smallest form
//! is written, so the smallest of the bounds counts. Records that restored metadata owes stay within the
//! budget by induction: what was written was within it, and admitting them again adds nothing to it.

use super::{codec, rice};

/// The longest distance from the safe offset to the position while something is unfinished, in offsets. It
/// bounds the memory of a partition to 4 MiB, whatever holes the log has.
pub const MAX_SPAN: u64 = 1 << 24;

/// What commit metadata may hold, and what happens when records in flight could ask for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    max_chars: usize,
    truncate: bool,
    /// Bytes of payload that fit in any case.
    payload: usize,
}

impl Budget {
    /// The broker's default of `offset.metadata.max.bytes`, in characters.
    pub const BROKER_DEFAULT: usize = 4096;

    /// The smallest useful limit, in characters: below it a single unfinished record may not fit, and records
    /// are admitted one after the other.
    pub const SMALLEST: usize = codec::max_chars(codec::MAX_HEADER + 1);

    /// Metadata of at most `max_chars` characters, which is as many bytes.
    ///
    /// With `truncate` false a record whose worst case does not fit is not admitted: every commit is exact. With
    /// `truncate` true it is admitted, and a commit that does not fit names the completed records up to some
    /// offset only; those beyond may run again after a restart.
    #[must_use]
    pub const fn new(max_chars: usize, truncate: bool) -> Self {
        let payload = codec::max_bytes(max_chars).saturating_sub(codec::MAX_HEADER);
        Self { max_chars, truncate, payload }
    }

    /// The limit, in characters.
    #[must_use]
    pub const fn max_chars(&self) -> usize {
        self.max_chars
    }

    /// True if records may be in flight such that `unfinished` are unfinished over `span` offsets.
    #[inline]
    pub(super) fn allows(&self, unfinished: usize, span: u64) -> bool {
        span <= MAX_SPAN && (self.truncate || self.holds(unfinished, span as usize))
    }
}

impl Budget {
    /// The forms from the cheapest bound to the dearest: while little is in flight the first one decides.
    #[inline]
    fn holds(&self, unfinished: usize, span: usize) -> bool {
        bitset(span) <= self.payload
            || sparse(unfinished, span) <= self.payload
            || rice(unfinished, span) <= self.payload
    }
}

impl Default for Budget {
    /// What every broker takes unless it is told otherwise, and exact.
    fn default() -> Self {
        Self::new(Self::BROKER_DEFAULT, false)
    }
}

/// The largest payload, in bytes, that up to `unfinished` unfinished offsets within `span` can need as a bitset.
#[inline]
const fn bitset(span: usize) -> usize {
    span.div_ceil(8)
}

/// The same as a sparse list.
#[inline]
fn sparse(unfinished: usize, span: usize) -> usize {
    let longer = |bits: u32| unfinished.min(span >> bits);
    unfinished + longer(7) + longer(14) + longer(21)
}

/// The same in Rice codes.
#[inline]
fn rice(unfinished: usize, span: usize) -> usize {
    // Only at the largest offset, where positions stop rising, is the span shorter than what is in it.
    let (count, span) = (unfinished as u64, span.max(unfinished) as u64);
    1 + rice::most_bits(count, span, rice::parameter(count, span)).div_ceil(8) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::forms::{Draft, Form};
    use super::*;

    /// The bytes that a form takes for unfinished offsets this far apart, and the offsets' span.
    fn payload(form: Form, distances: &[u64]) -> (usize, usize) {
        let span = distances.iter().sum::<u64>() + distances.len() as u64;
        let mut draft = Draft::new(form, usize::MAX, distances.len() as u64, span);
        let mut end = 0;
        for distance in distances {
            draft.push(&(end + distance..end + distance + 1));
            end += distance + 1;
        }
        (draft.payload.len(), span as usize)
    }

    #[test]
    fn the_sparse_bound_is_met_by_distances_that_just_need_another_byte() {
        for (distance, count, worst) in [(128, 100, 200), (1 << 14, 100, 300), (1 << 21, 7, 28)] {
            let (needed, span) = payload(Form::Sparse, &vec![distance; count]);
            assert_eq!((needed, sparse(count, span)), (worst, worst), "{distance}");
        }
    }

    #[test]
    fn the_rice_bound_is_met_by_distances_of_powers_of_two() {
        for (distance, count, worst) in [(0, 800, 101), (8, 800, 501), (1 << 14, 80, 161)] {
            let (needed, span) = payload(Form::Rice, &vec![distance; count]);
            assert_eq!((needed, rice(count, span)), (worst, worst), "{distance}");
        }
    }

    proptest! {
        #[test]
        fn no_pattern_of_unfinished_offsets_needs_more_than_the_bound(
            distances in prop::collection::vec(
                prop_oneof![1u64..9, 120u64..136, 16_380u64..16_390, 2_097_150u64..2_097_155],
                1..60,
            ),
        ) {
            let mut room = MAX_SPAN;
            let fits = |distance: &u64| (room > *distance).then(|| room -= distance + 1).is_some();
            let distances: Vec<u64> = distances.into_iter().filter(fits).collect();
            for (form, bound) in [(Form::Sparse, sparse as fn(usize, usize) -> usize), (Form::Rice, rice)] {
                let (needed, span) = payload(form, &distances);
                prop_assert!(needed <= bound(distances.len(), span), "{:?}: {} bytes", form, needed);
            }
        }
    }

    #[test]
    fn the_default_budget_admits_24_thousand_offsets_of_any_pattern() {
        let budget = Budget::default();
        assert!(budget.allows(24_368, 24_368));
        assert!(!budget.allows(24_369, 24_369));
    }

    #[test]
    fn a_busy_key_that_waits_is_admitted_by_more_than_a_bit_an_offset() {
        let budget = Budget::default();
        assert!(budget.allows(5_213, 40_100));
        assert!(!budget.allows(5_226, 40_200));
    }

    #[test]
    fn few_unfinished_records_may_lie_as_far_apart_as_memory_allows() {
        let budget = Budget::default();
        assert!(budget.allows(1_500, MAX_SPAN));
        assert!(!budget.allows(3_000, MAX_SPAN));
        assert!(!budget.allows(1, MAX_SPAN + 1));
    }

    #[test]
    fn truncation_lifts_the_limit_of_the_metadata_but_not_that_of_memory() {
        let budget = Budget::new(100, true);
        assert!(budget.allows(1 << 24, MAX_SPAN));
        assert!(!budget.allows(1, MAX_SPAN + 1));
    }

    #[test]
    fn the_smallest_useful_limit_has_room_for_one_unfinished_record() {
        assert!(Budget::new(Budget::SMALLEST, false).allows(1, 127));
        assert!(!Budget::new(Budget::SMALLEST - 1, false).allows(1, 127));
        assert!(!Budget::new(0, false).allows(1, 1));
    }
}
