//! CPU time and memory, as the kernel counts them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Error;

/// Ticks a second in /proc: part of Linux' promise to programs, on every machine.
const TICKS: f64 = 100.0;

/// What one process has used since its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Usage {
    /// In user and in system mode, over all its threads, also those that have ended.
    pub cpu_seconds: f64,
    /// CPU seconds of the threads that live, by name, numbers at its end left out.
    pub threads: BTreeMap<String, f64>,
    /// The most memory that was resident at once.
    pub peak_rss_bytes: u64,
}

impl Usage {
    /// Of the process with this id, which must still run.
    ///
    /// # Errors
    /// If it does not, or this system has no /proc.
    pub fn of(process: u32) -> Result<Self, Error> {
        let folder = format!("/proc/{process}");
        let mut threads: BTreeMap<String, f64> = BTreeMap::new();
        let tasks = format!("{folder}/task");
        let entries = fs::read_dir(&tasks).map_err(|error| unreadable(&tasks, error))?;
        for entry in entries.flatten() {
            // A thread may end while the list is read.
            let Ok(line) = fs::read_to_string(entry.path().join("stat")) else { continue };
            let Some(Stat { name, cpu_seconds }) = Stat::parse(&line) else { continue };
            *threads.entry(without_number(&name).to_owned()).or_default() += cpu_seconds;
        }
        threads.retain(|_, seconds| *seconds > 0.0);
        let status = read(&format!("{folder}/status"))?;
        let peak_rss_bytes =
            peak_rss_bytes(&status).ok_or_else(|| unreadable(&folder, "the process has ended"))?;
        Ok(Self { cpu_seconds: cpu_seconds(process)?, threads, peak_rss_bytes })
    }
}

/// CPU seconds that a process has used since its start.
///
/// # Errors
/// As [`Usage::of`].
pub fn cpu_seconds(process: u32) -> Result<f64, Error> {
    let path = format!("/proc/{process}/stat");
    let line = read(&path)?;
    Ok(Stat::parse(&line).ok_or_else(|| unreadable(&path, "it looks like nothing known"))?.cpu_seconds)
}

fn read(path: &str) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| unreadable(path, error))
}

fn unreadable(what: &str, reason: impl std::fmt::Display) -> Error {
    Error::System { what: what.to_owned(), reason: reason.to_string() }
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
    cpu_seconds: f64,
}

impl Stat {
    /// The name stands in parentheses and may contain anything, parentheses too.
    fn parse(line: &str) -> Option<Self> {
        let (head, fields) = line.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        // After the name: 0 is the state, 11 and 12 the ticks in user and in system mode.
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self { name: name.to_owned(), cpu_seconds: (ticks(11)? + ticks(12)?) as f64 / TICKS })
    }
}

/// CPU time of a run: of the process that was measured, of the broker, of everything else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// Of the measured process, from its start to its last commit.
    pub process_seconds: f64,
    /// The part of it that was used before its first record: loading, compiling, joining.
    pub start_seconds: f64,
    /// Of the broker, where it runs on this machine and its process is known.
    pub broker_seconds: Option<f64>,
    /// What everything else on this machine used meanwhile, this program's few look-ups included, and a
    /// broker whose process is not known. If it is more than a few percent of the window, the run was
    /// disturbed.
    pub elsewhere_seconds: f64,
    /// How long the process was watched.
    pub window_seconds: f64,
    /// `process_seconds` by thread.
    pub threads: BTreeMap<String, f64>,
}

/// Watches the machine during one run.
#[derive(Debug)]
pub struct Meter {
    /// The broker's process, and what it had used.
    broker: Option<(u32, f64)>,
    machine_before: f64,
    begun: Instant,
}

impl Meter {
    /// Begins. `broker` is the broker's process, where it is known.
    ///
    /// # Errors
    /// If the kernel's counters cannot be read.
    pub fn start(broker: Option<u32>) -> Result<Self, Error> {
        let broker = broker.map(|process| Ok((process, cpu_seconds(process)?))).transpose()?;
        Ok(Self { broker, machine_before: busy_seconds()?, begun: Instant::now() })
    }

    /// The run is over; its process used so much, `start_seconds` of it before its first record.
    ///
    /// # Errors
    /// As [`Meter::start`].
    pub fn stop(self, process: &Usage, start_seconds: f64) -> Result<Cpu, Error> {
        let broker = self.broker.map(|(broker, before)| Ok(cpu_seconds(broker)? - before)).transpose()?;
        let machine = busy_seconds()? - self.machine_before;
        Ok(Cpu {
            process_seconds: process.cpu_seconds,
            start_seconds,
            broker_seconds: broker,
            elsewhere_seconds: (machine - broker.unwrap_or(0.0) - process.cpu_seconds).max(0.0),
            window_seconds: self.begun.elapsed().as_secs_f64(),
            threads: process.threads.clone(),
        })
    }
}

/// CPU seconds that this machine was busy since it started, over all cores.
fn busy_seconds() -> Result<f64, Error> {
    let path = "/proc/stat";
    busy(&read(path)?).ok_or_else(|| unreadable(path, "its first line looks like nothing known"))
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
        assert_eq!((stat.name.as_str(), stat.cpu_seconds), ("a) b (c)", 2.0));
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
    fn this_process_uses_something_and_one_that_is_gone_is_told() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.peak_rss_bytes > 1 << 20);
        assert!(usage.threads.values().sum::<f64>() <= usage.cpu_seconds + 0.1);
        // No process has this id: it is above the kernel's largest.
        assert!(matches!(Usage::of(1 << 30), Err(Error::System { .. })));
    }

    #[test]
    fn a_meter_sees_the_process_the_broker_and_the_rest() {
        let own = std::process::id();
        let meter = Meter::start(Some(own)).unwrap();
        let usage = Usage::of(own).unwrap();
        let cpu = meter.stop(&usage, 0.5).unwrap();
        assert_eq!((cpu.process_seconds, cpu.start_seconds), (usage.cpu_seconds, 0.5));
        assert!(cpu.broker_seconds.is_some_and(|seconds| seconds >= 0.0) && cpu.elsewhere_seconds >= 0.0);
        assert_eq!(Meter::start(None).unwrap().stop(&usage, 0.0).unwrap().broker_seconds, None);
    }
}
