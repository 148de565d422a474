//! Roles, and what controllers are told of each other.

use super::*;
use crate::openflow::message::{
    BundleControl, BundleControlType, ControllerStatus, PacketOutMessage, PortBits, PortMod, TableMod,
    port_metadata,
};

fn request(role: Role, id: u64) -> Message {
    Message::RoleRequest(super::role(role, Some(id)))
}

fn reply(role: Role, id: Option<u64>) -> Message {
    Message::RoleReply(super::role(role, id))
}

fn nicira(role: Role) -> Message {
    Message::RoleRequest(RoleMessage { is_nicira: true, role, short_id: 0, generation_id: None })
}

#[test]
fn a_role_is_told_and_its_generation_id_is_the_last_of_anybody() {
    for version in [Version::V12, Version::V13, Version::V14, Version::V15] {
        let mut lab = Lab::new();
        let (one, other) = (lab.join(version), lab.join(version));
        assert_eq!(lab.ask(one, &request(Role::NoChange, 0)), [reply(Role::Equal, None)]);
        // Only master and slave have one.
        assert_eq!(lab.ask(one, &request(Role::Equal, 99)), [reply(Role::Equal, None)]);
        assert_eq!(lab.ask(one, &request(Role::Master, 7)), [reply(Role::Master, Some(7))]);
        lab.hear(other);
        assert_eq!(lab.ask(other, &request(Role::NoChange, 0)), [reply(Role::Equal, Some(7))]);
        assert_eq!(lab.ask(other, &request(Role::Slave, 7)), [reply(Role::Slave, Some(7))]);
    }
}

#[test]
fn an_older_generation_id_is_stale_counted_round() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V13);
    lab.ask(one, &request(Role::Slave, 7));
    for stale in [6, 0, u64::MAX, 7 + (1 << 63)] {
        assert_eq!(lab.refused(one, &request(Role::Master, stale)), OfError::RoleStale, "{stale}");
    }
    assert_eq!(lab.ask(one, &request(Role::NoChange, 0)), [reply(Role::Slave, Some(7))]);
    let newer = 6 + (1 << 63);
    assert_eq!(lab.ask(one, &request(Role::Master, newer)), [reply(Role::Master, Some(newer))]);
    lab.ask(one, &request(Role::Master, u64::MAX));
    assert_eq!(lab.ask(one, &request(Role::Master, 3)), [reply(Role::Master, Some(3))], "it went round");
}

/// All that a version has that changes something.
fn writes(version: Version) -> Vec<Message> {
    let metadata = Box::new(port_metadata(OfPort::CONTROLLER));
    let packet = PacketOutMessage { buffer_id: u32::MAX, metadata, actions: vec![], data: vec![0; 60] };
    let none = PortBits::default();
    let port = PortMod { port: OfPort(1), mac: [0; 6], config: none, mask: none, advertise: 0 };
    let mut all = vec![
        add("actions=drop"),
        Message::PacketOut(packet),
        group("group_id=1,type=all"),
        Message::PortMod(port),
    ];
    if version >= Version::V11 {
        let table = TableMod { table: 1, miss: Some(0), eviction: None, vacancy: None };
        all.push(Message::TableMod(table));
    }
    if version >= Version::V13 {
        all.push(meter("meter=1,pktps,bands=type=drop,rate=1"));
        let open = BundleControlType::OpenRequest;
        all.push(Message::BundleControl(BundleControl { bundle: 1, control_type: open, flags: 0 }));
        let frame = wire::encode(&add("actions=drop"), 1, &WireSettings::new(version)).concat();
        all.push(Message::BundleAdd { bundle: 1, flags: 0, message: frame });
    }
    all
}

#[test]
fn a_slave_reads_and_every_write_is_refused() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let slave = lab.join(version);
        lab.ask(slave, &nicira(Role::Slave));
        for write in writes(version) {
            // Before 1.2 there is no name for it but that it is not allowed.
            let wanted =
                if version < Version::V12 { OfError::BadRequestEperm } else { OfError::BadRequestIsSlave };
            assert_eq!(lab.refused(slave, &write), wanted, "{version:?} {write:?}");
        }
        assert_eq!((lab.rule_count(), lab.group_count()), (0, 0));
        assert_eq!(lab.ask(slave, &Message::BarrierRequest), [Message::BarrierReply]);
        assert_eq!(lab.ask(slave, &multipart(MultipartRequest::Desc)).len(), 1);
        // How much it wants of packets is its own affair.
        let config = crate::openflow::message::SwitchConfig { flags: 1, miss_send_len: 77 };
        lab.order(slave, &Message::SetConfig(config));
        let Message::GetConfigReply(config) = lab.ask(slave, &Message::GetConfigRequest).remove(0) else {
            panic!()
        };
        assert_eq!((config.flags, config.miss_send_len), (0, 77));
        lab.ask(slave, &nicira(Role::Equal));
        lab.order(slave, &add("actions=drop"));
    }
}

#[test]
fn a_slave_may_ask_for_the_features_of_tables_and_not_set_them() {
    let mut lab = Lab::new();
    let slave = lab.join(Version::V13);
    lab.ask(slave, &request(Role::Slave, 1));
    let asked = lab.ask(slave, &multipart(MultipartRequest::TableFeatures(vec![])));
    let Message::MultipartReply { body: MultipartReply::TableFeatures(tables), .. } = &asked[0] else {
        panic!("{asked:?}")
    };
    let set = multipart(MultipartRequest::TableFeatures(tables[..1].to_vec()));
    assert_eq!(lab.refused(slave, &set), OfError::BadRequestIsSlave);
    lab.ask(slave, &request(Role::Equal, 1));
    assert_eq!(lab.refused(slave, &set), OfError::TableFeaturesEperm);
}

#[test]
fn a_new_master_makes_the_old_one_a_slave_who_is_told_where_there_is_a_message_for_it() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let (old, equal, new) = (lab.join(version), lab.join(version), lab.join(version));
        lab.ask(old, &nicira(Role::Master));
        lab.ask(new, &nicira(Role::Master));
        let told = lab.notices(old);
        let mine = |message: &&Message| matches!(message, Message::RoleStatus { .. });
        let status: Vec<_> = told.iter().filter(mine).collect();
        if version >= Version::V13 {
            assert_eq!(status, [&Message::RoleStatus { role: super::role(Role::Slave, None), reason: 0 }]);
        } else {
            assert!(status.is_empty(), "{told:?}");
        }
        assert_eq!(lab.notices(equal).iter().filter(mine).count(), 0);
        let wanted =
            if version < Version::V12 { OfError::BadRequestEperm } else { OfError::BadRequestIsSlave };
        assert_eq!(lab.refused(old, &add("actions=drop")), wanted);
        lab.order(equal, &add("actions=drop"));
        lab.order(new, &add("actions=drop"));
    }
}

#[test]
fn a_bundle_of_one_who_became_a_slave_is_not_committed() {
    let mut lab = Lab::new();
    let (old, new) = (lab.join(Version::V14), lab.join(Version::V14));
    lab.ask(old, &request(Role::Master, 1));
    let frame = wire::encode(&add("actions=drop"), 9, &WireSettings::new(Version::V14)).concat();
    lab.send_as(old, &Message::BundleAdd { bundle: 1, flags: 0, message: frame }, 9);
    lab.ask(new, &request(Role::Master, 2));
    lab.hear(old);
    let control_type = BundleControlType::CommitRequest;
    let commit = Message::BundleControl(BundleControl { bundle: 1, control_type, flags: 0 });
    assert_eq!(lab.refused(old, &commit), OfError::BadRequestIsSlave);
    assert_eq!(lab.rule_count(), 0);
}

#[test]
fn in_1_5_controllers_are_told_of_each_other() {
    let mut lab = Lab::new();
    let watcher = lab.join(Version::V15);
    let older = lab.join(Version::V14);
    let told = |lab: &mut Lab| {
        let statuses = lab.notices(watcher).into_iter().map(|message| match message {
            Message::ControllerStatus(ControllerStatus { short_id, role, reason, is_up, .. }) => {
                (reason, role, short_id, is_up)
            }
            other => panic!("{other:?}"),
        });
        statuses.collect::<Vec<_>>()
    };
    let other = lab.join_as(Version::V13, false);
    lab.ask(other, &request(Role::Master, 1));
    // Once is enough.
    (0..2).for_each(|_| lab.order(other, &Message::SetControllerId(5)));
    assert_eq!(
        told(&mut lab),
        [(1, Role::Equal, 0, true), (2, Role::Master, 0, true), (5, Role::Master, 5, true)]
    );
    lab.ask(older, &request(Role::Master, 2));
    assert_eq!(told(&mut lab), [(2, Role::Slave, 5, true), (2, Role::Master, 0, true)]);
    lab.leave(other);
    assert_eq!(told(&mut lab), [(1, Role::Slave, 5, false)]);
    // It is told of itself by the reply alone, and of all when it asks.
    lab.ask(watcher, &request(Role::NoChange, 0));
    let asked = lab.ask(watcher, &multipart(MultipartRequest::ControllerStatus));
    let Message::MultipartReply { body: MultipartReply::ControllerStatus(all), .. } = &asked[0] else {
        panic!("{asked:?}")
    };
    assert_eq!(
        all.iter().map(|it| (it.role, it.reason)).collect::<Vec<_>>(),
        [(Role::Equal, 0), (Role::Master, 0)]
    );
    assert!(lab.notices(older).iter().all(|it| matches!(it, Message::RoleStatus { .. })));
}

#[test]
fn in_1_5_a_controller_has_a_number_that_no_other_has() {
    let mut lab = Lab::new();
    let (one, other) = (lab.join(Version::V15), lab.join(Version::V15));
    let named =
        |role, short_id, id| Message::RoleRequest(RoleMessage { short_id, ..super::role(role, Some(id)) });
    let told = |role, short_id, id| Message::RoleReply(RoleMessage { short_id, ..super::role(role, id) });
    assert_eq!(lab.ask(one, &named(Role::NoChange, 7, 0)), [told(Role::Equal, 7, None)]);
    let Message::ControllerStatus(status) = lab.notices(other).remove(0) else { panic!() };
    assert_eq!((status.reason, status.short_id), (5, 7));
    // Another can't have it, and nothing of what it asked for is done.
    assert_eq!(lab.refused(other, &named(Role::Master, 7, 9)), OfError::RoleIdInUse);
    assert_eq!(lab.ask(other, &named(Role::NoChange, 0, 0)), [told(Role::Equal, 0, None)]);
    assert_eq!(lab.ask(other, &named(Role::Slave, 8, 1)), [told(Role::Slave, 8, Some(1))]);
    lab.hear(one);
    // It keeps its own, by saying so or by saying none, and gets another.
    assert_eq!(lab.ask(one, &named(Role::Master, 7, 2)), [told(Role::Master, 7, Some(2))]);
    assert_eq!(lab.ask(one, &named(Role::NoChange, 0, 0)), [told(Role::Master, 7, Some(2))]);
    lab.ask(one, &named(Role::NoChange, 9, 0));
    assert_eq!(lab.ask(other, &named(Role::NoChange, 7, 0)), [told(Role::Slave, 7, Some(2))]);
    // It says nothing of who gets packets, as Nicira's number does.
    let Some(controller) = lab.agent.controller_mut(one) else { panic!() };
    assert_eq!((controller.controller_id, controller.short_id), (0, 9));
    // Before 1.5 there is none: what stands in its place is padding.
    let older = lab.join(Version::V14);
    assert_eq!(lab.ask(older, &named(Role::NoChange, 9, 0)), [reply(Role::Equal, Some(2))]);
    lab.leave(one);
    assert_eq!(lab.ask(other, &named(Role::NoChange, 9, 0)), [told(Role::Slave, 9, Some(2))]);
    // Nicira's number takes none away, nor does a tool's; and changes nothing for one that has the other.
    lab.order(older, &Message::SetControllerId(3));
    let tool = lab.join(Version::V15);
    lab.agent.controller_mut(tool).expect("it is there").is_management = true;
    assert_eq!(lab.ask(tool, &named(Role::NoChange, 4, 0)), [told(Role::Equal, 4, Some(2))]);
    let watcher = lab.join(Version::V15);
    for id in [3, 4] {
        assert_eq!(lab.ask(other, &named(Role::NoChange, id, 0)), [told(Role::Slave, id, Some(2))]);
    }
    lab.order(other, &Message::SetControllerId(6));
    assert_eq!(lab.notices(watcher).len(), 2, "one of each number that is new");
}

#[test]
fn controllers_of_the_configuration_are_told_of_whether_they_are_there_or_not() {
    let mut lab = Lab::new();
    let watcher = lab.join(Version::V15);
    let uris = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let told = |lab: &mut Lab| {
        let statuses = lab.notices(watcher).into_iter().map(|message| match message {
            Message::ControllerStatus(status) => (status.reason, status.is_up, status.uri),
            other => panic!("{other:?}"),
        });
        statuses.collect::<Vec<_>>()
    };
    lab.agent.set_configured(uris(&["tcp:a", "tcp:b"]), &mut lab.sessions);
    assert_eq!(told(&mut lab), [(3, false, "tcp:a".to_owned()), (3, false, "tcp:b".to_owned())]);
    lab.agent.set_configured(uris(&["tcp:b", "tcp:c"]), &mut lab.sessions);
    assert_eq!(told(&mut lab), [(4, false, "tcp:a".to_owned()), (3, false, "tcp:c".to_owned())]);
    lab.agent.set_configured(uris(&["tcp:b", "tcp:c"]), &mut lab.sessions);
    assert_eq!(told(&mut lab), []);
    // One of them is being called, and has said nothing yet; one is there; and a tool has come.
    let (calling, there, tool) =
        (lab.join(Version::V13), lab.join(Version::V13), lab.join_as(Version::V13, true));
    let silent = Session::new(VersionSet::of(&[Version::V13]), None, Nanos(0));
    lab.sessions.insert(calling, silent);
    lab.agent.controller_mut(calling).expect("it is there").uri = "tcp:b".to_owned();
    lab.agent.controller_mut(there).expect("it is there").uri = "tcp:c".to_owned();
    lab.agent.controller_mut(tool).expect("it is there").is_management = true;
    told(&mut lab);
    let asked = lab.ask(watcher, &multipart(MultipartRequest::ControllerStatus));
    let Message::MultipartReply { body: MultipartReply::ControllerStatus(all), .. } = &asked[0] else {
        panic!("{asked:?}")
    };
    let own = lab.agent.uri(watcher);
    let all: Vec<_> = all.iter().map(|it| (it.uri.as_str(), it.is_up)).collect();
    assert_eq!(all, [("tcp:b", false), ("tcp:c", true), (own, true)]);
    // Tools come and go, and nobody is told.
    lab.leave(tool);
    assert_eq!(told(&mut lab), []);
    lab.leave(there);
    assert_eq!(told(&mut lab), [(1, false, "tcp:c".to_owned())]);
}
