//! Single promises, each by a schedule written out.

use std::time::Duration;

use crate::batch::{Headers, Record, TopicPartition};
use crate::dispatch::Ordering;
use crate::dispatch::pacing::{self, Allowance};
use crate::ids::{Fuel, Offset};
use crate::machine::{Assigned, BlockedBy, Bounds, Effect, InFlight, Machine, Options, Slot, commit};
use crate::outcome::{Failure, Outcome};
use crate::progress::Budget;
use crate::time::Time;
use crate::work::{CallRecord, Calls, Ended, Finished, Halt, Report, Retry, Work};

pub(crate) fn options() -> Options {
    Options {
        ordering: Ordering::Key,
        shards: 4,
        lanes: 8,
        calls: 8,
        pacing: pacing::Bounds {
            records: 100,
            bytes: 1 << 20,
            time: Duration::from_millis(2),
            single: Allowance { fuel: Fuel(1_000), deadline: Duration::from_secs(5) },
            waits: false,
        },
        in_flight: InFlight { records: 1_000, bytes: 64 << 20 },
        commit_interval: Duration::from_millis(100),
        budget: Budget::new(4096, false),
        metadata_limit: 4096,
        give_back: Bounds {
            drain: Duration::from_secs(1),
            interrupt: Duration::from_millis(500),
            commit: Duration::from_secs(5),
        },
        circuit: None,
        dead_letters: true,
        seed: 1,
    }
}

pub(super) fn name() -> TopicPartition {
    TopicPartition { topic: "in".into(), partition: 0 }
}

pub(super) fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

pub(super) fn assign(machine: &mut Machine, start: i64) -> Slot {
    let assigned = Assigned {
        partition: name(),
        start: Offset(start),
        metadata: None,
        commit_start: false,
        topic_tag: 0,
        log_end: None,
    };
    machine.assigned(&[assigned], at(0))[0]
}

pub(super) fn admit(machine: &mut Machine, slot: Slot, offset: i64, key: &str) {
    let record = Record {
        offset: Offset(offset),
        timestamp: 0,
        key: Some(key.as_bytes()),
        value: Some(b"value"),
        headers: Headers::None,
    };
    machine.admit(slot, &record);
}

/// Advances and returns the work that comes out, and everything else.
pub(super) fn turn(machine: &mut Machine, now: Time) -> (Vec<Work>, Vec<Effect>) {
    machine.advance(now);
    let (mut work, mut rest) = (Vec::new(), Vec::new());
    while let Some(effect) = machine.effect() {
        match effect {
            Effect::Dispatch(one) => work.push(one),
            other => rest.push(other),
        }
    }
    (work, rest)
}

pub(super) fn finish(machine: &mut Machine, work: Work, report: Report, now: Time) {
    let Work { ticket, epoch, batch, .. } = work;
    machine.finished(Finished { ticket, epoch, batch, report }, now);
}

pub(super) fn commits(effects: &[Effect]) -> Vec<i64> {
    let entries = effects.iter().filter_map(|effect| match effect {
        Effect::Commit(entries) => Some(entries),
        _ => None,
    });
    entries.flatten().map(|entry| entry.offset.0).collect()
}

fn retry() -> Retry {
    Retry { index: 0, delay: Duration::from_millis(50), failure: Failure::of(Outcome::Trap, "boom") }
}

#[test]
fn a_record_is_complete_only_when_its_outputs_are_acknowledged() {
    let mut machine = Machine::new(options());
    let slot = assign(&mut machine, 5);
    admit(&mut machine, slot, 5, "a");
    let (mut work, _) = turn(&mut machine, at(1));
    let work = work.pop().expect("one call");
    let ticket = work.ticket;
    finish(&mut machine, work, Report { published: 2, ..Report::default() }, at(2));
    machine.acknowledged(ticket, 1, at(3));
    assert_eq!(commits(&turn(&mut machine, at(500)).1), [] as [i64; 0], "one acknowledgement is missing");
    machine.acknowledged(ticket, 1, at(501));
    assert_eq!(commits(&turn(&mut machine, at(502)).1), [6]);
}

#[test]
fn how_long_outputs_are_not_acknowledged_counts_from_the_answer_whatever_came_before() {
    let mut machine = Machine::new(options());
    let slot = assign(&mut machine, 5);
    admit(&mut machine, slot, 5, "a");
    let work = turn(&mut machine, at(1)).0.pop().expect("one call");
    finish(&mut machine, work, Report { retries: vec![retry()], ..Report::default() }, at(2));
    let again = turn(&mut machine, at(60)).0.pop().expect("the retry");
    finish(&mut machine, again, Report { published: 1, ..Report::default() }, at(70));
    let blocked = machine.partitions(at(75)).next().and_then(|view| view.blocked).expect("it blocks");
    assert_eq!(blocked.by, BlockedBy::Publish(Duration::from_millis(5)));
    assert_eq!(blocked.age, Some(Duration::from_millis(74)));
}

#[test]
fn outputs_need_not_linger_once_nothing_waits_for_a_worker() {
    let mut machine = Machine::new(Options { lanes: 1, shards: 64, ..options() });
    let slot = assign(&mut machine, 0);
    for offset in 0..20 {
        admit(&mut machine, slot, offset, &format!("key-{offset}"));
    }
    assert!(!machine.waits_for_acknowledgements_only(), "there are no outputs");
    let mut tickets = Vec::new();
    while let Some(work) = turn(&mut machine, at(1)).0.pop() {
        tickets.push(work.ticket);
        finish(&mut machine, work, Report { published: 1, ..Report::default() }, at(1));
        let more =
            machine.partitions(at(1)).next().is_some() && machine.queue_depths().any(|(_, _, n)| n > 0);
        assert_eq!(machine.waits_for_acknowledgements_only(), !more);
    }
    assert!(tickets.len() > 1, "the keys lie in several shards");
    for ticket in tickets {
        assert!(machine.waits_for_acknowledgements_only());
        machine.acknowledged(ticket, 1, at(2));
    }
    assert!(!machine.waits_for_acknowledgements_only(), "all is acknowledged");
}

#[test]
fn an_acknowledgement_may_come_before_the_report() {
    let mut machine = Machine::new(options());
    let slot = assign(&mut machine, 0);
    admit(&mut machine, slot, 0, "a");
    let work = turn(&mut machine, at(1)).0.pop().expect("one call");
    machine.acknowledged(work.ticket, 1, at(2));
    finish(&mut machine, work, Report { published: 1, ..Report::default() }, at(3));
    assert_eq!(commits(&turn(&mut machine, at(200)).1), [1]);
}

#[test]
fn a_retried_key_delays_no_other_and_is_not_overtaken_by_itself() {
    let mut machine = Machine::new(options());
    let slot = assign(&mut machine, 0);
    admit(&mut machine, slot, 0, "slow");
    let work = turn(&mut machine, at(1)).0.pop().expect("one call");
    admit(&mut machine, slot, 1, "slow");
    for offset in 2..30 {
        admit(&mut machine, slot, offset, &format!("other-{offset}"));
    }
    finish(&mut machine, work, Report { retries: vec![retry()], ..Report::default() }, at(2));
    let mut others = Vec::new();
    for now in 3..40 {
        for work in turn(&mut machine, at(now)).0 {
            others.extend_from_slice(work.batch.offsets());
            finish(&mut machine, work, Report::default(), at(now));
        }
    }
    others.sort_unstable();
    assert_eq!(others, (2..30).collect::<Vec<_>>(), "all others ran, and neither record of the waiting key");
    let view = machine.partitions(at(40)).next().expect("assigned");
    let blocked = view.blocked.expect("the retried record blocks");
    assert_eq!((blocked.offset, blocked.attempts), (Offset(0), 1));
    assert_eq!(blocked.by, BlockedBy::Backoff(Duration::from_millis(12)));
    assert_eq!(blocked.age, Some(Duration::from_millis(39)));
    assert_eq!(blocked.last_failure.as_deref(), Some("trap: boom"));
    assert_eq!(view.gaps, 1);
    // The wait is over: the record runs alone, as a second attempt, and its successor after it.
    let again = turn(&mut machine, at(60)).0.pop().expect("the retry");
    assert_eq!((again.batch.offsets(), again.attempts), (&[0][..], 1));
    assert_eq!(again.batch.attempts(), [1]);
    finish(&mut machine, again, Report::default(), at(61));
    let after = turn(&mut machine, at(62)).0.pop().expect("its successor");
    assert_eq!((after.batch.offsets(), after.attempts), (&[1][..], 0));
}

#[test]
fn keys_of_a_slow_handler_run_side_by_side_up_to_the_bound() {
    let mut machine = Machine::new(Options { calls: 50, ..options() });
    let slot = assign(&mut machine, 0);
    admit(&mut machine, slot, 0, "first");
    let work = turn(&mut machine, at(1)).0.pop().expect("one call");
    let call = CallRecord {
        records: 1,
        spent: Duration::from_millis(10),
        waited: Duration::ZERO,
        fuel: Fuel(1),
        ended: Ended::Complete,
    };
    let report = Report { calls: Calls { each: vec![call] }, ..Report::default() };
    finish(&mut machine, work, report, at(11));
    for offset in 1..200 {
        admit(&mut machine, slot, offset, &format!("key-{}", offset % 100));
    }
    let (out, _) = turn(&mut machine, at(12));
    assert_eq!(out.len(), 50, "each of them a key of its own");
    assert!(out.iter().all(|work| work.batch.len() == 1));
}

#[test]
fn a_completion_of_an_old_epoch_touches_nothing() {
    let mut machine = Machine::new(options());
    let slot = assign(&mut machine, 0);
    admit(&mut machine, slot, 0, "a");
    let old = turn(&mut machine, at(1)).0.pop().expect("one call");
    machine.lost(&[name()]);
    assert!(old.cancel.is_cancelled(), "the call of a lost partition is told to end");
    let slot = assign(&mut machine, 0);
    admit(&mut machine, slot, 0, "a");
    let new = turn(&mut machine, at(2)).0.pop().expect("it runs again");
    assert_ne!(old.epoch, new.epoch);
    finish(&mut machine, old, Report::default(), at(3));
    assert_eq!(commits(&turn(&mut machine, at(500)).1), [] as [i64; 0]);
    finish(&mut machine, new, Report::default(), at(501));
    assert_eq!(commits(&turn(&mut machine, at(700)).1), [1]);
}

#[test]
fn revoking_drains_then_interrupts_then_commits_then_gives_back() {
    let mut machine = Machine::new(options());
    let slot = assign(&mut machine, 0);
    admit(&mut machine, slot, 0, "a");
    let (fast, _) = turn(&mut machine, at(1));
    admit(&mut machine, slot, 1, "b");
    let (hangs, _) = turn(&mut machine, at(2));
    let hangs = hangs.into_iter().next().expect("a second call");
    machine.revoke(&[name()], at(10));
    admit(&mut machine, slot, 2, "c");
    for work in fast {
        finish(&mut machine, work, Report::default(), at(11));
    }
    let (none, effects) = turn(&mut machine, at(12));
    assert!(none.is_empty(), "nothing new is admitted or dispatched");
    assert_eq!(commits(&effects), [1], "what finished is committed, what did not is not");
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Unassign(_))), "a call is still out");
    assert!(!hangs.cancel.is_cancelled());
    turn(&mut machine, at(1_011));
    assert!(hangs.cancel.is_cancelled(), "the drain's time is over");
    finish(&mut machine, hangs, Report { revoked: true, ..Report::default() }, at(1_020));
    let mut effects = turn(&mut machine, at(1_021)).1;
    effects.extend(turn(&mut machine, at(1_022)).1);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Unassign(_))), "not before the reply");
    machine.commit_replied(&[(name(), Ok(()))], at(1_030));
    let (_, effects) = turn(&mut machine, at(1_031));
    assert!(matches!(&effects[..], [Effect::Unassign(parts)] if *parts == [name()]));
    assert_eq!(machine.partitions(at(1_032)).count(), 0);
}

#[test]
fn a_stop_while_a_revoke_drains_does_not_answer_it() {
    let mut machine = Machine::new(options());
    let slot = assign(&mut machine, 0);
    admit(&mut machine, slot, 0, "a");
    let work = turn(&mut machine, at(1)).0.pop().expect("one call");
    machine.revoke(&[name()], at(2));
    machine.stop(at(3));
    let (_, effects) = turn(&mut machine, at(4));
    assert!(effects.is_empty(), "a call is still out: {effects:?}");
    finish(&mut machine, work, Report::default(), at(5));
    assert_eq!(commits(&turn(&mut machine, at(6)).1), [1]);
    machine.commit_replied(&[(name(), Ok(()))], at(7));
    let (_, effects) = turn(&mut machine, at(8));
    let told: Vec<_> = effects.iter().filter(|effect| !matches!(effect, Effect::Commit(_))).collect();
    assert!(
        matches!(&told[..], [Effect::Unassign(first), Effect::Unassign(rest), Effect::Stopped(_)]
            if *first == [name()] && rest.is_empty()),
        "{told:?}"
    );
}

#[test]
fn metadata_that_is_ignored_is_overwritten_by_the_next_commit() {
    let mut machine = Machine::new(options());
    let assigned = Assigned {
        partition: name(),
        start: Offset(5),
        metadata: Some(b"somebody else's".to_vec()),
        commit_start: false,
        topic_tag: 0,
        log_end: None,
    };
    machine.assigned(&[assigned], at(0));
    let (_, effects) = turn(&mut machine, at(200));
    assert!(
        matches!(&effects[..], [Effect::Commit(entries)]
            if entries[0].offset == Offset(5) && entries[0].metadata.is_empty()),
        "{effects:?}"
    );
}

#[test]
fn partitions_take_turns_where_a_commit_has_no_room_for_all() {
    // So large a limit that the metadata of one partition may fill a request.
    let mut machine = Machine::new(Options { metadata_limit: 262_100, ..options() });
    let part = |partition| TopicPartition { topic: "in".into(), partition };
    let all: Vec<_> = (0..3).map(part).collect();
    let assigned = all.iter().map(|partition| Assigned {
        partition: partition.clone(),
        start: Offset(0),
        metadata: None,
        commit_start: true,
        topic_tag: 0,
        log_end: None,
    });
    let slots = machine.assigned(&assigned.collect::<Vec<_>>(), at(0));
    let mut named = Vec::new();
    for round in 0..6 {
        // Every partition changes all the time.
        for slot in &slots {
            machine.end_of_partition(*slot, Offset(round + 1));
        }
        let now = at(1_000 * (round as u64 + 1));
        for effect in turn(&mut machine, now).1 {
            if let Effect::Commit(entries) = effect {
                named.extend(entries.iter().map(|entry| entry.partition.partition));
                let replies: Vec<_> = entries.into_iter().map(|entry| (entry.partition, Ok(()))).collect();
                machine.commit_replied(&replies, now);
            }
        }
    }
    for partition in 0..3 {
        let times = named.iter().filter(|known| **known == partition).count();
        assert!(times >= 2, "partition {partition} was committed {times} times: {named:?}");
    }
}

#[test]
fn a_broker_that_answers_no_commit_does_not_hold_a_revoke_for_ever() {
    let mut machine = Machine::new(options());
    let slot = assign(&mut machine, 0);
    admit(&mut machine, slot, 0, "a");
    let work = turn(&mut machine, at(1)).0.pop().expect("one call");
    finish(&mut machine, work, Report::default(), at(2));
    machine.revoke(&[name()], at(3));
    turn(&mut machine, at(4));
    let given_back = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Unassign(_)));
    assert!(!given_back(&turn(&mut machine, at(4_000)).1));
    assert!(given_back(&turn(&mut machine, at(5_100)).1));
}

#[test]
fn a_failed_commit_is_counted_and_taken_again() {
    let mut machine = Machine::new(options());
    let slot = assign(&mut machine, 0);
    admit(&mut machine, slot, 0, "a");
    let work = turn(&mut machine, at(1)).0.pop().expect("one call");
    finish(&mut machine, work, Report::default(), at(2));
    assert_eq!(commits(&turn(&mut machine, at(200)).1), [1]);
    machine.commit_replied(&[(name(), Err(commit::Reason::Coordinator))], at(210));
    let view = machine.partitions(at(211)).next().expect("assigned");
    assert_eq!(view.committed, Some(Offset(0)));
    assert_eq!(view.counters.commit_failures.iter().sum::<u64>(), 1);
    assert_eq!(view.commits_refused, Some((Duration::from_millis(1), "coordinator")));
    assert_eq!(commits(&turn(&mut machine, at(400)).1), [1]);
    machine.commit_replied(&[(name(), Ok(()))], at(410));
    let view = machine.partitions(at(411)).next().expect("assigned");
    assert_eq!((view.committed, view.commits_refused), (Some(Offset(1)), None));
}

#[test]
fn halting_commits_everything_before_the_record_and_nothing_after() {
    let mut machine = Machine::new(options());
    let slot = assign(&mut machine, 0);
    admit(&mut machine, slot, 0, "a");
    let work = turn(&mut machine, at(1)).0.pop().expect("one call");
    finish(&mut machine, work, Report::default(), at(2));
    admit(&mut machine, slot, 1, "a");
    let (mut work, effects) = turn(&mut machine, at(3));
    assert_eq!(commits(&effects), [1]);
    let work = work.pop().expect("one call");
    let halt = Halt { index: 0, failure: Failure::of(Outcome::Rejected, "no") };
    finish(&mut machine, work, Report { halt: Some(halt), ..Report::default() }, at(4));
    assert_eq!(commits(&turn(&mut machine, at(6)).1), [] as [i64; 0]);
    machine.commit_replied(&[(name(), Ok(()))], at(7));
    let (_, effects) = turn(&mut machine, at(8));
    let reason = effects.iter().find_map(|effect| match effect {
        Effect::Stopped(stopped) => stopped.failure.clone(),
        _ => None,
    });
    assert_eq!(reason.as_deref(), Some("halted at in/0 offset 1: rejected: no"));
}

#[test]
fn a_refused_output_sends_its_record_to_the_dead_letters_once() {
    let mut machine = Machine::new(options());
    let slot = assign(&mut machine, 0);
    admit(&mut machine, slot, 0, "a");
    let work = turn(&mut machine, at(1)).0.pop().expect("one call");
    let ticket = work.ticket;
    let failure = || Failure::of(Outcome::HostError, "too large");
    // One refusal before the report, one after, of the same record.
    machine.output_refused(ticket, 0, failure(), at(2));
    finish(&mut machine, work, Report { published: 2, ..Report::default() }, at(3));
    machine.output_refused(ticket, 0, failure(), at(4));
    let (_, effects) = turn(&mut machine, at(5));
    assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::DeadLetter(_))).count(), 1);
    assert_eq!(
        commits(&turn(&mut machine, at(500)).1),
        [] as [i64; 0],
        "the dead letter is not acknowledged"
    );
    machine.acknowledged(ticket, 1, at(501));
    assert_eq!(commits(&turn(&mut machine, at(502)).1), [1]);
    let view = machine.partitions(at(503)).next().expect("assigned");
    assert_eq!((view.counters.succeeded, view.counters.failed), (0, 1));
}

#[test]
fn a_partition_that_stays_over_its_share_is_paused_and_resumed_at_half() {
    let mut machine =
        Machine::new(Options { in_flight: InFlight { records: 300, bytes: 1 << 30 }, ..options() });
    let slot = assign(&mut machine, 0);
    for offset in 0..301 {
        admit(&mut machine, slot, offset, "one key");
    }
    let (mut work, _) = turn(&mut machine, at(1));
    assert!(!machine.may_consume(), "taking records stops at once");
    assert!(machine.is_backpressured("in"));
    let (_, effects) = turn(&mut machine, at(102));
    assert!(matches!(&effects[..], [Effect::Pause(part)] if *part == name()));
    assert!(machine.may_consume(), "other partitions go on");
    let mut resumed = 0;
    let mut now = 103;
    while resumed == 0 {
        let one = work.pop().expect("there is work until it is resumed");
        finish(&mut machine, one, Report::default(), at(now));
        let (more, effects) = turn(&mut machine, at(now));
        resumed += effects.iter().filter(|effect| matches!(effect, Effect::Resume(_))).count();
        work.extend(more);
        now += 1;
    }
    let left = machine.partitions(at(now)).next().expect("assigned").in_flight;
    assert!(left <= 150, "resumed with {left} in flight");
    assert!(!machine.is_backpressured("in"));
}

#[test]
fn the_end_of_a_partition_moves_past_transaction_markers() {
    let mut machine = Machine::new(options());
    let slot = assign(&mut machine, 0);
    admit(&mut machine, slot, 0, "a");
    let work = turn(&mut machine, at(1)).0.pop().expect("one call");
    machine.end_of_partition(slot, Offset(3));
    finish(&mut machine, work, Report::default(), at(2));
    assert_eq!(commits(&turn(&mut machine, at(200)).1), [3]);
}
