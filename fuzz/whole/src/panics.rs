//! Panics of the host's own threads, which their runtime would swallow.

use std::panic;
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

static SEEN: AtomicU64 = AtomicU64::new(0);

/// Counts from the first call on how often a thread of this name panicked.
pub fn of_thread(name: &'static str) -> u64 {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if thread::current().name() == Some(name) {
                SEEN.fetch_add(1, Ordering::Relaxed);
            }
            before(info);
        }));
    });
    SEEN.load(Ordering::Relaxed)
}
