//! The host's bookkeeping of a partition.

use anyhow::{Context, Result, ensure};
use sandmill_fuzz::TAG;
use sandmill_fuzz::ids::Offset;
use sandmill_fuzz::plain;
use sandmill_fuzz::progress::{Admission, Budget, Progress, decode};

use crate::Written;
use crate::patterns::{BASE, Class, Pattern};

/// More characters than any of the patterns needs: what is written is never cut off.
const LONGEST: usize = 1_000_000;

/// What a commit of this pattern says, and that it says just that.
pub(crate) fn written(pattern: &Pattern) -> Result<Written> {
    let mut progress = Progress::new(Offset(BASE), None, TAG);
    for &(offset, _) in &pattern.records {
        ensure!(progress.admit(Offset(offset)) == Admission::Run, "{offset} is new");
    }
    for &(offset, _) in pattern.records.iter().filter(|(_, unfinished)| !unfinished) {
        ensure!(progress.complete(Offset(offset)), "{offset} was unfinished");
    }
    let snapshot = progress.snapshot(&Budget::new(LONGEST, true));
    let text = snapshot.metadata.as_bytes();
    let read = decode(text, snapshot.offset, TAG).context("what was just written cannot be read")?;
    for &(offset, unfinished) in &pattern.records {
        ensure!(
            offset < snapshot.offset.0 || read.is_completed(Offset(offset)) != unfinished,
            "metadata is wrong about {offset}"
        );
    }
    let encoding = match plain::form(text) {
        None => "",
        Some(1) => "bitset",
        Some(2) => "runs",
        Some(3) => "sparse",
        Some(4) => "rice",
        Some(other) => anyhow::bail!("form {other} has no name here"),
    };
    Ok(Written { chars: snapshot.metadata.len(), encoding: encoding.to_owned() })
}

/// How many offsets of the pattern are taken in before a record has to wait, if what is not unfinished completes at
/// once.
pub(crate) fn taken_in(class: Class, most: i64) -> Result<i64> {
    let budget = Budget::default();
    let mut progress = Progress::new(Offset(BASE), None, TAG);
    for (offset, unfinished) in class.pattern(most).records {
        if !progress.may_admit(Offset(offset), &budget) {
            return Ok(offset - BASE);
        }
        ensure!(progress.admit(Offset(offset)) == Admission::Run, "{offset} is new");
        if !unfinished {
            progress.complete(Offset(offset));
        }
    }
    Ok(most)
}
