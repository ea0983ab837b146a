//! The least that a handler can do: it reads the bytes of every record and emits nothing.
//!
//! What a call costs without any work in it. The bytes are summed up so that no compiler can leave the
//! reading out.

mod sum;

use std::hint::black_box;

use sandmill_guest::{Failure, Outputs, Record};

use crate::sum::sum;

/// Reads every byte of key and value.
#[sandmill_guest::handler]
fn noop(record: Record<'_>, _: &mut Outputs) -> Result<(), Failure> {
    black_box(sum(record.key()).wrapping_add(sum(record.value())));
    Ok(())
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::{self, Input};

    #[test]
    fn every_record_is_done_and_nothing_comes_out() {
        let answer = testing::run(super::noop, [Input::new("value").key("key"), Input::tombstone()]);
        assert_eq!(answer.outcomes.len(), 2);
        assert!(answer.failure(0).is_none() && answer.failure(1).is_none());
        assert_eq!(answer.outputs().count(), 0);
    }
}
