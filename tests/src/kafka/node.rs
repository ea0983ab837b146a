//! One node: its folder, its settings, its JVM.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::{Options, Proxy, STRANGER, ports};
use crate::reaper::{Process, code};
use crate::required_path;

/// Any 16 bytes in base64 name a cluster.
const CLUSTER: &str = "c2FuZG1pbGwtdGVzdHMtAA";

/// How each listener is spoken to; those that a node does not have are named in vain.
const PROTOCOLS: &str = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT,SECURE:SASL_PLAINTEXT";

/// How much of a log a failure shows.
const LOG_TAIL: u64 = 3_000;

/// A node that was planned, and runs if `process` is there.
pub(super) struct Node {
    id: usize,
    port: u16,
    secure_port: u16,
    /// Where it listens for its proxy, and where the proxy does.
    proxied: Option<(u16, u16)>,
    folder: PathBuf,
    process: Option<Process>,
    paused: bool,
}

impl Node {
    /// Formats the folders of `count` nodes that know each other.
    pub(super) fn plan(folder: &Path, count: usize, options: &Options) -> Vec<Self> {
        let controllers: Vec<u16> = (0..count).map(|_| ports::free()).collect();
        (0..count)
            .map(|index| {
                let node = Self {
                    id: index + 1,
                    port: ports::free(),
                    secure_port: ports::free(),
                    proxied: options.proxied.then(|| (ports::free(), ports::free())),
                    folder: folder.join(format!("node{}", index + 1)),
                    process: None,
                    paused: false,
                };
                node.format(&controllers, options);
                node
            })
            .collect()
    }

    fn format(&self, controllers: &[u16], options: &Options) {
        let data = self.folder.join("data");
        fs::create_dir_all(&data).expect("a fresh folder takes another");
        // What `kafka-storage format` would write in a JVM of its own: a second saved per node.
        let directory = format!("c2FuZG1pbGwtdGVzdHM{}AA", self.id);
        let meta =
            format!("version=1\ncluster.id={CLUSTER}\nnode.id={}\ndirectory.id={directory}\n", self.id);
        fs::write(data.join("meta.properties"), meta).expect("a fresh folder takes a file");
        fs::write(self.properties_file(), self.properties(&data, controllers, options))
            .expect("a fresh folder takes a file");
    }

    fn properties(&self, data: &Path, controllers: &[u16], options: &Options) -> String {
        let nodes = controllers.len();
        let quorum: Vec<String> =
            controllers.iter().enumerate().map(|(at, port)| format!("{}@127.0.0.1:{port}", at + 1)).collect();
        let mut listeners =
            format!("PLAINTEXT://{},CONTROLLER://127.0.0.1:{}", self.address(), controllers[self.id - 1]);
        let mut extra = String::new();
        let mut advertised = format!("PLAINTEXT://{}", self.address());
        if let Some((port, before)) = self.proxied {
            listeners.push_str(&format!(",PROXIED://127.0.0.1:{port}"));
            advertised.push_str(&format!(",PROXIED://127.0.0.1:{before}"));
        }
        if options.authorizer {
            let (user, password) = STRANGER;
            listeners.push_str(&format!(",SECURE://{}", self.secure_address()));
            advertised.push_str(&format!(",SECURE://{}", self.secure_address()));
            extra.push_str(&format!(
                "listener.name.secure.sasl.enabled.mechanisms=PLAIN\n\
                 listener.name.secure.plain.sasl.jaas.config=\
                 org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}=\"{password}\";\n\
                 authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
                 super.users=User:ANONYMOUS\n"
            ));
        }
        for (name, value) in &options.properties {
            extra.push_str(&format!("{name}={value}\n"));
        }
        format!(
            "process.roles=broker,controller\n\
             node.id={id}\n\
             controller.quorum.voters={quorum}\n\
             listeners={listeners}\n\
             advertised.listeners={advertised}\n\
             listener.security.protocol.map={PROTOCOLS}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\n\
             log.dirs={data}\n\
             default.replication.factor={nodes}\n\
             min.insync.replicas={insync}\n\
             offsets.topic.replication.factor={nodes}\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor={nodes}\n\
             transaction.state.log.min.isr={insync}\n\
             transaction.state.log.num.partitions=4\n\
             share.coordinator.state.topic.replication.factor={nodes}\n\
             share.coordinator.state.topic.min.isr=1\n\
             auto.create.topics.enable=false\n\
             group.initial.rebalance.delay.ms=0\n\
             group.min.session.timeout.ms=1000\n\
             group.consumer.min.heartbeat.interval.ms=300\n\
             group.consumer.heartbeat.interval.ms=300\n\
             group.consumer.min.session.timeout.ms=3000\n\
             group.consumer.session.timeout.ms=6000\n\
             log.cleaner.backoff.ms=500\n\
             broker.session.timeout.ms=4000\n\
             broker.heartbeat.interval.ms=500\n\
             {extra}",
            id = self.id,
            quorum = quorum.join(","),
            data = data.display(),
            insync = if nodes > 1 { 2 } else { 1 },
        )
    }

    /// Where clients connect.
    pub(super) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where clients log in, if there is an authorizer.
    pub(super) fn secure_address(&self) -> String {
        format!("127.0.0.1:{}", self.secure_port)
    }

    /// Starts the proxy before this node, if there is to be one.
    pub(super) fn proxy(&self) -> Option<Proxy> {
        self.proxied.map(|(port, before)| Proxy::start(before, port))
    }

    pub(super) fn start(&mut self) {
        assert!(self.process.is_none(), "node {} runs already", self.id);
        let jars = required_path("SANDMILL_KAFKA_LIBS");
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .expect("the node's folder takes a log");
        let errors = log.try_clone().expect("an open file can be shared");
        let mut java = Command::new("java");
        java.args(["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .arg("-cp")
            .arg(jars.join("*"))
            .arg("kafka.Kafka")
            .arg(self.properties_file())
            .env_remove("JAVA_TOOL_OPTIONS")
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors);
        let process = Process::spawn(&mut java).unwrap_or_else(|error| {
            panic!("cannot start java ({error}); run cargo xtask test, which checks it")
        });
        self.process = Some(process);
    }

    pub(super) fn process_id(&self) -> u32 {
        let id = self.id;
        self.process.as_ref().unwrap_or_else(|| panic!("node {id} does not run")).id()
    }

    /// Fails the test at once when the node has ended by itself.
    pub(super) fn assert_runs(&mut self) {
        let Some(process) = &mut self.process else { return };
        if let Some(status) = process.ended() {
            panic!("node {} ended with code {}:\n{}", self.id, code(status), self.log_tail());
        }
    }

    pub(super) fn kill(&mut self) {
        self.paused = false;
        drop(self.process.take());
    }

    pub(super) fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        process.signal(Signal::TERM);
        if let Err(message) = process.wait(Duration::from_secs(60)) {
            panic!("node {} does not stop: {message}\n{}", self.id, self.log_tail());
        }
    }

    pub(super) fn pause(&mut self) {
        self.running().signal(Signal::STOP);
        self.paused = true;
    }

    pub(super) fn resume(&mut self) {
        self.running().signal(Signal::CONT);
        self.paused = false;
    }

    /// Wakes it if it is paused, and starts it if it does not run.
    pub(super) fn heal(&mut self) {
        match &self.process {
            Some(_) if self.paused => self.resume(),
            Some(_) => {}
            None => self.start(),
        }
    }

    fn running(&mut self) -> &mut Process {
        let id = self.id;
        self.process.as_mut().unwrap_or_else(|| panic!("node {id} does not run"))
    }

    /// The end of what the node logged.
    pub(super) fn log_tail(&self) -> String {
        let mut text = Vec::new();
        if let Ok(mut file) = fs::File::open(self.log_file()) {
            let length = file.metadata().map_or(0, |metadata| metadata.len());
            let _ = file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL)));
            let _ = file.read_to_end(&mut text);
        }
        format!("--- log of Kafka node {} ---\n{}", self.id, String::from_utf8_lossy(&text))
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    fn properties_file(&self) -> PathBuf {
        self.folder.join("server.properties")
    }
}
