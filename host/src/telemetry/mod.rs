//! What is seen from outside.
//!
//! Owners keep plain counters: the machine of each pipeline its own, the workers those of their calls. On a
//! tick the consumer thread builds a [`snapshot::PipelineSnapshot`] and puts it here; Prometheus, the JSON
//! API and the command line read snapshots and nothing else, so they agree, and no reader slows a record.
//!
//! | file | holds |
//! |---|---|
//! | `snapshot.rs` | the snapshot, and how it is built from a machine |
//! | `registry.rs` | the newest snapshot of every pipeline |
//! | `executions.rs` | counters of calls, kept by the workers |
//! | `guest.rs` | what guests do with their capabilities, and their own metrics |
//! | `requests.rs` | requests of guests to servers outside |
//! | `histogram.rs` | fixed buckets |
//! | `exposition.rs`, `own.rs` | the Prometheus text, the host's families and the handlers' own: the only places that name `prometheus` |

pub mod executions;
pub mod exposition;
pub mod guest;
mod histogram;
mod own;
pub mod registry;
mod requests;
pub mod snapshot;

pub use executions::{Execution, Executions};
pub use guest::{GuestMetrics, Uses};
pub use histogram::Histogram;
pub use registry::{
    Allowance, DeployResult, Deployed, ModuleEntry, PipelineEntry, PipelineState, Registry, Runs, Tried,
};
pub use requests::{Asked, RESULTS, Requests};
