//! Prints the lines of the protocol, and knows whether anybody still reads them.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::bench::Error;
use crate::bench::protocol::{Done, Event, First, Progress, unix_us};

/// From one `progress` to the next.
const PROGRESS: Duration = Duration::from_secs(1);

/// A contender's standard output, and its standard input, whose end says that the parent is gone or content.
#[derive(Debug)]
pub struct Reporter {
    last: Instant,
    gone: Arc<AtomicBool>,
    watch: JoinHandle<()>,
}

impl Reporter {
    /// Begins to watch the parent.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start() -> Result<Self, Error> {
        let gone = Arc::new(AtomicBool::new(false));
        let told = gone.clone();
        let no_thread = |error: std::io::Error| Error::System {
            what: "standard input".to_owned(),
            reason: error.to_string(),
        };
        let watch = std::thread::Builder::new()
            .name("parent".to_owned())
            .spawn(move || {
                // Nothing comes but the end.
                let mut nothing = [0; 64];
                while matches!(std::io::stdin().lock().read(&mut nothing), Ok(1..)) {}
                told.store(true, Relaxed);
            })
            .map_err(no_thread)?;
        Ok(Self { last: Instant::now(), gone, watch })
    }

    /// The first record is here.
    pub fn first(&mut self) {
        self.first_at(unix_us(SystemTime::now()));
    }

    /// The first record came at this moment: microseconds since 1970.
    pub fn first_at(&mut self, unix_us: u64) {
        self.last = Instant::now();
        print(&Event::First(First { unix_us }));
    }

    /// So many records are finished; printed once a second. To be called every few milliseconds.
    ///
    /// # Errors
    /// [`Error::Interrupted`] if the parent is gone.
    pub fn progress(&mut self, records: u64, note: impl FnOnce() -> Option<String>) -> Result<(), Error> {
        if self.gone.load(Relaxed) {
            return Err(Error::Interrupted);
        }
        if self.last.elapsed() >= PROGRESS {
            self.last = Instant::now();
            print(&Event::Progress(Progress { records, note: note() }));
        }
        Ok(())
    }

    /// Everything is done: says so and waits until the parent has read what it wants to know.
    pub fn done(self, done: Done) {
        print(&Event::Done(done));
        // It panics never; if it did, there would be nothing to wait for.
        let _ = self.watch.join();
    }
}

fn print(event: &Event) {
    let mut out = std::io::stdout().lock();
    // A parent that is gone shows at the input's end.
    let _ = writeln!(out, "{}", event.line());
    let _ = out.flush();
}
