//! What controllers are told unasked, by reason, role and version.

use super::*;
use crate::ofproto::{ControllerRate, NO_COOKIE};
use crate::openflow::message::{AsyncChange, AsyncConfig, PacketInReason, PortBits, PortMod, SwitchConfig};
use crate::packet::Packet;

fn is_packet_in(message: &Message) -> bool {
    matches!(message, Message::PacketIn(_))
}

impl Lab {
    fn role(&mut self, token: usize, role: Role) {
        self.ask(
            token,
            &Message::RoleRequest(RoleMessage { is_nicira: true, role, short_id: 0, generation_id: None }),
        );
    }

    /// Has a packet go to controllers, for that reason.
    fn packet_in(&mut self, reason: PacketInReason) {
        // From 1.3 on a rule says what becomes of what matches nothing else.
        let is_new = self.sessions.values().any(|session| session.version() >= Some(Version::V13));
        let cookie = match reason {
            PacketInReason::TableMiss if is_new => 0,
            PacketInReason::TableMiss => NO_COOKIE,
            _ => 9,
        };
        self.packet_in_with(reason, cookie);
    }

    fn packet_in_with(&mut self, reason: PacketInReason, cookie: u64) {
        let packet_in = PacketIn {
            bridge: self.agent.bridge(),
            in_port: OfPort(1),
            reason,
            table: 3,
            cookie,
            max_len: 20,
            controller_id: 0,
            pipeline: crate::flow::Flow::default(),
            userdata: vec![],
            packet: Packet::from_bytes(&[7; 60]),
        };
        self.agent.packet_in(&packet_in, self.clock.now(), &mut self.sessions);
    }

    fn asynchronous(&mut self, token: usize) -> AsyncConfig {
        match self.ask(token, &Message::GetAsyncRequest).remove(0) {
            Message::GetAsyncReply(config) => config,
            other => panic!("{other:?}"),
        }
    }
}

const REASONS: [PacketInReason; 6] = [
    PacketInReason::TableMiss,
    PacketInReason::ApplyAction,
    PacketInReason::InvalidTtl,
    PacketInReason::ActionSet,
    PacketInReason::Group,
    PacketInReason::PacketOut,
];

#[test]
fn masters_and_equals_get_all_by_default_and_slaves_only_what_becomes_of_ports() {
    for version in Version::ALL {
        for role in [Role::Equal, Role::Master, Role::Slave] {
            let mut lab = Lab::new();
            let one = lab.join(version);
            lab.role(one, role);
            let is_slave = role == Role::Slave;
            for reason in REASONS {
                lab.packet_in(reason);
                let wanted = !is_slave && reason != PacketInReason::InvalidTtl;
                assert_eq!(lab.notices(one).len(), usize::from(wanted), "{version:?} {role:?} {reason:?}");
            }
            let other = lab.join(Version::V10);
            lab.order(other, &flow("send_flow_rem,actions=drop", FlowModCommand::Add));
            lab.order(other, &flow("", FlowModCommand::Delete));
            lab.turn();
            let told = lab.notices(one);
            let removed = told.iter().filter(|it| matches!(it, Message::FlowRemoved(_))).count();
            assert_eq!(removed, usize::from(!is_slave), "{version:?} {role:?} {told:?}");
            lab.device("a").set_link(false);
            lab.turn();
            let told = lab.notices(one);
            assert!(matches!(told[..], [Message::PortStatus { .. }]), "{version:?} {role:?} {told:?}");
        }
    }
}

#[test]
fn one_who_called_the_switch_gets_what_it_asks_for() {
    let mut lab = Lab::new();
    let one = lab.join_as(Version::V13, true);
    let other = lab.join(Version::V13);
    lab.packet_in(PacketInReason::ApplyAction);
    lab.hear(other);
    lab.order(other, &add("send_flow_rem,actions=drop"));
    lab.order(other, &delete_all());
    lab.device("a").set_link(false);
    lab.turn();
    assert_eq!(lab.notices(one), []);
    lab.order(one, &Message::SetConfig(SwitchConfig { flags: 0, miss_send_len: 128 }));
    lab.packet_in(PacketInReason::ApplyAction);
    assert!(matches!(lab.notices(one)[..], [Message::PacketIn(_)]));
    // As in Open vSwitch, that is how it asks for all else, and how it wants nothing again.
    for len in [128, 0] {
        lab.order(one, &Message::SetConfig(SwitchConfig { flags: 0, miss_send_len: len }));
        lab.ask(other, &add("send_flow_rem,actions=drop"));
        lab.ask(other, &delete_all());
        lab.device("a").set_link(len > 0);
        lab.turn();
        assert_eq!(lab.notices(one).len(), if len > 0 { 2 } else { 0 });
    }
}

#[test]
fn a_rule_for_all_packets_is_a_miss_from_1_3_on_and_what_is_not_of_1_4_is_an_action() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let one = lab.join(version);
        let mut told_as = |reason, cookie| {
            lab.packet_in_with(reason, cookie);
            match &lab.notices(one)[..] {
                [Message::PacketIn(packet_in)] => packet_in.reason,
                other => panic!("{other:?}"),
            }
        };
        let of = |first, reason| if version >= first { reason } else { PacketInReason::ApplyAction };
        let miss = PacketInReason::TableMiss;
        if version < Version::V13 {
            assert_eq!(told_as(miss, NO_COOKIE), miss);
        }
        assert_eq!(told_as(miss, 0), of(Version::V13, miss), "{version:?}");
        for reason in &REASONS[3..] {
            assert_eq!(told_as(*reason, 0), of(Version::V14, *reason), "{version:?}");
        }
    }
}

#[test]
fn packets_whose_ttl_runs_out_go_up_while_anybody_wants_them() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let (one, other) = (lab.join(version), lab.join(Version::V14));
        let ask = |is_wanted: bool| {
            if version < Version::V13 {
                let flags = if is_wanted { 4 } else { 0 };
                return Message::SetConfig(SwitchConfig { flags, miss_send_len: 128 });
            }
            let packet_in = [Some(if is_wanted { 0b111 } else { 0b11 }), Some(0)];
            Message::SetAsync(AsyncChange { packet_in, ..AsyncChange::default() })
        };
        for is_wanted in [true, false] {
            lab.order(one, &ask(is_wanted));
            // Another's configuration is nothing to it.
            lab.order(other, &Message::SetConfig(SwitchConfig { flags: 0, miss_send_len: 128 }));
            let settings = lab.switch.ofproto.bridge(lab.agent.bridge()).expect("it is there");
            assert_eq!(settings.invalid_ttl_to_controller, is_wanted, "{version:?}");
            lab.packet_in(PacketInReason::InvalidTtl);
            assert_eq!(lab.notices(one).len(), usize::from(is_wanted), "{version:?}");
            assert_eq!(lab.notices(other), []);
        }
    }
}

#[test]
fn each_reason_is_chosen_by_itself_for_each_role() {
    for version in [Version::V14, Version::V15] {
        for bit in 0..6 {
            let mut lab = Lab::new();
            let one = lab.join(version);
            let packet_in = [Some(1 << bit), Some(1 << (5 - bit))];
            lab.order(one, &Message::SetAsync(AsyncChange { packet_in, ..AsyncChange::default() }));
            assert_eq!(lab.asynchronous(one).packet_in, packet_in.map(Option::unwrap_or_default));
            for (role, wanted) in [(Role::Equal, bit), (Role::Master, bit), (Role::Slave, 5 - bit)] {
                lab.role(one, role);
                for reason in REASONS {
                    lab.packet_in(reason);
                    let count = lab.notices(one).iter().filter(|it| is_packet_in(it)).count();
                    assert_eq!(count, usize::from(reason as u8 == wanted), "{role:?} {reason:?}");
                }
            }
        }
    }
}

#[test]
fn in_old_masks_every_output_is_an_action() {
    // 1.3's own, and Nicira's in 1.0.
    for version in [Version::V10, Version::V13] {
        let mut lab = Lab::new();
        let one = lab.join(version);
        for (mask, wanted) in [(1, vec![0]), (2, vec![1, 3, 4, 5]), (4, vec![2]), (0, vec![])] {
            let change = AsyncChange {
                packet_in: [Some(mask), Some(0)],
                port_status: [Some(7); 2],
                flow_removed: [Some(0); 2],
                ..AsyncChange::default()
            };
            lab.order(one, &Message::SetAsync(change));
            let mut got = Vec::new();
            for reason in REASONS {
                lab.packet_in(reason);
                if !lab.notices(one).is_empty() {
                    got.push(reason as u8);
                }
            }
            assert_eq!(got, wanted, "{version:?}");
            if version == Version::V13 {
                let read = lab.asynchronous(one).packet_in[0];
                assert_eq!(read & 7, mask);
            }
        }
    }
}

#[test]
fn rules_that_go_are_told_of_by_reason() {
    // Timeouts by bits 0 and 1, deletion by bit 2, groups by bit 3.
    for (mask, wanted) in [(0b0001, [true, false]), (0b0100, [false, true]), (0b0101, [true, true])] {
        let mut lab = Lab::new();
        let one = lab.join(Version::V14);
        let change = AsyncChange { flow_removed: [Some(mask), Some(0)], ..AsyncChange::default() };
        lab.order(one, &Message::SetAsync(change));
        lab.order(one, &add("send_flow_rem,idle_timeout=1,priority=1,actions=drop"));
        lab.pass(Nanos::from_secs(2));
        lab.turn();
        assert_eq!(lab.rule_count(), 0);
        let idle = !lab.notices(one).is_empty();
        lab.order(one, &add("send_flow_rem,actions=drop"));
        lab.order(one, &delete_all());
        lab.turn();
        assert_eq!([idle, !lab.notices(one).is_empty()], wanted);
    }
}

#[test]
fn a_reason_that_a_version_does_not_know_is_asked_for_as_the_one_that_it_is_told_by() {
    // OFPRR_DELETE stands for the deletion of a group up to 1.2, of a meter in 1.3.
    for (version, mask) in [(Version::V10, 0b100), (Version::V13, 0b100), (Version::V13, 0b1000)] {
        let mut lab = Lab::new();
        let (one, other) = (lab.join(version), lab.join(Version::V14));
        let change = AsyncChange { flow_removed: [Some(mask), Some(0)], ..AsyncChange::default() };
        lab.order(one, &Message::SetAsync(change));
        lab.order(other, &group("group_id=1,type=all,bucket=output:1"));
        lab.order(other, &add("send_flow_rem,actions=group:1"));
        let gone = "group_id=1";
        let gone = crate::openflow::parse::parse_group_mod(gone, GroupModCommand::Delete, &NoNames);
        lab.order(other, &Message::GroupMod(gone.expect("it is written well")));
        lab.turn();
        // 1.3 knows OFPRR_GROUP_DELETE, bit 3.
        let is_wanted = version == Version::V10 || mask == 0b1000;
        assert_eq!(!lab.notices(one).is_empty(), is_wanted, "{version:?} {mask:b}");
    }
}

#[test]
fn ports_are_told_of_by_reason() {
    for (mask, wanted) in [(0b100, 1), (0b011, 0), (0b111, 1)] {
        let mut lab = Lab::new();
        let one = lab.join(Version::V15);
        let change = AsyncChange { port_status: [Some(mask), Some(0)], ..AsyncChange::default() };
        lab.order(one, &Message::SetAsync(change));
        lab.device("b").set_link(false);
        lab.turn();
        assert_eq!(lab.notices(one).len(), wanted);
    }
}

#[test]
fn a_port_mod_is_told_to_all_at_once() {
    let mut lab = Lab::new();
    let (one, other) = (lab.join(Version::V13), lab.join(Version::V10));
    let asked = lab.ask(one, &multipart(MultipartRequest::PortDesc(OfPort::NONE)));
    let Message::MultipartReply { body: MultipartReply::PortDesc(ports), .. } = &asked[0] else {
        panic!("{asked:?}")
    };
    let mac = ports[0].mac;
    let (down, none) = (PortBits { down: true, ..PortBits::default() }, PortBits::default());
    let port_mod = PortMod { port: OfPort(1), mac, config: down, mask: down, advertise: 0 };
    let wrong = PortMod { mac: [9; 6], ..port_mod };
    assert_eq!(lab.refused(one, &Message::PortMod(wrong)), OfError::PortModBadHwAddr);
    let wrong = PortMod { port: OfPort(9), ..port_mod };
    assert_eq!(lab.refused(one, &Message::PortMod(wrong)), OfError::PortModBadPort);
    lab.send(one, &Message::PortMod(port_mod));
    for token in [one, other] {
        let told = lab.notices(token);
        let [Message::PortStatus { port, .. }] = &told[..] else { panic!("{told:?}") };
        assert!(port.config.down && port.port == OfPort(1));
    }
    // Nothing of it is meant.
    lab.order(one, &Message::PortMod(PortMod { config: none, mask: none, ..port_mod }));
}

#[test]
fn a_mask_that_means_nothing_is_refused_from_1_4_on_and_changes_nothing() {
    let mut lab = Lab::new();
    let (old, new) = (lab.join(Version::V13), lab.join(Version::V14));
    let before = lab.asynchronous(new);
    for change in [
        AsyncChange { packet_in: [Some(1 << 6), None], ..AsyncChange::default() },
        AsyncChange { port_status: [Some(1), None], table_status: [None, Some(1)], ..AsyncChange::default() },
        AsyncChange { request_forward: [Some(8), None], ..AsyncChange::default() },
    ] {
        assert_eq!(lab.refused(new, &Message::SetAsync(change)), OfError::AsyncInvalid, "{change:?}");
    }
    assert_eq!(lab.asynchronous(new), before);
    let all = [Some(u32::MAX); 2];
    let change =
        AsyncChange { packet_in: all, port_status: all, flow_removed: all, ..AsyncChange::default() };
    lab.order(old, &Message::SetAsync(change));
    assert_eq!(lab.asynchronous(old).port_status, [7, 7]);
}

#[test]
fn a_packet_goes_to_controllers_of_its_number_and_whole_whatever_its_action_asks() {
    let mut lab = Lab::new();
    let (one, other) = (lab.join(Version::V13), lab.join(Version::V13));
    lab.order(other, &Message::SetControllerId(5));
    lab.packet_in(PacketInReason::ApplyAction);
    lab.packet_in(PacketInReason::TableMiss);
    let lens: Vec<_> = lab
        .notices(one)
        .into_iter()
        .map(|message| match message {
            Message::PacketIn(packet_in) => (packet_in.data.len(), packet_in.total_len),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lens, [(60, 60), (60, 60)]);
    assert_eq!(lab.notices(other), []);
}

#[test]
fn each_connection_gets_packets_at_its_own_rate() {
    let mut lab = Lab::new();
    let (one, other) = (lab.join(Version::V13), lab.join(Version::V13));
    lab.order(one, &add("priority=0,actions=controller"));
    lab.ask(one, &Message::BarrierRequest);
    lab.agent.set_rate_limit(Some(ControllerRate { packets_per_s: 10, burst: 3 }));
    let send = |lab: &mut Lab| {
        (0..5).for_each(|_| assert!(lab.device("a").inject_frame(0, &[0x33; 60])));
        lab.turn();
        [one, other].map(|token| (lab.notices(token).len(), lab.sessions[&token].stats().notices_dropped))
    };
    assert_eq!(send(&mut lab), [(3, 2), (3, 2)]);
    // One that comes now has as much as the others had.
    let late = lab.join(Version::V13);
    lab.pass(Nanos::from_millis(100));
    assert_eq!(send(&mut lab), [(1, 6), (1, 6)]);
    assert_eq!(lab.notices(late).len(), 3);
    lab.agent.set_rate_limit(None);
    assert_eq!(send(&mut lab), [(5, 6), (5, 6)]);
}
