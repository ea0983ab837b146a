//! Commit metadata written and read as the format says it (`docs/COMMIT-METADATA.md`), bit by bit, without a thought
//! for speed: what the host's reader is held against.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use crate::ids::Offset;
use crate::progress::MAX_SPAN;

/// What metadata says: all of `base..base + span` is complete but for these, as distances from the base.
#[derive(Debug, PartialEq, Eq)]
pub struct Plain {
    /// Offsets that it tells about.
    pub span: u64,
    /// Ascending, disjoint, not empty.
    pub unfinished: Vec<Range<u64>>,
}

/// The bytes that the check sum covers, but for the prefix.
pub fn body(form: u8, tag: u32, base: Offset, span: u64, payload: &[u8]) -> Vec<u8> {
    let mut body = vec![form];
    body.extend(tag.to_le_bytes());
    for mut number in [base.0 as u64, span] {
        while number >= 0x80 {
            body.push(number as u8 | 0x80);
            number >>= 7;
        }
        body.push(number as u8);
    }
    body.extend(payload);
    body
}

/// These bytes as text, under a valid check sum.
pub fn sealed(body: &[u8]) -> Vec<u8> {
    let sum = crc32c::crc32c(&[b"sm1", body].concat());
    format!("sm1{}", BASE64.encode([&sum.to_le_bytes(), body].concat())).into_bytes()
}

/// What the text says to a commit at `base`, and the tag of the topic that it names; nothing if it is not valid.
pub fn read(text: &[u8], base: Offset) -> Option<(Plain, u32)> {
    if text.is_empty() {
        return Some((Plain { span: 0, unfinished: Vec::new() }, 0));
    }
    let bytes = BASE64.decode(text.strip_prefix(b"sm1")?).ok()?;
    let body = bytes.get(4..)?;
    let sum = crc32c::crc32c(&[b"sm1", body].concat());
    let (form, written) = (*body.first()?, u32::from_le_bytes(body.get(1..5)?.try_into().ok()?));
    let mut rest = &body[5..];
    let (start, span) = (varint(&mut rest)?, varint(&mut rest)?);
    let mine = bytes[..4] == sum.to_le_bytes()
        && start == base.0 as u64
        && span <= MAX_SPAN
        && base.0.checked_add(span as i64).is_some();
    // Telling of nothing has one way to be written: as form 3, without a payload.
    let proper_nothing = form == 3 && rest.is_empty();
    let unfinished = (mine && (span > 0 || proper_nothing)).then(|| payload(form, rest))??;
    let ordered = unfinished.windows(2).all(|pair| pair[0].end <= pair[1].start);
    let proper = unfinished.iter().all(|range| range.start < range.end && range.end < span);
    (ordered && proper).then_some((Plain { span, unfinished }, written))
}

/// The number of the form that the text has; none if it is empty or not ours.
pub fn form(text: &[u8]) -> Option<u8> {
    BASE64.decode(text.strip_prefix(b"sm1")?).ok()?.get(4).copied()
}

fn payload(form: u8, bytes: &[u8]) -> Option<Vec<Range<u64>>> {
    let mut found = Vec::new();
    let mut end = 0u64;
    let mut rest = bytes;
    let mut add = |between: u64, length: u64, end: &mut u64| {
        let start = end.checked_add(between)?;
        *end = start.checked_add(length)?;
        found.push(start..*end);
        Some(())
    };
    match form {
        1 => {
            for offset in (0..bytes.len() as u64 * 8).filter(|&offset| bit(bytes, offset)) {
                let between = offset - end;
                add(between, 1, &mut end)?;
            }
            // Zeros at the end tell nothing: they are not written.
            bytes.last().is_none_or(|&last| last != 0).then_some(())?;
        }
        2 => {
            while !rest.is_empty() {
                let between = varint(&mut rest)?;
                add(between, varint(&mut rest)?, &mut end)?;
            }
        }
        3 => {
            while !rest.is_empty() {
                add(varint(&mut rest)?, 1, &mut end)?;
            }
        }
        4 if bytes.is_empty() => {}
        4 => {
            let (parameter, codes) = (u64::from(bytes[0]), &bytes[1..]);
            (parameter <= 24 && codes.last().is_some_and(|&last| last != 0)).then_some(())?;
            let (mut at, bits) = (0, codes.len() as u64 * 8);
            while (at..bits).any(|left| bit(codes, left)) {
                let low: u64 = (0..parameter).map(|place| u64::from(bit(codes, at + place)) << place).sum();
                at += parameter;
                let zeros = (at..bits).position(|place| bit(codes, place))? as u64;
                at += zeros + 1;
                add(zeros << parameter | low, 1, &mut end)?;
            }
        }
        _ => return None,
    }
    Some(found)
}

/// A bit, the lowest of the first byte being number 0; zero behind the end.
fn bit(bytes: &[u8], number: u64) -> bool {
    bytes.get(number as usize / 8).is_some_and(|byte| byte >> (number % 8) & 1 != 0)
}

/// Seven bits a byte, the lowest first; at most 64 in all.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0)? + 1;
    let (digits, rest) = bytes.split_at(length);
    *bytes = rest;
    // More than ten bytes are refused, even if those behind were zeros.
    let value = |number: u128, digit: &u8| number << 7 | u128::from(digit & 0x7f);
    (length <= 10).then(|| digits.iter().rev().fold(0, value)).and_then(|number| number.try_into().ok())
}
