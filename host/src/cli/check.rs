//! `sandmill check`: everything that can be checked without consuming a record.

use clap::Args;

use super::logging::{self, LogFormat};
use super::settings::Settings;
use super::{Failure, print, run};
use crate::pipeline::{HandlerSource, Loader, MemoryBound};

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
        let mut loader = Loader::new(&config);
        for pipeline in &config.pipelines {
            let source = HandlerSource::File(pipeline.handler.clone());
            let handler = loader.load(&source, pipeline).map_err(Failure::start)?;
            print(format_args!(
                "pipeline {:?}: handler {} ({}) starts",
                pipeline.name,
                handler.name,
                handler.code.short_version()
            ));
        }
        print(format_args!("memory: {}", MemoryBound::of(&config)));
        if self.offline || embedded {
            print("the broker was not asked");
        } else {
            run::preflight(&config, None).map_err(Failure::start)?;
            print("broker, topics and group are there");
        }
        Ok(())
    }
}
