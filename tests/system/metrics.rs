//! What Prometheus sees.

use crate::lab::{Lab, Namespace, wait_for};
use crate::switch::{Recipe, Switch, bridge, number, ports};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

/// Where a switch serves them by default, in its namespace.
pub(crate) const METRICS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 10475);

/// Scrapes the switch; returns head and body.
pub(crate) fn scrape(namespace: &Namespace, address: SocketAddr) -> (String, String) {
    let mut stream = namespace.tcp_connect(address).expect("the switch serves metrics");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// The value of a sample without labels, or with these.
pub(crate) fn sample(body: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let line = body.lines().find(|line| {
        line.strip_prefix(name).is_some_and(|rest| {
            rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label))
        })
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

fn recipe() -> Recipe {
    let mut recipe = Recipe::new("");
    recipe.body = bridge(&["{name: a, type: tap}", "{name: b, type: tap}"], &[]);
    recipe.body += "    ipfix: {collector: 'udp:127.0.0.1:4739'}\n";
    recipe
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    let lab = Lab::new();
    let switch = Switch::start(&lab, &recipe());
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    a.pings(b.address, 5);
    let (head, body) = scrape(&lab.namespace, METRICS.into());
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/plain; version=0.0.4"), "{head}");
    let mut command = std::process::Command::new("promtool");
    let promtool = command
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut promtool = promtool.spawn().expect("promtool is there: scripts/setup installs it");
    promtool.stdin.take().expect("a pipe").write_all(body.as_bytes()).expect("it reads");
    let output = promtool.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
    switch.stop();
}

#[test]
fn a_free_port_is_taken_and_told() {
    let lab = Lab::new();
    let mut recipe = Recipe::new("");
    recipe.body = format!("{}metrics: {{listen: '127.0.0.1:0'}}\n", bridge(&["{name: a, type: tap}"], &[]));
    let switch = Switch::start(&lab, &recipe);
    let log = switch.log();
    let (_, rest) = log.split_once("metrics at http://").expect("the log says where metrics are");
    let (address, _) = rest.split_once("/metrics").expect("a whole address");
    let (head, _) = scrape(&lab.namespace, address.parse().expect("an address"));
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    switch.stop();
}

#[test]
fn metrics_and_penstockctl_count_the_same() {
    let lab = Lab::new();
    let switch = Switch::start(&lab, &recipe());
    let a = lab.host("a", "198.18.0.1/24");
    let b = lab.host("b", "198.18.0.2/24");
    a.knows(b.address, &b.mac());
    b.knows(a.address, &a.mac());
    a.pings(b.address, 20);
    switch.assert_conserved();
    let dump = switch.json(&["dump-ports"]);
    let (_, body) = scrape(&lab.namespace, METRICS.into());
    let others = dump["others"].as_array().expect("a list");
    assert_eq!(others.len(), 2);
    for port in ports(&dump).iter().chain(others) {
        let labels = format!("port=\"{}\"", port["name"].as_str().expect("a name"));
        for (metric, counter) in [
            ("penstock_port_rx_packets_total", "rx_packets"),
            ("penstock_port_rx_bytes_total", "rx_bytes"),
            ("penstock_port_tx_packets_total", "tx_packets"),
            ("penstock_port_tx_bytes_total", "tx_bytes"),
            ("penstock_port_consumed_packets_total", "consumed"),
            ("penstock_port_copied_packets_total", "copies"),
            ("penstock_port_made_packets_total", "made"),
            ("penstock_port_forwarded_packets_total", "forwarded"),
        ] {
            assert_eq!(
                sample(&body, metric, &[&labels]),
                Some(number(&port[counter]) as f64),
                "{metric} {labels}"
            );
        }
    }
    assert_eq!(
        sample(&body, "penstock_worker_upcalls_total", &[]),
        Some(switch.workers_sum("upcalls") as f64)
    );
    assert_eq!(sample(&body, "penstock_bridge_rules", &["bridge=\"br0\""]), Some(1.0));
    assert_eq!(sample(&body, "penstock_hugepages", &[]), Some(0.0));
    assert_eq!(sample(&body, "penstock_port_up", &["port=\"a\""]), Some(1.0));
    switch.stop();
}

#[test]
fn bad_requests_on_the_metrics_port_harm_nobody() {
    let lab = Lab::new();
    let mut switch = Switch::start(&lab, &recipe());
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..50 {
        let mut stream =
            lab.namespace.tcp_connect(SocketAddr::from(METRICS)).expect("the switch serves metrics");
        let mut bytes = vec![0; random.usize(1..3000)];
        random.fill(&mut bytes);
        if round % 2 == 0 {
            bytes.splice(..0, *b"GET /");
        }
        // It may hang up in the middle.
        let _ = stream.write_all(&bytes);
    }
    let scraped = wait_for("metrics after that", || {
        let (head, body) = scrape(&lab.namespace, METRICS.into());
        head.starts_with("HTTP/1.1 200 ").then_some(body)
    });
    assert!(sample(&scraped, "penstock_metrics_http_errors_total", &[]).is_some_and(|errors| errors > 0.0));
    assert!(switch.is_running());
    switch.stop();
}
