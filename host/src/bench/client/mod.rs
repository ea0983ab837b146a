//! What names the Kafka client: topics that are made, filled and read back, and the bare client as a level.
//!
//! It stands beside `kafka/`, not in it, because it is what the host is compared with: a client used in the
//! plainest way, with the host's settings, and nothing of the host around it.

mod cluster;
mod commits;
mod fill;
mod reading;
mod survey;

pub use cluster::Cluster;
pub use commits::{History, Place};
pub use fill::Fill;
