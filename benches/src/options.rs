//! The command line.

use anyhow::{Result, bail, ensure};
use lexopt::prelude::*;

use crate::level::Level;
use crate::workload::Workload;

pub(crate) const HELP: &str = "\
ladder [OPTIONS]

  --name NAME             results go to benches/results/NAME.json [latest]
  --repetitions N         counted passes over all levels, after one that warms up [3]
  --workloads LIST        of noop,access-log [all]
  --levels LIST           of raw,wasm [all]
  --records N             records in the topic of noop [10000000]
  --lines N               records in the topic of access-log, rounded to whole logs of 10,000 [2000000]
  --starts N              starts that are timed, after one that warms up; 0: none [5]
  --docs                  put the table into docs/BENCHMARKS.md

A host commits every 500 ms, and its clock ends with a commit: a run of few seconds says little. Each
result tells by how much.

SANDMILL_BIN, SANDMILL_GUESTS and SANDMILL_KAFKA_LIBS name the host's binary, the compiled handlers and the
broker's jars.
";

/// The hidden first argument that makes this binary the bare client.
pub(crate) const RAW_READER: &str = "raw-reader";

/// What this process was asked to do.
pub(crate) enum Task {
    Help,
    /// To be the bare client of one run.
    RawReader {
        brokers: String,
        topic: String,
    },
    Climb(Options),
}

/// What is run, how often, how large.
pub(crate) struct Options {
    pub name: String,
    pub repetitions: usize,
    pub workloads: Vec<Workload>,
    pub levels: Vec<Level>,
    pub records: usize,
    pub lines: usize,
    pub starts: usize,
    pub docs: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "latest".to_owned(),
            repetitions: 3,
            workloads: Workload::ALL.to_vec(),
            levels: Level::ALL.to_vec(),
            records: 10_000_000,
            lines: 2_000_000,
            starts: 5,
            docs: false,
        }
    }
}

impl Options {
    /// Reads the arguments of this process.
    pub(crate) fn parse() -> Result<Task> {
        Self::parse_from(lexopt::Parser::from_env())
    }

    fn parse_from(mut arguments: lexopt::Parser) -> Result<Task> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next()? {
            match argument {
                Short('h') | Long("help") => return Ok(Task::Help),
                Long("name") => options.name = arguments.value()?.string()?,
                Long("repetitions") => options.repetitions = arguments.value()?.parse()?,
                Long("workloads") => {
                    options.workloads = listed(&arguments.value()?.string()?, Workload::named)?;
                }
                Long("levels") => options.levels = listed(&arguments.value()?.string()?, Level::named)?,
                Long("records") => options.records = arguments.value()?.parse()?,
                Long("lines") => options.lines = arguments.value()?.parse()?,
                Long("starts") => options.starts = arguments.value()?.parse()?,
                Long("docs") => options.docs = true,
                Value(word) if word == RAW_READER => {
                    let brokers = arguments.value()?.string()?;
                    return Ok(Task::RawReader { brokers, topic: arguments.value()?.string()? });
                }
                other => return Err(other.unexpected().into()),
            }
        }
        options.check()?;
        Ok(Task::Climb(options))
    }

    fn check(&self) -> Result<()> {
        ensure!(self.repetitions > 0, "--repetitions 0 measures nothing; rules ask for at least 3");
        ensure!(self.records > 0, "--records 0 leaves nothing to read");
        ensure!(!self.name.is_empty() && !self.name.contains('/'), "--name {:?} names no file", self.name);
        Ok(())
    }
}

fn listed<T>(text: &str, named: impl Fn(&str) -> Option<T>) -> Result<Vec<T>> {
    let all: Option<Vec<T>> = text.split(',').map(named).collect();
    let Some(all) = all.filter(|all| !all.is_empty()) else {
        bail!("{text:?} is no list of known names; see --help");
    };
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Task> {
        Options::parse_from(lexopt::Parser::from_args(arguments))
    }

    #[test]
    fn levels_and_workloads_can_be_skipped() {
        let Ok(Task::Climb(options)) = parsed(&["--levels", "raw", "--workloads=access-log,noop"]) else {
            panic!("these arguments are right");
        };
        assert_eq!(options.levels, [Level::Raw]);
        assert_eq!(options.workloads, [Workload::AccessLog, Workload::Noop]);
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for wrong in [["--levels", "native2"], ["--repetitions", "0"], ["--name", "a/b"]] {
            assert!(parsed(&wrong).is_err(), "{wrong:?}");
        }
    }
}
