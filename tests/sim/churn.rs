//! Changes of all that a bridge has besides plain rules: groups, meters, mirrors, patch ports, port settings, fragment
//! policies, rules with every kind of action.

use crate::rules::{
    GROUP_COUNT, METER_COUNT, Style, TABLE_COUNT, random_actions, random_group, random_meter, random_mirrors,
    random_port,
};
use crate::support::{one_in, pick};
use fastrand::Rng;
use penstock::flow::{Field, OfPort};
use penstock::ofproto::{BridgeId, FragmentPolicy, Ofproto, OfprotoDpif, PacketOut, PortConfig};
use penstock::openflow::{Action, FlowMod, FlowModCommand, GroupModCommand, Match, MeterModCommand};
use penstock::packet::Packet;
use penstock::packet::build::FrameBuilder;

/// The number of the patch port of either bridge.
const PATCH_NUMBER: u32 = 9;

fn style(rng: &mut Rng) -> Style {
    Style {
        normal: true,
        push: true,
        broken: false,
        labels: rng.bool(),
        groups: true,
        meters: true,
        mirrors: false,
        lengths: true,
        extensions: true,
        learns: false,
        port_count: pick(rng, &[4, PATCH_NUMBER]),
    }
}

/// Joins the first two bridges and gives both groups and meters.
pub(crate) fn prepare(rng: &mut Rng, ofproto: &mut OfprotoDpif) {
    let bridges = ofproto.bridges();
    let names = ["patch-a", "patch-b"];
    for (index, &bridge) in bridges.iter().take(2).enumerate() {
        let config = PortConfig { number: Some(OfPort(PATCH_NUMBER)), ..PortConfig::new(names[index]) };
        ofproto.patch_add(bridge, config, names[1 - index]).expect("its name is its own");
        for meter in 1..=METER_COUNT {
            ofproto.meter_mod(bridge, &random_meter(rng, meter, MeterModCommand::Add)).expect("a good meter");
        }
        let style = style(rng);
        for group in 1..=GROUP_COUNT {
            // A bucket may name a group that was refused.
            let _ = ofproto.group_mod(bridge, &random_group(rng, style, group, GroupModCommand::Add));
        }
    }
}

/// One change of one bridge, or a packet that a controller has it make. What the switch refuses was no change.
pub(crate) fn change(rng: &mut Rng, ofproto: &mut OfprotoDpif, priority: &mut u16) {
    let bridge = pick(rng, &ofproto.bridges());
    match rng.u8(0..9) {
        0 => {
            let command = pick(
                rng,
                &[GroupModCommand::AddOrModify, GroupModCommand::AddOrModify, GroupModCommand::Delete],
            );
            let (style, group) = (style(rng), rng.u32(1..=GROUP_COUNT));
            let _ = ofproto.group_mod(bridge, &random_group(rng, style, group, command));
        }
        1 => {
            let command =
                pick(rng, &[MeterModCommand::Add, MeterModCommand::Modify, MeterModCommand::Delete]);
            let meter = rng.u32(1..=METER_COUNT);
            let _ = ofproto.meter_mod(bridge, &random_meter(rng, meter, command));
        }
        2 => set_port(rng, ofproto, bridge),
        3 => set_bridge(rng, ofproto, bridge),
        4 => packet_out(rng, ofproto, bridge),
        _ => add_rule(rng, ofproto, bridge, priority),
    }
}

fn packet_out(rng: &mut Rng, ofproto: &mut OfprotoDpif, bridge: BridgeId) {
    let frame = FrameBuilder::new().ipv4([10, 0, 0, rng.u8(1..9)], [10, 0, 0, rng.u8(1..9)]).udp(1, 53);
    let in_port = pick(rng, &[OfPort(1), OfPort(2), OfPort(PATCH_NUMBER), OfPort::CONTROLLER, OfPort::NONE]);
    let actions = match rng.u8(0..3) {
        0 => vec![Action::Output(OfPort::TABLE)],
        1 => vec![Action::Output(OfPort::FLOOD)],
        _ => {
            let style = style(rng);
            random_actions(rng, style, &Match::any(), 0)
        }
    };
    let packet = Packet::from_bytes(&frame.payload(&[0; 30]).build());
    // Some actions are of rules alone.
    if let Ok(planned) = ofproto.packet_xlate(bridge, PacketOut { in_port, packet, actions }) {
        ofproto.packet_execute(planned);
    }
}

fn set_port(rng: &mut Rng, ofproto: &mut OfprotoDpif, bridge: BridgeId) {
    let port = pick(rng, &ofproto.ports(bridge));
    let config = if rng.bool() {
        // Back to a port that does everything, so that traffic flows.
        PortConfig { vlan: port.config.vlan.clone(), ..PortConfig::new(&port.config.name) }
    } else {
        random_port(rng, "", 0)
    };
    let config = PortConfig { name: port.config.name, number: port.config.number, ..config };
    ofproto.port_set(bridge, port.number, config).expect("the port is there");
}

fn set_bridge(rng: &mut Rng, ofproto: &mut OfprotoDpif, bridge: BridgeId) {
    let mut config = ofproto.bridge(bridge).expect("it is there").clone();
    config.fragments = pick(rng, &[FragmentPolicy::Normal, FragmentPolicy::Drop, FragmentPolicy::NxMatch]);
    config.mirrors = if one_in(rng, 3) { Vec::new() } else { random_mirrors(rng, "br0-", 3) };
    ofproto.bridge_set(bridge, config).expect("it is there");
}

fn add_rule(rng: &mut Rng, ofproto: &mut OfprotoDpif, bridge: BridgeId, priority: &mut u16) {
    let mut matching = Match::any();
    match rng.u8(0..5) {
        0 => matching.set(Field::InPort, rng.u32(1..5).into()),
        1 => matching.set(Field::EthType, 0x0800),
        2 => {
            matching.set(Field::EthType, 0x0800);
            matching.set(Field::IpProto, pick(rng, &[6, 17]));
        }
        3 => matching.set(Field::EthType, 0x86dd),
        _ => matching.set_masked(Field::VlanVid, 0x1000, 0x1000),
    }
    let (style, table) = (style(rng), rng.u8(0..TABLE_COUNT));
    let actions = random_actions(rng, style, &matching, table);
    *priority += 1;
    let command = if one_in(rng, 5) { FlowModCommand::Delete } else { FlowModCommand::Add };
    let mut rule = FlowMod { command, table, priority: *priority, matching, actions, ..FlowMod::add() };
    rule.flags.send_flow_removed = true;
    let _ = ofproto.flow_mod(bridge, &rule);
}
