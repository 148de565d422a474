//! The file as it is written: one struct for each mapping, one field for each key.
//!
//! Every field is optional, so that a struct can be read whatever else is wrong with it; what must be there is
//! for [`check`](super::check) to say. The order of the fields is the order in which messages list the keys.
//! What each key means stands in `conf/penstock.yaml`, and a test holds the two together.

use super::types::{FailMode, Hugepages};
use super::value::{
    FromText, ListOrWord, ListWord, PortNumber, PowerOfTwo, Section, Text, Whole, WholeOrAuto,
};
use crate::datapath::IdlePolicy;
use crate::ipfix::exporter::{MESSAGE_SIZE_MAX, MESSAGE_SIZE_MIN};
use crate::netdev::{MacAddress, SocketRole};
use crate::ofproto::{FragmentPolicy, PortFlags, PriorityTags, StpState};
use crate::openflow::endpoint::{LISTEN_ALLOWED, Listen as ListenAt, REMOTE_ALLOWED, Remote};
use crate::openflow::message::Version;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use tracing::level_filters::LevelFilter;

/// A list whose elements can be wrong one by one.
pub(super) type List<T> = Option<Vec<Option<T>>>;

/// The whole file.
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) switch: Option<Section<RawSwitch>>,
    pub(super) dpdk: Option<Section<RawDpdk>>,
    pub(super) workers: Option<Section<RawWorkers>>,
    pub(super) bridges: List<Section<RawBridge>>,
    pub(super) metrics: Option<Section<RawMetrics>>,
    pub(super) control: Option<Section<RawControl>>,
}

/// `switch:`
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawSwitch {
    pub(super) name: Option<Text<SwitchName>>,
    pub(super) run_dir: Option<Text<AbsolutePath>>,
    pub(super) log_level: Option<Text<LevelFilter>>,
}

/// `dpdk:`
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawDpdk {
    pub(super) hugepages: Option<Text<Hugepages>>,
    pub(super) memory_mib: Option<WholeOrAuto<64, 1_048_576>>,
}

/// `workers:`
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawWorkers {
    pub(super) count: Option<Whole<1, 64>>,
    pub(super) cores: Option<ListOrWord<Core, CoresWord>>,
    pub(super) control_core: Option<WholeOrAuto<0, 1023>>,
    pub(super) idle: Option<Text<IdlePolicy>>,
    pub(super) emc_entries: Option<PowerOfTwo<1024, 4_194_304>>,
    pub(super) megaflows_max: Option<Whole<1, 4_000_000>>,
    pub(super) upcall_ring_len: Option<PowerOfTwo<64, 65_536>>,
    pub(super) isolate_pinned: Option<bool>,
    pub(super) rebalance: Option<Text<Rebalance>>,
}

/// An element of `bridges:`
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawBridge {
    pub(super) name: Option<Text<InterfaceName>>,
    pub(super) datapath_id: Option<Text<DatapathId>>,
    pub(super) mac: Option<Text<Mac>>,
    pub(super) mac_ageing_s: Option<Whole<15, 3600>>,
    pub(super) mac_table_size: Option<Whole<10, 1_000_000>>,
    pub(super) internal_port: Option<bool>,
    pub(super) forward_bpdu: Option<bool>,
    pub(super) fragments: Option<Text<FragmentPolicy>>,
    pub(super) controller_rate_limit: Option<Section<RawRate>>,
    pub(super) meters: List<String>,
    pub(super) groups: List<String>,
    pub(super) rules: List<String>,
    pub(super) rules_file: Option<Text<NonEmpty>>,
    pub(super) ports: List<Section<RawPort>>,
    pub(super) mirrors: List<Section<RawMirror>>,
    pub(super) openflow: Option<Section<RawOpenFlow>>,
    pub(super) ipfix: Option<Section<RawIpfix>>,
}

/// `openflow:` of a bridge
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawOpenFlow {
    pub(super) versions: List<Text<Version>>,
    pub(super) controllers: List<Text<Remote>>,
    pub(super) listen: List<Text<ListenAt>>,
    pub(super) management_socket: Option<bool>,
    pub(super) fail_mode: Option<Text<FailMode>>,
    pub(super) probe_interval_s: Option<Whole<0, 3600>>,
    pub(super) backoff_max_s: Option<Whole<1, 3600>>,
    pub(super) rate_limit: Option<Section<RawRate>>,
    pub(super) tls: Option<Section<RawTls>>,
}

/// `tls:` of `openflow:`
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTls {
    pub(super) certificate: Option<Text<AbsolutePath>>,
    pub(super) private_key: Option<Text<AbsolutePath>>,
    pub(super) ca_certificate: Option<Text<AbsolutePath>>,
}

/// `controller_rate_limit:` of a bridge, and `rate_limit:` of `openflow:`
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawRate {
    pub(super) pps: Option<Whole<1, 10_000_000>>,
    pub(super) burst: Option<Whole<1, 10_000_000>>,
}

/// An element of `mirrors:`
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMirror {
    pub(super) name: Option<Text<MirrorName>>,
    pub(super) select_all: Option<bool>,
    pub(super) select_src_port: List<Text<AnyPortName>>,
    pub(super) select_dst_port: List<Text<AnyPortName>>,
    pub(super) select_vlan: List<AnyVid>,
    pub(super) output_port: Option<Text<AnyPortName>>,
    pub(super) output_vlan: Option<Vid>,
    pub(super) snaplen: Option<Whole<14, 65_535>>,
}

/// An element of `ports:`
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPort {
    pub(super) name: Option<Text<PortName>>,
    pub(super) r#type: Option<Text<PortType>>,
    pub(super) number: Option<PortNumber>,
    pub(super) admin: Option<Text<Admin>>,
    pub(super) interface: Option<Text<InterfaceName>>,
    pub(super) start_queue: Option<Whole<0, 1023>>,
    pub(super) socket: Option<Text<DeviceSocket>>,
    pub(super) mode: Option<Text<SocketRole>>,
    pub(super) role: Option<Text<SocketRole>>,
    pub(super) id: Option<Whole<0, { u32::MAX as u64 }>>,
    pub(super) secret: Option<Text<MemifSecret>>,
    pub(super) peer: Option<Text<PortName>>,
    pub(super) devargs: Option<Text<Devargs>>,
    pub(super) rx_file: Option<Text<CaptureFile>>,
    pub(super) tx_file: Option<Text<CaptureFile>>,
    pub(super) infinite_rx: Option<bool>,
    pub(super) packet_size: Option<Whole<64, 9000>>,
    pub(super) receive: Option<bool>,
    pub(super) mtu: Option<Whole<68, 9000>>,
    pub(super) mac: Option<Text<Mac>>,
    pub(super) rx_queues: Option<Whole<1, 64>>,
    /// Queues are numbers here, though keys are text: [`check`](super::check) reads them.
    pub(super) rx_affinity: Option<Section<BTreeMap<String, Option<Core>>>>,
    pub(super) rx_descriptors: Option<PowerOfTwo<64, 4096>>,
    pub(super) tx_descriptors: Option<PowerOfTwo<64, 4096>>,
    pub(super) vlan: Option<Section<RawVlan>>,
    pub(super) priority_tags: Option<Text<PriorityTags>>,
    pub(super) protected: Option<bool>,
    pub(super) disable: List<Text<Disable>>,
    pub(super) stp: Option<Text<StpState>>,
}

/// `vlan:` of a port
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawVlan {
    pub(super) access: Option<Vid>,
    pub(super) trunk: Option<ListOrWord<Vid, TrunkWord>>,
    pub(super) native: Option<Vid>,
    pub(super) mode: Option<Text<Mode>>,
    pub(super) tag: Option<Vid>,
    pub(super) trunks: Option<ListOrWord<AnyVid, AnyVlansWord>>,
    pub(super) cvlans: Option<ListOrWord<AnyVid, AnyVlansWord>>,
}

/// `ipfix:` of a bridge
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawIpfix {
    pub(super) collector: Option<Text<UdpCollector>>,
    pub(super) observation_domain_id: Option<Whole<0, { u32::MAX as u64 }>>,
    pub(super) observation_point_id: Option<Whole<0, { u64::MAX }>>,
    pub(super) active_timeout_ms: Option<Whole<100, 1_800_000>>,
    pub(super) idle_timeout_ms: Option<Whole<100, 1_800_000>>,
    pub(super) cache_entries: Option<Whole<1024, 16_777_216>>,
    pub(super) template_interval_s: Option<Whole<1, 86_400>>,
    pub(super) message_size_max: Option<Whole<{ MESSAGE_SIZE_MIN as u64 }, { MESSAGE_SIZE_MAX as u64 }>>,
    pub(super) input: Option<bool>,
    pub(super) output: Option<bool>,
}

/// `metrics:`
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawMetrics {
    pub(super) listen: Option<Text<Listen>>,
}

/// `control:`
#[derive(Deserialize, Default, Debug)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawControl {
    pub(super) socket: Option<Text<SocketPath>>,
    pub(super) mode: Option<Text<SocketMode>>,
}

/// A core's number, as the kernel counts.
pub(super) type Core = Whole<0, 1023>;
/// A VLAN's id.
pub(super) type Vid = Whole<1, 4094>;
/// A VLAN's id, with 0 for none and the reserved 4 095.
pub(super) type AnyVid = Whole<0, 4095>;

/// The words that a value can be, each with what it stands for.
macro_rules! words {
    ($kind:ty, $allowed:literal, $($word:literal => $value:expr),+) => {
        impl FromText for $kind {
            const ALLOWED: &'static str = $allowed;

            fn from_text(text: &str) -> Option<Self> {
                match text {
                    $($word => Some($value),)+
                    _ => None,
                }
            }
        }
    };
}

words!(LevelFilter, "off, error, warn, info, debug or trace",
    "off" => LevelFilter::OFF, "error" => LevelFilter::ERROR, "warn" => LevelFilter::WARN,
    "info" => LevelFilter::INFO, "debug" => LevelFilter::DEBUG, "trace" => LevelFilter::TRACE);
words!(Hugepages, "auto, require or never",
    "auto" => Hugepages::Auto, "require" => Hugepages::Require, "never" => Hugepages::Never);
words!(Rebalance, "off or auto", "off" => Rebalance(false), "auto" => Rebalance(true));
words!(IdlePolicy, "sleep or spin", "sleep" => IdlePolicy::Sleep, "spin" => IdlePolicy::Spin);
words!(SocketRole, "server or client", "server" => SocketRole::Server, "client" => SocketRole::Client);
words!(Admin, "up or down", "up" => Admin::Up, "down" => Admin::Down);
words!(FragmentPolicy, "normal, drop or nx-match",
    "normal" => FragmentPolicy::Normal, "drop" => FragmentPolicy::Drop, "nx-match" => FragmentPolicy::NxMatch);
words!(PriorityTags, "never, if-nonzero or always",
    "never" => PriorityTags::Never, "if-nonzero" => PriorityTags::IfNonzero, "always" => PriorityTags::Always);
words!(StpState, "forwarding, learning, listening, blocking or disabled",
    "forwarding" => StpState::Forwarding, "learning" => StpState::Learning, "listening" => StpState::Listening,
    "blocking" => StpState::Blocking, "disabled" => StpState::Disabled);
words!(Mode, "access, trunk, native-tagged, native-untagged or dot1q-tunnel",
    "access" => Mode::Access, "trunk" => Mode::Trunk, "native-tagged" => Mode::NativeTagged,
    "native-untagged" => Mode::NativeUntagged, "dot1q-tunnel" => Mode::Dot1qTunnel);
words!(Disable, "receive, receive-stp, flood, forward or packet-in",
    "receive" => Disable::Receive, "receive-stp" => Disable::ReceiveStp, "flood" => Disable::Flood,
    "forward" => Disable::Forward, "packet-in" => Disable::PacketIn);
// `dummy` is for tests alone and so not told of; files cannot have it.
words!(PortType, "tap, null, pcap, dpdk, af-packet, af-xdp, ring, memif, vhost-user, virtio-user or patch",
    "tap" => PortType::Tap, "null" => PortType::Null, "pcap" => PortType::Pcap, "dpdk" => PortType::Dpdk,
    "af-packet" => PortType::AfPacket, "af-xdp" => PortType::AfXdp, "ring" => PortType::Ring,
    "memif" => PortType::Memif, "vhost-user" => PortType::VhostUser, "virtio-user" => PortType::VirtioUser,
    "patch" => PortType::Patch,
    "dummy" => PortType::Dummy);

words!(FailMode, "standalone or secure", "standalone" => FailMode::Standalone, "secure" => FailMode::Secure);
words!(Version, "OpenFlow10, OpenFlow11, OpenFlow12, OpenFlow13, OpenFlow14 or OpenFlow15",
    "OpenFlow10" => Version::V10, "OpenFlow11" => Version::V11, "OpenFlow12" => Version::V12,
    "OpenFlow13" => Version::V13, "OpenFlow14" => Version::V14, "OpenFlow15" => Version::V15);

impl FromText for Remote {
    const ALLOWED: &'static str = REMOTE_ALLOWED;

    fn from_text(text: &str) -> Option<Remote> {
        text.parse().ok()
    }
}

impl FromText for ListenAt {
    const ALLOWED: &'static str = LISTEN_ALLOWED;

    fn from_text(text: &str) -> Option<ListenAt> {
        text.parse().ok()
    }
}

impl PortType {
    pub(super) fn word(self) -> &'static str {
        match self {
            PortType::Tap => "tap",
            PortType::Null => "null",
            PortType::Pcap => "pcap",
            PortType::Dpdk => "dpdk",
            PortType::AfPacket => "af-packet",
            PortType::AfXdp => "af-xdp",
            PortType::Ring => "ring",
            PortType::Memif => "memif",
            PortType::VhostUser => "vhost-user",
            PortType::VirtioUser => "virtio-user",
            PortType::Patch => "patch",
            PortType::Dummy => "dummy",
        }
    }
}

/// Whether receive queues move by load.
#[derive(Debug)]
pub(super) struct Rebalance(pub(super) bool);

/// `type:` of a port: the kinds of device that a configuration can name. A bridge's `internal_port` is the only
/// way to an internal one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum PortType {
    Tap,
    Null,
    Pcap,
    Dpdk,
    AfPacket,
    AfXdp,
    Ring,
    Memif,
    VhostUser,
    VirtioUser,
    Patch,
    Dummy,
}

/// `admin:` of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admin {
    Up,
    Down,
}

/// `mode:` of a port's VLANs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Access,
    Trunk,
    NativeTagged,
    NativeUntagged,
    Dot1qTunnel,
}

impl Mode {
    pub(super) fn word(self) -> &'static str {
        match self {
            Mode::Access => "access",
            Mode::Trunk => "trunk",
            Mode::NativeTagged => "native-tagged",
            Mode::NativeUntagged => "native-untagged",
            Mode::Dot1qTunnel => "dot1q-tunnel",
        }
    }
}

/// What a port is not to do: an element of `disable:`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Disable {
    Receive,
    ReceiveStp,
    Flood,
    Forward,
    PacketIn,
}

impl Disable {
    pub(super) const ALLOWED_WORDS: &'static str = Disable::ALLOWED;

    pub(super) fn word(self) -> &'static str {
        match self {
            Disable::Receive => "receive",
            Disable::ReceiveStp => "receive-stp",
            Disable::Flood => "flood",
            Disable::Forward => "forward",
            Disable::PacketIn => "packet-in",
        }
    }

    /// The flag that it sets.
    pub(super) fn flag(self, flags: &mut PortFlags) -> &mut bool {
        match self {
            Disable::Receive => &mut flags.no_receive,
            Disable::ReceiveStp => &mut flags.no_receive_stp,
            Disable::Flood => &mut flags.no_flood,
            Disable::Forward => &mut flags.no_forward,
            Disable::PacketIn => &mut flags.no_packet_in,
        }
    }
}

#[derive(Debug)]
pub(super) struct CoresWord;

impl ListWord for CoresWord {
    const WORD: &'static str = "auto";
    const ALLOWED: &'static str = "auto, or a list of core numbers from 0 to 1023";
}

#[derive(Debug)]
pub(super) struct TrunkWord;

impl ListWord for TrunkWord {
    const WORD: &'static str = "all";
    const ALLOWED: &'static str = "all, or a list of VLAN ids from 1 to 4094";
}

#[derive(Debug)]
pub(super) struct AnyVlansWord;

impl ListWord for AnyVlansWord {
    const WORD: &'static str = "all";
    const ALLOWED: &'static str = "all, or a list of VLAN ids from 0 to 4095";
}

/// Whether `text` is 1 to `len_max` bytes of letters, digits and `extra`.
fn is_word(text: &str, len_max: usize, extra: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || extra.contains(c);
    (1..=len_max).contains(&text.len()) && text.chars().all(fits)
}

/// Name of the switch.
#[derive(Debug)]
pub(super) struct SwitchName(pub(super) String);

impl FromText for SwitchName {
    const ALLOWED: &'static str = "1 to 32 of a-z 0-9 - _";

    fn from_text(text: &str) -> Option<Self> {
        let fits = is_word(text, 32, "-_") && !text.contains(|c: char| c.is_ascii_uppercase());
        fits.then(|| SwitchName(text.to_owned()))
    }
}

/// Name of an interface of the host: the kernel's IFNAMSIZ leaves 15 bytes, and DPDK's devargs no comma.
#[derive(Debug)]
pub(super) struct InterfaceName(pub(super) String);

impl FromText for InterfaceName {
    const ALLOWED: &'static str =
        "1 to 15 of a-z A-Z 0-9 - _ . beginning with a letter, no OpenFlow port's name";

    fn from_text(text: &str) -> Option<Self> {
        (is_word(text, 15, "-_.") && is_free_port_name(text)).then(|| InterfaceName(text.to_owned()))
    }
}

/// Name of a port.
#[derive(Debug)]
pub(super) struct PortName(pub(super) String);

impl FromText for PortName {
    const ALLOWED: &'static str =
        "1 to 32 of a-z A-Z 0-9 - _ . beginning with a letter, no OpenFlow port's name";

    fn from_text(text: &str) -> Option<Self> {
        (is_word(text, 32, "-_.") && is_free_port_name(text)).then(|| PortName(text.to_owned()))
    }
}

/// Name of a port that is to be there: no more is asked of it than of any port or bridge.
#[derive(Debug)]
pub(super) struct AnyPortName(pub(super) String);

impl FromText for AnyPortName {
    const ALLOWED: &'static str = "the name of a port of the bridge";

    fn from_text(text: &str) -> Option<Self> {
        is_word(text, 32, "-_.").then(|| AnyPortName(text.to_owned()))
    }
}

/// Name of a mirror.
#[derive(Debug)]
pub(super) struct MirrorName(pub(super) String);

impl MirrorName {
    pub(super) const ALLOWED_WORDS: &'static str = MirrorName::ALLOWED;
}

impl FromText for MirrorName {
    const ALLOWED: &'static str = "1 to 32 of a-z A-Z 0-9 - _ .";

    fn from_text(text: &str) -> Option<Self> {
        is_word(text, 32, "-_.").then(|| MirrorName(text.to_owned()))
    }
}

/// Whether a rule that names this port can mean nothing else: no number, and no reserved port.
fn is_free_port_name(text: &str) -> bool {
    const RESERVED: [&str; 12] = [
        "in_port",
        "table",
        "normal",
        "flood",
        "all",
        "controller",
        "local",
        "none",
        "any",
        "unset",
        "max",
        "drop",
    ];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !RESERVED.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// OpenFlow's datapath id.
#[derive(Debug)]
pub(super) struct DatapathId(pub(super) u64);

impl FromText for DatapathId {
    const ALLOWED: &'static str = "16 hexadecimal digits in quotes, not all 0";

    fn from_text(text: &str) -> Option<Self> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = if is_hex { u64::from_str_radix(text, 16).ok()? } else { 0 };
        (id != 0).then_some(DatapathId(id))
    }
}

/// A hardware address that a device can have.
#[derive(Debug)]
pub(super) struct Mac(pub(super) MacAddress);

impl FromText for Mac {
    const ALLOWED: &'static str = "a unicast address such as 02:00:00:00:00:01";

    fn from_text(text: &str) -> Option<Self> {
        let mut address = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut address {
            let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+'))?;
            *byte = u8::from_str_radix(part, 16).ok()?;
        }
        let is_unicast = address[0] & 1 == 0 && address != [0; 6];
        (parts.next().is_none() && is_unicast).then_some(Mac(address))
    }
}

/// A path from the root.
#[derive(Debug)]
pub(super) struct AbsolutePath(pub(super) PathBuf);

impl FromText for AbsolutePath {
    const ALLOWED: &'static str = "an absolute path";

    fn from_text(text: &str) -> Option<Self> {
        (text.starts_with('/') && !text.contains('\0')).then(|| AbsolutePath(PathBuf::from(text)))
    }
}

/// Where the control socket can be.
#[derive(Debug)]
pub(super) struct SocketPath(pub(super) PathBuf);

/// Bytes that the control socket's path can have: `sun_path` has 108, less the closing 0, less the `.new` that
/// the name ends in until the socket is ready.
pub(super) const SOCKET_PATH_SIZE_MAX: usize = 108 - 1 - 4;

impl FromText for SocketPath {
    const ALLOWED: &'static str = "an absolute path of at most 103 bytes";

    fn from_text(text: &str) -> Option<Self> {
        let AbsolutePath(path) = AbsolutePath::from_text(text)?;
        (text.len() <= SOCKET_PATH_SIZE_MAX).then_some(SocketPath(path))
    }
}

/// Permission bits.
#[derive(Debug)]
pub(super) struct SocketMode(pub(super) u32);

impl FromText for SocketMode {
    const ALLOWED: &'static str = "four octal digits in quotes, \"0000\" to \"0777\"";

    fn from_text(text: &str) -> Option<Self> {
        let is_octal = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_digit());
        let mode = u32::from_str_radix(text, 8).ok()?;
        (is_octal && mode <= 0o777).then_some(SocketMode(mode))
    }
}

/// Text of any kind but none.
#[derive(Debug)]
pub(super) struct NonEmpty(pub(super) String);

impl FromText for NonEmpty {
    const ALLOWED: &'static str = "the name of a file";

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains('\0')).then(|| NonEmpty(text.to_owned()))
    }
}

/// Name of a capture file, as DPDK's devargs can carry it.
#[derive(Debug)]
pub(super) struct CaptureFile(pub(super) String);

impl FromText for CaptureFile {
    const ALLOWED: &'static str = "the name of a file, without commas";

    fn from_text(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && !text.contains([',', '\0']);
        fits.then(|| CaptureFile(text.to_owned()))
    }
}

/// What DPDK's devargs can carry as the value of an argument.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains([',', '=', '[', ']', '\'', '"']) && !text.contains(char::is_control)
}

/// Path of a socket that a device is reached by.
#[derive(Debug)]
pub(super) struct DeviceSocket(pub(super) String);

/// Bytes that its path can have: `sun_path` has 108, less the closing 0.
const DEVICE_SOCKET_SIZE_MAX: usize = 107;

impl FromText for DeviceSocket {
    const ALLOWED: &'static str = "an absolute path of at most 107 bytes, without , = [ ] ' \"";

    fn from_text(text: &str) -> Option<Self> {
        let fits = text.starts_with('/') && text.len() <= DEVICE_SOCKET_SIZE_MAX && is_plain(text);
        fits.then(|| DeviceSocket(text.to_owned()))
    }
}

/// What both sides of a memif link must know.
#[derive(Debug)]
pub(super) struct MemifSecret(pub(super) String);

impl FromText for MemifSecret {
    const ALLOWED: &'static str = "1 to 23 printable ASCII characters, without , = [ ] ' \"";

    fn from_text(text: &str) -> Option<Self> {
        let fits = text.len() <= 23 && is_plain(text) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| MemifSecret(text.to_owned()))
    }
}

/// What DPDK is to probe.
#[derive(Debug)]
pub(super) struct Devargs(pub(super) String);

impl FromText for Devargs {
    const ALLOWED: &'static str = "a PCI address or a virtual device with its arguments, without spaces";

    fn from_text(text: &str) -> Option<Self> {
        let fits = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Devargs(text.to_owned()))
    }
}

/// Where to serve metrics; none: nowhere.
#[derive(Debug)]
pub(super) struct Listen(pub(super) Option<SocketAddr>);

impl FromText for Listen {
    const ALLOWED: &'static str = "off, or an IP address and port such as 127.0.0.1:10475 or [::1]:10475";

    fn from_text(text: &str) -> Option<Self> {
        if text == "off" {
            Some(Listen(None))
        } else {
            text.parse().ok().map(|address| Listen(Some(address)))
        }
    }
}

/// Where to send IPFIX to.
#[derive(Debug)]
pub(super) struct UdpCollector(pub(super) SocketAddr);

impl FromText for UdpCollector {
    const ALLOWED: &'static str =
        "udp: with IP address and port, such as udp:192.0.2.1:4739 or udp:[2001:db8::1]:4739";

    fn from_text(text: &str) -> Option<Self> {
        let address: SocketAddr = text.strip_prefix("udp:")?.parse().ok()?;
        let can_be_sent_to = address.port() != 0 && !address.ip().is_unspecified();
        can_be_sent_to.then_some(UdpCollector(address))
    }
}
