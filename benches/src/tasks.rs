//! Bare tasks of tokio that wait: how many waits a machine does in a second with no host and no broker.
//!
//! The ladder starts itself again as the process that waits, so its CPU time and memory are its own. Two threads
//! are what a host's workers are on two cores.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sandmill::bench::system::Usage;
use sandmill_tests::reaper::Process;
use serde::{Deserialize, Serialize};

use crate::climb::Sample;
use crate::results::number;

/// The hidden first argument that makes this binary the process that waits.
pub(crate) const TASKS: &str = "tokio-tasks";
/// No run is longer.
const LONGEST: Duration = Duration::from_secs(300);

/// What the process says.
#[derive(Debug, Serialize, Deserialize)]
struct Waited {
    waits: u64,
    seconds: f64,
    usage: Usage,
}

/// Runs `count` tasks that wait `millis` until there were `waits` waits.
pub(crate) fn measure(count: u32, millis: f64, waits: u64) -> Result<Sample> {
    let own = std::env::current_exe().context("this program does not know its own file")?;
    let mut command = Command::new(own);
    command
        .arg(TASKS)
        .args([count.to_string(), millis.to_string(), waits.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut process = Process::spawn(&mut command).context("the tasks cannot be started")?;
    let status = process.wait(LONGEST).map_err(anyhow::Error::msg)?;
    ensure!(status.success(), "the tasks failed ({status}); the reason stands above");
    let output = process.child().stdout.take().context("the tasks' output is piped")?;
    let waited: Waited = serde_json::from_reader(output).context("what the tasks said")?;
    ensure!(waited.waits == waits, "{} waits instead of {waits}", waited.waits);
    Ok(Sample {
        numbers: vec![
            (number::RATE, waits as f64 / waited.seconds),
            (number::CPU, waited.usage.cpu_seconds / waits as f64 * 1e9),
            (number::PEAK_RSS, waited.usage.peak_rss_bytes as f64),
        ],
        raw: serde_json::to_value(&waited)?,
    })
}

/// The process: waits, and prints how long that took.
pub(crate) fn wait(count: u32, millis: f64, waits: u64) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .context("no runtime")?;
    let wait = Duration::from_secs_f64(millis / 1e3);
    let begun = Instant::now();
    let done = runtime.block_on(all(count, wait, waits));
    let waited =
        Waited { waits: done, seconds: begun.elapsed().as_secs_f64(), usage: Usage::of(std::process::id())? };
    println!("{}", serde_json::to_string(&waited)?);
    Ok(())
}

/// Each task takes the next wait until none is left.
async fn all(count: u32, wait: Duration, waits: u64) -> u64 {
    let taken = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let taken = Arc::clone(&taken);
            tokio::spawn(async move {
                let mut own = 0;
                while taken.fetch_add(1, Ordering::Relaxed) < waits {
                    tokio::time::sleep(wait).await;
                    own += 1;
                }
                own
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap_or_default();
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_waits_are_done_by_so_many_tasks() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        assert_eq!(runtime.block_on(all(7, Duration::from_micros(10), 100)), 100);
    }
}
