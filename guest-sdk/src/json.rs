//! JSON strings, written where the output is.
//!
//! Nearly all text is plain: printable ASCII without quote and backslash. So text is copied and looked at in one
//! go, sixteen or eight bytes at a time, and only what turns out not to be plain is written again, escaped.

/// Appends `text` as a string, quotes included.
#[inline]
pub fn string(into: &mut Vec<u8>, text: &[u8]) {
    into.reserve(text.len() + 2);
    into.push(b'"');
    if !append_plain(into, text) {
        append_escaped(into, text);
    }
    into.push(b'"');
}

/// Appends `text` if it is plain; else it appends nothing and returns false.
#[inline]
fn append_plain(into: &mut Vec<u8>, text: &[u8]) -> bool {
    let (start, len) = (into.len(), text.len());
    into.reserve(len);
    // SAFETY: there is room for `len` more bytes, all of which are written before they count, and a vector that is
    // borrowed to be written to is nowhere else read.
    unsafe {
        let is_plain = copy_plain(text.as_ptr(), into.as_mut_ptr().add(start), len);
        if is_plain {
            into.set_len(start + len);
        }
        is_plain
    }
}

/// Copies `len` bytes, and returns whether all of them are plain. Where the number is no multiple of a piece,
/// the last two pieces overlap.
///
/// # Safety
/// `from` may be read and `to` written for `len` bytes, and they do not overlap.
#[inline]
unsafe fn copy_plain(from: *const u8, to: *mut u8, len: usize) -> bool {
    /// Copies one piece of `PIECE` bytes at `at`.
    ///
    /// # Safety
    /// It may be read at `from` and written at `to`.
    #[inline]
    unsafe fn piece<const PIECE: usize>(from: *const u8, to: *mut u8, at: usize) -> [u8; PIECE] {
        // SAFETY: the caller's promise; a byte has no alignment.
        unsafe {
            let bytes = from.add(at).cast::<[u8; PIECE]>().read();
            to.add(at).cast::<[u8; PIECE]>().write(bytes);
            bytes
        }
    }
    // SAFETY: every piece lies within `len` bytes.
    unsafe {
        if len >= 16 {
            let mut special = special16(piece(from, to, len - 16));
            for at in (0..len - 16).step_by(16) {
                special |= special16(piece(from, to, at));
            }
            !special
        } else if len >= 8 {
            let (head, tail) = (piece(from, to, 0), piece(from, to, len - 8));
            special8(u64::from_le_bytes(head)) | special8(u64::from_le_bytes(tail)) == 0
        } else if len >= 4 {
            let (head, tail): ([u8; 4], [u8; 4]) = (piece(from, to, 0), piece(from, to, len - 4));
            let both = u64::from(u32::from_le_bytes(head)) << 32 | u64::from(u32::from_le_bytes(tail));
            special8(both) == 0
        } else {
            let bytes = std::slice::from_raw_parts(from, len);
            bytes.iter().enumerate().fold(true, |plain, (at, &byte)| {
                to.add(at).write(byte);
                plain & is_plain(byte)
            })
        }
    }
}

const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte < 0x80 && byte != b'"' && byte != b'\\'
}

/// Whether one of sixteen bytes is not plain. No early end, so that it becomes vector instructions.
#[inline]
fn special16(bytes: [u8; 16]) -> bool {
    #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
    {
        use core::arch::wasm32::{i8x16_eq, i8x16_lt, i8x16_splat, v128_any_true, v128_or};
        // SAFETY: both are sixteen bytes.
        let bytes = unsafe { core::mem::transmute::<[u8; 16], core::arch::wasm32::v128>(bytes) };
        // As signed numbers, bytes from 0x80 on are below a space as well.
        let low = i8x16_lt(bytes, i8x16_splat(b' ' as i8));
        let quote = i8x16_eq(bytes, i8x16_splat(b'"' as i8));
        let backslash = i8x16_eq(bytes, i8x16_splat(b'\\' as i8));
        v128_any_true(v128_or(v128_or(low, quote), backslash))
    }
    #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
    {
        let number = u128::from_le_bytes(bytes);
        special8(number as u64) | special8((number >> 64) as u64) != 0
    }
}

/// The highest bit of a byte is set if it is not plain; those of bytes above one that is not may be, too.
///
/// Eight comparisons at once: Mycroft's test for a zero byte, 1987.
#[inline]
const fn special8(bytes: u64) -> u64 {
    const EACH: u64 = u64::MAX / 255;
    const fn has_zero(bytes: u64) -> u64 {
        bytes.wrapping_sub(EACH) & !bytes
    }
    let control = bytes.wrapping_sub(EACH * 0x20) & !bytes;
    let quote = has_zero(bytes ^ (EACH * 0x22));
    let backslash = has_zero(bytes ^ (EACH * 0x5c));
    (bytes | control | quote | backslash) & (EACH * 0x80)
}

/// Appends text with escapes, and U+FFFD for each sequence of bytes that is no UTF-8.
#[cold]
fn append_escaped(into: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        escape(into, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            into.extend_from_slice(br"\ufffd");
        }
    }
}

fn escape(into: &mut Vec<u8>, text: &[u8]) {
    let mut written = 0;
    for (at, &byte) in text.iter().enumerate() {
        if is_plain(byte) || byte >= 0x80 {
            continue;
        }
        into.extend_from_slice(&text[written..at]);
        written = at + 1;
        match byte {
            b'"' => into.extend_from_slice(br#"\""#),
            b'\\' => into.extend_from_slice(br"\\"),
            b'\n' => into.extend_from_slice(br"\n"),
            b'\r' => into.extend_from_slice(br"\r"),
            b'\t' => into.extend_from_slice(br"\t"),
            control => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                into.extend_from_slice(br"\u00");
                into.push(HEX[usize::from(control >> 4)]);
                into.push(HEX[usize::from(control & 15)]);
            }
        }
    }
    into.extend_from_slice(&text[written..]);
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::string;

    fn written(text: &[u8]) -> Vec<u8> {
        let mut into = b"before".to_vec();
        string(&mut into, text);
        into.split_off(6)
    }

    #[test]
    fn every_byte_at_every_place_comes_back_from_a_json_parser() {
        for byte in 0..=255_u8 {
            for len in (0..=20).chain([31, 32, 33, 48]) {
                for at in 0..=len {
                    let mut text = vec![b'a'; len];
                    text.insert(at, byte);
                    let json = written(&text);
                    let read: String = serde_json::from_slice(&json).expect("valid JSON");
                    assert_eq!(read, String::from_utf8_lossy(&text), "byte {byte:#04x} at {at} of {len}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_a_json_parser(text in vec(any::<u8>(), 0..100)) {
            let read: String = serde_json::from_slice(&written(&text)).expect("valid JSON");
            prop_assert_eq!(read, String::from_utf8_lossy(&text));
        }
    }

    #[test]
    fn escapes_are_the_short_ones() {
        assert_eq!(written(b"a\"b\\c\n\r\t\x00\x1f"), br#""a\"b\\c\n\r\t\u0000\u001f""#);
        assert_eq!(written("söl ✓".as_bytes()), "\"söl ✓\"".as_bytes());
        assert_eq!(written(b"\xe4\xe5x\xc3"), br#""\ufffd\ufffdx\ufffd""#);
    }
}
