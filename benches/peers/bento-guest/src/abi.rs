//! What Bento calls, and what it offers (its `internal/impl/wasm`).
//!
//! Bento calls `allocate` from inside `v0_msg_as_bytes`, writes the message there, and gives pointer and
//! length in one number. It copies what `v0_msg_set_bytes` shows it before that returns. Would this module
//! export `deallocate`, Bento would call it for what it copied; without it both buffers are ours, and one of
//! each serves all messages.

use std::cell::RefCell;
use std::hint::black_box;

#[link(wasm_import_module = "bento_wasm")]
unsafe extern "C" {
    /// Gives the message: address in the upper half, length in bytes in the lower.
    safe fn v0_msg_as_bytes() -> u64;
    /// Replaces the message.
    fn v0_msg_set_bytes(address: *const u8, length: usize);
}

thread_local! {
    /// The message. Its length stays 0: Bento writes into what is reserved.
    static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static OUTPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Gives room for `size` bytes, until the next call.
#[unsafe(no_mangle)]
extern "C" fn allocate(size: usize) -> *mut u8 {
    INPUT.with_borrow_mut(|input| {
        input.reserve(size);
        input.as_mut_ptr()
    })
}

/// Adds up the bytes of the message.
#[unsafe(no_mangle)]
extern "C" fn noop() {
    with_message(|message| {
        black_box(message.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)));
    });
}

/// Replaces the message, a line of an access log, by its JSON.
#[unsafe(no_mangle)]
extern "C" fn parse() {
    with_message(|line| {
        OUTPUT.with_borrow_mut(|output| {
            if crate::parse(line, output).is_err() {
                std::process::abort(); // A trap is the only way to say so.
            }
            // SAFETY: `output` holds that many bytes at that address, and is not touched before the call returns.
            unsafe { v0_msg_set_bytes(output.as_ptr(), output.len()) };
        });
    });
}

fn with_message(work: impl FnOnce(&[u8])) {
    let place = v0_msg_as_bytes();
    let (address, length) = ((place >> 32) as u32 as usize, place as u32 as usize);
    if length == 0 {
        return work(&[]);
    }
    // SAFETY: Bento got the address from `allocate` with this length, wrote all of it, and calls `allocate`
    // again only for the next message.
    work(unsafe { std::slice::from_raw_parts(address as *const u8, length) });
}
