//! Properties of progress as a whole, against a model too simple to be wrong.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Admission, Budget, Progress, Restored, Snapshot, decode};
use crate::ids::Offset;

const TAG: u32 = 0xfeed;

/// What happens to a partition.
#[derive(Clone, Debug)]
enum Step {
    /// The next records of the log are polled.
    Poll(usize),
    /// The unfinished record of this rank, modulo their number, is completed.
    Complete(usize),
    /// Every second unfinished record is completed, from this rank on: the worst case for the metadata.
    CompleteAlternately(usize),
    /// The oldest unfinished records are completed.
    CompleteOldest(usize),
    /// A completion arrives for an offset that need not be unfinished.
    CompleteAny(i64),
    /// The client delivers a record again.
    Redeliver(usize),
    /// Records that were not polled yet vanish from the log.
    Compact(Vec<usize>),
    /// The client reaches the log's end, which lies this far above the last record, if it is there.
    EndOfLog(i64),
    /// Commit and start again from what was committed.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1usize..60).prop_map(Step::Poll),
        6 => any::<usize>().prop_map(Step::Complete),
        2 => (0usize..3).prop_map(Step::CompleteAlternately),
        2 => (1usize..50).prop_map(Step::CompleteOldest),
        1 => (0i64..3000).prop_map(Step::CompleteAny),
        1 => any::<usize>().prop_map(Step::Redeliver),
        1 => prop::collection::vec(any::<usize>(), 1..9).prop_map(Step::Compact),
        1 => (0i64..4).prop_map(Step::EndOfLog),
        2 => Just(Step::Restart),
    ]
}

/// Offsets of a log: mostly dense, with small holes, and large ones that make varints longer.
fn log(most: usize) -> impl Strategy<Value = BTreeSet<i64>> {
    let distance = prop_oneof![12 => Just(1i64), 3 => 2i64..6, 1 => 100i64..400, 1 => 16_000i64..70_000];
    (0i64..1000, prop::collection::vec(distance, 1..most)).prop_map(|(start, distances)| {
        let mut offset = start;
        distances.into_iter().map(|distance| (offset, offset += distance).0).collect()
    })
}

fn budget() -> impl Strategy<Value = Budget> {
    prop_oneof![Just(Budget::default()), (Budget::SMALLEST..150).prop_map(|chars| Budget::new(chars, false))]
}

/// The partition as sets of offsets.
#[derive(Clone, Debug)]
struct Model {
    log: BTreeSet<i64>,
    position: i64,
    /// Polled in this epoch.
    polled: BTreeSet<i64>,
    unfinished: BTreeSet<i64>,
    /// Completed, in whatever epoch.
    done: BTreeSet<i64>,
}

impl Model {
    fn new(log: BTreeSet<i64>) -> Self {
        Self { log, position: 0, polled: BTreeSet::new(), unfinished: BTreeSet::new(), done: BTreeSet::new() }
    }

    fn next(&self) -> Option<i64> {
        self.log.range(self.position..).next().copied()
    }

    fn admit(&mut self, offset: i64) -> Admission {
        if offset < self.position {
            return Admission::Stale;
        }
        self.position = offset + 1;
        self.polled.insert(offset);
        if self.done.contains(&offset) {
            return Admission::AlreadyDone;
        }
        self.unfinished.insert(offset);
        Admission::Run
    }

    fn complete(&mut self, offset: i64) -> bool {
        let was = self.unfinished.remove(&offset);
        if was {
            self.done.insert(offset);
        }
        was
    }

    fn safe(&self) -> i64 {
        self.unfinished.first().copied().unwrap_or(self.position)
    }

    fn gaps(&self) -> usize {
        let Some(&highest) = self.polled.intersection(&self.done).last() else { return 0 };
        let unfinished: Vec<bool> =
            self.polled.range(..=highest).map(|o| self.unfinished.contains(o)).collect();
        unfinished.chunk_by(|a, b| a == b).filter(|run| run[0]).count()
    }

    fn restart(&mut self) {
        self.position = self.safe();
        self.polled.clear();
        self.unfinished.clear();
    }
}

/// Reads what was committed, and checks that it tells exactly which records are done.
fn check_snapshot(snapshot: &Snapshot, budget: &Budget, model: &Model) -> Result<Restored, TestCaseError> {
    prop_assert_eq!(snapshot.offset.0, model.safe());
    prop_assert!(snapshot.metadata.len() <= budget.max_chars(), "{} characters", snapshot.metadata.len());
    prop_assert_eq!(snapshot.truncated, 0);
    let restored = decode(snapshot.metadata.as_bytes(), snapshot.offset, TAG);
    let restored = restored.map_err(|reject| TestCaseError::fail(reject.to_string()))?;
    for &offset in model.log.range(snapshot.offset.0..) {
        prop_assert_eq!(
            restored.is_completed(Offset(offset)),
            model.done.contains(&offset),
            "record {}",
            offset
        );
    }
    Ok(restored)
}

fn check(progress: &Progress, budget: &Budget, model: &Model) -> Result<Restored, TestCaseError> {
    prop_assert!(model.unfinished.iter().all(|&unfinished| progress.safe().0 <= unfinished));
    prop_assert_eq!(progress.safe().0, model.safe());
    prop_assert_eq!(progress.position().0, model.position);
    prop_assert_eq!(progress.unfinished(), model.unfinished.len());
    prop_assert_eq!(progress.is_idle(), model.unfinished.is_empty());
    prop_assert_eq!(progress.oldest_unfinished().map(|offset| offset.0), model.unfinished.first().copied());
    prop_assert_eq!(progress.gap_count(), model.gaps());
    check_snapshot(&progress.snapshot(budget), budget, model)
}

proptest! {
    /// The main one: any schedule of polls, completions, holes, log ends and restarts, within any budget.
    #[test]
    fn progress_through_any_schedule_and_any_restarts_equals_the_naive_model(
        log in log(300),
        steps in prop::collection::vec(step(), 1..60),
        budget in budget(),
    ) {
        let mut model = Model::new(log);
        let mut progress = Progress::new(Offset(0), None, TAG);
        for step in steps {
            match step {
                Step::Poll(records) => {
                    for _ in 0..records {
                        let Some(offset) = model.next() else { break };
                        if !progress.may_admit(Offset(offset), &budget) {
                            prop_assert!(!model.done.contains(&offset) && !model.unfinished.is_empty());
                            break;
                        }
                        prop_assert_eq!(progress.admit(Offset(offset)), model.admit(offset));
                    }
                }
                Step::Complete(rank) if !model.unfinished.is_empty() => {
                    let rank = rank % model.unfinished.len();
                    let offset = *model.unfinished.iter().nth(rank).expect("the rank is below their number");
                    prop_assert!(progress.complete(Offset(offset)) && model.complete(offset));
                }
                Step::Complete(_) => {}
                Step::CompleteAlternately(rank) => {
                    let chosen: Vec<i64> = model.unfinished.iter().copied().skip(rank).step_by(2).collect();
                    for offset in chosen {
                        prop_assert!(progress.complete(Offset(offset)) && model.complete(offset));
                    }
                }
                Step::CompleteOldest(records) => {
                    let chosen: Vec<i64> = model.unfinished.iter().copied().take(records).collect();
                    for offset in chosen {
                        prop_assert!(progress.complete(Offset(offset)) && model.complete(offset));
                    }
                }
                Step::CompleteAny(offset) => {
                    prop_assert_eq!(progress.complete(Offset(offset)), model.complete(offset));
                }
                Step::Redeliver(rank) if !model.polled.is_empty() => {
                    let offset = *model.polled.iter().nth(rank % model.polled.len()).expect("as above");
                    prop_assert!(progress.may_admit(Offset(offset), &budget));
                    prop_assert_eq!(progress.admit(Offset(offset)), Admission::Stale);
                }
                Step::Redeliver(_) => {}
                Step::Compact(ranks) => {
                    let ahead: Vec<i64> = model.log.range(model.position..).copied().collect();
                    for rank in ranks.into_iter().filter(|_| !ahead.is_empty()) {
                        model.log.remove(&ahead[rank % ahead.len()]);
                    }
                }
                Step::EndOfLog(beyond) if model.next().is_none() => {
                    let end = model.log.last().map_or(0, |last| last + 1) + beyond;
                    progress.eof(Offset(end));
                    model.position = model.position.max(end);
                }
                Step::EndOfLog(_) => {}
                Step::Restart => {
                    let snapshot = progress.snapshot(&budget);
                    let restored = check_snapshot(&snapshot, &budget, &model)?;
                    progress = Progress::new(snapshot.offset, Some(restored), TAG);
                    model.restart();
                }
            }
            check(&progress, &budget, &model)?;
        }

        // Liveness: whatever happened, completing what is unfinished lets the rest be polled, and at the end
        // all is done and nothing is left to tell.
        while let Some(offset) = model.next() {
            if !progress.may_admit(Offset(offset), &budget) {
                let oldest = *model.unfinished.first().expect("an idle partition admits");
                prop_assert!(progress.complete(Offset(oldest)) && model.complete(oldest));
                continue;
            }
            prop_assert_eq!(progress.admit(Offset(offset)), model.admit(offset));
        }
        for offset in model.unfinished.clone() {
            prop_assert!(progress.complete(Offset(offset)) && model.complete(offset));
        }
        if let Some(&last) = model.polled.last() {
            prop_assert!(progress.safe().0 > last);
        }
        prop_assert_eq!(progress.safe(), progress.position());
        prop_assert_eq!(progress.safe().0, model.position);
        // Behind every record there ever was, compacted ones that metadata still names included.
        let end = model.position + (1 << 40);
        progress.eof(Offset(end));
        prop_assert_eq!(progress.safe().0, end);
        prop_assert_eq!(progress.snapshot(&budget), Progress::new(Offset(end), None, TAG).snapshot(&budget));
    }

    /// Admission stops exactly where some outcome could overflow, so every outcome of what was admitted fits.
    #[test]
    fn whatever_subset_of_the_admitted_records_completes_the_commit_is_exact(
        log in log(1500),
        chars in Budget::SMALLEST..400,
        outcomes in prop::collection::vec(any::<u64>(), 1..6),
        stride in 1usize..5,
    ) {
        let budget = Budget::new(chars, false);
        let mut model = Model::new(log);
        let mut progress = Progress::new(Offset(0), None, TAG);
        while let Some(offset) = model.next().filter(|&offset| progress.may_admit(Offset(offset), &budget)) {
            prop_assert_eq!(progress.admit(Offset(offset)), model.admit(offset));
        }
        // First as scattered as can be, then at random, so that each commit sees another subset.
        let scattered: Vec<i64> = model.unfinished.iter().copied().skip(1).step_by(stride).collect();
        for offset in scattered {
            prop_assert!(progress.complete(Offset(offset)) && model.complete(offset));
        }
        check_snapshot(&progress.snapshot(&budget), &budget, &model)?;
        for outcome in outcomes {
            for (rank, offset) in model.unfinished.clone().into_iter().enumerate() {
                if outcome.rotate_left(rank as u32 * 7) & 3 == 0 {
                    prop_assert!(progress.complete(Offset(offset)) && model.complete(offset));
                }
            }
            check_snapshot(&progress.snapshot(&budget), &budget, &model)?;
        }
    }

    /// A restart within the same budget never meets a record that it may not admit before it knows more than
    /// the one before.
    #[test]
    fn what_was_admitted_before_a_restart_may_be_admitted_after_it(
        log in log(800),
        chars in Budget::SMALLEST..300,
        outcome in any::<u64>(),
    ) {
        let budget = Budget::new(chars, false);
        let mut model = Model::new(log);
        let mut progress = Progress::new(Offset(0), None, TAG);
        while let Some(offset) = model.next().filter(|&offset| progress.may_admit(Offset(offset), &budget)) {
            prop_assert_eq!(progress.admit(Offset(offset)), model.admit(offset));
        }
        for (rank, offset) in model.unfinished.clone().into_iter().enumerate() {
            if outcome.rotate_left(rank as u32) & 1 == 0 {
                prop_assert!(progress.complete(Offset(offset)) && model.complete(offset));
            }
        }
        let before = progress.position().0;
        let snapshot = progress.snapshot(&budget);
        let restored = check_snapshot(&snapshot, &budget, &model)?;
        progress = Progress::new(snapshot.offset, Some(restored), TAG);
        model.restart();
        while let Some(offset) = model.next().filter(|&offset| offset < before) {
            prop_assert!(progress.may_admit(Offset(offset), &budget), "record {}", offset);
            prop_assert_eq!(progress.admit(Offset(offset)), model.admit(offset));
            if offset % 16 == 0 {
                check_snapshot(&progress.snapshot(&budget), &budget, &model)?;
            }
        }
    }

    #[test]
    fn a_truncated_commit_claims_nothing_false_and_counts_what_it_leaves_out(
        log in log(600),
        chars in 0usize..120,
        outcome in any::<u64>(),
    ) {
        let budget = Budget::new(chars, true);
        let mut model = Model::new(log);
        let mut progress = Progress::new(Offset(0), None, TAG);
        while let Some(offset) = model.next().filter(|&offset| progress.may_admit(Offset(offset), &budget)) {
            prop_assert_eq!(progress.admit(Offset(offset)), model.admit(offset));
        }
        for (rank, offset) in model.unfinished.clone().into_iter().enumerate() {
            if outcome.rotate_left(rank as u32 * 5) & 3 != 0 {
                prop_assert!(progress.complete(Offset(offset)) && model.complete(offset));
            }
        }
        let snapshot = progress.snapshot(&budget);
        prop_assert!(snapshot.metadata.len() <= chars);
        prop_assert_eq!(snapshot.offset.0, model.safe());
        let restored = decode(snapshot.metadata.as_bytes(), snapshot.offset, TAG);
        let restored = restored.map_err(|reject| TestCaseError::fail(reject.to_string()))?;
        let above: Vec<i64> = model.log.range(snapshot.offset.0..).copied().collect();
        prop_assert!(above.iter().all(|o| !restored.is_completed(Offset(*o)) || model.done.contains(o)));
        let left_out = above.iter().filter(|o| model.done.contains(o) && !restored.is_completed(Offset(**o)));
        prop_assert_eq!(snapshot.truncated, left_out.count() as u64);
    }
}
