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

use super::groups::{GroupCursor, Groups, STATS_PART_WEIGHT};
use super::learn::Learned;
use super::mac_learning::MacTable;
use super::meters::{Meter, MeterChange, MeterIds, Meters};
use super::mirrors::{MirrorConfig, Mirrors};
use super::recirc::FrozenStore;
use super::references::Named;
use super::rules::RuleId;
use super::tables::{Change, FlowTables};
use super::{FlowModError, FlowRemovedReason, OfprotoError, PortInfo};
use crate::dpif::{ExporterId, MeterId, MeterStats as DpMeterStats, MeteringConfig};
use crate::flow::{DpPort, OfPort};
use crate::openflow::group::{Bucket, GROUP_ALL, GroupMod, GroupModCommand, GroupStats};
use crate::openflow::meter::{METER_ALL, MeterMod, MeterStats};
use crate::openflow::{Action, FlowMod, FlowModCommand, OfError};
use crate::sync::Nanos;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

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
    /// What happens to IP fragments.
    pub fragments: FragmentPolicy,
    /// How many packets go to the controllers at most; none: no limit.
    pub controller_rate: Option<ControllerRate>,
    /// Its mirrors, by name; at most [`super::mirrors::MIRROR_COUNT_MAX`], further ones do nothing.
    pub mirrors: Vec<MirrorConfig>,
    /// Whether it forwards as a learning switch does, whatever its rules: while its controllers are away (fail-standalone
    /// mode, OpenFlow 1.5.1 section 6.3.2).
    pub is_standalone: bool,
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
            fragments: FragmentPolicy::Normal,
            controller_rate: None,
            mirrors: Vec::new(),
            is_standalone: false,
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

/// How many packets go to the controllers at most; beyond it they are dropped and counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ControllerRate {
    /// Packets a second, at least 1.
    pub packets_per_s: u32,
    /// Packets at once, at least 1.
    pub burst: u32,
}

/// What happens to IP fragments (OpenFlow 1.5.1 section 7.3.2: `OFPC_FRAG_*`, and Open vSwitch's `nx-match`).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum FragmentPolicy {
    /// They are handled like others, but to rules the ports of every fragment, first ones too, are 0.
    #[default]
    Normal,
    /// They are dropped ([`crate::dpif::DropReason::Fragment`]).
    Drop,
    /// Like others: first fragments show their ports, later ones have 0.
    NxMatch,
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
    /// Whether what NORMAL sends without its VLAN's tag may have a tag with VLAN id 0, for its priority.
    pub priority_tags: PriorityTags,
    /// Whether NORMAL sends nothing to other ports that are protected as well.
    pub protected: bool,
    /// What it does not do.
    pub flags: PortFlags,
    /// Its state in a spanning tree.
    pub stp: StpState,
}

impl PortConfig {
    /// A trunk of all VLANs that does everything.
    pub fn new(name: &str) -> PortConfig {
        PortConfig {
            name: name.to_owned(),
            number: None,
            vlan: VlanMode::Trunk { allowed: VlanSet::all() },
            priority_tags: PriorityTags::Never,
            protected: false,
            flags: PortFlags::default(),
            stp: StpState::Forwarding,
        }
    }
}

/// What a port does not do (`OFPPC_*`, OpenFlow 1.5.1 section 7.2.1.1 and OpenFlow 1.0 section 5.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct PortFlags {
    /// Administratively down: it takes nothing in and lets nothing out.
    pub down: bool,
    /// It takes in no packets but those of spanning tree: others die of `PortNoReceive`.
    pub no_receive: bool,
    /// It takes in no packets of spanning tree.
    pub no_receive_stp: bool,
    /// FLOOD and NORMAL's flooding do not go out of it.
    pub no_flood: bool,
    /// It lets no packets out (`PortNoForward`).
    pub no_forward: bool,
    /// What table-miss rules send to the controllers is not sent if it came in by it.
    pub no_packet_in: bool,
}

impl PortFlags {
    /// These, with what `mask` means taken from `flags`.
    #[must_use]
    pub fn changed(self, flags: PortFlags, mask: PortFlags) -> PortFlags {
        let one = |old: bool, new: bool, is_meant: bool| if is_meant { new } else { old };
        PortFlags {
            down: one(self.down, flags.down, mask.down),
            no_receive: one(self.no_receive, flags.no_receive, mask.no_receive),
            no_receive_stp: one(self.no_receive_stp, flags.no_receive_stp, mask.no_receive_stp),
            no_flood: one(self.no_flood, flags.no_flood, mask.no_flood),
            no_forward: one(self.no_forward, flags.no_forward, mask.no_forward),
            no_packet_in: one(self.no_packet_in, flags.no_packet_in, mask.no_packet_in),
        }
    }
}

/// The state of a port in a spanning tree (IEEE 802.1D-2004 table 17-1 and 802.1D-1998 section 8.4).
///
/// What comes in by a port in [`StpState::Disabled`], [`StpState::Blocking`] or [`StpState::Listening`] dies of
/// `StpBlocked` before any rule sees it; in [`StpState::Learning`] rules see it, so that NORMAL learns, but nothing is
/// sent. Nothing leaves by a port in any of the four. Frames to reserved group addresses (IEEE 802.1Q table 8-1) are
/// exempt from all of this.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum StpState {
    /// Not in use.
    Disabled,
    /// Kept out of the tree.
    Blocking,
    /// On the way into the tree.
    Listening,
    /// Learns where addresses are, and does not forward yet.
    Learning,
    /// In use.
    #[default]
    Forwarding,
}

/// See [`PortConfig::priority_tags`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub enum PriorityTags {
    /// The VLAN's tag is taken off, if there is one.
    #[default]
    Never,
    /// A tag of the VLAN whose priority is not 0 stays, with VLAN id 0.
    IfNonzero,
    /// A tag of the VLAN stays, with VLAN id 0; a frame that would leave without any tag gets one of TPID 0x8100
    /// and priority 0.
    Always,
}

/// Which VLANs a port carries: Open vSwitch's `vlan_mode`.
///
/// A frame that comes in has an outermost VLAN id: that of its outermost tag, or 0 without one. In all modes but the
/// last the outermost tag, if there is one, is the VLAN's tag.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VlanMode {
    /// Frames without a VLAN id belong to one VLAN; frames with one are dropped. Frames leave without the tag.
    Access {
        /// The VLAN, 1 to 4 094.
        tag: u16,
    },
    /// Tagged frames of several VLANs; a frame without a VLAN id belongs to VLAN 0, and leaves without a tag.
    Trunk {
        /// The VLANs.
        allowed: VlanSet,
    },
    /// A trunk where frames without a VLAN id belong to one VLAN, whose frames leave tagged.
    NativeTagged {
        /// The VLAN, 1 to 4 094; it need not be in `allowed`.
        tag: u16,
        /// The other VLANs.
        allowed: VlanSet,
    },
    /// A trunk where frames without a VLAN id belong to one VLAN, whose frames leave without the tag.
    NativeUntagged {
        /// The VLAN, 1 to 4 094; it need not be in `allowed`.
        tag: u16,
        /// The other VLANs.
        allowed: VlanSet,
    },
    /// All frames belong to one VLAN, whatever tag they have: that is the customer's. The VLAN's own tag (0x88a8,
    /// priority 0) is put outside of it where the frame leaves by a trunk, and taken off where it leaves by
    /// a port like this.
    Dot1qTunnel {
        /// The VLAN, 1 to 4 094.
        tag: u16,
        /// Outermost VLAN ids of the customer's frames that it carries, coming and going; 0 is for those without.
        customer: VlanSet,
    },
}

/// The TPID of the tag that [`VlanMode::Dot1qTunnel`] adds.
pub const SERVICE_TPID: u16 = 0x88a8;

/// How a frame lies in its VLAN.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VlanIn {
    /// The VLAN; 0 for none.
    pub vlan: u16,
    /// Whether the VLAN's tag is not in the frame, and an outermost tag is the customer's.
    pub is_tunnelled: bool,
}

impl VlanMode {
    /// Where a frame belongs that came in with this outermost VLAN id (0: none); none if the port does not carry
    /// it.
    pub fn vlan_in(&self, vid: u16) -> Option<VlanIn> {
        let plain = |vlan| VlanIn { vlan, is_tunnelled: false };
        match self {
            VlanMode::Access { tag } => (vid == 0).then(|| plain(*tag)),
            VlanMode::Trunk { allowed } => allowed.contains(vid).then(|| plain(vid)),
            VlanMode::NativeTagged { tag, .. } | VlanMode::NativeUntagged { tag, .. } => {
                let vlan = if vid == 0 { *tag } else { vid };
                self.carries(vlan).then(|| plain(vlan))
            }
            VlanMode::Dot1qTunnel { tag, customer } => {
                customer.contains(vid).then_some(VlanIn { vlan: *tag, is_tunnelled: true })
            }
        }
    }

    /// Whether frames of a VLAN leave by the port, as far as the VLAN decides it: see [`VlanMode::customer`].
    pub fn carries(&self, vlan: u16) -> bool {
        match self {
            VlanMode::Access { tag } | VlanMode::Dot1qTunnel { tag, .. } => *tag == vlan,
            VlanMode::Trunk { allowed } => allowed.contains(vlan),
            VlanMode::NativeTagged { tag, allowed } | VlanMode::NativeUntagged { tag, allowed } => {
                *tag == vlan || allowed.contains(vlan)
            }
        }
    }

    /// The customer's outermost VLAN ids that may leave by the port (0 for none); none if they don't matter.
    pub fn customer(&self) -> Option<&VlanSet> {
        match self {
            VlanMode::Dot1qTunnel { customer, .. } => Some(customer).filter(|customer| !customer.is_full()),
            _ => None,
        }
    }

    /// The VLAN id of the tag that frames of a VLAN leave with; none for no tag.
    pub fn tag_out(&self, vlan: u16) -> Option<u16> {
        match self {
            VlanMode::Access { .. } | VlanMode::Dot1qTunnel { .. } => None,
            VlanMode::NativeUntagged { tag, .. } if *tag == vlan => None,
            VlanMode::Trunk { .. } | VlanMode::NativeTagged { .. } | VlanMode::NativeUntagged { .. } => {
                (vlan != 0).then_some(vlan)
            }
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

    /// Whether it has all of them.
    pub fn is_full(&self) -> bool {
        self.0.iter().all(|&word| word == u64::MAX)
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
        if self.is_full() {
            return f.write_str("all");
        }
        f.debug_set().entries((0..4096).filter(|&vlan| self.contains(vlan))).finish()
    }
}

/// A port of a bridge.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its number in the datapath; [`DpPort::NONE`] for a patch port.
    pub dp_port: DpPort,
    /// Its settings.
    pub config: PortConfig,
    /// For a patch port: what its other end is, and what went through.
    pub patch: Option<Patch>,
    /// Whether its device has a link, as far as is known; of a patch port, whether its peer is there.
    pub is_link_up: bool,
}

/// What makes a port a patch port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Patch {
    /// Name of the port, of this or another bridge, whose peer is this one.
    pub peer: String,
    /// Where that is; none while there is no such port, or it has another peer.
    pub peer_port: Option<(BridgeId, OfPort)>,
    /// What went through.
    pub stats: PatchStats,
}

/// What a patch port has counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct PatchStats {
    /// Packets that came in by it from its peer.
    pub rx_packets: u64,
    /// Bytes in them.
    pub rx_bytes: u64,
    /// Packets that were sent to its peer.
    pub tx_packets: u64,
    /// Bytes in them.
    pub tx_bytes: u64,
}

impl Port {
    /// A port with a device, whose link is taken to be up.
    pub fn new(dp_port: DpPort, config: PortConfig) -> Port {
        Port { dp_port, config, patch: None, is_link_up: true }
    }

    /// One end of a patch.
    pub fn new_patch(config: PortConfig, peer: &str) -> Port {
        let patch = Patch { peer: peer.to_owned(), peer_port: None, stats: PatchStats::default() };
        Port { dp_port: DpPort::NONE, config, patch: Some(patch), is_link_up: false }
    }

    /// Whether groups that watch it may use it (OFPPS_LIVE): it has a link, is not administratively down, and its spanning
    /// tree lets it send.
    pub fn is_live(&self) -> bool {
        self.is_link_up && !self.config.flags.down && self.config.stp == StpState::Forwarding
    }

    /// Whether addresses are learned from what comes in by it: it has a link, or is a patch, and its place in the
    /// spanning tree allows it.
    pub fn learns(&self) -> bool {
        (self.is_link_up || self.patch.is_some())
            && matches!(self.config.stp, StpState::Learning | StpState::Forwarding)
    }
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
    /// Its groups.
    pub groups: Groups,
    /// Its meters.
    pub meters: Meters,
    /// What its mirrors are, in terms of its ports as they are.
    pub mirrors: Mirrors,
    /// What it has learned.
    pub macs: MacTable,
    /// Moves on with every change of rules, groups, meters, mirrors, ports or settings.
    pub config_epoch: u64,
    /// Moves on with every change of where an address is.
    pub mac_epoch: u64,
}

/// What a group-mod or meter-mod did besides.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Cascade {
    /// Rules that left their tables because they named what is gone; they wait for [`FlowTables::release`].
    pub removed_rules: Vec<RuleId>,
    /// The same, for meters: what the datapath's meters are to be now. For groups always empty.
    pub meters: Vec<MeterChange>,
}

impl Bridge {
    /// A bridge without ports or rules.
    pub fn new(config: BridgeConfig) -> Bridge {
        let macs = MacTable::new(config.mac_table_len_max, config.mac_ageing);
        let mut mirrors = Mirrors::default();
        mirrors.set(&config.mirrors, &BTreeMap::new());
        Bridge {
            config,
            ports: BTreeMap::new(),
            tables: FlowTables::default(),
            groups: Groups::default(),
            meters: Meters::default(),
            mirrors,
            macs,
            config_epoch: 0,
            mac_epoch: 0,
        }
    }

    /// Carries a flow-mod out, as [`FlowTables::flow_mod`] does, if the groups and meters that it names are there.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn flow_mod(&mut self, flow_mod: &FlowMod, now: Nanos) -> Result<Change, OfError> {
        self.tables.is_asked = true;
        let result = self.change_rules(flow_mod, now);
        self.tables.is_asked = false;
        result
    }

    /// The same, for whom nobody asks: packets that teach rules.
    pub(super) fn change_rules(&mut self, flow_mod: &FlowMod, now: Nanos) -> Result<Change, OfError> {
        let is_delete = matches!(flow_mod.command, FlowModCommand::Delete | FlowModCommand::DeleteStrict);
        if !is_delete {
            self.check_references(&flow_mod.actions)?;
        }
        let change = self.tables.flow_mod(flow_mod, now)?;
        self.config_epoch += u64::from(change.touched > 0);
        Ok(change)
    }

    /// Checks that the groups and meters that actions name are there.
    ///
    /// # Errors
    /// [`OfError::BadActionOutGroup`], [`OfError::BadActionMeter`].
    pub fn check_references(&self, actions: &[Action]) -> Result<(), OfError> {
        self.groups.check_references(actions)?;
        self.meters.check_references(actions)
    }

    /// Carries a group-mod out, wholly or not at all.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn group_mod(&mut self, group_mod: &GroupMod, now: Nanos) -> Result<Cascade, OfError> {
        let removed = self.groups.group_mod(group_mod, now)?;
        self.config_epoch += 1;
        let removed = removed.into_iter().map(Named::Group);
        let removed_rules = self.remove_asked(FlowRemovedReason::GroupDelete, removed);
        Ok(Cascade { removed_rules, meters: Vec::new() })
    }

    /// Carries a meter-mod out, wholly or not at all. `ids` are the datapath's meters that are free.
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn meter_mod(
        &mut self,
        meter_mod: &MeterMod,
        ids: &mut MeterIds,
        now: Nanos,
    ) -> Result<Cascade, OfError> {
        let (changes, removed) = self.meters.meter_mod(meter_mod, ids, now)?;
        self.config_epoch += 1;
        let removed = removed.into_iter().map(Named::Meter);
        let removed_rules = self.remove_asked(FlowRemovedReason::MeterDelete, removed);
        Ok(Cascade { removed_rules, meters: changes })
    }

    fn remove_asked(&mut self, reason: FlowRemovedReason, named: impl Iterator<Item = Named>) -> Vec<RuleId> {
        self.tables.is_asked = true;
        let removed = self.tables.remove_naming(reason, named);
        self.tables.is_asked = false;
        removed
    }

    /// Whether packets may have been counted for what a group-mod replaces or deletes: for the group, or one of its buckets,
    /// by way of rules or of other groups. Rules that no longer name what they named lately may have named any.
    pub fn replaces_what_counts(&self, group_mod: &GroupMod) -> bool {
        let group = group_mod.group;
        let references = self.tables.references();
        let has_lost_rules = references.has_lost_group();
        match group_mod.command {
            GroupModCommand::Add => false,
            GroupModCommand::Delete if group == GROUP_ALL => has_lost_rules || references.has_groups(),
            _ => {
                self.groups.get(group).is_some()
                    && (has_lost_rules
                        || references.count(Named::Group(group)) > 0
                        || self.groups.is_reached(group))
            }
        }
    }

    /// What is asked of the groups' counters.
    pub fn group_stats(&self, group: u32, now: Nanos) -> Vec<GroupStats> {
        let wanted = if group == GROUP_ALL { 0..=u32::MAX } else { group..=group };
        self.group_stats_of(wanted, now)
    }

    /// The next groups' counters.
    pub fn group_stats_part(&self, cursor: &mut GroupCursor, now: Nanos) -> Vec<GroupStats> {
        self.group_stats_of(self.groups.part(cursor, STATS_PART_WEIGHT), now)
    }

    fn group_stats_of(&self, numbers: RangeInclusive<u32>, now: Nanos) -> Vec<GroupStats> {
        let rules = |group| self.tables.references().count(Named::Group(group));
        self.groups.stats(numbers, rules, now)
    }

    /// What is asked of the meters' counters; `counted` knows those of the datapath.
    pub fn meter_stats(
        &self,
        meter: u32,
        now: Nanos,
        counted: impl Fn(MeterId) -> DpMeterStats,
    ) -> Vec<MeterStats> {
        let wanted = self.meters.iter().filter(|(number, _)| meter == METER_ALL || *number == meter);
        let stats = |(number, entry): (u32, &Meter)| {
            let counted = counted(entry.id);
            MeterStats {
                meter: number,
                flow_count: self.tables.references().count(Named::Meter(number)) as u32,
                packets: counted.input.packets,
                bytes: counted.input.bytes,
                duration_ns: now.since(entry.created).0,
                bands: counted.bands.iter().map(|band| (band.packets, band.bytes)).collect(),
            }
        };
        wanted.map(stats).collect()
    }

    /// Whether a bucket of one of its groups lives (OpenFlow 1.5.1 section 6.7).
    pub fn is_bucket_live(&self, bucket: &Bucket) -> bool {
        self.groups.is_bucket_live(bucket)
    }

    /// Takes note of ports that came, went or changed.
    pub fn follow_ports(&mut self) {
        let live = self.ports.iter().filter(|(_, port)| port.is_live());
        self.groups.set_live_ports(live.map(|(number, _)| *number).collect());
    }

    /// Takes mirrors over from the settings, for the ports as they are.
    pub fn set_mirrors(&mut self) {
        let names = self.ports.iter().map(|(&number, port)| (port.config.name.clone(), number)).collect();
        self.mirrors.set(&self.config.mirrors, &names);
    }

    /// Its ports, as told to others.
    pub fn port_infos(&self) -> Vec<PortInfo> {
        let info = |(&number, port): (&OfPort, &Port)| PortInfo {
            number,
            dp_port: port.dp_port,
            config: port.config.clone(),
            peer: port.patch.as_ref().map(|patch| patch.peer.clone()),
            is_link_up: port.is_link_up,
        };
        self.ports.iter().map(info).collect()
    }

    /// The lowest number that no port has.
    pub fn free_port_number(&self) -> Option<OfPort> {
        (1..=OfPort::MAX.0).map(OfPort).find(|number| !self.ports.contains_key(number))
    }
}

/// Calls `visit` with every action in a list, those inside of others too.
pub fn for_each_action(actions: &[Action], visit: &mut impl FnMut(&Action)) {
    for action in actions {
        visit(action);
        if let Action::WriteActions(inner) | Action::Clone(inner) = action {
            for_each_action(inner, visit);
        }
    }
}

/// Whether some action in a list, or inside of one, is meant.
pub fn names(actions: &[Action], is_meant: &impl Fn(&Action) -> bool) -> bool {
    let mut found = false;
    for_each_action(actions, &mut |action| found |= is_meant(action));
    found
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
    /// The datapath's meters that are free.
    pub meter_ids: MeterIds,
    /// What packets that go round are to meet.
    pub recirc: FrozenStore,
    /// Whether packets have changed rules since this was looked at.
    pub has_learned: bool,
    /// Rules that left their tables because of that.
    pub unlearned: Vec<(BridgeId, RuleId, FlowRemovedReason)>,
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

    /// Carries a meter-mod of a bridge out: see [`Bridge::meter_mod`].
    ///
    /// # Errors
    /// What is wrong with it; nothing has changed then.
    pub fn meter_mod(
        &mut self,
        id: BridgeId,
        meter_mod: &MeterMod,
        now: Nanos,
    ) -> Result<Cascade, FlowModError> {
        let bridge = self.bridges.get_mut(usize::from(id.0)).and_then(Option::as_mut);
        let bridge = bridge.ok_or(FlowModError::NoSuchBridge(id))?;
        Ok(bridge.meter_mod(meter_mod, &mut self.meter_ids, now)?)
    }

    /// Learns a rule, or renews it.
    pub fn learn(&mut self, learned: &Learned, now: Nanos) {
        let id = learned.bridge;
        let Some(bridge) = self.bridges.get_mut(usize::from(id.0)).and_then(Option::as_mut) else { return };
        let Some(change) = bridge.learn(learned, now) else { return };
        self.has_learned = true;
        let removed = change.removed.into_iter().map(|rule| (id, rule, FlowRemovedReason::Delete));
        let evicted = change.evicted.into_iter().map(|rule| (id, rule, FlowRemovedReason::Eviction));
        self.unlearned.extend(removed.chain(evicted));
    }

    /// Whose a port of the datapath is, and what its number is there.
    pub fn owner(&self, port: DpPort) -> Option<(BridgeId, OfPort)> {
        self.owners.get(port.index()).copied().flatten()
    }

    /// Gives a port to a bridge.
    pub fn port_insert(&mut self, id: BridgeId, number: OfPort, port: Port) {
        let Some(bridge) = self.bridges.get_mut(usize::from(id.0)).and_then(Option::as_mut) else { return };
        if port.dp_port != DpPort::NONE {
            let index = port.dp_port.index();
            if self.owners.len() <= index {
                self.owners.resize(index + 1, None);
            }
            self.owners[index] = Some((id, number));
        }
        bridge.ports.insert(number, port);
        bridge.follow_ports();
        bridge.config_epoch += 1;
        bridge.set_mirrors();
        self.ports_epoch += 1;
        self.join_patches();
    }

    /// Finds out anew which patch ports belong together.
    fn join_patches(&mut self) {
        let mut ends: BTreeMap<String, (String, BridgeId, OfPort)> = BTreeMap::new();
        for (id, bridge) in self.iter() {
            for (&number, port) in &bridge.ports {
                if let Some(patch) = &port.patch {
                    ends.insert(port.config.name.clone(), (patch.peer.clone(), id, number));
                }
            }
        }
        for (_, bridge) in self.iter_mut() {
            let mut is_changed = false;
            for port in bridge.ports.values_mut() {
                let name = &port.config.name;
                let Some(patch) = &mut port.patch else { continue };
                let peer = ends.get(&patch.peer).filter(|(back, ..)| back == name);
                let peer = peer.map(|&(_, id, number)| (id, number));
                is_changed |= patch.peer_port != peer;
                (patch.peer_port, port.is_link_up) = (peer, peer.is_some());
            }
            if is_changed {
                bridge.follow_ports();
                bridge.config_epoch += 1;
            }
        }
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
        bridge.follow_ports();
        bridge.config_epoch += 1;
        if !is_up && bridge.macs.forget_port(number) {
            bridge.mac_epoch += 1;
        }
        self.ports_epoch += 1;
        Some(true)
    }

    /// Notes of every port with a device whether it has a link. Returns whether any of that is news.
    pub fn follow_links(&mut self, has_link: impl Fn(DpPort) -> bool) -> bool {
        let changed = self.changed_links(has_link);
        for &(id, number, is_up) in &changed {
            self.port_set_link(id, number, is_up);
        }
        !changed.is_empty()
    }

    /// The ports with a device whose link is not as it was noted, and how it is.
    pub fn changed_links(&self, has_link: impl Fn(DpPort) -> bool) -> Vec<(BridgeId, OfPort, bool)> {
        let ports = self.iter().flat_map(|(id, bridge)| bridge.ports.iter().map(move |port| (id, port)));
        let with_device = ports.filter(|(_, (_, port))| port.patch.is_none());
        let changed = with_device.filter_map(|(id, (number, port))| {
            let is_up = has_link(port.dp_port);
            (is_up != port.is_link_up).then_some((id, *number, is_up))
        });
        changed.collect()
    }

    /// Takes a port from its bridge.
    pub fn port_remove(&mut self, id: BridgeId, number: OfPort) -> Option<Port> {
        let bridge = self.bridges.get_mut(usize::from(id.0))?.as_mut()?;
        let port = bridge.ports.remove(&number)?;
        bridge.follow_ports();
        bridge.config_epoch += 1;
        if bridge.macs.forget_port(number) {
            bridge.mac_epoch += 1;
        }
        bridge.set_mirrors();
        if let Some(owner) = self.owners.get_mut(port.dp_port.index()) {
            *owner = None;
        }
        self.ports_epoch += 1;
        self.join_patches();
        Some(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlans_come_in_and_go_out_as_the_port_says() {
        let vlan = |mode: &VlanMode, vid| mode.vlan_in(vid).map(|lies| lies.vlan);
        let access = VlanMode::Access { tag: 5 };
        assert_eq!((vlan(&access, 0), vlan(&access, 5), access.tag_out(5)), (Some(5), None, None));
        assert!(access.carries(5) && !access.carries(0));
        let allowed: VlanSet = [5, 6].into_iter().collect();
        let native = VlanMode::NativeUntagged { allowed: allowed.clone(), tag: 9 };
        assert_eq!((vlan(&native, 0), vlan(&native, 6), vlan(&native, 7)), (Some(9), Some(6), None));
        assert_eq!((native.tag_out(9), native.tag_out(6)), (None, Some(6)));
        let tagged = VlanMode::NativeTagged { allowed, tag: 9 };
        assert_eq!((vlan(&tagged, 0), vlan(&tagged, 9), tagged.tag_out(9)), (Some(9), Some(9), Some(9)));
        let open = PortConfig::new("p").vlan;
        assert_eq!((vlan(&open, 0), vlan(&open, 4095), open.tag_out(0)), (Some(0), Some(4095), None));
        let tunnel = VlanMode::Dot1qTunnel { tag: 7, customer: [0, 3].into_iter().collect() };
        assert_eq!(tunnel.vlan_in(3), Some(VlanIn { vlan: 7, is_tunnelled: true }));
        assert_eq!((tunnel.vlan_in(4), tunnel.tag_out(7), tunnel.carries(3)), (None, None, false));
        assert!(tunnel.customer().is_some_and(|customer| customer.contains(3)));
    }

    #[test]
    fn patch_ports_find_each_other_and_live_while_both_are_there() {
        let mut bridges = Bridges::default();
        let a = bridges.insert(Bridge::new(BridgeConfig::new("a", 1)));
        let b = bridges.insert(Bridge::new(BridgeConfig::new("b", 2)));
        bridges.port_insert(a, OfPort(1), Port::new_patch(PortConfig::new("to-b"), "to-a"));
        let port =
            |bridges: &Bridges, id, number| bridges.get(id).expect("it is there").ports[&number].clone();
        assert!(!port(&bridges, a, OfPort(1)).is_live());
        bridges.port_insert(b, OfPort(7), Port::new_patch(PortConfig::new("to-a"), "to-b"));
        let peer = |port: Port| port.patch.expect("it is a patch port").peer_port;
        assert!(port(&bridges, a, OfPort(1)).is_live());
        assert_eq!(peer(port(&bridges, a, OfPort(1))), Some((b, OfPort(7))));
        assert_eq!(peer(port(&bridges, b, OfPort(7))), Some((a, OfPort(1))));
        bridges.port_remove(b, OfPort(7));
        assert!(!port(&bridges, a, OfPort(1)).is_live() && peer(port(&bridges, a, OfPort(1))).is_none());
    }

    #[test]
    fn a_port_lives_while_its_spanning_tree_lets_it_send() {
        for stp in [StpState::Disabled, StpState::Blocking, StpState::Listening, StpState::Learning] {
            assert!(!Port::new(DpPort(1), PortConfig { stp, ..PortConfig::new("a") }).is_live(), "{stp:?}");
        }
        assert!(Port::new(DpPort(1), PortConfig::new("a")).is_live());
    }

    #[test]
    fn a_port_has_one_owner_and_epochs_move_with_it() {
        let mut bridges = Bridges::default();
        let id = bridges.insert(Bridge::new(BridgeConfig::new("br0", 1)));
        let port = Port::new(DpPort(3), PortConfig::new("p"));
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
