//! Why the host is not ready.

use std::time::Duration;

use crate::telemetry::snapshot::PipelineSnapshot;
use crate::telemetry::{PipelineEntry, PipelineState, Registry};

/// A consumer thread takes a snapshot several times a second; one older than this stands still.
const STALE: Duration = Duration::from_secs(5);

/// Outputs that are not acknowledged for so long count as stuck.
const STUCK: Duration = Duration::from_secs(30);

/// One sentence for each reason; none: ready.
pub(super) fn not_ready(registry: &Registry) -> Vec<String> {
    let pipelines = registry.pipelines();
    if pipelines.is_empty() {
        return vec!["no pipeline was started yet".to_owned()];
    }
    pipelines.iter().filter_map(|entry| reason(entry)).collect()
}

/// Outputs or dead letters that the broker does not acknowledge: nothing is lost, and nothing moves on.
fn stuck_outputs(snapshot: &PipelineSnapshot) -> Option<String> {
    snapshot.partitions.iter().find_map(|partition| {
        let blocked = partition.blocked_by.as_ref()?;
        let age = blocked.unacknowledged_seconds.filter(|age| *age >= STUCK.as_secs_f64())?;
        Some(format!(
            "what the record at offset {} of {}/{} published has not been acknowledged for {age:.0} s; \
             look at the brokers of the output and dead-letter topics",
            blocked.offset, partition.topic, partition.partition
        ))
    })
}

/// Commits that the broker refuses again and again: records are done, and run again after a crash or rebalance.
fn refused_commits(snapshot: &PipelineSnapshot) -> Option<String> {
    snapshot.partitions.iter().find_map(|partition| {
        let refused = partition.commits_refused.as_ref()?;
        let todo = match refused.reason {
            _ if refused.seconds < STUCK.as_secs_f64() => return None,
            "metadata_too_large" => "set metadata_limit to the broker's offset.metadata.max.bytes",
            "authorization" => "let this user read the group and the topic",
            "fenced" => "two hosts have the same group.instance.id",
            "rebalance" => "the group does not settle: look at its other members",
            _ => "look at the group's coordinator",
        };
        Some(format!(
            "the broker has taken no commit of {}/{} for {:.0} s ({}); what is done above offset {} would run again \
             after a crash; {todo}",
            partition.topic,
            partition.partition,
            refused.seconds,
            refused.reason,
            partition.committed_offset.unwrap_or(partition.safe_offset)
        ))
    })
}

/// A partition that takes no new records: one that is not done holds the list of those that are open, and it is full.
fn full_metadata(snapshot: &PipelineSnapshot) -> Option<String> {
    let mut full = snapshot.partitions.iter().filter(|partition| partition.metadata_full);
    full.find_map(|partition| {
        let blocked = partition.blocked_by.as_ref()?;
        let age = blocked.age_seconds.filter(|age| *age >= STUCK.as_secs_f64())?;
        Some(format!(
            "{}/{} takes no new records: the commit metadata has no room for more until the record at offset {} is done, \
             {age:.0} s after its first call; /api/v1/status says what it waits for; on_metadata_full = \"truncate\" \
             would go on",
            partition.topic, partition.partition, blocked.offset
        ))
    })
}

fn reason(entry: &PipelineEntry) -> Option<String> {
    let name = &entry.name;
    let (snapshot, taken) = entry.snapshot();
    match entry.state() {
        PipelineState::Ended(Some(reason)) => Some(format!("pipeline {name:?} failed: {reason}")),
        PipelineState::Ended(None) => Some(format!("pipeline {name:?} was stopped")),
        _ if snapshot.stopping => Some(format!("pipeline {name:?} is being stopped")),
        _ if snapshot.in_doubt => Some(format!(
            "pipeline {name:?} stood still for longer than the session time-out; its outputs wait until group \
             {:?} confirms the assignment",
            entry.group
        )),
        _ if let Some(circuit) = &snapshot.circuit => Some(format!(
            "pipeline {name:?} paused itself {:.0} s ago: {} of its last {} records failed; {}",
            circuit.open_seconds,
            circuit.failed,
            circuit.of,
            match circuit.next_probe_in_seconds {
                Some(left) => format!("it tries one again in {left:.0} s"),
                None => "it is trying one now".to_owned(),
            }
        )),
        _ if taken.elapsed() > STALE => Some(format!(
            "pipeline {name:?}: its consumer thread has not moved for {:.0} s",
            taken.elapsed().as_secs_f64()
        )),
        state => match (&snapshot.trouble, state) {
            (Some(trouble), _) => Some(format!("pipeline {name:?}: {trouble}")),
            (None, _) if let Some(stuck) = stuck_outputs(&snapshot) => {
                Some(format!("pipeline {name:?}: {stuck}"))
            }
            (None, _) if let Some(refused) = refused_commits(&snapshot) => {
                Some(format!("pipeline {name:?}: {refused}"))
            }
            (None, _) if let Some(full) = full_metadata(&snapshot) => {
                Some(format!("pipeline {name:?}: {full}"))
            }
            (None, PipelineState::Starting) => {
                Some(format!("pipeline {name:?} waits for its first assignment in group {:?}", entry.group))
            }
            (None, _) => None,
        },
    }
}
