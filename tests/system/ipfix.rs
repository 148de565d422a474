//! IPFIX into collectors that are not ours.

use crate::lab::{Background, Host, Lab, output, run, wait_for};
use crate::switch::{Recipe, Switch, number, ports, wait_for_count};
use nix::sys::signal::Signal;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

const PORT: u16 = 4739;
const COLLECTOR: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, PORT);

/// Timeouts that a test can wait for.
const IPFIX: &str = "    ipfix: {collector: 'udp:127.0.0.1:4739', observation_domain_id: 42, idle_timeout_ms: 300, \
                     active_timeout_ms: 1000}\n";

fn recipe(ipfix: &str) -> Recipe {
    let ports = ["{name: a, type: tap, number: 1}", "{name: b, type: tap, number: 2}"];
    Recipe::new(crate::switch::bridge(&ports, &[]) + ipfix)
}

fn two_hosts(lab: &Lab) -> (Host, Host) {
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    a.knows(b.address, &b.mac());
    b.knows(a.address, &a.mac());
    (a, b)
}

/// A running `nfcapd`.
struct Nfcapd {
    process: Background,
    directory: PathBuf,
}

impl Nfcapd {
    fn start(lab: &Lab) -> Nfcapd {
        let directory = lab.path("nfcapd");
        fs::create_dir_all(&directory).expect("the lab's directory can be written");
        let log = File::create(lab.path("nfcapd.log")).expect("a log file");
        let mut command = lab.namespace.command("nfcapd");
        command.args(["-b", "127.0.0.1", "-p", &PORT.to_string(), "-w"]).arg(&directory).args(["-t", "3600"]);
        let process = Background::start(command.stdout(log.try_clone().expect("a descriptor")).stderr(log));
        wait_for("nfcapd to listen", || lab.namespace.has_udp_port(PORT).then_some(()));
        Nfcapd { process, directory }
    }

    /// Ends it; returns the flows that it has, as nfdump reads them.
    fn end(self) -> Vec<serde_json::Value> {
        self.process.end(Signal::SIGTERM);
        let text = run(Command::new("nfdump").arg("-R").arg(&self.directory).args(["-o", "json"]));
        let flows: serde_json::Value = serde_json::from_str(&text).expect("nfdump writes JSON");
        flows.as_array().expect("a list of flows").clone()
    }
}

/// Packets and octets of all flows that satisfy `is_wanted`.
fn totals(flows: &[serde_json::Value], is_wanted: impl Fn(&serde_json::Value) -> bool) -> (u64, u64) {
    let wanted = flows.iter().filter(|flow| is_wanted(flow));
    wanted.fold((0, 0), |(packets, octets), flow| {
        (packets + number(&flow["in_packets"]), octets + number(&flow["in_bytes"]))
    })
}

/// Waits until all that was received has been exported; returns packets and octets exported.
#[track_caller]
fn wait_for_export(switch: &Switch) -> (u64, u64) {
    let exporter = || switch.json(&["ipfix"])["exporters"][0].clone();
    wait_for("all flows to be exported", || {
        let received: u64 =
            ports(&switch.json(&["dump-ports"])).iter().map(|port| number(&port["rx_packets"])).sum();
        let exporter = exporter();
        assert_eq!(exporter["records_lost"], 0, "{exporter}");
        (number(&exporter["packets"]) == received && number(&exporter["cache_records"]) == 0).then_some(())
    });
    let exporter = exporter();
    (number(&exporter["packets"]), number(&exporter["octets"]))
}

/// Sends flows of known sizes: flow number n, from 1 on, has 10 n datagrams of 10 n bytes to port 5000 + n. Each
/// datagram is awaited at the other side.
fn send_flows(a: &Host, b: &Host, count: u16) {
    for flow in 1..=count {
        let to = b.udp_socket(5000 + flow);
        let from = a.udp_socket(6000 + flow);
        let data = vec![flow as u8; usize::from(flow) * 10];
        let mut buffer = [0; 2048];
        for _ in 0..flow * 10 {
            from.send_to(&data, SocketAddr::new(b.address, 5000 + flow)).expect("a datagram is sent");
            to.recv(&mut buffer).expect("it arrives");
        }
    }
}

/// Packets and octets, IP headers included, of flow `flow` of [`send_flows`].
fn flow_totals(flow: u64) -> (u64, u64) {
    (10 * flow, 10 * flow * (20 + 8 + 10 * flow))
}

#[track_caller]
fn assert_flows(flows: &[serde_json::Value], count: u64) {
    for flow in 1..=count {
        let of_flow = |record: &serde_json::Value| {
            record["dst_port"] == 5000 + flow && record["src_port"] == 6000 + flow && record["proto"] == 17
        };
        assert_eq!(totals(flows, of_flow), flow_totals(flow), "flow {flow} in {flows:?}");
    }
}

#[test]
fn nfcapd_collects_exactly_what_was_sent() {
    let lab = Lab::new();
    let collector = Nfcapd::start(&lab);
    let switch = Switch::start(&lab, &recipe(IPFIX));
    let (a, b) = two_hosts(&lab);
    send_flows(&a, &b, 8);
    a.pings(b.address, 7);
    let exported = wait_for_export(&switch);
    assert_eq!(switch.json(&["ipfix"])["exporters"][0]["state"], "up");
    switch.stop();
    let flows = collector.end();
    assert_eq!(totals(&flows, |_| true), exported);
    assert_flows(&flows, 8);
    let pings =
        |from: &'static str| totals(&flows, move |flow| flow["proto"] == 1 && flow["src4_addr"] == from);
    assert_eq!((pings("198.18.0.1"), pings("198.18.0.2")), ((7, 7 * 84), (7, 7 * 84)), "{flows:?}");
    for flow in flows.iter().filter(|flow| flow["proto"] == 17) {
        assert_eq!((&flow["src4_addr"], &flow["dst4_addr"]), (&"198.18.0.1".into(), &"198.18.0.2".into()));
        assert_eq!((number(&flow["input_snmp"]), number(&flow["output_snmp"])), (1, 2));
    }
}

#[test]
fn a_switch_that_stops_reports_the_flows_that_it_still_has() {
    let lab = Lab::new();
    let collector = Nfcapd::start(&lab);
    let patient = IPFIX.replace("300", "60000").replace("1000", "600000");
    let switch = Switch::start(&lab, &recipe(&patient));
    let (a, b) = two_hosts(&lab);
    send_flows(&a, &b, 3);
    // What was sent is with b, and so metered; no timeout is near.
    assert_eq!(number(&switch.json(&["ipfix"])["exporters"][0]["records"]), 0);
    switch.stop();
    assert_flows(&collector.end(), 3);
}

#[test]
fn a_collector_that_comes_late_gets_what_was_kept_for_it() {
    let lab = Lab::new();
    let switch = Switch::start(&lab, &recipe(IPFIX));
    let (a, b) = two_hosts(&lab);
    send_flows(&a, &b, 3);
    wait_for("the exporter to say that it fails", || {
        (switch.json(&["ipfix"])["exporters"][0]["state"] == "failing").then_some(())
    });
    let exporter = switch.json(&["ipfix"])["exporters"][0].clone();
    assert!(exporter["last_error"].as_str().is_some_and(|error| error.contains("refused")), "{exporter}");
    a.pings(b.address, 3);
    assert_eq!(switch.log().matches("collector is unreachable").count(), 1, "{}", switch.log());

    let collector = Nfcapd::start(&lab);
    wait_for("the exporter to be up", || {
        (switch.json(&["ipfix"])["exporters"][0]["state"] == "up").then_some(())
    });
    let exported = wait_for_export(&switch);
    switch.stop();
    let flows = collector.end();
    assert_flows(&flows, 3);
    assert_eq!(totals(&flows, |_| true), exported);
}

/// Sums a field of all IPFIX records that tshark decodes.
fn tshark_sum(capture: &std::path::Path, field: &str) -> u64 {
    let text = run(tshark(capture).args(["-T", "fields", "-e", field]));
    let values = text.split([',', '\n', '\t']).filter(|value| !value.is_empty());
    values.map(|value| value.parse::<u64>().expect("a count")).sum()
}

fn tshark(capture: &std::path::Path) -> Command {
    let mut command = Command::new("tshark");
    command.arg("-n").arg("-r").arg(capture).args(["-d", "udp.port==4739,cflow"]);
    command
}

#[test]
fn tshark_decodes_every_message_without_a_complaint() {
    let lab = Lab::new();
    let capture = lab.path("ipfix.pcap");
    let log = lab.path("tcpdump.log");
    let mut command = lab.namespace.command("tcpdump");
    command
        .args(["-i", "lo", "-U", "--immediate-mode", "-w"])
        .arg(&capture)
        .args(["udp", "dst", "port", "4739"]);
    let tcpdump = Background::start(command.stderr(File::create(&log).expect("a log file")));
    wait_for("tcpdump to listen", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("listening on")).then_some(())
    });
    // Nobody reads it: its queue overflows in silence, as a collector's does.
    let collector = lab.namespace.udp(COLLECTOR.into());
    let switch = Switch::start(&lab, &recipe(IPFIX));
    let (a, b) = two_hosts(&lab);
    send_flows(&a, &b, 5);
    a.pings(b.address, 5);
    a.packets().send(&[0x33; 60]).expect("the interface is up");
    wait_for_count("packets received of a", 10 * 15 + 5 + 1, || number(&switch.port("a")["rx_packets"]));
    let exported = wait_for_export(&switch);
    let messages = number(&switch.json(&["ipfix"])["exporters"][0]["messages"]);
    switch.stop();
    wait_for("tcpdump to write the messages", || {
        (run(tshark(&capture).args(["-T", "fields", "-e", "frame.number"])).lines().count() as u64
            >= messages)
            .then_some(())
    });
    drop(collector);
    tcpdump.end(Signal::SIGINT);

    let complaints = "_ws.malformed || _ws.expert.severity >= \"Warning\" || !cflow";
    let complaints = output(tshark(&capture).args(["-Y", complaints, "-V"]));
    assert!(complaints.status.success(), "{}", String::from_utf8_lossy(&complaints.stderr));
    let text = String::from_utf8_lossy(&complaints.stdout);
    assert!(text.is_empty(), "{text}");
    let without_template = run(tshark(&capture)
        .args(["-Y", "cflow.template_frame == 0 || cflow.no_template_found"])
        .args(["-V"])
        .env("LC_ALL", "C"));
    assert!(without_template.is_empty(), "{without_template}");
    assert_eq!((tshark_sum(&capture, "cflow.packets"), tshark_sum(&capture, "cflow.octets")), exported);
}
