//! Actions of Open vSwitch's own.

use super::*;
use crate::dpif::ControllerReason;
use crate::flow::Flow;
use crate::openflow::action::{
    Bundle, BundleAlgorithm, HashFields, Learn, LearnSource, LearnSpec, Multipath, MultipathAlgorithm,
    SampleDirection,
};

const OUT3: Action = Action::Output(OfPort(3));

fn reg(n: u8) -> Subfield {
    Subfield::whole(Field::Reg(n))
}

#[test]
fn an_exit_ends_every_list_and_leaves_the_action_set() {
    let mut bridges = bridges();
    add(&mut bridges, 0, 0, &[], &[Action::WriteActions(vec![OUT2]), Action::GotoTable(1)]);
    add(&mut bridges, 1, 0, &[], &[Action::resubmit(None, Some(2)), OUT3, Action::GotoTable(3)]);
    add(&mut bridges, 2, 0, &[], &[Action::Exit, OUT3]);
    add(&mut bridges, 3, 0, &[], &[OUT3]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(20)]);
    add(&mut bridges, 2, 0, &[], &[Action::Clone(vec![Action::Exit, OUT3])]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(30), out(30), out(20)], "only the copy's end");
}

#[test]
fn the_stack_gives_back_last_what_came_first() {
    let mut bridges = bridges();
    let port = Subfield { field: Field::InPort, first_bit: 0, bits: 16 };
    let actions = [
        of_set(Field::Reg(1), 2),
        Action::StackPush(reg(1)),
        Action::StackPush(port),
        Action::StackPop(reg(2)),
        Action::StackPop(reg(3)),
        Action::StackPop(reg(3)),
        Action::output_reg(reg(3)),
    ];
    add(&mut bridges, 0, 0, &[], &actions);
    assert_eq!(actions_of(&bridges, &tcp()), [out(20)], "the last pop finds nothing and changes nothing");
}

#[test]
fn links_are_chosen_by_what_is_hashed_and_nothing_else() {
    let mut bridges = bridges();
    let multipath = Multipath {
        fields: HashFields::NwSrc,
        basis: 0,
        algorithm: MultipathAlgorithm::HighestRandomWeight,
        link_max: 1,
        argument: 0,
        destination: reg(0),
    };
    add(&mut bridges, 0, 0, &[], &[Action::Multipath(Box::new(multipath)), Action::GotoTable(1)]);
    add(&mut bridges, 1, 1, &[(Field::Reg(0), 0)], &[OUT2]);
    add(&mut bridges, 1, 1, &[(Field::Reg(0), 1)], &[OUT3]);
    let mut seen = [0; 2];
    for n in 0..64 {
        let key = FlowKey { nw_src: n, ..tcp() };
        let result = translate(&bridges, &key);
        assert_eq!((result.mask.0.nw_src, result.mask.0.nw_dst, result.mask.0.tp_src), (u32::MAX, 0, 0));
        seen[usize::from(result.actions == [out(30)])] += 1;
        let other = FlowKey { nw_dst: 9, tp_src: 9, ..key };
        assert_eq!(actions_of(&bridges, &other), result.actions);
    }
    assert!(seen.iter().all(|&count| count > 16), "{seen:?}");
}

#[test]
fn a_bundle_sends_to_the_first_that_lives_or_tells_its_number() {
    let mut bridges = bridges();
    let bundle = |destination| {
        Action::Bundle(Box::new(Bundle {
            algorithm: BundleAlgorithm::ActiveBackup,
            fields: HashFields::EthSrc,
            basis: 0,
            members: vec![OfPort(9), OfPort(2), OfPort(3)],
            destination,
        }))
    };
    add(&mut bridges, 0, 0, &[], &[bundle(None)]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(20)]);
    bridges.port_set_link(BridgeId(0), OfPort(2), false);
    assert_eq!(actions_of(&bridges, &tcp()), [out(30)]);
    let low = Subfield { field: Field::Reg(0), first_bit: 0, bits: 16 };
    add(&mut bridges, 0, 0, &[], &[bundle(Some(low)), Action::output_reg(low)]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(30)]);
    bridges.port_set_link(BridgeId(0), OfPort(3), false);
    assert_eq!(actions_of(&bridges, &tcp()), [DpAction::Drop(DropReason::Rule)]);
}

#[test]
fn controllers_are_told_why_and_get_the_bytes_that_the_rule_names() {
    let mut bridges = bridges();
    let reason_of = |bridges: &Bridges| {
        let actions = actions_of(bridges, &tcp());
        match actions[..] {
            [DpAction::Userspace(UserspaceCookie::Controller { reason, .. })] => reason,
            ref other => panic!("{other:?}"),
        }
    };
    let controller = Action::controller(9, 0);
    add(&mut bridges, 0, 1, &[], &[Action::WriteActions(vec![controller.clone()])]);
    assert_eq!(reason_of(&bridges), ControllerReason::ActionSet);
    let told = Action::Controller {
        max_len: 9,
        controller_id: 1,
        reason: crate::openflow::message::PacketInReason::InvalidTtl,
        userdata: vec![1, 2, 3],
    };
    add(&mut bridges, 0, 1, &[], &[told]);
    assert_eq!(reason_of(&bridges), ControllerReason::InvalidTtl);
    let result = translate(&bridges, &tcp());
    assert_eq!(result.frozen.len(), 1);
    assert_eq!(result.frozen[0].told(), Some((&Flow::default(), &[1, 2, 3][..])));
    let actions = [controller];
    let origin = Origin::PacketOut { bridge: BridgeId(0), in_port: OfPort(1), actions: &actions };
    let out = xlate(&bridges, XlateIn { key: &tcp(), origin });
    let [DpAction::Userspace(UserspaceCookie::Controller { reason, .. })] = out.actions[..] else {
        panic!("{:?}", out.actions)
    };
    assert_eq!(reason, ControllerReason::PacketOut);
}

#[test]
fn a_conjunctive_match_needs_all_its_clauses_and_looks_no_further() {
    let mut bridges = bridges();
    let clause = |clause| Action::Conjunction { id: 7, clause, clause_count: 2 };
    let ip = (Field::EthType, 0x0800);
    add(&mut bridges, 0, 9, &[ip, (Field::Ipv4Src, 0x0a00_0001)], &[clause(0)]);
    add(&mut bridges, 0, 9, &[ip, (Field::Ipv4Src, 0x0a00_0005)], &[clause(0)]);
    add(&mut bridges, 0, 9, &[ip, (Field::Ipv4Dst, 0x0a00_0002)], &[clause(1)]);
    add(&mut bridges, 0, 5, &[(Field::ConjId, 7)], &[OUT2]);
    add(&mut bridges, 0, 1, &[], &[OUT3]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(20)]);
    assert_eq!(
        actions_of(&bridges, &FlowKey { nw_dst: 9, ..tcp() }),
        [out(30)],
        "no rule of the second clause"
    );
    add(&mut bridges, 0, 10, &[ip], &[OUT3]);
    assert_eq!(actions_of(&bridges, &tcp()), [out(30)], "a rule of higher priority covers it by itself");
}

#[test]
fn learning_is_a_credit_with_the_rule_that_the_packet_makes() {
    let mut bridges = bridges();
    let source = Subfield::whole(Field::EthSrc);
    let specs = vec![
        LearnSpec::Match { source: LearnSource::Field(source), destination: Subfield::whole(Field::EthDst) },
        LearnSpec::Load { source: LearnSource::Value(5), destination: reg(2) },
        LearnSpec::Output(Subfield::whole(Field::InPort)),
    ];
    let learn = Learn { table: 3, priority: 9, specs, ..Learn::new() };
    add(&mut bridges, 0, 0, &[], &[Action::Learn(Box::new(learn)), OUT2]);
    let result = translate(&bridges, &tcp());
    assert_eq!(result.mask.0.eth_src, [0xff; 6]);
    let learned = result.credits.iter().find_map(|credit| match credit {
        Credit::LearnRule(learned) => Some(learned.flow_mod.clone()),
        _ => None,
    });
    let flow_mod = learned.expect("it learns");
    assert_eq!((flow_mod.table, flow_mod.priority), (3, 9));
    assert_eq!(flow_mod.matching.get(Field::EthDst), (0x0200_0000_000a, Field::EthDst.full_mask()));
    assert_eq!(flow_mod.actions, [of_set(Field::Reg(2), 5), Action::Output(OfPort(1))]);
}

#[test]
fn a_fin_shortens_the_life_of_its_rule_and_a_sample_is_no_way_to_go() {
    let mut bridges = bridges();
    let sample = Action::Sample {
        probability: 0x8000,
        collector_set_id: 1,
        obs_domain_id: 2,
        obs_point_id: 3,
        sampling_port: OfPort::NONE,
        direction: SampleDirection::Default,
    };
    let fin = Action::FinTimeout { idle_s: 5, hard_s: 0 };
    add(&mut bridges, 0, 0, &[], &[fin, sample]);
    let shortens = |key: &FlowKey| {
        let result = translate(&bridges, key);
        assert_eq!(result.mask.0.tcp_flags, 5);
        let [DpAction::Sample { probability: 0x8000_8000, .. }, DpAction::Drop(DropReason::Rule)] =
            result.actions[..]
        else {
            panic!("{:?}", result.actions)
        };
        result.credits.iter().any(|credit| matches!(credit, Credit::FinTimeout { idle_s: 5, .. }))
    };
    assert!(
        shortens(&FlowKey { tcp_flags: 0x11, ..tcp() }) && !shortens(&FlowKey { tcp_flags: 0x10, ..tcp() })
    );
}
