//! The snapshot: what a pipeline looked like at one moment, as plain data.

use serde::Serialize;

use super::Histogram;
use crate::batch::TopicPartition;
use crate::machine::{self, BlockedBy, Machine, PartitionView};
use crate::time::Time;

/// One pipeline's Kafka side.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PipelineSnapshot {
    /// All assigned partitions.
    pub partitions: Vec<PartitionSnapshot>,
    /// Records that wait in each shard.
    pub shards: Vec<ShardDepth>,
    /// Topics of which records are held back.
    pub backpressure: Vec<String>,
    /// Calls, and answered calls that wait for acknowledgements.
    pub outstanding: usize,
    /// Records that the next call may get.
    pub batch_bound: usize,
    /// Why nothing is called, if too much failed.
    pub circuit: Option<CircuitSnapshot>,
    /// How often that happened.
    pub circuit_openings: u64,
    /// Dead letters that were refused for good.
    pub dead_letter_failures: u64,
    /// What came from the broker.
    pub taken: Taken,
    /// When the broker's acknowledgement of a commit last came in: microseconds since 1970.
    pub last_commit_unix_us: Option<u64>,
    /// Why the broker cannot be used at the moment.
    pub trouble: Option<String>,
    /// The host stood still for longer than the session time-out, and its outputs wait until the group has
    /// confirmed the assignment.
    pub in_doubt: bool,
    /// The pipeline is being stopped.
    pub stopping: bool,
    /// The group gave this host its part, which may be no partition at all.
    pub joined: bool,
}

/// An open circuit.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct CircuitSnapshot {
    /// Since it opened.
    pub open_seconds: f64,
    /// Failed records of the last ones, when it opened.
    pub failed: u32,
    /// The last ones.
    pub of: u32,
    /// Probes that failed since.
    pub failed_probes: u32,
    /// Until the next probe; none: one is out.
    pub next_probe_in_seconds: Option<f64>,
}

/// What came from the broker since the start; what comes twice counts twice.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Taken {
    /// Records.
    pub records: u64,
    /// Lengths of their keys and values together.
    pub bytes: u64,
    /// When the first one came: microseconds since 1970.
    pub first_unix_us: Option<u64>,
}

/// Records that wait in one shard.
#[derive(Clone, Debug, Serialize)]
pub struct ShardDepth {
    /// Topic of its partition.
    pub topic: String,
    /// Index among this host's shards of the pipeline: bounded by the most partitions ever held at once.
    pub shard: u32,
    /// Admitted and not in a call.
    pub queued: usize,
}

/// One assigned partition.
#[derive(Clone, Debug, Serialize)]
pub struct PartitionSnapshot {
    /// Topic.
    pub topic: String,
    /// Number.
    pub partition: i32,
    /// Next offset to poll.
    pub position: i64,
    /// Next committable offset.
    pub safe_offset: i64,
    /// As the broker acknowledged it; none: nothing yet.
    pub committed_offset: Option<i64>,
    /// The broker's; none: not known yet.
    pub high_watermark: Option<i64>,
    /// Start of the first open transaction upstream, or the high watermark.
    pub last_stable_offset: Option<i64>,
    /// High watermark minus safe offset; 0 while the high watermark is not known.
    pub lag: i64,
    /// Records admitted and not complete.
    pub in_flight: usize,
    /// Their weight.
    pub in_flight_bytes: usize,
    /// Ranges of unfinished records below a completed one.
    pub gaps: usize,
    /// Characters of metadata in the last commit written.
    pub metadata_size: usize,
    /// Completed records that commits could not name.
    pub metadata_truncated: u64,
    /// Why the broker takes no commit of it; none: it took the last one.
    pub commits_refused: Option<RefusedSnapshot>,
    /// No new records are admitted until the list of completed records has room again.
    pub metadata_full: bool,
    /// Nothing is fetched for it.
    pub paused: bool,
    /// It is being given back.
    pub ending: bool,
    /// What holds the safe offset back.
    pub blocked_by: Option<BlockedSnapshot>,
    /// Completed by the handler.
    pub succeeded: u64,
    /// Dead-lettered or skipped.
    pub failed: u64,
    /// Commits that failed, in the order of `machine::commit::REASONS`; by name in JSON.
    #[serde(serialize_with = "by_reason")]
    pub commit_failures: [u64; machine::commit::REASONS.len()],
    /// From first dispatch to completion.
    #[serde(skip)]
    pub latency: Histogram,
}

/// Commits that the broker does not take.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedSnapshot {
    /// Since the first of them.
    pub seconds: f64,
    /// Why the last of them: one of `machine::commit::REASONS`.
    pub reason: &'static str,
}

/// The oldest unfinished record.
#[derive(Clone, Debug, Serialize)]
pub struct BlockedSnapshot {
    /// Which.
    pub offset: i64,
    /// Since its first dispatch; none: it waits for that.
    pub age_seconds: Option<f64>,
    /// Calls that it has had, the present one included.
    pub attempts: u32,
    /// What it waits for: `queue`, `handler`, `publish`, `backoff`, `circuit`.
    pub waits_for: &'static str,
    /// Since its last call ended, while its outputs or its dead letter are not acknowledged.
    pub unacknowledged_seconds: Option<f64>,
    /// Until its next attempt.
    pub retry_in_seconds: Option<f64>,
    /// Why it failed last.
    pub last_failure: Option<String>,
}

/// Where a partition ends, as far as known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    /// High watermark.
    pub high: Option<i64>,
    /// Last stable offset.
    pub stable: Option<i64>,
}

/// Builds the snapshot of a machine.
pub fn of_machine(machine: &Machine, now: Time, ends: impl Fn(&TopicPartition) -> Ends) -> PipelineSnapshot {
    let partitions: Vec<_> = machine.partitions(now).map(|view| partition(&ends, view)).collect();
    let mut backpressure: Vec<_> = partitions.iter().map(|p: &PartitionSnapshot| p.topic.clone()).collect();
    backpressure.sort_unstable();
    backpressure.dedup();
    backpressure.retain(|topic| machine.is_backpressured(topic));
    let shards = machine.queue_depths();
    PipelineSnapshot {
        partitions,
        shards: shards
            .map(|(topic, shard, queued)| ShardDepth { topic: topic.to_owned(), shard, queued })
            .collect(),
        backpressure,
        outstanding: machine.outstanding(),
        batch_bound: machine.batch_bound(),
        circuit: machine.circuit().map(|opened| CircuitSnapshot {
            open_seconds: now.since(opened.since).as_secs_f64(),
            failed: opened.failed,
            of: opened.of,
            failed_probes: opened.probes,
            next_probe_in_seconds: opened.next_probe.map(|due| due.since(now).as_secs_f64()),
        }),
        circuit_openings: machine.circuit_openings(),
        dead_letter_failures: machine.dead_letter_failures(),
        taken: Taken::default(),
        last_commit_unix_us: None,
        trouble: None,
        in_doubt: false,
        stopping: machine.is_stopping(),
        joined: false,
    }
}

fn partition(ends: &impl Fn(&TopicPartition) -> Ends, view: PartitionView) -> PartitionSnapshot {
    let Ends { high, stable } = ends(&view.name);
    // The client's cache may lie behind what was polled.
    let high = high.map(|high| high.max(view.position.0));
    PartitionSnapshot {
        topic: view.name.topic.to_string(),
        partition: view.name.partition,
        position: view.position.0,
        safe_offset: view.safe.0,
        committed_offset: view.committed.map(|offset| offset.0),
        high_watermark: high,
        last_stable_offset: stable,
        lag: high.map_or(0, |high| (high - view.safe.0).max(0)),
        in_flight: view.in_flight,
        in_flight_bytes: view.bytes,
        gaps: view.gaps,
        metadata_size: view.metadata_size,
        metadata_truncated: view.truncated,
        metadata_full: view.metadata_full,
        commits_refused: view
            .commits_refused
            .map(|(age, reason)| RefusedSnapshot { seconds: age.as_secs_f64(), reason }),
        paused: view.paused,
        ending: view.ending,
        blocked_by: view.blocked.map(|blocked| BlockedSnapshot {
            offset: blocked.offset.0,
            age_seconds: blocked.age.map(|age| age.as_secs_f64()),
            attempts: blocked.attempts,
            waits_for: match blocked.by {
                BlockedBy::Queue => "queue",
                BlockedBy::Handler => "handler",
                BlockedBy::Publish(_) => "publish",
                BlockedBy::Backoff(_) => "backoff",
                BlockedBy::Circuit => "circuit",
            },
            unacknowledged_seconds: match blocked.by {
                BlockedBy::Publish(since) => Some(since.as_secs_f64()),
                _ => None,
            },
            retry_in_seconds: match blocked.by {
                BlockedBy::Backoff(left) => Some(left.as_secs_f64()),
                _ => None,
            },
            last_failure: blocked.last_failure,
        }),
        succeeded: view.counters.succeeded,
        failed: view.counters.failed,
        commit_failures: view.counters.commit_failures,
        latency: view.counters.latency,
    }
}

fn by_reason<S: serde::Serializer>(
    counts: &[u64; machine::commit::REASONS.len()],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(machine::commit::REASONS.iter().zip(counts))
}
