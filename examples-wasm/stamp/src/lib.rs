//! Emits, for every record, the name of its own build: what comes out tells which module handled it.
//!
//! Tests of deploys put other names of the same length into the module.

use std::hint::black_box;

use sandmill_guest::{Failure, Outputs, Record};

/// Stands in the module as it is, so that it can be found there and replaced.
static BUILD: [u8; 16] = *b"stamp-build-0000";

/// Emits the name.
#[sandmill_guest::handler]
fn stamp(_: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
    out.emit(black_box(&BUILD));
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
