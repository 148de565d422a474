//! The slow path's search: a packet's rule among 10 to 10 k of eight masks, with the bits that it took to know,
//! against a search down the list of rules, which must find the same rule. (Among ten rules the list is quicker;
//! but it would have to look at every bit of every rule before the one it finds.)
//!
//! Budget: 0.5 us.

mod common;

use common::wire::{Flows, flow_frame};
use penstock::flow::extract::extract;
use penstock::flow::{DpPort, Flow, FlowKey, OfPort};
use penstock::ofproto::tables::FlowTables;
use penstock::openflow::Match;
use penstock::openflow::flow_mod::FlowModCommand;
use penstock::openflow::parse::parse_flow_mod;
use penstock::openflow::ports::NoNames;
use penstock::sync::Nanos;
use std::hint::black_box;

/// Packets in one call.
const PACKETS: usize = 256;

/// The text of rule `n` of `count`: eight masks, priorities that all differ, and a last rule that covers everything.
fn rule(n: u32, count: u32) -> String {
    let [_, high, mid, low] = n.wrapping_mul(2_654_435_761).to_be_bytes();
    let matching = match n % 8 {
        _ if n + 1 == count => String::new(),
        0 => format!("ip,nw_src=10.0.{mid}.0/24,"),
        1 => format!("ip,nw_src=10.0.{mid}.{low},"),
        2 => format!("udp,nw_src=10.0.{mid}.0/24,tp_dst=5000,"),
        3 => format!("udp,tp_src={},", 1024 + u32::from(mid) * 127),
        4 => format!("udp,nw_dst=172.16.0.{high},tp_src={},", 1024 + u32::from(low) * 127),
        5 => format!("dl_dst=02:00:00:00:{mid:02x}:{low:02x},"),
        6 => format!("in_port={},udp,nw_src=10.0.{mid}.{low}", 1 + high % 4) + ",",
        _ => format!("tcp,nw_dst=172.16.{mid}.{low},tp_dst={},", 80 + u32::from(high)),
    };
    format!("priority={},{matching}actions=output:{}", count - n, 1 + n % 100)
}

fn covers(matching: &Match, flow: &Flow) -> bool {
    let words = matching.value().words().iter().zip(matching.mask().words()).zip(flow.words());
    words.fold(0, |differing, ((value, mask), word)| differing | ((word ^ value) & mask)) == 0
}

fn main() {
    common::title("a rule of an OpenFlow table", "ns/packet");
    let rule_counts: &[u32] = if common::is_measuring() { &[10, 100, 1_000, 10_000] } else { &[10, 1_000] };
    for &count in rule_counts {
        let mut tables = FlowTables::with_rule_count_max(100_000);
        for n in 0..count {
            let text = rule(n, count);
            let flow_mod = parse_flow_mod(&text, FlowModCommand::Add, &NoNames)
                .unwrap_or_else(|e| panic!("{text}: {e}"));
            tables.flow_mod(&flow_mod, Nanos(0)).expect("the rules are valid");
        }
        let mut draw = Flows::new(1 << 20);
        let flows: Vec<_> = (0..PACKETS)
            .map(|_| {
                let mut key = FlowKey::ZERO;
                extract(&flow_frame(draw.draw()), DpPort(0), &mut key);
                Flow::new(key, OfPort(1))
            })
            .collect();
        let linear = |flow: &Flow| {
            tables.in_order(0).find(|(_, rule)| covers(&rule.matching.unpack(), flow)).map(|(id, _)| id)
        };
        let quick = |flow: &Flow, looked: &mut Flow| tables.lookup(0, flow, looked).map(|(id, _)| id);
        let mut found = std::collections::HashSet::new();
        for flow in &flows {
            let id = quick(flow, &mut Flow::default());
            assert_eq!(id, linear(flow));
            found.insert(id);
        }
        assert!(found.len() > 1, "the packets must not all find one rule");
        common::compare(
            &format!("{count} rules"),
            PACKETS,
            || {
                flows.iter().for_each(|flow| {
                    black_box(linear(black_box(flow)));
                })
            },
            || {
                flows.iter().for_each(|flow| {
                    black_box(quick(black_box(flow), &mut Flow::default()));
                })
            },
        );
    }
}
