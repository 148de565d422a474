//! Bridges and their ports: the state that translation reads.
//!
//! [`Bridges`] is the whole of it. The control thread changes it between batches; a batch of translations
//! reads it on a shared borrow. Each change that could make a translation come out otherwise moves an *epoch*
//! on, and a cached translation remembers the epochs that it was made under: [`Bridge::config_epoch`] for
//! rules, ports and settings, [`Bridge::mac_epoch`] for the MAC table, which only NORMAL reads, and
//! [`Bridges::ports_epoch`] for which bridge a port belongs to.
//!
//! # Bounds
//! At most 65 535 bridges over the life of a switch, and [`crate::dpif::PORT_COUNT_MAX`] ports in all.

use super::mac_learning::MacTable;
use super::tables::FlowTables;
use super::{OfprotoError, PortInfo};
use crate::dpif::{ExporterId, MeteringConfig};
use crate::flow::{DpPort, OfPort};
use crate::sync::Nanos;
use std::collections::BTreeMap;

/// A bridge of this switch, counted from 0; a removed bridge's number is not used again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BridgeId(pub u16);

/// A bridge's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BridgeConfig {
    /// Its name, unique in the switch.
    pub name: String,
    /// Its OpenFlow datapath id.
    pub datapath_id: u64,
    /// How long an address that is not seen stays in the MAC table.
    pub mac_ageing: Nanos,
    /// Addresses in the MAC table at most.
    pub mac_table_len_max: usize,
    /// Whether NORMAL forwards frames to 01:80:c2:00:00:00 to -0f, which bridges keep to themselves
    /// (IEEE 802.1Q table 8-1).
    pub forward_bpdu: bool,
    /// Whether packets whose TTL runs out go to the controllers.
    pub invalid_ttl_to_controller: bool,
    /// Its metering.
    pub ipfix: Option<BridgeIpfix>,
}

impl BridgeConfig {
    /// Settings as Open vSwitch has them if nobody says otherwise: ageing after 300 s, 8 192 addresses.
    pub fn new(name: &str, datapath_id: u64) -> BridgeConfig {
        BridgeConfig {
            name: name.to_owned(),
            datapath_id,
            mac_ageing: Nanos::from_secs(300),
            mac_table_len_max: 8_192,
            forward_bpdu: false,
            invalid_ttl_to_controller: false,
            ipfix: None,
        }
    }
}

/// A bridge's IPFIX metering.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BridgeIpfix {
    /// Chance of a packet to be metered, of `u32::MAX`.
    pub probability: u32,
    /// Whether packets are metered as they come in.
    pub input: bool,
    /// Whether packets are metered as they leave, once for each port.
    pub output: bool,
    /// What the datapath meters; its exporter is the bridge's.
    pub metering: MeteringConfig,
}

impl BridgeIpfix {
    /// Whose observations these are.
    pub fn exporter(&self) -> ExporterId {
        self.metering.exporter
    }
}

/// A port's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortConfig {
    /// Its name, unique in the switch.
    pub name: String,
    /// Its OpenFlow number: 1 to 65 280, or [`OfPort::LOCAL`]; none for the lowest that is free.
    pub number: Option<OfPort>,
    /// Which VLANs NORMAL carries over it, and how.
    pub vlan: VlanMode,
    /// Whether FLOOD and NORMAL's flooding go out of it.
    pub flood: bool,
}

impl PortConfig {
    /// A trunk of all VLANs that takes part in flooding.
    pub fn new(name: &str) -> PortConfig {
        let vlan = VlanMode::Trunk { allowed: VlanSet::all(), native: None };
        PortConfig { name: name.to_owned(), number: None, vlan, flood: true }
    }
}

/// Which VLANs a port carries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VlanMode {
    /// Untagged frames of one VLAN; tagged frames are dropped.
    Access {
        /// The VLAN, 1 to 4 094.
        tag: u16,
    },
    /// Tagged frames of several VLANs. Untagged frames belong to `native`, or to VLAN 0 if there is none.
    Trunk {
        /// The VLANs.
        allowed: VlanSet,
        /// The VLAN that is untagged on this port.
        native: Option<u16>,
    },
}

impl VlanMode {
    /// The VLAN of a frame that came in with this tag (VLAN id of a tag with one other than 0, else none);
    /// none if the port does not carry it.
    pub fn vlan_in(&self, tag: Option<u16>) -> Option<u16> {
        match (self, tag) {
            (VlanMode::Access { tag }, None) => Some(*tag),
            (VlanMode::Access { .. }, Some(_)) => None,
            (VlanMode::Trunk { native, .. }, tag) => {
                let vlan = tag.or(*native).unwrap_or(0);
                self.carries(vlan).then_some(vlan)
            }
        }
    }

    /// Whether frames of a VLAN leave by the port.
    pub fn carries(&self, vlan: u16) -> bool {
        match self {
            VlanMode::Access { tag } => *tag == vlan,
            VlanMode::Trunk { allowed, native } => *native == Some(vlan) || allowed.contains(vlan),
        }
    }

    /// The VLAN id of the tag that frames of a VLAN leave with; none for no tag.
    pub fn tag_out(&self, vlan: u16) -> Option<u16> {
        match self {
            VlanMode::Access { .. } => None,
            VlanMode::Trunk { native, .. } => (vlan != 0 && *native != Some(vlan)).then_some(vlan),
        }
    }
}

/// A set of VLAN ids, 0 (no VLAN) to 4 095.
#[derive(Clone, PartialEq, Eq)]
pub struct VlanSet(Box<[u64; 64]>);

impl VlanSet {
    /// All of them.
    pub fn all() -> VlanSet {
        VlanSet(Box::new([u64::MAX; 64]))
    }

    /// None of them.
    pub fn none() -> VlanSet {
        VlanSet(Box::new([0; 64]))
    }

    /// Adds one; ids of more than 12 bits are ignored.
    pub fn insert(&mut self, vlan: u16) {
        if let Some(word) = self.0.get_mut(usize::from(vlan / 64)) {
            *word |= 1 << (vlan % 64);
        }
    }

    /// Whether it has one.
    pub fn contains(&self, vlan: u16) -> bool {
        self.0.get(usize::from(vlan / 64)).is_some_and(|word| word >> (vlan % 64) & 1 == 1)
    }
}

impl FromIterator<u16> for VlanSet {
    fn from_iter<I: IntoIterator<Item = u16>>(vlans: I) -> VlanSet {
        let mut set = VlanSet::none();
        vlans.into_iter().for_each(|vlan| set.insert(vlan));
        set
    }
}

impl std::fmt::Debug for VlanSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((0..4096).filter(|&vlan| self.contains(vlan))).finish()
    }
}

/// A port of a bridge.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its number in the datapath.
    pub dp_port: DpPort,
    /// Its settings.
    pub config: PortConfig,
    /// Whether packets can pass it.
    pub is_link_up: bool,
}

/// A bridge.
#[derive(Debug)]
pub struct Bridge {
    /// Its settings.
    pub config: BridgeConfig,
    /// Its ports.
    pub ports: BTreeMap<OfPort, Port>,
    /// Its rules.
    pub tables: FlowTables,
    /// What it has learned.
    pub macs: MacTable,
    /// Moves on with every change of rules, ports or settings.
    pub config_epoch: u64,
    /// Moves on with every change of where an address is.
    pub mac_epoch: u64,
}

impl Bridge {
    /// A bridge without ports or rules.
    pub fn new(config: BridgeConfig) -> Bridge {
        let macs = MacTable::new(config.mac_table_len_max, config.mac_ageing);
        Bridge {
            config,
            ports: BTreeMap::new(),
            tables: FlowTables::default(),
            macs,
            config_epoch: 0,
            mac_epoch: 0,
        }
    }

    /// Its ports, as told to others.
    pub fn port_infos(&self) -> Vec<PortInfo> {
        let info = |(&number, port): (&OfPort, &Port)| PortInfo {
            number,
            dp_port: port.dp_port,
            config: port.config.clone(),
            is_link_up: port.is_link_up,
        };
        self.ports.iter().map(info).collect()
    }

    /// The lowest number that no port has.
    pub fn free_port_number(&self) -> Option<OfPort> {
        (1..=OfPort::MAX.0).map(OfPort).find(|number| !self.ports.contains_key(number))
    }
}

/// All bridges, and whose each port of the datapath is.
#[derive(Debug, Default)]
pub struct Bridges {
    /// By [`BridgeId`]; removed ones leave their place empty.
    bridges: Vec<Option<Bridge>>,
    /// By [`DpPort::index`].
    owners: Vec<Option<(BridgeId, OfPort)>>,
    /// Moves on whenever a port comes to a bridge or leaves it, and with its link.
    pub ports_epoch: u64,
}

impl Bridges {
    /// Adds a bridge.
    pub fn insert(&mut self, bridge: Bridge) -> BridgeId {
        let id = u16::try_from(self.bridges.len()).expect("fewer than 65 536 bridges are ever added");
        self.bridges.push(Some(bridge));
        BridgeId(id)
    }

    /// Removes a bridge; its ports must be gone.
    pub fn remove(&mut self, id: BridgeId) -> Option<Bridge> {
        self.ports_epoch += 1;
        self.bridges.get_mut(usize::from(id.0))?.take()
    }

    /// A bridge.
    pub fn get(&self, id: BridgeId) -> Option<&Bridge> {
        self.bridges.get(usize::from(id.0))?.as_ref()
    }

    /// A bridge, to change.
    pub fn get_mut(&mut self, id: BridgeId) -> Option<&mut Bridge> {
        self.bridges.get_mut(usize::from(id.0))?.as_mut()
    }

    /// All bridges, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (BridgeId, &Bridge)> {
        let numbered = self.bridges.iter().enumerate();
        numbered.filter_map(|(id, bridge)| Some((BridgeId(id as u16), bridge.as_ref()?)))
    }

    /// All bridges, to change.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (BridgeId, &mut Bridge)> {
        let numbered = self.bridges.iter_mut().enumerate();
        numbered.filter_map(|(id, bridge)| Some((BridgeId(id as u16), bridge.as_mut()?)))
    }

    /// Whose a port of the datapath is, and what its number is there.
    pub fn owner(&self, port: DpPort) -> Option<(BridgeId, OfPort)> {
        self.owners.get(port.index()).copied().flatten()
    }

    /// Gives a port to a bridge.
    pub fn port_insert(&mut self, id: BridgeId, number: OfPort, port: Port) {
        let Some(bridge) = self.bridges.get_mut(usize::from(id.0)).and_then(Option::as_mut) else { return };
        let index = port.dp_port.index();
        if self.owners.len() <= index {
            self.owners.resize(index + 1, None);
        }
        self.owners[index] = Some((id, number));
        bridge.ports.insert(number, port);
        bridge.config_epoch += 1;
        self.ports_epoch += 1;
    }

    /// The number that a new port of a bridge gets.
    ///
    /// # Errors
    /// What stands against the port.
    pub fn port_number_for(&self, id: BridgeId, config: &PortConfig) -> Result<OfPort, OfprotoError> {
        let bridge = self.get(id).ok_or(OfprotoError::NoSuchBridge(id))?;
        let number = match config.number {
            Some(number) => number,
            None => bridge.free_port_number().ok_or(OfprotoError::BadPortNumber(OfPort::MAX))?,
        };
        if number != OfPort::LOCAL && !(1..=OfPort::MAX.0).contains(&number.0) {
            return Err(OfprotoError::BadPortNumber(number));
        }
        let mut names = self.iter().flat_map(|(_, bridge)| bridge.ports.values()).map(|p| &p.config.name);
        if names.any(|name| *name == config.name) || bridge.ports.contains_key(&number) {
            let (bridge, name) = (bridge.config.name.clone(), config.name.clone());
            return Err(OfprotoError::PortExists { bridge, name, number });
        }
        Ok(number)
    }

    /// The error that says that a port is not there.
    pub fn no_such_port(&self, id: BridgeId, number: OfPort) -> OfprotoError {
        match self.get(id) {
            Some(bridge) => OfprotoError::NoSuchPort { bridge: bridge.config.name.clone(), number },
            None => OfprotoError::NoSuchBridge(id),
        }
    }

    /// Notes whether packets can pass a port; see [`super::Ofproto::port_set_link`]. Returns whether that is news;
    /// none if there is no such port.
    pub fn port_set_link(&mut self, id: BridgeId, number: OfPort, is_up: bool) -> Option<bool> {
        let bridge = self.bridges.get_mut(usize::from(id.0))?.as_mut()?;
        let port = bridge.ports.get_mut(&number)?;
        if port.is_link_up == is_up {
            return Some(false);
        }
        port.is_link_up = is_up;
        bridge.config_epoch += 1;
        if !is_up && bridge.macs.forget_port(number) {
            bridge.mac_epoch += 1;
        }
        self.ports_epoch += 1;
        Some(true)
    }

    /// Takes a port from its bridge.
    pub fn port_remove(&mut self, id: BridgeId, number: OfPort) -> Option<Port> {
        let bridge = self.bridges.get_mut(usize::from(id.0))?.as_mut()?;
        let port = bridge.ports.remove(&number)?;
        bridge.config_epoch += 1;
        if bridge.macs.forget_port(number) {
            bridge.mac_epoch += 1;
        }
        self.owners[port.dp_port.index()] = None;
        self.ports_epoch += 1;
        Some(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlans_come_in_and_go_out_as_the_port_says() {
        let access = VlanMode::Access { tag: 5 };
        assert_eq!((access.vlan_in(None), access.vlan_in(Some(5)), access.tag_out(5)), (Some(5), None, None));
        assert!(access.carries(5) && !access.carries(0));
        let trunk = VlanMode::Trunk { allowed: [5, 6].into_iter().collect(), native: Some(9) };
        assert_eq!(
            (trunk.vlan_in(None), trunk.vlan_in(Some(6)), trunk.vlan_in(Some(7))),
            (Some(9), Some(6), None)
        );
        assert_eq!((trunk.tag_out(9), trunk.tag_out(6)), (None, Some(6)));
        let open = PortConfig::new("p").vlan;
        assert_eq!(
            (open.vlan_in(None), open.vlan_in(Some(4095)), open.tag_out(0)),
            (Some(0), Some(4095), None)
        );
    }

    #[test]
    fn a_port_has_one_owner_and_epochs_move_with_it() {
        let mut bridges = Bridges::default();
        let id = bridges.insert(Bridge::new(BridgeConfig::new("br0", 1)));
        let port = Port { dp_port: DpPort(3), config: PortConfig::new("p"), is_link_up: true };
        let before = bridges.ports_epoch;
        bridges.port_insert(id, OfPort(1), port);
        assert_eq!((bridges.owner(DpPort(3)), bridges.owner(DpPort(2))), (Some((id, OfPort(1))), None));
        assert_eq!(bridges.get(id).and_then(Bridge::free_port_number), Some(OfPort(2)));
        assert!(bridges.ports_epoch > before && bridges.get(id).expect("added").config_epoch > 0);
        let before = bridges.ports_epoch;
        assert_eq!(bridges.port_set_link(id, OfPort(1), true), Some(false));
        assert_eq!(bridges.ports_epoch, before, "nothing has changed");
        assert_eq!(bridges.port_set_link(id, OfPort(1), false), Some(true));
        assert!(bridges.ports_epoch > before && bridges.port_set_link(id, OfPort(2), false).is_none());
        assert!(bridges.port_remove(id, OfPort(1)).is_some() && bridges.owner(DpPort(3)).is_none());
        assert!(bridges.remove(id).is_some() && bridges.get(id).is_none() && bridges.iter().count() == 0);
    }
}
