//! Asks for random bytes without end on a marked record (`!…`); every other record comes out unchanged. Each call costs
//! the guest next to nothing, and the host a computation.

use std::hint::black_box;

use sandmill_guest::{Failure, Outputs, Record};

#[sandmill_guest::handler]
fn random(record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
    if record.value().is_some_and(|value| value.starts_with(b"!")) {
        // As much as one call of WASI gives.
        let mut bytes = vec![0; 64 << 10];
        loop {
            // Refused or not, it asks again.
            let _ = black_box(getrandom::fill(&mut bytes));
        }
    }
    out.forward(record);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_not_marked_comes_out() {
        assert_eq!(sandmill_guest::testing::run(super::random, ["fine"]).outputs().count(), 1);
    }
}
