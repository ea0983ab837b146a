//! What a standstill does to commits and calls.

use super::promises::{admit, assign, at, commits, finish, name, options, turn};
use crate::machine::{Machine, commit};
use crate::work::Report;

#[test]
fn after_a_standstill_nothing_is_dispatched_until_the_group_has_confirmed_the_assignment() {
    let mut machine = Machine::new(options());
    let slot = assign(&mut machine, 0);
    admit(&mut machine, slot, 0, "a");
    let work = turn(&mut machine, at(1)).0.pop().expect("one call");
    finish(&mut machine, work, Report::default(), at(2));
    assert_eq!(commits(&turn(&mut machine, at(2)).1), [1]);

    // The host stands still while this commit is out.
    machine.doubt(at(60_000));
    admit(&mut machine, slot, 1, "a");
    let (work, effects) = turn(&mut machine, at(60_000));
    assert!(work.is_empty() && commits(&effects).is_empty(), "one commit at a time");
    assert!(!machine.is_sure());
    machine.commit_replied(&[(name(), Ok(()))], at(60_001));
    assert!(!machine.is_sure(), "that commit was made before");

    let (work, effects) = turn(&mut machine, at(60_001));
    assert_eq!(
        (work.len(), commits(&effects)),
        (0, vec![1]),
        "the same offset again: the answer is what counts"
    );
    machine.commit_replied(&[(name(), Err(commit::Reason::Coordinator))], at(60_002));
    assert!(!machine.is_sure());
    let (work, effects) = turn(&mut machine, at(60_200));
    assert_eq!((work.len(), commits(&effects)), (0, vec![1]));
    machine.commit_replied(&[(name(), Ok(()))], at(60_201));
    assert!(machine.is_sure());
    assert_eq!(turn(&mut machine, at(60_201)).0.len(), 1);
}

#[test]
fn an_assignment_that_was_lost_meanwhile_is_no_longer_in_doubt() {
    let mut machine = Machine::new(options());
    assign(&mut machine, 0);
    machine.doubt(at(60_000));
    assert!(!machine.is_sure());
    machine.lost(&[name()]);
    assert!(machine.is_sure());
}
