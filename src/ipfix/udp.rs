//! The socket: UDP to one collector, never waiting.

use super::exporter::SendError;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// A way to a collector. The socket is opened with the first message, since there may be no route yet when the
/// switch starts, and stays the same: a new source port would be a new session.
#[derive(Debug)]
pub struct UdpSender {
    collector: SocketAddr,
    socket: Option<UdpSocket>,
}

impl UdpSender {
    /// A sender that has sent nothing.
    pub fn new(collector: SocketAddr) -> UdpSender {
        UdpSender { collector, socket: None }
    }

    /// Where it sends from, once it has.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.socket.as_ref()?.local_addr().ok()
    }

    /// Sends one message as one datagram.
    ///
    /// # Errors
    /// [`SendError`]: the message was not sent. Which errno is which is decided here and nowhere else.
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        let socket = match &self.socket {
            Some(socket) => socket,
            // No session has begun on a socket that could not be opened.
            None => match open(self.collector) {
                Ok(socket) => self.socket.insert(socket),
                Err(error) => return Err(SendError::Unreachable(error.kind())),
            },
        };
        let Err(error) = socket.send(message) else { return Ok(()) };
        let sorted = sort(&error);
        if let SendError::SessionLost(_) = sorted {
            self.socket = None;
        }
        Err(sorted)
    }
}

fn open(collector: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match collector {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    // Connected, so that the kernel tells of refusals, and looks up the route once.
    socket.connect(collector)?;
    Ok(socket)
}

fn sort(error: &io::Error) -> SendError {
    /// ENOBUFS on Linux: the queue of the interface is full. It has no `ErrorKind`.
    const ENOBUFS: i32 = 105;
    /// EMSGSIZE on Linux.
    const EMSGSIZE: i32 = 90;
    match (error.raw_os_error(), error.kind()) {
        (Some(EMSGSIZE), _) => SendError::TooLarge,
        (Some(ENOBUFS), _) | (_, ErrorKind::WouldBlock | ErrorKind::Interrupted) => SendError::WouldBlock,
        (
            _,
            kind @ (ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::PermissionDenied),
        ) => SendError::Unreachable(kind),
        (_, kind) => SendError::SessionLost(kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_sorted_by_what_to_do_about_them() {
        let sort_errno = |errno| sort(&io::Error::from_raw_os_error(errno));
        assert_eq!(sort_errno(11), SendError::WouldBlock);
        assert_eq!(sort_errno(105), SendError::WouldBlock);
        assert_eq!(sort_errno(90), SendError::TooLarge);
        assert_eq!(sort_errno(111), SendError::Unreachable(ErrorKind::ConnectionRefused));
        assert_eq!(sort_errno(113), SendError::Unreachable(ErrorKind::HostUnreachable));
        assert_eq!(sort_errno(101), SendError::Unreachable(ErrorKind::NetworkUnreachable));
        assert!(matches!(sort_errno(9), SendError::SessionLost(_)));
    }

    #[test]
    fn a_message_arrives_over_either_ip() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(collector) = UdpSocket::bind(any) else {
                println!("SKIPPED for {any}: this machine does not have it");
                continue;
            };
            collector.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
            let mut sender = UdpSender::new(collector.local_addr().unwrap());
            assert_eq!(sender.local_addr(), None);
            sender.send(b"one message").unwrap();
            let mut buffer = [0; 64];
            let (size, from) = collector.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..size], b"one message");
            assert_eq!(sender.local_addr().unwrap().port(), from.port());
        }
    }

    #[test]
    fn a_message_that_is_too_large_is_said_to_be() {
        let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut sender = UdpSender::new(collector.local_addr().unwrap());
        assert_eq!(sender.send(&[0; 65_508]), Err(SendError::TooLarge));
        assert_eq!(sender.send(&[0; 1_400]), Ok(()));
    }
}
