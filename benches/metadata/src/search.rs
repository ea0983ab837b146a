//! How far a kind of pattern can go on before the broker's limit is in the way.

use anyhow::Result;
use serde::Serialize;

use crate::confluent::Confluent;
use crate::ours;
use crate::patterns::Class;

/// The broker's `offset.metadata.max.bytes`, unless it is told otherwise.
const LIMIT: usize = 4_096;
/// The Parallel Consumer takes in nothing more where a commit was longer: three quarters of the limit.
const PRESSURE: usize = LIMIT * 3 / 4;
/// Longer patterns are not tried.
pub(crate) const MOST: i64 = 1_000_000;

/// Offsets from the oldest unfinished record on.
#[derive(Debug, Serialize)]
pub(crate) struct Reach {
    /// Whose metadata has at most 4,096 characters.
    pub fit: i64,
    /// After which no further record is taken in.
    pub taken_in: i64,
}

pub(crate) fn ours(class: Class) -> Result<Reach> {
    let fit = longest(|offsets| Ok(ours::written(&class.pattern(offsets))?.chars <= LIMIT))?;
    Ok(Reach { fit, taken_in: ours::taken_in(class, MOST)? })
}

pub(crate) fn confluent(class: Class, confluent: &mut Confluent) -> Result<Reach> {
    let mut fits = |limit| longest(|offsets| Ok(confluent.written(&class.pattern(offsets))?.chars <= limit));
    Ok(Reach { fit: fits(LIMIT)?, taken_in: fits(PRESSURE)? })
}

/// The longest that fits, up to the most that is tried. Where a longer one may be a few characters shorter, it is
/// one of those around the limit.
fn longest(mut fits: impl FnMut(i64) -> Result<bool>) -> Result<i64> {
    let (mut good, mut bad) = (2, MOST + 1);
    if fits(MOST)? {
        return Ok(MOST);
    }
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if fits(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_that_fits_is_found() {
        for limit in [2, 3, 1_000, MOST - 1, MOST, MOST + 7] {
            let found = longest(|offsets| Ok(offsets <= limit)).expect("nothing fails here");
            assert_eq!(found, limit.min(MOST));
        }
    }
}
