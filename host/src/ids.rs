//! The host's small numbers, each a type of its own.
//!
//! An offset, an epoch and a generation are all integers, travel through the same calls, and are wrong
//! without a symptom when two of them are exchanged. Every module uses these types; none passes bare integers
//! across its border.

use std::fmt;

/// The offset of a record in its partition, or the border before it.
///
/// As a border (a position, a safe or a committed offset) it is always the *next* offset: "5" means that 0 to 4
/// are behind. [`Offset::next`] is the one place where a record becomes the border after it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub i64);

impl Offset {
    /// The border just past this record: what to poll, or to commit, next.
    ///
    /// Saturates at `i64::MAX`, which no record can have: the log's end could not be told.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// How many offsets lie from `earlier` up to here, this one not included; 0 if `earlier` is not earlier.
    #[inline]
    #[must_use]
    pub const fn distance_from(self, earlier: Self) -> u64 {
        if self.0 > earlier.0 { self.0.abs_diff(earlier.0) } else { 0 }
    }
}

/// An assignment of a partition to this host: it rises each time that the partition is given, given back or
/// reset, so that a completion can tell whether it still counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch that follows.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// A deployed module of a pipeline: it rises with each swap, a rollback included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation that follows.
    #[inline]
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Units of guest computing, in the sandbox's own count (about one a Wasm instruction): a limit or an amount used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fuel(pub u64);

macro_rules! display_as_number {
    ($($id:ident),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_as_number!(Offset, Epoch, Generation, Fuel);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_after_a_record_is_one_further_and_never_wraps() {
        assert_eq!(Offset(41).next(), Offset(42));
        assert_eq!(Offset(-1).next(), Offset(0));
        assert_eq!(Offset(i64::MAX).next(), Offset(i64::MAX));
    }

    #[test]
    fn a_distance_is_never_negative_and_never_overflows() {
        assert_eq!(Offset(7).distance_from(Offset(3)), 4);
        assert_eq!(Offset(3).distance_from(Offset(7)), 0);
        assert_eq!(Offset(i64::MAX).distance_from(Offset(i64::MIN)), u64::MAX);
    }

    #[test]
    fn numbers_are_shown_bare_and_keep_the_formatting_asked_for() {
        assert_eq!(format!("{}:{:>4}:{}:{}", Offset(-3), Epoch(2), Generation(9), Fuel(1)), "-3:   2:9:1");
    }
}
