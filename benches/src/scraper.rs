//! Somebody who reads the metrics of a host once a second, as Prometheus would, only more often.

use std::net::TcpListener;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

/// Between two scrapes.
const EVERY: Duration = Duration::from_secs(1);

/// A thread that reads until it is asked to stop.
pub(crate) struct Scraper {
    stop: Sender<()>,
    thread: JoinHandle<u64>,
}

/// A loopback address on which nobody listens at the moment.
pub(crate) fn free_address() -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no loopback port is free")?;
    Ok(listener.local_addr()?.to_string())
}

impl Scraper {
    /// Reads `http://ADDRESS/metrics` from now on; nobody need listen there yet.
    pub(crate) fn start(address: &str) -> Result<Self> {
        let url = format!("http://{address}/metrics");
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new()
            .name("scraper".to_owned())
            .spawn(move || scrape(&url, &stopped))
            .context("cannot start a thread")?;
        Ok(Self { stop, thread })
    }

    /// How often it read something.
    pub(crate) fn finish(self) -> Result<u64> {
        drop(self.stop);
        let scrapes = self.thread.join().map_err(|_| anyhow!("the thread that reads metrics panicked"))?;
        ensure!(scrapes > 0, "the metrics could never be read");
        Ok(scrapes)
    }
}

fn scrape(url: &str, stopped: &Receiver<()>) -> u64 {
    let agent: ureq::Agent =
        ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build().into();
    let mut scrapes = 0;
    // The first comes soon, so that a short run is read too.
    let mut pause = EVERY / 10;
    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        let text = agent.get(url).call().ok().and_then(|mut answer| answer.body_mut().read_to_string().ok());
        if text.is_some_and(|text| text.contains("sandmill_build_info")) {
            scrapes += 1;
            pause = EVERY;
        }
    }
    scrapes
}
