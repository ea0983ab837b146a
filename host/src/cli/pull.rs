//! `sandmill pull-module`: the process that asks registries. The host starts it; nobody else has a use for it.

use clap::Args;

use super::Failure;
use crate::deploy::registry;

/// Arguments of `pull-module`.
#[derive(Debug, Args)]
pub(super) struct Pull {
    /// Bytes of address space
    #[arg(long)]
    memory: u64,
}

impl Pull {
    pub(super) fn execute(self) -> Result<(), Failure> {
        registry::serve(self.memory).map_err(Failure::start)
    }
}
