use super::*;
use crate::datapath::{Datapath, DatapathConfig, IdlePolicy};
use crate::flow::OfPort;
use crate::netdev::dummy::DummyProvider;
use crate::netdev::{Netdev, NetdevConfig, NetdevError, NetdevProvider};
use crate::ofproto::PortFlags;
use crate::openflow::flow_mod::FlowStatsRequest;
use crate::openflow::format::{FlowStatsFormat, format_flow_stats};
use crate::openflow::parse::parse_flow_mod;
use crate::sync::{Doorbell, ManualClock};
use crate::vswitchd::api::{ModPortParams, SetStpParams};
use crate::vswitchd::testing::random_config;
use crate::vswitchd::{Parts, ProcessInfo};
use fastrand::Rng;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Devices in memory, except for those with a name that is on the list.
#[derive(Clone, Default, Debug)]
struct Devices {
    dummies: DummyProvider,
    refused: Arc<Mutex<BTreeSet<String>>>,
}

impl Devices {
    fn refuse(&self, names: &[&str]) {
        *self.refused.lock().expect("nobody panics with it") =
            names.iter().map(|name| (*name).to_owned()).collect();
    }
}

impl NetdevProvider for Devices {
    fn open(&mut self, config: NetdevConfig) -> Result<Box<dyn Netdev>, NetdevError> {
        if self.refused.lock().expect("nobody panics with it").contains(&config.name) {
            let (name, kind) = (config.name.clone(), config.kind.name());
            return Err(NetdevError::Open { name, kind, reason: "it is on the list".to_owned() });
        }
        self.dummies.open(config)
    }
}

/// A switch on devices in memory, in one thread.
struct Lab {
    switch: Switch,
    devices: Devices,
    clock: ManualClock,
}

impl Lab {
    fn new(config: &Config) -> Lab {
        Lab::with_devices(config, Devices::default())
    }

    fn with_devices(config: &Config, devices: Devices) -> Lab {
        let clock = ManualClock::default();
        let placement = crate::vswitchd::plan::Placement {
            workers: config.workers.placement.clone(),
            control_core: None,
            queues: config.workers.queue_placement,
        };
        let datapath = DatapathConfig {
            cores: NoSurroundings.place_workers(&placement),
            emc_entries: 8,
            megaflows_max: 1024,
            upcall_ring_len: 64,
            idle: IdlePolicy::Spin,
            seed: 1,
        };
        let doorbell = Arc::new(Doorbell::new(|| {}));
        let parts = Parts {
            dpif: Box::new(Datapath::manual(datapath, Arc::new(clock.clone()), doorbell)),
            devices: Box::new(devices.clone()),
            clock: Arc::new(clock.clone()),
            process: ProcessInfo::default(),
            is_parallel: false,
        };
        let mut switch = Switch::new(config, parts).expect("the configuration is good");
        switch.set_origin(Origin { dummies: Dummies::Taken, ..Origin::default() });
        Lab { switch, devices, clock }
    }

    fn of(text: &str) -> Lab {
        Lab::new(&parse(text))
    }

    fn apply(&mut self, text: &str) -> Result<Applied, ApplyError> {
        let wanted = Wanted::Text { name: "new.yaml".to_owned(), text: text.to_owned() };
        self.switch.apply(&wanted, &mut NoSurroundings)
    }

    fn turn(&mut self) {
        for _ in 0..4 {
            self.clock.advance(Nanos::from_millis(1));
            self.switch.turn(crate::sync::Clock::now(&self.clock));
        }
    }

    /// Sends a frame into a port and returns how many come out of another.
    fn send(&mut self, from: &str, to: &str) -> usize {
        let frame =
            crate::packet::build::FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2).build();
        let handle = |name: &str| self.devices.dummies.handle(name).expect("the port was opened");
        let (from, to) = (handle(from), handle(to));
        assert!(from.inject_frame(0, &frame));
        self.turn();
        to.take_tx_frames().len()
    }

    fn rules(&mut self) -> Vec<String> {
        rules_of(&mut self.switch, "br0")
    }

    fn mod_port(&mut self, bridge: &str, port: &str, change: &str) {
        let params = ModPortParams { bridge: bridge.into(), port: port.into(), change: change.into() };
        self.switch.mod_port(&params).expect("a port and a change");
    }

    fn set_stp(&mut self, bridge: &str, port: &str, state: &str) {
        let params = SetStpParams { bridge: bridge.into(), port: port.into(), state: state.into() };
        self.switch.set_stp(&params).expect("a port and a state");
    }

    /// Changes ports at random, as an operator and a spanning tree do.
    fn command_ports(&mut self, rng: &mut Rng) {
        let changes =
            ["up", "down", "no-receive", "receive", "no-flood", "flood", "no-packet-in", "no-forward"];
        let states = ["forwarding", "blocking", "learning"];
        for (bridge, port) in settings_of_ports(&self.switch).into_keys() {
            if rng.bool() {
                self.mod_port(&bridge, &port, changes[rng.usize(..changes.len())]);
            }
            if rng.bool() {
                self.set_stp(&bridge, &port, states[rng.usize(..states.len())]);
            }
        }
    }
}

/// The settings of all open ports, each a text, by bridge and port.
fn settings_of_ports(switch: &Switch) -> BTreeMap<(String, String), Vec<String>> {
    let ports = switch.bridges.iter().flat_map(|bridge| {
        let ports = switch.ofproto.ports(bridge.id).into_iter();
        ports.map(|port| ((bridge.name.clone(), port.config.name.clone()), settings_text(&port.config)))
    });
    ports.collect()
}

/// What configurations say of the settings of ports, in the same form.
fn settings_in(config: &Config) -> BTreeMap<(String, String), Vec<String>> {
    let ports = config.bridges.iter().flat_map(|bridge| {
        let ports = bridge.ports.iter();
        ports.map(|port| ((bridge.name.clone(), port.name().to_owned()), settings_text(&port.settings)))
    });
    ports.collect()
}

fn settings_text(config: &ofproto::PortConfig) -> Vec<String> {
    let ofproto::PortConfig { name: _, number: _, vlan, priority_tags, protected, flags, stp } = config;
    let rest =
        [format!("{vlan:?}"), format!("{priority_tags:?}"), format!("{protected}"), format!("{stp:?}")];
    let flags = format!("{flags:?}");
    flags.split(',').map(str::to_owned).chain(rest).collect()
}

fn rules_of(switch: &mut Switch, bridge: &str) -> Vec<String> {
    let id = switch.bridges[switch.bridge_index(bridge).expect("it is there")].id;
    let mut flows = switch.ofproto.flow_stats(id, &FlowStatsRequest::all());
    flows
        .iter_mut()
        .for_each(|flow| (flow.duration_ns, flow.idle_ns, flow.packets, flow.bytes) = (0, 0, 0, 0));
    let mut rules: Vec<String> = flows.iter().map(|flow| format!("{flow:?}")).collect();
    rules.sort();
    rules
}

fn parse(text: &str) -> Config {
    config::parse("old.yaml", text).unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

/// All of a switch that a configuration speaks of, and whatever else of it can be compared.
#[derive(PartialEq, Debug)]
struct Digest {
    bridges: BTreeMap<String, BridgeDigest>,
    /// Cores of the workers, in order.
    cores: Vec<Option<u16>>,
}

#[derive(PartialEq, Debug)]
struct BridgeDigest {
    settings: String,
    ports: Vec<String>,
    groups: String,
    meters: String,
    rules: Vec<String>,
    ipfix: Option<crate::config::IpfixConfig>,
}

fn digest(switch: &mut Switch) -> Digest {
    let names: Vec<String> = switch.bridges.iter().map(|bridge| bridge.name.clone()).collect();
    assert_eq!(switch.ofproto.bridges().len(), names.len());
    let bridges = names.into_iter().map(|name| {
        let rules = rules_of(switch, &name);
        let bridge = &switch.bridges[switch.bridge_index(&name).expect("it is there")];
        let settings = switch.ofproto.bridge(bridge.id).expect("it is there").clone();
        let has_metering = settings.ipfix.is_some();
        assert_eq!(has_metering, bridge.exporter.is_some(), "{name}");
        let settings = ofproto::BridgeConfig { ipfix: None, ..settings };
        let open = switch.ofproto.ports(bridge.id).into_iter().map(|port| {
            let netdev = switch.ofproto.netdev(port.dp_port).expect("an open port has a device");
            // As many as there were workers when it was opened.
            let device = NetdevConfig { tx_queue_count: 0, ..netdev.config().clone() };
            format!("{:?} {:?} {device:?}", port.number, port.config)
        });
        let failed = bridge.failed_ports.iter().map(|port| format!("failed {:?}", port.wanted));
        let recorded = bridge.ports.values().map(|record| {
            let netdev = NetdevConfig { tx_queue_count: 0, ..record.wanted.netdev.clone() };
            format!("wanted {:?}", PortConfig { netdev, ..record.wanted.clone() })
        });
        let mut ports: Vec<String> = open.chain(failed).chain(recorded).collect();
        ports.sort();
        let ipfix = bridge.exporter.as_ref().map(|exporter| exporter.config.clone());
        let groups = format!("{:?}", switch.ofproto.group_desc(bridge.id));
        let meters = format!("{:?}", switch.ofproto.meter_desc(bridge.id));
        (name, BridgeDigest { settings: format!("{settings:?}"), ports, groups, meters, rules, ipfix })
    });
    let bridges = bridges.collect();
    let workers = switch.ofproto.dpif().worker_stats();
    let mut cores: Vec<_> = workers.iter().map(|worker| worker.core).collect();
    cores.sort();
    let mut polled: Vec<_> =
        workers.iter().flat_map(|worker| &worker.rx_queues).map(|queue| (queue.port, queue.queue)).collect();
    polled.sort();
    let queues: Vec<_> = switch.ofproto.dpif().ports().into_iter().map(|port| (port, 0)).collect();
    assert_eq!(polled, queues, "each queue has one worker");
    Digest { bridges, cores }
}

/// Two switches are the same; tells only what is not.
#[track_caller]
fn assert_same(left: &Digest, right: &Digest, what: &str) {
    assert_eq!(left.cores, right.cores, "{what}");
    assert_eq!(left.bridges.keys().collect::<Vec<_>>(), right.bridges.keys().collect::<Vec<_>>(), "{what}");
    for (left, right) in left.bridges.values().zip(right.bridges.values()) {
        assert_eq!((&left.settings, &left.ipfix), (&right.settings, &right.ipfix), "{what}");
        for (left, right) in [(&left.ports, &right.ports), (&left.rules, &right.rules)] {
            let only = |these: &[String], those: &[String]| -> Vec<String> {
                these.iter().filter(|item| !those.contains(item)).cloned().collect()
            };
            assert!(left == right, "{what}: {:#?} {:#?}", only(left, right), only(right, left));
        }
    }
}

/// The running switch, whose steps fail at one place.
struct FailsAt<'a> {
    live: Live<'a>,
    countdown: usize,
}

impl Target for FailsAt<'_> {
    fn carry_out(&mut self, step: &Step, manner: Manner) -> Result<Vec<Step>, SwitchError> {
        if manner == Manner::Change {
            if self.countdown == 0 {
                return Err(SwitchError::NoSuchBridge { bridge: "the test's".to_owned() });
            }
            self.countdown -= 1;
        }
        self.live.carry_out(step, manner)
    }
}

#[test]
fn a_switch_that_was_changed_is_as_if_it_had_been_built_so() {
    let mut change_count = 0;
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let mut lab = Lab::of(&random_config(&mut rng));
        for _ in 0..3 {
            let text = random_config(&mut rng);
            let applied = lab.apply(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}\n{text}"));
            change_count += applied.plan.steps.len();
            let mut built = Lab::new(&lab.switch.in_force.config);
            assert_same(&digest(&mut lab.switch), &digest(&mut built.switch), &format!("seed {seed}"));
            lab.turn();
        }
    }
    assert!(change_count > 1_500, "{change_count}");
}

#[test]
fn a_change_that_fails_at_any_step_leaves_the_switch_as_it_was() {
    let (mut failure_count, mut kept_count) = (0, 0);
    for seed in 0..20 {
        let mut rng = Rng::with_seed(seed);
        let old = parse(&random_config(&mut rng));
        let text = random_config(&mut rng);
        let new = config::parse_onto("new.yaml", &text, Dummies::Taken, &old).expect("it is good");
        let steps = plan(&old, &new).steps;
        let mut lab = Lab::new(&old);
        if seed % 2 == 1 {
            lab.command_ports(&mut rng);
        }
        let (before, settings) = (digest(&mut lab.switch), settings_of_ports(&lab.switch));
        for countdown in 0..steps.len() {
            let live = Live {
                switch: &mut lab.switch,
                surroundings: &mut NoSurroundings,
                failed_before: BTreeSet::new(),
                warnings: Vec::new(),
                last_pause: Nanos(0),
                closed: Vec::new(),
            };
            let failure = carry_out_all(&mut FailsAt { live, countdown }, &steps).expect_err("a step fails");
            assert_eq!((failure.index, failure.left.len()), (countdown, 0), "{:?}", failure.left);
            assert_same(&digest(&mut lab.switch), &before, &format!("seed {seed}, step {countdown}"));
            failure_count += 1;
        }
        // And the change can still be made.
        lab.apply(&text).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        if seed % 2 == 0 {
            assert_same(
                &digest(&mut lab.switch),
                &digest(&mut Lab::new(&new).switch),
                &format!("seed {seed}"),
            );
            continue;
        }
        let (from, to) = (settings_in(&old), settings_in(&new));
        for (port, is) in settings_of_ports(&lab.switch) {
            let (Some(from), Some(to), Some(was)) = (from.get(&port), to.get(&port), settings.get(&port))
            else {
                continue;
            };
            for (index, is) in is.iter().enumerate() {
                let expected = if from[index] == to[index] { &was[index] } else { &to[index] };
                assert_eq!(is, expected, "seed {seed}, {port:?}");
                kept_count += usize::from(from[index] == to[index] && *is != to[index]);
            }
        }
    }
    assert!(kept_count > 5, "{kept_count} settings of commands outlived a change");
    assert!(failure_count > 150, "{failure_count}");
}

const OLD: &str = "bridges:\n  - name: br0\n    internal_port: false\n    rules: ['priority=1,actions=NORMAL']\n    \
                   ports: [{name: a, type: dummy}, {name: b, type: dummy}, {name: c, type: dummy}]\n";

fn new(rules: &str, ports: &str) -> String {
    format!("bridges:\n  - name: br0\n    internal_port: false\n    rules: [{rules}]\n    ports: [{ports}]\n")
}

const A_AND_B: &str = "{name: a, type: dummy}, {name: b, type: dummy}";

#[test]
fn a_port_that_cannot_be_opened_takes_the_whole_change_back() {
    let mut lab = Lab::of(OLD);
    let before = digest(&mut lab.switch);
    lab.devices.refuse(&["d"]);
    let text = new("'priority=1,actions=drop'", &format!("{A_AND_B}, {{name: d, type: dummy}}"));
    let error = lab.apply(&text).expect_err("d does not open");
    assert!(matches!(error, ApplyError::Failed { .. }) && error.outcome() == ApplyOutcome::RolledBack);
    assert!(error.to_string().contains("it is on the list; all is as it was before"), "{error}");
    assert_eq!(digest(&mut lab.switch), before);
    let last = lab.switch.in_force().last.clone().expect("something was asked for");
    assert_eq!((last.source.as_str(), last.outcome), ("new.yaml", ApplyOutcome::RolledBack));
    assert_eq!(lab.switch.in_force().config, parse(OLD), "what was in force still is");
}

#[test]
fn a_port_that_does_not_come_back_is_a_failed_one_and_the_error_says_so() {
    let mut lab = Lab::of(OLD);
    lab.devices.refuse(&["c"]);
    let text = new("'priority=1,actions=NORMAL'", &format!("{A_AND_B}, {{name: c, type: dummy, mtu: 1400}}"));
    let error = lab.apply(&text).expect_err("c does not open with another MTU, nor with the old one");
    assert_eq!(error.outcome(), ApplyOutcome::Incomplete);
    assert!(error.to_string().contains("what was done is taken back, but: bridge br0: port c"), "{error}");
    let failed = &lab.switch.bridges[0].failed_ports;
    assert_eq!((failed.len(), failed[0].wanted.number, failed[0].wanted.netdev.mtu), (1, OfPort(3), 1500));
    assert_eq!(lab.send("a", "b"), 1, "the others go on");
    // It has failed now; a change that does not speak of it goes its way, and one that takes it away as well.
    let applied =
        lab.apply(&new("'priority=2,actions=NORMAL'", &format!("{A_AND_B}, {{name: c, type: dummy}}")));
    assert_eq!(applied.expect("c is as it was").plan.steps.len(), 2);
    lab.apply(&new("'priority=2,actions=NORMAL'", A_AND_B)).expect("c goes");
    assert_eq!(lab.switch.bridges[0].failed_ports, []);
}

/// Bridge `br0` with these ports, which NORMAL joins.
fn normal(ports: &str) -> String {
    new("'priority=1,actions=NORMAL'", ports)
}

#[test]
fn what_commands_changed_of_a_port_stays_until_the_file_changes_that_very_thing() {
    let port = |more: &str| normal(&format!("{A_AND_B}, {{name: c, type: dummy{more}}}"));
    let mut lab = Lab::of(OLD);
    lab.mod_port("br0", "c", "down");
    lab.set_stp("br0", "b", "blocking");
    lab.apply(&port(", disable: [flood]")).expect("it can be done");
    let settings = |lab: &Lab, name: &str| {
        let ports = lab.switch.ofproto.ports(lab.switch.bridges[0].id);
        ports.into_iter().find(|port| port.config.name == name).expect("it is there").config
    };
    let flags = PortFlags { down: true, no_flood: true, ..PortFlags::default() };
    assert_eq!(settings(&lab, "c").flags, flags, "each flag is a thing of its own");
    // Another MTU makes another device of it, and still the same port.
    lab.apply(&port(", disable: [flood], mtu: 1400")).expect("it can be done");
    assert_eq!(settings(&lab, "c").flags, flags);
    let others = "{name: a, type: dummy}, {name: b, type: dummy, mtu: 1400}, {name: c, type: dummy}";
    lab.apply(&normal(others)).expect("it can be done");
    assert_eq!(settings(&lab, "b").stp, ofproto::StpState::Blocking);
    assert_eq!(settings(&lab, "c").flags, PortFlags { down: true, ..PortFlags::default() });
    // The file that speaks of it has the last word.
    lab.apply(&normal(&others.replace("name: b", "name: b, stp: learning"))).expect("it can be done");
    assert_eq!(settings(&lab, "b").stp, ofproto::StpState::Learning);
}

#[test]
fn a_change_that_fails_brings_ports_back_as_commands_had_set_them() {
    let mut lab = Lab::of(OLD);
    lab.set_stp("br0", "b", "blocking");
    lab.mod_port("br0", "c", "no-receive");
    let before = digest(&mut lab.switch);
    lab.devices.refuse(&["d"]);
    for ports in [
        "{name: a, type: dummy}, {name: b, type: dummy, mtu: 1400}, {name: d, type: dummy}",
        "{name: a, type: dummy}, {name: c, type: dummy, number: 2}, {name: d, type: dummy}",
        "{name: a, type: dummy, stp: learning}, {name: c, type: dummy, disable: [flood]}, {name: d, type: dummy}",
    ] {
        let error = lab.apply(&normal(ports)).expect_err("d does not open");
        assert_eq!(error.outcome(), ApplyOutcome::RolledBack, "{error}");
        assert_eq!(digest(&mut lab.switch), before, "{ports}");
    }
}

#[test]
fn commands_hold_for_a_port_that_is_not_there_and_for_the_change_that_brings_it() {
    let devices = Devices::default();
    devices.refuse(&["b"]);
    let mut lab = Lab::with_devices(&parse(OLD), devices);
    lab.mod_port("br0", "b", "no-flood");
    lab.set_stp("br0", "2", "blocking");
    lab.apply(&normal("{name: a, type: dummy}, {name: b, type: dummy, protected: true}"))
        .expect("settings only");
    lab.devices.refuse(&[]);
    lab.apply(&normal("{name: a, type: dummy}, {name: b, type: dummy, protected: true, mtu: 1400}"))
        .expect("it opens");
    let ports = lab.switch.ofproto.ports(lab.switch.bridges[0].id);
    let b = &ports.iter().find(|port| port.config.name == "b").expect("it is there").config;
    assert_eq!((b.flags.no_flood, b.stp, b.protected), (true, ofproto::StpState::Blocking, true));
}

#[test]
fn a_port_that_fails_at_the_start_does_not_keep_the_switch_from_running() {
    let devices = Devices::default();
    devices.refuse(&["b"]);
    let mut lab = Lab::with_devices(&parse(OLD), devices);
    assert_eq!(lab.switch.bridges[0].failed_ports.len(), 1);
    assert_eq!(lab.send("a", "c"), 1);
}

#[test]
fn what_did_not_change_keeps_its_megaflows_and_counters_and_loses_no_packet() {
    let mut lab = Lab::of(OLD);
    let mut received = (0..3).map(|_| lab.send("a", "b")).sum::<usize>();
    let megaflows =
        |lab: &Lab| -> Vec<_> { lab.switch.ofproto.dpif().flow_dump().iter().map(|flow| flow.id).collect() };
    let installed = megaflows(&lab);
    assert_eq!(installed.len(), 1);
    for round in 0..20 {
        let ports = if round % 2 == 0 {
            format!("{A_AND_B}, {{name: d, type: dummy}}")
        } else {
            format!("{{name: c, type: dummy, vlan: {{access: 9}}}}, {A_AND_B}")
        };
        let text = new(&format!("'priority=1,actions=NORMAL', 'arp,actions=output:{}'", round + 1), &ports);
        let text = text + ["", "    ipfix: {collector: 'udp:127.0.0.1:9'}\n"][round % 2];
        lab.apply(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        received += lab.send("a", "b");
    }
    assert_eq!(received, 23);
    let id = lab.switch.bridges[0].id;
    let flows = lab.switch.ofproto.flow_stats(id, &FlowStatsRequest::all());
    let normal = flows.iter().find(|flow| flow.priority == 1).expect("the rule is there");
    assert_eq!(normal.packets, 23, "{}", format_flow_stats(normal, &NoNames, FlowStatsFormat::default()));
    let stats = |name: &str| {
        let ports = lab.switch.ofproto.ports(id);
        let port = ports.iter().find(|port| port.config.name == name).expect("it is there");
        lab.switch.ofproto.dpif().port_stats(port.dp_port).expect("it is there")
    };
    assert_eq!((stats("a").rx_packets, stats("b").tx_packets), (23, 23));
}

#[test]
fn rules_that_were_added_at_run_time_stay_unless_the_new_file_has_one_in_their_place() {
    let mut lab = Lab::of(OLD);
    let id = lab.switch.bridges[0].id;
    let add = |lab: &mut Lab, rule: &str| {
        let rule = parse_flow_mod(rule, FlowModCommand::Add, &NoNames).expect("a rule");
        lab.switch.ofproto.flow_mod(id, &rule).expect("it is taken");
    };
    add(&mut lab, "priority=50,tcp,actions=output:1");
    add(&mut lab, "priority=51,udp,actions=output:1");
    let with_own = lab.rules();
    // A change that fails brings back what it had put something else in the place of.
    lab.devices.refuse(&["d"]);
    let rules = "'priority=1,actions=NORMAL', 'priority=50,tcp,actions=drop'";
    let error = lab.apply(&new(rules, &format!("{A_AND_B}, {{name: d, type: dummy}}")));
    assert_eq!(error.expect_err("d does not open").outcome(), ApplyOutcome::RolledBack);
    assert_eq!(lab.rules(), with_own);
    // One that does not leaves the other alone.
    lab.apply(&new(rules, A_AND_B)).expect("it can be done");
    let rules = lab.rules();
    assert_eq!(rules.len(), 3);
    assert!(rules.iter().any(|rule| rule.contains("priority: 51")), "{rules:?}");
    assert!(
        rules.iter().any(|rule| rule.contains("priority: 50") && rule.contains("actions: []")),
        "{rules:?}"
    );
    // And what was deleted at run time is not an obstacle, nor does it come back unless the file has changed it.
    let delete = FlowMod { command: FlowModCommand::Delete, table: 0, ..FlowMod::add() };
    lab.switch.ofproto.flow_mod(id, &delete).expect("all rules go");
    lab.apply(&new("'priority=1,actions=drop'", A_AND_B)).expect("it can be done");
    assert_eq!(lab.rules().len(), 1);
}

#[test]
fn frames_that_bridges_keep_to_themselves_are_forwarded_if_the_configuration_says_so() {
    let text = |is_on| {
        let ports = "ports: [{name: a, type: dummy}, {name: b, type: dummy}]";
        format!("bridges: [{{name: br0, internal_port: false, forward_bpdu: {is_on}, {ports}}}]\n")
    };
    let mut lab = Lab::of(&text(false));
    for is_on in [true, false] {
        let applied = lab.apply(&text(is_on)).expect("it changes live");
        assert_eq!(applied.plan.steps.len(), 1);
        let handle = |name: &str| lab.devices.dummies.handle(name).expect("the port was opened");
        let (from, to) = (handle("a"), handle("b"));
        let frame =
            [&[1, 0x80, 0xc2, 0, 0, 0, 2, 0, 0, 0, 0, 1, 0, 0x26, 0x42, 0x42, 3][..], &[0; 43]].concat();
        assert!(from.inject_frame(0, &frame));
        lab.turn();
        assert_eq!(to.take_tx_frames().len(), usize::from(is_on));
    }
}

#[test]
fn a_bridge_that_goes_and_comes_back_has_all_its_rules_again() {
    let two = format!("{OLD}  - {{name: br1, internal_port: false, ports: [{{name: x, type: dummy}}]}}\n");
    let mut lab = Lab::of(&two);
    let id = lab.switch.bridges[1].id;
    let rule = parse_flow_mod("table=3,tcp,actions=drop", FlowModCommand::Add, &NoNames).expect("a rule");
    lab.switch.ofproto.flow_mod(id, &rule).expect("it is taken");
    let before = digest(&mut lab.switch);
    let change = plan(&parse(&two), &parse(OLD));
    let (removal, others) = change.steps.split_last().expect("there are steps");
    assert!(matches!(removal, Step::Bridge { .. }) && others.len() == 1);
    let live = Live {
        switch: &mut lab.switch,
        surroundings: &mut NoSurroundings,
        failed_before: BTreeSet::new(),
        warnings: Vec::new(),
        last_pause: Nanos(0),
        closed: Vec::new(),
    };
    let steps = [change.steps.as_slice(), &[removal.inverse()]].concat();
    let failure = carry_out_all(&mut FailsAt { live, countdown: change.steps.len() }, &steps);
    assert_eq!(failure.expect_err("the last step fails").index, change.steps.len());
    assert_eq!(digest(&mut lab.switch), before);
}

#[test]
fn faults_and_what_takes_a_restart_are_told_and_change_nothing() {
    let mut lab = Lab::of(OLD);
    let before = digest(&mut lab.switch);
    let error =
        lab.apply("bridges:\n  - name: br0\n    mac_ageing_s: 1\n    prots: []\n").expect_err("two faults");
    let text = error.to_string();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.starts_with("new.yaml:3: bridges[0].mac_ageing_s: "), "{text}");
    let restart = format!("dpdk: {{memory_mib: 99}}\n{}", new("'actions=drop'", A_AND_B));
    let error = lab.apply(&restart).expect_err("memory is taken at the start");
    assert_eq!(error.to_string(), "dpdk.memory_mib: auto -> 99: takes a restart");
    let error = lab.switch.apply(&Wanted::StartFile, &mut NoSurroundings).expect_err("there is none");
    assert!(matches!(error, ApplyError::NoFile));
    let nic =
        new("'actions=drop'", &format!("{A_AND_B}, {{name: n, type: dpdk, devargs: 'pci:03:00.0,a=1'}}"));
    let error = lab.apply(&nic).expect_err("the bus was left alone at the start");
    let text = "bridges.ports.devargs: no PCI device at the start -> 03:00.0,a=1: takes a restart";
    assert_eq!(error.to_string(), text);
    assert_eq!(lab.switch.in_force().counts, [0, 4, 0, 0]);
    assert_eq!(digest(&mut lab.switch), before);
    let wanted = Wanted::Text { name: "new.yaml".to_owned(), text: restart };
    let planned = lab.switch.diff(&wanted).expect("a difference is no error");
    assert_eq!((planned.plan.refusals.len(), planned.plan.steps.is_empty()), (1, false));
    assert_eq!(digest(&mut lab.switch), before, "looking changes nothing");
}

#[test]
fn an_exporter_that_is_replaced_gives_its_number_back_when_its_records_are_out() {
    let ipfix =
        |port: u16| format!("{OLD}    ipfix: {{collector: 'udp:127.0.0.1:{port}', cache_entries: 1024}}\n");
    let mut lab = Lab::of(&ipfix(9));
    assert_eq!(lab.send("a", "b"), 1);
    let ids = |lab: &Lab| -> Vec<u16> { lab.switch.exporters().map(|exporter| exporter.id.0).collect() };
    lab.apply(&ipfix(10)).expect("another collector");
    assert_eq!(ids(&lab), [1, 0], "the old one finishes");
    lab.apply(&ipfix(9)).expect("the first again");
    assert_eq!(ids(&lab), [0, 1], "it takes up its work again");
    lab.apply(OLD).expect("no metering");
    for _ in 0..8 {
        lab.clock.advance(Nanos::from_secs(1));
        lab.turn();
    }
    assert!(ids(&lab).is_empty());
}

#[test]
fn what_patch_ports_that_go_had_counted_is_kept() {
    let text = |patches: [&str; 2]| {
        format!(
            "bridges:\n  - {{name: br0, internal_port: false, ports: [{{name: a, type: dummy}}{}]}}\n  \
             - {{name: br1, internal_port: false, ports: [{{name: b, type: dummy}}{}]}}\n",
            patches[0], patches[1]
        )
    };
    let with = text([", {name: forth, type: patch, peer: back}", ", {name: back, type: patch, peer: forth}"]);
    let mut lab = Lab::of(&with);
    assert_eq!(lab.send("a", "b"), 1);
    lab.apply(&text(["", ""])).expect("they can go");
    let (_, removed) = &lab.switch.others()[0];
    assert_eq!([removed.tx_packets, removed.rx_packets, removed.forwarded], [1, 1, 1]);
}
