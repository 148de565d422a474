//! `Datapath` in manual mode against `ModelDpif`: same packets in, same megaflows, same everything out.
//!
//! Random megaflows, of which no two cover one packet, are installed when a packet misses that one of them
//! covers; other misses are carried out one by one. Compared after each step: the frames that left each port, byte for
//! byte and in order; upcalls, with key, reason and packets; counters of ports, megaflows and workers; the last
//! words of removed megaflows; counters of meters. Ports lose their link and their room meanwhile, workers come and go,
//! upcall rings run over, and meters come, change and go. Packets are looked up again under ids that rise, so that each
//! comes to an end, but for a few that go round until they die of it. A meter is met by the packets of one port only:
//! whose packets come first, where several workers share one, is nobody's business.
//!
//! The model knows neither segments nor shared bytes: its packets are in one piece, and its copies copies. Those of
//! the datapath are cut anywhere, copies share bytes on some ports, and some take packets only in one piece.
//!
//! With several workers the order of frames that different workers send to one port is nobody's business, and
//! frames are compared as sets.

use crate::support::frames::{Tags, disturbed, random_frame, random_value};
use crate::support::shrink::{fault, shrink};
use crate::support::{number, one_in, pick, seeds};
use fastrand::Rng;
use penstock::datapath::{Datapath, DatapathConfig, IdlePolicy, upcall_quota};
use penstock::dpif::format::{format_dp_actions, format_megaflow};
use penstock::dpif::model::{ModelConfig, ModelDpif};
use penstock::dpif::{
    Action, Actions, ControllerReason, Dpif, DropReason, Execute, FlowPut, MegaflowId, MegaflowStats,
    MeterBand, MeterBandAction, MeterConfig, MeterId, MeterUnit, PortStats, RetiredMegaflow, SlowPathReason,
    Upcall, UpcallKind, UserspaceCookie,
};
use penstock::flow::extract::extract;
use penstock::flow::{DpPort, Field, Flow, FlowKey, FlowMask, OfPort};
use penstock::netdev::Netdev;
use penstock::netdev::dummy::{DummyHandle, DummyNetdev};
use penstock::packet::{HEADERS_SIZE_MAX, Packet};
use penstock::sync::{Clock, Doorbell, ManualClock, Nanos};
use std::collections::BTreeMap;
use std::sync::Arc;

const PORT_COUNT: u16 = 4;

/// Pairs of a set of megaflows and a frame, if nobody says otherwise.
const PAIRS: u64 = 20_000;

/// Frames of one scenario.
const FRAME_COUNT: usize = 30;

/// Passes that a packet may be on, one after the other; 0 is the first.
const RECIRC_ID_MAX: u32 = 3;

/// Bytes by which one list may make a packet longer. Those of all passes fit a packet's headroom: what a copy has of
/// that, each datapath may decide for itself.
const GROWTH_MAX: usize = penstock::packet::HEADROOM_SIZE / (RECIRC_ID_MAX as usize + 1);

/// A megaflow that is installed when a packet wants it.
#[derive(Clone, Debug)]
struct Candidate {
    key: FlowKey,
    mask: FlowMask,
    actions: Actions,
}

#[derive(Clone, Debug)]
enum Step {
    /// Packets that arrive together: port and frame.
    Packets(Vec<(u16, Vec<u8>)>),
    /// Replaces a candidate's actions.
    Modify(usize, Actions),
    Remove(usize),
    Advance(Nanos),
    Capacity(u16, usize),
    Link(u16, bool),
    /// Makes the workers those of these cores.
    Workers(Vec<Option<u16>>),
    /// From here on misses that no candidate covers are carried out with these actions.
    Otherwise(Actions),
    Meter(MeterId, Option<MeterConfig>),
}

#[derive(Clone, Debug)]
struct Scenario {
    worker_count: u16,
    emc_entries: usize,
    megaflows_max: usize,
    upcalls_max: usize,
    /// What the datapath's packets and ports are like: see the module.
    forms: Forms,
    candidates: Vec<Candidate>,
    steps: Vec<Step>,
}

/// Bit N is of port N.
#[derive(Clone, Copy, Debug)]
struct Forms {
    are_cut: bool,
    share: u8,
    take_one_piece: u8,
}

impl Forms {
    fn random(rng: &mut Rng) -> Forms {
        Forms { are_cut: rng.bool(), share: rng.u8(..), take_one_piece: rng.u8(..) & rng.u8(..) }
    }

    /// A frame as it comes from a device.
    fn packet(self, frame: &[u8]) -> Packet {
        if !self.are_cut {
            return Packet::from_bytes(frame);
        }
        // Where it is cut depends on the frame alone, so that a run can be repeated.
        let seed = frame.iter().fold(frame.len() as u64, |hash, byte| hash.rotate_left(5) ^ u64::from(*byte));
        let mut rng = Rng::with_seed(seed);
        let (head, rest) = frame.split_at(rng.usize(..=frame.len()));
        let (middle, tail) = rest.split_at(rng.usize(..=rest.len()));
        Packet::from_segments(&[head, middle, tail])
    }
}

impl Scenario {
    fn random(rng: &mut Rng) -> Scenario {
        let tags = pick(rng, &[Tags::Few, Tags::Two, Tags::Deep]);
        let frames: Vec<(u16, Vec<u8>)> =
            (0..FRAME_COUNT).map(|_| (rng.u16(0..PORT_COUNT), random_padded_frame(rng, tags))).collect();
        let megaflows_max = pick(rng, &[4, 64, 64]);
        let mut candidates: Vec<Candidate> = Vec::new();
        // Where there is room for its megaflow a packet may go round in it for ever. Where there is none each round is
        // a miss, and whoever answers misses goes round with it.
        if megaflows_max > 2 * FRAME_COUNT && one_in(rng, 3) {
            candidates.push(looping_candidate(rng, &frames[0]));
        }
        for (port, frame) in &frames {
            let mut key = FlowKey::ZERO;
            extract(frame, DpPort(*port), &mut key);
            add_candidate(rng, &mut candidates, &key);
            if rng.bool() {
                // Who knows what it has become on a later pass.
                key.recirc_id = rng.u32(1..=RECIRC_ID_MAX);
                (key.pkt_mark, key.dp_hash) = (rng.u32(0..3), rng.u32(..));
                if one_in(rng, 3) {
                    key.eth_type = pick(rng, &[0x0800, 0x86dd, 0x8847, 0x88e7]);
                }
                add_candidate(rng, &mut candidates, &key);
            }
        }
        let worker_count = pick(rng, &[1, 1, 2, 3]);
        let mut steps: Vec<Step> = (0..PORT_COUNT)
            .map(|port| Step::Meter(MeterId(port.into()), one_in(rng, 2).then(|| random_meter(rng))))
            .collect();
        steps.extend(random_steps(rng, &frames, &candidates, worker_count));
        if worker_count > 1 {
            for _ in 0..rng.usize(0..4) {
                let cores = (0..rng.usize(1..4)).map(|_| rng.bool().then(|| rng.u16(0..3))).collect();
                steps.insert(rng.usize(0..=steps.len()), Step::Workers(cores));
            }
        }
        Scenario {
            worker_count,
            emc_entries: pick(rng, &[8, 64, 1024]),
            megaflows_max,
            upcalls_max: pick(rng, &[4, 16, 64, 256]),
            forms: Forms::random(rng),
            candidates,
            steps,
        }
    }
}

/// A megaflow of packets like this one, if it overlaps with none that is there.
fn add_candidate(rng: &mut Rng, candidates: &mut Vec<Candidate>, key: &FlowKey) {
    let mut mask = random_mask(rng, key);
    if key.recirc_id > 0 && rng.bool() {
        mask = port_and_type();
    }
    let overlaps = |other: &Candidate| {
        let mut both = other.mask;
        both.0.words_mut().iter_mut().zip(mask.words()).for_each(|(word, mask)| *word &= mask);
        both.agree(key, &other.key)
    };
    if !candidates.iter().any(overlaps) {
        let actions = random_actions(rng, key, &mask, 2, &mut GROWTH_MAX.clone());
        candidates.push(Candidate { key: *key, mask, actions });
    }
}

/// A megaflow on the second pass whose packets go round in it.
fn looping_candidate(rng: &mut Rng, (port, frame): &(u16, Vec<u8>)) -> Candidate {
    let mut key = FlowKey::ZERO;
    extract(frame, DpPort(*port), &mut key);
    key.recirc_id = 1;
    let round = Action::Recirc(1);
    let actions = if one_in(rng, 3) {
        vec![Action::Clone(vec![round.clone()]), Action::Clone(vec![round.clone()]), round]
    } else {
        vec![Action::Output(DpPort(1)), Action::PopVlan, round]
    };
    Candidate { key, mask: port_and_type(), actions }
}

fn port_and_type() -> FlowMask {
    let mut mask = FlowMask::EMPTY;
    mask.0.words_mut()[0] = u64::MAX;
    mask
}

/// A frame with padding behind it, now and then, so that it is larger than what must be in the first segment.
fn random_padded_frame(rng: &mut Rng, tags: Tags) -> Vec<u8> {
    let mut frame = random_frame(rng, tags);
    if one_in(rng, 4) {
        frame.resize(rng.usize(HEADERS_SIZE_MAX..1500), 0xa5);
    }
    frame
}

/// Word 0 and some of the packet's other bits.
fn random_mask(rng: &mut Rng, key: &FlowKey) -> FlowMask {
    let mut flow = Flow::new(FlowKey::ZERO, penstock::flow::OfPort(0));
    let fields = [
        Field::EthDst,
        Field::EthSrc,
        Field::VlanTci,
        Field::IpProto,
        Field::IpTos,
        Field::IpTtl,
        Field::IpFrag,
        Field::Ipv4Src,
        Field::Ipv4Dst,
        Field::Ipv6Src,
        Field::Ipv6Dst,
        Field::Ipv6Label,
        Field::TcpSrc,
        Field::TcpDst,
        Field::TcpFlags,
        Field::NdTarget,
        Field::ArpSha,
        Field::ArpTha,
        Field::Ipv6Exthdr,
        Field::NdReserved,
        Field::NdOptionsType,
        Field::MplsLabel,
        Field::MplsTtl,
        Field::MplsBos,
        Field::NshTtl,
        Field::NshMdtype,
        Field::NshSpi,
        Field::NshC4,
        Field::PbbIsid,
        Field::PbbUca,
        Field::PktMark,
    ];
    for field in fields {
        match rng.u8(0..8) {
            0 | 1 => flow.set(field, u128::MAX),
            2 => flow.set_masked(field, u128::MAX, rng.u128(..)),
            _ => {}
        }
    }
    let mut mask = FlowMask(flow.key);
    mask.0.words_mut()[0] = u64::MAX;
    if one_in(rng, 4) {
        mask.0.dp_hash = 1;
    }
    if one_in(rng, 8) {
        mask.0.mpls_lse[1..].fill(u32::MAX);
    }
    // As translation does, so that headers can be written.
    if key.is_ip() {
        mask.0.nw_frag = u8::MAX;
        if rng.bool() {
            mask.0.nw_proto = u8::MAX;
        }
    }
    mask
}

/// Fields that all packets have which agree with `key` on `mask`, as far as whole headers go.
fn fields_of(key: &FlowKey, mask: &FlowMask, has_tag: bool) -> Vec<Field> {
    let mut fields = vec![Field::EthDst, Field::EthSrc, Field::PktMark, Field::EthType];
    if key.is_ip() {
        fields.push(Field::IpProto);
    }
    if has_tag {
        fields.push(Field::VlanTci);
    }
    match key.eth_type {
        0x0800 => fields.extend([Field::IpTos, Field::IpTtl, Field::Ipv4Src, Field::Ipv4Dst]),
        0x86dd => {
            fields.extend([Field::IpTos, Field::IpTtl, Field::Ipv6Src, Field::Ipv6Dst, Field::Ipv6Label]);
        }
        0x8847 | 0x8848 => {
            fields.extend([Field::MplsLabel, Field::MplsTc, Field::MplsBos, Field::MplsTtl]);
        }
        0x88e7 => fields.extend([Field::PbbIsid, Field::PbbUca]),
        0x894f => fields.extend([
            Field::NshFlags,
            Field::NshTtl,
            Field::NshSpi,
            Field::NshSi,
            Field::NshC1,
            Field::NshC2,
            Field::NshC3,
            Field::NshC4,
        ]),
        0x0806 | 0x8035 => {
            fields.extend([Field::ArpOp, Field::ArpSpa, Field::ArpTpa, Field::ArpSha, Field::ArpTha]);
        }
        _ => {}
    }
    let proto = if mask.0.nw_proto == u8::MAX && key.is_ip() { key.nw_proto } else { 0 };
    match (key.eth_type, proto) {
        (_, 6) => fields.extend([Field::TcpSrc, Field::TcpDst]),
        (_, 17) => fields.extend([Field::UdpSrc, Field::UdpDst]),
        (_, 132) => fields.extend([Field::SctpSrc, Field::SctpDst]),
        (0x0800, 1) => fields.extend([Field::Icmpv4Type, Field::Icmpv4Code]),
        (0x86dd, 58) => fields.extend([
            Field::NdReserved,
            Field::NdTarget,
            Field::NdSll,
            Field::NdTll,
            Field::Icmpv6Code,
            Field::Icmpv6Type,
        ]),
        _ => {}
    }
    fields
}

fn random_cookie(rng: &mut Rng) -> UserspaceCookie {
    match rng.u8(0..3) {
        0 => UserspaceCookie::Controller {
            notes: None,
            reason: ControllerReason::ApplyAction,
            table: rng.u8(0..3),
            cookie: rng.u64(0..3),
            max_len: 64,
            controller_id: 0,
            bridge: 0,
            in_port: OfPort(1),
        },
        1 => UserspaceCookie::Sflow { output: None },
        _ => UserspaceCookie::SlowPath(SlowPathReason::TooManyActions),
    }
}

fn random_meter(rng: &mut Rng) -> MeterConfig {
    let band = |rng: &mut Rng| MeterBand {
        action: match rng.u8(0..3) {
            0 => MeterBandAction::DscpRemark { prec_level: rng.u8(1..3) },
            _ => MeterBandAction::Drop,
        },
        rate: pick(rng, &[1, 2, 10, 100]),
        burst: pick(rng, &[0, 1, 3, 20]),
    };
    let unit = pick(rng, &[MeterUnit::Kbps, MeterUnit::Pktps]);
    MeterConfig { unit, bands: (0..rng.usize(1..4)).map(|_| band(rng)).collect() }
}

/// Actions that suit the packets which agree with `key` on `mask`; lists nest `depth` deep. The packet grows by no more
/// than `room`, which is what is left of it afterwards.
fn random_actions(rng: &mut Rng, key: &FlowKey, mask: &FlowMask, depth: u8, room: &mut usize) -> Actions {
    let mut tags = i8::from(mask.0.vlan_tci & key.vlan_tci & 0x1000 != 0);
    let mut actions = Vec::new();
    for _ in 0..rng.usize(0..7) {
        match rng.u8(0..29) {
            // One port more than there are.
            0..=4 => actions.push(Action::Output(DpPort(rng.u16(0..=PORT_COUNT)))),
            5..=8 => {
                let field = pick(rng, &fields_of(key, mask, tags > 0));
                let bits = if one_in(rng, 4) { rng.u128(..) } else { u128::MAX } & field.full_mask();
                let value = if one_in(rng, 3) { rng.u128(..) } else { random_value(rng, field) };
                // The bit that says that there is a tag is not one of the packet's.
                let bits = if field == Field::VlanTci { bits & !0x1000 } else { bits };
                actions.push(Action::Set { field, value: value & bits, mask: bits });
            }
            9 | 10 if tags < 3 && *room >= 4 => {
                let tci = random_value(rng, Field::VlanTci) as u16 & 0xefff;
                actions.push(Action::PushVlan { tpid: pick(rng, &[0x8100, 0x88a8]), tci });
                (tags, *room) = (tags + 1, *room - 4);
            }
            11 => {
                actions.push(Action::PopVlan);
                tags = (tags - 1).max(0);
            }
            12 | 13 => {
                let to_controller = rng.bool().then(|| random_cookie(rng));
                actions.push(Action::DecTtl { to_controller });
            }
            14 if depth > 0 => {
                let nested = random_actions(rng, key, mask, depth - 1, room);
                let probability = pick(rng, &[0, u32::MAX, u32::MAX]);
                actions.push(Action::Sample { probability, actions: nested });
            }
            15 | 16 if depth > 0 => {
                actions.push(Action::Clone(random_actions(rng, key, mask, depth - 1, room)));
            }
            17 if *room >= 4 => {
                let lse = rng.u32(..);
                actions.push(Action::PushMpls { eth_type: pick(rng, &[0x8847, 0x8848]), lse });
                *room -= 4;
            }
            18 | 19 => {
                actions.push(Action::PopMpls { eth_type: pick(rng, &[0x0800, 0x86dd, 0x8847, 0x88b5]) })
            }
            20 if *room >= 18 => {
                actions.push(Action::PushPbb { itag: rng.u32(..) });
                *room -= 18;
            }
            21 => actions.push(Action::PopPbb),
            22 => actions.push(pick(rng, &[Action::CopyTtlIn, Action::CopyTtlOut])),
            23 => actions.push(Action::Trunc(pick(rng, &[0, 14, 40, 64, 2000]))),
            // Or one that is not there.
            24 | 25 => {
                let id = if one_in(rng, 6) { 9 } else { u32::from(key.in_port.0) };
                actions.push(Action::Meter(MeterId(id)));
            }
            26 => actions.push(Action::Hash { basis: rng.u32(0..3), symmetric: rng.bool() }),
            27 => {
                let (value, bits) = (rng.u32(0..4).into(), pick(rng, &[3, u32::MAX]).into());
                actions.push(Action::Set { field: Field::PktMark, value, mask: bits });
            }
            _ => actions.push(Action::Userspace(random_cookie(rng))),
        }
    }
    match rng.u8(0..18) {
        0..=2 => actions.push(Action::Drop(pick(rng, &[DropReason::Rule, DropReason::TableMiss]))),
        3..=7 if key.recirc_id < RECIRC_ID_MAX => {
            actions.push(Action::Recirc(rng.u32(key.recirc_id + 1..=RECIRC_ID_MAX)));
        }
        8 | 9 if depth > 0 => {
            let mut spent = *room;
            let greater = random_actions(rng, key, mask, depth - 1, &mut spent);
            let less_equal = random_actions(rng, key, mask, depth - 1, room);
            *room = spent.min(*room);
            actions.push(Action::CheckPktLen { len: rng.u16(14..110), greater, less_equal });
        }
        _ => {}
    }
    actions
}

fn random_steps(
    rng: &mut Rng,
    frames: &[(u16, Vec<u8>)],
    candidates: &[Candidate],
    worker_count: u16,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..3 {
        let mut order = frames.to_vec();
        rng.shuffle(&mut order);
        while !order.is_empty() {
            if one_in(rng, 4) {
                steps.push(random_event(rng, candidates, worker_count));
            }
            let count = rng.usize(1..=order.len().min(20));
            let mut burst: Vec<_> = order.drain(..count).collect();
            for _ in 0..rng.usize(0..=count) {
                let (port, frame) = pick(rng, &burst);
                let frame = if rng.bool() { disturbed(rng, &frame) } else { frame };
                burst.push((port, frame));
            }
            steps.push(Step::Packets(burst));
        }
    }
    steps
}

fn random_event(rng: &mut Rng, candidates: &[Candidate], worker_count: u16) -> Step {
    let index = rng.usize(0..candidates.len());
    let Candidate { key, mask, .. } = &candidates[index];
    match rng.u8(0..12) {
        0 | 1 => Step::Modify(index, random_actions(rng, key, mask, 1, &mut GROWTH_MAX.clone())),
        10 | 11 => {
            let port = rng.u32(0..PORT_COUNT.into());
            Step::Meter(MeterId(port), (!one_in(rng, 3)).then(|| random_meter(rng)))
        }
        2 | 3 => Step::Remove(index),
        4 | 5 => Step::Advance(Nanos::from_millis(rng.u64(1..1_000))),
        // Which worker's packets find the last room is nobody's business either.
        6 if worker_count > 1 => Step::Capacity(rng.u16(0..PORT_COUNT), pick(rng, &[0, 1024])),
        6 => Step::Capacity(rng.u16(0..PORT_COUNT), pick(rng, &[0, 3, 1024, 1024])),
        7 => Step::Link(rng.u16(0..PORT_COUNT), rng.bool()),
        _ => Step::Otherwise(match rng.u8(0..3) {
            0 => vec![Action::Drop(DropReason::TableMiss)],
            1 => vec![Action::Output(DpPort(0)), Action::Output(DpPort(1))],
            _ => vec![],
        }),
    }
}

/// A packet that was handed up: worker, why, key, bytes.
type HandedUp = (u16, String, FlowKey, Vec<u8>);

/// One datapath, the far ends of its ports, and which candidates are installed in it.
struct Side {
    dpif: Box<dyn Dpif>,
    wires: Vec<DummyHandle>,
    installed: BTreeMap<(u16, usize), MegaflowId>,
}

/// What is seen of a datapath between steps.
#[derive(PartialEq, Debug)]
struct Seen {
    frames: Vec<Vec<Vec<u8>>>,
    ports: Vec<PortStats>,
    megaflows: Vec<((u16, usize), Option<MegaflowStats>)>,
    retired: Vec<((u16, usize), MegaflowStats)>,
    workers: Vec<String>,
    meters: Vec<String>,
}

impl Side {
    fn new(mut dpif: Box<dyn Dpif>, forms: Option<Forms>) -> Side {
        let mut wires = Vec::new();
        for index in 0..PORT_COUNT {
            let (mut netdev, handle) = DummyNetdev::new(DummyNetdev::test_config(&format!("p{index}"), 1));
            if let Some(forms) = forms {
                handle.set_sharing(forms.share >> index & 1 != 0);
                handle.set_takes_segments(forms.take_one_piece >> index & 1 == 0);
            }
            netdev.start().expect("a dummy starts");
            assert_eq!(dpif.port_add(Box::new(netdev)), Ok(DpPort(index)));
            wires.push(handle);
        }
        dpif.synchronize();
        Side { dpif, wires, installed: BTreeMap::new() }
    }

    /// What waits, worker by worker: whose turn it is first is each datapath's own business.
    fn upcalls(&mut self) -> Vec<Upcall> {
        let mut upcalls = Vec::new();
        while self.dpif.recv_upcalls(&mut upcalls, 7) > 0 {}
        upcalls.sort_by_key(|upcall| upcall.worker);
        upcalls
    }

    /// Answers a miss: with a candidate's megaflow, or by carrying `otherwise` out.
    fn answer(&mut self, upcall: Upcall, candidates: &[Candidate], otherwise: &Actions) {
        let Upcall { worker, kind, key, packets } = upcall;
        if kind != UpcallKind::Miss {
            return;
        }
        let packets: Vec<(FlowKey, Packet)> = packets.into_iter().map(|packet| (key, packet)).collect();
        let found = candidates.iter().position(|candidate| candidate.mask.agree(&candidate.key, &key));
        match found.filter(|&index| !self.installed.contains_key(&(worker.0, index))) {
            Some(index) => {
                let Candidate { key, mask, actions } = candidates[index].clone();
                if let Ok(id) = self.dpif.flow_put(FlowPut { worker, key, mask, actions, packets }) {
                    self.installed.insert((worker.0, index), id);
                }
            }
            None => {
                let actions = found.map_or(otherwise, |index| &candidates[index].actions).clone();
                self.dpif.execute(Execute { worker, packets, actions, is_made: false });
            }
        }
    }

    fn workers_with(&self, index: usize) -> Vec<(u16, usize)> {
        self.installed.keys().copied().filter(|place| place.1 == index).collect()
    }

    fn see(&mut self, is_sorted: bool, retiring: &BTreeMap<MegaflowId, (u16, usize)>) -> Seen {
        let frames = self.wires.iter().map(|wire| {
            let packets = wire.take_tx().into_iter();
            let take = packets.map(|packet| {
                let frame = packet.to_vec();
                wire.recycle(packet);
                frame
            });
            let mut frames: Vec<Vec<u8>> = take.collect();
            if is_sorted {
                frames.sort();
            }
            frames
        });
        let frames = frames.collect();
        let ports = self.dpif.ports().into_iter();
        let ports = ports.map(|port| self.dpif.port_stats(port).expect("the port is there"));
        let ports: Vec<PortStats> = ports.collect();
        let stats = |(&place, &id): (&(u16, usize), &MegaflowId)| (place, self.dpif.flow_stats(id));
        let megaflows = self.installed.iter().map(stats).collect();
        let mut retired: Vec<RetiredMegaflow> = Vec::new();
        self.dpif.recv_retired(&mut retired, usize::MAX);
        let mut retired: Vec<_> = retired.iter().map(|gone| (retiring[&gone.id], gone.stats)).collect();
        retired.sort_by_key(|(place, _)| *place);
        let workers = self.dpif.worker_stats().into_iter().map(|worker| {
            let hits = worker.emc_hits + worker.megaflow_hits;
            format!(
                "{:?} {:?} {:?} rx {} {:?} hits {hits} misses {} again {} upcalls {} lost {} megaflows {}",
                worker.worker,
                worker.core,
                worker.rx_queues,
                worker.rx_packets,
                worker.rx_bursts,
                worker.misses,
                worker.recirculations,
                worker.upcalls,
                worker.upcalls_lost,
                worker.megaflows
            )
        });
        let workers = workers.collect();
        let meters = (0..PORT_COUNT).map(|id| format!("{:?}", self.dpif.meter_stats(MeterId(id.into()))));
        let meters = meters.collect();
        Seen { frames, ports, megaflows, retired, workers, meters }
    }
}

fn flat(upcalls: &[Upcall]) -> Vec<HandedUp> {
    let each = |upcall: &Upcall| {
        let (worker, kind, key) = (upcall.worker.0, format!("{:?}", upcall.kind), upcall.key);
        let of = move |packet: &Packet| (worker, kind.clone(), key, packet.to_vec());
        upcall.packets.iter().map(of).collect::<Vec<_>>()
    };
    upcalls.iter().flat_map(each).collect()
}

struct Run<'a> {
    scenario: &'a Scenario,
    clock: ManualClock,
    real: Side,
    model: Side,
    candidates: Vec<Candidate>,
    otherwise: Actions,
    /// Removed megaflows of either side, whose ids differ.
    retiring: [BTreeMap<MegaflowId, (u16, usize)>; 2],
}

impl Run<'_> {
    fn new(scenario: &Scenario) -> Run<'_> {
        let clock = ManualClock::default();
        let config = DatapathConfig {
            cores: vec![None; usize::from(scenario.worker_count)],
            emc_entries: scenario.emc_entries,
            megaflows_max: scenario.megaflows_max,
            upcall_ring_len: scenario.upcalls_max,
            idle: IdlePolicy::Spin,
            seed: 3,
        };
        let doorbell = Arc::new(Doorbell::new(|| {}));
        let real = Datapath::manual(config, Arc::new(clock.clone()), doorbell);
        let model = ModelDpif::new(ModelConfig {
            worker_count: scenario.worker_count,
            megaflows_max: scenario.megaflows_max,
            upcalls_max: scenario.upcalls_max,
            upcall_quota: upcall_quota(scenario.upcalls_max),
            seed: 3,
        });
        Run {
            scenario,
            clock,
            real: Side::new(Box::new(real), Some(scenario.forms)),
            model: Side::new(Box::new(model), None),
            candidates: scenario.candidates.clone(),
            otherwise: vec![Action::Drop(DropReason::TableMiss)],
            retiring: Default::default(),
        }
    }

    fn sides(&mut self) -> [&mut Side; 2] {
        [&mut self.real, &mut self.model]
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Packets(packets) => {
                for (port, frame) in packets {
                    // A port whose link is down takes none.
                    let packet = self.scenario.forms.packet(frame);
                    let is_taken = self.real.wires[usize::from(*port)].inject(0, packet).is_ok();
                    assert_eq!(self.model.wires[usize::from(*port)].inject_frame(0, frame), is_taken);
                }
            }
            Step::Modify(index, actions) => {
                self.candidates[*index].actions.clone_from(actions);
                let Run { real, model, retiring, .. } = self;
                for (side, retiring) in [real, model].into_iter().zip(retiring) {
                    for place in side.workers_with(*index) {
                        let id = side.installed[&place];
                        let past = side.dpif.flow_modify(id, actions).expect("it is installed");
                        retiring.insert(past, place);
                    }
                }
            }
            Step::Remove(index) => {
                let Run { real, model, retiring, .. } = self;
                for (side, retiring) in [real, model].into_iter().zip(retiring) {
                    for place in side.workers_with(*index) {
                        let id = side.installed.remove(&place).expect("it is installed");
                        side.dpif.flow_del(id).expect("it is installed");
                        retiring.insert(id, place);
                    }
                }
            }
            Step::Workers(cores) => {
                let Run { real, model, retiring, .. } = self;
                for (side, retiring) in [real, model].into_iter().zip(retiring) {
                    side.dpif.set_workers(cores).expect("workers without threads can always be made");
                    for copied in side.dpif.recv_copied() {
                        let (&(_, index), _) =
                            side.installed.iter().find(|(_, id)| **id == copied.of).expect("it is installed");
                        side.installed.insert((copied.worker.0, index), copied.id);
                    }
                    let there: Vec<u16> = side.dpif.workers().iter().map(|worker| worker.0).collect();
                    let is_gone = |(worker, _): &(u16, usize), _: &mut MegaflowId| !there.contains(worker);
                    retiring.extend(side.installed.extract_if(.., is_gone).map(|(place, id)| (id, place)));
                }
            }
            Step::Advance(span) => self.clock.advance(*span),
            Step::Capacity(port, len) => {
                self.sides()
                    .into_iter()
                    .for_each(|side| side.wires[usize::from(*port)].set_tx_capacity(*len));
            }
            Step::Link(port, is_up) => {
                self.sides().into_iter().for_each(|side| side.wires[usize::from(*port)].set_link(*is_up));
            }
            Step::Meter(id, config) => self.sides().into_iter().for_each(|side| match config {
                Some(config) => side.dpif.meter_set(*id, config).expect("the number is low"),
                None => side.dpif.meter_del(*id),
            }),
            Step::Otherwise(actions) => self.otherwise.clone_from(actions),
        }
        self.run_and_compare()
    }

    /// Runs both until nothing is left to do, and answers what comes up.
    fn run_and_compare(&mut self) -> Result<(), String> {
        let now = self.clock.now();
        loop {
            let worked = self.sides().map(|side| side.dpif.run(now));
            let (real, model) = (self.real.upcalls(), self.model.upcalls());
            let (seen, expected) = (flat(&real), flat(&model));
            if seen != expected {
                return Err(format!("upcalls: {seen:02x?}\nmust be: {expected:02x?}"));
            }
            let is_quiet = real.is_empty() && worked == [false; 2];
            let Run { candidates, otherwise, .. } = self;
            for (side, upcalls) in [(&mut self.real, real), (&mut self.model, model)] {
                upcalls.into_iter().for_each(|upcall| side.answer(upcall, candidates, otherwise));
                side.dpif.synchronize();
            }
            if is_quiet {
                break;
            }
        }
        let is_sorted = self.scenario.worker_count > 1;
        let seen = self.real.see(is_sorted, &self.retiring[0]);
        let expected = self.model.see(is_sorted, &self.retiring[1]);
        if seen != expected {
            return Err(format!("{seen:02x?}\nmust be: {expected:02x?}"));
        }
        Ok(())
    }
}

/// What runs came to.
#[derive(Default, Debug)]
struct Tally {
    packets: u64,
    emc_hits: u64,
    megaflow_hits: u64,
    misses: u64,
    upcalls_lost: u64,
    installs: u64,
    recirculations: u64,
    /// Packets that died, by reason.
    drops: BTreeMap<&'static str, u64>,
}

fn run(scenario: &Scenario, tally: &mut Tally) -> Result<(), String> {
    let mut run = Run::new(scenario);
    for (index, step) in scenario.steps.iter().enumerate() {
        run.step(step).map_err(|fault| format!("step {index}: {fault}"))?;
    }
    tally.installs += (run.real.installed.len() + run.retiring[0].len()) as u64;
    for worker in run.real.dpif.worker_stats() {
        tally.packets += worker.rx_packets;
        tally.emc_hits += worker.emc_hits;
        tally.megaflow_hits += worker.megaflow_hits;
        tally.misses += worker.misses;
        tally.upcalls_lost += worker.upcalls_lost;
        tally.recirculations += worker.recirculations;
    }
    for port in run.real.dpif.ports() {
        let drops = run.real.dpif.port_stats(port).expect("the port is there").drops;
        for (reason, count) in DropReason::ALL.into_iter().zip(drops).filter(|(_, count)| *count > 0) {
            *tally.drops.entry(reason.name()).or_default() += count;
        }
    }
    Ok(())
}

fn report(seed: u64, mut scenario: Scenario, found: &str) -> ! {
    let fails = |scenario: &Scenario| fault(|| run(scenario, &mut Tally::default()));
    let steps = shrink(&scenario.steps, &mut |steps| {
        fails(&Scenario { steps: steps.to_vec(), ..scenario.clone() }).is_some()
    });
    scenario.steps = steps;
    for index in 0..scenario.steps.len() {
        let Step::Packets(packets) = scenario.steps[index].clone() else { continue };
        scenario.steps[index] = Step::Packets(shrink(&packets, &mut |packets| {
            let mut smaller = scenario.clone();
            smaller.steps[index] = Step::Packets(packets.to_vec());
            fails(&smaller).is_some()
        }));
    }
    for index in 0..scenario.candidates.len() {
        let actions = scenario.candidates[index].actions.clone();
        scenario.candidates[index].actions = shrink(&actions, &mut |actions| {
            let mut smaller = scenario.clone();
            smaller.candidates[index].actions = actions.to_vec();
            fails(&smaller).is_some()
        });
    }
    let smallest = fails(&scenario).unwrap_or_else(|| found.to_owned());
    panic!("PENSTOCK_SEED={seed}: {found}\n\nat its smallest: {smallest}\n{}", show(&scenario));
}

/// A scenario for people.
fn show(scenario: &Scenario) -> String {
    let Scenario { worker_count, emc_entries, megaflows_max, upcalls_max, forms, candidates, steps } =
        scenario;
    let candidate = |candidate: &Candidate| {
        let Candidate { key, mask, actions } = candidate;
        format!("{} {}\n", format_megaflow(key, mask), format_dp_actions(actions))
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let step = |step: &Step| match step {
        Step::Packets(packets) => {
            packets.iter().map(|(port, frame)| format!("port {port}: {}\n", hex(frame))).collect()
        }
        other => format!("{other:?}\n"),
    };
    let candidates: String = candidates.iter().map(candidate).collect();
    let steps: String = steps.iter().map(step).collect();
    format!(
        "{worker_count} workers, EMC {emc_entries}, {megaflows_max} megaflows, {upcalls_max} upcalls, {forms:?}\n\
         {candidates}{steps}"
    )
}

#[test]
fn the_datapath_does_what_its_model_does() {
    let pairs = number("PENSTOCK_PAIRS").unwrap_or(PAIRS);
    let (mut tally, mut scenarios) = (Tally::default(), 0);
    for seed in seeds() {
        let scenario = Scenario::random(&mut Rng::with_seed(seed));
        if let Some(found) = fault(|| run(&scenario, &mut tally)) {
            report(seed, scenario, &found);
        }
        scenarios += 1;
        if scenarios * FRAME_COUNT as u64 >= pairs {
            break;
        }
    }
    println!("{scenarios} sets of megaflows: {tally:?}");
    if number("PENSTOCK_SEED").is_none() {
        let Tally { emc_hits, megaflow_hits, misses, upcalls_lost, installs, recirculations, .. } = tally;
        let least = emc_hits.min(megaflow_hits).min(misses).min(installs).min(recirculations);
        assert!(least > pairs / 10 && upcalls_lost > 0, "something was idle: {tally:?}");
        for reason in [DropReason::Meter, DropReason::RecirculationLimit, DropReason::TtlExpired] {
            assert!(tally.drops.contains_key(reason.name()), "nothing died of {reason:?}: {tally:?}");
        }
    }
}
