//! `metadata`: how many characters a commit needs to name what is complete above its offset.
//!
//! No run, but the host's own bookkeeping of one partition: so many records in flight, of which the last ones
//! standing are unfinished. The bound is the broker's `offset.metadata.max.bytes`, 4,096 by default; what does
//! not fit is never admitted (`on_metadata_full`).

use anyhow::{Result, ensure};
use sandmill::bench::zipf::SplitMix;
use sandmill::ids::Offset;
use sandmill::progress::{Admission, Budget, Progress, Restored, decode};
use serde_json::json;

use super::{Kind, Part, once};
use crate::climb::{Passes, Sample, climb};
use crate::results::Row;
use crate::session::Session;

/// Any topic has a tag; it takes the same room in all.
const TAG: u32 = 7;
/// Offsets of topics that have lived for a while.
const BASE: i64 = 1_234_567_890;
/// Draws of the unfinished ones follow from it.
const SEED: u64 = 0x3e7a;

pub(super) const PART: Part = Part {
    name: "metadata",
    tells: "characters of metadata in one partition's commit, of 4,096",
    reference: "",
    passes: once,
    kind: Kind::Own { seconds: |_| 1.0, bytes: |_| 0, run },
};

/// Records above the committed offset, and how many of a thousand of them are unfinished.
const CASES: [(&str, i64, u64); 6] = [
    ("all complete", 10_000, 0),
    ("one slow record, 10,000 done above it", 10_000, 0),
    ("0.1 % of 10,000 unfinished", 10_000, 1),
    ("1 % of 10,000 unfinished", 10_000, 10),
    ("10 % of 10,000 unfinished", 10_000, 100),
    ("half of 10,000 unfinished", 10_000, 500),
];

fn run(_: &Session, passes: Passes) -> Result<Vec<Row>> {
    let rows = CASES.map(|(name, ..)| Row::new(name, &[])).into();
    Ok(climb("metadata", passes, rows, |index| {
        let (_, span, of_a_thousand) = CASES[index];
        commit(index > 0, span, of_a_thousand)
    }))
}

/// What a commit says when the oldest of `span` records is unfinished, if `slow`, and so many others.
fn commit(slow: bool, span: i64, of_a_thousand: u64) -> Result<Sample> {
    let budget = Budget::new(Budget::BROKER_DEFAULT, true);
    let mut progress = Progress::new(Offset(BASE), None, TAG);
    let mut random = SplitMix(SEED);
    let mut completed = Vec::new();
    for distance in 0..span {
        let offset = Offset(BASE + distance);
        ensure!(progress.admit(offset) == Admission::Run, "{offset} is new");
        let unfinished = if distance == 0 { slow } else { random.number() % 1_000 < of_a_thousand };
        if !unfinished {
            completed.push(offset);
        }
    }
    for offset in &completed {
        progress.complete(*offset);
    }
    let snapshot = progress.snapshot(&budget);
    if !snapshot.metadata.is_empty() {
        // What was written says what is complete: nothing more, nothing less.
        let read: Restored = decode(snapshot.metadata.as_bytes(), snapshot.offset, TAG)?;
        let named = completed.iter().filter(|offset| read.is_completed(**offset)).count() as u64;
        let above = completed.iter().filter(|offset| **offset > snapshot.offset).count() as u64;
        ensure!(named + snapshot.truncated == above, "{named} of {above} are named");
    }
    let gaps = progress.gap_count();
    Ok(Sample {
        numbers: vec![
            ("metadata_chars", snapshot.metadata.len() as f64),
            ("gaps", gaps as f64),
            ("unnamed_records", snapshot.truncated as f64),
        ],
        raw: json!({ "chars": snapshot.metadata.len(), "gaps": gaps, "truncated": snapshot.truncated }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chars(slow: bool, of_a_thousand: u64) -> f64 {
        commit(slow, 10_000, of_a_thousand).expect("it is consistent").numbers[0].1
    }

    #[test]
    fn the_more_is_unfinished_the_longer_is_the_metadata_up_to_one_bit_a_record() {
        let lengths = [
            chars(false, 0),
            chars(true, 0),
            chars(true, 1),
            chars(true, 10),
            chars(true, 100),
            chars(true, 500),
        ];
        // With nothing to tell, the topic alone.
        assert!(lengths[0] > 0.0 && lengths[1] < 40.0 && lengths.is_sorted(), "{lengths:?}");
        // 1,250 bytes in base64, and a header.
        assert!(lengths[5] < 1_720.0, "{lengths:?}");
    }
}
