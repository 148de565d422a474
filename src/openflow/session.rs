//! One OpenFlow connection without its socket: bytes in, messages out, and the other way.
//!
//! It frames, negotiates the version by hello and bitmap (OpenFlow 1.3.5 section 6.3.1), answers echo requests, asks
//! for a sign of life when the peer is silent, and bounds what waits to be sent. What a message does is its owner's.
//!
//! ```text
//!  socket --receive--> input --next_message--> Incoming --> whoever handles it
//!  socket <--output, sent-- output <--reply, notify--
//! ```
//!
//! All that both sides say once the connection is up can be had a second time, for somebody who only watches:
//! [`Session::set_copied`], [`Session::take_copies`].
//!
//! # Bounds
//! A peer that does not read costs [`OUTPUT_SIZE_NOTICES_MAX`] bytes of notices, beyond which they are counted and
//! dropped, and one answer: [`Session::is_behind`] says when to read no more of its requests. Notices have no part in that:
//! what a peer asks for may be what ends a storm of them. A message has at most 65 535 bytes, so input is bounded by what is
//! read at once.
//!
//! # Threads
//! The owner's.

use super::OfError;
use super::message::{ErrorKind, ErrorMessage, Message, Version, VersionSet};
use super::wire::{self, HEADER_LEN, Header, WireSettings};
use crate::sync::Nanos;
use std::collections::VecDeque;

/// `ofp_type` of hellos, the same in all versions.
const TYPE_HELLO: u8 = 0;
/// `ofp_type` of errors, the same in all versions.
const TYPE_ERROR: u8 = 1;

/// Bytes of notices (packet-ins, port status and the like) that may wait for a slow peer.
pub const OUTPUT_SIZE_NOTICES_MAX: usize = 1 << 20;

/// Bytes of replies that may wait before no more requests are read.
pub const OUTPUT_SIZE_REPLIES_MAX: usize = 256 << 10;

/// Bytes of messages that may wait for [`Session::take_copies`]: what is beyond is counted and not copied.
pub const COPIES_SIZE_MAX: usize = 1 << 20;

/// Bytes of a message that an error quotes at most: the specification asks for 64 at least.
const ERROR_DATA_LEN_MAX: usize = 64 << 10;

/// Time for a peer to say hello, from the start of the connection on, however slowly bytes come.
const HELLO_TIME_MAX: Nanos = Nanos::from_secs(10);

/// A message that came in.
#[derive(Clone, PartialEq, Debug)]
pub struct Incoming {
    /// Its transaction id: an answer has the same.
    pub xid: u32,
    /// What it says, or what is wrong with it; the error has not been sent yet.
    pub message: Result<Box<Message>, OfError>,
    /// The whole of it, for errors to quote.
    pub frame: Vec<u8>,
}

/// Why a session is over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionEnd {
    /// No version in common.
    #[error(
        "there is no OpenFlow version that both sides speak: the peer offers {offered}; see openflow.versions"
    )]
    NoCommonVersion {
        /// What it offers.
        offered: String,
    },
    /// Something else than a hello came first.
    #[error("the peer's first message is no hello")]
    NoHello,
    /// The length of a message is below that of its header, so there is no telling where the next begins.
    #[error("a message says that it has {0} bytes, less than its header")]
    BadLength(u16),
    /// It did not answer, or said no hello in time.
    #[error("the peer does not answer: nothing that was waited for came within {0} s")]
    Silent(u64),
    /// It reads too slowly to be told what it must know.
    #[error("the peer does not read what its flow monitors tell it")]
    Behind,
    /// It refused our hello.
    #[error("the peer refused our hello: {0}")]
    Refused(String),
}

/// What was counted on a session.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SessionStats {
    /// Messages that came in.
    pub received: u64,
    /// Messages handed to the socket's queue.
    pub sent: u64,
    /// Errors sent.
    pub errors: u64,
    /// Notices dropped because the peer does not read.
    pub notices_dropped: u64,
}

impl SessionStats {
    /// Both together.
    pub fn plus(self, other: SessionStats) -> SessionStats {
        SessionStats {
            received: self.received + other.received,
            sent: self.sent + other.sent,
            errors: self.errors + other.errors,
            notices_dropped: self.notices_dropped + other.notices_dropped,
        }
    }
}

/// What a session has said and heard since it was asked last.
#[derive(Default, Debug)]
pub struct Copies {
    /// Whole messages, in the order in which they were read and queued.
    pub frames: Vec<Vec<u8>>,
    /// Messages for which there was no room ([`COPIES_SIZE_MAX`]).
    pub lost: u64,
    size: usize,
}

impl Copies {
    fn add(&mut self, frame: &[u8]) {
        if self.size + frame.len() > COPIES_SIZE_MAX {
            self.lost += 1;
            return;
        }
        self.size += frame.len();
        self.frames.push(frame.to_vec());
    }
}

/// Why a message is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// The peer has asked for something.
    Reply,
    /// It has not.
    Notice,
}

/// A connection's state.
#[derive(Debug)]
pub struct Session {
    allowed: VersionSet,
    settings: Option<WireSettings>,
    input: Vec<u8>,
    input_start: usize,
    output: VecDeque<(Kind, Vec<u8>)>,
    /// Bytes of the first message in `output` that are sent.
    output_start: usize,
    /// Bytes in `output` that are not sent.
    replies_size: usize,
    notices_size: usize,
    /// Whether there is something to tell that must not be lost: see [`Session::set_backlog`].
    has_backlog: bool,
    /// None: never ask.
    probe_interval: Option<Nanos>,
    begun: Nanos,
    last_received: Nanos,
    /// When the peer was asked for a sign of life, if it has not given one since.
    probed: Option<Nanos>,
    next_xid: u32,
    end: Option<SessionEnd>,
    stats: SessionStats,
    /// None: nobody watches.
    copies: Option<Copies>,
}

impl Session {
    /// A new connection; says hello at once. `probe_interval` is the silence after which the peer is asked for a sign of
    /// life, and after which again it is given up.
    pub fn new(allowed: VersionSet, probe_interval: Option<Nanos>, now: Nanos) -> Session {
        let mut session = Session {
            allowed,
            settings: None,
            input: Vec::new(),
            input_start: 0,
            output: VecDeque::new(),
            output_start: 0,
            replies_size: 0,
            notices_size: 0,
            has_backlog: false,
            probe_interval,
            begun: now,
            last_received: now,
            probed: None,
            next_xid: 1,
            end: None,
            stats: SessionStats::default(),
            copies: None,
        };
        let newest = session.newest();
        session.queue(Kind::Reply, &Message::Hello(allowed), 0, &WireSettings::new(newest));
        session
    }

    fn newest(&self) -> Version {
        Version::ALL.into_iter().rev().find(|version| self.allowed.contains(*version)).unwrap_or(Version::V10)
    }

    /// The version that was agreed on; none before the hellos.
    pub fn version(&self) -> Option<Version> {
        self.settings.map(|settings| settings.version)
    }

    /// How this connection writes things, once it is up.
    pub fn settings_mut(&mut self) -> Option<&mut WireSettings> {
        self.settings.as_mut()
    }

    /// How this connection writes things, once it is up.
    pub fn settings(&self) -> Option<WireSettings> {
        self.settings
    }

    /// What was counted.
    pub fn stats(&self) -> SessionStats {
        self.stats
    }

    /// Whether the peer was silent, was asked for a sign of life, and has not given one yet.
    pub fn is_probing(&self) -> bool {
        self.probed.is_some()
    }

    /// Why it is over, if it is: send what is left of [`Session::output`] and close the socket.
    pub fn end(&self) -> Option<&SessionEnd> {
        self.end.as_ref()
    }

    /// Takes bytes from the socket.
    pub fn receive(&mut self, bytes: &[u8], now: Nanos) {
        if self.input_start > 0 {
            self.input.drain(..self.input_start);
            self.input_start = 0;
        }
        self.input.extend_from_slice(bytes);
        self.last_received = now;
        self.probed = None;
    }

    /// Whether so many replies wait to be sent that no more requests are to be read.
    pub fn is_behind(&self) -> bool {
        self.replies_size > OUTPUT_SIZE_REPLIES_MAX
    }

    /// Whether a whole message waits to be handled.
    pub fn has_input(&self) -> bool {
        self.end.is_none()
            && Header::parse(&self.input[self.input_start..]).is_some_and(|header| {
                self.input.len() - self.input_start >= usize::from(header.length).max(HEADER_LEN)
            })
    }

    /// The next message as it came, once a version is agreed on: for who asks whether it can be handled yet.
    pub fn peek(&self) -> Option<&[u8]> {
        if self.settings.is_none() || !self.has_input() {
            return None;
        }
        let input = &self.input[self.input_start..];
        input.get(..usize::from(Header::parse(input)?.length))
    }

    /// Notes that the peer is not listened to now: its silence says nothing, and its time for a hello begins anew.
    pub fn excuse(&mut self, now: Nanos) {
        self.last_received = now;
        self.begun = now;
        self.probed = None;
    }

    /// The next message for the owner; hellos and echoes are dealt with in here. Returns none, even if there are more, when
    /// the version has just been agreed on: whatever hangs on that can be done before the first message.
    pub fn next_message(&mut self) -> Option<Incoming> {
        while self.has_input() {
            let was_up = self.settings.is_some();
            let incoming = self.next_frame();
            if incoming.is_some() || !was_up {
                return incoming;
            }
        }
        None
    }

    /// As [`Session::next_message`], but for one message and no more: none if that was for the connection itself. So who
    /// judges by [`Session::peek`] whether to go on has judged all that is taken.
    pub fn next_frame(&mut self) -> Option<Incoming> {
        if !self.has_input() {
            return None;
        }
        let header = Header::parse(&self.input[self.input_start..])?;
        if usize::from(header.length) < HEADER_LEN {
            let frame = self.input[self.input_start..].to_vec();
            self.error(OfError::BadRequestLen, header.xid, &frame);
            self.end = Some(SessionEnd::BadLength(header.length));
            return None;
        }
        let end = self.input_start + usize::from(header.length);
        let frame = self.input[self.input_start..end].to_vec();
        self.input_start = end;
        self.stats.received += 1;
        self.copy(&frame);
        match self.settings {
            None => {
                self.handshake(&frame);
                None
            }
            Some(settings) => self.sort(header, frame, &settings),
        }
    }

    fn handshake(&mut self, frame: &[u8]) {
        if frame[1] == TYPE_ERROR {
            let newest = WireSettings::new(self.newest());
            let said = match wire::decode(frame, &newest) {
                Ok(Message::Error(error)) => format!("{error:?}"),
                _ => "with an error that can't be read".to_owned(),
            };
            self.end = Some(SessionEnd::Refused(said));
            return;
        }
        if frame[1] != TYPE_HELLO {
            self.end = Some(SessionEnd::NoHello);
            return;
        }
        let offered = wire::decode_hello(frame).unwrap_or_default();
        match self.allowed.newest_common(offered) {
            Some(version) => self.settings = Some(WireSettings::new(version)),
            None => {
                let version = Version::from_wire(frame[0]).filter(|version| *version < self.newest());
                let settings = WireSettings::new(version.unwrap_or(self.newest()));
                let xid = Header::parse(frame).map_or(0, |header| header.xid);
                let text = format!("we speak {}, you offer {}", names(self.allowed), names(offered));
                let error = ErrorKind::Known(OfError::HelloIncompatible);
                let error = Message::Error(ErrorMessage { error, data: text.into_bytes() });
                self.queue(Kind::Reply, &error, xid, &settings);
                self.end = Some(SessionEnd::NoCommonVersion { offered: names(offered) });
            }
        }
    }

    /// Answers what is for the connection itself; returns what is for its owner.
    fn sort(&mut self, header: Header, frame: Vec<u8>, settings: &WireSettings) -> Option<Incoming> {
        let xid = header.xid;
        if header.message_type == TYPE_HELLO {
            return None;
        }
        if header.version != settings.version as u8 {
            self.error(OfError::BadRequestVersion, xid, &frame);
            return None;
        }
        match wire::decode(&frame, settings) {
            Ok(Message::EchoRequest(data)) => {
                self.reply(&Message::EchoReply(data), xid);
                None
            }
            Ok(Message::EchoReply(_)) => None,
            message => Some(Incoming { xid, message: message.map(Box::new), frame }),
        }
    }

    /// Sends an answer.
    pub fn reply(&mut self, message: &Message, xid: u32) {
        if let Some(settings) = self.settings {
            self.queue(Kind::Reply, message, xid, &settings);
        }
    }

    /// Sends an error about a message.
    pub fn error(&mut self, error: OfError, xid: u32, frame: &[u8]) {
        let settings = self.settings.unwrap_or(WireSettings::new(self.newest()));
        let data = frame[..frame.len().min(ERROR_DATA_LEN_MAX - 64)].to_vec();
        self.stats.errors += 1;
        let error = Message::Error(ErrorMessage { error: ErrorKind::Known(error), data });
        self.queue(Kind::Reply, &error, xid, &settings);
    }

    /// Sends what the peer did not ask for, if it reads what is sent. Returns whether it is on its way.
    pub fn notify(&mut self, message: &Message) -> bool {
        if self.settings.is_none() || !self.has_room() {
            return false;
        }
        self.tell(message);
        true
    }

    /// Sends a message of another session as it is, whatever its version, as [`Session::notify`] does.
    pub fn pass_on(&mut self, frame: &[u8]) -> bool {
        if self.settings.is_none() || !self.has_room() {
            return false;
        }
        self.push(Kind::Notice, frame.to_vec());
        true
    }

    /// While there is a backlog of what must not be lost, notices that may be lost leave it room: a peer that reads, but not
    /// as fast as they come, hears of both.
    pub fn set_backlog(&mut self, has_backlog: bool) {
        self.has_backlog = has_backlog;
    }

    /// Whether a notice that may be lost may be sent; one that may not is counted.
    fn has_room(&mut self) -> bool {
        let is_held_back = self.has_backlog && self.notices_size > OUTPUT_SIZE_REPLIES_MAX / 2;
        let has_room = self.may_notify() && !is_held_back;
        self.stats.notices_dropped += u64::from(!has_room);
        has_room
    }

    /// Counts a notice that is not for the peer to have, since it would be more than it may get.
    pub fn lose_notice(&mut self) {
        self.stats.notices_dropped += 1;
    }

    /// Sends what the peer did not ask for, however much waits: for who sees to it that this is not much, by
    /// [`Session::may_notify`] or [`Session::keeps_up`].
    pub fn tell(&mut self, message: &Message) {
        if let Some(settings) = self.settings {
            self.queue(Kind::Notice, message, 0, &settings);
        }
    }

    /// Whether a notice that is sent now would not be dropped.
    pub fn may_notify(&self) -> bool {
        self.settings.is_some() && self.notices_size <= OUTPUT_SIZE_NOTICES_MAX
    }

    /// Whether so little waits to be sent, of replies and notices together, that it is worth while to make more.
    pub fn keeps_up(&self) -> bool {
        self.replies_size + self.notices_size <= OUTPUT_SIZE_REPLIES_MAX
    }

    /// Ends a session whose peer has missed what it must know.
    pub fn give_up(&mut self) {
        self.end.get_or_insert(SessionEnd::Behind);
    }

    fn queue(&mut self, kind: Kind, message: &Message, xid: u32, settings: &WireSettings) {
        for frame in wire::encode(message, xid, settings) {
            self.copy(&frame);
            self.push(kind, frame);
        }
    }

    fn push(&mut self, kind: Kind, frame: Vec<u8>) {
        *self.size_mut(kind) += frame.len();
        self.stats.sent += 1;
        self.output.push_back((kind, frame));
    }

    fn size_mut(&mut self, kind: Kind) -> &mut usize {
        match kind {
            Kind::Reply => &mut self.replies_size,
            Kind::Notice => &mut self.notices_size,
        }
    }

    /// Begins or ends to keep what is said.
    pub fn set_copied(&mut self, is_copied: bool) {
        if is_copied != self.copies.is_some() {
            self.copies = is_copied.then(Copies::default);
        }
    }

    /// What was said since this was asked last, both ways; hellos are no part of it.
    pub fn take_copies(&mut self) -> Copies {
        self.copies.as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn copy(&mut self, frame: &[u8]) {
        if let Some(copies) = self.copies.as_mut().filter(|_| self.settings.is_some()) {
            copies.add(frame);
        }
    }

    /// Bytes to send next; empty: nothing waits.
    pub fn output(&self) -> &[u8] {
        self.output.front().map_or(&[], |(_, frame)| &frame[self.output_start..])
    }

    /// All that waits, as slices for one vectored write, at most `max` of them.
    pub fn output_slices(&self, max: usize) -> impl Iterator<Item = &[u8]> {
        let first = self.output_start;
        let frames = self.output.iter().enumerate().take(max);
        frames.map(move |(index, (_, frame))| &frame[if index == 0 { first } else { 0 }..])
    }

    /// So many bytes of the output were sent.
    pub fn sent(&mut self, mut count: usize) {
        while let Some((kind, frame)) = self.output.front() {
            let (kind, left) = (*kind, frame.len() - self.output_start);
            *self.size_mut(kind) -= count.min(left);
            if count < left {
                self.output_start += count;
                return;
            }
            count -= left;
            self.output_start = 0;
            self.output.pop_front();
        }
    }

    /// Looks at the time: asks for a sign of life, or gives the peer up. Call it about once a second.
    pub fn watch(&mut self, now: Nanos) {
        if self.end.is_some() {
            return;
        }
        let silence = now.since(self.last_received);
        if self.settings.is_none() {
            let age = now.since(self.begun);
            if age >= HELLO_TIME_MAX {
                self.end = Some(SessionEnd::Silent(age.0 / 1_000_000_000));
            }
            return;
        }
        let Some(interval) = self.probe_interval else { return };
        match self.probed {
            None if silence >= interval => {
                self.probed = Some(now);
                let xid = self.next_xid;
                self.next_xid = self.next_xid.wrapping_add(1);
                self.reply(&Message::EchoRequest(Vec::new()), xid);
            }
            Some(probed) if now.since(probed) >= interval => {
                self.end = Some(SessionEnd::Silent(silence.0 / 1_000_000_000));
            }
            _ => {}
        }
    }
}

/// The names of the versions in a set.
pub fn names(versions: VersionSet) -> String {
    let names: Vec<&str> =
        Version::ALL.into_iter().filter(|version| versions.contains(*version)).map(Version::name).collect();
    if names.is_empty() { "none that is known here".to_owned() } else { names.join(", ") }
}

/// When to try a connection again: at once, then after one second, two, four, up to a bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    max: Nanos,
    wait: Nanos,
    due: Nanos,
}

impl Backoff {
    /// Due at once; waits at most `max` between tries.
    pub fn new(max: Nanos) -> Backoff {
        Backoff { max, wait: Nanos(0), due: Nanos(0) }
    }

    /// Whether it is time for a try.
    pub fn is_due(&self, now: Nanos) -> bool {
        now >= self.due
    }

    /// When the next try is.
    pub fn due(&self) -> Nanos {
        self.due
    }

    /// A try has failed, or a connection has ended that was up for `up`: one that was longer up than the bound begins anew.
    pub fn failed(&mut self, now: Nanos, up: Nanos) {
        let second = Nanos::from_secs(1);
        self.wait = if up > self.max { second } else { Nanos(self.wait.0 * 2).max(second).min(self.max) };
        self.due = now.plus(self.wait);
    }
}

#[cfg(test)]
mod tests;
