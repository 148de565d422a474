//! What there is to tell of OpenFlow connections: to `penstockctl openflow`, and to who scrapes.
//!
//! Controllers and places that are listened at come from the configuration, so there are few, and metrics are by them.
//! Who calls is as many as wish (up to a bound): `penstockctl` is told of each, metrics have their sum at each place.

use super::{Bridge, Door, OpenFlow, Past, Socket};
use crate::config::FailMode;
use crate::metrics::snapshot::OpenFlowMetrics;
use crate::ofproto::BridgeId;
use crate::openflow::message::{Role, Version};
use crate::openflow::session::SessionStats;
use crate::sync::Nanos;
use crate::vswitchd::api::{ConnectionInfo, ConnectionKind, ConnectionState};

/// The OpenFlow side of a bridge.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Connections {
    pub(crate) fail_mode: FailMode,
    pub(crate) versions: Vec<Version>,
    /// Controllers of the configuration.
    pub(crate) controller_count: u64,
    /// Those of them that are connected.
    pub(crate) controllers_connected: u64,
    /// Controllers, in the order of the configuration; then each place that is listened at, and its peers behind it.
    pub(crate) connections: Vec<ConnectionInfo>,
}

impl OpenFlow {
    /// What there is to tell of a bridge's connections; none of a bridge that has no part in OpenFlow.
    pub(crate) fn connections(&self, bridge: BridgeId, now: Nanos) -> Option<Connections> {
        let known = self.bridges.iter().find(|known| known.agent.bridge() == bridge)?;
        Some(known.connections(now))
    }

    /// What is counted, of all bridges.
    pub(crate) fn metrics(&self) -> Vec<OpenFlowMetrics> {
        self.bridges.iter().flat_map(Bridge::metrics).collect()
    }
}

impl Bridge {
    fn connections(&self, now: Nanos) -> Connections {
        let controllers: Vec<ConnectionInfo> =
            self.callers.iter().map(|caller| self.controller_info(caller, now)).collect();
        let is_up = |info: &&ConnectionInfo| info.version.is_some();
        let (controller_count, up) = (controllers.len(), controllers.iter().filter(is_up).count());
        let mut connections = controllers;
        for door in self.listeners.iter().filter(|door| !door.is_for_snoopers) {
            connections.push(self.door_info(door, now));
            connections.extend(self.peers(door).map(|(token, socket)| self.peer_info(token, socket, now)));
        }
        // Those that came in at a place that the configuration does not name any more.
        let is_homeless = |socket: &&Socket| {
            socket.place.as_ref().is_some_and(|place| !self.listeners.iter().any(|it| it.listen == *place))
        };
        let homeless = self.sockets.iter().filter(|(_, socket)| is_homeless(socket));
        connections.extend(homeless.map(|(token, socket)| self.peer_info(*token, socket, now)));
        Connections {
            fail_mode: self.config.fail_mode,
            versions: Version::ALL.into_iter().filter(|it| self.config.versions.contains(*it)).collect(),
            controller_count: controller_count as u64,
            controllers_connected: up as u64,
            connections,
        }
    }

    /// Who came in at a place.
    fn peers<'a>(&'a self, door: &'a Door) -> impl Iterator<Item = (usize, &'a Socket)> {
        let is_its = |socket: &&Socket| socket.place.as_ref() == Some(&door.listen);
        self.sockets.iter().filter(move |(_, socket)| is_its(socket)).map(|(token, socket)| (*token, socket))
    }

    fn controller_info(&self, caller: &super::Caller, now: Nanos) -> ConnectionInfo {
        let target = caller.remote.to_string();
        let found = caller.socket.and_then(|token| Some((token, self.sockets.get(&token)?)));
        let info = match found {
            Some((token, socket)) => self.socket_info(token, socket, now),
            None => {
                let next = caller.backoff.due().since(now);
                ConnectionInfo {
                    state: ConnectionState::Backoff,
                    next_try_s: Some(seconds(next)),
                    ..ConnectionInfo::default()
                }
            }
        };
        let now = found.map_or(SessionStats::default(), |(_, socket)| socket.session.stats());
        let info = ConnectionInfo { kind: ConnectionKind::Controller, target, ..info };
        counted(info, caller.past, now, caller.last_error.clone())
    }

    fn door_info(&self, door: &Door, now: Nanos) -> ConnectionInfo {
        let (state, next_try_s) = match &door.listener {
            Some(_) => (ConnectionState::Listening, None),
            None => (ConnectionState::Backoff, Some(seconds(door.next_try.since(now)))),
        };
        let (kind, target) = (self.kind_of_place(door), door.listen.to_string());
        let info = ConnectionInfo { kind, target, state, next_try_s, ..ConnectionInfo::default() };
        counted(info, door.past, self.stats_at(door), door.last_error.clone())
    }

    fn kind_of_place(&self, door: &Door) -> ConnectionKind {
        if door.listen == self.management { ConnectionKind::Management } else { ConnectionKind::Listener }
    }

    fn stats_at(&self, door: &Door) -> SessionStats {
        let stats = self.peers(door).map(|(_, socket)| socket.session.stats());
        stats.fold(SessionStats::default(), SessionStats::plus)
    }

    fn peer_info(&self, token: usize, socket: &Socket, now: Nanos) -> ConnectionInfo {
        let is_management = socket.place.as_ref() == Some(&self.management);
        let kind = if is_management { ConnectionKind::Management } else { ConnectionKind::Peer };
        let target = socket.place.as_ref().map_or_else(String::new, ToString::to_string);
        let peer = Some(self.agent.uri(token).to_owned());
        let info = ConnectionInfo { kind, target, peer, ..self.socket_info(token, socket, now) };
        let past = Past { connects: u64::from(socket.up_since.is_some()), ..Past::default() };
        counted(info, past, socket.session.stats(), None)
    }

    /// What a socket says, whoever began.
    fn socket_info(&self, token: usize, socket: &Socket, now: Nanos) -> ConnectionInfo {
        let version = socket.session.version();
        let state = match version {
            None => ConnectionState::Connecting,
            Some(_) if socket.session.is_probing() => ConnectionState::Idle,
            Some(_) => ConnectionState::Active,
        };
        let role = self.agent.role(token).filter(|_| version.is_some());
        ConnectionInfo {
            state,
            version: version.map(|version| version.name().to_owned()),
            role: role.map(|role| role_word(role).to_owned()),
            connected_s: socket.up_since.map(|since| seconds(now.since(since))),
            ..ConnectionInfo::default()
        }
    }

    fn metrics(&self) -> Vec<OpenFlowMetrics> {
        let callers = self.callers.iter().map(|caller| {
            let socket = caller.socket.and_then(|token| self.sockets.get(&token));
            let is_up = socket.is_some_and(|socket| socket.session.version().is_some());
            let now = socket.map_or(SessionStats::default(), |socket| socket.session.stats());
            self.metrics_of(caller.remote.to_string(), is_up, u64::from(is_up), caller.past, now)
        });
        let doors = self.listeners.iter().filter(|door| !door.is_for_snoopers).map(|door| {
            let up = self.peers(door).filter(|(_, socket)| socket.session.version().is_some()).count();
            let (target, is_up) = (door.listen.to_string(), door.listener.is_some());
            self.metrics_of(target, is_up, up as u64, door.past, self.stats_at(door))
        });
        callers.chain(doors).collect()
    }

    fn metrics_of(
        &self,
        target: String,
        is_up: bool,
        connections: u64,
        past: Past,
        now: SessionStats,
    ) -> OpenFlowMetrics {
        let stats = past.stats.plus(now);
        OpenFlowMetrics {
            bridge: self.agent.name().to_owned(),
            target,
            is_up,
            connections,
            connects: past.connects,
            failures: past.failures,
            received: stats.received,
            sent: stats.sent,
            errors: stats.errors,
            notices_dropped: stats.notices_dropped,
        }
    }
}

/// With what was counted, before and `now`.
fn counted(
    info: ConnectionInfo,
    past: Past,
    now: SessionStats,
    last_error: Option<String>,
) -> ConnectionInfo {
    let stats = past.stats.plus(now);
    ConnectionInfo {
        last_error,
        connects: past.connects,
        failures: past.failures,
        messages_received: stats.received,
        messages_sent: stats.sent,
        errors_sent: stats.errors,
        notices_dropped: stats.notices_dropped,
        ..info
    }
}

fn seconds(time: Nanos) -> f64 {
    time.0 as f64 / 1e9
}

/// The words of `ovs-vsctl`.
fn role_word(role: Role) -> &'static str {
    match role {
        Role::NoChange | Role::Equal => "equal",
        Role::Master => "master",
        Role::Slave => "slave",
    }
}
