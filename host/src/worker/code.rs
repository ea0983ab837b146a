//! What a pipeline's handler is made of.

use std::fmt::Debug;
use std::sync::Arc;

use crate::batch::Batch;
use crate::wasm::{Module, RawAnswer};

/// The code that a call runs.
#[derive(Clone, Debug)]
pub enum Code {
    /// A module, in a sandbox: what users run.
    Module(Module),
    /// Rust that is part of this program. Only `bench` makes such pipelines, to tell what the sandbox costs:
    /// everything around the call is the same, but nothing stands between this code and the host.
    Native(Arc<dyn NativeHandler>),
}

impl Code {
    /// Names the code in status, metrics and dead letters: the module's digest as `sha256:…`, or `native`.
    pub fn version(&self) -> String {
        match self {
            Code::Module(module) => format!("sha256:{}", module.digest()),
            Code::Native(_) => "native".to_owned(),
        }
    }

    /// The same, short, for logs.
    pub fn short_version(&self) -> String {
        match self {
            Code::Module(module) => module.digest().short(),
            Code::Native(_) => "native".to_owned(),
        }
    }
}

/// A handler that is compiled into the host. Called by all workers at once.
///
/// It reads the host's own batch and fills the columns that a guest would return; these are checked and
/// published as a guest's are. Without a sandbox there is no fuel, no deadline and no memory limit: what it
/// takes is counted, not bounded.
pub trait NativeHandler: Send + Sync + Debug {
    /// Handles a batch. `answer` is empty.
    fn handle(&self, batch: &Batch, answer: &mut RawAnswer);
}
