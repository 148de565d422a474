//! The datapath's contract: ports, megaflows, actions, upcalls, execution, metering.
//!
//! `ofproto` decides what happens to packets; a datapath does it, fast. Between them stands [`Dpif`], in the
//! words of Open vSwitch's `dpif`: the datapath receives packets on its ports, looks for a *megaflow* that
//! agrees with the packet's key on the megaflow's mask, and carries out that megaflow's [`Action`]s; a packet
//! that no megaflow covers becomes an [`Upcall`]. Two implementations stand: [`crate::datapath`], the real one
//! with its workers and caches, and [`model`], a linear search in one thread that is easy to believe and serves
//! as the oracle.
//!
//! # Threads
//! Every method of [`Dpif`] is called from the control thread. Nothing here waits for a worker except
//! [`Dpif::synchronize`], [`Dpif::port_del`], [`Dpif::set_workers`] and [`Dpif::set_rx_affinity`], which say so.
//!
//! # Non-overlap
//! Whoever installs megaflows keeps this promise: if two installed megaflows of one worker both cover some
//! packet, they have the same actions. So the first match is the match, and there are no priorities.

pub mod actions;
pub mod drop_reason;
pub mod format;
pub mod meter;
pub mod metering;
pub mod model;
pub mod placement;

pub use actions::{
    ACTION_DEPTH_MAX, Action, Actions, ControllerReason, RECIRCULATION_COUNT_MAX, RECIRCULATION_DEPTH_MAX,
    SlowPathReason, UserspaceCookie, action_count, is_nested_within_bounds,
};
pub use drop_reason::DropReason;
pub use meter::{
    METER_BANDS_MAX, METER_COUNT_MAX, Meter, MeterBand, MeterBandAction, MeterConfig, MeterCount, MeterId,
    MeterStats, MeterUnit, MeterVerdict,
};
pub use metering::{ExporterId, FlowEndReason, FlowRecord, MeteringConfig, ObservationDirection};
pub use placement::{PlacementReason, PlacementRules};

use crate::flow::{DpPort, FlowKey, FlowMask};
use crate::netdev::{Netdev, NetdevError};
use crate::packet::{BURST_LEN_MAX, Packet};
use crate::sync::Nanos;
use arrayvec::ArrayVec;
use std::collections::BTreeMap;
use std::fmt;

/// Packets that share one upcall: those of a burst that missed with one and the same key. Eight keep a ring
/// slot within four cache lines; a longer run of them takes another slot.
pub const UPCALL_PACKETS_MAX: usize = 8;

/// Upcalls that a worker lets wait for the end of a burst: each of its packets once as a miss, and once more by a
/// `userspace` action. When more come, those that wait are sent first.
pub const UPCALLS_WAITING_MAX: usize = 2 * BURST_LEN_MAX;

/// Ports that one datapath can have. Counters and transmit buffers of a worker are arrays of this length.
pub const PORT_COUNT_MAX: usize = 1024;

/// Workers that one datapath can have.
pub const WORKER_COUNT_MAX: usize = 64;

/// A poll-mode worker. A new one gets the lowest number that is free, so numbers stay small whatever comes and goes;
/// while workers are changed, those that go keep theirs until they are gone.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WorkerId(pub u16);

/// An installed megaflow; never used again for another while the switch runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct MegaflowId(pub u64);

/// A packet that the datapath hands to the control thread.
#[derive(Debug)]
pub struct Upcall {
    /// The worker that met it, and that any answer goes to. Packets that are handed up keep their order among
    /// themselves; later packets of their flow that find a megaflow which has come meanwhile wait for them, until what
    /// was taken is dealt with ([`Dpif::recv_upcalls`]).
    pub worker: WorkerId,
    /// Why.
    pub kind: UpcallKind,
    /// The packets' key: what they say as they are, the pass that they are on, and the mark and hash that travel with
    /// them.
    pub key: FlowKey,
    /// The packets, in the order they arrived; at least one. For [`UpcallKind::Userspace`], as the actions
    /// before had left them.
    pub packets: ArrayVec<Packet, UPCALL_PACKETS_MAX>,
}

/// Why a packet was handed up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UpcallKind {
    /// No megaflow covers it.
    Miss,
    /// A `userspace` action said so; the cookie tells what for.
    Userspace(UserspaceCookie),
}

/// A megaflow to install.
#[derive(Debug)]
pub struct FlowPut {
    /// On which worker.
    pub worker: WorkerId,
    /// The whole key of a packet that it covers: the datapath may match more of it than `mask` asks for.
    pub key: FlowKey,
    /// The bits that its packets must agree on. Word 0 must be matched in full.
    pub mask: FlowMask,
    /// What to do with its packets.
    pub actions: Actions,
    /// Packets that wait for it: carried out by the worker right after the install, in order, counted in its
    /// statistics.
    pub packets: Vec<(FlowKey, Packet)>,
}

/// Packets to carry actions out on, without a megaflow: packet-outs, and packets whose flow is not to be
/// cached.
#[derive(Debug)]
pub struct Execute {
    /// By which worker.
    pub worker: WorkerId,
    /// The packets and their keys.
    pub packets: Vec<(FlowKey, Packet)>,
    /// What to do with them.
    pub actions: Actions,
    /// Whether the switch made them, as a controller asked: they count under [`PortStats::made`]. The others were
    /// received, or made, before, and come back.
    pub is_made: bool,
}

/// A megaflow's counters.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MegaflowStats {
    /// Packets it was applied to.
    pub packets: u64,
    /// Bytes in them, from the first of the Ethernet header as received.
    pub bytes: u64,
    /// When it was last applied; when it was installed, if never.
    pub last_used: Nanos,
    /// All TCP flags seen, or-ed.
    pub tcp_flags: u16,
}

/// A megaflow that has left its worker, or what it was before its actions changed: its counters move no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetiredMegaflow {
    /// Which.
    pub id: MegaflowId,
    /// Its last word.
    pub stats: MegaflowStats,
}

/// A megaflow that the datapath has installed once more, for a worker that took over a receive queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CopiedMegaflow {
    /// The copy.
    pub id: MegaflowId,
    /// Where it is.
    pub worker: WorkerId,
    /// What it is a copy of.
    pub of: MegaflowId,
}

/// What an installed megaflow is, for dumps.
#[derive(Clone, Debug)]
pub struct MegaflowInfo {
    /// Which.
    pub id: MegaflowId,
    /// Where.
    pub worker: WorkerId,
    /// Key, cleared outside the mask.
    pub key: FlowKey,
    /// Mask.
    pub mask: FlowMask,
    /// Actions.
    pub actions: Actions,
    /// Counters at the time of the dump, since it was installed.
    pub stats: MegaflowStats,
}

impl MegaflowStats {
    /// With what was counted later.
    pub fn and(self, later: MegaflowStats) -> MegaflowStats {
        MegaflowStats {
            packets: self.packets + later.packets,
            bytes: self.bytes + later.bytes,
            last_used: self.last_used.max(later.last_used),
            tcp_flags: self.tcp_flags | later.tcp_flags,
        }
    }
}

impl Upcall {
    /// Whether its packets come back to the datapath to be carried out. Those that do not count as consumed from the
    /// moment that they are handed up.
    pub fn comes_back(&self) -> bool {
        matches!(self.kind, UpcallKind::Miss | UpcallKind::Userspace(UserspaceCookie::SlowPath(_)))
    }
}

/// A port that is gone.
#[derive(Debug)]
pub struct RemovedPort {
    /// The last it counted. Packets that waited for the control thread are among its drops.
    pub stats: PortStats,
    /// What closing its device said.
    pub closed: Result<(), NetdevError>,
}

/// What the datapath counted on one port, over all workers.
///
/// # Accounts
/// Once nothing is on its way, no packet is missing: of every port by itself, and of packets of no port,
/// [`PortStats::came`] is [`PortStats::went`]; and over all ports, those that are gone among them, what was forwarded
/// is what was transmitted or died at the output ([`PortStats::left`]).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct PortStats {
    /// Packets received from it.
    pub rx_packets: u64,
    /// Bytes in them.
    pub rx_bytes: u64,
    /// Packets that its device took for transmission.
    pub tx_packets: u64,
    /// Bytes in them.
    pub tx_bytes: u64,
    /// Packets that were received from it, and handed to the control thread for good.
    pub consumed: u64,
    /// Copies made of packets received from it or made for it, beyond the first output.
    pub copies: u64,
    /// Packets that the switch itself made ([`Execute::is_made`]), as if they had been received from it.
    pub made: u64,
    /// Packets received from it, made for it, or copied of these, that were given to a port to be sent. What becomes of
    /// them there counts on that port.
    pub forwarded: u64,
    /// Packets that died, by [`DropReason::index`]: on the port they came in by, except those that died at the
    /// output ([`DropReason::is_output`]), which count on the port they were to leave by.
    pub drops: [u64; DropReason::COUNT],
}

impl PortStats {
    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &PortStats) -> PortStats {
        self.with(other, u64::saturating_add)
    }

    /// What is left of it without another, which is part of it.
    #[must_use]
    pub fn minus(&self, part: &PortStats) -> PortStats {
        self.with(part, u64::saturating_sub)
    }

    fn with(&self, other: &PortStats, join: fn(u64, u64) -> u64) -> PortStats {
        let PortStats {
            rx_packets,
            rx_bytes,
            tx_packets,
            tx_bytes,
            consumed,
            copies,
            made,
            forwarded,
            drops,
        } = self;
        PortStats {
            rx_packets: join(*rx_packets, other.rx_packets),
            rx_bytes: join(*rx_bytes, other.rx_bytes),
            tx_packets: join(*tx_packets, other.tx_packets),
            tx_bytes: join(*tx_bytes, other.tx_bytes),
            consumed: join(*consumed, other.consumed),
            copies: join(*copies, other.copies),
            made: join(*made, other.made),
            forwarded: join(*forwarded, other.forwarded),
            drops: std::array::from_fn(|reason| join(drops[reason], other.drops[reason])),
        }
    }

    /// Packets to account for: received, made, and copied of these.
    pub fn came(&self) -> u64 {
        self.rx_packets + self.made + self.copies
    }

    /// What became of those: forwarded, handed to the control thread for good, or dead before they were given to a port.
    /// As many as [`PortStats::came`], but for those that are on their way.
    pub fn went(&self) -> u64 {
        self.forwarded + self.consumed + self.dropped(false)
    }

    /// Packets that this port was given to be sent and that are so no longer: transmitted, or dead at the output. Over
    /// all ports together as many as [`PortStats::forwarded`], but for those that wait to be sent.
    pub fn left(&self) -> u64 {
        self.tx_packets + self.dropped(true)
    }

    fn dropped(&self, is_output: bool) -> u64 {
        let reasons = DropReason::ALL.into_iter().filter(|reason| reason.is_output() == is_output);
        reasons.map(|reason| self.drops[reason.index()]).sum()
    }
}

/// A worker's counters since it started.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WorkerStats {
    /// Which.
    pub worker: WorkerId,
    /// Core it is pinned to; none in simulation.
    pub core: Option<u16>,
    /// Packets received.
    pub rx_packets: u64,
    /// Receive bursts that were not empty, by size: 1, 2, 3-4, 5-8, 9-16, 17-31, 32.
    pub rx_bursts: [u64; 7],
    /// Packets found in the exact-match cache.
    pub emc_hits: u64,
    /// Packets found in the megaflow classifier.
    pub megaflow_hits: u64,
    /// Packets that no megaflow covered.
    pub misses: u64,
    /// Packets that overtook others of their flow, which waited for their translation, since no more could be held back.
    pub overtaking_packets: u64,
    /// Times that a packet was looked up again: every look-up is of a packet received or of one of these.
    pub recirculations: u64,
    /// Mask classes probed by the classifier, over all its look-ups.
    pub megaflow_probes: u64,
    /// Upcall messages put on the ring.
    pub upcalls: u64,
    /// Packets that died because the upcall ring was full.
    pub upcalls_lost: u64,
    /// Megaflows installed now.
    pub megaflows: u64,
    /// Mask classes of those.
    pub megaflow_masks: u64,
    /// Megaflows that found no room in the classifier's table: their packets go on missing.
    pub installs_failed: u64,
    /// Exact-match entries that have been used: those of megaflows that are gone stay until others take them.
    pub emc_entries: u64,
    /// Packets metered.
    pub metered_packets: u64,
    /// Packets that no record could count: the cache was full and its records could not leave.
    pub unmetered_packets: u64,
    /// Metering flow records in the cache.
    pub metering_records: u64,
    /// The same by exporter, at the place of its number.
    pub exporter_records: Vec<u64>,
    /// Cycles of the time stamp counter spent in turns that found work.
    pub busy_cycles: u64,
    /// Cycles spent in turns that found none, asleep or not.
    pub idle_cycles: u64,
    /// Longest time that it spent in one turn on what the control thread asked of it, sending included.
    pub commands_time_max: Nanos,
    /// Receive queues that it polls.
    pub rx_queues: Vec<RxQueueStats>,
}

/// A receive queue in a worker's hands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RxQueueStats {
    /// Its port.
    pub port: DpPort,
    /// Its number in the port.
    pub queue: u16,
    /// Why this worker polls it.
    pub reason: PlacementReason,
    /// The core that it is pinned to, whether or not a worker is there.
    pub pinned_core: Option<u16>,
    /// Packets that came by it, whoever polled it.
    pub rx_packets: u64,
}

/// Why the datapath could not do what it was asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DpifError {
    /// All port numbers are taken.
    #[error("the datapath has {PORT_COUNT_MAX} ports and can have no more")]
    TooManyPorts,
    /// There is no such port.
    #[error("the datapath has no port {0}")]
    NoSuchPort(DpPort),
    /// A meter number that the datapath can't have.
    #[error("the datapath has meters 0 to {}, not {}", METER_COUNT_MAX - 1, .0.0)]
    NoSuchMeter(MeterId),
    /// The device said no.
    #[error(transparent)]
    Netdev(#[from] NetdevError),
    /// There is no such megaflow: it may just have been removed.
    #[error("the datapath has no megaflow {}", .0.0)]
    NoSuchMegaflow(MegaflowId),
    /// Every place for a megaflow is taken.
    #[error("worker {} has {limit} megaflows and can have no more", .worker.0)]
    TooManyMegaflows {
        /// On which worker.
        worker: WorkerId,
        /// How many it can have.
        limit: usize,
    },
    /// There is no such worker: it may just have been removed.
    #[error("the datapath has no worker {}", .0.0)]
    NoSuchWorker(WorkerId),
    /// A number of workers that it can't have.
    #[error("the datapath can't have {count} workers: 1 to {WORKER_COUNT_MAX}")]
    WorkerCount {
        /// How many were asked for.
        count: usize,
    },
    /// A worker's thread could not be started.
    #[error("cannot start worker {} on core {core:?}: {reason}", .worker.0)]
    WorkerNotStarted {
        /// The number that it was to have.
        worker: WorkerId,
        /// Where it was to run.
        core: Option<u16>,
        /// What went wrong and what to do.
        reason: String,
    },
}

/// How far a worker is with its commands, which it carries out in order.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CommandProgress {
    /// The number of the command that it was given last; they count from 1 on.
    pub given: u64,
    /// The number of that which it has carried out last.
    pub done: u64,
}

/// A datapath, as the control thread sees it. See the module for the rules.
pub trait Dpif: fmt::Debug {
    /// Adds a started device and begins to poll it. The number is the lowest free one.
    ///
    /// # Errors
    /// [`DpifError::TooManyPorts`], or what the device says when its queues are taken.
    fn port_add(&mut self, netdev: Box<dyn Netdev>) -> Result<DpPort, DpifError>;

    /// Removes a port: when this returns no worker touches it, packets on their way to it are counted under
    /// [`DropReason::PortGone`], as are those from it that wait for the control thread, and its device is closed.
    /// Waits for workers as [`Dpif::synchronize`] does.
    ///
    /// # Errors
    /// [`DpifError::NoSuchPort`].
    fn port_del(&mut self, port: DpPort) -> Result<RemovedPort, DpifError>;

    /// Copies that were made of megaflows since it was last asked, as megaflows of their own, each after what it is a
    /// copy of. There may be some after every call that may move receive queues: those of ports, of workers, of where
    /// queues are to be, and [`Dpif::run`]. A queue moves when its new worker has what its old one has for the port,
    /// as far as there is room: so a move costs no flow that is cached a miss.
    fn recv_copied(&mut self) -> Vec<CopiedMegaflow>;

    /// The device of a port.
    fn port(&self, port: DpPort) -> Option<&dyn Netdev>;

    /// The device of a port, to change: to switch it off, for one.
    fn port_mut(&mut self, port: DpPort) -> Option<&mut dyn Netdev>;

    /// The ports there are, in order.
    fn ports(&self) -> Vec<DpPort>;

    /// What was counted on a port.
    fn port_stats(&self, port: DpPort) -> Option<PortStats>;

    /// What was counted on ports that are gone, all together.
    fn removed_port_stats(&self) -> PortStats;

    /// What was counted of packets that came from no port ([`DpPort::NONE`]): some of those that controllers have the
    /// switch make.
    fn no_port_stats(&self) -> PortStats;

    /// Makes the workers those of `cores`, one for each element, pinned where it names a core. A worker whose core is
    /// asked for again stays as it is; where no core is named, so do the lowest numbers. When this returns:
    ///
    /// - every receive queue is polled by a worker that stays or has come, placed by [`placement`];
    /// - of a worker that is gone everything is done: commands are carried out and packets sent, upcalls that it
    ///   sent come by [`Dpif::recv_upcalls`] under the name of a worker that is there, its flow records are finished
    ///   and come by [`Dpif::recv_flow_records`], its megaflows are removed without [`Dpif::flow_del`] and their
    ///   last counters come by [`Dpif::recv_retired`];
    /// - ports have all that they counted.
    ///
    /// Waits for workers as [`Dpif::synchronize`] does, and for the threads of those that go. Queues that stay where
    /// they are are polled all the while; one that moves is not polled between its release and its taking over, for
    /// about a turn of both workers, and its packets wait in the device.
    ///
    /// # Errors
    /// [`DpifError::WorkerCount`], [`DpifError::WorkerNotStarted`], or a device without a transmit queue for a new
    /// worker. Nothing is changed then.
    fn set_workers(&mut self, cores: &[Option<u16>]) -> Result<(), DpifError>;

    /// Pins receive queues of a port to cores, by their numbers; queues that are not named are placed automatically.
    /// Queues that are elsewhere move, as in [`Dpif::set_workers`].
    ///
    /// # Errors
    /// [`DpifError::NoSuchPort`].
    fn set_rx_affinity(&mut self, port: DpPort, affinity: &BTreeMap<u16, u16>) -> Result<(), DpifError>;

    /// Sets how queues are placed, and places them so.
    fn set_placement(&mut self, rules: PlacementRules);

    /// Installs a megaflow and lets its waiting packets through. Takes effect when the worker next looks;
    /// commands to one worker take effect in order.
    ///
    /// # Errors
    /// [`DpifError::TooManyMegaflows`], or [`DpifError::NoSuchWorker`]; the waiting packets are then executed all
    /// the same, uncached.
    fn flow_put(&mut self, put: FlowPut) -> Result<MegaflowId, DpifError>;

    /// Replaces a megaflow's actions. What it counted under those that it had is final once no worker carries them
    /// out any more: it then comes by [`Dpif::recv_retired`], under the id that this returns. [`Dpif::flow_stats`]
    /// counts from the change on.
    ///
    /// # Errors
    /// [`DpifError::NoSuchMegaflow`].
    fn flow_modify(&mut self, id: MegaflowId, actions: &[Action]) -> Result<MegaflowId, DpifError>;

    /// Removes a megaflow. Its last counters come by [`Dpif::recv_retired`].
    ///
    /// # Errors
    /// [`DpifError::NoSuchMegaflow`].
    fn flow_del(&mut self, id: MegaflowId) -> Result<(), DpifError>;

    /// What a megaflow has counted since its actions were last changed, or it was installed.
    fn flow_stats(&self, id: MegaflowId) -> Option<MegaflowStats>;

    /// The mask under which a megaflow is installed: all that was asked for, and more where the datapath bounds
    /// how many masks there are.
    fn flow_mask(&self, id: MegaflowId) -> Option<FlowMask>;

    /// All installed megaflows, in the order of their ids.
    fn flow_dump(&self) -> Vec<MegaflowInfo>;

    /// Commands that workers have not carried out yet, wherever they are: whoever gives more on behalf of others waits with
    /// that.
    fn waiting_commands(&self) -> usize {
        0
    }

    /// How far a worker is with its commands; none were given to one that is not there.
    fn progress(&self, _worker: WorkerId) -> CommandProgress {
        CommandProgress::default()
    }

    /// Has a worker carry out actions on packets; another, if it is gone.
    fn execute(&mut self, execute: Execute);

    /// Takes up to `max` upcalls that wait, fairly from all workers, and appends them to `into`. What was taken before
    /// counts as dealt with: packets that are to come back have been given to [`Dpif::flow_put`] or [`Dpif::execute`].
    fn recv_upcalls(&mut self, into: &mut Vec<Upcall>, max: usize) -> usize;

    /// Takes up to `max` megaflows that have left their workers.
    fn recv_retired(&mut self, into: &mut Vec<RetiredMegaflow>, max: usize) -> usize;

    /// Takes up to `max` finished flow records.
    fn recv_flow_records(&mut self, into: &mut Vec<FlowRecord>, max: usize) -> usize;

    /// Whether this datapath meters `sample` actions whose target is IPFIX by itself. If not, it hands every
    /// sampled packet up with [`UserspaceCookie::Ipfix`].
    fn can_meter(&self) -> bool;

    /// Sets what every exporter meters, from now on. Records under way of an exporter that is gone or changed
    /// are finished with [`FlowEndReason::ForcedEnd`].
    fn set_metering(&mut self, configs: Vec<MeteringConfig>);

    /// Sets a meter, or changes it; buckets begin full, and counters go on if it was there.
    ///
    /// # Errors
    /// [`DpifError::NoSuchMeter`] if the number is too high.
    fn meter_set(&mut self, id: MeterId, config: &MeterConfig) -> Result<(), DpifError>;

    /// Takes a meter away: packets that name it pass. Nothing happens if it is not there.
    fn meter_del(&mut self, id: MeterId);

    /// What a meter has counted; none if it is not there.
    fn meter_stats(&self, id: MeterId) -> Option<MeterStats>;

    /// Does on the control thread's side what is due: hands on commands that waited for room in a ring, and
    /// in a datapath without threads of its own polls the ports once. Call it every turn of the loop. Where queues
    /// move by their load ([`PlacementRules::rebalance`]) it waits for workers when they do, as
    /// [`Dpif::synchronize`] does.
    ///
    /// Returns whether anything was done.
    fn run(&mut self, now: Nanos) -> bool;

    /// Returns when every worker has carried out every command given before: what is received afterwards is
    /// handled by them.
    fn synchronize(&mut self);

    /// Counters of every worker.
    fn worker_stats(&self) -> Vec<WorkerStats>;

    /// The workers there are, in order; their numbers may have gaps.
    fn workers(&self) -> Vec<WorkerId>;

    /// Whether every worker still runs. One that does not has ended in a panic: its ports are no longer served,
    /// and nothing brings it back.
    fn is_alive(&self) -> bool;
}
