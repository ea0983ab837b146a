//! Generations: the modules that a pipeline's calls run, one after the other and at times two beside each other.
//!
//! A deploy puts a generation in the place of the one before. That happens between two calls: each call takes its
//! generation when it begins and keeps it to its end, so what a record succeeds with is exactly one of them, and a record
//! that runs again may run on the newer. Who was replaced is *retired*: its instances end as soon as they are idle, and
//! with the last of them its code is gone.
//!
//! Beside the current generation there may be a *candidate*: a canary, which runs the records of some keys, or a shadow,
//! which runs records that the current one has run, for nobody but who compares.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use super::share_of_keys::Share;
use super::{Code, Comparison, Keeping, Tally};
use crate::kafka::publisher::Origin;
use crate::telemetry::Executions;
use crate::wasm::InstanceSettings;

/// One deployed handler of a pipeline.
#[derive(Debug)]
pub struct Generation {
    /// Counts the pipeline's generations, from 1.
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
    /// What it did to records.
    pub tally: Tally,
}

impl Generation {
    /// True of one that was replaced, when nothing is left of it: no call runs it, and no instance of it lives.
    pub fn is_gone(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && Arc::strong_count(&self.keeping) == 1
    }

    fn retire(&self) {
        self.keeping.retired.store(true, Ordering::Release);
    }
}

/// A generation that is tried beside the current one.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// It.
    pub generation: Arc<Generation>,
    /// What it runs.
    pub role: Role,
}

/// What a candidate runs.
#[derive(Clone, Debug)]
pub enum Role {
    /// The records of some keys, in place of the current generation.
    Canary(Share),
    /// Records that the current generation has run, again; nothing of that is published.
    Shadow(Arc<Comparison>),
}

/// Which generations run what.
#[derive(Clone, Debug)]
pub struct Route {
    /// What calls run.
    pub current: Arc<Generation>,
    /// What is tried beside it.
    pub candidate: Option<Candidate>,
}

/// Which of two generations a call runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Current,
    /// The canary of this number. Once another is tried, or none, it is the current one: the keys were chosen for it.
    Canary(u64),
}

impl Route {
    /// The number of a canary, and the keys that it runs.
    pub(super) fn canary(&self) -> Option<(u64, &Share)> {
        match &self.candidate {
            Some(Candidate { generation, role: Role::Canary(share) }) => Some((generation.number, share)),
            _ => None,
        }
    }

    /// The generation that runs for nobody, and with whom it is compared.
    pub(super) fn shadow(&self) -> Option<(&Arc<Generation>, &Arc<Comparison>)> {
        match &self.candidate {
            Some(Candidate { generation, role: Role::Shadow(comparison) }) => Some((generation, comparison)),
            _ => None,
        }
    }

    fn of(&self, side: Side) -> &Arc<Generation> {
        match (&self.candidate, side) {
            (Some(Candidate { generation, role: Role::Canary(_) }), Side::Canary(number))
                if generation.number == number =>
            {
                generation
            }
            _ => &self.current,
        }
    }

    fn generations(&self) -> impl Iterator<Item = &Arc<Generation>> {
        std::iter::once(&self.current).chain(self.candidate.as_ref().map(|candidate| &candidate.generation))
    }
}

/// The generations of one pipeline. Any thread may look; one deploys.
#[derive(Debug)]
pub struct Generations(ArcSwap<Route>);

impl Generations {
    /// With the first.
    pub fn new(first: Generation) -> Self {
        Generations(ArcSwap::from_pointee(Route { current: Arc::new(first), candidate: None }))
    }

    /// What runs what, at the moment.
    pub fn route(&self) -> Arc<Route> {
        self.0.load_full()
    }

    /// What the next call runs, but for a canary's keys.
    pub fn current(&self) -> Arc<Generation> {
        self.0.load().current.clone()
    }

    pub(super) fn of(&self, side: Side) -> Arc<Generation> {
        self.0.load().of(side).clone()
    }

    /// True if there is a candidate; almost nothing to ask.
    pub(super) fn has_candidate(&self) -> bool {
        self.0.load().candidate.is_some()
    }

    /// Puts `next` in the place of what is. Generations that it does not have are retired and handed back.
    pub(super) fn replace(&self, next: Route) -> Vec<Arc<Generation>> {
        let next = Arc::new(next);
        let before = self.0.swap(next.clone());
        let gone = |old: &&Arc<Generation>| !next.generations().any(|new| Arc::ptr_eq(old, new));
        let gone: Vec<_> = before.generations().filter(gone).cloned().collect();
        gone.iter().for_each(|generation| generation.retire());
        gone
    }
}

impl Keeping {
    /// For instances of generation `number`, by the rules of `like`.
    pub fn of_generation(number: u64, like: &Keeping) -> Arc<Self> {
        let Keeping { id: (pipeline, _), most, idle, ref room, .. } = *like;
        Arc::new(Keeping {
            id: (pipeline, number),
            most,
            idle,
            room: room.clone(),
            retired: AtomicBool::new(false),
        })
    }
}
