//! Sees from outside whether every partition moves: reads what goes in and what comes out while a run goes on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use crate::job::Job;
use crate::kafka::{Kafka, config};
use crate::ledger::number_of;
use crate::reader::Record;

/// One partition of the input.
#[derive(Debug)]
struct Line {
    unfinished: HashSet<usize>,
    /// When it last had nothing to do, or something of it came out.
    moved: Instant,
    /// When it was last noted that it stood still, if it has not moved since.
    noted: Option<Instant>,
}

/// What stood still.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stillness {
    /// Partitions that stood for as long as none may, one entry each time.
    pub stalls: Vec<String>,
    /// The longest that a partition with unfinished records stood.
    pub longest: Duration,
    /// Which partition that was, and for how long the watch had gone on when it began.
    pub place: Option<(i32, Duration)>,
}

impl Stillness {
    /// Takes note of a partition that stands still since `moved`.
    fn note(&mut self, partition: i32, moved: Instant, started: Instant, now: Instant) {
        let time = now.duration_since(moved);
        if time > self.longest {
            (self.longest, self.place) = (time, Some((partition, moved.duration_since(started))));
        }
    }
}

/// What is seen: pure, the time is an argument.
#[derive(Debug)]
struct Seen {
    started: Instant,
    lines: HashMap<i32, Line>,
    /// Partition of each record.
    partitions: HashMap<usize, i32>,
    /// Came out before it was seen to go in: two topics are read at their own pace.
    early: HashSet<usize>,
    still: Stillness,
}

impl Seen {
    fn new(started: Instant) -> Self {
        Self {
            started,
            lines: HashMap::new(),
            partitions: HashMap::new(),
            early: HashSet::new(),
            still: Stillness::default(),
        }
    }

    fn goes_in(&mut self, number: usize, partition: i32, now: Instant) {
        if self.partitions.insert(number, partition).is_some() || self.early.remove(&number) {
            return;
        }
        let line = self.lines.entry(partition).or_insert_with(|| Line {
            unfinished: HashSet::new(),
            moved: now,
            noted: None,
        });
        if line.unfinished.is_empty() {
            (line.moved, line.noted) = (now, None);
        }
        line.unfinished.insert(number);
    }

    fn comes_out(&mut self, number: usize, now: Instant) {
        let partition = self.partitions.get(&number).copied();
        match partition.and_then(|partition| Some((partition, self.lines.get_mut(&partition)?))) {
            Some((partition, line)) => {
                if line.unfinished.remove(&number) {
                    self.still.note(partition, line.moved, self.started, now);
                    (line.moved, line.noted) = (now, None);
                }
            }
            None => {
                self.early.insert(number);
            }
        }
    }

    /// Notes each partition that stood still for so long, once in that time.
    fn look(&mut self, still: Duration, now: Instant) {
        for (partition, line) in &mut self.lines {
            if line.unfinished.is_empty() {
                continue;
            }
            self.still.note(*partition, line.moved, self.started, now);
            if now.duration_since(line.noted.unwrap_or(line.moved)) >= still {
                let oldest = line.unfinished.iter().min();
                self.still.stalls.push(format!(
                    "partition {partition}: {} unfinished, the oldest is record {oldest:?}, nothing for {still:?}",
                    line.unfinished.len()
                ));
                line.noted = Some(now);
            }
        }
    }
}

/// A reader on a thread of its own, until it is finished or dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Stillness>>,
}

impl Watch {
    /// Watches the job's topics from their start; `still` is how long a partition may stand.
    ///
    /// # Panics
    /// When the broker knows one of the topics not.
    #[must_use]
    pub fn start(kafka: &Kafka, job: &Job<'_>, still: Duration) -> Self {
        let mut assignment = TopicPartitionList::new();
        for topic in [&job.input, &job.output, &job.dead] {
            for partition in kafka.ends(topic).into_keys() {
                assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("a valid offset");
            }
        }
        let consumer: BaseConsumer = config(&kafka.bootstrap())
            .set("group.id", "sandmill-tests-watch")
            .set("enable.auto.commit", "false")
            .create()
            .expect("the settings are valid");
        consumer.assign(&assignment).expect("partitions of the broker can be assigned");
        let (input, stop) = (job.input.clone(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            let mut seen = Seen::new(Instant::now());
            while !stopped.load(Ordering::Acquire) {
                // Errors pass: a broker that is away is what is watched.
                if let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) {
                    let record = Record::copy_of(&message);
                    match number_of(&record) {
                        Some(number) if message.topic() == input => {
                            seen.goes_in(number, record.partition, Instant::now());
                        }
                        Some(number) => seen.comes_out(number, Instant::now()),
                        None => {}
                    }
                }
                seen.look(still, Instant::now());
            }
            seen.still
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends the watch; gives what stood still, and where.
    ///
    /// # Panics
    /// When the thread did.
    #[must_use]
    pub fn finish(mut self) -> Stillness {
        self.stop.store(true, Ordering::Release);
        self.thread.take().map(|thread| thread.join().expect("watching does not panic")).unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STILL: Duration = Duration::from_secs(30);

    #[test]
    fn only_a_partition_with_work_that_does_not_move_stands_still() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut seen = Seen::new(start);
        seen.comes_out(7, at(0));
        seen.goes_in(7, 2, at(1));
        seen.goes_in(0, 0, at(0));
        seen.goes_in(1, 1, at(0));
        seen.goes_in(2, 1, at(0));
        seen.comes_out(1, at(20));
        seen.look(STILL, at(31));
        assert_eq!(
            seen.still.stalls.len(),
            1,
            "partition 1 moved, partition 2 has nothing to do: {:?}",
            seen.still.stalls
        );
        assert!(seen.still.stalls[0].contains("partition 0"), "{:?}", seen.still.stalls);
        seen.look(STILL, at(40));
        assert_eq!(seen.still.stalls.len(), 1, "once in that time");
        seen.comes_out(2, at(41));
        seen.comes_out(2, at(42));
        seen.look(STILL, at(100));
        assert_eq!(seen.still.stalls.len(), 2, "{:?}", seen.still.stalls);
        assert_eq!(seen.still.longest, Duration::from_secs(100), "partition 0 never moved");
        assert_eq!(seen.still.place, Some((0, Duration::ZERO)));
    }
}
