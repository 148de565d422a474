//! What threads share memory with, so that the same code runs for real and under `loom`.
//!
//! In an ordinary build these are the standard library's atomics and `crossbeam`'s ring. Built with `--cfg loom` they
//! are those of the `loom` checker, which runs a test once for each order that the threads' accesses could take, and
//! for each value that the memory model lets a load see. The doorbell, the command ring with its acknowledgement,
//! the quota of upcalls and the handing over of receive queues use nothing else, and are checked so: see
//! `scripts/loom`.
//!
//! Under `loom` the ring is a plain one of ours, for one producer and one consumer, which is how the switch uses it.
//! It orders no more than the real one promises: what was done before a push is seen by whoever pops that element.
//! `len` and `is_empty` order nothing.
//!
//! What it leaves out: threads, locks and clocks of the rest of the switch, which `loom` never runs.

#[cfg(not(loom))]
pub use crossbeam_queue::ArrayQueue;
#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering, fence};

#[cfg(loom)]
pub use checked::ArrayQueue;
#[cfg(loom)]
pub use loom::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering, fence};

#[cfg(loom)]
mod checked {
    use loom::sync::Mutex;
    use loom::sync::atomic::{AtomicUsize, Ordering};

    /// A ring for one producer and one consumer, with the real one's interface as far as it is used.
    #[derive(Debug)]
    pub struct ArrayQueue<T> {
        slots: Vec<Mutex<Option<T>>>,
        head: AtomicUsize,
        tail: AtomicUsize,
    }

    impl<T> ArrayQueue<T> {
        /// An empty ring for `capacity` elements.
        pub fn new(capacity: usize) -> ArrayQueue<T> {
            ArrayQueue {
                slots: (0..capacity).map(|_| Mutex::new(None)).collect(),
                head: AtomicUsize::new(0),
                tail: AtomicUsize::new(0),
            }
        }

        fn slot(&self, at: usize) -> &Mutex<Option<T>> {
            &self.slots[at % self.slots.len()]
        }

        /// The producer: appends an element.
        ///
        /// # Errors
        /// The element, if the ring is full.
        pub fn push(&self, element: T) -> Result<(), T> {
            let tail = self.tail.load(Ordering::Relaxed);
            // Pairs with the release in `pop`.
            if tail - self.head.load(Ordering::Acquire) == self.slots.len() {
                return Err(element);
            }
            *self.slot(tail).lock().expect("no thread panics with a slot") = Some(element);
            self.tail.store(tail + 1, Ordering::Release);
            Ok(())
        }

        /// The consumer: takes the oldest element.
        pub fn pop(&self) -> Option<T> {
            let head = self.head.load(Ordering::Relaxed);
            // Pairs with the release in `push`.
            if self.tail.load(Ordering::Acquire) == head {
                return None;
            }
            let element = self.slot(head).lock().expect("no thread panics with a slot").take();
            self.head.store(head + 1, Ordering::Release);
            element
        }

        /// Elements in it, as far as the caller can tell.
        pub fn len(&self) -> usize {
            self.tail.load(Ordering::Relaxed).saturating_sub(self.head.load(Ordering::Relaxed))
        }

        /// Whether there is none, as far as the caller can tell.
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        /// Whether there is no room, as far as the caller can tell.
        pub fn is_full(&self) -> bool {
            self.len() == self.slots.len()
        }
    }
}
