//! The four ways to write down which offsets of a range are unfinished.
//!
//! Numbers are LEB128 varints unless said otherwise, and count from the start of the range; what lies after the
//! last unfinished offset is complete and takes no bytes.
//!
//! - *bitset*: bit `i % 8` of byte `i / 8` says that offset `i` is unfinished. For dense, irregular patterns.
//! - *runs*: for each run of unfinished offsets, the completed ones before it and its length. For long runs.
//! - *sparse*: for each unfinished offset, the completed ones between it and the one before. For a few
//!   stragglers.
//! - *rice*: the same numbers in [Rice codes](super::rice), behind a byte with their parameter. For many
//!   stragglers, all over the range: a busy key that waits.
//!
//! All are drafted in one pass over the runs, each until it is full; then the best is taken. So the memory of an
//! encoding is bounded by its limit, and a draft that ran full still says how far it came.

use std::ops::Range;

use super::rice;

/// A way to write the payload. The number is the one in the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Form {
    Bitset = 1,
    Runs = 2,
    Sparse = 3,
    Rice = 4,
}

impl Form {
    pub(super) const ALL: [Form; 4] = [Form::Bitset, Form::Runs, Form::Sparse, Form::Rice];

    pub(super) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|&form| form as u8 == number)
    }
}

/// A payload while it is written.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) form: Form,
    pub(super) payload: Vec<u8>,
    limit: usize,
    /// Of the Rice codes, and the bits that they take so far.
    parameter: u32,
    bits: u64,
    /// Just past the last unfinished offset written.
    end: u64,
    /// The first unfinished offset for which there was no room.
    full_at: Option<u64>,
}

impl Draft {
    /// An empty payload that takes up to `limit` bytes. Rice codes are chosen for `count` unfinished offsets in
    /// `span`: others fit as well, but may take more than the budget counted on.
    pub(super) fn new(form: Form, limit: usize, count: u64, span: u64) -> Self {
        let parameter = if form == Form::Rice { rice::parameter(count.clamp(1, span), span) } else { 0 };
        Self { form, payload: Vec::new(), limit, parameter, bits: 0, end: 0, full_at: None }
    }

    /// Appends the next run of unfinished offsets: not empty, and not next to the one before. Nothing is
    /// appended after a run that did not fit.
    pub(super) fn push(&mut self, run: &Range<u64>) {
        if self.is_full() {
            return;
        }
        let gap = run.start - self.end;
        let length = run.end - run.start;
        let size = match self.form {
            Form::Bitset => run.end.div_ceil(8),
            Form::Runs => self.payload.len() as u64 + varint_size(gap) + varint_size(length),
            Form::Sparse => self.payload.len() as u64 + varint_size(gap) + length - 1,
            Form::Rice => {
                let bits = rice::size(gap, self.parameter) + (length - 1) * rice::size(0, self.parameter);
                1 + (self.bits + bits).div_ceil(8)
            }
        };
        if size > self.limit as u64 {
            self.full_at = Some(run.start);
            return;
        }
        match self.form {
            Form::Bitset => {
                self.payload.resize(size as usize, 0);
                for offset in run.clone() {
                    self.payload[offset as usize / 8] |= 1 << (offset % 8);
                }
            }
            Form::Runs => {
                put_varint(&mut self.payload, gap);
                put_varint(&mut self.payload, length);
            }
            Form::Sparse => {
                put_varint(&mut self.payload, gap);
                self.payload.resize(size as usize, 0);
            }
            Form::Rice => {
                self.payload.resize(size as usize, 0);
                let (parameter, codes) = self.payload.split_first_mut().expect("it was just made longer");
                *parameter = self.parameter as u8;
                for number in std::iter::once(gap).chain((1..length).map(|_| 0)) {
                    rice::put(codes, self.bits, number, self.parameter);
                    self.bits += rice::size(number, self.parameter);
                }
            }
        }
        self.end = run.end;
    }

    pub(super) const fn is_full(&self) -> bool {
        self.full_at.is_some()
    }

    /// Up to which offset of the range this payload tells all, if the range ends at `end`.
    pub(super) fn reach(&self, end: u64) -> u64 {
        self.full_at.unwrap_or(end)
    }
}

/// Reads a payload that stands for `span` offsets: calls `unfinished` for ascending, disjoint, non-empty ranges
/// below `span`. `None` if the payload says anything else, or does not end with a completed offset; the calls
/// made until then are to be forgotten.
pub(super) fn read(
    form: Form,
    payload: &[u8],
    span: u64,
    mut unfinished: impl FnMut(Range<u64>),
) -> Option<()> {
    // The last offset is complete, or the span would have been written shorter.
    let mut take = |range: Range<u64>| (!range.is_empty() && range.end < span).then(|| unfinished(range));
    match form {
        Form::Bitset => {
            for (index, &byte) in payload.iter().enumerate() {
                let mut bits = byte;
                while bits != 0 {
                    let offset = index as u64 * 8 + u64::from(bits.trailing_zeros());
                    take(offset..offset + 1)?;
                    bits &= bits - 1;
                }
            }
            // Zeros at the end are never written.
            payload.last().is_none_or(|&byte| byte != 0).then_some(())
        }
        Form::Runs | Form::Sparse => {
            let mut rest = payload;
            let mut from = 0u64;
            while !rest.is_empty() {
                let start = from.checked_add(take_varint(&mut rest)?)?;
                let length = if form == Form::Runs { take_varint(&mut rest)? } else { 1 };
                from = start.checked_add(length)?;
                take(start..from)?;
            }
            Some(())
        }
        Form::Rice => {
            let Some((&parameter, codes)) = payload.split_first() else { return Some(()) };
            let parameter =
                Some(u32::from(parameter)).filter(|&parameter| parameter <= rice::MAX_PARAMETER)?;
            // Without a code there is no parameter either.
            let mut numbers = rice::Reader::new(codes, parameter).filter(|_| !codes.is_empty())?;
            let mut from = 0;
            while !numbers.is_done() {
                let number = numbers.next()?;
                from += number;
                take(from..from + 1)?;
                from += 1;
            }
            Some(())
        }
    }
}

/// Bytes of a number as a varint.
pub(super) const fn varint_size(number: u64) -> u64 {
    let bits = u64::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as u64
}

/// Appends a number: 7 bits a byte, the lowest first; the highest bit says that more follow.
pub(super) fn put_varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes a number off the front; `None` if the bytes end in its midst or it has more than 64 bits.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            return None;
        }
        number |= part << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOM: usize = 1 << 20;

    fn draft(form: Form, runs: &[Range<u64>], limit: usize) -> Draft {
        let count = runs.iter().map(|run| run.end - run.start).sum();
        let mut draft = Draft::new(form, limit, count, runs.last().map_or(1, |run| run.end + 1));
        runs.iter().for_each(|run| draft.push(run));
        draft
    }

    fn read_all(form: Form, payload: &[u8], span: u64) -> Option<Vec<u64>> {
        let mut offsets = Vec::new();
        read(form, payload, span, |range| offsets.extend(range))?;
        Some(offsets)
    }

    #[test]
    fn each_form_has_patterns_for_which_it_is_the_shortest() {
        let size = |form, runs: &[Range<u64>]| draft(form, runs, ROOM).payload.len();
        assert_eq!(Form::ALL.map(|form| size(form, &[0..5000, 9000..9500])), [1188, 7, 5501, 1189]);
        assert_eq!(Form::ALL.map(|form| size(form, &[0..1, 100..101, 90_000..90_001])), [11_251, 8, 5, 8]);
        assert_eq!(Form::ALL.map(|form| size(form, &[0..1, 2..3, 4..5, 6..7])), [1, 8, 4, 2]);
        let scattered: Vec<Range<u64>> = (0..10_000).step_by(13).map(|at| at..at + 1).collect();
        assert_eq!(Form::ALL.map(|form| size(form, &scattered)), [1250, 1540, 770, 483]);
    }

    #[test]
    fn a_full_draft_ends_before_the_run_that_did_not_fit_and_says_so() {
        for form in Form::ALL {
            let runs = [0..1, 8..9, 500..600, 1000..1001];
            let draft = draft(form, &runs, 5);
            assert!(draft.is_full());
            assert_eq!(draft.reach(2000), 500);
            assert!(draft.payload.len() <= 5);
            assert_eq!(read_all(form, &draft.payload, 500), Some(vec![0, 8]));
        }
    }

    #[test]
    fn payloads_that_contradict_themselves_are_refused() {
        let refused: [(Form, &[u8], u64, &str); 19] = [
            (Form::Bitset, &[0b1], 1, "the last offset is unfinished"),
            (Form::Bitset, &[0, 1], 8, "past the span"),
            (Form::Bitset, &[1, 0], 80, "zeros at the end"),
            (Form::Sparse, &[0, 0], 2, "the last offset is unfinished"),
            (Form::Sparse, &[0x80], 100, "ends in a number"),
            (Form::Sparse, &[0xff; 10], 100, "a number of more than 64 bits"),
            (Form::Rice, &[0, 0b11], 2, "the last offset is unfinished"),
            (Form::Rice, &[0, 0b1000_0000], 8, "past the span"),
            (Form::Rice, &[0, 1, 0], 80, "zeros at the end"),
            (Form::Rice, &[0], 80, "a parameter and no code"),
            (Form::Rice, &[4, 4], 80, "ends in a code"),
            (Form::Rice, &[25, 0, 0, 0, 2], 1 << 24, "a parameter beyond any distance"),
            (Form::Rice, &[24, 0, 0, 0, 0, 0, 0, 0x80], 1 << 24, "a distance of many times 2^24"),
            (Form::Runs, &[0], 100, "a run without length"),
            (Form::Runs, &[0, 0], 100, "an empty run"),
            (Form::Runs, &[0, 100], 100, "past the span"),
            (Form::Runs, &[0, 1, 5, 0xff], 100, "ends in a number"),
            (
                Form::Runs,
                &[0, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1],
                100,
                "back to the start",
            ),
            (
                Form::Runs,
                &[
                    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0xff, 0xff, 0xff, 0xff, 0xff,
                    0xff, 0xff, 0xff, 0xff, 1,
                ],
                100,
                "an end beyond 64 bits",
            ),
        ];
        for (form, payload, span, why) in refused {
            assert_eq!(read_all(form, payload, span), None, "{form:?}: {why}");
        }
    }

    #[test]
    fn varints_of_every_length_come_back_and_report_their_size() {
        for shift in 0..64 {
            for number in [1u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let mut bytes = Vec::new();
                put_varint(&mut bytes, number);
                assert_eq!(bytes.len() as u64, varint_size(number), "{number}");
                assert_eq!(take_varint(&mut bytes.as_slice()), Some(number));
                assert_eq!(take_varint(&mut &bytes[..bytes.len() - 1]), None);
            }
        }
        let bits_65 = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2];
        assert_eq!(take_varint(&mut bits_65.as_slice()), None);
    }

    proptest! {
        #[test]
        fn every_form_comes_back_as_it_was_or_up_to_where_it_ran_full(
            first in 0u64..300,
            runs in prop::collection::vec((1u64..200, 1u64..300), 0..30),
            limit in 0usize..200,
        ) {
            let mut start = first;
            let place = |(length, gap)| {
                let run = start..start + length;
                start = run.end + gap;
                run
            };
            let runs: Vec<Range<u64>> = runs.into_iter().map(place).collect();
            let span = runs.last().map_or(0, |run| run.end) + 1;
            for form in Form::ALL {
                let whole = draft(form, &runs, ROOM);
                prop_assert_eq!(whole.reach(span), span);
                prop_assert_eq!(read_all(form, &whole.payload, span), Some(runs.iter().cloned().flatten().collect()));

                let cut = draft(form, &runs, limit);
                prop_assert!(cut.payload.len() <= limit);
                prop_assert_eq!(cut.is_full(), whole.payload.len() > limit);
                let reach = cut.reach(span);
                if reach > 0 {
                    let expected = runs.iter().cloned().flatten().filter(|&offset| offset < reach).collect();
                    prop_assert_eq!(read_all(form, &cut.payload, reach), Some(expected));
                }
            }
        }

        #[test]
        fn random_payloads_are_read_or_refused_within_the_span(
            number in 1u8..=4,
            payload in prop::collection::vec(any::<u8>(), 0..40),
            span in 0u64..400,
        ) {
            let form = Form::from_number(number).expect("these are the forms");
            let mut end = 0;
            let mut ascending = true;
            let valid = read(form, &payload, span, |range| {
                ascending &= range.start >= end && range.end > range.start;
                end = range.end;
            });
            prop_assert!(ascending && (end == 0 || end < span));
            prop_assert!(valid.is_none() || end < span.max(1));
        }
    }
}
