//! Golomb-Rice codes: numbers as bits, the shorter the smaller they are.
//!
//! With parameter `k` a number takes its lowest `k` bits, then as many zeros as the rest of it counts, then a
//! one. So it costs `1 + k` bits and one more for each 2^k that it holds. Bits fill bytes from the lowest on.
//! The last bit written is a one: the zeros that fill the last byte are no number, and no count is needed.
//!
//! Where each offset is unfinished with the same probability, the distances between unfinished ones are
//! geometrically distributed, and no code of whole bits for each distance is shorter than Golomb's (Gallager and
//! van Voorhis, 1975); Rice's are those with a power of two, at most some percent longer.

/// The parameter above which no distance within [`MAX_SPAN`](super::MAX_SPAN) has anything left.
pub(super) const MAX_PARAMETER: u32 = 24;

/// The parameter that makes the [bound](most_bits) smallest. `count` is not 0 and not above `span`.
#[inline]
pub(super) fn parameter(count: u64, span: u64) -> u32 {
    let between = span - count;
    // From k to k + 1 the bound grows by `count` and shrinks by half of `between >> k`, rounded up: it has one
    // minimum. Logarithms lead to it or to the one before.
    let mut k = (between | 1).ilog2().saturating_sub(count.ilog2() + 1);
    while (between >> k).div_ceil(2) > count {
        k += 1;
    }
    k.min(MAX_PARAMETER)
}

/// Bits that the distances before `count` offsets within `span` take at most, each counted from behind the offset
/// before: they add up to `span - count`, and what they hold of 2^k is no more than their sum holds.
///
/// Rises with `count` and with `span`; so does the minimum over all parameters.
#[inline]
pub(super) const fn most_bits(count: u64, span: u64, parameter: u32) -> u64 {
    count * (1 + parameter as u64) + ((span - count) >> parameter)
}

/// Bits of one number.
pub(super) const fn size(number: u64, parameter: u32) -> u64 {
    1 + parameter as u64 + (number >> parameter)
}

/// Writes a number behind the first `at` bits; `bytes` is long enough and zero from there on.
pub(super) fn put(bytes: &mut [u8], at: u64, number: u64, parameter: u32) {
    let rest = number & ((1 << parameter) - 1);
    let end = at + size(number, parameter) - 1;
    for bit in (0..parameter).filter(|bit| rest >> bit & 1 != 0) {
        set(bytes, at + u64::from(bit));
    }
    set(bytes, end);
}

fn set(bytes: &mut [u8], bit: u64) {
    bytes[bit as usize / 8] |= 1 << (bit % 8);
}

/// Reads numbers one after the other.
#[derive(Debug)]
pub(super) struct Reader<'b> {
    bytes: &'b [u8],
    at: u64,
    /// Behind the last one.
    end: u64,
    parameter: u32,
}

impl<'b> Reader<'b> {
    /// `parameter` is at most [`MAX_PARAMETER`]. `None` if the last byte is zero, which is never written.
    pub(super) fn new(bytes: &'b [u8], parameter: u32) -> Option<Self> {
        let last = bytes.last().map_or(0, |last| last.leading_zeros());
        let end = bytes.len() as u64 * 8 - u64::from(last);
        (last < 8).then_some(Self { bytes, at: 0, end, parameter })
    }

    /// Whether all numbers are read.
    pub(super) const fn is_done(&self) -> bool {
        self.at >= self.end
    }

    /// The next number; `None` if the bits end in its midst.
    pub(super) fn next(&mut self) -> Option<u64> {
        let rest = self.word() & ((1 << self.parameter) - 1);
        let from = self.at + u64::from(self.parameter);
        self.at = from;
        // At least 57 bits of each word are new.
        while self.word() == 0 {
            self.at += 64 - self.at % 8;
            if self.is_done() {
                return None;
            }
        }
        self.at += u64::from(self.word().trailing_zeros());
        let whole = self.at - from;
        self.at += 1;
        Some(whole << self.parameter | rest)
    }

    /// The bits from here on, at least 57 of them; zeros behind the end.
    fn word(&self) -> u64 {
        let bytes = self.bytes.get(self.at as usize / 8..).unwrap_or_default();
        let word = match bytes.first_chunk() {
            Some(chunk) => u64::from_le_bytes(*chunk),
            None => bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
        };
        word >> (self.at % 8)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(numbers: &[u64], parameter: u32) -> Vec<u8> {
        let bits: u64 = numbers.iter().map(|&number| size(number, parameter)).sum();
        let mut bytes = vec![0; bits.div_ceil(8) as usize];
        let mut at = 0;
        for &number in numbers {
            put(&mut bytes, at, number, parameter);
            at += size(number, parameter);
        }
        bytes
    }

    fn read(bytes: &[u8], parameter: u32) -> Option<Vec<u64>> {
        let mut reader = Reader::new(bytes, parameter)?;
        let mut numbers = Vec::new();
        while !reader.is_done() {
            numbers.push(reader.next()?);
        }
        Some(numbers)
    }

    #[test]
    fn a_number_is_its_low_bits_then_zeros_then_a_one() {
        // 9 = 2 * 4 + 1: 01 low bits, lowest first, two zeros, a one.
        assert_eq!(written(&[9], 2), [0b1_00_01]);
        assert_eq!(written(&[0, 0, 3], 0), [0b10_0011]);
        assert_eq!(read(&[0b10_0011], 0), Some(vec![0, 0, 3]));
    }

    #[test]
    fn zeros_at_the_end_and_half_a_number_are_refused() {
        for zeros in [1, 7, 8, 9, 1000] {
            for parameter in [0, 1, 24] {
                assert_eq!(read(&vec![0; zeros], parameter), None);
            }
        }
        // 0010: low bits of which no one follows, behind a whole number or alone.
        assert_eq!(read(&[0b0100_0000 | 0b1_0001], 4), None);
        assert_eq!(read(&[0b0100], 4), None);
        assert_eq!(read(&[], 4), Some(vec![]));
    }

    #[test]
    fn the_parameter_is_the_best_of_all_for_the_bound() {
        for count in [1u64, 2, 3, 7, 100, 1_000, 4_095, 24_000] {
            for span in [count, count + 1, 2 * count, 3 * count + 1, 100 * count, 1 << 24] {
                let found = most_bits(count, span, parameter(count, span));
                let best = (0..=MAX_PARAMETER).map(|parameter| most_bits(count, span, parameter)).min();
                assert_eq!(Some(found), best, "{count} in {span}");
            }
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back_and_take_what_was_said(
            numbers in prop::collection::vec(prop_oneof![0u64..4, 0u64..300, 0u64..70_000], 0..60),
            parameter in 0u32..=MAX_PARAMETER,
        ) {
            let bytes = written(&numbers, parameter);
            prop_assert!(bytes.last() != Some(&0));
            prop_assert_eq!(read(&bytes, parameter), Some(numbers));
        }

        #[test]
        fn the_bound_holds_for_any_distances_and_rises_with_count_and_span(
            numbers in prop::collection::vec(prop_oneof![0u64..4, 0u64..300, 0u64..70_000], 1..60),
            more in 0u64..100,
        ) {
            let count = numbers.len() as u64;
            let span = numbers.iter().sum::<u64>() + count;
            let bound = |count, span| most_bits(count, span, parameter(count, span));
            let bits: u64 = numbers.iter().map(|&number| size(number, parameter(count, span))).sum();
            prop_assert!(bits <= bound(count, span));
            prop_assert!(bound(count, span) <= bound(count, span + more));
            prop_assert!(bound(count, span + more) <= bound((count + more).min(span + more), span + more));
        }
    }
}
