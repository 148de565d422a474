//! The protocols between control thread and workers under `loom`: each test runs in every order that the threads'
//! accesses can take, with every value that the memory model lets a load see. `scripts/loom` runs them.

use super::*;
use crate::flow::DpPort;
use crate::sync::Doorbell;
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

const ALL: Allowance = Allowance { commands: 64, cost: 64 };

/// Runs until the worker has carried out `count` commands, as [`super::super::workers`] waits.
fn synchronize<T>(commands: &CommandRing<T>, count: u64) {
    while commands.done() < count {
        thread::yield_now();
    }
}

#[test]
fn loom_who_sees_a_command_acknowledged_sees_all_that_was_counted_before() {
    loom::model(|| {
        let commands = Arc::new(CommandRing::<()>::new(2));
        let counter = Arc::new(AtomicU64::new(0));
        let worker = {
            let (commands, counter) = (Arc::clone(&commands), Arc::clone(&counter));
            thread::spawn(move || {
                // A megaflow counts a packet, is removed, and counts no more: two turns' worth.
                bump(&counter, 1);
                while commands.done() < 1 {
                    commands.carry_out(&mut None, ALL, |(), _| {
                        bump(&counter, 1);
                        None
                    });
                    thread::yield_now();
                }
            })
        };
        commands.push(()).expect("there is room");
        synchronize(&commands, 1);
        assert_eq!(counter.load(Ordering::Relaxed), 2, "the last word on a megaflow is not its last");
        worker.join().expect("the worker ends");
    });
}

/// A receive queue whose bursts touch what two threads must not touch at once: `loom` finds it if they could.
#[derive(Debug)]
struct RxQueue(Arc<UnsafeCell<()>>);

impl RxQueue {
    fn burst(&mut self) {
        // `loom` ends the run here if another thread may be in there, or was and has not said so.
        self.0.with_mut(|_| ());
    }
}

#[derive(Debug)]
enum Command {
    TakeOver(QueueName, Arc<UnsafeCell<()>>),
    Release(QueueName),
}

/// What lies between the control thread and a worker, as far as queues are concerned.
struct Side {
    commands: CommandRing<Command>,
    returned: ArrayQueue<RxQueue>,
}

impl Side {
    fn new() -> Arc<Side> {
        Arc::new(Side { commands: CommandRing::new(1), returned: ArrayQueue::new(1) })
    }

    /// A worker's turns up to the one in which it carries a command out: commands, then a burst of each queue.
    fn run(&self, mut queues: Queues<RxQueue>) {
        loop {
            self.commands.carry_out(&mut None, ALL, |command, _| {
                match command {
                    Command::TakeOver(name, device) => queues.take_over(name, RxQueue(device)),
                    Command::Release(name) => {
                        let queue = queues.release(name).expect("it has the queue");
                        self.returned.push(queue).expect("there is room");
                    }
                }
                None
            });
            for index in 0..queues.len() {
                queues.get_mut(index).queue.burst();
            }
            if self.commands.done() > 0 {
                return;
            }
            thread::yield_now();
        }
    }
}

#[test]
fn loom_a_queue_that_moves_is_never_in_two_hands() {
    let mut model = loom::model::Builder::new();
    // Three threads: with more switches at any place than this there would be too many orders.
    model.preemption_bound = Some(3);
    model.check(|| {
        let name = QueueName { port: DpPort(1), index: 0 };
        let device = Arc::new(UnsafeCell::new(()));
        let (old, new) = (Side::new(), Side::new());
        let mut queues = Queues::with_capacity(1);
        queues.take_over(name, RxQueue(Arc::clone(&device)));
        let old_worker = {
            let old = Arc::clone(&old);
            thread::spawn(move || old.run(queues))
        };
        let new_worker = {
            let new = Arc::clone(&new);
            thread::spawn(move || new.run(Queues::with_capacity(1)))
        };
        old.commands.push(Command::Release(name)).expect("there is room");
        synchronize(&old.commands, 1);
        let queue = old.returned.pop().expect("what is acknowledged has come back");
        new.commands.push(Command::TakeOver(name, queue.0)).expect("there is room");
        old_worker.join().expect("the worker ends");
        new_worker.join().expect("the worker ends");
        // Both are gone: the device is the control thread's again.
        RxQueue(device).burst();
    });
}

#[test]
fn loom_a_sleeper_is_woken_for_everything_that_it_did_not_see() {
    loom::model(|| {
        let ring = Arc::new(ArrayQueue::new(2));
        // The kernel's eventfd: a count, and who waits for it.
        let event = Arc::new((Mutex::new(0), Condvar::new()));
        let doorbell = {
            let event = Arc::clone(&event);
            Arc::new(Doorbell::new(move || {
                *event.0.lock().expect("no thread panics with it") += 1;
                event.1.notify_one();
            }))
        };
        let worker = {
            let (ring, doorbell) = (Arc::clone(&ring), Arc::clone(&doorbell));
            thread::spawn(move || {
                ring.push(()).expect("there is room");
                doorbell.ring();
            })
        };
        while ring.pop().is_none() {
            doorbell.about_to_sleep();
            if ring.is_empty() {
                // If the worker's ring could be missed here, nobody would ever wake this thread: `loom` says so.
                let mut count = event.0.lock().expect("no thread panics with it");
                while *count == 0 {
                    count = event.1.wait(count).expect("no thread panics with it");
                }
                *count = 0;
            }
            doorbell.awake();
        }
        worker.join().expect("the worker ends");
    });
}

#[test]
fn loom_the_ring_never_holds_more_of_a_port_than_its_quota() {
    const QUOTA: u64 = 1;
    loom::model(|| {
        let quota = Arc::new(Quota::default());
        let ring = Arc::new(ArrayQueue::new(4));
        let worker = {
            let (quota, ring) = (Arc::clone(&quota), Arc::clone(&ring));
            thread::spawn(move || {
                let mut lost = 0;
                for _ in 0..3 {
                    if quota.waiting() + 1 > QUOTA {
                        lost += 1;
                    } else {
                        ring.push(()).expect("there is room");
                        quota.put(1);
                    }
                }
                lost
            })
        };
        let mut taken = 0;
        for _ in 0..2 {
            assert!(ring.len() as u64 <= QUOTA, "more wait than may");
            if ring.pop().is_some() {
                taken += 1;
                quota.took(1);
            }
        }
        let lost = worker.join().expect("the worker ends");
        while ring.pop().is_some() {
            taken += 1;
            quota.took(1);
        }
        assert_eq!((taken + lost, quota.waiting()), (3, 0));
    });
}
