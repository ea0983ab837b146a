//! Where the lines that guests write go.
//!
//! A guest writes through the host's `log` function, or to its standard output and error. During a call its
//! lines are kept in the instance's [`Lines`], bounded by what the call's records may log; when the call is
//! over they go to the pipeline's [`LogSink`], bounded by what the pipeline may log in a second, or are thrown
//! away: a call that is run again would else log everything twice. Nothing here ever blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::text;
use crate::secrets::Secrets;
use crate::telemetry::Uses;

/// What a line costs besides its bytes, so that a million empty lines are not free.
const LINE_BYTES: usize = 32;
/// Bytes of standard error that are kept to explain a trap.
const LAST_WORDS: usize = 512;

/// How much handlers may log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// Bytes for each record of a call.
    pub record_bytes: usize,
    /// Bytes for each pipeline in a second.
    pub second_bytes: usize,
}

/// How urgent a line is; the guest says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Which way a line came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Log,
    Stdout,
    Stderr,
}

impl Source {
    const fn as_str(self) -> &'static str {
        match self {
            Source::Log => "log",
            Source::Stdout => "stdout",
            Source::Stderr => "stderr",
        }
    }
}

/// One line, cut and escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) level: Level,
    pub(crate) source: Source,
    pub(crate) text: String,
}

/// The lines of one instance's running call.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// What no line may show.
    secrets: Arc<Secrets>,
    kept: Vec<Line>,
    room: usize,
    dropped: u64,
    /// Standard output and error, up to the next line end.
    open: [Vec<u8>; 2],
    last_words: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(secrets: Arc<Secrets>) -> Self {
        Lines { secrets, ..Self::default() }
    }

    /// Empties the lines and makes room for `bytes` of them.
    pub(crate) fn begin_call(&mut self, bytes: usize) {
        self.kept.clear();
        self.room = bytes;
        self.dropped = 0;
        self.last_words.clear();
    }

    /// True if nothing was written, as in most calls.
    fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.dropped == 0 && self.open.iter().all(Vec::is_empty)
    }

    /// Keeps a line of the `log` function.
    pub(crate) fn log(&mut self, level: Level, message: &str) {
        self.keep(level, Source::Log, message.as_bytes());
    }

    /// Keeps what was written to standard output or error, line by line.
    pub(crate) fn write(&mut self, source: Source, mut bytes: &[u8]) {
        if source == Source::Stderr {
            self.remember(bytes);
        }
        while let Some(end) = bytes.iter().position(|&byte| byte == b'\n') {
            let mut line = self.take_open(source);
            let room = self.room_of_a_line().saturating_sub(line.len());
            line.extend_from_slice(&bytes[..end.min(room)]);
            self.keep_stdio(source, &line);
            bytes = &bytes[end + 1..];
        }
        let room = self.room_of_a_line();
        let open = self.open(source);
        if room == 0 && open.is_empty() && !bytes.is_empty() {
            // The end of this line may never come, and nothing would tell that there was one.
            self.dropped += 1;
            return;
        }
        let fits = bytes.len().min(room.saturating_sub(open.len()));
        open.extend_from_slice(&bytes[..fits]);
    }

    /// The end of what was written to standard error in this call, escaped: where a panic says why.
    pub(crate) fn last_words(&self) -> String {
        let words = String::from_utf8_lossy(&self.last_words);
        let words = self.secrets.redact(&words);
        let words = &words[words.ceil_char_boundary(words.len().saturating_sub(LAST_WORDS))..];
        // Advice that Rust gives at every panic and nobody can follow: a guest has no environment.
        let lines = words.lines().filter(|line| !line.starts_with("note: run with `RUST_BACKTRACE"));
        let words: Vec<_> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
        text::clean(&words.join(": "), 2 * LAST_WORDS)
    }

    /// Hands over the lines and how many were dropped; a line that was not ended is ended here.
    fn take(&mut self) -> (std::vec::Drain<'_, Line>, u64) {
        for source in [Source::Stdout, Source::Stderr] {
            let line = self.take_open(source);
            if !line.is_empty() {
                self.keep_stdio(source, &line);
            }
        }
        (self.kept.drain(..), self.dropped)
    }

    fn keep_stdio(&mut self, source: Source, line: &[u8]) {
        let level = if source == Source::Stderr { Level::Warn } else { Level::Info };
        self.keep(level, source, line);
    }

    fn keep(&mut self, level: Level, source: Source, message: &[u8]) {
        let Some(room) = self.room.checked_sub(LINE_BYTES).filter(|&room| room > 0 || message.is_empty())
        else {
            self.dropped += 1;
            return;
        };
        let text = if self.secrets.is_empty() {
            text::clean_bytes(message, room)
        } else {
            let message = &message[..message.len().min(room + self.secrets.longest())];
            text::clean(&self.secrets.redact(&String::from_utf8_lossy(message)), room)
        };
        self.room = room - text.len();
        self.kept.push(Line { level, source, text });
    }

    /// Bytes of a line that are worth keeping, the cut that follows in mind.
    fn room_of_a_line(&self) -> usize {
        if self.room == 0 { 0 } else { self.room + self.secrets.longest() }
    }

    fn open(&mut self, source: Source) -> &mut Vec<u8> {
        &mut self.open[usize::from(source == Source::Stderr)]
    }

    fn take_open(&mut self, source: Source) -> Vec<u8> {
        std::mem::take(self.open(source))
    }

    fn remember(&mut self, bytes: &[u8]) {
        // So much more that no secret is cut before it is taken out.
        let most = LAST_WORDS + self.secrets.longest();
        let bytes = &bytes[bytes.len().saturating_sub(most)..];
        let excess = (self.last_words.len() + bytes.len()).saturating_sub(most);
        self.last_words.drain(..excess);
        self.last_words.extend_from_slice(bytes);
    }
}

/// Where the lines of a pipeline's handlers go: the host's own log, at most so many bytes a second.
///
/// Shared by all instances of a pipeline, on all workers.
#[derive(Debug)]
pub struct LogSink {
    pipeline: Arc<str>,
    handler: Arc<str>,
    second_bytes: u64,
    start: Instant,
    /// The second that is running, counted from `start`, and the bytes written in it.
    second: AtomicU64,
    bytes: AtomicU64,
    counts: Arc<Uses>,
}

impl LogSink {
    /// A sink that names `pipeline` and `handler` in every line.
    pub fn new(pipeline: Arc<str>, handler: Arc<str>, limits: LogLimits, counts: Arc<Uses>) -> Self {
        LogSink {
            pipeline,
            handler,
            second_bytes: limits.second_bytes as u64,
            start: Instant::now(),
            second: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            counts,
        }
    }

    /// Writes the lines of a call, as far as this second's bytes allow.
    pub(crate) fn write(&self, lines: &mut Lines) {
        if lines.is_empty() {
            return;
        }
        let (lines, mut dropped) = lines.take();
        let mut written = 0;
        for line in lines {
            if self.admit(line.text.len() + LINE_BYTES) {
                written += 1;
                self.emit(&line);
            } else {
                dropped += 1;
            }
        }
        self.counts.add_lines(written, dropped);
    }

    fn admit(&self, bytes: usize) -> bool {
        let now = self.start.elapsed().as_secs();
        // Workers may race here at the turn of a second; then some bytes of the new second go uncounted.
        if self.second.swap(now, Ordering::Relaxed) != now {
            self.bytes.store(0, Ordering::Relaxed);
        }
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64 <= self.second_bytes
    }

    fn emit(&self, line: &Line) {
        let (pipeline, handler, source) = (&*self.pipeline, &*self.handler, line.source.as_str());
        // A level is part of an event's static description, hence five of them.
        macro_rules! event {
            ($level:ident) => {
                tracing::event!(
                    target: "sandmill::handler",
                    tracing::Level::$level,
                    pipeline,
                    handler,
                    source,
                    "{}",
                    line.text
                )
            };
        }
        match line.level {
            Level::Trace => event!(TRACE),
            Level::Debug => event!(DEBUG),
            Level::Info => event!(INFO),
            Level::Warn => event!(WARN),
            Level::Error => event!(ERROR),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: LogLimits = LogLimits { record_bytes: 1000, second_bytes: 500 };

    fn lines(room: usize) -> Lines {
        let mut lines = Lines::default();
        lines.begin_call(room);
        lines
    }

    fn texts(lines: &mut Lines) -> (Vec<String>, u64) {
        let (kept, dropped) = lines.take();
        (
            kept.map(|line| format!("{} {:?} {}", line.source.as_str(), line.level, line.text)).collect(),
            dropped,
        )
    }

    #[test]
    fn lines_are_kept_in_order() {
        let mut lines = lines(1000);
        lines.log(Level::Debug, "one\x1b[2J");
        lines.write(Source::Stdout, b"tw");
        lines.write(Source::Stderr, b"three\nfo");
        lines.write(Source::Stdout, b"o\n\xffrest");
        let (kept, dropped) = texts(&mut lines);
        let wanted = [
            "log Debug one\\u{1b}[2J",
            "stderr Warn three",
            "stdout Info two",
            "stdout Info \u{fffd}rest",
            "stderr Warn fo",
        ];
        assert_eq!((kept, dropped), (wanted.map(str::to_owned).to_vec(), 0));
        assert_eq!(texts(&mut lines), (Vec::new(), 0));
    }

    #[test]
    fn what_does_not_fit_is_cut_then_dropped_and_counted() {
        let mut lines = lines(LINE_BYTES + 10);
        lines.log(Level::Info, "a sentence");
        lines.log(Level::Info, "more");
        lines.log(Level::Info, "");
        assert_eq!(texts(&mut lines), (vec!["log Info a sentence".to_owned()], 2));
        lines.begin_call(LINE_BYTES + 9);
        lines.log(Level::Info, "a sentence");
        assert_eq!(texts(&mut lines), (vec!["log Info a sent…".to_owned()], 0));
    }

    #[test]
    fn a_flood_takes_no_more_memory_than_there_is_room() {
        let mut lines = lines(10_000);
        for _ in 0..1_000 {
            lines.write(Source::Stdout, &[b'x'; 1_000]);
            lines.log(Level::Error, "");
        }
        assert!(lines.open(Source::Stdout).len() <= 10_000);
        let (kept, dropped) = texts(&mut lines);
        assert!(kept.len() <= 10_000 / LINE_BYTES && dropped > 600, "{} {dropped}", kept.len());
    }

    #[test]
    fn the_end_of_standard_error_is_remembered() {
        let mut lines = lines(10_000);
        lines.write(Source::Stdout, b"unimportant\n");
        lines.write(Source::Stderr, &[b'x'; 5_000]);
        lines.write(Source::Stderr, b"\npanicked: no key\x07\nnote: run with `RUST_BACKTRACE=1`");
        let words = lines.last_words();
        assert!(words.ends_with("x: panicked: no key\\u{7}"), "{words}");
        assert!(lines.last_words.len() <= LAST_WORDS);
        lines.begin_call(0);
        assert_eq!(lines.last_words(), "");
    }

    #[test]
    fn a_pipeline_logs_only_so_much_a_second() {
        let counts = Arc::new(Uses::default());
        let sink = LogSink::new("orders".into(), "handler".into(), LIMITS, counts.clone());
        let mut lines = lines(2_000);
        (0..20).for_each(|_| lines.log(Level::Info, "eighteen bytes ..."));
        sink.write(&mut lines);
        assert_eq!(counts.lines(), (10, 10));
    }

    #[test]
    fn no_part_of_a_long_secret_is_left_at_a_cut() {
        let secret = "0123456789abcdef".repeat(50);
        let mut lines = Lines::new(Arc::new(Secrets::new([("key", secret.as_str())])));
        lines.begin_call(LINE_BYTES + 100);
        lines.write(Source::Stderr, format!("panicked: {}{secret}\n", "x".repeat(80)).as_bytes());
        let (words, kept) = (lines.last_words(), texts(&mut lines).0);
        assert!(words.ends_with("<redacted>"), "{words}");
        assert!(kept[0].ends_with("x<redacted>") || kept[0].ends_with("…"), "{kept:?}");
        for text in kept.iter().chain([&words]) {
            assert!(!text.contains("0123"), "{text}");
        }
    }

    #[test]
    fn no_line_and_no_last_word_shows_a_secret() {
        let mut lines = Lines::new(Arc::new(Secrets::new([("key", "hunter2-hunter2")])));
        lines.begin_call(1_000);
        lines.log(Level::Info, "key=hunter2-hunter2");
        lines.write(Source::Stderr, b"panicked: hunter2-");
        lines.write(Source::Stderr, b"hunter2\n");
        assert_eq!(lines.last_words(), "panicked: <redacted>");
        let wanted = ["log Info key=<redacted>", "stderr Warn panicked: <redacted>"];
        assert_eq!(texts(&mut lines).0, wanted);
    }
}
