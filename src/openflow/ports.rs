//! Port numbers and their names in the flow syntax.
//!
//! Reserved ports (`LOCAL`, `IN_PORT`, ...) have the same names everywhere and are known here. Names of the other
//! ports belong to a switch, so whoever reads or writes flows brings them along as [`PortNames`]. A name that
//! could be taken for something else stands in double quotes, as Open vSwitch's tools write it.

use crate::flow::OfPort;
use std::collections::BTreeMap;

/// Reserved ports and their names; the first name of a port is the one that is printed.
const RESERVED: [(&str, OfPort); 10] = [
    ("UNSET", OfPort::UNSET),
    ("IN_PORT", OfPort::IN_PORT),
    ("TABLE", OfPort::TABLE),
    ("NORMAL", OfPort::NORMAL),
    ("FLOOD", OfPort::FLOOD),
    ("ALL", OfPort::ALL),
    ("CONTROLLER", OfPort::CONTROLLER),
    ("LOCAL", OfPort::LOCAL),
    ("ANY", OfPort::NONE),
    ("NONE", OfPort::NONE),
];

/// Names of a switch's ports. Asked on the thread that parses or prints; must answer at once.
pub trait PortNames {
    /// The number of the port with this name.
    fn number(&self, name: &str) -> Option<OfPort>;

    /// The name of the port with this number, or none if it is to be written as a number.
    fn name(&self, port: OfPort) -> Option<&str>;
}

/// Knows no names: ports are numbers, apart from the reserved ones.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoNames;

impl PortNames for NoNames {
    fn number(&self, _name: &str) -> Option<OfPort> {
        None
    }

    fn name(&self, _port: OfPort) -> Option<&str> {
        None
    }
}

/// A list of the ports there are. If two have one name, the lower number is meant.
impl PortNames for BTreeMap<OfPort, String> {
    fn number(&self, name: &str) -> Option<OfPort> {
        self.iter().find(|(_, port_name)| *port_name == name).map(|(&port, _)| port)
    }

    fn name(&self, port: OfPort) -> Option<&str> {
        self.get(&port).map(String::as_str)
    }
}

/// The reserved port that `word` names, in any case.
pub(super) fn reserved_by_name(word: &str) -> Option<OfPort> {
    RESERVED.iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|&(_, port)| port)
}

/// Whether `port` is one of the reserved ones.
pub(super) fn is_reserved(port: OfPort) -> bool {
    RESERVED.iter().any(|&(_, reserved)| reserved == port)
}

/// The port that `word` means: a reserved name, a number, a name, or a name in double quotes.
///
/// Numbers run to [`OfPort::MAX`]; beyond, the reserved ports of OpenFlow 1.0 (16 bits) and of later versions
/// (32 bits) may also be given by number.
pub(super) fn parse_port(word: &str, ports: &dyn PortNames) -> Option<OfPort> {
    if word.starts_with('"') {
        return ports.number(&unquote(word)?);
    }
    if let Some(port) = reserved_by_name(word) {
        return Some(port);
    }
    let Some(number) = parse_number(word) else { return ports.number(word) };
    let port = match number {
        0xfff7..=0xffff => OfPort(number | 0xffff_0000),
        _ => OfPort(number),
    };
    (port <= OfPort::MAX || is_reserved(port)).then_some(port)
}

fn parse_number(word: &str) -> Option<u32> {
    match word.strip_prefix("0x") {
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_hexdigit()) => {
            u32::from_str_radix(digits, 16).ok()
        }
        None if word.bytes().all(|digit| digit.is_ascii_digit()) => word.parse().ok(),
        _ => None,
    }
}

/// How a port is written.
pub(super) fn format_port(port: OfPort, ports: &dyn PortNames) -> String {
    if let Some((name, _)) = RESERVED.iter().find(|&&(_, reserved)| reserved == port) {
        return (*name).to_owned();
    }
    match ports.name(port) {
        Some(name) => quote_name(name),
        None => port.0.to_string(),
    }
}

/// A name as it can be read back: bare if it is a letter followed by letters and digits and is not reserved.
fn quote_name(name: &str) -> String {
    let is_bare = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && reserved_by_name(name).is_none();
    if is_bare { name.to_owned() } else { format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")) }
}

/// The text between double quotes, in which a backslash makes the next character an ordinary one.
fn unquote(word: &str) -> Option<String> {
    let mut chars = word.strip_prefix('"')?.chars();
    let mut name = String::new();
    loop {
        match chars.next()? {
            '"' => break,
            '\\' => name.push(chars.next()?),
            other => name.push(other),
        }
    }
    chars.as_str().is_empty().then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> BTreeMap<OfPort, String> {
        let all = ["p1", "p-2.x", "local", "3", "a\"b\\c", "p_4"];
        (1..).map(OfPort).zip(all.map(str::to_owned)).collect()
    }

    #[test]
    fn every_port_is_read_back_from_how_it_is_written() {
        let reserved = RESERVED.iter().map(|&(_, port)| port);
        for port in (0..10).map(OfPort).chain(reserved).chain([OfPort::MAX]) {
            assert_eq!(parse_port(&format_port(port, &names()), &names()), Some(port));
            assert_eq!(parse_port(&format_port(port, &NoNames), &NoNames), Some(port));
        }
    }

    #[test]
    fn names_are_quoted_where_open_vswitch_quotes_them() {
        let written: Vec<_> = (1..=6).map(|n| format_port(OfPort(n), &names())).collect();
        assert_eq!(written, ["p1", "\"p-2.x\"", "\"local\"", "\"3\"", "\"a\\\"b\\\\c\"", "\"p_4\""]);
    }

    #[test]
    fn a_bare_word_means_a_reserved_port_or_a_number_before_a_name() {
        assert_eq!(parse_port("local", &names()), Some(OfPort::LOCAL));
        assert_eq!(parse_port("3", &names()), Some(OfPort(3)));
        assert_eq!(parse_port("\"3\"", &names()), Some(OfPort(4)));
        assert_eq!(parse_port("p-2.x", &names()), Some(OfPort(2)));
    }

    #[test]
    fn numbers_of_no_port_are_refused() {
        for word in ["65281", "65526", "0xffff0001", "4294967296", "", "0x", "-1", "+1", "\"p1", "\"p1\"x"] {
            assert_eq!(parse_port(word, &names()), None, "{word}");
        }
        assert_eq!(parse_port("65534", &NoNames), Some(OfPort::LOCAL));
        assert_eq!(parse_port("0xfffffffe", &NoNames), Some(OfPort::LOCAL));
    }
}
