//! The client side of the control socket: one request at a time, every wait with an end.
//!
//! # Threads
//! Blocks the calling thread; never used on the control thread once the switch runs.
//!
//! # Bounds
//! A deadline for each call, connecting included; [`REPLY_SIZE_MAX`] bytes of reply.

use crate::vswitchd::api::{self, Reply, Request};
use crate::vswitchd::control::{OUTPUT_SIZE_MAX, switch_name};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest reply line: what a server may send, and a little for what is around it.
pub const REPLY_SIZE_MAX: usize = OUTPUT_SIZE_MAX + 4096;

/// Why a call has no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error(
        "no switch named {} is running: nobody answers on {}: start penstockd, or say --name or --socket",
        switch_name(path), path.display()
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// We may not connect.
    #[error("no permission to use {}: try as root, or as a user of the socket's group", path.display())]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// It took too long.
    #[error(
        "the switch did not answer on {} within {} s: it is stuck or very busy: see its log, or wait longer \
         with --timeout",
        path.display(), timeout.as_secs_f64()
    )]
    Timeout {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        timeout: Duration,
    },
    /// The connection broke.
    #[error("the connection to {} broke: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The switch closed the connection without an answer.
    #[error("the switch on {} closed the connection without an answer: see its log", path.display())]
    Closed {
        /// The socket.
        path: PathBuf,
    },
    /// The reply is longer than is sensible.
    #[error("the reply from {} is longer than {REPLY_SIZE_MAX} bytes: ask for less", path.display())]
    TooLarge {
        /// The socket.
        path: PathBuf,
    },
    /// What came is no reply to what was asked.
    #[error(
        "what answers on {} does not speak this version's language ({source}): use the penstockctl that came \
         with the switch",
        path.display()
    )]
    Malformed {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The switch says no.
    #[error(transparent)]
    Refused(#[from] api::Error),
}

impl ClientError {
    /// Whether there is certainly no switch at the other end.
    pub fn is_nobody_there(&self) -> bool {
        matches!(self, ClientError::NotRunning { .. })
    }
}

/// A connection to a switch.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
    timeout: Duration,
    next_id: u64,
}

/// A JSON-RPC 2.0 response (section 5).
#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    result: Option<Value>,
    #[serde(default)]
    error: Option<api::Error>,
}

impl Client {
    /// Connects; each call may take up to `timeout`.
    ///
    /// # Errors
    /// [`ClientError::NotRunning`], [`ClientError::Permission`], [`ClientError::Timeout`], [`ClientError::Io`].
    pub fn connect(path: &Path, timeout: Duration) -> Result<Client, ClientError> {
        let deadline = Instant::now() + timeout;
        let path = path.to_owned();
        // A blocking connect waits without end for a listener that does not accept; this one says EAGAIN.
        let stream = loop {
            match mio::net::UnixStream::connect(&path) {
                Ok(stream) => break UnixStream::from(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() >= deadline {
                        return Err(ClientError::Timeout { path, timeout });
                    }
                    std::thread::sleep(Duration::from_millis(10).min(timeout));
                }
                Err(error) => return Err(connect_error(path, error)),
            }
        };
        match stream.set_nonblocking(false) {
            Ok(()) => Ok(Client { stream, path, timeout, next_id: 1 }),
            Err(source) => Err(ClientError::Io { path, source }),
        }
    }

    /// Asks, waits and returns the reply: as it came, and as read.
    ///
    /// # Errors
    /// [`ClientError`]; after any but [`ClientError::Refused`] the connection is of no more use.
    pub fn call(&mut self, request: &Request) -> Result<(Value, Reply), ClientError> {
        let deadline = Instant::now() + self.timeout;
        let id = self.next_id;
        self.next_id += 1;
        let mut line = json!({
            "jsonrpc": "2.0", "method": request.method(), "params": request.params(), "id": id
        })
        .to_string();
        line.push('\n');
        let line = self.exchange(line.as_bytes(), deadline)?;
        let malformed = |source| ClientError::Malformed { path: self.path.clone(), source };
        let response: Response = serde_json::from_slice(&line).map_err(malformed)?;
        if let Some(error) = response.error {
            return Err(ClientError::Refused(error));
        }
        let result = response.result.unwrap_or(Value::Null);
        let reply = Reply::from_result(request, result.clone()).map_err(malformed)?;
        Ok((result, reply))
    }

    /// Sends a line and waits for one.
    fn exchange(&mut self, request: &[u8], deadline: Instant) -> Result<Vec<u8>, ClientError> {
        self.stream.set_write_timeout(Some(self.timeout)).map_err(|source| self.io_error(source))?;
        match self.stream.write_all(request) {
            Ok(()) => {}
            // The switch turned us away: why stands in what can still be read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(self.io_error(error)),
        }
        let mut line = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ClientError::Timeout { path: self.path.clone(), timeout: self.timeout });
            }
            self.stream.set_read_timeout(Some(left)).map_err(|source| self.io_error(source))?;
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ClientError::Closed { path: self.path.clone() }),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.io_error(error)),
            };
            let newline = buffer[..count].iter().position(|&byte| byte == b'\n');
            line.extend_from_slice(&buffer[..newline.unwrap_or(count)]);
            if newline.is_some() {
                return Ok(line);
            }
            if line.len() > REPLY_SIZE_MAX {
                return Err(ClientError::TooLarge { path: self.path.clone() });
            }
        }
    }

    fn io_error(&self, source: io::Error) -> ClientError {
        let path = self.path.clone();
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::Timeout { path, timeout: self.timeout }
            }
            io::ErrorKind::ConnectionReset => ClientError::Closed { path },
            _ => ClientError::Io { path, source },
        }
    }
}

fn connect_error(path: PathBuf, source: io::Error) -> ClientError {
    match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NotRunning { path },
        io::ErrorKind::PermissionDenied => ClientError::Permission { path },
        _ => ClientError::Io { path, source },
    }
}
