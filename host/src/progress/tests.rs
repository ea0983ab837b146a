//! What the bookkeeping of a partition promises, one case each; `properties` has any case.

use super::*;

const TAG: u32 = 7;
const EXACT: Budget = Budget::new(Budget::BROKER_DEFAULT, false);

fn at(start: i64) -> Progress {
    Progress::new(Offset(start), None, TAG)
}

fn admit(progress: &mut Progress, offsets: impl IntoIterator<Item = i64>) {
    for offset in offsets {
        assert!(progress.may_admit(Offset(offset), &EXACT), "{offset}");
        assert_eq!(progress.admit(Offset(offset)), Admission::Run, "{offset}");
    }
}

fn complete(progress: &mut Progress, offsets: impl IntoIterator<Item = i64>) {
    for offset in offsets {
        assert!(progress.complete(Offset(offset)), "{offset}");
    }
}

/// What a host finds that starts where this one committed.
fn restart(snapshot: &Snapshot) -> Progress {
    let restored = decode(snapshot.metadata.as_bytes(), snapshot.offset, TAG).expect("it was just written");
    Progress::new(snapshot.offset, Some(restored), TAG)
}

#[test]
fn a_commit_never_passes_an_unfinished_record() {
    let mut progress = at(10);
    assert_eq!((progress.safe(), progress.position()), (Offset(10), Offset(10)));
    admit(&mut progress, 10..15);
    complete(&mut progress, [11, 12, 14]);
    assert_eq!((progress.safe(), progress.oldest_unfinished()), (Offset(10), Some(Offset(10))));
    complete(&mut progress, [10]);
    assert_eq!((progress.safe(), progress.unfinished()), (Offset(13), 1));
    complete(&mut progress, [13]);
    assert_eq!((progress.safe(), progress.oldest_unfinished()), (Offset(15), None));
    assert!(progress.is_idle());
}

#[test]
fn a_record_completes_once_and_only_after_its_admission() {
    let mut progress = at(0);
    assert!(!progress.complete(Offset(0)));
    admit(&mut progress, [0, 1]);
    complete(&mut progress, [1]);
    assert!(!progress.complete(Offset(1)));
    assert_eq!((progress.unfinished(), progress.safe()), (1, Offset(0)));
}

#[test]
fn the_first_record_after_a_restart_without_metadata_runs() {
    let mut progress = restart(&at(500).snapshot(&EXACT));
    admit(&mut progress, [500]);
    assert_eq!(progress.safe(), Offset(500));
}

#[test]
fn a_record_that_the_client_delivers_twice_is_dropped() {
    let mut progress = at(0);
    admit(&mut progress, 0..3);
    complete(&mut progress, [1]);
    for delivered_again in 0..3 {
        assert_eq!(progress.admit(Offset(delivered_again)), Admission::Stale);
    }
    assert_eq!((progress.unfinished(), progress.position()), (2, Offset(3)));
}

#[test]
fn holes_hold_up_nothing() {
    let mut progress = at(0);
    admit(&mut progress, [7, 8, 1000]);
    assert_eq!(progress.safe(), Offset(7), "nothing below the first record is unfinished");
    complete(&mut progress, [7, 8]);
    assert_eq!(progress.safe(), Offset(1000));
    complete(&mut progress, [1000]);
    assert_eq!(progress.safe(), Offset(1001));
}

#[test]
fn the_end_of_the_log_moves_the_position_past_transaction_markers_and_never_back() {
    let mut progress = at(0);
    admit(&mut progress, [0, 1]);
    assert!(!progress.eof(Offset(3)), "an unfinished record still holds up the commit");
    assert_eq!((progress.position(), progress.safe()), (Offset(3), Offset(0)));
    complete(&mut progress, [0, 1]);
    assert_eq!(progress.safe(), Offset(3));
    assert!(progress.eof(Offset(5)));
    assert!(!progress.eof(Offset(5)) && !progress.eof(Offset(4)));
    assert_eq!((progress.position(), progress.safe()), (Offset(5), Offset(5)));
    assert_eq!(progress.admit(Offset(4)), Admission::Stale);
}

#[test]
fn records_completed_before_a_restart_do_not_run_again() {
    let mut before = at(100);
    admit(&mut before, 100..110);
    complete(&mut before, [101, 102, 105]);
    let mut after = restart(&before.snapshot(&EXACT));
    let ran: Vec<i64> = (100..110).filter(|&o| after.admit(Offset(o)) == Admission::Run).collect();
    assert_eq!(ran, [100, 103, 104, 106, 107, 108, 109]);
    complete(&mut after, [100]);
    assert_eq!(after.safe(), Offset(103), "what was completed earlier does not hold up the commit");
}

#[test]
fn the_commit_moves_on_over_restored_records_as_soon_as_they_are_polled() {
    let mut before = at(0);
    admit(&mut before, 0..4);
    complete(&mut before, [1, 2, 3]);
    let mut after = restart(&before.snapshot(&EXACT));
    admit(&mut after, [0]);
    complete(&mut after, [0]);
    for offset in 1..4 {
        assert_eq!(after.safe(), Offset(offset));
        assert_eq!(after.admit(Offset(offset)), Admission::AlreadyDone);
    }
    assert_eq!(after.snapshot(&EXACT), at(4).snapshot(&EXACT));
    assert!(!after.eof(Offset(4)), "nothing is left that the log's end could change");
}

#[test]
fn a_second_restart_before_the_restored_records_are_reached_still_knows_them() {
    let mut first = at(0);
    admit(&mut first, 0..200);
    complete(&mut first, (1..200).filter(|offset| offset % 3 != 0));
    let mut second = restart(&first.snapshot(&EXACT));
    assert_eq!(second.snapshot(&EXACT), first.snapshot(&EXACT), "nothing was polled yet");
    admit(&mut second, [0, 3].into_iter().take(1));
    for offset in 1..=50 {
        let expected = if offset % 3 == 0 { Admission::Run } else { Admission::AlreadyDone };
        assert_eq!(second.admit(Offset(offset)), expected);
    }
    complete(&mut second, [0, 6]);
    let snapshot = second.snapshot(&EXACT);
    assert_eq!(snapshot.offset, Offset(3));
    let mut third = restart(&snapshot);
    for offset in 3..200 {
        let unfinished = offset % 3 == 0 && offset != 6;
        let expected = if unfinished { Admission::Run } else { Admission::AlreadyDone };
        assert_eq!(third.admit(Offset(offset)), expected, "{offset}");
    }
}

#[test]
fn a_restored_unfinished_record_that_was_compacted_away_holds_up_nothing() {
    let mut before = at(0);
    admit(&mut before, 0..6);
    complete(&mut before, [3, 5]);
    let mut after = restart(&before.snapshot(&EXACT));
    assert_eq!(after.admit(Offset(3)), Admission::AlreadyDone);
    assert_eq!(after.safe(), Offset(4));
    assert_eq!(after.admit(Offset(5)), Admission::AlreadyDone);
    assert_eq!(after.snapshot(&EXACT), at(6).snapshot(&EXACT));
}

#[test]
fn metadata_that_tells_of_records_past_the_logs_end_hides_no_new_record() {
    let mut before = at(0);
    admit(&mut before, 0..10);
    complete(&mut before, 5..10);
    let snapshot = before.snapshot(&EXACT);
    let restored = decode(snapshot.metadata.as_bytes(), snapshot.offset, TAG).expect("ours");
    assert!(restored.within_log(Offset(3)).is_err(), "the log was cut back to 3: all of it is run");
}

#[test]
fn passing_holes_keeps_what_is_known_of_later_records() {
    let mut before = at(0);
    admit(&mut before, 0..10);
    complete(&mut before, 5..10);
    let mut after = restart(&before.snapshot(&EXACT));
    admit(&mut after, 0..3);
    assert!(!after.eof(Offset(4)), "unfinished records still hold up the commit");
    assert_eq!(after.admit(Offset(4)), Admission::Run);
    assert_eq!(after.admit(Offset(7)), Admission::AlreadyDone);
}

#[test]
fn what_belongs_to_another_offset_is_not_restored() {
    let mut before = at(0);
    admit(&mut before, 0..4);
    complete(&mut before, [3]);
    let snapshot = before.snapshot(&EXACT);
    let restored = decode(snapshot.metadata.as_bytes(), snapshot.offset, TAG).expect("it was just written");
    let mut after = Progress::new(Offset(1), Some(restored), TAG);
    admit(&mut after, 1..4);
}

#[test]
fn a_commit_names_nothing_while_nothing_above_its_offset_is_complete() {
    let mut progress = at(0);
    admit(&mut progress, 0..5_000);
    complete(&mut progress, 0..10);
    let snapshot = progress.snapshot(&EXACT);
    assert_eq!(snapshot, at(10).snapshot(&EXACT), "as of a partition that starts there");
    let told = decode(snapshot.metadata.as_bytes(), Offset(10), TAG).expect("it was just written");
    assert_eq!((told.horizon(), snapshot.truncated), (Offset(10), 0));
}

#[test]
fn every_commit_says_of_which_topic_its_offset_is() {
    let mut progress = at(0);
    let check = |progress: &Progress| {
        let snapshot = progress.snapshot(&EXACT);
        let elsewhere = decode(snapshot.metadata.as_bytes(), snapshot.offset, TAG + 1);
        assert!(matches!(elsewhere, Err(Reject::ForeignTopic { .. })), "{snapshot:?}: {elsewhere:?}");
    };
    check(&progress);
    admit(&mut progress, 0..4);
    check(&progress);
    complete(&mut progress, [2]);
    check(&progress);
    complete(&mut progress, [0, 1, 3]);
    check(&progress);
}

#[test]
fn the_in_flight_tail_takes_no_room_in_the_metadata() {
    let mut progress = at(0);
    admit(&mut progress, 0..20_000);
    complete(&mut progress, [1]);
    let restored = decode(progress.snapshot(&EXACT).metadata.as_bytes(), Offset(0), TAG);
    assert_eq!(restored.map(|restored| restored.horizon()), Ok(Offset(2)));
}

#[test]
fn one_stuck_record_with_100_000_complete_above_it_takes_27_characters() {
    let mut progress = at(1_000_000_000);
    for offset in 1_000_000_000..1_000_100_001 {
        admit(&mut progress, [offset]);
        if offset > 1_000_000_000 {
            complete(&mut progress, [offset]);
        }
    }
    assert_eq!(progress.snapshot(&EXACT).metadata.len(), 27);
    assert_eq!(restart(&progress.snapshot(&EXACT)).admit(Offset(1_000_100_000)), Admission::AlreadyDone);
}

#[test]
fn records_that_complete_alternately_fill_the_budget_to_the_last_characters_and_fit() {
    let mut progress = at(i64::MAX - (1 << 30));
    let mut admitted = Vec::new();
    for offset in i64::MAX - (1 << 30).. {
        if !progress.may_admit(Offset(offset), &EXACT) {
            break;
        }
        admit(&mut progress, [offset]);
        admitted.push(offset);
    }
    assert_eq!(admitted.len(), 24_368);
    complete(&mut progress, admitted.iter().copied().skip(1).step_by(2));
    let snapshot = progress.snapshot(&EXACT);
    assert_eq!((snapshot.metadata.len(), snapshot.truncated), (4_093, 0));
    assert_eq!(restart(&snapshot).snapshot(&EXACT), snapshot);
    complete(&mut progress, [admitted[0]]);
    let next = admitted[admitted.len() - 1] + 1;
    assert!(progress.may_admit(Offset(next), &EXACT), "room is there again");
}

#[test]
fn a_hot_key_that_retries_while_others_flow_is_admitted_far_beyond_a_bitset() {
    let mut progress = at(0);
    for offset in 0..1_000_000 {
        admit(&mut progress, [offset]);
        // Each thousandth record is of the hot key.
        if offset % 1_000 != 0 {
            complete(&mut progress, [offset]);
        }
    }
    let snapshot = progress.snapshot(&EXACT);
    assert_eq!((snapshot.metadata.len(), snapshot.truncated, progress.gap_count()), (1_855, 0, 1_000));
}

#[test]
fn a_record_waits_exactly_when_its_worst_case_does_not_fit() {
    // The shortest of all forms for four of some thousand offsets are Rice codes.
    let bytes = |payload: usize| Budget::new(codec::max_chars(codec::MAX_HEADER + payload), false);
    let mut before = at(0);
    admit(&mut before, [0, 1_000, 2_000]);
    assert!(before.may_admit(Offset(3_000), &bytes(7)) && !before.may_admit(Offset(3_000), &bytes(6)));

    admit(&mut before, [3_000, 4_000]);
    complete(&mut before, [4_000]);
    let mut after = restart(&before.snapshot(&EXACT));
    admit(&mut after, [0]);
    let why = "2000 and 3000 are not polled yet, but the metadata owes them";
    assert!(after.may_admit(Offset(1_000), &bytes(7)) && !after.may_admit(Offset(1_000), &bytes(6)), "{why}");
}

#[test]
fn an_idle_partition_always_admits_whatever_the_hole_and_the_budget() {
    let mut progress = at(0);
    let nothing_fits = Budget::new(0, false);
    for offset in [5, 1 << 30, 1 << 60, i64::MAX - 1] {
        assert!(progress.may_admit(Offset(offset), &nothing_fits));
        admit(&mut progress, [offset]);
        assert!(!progress.may_admit(Offset(offset).next(), &nothing_fits));
        complete(&mut progress, [offset]);
    }
}

#[test]
fn a_record_too_far_above_an_unfinished_one_waits() {
    let far = MAX_SPAN as i64;
    for budget in [EXACT, Budget::new(4096, true)] {
        let mut progress = at(63);
        admit(&mut progress, [63]);
        assert!(!progress.may_admit(Offset(63 + far), &budget));
        assert!(progress.may_admit(Offset(62 + far), &budget));
        admit(&mut progress, [62 + far]);
        complete(&mut progress, [62 + far]);
        assert_eq!(restart(&progress.snapshot(&EXACT)).admit(Offset(62 + far)), Admission::AlreadyDone);
        assert!(!progress.may_admit(Offset(63 + far), &budget));
        complete(&mut progress, [63]);
        assert!(progress.may_admit(Offset(63 + far), &budget));
    }
}

#[test]
fn stale_and_restored_records_are_never_kept_waiting() {
    let tight = Budget::new(Budget::SMALLEST, false);
    let mut before = at(0);
    admit(&mut before, 0..9);
    complete(&mut before, [8]);
    let mut after = restart(&before.snapshot(&EXACT));
    admit(&mut after, 0..4);
    assert!(!after.may_admit(Offset(4), &tight));
    assert!(after.may_admit(Offset(2), &tight) && after.may_admit(Offset(8), &tight));
}

#[test]
fn a_lowered_limit_slows_a_partition_down_but_does_not_stop_it() {
    let mut before = at(0);
    admit(&mut before, 0..1_000);
    complete(&mut before, (0..1_000).filter(|offset| offset % 2 == 1));
    let lowered = Budget::new(100, false);
    let mut after = restart(&before.snapshot(&EXACT));
    assert!(after.snapshot(&lowered).metadata.len() <= 100);
    assert!(after.snapshot(&lowered).truncated > 0, "said, not hidden");
    for offset in 0..1_000 {
        assert!(after.may_admit(Offset(offset), &lowered), "{offset}");
        if after.admit(Offset(offset)) == Admission::Run {
            complete(&mut after, [offset]);
        }
    }
    assert_eq!(after.safe(), Offset(1_000));
}

#[test]
fn a_truncated_commit_names_the_lowest_completed_records_and_counts_the_others() {
    let mut progress = at(0);
    let truncating = Budget::new(100, true);
    for offset in 0..10_000 {
        assert!(progress.may_admit(Offset(offset), &truncating));
        assert_eq!(progress.admit(Offset(offset)), Admission::Run);
    }
    complete(&mut progress, (0..10_000).filter(|offset| offset % 2 == 1));
    let snapshot = progress.snapshot(&truncating);
    let mut after = restart(&snapshot);
    let again = (0..10_000).filter(|&o| after.admit(Offset(o)) == Admission::Run && o % 2 == 1).count();
    assert_eq!(snapshot.truncated, again as u64);
    assert!(snapshot.metadata.len() <= 100 && (4_000..5_000).contains(&again), "{snapshot:?}");
}

#[test]
fn a_redelivery_at_the_largest_offset_cannot_unbalance_the_count() {
    let mut progress = at(i64::MAX);
    assert_eq!(progress.admit(Offset(i64::MAX)), Admission::Run);
    let _ = progress.admit(Offset(i64::MAX));
    complete(&mut progress, [i64::MAX]);
    assert!(progress.is_idle());
}
