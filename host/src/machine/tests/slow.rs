//! Slow keys and waiting lanes beside quick ones.

use std::time::Duration;

use super::promises::{admit, assign, at, finish, options, turn};
use crate::ids::Fuel;
use crate::machine::{Machine, Options, Slot};
use crate::work::{CallRecord, Calls, Ended, Report, Work};

/// A report of one call that waited on the host for so long.
fn waited(work: &Work, waited: Duration) -> Report {
    let records = work.batch.len() as u32;
    let spent = waited + Duration::from_micros(5) * records;
    let call = CallRecord { records, spent, waited, fuel: Fuel(10), ended: Ended::Complete };
    Report { calls: Calls { each: vec![call] }, ..Report::default() }
}

/// Runs calls until the machine knows that the handler is quick.
fn warm_up(machine: &mut Machine, slot: Slot, keys: &[&str]) -> i64 {
    let mut offset = 0;
    while machine.batch_bound() < 64 {
        for key in keys {
            admit(machine, slot, offset, key);
            offset += 1;
        }
        for work in turn(machine, at(1)).0 {
            let report = waited(&work, Duration::ZERO);
            finish(machine, work, report, at(1));
        }
    }
    offset
}

fn sizes(work: &[Work]) -> Vec<usize> {
    let mut sizes: Vec<_> = work.iter().map(|work| work.batch.len()).collect();
    sizes.sort_unstable();
    sizes
}

#[test]
fn a_slow_key_is_singled_out_and_no_longer_shares_calls() {
    let mut machine = Machine::new(Options { shards: 1, ..options() });
    let slot = assign(&mut machine, 0);
    let keys = ["slow", "a", "b", "c"];
    let mut offset = warm_up(&mut machine, slot, &keys);
    let mut round = |machine: &mut Machine| {
        for key in keys {
            admit(machine, slot, offset, key);
            offset += 1;
        }
        turn(machine, at(2)).0
    };
    // All share a call, and one of them waits.
    let mut work = round(&mut machine);
    assert_eq!(sizes(&work), [4]);
    let shared = work.pop().expect("it");
    let report = waited(&shared, Duration::from_millis(50));
    finish(&mut machine, shared, report, at(2));

    // Each is tried alone; one of them waits again.
    let work = round(&mut machine);
    assert_eq!(sizes(&work), [1, 1, 1, 1]);
    let slow = work.iter().find(|work| work.batch.record(0).key == Some(b"slow")).expect("it").ticket;
    let mut out = None;
    for work in work {
        if work.ticket == slow {
            out = Some(work);
        } else {
            let report = waited(&work, Duration::ZERO);
            finish(&mut machine, work, report, at(2));
        }
    }
    // While it is out the others share calls again, and it waits for itself.
    let work = round(&mut machine);
    assert_eq!(sizes(&work), [3]);
    for work in work {
        let report = waited(&work, Duration::ZERO);
        finish(&mut machine, work, report, at(3));
    }
    let out = out.expect("it was set aside");
    let report = waited(&out, Duration::from_millis(50));
    finish(&mut machine, out, report, at(52));
    let work = turn(&mut machine, at(52)).0;
    assert_eq!((sizes(&work), work[0].batch.record(0).key), (vec![1], Some(&b"slow"[..])));

    // Once it is quick, it shares calls again.
    for work in work {
        let report = waited(&work, Duration::ZERO);
        finish(&mut machine, work, report, at(53));
    }
    assert_eq!(sizes(&round(&mut machine)), [4]);
}

#[test]
fn lanes_that_wait_on_the_host_leave_their_places_to_others() {
    let mut machine = Machine::new(Options { lanes: 1, shards: 64, ..options() });
    let slot = assign(&mut machine, 0);
    for offset in 0..100 {
        admit(&mut machine, slot, offset, &format!("key-{offset}"));
    }
    let first = turn(&mut machine, at(1)).0;
    assert_eq!(first.len(), 1, "one lane keeps the worker busy");
    assert_eq!(turn(&mut machine, at(10)).0.len(), 0);
    assert_eq!(machine.next_due(), Some(at(11)));
    let mut waiting = first;
    // A second one after ten milliseconds, and so on, up to half of the instances.
    for millis in 1..20 {
        waiting.extend(turn(&mut machine, at(1 + 10 * millis)).0);
    }
    assert_eq!(waiting.len(), 1 + options().calls / 2);
    for work in waiting {
        finish(&mut machine, work, Report::default(), at(300));
    }
    assert_eq!(turn(&mut machine, at(300)).0.len(), 1, "all places are free again, and one is taken");
}

#[test]
fn a_slow_key_that_mostly_goes_alone_is_found_as_well() {
    let mut machine = Machine::new(Options { shards: 1, ..options() });
    let slot = assign(&mut machine, 0);
    let offset = warm_up(&mut machine, slot, &["slow", "a"]);
    admit(&mut machine, slot, offset, "slow");
    let work = turn(&mut machine, at(2)).0.pop().expect("a call of one record");
    let report = waited(&work, Duration::from_millis(50));
    finish(&mut machine, work, report, at(52));
    for (key, offset) in ["slow", "slow", "a"].into_iter().zip(offset + 1..) {
        admit(&mut machine, slot, offset, key);
    }
    assert_eq!(
        sizes(&turn(&mut machine, at(52)).0),
        [1, 1],
        "it has a queue of its own, and takes one record"
    );
}
