//! Takes all the memory it can get on a marked record (`!…`); every other record comes out unchanged.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `step` (default) | asks for nearly 2 GiB at once, the most that Rust allocates on a 32-bit machine |
//! | `pages` | asks for 64 KiB after 64 KiB, and writes to each |
//! | `hold` | takes memory as `pages` does, and then waits for an hour with it |
//! | `leak` | keeps one MiB more for each marked record, until there is none |
//!
//! | config `then` | once memory is denied |
//! |---|---|
//! | `abort` (default) | ends as a program does that cannot allocate |
//! | `cope` | gives all of it back and emits the record |

use std::alloc::{Layout, handle_alloc_error};
use std::hint::black_box;
use std::thread;
use std::time::Duration;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

const PAGE: usize = 64 * 1024;
const STEP: usize = 2 * 1024 * 1024 * 1024 - PAGE;
const LEAK: usize = 1024 * 1024;
/// Longer than any deadline.
const LONG: Duration = Duration::from_secs(3_600);

#[derive(Clone, Copy)]
enum How {
    Step,
    Pages,
    Hold,
    Leak,
}

struct Memory {
    how: How,
    cope: bool,
    leaked: Vec<Vec<u8>>,
}

#[sandmill_guest::handler]
impl Handler for Memory {
    fn start(config: &Config) -> Result<Self, StartError> {
        let how = match config.get("how").unwrap_or("step") {
            "step" => How::Step,
            "pages" => How::Pages,
            "hold" => How::Hold,
            "leak" => How::Leak,
            other => {
                return Err(
                    format!("config key `how` is {other:?}: expected step, pages, hold or leak").into()
                );
            }
        };
        let cope = match config.get("then").unwrap_or("abort") {
            "abort" => false,
            "cope" => true,
            other => return Err(format!("config key `then` is {other:?}: expected abort or cope").into()),
        };
        Ok(Self { how, cope, leaked: Vec::new() })
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            let granted = self.take(allocate);
            if !granted && !self.cope {
                handle_alloc_error(Layout::new::<[u8; PAGE]>());
            }
        }
        out.forward(record);
        Ok(())
    }
}

impl Memory {
    /// Takes memory from `allocate`. False: it was denied some, and has given back what it held.
    fn take(&mut self, mut allocate: impl FnMut(usize) -> Option<Vec<u8>>) -> bool {
        match self.how {
            How::Step => allocate(STEP).is_some(),
            How::Pages | How::Hold => {
                let mut pages = Vec::new();
                while keep(&mut pages, allocate(PAGE)) {}
                if let How::Hold = self.how {
                    #[allow(clippy::disallowed_methods, reason = "to keep it is what this is for")]
                    thread::sleep(LONG);
                }
                false
            }
            How::Leak => {
                let granted = keep(&mut self.leaked, allocate(LEAK));
                if !granted {
                    self.leaked = Vec::new();
                }
                granted
            }
        }
    }
}

/// False: there is no block, or no memory for the list of them.
fn keep(blocks: &mut Vec<Vec<u8>>, block: Option<Vec<u8>>) -> bool {
    let room = blocks.try_reserve(1).is_ok();
    if let (Some(block), true) = (block, room) {
        blocks.push(block);
        return true;
    }
    false
}

/// Memory of this size, with a byte written to each of its pages; none if it is denied.
fn allocate(size: usize) -> Option<Vec<u8>> {
    let mut block = Vec::new();
    block.try_reserve_exact(size).ok()?;
    block.resize(size, 0);
    block.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
    // The compiler may leave out an allocation that nobody looks at, and take it for granted.
    Some(black_box(block))
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::Harness;

    use super::{Handler, Memory, PAGE, STEP, allocate};

    fn memory(how: &str) -> Memory {
        Memory::start(&[("how", how)].into()).expect("the config is right")
    }

    #[test]
    fn a_record_without_the_mark_comes_out() {
        for how in ["step", "pages", "hold", "leak"] {
            let mut memory = Harness::<Memory>::start([("how", how)]).expect("the config is right");
            assert_eq!(memory.run(["a", ""]).texts(), ["a", ""]);
        }
        assert!(Harness::<Memory>::start([("how", "x")]).is_err());
        assert!(Harness::<Memory>::start([("then", "x")]).is_err());
    }

    #[test]
    fn pages_are_taken_until_one_is_denied() {
        let mut sizes = Vec::new();
        let granted = memory("pages").take(|size| {
            sizes.push(size);
            (sizes.len() < 5).then(Vec::new)
        });
        assert!(!granted);
        assert_eq!(sizes, [PAGE; 5]);
    }

    #[test]
    fn a_leak_holds_what_it_took_until_it_is_denied() {
        let mut memory = memory("leak");
        assert!(memory.take(allocate));
        assert!(memory.take(allocate));
        assert_eq!(memory.leaked.len(), 2);
        assert!(!memory.take(|_| None));
        assert!(memory.leaked.is_empty());
    }

    #[test]
    fn one_step_is_one_question() {
        assert!(!memory("step").take(|size| {
            assert_eq!(size, STEP);
            assert!(i32::try_from(size).is_ok(), "more than Rust would ask for");
            None
        }));
    }
}
