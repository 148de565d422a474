use super::*;
use crate::config;
use crate::ofproto::bridge::for_each_action;
use crate::openflow::Action;
use crate::vswitchd::testing::random_config;
use fastrand::Rng;
use std::collections::BTreeMap;

/// A switch that does what steps say and nothing else, and holds them to what they may rely on: that what is to
/// change is as they say, and that no two things are in one place at any time.
#[derive(Clone, PartialEq, Debug)]
struct Model {
    log_level: LevelFilter,
    listen: Option<SocketAddr>,
    placement: Placement,
    bridges: BTreeMap<String, ModelBridge>,
}

#[derive(Clone, PartialEq, Debug)]
struct ModelBridge {
    settings: BridgeSettings,
    ports: BTreeMap<String, PortConfig>,
    meters: BTreeMap<u32, MeterMod>,
    groups: BTreeMap<u32, GroupMod>,
    rules: HashMap<RuleIdentity, FlowMod>,
    ipfix: Option<IpfixConfig>,
}

impl ModelBridge {
    /// Whatever is named is there: the switch would refuse the rule or group, or delete it.
    fn check_references(&self) {
        let check = |actions: &[Action]| {
            for_each_action(actions, &mut |action| match action {
                Action::Group(group) => assert!(self.groups.contains_key(group), "group {group}"),
                Action::Meter(meter) => assert!(self.meters.contains_key(meter), "meter {meter}"),
                _ => {}
            });
        };
        self.rules.values().for_each(|rule| check(&rule.actions));
        self.groups.values().flat_map(|group| &group.buckets).for_each(|bucket| check(&bucket.actions));
    }
}

/// Groups, each behind those that it names.
fn in_order(mut groups: BTreeMap<u32, GroupMod>) -> Vec<GroupMod> {
    let mut ordered: Vec<GroupMod> = Vec::new();
    while !groups.is_empty() {
        let is_ready = |group: &GroupMod| {
            let mut is_ready = true;
            for bucket in &group.buckets {
                for_each_action(&bucket.actions, &mut |action| {
                    is_ready &= !matches!(action, Action::Group(named) if groups.contains_key(named));
                });
            }
            is_ready
        };
        let ready: Vec<u32> =
            groups.values().filter(|group| is_ready(group)).map(|group| group.group).collect();
        assert!(!ready.is_empty(), "a loop");
        ordered.extend(ready.iter().filter_map(|group| groups.remove(group)));
    }
    ordered
}

#[track_caller]
fn replace_numbered<T: PartialEq + Clone + std::fmt::Debug>(
    things: &mut BTreeMap<u32, T>,
    change: &Change<T>,
    number: impl Fn(&T) -> u32,
) {
    let thing = change.to.as_ref().or(change.from.as_ref()).expect("a change is of something");
    assert_eq!(things.remove(&number(thing)), change.from);
    change.to.iter().for_each(|to| drop(things.insert(number(to), to.clone())));
}

impl Model {
    fn of(config: &Config) -> Model {
        let bridges = config.bridges.iter().map(|bridge| {
            let model = ModelBridge {
                settings: settings(bridge),
                ports: ports(bridge)
                    .into_iter()
                    .map(|port| (port.netdev.name.clone(), plain(port)))
                    .collect(),
                meters: bridge.meters.iter().map(|meter| (meter.meter, meter.clone())).collect(),
                groups: bridge.groups.iter().map(|group| (group.group, group.clone())).collect(),
                rules: bridge.rules.iter().map(|rule| (identity(rule), rule.clone())).collect(),
                ipfix: bridge.ipfix.clone(),
            };
            (bridge.name.clone(), model)
        });
        let (log_level, listen) = (config.switch.log_level, config.metrics.listen);
        let placement = placement(&config.workers);
        Model { log_level, listen, placement, bridges: bridges.collect() }
    }

    fn bridge(&mut self, name: &str) -> &mut ModelBridge {
        self.bridges.get_mut(name).unwrap_or_else(|| panic!("{name} is not there"))
    }

    /// Returns the steps that take it back: its inverse, and the rules of a bridge that went.
    fn carry_out(&mut self, step: &Step) -> Vec<Step> {
        let mut undo = vec![step.inverse()];
        match step {
            Step::LogLevel(change) => replace(&mut self.log_level, change),
            Step::Metrics(change) => replace(&mut self.listen, change),
            Step::Workers(change) => replace(&mut self.placement, change),
            Step::Bridge { bridge, change: Change { from, to: Some(to) } } => match from {
                Some(from) => {
                    let settings = &mut self.bridge(bridge).settings;
                    assert_eq!(settings, from);
                    *settings = to.clone();
                }
                None => {
                    let (ports, rules) = (BTreeMap::new(), HashMap::new());
                    let (groups, meters) = (BTreeMap::new(), BTreeMap::new());
                    let new = ModelBridge { settings: to.clone(), ports, groups, meters, rules, ipfix: None };
                    assert_eq!(self.bridges.insert(bridge.clone(), new), None);
                }
            },
            Step::Bridge { bridge, .. } => {
                let gone = self.bridges.remove(bridge).expect("it is there");
                assert!(gone.ports.is_empty() && gone.ipfix.is_none(), "{gone:?}");
                let meters = gone.meters.into_values().map(Change::add);
                undo.extend(meters.map(|change| Step::Meter { bridge: bridge.clone(), change }));
                let groups = in_order(gone.groups).into_iter().map(Change::add);
                undo.extend(groups.map(|change| Step::Group { bridge: bridge.clone(), change }));
                let rules = gone.rules.into_values().map(Change::add);
                undo.extend(rules.map(|change| Step::Rule { bridge: bridge.clone(), change }));
            }
            Step::Port { bridge, change } => self.change_port(bridge, change),
            Step::Meter { bridge, change } => {
                let bridge = self.bridge(bridge);
                replace_numbered(&mut bridge.meters, change, |meter| meter.meter);
                bridge.check_references();
            }
            Step::Group { bridge, change } => {
                let bridge = self.bridge(bridge);
                replace_numbered(&mut bridge.groups, change, |group| group.group);
                bridge.check_references();
            }
            Step::Rule { bridge, change } => {
                let rule = change.to.as_ref().or(change.from.as_ref()).expect("a change is of something");
                let rules = &mut self.bridge(bridge).rules;
                assert_eq!(rules.remove(&identity(rule)), change.from);
                change.to.iter().for_each(|to| drop(rules.insert(identity(to), to.clone())));
                self.bridge(bridge).check_references();
            }
            Step::Ipfix { bridge, change } => {
                let ipfix = &mut self.bridge(bridge).ipfix;
                assert_eq!(*ipfix, change.from);
                ipfix.clone_from(&change.to);
            }
        }
        undo
    }

    fn change_port(&mut self, bridge: &str, change: &Change<PortConfig>) {
        if let Some(from) = change.from.clone().map(plain) {
            assert_eq!(self.bridge(bridge).ports.remove(&from.netdev.name), Some(from));
        }
        let Some(to) = change.to.clone().map(plain) else { return };
        let is_there = self.bridges.values().any(|bridge| bridge.ports.contains_key(&to.netdev.name));
        assert!(!is_there, "a port {} is there already", to.netdev.name);
        let ports = &mut self.bridge(bridge).ports;
        assert!(ports.values().all(|port| port.number != to.number), "number {:?} is taken", to.number);
        ports.insert(to.netdev.name.clone(), to);
    }
}

/// A port without what follows from the number of workers, which does not make it another.
fn plain(mut port: PortConfig) -> PortConfig {
    port.netdev.tx_queue_count = 0;
    port
}

#[track_caller]
fn replace<T: PartialEq + Clone + std::fmt::Debug>(slot: &mut T, change: &Change<T>) {
    assert_eq!(Some(&*slot), change.from.as_ref());
    *slot = change.to.clone().expect("it is always there");
}

fn parse(text: &str) -> Config {
    config::parse("t.yaml", text).unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

fn parse_onto(text: &str, running: &Config) -> Config {
    config::parse_onto("t.yaml", text, config::Dummies::Taken, running)
        .unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

/// The step in words, each on a line.
fn words(plan: &Plan) -> Vec<String> {
    plan.steps.iter().map(Step::to_string).collect()
}

#[test]
fn the_steps_of_a_plan_lead_from_any_configuration_to_any_other_and_their_inverses_back() {
    let mut step_count = 0;
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let old = parse(&random_config(&mut rng));
        let new = parse_onto(&random_config(&mut rng), &old);
        let plan = plan(&old, &new);
        assert_eq!(plan.refusals, []);
        let (start, end) = (Model::of(&old), Model::of(&new));
        let mut model = start.clone();
        let undos: Vec<_> = plan.steps.iter().map(|step| model.carry_out(step)).collect();
        assert!(model == end, "seed {seed}: {:#?}", words(&plan));
        undos.iter().rev().flatten().for_each(|step| drop(model.carry_out(step)));
        assert!(model == start, "seed {seed}: back: {:#?}", words(&plan));
        step_count += plan.steps.len();
    }
    assert!(step_count > 3_000, "{step_count}");
}

#[test]
fn a_configuration_does_not_differ_from_itself_or_from_its_ports_and_bridges_in_another_order() {
    for seed in 0..200 {
        let config = parse(&random_config(&mut Rng::with_seed(seed)));
        assert!(plan(&config, &config).is_empty());
        let mut shuffled = config.clone();
        shuffled.bridges.reverse();
        shuffled.bridges.iter_mut().for_each(|bridge| bridge.ports.reverse());
        assert!(plan(&config, &shuffled).is_empty());
    }
}

#[test]
fn each_key_that_takes_a_restart_is_named_with_both_values() {
    let old = parse("bridges: [{name: br0}]\n");
    let new = parse(
        "switch: {name: other, run_dir: /tmp/x}\ndpdk: {hugepages: never, memory_mib: 512}\n\
         workers: {idle: spin, emc_entries: 1024, megaflows_max: 7, upcall_ring_len: 64}\n\
         control: {socket: /tmp/s, mode: '0660'}\n\
         bridges: [{name: br0, datapath_id: '00000000000000aa'}]\n",
    );
    let plan = plan(&old, &new);
    let keys: Vec<&str> = plan.refusals.iter().map(|refusal| refusal.key).collect();
    let expected = [
        "switch.name",
        "switch.run_dir",
        "dpdk.hugepages",
        "dpdk.memory_mib",
        "workers.idle",
        "workers.emc_entries",
        "workers.megaflows_max",
        "workers.upcall_ring_len",
        "control.socket",
        "control.mode",
    ];
    assert_eq!(keys, expected);
    let texts: Vec<String> = plan.refusals.iter().map(Refusal::to_string).collect();
    assert_eq!(texts[2], "dpdk.hugepages: auto -> never: takes a restart");
    assert_eq!(texts[3], "dpdk.memory_mib: auto -> 512: takes a restart");
    assert_eq!(texts[9], "control.mode: 0600 -> 0660: takes a restart");
    assert_eq!(plan.steps.len(), 1, "what can be changed is planned all the same");
}

#[test]
fn what_comes_is_made_before_what_goes_is_broken() {
    let old = parse(
        "bridges:\n  - {name: br0, rules: ['tcp,actions=drop', 'udp,actions=drop'], \
         ports: [{name: a, type: dummy, number: 1}, {name: b, type: dummy, number: 2}]}\n  - {name: br1}\n",
    );
    let new = parse(
        "bridges:\n  - {name: br0, rules: ['tcp,actions=output:3', 'arp,actions=drop'], \
         ports: [{name: c, type: dummy, number: 3}, {name: b, type: dummy, number: 2, mtu: 1400}]}\n  \
         - {name: br2, internal_port: false, rules: ['actions=drop']}\n",
    );
    let words = words(&plan(&old, &new));
    let heads: Vec<&str> =
        words.iter().map(|words| words.split(": ").next().expect("a first part")).collect();
    assert_eq!(
        heads,
        [
            "add bridge br2",
            "change rule of bridge br0",
            "add rule of bridge br0",
            "add rule of bridge br2",
            "remove port b of bridge br0",
            "add port c of bridge br0",
            "add port b of bridge br0",
            "remove rule of bridge br0",
            "remove port br1 of bridge br1",
            "remove port a of bridge br0",
            "remove bridge br1",
        ]
    );
    assert_eq!(words[1], "change rule of bridge br0: tcp actions=drop -> tcp actions=output:3");
}

#[test]
fn a_port_whose_driver_waits_for_another_process_comes_before_others_that_would_have_to_go_again() {
    let old = parse("bridges: [{name: br0, internal_port: false}]");
    let new = parse(
        "bridges: [{name: br0, internal_port: false, ports: [{name: a, type: tap}, \
         {name: v, type: virtio-user, socket: /run/v.sock}, {name: c, type: tap}]}]",
    );
    let words = words(&plan(&old, &new));
    let names: Vec<_> = words.iter().filter_map(|words| words.split(' ').nth(2)).collect();
    assert_eq!(names, ["v", "a", "c"]);
}

#[test]
fn a_port_whose_interface_number_or_place_another_is_to_have_goes_first() {
    let port = |name: &str, more: &str| format!("{{name: {name}, type: tap, {more}}}");
    let config = |ports: &[String]| {
        parse(&format!("bridges: [{{name: br0, internal_port: false, ports: [{}]}}]\n", ports.join(", ")))
    };
    let old = config(&[port("a", "interface: x, number: 1"), port("b", "interface: y, number: 2")]);
    // Two that swap their interfaces.
    let new = config(&[port("a", "interface: y, number: 1"), port("b", "interface: x, number: 2")]);
    let kinds: Vec<StepKind> = plan(&old, &new).steps.iter().map(|step| step.describe().kind).collect();
    assert_eq!(kinds, [StepKind::Remove, StepKind::Remove, StepKind::Add, StepKind::Add]);
    // One that takes another's interface, and one that has nothing to do with it and goes last.
    let new = config(&[port("c", "interface: x, number: 3")]);
    let words: Vec<String> = words(&plan(&old, &new))
        .iter()
        .map(|words| words[..words.find(':').unwrap_or(0)].to_owned())
        .collect();
    assert_eq!(
        words,
        ["remove port a of bridge br0", "add port c of bridge br0", "remove port b of bridge br0"]
    );
    // As many as there may be: those that go make room.
    let many = |names: std::ops::Range<usize>| {
        config(&names.map(|n| port(&format!("t{n}"), &format!("number: {}", n + 1))).collect::<Vec<_>>())
    };
    let kinds: Vec<StepKind> =
        plan(&many(0..32), &many(1..33)).steps.iter().map(|step| step.describe().kind).collect();
    assert_eq!(kinds, [StepKind::Remove, StepKind::Add]);
}

#[test]
fn a_port_without_a_number_keeps_the_one_that_it_runs_with() {
    let text = |ports: &str| format!("bridges: [{{name: br0, internal_port: false, ports: [{ports}]}}]\n");
    let old = parse(&text("{name: a, type: dummy}, {name: b, type: dummy}, {name: c, type: dummy}"));
    let numbers =
        |config: &Config| -> Vec<u32> { config.bridges[0].ports.iter().map(|port| port.number.0).collect() };
    let new =
        parse_onto(&text("{name: n, type: dummy}, {name: c, type: dummy}, {name: b, type: dummy}"), &old);
    assert_eq!(numbers(&new), [1, 3, 2], "a is gone, and its number is free");
    assert_eq!(words(&plan(&old, &new)).len(), 2);
    let new = parse_onto(&text("{name: b, type: dummy}, {name: n, type: dummy, number: 2}"), &old);
    assert_eq!(numbers(&new), [1, 2], "who asks for a number gets it");
}

#[test]
fn rules_with_one_match_and_priority_are_one_rule_and_the_last_of_them_holds() {
    let text = |rules: &str| format!("bridges: [{{name: br0, internal_port: false, rules: [{rules}]}}]\n");
    let old = parse(&text("'tcp,actions=drop', 'tcp,actions=output:1'"));
    let new = parse(&text("'tcp,actions=output:1'"));
    assert!(plan(&old, &new).is_empty());
    assert_eq!(words(&plan(&new, &parse(&text("'priority=7,tcp,actions=output:1'")))).len(), 2);
}
