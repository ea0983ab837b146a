//! Cancelling a call from another thread.
//!
//! The consumer thread makes one [`Cancel`] for each assignment and hands it out with every piece of work; on
//! revoke it calls [`Cancel::cancel`], after which it waits for the reports. A worker looks at the flag at
//! every tick of the epoch while the guest computes, and is woken by it while the guest waits on the host.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// A flag that is set once and wakes whoever waits for it.
#[derive(Debug, Default)]
pub struct Cancel {
    cancelled: AtomicBool,
    wake: Notify,
}

impl Cancel {
    /// Not cancelled.
    pub fn new() -> Self {
        Cancel::default()
    }

    /// Sets the flag and wakes all who wait. Calling it again does nothing.
    pub fn cancel(&self) {
        // Release pairs with the load: who sees the flag sees what was written before it.
        self.cancelled.store(true, Ordering::Release);
        self.wake.notify_waiters();
    }

    /// True once [`cancel`](Cancel::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Resolves once [`cancel`](Cancel::cancel) was called, at once if that was before.
    pub async fn cancelled(&self) {
        let mut woken = std::pin::pin!(self.wake.notified());
        // Enlisting before looking at the flag leaves no gap for a wake-up to be lost in.
        woken.as_mut().enable();
        if !self.is_cancelled() {
            woken.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_new_flag_is_not_set() {
        let cancel = Cancel::new();
        assert!(!cancel.is_cancelled());
        assert!(cancel.cancelled().now_or_never().is_none());
    }

    #[test]
    fn waiting_for_what_already_happened_takes_no_time() {
        let cancel = Cancel::new();
        cancel.cancel();
        cancel.cancel();
        assert!(cancel.is_cancelled());
        assert!(cancel.cancelled().now_or_never().is_some());
    }

    #[tokio::test]
    async fn everyone_who_waits_is_woken() {
        let cancel = Arc::new(Cancel::new());
        let mut waiters = Vec::new();
        for _ in 0..3 {
            let cancel = Arc::clone(&cancel);
            waiters.push(tokio::spawn(async move { cancel.cancelled().await }));
        }
        tokio::task::yield_now().await;
        let from_elsewhere = Arc::clone(&cancel);
        std::thread::spawn(move || from_elsewhere.cancel()).join().expect("cancelling does not panic");
        for waiter in waiters {
            waiter.await.expect("the waiter ends");
        }
    }
}
