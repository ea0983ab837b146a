//! The stages of a run: a heading, a time for each, and at the end what was left out and why.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::counts::Counts;

/// A run under way.
pub struct Stages {
    started: Instant,
    times: Vec<(&'static str, Duration)>,
    left_out: Vec<String>,
    /// Tests so far.
    pub counts: Counts,
}

impl Stages {
    pub fn begin() -> Self {
        Self { started: Instant::now(), times: Vec::new(), left_out: Vec::new(), counts: Counts::default() }
    }

    /// Runs one stage; its failure ends the run.
    pub fn run<T>(&mut self, name: &'static str, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        println!("\n== {name}");
        let started = Instant::now();
        let result = work(self).with_context(|| format!("stage `{name}` failed"));
        let time = started.elapsed();
        println!("== {name}: {} after {}", if result.is_ok() { "done" } else { "FAILED" }, seconds(time));
        self.times.push((name, time));
        result
    }

    /// Notes a part that cannot run here. In CI nothing may be left out for want of a tool.
    pub fn lacks_tool(&mut self, part: &str, missing: &str) -> Result<()> {
        if std::env::var("CI").is_ok_and(|value| value == "true") {
            bail!("{part} cannot run, and in CI they must: {missing}");
        }
        println!("!! {part} left out: {missing}");
        self.leave_out(format!("{part} ({missing})"));
        Ok(())
    }

    /// Notes a part that was left out for another reason.
    pub fn leave_out(&mut self, part: String) {
        self.left_out.push(part);
    }

    /// The times alone, for a task that goes on afterwards.
    pub fn times(&self) {
        println!();
        for (name, time) in &self.times {
            println!("{:>9}  {name}", seconds(*time));
        }
        println!("{:>9}  in all", seconds(self.started.elapsed()));
    }

    /// The summary; the line of counts stands alone and last, because programs read it.
    pub fn finish(self, result: &Result<()>) {
        self.times();
        let left_out = if self.left_out.is_empty() { "nothing".to_owned() } else { self.left_out.join("; ") };
        println!("left out: {left_out}");
        if let Err(error) = result {
            println!("failed: {error:#}");
        }
        let Counts { passed, failed } = self.counts;
        println!("tests: {passed} passed, {failed} failed");
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
