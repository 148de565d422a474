//! The server side of the control socket: a unix stream socket in the control thread's loop.
//!
//! # Why so
//! [`protocol`] turns bytes into calls of a [`ControlHandler`] and replies into bytes; this file owns sockets
//! and nothing else; [`path`] settles whose socket it is. All run inside the control thread's one `mio` loop, so
//! a request sees the switch between two of its steps, and needs no lock.
//!
//! A client is as hostile as anything from outside, if less likely to be so. It can't grow the switch: a
//! connection whose replies are not read is soon answered no further request, and one that reads nothing for
//! [`STALL_MAX`] is dropped and counted. It can't starve the loop: a connection gets [`TURN_STEPS_MAX`] steps a
//! turn, none longer than one request even in a batch, and what is left comes back as a fresh event (registering anew with an edge-triggered poll reports a
//! socket that is ready, again).
//!
//! # Threads
//! The control thread.
//!
//! # Bounds
//! Connections: as many as tokens, at most [`CONNECTION_COUNT_MAX`]. When all are taken, a new client takes the
//! place of the one that has been silent for longest, if that is [`SILENCE_MIN`] or more; otherwise it is told
//! so and turned away. Replies that wait to be read take [`OUTPUT_SIZE_MAX`] bytes over all connections.
//!
//! # Leaves out
//! Who may do what: whoever may open the socket may do everything; its mode and directory decide.

mod path;
pub mod protocol;

use crate::sync::{Nanos, RateLimit};
use crate::vswitchd::api;
use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use path::OwnedPath;
use protocol::Session;
use std::fmt;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Connections at once, at most. People and scripts need a few.
pub const CONNECTION_COUNT_MAX: usize = 64;

/// Bytes of replies that wait to be read, over all connections: a dump of 100 000 megaflows is some 40 MB.
pub const OUTPUT_SIZE_MAX: usize = 128 << 20;

/// A client that reads nothing of its reply for so long is dropped.
pub const STALL_MAX: Nanos = Nanos::from_secs(30);

/// A client that has been silent for so long loses its connection to a new one if none is free.
pub const SILENCE_MIN: Nanos = Nanos::from_secs(10);

/// Requests and reads of one connection in one turn of the loop. A step can be an `add-flow`, which takes
/// milliseconds where there are many megaflows to check again; all connections together take at most 256 steps.
const TURN_STEPS_MAX: usize = 4;

/// Replies are sent together up to about so many bytes: small ones to pipelined requests share a system call.
const OUTPUT_SIZE_BATCH: usize = 64 << 10;

/// Bytes taken from a socket at once.
const READ_SIZE: usize = 16 << 10;

/// Where control sockets are, unless the command line says otherwise.
pub const RUN_DIRECTORY: &str = "/run/penstock";

/// The control socket of the switch of that name: `/run/penstock/NAME.sock`.
pub fn socket_path(name: &str) -> PathBuf {
    Path::new(RUN_DIRECTORY).join(format!("{name}.sock"))
}

/// The name of the switch whose control socket is at `path`: the file's name without `.sock`.
pub fn switch_name(path: &Path) -> String {
    path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// What carries out requests: the switch. Called on the control thread, never while it is in the middle of
/// something. A `stop` is answered before the switch ends: note it, return, and stop after
/// [`ControlServer::handle`] has come back.
pub trait ControlHandler {
    /// Carries out one request.
    ///
    /// # Errors
    /// [`api::Error`] for the client, saying what is wrong, where, and what to do.
    fn call(&mut self, request: api::Request) -> Result<api::Reply, api::Error>;
}

/// Why the control socket can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The path is another's.
    #[error(
        "another switch named {name} is running ({}) and has the control socket {}: stop it, or give this \
         one another name (switch.name in its configuration)",
        match pid { Some(pid) => format!("pid {pid}"), None => "pid unknown".to_owned() },
        path.display()
    )]
    AnotherRunning {
        /// The name that both want.
        name: String,
        /// The other's process, if it told.
        pid: Option<u32>,
        /// The socket.
        path: PathBuf,
    },
    /// Something at the path is no socket, and we don't remove what we don't know.
    #[error("control socket {}: there is a file of another kind: remove it, or choose another path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// In place of the lock file is something else, a symbolic link perhaps, and we follow none.
    #[error("control socket lock {}: it is no regular file: remove it, or choose another path", path.display())]
    NotALock {
        /// The lock file's path.
        path: PathBuf,
    },
    /// The system said no.
    #[error("control socket {}: cannot {step}: {source}", path.display())]
    Io {
        /// To what.
        step: IoStep,
        /// The socket's path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The token range has no room for a listener and one connection.
    #[error("control socket: {0} tokens are too few: one for the listener and one for each connection")]
    TooFewTokens(usize),
}

/// What the system said no to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IoStep {
    /// Making the directory.
    CreateDirectory,
    /// Locking `PATH.lock`.
    Lock,
    /// Finding out what is at the path.
    Inspect,
    /// Binding.
    Bind,
    /// Entering it into the poll.
    Register,
}

impl fmt::Display for IoStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IoStep::CreateDirectory => "create its directory",
            IoStep::Lock => "lock it (file with .lock added)",
            IoStep::Inspect => "tell whether it is in use",
            IoStep::Bind => "create it",
            IoStep::Register => "poll it",
        })
    }
}

/// What the server counted since it started.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ControlStats {
    /// Connections open now.
    pub connections: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections turned away because none was free.
    pub refused: u64,
    /// Requests carried out, those that failed too.
    pub requests: u64,
    /// Answers that were errors.
    pub errors: u64,
    /// Connections dropped because their client did not read.
    pub dropped_stalled: u64,
    /// Connections that gave way to a new one because they were silent.
    pub dropped_silent: u64,
}

/// The control socket.
#[derive(Debug)]
pub struct ControlServer {
    listener: UnixListener,
    path: OwnedPath,
    registry: Option<Registry>,
    tokens: Range<usize>,
    /// The connection of token `tokens.start + 1 + index`.
    connections: Vec<Option<Connection>>,
    /// Clients may wait to be accepted, without another event to tell of them.
    is_accept_due: bool,
    stats: ControlStats,
    accept_log: RateLimit,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    session: Session,
    /// The client sends no more.
    is_at_end: bool,
    /// When bytes last moved.
    last_active: Nanos,
}

/// What became of a connection's turn.
enum Turn {
    /// It waits for its socket.
    Waits,
    /// It could go on.
    HasMore,
    /// It is over.
    Ends,
}

impl ControlServer {
    /// Takes the path and listens on it; `mode` is the socket's, for example `0o660`. The directory is made if
    /// it is missing. What a dead switch left is removed, with a note in the log. The files go when the server is
    /// dropped.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn bind(path: &Path, mode: u32) -> Result<ControlServer, ControlError> {
        let mut path = OwnedPath::take(path)?;
        let listener = UnixListener::from_std(path.listen(mode)?);
        Ok(ControlServer {
            listener,
            path,
            registry: None,
            tokens: 0..0,
            connections: Vec::new(),
            is_accept_due: false,
            stats: ControlStats::default(),
            accept_log: RateLimit::new(5, Nanos::from_secs(60)),
        })
    }

    /// Enters the socket into a poll. The first token is the listener's, each further one a connection's.
    ///
    /// # Errors
    /// [`ControlError::TooFewTokens`], [`ControlError::Io`].
    pub fn register(&mut self, registry: &Registry, tokens: Range<usize>) -> Result<(), ControlError> {
        if tokens.len() < 2 {
            return Err(ControlError::TooFewTokens(tokens.len()));
        }
        let registered = registry.try_clone().and_then(|registry| {
            registry.register(&mut self.listener, Token(tokens.start), Interest::READABLE)?;
            Ok(registry)
        });
        self.registry = Some(registered.map_err(|source| {
            let path = self.path.path().to_owned();
            ControlError::Io { step: IoStep::Register, path, source }
        })?);
        self.connections.resize_with((tokens.len() - 1).min(CONNECTION_COUNT_MAX), || None);
        self.tokens = tokens;
        Ok(())
    }

    /// Whether an event with this token is for this server.
    pub fn owns(&self, token: Token) -> bool {
        self.tokens.contains(&token.0)
    }

    /// Does what an event asks for. Requests are carried out and answered in here.
    pub fn handle(&mut self, token: Token, now: Nanos, handler: &mut dyn ControlHandler) {
        if token.0 == self.tokens.start {
            self.accept(now);
            return;
        }
        let index = token.0.wrapping_sub(self.tokens.start + 1);
        let waiting: usize = self.connections.iter().flatten().map(|c| c.session.output().len()).sum();
        // An event of a connection that ended in the same turn of the loop finds nobody.
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return };
        let turn = connection.turn(now, handler, OUTPUT_SIZE_MAX.saturating_sub(waiting));
        let counted = connection.session.take_stats();
        self.stats.requests += counted.requests;
        self.stats.errors += counted.errors;
        match turn {
            Turn::Waits => {}
            Turn::HasMore => {
                if self.rearm(index).is_err() {
                    self.close(index);
                }
            }
            Turn::Ends => self.close(index),
        }
    }

    /// Drops clients that don't read, and accepts those that could not be accepted before. Call it about once a
    /// second. Returns how many were dropped.
    pub fn expire(&mut self, now: Nanos) -> usize {
        let mut dropped = 0;
        for index in 0..self.connections.len() {
            let is_stalled = self.connections[index].as_ref().is_some_and(|connection| {
                !connection.session.output().is_empty() && now.since(connection.last_active) >= STALL_MAX
            });
            if is_stalled {
                self.close(index);
                dropped += 1;
            }
        }
        self.stats.dropped_stalled += dropped as u64;
        if self.is_accept_due {
            self.accept(now);
        }
        dropped
    }

    /// What was counted.
    pub fn stats(&self) -> ControlStats {
        ControlStats { connections: self.connections.iter().flatten().count() as u64, ..self.stats }
    }

    fn accept(&mut self, now: Nanos) {
        self.is_accept_due = true;
        for _ in 0..CONNECTION_COUNT_MAX {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_accept_due = false;
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if let Some(suppressed) = self.accept_log.allow(now) {
                        tracing::warn!(
                            "control socket {}: cannot accept a client, will try again: {error} ({suppressed} \
                             more like this)",
                            self.path.path().display()
                        );
                    }
                    return;
                }
            }
        }
    }

    fn admit(&mut self, mut stream: UnixStream, now: Nanos) {
        let Some(index) = self.free_connection(now) else {
            self.stats.refused += 1;
            let error = api::Error::new(
                api::ErrorCode::TooManyConnections,
                format!("all {} connections are in use: try again later", self.connections.len()),
            );
            // A fresh socket's buffer takes a line; a client that is gone by now needs none.
            let _ = stream.write(&protocol::error_line(&error));
            return;
        };
        let token = Token(self.tokens.start + 1 + index);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.registry.as_ref().map(|r| r.register(&mut stream, token, interest));
        if let Some(Ok(())) = registered {
            let session = Session::new();
            self.connections[index] =
                Some(Connection { stream, session, is_at_end: false, last_active: now });
            self.stats.accepted += 1;
        }
    }

    /// A place for a connection: a free one, or that of the client that has been silent for longest.
    fn free_connection(&mut self, now: Nanos) -> Option<usize> {
        if let Some(free) = self.connections.iter().position(Option::is_none) {
            return Some(free);
        }
        let silent = |connection: &Connection| connection.session.output().is_empty();
        let (index, last_active) = self
            .connections
            .iter()
            .enumerate()
            .filter_map(|(index, connection)| Some((index, connection.as_ref()?)))
            .filter(|(_, connection)| silent(connection))
            .map(|(index, connection)| (index, connection.last_active))
            .min_by_key(|&(_, last_active)| last_active)?;
        if now.since(last_active) < SILENCE_MIN {
            return None;
        }
        self.close(index);
        self.stats.dropped_silent += 1;
        Some(index)
    }

    /// Has the poll report the connection again if it is ready.
    fn rearm(&mut self, index: usize) -> io::Result<()> {
        let token = Token(self.tokens.start + 1 + index);
        match (&self.registry, &mut self.connections[index]) {
            (Some(registry), Some(connection)) => {
                registry.reregister(&mut connection.stream, token, Interest::READABLE | Interest::WRITABLE)
            }
            _ => Ok(()),
        }
    }

    fn close(&mut self, index: usize) {
        if let Some(mut connection) = self.connections[index].take()
            && let Some(registry) = &self.registry
        {
            // Closing the socket takes it out of the poll anyway.
            let _ = registry.deregister(&mut connection.stream);
        }
    }
}

impl Connection {
    /// Answers, sends and reads until the socket has to wait, the turn's steps are used up, or it is over.
    ///
    /// Once [`OUTPUT_SIZE_BATCH`] bytes wait, a further request is answered only when all of them are sent.
    fn turn(&mut self, now: Nanos, handler: &mut dyn ControlHandler, output_room: usize) -> Turn {
        let mut buffer = [0; READ_SIZE];
        for _ in 0..TURN_STEPS_MAX {
            let is_batch_full = self.session.output().len() >= OUTPUT_SIZE_BATCH;
            if !is_batch_full && self.session.answer_next(handler, output_room) {
                continue;
            }
            match self.send(now) {
                Turn::HasMore => {}
                turn => return turn,
            }
            if is_batch_full {
                continue;
            }
            if self.session.is_closing() || self.is_at_end {
                return Turn::Ends;
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.is_at_end = true;
                    self.session.receive_end();
                }
                Ok(count) => {
                    self.session.receive(&buffer[..count]);
                    self.last_active = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Waits,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Turn::Ends,
            }
        }
        self.send(now)
    }

    /// Sends what waits: [`Turn::HasMore`] when all of it is sent.
    fn send(&mut self, now: Nanos) -> Turn {
        while !self.session.output().is_empty() {
            match self.stream.write(self.session.output()) {
                Ok(0) => return Turn::Ends,
                Ok(count) => {
                    self.session.sent(count);
                    self.last_active = now;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Waits,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Turn::Ends,
            }
        }
        Turn::HasMore
    }
}

#[cfg(test)]
mod tests;
