//! Who owns the control socket's path: a lock, the socket behind it, and what a dead switch left behind.
//!
//! # Why so
//! A socket file says nothing about whether somebody listens, and asking before binding leaves a gap in which
//! two switches both find nobody. So the owner of a path is who holds an exclusive `flock` on `PATH.lock`; the
//! kernel lets go of it when a process dies, however it dies. The lock file holds the owner's process id, for
//! people and for messages. With the lock in hand, an existing socket is a leftover, unless something answers on
//! it after all (somebody removed the lock file): then we leave it alone.
//!
//! A lock file that is removed while another process waits to lock it would give two owners, each with its own
//! file; so after locking, the file must still be the one at its path, or all is done again.
//!
//! The switch runs as root, and the path may be in a directory that others write to. So a symbolic link in place of
//! the lock file, which could lead to any file of the host, is refused: a lock file is created with `O_EXCL`, which
//! follows no link, and one that is there is looked at before it is opened. A link that takes its place in
//! between is opened, but nothing more: it is not the file at the path, so nothing is written to it.
//!
//! The socket is bound under a temporary name, given its mode, and moved to its place: nobody can connect before
//! the mode is right, and a leftover is replaced in one step.
//!
//! # Threads
//! Any; called once at start and once at the end.
//!
//! # Leaves out
//! Network file systems, where `flock` may not do this.

use super::{ControlError, IoStep};
use crate::vswitchd::api::{Reply, Request};
use crate::vswitchd::ctl::client::Client;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often to lock again a lock file that was removed meanwhile, before something must be wrong.
const LOCK_ATTEMPTS_MAX: usize = 100;

/// How long to wait for a switch that answers on a socket which is not locked to say who it is.
const ASK_TIMEOUT: Duration = Duration::from_secs(1);

/// A path that is ours. Dropping it removes the socket and the lock file.
#[derive(Debug)]
pub(super) struct OwnedPath {
    path: PathBuf,
    lock_path: PathBuf,
    /// Holds the lock for as long as it is open.
    lock_file: File,
    /// Device and inode of the socket that we made.
    socket: Option<(u64, u64)>,
}

impl OwnedPath {
    /// Takes the path, without touching the socket.
    pub(super) fn take(path: &Path) -> Result<OwnedPath, ControlError> {
        let lock_path = with_suffix(path, ".lock");
        let fault = |step| move |source| ControlError::Io { step, path: path.to_owned(), source };
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(fault(IoStep::CreateDirectory))?;
        }
        for _ in 0..LOCK_ATTEMPTS_MAX {
            let mut lock_file = match open_lock(&lock_path) {
                Ok(Some(lock_file)) => lock_file,
                Ok(None) => return Err(ControlError::NotALock { path: lock_path }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(source) => return Err(fault(IoStep::Lock)(source)),
            };
            match lock_file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(ControlError::AnotherRunning {
                        name: super::switch_name(path),
                        pid: read_pid(&mut lock_file),
                        path: path.to_owned(),
                    });
                }
                Err(TryLockError::Error(source)) => return Err(fault(IoStep::Lock)(source)),
            }
            if !is_at(&lock_file, &lock_path) {
                continue;
            }
            write_pid(&mut lock_file).map_err(fault(IoStep::Lock))?;
            return Ok(OwnedPath { path: path.to_owned(), lock_path, lock_file, socket: None });
        }
        Err(fault(IoStep::Lock)(io::Error::other("the lock file is removed again and again")))
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Puts a listening socket with this mode at the path.
    pub(super) fn listen(&mut self, mode: u32) -> Result<UnixListener, ControlError> {
        self.clear_leftover()?;
        let fault = |source| ControlError::Io { step: IoStep::Bind, path: self.path.clone(), source };
        let temporary = with_suffix(&self.path, ".new");
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fault(error)),
            _ => {}
        }
        let listener = UnixListener::bind(&temporary).map_err(fault)?;
        let placed = fs::set_permissions(&temporary, fs::Permissions::from_mode(mode))
            .and_then(|()| fs::symlink_metadata(&temporary))
            .and_then(|metadata| fs::rename(&temporary, &self.path).map(|()| metadata))
            .and_then(|metadata| listener.set_nonblocking(true).map(|()| metadata));
        match placed {
            Ok(metadata) => {
                self.socket = Some((metadata.dev(), metadata.ino()));
                Ok(listener)
            }
            Err(error) => {
                // The error that is returned says more than one about a file that is not there.
                let _ = fs::remove_file(&temporary);
                Err(fault(error))
            }
        }
    }

    /// Makes sure that what is at the path, if anything, is a socket that nobody answers on.
    fn clear_leftover(&self) -> Result<(), ControlError> {
        let fault = |source| ControlError::Io { step: IoStep::Inspect, path: self.path.clone(), source };
        let metadata = match fs::symlink_metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fault(error)),
        };
        if !metadata.file_type().is_socket() {
            return Err(ControlError::NotASocket { path: self.path.clone() });
        }
        match Client::connect(&self.path, ASK_TIMEOUT) {
            Ok(mut client) => {
                let pid = match client.call(&Request::Version) {
                    Ok((_, Reply::Version(version))) => Some(version.pid),
                    _ => None,
                };
                let name = super::switch_name(&self.path);
                Err(ControlError::AnotherRunning { name, pid, path: self.path.clone() })
            }
            Err(error) if error.is_nobody_there() => {
                tracing::warn!(
                    "control socket {}: left behind by a switch that is gone: replaced",
                    self.path.display()
                );
                Ok(())
            }
            Err(error) => Err(fault(io::Error::other(error))),
        }
    }
}

impl Drop for OwnedPath {
    fn drop(&mut self) {
        // The socket first: once the lock is gone, what is at the path may be another's.
        if let Some(ours) = self.socket
            && let Ok(metadata) = fs::symlink_metadata(&self.path)
            && (metadata.dev(), metadata.ino()) == ours
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!("control socket {}: cannot remove it: {error}", self.path.display());
        }
        if is_at(&self.lock_file, &self.lock_path)
            && let Err(error) = fs::remove_file(&self.lock_path)
        {
            tracing::warn!("control socket lock {}: cannot remove it: {error}", self.lock_path.display());
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// Opens the lock file, and makes it if there is none. None: what is there is no regular file. Not found: it was
/// removed meanwhile.
fn open_lock(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    match options.clone().create_new(true).mode(0o644).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.map(Some),
    }
    if fs::symlink_metadata(path)?.is_file() { options.open(path).map(Some) } else { Ok(None) }
}

/// Whether `file` is what is at `path` now.
fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
