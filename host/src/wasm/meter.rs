//! How long a call has computed and waited, and when it has to end.
//!
//! A worker's thread polls many calls in turn. What a call is charged for is the time it was polled, and the
//! time from a poll that left it waiting on the host to the wake-up that ended the wait. Time between wake-up
//! and the next poll is the run queue's, not the handler's: a call that is preempted at a tick wakes itself
//! within the poll and so waits no time at all.
//!
//! [`Meter::run`] polls a call under a deadline and a [`Cancel`]. While the guest computes, the epoch callback
//! looks at the meter at every tick (see `state`); while it waits, a timer and the flag's own wake-up end it.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;

use super::failure::Stop;
use crate::cancel::Cancel;

/// What a call took of the clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// On a core.
    pub(crate) polled: Duration,
    /// Waiting on the host.
    pub(crate) waited: Duration,
}

impl Spent {
    fn total(self) -> Duration {
        self.polled + self.waited
    }
}

/// The clock of one instance: shared by the future that polls its calls, the callback that runs within, and
/// whatever wakes them.
#[derive(Debug)]
pub(crate) struct Meter {
    base: Instant,
    /// When the running poll has to end, in nanoseconds after `base`.
    until: AtomicU64,
    /// When the call was first woken since its last poll began, in nanoseconds after `base`; 0: not yet.
    woken: AtomicU64,
    waker: AtomicWaker,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Meter {
            base: Instant::now(),
            until: AtomicU64::new(0),
            woken: AtomicU64::new(0),
            waker: AtomicWaker::new(),
        }
    }

    /// True once the running poll has used up what the deadline left to it.
    pub(crate) fn is_due(&self) -> bool {
        self.nanos(Instant::now()) >= self.until.load(Ordering::Relaxed)
    }

    /// Polls `call` to its end, or until its deadline, or until `cancel` is set.
    ///
    /// Needs a tokio runtime with a timer for calls that wait.
    pub(crate) async fn run<T>(
        self: &Arc<Self>,
        deadline: Duration,
        cancel: &Cancel,
        mut call: Pin<&mut impl Future<Output = T>>,
    ) -> (Result<T, Stop>, Spent) {
        let mut spent = Spent::default();
        let mut waiting: Option<Instant> = None;
        let mut timer = pin!(None);
        let mut cancelled = pin!(None);
        let waker = Waker::from(Arc::clone(self));
        let result = std::future::poll_fn(|cx| {
            let start = Instant::now();
            self.waker.register(cx.waker());
            if let Some(since) = waiting.take() {
                let woken = match self.woken.load(Ordering::Acquire) {
                    0 => start,
                    nanos => self.base + Duration::from_nanos(nanos),
                };
                spent.waited += woken.saturating_duration_since(since);
                timer.set(None);
                cancelled.set(None);
            }
            if cancel.is_cancelled() {
                return Poll::Ready(Err(Stop::Revoked));
            }
            let Some(left) = deadline.checked_sub(spent.total()).filter(|left| !left.is_zero()) else {
                return Poll::Ready(Err(Stop::Deadline(deadline)));
            };
            self.until.store(self.nanos(start).saturating_add(saturating_nanos(left)), Ordering::Relaxed);
            self.woken.store(0, Ordering::Release);
            let mut cx = Context::from_waker(&waker);
            let polled = call.as_mut().poll(&mut cx);
            let end = Instant::now();
            spent.polled += end - start;
            if let Poll::Ready(output) = polled {
                return Poll::Ready(Ok(output));
            }
            waiting = Some(end);
            if self.woken.load(Ordering::Acquire) == 0 {
                // The timer and the flag wake the call like anything else; the checks above then end it.
                let left = deadline.saturating_sub(spent.total());
                timer.set(Some(tokio::time::sleep(left)));
                cancelled.set(Some(cancel.cancelled()));
                if poll_some(timer.as_mut(), &mut cx) || poll_some(cancelled.as_mut(), &mut cx) {
                    waker.wake_by_ref();
                }
            }
            Poll::Pending
        })
        .await;
        (result, spent)
    }

    fn nanos(&self, moment: Instant) -> u64 {
        saturating_nanos(moment.saturating_duration_since(self.base))
    }
}

impl Wake for Meter {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let now = self.nanos(Instant::now()).max(1);
        // Only the first wake-up ends the wait.
        let _ = self.woken.compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed);
        self.waker.wake();
    }
}

fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// True if there is a future and it is ready.
fn poll_some<F: Future>(future: Pin<&mut Option<F>>, cx: &mut Context<'_>) -> bool {
    future.as_pin_mut().is_some_and(|future| future.poll(cx).is_ready())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A future that is pending once and woken by a thread after `wait`.
    async fn woken_after(wait: Duration) {
        let mut armed = false;
        std::future::poll_fn(|cx| {
            if armed {
                return Poll::Ready(());
            }
            armed = true;
            let waker = cx.waker().clone();
            std::thread::spawn(move || {
                #[expect(clippy::disallowed_methods, reason = "stands for computing that does not yield")]
                std::thread::sleep(wait);
                waker.wake();
            });
            Poll::Pending
        })
        .await;
    }

    async fn preempted(times: usize) {
        for _ in 0..times {
            let mut yielded = false;
            std::future::poll_fn(|cx| {
                if std::mem::replace(&mut yielded, true) {
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            })
            .await;
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn waiting_on_the_host_counts() {
        let meter = Arc::new(Meter::new());
        let wait = Duration::from_millis(20);
        let (result, spent) = meter.run(LONG, &Cancel::new(), pin!(woken_after(wait))).await;
        assert!(result.is_ok());
        assert!(spent.waited >= wait, "{spent:?}");
        assert!(spent.polled < wait, "{spent:?}");
    }

    #[tokio::test]
    async fn waiting_in_the_run_queue_does_not_count() {
        let meter = Arc::new(Meter::new());
        let hog = tokio::spawn(async {
            for _ in 0..20 {
                #[expect(clippy::disallowed_methods, reason = "stands for computing that does not yield")]
                std::thread::sleep(Duration::from_millis(5));
                tokio::task::yield_now().await;
            }
        });
        let (result, spent) = meter.run(Duration::from_millis(50), &Cancel::new(), pin!(preempted(20))).await;
        hog.await.expect("the other task ends");
        assert!(result.is_ok(), "a call that used no time met its deadline");
        assert!(spent.total() < Duration::from_millis(50), "{spent:?}");
    }

    #[tokio::test]
    async fn the_deadline_ends_a_wait() {
        let meter = Arc::new(Meter::new());
        let deadline = Duration::from_millis(10);
        let (result, spent) = meter.run(deadline, &Cancel::new(), pin!(std::future::pending::<()>())).await;
        assert!(matches!(result, Err(Stop::Deadline(_))));
        assert!(spent.waited >= Duration::from_millis(9), "{spent:?}");
    }

    #[tokio::test]
    async fn cancelling_ends_a_wait_at_once() {
        let meter = Arc::new(Meter::new());
        let cancel = Arc::new(Cancel::new());
        let from_elsewhere = Arc::clone(&cancel);
        let thread = std::thread::spawn(move || from_elsewhere.cancel());
        let (result, _) = meter.run(LONG, &cancel, pin!(std::future::pending::<()>())).await;
        assert!(matches!(result, Err(Stop::Revoked)));
        thread.join().expect("cancelling does not panic");
    }

    #[tokio::test]
    async fn what_is_cancelled_before_it_begins_is_never_polled() {
        let cancel = Cancel::new();
        cancel.cancel();
        let untouched = std::future::poll_fn(|_| -> Poll<()> { panic!("polled") });
        let (result, _) = Arc::new(Meter::new()).run(LONG, &cancel, pin!(untouched)).await;
        assert!(matches!(result, Err(Stop::Revoked)));
    }
}
