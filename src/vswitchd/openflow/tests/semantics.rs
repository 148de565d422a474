//! What messages mean for rules, ports and packets, in each version.

use super::*;
use crate::ofproto::BridgeConfig;
use crate::openflow::flow_mod::FlowStats;
use crate::openflow::message::{
    AsyncChange, BundleControl, BundleControlType as Type, FlowMonitorRequest, FlowUpdate, PacketInReason,
    PortBits, PortMod, PortReason, SwitchConfig,
};

/// In 1.0, all that a rule can say of a TCP packet.
const EXACT: &str = "in_port=1,dl_vlan=3,dl_vlan_pcp=2,dl_src=02:00:00:00:00:01,dl_dst=02:00:00:00:00:02,tcp,\
                     nw_src=192.0.2.1,nw_dst=192.0.2.2,nw_tos=0,tp_src=1,tp_dst=2,actions=drop";

impl Lab {
    fn rules(&mut self) -> Vec<FlowStats> {
        self.switch.ofproto.flow_stats(self.agent.bridge(), &FlowStatsRequest::all())
    }

    fn config(&self) -> BridgeConfig {
        self.switch.ofproto.bridge(self.agent.bridge()).expect("it is there").clone()
    }

    /// Asks for a port-mod of port 1.
    fn port_mod(&self, config: PortBits, mask: PortBits) -> Message {
        let bridge = self.agent.bridge();
        let mac = super::super::change::port_macs(&self.switch, bridge)[&OfPort(1)];
        Message::PortMod(PortMod { port: OfPort(1), mac, config, mask, advertise: 0 })
    }

    fn bundle(&mut self, token: usize, messages: &[Message]) -> Vec<Message> {
        for message in messages {
            self.next_xid += 1;
            let xid = self.next_xid;
            let settings = self.sessions[&token].settings().expect("it is up");
            let message = wire::encode(message, xid, &settings).concat();
            self.send_as(token, &Message::BundleAdd { bundle: 1, flags: 0, message }, xid);
        }
        let control = BundleControl { bundle: 1, control_type: Type::CommitRequest, flags: 0 };
        self.ask(token, &Message::BundleControl(control))
    }
}

fn errors(messages: &[Message]) -> Vec<ErrorKind> {
    let error = |message: &Message| match message {
        Message::Error(error) => Some(error.error),
        _ => None,
    };
    messages.iter().filter_map(error).collect()
}

fn with_buffer(message: Message, buffer_id: u32) -> Message {
    let Message::FlowMod(message) = message else { panic!("{message:?}") };
    Message::FlowMod(FlowModMessage { buffer_id, ..message })
}

#[test]
fn a_rule_in_the_place_of_another_begins_to_count_anew_up_to_1_1() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let one = lab.join(version);
        lab.order(one, &add("actions=drop"));
        lab.device("a").inject_frame(0, &[0x33; 60]);
        lab.turn();
        assert_eq!(lab.rules()[0].packets, 1);
        lab.order(one, &add("actions=output:2"));
        lab.ask(one, &Message::BarrierRequest);
        let rule = lab.rules().remove(0);
        assert_eq!(rule.packets, u64::from(version >= Version::V12), "{version:?}");
        assert!(!rule.flags.reset_counts, "that was to be done once");
    }
}

#[test]
fn a_rule_of_1_0_that_leaves_nothing_open_is_of_the_highest_priority() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V10);
    lab.order(one, &add(&format!("priority=5,{EXACT}")));
    lab.order(one, &add(&format!("priority=6,{}", EXACT.replace("nw_dst=192.0.2.2", "nw_dst=192.0.2.2/31"))));
    let priorities: Vec<u16> = lab.rules().iter().map(|rule| rule.priority).collect();
    assert_eq!(priorities, [65_535, 6]);
    lab.order(
        one,
        &flow(&format!("priority=7,{EXACT}").replace(",actions=drop", ""), FlowModCommand::DeleteStrict),
    );
    assert_eq!(lab.rule_count(), 1, "it is found by any priority");
}

#[test]
fn a_modify_of_all_tables_is_1_0_alone() {
    for version in Version::ALL {
        for command in [FlowModCommand::Modify, FlowModCommand::ModifyStrict] {
            let mut lab = Lab::new();
            let one = lab.join(version);
            lab.order(one, &add("actions=drop"));
            let Message::FlowMod(mut message) = flow("table=0,actions=output:2", command) else { panic!() };
            message.flow_mod.table = 255;
            let message = Message::FlowMod(message);
            if version == Version::V10 {
                lab.order(one, &message);
            } else {
                assert_eq!(lab.refused(one, &message), OfError::FlowModBadTableId, "{version:?}");
            }
            assert_eq!(lab.rules()[0].actions.len(), usize::from(version == Version::V10));
        }
    }
}

#[test]
fn a_packet_that_is_not_held_is_asked_for_in_vain_before_anything_is_done() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let one = lab.join(version);
        let message = with_buffer(add("actions=drop"), 7);
        assert_eq!(lab.refused(one, &message), OfError::BadRequestBufferUnknown);
        assert_eq!(lab.rule_count(), 0, "{version:?}");
        lab.order(one, &add("actions=drop"));
        lab.order(one, &with_buffer(delete_all(), 7));
        assert_eq!(lab.rule_count(), 0, "to a delete it says nothing: {version:?}");
    }
}

#[test]
fn a_modify_gives_another_cookie_in_1_0_alone() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let one = lab.join(version);
        lab.order(one, &add("cookie=1,actions=drop"));
        let modify = |cookie| {
            let Message::FlowMod(mut message) = flow("table=0,actions=output:2", FlowModCommand::Modify)
            else {
                panic!()
            };
            message.flow_mod.cookie = cookie;
            Message::FlowMod(message)
        };
        lab.order(one, &modify(2));
        let expected = if version == Version::V10 { 2 } else { 1 };
        assert_eq!(lab.rules()[0].cookie, expected, "{version:?}");
        lab.order(one, &modify(u64::MAX));
        assert_eq!(lab.rules()[0].cookie, expected, "all ones: it stays");
    }
}

#[test]
fn port_mods_of_a_bundle_go_on_from_each_other() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V14);
    let (first, second) =
        (PortBits { no_fwd: true, ..Default::default() }, PortBits { no_recv: true, ..Default::default() });
    let messages = [lab.port_mod(first, first), lab.port_mod(second, second)];
    assert_eq!(errors(&lab.bundle(one, &messages)), []);
    let flags = lab.switch.ofproto.ports(lab.agent.bridge())[0].config.flags;
    assert!(flags.no_forward && flags.no_receive, "{flags:?}");
    // What is wrong first is what is told.
    let Message::PortMod(port_mod) = messages[0] else { panic!() };
    let wrong = Message::PortMod(PortMod { port: OfPort(9), ..port_mod });
    let back = lab.port_mod(PortBits::default(), first);
    let told = errors(&lab.bundle(one, &[back, add("actions=group:7"), wrong.clone()]));
    assert_eq!(told, [OfError::BadActionOutGroup, OfError::BundleMsgFailed].map(ErrorKind::Known));
    assert_eq!(lab.switch.ofproto.ports(lab.agent.bridge())[0].config.flags, flags, "all is as before");
    let told = errors(&lab.bundle(one, &[wrong]));
    assert_eq!(told, [OfError::PortModBadPort, OfError::BundleMsgFailed].map(ErrorKind::Known));
}

#[test]
fn one_connection_leaves_room_for_the_bundles_of_others() {
    let mut lab = Lab::new();
    let (one, other) = (lab.join(Version::V14), lab.join(Version::V14));
    let metadata = Box::new(crate::openflow::message::port_metadata(OfPort::CONTROLLER));
    let packet = crate::openflow::message::PacketOutMessage {
        buffer_id: u32::MAX,
        metadata,
        actions: vec![],
        data: vec![0; 60_000],
    };
    let packet = Message::PacketOut(packet);
    let mut put = |token: usize| {
        lab.next_xid += 1;
        let xid = lab.next_xid;
        let settings = lab.sessions[&token].settings().expect("it is up");
        let message = wire::encode(&packet, xid, &settings).concat();
        lab.send_as(token, &Message::BundleAdd { bundle: 1, flags: 0, message }, xid);
        let heard: Vec<_> = lab.hear(token).into_iter().map(|(_, message)| message).collect();
        errors(&heard)
    };
    let taken = (0..5_000).take_while(|_| put(one).is_empty()).count();
    // Of the 4 MiB that a test's bridge has.
    assert_eq!(taken, (3 << 20) / 60_056);
    assert_eq!(put(other), []);
}

#[test]
fn what_a_timeout_does_during_a_request_is_not_the_requests_doing() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V14);
    let flows = FlowStatsRequest::all();
    // Add, removed.
    let monitor = FlowMonitorRequest { id: 1, command: 0, flags: 6, flows: flows.clone() };
    lab.ask(one, &multipart(MultipartRequest::FlowMonitor(vec![monitor])));
    lab.send(one, &add("hard_timeout=1,actions=drop"));
    let own = lab.hear(one);
    assert!(
        matches!(&own[..], [(_, Message::MultipartReply { body: MultipartReply::FlowMonitor(updates), .. })]
            if matches!(updates[..], [FlowUpdate::Abbreviated(_)])),
        "{own:?}"
    );
    lab.clock.advance(Nanos::from_secs(2));
    let heard = lab.ask(one, &multipart(MultipartRequest::Aggregate(Box::new(flows))));
    let [Message::MultipartReply { body: MultipartReply::FlowMonitor(updates), .. }, ..] = &heard[..] else {
        panic!("{heard:?}")
    };
    assert!(matches!(updates[..], [FlowUpdate::Full { event: 2, reason: 1, .. }]), "{updates:?}");
}

#[test]
fn several_monitors_are_told_of_a_rule_once() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V14);
    for priority in 1..=5 {
        lab.order(one, &add(&format!("priority={priority},in_port=1,actions=output:2")));
    }
    lab.order(one, &add("table=1,actions=drop"));
    let monitor = |id, flags, table| FlowMonitorRequest {
        id,
        command: 0,
        flags,
        flows: FlowStatsRequest { table, ..FlowStatsRequest::all() },
    };
    // Initial, one of them with instructions; a last one that has none of the initial rules.
    let mut monitors: Vec<_> = (0..100).map(|id| monitor(id, 1, 0)).collect();
    monitors.push(monitor(100, 1 | 16, 0));
    monitors.push(monitor(101, 2, 255));
    let heard = lab.ask(one, &multipart(MultipartRequest::FlowMonitor(monitors)));
    let mut actions = Vec::new();
    for message in &heard {
        let Message::MultipartReply { body: MultipartReply::FlowMonitor(updates), .. } = message else {
            panic!("{message:?}")
        };
        for update in updates {
            let FlowUpdate::Full { event: 0, stats, .. } = update else { panic!("{update:?}") };
            actions.push(stats.actions.len());
        }
    }
    assert_eq!(actions, [1; 5]);
}

#[test]
fn packets_whose_ttl_runs_out_are_handed_up_while_somebody_wants_them() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let (one, other) = (lab.join(version), lab.join(version));
        assert!(!lab.config().invalid_ttl_to_controller);
        let set = |flags| Message::SetConfig(SwitchConfig { flags, miss_send_len: 128 });
        let flags = |lab: &mut Lab, token| match lab.ask(token, &Message::GetConfigRequest).remove(0) {
            Message::GetConfigReply(config) => config.flags,
            other => panic!("{other:?}"),
        };
        lab.order(one, &set(4));
        assert!(lab.config().invalid_ttl_to_controller, "{version:?}");
        assert_eq!((flags(&mut lab, one), flags(&mut lab, other)), (4, 0));
        let masks = |lab: &Lab, token| lab.agent.controllers[&token].asynchronous.packet_in;
        let invalid_ttl = 1 << PacketInReason::InvalidTtl as u8;
        assert!(masks(&lab, one)[0] & invalid_ttl != 0 && masks(&lab, other)[0] & invalid_ttl == 0);
        lab.order(one, &set(0));
        let stays = version >= Version::V13;
        assert_eq!(lab.config().invalid_ttl_to_controller, stays, "1.3 says it otherwise: {version:?}");
        if version != Version::V11 && version != Version::V12 {
            let all = |masks| Message::SetAsync(AsyncChange { packet_in: masks, ..AsyncChange::default() });
            lab.order(one, &all([Some(0), Some(0)]));
            assert!(!lab.config().invalid_ttl_to_controller);
            lab.order(other, &all([Some(invalid_ttl), Some(0)]));
            assert!(lab.config().invalid_ttl_to_controller, "{version:?}");
        }
        lab.leave(one);
        lab.leave(other);
        lab.watch();
        assert!(!lab.config().invalid_ttl_to_controller);
    }
}

#[test]
fn one_who_called_the_switch_gets_every_kind_of_notice_once_it_has_asked() {
    let wishes = [
        Message::SetConfig(SwitchConfig { flags: 0, miss_send_len: 65_534 }),
        Message::SetAsync(AsyncChange {
            port_status: [Some(7), Some(7)],
            flow_removed: [Some(15), Some(0)],
            ..AsyncChange::default()
        }),
    ];
    for wish in wishes {
        let mut lab = Lab::new();
        let (one, other) = (lab.join_as(Version::V13, true), lab.join(Version::V13));
        let notices = |lab: &mut Lab| {
            lab.order(other, &add("send_flow_rem,actions=drop"));
            lab.order(other, &delete_all());
            lab.device("a").set_link(false);
            lab.turn();
            lab.device("a").set_link(true);
            lab.turn();
            lab.hear(other);
            let told = lab.notices(one);
            let removed = told.iter().filter(|it| matches!(it, Message::FlowRemoved(_))).count();
            let is_port =
                |it: &&Message| matches!(it, Message::PortStatus { reason: PortReason::Modify, .. });
            (removed, told.iter().filter(is_port).count())
        };
        assert_eq!(notices(&mut lab), (0, 0));
        lab.order(one, &wish);
        assert_eq!(notices(&mut lab), (1, 2), "{wish:?}");
        let said = lab.agent.controllers[&one].miss_send_len;
        assert_eq!(said, if matches!(wish, Message::SetConfig(_)) { 65_534 } else { 128 });
    }
}

#[test]
fn what_matches_nothing_is_for_controllers_up_to_1_2_alone() {
    let mut lab = Lab::new();
    let (old, new) = (lab.join(Version::V10), lab.join(Version::V13));
    lab.watch();
    lab.device("a").inject_frame(0, &[0x33; 60]);
    lab.turn();
    assert_eq!((lab.notices(old).len(), lab.notices(new).len()), (1, 0));
    lab.order(new, &add("priority=0,actions=controller"));
    lab.ask(new, &Message::BarrierRequest);
    lab.device("a").inject_frame(0, &[0x33; 60]);
    lab.turn();
    assert_eq!((lab.notices(old).len(), lab.notices(new).len()), (1, 1), "a rule says so");
}

#[test]
fn a_table_that_is_not_told_of_takes_no_rules() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let one = lab.join(version);
        let Message::FeaturesReply(features) = lab.ask(one, &Message::FeaturesRequest).remove(0) else {
            panic!()
        };
        let last = features.table_count - 1;
        if version > Version::V10 {
            lab.order(one, &add(&format!("table={last},actions=drop")));
            assert_eq!(lab.rule_count(), 1);
            let Message::FlowMod(mut message) = add("actions=drop") else { panic!() };
            message.flow_mod.table = last + 1;
            assert_eq!(lab.refused(one, &Message::FlowMod(message)), OfError::FlowModBadTableId);
        }
    }
}

#[test]
fn what_is_about_all_tables_is_not_about_the_hidden_one() {
    use crate::ofproto::tables::HIDDEN_TABLE;
    let mut lab = Lab::new();
    let one = lab.join(Version::V10);
    let bridge = lab.agent.bridge();
    let hidden = format!("table={HIDDEN_TABLE},priority=7,cookie=5,actions=output:1");
    let flow_mod = parse_flow_mod(&hidden, FlowModCommand::Add, &NoNames).expect("it is written well");
    lab.switch.ofproto.flow_mod(bridge, &flow_mod).expect("the configuration may");
    let rules = |lab: &mut Lab, table| {
        let request = FlowStatsRequest { table, ..FlowStatsRequest::all() };
        let stats = lab.switch.ofproto.flow_stats(bridge, &request);
        stats.into_iter().map(|stats| stats.actions).collect::<Vec<_>>()
    };
    let before = rules(&mut lab, HIDDEN_TABLE);
    assert_eq!(before.len(), 1);
    assert_eq!(lab.rule_count(), 0, "it is not told of");
    let Message::FlowMod(mut modify) = flow("table=0,actions=output:2", FlowModCommand::Modify) else {
        panic!()
    };
    modify.flow_mod.table = 255;
    // It adds one, since it finds none: it is of 1.0.
    lab.order(one, &Message::FlowMod(modify));
    assert_eq!(lab.rule_count(), 1);
    lab.order(one, &delete_all());
    assert_eq!(lab.rule_count(), 0);
    assert_eq!(rules(&mut lab, HIDDEN_TABLE), before, "nor changed");
}

#[test]
fn a_packet_out_into_the_pipeline_that_matches_nothing_is_a_miss() {
    let send = |lab: &mut Lab, token| {
        let message = crate::openflow::message::PacketOutMessage {
            buffer_id: u32::MAX,
            metadata: Box::new(crate::openflow::message::port_metadata(OfPort(1))),
            actions: vec![crate::openflow::Action::Output(OfPort::TABLE)],
            data: vec![0x33; 60],
        };
        lab.order(token, &Message::PacketOut(message));
        lab.turn();
        lab.notices(token).len()
    };
    for (version, misses) in [(Version::V10, 1), (Version::V12, 1), (Version::V13, 0)] {
        let mut lab = Lab::new();
        let one = lab.join(version);
        lab.watch();
        assert_eq!(send(&mut lab, one), misses, "{version:?}");
    }
}

#[test]
fn a_port_is_told_for_how_long_it_has_been_there() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V13);
    lab.pass(Nanos::from_secs(7));
    let asked = lab.ask(one, &multipart(MultipartRequest::PortStats(OfPort(1))));
    let Message::MultipartReply { body: MultipartReply::PortStats(stats), .. } = &asked[0] else {
        panic!("{asked:?}")
    };
    assert_eq!(stats[0].duration_ns / 1_000_000_000, 7);
}

#[test]
fn another_port_under_a_number_is_one_that_goes_and_one_that_comes() {
    use crate::vswitchd::openflow::describe;
    let lab = Lab::new();
    let before = describe::ports(&lab.switch, lab.agent.bridge());
    let mut now = before.clone();
    now.get_mut(&OfPort(2)).expect("it is there").name = "c".to_owned();
    let told = describe::changes(&before, &now);
    let told: Vec<_> = told.iter().map(|(reason, port)| (*reason, &port.name[..])).collect();
    assert_eq!(told, [(PortReason::Delete, "b"), (PortReason::Add, "c")]);
}

#[test]
fn a_packet_out_of_1_5_tells_what_the_pipeline_knows_of_its_packet() {
    use crate::flow::Field;
    use crate::openflow::Action;
    let mut lab = Lab::new();
    let one = lab.join(Version::V15);
    lab.order(one, &add("priority=9,metadata=7,reg3=5,actions=output:2"));
    let mut metadata = Box::new(crate::openflow::message::port_metadata(OfPort(1)));
    let send = |lab: &mut Lab, metadata| {
        let actions = vec![Action::Output(OfPort::TABLE)];
        let data = vec![0x33; 60];
        let message =
            crate::openflow::message::PacketOutMessage { buffer_id: u32::MAX, metadata, actions, data };
        lab.order(one, &Message::PacketOut(message));
        lab.turn();
        lab.device("b").take_tx_frames().len()
    };
    assert_eq!(send(&mut lab, metadata.clone()), 0);
    metadata.set(Field::Metadata, 7);
    metadata.set(Field::Reg(3), 5);
    assert_eq!(send(&mut lab, metadata), 1);
}
