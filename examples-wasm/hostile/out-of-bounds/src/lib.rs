//! Reads or writes where it has no memory on a marked record (`!…`); every other record comes out unchanged.
//!
//! | config `how` | meaning |
//! |---|---|
//! | `write` (default) | the last bytes that a 32-bit address can name |
//! | `read` | the same |
//! | `just-past` | the first byte behind the memory that it has now |

use std::hint::black_box;

use sandmill_guest::{Config, Failure, Handler, Outputs, Record, StartError};

/// No memory of a handler reaches so far.
const LAST: usize = u32::MAX as usize - 15;

enum OutOfBounds {
    Write,
    Read,
    JustPast,
}

#[sandmill_guest::handler]
impl Handler for OutOfBounds {
    fn start(config: &Config) -> Result<Self, StartError> {
        match config.get("how").unwrap_or("write") {
            "write" => Ok(Self::Write),
            "read" => Ok(Self::Read),
            "just-past" => Ok(Self::JustPast),
            other => Err(format!("config key `how` is {other:?}: expected write, read or just-past").into()),
        }
    }

    fn handle(&mut self, record: Record<'_>, out: &mut Outputs) -> Result<(), Failure> {
        if record.value().is_some_and(|value| value.starts_with(b"!")) {
            self.transgress();
            return Err(Failure::reject("unreachable", "came back from where it has no memory"));
        }
        out.forward(record);
        Ok(())
    }
}

impl OutOfBounds {
    /// Ends the instance: on Wasm, where an address is a number and the sandbox checks each.
    #[cfg(target_arch = "wasm32")]
    #[allow(unsafe_code, reason = "to do what no sound program can is what this handler is for")]
    fn transgress(&self) {
        let address = black_box(match self {
            Self::Write | Self::Read => LAST,
            Self::JustPast => core::arch::wasm32::memory_size::<0>() * 65_536,
        }) as *mut u8;
        // SAFETY: there is none. The sandbox has to end this instance here, and does.
        unsafe {
            match self {
                Self::Read => {
                    black_box(address.read_volatile());
                }
                Self::Write | Self::JustPast => address.write_volatile(1),
            }
        }
    }

    #[cfg(not(target_arch = "wasm32"))]
    fn transgress(&self) {
        panic!("out of bounds at {}", black_box(LAST));
    }
}

#[cfg(test)]
mod tests {
    use sandmill_guest::testing::Harness;

    use super::OutOfBounds;

    #[test]
    fn what_is_not_marked_comes_out() {
        let mut handler = Harness::<OutOfBounds>::start([("how", "read")]).expect("the config is right");
        assert_eq!(handler.run(["fine"]).outputs().count(), 1);
        assert!(Harness::<OutOfBounds>::start([("how", "no")]).is_err());
    }
}
