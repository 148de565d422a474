//! Bundles: changes that are kept back until they are committed, all or none (OpenFlow 1.5.1 section 6.9).
//!
//! Messages are decoded and checked as they come, so that a bundle that can't be is refused where it goes wrong; what
//! depends on the switch's state is checked at the commit, by doing it. The bundle of a failed commit leaves nothing
//! behind: [`crate::ofproto::Ofproto::transaction`].
//!
//! What waits are the messages' bytes, which are decoded one after the other at the commit: decoded they take some ten times
//! the room.
//!
//! # Bounds
//! [`BUNDLES_MAX`] bundles of a connection, [`BUNDLE_LEN_MAX`] messages in each, [`CONNECTION_SIZE_MAX`] bytes in those of
//! a connection and [`BRIDGE_SIZE_MAX`] in those of a bridge. A bundle of which nothing is heard for [`IDLE_TIME_MAX`] is
//! discarded.

use super::Sessions;
use super::agent::{Agent, NO_BUFFER};
use super::change::{self, op_of, refused};
use crate::ofproto::{FlowModError, Ofproto};
use crate::openflow::OfError;
use crate::openflow::flow_mod::FlowModCommand;
use crate::openflow::message::{BundleControl, BundleControlType, Message, Version};
use crate::openflow::wire::{self, Header, WireSettings};
use crate::sync::Nanos;
use crate::vswitchd::switch::Switch;
use std::collections::BTreeMap;

/// Bundles of a connection at once.
const BUNDLES_MAX: usize = 64;

/// Messages of a bundle.
const BUNDLE_LEN_MAX: usize = 1 << 20;

/// Bytes that the bundles of a connection hold: those of 1 000 000 rules with a match of some fields.
const CONNECTION_SIZE_MAX: usize = 128 << 20;

/// Bytes that the bundles of all connections of a bridge hold.
const BRIDGE_SIZE_MAX: usize = 256 << 20;

/// What a message takes besides its bytes.
const MESSAGE_OVERHEAD: usize = size_of::<Queued>() + 16;

/// How long a bundle may be left alone: as in Open vSwitch.
const IDLE_TIME_MAX: Nanos = Nanos::from_secs(10);

/// `ofp_bundle_flags`: atomic and ordered. A commit here is always both.
const FLAGS_KNOWN: u16 = 0b11;

/// A connection's bundles, by id.
pub(super) type Bundles = BTreeMap<u32, Bundle>;

/// Changes that wait for their commit.
#[derive(Debug)]
pub(super) struct Bundle {
    flags: u16,
    is_closed: bool,
    messages: Vec<Queued>,
    /// Bytes that it takes.
    size: usize,
    /// Transaction id of the message that opened it.
    opened_by: u32,
    last_used: Nanos,
}

impl Bundle {
    fn new(flags: u16, opened_by: u32, now: Nanos) -> Bundle {
        Bundle { flags, is_closed: false, messages: Vec::new(), size: 0, opened_by, last_used: now }
    }
}

/// A message of a bundle, as it came, and how it is read.
#[derive(Debug)]
struct Queued {
    frame: Box<[u8]>,
    settings: WireSettings,
}

/// Bytes of a message that an error about it quotes.
const HEAD_LEN: usize = 64;

fn size_of_all(bundles: &Bundles) -> usize {
    bundles.values().map(|bundle| bundle.size).sum()
}

impl Agent {
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
        let now = switch.clock.now();
        let bundles = &mut self.controller_mut(token).ok_or(OfError::BundleUnknown)?.bundles;
        if let Some(bundle) = bundles.get_mut(&id) {
            bundle.last_used = now;
        }
        let reply = match control_type {
            Type::OpenRequest => {
                if flags & !FLAGS_KNOWN != 0 {
                    return Err(OfError::BundleBadFlags);
                }
                if bundles.contains_key(&id) {
                    // The one that was there is of no more use (OpenFlow 1.5.1 section 7.3.9.2).
                    bundles.remove(&id);
                    return Err(OfError::BundleExists);
                }
                if bundles.len() >= BUNDLES_MAX {
                    return Err(OfError::BundleOutOfBundles);
                }
                bundles.insert(id, Bundle::new(flags, xid, now));
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
                bundle.is_closed = true;
                Type::CloseReply
            }
            Type::CommitRequest => {
                let bundle = bundles.remove(&id).ok_or(OfError::BundleBadId)?;
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
        switch: &Switch,
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
        let now = switch.clock.now();
        let size = frame.len() + MESSAGE_OVERHEAD;
        let in_bridge: usize =
            self.controllers.values().map(|controller| size_of_all(&controller.bundles)).sum();
        let bundles = &mut self.controller_mut(token).ok_or(OfError::BundleUnknown)?.bundles;
        if !bundles.contains_key(&id) && bundles.len() >= BUNDLES_MAX || in_bridge + size > BRIDGE_SIZE_MAX {
            return Err(OfError::BundleOutOfBundles);
        }
        let in_connection = size_of_all(bundles);
        // A message for a bundle that is not there opens it (OpenFlow 1.5.1 section 6.9.4).
        let bundle = bundles.entry(id).or_insert_with(|| Bundle::new(flags, xid, now));
        bundle.last_used = now;
        let fault = match (bundle.is_closed, bundle.flags == flags) {
            (true, _) => Some(OfError::BundleClosed),
            (_, false) => Some(OfError::BundleBadFlags),
            _ => None,
        };
        if let Some(fault) = fault {
            bundles.remove(&id);
            return Err(fault);
        }
        if bundle.messages.len() >= BUNDLE_LEN_MAX || in_connection + size > CONNECTION_SIZE_MAX {
            return Err(OfError::BundleMsgTooMany);
        }
        bundle.size += size;
        bundle.messages.push(Queued { frame: frame.into(), settings });
        Ok(())
    }

    /// Discards bundles of which nothing was heard for long.
    pub(super) fn expire_bundles(&mut self, now: Nanos, sessions: &mut dyn Sessions) {
        for (token, controller) in &mut self.controllers {
            let is_over = |bundle: &mut Bundle| now.since(bundle.last_used) >= IDLE_TIME_MAX;
            for (id, bundle) in controller.bundles.extract_if(.., |_, bundle| is_over(bundle)) {
                let Some(session) = sessions.get(*token) else { continue };
                let Some(settings) = session.settings() else { continue };
                // What is quoted is the request that opened it, or would have.
                let (control_type, flags) = (BundleControlType::OpenRequest, bundle.flags);
                let open = Message::BundleControl(BundleControl { bundle: id, control_type, flags });
                let frame = wire::encode(&open, bundle.opened_by, &settings).concat();
                session.error(OfError::BundleTimeout, bundle.opened_by, &frame);
            }
        }
    }

    /// Does all that a bundle holds, or nothing. What could not be done is told by an error about the message, and one
    /// about the commit.
    fn commit(
        &mut self,
        token: usize,
        bundle: Bundle,
        switch: &mut Switch,
        sessions: &mut dyn Sessions,
    ) -> Result<(), OfError> {
        let version = sessions.get(token).and_then(|session| session.version()).unwrap_or(Version::V14);
        let macs = change::port_macs(switch, self.bridge());
        let is_forwarded = self.forwards_requests(token);
        let (mut ports, mut forwarded) = (Vec::new(), Vec::new());
        let mut ops = bundle.messages.iter().map(|Queued { frame, settings }| {
            let message = wire::decode(frame, settings)?;
            match &message {
                Message::PortMod(port_mod) => ports.push(port_mod.port),
                Message::GroupMod(_) | Message::MeterMod(_) if is_forwarded => {
                    forwarded.push(message.clone())
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
            forwarded.into_iter().for_each(|message| self.forward(token, message, sessions));
            return Ok(());
        };
        if let (Some(Queued { frame, .. }), Some(session)) = (bundle.messages.get(index), sessions.get(token))
        {
            let xid = Header::parse(frame).map_or(0, |header| header.xid);
            session.error(refused(error), xid, &frame[..frame.len().min(HEAD_LEN)]);
        }
        Err(OfError::BundleMsgFailed)
    }
}
