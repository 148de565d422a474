//! Writing megaflows and datapath actions, as dumps and traces show them.
//!
//! The text is in the manner of Open vSwitch's `ovs-appctl dpctl/dump-flows`:
//! `recirc_id(0),in_port(1),eth_type(0x0800),ipv4(src=10.0.0.0/255.0.0.0,proto=6,frag=no),tcp(dst=80)`. Only bits
//! that the mask has are shown, but those all of them: a bit of a header that the packet has not, in which a mask
//! should have none, shows up under the name of the member that holds it. A value whose field is not matched in
//! full is followed by `/mask`. Where Penstock has more to say than Open vSwitch (why a packet is dropped, which
//! exporter samples it), it says so in the same manner.
//!
//! For people to read: nothing reads the text back. Pure functions, callable from any thread. Not for the packet
//! path: they allocate freely.

use super::actions::{Action, ControllerReason, SlowPathReason, UserspaceCookie};
use super::metering::ObservationDirection;
use crate::flow::format::{format_field_value, format_fragment, format_mac, format_tcp_flags};
use crate::flow::{DpPort, FlowKey, FlowMask};
use std::fmt::Display;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A megaflow's match. Bits of `key` outside `mask` do not show.
pub fn format_megaflow(key: &FlowKey, mask: &FlowMask) -> String {
    let key = &mask.apply(key);
    let mask = &mask.0;
    // A new member of the key has to be given a place in the text: the pattern stops compiling.
    let FlowKey {
        in_port,
        eth_type,
        recirc_id,
        nw_frag: _,
        nw_proto: _,
        nw_tos: _,
        nw_ttl: _,
        tp_src: _,
        tp_dst: _,
        nw_src: _,
        nw_dst: _,
        eth_dst,
        vlan_tci,
        eth_src,
        inner_vlan_tci,
        vlan_tpid,
        inner_vlan_tpid,
        tcp_flags: _,
        ipv6_exthdr: _,
        ipv6_src: _,
        ipv6_dst: _,
        ipv6_label: _,
        pkt_mark,
        nd_target: _,
        arp_sha: _,
        nd_options_type: _,
        pad1: _,
        arp_tha: _,
        pad2: _,
        mpls_lse: _,
        dp_hash,
        nsh_flags: _,
        nsh_ttl: _,
        nsh_mdtype: _,
        nsh_np: _,
        nsh_path: _,
        nsh_context: _,
        pbb_itag: _,
        nd_reserved: _,
    } = *key;
    let groups = [
        plain("recirc_id", recirc_id, mask.recirc_id, u32::MAX),
        plain("in_port", in_port, mask.in_port, DpPort(u16::MAX)),
        (mask.dp_hash != 0).then(|| format!("dp_hash({})", hex(dp_hash, mask.dp_hash, u32::MAX, 1))),
        (mask.pkt_mark != 0).then(|| format!("pkt_mark({})", hex(pkt_mark, mask.pkt_mark, u32::MAX, 1))),
        Group::new("eth").mac("src", eth_src, mask.eth_src).mac("dst", eth_dst, mask.eth_dst).end(),
        vlan("vlan", (vlan_tpid, mask.vlan_tpid), (vlan_tci, mask.vlan_tci)),
        vlan("cvlan", (inner_vlan_tpid, mask.inner_vlan_tpid), (inner_vlan_tci, mask.inner_vlan_tci)),
        (mask.eth_type != 0).then(|| format!("eth_type({})", hex(eth_type, mask.eth_type, u16::MAX, 4))),
        service_tag(key, mask),
        labels(key, mask),
        service_header(key, mask),
        network(key, mask),
        transport(key, mask),
        (mask.tcp_flags != 0).then(|| {
            format!("tcp_flags({})", format_tcp_flags(key.tcp_flags.into(), (mask.tcp_flags & 0xfff).into()))
        }),
        discovery(key, mask),
    ];
    groups.into_iter().flatten().collect::<Vec<_>>().join(",")
}

/// `name(value)`, decimal.
fn plain<T: Display + PartialEq + Default>(name: &str, value: T, mask: T, full: T) -> Option<String> {
    if mask == T::default() {
        None
    } else if mask == full {
        Some(format!("{name}({value})"))
    } else {
        Some(format!("{name}({value}/{mask})"))
    }
}

/// A hexadecimal number of at least `digits` digits, and its mask unless it is `full`.
fn hex<T: Into<u64>>(value: T, mask: T, full: T, digits: usize) -> String {
    let (value, mask, width) = (value.into(), mask.into(), digits + 2);
    if mask == full.into() { format!("{value:#0width$x}") } else { format!("{value:#0width$x}/{mask:#x}") }
}

/// `name(a=1,b=2/0xf)` in the making.
struct Group {
    name: &'static str,
    parts: Vec<String>,
}

impl Group {
    fn new(name: &'static str) -> Group {
        Group { name, parts: Vec::new() }
    }

    /// A member in decimal; a mask is hexadecimal.
    fn number(mut self, label: &str, value: u16, mask: u16, full: u16) -> Group {
        if mask == full {
            self.parts.push(format!("{label}={value}"));
        } else if mask != 0 {
            self.parts.push(format!("{label}={value}/{mask:#x}"));
        }
        self
    }

    fn byte(self, label: &str, value: u8, mask: u8) -> Group {
        self.number(label, value.into(), mask.into(), u8::MAX.into())
    }

    fn hexadecimal(mut self, label: &str, value: u32, mask: u32, full: u32) -> Group {
        if mask != 0 {
            self.parts.push(format!("{label}={}", hex(value, mask, full, 1)));
        }
        self
    }

    fn mac(self, label: &str, value: [u8; 6], mask: [u8; 6]) -> Group {
        self.address(label, value, mask, |bytes| {
            let [a, b, c, d, e, f] = bytes;
            format_mac(u64::from_be_bytes([0, 0, a, b, c, d, e, f]).into())
        })
    }

    fn ipv4(self, label: &str, value: u32, mask: u32) -> Group {
        self.address(label, value.to_be_bytes(), mask.to_be_bytes(), |bytes| {
            Ipv4Addr::from(bytes).to_string()
        })
    }

    fn ipv6(self, label: &str, value: [u8; 16], mask: [u8; 16]) -> Group {
        self.address(label, value, mask, |bytes| Ipv6Addr::from(bytes).to_string())
    }

    fn address<const N: usize>(
        mut self,
        label: &str,
        value: [u8; N],
        mask: [u8; N],
        text: fn([u8; N]) -> String,
    ) -> Group {
        if mask == [0xff; N] {
            self.parts.push(format!("{label}={}", text(value)));
        } else if mask != [0; N] {
            self.parts.push(format!("{label}={}/{}", text(value), text(mask)));
        }
        self
    }

    fn fragment(mut self, value: u8, mask: u8) -> Group {
        // An exact mask may have the six bits that are always zero, too.
        let mask = mask & 3;
        if mask != 0 {
            self.parts.push(format!("frag={}", format_fragment(value.into(), mask.into())));
        }
        self
    }

    /// The group, if anything is in it.
    fn end(self) -> Option<String> {
        (!self.parts.is_empty()).then(|| format!("{}({})", self.name, self.parts.join(",")))
    }
}

/// A tag, or that there is none.
fn vlan(name: &'static str, (tpid, tpid_mask): (u16, u16), (tci, tci_mask): (u16, u16)) -> Option<String> {
    if tci_mask & crate::flow::VLAN_CFI != 0 && tci & crate::flow::VLAN_CFI == 0 {
        return Some(format!("{name}(none)"));
    }
    Group::new(name)
        .hexadecimal("tpid", tpid.into(), tpid_mask.into(), 0xffff)
        .number("vid", tci & 0xfff, tci_mask & 0xfff, 0xfff)
        .number("pcp", tci >> 13, tci_mask >> 13, 7)
        .end()
}

/// IP or ARP. Members keep their own names where the packet's protocol has no use for them.
fn network(key: &FlowKey, mask: &FlowKey) -> Option<String> {
    let (is_arp, is_ipv6) = (matches!(key.eth_type, 0x0806 | 0x8035), key.eth_type == 0x86dd);
    let name = match key.eth_type {
        0x0806 | 0x8035 => "arp",
        0x0800 => "ipv4",
        0x86dd => "ipv6",
        _ => "network",
    };
    let [v4_src, v4_dst] = match key.eth_type {
        0x0806 | 0x8035 => ["sip", "tip"],
        0x0800 => ["src", "dst"],
        _ => ["nw_src", "nw_dst"],
    };
    let [v6_src, v6_dst] = if is_ipv6 { ["src", "dst"] } else { ["ipv6_src", "ipv6_dst"] };
    let mut group = Group::new(name)
        .ipv4(v4_src, key.nw_src, mask.nw_src)
        .ipv4(v4_dst, key.nw_dst, mask.nw_dst)
        .ipv6(v6_src, key.ipv6_src, mask.ipv6_src)
        .ipv6(v6_dst, key.ipv6_dst, mask.ipv6_dst)
        .hexadecimal("label", key.ipv6_label, mask.ipv6_label & 0xf_ffff, 0xf_ffff)
        .hexadecimal("exthdr", key.ipv6_exthdr.into(), (mask.ipv6_exthdr & 0x1ff).into(), 0x1ff)
        .byte(if is_arp { "op" } else { "proto" }, key.nw_proto, mask.nw_proto);
    if is_arp {
        group = group.mac("sha", key.arp_sha, mask.arp_sha).mac("tha", key.arp_tha, mask.arp_tha);
    }
    let [tos, ttl] = if is_ipv6 { ["tclass", "hlimit"] } else { ["tos", "ttl"] };
    group
        .hexadecimal(tos, key.nw_tos.into(), mask.nw_tos.into(), 0xff)
        .byte(ttl, key.nw_ttl, mask.nw_ttl)
        .fragment(key.nw_frag, mask.nw_frag)
        .end()
}

/// Ports, or type and code of ICMP.
fn transport(key: &FlowKey, mask: &FlowKey) -> Option<String> {
    let (name, [first, second]) = match (key.eth_type, key.nw_proto) {
        (0x0800 | 0x86dd, 6) => ("tcp", ["src", "dst"]),
        (0x0800 | 0x86dd, 17) => ("udp", ["src", "dst"]),
        (0x0800 | 0x86dd, 132) => ("sctp", ["src", "dst"]),
        (0x0800, 1) => ("icmp", ["type", "code"]),
        (0x86dd, 58) => ("icmpv6", ["type", "code"]),
        _ => ("transport", ["tp_src", "tp_dst"]),
    };
    // Types and codes have eight bits, so a mask of those is a full one.
    let is_icmp = first == "type";
    let full = |mask: u16| if is_icmp && mask & 0xff == 0xff { 0xffff } else { mask };
    Group::new(name)
        .number(first, key.tp_src, full(mask.tp_src), 0xffff)
        .number(second, key.tp_dst, full(mask.tp_dst), 0xffff)
        .end()
}

/// A provider backbone's service tag.
fn service_tag(key: &FlowKey, mask: &FlowKey) -> Option<String> {
    let isid = 0x00ff_ffff;
    Group::new("pbb")
        .hexadecimal("isid", key.pbb_itag & isid, mask.pbb_itag & isid, isid)
        .hexadecimal("uca", key.pbb_itag >> 27 & 1, mask.pbb_itag >> 27 & 1, 1)
        .end()
}

/// The label stack as far as it is told, outermost first. Those below the bottom show only where a mask looks at them.
fn labels(key: &FlowKey, mask: &FlowKey) -> Option<String> {
    let pairs = key.mpls_lse.into_iter().zip(mask.mpls_lse);
    let count = mask.mpls_lse.iter().rposition(|&mask| mask != 0)? + 1;
    let entry = |(lse, mask): (u32, u32)| {
        let bits = |shift: u32, full: u32| (lse >> shift & full, mask >> shift & full, full);
        let mut group = Group::new("");
        for (label, (value, mask, full)) in
            [("label", bits(12, 0xf_ffff)), ("tc", bits(9, 7)), ("ttl", bits(0, 0xff)), ("bos", bits(8, 1))]
        {
            if mask == full {
                group.parts.push(format!("{label}={value}"));
            } else if mask != 0 {
                group.parts.push(format!("{label}={value}/{mask:#x}"));
            }
        }
        group.parts.join(",")
    };
    let entries: Vec<String> = pairs.take(count).map(entry).collect();
    Some(format!("mpls({})", entries.join("/")))
}

/// A network service header.
fn service_header(key: &FlowKey, mask: &FlowKey) -> Option<String> {
    let mut group = Group::new("nsh")
        .hexadecimal("flags", (key.nsh_flags & 3).into(), (mask.nsh_flags & 3).into(), 3)
        .number("ttl", key.nsh_ttl.into(), (mask.nsh_ttl & 0x3f).into(), 0x3f)
        .byte("mdtype", key.nsh_mdtype, mask.nsh_mdtype)
        .byte("np", key.nsh_np, mask.nsh_np)
        .hexadecimal("spi", key.nsh_path >> 8, mask.nsh_path >> 8, 0x00ff_ffff)
        .byte("si", key.nsh_path as u8, mask.nsh_path as u8);
    for (index, label) in ["c1", "c2", "c3", "c4"].into_iter().enumerate() {
        group = group.hexadecimal(label, key.nsh_context[index], mask.nsh_context[index], u32::MAX);
    }
    group.end()
}

/// Neighbour discovery.
fn discovery(key: &FlowKey, mask: &FlowKey) -> Option<String> {
    let mut group = Group::new("nd")
        .ipv6("target", key.nd_target, mask.nd_target)
        .hexadecimal("reserved", key.nd_reserved, mask.nd_reserved, u32::MAX)
        .byte("options_type", key.nd_options_type, mask.nd_options_type);
    if !matches!(key.eth_type, 0x0806 | 0x8035) {
        group = group.mac("sll", key.arp_sha, mask.arp_sha).mac("tll", key.arp_tha, mask.arp_tha);
    }
    group.end()
}

/// An action list; `drop` if it is empty.
pub fn format_dp_actions(actions: &[Action]) -> String {
    if actions.is_empty() {
        return "drop".to_owned();
    }
    let texts: Vec<_> = actions.iter().map(format_action).collect();
    texts.join(",")
}

fn format_action(action: &Action) -> String {
    match action {
        Action::Output(port) => port.to_string(),
        Action::Drop(reason) => format!("drop({})", reason.name()),
        Action::Set { field, value, mask } => {
            format!("set({}={})", field.info().name, format_field_value(*field, *value, *mask))
        }
        &Action::PushVlan { tpid, tci } => {
            let tpid_mask = if tpid == 0x8100 { 0 } else { 0xffff };
            let group = Group::new("push_vlan").hexadecimal("tpid", tpid.into(), tpid_mask, 0xffff);
            let group = group.number("vid", tci & 0xfff, 0xfff, 0xfff).number("pcp", tci >> 13, 7, 7);
            group.end().expect("a group that was given a full mask is not empty")
        }
        Action::PopVlan => "pop_vlan".to_owned(),
        Action::DecTtl { to_controller: None } => "dec_ttl".to_owned(),
        Action::DecTtl { to_controller: Some(cookie) } => format!("dec_ttl({})", format_cookie(cookie)),
        Action::Sample { probability, actions } => {
            let list: Vec<_> = actions.iter().map(format_sampled).collect();
            format!("sample({},{})", format_probability(*probability), list.join(","))
        }
        Action::Userspace(cookie) => format!("userspace({})", format_cookie(cookie)),
        &Action::PushMpls { eth_type, lse } => format!(
            "push_mpls(label={},tc={},ttl={},bos={},eth_type={eth_type:#06x})",
            lse >> 12,
            lse >> 9 & 7,
            lse & 0xff,
            lse >> 8 & 1
        ),
        Action::PopMpls { eth_type } => format!("pop_mpls(eth_type={eth_type:#06x})"),
        Action::CopyTtlOut => "copy_ttl_out".to_owned(),
        Action::CopyTtlIn => "copy_ttl_in".to_owned(),
        Action::PushPbb { itag } => {
            format!("push_pbb(isid={:#x},uca={})", itag & 0x00ff_ffff, itag >> 27 & 1)
        }
        Action::PopPbb => "pop_pbb".to_owned(),
        Action::Clone(actions) => format!("clone({})", format_dp_actions(actions)),
        Action::Trunc(size) => format!("trunc({size})"),
        Action::Meter(id) => format!("meter({})", id.0),
        Action::Hash { basis, symmetric } => {
            format!("hash({}({basis:#x}))", if *symmetric { "sym_l4" } else { "l4" })
        }
        Action::Recirc(recirc_id) => format!("recirc({recirc_id:#x})"),
        Action::CheckPktLen { len, greater, less_equal } => format!(
            "check_pkt_len(size={len},gt({}),le({}))",
            format_dp_actions(greater),
            format_dp_actions(less_equal)
        ),
    }
}

/// An action on a sampled copy: metering needs no word of where it is done, since the datapath may do it itself.
fn format_sampled(action: &Action) -> String {
    match action {
        Action::Userspace(cookie @ UserspaceCookie::Ipfix { .. }) => format_cookie(cookie),
        other => format_action(other),
    }
}

/// Percent of `u32::MAX`, to six significant digits at most.
fn format_probability(probability: u32) -> String {
    let percent = f64::from(probability) / f64::from(u32::MAX) * 100.0;
    // The smallest that is not 0 is 2.3e-8 percent: twelve decimals show it.
    let decimals =
        [(10.0, 4), (0.001, 6)].into_iter().find(|&(least, _)| percent >= least).map_or(12, |row| row.1);
    let text = format!("{percent:.decimals$}");
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

fn format_cookie(cookie: &UserspaceCookie) -> String {
    let toward = |output: Option<DpPort>| output.map_or_else(String::new, |port| format!(",output={port}"));
    match *cookie {
        UserspaceCookie::SlowPath(SlowPathReason::TooManyActions) => "slow_path(too_many_actions)".to_owned(),
        UserspaceCookie::SlowPath(SlowPathReason::PacketOut) => "slow_path(packet_out)".to_owned(),
        UserspaceCookie::Controller { reason, table, cookie, max_len, controller_id, .. } => {
            let reason = match reason {
                ControllerReason::TableMiss => "table_miss",
                ControllerReason::ApplyAction => "apply_action",
                ControllerReason::InvalidTtl => "invalid_ttl",
                ControllerReason::ActionSet => "action_set",
                ControllerReason::Group => "group",
                ControllerReason::PacketOut => "packet_out",
            };
            format!(
                "controller(reason={reason},table={table},cookie={cookie:#x},max_len={max_len},id={controller_id})"
            )
        }
        UserspaceCookie::FlowSample {
            probability,
            collector_set_id,
            obs_domain_id,
            obs_point_id,
            output,
            direction,
        } => format!(
            "flow_sample(probability={probability},collector_set_id={collector_set_id},\
             obs_domain_id={obs_domain_id},obs_point_id={obs_point_id},{}{})",
            direction_name(direction),
            toward(output)
        ),
        UserspaceCookie::Ipfix { exporter, direction, output } => {
            format!("ipfix(exporter={},{}{})", exporter.0, direction_name(direction), toward(output))
        }
        UserspaceCookie::Sflow { output } => format!("sflow({})", toward(output).trim_start_matches(',')),
    }
}

fn direction_name(direction: ObservationDirection) -> &'static str {
    match direction {
        ObservationDirection::Ingress => "ingress",
        ObservationDirection::Egress => "egress",
    }
}

#[cfg(test)]
mod tests;
