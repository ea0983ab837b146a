//! Everything that speaks to Kafka: the only part that names its client.
//!
//! | file | does | thread |
//! |---|---|---|
//! | `consumer.rs` | moves data between client, machine and workers | consumer, one a pipeline |
//! | `turns.rs` | what one turn of that loop takes in and carries out | consumer |
//! | `assignment.rs` | partitions that come, go, and start again | consumer |
//! | `intake.rs` | records, and errors in their place, from the client into the machine | consumer |
//! | `replies.rs` | answers to commits | consumer |
//! | `context.rs` | what the client calls back: rebalances are stored, nothing more | consumer |
//! | `lookup.rs` | questions that wait for the broker, asked until it answers | lookup, one a pipeline |
//! | `positions.rs` | the answers: where partitions start and end | lookup |
//! | `publisher.rs` | outputs and dead letters into the producer | workers, consumer |
//! | `delivery.rs` | acknowledgements out of the producer | delivery, one a pipeline |
//! | `haste.rs` | outputs linger only while more are coming | haste, one a pipeline |
//! | `dead_letter.rs` | what a dead letter looks like | workers, consumer |
//! | `properties.rs` | the client's configuration | start |
//! | `preflight.rs` | whether broker, topics and permissions are there | start |
//! | `embedded.rs` | a broker inside this process | client's own |

mod assignment;
pub mod consumer;
mod context;
mod dead_letter;
mod delivery;
pub mod embedded;
mod haste;
mod intake;
mod lookup;
mod positions;
pub mod preflight;
pub mod properties;
pub mod publisher;
mod replies;
mod turns;

pub use consumer::{Consumer, Event};
pub use delivery::Deliveries;
pub use embedded::EmbeddedBroker;
pub use publisher::Publisher;

/// How the Kafka client fails a start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A property that the client does not know, or a value that it refuses.
    #[error("the Kafka client refuses its configuration: {0}")]
    Properties(String),
    /// The client cannot be set up.
    #[error("cannot set up the Kafka client: {0}")]
    Client(String),
    /// The broker does not answer.
    #[error(
        "no broker answers at {brokers} within {seconds} s: {reason}; check `bootstrap.servers` and the network"
    )]
    Unreachable {
        /// As configured.
        brokers: String,
        /// How long was waited.
        seconds: u64,
        /// What the client says.
        reason: String,
    },
    /// A topic that the pipeline names does not exist.
    #[error("{role} topic {topic:?} does not exist; create it, or correct the name")]
    TopicMissing {
        /// What the pipeline uses it for.
        role: &'static str,
        /// Its name.
        topic: String,
    },
    /// The broker does not let us.
    #[error("no permission for {what}: {reason}; grant it to the user that the host connects as")]
    NotPermitted {
        /// Topic or group.
        what: String,
        /// The broker's word.
        reason: String,
    },
}
