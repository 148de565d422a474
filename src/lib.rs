//! Penstock, a software switch on DPDK: a poll-mode datapath under an OpenFlow control plane, with IPFIX metering in
//! the datapath.
//!
//! ```text
//!   penstockd, penstockctl
//!        |
//!   vswitchd ------ config   metrics          a checked configuration -> a running switch; control socket
//!     |    \
//!   ofproto  ipfix                            rules -> translations -> megaflows;  flow records -> messages
//!     |   \    |
//!     | openflow                              matches, actions, flow-mods; no switch behind them
//!     |        |                                                                       control thread
//!   dpif <-----+                              the contract ----- commands v   ^ upcalls, records, garbage
//!     |                                                                                workers
//!   datapath                                  rx burst -> extract -> EMC -> megaflows -> actions -> tx burst
//!     |                                                                      | miss: upcall
//!   netdev                                    a device and its queues
//!     |
//!   pmd -> dpdk-sys                           crates of their own: safe DPDK; bindings
//!
//!   below all:  flow   packet   sync          keys, masks, extraction; bytes and edits; time and doorbell
//! ```
//!
//! # The layers
//! A layer is a folder, and uses only layers below it.
//!
//! | Layer | What it is | Its contract |
//! |---|---|---|
//! | [`vswitchd`] | the process: start and stop, the loop, control socket, `penstockctl` | |
//! | [`config`] | one YAML file, read and checked whole | |
//! | [`metrics`] | Prometheus text over HTTP | |
//! | [`ofproto`] | the OpenFlow switch: tables, translation, upcalls, revalidation, learning | [`ofproto::Ofproto`] |
//! | [`ipfix`] | templates, messages, the collector | |
//! | [`openflow`] | OpenFlow's language, neutral between versions | |
//! | [`dpif`] | what a datapath is, and the model that is its oracle | [`dpif::Dpif`] |
//! | [`datapath`] | workers and their caches | |
//! | [`netdev`] | devices: DPDK's and in memory | [`netdev::Netdev`] |
//! | [`packet`] | one packet, edits, checksums | |
//! | [`flow`] | keys, masks, fields, extraction | |
//! | [`sync`] | time, doorbell, rate limit, and the atomics that all else is built on | |
//!
//! `docs/architecture.md` tells the same at length, and why it is so; each module's essay says what it is, its thread safety,
//! its bounds and what it leaves out.
//!
//! # Invariants
//! - **Soundness.** Two packets that agree on a translation's mask translate to the same actions. Translation reads a
//!   packet only through a tracker that notes each bit.
//! - **No overlap.** Megaflows of one worker that cover the same packet have the same actions. The first match is the
//!   match, and a cache entry can be a mere hint.
//! - **No loss in silence.** Every packet received is transmitted, consumed, or counted on a port under one
//!   [`dpif::DropReason`].
//! - **Truth at return.** When a command that changes rules returns, no packet received afterwards is handled by the
//!   old ones; counters are exact through every change.
//! - **One owner.** A packet, a queue, a cache, a flow table belongs to one thread at a time. Counters have one writer.
//! - **Everything has a bound**: rings, tables, caches, probes, commands in a turn. Reaching it is a counted outcome.
//! - **Nothing from outside panics**: packets, YAML, flow syntax, control requests, HTTP.
//! - **Time and randomness are arguments.** The whole switch runs in one thread on a clock that a test moves.
//!
//! # Absent on purpose
//! - In the packet loop: allocation, freeing, locks, system calls of our own, logging, reference counts, a clock
//!   read or a virtual call for each packet. `tests/no_alloc.rs` holds it to that.
//! - Anything mutable that two workers share, but for one thing: the token buckets of meters, since a rate is for what all
//!   workers let pass together (`src/datapath/meter.rs`). A flow that two workers meet is installed twice.
//! - Priorities below OpenFlow, and invalidation of the exact-match cache: the invariants above make both needless.
//! - A global flush of the caches, for any reason.
//! - Locks around the tables: translations read them on a shared borrow, and the control thread alone changes them.
//! - An asynchronous runtime: one thread and one `mio` loop do what the control side has to wait for.
//! - Buffer types as parameters: there is one [`packet::Packet`].
//! - Guesses: a rule, a key of the configuration or an option that is not known is refused, never ignored.
//!
//! # Unsafe code
//! Denied here, and allowed in these modules, each use with its proof:
//! - `src/datapath/prefetch.rs`: one prefetch instruction, which has no safe form.
//!
//! All calls of DPDK are in the crates `pmd` and `dpdk-sys`.
//!
//! # Features
//! `dpdk` (default): DPDK's devices and the daemon. Without it the library builds on a machine that has no libdpdk.
#![deny(unsafe_code)]

pub mod config;
pub mod datapath;
pub mod dpif;
pub mod flow;
pub mod ipfix;
pub mod metrics;
pub mod netdev;
pub mod ofproto;
pub mod openflow;
pub mod packet;
pub mod sync;
pub mod vswitchd;

/// Penstock's version, and in release builds the commit it was made from.
pub const VERSION: &str = env!("PENSTOCK_VERSION");
