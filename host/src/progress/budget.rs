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
//! offsets in a range of `s <= S`. Two of the [forms](super::forms) bound the payload:
//!
//! - *bitset*: one bit an offset, at most `ceil(s / 8)` bytes.
//! - *sparse*: one varint for each unfinished offset, of its distance from the one before it. A distance of d
//!   offsets costs one byte, one more from 2^7, one more from 2^14, one more from 2^21. The distances add up to
//!   less than `s`, so at most `s / 2^7` of them cost the second byte, and so on: together at most
//!   `k + min(k, s / 2^7) + min(k, s / 2^14) + min(k, s / 2^21)` bytes. `s` is at most [`MAX_SPAN`] = 2^24, so
//!   there is no fifth byte.
//!
//! Both rise with `k` and with `s`, so the values for `u` and `S` bound every later commit. The smallest form
//! is written, so the smaller of the two bounds counts. Records that restored metadata owes stay within the
//! budget by induction: what was written was within it, and admitting them again adds nothing to it.

use super::codec;

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
        span <= MAX_SPAN && (self.truncate || worst_payload(unfinished, span as usize) <= self.payload)
    }
}

impl Default for Budget {
    /// What every broker takes unless it is told otherwise, and exact.
    fn default() -> Self {
        Self::new(Self::BROKER_DEFAULT, false)
    }
}

/// The largest payload that up to `unfinished` unfinished offsets within `span` can need, in bytes.
#[inline]
fn worst_payload(unfinished: usize, span: usize) -> usize {
    let longer = |bits: u32| unfinished.min(span >> bits);
    let sparse = unfinished + longer(7) + longer(14) + longer(21);
    sparse.min(span.div_ceil(8))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::forms::{Draft, Form};
    use super::*;

    /// What is needed at most for unfinished offsets this far apart, in the forms that the bound counts on, and
    /// the offsets' span.
    fn payload(distances: &[u64]) -> (usize, usize) {
        let mut sparse = Draft::new(Form::Sparse, usize::MAX);
        let mut end = 0;
        for distance in distances {
            sparse.push(&(end + distance..end + distance + 1));
            end += distance + 1;
        }
        let span = end as usize;
        (sparse.payload.len().min(span.div_ceil(8)), span)
    }

    #[test]
    fn the_bound_is_met_by_distances_that_just_need_another_byte() {
        for (distance, count, worst) in [(128, 100, 200), (1 << 14, 100, 300), (1 << 21, 7, 28)] {
            let (needed, span) = payload(&vec![distance; count]);
            assert_eq!((needed, worst_payload(count, span)), (worst, worst), "{distance}");
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
            let (needed, span) = payload(&distances);
            prop_assert!(needed <= worst_payload(distances.len(), span), "{} bytes", needed);
        }
    }

    #[test]
    fn the_default_budget_admits_24_thousand_offsets_of_any_pattern() {
        let budget = Budget::default();
        assert!(budget.allows(24_368, 24_368));
        assert!(!budget.allows(24_369, 24_369));
    }

    #[test]
    fn few_unfinished_records_may_lie_as_far_apart_as_memory_allows() {
        let budget = Budget::default();
        assert!(budget.allows(700, MAX_SPAN));
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
