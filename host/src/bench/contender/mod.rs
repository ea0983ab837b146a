//! The child's side: what a level of our own does once it runs as a process.
//!
//! The command line reads its arguments into [`Asked`]; the bare levels then run in `client/`, the whole host
//! in the command itself, which is the one that can build it. All of them tell through a [`Reporter`].

mod host;
mod reporter;

pub use host::{Progress, Standing};
pub use reporter::Reporter;

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Error, Level, Work, client};
use crate::config::Ordering;

/// What a level of our own was asked to do.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which.
    pub level: Level,
    /// Addresses of the brokers.
    pub brokers: String,
    /// Properties of the client that were given.
    pub properties: BTreeMap<String, String>,
    /// What is read.
    pub topic: String,
    /// A group that has committed nothing.
    pub group: String,
    /// What stands in the topic, in all.
    pub records: u64,
    /// What is done with each record.
    pub workload: Work,
    /// Which records wait for each other.
    pub ordering: Ordering,
    /// Where outputs go.
    pub output: Option<String>,
    /// A module in place of the built-in one.
    pub module: Option<PathBuf>,
    /// Records that have to fail for good.
    pub failures: u64,
    /// Keys of the configuration.
    pub set: Vec<(String, String)>,
}

impl Asked {
    /// Whether this level can do this.
    ///
    /// # Errors
    /// What it cannot, and what can.
    pub fn check(&self) -> Result<(), String> {
        let Asked { level, workload, output, module, .. } = self;
        let name = level.name();
        let built_in = matches!(workload, Work::Noop | Work::Parse);
        if *level == Level::Copy && (*workload != Work::Parse || output.is_none()) {
            return Err("level copy parses and writes: give --workload parse and --output TOPIC".to_owned());
        }
        if !level.commits() && output.is_some() {
            return Err(format!("level {name} writes nothing: leave --output away, or use --level copy"));
        }
        if *level != Level::Wasm && !built_in {
            let workload = workload.name();
            return Err(format!("level {name} has no workload {workload}: only --level wasm runs a module"));
        }
        if module.is_none() && !built_in {
            let workload = workload.name();
            return Err(format!("workload {workload} has no built-in module: give --module FILE"));
        }
        if module.is_some() && *level != Level::Wasm {
            return Err(format!("level {name} runs no module: leave --module away, or use --level wasm"));
        }
        if !level.is_host() && (!self.set.is_empty() || self.failures > 0) {
            return Err(format!("level {name} is no host: --set and --failures are for native and wasm"));
        }
        Ok(())
    }

    /// Runs one of the bare levels to its end.
    ///
    /// # Errors
    /// If the topic cannot be read or written; [`Error::Interrupted`] if the parent is gone.
    pub fn run_bare(&self, reporter: Reporter) -> Result<(), Error> {
        match self.level {
            Level::RawPoll => client::raw_poll(self, reporter),
            Level::RawBatch => client::raw_batch(self, reporter),
            Level::Copy => client::copy(self, reporter),
            Level::Native | Level::Wasm => Err(Error::Wrong {
                name: self.level.name().to_owned(),
                problem: "it is no bare level".to_owned(),
            }),
        }
    }
}
