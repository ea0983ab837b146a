//! Polls the calls of one worker, each pipeline's in its turn.
//!
//! A task is one piece of work. It is polled when it was woken and its pipeline has its turn ([`Shares`]); a handler that
//! computes wakes itself at each tick of the epoch and goes to the end of its pipeline's queue. Tasks, their wakers and
//! their places are used again, so that a call allocates nothing here.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use super::share::Shares;

/// The tasks of one worker.
pub(super) struct Executor<F> {
    tasks: Vec<Task<F>>,
    free: Vec<usize>,
    shares: Shares,
    woken: Arc<Woken>,
    /// Taken out of `woken`; kept for its memory.
    taken: Vec<usize>,
}

struct Task<F> {
    pipeline: usize,
    weight: u32,
    /// `None`: the place is free.
    future: Pin<Box<Option<F>>>,
    signal: Arc<Signal>,
    waker: Waker,
}

/// Wakes one task, from any thread.
struct Signal {
    task: usize,
    /// It is in the list, or in its pipeline's queue.
    queued: AtomicBool,
    woken: Arc<Woken>,
}

/// Tasks that were woken since the worker looked last.
#[derive(Default)]
struct Woken {
    tasks: Mutex<Vec<usize>>,
    /// There may be some: looked at twice a turn, so that the lock is not.
    any: AtomicBool,
    worker: AtomicWaker,
}

impl<F: Future<Output = ()>> Executor<F> {
    pub fn new() -> Self {
        Executor {
            tasks: Vec::new(),
            free: Vec::new(),
            shares: Shares::default(),
            woken: Arc::new(Woken::default()),
            taken: Vec::new(),
        }
    }

    /// Whom to wake when a task can run that could not.
    pub fn register(&self, worker: &Waker) {
        self.woken.worker.register(worker);
    }

    /// True if there is no task.
    pub fn is_empty(&self) -> bool {
        self.free.len() == self.tasks.len()
    }

    /// Adds a task, which can run.
    pub fn spawn(&mut self, pipeline: usize, weight: u32, future: F) {
        let index = self.free.pop().unwrap_or_else(|| {
            let signal = Arc::new(Signal {
                task: self.tasks.len(),
                queued: AtomicBool::new(false),
                woken: self.woken.clone(),
            });
            let waker = Waker::from(signal.clone());
            self.tasks.push(Task { pipeline, weight, future: Box::pin(None), signal, waker });
            self.tasks.len() - 1
        });
        let task = &mut self.tasks[index];
        (task.pipeline, task.weight) = (pipeline, weight);
        task.future.set(Some(future));
        // Who woke the one that had this place before may have put it into the list since: one entry is enough.
        if !task.signal.queued.swap(true, Ordering::AcqRel) {
            self.shares.ready(pipeline, weight, index);
        }
    }

    /// Polls the task whose turn it is, and charges its pipeline for the time since `since`, when the turn before ended.
    /// Returns when this one did; `None`: no task can run.
    pub fn turn(&mut self, since: Instant) -> Option<Instant> {
        self.take_woken();
        let (pipeline, index) = self.shares.next()?;
        let task = &mut self.tasks[index];
        // An exchange, not a store: who wakes it from here on sees that it has to, or what it wrote before is seen by the
        // poll below.
        task.signal.queued.swap(false, Ordering::AcqRel);
        let future = task.future.as_mut().as_pin_mut().expect("only tasks that are not over are queued");
        let is_over = future.poll(&mut Context::from_waker(&task.waker)).is_ready();
        if is_over {
            task.future.set(None);
            self.free.push(index);
        }
        // Before it is charged: who has more to run keeps what is left of its turn.
        self.take_woken();
        let end = Instant::now();
        self.shares.charge(pipeline, end.saturating_duration_since(since));
        Some(end)
    }

    fn take_woken(&mut self) {
        self.woken.take(&mut self.taken);
        for index in self.taken.drain(..) {
            let task = &self.tasks[index];
            if task.future.is_some() {
                self.shares.ready(task.pipeline, task.weight, index);
            } else {
                // Woken after its end.
                task.signal.queued.store(false, Ordering::Release);
            }
        }
    }
}

impl Woken {
    fn take(&self, into: &mut Vec<usize>) {
        if !self.any.swap(false, Ordering::AcqRel) {
            return;
        }
        // A panic while it was held leaves a list that is whole.
        std::mem::swap(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner), into);
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.woken.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(self.task);
            self.woken.any.store(true, Ordering::Release);
            self.woken.worker.wake();
        }
    }
}

/// Lets others run in the middle of something that is long and does not wait, as a guest is made to do by a tick.
#[derive(Debug, Default)]
pub(super) struct Politeness {
    steps: u32,
    since: Option<Instant>,
}

impl Politeness {
    /// As long as a tick of the epoch.
    const LONG: Duration = Duration::from_millis(1);
    /// The clock is looked at once in so many steps.
    const STEPS: u32 = 64;

    /// To be called once a step.
    pub async fn let_others_run(&mut self) {
        self.steps += 1;
        if !self.steps.is_multiple_of(Self::STEPS) {
            return;
        }
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < Self::LONG {
            return;
        }
        let mut yielded = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.since = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use super::*;

    /// Ends after so many polls; wakes itself in between, as a call does that a tick interrupts.
    async fn polled(times: u32, log: Rc<RefCell<Vec<&'static str>>>, name: &'static str) {
        let left = Cell::new(times);
        poll_fn(|cx| {
            log.borrow_mut().push(name);
            left.set(left.get() - 1);
            if left.get() == 0 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    fn run<F: Future<Output = ()>>(executor: &mut Executor<F>) {
        let mut now = Instant::now();
        while let Some(end) = executor.turn(now) {
            now = end;
        }
    }

    #[test]
    fn each_task_is_polled_until_it_ends_and_its_place_is_used_again() {
        let log = Rc::new(RefCell::new(Vec::new()));
        let mut executor = Executor::new();
        assert!(executor.is_empty());
        for round in 0..3 {
            executor.spawn(round, 1, polled(2, log.clone(), "a"));
            executor.spawn(round, 1, polled(3, log.clone(), "b"));
            run(&mut executor);
            assert!(executor.is_empty());
            assert_eq!(log.borrow().iter().filter(|name| **name == "a").count(), 2);
            assert_eq!(log.borrow().iter().filter(|name| **name == "b").count(), 3);
            log.borrow_mut().clear();
        }
        assert_eq!(executor.tasks.len(), 2);
    }

    #[test]
    fn a_task_that_waits_is_polled_when_another_thread_wakes_it_and_the_worker_is_told() {
        let (end, ended) = tokio::sync::oneshot::channel();
        let mut executor = Executor::new();
        let (worker, told) = counting();
        executor.register(&worker);
        executor.spawn(0, 1, async move { ended.await.expect("it is sent") });
        run(&mut executor);
        assert!(!executor.is_empty(), "it waits");
        assert_eq!(told.load(Ordering::Relaxed), 0);
        std::thread::spawn(move || end.send(()).expect("it waits")).join().expect("sending does not panic");
        assert_eq!(told.load(Ordering::Relaxed), 1);
        run(&mut executor);
        assert!(executor.is_empty());
    }

    #[test]
    fn a_wake_up_after_the_end_costs_the_next_one_nothing() {
        let waker = Rc::new(RefCell::new(None::<Waker>));
        let mut executor: Executor<Pin<Box<dyn Future<Output = ()>>>> = Executor::new();
        let kept = waker.clone();
        executor.spawn(
            3,
            1,
            Box::pin(poll_fn(move |cx| {
                *kept.borrow_mut() = Some(cx.waker().clone());
                Poll::Ready(())
            })),
        );
        run(&mut executor);
        let late = waker.borrow_mut().take().expect("it was polled");
        // Before its place is taken again, and after.
        late.wake_by_ref();
        let log = Rc::new(RefCell::new(Vec::new()));
        executor.spawn(5, 1, Box::pin(polled(2, log.clone(), "next")));
        late.wake_by_ref();
        run(&mut executor);
        assert!(executor.is_empty());
        assert_eq!(log.borrow().len(), 2, "polled as often as it wants");
        late.wake_by_ref();
        run(&mut executor);
        assert!(executor.is_empty());
    }

    /// A waker that counts.
    fn counting() -> (Waker, Arc<std::sync::atomic::AtomicUsize>) {
        struct Count(Arc<std::sync::atomic::AtomicUsize>);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        (Waker::from(Arc::new(Count(count.clone()))), count)
    }
}
