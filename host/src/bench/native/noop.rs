//! `noop`, natively: reads every record with the module's own source, and emits nothing.

#[path = "../../../../examples-wasm/noop/src/sum.rs"]
mod sum;

use std::hint::black_box;

use sum::sum;

use crate::batch::Batch;
use crate::wasm::RawAnswer;
use crate::worker::NativeHandler;

/// Reads every byte of key and value.
#[derive(Debug)]
pub struct Noop;

impl NativeHandler for Noop {
    fn handle(&self, batch: &Batch, _: &mut RawAnswer) {
        for record in batch.records() {
            black_box(sum(record.key).wrapping_add(sum(record.value)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Headers, Record};
    use crate::ids::Offset;

    #[test]
    fn every_record_is_done_and_nothing_comes_out() {
        let mut batch = Batch::new();
        for value in [Some(&b"value"[..]), None] {
            let record = Record { offset: Offset(0), timestamp: 0, key: None, value, headers: Headers::None };
            batch.push(&record, 0, 0);
        }
        let mut answer = RawAnswer::default();
        Noop.handle(&batch, &mut answer);
        assert_eq!(answer, RawAnswer::default());
    }
}
