//! OpenFlow connections of all bridges: who connects, who is listened to, and when.
//!
//! ```text
//!  controllers <--tcp, tls, unix--> stream <--bytes--> openflow::session <--messages--> agent --> Switch
//! ```
//! [`OpenFlow`] owns the sockets; [`agent`] knows what each message means for its bridge; [`multipart`] and
//! [`describe`] tell of the switch. Each bridge has its own connections: controllers that it calls, peers that call it,
//! the management socket `RUN_DIR/BRIDGE.mgmt` by which `ovs-ofctl BRIDGE` finds it, and `RUN_DIR/BRIDGE.snoop` for those
//! who only watch ([`snoop`]).
//!
//! # Order
//! Messages of one connection are handled one after the other, each whole. A barrier is answered when no packet received
//! afterwards is handled by older rules ([`crate::ofproto::Ofproto::settle`]).
//!
//! # Fairness and bounds
//! A connection gets [`MESSAGES_PER_TURN_MAX`] messages a turn of the control thread; packets are looked after in between.
//! What waits for a slow peer is bounded by [`crate::openflow::session`]; connections by [`CONNECTIONS_PER_BRIDGE_MAX`],
//! those at the management socket by [`MANAGEMENT_CONNECTIONS_MAX`]; packets that controllers send and workers have not
//! sent yet by [`WAITING_COMMANDS_MAX`]: beyond it a packet-out waits where it is, and what follows it on its connection.
//! Who is served first goes round, so that room is shared.
//!
//! # Threads
//! The control thread.

mod agent;
mod bundle;
mod change;
mod controller;
mod describe;
mod info;
mod monitor;
mod multipart;
mod role;
mod snoop;
mod stream;
mod table;
mod telling;
#[cfg(test)]
mod tests;
mod tls;

use super::switch::Switch;
use crate::config::{FailMode, OpenFlowConfig};
use crate::ofproto::{BridgeId, FlowRemoved, Ofproto, PacketIn, SampledPacket};
use crate::openflow::endpoint::{Listen, Remote};
use crate::openflow::session::{Backoff, Session, SessionStats};
use crate::openflow::wire::Work;
use crate::sync::{Nanos, RateLimit};
use agent::Agent;
use controller::Controller;
use mio::{Registry, Token};
use role::StatusReason;
use snoop::Snooper;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use stream::{ConnectError, Listener, Stream};
use tls::TlsParts;

/// Messages of one connection handled in one turn of the control thread.
const MESSAGES_PER_TURN_MAX: usize = 256;

/// Commands that may wait for the datapath's workers before no more packet-outs are handled: a controller that sends packets
/// faster than workers do waits for them, and only such a one.
const WAITING_COMMANDS_MAX: usize = 4096;

/// What the packets among them may come to, by their actions and 64 bytes each: a packet may come to 16 384 actions.
const WAITING_WORK_MAX: usize = 256 << 10;

/// Commands that may wait before no more changes are handled. Packet-outs alone do not bring it there: what does are
/// megaflows that follow changes faster than workers take them.
const WAITING_CHANGES_MAX: usize = 64 << 10;

/// Notices of rules that went that may wait before no more changes are handled: some turns' worth.
const WAITING_REMOVED_MAX: usize = 4 * NOTICES_PER_TURN_MAX;

/// Time after which a turn takes no further message of a connection: packets have waited long enough.
const TURN_TIME_MAX: Nanos = Nanos::from_millis(2);

/// Bytes read from a connection at once.
const READ_SIZE: usize = 64 << 10;

/// Messages written with one system call.
const WRITE_SLICES_MAX: usize = 64;

/// Connections of a bridge that others have begun, but for those at its management socket.
const CONNECTIONS_PER_BRIDGE_MAX: usize = 128;

/// Connections at a bridge's management socket: whoever fills the other places does not lock the operator out.
const MANAGEMENT_CONNECTIONS_MAX: usize = 32;

/// Silence after which a peer that called is asked for a sign of life at the latest: one that is gone without a word
/// would keep its place for ever.
const PEER_PROBE_INTERVAL_MAX: Nanos = Nanos::from_secs(60);

/// Notices of a bridge handed out in one turn.
const NOTICES_PER_TURN_MAX: usize = 4096;

/// How often silence, failed connections and ports are looked at.
const WATCH_INTERVAL: Nanos = Nanos::from_millis(100);

/// Time in which a peer that is not listened to, for it sends no more or has an answer to read first, takes some of what it
/// is told. Socket buffers hold megabytes, and tell of room only when much of that is read.
const STALL_TIME_MAX: Nanos = Nanos::from_secs(60);

/// Time for a connection to be made.
const CONNECT_TIME_MAX: Nanos = Nanos::from_secs(5);

/// All OpenFlow connections.
#[derive(Debug)]
pub struct OpenFlow {
    poll: Option<Registry>,
    first_token: usize,
    next_token: usize,
    run_dir: PathBuf,
    bridges: Vec<Bridge>,
    /// Connections that can go on without an event.
    ready: BTreeSet<usize>,
    /// Who is served first in the next turn.
    first: usize,
    next_watch: Nanos,
    buffer: Vec<u8>,
    accept_log: RateLimit,
    packet_in_log: RateLimit,
    dropped_log: RateLimit,
    /// Messages that snoopers did not get.
    snooped_lost: u64,
}

/// One bridge's.
#[derive(Debug)]
struct Bridge {
    agent: Agent,
    config: OpenFlowConfig,
    tls: Option<TlsParts>,
    callers: Vec<Caller>,
    listeners: Vec<Door>,
    /// Where `ovs-ofctl` looks for it.
    management: Listen,
    sockets: BTreeMap<usize, Socket>,
    snoopers: BTreeMap<usize, Snooper>,
    /// Since when no controller has been there; none while one is.
    alone_since: Option<Nanos>,
}

/// A controller that the switch calls.
#[derive(Debug)]
struct Caller {
    remote: Remote,
    backoff: Backoff,
    /// Its socket's token.
    socket: Option<usize>,
    /// Why it could not be reached last, or why the last connection ended.
    last_error: Option<String>,
    /// Errors in a row, for the log.
    failures: u32,
    past: Past,
    /// Connections in a row that did not last, for the log.
    flaps: u32,
}

/// Where the switch is called.
#[derive(Debug)]
struct Door {
    listen: Listen,
    /// Who comes in here only watches.
    is_for_snoopers: bool,
    listener: Option<(usize, Listener)>,
    next_try: Nanos,
    last_error: Option<String>,
    past: Past,
}

/// What connections of one controller, or at one place, came to that are over.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Past {
    stats: SessionStats,
    /// Connections that agreed on a version, those that last among them.
    connects: u64,
    /// Tries that came to nothing, and connections that ended.
    failures: u64,
}

/// One connection.
#[derive(Debug)]
struct Socket {
    stream: Stream,
    session: Session,
    /// Where it came in; none: we called.
    place: Option<Listen>,
    begun: Nanos,
    /// Since when a version is agreed on.
    up_since: Option<Nanos>,
    is_connected: bool,
    /// Since when it is known that the peer sends no more.
    at_end: Option<Nanos>,
    /// When the peer last took something.
    last_sent: Nanos,
    /// Whether all that was handed to the stream has left it.
    is_flushed: bool,
    error: Option<String>,
}

impl Default for OpenFlow {
    fn default() -> OpenFlow {
        OpenFlow {
            poll: None,
            first_token: 0,
            next_token: 0,
            run_dir: PathBuf::new(),
            bridges: Vec::new(),
            ready: BTreeSet::new(),
            first: 0,
            next_watch: Nanos(0),
            buffer: Vec::new(),
            accept_log: RateLimit::new(5, Nanos::from_secs(60)),
            packet_in_log: RateLimit::new(1, Nanos::from_secs(10)),
            dropped_log: RateLimit::new(5, Nanos::from_secs(60)),
            snooped_lost: 0,
        }
    }
}

impl OpenFlow {
    /// No connections; management sockets will be in `run_dir`.
    pub fn new(run_dir: &Path) -> OpenFlow {
        OpenFlow { run_dir: run_dir.to_owned(), buffer: vec![0; READ_SIZE], ..OpenFlow::default() }
    }

    /// Begins to listen and to call. Tokens from `first_token` on are for it.
    ///
    /// # Errors
    /// What the system says.
    pub fn register(&mut self, registry: &Registry, first_token: usize) -> io::Result<()> {
        self.poll = Some(registry.try_clone()?);
        (self.first_token, self.next_token) = (first_token, first_token);
        // Whoever sees the switch answer finds it listening.
        (0..self.bridges.len()).for_each(|index| self.open_doors(index, Nanos(0)));
        Ok(())
    }

    /// Whether an event with this token is for it.
    pub fn owns(&self, token: Token) -> bool {
        self.poll.is_some() && token.0 >= self.first_token
    }

    /// Follows a bridge's configuration: connections whose settings stay are not touched.
    pub(super) fn configure(&mut self, bridge: BridgeId, name: &str, config: &OpenFlowConfig, now: Nanos) {
        let index = match self.bridges.iter().position(|known| known.agent.bridge() == bridge) {
            Some(index) => index,
            None => {
                self.bridges.push(Bridge::new(Agent::new(bridge, name), now));
                self.bridges.len() - 1
            }
        };
        let run_dir = self.run_dir.clone();
        let gone = self.bridges[index].configure(config, &run_dir);
        for token in gone {
            self.close(index, token, "the configuration does not name it any more", now);
        }
        let bridge = &mut self.bridges[index];
        let uris = bridge.callers.iter().map(|caller| caller.remote.to_string()).collect();
        bridge.agent.set_configured(uris, &mut bridge.sockets);
        self.next_watch = Nanos(0);
    }

    /// Reads all certificates again; those that can't be read stay as they were. Connections that are there go on.
    pub(super) fn read_certificates(&mut self) {
        self.bridges.iter_mut().for_each(Bridge::read_certificates);
    }

    /// Forgets a bridge that went.
    pub(super) fn remove(&mut self, bridge: BridgeId) {
        self.bridges.retain(|known| known.agent.bridge() != bridge);
    }

    /// Does what an event asks for; the work itself is done in the next [`OpenFlow::run`].
    pub fn handle(&mut self, token: Token) {
        self.ready.insert(token.0);
    }

    /// Does what is due for all bridges. Returns whether anything was done.
    pub(super) fn run(&mut self, switch: &mut Switch, now: Nanos) -> bool {
        let mut worked = false;
        for token in self.take_ready() {
            worked = true;
            self.serve(token, switch, now);
        }
        worked |= self.pass_notices_on(switch, now);
        if now >= self.next_watch {
            self.next_watch = now.plus(WATCH_INTERVAL);
            self.watch(switch, now);
        }
        for index in 0..self.bridges.len() {
            self.flush(index, now);
        }
        worked || !self.ready.is_empty()
    }

    /// The part of [`OpenFlow::run`] that goes on while the steps of a change are carried out: packets for controllers
    /// leave. What connections ask for, and are told of the switch, waits, and none is given up meanwhile.
    pub(super) fn run_in_change(&mut self, switch: &mut Switch, now: Nanos) -> bool {
        let count = self.pass_packet_ins_on(switch, now);
        for index in 0..self.bridges.len() {
            self.write_to_snoopers(index, now);
            self.write(index, now);
        }
        count > 0
    }

    /// After such steps: nobody was listened to meanwhile, so none is taken for silent before it can be heard.
    pub(super) fn note_heard_nobody(&mut self, now: Nanos) {
        self.next_watch = self.next_watch.max(now.plus(WATCH_INTERVAL));
        for bridge in &mut self.bridges {
            for (&token, socket) in &mut bridge.sockets {
                bridge.agent.excuse(token, now);
                if socket.session.version().is_none() {
                    socket.begin_anew(now);
                }
            }
        }
    }

    /// Who is to be served, in an order that goes round: where there is not room for all, everybody is the first in turn.
    fn take_ready(&mut self) -> Vec<usize> {
        let ready = std::mem::take(&mut self.ready);
        let order: Vec<usize> = ready.range(self.first..).chain(ready.range(..self.first)).copied().collect();
        if let Some(first) = order.first() {
            self.first = first + 1;
        }
        order
    }

    fn new_token(&mut self) -> usize {
        self.next_token += 1;
        self.next_token
    }

    /// Handles what a listener or a connection has.
    fn serve(&mut self, token: usize, switch: &mut Switch, now: Nanos) {
        for index in 0..self.bridges.len() {
            if let Some(door) = self.bridges[index].door(token) {
                self.accept(index, door, now);
                return;
            }
            if self.bridges[index].sockets.contains_key(&token) {
                self.converse(index, token, switch, now);
                return;
            }
            if self.bridges[index].snoopers.contains_key(&token) {
                self.hear_snooper(index, token, now);
                return;
            }
        }
    }

    fn accept(&mut self, index: usize, door: usize, now: Nanos) {
        loop {
            let bridge = &mut self.bridges[index];
            let is_for_snoopers = bridge.listeners[door].is_for_snoopers;
            let Some((_, listener)) = &bridge.listeners[door].listener else { return };
            match listener.accept(bridge.tls.as_ref()) {
                Ok((stream, _)) if is_for_snoopers => self.admit_snooper(index, stream, now),
                Ok((stream, peer)) => {
                    let place = bridge.listeners[door].listen.clone();
                    self.admit(index, stream, Who::Peer { peer, place }, now);
                }
                Err(ConnectError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    if let Some(suppressed) = self.accept_log.allow(now) {
                        let bridge = self.bridges[index].agent.name().to_owned();
                        tracing::warn!(
                            bridge,
                            suppressed,
                            "an OpenFlow connection can't be accepted: {error}"
                        );
                    }
                    // The listener tells of those that still wait when it is entered anew.
                    let bridge = &mut self.bridges[index];
                    bridge.listeners[door].last_error = Some(error.to_string());
                    if let (Some(poll), Some((token, listener))) =
                        (&self.poll, &mut bridge.listeners[door].listener)
                        && listener.register(poll, Token(*token), false).is_err()
                    {
                        bridge.listeners[door].listener = None;
                    }
                    return;
                }
            }
        }
    }

    fn admit(&mut self, index: usize, mut stream: Stream, who: Who, now: Nanos) {
        let Some(poll) = &self.poll else { return };
        let token = self.next_token + 1;
        if let Err(error) = stream.register(poll, Token(token), true) {
            tracing::warn!("an OpenFlow connection can't be polled: {error}");
            return;
        }
        self.new_token();
        let bridge = &mut self.bridges[index];
        let is_called = matches!(who, Who::Called { .. });
        let probe_max = Some(PEER_PROBE_INTERVAL_MAX);
        let mut probe = bridge.config.probe_interval;
        if let Who::Peer { place, .. } = &who {
            let is_management = |place: &Listen| *place == bridge.management;
            let is_here = |socket: &&Socket| {
                socket.place.as_ref().is_some_and(|it| is_management(it) == is_management(place))
            };
            let count = bridge.sockets.values().filter(is_here).count();
            let max =
                if is_management(place) { MANAGEMENT_CONNECTIONS_MAX } else { CONNECTIONS_PER_BRIDGE_MAX };
            // Tools are not as quick to answer as controllers, and need not be.
            probe = probe.min(probe_max).or(probe_max).filter(|_| !is_management(place)).or(probe_max);
            if count >= max {
                if let Some(suppressed) = self.accept_log.allow(now) {
                    let bridge = bridge.agent.name();
                    tracing::warn!(bridge, suppressed, "too many OpenFlow connections: one is turned away");
                }
                return;
            }
        }
        let session = Session::new(bridge.config.versions, probe, now);
        stream.set_nodelay();
        let (uri, place) = match who {
            Who::Called { caller } => {
                bridge.callers[caller].socket = Some(token);
                (bridge.callers[caller].remote.to_string(), None)
            }
            Who::Peer { peer, place } => (peer, Some(place)),
        };
        let is_management = place.as_ref() == Some(&bridge.management);
        bridge.agent.add(token, Controller { is_management, ..Controller::new(uri, !is_called) });
        bridge.sockets.insert(token, Socket::new(stream, session, place, !is_called, now));
        self.ready.insert(token);
    }

    /// Reads and handles what a connection has sent, up to a bound.
    fn converse(&mut self, index: usize, token: usize, switch: &mut Switch, now: Nanos) {
        let bridge = &mut self.bridges[index];
        let Some(mut socket) = bridge.sockets.get_mut(&token) else { return };
        if !socket.is_connected {
            if let Some(error) = socket.stream.take_error() {
                socket.error = Some(error.to_string());
            } else if socket.stream.is_connected() {
                socket.is_connected = true;
                socket.stream.set_nodelay();
            }
        }
        let was_up = socket.session.version().is_some();
        let (begun, mut handled) = (switch.clock.now(), 0);
        while socket.is_connected && socket.error.is_none() && socket.session.end().is_none() {
            if socket.session.is_behind() {
                break;
            }
            if handled > 0 && switch.clock.now().since(begun) >= TURN_TIME_MAX {
                self.ready.insert(token);
                break;
            }
            if bridge.agent.is_telling(token) {
                handled += 1;
                bridge.agent.tell_on(token, switch, &mut bridge.sockets);
                let Some(again) = bridge.sockets.get_mut(&token) else { return };
                socket = again;
                continue;
            }
            if !socket.session.has_input() {
                if !socket.read(&mut self.buffer, now) {
                    break;
                }
                continue;
            }
            let is_held = Backlog::of(switch).holds(work(token, &bridge.agent, &socket.session));
            if is_held {
                socket.session.excuse(now);
                bridge.agent.excuse(token, now);
            }
            if is_held || handled >= MESSAGES_PER_TURN_MAX {
                self.ready.insert(token);
                break;
            }
            handled += 1;
            let is_up = socket.session.version().is_some();
            if let Some(incoming) = socket.session.next_frame() {
                bridge.agent.handle(token, incoming, switch, &mut bridge.sockets);
            } else if !is_up && socket.session.version().is_some() {
                // Before its first message, so that a barrier is true of what follows from its being there.
                bridge.agent.follow_wishes(switch, &mut bridge.sockets);
                bridge.follow_fail_mode(switch, now);
            }
            let Some(again) = bridge.sockets.get_mut(&token) else { return };
            socket = again;
        }
        if !was_up && let Some(version) = socket.session.version() {
            socket.up_since = Some(now);
            let place = socket.place.clone();
            let uri = bridge.agent.uri(token).to_owned();
            let (name, version) = (bridge.agent.name(), version.name());
            if let Some(caller) = bridge.callers.iter_mut().find(|caller| caller.socket == Some(token)) {
                caller.failures = 0;
                caller.past.connects += 1;
                if is_news(caller.flaps) {
                    tracing::info!(bridge = name, controller = uri, version, "connected");
                }
            } else if let Some(door) =
                bridge.listeners.iter_mut().find(|door| Some(&door.listen) == place.as_ref())
            {
                door.past.connects += 1;
            }
            bridge.agent.tell_status(token, StatusReason::Channel, &mut bridge.sockets);
        }
    }

    /// Sends what waits on all connections of a bridge, snoopers apart.
    fn write(&mut self, index: usize, now: Nanos) {
        for (&token, socket) in &mut self.bridges[index].sockets {
            let was_behind = socket.session.is_behind();
            if socket.is_connected && socket.error.is_none() {
                socket.write(now);
            }
            if was_behind && !socket.session.is_behind() {
                self.ready.insert(token);
            }
        }
    }

    /// Sends what waits on all connections of a bridge, and closes those that are over.
    fn flush(&mut self, index: usize, now: Nanos) {
        self.flush_snoopers(index, now);
        self.write(index, now);
        let mut over = Vec::new();
        let bridge = &self.bridges[index];
        for (&token, socket) in &bridge.sockets {
            if let Some(reason) = socket.over(bridge.agent.is_telling(token), now) {
                over.push((token, reason));
            }
        }
        for (token, reason) in over {
            self.close(index, token, &reason, now);
        }
    }

    fn close(&mut self, index: usize, token: usize, reason: &str, now: Nanos) {
        let bridge = &mut self.bridges[index];
        let Some(mut socket) = bridge.sockets.remove(&token) else { return };
        if let Some(poll) = &self.poll {
            socket.stream.deregister(poll);
        }
        let dropped = socket.session.stats().notices_dropped;
        if dropped > 0 && self.dropped_log.allow(now).is_some() {
            let (bridge, controller) = (bridge.agent.name(), bridge.agent.uri(token));
            tracing::warn!(
                bridge,
                controller,
                dropped,
                "it did not read what it was told: notices were dropped"
            );
        }
        bridge.agent.remove(token, socket.session.version().is_some(), &mut bridge.sockets);
        let name = bridge.agent.name().to_owned();
        let Some(caller) = bridge.callers.iter_mut().find(|caller| caller.socket == Some(token)) else {
            let place = socket.place.as_ref();
            if let Some(door) = bridge.listeners.iter_mut().find(|door| Some(&door.listen) == place) {
                door.past.stats = door.past.stats.plus(socket.session.stats());
                if socket.session.version().is_none() {
                    door.past.failures += 1;
                    door.last_error = Some(reason.to_owned());
                }
            }
            if socket.session.version().is_none() && socket.session.end().is_some() {
                tracing::warn!(bridge = name, "an OpenFlow connection ended: {reason}");
            }
            return;
        };
        let up = if socket.session.version().is_some() { now.since(socket.begun) } else { Nanos(0) };
        caller.socket = None;
        caller.backoff.failed(now, up);
        caller.failures += 1;
        caller.past.failures += 1;
        caller.past.stats = caller.past.stats.plus(socket.session.stats());
        if socket.session.version().is_some() {
            caller.flaps = if up > bridge.config.backoff_max { 0 } else { caller.flaps.saturating_add(1) };
        }
        caller.last_error = Some(reason.to_owned());
        // A controller that stays away, or comes and goes, does so every few seconds.
        if is_news(caller.failures) && is_news(caller.flaps) {
            let controller = caller.remote.to_string();
            tracing::warn!(bridge = name, controller, tries = caller.failures, "not connected: {reason}");
        }
    }

    /// Hands packet-ins to who is to have them, and says how many there were.
    fn pass_packet_ins_on(&mut self, switch: &mut Switch, now: Nanos) -> usize {
        let mut packet_ins = Vec::<PacketIn>::new();
        let count = switch.ofproto.recv_packet_ins(&mut packet_ins, NOTICES_PER_TURN_MAX);
        for packet_in in packet_ins {
            let found = self.bridges.iter_mut().find(|known| known.agent.bridge() == packet_in.bridge);
            let Some(bridge) = found else { continue };
            let is_told = bridge.agent.packet_in(&packet_in, now, &mut bridge.sockets);
            if !is_told && let Some(suppressed) = self.packet_in_log.allow(now) {
                tracing::warn!(
                    bridge = bridge.agent.name(),
                    table = packet_in.table,
                    suppressed,
                    "a rule sends packets to a controller, and none is there that wants them: they end here"
                );
            }
        }
        count
    }

    /// Hands packet-ins and the other notices to who is to have them.
    fn pass_notices_on(&mut self, switch: &mut Switch, now: Nanos) -> bool {
        let mut count = self.pass_packet_ins_on(switch, now);
        let (mut removed, mut samples) = (Vec::<FlowRemoved>::new(), Vec::<SampledPacket>::new());
        let ofproto = &mut switch.ofproto;
        count += ofproto.recv_flow_removed(&mut removed, NOTICES_PER_TURN_MAX);
        // Nobody collects OpenFlow samples but IPFIX exporters, which the workers serve.
        count += ofproto.recv_samples(&mut samples, NOTICES_PER_TURN_MAX);
        for flow in removed {
            let found = self.bridges.iter_mut().find(|known| known.agent.bridge() == flow.bridge);
            if let Some(bridge) = found {
                bridge.agent.flow_removed(&flow, &mut bridge.sockets);
            }
        }
        let mut is_busy = count > 0;
        for bridge in &mut self.bridges {
            bridge.agent.pass_updates_on(None, switch, &mut bridge.sockets);
            is_busy |= bridge.agent.catch_up(switch, &mut bridge.sockets);
        }
        is_busy
    }

    /// Looks at what changes with time.
    fn watch(&mut self, switch: &mut Switch, now: Nanos) {
        for index in 0..self.bridges.len() {
            self.open_doors(index, now);
            self.call(index, now);
            let bridge = &mut self.bridges[index];
            for (&token, socket) in &mut bridge.sockets {
                // That nothing was heard of one that is not listened to says nothing, while it reads.
                let is_unheard = bridge.agent.is_telling(token) || socket.session.is_behind();
                let is_stalled = now.since(socket.last_sent) >= STALL_TIME_MAX;
                if is_unheard && !is_stalled {
                    bridge.agent.excuse(token, now);
                } else if socket.at_end.is_none() {
                    socket.session.watch(now);
                }
            }
            bridge.snoopers.values_mut().for_each(|snooper| snooper.socket.session.watch(now));
            bridge.agent.watch_ports(switch, &mut bridge.sockets);
            bridge.agent.watch_tables(switch, &mut bridge.sockets);
            bridge.agent.follow_wishes(switch, &mut bridge.sockets);
            bridge.agent.watch_bundles(now, &mut bridge.sockets);
            bridge.agent.watch_requests(now, &mut bridge.sockets);
            bridge.follow_fail_mode(switch, now);
        }
    }

    fn open_doors(&mut self, index: usize, now: Nanos) {
        let Some(poll) = &self.poll else { return };
        let bridge = &mut self.bridges[index];
        for door in &mut bridge.listeners {
            if door.listener.is_some() || now < door.next_try {
                continue;
            }
            let token = self.next_token + 1;
            let opened = Listener::bind(&door.listen).and_then(|mut listener| {
                listener.register(poll, Token(token), true)?;
                Ok(listener)
            });
            match opened {
                Ok(listener) => {
                    self.next_token = token;
                    door.listener = Some((token, listener));
                    door.last_error = None;
                    tracing::debug!(bridge = bridge.agent.name(), "OpenFlow connections at {}", door.listen);
                }
                Err(error) => {
                    door.next_try = now.plus(Nanos::from_secs(5));
                    let error = error.to_string();
                    if door.last_error.as_ref() != Some(&error) {
                        let name = bridge.agent.name();
                        tracing::warn!(bridge = name, "no OpenFlow connections at {}: {error}", door.listen);
                    }
                    door.last_error = Some(error);
                }
            }
        }
    }

    fn call(&mut self, index: usize, now: Nanos) {
        if self.poll.is_none() {
            return;
        }
        for caller in 0..self.bridges[index].callers.len() {
            let bridge = &mut self.bridges[index];
            let it = &mut bridge.callers[caller];
            if it.socket.is_some() || !it.backoff.is_due(now) {
                continue;
            }
            match Stream::connect(&it.remote, bridge.tls.as_ref()) {
                Ok(stream) => self.admit(index, stream, Who::Called { caller }, now),
                Err(error) => {
                    it.backoff.failed(now, Nanos(0));
                    it.failures += 1;
                    it.past.failures += 1;
                    if is_news(it.failures) {
                        let (name, controller) = (bridge.agent.name(), it.remote.to_string());
                        tracing::warn!(
                            bridge = name,
                            controller,
                            tries = it.failures,
                            "not connected: {error}"
                        );
                    }
                    it.last_error = Some(error.to_string());
                }
            }
        }
    }
}

/// What waits to be done on behalf of controllers.
struct Backlog {
    commands: usize,
    packet_work: usize,
    removed: usize,
}

impl Backlog {
    fn of(switch: &mut Switch) -> Backlog {
        let ofproto = &mut switch.ofproto;
        Backlog {
            commands: ofproto.dpif().waiting_commands(),
            packet_work: ofproto.packet_work_waiting(),
            removed: ofproto.flow_removed_waiting(),
        }
    }

    /// Whether a message that has this done, and whether that sends packets, waits until less does. Only what adds to the
    /// backlog waits, with what comes after it on its connection: nobody else is kept from being heard.
    fn holds(&self, (work, sends_packets): (Work, bool)) -> bool {
        let is_full = self.commands > WAITING_CHANGES_MAX || self.removed > WAITING_REMOVED_MAX;
        let is_crowded = self.commands > WAITING_COMMANDS_MAX || self.packet_work > WAITING_WORK_MAX;
        match work {
            Work::Little => false,
            Work::Change => is_full,
            Work::Packet => is_crowded,
            Work::Commit(_) => is_full || (sends_packets && is_crowded),
        }
    }
}

/// What a connection's next message has done, and whether it sends packets.
fn work(token: usize, agent: &Agent, session: &Session) -> (Work, bool) {
    let (Some(frame), Some(version)) = (session.peek(), session.version()) else {
        return (Work::Little, false);
    };
    let work = Work::of(frame, version);
    let sends_packets = match work {
        Work::Packet => true,
        Work::Commit(bundle) => agent.sends_packets(token, bundle),
        Work::Little | Work::Change => false,
    };
    (work, sends_packets)
}

/// Whether the log is to have what happens so many times in a row.
fn is_news(times: u32) -> bool {
    times < 2 || times.is_multiple_of(64)
}

/// Who began a connection.
enum Who {
    /// We did: the bridge's controller with this index.
    Called { caller: usize },
    /// The peer did.
    Peer { peer: String, place: Listen },
}

/// Sessions of a bridge by token, for the agent to answer and to notify: those of its sockets, or, in a test, without any.
trait Sessions {
    /// That of a connection, while it is there.
    fn get(&mut self, token: usize) -> Option<&mut Session>;
}

impl Sessions for BTreeMap<usize, Socket> {
    fn get(&mut self, token: usize) -> Option<&mut Session> {
        self.get_mut(&token).map(|socket| &mut socket.session)
    }
}

impl Socket {
    fn new(
        stream: Stream,
        session: Session,
        place: Option<Listen>,
        is_connected: bool,
        now: Nanos,
    ) -> Socket {
        Socket {
            stream,
            session,
            place,
            begun: now,
            up_since: None,
            is_connected,
            at_end: None,
            last_sent: now,
            is_flushed: false,
            error: None,
        }
    }

    /// Gives one that has said no hello yet the time for it anew.
    fn begin_anew(&mut self, now: Nanos) {
        self.begun = now;
        self.session.excuse(now);
    }

    /// Reads once. Returns whether there may be more.
    fn read(&mut self, buffer: &mut [u8], now: Nanos) -> bool {
        match self.stream.read(buffer) {
            Ok(0) => {
                self.at_end.get_or_insert(now);
            }
            Ok(count) => {
                self.session.receive(&buffer[..count], now);
                return true;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => self.error = Some(error.to_string()),
        }
        false
    }

    fn write(&mut self, now: Nanos) {
        self.is_flushed = false;
        loop {
            let slices: Vec<io::IoSlice<'_>> =
                self.session.output_slices(WRITE_SLICES_MAX).map(io::IoSlice::new).collect();
            let written = if slices.is_empty() {
                match self.stream.flush() {
                    Ok(()) => {
                        self.is_flushed = true;
                        return;
                    }
                    Err(error) => Err(error),
                }
            } else {
                self.stream.write_vectored(&slices)
            };
            match written {
                Ok(count) => {
                    self.session.sent(count);
                    self.last_sent = now;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.error = Some(error.to_string());
                    return;
                }
            }
        }
    }

    /// Why it is over, if it is. One that sends no more may still wait for answers, some of which are under way.
    fn over(&self, is_telling: bool, now: Nanos) -> Option<String> {
        let closed = || Some("the peer closed the connection".to_owned());
        if let Some(error) = &self.error {
            return if self.at_end.is_some() { closed() } else { Some(error.clone()) };
        }
        if let Some(end) = self.session.end() {
            return Some(end.to_string());
        }
        if let Some(since) = self.at_end {
            let is_answered = !is_telling
                && !self.session.has_input()
                && self.session.output().is_empty()
                && self.is_flushed;
            let is_late = now.since(since.max(self.last_sent)) >= STALL_TIME_MAX;
            return if is_answered || is_late { closed() } else { None };
        }
        let is_late = !self.is_connected && now.since(self.begun) >= CONNECT_TIME_MAX;
        is_late.then(|| "nobody answers".to_owned())
    }
}

impl Bridge {
    fn new(agent: Agent, now: Nanos) -> Bridge {
        Bridge {
            agent,
            config: OpenFlowConfig::default(),
            tls: None,
            callers: Vec::new(),
            listeners: Vec::new(),
            management: Listen::Unix(PathBuf::new()),
            sockets: BTreeMap::new(),
            snoopers: BTreeMap::new(),
            alone_since: Some(now),
        }
    }

    fn door(&self, token: usize) -> Option<usize> {
        let is_it = |door: &Door| door.listener.as_ref().is_some_and(|(it, _)| *it == token);
        self.listeners.iter().position(is_it)
    }

    /// Takes a configuration; returns tokens of connections that are to end.
    fn configure(&mut self, config: &OpenFlowConfig, run_dir: &Path) -> Vec<usize> {
        let mut listens: Vec<(Listen, bool)> =
            config.listen.iter().map(|listen| (listen.clone(), false)).collect();
        self.management = Listen::Unix(run_dir.join(format!("{}.mgmt", self.agent.name())));
        if config.management_socket {
            let snoop = Listen::Unix(run_dir.join(format!("{}.snoop", self.agent.name())));
            listens.extend([(self.management.clone(), false), (snoop, true)]);
        }
        self.listeners.retain(|door| listens.iter().any(|(listen, _)| *listen == door.listen));
        for (listen, is_for_snoopers) in listens {
            if !self.listeners.iter().any(|door| door.listen == listen) {
                let (listener, last_error, past, next_try) = (None, None, Past::default(), Nanos(0));
                self.listeners.push(Door { listen, is_for_snoopers, listener, next_try, last_error, past });
            }
        }
        if self.callers.is_empty() {
            // The first one has as much time to come as one that has gone.
            self.alone_since = None;
        }
        let is_kept = |caller: &Caller| config.controllers.contains(&caller.remote);
        let mut gone: Vec<usize> = self
            .callers
            .iter()
            .filter(|caller| !is_kept(caller))
            .filter_map(|caller| caller.socket)
            .collect();
        self.callers.retain(is_kept);
        for remote in &config.controllers {
            if !self.callers.iter().any(|caller| caller.remote == *remote) {
                let backoff = Backoff::new(config.backoff_max);
                let (socket, last_error) = (None, None);
                self.callers.push(Caller {
                    remote: remote.clone(),
                    backoff,
                    socket,
                    last_error,
                    failures: 0,
                    past: Past::default(),
                    flaps: 0,
                });
            }
        }
        // Who came by a place that is no more goes with it.
        let is_there = |place: &Listen| self.listeners.iter().any(|door| door.listen == *place);
        let homeless = |socket: &Socket| socket.place.as_ref().is_some_and(|place| !is_there(place));
        gone.extend(self.sockets.iter().filter(|(_, socket)| homeless(socket)).map(|(token, _)| *token));
        if config.versions != self.config.versions {
            // Versions are agreed on at the start of a connection.
            gone.extend(self.sockets.keys());
        }
        if config.tls != self.config.tls {
            self.tls = None;
        }
        self.agent.set_rate_limit(config.rate_limit);
        self.config = config.clone();
        self.read_certificates();
        gone
    }

    fn read_certificates(&mut self) {
        let Some(tls) = &self.config.tls else { return };
        match TlsParts::load(tls) {
            Ok(parts) => self.tls = Some(parts),
            Err(error) => tracing::error!(bridge = self.agent.name(), "openflow.tls: {error}"),
        }
    }

    /// In standalone mode a bridge whose controllers are away forwards as a learning switch does.
    fn follow_fail_mode(&mut self, switch: &mut Switch, now: Nanos) {
        let is_up = |caller: &Caller| {
            let socket = caller.socket.and_then(|token| self.sockets.get(&token));
            socket.is_some_and(|socket| socket.session.version().is_some())
        };
        let is_connected = self.callers.iter().any(is_up);
        if is_connected {
            self.alone_since = None;
        }
        let alone_since = if is_connected { None } else { Some(*self.alone_since.get_or_insert(now)) };
        let probe = self.config.probe_interval.unwrap_or(Nanos::from_secs(5));
        let is_long = alone_since.is_some_and(|since| now.since(since) >= Nanos(probe.0 * 3));
        let is_standalone =
            self.config.fail_mode == FailMode::Standalone && !self.callers.is_empty() && is_long;
        let Some(settings) = switch.ofproto.bridge(self.agent.bridge()) else { return };
        if settings.is_standalone == is_standalone {
            return;
        }
        let settings = crate::ofproto::BridgeConfig { is_standalone, ..settings.clone() };
        if let Err(error) = switch.ofproto.bridge_set(self.agent.bridge(), settings) {
            tracing::error!(bridge = self.agent.name(), "fail mode: {error}");
        } else if is_standalone {
            tracing::warn!(bridge = self.agent.name(), "no controller: forwarding as a learning switch");
        } else {
            let why = if is_connected { "a controller is there" } else { "it is to do without a controller" };
            tracing::info!(bridge = self.agent.name(), "{why}: forwarding by its rules");
        }
    }
}
