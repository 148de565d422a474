//! Flows and their packets: every packet says whose it is, when it was sent and which of its flow it is.

use crate::support::{one_in, pick};
use fastrand::Rng;
use penstock::packet::build::FrameBuilder;

/// What a packet's payload begins with, so that it is found behind whatever headers.
const MARK: [u8; 4] = *b"SimP";

/// A stream of packets from one host to another, by one port.
#[derive(Clone, Debug)]
pub(crate) struct Flow {
    pub(crate) id: u32,
    /// Index of the port that its packets come in by.
    pub(crate) port: usize,
    src: u8,
    dst: u8,
    /// VLAN id and TPID of its tag.
    tag: Option<u16>,
    kind: Kind,
    ttl: u8,
    /// Bytes of payload. Packets of different lengths may take different ways, and then keep no order.
    payload_size: usize,
    /// Packets sent.
    pub(crate) sent: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Udp,
    Tcp,
    Udp6,
    Other,
}

/// What a packet says of itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Stamp {
    pub(crate) flow: u32,
    pub(crate) epoch: u32,
    pub(crate) sequence: u32,
}

impl Flow {
    pub(crate) fn random(rng: &mut Rng, id: u32, port: usize) -> Flow {
        Flow {
            id,
            port,
            // A host is at home at a port most of the time.
            src: if one_in(rng, 10) { rng.u8(1..8) } else { port as u8 + 1 },
            dst: if one_in(rng, 10) { 0xff } else { rng.u8(1..8) },
            tag: pick(rng, &[None, None, Some(10), Some(20), Some(30)]),
            kind: pick(rng, &[Kind::Udp, Kind::Udp, Kind::Tcp, Kind::Udp6, Kind::Other]),
            ttl: pick(rng, &[64, 64, 64, 2, 1]),
            payload_size: 16 + rng.usize(0..200),
            sent: 0,
        }
    }

    /// The source port that tells the flow apart; 0 if it has none.
    pub(crate) fn source_port(&self) -> u16 {
        if self.kind == Kind::Other { 0 } else { 1024 + (self.id % 60_000) as u16 }
    }

    /// The next packet's frame, and the octets of its datagram.
    pub(crate) fn next(&mut self, epoch: u32) -> (Vec<u8>, u64) {
        let mac = |host: u8| if host == 0xff { [0xff; 6] } else { [2, 0, 0, 0, 0, host] };
        let mut frame = FrameBuilder::new().eth(mac(self.dst), mac(self.src));
        if let Some(vlan) = self.tag {
            frame = frame.vlan(0x8100, vlan);
        }
        let mut payload = MARK.to_vec();
        for word in [self.id, epoch, self.sent] {
            payload.extend(word.to_be_bytes());
        }
        payload.resize(self.payload_size, 0x5a);
        self.sent += 1;
        let (src, dst, port) = (self.src, self.dst & 0x7f, self.source_port());
        let v6 = |host: u8| [0x20, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host];
        let ipv4 = |frame: FrameBuilder| frame.ipv4([10, 0, 0, src], [10, 0, 0, dst]).ttl(self.ttl);
        let frame = match self.kind {
            Kind::Udp => ipv4(frame).udp(port, 53),
            Kind::Tcp => ipv4(frame).tcp(port, 80),
            Kind::Udp6 => frame.ipv6(v6(src), v6(dst)).ttl(self.ttl).udp(port, 53),
            Kind::Other => frame.eth_type(0x88b5),
        };
        let bytes = frame.payload(&payload).build();
        // IPv6's fixed header is not in its own length, but in the datagram.
        let headers = 14 + if self.tag.is_some() { 4 } else { 0 };
        let octets = if self.kind == Kind::Other { bytes.len() } else { bytes.len() - headers };
        (bytes, octets as u64)
    }
}

/// Reads a packet's stamp.
pub(crate) fn stamp(frame: &[u8]) -> Option<Stamp> {
    let at = frame.windows(4).position(|window| window == MARK)?;
    let word = |index: usize| {
        let at = at + 4 + index * 4;
        frame.get(at..at + 4).and_then(|bytes| Some(u32::from_be_bytes(bytes.try_into().ok()?)))
    };
    Some(Stamp { flow: word(0)?, epoch: word(1)?, sequence: word(2)? })
}
