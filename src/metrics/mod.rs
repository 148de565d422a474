//! Prometheus: what the switch counts, as text, over HTTP.
//!
//! # Why so
//! Counters live where they are counted: in workers' blocks, in the device, in the exporter. Nothing here is kept
//! between scrapes. When one comes in, the control thread gathers a [`MetricsSnapshot`] and [`exposition`] writes
//! it: a packet pays nothing for being visible, and no number is older than its scrape. Each metric's name, type,
//! labels and meaning stand in one table, [`families`]; `docs/metrics.md` is checked against it.
//!
//! [`http`] knows HTTP and no sockets; [`server`] the opposite.
//!
//! # Bounds
//! Labels come from the configuration and from fixed lists (drop reasons, upcall kinds), never from packets: at
//! most `PORT_COUNT_MAX` ports times `DropReason::COUNT` reasons.
//!
//! # Threads
//! The control thread.
//!
//! # Leaves out
//! Whom to let in: the address decides, loopback by default. TLS: a proxy's job. Latencies measured by sampling.

pub mod families;
pub mod http;
pub mod server;
pub mod snapshot;

pub use families::exposition;
pub use server::{MetricsServer, MetricsServerError};
pub use snapshot::MetricsSnapshot;
