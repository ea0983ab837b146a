//! CPU time and memory, as the kernel counts them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Ticks a second in /proc: part of Linux' promise to programs, on every machine.
const TICKS: f64 = 100.0;

/// What one process has used since its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub cpu_seconds: f64,
    /// CPU seconds by the name of a thread, numbers at its end left out.
    pub threads: BTreeMap<String, f64>,
    /// The most memory that was resident at once.
    pub peak_rss_bytes: u64,
}

impl Usage {
    /// Of the process with this id, which must still run.
    pub(crate) fn of(process: u32) -> Result<Self> {
        let folder = format!("/proc/{process}");
        let mut threads: BTreeMap<String, f64> = BTreeMap::new();
        for entry in fs::read_dir(format!("{folder}/task")).context("the process has ended")? {
            // A thread may end while the list is read.
            let Ok(stat) = fs::read_to_string(entry?.path().join("stat")) else { continue };
            let Stat { name, cpu_seconds, .. } = Stat::parse(&stat).context("a thread's line in /proc")?;
            *threads.entry(without_number(&name).to_owned()).or_default() += cpu_seconds;
        }
        threads.retain(|_, seconds| *seconds > 0.0);
        let status = fs::read_to_string(format!("{folder}/status"))?;
        let peak = peak_rss_bytes(&status).context("the process has ended")?;
        Ok(Self { cpu_seconds: Stat::of(process)?.cpu_seconds, threads, peak_rss_bytes: peak })
    }
}

/// `VmHWM`, which the kernel gives in KiB.
fn peak_rss_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// `worker-1` and `worker-2` are `worker`.
fn without_number(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['-', '/'])
}

/// One line of /proc/…/stat.
struct Stat {
    name: String,
    parent: u32,
    cpu_seconds: f64,
}

impl Stat {
    fn of(process: u32) -> Result<Self> {
        let line = fs::read_to_string(format!("/proc/{process}/stat")).context("the process has ended")?;
        Self::parse(&line).context("a process's line in /proc")
    }

    /// The name stands in parentheses and may contain anything, parentheses too.
    fn parse(line: &str) -> Option<Self> {
        let (head, fields) = line.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        // After the name: 0 is the state, 1 the parent, 11 and 12 the ticks in user and in system mode.
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            name: name.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            cpu_seconds: (ticks(11)? + ticks(12)?) as f64 / TICKS,
        })
    }
}

/// CPU time of a run: of the process that was measured, of the broker, of everything else.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cpu {
    /// From its start to its last commit.
    pub process_seconds: f64,
    pub broker_seconds: f64,
    /// What everything else on this machine used meanwhile, this program's few look-ups included. If it is
    /// more than a few percent of the window, the run was disturbed.
    pub elsewhere_seconds: f64,
    /// How long the process was watched.
    pub window_seconds: f64,
    /// `process_seconds` by thread.
    pub threads: BTreeMap<String, f64>,
}

/// Watches the machine during one run.
pub(crate) struct Meter {
    broker: u32,
    broker_before: f64,
    machine_before: f64,
    begun: Instant,
}

impl Meter {
    pub(crate) fn start() -> Result<Self> {
        let broker = broker()?;
        Ok(Self {
            broker,
            broker_before: Stat::of(broker)?.cpu_seconds,
            machine_before: busy_seconds()?,
            begun: Instant::now(),
        })
    }

    /// The run is over; its process used so much.
    pub(crate) fn stop(self, process: &Usage) -> Result<Cpu> {
        let broker = Stat::of(self.broker)?.cpu_seconds - self.broker_before;
        let machine = busy_seconds()? - self.machine_before;
        Ok(Cpu {
            process_seconds: process.cpu_seconds,
            broker_seconds: broker,
            elsewhere_seconds: (machine - broker - process.cpu_seconds).max(0.0),
            window_seconds: self.begun.elapsed().as_secs_f64(),
            threads: process.threads.clone(),
        })
    }
}

/// The broker that this process started.
fn broker() -> Result<u32> {
    let own = std::process::id();
    let processes = fs::read_dir("/proc").context("there is no /proc")?;
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .find(|process| Stat::of(*process).is_ok_and(|stat| stat.parent == own && stat.name == "java"))
        .context("this process has no broker among its children")
}

/// CPU seconds that this machine was busy since it started, over all cores.
fn busy_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("there is no /proc/stat")?;
    busy(&text).context("the first line of /proc/stat")
}

/// Everything but idling and waiting for a disk. Guests count within `user`, so they are left out.
fn busy(text: &str) -> Option<f64> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().take(8).filter_map(|word| word.parse().ok()).collect();
    let &[user, nice, system, _idle, _disk, interrupts, soft_interrupts, stolen] = &ticks[..] else {
        return None;
    };
    Some((user + nice + system + interrupts + soft_interrupts + stolen) as f64 / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_behind_any_name() {
        let line = "7 (a) b (c)) S 42 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 5 6 7";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.name.as_str(), stat.parent, stat.cpu_seconds), ("a) b (c)", 42, 2.0));
    }

    #[test]
    fn threads_of_one_kind_have_one_name() {
        for (name, kind) in
            [("worker-12", "worker"), ("rdk:broker-1", "rdk:broker"), ("rdk:main", "rdk:main")]
        {
            assert_eq!(without_number(name), kind);
        }
    }

    #[test]
    fn a_machine_is_not_busy_while_it_idles_or_waits_for_a_disk() {
        assert_eq!(busy("cpu  100 10 50 9999 8888 5 5 30 77 0\ncpu0 1 2"), Some(2.0));
        assert_eq!(busy("intr 1 2 3"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.peak_rss_bytes > 1 << 20);
        assert!(usage.threads.values().sum::<f64>() <= usage.cpu_seconds + 0.1);
    }
}
