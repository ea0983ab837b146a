//! The child process that compiles, as the host sees it.
//!
//! It is this very program, started for one file. It gets the file and a key on its standard input and answers on its
//! standard output; whatever else it does (takes too long, needs too much memory, crashes, answers nonsense or without
//! end) is a reason to refuse the file, and nothing that the host feels.

use std::path::PathBuf;
use std::time::Duration;

use super::process::{Bounds, Death, Program, Said, Silent, is_want_of_memory};
use crate::wasm::{Compiled, FileLimits, Key, LoadError, text};

/// The hidden command of this program that compiles.
pub const COMMAND: &str = "compile-module";

/// First byte of the answer: compiled code follows.
pub(super) const ACCEPTED: u8 = 0;
/// First byte of the answer: why the file is refused follows.
pub(super) const REFUSED: u8 = 1;
/// First byte of the answer: why the child cannot do its work follows.
pub(super) const UNABLE: u8 = 2;
/// Threads that compile.
pub(super) const THREADS: usize = 2;
/// Bytes of an answer, at most. The code of CPython has about 60 MiB.
const ANSWER: u64 = 256 << 20;
/// Bytes of the words of a child that cannot do its work.
const WORDS: usize = 1 << 10;

/// What compiling one module may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompileLimits {
    /// By the clock.
    pub time: Duration,
    /// Address space of the child process, in bytes.
    pub memory: u64,
    /// What is read at all.
    pub file: FileLimits,
}

/// Why there is no compiled code.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum CompileError {
    #[error(transparent)]
    Refused(#[from] LoadError),
    #[error(
        "compiling the module takes longer than {}: it is too large, or made to keep a compiler busy; \
         `host.compile_time` is the limit", humantime::format_duration(*limit)
    )]
    Time { limit: Duration },
    #[error(
        "compiling the module takes more than {} MiB of memory: it is too large, or made to exhaust a compiler; \
         `host.compile_memory` is the limit", limit >> 20
    )]
    Memory { limit: u64 },
    #[error("the module becomes more than {} MiB of machine code", ANSWER >> 20)]
    Large,
    #[error("the compiler crashed on the module ({how}): it is damaged, or made to do that")]
    Crashed { how: String },
    #[error("the process that compiles modules ({program}) cannot be used: {reason}")]
    Process { program: String, reason: String },
}

/// Starts a process for each module.
#[derive(Clone, Debug)]
pub struct Compiler {
    program: Program,
    limits: CompileLimits,
}

impl Compiler {
    /// Compiles with this very program.
    pub fn new(limits: CompileLimits) -> Self {
        Compiler { program: Program::own(), limits }
    }

    /// The same, with another copy of this program: for tests, which are programs of their own.
    pub fn of_program(program: PathBuf, limits: CompileLimits) -> Self {
        Compiler { program: Program::at(program), limits }
    }

    /// Compiles a file. Waits for the child, at most as long as the limits say; it is gone when this returns.
    ///
    /// # Errors
    /// Why there is no code.
    pub fn compile(&self, bytes: &[u8]) -> Result<Compiled, CompileError> {
        self.limits.file.check_size(bytes.len() as u64).map_err(LoadError::from)?;
        let key = Key::random().map_err(|error| self.unusable(&error))?;
        let mut said = self.ask(bytes, &key)?;
        if said.answer.len() as u64 > ANSWER {
            return Err(CompileError::Large);
        }
        let kind = said.answer.pop();
        let answer = std::mem::take(&mut said.answer);
        match kind {
            Some(ACCEPTED) => Compiled::open(answer, &key).map_err(|_| self.died(&said)),
            Some(REFUSED) => Err(match serde_json::from_slice(&answer) {
                Ok(LoadError::Compile(reason)) if is_want_of_memory(&reason) => {
                    CompileError::Memory { limit: self.limits.memory }
                }
                Ok(reason) => CompileError::Refused(reason),
                Err(_) => self.died(&said),
            }),
            Some(UNABLE) => Err(self.unusable(&text::clean_bytes(&answer, WORDS))),
            _ => Err(self.died(&said)),
        }
    }

    fn ask(&self, bytes: &[u8], key: &Key) -> Result<Said, CompileError> {
        let limits = &self.limits;
        let number = |name: &str, value: u64| [name.to_owned(), value.to_string()];
        let millis = u64::try_from(limits.time.as_millis()).unwrap_or(u64::MAX);
        let arguments = [COMMAND.to_owned()]
            .into_iter()
            .chain(number("--time-ms", millis))
            .chain(number("--memory", limits.memory))
            .chain(number("--size", limits.file.size as u64))
            .chain(number("--functions", limits.file.functions as u64));
        let request = [&key.as_bytes()[..], &(bytes.len() as u64).to_le_bytes(), bytes].concat();
        let bounds = Bounds { time: limits.time, answer: ANSWER };
        self.program.ask(arguments, request, bounds).map_err(|silent| match silent {
            Silent::Time => CompileError::Time { limit: limits.time },
            Silent::Unusable(error) => self.unusable(&error),
        })
    }

    fn unusable(&self, reason: &dyn std::fmt::Display) -> CompileError {
        let program = self.program.path().display().to_string();
        CompileError::Process { program, reason: reason.to_string() }
    }

    fn died(&self, said: &Said) -> CompileError {
        match said.death() {
            Death::Memory => CompileError::Memory { limit: self.limits.memory },
            Death::Crash(how) => CompileError::Crashed { how },
        }
    }
}
