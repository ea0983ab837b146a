//! Any text is refused or read, exactly as a slow reader of the format refuses or reads it.

use crate::TAG;
use crate::ids::Offset;
use crate::input::Input;
use crate::plain::{self, Plain};
use crate::progress::{self, Budget, Progress, Reject, Restored};

/// Ranges up to this long are compared offset by offset, longer ones where something changes.
const SHORT: u64 = 4_096;

/// The characters of the longest metadata that there is.
const LONGEST: usize = 3_000_000;

/// See the module.
///
/// # Panics
/// Where the promise breaks.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let base = input.base();
    let text = input.metadata(base, usize::MAX);
    match (progress::decode(&text, base, TAG), plain::read(&text, base)) {
        (Ok(restored), Some((plain, 0 | TAG))) => {
            compare(&restored, base, &plain);
            again(restored, base);
        }
        // Another topic weighs more than nonsense: the offset itself is no good then.
        (Err(Reject::ForeignTopic { written, .. }), Some((_, tag)))
            if written == tag && tag != TAG && tag != 0 => {}
        (Err(reject), None) if !matches!(reject, Reject::ForeignTopic { .. }) => {}
        (read, plain) => panic!("read as {read:?}, but it says {plain:?}"),
    }
}

fn compare(restored: &Restored, base: Offset, plain: &Plain) {
    let at = |distance: u64| Offset(base.0.saturating_add_unsigned(distance));
    assert_eq!((restored.base(), restored.horizon()), (base, at(plain.span)));
    let unfinished: u64 = plain.unfinished.iter().map(|range| range.end - range.start).sum();
    assert_eq!(restored.unfinished() as u64, unfinished);
    let is_complete =
        |distance| distance < plain.span && !plain.unfinished.iter().any(|range| range.contains(&distance));
    let look = |distance: u64| {
        assert_eq!(restored.is_completed(at(distance)), is_complete(distance), "distance {distance}");
    };
    if plain.span <= SHORT {
        (0..plain.span + 2).for_each(look);
    } else {
        let borders = plain.unfinished.iter().take(64).chain(plain.unfinished.last());
        borders.flat_map(|range| [range.start, range.end - 1, range.end]).for_each(look);
        [plain.span - 1, plain.span, u64::MAX].into_iter().for_each(look);
    }
    assert!(!restored.is_completed(Offset(base.0 - 1)), "below the base nothing is told");
}

/// What was read is written and read again without a change.
fn again(restored: Restored, base: Offset) {
    let snapshot = Progress::new(base, Some(restored.clone()), TAG).snapshot(&Budget::new(LONGEST, true));
    assert_eq!((snapshot.offset, snapshot.truncated), (base, 0));
    assert_eq!(progress::decode(snapshot.metadata.as_bytes(), base, TAG), Ok(restored));
}
