//! Commit metadata: the completed records above a committed offset, as text.
//!
//! ```text
//! "sm" version base64url( checksum:4  form:1  topic tag:4  base:varint  span:varint  payload )
//! ```
//! Version 1. The check sum is CRC-32C, little-endian as the tag, over the prefix and all bytes after the check
//! sum. `base..base + span` is the range that the payload tells about, in one of four [forms](super::forms):
//! every record in it is complete but for those that the payload names. Holes of the log count as complete:
//! nobody will ever ask for them. A span of 0, without a payload, says whose offset this is, and no more.
//!
//! Anybody who may commit for the group can write here, so reading trusts nothing: whatever the text, it takes
//! at most [`MAX_SPAN`] / 8 bytes and those of the text, and never panics.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::budget::MAX_SPAN;
use super::forms::{self, Draft, Form, put_varint, take_varint, varint_size};
use super::restored::Restored;
use crate::ids::Offset;

const MAGIC: &[u8] = b"sm";
const VERSION: u8 = b'1';
const PREFIX: &str = "sm1";

/// Bytes of check sum, form and topic tag.
const FIXED_HEADER: usize = 4 + 1 + 4;

/// The longest header, in bytes: a base of any 64 bits and a span of [`MAX_SPAN`].
pub(super) const MAX_HEADER: usize = FIXED_HEADER + 10 + 4;

/// Why commit metadata cannot be used. Whoever reads it resumes exactly at the committed offset, but for
/// [`ForeignTopic`](Reject::ForeignTopic).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// Another program wrote it, or it was cut off at the front.
    #[error("metadata does not begin with {PREFIX:?}: another program committed for this group")]
    NotOurs,
    /// A newer host wrote it.
    #[error("metadata has version {version:?}, this host reads 1: a newer host committed for this group")]
    NewerVersion {
        /// The character in the place of the version.
        version: char,
    },
    /// No writer needs so much text.
    #[error("metadata has {bytes} bytes, the largest possible has {most}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The longest that any range can need.
        most: usize,
    },
    /// The text after the prefix is not base64, or was cut off.
    #[error("metadata is damaged: not base64: {0}")]
    BadBase64(#[from] base64::DecodeError),
    /// The bytes do not match their check sum.
    #[error("metadata is damaged: its check sum is {stored:08x}, that of its bytes {computed:08x}")]
    BadChecksum {
        /// The one in the metadata.
        stored: u32,
        /// The one of the bytes as they are.
        computed: u32,
    },
    /// The topic was deleted and created again: the same offsets are other records. All else is valid.
    #[error("committed in a topic with tag {written:08x}, this one has {current:08x}: it was created again")]
    ForeignTopic {
        /// The tag in the metadata.
        written: u32,
        /// The tag of the topic as it is now.
        current: u32,
    },
    /// The committed offset was moved without its metadata.
    #[error("metadata belongs to offset {written}, but {committed} is committed: the offset was set by hand")]
    WrongBase {
        /// The base in the metadata.
        written: Offset,
        /// The committed offset.
        committed: Offset,
    },
    /// The range is longer than any that this host writes.
    #[error("metadata tells about {span} offsets, at most {MAX_SPAN} are possible")]
    RangeTooLarge {
        /// Its length in offsets.
        span: u64,
    },
    /// Header or payload contradict themselves, under a valid check sum.
    #[error("metadata has a valid check sum but invalid lengths: it was not written by a sandmill host")]
    BadLengths,
    /// It names completed records that the log does not have.
    #[error(
        "metadata names completed records up to {horizon}, but the log ends at {log_end}: it was cut back"
    )]
    PastLogEnd {
        /// Just past the highest record named.
        horizon: Offset,
        /// The log's end.
        log_end: Offset,
    },
}

/// Names a topic by its id, so that a topic that was created again under its name is noticed. 0: unknown, which
/// matches every tag; an id of zeros is Kafka's "no id".
#[must_use]
pub fn topic_tag(id: [u8; 16]) -> u32 {
    if id == [0; 16] { 0 } else { crc32c::crc32c(&id).max(1) }
}

/// The characters that `bytes` bytes become.
pub(super) const fn max_chars(bytes: usize) -> usize {
    PREFIX.len() + (bytes * 4).div_ceil(3)
}

/// The bytes that fit into `chars` characters.
pub(super) const fn max_bytes(chars: usize) -> usize {
    let chars = chars.saturating_sub(PREFIX.len());
    chars / 4 * 3 + chars % 4 * 3 / 4
}

/// Writes which offsets of `base..horizon` are complete: all but the runs `unfinished`, which are distances from
/// `base`, ascending and not adjacent, `count` offsets in all.
///
/// Returns the text, of at most `max_chars` characters, and how far it tells: up to `horizon`, or as far as
/// there was room. With nothing to tell it still carries the tag, so that every commit says whose offset it is. It
/// is empty where the tag is unknown as well, or has no room.
pub(super) fn encode(
    base: Offset,
    topic_tag: u32,
    horizon: Offset,
    count: u64,
    unfinished: impl Iterator<Item = Range<u64>>,
    max_chars: usize,
) -> (String, Offset) {
    let span = horizon.distance_from(base);
    let header = FIXED_HEADER + (varint_size(base.0 as u64) + varint_size(span)) as usize;
    let Some(room) = max_bytes(max_chars).checked_sub(header) else { return (String::new(), base) };
    let (form, reach, payload) = match span {
        0 => NOTHING,
        _ => shortest(room, span, count, unfinished),
    };
    if reach == 0 && topic_tag == 0 {
        return (String::new(), base);
    }
    let mut bytes = Vec::with_capacity(header + payload.len());
    bytes.extend([0; 4]);
    bytes.push(form as u8);
    bytes.extend(topic_tag.to_le_bytes());
    put_varint(&mut bytes, base.0 as u64);
    put_varint(&mut bytes, reach);
    bytes.extend(&payload);
    let checksum = checksum(&bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    let mut text = String::with_capacity(self::max_chars(bytes.len()));
    text.push_str(PREFIX);
    BASE64.encode_string(&bytes, &mut text);
    (text, Offset(base.0 + reach as i64))
}

/// Form, span and payload of metadata that tells of no offset.
const NOTHING: (Form, u64, Vec<u8>) = (Form::Sparse, 0, Vec::new());

/// The form that tells most in `room` bytes, the shortest of those: how far it tells, and its payload.
fn shortest(
    room: usize,
    span: u64,
    count: u64,
    unfinished: impl Iterator<Item = Range<u64>>,
) -> (Form, u64, Vec<u8>) {
    let mut drafts = Form::ALL.map(|form| Draft::new(form, room, count, span));
    for run in unfinished {
        drafts.iter_mut().for_each(|draft| draft.push(&run));
        if drafts.iter().all(Draft::is_full) {
            break;
        }
    }
    let best = drafts
        .into_iter()
        .max_by_key(|draft| (draft.reach(span), std::cmp::Reverse(draft.payload.len())))
        .expect("there are four forms");
    match best.reach(span) {
        0 => NOTHING,
        reach => (best.form, reach, best.payload),
    }
}

/// Reads the metadata of a commit at offset `base` of a topic with this [tag](topic_tag). Empty text, as tools
/// write it that set an offset, restores nothing.
///
/// # Errors
/// [`Reject`] for text that another program wrote, that belongs to another offset or topic, is damaged or
/// contradicts itself. Of a topic that was created again ([`Reject::ForeignTopic`]) the host committed this very
/// offset: it means nothing in the new one. In all other cases the caller resumes exactly at `base`.
pub fn decode(text: &[u8], base: Offset, topic_tag: u32) -> Result<Restored, Reject> {
    decode_span(text, base, topic_tag, MAX_SPAN)
}

/// The same for a range of at most `max_span` offsets.
fn decode_span(text: &[u8], base: Offset, topic_tag: u32, max_span: u64) -> Result<Restored, Reject> {
    if text.is_empty() {
        return Ok(Restored::new(base, base, 0));
    }
    let most = max_chars(MAX_HEADER + max_span.div_ceil(8) as usize);
    if text.len() > most {
        return Err(Reject::TooLong { bytes: text.len(), most });
    }
    let (&version, text) = text.strip_prefix(MAGIC).and_then(<[u8]>::split_first).ok_or(Reject::NotOurs)?;
    match version {
        VERSION => {}
        b'2'..=b'9' | b'a'..=b'z' => return Err(Reject::NewerVersion { version: version.into() }),
        _ => return Err(Reject::NotOurs),
    }
    let bytes = BASE64.decode(text)?;
    let (stored, bytes) = bytes.split_first_chunk().ok_or(Reject::BadLengths)?;
    let (stored, computed) = (u32::from_le_bytes(*stored), checksum(bytes));
    if stored != computed {
        return Err(Reject::BadChecksum { stored, computed });
    }
    let (&form, bytes) = bytes.split_first().ok_or(Reject::BadLengths)?;
    let (written, mut bytes) = bytes.split_first_chunk().ok_or(Reject::BadLengths)?;
    let tag = u32::from_le_bytes(*written);
    let written = Offset(take_varint(&mut bytes).ok_or(Reject::BadLengths)? as i64);
    if written != base {
        return Err(Reject::WrongBase { written, committed: base });
    }
    let span = take_varint(&mut bytes).ok_or(Reject::BadLengths)?;
    let horizon = base.0.checked_add_unsigned(span).filter(|_| span <= max_span);
    let horizon = horizon.ok_or(Reject::RangeTooLarge { span })?;
    let form = Form::from_number(form).ok_or(Reject::BadLengths)?;
    if span == 0 && (form != NOTHING.0 || !bytes.is_empty()) {
        return Err(Reject::BadLengths);
    }
    // Read twice: memory is taken once the payload is known to be valid, and no more than it needs.
    let mut end = 0;
    forms::read(form, bytes, span, |unfinished| end = unfinished.end).ok_or(Reject::BadLengths)?;
    let mut restored = Restored::new(base, Offset(horizon), end);
    forms::read(form, bytes, span, |unfinished| restored.except(&unfinished)).ok_or(Reject::BadLengths)?;
    // Last, because it weighs most. Only what is valid in all else, with this very base, says that the host
    // committed this offset elsewhere; an offset that was set by hand is one that somebody chose, in any topic.
    if tag != topic_tag && tag != 0 && topic_tag != 0 {
        return Err(Reject::ForeignTopic { written: tag, current: topic_tag });
    }
    Ok(restored)
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(PREFIX.as_bytes()), bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: Offset = Offset(1_000);
    const TAG: u32 = 0xabcd;

    /// Metadata with any content under a valid check sum.
    fn forge(form: u8, tag: u32, base: u64, span: u64, payload: &[u8]) -> Vec<u8> {
        let mut body = vec![form];
        body.extend(tag.to_le_bytes());
        put_varint(&mut body, base);
        put_varint(&mut body, span);
        body.extend(payload);
        seal(&body)
    }

    fn seal(body: &[u8]) -> Vec<u8> {
        let bytes = [&checksum(body).to_le_bytes(), body].concat();
        format!("{PREFIX}{}", BASE64.encode(bytes)).into_bytes()
    }

    fn valid() -> String {
        let (text, reach) = encode(BASE, TAG, Offset(1_300), 194, [0..1, 7..200].into_iter(), 4096);
        assert_eq!(reach, Offset(1_300));
        text
    }

    #[track_caller]
    fn refused(text: &[u8], expected: &Reject) {
        assert_eq!(decode(text, BASE, TAG).as_ref(), Err(expected));
    }

    #[test]
    fn metadata_written_by_version_1_stays_readable() {
        assert_eq!(valid(), "sm1EJq_kgLNqwAA6AesAgABBsEB");
        let restored = decode(valid().as_bytes(), BASE, TAG).expect("it is valid");
        assert_eq!((restored.base(), restored.horizon(), restored.unfinished()), (BASE, Offset(1_300), 194));
        let completed: Vec<i64> =
            (0..2_000).filter(|&offset| restored.is_completed(Offset(offset))).collect();
        assert_eq!(completed, (1_001..1_007).chain(1_200..1_300).collect::<Vec<_>>());
    }

    #[test]
    fn each_form_as_version_1_wrote_it_stays_readable() {
        let every = |step: usize| (0..100).step_by(step).map(|at| at..at + 1).collect::<Vec<_>>();
        let texts = [
            (Form::Bitset, every(2), "sm1jWRJlgHNqwAA6AdkVVVVVVVVVVVVVVVVBQ"),
            (Form::Runs, vec![0..40, 60..99], "sm1BiBjvALNqwAA6AdkACgUJw"),
            (Form::Sparse, vec![0..1, 90..91], "sm1_zu8qwPNqwAA6AdkAFk"),
            (Form::Rice, every(7), "sm10P5OXATNqwAA6AdkAlRVVVVVVVUF"),
        ];
        for (form, runs, text) in texts {
            let offsets: Vec<u64> = runs.iter().cloned().flatten().collect();
            let (written, _) = encode(BASE, TAG, Offset(1_100), offsets.len() as u64, runs.into_iter(), 4096);
            assert_eq!(written, text, "{form:?}");
            let bytes = BASE64.decode(&text[3..]).expect("it is base64");
            assert_eq!(bytes[4], form as u8);
            let restored = decode(text.as_bytes(), BASE, TAG).expect("it is valid");
            let unfinished = (0..100).filter(|&at| !restored.is_completed(Offset(1_000 + at as i64)));
            assert_eq!(unfinished.collect::<Vec<_>>(), offsets, "{form:?}");
        }
    }

    #[test]
    fn a_commit_without_metadata_restores_nothing() {
        let restored = decode(b"", BASE, TAG).expect("it is no error");
        assert_eq!((restored.horizon(), restored.is_completed(BASE)), (BASE, false));
    }

    #[test]
    fn with_nothing_to_tell_the_text_says_whose_offset_it_is() {
        for (horizon, unfinished) in [(BASE, None), (Offset(1_300), Some(0..299))] {
            // Without room for the one run of unfinished offsets, nothing behind it can be told either.
            let chars = max_chars(FIXED_HEADER + 4);
            let (text, reach) = encode(BASE, TAG, horizon, 299, unfinished.into_iter(), chars);
            assert_eq!((text.as_str(), reach), ("sm1x2fUkAPNqwAA6AcA", BASE));
        }
        let text = b"sm1x2fUkAPNqwAA6AcA";
        let restored = decode(text, BASE, TAG).expect("it is valid");
        assert_eq!(
            (restored.horizon(), restored.unfinished(), restored.is_completed(BASE)),
            (BASE, 0, false)
        );
        let foreign = Reject::ForeignTopic { written: TAG, current: 1 };
        assert_eq!(decode(text, BASE, 1), Err(foreign));
        let (unknown, _) = encode(BASE, 0, BASE, 0, std::iter::empty(), 4096);
        assert_eq!(unknown, "", "of a topic without an id there is nothing to say");
    }

    #[test]
    fn what_another_program_or_a_newer_host_wrote_is_told_apart() {
        for text in
            [&b"x"[..], b"s", b"sm", b"sm0", b"sm\xff", b"{\"a\":1}", b"\xff\xfe\x00", " sm1".as_bytes()]
        {
            refused(text, &Reject::NotOurs);
        }
        refused(b"sm2whatever", &Reject::NewerVersion { version: '2' });
    }

    #[test]
    fn the_version_is_covered_by_the_check_sum() {
        let forged = BASE64.encode([&crc32c::crc32c(b"sm2\x01").to_le_bytes()[..], &[1]].concat());
        let reject = decode(format!("sm1{forged}").as_bytes(), BASE, TAG);
        assert!(matches!(reject, Err(Reject::BadChecksum { .. })), "{reject:?}");
    }

    #[test]
    fn a_single_changed_missing_or_added_character_is_noticed() {
        let valid = valid().into_bytes();
        for index in 0..valid.len() {
            for character in (0..=255).filter(|&character| character != valid[index]) {
                let mut text = valid.clone();
                text[index] = character;
                assert!(decode(&text, BASE, TAG).is_err(), "{index}: {character}");
            }
            let mut text = valid.clone();
            text.remove(index);
            assert!(decode(&text, BASE, TAG).is_err(), "{index} removed");
            assert!(index == 0 || decode(&valid[..index], BASE, TAG).is_err(), "cut at {index}");
            text = valid.clone();
            text.insert(index, b'A');
            assert!(decode(&text, BASE, TAG).is_err(), "{index} doubled");
        }
    }

    #[test]
    fn metadata_of_another_offset_or_a_recreated_topic_is_refused_and_an_unknown_topic_matches_any() {
        let valid = valid();
        let wrong = Reject::WrongBase { written: BASE, committed: Offset(1_001) };
        assert_eq!(decode(valid.as_bytes(), Offset(1_001), TAG), Err(wrong));
        let foreign = Reject::ForeignTopic { written: TAG, current: 1 };
        assert_eq!(decode(valid.as_bytes(), BASE, 1), Err(foreign));
        let moved = Reject::WrongBase { written: BASE, committed: Offset(7) };
        assert_eq!(
            decode(valid.as_bytes(), Offset(7), 1),
            Err(moved),
            "somebody chose 7, whatever the topic"
        );
        assert!(decode(valid.as_bytes(), BASE, 0).is_ok());
        assert!(decode(&forge(3, 0, 1_000, 9, &[0]), BASE, TAG).is_ok());
    }

    #[test]
    fn a_topics_tag_follows_its_id_and_only_a_missing_id_is_unknown() {
        assert_eq!(topic_tag([0; 16]), 0);
        assert_ne!(topic_tag([1; 16]), 0);
        assert_ne!(topic_tag([1; 16]), topic_tag([2; 16]));
    }

    #[test]
    fn hostile_ranges_and_lengths_are_refused_under_a_valid_check_sum() {
        let base = BASE.0 as u64;
        for span in [MAX_SPAN + 1, 1 << 60, u64::MAX] {
            for form in 1..=4 {
                refused(&forge(form, TAG, base, span, &[0]), &Reject::RangeTooLarge { span });
            }
        }
        for form in 1..=4 {
            refused(&forge(form, TAG, base, 0, &[0]), &Reject::BadLengths);
            if form != 3 {
                refused(&forge(form, TAG, base, 0, &[]), &Reject::BadLengths);
            }
            refused(&forge(form, TAG, base, 50, &[0xff; 4096]), &Reject::BadLengths);
        }
        refused(&forge(5, TAG, base, 9, &[]), &Reject::BadLengths);
        // Of another topic only what is valid in all else counts.
        refused(&forge(5, 1, base, 9, &[]), &Reject::BadLengths);
        refused(&forge(1, 1, base, 50, &[0xff; 4096]), &Reject::BadLengths);
        refused(&forge(3, 1, base, 1 << 60, &[0]), &Reject::RangeTooLarge { span: 1 << 60 });
        refused(&forge(3, 1, base, 9, &[0]), &Reject::ForeignTopic { written: 1, current: TAG });
        refused(&seal(&[]), &Reject::BadLengths);
        refused(&seal(&[1, 0, 0]), &Reject::BadLengths);
        refused(&seal(&[1, 0, 0, 0, 0, 0xe8, 7]), &Reject::BadLengths);
        refused(&seal(&[1, 0, 0, 0, 0, 0xff]), &Reject::BadLengths);
        refused(b"sm1AAAA", &Reject::BadLengths);
    }

    #[test]
    fn a_range_at_the_end_of_the_number_line_is_refused_instead_of_wrapping() {
        let text = forge(3, TAG, i64::MAX as u64, 9, &[0]);
        assert_eq!(decode(&text, Offset(i64::MAX), TAG), Err(Reject::RangeTooLarge { span: 9 }));
    }

    #[test]
    fn four_mebibytes_of_text_are_refused_before_they_are_read() {
        let text = [b"sm1", vec![b'A'; 4 << 20].as_slice()].concat();
        let reject = decode(&text, BASE, TAG);
        assert!(matches!(reject, Err(Reject::TooLong { bytes: 4_194_307, most: 2_796_237 })), "{reject:?}");
    }

    #[test]
    fn the_largest_range_takes_no_more_memory_than_a_bit_an_offset() {
        let mut run = vec![0];
        put_varint(&mut run, MAX_SPAN - 1);
        let full = vec![0xff; MAX_SPAN as usize / 8 - 1];
        for (form, payload) in [(1, full), (2, run), (3, vec![0; MAX_SPAN as usize / 8])] {
            let restored = decode(&forge(form, TAG, 1_000, MAX_SPAN, &payload), BASE, TAG);
            let restored = restored.expect("the largest range is allowed");
            assert!(restored.memory() <= MAX_SPAN as usize / 8 + 8, "form {form}: {}", restored.memory());
        }
    }

    #[test]
    fn a_limit_without_room_for_any_metadata_gives_none() {
        for chars in 0..20 {
            let (text, reach) = encode(BASE, TAG, Offset(1_300), 1, std::iter::once(0..1), chars);
            assert_eq!((text.as_str(), reach), ("", BASE));
        }
    }

    #[test]
    fn every_limit_in_characters_is_used_as_far_as_whole_bytes_go() {
        for chars in 4..500 {
            assert!(max_chars(max_bytes(chars)) <= chars);
            assert!(max_chars(max_bytes(chars) + 1) > chars);
        }
        assert!(max_bytes(usize::MAX) > usize::MAX / 2);
    }

    proptest! {
        #[test]
        fn random_bytes_are_refused(text in prop::collection::vec(any::<u8>(), 1..300)) {
            prop_assert!(decode(&text, BASE, TAG).is_err());
        }

        #[test]
        fn random_text_after_the_prefix_is_refused(text in "sm1[A-Za-z0-9_-]{0,200}") {
            prop_assert!(decode(text.as_bytes(), BASE, TAG).is_err());
        }

        #[test]
        fn random_content_under_a_valid_check_sum_stays_within_its_range(
            form in 0u8..6,
            span in prop_oneof![0u64..500, Just(MAX_SPAN), any::<u64>()],
            payload in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..60),
        ) {
            if let Ok(restored) = decode(&forge(form, TAG, 1_000, span, &payload), BASE, TAG) {
                prop_assert!(span <= MAX_SPAN);
                prop_assert_eq!(restored.horizon(), Offset(1_000 + span as i64));
                prop_assert!(span == 0 || restored.is_completed(Offset(1_000 + span as i64 - 1)));
                prop_assert!((restored.unfinished() as u64) < span.max(1));
                prop_assert!(restored.memory() <= MAX_SPAN as usize / 8 + 8);
            }
        }

        #[test]
        fn random_bodies_under_a_valid_check_sum_never_panic(body in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(restored) = decode(&seal(&body), BASE, 0) {
                prop_assert!(restored.horizon() >= BASE);
            }
        }
    }
}
