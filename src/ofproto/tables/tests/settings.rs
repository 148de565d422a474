//! Full tables, what is undone, what watchers see, rules that are learned.

use super::*;
use crate::ofproto::BridgeId;
use crate::ofproto::bridge::names;
use crate::ofproto::rule_events::RuleEventKind;
use crate::openflow::action::Learn;
use crate::openflow::group::GROUP_ANY;

fn port_rule(priority: u16, port: u128, actions: Vec<Action>) -> FlowMod {
    FlowMod { actions, ..add(priority, &[(Field::InPort, port)], 1) }
}

#[test]
fn a_full_table_evicts_the_least_important_and_then_the_one_that_would_go_first() {
    let mut tables = FlowTables::default();
    let settings = TableSettings { eviction: true, rule_count_max: Some(3), ..TableSettings::default() };
    tables.set_settings(0, settings);
    for (port, importance, hard_timeout_s) in [(1, 5, 0), (2, 3, 0), (3, 3, 60)] {
        let flow_mod = FlowMod { importance, hard_timeout_s, ..port_rule(1, port, Vec::new()) };
        tables.flow_mod(&flow_mod, Nanos(0)).expect("there is room");
    }
    let add_one = |tables: &mut FlowTables, port| {
        let change = tables.flow_mod(&port_rule(1, port, Vec::new()), Nanos(0)).expect("it evicts");
        let evicted = change.evicted.iter().filter_map(|&id| tables.rule(id));
        evicted.map(|rule| rule.matching.unpack().get(Field::InPort).0).collect::<Vec<_>>()
    };
    assert_eq!(add_one(&mut tables, 4), [3]);
    assert_eq!(add_one(&mut tables, 5), [4], "its importance is 0");
    tables.set_settings(TABLE_ALL, TableSettings { eviction: false, ..settings });
    let refused = tables.flow_mod(&port_rule(1, 6, Vec::new()), Nanos(0));
    assert_eq!(refused, Err(OfError::FlowModTableFull));
}

#[test]
fn what_is_rolled_back_leaves_no_trace() {
    let mut tables = FlowTables::default();
    tables.watch(true);
    let clause = Action::Conjunction { id: 1, clause: 0, clause_count: 2 };
    for (port, actions) in [(1, vec![]), (2, vec![Action::Output(OfPort(3))]), (3, vec![clause])] {
        let flow_mod = FlowMod { idle_timeout_s: port as u16, ..port_rule(1, port, actions) };
        tables.flow_mod(&flow_mod, Nanos(7)).expect("valid");
    }
    credit_all(&mut tables, 5);
    let before = format!("{:?}", (dump(&tables), tables.rule_count(), &tables.mortal));
    tables.begin();
    let mut reset = port_rule(1, 1, vec![Action::Output(OfPort(9))]);
    reset.flags.reset_counts = true;
    for flow_mod in [
        reset,
        port_rule(2, 4, Vec::new()),
        with(FlowModCommand::Modify, &add(1, &[], 8)),
        with(FlowModCommand::Delete, &add(1, &[(Field::InPort, 2)], 8)),
        port_rule(1, 2, vec![Action::Output(OfPort(4))]),
        with(FlowModCommand::Delete, &add(1, &[], 8)),
    ] {
        tables.flow_mod(&flow_mod, Nanos(90)).expect("valid");
    }
    assert_eq!(tables.rule_count(), 0);
    tables.roll_back();
    assert_eq!(format!("{:?}", (dump(&tables), tables.rule_count(), &tables.mortal)), before);
    let mut flow = Flow { in_port: OfPort(2), ..Flow::default() };
    assert!(tables.lookup(0, &flow, &mut Flow::default()).is_some());
    flow.in_port = OfPort(3);
    assert!(tables.lookup(0, &flow, &mut Flow::default()).is_none(), "it is a clause again");
    let mut events = Vec::new();
    tables.events_mut().expect("watched").take(BridgeId(0), &mut events, 99);
    assert!(events.len() == 3 && events.iter().all(|event| event.kind == RuleEventKind::Added));
}

#[test]
fn watchers_see_what_came_changed_and_went() {
    let mut tables = FlowTables::default();
    tables.flow_mod(&port_rule(1, 1, Vec::new()), Nanos(0)).expect("valid");
    tables.watch(true);
    let rule = FlowMod { hard_timeout_s: 1, ..port_rule(2, 2, Vec::new()) };
    tables.flow_mod(&rule, Nanos(0)).expect("valid");
    // What changes nothing is no news, and what takes another's place is new.
    for _ in 0..2 {
        tables.flow_mod(&with(FlowModCommand::Modify, &add(0, &[], 5)), Nanos(0)).expect("valid");
    }
    tables.flow_mod(&port_rule(1, 1, Vec::new()), Nanos(0)).expect("valid");
    tables.expire(Nanos::from_secs(2));
    tables.flow_mod(&with(FlowModCommand::Delete, &add(0, &[], 5)), Nanos(0)).expect("valid");
    let mut events = Vec::new();
    tables.events_mut().expect("watched").take(BridgeId(0), &mut events, 99);
    let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
    use RuleEventKind::{Added, Modified, Removed};
    let gone = [Removed(FlowRemovedReason::HardTimeout), Removed(FlowRemovedReason::Delete)];
    assert_eq!(kinds, [Added, Modified, Modified, Added, gone[0], gone[1]]);
}

#[test]
fn what_rules_name_is_known_whatever_is_done_to_them() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut tables = FlowTables::default();
    let all = || (1..5).flat_map(|number| [Named::Group(number), Named::Meter(number)]);
    let check = |tables: &FlowTables| {
        for named in all() {
            let by_hand =
                tables.rules().filter(|rule| names(&rule.actions, &|it| Named::by(it) == Some(named)));
            assert_eq!(tables.references().count(named), by_hand.count(), "{named:?}");
        }
    };
    for round in 0..600 {
        let is_undone = random.u8(..) < 40;
        if is_undone {
            tables.begin();
        }
        for _ in 0..random.usize(1..4) {
            let group = || Action::Group(random.u32(1..5));
            let mut actions: Vec<Action> = std::iter::repeat_with(group).take(2).collect();
            if random.bool() {
                actions.insert(0, Action::Meter(random.u32(1..5)));
            }
            let command = match random.u8(0..10) {
                0 => FlowModCommand::Delete,
                1 => FlowModCommand::DeleteStrict,
                2 => FlowModCommand::Modify,
                3 => FlowModCommand::ModifyStrict,
                _ => FlowModCommand::Add,
            };
            let rule = FlowMod { command, ..port_rule(random.u16(0..9), random.u128(0..9), actions) };
            tables.flow_mod(&FlowMod { table: random.u8(0..2), ..rule }, Nanos(0)).expect("valid");
            if round % 100 == 99 && !is_undone {
                let gone = [Named::Group(random.u32(1..5)), Named::Meter(random.u32(1..5))];
                let place = |rule: &Rule| (rule.table, Reverse(rule.priority));
                let is_meant = |rule: &&Rule| {
                    names(&rule.actions, &|it| Named::by(it).is_some_and(|named| gone.contains(&named)))
                };
                let expected: Vec<_> = tables.rules().filter(is_meant).map(place).collect();
                let removed = tables.remove_naming(FlowRemovedReason::GroupDelete, gone.into_iter());
                let removed = removed.into_iter().map(|id| place(tables.rule(id).expect("not released")));
                assert_eq!(removed.collect::<Vec<_>>(), expected);
            }
        }
        if is_undone {
            tables.roll_back();
        }
        check(&tables);
    }
    assert!(all().any(|named| tables.references().count(named) > 1));
}

#[test]
fn rules_that_name_a_group_are_found_by_it() {
    let mut tables = FlowTables::default();
    let nested = Action::Clone(vec![Action::Group(4)]);
    tables.flow_mod(&port_rule(1, 1, vec![nested]), Nanos(0)).expect("valid");
    tables
        .flow_mod(&port_rule(1, 2, vec![Action::WriteActions(vec![Action::Group(5)])]), Nanos(0))
        .expect("valid");
    let count = |tables: &FlowTables, out_group| {
        tables.flow_stats(&FlowStatsRequest { out_group, ..FlowStatsRequest::all() }, Nanos(0)).len()
    };
    assert_eq!([4, 5, 6, GROUP_ANY].map(|group| count(&tables, group)), [1, 1, 0, 2]);
    let delete = FlowMod { out_group: 5, ..with(FlowModCommand::Delete, &add(0, &[], 1)) };
    assert_eq!(tables.flow_mod(&delete, Nanos(0)).expect("valid").touched, 1);
    assert_eq!((count(&tables, 4), count(&tables, 5)), (1, 0));
}

#[test]
fn what_was_learned_goes_with_the_last_rule_that_learns_it() {
    let mut tables = FlowTables::default();
    let learn = Learn { table: 3, cookie: 6, delete_learned: true, ..Learn::new() };
    let action = Action::Learn(Box::new(learn));
    for port in [1, 2] {
        tables.flow_mod(&port_rule(1, port, vec![action.clone()]), Nanos(0)).expect("valid");
    }
    for cookie in [6, 7] {
        let learned = FlowMod { table: 3, cookie, ..port_rule(1, cookie.into(), Vec::new()) };
        tables.flow_mod(&learned, Nanos(0)).expect("valid");
    }
    let delete = |port| with(FlowModCommand::Delete, &add(0, &[(Field::InPort, port)], 1));
    let change = tables.flow_mod(&delete(1), Nanos(0)).expect("valid");
    assert_eq!((change.removed.len(), tables.rule_count()), (1, 3));
    let change = tables.flow_mod(&delete(2), Nanos(0)).expect("valid");
    assert_eq!((change.touched, change.removed.len(), tables.rule_count()), (1, 2, 1));
}
