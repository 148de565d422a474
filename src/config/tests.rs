use super::*;
use crate::datapath::{EXPORTER_COUNT_MAX, IdlePolicy};
use crate::dpif::PlacementRules;
use crate::flow::{Field, OfPort};
use crate::netdev::{NetdevKind, SocketRole, VirtioBackend};
use crate::ofproto::ControllerRate;
use crate::ofproto::{MirrorOutput, VlanMode, VlanSet};
use crate::openflow::message::{Version, VersionSet};
use crate::openflow::parse::parse_flow_mod;
use crate::openflow::{Action, FlowMod, FlowModCommand};
use crate::sync::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use tempfile::TempDir;

fn write(directory: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// What is wrong with the file, with the directory's name made the same for every run.
fn told(directory: &TempDir, file: &Path) -> String {
    let faults = load(file).expect_err("something should be wrong");
    faults.to_string().replace(&directory.path().display().to_string(), "DIR")
}

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[track_caller]
fn good(text: &str) -> Config {
    parse("t.yaml", text).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The faults of `text`, as they are printed, must be exactly these lines.
#[track_caller]
fn bad(text: &str, expected: &[&str]) {
    let faults = parse("t.yaml", text).expect_err("something should be wrong").to_string();
    assert_eq!(faults.lines().collect::<Vec<_>>(), expected);
}

/// The fault of one bridge that has these lines besides its name.
#[track_caller]
fn bad_bridge(lines: &str, expected: &[&str]) {
    bad(&format!("bridges:\n- name: br0\n{lines}"), expected);
}

/// The fault of one port of type `null` that has these lines besides its name: the first is line 6.
#[track_caller]
fn bad_port(lines: &str, expected: &[&str]) {
    bad_bridge(&format!("  ports:\n  - name: p\n    type: null\n{lines}"), expected);
}

fn yaml_files(directory: PathBuf) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(yaml_files(path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files
}

#[test]
fn every_file_in_conf_is_good() {
    let files = yaml_files(repository().join("conf"));
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        check_command(&file).unwrap_or_else(|faults| panic!("{faults}"));
    }
}

#[test]
fn the_reference_shows_every_key() {
    let text = std::fs::read_to_string(repository().join("conf/penstock.yaml")).unwrap();
    let tree: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let mut shown = BTreeSet::new();
    collect_keys(&tree, "", &mut shown);
    let mut known = BTreeSet::new();
    let sections: [(&str, &[&str]); 14] = [
        ("", field_names::<raw::RawConfig>()),
        ("switch.", field_names::<raw::RawSwitch>()),
        ("dpdk.", field_names::<raw::RawDpdk>()),
        ("workers.", field_names::<raw::RawWorkers>()),
        ("bridges.", field_names::<raw::RawBridge>()),
        ("bridges.controller_rate_limit.", field_names::<raw::RawRate>()),
        ("bridges.mirrors.", field_names::<raw::RawMirror>()),
        ("bridges.ports.", field_names::<raw::RawPort>()),
        ("bridges.ports.vlan.", field_names::<raw::RawVlan>()),
        ("bridges.openflow.", field_names::<raw::RawOpenFlow>()),
        ("bridges.openflow.rate_limit.", field_names::<raw::RawRate>()),
        ("bridges.openflow.tls.", field_names::<raw::RawTls>()),
        ("bridges.ipfix.", field_names::<raw::RawIpfix>()),
        ("metrics.", field_names::<raw::RawMetrics>()),
    ];
    for (prefix, names) in sections {
        known.extend(names.iter().map(|name| format!("{prefix}{name}")));
    }
    known.extend(field_names::<raw::RawControl>().iter().map(|name| format!("control.{name}")));
    assert_eq!(shown, known);
}

/// The keys of the reference, each with the number of its line from 0, its value and the comment above it.
fn reference_keys(text: &str) -> Vec<(usize, &str, &str, String)> {
    let mut keys = Vec::new();
    let mut comment = String::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim().trim_start_matches("- ");
        match (line.strip_prefix('#'), line.split_once(':')) {
            (Some(words), _) => comment.push_str(words),
            (None, Some((key, value))) => {
                keys.push((index, key, value.trim(), std::mem::take(&mut comment)));
            }
            (None, None) => comment.clear(),
        }
    }
    keys
}

#[test]
fn the_reference_says_of_every_key_what_happens_without_it() {
    let text = std::fs::read_to_string(repository().join("conf/penstock.yaml")).unwrap();
    let keys = reference_keys(&text);
    let is_explained = |name: &str| {
        let says = |words: &str| words.contains("Default: ") || words.contains("equired");
        keys.iter().any(|(_, key, _, comment)| *key == name && says(comment))
    };
    let sections = ["switch", "dpdk", "workers", "metrics", "control"];
    for (_, key, ..) in keys.iter().filter(|(_, key, ..)| !sections.contains(key)) {
        assert!(is_explained(key), "{key}");
    }
}

#[test]
fn the_reference_says_of_every_key_whether_it_changes_live() {
    let text = std::fs::read_to_string(repository().join("conf/penstock.yaml")).unwrap();
    let keys = reference_keys(&text);
    let sections = ["switch", "dpdk", "workers", "bridges", "metrics", "control"];
    let says = |comment: &str| comment.contains("Live") || comment.contains("Takes a restart.");
    for (_, key, ..) in keys.iter().filter(|(_, key, ..)| !sections.contains(key)) {
        let is_said = keys.iter().any(|(_, other, _, comment)| other == key && says(comment));
        assert!(is_said, "{key}");
    }
}

/// Wherever the reference shows the default itself, leaving the key out must change nothing.
#[test]
fn the_defaults_in_the_reference_are_those_in_force() {
    let path = repository().join("conf/penstock.yaml").display().to_string();
    let text = std::fs::read_to_string(&path).unwrap();
    let whole = parse(&path, &text).unwrap();
    let mut shown = 0;
    for (index, key, value, comment) in reference_keys(&text) {
        let shows_default =
            [".", ",", ";"].iter().any(|end| comment.contains(&format!("Default: {value}{end}")));
        if shows_default && !value.is_empty() {
            let without: Vec<&str> =
                text.lines().enumerate().filter(|(other, _)| *other != index).map(|(_, line)| line).collect();
            assert_eq!(parse(&path, &without.join("\n")).as_ref(), Ok(&whole), "{key}");
            shown += 1;
        }
    }
    assert!(shown >= 35, "{shown}");
}

fn collect_keys(value: &serde_yaml::Value, prefix: &str, keys: &mut BTreeSet<String>) {
    match value {
        serde_yaml::Value::Mapping(mapping) => {
            for (key, value) in mapping {
                let key = format!("{prefix}{}", key.as_str().unwrap());
                collect_keys(value, &format!("{key}."), keys);
                keys.insert(key);
            }
        }
        serde_yaml::Value::Sequence(list) => list.iter().for_each(|value| collect_keys(value, prefix, keys)),
        _ => {}
    }
}

/// The names of a struct's fields, as its derived `Deserialize` knows them.
fn field_names<'de, T: serde::Deserialize<'de>>() -> &'static [&'static str] {
    struct Names<'a>(&'a mut &'static [&'static str]);

    impl<'de> serde::Deserializer<'de> for Names<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("not a struct"))
        }

        fn deserialize_struct<V: serde::de::Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            Err(serde::de::Error::custom("seen"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut names: &'static [&'static str] = &[];
    let _ = T::deserialize(Names(&mut names));
    assert!(!names.is_empty());
    names
}

#[test]
fn the_built_in_lab_needs_neither_hugepages_nor_a_nic() {
    let config = good(LAB);
    assert_eq!(config.dpdk.hugepages, Hugepages::Never);
    let ports = config.bridges.iter().flat_map(|bridge| &bridge.ports);
    assert!(ports.into_iter().all(|port| matches!(port.netdev.kind, NetdevKind::Tap { .. })));
}

#[test]
fn what_is_left_out_or_empty_has_its_default() {
    let short = good(
        "bridges: [{name: br0, ports: [{name: p, type: tap}], ipfix: {collector: 'udp:192.0.2.1:4739'}}]",
    );
    let long = good(
        "switch: {name: ~, run_dir: , log_level: info}\ndpdk:\nworkers: {count: 1, cores: auto, control_core: auto}\n\
         metrics: {listen: '127.0.0.1:10475'}\ncontrol: {socket: /run/penstock/penstock.sock, mode: '0600'}\n\
         bridges:\n- name: br0\n  mac_ageing_s: 300\n  mac_table_size: 8192\n  internal_port: true\n  \
         ports:\n  - {name: p, type: tap, number: 1, interface: p, mtu: 1500, rx_queues: 1, rx_affinity: {}, rx_descriptors: 1024, \
         tx_descriptors: 1024, vlan: {trunk: all}}\n  \
         ipfix: {collector: 'udp:192.0.2.1:4739', observation_domain_id: 1, observation_point_id: ~, \
         active_timeout_ms: 60000, idle_timeout_ms: 15000, cache_entries: 65536, template_interval_s: 60, message_size_max: 1400, \
         input: true, output: false}\n",
    );
    assert_eq!(short, long);
    let WorkersConfig { placement, idle, emc_entries, megaflows_max, upcall_ring_len, control_core, .. } =
        short.workers;
    assert_eq!(short.workers.queue_placement, PlacementRules { isolate_pinned: true, rebalance: false });
    assert_eq!(
        (placement, idle, emc_entries, megaflows_max, upcall_ring_len, control_core),
        (WorkerPlacement::Auto { count: 1 }, IdlePolicy::Sleep, 65_536, 200_000, 1024, None)
    );
    let bridge = &short.bridges[0];
    let normal = FlowMod { priority: 0, actions: vec![Action::Output(OfPort::NORMAL)], ..FlowMod::add() };
    assert_eq!(bridge.rules, [normal]);
    assert_eq!(bridge.internal_port.as_ref().unwrap().name, "br0");
    assert_eq!(bridge.ipfix.as_ref().unwrap().idle_timeout, Nanos::from_secs(15));
}

#[test]
fn every_value_arrives() {
    let config = good(
        "switch: {name: a_b-1, run_dir: /tmp/x, log_level: debug}\n\
         dpdk: {hugepages: require, memory_mib: 512}\n\
         workers: {cores: [3, 1], control_core: 0, idle: spin, emc_entries: 1024, megaflows_max: 7, upcall_ring_len: 64, \
            isolate_pinned: false, rebalance: auto}\n\
         metrics: {listen: '[::1]:0'}\n\
         control: {socket: /s, mode: 0660}\n\
         bridges:\n\
         - name: br0\n  datapath_id: 00000000000000fe\n  mac: 02:00:00:00:00:aa\n  internal_port: false\n  \
         mac_ageing_s: 15\n  mac_table_size: 10\n  ports:\n  \
         - {name: a, type: 'null', packet_size: 1500, receive: true, vlan: {access: 5}}\n  \
         - {name: b, type: pcap, number: 1, rx_file: /in, tx_file: out, infinite_rx: true, vlan: {trunk: [9, 2], native: 3}}\n  \
         - {name: c, type: dpdk, devargs: '0000:03:00.0', mtu: 9000, rx_queues: 4, rx_affinity: {0: 3, 3: 1023}, rx_descriptors: 64, \
            tx_descriptors: 4096, mac: 0A:00:00:00:00:01}\n  \
         - {name: d, type: tap, interface: veth9, number: 65279}\n\
         - name: br1\n  ipfix: {collector: 'udp:[2001:db8::1]:9', observation_domain_id: 4294967295, \
            observation_point_id: 18446744073709551615, active_timeout_ms: 100, cache_entries: 1024, \
            template_interval_s: 86400, message_size_max: 512, input: false, output: true}\n",
    );
    assert_eq!(config.switch.name, "a_b-1");
    assert_eq!(config.switch.log_level, tracing::level_filters::LevelFilter::DEBUG);
    assert_eq!(config.dpdk, DpdkConfig { hugepages: Hugepages::Require, memory_mib: Some(512) });
    assert_eq!(config.workers.placement, WorkerPlacement::Cores(vec![3, 1]));
    assert_eq!((config.workers.count(), config.workers.control_core), (2, Some(0)));
    assert_eq!(config.workers.queue_placement, PlacementRules { isolate_pinned: false, rebalance: true });
    assert_eq!(config.metrics.listen, Some("[::1]:0".parse().unwrap()));
    assert_eq!(config.control, ControlConfig { socket: "/s".into(), mode: 0o660 });
    let [br0, br1] = &config.bridges[..] else { panic!("two bridges") };
    assert_eq!((br0.datapath_id, br0.mac, &br0.internal_port), (0xfe, Some([2, 0, 0, 0, 0, 0xaa]), &None));
    assert_eq!((br0.mac_ageing_s, br0.mac_table_size), (15, 10));
    let [a, b, c, d] = &br0.ports[..] else { panic!("four ports") };
    // Number 1 is asked for by `b`, so `a` has the next.
    assert_eq!([a, b, c, d].map(|port| port.number.0), [2, 1, 3, 65_279]);
    assert_eq!(a.netdev.kind, NetdevKind::Null { packet_size: 1500, receive: true });
    assert_eq!(a.settings.vlan, VlanMode::Access { tag: 5 });
    assert_eq!((a.rx_affinity.len(), &c.rx_affinity), (0, &[(0, 3), (3, 1023)].into()));
    let (rx_file, tx_file) = (Some("/in".to_owned()), Some("out".to_owned()));
    assert_eq!(b.netdev.kind, NetdevKind::Pcap { rx_file, tx_file, infinite_rx: true });
    assert_eq!(b.settings.vlan, VlanMode::NativeUntagged { allowed: VlanSet::from_iter([2, 9]), tag: 3 });
    assert_eq!(c.netdev.kind, NetdevKind::Dpdk { devargs: "0000:03:00.0".into() });
    assert_eq!((c.netdev.mtu, c.netdev.rx_queue_count, c.netdev.tx_queue_count), (9000, 4, 2));
    assert_eq!((c.netdev.rx_queue_len, c.netdev.tx_queue_len), (64, 4096));
    assert_eq!(c.netdev.mac, Some([0x0a, 0, 0, 0, 0, 1]));
    assert_eq!(d.netdev.kind, NetdevKind::Tap { interface: "veth9".into() });
    assert_eq!(d.settings.vlan, VlanMode::Trunk { allowed: VlanSet::all() });
    let ipfix = br1.ipfix.as_ref().unwrap();
    assert_eq!(ipfix.collector, Collector::Udp("[2001:db8::1]:9".parse().unwrap()));
    assert_eq!((ipfix.observation_domain_id, ipfix.observation_point_id), (u32::MAX, Some(u64::MAX)));
    // The default idle timeout shrinks with the active one.
    assert_eq!(
        (ipfix.active_timeout, ipfix.idle_timeout),
        (Nanos::from_millis(100), Nanos::from_millis(100))
    );
    assert_eq!((ipfix.input, ipfix.output, ipfix.cache_entries), (false, true, 1024));
    assert_eq!((ipfix.template_interval, ipfix.message_size_max), (Nanos::from_secs(86_400), 512));
}

#[test]
fn a_datapath_id_comes_from_the_address_or_else_from_the_names() {
    let of = |text: &str| good(text).bridges.iter().map(|bridge| bridge.datapath_id).collect::<Vec<_>>();
    assert_eq!(of("bridges: [{name: br0, mac: '02:00:00:00:00:07'}]"), [0x0200_0000_0007]);
    let derived = of("bridges: [{name: br0}, {name: br1}]");
    assert_eq!(derived, of("bridges: [{name: br0, mac_ageing_s: 20}, {name: br1}]"));
    assert_ne!(derived[0], derived[1]);
    assert_ne!(derived, of("switch: {name: other}\nbridges: [{name: br0}, {name: br1}]"));
    // In the form of a hardware address: unicast, locally administered, 48 bits.
    assert!(derived.iter().all(|id| id >> 40 & 3 == 2 && id >> 48 == 0), "{derived:x?}");
    // Stable for ever: controllers remember it.
    assert_eq!(derived[0], 0xca3da8f6909a);
}

#[test]
fn unknown_keys_are_named_with_what_was_probably_meant() {
    bad(
        "swich: {}\nbridges: [{name: br0, frobnicate: 1, mac_agin_s: 20}]\nmetrics: {listen: off, extra: 1}\n",
        &[
            "t.yaml:1: swich: there is no such key; did you mean switch?",
            "t.yaml:2: bridges[0].frobnicate: there is no such key; allowed: name, datapath_id, mac, mac_ageing_s, mac_table_size, internal_port, forward_bpdu, fragments, controller_rate_limit, meters, groups, rules, rules_file, ports, mirrors, openflow, ipfix",
            "t.yaml:2: bridges[0].mac_agin_s: there is no such key; did you mean mac_ageing_s?",
            "t.yaml:3: metrics.extra: there is no such key; allowed: listen",
        ],
    );
}

#[test]
fn keys_given_twice_are_told_with_their_first_line() {
    bad(
        "bridges:\n- name: br0\n  name: br1\n  mac_ageing_s: 20\n  mac_ageing_s: 1\nbridges: []\n",
        &[
            "t.yaml:3: bridges[0].name: is given twice, first on line 2; allowed: once",
            "t.yaml:5: bridges[0].mac_ageing_s: is given twice, first on line 4; allowed: once",
            "t.yaml:6: bridges: is given twice, first on line 1; allowed: once",
        ],
    );
}

#[test]
fn text_that_is_not_yaml_is_told_with_its_line() {
    bad(
        "bridges:\n- name: br0\n  ports: [\n",
        &[
            "t.yaml:4: bridges[0].ports[0]: not YAML: while parsing a node, did not find expected node content; allowed: one YAML document",
        ],
    );
    bad(
        "bridges:\n\t- name: br0\n",
        &[
            "t.yaml:2: bridges: not YAML: tabs disallowed within this context (block indentation); allowed: one YAML document",
        ],
    );
    bad(
        "a: b: c\n",
        &["t.yaml:1: not YAML: mapping values are not allowed in this context; allowed: one YAML document"],
    );
}

#[test]
fn what_a_configuration_needs_not_have_is_refused() {
    bad(
        "bridges: &b\n- name: br0\n",
        &["t.yaml:1: bridges: anchors are not understood here; allowed: plain mappings, lists and values"],
    );
    bad(
        "bridges:\n- name: *b\n",
        &[
            "t.yaml:2: bridges[0].name: not YAML: while parsing node, found unknown anchor; allowed: one YAML document",
        ],
    );
    bad(
        "bridges:\n- name: !!str br0\n",
        &[
            "t.yaml:2: bridges[0].name: tags are not understood here; allowed: plain mappings, lists and values",
        ],
    );
    bad(
        "bridges:\n- name: br0\n---\nbridges: []\n",
        &["t.yaml:3: several documents are not understood here; allowed: plain mappings, lists and values"],
    );
    bad(
        "? [a, b]\n: c\n",
        &[
            "t.yaml:1: keys that are not words are not understood here; allowed: plain mappings, lists and values",
        ],
    );
    bad(
        &format!("bridges: {}{}", "[".repeat(20), "]".repeat(20)),
        &[
            "t.yaml:1: bridges[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: more than 16 levels are not understood here; allowed: plain mappings, lists and values",
        ],
    );
    bad(
        &format!("{}: 1\n", "k".repeat(300)),
        &[
            "t.yaml:1: keys of more than 256 bytes are not understood here; allowed: plain mappings, lists and values",
        ],
    );
}

#[test]
fn a_file_that_is_no_mapping_is_refused() {
    bad("- a\n", &["t.yaml:1: a list is wrong; allowed: a mapping of keys to values"]);
    bad("hello\n", &["t.yaml:1: \"hello\" is wrong; allowed: a mapping of keys to values"]);
    bad("", &["t.yaml:1: bridges: is missing; allowed: a list of at least one bridge"]);
    bad("~\n", &["t.yaml:1: bridges: is missing; allowed: a list of at least one bridge"]);
}

#[test]
fn values_of_the_wrong_type_or_out_of_range_are_told_with_what_is_allowed() {
    bad_port(
        "    mtu: 9001\n    rx_queues: many\n    rx_descriptors: 1000\n    receive: 'yes'\n",
        &[
            "t.yaml:6: bridges[0].ports[0].mtu: 9001 is wrong; allowed: a whole number from 68 to 9000",
            "t.yaml:7: bridges[0].ports[0].rx_queues: \"many\" is wrong; allowed: a whole number from 1 to 64",
            "t.yaml:8: bridges[0].ports[0].rx_descriptors: 1000 is wrong; allowed: a power of two from 64 to 4096",
            "t.yaml:9: bridges[0].ports[0].receive: \"yes\" is wrong; allowed: true or false",
        ],
    );
    bad_port(
        "    mtu: -1\n    rx_queues: 1.5\n    tx_descriptors: [64]\n    receive: 1\n    vlan: trunk\n",
        &[
            "t.yaml:6: bridges[0].ports[0].mtu: -1 is wrong; allowed: a whole number from 68 to 9000",
            "t.yaml:7: bridges[0].ports[0].rx_queues: 1.5 is wrong; allowed: a whole number from 1 to 64",
            "t.yaml:8: bridges[0].ports[0].tx_descriptors: a list is wrong; allowed: a power of two from 64 to 4096",
            "t.yaml:9: bridges[0].ports[0].receive: 1 is wrong; allowed: true or false",
            "t.yaml:10: bridges[0].ports[0].vlan: \"trunk\" is wrong; allowed: a mapping of keys to values",
        ],
    );
    bad_port(
        "    rx_queues: 2\n    rx_affinity:\n      2: 1\n      x: 1\n      01: 1\n      1: 1024\n      0:\n",
        &[
            "t.yaml:8: bridges[0].ports[0].rx_affinity.2: the key \"2\" is wrong; allowed: queues from 0 to 1, by rx_queues",
            "t.yaml:9: bridges[0].ports[0].rx_affinity.x: the key \"x\" is wrong; allowed: queues from 0 to 1, by rx_queues",
            "t.yaml:10: bridges[0].ports[0].rx_affinity.01: the key \"01\" is wrong; allowed: queues from 0 to 1, by rx_queues",
            "t.yaml:11: bridges[0].ports[0].rx_affinity.1: 1024 is wrong; allowed: a whole number from 0 to 1023",
            "t.yaml:12: bridges[0].ports[0].rx_affinity.0: is missing; allowed: a core number from 0 to 1023",
        ],
    );
    bad_port(
        "    mtu: 99999999999999999999999999999\n    number: 0\n    mac: 01:00:00:00:00:00\n",
        &[
            "t.yaml:6: bridges[0].ports[0].mtu: \"99999999999999999999999999999\" is wrong; allowed: a whole number from 68 to 9000",
            "t.yaml:7: bridges[0].ports[0].number: 0 is wrong; allowed: a whole number from 1 to 65279, or LOCAL",
            "t.yaml:8: bridges[0].ports[0].mac: \"01:00:00:00:00:00\" is wrong; allowed: a unicast address such as 02:00:00:00:00:01",
        ],
    );
    bad_port(
        "    number: 65280\n    mac: 2\n    vlan: {trunk: some, native: 4095}\n",
        &[
            "t.yaml:6: bridges[0].ports[0].number: 65280 is wrong; allowed: a whole number from 1 to 65279, or LOCAL",
            "t.yaml:7: bridges[0].ports[0].mac: 2 is wrong; allowed: a unicast address such as 02:00:00:00:00:01",
            "t.yaml:8: bridges[0].ports[0].vlan.trunk: \"some\" is wrong; allowed: all, or a list of VLAN ids from 1 to 4094",
            "t.yaml:8: bridges[0].ports[0].vlan.native: 4095 is wrong; allowed: a whole number from 1 to 4094",
        ],
    );
    bad_port(
        "    vlan: {trunk: [1, x, 0, ~]}\n    mtu: {a: b}\n",
        &[
            "t.yaml:6: bridges[0].ports[0].vlan.trunk[1]: \"x\" is wrong; allowed: a whole number from 1 to 4094",
            "t.yaml:6: bridges[0].ports[0].vlan.trunk[2]: 0 is wrong; allowed: a whole number from 1 to 4094",
            "t.yaml:6: bridges[0].ports[0].vlan.trunk[3]: is missing; allowed: a VLAN id from 1 to 4094",
            "t.yaml:7: bridges[0].ports[0].mtu: a mapping is wrong; allowed: a whole number from 68 to 9000",
        ],
    );
    bad_bridge(
        "  datapath_id: 12\n  mac: zz\n  internal_port: on\n  rules: NORMAL\n  rules_file: ''\n",
        &[
            "t.yaml:3: bridges[0].datapath_id: 12 is wrong; allowed: 16 hexadecimal digits in quotes, not all 0",
            "t.yaml:4: bridges[0].mac: \"zz\" is wrong; allowed: a unicast address such as 02:00:00:00:00:01",
            "t.yaml:5: bridges[0].internal_port: \"on\" is wrong; allowed: true or false",
            "t.yaml:6: bridges[0].rules: \"NORMAL\" is wrong; allowed: a list",
            "t.yaml:7: bridges[0].rules_file: \"\" is wrong; allowed: the name of a file",
        ],
    );
    bad_bridge(
        "  datapath_id: '0000000000000000'\n  mac_ageing_s: 14\n  mac_table_size: 9\n  ports: {}\n",
        &[
            "t.yaml:3: bridges[0].datapath_id: \"0000000000000000\" is wrong; allowed: 16 hexadecimal digits in quotes, not all 0",
            "t.yaml:4: bridges[0].mac_ageing_s: 14 is wrong; allowed: a whole number from 15 to 3600",
            "t.yaml:5: bridges[0].mac_table_size: 9 is wrong; allowed: a whole number from 10 to 1000000",
            "t.yaml:6: bridges[0].ports: a mapping is wrong; allowed: a list",
        ],
    );
    bad_bridge(
        "  datapath_id: 12345678901234e5\n  ports: [~, 1, []]\n  rules: [1, ~]\n  ipfix: true\n",
        &[
            "t.yaml:3: bridges[0].datapath_id: 1234567890123400000.0 is wrong; allowed: 16 hexadecimal digits in quotes, not all 0",
            "t.yaml:4: bridges[0].ports[1]: 1 is wrong; allowed: a mapping of keys to values",
            "t.yaml:4: bridges[0].ports[2]: a list is wrong; allowed: a mapping of keys to values",
            "t.yaml:4: bridges[0].ports[0]: is missing; allowed: a port",
            "t.yaml:5: bridges[0].rules[0]: 1 is wrong; allowed: text; a number must be in quotes to be text",
            "t.yaml:5: bridges[0].rules[1]: is missing; allowed: a rule",
            "t.yaml:6: bridges[0].ipfix: true is wrong; allowed: a mapping of keys to values",
        ],
    );
    bad(
        "switch: {name: Loud, run_dir: here, log_level: chatty}\n\
         dpdk: {hugepages: maybe, memory_mib: 63}\n\
         workers: {count: 0, cores: two, control_core: 1024, idle: doze, emc_entries: 65537, megaflows_max: 0}\n\
         metrics: {listen: 10475}\n\
         control: {socket: sock, mode: 600}\n\
         bridges: [{name: br0}]\n",
        &[
            "t.yaml:1: switch.name: \"Loud\" is wrong; allowed: 1 to 32 of a-z 0-9 - _",
            "t.yaml:1: switch.run_dir: \"here\" is wrong; allowed: an absolute path",
            "t.yaml:1: switch.log_level: \"chatty\" is wrong; allowed: off, error, warn, info, debug or trace",
            "t.yaml:2: dpdk.hugepages: \"maybe\" is wrong; allowed: auto, require or never",
            "t.yaml:2: dpdk.memory_mib: 63 is wrong; allowed: auto, or a whole number from 64 to 1048576",
            "t.yaml:3: workers.count: 0 is wrong; allowed: a whole number from 1 to 64",
            "t.yaml:3: workers.cores: \"two\" is wrong; allowed: auto, or a list of core numbers from 0 to 1023",
            "t.yaml:3: workers.control_core: 1024 is wrong; allowed: auto, or a whole number from 0 to 1023",
            "t.yaml:3: workers.idle: \"doze\" is wrong; allowed: sleep or spin",
            "t.yaml:3: workers.emc_entries: 65537 is wrong; allowed: a power of two from 1024 to 4194304",
            "t.yaml:3: workers.megaflows_max: 0 is wrong; allowed: a whole number from 1 to 4000000",
            "t.yaml:4: metrics.listen: 10475 is wrong; allowed: off, or an IP address and port such as 127.0.0.1:10475 or [::1]:10475",
            "t.yaml:5: control.socket: \"sock\" is wrong; allowed: an absolute path of at most 103 bytes",
            "t.yaml:5: control.mode: 600 is wrong; allowed: four octal digits in quotes, \"0000\" to \"0777\"",
        ],
    );
    bad_bridge(
        "  ipfix:\n    collector: udp:localhost:4739\n    observation_domain_id: 4294967296\n    \
         active_timeout_ms: 99\n    cache_entries: 1023\n    template_interval_s: 0\n    input: maybe\n",
        &[
            "t.yaml:4: bridges[0].ipfix.collector: \"udp:localhost:4739\" is wrong; allowed: udp: with IP address and port, such as udp:192.0.2.1:4739 or udp:[2001:db8::1]:4739",
            "t.yaml:5: bridges[0].ipfix.observation_domain_id: 4294967296 is wrong; allowed: a whole number from 0 to 4294967295",
            "t.yaml:6: bridges[0].ipfix.active_timeout_ms: 99 is wrong; allowed: a whole number from 100 to 1800000",
            "t.yaml:7: bridges[0].ipfix.cache_entries: 1023 is wrong; allowed: a whole number from 1024 to 16777216",
            "t.yaml:8: bridges[0].ipfix.template_interval_s: 0 is wrong; allowed: a whole number from 1 to 86400",
            "t.yaml:9: bridges[0].ipfix.input: \"maybe\" is wrong; allowed: true or false",
        ],
    );
    bad(
        "bridges: [{name: averyverylongname}, {name: 1br}, {name: local}, {name: 7}]\n",
        &[
            "t.yaml:1: bridges[0].name: \"averyverylongname\" is wrong; allowed: 1 to 15 of a-z A-Z 0-9 - _ . beginning with a letter, no OpenFlow port's name",
            "t.yaml:1: bridges[1].name: \"1br\" is wrong; allowed: 1 to 15 of a-z A-Z 0-9 - _ . beginning with a letter, no OpenFlow port's name",
            "t.yaml:1: bridges[2].name: \"local\" is wrong; allowed: 1 to 15 of a-z A-Z 0-9 - _ . beginning with a letter, no OpenFlow port's name",
            "t.yaml:1: bridges[3].name: 7 is wrong; allowed: 1 to 15 of a-z A-Z 0-9 - _ . beginning with a letter, no OpenFlow port's name",
        ],
    );
}

#[test]
fn what_is_required_is_missed() {
    bad("switch: {name: x}\n", &["t.yaml:1: bridges: is missing; allowed: a list of at least one bridge"]);
    bad("bridges: []\n", &["t.yaml:1: bridges: is missing; allowed: a list of at least one bridge"]);
    bad(
        "bridges:\n- mac_ageing_s: 20\n- ports:\n  - mtu: 100\n  - {name: d, type: dpdk}\n  name: br1\n",
        &[
            "t.yaml:2: bridges[0].name: is missing; allowed: 1 to 15 of a-z A-Z 0-9 - _ . beginning with a letter, no OpenFlow port's name",
            "t.yaml:4: bridges[1].ports[0].name: is missing; allowed: 1 to 32 of a-z A-Z 0-9 - _ . beginning with a letter, no OpenFlow port's name",
            "t.yaml:4: bridges[1].ports[0].type: is missing; allowed: tap, null, pcap, dpdk, af-packet, af-xdp, ring, memif, vhost-user, virtio-user or patch",
            "t.yaml:5: bridges[1].ports[1].devargs: is missing; allowed: a PCI address or a virtual device with its arguments, without spaces",
        ],
    );
    bad_bridge(
        "  ipfix: {}\n",
        &[
            "t.yaml:3: bridges[0].ipfix.collector: is missing; allowed: udp: with IP address and port, such as udp:192.0.2.1:4739 or udp:[2001:db8::1]:4739",
        ],
    );
    bad_bridge(
        "  ports: [{name: a-name-too-long-for-linux, type: tap}]\n",
        &[
            "t.yaml:3: bridges[0].ports[0].interface: is missing; allowed: 1 to 15 of a-z A-Z 0-9 - _ . beginning with a letter, no OpenFlow port's name",
        ],
    );
}

#[test]
fn names_numbers_devices_and_exporters_are_unique() {
    bad(
        "bridges:\n\
         - name: br0\n  datapath_id: '0000000000000001'\n  ports:\n  \
         - {name: a, type: tap, number: 2}\n  \
         - {name: a, type: tap, interface: b, number: 2}\n  \
         - {name: b, type: tap}\n  \
         - {name: br1, type: dummy}\n  \
         - {name: x, type: tap, interface: br0}\n  \
         - {name: d1, type: dpdk, devargs: net_ring0}\n  \
         - {name: d2, type: dpdk, devargs: net_ring0}\n  \
         - {name: f1, type: pcap, tx_file: f}\n  \
         - {name: f2, type: pcap, tx_file: f, rx_file: f}\n  \
         ipfix: {collector: 'udp:192.0.2.1:4739'}\n\
         - name: br1\n  datapath_id: '0000000000000001'\n  ports: [{name: c, type: dummy, number: 2}]\n  \
         ipfix: {collector: 'udp:192.0.2.1:4739'}\n\
         - name: br0\n",
        &[
            "t.yaml:6: bridges[0].ports[1].number: 2 is taken by bridges[0].ports[0].number; allowed: one that is not",
            "t.yaml:6: bridges[0].ports[1].name: a is taken by bridges[0].ports[0].name; allowed: one that is not",
            "t.yaml:7: bridges[0].ports[2].interface: interface b is taken by bridges[0].ports[1].interface; allowed: one that is not",
            "t.yaml:9: bridges[0].ports[4].interface: interface br0 is taken by bridges[0].name; allowed: one that is not",
            "t.yaml:11: bridges[0].ports[6].devargs: device net_ring0 is taken by bridges[0].ports[5].devargs; allowed: one that is not",
            "t.yaml:13: bridges[0].ports[8].tx_file: file f is taken by bridges[0].ports[7].tx_file; allowed: one that is not",
            "t.yaml:15: bridges[1].name: br1 is taken by bridges[0].ports[3].name; allowed: one that is not",
            "t.yaml:16: bridges[1].datapath_id: 0000000000000001 is taken by bridges[0].datapath_id; allowed: one that is not",
            "t.yaml:18: bridges[1].ipfix.observation_domain_id: domain 1 at udp:192.0.2.1:4739 is taken by bridges[0].ipfix.observation_domain_id; allowed: one that is not",
            "t.yaml:19: bridges[2].name: br0 is taken by bridges[0].name; allowed: one that is not",
        ],
    );
    bad(
        "workers: {cores: [1, 2, 1], control_core: 2}\nbridges: [{name: br0}]\n",
        &[
            "t.yaml:1: workers.cores[2]: core 1 is taken by workers.cores[0]; allowed: one that is not",
            "t.yaml:1: workers.control_core: core 2 is taken by workers.cores[1]; allowed: one that is not",
        ],
    );
    bad_port(
        "    vlan: {trunk: [5, 6, 5]}\n",
        &[
            "t.yaml:6: bridges[0].ports[0].vlan.trunk[2]: VLAN 5 is taken by bridges[0].ports[0].vlan.trunk[0]; allowed: one that is not",
        ],
    );
}

#[test]
fn a_bridge_sets_rules_up_by_itself_only_if_it_may_and_nobody_else_is_to() {
    let rules = |text: &str| good(&format!("bridges: [{{name: br0, {text}}}]")).bridges.remove(0).rules.len();
    for (fail_mode, alone) in [("", 1), ("fail_mode: standalone", 1), ("fail_mode: secure", 0)] {
        assert_eq!(rules(&format!("openflow: {{{fail_mode}}}")), alone, "{fail_mode}");
        assert_eq!(
            rules(&format!("rules: [], openflow: {{listen: [ptcp], {fail_mode}}}")),
            alone,
            "{fail_mode}"
        );
        assert_eq!(rules(&format!("openflow: {{controllers: ['tcp:192.0.2.1'], {fail_mode}}}")), 0);
        assert_eq!(rules(&format!("rules: ['tcp,actions=drop'], openflow: {{{fail_mode}}}")), 1);
    }
}

#[test]
fn a_port_of_any_type_can_be_the_bridges_own() {
    let bridge = |text: &str| {
        let mut config = good(&format!("bridges:\n- name: br0\n{text}"));
        config.bridges.remove(0)
    };
    let br0 = bridge(
        "  ports:\n  - {name: a, type: dummy}\n  - {name: br0, type: tap, number: local}\n  \
         - {name: b, type: dummy}\n  rules: ['in_port=br0,actions=output:br0,LOCAL']\n",
    );
    assert_eq!(br0.internal_port, None, "it has one");
    assert_eq!(
        br0.ports.iter().map(|port| port.number).collect::<Vec<_>>(),
        [OfPort(1), OfPort::LOCAL, OfPort(2)]
    );
    assert_eq!(br0.rules[0].actions, [const { Action::Output(OfPort::LOCAL) }; 2]);
    let br0 = bridge(
        "  internal_port: false\n  ports: [{name: vm, type: dummy, number: LOCAL}]\n  rules: ['actions=output:vm']\n",
    );
    assert_eq!((br0.ports[0].settings.number, br0.ports[0].name()), (Some(OfPort::LOCAL), "vm"));
    assert_eq!(br0.rules[0].actions, [Action::Output(OfPort::LOCAL)]);
    let is_taken = "is taken by bridges[0]";
    bad_bridge(
        "  ports:\n  - {name: a, type: dummy, number: LOCAL}\n  - {name: b, type: dummy, number: local}\n  \
         - {name: br0, type: dummy}\n",
        &[
            &format!(
                "t.yaml:5: bridges[0].ports[1].number: LOCAL {is_taken}.ports[0].number; allowed: one that is not"
            ),
            &format!("t.yaml:6: bridges[0].ports[2].name: br0 {is_taken}.name; allowed: one that is not"),
        ],
    );
    bad_bridge(
        "  internal_port: true\n  ports:\n  - {name: a, type: dummy, number: LOCAL}\n",
        &[
            "t.yaml:5: bridges[0].ports[0].number: can't be together with internal_port: true; allowed: one port with \
             the number LOCAL: leave internal_port out, or have it be false",
        ],
    );
    bad_bridge(
        "  ports:\n  - {name: a, type: dummy, number: IN_PORT}\n",
        &[
            "t.yaml:4: bridges[0].ports[0].number: \"IN_PORT\" is wrong; allowed: a whole number from 1 to 65279, or LOCAL",
        ],
    );
}

#[test]
fn a_device_is_the_same_however_its_address_is_written() {
    let addresses = ["0000:0a:00.0", "0a:00.0", "0000:0A:00.0", "a:0.0", "pci:0000:0a:00.0", "0A:00.0,arg=1"];
    let is_taken = "device 0000:0a:00.0 is taken by bridges[0].ports[0].devargs; allowed: one that is not";
    for second in addresses {
        bad_bridge(
            &format!(
                "  ports:\n  - {{name: p, type: dpdk, devargs: '0a:00.0'}}\n  \
                 - {{name: q, type: dpdk, devargs: '{second}'}}\n"
            ),
            &[&format!("t.yaml:5: bridges[0].ports[1].devargs: {is_taken}")],
        );
    }
    for second in ["0a:00.1", "0001:0a:00.0", "0a:01.0", "0b:00.0", "net_ring0", "0a:00.0x", "0a00.0"] {
        good(&format!(
            "bridges: [{{name: br0, ports: [{{name: p, type: dpdk, devargs: '0a:00.0'}}, \
             {{name: q, type: dpdk, devargs: '{second}'}}]}}]"
        ));
    }
}

#[test]
fn an_mtu_may_be_that_of_jumbo_frames() {
    let tap = |mtu: u16| format!("  ports: [{{name: p, type: tap, mtu: {mtu}}}]\n");
    bad_bridge(
        &tap(9001),
        &["t.yaml:3: bridges[0].ports[0].mtu: 9001 is wrong; allowed: a whole number from 68 to 9000"],
    );
    good(&format!("bridges:\n- name: br0\n{}", tap(9000)));
    good("bridges: [{name: br0, ports: [{name: p, type: dpdk, devargs: net_ring0, mtu: 9000}]}]");
}

#[test]
fn a_file_has_no_dummies() {
    let directory = TempDir::new().unwrap();
    let text = "bridges:\n- name: br0\n  ports: [{name: p, type: dummy}]\n";
    good(text);
    assert_eq!(
        told(&directory, &write(&directory, "dummy.yaml", text)),
        "DIR/dummy.yaml:3: bridges[0].ports[0].type: \"dummy\" is wrong; allowed: tap, null, pcap, dpdk, af-packet, af-xdp, ring, memif, vhost-user, virtio-user or patch"
    );
}

#[test]
fn keys_that_exclude_each_other_are_told() {
    bad(
        "workers: {cores: [1], count: 1}\nbridges: [{name: br0}]\n",
        &[
            "t.yaml:1: workers.count: can't be together with a list of cores; allowed: count beside cores: auto, or cores alone",
        ],
    );
    bad_port(
        "    vlan: {access: 1, trunk: all, native: 2}\n",
        &[
            "t.yaml:6: bridges[0].ports[0].vlan.trunk: can't be together with access; allowed: access alone, or trunk and native",
            "t.yaml:6: bridges[0].ports[0].vlan.native: can't be together with access; allowed: access alone, or trunk and native",
        ],
    );
    bad_port(
        "    interface: x\n    devargs: x\n    rx_file: x\n    infinite_rx: true\n",
        &[
            "t.yaml:6: bridges[0].ports[0].interface: can't be together with type: null; allowed: in ports of type tap, af-packet, af-xdp or virtio-user",
            "t.yaml:7: bridges[0].ports[0].devargs: can't be together with type: null; allowed: in ports of type dpdk",
            "t.yaml:8: bridges[0].ports[0].rx_file: can't be together with type: null; allowed: in ports of type pcap",
            "t.yaml:9: bridges[0].ports[0].infinite_rx: can't be together with type: null; allowed: in ports of type pcap",
        ],
    );
    bad_bridge(
        "  ports: [{name: p, type: pcap, infinite_rx: true, packet_size: 64}]\n",
        &[
            "t.yaml:3: bridges[0].ports[0].packet_size: can't be together with type: pcap; allowed: in ports of type null",
            "t.yaml:3: bridges[0].ports[0].infinite_rx: can't be together with no rx_file; allowed: with rx_file",
        ],
    );
    bad_bridge(
        "  ipfix:\n    collector: udp:192.0.2.1:1\n    active_timeout_ms: 1000\n    idle_timeout_ms: 1001\n    \
         input: false\n",
        &[
            "t.yaml:6: bridges[0].ipfix.idle_timeout_ms: can't be together with active_timeout_ms: 1000; allowed: an idle timeout of at most the active one",
            "t.yaml:7: bridges[0].ipfix.input: can't be together with output: false; allowed: input, output or both: true",
        ],
    );
}

#[test]
fn there_can_be_too_many() {
    let ports: String = (0..1024).map(|index| format!("  - {{name: p{index}, type: dummy}}\n")).collect();
    bad_bridge(
        &format!("  ports:\n{ports}"),
        &["t.yaml:1: bridges: there are 1025; allowed: 1024 ports, internal ones included"],
    );
    good(&format!("bridges:\n- name: br0\n  internal_port: false\n  ports:\n{ports}"));
    let kinds = ["tap", "null", "dummy"];
    let of_dpdk = |count: usize| -> String {
        let port = |index: usize| format!("  - {{name: p{index}, type: {}}}\n", kinds[index % 3]);
        format!("bridges:\n- name: br0\n  ports:\n{}- name: br1\n", (0..count).map(port).collect::<String>())
    };
    // 45 ports of which 15 are dummies, and two bridges' own.
    good(&of_dpdk(45));
    bad(
        &of_dpdk(46),
        &[
            "t.yaml:1: bridges: there are 33; allowed: 32 ports, internal ones included, since DPDK has no room for more devices",
        ],
    );
    let bridges: String = (0..=EXPORTER_COUNT_MAX)
        .map(|index| {
            format!(
                "- {{name: br{index}, internal_port: false, ipfix: {{collector: 'udp:192.0.2.1:{}'}}}}\n",
                index + 1
            )
        })
        .collect();
    bad(
        &format!("bridges:\n{bridges}"),
        &["t.yaml:1: bridges: there are 65; allowed: 64 bridges with ipfix"],
    );
    let cores: Vec<String> = (0..65).map(|core| core.to_string()).collect();
    bad(
        &format!("workers: {{cores: [{}]}}\nbridges: [{{name: br0}}]\n", cores.join(", ")),
        &["t.yaml:1: workers.cores: there are 65; allowed: 64 workers"],
    );
    bad(
        "workers: {cores: []}\nbridges: [{name: br0}]\n",
        &["t.yaml:1: workers.cores: an empty list is wrong; allowed: 1 to 64 core numbers from 0 to 1023"],
    );
    bad_port(
        "    vlan: {trunk: []}\n",
        &[
            "t.yaml:6: bridges[0].ports[0].vlan.trunk: an empty list is wrong; allowed: all, or a list of VLAN ids from 1 to 4094",
        ],
    );
    let deep = format!("/{}", "d".repeat(100));
    bad(
        &format!("switch: {{run_dir: {deep}}}\nbridges: [{{name: br0}}]\n"),
        &[
            "t.yaml:1: control.socket: the default, /dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd/penstock.sock, which is too long, is wrong; allowed: an absolute path of at most 103 bytes, or a shorter switch.run_dir",
        ],
    );
}

#[test]
fn rules_are_read_with_the_names_of_the_bridge_s_ports() {
    let config = good(
        "bridges:\n- name: br0\n  rules:\n  - in_port=two,actions=one\n  - priority=0,actions=br0\n  \
         ports:\n  - {name: one, type: null}\n  - {name: two, type: dummy, number: 9}\n",
    );
    let [first, second] = &config.bridges[0].rules[..] else { panic!("two rules") };
    assert_eq!(first.matching.get(Field::InPort).0, 9);
    assert_eq!(first.actions, [Action::Output(OfPort(1))]);
    assert_eq!((second.priority, &second.actions[..]), (0, &[Action::Output(OfPort::LOCAL)][..]));
    assert_eq!(first.command, FlowModCommand::Add);
}

#[test]
fn rules_that_are_none_are_told_with_their_place_in_the_list() {
    let refusal = |rule: &str| {
        let ports = BTreeMap::from([(OfPort::LOCAL, "br0".to_owned())]);
        parse_flow_mod(rule, FlowModCommand::Add, &ports).unwrap_err().to_string()
    };
    bad_bridge(
        "  rules:\n  - priority=0,actions=NORMAL\n  - in_port=nowhere,actions=drop\n  - tcp\n  - actions=fly\n",
        &[
            &format!("t.yaml:5: bridges[0].rules[1]: {}", refusal("in_port=nowhere,actions=drop")),
            &format!("t.yaml:6: bridges[0].rules[2]: {}", refusal("tcp")),
            &format!("t.yaml:7: bridges[0].rules[3]: {}", refusal("actions=fly")),
        ],
    );
}

#[test]
fn a_file_of_rules_is_read_beside_the_configuration_and_its_faults_have_its_lines() {
    let directory = TempDir::new().unwrap();
    let path =
        write(&directory, "good.yaml", "bridges: [{name: br0, rules: [actions=drop], rules_file: a.flows}]");
    write(&directory, "a.flows", "# first\n\npriority=1,actions=NORMAL # last\n");
    let config = load(&path).unwrap();
    assert_eq!(config.bridges[0].rules.iter().map(|rule| rule.priority).collect::<Vec<_>>(), [32_768, 1]);
    write(&directory, "a.flows", "# first\nactions=NORMAL\nactions=fly\n\nbogus\n");
    let bad = write(
        &directory,
        "bad.yaml",
        "bridges:\n- {name: br0, rules_file: a.flows}\n- {name: br1, rules_file: none.flows}\n- {name: 2}\n",
    );
    let told = told(&directory, &bad);
    let [no_file, no_name, fly, bogus] = &told.lines().collect::<Vec<_>>()[..] else { panic!("{told}") };
    assert_eq!(
        *no_file,
        "DIR/bad.yaml:3: bridges[1].rules_file: can't be read: DIR/none.flows: No such file or directory \
         (os error 2); allowed: a regular file in UTF-8"
    );
    assert!(no_name.starts_with("DIR/bad.yaml:4: bridges[2].name: 2 is wrong; allowed: "));
    assert!(fly.starts_with("DIR/a.flows:3: bridges[0].rules_file: "));
    assert!(bogus.starts_with("DIR/a.flows:5: bridges[0].rules_file: "));
}

#[test]
fn a_port_of_type_null_needs_no_quotes_and_a_port_without_a_type_has_none() {
    let kind = |text: &str| good(text).bridges[0].ports[0].netdev.kind.clone();
    let null = NetdevKind::Null { packet_size: 64, receive: false };
    assert_eq!(kind("bridges: [{name: br0, ports: [{name: p, type: null}]}]"), null);
    assert_eq!(kind("bridges: [{name: br0, ports: [{name: p, type: 'null'}]}]"), null);
    for nothing in ["type: ~", "type: ", "mtu: 100"] {
        bad(
            &format!("bridges: [{{name: br0, ports: [{{name: p, {nothing}}}]}}]"),
            &[
                "t.yaml:1: bridges[0].ports[0].type: is missing; allowed: tap, null, pcap, dpdk, af-packet, af-xdp, ring, memif, vhost-user, virtio-user or patch",
            ],
        );
    }
}

#[test]
fn a_dozen_faults_are_told_at_once() {
    bad(
        "switch:\n  nmae: x\n  log_level: loud\n\
         dpdk:\n  memory_mib: lots\n\
         workers:\n  emc_entries: 1000\n  emc_entries: 1024\n\
         bridges:\n\
         - name: br0\n  mac_ageing_s: 5\n  ports:\n  \
         - name: p1\n    type: tab\n    mtu: 70000\n  \
         - name: p1\n    type: tap\n    vlan: {access: 5000}\n  \
         - name: p3\n    type: dpdk\n  \
         ipfix:\n    collector: 192.0.2.1\n    idle_timeout_ms: 90000\n\
         metrics:\n  listen: everywhere\n\
         colour: blue\n",
        &[
            "t.yaml:2: switch.nmae: there is no such key; did you mean name?",
            "t.yaml:3: switch.log_level: \"loud\" is wrong; allowed: off, error, warn, info, debug or trace",
            "t.yaml:5: dpdk.memory_mib: \"lots\" is wrong; allowed: auto, or a whole number from 64 to 1048576",
            "t.yaml:7: workers.emc_entries: 1000 is wrong; allowed: a power of two from 1024 to 4194304",
            "t.yaml:8: workers.emc_entries: is given twice, first on line 7; allowed: once",
            "t.yaml:11: bridges[0].mac_ageing_s: 5 is wrong; allowed: a whole number from 15 to 3600",
            "t.yaml:14: bridges[0].ports[0].type: \"tab\" is wrong; allowed: tap, null, pcap, dpdk, af-packet, af-xdp, ring, memif, vhost-user, virtio-user or patch",
            "t.yaml:15: bridges[0].ports[0].mtu: 70000 is wrong; allowed: a whole number from 68 to 9000",
            "t.yaml:16: bridges[0].ports[1].name: p1 is taken by bridges[0].ports[0].name; allowed: one that is not",
            "t.yaml:18: bridges[0].ports[1].vlan.access: 5000 is wrong; allowed: a whole number from 1 to 4094",
            "t.yaml:19: bridges[0].ports[2].devargs: is missing; allowed: a PCI address or a virtual device with its arguments, without spaces",
            "t.yaml:22: bridges[0].ipfix.collector: \"192.0.2.1\" is wrong; allowed: udp: with IP address and port, such as udp:192.0.2.1:4739 or udp:[2001:db8::1]:4739",
            "t.yaml:23: bridges[0].ipfix.idle_timeout_ms: can't be together with active_timeout_ms: 60000; allowed: an idle timeout of at most the active one",
            "t.yaml:25: metrics.listen: \"everywhere\" is wrong; allowed: off, or an IP address and port such as 127.0.0.1:10475 or [::1]:10475",
            "t.yaml:26: colour: there is no such key; allowed: switch, dpdk, workers, bridges, metrics, control",
        ],
    );
}

#[test]
fn the_list_of_faults_is_bounded_and_says_so() {
    let text: String = (0..1000).map(|index| format!("key{index}: 1\n")).collect();
    let faults = parse("t.yaml", &text).unwrap_err();
    assert_eq!(faults.list().len(), FAULTS_MAX);
    assert!(faults.is_cut());
    assert!(faults.to_string().ends_with("\nt.yaml: more may be wrong: only 50 faults are listed"));
}

#[test]
fn what_the_file_says_cannot_forge_lines_or_steer_the_terminal() {
    bad(
        &format!("\"a\\nb\\e[31m\": 1\nbridges: [{{name: \"x\\ny\", mac: \"{}\"}}]\n", "z".repeat(100)),
        &[
            "t.yaml:1: a�b�[31m: there is no such key; allowed: switch, dpdk, workers, bridges, metrics, control",
            "t.yaml:2: bridges[0].name: \"x\\ny\" is wrong; allowed: 1 to 15 of a-z A-Z 0-9 - _ . beginning with a letter, no OpenFlow port's name",
            "t.yaml:2: bridges[0].mac: \"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz... is wrong; allowed: a unicast address such as 02:00:00:00:00:01",
        ],
    );
    bad(
        "bridges: [{name: \"a`, expected `b\", \"c`, expected `d\": 1}]\n",
        &[
            "t.yaml:1: bridges[0].name: \"a`, expected `b\" is wrong; allowed: 1 to 15 of a-z A-Z 0-9 - _ . beginning with a letter, no OpenFlow port's name",
            "t.yaml:1: bridges[0].c`, expected `d: there is no such key; allowed: name, datapath_id, mac, mac_ageing_s, mac_table_size, internal_port, forward_bpdu, fragments, controller_rate_limit, meters, groups, rules, rules_file, ports, mirrors, openflow, ipfix",
        ],
    );
}

#[test]
fn files_are_bounded_regular_and_utf_8() {
    let directory = TempDir::new().unwrap();
    let unreadable = |name: &str, reason: &str| {
        format!("{name}: can't be read: {reason}; allowed: a regular file in UTF-8")
    };
    let none = unreadable("DIR/none.yaml", "No such file or directory (os error 2)");
    assert_eq!(told(&directory, &directory.path().join("none.yaml")), none);
    assert_eq!(told(&directory, directory.path()), unreadable("DIR", "it is not a regular file"));
    assert_eq!(told(&directory, Path::new("/dev/zero")), unreadable("/dev/zero", "it is not a regular file"));
    let large = write(&directory, "large.yaml", vec![b'#'; FILE_SIZE_MAX + 1]);
    assert_eq!(
        told(&directory, &large),
        "DIR/large.yaml: is too large; allowed: a file of at most 1048576 bytes"
    );
    let latin1 = write(&directory, "latin1.yaml", b"switch:\n  name: caf\xe9\n");
    assert_eq!(told(&directory, &latin1), unreadable("DIR/latin1.yaml", "line 2 is not UTF-8"));
    load(&write(&directory, "crlf.yaml", b"\xef\xbb\xbfbridges:\r\n- name: br0\r\n")).unwrap();
    let fits = [b"bridges: [{name: br0}]\n".to_vec(), vec![b'#'; FILE_SIZE_MAX - 23]].concat();
    load(&write(&directory, "fits.yaml", fits)).unwrap();
}

/// Random edits of good files and of the corpus: every one is read to the end, and refused with a reason or taken.
#[test]
fn mutated_files_never_panic() {
    let mut seeds: Vec<Vec<u8>> = yaml_files(repository().join("conf"))
        .into_iter()
        .chain(corpus())
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    seeds.sort();
    for seed in 0..400 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bytes = seeds[random.usize(..seeds.len())].clone();
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..=bytes.len());
            match random.u8(..4) {
                0 if at < bytes.len() => bytes[at] = random.u8(..),
                1 => bytes.insert(at, *random.choice(b"[]{}:,-&*!#|>'\"\n \t0a~").unwrap()),
                2 => bytes.truncate(at),
                _ => {
                    let end = random.usize(at..=bytes.len().min(at + 40));
                    let piece = bytes[at..end].to_vec();
                    bytes.extend(piece);
                }
            }
        }
        let run = std::panic::catch_unwind(|| fuzz_config(&bytes));
        assert!(run.is_ok(), "seed {seed}: {:?}", String::from_utf8_lossy(&bytes));
    }
}

fn corpus() -> Vec<PathBuf> {
    let directory = repository().join("tests/fuzz/corpus/config");
    std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn the_fuzz_corpus_is_read_without_a_panic() {
    let files = corpus();
    assert!(files.len() >= 24, "{}", files.len());
    for file in files {
        fuzz_config(&std::fs::read(file).unwrap());
    }
}

/// Files that make a careless reader take quadratic time or memory, or recurse until the stack ends: with any of
/// these faults this test would not come back.
#[test]
fn files_built_to_be_slow_are_read_to_their_end() {
    let size = 1 << 16;
    let fill = |piece: &str| piece.repeat(size / piece.len());
    for text in [
        fill("["),
        fill("{"),
        format!("bridges: {}", fill("[")),
        fill("- "),
        fill("? "),
        fill(": "),
        fill("\""),
        fill("!"),
        fill("%a\n"),
        fill("---\n"),
        format!("bridges: [{}]", fill("~,")),
        format!("bridges: [{{ports: [{}]}}]", fill("1,")),
        format!("bridges: [{{ports: [{{vlan: {{trunk: [{}]}}}}]}}]", fill("x,")),
        format!("bridges: [{{name: br0, rules: [{}]}}]", fill("actions=fly,")),
        format!("a: |\n{}", fill(" x\n")),
        format!("a: x\n{}", fill(" x\n")),
        format!("a: \"{}\"", fill(" ")),
        format!("{}: {{{}}}", "k".repeat(250), fill("x: 1,")),
    ] {
        fuzz_config(text.as_bytes());
    }
}

/// The kinds of the ports of one bridge.
fn kinds(ports: &str) -> Vec<NetdevKind> {
    let config = good(&format!("bridges: [{{name: br0, ports: [{ports}]}}]"));
    config.bridges[0].ports.iter().map(|port| port.netdev.kind.clone()).collect()
}

#[test]
fn each_type_of_port_has_words_and_defaults_of_its_own() {
    let (server, client) = (SocketRole::Server, SocketRole::Client);
    let memif = |role, id, secret: Option<&str>| NetdevKind::Memif {
        role,
        socket: "/m".into(),
        id,
        secret: secret.map(str::to_owned),
    };
    assert_eq!(
        kinds(
            "{name: a, type: af-packet, interface: eth1}, {name: b, type: af-xdp, interface: eth2}, \
             {name: c, type: af-xdp, interface: eth2, start_queue: 1, rx_queues: 2}, \
             {name: d, type: vhost-user, socket: /v}, {name: e, type: vhost-user, socket: /w, mode: client}, \
             {name: f, type: virtio-user, socket: /x}, {name: g, type: virtio-user, interface: tap7}, \
             {name: h, type: memif, socket: /m}, \
             {name: i, type: memif, socket: /m, role: client, id: 4294967295, secret: abc}, \
             {name: j, type: ring}, {name: k, type: ring, peer: l}, {name: l, type: ring, peer: k}"
        ),
        [
            NetdevKind::AfPacket { interface: "eth1".into() },
            NetdevKind::AfXdp { interface: "eth2".into(), start_queue: 0 },
            NetdevKind::AfXdp { interface: "eth2".into(), start_queue: 1 },
            NetdevKind::VhostUser { mode: server, socket: "/v".into() },
            NetdevKind::VhostUser { mode: client, socket: "/w".into() },
            NetdevKind::VirtioUser { backend: VirtioBackend::Socket("/x".into()) },
            NetdevKind::VirtioUser { backend: VirtioBackend::Kernel("tap7".into()) },
            memif(server, 0, None),
            memif(client, u32::MAX, Some("abc")),
            NetdevKind::Ring { peer: None },
            NetdevKind::Ring { peer: Some("l".into()) },
            NetdevKind::Ring { peer: Some("k".into()) },
        ]
    );
    let config =
        good("bridges: [{name: br0, ports: [{name: a, type: ring, admin: down}, {name: b, type: ring}]}]");
    assert_eq!(
        config.bridges[0].ports.iter().map(|port| !port.settings.flags.down).collect::<Vec<_>>(),
        [false, true]
    );
}

#[test]
fn what_a_port_of_shared_memory_or_of_an_interface_lacks_is_told() {
    let bad_ports = |ports: &str, expected: &[&str]| {
        let expected: Vec<_> =
            expected.iter().map(|line| format!("t.yaml:2: bridges[0].ports{line}")).collect();
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        bad(&format!("bridges:\n- {{name: br0, ports: [{ports}]}}"), &expected);
    };
    bad_ports(
        "{name: a, type: af-packet}, {name: b, type: memif}, {name: c, type: virtio-user}, {name: d, type: vhost-user, socket: v}",
        &[
            "[3].socket: \"v\" is wrong; allowed: an absolute path of at most 107 bytes, without , = [ ] ' \"",
            "[0].interface: is missing; allowed: the name of an interface of the host",
            "[1].socket: is missing; allowed: an absolute path of at most 107 bytes, without , = [ ] ' \"",
            "[2].socket: is missing; allowed: the path of a vhost-user socket, or else an interface",
        ],
    );
    bad_ports(
        "{name: a, type: memif, socket: /m}, {name: b, type: memif, socket: /m}, \
         {name: c, type: virtio-user, socket: /x, interface: t, rx_queues: 9}, \
         {name: d, type: vhost-user, socket: /x, role: client}",
        &[
            "[1].id: memif 0 of socket /m is taken by bridges[0].ports[0].id; allowed: one that is not",
            "[2].rx_queues: 9 is wrong; allowed: 1 to 8 in ports of type virtio-user",
            "[2].interface: can't be together with socket; allowed: socket (of another process) or interface (of the kernel)",
            "[3].role: can't be together with type: vhost-user; allowed: in ports of type memif",
            "[3].socket: socket /x is taken by bridges[0].ports[2].socket; allowed: one that is not",
        ],
    );
}

#[test]
fn a_wire_has_two_ends_that_name_each_other() {
    let wrong = |found: &str, peer_of: &str| {
        format!(
            "{found} is wrong; allowed: another port of type ring, with as many rx_queues, whose peer is {peer_of}"
        )
    };
    for (ports, expected) in [
        ("{name: a, type: ring, peer: b}, {name: b, type: ring}", vec![(0, "\"b\"", "a")]),
        ("{name: a, type: ring, peer: a}", vec![(0, "\"a\"", "a")]),
        ("{name: a, type: ring, peer: b}, {name: b, type: 'null'}", vec![(0, "\"b\"", "a")]),
        (
            "{name: a, type: ring, peer: b}, {name: b, type: ring, peer: a, rx_queues: 2}",
            vec![(0, "\"b\"", "a"), (1, "\"a\"", "b")],
        ),
    ] {
        let line = |(index, found, peer_of): (usize, &str, &str)| {
            format!("t.yaml:2: bridges[0].ports[{index}].peer: {}", wrong(found, peer_of))
        };
        let expected: Vec<_> = expected.into_iter().map(line).collect();
        let expected: Vec<_> = expected.iter().map(String::as_str).collect();
        bad(&format!("bridges:\n- {{name: br0, ports: [{ports}]}}"), &expected);
    }
}
/// A configuration with one bridge, `br0`, that has these keys beside a port `a`.
fn bridge_with(keys: &str) -> String {
    format!("bridges:\n- name: br0\n  ports: [{{name: a, type: dummy}}, {{name: b, type: dummy}}]\n{keys}")
}

fn faults_of(text: &str) -> Vec<String> {
    parse("t.yaml", text).expect_err(text).to_string().lines().map(str::to_owned).collect()
}

#[test]
fn groups_and_meters_are_there_before_what_names_them() {
    let config = good(&bridge_with(
        "  meters: ['meter=1,kbps,bands=type=drop,rate=5']\n  \
           groups: ['group_id=9,type=all,bucket=group:3', 'group_id=3,type=ff,bucket=watch_group:4,output:a', \
                    'group_id=4,type=all,bucket=output:b']\n  \
           rules: ['actions=meter:1,group:9', 'table=1,actions=clone(group:3),write_actions(group:4)']\n",
    ));
    let bridge = &config.bridges[0];
    let order: Vec<u32> = bridge.groups.iter().map(|group| group.group).collect();
    assert_eq!(order, [4, 3, 9], "each behind those that it names");
    assert_eq!((bridge.meters.len(), bridge.rules.len()), (1, 2));
    for (keys, fault) in [
        (
            "  groups: ['group_id=1,type=all,bucket=group:2']\n",
            "t.yaml:4: bridges[0].groups[0]: group 2, which is not there, is wrong; allowed: the numbers of groups of \
             the bridge",
        ),
        (
            "  groups: ['group_id=1,type=all,bucket=group:2', 'group_id=2,type=all,bucket=group:1']\n",
            "t.yaml:4: bridges[0].groups[0]: a bucket leads back to the group itself, through one group or several",
        ),
        (
            "  groups: ['group_id=1,type=all', 'group_id=1,type=all']\n",
            "t.yaml:4: bridges[0].groups[1]: group 1 is taken by bridges[0].groups[0]; allowed: one that is not",
        ),
        (
            "  groups: ['group_id=1,type=some']\n",
            "t.yaml:4: bridges[0].groups[0]: byte 16: `type` takes all, select, indirect or fast_failover (ff); found \
             `some`",
        ),
        (
            "  meters: ['meter=1,kbps']\n",
            "t.yaml:4: bridges[0].meters[0]: byte 12: what the meter does above which rate is missing; add \
             bands=type=drop,rate=RATE",
        ),
        (
            "  rules: ['actions=clone(group:7)']\n",
            "t.yaml:4: bridges[0].rules[0]: group 7, which is not there, is wrong; allowed: the numbers of groups and \
             meters of the bridge",
        ),
        (
            "  rules: ['actions=meter:7']\n",
            "t.yaml:4: bridges[0].rules[0]: meter 7, which is not there, is wrong; allowed: the numbers of groups and \
             meters of the bridge",
        ),
        (
            "  controller_rate_limit: {burst: 3}\n",
            "t.yaml:4: bridges[0].controller_rate_limit.pps: is missing; allowed: a whole number from 1 to 10000000",
        ),
    ] {
        assert_eq!(faults_of(&bridge_with(keys)), [fault], "{keys}");
    }
}

#[test]
fn mirrors_copy_between_ports_that_are_there() {
    let config = good(&bridge_with(
        "  forward_bpdu: true\n  fragments: nx-match\n  controller_rate_limit: {pps: 10}\n  mirrors:\n  \
           - {name: m, select_src_port: [a, br0], select_vlan: [0, 5], output_port: b, snaplen: 100}\n  \
           - {name: n, select_all: true, output_vlan: 7}\n",
    ));
    let bridge = &config.bridges[0];
    assert_eq!(bridge.fragments, crate::ofproto::FragmentPolicy::NxMatch);
    assert!(bridge.forward_bpdu && !good(&bridge_with("")).bridges[0].forward_bpdu);
    let rate = bridge.controller_rate.unwrap();
    assert_eq!((rate.packets_per_s, rate.burst), (10, 10));
    let [m, n] = &bridge.mirrors[..] else { panic!("two mirrors") };
    assert_eq!(m.select_src_ports.iter().map(String::as_str).collect::<Vec<_>>(), ["a", "br0"]);
    assert_eq!(m.select_vlans, Some(VlanSet::from_iter([0, 5])));
    assert_eq!((&m.output, m.snaplen), (&MirrorOutput::Port("b".into()), 100));
    assert_eq!((&n.output, n.snaplen, n.select_all), (&MirrorOutput::Vlan(7), 0, true));
    let mirror = |keys: &str| bridge_with(&format!("  mirrors: [{{{keys}}}]\n"));
    for (keys, fault) in [
        (
            "select_all: true, output_vlan: 7",
            "mirrors[0].name: is missing; allowed: 1 to 32 of a-z A-Z 0-9 - _ .",
        ),
        (
            "name: m, output_vlan: 7",
            "mirrors[0].select_all: is missing; allowed: true, or one of select_src_port, select_dst_port and select_vlan",
        ),
        (
            "name: m, select_all: true",
            "mirrors[0].output_port: is missing; allowed: the name of a port of the bridge, or output_vlan in its place",
        ),
        (
            "name: m, select_all: true, output_port: c",
            "mirrors[0].output_port: \"c\" is wrong; allowed: the name of a port of the bridge",
        ),
        (
            "name: m, select_dst_port: [a, x], output_port: b",
            "mirrors[0].select_dst_port[1]: \"x\" is wrong; allowed: the name of a port of the bridge",
        ),
        (
            "name: m, select_src_port: [b], output_port: b",
            "mirrors[0].output_port: can't be together with the same port among those selected; allowed: a port for the \
             copies alone",
        ),
        (
            "name: m, select_all: true, output_port: a, output_vlan: 3",
            "mirrors[0].output_vlan: can't be together with output_port; allowed: one of the two",
        ),
    ] {
        assert_eq!(faults_of(&mirror(keys)), [format!("t.yaml:4: bridges[0].{fault}")], "{keys}");
    }
}

#[test]
fn a_patch_has_two_ends_that_know_each_other() {
    let patch = |ports: &str| {
        format!(
            "bridges:\n- {{name: br0, ports: [{ports}]}}\n- {{name: br1, ports: [{{name: z, type: patch, peer: y}}]}}\n"
        )
    };
    let config = good(&patch("{name: y, type: patch, peer: z, vlan: {access: 5}}"));
    assert_eq!(config.bridges[0].ports[0].netdev.kind, NetdevKind::Patch { peer: "z".into() });
    let peer = |index: &str, found: &str, name: &str| {
        format!(
            "{index}: \"{found}\" is wrong; allowed: the name of another port of type patch, whose peer is \"{name}\""
        )
    };
    let z_fault = peer("t.yaml:3: bridges[1].ports[0].peer", "y", "z");
    assert_eq!(faults_of(&patch("{name: y, type: dummy}")), std::slice::from_ref(&z_fault));
    let y_fault = peer("t.yaml:2: bridges[0].ports[0].peer", "y", "y");
    assert_eq!(faults_of(&patch("{name: y, type: patch, peer: y}")), [y_fault, z_fault.clone()]);
    let fault = &faults_of(&patch("{name: y, type: patch, peer: z, mtu: 1500}"))[0];
    assert_eq!(
        fault,
        "t.yaml:2: bridges[0].ports[0].mtu: can't be together with type: patch; allowed: in ports with a device"
    );
    assert!(faults_of(&patch("{name: y, type: patch}"))[0].contains("peer: is missing"));
    assert!(faults_of(&patch("{name: y, type: tap, peer: z}"))[0].contains("in ports of type ring or patch"));
}

#[test]
fn a_port_is_set_up_in_the_words_of_open_vswitch_too() {
    let port = |keys: &str| format!("bridges: [{{name: br0, ports: [{{name: a, type: dummy{keys}}}]}}]");
    let settings = |keys: &str| good(&port(keys)).bridges[0].ports[0].settings.clone();
    let vlan = |keys: &str| settings(&format!(", vlan: {{{keys}}}")).vlan;
    let list = |vlans: &[u16]| VlanSet::from_iter(vlans.iter().copied());
    assert_eq!(vlan("tag: 5"), VlanMode::Access { tag: 5 });
    assert_eq!(vlan("mode: access, tag: 5"), vlan("access: 5"));
    assert_eq!(vlan("trunks: [0, 7]"), VlanMode::Trunk { allowed: list(&[0, 7]) });
    assert_eq!(vlan("mode: trunk, trunks: [7]"), vlan("trunk: [7]"));
    assert_eq!(vlan("mode: native-untagged, tag: 3, trunks: [7]"), vlan("trunk: [7], native: 3"));
    assert_eq!(
        vlan("mode: native-tagged, tag: 3"),
        VlanMode::NativeTagged { tag: 3, allowed: VlanSet::all() }
    );
    let tunnel = VlanMode::Dot1qTunnel { tag: 3, customer: list(&[0, 9]) };
    assert_eq!(vlan("mode: dot1q-tunnel, tag: 3, cvlans: [0, 9]"), tunnel);
    let all = settings(
        ", admin: down, disable: [receive, receive-stp, flood, forward, packet-in], stp: learning, \
                        protected: true, priority_tags: if-nonzero",
    );
    let flags = crate::ofproto::PortFlags {
        down: true,
        no_receive: true,
        no_receive_stp: true,
        no_flood: true,
        no_forward: true,
        no_packet_in: true,
    };
    assert_eq!((all.flags, all.stp), (flags, crate::ofproto::StpState::Learning));
    assert_eq!((all.protected, all.priority_tags), (true, crate::ofproto::PriorityTags::IfNonzero));
    assert_eq!(
        settings(""),
        crate::ofproto::PortConfig { number: Some(OfPort(1)), ..crate::ofproto::PortConfig::new("a") }
    );
    for (keys, fault) in [
        (
            "mode: trunk, tag: 3",
            "tag: can't be together with mode: trunk; allowed: tag in all modes but trunk, trunks in trunk and native \
             modes, cvlans in dot1q-tunnel",
        ),
        ("mode: dot1q-tunnel", "tag: is missing; allowed: a VLAN id from 1 to 4094"),
        (
            "mode: access, tag: 3, access: 3",
            "access: can't be together with mode, tag, trunks or cvlans; allowed: access, trunk and native alone",
        ),
        ("trunks: []", "trunks: an empty list is wrong; allowed: all, or a list of VLAN ids from 0 to 4095"),
        (
            "mode: nonsense",
            "mode: \"nonsense\" is wrong; allowed: access, trunk, native-tagged, native-untagged or dot1q-tunnel",
        ),
    ] {
        let found = faults_of(&port(&format!(", vlan: {{{keys}}}")));
        assert_eq!(found, [format!("t.yaml:1: bridges[0].ports[0].vlan.{fault}")], "{keys}");
    }
    assert!(faults_of(&port(", disable: [flood, flood]"))[0].contains("flood is taken by"));
    assert!(
        faults_of(&port(", stp: off"))[0].contains("forwarding, learning, listening, blocking or disabled")
    );
}

#[test]
fn openflow_connections_are_read_and_checked() {
    let with =
        |openflow: &str| format!("bridges:\n- name: br0\n  internal_port: false\n  openflow: {openflow}\n");
    let config = good(&with("{}"));
    assert_eq!(config.bridges[0].openflow, OpenFlowConfig::default());
    assert_eq!(config.bridges[0].rules.len(), 1, "without a controller it forwards by itself");
    let config = good(&with(
        "{versions: [OpenFlow13], controllers: ['tcp:192.0.2.1'], listen: [ptcp], fail_mode: secure, probe_interval_s: 0, rate_limit: {pps: 9}}",
    ));
    let openflow = &config.bridges[0].openflow;
    assert_eq!(openflow.versions, VersionSet::of(&[Version::V13]));
    assert_eq!(openflow.controllers[0].to_string(), "tcp:192.0.2.1:6653");
    assert_eq!((openflow.fail_mode, openflow.probe_interval), (FailMode::Secure, None));
    assert_eq!(openflow.rate_limit, Some(ControllerRate { packets_per_s: 9, burst: 9 }));
    assert!(config.bridges[0].rules.is_empty(), "a controller makes the rules");
    let faults = [
        "t.yaml:4: bridges[0].openflow.rate_limit.pps: is missing; allowed: a whole number from 1 to 10000000",
    ];
    bad(&with("{rate_limit: {burst: 3}}"), &faults);
    bad(
        &with("{controllers: ['tls:192.0.2.1', 'tcp:host', 'tls:192.0.2.1:6653'], tls: ~}"),
        &[
            "t.yaml:4: bridges[0].openflow.controllers[1]: \"tcp:host\" is wrong; allowed: tcp:ADDRESS[:PORT], tls:ADDRESS[:PORT] or unix:/PATH, where ADDRESS is an IP address (IPv6 in brackets) and PORT 6653 if it is left out",
            "t.yaml:4: bridges[0].openflow.controllers[2]: tls:192.0.2.1:6653 is taken by bridges[0].openflow.controllers[0]; allowed: one that is not",
            "t.yaml:4: bridges[0].openflow.tls: is missing; allowed: certificate, private_key and ca_certificate, for the connections by tls: or ptls:",
        ],
    );
}
