//! What is done of a partition: which records were polled, which are complete, what may be committed.
//!
//! One [`Progress`] belongs to one partition in one assignment epoch. The consumer thread's state machine owns
//! it: it admits each record it polls, completes it when its outputs are acknowledged, and takes a [`Snapshot`]
//! for each commit. Everything here is pure: no clock, no thread, no I/O.
//!
//! ```text
//!   offset   … 40 41 42 43 44 45 46 47 48 49 50 51 52 …
//!               ✓  ✓  ·  ✓  ✗  ✓  ·  ✗  ✗  ✓  ✗           ✓ complete  ✗ unfinished  · hole
//!                           ↑ safe            ↑  ↑ position
//!                                             in-flight tail
//! ```
//! - The *safe offset* is the next committable: nothing below it is unfinished. So it is the oldest unfinished
//!   record, or the position where there is none.
//! - Complete records above it (45 and 49) go into the commit's metadata, so that they do not run again after a
//!   restart. The metadata is bounded by the broker, hence [`Progress::may_admit`].
//! - Only polled offsets are tracked. Those that were never polled (compaction, transaction markers,
//!   retention) are holes, and hold up nothing.
//!
//! `window` holds the polled offsets, `restored` what an earlier commit told about those above, `budget` bounds
//! the metadata, `codec`, `forms` and `rice` write and read it, `bits` walks over bit sets.

mod bits;
mod budget;
mod codec;
mod forms;
#[cfg(test)]
mod properties;
mod restored;
mod rice;
#[cfg(test)]
mod tests;
mod window;

pub use budget::{Budget, MAX_SPAN};
pub use codec::{Reject, decode, topic_tag};
pub use restored::Restored;

use crate::ids::Offset;
use window::Window;

/// What becomes of a polled record.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It is unfinished now and has to be run.
    Run,
    /// It was completed before the last restart or rebalance. It counts as complete; do not run it.
    AlreadyDone,
    /// It was polled before in this epoch: the client delivered it twice, as it may around a pause. Nothing
    /// changed; drop it.
    Stale,
}

/// What a commit says about a partition, all of it taken from the same state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The offset to commit: nothing below it is unfinished.
    pub offset: Offset,
    /// The topic and the completed records above it, for [`decode`]. Empty if the topic is unknown and there are
    /// none. ASCII: as many bytes as characters, at most those of the budget.
    pub metadata: String,
    /// How many completed records above the offset the metadata does not name, because it would be too long:
    /// they run again after a restart. Always 0 for a budget that does not truncate, unless it was lowered
    /// since `metadata` restored here was written.
    pub truncated: u64,
}

/// The state of one partition in one assignment epoch.
///
/// Invariant: a record is unfinished from its admission until it is completed, and the safe offset never passes
/// an unfinished record. Nothing else ever finishes one: a record whose completion is forgotten holds up its
/// partition, which is visible, and is not lost.
#[derive(Debug)]
pub struct Progress {
    position: Offset,
    window: Window,
    /// Tells about offsets at or above the position only; gone once they are all passed.
    restored: Option<Restored>,
    topic_tag: u32,
}

impl Progress {
    /// Starts at `start`, the committed offset (the next to read), with what its metadata told. What belongs to
    /// another offset is ignored. `topic_tag` goes into the metadata of commits: see [`topic_tag`].
    #[must_use]
    pub fn new(start: Offset, restored: Option<Restored>, topic_tag: u32) -> Self {
        let restored = restored.filter(|restored| restored.base() == start && restored.horizon() > start);
        Self { position: start, window: Window::new(start), restored, topic_tag }
    }

    /// The [tag](topic_tag) of the topic whose offsets these are; 0: unknown.
    #[must_use]
    pub fn topic_tag(&self) -> u32 {
        self.topic_tag
    }

    /// True if the commit metadata has room for whatever can come of admitting this record next.
    ///
    /// If it is false, keep the record and ask again after completions. It is true for a record that would not
    /// become unfinished, and always with nothing unfinished, so that a partition cannot hold itself up.
    #[inline]
    #[must_use]
    pub fn may_admit(&self, offset: Offset, budget: &Budget) -> bool {
        let Some(safe) = self.window.oldest_unfinished() else { return true };
        if offset < self.position {
            return true;
        }
        let unfinished = self.window.unfinished() + 1;
        let end = offset.next();
        match &self.restored {
            None => budget.allows(unfinished, end.distance_from(safe)),
            Some(restored) => {
                if restored.is_completed(offset) {
                    return true;
                }
                let owed = restored.unfinished_from(end);
                budget.allows(unfinished + owed, end.max(restored.horizon()).distance_from(safe))
            }
        }
    }

    /// Takes in a polled record. The position moves past it; offsets that were skipped are holes.
    ///
    /// # Panics
    /// If [`may_admit`](Progress::may_admit) would have refused it for a span of more than [`MAX_SPAN`] offsets.
    #[inline]
    pub fn admit(&mut self, offset: Offset) -> Admission {
        if offset < self.position {
            return Admission::Stale;
        }
        self.position = offset.next();
        if self.restored.is_some() && self.pass_restored(offset) {
            self.window.insert_completed(offset);
            return Admission::AlreadyDone;
        }
        self.window.insert_unfinished(offset);
        Admission::Run
    }

    /// Follows the position. Returns whether the record was completed earlier.
    #[cold]
    fn pass_restored(&mut self, offset: Offset) -> bool {
        let Some(restored) = &mut self.restored else { return false };
        let completed = restored.is_completed(offset);
        if restored.horizon() > self.position {
            restored.pass(self.position);
        } else {
            self.restored = None;
        }
        completed
    }

    /// Finishes a record for good. False, and nothing happens, if it was not unfinished.
    #[inline]
    pub fn complete(&mut self, offset: Offset) -> bool {
        self.window.complete(offset)
    }

    /// Every record below `offset` was polled, as the client says: the position moves past transaction markers
    /// and holes, never backwards. Returns whether the next snapshot differs for it.
    ///
    /// What restored metadata tells about offsets from there on is kept. That it speaks of this very log, and
    /// not of one that was cut or made anew, is checked once, when it is restored (`Restored::within_log`).
    pub fn eof(&mut self, offset: Offset) -> bool {
        if offset <= self.position {
            return false;
        }
        let moved = self.window.unfinished() == 0;
        self.position = offset;
        match &mut self.restored {
            Some(restored) if restored.horizon() > offset => restored.pass(offset),
            _ => self.restored = None,
        }
        moved
    }

    /// The next offset to commit: nothing below it is unfinished.
    #[inline]
    #[must_use]
    pub fn safe(&self) -> Offset {
        self.window.oldest_unfinished().unwrap_or(self.position)
    }

    /// The next offset to poll.
    #[inline]
    #[must_use]
    pub const fn position(&self) -> Offset {
        self.position
    }

    /// How many records are admitted and not complete.
    #[inline]
    #[must_use]
    pub const fn unfinished(&self) -> usize {
        self.window.unfinished()
    }

    /// The record that holds up the safe offset.
    #[inline]
    #[must_use]
    pub fn oldest_unfinished(&self) -> Option<Offset> {
        self.window.oldest_unfinished()
    }

    /// True if every admitted record is complete.
    #[inline]
    #[must_use]
    pub const fn is_idle(&self) -> bool {
        self.window.unfinished() == 0
    }

    /// How many gaps there are: runs of unfinished records below a completed one. A hole neither ends a run nor
    /// counts as completed, and what is in flight above the highest completed record is no gap.
    ///
    /// Takes one to two nanoseconds for each 64 offsets between the safe offset and the highest completed record.
    #[must_use]
    pub fn gap_count(&self) -> usize {
        self.window.gap_count()
    }

    /// What to commit now.
    ///
    /// Takes some nanoseconds for each run of unfinished records and each 64 offsets above the safe offset, and
    /// memory of three times the budget.
    #[must_use]
    pub fn snapshot(&self, budget: &Budget) -> Snapshot {
        let offset = self.safe();
        let told = self.restored.as_ref().map_or(offset, Restored::horizon);
        let horizon = told.max(self.window.completed_end());
        let horizon = horizon.max(offset);
        let restored = self.restored.as_ref();
        let unfinished = |number| {
            self.window.unfinished_word(number)
                | restored.map_or(0, |restored| restored.unfinished_word(number))
        };
        let count = bits::count(offset, horizon, unfinished) as u64;
        let runs = bits::runs(offset, horizon, unfinished);
        let (metadata, reach) =
            codec::encode(offset, self.topic_tag, horizon, count, runs, budget.max_chars());
        let completed = |number| {
            self.window.completed_word(number)
                | restored.map_or(0, |restored| restored.completed_word(number))
        };
        let truncated = bits::count(reach, horizon, completed) as u64;
        Snapshot { offset, metadata, truncated }
    }
}
