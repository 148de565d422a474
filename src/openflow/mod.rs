//! OpenFlow's own language, without a switch behind it: matches, actions, flow-mods, and how they are written.
//!
//! There is one internal form, neutral between protocol versions; it is that of OpenFlow 1.5 with the Nicira
//! extensions that Open vSwitch's tools speak. Today it is read from and written as the flow syntax of
//! `ovs-ofctl(8)` ([`parse`], [`mod@format`]); the wire codecs of each version read and write the same types. This
//! layer knows the shape of what is asked, never what a switch does about it: that is `ofproto`'s.

pub mod action;
pub mod endpoint;
pub mod error;
pub mod flow_mod;
pub mod format;
#[doc(hidden)]
pub mod fuzz;
pub mod group;
pub mod matching;
pub mod message;
pub mod meter;
mod names;
pub mod parse;
pub mod ports;
#[cfg(test)]
pub(crate) mod random;
pub mod session;
pub mod wire;

pub use action::{Action, Subfield};
pub use error::OfError;
pub use flow_mod::{FlowMod, FlowModCommand, FlowModFlags, FlowStats, FlowStatsRequest, TableId};
pub use group::{Bucket, GroupDesc, GroupMod, GroupModCommand, GroupStats, GroupType, SelectionMethod};
pub use matching::{Match, PackedMatch};
pub use meter::{Band, BandType, MeterMod, MeterModCommand, MeterStats};
pub use ports::{NoNames, PortNames};
