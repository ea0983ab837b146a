//! How far a host is, by its snapshots: the same numbers that an operator sees.

use crate::telemetry::snapshot::{PartitionSnapshot, PipelineSnapshot};

/// What is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Records in the topic.
    pub records: u64,
    /// Those of them that have to fail for good.
    pub failures: u64,
}

/// Where a pipeline stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// On its way; so many records are complete.
    Running(u64),
    /// Every record is complete, and everything is committed.
    Done,
    /// It cannot come to a right end any more.
    Wrong(String),
}

impl Progress {
    /// Judges a snapshot.
    pub fn standing(&self, snapshot: &PipelineSnapshot) -> Standing {
        let partitions = &snapshot.partitions;
        let sum = |number: fn(&PartitionSnapshot) -> u64| partitions.iter().map(number).sum::<u64>();
        let (succeeded, failed) = (sum(|p| p.succeeded), sum(|p| p.failed));
        let complete = succeeded + failed;
        if failed > self.failures {
            return Standing::Wrong(format!("{failed} records failed instead of {}", self.failures));
        }
        if complete > self.records {
            return Standing::Wrong(format!(
                "{complete} records are complete, and the topic held {}: does somebody write to it?",
                self.records
            ));
        }
        if complete < self.records || !partitions.iter().all(is_settled) {
            return Standing::Running(complete);
        }
        if failed < self.failures {
            return Standing::Wrong(format!("{failed} records failed instead of {}", self.failures));
        }
        Standing::Done
    }

    /// What the pipeline waits for, if it says so.
    pub fn note(snapshot: &PipelineSnapshot) -> Option<String> {
        let mut notes: Vec<String> = snapshot.trouble.iter().cloned().collect();
        for partition in &snapshot.partitions {
            if let Some(blocked) = &partition.blocked_by {
                notes.push(format!(
                    "partition {} for offset {} ({}, attempt {})",
                    partition.partition, blocked.offset, blocked.waits_for, blocked.attempts
                ));
            }
        }
        if !snapshot.joined {
            notes.push("the group to give it its partitions".to_owned());
        }
        (!notes.is_empty()).then(|| notes.join(", "))
    }
}

/// Whether nothing of a partition is outstanding: nothing in flight, no gap, no lag, and all of it committed.
fn is_settled(partition: &PartitionSnapshot) -> bool {
    let untouched = partition.succeeded + partition.failed == 0;
    partition.in_flight == 0
        && partition.gaps == 0
        && partition.lag == 0
        && partition.high_watermark.is_some()
        && (untouched || partition.committed_offset == Some(partition.safe_offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Histogram;

    fn partition(succeeded: u64, failed: u64) -> PartitionSnapshot {
        let end = (succeeded + failed) as i64;
        PartitionSnapshot {
            topic: "t".to_owned(),
            partition: 0,
            position: end,
            safe_offset: end,
            committed_offset: (end > 0).then_some(end),
            high_watermark: Some(end),
            last_stable_offset: Some(end),
            lag: 0,
            in_flight: 0,
            in_flight_bytes: 0,
            gaps: 0,
            metadata_size: 0,
            metadata_truncated: 0,
            metadata_full: false,
            commits_refused: None,
            paused: false,
            ending: false,
            blocked_by: None,
            succeeded,
            failed,
            commit_failures: Default::default(),
            latency: Histogram::default(),
        }
    }

    fn standing(partitions: Vec<PartitionSnapshot>, records: u64, failures: u64) -> Standing {
        let snapshot = PipelineSnapshot { partitions, ..PipelineSnapshot::default() };
        Progress { records, failures }.standing(&snapshot)
    }

    #[test]
    fn done_means_complete_committed_and_nothing_left() {
        assert_eq!(standing(vec![partition(3, 0), partition(2, 0), partition(0, 0)], 5, 0), Standing::Done);
        assert_eq!(standing(vec![partition(3, 0)], 5, 0), Standing::Running(3));
        for unsettled in [
            PartitionSnapshot { committed_offset: Some(4), ..partition(5, 0) },
            PartitionSnapshot { committed_offset: None, ..partition(5, 0) },
            PartitionSnapshot { lag: 1, ..partition(5, 0) },
            PartitionSnapshot { gaps: 1, ..partition(5, 0) },
            PartitionSnapshot { in_flight: 1, ..partition(5, 0) },
            PartitionSnapshot { high_watermark: None, ..partition(5, 0) },
        ] {
            assert_eq!(standing(vec![unsettled], 5, 0), Standing::Running(5));
        }
    }

    #[test]
    fn a_failure_too_many_or_too_few_is_wrong() {
        assert_eq!(standing(vec![partition(3, 2)], 5, 2), Standing::Done);
        for (partition, failures) in [(partition(4, 1), 0), (partition(3, 2), 1), (partition(5, 0), 1)] {
            let Standing::Wrong(problem) = standing(vec![partition], 5, failures) else { panic!() };
            assert!(problem.contains("failed instead of"), "{problem}");
        }
        // Early, before the end is reached.
        assert!(matches!(standing(vec![partition(0, 1)], 5, 0), Standing::Wrong(_)));
    }

    #[test]
    fn a_topic_that_grows_is_told() {
        assert!(
            matches!(standing(vec![partition(6, 0)], 5, 0), Standing::Wrong(problem) if problem.contains("write"))
        );
    }
}
