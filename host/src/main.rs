//! The `sandmill` binary: arguments in, exit code out.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;
use sandmill::cli::{self, Arguments};

fn main() -> ExitCode {
    cli::run(Arguments::parse())
}
