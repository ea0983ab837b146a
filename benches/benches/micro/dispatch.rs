//! From a polled record to a call and back: hashing, one shard, and the whole machine.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion};
use sandmill::batch::TopicPartition;
use sandmill::dispatch::pacing::{Allowance, Bounds, Pacing};
use sandmill::dispatch::shard::{Pool, Shard};
use sandmill::dispatch::{Admitted, Hasher, Ordering, Pace, Source as From};
use sandmill::ids::{Fuel, Offset};
use sandmill::machine::{self, Assigned, Effect, InFlight, Machine, Options, Slot};
use sandmill::progress::Budget;
use sandmill::time::Time;
use sandmill::work::{CallRecord, Calls, Ended, Finished, Report, Work};

use crate::measure::{CpuTime, Group, per_record};
use crate::records::{Source, origin};

/// Records that are polled at once.
const CHUNK: usize = 2_048;
/// Of one call, at most.
const BATCH: usize = 256;

pub fn run(criterion: &mut Criterion<CpuTime>) {
    let mut group = criterion.benchmark_group("dispatch");
    let source = Source::noise(CHUNK);
    hash(&mut group, &source);
    shard(&mut group, &source);
    for partitions in [1, 64] {
        machine(&mut group, &source, partitions);
    }
    group.finish();
}

fn hash(group: &mut Group<'_>, source: &Source) {
    let hasher = Hasher::new(Ordering::Key, 1);
    per_record(group, BenchmarkId::new("hash", "key"), CHUNK, |rounds| {
        for _ in 0..rounds {
            for record in source.records(0) {
                black_box(Hasher::shard(hasher.hash(record.key, record.offset), 8));
            }
        }
    });
}

/// Records of one shard, in and out by the batch.
fn shard(group: &mut Group<'_>, source: &Source) {
    let hasher = Hasher::new(Ordering::Key, 1);
    let (mut shard, mut pool, pacing) = (Shard::default(), Pool::default(), pacing());
    let mut next = 0;
    per_record(group, BenchmarkId::new("shard", "zipf"), CHUNK, |rounds| {
        for _ in 0..rounds {
            for record in source.records(next) {
                let hash = hasher.hash(record.key, record.offset);
                let admitted = shard.admit(&record, hash, &pacing, &mut pool);
                debug_assert_ne!(admitted, Admitted::KeyReady(hash));
            }
            next += CHUNK as i64;
            while let Some(taken) = shard.take_lane(&pacing, &mut pool, |_| unreachable!("it is fast")) {
                pool.give(taken.batch);
                shard.returned(From::Lane, Vec::new(), Pace::Usual, &pacing, &mut pool, Time::ZERO, |_| {});
            }
        }
    });
    assert_eq!(shard.queued(), 0);
}

/// A handler that takes 100 ns a record: it gets full batches.
fn pacing() -> Pacing {
    let mut pacing = Pacing::new(bounds());
    for _ in 0..20 {
        pacing.answered(BATCH, Duration::from_nanos(100 * BATCH as u64), Fuel(1_000));
    }
    assert_eq!(pacing.batch(), BATCH);
    pacing
}

fn bounds() -> Bounds {
    Bounds {
        records: BATCH,
        bytes: 1 << 20,
        time: Duration::from_millis(2),
        single: Allowance { fuel: Fuel(1_000_000_000), deadline: Duration::from_secs(5) },
        waits: false,
    }
}

/// Everything that the consumer's thread decides for a record, commits included; no Kafka and no call.
fn machine(group: &mut Group<'_>, source: &Source, partitions: i32) {
    let mut world = World::new(partitions);
    per_record(group, BenchmarkId::new("machine", format!("{partitions}-partitions")), CHUNK, |rounds| {
        for _ in 0..rounds {
            world.turn(source);
        }
    });
    assert_eq!(world.machine.outstanding(), 0);
}

struct World {
    machine: Machine,
    slots: Vec<Slot>,
    /// Next offset, by partition.
    next: Vec<i64>,
    now: Time,
    work: Vec<Work>,
}

impl World {
    fn new(partitions: i32) -> Self {
        let mut machine = Machine::new(Options {
            ordering: Ordering::Key,
            shards: 8,
            lanes: 4,
            calls: 60,
            pacing: bounds(),
            in_flight: InFlight { records: 100_000, bytes: 256 << 20 },
            commit_interval: Duration::from_millis(500),
            budget: Budget::default(),
            metadata_limit: 4096,
            give_back: machine::Bounds {
                drain: Duration::from_secs(1),
                interrupt: Duration::from_secs(1),
                commit: Duration::from_secs(1),
            },
            circuit: None,
            dead_letters: false,
            seed: 1,
        });
        let topic = origin().topic;
        let assigned: Vec<_> = (0..partitions)
            .map(|partition| Assigned {
                partition: TopicPartition { topic: topic.clone(), partition },
                start: Offset(0),
                metadata: None,
                topic_tag: 7,
                commit_start: false,
                log_end: None,
            })
            .collect();
        let slots = machine.assigned(&assigned, Time::ZERO);
        World { machine, next: vec![0; slots.len()], slots, now: Time::ZERO, work: Vec::new() }
    }

    /// One turn of the consumer's loop: a chunk of records in, calls out until all are answered.
    fn turn(&mut self, source: &Source) {
        self.now = self.now + Duration::from_millis(1);
        let partitions = self.slots.len();
        for (index, mut record) in source.records(0).enumerate() {
            // As a client hands them out: runs of one partition.
            let partition = index * partitions / CHUNK;
            record.offset = Offset(self.next[partition]);
            self.next[partition] += 1;
            self.machine.admit(self.slots[partition], &record);
        }
        loop {
            self.machine.advance(self.now);
            self.drain();
            if self.work.is_empty() {
                break;
            }
            for work in std::mem::take(&mut self.work) {
                self.answer(work);
            }
        }
    }

    fn drain(&mut self) {
        while let Some(effect) = self.machine.effect() {
            match effect {
                Effect::Dispatch(work) => self.work.push(work),
                Effect::Commit(entries) => {
                    let replies: Vec<_> =
                        entries.into_iter().map(|entry| (entry.partition, Ok(()))).collect();
                    self.machine.commit_replied(&replies, self.now);
                }
                _ => unreachable!("nothing is paused, given back or refused"),
            }
        }
    }

    fn answer(&mut self, Work { ticket, epoch, batch, .. }: Work) {
        let records = u32::try_from(batch.len()).expect("a batch is small");
        let call = CallRecord {
            records,
            spent: Duration::from_nanos(100) * records,
            waited: Duration::ZERO,
            fuel: Fuel(1_000),
            ended: Ended::Complete,
        };
        let report = Report { calls: Calls { each: vec![call] }, ..Report::default() };
        self.machine.finished(Finished { ticket, epoch, batch, report }, self.now);
    }
}
