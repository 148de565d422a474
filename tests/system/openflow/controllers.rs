//! Controllers that the switch calls and that behave badly: they die, stall, flood, say garbage and flap, and neither the
//! switch nor its other controllers take harm.

use super::{PORTS, certificates, hosts, ofctl, ofctl_tls, run_dir, switch};
use crate::lab::{Background, Lab, wait_for};
use crate::switch::{Recipe, Switch};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const HELLO: [u8; 8] = [4, 0, 0, 8, 0, 0, 0, 1];
const ECHO_REQUEST: u8 = 2;
const ECHO_REPLY: u8 = 3;
const PACKET_IN: u8 = 10;
const PACKET_OUT: u8 = 13;
const FLOW_MOD: u8 = 14;
const BARRIER_REQUEST: u8 = 20;
const BARRIER_REPLY: u8 = 21;

/// What a misbehaving controller may cost: its bounds, its sockets, and what the allocator keeps of them.
const COST_MAX_KIB: u64 = 48 << 10;

/// A place where the switch looks for a controller.
struct Seat {
    listener: UnixListener,
    uri: String,
}

impl Seat {
    fn new(lab: &Lab, name: &str) -> Seat {
        let path = lab.path(name);
        let listener = UnixListener::bind(&path).expect("a socket in the lab's directory");
        listener.set_nonblocking(true).expect("a listener can be set so");
        Seat { listener, uri: format!("unix:{}", path.display()) }
    }

    /// The switch's next call.
    fn take(&self) -> Controller {
        let stream = wait_for("the switch to call", || self.listener.accept().ok()).0;
        stream.set_nonblocking(false).expect("a socket can be set so");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout that is not 0");
        Controller { stream, next_xid: 100 }
    }
}

fn openflow(seats: &[&Seat]) -> String {
    let uris: Vec<String> = seats.iter().map(|seat| format!("\"{}\"", seat.uri)).collect();
    format!(
        "{{controllers: [{}], fail_mode: secure, backoff_max_s: 1, probe_interval_s: 0}}",
        uris.join(", ")
    )
}

/// A connection to the switch, from the controller's side, in OpenFlow 1.3.
struct Controller {
    stream: UnixStream,
    next_xid: u32,
}

impl Controller {
    /// Says hello and hears the switch's.
    fn greet(mut self) -> Controller {
        self.stream.write_all(&HELLO).expect("the switch is there");
        assert_eq!(self.read().0, 0, "the switch says hello first");
        self
    }

    fn read(&mut self) -> (u8, u32, Vec<u8>) {
        let mut header = [0; 8];
        self.stream.read_exact(&mut header).expect("the switch has something to say");
        let mut body = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]])) - 8];
        self.stream.read_exact(&mut body).expect("the rest of a message");
        (header[1], u32::from_be_bytes([header[4], header[5], header[6], header[7]]), body)
    }

    fn send(&mut self, message_type: u8, body: &[u8]) -> u32 {
        self.next_xid += 1;
        self.stream.write_all(&message(message_type, self.next_xid, body)).expect("the switch reads");
        self.next_xid
    }

    /// Asks and waits for the answer; returns what else was told meanwhile.
    fn ask(&mut self, request: u8, reply: u8) -> usize {
        let xid = self.send(request, &[]);
        let mut others = 0;
        loop {
            match self.read() {
                (it, its, _) if (it, its) == (reply, xid) => return others,
                (1, _, body) => panic!("an error: {body:02x?}"),
                _ => others += 1,
            }
        }
    }

    fn is_served(&mut self) {
        self.ask(ECHO_REQUEST, ECHO_REPLY);
        self.ask(BARRIER_REQUEST, BARRIER_REPLY);
    }
}

fn message(message_type: u8, xid: u32, body: &[u8]) -> Vec<u8> {
    let len = (8 + body.len()) as u16;
    [&[4, message_type][..], &len.to_be_bytes(), &xid.to_be_bytes(), body].concat()
}

/// A flow-mod's body: this command and priority, matches nothing or that port, and drops.
fn flow_mod(command: u8, priority: u16, in_port: u32) -> Vec<u8> {
    let mut body = vec![0; 40];
    body[17] = command;
    body[22..24].copy_from_slice(&priority.to_be_bytes());
    body[24..36].fill(0xff);
    body.extend([0, 1, 0, 12, 0x80, 0, 0, 4]);
    body.extend(in_port.to_be_bytes());
    body.extend([0; 4]);
    body
}

/// Memory that a process has in use, in KiB.
fn memory_kib(switch: &Switch) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", switch.pid())).expect("it is running");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn assert_cheap(switch: &Switch, before: u64) {
    let now = memory_kib(switch);
    assert!(now < before + COST_MAX_KIB, "it grew from {before} to {now} KiB");
}

#[test]
fn a_controller_that_dies_or_talks_garbage_is_called_again_and_others_stay() {
    let lab = Lab::new();
    let (bad, good) = (Seat::new(&lab, "bad.sock"), Seat::new(&lab, "good.sock"));
    let mut switch = switch(&lab, &openflow(&[&bad, &good]), "['priority=0,actions=NORMAL']");
    let (a, b) = hosts(&lab);
    let mut neighbour = good.take().greet();
    let mut random = fastrand::Rng::with_seed(5);
    let noise = |random: &mut fastrand::Rng| (0..300).map(|_| random.u8(..)).collect::<Vec<u8>>();
    for round in 0..5 {
        let mut controller = bad.take();
        let says = match round {
            // In the midst of a header, of a message, and of a message that says it is longer than any.
            0 => vec![4, 0, 0],
            1 => message(FLOW_MOD, 7, &flow_mod(0, 5, 1))[..30].to_vec(),
            2 => vec![4, FLOW_MOD, 0xff, 0xff, 0, 0, 0, 1, 0, 0],
            // Noise from the start, and in whole messages.
            3 => noise(&mut random),
            _ => (0..200).flat_map(|n| message(n as u8 % 36, n, &noise(&mut random)[..56])).collect(),
        };
        if matches!(round, 1 | 2 | 4) {
            controller = controller.greet();
        }
        // It may have hung up on noise.
        drop(controller.stream.write_all(&says));
        drop(controller);
        neighbour.is_served();
    }
    let mut again = bad.take().greet();
    again.is_served();
    a.pings(b.address, 2);
    assert!(switch.is_running());
    switch.assert_conserved();
    switch.stop();
}

/// ONFST_FLOW_MONITOR of 1.3, for all changes of all rules, whole.
fn monitor_request() -> Vec<u8> {
    let mut body = vec![0xff, 0xff, 0, 0, 0, 0, 0, 0, 0x4f, 0x4e, 0x46, 0, 0, 0, 0x07, 0x4e];
    body.extend([0, 0, 0, 1, 0, 63, 0, 4, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
    body.extend([0, 1, 0, 4, 0, 0, 0, 0]);
    body
}

#[test]
fn a_controller_that_does_not_read_costs_its_bound_and_no_more() {
    let lab = Lab::new();
    let (bad, good) = (Seat::new(&lab, "bad.sock"), Seat::new(&lab, "good.sock"));
    let rules = "['priority=0,actions=NORMAL', 'priority=9,udp,actions=controller(max_len=1400)']";
    let switch = switch(&lab, &openflow(&[&bad, &good]), rules);
    let (a, b) = hosts(&lab);
    let mut neighbour = good.take().greet();
    let mut stalled = bad.take().greet();
    stalled.send(18, &monitor_request());
    a.pings(b.address, 1);
    let socket: UdpSocket = a.udp_socket(5000);
    let storm = |neighbour: &mut Controller, round: u16| {
        let mut told = 0;
        for rule in 0..4_000 {
            neighbour.send(FLOW_MOD, &flow_mod(0, 100 + round, rule));
            if rule % 50 == 0 {
                drop(socket.send_to(&[0x5a; 1200], (b.address, 6000)));
                told += neighbour.ask(BARRIER_REQUEST, BARRIER_REPLY);
            }
        }
        for rule in 0..4_000 {
            neighbour.send(FLOW_MOD, &flow_mod(4, 100 + round, rule));
        }
        told + neighbour.ask(BARRIER_REQUEST, BARRIER_REPLY)
    };
    // What the rules themselves take is there from the first on.
    assert!(storm(&mut neighbour, 0) > 0, "the other controller gets packets");
    let before = memory_kib(&switch);
    for round in 1..6 {
        assert!(storm(&mut neighbour, round) > 0, "the other controller gets packets");
        a.pings(b.address, 1);
    }
    assert_cheap(&switch, before);
    neighbour.is_served();
    // It begins to read: it was paused, and knows what there is in the end, or was given up.
    drop(stalled);
    wait_for("a word on notices that were dropped", || {
        switch.log().contains("notices were dropped").then_some(())
    });
    bad.take().greet().is_served();
    switch.assert_conserved();
    switch.stop();
}

#[test]
fn a_controller_that_floods_waits_for_itself_and_nobody_else_does() {
    const COUNT: u32 = 100_000;
    let lab = Lab::new();
    let (bad, good) = (Seat::new(&lab, "bad.sock"), Seat::new(&lab, "good.sock"));
    let switch = switch(&lab, &openflow(&[&bad, &good]), "['priority=0,actions=NORMAL']");
    let (a, b) = hosts(&lab);
    let mut neighbour = good.take().greet();
    let mut flooding = bad.take().greet();
    neighbour.is_served();
    let before = memory_kib(&switch);
    // Echo requests, of which it reads no reply while it can write one.
    let requests: Vec<u8> = (0..COUNT).flat_map(|xid| message(ECHO_REQUEST, xid, &[7; 24])).collect();
    flooding.stream.set_nonblocking(true).expect("a socket can be set so");
    let (mut sent, mut refusals) = (0, 0);
    while sent < requests.len() && refusals < 200 {
        match flooding.stream.write(&requests[sent..]) {
            Ok(count) => (sent, refusals) = (sent + count, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                refusals += 1;
                neighbour.ask(ECHO_REQUEST, ECHO_REPLY);
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(sent < requests.len(), "the switch took all of it, and its replies are not read");
    assert_cheap(&switch, before);
    a.pings(b.address, 2);
    neighbour.is_served();
    // When it reads, it gets every reply, in order.
    flooding.stream.set_nonblocking(false).expect("a socket can be set so");
    let mut writer = flooding.stream.try_clone().expect("a descriptor");
    let rest = requests[sent..].to_vec();
    let writing = std::thread::spawn(move || writer.write_all(&rest));
    for xid in 0..COUNT {
        let (message_type, its, _) = flooding.read();
        assert_eq!((message_type, its), (ECHO_REPLY, xid));
    }
    writing.join().expect("it does not panic").expect("the switch reads all");
    // Changes, of which it never asks whether they are done.
    let changes: Vec<u8> =
        (0..COUNT).flat_map(|n| message(FLOW_MOD, n, &flow_mod(0, 5, 1_000 + n % 100))).collect();
    let mut writer = flooding.stream.try_clone().expect("a descriptor");
    let writing = std::thread::spawn(move || writer.write_all(&changes));
    while !writing.is_finished() {
        neighbour.is_served();
    }
    writing.join().expect("it does not panic").expect("the switch reads all");
    flooding.ask(BARRIER_REQUEST, BARRIER_REPLY);
    assert_eq!(ofctl(&lab, "OpenFlow13", &["dump-flows", "br0"]).matches("priority=5").count(), 100);
    assert_cheap(&switch, before);
    a.pings(b.address, 2);
    switch.assert_conserved();
    switch.stop();
}

/// A packet-out's body: a packet of 60 bytes, sent so many times by port 1.
fn packet_out(times: usize) -> Vec<u8> {
    let mut body = vec![0xff; 4];
    body.extend(0xffff_fffd_u32.to_be_bytes());
    body.extend(((16 * times) as u16).to_be_bytes());
    body.extend([0; 6]);
    (0..times).for_each(|_| body.extend([0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]));
    body.extend([2; 12]);
    body.extend([0x08, 0]);
    body.extend([0; 46]);
    body
}

#[test]
fn who_sends_more_packets_than_workers_take_waits_for_itself_and_stays() {
    const FLOODS: usize = 4;
    const COUNT: usize = 3_000;
    // What waits in the switch for its worker, and in sockets: from then on more waits than the switch takes.
    const TAKEN: usize = 6_000;
    let lab = Lab::new();
    // Each keeps a worker busy for some tenths of a millisecond.
    let one = message(PACKET_OUT, 7, &packet_out(60));
    let flood = one.repeat(COUNT);
    let seats: Vec<Seat> = (0..=FLOODS).map(|n| Seat::new(&lab, &format!("c{n}.sock"))).collect();
    // They are asked for a sign of life after a second, which does not come: their packets do.
    let settings = openflow(&seats.iter().collect::<Vec<_>>());
    let settings = settings.replace("probe_interval_s: 0", "probe_interval_s: 1");
    let switch = switch(&lab, &settings, "['priority=0,actions=NORMAL']");
    let mut flooding: Vec<Controller> = seats[..FLOODS].iter().map(|seat| seat.take().greet()).collect();
    // It is the last that the switch has called.
    let mut neighbour = seats[FLOODS].take().greet();
    let written = AtomicUsize::new(0);
    let mut heard = 0;
    std::thread::scope(|scope| {
        let writing: Vec<_> = flooding
            .iter()
            .map(|controller| {
                let mut stream = controller.stream.try_clone().expect("a descriptor");
                let (flood, written, size) = (&flood, &written, one.len());
                scope.spawn(move || {
                    for part in flood.chunks(size) {
                        stream.write_all(part)?;
                        written.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<_, std::io::Error>(())
                })
            })
            .collect();
        let mut changes = 0;
        while !writing.iter().all(|writing| writing.is_finished()) {
            let is_full = written.load(Ordering::Relaxed) > TAKEN;
            neighbour.ask(ECHO_REQUEST, ECHO_REPLY);
            neighbour.send(FLOW_MOD, &flow_mod(0, 7, changes % 100));
            (heard, changes) = (heard + usize::from(is_full), changes + 1);
        }
        for writing in writing {
            writing.join().expect("it does not panic").expect("the switch reads all, and does not hang up");
        }
    });
    assert!(heard > 10, "the neighbour was heard {heard} times");
    assert!(!switch.log().contains("not connected"), "{}", switch.log());
    neighbour.is_served();
    flooding[0].ask(BARRIER_REQUEST, BARRIER_REPLY);
    switch.assert_conserved();
    switch.stop();
}

#[test]
fn controllers_that_flap_a_thousand_times_harm_nobody() {
    let lab = Lab::new();
    let good = Seat::new(&lab, "good.sock");
    let bad: Vec<Seat> = (0..100).map(|n| Seat::new(&lab, &format!("bad{n}.sock"))).collect();
    let seats: Vec<&Seat> = bad.iter().chain([&good]).collect();
    let switch = switch(&lab, &openflow(&seats), "['priority=0,actions=NORMAL']");
    let (a, b) = hosts(&lab);
    let mut neighbour = good.take().greet();
    let mut flaps = 0;
    let flap = |flaps: &mut u32| {
        for seat in &bad {
            if let Ok((mut stream, _)) = seat.listener.accept() {
                // Some say hello first.
                if flaps.is_multiple_of(2) {
                    drop(stream.write_all(&HELLO));
                }
                *flaps += 1;
            }
        }
    };
    wait_for("the first calls", || {
        flap(&mut flaps);
        (flaps > 100).then_some(())
    });
    let before = memory_kib(&switch);
    wait_for("a thousand calls", || {
        flap(&mut flaps);
        neighbour.is_served();
        (flaps > 1_100).then_some(())
    });
    a.pings(b.address, 2);
    assert_cheap(&switch, before);
    let log = switch.log().matches("not connected").count();
    assert!(log < 500, "{log} lines on controllers that are not there");
    switch.assert_conserved();
    switch.stop();
}

#[test]
fn new_certificates_are_for_new_connections_and_the_old_go_on() {
    let lab = Lab::new();
    certificates(&lab);
    let directory = lab.path("tls");
    let file = |name: &str| directory.join(name).display().to_string();
    let settings = format!(
        "{{listen: [ptls], tls: {{certificate: {}, private_key: {}, ca_certificate: {}}}}}",
        file("switch.pem"),
        file("switch.key"),
        file("ca.pem")
    );
    let switch = switch(&lab, &settings, "[]");
    let remote = "ssl:127.0.0.1:6653";
    let old = lab.path("old");
    std::fs::create_dir_all(&old).expect("a directory");
    for name in ["client.key", "client.pem", "ca.pem"] {
        std::fs::copy(directory.join(name), old.join(name)).expect("it is there");
    }
    // One that stays, and tells of rules as they change.
    let log = lab.path("monitor.log");
    let mut command = lab.namespace.command("ovs-ofctl");
    let own = |name: &str| old.join(name).display().to_string();
    command.env("OVS_RUNDIR", run_dir(&lab)).args(["-O", "OpenFlow14", "-p", &own("client.key")]);
    command.args(["-c", &own("client.pem"), "-C", &own("ca.pem"), "monitor", remote, "watch:!own"]);
    let output = File::create(&log).expect("a file");
    command.stdout(output.try_clone().expect("a descriptor")).stderr(output);
    let _monitor = Background::start(&mut command);
    let is_told = |cookie: &str| {
        let rule = format!("cookie={cookie},actions=drop");
        ofctl(&lab, "OpenFlow14", &["add-flow", "br0", &rule]);
        wait_for("the monitor to be told", || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            text.contains(&format!("cookie={cookie}")).then_some(())
        });
    };
    wait_for("the monitor to be there", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("event=ADDED").then_some(()).or_else(|| {
            ofctl(&lab, "OpenFlow14", &["add-flow", "br0", "cookie=0x1,actions=drop"]);
            ofctl(&lab, "OpenFlow14", &["del-flows", "br0"]);
            None
        })
    });
    for (round, cookie) in [("apply", "0x77"), ("SIGHUP", "0x78")] {
        // Another authority, by the same names.
        certificates(&lab);
        if round == "apply" {
            let body = format!("bridges:\n  - name: br0\n    openflow: {settings}\n    rules: []\n{PORTS}");
            let path = Recipe::new(body).write(&lab);
            switch.ok(&["apply", &path.display().to_string()]);
        } else {
            switch.signal(nix::sys::signal::Signal::SIGHUP);
        }
        wait_for("a connection by the new certificates", || {
            ofctl_tls(&lab, &directory, "client", "ca", remote).status.success().then_some(())
        });
        let stranger = ofctl_tls(&lab, &old, "client", "ca", remote);
        assert!(!stranger.status.success(), "{round}: {stranger:?}");
        is_told(cookie);
    }
    switch.stop();
}

#[test]
fn packets_for_controllers_are_told_to_who_reads() {
    let lab = Lab::new();
    let seat = Seat::new(&lab, "good.sock");
    let switch = switch(
        &lab,
        &openflow(&[&seat]),
        "['priority=9,udp,actions=controller', 'priority=0,actions=NORMAL']",
    );
    let (a, b) = hosts(&lab);
    let mut controller = seat.take().greet();
    a.pings(b.address, 1);
    drop(a.udp_socket(5000).send_to(&[1; 100], (b.address, 6000)));
    let packet_in = wait_for("a packet-in", || {
        let (message_type, _, body) = controller.read();
        (message_type == PACKET_IN).then_some(body)
    });
    assert!(packet_in.len() > 142, "{packet_in:02x?}");
    switch.stop();
}
