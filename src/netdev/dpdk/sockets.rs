//! Unix sockets that devices listen on or connect to: what is left of them, and whose they are.
//!
//! A switch that was killed leaves its sockets' files behind, and DPDK's drivers do not take a name that exists. A
//! file that is a socket on which nobody listens any more is removed; a socket on which somebody listens, or a file
//! of another kind, is left alone and told. Several memif ports of one switch share a socket, so those of ours are
//! remembered.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Why a socket cannot be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SocketError {
    /// Another process has it.
    #[error("another process listens on {path}: end it, or use another path")]
    InUse {
        /// The socket.
        path: String,
    },
    /// Something else is there.
    #[error("{path} is there, and is no socket: it is left alone; use another path, or move it away")]
    NoSocket {
        /// The file.
        path: String,
    },
    /// The other side is to make it, and has not.
    #[error("{path} is not there: its other side has not made it yet")]
    NotThere {
        /// The socket.
        path: String,
    },
    /// The kernel has no such device.
    #[error("{path} is not there: run `modprobe vhost_net`")]
    NoKernelDevice {
        /// The device.
        path: String,
    },
    /// There is no directory for it.
    #[error("{directory} is no directory: make it, or use another path")]
    NoDirectory {
        /// Where the socket was to be.
        directory: String,
    },
    /// The system would not let us look, or remove what is left.
    #[error("cannot clear {path}: {reason}")]
    System {
        /// The socket.
        path: String,
        /// Why.
        reason: String,
    },
}

/// The sockets that devices of this process listen on, once for each device.
#[derive(Clone, Debug, Default)]
pub(super) struct Sockets(Arc<Mutex<Vec<String>>>);

/// A device's claim to a socket. Dropping it gives it up.
#[derive(Debug)]
pub(super) struct Listening {
    sockets: Sockets,
    path: String,
}

impl Sockets {
    /// Makes way for a socket at `path`.
    pub(super) fn listen(&self, path: &str) -> Result<Listening, SocketError> {
        let mut ours = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !ours.iter().any(|other| other == path) {
            clear(path)?;
        }
        ours.push(path.to_owned());
        Ok(Listening { sockets: self.clone(), path: path.to_owned() })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut ours = self.sockets.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = ours.iter().position(|path| *path == self.path) {
            ours.swap_remove(index);
        }
    }
}

/// Where the kernel's side of virtio is.
const VHOST_NET: &str = "/dev/vhost-net";

/// Looks whether the kernel has its side of virtio.
pub(super) fn reach_kernel() -> Result<(), SocketError> {
    match Path::new(VHOST_NET).exists() {
        true => Ok(()),
        false => Err(SocketError::NoKernelDevice { path: VHOST_NET.to_owned() }),
    }
}

/// Looks whether there is a socket to connect to, so that drivers need not try in vain.
pub(super) fn reach(path: &str) -> Result<(), SocketError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => Ok(()),
        Ok(_) => Err(SocketError::NoSocket { path: path.to_owned() }),
        Err(_) => Err(SocketError::NotThere { path: path.to_owned() }),
    }
}

/// Removes a socket that nobody listens on.
fn clear(path: &str) -> Result<(), SocketError> {
    let system =
        |error: std::io::Error| SocketError::System { path: path.to_owned(), reason: error.to_string() };
    let directory = Path::new(path).parent().unwrap_or(Path::new("/"));
    if !directory.is_dir() {
        return Err(SocketError::NoDirectory { directory: directory.display().to_string() });
    }
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        metadata => metadata.map_err(system)?,
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NoSocket { path: path.to_owned() });
    }
    // A socket of another type than the one asked for answers, too, if somebody has it.
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            tracing::info!("{path} was left behind by a process that is gone: removed");
            fs::remove_file(path).map_err(system)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        _ => Err(SocketError::InUse { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_socket_that_nobody_listens_on_is_removed_and_others_are_left_alone() {
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        let path = |name: &str| directory.path().join(name).display().to_string();
        let sockets = Sockets::default();
        let stale = path("stale");
        drop(UnixListener::bind(&stale).expect("the directory can be written"));
        let first = sockets.listen(&stale).expect("nobody listens");
        assert!(!Path::new(&stale).exists());

        let listener = UnixListener::bind(&stale).expect("the way is clear");
        let second = sockets.listen(&stale).expect("it is ours");
        drop((first, second));
        assert_eq!(sockets.listen(&stale).err(), Some(SocketError::InUse { path: stale.clone() }));
        drop(listener);
        assert_eq!(reach(&stale), Ok(()), "a socket is there, whoever listens");
        drop(sockets.listen(&stale).expect("nobody listens any more"));

        let file = path("file");
        fs::write(&file, "mine").expect("the directory can be written");
        assert_eq!(sockets.listen(&file).err(), Some(SocketError::NoSocket { path: file.clone() }));
        assert!(Path::new(&file).exists());
        assert_eq!(reach(&file), Err(SocketError::NoSocket { path: file }));
        assert_eq!(reach(&stale), Err(SocketError::NotThere { path: stale }));
        assert!(matches!(sockets.listen(&path("no/where")), Err(SocketError::NoDirectory { .. })));
    }
}
