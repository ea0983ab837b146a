//! One sleep for everything that the consumer thread waits for.
//!
//! The consumer thread owns the [`Sleeper`]. Whoever has something for it (librdkafka's threads for
//! records, events and commit replies; workers for completions) holds a [`Waker`]. A wake-up that
//! arrives while the thread is awake is remembered, so a thread that looks for work, finds none and
//! sleeps cannot miss what came in between.
//!
//! It is not `std::thread::park`: the standard library parks the same thread for its own locks and
//! channels and may take a token that was meant for us.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The thread is awake and nobody called since it last slept.
const AWAKE: u8 = 0;
/// The thread sleeps, or is about to.
const ASLEEP: u8 = 1;
/// Somebody called; the next sleep ends at once.
const CALLED: u8 = 2;

#[derive(Debug, Default)]
struct Shared {
    state: AtomicU8,
    /// Held by the sleeper from its look at `state` until it waits, so that a notification cannot fall
    /// in between.
    lock: Mutex<()>,
    condvar: Condvar,
}

/// The sleeping side: one per thread, not cloneable.
#[derive(Debug, Default)]
pub struct Sleeper {
    shared: Arc<Shared>,
}

impl Sleeper {
    /// A sleeper that nobody has called yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A handle that ends this sleeper's sleep.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Waker { shared: Arc::clone(&self.shared) }
    }

    /// Sleeps until somebody calls, at most `timeout`. Returns whether somebody called since the last
    /// call of this function. All calls made until then count as one.
    pub fn wait(&mut self, timeout: Duration) -> bool {
        let shared = &*self.shared;
        if shared
            .state
            .compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire)
            .is_ok_and(|_| !timeout.is_zero())
        {
            // A time-out too far away to be represented is none.
            let deadline = Instant::now().checked_add(timeout);
            let mut guard = shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
            while shared.state.load(Ordering::Acquire) != CALLED {
                let left = deadline
                    .map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
                if left.is_zero() {
                    break;
                }
                guard = shared.condvar.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        // Acquires what every caller so far released.
        shared.state.swap(AWAKE, Ordering::AcqRel) == CALLED
    }
}

/// The calling side: cheap to clone, usable from any thread and from librdkafka's callbacks.
#[derive(Debug, Clone)]
pub struct Waker {
    shared: Arc<Shared>,
}

impl Waker {
    /// Ends the sleep of the [`Sleeper`], or its next one if it is awake.
    ///
    /// One atomic exchange while the thread is awake; never blocks on anything but the instant in which
    /// the sleeper goes to sleep.
    pub fn wake(&self) {
        // Always an exchange, never a look first: a look could see an old call whose sleep is just
        // ending, and what the caller published would be missed by both.
        if self.shared.state.swap(CALLED, Ordering::AcqRel) == ASLEEP {
            // The sleeper is past its look at the state, or still before it; taking the lock once puts
            // this notification after the wait has begun in the first case.
            drop(self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.shared.condvar.notify_one();
        }
    }

    /// An address that stays the same and stays valid as long as this waker or a clone of it lives.
    pub(crate) fn as_opaque(&self) -> *mut std::ffi::c_void {
        Arc::as_ptr(&self.shared).cast_mut().cast()
    }

    /// Wakes through an address of [`Waker::as_opaque`].
    ///
    /// # Safety
    /// `opaque` comes from [`Waker::as_opaque`], and a clone of that waker lives until this returns.
    pub(crate) unsafe fn wake_opaque(opaque: *mut std::ffi::c_void) {
        let shared = opaque.cast_const().cast::<Shared>();
        // SAFETY: the address is that of a value inside an `Arc` which the caller keeps alive. The count
        // is raised first, so the `Arc` made here gives back exactly the reference that it took.
        let waker = unsafe {
            Arc::increment_strong_count(shared);
            Self { shared: Arc::from_raw(shared) }
        };
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;
    use std::thread;

    const FOREVER: Duration = Duration::from_secs(3600);

    #[test]
    fn a_call_before_the_sleep_ends_it_at_once_and_only_once() {
        let mut sleeper = Sleeper::new();
        let waker = sleeper.waker();
        waker.wake();
        waker.wake();
        assert!(sleeper.wait(FOREVER));
        assert!(!sleeper.wait(Duration::ZERO), "two calls before one sleep count as one");
    }

    #[test]
    fn a_sleep_that_nobody_ends_lasts_its_time() {
        let mut sleeper = Sleeper::new();
        let start = Instant::now();
        assert!(!sleeper.wait(Duration::from_millis(20)));
        assert!(start.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_zero_sleep_still_reports_a_call() {
        let mut sleeper = Sleeper::new();
        assert!(!sleeper.wait(Duration::ZERO));
        sleeper.waker().wake();
        assert!(sleeper.wait(Duration::ZERO));
    }

    #[test]
    fn a_time_out_beyond_the_clock_is_endless_and_not_a_panic() {
        let mut sleeper = Sleeper::new();
        let waker = sleeper.waker();
        thread::scope(|scope| {
            scope.spawn(move || waker.wake());
            assert!(sleeper.wait(Duration::MAX));
        });
    }

    /// Every call is followed by a wait for its answer, so one lost wake-up stops the test.
    #[test]
    fn no_call_is_lost_between_looking_for_work_and_sleeping() {
        const ROUNDS: u64 = 2_000;
        let mut sleeper = Sleeper::new();
        let (asked, answered) = (AtomicU64::new(0), AtomicU64::new(0));
        let mut asker = Sleeper::new();
        let (to_answerer, to_asker) = (sleeper.waker(), asker.waker());
        thread::scope(|scope| {
            scope.spawn(|| {
                while answered.load(Ordering::Relaxed) < ROUNDS {
                    if asked.load(Ordering::Relaxed) > answered.load(Ordering::Relaxed) {
                        answered.fetch_add(1, Ordering::Relaxed);
                        to_asker.wake();
                    } else {
                        assert!(sleeper.wait(Duration::from_secs(20)), "a call was lost");
                    }
                }
            });
            for round in 1..=ROUNDS {
                asked.store(round, Ordering::Relaxed);
                to_answerer.wake();
                while answered.load(Ordering::Relaxed) < round {
                    assert!(asker.wait(Duration::from_secs(20)), "an answer was lost");
                }
            }
        });
        assert_eq!(answered.into_inner(), ROUNDS);
    }

    #[test]
    fn a_call_through_the_opaque_address_wakes_and_keeps_the_count() {
        let mut sleeper = Sleeper::new();
        let waker = sleeper.waker();
        // SAFETY: `waker` lives until the end of this test.
        unsafe { Waker::wake_opaque(waker.as_opaque()) };
        assert!(sleeper.wait(Duration::ZERO));
        assert_eq!(Arc::strong_count(&waker.shared), 2);
    }
}
