//! Snoopers: who connects to `RUN_DIR/BRIDGE.snoop`, as `ovs-ofctl snoop BRIDGE` does, gets a copy of every message that
//! is exchanged with one of the bridge's controllers from then on, in both directions, as it is on the wire. Hellos are no
//! part of it: they belong to the snooper's own connection.
//!
//! Which controller it is, is chosen when the snooper connects, as Open vSwitch does it: one that is connected rather
//! than one that is away, the master first, slaves last. It stays that one, over reconnections too, and with its place in
//! the configuration the snooper's connection ends. Connections that others begin, `ovs-ofctl` among them, are not copied.
//!
//! # Bounds
//! A bridge has [`SNOOPERS_PER_BRIDGE_MAX`]. A snooper that does not read loses messages, which are counted, and holds
//! nobody up. Beyond its hello nothing of what it sends matters: it is read and forgotten.
//!
//! # Threads
//! The control thread.

use super::stream::Stream;
use super::{Bridge, Caller, OpenFlow, Socket};
use crate::openflow::endpoint::Remote;
use crate::openflow::message::{Role, Version, VersionSet};
use crate::openflow::session::Session;
use crate::sync::Nanos;
use mio::Token;

/// Snoopers of a bridge.
const SNOOPERS_PER_BRIDGE_MAX: usize = 8;

/// One who watches a controller's connection.
#[derive(Debug)]
pub(super) struct Snooper {
    pub(super) socket: Socket,
    /// The controller.
    of: Remote,
}

impl Bridge {
    /// The controller that somebody who comes now is to watch, or why there is none.
    fn snooper_may_watch(&self) -> Result<Remote, &'static str> {
        if self.snoopers.len() >= SNOOPERS_PER_BRIDGE_MAX {
            return Err("there are too many already");
        }
        self.controller_to_snoop().ok_or("the bridge has no controller")
    }

    fn controller_to_snoop(&self) -> Option<Remote> {
        let preference = |caller: &Caller| {
            let token = caller.socket.filter(|token| {
                self.sockets.get(token).is_some_and(|socket| socket.session.version().is_some())
            });
            token.and_then(|token| self.agent.role(token)).map_or(0, |role| match role {
                Role::Master => 3,
                Role::Equal | Role::NoChange => 2,
                Role::Slave => 1,
            })
        };
        // The first of those that are alike.
        self.callers.iter().rev().max_by_key(|caller| preference(caller)).map(|caller| caller.remote.clone())
    }

    /// Tokens of snoopers whose controller is not in the configuration any more.
    pub(super) fn snoopers_without_controller(&self) -> Vec<usize> {
        let is_there = |of: &Remote| self.callers.iter().any(|caller| caller.remote == *of);
        self.snoopers.iter().filter(|(_, snooper)| !is_there(&snooper.of)).map(|(token, _)| *token).collect()
    }

    /// Hands snoopers what was said since; returns how many messages were lost, each counted once for each snooper.
    pub(super) fn copy_to_snoopers(&mut self) -> u64 {
        let mut lost = 0;
        for caller in &self.callers {
            let Some(socket) = caller.socket.and_then(|token| self.sockets.get_mut(&token)) else { continue };
            let its = || self.snoopers.values().filter(|snooper| snooper.of == caller.remote);
            let count = its().count() as u64;
            socket.session.set_copied(count > 0);
            let copies = socket.session.take_copies();
            lost += copies.lost * count;
            for snooper in self.snoopers.values_mut().filter(|snooper| snooper.of == caller.remote) {
                let is_lost = |frame: &&Vec<u8>| !snooper.socket.session.pass_on(frame);
                lost += copies.frames.iter().filter(is_lost).count() as u64;
            }
        }
        lost
    }
}

impl OpenFlow {
    /// Messages that snoopers did not get, since they did not read.
    pub(crate) fn snooped_lost(&self) -> u64 {
        self.snooped_lost
    }

    /// Takes in one who has connected.
    pub(super) fn admit_snooper(&mut self, index: usize, mut stream: Stream, now: Nanos) {
        let Some(poll) = &self.poll else { return };
        let token = self.next_token + 1;
        let bridge = &mut self.bridges[index];
        let mut registered = || stream.register(poll, Token(token), true).map_err(|error| error.to_string());
        let of = match bridge
            .snooper_may_watch()
            .map_err(str::to_owned)
            .and_then(|of| registered().map(|()| of))
        {
            Ok(of) => of,
            Err(why) => {
                if let Some(suppressed) = self.accept_log.allow(now) {
                    tracing::warn!(
                        bridge = bridge.agent.name(),
                        suppressed,
                        "a snooper is turned away: {why}"
                    );
                }
                return;
            }
        };
        // It need not speak the version of what it is sent.
        let session = Session::new(VersionSet::of(&Version::ALL), None, now);
        let socket = Socket::new(stream, session, None, true, now);
        bridge.snoopers.insert(token, Snooper { socket, of });
        self.new_token();
        self.ready.insert(token);
    }

    /// Reads what a snooper sends, to know when it goes.
    pub(super) fn hear_snooper(&mut self, index: usize, token: usize, now: Nanos) {
        let Some(snooper) = self.bridges[index].snoopers.get_mut(&token) else { return };
        let session = &snooper.socket.session;
        if session.is_behind() || session.end().is_some() || snooper.socket.error.is_some() {
            return;
        }
        let may_have_more = snooper.socket.read(&mut self.buffer, now);
        while snooper.socket.session.next_message().is_some() {}
        if may_have_more {
            self.ready.insert(token);
        }
    }

    /// Sends to the snoopers of a bridge what waits for them.
    pub(super) fn write_to_snoopers(&mut self, index: usize, now: Nanos) {
        let bridge = &mut self.bridges[index];
        if bridge.snoopers.is_empty() {
            return;
        }
        self.snooped_lost += bridge.copy_to_snoopers();
        for (&token, snooper) in &mut bridge.snoopers {
            let was_behind = snooper.socket.session.is_behind();
            if snooper.socket.error.is_none() {
                snooper.socket.write(now);
            }
            if was_behind && !snooper.socket.session.is_behind() {
                self.ready.insert(token);
            }
        }
    }

    /// Sends to the snoopers of a bridge what waits for them, and ends with those that are gone.
    pub(super) fn flush_snoopers(&mut self, index: usize, now: Nanos) {
        self.write_to_snoopers(index, now);
        let bridge = &mut self.bridges[index];
        let mut over = bridge.snoopers_without_controller();
        let is_over = |(_, snooper): &(&usize, &Snooper)| snooper.socket.over(false, now).is_some();
        over.extend(bridge.snoopers.iter().filter(is_over).map(|(token, _)| *token));
        if over.is_empty() {
            return;
        }
        for token in over {
            let Some(mut snooper) = bridge.snoopers.remove(&token) else { continue };
            if let Some(poll) = &self.poll {
                snooper.socket.stream.deregister(poll);
            }
        }
        // Nobody may be left who takes the copies.
        self.snooped_lost += bridge.copy_to_snoopers();
    }
}
