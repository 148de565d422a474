//! The metrics port's sockets: a TCP listener and its connections in the control thread's loop.
//!
//! # Bounds
//! As many connections as tokens, at most [`CONNECTION_COUNT_MAX`]; a client beyond that is turned away and
//! counted. A connection gets [`TURN_STEPS_MAX`] steps in one turn of the loop; what is left comes back as a fresh
//! event. Slow clients go when [`MetricsServer::expire`] is called.
//!
//! # Threads
//! The control thread.

use super::http::HttpSession;
use super::snapshot::HttpMetrics;
use crate::sync::{Nanos, RateLimit};
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::ops::Range;

/// Connections at once, at most: a few Prometheus servers and a person.
pub const CONNECTION_COUNT_MAX: usize = 32;

/// Requests and reads of one connection in one turn of the loop: each scrape is work for the control thread.
const TURN_STEPS_MAX: usize = 8;

/// Bytes taken from a socket at once: with what is kept before, never much more than one request's head.
const READ_SIZE: usize = 4 << 10;

/// Why metrics can't be served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsServerError {
    /// The address is another's.
    #[error(
        "metrics address {address} is in use by another process: choose another port, or stop it (ss -ltnp \
         shows which it is)"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The system said no.
    #[error("metrics address {address}: cannot {step}: {source}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// To what.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The token range has no room for a listener and one connection.
    #[error(
        "metrics address {address}: {count} tokens are too few: one for the listener and one for each connection"
    )]
    TooFewTokens {
        /// The address.
        address: SocketAddr,
        /// How many there are.
        count: usize,
    },
}

/// The metrics port.
#[derive(Debug)]
pub struct MetricsServer {
    listener: TcpListener,
    address: SocketAddr,
    registry: Option<Registry>,
    tokens: Range<usize>,
    /// The connection of token `tokens.start + 1 + index`.
    connections: Vec<Option<Connection>>,
    /// Clients may wait to be accepted, without another event to tell of them.
    is_accept_due: bool,
    stats: HttpMetrics,
    accept_log: RateLimit,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    session: HttpSession,
    /// The last response is sent and our side shut down: what still comes is thrown away. Closing with bytes
    /// unread would reset the connection, and the client might lose the response (RFC 9112 section 9.6).
    is_draining: bool,
}

/// What became of a connection's turn.
enum Turn {
    Waits,
    HasMore,
    Ends,
}

impl MetricsServer {
    /// Listens on the address; port 0 takes any free one.
    ///
    /// # Errors
    /// [`MetricsServerError`].
    pub fn bind(address: SocketAddr) -> Result<MetricsServer, MetricsServerError> {
        let listener = TcpListener::bind(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => MetricsServerError::AddressInUse { address },
            _ => MetricsServerError::Io { address, step: "listen", source },
        })?;
        let address = listener.local_addr().unwrap_or(address);
        Ok(MetricsServer {
            listener,
            address,
            registry: None,
            tokens: 0..0,
            connections: Vec::new(),
            is_accept_due: false,
            stats: HttpMetrics::default(),
            accept_log: RateLimit::new(5, Nanos::from_secs(60)),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Enters the listener into a poll. The first token is the listener's, each further one a connection's.
    ///
    /// # Errors
    /// [`MetricsServerError::TooFewTokens`], [`MetricsServerError::Io`].
    pub fn register(&mut self, registry: &Registry, tokens: Range<usize>) -> Result<(), MetricsServerError> {
        let address = self.address;
        if tokens.len() < 2 {
            return Err(MetricsServerError::TooFewTokens { address, count: tokens.len() });
        }
        let registered = registry.try_clone().and_then(|registry| {
            registry.register(&mut self.listener, Token(tokens.start), Interest::READABLE)?;
            Ok(registry)
        });
        self.registry =
            Some(registered.map_err(|source| MetricsServerError::Io { address, step: "poll it", source })?);
        self.connections.resize_with((tokens.len() - 1).min(CONNECTION_COUNT_MAX), || None);
        self.tokens = tokens;
        Ok(())
    }

    /// Whether an event with this token is for this server.
    pub fn owns(&self, token: Token) -> bool {
        self.tokens.contains(&token.0)
    }

    /// Does what an event asks for. `metrics` is called for each scrape, with what this port counts itself, and
    /// returns the text.
    pub fn handle(&mut self, token: Token, now: Nanos, metrics: &mut dyn FnMut(HttpMetrics) -> String) {
        if token.0 == self.tokens.start {
            self.accept(now);
            return;
        }
        let index = token.0.wrapping_sub(self.tokens.start + 1);
        let stats = self.stats();
        // An event of a connection that ended in the same turn of the loop finds nobody.
        let Some(connection) = self.connections.get_mut(index).and_then(Option::as_mut) else { return };
        let turn = connection.turn(now, &mut || metrics(stats));
        let counted = connection.session.take_stats();
        self.stats.scrapes += counted.scrapes;
        self.stats.errors += counted.errors;
        let is_over = match turn {
            Turn::Waits => false,
            Turn::HasMore => self.rearm(index).is_err(),
            Turn::Ends => true,
        };
        if is_over {
            self.close(index);
        }
    }

    /// Drops clients that are too slow, and accepts those that could not be accepted before. Call it about once
    /// a second. Returns how many were dropped.
    pub fn expire(&mut self, now: Nanos) -> usize {
        let mut dropped = 0;
        for index in 0..self.connections.len() {
            if self.connections[index].as_ref().is_some_and(|c| c.session.is_expired(now)) {
                self.close(index);
                dropped += 1;
            }
        }
        self.stats.dropped += dropped as u64;
        if self.is_accept_due {
            self.accept(now);
        }
        dropped
    }

    /// What was counted.
    pub fn stats(&self) -> HttpMetrics {
        HttpMetrics { connections: self.connections.iter().flatten().count() as u64, ..self.stats }
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
                            "metrics address {}: cannot accept a client, will try again: {error} ({suppressed} \
                             more like this)",
                            self.address
                        );
                    }
                    return;
                }
            }
        }
    }

    fn admit(&mut self, mut stream: TcpStream, now: Nanos) {
        let free = self.connections.iter().position(Option::is_none);
        let (Some(index), Some(registry)) = (free, &self.registry) else {
            self.stats.dropped += 1;
            return;
        };
        let token = Token(self.tokens.start + 1 + index);
        if registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).is_ok() {
            self.connections[index] =
                Some(Connection { stream, session: HttpSession::new(now), is_draining: false });
        }
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
    /// Sends, answers and reads until the socket has to wait, the turn's steps are used up, or it is over.
    fn turn(&mut self, now: Nanos, metrics: &mut dyn FnMut() -> String) -> Turn {
        let mut buffer = [0; READ_SIZE];
        for _ in 0..TURN_STEPS_MAX {
            while !self.session.output().is_empty() {
                match self.stream.write(self.session.output()) {
                    Ok(0) => return Turn::Ends,
                    Ok(count) => self.session.sent(count, now),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Waits,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return Turn::Ends,
                }
            }
            if self.session.answer_next(now, metrics) {
                continue;
            }
            if self.session.is_closing() && !self.is_draining {
                self.is_draining = true;
                if self.stream.shutdown(Shutdown::Write).is_err() {
                    return Turn::Ends;
                }
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Turn::Ends,
                Ok(_) if self.is_draining => {}
                Ok(count) => self.session.receive(&buffer[..count], now),
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
