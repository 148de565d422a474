use super::*;

mod settings;

use crate::flow::Field;
use crate::openflow::Action;

fn add(priority: u16, fields: &[(Field, u128)], port: u32) -> FlowMod {
    let mut flow_mod = FlowMod { priority, actions: vec![Action::Output(OfPort(port))], ..FlowMod::add() };
    fields.iter().for_each(|&(field, value)| flow_mod.matching.set(field, value));
    flow_mod
}

fn with(command: FlowModCommand, base: &FlowMod) -> FlowMod {
    FlowMod { command, ..base.clone() }
}

fn dump(tables: &FlowTables) -> Vec<FlowStats> {
    tables.flow_stats(&FlowStatsRequest::all(), Nanos(0))
}

fn credit_all(tables: &mut FlowTables, packets: u64) {
    let ids: Vec<_> = (0..=254).flat_map(|t| tables.in_order(t).map(move |(id, _)| (t, id))).collect();
    ids.into_iter().for_each(|(table, id)| tables.credit(table, id, packets, packets * 64, Nanos(9)));
}

#[test]
fn an_add_replaces_the_same_match_and_priority_and_keeps_counts_unless_told() {
    let mut tables = FlowTables::default();
    let first = add(5, &[(Field::InPort, 1)], 2);
    tables.flow_mod(&first, Nanos(0)).expect("valid");
    credit_all(&mut tables, 7);
    let mut second = add(5, &[(Field::InPort, 1)], 3);
    tables.flow_mod(&second, Nanos(50)).expect("valid");
    let stats = dump(&tables);
    assert_eq!(stats.len(), 1);
    assert_eq!((stats[0].packets, &stats[0].actions), (7, &vec![Action::Output(OfPort(3))]));
    assert_eq!(tables.flow_stats(&FlowStatsRequest::all(), Nanos(60))[0].duration_ns, 10);
    second.flags.reset_counts = true;
    tables.flow_mod(&second, Nanos(0)).expect("valid");
    assert_eq!(dump(&tables)[0].packets, 0);
    second.priority = 6;
    tables.flow_mod(&second, Nanos(0)).expect("valid");
    assert_eq!(dump(&tables).iter().map(|rule| rule.priority).collect::<Vec<_>>(), [6, 5]);
}

#[test]
fn modify_is_loose_and_its_strict_form_is_not() {
    let mut tables = FlowTables::default();
    for (priority, port) in [(1, 1), (2, 2)] {
        tables.flow_mod(&add(priority, &[(Field::InPort, port)], 9), Nanos(0)).expect("valid");
    }
    credit_all(&mut tables, 3);
    let strict = with(FlowModCommand::ModifyStrict, &add(1, &[(Field::InPort, 1)], 5));
    assert_eq!(tables.flow_mod(&strict, Nanos(0)).expect("valid").touched, 1);
    let wrong_priority = with(FlowModCommand::ModifyStrict, &add(7, &[(Field::InPort, 1)], 6));
    assert_eq!(tables.flow_mod(&wrong_priority, Nanos(0)).expect("valid").touched, 0);
    let outputs = |tables: &FlowTables| dump(tables).iter().map(|r| r.actions.clone()).collect::<Vec<_>>();
    assert_eq!(outputs(&tables), [[Action::Output(OfPort(9))], [Action::Output(OfPort(5))]]);
    let loose = with(FlowModCommand::Modify, &add(0, &[], 4));
    assert_eq!(tables.flow_mod(&loose, Nanos(0)).expect("valid").touched, 2);
    assert_eq!(outputs(&tables), [[Action::Output(OfPort(4))], [Action::Output(OfPort(4))]]);
    assert!(dump(&tables).iter().all(|rule| rule.packets == 3), "counters stay");
    let none = with(FlowModCommand::Modify, &add(0, &[(Field::InPort, 8)], 4));
    assert_eq!(tables.flow_mod(&none, Nanos(0)).expect("valid"), Change::default());
}

#[test]
fn delete_goes_by_match_cookie_port_and_table() {
    let mut tables = FlowTables::default();
    for (table, cookie, port) in [(0, 0x11, 1), (0, 0x12, 2), (3, 0x11, 3), (253, 0x21, 4)] {
        let flow_mod = FlowMod { table, cookie, ..add(5, &[(Field::InPort, port.into())], port) };
        tables.flow_mod(&flow_mod, Nanos(0)).expect("valid");
    }
    let all = FlowMod { table: TABLE_ALL, ..with(FlowModCommand::Delete, &add(0, &[], 0)) };
    let by_port = FlowMod { out_port: OfPort(4), ..all.clone() };
    let change = tables.flow_mod(&by_port, Nanos(0)).expect("valid");
    assert_eq!((change.touched, tables.rule_count()), (1, 3));
    let by_cookie = FlowMod { cookie: 0x01, cookie_mask: 0x0f, ..all.clone() };
    let change = tables.flow_mod(&by_cookie, Nanos(0)).expect("valid");
    assert_eq!((change.touched, tables.rule_count()), (2, 1));
    let strict = with(FlowModCommand::DeleteStrict, &add(6, &[(Field::InPort, 2)], 0));
    assert_eq!(tables.flow_mod(&strict, Nanos(0)).expect("valid").touched, 0);
    let other_table = FlowMod { table: 1, ..all.clone() };
    assert_eq!(tables.flow_mod(&other_table, Nanos(0)).expect("valid").touched, 0);
    let strict = FlowMod { priority: 5, table: TABLE_ALL, ..strict };
    assert_eq!(tables.flow_mod(&strict, Nanos(0)).expect("valid").touched, 1);
    assert_eq!(tables.rule_count(), 0);
}

#[test]
fn all_tables_are_emptied_at_once_but_the_hidden_one_and_a_roll_back_brings_all_back() {
    let mut tables = FlowTables::default();
    for (table, priority) in [(0, 1), (0, 2), (7, 1), (HIDDEN_TABLE, 1)] {
        let mortal = FlowMod { table, idle_timeout_s: 9, ..add(priority, &[(Field::InPort, 1)], 1) };
        tables.flow_mod(&mortal, Nanos(0)).expect("valid");
    }
    let before = dump(&tables);
    let all = FlowMod { table: TABLE_ALL, ..with(FlowModCommand::Delete, &add(0, &[], 0)) };
    tables.begin();
    let change = tables.flow_mod(&all, Nanos(0)).expect("valid");
    assert_eq!((change.touched, tables.rule_count(), dump(&tables).len()), (3, 1, 0));
    assert!(tables.bytes < 2 * size_of::<Rule>());
    assert!(tables.exact(0, 2, &add(2, &[(Field::InPort, 1)], 1).matching).is_none());
    assert!(change.removed.iter().all(|id| tables.rule(*id).is_some() && !tables.rules.is_listed(*id)));
    tables.roll_back();
    assert_eq!(dump(&tables), before);
    assert_eq!(tables.bytes, tables.rules().map(Rule::size).sum::<usize>());
    assert!(tables.exact(0, 2, &add(2, &[(Field::InPort, 1)], 1).matching).is_some());
    let removed = tables.flow_mod(&all, Nanos(0)).expect("valid").removed;
    assert!(removed.into_iter().all(|id| tables.release(id).is_some()));
    assert_eq!(tables.expire(Nanos::from_secs(20)).len(), 1, "what went does not time out any more");
}

#[test]
fn a_modify_is_undone_with_all_that_it_changed() {
    let mut tables = FlowTables::default();
    tables.flow_mod(&FlowMod { cookie: 3, ..add(5, &[], 1) }, Nanos(0)).expect("valid");
    let (id, _) = tables.in_order(0).next().expect("just added");
    tables.credit(0, id, 2, 200, Nanos(4));
    let before = dump(&tables);
    tables.begin();
    let mut modify = with(FlowModCommand::ModifyStrict, &add(5, &[], 2));
    (modify.new_cookie, modify.flags.reset_counts) = (Some(4), true);
    assert_eq!(tables.flow_mod(&modify, Nanos(0)).expect("valid").touched, 1);
    let changed = dump(&tables);
    assert_eq!((changed[0].cookie, changed[0].packets, &changed[0].actions), (4, 0, &modify.actions));
    tables.roll_back();
    assert_eq!(dump(&tables), before);
}

#[test]
fn a_removed_rule_counts_until_it_is_released() {
    let mut tables = FlowTables::default();
    tables.flow_mod(&add(5, &[], 1), Nanos(0)).expect("valid");
    let (id, _) = tables.in_order(0).next().expect("just added");
    assert!(tables.release(id).is_none(), "it is in its table");
    let change = tables.flow_mod(&with(FlowModCommand::Delete, &add(0, &[], 1)), Nanos(0)).expect("valid");
    assert_eq!(change.removed, [id]);
    tables.credit(0, id, 2, 200, Nanos(4));
    let rule = tables.release(id).expect("it left its table");
    assert_eq!((rule.packets, rule.bytes, rule.last_used), (2, 200, Nanos(4)));
    assert!(tables.rule(id).is_none());
    tables.credit(0, id, 2, 200, Nanos(4));
}

#[test]
fn overlap_table_limit_and_table_number_are_refused_and_change_nothing() {
    let mut tables = FlowTables::with_rule_count_max(2);
    tables.flow_mod(&add(5, &[(Field::InPort, 1)], 1), Nanos(0)).expect("valid");
    let mut overlapping = add(5, &[(Field::EthType, 0x0800)], 1);
    overlapping.flags.check_overlap = true;
    assert_eq!(tables.flow_mod(&overlapping, Nanos(0)), Err(OfError::FlowModOverlap));
    overlapping.priority = 6;
    tables.flow_mod(&overlapping, Nanos(0)).expect("another priority does not overlap");
    tables.flow_mod(&overlapping, Nanos(0)).expect("nor does the same rule again");
    let third = add(5, &[(Field::InPort, 3)], 1);
    assert_eq!(tables.flow_mod(&third, Nanos(0)), Err(OfError::FlowModTableFull));
    let everywhere = FlowMod { table: TABLE_ALL, ..third };
    assert_eq!(tables.flow_mod(&everywhere, Nanos(0)), Err(OfError::FlowModBadTableId));
    assert_eq!(tables.rule_count(), 2);
}

#[test]
fn the_bytes_of_all_rules_together_are_bounded() {
    let long = |port: u8, len| {
        let note = Action::Note(vec![0; len]);
        FlowMod { actions: vec![note], ..add(1, &[(Field::InPort, port.into())], 1) }
    };
    let mut tables = FlowTables::default().with_rule_bytes_max(50_000);
    for port in 1..=4 {
        tables.flow_mod(&FlowMod { table: port, ..long(port, 10_000) }, Nanos(0)).expect("there is room");
    }
    let before = dump(&tables);
    let full = Err(OfError::FlowModTableFull);
    assert_eq!(tables.flow_mod(&long(5, 10_000), Nanos(0)), full);
    let longer = FlowMod { table: TABLE_ALL, ..with(FlowModCommand::Modify, &long(1, 30_000)) };
    assert_eq!(tables.flow_mod(&longer, Nanos(0)), full);
    assert_eq!(dump(&tables), before);
    let as_long = FlowMod { table: TABLE_ALL, ..with(FlowModCommand::Modify, &long(1, 9_999)) };
    tables.flow_mod(&FlowMod { matching: Match::any(), ..as_long }, Nanos(0)).expect("no more than before");
    tables.flow_mod(&FlowMod { table: 1, ..long(1, 15_000) }, Nanos(0)).expect("in the place of the other");
    tables
        .flow_mod(&with(FlowModCommand::Delete, &FlowMod { table: 2, ..add(0, &[], 1) }), Nanos(0))
        .expect("");
    tables.flow_mod(&long(5, 10_000), Nanos(0)).expect("there is room again");
}

#[test]
fn a_modify_that_does_not_suit_one_rule_changes_none() {
    let mut tables = FlowTables::default();
    let tcp = [(Field::EthType, 0x0800), (Field::IpProto, 6)];
    tables.flow_mod(&add(9, &tcp, 1), Nanos(0)).expect("valid");
    tables.flow_mod(&FlowMod { table: 7, ..add(5, &tcp, 1) }, Nanos(0)).expect("valid");
    let mut modify = with(FlowModCommand::Modify, &add(0, &[], 1));
    modify.actions = vec![Action::SetField { field: Field::TcpDst, value: 1, mask: 0xffff }];
    let before = dump(&tables);
    assert_eq!(tables.flow_mod(&modify, Nanos(0)), Err(OfError::BadActionMatchInconsistent));
    assert_eq!(dump(&tables), before);
}

#[test]
fn rules_expire_for_the_right_reason_at_the_right_time() {
    let mut tables = FlowTables::default();
    let idle = FlowMod { idle_timeout_s: 2, ..add(1, &[(Field::InPort, 1)], 1) };
    let hard = FlowMod { hard_timeout_s: 3, idle_timeout_s: 9, ..add(2, &[(Field::InPort, 2)], 1) };
    for flow_mod in [&idle, &hard, &add(3, &[], 1)] {
        tables.flow_mod(flow_mod, Nanos(0)).expect("valid");
    }
    let (idle_id, _) = tables.in_order(0).last().expect("the lowest priority");
    let second = Nanos::from_secs(1);
    tables.credit(0, idle_id, 1, 64, second);
    assert_eq!(tables.expire(Nanos::from_millis(2_999)), []);
    let expired: Vec<_> = tables.expire(Nanos::from_secs(3)).into_iter().map(|(_, reason)| reason).collect();
    assert_eq!(expired, [FlowRemovedReason::IdleTimeout, FlowRemovedReason::HardTimeout]);
    assert_eq!((tables.rule_count(), tables.expire(Nanos::from_secs(99)).len()), (1, 0));
}

#[test]
fn the_tables_agree_with_a_plain_list_of_rules_over_random_flow_mods() {
    type Plain = Vec<(TableId, u16, Match, u64, Vec<Action>)>;
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut tables, mut plain) = (FlowTables::default(), Plain::new());
        for _ in 0..60 {
            let mut flow_mod = add(rng.u16(0..3), &[], rng.u32(1..4));
            if rng.bool() {
                flow_mod.actions.push(Action::Note(vec![0; rng.usize(..40)]));
            }
            if rng.bool() {
                flow_mod.matching.set(Field::InPort, rng.u8(1..3).into());
            }
            if rng.bool() {
                flow_mod.matching.set_masked(Field::EthDst, rng.u8(0..4).into(), rng.u8(1..4).into());
            }
            (flow_mod.table, flow_mod.cookie) = (rng.u8(0..2), rng.u64(0..3));
            use FlowModCommand::*;
            flow_mod.command =
                *rng.choice(&[Add, Add, Modify, ModifyStrict, Delete, DeleteStrict]).expect("");
            flow_mod.cookie_mask = if flow_mod.command == Add { 0 } else { rng.u64(0..2) };
            let is_delete = matches!(flow_mod.command, Delete | DeleteStrict);
            if is_delete && rng.bool() {
                flow_mod.table = TABLE_ALL;
            }
            tables.flow_mod(&flow_mod, Nanos(0)).expect("valid");
            let is_strict = matches!(flow_mod.command, Add | ModifyStrict | DeleteStrict);
            let is_meant = |rule: &(TableId, u16, Match, u64, Vec<Action>)| {
                (flow_mod.table == TABLE_ALL || rule.0 == flow_mod.table)
                    && (rule.3 ^ flow_mod.cookie) & flow_mod.cookie_mask == 0
                    && if is_strict {
                        rule.1 == flow_mod.priority && rule.2 == flow_mod.matching
                    } else {
                        rule.2.is_within(&flow_mod.matching)
                    }
            };
            if matches!(flow_mod.command, Modify | ModifyStrict) {
                plain.iter_mut().filter(|r| is_meant(r)).for_each(|r| r.4 = flow_mod.actions.clone());
            } else {
                plain.retain(|rule| !is_meant(rule));
            }
            if flow_mod.command == Add {
                let FlowMod { table, priority, matching, cookie, actions, .. } = flow_mod;
                plain.push((table, priority, matching, cookie, actions));
            }
        }
        let sizes = tables.rules().map(Rule::size).sum::<usize>();
        let of_tables = tables.tables.iter().map(|table| table.bytes).sum::<usize>();
        assert_eq!((tables.bytes, of_tables), (sizes, sizes), "seed {seed}");
        let mut actual: Plain = dump(&tables)
            .into_iter()
            .map(|rule| (rule.table, rule.priority, rule.matching, rule.cookie, rule.actions))
            .collect();
        let order =
            |rule: &(TableId, u16, Match, u64, Vec<Action>)| (rule.0, rule.1, format!("{:?}", rule.2));
        actual.sort_by_key(order);
        plain.sort_by_key(order);
        assert_eq!(actual, plain, "seed {seed}");
    }
}

#[test]
fn an_answer_in_parts_tells_each_rule_once_whatever_goes_in_between() {
    let mut tables = FlowTables::default();
    for (table, priority) in [(0, 1), (0, 9), (7, 5)] {
        tables.flow_mod(&FlowMod { table, ..add(priority, &[], 1) }, Nanos(0)).expect("valid");
    }
    let request = FlowStatsRequest::all();
    let whole: Vec<_> =
        tables.flow_stats(&request, Nanos(0)).into_iter().map(|stats| stats.priority).collect();
    assert_eq!(whole, [9, 1, 5]);
    let mut cursor = FlowCursor::new(&request);
    let mut parts = Vec::new();
    while !cursor.is_done() {
        parts.extend(tables.flow_stats_part(&request, &mut cursor, 1, Nanos(0)));
        assert!(parts.len() <= 3);
        if parts.len() == 1 {
            tables.flow_mod(&add(20, &[], 1), Nanos(0)).expect("valid");
        }
    }
    assert_eq!(parts.into_iter().map(|stats| stats.priority).collect::<Vec<_>>(), whole);
    let one = FlowStatsRequest { table: 7, ..FlowStatsRequest::all() };
    assert_eq!(tables.flow_stats(&one, Nanos(0)).len(), 1);
}
