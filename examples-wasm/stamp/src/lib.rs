//! Emits, for every record, the name of its own build: what comes out tells which module handled it.
//!
//! Tests of deploys put other names of the same length into the module, and other manners.

use std::hint::black_box;

use sandmill_guest::{Failure, Outputs, Record};

/// Stands in the module as it is, so that it can be found there and replaced.
static BUILD: [u8; 16] = *b"stamp-build-0000";

/// How it goes about records at offsets that four divides; likewise. `works`, `fails`, `traps`, `waits` (computes for some
/// milliseconds), `other` (writes something else).
static MANNER: [u8; 18] = *b"stamp-manner-works";

/// Emits the name.
#[sandmill_guest::handler]
fn stamp(record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
    let build = black_box(&BUILD);
    if record.offset() % 4 == 0 {
        match &black_box(&MANNER)[13..] {
            b"fails" => return Err(Failure::reject("manner", "it is made to fail")),
            b"traps" => panic!("it is made to trap"),
            b"waits" => {
                (0..10_000_000_u32).for_each(|number| _ = black_box(number));
            }
            b"other" => {
                out.emit([&build[..], b"!"].concat());
                return Ok(());
            }
            _ => {}
        }
    }
    out.emit(build);
    Ok(())
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing;

    #[test]
    fn every_record_gets_the_name() {
        let answer = testing::run(super::stamp, ["a", "b"]);
        assert_eq!(answer.texts(), ["stamp-build-0000", "stamp-build-0000"]);
    }
}
