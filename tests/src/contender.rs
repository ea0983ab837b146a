//! What runs a job: our host, or another program that does the same work, to be judged by the same eyes.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::host::{Ended, Home, Host};
use crate::job::Job;

/// The settings of the job that both sides share.
pub const IN_FLIGHT: u32 = 4_000;

/// As the benchmarks run it; the README of `benches/peers/java` says why.
const JVM: [&str; 2] = ["-Xmx1g", "-XX:+UseParallelGC"];

/// What a log needs to explain a run: times, who joined and left, what became of a partition's state.
const LOGGING: [&str; 4] = [
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.clients.consumer.internals.ConsumerCoordinator=info",
    "-Dorg.slf4j.simpleLogger.log.io.confluent.parallelconsumer.state=warn",
];

/// A program that can run a [`Job`] of the handler `flaky`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contender {
    /// Our host.
    Sandmill,
    /// A service on Confluent's Parallel Consumer: the jar of `benches/peers/java`.
    ParallelConsumer(PathBuf),
}

impl Contender {
    /// For people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Sandmill => "Sandmill",
            Self::ParallelConsumer(_) => "Parallel Consumer",
        }
    }

    /// For file names.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Sandmill => "sandmill",
            Self::ParallelConsumer(_) => "parallel-consumer",
        }
    }

    /// Whether it is ours: then it may never end by itself, and its commit metadata is read.
    #[must_use]
    pub fn is_own(&self) -> bool {
        *self == Self::Sandmill
    }

    /// Starts one process of the job's group, with further client properties.
    pub(crate) fn start(&self, job: &Job<'_>, home: &Home, properties: &[(&str, &str)]) -> Host {
        match self {
            Self::Sandmill => job.start_with(home, properties),
            Self::ParallelConsumer(jar) => {
                let mut java = java(jar, &LOGGING);
                for (option, value) in [
                    ("--brokers", &job.kafka.bootstrap()),
                    ("--input", &job.input),
                    ("--output", &job.output),
                    ("--dead", &job.dead),
                    ("--group", &job.group),
                    ("--in-flight", &IN_FLIGHT.to_string()),
                ] {
                    java.args([option, value]);
                }
                let own = job.client_properties().iter().map(|(key, value)| (&**key, &**value));
                for (key, value) in own.chain(properties.iter().copied()) {
                    java.args(["--consumer", &format!("{key}={value}")]);
                }
                home.spawn_command(java)
            }
        }
    }

    /// Whether it had begun its work before it ended; till then it takes no signal, and has nothing to give back.
    pub(crate) fn has_begun(&self, ended: &Ended) -> bool {
        match self {
            Self::Sandmill => ended.stderr.contains("starting pipeline"),
            Self::ParallelConsumer(_) => ended.stdout.contains("running"),
        }
    }

    /// Whether an orderly stop ended as it should.
    pub(crate) fn left_in_order(&self, ended: &Ended) -> bool {
        let untaken = match self {
            Self::Sandmill => -Signal::TERM.as_raw(),
            Self::ParallelConsumer(_) => 128 + Signal::TERM.as_raw(),
        };
        ended.code == 0 || (ended.code == untaken && !self.has_begun(ended))
    }

    /// Its versions.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn versions(&self) -> std::io::Result<String> {
        let output = match self {
            Self::Sandmill => Command::new(crate::required_path("SANDMILL_BIN")).arg("--version").output()?,
            Self::ParallelConsumer(jar) => java(jar, &[]).arg("--version").output()?,
        };
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

fn java(jar: &Path, options: &[&str]) -> Command {
    let mut java = Command::new("java");
    java.args(JVM).args(options).arg("-jar").arg(jar).arg("flaky");
    java
}

/// Why a program ended, from the end of its log: the last line that is no place in a stack.
pub(crate) fn reason(log: &str) -> String {
    let said = |line: &&str| !line.trim().is_empty() && !line.starts_with(['\t', ' ']);
    let last = log.lines().rev().find(said).unwrap_or_default();
    last.strip_prefix("Caused by: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(code: i32, stdout: &str) -> Ended {
        Ended { code, stdout: stdout.to_owned(), stderr: String::new() }
    }

    #[test]
    fn an_end_in_order_is_told_from_others() {
        let peer = Contender::ParallelConsumer("peers.jar".into());
        assert!(
            peer.left_in_order(&ended(0, "running\n")) && Contender::Sandmill.left_in_order(&ended(0, ""))
        );
        assert!(peer.left_in_order(&ended(143, "")), "it was told before it had begun");
        assert!(!peer.left_in_order(&ended(143, "running\n")) && !peer.left_in_order(&ended(1, "")));
        assert!(!Contender::Sandmill.left_in_order(&ended(143, "")));
    }

    #[test]
    fn the_reason_is_the_last_cause_or_else_the_last_words() {
        let log = "INFO joined\nBoom: a\n\tat here\nCaused by: Bang: b\n\tat there\n\t... 3 more\n";
        assert_eq!(reason(log), "Bang: b");
        assert_eq!(reason(&format!("{log}INFO left\nBoom: a\n\tat here\n")), "Boom: a");
        assert_eq!(reason(""), "");
    }
}
