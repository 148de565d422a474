//! Flow monitors in their three forms.

use super::*;
use crate::openflow::flow_mod::FlowStats;
use crate::openflow::message::{FlowMonitorRequest, FlowUpdate};
use crate::openflow::session::{OUTPUT_SIZE_NOTICES_MAX, SessionEnd};
use crate::openflow::{Action, FlowMod};
use std::collections::BTreeSet;

/// Initial, add, removed, modify, instructions.
const EVERYTHING: u16 = 31;
const NO_ABBREV: u16 = 32;
const ONLY_OWN: u16 = 64;

/// Versions with a form of their own, and Nicira's.
const FORMS: [(Version, bool); 5] = [
    (Version::V10, true),
    (Version::V12, true),
    (Version::V13, false),
    (Version::V14, false),
    (Version::V15, false),
];

fn monitor(id: u32, command: u8, flags: u16) -> FlowMonitorRequest {
    FlowMonitorRequest { id, command, flags, flows: FlowStatsRequest::all() }
}

fn request(is_nicira: bool, monitors: Vec<FlowMonitorRequest>) -> Message {
    Message::MultipartRequest { is_nicira, more: false, body: MultipartRequest::FlowMonitor(monitors) }
}

fn updates(messages: Vec<Message>) -> Vec<(u8, u16, usize)> {
    let mut all = Vec::new();
    for message in messages {
        let Message::MultipartReply { body: MultipartReply::FlowMonitor(updates), .. } = message else {
            panic!("{message:?}")
        };
        all.extend(updates.into_iter().map(|update| match update {
            FlowUpdate::Full { event, stats, .. } => (event, stats.priority, stats.actions.len()),
            // Told apart from events by what no event is.
            FlowUpdate::Abbreviated(xid) => (9, xid as u16, 0),
        }));
    }
    all
}

/// What there is at first, which Nicira's form tells as added.
fn initial((version, is_nicira): (Version, bool)) -> u8 {
    if is_nicira || version == Version::V13 { 1 } else { 0 }
}

#[test]
fn a_monitor_tells_what_is_there_and_every_change_by_others() {
    for form in FORMS {
        let (version, is_nicira) = form;
        let mut lab = Lab::new();
        let (watcher, other) = (lab.join(version), lab.join(Version::V13));
        lab.order(other, &add("priority=1,actions=output:1,output:2"));
        let told = lab.ask(watcher, &request(is_nicira, vec![monitor(1, 0, EVERYTHING)]));
        assert_eq!(updates(told), [(initial(form), 1, 2)], "{form:?}");
        lab.order(other, &add("priority=2,actions=output:1"));
        lab.order(other, &flow("table=0,actions=drop", FlowModCommand::Modify));
        lab.order(other, &delete_all());
        let told = updates(lab.notices(watcher));
        assert_eq!(told, [(1, 2, 1), (3, 2, 0), (3, 1, 0), (2, 2, 0), (2, 1, 0)], "{form:?}");
    }
}

#[test]
fn instructions_are_told_if_asked_for() {
    let mut lab = Lab::new();
    let (watcher, other) = (lab.join(Version::V14), lab.join(Version::V14));
    lab.ask(watcher, &request(false, vec![monitor(1, 0, 2)]));
    lab.order(other, &add("priority=2,actions=output:1"));
    lab.order(other, &delete_all());
    assert_eq!(updates(lab.notices(watcher)), [(1, 2, 0)], "and removals are not, if not");
}

#[test]
fn a_change_of_its_own_is_told_by_its_transaction_id_or_whole() {
    for (version, is_nicira) in FORMS {
        let mut lab = Lab::new();
        let one = lab.join(version);
        lab.ask(one, &request(is_nicira, vec![monitor(1, 0, EVERYTHING)]));
        let xid = lab.send(one, &add("priority=2,actions=output:1"));
        assert_eq!(updates(lab.notices(one)), [(9, xid as u16, 0)], "{version:?}");
        lab.ask(one, &request(is_nicira, vec![monitor(2, 0, EVERYTHING | NO_ABBREV)]));
        lab.send(one, &add("priority=3,actions=output:1"));
        assert_eq!(updates(lab.notices(one)), [(1, 3, 1)], "{version:?}");
    }
}

#[test]
fn only_own_changes_are_told_where_that_is_wanted() {
    let mut lab = Lab::new();
    let (one, other) = (lab.join(Version::V15), lab.join(Version::V15));
    lab.ask(one, &request(false, vec![monitor(1, 0, EVERYTHING | NO_ABBREV | ONLY_OWN)]));
    lab.order(other, &add("priority=2,actions=output:1"));
    assert_eq!(lab.notices(one), []);
    lab.send(one, &add("priority=3,actions=output:1"));
    assert_eq!(updates(lab.notices(one)), [(1, 3, 1)]);
}

#[test]
fn a_monitor_is_about_the_rules_that_it_names() {
    let mut lab = Lab::new();
    let (one, other) = (lab.join(Version::V14), lab.join(Version::V14));
    let mut narrow = monitor(1, 0, EVERYTHING);
    narrow.flows.table = 3;
    narrow.flows.out_port = OfPort(2);
    narrow.flows.matching = crate::openflow::parse::parse_match("ip", &NoNames).expect("it is written well");
    lab.ask(one, &request(false, vec![narrow]));
    lab.order(other, &add("table=3,priority=1,ip,actions=output:2"));
    lab.order(other, &add("table=3,priority=2,tcp,actions=output:1,output:2"));
    lab.order(other, &add("table=3,priority=3,arp,actions=output:2"));
    lab.order(other, &add("table=3,priority=4,ip,actions=output:1"));
    lab.order(other, &add("table=4,priority=5,ip,actions=output:2"));
    assert_eq!(updates(lab.notices(one)), [(1, 1, 1), (1, 2, 2)]);
}

#[test]
fn a_monitor_is_told_of_a_rule_that_leaves_what_it_is_about_and_of_one_that_comes_into_it() {
    let by_port = |request: &mut FlowMonitorRequest| request.flows.out_port = OfPort(2);
    let by_group = |request: &mut FlowMonitorRequest| request.flows.out_group = 7;
    let cases: [(fn(&mut FlowMonitorRequest), &str); 2] = [(by_port, "output:2"), (by_group, "group:7")];
    for (narrow, actions) in cases {
        let mut lab = Lab::new();
        let (one, other) = (lab.join(Version::V14), lab.join(Version::V14));
        lab.order(other, &group("group_id=7,type=all,bucket=output:1"));
        lab.order(other, &add(&format!("priority=1,actions={actions}")));
        lab.order(other, &add(&format!("priority=2,actions={actions}")));
        lab.order(other, &add("priority=3,actions=drop"));
        let mut its = monitor(1, 0, EVERYTHING & !1);
        narrow(&mut its);
        lab.ask(one, &request(false, vec![its]));
        let modify = |priority: u16, actions: &str| {
            flow(&format!("table=0,priority={priority},actions={actions}"), FlowModCommand::ModifyStrict)
        };
        lab.order(other, &modify(1, "drop"));
        lab.order(other, &add("priority=2,actions=output:1"));
        lab.order(other, &modify(3, actions));
        assert_eq!(updates(lab.notices(one)), [(3, 1, 0), (1, 2, 1), (3, 3, 1)], "{actions}");
        // What it does not know of any more is nothing to it.
        lab.order(other, &modify(1, "output:1"));
        lab.order(other, &flow("table=0,priority=1", FlowModCommand::DeleteStrict));
        assert_eq!(lab.notices(one), []);
        // In a pause too.
        pause_by(actions, &mut lab, one, other);
        lab.order(other, &modify(3, "drop"));
        let mut heard = lab.notices(one);
        lab.hear_on(one, &mut heard);
        heard.retain(|message| matches!(message, Message::MultipartReply { .. }));
        assert!(updates(heard).contains(&(3, 3, 0)), "{actions}");
    }
}

#[test]
fn monitors_are_changed_and_deleted_by_number() {
    for version in [Version::V14, Version::V15] {
        let mut lab = Lab::new();
        let (one, other) = (lab.join(version), lab.join(version));
        lab.order(other, &add("priority=1,actions=output:1"));
        lab.ask(one, &request(false, vec![monitor(1, 0, 2)]));
        // A changed one tells of what is there if it asks for that.
        assert_eq!(updates(lab.ask(one, &request(false, vec![monitor(1, 1, 5)]))), [(0, 1, 0)]);
        lab.order(other, &add("priority=2,actions=output:1"));
        assert_eq!(lab.notices(one), []);
        // A multipart request has a reply, whatever it asks.
        let empty = answer(MultipartReply::FlowMonitor(vec![]));
        assert_eq!(lab.ask(one, &request(false, vec![monitor(1, 2, 0)])), [empty]);
        lab.order(other, &delete_all());
        assert_eq!(lab.notices(one), []);
    }
}

#[test]
fn a_cancelled_monitor_tells_nothing_more() {
    for (version, is_nicira) in FORMS.into_iter().filter(|(version, _)| *version < Version::V14) {
        let mut lab = Lab::new();
        let (one, other) = (lab.join(version), lab.join(version));
        lab.ask(one, &request(is_nicira, vec![monitor(1, 0, EVERYTHING)]));
        lab.order(one, &Message::FlowMonitorCancel(1));
        lab.order(other, &add("actions=output:1"));
        assert_eq!(lab.notices(one), []);
        assert_eq!(lab.refused(one, &Message::FlowMonitorCancel(1)), OfError::MonitorUnknown);
    }
}

#[test]
fn what_is_wrong_with_a_request_has_its_name_and_none_of_it_is_done() {
    let mut lab = Lab::new();
    let (one, other) = (lab.join(Version::V14), lab.join(Version::V14));
    lab.ask(one, &request(false, vec![monitor(1, 0, EVERYTHING)]));
    let mut no_table = monitor(3, 0, EVERYTHING);
    no_table.flows.table = 254;
    for (wrong, error) in [
        (monitor(1, 0, EVERYTHING), OfError::MonitorExists),
        (monitor(3, 1, EVERYTHING), OfError::MonitorUnknown),
        (monitor(3, 2, 0), OfError::MonitorUnknown),
        (no_table, OfError::MonitorBadTableId),
    ] {
        let request = request(false, vec![monitor(2, 0, EVERYTHING), wrong]);
        assert_eq!(lab.refused(one, &request), error);
    }
    assert_eq!(lab.refused(one, &request(false, vec![monitor(2, 2, 0)])), OfError::MonitorUnknown);
    let many = (10..300).map(|id| monitor(id, 0, 2)).collect();
    assert_eq!(lab.refused(one, &request(false, many)), OfError::MonitorUnknownFailure);
    lab.order(other, &add("priority=7,actions=drop"));
    assert_eq!(updates(lab.notices(one)), [(1, 7, 0)], "the first is still there");
}

#[test]
fn a_connection_that_goes_takes_its_monitors_along() {
    let mut lab = Lab::new();
    let (one, other) = (lab.join(Version::V14), lab.join(Version::V14));
    lab.ask(one, &request(false, vec![monitor(1, 0, EVERYTHING)]));
    assert!(lab.agent.is_watching);
    lab.leave(one);
    lab.order(other, &add("actions=drop"));
    assert!(!lab.agent.is_watching, "nobody is told, so nothing is kept");
}

#[test]
fn what_is_there_at_first_is_told_in_parts_as_fast_as_it_is_read() {
    const RULES: u16 = 10_000;
    let mut lab = Lab::new();
    let (watcher, other) = (lab.join(Version::V14), lab.join(Version::V13));
    let bridge = lab.agent.bridge();
    for priority in 1..=RULES {
        let flow_mod = FlowMod { table: 5, priority, ..FlowMod::add() };
        lab.switch.ofproto.flow_mod(bridge, &flow_mod).expect("a good rule");
    }
    // Several, of which not all want to know.
    let monitors = vec![monitor(1, 0, EVERYTHING), monitor(2, 0, 2), monitor(3, 0, 5)];
    let xid = lab.send(watcher, &request(false, monitors));
    let (mut known, mut is_over, mut parts) = (Known::new(), false, 0);
    while !is_over {
        let size = lab.sessions[&watcher].output_slices(usize::MAX).map(<[u8]>::len).sum::<usize>();
        assert!(size < 600 << 10, "no more is made than is read: {size}");
        // Meanwhile rules come and go, before and behind what is told.
        lab.order(other, &add(&format!("table=5,priority={},actions=drop", 20_000 + parts)));
        lab.order(other, &flow(&format!("table=5,priority={}", 9_990 - parts), FlowModCommand::DeleteStrict));
        lab.order(other, &flow(&format!("table=5,priority={}", 5 + parts), FlowModCommand::DeleteStrict));
        parts += 1;
        for (of, message) in lab.hear(watcher) {
            let Message::MultipartReply { more, body: MultipartReply::FlowMonitor(updates), .. } = message
            else {
                panic!("{message:?}")
            };
            is_over |= of == xid && !more;
            follow(&mut known, updates);
        }
        lab.agent.tell_on(watcher, &mut lab.switch, &mut lab.sessions);
    }
    assert!(parts > 2 && known == lab.rules_there());
}

/// A rule that is told of in some kilobytes.
fn long(priority: usize, in_port: usize) -> Message {
    long_of("output:2", priority, in_port)
}

fn long_of(action: &str, priority: usize, in_port: usize) -> Message {
    add(&format!("priority={priority},in_port={in_port},actions={}", [action; 500].join(",")))
}

/// Adds rules until a connection that reads nothing is paused; returns how many.
fn pause(lab: &mut Lab, watcher: usize, other: usize) -> usize {
    pause_by("output:2", lab, watcher, other)
}

/// The same by rules with this action.
fn pause_by(action: &str, lab: &mut Lab, watcher: usize, other: usize) -> usize {
    for count in 1..1_000 {
        lab.order(other, &long_of(action, count, 1));
        if lab.agent.controllers[&watcher].monitors.is_paused() {
            return count;
        }
    }
    panic!("it was never paused");
}

/// Rules by table, priority and port.
type Known = BTreeSet<(u8, u16, u32)>;

fn key(stats: &FlowStats) -> (u8, u16, u32) {
    (stats.table, stats.priority, stats.matching.get(crate::flow::Field::InPort).0 as u32)
}

/// What somebody knows of rules who is told of them.
fn follow(known: &mut Known, updates: Vec<FlowUpdate>) {
    for update in updates {
        let FlowUpdate::Full { event, stats, .. } = update else { panic!("{update:?}") };
        if event == 2 {
            known.remove(&key(&stats));
        } else {
            known.insert(key(&stats));
        }
    }
}

impl Lab {
    /// Reads what is told until there is no more.
    fn hear_on(&mut self, token: usize, heard: &mut Vec<Message>) {
        loop {
            self.turn();
            let size = self.sessions[&token].output_slices(usize::MAX).map(<[u8]>::len).sum::<usize>();
            assert!(size < 2 << 20, "no more is made than is read: {size}");
            let told = self.notices(token);
            if told.is_empty() {
                return;
            }
            heard.extend(told);
        }
    }

    fn rules_there(&mut self) -> Known {
        let bridge = self.agent.bridge();
        self.switch.ofproto.flow_stats(bridge, &FlowStatsRequest::all()).iter().map(key).collect()
    }
}

fn pauses(messages: &[Message]) -> Vec<bool> {
    let pause = |message: &Message| match message {
        Message::FlowMonitorPaused { .. } => Some(true),
        Message::FlowMonitorResumed { .. } => Some(false),
        _ => None,
    };
    messages.iter().filter_map(pause).collect()
}

#[test]
fn one_that_does_not_read_is_paused_and_knows_all_when_it_goes_on() {
    for (version, is_nicira) in [(Version::V10, true), (Version::V13, false), (Version::V14, false)] {
        let mut lab = Lab::new();
        let (watcher, other) = (lab.join(version), lab.join(Version::V13));
        lab.ask(watcher, &request(is_nicira, vec![monitor(1, 0, EVERYTHING)]));
        pause(&mut lab, watcher, other);
        let size =
            |lab: &Lab| lab.sessions[&watcher].output_slices(usize::MAX).map(<[u8]>::len).sum::<usize>();
        let at_pause = size(&lab);
        assert!(at_pause < OUTPUT_SIZE_NOTICES_MAX + 100_000, "{at_pause}");
        // What comes and changes meanwhile is not told, what goes is.
        for rule in 0..100 {
            lab.order(other, &add(&format!("priority=65000,in_port={rule},actions=drop")));
        }
        assert_eq!(size(&lab), at_pause);
        lab.order(other, &flow("priority=65000,in_port=7", FlowModCommand::DeleteStrict));
        lab.order(other, &flow("priority=1,in_port=1", FlowModCommand::DeleteStrict));
        let mut heard = lab.notices(watcher);
        assert_eq!(pauses(&heard), [true], "{version:?}");
        lab.hear_on(watcher, &mut heard);
        assert_eq!(pauses(&heard), [true, false]);
        assert!(matches!(heard.last(), Some(Message::FlowMonitorResumed { .. })));
        // Who follows what is told has just the rules that there are.
        heard.retain(|message| matches!(message, Message::MultipartReply { .. }));
        let mut known = BTreeSet::new();
        for message in heard {
            let Message::MultipartReply { body: MultipartReply::FlowMonitor(updates), .. } = message else {
                panic!()
            };
            follow(&mut known, updates);
        }
        assert!(known == lab.rules_there());
        // It goes on as before.
        lab.order(other, &add("priority=64000,actions=drop"));
        assert_eq!(updates(lab.notices(watcher)), [(1, 64_000, 0)]);
    }
}

#[test]
fn one_that_would_have_to_be_told_of_too_much_is_ended() {
    let mut lab = Lab::new();
    let (watcher, other) = (lab.join(Version::V14), lab.join(Version::V13));
    lab.ask(watcher, &request(false, vec![monitor(1, 0, EVERYTHING)]));
    pause(&mut lab, watcher, other);
    lab.agent.controller_mut(watcher).expect("it is there").monitors.backlog_size_max = 8 << 20;
    for round in 0..100 {
        for rule in 0..100 {
            lab.order(other, &long(rule, round));
        }
        lab.order(other, &delete_all());
        if lab.sessions[&watcher].end().is_some() {
            break;
        }
    }
    assert_eq!(lab.sessions[&watcher].end(), Some(&SessionEnd::Behind));
    let size: usize = lab.sessions[&watcher].output_slices(usize::MAX).map(<[u8]>::len).sum();
    assert!(size < 2 << 20, "{size}");
}

/// Adds rules to table 5 with the priorities from 1 on that are told of in a kilobyte each.
fn fill(lab: &mut Lab, count: u16) {
    let (bridge, actions) = (lab.agent.bridge(), vec![Action::Output(OfPort(2)); 60]);
    for priority in 1..=count {
        let flow_mod = FlowMod { table: 5, priority, actions: actions.clone(), ..FlowMod::add() };
        lab.switch.ofproto.flow_mod(bridge, &flow_mod).expect("a good rule");
    }
}

#[test]
fn one_that_reads_is_told_of_all_rules_that_go_at_once_without_a_pause() {
    const RULES: u16 = 12_000;
    let mut lab = Lab::new();
    let (watcher, other) = (lab.join(Version::V14), lab.join(Version::V13));
    fill(&mut lab, RULES);
    lab.ask(watcher, &request(false, vec![monitor(1, 0, EVERYTHING & !1)]));
    let mut known = lab.rules_there();
    lab.order(other, &delete_all());
    // What comes meanwhile waits for its turn.
    lab.order(other, &add("table=5,priority=7,actions=drop"));
    lab.order(other, &add("table=5,priority=20000,actions=drop"));
    lab.order(other, &flow("table=5,priority=20000", FlowModCommand::DeleteStrict));
    let mut heard = lab.notices(watcher);
    lab.hear_on(watcher, &mut heard);
    assert_eq!((lab.sessions[&watcher].end(), pauses(&heard).len()), (None, 0));
    for message in heard {
        let Message::MultipartReply { body: MultipartReply::FlowMonitor(updates), .. } = message else {
            panic!("{message:?}")
        };
        follow(&mut known, updates);
    }
    assert!(known == lab.rules_there() && known.len() == 1);
    // It goes on as before.
    lab.order(other, &add("priority=64000,actions=drop"));
    assert_eq!(updates(lab.notices(watcher)), [(1, 64_000, 0)]);
}

#[test]
fn one_that_goes_on_is_told_of_what_happens_meanwhile() {
    let mut lab = Lab::new();
    let (watcher, other) = (lab.join(Version::V14), lab.join(Version::V13));
    fill(&mut lab, 3_000);
    lab.ask(watcher, &request(false, vec![monitor(1, 0, EVERYTHING & !1)]));
    let mut known = lab.rules_there();
    pause(&mut lab, watcher, other);
    let (mut heard, mut is_resumed, mut turns) = (lab.notices(watcher), false, 0);
    while !is_resumed {
        lab.turn();
        turns += 1;
        // Before and behind what is told.
        lab.order(other, &add(&format!("table=5,priority={},actions=drop", 20_000 + turns)));
        lab.order(other, &flow(&format!("table=5,priority={}", 2_990 - turns), FlowModCommand::DeleteStrict));
        lab.order(other, &flow(&format!("table=5,priority={}", 5 + turns), FlowModCommand::DeleteStrict));
        let told = lab.notices(watcher);
        is_resumed = pauses(&told).contains(&false);
        heard.extend(told);
    }
    lab.hear_on(watcher, &mut heard);
    assert_eq!(pauses(&heard), [true, false]);
    for message in heard {
        if let Message::MultipartReply { body: MultipartReply::FlowMonitor(updates), .. } = message {
            follow(&mut known, updates);
        }
    }
    assert!(turns > 3 && known == lab.rules_there());
}

#[test]
fn only_own_changes_are_told_after_a_pause_too_and_all_of_them() {
    let mut lab = Lab::new();
    let (one, other) = (lab.join(Version::V15), lab.join(Version::V15));
    let own = monitor(1, 0, EVERYTHING | NO_ABBREV | ONLY_OWN);
    let mut of_all = monitor(2, 0, EVERYTHING);
    of_all.flows.table = 3;
    lab.ask(one, &request(false, vec![own, of_all]));
    let by = |who: &str, priority: u16| add(&format!("priority={priority},in_port={who},actions=output:2"));
    let gone = |who: &str, priority: u16| {
        flow(&format!("table=0,priority={priority},in_port={who}"), FlowModCommand::DeleteStrict)
    };
    let (mine, theirs) = ("1", "2");
    lab.send(one, &by(mine, 1));
    lab.order(other, &by(theirs, 1));
    for count in 1.. {
        assert!(count < 1_000, "it was never paused");
        let Message::FlowMod(mut message) = long(count, 1) else { panic!() };
        message.flow_mod.table = 3;
        lab.order(other, &Message::FlowMod(message));
        if lab.agent.controllers[&one].monitors.is_paused() {
            break;
        }
    }
    lab.send(one, &by(mine, 2));
    lab.send(one, &by(mine, 3));
    lab.send(one, &gone(mine, 1));
    lab.send(one, &gone(mine, 2));
    lab.order(other, &by(theirs, 2));
    lab.order(other, &gone(theirs, 1));
    let mut heard = lab.notices(one);
    lab.hear_on(one, &mut heard);
    assert_eq!(pauses(&heard), [true, false]);
    let (mut known, mut told) = (Known::new(), Vec::new());
    for message in heard {
        if let Message::MultipartReply { body: MultipartReply::FlowMonitor(updates), .. } = message {
            for update in &updates {
                let FlowUpdate::Full { event, stats, .. } = update else { panic!("{update:?}") };
                told.extend((stats.table == 0).then(|| (*event, key(stats))));
            }
            follow(&mut known, updates);
        }
    }
    let of_mine = |priority| (0, priority, 1);
    let expected = [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)];
    assert_eq!(told, expected.map(|(event, priority)| (event, of_mine(priority))));
    let mut there = lab.rules_there();
    assert!(there.remove(&(0, 2, 2)) && known == there);
}

#[test]
fn rules_of_the_configuration_are_not_told_of() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V14);
    lab.ask(one, &request(false, vec![monitor(1, 0, EVERYTHING)]));
    let (bridge, flow_mod) = (lab.agent.bridge(), FlowMod { table: 254, ..FlowMod::add() });
    lab.switch.ofproto.flow_mod(bridge, &flow_mod).expect("a good rule");
    lab.turn();
    assert_eq!(lab.notices(one), []);
}

#[test]
fn one_that_changes_much_itself_and_does_not_read_of_it_is_ended() {
    let mut lab = Lab::new();
    let one = lab.join(Version::V15);
    lab.ask(one, &request(false, vec![monitor(1, 0, EVERYTHING | NO_ABBREV | ONLY_OWN)]));
    for round in 0..2_000 {
        lab.send(one, &long(1, 1 + round % 2));
        if lab.sessions[&one].end().is_some() {
            break;
        }
    }
    assert_eq!(lab.sessions[&one].end(), Some(&SessionEnd::Behind));
}

#[test]
fn one_that_asks_for_changes_alone_is_told_of_rules_as_changed_after_a_pause() {
    let mut lab = Lab::new();
    let (watcher, other) = (lab.join(Version::V14), lab.join(Version::V13));
    lab.order(other, &add("priority=7,actions=drop"));
    lab.ask(watcher, &request(false, vec![monitor(1, 0, 8 | 16)]));
    for count in 0.. {
        assert!(count < 1_000, "it was never paused");
        lab.order(other, &long(1, 1));
        let outputs = ["output:2"; 500].join(",");
        lab.order(
            other,
            &flow(&format!("table=0,actions={outputs},output:{}", 1 + count % 2), FlowModCommand::Modify),
        );
        if lab.agent.controllers[&watcher].monitors.is_paused() {
            break;
        }
    }
    lab.order(other, &flow("table=0,priority=7,actions=output:1", FlowModCommand::ModifyStrict));
    let mut heard = lab.notices(watcher);
    lab.hear_on(watcher, &mut heard);
    let at =
        heard.iter().position(|it| matches!(it, Message::FlowMonitorPaused { .. })).expect("it was paused");
    let told: Vec<_> = heard.drain(at..).filter(|it| matches!(it, Message::MultipartReply { .. })).collect();
    assert!(updates(told).contains(&(3, 7, 1)));
    // Once nothing is asked for, nothing that waits is told.
    assert_eq!(lab.ask(watcher, &request(false, vec![monitor(1, 2, 0)])).len(), 1);
    lab.turn();
    assert_eq!(lab.notices(watcher), []);
}
