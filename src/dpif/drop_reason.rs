//! Every way a packet can die in the switch.

/// Why a packet died. Each reason is a counter per port, a metric label and a paragraph of `docs/drops.md`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum DropReason {
    /// A rule says so: its actions send the packet nowhere.
    Rule,
    /// No rule of the table matches, and the table has no table-miss rule.
    TableMiss,
    /// The port belongs to no bridge.
    NoBridge,
    /// The frame's VLAN is not one that its port carries.
    VlanNotAllowed,
    /// NORMAL learned that the destination is on the port that the frame came from.
    SamePort,
    /// NORMAL had no other port to send it to.
    NoDestination,
    /// The destination is a group address that bridges don't forward (IEEE 802.1Q table 8-1).
    ReservedMulticast,
    /// The rules resubmit deeper or oftener than is allowed.
    ResubmitLimit,
    /// The rules ask for more actions than a megaflow can hold.
    TooManyActions,
    /// The TTL or hop limit ran out.
    TtlExpired,
    /// A meter's drop band: more packets or bits than it allows.
    Meter,
    /// A group has no bucket that lives, or there is no such group any more.
    NoLiveBucket,
    /// The port takes no packets in: its configuration says `no_receive`, or it is administratively down.
    PortNoReceive,
    /// The port lets no packets out: its configuration says `no_forward`, or it is administratively down.
    PortNoForward,
    /// Spanning tree has the port blocked: only its own frames pass.
    StpBlocked,
    /// The port is reserved for what a mirror sends out; what comes in by it is not switched.
    MirrorOutput,
    /// NORMAL does not forward between two protected ports.
    ProtectedPort,
    /// A fragment, where the bridge drops fragments.
    Fragment,
    /// It was sent round again, and nobody knows any more what was to follow.
    RecirculationUnknown,
    /// It was to be looked up again, and its port has its share of the places where what is to follow is noted.
    RecirculationShare,
    /// It was sent round through the datapath more often than is allowed.
    RecirculationLimit,
    /// Shorter than an Ethernet header.
    Malformed,
    /// No room before the frame for another header.
    NoHeadroom,
    /// The upcall ring was full: the control thread did not keep up with new flows.
    UpcallRingFull,
    /// More packets of the port already wait for the control thread than one port may have there.
    UpcallQuota,
    /// Larger than the output port's MTU allows.
    TooLarge,
    /// The output port's transmit queue was full.
    TxQueueFull,
    /// No packet buffer for a copy.
    NoBuffer,
    /// It waited to be sent and had to be changed or copied for the device, and no packet buffer was left for that.
    TxNoBuffer,
    /// The output port is gone, or never was.
    PortGone,
}

impl DropReason {
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Every reason, in the order of [`DropReason::index`].
    pub const ALL: [DropReason; 30] = [
        DropReason::Rule,
        DropReason::TableMiss,
        DropReason::NoBridge,
        DropReason::VlanNotAllowed,
        DropReason::SamePort,
        DropReason::NoDestination,
        DropReason::ReservedMulticast,
        DropReason::ResubmitLimit,
        DropReason::TooManyActions,
        DropReason::TtlExpired,
        DropReason::Meter,
        DropReason::NoLiveBucket,
        DropReason::PortNoReceive,
        DropReason::PortNoForward,
        DropReason::StpBlocked,
        DropReason::MirrorOutput,
        DropReason::ProtectedPort,
        DropReason::Fragment,
        DropReason::RecirculationUnknown,
        DropReason::RecirculationShare,
        DropReason::RecirculationLimit,
        DropReason::Malformed,
        DropReason::NoHeadroom,
        DropReason::UpcallRingFull,
        DropReason::UpcallQuota,
        DropReason::TooLarge,
        DropReason::TxQueueFull,
        DropReason::NoBuffer,
        DropReason::TxNoBuffer,
        DropReason::PortGone,
    ];

    /// The reason's place in arrays of counters.
    #[inline]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Whether it counts on the port that the packet was to leave by.
    pub fn is_output(self) -> bool {
        matches!(self, DropReason::TooLarge | DropReason::TxQueueFull | DropReason::TxNoBuffer)
    }

    /// The reason's name in metrics, commands and logs.
    pub fn name(self) -> &'static str {
        match self {
            DropReason::Rule => "rule",
            DropReason::TableMiss => "table_miss",
            DropReason::NoBridge => "no_bridge",
            DropReason::VlanNotAllowed => "vlan_not_allowed",
            DropReason::SamePort => "same_port",
            DropReason::NoDestination => "no_destination",
            DropReason::ReservedMulticast => "reserved_multicast",
            DropReason::ResubmitLimit => "resubmit_limit",
            DropReason::TooManyActions => "too_many_actions",
            DropReason::TtlExpired => "ttl_expired",
            DropReason::Meter => "meter",
            DropReason::NoLiveBucket => "no_live_bucket",
            DropReason::PortNoReceive => "port_no_receive",
            DropReason::PortNoForward => "port_no_forward",
            DropReason::StpBlocked => "stp_blocked",
            DropReason::MirrorOutput => "mirror_output",
            DropReason::ProtectedPort => "protected_port",
            DropReason::Fragment => "fragment",
            DropReason::RecirculationUnknown => "recirculation_unknown",
            DropReason::RecirculationShare => "recirculation_share",
            DropReason::RecirculationLimit => "recirculation_limit",
            DropReason::Malformed => "malformed",
            DropReason::NoHeadroom => "no_headroom",
            DropReason::UpcallRingFull => "upcall_ring_full",
            DropReason::UpcallQuota => "upcall_quota",
            DropReason::TooLarge => "too_large",
            DropReason::TxQueueFull => "tx_queue_full",
            DropReason::NoBuffer => "no_buffer",
            DropReason::TxNoBuffer => "tx_no_buffer",
            DropReason::PortGone => "port_gone",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lists_every_reason_at_its_index() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
        let names: std::collections::HashSet<_> = DropReason::ALL.map(DropReason::name).into();
        assert_eq!(names.len(), DropReason::COUNT);
    }
}
