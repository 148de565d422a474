use super::*;
use crate::vswitchd::api::{
    BridgeParams, DumpFlowsParams, DumpFlowsReply, Error, ErrorCode, FlowInfo, Reply, Request, VersionReply,
};
use crate::vswitchd::ctl::client::{Client, ClientError};
use mio::{Events, Poll};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Rules in the reply to `dump-flows`: some megabytes, more than any socket buffer holds.
const DUMP_LEN: usize = 20_000;

struct Fake {
    calls: usize,
}

impl ControlHandler for Fake {
    fn call(&mut self, request: Request) -> Result<Reply, Error> {
        self.calls += 1;
        match request {
            Request::Version => Ok(Reply::Version(VersionReply {
                name: "test".into(),
                version: "1.2.3".into(),
                dpdk_version: None,
                pid: std::process::id(),
            })),
            Request::DumpFlows(params) => {
                Ok(Reply::DumpFlows(DumpFlowsReply { bridge: params.bridge, flows: vec![rule(); DUMP_LEN] }))
            }
            _ => Err(Error::new(ErrorCode::NotFound, "there is no bridge br9: bridges are br0")),
        }
    }
}

fn rule() -> FlowInfo {
    FlowInfo {
        table: 0,
        priority: 1,
        matching: "tcp".into(),
        actions: "drop".into(),
        cookie: "0x0".into(),
        packets: 1,
        bytes: 2,
        duration_s: 0.5,
        idle_s: 0.25,
        idle_timeout_s: 0,
        hard_timeout_s: 0,
        importance: 0,
        flags: Vec::new(),
    }
}

/// A server and its loop, turned by the test.
struct Rig {
    directory: TempDir,
    server: ControlServer,
    poll: Poll,
    handler: Fake,
    now: Nanos,
}

impl Rig {
    fn new(connection_count: usize) -> Rig {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut server = ControlServer::bind(&directory.path().join("test.sock"), 0o660).expect("bound");
        let poll = Poll::new().expect("a poll");
        server.register(poll.registry(), 100..101 + connection_count).expect("registered");
        Rig { directory, server, poll, handler: Fake { calls: 0 }, now: Nanos::from_secs(1) }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("test.sock")
    }

    fn connect(&self) -> StdStream {
        let stream = StdStream::connect(self.path()).expect("connected");
        stream.set_nonblocking(true).expect("non-blocking");
        stream
    }

    /// Turns the loop until `is_done` says so.
    fn run_until(&mut self, mut is_done: impl FnMut(&mut Rig) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut events = Events::with_capacity(4);
        while !is_done(self) {
            assert!(Instant::now() < deadline, "waited too long: {:?}", self.server.stats());
            self.poll.poll(&mut events, Some(Duration::from_millis(5))).expect("polled");
            for event in &events {
                assert!(self.server.owns(event.token()));
                self.server.handle(event.token(), self.now, &mut self.handler);
            }
        }
    }

    /// Turns the loop until `stream` has `count` lines for us or has ended.
    fn read_lines(&mut self, stream: &mut StdStream, count: usize) -> Vec<String> {
        let mut bytes = Vec::new();
        self.run_until(|_| {
            let is_over = read_available(stream, &mut bytes);
            is_over || bytes.iter().filter(|&&byte| byte == b'\n').count() >= count
        });
        String::from_utf8(bytes).expect("JSON is UTF-8").lines().map(str::to_owned).collect()
    }
}

/// Appends what has come; whether the other side has closed.
fn read_available(stream: &mut StdStream, bytes: &mut Vec<u8>) -> bool {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

const VERSION: &[u8] = b"{\"jsonrpc\":\"2.0\",\"method\":\"version\",\"id\":1}\n";
const DUMP: &[u8] = b"{\"jsonrpc\":\"2.0\",\"method\":\"dump-flows\",\"params\":[\"br0\"],\"id\":1}\n";

/// Runs `client` on a thread of its own while the loop turns, and returns what it returned.
fn with_client<T: Send>(rig: &mut Rig, client: impl FnOnce(PathBuf) -> T + Send) -> T {
    let path = rig.path();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let outcome = client(path);
            is_done.store(true, Ordering::Release);
            outcome
        });
        rig.run_until(|_| is_done.load(Ordering::Acquire) || thread.is_finished());
        thread.join().expect("the client did not panic")
    })
}

#[test]
fn a_client_gets_replies_large_ones_too_and_errors() {
    let mut rig = Rig::new(4);
    with_client(&mut rig, |path| {
        let mut client = Client::connect(&path, PATIENCE).expect("connected");
        let (value, reply) = client.call(&Request::Version).expect("a version");
        assert_eq!(value["name"], "test");
        assert!(matches!(reply, Reply::Version(version) if version.version == "1.2.3"));
        let dump = Request::DumpFlows(DumpFlowsParams { bridge: "br0".into(), filter: None });
        let (_, reply) = client.call(&dump).expect("a dump");
        assert!(matches!(reply, Reply::DumpFlows(dump) if dump.flows == vec![rule(); DUMP_LEN]));
        let error = client.call(&Request::Fdb(BridgeParams { bridge: "br9".into() })).expect_err("no bridge");
        assert!(matches!(error, ClientError::Refused(Error { code: ErrorCode::NotFound, .. })));
        client.call(&Request::Version).expect("the connection lives on");
    });
    let stats = rig.server.stats();
    assert_eq!((stats.accepted, stats.requests, stats.errors), (1, 4, 1));
}

#[test]
fn pipelined_requests_are_all_answered_although_they_outlast_a_turn() {
    let mut rig = Rig::new(4);
    let mut client = rig.connect();
    let count = TURN_STEPS_MAX * 5 + 3;
    client.write_all(&VERSION.repeat(count)).expect("a socket buffer takes this much");
    assert_eq!(rig.read_lines(&mut client, count).len(), count);
    assert_eq!(rig.handler.calls, count);
}

#[test]
fn one_turn_never_answers_more_than_its_share() {
    let batch = [b"[".as_slice(), VERSION.trim_ascii_end()].concat();
    let rest = [b",".as_slice(), VERSION.trim_ascii_end()].concat().repeat(TURN_STEPS_MAX * 3 - 1);
    answers_in_turns(&VERSION.repeat(TURN_STEPS_MAX * 3));
    answers_in_turns(&[&batch[..], &rest, b"]\n".as_slice()].concat());
}

/// Sends requests for three turns at least, and looks at what each turn answers.
fn answers_in_turns(requests: &[u8]) {
    let mut rig = Rig::new(4);
    let mut client = rig.connect();
    client.write_all(requests).expect("a socket buffer takes this much");
    let mut events = Events::with_capacity(1);
    let deadline = Instant::now() + PATIENCE;
    while rig.handler.calls < TURN_STEPS_MAX * 3 {
        assert!(Instant::now() < deadline);
        rig.poll.poll(&mut events, Some(Duration::from_millis(5))).expect("polled");
        for event in &events {
            let before = rig.handler.calls;
            rig.server.handle(event.token(), rig.now, &mut rig.handler);
            assert!(rig.handler.calls - before <= TURN_STEPS_MAX);
        }
    }
}

#[test]
fn a_client_that_shuts_its_side_down_gets_its_answers_and_the_end() {
    let mut rig = Rig::new(4);
    let mut client = rig.connect();
    client.write_all(VERSION.trim_ascii_end()).expect("written");
    client.shutdown(std::net::Shutdown::Write).expect("shut down");
    assert_eq!(rig.read_lines(&mut client, usize::MAX).len(), 1);
    assert_eq!(rig.server.stats().connections, 0);
}

#[test]
fn a_client_that_does_not_read_is_asked_nothing_more_and_dropped_after_a_while() {
    let mut rig = Rig::new(4);
    let mut slow = rig.connect();
    slow.write_all(&DUMP.repeat(5)).expect("written");
    rig.run_until(|rig| rig.handler.calls > 0);
    let mut other = rig.connect();
    other.write_all(VERSION).expect("written");
    assert_eq!(rig.read_lines(&mut other, 1).len(), 1, "others are served");
    assert_eq!(rig.handler.calls, 2, "one dump waits, not five");

    rig.now = rig.now.plus(STALL_MAX).since(Nanos(1));
    assert_eq!(rig.server.expire(rig.now), 0);
    rig.now = rig.now.plus(Nanos(1));
    assert_eq!(rig.server.expire(rig.now), 1);
    let stats = rig.server.stats();
    assert_eq!((stats.dropped_stalled, stats.connections), (1, 1));
    let lines = rig.read_lines(&mut slow, usize::MAX);
    assert_eq!(lines.len(), 1, "what was in the socket ends in the middle of the first reply");
}

#[test]
fn a_client_that_reads_slowly_but_reads_gets_all_of_it() {
    let mut rig = Rig::new(4);
    let mut slow = rig.connect();
    slow.write_all(DUMP).expect("written");
    let mut received = Vec::new();
    let mut buffer = [0; 50_000];
    while !received.ends_with(b"\n") {
        let mut count = 0;
        rig.run_until(|_| match slow.read(&mut buffer) {
            Ok(read) => {
                count = read;
                true
            }
            Err(_) => false,
        });
        received.extend_from_slice(&buffer[..count]);
        rig.now = rig.now.plus(Nanos::from_secs(1));
        assert_eq!(rig.server.expire(rig.now), 0);
    }
    assert!(received.len() > 1 << 20);
}

#[test]
fn a_full_server_turns_a_client_away_unless_another_is_silent() {
    let mut rig = Rig::new(2);
    let mut first = rig.connect();
    let mut second = rig.connect();
    for client in [&mut first, &mut second] {
        client.write_all(VERSION).expect("written");
        rig.read_lines(client, 1);
    }
    let mut third = rig.connect();
    let lines = rig.read_lines(&mut third, usize::MAX);
    assert!(lines.len() == 1 && lines[0].contains("-32005"), "{lines:?}");

    rig.now = rig.now.plus(SILENCE_MIN);
    second.write_all(VERSION).expect("written");
    rig.read_lines(&mut second, 1);
    let mut fourth = rig.connect();
    fourth.write_all(VERSION).expect("written");
    assert_eq!(rig.read_lines(&mut fourth, 1).len(), 1);
    assert_eq!(rig.read_lines(&mut first, usize::MAX).len(), 0, "the silent one has lost its place");
    second.write_all(VERSION).expect("written");
    assert_eq!(rig.read_lines(&mut second, 1).len(), 1);
    let stats = rig.server.stats();
    assert_eq!((stats.accepted, stats.refused, stats.dropped_silent), (3, 1, 1));
}

#[test]
fn garbage_and_endless_lines_cost_their_client_only() {
    let mut rig = Rig::new(4);
    let mut endless = rig.connect();
    let chunk = vec![b'['; 1 << 16];
    let mut sent = 0;
    let mut received = Vec::new();
    // Until the server closes the connection: writing more than may be sent in one line.
    rig.run_until(|_| match endless.write(&chunk) {
        Ok(count) => {
            sent += count;
            assert!(sent < 64 << 20, "the server reads without end");
            read_available(&mut endless, &mut received)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            read_available(&mut endless, &mut received)
        }
        Err(_) => true,
    });
    let mut client = rig.connect();
    client.write_all(b"\xff\xfe\x00garbage\n").expect("written");
    client.write_all(VERSION).expect("written");
    let lines = rig.read_lines(&mut client, 2);
    assert!(lines[0].contains("-32700") && lines[1].contains("1.2.3"), "{lines:?}");
    assert_eq!(rig.server.stats().connections, 1);
}

#[test]
fn the_socket_has_its_mode_and_files_go_with_the_server() {
    let rig = Rig::new(1);
    let mode = fs::metadata(rig.path()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert_eq!(fs::read_dir(rig.directory.path()).expect("listed").count(), 2, "the socket and its lock");
    let Rig { directory, server, .. } = rig;
    drop(server);
    assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 0);
}

#[test]
fn two_switches_with_one_name_are_told_apart() {
    let rig = Rig::new(1);
    let error = ControlServer::bind(&rig.path(), 0o600).expect_err("taken");
    let text = error.to_string();
    assert!(text.contains("another switch named test is running"), "{text}");
    assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
    assert!(rig.path().exists(), "the loser leaves the winner's socket alone");

    let (path, directory) = (rig.path(), rig.directory);
    drop(rig.server);
    drop(ControlServer::bind(&path, 0o600).expect("free again"));
    drop(directory);
}

#[test]
fn of_many_that_start_at_once_one_wins() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("race.sock");
    for round in 0..30 {
        let start = std::sync::Barrier::new(4);
        let end = std::sync::Barrier::new(4);
        let winners: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        let server = ControlServer::bind(&path, 0o600);
                        end.wait();
                        match server {
                            Ok(_) => 1,
                            Err(ControlError::AnotherRunning { .. }) => 0,
                            Err(error) => panic!("{error}"),
                        }
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(winners, 1, "round {round}");
    }
}

#[test]
fn a_path_that_changes_hands_all_the_time_never_has_two_owners() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("churn.sock");
    let owners = std::sync::atomic::AtomicUsize::new(0);
    let won = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..300 {
                    match ControlServer::bind(&path, 0o600) {
                        Ok(server) => {
                            assert_eq!(owners.fetch_add(1, Ordering::SeqCst), 0);
                            assert!(path.exists());
                            won.fetch_add(1, Ordering::SeqCst);
                            owners.fetch_sub(1, Ordering::SeqCst);
                            drop(server);
                        }
                        Err(ControlError::AnotherRunning { .. }) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert!(won.into_inner() > 0);
}

#[test]
fn what_a_dead_switch_left_is_replaced() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("stale.sock");
    drop(StdListener::bind(&path).expect("bound"));
    fs::write(directory.path().join("stale.sock.lock"), "999999\n").expect("written");
    fs::write(directory.path().join("stale.sock.new"), "").expect("written");
    let error = Client::connect(&path, PATIENCE).expect_err("nobody listens");
    assert!(error.is_nobody_there());

    let server = ControlServer::bind(&path, 0o600).expect("a leftover is no obstacle");
    Client::connect(&path, PATIENCE).expect("somebody listens");
    let lock = fs::read_to_string(directory.path().join("stale.sock.lock")).expect("read");
    assert_eq!(lock.trim(), std::process::id().to_string());
    drop(server);
    assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 0);
}

#[test]
fn a_live_switch_whose_lock_file_was_removed_is_found_by_asking_it() {
    let mut rig = Rig::new(4);
    fs::remove_file(rig.directory.path().join("test.sock.lock")).expect("removed");
    let error = with_client(&mut rig, |path| ControlServer::bind(&path, 0o600).expect_err("taken"));
    let ControlError::AnotherRunning { name, pid, .. } = error else { panic!("{error}") };
    assert_eq!((name.as_str(), pid), ("test", Some(std::process::id())));
    assert!(rig.path().exists());
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("precious");
    fs::write(&path, "data").expect("written");
    let error = ControlServer::bind(&path, 0o600).expect_err("no socket");
    assert!(matches!(error, ControlError::NotASocket { .. }));
    assert_eq!(fs::read_to_string(&path).expect("read"), "data");
    assert!(!directory.path().join("precious.lock").exists());
}

#[test]
fn a_link_in_place_of_the_lock_file_is_not_followed() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("x.sock");
    let precious = directory.path().join("precious");
    let lock = directory.path().join("x.sock.lock");
    std::os::unix::fs::symlink(&precious, &lock).expect("linked");
    let refused = || match ControlServer::bind(&path, 0o600).expect_err("a link") {
        ControlError::NotALock { path } => assert_eq!(path, lock),
        other => panic!("{other}"),
    };
    refused();
    assert!(!precious.exists(), "what the link names is not made");
    fs::write(&precious, "data").expect("written");
    refused();
    assert_eq!(fs::read_to_string(&precious).expect("read"), "data");
    fs::remove_file(&lock).expect("removed");
    fs::create_dir(&lock).expect("made");
    refused();
}

#[test]
fn a_path_that_cannot_be_is_an_error_that_says_so() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let long = directory.path().join("x".repeat(200));
    let text = ControlServer::bind(&long, 0o600).expect_err("too long").to_string();
    assert!(text.contains("cannot create it"), "{text}");
    let file = directory.path().join("file");
    fs::write(&file, "").expect("written");
    let text = ControlServer::bind(&file.join("x.sock"), 0o600).expect_err("no directory").to_string();
    assert!(text.contains("cannot create its directory"), "{text}");
    let nested = directory.path().join("a/b/c.sock");
    drop(ControlServer::bind(&nested, 0o600).expect("directories are made"));
}

#[test]
fn a_server_needs_tokens() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut server = ControlServer::bind(&directory.path().join("s"), 0o600).expect("bound");
    let poll = Poll::new().expect("a poll");
    assert!(matches!(server.register(poll.registry(), 5..6), Err(ControlError::TooFewTokens(1))));
}

#[test]
fn names_and_paths_belong_together() {
    assert_eq!(socket_path("lab"), Path::new("/run/penstock/lab.sock"));
    assert_eq!(switch_name(&socket_path("lab")), "lab");
}

#[test]
fn a_switch_that_never_answers_times_out() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("stuck.sock");
    let _listener = StdListener::bind(&path).expect("bound");
    let mut client = Client::connect(&path, Duration::from_millis(50)).expect("the backlog takes it");
    let error = client.call(&Request::Version).expect_err("nobody accepts");
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
}
