//! Mirrors: copies of what comes in and goes out. See [`crate::ofproto::mirrors`] for what they get.

use super::{Context, Credit, Stop};
use crate::flow::OfPort;
use crate::ofproto::bridge::VlanIn;
use crate::ofproto::mirrors::{MirrorMask, MirrorTarget};

impl Context<'_> {
    /// Copies the packet, as it is, to those of `wanting` that have not got it yet. `number` is the port that it came
    /// in by, or just left by.
    pub(super) fn mirror(&mut self, number: OfPort, wanting: MirrorMask) -> Result<(), Stop> {
        if wanting & !self.mirrored == 0 {
            return Ok(());
        }
        let bridge = self.bridge;
        let vid = self.outer_vid()?;
        let lies = bridge.ports.get(&number).and_then(|port| port.config.vlan.vlan_in(vid));
        let Some(lies) = lies else { return Ok(()) };
        let (is_sent, reason, max_len) = (self.is_sent, self.reason, self.max_len);
        for index in 0..MirrorMask::BITS as usize {
            if wanting & !self.mirrored & 1 << index != 0 {
                self.mirror_to(index, lies)?;
            }
        }
        // What listeners get is no use of the packet.
        (self.is_sent, self.reason, self.max_len) = (is_sent, reason, max_len);
        Ok(())
    }

    fn mirror_to(&mut self, index: usize, lies: VlanIn) -> Result<(), Stop> {
        let bridge = self.bridge;
        let Some(mirror) = bridge.mirrors.get(index) else { return Ok(()) };
        if mirror.vlans.as_ref().is_some_and(|vlans| !vlans.contains(lies.vlan)) {
            return Ok(());
        }
        self.packet.must_be_here()?;
        self.mirrored |= mirror.duplicates;
        self.credits.push(Credit::Mirror { bridge: self.bridge_id, mirror: mirror.id });
        self.max_len = Some(u32::from(mirror.snaplen)).filter(|&len| len > 0);
        match mirror.output {
            Some(MirrorTarget::Port(to)) => match bridge.ports.get(&to) {
                Some(port) => self.send_in_vlan(to, port, lies),
                None => Ok(()),
            },
            Some(MirrorTarget::Vlan(vlan)) if vlan != lies.vlan && !self.is_reserved()? => {
                let lies = VlanIn { vlan, ..lies };
                for (&to, port) in &bridge.ports {
                    if !bridge.mirrors.is_output(to) && self.carries(port, lies)? {
                        self.send_in_vlan(to, port, lies)?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
