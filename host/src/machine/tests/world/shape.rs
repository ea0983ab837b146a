//! The shape of a run: how long, how large, and which disturbances it may meet.
//!
//! All of it follows from the seed. It is a value of its own so that a run that broke a promise can be tried
//! again with less of everything: see `shrink.rs`.

use std::fmt;

use fastrand::Rng;

/// Something that a run may meet besides records that flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The group takes partitions back and waits for them.
    Revoke,
    /// The group gave partitions to somebody else already.
    Lose,
    /// Partitions are lost and given again in one breath, with calls of the old epoch still out.
    Return,
    /// The host dies and starts again from what the broker holds.
    Crash,
    /// A second member takes partitions, completes and commits some of them, and gives them back.
    Takeover,
    /// The host is stopped in the middle of everything and starts again.
    Stop,
    /// Records fail: retries, dead letters, records that have to run alone, workers that panic.
    Failures,
    /// A record halts the pipeline.
    Halt,
    /// The broker refuses outputs for good.
    Refusals,
    /// The broker or the producer refuses dead letters for good.
    LostLetters,
    /// Commits fail, wholly or in part, for every reason; replies are lost or late.
    Commits,
    /// Nothing answers for a while: no call, no acknowledgement, no commit.
    Silence,
    /// The loop stands still for a minute.
    Jump,
    /// Commit metadata that others wrote, or that belongs to another offset or topic.
    Hostile,
    /// Retention deletes records past the position, which is reset.
    Retention,
    /// The client delivers records twice.
    Redelivery,
    /// Records of up to 60 KiB.
    Large,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 17] = [
        Kind::Revoke,
        Kind::Lose,
        Kind::Return,
        Kind::Crash,
        Kind::Takeover,
        Kind::Stop,
        Kind::Failures,
        Kind::Halt,
        Kind::Refusals,
        Kind::LostLetters,
        Kind::Commits,
        Kind::Silence,
        Kind::Jump,
        Kind::Hostile,
        Kind::Retention,
        Kind::Redelivery,
        Kind::Large,
    ];

    /// Those that happen at a moment of their own.
    pub const EVENTS: [Kind; 9] = [
        Kind::Revoke,
        Kind::Lose,
        Kind::Return,
        Kind::Crash,
        Kind::Takeover,
        Kind::Stop,
        Kind::Silence,
        Kind::Jump,
        Kind::Retention,
    ];

    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// What a run is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// All chances of the run follow from it.
    pub seed: u64,
    /// Turns of the loop that are disturbed; after them everything has to complete.
    pub turns: u32,
    /// Partitions, over two topics.
    pub partitions: u32,
    /// Records of a partition, at most.
    pub records: u32,
    kinds: u32,
}

impl Shape {
    /// The shape of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        // Few kinds at once go deep, many at once go wide.
        let share = rng.u32(1..=8);
        let kinds = Kind::ALL.into_iter().filter(|_| rng.u32(..8) < share);
        let mut kinds = kinds.fold(0, |bits, kind| bits | kind.bit());
        // Copying large records takes longer than all the rest.
        if rng.u8(..6) > 0 {
            kinds &= !Kind::Large.bit();
        }
        // More records than a partition's share of those in flight, at times.
        let (partitions, records) =
            if rng.u8(..24) == 0 { (rng.u32(1..3), 700) } else { (rng.u32(1..6), rng.u32(1..80)) };
        let turns = [40, 200, 400, 1_000][rng.usize(..4)];
        Shape { seed, turns: rng.u32(turns / 4..turns), partitions, records, kinds }
    }

    /// True if the run may meet it.
    pub fn allows(&self, kind: Kind) -> bool {
        self.kinds & kind.bit() != 0
    }

    /// Somewhat smaller shapes, the much smaller first. `turns`: the promise was broken after so many.
    pub fn smaller(&self, turns: u32) -> Vec<Shape> {
        let kinds = Kind::ALL.into_iter().filter(|kind| self.allows(*kind));
        let without = kinds.map(|kind| Shape { kinds: self.kinds & !kind.bit(), ..*self });
        let fewer = |number: u32| {
            [number / 2, number - number / 4, number.saturating_sub(1)]
                .into_iter()
                .filter(move |n| *n < number)
        };
        let cut = [turns].into_iter().filter(|turns| *turns < self.turns);
        let turns = cut.chain(fewer(self.turns)).map(|turns| Shape { turns, ..*self });
        let partitions = fewer(self.partitions).filter(|n| *n > 0);
        let partitions = partitions.map(|partitions| Shape { partitions, ..*self });
        let records = fewer(self.records).map(|records| Shape { records, ..*self });
        turns.chain(partitions).chain(records).chain(without).collect()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shape { turns, partitions, records, .. } = self;
        write!(f, "{turns} disturbed turns, {partitions} partitions of up to {records} records")?;
        let mut lead = "; may meet";
        for kind in Kind::ALL.into_iter().filter(|kind| self.allows(*kind)) {
            write!(f, "{lead} {kind:?}")?;
            lead = ",";
        }
        Ok(())
    }
}
