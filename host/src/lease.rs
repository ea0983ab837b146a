//! Whether the outputs of a pipeline may go out.
//!
//! A process can stand still: it is paused, its virtual machine is moved, its memory is swapped. After the session time-out
//! the group gives its partitions to others, and the process, once it goes on in the middle of what it did, knows
//! nothing of that. So its consumer thread holds a lease of that length and renews it at each turn, as long as
//! the assignment is beyond doubt; and workers look at the lease before they publish. One that ran out makes them
//! wait, until the group has confirmed the assignment or taken it away.
//!
//! The clock is the one that goes on while a process is stopped. Looking costs reading it and one word.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::cancel::Cancel;

/// A lease that one thread renews and any thread looks at.
#[derive(Debug)]
pub struct Lease {
    base: Instant,
    length: Duration,
    /// When it runs out, in nanoseconds after `base`.
    until: AtomicU64,
    renewed: Notify,
}

impl Lease {
    /// Holds for `length` from now on.
    pub fn new(length: Duration) -> Self {
        let lease = Lease { base: Instant::now(), length, until: AtomicU64::new(0), renewed: Notify::new() };
        lease.renew(lease.base);
        lease
    }

    /// How long it holds after each renewal.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Holds for its length from `known` on, and whoever waits for it goes on. `known` is when the assignment was
    /// last beyond doubt: the process may have stood still since.
    pub fn renew(&self, known: Instant) {
        let until = nanos(known.saturating_duration_since(self.base).saturating_add(self.length));
        // Release pairs with the load: who goes on sees what was known when it was renewed.
        let before = self.until.swap(until, Ordering::Release);
        // Read after the exchange: whoever saw the old one run out before is told.
        if before <= nanos(self.base.elapsed()) {
            self.renewed.notify_waiters();
        }
    }

    /// False once it ran out.
    pub fn holds(&self) -> bool {
        nanos(self.base.elapsed()) < self.until.load(Ordering::Acquire)
    }

    /// Returns once it holds, true; or once `cancel` is set, false.
    pub async fn wait(&self, cancel: &Cancel) -> bool {
        loop {
            let mut renewed = pin!(self.renewed.notified());
            // Enlisting before looking leaves no gap for a renewal to be lost in.
            renewed.as_mut().enable();
            if cancel.is_cancelled() {
                return false;
            }
            if self.holds() {
                return true;
            }
            tokio::select! {
                () = renewed => {}
                () = cancel.cancelled() => {}
            }
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    fn expired() -> Lease {
        Lease::new(Duration::ZERO)
    }

    #[test]
    fn it_holds_for_its_length_and_then_no_more() {
        assert!(Lease::new(LONG).holds());
        assert!(Lease::new(Duration::MAX).holds());
        assert!(!expired().holds());
    }

    #[test]
    fn a_renewal_after_a_standstill_does_not_hold_for_longer_than_what_was_known() {
        let lease = Lease::new(Duration::from_millis(1));
        let known = Instant::now();
        while known.elapsed() < Duration::from_millis(1) {
            std::thread::yield_now();
        }
        lease.renew(known);
        assert!(!lease.holds());
    }

    #[test]
    fn waiting_for_one_that_holds_takes_no_time() {
        assert_eq!(Lease::new(LONG).wait(&Cancel::new()).now_or_never(), Some(true));
        assert_eq!(expired().wait(&Cancel::new()).now_or_never(), None);
    }

    #[test]
    fn a_call_whose_assignment_is_over_does_not_wait() {
        let cancel = Cancel::new();
        cancel.cancel();
        assert_eq!(expired().wait(&cancel).now_or_never(), Some(false));
        assert_eq!(Lease::new(LONG).wait(&cancel).now_or_never(), Some(false));
    }

    #[tokio::test]
    async fn whoever_waits_goes_on_when_it_is_renewed() {
        let lease = Arc::new(Lease { until: AtomicU64::new(0), ..Lease::new(LONG) });
        assert!(!lease.holds());
        let theirs = Arc::clone(&lease);
        let waiter = tokio::spawn(async move { theirs.wait(&Cancel::new()).await });
        tokio::task::yield_now().await;
        std::thread::spawn(move || lease.renew(Instant::now())).join().expect("renewing does not panic");
        assert!(waiter.await.expect("the waiter ends"));
    }

    #[tokio::test]
    async fn and_stops_waiting_when_its_assignment_ends() {
        let cancel = Arc::new(Cancel::new());
        let theirs = Arc::clone(&cancel);
        let waiter = tokio::spawn(async move { expired().wait(&theirs).await });
        tokio::task::yield_now().await;
        cancel.cancel();
        assert!(!waiter.await.expect("the waiter ends"));
    }
}
