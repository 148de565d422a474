//! What lies between the control thread and one worker: four rings, and the counters.
//!
//! ```text
//!   control --- commands ---> worker        install, remove, execute, ports, metering
//!   control <-- upcalls  ---- worker        packets that need a decision
//!   control <-- records  ---- worker        finished flow records
//!   control <-- garbage  ---- worker        memory to be freed where freeing is cheap
//! ```
//! All are bounded and lock-free. Commands are carried out in order and counted ([`super::exchange`]): whoever has
//! seen the count reach the number of a command knows that the command has taken effect, and sees all counters as
//! they were then. A receive queue that a worker is to let go of comes back by a fifth ring, `returned`, before the
//! command that asked for it is counted.

use super::actions::EXPORTER_COUNT_MAX;
use super::exchange::{CommandRing, QueueName, Quota};
use super::megaflow::{Megaflow, MegaflowCounters};
use super::meter::SharedMeter;
use super::metering::FlowCache;
use super::program::Program;
use super::shared_tx::{Shared, SharedTxQueue};
use super::tx::TxPort;
use crate::dpif::{DropReason, ExporterId, FlowRecord, MeterId, PORT_COUNT_MAX, PortStats, Upcall};
use crate::flow::{DpPort, FlowKey, FlowMask};
use crate::netdev::RxQueue;
use crate::packet::Packet;
use crate::sync::Doorbell;
use crate::sync::primitive::{ArrayQueue, AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

/// Commands that may wait for one worker. Beyond it they wait on the control thread's side.
pub(super) const COMMAND_RING_LEN: usize = 1024;

/// Receive queues that may be on their way back. The control thread asks for no more at a time.
pub(super) const RETURNED_RING_LEN: usize = 64;

/// Things to free that may wait: more than the commands of a full ring leave. The control thread takes them whenever it
/// hands a command on, so that a worker finds room whatever it is told. If not it frees them itself: slower, never wrong.
const GARBAGE_RING_LEN: usize = 5 * COMMAND_RING_LEN;

/// Flow records that may wait; records of a full ring stay open in their cache.
const RECORD_RING_LEN: usize = 8192;

/// Packets of one port that may wait in a worker's upcall ring of this length. Half of it: a port that sends
/// nothing but new flows leaves the other half to all others, and the ring's packets can't be more than a pool
/// has buffers.
pub fn upcall_quota(upcall_ring_len: usize) -> usize {
    upcall_ring_len / 2
}

/// Keys and packets on their way to be executed. Taken from the front, so that a worker may stop anywhere among them.
pub(super) type Packets = std::vec::IntoIter<(FlowKey, Packet)>;

/// What the control thread asks of a worker.
#[derive(Debug)]
pub(super) enum Command {
    /// Poll this queue from now on.
    AddRxQueue(QueueName, RxQueueEnd),
    /// Give this queue back by [`Link::returned`].
    ReleaseRxQueue(QueueName),
    /// Transmit to this port through this queue.
    AddTxQueue { port: DpPort, tx: Box<TxPort> },
    /// Put the port's transmit queue into `shared` and use it from there from now on, by `user`.
    ShareTxQueue { port: DpPort, shared: Arc<Shared>, user: Box<SharedTxQueue> },
    /// What is left of that: to give a queue back when packets of its port that were held have gone, no more than so many.
    /// The worker's own, never on the ring.
    ReturnRxQueue { port: DpPort, held_max: usize, queue: RxQueueEnd },
    /// Forget a port; its queues come back as garbage, and are put back to the device when that is freed.
    RemovePort(DpPort),
    /// Install a megaflow in an empty slot, then run it on the packets that waited for it.
    Install(Box<Install>),
    /// Run a megaflow that was just installed on more packets that waited for it: what is left of an install when the
    /// allowance of a turn ends. The worker's own, never on the ring.
    RunWaiting { slot: u32, packets: Packets },
    /// Give a megaflow another program, and counters for what that does.
    Modify { slot: u32, program: Arc<Program>, counters: Arc<MegaflowCounters> },
    /// Remove a megaflow.
    Remove { slot: u32 },
    /// Upcalls up to this one are dealt with: what was answered came before.
    NoteAnswered(u64),
    /// Run a program on packets.
    Execute { program: Arc<Program>, packets: Packets, is_made: bool },
    /// Finish the records of the exporters in `remove`, and meter for those in `add` from now on.
    SetMetering { remove: Vec<ExporterId>, add: Vec<FlowCache> },
    /// Hold packets that name this meter to it from now on, or to none.
    SetMeter { id: MeterId, meter: Option<Arc<SharedMeter>> },
}

/// A receive queue in a worker's hands, and what it counts there.
#[derive(Debug)]
pub(super) struct RxQueueEnd {
    pub(super) queue: Box<dyn RxQueue>,
    /// Packets that came by it. Written by the worker that has the queue, read by the control thread; relaxed, it
    /// stands for itself.
    pub(super) rx_packets: Arc<AtomicU64>,
}

/// See [`Command::Install`].
#[derive(Debug)]
pub(super) struct Install {
    pub(super) slot: u32,
    /// Taken out when it is installed, so that the box itself can go back to be freed.
    pub(super) megaflow: Option<Megaflow>,
    pub(super) mask: FlowMask,
    pub(super) packets: Packets,
}

/// Memory on its way back to the thread that allocated it. Never looked into.
#[derive(Debug)]
#[allow(dead_code, reason = "the content is only ever dropped")]
pub(super) enum Garbage {
    Install(Box<Install>),
    Packets(Packets),
    RxQueue(RxQueueEnd),
    TxPort(Box<TxPort>),
    SharedTxQueue(Box<SharedTxQueue>),
    Exporters(Vec<ExporterId>),
    Metering(Vec<FlowCache>),
    FlowCache(FlowCache),
    Meter(Arc<SharedMeter>),
}

/// The rings and counters of one worker. One side is the control thread's, the other the worker's.
#[derive(Debug)]
pub(super) struct Link {
    /// Control thread in, worker out.
    pub(super) commands: CommandRing<Command>,
    /// Set by the control thread, read by the worker, which then ends. Relaxed: what the worker is to have done
    /// before is told by commands, and what it leaves is seen by who waits for its thread.
    pub(super) stop: AtomicBool,
    /// Worker in, control thread out: queues that it was told to let go of.
    pub(super) returned: ArrayQueue<RxQueueEnd>,
    /// Worker in, control thread out.
    pub(super) upcalls: ArrayQueue<Upcall>,
    /// Worker in, control thread out.
    pub(super) records: ArrayQueue<FlowRecord>,
    /// Worker in, control thread out.
    pub(super) garbage: ArrayQueue<Garbage>,
    /// Wakes the control thread.
    pub(super) doorbell: Arc<Doorbell>,
    /// Written by the worker, read by the control thread.
    pub(super) counters: WorkerCounters,
    /// Likewise: what the worker counted on each port, by number, and last on no port ([`DpPort::NONE`]).
    pub(super) ports: Box<[PortCounters]>,
    /// Packets of one port that may be on the upcall ring.
    pub(super) upcall_quota: u64,
}

impl Link {
    pub(super) fn new(upcall_ring_len: usize, doorbell: Arc<Doorbell>) -> Link {
        Link {
            commands: CommandRing::new(COMMAND_RING_LEN),
            stop: AtomicBool::new(false),
            returned: ArrayQueue::new(RETURNED_RING_LEN),
            upcalls: ArrayQueue::new(upcall_ring_len),
            records: ArrayQueue::new(RECORD_RING_LEN),
            garbage: ArrayQueue::new(GARBAGE_RING_LEN),
            doorbell,
            counters: WorkerCounters::default(),
            upcall_quota: upcall_quota(upcall_ring_len) as u64,
            ports: (0..=PORT_COUNT_MAX).map(|_| PortCounters::default()).collect(),
        }
    }

    /// The worker's counters of a port; a number that no port can have counts as none.
    #[inline(always)]
    pub(super) fn port(&self, port: DpPort) -> &PortCounters {
        &self.ports[port.index().min(PORT_COUNT_MAX)]
    }

    /// The worker's side: has something freed by the control thread.
    pub(super) fn discard(&self, garbage: Garbage) {
        if let Err(garbage) = self.garbage.push(garbage) {
            bump(&self.counters.freed, 1);
            drop(garbage);
        }
    }

    /// The control thread's side: frees what the worker has no use for any more.
    pub(super) fn free_garbage(&self) {
        while self.garbage.pop().is_some() {}
    }
}

/// Adds to a counter whose only writer is the calling thread: a load and a store, no locked instruction.
#[inline(always)]
pub(super) fn bump(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

/// Receive bursts are counted by size in this many classes: 1, 2, 3-4, 5-8, 9-16, 17-31, 32.
pub(super) const BURST_CLASS_COUNT: usize = 7;

/// The size class of a burst that is not empty.
#[inline]
pub(super) fn burst_class(len: usize) -> usize {
    match len {
        0..=1 => 0,
        2 => 1,
        3..=4 => 2,
        5..=8 => 3,
        9..=16 => 4,
        17..=31 => 5,
        _ => 6,
    }
}

/// Records open for each exporter, by its number.
#[derive(Debug)]
pub(super) struct ExporterRecords(pub(super) [AtomicU64; EXPORTER_COUNT_MAX]);

impl Default for ExporterRecords {
    fn default() -> ExporterRecords {
        ExporterRecords(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// A worker's own counters; see [`crate::dpif::WorkerStats`] for what each means. The worker is the only
/// writer; relaxed, each stands for itself.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct WorkerCounters {
    pub(super) rx_packets: AtomicU64,
    pub(super) rx_bursts: [AtomicU64; BURST_CLASS_COUNT],
    pub(super) emc_hits: AtomicU64,
    pub(super) megaflow_hits: AtomicU64,
    pub(super) misses: AtomicU64,
    /// Packets that overtook others of their flow since there was no room to hold them back.
    pub(super) overtaking_packets: AtomicU64,
    pub(super) recirculations: AtomicU64,
    pub(super) megaflow_probes: AtomicU64,
    pub(super) upcalls: AtomicU64,
    pub(super) upcalls_lost: AtomicU64,
    pub(super) installs_failed: AtomicU64,
    pub(super) megaflows: AtomicU64,
    pub(super) megaflow_masks: AtomicU64,
    pub(super) emc_entries: AtomicU64,
    pub(super) metered_packets: AtomicU64,
    pub(super) unmetered_packets: AtomicU64,
    pub(super) metering_records: AtomicU64,
    /// The same by exporter.
    pub(super) exporter_records: ExporterRecords,
    /// Things that the worker had to free itself.
    pub(super) freed: AtomicU64,
    /// Longest time spent on commands in one turn, in nanoseconds.
    pub(super) commands_ns_max: AtomicU64,
    pub(super) busy_cycles: AtomicU64,
    pub(super) idle_cycles: AtomicU64,
}

/// What one worker counted on one port. The worker is the only writer; relaxed, each stands for itself.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct PortCounters {
    pub(super) rx_packets: AtomicU64,
    pub(super) rx_bytes: AtomicU64,
    pub(super) tx_packets: AtomicU64,
    pub(super) tx_bytes: AtomicU64,
    pub(super) consumed: AtomicU64,
    pub(super) copies: AtomicU64,
    pub(super) made: AtomicU64,
    pub(super) forwarded: AtomicU64,
    /// Packets of the port on the upcall ring.
    pub(super) upcall_quota: Quota,
    pub(super) drops: [AtomicU64; DropReason::COUNT],
}

impl PortCounters {
    #[inline]
    pub(super) fn count_drop(&self, reason: DropReason) {
        bump(&self.drops[reason.index()], 1);
    }

    pub(super) fn add_to(&self, sum: &mut PortStats) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        sum.rx_packets += read(&self.rx_packets);
        sum.rx_bytes += read(&self.rx_bytes);
        sum.tx_packets += read(&self.tx_packets);
        sum.tx_bytes += read(&self.tx_bytes);
        sum.consumed += read(&self.consumed);
        sum.copies += read(&self.copies);
        sum.made += read(&self.made);
        sum.forwarded += read(&self.forwarded);
        for (sum, drops) in sum.drops.iter_mut().zip(&self.drops) {
            *sum += read(drops);
        }
    }
}
