//! `multipath`, `bundle` and `bundle_load`: choosing a link by a hash of the packet (`ovs-actions(7)`).

use super::Subfield;
use crate::flow::OfPort;

/// Members of a bundle at most (BUNDLE_MAX_MEMBERS of Open vSwitch).
pub const BUNDLE_MEMBER_COUNT_MAX: usize = 2_048;

/// What a hash is over (`nx_hash_fields`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HashFields {
    /// Ethernet source.
    EthSrc = 0,
    /// Ethernet addresses and type, VLAN id, IP addresses and protocol, TCP and SCTP ports; both directions alike.
    SymmetricL4 = 1,
    /// IP addresses and protocol, TCP and SCTP ports; both directions alike.
    SymmetricL3L4 = 2,
    /// The same, and UDP ports.
    SymmetricL3L4Udp = 3,
    /// IP source.
    NwSrc = 4,
    /// IP destination.
    NwDst = 5,
    /// IP addresses; both directions alike.
    SymmetricL3 = 6,
}

impl HashFields {
    /// All of them, by number.
    pub const ALL: [HashFields; 7] = [
        HashFields::EthSrc,
        HashFields::SymmetricL4,
        HashFields::SymmetricL3L4,
        HashFields::SymmetricL3L4Udp,
        HashFields::NwSrc,
        HashFields::NwDst,
        HashFields::SymmetricL3,
    ];

    /// The one with this number.
    pub fn from_wire(number: u16) -> Option<HashFields> {
        HashFields::ALL.get(usize::from(number)).copied()
    }

    /// Its name in the flow syntax.
    pub fn name(self) -> &'static str {
        match self {
            HashFields::EthSrc => "eth_src",
            HashFields::SymmetricL4 => "symmetric_l4",
            HashFields::SymmetricL3L4 => "symmetric_l3l4",
            HashFields::SymmetricL3L4Udp => "symmetric_l3l4+udp",
            HashFields::NwSrc => "nw_src",
            HashFields::NwDst => "nw_dst",
            HashFields::SymmetricL3 => "symmetric_l3",
        }
    }
}

/// How a hash chooses a link (`nx_mp_algorithm`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MultipathAlgorithm {
    /// The hash modulo the number of links.
    ModuloN = 0,
    /// The hash's range cut into as many equal parts as there are links (RFC 2992).
    HashThreshold = 1,
    /// The link that gives the highest weight together with the hash (RFC 2991).
    HighestRandomWeight = 2,
    /// The first number below that of links among hashes of hashes, cut to so many bits as it takes; after `argument`
    /// attempts the modulus.
    IterativeHash = 3,
}

impl MultipathAlgorithm {
    /// All of them, by number.
    pub const ALL: [MultipathAlgorithm; 4] = [
        MultipathAlgorithm::ModuloN,
        MultipathAlgorithm::HashThreshold,
        MultipathAlgorithm::HighestRandomWeight,
        MultipathAlgorithm::IterativeHash,
    ];

    /// The one with this number.
    pub fn from_wire(number: u16) -> Option<MultipathAlgorithm> {
        MultipathAlgorithm::ALL.get(usize::from(number)).copied()
    }

    /// Its name in the flow syntax.
    pub fn name(self) -> &'static str {
        match self {
            MultipathAlgorithm::ModuloN => "modulo_n",
            MultipathAlgorithm::HashThreshold => "hash_threshold",
            MultipathAlgorithm::HighestRandomWeight => "hrw",
            MultipathAlgorithm::IterativeHash => "iter_hash",
        }
    }
}

/// Writes the number of a link, from 0 on, that a hash chooses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Multipath {
    /// What is hashed.
    pub fields: HashFields,
    /// What the hash starts from.
    pub basis: u16,
    /// How it chooses.
    pub algorithm: MultipathAlgorithm,
    /// Links less one.
    pub link_max: u16,
    /// Of [`MultipathAlgorithm::IterativeHash`].
    pub argument: u32,
    /// Where the number goes; wide enough for `link_max`.
    pub destination: Subfield,
}

/// How a bundle chooses (`nx_bd_algorithm`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BundleAlgorithm {
    /// The first member that lives.
    ActiveBackup = 0,
    /// Of those that live the one with the highest weight together with the hash.
    HighestRandomWeight = 1,
}

impl BundleAlgorithm {
    /// The one with this number.
    pub fn from_wire(number: u16) -> Option<BundleAlgorithm> {
        [BundleAlgorithm::ActiveBackup, BundleAlgorithm::HighestRandomWeight]
            .get(usize::from(number))
            .copied()
    }

    /// Its name in the flow syntax.
    pub fn name(self) -> &'static str {
        match self {
            BundleAlgorithm::ActiveBackup => "active_backup",
            BundleAlgorithm::HighestRandomWeight => "hrw",
        }
    }
}

/// Chooses among ports that live, and sends there or writes the number: [`OfPort::NONE`] if none does.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Bundle {
    /// How it chooses.
    pub algorithm: BundleAlgorithm,
    /// What is hashed.
    pub fields: HashFields,
    /// What the hash starts from.
    pub basis: u16,
    /// The ports, [`BUNDLE_MEMBER_COUNT_MAX`] at most.
    pub members: Vec<OfPort>,
    /// Where the number goes (`bundle_load`), of 16 bits at least; none to send the packet there (`bundle`).
    pub destination: Option<Subfield>,
}
