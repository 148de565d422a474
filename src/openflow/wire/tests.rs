//! Whole messages there and back, cut, and altered.

mod generate;
mod golden;
mod table;

use super::*;
use crate::openflow::message::{MultipartReply, MultipartRequest, VersionSet};
use crate::openflow::{FlowStats, wire::flow_stats::no_stats};
use fastrand::Rng;
use generate::{random_messages, random_settings};

/// All frames of a message read again, as one message.
fn read_all(frames: &[Vec<u8>], settings: &WireSettings) -> Vec<Message> {
    let read = |frame: &Vec<u8>| {
        decode(frame, settings).unwrap_or_else(|error| panic!("{settings:?}: {error:?} of {frame:02x?}"))
    };
    frames.iter().map(read).collect()
}

#[test]
fn every_message_is_read_back_in_every_version_that_can_say_it() {
    for seed in 0..150 {
        for version in Version::ALL {
            let mut random = Rng::with_seed(seed);
            let settings = random_settings(&mut random, version);
            for message in random_messages(&mut random, &settings) {
                let xid = random.u32(..);
                let frames = encode(&message, xid, &settings);
                assert_eq!(frames.len(), 1, "{message:?}");
                let header = Header::parse(&frames[0]).unwrap();
                assert_eq!((usize::from(header.length), header.xid), (frames[0].len(), xid));
                assert_eq!(
                    read_all(&frames, &settings),
                    [message],
                    "seed {seed}, {settings:?}: {frames:02x?}"
                );
            }
        }
    }
}

/// Reads whatever it is; what is read can be written, and that read again says the same.
fn decode_twice(frame: &[u8], settings: &WireSettings) {
    let Ok(message) = decode(frame, settings) else { return };
    for frame in encode(&message, 1, settings) {
        let Ok(again) = decode(&frame, settings) else { continue };
        let _ = encode(&again, 1, settings);
    }
}

fn patch_len(frame: &mut [u8]) {
    let len = (frame.len() as u16).to_be_bytes();
    frame[2..4].copy_from_slice(&len);
}

#[test]
fn messages_cut_anywhere_are_refused_or_read_without_panic() {
    for version in Version::ALL {
        let mut random = Rng::with_seed(7);
        let settings = random_settings(&mut random, version);
        for message in random_messages(&mut random, &settings) {
            let whole = &encode(&message, 1, &settings)[0];
            for len in 0..whole.len() {
                let mut cut = whole[..len].to_vec();
                assert!(
                    decode(&cut, &settings).is_err() || matches!(message, Message::Hello(_)),
                    "{message:?}"
                );
                if len >= HEADER_LEN {
                    patch_len(&mut cut);
                    decode_twice(&cut, &settings);
                    let ends_in_padding = whole[len..].iter().all(|&byte| byte == 0);
                    // Neither says more by what is left out.
                    let says_as_much = match &message {
                        Message::Hello(_) | Message::GetAsyncReply(_) => true,
                        Message::MultipartRequest { body, .. } => {
                            matches!(body, MultipartRequest::PortDesc(_) | MultipartRequest::GroupDesc(_))
                        }
                        _ => false,
                    };
                    let is_same = decode(&cut, &settings).as_ref() == Ok(&message);
                    assert!(!is_same || ends_in_padding || says_as_much, "{len} of {whole:02x?}");
                }
            }
        }
    }
}

#[test]
fn altered_messages_are_read_or_refused_without_panic() {
    for seed in 0..60 {
        for version in Version::ALL {
            let mut random = Rng::with_seed(seed);
            let settings = random_settings(&mut random, version);
            for message in random_messages(&mut random, &settings) {
                let mut frame = encode(&message, 1, &settings).swap_remove(0);
                for _ in 0..random.u8(1..5) {
                    let at = random.usize(..frame.len());
                    frame[at] = if random.bool() { random.u8(..) } else { random.u8(..3) };
                }
                frame[0] = version as u8;
                if random.bool() {
                    patch_len(&mut frame);
                }
                decode_twice(&frame, &settings);
            }
        }
    }
}

fn rules(count: u64) -> Vec<FlowStats> {
    (0..count).map(|cookie| FlowStats { cookie, ..no_stats() }).collect()
}

#[test]
fn a_long_reply_is_split_and_no_rule_gets_lost() {
    for (version, is_nicira) in
        Version::ALL.into_iter().map(|version| (version, false)).chain([(Version::V10, true)])
    {
        let settings = WireSettings::new(version);
        let sent = rules(5000);
        let body = MultipartReply::Flow(sent.clone());
        let frames = encode(&Message::MultipartReply { is_nicira, more: false, body }, 9, &settings);
        assert!(frames.len() > 3, "{version:?}");
        let mut got = Vec::new();
        for (index, message) in read_all(&frames, &settings).into_iter().enumerate() {
            let Message::MultipartReply { is_nicira: nicira, more, body: MultipartReply::Flow(flows) } =
                message
            else {
                panic!("{message:?}")
            };
            assert_eq!((nicira, more), (is_nicira, index + 1 < frames.len()));
            assert!(!flows.is_empty());
            got.extend(flows);
        }
        assert_eq!(got, sent);
    }
}

#[test]
fn an_empty_reply_is_one_message() {
    for version in Version::ALL {
        let settings = WireSettings::new(version);
        let message =
            Message::MultipartReply { is_nicira: false, more: false, body: MultipartReply::Flow(vec![]) };
        let frames = encode(&message, 9, &settings);
        assert_eq!(read_all(&frames, &settings), [message]);
    }
}

#[test]
fn a_packet_too_long_for_a_message_is_cut() {
    for version in Version::ALL {
        let settings = WireSettings::new(version);
        for format in [PacketInFormat::Standard, PacketInFormat::Nxt, PacketInFormat::Nxt2] {
            let mut packet = generate::packet_in(&mut Rng::with_seed(1), format, &settings);
            packet.data = vec![0xa5; 65_535];
            packet.total_len = 65_535;
            let frames = encode(&Message::PacketIn(packet), 1, &settings);
            let Ok(Message::PacketIn(read)) = decode(&frames[0], &settings) else { panic!("{format:?}") };
            assert!(read.data.len() > 60_000 && read.total_len == 65_535);
        }
    }
}

#[test]
fn a_hello_without_bitmap_speaks_all_versions_up_to_its_own() {
    assert_eq!(decode_hello(&[4, 0, 0, 8, 0, 0, 0, 1]), Ok(VersionSet(0b1_1110)));
    assert_eq!(decode_hello(&[255, 0, 0, 8, 0, 0, 0, 1]), Ok(VersionSet(u32::MAX - 1)));
    assert_eq!(decode_hello(&[0, 0, 0, 8, 0, 0, 0, 1]), Ok(VersionSet(0)));
    // An element that is not known, then the bitmap.
    let mut frame = vec![6, 0, 0, 24, 0, 0, 0, 1, 0, 9, 0, 5, 1, 0, 0, 0, 0, 1, 0, 8, 0, 0, 0, 0x12];
    assert_eq!(decode_hello(&frame), Ok(VersionSet(0x12)));
    frame[19] = 200;
    assert_eq!(decode_hello(&frame), Ok(VersionSet(0b111_1110)));
    assert_eq!(decode_hello(&frame[..7]), Err(OfError::BadRequestLen));
}

#[test]
fn what_a_version_does_not_have_is_refused_by_name() {
    let refused = |bytes: &[u8]| {
        let version = Version::from_wire(bytes[0]).unwrap();
        decode(bytes, &WireSettings::new(version)).unwrap_err()
    };
    // No role request in 1.1, no queue configuration in 1.4, no such type at all.
    assert_eq!(refused(&[2, 24, 0, 8, 0, 0, 0, 1]), OfError::BadRequestType);
    assert_eq!(refused(&[5, 22, 0, 8, 0, 0, 0, 1]), OfError::BadRequestType);
    assert_eq!(refused(&[6, 99, 0, 8, 0, 0, 0, 1]), OfError::BadRequestType);
    // A barrier that says something, a length that is not the frame's.
    assert_eq!(refused(&[4, 20, 0, 9, 0, 0, 0, 1, 0]), OfError::BadRequestLen);
    assert_eq!(refused(&[4, 20, 0, 9, 0, 0, 0, 1]), OfError::BadRequestLen);
    // Meters in 1.2, an unknown experimenter, an unknown message of Nicira.
    assert_eq!(refused(&[3, 18, 0, 16, 0, 0, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0]), OfError::BadRequestMultipart);
    assert_eq!(refused(&[4, 4, 0, 16, 0, 0, 0, 1, 1, 2, 3, 4, 0, 0, 0, 1]), OfError::BadRequestExperimenter);
    assert_eq!(refused(&[4, 4, 0, 16, 0, 0, 0, 1, 0, 0, 0x23, 0x20, 0, 0, 9, 0]), OfError::BadRequestExpType);
    let other = decode(&[4, 20, 0, 8, 0, 0, 0, 1], &WireSettings::new(Version::V14));
    assert_eq!(other, Err(OfError::BadRequestVersion));
}

#[test]
fn what_a_message_costs_is_told_by_its_head() {
    use crate::flow::OfPort;
    use crate::openflow::FlowMod;
    use crate::openflow::message::{
        BundleControl, BundleControlType, FlowModMessage, PacketOutMessage, port_metadata,
    };
    let flow_mod = FlowModMessage { flow_mod: Box::new(FlowMod::add()), buffer_id: u32::MAX };
    let metadata = Box::new(port_metadata(OfPort::CONTROLLER));
    let packet = PacketOutMessage { buffer_id: u32::MAX, metadata, actions: vec![], data: vec![0; 60] };
    let control = |control_type| Message::BundleControl(BundleControl { bundle: 9, control_type, flags: 0 });
    for version in Version::ALL {
        let mut settings = WireSettings::new(version);
        let work = |message: &Message, settings: &WireSettings| {
            Work::of(&encode(message, 1, settings).concat(), version)
        };
        let flow_mod = Message::FlowMod(flow_mod.clone());
        assert_eq!(work(&flow_mod, &settings), Work::Change, "{version:?}");
        assert_eq!(work(&Message::PacketOut(packet.clone()), &settings), Work::Packet, "{version:?}");
        assert_eq!(work(&Message::EchoRequest(vec![]), &settings), Work::Little, "{version:?}");
        assert_eq!(work(&Message::BarrierRequest, &settings), Work::Little, "{version:?}");
        settings.nxm = version == Version::V10;
        assert_eq!(work(&flow_mod, &settings), Work::Change, "{version:?}");
        if version >= Version::V13 {
            let open = control(BundleControlType::OpenRequest);
            assert_eq!(work(&open, &settings), Work::Little, "{version:?}");
            let commit = control(BundleControlType::CommitRequest);
            assert_eq!(work(&commit, &settings), Work::Commit(9), "{version:?}");
        }
    }
    assert_eq!(
        Work::of(&[4, 13, 0, 8, 0, 0, 0, 1], Version::V10),
        Work::Little,
        "another version is refused"
    );
    assert_eq!(Work::of(&[4, 4, 0, 8], Version::V13), Work::Little);
}

#[test]
fn properties_of_bundles_are_refused_by_name() {
    let frame = |version: Version, message_type: u8, body: &[u8], property_type: u16| {
        let mut frame = vec![version as u8, message_type, 0, 0, 0, 0, 0, 5];
        frame.extend(body);
        frame.extend(property_type.to_be_bytes());
        frame.extend([0, 16]);
        frame.extend([0; 12]);
        let len = frame.len() as u16;
        frame[2..4].copy_from_slice(&len.to_be_bytes());
        decode(&frame, &WireSettings::new(version)).expect_err("it has a property")
    };
    // A commit; and a barrier of ten bytes, padded, that is added.
    let commit = [0, 0, 0, 1, 0, 4, 0, 3];
    let add = [0, 0, 0, 1, 0, 0, 0, 3, 6, 20, 0, 10, 0, 0, 0, 5, 9, 9, 0, 0, 0, 0, 0, 0];
    for (message_type, body) in [(33, &commit[..]), (34, &add[..])] {
        let cases = [
            (Version::V15, 1, OfError::BundleSchedUnsupported),
            (Version::V14, 1, OfError::BadPropertyType),
            (Version::V15, 2, OfError::BadPropertyType),
            (Version::V15, 0xffff, OfError::BadPropertyExperimenter),
        ];
        for (version, property, error) in cases {
            assert_eq!(frame(version, message_type, body, property), error, "{version:?} {property}");
        }
    }
}

#[test]
fn masks_of_1_3_are_of_just_their_size() {
    for (version, body_start) in [(Version::V13, vec![4, 28, 0, 32]), (Version::V10, vec![1, 4, 0, 40])] {
        let mut frame = body_start;
        frame.extend([0, 0, 0, 5]);
        if version == Version::V10 {
            frame.extend([0, 0, 0x23, 0x20, 0, 0, 0, 19]);
        }
        frame.extend([0; 24]);
        let settings = WireSettings::new(version);
        assert!(matches!(decode(&frame, &settings), Ok(Message::SetAsync(_))), "{version:?}");
        frame.extend([0; 4]);
        frame[3] += 4;
        assert_eq!(decode(&frame, &settings), Err(OfError::BadRequestLen), "{version:?}");
    }
}

#[test]
fn a_packet_of_1_5_says_where_it_came_in() {
    use crate::openflow::message::{PacketOutMessage, port_metadata};
    let settings = WireSettings::new(Version::V15);
    let packet = |metadata| {
        let metadata = Box::new(metadata);
        let message = PacketOutMessage { buffer_id: u32::MAX, metadata, actions: vec![], data: vec![0; 60] };
        decode(&encode(&Message::PacketOut(message), 1, &settings).concat(), &settings)
    };
    assert!(packet(port_metadata(crate::flow::OfPort(1))).is_ok());
    let mut other = crate::openflow::Match::any();
    assert_eq!(packet(other), Err(OfError::BadRequestPort));
    other.set(crate::flow::Field::Metadata, 5);
    assert_eq!(packet(other), Err(OfError::BadRequestPort));
}

#[test]
fn a_rule_that_went_with_its_meter_is_deleted_for_who_knows_no_other_reason() {
    use flow_stats::removed_reason;
    let told = Version::ALL.map(|version| removed_reason(4, version));
    assert_eq!(told, [2, 2, 2, 2, 4, 4]);
    assert_eq!(Version::ALL.map(|version| removed_reason(3, version)), [2, 3, 3, 3, 3, 3]);
}
