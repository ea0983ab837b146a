//! Generations: the modules that a pipeline's calls run, one after the other.
//!
//! A deploy puts a generation in the place of the one before. That happens between two calls: each call takes the current
//! generation when it begins and keeps it to its end, so what a record succeeds with is exactly one of them, and a record
//! that runs again may run on the newer. Who was replaced is *retired*: its instances end as soon as they are idle, and
//! with the last of them its code is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use super::{Code, Keeping};
use crate::kafka::publisher::Origin;
use crate::telemetry::Executions;
use crate::wasm::InstanceSettings;

/// One deployed handler of a pipeline.
#[derive(Debug)]
pub struct Generation {
    /// Counts the pipeline's deploys, from 1.
    pub number: u64,
    /// The handler.
    pub code: Code,
    /// What its instances may take, and what they find around them.
    pub settings: Arc<InstanceSettings>,
    /// Counters of its calls, which it shares with other generations of the same module.
    pub executions: Arc<Executions>,
    /// What its dead letters have in common.
    pub origin: Arc<Origin>,
    /// Which of its instances workers keep warm.
    pub keeping: Arc<Keeping>,
}

impl Generation {
    /// The one that may take its place.
    pub fn next(
        &self,
        code: Code,
        settings: Arc<InstanceSettings>,
        executions: Arc<Executions>,
        origin: Arc<Origin>,
    ) -> Generation {
        let number = self.number + 1;
        let Keeping { id: (pipeline, _), most, idle, ref room, .. } = *self.keeping;
        let room = room.clone();
        let keeping = Keeping { id: (pipeline, number), most, idle, room, retired: AtomicBool::new(false) };
        Generation { number, code, settings, executions, origin, keeping: Arc::new(keeping) }
    }

    /// True of one that was replaced, when nothing is left of it: no call runs it, and no instance of it lives.
    pub fn is_gone(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && Arc::strong_count(&self.keeping) == 1
    }
}

/// The generations of one pipeline, of which one is current. Any thread may look; one deploys.
#[derive(Debug)]
pub struct Generations(ArcSwap<Generation>);

impl Generations {
    /// With the first.
    pub fn new(first: Generation) -> Self {
        Generations(ArcSwap::from_pointee(first))
    }

    /// What the next call runs.
    pub fn current(&self) -> Arc<Generation> {
        self.0.load_full()
    }

    /// Puts `next` in the place of the current one, which is retired and handed back.
    pub(super) fn replace(&self, next: Generation) -> Arc<Generation> {
        let before = self.0.swap(Arc::new(next));
        before.keeping.retired.store(true, Ordering::Release);
        before
    }
}
