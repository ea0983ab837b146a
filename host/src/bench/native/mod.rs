//! Handlers that are compiled into the host, from the same source as the modules: only for measuring what the
//! sandbox costs.

pub mod access_log;
pub mod noop;

pub use access_log::AccessLog;
pub use noop::Noop;
