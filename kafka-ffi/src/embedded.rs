//! A Kafka cluster inside this process: librdkafka's mock cluster, for the demo and for tests.
//!
//! `rdkafka` wraps it too, without the delay of a group's first rebalance, which would make every
//! start take three seconds.
//!
//! Its limits, which a caller has to know: each partition keeps the latest 5 MiB and 100,000 batches
//! and drops what is older without a word; nothing outlives the process; no transactions; commit
//! metadata of any size is taken; an empty fetch waits the whole `fetch.wait.max.ms`.

use std::ffi::{CStr, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::bindings as c;
use rdkafka::client::{Client, DefaultClientContext};

use crate::Error;
use crate::native::{outcome, topic_name};

/// A cluster of brokers listening on loopback, until it is dropped.
pub struct EmbeddedCluster {
    cluster: NonNull<c::rd_kafka_mock_cluster_t>,
    /// Lends the cluster its thread's clock and logger; connects nowhere. Dropped after the cluster.
    _client: Client<DefaultClientContext>,
}

// SAFETY: the cluster runs on a thread of its own; all functions called here take its lock or send it a
// request, and may be called from any thread.
unsafe impl Send for EmbeddedCluster {}
// SAFETY: as above; none of them needs exclusive access.
unsafe impl Sync for EmbeddedCluster {}

impl EmbeddedCluster {
    /// Starts `brokers` brokers on free ports of the loopback interface. Groups rebalance without an
    /// initial delay.
    ///
    /// # Errors
    /// [`Error::Client`] or [`Error::Refused`] if client or cluster cannot be started.
    pub fn start(brokers: u8) -> Result<Self, Error> {
        const ACTION: &str = "start the embedded cluster";
        let config = ClientConfig::new();
        let native = config.create_native_config().map_err(Error::client(ACTION))?;
        let client =
            Client::new(&config, native, c::rd_kafka_type_t::RD_KAFKA_PRODUCER, DefaultClientContext)
                .map_err(Error::client(ACTION))?;
        // SAFETY: the client is live, and outlives the cluster: it is the field dropped after it.
        let cluster = unsafe { c::rd_kafka_mock_cluster_new(client.native_ptr(), c_int::from(brokers)) };
        let cluster = NonNull::new(cluster)
            .ok_or(Error::Refused { action: ACTION, code: rdkafka::error::RDKafkaErrorCode::Fail })?;
        let cluster = Self { cluster, _client: client };
        cluster.set_group_initial_rebalance_delay(Duration::ZERO);
        Ok(cluster)
    }

    /// Where clients connect: `host:port`, comma-separated.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        // SAFETY: the cluster is live; it owns this C string and never changes it.
        unsafe { CStr::from_ptr(c::rd_kafka_mock_cluster_bootstraps(self.cluster.as_ptr())) }
            .to_string_lossy()
            .into_owned()
    }

    /// Creates a topic. Topics that clients ask for are created on their own, with four partitions.
    ///
    /// # Errors
    /// [`Error::Refused`] if the topic exists or the numbers make no sense, [`Error::TopicName`].
    pub fn create_topic(&self, topic: &str, partitions: i32, replication: i32) -> Result<(), Error> {
        let topic = topic_name(topic)?;
        // SAFETY: the cluster is live, the name a C string that is copied.
        let result = unsafe {
            c::rd_kafka_mock_topic_create(self.cluster.as_ptr(), topic.as_ptr(), partitions, replication)
        };
        outcome(result as i32)
            .map_err(|code| Error::Refused { action: "create a topic in the embedded cluster", code })
    }

    /// How long a new group waits for further members. Later rebalances take about a session time-out
    /// whatever this says.
    pub fn set_group_initial_rebalance_delay(&self, delay: Duration) {
        let delay = i32::try_from(delay.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: the cluster is live.
        unsafe {
            c::rd_kafka_mock_group_initial_rebalance_delay_ms(self.cluster.as_ptr(), delay);
        }
    }

    /// Cuts all connections and refuses new ones, or (`true`) takes them again.
    ///
    /// # Errors
    /// [`Error::Refused`] if the cluster does not take the request.
    pub fn set_reachable(&self, reachable: bool) -> Result<(), Error> {
        const ALL: i32 = -1;
        // SAFETY: the cluster is live.
        let result = unsafe {
            if reachable {
                c::rd_kafka_mock_broker_set_up(self.cluster.as_ptr(), ALL)
            } else {
                c::rd_kafka_mock_broker_set_down(self.cluster.as_ptr(), ALL)
            }
        };
        outcome(result as i32).map_err(|code| Error::Refused { action: "cut the embedded cluster off", code })
    }
}

impl Drop for EmbeddedCluster {
    fn drop(&mut self) {
        // SAFETY: the cluster is live, ours, and not used again; its client still lives. Waits for the
        // cluster's thread.
        unsafe { c::rd_kafka_mock_cluster_destroy(self.cluster.as_ptr()) };
    }
}
