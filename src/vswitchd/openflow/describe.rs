//! The switch in OpenFlow's words: its features, ports, tables and counters.

use crate::dpif::{DropReason, PortStats};
use crate::flow::{Field, OfPort};
use crate::netdev::{Link, LinkMode, MacAddress, NetdevStats};
use crate::ofproto::{BridgeId, Ofproto, PortFlags, PortInfo, StpState, TableStats};
use crate::openflow::flow_mod::TableId;
use crate::openflow::message::{
    Capabilities, PortBits, PortDesc, PortReason, PortStatsEntry, SwitchDesc, SwitchFeatures, Version,
};
use crate::vswitchd::switch::Switch;
use std::collections::BTreeMap;

/// Tables that controllers are told of and may write: as in Open vSwitch, all but the last, which is the switch's own. Here
/// rules of the configuration may be in it.
pub(super) const TABLE_COUNT: u8 = crate::ofproto::tables::TABLE_COUNT as u8 - 1;

/// Ports by number.
pub(super) type PortSnapshot = BTreeMap<OfPort, PortDesc>;

/// OFPPF_OTHER: a speed that has no bit of its own.
const SPEED_OTHER: u32 = 1 << 10;
/// OFPPF_AUTONEG.
const AUTONEGOTIATED: u32 = 1 << 13;

/// `ofp_port_features` from 1.1 on: speeds, then duplex and medium.
const SPEEDS_MBPS: [(u32, u32, u32); 7] = [
    // Speed, half duplex, full duplex.
    (10, 1 << 0, 1 << 1),
    (100, 1 << 2, 1 << 3),
    (1_000, 1 << 4, 1 << 5),
    (10_000, 1 << 6, 1 << 6),
    (40_000, 1 << 7, 1 << 7),
    (100_000, 1 << 8, 1 << 8),
    (1_000_000, 1 << 9, 1 << 9),
];

/// The tables there are.
pub(super) fn tables() -> impl Iterator<Item = TableId> {
    0..TABLE_COUNT
}

pub(super) fn has_table(table: TableId) -> bool {
    table < TABLE_COUNT
}

/// Room in a table, in percent of what it takes.
pub(super) fn vacancy(stats: &[TableStats], table: TableId) -> u8 {
    let Some(stats) = stats.iter().find(|stats| stats.table == table) else { return 100 };
    let max = stats.rule_count_max.max(1);
    (max.saturating_sub(stats.rules) * 100 / max) as u8
}

/// OFPT_FEATURES_REPLY.
pub(super) fn features(switch: &Switch, bridge: BridgeId, version: Version) -> SwitchFeatures {
    SwitchFeatures {
        datapath_id: switch.ofproto.bridge(bridge).map_or(0, |settings| settings.datapath_id),
        buffer_count: 0,
        table_count: TABLE_COUNT,
        auxiliary_id: 0,
        capabilities: Capabilities {
            flow_stats: true,
            table_stats: true,
            port_stats: true,
            group_stats: true,
            queue_stats: true,
            arp_match_ip: true,
            bundles: true,
            flow_monitoring: true,
            ..Capabilities::default()
        },
        // From 1.3 on they are asked for by OFPMP_PORT_DESC.
        ports: if version < Version::V13 {
            ports(switch, bridge).into_values().collect()
        } else {
            Vec::new()
        },
    }
}

/// OFPMP_DESC.
pub(super) fn desc(switch: &Switch, bridge: BridgeId) -> SwitchDesc {
    let name = switch.ofproto.bridge(bridge).map_or_else(String::new, |settings| settings.name.clone());
    let dpdk = switch.process.dpdk_version.as_deref();
    SwitchDesc {
        mfr_desc: "Penstock".to_owned(),
        hw_desc: dpdk.map_or_else(|| "Penstock datapath".to_owned(), |dpdk| format!("Penstock on {dpdk}")),
        sw_desc: crate::VERSION.to_owned(),
        serial_num: switch.name.chars().take(31).collect(),
        dp_desc: name,
    }
}

/// All ports of a bridge.
pub(super) fn ports(switch: &Switch, bridge: BridgeId) -> PortSnapshot {
    let ports = switch.ofproto.ports(bridge);
    ports.iter().map(|port| (port.number, port_desc(switch, port))).collect()
}

/// A port's MAC address: its device's, or for a patch port one that stays the same for its name.
pub(super) fn port_mac(switch: &Switch, port: &PortInfo) -> MacAddress {
    match switch.ofproto.netdev(port.dp_port) {
        Some(netdev) => netdev.mac(),
        None => made_up_mac(&port.config.name),
    }
}

fn made_up_mac(name: &str) -> MacAddress {
    let crc = crc32c::crc32c(name.as_bytes()).to_be_bytes();
    // Locally administered, unicast.
    [0x0a, 0x70, crc[0], crc[1], crc[2], crc[3]]
}

fn port_desc(switch: &Switch, port: &PortInfo) -> PortDesc {
    let netdev = switch.ofproto.netdev(port.dp_port);
    let link = netdev.map_or(Link::default(), |netdev| netdev.link());
    let is_blocked = matches!(port.config.stp, StpState::Blocking | StpState::Listening | StpState::Disabled);
    // The driver does not tell what either side advertises, nor what the medium is.
    let modes = netdev.map_or(Vec::new(), |netdev| netdev.link_modes());
    let speed_max_mbps = modes.iter().map(|mode| mode.speed_mbps).max().unwrap_or(link.speed_mbps);
    PortDesc {
        port: port.number,
        mac: port_mac(switch, port),
        name: port.config.name.clone(),
        config: bits(port.config.flags),
        is_link_down: !port.is_link_up,
        is_blocked,
        is_live: port.is_link_up && !port.config.flags.down && port.config.stp == StpState::Forwarding,
        features: current_bits(link),
        advertised: 0,
        supported: modes.iter().fold(0, |bits, mode| bits | mode_bit(*mode)),
        peer: 0,
        current_speed_kbps: link.speed_mbps.saturating_mul(1000),
        speed_max_kbps: speed_max_mbps.saturating_mul(1000),
    }
}

fn bits(flags: PortFlags) -> PortBits {
    PortBits {
        down: flags.down,
        no_stp: false,
        no_recv: flags.no_receive,
        no_recv_stp: flags.no_receive_stp,
        no_flood: flags.no_flood,
        no_fwd: flags.no_forward,
        no_packet_in: flags.no_packet_in,
    }
}

fn current_bits(link: Link) -> u32 {
    let Link { is_up: _, speed_mbps, full_duplex, is_autonegotiated } = link;
    if speed_mbps == 0 {
        return 0;
    }
    mode_bit(LinkMode { speed_mbps, full_duplex }) | if is_autonegotiated { AUTONEGOTIATED } else { 0 }
}

fn mode_bit(mode: LinkMode) -> u32 {
    let row = SPEEDS_MBPS.iter().find(|(speed, ..)| *speed == mode.speed_mbps);
    row.map_or(SPEED_OTHER, |&(_, half, full)| if mode.full_duplex { full } else { half })
}

/// What became of the ports between two looks.
pub(super) fn changes(before: &PortSnapshot, now: &PortSnapshot) -> Vec<(PortReason, PortDesc)> {
    let gone = before.iter().filter(|(number, _)| !now.contains_key(number));
    let gone = gone.map(|(_, port)| (PortReason::Delete, port.clone()));
    let here = now.iter().flat_map(|(number, port)| match before.get(number) {
        None => vec![(PortReason::Add, port.clone())],
        Some(old) if old == port => vec![],
        // Under one number there is another port.
        Some(old) if old.name != port.name => {
            vec![(PortReason::Delete, old.clone()), (PortReason::Add, port.clone())]
        }
        Some(_) => vec![(PortReason::Modify, port.clone())],
    });
    gone.chain(here).collect()
}

/// Counters of a bridge's ports; [`OfPort::NONE`]: of all.
pub(super) fn port_stats(switch: &mut Switch, bridge: BridgeId, wanted: OfPort) -> Vec<PortStatsEntry> {
    let ports = switch.ofproto.ports(bridge);
    let ports = ports.into_iter().filter(|port| wanted == OfPort::NONE || port.number == wanted);
    ports.filter_map(|port| port_entry(switch, bridge, &port)).collect()
}

fn port_entry(switch: &mut Switch, bridge: BridgeId, port: &PortInfo) -> Option<PortStatsEntry> {
    let unknown = u64::MAX;
    let state = switch.bridges.iter().find(|state| state.id == bridge);
    let record = state.and_then(|state| state.ports.get(&port.number));
    let entry = PortStatsEntry {
        port: port.number,
        duration_ns: record.map_or(unknown, |record| switch.clock.now().since(record.since).0),
        rx_packets: 0,
        tx_packets: 0,
        rx_bytes: 0,
        tx_bytes: 0,
        rx_dropped: 0,
        tx_dropped: 0,
        rx_errors: 0,
        tx_errors: 0,
        rx_frame_err: unknown,
        rx_over_err: unknown,
        rx_crc_err: unknown,
        collisions: unknown,
    };
    if let Some(stats) = switch.ofproto.patch_stats(bridge, port.number) {
        return Some(PortStatsEntry {
            rx_packets: stats.rx_packets,
            tx_packets: stats.tx_packets,
            rx_bytes: stats.rx_bytes,
            tx_bytes: stats.tx_bytes,
            ..entry
        });
    }
    let stats = switch.ofproto.dpif().port_stats(port.dp_port)?;
    let state = switch.bridges.iter().find(|state| state.id == bridge);
    let past = state.map_or_else(PortStats::default, |state| state.past(port.number));
    let stats = stats.plus(&past);
    let device = switch.ofproto.netdev(port.dp_port).map_or(NetdevStats::default(), |netdev| netdev.stats());
    let [at_input, at_output] = drops(&stats);
    Some(PortStatsEntry {
        rx_packets: stats.rx_packets,
        tx_packets: stats.tx_packets,
        rx_bytes: stats.rx_bytes,
        tx_bytes: stats.tx_bytes,
        // What rules drop on purpose is no fault of the port.
        rx_dropped: device.rx_missed + at_input,
        tx_dropped: at_output,
        rx_errors: device.rx_errors,
        tx_errors: device.tx_errors,
        rx_over_err: device.rx_missed,
        ..entry
    })
}

/// Packets that a port lost on their way in and on their way out, not counting those that rules or settings drop.
fn drops(stats: &PortStats) -> [u64; 2] {
    let mut lost = [0; 2];
    for reason in DropReason::ALL {
        if reason.is_output() {
            lost[1] += stats.drops[reason.index()];
        } else if matches!(reason, DropReason::UpcallRingFull | DropReason::UpcallQuota) {
            lost[0] += stats.drops[reason.index()];
        }
    }
    lost
}

/// Fields that rules can match, in the order of OpenFlow.
pub(super) fn match_fields() -> Vec<Field> {
    let registers = (0..16).map(Field::Reg).chain((0..8).map(Field::Xreg)).chain((0..4).map(Field::Xxreg));
    let fields = crate::flow::fields::FIELDS.iter().map(|info| info.field);
    fields.filter(|field| *field != Field::RecircId).chain(registers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_have_openflows_bits() {
        let mode = |speed_mbps, full_duplex| LinkMode { speed_mbps, full_duplex };
        let cases = [
            (mode(10, false), 1),
            (mode(100, true), 1 << 3),
            (mode(10_000, true), 1 << 6),
            (mode(100_000, true), 1 << 8),
            (mode(25_000, true), SPEED_OTHER),
        ];
        for (mode, bit) in cases {
            assert_eq!(mode_bit(mode), bit, "{mode:?}");
        }
        let link = Link { is_up: true, speed_mbps: 1_000, full_duplex: true, is_autonegotiated: true };
        assert_eq!(current_bits(link), 1 << 5 | AUTONEGOTIATED);
        assert_eq!(current_bits(Link { speed_mbps: 0, ..link }), 0, "what is not known is not made up");
    }
}
