//! `sandmill check`: everything that can be checked without consuming a record.

use std::sync::Arc;

use clap::Args;

use super::logging::{self, LogFormat};
use super::settings::Settings;
use super::{Failure, print, run};
use crate::pipeline::{self, HandlerSource};
use crate::wasm::MemoryBudget;

/// Arguments of `check`.
#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    settings: Settings,

    /// Do not ask the broker
    #[arg(long)]
    offline: bool,

    /// Print the configuration as it is in force, secrets left out
    #[arg(long)]
    print: bool,
}

impl Check {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let embedded = self.settings.embedded_broker;
        let config = self.settings.load()?;
        logging::start(LogFormat::Text, "error");
        if self.print {
            print(&config);
        }
        let engine = pipeline::engine_for(&config).map_err(Failure::start)?;
        let memory = Arc::new(MemoryBudget::new(config.host.guest_memory.bytes() as usize));
        for pipeline in &config.pipelines {
            let source = HandlerSource::File(pipeline.handler.clone());
            let handler = pipeline::load(&engine, &source, pipeline, &memory).map_err(Failure::start)?;
            print(format_args!(
                "pipeline {:?}: handler {} ({}) starts",
                pipeline.name,
                handler.name,
                handler.module.digest().short()
            ));
        }
        if self.offline || embedded {
            print("the broker was not asked");
        } else {
            run::preflight(&config).map_err(Failure::start)?;
            print("broker, topics and group are there");
        }
        Ok(())
    }
}
