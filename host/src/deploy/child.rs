//! The child process that compiles, from within.
//!
//! It sets its own limits before it reads a byte that somebody else chose.
//!
//! ```text
//! stdin    key:32  length:8  file
//! stdout   sealed code 0  |  why the file is refused, as JSON 1  |  why it cannot work 2
//! ```
//! What kind of answer it is comes last, so that an answer that was cut is none.

use std::fs;
use std::io::{self, Read, Write};
use std::time::Duration;

use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit,
};

use super::compiler::{ACCEPTED, CompileLimits, REFUSED, THREADS, UNABLE};
use crate::wasm::{FileLimits, Key, compile};

/// Compiles what comes on standard input, under `limits`, and answers on standard output.
///
/// # Errors
/// If the host is gone.
pub fn serve(limits: CompileLimits) -> io::Result<()> {
    let (kind, answer) = match confine(limits) {
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

/// Memory, processor time, files: as little as compiling needs. Last in line for the processor, first for whoever has to
/// end something for want of memory.
fn confine(limits: CompileLimits) -> io::Result<()> {
    /// Below everything that serves records.
    const NICE: i32 = 10;
    let at_most = |resource, limit: u64| {
        // What it was started with may be less.
        let limit = getrlimit(resource).maximum.map_or(limit, |inherited| inherited.min(limit));
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })
    };
    set_parent_process_death_signal(Some(Signal::KILL))?;
    nice(NICE)?;
    // Where the system has no such file it has no such choice.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    at_most(Resource::As, limits.memory)?;
    // The host ends it by the clock; this is for a host that is gone.
    let seconds = limits.time.saturating_add(Duration::from_secs(1)).as_secs();
    at_most(Resource::Cpu, seconds.saturating_mul(THREADS as u64))?;
    at_most(Resource::Core, 0)?;
    at_most(Resource::Fsize, 0)?;
    Ok(())
}
