//! One run of the `sandmill` binary, seen from outside: its log, its port, its exit code.

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::metrics::Scrape;
use crate::reaper::{self, Process, code};
use crate::wait::poll_for;
use crate::{FULL, MINUTES, SEED, required_path};

/// How long a host may take from its start to the first answer, on a machine that compiles beside it.
const START: Duration = Duration::from_secs(60);

/// How long an orderly stop may take: the drain's bound and the commits.
const STOP: Duration = Duration::from_secs(60);

/// How much of the log a failure shows.
const TAIL_LINES: usize = 60;

/// Variables of the test run; the host would take them for settings of its own.
const OWN_VARIABLES: [&str; 7] =
    ["SANDMILL_BIN", "SANDMILL_GUESTS", "SANDMILL_KAFKA_LIBS", "SANDMILL_REGISTRY_BIN", FULL, SEED, MINUTES];

/// A place of a host's own: its home, data and cache. Shared by the runs before and after a restart.
pub struct Home(TempDir);

impl Home {
    /// A fresh one.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        Self(reaper::folder("host"))
    }

    /// Writes a file into it, for a configuration or a damaged module, and gives its path.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("cannot write {name}: {error}"));
        path
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        self.0.path()
    }

    fn command(&self, arguments: &[impl AsRef<OsStr>]) -> Command {
        let mut command = Command::new(required_path("SANDMILL_BIN"));
        command.args(arguments);
        self.settled(command)
    }

    /// The command, as one that runs in this home.
    fn settled(&self, mut command: Command) -> Command {
        command
            .current_dir(self.path())
            .env("HOME", self.path())
            .env("XDG_CACHE_HOME", self.path().join("cache"))
            .env("XDG_DATA_HOME", self.path().join("data"))
            .env("XDG_STATE_HOME", self.path().join("state"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for variable in OWN_VARIABLES {
            command.env_remove(variable);
        }
        command
    }

    /// Starts `sandmill` with these arguments.
    ///
    /// # Panics
    /// When the binary is missing or cannot be started.
    #[must_use]
    pub fn spawn(&self, arguments: &[impl AsRef<OsStr>]) -> Host {
        Host::start(&mut self.command(arguments))
    }

    /// The same with variables in its environment.
    ///
    /// # Panics
    /// As [`Home::spawn`].
    #[must_use]
    pub fn spawn_with(&self, arguments: &[impl AsRef<OsStr>], variables: &[(&str, &str)]) -> Host {
        Host::start(self.command(arguments).envs(variables.iter().copied()))
    }

    /// Starts another program.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn spawn_command(&self, command: Command) -> Host {
        Host::start(&mut self.settled(command))
    }

    /// Runs `sandmill` to its end.
    ///
    /// # Panics
    /// When it has not ended within a minute.
    #[must_use]
    pub fn run(&self, arguments: &[impl AsRef<OsStr>]) -> Ended {
        self.spawn(arguments).end(START)
    }
}

/// What a finished run leaves.
#[derive(Debug, Clone)]
pub struct Ended {
    /// The exit code, or a signal's number below zero.
    pub code: i32,
    /// Everything on standard output.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
}

/// A running host. Dropped: killed; if the test fails, its log is shown.
pub struct Host {
    process: Process,
    stdout: Captured,
    stderr: Captured,
    agent: ureq::Agent,
}

impl Host {
    fn start(command: &mut Command) -> Self {
        let mut process = Process::spawn(command)
            .unwrap_or_else(|error| panic!("cannot start {:?}: {error}", command.get_program()));
        let child = process.child();
        let stdout = Captured::from(child.stdout.take().expect("its output is piped"));
        let stderr = Captured::from(child.stderr.take().expect("its errors are piped"));
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .build()
            .new_agent();
        Self { process, stdout, stderr, agent }
    }

    /// The process's id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.stderr.text()
    }

    /// What it has printed so far.
    #[must_use]
    pub fn printed(&self) -> String {
        self.stdout.text()
    }

    /// Waits until `condition` gives a value.
    ///
    /// # Panics
    /// When it does not within `limit`, or the host ends before: with the end of the host's log.
    #[track_caller]
    pub fn await_some<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let mut over = None;
        let result = poll_for(what, limit, || {
            if let Some(value) = condition(self) {
                return Some(Some(value));
            }
            over = self.process.ended();
            over.map(|_| None)
        });
        match (result, over) {
            (Ok(Some(value)), _) => value,
            (Ok(None), status) => {
                let code = status.map_or(0, code);
                panic!("the host ended with code {code} before {what}\n{}", self.tail())
            }
            (Err(message), _) => panic!("{message}\n{}", self.tail()),
        }
    }

    /// Waits until `condition` holds.
    ///
    /// # Panics
    /// As [`Host::await_some`].
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, limit: Duration, mut condition: impl FnMut(&mut Self) -> bool) {
        self.await_some(what, limit, |host| condition(host).then_some(()));
    }

    /// Waits until the log has a line with `text`.
    ///
    /// # Panics
    /// As [`Host::await_some`].
    #[track_caller]
    pub fn wait_for_log(&mut self, text: &str, limit: Duration) {
        self.wait_until(&format!("it logged {text:?}"), limit, |host| host.log().contains(text));
    }

    /// The base of its HTTP addresses, as it printed it itself: `http://127.0.0.1:PORT`.
    ///
    /// # Panics
    /// When it prints none, for instance because its port was switched off.
    #[track_caller]
    pub fn url(&mut self) -> String {
        self.await_some("it said where it listens", START, |host| {
            const PHRASE: &str = "listening on http://";
            let log = host.log();
            let (_, after) = log.split_once(PHRASE)?;
            let address: String =
                after.chars().take_while(|c| !c.is_whitespace() && !"\"',/\u{1b}".contains(*c)).collect();
            // The rest of the line must be there: else the port may be cut short.
            after.contains('\n').then(|| format!("http://{address}"))
        })
    }

    /// Status code and body of a GET; none where nobody answers.
    pub fn get(&mut self, path: &str) -> Option<(u16, String)> {
        let url = format!("{}{path}", self.url());
        let mut response = self.agent.get(&url).call().ok()?;
        let body = response.body_mut().read_to_string().ok()?;
        Some((response.status().as_u16(), body))
    }

    /// Waits until `/readyz` says yes.
    ///
    /// # Panics
    /// As [`Host::await_some`].
    #[track_caller]
    pub fn wait_ready(&mut self) {
        self.wait_until("it was ready", START, |host| {
            host.get("/readyz").is_some_and(|(status, _)| status == 200)
        });
    }

    /// A scrape of its metrics.
    ///
    /// # Panics
    /// When nobody answers, or the text is malformed.
    #[track_caller]
    pub fn metrics(&mut self) -> Scrape {
        let (status, text) = self.get("/metrics").unwrap_or_else(|| panic!("no metrics\n{}", self.tail()));
        assert_eq!(status, 200, "{text}");
        Scrape::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// The sum over the series of a metric with these labels; 0 where there is none.
    #[track_caller]
    pub fn metric(&mut self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.metrics().sum(name, labels).unwrap_or(0.0)
    }

    /// Its status as JSON.
    ///
    /// # Panics
    /// When nobody answers, or it is no JSON.
    #[track_caller]
    pub fn status(&mut self) -> serde_json::Value {
        let (code, text) = self.get("/api/v1/status").unwrap_or_else(|| panic!("no status\n{}", self.tail()));
        assert_eq!(code, 200, "{text}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("the status is no JSON ({error}): {text}"))
    }

    /// Waits until metrics and status show what was so when this was called. A host that does not listen has
    /// neither.
    ///
    /// # Panics
    /// As [`Host::await_some`].
    #[track_caller]
    pub fn await_snapshot(&mut self, limit: Duration) {
        let since = Instant::now();
        if !self.log().contains("listening on") {
            return;
        }
        self.wait_until("a new snapshot was taken", limit, |host| {
            let status = host.status();
            let ages = status["pipelines"].as_array().expect("a list").iter();
            let mut ages = ages.map(|pipeline| pipeline["snapshot_age_seconds"].as_f64());
            // None: the pipeline has no snapshot yet.
            ages.all(|age| age.is_some_and(|age| age < since.elapsed().as_secs_f64()))
        });
    }

    /// SIGTERM, then waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    #[track_caller]
    pub fn terminate(mut self) -> Ended {
        self.process.signal(Signal::TERM);
        self.end(STOP)
    }

    /// Fails the test when it has ended by itself.
    ///
    /// # Panics
    /// With its code and the end of its log.
    #[track_caller]
    pub fn assert_runs(&mut self) {
        if let Some(status) = self.process.ended() {
            panic!("the host ended by itself with code {}\n{}", code(status), self.tail());
        }
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Sends a signal and goes on.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// SIGKILL, unless it has ended: it is gone when this returns.
    pub fn kill(mut self) -> Ended {
        let status = self.process.kill();
        self.ended_with(code(status))
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it still runs after `limit`.
    #[track_caller]
    pub fn end(mut self, limit: Duration) -> Ended {
        match self.process.wait(limit) {
            Ok(status) => self.ended_with(code(status)),
            Err(message) => panic!("{message}\n{}", self.tail()),
        }
    }

    fn ended_with(&mut self, code: i32) -> Ended {
        Ended { code, stdout: self.stdout.finished(), stderr: self.stderr.finished() }
    }

    /// Numbers of the sockets on which it listens, from the kernel's tables.
    ///
    /// # Panics
    /// When the host has ended.
    #[must_use]
    pub fn listening_sockets(&self) -> Vec<u64> {
        let folder = format!("/proc/{}", self.id());
        let own: Vec<u64> = std::fs::read_dir(format!("{folder}/fd"))
            .expect("a running process has open files")
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
            .filter_map(|link| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
            .collect();
        let mut listening = Vec::new();
        for table in ["tcp", "tcp6"] {
            let text = std::fs::read_to_string(format!("{folder}/net/{table}")).unwrap_or_default();
            for line in text.lines().skip(1) {
                let mut columns = line.split_whitespace();
                // Column 4 is the state (0A: listening), column 10 the socket's number.
                if columns.nth(3) == Some("0A") {
                    listening.extend(columns.nth(5).and_then(|number| number.parse::<u64>().ok()));
                }
            }
        }
        listening.retain(|number| own.contains(number));
        listening
    }

    /// Resident memory, in bytes.
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most memory that was resident at any time, in bytes.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, what: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(what)).unwrap_or("0");
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let shown = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        format!("--- log of host {} ({} lines, the last {TAIL_LINES}) ---\n{shown}", self.id(), lines.len())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            self.process.kill();
            eprintln!("{}", self.tail());
        }
    }
}

/// A pipe's bytes, collected by a thread until its end.
struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&bytes);
        let reader = thread::spawn(move || {
            let mut chunk = [0; 8192];
            while let Ok(count @ 1..) = pipe.read(&mut chunk) {
                sink.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&chunk[..count]);
            }
        });
        Self { bytes, reader: Some(reader) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Everything, after the writer has ended.
    fn finished(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("reading a pipe does not panic");
        }
        self.text()
    }
}
