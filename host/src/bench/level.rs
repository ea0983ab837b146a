//! Our own levels: each a contender, run by this very program.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Contender, Error};

/// The hidden command that makes `sandmill` a contender.
pub const COMMAND: &str = "bench-contender";

/// What stands between a record and its handler, from nothing to everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// The bare client polls record by record and touches every byte; no group, no commits. The ceiling of
    /// who reads in the usual way.
    RawPoll,
    /// The bare client takes records by the array from a queue of its own.
    RawBatch,
    /// A loop around the bare client that consumes, parses, produces and commits what was acknowledged.
    Copy,
    /// The whole host with the handler compiled into it.
    Native,
    /// The whole host with the handler as a module, as a user runs it.
    Wasm,
}

impl Level {
    /// All of them, from the bare client upwards.
    pub const ALL: [Level; 5] = [Level::RawPoll, Level::RawBatch, Level::Copy, Level::Native, Level::Wasm];

    /// As `--level` and results say it.
    pub fn name(self) -> &'static str {
        match self {
            Level::RawPoll => "raw-poll",
            Level::RawBatch => "raw-batch",
            Level::Copy => "copy",
            Level::Native => "native",
            Level::Wasm => "wasm",
        }
    }

    /// The level of this name.
    pub fn named(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Whether it commits, and so belongs to a group.
    pub fn commits(self) -> bool {
        !matches!(self, Level::RawPoll | Level::RawBatch)
    }

    /// Whether the whole host runs.
    pub fn is_host(self) -> bool {
        matches!(self, Level::Native | Level::Wasm)
    }

    /// This level as a contender. `program` is a `sandmill` binary; `options` are added to its arguments:
    ///
    /// | option | of | means |
    /// |---|---|---|
    /// | `--set KEY=VALUE` | native, wasm | a key of the configuration, as `sandmill run` takes it |
    /// | `--module FILE` | wasm | this module instead of the built-in one of the workload |
    /// | `--failures N` | native, wasm | so many records have to fail for good, instead of none |
    /// | `-X NAME=VALUE` | all | a property of the client |
    pub fn contender(
        self,
        program: impl Into<PathBuf>,
        options: impl IntoIterator<Item = impl Into<String>>,
    ) -> Contender {
        let mut arguments = vec![COMMAND.to_owned(), "--level".to_owned(), self.name().to_owned()];
        arguments.extend(options.into_iter().map(Into::into));
        Contender {
            name: self.name().to_owned(),
            program: program.into(),
            arguments,
            environment: Vec::new(),
        }
    }

    /// This level of the program that runs now.
    ///
    /// # Errors
    /// If it does not know its own file.
    pub fn of_this_program(
        self,
        options: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<Contender, Error> {
        let unknown = |error: std::io::Error| Error::System {
            what: "this program's own file".to_owned(),
            reason: error.to_string(),
        };
        Ok(self.contender(std::env::current_exe().map_err(unknown)?, options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_found_by_its_name() {
        for level in Level::ALL {
            assert_eq!(Level::named(level.name()), Some(level));
        }
        assert_eq!(Level::named("raw"), None);
    }

    #[test]
    fn a_level_is_a_contender_with_its_options_behind() {
        let contender = Level::Wasm.contender("/bin/sandmill", ["--set", "host.workers=1"]);
        assert_eq!(contender.arguments, ["bench-contender", "--level", "wasm", "--set", "host.workers=1"]);
        assert_eq!((contender.name.as_str(), contender.program.to_str()), ("wasm", Some("/bin/sandmill")));
    }
}
