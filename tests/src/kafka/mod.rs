//! A real Apache Kafka (KRaft) on loopback, from its jars alone: one node or three.
//!
//! A node is up in about two seconds: its folder is formatted by writing the one file that the broker
//! asks for, and the JVM stops at its quick compiler. Every node acts as broker and controller.

mod admin;
mod node;
mod ports;

pub use admin::Committed;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tempfile::TempDir;

use crate::wait::poll_for;
use node::Node;

/// How long a request to the broker may take on a machine that compiles beside it.
pub(crate) const REQUEST: Duration = Duration::from_secs(20);

/// The user that a cluster with an authorizer lets in and grants nothing.
pub const STRANGER: (&str, &str) = ("stranger", "stranger-password");

static SHARED: LazyLock<Kafka> = LazyLock::new(|| Kafka::start(1));

/// What a cluster is started with beyond the usual.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Further lines of `server.properties`; a later line wins.
    pub properties: Vec<(String, String)>,
    /// Adds a listener for [`STRANGER`] (SASL PLAIN) who may do nothing until an ACL lets him.
    pub authorizer: bool,
}

/// A running cluster. Dropped: killed, and its folder removed.
pub struct Kafka {
    nodes: Vec<Node>,
    admin: AdminClient<DefaultClientContext>,
    client: BaseConsumer,
    group_readers: Mutex<HashMap<String, Arc<BaseConsumer>>>,
    authorizer: bool,
    folder: TempDir,
}

impl Kafka {
    /// The one broker that all tests of this binary share; they differ in their topics' names.
    #[must_use]
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// Starts a cluster of `nodes` (1 or 3) and waits until every node serves requests.
    ///
    /// # Panics
    /// When a node ends at its start or does not answer within a minute: with the end of its log.
    #[must_use]
    pub fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &Options::default())
    }

    /// The same with options.
    ///
    /// # Panics
    /// As [`Kafka::start`].
    #[must_use]
    pub fn start_with(nodes: usize, options: &Options) -> Self {
        let folder = crate::reaper::folder("kafka");
        let mut nodes = Node::plan(folder.path(), nodes, options);
        nodes.iter_mut().for_each(Node::start);
        let bootstrap = bootstrap(&nodes);
        let client: BaseConsumer = config(&bootstrap).create().expect("a client needs no broker to be made");
        let admin = config(&bootstrap).create().expect("a client needs no broker to be made");
        let mut kafka = Self {
            nodes,
            admin,
            client,
            group_readers: Mutex::default(),
            authorizer: options.authorizer,
            folder,
        };
        kafka.wait_ready();
        kafka
    }

    /// Addresses for clients.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        bootstrap(&self.nodes)
    }

    /// The process of a cluster's first node.
    ///
    /// # Panics
    /// When it does not run at the moment.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.nodes[0].process_id()
    }

    /// The folder with the data and the logs of all nodes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The address at which [`STRANGER`] logs in.
    ///
    /// # Panics
    /// When the cluster was started without an authorizer.
    #[must_use]
    pub fn bootstrap_of_stranger(&self) -> String {
        assert!(self.authorizer, "a cluster without authorizer has no such listener");
        self.nodes[0].secure_address()
    }

    /// The settings of a client that logs in as [`STRANGER`], as librdkafka names them.
    #[must_use]
    pub fn login_of_stranger(&self) -> [(&'static str, &'static str); 4] {
        [
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            ("sasl.username", STRANGER.0),
            ("sasl.password", STRANGER.1),
        ]
    }

    /// SIGKILL: the node is gone at once. Nodes count from 0.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].kill();
    }

    /// An orderly stop of a node.
    pub fn stop(&mut self, node: usize) {
        self.nodes[node].stop();
    }

    /// SIGSTOP: the node keeps its connections and answers nothing.
    pub fn pause(&mut self, node: usize) {
        self.nodes[node].pause();
    }

    /// SIGCONT after [`Kafka::pause`].
    pub fn resume(&mut self, node: usize) {
        self.nodes[node].resume();
    }

    /// Starts a node again that was killed or stopped, and waits until the whole cluster answers.
    ///
    /// # Panics
    /// As [`Kafka::start`].
    pub fn start_node(&mut self, node: usize) {
        self.nodes[node].start();
        self.wait_ready();
    }

    fn wait_ready(&mut self) {
        let expected = self.nodes.len();
        let Self { nodes, client, .. } = self;
        let ready = poll_for("every broker is in the cluster's metadata", Duration::from_secs(60), || {
            nodes.iter_mut().for_each(Node::assert_runs);
            let metadata = client.fetch_metadata(None, Duration::from_secs(1)).ok()?;
            (metadata.brokers().len() == expected).then_some(())
        });
        if let Err(message) = ready {
            let logs: Vec<String> = nodes.iter().map(Node::log_tail).collect();
            panic!("{message}\n{}", logs.join("\n"));
        }
    }
}

/// A client's settings on which the harness relies.
pub(crate) fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("fetch.queue.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "500")
        .set("log_level", "2");
    config
}

fn bootstrap(nodes: &[Node]) -> String {
    nodes.iter().map(Node::address).collect::<Vec<_>>().join(",")
}
