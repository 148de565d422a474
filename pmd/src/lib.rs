//! Safe DPDK for Penstock: EAL, memory pools, packet buffers, ports, queues and worker threads.
//!
//! This crate and `dpdk-sys` are the only places that call DPDK. What it offers is small on purpose: what a
//! poll-mode switch needs, in types that make misuse not compile.
//!
//! ```text
//!   Eal ------ one per process; the last handle dropped cleans up
//!    |  \
//!    |   Worker -- a thread pinned to one core and registered with EAL
//!    |
//!   Mempool -- mbufs of one size; shared by Arc; kept by ports and queues that use it
//!    |    \
//!   Port   Mbuf -- one packet, one owner; freed to its pool on drop
//!    |
//!   start() -> Queues { rx: Vec<RxQueue>, tx: Vec<TxQueue> }
//! ```
//!
//! # Invariants
//! - Whatever needs EAL (`Mempool`, `Port`, queues, workers) keeps it alive by a handle. An `Mbuf` does not,
//!   because that would cost a reference count per packet: pools are never given back to DPDK before EAL's
//!   end, and EAL is not cleaned up while an mbuf is out ([`eal`] says how).
//! - A queue exists at most once, between a port's `start()` and its `stop()`; a burst takes `&mut self`, and a
//!   queue is `Send` but not `Sync`: two threads cannot poll one queue.
//! - A port is not stopped, reconfigured or closed while one of its queues is out.
//! - Bytes that several mbufs share are not written: `HeadMut`, the only way to them, exists only for those of one.
//!
//! # Errors
//! Every DPDK return code becomes a typed error in the function that made the call, with the errno's name and
//! meaning, what DPDK logged while it failed, and what to do about it.
//!
//! # What it leaves out
//! Multi-process DPDK, rte_flow, interrupts, timers, DPDK's own lcore launching, telemetry.

pub mod eal;
mod errno;
mod hugepages;
mod log;
pub mod mbuf;
pub mod mempool;
pub mod port;
mod text;
mod tsc;
pub mod worker;

pub use eal::{Eal, EalConfig, EalError, HugepagePolicy, MemoryMode, NoHugeReason, PciAccess};
pub use errno::Errno;
pub use log::DpdkLog;
pub use mbuf::{ChecksumStatus, HeadMut, L4Checksum, Mbuf, Segments, TxChecksum};
pub use mempool::{Mempool, MempoolConfig, MempoolError, MempoolSizing};
pub use port::{
    AttachError, CloseError, DescriptorLimits, DeviceInfo, Duplex, Link, MacAddress, MacAddressError, Port,
    PortConfig, PortError, PortId, PortOperation, PortSettings, PortState, PortStats, Presence, QueueId,
    QueueState, Queues, Ring, RingError, RxOffloads, RxQueue, TxOffloads, TxQueue, Xstat,
};
pub use tsc::cycles;
pub use worker::{CoreId, LcoreId, Worker, WorkerError, available_cores, spawn_worker};
