//! Appending bytes, fast for the few that most appends are.
//!
//! On Wasm a copy whose length is not known when it is compiled is a call out of the guest, which costs as much
//! as copying a hundred bytes. What a handler writes is mostly shorter: a quote, a field's name, a number.
//! So up to 64 bytes are copied in place, by overlapping pieces: for 20 bytes, the first sixteen and the last
//! sixteen. Beyond that the call is as fast.

/// The longest copy that is made in place.
const SHORT: usize = 64;

/// As [`Vec::extend_from_slice`].
#[inline]
pub fn append(into: &mut Vec<u8>, bytes: &[u8]) {
    let len = bytes.len();
    if len > SHORT {
        into.extend_from_slice(bytes);
        return;
    }
    into.reserve(len);
    // SAFETY: there is room for `len` more bytes, which are written before they count, and a vector that is
    // borrowed to be written to is nowhere else read.
    unsafe {
        copy_short(bytes.as_ptr(), into.as_mut_ptr().add(into.len()), len);
        into.set_len(into.len() + len);
    }
}

/// Copies a few bytes.
///
/// # Safety
/// `from` may be read and `to` written for `len` bytes, and they do not overlap.
#[inline]
unsafe fn copy_short(from: *const u8, to: *mut u8, len: usize) {
    // SAFETY: every piece lies within the first or the last of `len` bytes.
    unsafe {
        if len >= 16 {
            copy::<[u8; 16]>(from, to, 0);
            if len > 32 {
                copy::<[u8; 16]>(from, to, 16);
                copy::<[u8; 16]>(from, to, len - 32);
            }
            copy::<[u8; 16]>(from, to, len - 16);
        } else if len >= 8 {
            copy::<[u8; 8]>(from, to, 0);
            copy::<[u8; 8]>(from, to, len - 8);
        } else if len >= 4 {
            copy::<[u8; 4]>(from, to, 0);
            copy::<[u8; 4]>(from, to, len - 4);
        } else if len >= 1 {
            copy::<u8>(from, to, 0);
            copy::<u8>(from, to, len / 2);
            copy::<u8>(from, to, len - 1);
        }
    }
}

/// Copies one piece at `at`.
///
/// # Safety
/// It may be read at `from` and written at `to`.
#[inline]
unsafe fn copy<T>(from: *const u8, to: *mut u8, at: usize) {
    // SAFETY: the caller's promise; alignment does not matter.
    unsafe { to.add(at).cast::<T>().write_unaligned(from.add(at).cast::<T>().read_unaligned()) }
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn any_number_of_bytes_is_appended_as_it_is() {
        let bytes: Vec<u8> = (0..=255).chain(0..100).collect();
        for len in 0..=bytes.len() {
            let mut into = b"before".to_vec();
            into.shrink_to_fit();
            append(&mut into, &bytes[..len]);
            append(&mut into, &bytes[len..]);
            assert_eq!(into[..6], *b"before");
            assert_eq!(into[6..], bytes, "{len}");
        }
    }
}
