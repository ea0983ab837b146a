//! Measuring: how fast a topic is read to its end, by whom, and at what cost.
//!
//! A **contender** is one process that reads one topic from its beginning to its end and does one workload:
//! a level of our own (the bare client, the host with a handler compiled in, the host with a module), or
//! somebody else's program that speaks the same [`protocol`]. [`measure`] runs one contender once: it starts
//! the process, watches its progress, checks everything it claims against the broker, and reads its CPU time
//! and memory while it still lives. A run ends with checked numbers or with an error that says where it
//! stood; there is no third way.
//!
//! `sandmill bench` runs our own levels against a user's brokers; the ladder in `benches/` runs them and the
//! peers against a broker that it starts itself. Both use this module, so both measure the same thing.
//!
//! | file | does |
//! |---|---|
//! | `job.rs` | what is asked: contender, topic, workload |
//! | `level.rs` | our own contenders |
//! | `protocol.rs` | the lines that a contender prints |
//! | `measure.rs`, `child.rs` | one run: process, clock, checks |
//! | `client/` | topics made, filled, read back; commits; the bare client as a level |
//! | `content.rs`, `zipf.rs` | what topics are filled with |
//! | `contender/` | the child's side: arguments, lines, a host's progress |
//! | `sums.rs` | check sums of records and their order |
//! | `native/` | handlers compiled in |
//! | `system.rs` | CPU time and memory, as the kernel counts them |
//! | `spread.rs`, `series.rs` | smallest, middle, largest; ratios pass by pass |
//! | `conditions.rs` | versions, machine, date |
//! | `error.rs` | how a run fails |

mod child;
mod client;
mod conditions;
pub mod contender;
pub mod content;
mod error;
mod grouped;
mod job;
mod level;
mod measure;
pub mod native;
pub mod protocol;
mod series;
mod spread;
mod sums;
pub mod system;
#[cfg(test)]
mod tests;
pub mod zipf;

pub use client::{Cluster, Fill, History, Place};
pub use conditions::Conditions;
pub use content::{Content, Keys};
pub use error::Error;
pub use grouped::grouped;
pub use job::{Contender, Job, Sums, Topic, Work};
pub use level::{COMMAND, Level};
pub use measure::{ClockEnd, Measurement, measure};
pub use series::Series;
pub use spread::Spread;
pub use system::Cpu;
