//! Emits every record unchanged, with an allocator of its own: each piece of memory begins with a mark, and
//! giving back a piece without one is a crash.
//!
//! A handler may choose an allocator with `#[global_allocator]`. Then two of them live in it, because the C
//! library under Rust's keeps its own; each piece must go back where it came from. The random seed of a
//! `HashMap` and the config cross that line.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

struct Marking;

/// Begins every piece, and keeps the alignment of what follows.
const MARK: [u8; 16] = *b"own-allocator 16";

// SAFETY: the system's allocator does the work, of pieces that are longer by their alignment, at least by the
// mark. What is handed out lies behind that, so it is aligned as asked.
#[allow(unsafe_code, reason = "an allocator is unsafe by nature")]
unsafe impl GlobalAlloc for Marking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the size is not 0; the mark fits in front.
        unsafe {
            let start = System.alloc(marked(layout));
            if start.is_null() {
                return start;
            }
            start.cast::<[u8; 16]>().write(MARK);
            start.add(ahead(layout))
        }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise that the piece came from here; the mark is how it is held to it.
        unsafe {
            let start = place.sub(ahead(layout));
            assert!(
                start.cast::<[u8; 16]>().read() == MARK,
                "a piece of {} bytes is not mine",
                layout.size()
            );
            start.cast::<[u8; 16]>().write([0; 16]);
            System.dealloc(start, marked(layout));
        }
    }
}

/// How far ahead of a piece its mark is.
fn ahead(layout: Layout) -> usize {
    layout.align().max(MARK.len())
}

fn marked(layout: Layout) -> Layout {
    Layout::from_size_align(ahead(layout) + layout.size(), ahead(layout)).expect("a little longer")
}

#[global_allocator]
static MARKING: Marking = Marking;

struct OwnAllocator {
    seen: HashMap<Vec<u8>, u64>,
}

#[sandmill_guest::handler]
impl Handler for OwnAllocator {
    fn start(config: &Config) -> Result<Self, StartError> {
        let mut seen = HashMap::new();
        for (key, value) in config.iter() {
            seen.insert([key.as_bytes(), value.as_bytes()].concat(), 0);
        }
        Ok(Self { seen })
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        // Memory that comes and goes, so that a broken list of free pieces is walked.
        *self.seen.entry(record.value().unwrap_or_default().to_vec()).or_default() += 1;
        if self.seen.len() > 100 {
            self.seen.clear();
        }
        out.forward(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::Harness;

    use super::OwnAllocator;

    #[test]
    fn records_come_out_as_they_came_in() {
        let mut handler = Harness::<OwnAllocator>::start([("a", "b")]).expect("any config will do");
        let values: Vec<_> = (0..1_000).map(|number| number.to_string()).collect();
        assert_eq!(handler.run(values.iter().map(String::as_str)).texts(), values);
    }
}
