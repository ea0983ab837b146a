//! What shadows of one worker have to run: at most one copied batch of each pipeline.

use std::sync::Arc;

use super::{Callee, Comparison, Generation};
use crate::batch::{Batch, TopicPartition};
use crate::cancel::Cancel;
use crate::dispatch::pacing::Allowance;
use crate::outcome::Failure;
use crate::wasm::Answer;
use crate::work::Work;

/// Records that a shadow runs, and the answer that its own is held against.
#[derive(Debug)]
pub(super) struct Replay {
    pub callee: Arc<Callee>,
    pub generation: Arc<Generation>,
    pub comparison: Arc<Comparison>,
    pub origin: TopicPartition,
    pub batch: Batch,
    /// Or why the current generation gave none.
    pub answer: Result<Answer, Failure>,
    pub allowance: Allowance,
    pub cancel: Arc<Cancel>,
}

/// Those that wait to be run, and whose are run.
#[derive(Debug, Default)]
pub(super) struct Replays {
    waiting: Vec<Replay>,
    /// Pipelines that have one waiting or running.
    busy: Vec<usize>,
}

impl Replays {
    /// The current generation has run `batch`. If the pipeline has a shadow, and that has nothing to run, it runs a copy.
    pub fn offer(
        &mut self,
        callee: &Arc<Callee>,
        work: &Work,
        batch: &Batch,
        answer: Result<Answer, &Failure>,
    ) {
        if work.attempts > 0 || !callee.handler.has_candidate() {
            return;
        }
        let route = callee.handler.route();
        let Some((generation, comparison)) = route.shadow() else { return };
        if self.busy.contains(&callee.id) {
            return comparison.skip(batch.len());
        }
        self.busy.push(callee.id);
        let mut copy = Batch::new();
        batch.copy_to(0..batch.len(), &mut copy);
        self.waiting.push(Replay {
            callee: callee.clone(),
            generation: generation.clone(),
            comparison: comparison.clone(),
            origin: work.origin.clone(),
            batch: copy,
            answer: answer.map_err(Failure::clone),
            allowance: work.allowance,
            cancel: work.cancel.clone(),
        });
    }

    /// The next one to run.
    pub fn next(&mut self) -> Option<Replay> {
        self.waiting.pop()
    }

    /// A pipeline's was run.
    pub fn done(&mut self, pipeline: usize) {
        self.busy.retain(|busy| *busy != pipeline);
    }
}
