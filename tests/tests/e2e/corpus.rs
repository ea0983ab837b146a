//! Every handler that misbehaves on purpose, beside a well-behaved one: the host lives, holds no more memory than its
//! configuration says, records the right outcome, and serves the next record; the neighbour loses nothing. What no host
//! runs is refused with the reason.

use sandmill_tests::corpus::{Case, Fate, REFUSED, beside, group, refused};
use sandmill_tests::kafka::Kafka;

fn promises_are_kept_beside(name: &str) {
    let held = beside::run(Kafka::shared(), group(name));
    assert!(held.neighbour > 0);
}

#[test]
fn wrong_answers_cost_their_own_records_only() {
    promises_are_kept_beside("answers");
}

#[test]
fn words_without_measure_are_cut_and_cost_no_neighbour_anything() {
    promises_are_kept_beside("words");
}

#[test]
fn memory_without_measure_is_denied() {
    promises_are_kept_beside("memory");
}

#[test]
fn who_takes_all_memory_leaves_its_neighbours_their_part() {
    promises_are_kept_beside("hoard");
}

#[test]
fn a_crash_costs_its_own_record_only() {
    promises_are_kept_beside("stack");
}

#[test]
fn a_call_without_end_is_ended() {
    promises_are_kept_beside("time");
}

#[test]
fn host_calls_without_measure_are_refused() {
    promises_are_kept_beside("host calls");
}

#[test]
fn what_is_granted_harms_nobody() {
    promises_are_kept_beside("capabilities");
}

#[test]
fn a_handler_that_starts_no_more_fails_its_own_records_only() {
    promises_are_kept_beside("start");
}

fn refuse_all(which: impl Fn(&Case) -> bool) {
    let cases: Vec<_> = REFUSED.iter().filter(|case| which(case)).collect();
    assert!(!cases.is_empty());
    for case in cases {
        refused::refuse(Kafka::shared(), case);
    }
}

#[test]
fn what_is_no_handler_is_refused_by_run_check_and_inspect() {
    refuse_all(|case| matches!(case.fate, Fate::Refused(_)));
}

#[test]
fn what_takes_too_much_to_compile_is_refused_by_run_and_check() {
    refuse_all(|case| matches!(case.fate, Fate::TooDear(_)));
}

#[test]
fn what_does_not_start_is_refused_by_run_and_check_and_shown_by_inspect() {
    refuse_all(|case| matches!(case.fate, Fate::DoesNotStart(_)));
}
