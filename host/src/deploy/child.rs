//! The child process that compiles, from within.
//!
//! It sets its own limits before it reads a byte that somebody else chose.
//!
//! ```text
//! stdin    key:32  length:8  file
//! stdout   sealed code 0  |  why the file is refused, as JSON 1  |  why it cannot work 2
//! ```
//! What kind of answer it is comes last, so that an answer that was cut is none.

use std::io::{self, Read, Write};

use super::compiler::{ACCEPTED, CompileLimits, REFUSED, THREADS, UNABLE};
use super::process::confine;
use crate::wasm::{FileLimits, Key, compile};

/// Compiles what comes on standard input, under `limits`, and answers on standard output.
///
/// # Errors
/// If the host is gone.
pub fn serve(limits: CompileLimits) -> io::Result<()> {
    let (kind, answer) = match confine(limits.memory, limits.time, THREADS as u64) {
        Ok(()) => answer(&mut io::stdin().lock(), &limits.file)?,
        Err(error) => (UNABLE, format!("its limits cannot be set: {error}").into_bytes()),
    };
    let mut output = io::stdout().lock();
    output.write_all(&answer)?;
    output.write_all(&[kind])?;
    output.flush()
}

fn answer(input: &mut impl Read, limits: &FileLimits) -> io::Result<(u8, Vec<u8>)> {
    let mut key = [0; 32];
    input.read_exact(&mut key)?;
    let mut length = [0; 8];
    input.read_exact(&mut length)?;
    let mut bytes = Vec::new();
    input.take(u64::from_le_bytes(length)).read_to_end(&mut bytes)?;
    Ok(match compile(&bytes, &Key::from_bytes(key), limits) {
        Ok(sealed) => (ACCEPTED, sealed),
        Err(reason) => (REFUSED, serde_json::to_vec(&reason)?),
    })
}
