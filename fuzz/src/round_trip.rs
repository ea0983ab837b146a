//! Whatever pattern of records is complete, what is written fits and says exactly that.

use crate::TAG;
use crate::ids::Offset;
use crate::input::Input;
use crate::progress::{Admission, Budget, Progress, decode};

/// Records of one case.
const MOST: usize = 5_000;

/// See the module.
///
/// # Panics
/// Where the promise breaks.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let base = input.base();
    let truncate = input.byte() % 4 == 0;
    let chars = Budget::SMALLEST + input.number() as usize % 1_000;
    let budget = Budget::new(chars, truncate);
    let mut progress = Progress::new(base, None, TAG);
    let (mut polled, mut completed) = (Vec::new(), Vec::new());
    'log: while !input.is_empty() {
        // A hole, a run of unfinished records, a run of completed ones, so many times.
        let (hole, unfinished, complete) = (input.number(), input.number() % 600, input.number() % 600);
        for _ in 0..=input.byte() {
            // No log gets as far as the last numbers.
            let start =
                progress.position().0.checked_add_unsigned(hole).filter(|&start| start < i64::MAX - 2_000);
            let Some(start) = start else { break 'log };
            for offset in (start..).take((unfinished + complete) as usize) {
                if polled.len() == MOST || !progress.may_admit(Offset(offset), &budget) {
                    break 'log;
                }
                assert_eq!(progress.admit(Offset(offset)), Admission::Run);
                polled.push(offset);
                if offset >= start + unfinished as i64 {
                    completed.push(offset);
                }
            }
        }
    }
    for &offset in &completed {
        assert!(progress.complete(Offset(offset)));
    }

    let snapshot = progress.snapshot(&budget);
    assert!(snapshot.metadata.len() <= chars, "{} of {chars} characters", snapshot.metadata.len());
    let restored = decode(snapshot.metadata.as_bytes(), snapshot.offset, TAG).expect("it was just written");
    let mut left_out = 0;
    let mut done = completed.iter().copied().peekable();
    for &offset in &polled {
        let is_complete = done.next_if_eq(&offset).is_some();
        let is_named = restored.is_completed(Offset(offset));
        assert!(is_complete || offset >= snapshot.offset.0, "{offset} is unfinished, the commit passes it");
        assert!(is_complete || !is_named, "{offset} is unfinished, but named");
        left_out += u64::from(is_complete && !is_named && offset >= snapshot.offset.0);
    }
    assert_eq!(snapshot.truncated, left_out);
    assert!(truncate || left_out == 0, "{left_out} were admitted and have no room");
}
