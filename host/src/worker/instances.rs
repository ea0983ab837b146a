//! Warm instances of one worker, by pipeline, and which of them are given up.
//!
//! Linear memory never shrinks, so an instance that handled one large record holds the memory of it for good. And what
//! is idle serves nobody. So an instance is given up in place of being kept, or later, when
//!
//! * its generation was retired,
//! * it has [grown](has_grown) far beyond what it started with,
//! * it was not called for as long as its pipeline says (`limits.idle`),
//! * somebody waits for room (see `room`), unless he can have the instance itself: a call of the same pipeline on this
//!   worker.
//!
//! Nothing here reads a clock: the worker counts [rounds](ROUND), and each instance remembers in which it was kept.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;

use super::room::Room;
use crate::wasm::{Instance, Need};

/// How often idle instances are looked at.
pub(super) const ROUND: Duration = Duration::from_secs(1);

/// An instance that holds so many times what it started with has grown.
///
/// Measured: growing by 8 MiB and writing to each page takes a guest 2.6 ms, a new instance of a Rust handler 7 µs. So
/// even a handler that grows as far in each call, and gets a new instance each time, loses nothing of its speed by that;
/// and one whose start is dear, as Python's, starts with so much that eight times of it is beyond its limit.
const GROWN: usize = 8;
/// What holds no more than this has not grown: it is room for a batch and its outputs.
const SMALL: usize = 8 << 20;

/// What the instances of one generation are kept by.
#[derive(Debug)]
pub struct Keeping {
    /// The pipeline's number and the generation's.
    pub id: (usize, u64),
    /// As many as one worker keeps, at most.
    pub most: usize,
    /// How long one waits for its next call.
    pub idle: Duration,
    /// Who may want what they hold.
    pub room: Arc<Room>,
    /// Another generation is called in its place: nothing is kept any more.
    pub retired: AtomicBool,
}

impl Keeping {
    fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }
}

/// Instances that wait for their next call. Owned by one worker's thread.
#[derive(Debug)]
pub(super) struct Instances<I = Instance> {
    idle: HashMap<(usize, u64), Idle<I>>,
    round: u64,
}

#[derive(Debug)]
struct Idle<I> {
    keeping: Arc<Keeping>,
    /// With the round in which it was kept: the longest idle first.
    instances: Vec<(u64, I)>,
    /// Calls that wait for room, and would take one of these as well.
    waiting: VecDeque<oneshot::Sender<I>>,
}

/// What is kept; tests keep something simpler.
pub(super) trait Kept {
    fn has_grown(&self) -> bool;
}

impl Kept for Instance {
    fn has_grown(&self) -> bool {
        // What was set aside counts as held, and so does room for answers.
        self.need() == Need::Everything || has_grown(self.memory_at_start(), self.charged())
    }
}

/// True of an instance that started with `start` bytes and holds `now`.
fn has_grown(start: usize, now: usize) -> bool {
    now > SMALL.max(start.saturating_mul(GROWN))
}

impl<I> Default for Instances<I> {
    fn default() -> Self {
        Instances { idle: HashMap::new(), round: 0 }
    }
}

impl<I: Kept> Instances<I> {
    /// The warmest instance of a generation.
    pub fn take(&mut self, keeping: &Keeping) -> Option<I> {
        let (_, instance) = self.idle.get_mut(&keeping.id)?.instances.pop()?;
        Some(instance)
    }

    /// Keeps an instance, hands it over to a call that waits, or gives it up.
    pub fn keep(&mut self, instance: I, keeping: &Arc<Keeping>) {
        let (round, room) = (self.round, &keeping.room);
        let given_up = if keeping.is_retired() || instance.has_grown() || room.is_urgent() {
            Some(instance)
        } else if room.is_wanted() {
            self.of(keeping).hand_over(instance)
        } else if let idle = self.of(keeping)
            && idle.instances.len() < keeping.most
        {
            idle.instances.push((round, instance));
            None
        } else {
            Some(instance)
        };
        if given_up.is_some() {
            drop(given_up);
            room.ended();
        }
    }

    /// Is handed the next instance that can be spared, after all who asked before.
    pub fn handed(&mut self, keeping: &Arc<Keeping>) -> oneshot::Receiver<I> {
        let (waiting, handed) = oneshot::channel();
        let idle = self.of(keeping);
        while idle.waiting.front().is_some_and(oneshot::Sender::is_closed) {
            idle.waiting.pop_front();
        }
        idle.waiting.push_back(waiting);
        handed
    }

    fn of(&mut self, keeping: &Arc<Keeping>) -> &mut Idle<I> {
        self.idle.entry(keeping.id).or_insert_with(|| Idle {
            keeping: keeping.clone(),
            instances: Vec::new(),
            waiting: VecDeque::new(),
        })
    }

    /// A [`ROUND`] is over: gives up what was idle for too long.
    pub fn next_round(&mut self) {
        self.round += 1;
        self.forget_retired();
        for idle in self.idle.values_mut() {
            let rounds = idle.keeping.idle.as_nanos().div_ceil(ROUND.as_nanos());
            let rounds = u64::try_from(rounds).unwrap_or(u64::MAX);
            // One more: the round in which it was kept had begun before.
            let young = |(kept, _): &(u64, I)| self.round.saturating_sub(*kept) <= rounds;
            let old = idle.instances.iter().position(young).unwrap_or(idle.instances.len());
            idle.give_up(old);
        }
    }

    /// Gives up whatever somebody waits for, and what was retired.
    pub fn make_room(&mut self) {
        self.forget_retired();
        for idle in self.idle.values_mut() {
            if idle.keeping.room.is_wanted() {
                idle.give_up(idle.instances.len());
            }
        }
    }
}

impl<I> Instances<I> {
    fn forget_retired(&mut self) {
        self.idle.retain(|_, idle| {
            let retired = idle.keeping.is_retired();
            if retired {
                idle.give_up(idle.instances.len());
            }
            !retired
        });
    }
}

impl<I> Idle<I> {
    /// Gives the instance to the first that waits, or back if nobody does.
    fn hand_over(&mut self, mut instance: I) -> Option<I> {
        while let Some(waiting) = self.waiting.pop_front() {
            // Who waits no longer does not take it.
            instance = waiting.send(instance).err()?;
        }
        Some(instance)
    }

    /// The first, and so longest idle, of them.
    fn give_up(&mut self, count: usize) {
        if count > 0 {
            self.instances.drain(..count);
            self.keeping.room.ended();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt as _;

    use super::super::room::HostRoom;
    use super::*;
    use crate::cancel::Cancel;
    use crate::outcome::Shared;

    /// Stands for an instance.
    #[derive(Debug, PartialEq)]
    struct Stub {
        name: u32,
        grown: bool,
    }

    impl Kept for Stub {
        fn has_grown(&self) -> bool {
            self.grown
        }
    }

    fn stub(name: u32) -> Stub {
        Stub { name, grown: false }
    }

    /// Of a pipeline with this number.
    fn keeping(host: &Arc<HostRoom>, pipeline: usize, idle: Duration) -> Arc<Keeping> {
        let room = Arc::new(Room::new(host.clone(), "orders".to_owned()));
        Arc::new(Keeping { id: (pipeline, 1), most: 3, idle, room, retired: AtomicBool::new(false) })
    }

    fn names(instances: &mut Instances<Stub>, keeping: &Keeping) -> Vec<u32> {
        std::iter::from_fn(|| instances.take(keeping)).map(|stub| stub.name).collect()
    }

    #[test]
    fn the_warmest_is_taken_first_and_no_more_are_kept_than_may_be() {
        let (host, mut instances) = (Arc::new(HostRoom::new(1)), Instances::default());
        let keeping = keeping(&host, 7, ROUND);
        (0..5).for_each(|name| instances.keep(stub(name), &keeping));
        assert_eq!(instances.take(&self::keeping(&host, 8, ROUND)), None);
        assert_eq!(names(&mut instances, &keeping), [2, 1, 0]);
    }

    #[test]
    fn what_has_grown_is_not_kept() {
        let (host, mut instances) = (Arc::new(HostRoom::new(1)), Instances::default());
        let keeping = keeping(&host, 7, ROUND);
        instances.keep(Stub { name: 1, grown: true }, &keeping);
        instances.keep(stub(2), &keeping);
        assert_eq!(names(&mut instances, &keeping), [2]);
    }

    #[test]
    fn grown_is_what_holds_many_times_its_start_and_is_not_small() {
        const MIB: usize = 1 << 20;
        assert!(!has_grown(128 << 10, 8 * MIB), "room for a batch");
        assert!(has_grown(128 << 10, 8 * MIB + 1));
        assert!(!has_grown(2 * MIB, 16 * MIB));
        assert!(has_grown(2 * MIB, 17 * MIB));
        assert!(!has_grown(32 * MIB, 64 * MIB), "a large runtime is not started again and again");
        assert!(!has_grown(usize::MAX, usize::MAX));
    }

    #[test]
    fn what_is_idle_for_too_long_is_given_up_and_nothing_else() {
        let (host, mut instances) = (Arc::new(HostRoom::new(1)), Instances::default());
        let (short, long) = (keeping(&host, 1, 2 * ROUND), keeping(&host, 2, 100 * ROUND));
        instances.keep(stub(10), &short);
        instances.keep(stub(20), &long);
        instances.next_round();
        instances.keep(stub(11), &short);
        instances.next_round();
        assert_eq!(
            instances.idle[&short.id].instances.len(),
            2,
            "kept during a round, so not idle for two yet"
        );
        instances.next_round();
        assert_eq!(names(&mut instances, &short), [11]);
        (0..90).for_each(|_| instances.next_round());
        assert_eq!(names(&mut instances, &long), [20]);
    }

    #[tokio::test]
    async fn while_somebody_waits_for_room_nothing_in_his_way_is_kept() {
        let (host, mut instances) = (Arc::new(HostRoom::new(1)), Instances::default());
        let (own, other) = (keeping(&host, 1, 100 * ROUND), keeping(&host, 2, 100 * ROUND));
        for (shared, of_others) in [(Shared::Pipeline, &[20][..]), (Shared::Host, &[])] {
            instances.keep(stub(10), &own);
            instances.keep(stub(20), &other);
            let cancel = Cancel::new();
            let mut waits = pin!(own.room.wait(Need::ToStart, false, &cancel, || Err::<(), _>(shared)));
            assert!(waits.as_mut().now_or_never().is_none());
            instances.make_room();
            instances.keep(stub(11), &own);
            assert!(names(&mut instances, &own).is_empty());
            assert_eq!(names(&mut instances, &other), of_others);
        }
    }

    #[tokio::test]
    async fn what_ends_is_handed_over_to_who_waits_unless_somebody_is_urgent() {
        let (host, mut instances) = (Arc::new(HostRoom::new(1)), Instances::default());
        let (own, other) = (keeping(&host, 1, ROUND), keeping(&host, 2, ROUND));
        let cancel = Cancel::new();
        let mut waits = Box::pin(own.room.wait(Need::ToStart, false, &cancel, || Err::<(), _>(Shared::Host)));
        assert!(waits.as_mut().now_or_never().is_none());
        let gone = instances.handed(&own);
        let [mut first, mut second] = [0, 1].map(|_| instances.handed(&own));
        drop(gone);
        instances.keep(stub(20), &other);
        instances.keep(Stub { name: 10, grown: true }, &own);
        assert!(first.try_recv().is_err(), "neither another pipeline's nor what has grown");
        instances.keep(stub(11), &own);
        assert_eq!(first.try_recv().map(|stub| stub.name), Ok(11));
        let mut urgent =
            pin!(other.room.wait(Need::Everything, false, &cancel, || Err::<(), _>(Shared::Pipeline)));
        assert!(urgent.as_mut().now_or_never().is_none());
        instances.keep(stub(12), &own);
        assert_eq!(second.try_recv().map(|stub| stub.name), Ok(12), "what only another pipeline lacks");
        let mut third = instances.handed(&own);
        drop(waits);
        let mut urgent =
            pin!(own.room.wait(Need::Everything, false, &cancel, || Err::<(), _>(Shared::Pipeline)));
        assert!(urgent.as_mut().now_or_never().is_none());
        instances.keep(stub(13), &own);
        assert!(third.try_recv().is_err() && names(&mut instances, &own).is_empty());
    }

    #[test]
    fn of_a_generation_that_was_retired_nothing_is_kept_or_remembered() {
        let (host, mut instances) = (Arc::new(HostRoom::new(1)), Instances::default());
        let (old, new) = (keeping(&host, 1, ROUND), keeping(&host, 2, ROUND));
        [&old, &new].into_iter().for_each(|keeping| instances.keep(stub(1), keeping));
        let mut waits = instances.handed(&old);
        old.retired.store(true, Ordering::Release);
        instances.keep(stub(2), &old);
        instances.make_room();
        assert!(waits.try_recv().is_err());
        // A call that still runs it comes back later.
        instances.keep(stub(3), &old);
        assert_eq!((Arc::strong_count(&old), instances.take(&old)), (1, None));
        assert_eq!(names(&mut instances, &new), [1]);
        // Nor of one that waits where nobody asks.
        drop(instances.handed(&old));
        instances.next_round();
        assert_eq!(Arc::strong_count(&old), 1);
    }
}
