//! NORMAL and mirrors: what a VLAN bridge does, on the packet's bytes.
//!
//! Written after IEEE 802.1Q and the behaviour that `ovs-vswitchd.conf.db(5)` describes.

use super::interpret::{Interpreter, Stop, Used};
use super::vlan::{Lies, entered, is_member, serves, tag_on_wire};
use crate::dpif::DropReason;
use crate::flow::{OfPort, VLAN_CFI};
use crate::netdev::MacAddress;
use crate::ofproto::bridge::{Port, PriorityTags, SERVICE_TPID, StpState};
use crate::ofproto::mirrors::MirrorTarget;

impl Interpreter<'_> {
    fn outer_vid(&self) -> u16 {
        self.frame.key.vlan_tci & 0x0fff
    }

    /// Forwards the packet, as it is, as a learning switch does.
    pub(super) fn normal(&mut self) -> Result<(), Stop> {
        let (bridge, in_port, key) = (self.bridge, self.state.in_port, self.frame.key);
        let vid = self.outer_vid();
        let ingress = bridge.ports.get(&in_port);
        let lies = match ingress {
            Some(port) => entered(&port.config.vlan, vid),
            None => Some(Lies { vlan: vid, is_tunnelled: false }),
        };
        let Some(lies) = lies else {
            self.reason = Some(DropReason::VlanNotAllowed);
            return Ok(());
        };
        if self.is_reserved() && !bridge.config.forward_bpdu {
            self.reason = Some(DropReason::ReservedMulticast);
            return Ok(());
        }
        if ingress.is_some() && key.eth_src[0] & 1 == 0 {
            self.outcome.used.push(Used::Learn(self.id, lies.vlan, key.eth_src, in_port));
        }
        let known =
            self.whereabouts(lies.vlan, key.eth_dst).filter(|number| bridge.ports.contains_key(number));
        if known == Some(in_port) {
            self.reason = Some(DropReason::SamePort);
            return Ok(());
        }
        let known = known.filter(|number| self.carries(&bridge.ports[number], lies));
        let is_protected = ingress.is_some_and(|port| port.config.protected);
        let mut why = DropReason::NoDestination;
        let mut is_sent = false;
        for (&number, port) in &bridge.ports {
            let is_meant = match known {
                Some(known) => number == known,
                None => number != in_port && !port.config.flags.no_flood && self.carries(port, lies),
            };
            if !is_meant || bridge.mirrors.is_output(number) {
                continue;
            }
            if is_protected && port.config.protected {
                why = DropReason::ProtectedPort;
                continue;
            }
            if known.is_none() && port.config.stp != StpState::Forwarding {
                continue;
            }
            is_sent = true;
            self.send_in_vlan(number, port, lies)?;
        }
        if !is_sent {
            self.reason = Some(why);
        }
        Ok(())
    }

    /// Whether a frame that lies so in its VLAN may leave by a port.
    fn carries(&self, port: &Port, lies: Lies) -> bool {
        let customer_vid = match (lies.is_tunnelled, self.frame.key.has_vlan()) {
            (true, _) | (false, false) => self.outer_vid(),
            // The outer tag is the VLAN's own.
            (false, true) => self.frame.key.inner_vlan_tci & 0x0fff,
        };
        is_member(&port.config.vlan, lies.vlan) && serves(&port.config.vlan, customer_vid)
    }

    /// Where an address is, by what was learned before and from this very packet.
    fn whereabouts(&self, vlan: u16, mac: MacAddress) -> Option<OfPort> {
        if mac[0] & 1 == 1 {
            return None;
        }
        let last = self.outcome.used.iter().rev().find_map(|used| match *used {
            Used::Learn(id, vlan, mac, port) if id == self.id => Some((vlan, mac, port)),
            _ => None,
        });
        let now = last.filter(|last| (last.0, last.1) == (vlan, mac));
        now.map(|last| last.2).or_else(|| self.bridge.macs.lookup(vlan, mac))
    }

    /// Out of a port, with the tag that the VLAN has there; afterwards the packet is as before.
    fn send_in_vlan(&mut self, number: OfPort, port: &Port, lies: Lies) -> Result<(), Stop> {
        let before = self.frame.clone();
        self.retag(port, lies);
        let result = self.send(number, port);
        self.frame = before;
        result
    }

    fn retag(&mut self, port: &Port, lies: Lies) {
        let priority = if lies.is_tunnelled { 0 } else { self.frame.key.vlan_tci & 0xe000 };
        let has_own_tag = !lies.is_tunnelled && self.frame.key.has_vlan();
        match (tag_on_wire(&port.config.vlan, lies.vlan), has_own_tag) {
            (Some(vid), true) => self.frame.set_tci(vid, 0x0fff),
            (Some(vid), false) => {
                self.frame.push_vlan(if lies.is_tunnelled { SERVICE_TPID } else { 0x8100 }, vid)
            }
            (None, true) => {
                let keeps_tag = match port.config.priority_tags {
                    PriorityTags::Never => false,
                    PriorityTags::IfNonzero => priority != 0,
                    PriorityTags::Always => true,
                };
                if keeps_tag { self.frame.set_tci(0, 0x0fff) } else { self.frame.pop_vlan() }
            }
            (None, false) => {
                let has_tag = self.frame.key.vlan_tci & VLAN_CFI != 0;
                if port.config.priority_tags == PriorityTags::Always && !has_tag {
                    self.frame.push_vlan(0x8100, 0);
                }
            }
        }
    }

    /// Copies what came in by a port to the mirrors that want it.
    pub(super) fn mirror_ingress(&mut self, port: OfPort) -> Result<(), Stop> {
        self.mirror(port, self.bridge.mirrors.of_source(port))
    }

    /// Copies what left by a port to the mirrors that want it.
    pub(super) fn mirror_egress(&mut self, port: OfPort) -> Result<(), Stop> {
        self.mirror(port, self.bridge.mirrors.of_destination(port))
    }

    fn mirror(&mut self, number: OfPort, wanting: u32) -> Result<(), Stop> {
        let bridge = self.bridge;
        let lies = bridge.ports.get(&number).and_then(|port| entered(&port.config.vlan, self.outer_vid()));
        let Some(lies) = lies else { return Ok(()) };
        let before = (self.is_sent, self.reason, self.max_size);
        for index in 0..u32::BITS as usize {
            if wanting & !self.mirrored & 1 << index == 0 {
                // A switch that sends copies round does not know in time where they went.
                self.outcome.twice_mirrored |= wanting & self.mirrored_copies & 1 << index != 0;
                continue;
            }
            let Some(mirror) = bridge.mirrors.get(index) else { continue };
            if mirror.vlans.as_ref().is_some_and(|vlans| !vlans.contains(lies.vlan)) {
                continue;
            }
            self.mirrored |= mirror.duplicates;
            self.outcome.used.push(Used::Mirror(self.id, mirror.id));
            self.max_size = Some(usize::from(mirror.snaplen)).filter(|&size| size > 0);
            match mirror.output {
                None => {}
                Some(MirrorTarget::Port(to)) => {
                    if let Some(port) = bridge.ports.get(&to) {
                        self.send_in_vlan(to, port, lies)?;
                    }
                }
                Some(MirrorTarget::Vlan(vlan)) if vlan != lies.vlan && !self.is_reserved() => {
                    let lies = Lies { vlan, ..lies };
                    for (&to, port) in &bridge.ports {
                        if self.carries(port, lies) && !bridge.mirrors.is_output(to) {
                            self.send_in_vlan(to, port, lies)?;
                        }
                    }
                }
                Some(MirrorTarget::Vlan(_)) => {}
            }
        }
        // What listeners get is no use of the packet.
        (self.is_sent, self.reason, self.max_size) = before;
        Ok(())
    }
}
