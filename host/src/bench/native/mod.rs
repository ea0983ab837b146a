//! Handlers that are compiled into the host, from the same source as the modules: only for measuring.

pub mod access_log;
