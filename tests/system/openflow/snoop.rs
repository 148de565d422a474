//! `ovs-ofctl snoop`, beside a controller that is played here.

use super::{PORTS, hosts, ofctl_output};
use crate::lab::{Background, DEADLINE, Lab, wait_for};
use crate::metrics::{METRICS, sample, scrape};
use crate::switch::{Recipe, Switch, run_dir};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;

const HELLO: [u8; 8] = [4, 0, 0, 8, 0, 0, 0, 1];
const ECHO_REPLY: u8 = 3;
const BARRIER_REPLY: u8 = 21;

/// The other side of a controller's connection, in OpenFlow 1.3.
struct Controller(UnixStream);

impl Controller {
    fn accept(listener: &UnixListener) -> Controller {
        let (stream, _) = listener.accept().expect("the switch calls");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket can be set so");
        let mut controller = Controller(stream);
        controller.send(&HELLO);
        assert_eq!(controller.receive()[1], 0, "a hello");
        controller
    }

    fn send(&mut self, message: &[u8]) {
        self.0.write_all(message).expect("the switch reads");
    }

    fn receive(&mut self) -> Vec<u8> {
        let mut message = vec![0; 8];
        self.0.read_exact(&mut message).expect("the switch speaks");
        message.resize(usize::from(u16::from_be_bytes([message[2], message[3]])), 0);
        self.0.read_exact(&mut message[8..]).expect("the rest of it");
        message
    }

    /// Reads up to a message of this type.
    fn receive_until(&mut self, message_type: u8) {
        while self.receive()[1] != message_type {}
    }

    fn barrier(&mut self) {
        self.send(&[4, 20, 0, 8, 0, 0, 0, 0x77]);
        self.receive_until(BARRIER_REPLY);
    }
}

fn body(controllers: &str) -> String {
    format!(
        "bridges:\n  - name: br0\n    openflow: {{controllers: [{controllers}], fail_mode: secure, \
         backoff_max_s: 1, probe_interval_s: 0}}\n    rules: ['actions=CONTROLLER']\n{PORTS}"
    )
}

/// A switch whose controller is whoever accepts at the listener, and serves metrics.
fn switch(lab: &Lab) -> (Switch, UnixListener) {
    let path = lab.path("controller.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let mut recipe = Recipe::new("");
    recipe.body = body(&format!("\"unix:{}\"", path.display()));
    (Switch::start(lab, &recipe), listener)
}

/// `ovs-ofctl snoop br0`, and where it writes.
fn snoop(lab: &Lab, version: &str) -> (Background, PathBuf) {
    let path = lab.path(&format!("snoop-{version}.txt"));
    let file = File::create(&path).expect("a file");
    let mut command = Command::new("ovs-ofctl");
    command.env("OVS_RUNDIR", run_dir(lab)).args(["-O", version, "snoop", "br0"]);
    (Background::start(command.stderr(file)), path)
}

#[test]
fn ovs_ofctl_snoop_shows_what_a_controller_says_and_hears() {
    let lab = Lab::new();
    let (switch, listener) = switch(&lab);
    let (a, b) = hosts(&lab);
    let mut controller = Controller::accept(&listener);
    // A snooper need not speak the controller's version.
    let snoopers = ["OpenFlow10", "OpenFlow13"].map(|version| snoop(&lab, version));
    let shown = |text: &str| {
        snoopers.iter().all(|(_, path)| std::fs::read_to_string(path).expect("a file").contains(text))
    };
    wait_for("messages of both directions", || {
        controller.barrier();
        let both = ["OFPT_BARRIER_REQUEST (OF1.3) (xid=0x77)", "OFPT_BARRIER_REPLY (OF1.3) (xid=0x77)"];
        both.iter().all(|text| shown(text)).then_some(())
    });
    a.does_not_reach(b.address);
    wait_for("a packet for the controller", || shown("OFPT_PACKET_IN (OF1.3)").then_some(()));
    // What others ask of the bridge is not the controller's, and hellos are each connection's own.
    assert!(ofctl_output(&lab, "OpenFlow13", &["dump-desc", "br0"]).status.success());
    controller.send(&[4, 2, 0, 8, 0, 0, 0, 0x99]);
    wait_for("an echo", || shown("OFPT_ECHO_REPLY (OF1.3) (xid=0x99)").then_some(()));
    assert!(!shown("OFPST_DESC") && !shown("OFPT_HELLO"));
    // It goes on with the controller's next connection.
    drop(controller);
    let mut controller = Controller::accept(&listener);
    controller.send(&[4, 2, 0, 8, 0, 0, 0, 0x9a]);
    wait_for("an echo of the new connection", || shown("OFPT_ECHO_REPLY (OF1.3) (xid=0x9a)").then_some(()));
    // And ends with its place in the configuration.
    let file = Recipe::new(body("")).write(&lab);
    switch.ok(&["apply", &file.display().to_string()]);
    for (mut snooper, _) in snoopers {
        wait_for("the end of a snooper", || snooper.0.try_wait().expect("it is our child"));
    }
    assert!(!ofctl_output(&lab, "OpenFlow13", &["snoop", "br0"]).status.success(), "there is no controller");
    switch.stop();
}

#[test]
fn a_snooper_that_does_not_read_loses_messages_and_the_controller_none() {
    let lab = Lab::new();
    let (mut switch, listener) = switch(&lab);
    let mut controller = Controller::accept(&listener);
    let mut greedy: Vec<UnixStream> =
        (0..9).map(|_| UnixStream::connect(run_dir(&lab).join("br0.snoop")).expect("it listens")).collect();
    // All but one are let in, and that one is not kept.
    let mut bytes = Vec::new();
    greedy.pop().expect("the last").read_to_end(&mut bytes).expect("its connection ends");
    assert!(bytes.is_empty(), "{bytes:?}");
    for (index, snooper) in greedy.iter_mut().enumerate() {
        snooper.write_all(&HELLO).expect("it is read");
        // Whatever they say beyond that is nothing to the switch.
        let chatter = [[4, 14, 0, 8, 0, 0, 0, 1], [9, 9, 0, 8, 9, 9, 9, 9]].concat();
        snooper.write_all(&chatter.repeat(index)).expect("it is read");
    }
    let mut echo = vec![4, 2, 0xea, 0x60, 0, 0, 0, 5];
    echo.resize(0xea60, 0);
    let lost =
        || sample(&scrape(&lab.namespace, METRICS.into()).1, "penstock_snooped_messages_lost_total", &[]);
    wait_for("messages that are lost", || {
        controller.send(&echo);
        controller.receive_until(ECHO_REPLY);
        lost().filter(|lost| *lost > 0.0)
    });
    // Those who go leave room for others.
    drop(greedy);
    let (mut snooper, path) = snoop(&lab, "OpenFlow13");
    wait_for("another snooper's messages", || {
        controller.barrier();
        if snooper.0.try_wait().expect("it is our child").is_some() {
            // It came before the others had gone.
            (snooper, _) = snoop(&lab, "OpenFlow13");
        }
        std::fs::read_to_string(&path).expect("a file").contains("OFPT_BARRIER_REPLY").then_some(())
    });
    assert!(switch.is_running());
    switch.stop();
}
