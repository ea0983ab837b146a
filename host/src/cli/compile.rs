//! `sandmill compile-module`: the process that compiles, started by the host for each module.
//!
//! Hidden: it speaks the host's own protocol on standard input and output.

use std::time::Duration;

use clap::Args;

use super::Failure;
use crate::deploy::{CompileLimits, serve};
use crate::wasm::FileLimits;

/// Arguments of `compile-module`.
#[derive(Debug, Args)]
pub(super) struct Compile {
    /// How long it may take
    #[arg(long, value_name = "MILLISECONDS")]
    time_ms: u64,

    /// Address space that it may take
    #[arg(long, value_name = "BYTES")]
    memory: u64,

    /// Size of the file
    #[arg(long, value_name = "BYTES")]
    size: usize,

    /// Functions that it may have
    #[arg(long, value_name = "NUMBER")]
    functions: usize,
}

impl Compile {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let limits = CompileLimits {
            time: Duration::from_millis(self.time_ms),
            memory: self.memory,
            file: FileLimits { size: self.size, functions: self.functions },
        };
        serve(limits).map_err(Failure::start)
    }
}
