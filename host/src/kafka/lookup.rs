//! Questions that wait for the broker, asked on a thread of their own so that polling goes on.
//!
//! One lookup thread a pipeline. It finds out where assigned partitions start: committed offsets and their
//! metadata in one request, and for partitions that have none, what the configuration says. And it fetches
//! the ends of partitions, since the client's cached high watermark stands still while one is paused.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;

use super::consumer::{Event, OnOffsetLost};
use super::context::Context;
use super::positions::Finder;
use crate::batch::TopicPartition;
use crate::ids::Epoch;
use crate::inbox::Inbox;

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
        let finder = Finder::new(consumer, start, on_offset_lost);
        let thread = std::thread::Builder::new()
            .name("lookup".into())
            .spawn(move || Answerer { finder, inbox }.run(&asked))?;
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

/// From one try to the next.
const PAUSE: Duration = Duration::from_millis(200);

struct Answerer {
    finder: Finder,
    inbox: Arc<Inbox<Event>>,
}

impl Answerer {
    fn run(mut self, asked: &Receiver<Question>) {
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
    fn answer(&mut self, question: &Question) -> bool {
        let answer = match question {
            Question::Positions { serial, partitions } => {
                let serial = *serial;
                let found = self.finder.positions(partitions);
                found.map(|found| found.map(|found| Event::Positions { serial, found }))
            }
            Question::Reset { not_before, .. } if Instant::now() < *not_before => Ok(None),
            Question::Reset { partition, start, epoch, .. } => {
                let assigned = self.finder.reset(partition, *start);
                assigned.map(|assigned| Some(Event::Reset { epoch: *epoch, assigned }))
            }
            Question::Ends(partitions) => {
                // Not asked again: the next tick does.
                if let Some(ends) = self.finder.ends(partitions) {
                    self.inbox.push(Event::Ends(ends));
                }
                return true;
            }
        };
        match answer {
            Ok(Some(event)) => {
                self.inbox.push(event);
                true
            }
            Ok(None) => false,
            Err(error) => {
                tracing::warn!(%error, "the broker does not say where partitions start; asking again");
                false
            }
        }
    }
}
