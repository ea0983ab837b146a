//! What tests ask of a cluster: topics, ends of partitions, commits, members of groups.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::{Kafka, REQUEST, config};
use crate::required_path;
use crate::wait::{poll_for, wait_until};

/// A commit of one partition, as the broker holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The next offset to read.
    pub offset: i64,
    /// The string that was committed beside it.
    pub metadata: String,
}

impl Kafka {
    /// Creates a topic and waits until each of its partitions has a leader. Copies: one a node.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let copies = i32::try_from(self.count).expect("a cluster has few nodes");
        let topic = configs
            .iter()
            .fold(NewTopic::new(name, partitions, TopicReplication::Fixed(copies)), |topic, (key, value)| {
                topic.set(key, value)
            });
        let options = AdminOptions::new().operation_timeout(Some(REQUEST));
        let results = block_on(self.admin.create_topics([&topic], &options)).expect("the broker answers");
        for result in results {
            result.unwrap_or_else(|(topic, error)| panic!("cannot create topic {topic}: {error}"));
        }
        wait_until(&format!("topic {name} has leaders"), Duration::from_secs(30), || {
            self.partitions(name).is_some_and(|led| led == partitions)
        });
    }

    /// A topic under a name of its own, derived from `prefix`.
    ///
    /// # Panics
    /// When the broker refuses it.
    #[must_use]
    pub fn new_topic(&self, prefix: &str, partitions: i32) -> String {
        let name = crate::unique(prefix);
        self.create_topic(&name, partitions, &[]);
        name
    }

    /// Deletes a topic.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub fn delete_topic(&self, name: &str) {
        let options = AdminOptions::new().operation_timeout(Some(REQUEST));
        let results = block_on(self.admin.delete_topics(&[name], &options)).expect("the broker answers");
        for result in results {
            result.unwrap_or_else(|(topic, error)| panic!("cannot delete topic {topic}: {error}"));
        }
    }

    /// How many partitions of the topic have a leader; none where the broker does not know it.
    #[must_use]
    pub fn partitions(&self, topic: &str) -> Option<i32> {
        let metadata = self.client.fetch_metadata(Some(topic), REQUEST).ok()?;
        let led = metadata.topics().first()?.partitions().iter().filter(|part| part.leader() >= 0).count();
        i32::try_from(led).ok()
    }

    /// How many partitions a topic has, led or not.
    fn count_of(&self, topic: &str) -> i32 {
        let count = poll_for(&format!("the broker knew topic {topic}"), REQUEST, || {
            let metadata = self.client.fetch_metadata(Some(topic), REQUEST).ok()?;
            let count = metadata.topics().first()?.partitions().len();
            i32::try_from(count).ok().filter(|count| *count > 0)
        });
        count.unwrap_or_else(|message| panic!("{message}"))
    }

    /// The node that leads a partition, counted from 0.
    ///
    /// # Panics
    /// When the broker does not say within 20 s, as while nobody leads it.
    #[must_use]
    pub fn leader(&self, topic: &str, partition: i32) -> usize {
        let leader = poll_for(&format!("{topic}/{partition} had a leader"), REQUEST, || {
            let metadata = self.client.fetch_metadata(Some(topic), REQUEST).ok()?;
            let partitions = metadata.topics().first()?.partitions();
            let found = partitions.iter().find(|found| found.id() == partition)?;
            // Nodes have ids from 1 on; -1: no leader.
            usize::try_from(found.leader() - 1).ok()
        });
        leader.unwrap_or_else(|message| panic!("{message}"))
    }

    /// First offset and end of each partition of a topic, as the broker says now.
    ///
    /// # Panics
    /// When the topic is not there.
    #[must_use]
    pub fn watermarks(&self, topic: &str) -> BTreeMap<i32, (i64, i64)> {
        let count = self.count_of(topic);
        let marks = |partition| {
            let mut refused = String::new();
            // A partition whose leader is gone gets another one: the answer comes later then.
            let marks = poll_for("they were answered", REQUEST, || {
                let answer = self.client.fetch_watermarks(topic, partition, REQUEST);
                answer.map_err(|error| refused = error.to_string()).ok()
            });
            marks.unwrap_or_else(|message| {
                panic!("no watermarks of {topic}/{partition}: {refused}: {message}")
            })
        };
        (0..count).map(|partition| (partition, marks(partition))).collect()
    }

    /// How many offsets a topic holds over all partitions.
    #[must_use]
    pub fn offsets_in(&self, topic: &str) -> i64 {
        self.watermarks(topic).values().map(|(low, high)| high - low).sum()
    }

    /// The end of each partition.
    #[must_use]
    pub fn ends(&self, topic: &str) -> BTreeMap<i32, i64> {
        self.watermarks(topic).into_iter().map(|(partition, (_, high))| (partition, high)).collect()
    }

    /// What a group has committed on a topic; partitions without a commit are missing.
    ///
    /// # Panics
    /// When the broker does not answer, or the metadata is not UTF-8.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a test may panic over metadata that is no text")]
    pub fn committed(&self, group: &str, topic: &str) -> BTreeMap<i32, Committed> {
        let count = self.count_of(topic);
        let reader = self.reader_of_group(group);
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(topic, 0, count - 1);
        // A group's coordinator moves when the broker makes its offsets topic: the answer comes later then.
        let what = format!("the commits of group {group} on {topic} were answered");
        let list = poll_for(&what, REQUEST, || reader.committed_offsets(asked.clone(), REQUEST).ok())
            .unwrap_or_else(|message| panic!("{message}"));
        list.elements()
            .iter()
            .filter_map(|element| match element.offset() {
                Offset::Offset(offset) => {
                    let metadata = element.metadata().to_owned();
                    Some((element.partition(), Committed { offset, metadata }))
                }
                _ => None,
            })
            .collect()
    }

    /// Commits for a group without members, as an operator does who moves it by hand.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub fn commit(&self, group: &str, topic: &str, partition: i32, commit: &Committed) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(commit.offset)).expect("a valid offset");
        let mut element = list.find_partition(topic, partition).expect("it was just added");
        element.set_metadata(commit.metadata.as_str());
        let committed = self.reader_of_group(group).commit(&list, CommitMode::Sync);
        committed.unwrap_or_else(|error| panic!("group {group} cannot commit: {error}"));
    }

    /// Deletes the records of a partition below `offset`, as retention does.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("a valid offset");
        let options = AdminOptions::new().operation_timeout(Some(REQUEST));
        let deleted = block_on(self.admin.delete_records(&list, &options)).expect("the broker answers");
        for element in deleted.elements() {
            element.error().unwrap_or_else(|error| panic!("cannot delete records of {topic}: {error}"));
        }
    }

    /// A client that may ask for a group's commits; one a group, since tests ask often.
    fn reader_of_group(&self, group: &str) -> Arc<BaseConsumer> {
        let mut readers = self.group_readers.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = readers.entry(group.to_owned()).or_insert_with(|| {
            let consumer = config(&self.bootstrap()).set("group.id", group).create();
            Arc::new(consumer.expect("the settings are valid"))
        });
        Arc::clone(reader)
    }

    /// The committed offsets alone.
    #[must_use]
    pub fn committed_offsets(&self, group: &str, topic: &str) -> BTreeMap<i32, i64> {
        self.committed(group, topic)
            .into_iter()
            .map(|(partition, commit)| (partition, commit.offset))
            .collect()
    }

    /// State and member ids of a group of the classic protocol.
    ///
    /// # Panics
    /// When the broker does not answer.
    #[must_use]
    pub fn members(&self, group: &str) -> (String, Vec<String>) {
        let list = self
            .client
            .fetch_group_list(Some(group), REQUEST)
            .unwrap_or_else(|error| panic!("no list of group {group}: {error}"));
        let Some(group) = list.groups().first() else { return (String::new(), Vec::new()) };
        let mut ids: Vec<String> = group.members().iter().map(|member| member.id().to_owned()).collect();
        ids.sort();
        (group.state().to_owned(), ids)
    }

    /// Lets groups use Kafka 4's protocol. The default of a cluster that was formatted by Kafka's own tool.
    ///
    /// # Panics
    /// When the broker refuses it.
    pub fn enable_new_groups(&self) {
        self.tool("org.apache.kafka.tools.FeatureCommand", &["upgrade", "--feature", "group.version=1"]);
    }

    /// Runs an admin tool of Apache Kafka (`kafka.admin.…`, `org.apache.kafka.tools.…`) and gives what
    /// it printed. Takes about two seconds.
    ///
    /// # Panics
    /// When it fails.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> String {
        let output = Command::new("java")
            .args([
                "-Xmx256m",
                "-XX:TieredStopAtLevel=1",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                "-cp",
            ])
            .arg(required_path("SANDMILL_KAFKA_LIBS").join("*"))
            .arg(class)
            .args(["--bootstrap-server", &self.bootstrap()])
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| {
                panic!("cannot start java ({error}); run cargo xtask test, which checks it")
            });
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{class} {arguments:?} failed:\n{text}{errors}");
        text
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made").block_on(future)
}
