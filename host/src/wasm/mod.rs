//! The sandbox: everything that knows WebAssembly, and the only place that names wasmtime.
//!
//! An [`Engine`] is made once. A [`Module`] is made for each generation of a pipeline: in a child process the file is
//! read (`anatomy`), a core module becomes a component, and the component is compiled (`compile`); here the code is
//! loaded, and its imports are held against what the pipeline grants (`capability`). A worker starts [`Instance`]s of
//! it and calls them with batches.
//!
//! A call runs under fuel, a deadline and a memory limit, all of them set anew each time:
//!
//! ```text
//! worker ── Instance::call ── Meter::run ── guest ──┬─ tick of the epoch: cancelled? due? else yield
//!              │                │                   ├─ host function: fuel, count, then `log`, `config`, WASI
//!              │                └─ timer, cancel    └─ growth of memory: Limiter
//!              └─ answer::check ── Answer, or Failure and no instance
//! ```
//!
//! Failures of guests are data: they come back as [`Failure`](crate::outcome::Failure), never as an error of
//! the host.

mod anatomy;
mod answer;
mod bindings;
mod capability;
mod compile;
mod digest;
mod engine;
mod failure;
mod host_functions;
mod http;
mod inspect;
mod instance;
mod limits;
mod log;
mod meter;
mod module;
mod needs;
mod recorded;
mod state;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod ticker;
mod wasi;

pub use anatomy::{FileLimits, Kind, Unreadable};
pub use answer::{
    Answer, FailureKind, Output, OutputHeaders, OutputLimits, Outputs, RawAnswer, RawFailure, Wrong, check,
};
pub use capability::{CONTRACT, Capability, Grants};
pub use compile::{About, Compiled, LoadError, compile, fingerprint};
pub use digest::{Digest, NoDigest};
pub use engine::{Engine, EngineConfig, EngineError, stack_bytes};
pub use inspect::{Import, Report};
pub use instance::{Budget, Call, Capabilities, Instance, InstanceSettings, Need, Reserved};
pub use limits::{InstanceLimits, MemoryBudget, Part};
pub use log::{Level, LogLimits, LogSink};
pub use module::Module;
pub use needs::{ComponentLimits, Limit, Needs, TooMuch};
pub use sandmill_compiled::Key;
