//! A command that has returned, under a stream that never stops: nothing sent afterwards goes the old way.

use crate::lab::{Host, Lab, wait_for};
use crate::openflow::ofctl;
use crate::packet_socket::PacketSocket;
use crate::switch::{Recipe, Switch, bridge};
use penstock::packet::build::FrameBuilder;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Times that the stream is sent another way.
const ROUNDS: u64 = 60;

/// Packets that must have come by the new port before it changes again.
const PACKETS_PER_ROUND: u64 = 20;

/// Packets of the stream between two pauses of its sender, so that the switch keeps up with it.
const BURST_LEN: u64 = 4;
const PAUSE: Duration = Duration::from_millis(1);

/// What marks a packet of the stream.
const UDP_PORT: u16 = 4242;

/// Where a packet's number stands: after the headers of Ethernet, IPv4 and UDP.
const NUMBER_AT: usize = 14 + 20 + 8;

/// A packet of the stream. Most are of one of a few flows; every eighth is the first of a new one, so that there are
/// always some that wait for a translation.
fn packet(number: u64) -> Vec<u8> {
    let flow = if number.is_multiple_of(8) { 1000 + number / 8 % 30_000 } else { number % 8 };
    let builder = FrameBuilder::new().eth([2, 0, 0, 0, 0, 9], [2, 0, 0, 0, 0, 1]);
    let builder = builder.ipv4([198, 18, 0, 1], [198, 18, 1, 1]).udp(flow as u16, UDP_PORT);
    builder.payload(&[&number.to_be_bytes()[..], &[0; 30]].concat()).build()
}

/// The number of a packet of the stream; none if it is of somebody else.
fn number_of(frame: &[u8]) -> Option<u64> {
    let port = frame.get(36..38)?;
    let number = frame.get(NUMBER_AT..)?.first_chunk()?;
    (frame[12..14] == [8, 0] && port == UDP_PORT.to_be_bytes()).then(|| u64::from_be_bytes(*number))
}

/// What came out of a port.
#[derive(Default)]
struct Arrivals {
    /// One more than the highest number.
    end: AtomicU64,
}

/// Takes what arrives until the stream is over and nothing more comes; returns the numbers.
fn collect(socket: &PacketSocket, arrivals: &Arrivals, is_over: &AtomicBool) -> Vec<u64> {
    let mut numbers = Vec::new();
    loop {
        let was_over = is_over.load(Ordering::Acquire);
        while let Some(frame) = socket.receive() {
            if let Some(number) = number_of(&frame) {
                numbers.push(number);
                arrivals.end.fetch_max(number + 1, Ordering::AcqRel);
            }
        }
        if was_over {
            return numbers;
        }
        thread::sleep(Duration::from_micros(500));
    }
}

/// A time in which all packets must leave by one port: from the return of a command to the call of the next.
struct Span {
    first: u64,
    end: u64,
    is_second: bool,
}

fn assert_no_packet_goes_the_old_way(workers: u8) {
    let lab = Lab::new();
    let ports = ["{name: a, type: tap, rx_queues: 2}", "{name: b, type: tap}", "{name: c, type: tap}"];
    // One rule that tells flows apart, so that each has a megaflow, and the one that changes.
    let other = format!("priority=9,in_port=1,udp,tp_src=65535,tp_dst={UDP_PORT},actions=drop");
    let rule = |port: &str| format!("priority=5,in_port=1,udp,tp_dst={UDP_PORT},actions=output:{port}");
    let body = bridge(&ports, &[&other, &rule("2"), "priority=0,actions=drop"]);
    let switch = Switch::start(&lab, &Recipe::new(format!("workers: {{count: {workers}}}\n{body}")));
    let hosts = [("a", "198.18.0.1/24"), ("b", "198.18.0.2/24"), ("c", "198.18.0.3/24")]
        .map(|(port, address)| lab.host(port, address));
    let [a, b, c] = hosts.each_ref().map(Host::packets);
    let (next, is_over, is_drained) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let arrivals = [Arrivals::default(), Arrivals::default()];
    let mut spans = Vec::new();
    let [at_b, at_c] = thread::scope(|scope| {
        let collectors = [(&b, &arrivals[0]), (&c, &arrivals[1])]
            .map(|(socket, arrivals)| scope.spawn(|| collect(socket, arrivals, &is_drained)));
        let sender = scope.spawn(|| {
            while !is_over.load(Ordering::Acquire) {
                for _ in 0..BURST_LEN {
                    // The number is taken before the packet is sent: who then sees that it is the next one knows that
                    // neither it nor any later one is on its way.
                    let number = next.fetch_add(1, Ordering::AcqRel);
                    // A queue that is full takes no more: then there is a number that nobody gets.
                    drop(a.send(&packet(number)));
                }
                thread::sleep(PAUSE);
            }
        });
        // Ends the threads also when a round fails.
        let end = End { flags: [&is_over, &is_drained] };
        for round in 1..=ROUNDS {
            let is_second = round % 2 == 1;
            let rule = rule(if is_second { "3" } else { "2" });
            if round % 4 < 2 {
                ofctl(&lab, "OpenFlow13", &["--strict", "mod-flows", "br0", &rule]);
            } else {
                switch.ok(&["add-flow", "br0", &rule]);
            }
            let first = next.load(Ordering::Acquire);
            wait_for("packets by the new port", || {
                let arrived = arrivals[usize::from(is_second)].end.load(Ordering::Acquire);
                (arrived >= first + PACKETS_PER_ROUND).then_some(())
            });
            spans.push(Span { first, end: next.load(Ordering::Acquire), is_second });
        }
        is_over.store(true, Ordering::Release);
        sender.join().expect("the sender ends");
        // What is still in the switch comes out before its counters agree.
        switch.assert_conserved();
        drop(end);
        collectors.map(|collector| collector.join().expect("a collector ends"))
    });
    for (port, numbers, is_second) in [("b", &at_b, false), ("c", &at_c, true)] {
        for span in spans.iter().filter(|span| span.is_second != is_second) {
            let stray = numbers.iter().find(|number| (span.first..span.end).contains(number));
            assert_eq!(
                stray, None,
                "sent after the command had returned ({}), and left by {port}",
                span.first
            );
        }
    }
    let counts = [at_b.len(), at_c.len()];
    assert!(counts.iter().all(|&count| count as u64 >= ROUNDS / 2), "{counts:?} packets arrived");
    switch.stop();
}

/// Sets flags when it goes.
struct End<'a> {
    flags: [&'a AtomicBool; 2],
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.flags.iter().for_each(|flag| flag.store(true, Ordering::Release));
    }
}

#[test]
fn no_packet_that_is_sent_after_a_rule_was_changed_goes_the_old_way() {
    assert_no_packet_goes_the_old_way(1);
}

#[test]
fn no_packet_that_is_sent_after_a_rule_was_changed_goes_the_old_way_by_any_of_two_workers() {
    assert_no_packet_goes_the_old_way(2);
}
