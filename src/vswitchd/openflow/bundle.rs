//! Bundles: changes that are kept back until they are committed, all or none (OpenFlow 1.5.1 section 6.9).
//!
//! Messages are decoded and checked as they come, so that a bundle that can't be is refused where it goes wrong; what
//! depends on the switch's state is checked at the commit, by doing it. The bundle of a failed commit leaves nothing
//! behind: [`crate::ofproto::Ofproto::transaction`].
//!
//! What waits are flow-mods of ordinary length, packed, and the bytes of all other messages, which are decoded once more at
//! the commit: decoded they take some ten times the room.
//!
//! A bundle that is not used for [`IDLE_TIME_MAX`] is discarded, and its controller told.
//!
//! # Bounds
//! [`BUNDLES_MAX`] bundles of a connection; in all bundles of a bridge, [`MESSAGES_MAX`] messages of [`MESSAGES_SIZE_MAX`]
//! bytes; in those of a connection, [`CONNECTION_SIZE_MAX`] bytes; [`PACKETS_MAX`] packet-outs in each.

use super::Sessions;
use super::agent::Agent;
use super::change::{self, op_of, refused};
use crate::ofproto::{FlowModError, Ofproto};
use crate::openflow::OfError;
use crate::openflow::flow_mod::{FlowModCommand, PackedFlowMod};
use crate::openflow::message::{
    BundleControl, BundleControlType, FlowModMessage, Message, NO_BUFFER, Version,
};
use crate::openflow::wire::{self, Header, WireSettings};
use crate::sync::Nanos;
use crate::vswitchd::switch::Switch;
use std::collections::BTreeMap;

/// Bundles of a connection at once.
const BUNDLES_MAX: usize = 64;

/// Messages in all bundles of a bridge: as many as a table has rules.
const MESSAGES_MAX: usize = 1 << 20;

/// Bytes of them, as they came. Rules of a million flow-mods of two hundred bytes fit; tests are content with less.
const MESSAGES_SIZE_MAX: usize = if cfg!(test) { 4 << 20 } else { 256 << 20 };

/// Bytes of them in the bundles of a connection: whatever one does, there is room for others.
const CONNECTION_SIZE_MAX: usize = MESSAGES_SIZE_MAX / 4 * 3;

/// Packet-outs of a bundle: its commit works all of them out before it sends the first, so there may be as many as may wait
/// for workers else. What they come to together is bounded there ([`crate::ofproto::Ofproto::transaction`]).
const PACKETS_MAX: usize = super::WAITING_COMMANDS_MAX;

/// Time without a message after which a bundle is discarded: as in Open vSwitch.
const IDLE_TIME_MAX: Nanos = Nanos::from_secs(10);

/// `ofp_bundle_flags`: atomic and ordered. A commit here is always both.
const FLAGS_KNOWN: u16 = 0b11;

/// OFPBF_TIME: it is to be committed at a time.
const FLAG_TIME: u16 = 0b100;

/// A connection's bundles, by id.
pub(super) type Bundles = BTreeMap<u32, Bundle>;

/// Changes that wait for their commit.
#[derive(Debug)]
pub(super) struct Bundle {
    flags: u16,
    is_closed: bool,
    messages: Vec<Queued>,
    /// Bytes of the messages, as they came.
    size: usize,
    /// How many of them send a packet.
    packets: usize,
    /// When it was used last, and the transaction id of that.
    used: (Nanos, u32),
}

impl Bundle {
    fn new(flags: u16, used: (Nanos, u32)) -> Bundle {
        Bundle { flags, is_closed: false, messages: Vec::new(), size: 0, packets: 0, used }
    }
}

/// A message of a bundle.
#[derive(Debug)]
struct Queued {
    /// As it came; of a flow-mod that is packed, what an error quotes.
    frame: Box<[u8]>,
    settings: WireSettings,
    packed: Option<(PackedFlowMod, u32)>,
}

impl Queued {
    fn new(message: Message, frame: &[u8], settings: WireSettings) -> Queued {
        match message {
            Message::FlowMod(FlowModMessage { flow_mod, buffer_id }) if frame.len() <= PACKED_LEN_MAX => {
                let frame = frame[..frame.len().min(HEAD_LEN)].into();
                Queued { frame, settings, packed: Some(((*flow_mod).into(), buffer_id)) }
            }
            _ => Queued { frame: frame.into(), settings, packed: None },
        }
    }

    /// The message; a flow-mod that is packed is there once.
    fn take(&mut self) -> Result<Message, OfError> {
        match self.packed.take() {
            Some((flow_mod, buffer_id)) => {
                Ok(Message::FlowMod(FlowModMessage { flow_mod: Box::new(flow_mod.into()), buffer_id }))
            }
            None => wire::decode(&self.frame, &self.settings),
        }
    }

    fn xid(&self) -> u32 {
        Header::parse(&self.frame).map_or(0, |header| header.xid)
    }
}

/// Bytes of a flow-mod beyond which it is kept as it came: many actions take several times their bytes.
const PACKED_LEN_MAX: usize = 512;

/// Bytes of a message that an error about it quotes.
const HEAD_LEN: usize = 64;

/// Whether there are such bundles. That of a time is 1.5's; older versions have no such flag.
fn check_flags(flags: u16, version: Version) -> Result<(), OfError> {
    if flags & FLAG_TIME != 0 && version == Version::V15 {
        return Err(OfError::BundleSchedUnsupported);
    }
    if flags & !FLAGS_KNOWN == 0 { Ok(()) } else { Err(OfError::BundleBadFlags) }
}

impl Agent {
    /// Whether a bundle of a connection sends packets when it is committed.
    pub(super) fn sends_packets(&self, token: usize, bundle: u32) -> bool {
        let controller = self.controllers.get(&token);
        controller.and_then(|it| it.bundles.get(&bundle)).is_some_and(|bundle| bundle.packets > 0)
    }

    /// OFPT_BUNDLE_CONTROL.
    pub(super) fn bundle_control(
        &mut self,
        token: usize,
        xid: u32,
        control: BundleControl,
        switch: &mut Switch,
        sessions: &mut dyn Sessions,
    ) -> Result<Vec<Message>, OfError> {
        use BundleControlType as Type;
        let BundleControl { bundle: id, control_type, flags } = control;
        let used = (switch.clock.now(), xid);
        let version = sessions.get(token).and_then(|session| session.version()).unwrap_or(Version::V14);
        let bundles = &mut self.controller_mut(token).ok_or(OfError::BundleUnknown)?.bundles;
        let reply = match control_type {
            Type::OpenRequest => {
                check_flags(flags, version)?;
                if bundles.contains_key(&id) {
                    // The one that was there is of no more use (OpenFlow 1.5.1 section 7.3.9.2).
                    bundles.remove(&id);
                    return Err(OfError::BundleExists);
                }
                if bundles.len() >= BUNDLES_MAX {
                    return Err(OfError::BundleOutOfBundles);
                }
                bundles.insert(id, Bundle::new(flags, used));
                Type::OpenReply
            }
            Type::CloseRequest => {
                let bundle = bundles.get_mut(&id).ok_or(OfError::BundleBadId)?;
                let fault = match (bundle.is_closed, bundle.flags == flags) {
                    (true, _) => Some(OfError::BundleClosed),
                    (_, false) => Some(OfError::BundleBadFlags),
                    _ => None,
                };
                if let Some(fault) = fault {
                    bundles.remove(&id);
                    return Err(fault);
                }
                (bundle.is_closed, bundle.used) = (true, used);
                Type::CloseReply
            }
            Type::CommitRequest => {
                let bundle = bundles.remove(&id).ok_or(OfError::BundleBadId)?;
                check_flags(flags, version)?;
                if bundle.flags != flags {
                    return Err(OfError::BundleBadFlags);
                }
                self.commit(token, bundle, switch, sessions)?;
                Type::CommitReply
            }
            Type::DiscardRequest => {
                bundles.remove(&id).ok_or(OfError::BundleBadId)?;
                Type::DiscardReply
            }
            Type::OpenReply | Type::CloseReply | Type::CommitReply | Type::DiscardReply => {
                return Err(OfError::BundleBadType);
            }
        };
        Ok(vec![Message::BundleControl(BundleControl { bundle: id, control_type: reply, flags })])
    }

    /// OFPT_BUNDLE_ADD_MESSAGE.
    pub(super) fn bundle_add(
        &mut self,
        token: usize,
        (xid, id, flags): (u32, u32, u16),
        frame: &[u8],
        now: Nanos,
        sessions: &mut dyn Sessions,
    ) -> Result<(), OfError> {
        let settings = sessions.get(token).and_then(|session| session.settings());
        let settings = settings.ok_or(OfError::BundleUnknown)?;
        let header = Header::parse(frame).ok_or(OfError::BundleMsgBadLen)?;
        if header.xid != xid {
            return Err(OfError::BundleMsgBadXid);
        }
        let message = wire::decode(frame, &settings)?;
        let is_taken = match &message {
            Message::FlowMod(message) => {
                let command = message.flow_mod.command;
                message.buffer_id == NO_BUFFER
                    || matches!(command, FlowModCommand::Delete | FlowModCommand::DeleteStrict)
            }
            Message::PacketOut(message) => message.buffer_id == NO_BUFFER,
            Message::GroupMod(_) | Message::PortMod(_) | Message::MeterMod(_) => true,
            _ => false,
        };
        if !is_taken {
            return Err(OfError::BundleMsgUnsupported);
        }
        check_flags(flags, settings.version)?;
        let kept = self.controllers.values().flat_map(|controller| controller.bundles.values());
        let (count, size) =
            kept.fold((0, 0), |(count, size), bundle| (count + bundle.messages.len(), size + bundle.size));
        let is_full = count >= MESSAGES_MAX || size + frame.len() > MESSAGES_SIZE_MAX;
        let bundles = &mut self.controller_mut(token).ok_or(OfError::BundleUnknown)?.bundles;
        let own: usize = bundles.values().map(|bundle| bundle.size).sum();
        let is_full = is_full || own + frame.len() > CONNECTION_SIZE_MAX;
        if !bundles.contains_key(&id) && bundles.len() >= BUNDLES_MAX {
            return Err(OfError::BundleOutOfBundles);
        }
        // A message for a bundle that is not there opens it (OpenFlow 1.5.1 section 6.9.4).
        let bundle = bundles.entry(id).or_insert_with(|| Bundle::new(flags, (now, xid)));
        let fault = match (bundle.is_closed, bundle.flags == flags) {
            (true, _) => Some(OfError::BundleClosed),
            (_, false) => Some(OfError::BundleBadFlags),
            _ => None,
        };
        if let Some(fault) = fault {
            bundles.remove(&id);
            return Err(fault);
        }
        bundle.used = (now, xid);
        let is_packet = matches!(message, Message::PacketOut(_));
        if is_full || (is_packet && bundle.packets >= PACKETS_MAX) {
            return Err(OfError::BundleMsgTooMany);
        }
        bundle.packets += usize::from(is_packet);
        bundle.size += frame.len();
        bundle.messages.push(Queued::new(message, frame, settings));
        Ok(())
    }

    /// Notes that a connection is not listened to now: that its bundles are not used, and that the rest of a request does
    /// not come, says nothing.
    pub(super) fn excuse(&mut self, token: usize, now: Nanos) {
        let Some(controller) = self.controller_mut(token) else { return };
        controller.bundles.values_mut().for_each(|bundle| bundle.used.0 = now);
        if let Some(gathering) = &mut controller.gathering {
            gathering.since = now;
        }
    }

    /// Discards bundles that were not used for too long (OpenFlow 1.5.1 section 6.9.5).
    pub(super) fn watch_bundles(&mut self, now: Nanos, sessions: &mut dyn Sessions) {
        for (token, controller) in &mut self.controllers {
            controller.bundles.retain(|_, bundle| {
                let (used, xid) = bundle.used;
                let is_late = now.since(used) >= IDLE_TIME_MAX;
                if is_late && let Some(session) = sessions.get(*token) {
                    session.error(OfError::BundleTimeout, xid, &[]);
                }
                !is_late
            });
        }
    }

    /// Does all that a bundle holds, or nothing. What could not be done is told by an error about the message, and one
    /// about the commit.
    fn commit(
        &mut self,
        token: usize,
        mut bundle: Bundle,
        switch: &mut Switch,
        sessions: &mut dyn Sessions,
    ) -> Result<(), OfError> {
        let version = sessions.get(token).and_then(|session| session.version()).unwrap_or(Version::V14);
        let macs = change::port_macs(switch, self.bridge());
        let is_forwarded = self.forwards_requests(token);
        let (mut ports, mut forwards) = (Vec::new(), Vec::new());
        let mut ops = bundle.messages.iter_mut().map(|queued| {
            let message = queued.take()?;
            match &message {
                Message::PortMod(port_mod) => ports.push(port_mod.port),
                Message::GroupMod(_) | Message::MeterMod(_) if is_forwarded => {
                    forwards.push((queued.xid(), message.clone()));
                }
                _ => {}
            }
            Ok::<_, FlowModError>(op_of(message, version, &macs)?)
        });
        let done = switch.ofproto.transaction(self.bridge(), &mut ops);
        drop(ops);
        let Err((index, error)) = done else {
            ports.into_iter().for_each(|number| switch.follow_admin(self.bridge(), number));
            self.watch_ports(switch, sessions);
            forwards.into_iter().for_each(|(xid, change)| self.forward(token, xid, change, sessions));
            return Ok(());
        };
        if let (Some(queued), Some(session)) = (bundle.messages.get(index), sessions.get(token)) {
            session.error(refused(error), queued.xid(), &queued.frame[..queued.frame.len().min(HEAD_LEN)]);
        }
        Err(OfError::BundleMsgFailed)
    }
}
