use crate::config::Dummies;
use crate::dpif::model::{ModelConfig, ModelDpif};
use crate::flow::OfPort;
use crate::metrics::MetricsServerError;
use crate::netdev::dummy::DummyProvider;
use crate::ofproto::Ofproto;
use crate::openflow::flow_mod::{FlowMod, FlowStatsRequest};
use crate::openflow::message::{
    BundleControl, BundleControlType, Message, MultipartReply, MultipartRequest, PacketOutMessage, Version,
    VersionSet, port_metadata,
};
use crate::openflow::session::Session;
use crate::sync::{ManualClock, Nanos};
use crate::vswitchd::api::{
    ConnectionInfo, ConnectionKind, ConnectionState, OpenFlowInfo, OpenFlowParams, Reply, Request,
};
use crate::vswitchd::apply::{NoSurroundings, Origin, Surroundings, Wanted};
use crate::vswitchd::plan::Placement;
use crate::vswitchd::switch::{Parts, ProcessInfo, Switch};
use mio::{Events, Poll};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tracing::level_filters::LevelFilter;

/// A switch whose sockets are real, and whose time the test moves.
struct World {
    switch: Switch,
    poll: Poll,
    clock: Arc<ManualClock>,
    directory: tempfile::TempDir,
    /// Its configuration.
    text: String,
    /// Commands that wait for workers, as the datapath says.
    waiting: Arc<AtomicUsize>,
}

impl World {
    /// One bridge with a controller at `c.sock` and a place at `p.sock`, if `openflow` says no more.
    fn new(openflow: &str) -> World {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let here = directory.path().display();
        let has_own = openflow.contains("controllers:");
        let controllers =
            if has_own { String::new() } else { format!("controllers: ['unix:{here}/c.sock'], ") };
        let text = format!(
            "switch: {{run_dir: {here}}}\nbridges:\n  - name: br0\n    internal_port: false\n    openflow: \
             {{{controllers}listen: ['punix:{here}/p.sock'], {openflow}}}\n    \
             controller_rate_limit: {{pps: 1, burst: 2}}\n    ports: [{{name: a, type: dummy}}]\n"
        );
        let config = crate::config::parse("t.yaml", &text).unwrap_or_else(|faults| panic!("{faults}"));
        let clock = Arc::new(ManualClock::default());
        let dpif = ModelDpif::new(ModelConfig::default());
        let waiting = dpif.waiting();
        let parts = Parts {
            dpif: Box::new(dpif),
            devices: Box::new(DummyProvider::new()),
            clock: clock.clone(),
            process: ProcessInfo::default(),
            is_parallel: false,
        };
        let mut switch = Switch::new(&config, parts).unwrap_or_else(|error| panic!("{error}"));
        let poll = Poll::new().expect("a poll");
        switch.openflow_mut().register(poll.registry(), 10).expect("a registry is shared");
        World { switch, poll, clock, directory, text, waiting }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Turns until nothing is left to do, or nothing but to wait.
    fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        let is_waiting = self.waiting.load(Ordering::Relaxed) > 0;
        for _ in 0..if is_waiting { 20 } else { usize::MAX } {
            let worked = self.switch.turn(crate::sync::Clock::now(&*self.clock)).worked;
            self.poll.poll(&mut events, Some(Duration::from_millis(1))).expect("it polls");
            if !worked && events.is_empty() {
                return;
            }
            events.iter().for_each(|event| self.switch.openflow_mut().handle(event.token()));
        }
    }

    fn pass(&mut self, time: Nanos) {
        self.clock.advance(time);
        self.run();
    }

    fn info(&mut self) -> OpenFlowInfo {
        let request = Request::OpenFlow(OpenFlowParams { bridge: Some("br0".into()) });
        match self.switch.answer(request, &mut NoSurroundings) {
            Ok(Reply::OpenFlow(mut reply)) => reply.bridges.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn controller(&mut self) -> ConnectionInfo {
        self.info().connections.remove(0)
    }

    fn sample(&mut self, series: &str) -> f64 {
        let snapshot = self.switch.metrics(Default::default(), Default::default());
        let text = crate::metrics::exposition(&snapshot);
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in {text}")).parse().expect("a number")
    }
}

/// The other side of a connection.
struct Peer {
    stream: UnixStream,
    session: Session,
}

impl Peer {
    fn new(stream: UnixStream) -> Peer {
        Peer::of(stream, Version::V13)
    }

    fn of(stream: UnixStream, version: Version) -> Peer {
        stream.set_nonblocking(true).expect("it can be set so");
        Peer { stream, session: Session::new(VersionSet::of(&[version]), None, Nanos(0)) }
    }

    fn connect(path: &Path) -> Peer {
        Peer::new(UnixStream::connect(path).expect("somebody listens"))
    }

    /// Sends what it has to say, and reads what is there.
    fn talk(&mut self, world: &mut World) -> Vec<Message> {
        let mut heard = Vec::new();
        for _ in 0..3 {
            while !self.session.output().is_empty() {
                let count = self.stream.write(self.session.output()).expect("there is room");
                self.session.sent(count);
            }
            world.run();
            let mut buffer = [0; 65_536];
            match self.stream.read(&mut buffer) {
                Ok(count) => self.session.receive(&buffer[..count], Nanos(0)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            while let Some(incoming) = self.session.next_message() {
                heard.extend(incoming.message.map(|message| *message));
            }
        }
        heard
    }
}

#[test]
fn a_controller_is_told_of_from_the_first_failure_to_the_end_of_a_connection() {
    let mut world = World::new("fail_mode: secure, probe_interval_s: 5");
    world.run();
    let away = world.controller();
    assert_eq!((away.kind, away.state), (ConnectionKind::Controller, ConnectionState::Backoff));
    assert!(away.target.starts_with("unix:") && away.target.ends_with("/c.sock"), "{away:?}");
    assert!(away.last_error.as_deref().is_some_and(|error| error.contains("No such file")), "{away:?}");
    assert_eq!((away.next_try_s, away.failures, away.connects), (Some(1.0), 1, 0));
    world.pass(Nanos::from_millis(400));
    assert_eq!(world.controller().next_try_s, Some(0.6));

    let listener = UnixListener::bind(world.path("c.sock")).expect("bound");
    world.pass(Nanos::from_millis(600));
    assert_eq!(world.controller().state, ConnectionState::Connecting);
    let mut peer = Peer::new(listener.accept().expect("it is called").0);
    peer.talk(&mut world);
    world.pass(Nanos::from_secs(2));
    let there = world.controller();
    assert_eq!((there.state, there.version.as_deref()), (ConnectionState::Active, Some("OpenFlow13")));
    assert_eq!((there.role.as_deref(), there.connected_s), (Some("equal"), Some(2.0)));
    assert!(there.last_error.is_some(), "what was before is worth knowing: {there:?}");
    assert_eq!((there.messages_received, there.connects, there.next_try_s), (1, 1, None));

    // A silent one is asked, and answers.
    world.pass(Nanos::from_secs(4));
    assert_eq!(world.controller().state, ConnectionState::Idle);
    peer.talk(&mut world);
    assert_eq!(world.controller().state, ConnectionState::Active);

    // What it did counts on when it has gone.
    let sent = world.controller().messages_sent;
    drop(peer);
    world.run();
    let gone = world.controller();
    assert_eq!((gone.state, gone.version, gone.role), (ConnectionState::Backoff, None, None));
    assert_eq!(gone.last_error.as_deref(), Some("the peer closed the connection"));
    assert_eq!((gone.messages_sent, gone.connects, gone.failures), (sent, 1, 2));
    let labels = format!("{{bridge=\"br0\",target=\"{}\"}}", gone.target);
    for (name, expected) in [
        ("up", 0),
        ("connections", 0),
        ("connects_total", 1),
        ("failures_total", 2),
        ("sent_messages_total", sent),
    ] {
        assert_eq!(world.sample(&format!("penstock_openflow_{name}{labels}")), expected as f64, "{name}");
    }
}

/// A process in which the first step of a change takes so long.
struct Slow(Arc<ManualClock>, Nanos);

impl Surroundings for Slow {
    fn set_log_level(&mut self, _level: LevelFilter) {
        self.0.advance(self.1);
    }

    fn set_metrics_listen(&mut self, listen: Option<SocketAddr>) -> Result<(), MetricsServerError> {
        NoSurroundings.set_metrics_listen(listen)
    }

    fn place_workers(&mut self, placement: &Placement) -> Vec<Option<u16>> {
        NoSurroundings.place_workers(placement)
    }

    fn place_other_threads(&mut self, placement: &Placement, worker_cores: &[Option<u16>]) {
        NoSurroundings.place_other_threads(placement, worker_cores);
    }
}

#[test]
fn what_a_controller_asks_for_while_the_configuration_changes_is_done_afterwards() {
    let mut world = World::new("fail_mode: secure");
    world.switch.set_origin(Origin { dummies: Dummies::Taken, ..Origin::default() });
    world.run();
    let mut peer = Peer::connect(&world.path("p.sock"));
    peer.talk(&mut world);
    // It has asked, and the switch knows that it has.
    peer.session.reply(&Message::BarrierRequest, 7);
    peer.stream.write_all(peer.session.output()).expect("there is room");
    peer.session.sent(usize::MAX);
    let mut events = Events::with_capacity(64);
    world.poll.poll(&mut events, Some(Duration::from_secs(10))).expect("it polls");
    events.iter().for_each(|event| world.switch.openflow_mut().handle(event.token()));
    let text = world.text.replace("switch: {", "switch: {log_level: debug, ");
    let wanted = Wanted::Text { name: "new.yaml".to_owned(), text };
    let applied = world
        .switch
        .apply(&wanted, &mut Slow(Arc::clone(&world.clock), Nanos::from_secs(1)))
        .expect("it is good");
    assert_eq!(applied.plan.steps.len(), 1);
    let heard = peer.stream.read(&mut [0; 64]).map_err(|error| error.kind());
    assert_eq!(heard, Err(ErrorKind::WouldBlock), "no barrier is answered between two steps");
    let heard = peer.talk(&mut world);
    assert!(heard.iter().any(|it| matches!(it, Message::BarrierReply)), "{heard:?}");
}

#[test]
fn a_change_that_takes_long_is_no_ones_fault_who_connects_meanwhile() {
    let mut world = World::new("fail_mode: secure");
    world.switch.set_origin(Origin { dummies: Dummies::Taken, ..Origin::default() });
    let listener = UnixListener::bind(world.path("c.sock")).expect("bound");
    world.switch.turn(crate::sync::Clock::now(&*world.clock));
    assert_eq!(world.controller().state, ConnectionState::Connecting);
    let text = world.text.replace("switch: {", "switch: {log_level: debug, ");
    let wanted = Wanted::Text { name: "new.yaml".to_owned(), text };
    let mut slow = Slow(Arc::clone(&world.clock), Nanos::from_secs(20));
    world.switch.apply(&wanted, &mut slow).expect("it is good");
    world.pass(Nanos::from_millis(200));
    let mut peer = Peer::new(listener.accept().expect("it is called").0);
    peer.talk(&mut world);
    let there = world.controller();
    assert_eq!((there.state, there.failures), (ConnectionState::Active, 0), "{there:?}");
}

#[test]
fn who_calls_is_told_of_one_by_one_and_counted_by_place() {
    let mut world = World::new("fail_mode: secure");
    world.run();
    let mut first = Peer::connect(&world.path("p.sock"));
    let mut second = Peer::connect(&world.path("p.sock"));
    let mut manager = Peer::connect(&world.path("br0.mgmt"));
    for peer in [&mut first, &mut second, &mut manager] {
        peer.talk(&mut world);
        peer.session.reply(&Message::FeaturesRequest, 7);
        let heard = peer.talk(&mut world);
        assert!(heard.iter().any(|it| matches!(it, Message::FeaturesReply(_))), "{heard:?}");
    }
    let told: Vec<_> =
        world.info().connections.into_iter().map(|it| (it.kind, it.state, it.peer.is_some())).collect();
    use ConnectionKind::{Controller, Listener, Management, Peer as Called};
    use ConnectionState::{Active, Backoff, Listening};
    let expected = [
        (Controller, Backoff, false),
        (Listener, Listening, false),
        (Called, Active, true),
        (Called, Active, true),
        (Management, Listening, false),
        (Management, Active, true),
    ];
    assert_eq!(told, expected);
    drop(first);
    // One that says no hello.
    let mut stranger = UnixStream::connect(world.path("p.sock")).expect("somebody listens");
    stranger.write_all(&[4, 5, 0, 8, 0, 0, 0, 1]).expect("there is room");
    world.run();
    let place = world.info().connections.remove(1);
    assert_eq!((place.connects, place.failures, place.messages_received), (2, 1, 5));
    assert_eq!(place.last_error.as_deref(), Some("the peer's first message is no hello"));
    let labels = format!("{{bridge=\"br0\",target=\"{}\"}}", place.target);
    for (name, expected) in
        [("up", 1.0), ("connections", 1.0), ("connects_total", 2.0), ("received_messages_total", 5.0)]
    {
        assert_eq!(world.sample(&format!("penstock_openflow_{name}{labels}")), expected, "{name}");
    }
}

#[test]
fn show_says_how_many_controllers_are_there_and_what_the_bridge_does_without() {
    let mut world = World::new("fail_mode: standalone, probe_interval_s: 1");
    world.run();
    let show = |world: &mut World| match world.switch.answer(Request::Show, &mut NoSurroundings) {
        Ok(Reply::Show(mut reply)) => reply.bridges.remove(0),
        other => panic!("{other:?}"),
    };
    let before = show(&mut world);
    assert_eq!((before.controller_count, before.controllers_connected, before.is_standalone), (1, 0, false));
    world.pass(Nanos::from_secs(3));
    assert!(show(&mut world).is_standalone && world.info().is_standalone);
    assert_eq!(world.sample("penstock_bridge_standalone{bridge=\"br0\"}"), 1.0);
    let listener = UnixListener::bind(world.path("c.sock")).expect("bound");
    world.pass(Nanos::from_secs(8));
    let mut peer = Peer::new(listener.accept().expect("it is called").0);
    peer.talk(&mut world);
    world.pass(Nanos::from_millis(100));
    let after = show(&mut world);
    assert_eq!((after.controllers_connected, after.is_standalone), (1, false));
}

/// Whether somebody is still at the other end.
fn is_open(stream: &mut UnixStream) -> bool {
    let mut buffer = [0; 65_536];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn a_barrier_is_true_of_what_follows_from_the_connection_itself() {
    let mut world = World::new("fail_mode: standalone, probe_interval_s: 1, versions: [OpenFlow10]");
    world.run();
    world.pass(Nanos::from_secs(3));
    assert!(world.info().is_standalone);
    let listener = UnixListener::bind(world.path("c.sock")).expect("bound");
    world.pass(Nanos::from_secs(8));
    let mut peer = Peer::of(listener.accept().expect("it is called").0, Version::V10);
    // The hello and a barrier at once: no time passes until the answer.
    let hello = peer.session.output().to_vec();
    peer.session.sent(hello.len());
    peer.stream.write_all(&hello).expect("there is room");
    peer.stream.write_all(&[1, 18, 0, 8, 0, 0, 0, 9]).expect("there is room");
    let heard = peer.talk(&mut world);
    assert!(heard.contains(&Message::BarrierReply), "{heard:?}");
    assert!(!world.info().is_standalone, "it goes by its rules");
    let bridge = world.switch.ofproto().bridges()[0];
    let miss = world.switch.ofproto().table_settings(bridge, 0).miss;
    assert_eq!(miss, crate::ofproto::MissHandling::Controller);
}

#[test]
fn who_says_hello_by_single_bytes_has_no_more_time() {
    let mut world = World::new("fail_mode: secure");
    world.run();
    let mut slow = UnixStream::connect(world.path("p.sock")).expect("somebody listens");
    slow.set_nonblocking(true).expect("it can be set so");
    world.run();
    for byte in [4, 0, 0] {
        slow.write_all(&[byte]).expect("it is open");
        world.pass(Nanos::from_secs(3));
        assert!(is_open(&mut slow));
    }
    slow.write_all(&[16]).expect("it is open");
    world.pass(Nanos::from_secs(2));
    assert!(!is_open(&mut slow));
}

#[test]
fn a_peer_that_has_gone_without_a_word_loses_its_place() {
    let mut world = World::new("fail_mode: secure, probe_interval_s: 5");
    world.run();
    let mut called = Peer::connect(&world.path("p.sock"));
    let mut tool = Peer::connect(&world.path("br0.mgmt"));
    for peer in [&mut called, &mut tool] {
        peer.talk(&mut world);
    }
    world.pass(Nanos::from_secs(5));
    world.pass(Nanos::from_secs(5));
    assert!(!is_open(&mut called.stream) && is_open(&mut tool.stream));
    world.pass(Nanos::from_secs(50));
    world.pass(Nanos::from_secs(30));
    // It answers, and stays.
    tool.session.reply(&Message::EchoReply(vec![]), 1);
    tool.talk(&mut world);
    assert!(is_open(&mut tool.stream));
    world.pass(Nanos::from_secs(60));
    world.pass(Nanos::from_secs(60));
    assert!(!is_open(&mut tool.stream));
}

#[test]
fn whoever_takes_all_places_does_not_lock_the_operator_out() {
    let mut world = World::new("fail_mode: secure");
    world.run();
    let path = world.path("p.sock");
    let mut others = Vec::new();
    for _ in 0..130 {
        let stream = UnixStream::connect(&path).expect("somebody listens");
        stream.set_nonblocking(true).expect("it can be set so");
        others.push(stream);
        world.run();
    }
    assert_eq!(others.iter_mut().map(is_open).filter(|is_open| *is_open).count(), 128);
    let mut tool = Peer::connect(&world.path("br0.mgmt"));
    tool.talk(&mut world);
    tool.session.reply(&Message::FeaturesRequest, 7);
    let heard = tool.talk(&mut world);
    assert!(heard.iter().any(|it| matches!(it, Message::FeaturesReply(_))), "{heard:?}");
}

#[test]
fn the_first_controller_of_an_old_bridge_has_time_to_come() {
    let mut world = World::new("fail_mode: standalone, probe_interval_s: 1, controllers: []");
    world.pass(Nanos::from_secs(100));
    assert!(!world.info().is_standalone);
    let bridge = world.switch.ofproto().bridges()[0];
    let here = world.directory.path().display();
    let text = format!(
        "bridges:\n  - name: br0\n    openflow: {{controllers: ['unix:{here}/c.sock'], fail_mode: standalone, \
         probe_interval_s: 1}}\n"
    );
    let config = crate::config::parse("t.yaml", &text).unwrap_or_else(|faults| panic!("{faults}"));
    let now = crate::sync::Clock::now(&*world.clock);
    world.switch.openflow_mut().configure(bridge, "br0", &config.bridges[0].openflow, now);
    world.pass(Nanos::from_millis(200));
    assert!(!world.info().is_standalone);
    world.pass(Nanos::from_secs(4));
    assert!(world.info().is_standalone);
}

#[test]
fn who_came_by_a_place_that_is_no_more_goes_with_it() {
    let mut world = World::new("fail_mode: secure");
    world.run();
    let mut peer = Peer::connect(&world.path("p.sock"));
    let mut manager = Peer::connect(&world.path("br0.mgmt"));
    peer.talk(&mut world);
    manager.talk(&mut world);
    assert_eq!(world.info().connections.iter().filter(|it| it.peer.is_some()).count(), 2);
    let text = "bridges:\n  - {name: br0, openflow: {fail_mode: secure}}\n";
    let config = crate::config::parse("t.yaml", text).unwrap_or_else(|faults| panic!("{faults}"));
    let (bridge, now) = (world.switch.bridges[0].id, crate::sync::Clock::now(&*world.clock));
    world.switch.openflow_mut().configure(bridge, "br0", &config.bridges[0].openflow, now);
    world.run();
    let left = world.info().connections.into_iter().filter(|it| it.peer.is_some());
    assert_eq!(left.map(|it| it.kind).collect::<Vec<_>>(), [ConnectionKind::Management]);
    let mut rest = Vec::new();
    peer.stream.set_nonblocking(false).expect("it can be set so");
    peer.stream.read_to_end(&mut rest).expect("the connection has ended");
}

/// Asks for all rules and sends no more.
fn ask_and_shut(world: &mut World) -> Peer {
    let mut peer = Peer::connect(&world.path("p.sock"));
    peer.talk(world);
    let body = MultipartRequest::Flow(Box::new(FlowStatsRequest::all()));
    peer.session.reply(&Message::MultipartRequest { is_nicira: false, more: false, body }, 7);
    peer.stream.write_all(peer.session.output()).expect("there is room");
    peer.session.sent(usize::MAX);
    peer.stream.shutdown(Shutdown::Write).expect("it is open");
    peer
}

#[test]
fn one_that_sends_no_more_gets_its_answer_to_the_end() {
    const RULES: u16 = 10_000;
    let mut world = World::new("fail_mode: secure, probe_interval_s: 1");
    world.run();
    let bridge = world.switch.ofproto().bridges()[0];
    for priority in 1..=RULES {
        let flow_mod = FlowMod { table: 5, priority, ..FlowMod::add() };
        world.switch.ofproto.flow_mod(bridge, &flow_mod).expect("a good rule");
    }
    let mut peer = ask_and_shut(&mut world);
    let (mut told, mut is_over, mut is_open) = (0, false, true);
    while is_open {
        // It takes its time.
        world.pass(Nanos::from_secs(2));
        let mut buffer = [0; 65_536];
        match peer.stream.read(&mut buffer) {
            Ok(count) => {
                is_open = count > 0;
                peer.session.receive(&buffer[..count], Nanos(0));
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        while let Some(incoming) = peer.session.next_message() {
            if let Ok(Message::MultipartReply { more, body: MultipartReply::Flow(rules), .. }) =
                incoming.message.map(|message| *message)
            {
                told += rules.len();
                is_over = !more;
            }
        }
    }
    assert!(is_over && told == usize::from(RULES), "{told}");

    // Who does not read is not waited for.
    let peer = ask_and_shut(&mut world);
    world.run();
    let connections = |world: &mut World| {
        world.info().connections.iter().filter(|it| it.kind == ConnectionKind::Peer).count()
    };
    world.pass(Nanos::from_secs(59));
    assert_eq!(connections(&mut world), 1);
    // From then on its silence counts.
    (0..3).for_each(|_| world.pass(Nanos::from_secs(1)));
    assert_eq!(connections(&mut world), 0);
    drop(peer);
}

#[test]
fn others_are_heard_while_one_sends_more_packets_than_workers_take_and_it_stays() {
    let mut world = World::new("fail_mode: secure, probe_interval_s: 5");
    world.run();
    let mut flooding = Peer::connect(&world.path("p.sock"));
    let mut neighbour = Peer::connect(&world.path("p.sock"));
    flooding.talk(&mut world);
    neighbour.talk(&mut world);
    let is_answered = |heard: &[Message]| heard.contains(&Message::BarrierReply);
    let metadata = Box::new(port_metadata(OfPort::CONTROLLER));
    let packet = PacketOutMessage { buffer_id: u32::MAX, metadata, actions: vec![], data: vec![0; 60] };
    world.waiting.store(5_000, Ordering::Relaxed);
    // What the connection deals with itself brings nothing past.
    for _ in 0..2 {
        flooding.session.reply(&Message::EchoReply(vec![]), 6);
        flooding.session.reply(&Message::PacketOut(packet.clone()), 7);
    }
    flooding.session.reply(&Message::BarrierRequest, 8);
    assert!(!is_answered(&flooding.talk(&mut world)), "there is no room for its packet");
    let received = |world: &mut World| {
        let peers = world.info().connections.into_iter().filter(|it| it.kind == ConnectionKind::Peer);
        peers.map(|it| it.messages_received).max()
    };
    assert_eq!(received(&mut world), Some(2), "the hello and the first echo");
    for _ in 0..5 {
        neighbour.session.reply(&Message::BarrierRequest, 8);
        assert!(is_answered(&neighbour.talk(&mut world)), "it asks for nothing that there is no room for");
        world.pass(Nanos::from_secs(4));
        assert!(!is_answered(&flooding.talk(&mut world)));
    }
    assert!(is_open(&mut flooding.stream), "what it said has not been read, which is not its fault");
    world.waiting.store(0, Ordering::Relaxed);
    assert!(is_answered(&flooding.talk(&mut world)), "there is room");
}

#[test]
fn a_bundle_stays_while_its_commit_waits_for_room() {
    let mut world = World::new("fail_mode: secure");
    world.run();
    let stream = UnixStream::connect(world.path("p.sock")).expect("somebody listens");
    let mut peer = Peer::of(stream, Version::V14);
    peer.talk(&mut world);
    let control = |control_type| Message::BundleControl(BundleControl { bundle: 1, control_type, flags: 0 });
    peer.session.reply(&control(BundleControlType::OpenRequest), 7);
    assert_eq!(peer.talk(&mut world), [control(BundleControlType::OpenReply)]);
    world.waiting.store(crate::vswitchd::openflow::WAITING_CHANGES_MAX + 1, Ordering::Relaxed);
    peer.session.reply(&control(BundleControlType::CommitRequest), 8);
    for _ in 0..4 {
        assert_eq!(peer.talk(&mut world), []);
        world.pass(Nanos::from_secs(4));
    }
    world.waiting.store(0, Ordering::Relaxed);
    assert_eq!(peer.talk(&mut world), [control(BundleControlType::CommitReply)]);
}

#[test]
fn only_what_adds_to_a_backlog_waits_for_it() {
    use crate::openflow::wire::Work;
    use crate::vswitchd::openflow::{
        Backlog, WAITING_CHANGES_MAX, WAITING_COMMANDS_MAX, WAITING_REMOVED_MAX, WAITING_WORK_MAX,
    };
    let works = [
        (Work::Little, false),
        (Work::Change, false),
        (Work::Packet, true),
        (Work::Commit(1), false),
        (Work::Commit(2), true),
    ];
    let cases = [
        (WAITING_COMMANDS_MAX, WAITING_WORK_MAX, 0, [false; 5]),
        (0, WAITING_WORK_MAX + 1, 0, [false, false, true, false, true]),
        (WAITING_COMMANDS_MAX + 1, 0, 0, [false, false, true, false, true]),
        (WAITING_CHANGES_MAX + 1, 0, 0, [false, true, true, true, true]),
        (0, 0, WAITING_REMOVED_MAX, [false; 5]),
        (0, 0, WAITING_REMOVED_MAX + 1, [false, true, false, true, true]),
    ];
    for (commands, packet_work, removed, expected) in cases {
        let backlog = Backlog { commands, packet_work, removed };
        assert_eq!(works.map(|work| backlog.holds(work)), expected, "{commands} {packet_work} {removed}");
    }
}

#[test]
fn rules_that_went_wait_until_they_are_told_of_and_are_counted() {
    let mut world = World::new("fail_mode: secure");
    world.run();
    let bridge = world.switch.ofproto().bridges()[0];
    let mut flow_mod = FlowMod { table: 5, ..FlowMod::add() };
    flow_mod.flags.send_flow_removed = true;
    for priority in 1..=100 {
        flow_mod.priority = priority;
        world.switch.ofproto.flow_mod(bridge, &flow_mod).expect("a good rule");
    }
    flow_mod.command = crate::openflow::FlowModCommand::Delete;
    world.switch.ofproto.flow_mod(bridge, &flow_mod).expect("a good change");
    world.switch.ofproto.settle();
    world.switch.ofproto.settle();
    assert_eq!(world.switch.ofproto.flow_removed_waiting(), 100);
    world.run();
    assert_eq!(world.switch.ofproto.flow_removed_waiting(), 0);
}

#[test]
fn who_is_served_first_goes_round() {
    let mut openflow = crate::vswitchd::openflow::OpenFlow::default();
    let mut firsts = Vec::new();
    for _ in 0..6 {
        openflow.ready = [3, 5, 9].into();
        let order = openflow.take_ready();
        firsts.push(order[0]);
        assert_eq!(order.into_iter().collect::<std::collections::BTreeSet<_>>(), [3, 5, 9].into());
    }
    assert_eq!(firsts, [3, 5, 9, 3, 5, 9]);
}
