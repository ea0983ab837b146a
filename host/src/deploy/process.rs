//! A child process of this very program that does one thing within limits, and is gone afterwards.
//!
//! What it is asked goes to its standard input, what it answers comes from its standard output. Whatever else it does
//! (takes too long, needs too much memory, crashes, answers without end) is no answer, and nothing that the host feels.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use rustix::process::set_parent_process_death_signal;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process_group, nice, setrlimit};

use crate::wasm::text;

/// Bytes of its standard error that are kept: where an allocation that failed, or a panic, says so.
const LAST_WORDS: usize = 1 << 10;
/// For what it said last, once it is dead.
const ECHO: Duration = Duration::from_secs(1);
/// What of the environment it gets: where the system's libraries lie, and whom it believes.
const ENVIRONMENT: [&str; 3] = ["LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// What is started.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
}

/// What one process may take, and answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// By the clock.
    pub time: Duration,
    /// Bytes of its answer.
    pub answer: u64,
}

/// All that a child said.
#[derive(Debug)]
pub(super) struct Said {
    /// At most one byte more than it may have.
    pub answer: Vec<u8>,
    last_words: String,
    status: ExitStatus,
}

/// Why a child said nothing.
#[derive(Debug)]
pub(super) enum Silent {
    /// Its time was over.
    Time,
    /// It could not be started, or be heard.
    Unusable(io::Error),
}

/// Why a child that answered nothing died.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// For want of memory.
    Memory,
    /// Of this.
    Crash(String),
}

impl Program {
    /// This very program: that which runs, also if its file was replaced since.
    pub fn own() -> Self {
        Program { path: "/proc/self/exe".into() }
    }

    /// Another copy of this program: for tests, which are programs of their own.
    pub fn at(path: PathBuf) -> Self {
        Program { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Starts it with these arguments, asks, and brings back all that it said. It is gone when this returns.
    pub fn ask(
        &self,
        arguments: impl IntoIterator<Item = String>,
        request: Vec<u8>,
        bounds: Bounds,
    ) -> Result<Said, Silent> {
        let mut child = Guard(self.start(arguments).map_err(Silent::Unusable)?, None);
        let mut stdin = child.0.stdin.take().expect("it is piped");
        let stdout = child.0.stdout.take().expect("it is piped");
        let mut stderr = child.0.stderr.take().expect("it is piped");
        // Threads that nobody joins: a process that the child left behind may hold the pipes open, and them alone.
        // A child that ends early leaves the rest unread; its answer says why.
        thread::spawn(move || drop(stdin.write_all(&request)));
        let (said, answers) = channel();
        // Nobody listens any more once the time is over.
        thread::spawn(move || {
            let mut answer = Vec::new();
            drop(said.send(stdout.take(bounds.answer + 1).read_to_end(&mut answer).map(|_| answer)));
        });
        let (said, words) = channel();
        thread::spawn(move || drop(said.send(last_words(&mut stderr))));

        let answer = answers.recv_timeout(bounds.time);
        // It has said everything, or is dead, or out of time.
        let status = child.end().map_err(Silent::Unusable)?;
        match answer {
            Ok(answer) => Ok(Said {
                answer: answer.map_err(Silent::Unusable)?,
                last_words: words.recv_timeout(ECHO).unwrap_or_default(),
                status,
            }),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Err(Silent::Time),
        }
    }

    fn start(&self, arguments: impl IntoIterator<Item = String>) -> io::Result<Child> {
        let kept =
            ENVIRONMENT.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
        Command::new(&self.path)
            .args(arguments)
            .env_clear()
            .envs(kept)
            .env("RAYON_NUM_THREADS", super::compiler::THREADS.to_string())
            // An interrupt from the terminal is the host's to act on; and it can be ended with all that it started.
            .process_group(0)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

impl Said {
    /// What it died of, where it answered nothing.
    pub fn death(&self) -> Death {
        if is_want_of_memory(&self.last_words) {
            return Death::Memory;
        }
        let how = match (self.status.signal(), self.status.code()) {
            (Some(signal), _) => format!("signal {signal}"),
            (None, code) => format!("exit code {}", code.unwrap_or_default()),
        };
        let words = &self.last_words;
        Death::Crash(if words.is_empty() { how } else { format!("{how}: {words}") })
    }
}

/// True for what Rust and the system say when there is no memory left.
pub(super) fn is_want_of_memory(text: &str) -> bool {
    text.contains("memory allocation of")
        || text.contains("os error 12")
        || text.contains("Cannot allocate memory")
}

/// A child that does not outlive whoever waits for it, and how it ended.
struct Guard(Child, Option<ExitStatus>);

impl Guard {
    /// Ends it and all that it started. One that has ended keeps the status that it has.
    fn end(&mut self) -> io::Result<ExitStatus> {
        // Its number may be another's by now.
        if let Some(ended) = self.1 {
            return Ok(ended);
        }
        let group = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        // Gone is what it should be.
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let ended = self.0.wait()?;
        Ok(*self.1.insert(ended))
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

/// Called by the child, before it reads a byte that somebody else chose: memory, processor time, files. Last in line for
/// the processor, first for whoever has to end something for want of memory.
pub(super) fn confine(memory: u64, time: Duration, threads: u64) -> io::Result<()> {
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
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    at_most(Resource::As, memory)?;
    // The host ends it by the clock; this is for a host that is gone.
    let seconds = time.saturating_add(Duration::from_secs(1)).as_secs();
    at_most(Resource::Cpu, seconds.saturating_mul(threads))?;
    at_most(Resource::Core, 0)?;
    at_most(Resource::Fsize, 0)?;
    Ok(())
}
