//! Modules out of OCI registries.
//!
//! | file | does |
//! |---|---|
//! | `reference.rs` | PURE: how a module in a registry is written |
//! | `manifest.rs` | PURE: what a manifest says of the one module that it may hold |
//! | `pull.rs` | asks the registry, in the child process |
//! | `error.rs` | why there is no module, in words for people |
//! | `exchange.rs` | what host and child tell each other |
//! | `puller.rs` | the child process, from both sides |
//!
//! The client is the field's own, which knows the ways in which registries ask for logins, and which reads manifests,
//! tokens and errors without bound. So it runs in a child process with limits of the operating system, as compiling
//! does: a registry without end exhausts that, and nothing that the host feels. What is left to this side of it is in
//! `pull.rs`. The address policy of guests does not apply: registries are the operator's.

mod error;
mod exchange;
mod manifest;
mod pull;
mod puller;
mod reference;

pub use error::{Kind, PullError};
pub use manifest::SIGNATURE;
pub use pull::{Login, Pulled, Request, pull};
pub use puller::{COMMAND, Known, NotPulled, Puller, serve};
pub use reference::{Reference, ReferenceError};
