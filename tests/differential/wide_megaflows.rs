//! Packets that once made other switches cache too much: a megaflow of the one then took others that rules treat otherwise.
//! Each set of frames is sent in every order, to a switch that has cached nothing, and again to what it has cached.

use crate::translation::{Scenario, outputs_in_order};
use penstock::flow::{Field, OfPort};
use penstock::openflow::{Action, FlowMod, Match};
use penstock::packet::build::FrameBuilder;

const HOSTS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);

fn rule(priority: u16, fields: &[(Field, u128)], actions: &[Action]) -> FlowMod {
    let mut matching = Match::any();
    fields.iter().for_each(|&(field, value)| matching.set(field, value));
    FlowMod { priority, matching, actions: actions.to_vec(), ..FlowMod::add() }
}

fn output(port: u32) -> Action {
    Action::Output(OfPort(port))
}

fn ipv4() -> FrameBuilder {
    FrameBuilder::new().eth(HOSTS.0, HOSTS.1).ipv4([10, 0, 0, 1], [10, 0, 0, 2])
}

/// All orders of the first `count` numbers.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(count - 1);
    let put_in = |order: &Vec<usize>| {
        (0..=order.len()).map(|at| [&order[..at], &[count - 1], &order[at..]].concat()).collect::<Vec<_>>()
    };
    shorter.iter().flat_map(put_in).collect()
}

/// Each frame must leave by its port alone, or by none, whatever came before it; and both switches must agree.
fn check(rules: &[FlowMod], frames: &[(Vec<u8>, Option<usize>)]) {
    let expected: Vec<Option<usize>> = frames.iter().map(|(_, port)| *port).collect();
    for order in orders(frames.len()) {
        let twice = order.iter().chain(&order);
        let sent: Vec<Vec<u8>> = twice.clone().map(|&index| frames[index].0.clone()).collect();
        let scenario = Scenario::plain(rules, &sent);
        let seen =
            outputs_in_order(&scenario).unwrap_or_else(|fault| panic!("in the order {order:?}: {fault}"));
        let wanted: Vec<Option<usize>> = twice.map(|&index| expected[index]).collect();
        assert_eq!(seen, wanted, "in the order {order:?}");
    }
}

/// CVE-2020-35498: a packet with more padding behind it than a byte can count was taken for one without layer 3 or 4.
#[test]
fn padding_however_long_does_not_hide_headers() {
    let to_port = |n: u16| ipv4().udp(1000, n).payload(b"data").build();
    let padded = |n: u16, size: usize| {
        let mut frame = to_port(n);
        frame.resize(frame.len() + size, 0);
        frame
    };
    let udp = [(Field::EthType, 0x0800), (Field::IpProto, 17)];
    let to_53 = [udp[0], udp[1], (Field::UdpDst, 53)];
    let rules = [rule(9, &to_53, &[output(2)]), rule(5, &udp, &[output(3)]), rule(1, &[], &[])];
    let frames = [
        (to_port(53), Some(1)),
        (padded(53, 300), Some(1)),
        (padded(80, 255), Some(2)),
        (padded(80, 1_200), Some(2)),
        (padded(53, 46), Some(1)),
    ];
    check(&rules, &frames);
}

/// CVE-2023-1668: protocol 0 was taken to mean that there is no IP header, and rules' edits of it were left out.
#[test]
fn protocol_zero_is_ip_like_any_other() {
    let protocol = |n: u8| ipv4().protocol(n).payload(&[1; 8]).build();
    let set = Action::SetField { field: Field::Ipv4Dst, value: 0x0a00_0009, mask: u128::from(u32::MAX) };
    let ip = [(Field::EthType, 0x0800)];
    let rules = [
        rule(9, &[ip[0], (Field::IpProto, 0)], &[output(3)]),
        rule(5, &ip, &[set, output(2)]),
        rule(1, &[], &[output(4)]),
    ];
    let other = FrameBuilder::new().eth(HOSTS.0, HOSTS.1).eth_type(0x88b5).payload(&[0; 40]).build();
    let mut cut = protocol(17);
    cut.truncate(30);
    let frames = [
        (protocol(0), Some(2)),
        (protocol(17), Some(1)),
        (protocol(253), Some(1)),
        (ipv4().udp(1, 2).build(), Some(1)),
        (other, Some(3)),
    ];
    check(&rules, &frames);
    let rules = [rule(9, &[ip[0], (Field::IpProto, 0)], &[output(3)]), rule(5, &ip, &[output(2)])];
    check(&rules, &[(protocol(0), Some(2)), (cut, Some(2)), (protocol(6), Some(1))]);
}

/// CVE-2023-5366: a match on the target of neighbour discovery let messages pass that are no neighbour discovery, for the
/// type that gives the bits their meaning was not looked at.
#[test]
fn a_discovery_target_means_nothing_without_its_type() {
    let target = |n: u8| [0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n];
    let ipv6 = || FrameBuilder::new().eth(HOSTS.0, HOSTS.1).ipv6(target(1), target(2)).ttl(255);
    let nd = |kind: u8, n: u8| ipv6().nd(kind, target(n), &[]).build();
    let mut wrong_code = nd(136, 7);
    wrong_code[14 + 40 + 1] = 1;
    let mut echo = nd(136, 7);
    echo[14 + 40] = 128;
    let number = u128::from_be_bytes(target(7));
    let advert =
        [(Field::EthType, 0x86dd), (Field::IpProto, 58), (Field::Icmpv6Type, 136), (Field::Icmpv6Code, 0)];
    let to_seven = [advert[0], advert[1], advert[2], advert[3], (Field::NdTarget, number)];
    let rules = [rule(9, &to_seven, &[output(2)]), rule(5, &advert, &[]), rule(1, &[], &[output(3)])];
    let frames = [
        (nd(136, 7), Some(1)),
        (nd(136, 8), None),
        (nd(135, 7), Some(2)),
        (wrong_code, Some(2)),
        (echo, Some(2)),
    ];
    check(&rules, &frames);
}
