//! How long a call has computed and waited, and when it has to end.
//!
//! A worker's thread polls many calls in turn. What a call is charged for is the time it was polled, and the
//! time from a poll that left it waiting on the host to the wake-up that ended the wait. Time between wake-up
//! and the next poll is the run queue's, not the handler's: a call that is preempted at a tick wakes itself
//! within the poll and so waits no time at all.
//!
//! [`Watch::run`] polls a call under a deadline and a [`Cancel`]. While the guest computes, the epoch callback
//! looks at the meter at every tick (see `state`); while it waits, a timer and the flag's own wake-up end it.
//!
//! Most waits are much shorter than the deadline, so the timer is not set anew for each: one that was set for
//! an earlier wait, or an earlier call, and fires too early wakes the call for nothing, and only then is it
//! set to when the deadline is by then. An instance so sets about one timer in the length of a deadline.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::time::Sleep;

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

    fn nanos(&self, moment: Instant) -> u64 {
        saturating_nanos(moment.saturating_duration_since(self.base))
    }
}

/// A meter and what wakes its calls.
#[derive(Debug)]
pub(crate) struct Watch {
    meter: Arc<Meter>,
    waker: Waker,
    /// Fires when the deadline of a waiting call may be over, or before. It belongs to the runtime that it was
    /// made on, as the calls do.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        let meter = Arc::new(Meter::new());
        Watch { waker: Waker::from(Arc::clone(&meter)), meter, timer: None }
    }

    pub(crate) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Polls `call` to its end, or until its deadline, or until `cancel` is set.
    ///
    /// Needs a tokio runtime with a timer for calls that wait, the same for all of them.
    pub(crate) async fn run<T>(
        &mut self,
        deadline: Duration,
        cancel: &Cancel,
        mut call: Pin<&mut impl Future<Output = T>>,
    ) -> (Result<T, Stop>, Spent) {
        let mut spent = Spent::default();
        let mut waiting: Option<Instant> = None;
        let mut cancelled = pin!(None);
        let result = std::future::poll_fn(|cx| {
            let start = Instant::now();
            let meter = &self.meter;
            meter.waker.register(cx.waker());
            if let Some(since) = waiting.take() {
                let woken = match meter.woken.load(Ordering::Acquire) {
                    0 => start,
                    nanos => meter.base + Duration::from_nanos(nanos),
                };
                spent.waited += woken.saturating_duration_since(since);
            }
            if cancel.is_cancelled() {
                return Poll::Ready(Err(Stop::Revoked));
            }
            let Some(left) = deadline.checked_sub(spent.total()).filter(|left| !left.is_zero()) else {
                return Poll::Ready(Err(Stop::Deadline(deadline)));
            };
            meter.until.store(meter.nanos(start).saturating_add(saturating_nanos(left)), Ordering::Relaxed);
            meter.woken.store(0, Ordering::Release);
            let mut cx = Context::from_waker(&self.waker);
            let polled = call.as_mut().poll(&mut cx);
            let end = Instant::now();
            spent.polled += end - start;
            if let Poll::Ready(output) = polled {
                return Poll::Ready(Ok(output));
            }
            waiting = Some(end);
            if meter.woken.load(Ordering::Acquire) == 0 {
                // The timer and the flag wake the call like anything else; the checks above then end it.
                let due = end + deadline.saturating_sub(spent.total());
                // The flag is waited for once: it is set only once, and ends the call.
                let is_new = cancelled.is_none();
                if is_new {
                    cancelled.set(Some(cancel.cancelled()));
                }
                if set_timer(&mut self.timer, due, &mut cx)
                    || is_new && poll_some(cancelled.as_mut(), &mut cx)
                {
                    self.waker.wake_by_ref();
                }
            }
            Poll::Pending
        })
        .await;
        (result, spent)
    }
}

/// Makes sure that the timer fires at `due` or before. True if it is due now.
fn set_timer(timer: &mut Option<Pin<Box<Sleep>>>, due: Instant, cx: &mut Context<'_>) -> bool {
    let due = tokio::time::Instant::from_std(due);
    let timer = match timer {
        Some(timer) if !timer.is_elapsed() && timer.deadline() <= due => return false,
        Some(timer) => {
            timer.as_mut().reset(due);
            timer
        }
        None => timer.insert(Box::pin(tokio::time::sleep_until(due))),
    };
    timer.as_mut().poll(cx).is_ready()
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

    /// A future that a thread ends after `wait`, however often it is polled meanwhile.
    async fn woken_after(wait: Duration) {
        let (end, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            #[expect(clippy::disallowed_methods, reason = "stands for computing that does not yield")]
            std::thread::sleep(wait);
            end.send(()).expect("the future waits");
        });
        ended.await.expect("the thread sends");
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
        let mut watch = Watch::new();
        let wait = Duration::from_millis(20);
        let (result, spent) = watch.run(LONG, &Cancel::new(), pin!(woken_after(wait))).await;
        assert!(result.is_ok());
        assert!(spent.waited >= wait, "{spent:?}");
        assert!(spent.polled < wait, "{spent:?}");
    }

    #[tokio::test]
    async fn waiting_in_the_run_queue_does_not_count() {
        let mut watch = Watch::new();
        let hog = tokio::spawn(async {
            for _ in 0..20 {
                #[expect(clippy::disallowed_methods, reason = "stands for computing that does not yield")]
                std::thread::sleep(Duration::from_millis(5));
                tokio::task::yield_now().await;
            }
        });
        let (result, spent) = watch.run(Duration::from_millis(50), &Cancel::new(), pin!(preempted(20))).await;
        hog.await.expect("the other task ends");
        assert!(result.is_ok(), "a call that used no time met its deadline");
        assert!(spent.total() < Duration::from_millis(50), "{spent:?}");
    }

    #[tokio::test]
    async fn the_deadline_ends_a_wait() {
        let mut watch = Watch::new();
        let deadline = Duration::from_millis(10);
        let (result, spent) = watch.run(deadline, &Cancel::new(), pin!(std::future::pending::<()>())).await;
        assert!(matches!(result, Err(Stop::Deadline(_))));
        assert!(spent.waited >= Duration::from_millis(9), "{spent:?}");
    }

    #[tokio::test]
    async fn a_timer_of_an_earlier_call_ends_no_later_one() {
        let mut watch = Watch::new();
        let short = Duration::from_millis(30);
        let (result, _) = watch.run(short, &Cancel::new(), pin!(woken_after(Duration::from_millis(1)))).await;
        assert!(result.is_ok());
        let timer = watch.timer.as_ref().expect("the call waited").deadline();
        // The timer of the first call fires within this one, and is set to its deadline then.
        let wait = Duration::from_millis(60);
        let (result, spent) = watch.run(LONG, &Cancel::new(), pin!(woken_after(wait))).await;
        assert!(result.is_ok());
        assert!(spent.waited >= Duration::from_millis(59), "{spent:?}");
        let later = watch.timer.as_ref().expect("it stays").deadline();
        assert!(later > timer + LONG / 2, "{later:?} is not the second call's deadline");
        // A shorter deadline moves it to an earlier time.
        let (result, spent) = watch.run(short, &Cancel::new(), pin!(std::future::pending::<()>())).await;
        assert!(matches!(result, Err(Stop::Deadline(_))));
        assert!(spent.waited < LONG / 2, "{spent:?}");
    }

    #[tokio::test]
    async fn cancelling_ends_a_later_wait_of_the_same_call() {
        let (mut watch, cancel) = (Watch::new(), Arc::new(Cancel::new()));
        let from_elsewhere = Arc::clone(&cancel);
        let call = async {
            woken_after(Duration::from_millis(1)).await;
            let thread = std::thread::spawn(move || from_elsewhere.cancel());
            std::future::pending::<()>().await;
            thread
        };
        let (result, _) = watch.run(LONG, &cancel, pin!(call)).await;
        assert!(matches!(result, Err(Stop::Revoked)));
    }

    #[tokio::test]
    async fn cancelling_ends_a_wait_at_once() {
        let mut watch = Watch::new();
        let cancel = Arc::new(Cancel::new());
        let from_elsewhere = Arc::clone(&cancel);
        let thread = std::thread::spawn(move || from_elsewhere.cancel());
        let (result, _) = watch.run(LONG, &cancel, pin!(std::future::pending::<()>())).await;
        assert!(matches!(result, Err(Stop::Revoked)));
        thread.join().expect("cancelling does not panic");
    }

    #[tokio::test]
    async fn what_is_cancelled_before_it_begins_is_never_polled() {
        let cancel = Cancel::new();
        cancel.cancel();
        let untouched = std::future::poll_fn(|_| -> Poll<()> { panic!("polled") });
        let (result, _) = Watch::new().run(LONG, &cancel, pin!(untouched)).await;
        assert!(matches!(result, Err(Stop::Revoked)));
    }
}
