//! The child process that compiles, as the host sees it.
//!
//! It is this very program, started for one file. It gets the file and a key on its standard input and answers on its
//! standard output; whatever else it does (takes too long, needs too much memory, crashes, answers nonsense or without
//! end) is a reason to refuse the file, and nothing that the host feels.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

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
/// Bytes of its standard error that are kept: where an allocation that failed, or a panic, says so.
const LAST_WORDS: usize = 1 << 10;
/// For what it said last, once it is dead.
const ECHO: Duration = Duration::from_secs(1);
/// What of the environment it gets: where the system's libraries lie.
const LIBRARIES: &str = "LD_LIBRARY_PATH";

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
    program: PathBuf,
    limits: CompileLimits,
}

/// All that a child said.
struct Said {
    answer: Vec<u8>,
    last_words: String,
    status: ExitStatus,
}

impl Compiler {
    /// Compiles with this very program: that which runs, also if its file was replaced since.
    pub fn new(limits: CompileLimits) -> Self {
        Compiler { program: "/proc/self/exe".into(), limits }
    }

    /// The same, with another copy of this program: for tests, which are programs of their own.
    pub fn of_program(program: PathBuf, limits: CompileLimits) -> Self {
        Compiler { program, limits }
    }

    /// Compiles a file. Waits for the child, at most as long as the limits say; it is gone when this returns.
    ///
    /// # Errors
    /// Why there is no code.
    pub fn compile(&self, bytes: &[u8]) -> Result<Compiled, CompileError> {
        self.limits.file.check_size(bytes.len() as u64).map_err(LoadError::from)?;
        let key = Key::random().map_err(|error| self.unusable(&error))?;
        let Said { mut answer, last_words, status } = self.ask(bytes, &key)?;
        if answer.len() as u64 > ANSWER {
            return Err(CompileError::Large);
        }
        let crashed = || self.crashed(status, &last_words);
        match answer.pop() {
            Some(ACCEPTED) => Compiled::open(answer, &key).map_err(|_| crashed()),
            Some(REFUSED) => Err(match serde_json::from_slice(&answer) {
                Ok(LoadError::Compile(reason)) if is_want_of_memory(&reason) => {
                    CompileError::Memory { limit: self.limits.memory }
                }
                Ok(reason) => CompileError::Refused(reason),
                Err(_) => crashed(),
            }),
            Some(UNABLE) => Err(self.unusable(&text::clean_bytes(&answer, LAST_WORDS))),
            _ => Err(crashed()),
        }
    }

    /// Starts the child, and brings back all that it said.
    fn ask(&self, bytes: &[u8], key: &Key) -> Result<Said, CompileError> {
        let mut child = Guard(self.start().map_err(|error| self.unusable(&error))?);
        let mut stdin = child.0.stdin.take().expect("it is piped");
        let stdout = child.0.stdout.take().expect("it is piped");
        let mut stderr = child.0.stderr.take().expect("it is piped");
        // Threads that nobody joins: a process that the child left behind may hold the pipes open, and them alone.
        let request = [&key.as_bytes()[..], &(bytes.len() as u64).to_le_bytes(), bytes].concat();
        // A child that ends early leaves the rest unread; its answer says why.
        thread::spawn(move || drop(stdin.write_all(&request)));
        let (said, answers) = channel();
        // Nobody listens any more once the time is over.
        thread::spawn(move || {
            let mut answer = Vec::new();
            drop(said.send(stdout.take(ANSWER + 1).read_to_end(&mut answer).map(|_| answer)));
        });
        let (said, words) = channel();
        thread::spawn(move || drop(said.send(last_words(&mut stderr))));

        let answer = answers.recv_timeout(self.limits.time);
        // It has said everything, or is dead, or out of time.
        let status = child.end().map_err(|error| self.unusable(&error))?;
        match answer {
            Ok(answer) => Ok(Said {
                answer: answer.map_err(|error| self.unusable(&error))?,
                last_words: words.recv_timeout(ECHO).unwrap_or_default(),
                status,
            }),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                Err(CompileError::Time { limit: self.limits.time })
            }
        }
    }

    fn start(&self) -> io::Result<Child> {
        let libraries = std::env::var_os(LIBRARIES).map(|path| (OsString::from(LIBRARIES), path));
        Command::new(&self.program)
            .arg(COMMAND)
            .args(["--time-ms", &self.limits.time.as_millis().to_string()])
            .args(["--memory", &self.limits.memory.to_string()])
            .args(["--size", &self.limits.file.size.to_string()])
            .args(["--functions", &self.limits.file.functions.to_string()])
            .env_clear()
            .envs(libraries)
            .env("RAYON_NUM_THREADS", THREADS.to_string())
            // An interrupt from the terminal is the host's to act on; and it can be ended with all that it started.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }

    fn unusable(&self, reason: &dyn std::fmt::Display) -> CompileError {
        CompileError::Process { program: self.program.display().to_string(), reason: reason.to_string() }
    }

    /// What a child that did not answer died of.
    fn crashed(&self, status: ExitStatus, last_words: &str) -> CompileError {
        if is_want_of_memory(last_words) {
            return CompileError::Memory { limit: self.limits.memory };
        }
        let how = match (status.signal(), status.code()) {
            (Some(signal), _) => format!("signal {signal}"),
            (None, code) => format!("exit code {}", code.unwrap_or_default()),
        };
        let how = if last_words.is_empty() { how } else { format!("{how}: {last_words}") };
        CompileError::Crashed { how }
    }
}

/// True for what Rust and the system say when there is no memory left.
fn is_want_of_memory(text: &str) -> bool {
    text.contains("memory allocation of")
        || text.contains("os error 12")
        || text.contains("Cannot allocate memory")
}

/// A child that does not outlive whoever waits for it.
struct Guard(Child);

impl Guard {
    /// Ends it and all that it started. One that has ended keeps the status that it has.
    fn end(&mut self) -> io::Result<ExitStatus> {
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        // Gone is what it should be.
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        self.0.wait()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// The end of what is written there, escaped. Reads all of it, so that nobody waits to write more.
fn last_words(stderr: &mut impl Read) -> String {
    let mut kept = Vec::new();
    let mut part = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut part) {
        kept.extend_from_slice(&part[..read]);
        let excess = kept.len().saturating_sub(LAST_WORDS);
        kept.drain(..excess);
    }
    text::clean(String::from_utf8_lossy(&kept).trim(), LAST_WORDS)
}
