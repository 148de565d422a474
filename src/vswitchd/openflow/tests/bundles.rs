//! Bundles: all or nothing, in order.

use super::*;
use crate::openflow::message::{
    AsyncChange, BundleControl, BundleControlType as Type, PacketOutMessage, port_metadata,
};

const VERSIONS: [Version; 3] = [Version::V13, Version::V14, Version::V15];

fn control(bundle: u32, control_type: Type, flags: u16) -> Message {
    Message::BundleControl(BundleControl { bundle, control_type, flags })
}

impl Lab {
    /// Puts a message into a bundle; returns the error if there is one.
    fn put(&mut self, token: usize, bundle: u32, flags: u16, message: &Message) -> Option<OfError> {
        self.next_xid += 1;
        let xid = self.next_xid;
        self.put_frame(
            token,
            xid,
            Message::BundleAdd { bundle, flags, message: self.frame(token, message, xid) },
        )
    }

    fn frame(&self, token: usize, message: &Message, xid: u32) -> Vec<u8> {
        let settings = self.sessions[&token].settings().expect("it is up");
        wire::encode(message, xid, &settings).concat()
    }

    fn put_frame(&mut self, token: usize, xid: u32, add: Message) -> Option<OfError> {
        self.send_as(token, &add, xid);
        match &self.hear(token)[..] {
            [] => None,
            [(_, Message::Error(error))] => match error.error {
                ErrorKind::Known(error) => Some(error),
                ErrorKind::Raw { .. } => panic!("{error:?}"),
            },
            heard => panic!("{heard:?}"),
        }
    }

    #[track_caller]
    fn control(&mut self, token: usize, bundle: u32, control_type: Type, flags: u16) {
        let reply = [Type::OpenReply, Type::CloseReply, Type::CommitReply, Type::DiscardReply]
            [control_type as usize / 2];
        let answers = self.ask(token, &control(bundle, control_type, flags));
        assert_eq!(answers, [control(bundle, reply, flags)]);
    }
}

#[test]
fn what_is_in_a_bundle_is_done_at_its_commit_in_order() {
    for version in VERSIONS {
        for flags in 0..4 {
            let mut lab = Lab::new();
            let one = lab.join(version);
            lab.control(one, 1, Type::OpenRequest, flags);
            // Each needs what stands before it.
            for message in [group("group_id=1,type=all,bucket=output:2"), add("priority=5,actions=group:1")] {
                assert_eq!(lab.put(one, 1, flags, &message), None);
            }
            assert_eq!((lab.rule_count(), lab.group_count()), (0, 0), "nothing is done before");
            lab.control(one, 1, Type::CloseRequest, flags);
            lab.control(one, 1, Type::CommitRequest, flags);
            assert_eq!((lab.rule_count(), lab.group_count()), (1, 1), "{version:?}");
            assert_eq!(lab.refused(one, &control(1, Type::CommitRequest, flags)), OfError::BundleBadId);
        }
    }
}

#[test]
fn a_commit_that_fails_leaves_nothing_and_says_which_message_it_was() {
    for version in VERSIONS {
        let mut lab = Lab::new();
        let one = lab.join(version);
        lab.order(one, &add("priority=1,actions=drop"));
        lab.control(one, 1, Type::OpenRequest, 1);
        let port = lab.ask(one, &multipart(MultipartRequest::PortDesc(OfPort::NONE)));
        assert_eq!(port.len(), 1);
        for message in [group("group_id=1,type=all"), delete_all(), add("priority=5,actions=group:1")] {
            assert_eq!(lab.put(one, 1, 1, &message), None);
        }
        assert_eq!(lab.put(one, 1, 1, &add("priority=6,actions=group:99")), None);
        let failed = lab.next_xid;
        let commit = lab.send(one, &control(1, Type::CommitRequest, 1));
        let errors: Vec<_> = lab
            .hear(one)
            .into_iter()
            .map(|(xid, message)| match message {
                Message::Error(error) => (xid, error.error),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            errors,
            [
                (failed, ErrorKind::Known(OfError::BadActionOutGroup)),
                (commit, ErrorKind::Known(OfError::BundleMsgFailed))
            ]
        );
        assert_eq!((lab.rule_count(), lab.group_count()), (1, 0));
        lab.turn();
        assert_eq!(lab.notices(one), [], "nothing was told of what did not happen");
        assert_eq!(lab.refused(one, &control(1, Type::CommitRequest, 1)), OfError::BundleBadId);
    }
}

#[test]
fn a_discarded_bundle_does_nothing() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V14);
    lab.control(one, 1, Type::OpenRequest, 2);
    lab.put(one, 1, 2, &add("actions=drop"));
    lab.control(one, 1, Type::DiscardRequest, 2);
    assert_eq!(lab.rule_count(), 0);
    for gone in [Type::CloseRequest, Type::CommitRequest, Type::DiscardRequest] {
        assert_eq!(lab.refused(one, &control(1, gone, 2)), OfError::BundleBadId);
    }
}

#[test]
fn a_bundle_that_is_opened_twice_is_gone() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V14);
    lab.control(one, 1, Type::OpenRequest, 0);
    assert_eq!(lab.refused(one, &control(1, Type::OpenRequest, 0)), OfError::BundleExists);
    assert_eq!(lab.refused(one, &control(1, Type::CommitRequest, 0)), OfError::BundleBadId);
}

#[test]
fn a_closed_bundle_takes_no_more_and_is_gone_if_it_should() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V13);
    lab.control(one, 1, Type::OpenRequest, 0);
    lab.control(one, 1, Type::CloseRequest, 0);
    assert_eq!(lab.put(one, 1, 0, &add("actions=drop")), Some(OfError::BundleClosed));
    assert_eq!(lab.refused(one, &control(1, Type::CommitRequest, 0)), OfError::BundleBadId);
    lab.control(one, 2, Type::OpenRequest, 0);
    lab.control(one, 2, Type::CloseRequest, 0);
    assert_eq!(lab.refused(one, &control(2, Type::CloseRequest, 0)), OfError::BundleClosed);
}

#[test]
fn flags_are_those_of_the_opening() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V14);
    assert_eq!(lab.refused(one, &control(1, Type::OpenRequest, 4)), OfError::BundleBadFlags);
    let one = lab.join(Version::V15);
    assert_eq!(lab.refused(one, &control(1, Type::OpenRequest, 8)), OfError::BundleBadFlags);
    // To a time, which 1.5 has a flag for, is not possible here.
    assert_eq!(lab.refused(one, &control(1, Type::OpenRequest, 4)), OfError::BundleSchedUnsupported);
    assert_eq!(lab.put(one, 1, 4, &add("actions=drop")), Some(OfError::BundleSchedUnsupported));
    lab.control(one, 4, Type::OpenRequest, 1);
    assert_eq!(lab.refused(one, &control(4, Type::CommitRequest, 5)), OfError::BundleSchedUnsupported);
    lab.control(one, 1, Type::OpenRequest, 1);
    assert_eq!(lab.put(one, 1, 2, &add("actions=drop")), Some(OfError::BundleBadFlags));
    for control_type in [Type::CloseRequest, Type::CommitRequest] {
        lab.control(one, 2, Type::OpenRequest, 1);
        assert_eq!(lab.refused(one, &control(2, control_type, 3)), OfError::BundleBadFlags);
    }
    assert_eq!(lab.refused(one, &control(3, Type::CommitReply, 0)), OfError::BundleBadType);
    assert_eq!(lab.rule_count(), 0);
}

#[test]
fn a_message_opens_a_bundle_that_is_not_there() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V14);
    assert_eq!(lab.put(one, 1, 3, &add("actions=drop")), None);
    lab.control(one, 1, Type::CommitRequest, 3);
    assert_eq!(lab.rule_count(), 1);
}

#[test]
fn what_can_not_be_in_a_bundle_is_refused_and_the_rest_stays() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V14);
    let good = add("actions=drop");
    assert_eq!(lab.put(one, 1, 0, &good), None);
    assert_eq!(lab.put(one, 1, 0, &Message::BarrierRequest), Some(OfError::BundleMsgUnsupported));
    assert_eq!(lab.put(one, 1, 0, &Message::EchoRequest(vec![])), Some(OfError::BundleMsgUnsupported));
    let nested = control(2, Type::OpenRequest, 0);
    assert_eq!(lab.put(one, 1, 0, &nested), Some(OfError::BundleMsgUnsupported));
    let Message::FlowMod(mut buffered) = good.clone() else { panic!() };
    buffered.buffer_id = 7;
    let buffered = Message::FlowMod(buffered);
    assert_eq!(lab.put(one, 1, 0, &buffered), Some(OfError::BundleMsgUnsupported));
    // Another transaction id, another version, cut off, and wrong by itself.
    let message = lab.frame(one, &good, 5);
    let other_xid = Message::BundleAdd { bundle: 1, flags: 0, message: message.clone() };
    assert_eq!(lab.put_frame(one, 6, other_xid), Some(OfError::BundleMsgBadXid));
    let mut older = message.clone();
    older[0] = 4;
    let older = Message::BundleAdd { bundle: 1, flags: 0, message: older };
    assert_eq!(lab.put_frame(one, 5, older), Some(OfError::BadRequestVersion));
    let cut = Message::BundleAdd { bundle: 1, flags: 0, message: message[..20].to_vec() };
    assert_eq!(lab.put_frame(one, 5, cut), Some(OfError::BundleMsgBadLen));
    lab.control(one, 1, Type::CommitRequest, 0);
    assert_eq!(lab.rule_count(), 1);
}

#[test]
fn ports_and_packets_may_be_in_a_bundle() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V15);
    let metadata = Box::new(port_metadata(OfPort::CONTROLLER));
    let actions = vec![crate::openflow::Action::Output(OfPort(2))];
    let packet = PacketOutMessage { buffer_id: u32::MAX, metadata, actions, data: vec![0x55; 60] };
    assert_eq!(lab.put(one, 1, 0, &Message::PacketOut(packet.clone())), None);
    lab.turn();
    assert_eq!(lab.device("b").take_tx_frames().len(), 0);
    lab.control(one, 1, Type::CommitRequest, 0);
    lab.turn();
    assert_eq!(lab.device("b").take_tx_frames(), [vec![0x55; 60]]);
    assert_eq!(lab.put(one, 1, 0, &Message::PacketOut(packet)), None);
    assert_eq!(lab.put(one, 1, 0, &add("actions=group:7")), None);
    lab.send(one, &control(1, Type::CommitRequest, 0));
    lab.hear(one);
    lab.turn();
    assert_eq!(lab.device("b").take_tx_frames().len(), 0, "a packet left with a bundle that failed");
}

#[test]
fn a_bundle_that_is_not_used_is_discarded_and_its_controller_told() {
    for version in VERSIONS {
        let mut lab = Lab::new();
        let one = lab.join(version);
        lab.control(one, 1, Type::OpenRequest, 0);
        lab.pass(Nanos::from_secs(9));
        assert_eq!(lab.put(one, 1, 0, &add("actions=drop")), None);
        let last = lab.next_xid;
        lab.pass(Nanos::from_secs(9));
        assert_eq!(lab.hear(one), []);
        lab.pass(Nanos::from_secs(2));
        let heard = lab.hear(one);
        let [(xid, Message::Error(error))] = &heard[..] else { panic!("{heard:?}") };
        assert_eq!((*xid, error.error), (last, ErrorKind::Known(OfError::BundleTimeout)));
        assert_eq!(lab.refused(one, &control(1, Type::CommitRequest, 0)), OfError::BundleBadId);
    }
}

#[test]
fn there_is_an_end_to_bundles_and_to_what_they_hold() {
    let mut lab = Lab::new();
    let (one, other) = (lab.join(Version::V14), lab.join(Version::V14));
    for bundle in 0..64 {
        lab.control(one, bundle, Type::OpenRequest, 0);
    }
    assert_eq!(lab.refused(one, &control(64, Type::OpenRequest, 0)), OfError::BundleOutOfBundles);
    assert_eq!(lab.put(one, 64, 0, &add("actions=drop")), Some(OfError::BundleOutOfBundles));
    // Others have their own, but all together hold no more than so many bytes.
    let metadata = Box::new(port_metadata(OfPort::CONTROLLER));
    let packet = PacketOutMessage { buffer_id: u32::MAX, metadata, actions: vec![], data: vec![0; 60_000] };
    let packet = Message::PacketOut(packet);
    let mut count = 0;
    let error = loop {
        count += 1;
        let error = lab.put([one, other][count % 2], 1, 0, &packet);
        if error.is_some() || count > 5_000 {
            break error;
        }
    };
    assert_eq!(error, Some(OfError::BundleMsgTooMany));
    assert_eq!(count, (4 << 20) / 60_056 + 1);
    lab.control(one, 1, Type::DiscardRequest, 0);
    assert_eq!(lab.put(other, 1, 0, &packet), None, "there is room again");
}

#[test]
fn changes_of_groups_and_meters_are_forwarded_to_those_who_want_it() {
    for version in Version::ALL {
        let mut lab = Lab::new();
        let (one, other) = (lab.join(version), lab.join(version));
        let all = AsyncChange { request_forward: [Some(3), Some(0)], ..AsyncChange::default() };
        // Before 1.4 it takes Nicira's message of 1.4's form, which has no version to be written in here.
        for token in [one, other] {
            let controller = lab.agent.controller_mut(token).expect("it is there");
            controller.set_async(&all, version).expect("it is a choice that there is");
        }
        let change = group("group_id=1,type=all,bucket=output:1");
        let xid = lab.send(one, &change);
        assert_eq!(lab.hear(one), [], "it knows what it asked for");
        let told = lab.notices(other);
        assert_eq!(told, [Message::RequestForward { xid, request: Box::new(change.clone()) }], "{version:?}");
        // What was refused is not forwarded.
        assert_eq!(lab.refused(one, &change), OfError::GroupModExists);
        assert_eq!(lab.notices(other), []);
        if version < Version::V13 {
            continue;
        }
        let change = meter("meter=1,pktps,bands=type=drop,rate=5");
        let xid = lab.send(one, &change);
        assert_eq!(lab.notices(other), [Message::RequestForward { xid, request: Box::new(change) }]);
        // In a bundle, at its commit.
        let change = group("group_id=2,type=all,bucket=output:1");
        assert_eq!(lab.put(one, 1, 0, &change), None);
        let xid = lab.next_xid;
        assert_eq!(lab.notices(other), []);
        lab.control(one, 1, Type::CommitRequest, 0);
        assert_eq!(lab.notices(other), [Message::RequestForward { xid, request: Box::new(change) }]);
    }
}

#[test]
fn packets_of_a_bundle_are_bounded_by_number_and_by_what_they_come_to() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V14);
    let packet = |actions| {
        let metadata = Box::new(port_metadata(OfPort::CONTROLLER));
        Message::PacketOut(PacketOutMessage { buffer_id: u32::MAX, metadata, actions, data: vec![0; 20] })
    };
    let small = packet(vec![]);
    for _ in 0..4096 {
        assert_eq!(lab.put(one, 1, 0, &small), None);
    }
    assert_eq!(lab.put(one, 1, 0, &small), Some(OfError::BundleMsgTooMany));
    assert_eq!(lab.put(one, 1, 0, &add("actions=drop")), None, "there is room for what is no packet");
    assert_eq!(lab.put(one, 2, 0, &small), None, "there is room in another");
    lab.control(one, 1, Type::DiscardRequest, 0);
    // Each is sent thousands of times: a few come to more than there may be.
    let outputs = vec!["output:2"; 3_000].join(",");
    lab.order(one, &add(&format!("priority=9,actions={outputs}")));
    let large = packet(vec![crate::openflow::Action::Output(OfPort::TABLE)]);
    for (bundle, count, is_refused) in [(3, 80, false), (4, 100, true)] {
        for _ in 0..count {
            assert_eq!(lab.put(one, bundle, 0, &large), None);
        }
        assert_eq!(lab.put(one, bundle, 0, &add("priority=1,actions=drop")), None);
        let answers = lab.ask(one, &control(bundle, Type::CommitRequest, 0));
        let errors = answers.iter().filter_map(|answer| match answer {
            Message::Error(error) => Some(error.error),
            _ => None,
        });
        let errors: Vec<_> = errors.collect();
        let wanted = [OfError::BundleMsgTooMany, OfError::BundleMsgFailed].map(ErrorKind::Known);
        assert_eq!(errors, &wanted[..if is_refused { 2 } else { 0 }]);
    }
}
