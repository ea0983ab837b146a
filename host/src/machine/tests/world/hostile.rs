//! Commit metadata that nobody should trust. Anybody who may commit for the group can write it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use fastrand::Rng;

use super::log::{Committed, Log};
use crate::ids::Offset;
use crate::progress::{Budget, Progress};

/// Offset and metadata that somebody left in place of an honest commit. All metadata has to be ignored: the
/// host starts exactly at the offset.
pub fn left(rng: &mut Rng, log: &Log, honest: Committed) -> (i64, Vec<u8>) {
    let Committed { offset, metadata } = honest;
    let mut offset = offset;
    let metadata = match rng.u8(..9) {
        // Another program's.
        0 => b"{\"lag\":17}".to_vec(),
        1 => (0..rng.usize(1..200)).map(|_| rng.u8(..)).collect(),
        // A newer host's.
        2 => b"sm2AAAA".to_vec(),
        // Damaged on the way.
        3 if metadata.len() > 4 => metadata[..rng.usize(4..metadata.len())].to_vec(),
        4 if !metadata.is_empty() => {
            let mut metadata = metadata;
            let at = rng.usize(..metadata.len());
            metadata[at] ^= 1;
            metadata
        }
        // Of the topic before it was deleted and created again.
        5 => written(offset, log.tag + 1, offset + 9),
        // Of a log that reached further.
        6 if log.end() - offset < 10_000 => written(offset, log.tag, log.end() + 5),
        // The offset was set back by hand, its metadata was not.
        7 if log.earliest() < offset => {
            let back = rng.i64(log.earliest()..offset);
            let metadata = if metadata.is_empty() { written(offset, log.tag, offset + 3) } else { metadata };
            offset = back;
            metadata
        }
        // A range of 2^60 offsets under a valid check sum.
        8 => forged(offset, log.tag),
        _ => vec![b'x'; rng.usize(1..9_000)],
    };
    (offset, metadata)
}

/// Valid metadata that names the records between `base` and `end` as complete.
fn written(base: i64, tag: u32, end: i64) -> Vec<u8> {
    let mut progress = Progress::new(Offset(base), None, tag);
    for offset in [base, end - 1] {
        let _ = progress.admit(Offset(offset));
    }
    progress.complete(Offset(end - 1));
    progress.snapshot(&Budget::default()).metadata.into_bytes()
}

fn forged(base: i64, tag: u32) -> Vec<u8> {
    // A form whose payload may be empty.
    let mut body = vec![3];
    body.extend(tag.to_le_bytes());
    for mut number in [base as u64, 1 << 60] {
        while number >= 0x80 {
            body.push(number as u8 | 0x80);
            number >>= 7;
        }
        body.push(number as u8);
    }
    let sum = crc32c::crc32c_append(crc32c::crc32c(b"sm1"), &body);
    let bytes = [&sum.to_le_bytes()[..], &body].concat();
    format!("sm1{}", BASE64.encode(bytes)).into_bytes()
}
