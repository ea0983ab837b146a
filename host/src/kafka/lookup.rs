//! Questions that wait for the broker, asked on a thread of their own so that polling goes on.
//!
//! One lookup thread a pipeline. It finds out where assigned partitions start: committed offsets and their
//! metadata in one request, and for partitions that have none, what the configuration says. And it fetches
//! the ends of partitions, since the client's cached high watermark stands still while one is paused.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use sandmill_kafka_ffi::{self as ffi, Isolation, RDKafkaErrorCode as Code, TopicDescription};

use super::consumer::{Event, OnOffsetLost};
use super::context::Context;
use crate::batch::TopicPartition;
use crate::ids::{Epoch, Offset};
use crate::inbox::Inbox;
use crate::machine::Assigned;
use crate::progress::{self, Reject};

/// Where a group starts that has committed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the oldest record.
    Earliest,
    /// With what comes next.
    Latest,
}

/// One question.
#[derive(Debug)]
enum Question {
    /// Where do these start? `serial` comes back with the answer.
    Positions { serial: u64, partitions: Vec<TopicPartition> },
    /// The position of this one is gone: where does it start according to this? To be asked not before then. The
    /// assignment that asks comes back with the answer.
    Reset { partition: TopicPartition, start: Start, epoch: Epoch, not_before: Instant },
    /// Where do these end?
    Ends(Vec<TopicPartition>),
}

impl Question {
    /// True if nobody waits for the answer to `known` once this is asked.
    fn replaces(&self, known: &Question) -> bool {
        match (self, known) {
            (Question::Positions { .. }, Question::Positions { .. })
            | (Question::Ends(_), Question::Ends(_)) => true,
            (Question::Reset { partition, .. }, Question::Reset { partition: same, .. }) => partition == same,
            _ => false,
        }
    }
}

/// Where the partitions of a rebalance start.
#[derive(Debug, Default)]
pub struct Positions {
    /// Those that start somewhere.
    pub assigned: Vec<Assigned>,
    /// Those whose committed offset is one of another topic of the same name, where that has to halt.
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

/// The asking side; the thread ends when it is dropped.
#[derive(Debug)]
pub(super) struct Lookups {
    questions: Option<Sender<Question>>,
    thread: Option<JoinHandle<()>>,
}

impl Lookups {
    pub fn start(
        consumer: Arc<BaseConsumer<Context>>,
        inbox: Arc<Inbox<Event>>,
        start: Start,
        on_offset_lost: OnOffsetLost,
    ) -> std::io::Result<Self> {
        let (questions, asked) = channel();
        let thread = std::thread::Builder::new()
            .name("lookup".into())
            .spawn(move || Answerer { consumer, inbox, start, on_offset_lost }.run(&asked))?;
        Ok(Lookups { questions: Some(questions), thread: Some(thread) })
    }

    /// Asks where these partitions start. Answered until the broker answers, unless asked again.
    pub fn positions(&self, serial: u64, partitions: Vec<TopicPartition>) {
        self.ask(Question::Positions { serial, partitions });
    }

    /// Asks where a partition starts whose position is gone.
    pub fn reset(&self, partition: TopicPartition, start: Start, epoch: Epoch) {
        self.ask(Question::Reset { partition, start, epoch, not_before: Instant::now() });
    }

    /// The same, after a pause: the answer came at a time when it was of no use.
    pub fn reset_later(&self, partition: TopicPartition, start: Start, epoch: Epoch) {
        self.ask(Question::Reset { partition, start, epoch, not_before: Instant::now() + PAUSE });
    }

    /// Asks where these partitions end. Not answered if the broker does not answer.
    pub fn ends(&self, partitions: Vec<TopicPartition>) {
        self.ask(Question::Ends(partitions));
    }

    fn ask(&self, question: Question) {
        if let Some(questions) = &self.questions {
            // The thread ends only after this side.
            let _ = questions.send(question);
        }
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        self.questions = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the lookup thread panicked");
        }
    }
}

/// How long one request may take. It also bounds how long a stop waits for this thread.
const TIMEOUT: Duration = Duration::from_secs(5);
/// From one try to the next.
const PAUSE: Duration = Duration::from_millis(200);

struct Answerer {
    consumer: Arc<BaseConsumer<Context>>,
    inbox: Arc<Inbox<Event>>,
    start: Start,
    on_offset_lost: OnOffsetLost,
}

impl Answerer {
    fn run(&self, asked: &Receiver<Question>) {
        // Questions that the broker has not answered yet.
        let mut open: Vec<Question> = Vec::new();
        loop {
            let next = if open.is_empty() {
                asked.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                asked.recv_timeout(PAUSE)
            };
            match next {
                Ok(question) => {
                    open.retain(|known| !question.replaces(known));
                    open.push(question);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            open.retain(|question| !self.answer(question));
        }
    }

    /// Asks the broker; false if it has to be asked again.
    fn answer(&self, question: &Question) -> bool {
        let answer = match question {
            Question::Positions { serial, partitions } => {
                let serial = *serial;
                self.positions(partitions).map(|found| Event::Positions { serial, found })
            }
            Question::Reset { not_before, .. } if Instant::now() < *not_before => return false,
            Question::Reset { partition, start, epoch, .. } => {
                self.reset(partition, *start).map(|assigned| Event::Reset { epoch: *epoch, assigned })
            }
            Question::Ends(partitions) => {
                self.ends(partitions);
                return true;
            }
        };
        match answer {
            Ok(event) => {
                self.inbox.push(event);
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the broker does not say where partitions start; asking again");
                false
            }
        }
    }

    fn positions(&self, partitions: &[TopicPartition]) -> Result<Positions, ffi::Error> {
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
        let started: HashSet<&str> =
            committed.iter().filter(|c| c.offset.is_some()).map(|c| &*c.topic).collect();
        let ends = self.bounds(&partitions.iter().collect::<Vec<_>>(), Start::Latest)?;
        let mut found = Positions::default();
        for ((partition, commit), end) in partitions.iter().zip(&committed).zip(ends) {
            let topic_tag = described.get(&*partition.topic).map_or(0, tag);
            let (start, commit_start) = match commit.offset {
                Some(offset) if is_of_another_topic(commit, Offset(offset), topic_tag) => {
                    let OnOffsetLost::Resume(start) = self.on_offset_lost else {
                        found.lost.push(partition.clone());
                        continue;
                    };
                    let start = self.bounds(&[partition], start)?[0];
                    tracing::warn!(
                        %partition, committed = offset, offset = start,
                        "position reset: since the commit the topic was deleted and created again"
                    );
                    (start, true)
                }
                Some(offset) => (offset, false),
                None => {
                    let start =
                        if started.contains(&*partition.topic) { Start::Earliest } else { self.start };
                    (self.bounds(&[partition], start)?[0], true)
                }
            };
            found.assigned.push(Assigned {
                partition: partition.clone(),
                start: Offset(start),
                metadata: commit.metadata.clone().filter(|_| !commit_start),
                commit_start,
                topic_tag,
                log_end: Some(Offset(end)),
            });
        }
        Ok(found)
    }

    /// Where a partition goes on whose position is gone.
    fn reset(&self, partition: &TopicPartition, start: Start) -> Result<Assigned, ffi::Error> {
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

    /// The topics of these partitions, as far as the broker tells.
    fn describe<'p>(
        &self,
        partitions: &'p [TopicPartition],
    ) -> Result<HashMap<&'p str, TopicDescription>, ffi::Error> {
        let topics: HashSet<&str> = partitions.iter().map(|p| &*p.topic).collect();
        let topics: Vec<&str> = topics.into_iter().collect();
        let described = match ffi::describe_topics(self.consumer.client(), &topics, TIMEOUT) {
            Ok(described) => described,
            // Brokers that cannot describe topics leave the id unknown, and new partitions look like first ones.
            Err(ffi::Error::Refused {
                code: Code::UnsupportedFeature | Code::UnsupportedVersion, ..
            }) => Vec::new(),
            // Anything else passes; without it a new partition could be taken for a group's first.
            Err(error) => return Err(error),
        };
        Ok(topics
            .into_iter()
            .zip(described)
            .filter_map(|(topic, result)| Some((topic, result.ok()?)))
            .collect())
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

    fn ends(&self, partitions: &[TopicPartition]) {
        let client = self.consumer.client();
        let asked: Vec<_> = partitions.iter().map(|p| (&*p.topic, p.partition)).collect();
        let ends = |isolation| ffi::end_offsets(client, &asked, isolation, TIMEOUT);
        let (Ok(high), Ok(stable)) = (ends(Isolation::ReadUncommitted), ends(Isolation::ReadCommitted))
        else {
            return;
        };
        let described = self.describe(partitions).unwrap_or_default();
        let ends = partitions.iter().zip(high.into_iter().zip(stable));
        self.inbox.push(Event::Ends(
            ends.map(|(partition, (high, stable))| End {
                partition: partition.clone(),
                high: high.ok(),
                stable: stable.ok(),
                topic_tag: described.get(&*partition.topic).map_or(0, tag),
            })
            .collect(),
        ));
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
