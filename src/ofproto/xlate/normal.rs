//! NORMAL: forward as a learning VLAN switch does.
//!
//! It looks at both Ethernet addresses and the VLAN id, so its megaflows hold one pair of hosts each. Where an
//! address is comes from the bridge's MAC table; a cached translation is bound to the table's epoch.
//!
//! A gratuitous ARP is learned from as any other packet is. Open vSwitch shields what such a packet taught from
//! others for some seconds on bonded ports, where a packet of the bridge's own may come back by another port; there
//! are no bonds here.

use super::{Context, Credit, Stop};
use crate::dpif::DropReason;
use crate::flow::{Field, FlowKey, OfPort, VLAN_CFI};
use crate::netdev::MacAddress;
use crate::ofproto::bridge::{Port, PriorityTags, SERVICE_TPID, StpState, VlanIn};

/// The VLAN id in a tag.
const VLAN_VID: u16 = 0x0fff;
/// The priority in a tag.
const VLAN_PCP: u16 = 0xe000;

impl<'a> Context<'a> {
    /// Forwards the packet as it is now.
    pub(super) fn normal(&mut self) -> Result<(), Stop> {
        self.packet.must_be_here()?;
        self.note_macs();
        let (bridge, in_port) = (self.bridge, self.packet.flow().in_port);
        let vid = self.outer_vid()?;
        let ingress = bridge.ports.get(&in_port);
        // A packet that a controller made comes in by no port, and any VLAN may.
        let lies = match ingress {
            Some(port) => port.config.vlan.vlan_in(vid),
            None => Some(VlanIn { vlan: vid, is_tunnelled: false }),
        };
        let Some(lies) = lies else {
            self.reason = Some(DropReason::VlanNotAllowed);
            return Ok(());
        };
        let destination = self.read_mac(Field::EthDst)?;
        if self.is_reserved()? && !bridge.config.forward_bpdu {
            self.reason = Some(DropReason::ReservedMulticast);
            return Ok(());
        }
        let source = self.read_mac(Field::EthSrc)?;
        if ingress.is_some() && !is_group(source) {
            let (bridge, vlan) = (self.bridge_id, lies.vlan);
            self.credits.push(Credit::Learn { bridge, vlan, mac: source, port: in_port });
        }
        let is_protected = ingress.is_some_and(|port| port.config.protected);
        if is_group(destination) {
            return self.flood_vlan(lies, in_port, is_protected);
        }
        let known =
            self.learned_port(lies.vlan, destination).or_else(|| bridge.macs.lookup(lies.vlan, destination));
        let Some((number, port)) = known.and_then(|number| Some((number, bridge.ports.get(&number)?))) else {
            return self.flood_vlan(lies, in_port, is_protected);
        };
        if number == in_port {
            self.reason = Some(DropReason::SamePort);
            return Ok(());
        }
        if !self.carries(port, lies)? {
            return self.flood_vlan(lies, in_port, is_protected);
        }
        self.forward(number, port, lies, is_protected)
    }

    /// To the one port where the destination is.
    fn forward(
        &mut self,
        number: OfPort,
        port: &'a Port,
        lies: VlanIn,
        is_protected: bool,
    ) -> Result<(), Stop> {
        if self.bridge.mirrors.is_output(number) {
            self.reason = Some(DropReason::NoDestination);
            return Ok(());
        }
        if is_protected && port.config.protected {
            self.reason = Some(DropReason::ProtectedPort);
            return Ok(());
        }
        self.send_in_vlan(number, port, lies)
    }

    /// The VLAN id of the outermost tag, 0 without one.
    pub(super) fn outer_vid(&mut self) -> Result<u16, Stop> {
        let tci = self.packet.read(Field::VlanTci, u128::from(VLAN_CFI | VLAN_VID))? as u16;
        Ok(tci & VLAN_VID)
    }

    /// Whether a frame that lies so in its VLAN may leave by a port.
    pub(super) fn carries(&mut self, port: &Port, lies: VlanIn) -> Result<bool, Stop> {
        if !port.config.vlan.carries(lies.vlan) {
            return Ok(false);
        }
        let Some(customer) = port.config.vlan.customer() else { return Ok(true) };
        let vid = if lies.is_tunnelled || !self.packet.has_tag()? {
            self.outer_vid()?
        } else {
            // The outer tag is the VLAN's own.
            let inner = FlowKey { inner_vlan_tci: VLAN_CFI | VLAN_VID, ..FlowKey::ZERO };
            self.packet.look_at_key(inner)?;
            self.packet.flow().key.inner_vlan_tci & VLAN_VID
        };
        Ok(customer.contains(vid))
    }

    /// Where the packet itself says that an address is: what the table has of it is out of date. The last word
    /// counts, if rules sent it through here more than once.
    fn learned_port(&self, vlan: u16, mac: MacAddress) -> Option<OfPort> {
        let mut learned = self.credits.iter().rev().filter_map(|credit| match *credit {
            Credit::Learn { bridge, vlan, mac, port } if bridge == self.bridge_id => Some((vlan, mac, port)),
            _ => None,
        });
        learned.next().filter(|last| (last.0, last.1) == (vlan, mac)).map(|last| last.2)
    }

    fn read_mac(&mut self, field: Field) -> Result<MacAddress, Stop> {
        let value = self.packet.read(field, field.full_mask())?.to_be_bytes();
        Ok(std::array::from_fn(|index| value[10 + index]))
    }

    /// To every port that carries the VLAN and takes part in flooding, but not back.
    fn flood_vlan(&mut self, lies: VlanIn, in_port: OfPort, is_protected: bool) -> Result<(), Stop> {
        let bridge = self.bridge;
        let (mut is_sent, mut why) = (false, DropReason::NoDestination);
        for (&number, port) in &bridge.ports {
            let takes_part =
                number != in_port && !port.config.flags.no_flood && !bridge.mirrors.is_output(number);
            if !takes_part || !self.carries(port, lies)? {
                continue;
            }
            if is_protected && port.config.protected {
                why = DropReason::ProtectedPort;
            } else if port.config.stp == StpState::Forwarding {
                self.send_in_vlan(number, port, lies)?;
                is_sent = true;
            }
        }
        if !is_sent {
            self.reason = Some(why);
        }
        Ok(())
    }

    /// Out of a port, with the tag that the VLAN has there; afterwards the packet is as before.
    pub(super) fn send_in_vlan(&mut self, number: OfPort, port: &'a Port, lies: VlanIn) -> Result<(), Stop> {
        let tags = self.packet.tags();
        self.set_vlan(port, lies)?;
        self.send(number, port)?;
        self.packet.set_tags(&tags);
        Ok(())
    }

    /// The VLAN id and whether there is a tag were looked at: where they already are so, nothing is emitted; a tag that
    /// stays keeps its priority.
    fn set_vlan(&mut self, port: &Port, lies: VlanIn) -> Result<(), Stop> {
        let tags = port.config.priority_tags;
        match port.config.vlan.tag_out(lies.vlan) {
            Some(vid) if lies.is_tunnelled => self.packet.push_new_tag(SERVICE_TPID, vid),
            Some(vid) => self.packet.write_tci(VLAN_CFI | vid, VLAN_CFI | VLAN_VID),
            None if lies.is_tunnelled => {
                if tags == PriorityTags::Always && !self.packet.has_tag()? {
                    return self.packet.push_new_tag(0x8100, 0);
                }
                Ok(())
            }
            None => {
                let keeps_tag = match tags {
                    PriorityTags::Never => false,
                    PriorityTags::IfNonzero => {
                        self.packet.read(Field::VlanTci, u128::from(VLAN_CFI | VLAN_PCP))? as u16 & VLAN_PCP
                            != 0
                    }
                    PriorityTags::Always => true,
                };
                if keeps_tag {
                    self.packet.write_tci(VLAN_CFI, VLAN_CFI | VLAN_VID)
                } else {
                    self.packet.pop_tag()
                }
            }
        }
    }
}

/// An address of a group, broadcast included.
fn is_group(mac: MacAddress) -> bool {
    mac[0] & 1 == 1
}
