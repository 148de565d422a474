//! IPFIX: flow records to collectors (RFC 7011, RFC 7012).
//!
//! ```text
//!   datapath worker: flow cache --FlowRecord--> push -> [message under way] -> queue -> poll -> udp -> collector
//!                                               elements, template: what is in it and how it is written
//! ```
//! The datapath counts ([`crate::datapath::metering`]); this layer writes down what it has counted. A bridge with
//! `ipfix:` has one [`Exporter`], which gives the datapath its [`MeteringConfig`](crate::dpif::MeteringConfig) and
//! takes the records that come back with its [`ExporterId`](crate::dpif::ExporterId).
//!
//! # Why it is built this way
//! One table ([`elements`]) says what can be exported and where a record has it. A [`Template`] is a checked list
//! of its rows, and the bits that the datapath tells flows apart by are worked out from the template
//! ([`key_masks`]): so the cache's key can't say less than the records do, or more. Records are written into
//! their message when they come and wait as bytes, not as structures. The exporter has neither socket nor clock:
//! it hands messages to a function and is told the time, so that a collector that is away, slow or full is a
//! closure in a test; [`udp`] is the one file that knows errnos.
//!
//! # Times
//! Records have absolute milliseconds, worked out from switch time and the wall clock as it stands when the
//! record comes: if the wall clock is stepped, records afterwards are right by the new clock, and durations are
//! always right.
//!
//! # Threads
//! All of it belongs to the control thread.
//!
//! # Bounds
//! Messages waiting: [`exporter::QUEUE_LEN_MAX`]. Messages sent by one poll: [`exporter::POLL_MESSAGES_MAX`].
//! Fields in a template: [`template::TEMPLATE_FIELDS_MAX`]. Whatever is dropped for a bound is counted in
//! [`ExporterStats`] and reported to the collector.
//!
//! # What it leaves out
//! Transports other than UDP, several collectors, sampling, variable-length flow fields and structured data,
//! records of one flow merged over workers.

pub mod elements;
pub mod exporter;
pub mod message;
pub mod template;
pub mod udp;

pub use exporter::{
    CollectorState, Exporter, ExporterConfig, ExporterError, ExporterStats, Interface, Moment, SendError,
};
pub use template::{FlowKind, Template, TemplateError, key_masks};
pub use udp::UdpSender;

#[cfg(test)]
mod tests;
