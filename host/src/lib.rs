//! Sandmill: a host that runs untrusted WebAssembly handlers on Kafka streams.
#![forbid(unsafe_code)]

pub mod batch;
pub mod bench;
pub mod cancel;
pub mod cli;
pub mod config;
pub mod deploy;
pub mod dispatch;
pub mod http;
pub mod ids;
pub mod inbox;
pub mod kafka;
pub mod lease;
pub mod machine;
pub mod outcome;
pub mod outgoing;
pub mod pipeline;
pub mod progress;
pub mod secrets;
pub mod telemetry;
pub mod time;
pub mod wasm;
pub mod work;
pub mod worker;
