//! A contender's process: its lines, what it says on standard error, and its end.
//!
//! Two threads read its pipes, so that it never waits for us. Dropped, it is killed: a run that ends early for
//! whatever reason leaves nothing behind.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Contender, Error};

/// A line that is longer is cut, and so no event.
const LINE_BYTES: u64 = 1 << 20;
/// How many lines of its standard error are kept.
const SAID_LINES: usize = 40;
/// How often an end is looked for.
const LOOK: Duration = Duration::from_millis(10);
/// For the last words of a process that has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A process that is killed when it is dropped.
#[derive(Debug)]
pub(super) struct Child {
    process: std::process::Child,
    /// Open as long as it shall live.
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    said: Arc<Mutex<VecDeque<String>>>,
    /// Closes once its standard error has ended.
    said_all: Receiver<()>,
}

impl Child {
    /// Starts a contender with the arguments of the protocol behind its own.
    pub(super) fn start(contender: &Contender, arguments: &[String]) -> Result<Self, Error> {
        let start = |reason| Error::Start {
            name: contender.name.clone(),
            program: contender.program.display().to_string(),
            reason,
        };
        let mut process = Command::new(&contender.program)
            .args(&contender.arguments)
            .args(arguments)
            .envs(contender.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let input = process.stdin.take();
        let (output, errors) = (process.stdout.take(), process.stderr.take());
        let (sender, lines) = channel();
        let (all_said, said_all) = channel();
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&said);
        // From here on a failure drops, and so kills, the process.
        let child = Self { process, input, lines, said, said_all };
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        thread("contender-out")
            .spawn(move || read_lines(output, |line| sender.send(line).is_ok()))
            .map_err(start)?;
        thread("contender-err").spawn(move || keep(errors, &kept, all_said)).map_err(start)?;
        Ok(child)
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next line on its standard output; none came: the time is over, or there will be none.
    pub(super) fn line(&self, timeout: Duration) -> Result<String, RecvTimeoutError> {
        self.lines.recv_timeout(timeout)
    }

    /// Closes its input, by which it is to end, and waits for that; none: it did not end in time and was
    /// killed.
    pub(super) fn finish(&mut self, timeout: Duration) -> Option<ExitStatus> {
        self.input = None;
        self.ended(timeout)
    }

    /// How it ended, if it does within `timeout`; if not, it is killed.
    #[expect(
        clippy::disallowed_methods,
        reason = "between two looks: a child's end cannot be waited for with a bound"
    )]
    pub(super) fn ended(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + timeout;
        loop {
            match self.process.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => std::thread::sleep(LOOK),
                Ok(None) | Err(_) => {
                    self.kill();
                    return None;
                }
            }
        }
    }

    /// Ends it at once.
    pub(super) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// The last lines of its standard error.
    pub(super) fn said(&self) -> String {
        // Of a process that has ended all of them; one that lives keeps the pipe open.
        let _ = self.said_all.recv_timeout(LAST_WORDS);
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.is_empty() { "(nothing)".to_owned() } else { Vec::from_iter(said.iter().cloned()).join("\n") }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !matches!(self.process.try_wait(), Ok(Some(_))) {
            self.kill();
        }
    }
}

/// Keeps the last lines. `all` closes with the end of the thread.
fn keep(errors: Option<impl Read>, kept: &Mutex<VecDeque<String>>, all: Sender<()>) {
    read_lines(errors, |line| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == SAID_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
        true
    });
    drop(all);
}

/// Hands each line to `take` until it says no, or there are no more.
fn read_lines(from: Option<impl Read>, mut take: impl FnMut(String) -> bool) {
    let Some(from) = from else { return };
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut from).take(LINE_BYTES).read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        if !take(text) {
            return;
        }
    }
}
