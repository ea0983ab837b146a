//! `noop`, natively: looks at every record as the module does, and emits nothing.

use std::hint::black_box;

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

/// A sum into which every byte goes, by words of eight as a careful programmer reads.
fn sum(bytes: Option<&[u8]>) -> u64 {
    let (words, last) = bytes.unwrap_or_default().as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word)).fold(0, u64::wrapping_add);
    last.iter().map(|byte| u64::from(*byte)).fold(words, u64::wrapping_add)
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
