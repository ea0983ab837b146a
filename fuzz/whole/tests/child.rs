//! The child process that compiles says of any module what compiling in this process says.

use std::path::PathBuf;
use std::time::Duration;

use fastrand::Rng;
use sandmill::deploy::{CompileError, CompileLimits, Compiler};
use sandmill::wasm::compile;
use sandmill_fuzz_whole::{module, sandbox};

/// Modules that are drawn; a child takes some hundredths of a second to start.
const DRAWN: u64 = 20;

#[test]
fn the_child_says_what_compiling_here_says() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_sandmill-fuzz-whole"));
    let child = Compiler::of_program(
        program,
        CompileLimits { time: Duration::from_secs(60), memory: 2 << 30, file: sandbox::FILE },
    );
    let mut accepted = 0;
    let drawn = (0..DRAWN).map(|number| module::draw(&mut Rng::with_seed(number), &[]));
    for (number, bytes) in module::handlers().take(4).cloned().chain(drawn).enumerate() {
        match (child.compile(&bytes), compile(&bytes, &sandbox::key(), &sandbox::FILE)) {
            (Ok(compiled), Ok(_)) => {
                accepted += 1;
                assert_eq!(compiled.about().digest, sandmill::wasm::Digest::of(&bytes));
            }
            (Err(CompileError::Refused(there)), Err(here)) => assert_eq!(there, here, "number {number}"),
            (there, here) => panic!("number {number}: {there:?} in the child, {:?} here", here.map(|_| ())),
        }
    }
    assert!(accepted >= 4, "{accepted} were accepted");
}
