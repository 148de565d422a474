//! Metering: what a datapath counts for IPFIX, and the records it finishes.
//!
//! A datapath that can meter keeps, for each exporter, a cache of flows keyed on the key bits that the
//! exporter asked for. A record leaves the cache when its flow ends and then crosses to the control thread,
//! where `ipfix` writes it in the exporter's template. Times are switch time; `ipfix` knows the wall.

use crate::flow::{DpPort, FlowKey, FlowMask};
use crate::sync::Nanos;

/// An IPFIX exporting process of this switch: one for each bridge that has `ipfix:`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ExporterId(pub u16);

/// Where the observation point saw the packet: IPFIX element 61, `flowDirection`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum ObservationDirection {
    /// Received by the observation point.
    Ingress = 0,
    /// Leaving by it.
    Egress = 1,
}

/// Why a flow record was finished: IPFIX element 136, `flowEndReason` (RFC 5102 section 5.11.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum FlowEndReason {
    /// No packet for the idle timeout.
    IdleTimeout = 1,
    /// It went on for longer than the active timeout; the same flow goes on in a new record.
    ActiveTimeout = 2,
    /// The flow itself ended: TCP FIN or RST.
    EndOfFlow = 3,
    /// The metering process was told to finish: reconfigured or shut down.
    ForcedEnd = 4,
    /// The cache was full and this flow was idle for the longest.
    LackOfResources = 5,
}

/// The bits of the key that tell flows apart, for each kind of packet: an exporter has one template for each,
/// and a MAC address that only the template for other packets asks for must not split (or slow) IP flows.
/// Every mask counts as if `eth_type` were in it in full.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyMasks {
    /// For packets whose `eth_type` is 0x0800.
    pub ipv4: FlowMask,
    /// For packets whose `eth_type` is 0x86dd.
    pub ipv6: FlowMask,
    /// For all others.
    pub other: FlowMask,
}

impl KeyMasks {
    /// The mask for packets of this `eth_type`.
    #[inline]
    pub fn of(&self, eth_type: u16) -> &FlowMask {
        match eth_type {
            0x0800 => &self.ipv4,
            0x86dd => &self.ipv6,
            _ => &self.other,
        }
    }
}

impl From<FlowMask> for KeyMasks {
    /// One mask for all packets.
    fn from(mask: FlowMask) -> KeyMasks {
        KeyMasks { ipv4: mask, ipv6: mask, other: mask }
    }
}

/// What one exporter meters.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MeteringConfig {
    /// Whose.
    pub exporter: ExporterId,
    /// The bits of the key that tell flows apart.
    pub key_masks: KeyMasks,
    /// Longest time that a record stays open.
    pub active_timeout: Nanos,
    /// Longest time that a record stays open without a packet.
    pub idle_timeout: Nanos,
    /// Flows that each worker keeps at most.
    pub cache_len_max: usize,
}

/// A finished record: what one worker counted of one flow between two points in time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FlowRecord {
    /// Whose.
    pub exporter: ExporterId,
    /// Where it was seen.
    pub direction: ObservationDirection,
    /// The key of the record's first packet. The bits in the exporter's mask are those of every packet of the
    /// flow; the others are the first packet's (so a template can say its ToS without splitting flows on it).
    /// `in_port` is where it came in.
    pub key: FlowKey,
    /// The port it left by. Where `direction` is egress, it tells flows apart: every packet left by it.
    /// Where it is ingress, that of the first packet, if that one left by one port only.
    pub egress: Option<DpPort>,
    /// Packets.
    pub packets: u64,
    /// Octets in them: from the IP header on, as that header says (padding does not count); whole frames for
    /// packets that are not IP.
    pub octets: u64,
    /// Octets of their frames, from the Ethernet header on, without frame check sequence.
    pub layer2_octets: u64,
    /// First packet seen.
    pub start: Nanos,
    /// Last packet seen.
    pub end: Nanos,
    /// All TCP flags seen, or-ed.
    pub tcp_flags: u16,
    /// Why it was finished.
    pub end_reason: FlowEndReason,
}
