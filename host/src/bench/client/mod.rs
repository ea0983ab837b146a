//! What names the Kafka client: topics that are made, filled and read back, and the bare client as a level.
//!
//! It stands beside `kafka/`, not in it, because it is what the host is compared with: a client used in the
//! plainest way, with the host's settings, and nothing of the host around it.

mod bare;
mod cluster;
mod commits;
mod copy;
mod fill;
mod reading;
mod survey;

pub(super) use bare::{raw_batch, raw_poll};
pub use cluster::Cluster;
pub use commits::{History, Place};
pub(super) use copy::copy;
pub use fill::Fill;

/// The client library's version.
pub(super) fn version() -> String {
    rdkafka::util::get_rdkafka_version().1
}
