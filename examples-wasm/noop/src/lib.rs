//! The least that a handler can do: it reads the bytes of every record and emits nothing.
//!
//! What a call costs without any work in it. The bytes are summed up so that no compiler can leave the
//! reading out.

use std::hint::black_box;

use sandmill_guest::{Failure, Outputs, Record};

/// Reads every byte of key and value.
#[sandmill_guest::handler]
fn noop(record: Record<'_>, _: &mut Outputs) -> Result<(), Failure> {
    black_box(sum(record.key()).wrapping_add(sum(record.value())));
    Ok(())
}

/// A sum into which every byte goes, by words of eight as a careful programmer reads.
fn sum(bytes: Option<&[u8]>) -> u64 {
    let (words, last) = bytes.unwrap_or_default().as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_le_bytes(*word)).fold(0, u64::wrapping_add);
    last.iter().map(|byte| u64::from(*byte)).fold(words, u64::wrapping_add)
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

    #[test]
    fn every_byte_is_read() {
        assert_eq!(super::sum(Some(&[1, 2, 255])), 258);
        let one_each: Vec<u8> = vec![1; 19];
        assert_eq!(super::sum(Some(&one_each)), 2 * u64::from_le_bytes([1; 8]) + 3);
        assert_eq!(super::sum(None), 0);
    }
}
