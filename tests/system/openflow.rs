//! OpenFlow on the wire, with `ovs-ofctl` and `ovs-testcontroller` as peers.

mod controllers;

use crate::lab::{Background, Host, Lab, output, run, skip, wait_for};
use crate::switch::{Recipe, Switch, run_dir};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

mod snoop;

const VERSIONS: [&str; 6] =
    ["OpenFlow10", "OpenFlow11", "OpenFlow12", "OpenFlow13", "OpenFlow14", "OpenFlow15"];

const PORTS: &str =
    "    ports:\n      - {name: a, type: tap, number: 1}\n      - {name: b, type: tap, number: 2}\n";

/// A switch with one bridge, whose OpenFlow settings are these.
fn switch(lab: &Lab, openflow: &str, rules: &str) -> Switch {
    let body = format!("bridges:\n  - name: br0\n    openflow: {openflow}\n    rules: {rules}\n{PORTS}");
    Switch::start(lab, &Recipe::new(body))
}

fn hosts(lab: &Lab) -> (Host, Host) {
    (lab.host("a", "198.18.0.1/24"), lab.host("b", "198.18.0.2/24"))
}

fn ofctl_output(lab: &Lab, version: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("ovs-ofctl");
    command.env("OVS_RUNDIR", run_dir(lab)).args(["--timeout=10", "-O", version]).args(arguments);
    output(&mut command)
}

#[track_caller]
pub(crate) fn ofctl(lab: &Lab, version: &str, arguments: &[&str]) -> String {
    let output = ofctl_output(lab, version, arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && !text.contains("OFPT_ERROR"),
        "{version} {arguments:?}: {text}{errors}"
    );
    text
}

#[test]
fn ovs_ofctl_programs_a_bridge_in_every_version() {
    let lab = Lab::new();
    let switch = switch(&lab, "{}", "['priority=0,actions=NORMAL']");
    let (a, b) = hosts(&lab);
    a.pings(b.address, 2);
    for version in VERSIONS {
        let shown = ofctl(&lab, version, &["show", "br0"]);
        assert!(
            shown.contains("n_tables:254") && shown.contains("1(a)") && shown.contains("LOCAL(br0)"),
            "{shown}"
        );
        ofctl(&lab, version, &["add-flow", "br0", "priority=9,icmp,actions=drop"]);
        a.does_not_reach(b.address);
        let flows = ofctl(&lab, version, &["dump-flows", "br0"]);
        assert!(flows.contains("priority=9,icmp actions=drop"), "{version}: {flows}");
        assert!(flows.contains("priority=0 actions=NORMAL"), "{version}: {flows}");
        ofctl(&lab, version, &["--strict", "mod-flows", "br0", "priority=9,icmp,actions=NORMAL"]);
        a.pings(b.address, 2);
        ofctl(&lab, version, &["del-flows", "br0", "icmp"]);
        let flows = ofctl(&lab, version, &["dump-flows", "br0"]);
        assert!(!flows.contains("icmp"), "{version}: {flows}");
        for dump in
            ["dump-tables", "dump-ports", "dump-ports-desc", "dump-desc", "dump-aggregate", "get-frags"]
        {
            ofctl(&lab, version, &[dump, "br0"]);
        }
    }
    switch.assert_conserved();
    switch.stop();
}

#[test]
fn groups_and_meters_are_made_told_of_and_deleted() {
    let lab = Lab::new();
    let switch = switch(&lab, "{}", "['priority=0,actions=NORMAL']");
    let (a, b) = hosts(&lab);
    for version in &VERSIONS[3..] {
        let group = "group_id=7,type=all,bucket=actions=NORMAL";
        ofctl(&lab, version, &["add-group", "br0", group]);
        ofctl(
            &lab,
            version,
            &["add-meter", "br0", "meter=3,pktps,burst,stats,bands=type=drop,rate=1000,burst_size=100"],
        );
        ofctl(&lab, version, &["add-flow", "br0", "priority=9,icmp,actions=meter:3,group:7"]);
        a.pings(b.address, 3);
        let groups = ofctl(&lab, version, &["dump-groups", "br0"]);
        assert!(groups.contains("group_id=7,type=all") && groups.contains("actions=NORMAL"), "{groups}");
        let stats = ofctl(&lab, version, &["dump-group-stats", "br0"]);
        assert!(
            stats.contains("group_id=7") && stats.contains("ref_count=1") && stats.contains("packet_count=6"),
            "{stats}"
        );
        let meters = ofctl(&lab, version, &["dump-meters", "br0"]);
        assert!(meters.contains("meter=3 pktps burst stats") && meters.contains("rate=1000"), "{meters}");
        let stats = ofctl(&lab, version, &["meter-stats", "br0"]);
        assert!(stats.contains("meter:3 flow_count:1 packet_in_count:6"), "{stats}");
        ofctl(&lab, version, &["del-groups", "br0"]);
        assert!(!ofctl(&lab, version, &["dump-flows", "br0"]).contains("icmp"), "rules go with their group");
        ofctl(&lab, version, &["del-meters", "br0"]);
    }
    switch.stop();
}

#[test]
fn a_flow_mod_that_is_refused_says_why_and_the_connection_stays() {
    let lab = Lab::new();
    let switch = switch(&lab, "{}", "['priority=0,actions=NORMAL']");
    let output = ofctl_output(&lab, "OpenFlow13", &["add-flow", "br0", "actions=group:99"]);
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("OFPBAC_BAD_OUT_GROUP"), "{text}");
    // Slaves read and do not write, but that is the controller's to ask; a bundle is all or nothing.
    let file = lab.path("flows.txt");
    std::fs::write(&file, "udp,actions=drop\ntcp,actions=group:99\n").expect("a file");
    let output =
        ofctl_output(&lab, "OpenFlow14", &["--bundle", "add-flows", "br0", &file.display().to_string()]);
    assert!(!output.status.success(), "{output:?}");
    let flows = ofctl(&lab, "OpenFlow14", &["dump-flows", "br0"]);
    assert!(!flows.contains("udp"), "a bundle that failed left something behind: {flows}");
    switch.stop();
}

#[test]
fn a_port_is_switched_off_and_on_by_port_mod_and_everybody_is_told() {
    let lab = Lab::new();
    let switch = switch(&lab, "{}", "['priority=0,actions=NORMAL']");
    let (a, b) = hosts(&lab);
    a.pings(b.address, 1);
    for version in ["OpenFlow10", "OpenFlow13", "OpenFlow15"] {
        ofctl(&lab, version, &["mod-port", "br0", "b", "down"]);
        assert!(ofctl(&lab, version, &["show", "br0"]).contains("PORT_DOWN"));
        a.does_not_reach(b.address);
        ofctl(&lab, version, &["mod-port", "br0", "b", "up"]);
        switch.wait_for_link("b", true);
        a.pings(b.address, 1);
    }
    switch.stop();
}

#[test]
fn a_learning_controller_makes_hosts_reach_each_other() {
    if Command::new("ovs-testcontroller").arg("--version").output().is_err() {
        skip("a_learning_controller_makes_hosts_reach_each_other", "there is no ovs-testcontroller");
        return;
    }
    let lab = Lab::new();
    let socket = lab.path("controller.sock");
    std::fs::create_dir_all(lab.path("rundir")).expect("a directory");
    let openflow =
        format!("{{controllers: [\"unix:{}\"], fail_mode: secure, backoff_max_s: 1}}", socket.display());
    let switch = switch(&lab, &openflow, "[]");
    let (a, b) = hosts(&lab);
    a.does_not_reach(b.address);
    for version in ["OpenFlow10", "OpenFlow13", "OpenFlow15"] {
        let mut command = Command::new("ovs-testcontroller");
        command
            .env("OVS_RUNDIR", lab.path("rundir"))
            .args(["-O", version])
            .arg(format!("punix:{}", socket.display()));
        let controller = Background::start(&mut command);
        wait_for("a ping by the controller's rules", || a.tries(b.address).then_some(()));
        controller.end(nix::sys::signal::Signal::SIGKILL);
        drop(std::fs::remove_file(&socket));
        ofctl(&lab, "OpenFlow13", &["del-flows", "br0"]);
    }
    switch.stop();
}

#[test]
fn the_local_port_is_one_like_all_others() {
    for (local, is_own) in [("", true), ("      - {name: br0, type: tap, number: local}\n", false)] {
        let lab = Lab::new();
        let body =
            format!("bridges:\n  - name: br0\n    rules: ['priority=0,actions=NORMAL']\n{PORTS}{local}");
        let switch = Switch::start(&lab, &Recipe::new(body));
        let (a, b) = hosts(&lab);
        lab.namespace.ip("addr add 198.18.0.9/24 dev br0");
        lab.namespace.ip("link set br0 up");
        switch.wait_for_link("br0", true);
        let here: std::net::IpAddr = [198, 18, 0, 9].into();
        assert_eq!(switch.shown("br0")["kind"], if is_own { "internal" } else { "tap" });
        // NORMAL floods to it and learns of it.
        a.pings(here, 2);
        crate::lab::ping(&lab.namespace, b.address, 2);
        assert!(switch.ok(&["fdb", "br0"]).contains("LOCAL"));
        for version in VERSIONS {
            for request in [&["show", "br0"][..], &["dump-ports-desc", "br0"]] {
                let shown = ofctl(&lab, version, request);
                assert!(shown.contains("LOCAL(br0): addr:"), "{version} {request:?}: {shown}");
            }
            let counters = ofctl(&lab, version, &["dump-ports", "br0", "LOCAL"]);
            assert!(counters.contains("1 ports") && !counters.contains("rx pkts=0"), "{version}: {counters}");
            // By rules alone, which name it.
            ofctl(&lab, version, &["del-flows", "br0"]);
            a.does_not_reach(here);
            ofctl(&lab, version, &["add-flow", "br0", "in_port=1,actions=output:LOCAL"]);
            ofctl(&lab, version, &["add-flow", "br0", "in_port=LOCAL,actions=output:1"]);
            a.pings(here, 2);
            let flows = ofctl(&lab, version, &["dump-flows", "br0", "in_port=LOCAL"]);
            assert!(flows.contains("in_port=LOCAL actions=output:1"), "{version}: {flows}");
            ofctl(&lab, version, &["add-flow", "br0", "in_port=LOCAL,actions=FLOOD"]);
            ofctl(&lab, version, &["add-flow", "br0", "in_port=1,actions=ALL"]);
            a.pings(here, 2);
            ofctl(&lab, version, &["add-flow", "br0", "priority=0,actions=NORMAL"]);
            ofctl(&lab, version, &["--strict", "del-flows", "br0", "priority=32768,in_port=1"]);
            ofctl(&lab, version, &["--strict", "del-flows", "br0", "priority=32768,in_port=LOCAL"]);
            ofctl(&lab, version, &["mod-port", "br0", "br0", "no-flood"]);
            let shown = ofctl(&lab, version, &["show", "br0"]);
            assert!(shown.contains("NO_FLOOD") || version != "OpenFlow10", "{shown}");
            ofctl(&lab, version, &["mod-port", "br0", "br0", "flood"]);
            ofctl(&lab, version, &["mod-port", "br0", "br0", "down"]);
            assert!(ofctl(&lab, version, &["show", "br0"]).contains("PORT_DOWN"), "{version}");
            a.does_not_reach(here);
            ofctl(&lab, version, &["mod-port", "br0", "br0", "up"]);
            switch.wait_for_link("br0", true);
            a.pings(here, 2);
        }
        a_packet_out_is_as_if_from_the_host(&lab, &switch, &a);
        switch.stop();
    }
}

/// A packet-out with ingress port LOCAL: rules see it come from there, and FLOOD does not send it back.
fn a_packet_out_is_as_if_from_the_host(lab: &Lab, switch: &Switch, a: &Host) {
    let frame = format!("ffffffffffff0a00000000ff88b5{}", "00".repeat(46));
    let frames = a.packets();
    let sees_the_frame = || {
        wait_for("the frame", || frames.receive().filter(|frame| frame[12..14] == [0x88, 0xb5]));
    };
    for version in VERSIONS {
        ofctl(lab, version, &["del-flows", "br0"]);
        ofctl(lab, version, &["add-flow", "br0", "priority=5,in_port=LOCAL,dl_type=0x88b5,actions=output:1"]);
        let before = switch.port("br0")["tx_packets"].clone();
        ofctl(lab, version, &["packet-out", "br0", &format!("in_port=LOCAL packet={frame} actions=TABLE")]);
        sees_the_frame();
        ofctl(lab, version, &["packet-out", "br0", &format!("in_port=LOCAL packet={frame} actions=FLOOD")]);
        sees_the_frame();
        assert_eq!(switch.port("br0")["tx_packets"], before, "{version}");
    }
}

#[test]
fn a_packet_in_tells_of_registers_and_metadata_where_its_version_can() {
    let lab = Lab::new();
    let switch = switch(&lab, "{}", "[]");
    let frame = format!("ffffffffffff0a00000000ff88b5{}", "00".repeat(46));
    let told = "reg0=0x5,reg15=0x7,metadata=0x10,tun_id=0x2a";
    let actions = "set_field:5->reg0,set_field:7->reg15,set_field:0x10->metadata,set_field:42->tun_id,\
                   set_field:3->pkt_mark,controller";
    let formats = [
        ("OpenFlow10", "standard", false),
        ("OpenFlow10", "nxt_packet_in", true),
        ("OpenFlow11", "nxt_packet_in2", true),
        ("OpenFlow12", "standard", true),
        ("OpenFlow13", "standard", true),
        ("OpenFlow13", "nxt_packet_in2", true),
        ("OpenFlow14", "standard", true),
        ("OpenFlow15", "standard", true),
    ];
    for (version, format, tells) in formats {
        let heard = lab.path(&format!("heard-{version}-{format}"));
        let file = std::fs::File::create(&heard).expect("a file");
        let mut monitor = Command::new("ovs-ofctl");
        monitor
            .env("OVS_RUNDIR", run_dir(&lab))
            .args(["-O", version, "-P", format, "monitor", "br0", "65534"]);
        monitor.stdout(file.try_clone().expect("a descriptor")).stderr(file);
        let monitor = Background::start(&mut monitor);
        let text = wait_for("a packet-in", || {
            ofctl(
                &lab,
                "OpenFlow13",
                &["packet-out", "br0", &format!("in_port=1 packet={frame} actions={actions}")],
            );
            let text = std::fs::read_to_string(&heard).expect("it can be read");
            text.contains("PACKET_IN").then_some(text)
        });
        monitor.end(nix::sys::signal::Signal::SIGKILL);
        let line = text.lines().find(|line| line.contains("PACKET_IN")).expect("it is there");
        for field in told.split(',').chain(["pkt_mark=0x3"]) {
            assert_eq!(line.contains(field), tells, "{version} {format}: {field} in {line}");
        }
        assert!(line.contains("in_port=1"), "{version} {format}: {line}");
    }
    switch.stop();
}

#[test]
fn what_becomes_of_connections_can_be_seen() {
    if Command::new("ovs-testcontroller").arg("--version").output().is_err() {
        skip("what_becomes_of_connections_can_be_seen", "there is no ovs-testcontroller");
        return;
    }
    let lab = Lab::new();
    let (here, away) = (lab.path("here.sock"), lab.path("away.sock"));
    std::fs::create_dir_all(lab.path("rundir")).expect("a directory");
    let openflow = format!(
        "{{controllers: [\"unix:{}\", \"unix:{}\"], fail_mode: secure, backoff_max_s: 1}}",
        here.display(),
        away.display()
    );
    let body = format!("bridges:\n  - name: br0\n    openflow: {openflow}\n    rules: []\n{PORTS}");
    let mut recipe = Recipe::new(body);
    let metrics = std::net::SocketAddr::from(([127, 0, 0, 1], 9475));
    recipe.body = recipe.body.replace("{listen: 'off'}", &format!("{{listen: '{metrics}'}}"));
    let switch = Switch::start(&lab, &recipe);
    let (a, b) = hosts(&lab);
    let mut command = Command::new("ovs-testcontroller");
    command
        .env("OVS_RUNDIR", lab.path("rundir"))
        .args(["-O", "OpenFlow13"])
        .arg(format!("punix:{}", here.display()));
    let controller = Background::start(&mut command);
    wait_for("a ping by the controller's rules", || a.tries(b.address).then_some(()));

    // Paths may be so long that lines are broken.
    let unbroken = |text: String| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let text = unbroken(switch.ok(&["openflow", "br0"]));
    assert!(text.contains("fail mode secure") && text.contains("active, OpenFlow13, equal"), "{text}");
    assert!(text.contains("backoff, next try in"), "{text}");
    let shown = unbroken(switch.ok(&["show"]));
    assert!(shown.contains("1 of 2 controllers up"), "{shown}");
    let connections = |switch: &Switch| switch.json(&["openflow"])["bridges"][0]["connections"].clone();
    let told = connections(&switch);
    assert_eq!((&told[0]["state"], &told[1]["state"]), (&"active".into(), &"backoff".into()), "{told}");
    assert!(told[0]["messages_received"].as_u64() > Some(2), "the controller has sent rules: {told}");
    assert!(told[1]["last_error"].as_str().is_some_and(|it| it.contains("No such file")), "{told}");
    assert_eq!((&told[2]["kind"], &told[2]["state"]), (&"management".into(), &"listening".into()), "{told}");
    let before = told[2]["messages_received"].as_u64();
    ofctl(&lab, "OpenFlow13", &["dump-flows", "br0"]);
    assert!(connections(&switch)[2]["messages_received"].as_u64() > before);

    // One that stays shows who it is.
    let mut monitor = Command::new("ovs-ofctl");
    monitor.env("OVS_RUNDIR", run_dir(&lab)).args(["-O", "OpenFlow14", "monitor", "br0"]);
    let monitor = Background::start(&mut monitor);
    wait_for("the monitor to be seen", || {
        let told = connections(&switch);
        let it = told.as_array()?.iter().find(|it| it["peer"] == "unix")?;
        (it["kind"] == "management" && it["version"] == "OpenFlow14" && it["state"] == "active").then_some(())
    });
    monitor.end(nix::sys::signal::Signal::SIGKILL);
    let scraped = crate::metrics::scrape(&lab.namespace, metrics).1;
    let value = |name: &str, target: &Path| {
        let target = format!("target=\"unix:{}\"", target.display());
        crate::metrics::sample(&scraped, &format!("penstock_openflow_{name}"), &["bridge=\"br0\"", &target])
    };
    assert_eq!((value("up", &here), value("up", &away)), (Some(1.0), Some(0.0)));
    assert!(value("failures_total", &away) >= Some(1.0) && value("sent_messages_total", &here) > Some(2.0));

    controller.end(nix::sys::signal::Signal::SIGKILL);
    wait_for("the end of the connection to be seen", || {
        let it = &connections(&switch)[0];
        (it["state"] == "backoff" && it["connects"] == 1 && it["last_error"].is_string()).then_some(())
    });
    switch.stop();
}

#[test]
fn a_standalone_bridge_learns_while_its_controller_is_away_and_a_secure_one_does_not() {
    let lab = Lab::new();
    let away = lab.path("nobody.sock");
    let settings = |mode: &str| {
        let away = away.display();
        format!(
            "{{controllers: [\"unix:{away}\"], fail_mode: {mode}, probe_interval_s: 1, backoff_max_s: 1}}"
        )
    };
    let switch = switch(&lab, &settings("standalone"), "[]");
    let (a, b) = hosts(&lab);
    wait_for("a ping without a controller", || a.tries(b.address).then_some(()));
    let body =
        format!("bridges:\n  - name: br0\n    openflow: {}\n    rules: []\n{PORTS}", settings("secure"));
    let file = Recipe::new(body).write(&lab);
    switch.ok(&["apply", &file.display().to_string()]);
    wait_for("the end of standalone mode", || (!a.tries(b.address)).then_some(()));
    assert!(switch.log().contains("forwarding as a learning switch"));
    switch.stop();
}

#[test]
fn a_secure_bridge_without_controllers_starts_without_rules_and_a_standalone_one_learns() {
    let lab = Lab::new();
    let switch = switch(&lab, "{fail_mode: secure}", "[]");
    let (a, b) = hosts(&lab);
    assert!(!ofctl(&lab, "OpenFlow13", &["dump-flows", "br0"]).contains("actions="));
    a.does_not_reach(b.address);
    ofctl(&lab, "OpenFlow13", &["add-flow", "br0", "actions=NORMAL"]);
    a.pings(b.address, 1);
    ofctl(&lab, "OpenFlow13", &["del-flows", "br0"]);
    let body = format!("bridges:\n  - name: br0\n    openflow: {{fail_mode: standalone}}\n{PORTS}");
    let file = Recipe::new(body).write(&lab);
    switch.ok(&["apply", &file.display().to_string()]);
    a.pings(b.address, 1);
    assert!(ofctl(&lab, "OpenFlow13", &["dump-flows", "br0"]).contains("priority=0 actions=NORMAL"));
    switch.stop();
}

/// An authority and certificates by it, and one by nobody.
fn certificates(lab: &Lab) {
    let directory = lab.path("tls");
    std::fs::create_dir_all(&directory).expect("a directory");
    let openssl = |arguments: &str| {
        run(Command::new("openssl").current_dir(&directory).args(arguments.split(' ')));
    };
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem",
    );
    openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=other -keyout other.key -out other.pem",
    );
    for name in ["switch", "client"] {
        openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ));
        // A certificate of version 3, as `ovs-pki` makes them.
        std::fs::write(directory.join("ext"), "basicConstraints=CA:FALSE\n").expect("a file");
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out {name}.pem"
        ));
    }
}

fn ofctl_tls(lab: &Lab, directory: &Path, who: &str, ca: &str, remote: &str) -> Output {
    let file = |name: String| directory.join(name).display().to_string();
    let mut command = lab.namespace.command("ovs-ofctl");
    command.env("OVS_RUNDIR", run_dir(lab)).args(["--timeout=10", "-O", "OpenFlow13"]);
    command.args([
        "-p",
        &file(format!("{who}.key")),
        "-c",
        &file(format!("{who}.pem")),
        "-C",
        &file(format!("{ca}.pem")),
    ]);
    output(command.args(["dump-desc", remote]))
}

#[test]
fn tls_lets_in_who_has_a_certificate_of_the_authority_and_nobody_else() {
    let lab = Lab::new();
    certificates(&lab);
    let directory = lab.path("tls");
    let file = |name: &str| directory.join(name).display().to_string();
    let openflow = format!(
        "{{listen: [ptls], tls: {{certificate: {}, private_key: {}, ca_certificate: {}}}}}",
        file("switch.pem"),
        file("switch.key"),
        file("ca.pem")
    );
    let switch = switch(&lab, &openflow, "[]");
    let remote = "ssl:127.0.0.1:6653";
    let good = ofctl_tls(&lab, &directory, "client", "ca", remote);
    assert!(String::from_utf8_lossy(&good.stdout).contains("Penstock"), "{good:?}");
    let stranger = ofctl_tls(&lab, &directory, "other", "ca", remote);
    assert!(!stranger.status.success(), "{stranger:?}");
    // No TLS at all.
    let mut plain = lab.namespace.tcp_connect(([127, 0, 0, 1], 6653).into()).expect("it listens");
    plain.write_all(&[4, 0, 0, 8, 0, 0, 0, 1]).expect("a hello is sent");
    let mut bytes = Vec::new();
    drop(plain.read_to_end(&mut bytes));
    assert!(bytes.first().is_none_or(|first| *first != 4), "an OpenFlow hello without TLS: {bytes:?}");
    let again = ofctl_tls(&lab, &directory, "client", "ca", remote);
    assert!(again.status.success(), "{again:?}");
    switch.stop();
}

#[test]
fn garbage_floods_and_flapping_harm_nobody() {
    let lab = Lab::new();
    let mut switch = switch(&lab, "{}", "['priority=0,actions=NORMAL']");
    let (a, b) = hosts(&lab);
    let socket = run_dir(&lab).join("br0.mgmt");
    let mut random = fastrand::Rng::with_seed(11);
    for round in 0..1_000 {
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        match round % 4 {
            0 => {}
            1 => drop(stream.write_all(&[4, 0, 0, 8, 0, 0, 0, 1])),
            2 => {
                let bytes: Vec<u8> = (0..200).map(|_| random.u8(..)).collect();
                drop(stream.write_all(&bytes));
            }
            _ => {
                drop(stream.write_all(&[4, 0, 0, 8, 0, 0, 0, 1]));
                for _ in 0..20 {
                    let mut bytes: Vec<u8> = (0..64).map(|_| random.u8(..)).collect();
                    (bytes[0], bytes[1]) = (4, bytes[1] % 36);
                    (bytes[2], bytes[3]) = (0, 64);
                    if stream.write_all(&bytes).is_err() {
                        break;
                    }
                }
            }
        }
    }
    // One that asks without end and never reads.
    let mut greedy = UnixStream::connect(&socket).expect("it listens");
    greedy.write_all(&[4, 0, 0, 8, 0, 0, 0, 1]).expect("a hello is sent");
    greedy.set_nonblocking(true).expect("a socket can be set so");
    let table_stats = [4, 18, 0, 16, 0, 0, 0, 2, 0, 3, 0, 0, 0, 0, 0, 0];
    for _ in 0..100_000 {
        if greedy.write(&table_stats).is_err() {
            break;
        }
    }
    a.pings(b.address, 3);
    let flows = ofctl(&lab, "OpenFlow13", &["dump-flows", "br0"]);
    assert!(flows.contains("actions=NORMAL"), "{flows}");
    assert!(switch.is_running());
    switch.assert_conserved();
    switch.stop();
}
