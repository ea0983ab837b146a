//! A queue that many threads fill and one empties, all at once.
//!
//! The consumer thread takes everything in one exchange, so the lock is held for a push or a swap and never
//! while anything is done. Filling wakes the owner.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The queue.
pub struct Inbox<T> {
    items: Mutex<Vec<T>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl<T> Inbox<T> {
    /// An empty queue; `wake` is called when something arrives where there was nothing.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Inbox { items: Mutex::new(Vec::new()), wake: Box::new(wake) }
    }

    /// Adds an item.
    pub fn push(&self, item: T) {
        let was_empty = {
            let mut items = self.lock();
            items.push(item);
            items.len() == 1
        };
        if was_empty {
            (self.wake)();
        }
    }

    /// Adds all items, in one go, and leaves `items` empty with its memory.
    pub fn append(&self, items: &mut Vec<T>) {
        let was_empty = {
            let mut held = self.lock();
            let was_empty = held.is_empty() && !items.is_empty();
            held.append(items);
            was_empty
        };
        if was_empty {
            (self.wake)();
        }
    }

    /// Moves everything into `into`, which has to be empty: the two exchange their memory.
    pub fn take_all(&self, into: &mut Vec<T>) {
        debug_assert!(into.is_empty(), "what is in there would be lost behind new items");
        std::mem::swap(&mut *self.lock(), into);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        // A push or a swap cannot leave the vector half done, so a panic elsewhere does not spoil it.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("len", &self.lock().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn wakes_once_for_what_is_taken_at_once() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let inbox = Inbox::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        inbox.push(1);
        inbox.push(2);
        inbox.append(&mut vec![3, 4]);
        inbox.append(&mut Vec::new());
        let mut items = Vec::new();
        inbox.take_all(&mut items);
        assert_eq!(items, [1, 2, 3, 4]);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        inbox.push(9);
        assert_eq!(calls.load(Ordering::Relaxed), 2, "an emptied inbox wakes again");
    }
}
