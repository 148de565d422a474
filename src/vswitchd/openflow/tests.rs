//! Agents without sockets: controllers whose bytes go straight into their sessions. With sockets: [`sockets`].

mod asynchronous;
mod bundles;
mod monitors;
mod requests;
mod roles;
mod semantics;
mod sockets;

use super::Sessions;
use super::agent::Agent;
use super::controller::Controller;
use crate::dpif::model::{ModelConfig, ModelDpif};
use crate::flow::OfPort;
use crate::netdev::dummy::{DummyHandle, DummyProvider};
use crate::ofproto::{FlowRemoved, Ofproto, PacketIn};
use crate::openflow::flow_mod::{FlowModCommand, FlowStatsRequest};
use crate::openflow::message::{
    ErrorKind, FlowModMessage, Message, MultipartReply, MultipartRequest, Role, RoleMessage, Version,
    VersionSet,
};
use crate::openflow::parse::{parse_flow_mod, parse_group_mod, parse_meter_mod};
use crate::openflow::session::Session;
use crate::openflow::wire::{self, Header, WireSettings};
use crate::openflow::{GroupModCommand, MeterModCommand, NoNames, OfError};
use crate::sync::{Clock, ManualClock, Nanos};
use crate::vswitchd::switch::{Parts, ProcessInfo, Switch};
use std::collections::BTreeMap;
use std::sync::Arc;

const TEXT: &str = "\
bridges:
  - name: br0
    internal_port: false
    ports: [{name: a, type: dummy, number: 1}, {name: b, type: dummy, number: 2}]
";

impl Sessions for BTreeMap<usize, Session> {
    fn get(&mut self, token: usize) -> Option<&mut Session> {
        self.get_mut(&token)
    }
}

/// A bridge with two ports and no rules, and its controllers.
struct Lab {
    switch: Switch,
    agent: Agent,
    sessions: BTreeMap<usize, Session>,
    devices: DummyProvider,
    clock: ManualClock,
    next_xid: u32,
}

impl Lab {
    fn new() -> Lab {
        let config = crate::config::parse("t.yaml", TEXT).unwrap_or_else(|faults| panic!("{faults}"));
        let (devices, clock) = (DummyProvider::new(), ManualClock::default());
        let parts = Parts {
            dpif: Box::new(ModelDpif::new(ModelConfig::default())),
            devices: Box::new(devices.clone()),
            clock: Arc::new(clock.clone()),
            process: ProcessInfo::default(),
            is_parallel: false,
        };
        let mut switch = Switch::new(&config, parts).unwrap_or_else(|error| panic!("{error}"));
        let agent = Agent::new(switch.bridges[0].id, "br0");
        // Those of the configuration: there are none, and so one that makes it a learning switch.
        let all = parse_flow_mod("", FlowModCommand::Delete, &NoNames).expect("it is written well");
        switch.ofproto.flow_mod(agent.bridge(), &all).expect("rules can be deleted");
        let mut lab = Lab { switch, agent, sessions: BTreeMap::new(), devices, clock, next_xid: 100 };
        lab.watch();
        lab
    }

    /// A controller that the switch has called, and of which no other was told.
    fn join(&mut self, version: Version) -> usize {
        let token = self.join_as(version, false);
        self.sessions.values_mut().for_each(|session| session.sent(usize::MAX));
        token
    }

    /// One that the switch has called, or that called it.
    fn join_as(&mut self, version: Version, is_service: bool) -> usize {
        let token = self.next_xid as usize;
        self.next_xid += 1;
        let mut session = Session::new(VersionSet::of(&[version]), None, Nanos(0));
        let hello = Message::Hello(VersionSet::of(&[version]));
        session.receive(&wire::encode(&hello, 1, &WireSettings::new(version)).concat(), Nanos(0));
        assert_eq!(session.next_message(), None);
        self.sessions.insert(token, session);
        self.agent.add(token, Controller::new(format!("tcp:192.0.2.{token}:6653"), is_service));
        self.agent.tell_status(token, super::role::StatusReason::Channel, &mut self.sessions);
        let session = self.sessions.get_mut(&token).expect("it was just put there");
        session.sent(usize::MAX);
        token
    }

    fn leave(&mut self, token: usize) {
        self.sessions.remove(&token);
        self.agent.remove(token, true, &mut self.sessions);
    }

    /// Hands a message to the agent.
    fn send(&mut self, token: usize, message: &Message) -> u32 {
        self.next_xid += 1;
        let xid = self.next_xid;
        self.send_as(token, message, xid);
        xid
    }

    fn send_as(&mut self, token: usize, message: &Message, xid: u32) {
        let session = self.sessions.get_mut(&token).expect("it is connected");
        let settings = session.settings().expect("it has said hello");
        session.receive(&wire::encode(message, xid, &settings).concat(), self.clock.now());
        while let Some(incoming) = self.sessions.get_mut(&token).and_then(Session::next_message) {
            self.agent.handle(token, incoming, &mut self.switch, &mut self.sessions);
        }
    }

    /// All that waits for a controller, with transaction ids.
    fn hear(&mut self, token: usize) -> Vec<(u32, Message)> {
        let session = self.sessions.get_mut(&token).expect("it is connected");
        let settings = session.settings().expect("it has said hello");
        let mut heard = Vec::new();
        while !session.output().is_empty() {
            let frame = session.output().to_vec();
            session.sent(frame.len());
            let xid = Header::parse(&frame).expect("it has a header").xid;
            let message = wire::decode(&frame, &settings);
            heard.push((xid, message.unwrap_or_else(|error| panic!("{error}: {frame:02x?}"))));
        }
        heard
    }

    /// What waits for a controller unasked.
    fn notices(&mut self, token: usize) -> Vec<Message> {
        let notice = |(xid, message): (u32, Message)| {
            assert_eq!(xid, 0, "{message:?} answers something");
            message
        };
        self.hear(token).into_iter().map(notice).collect()
    }

    /// Sends a request; returns its answers, all that is told meanwhile among them.
    fn ask(&mut self, token: usize, message: &Message) -> Vec<Message> {
        self.send(token, message);
        self.hear(token).into_iter().map(|(_, message)| message).collect()
    }

    /// Sends what is to be done and not answered.
    #[track_caller]
    fn order(&mut self, token: usize, message: &Message) {
        let answers = self.ask(token, message);
        assert!(answers.is_empty(), "{answers:?}");
    }

    /// Sends what is to be refused.
    #[track_caller]
    fn refused(&mut self, token: usize, message: &Message) -> OfError {
        let xid = self.send(token, message);
        let heard = self.hear(token);
        match &heard[..] {
            [(it, Message::Error(error))] if *it == xid => match error.error {
                ErrorKind::Known(error) => error,
                ErrorKind::Raw { .. } => panic!("{message:?}: {error:?}"),
            },
            _ => panic!("{message:?}: {heard:?}"),
        }
    }

    /// Lets time pass, and has the agent look at what changes with it.
    fn pass(&mut self, time: Nanos) {
        self.clock.advance(time);
        self.turn();
    }

    fn turn(&mut self) {
        for _ in 0..4 {
            self.clock.advance(Nanos::from_millis(1));
            let now = self.clock.now();
            self.switch.ofproto.run(now);
            self.switch.next_look = now;
            self.switch.watch_ports(now);
        }
        let (mut packet_ins, mut removed) = (Vec::<PacketIn>::new(), Vec::<FlowRemoved>::new());
        self.switch.ofproto.recv_packet_ins(&mut packet_ins, 100);
        self.switch.ofproto.recv_flow_removed(&mut removed, 100);
        packet_ins.iter().for_each(|it| {
            self.agent.packet_in(it, self.clock.now(), &mut self.sessions);
        });
        removed.iter().for_each(|it| self.agent.flow_removed(it, &mut self.sessions));
        self.agent.pass_updates_on(None, &mut self.switch, &mut self.sessions);
        self.agent.catch_up(&mut self.switch, &mut self.sessions);
        self.watch();
    }

    fn watch(&mut self) {
        let now = self.clock.now();
        self.agent.watch_ports(&self.switch, &mut self.sessions);
        self.agent.watch_tables(&mut self.switch, &mut self.sessions);
        self.agent.follow_wishes(&mut self.switch, &mut self.sessions);
        self.agent.watch_bundles(now, &mut self.sessions);
        self.agent.watch_requests(now, &mut self.sessions);
    }

    fn device(&self, name: &str) -> DummyHandle {
        self.devices.handle(name).expect("the port was opened")
    }

    /// Rules there are.
    fn rule_count(&mut self) -> usize {
        let bridge = self.agent.bridge();
        self.switch.ofproto.flow_stats(bridge, &FlowStatsRequest::all()).len()
    }

    fn group_count(&self) -> usize {
        self.switch.ofproto.group_desc(self.agent.bridge()).len()
    }
}

fn flow(text: &str, command: FlowModCommand) -> Message {
    let flow_mod = parse_flow_mod(text, command, &NoNames).expect("it is written well");
    Message::FlowMod(FlowModMessage { flow_mod: Box::new(flow_mod), buffer_id: u32::MAX })
}

fn add(text: &str) -> Message {
    flow(text, FlowModCommand::Add)
}

fn delete_all() -> Message {
    flow("", FlowModCommand::Delete)
}

fn group(text: &str) -> Message {
    Message::GroupMod(parse_group_mod(text, GroupModCommand::Add, &NoNames).expect("it is written well"))
}

fn meter(text: &str) -> Message {
    Message::MeterMod(parse_meter_mod(text, MeterModCommand::Add).expect("it is written well"))
}

fn multipart(body: MultipartRequest) -> Message {
    Message::MultipartRequest { is_nicira: false, more: false, body }
}

fn answer(body: MultipartReply) -> Message {
    Message::MultipartReply { is_nicira: false, more: false, body }
}

fn role(role: Role, generation_id: Option<u64>) -> RoleMessage {
    RoleMessage { is_nicira: false, role, short_id: 0, generation_id }
}
