//! A doorbell: wakes a thread that waits in its event loop, and costs nothing while it does not.

use super::primitive::{AtomicBool, Ordering, fence};
use std::fmt;

/// Shared by the thread that sleeps and those that may have something for it.
///
/// The sleeper calls [`Doorbell::about_to_sleep`], then looks once more at what it waits for, then sleeps.
/// Others put something there and then call [`Doorbell::ring`]. Either the sleeper's last look sees it, or the
/// ringer sees `asleep`: the two sequentially consistent fences exclude that both miss.
pub struct Doorbell {
    /// Set by the sleeper, cleared by whoever wakes it.
    asleep: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Doorbell {
    /// A doorbell that wakes by calling `wake`: an eventfd's write, in production.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Doorbell {
        Doorbell { asleep: AtomicBool::new(false), wake: Box::new(wake) }
    }

    /// Sleeper: from here on a ring makes its system call. Look once more before sleeping.
    pub fn about_to_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        // Pairs with the fence in `ring`.
        fence(Ordering::SeqCst);
    }

    /// Sleeper: awake again; rings are free.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// Others: there is something. A system call only if the sleeper sleeps and nobody has rung yet.
    #[inline]
    pub fn ring(&self) {
        // Pairs with the fence in `about_to_sleep`.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed) {
            (self.wake)();
        }
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell").field("asleep", &self.asleep).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn only_a_sleeper_is_woken_and_only_once() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&wakes);
        let doorbell = Doorbell::new(move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        doorbell.ring();
        assert_eq!(wakes.load(Ordering::Relaxed), 0);
        doorbell.about_to_sleep();
        doorbell.ring();
        doorbell.ring();
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        doorbell.about_to_sleep();
        doorbell.awake();
        doorbell.ring();
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
    }
}
