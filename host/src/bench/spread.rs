//! Few numbers in three, and numbers as people read them.

use serde::{Deserialize, Serialize};

/// Smallest, middle and largest of some numbers. Of an even number of them, the middle is the lower one: a
/// number that was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

impl Spread {
    /// Of these numbers; none where there are none.
    pub fn of(numbers: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = numbers.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let median = *sorted.get(sorted.len().checked_sub(1)? / 2)?;
        Some(Self { min: sorted[0], median, max: sorted[sorted.len() - 1] })
    }
}

/// A whole number with commas between its thousands.
pub fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_a_number_that_was_measured() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0]), Some(Spread { min: 1.0, median: 2.0, max: 4.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn thousands_are_set_apart() {
        let cases = [
            (0.0, "0"),
            (999.0, "999"),
            (999.4, "999"),
            (1_000.0, "1,000"),
            (1_234_567.0, "1,234,567"),
            (1_234_567.4, "1,234,567"),
        ];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(grouped(-1_000.0), "-1,000");
        assert_eq!(grouped(-100.0), "-100");
    }
}
