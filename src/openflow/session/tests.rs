use super::*;
use crate::flow::OfPort;
use crate::openflow::message::{PacketInFormat, PacketInMessage, PacketInReason, port_metadata};

const SECOND: Nanos = Nanos::from_secs(1);

fn all() -> VersionSet {
    VersionSet::of(&Version::ALL)
}

fn session() -> Session {
    Session::new(all(), Some(Nanos::from_secs(5)), Nanos(0))
}

/// What a session has to say, as messages of a version.
fn said(session: &mut Session, version: Version) -> Vec<(u8, u32, Message)> {
    let mut messages = Vec::new();
    while !session.output().is_empty() {
        let frame = session.output().to_vec();
        let header = Header::parse(&frame).expect("a header");
        session.sent(frame.len());
        let settings = WireSettings::new(version);
        let message = if header.message_type == TYPE_HELLO {
            Message::Hello(wire::decode_hello(&frame).expect("a hello"))
        } else {
            wire::decode(&frame, &settings).expect("it writes what can be read")
        };
        messages.push((header.version, header.xid, message));
    }
    messages
}

fn frame(message: &Message, xid: u32, version: Version) -> Vec<u8> {
    wire::encode(message, xid, &WireSettings::new(version)).concat()
}

/// A session that has agreed on a version.
fn up(version: Version) -> Session {
    let mut session = session();
    session.receive(&frame(&Message::Hello(VersionSet::of(&[version])), 1, version), Nanos(0));
    assert_eq!(session.next_message(), None);
    assert_eq!(session.version(), Some(version));
    said(&mut session, version);
    session
}

#[test]
fn the_newest_version_in_both_bitmaps_is_agreed_on() {
    let mut session =
        Session::new(VersionSet::of(&[Version::V10, Version::V13, Version::V15]), None, Nanos(0));
    let (version, _, hello) = said(&mut session, Version::V15).remove(0);
    assert_eq!(version, 6);
    assert_eq!(hello, Message::Hello(VersionSet::of(&[Version::V10, Version::V13, Version::V15])));
    let offer = VersionSet::of(&[Version::V10, Version::V13, Version::V14]);
    session.receive(&frame(&Message::Hello(offer), 7, Version::V14), Nanos(0));
    assert_eq!(session.next_message(), None);
    assert_eq!(session.version(), Some(Version::V13));
}

#[test]
fn a_peer_without_a_bitmap_speaks_the_version_of_its_hello() {
    let mut session = session();
    session.receive(&[1, 0, 0, 8, 0, 0, 0, 1], Nanos(0));
    assert_eq!(session.next_message(), None);
    assert_eq!(session.version(), Some(Version::V10));
}

#[test]
fn without_a_common_version_the_peer_is_told_and_it_is_over() {
    let mut session = Session::new(VersionSet::of(&[Version::V13]), None, Nanos(0));
    said(&mut session, Version::V13);
    session.receive(&[1, 0, 0, 8, 0, 0, 0, 9], Nanos(0));
    assert_eq!(session.next_message(), None);
    assert!(matches!(session.end(), Some(SessionEnd::NoCommonVersion { .. })));
    let (version, xid, message) = said(&mut session, Version::V10).remove(0);
    let Message::Error(error) = message else { panic!("{message:?}") };
    assert_eq!((version, xid, error.error), (1, 9, ErrorKind::Known(OfError::HelloIncompatible)));
}

#[test]
fn messages_come_whole_whatever_pieces_they_arrive_in() {
    let mut session = up(Version::V13);
    let first = frame(&Message::BarrierRequest, 21, Version::V13);
    let second = frame(&Message::FeaturesRequest, 22, Version::V13);
    let bytes = [first, second].concat();
    let mut got = Vec::new();
    for byte in bytes {
        session.receive(&[byte], Nanos(0));
        got.extend(
            session.next_message().map(|incoming| (incoming.xid, incoming.message.map(|message| *message))),
        );
    }
    assert_eq!(got, [(21, Ok(Message::BarrierRequest)), (22, Ok(Message::FeaturesRequest))]);
}

#[test]
fn an_echo_is_answered_with_its_own_bytes() {
    let mut session = up(Version::V14);
    session.receive(&frame(&Message::EchoRequest(b"abc".to_vec()), 5, Version::V14), Nanos(0));
    assert_eq!(session.next_message(), None);
    assert_eq!(said(&mut session, Version::V14), [(5, 5, Message::EchoReply(b"abc".to_vec()))]);
}

#[test]
fn a_message_of_another_version_is_refused_and_the_connection_stays() {
    let mut session = up(Version::V13);
    session.receive(&frame(&Message::BarrierRequest, 3, Version::V14), Nanos(0));
    assert_eq!(session.next_message(), None);
    let (_, xid, message) = said(&mut session, Version::V13).remove(0);
    let Message::Error(error) = message else { panic!("{message:?}") };
    assert_eq!((xid, error.error), (3, ErrorKind::Known(OfError::BadRequestVersion)));
    assert_eq!(session.end(), None);
}

#[test]
fn a_length_below_the_header_ends_it_with_an_error() {
    let mut session = up(Version::V13);
    session.receive(&[4, 20, 0, 7, 0, 0, 0, 8], Nanos(0));
    assert_eq!(session.next_message(), None);
    assert_eq!(session.end(), Some(&SessionEnd::BadLength(7)));
    let (_, xid, message) = said(&mut session, Version::V13).remove(0);
    let Message::Error(error) = message else { panic!("{message:?}") };
    assert_eq!((xid, error.error), (8, ErrorKind::Known(OfError::BadRequestLen)));
}

#[test]
fn silence_is_asked_about_and_then_given_up() {
    let mut session = up(Version::V13);
    session.watch(Nanos(4 * SECOND.0));
    assert!(session.output().is_empty());
    session.watch(Nanos(5 * SECOND.0));
    assert!(matches!(said(&mut session, Version::V13)[..], [(4, _, Message::EchoRequest(_))]));
    session.watch(Nanos(9 * SECOND.0));
    assert_eq!(session.end(), None);
    session.watch(Nanos(10 * SECOND.0));
    assert_eq!(session.end(), Some(&SessionEnd::Silent(10)));
}

#[test]
fn a_sign_of_life_begins_the_silence_anew() {
    let mut session = up(Version::V13);
    session.watch(Nanos(5 * SECOND.0));
    session.receive(&frame(&Message::EchoReply(vec![]), 1, Version::V13), Nanos(6 * SECOND.0));
    assert_eq!(session.next_message(), None);
    session.watch(Nanos(10 * SECOND.0));
    assert_eq!(session.end(), None);
}

#[test]
fn a_peer_that_never_says_hello_is_given_up() {
    let mut session = session();
    session.watch(Nanos(10 * SECOND.0));
    assert_eq!(session.end(), Some(&SessionEnd::Silent(10)));
}

#[test]
fn a_peer_that_does_not_read_loses_notices_and_nothing_grows() {
    let mut session = up(Version::V13);
    let notice = Message::PacketIn(PacketInMessage {
        format: PacketInFormat::Standard,
        total_len: 1500,
        reason: PacketInReason::TableMiss,
        table: 0,
        cookie: 0,
        metadata: Box::new(port_metadata(OfPort(1))),
        userdata: vec![],
        data: vec![0; 1500],
    });
    let sent = (0..2_000).filter(|_| session.notify(&notice)).count() as u64;
    assert!(sent < 1_000 && sent > 100, "{sent}");
    assert_eq!(session.stats().notices_dropped, 2_000 - sent);
    let size: usize = session.output_slices(usize::MAX).map(<[u8]>::len).sum();
    assert!(size < OUTPUT_SIZE_NOTICES_MAX + 2_000);
    session.sent(size);
    assert!(session.output().is_empty() && session.notify(&notice));
}

#[test]
fn what_must_not_be_lost_has_room_beside_a_storm_of_notices() {
    let mut session = up(Version::V13);
    let notice = frame(&Message::EchoReply(vec![0; 1_000]), 8, Version::V13);
    session.set_backlog(true);
    while session.pass_on(&notice) {}
    assert!(session.keeps_up() && session.stats().notices_dropped == 1);
    session.set_backlog(false);
    while session.pass_on(&notice) {}
    assert!(!session.keeps_up());
}

#[test]
fn a_peer_is_behind_by_the_replies_that_it_does_not_read_and_not_by_notices() {
    let mut session = up(Version::V13);
    let long = frame(&Message::EchoReply(vec![0; 60_000]), 8, Version::V13);
    while session.pass_on(&long) {}
    assert!(!session.is_behind(), "a storm of notices keeps nobody from asking");
    // Unread replies do, and notices may still come.
    let (reply, mut count) = (Message::EchoReply(vec![0; 60_000]), 0);
    while !session.is_behind() {
        session.reply(&reply, 1);
        count += 1;
    }
    assert_eq!(count, OUTPUT_SIZE_REPLIES_MAX / 60_008 + 1);
    let size: usize = session.output_slices(usize::MAX).map(<[u8]>::len).sum();
    // Piece by piece: each counts as what it is.
    let notices = size - count * 60_008;
    for _ in 0..notices / 1_000 {
        session.sent(1_000);
    }
    assert!(session.is_behind() && session.notify(&Message::BarrierReply));
    session.sent(notices % 1_000 + 60_008);
    assert!(!session.is_behind());
    session.sent(usize::MAX);
    assert_eq!((session.replies_size, session.notices_size), (0, 0));
}

#[test]
fn what_both_sides_say_once_it_is_up_is_copied_if_somebody_asks() {
    let mut session = session();
    session.set_copied(true);
    let version = Version::V13;
    session.receive(&frame(&Message::Hello(VersionSet::of(&[version])), 1, version), Nanos(0));
    assert!(session.next_message().is_none() && session.version() == Some(version));
    let (echo, barrier) = (Message::EchoRequest(b"x".to_vec()), Message::BarrierRequest);
    session.receive(&[frame(&echo, 2, version), frame(&barrier, 3, version)].concat(), Nanos(0));
    while session.next_message().is_some() {}
    session.reply(&Message::BarrierReply, 3);
    let said = [
        frame(&echo, 2, version),
        frame(&Message::EchoReply(b"x".to_vec()), 2, version),
        frame(&barrier, 3, version),
        frame(&Message::BarrierReply, 3, version),
    ];
    assert_eq!(session.take_copies().frames, said);
    assert!(session.take_copies().frames.is_empty());
    session.set_copied(false);
    session.reply(&Message::BarrierReply, 4);
    assert!(session.take_copies().frames.is_empty());
}

#[test]
fn copies_that_nobody_takes_are_bounded_and_counted() {
    let mut session = up(Version::V13);
    session.set_copied(true);
    let echo = Message::EchoReply(vec![0; 60_000]);
    (0..40).for_each(|xid| session.reply(&echo, xid));
    let copies = session.take_copies();
    let size: usize = copies.frames.iter().map(Vec::len).sum();
    assert!(size <= COPIES_SIZE_MAX && size > COPIES_SIZE_MAX - 61_000, "{size}");
    assert_eq!(copies.lost + copies.frames.len() as u64, 40);
    session.reply(&echo, 41);
    let copies = session.take_copies();
    assert_eq!((copies.frames.len(), copies.lost), (1, 0));
}

#[test]
fn messages_of_others_are_passed_on_as_they_are_and_only_while_they_are_read() {
    let mut session = session();
    let message = frame(&Message::BarrierRequest, 7, Version::V15);
    assert!(!session.pass_on(&message), "before the hellos");
    let mut session = up(Version::V10);
    assert!(session.pass_on(&message));
    assert_eq!(session.output(), message);
    let long = frame(&Message::EchoReply(vec![0; 60_000]), 8, Version::V13);
    let passed = (0..40).filter(|_| session.pass_on(&long)).count() as u64;
    assert!(passed < 20);
    assert_eq!(session.stats().notices_dropped, 40 - passed);
}

#[test]
fn output_goes_on_where_the_socket_stopped() {
    let mut session = up(Version::V13);
    session.reply(&Message::BarrierReply, 1);
    session.reply(&Message::BarrierReply, 2);
    let all: Vec<u8> = session.output_slices(9).flatten().copied().collect();
    let mut taken = Vec::new();
    while !session.output().is_empty() {
        let some = session.output().len().min(3);
        taken.extend_from_slice(&session.output()[..some]);
        session.sent(some);
    }
    assert_eq!(taken, all);
}

#[test]
fn tries_to_connect_come_at_once_and_then_ever_more_rarely() {
    let mut backoff = Backoff::new(Nanos(8 * SECOND.0));
    assert!(backoff.is_due(Nanos(0)));
    let mut now = Nanos(0);
    let waits: Vec<u64> = (0..6)
        .map(|_| {
            backoff.failed(now, Nanos(0));
            let wait = backoff.due().since(now);
            now = backoff.due();
            wait.0 / SECOND.0
        })
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 8, 8]);
    backoff.failed(now, Nanos(60 * SECOND.0));
    assert_eq!(backoff.due().since(now), SECOND);
}

#[test]
fn whatever_bytes_come_it_does_not_panic() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..500 {
        let mut session = if random.bool() { session() } else { up(Version::ALL[random.usize(0..6)]) };
        for _ in 0..20 {
            let mut bytes: Vec<u8> = (0..random.usize(0..80)).map(|_| random.u8(..)).collect();
            if random.bool() && bytes.len() >= 8 {
                let len = bytes.len() as u16;
                bytes[0] = session.version().map_or(4, |version| version as u8);
                bytes[1] %= 36;
                bytes[2..4].copy_from_slice(&len.to_be_bytes());
            }
            session.receive(&bytes, Nanos(0));
            while let Some(incoming) = session.next_message() {
                if let Err(error) = incoming.message {
                    session.error(error, incoming.xid, &incoming.frame);
                }
            }
        }
    }
}

#[test]
fn a_peer_that_is_not_listened_to_is_not_given_up() {
    let mut session = up(Version::V13);
    let barrier = frame(&Message::BarrierRequest, 7, Version::V13);
    session.receive(&barrier, Nanos(0));
    assert_eq!(session.peek(), Some(&barrier[..]), "it is there, and stays");
    for second in 1..100 {
        session.excuse(Nanos::from_secs(second));
        session.watch(Nanos::from_secs(second));
    }
    assert!(session.end().is_none() && !session.is_probing());
    assert!(session.next_message().is_some());
    assert_eq!(session.peek(), None);
    // From then on its silence counts.
    session.watch(Nanos::from_secs(104));
    session.watch(Nanos::from_secs(109));
    assert!(session.end().is_some());
}
