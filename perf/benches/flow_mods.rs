//! What a flow-mod costs, stage by stage: bytes of OpenFlow 1.4 to a message, the message to a rule, the rule changed,
//! told of, and taken away; against rules by match in a plain hash map, which could be told of and no more.
//!
//! Budget: 2 us from the bytes to the rule. `perf/openflow/run` measures the same through a socket, beside Open vSwitch.

mod common;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use penstock::flow::{Field, OfPort};
use penstock::ofproto::tables::{FlowCursor, FlowTables};
use penstock::openflow::flow_mod::{FlowModCommand, PackedFlowMod, TABLE_ALL};
use penstock::openflow::message::{FlowModMessage, Message, MultipartReply, Version, VersionSet};
use penstock::openflow::session::Session;
use penstock::openflow::wire::{WireSettings, encode};
use penstock::openflow::{Action, FlowMod, FlowStatsRequest, Match};
use penstock::sync::Nanos;
use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

const NO_BUFFER: u32 = u32::MAX;

/// A UDP connection, as `perf/openflow/run` numbers them.
fn connection(n: u32) -> FlowMod {
    let mut matching = Match::any();
    for (field, value) in [
        (Field::EthType, 0x0800),
        (Field::IpProto, 17),
        (Field::Ipv4Src, 0x0a00_0000 + u128::from(n)),
        (Field::Ipv4Dst, 0xc612_0001),
        (Field::UdpSrc, 1_000 + u128::from(n % 50_000)),
        (Field::UdpDst, 53),
    ] {
        matching.set(field, value);
    }
    FlowMod { matching, priority: 1, actions: vec![Action::Output(OfPort(1))], ..FlowMod::add() }
}

/// A line of an access list: prefixes of 13 lengths each way, and a port or none.
fn line(n: u32) -> FlowMod {
    let prefix = |n: u32, len: u32| (u128::from(n), u128::from(u32::MAX << (32 - len)));
    let mut matching = Match::any();
    matching.set(Field::EthType, 0x0800);
    matching.set(Field::IpProto, 6);
    let (value, mask) = prefix(n.wrapping_mul(2_654_435_761), 12 + n % 13);
    matching.set_masked(Field::Ipv4Src, value, mask);
    let (value, mask) = prefix(n.wrapping_mul(40_503), 12 + n / 13 % 13);
    matching.set_masked(Field::Ipv4Dst, value, mask);
    if !n.is_multiple_of(3) {
        matching.set(Field::TcpDst, u128::from(n % 60_000));
    }
    FlowMod { matching, priority: 1, actions: vec![Action::Output(OfPort(1))], ..FlowMod::add() }
}

fn settings() -> WireSettings {
    WireSettings::new(Version::V14)
}

fn bytes_of(flow_mod: &FlowMod) -> Vec<u8> {
    let message =
        Message::FlowMod(FlowModMessage { flow_mod: Box::new(flow_mod.clone()), buffer_id: NO_BUFFER });
    encode(&message, 1, &settings()).concat()
}

/// A session that has agreed on 1.4.
fn session() -> Session {
    let mut session = Session::new(VersionSet::of(&[Version::V14]), None, Nanos(0));
    session.receive(&[5, 0, 0, 8, 0, 0, 0, 1], Nanos(0));
    assert!(session.next_message().is_none() && session.version() == Some(Version::V14));
    session
}

/// The stages of one round, and nanoseconds for each flow-mod.
fn round(flow_mods: &[FlowMod]) -> Vec<(&'static str, f64)> {
    let mut times = Vec::new();
    let mut timed = |name, work: &mut dyn FnMut()| {
        let start = Instant::now();
        work();
        times.push((name, start.elapsed().as_nanos() as f64 / flow_mods.len() as f64));
    };
    let bytes: Vec<Vec<u8>> =
        flow_mods.chunks(256).map(|some| some.iter().flat_map(bytes_of).collect()).collect();
    let mut decoded = 0;
    timed("bytes to messages", &mut || decoded = stages::decode(&bytes));
    assert_eq!(decoded, flow_mods.len());
    let mut map = HashMap::<(Match, u16), Vec<Action>>::new();
    timed("added to a hash map", &mut || {
        map.extend(flow_mods.iter().map(|it| ((it.matching, it.priority), it.actions.clone())));
    });
    drop(map);
    let mut tables = FlowTables::with_rule_count_max(1 << 20);
    timed("added", &mut || stages::add(&mut tables, flow_mods));
    assert_eq!(tables.rule_count(), flow_mods.len());
    timed("modified strictly", &mut || stages::modify(&mut tables, flow_mods));
    let bundle = flow_mods.iter().cloned();
    let mut bundle: Vec<FlowMod> = bundle.map(|it| with(it, FlowModCommand::ModifyStrict, 3)).collect();
    let mut packed = Vec::new();
    timed("packed for a bundle", &mut || packed = stages::pack(&mut bundle));
    timed("modified in a bundle", &mut || stages::modify_bundle(&mut tables, &mut packed));
    timed("told of", &mut || assert_eq!(stages::dump(&tables), flow_mods.len()));
    timed("deleted strictly", &mut || stages::delete(&mut tables, flow_mods));
    timed("added once more", &mut || stages::add(&mut tables, flow_mods));
    timed("deleted at once", &mut || stages::delete_all(&mut tables));
    assert_eq!(tables.rule_count(), 0);
    times
}

/// The same flow-mod with another command, and an output to this port.
fn with(flow_mod: FlowMod, command: FlowModCommand, port: u32) -> FlowMod {
    FlowMod { command, actions: vec![Action::Output(OfPort(port))], ..flow_mod }
}

/// What is measured, each in a function of its own: `valgrind --tool=callgrind --toggle-collect='*stages*NAME'` counts the
/// instructions of one.
mod stages {
    use super::*;

    #[inline(never)]
    pub(super) fn decode(bytes: &[Vec<u8>]) -> usize {
        let mut decoded = 0;
        let mut session = session();
        for some in bytes {
            session.receive(some, Nanos(0));
            while let Some(incoming) = session.next_message() {
                decoded +=
                    usize::from(matches!(black_box(incoming.message).as_deref(), Ok(Message::FlowMod(_))));
            }
        }
        decoded
    }

    fn apply(tables: &mut FlowTables, flow_mod: &FlowMod) {
        let change = tables.flow_mod(flow_mod, Nanos(1)).expect("a good flow-mod");
        assert_eq!(change.touched, 1);
        change.removed.into_iter().for_each(|id| drop(tables.release(id)));
    }

    #[inline(never)]
    pub(super) fn add(tables: &mut FlowTables, flow_mods: &[FlowMod]) {
        flow_mods.iter().for_each(|it| apply(tables, &with(it.clone(), FlowModCommand::Add, 1)));
    }

    #[inline(never)]
    pub(super) fn modify(tables: &mut FlowTables, flow_mods: &[FlowMod]) {
        flow_mods.iter().for_each(|it| apply(tables, &with(it.clone(), FlowModCommand::ModifyStrict, 2)));
    }

    #[inline(never)]
    pub(super) fn delete(tables: &mut FlowTables, flow_mods: &[FlowMod]) {
        flow_mods.iter().for_each(|it| apply(tables, &with(it.clone(), FlowModCommand::DeleteStrict, 1)));
    }

    #[inline(never)]
    pub(super) fn pack(bundle: &mut Vec<FlowMod>) -> Vec<PackedFlowMod> {
        let mut packed = Vec::new();
        bundle.drain(..).for_each(|flow_mod| packed.push(flow_mod.into()));
        packed
    }

    #[inline(never)]
    pub(super) fn modify_bundle(tables: &mut FlowTables, packed: &mut Vec<PackedFlowMod>) {
        tables.begin();
        packed.drain(..).for_each(|packed| apply(tables, &packed.into()));
        tables.commit();
    }

    #[inline(never)]
    pub(super) fn dump(tables: &FlowTables) -> usize {
        let (request, mut count) = (FlowStatsRequest::all(), 0);
        let mut cursor = FlowCursor::new(&request);
        while !cursor.is_done() {
            let stats = tables.flow_stats_part(&request, &mut cursor, 1024, Nanos(2));
            count += stats.len();
            let body = MultipartReply::Flow(stats);
            let reply = Message::MultipartReply { is_nicira: false, more: false, body };
            black_box(encode(&reply, 1, &settings()));
        }
        count
    }

    #[inline(never)]
    pub(super) fn delete_all(tables: &mut FlowTables) {
        let all = FlowMod { command: FlowModCommand::Delete, table: TABLE_ALL, ..FlowMod::add() };
        let change = tables.flow_mod(&all, Nanos(1)).expect("a good flow-mod");
        change.removed.into_iter().for_each(|id| drop(tables.release(id)));
    }
}

fn main() {
    let (count, rounds) = if common::is_measuring() { (100_000, 5) } else { (1_000, 1) };
    for (name, make) in [("connections", connection as fn(u32) -> FlowMod), ("access list", line)] {
        let mut flow_mods: Vec<FlowMod> = (0..count).map(make).collect();
        let mut seen = std::collections::HashSet::new();
        flow_mods.retain(|flow_mod| seen.insert(flow_mod.matching));
        println!("{} {name}, ns each", flow_mods.len());
        let rounds: Vec<_> = (0..rounds).map(|_| round(&flow_mods)).collect();
        for (stage, &(what, _)) in rounds[0].iter().enumerate() {
            let mut times: Vec<f64> = rounds.iter().map(|round| round[stage].1).collect();
            times.sort_by(f64::total_cmp);
            println!("  {what:<24} {:>8.0}", times[times.len() / 2]);
        }
    }
}
