//! Which records are unfinished when a commit is taken.

use std::ops::Range;

/// Offset of the oldest record that is not complete: that of a topic that has lived for a while.
pub(crate) const BASE: i64 = 1_234_567_890;
/// What is drawn follows from it.
const SEED: u64 = 0x3e7a;

/// A kind of pattern; it goes on for any number of offsets, and a longer one begins as a shorter one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// Everything polled is still in flight.
    NothingAbove,
    /// The oldest record is stuck, all above it are complete.
    OneStuck,
    /// Every second record is complete.
    Alternating,
    /// Ten keys take turns, and one of them waits.
    EveryTenth,
    /// So many of a thousand records are unfinished, all over.
    Random(u32),
    /// Calls of 1 to 32 records, of which one in four is still out.
    Calls,
    /// A compacted topic: of ten offsets nine are gone; one in two hundred records is unfinished.
    Compacted,
}

/// A class at one length.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub class: Class,
    /// From the oldest unfinished record to the highest complete one.
    pub offsets: i64,
}

const fn row(class: Class, offsets: i64) -> Row {
    Row { class, offsets }
}

/// The hottest key of Zipf traffic over a thousand keys has this share of it, of a thousand.
const HOT_KEY: Class = Class::Random(130);
const ONE_PERCENT: Class = Class::Random(10);
const HALF: Class = Class::Random(500);

/// What is measured at given lengths.
pub(crate) const ROWS: [Row; 17] = [
    row(Class::NothingAbove, 1_000),
    row(Class::OneStuck, 100),
    row(Class::OneStuck, 1_000),
    row(Class::OneStuck, 10_000),
    row(Class::OneStuck, 100_000),
    row(Class::Alternating, 1_000),
    row(Class::Alternating, 10_000),
    row(Class::Alternating, 24_000),
    row(Class::EveryTenth, 24_000),
    row(ONE_PERCENT, 10_000),
    row(ONE_PERCENT, 100_000),
    row(HOT_KEY, 10_000),
    row(HOT_KEY, 24_000),
    row(HALF, 10_000),
    row(HALF, 24_000),
    row(Class::Calls, 24_000),
    row(Class::Compacted, 100_000),
];

impl Class {
    /// What is measured for how far it goes.
    pub(crate) const GROWING: [Class; 8] = [
        Class::OneStuck,
        Class::Alternating,
        Class::EveryTenth,
        ONE_PERCENT,
        HOT_KEY,
        HALF,
        Class::Calls,
        Class::Compacted,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Class::NothingAbove => "nothing complete above the base",
            Class::OneStuck => "one stuck record",
            Class::Alternating => "alternating",
            Class::EveryTenth => "each tenth unfinished",
            ONE_PERCENT => "1 % unfinished at random",
            HOT_KEY => "hot key waits: 13 % at random",
            HALF => "50 % at random",
            Class::Random(_) => "at random",
            Class::Calls => "a quarter of all calls of 1 to 32 out",
            Class::Compacted => "compacted: 90 % holes, 1 in 200 unfinished",
        }
    }

    /// The first `offsets` offsets of it. The first is always unfinished, the last always complete.
    pub(crate) fn pattern(self, offsets: i64) -> Pattern {
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut records = Vec::new();
        let mut call = (0, false);
        for distance in 0..offsets {
            // Draws do not depend on how long the pattern is.
            let (here, unfinished) = match self {
                Class::NothingAbove => (true, true),
                Class::OneStuck => (true, false),
                Class::Alternating => (true, distance % 2 == 0),
                Class::EveryTenth => (true, distance % 10 == 0),
                Class::Random(of_a_thousand) => (true, random.u32(0..1_000) < of_a_thousand),
                Class::Calls => {
                    if call.0 == 0 {
                        call = (random.u32(1..=32), random.u32(0..4) == 0);
                    }
                    call.0 -= 1;
                    (true, call.1)
                }
                Class::Compacted => (random.u32(0..10) == 0, random.u32(0..200) == 0),
            };
            let border = distance == 0 || distance == offsets - 1;
            if here || border {
                let unfinished = match self {
                    Class::NothingAbove => true,
                    _ => distance == 0 || unfinished && !border,
                };
                records.push((BASE + distance, unfinished));
            }
        }
        Pattern { records }
    }
}

/// The records from the oldest unfinished one on, with whether each is unfinished. What is not here is no record.
#[derive(Debug, Clone)]
pub(crate) struct Pattern {
    pub records: Vec<(i64, bool)>,
}

impl Pattern {
    /// How many are unfinished.
    pub(crate) fn unfinished(&self) -> u64 {
        self.records.iter().filter(|(_, unfinished)| *unfinished).count() as u64
    }

    /// Just past the highest complete record.
    pub(crate) fn end(&self) -> i64 {
        let complete = self.records.iter().rev().find(|(_, unfinished)| !unfinished);
        complete.map_or(BASE, |(offset, _)| offset + 1)
    }

    /// The unfinished ones as ranges.
    pub(crate) fn ranges(&self) -> Vec<Range<i64>> {
        let mut ranges: Vec<Range<i64>> = Vec::new();
        for &(offset, _) in self.records.iter().filter(|(_, unfinished)| *unfinished) {
            match ranges.last_mut().filter(|last| last.end == offset) {
                Some(last) => last.end += 1,
                None => ranges.push(offset..offset + 1),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_pattern_begins_as_a_shorter_one_does() {
        for class in Class::GROWING {
            let (short, long) = (class.pattern(500), class.pattern(700));
            let inner = |pattern: &Pattern| {
                pattern.records.iter().copied().filter(|(o, _)| *o < BASE + 499).collect::<Vec<_>>()
            };
            assert_eq!(inner(&short), inner(&long), "{class:?}");
            assert!(short.records[0] == (BASE, true) && short.end() == BASE + 500, "{class:?}");
        }
    }

    #[test]
    fn shares_are_what_their_names_say() {
        let share = |class: Class| class.pattern(100_000).unfinished();
        assert!((900..1_100).contains(&share(ONE_PERCENT)) && (12_500..13_500).contains(&share(HOT_KEY)));
        assert!((40..60).contains(&share(Class::Compacted)) && share(Class::OneStuck) == 1);
        assert_eq!((Class::NothingAbove.pattern(10).end(), share(Class::NothingAbove)), (BASE, 100_000));
    }
}
