//! A real Apache Kafka (KRaft) on loopback, from its jars alone: one node or three.
//!
//! A node is up in about two seconds: its folder is formatted by writing the one file that the broker
//! asks for, and the JVM stops at its quick compiler. Every node acts as broker and controller.
//!
//! `node` has the processes and their settings, `admin` what tests ask, `commits` the log of all commits, and
//! [`Proxy`] is a bad network between a host and its brokers.

mod admin;
mod commits;
mod node;
mod ports;
mod proxy;

pub use admin::Committed;
pub use commits::Commit;
pub use proxy::{Cut, Proxy, Request};

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
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

/// Three nodes behind proxies, for one test of faults at a time.
static FRAGILE: LazyLock<Mutex<Kafka>> =
    LazyLock::new(|| Mutex::new(Kafka::start_with(3, &Options { proxied: true, ..Options::default() })));

/// What a cluster is started with beyond the usual.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Further lines of `server.properties`; a later line wins.
    pub properties: Vec<(String, String)>,
    /// Adds a listener for [`STRANGER`] (SASL PLAIN) who may do nothing until an ACL lets him.
    pub authorizer: bool,
    /// Puts a [`Proxy`] before each node, for clients that start from [`Kafka::bootstrap_proxied`].
    pub proxied: bool,
}

/// A running cluster. Dropped: killed, and its folder removed.
pub struct Kafka {
    nodes: Mutex<Vec<Node>>,
    /// How many nodes it has, running or not.
    count: usize,
    bootstrap: String,
    proxies: Vec<Proxy>,
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

    /// The one cluster of three nodes, behind proxies, on which tests break something: one after the other,
    /// each finding everything whole.
    pub fn fragile() -> MutexGuard<'static, Self> {
        // A test that failed may have left it broken, which is mended here.
        let kafka = FRAGILE.lock().unwrap_or_else(PoisonError::into_inner);
        kafka.heal();
        kafka
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
        let bootstrap = nodes.iter().map(Node::address).collect::<Vec<_>>().join(",");
        let client: BaseConsumer = config(&bootstrap).create().expect("a client needs no broker to be made");
        let admin = config(&bootstrap).create().expect("a client needs no broker to be made");
        let proxies = nodes.iter().filter_map(Node::proxy).collect();
        let kafka = Self {
            count: nodes.len(),
            nodes: Mutex::new(nodes),
            bootstrap,
            proxies,
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
        self.bootstrap.clone()
    }

    /// Addresses for clients whose connections go through the proxies, all of them.
    ///
    /// # Panics
    /// When the cluster was started without proxies.
    #[must_use]
    pub fn bootstrap_proxied(&self) -> String {
        assert!(!self.proxies.is_empty(), "a cluster without proxies has no such listener");
        self.proxies.iter().map(Proxy::address).collect::<Vec<_>>().join(",")
    }

    /// The proxies before the nodes, in the order of these; none where none were asked for.
    #[must_use]
    pub fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// The process of a cluster's first node.
    ///
    /// # Panics
    /// When it does not run at the moment.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.nodes()[0].process_id()
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
        self.nodes()[0].secure_address()
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
    pub fn kill(&self, node: usize) {
        self.nodes()[node].kill();
    }

    /// An orderly stop of a node.
    pub fn stop(&self, node: usize) {
        self.nodes()[node].stop();
    }

    /// SIGSTOP: the node keeps its connections and answers nothing.
    pub fn pause(&self, node: usize) {
        self.nodes()[node].pause();
    }

    /// SIGCONT after [`Kafka::pause`].
    pub fn resume(&self, node: usize) {
        self.nodes()[node].resume();
    }

    /// Starts a node again that was killed or stopped, and waits until the whole cluster answers. All others
    /// have to run.
    ///
    /// # Panics
    /// As [`Kafka::start`].
    pub fn start_node(&self, node: usize) {
        self.nodes()[node].start();
        self.wait_ready();
    }

    /// Starts a node again without waiting for it.
    pub fn launch(&self, node: usize) {
        self.nodes()[node].start();
    }

    /// Starts what is not running, wakes what is paused, lets the proxies pass everything, and waits until the
    /// whole cluster answers.
    ///
    /// # Panics
    /// As [`Kafka::start`].
    pub fn heal(&self) {
        self.proxies.iter().for_each(Proxy::heal);
        self.nodes().iter_mut().for_each(Node::heal);
        self.wait_ready();
    }

    fn nodes(&self) -> MutexGuard<'_, Vec<Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_ready(&self) {
        let ready = poll_for("every broker is in the cluster's metadata", Duration::from_secs(60), || {
            self.nodes().iter_mut().for_each(Node::assert_runs);
            let metadata = self.client.fetch_metadata(None, Duration::from_secs(1)).ok()?;
            (metadata.brokers().len() == self.count).then_some(())
        });
        if let Err(message) = ready {
            let logs: Vec<String> = self.nodes().iter().map(Node::log_tail).collect();
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
        // A broker that sleeps keeps what was sent to it that long.
        .set("socket.timeout.ms", "10000")
        .set("log_level", "2");
    config
}
