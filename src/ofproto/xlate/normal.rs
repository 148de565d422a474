//! NORMAL: forward as a learning VLAN switch does.
//!
//! It looks at both Ethernet addresses and the VLAN id, so its megaflows hold one pair of hosts each. Where an
//! address is comes from the bridge's MAC table; a cached translation is bound to the table's epoch.

use super::{Context, Credit, Stop};
use crate::dpif::DropReason;
use crate::flow::{Field, OfPort, VLAN_CFI};
use crate::netdev::MacAddress;
use crate::ofproto::bridge::{Port, VlanMode};

/// The VLAN id in a tag.
const VLAN_VID: u16 = 0x0fff;

impl Context<'_> {
    /// Forwards the packet as it is now.
    pub(super) fn normal(&mut self) -> Result<(), Stop> {
        self.packet.must_be_here()?;
        self.reads_macs = true;
        let (bridge, in_port) = (self.bridge, self.packet.flow().in_port);
        let tci = self.packet.read(Field::VlanTci, u128::from(VLAN_CFI | VLAN_VID))? as u16;
        let vid = tci & VLAN_VID;
        let ingress = bridge.ports.get(&in_port);
        // A packet that a controller made comes in by no port, and any VLAN may.
        let vlan = ingress.map_or(Some(vid), |port| port.config.vlan.vlan_in(vid).map(|lies| lies.vlan));
        let Some(vlan) = vlan else {
            self.reason = Some(DropReason::VlanNotAllowed);
            return Ok(());
        };
        let destination = self.read_mac(Field::EthDst)?;
        if is_reserved(destination) && !bridge.config.forward_bpdu {
            self.reason = Some(DropReason::ReservedMulticast);
            return Ok(());
        }
        let source = self.read_mac(Field::EthSrc)?;
        if ingress.is_some() && !is_group(source) {
            self.credits.push(Credit::Learn { bridge: self.bridge_id, vlan, mac: source, port: in_port });
        }
        if is_group(destination) {
            return self.flood_vlan(vlan, in_port);
        }
        let known = self.learned_port(vlan, destination).or_else(|| bridge.macs.lookup(vlan, destination));
        let port = known.and_then(|number| Some((number, bridge.ports.get(&number)?)));
        match port.filter(|(_, port)| port.config.vlan.carries(vlan)) {
            Some((number, _)) if number == in_port => {
                self.reason = Some(DropReason::SamePort);
                Ok(())
            }
            Some((_, port)) => self.output_in_vlan(port, vlan),
            None => self.flood_vlan(vlan, in_port),
        }
    }

    /// Where the packet itself says that an address is: what the table has of it is out of date. The last word
    /// counts, if rules sent it through here more than once.
    fn learned_port(&self, vlan: u16, mac: MacAddress) -> Option<OfPort> {
        let mut learned = self.credits.iter().rev().filter_map(|credit| match *credit {
            Credit::Learn { vlan, mac, port, .. } => Some((vlan, mac, port)),
            _ => None,
        });
        learned.next().filter(|last| (last.0, last.1) == (vlan, mac)).map(|last| last.2)
    }

    fn read_mac(&mut self, field: Field) -> Result<MacAddress, Stop> {
        let value = self.packet.read(field, field.full_mask())?.to_be_bytes();
        Ok(std::array::from_fn(|index| value[10 + index]))
    }

    /// To every port that carries the VLAN and takes part in flooding, but not back.
    fn flood_vlan(&mut self, vlan: u16, in_port: OfPort) -> Result<(), Stop> {
        let ports = self.bridge.ports.iter();
        let others = ports.filter(|(number, _)| **number != in_port).map(|(_, port)| port);
        let mut is_sent = false;
        for port in others.filter(|port| !port.config.flags.no_flood && port.config.vlan.carries(vlan)) {
            self.output_in_vlan(port, vlan)?;
            is_sent = true;
        }
        if !is_sent {
            self.reason = Some(DropReason::NoDestination);
        }
        Ok(())
    }

    /// Out of a port, with the tag that the VLAN has there; afterwards the packet is as before.
    fn output_in_vlan(&mut self, port: &Port, vlan: u16) -> Result<(), Stop> {
        let tags = self.packet.tags();
        self.set_vlan(&port.config.vlan, vlan)?;
        self.emit_output(port.dp_port)?;
        self.packet.set_tags(&tags);
        Ok(())
    }

    fn set_vlan(&mut self, mode: &VlanMode, vlan: u16) -> Result<(), Stop> {
        match mode.tag_out(vlan) {
            // The VLAN id and whether there is a tag were looked at: where they already are so, nothing is
            // emitted; a tag that stays keeps its priority.
            Some(vid) => self.packet.write_tci(VLAN_CFI | vid, VLAN_CFI | VLAN_VID),
            None => {
                self.packet.pop_tag();
                Ok(())
            }
        }
    }
}

/// An address of a group, broadcast included.
fn is_group(mac: MacAddress) -> bool {
    mac[0] & 1 == 1
}

/// An address that bridges keep to themselves (IEEE 802.1Q table 8-1).
fn is_reserved(mac: MacAddress) -> bool {
    mac[..5] == [0x01, 0x80, 0xc2, 0, 0] && mac[5] < 0x10
}
