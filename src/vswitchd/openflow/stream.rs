//! Sockets of OpenFlow connections: TCP, unix and TLS, all without blocking.

use super::tls::{TlsError, TlsParts};
use crate::openflow::endpoint::{Listen, Remote};
use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A connected socket, or one that is connecting.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

/// TLS over TCP.
#[derive(Debug)]
pub(super) struct TlsStream {
    connection: rustls::Connection,
    socket: TcpStream,
}

impl Stream {
    /// Begins to connect.
    pub(super) fn connect(remote: &Remote, tls: Option<&TlsParts>) -> Result<Stream, ConnectError> {
        Ok(match remote {
            Remote::Tcp(address) => Stream::Tcp(TcpStream::connect(*address)?),
            Remote::Unix(path) => Stream::Unix(UnixStream::connect(path)?),
            Remote::Tls(address) => {
                let tls = tls.ok_or(ConnectError::NoCertificate)?;
                let connection = tls.client(address.ip())?;
                let socket = TcpStream::connect(*address)?;
                Stream::Tls(Box::new(TlsStream { connection: connection.into(), socket }))
            }
        })
    }

    /// What its connecting has come to: an error if it failed.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        match self {
            Stream::Tcp(socket) => socket.take_error().ok().flatten(),
            Stream::Unix(socket) => socket.take_error().ok().flatten(),
            Stream::Tls(stream) => stream.socket.take_error().ok().flatten(),
        }
    }

    /// Whether it is connected: one that is not has no peer yet.
    pub(super) fn is_connected(&self) -> bool {
        match self {
            Stream::Tcp(socket) => socket.peer_addr().is_ok(),
            Stream::Unix(socket) => socket.peer_addr().is_ok(),
            Stream::Tls(stream) => stream.socket.peer_addr().is_ok(),
        }
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(socket) => socket,
            Stream::Unix(socket) => socket,
            Stream::Tls(stream) => &mut stream.socket,
        }
    }

    /// Enters it into a poll, or, a second time, has the poll tell again of what it is ready for.
    pub(super) fn register(&mut self, registry: &Registry, token: Token, is_new: bool) -> io::Result<()> {
        let interests = Interest::READABLE | Interest::WRITABLE;
        if is_new {
            self.source().register(registry, token, interests)
        } else {
            self.source().reregister(registry, token, interests)
        }
    }

    /// Takes it out of a poll.
    pub(super) fn deregister(&mut self, registry: &Registry) {
        // The poll forgets a socket that is closed by itself.
        drop(self.source().deregister(registry));
    }

    /// Sends small messages at once, not when more are there.
    pub(super) fn set_nodelay(&self) {
        let set = match self {
            Stream::Tcp(socket) => socket.set_nodelay(true),
            Stream::Unix(_) => Ok(()),
            Stream::Tls(stream) => stream.socket.set_nodelay(true),
        };
        if let Err(error) = set {
            tracing::debug!("a connection's small messages may be late: {error}");
        }
    }
}

/// Why a connection can't even begin.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("TLS needs openflow.tls: certificate, private_key and ca_certificate")]
    NoCertificate,
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl TlsStream {
    /// Moves what TLS has to say to the socket.
    fn push(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    fn pull(&mut self) -> io::Result<usize> {
        let count = self.connection.read_tls(&mut self.socket)?;
        if let Err(error) = self.connection.process_new_packets() {
            // The alert that tells the peer why.
            drop(self.push());
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("TLS: {error}")));
        }
        Ok(count)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => socket.read(buffer),
            Stream::Unix(socket) => socket.read(buffer),
            Stream::Tls(stream) => loop {
                match stream.connection.reader().read(buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // A peer that closed without a goodbye in TLS has closed all the same.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                    read => return read,
                }
                let is_at_end = stream.pull()? == 0;
                match stream.push() {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ if is_at_end => return Ok(0),
                    _ => {}
                }
            },
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[io::IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(socket) => socket.write_vectored(slices),
            Stream::Unix(socket) => socket.write_vectored(slices),
            Stream::Tls(stream) => {
                stream.push()?;
                if stream.connection.is_handshaking() {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let count = stream.connection.writer().write_vectored(slices)?;
                match stream.push() {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                    // What the socket did not take waits in TLS, within its bound.
                    _ if count == 0 => Err(io::ErrorKind::WouldBlock.into()),
                    _ => Ok(count),
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tls(stream) => stream.push(),
            Stream::Tcp(_) | Stream::Unix(_) => Ok(()),
        }
    }
}

/// A socket that waits for peers. A unix socket's file goes with it.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp { socket: TcpListener, is_tls: bool },
    Unix { socket: UnixListener, path: PathBuf },
}

impl Listener {
    /// Listens. A socket's file that nobody serves is taken over.
    pub(super) fn bind(listen: &Listen) -> io::Result<Listener> {
        Ok(match listen {
            Listen::Tcp(address) => Listener::Tcp { socket: TcpListener::bind(*address)?, is_tls: false },
            Listen::Tls(address) => Listener::Tcp { socket: TcpListener::bind(*address)?, is_tls: true },
            Listen::Unix(path) => Listener::Unix { socket: bind_unix(path)?, path: path.clone() },
        })
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token, is_new: bool) -> io::Result<()> {
        let source: &mut dyn Source = match self {
            Listener::Tcp { socket, .. } => socket,
            Listener::Unix { socket, .. } => socket,
        };
        if is_new {
            source.register(registry, token, Interest::READABLE)
        } else {
            source.reregister(registry, token, Interest::READABLE)
        }
    }

    /// The next peer, and who it is.
    pub(super) fn accept(&self, tls: Option<&TlsParts>) -> Result<(Stream, String), ConnectError> {
        match self {
            Listener::Unix { socket, .. } => {
                let (stream, _) = socket.accept()?;
                Ok((Stream::Unix(stream), "unix".to_owned()))
            }
            Listener::Tcp { socket, is_tls: false } => {
                let (stream, peer) = socket.accept()?;
                Ok((Stream::Tcp(stream), format!("tcp:{}", plain(peer))))
            }
            Listener::Tcp { socket, is_tls: true } => {
                let (socket, peer) = socket.accept()?;
                let connection = tls.ok_or(ConnectError::NoCertificate)?.server()?;
                let stream = Box::new(TlsStream { connection: connection.into(), socket });
                Ok((Stream::Tls(stream), format!("tls:{}", plain(peer))))
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listener::Unix { path, .. } = self {
            drop(std::fs::remove_file(path));
        }
    }
}

/// An IPv4 peer of a socket that serves both is shown as such.
fn plain(peer: SocketAddr) -> SocketAddr {
    match peer.ip() {
        IpAddr::V6(ip) => SocketAddr::new(ip.to_canonical(), peer.port()),
        IpAddr::V4(_) => peer,
    }
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of another kind"));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process serves it"));
        }
        std::fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(socket)
}
