//! Calls that wait for room: for memory that instances share, or for a place in the pool.
//!
//! What is used up by others is no fault of the record that finds it so. Its call waits here, in its worker, holds no
//! core and no instance, and is made again when there is room. Nothing of it is counted or charged.
//!
//! ```text
//! a call finds no room ── joins the queue of its pipeline ── is first ──► all workers give up idle instances
//!                                                               │              │
//!                                                               └── tries ◄────┴── an instance ends, anywhere
//! ```
//!
//! While anybody waits, no instance that could be in his way is kept warm, and a call of the same pipeline that needs a
//! new instance waits behind him. Calls that run end by their deadline, so he has his turn. Whoever waits for what all
//! pipelines share sees the idle instances of all of them given up; whoever waits for his own pipeline's memory only
//! those of his own.
//!
//! As long as nobody waits, which is nearly always, all this costs a look at two numbers when an instance is kept.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::{Mutex, Notify};

use crate::cancel::Cancel;
use crate::outcome::{Again, Failure, Outcome, Shared};

/// Who waits tries again at least so often: an instance may end where nobody tells of it.
const PATIENCE: Duration = Duration::from_millis(50);
/// A wait that is longer than this is said in the log, once in so long for each pipeline.
const LONG: Duration = Duration::from_secs(10);

/// What the workers of a host know of those who wait.
#[derive(Debug)]
pub struct HostRoom {
    /// Calls that wait, of all pipelines.
    waiting: AtomicUsize,
    /// Those of them that wait for what all pipelines share.
    for_shared: AtomicUsize,
    /// Told when an instance ends.
    ended: Notify,
    /// Counts how often workers were asked to give up idle instances.
    asked: AtomicU64,
    workers: Box<[AtomicWaker]>,
}

impl HostRoom {
    /// For so many workers.
    pub(super) fn new(workers: usize) -> Self {
        HostRoom {
            waiting: AtomicUsize::new(0),
            for_shared: AtomicUsize::new(0),
            ended: Notify::new(),
            asked: AtomicU64::new(0),
            workers: (0..workers).map(|_| AtomicWaker::new()).collect(),
        }
    }

    /// Whom to wake when idle instances are to be given up.
    pub(super) fn register(&self, worker: usize, waker: &Waker) {
        self.workers[worker].register(waker);
    }

    /// Changes each time that idle instances are to be given up.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Acquire)
    }

    /// An instance is gone.
    pub(super) fn ended(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.ended.notify_waiters();
        }
    }

    fn ask(&self) {
        self.asked.fetch_add(1, Ordering::AcqRel);
        self.workers.iter().for_each(AtomicWaker::wake);
    }
}

/// The queue of one pipeline.
#[derive(Debug)]
pub struct Room {
    host: Arc<HostRoom>,
    pipeline: String,
    waiting: AtomicUsize,
    /// Who holds it is first.
    turn: Mutex<()>,
    started: Instant,
    /// When a long wait was last said: milliseconds after `started`; 0: never.
    said: AtomicU64,
}

impl Room {
    /// For a pipeline of this name.
    pub(super) fn new(host: Arc<HostRoom>, pipeline: String) -> Self {
        Room {
            host,
            pipeline,
            waiting: AtomicUsize::new(0),
            turn: Mutex::new(()),
            started: Instant::now(),
            said: AtomicU64::new(0),
        }
    }

    /// Calls that wait.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether somebody waits for what an idle instance of this pipeline holds.
    pub(super) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0 || self.host.for_shared.load(Ordering::Acquire) > 0
    }

    /// Whether a call of this pipeline waits.
    pub(super) fn has_queue(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0
    }

    /// An instance is gone.
    pub(super) fn ended(&self) {
        self.host.ended();
    }

    /// Tries `start` until it finds room, after all who came before.
    ///
    /// # Errors
    /// What `start` says, unless it is that there is no room; [`Outcome::Revoked`] once `cancel` is set.
    pub(super) async fn wait<T>(
        &self,
        cancel: &Cancel,
        mut start: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let since = Instant::now();
        let _all = Counted::in_(&self.host.waiting);
        let _own = Counted::in_(&self.waiting);
        let mut shared = None;
        let mut cancelled = pin!(cancel.cancelled());
        let revoked = || Failure::of(Outcome::Revoked, "the assignment ended while the call waited for room");
        let _first = tokio::select! {
            biased;
            () = &mut cancelled => return Err(revoked()),
            first = self.turn.lock() => first,
        };
        loop {
            // Enlisted before it is tried: an instance that ends meanwhile is not missed.
            let mut ended = pin!(self.host.ended.notified());
            ended.as_mut().enable();
            let failure = match start().await {
                Err(failure) => failure,
                started => return started,
            };
            let Again::WithRoom(of) = failure.again else { return Err(failure) };
            if of == Shared::Host && shared.is_none() {
                shared = Some(Counted::in_(&self.host.for_shared));
            }
            self.host.ask();
            self.say(since, &failure);
            tokio::select! {
                biased;
                () = &mut cancelled => return Err(revoked()),
                () = ended => {}
                () = tokio::time::sleep(PATIENCE) => {}
            }
        }
    }

    /// Says that somebody has waited for long, unless that was just said.
    fn say(&self, since: Instant, failure: &Failure) {
        if since.elapsed() < LONG {
            return;
        }
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last = self.said.load(Ordering::Relaxed);
        let is_due = last == 0 || u128::from(now.saturating_sub(last)) >= LONG.as_millis();
        if is_due && self.said.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(
                pipeline = self.pipeline,
                waiting = self.waiting(),
                "calls have waited for room for {} s: {}; raise the limit, or lower `max_instances`",
                since.elapsed().as_secs(),
                failure.message
            );
        }
    }
}

/// Counts itself as long as it lives.
struct Counted<'c>(&'c AtomicUsize);

impl<'c> Counted<'c> {
    fn in_(count: &'c AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Counted(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use futures_util::FutureExt as _;
    use futures_util::future::join_all;

    use super::*;

    fn room() -> (Arc<HostRoom>, Room) {
        let host = Arc::new(HostRoom::new(1));
        (host.clone(), Room::new(host, "orders".to_owned()))
    }

    fn full(shared: Shared) -> Failure {
        Failure { again: Again::WithRoom(shared), ..Failure::of(Outcome::HostError, "full") }
    }

    #[tokio::test]
    async fn who_came_first_starts_first_though_others_need_less_and_nobody_is_forgotten() {
        let (host, room) = room();
        let (free, order, cancel) = (Cell::new(0), RefCell::new(Vec::new()), Cancel::new());
        let waits = (0..5).map(|index| {
            let (free, order, room, cancel) = (&free, &order, &room, &cancel);
            let need = if index == 0 { 4 } else { 1 };
            async move {
                let started = room
                    .wait(cancel, async || match free.get() {
                        left if left < need => Err(full(Shared::Pipeline)),
                        left => {
                            free.set(left - need);
                            Ok(index)
                        }
                    })
                    .await;
                order.borrow_mut().push(started.expect("it waits until there is room"));
            }
        });
        let frees = async {
            for _ in 0..8 {
                tokio::task::yield_now().await;
                free.set(free.get() + 1);
                host.ended();
            }
        };
        tokio::join!(join_all(waits), frees);
        assert_eq!(*order.borrow(), [0, 1, 2, 3, 4]);
        assert_eq!((room.waiting(), room.is_wanted()), (0, false), "nobody is left in the queue");
    }

    #[tokio::test]
    async fn an_instance_that_ends_untold_is_found_all_the_same() {
        let (_, room) = room();
        let (tries, cancel) = (Cell::new(0), Cancel::new());
        let found = room.wait(&cancel, async || {
            tries.set(tries.get() + 1);
            if tries.get() < 3 { Err(full(Shared::Host)) } else { Ok(()) }
        });
        assert_eq!(found.await, Ok(()));
    }

    #[tokio::test]
    async fn who_waits_asks_for_what_is_idle_and_says_whose() {
        let (host, room) = room();
        let other = Room::new(host.clone(), "other".to_owned());
        let cancel = Cancel::new();
        for (shared, of_others) in [(Shared::Pipeline, false), (Shared::Host, true)] {
            let before = host.asked();
            {
                let mut waits = pin!(room.wait(&cancel, async || Err::<(), _>(full(shared))));
                assert!(waits.as_mut().now_or_never().is_none());
                assert_eq!(host.asked(), before + 1);
                assert!(room.is_wanted() && room.has_queue());
                assert_eq!((other.is_wanted(), other.has_queue()), (of_others, false));
            }
            assert!(!room.is_wanted() && !other.is_wanted(), "a wait that is dropped is over");
        }
    }

    #[tokio::test]
    async fn cancelling_ends_a_wait_and_other_failures_are_handed_on() {
        let (_, room) = room();
        let cancel = Cancel::new();
        let failed =
            room.wait(&cancel, async || Err::<(), _>(Failure::of(Outcome::InitializationFailed, "no")));
        assert_eq!(failed.await.map_err(|failure| failure.outcome), Err(Outcome::InitializationFailed));
        let waits = [0, 1].map(|_| room.wait(&cancel, async || Err::<(), _>(full(Shared::Host))));
        let cancels = async {
            tokio::task::yield_now().await;
            cancel.cancel();
        };
        let (ended, ()) = tokio::join!(join_all(waits), cancels);
        assert!(
            ended.iter().all(|end| end.as_ref().is_err_and(|failure| failure.outcome == Outcome::Revoked))
        );
        assert_eq!(room.waiting(), 0);
    }
}
