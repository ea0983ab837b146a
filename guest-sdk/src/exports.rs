//! The functions that a module exports, in terms of a handler: compiled for Wasm only.
//!
//! The host asks for memory with `cabi_realloc` at two kinds of moments. Between two calls it is for the next
//! batch, which nobody frees: that comes from the arena. While the guest runs, or before it started, it is for
//! the result of something that the guest called, and will be freed by whoever called it. Most of those callers
//! are in the C library under Rust's, so that comes from its allocator, whatever allocator a handler chose; this
//! crate takes a copy of what it asked for and gives the memory back.

use std::cell::UnsafeCell;

use crate::abi::{self, Answer, List, Lowered, Maybe, Started};
use crate::arena::Arena;
use crate::record::Batch;

struct Memory {
    arena: Arena,
    /// The guest does not run: what the host asks for is part of a batch.
    between_calls: bool,
    /// Written before anything else is read: see [`start`].
    touched: bool,
}

/// A cell for the only thread there is.
struct Single(UnsafeCell<Memory>);

// SAFETY: modules with threads are refused by the host, and linked only with another target.
unsafe impl Sync for Single {}

static MEMORY: Single =
    Single(UnsafeCell::new(Memory { arena: Arena::new(), between_calls: false, touched: false }));

/// Runs `with` on the memory.
fn memory<T>(with: impl FnOnce(&mut Memory) -> T) -> T {
    // SAFETY: there is one thread, and no closure below calls back into this.
    with(unsafe { &mut *MEMORY.0.get() })
}

/// What the host allocates with.
#[unsafe(no_mangle)]
extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
    if old_size == 0 && size == 0 {
        return std::ptr::without_provenance_mut(align);
    }
    let in_arena = memory(|memory| memory.between_calls.then(|| memory.arena.alloc(size, align)));
    match in_arena {
        Some(place) => {
            if old_size != 0 {
                // SAFETY: the host got `old_size` bytes there, and `place` has room for `size`.
                unsafe { place.copy_from_nonoverlapping(old, old_size.min(size)) };
            }
            place
        }
        None => owned::take(old, old_size, align, size),
    }
}

/// Memory that somebody will free.
#[cfg(target_os = "wasi")]
mod owned {
    use std::ffi::c_void;

    unsafe extern "C" {
        fn realloc(old: *mut c_void, size: usize) -> *mut c_void;
        fn free(place: *mut c_void);
    }

    #[cold]
    pub fn take(old: *mut u8, old_size: usize, _: usize, size: usize) -> *mut u8 {
        let old = if old_size == 0 { std::ptr::null_mut() } else { old };
        // SAFETY: `old` came from here, or is null: then this allocates. Any alignment that the canonical ABI has
        // is one of this allocator.
        let place: *mut u8 = unsafe { realloc(old.cast(), size) }.cast();
        assert!(!place.is_null(), "no memory for {size} bytes");
        place
    }

    /// # Safety
    /// `place` came from [`take`] with this size, and is not used any more.
    pub unsafe fn give(place: *mut u8, _: usize, _: usize) {
        // SAFETY: the caller's promise.
        unsafe { free(place.cast()) }
    }
}

/// Memory that somebody will free: without a C library, Rust's.
#[cfg(not(target_os = "wasi"))]
mod owned {
    use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("the canonical ABI names small alignments")
    }

    #[cold]
    pub fn take(old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
        // SAFETY: sizes are not 0, and `old` came from here with its size and alignment.
        let place = unsafe {
            if old_size == 0 {
                alloc(layout(size, align))
            } else {
                realloc(old, layout(old_size, align), size)
            }
        };
        if place.is_null() {
            handle_alloc_error(layout(size, align));
        }
        place
    }

    /// # Safety
    /// `place` came from [`take`] with this size and alignment, and is not used any more.
    pub unsafe fn give(place: *mut u8, size: usize, align: usize) {
        // SAFETY: the caller's promise.
        unsafe { dealloc(place, layout(size, align)) }
    }
}

/// Takes over a text that the host wrote as the result of a call, or as a part of the config.
///
/// # Safety
/// It is UTF-8, and if it is not empty, it lies in memory that [`cabi_realloc`] gave while the guest ran or
/// before it started, of its length.
pub unsafe fn take_text(text: List<u8>) -> String {
    // SAFETY: the caller's promise; the copy is made before the memory goes.
    unsafe {
        let copy = str::from_utf8_unchecked(text.get()).to_owned();
        if text.len != 0 {
            owned::give(text.start.cast_mut(), text.len, 1);
        }
        copy
    }
}

/// Asks the host for the text of a name.
///
/// # Safety
/// `get` reads a text, and writes an option of a text that it allocates.
pub unsafe fn ask_text(
    get: unsafe extern "C" fn(*const u8, usize, *mut Maybe<List<u8>>),
    name: &str,
) -> Option<String> {
    let mut value = std::mem::MaybeUninit::uninit();
    // SAFETY: the caller's promise.
    unsafe {
        get(name.as_ptr(), name.len(), value.as_mut_ptr());
        value.assume_init().get().map(|text| take_text(text))
    }
}

/// `start`: takes over the config.
///
/// # Safety
/// `list` and `len` are a list of pairs of texts that the host wrote into memory from [`cabi_realloc`].
pub unsafe fn start(
    list: *mut [List<u8>; 2],
    len: usize,
    start: impl FnOnce(Vec<(String, String)>) -> Result<(), String>,
) -> *const Started {
    // A page of static data that is read and then written costs the host two page faults; one that is written
    // first costs one. This is the page that every start touches.
    // SAFETY: it is a part of a static, and there is one thread.
    memory(|memory| unsafe { (&raw mut memory.touched).write_volatile(true) });
    assert!(!memory(|memory| memory.between_calls), "the host starts an instance once");
    construct();
    // SAFETY: the host wrote the list and its texts, and an empty list has no memory.
    let config = unsafe {
        let pairs = if len == 0 { &[] } else { std::slice::from_raw_parts(list, len) };
        let config = pairs.iter().map(|&[key, value]| (take_text(key), take_text(value))).collect();
        if len != 0 {
            owned::give(list.cast(), size_of_val(pairs), align_of::<List<u8>>());
        }
        config
    };
    let started = Started::lend(start(config));
    memory(|memory| memory.between_calls = true);
    started
}

/// Runs static constructors. A linker that finds nobody doing so runs them around every export.
fn construct() {
    // The reactors of wasm32-wasip1 have a function for this that runs before everything else.
    #[cfg(not(target_env = "p1"))]
    {
        unsafe extern "C" {
            fn __wasm_call_ctors();
        }
        // SAFETY: the linker provides it, and an instance starts once.
        unsafe { __wasm_call_ctors() }
    }
}

/// `handle`: lends the batch to `handle`, which lends its answer to the host.
///
/// # Safety
/// `lowered` is a batch that the host wrote into memory from [`cabi_realloc`].
pub unsafe fn handle(
    lowered: *const Lowered,
    handle: impl FnOnce(Batch<'_>) -> *const Answer,
) -> *const Answer {
    memory(|memory| memory.between_calls = false);
    // SAFETY: the host wrote it, and the arena keeps it until it is reset below.
    let answer = handle(unsafe { abi::batch(&*lowered) });
    memory(|memory| {
        memory.arena.reset();
        memory.between_calls = true;
    });
    answer
}
