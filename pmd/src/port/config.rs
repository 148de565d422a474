//! What a device can do, what is asked of it, and what it grants.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::mempool::Mempool;

/// Drivers whose description names a largest frame that they do not have: DPDK's default, 1518 bytes. What bounds
/// theirs is the size of buffers and of the slots of their rings.
const FRAME_SIZE_UNTRUE: [&str; 2] = ["net_af_packet", "net_memif"];

/// Whether what the driver says of its largest frame is not so.
pub(super) fn is_frame_size_untrue(driver: &str) -> bool {
    FRAME_SIZE_UNTRUE.contains(&driver)
}

/// Bounds for the number of descriptors of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorLimits {
    /// The fewest.
    pub min: u16,
    /// The most.
    pub max: u16,
    /// The number must be a multiple of this.
    pub align: u16,
}

impl From<dpdk_sys::rte_eth_desc_lim> for DescriptorLimits {
    fn from(limits: dpdk_sys::rte_eth_desc_lim) -> Self {
        Self { min: limits.nb_min, max: limits.nb_max, align: limits.nb_align }
    }
}

/// What a device is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its driver, `net_tap`.
    pub driver: String,
    /// Its device, `net_tap0` or `0000:03:00.0`.
    pub device: String,
    /// Receive queues it can have.
    pub rx_queue_count_max: u16,
    /// Transmit queues it can have.
    pub tx_queue_count_max: u16,
    /// Descriptors that a receive queue can have.
    pub rx_descriptors: DescriptorLimits,
    /// Descriptors that a transmit queue can have.
    pub tx_descriptors: DescriptorLimits,
    /// What it can do for received packets.
    pub rx_offloads: RxOffloads,
    /// What it can do for sent packets.
    pub tx_offloads: TxOffloads,
    /// Whether it can spread packets over queues by a hash.
    pub rss: bool,
    /// The NUMA node it is attached to, if it is known.
    pub socket: Option<u32>,
    /// The smallest MTU.
    pub mtu_min: u16,
    /// The largest MTU.
    pub mtu_max: u16,
    /// The kernel's interface behind it, if there is one.
    pub interface_index: Option<u32>,
    /// What its link can be, in megabits a second; empty if the driver does not say.
    pub speeds: Vec<(u32, Duplex)>,
}

/// `RTE_ETH_LINK_SPEED_*`: each bit, and what it stands for. The bit for "fixed" is none of them.
const SPEEDS: [(u32, u32, Duplex); 15] = [
    (dpdk_sys::SHIM_LINK_SPEED_10M_HD, 10, Duplex::Half),
    (dpdk_sys::SHIM_LINK_SPEED_10M, 10, Duplex::Full),
    (dpdk_sys::SHIM_LINK_SPEED_100M_HD, 100, Duplex::Half),
    (dpdk_sys::SHIM_LINK_SPEED_100M, 100, Duplex::Full),
    (dpdk_sys::SHIM_LINK_SPEED_1G, 1_000, Duplex::Full),
    (dpdk_sys::SHIM_LINK_SPEED_2_5G, 2_500, Duplex::Full),
    (dpdk_sys::SHIM_LINK_SPEED_5G, 5_000, Duplex::Full),
    (dpdk_sys::SHIM_LINK_SPEED_10G, 10_000, Duplex::Full),
    (dpdk_sys::SHIM_LINK_SPEED_20G, 20_000, Duplex::Full),
    (dpdk_sys::SHIM_LINK_SPEED_25G, 25_000, Duplex::Full),
    (dpdk_sys::SHIM_LINK_SPEED_40G, 40_000, Duplex::Full),
    (dpdk_sys::SHIM_LINK_SPEED_50G, 50_000, Duplex::Full),
    (dpdk_sys::SHIM_LINK_SPEED_56G, 56_000, Duplex::Full),
    (dpdk_sys::SHIM_LINK_SPEED_100G, 100_000, Duplex::Full),
    (dpdk_sys::SHIM_LINK_SPEED_200G, 200_000, Duplex::Full),
];

/// The speeds in `rte_eth_dev_info::speed_capa`.
pub(super) fn speeds(capabilities: u32) -> Vec<(u32, Duplex)> {
    let are_there = SPEEDS.iter().filter(|(bit, ..)| capabilities & bit != 0);
    are_there.map(|&(_, speed, duplex)| (speed, duplex)).collect()
}

/// Things that a device can do for received packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxOffloads {
    /// Check the IPv4 header's checksum.
    pub ipv4_checksum: bool,
    /// Check TCP's and UDP's checksums.
    pub l4_checksum: bool,
    /// Take the outermost VLAN tag out of the packet.
    pub vlan_strip: bool,
    /// Deliver the hash with the packet.
    pub rss_hash: bool,
    /// Receive packets larger than a buffer, into several segments.
    pub scatter: bool,
}

/// Things that a device can do for sent packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxOffloads {
    /// Fill in the IPv4 header's checksum.
    pub ipv4_checksum: bool,
    /// Fill in TCP's and UDP's checksums.
    pub l4_checksum: bool,
    /// Send packets of several segments.
    pub multi_segment: bool,
}

const RX_L4: u64 = dpdk_sys::SHIM_RX_OFFLOAD_TCP_CKSUM | dpdk_sys::SHIM_RX_OFFLOAD_UDP_CKSUM;
const TX_L4: u64 = dpdk_sys::SHIM_TX_OFFLOAD_TCP_CKSUM | dpdk_sys::SHIM_TX_OFFLOAD_UDP_CKSUM;

impl RxOffloads {
    /// Each offload of `self` that `other` has too.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::from_bits(self.bits() & other.bits())
    }

    pub(super) fn bits(self) -> u64 {
        bit(self.ipv4_checksum, dpdk_sys::SHIM_RX_OFFLOAD_IPV4_CKSUM)
            | bit(self.l4_checksum, RX_L4)
            | bit(self.vlan_strip, dpdk_sys::SHIM_RX_OFFLOAD_VLAN_STRIP)
            | bit(self.rss_hash, dpdk_sys::SHIM_RX_OFFLOAD_RSS_HASH)
            | bit(self.scatter, dpdk_sys::SHIM_RX_OFFLOAD_SCATTER)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self {
            ipv4_checksum: has(bits, dpdk_sys::SHIM_RX_OFFLOAD_IPV4_CKSUM),
            l4_checksum: has(bits, RX_L4),
            vlan_strip: has(bits, dpdk_sys::SHIM_RX_OFFLOAD_VLAN_STRIP),
            rss_hash: has(bits, dpdk_sys::SHIM_RX_OFFLOAD_RSS_HASH),
            scatter: has(bits, dpdk_sys::SHIM_RX_OFFLOAD_SCATTER),
        }
    }
}

impl TxOffloads {
    /// Each offload of `self` that `other` has too.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::from_bits(self.bits() & other.bits())
    }

    pub(super) fn bits(self) -> u64 {
        bit(self.ipv4_checksum, dpdk_sys::SHIM_TX_OFFLOAD_IPV4_CKSUM)
            | bit(self.l4_checksum, TX_L4)
            | bit(self.multi_segment, dpdk_sys::SHIM_TX_OFFLOAD_MULTI_SEGS)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self {
            ipv4_checksum: has(bits, dpdk_sys::SHIM_TX_OFFLOAD_IPV4_CKSUM),
            l4_checksum: has(bits, TX_L4),
            multi_segment: has(bits, dpdk_sys::SHIM_TX_OFFLOAD_MULTI_SEGS),
        }
    }
}

fn bit(is_set: bool, bits: u64) -> u64 {
    if is_set { bits } else { 0 }
}

fn has(bits: u64, wanted: u64) -> bool {
    bits & wanted == wanted
}

/// What is asked of a port.
#[derive(Clone, Debug)]
pub struct PortConfig {
    /// Receive queues, at least one.
    pub rx_queue_count: u16,
    /// Transmit queues, at least one. With `net_tap` both counts become the larger one, as it demands.
    pub tx_queue_count: u16,
    /// Descriptors of each receive queue; fitted to the device's limits.
    pub rx_descriptor_count: u16,
    /// Descriptors of each transmit queue; fitted to the device's limits.
    pub tx_descriptor_count: u16,
    /// The MTU. `None`: as the device has it.
    pub mtu: Option<u16>,
    /// Spread packets over the receive queues by a hash of addresses and ports, where supported.
    pub rss: bool,
    /// Wanted where supported.
    pub rx_offloads: RxOffloads,
    /// Wanted where supported.
    pub tx_offloads: TxOffloads,
    /// Where received packets are put.
    pub mempool: Arc<Mempool>,
}

impl PortConfig {
    /// One queue each way, 512 descriptors, the device's MTU, no offloads.
    #[must_use]
    pub fn new(mempool: Arc<Mempool>) -> Self {
        Self {
            rx_queue_count: 1,
            tx_queue_count: 1,
            rx_descriptor_count: 512,
            tx_descriptor_count: 512,
            mtu: None,
            rss: false,
            rx_offloads: RxOffloads::default(),
            tx_offloads: TxOffloads::default(),
            mempool,
        }
    }
}

/// What a port was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortSettings {
    /// Receive queues.
    pub rx_queue_count: u16,
    /// Transmit queues.
    pub tx_queue_count: u16,
    /// Descriptors of each receive queue.
    pub rx_descriptor_count: u16,
    /// Descriptors of each transmit queue.
    pub tx_descriptor_count: u16,
    /// The MTU.
    pub mtu: u16,
    /// Whether packets are spread over the receive queues by a hash.
    pub rss: bool,
    /// Of those wanted.
    pub rx_offloads: RxOffloads,
    /// Of those wanted.
    pub tx_offloads: TxOffloads,
}

/// A MAC address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no MAC address: six bytes as 02:00:00:00:00:01")]
pub struct MacAddressError {
    /// The text.
    pub text: String,
}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    fn from_str(text: &str) -> Result<Self, MacAddressError> {
        let error = || MacAddressError { text: text.to_owned() };
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(error)?;
            let is_hex = part.bytes().all(|digit| digit.is_ascii_hexdigit());
            *byte = u8::from_str_radix(part, 16).ok().filter(|_| is_hex).ok_or_else(error)?;
        }
        if parts.next().is_some() { Err(error()) } else { Ok(Self(bytes)) }
    }
}

/// How a link runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplex {
    /// One way at a time.
    Half,
    /// Both ways at once.
    Full,
}

/// The state of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether packets can pass.
    pub is_up: bool,
    /// Megabits a second, where known.
    pub speed_mbps: Option<u32>,
    /// One way at a time, or both.
    pub duplex: Duplex,
    /// Whether speed and duplex were negotiated.
    pub is_autonegotiated: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_are_dpdks_bits() {
        let all = RxOffloads {
            ipv4_checksum: true,
            l4_checksum: true,
            vlan_strip: true,
            rss_hash: true,
            scatter: true,
        };
        assert_eq!(RxOffloads::from_bits(all.bits()), all);
        assert_eq!(RxOffloads::from_bits(u64::MAX), all);
        let tcp_only = dpdk_sys::SHIM_RX_OFFLOAD_TCP_CKSUM;
        assert_eq!(RxOffloads::from_bits(tcp_only), RxOffloads::default(), "half of `l4_checksum` is none");
        let some = RxOffloads { scatter: true, ..RxOffloads::default() };
        assert_eq!(all.and(some), some);
        let all = TxOffloads { ipv4_checksum: true, l4_checksum: true, multi_segment: true };
        assert_eq!(TxOffloads::from_bits(all.bits()), all);
    }

    #[test]
    fn a_mac_address_is_read_as_it_is_written() {
        let mac: MacAddress = "02:00:5e:10:00:Ff".parse().expect("six bytes");
        assert_eq!(mac.to_string(), "02:00:5e:10:00:ff");
        for text in
            ["", "02", "02:00:5e:10:00", "02:00:5e:10:00:ff:01", "2:0:5e:10:0:ff", "02:00:5e:10:00:+f"]
        {
            assert_eq!(text.parse::<MacAddress>(), Err(MacAddressError { text: text.into() }));
        }
    }
}
