//! A pipeline that pauses itself.

use std::time::Duration;

use super::promises::{admit, assign, at, commits, finish, name, options, turn};
use crate::dispatch::circuit;
use crate::machine::{BlockedBy, Machine, Options, Slot};
use crate::outcome::Outcome;
use crate::work::Report;

fn with_circuit() -> Machine {
    let circuit = Some(circuit::Settings { percent: 50, of: 4, pause: Duration::from_secs(10) });
    Machine::new(Options { circuit, ..options() })
}

fn rejected() -> Report {
    Report { given_up: vec![(0, Outcome::Rejected)], ..Report::default() }
}

/// Lets single records fail until the circuit opens, and leaves `left` more records waiting.
fn open_circuit(machine: &mut Machine, slot: Slot, left: i64) {
    for offset in 0..4 {
        admit(machine, slot, offset, &format!("key-{offset}"));
        let (mut work, _) = turn(machine, at(1));
        finish(machine, work.pop().expect("one call"), rejected(), at(1));
    }
    assert!(machine.circuit().is_some());
    for offset in 4..4 + left {
        admit(machine, slot, offset, &format!("key-{offset}"));
    }
}

#[test]
fn a_pipeline_whose_failures_explode_calls_one_record_at_a_time_until_one_succeeds() {
    let mut machine = with_circuit();
    let slot = assign(&mut machine, 0);
    open_circuit(&mut machine, slot, 50);
    assert_eq!(turn(&mut machine, at(2)).0.len(), 0, "nothing is called");
    let blocked = machine.partitions(at(2)).next().and_then(|view| view.blocked).expect("a record waits");
    assert_eq!(blocked.by, BlockedBy::Circuit);
    assert_eq!(machine.next_due(), Some(at(10_001)), "it wakes for the probe");

    let mut probe = turn(&mut machine, at(10_001)).0;
    assert_eq!(probe.iter().map(|work| work.batch.len()).collect::<Vec<_>>(), [1]);
    assert_eq!(turn(&mut machine, at(10_002)).0.len(), 0, "one probe at a time");
    finish(&mut machine, probe.pop().expect("it"), rejected(), at(10_003));
    assert_eq!(turn(&mut machine, at(20_002)).0.len(), 0, "it waits again");

    let mut probe = turn(&mut machine, at(20_003)).0;
    finish(&mut machine, probe.pop().expect("a probe"), Report::default(), at(20_004));
    assert!(machine.circuit().is_none());
    assert!(!turn(&mut machine, at(20_004)).0.is_empty(), "it goes on");
    assert_eq!(machine.circuit_openings(), 1);
}

#[test]
fn a_probe_whose_partition_was_lost_is_followed_by_another() {
    let mut machine = with_circuit();
    let slot = assign(&mut machine, 0);
    open_circuit(&mut machine, slot, 1);
    let probe = turn(&mut machine, at(10_001)).0.pop().expect("a probe");
    machine.lost(&[name()]);
    let slot = assign(&mut machine, 0);
    admit(&mut machine, slot, 0, "a");
    assert_eq!(turn(&mut machine, at(10_002)).0.len(), 0);
    finish(&mut machine, probe, Report { revoked: true, ..Report::default() }, at(10_003));
    assert_eq!(turn(&mut machine, at(10_003)).0.len(), 1);
}

#[test]
fn a_probe_that_is_interrupted_while_its_partition_is_given_back_says_nothing() {
    let mut machine = with_circuit();
    let slot = assign(&mut machine, 0);
    open_circuit(&mut machine, slot, 1);
    let probe = turn(&mut machine, at(10_001)).0.pop().expect("a probe");
    machine.revoke(&[name()], at(10_002));
    turn(&mut machine, at(12_000));
    finish(&mut machine, probe, Report { revoked: true, ..Report::default() }, at(12_001));
    assert!(machine.circuit().is_some(), "still open");
}

#[test]
fn an_open_circuit_without_anything_to_probe_with_asks_for_no_turn() {
    let mut machine = with_circuit();
    let slot = assign(&mut machine, 0);
    open_circuit(&mut machine, slot, 0);
    machine.commit_replied(&[(name(), Ok(()))], at(2));
    let (_, effects) = turn(&mut machine, at(200));
    assert_eq!(commits(&effects), [4]);
    machine.commit_replied(&[(name(), Ok(()))], at(201));
    turn(&mut machine, at(30_000));
    assert_eq!(machine.next_due(), None);
}
