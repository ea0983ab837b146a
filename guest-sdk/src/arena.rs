//! Where the host puts a batch: one block of memory, filled from its start and emptied at once.
//!
//! The host asks for room for each column of a batch in a call of its own. A general allocator would search,
//! split and join blocks a dozen times for each call; this one adds to an index. When the call is over nothing
//! of the batch is needed any more, and the arena starts from its beginning.
//!
//! Steady state: one block that holds a whole batch. A batch that does not fit gets more blocks, and the next
//! one finds a single block of their size.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// The smallest block: what a batch of one small record takes.
const SMALLEST: usize = 4 << 10;
/// A larger block is given back when the call is over: the guest's memory has a limit, and one large batch
/// says nothing of the next.
const KEPT: usize = 2 << 20;
/// Every block begins at a multiple of this, the largest alignment that the contract's columns have.
const ALIGN: usize = 8;

/// Memory for the columns of one call at a time.
///
/// Invariant: `next <= end` point into, or just behind, the last block, or both are null if there is none.
#[derive(Debug)]
pub struct Arena {
    next: *mut u8,
    end: *mut u8,
    blocks: Vec<Block>,
    /// Bytes of the first block of the next call.
    wanted: usize,
}

#[derive(Debug)]
struct Block {
    start: NonNull<u8>,
    layout: Layout,
}

impl Arena {
    /// An arena that owns no memory yet.
    pub const fn new() -> Self {
        Self { next: std::ptr::null_mut(), end: std::ptr::null_mut(), blocks: Vec::new(), wanted: SMALLEST }
    }

    /// Room for `size` bytes at a multiple of `align`, a power of two of 8 at most. It is valid until
    /// [`reset`](Self::reset), and uninitialized.
    #[inline]
    pub fn alloc(&mut self, size: usize, align: usize) -> *mut u8 {
        debug_assert!(align.is_power_of_two() && align <= ALIGN);
        let padding = self.next.addr().wrapping_neg() & (align - 1);
        if let Some(taken) = size.checked_add(padding)
            && taken <= self.end.addr() - self.next.addr()
        {
            // Both stay inside of the block: `taken` bytes are left in it.
            let place = self.next.wrapping_add(padding);
            self.next = self.next.wrapping_add(taken);
            return place;
        }
        self.grow(size)
    }

    /// A new block, and `size` bytes at its start.
    #[cold]
    fn grow(&mut self, size: usize) -> *mut u8 {
        let all: usize = self.blocks.iter().map(|block| block.layout.size()).sum();
        // As much again as there is, so that a large batch takes few blocks.
        let size_of_block = size.max(self.wanted).max(all);
        let Ok(layout) = Layout::from_size_align(size_of_block, ALIGN) else {
            panic!("the host asked for {size} bytes, more than a memory has")
        };
        // SAFETY: the layout is not empty, for `wanted` is at least `SMALLEST`.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        self.blocks.push(Block { start, layout });
        self.next = start.as_ptr().wrapping_add(size);
        self.end = start.as_ptr().wrapping_add(size_of_block);
        start.as_ptr()
    }

    /// Forgets everything that was handed out.
    #[inline]
    pub fn reset(&mut self) {
        if let [block] = self.blocks.as_slice()
            && block.layout.size() <= KEPT
        {
            self.next = block.start.as_ptr();
        } else {
            self.join();
        }
    }

    /// Frees all blocks; the next call gets one of their size.
    #[cold]
    fn join(&mut self) {
        let all: usize = self.blocks.iter().map(|block| block.layout.size()).sum();
        self.wanted = all.clamp(SMALLEST, KEPT);
        self.free();
    }

    fn free(&mut self) {
        (self.next, self.end) = (std::ptr::null_mut(), std::ptr::null_mut());
        for Block { start, layout } in self.blocks.drain(..) {
            // SAFETY: the block came from `alloc` with this layout, and leaves the list with this.
            unsafe { dealloc(start.as_ptr(), layout) };
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.free();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes places of these sizes and alignments, writes to all of them, and reads them back.
    fn fill(arena: &mut Arena, sizes: &[(usize, usize)]) {
        let places: Vec<_> = sizes
            .iter()
            .zip(1_u8..)
            .map(|(&(size, align), mark)| {
                let place = arena.alloc(size, align);
                assert_eq!(place.addr() % align, 0);
                // SAFETY: the arena gave out so many bytes.
                unsafe { place.write_bytes(mark, size) };
                (place, size, mark)
            })
            .collect();
        for (place, size, mark) in places {
            // SAFETY: as above, and they were written.
            let bytes = unsafe { std::slice::from_raw_parts(place, size) };
            assert!(bytes.iter().all(|&byte| byte == mark), "places overlap");
        }
    }

    #[test]
    fn places_are_aligned_and_apart() {
        let mut arena = Arena::new();
        for _ in 0..3 {
            fill(&mut arena, &[(1, 1), (8, 8), (3, 1), (4, 4), (0, 1), (0, 8), (16, 8), (1, 1)]);
            arena.reset();
        }
        assert_eq!(arena.blocks.len(), 1);
    }

    #[test]
    fn a_large_batch_finds_one_block_the_next_time() {
        let mut arena = Arena::new();
        let sizes = [(3_000, 8), (3_000, 1), (20_000, 4), (7, 1)];
        fill(&mut arena, &sizes);
        assert!(arena.blocks.len() > 1);
        arena.reset();
        fill(&mut arena, &sizes);
        assert_eq!(arena.blocks.len(), 1);
        let first = arena.blocks[0].start;
        arena.reset();
        fill(&mut arena, &sizes);
        assert_eq!(arena.blocks[0].start, first, "the block is used again");
    }

    #[test]
    fn a_very_large_batch_keeps_no_memory() {
        let mut arena = Arena::new();
        fill(&mut arena, &[(KEPT + 1, 8)]);
        arena.reset();
        assert!(arena.blocks.is_empty());
        fill(&mut arena, &[(10, 8)]);
        assert!(arena.blocks[0].layout.size() <= KEPT);
    }

    #[test]
    fn an_unused_arena_owns_nothing() {
        let mut arena = Arena::new();
        arena.reset();
        assert!(arena.blocks.is_empty());
    }
}
