//! Writes of what says which fields there are: Ethernet type, IP protocol, bottom of stack, type and code of ICMPv6.
//!
//! The bytes of the packet stay, and are read as something else. What they then say the key has not told, so it is unknown,
//! and looking at it makes the packet go round. That holds of the written field too, but for the Ethernet type, which
//! every frame has: a packet of an IP type may have no IP header, and keeps what it shows.

use super::layers::{BOTTOM, below_tags};
use super::{Stop, Tracker};
use crate::dpif::Action;
use crate::flow::{Field, FlowKey};

/// What neighbour discovery messages have.
const DISCOVERY: FlowKey = FlowKey {
    nd_target: [0xff; 16],
    arp_sha: [0xff; 6],
    arp_tha: [0xff; 6],
    nd_options_type: u8::MAX,
    nd_reserved: u32::MAX,
    ..FlowKey::ZERO
};

/// What hangs on the IP protocol, and it.
const TRANSPORT: FlowKey = FlowKey {
    nw_proto: u8::MAX,
    // In IPv6 the protocol may be that of an extension header.
    nw_frag: u8::MAX,
    ipv6_exthdr: u16::MAX,
    tp_src: u16::MAX,
    tp_dst: u16::MAX,
    tcp_flags: u16::MAX,
    ..DISCOVERY
};

impl Tracker {
    /// Writes the Ethernet type, bits of the IP protocol, or the bottom of stack of the outermost label.
    pub(super) fn reshape(
        &mut self,
        field: Field,
        value: u128,
        bits: u128,
        actions: &mut Vec<Action>,
    ) -> Result<(), Stop> {
        if !self.meets(field.info().prerequisite)? {
            return Ok(());
        }
        if field == Field::MplsBos && (self.labels_are_unknown || self.labels.is_empty()) {
            return Err(Stop::Redo);
        }
        self.commit(actions);
        actions.push(Action::Set { field, value: value & bits, mask: bits });
        match field {
            Field::EthType => {
                self.labels.clear();
                self.show_labels();
                self.labels_are_unknown = true;
                self.forget(&below_tags());
                self.set_eth_type(value as u16);
            }
            Field::IpProto => self.forget(&TRANSPORT),
            _ => {
                let outermost = self.labels.len() - 1;
                for (index, label) in self.labels.iter_mut().enumerate() {
                    label.lose(if index == outermost { BOTTOM } else { u32::MAX });
                }
                self.show_labels();
            }
        }
        Ok(())
    }

    /// A message may have become one of neighbour discovery, or be none any more.
    pub(super) fn forget_discovery(&mut self) {
        self.forget(&DISCOVERY);
    }
}
