//! Tables, queues, requests of several messages, barriers, and what is no request.

use super::*;
use crate::ofproto::{MissHandling, TableSettings};
use crate::openflow::flow_mod::TABLE_ALL;
use crate::openflow::group::GROUP_ALL;
use crate::openflow::message::{
    AsyncChange, FlowMonitorRequest, PacketOutMessage, SwitchConfig, TableMod, port_metadata,
};
use crate::openflow::{Action, FlowMod};

fn table_mod(table: u8, vacancy: Option<Option<(u8, u8)>>) -> Message {
    Message::TableMod(TableMod { table, miss: None, eviction: None, vacancy })
}

/// What tables' notices say: reason, table, vacancy.
fn statuses(messages: Vec<Message>) -> Vec<(u8, u8, u8)> {
    let status = |message| match message {
        Message::TableStatus { reason, table } => {
            (reason, table.table, table.vacancy.expect("it is watched").2)
        }
        other => panic!("{other:?}"),
    };
    messages.into_iter().map(status).collect()
}

impl Lab {
    /// Makes a table take ten rules.
    fn shrink(&mut self, table: u8) {
        let bridge = self.agent.bridge();
        let settings =
            TableSettings { rule_count_max: Some(10), ..self.switch.ofproto.table_settings(bridge, table) };
        self.switch.ofproto.table_set(bridge, table, settings).expect("there is such a table");
    }

    /// Fills a table up to so many rules.
    fn fill(&mut self, token: usize, table: u8, count: usize) {
        self.order(token, &flow(&format!("table={table}"), FlowModCommand::Delete));
        for rule in 0..count {
            self.order(token, &add(&format!("table={table},priority={rule},actions=drop")));
        }
        self.watch();
    }
}

/// Rules of the big tables.
const RULES: u16 = 10_000;

impl Lab {
    /// Gives table 5 so many rules that they are told in parts, of priorities from 0 on.
    fn fill_in_parts(&mut self) {
        let bridge = self.agent.bridge();
        for priority in 0..RULES {
            let flow_mod = FlowMod { table: 5, priority, ..FlowMod::add() };
            self.switch.ofproto.flow_mod(bridge, &flow_mod).expect("a good rule");
        }
    }
}

#[test]
fn a_table_that_runs_full_is_told_of_once_and_again_when_it_has_room() {
    for version in [Version::V14, Version::V15] {
        let mut lab = Lab::new();
        let (one, older) = (lab.join(version), lab.join(Version::V13));
        lab.shrink(2);
        lab.order(one, &table_mod(2, Some(Some((20, 50)))));
        lab.fill(one, 2, 8);
        assert_eq!(lab.notices(one), [], "20 % are not below 20");
        lab.order(one, &add("table=2,priority=100,actions=drop"));
        lab.watch();
        assert_eq!(statuses(lab.notices(one)), [(3, 2, 10)]);
        lab.order(one, &add("table=2,priority=101,actions=drop"));
        lab.watch();
        assert_eq!(lab.notices(one), [], "it was told already");
        let full = lab.refused(one, &add("table=2,priority=102,actions=drop"));
        assert_eq!(full, OfError::FlowModTableFull);
        lab.fill(one, 2, 5);
        // The table was empty on the way, but nobody looked then.
        assert_eq!(lab.notices(one), [], "50 % are not above 50");
        lab.fill(one, 2, 4);
        assert_eq!(statuses(lab.notices(one)), [(4, 2, 60)]);
        lab.order(one, &table_mod(2, Some(None)));
        lab.fill(one, 2, 10);
        assert_eq!(lab.notices(one), []);
        assert_eq!(lab.notices(older), [], "1.3 has no such message");
    }
}

#[test]
fn a_table_that_has_little_room_already_is_told_of_when_it_has_more() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V14);
    lab.shrink(2);
    lab.fill(one, 2, 9);
    lab.order(one, &table_mod(2, Some(Some((20, 50)))));
    lab.watch();
    assert_eq!(lab.notices(one), []);
    lab.fill(one, 2, 1);
    assert_eq!(statuses(lab.notices(one)), [(4, 2, 90)]);
}

#[test]
fn tables_are_told_of_by_reason_and_not_to_slaves() {
    let mut lab = Lab::new();
    let (one, other, slave) = (lab.join(Version::V14), lab.join(Version::V14), lab.join(Version::V14));
    let change = AsyncChange { table_status: [Some(1 << 4), Some(0)], ..AsyncChange::default() };
    lab.order(other, &Message::SetAsync(change));
    lab.ask(slave, &Message::RoleRequest(super::role(Role::Slave, Some(1))));
    lab.shrink(2);
    lab.order(one, &table_mod(2, Some(Some((20, 50)))));
    lab.fill(one, 2, 9);
    assert_eq!(statuses(lab.notices(one)).len(), 1);
    assert_eq!(lab.notices(other), []);
    lab.fill(one, 2, 0);
    assert_eq!(statuses(lab.notices(other)), [(4, 2, 100)]);
    assert_eq!(lab.notices(slave), []);
}

#[test]
fn table_mods_have_bounds() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V14);
    for bounds in [(51, 50), (10, 101)] {
        let wrong = table_mod(0, Some(Some(bounds)));
        assert_eq!(lab.refused(one, &wrong), OfError::BadPropertyValue, "{bounds:?}");
    }
    assert_eq!(lab.refused(one, &table_mod(254, None)), OfError::TableModBadTable);
    lab.order(one, &table_mod(255, Some(Some((10, 20)))));
    let told = lab.ask(one, &multipart(MultipartRequest::TableDesc));
    let mut vacancies = Vec::new();
    for message in told {
        let Message::MultipartReply { body: MultipartReply::TableDesc(tables), .. } = message else {
            panic!()
        };
        vacancies.extend(tables.into_iter().map(|table| table.vacancy));
    }
    assert!(vacancies.len() == 254 && vacancies.iter().all(|it| *it == Some((10, 20, 100))));
}

#[test]
fn a_miss_goes_to_the_controller_up_to_1_2_unless_a_table_mod_says_otherwise() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let one = lab.join(version);
        lab.watch();
        let miss = |lab: &mut Lab| {
            lab.device("a").inject_frame(0, &[0x33; 60]);
            lab.turn();
            lab.notices(one).len()
        };
        let is_old = version < Version::V13;
        assert_eq!(miss(&mut lab), usize::from(is_old), "{version:?}");
        if matches!(version, Version::V11 | Version::V12) {
            let table_mod = |miss| {
                Message::TableMod(TableMod { table: 0, miss: Some(miss), eviction: None, vacancy: None })
            };
            lab.order(one, &table_mod(2));
            lab.ask(one, &Message::BarrierRequest);
            assert_eq!(miss(&mut lab), 0);
            assert_eq!(lab.refused(one, &table_mod(3)), OfError::TableModBadConfig);
            lab.order(one, &table_mod(1));
            lab.order(one, &add("table=1,actions=output:2"));
            lab.ask(one, &Message::BarrierRequest);
            assert_eq!(miss(&mut lab), 0);
            assert_eq!(lab.device("b").take_tx_frames().len(), 1);
        }
        lab.leave(one);
        lab.watch();
        let settings = lab.switch.ofproto.table_settings(lab.agent.bridge(), 5);
        assert_eq!(settings.miss, MissHandling::Drop, "nobody is there to have it");
    }
}

#[test]
fn no_port_has_queues_and_what_is_no_port_is_an_error() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let one = lab.join(version);
        if version < Version::V14 {
            let config = |port| Message::QueueGetConfigRequest(OfPort(port));
            let reply = Message::QueueGetConfigReply { port: OfPort(2), queues: vec![] };
            assert_eq!(lab.ask(one, &config(2)), [reply]);
            assert_eq!(lab.refused(one, &config(9)), OfError::QueueOpBadPort);
        } else {
            let desc = |port| multipart(MultipartRequest::QueueDesc { port, queue: u32::MAX });
            assert_eq!(lab.ask(one, &desc(OfPort::NONE)), [answer(MultipartReply::QueueDesc(vec![]))]);
            let of_one = multipart(MultipartRequest::QueueDesc { port: OfPort(1), queue: 7 });
            assert_eq!(lab.refused(one, &of_one), OfError::QueueOpBadQueue);
            assert_eq!(lab.refused(one, &desc(OfPort(9))), OfError::QueueOpBadPort);
        }
        let stats = |port| multipart(MultipartRequest::QueueStats { port, queue: u32::MAX });
        assert_eq!(lab.ask(one, &stats(OfPort::NONE)), [answer(MultipartReply::QueueStats(vec![]))]);
        assert_eq!(lab.ask(one, &stats(OfPort(1))), [answer(MultipartReply::QueueStats(vec![]))]);
        assert_eq!(lab.refused(one, &stats(OfPort(9))), OfError::QueueOpBadPort);
        let of_one = multipart(MultipartRequest::QueueStats { port: OfPort(1), queue: 7 });
        assert_eq!(lab.refused(one, &of_one), OfError::QueueOpBadQueue);
    }
}

#[test]
fn what_is_told_of_tables_and_groups_is_what_they_take() {
    use crate::openflow::message::TableFeatureProperty as Property;
    for version in [Version::V13, Version::V14, Version::V15] {
        let mut lab = Lab::new();
        let one = lab.join(version);
        let asked = lab.ask(one, &multipart(MultipartRequest::TableFeatures(vec![])));
        let Some(Message::MultipartReply { body: MultipartReply::TableFeatures(tables), .. }) = asked.first()
        else {
            panic!("{asked:?}")
        };
        let (mut written, mut applied) = (Vec::new(), Vec::new());
        for property in &tables[0].properties {
            match property {
                Property::WriteActions(actions) => written.clone_from(actions),
                Property::ApplyActions(actions) => applied.clone_from(actions),
                _ => {}
            }
        }
        // OFPAT_METER, which no action set takes.
        let meter = 29;
        assert_eq!(applied.contains(&meter), version == Version::V15);
        applied.retain(|action| *action != meter);
        assert_eq!(written, applied, "{version:?}");
        let (eviction, vacancy) = (1 << 2, 1 << 3);
        let said = if version >= Version::V14 { eviction | vacancy } else { 0 };
        let is_ingress = u32::from(version == Version::V15);
        assert_eq!((tables[0].capabilities, tables[0].features), (said, is_ingress), "{version:?}");

        let asked = lab.ask(one, &multipart(MultipartRequest::GroupFeatures));
        let Message::MultipartReply { body: MultipartReply::GroupFeatures(groups), .. } = &asked[0] else {
            panic!("{asked:?}")
        };
        assert_eq!(groups.groups_max, [65_536; 4]);
        assert_eq!(groups.actions[0] >> meter & 1, 0);
        lab.order(one, &group("group_id=1,type=all,bucket=move:eth_src->eth_dst,output:1"));
    }
}

fn part(id: u32, more: bool) -> Message {
    let monitor = FlowMonitorRequest { id, command: 0, flags: 31, flows: FlowStatsRequest::all() };
    Message::MultipartRequest { is_nicira: false, more, body: MultipartRequest::FlowMonitor(vec![monitor]) }
}

#[test]
fn a_request_of_several_messages_is_one() {
    for version in [Version::V13, Version::V14, Version::V15] {
        let mut lab = Lab::new();
        let one = lab.join(version);
        lab.order(one, &add("priority=3,actions=output:1"));
        lab.send_as(one, &part(1, true), 5);
        lab.send_as(one, &part(2, true), 5);
        assert_eq!(lab.hear(one), []);
        // Others may come in between.
        assert_eq!(lab.ask(one, &multipart(MultipartRequest::Desc)).len(), 1);
        lab.send_as(one, &part(3, false), 5);
        let heard = lab.hear(one);
        let [(5, Message::MultipartReply { more: false, body: MultipartReply::FlowMonitor(told), .. })] =
            &heard[..]
        else {
            panic!("{heard:?}")
        };
        assert_eq!(told.len(), 1, "they tell of the rule together");
        // The first of them is known, so all of the next is refused.
        lab.send_as(one, &part(4, true), 6);
        lab.send_as(one, &part(1, false), 6);
        assert!(matches!(&lab.hear(one)[..], [(6, Message::Error(_))]));
        assert_eq!(lab.ask(one, &part(4, false)).len(), 1);
    }
}

#[test]
fn the_rest_of_a_request_has_its_time_and_its_bound() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V14);
    let error = |lab: &mut Lab| {
        let heard = lab.hear(one);
        match &heard[..] {
            [(xid, Message::Error(error))] => (*xid, error.error),
            _ => panic!("{heard:?}"),
        }
    };
    lab.send_as(one, &part(1, true), 5);
    lab.pass(Nanos::from_secs(9));
    assert_eq!(lab.hear(one), []);
    lab.pass(Nanos::from_secs(2));
    assert_eq!(error(&mut lab), (5, ErrorKind::Known(OfError::BadRequestMultipartRequestTimeout)));
    lab.send_as(one, &part(1, true), 5);
    lab.send_as(one, &part(2, true), 6);
    assert_eq!(error(&mut lab), (6, ErrorKind::Known(OfError::BadRequestMultipartOverflow)));
    for id in 0..256 {
        lab.send_as(one, &part(id, true), 7);
    }
    assert_eq!(lab.hear(one), []);
    lab.send_as(one, &part(256, true), 7);
    assert_eq!(error(&mut lab), (7, ErrorKind::Known(OfError::BadRequestMultipartOverflow)));
    // What is no list has one message.
    let long = Message::MultipartRequest { is_nicira: false, more: true, body: MultipartRequest::Desc };
    assert_eq!(lab.refused(one, &long), OfError::BadRequestMultipartOverflow);
}

#[test]
fn what_stands_before_a_barrier_is_answered_and_done_before_it() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let one = lab.join(version);
        lab.device("a").inject_frame(0, &[0x33; 60]);
        lab.turn();
        lab.hear(one);
        let wrong = lab.send(one, &add("actions=group:9"));
        lab.send(one, &add("actions=output:2"));
        let asked = lab.send(one, &multipart(MultipartRequest::Desc));
        let barrier = lab.send(one, &Message::BarrierRequest);
        let xids: Vec<u32> = lab.hear(one).into_iter().map(|(xid, _)| xid).collect();
        assert_eq!(xids, [wrong, asked, barrier], "{version:?}");
        lab.device("b").take_tx_frames();
        lab.device("a").inject_frame(0, &[0x33; 60]);
        lab.turn();
        assert_eq!(lab.device("b").take_tx_frames().len(), 1, "{version:?}: older rules after a barrier");
    }
}

#[test]
fn what_only_a_switch_says_is_no_request() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let one = lab.join(version);
        for message in [
            Message::BarrierReply,
            Message::GetConfigReply(SwitchConfig { flags: 0, miss_send_len: 0 }),
            answer(MultipartReply::QueueStats(vec![])),
        ] {
            assert_eq!(lab.refused(one, &message), OfError::BadRequestType, "{version:?} {message:?}");
        }
    }
}

#[test]
fn a_packet_out_names_a_port_that_can_be_and_no_buffer() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let one = lab.join(version);
        let out = |port, buffer_id| {
            Message::PacketOut(PacketOutMessage {
                buffer_id,
                metadata: Box::new(port_metadata(port)),
                actions: vec![Action::Output(OfPort(2))],
                data: vec![0x44; 60],
            })
        };
        lab.order(one, &out(OfPort::CONTROLLER, u32::MAX));
        lab.order(one, &out(OfPort(1), u32::MAX));
        lab.turn();
        assert_eq!(lab.device("b").take_tx_frames().len(), 2);
        assert_eq!(lab.refused(one, &out(OfPort(1), 7)), OfError::BadRequestBufferUnknown);
        for port in [OfPort::FLOOD, OfPort::ALL, OfPort::IN_PORT] {
            assert_eq!(
                lab.refused(one, &out(port, u32::MAX)),
                OfError::BadRequestPort,
                "{version:?} {port:?}"
            );
        }
    }
}

#[test]
fn a_modify_that_finds_nothing_adds_up_to_1_1() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let one = lab.join(version);
        lab.order(one, &flow("table=0,tcp,actions=drop", FlowModCommand::Modify));
        assert_eq!(lab.rule_count(), usize::from(version <= Version::V11), "{version:?}");
    }
}

#[test]
fn settings_of_a_switch_are_those_that_there_are() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V13);
    for flags in [2, 8, 0x100] {
        let wrong = Message::SetConfig(SwitchConfig { flags, miss_send_len: 9 });
        assert_eq!(lab.refused(one, &wrong), OfError::SwitchConfigBadFlags);
    }
    lab.order(one, &Message::SetConfig(SwitchConfig { flags: 1, miss_send_len: 9 }));
    let told = Message::GetConfigReply(SwitchConfig { flags: 1, miss_send_len: 9 });
    assert_eq!(lab.ask(one, &Message::GetConfigRequest), [told]);
}

#[test]
fn rules_are_told_in_parts_as_fast_as_they_are_read() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V13);
    lab.fill_in_parts();
    let request = FlowStatsRequest { table: 5, ..FlowStatsRequest::all() };
    let body = MultipartRequest::Flow(Box::new(request));
    let xid = lab.send(one, &Message::MultipartRequest { is_nicira: false, more: false, body });
    let mut priorities = Vec::new();
    let mut is_over = false;
    while !is_over {
        // Nobody has read what was told: no more of it is made.
        let size = lab.sessions[&one].output_slices(usize::MAX).map(<[u8]>::len).sum::<usize>();
        assert!(size < 600 << 10, "{size}");
        for (of, message) in lab.hear(one) {
            let Message::MultipartReply { more, body: MultipartReply::Flow(rules), .. } = message else {
                panic!("{message:?}")
            };
            assert!(of == xid && !is_over);
            priorities.extend(rules.into_iter().map(|rule| rule.priority));
            is_over = !more;
        }
        assert_eq!(lab.agent.is_telling(one), !is_over);
        lab.agent.tell_on(one, &mut lab.switch, &mut lab.sessions);
    }
    assert_eq!(priorities, (0..RULES).rev().collect::<Vec<_>>());
}

#[test]
fn rules_are_summed_up_in_parts_with_what_comes_next_behind_them() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V13);
    lab.fill_in_parts();
    lab.order(one, &add("table=0,actions=drop"));
    for _ in 0..3 {
        lab.device("a").inject_frame(0, &[0x33; 60]);
    }
    lab.turn();
    let xid = lab.send(one, &multipart(MultipartRequest::Aggregate(Box::new(FlowStatsRequest::all()))));
    let mut goes = 0;
    while lab.agent.is_telling(one) {
        assert!(lab.sessions[&one].output().is_empty(), "there is one answer, at the end");
        lab.agent.tell_on(one, &mut lab.switch, &mut lab.sessions);
        goes += 1;
    }
    let flows = u32::from(RULES) + 1;
    let sums = MultipartReply::Aggregate { packets: 3, bytes: 180, flows };
    assert_eq!(lab.hear(one), [(xid, answer(sums))]);
    assert!(goes > 1, "packets are looked after in between");
    let other = FlowStatsRequest { table: 9, ..FlowStatsRequest::all() };
    let none = MultipartReply::Aggregate { packets: 0, bytes: 0, flows: 0 };
    assert_eq!(lab.ask(one, &multipart(MultipartRequest::Aggregate(Box::new(other)))), [answer(none)]);
}

#[test]
fn groups_are_told_in_parts_as_fast_as_they_are_read() {
    const GROUPS: u32 = 3_000;
    let mut lab = Lab::new();
    let one = lab.join(Version::V15);
    let bridge = lab.agent.bridge();
    let buckets = ",bucket=output:1,output:2".repeat(20);
    for number in 1..=GROUPS {
        let Message::GroupMod(add) = group(&format!("group_id={number},type=all{buckets}")) else { panic!() };
        lab.switch.ofproto.group_mod(bridge, &add).expect("a good group");
    }
    for has_counters in [false, true] {
        let body = if has_counters {
            MultipartRequest::GroupStats(GROUP_ALL)
        } else {
            MultipartRequest::GroupDesc(GROUP_ALL)
        };
        let xid = lab.send(one, &multipart(body));
        let (mut numbers, mut is_over, mut goes) = (Vec::new(), false, 0);
        while !is_over {
            let size = lab.sessions[&one].output_slices(usize::MAX).map(<[u8]>::len).sum::<usize>();
            assert!(size < 800 << 10, "{size} bytes wait");
            for (of, message) in lab.hear(one) {
                let Message::MultipartReply { more, body, .. } = message else { panic!("{message:?}") };
                assert!(of == xid && !is_over);
                match body {
                    MultipartReply::GroupDesc(all) => numbers.extend(all.iter().map(|it| it.group)),
                    MultipartReply::GroupStats(all) => numbers.extend(all.iter().map(|it| it.group)),
                    other => panic!("{other:?}"),
                }
                is_over = !more;
            }
            lab.agent.tell_on(one, &mut lab.switch, &mut lab.sessions);
            goes += 1;
        }
        assert_eq!(numbers, (1..=GROUPS).collect::<Vec<_>>());
        assert!(has_counters || goes > 1, "it is told in one go");
    }
    // One is looked up by its number, and one that is not there is told of by nothing.
    for (number, expected) in [(77, vec![77]), (GROUPS + 1, vec![])] {
        let answers = lab.ask(one, &multipart(MultipartRequest::GroupDesc(number)));
        let [Message::MultipartReply { body: MultipartReply::GroupDesc(all), .. }] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert_eq!(all.iter().map(|it| it.group).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn vacancy_events_need_bounds() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V14);
    // The flag without a property.
    let on = table_mod(3, None);
    assert_eq!(lab.refused(one, &on), OfError::TableModBadConfig);
    lab.order(one, &table_mod(3, Some(Some((20, 80)))));
    lab.order(one, &on);
    let bridge = lab.agent.bridge();
    assert_eq!(lab.switch.ofproto.table_settings(bridge, 3).vacancy, Some((20, 80)), "it keeps them");
    assert_eq!(
        lab.refused(one, &table_mod(TABLE_ALL, None)),
        OfError::TableModBadConfig,
        "not all have some"
    );
}
