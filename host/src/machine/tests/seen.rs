//! What runs went through, counted: a simulation is worth something only if it goes through what it is there
//! for.

use std::fmt;

macro_rules! sights {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Something worth going through.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Sight {
            $($(#[$doc])* $name,)*
        }

        impl Sight {
            /// All of them.
            const ALL: &[Sight] = &[$(Sight::$name,)*];
        }
    };
}

sights! {
    /// A record completed by this host.
    Completed,
    /// A record that was complete before it was polled.
    Restored,
    /// A record tried again.
    Retried,
    /// A record sent to a call of its own.
    Alone,
    /// A record given up by its worker.
    GivenUp,
    /// A call that came back because its worker panicked.
    Panicked,
    /// A call of a key's own queue.
    KeyedCall,
    /// A revoke with calls out.
    RevokedWithCalls,
    /// A revoke of a partition whose assignment was not answered yet.
    RevokedWhileAssigning,
    /// A call that was told to end.
    Interrupted,
    /// A report of an epoch that is over.
    LateReport,
    /// Partitions lost with calls out.
    LostWithCalls,
    /// Partitions lost and given again at once, with calls out.
    ReturnedWithCalls,
    /// A crash with calls out.
    CrashedWithCalls,
    /// A crash with a commit on its way.
    CrashedWithCommit,
    /// A commit of the second member.
    MemberCommitted,
    /// A second member that left without a commit.
    MemberVanished,
    /// A stop with calls out.
    StoppedWithCalls,
    /// A second stop, which skips the drain.
    StoppedTwice,
    /// A stop while a revoke is under way.
    StoppedWhileRevoking,
    /// Partitions given back because the time for their commit was over.
    GivenBackLate,
    /// A pipeline that halted at a record.
    Halted,
    /// An output refused before the report of its call.
    RefusedBeforeReport,
    /// An output refused after it.
    RefusedAfterReport,
    /// An output refused where there are no dead letters.
    RefusedWithoutLetters,
    /// A dead letter refused for good.
    LetterRefused,
    /// A commit that failed in part.
    CommitFailedInPart,
    /// A commit that failed though the broker has it.
    CommitReplyLost,
    /// A commit that the client did not take.
    CommitNotTaken,
    /// A commit that reached the broker after its epoch was over.
    CommitLandedLate,
    /// A commit with several partitions that had no room for all.
    CommitFull,
    /// A record held back because the metadata had no room.
    Held,
    /// A commit that had to leave completed records out.
    Truncated,
    /// A partition paused.
    Paused,
    /// A partition resumed.
    Resumed,
    /// A loop that stood still for a minute.
    Jumped,
    /// An assignment with metadata that has to be ignored.
    HostileMetadata,
    /// A position reset because its records were deleted.
    Reset,
    /// A record delivered twice.
    Redelivered,
}

/// How often each was seen.
#[derive(Clone, Debug)]
pub struct Seen([u64; Sight::ALL.len()]);

impl Default for Seen {
    fn default() -> Self {
        Seen([0; Sight::ALL.len()])
    }
}

impl Seen {
    pub fn saw(&mut self, sight: Sight) {
        self.0[sight as usize] += 1;
    }

    pub fn add(&mut self, other: &Seen) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// What was seen less often than this.
    pub fn rarer_than(&self, least: u64) -> Vec<Sight> {
        Sight::ALL.iter().copied().filter(|sight| self.0[*sight as usize] < least).collect()
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Sight::ALL.iter().try_for_each(|sight| writeln!(f, "{:>12}  {sight:?}", self.0[*sight as usize]))
    }
}
