//! Mirrors: copies of a bridge's traffic for someone who listens (SPAN, RSPAN).
//!
//! [`MirrorConfig`] is what is asked for, by the names of ports. [`Mirrors`] is the same in terms of the ports that
//! are there, as sets of mirrors for each port, so that a translation sees at one look whether any mirror wants a
//! packet; and it counts.
//!
//! # What a mirror gets
//! As in Open vSwitch, a packet is copied as it was received if it came in by a port selected as a source, and as it
//! is sent if it leaves by a port selected as a destination; `select_vlans` narrows both to packets of some VLANs, as
//! the port it came in by, or leaves by, sees them. A packet goes to one mirror at most once, and mirrors with one and
//! the same output count as one: the packet goes to the first of them, and counts for it alone. A copy that goes round
//! by itself, such as one for a select group, is a packet of its own in this.
//!
//! A copy for an output port leaves with the tag that NORMAL would give a packet of its VLAN there. A copy for an
//! output VLAN is put in that VLAN and leaves likewise by all ports that carry it; a packet that is in this VLAN
//! already, or for a reserved group address (IEEE 802.1Q table 8-1), is not copied to one. A copy that leaves by a
//! port may be selected by other mirrors there.
//!
//! What a mirror gets is no use of the packet: one that goes nowhere else is dropped for its own reason.
//!
//! # Threads
//! Changed by the control thread; read by translations on a shared borrow.
//!
//! # Bounds
//! [`MIRROR_COUNT_MAX`] mirrors of a bridge, as many as bits in a [`MirrorMask`].

use super::bridge::VlanSet;
use crate::flow::OfPort;
use std::collections::{BTreeMap, BTreeSet};

/// Mirrors of one bridge at most: as in Open vSwitch.
pub const MIRROR_COUNT_MAX: usize = 32;

/// A set of mirrors of one bridge: bit `n` is the mirror with index `n`.
pub type MirrorMask = u32;

/// What is asked of a mirror.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MirrorConfig {
    /// Its name, unique in the bridge.
    pub name: String,
    /// Whether every packet is selected, whatever port it uses.
    pub select_all: bool,
    /// Names of ports whose incoming packets are selected.
    pub select_src_ports: BTreeSet<String>,
    /// Names of ports whose outgoing packets are selected.
    pub select_dst_ports: BTreeSet<String>,
    /// Only packets of these VLANs (0: of none); none: of any. Without any port selected, it selects among all.
    pub select_vlans: Option<VlanSet>,
    /// Where the copies go.
    pub output: MirrorOutput,
    /// Bytes of a packet to copy at most, from 14 on; 0: all.
    pub snaplen: u16,
}

/// Where a mirror's copies go.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MirrorOutput {
    /// A port, by name. What comes in by it is dropped, and NORMAL and floods send nothing to it; rules that name it do.
    Port(String),
    /// A VLAN.
    Vlan(u16),
}

/// What a mirror has counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MirrorStats {
    /// Its name.
    pub name: String,
    /// Packets that it got.
    pub packets: u64,
    /// Bytes in them, whatever `snaplen` left of them.
    pub bytes: u64,
}

/// A mirror, in terms of the ports that are there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mirror {
    /// Its name.
    pub name: String,
    /// Tells it from all other mirrors that the bridge has had; stays with the name.
    pub id: u64,
    /// See [`MirrorConfig::select_vlans`].
    pub vlans: Option<VlanSet>,
    /// Where the copies go; none if there is no such port.
    pub output: Option<MirrorTarget>,
    /// See [`MirrorConfig::snaplen`].
    pub snaplen: u16,
    /// The mirrors with the same output, this one among them.
    pub duplicates: MirrorMask,
    packets: u64,
    bytes: u64,
}

/// See [`MirrorOutput`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MirrorTarget {
    /// A port.
    Port(OfPort),
    /// A VLAN.
    Vlan(u16),
}

/// The mirrors of one bridge.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Mirrors {
    mirrors: Vec<Mirror>,
    /// Mirrors that each port's incoming packets are selected for.
    sources: BTreeMap<OfPort, MirrorMask>,
    /// Mirrors that each port's outgoing packets are selected for.
    destinations: BTreeMap<OfPort, MirrorMask>,
    /// Ports that are reserved for mirrors.
    outputs: BTreeSet<OfPort>,
    last_id: u64,
}

impl Mirrors {
    /// Takes settings over, for the ports that are there by their names. Mirrors that keep their name keep their
    /// counters.
    pub fn set(&mut self, configs: &[MirrorConfig], ports: &BTreeMap<String, OfPort>) {
        let old = std::mem::take(self);
        self.last_id = old.last_id;
        let configs = &configs[..configs.len().min(MIRROR_COUNT_MAX)];
        for (index, config) in configs.iter().enumerate() {
            let same = |other: &MirrorConfig| other.output == config.output;
            let duplicates = configs.iter().enumerate().filter(|(_, other)| same(other));
            let duplicates = duplicates.fold(0, |mask, (place, _)| mask | 1 << place);
            let output = match &config.output {
                MirrorOutput::Port(name) => ports.get(name).copied().map(MirrorTarget::Port),
                MirrorOutput::Vlan(vlan) => Some(MirrorTarget::Vlan(*vlan)),
            };
            if let Some(MirrorTarget::Port(port)) = output {
                self.outputs.insert(port);
            }
            let has_ports = !config.select_src_ports.is_empty() || !config.select_dst_ports.is_empty();
            let selects_all = config.select_all || (!has_ports && config.select_vlans.is_some());
            for (name, &port) in ports {
                if selects_all || config.select_src_ports.contains(name) {
                    *self.sources.entry(port).or_insert(0) |= 1 << index;
                }
                if selects_all || config.select_dst_ports.contains(name) {
                    *self.destinations.entry(port).or_insert(0) |= 1 << index;
                }
            }
            let counted = old.mirrors.iter().find(|mirror| mirror.name == config.name);
            let (packets, bytes) = counted.map_or((0, 0), |mirror| (mirror.packets, mirror.bytes));
            let id = counted.map_or(self.last_id + 1, |mirror| mirror.id);
            self.last_id = self.last_id.max(id);
            self.mirrors.push(Mirror {
                name: config.name.clone(),
                id,
                vlans: config.select_vlans.clone(),
                output,
                snaplen: config.snaplen,
                duplicates,
                packets,
                bytes,
            });
        }
    }

    /// A mirror.
    pub fn get(&self, index: usize) -> Option<&Mirror> {
        self.mirrors.get(index)
    }

    /// Mirrors that want what comes in by a port, if its VLAN suits them.
    pub fn of_source(&self, port: OfPort) -> MirrorMask {
        self.sources.get(&port).copied().unwrap_or(0)
    }

    /// Mirrors that want what leaves by a port, if its VLAN suits them.
    pub fn of_destination(&self, port: OfPort) -> MirrorMask {
        self.destinations.get(&port).copied().unwrap_or(0)
    }

    /// Whether a port is reserved for a mirror.
    pub fn is_output(&self, port: OfPort) -> bool {
        self.outputs.contains(&port)
    }

    /// Counts what a mirror got, by [`Mirror::id`].
    pub fn credit(&mut self, id: u64, packets: u64, bytes: u64) {
        if let Some(mirror) = self.mirrors.iter_mut().find(|mirror| mirror.id == id) {
            mirror.packets += packets;
            mirror.bytes += bytes;
        }
    }

    /// What they have counted, in the order of the settings.
    pub fn stats(&self) -> Vec<MirrorStats> {
        let stats = |mirror: &Mirror| MirrorStats {
            name: mirror.name.clone(),
            packets: mirror.packets,
            bytes: mirror.bytes,
        };
        self.mirrors.iter().map(stats).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror(name: &str, output: MirrorOutput) -> MirrorConfig {
        MirrorConfig {
            name: name.to_owned(),
            select_all: false,
            select_src_ports: BTreeSet::new(),
            select_dst_ports: BTreeSet::new(),
            select_vlans: None,
            output,
            snaplen: 0,
        }
    }

    #[test]
    fn ports_are_found_by_name_and_counters_stay_with_the_name() {
        let ports: BTreeMap<String, OfPort> =
            [("a", 1), ("b", 2), ("out", 3)].map(|(name, n)| (name.to_owned(), OfPort(n))).into();
        let to_port = || MirrorOutput::Port("out".to_owned());
        let mut source = mirror("m0", to_port());
        source.select_src_ports.insert("a".to_owned());
        let all = MirrorConfig { select_all: true, ..mirror("m1", to_port()) };
        let vlans = MirrorConfig {
            select_vlans: Some([5].into_iter().collect()),
            ..mirror("m2", MirrorOutput::Vlan(9))
        };
        let mut mirrors = Mirrors::default();
        mirrors.set(&[source, all.clone(), vlans], &ports);
        assert_eq!((mirrors.of_source(OfPort(1)), mirrors.of_source(OfPort(2))), (0b111, 0b110));
        assert_eq!(mirrors.of_destination(OfPort(1)), 0b110);
        assert!(mirrors.is_output(OfPort(3)) && !mirrors.is_output(OfPort(1)));
        assert_eq!(mirrors.get(0).map(|mirror| mirror.duplicates), Some(0b11));
        let id = mirrors.get(1).expect("there are three").id;
        mirrors.credit(id, 2, 200);
        mirrors.set(&[all], &BTreeMap::new());
        assert_eq!(mirrors.stats(), [MirrorStats { name: "m1".to_owned(), packets: 2, bytes: 200 }]);
        assert_eq!(mirrors.get(0).and_then(|mirror| mirror.output), None, "the port is gone");
    }
}
