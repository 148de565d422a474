//! An IPFIX collector of few words: a UDP socket, templates, and sums of what data records say.

use std::collections::HashMap;
use std::net::UdpSocket;

/// Elements that the test looks at (IANA "IPFIX Information Elements").
const OCTET_DELTA_COUNT: u16 = 1;
const PACKET_DELTA_COUNT: u16 = 2;
const SOURCE_TRANSPORT_PORT: u16 = 7;
const FLOW_DIRECTION: u16 = 61;

/// Packets and octets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Sums {
    pub(crate) packets: u64,
    pub(crate) octets: u64,
}

impl Sums {
    pub(crate) fn add(&mut self, packets: u64, octets: u64) {
        self.packets += packets;
        self.octets += octets;
    }
}

#[derive(Debug)]
pub(crate) struct Collector {
    socket: UdpSocket,
    /// Element and length of each field, by domain and template; none of options templates' fields.
    templates: HashMap<(u32, u16), Vec<(u16, usize)>>,
    /// Sequence number that the next message must have: records so far (RFC 7011 section 3.1).
    next_sequence: u32,
    /// Of flows seen coming in, by source port; 0 for flows that have none.
    pub(crate) ingress: HashMap<u16, Sums>,
    pub(crate) egress_total: Sums,
    pub(crate) records: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Collector {
    pub(crate) fn bind() -> Collector {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("the loopback interface is there");
        socket.set_nonblocking(true).expect("a socket can be asked not to block");
        Collector {
            socket,
            templates: HashMap::new(),
            next_sequence: 0,
            ingress: HashMap::new(),
            egress_total: Sums::default(),
            records: 0,
        }
    }

    pub(crate) fn address(&self) -> String {
        self.socket.local_addr().expect("it is bound").to_string()
    }

    /// Takes all messages that have come.
    pub(crate) fn receive(&mut self) {
        let mut buffer = [0; 65_536];
        while let Ok(size) = self.socket.recv(&mut buffer) {
            self.message(&buffer[..size]);
        }
    }

    pub(crate) fn ingress_total(&self) -> Sums {
        let mut total = Sums::default();
        self.ingress.values().for_each(|sums| total.add(sums.packets, sums.octets));
        total
    }

    fn message(&mut self, message: &[u8]) {
        assert_eq!((u16_at(message, 0), usize::from(u16_at(message, 2))), (10, message.len()));
        assert_eq!(u32_at(message, 8), self.next_sequence, "a message is missing or has the wrong number");
        let domain = u32_at(message, 12);
        let mut at = 16;
        while at < message.len() {
            let (id, size) = (u16_at(message, at), usize::from(u16_at(message, at + 2)));
            let body = &message[at + 4..at + size];
            match id {
                2 => self.define(domain, body, 4),
                3 => self.define(domain, body, 6),
                _ => self.data(domain, id, body),
            }
            at += size;
        }
    }

    fn define(&mut self, domain: u32, mut body: &[u8], header: usize) {
        while body.len() >= header {
            let (id, count) = (u16_at(body, 0), usize::from(u16_at(body, 2)));
            body = &body[header..];
            let field = |index: usize| (u16_at(body, index * 4), usize::from(u16_at(body, index * 4 + 2)));
            let fields: Vec<(u16, usize)> = (0..count).map(field).collect();
            assert!(fields.iter().all(|(element, _)| element & 0x8000 == 0), "all elements are IANA's");
            body = &body[count * 4..];
            self.templates.insert((domain, id), fields);
        }
    }

    fn data(&mut self, domain: u32, id: u16, mut body: &[u8]) {
        let fields = self.templates[&(domain, id)].clone();
        let size = fields.iter().map(|(_, length)| length).sum();
        while body.len() >= size {
            let (mut record, rest) = body.split_at(size);
            body = rest;
            self.next_sequence += 1;
            let mut values: HashMap<u16, u64> = HashMap::new();
            for &(element, length) in &fields {
                let (value, rest) = record.split_at(length);
                record = rest;
                values.insert(element, value.iter().fold(0, |number, &byte| number << 8 | u64::from(byte)));
            }
            // Records of options have no counts of packets.
            let Some(&packets) = values.get(&PACKET_DELTA_COUNT) else { continue };
            self.records += 1;
            let octets = values[&OCTET_DELTA_COUNT];
            if values[&FLOW_DIRECTION] == 0 {
                let port = values.get(&SOURCE_TRANSPORT_PORT).copied().unwrap_or(0) as u16;
                self.ingress.entry(port).or_default().add(packets, octets);
            } else {
                self.egress_total.add(packets, octets);
            }
        }
    }
}
