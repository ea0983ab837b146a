//! What programs need that run the host against a real broker: handlers, the broker's jars, and where both are.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::paths::Paths;
use crate::stages::Stages;
use crate::{guests, kafka, tools};

/// Handlers and broker.
pub struct Prepared {
    /// The folder of the compiled handlers.
    pub guests: PathBuf,
    /// The folder of the broker's jars.
    pub jars: PathBuf,
}

impl Prepared {
    /// Makes both, one stage after the other.
    pub fn make(paths: &Paths, stages: &mut Stages) -> Result<Self> {
        stages.run("tools", |_| {
            tools::require(&tools::NATIVE)?;
            tools::require(&[tools::JAVA])?;
            guests::add_targets(paths)
        })?;
        let guests = stages.run("handlers to Wasm", |_| guests::build(paths))?;
        let jars = stages.run("Apache Kafka", |_| kafka::jars(paths))?;
        Ok(Self { guests, jars })
    }

    /// A program of ours that is told of them, and of the host.
    pub fn command(&self, paths: &Paths, program: &str) -> Command {
        let mut command = paths.command(paths.target.join("release").join(program));
        command
            .env("SANDMILL_BIN", paths.binary())
            .env("SANDMILL_GUESTS", &self.guests)
            .env("SANDMILL_KAFKA_LIBS", &self.jars);
        command
    }
}
