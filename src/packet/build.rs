//! Frames to order: for tests, benches, simulation and the measuring rig.
//!
//! A [`FrameBuilder`] is told the headers from the outside in, in any order, and emits the frame with every
//! length and checksum right. What is to be wrong is made wrong afterwards, in the bytes. It is our own and not
//! `etherparse`'s builder because that has no SCTP, neighbour discovery options, fragments or chains of
//! extension headers; the tests read its frames back with `etherparse`.
//!
//! ```
//! use penstock::packet::build::FrameBuilder;
//!
//! let frame = FrameBuilder::new().vlan(0x8100, 10).ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1000, 53).payload(b"hi");
//! assert_eq!(frame.clone().pad().build().len(), 60);
//! assert_eq!(frame.build().len(), 14 + 4 + 20 + 8 + 2);
//! ```
//!
//! Thread safety: a plain value. Bounds: the caller's; a datagram over 65 535 bytes is a mistake in the caller
//! and panics. It allocates, and is not for the switch's own packets in the worker's loop.

use super::Packet;
use super::checksum::{Sum, checksum, pseudo_header_v4, pseudo_header_v6, sctp_crc32c};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Bytes of the shortest Ethernet frame without its check sequence (IEEE 802.3 clause 4.4.2).
pub const FRAME_SIZE_PADDED: usize = 60;

/// A frame in the making. See the module.
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    eth_dst: [u8; 6],
    eth_src: [u8; 6],
    tags: Vec<(u16, u16)>,
    is_snap: bool,
    /// Ethernet type and label stack entries.
    labels: Option<(u16, Vec<u32>)>,
    /// Outer addresses, backbone tag and service tag.
    backbone: Option<([u8; 6], [u8; 6], Option<u16>, u32)>,
    network: Network,
    tos: u8,
    ttl: u8,
    label: u32,
    identification: u32,
    /// Offset in units of eight bytes, and more fragments.
    fragment: Option<(u16, bool)>,
    ipv4_options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
    final_dst: Option<Ipv6Addr>,
    transport: Transport,
    payload: Vec<u8>,
    size_min: usize,
}

#[derive(Clone, Debug)]
enum Network {
    Raw(u16),
    /// Ethernet type and the 28 bytes of it.
    Arp(u16, Vec<u8>),
    /// The header.
    Nsh(Vec<u8>),
    Ipv4(Ipv4Addr, Ipv4Addr),
    Ipv6(Ipv6Addr, Ipv6Addr),
}

#[derive(Clone, Debug)]
enum Transport {
    Raw(u8),
    Tcp {
        src: u16,
        dst: u16,
        flags: u16,
        options: Vec<u8>,
    },
    Udp {
        src: u16,
        dst: u16,
        has_checksum: bool,
    },
    Sctp {
        src: u16,
        dst: u16,
    },
    Icmp {
        kind: u8,
        code: u8,
    },
    Icmpv6 {
        kind: u8,
        code: u8,
    },
    /// Type, target and options.
    Nd {
        kind: u8,
        target: Ipv6Addr,
        options: Vec<u8>,
    },
}

impl Default for FrameBuilder {
    fn default() -> FrameBuilder {
        FrameBuilder::new()
    }
}

impl FrameBuilder {
    /// A frame from 02:00:00:00:00:01 to 02:00:00:00:00:02 of the local experimental type 0x88b5 (IEEE 802
    /// clause 9.2.3), with an empty payload.
    pub fn new() -> FrameBuilder {
        FrameBuilder {
            eth_dst: [2, 0, 0, 0, 0, 2],
            eth_src: [2, 0, 0, 0, 0, 1],
            tags: Vec::new(),
            is_snap: false,
            labels: None,
            backbone: None,
            network: Network::Raw(0x88b5),
            tos: 0,
            ttl: 64,
            label: 0,
            identification: 1,
            fragment: None,
            ipv4_options: Vec::new(),
            extensions: Vec::new(),
            final_dst: None,
            transport: Transport::Raw(253),
            payload: Vec::new(),
            size_min: 0,
        }
    }

    /// Ethernet destination and source.
    #[must_use]
    pub fn eth(mut self, dst: [u8; 6], src: [u8; 6]) -> Self {
        (self.eth_dst, self.eth_src) = (dst, src);
        self
    }

    /// One more VLAN tag, inside those given before.
    #[must_use]
    pub fn vlan(mut self, tpid: u16, tci: u16) -> Self {
        self.tags.push((tpid, tci));
        self
    }

    /// An IEEE 802.3 frame: the length where the type would be, the type in a SNAP header.
    #[must_use]
    pub fn snap(mut self) -> Self {
        self.is_snap = true;
        self
    }

    /// MPLS: this Ethernet type, 0x8847 or 0x8848, and these label stack entries, whole as on the wire, before the
    /// network header.
    #[must_use]
    pub fn mpls(mut self, eth_type: u16, entries: &[u32]) -> Self {
        self.labels = Some((eth_type, entries.to_vec()));
        self
    }

    /// A provider backbone's header before the frame: outer addresses, a backbone VLAN tag (0x88a8) if there is one,
    /// and the service tag.
    #[must_use]
    pub fn backbone(mut self, dst: [u8; 6], src: [u8; 6], btag: Option<u16>, itag: u32) -> Self {
        self.backbone = Some((dst, src, btag, itag));
        self
    }

    /// A network service header of metadata type 1 (RFC 8300 section 2.4) and no layer 3 header: TTL, next protocol,
    /// service path and contexts; the payload follows.
    #[must_use]
    pub fn nsh(mut self, ttl: u8, next_protocol: u8, path: u32, contexts: [u32; 4]) -> Self {
        let mut header = ((u16::from(ttl) & 0x3f) << 6 | 6).to_be_bytes().to_vec();
        header.extend([1, next_protocol]);
        header.extend(path.to_be_bytes());
        header.extend(contexts.iter().flat_map(|context| context.to_be_bytes()));
        self.network = Network::Nsh(header);
        self
    }

    /// No layer 3 header: the payload follows this type.
    #[must_use]
    pub fn eth_type(mut self, eth_type: u16) -> Self {
        self.network = Network::Raw(eth_type);
        self
    }

    /// ARP for Ethernet and IPv4: operation, sender, target. The payload comes after it, as trailing bytes.
    #[must_use]
    pub fn arp(self, op: u16, sha: [u8; 6], spa: [u8; 4], tha: [u8; 6], tpa: [u8; 4]) -> Self {
        self.arp_as(0x0806, op, (sha, spa), (tha, tpa))
    }

    /// As [`FrameBuilder::arp`], with another Ethernet type: 0x8035 for RARP.
    #[must_use]
    pub fn arp_as(
        mut self,
        eth_type: u16,
        op: u16,
        (sha, spa): ([u8; 6], [u8; 4]),
        (tha, tpa): ([u8; 6], [u8; 4]),
    ) -> Self {
        let mut arp = vec![0, 1, 8, 0, 6, 4];
        arp.extend(op.to_be_bytes());
        arp.extend(sha);
        arp.extend(spa);
        arp.extend(tha);
        arp.extend(tpa);
        self.network = Network::Arp(eth_type, arp);
        self
    }

    /// An IPv4 header, from `src` to `dst`.
    #[must_use]
    pub fn ipv4(mut self, src: impl Into<Ipv4Addr>, dst: impl Into<Ipv4Addr>) -> Self {
        self.network = Network::Ipv4(src.into(), dst.into());
        self
    }

    /// An IPv6 header, from `src` to `dst`.
    #[must_use]
    pub fn ipv6(mut self, src: impl Into<Ipv6Addr>, dst: impl Into<Ipv6Addr>) -> Self {
        self.network = Network::Ipv6(src.into(), dst.into());
        self
    }

    /// IPv4 ToS or IPv6 traffic class; 0 if not given.
    #[must_use]
    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    /// IPv4 TTL or IPv6 hop limit; 64 if not given.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// IPv6 flow label, of which 20 bits count.
    #[must_use]
    pub fn label(mut self, label: u32) -> Self {
        self.label = label & 0x000f_ffff;
        self
    }

    /// IPv4 options, padded with zeros to a multiple of four bytes; at most 40.
    #[must_use]
    pub fn ipv4_options(mut self, options: &[u8]) -> Self {
        self.ipv4_options = options.to_vec();
        self.ipv4_options.resize(options.len().next_multiple_of(4), 0);
        self
    }

    /// An IPv6 extension header, behind those given before: its protocol number and what follows its next-header
    /// and length bytes, padded with zeros to the header's unit. For 44, fragment, use
    /// [`FrameBuilder::fragment`]. Routing headers have type and segments left as their first two bytes.
    #[must_use]
    pub fn extension(mut self, protocol: u8, body: &[u8]) -> Self {
        self.extensions.push((protocol, body.to_vec()));
        self
    }

    /// Makes the datagram a fragment: its offset in units of eight bytes, and whether more follow. In IPv6 this
    /// adds a fragment header behind the extension headers given so far. Checksums are over what is there: of
    /// a fragmented whole, cut the whole up instead.
    #[must_use]
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = Some((offset, more));
        if matches!(self.network, Network::Ipv6(..)) {
            let mut body = ((offset << 3) | u16::from(more)).to_be_bytes().to_vec();
            body.extend(self.identification.to_be_bytes());
            self.extensions.push((44, body));
        }
        self
    }

    /// The destination that transport checksums count while a routing header has segments left.
    #[must_use]
    pub fn final_dst(mut self, dst: impl Into<Ipv6Addr>) -> Self {
        self.final_dst = Some(dst.into());
        self
    }

    /// No transport header: the payload is of this IP protocol. 253, for experiments, if not given (RFC 3692).
    #[must_use]
    pub fn protocol(mut self, protocol: u8) -> Self {
        self.transport = Transport::Raw(protocol);
        self
    }

    /// A TCP header with the flag ACK.
    #[must_use]
    pub fn tcp(self, src: u16, dst: u16) -> Self {
        self.tcp_with(src, dst, 0x010, &[])
    }

    /// A TCP header with these flags (twelve bits) and options, padded with zeros to a multiple of four bytes;
    /// at most 40.
    #[must_use]
    pub fn tcp_with(mut self, src: u16, dst: u16, flags: u16, options: &[u8]) -> Self {
        let mut options = options.to_vec();
        options.resize(options.len().next_multiple_of(4), 0);
        self.transport = Transport::Tcp { src, dst, flags, options };
        self
    }

    /// A UDP header.
    #[must_use]
    pub fn udp(mut self, src: u16, dst: u16) -> Self {
        self.transport = Transport::Udp { src, dst, has_checksum: true };
        self
    }

    /// A UDP header whose checksum is 0: none.
    #[must_use]
    pub fn udp_without_checksum(mut self, src: u16, dst: u16) -> Self {
        self.transport = Transport::Udp { src, dst, has_checksum: false };
        self
    }

    /// An SCTP common header; the payload is its chunks.
    #[must_use]
    pub fn sctp(mut self, src: u16, dst: u16) -> Self {
        self.transport = Transport::Sctp { src, dst };
        self
    }

    /// An ICMP header: type, code, and four bytes of rest (identifier 1, sequence number 1).
    #[must_use]
    pub fn icmp(mut self, kind: u8, code: u8) -> Self {
        self.transport = Transport::Icmp { kind, code };
        self
    }

    /// An ICMPv6 header: type, code, and four bytes of rest (identifier 1, sequence number 1).
    #[must_use]
    pub fn icmpv6(mut self, kind: u8, code: u8) -> Self {
        self.transport = Transport::Icmpv6 { kind, code };
        self
    }

    /// A neighbour solicitation, with a source link-layer address if there is one; hop limit 255.
    #[must_use]
    pub fn nd_solicit(self, target: impl Into<Ipv6Addr>, sll: Option<[u8; 6]>) -> Self {
        let nd = self.nd(135, target, &[]);
        if let Some(mac) = sll { nd.nd_option(1, mac) } else { nd }
    }

    /// A neighbour advertisement, with a target link-layer address if there is one; hop limit 255.
    #[must_use]
    pub fn nd_advert(self, target: impl Into<Ipv6Addr>, tll: Option<[u8; 6]>) -> Self {
        let nd = self.nd(136, target, &[]);
        if let Some(mac) = tll { nd.nd_option(2, mac) } else { nd }
    }

    /// A neighbour discovery message of this type, with these bytes for options.
    #[must_use]
    pub fn nd(mut self, kind: u8, target: impl Into<Ipv6Addr>, options: &[u8]) -> Self {
        self.ttl = 255;
        self.transport = Transport::Nd { kind, target: target.into(), options: options.to_vec() };
        self
    }

    /// One more link-layer address option of a neighbour discovery message: type 1 (source) or 2 (target).
    ///
    /// # Panics
    /// If the transport is no such message.
    #[must_use]
    pub fn nd_option(mut self, kind: u8, mac: [u8; 6]) -> Self {
        let Transport::Nd { options, .. } = &mut self.transport else {
            panic!("not a neighbour discovery message")
        };
        options.extend([kind, 1]);
        options.extend(mac);
        self
    }

    /// What comes after the headers.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// A payload of `size` bytes that count up from 0.
    #[must_use]
    pub fn payload_size(mut self, size: usize) -> Self {
        self.payload = (0..size).map(|index| index as u8).collect();
        self
    }

    /// Zeros after the datagram, up to the shortest Ethernet frame.
    #[must_use]
    pub fn pad(self) -> Self {
        self.pad_to(FRAME_SIZE_PADDED)
    }

    /// Zeros after the datagram, up to a frame of `size` bytes.
    #[must_use]
    pub fn pad_to(mut self, size: usize) -> Self {
        self.size_min = size;
        self
    }

    /// The frame as a packet on the heap.
    pub fn packet(&self) -> Packet {
        Packet::from_bytes(&self.build())
    }

    /// The frame.
    ///
    /// # Panics
    /// If a length does not fit its field.
    pub fn build(&self) -> Vec<u8> {
        let (eth_type, body) = match &self.network {
            Network::Raw(eth_type) => (*eth_type, self.payload.clone()),
            Network::Arp(eth_type, arp) => (*eth_type, [&arp[..], &self.payload].concat()),
            Network::Nsh(header) => (0x894f, [&header[..], &self.payload].concat()),
            Network::Ipv4(src, dst) => (0x0800, self.emit_ipv4(*src, *dst)),
            Network::Ipv6(src, dst) => (0x86dd, self.emit_ipv6(*src, *dst)),
        };
        let (eth_type, body) = match &self.labels {
            Some((mpls_type, entries)) => {
                let stack = entries.iter().flat_map(|entry| entry.to_be_bytes());
                (*mpls_type, stack.chain(body).collect())
            }
            None => (eth_type, body),
        };
        let mut frame = Vec::with_capacity(96 + body.len());
        if let Some((dst, src, btag, itag)) = self.backbone {
            frame.extend(dst);
            frame.extend(src);
            if let Some(tci) = btag {
                frame.extend([0x88, 0xa8]);
                frame.extend(tci.to_be_bytes());
            }
            frame.extend([0x88, 0xe7]);
            frame.extend(itag.to_be_bytes());
        }
        frame.extend(self.eth_dst);
        frame.extend(self.eth_src);
        for (tpid, tci) in &self.tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        if self.is_snap {
            // Longer ones would read as types (IEEE 802.3 clause 3.2.6).
            let size = body.len() + 8;
            assert!(size < 0x0600, "{size} bytes do not fit an IEEE 802.3 length field");
            frame.extend((size as u16).to_be_bytes());
            frame.extend([0xaa, 0xaa, 0x03, 0, 0, 0]);
        }
        frame.extend(eth_type.to_be_bytes());
        frame.extend(body);
        frame.resize(frame.len().max(self.size_min), 0);
        frame
    }

    fn emit_ipv4(&self, src: Ipv4Addr, dst: Ipv4Addr) -> Vec<u8> {
        let (protocol, segment) = self.emit_transport(|protocol, size| {
            pseudo_header_v4(src.to_bits(), dst.to_bits(), protocol, size16(size))
        });
        let header_size = 20 + self.ipv4_options.len();
        assert!(header_size <= 60, "{header_size} bytes of IPv4 header");
        let (offset, more) = self.fragment.unwrap_or((0, false));
        let mut header = vec![0x40 | (header_size / 4) as u8, self.tos];
        header.extend(size16(header_size + segment.len()).to_be_bytes());
        header.extend((self.identification as u16).to_be_bytes());
        header.extend((offset & 0x1fff | u16::from(more) << 13).to_be_bytes());
        header.extend([self.ttl, protocol, 0, 0]);
        header.extend(src.octets());
        header.extend(dst.octets());
        header.extend(&self.ipv4_options);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend(segment);
        header
    }

    fn emit_ipv6(&self, src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
        let pseudo_dst = self.final_dst.unwrap_or(dst).octets();
        let (mut protocol, mut rest) = self.emit_transport(|protocol, size| {
            pseudo_header_v6(&src.octets(), &pseudo_dst, protocol, u32::from(size16(size)))
        });
        for (extension, body) in self.extensions.iter().rev() {
            let mut header = vec![protocol, 0];
            header.extend(body);
            // RFC 4302 section 2.2 counts in fours, without the first two; all others in eights without the first.
            if *extension == 51 {
                header.resize(header.len().next_multiple_of(8).max(8), 0);
                header[1] = (header.len() / 4 - 2) as u8;
            } else {
                header.resize(header.len().next_multiple_of(8), 0);
                header[1] = (header.len() / 8 - 1) as u8;
            }
            header.extend(rest);
            (protocol, rest) = (*extension, header);
        }
        let mut datagram = (6 << 28 | u32::from(self.tos) << 20 | self.label).to_be_bytes().to_vec();
        datagram.extend(size16(rest.len()).to_be_bytes());
        datagram.extend([protocol, self.ttl]);
        datagram.extend(src.octets());
        datagram.extend(dst.octets());
        datagram.extend(rest);
        datagram
    }

    /// The protocol number, and transport header and payload; `pseudo` gives the pseudo-header's sum.
    fn emit_transport(&self, pseudo: impl Fn(u8, usize) -> Sum) -> (u8, Vec<u8>) {
        let (protocol, mut segment, checksum_at) = self.emit_transport_header();
        segment.extend(&self.payload);
        let size = segment.len();
        if protocol == 17 && segment.len() >= 8 && checksum_at.is_some() {
            segment[4..6].copy_from_slice(&size16(size).to_be_bytes());
        }
        match (&self.transport, checksum_at) {
            (Transport::Udp { has_checksum: false, .. }, _) | (_, None) => {}
            (Transport::Sctp { .. }, Some(at)) => {
                let crc = sctp_crc32c(&segment).expect("the header is there");
                segment[at..at + 4].copy_from_slice(&crc.to_le_bytes());
            }
            (_, Some(at)) => {
                // ICMP alone has no pseudo-header (RFC 792).
                let sum = if protocol == 1 { Sum::ZERO } else { pseudo(protocol, size) };
                let sum = sum.add_bytes(&segment).finish();
                let sum = if protocol == 17 && sum == 0 { 0xffff } else { sum };
                segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            }
        }
        (protocol, segment)
    }

    /// The protocol number, the transport header with a checksum of 0, and where that is.
    fn emit_transport_header(&self) -> (u8, Vec<u8>, Option<usize>) {
        let ports = |src: &u16, dst: &u16| [src.to_be_bytes(), dst.to_be_bytes()].concat();
        match &self.transport {
            Transport::Raw(protocol) => (*protocol, Vec::new(), None),
            Transport::Tcp { src, dst, flags, options } => {
                let mut header = ports(src, dst);
                header.extend([0, 0, 0, 1, 0, 0, 0, 1]);
                assert!(options.len() <= 40, "{} bytes of TCP options", options.len());
                let words = (5 + options.len() / 4) as u16;
                header.extend((words << 12 | flags & 0x0fff).to_be_bytes());
                header.extend([0xff, 0xff, 0, 0, 0, 0]);
                header.extend(options);
                (6, header, Some(16))
            }
            Transport::Udp { src, dst, .. } => (17, [ports(src, dst), vec![0; 4]].concat(), Some(6)),
            Transport::Sctp { src, dst } => {
                (132, [ports(src, dst), vec![0, 0, 0, 1, 0, 0, 0, 0]].concat(), Some(8))
            }
            Transport::Icmp { kind, code } => (1, vec![*kind, *code, 0, 0, 0, 1, 0, 1], Some(2)),
            Transport::Icmpv6 { kind, code } => (58, vec![*kind, *code, 0, 0, 0, 1, 0, 1], Some(2)),
            Transport::Nd { kind, target, options } => {
                let mut message = vec![*kind, 0, 0, 0, 0, 0, 0, 0];
                message.extend(target.octets());
                message.extend(options);
                (58, message, Some(2))
            }
        }
    }
}

/// A size in a 16-bit field.
fn size16(size: usize) -> u16 {
    u16::try_from(size).expect("the caller keeps datagrams below 64 KiB")
}

/// Frames of every form that extraction knows, for tests, corpora and fuzzing: the same ones in the same order
/// every time.
pub fn samples() -> Vec<Vec<u8>> {
    const A: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const B: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
    let v4 = FrameBuilder::new().ipv4([10, 0, 0, 1], [192, 168, 7, 2]).tos(0xb9).ttl(63);
    let v6 = FrameBuilder::new().ipv6(A, B).tos(0x2e).ttl(9).label(0xabcde);
    let mut frames = Vec::new();
    for ip in [
        v4.clone(),
        v4.clone().ipv4_options(&[7, 7, 4, 0, 0, 0, 0]),
        v6.clone(),
        v6.clone().extension(0, &[1, 4]).extension(60, &[1, 12]),
        v6.clone().extension(43, &[4, 1, 0, 0, 0, 0]).final_dst(A),
        v6.clone().extension(51, &[0; 22]),
    ] {
        for ip in [ip.clone(), ip.vlan(0x8100, 0xe064)] {
            let payload = ip.clone().payload_size(19);
            frames.extend([
                payload.clone().tcp(1025, 443),
                payload.clone().tcp_with(1, 2, 0xfff, &[2, 4, 5, 0xb4, 1]),
                payload.clone().udp(53, 5353),
                payload.clone().udp_without_checksum(7, 8),
                payload.clone().sctp(9, 10),
                payload.clone().icmp(8, 0),
                payload.clone().icmpv6(128, 0),
                payload.clone().protocol(0),
                payload.clone().protocol(47),
                ip.clone().nd_solicit(A, Some(MAC)),
                ip.clone().nd_advert(B, Some(MAC)),
                ip.clone().nd_advert(B, None).nd_option(14, MAC),
                ip.clone().nd_solicit(A, Some(MAC)).nd_option(1, MAC),
                ip.clone().nd_solicit(A, Some(MAC)).nd_option(2, MAC),
                payload.clone().fragment(0, true).tcp(3, 4),
                payload.clone().fragment(0, true).sctp(3, 4),
                payload.clone().fragment(100, true).protocol(6),
                payload.clone().fragment(100, false).protocol(17),
            ]);
        }
    }
    let arp = FrameBuilder::new().arp(1, MAC, [10, 0, 0, 1], [0; 6], [10, 0, 0, 2]);
    frames.extend([
        arp.clone(),
        arp.clone().vlan(0x88a8, 1).vlan(0x8100, 2),
        arp.clone().snap(),
        FrameBuilder::new().arp(0x0102, MAC, [10, 0, 0, 1], [0; 6], [10, 0, 0, 2]),
        FrameBuilder::new().arp_as(0x8035, 3, (MAC, [10, 0, 0, 1]), (MAC, [0; 4])),
        v4.clone().vlan(0x88a8, 1).vlan(0x8100, 2).tcp(5, 6),
        v4.clone().vlan(0x8100, 1).vlan(0x8100, 2).vlan(0x8100, 3).tcp(5, 6),
        v4.clone().snap().udp(5, 6),
        v4.clone().udp(5, 6).pad_to(400),
        v4.clone().tcp(5, 6).pad(),
        FrameBuilder::new().eth_type(0x88cc).payload_size(50),
        FrameBuilder::new().eth_type(0x0040).payload(&[0x42, 0x42, 3, 0, 0, 0, 0, 0]).pad(),
    ]);
    // One, two, three and five labels, over each IP and over what is none.
    let stacks = [&[0x0001_0140][..], &[0x0001_0040, 0x0002_0141], &[1 << 12, 2 << 12, 3 << 12 | 0x1ff]];
    for labels in stacks.into_iter().chain([&[1 << 12, 2 << 12, 3 << 12, 4 << 12, 5 << 12 | 0x101][..]]) {
        frames.extend([
            v4.clone().udp(5, 6).mpls(0x8847, labels),
            v6.clone().tcp(5, 6).mpls(0x8848, labels).vlan(0x8100, 7),
            arp.clone().mpls(0x8847, labels),
        ]);
    }
    let nsh = FrameBuilder::new().nsh(63, 1, 0x0012_34ff, [1, 2, 3, u32::MAX]).payload_size(30);
    frames.extend([
        v4.clone().tcp(5, 6).snap().mpls(0x8847, stacks[0]),
        v4.clone().tcp(5, 6).backbone(MAC, [2; 6], None, 0x0800_1234),
        v6.clone().udp(5, 6).vlan(0x8100, 9).backbone(MAC, [2; 6], Some(5), 0xf712_3456),
        arp.clone().backbone(MAC, [2; 6], None, 1).vlan(0x88a8, 3),
        nsh.clone(),
        nsh.vlan(0x8100, 4),
        // Of the second metadata type, with one word of it.
        FrameBuilder::new().eth_type(0x894f).payload(&[0x3f, 0xc3, 2, 3, 0, 0, 1, 255, 9, 9, 9, 9, 1, 2]),
        v6.clone()
            .extension(60, &[])
            .extension(0, &[])
            .extension(43, &[4, 0])
            .extension(43, &[4, 0])
            .udp(1, 2),
        v6.clone().extension(0, &[]).extension(60, &[]).extension(43, &[4, 0]).extension(60, &[]).tcp(1, 2),
        v6.clone().extension(51, &[0; 10]).protocol(50).payload_size(20),
        v6.clone().protocol(59),
        v6.nd(135, B, &[3, 1, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 14, 1, 1, 1, 1, 1, 1, 1]),
    ]);
    frames.iter().map(FrameBuilder::build).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    const V6_A: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const V6_B: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

    fn over_both() -> [FrameBuilder; 2] {
        let options = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).ipv4_options(&[1, 1, 1]);
        let chain = FrameBuilder::new().ipv6(V6_A, V6_B).extension(0, &[1, 4]).extension(60, &[]);
        [options.tos(0xb8).pad(), chain.label(0x12345).pad()]
    }

    #[test]
    fn another_parser_reads_what_was_asked_for_and_agrees_on_checksums() {
        for base in over_both() {
            for size in [0, 1, 2, 33, 1400] {
                let base = base.clone().vlan(0x88a8, 7).vlan(0x8100, 9).payload_size(size);
                let tcp = base.clone().tcp_with(1, 2, 0x0c2, &[2, 4, 5, 0xb4]).build();
                let sliced = SlicedPacket::from_ethernet(&tcp).expect("parses");
                assert_eq!(sliced.link_exts.len(), 2);
                let Some(TransportSlice::Tcp(header)) = &sliced.transport else { panic!("TCP") };
                assert_eq!(
                    (header.source_port(), header.destination_port(), header.syn(), header.cwr()),
                    (1, 2, true, true)
                );
                let right = match sliced.net.as_ref().expect("IP") {
                    NetSlice::Ipv4(ip) => {
                        assert_eq!(ip.header().dcp().value(), 0x2e);
                        assert_eq!(
                            ip.header().header_checksum(),
                            ip.header().to_header().calc_header_checksum()
                        );
                        header.calc_checksum_ipv4(ip.header().source(), ip.header().destination())
                    }
                    NetSlice::Ipv6(ip) => {
                        assert_eq!(ip.header().flow_label().value(), 0x12345);
                        header.calc_checksum_ipv6(ip.header().source(), ip.header().destination())
                    }
                    NetSlice::Arp(_) => panic!("not ARP"),
                };
                assert_eq!(right.expect("fits"), header.checksum());
                let udp = base.clone().udp(3, 4).build();
                let sliced = SlicedPacket::from_ethernet(&udp).expect("parses");
                let Some(TransportSlice::Udp(header)) = &sliced.transport else { panic!("UDP") };
                assert_eq!((header.source_port(), usize::from(header.length())), (3, 8 + size));
                let right = match sliced.net.as_ref().expect("IP") {
                    NetSlice::Ipv4(ip) => {
                        header.to_header().calc_checksum_ipv4(&ip.header().to_header(), header.payload())
                    }
                    NetSlice::Ipv6(ip) => {
                        header.to_header().calc_checksum_ipv6(&ip.header().to_header(), header.payload())
                    }
                    NetSlice::Arp(_) => panic!("not ARP"),
                };
                assert_eq!(right.expect("fits"), header.checksum());
            }
        }
    }

    /// RFC 4861 sections 4.3 and 4.6.1, byte by byte.
    #[test]
    fn a_neighbour_solicitation_has_its_target_option_and_checksum() {
        let frame = FrameBuilder::new()
            .eth([0x33, 0x33, 0xff, 0, 0, 2], [2, 0, 0, 0, 0, 1])
            .ipv6(V6_A, [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 2])
            .nd_solicit(V6_B, Some([2, 0, 0, 0, 0, 1]))
            .build();
        assert_eq!(frame.len(), 86);
        assert_eq!(frame[54..62], [135, 0, frame[56], frame[57], 0, 0, 0, 0]);
        assert_eq!(frame[78..], [1, 1, 2, 0, 0, 0, 0, 1]);
        let sum = pseudo_header_v6(&V6_A, frame[38..54].try_into().expect("16 bytes"), 58, 32);
        assert_eq!(sum.add_bytes(&frame[54..]).finish(), 0);
    }

    #[test]
    fn icmp_and_sctp_carry_their_own_sums() {
        let icmp = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).icmp(8, 0).payload_size(7).build();
        assert_eq!(checksum(&icmp[34..]), 0);
        let sctp = FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).sctp(5, 6).payload_size(20).build();
        let stored = u32::from_le_bytes(sctp[42..46].try_into().expect("four bytes"));
        assert_eq!(Some(stored), sctp_crc32c(&sctp[34..]));
    }
}
