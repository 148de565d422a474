use super::*;
use crate::metrics::http::{SILENCE_MAX, STALL_MAX};
use mio::{Events, Poll};
use std::net::TcpStream as StdStream;
use std::time::{Duration, Instant};

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

const SCRAPE: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";

/// A server and its loop, turned by the test.
struct Rig {
    server: MetricsServer,
    poll: Poll,
    now: Nanos,
    /// What a scrape returns.
    text: String,
}

impl Rig {
    fn new(connection_count: usize) -> Rig {
        let mut server = MetricsServer::bind("127.0.0.1:0".parse().expect("an address")).expect("bound");
        let poll = Poll::new().expect("a poll");
        server.register(poll.registry(), 7..8 + connection_count).expect("registered");
        Rig { server, poll, now: Nanos::from_secs(1), text: "penstock_x 1\n".to_owned() }
    }

    fn connect(&self) -> StdStream {
        let stream = StdStream::connect(self.server.address()).expect("connected");
        stream.set_nonblocking(true).expect("non-blocking");
        stream
    }

    fn run_until(&mut self, mut is_done: impl FnMut(&mut Rig) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut events = Events::with_capacity(4);
        while !is_done(self) {
            assert!(Instant::now() < deadline, "waited too long: {:?}", self.server.stats());
            self.poll.poll(&mut events, Some(Duration::from_millis(5))).expect("polled");
            for event in &events {
                assert!(self.server.owns(event.token()));
                let text = &self.text;
                self.server.handle(event.token(), self.now, &mut |_| text.clone());
            }
        }
    }

    /// Turns the loop until what has come from `stream` ends with `end`, or it is closed.
    fn read_until(&mut self, stream: &mut StdStream, end: &str) -> String {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        self.run_until(|_| match stream.read(&mut buffer) {
            Ok(0) => true,
            Ok(count) => {
                bytes.extend_from_slice(&buffer[..count]);
                bytes.ends_with(end.as_bytes())
            }
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        });
        String::from_utf8(bytes).expect("text")
    }
}

#[test]
fn scrapes_share_a_connection_and_are_counted() {
    let mut rig = Rig::new(4);
    let mut client = rig.connect();
    for _ in 0..3 {
        client.write_all(SCRAPE).expect("written");
        assert!(rig.read_until(&mut client, "penstock_x 1\n").starts_with("HTTP/1.1 200 OK\r\n"));
    }
    client.write_all(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("written");
    assert!(rig.read_until(&mut client, "never").starts_with("HTTP/1.1 404 "), "and then it is closed");
    let stats = rig.server.stats();
    assert_eq!((stats.scrapes, stats.errors, stats.dropped), (3, 1, 0));
    drop(client);
    rig.run_until(|rig| rig.server.stats().connections == 0);
}

#[test]
fn many_pipelined_scrapes_outlast_a_turn_and_are_all_answered() {
    let mut rig = Rig::new(4);
    let mut client = rig.connect();
    let count = TURN_STEPS_MAX * 7 + 1;
    client.write_all(&SCRAPE.repeat(count)).expect("a socket buffer takes this much");
    let mut answers = String::new();
    while answers.matches("penstock_x 1\n").count() < count {
        answers += &rig.read_until(&mut client, "penstock_x 1\n");
    }
    assert_eq!(rig.server.stats().scrapes, count as u64);
}

#[test]
fn a_large_scrape_arrives_whole_and_a_reader_that_stalls_is_dropped() {
    let mut rig = Rig::new(4);
    rig.text = "x".repeat(16 << 20) + "\n";
    let mut client = rig.connect();
    client.write_all(SCRAPE).expect("written");
    assert!(rig.read_until(&mut client, "\n").len() > 16 << 20);

    client.write_all(SCRAPE).expect("written");
    rig.run_until(|rig| rig.server.stats().scrapes == 2);
    assert_eq!(rig.server.expire(rig.now), 0);
    rig.now = rig.now.plus(STALL_MAX);
    assert_eq!(rig.server.expire(rig.now), 1);
    assert_eq!((rig.server.stats().dropped, rig.server.stats().connections), (1, 0));
}

#[test]
fn a_full_server_turns_clients_away_and_has_room_when_silent_ones_are_gone() {
    let mut rig = Rig::new(2);
    let _silent = [rig.connect(), rig.connect()];
    rig.run_until(|rig| rig.server.stats().connections == 2);
    let mut third = rig.connect();
    assert_eq!(rig.read_until(&mut third, "never"), "");
    assert_eq!(rig.server.stats().dropped, 1);
    rig.now = rig.now.plus(SILENCE_MAX);
    assert_eq!(rig.server.expire(rig.now), 2);
    let mut fourth = rig.connect();
    fourth.write_all(SCRAPE).expect("written");
    assert!(rig.read_until(&mut fourth, "penstock_x 1\n").contains("200 OK"));
}

#[test]
fn a_client_that_sends_too_much_still_gets_to_read_why_it_is_closed() {
    let mut rig = Rig::new(2);
    let mut client = rig.connect();
    client
        .write_all(&[b"GET /metrics HTTP/1.1\r\nX: ".as_slice(), &[b'a'; 100_000]].concat())
        .expect("written");
    let answer = rig.read_until(&mut client, "never");
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    drop(client);
    rig.run_until(|rig| rig.server.stats().connections == 0);
}

#[test]
fn an_address_in_use_is_an_error_that_says_so() {
    let rig = Rig::new(1);
    let error = MetricsServer::bind(rig.server.address()).expect_err("taken");
    assert!(matches!(error, MetricsServerError::AddressInUse { .. }));
    let text = error.to_string();
    assert!(text.contains(&rig.server.address().to_string()) && text.contains("in use"), "{text}");
    let foreign = "192.0.2.1:0".parse().expect("an address that no machine here has");
    assert!(matches!(MetricsServer::bind(foreign), Err(MetricsServerError::Io { step: "listen", .. })));
}

#[test]
fn a_server_needs_tokens() {
    let mut server = MetricsServer::bind("[::1]:0".parse().expect("an address"))
        .or_else(|_| MetricsServer::bind("127.0.0.1:0".parse().expect("an address")))
        .expect("bound");
    let poll = Poll::new().expect("a poll");
    let error = server.register(poll.registry(), 5..6).expect_err("too few");
    assert!(matches!(error, MetricsServerError::TooFewTokens { count: 1, .. }));
}
