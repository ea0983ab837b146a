//! Rounds of commits, and what a standstill does to them.

use super::promises::{admit, assign, at, commits, finish, name, options, turn};
use crate::batch::TopicPartition;
use crate::ids::Offset;
use crate::machine::{Assigned, Effect, Machine, Options, commit};
use crate::work::Report;

#[test]
fn partitions_that_find_no_room_in_a_request_are_not_starved_by_those_that_do() {
    // One partition's metadata may be as large as a request, so each request takes one.
    let mut machine = Machine::new(Options { metadata_limit: 512 << 10, ..options() });
    let parts: Vec<_> = (0..3)
        .map(|partition| Assigned {
            partition: TopicPartition { topic: "in".into(), partition },
            start: Offset(0),
            metadata: None,
            commit_start: false,
            topic_tag: 0,
            log_end: None,
        })
        .collect();
    let slots = machine.assigned(&parts, at(0));
    let mut seen = Vec::new();
    for (offset, round) in (0..).zip(1..=6) {
        // Every partition changes before every request.
        for slot in &slots {
            admit(&mut machine, *slot, offset, "a");
        }
        let now = at(1_000 + round);
        let (work, mut effects) = turn(&mut machine, now);
        for work in work {
            finish(&mut machine, work, Report::default(), now);
        }
        effects.extend(turn(&mut machine, now).1);
        let names = requested(&effects);
        assert!(names.len() <= 1, "a request takes one partition");
        let replies: Vec<_> = names.iter().map(|name| (name.clone(), Ok(()))).collect();
        seen.extend(names.iter().map(|name| name.partition));
        machine.commit_replied(&replies, now);
    }
    // Then the round is over, and the next comes after the interval.
    assert_eq!(seen, [0, 1, 2]);
    let again = requested(&turn(&mut machine, at(1_200)).1);
    assert_eq!(again.iter().map(|name| name.partition).collect::<Vec<_>>(), [0]);
}

fn requested(effects: &[Effect]) -> Vec<TopicPartition> {
    let entries = effects.iter().filter_map(|effect| match effect {
        Effect::Commit(entries) => Some(entries),
        _ => None,
    });
    entries.flatten().map(|entry| entry.partition.clone()).collect()
}

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
