//! Calls that wait for room: for memory that instances share, or for a place in the pool.
//!
//! What is used up by others is no fault of the record that finds it so. Its call waits here, in its worker, holds no
//! core and no instance, and is made again when there is room. It is no failure of the record.
//!
//! ```text
//! a call finds no room ── the pipeline's queue ── is first ── the host's queue ──► idle instances are given up
//!                               │                             (for what all share)     │
//!     a call of the same pipeline ends on this worker                 reserves ◄───────┴── an instance ends, anywhere
//!     and hands its instance over, until the first has                    │
//!     waited for a second                                                 └──► the turn ends; an instance starts
//! ```
//!
//! While anybody waits, no instance that could be in his way is kept idle, and a call that needs a new instance waits
//! behind him. Instances are handed over to calls that wait on the same worker, since a start may be dear; who is first
//! may so be overtaken, but only for so long. Then, or if he needs more than an instance holds, he is *urgent*: whatever
//! ends is given up, and where he waits for what all pipelines share, no pipeline starts anything before him. Calls that
//! run end by their deadline, and answers that wait for a producer hold no instance, so he has his turn.
//!
//! Whoever waits for what all pipelines share sees the idle instances of all of them given up; whoever waits for his own
//! pipeline's memory only those of his own. As long as nobody waits, which is nearly always, all this costs a look at
//! a few numbers when an instance is kept or started.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::{Mutex, MutexGuard, Notify};

use crate::cancel::Cancel;
use crate::outcome::{Failure, Outcome, Shared};
use crate::wasm::Need;

/// Who waits tries again at least so often: an instance may end where nobody tells of it.
const PATIENCE: Duration = Duration::from_millis(50);
/// Who is first is overtaken by instances that are handed over for so long at most.
const OVERTAKEN: Duration = Duration::from_secs(1);
/// A wait that is longer than this is said in the log, once in so long for each pipeline.
const LONG: Duration = Duration::from_secs(10);

/// What the workers of a host know of those who wait.
#[derive(Debug)]
pub struct HostRoom {
    /// Calls that wait, of all pipelines.
    waiting: AtomicUsize,
    /// Calls that are first in their pipeline and wait for what all pipelines share.
    for_shared: AtomicUsize,
    /// The one of those that has the turn, once it is urgent.
    urgent: AtomicUsize,
    /// Whose turn it is to take of what all pipelines share.
    turn: Mutex<()>,
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
            urgent: AtomicUsize::new(0),
            turn: Mutex::new(()),
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

    /// Waits for the turn to take of what all pipelines share.
    async fn queue(&self) -> InTurn<'_> {
        let counted = Counted::in_(&self.for_shared);
        InTurn { _turn: self.turn.lock().await, _counted: counted, urgent: None }
    }

    /// Asks all workers to give up what is idle and wanted, or retired.
    pub(super) fn ask(&self) {
        self.asked.fetch_add(1, Ordering::AcqRel);
        self.workers.iter().for_each(AtomicWaker::wake);
    }
}

/// Has the turn to take of what all pipelines share.
struct InTurn<'h> {
    _turn: MutexGuard<'h, ()>,
    _counted: Counted<'h>,
    urgent: Option<Counted<'h>>,
}

/// The queue of one pipeline.
#[derive(Debug)]
pub struct Room {
    host: Arc<HostRoom>,
    pipeline: String,
    /// [`OVERTAKEN`], save in tests.
    overtaken: Duration,
    waiting: AtomicUsize,
    /// Those that must not be overtaken any longer.
    urgent: AtomicUsize,
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
            overtaken: OVERTAKEN,
            waiting: AtomicUsize::new(0),
            urgent: AtomicUsize::new(0),
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

    /// Whether an instance of this pipeline must be given up, though another call of it could use it.
    pub(super) fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::Acquire) > 0 || self.host.urgent.load(Ordering::Acquire) > 0
    }

    /// Whether a call that needs a new instance has to wait its turn.
    pub(super) fn has_queue(&self) -> bool {
        self.waiting.load(Ordering::Acquire) > 0 || self.host.urgent.load(Ordering::Acquire) > 0
    }

    /// An instance is gone.
    pub(super) fn ended(&self) {
        self.host.ended();
    }

    /// Tries `reserve` until it finds room for `need`, after all who came before. With `pause`, what it last found was
    /// not enough: something has to end first.
    ///
    /// # Errors
    /// [`Outcome::Revoked`] once `cancel` is set.
    pub(super) async fn wait<T>(
        &self,
        need: Need,
        pause: bool,
        cancel: &Cancel,
        reserve: impl FnMut() -> Result<T, Shared>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => {
                Err(Failure::of(Outcome::Revoked, "the assignment ended while the call waited for room"))
            }
            found = self.queue(need, pause, reserve) => Ok(found),
        }
    }

    async fn queue<T>(
        &self,
        need: Need,
        mut pause: bool,
        mut reserve: impl FnMut() -> Result<T, Shared>,
    ) -> T {
        let since = Instant::now();
        let _all = Counted::in_(&self.host.waiting);
        let _own = Counted::in_(&self.waiting);
        let _first = self.turn.lock().await;
        let mut first = First { room: self, need, since, first: Instant::now(), urgent: None };
        let mut in_turn: Option<InTurn<'_>> = None;
        loop {
            // Enlisted before it is tried: an instance that ends meanwhile is not missed.
            let mut ended = pin!(self.host.ended.notified());
            ended.as_mut().enable();
            if in_turn.is_none() && self.host.for_shared.load(Ordering::Acquire) > 0 {
                in_turn = Some(first.in_turn().await);
            }
            if !std::mem::take(&mut pause) {
                match reserve() {
                    Ok(found) => return found,
                    // Others take what all share meanwhile.
                    Err(Shared::Pipeline) => in_turn = None,
                    Err(Shared::Host) if in_turn.is_none() => {
                        in_turn = Some(first.in_turn().await);
                        continue;
                    }
                    Err(Shared::Host) => {}
                }
            }
            if first.press(if in_turn.is_some() { Shared::Host } else { Shared::Pipeline })
                && let Some(in_turn) = &mut in_turn
            {
                in_turn.urgent.get_or_insert_with(|| Counted::in_(&self.host.urgent));
            }
            self.host.ask();
            tokio::select! {
                biased;
                () = ended => {}
                () = tokio::time::sleep(PATIENCE) => {}
            }
        }
    }

    /// Says that somebody has waited for long, unless that was just said.
    fn say(&self, since: Instant, shared: Shared) {
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
                shared.used_up()
            );
        }
    }
}

/// A call that is first in its pipeline's queue.
struct First<'r> {
    room: &'r Room,
    need: Need,
    /// When it began to wait, and when it was first.
    since: Instant,
    first: Instant,
    urgent: Option<Counted<'r>>,
}

impl<'r> First<'r> {
    /// Waits for the turn to take of what all pipelines share.
    async fn in_turn(&mut self) -> InTurn<'r> {
        let mut queue = pin!(self.room.host.queue());
        loop {
            self.press(Shared::Host);
            tokio::select! {
                biased;
                turn = &mut queue => return turn,
                () = tokio::time::sleep(PATIENCE) => {}
            }
        }
    }

    /// True if it is urgent by now. Says that it waits, if that is long.
    fn press(&mut self, lacks: Shared) -> bool {
        self.room.say(self.since, lacks);
        let is_urgent = self.need == Need::Everything || self.first.elapsed() >= self.room.overtaken;
        if is_urgent {
            self.urgent.get_or_insert_with(|| Counted::in_(&self.room.urgent));
        }
        is_urgent
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

    /// A reservation that never succeeds, counted.
    fn never(tries: &Cell<u32>, shared: Shared) -> impl FnMut() -> Result<(), Shared> {
        move || {
            tries.set(tries.get() + 1);
            Err(shared)
        }
    }

    #[tokio::test]
    async fn who_came_first_starts_first_though_others_need_less_and_nobody_is_forgotten() {
        let (host, room) = room();
        let (free, order, cancel) = (Cell::new(0), RefCell::new(Vec::new()), Cancel::new());
        let waits = (0..5).map(|index| {
            let (free, order, room, cancel) = (&free, &order, &room, &cancel);
            let need = if index == 0 { 4 } else { 1 };
            async move {
                let reserve = || match free.get() {
                    left if left < need => Err(Shared::Pipeline),
                    left => {
                        free.set(left - need);
                        Ok(index)
                    }
                };
                let found = room.wait(Need::ToStart, false, cancel, reserve).await;
                order.borrow_mut().push(found.expect("it waits until there is room"));
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
        let found = room.wait(Need::ToStart, false, &cancel, || {
            tries.set(tries.get() + 1);
            if tries.get() < 4 { Err(Shared::Host) } else { Ok(()) }
        });
        assert_eq!(found.await, Ok(()));
    }

    #[tokio::test]
    async fn what_was_found_too_little_is_tried_again_only_when_something_has_ended() {
        let (host, room) = room();
        let (tries, cancel) = (Cell::new(0), Cancel::new());
        let mut waits = pin!(room.wait(Need::Everything, true, &cancel, never(&tries, Shared::Host)));
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(tries.get(), 0);
        host.ended();
        assert!(waits.as_mut().now_or_never().is_none());
        assert_ne!(tries.get(), 0);
    }

    #[tokio::test]
    async fn who_waits_asks_for_what_is_idle_and_says_whose() {
        let (host, room) = room();
        let other = Room::new(host.clone(), "other".to_owned());
        let cancel = Cancel::new();
        for (shared, of_others) in [(Shared::Pipeline, false), (Shared::Host, true)] {
            let before = host.asked();
            {
                let mut waits = pin!(room.wait(Need::ToStart, false, &cancel, || Err::<(), _>(shared)));
                assert!(waits.as_mut().now_or_never().is_none());
                assert_eq!(host.asked(), before + 1);
                assert!(room.is_wanted() && room.has_queue() && !room.is_urgent());
                assert_eq!((other.is_wanted(), other.has_queue()), (of_others, false));
            }
            assert!(!room.is_wanted() && !other.is_wanted(), "a wait that is dropped is over");
        }
    }

    #[tokio::test]
    async fn who_is_first_is_overtaken_for_a_time_and_then_goes_before_all_who_want_the_same() {
        for (overtaken, is_urgent) in [(Duration::MAX, false), (Duration::ZERO, true)] {
            for (shared, of_others) in [(Shared::Pipeline, false), (Shared::Host, is_urgent)] {
                let (host, mut room) = room();
                room.overtaken = overtaken;
                let other = Room::new(host.clone(), "other".to_owned());
                let cancel = Cancel::new();
                let mut waits = pin!(room.wait(Need::ToStart, false, &cancel, || Err::<(), _>(shared)));
                assert!(waits.as_mut().now_or_never().is_none());
                assert_eq!(room.is_urgent(), is_urgent);
                assert_eq!((other.is_urgent(), other.has_queue()), (of_others, of_others));
            }
        }
    }

    #[tokio::test]
    async fn who_needs_everything_is_urgent_from_the_first() {
        let (host, room) = room();
        let other = Room::new(host.clone(), "other".to_owned());
        let cancel = Cancel::new();
        let mut waits = pin!(room.wait(Need::Everything, false, &cancel, || Err::<(), _>(Shared::Host)));
        assert!(waits.as_mut().now_or_never().is_none());
        assert!(room.is_urgent() && other.is_urgent() && other.has_queue());
    }

    #[tokio::test]
    async fn who_needs_everything_presses_nobody_who_came_before_him() {
        let (_, room) = room();
        let cancel = Cancel::new();
        let lacks = || Err::<(), _>(Shared::Pipeline);
        let mut first = pin!(room.wait(Need::ToStart, false, &cancel, lacks));
        let mut second = pin!(room.wait(Need::Everything, false, &cancel, lacks));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        assert!(!room.is_urgent());
    }

    #[tokio::test]
    async fn who_waits_for_his_pipelines_turn_at_the_host_is_urgent_in_time_as_well() {
        let (host, mut room) = room();
        room.overtaken = Duration::ZERO;
        let other = Room::new(host.clone(), "other".to_owned());
        let cancel = Cancel::new();
        let mut has_turn = pin!(other.wait(Need::ToStart, false, &cancel, || Err::<(), _>(Shared::Host)));
        assert!(has_turn.as_mut().now_or_never().is_none());
        let waits = room.wait(Need::ToStart, false, &cancel, || Err::<(), _>(Shared::Host));
        let is_urgent = async {
            while !room.is_urgent() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            _ = waits => panic!("there is no room"),
            () = is_urgent => {}
        }
        assert!(!other.is_urgent(), "only who has the turn presses all");
    }

    #[tokio::test]
    async fn what_all_share_goes_to_pipelines_in_turn_and_not_to_who_needs_least() {
        let (host, large) = room();
        let small = Room::new(host.clone(), "small".to_owned());
        let (free, order, cancel) = (Cell::new(0), RefCell::new(Vec::new()), Cancel::new());
        let wait = |room, need, index| {
            let (free, order, cancel) = (&free, &order, &cancel);
            let reserve = move || match free.get() {
                left if left < need => Err(Shared::Host),
                left => {
                    free.set(left - need);
                    Ok(index)
                }
            };
            let wait = Room::wait(room, Need::ToStart, false, cancel, reserve);
            async move {
                let found = wait.await.expect("it waits until there is room");
                order.borrow_mut().push(found);
            }
        };
        let frees = async {
            for _ in 0..5 {
                tokio::task::yield_now().await;
                free.set(free.get() + 1);
                host.ended();
            }
        };
        tokio::join!(wait(&large, 4, 0), wait(&small, 1, 1), frees);
        assert_eq!(*order.borrow(), [0, 1]);
    }

    #[tokio::test]
    async fn who_lacks_his_own_pipelines_memory_keeps_nobody_from_what_all_share() {
        let (host, poor) = room();
        let other = Room::new(host.clone(), "other".to_owned());
        let (cancel, lacks) = (Cancel::new(), Cell::new(Shared::Host));
        let mut waits = pin!(poor.wait(Need::ToStart, false, &cancel, || Err::<(), _>(lacks.get())));
        assert!(waits.as_mut().now_or_never().is_none());
        lacks.set(Shared::Pipeline);
        let mut waits_too = pin!(other.wait(Need::ToStart, false, &cancel, || Ok(())));
        assert!(waits_too.as_mut().now_or_never().is_none(), "it is behind the first");
        host.ended();
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(waits_too.await, Ok(()));
    }

    #[tokio::test]
    async fn cancelling_ends_a_wait() {
        let (_, room) = room();
        let cancel = Cancel::new();
        let waits = [0, 1].map(|_| room.wait(Need::ToStart, false, &cancel, || Err::<(), _>(Shared::Host)));
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
