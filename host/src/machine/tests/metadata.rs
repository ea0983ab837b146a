//! What commit metadata lets in, and what metadata that nobody should trust does to an assignment.

use std::collections::BTreeSet;
use std::time::Duration;

use super::promises::{admit, assign, at, finish, name, options, turn};
use crate::batch::TopicPartition;
use crate::dispatch::{Ordering, pacing};
use crate::ids::Offset;
use crate::machine::{Assigned, Effect, InFlight, Machine, Options, Slot};
use crate::outcome::{Failure, Outcome};
use crate::progress::{Budget, Progress, decode};
use crate::work::{Report, Retry};

/// Characters that the broker takes: some hundred records with every second one stuck.
const LIMIT: usize = 60;

/// A base that takes as many bytes as any: the room for it is always kept.
const START: i64 = 1 << 62;

const HOUR: Duration = Duration::from_secs(3_600);

/// Each record is a call of its own, and waits for no other.
fn machine() -> Machine {
    let usual = options();
    Machine::new(Options {
        ordering: Ordering::Unordered,
        pacing: pacing::Bounds { records: 1, ..usual.pacing },
        in_flight: InFlight { records: 100_000, bytes: 64 << 20 },
        budget: Budget::new(LIMIT, false),
        metadata_limit: LIMIT,
        ..usual
    })
}

/// A partition and what became of its records.
struct Watched {
    machine: Machine,
    done: BTreeSet<i64>,
    /// Offset and metadata of the last commit.
    committed: (i64, String),
    paused: Vec<TopicPartition>,
    resumed: Vec<TopicPartition>,
    now: u64,
}

impl Watched {
    /// Lets time pass until nothing comes out any more. What `may_finish` does not name fails, and waits an hour.
    /// Each commit fits and names just what is done.
    fn settle(&mut self, may_finish: impl Fn(i64) -> bool) {
        let mut quiet = 0;
        while quiet < 20 {
            self.now += 50;
            let (work, effects) = turn(&mut self.machine, at(self.now));
            quiet = if work.is_empty() && effects.is_empty() { quiet + 1 } else { 0 };
            for effect in effects {
                match effect {
                    Effect::Pause(partition) => self.paused.push(partition),
                    Effect::Resume(partition) => self.resumed.push(partition),
                    Effect::Commit(entries) => {
                        for entry in entries.iter().filter(|entry| entry.partition == name()) {
                            self.check(entry.offset, &entry.metadata);
                        }
                        let replies: Vec<_> =
                            entries.into_iter().map(|entry| (entry.partition, Ok(()))).collect();
                        self.machine.commit_replied(&replies, at(self.now));
                    }
                    _ => {}
                }
            }
            for work in work {
                let offset = work.batch.offsets()[0];
                let mut report = Report::default();
                if work.origin == name() && !may_finish(offset) {
                    report.retries.push(Retry {
                        index: 0,
                        delay: HOUR,
                        failure: Failure::of(Outcome::Trap, "boom"),
                    });
                } else if work.origin == name() {
                    self.done.insert(offset);
                }
                finish(&mut self.machine, work, report, at(self.now));
            }
        }
    }

    fn check(&mut self, offset: Offset, metadata: &str) {
        assert!(metadata.len() <= LIMIT, "{} characters, the broker takes {LIMIT}", metadata.len());
        let told = decode(metadata.as_bytes(), offset, 0).expect("it was just written");
        for record in offset.0..START + 2_000 {
            assert_eq!(told.is_completed(Offset(record)), self.done.contains(&record), "record {record}");
        }
        self.committed = (offset.0, metadata.to_owned());
    }

    fn taken(&self) -> i64 {
        let all = self.machine.partitions(at(self.now));
        all.filter(|view| view.name == name()).map(|view| view.position.0 - START).sum()
    }
}

#[test]
fn a_partition_takes_no_more_records_before_its_metadata_is_full_and_goes_on_when_there_is_room() {
    let mut machine = machine();
    let slot = assign(&mut machine, START);
    let other = TopicPartition { topic: "in".into(), partition: 1 };
    let beside = machine.assigned(&[Assigned { partition: other, ..found(0, None) }], at(0))[0];
    for offset in START..START + 1_000 {
        admit(&mut machine, slot, offset, &offset.to_string());
    }
    admit(&mut machine, beside, 0, "a");
    let mut watched = Watched {
        machine,
        done: BTreeSet::new(),
        committed: (0, String::new()),
        paused: Vec::new(),
        resumed: Vec::new(),
        now: 0,
    };

    // Every second record fails.
    watched.settle(|offset| offset % 2 == 1);
    assert!((100..300).contains(&watched.taken()), "{} are taken in", watched.taken());
    assert_eq!(watched.paused, [name()], "the other one goes on");
    assert_eq!(watched.committed.0, START);
    assert!(watched.committed.1.len() > LIMIT - 8, "{} of {LIMIT} characters", watched.committed.1.len());
    assert!(watched.resumed.is_empty());

    watched.now += HOUR.as_millis() as u64;
    watched.settle(|_| true);
    assert_eq!((watched.taken(), watched.committed), (1_000, (START + 1_000, String::new())));
    assert_eq!(watched.resumed, [name()]);
}

fn found(start: i64, metadata: Option<Vec<u8>>) -> Assigned {
    Assigned {
        partition: name(),
        start: Offset(start),
        metadata,
        commit_start: false,
        topic_tag: 0,
        log_end: None,
    }
}

/// A commit at `base` that names all records above it up to `end` as complete, in a topic with this tag.
fn written(base: i64, tag: u32, end: i64) -> Vec<u8> {
    let mut progress = Progress::new(Offset(base), None, tag);
    for offset in base..end {
        let _ = progress.admit(Offset(offset));
    }
    for offset in base + 1..end {
        progress.complete(Offset(offset));
    }
    progress.snapshot(&Budget::default()).metadata.into_bytes()
}

#[test]
fn whatever_metadata_cannot_be_trusted_every_record_from_the_committed_offset_on_runs() {
    const TAG: u32 = 7;
    let mut damaged = written(5, TAG, 9);
    damaged[7] ^= 1;
    let cases: [(&str, Vec<u8>, bool); 8] = [
        ("another program's", b"{\"lag\":17}".to_vec(), false),
        ("no text at all", vec![0xff, 0, 0xfe], false),
        ("a newer host's", b"sm2AAAA".to_vec(), false),
        ("damaged", damaged, false),
        ("of an older commit", written(4, TAG, 9), false),
        ("of the topic before it was made again", written(5, TAG + 1, 9), false),
        ("of a log that was cut back", written(5, TAG, 12), false),
        ("this partition's", written(5, TAG, 9), true),
    ];
    for (whose, metadata, is_ours) in cases {
        let mut machine = Machine::new(options());
        let part = Assigned { topic_tag: TAG, log_end: Some(Offset(10)), ..found(5, Some(metadata)) };
        let slot: Slot = machine.assigned(&[part], at(0))[0];
        for offset in 5..10 {
            admit(&mut machine, slot, offset, "a");
        }
        let (mut ran, mut now) = (Vec::new(), 0);
        while now < 2_000 {
            now += 10;
            for work in turn(&mut machine, at(now)).0 {
                ran.extend_from_slice(work.batch.offsets());
                finish(&mut machine, work, Report::default(), at(now) + Duration::from_millis(1));
            }
        }
        // What is ours names 6 to 8 as complete; what is not names nothing that counts.
        let expected: &[i64] = if is_ours { &[5, 9] } else { &[5, 6, 7, 8, 9] };
        assert_eq!(ran, expected, "metadata {whose}");
    }
}
