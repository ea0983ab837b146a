//! Where partitions start and end, as the broker says.
//!
//! A topic that was deleted and created again has other records at the same offsets. Three things tell: the id that
//! the commit carries, the id that this host has seen before, and the id at the ends that it looks up all the time.
//! None is believed at once: a broker may know of a new topic later than another one, and who asks both would take
//! the old one for the newer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use sandmill_kafka_ffi::{self as ffi, Isolation, RDKafkaErrorCode as Code, TopicDescription};

use super::consumer::OnOffsetLost;
use super::context::Context;
use super::lookup::Start;
use crate::batch::TopicPartition;
use crate::ids::Offset;
use crate::machine::Assigned;
use crate::progress::{self, Reject};

/// How long one request may take. It also bounds how long a stop waits for the thread that asks.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For how long brokers have to say that a topic is another one: longer than news takes among them.
pub(super) const NEWS: Duration = Duration::from_millis(2_500);

/// Where the partitions of a rebalance start.
#[derive(Debug, Default)]
pub struct Positions {
    /// Those that start somewhere.
    pub assigned: Vec<Assigned>,
    /// Those of them whose topic was deleted and created again: they start where `on_offset_lost` says.
    pub created_again: Vec<TopicPartition>,
    /// The same, where that has to halt: they start nowhere.
    pub lost: Vec<TopicPartition>,
}

/// One end of a partition.
#[derive(Clone, Debug)]
pub struct End {
    /// Which.
    pub partition: TopicPartition,
    /// The high watermark.
    pub high: Option<i64>,
    /// The last stable offset: the start of the first open transaction, or the high watermark.
    pub stable: Option<i64>,
    /// Of the topic's id, 0 if unknown: another one means that the topic was deleted and created again.
    pub topic_tag: u32,
}

/// Asks the broker, and waits for it. Belongs to one thread.
pub(super) struct Finder {
    consumer: Arc<BaseConsumer<Context>>,
    start: Start,
    on_offset_lost: OnOffsetLost,
    /// The topics that partitions were assigned of, by their tags.
    known: HashMap<String, u32>,
    /// Since when brokers say that an assigned topic is another one than before.
    news_since: Option<Instant>,
}

impl Finder {
    pub fn new(consumer: Arc<BaseConsumer<Context>>, start: Start, on_offset_lost: OnOffsetLost) -> Self {
        Finder { consumer, start, on_offset_lost, known: HashMap::new(), news_since: None }
    }

    /// Where these start; `None`: to be asked again, because what the broker says is news.
    pub fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Option<Positions>, ffi::Error> {
        let client = self.consumer.client();
        let described = self.describe(partitions)?;
        // All partitions of the topics: one that has no commit beside others that have is new.
        let mut asked: Vec<(&str, i32)> = partitions.iter().map(|p| (&*p.topic, p.partition)).collect();
        for (topic, description) in &described {
            for partition in 0..i32::try_from(description.partitions).unwrap_or(i32::MAX) {
                if !asked.contains(&(topic, partition)) {
                    asked.push((topic, partition));
                }
            }
        }
        let committed = ffi::committed(client, &asked, TIMEOUT)?;
        if let Some(code) = committed.iter().find_map(|c| c.error) {
            return Err(ffi::Error::Refused { action: "read committed offsets", code });
        }
        let tag_of = |partition: &TopicPartition| described.get(&*partition.topic).map_or(0, tag);
        let is_another = |(partition, commit): &(&TopicPartition, &ffi::Committed)| match commit.offset {
            Some(offset) => is_of_another_topic(commit, Offset(offset), tag_of(partition)),
            // Commits go with their topic.
            None => {
                let known = self.known.get(&*partition.topic).copied().unwrap_or_default();
                known != 0 && tag_of(partition) != 0 && known != tag_of(partition)
            }
        };
        let created_again: HashSet<&TopicPartition> =
            partitions.iter().zip(&committed).filter(is_another).map(|(partition, _)| partition).collect();
        if created_again.is_empty() {
            self.news_since = None;
        } else if self.news_since.get_or_insert_with(Instant::now).elapsed() < NEWS {
            return Ok(None);
        }

        let started: HashSet<&str> =
            committed.iter().filter(|c| c.offset.is_some()).map(|c| &*c.topic).collect();
        let ends = self.bounds(&partitions.iter().collect::<Vec<_>>(), Start::Latest)?;
        let mut found = Positions::default();
        for ((partition, commit), end) in partitions.iter().zip(&committed).zip(ends) {
            // The offset that is committed, or what says where to start without one.
            let from = if created_again.contains(partition) {
                let OnOffsetLost::Resume(start) = self.on_offset_lost else {
                    found.lost.push(partition.clone());
                    continue;
                };
                found.created_again.push(partition.clone());
                Err(start)
            } else {
                let is_new = started.contains(&*partition.topic);
                commit.offset.ok_or(if is_new { Start::Earliest } else { self.start })
            };
            let start = match from {
                Ok(offset) => offset,
                Err(start) => self.bounds(&[partition], start)?[0],
            };
            found.assigned.push(Assigned {
                partition: partition.clone(),
                start: Offset(start),
                metadata: commit.metadata.clone().filter(|_| from.is_ok()),
                commit_start: from.is_err(),
                topic_tag: tag_of(partition),
                log_end: Some(Offset(end)),
            });
        }
        let tags = described.iter().map(|(topic, description)| ((*topic).to_owned(), tag(description)));
        let tags: Vec<_> = tags.filter(|(_, tag)| *tag != 0).collect();
        self.known.extend(tags);
        Ok(Some(found))
    }

    /// Where a partition goes on whose position is gone.
    pub fn reset(&self, partition: &TopicPartition, start: Start) -> Result<Assigned, ffi::Error> {
        let described = self.describe(std::slice::from_ref(partition))?;
        Ok(Assigned {
            partition: partition.clone(),
            start: Offset(self.bounds(&[partition], start)?[0]),
            metadata: None,
            commit_start: true,
            topic_tag: described.get(&*partition.topic).map_or(0, tag),
            log_end: None,
        })
    }

    /// Where these end; `None`: the broker does not say.
    pub fn ends(&self, partitions: &[TopicPartition]) -> Option<Vec<End>> {
        let client = self.consumer.client();
        let asked: Vec<_> = partitions.iter().map(|p| (&*p.topic, p.partition)).collect();
        let ends = |isolation| ffi::end_offsets(client, &asked, isolation, TIMEOUT).ok();
        let (high, stable) = (ends(Isolation::ReadUncommitted)?, ends(Isolation::ReadCommitted)?);
        let described = self.describe(partitions).unwrap_or_default();
        let ends = partitions.iter().zip(high.into_iter().zip(stable));
        let end = |(partition, (high, stable)): (&TopicPartition, (Result<i64, _>, Result<i64, _>))| End {
            partition: partition.clone(),
            high: high.ok(),
            stable: stable.ok(),
            topic_tag: described.get(&*partition.topic).map_or(0, tag),
        };
        Some(ends.map(end).collect())
    }

    /// The topics of these partitions. Without those that the broker does not describe to this user: their ids stay
    /// unknown, and their new partitions look like first ones.
    fn describe<'p>(
        &self,
        partitions: &'p [TopicPartition],
    ) -> Result<HashMap<&'p str, TopicDescription>, ffi::Error> {
        let topics: HashSet<&str> = partitions.iter().map(|p| &*p.topic).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let is_mute = |code| {
            matches!(
                code,
                Code::UnsupportedFeature | Code::UnsupportedVersion | Code::TopicAuthorizationFailed
            )
        };
        let described = match ffi::describe_topics(self.consumer.client(), &topics, TIMEOUT) {
            Ok(described) => described,
            Err(ffi::Error::Refused { code, .. }) if is_mute(code) => Vec::new(),
            // Anything else passes; without it a new partition could be taken for a group's first.
            Err(error) => return Err(error),
        };
        let mut known = HashMap::new();
        for (topic, described) in topics.into_iter().zip(described) {
            match described {
                Ok(description) => drop(known.insert(topic, description)),
                Err(code) if is_mute(code) => {}
                Err(code) => return Err(ffi::Error::Refused { action: "describe topics", code }),
            }
        }
        Ok(known)
    }

    /// The first or the last offset of each partition.
    fn bounds(&self, partitions: &[&TopicPartition], start: Start) -> Result<Vec<i64>, ffi::Error> {
        let client = self.consumer.client();
        let asked: Vec<_> = partitions.iter().map(|p| (&*p.topic, p.partition)).collect();
        let found = match start {
            Start::Earliest => ffi::start_offsets(client, &asked, TIMEOUT)?,
            Start::Latest => ffi::end_offsets(client, &asked, Isolation::ReadUncommitted, TIMEOUT)?,
        };
        let refused = |code| ffi::Error::Refused { action: "list offsets", code };
        found.into_iter().map(|result| result.map_err(refused)).collect()
    }
}

/// True if this very offset was committed in a topic of the same name that is not there any more.
fn is_of_another_topic(commit: &ffi::Committed, offset: Offset, topic_tag: u32) -> bool {
    let metadata = commit.metadata.as_deref().unwrap_or_default();
    matches!(progress::decode(metadata, offset, topic_tag), Err(Reject::ForeignTopic { .. }))
}

/// What the commit metadata says of a topic: see [`progress::topic_tag`].
fn tag(topic: &TopicDescription) -> u32 {
    topic.id.map_or(0, |id| progress::topic_tag(id.to_be_bytes()))
}
