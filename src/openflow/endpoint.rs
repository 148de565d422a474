//! Where OpenFlow peers are: the connection methods of `ovs-vswitchd` and `ovs-ofctl`, as text.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// OpenFlow's port, as IANA assigned it.
pub const OPENFLOW_PORT: u16 = 6653;

/// A controller that the switch connects to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Remote {
    /// `tcp:ADDRESS[:PORT]`.
    Tcp(SocketAddr),
    /// `tls:ADDRESS[:PORT]`; `ssl:` is Open vSwitch's older word for it.
    Tls(SocketAddr),
    /// `unix:PATH`.
    Unix(PathBuf),
}

/// Where the switch waits for controllers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Listen {
    /// `ptcp:[PORT][:ADDRESS]`.
    Tcp(SocketAddr),
    /// `ptls:[PORT][:ADDRESS]`.
    Tls(SocketAddr),
    /// `punix:PATH`.
    Unix(PathBuf),
}

impl Remote {
    /// Whether it needs a certificate.
    pub fn is_tls(&self) -> bool {
        matches!(self, Remote::Tls(_))
    }
}

impl Listen {
    /// Whether it needs a certificate.
    pub fn is_tls(&self) -> bool {
        matches!(self, Listen::Tls(_))
    }
}

/// What the methods of [`Remote`] look like.
pub const REMOTE_ALLOWED: &str = "tcp:ADDRESS[:PORT], tls:ADDRESS[:PORT] or unix:/PATH, where ADDRESS is an IP \
                                  address (IPv6 in brackets) and PORT 6653 if it is left out";
/// What the methods of [`Listen`] look like.
pub const LISTEN_ALLOWED: &str = "ptcp:[PORT][:ADDRESS], ptls:[PORT][:ADDRESS] or punix:/PATH, where ADDRESS is an IP \
                                  address (IPv6 in brackets), that of this host if it is left out (127.0.0.1), and \
                                  PORT 6653 if it is left out";

impl FromStr for Remote {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Remote, &'static str> {
        let (method, rest) = text.split_once(':').ok_or(REMOTE_ALLOWED)?;
        let remote = match method {
            "tcp" => remote_address(rest).map(Remote::Tcp),
            "tls" | "ssl" => remote_address(rest).map(Remote::Tls),
            "unix" => absolute(rest).map(Remote::Unix),
            _ => None,
        };
        remote.ok_or(REMOTE_ALLOWED)
    }
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Listen, &'static str> {
        let (method, rest) = text.split_once(':').unwrap_or((text, ""));
        let listen = match method {
            "ptcp" => listen_address(rest).map(Listen::Tcp),
            "ptls" | "pssl" => listen_address(rest).map(Listen::Tls),
            "punix" => absolute(rest).map(Listen::Unix),
            _ => None,
        };
        listen.ok_or(LISTEN_ALLOWED)
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remote::Tcp(address) => write!(f, "tcp:{address}"),
            Remote::Tls(address) => write!(f, "tls:{address}"),
            Remote::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = |address: &SocketAddr| match address {
            SocketAddr::V4(address) => format!("{}:{}", address.port(), address.ip()),
            SocketAddr::V6(address) => format!("{}:[{}]", address.port(), address.ip()),
        };
        match self {
            Listen::Tcp(at) => write!(f, "ptcp:{}", address(at)),
            Listen::Tls(at) => write!(f, "ptls:{}", address(at)),
            Listen::Unix(path) => write!(f, "punix:{}", path.display()),
        }
    }
}

fn absolute(path: &str) -> Option<PathBuf> {
    (path.starts_with('/') && path.len() <= 103 && !path.contains('\0')).then(|| path.into())
}

fn port(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port != 0)
}

fn address(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

/// `ADDRESS[:PORT]`. A bare IPv6 address is one without a port.
fn remote_address(text: &str) -> Option<SocketAddr> {
    if let Some(ip) = address(text) {
        return Some(SocketAddr::new(ip, OPENFLOW_PORT));
    }
    let (host, number) = text.rsplit_once(':')?;
    let is_bare_v6 = host.contains(':') && !host.starts_with('[');
    (!is_bare_v6).then_some(SocketAddr::new(address(host)?, port(number)?))
}

/// `[PORT][:ADDRESS]`.
fn listen_address(text: &str) -> Option<SocketAddr> {
    let (number, host) = text.split_once(':').unwrap_or((text, ""));
    let number = if number.is_empty() { OPENFLOW_PORT } else { port(number)? };
    let ip = if host.is_empty() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { address(host)? };
    Some(SocketAddr::new(ip, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_read_back_from_how_they_are_written() {
        for text in ["tcp:192.0.2.1:6653", "tls:[2001:db8::1]:7", "unix:/run/c.sock"] {
            assert_eq!(text.parse::<Remote>().map(|remote| remote.to_string()), Ok(text.to_owned()));
        }
        for text in ["ptcp:6653:127.0.0.1", "ptls:7:[::1]", "punix:/run/br0.mgmt"] {
            assert_eq!(text.parse::<Listen>().map(|listen| listen.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_is_left_out_has_a_default() {
        let remote = |text: &str| text.parse::<Remote>().map(|remote| remote.to_string());
        assert_eq!(remote("tcp:192.0.2.1"), Ok("tcp:192.0.2.1:6653".to_owned()));
        assert_eq!(remote("ssl:::1"), Ok("tls:[::1]:6653".to_owned()));
        let listen = |text: &str| text.parse::<Listen>().map(|listen| listen.to_string());
        assert_eq!(listen("ptcp:"), Ok("ptcp:6653:127.0.0.1".to_owned()));
        assert_eq!(listen("ptcp"), Ok("ptcp:6653:127.0.0.1".to_owned()));
        assert_eq!(listen("ptcp::0.0.0.0"), Ok("ptcp:6653:0.0.0.0".to_owned()));
    }

    #[test]
    fn what_is_no_method_is_refused() {
        for text in
            ["", "tcp:", "tcp:host", "tcp:1.2.3.4:0", "tcp:1.2.3.4:x", "udp:1.2.3.4", "unix:x", "tcp:::1:+1"]
        {
            assert_eq!(text.parse::<Remote>(), Err(REMOTE_ALLOWED), "{text}");
        }
        for text in ["", "tcp:1.2.3.4", "ptcp:x", "ptcp:1:x", "punix:run", "ptcp:0"] {
            assert_eq!(text.parse::<Listen>(), Err(LISTEN_ALLOWED), "{text}");
        }
    }
}
