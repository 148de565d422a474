//! Actions of Open vSwitch with arguments of their own.

use super::{random_port, random_register, random_subfield};
use crate::flow::{Field, Flow, OfPort};
use crate::openflow::action::{
    Action, Bundle, BundleAlgorithm, HashFields, Learn, LearnSource, LearnSpec, Multipath,
    MultipathAlgorithm, SampleDirection, Subfield,
};
use crate::openflow::message::PacketInReason;
use fastrand::Rng;

/// A controller action with everything that it may have.
pub(super) fn random_controller(random: &mut Rng) -> Action {
    let reasons = [
        PacketInReason::TableMiss,
        PacketInReason::ApplyAction,
        PacketInReason::InvalidTtl,
        PacketInReason::ActionSet,
        PacketInReason::Group,
        PacketInReason::PacketOut,
    ];
    Action::Controller {
        max_len: if random.bool() { u16::MAX } else { random.u16(..) },
        controller_id: random.u16(..3),
        reason: reasons[random.usize(..6)],
        userdata: (0..random.u8(..4)).map(|_| random.u8(..)).collect(),
    }
}

/// One of these actions. Conjunctions stand alone and are not among them.
pub(super) fn random_extension(random: &mut Rng, known: &Flow) -> Action {
    match random.u8(..13) {
        0 => Action::PopQueue,
        1 => Action::SetQueue(random.u32(..)),
        2 => {
            let ports = [OfPort::LOCAL, OfPort::IN_PORT, OfPort(random.u32(1..=OfPort::MAX.0))];
            Action::Enqueue { port: ports[random.usize(..3)], queue: random.u32(..) }
        }
        3 => Action::Exit,
        4 => Action::Learn(Box::new(random_learn(random, known))),
        5 => {
            let link_max = random.u16(..);
            Action::Multipath(Box::new(Multipath {
                fields: HashFields::ALL[random.usize(..7)],
                basis: random.u16(..),
                algorithm: MultipathAlgorithm::ALL[random.usize(..4)],
                link_max,
                argument: random.u32(..),
                destination: Subfield { field: Field::Reg(random.u8(..16)), first_bit: 7, bits: 16 },
            }))
        }
        6 | 7 => {
            let destination = Subfield { field: Field::Xreg(random.u8(..8)), first_bit: 3, bits: 16 };
            let algorithms = [BundleAlgorithm::ActiveBackup, BundleAlgorithm::HighestRandomWeight];
            Action::Bundle(Box::new(Bundle {
                algorithm: algorithms[random.usize(..2)],
                fields: HashFields::ALL[random.usize(..7)],
                basis: random.u16(..),
                members: (0..random.u8(..4)).map(|_| OfPort(random.u32(1..=OfPort::MAX.0))).collect(),
                destination: random.bool().then_some(destination),
            }))
        }
        8 => Action::FinTimeout { idle_s: random.u16(..3), hard_s: random.u16(..3) },
        9 => Action::Sample {
            probability: random.u16(1..),
            collector_set_id: random.u32(..),
            obs_domain_id: random.u32(..),
            obs_point_id: random.u32(..),
            sampling_port: if random.bool() { OfPort::NONE } else { random_port(random) },
            direction: [SampleDirection::Default, SampleDirection::Ingress, SampleDirection::Egress]
                [random.usize(..3)],
        },
        10 => {
            let field = random_register(random);
            Action::StackPush(random_subfield(random, field))
        }
        11 => {
            let field = random_register(random);
            Action::StackPop(random_subfield(random, field))
        }
        _ => Action::DecTtlIds((0..random.u8(1..4)).map(|_| random.u16(..)).collect()),
    }
}

fn random_learn(random: &mut Rng, known: &Flow) -> Learn {
    let result = Subfield { field: Field::Reg(3), first_bit: random.u16(..32), bits: 1 };
    let mut specs = Vec::new();
    for _ in 0..random.u8(..4) {
        specs.push(random_spec(random));
    }
    if known.key.eth_type == 0x0800 {
        let source = LearnSource::Value(0x0800);
        specs.push(LearnSpec::Match { source, destination: Subfield::whole(Field::EthType) });
        let source = LearnSource::Field(Subfield { field: Field::Ipv4Src, first_bit: 8, bits: 24 });
        let destination = Subfield { field: Field::Ipv4Dst, first_bit: 8, bits: 24 };
        specs.push(LearnSpec::Match { source, destination });
    }
    Learn {
        table: random.u8(..255),
        priority: random.u16(..),
        idle_timeout_s: random.u16(..3),
        hard_timeout_s: random.u16(..3),
        fin_idle_timeout_s: random.u16(..3),
        fin_hard_timeout_s: random.u16(..3),
        cookie: random.u64(..) >> random.u32(..64),
        send_flow_removed: random.bool(),
        delete_learned: random.bool(),
        limit: random.u32(..3),
        result: random.bool().then_some(result),
        specs,
    }
}

fn random_spec(random: &mut Rng) -> LearnSpec {
    let field = random_register(random);
    let destination = random_subfield(random, field);
    let source = if random.bool() {
        LearnSource::Value(random.u128(..) & u128::MAX >> (128 - u32::from(destination.bits)))
    } else {
        LearnSource::Field(Subfield { field: Field::Xxreg(0), first_bit: 0, bits: destination.bits })
    };
    match random.u8(..4) {
        0 => LearnSpec::Output(destination),
        1 => {
            let source = Subfield { field: Field::EthSrc, first_bit: 0, bits: 48 };
            LearnSpec::Match { source: LearnSource::Field(source), destination: source }
        }
        2 => LearnSpec::Match { source, destination },
        _ => LearnSpec::Load { source, destination },
    }
}
