//! The life of ports: opened, watched, let go when their device vanishes, and tried again until they are there.
//!
//! A port of the configuration is always one of two things: open, or on its bridge's list of ports that are not
//! there, with the reason. [`Switch::watch_ports`] looks at all of them ten times a second. A link that has changed
//! is told to `ofproto`, logged and counted. A port whose device has vanished ([`crate::netdev::Netdev::vanished`])
//! is removed and put on the list. Ports on the list are tried again: after a second, two, four, and from then on
//! every five seconds, one at a time and each on a thread of its own ([`super::opening`]): the control thread waits for
//! none of them.
//!
//! A port keeps its OpenFlow number and its counters throughout; its number in the datapath is a new port's.
//!
//! # Threads
//! The control thread.

use super::switch::{PortFault, Switch};
use crate::config::PortConfig;
use crate::dpif::PortStats;
use crate::flow::OfPort;
use crate::netdev::{Link, Netdev, NetdevConfig, NetdevError};
use crate::ofproto::{self, BridgeId, Ofproto, PortFlags};
use crate::sync::Nanos;

/// How often links are looked at, and with them whether devices are there.
const LOOK_INTERVAL: Nanos = Nanos::from_millis(100);

/// Time after which a port that could not be opened is tried again first; it doubles each time.
const RETRY_INTERVAL_MIN: Nanos = Nanos::from_secs(1);

/// Time between tries at most.
const RETRY_INTERVAL_MAX: Nanos = Nanos::from_secs(5);

/// Tries in vain between two lines in the log: about a minute.
const TRIES_PER_LOG_LINE: u32 = 12;

/// A port that could not be opened, or whose device has vanished.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FailedPort {
    /// What is wanted.
    pub wanted: PortConfig,
    /// Why it is not there.
    pub error: String,
    /// Tries in vain since it was there last.
    pub tries: u32,
    /// When it is tried again.
    pub next_try: Nanos,
}

impl FailedPort {
    /// A port that was tried in vain once.
    pub(super) fn new(wanted: &PortConfig, error: String, now: Nanos) -> FailedPort {
        FailedPort { wanted: wanted.clone(), error, tries: 1, next_try: now.plus(retry_interval(1)) }
    }

    /// The port's name.
    pub fn name(&self) -> &str {
        &self.wanted.netdev.name
    }
}

/// Under what name the counters of ports that were removed are shown.
const REMOVED_PORTS: &str = "(removed ports)";

/// Under what name those of packets are shown that came by no port.
const NO_PORT: &str = "(no port)";

/// A port of a bridge as the switch remembers it, whether it is there or not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortRecord {
    /// What is wanted.
    pub wanted: PortConfig,
    /// When the bridge got it.
    pub since: Nanos,
    /// Whether it had a link when that was last looked at.
    pub is_link_up: bool,
    /// How often its link has come or gone.
    pub link_changes: u64,
    /// What was counted on it before its device vanished last.
    pub past: PortStats,
}

impl PortRecord {
    /// A port that is new.
    pub(super) fn new(wanted: &PortConfig, now: Nanos) -> PortRecord {
        let (wanted, past) = (wanted.clone(), PortStats::default());
        PortRecord { wanted, since: now, is_link_up: true, link_changes: 0, past }
    }
}

/// Time until the next try, after so many in vain.
fn retry_interval(tries: u32) -> Nanos {
    let doubled = RETRY_INTERVAL_MIN.0 << tries.saturating_sub(1).min(8);
    Nanos(doubled.min(RETRY_INTERVAL_MAX.0))
}

impl Switch {
    /// What was counted on no port that there is, by what no port is called.
    pub(super) fn others(&self) -> [(&'static str, PortStats); 2] {
        let dpif = self.ofproto.dpif();
        // A port that is to come back has its own past.
        let records = self.bridges.iter().flat_map(|bridge| bridge.ports.values());
        let removed = records.fold(dpif.removed_port_stats(), |rest, record| rest.minus(&record.past));
        [(REMOVED_PORTS, removed.plus(&self.removed_patches)), (NO_PORT, dpif.no_port_stats())]
    }

    /// Looks at every port, if it is time. Returns whether a port came, went or changed.
    pub(super) fn watch_ports(&mut self, now: Nanos) -> bool {
        if now < self.next_look {
            return false;
        }
        self.next_look = now.plus(LOOK_INTERVAL);
        let mut has_changed = false;
        for index in 0..self.bridges.len() {
            for port in self.ofproto.ports(self.bridges[index].id) {
                let Some(netdev) = self.ofproto.netdev(port.dp_port) else { continue };
                let (link, vanished) = look(netdev);
                // While another device is being opened none can be closed: this one waits, without a link.
                if let Some(reason) = vanished.filter(|_| !self.opener.is_busy()) {
                    self.let_go(index, port.number, reason, now);
                    has_changed = true;
                } else if self.bridges[index]
                    .ports
                    .get(&port.number)
                    .is_some_and(|record| record.is_link_up != link.is_up)
                {
                    self.follow_link(index, port.number, link);
                    has_changed = true;
                }
            }
        }
        has_changed | self.retry_a_port(now)
    }

    /// Switches a port's device off or on, as its settings say.
    pub(super) fn follow_admin(&mut self, bridge: BridgeId, number: OfPort) {
        let ports = self.ofproto.ports(bridge);
        let Some(port) = ports.iter().find(|port| port.number == number) else { return };
        let Some(netdev) = self.ofproto.netdev_mut(port.dp_port) else { return };
        if let Err(error) = netdev.set_admin(!port.config.flags.down) {
            tracing::warn!("{error}; packets pass the port as its settings say all the same");
        }
    }

    /// Passes on that a port's link has come or gone.
    fn follow_link(&mut self, index: usize, number: OfPort, link: Link) {
        let bridge = &mut self.bridges[index];
        if let Err(error) = self.ofproto.port_set_link(bridge.id, number, link.is_up) {
            tracing::error!(bridge = bridge.name, "cannot follow a link: {error}");
        }
        let Some(record) = bridge.ports.get_mut(&number) else { return };
        record.is_link_up = link.is_up;
        record.link_changes += 1;
        let state = link_word(link.is_up);
        tracing::info!(bridge = bridge.name, port = record.wanted.netdev.name, link = state, "link changed");
    }

    /// Removes a port whose device has vanished, and remembers it.
    fn let_go(&mut self, index: usize, number: OfPort, reason: String, now: Nanos) {
        let id = self.bridges[index].id;
        let removed = self.ofproto.port_del(id, number);
        // What closing a device says that is gone already is no news.
        if let Ok(Err(error)) = removed.as_ref().map(|removed| &removed.closed) {
            tracing::debug!("{error}");
        }
        let counted = removed.map(|removed| removed.stats).unwrap_or_default();
        let bridge = &mut self.bridges[index];
        let Some(record) = bridge.ports.get_mut(&number) else { return };
        record.link_changes += 1;
        record.past = record.past.plus(&counted);
        let wanted = record.wanted.clone();
        tracing::warn!(
            bridge = bridge.name,
            port = wanted.netdev.name,
            "{reason}: the port is down until it can be opened again"
        );
        let next_try = now.plus(retry_interval(1));
        bridge.failed_ports.push(FailedPort { wanted, error: reason, tries: 0, next_try });
        self.name_interfaces();
    }

    /// Tries the port that has been due for longest, if one is due and no other device is being opened; and takes in a
    /// port whose device a helper has opened. Returns whether a port came.
    fn retry_a_port(&mut self, now: Nanos) -> bool {
        if let Some((bridge, config, opened)) = self.finish_try(now) {
            return self.take_in(bridge, &config, opened, now);
        }
        if !self.opener.is_free() {
            return false;
        }
        let bridges = self.bridges.iter().enumerate();
        let failed = bridges.flat_map(|(index, bridge)| {
            bridge.failed_ports.iter().map(move |port| (port.next_try, index, port))
        });
        let due = failed.filter(|(next_try, ..)| *next_try <= now);
        let Some((_, index, port)) = due.min_by_key(|(next_try, index, _)| (*next_try, *index)) else {
            return false;
        };
        let (id, wanted) = (self.bridges[index].id, port.wanted.clone());
        if !wanted.netdev.kind.has_device() {
            let opened = self.open_port(id, &wanted);
            return self.tell_of_try(index, &wanted.netdev, opened, now);
        }
        let opened = self.try_a_device(id, &wanted.netdev, now);
        opened.is_some_and(|opened| self.take_in(id, &wanted.netdev, opened, now))
    }

    /// Makes a device that was opened, or was not, what the port that was tried has, if that still wants it.
    fn take_in(
        &mut self,
        bridge: BridgeId,
        netdev: &NetdevConfig,
        opened: Result<Box<dyn Netdev>, NetdevError>,
        now: Nanos,
    ) -> bool {
        let is_meant = |port: &&FailedPort| port.wanted.netdev == *netdev;
        let found = self.bridges.iter().enumerate().find_map(|(index, state)| {
            let port = state.failed_ports.iter().find(is_meant).filter(|_| state.id == bridge)?;
            Some((index, port.wanted.clone()))
        });
        let Some((index, wanted)) = found else {
            // It was removed or changed in the meantime.
            self.close_unwanted(opened);
            return false;
        };
        let opened = opened.map_err(PortFault::Netdev);
        let opened = opened.and_then(|device| self.plug_in(bridge, &wanted, device));
        self.tell_of_try(index, netdev, opened, now)
    }

    /// Notes and tells what a try came to.
    fn tell_of_try(
        &mut self,
        index: usize,
        netdev: &NetdevConfig,
        opened: Result<Link, PortFault>,
        now: Nanos,
    ) -> bool {
        let bridge = &mut self.bridges[index];
        let Some(place) = bridge.failed_ports.iter().position(|port| port.wanted.netdev == *netdev) else {
            return false;
        };
        match opened {
            Ok(link) => {
                let port = bridge.failed_ports.remove(place);
                let (name, state) = (port.name(), link_word(link.is_up));
                tracing::info!(
                    bridge = bridge.name,
                    port = name,
                    tries = port.tries + 1,
                    link = state,
                    "port is back"
                );
                if let Some(record) = bridge.ports.get_mut(&port.wanted.number) {
                    record.link_changes += u64::from(link.is_up);
                }
                self.name_interfaces();
                true
            }
            Err(fault) => {
                let port = &mut bridge.failed_ports[place];
                port.tries += 1;
                port.error = fault.to_string();
                port.next_try = now.plus(retry_interval(port.tries));
                if port.tries == 1 || port.tries.is_multiple_of(TRIES_PER_LOG_LINE) {
                    tracing::warn!(bridge = bridge.name, tries = port.tries, "{fault}");
                } else {
                    tracing::debug!(bridge = bridge.name, tries = port.tries, "{fault}");
                }
                false
            }
        }
    }
}

/// A device's link, and why it is gone if it is.
fn look(netdev: &dyn Netdev) -> (Link, Option<String>) {
    let link = netdev.link();
    (link, netdev.vanished())
}

pub(super) fn link_word(is_up: bool) -> &'static str {
    if is_up { "up" } else { "down" }
}

/// What a port is to be: what differs between two configurations from the second, the rest as it runs. Each flag is
/// a thing of its own. Name and number are the second's.
pub(super) fn merged(
    running: &ofproto::PortConfig,
    from: &ofproto::PortConfig,
    to: &ofproto::PortConfig,
) -> ofproto::PortConfig {
    fn pick<T: Clone + PartialEq>(running: &T, from: &T, to: &T) -> T {
        if from == to { running.clone() } else { to.clone() }
    }
    let ofproto::PortConfig { name: _, number: _, vlan, priority_tags, protected, flags, stp } = running;
    let PortFlags { down, no_receive, no_receive_stp, no_flood, no_forward, no_packet_in } = flags;
    let (old, new) = (&from.flags, &to.flags);
    ofproto::PortConfig {
        name: to.name.clone(),
        number: to.number,
        vlan: pick(vlan, &from.vlan, &to.vlan),
        priority_tags: pick(priority_tags, &from.priority_tags, &to.priority_tags),
        protected: pick(protected, &from.protected, &to.protected),
        flags: PortFlags {
            down: pick(down, &old.down, &new.down),
            no_receive: pick(no_receive, &old.no_receive, &new.no_receive),
            no_receive_stp: pick(no_receive_stp, &old.no_receive_stp, &new.no_receive_stp),
            no_flood: pick(no_flood, &old.no_flood, &new.no_flood),
            no_forward: pick(no_forward, &old.no_forward, &new.no_forward),
            no_packet_in: pick(no_packet_in, &old.no_packet_in, &new.no_packet_in),
        },
        stp: pick(stp, &from.stp, &to.stp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpif::model::{ModelConfig, ModelDpif};
    use crate::netdev::dummy::DummyProvider;
    use crate::sync::{Clock, ManualClock};
    use crate::vswitchd::api::{DumpPortsParams, ModPortParams, Reply, Request, SetStpParams};
    use crate::vswitchd::control::ControlHandler;
    use crate::vswitchd::switch::{Parts, ProcessInfo};
    use std::sync::Arc;

    /// A switch with bridge `br0` and dummy ports `a` (number 1) and `b` (number 2).
    struct Bench {
        switch: Switch,
        devices: DummyProvider,
        clock: Arc<ManualClock>,
    }

    impl Bench {
        fn new(keys_of_b: &str, prepare: impl FnOnce(&DummyProvider)) -> Bench {
            let text = format!(
                "bridges: [{{name: br0, internal_port: false, ports: [{{name: a, type: dummy}}, \
                 {{name: b, type: dummy{keys_of_b}}}]}}]"
            );
            let config = crate::config::parse("t.yaml", &text).unwrap_or_else(|faults| panic!("{faults}"));
            let devices = DummyProvider::new();
            prepare(&devices);
            let clock = Arc::new(ManualClock::default());
            let parts = Parts {
                dpif: Box::new(ModelDpif::new(ModelConfig::default())),
                devices: Box::new(devices.clone()),
                clock: Arc::clone(&clock) as Arc<dyn Clock>,
                process: ProcessInfo::default(),
                is_parallel: false,
            };
            let switch = Switch::new(&config, parts).expect("the configuration is good");
            Bench { switch, devices, clock }
        }

        /// Lets time pass, a look at a time.
        fn pass(&mut self, time: Nanos) {
            let end = self.clock.now().plus(time);
            while self.clock.now() < end {
                self.clock.advance(LOOK_INTERVAL);
                self.switch.turn(self.clock.now());
            }
        }

        /// The ports that `ofproto` has, each with its link.
        fn ports(&self) -> Vec<(u32, bool)> {
            let ports = self.switch.ofproto().ports(self.switch.bridges[0].id);
            ports.iter().map(|port| (port.number.0, port.is_link_up)).collect()
        }

        fn failed(&self) -> Vec<(&str, u32)> {
            let failed = self.switch.bridges[0].failed_ports.iter();
            failed.map(|port| (port.name(), port.tries)).collect()
        }

        fn link_changes(&self, number: u32) -> u64 {
            self.switch.bridges[0].ports[&OfPort(number)].link_changes
        }
    }

    #[test]
    fn a_link_that_comes_and_goes_is_told_and_counted() {
        let mut bench = Bench::new("", |_| ());
        assert_eq!(bench.ports(), [(1, true), (2, true)]);
        let epoch = bench.switch.ofproto().snapshot().ports_epoch;
        bench.devices.handle("b").expect("it was opened").set_link(false);
        bench.pass(LOOK_INTERVAL);
        assert_eq!(bench.ports(), [(1, true), (2, false)]);
        assert!(bench.switch.ofproto().snapshot().ports_epoch > epoch);
        bench.devices.handle("b").expect("it was opened").set_link(true);
        bench.pass(LOOK_INTERVAL);
        assert_eq!((bench.ports(), bench.link_changes(2)), (vec![(1, true), (2, true)], 2));
        assert_eq!(bench.link_changes(1), 0);
    }

    #[test]
    fn a_port_that_could_not_be_opened_comes_when_the_cause_is_gone() {
        let mut bench = Bench::new("", |devices| devices.refuse("a", Some("not yet")));
        assert_eq!((bench.ports(), bench.failed()), (vec![(2, true)], vec![("a", 1)]));
        bench.pass(Nanos::from_secs(13));
        // After 1, 2, 4 and 5 seconds.
        assert_eq!(bench.failed(), [("a", 5)]);
        bench.devices.refuse("a", None);
        bench.pass(RETRY_INTERVAL_MAX);
        assert_eq!((bench.ports(), bench.failed()), (vec![(1, true), (2, true)], vec![]));
    }

    #[test]
    fn a_device_that_vanishes_and_returns_is_the_same_port_again() {
        let mut bench = Bench::new("", |_| ());
        bench.devices.refuse("a", Some("pulled"));
        bench.devices.handle("a").expect("it was opened").vanish();
        bench.pass(LOOK_INTERVAL);
        assert_eq!((bench.ports(), bench.failed()), (vec![(2, true)], vec![("a", 0)]));
        assert!(bench.devices.handle("a").expect("it was opened").is_closed());
        bench.pass(Nanos::from_secs(1));
        assert_eq!(bench.failed(), [("a", 1)]);
        bench.devices.refuse("a", None);
        bench.pass(RETRY_INTERVAL_MAX);
        assert_eq!((bench.ports(), bench.failed()), (vec![(1, true), (2, true)], vec![]));
        assert_eq!(bench.link_changes(1), 2);
    }

    #[test]
    fn what_a_port_has_counted_stays_with_it_until_it_is_removed_and_then_with_all_that_were() {
        let mut bench = Bench::new("", |_| ());
        let frame = crate::packet::build::FrameBuilder::new().ipv4([10, 0, 0, 1], [10, 0, 0, 2]).udp(1, 2);
        assert!(bench.devices.handle("a").expect("it was opened").inject_frame(0, &frame.build()));
        bench.pass(LOOK_INTERVAL);
        bench.devices.refuse("a", Some("pulled"));
        bench.devices.handle("a").expect("it was opened").vanish();
        bench.pass(LOOK_INTERVAL);
        let counted = |stats: &PortStats| (stats.rx_packets, stats.forwarded);
        let removed = |bench: &Bench| bench.switch.others()[0].1.clone();
        assert_eq!(counted(&bench.switch.bridges[0].past(OfPort(1))), (1, 1));
        assert_eq!(removed(&bench), PortStats::default());
        bench.switch.bridges[0].ports.remove(&OfPort(1));
        assert_eq!(counted(&removed(&bench)), (1, 1));
        let ports = bench.switch.call(Request::DumpPorts(DumpPortsParams { bridge: None }));
        let Ok(Reply::DumpPorts(reply)) = ports else { panic!("{ports:?}") };
        let names: Vec<_> = reply.others.iter().map(|other| other.name.as_str()).collect();
        assert_eq!((names, reply.others[0].rx_packets), (vec![REMOVED_PORTS, NO_PORT], 1));
    }

    #[test]
    fn commands_of_a_port_that_is_not_there_hold_when_it_comes() {
        let mut bench = Bench::new("", |devices| devices.refuse("b", Some("not yet")));
        let down = ModPortParams { bridge: "br0".into(), port: "b".into(), change: "down".into() };
        assert_eq!(bench.switch.mod_port(&down).expect("the port is known").flags, ["down"]);
        let blocking = SetStpParams { bridge: "br0".into(), port: "2".into(), state: "blocking".into() };
        assert_eq!(bench.switch.set_stp(&blocking).expect("the port is known").stp, "blocking");
        bench.devices.refuse("b", None);
        bench.pass(RETRY_INTERVAL_MAX);
        assert_eq!(bench.ports(), [(1, true), (2, false)]);
        let settings = |bench: &Bench| {
            let ports = bench.switch.ofproto().ports(bench.switch.bridges[0].id);
            (ports[1].config.flags.down, ports[1].config.stp)
        };
        assert_eq!(settings(&bench), (true, crate::ofproto::StpState::Blocking));
        // And when its device vanishes and comes again.
        bench.devices.handle("b").expect("it was opened").vanish();
        bench.pass(LOOK_INTERVAL);
        assert_eq!(bench.failed(), [("b", 0)]);
        let up = ModPortParams { change: "up".into(), ..down };
        bench.switch.mod_port(&up).expect("the port is known");
        bench.pass(RETRY_INTERVAL_MAX);
        assert_eq!(settings(&bench), (false, crate::ofproto::StpState::Blocking));
        let unknown = ModPortParams { port: "c".into(), ..up };
        let error = bench.switch.mod_port(&unknown).expect_err("there is none");
        assert!(error.message.contains("ports there: a, b"), "{}", error.message);
    }

    #[test]
    fn a_port_that_is_to_be_down_is_there_and_passes_nothing() {
        let mut bench = Bench::new(", admin: down", |_| ());
        bench.pass(Nanos::from_secs(1));
        assert_eq!(bench.ports(), [(1, true), (2, false)]);
        let handle = bench.devices.handle("b").expect("it was opened");
        assert!(!handle.inject_frame(0, &[0; 60]));
        handle.vanish();
        bench.pass(Nanos::from_secs(3));
        assert_eq!(bench.ports(), [(1, true), (2, false)], "it stays down when it returns");
    }

    #[test]
    fn tries_come_at_growing_intervals_up_to_a_bound() {
        let seconds: Vec<_> = (0..=6).map(|tries| retry_interval(tries).0 / 1_000_000_000).collect();
        assert_eq!(seconds, [1, 1, 2, 4, 5, 5, 5]);
        assert_eq!(retry_interval(u32::MAX), RETRY_INTERVAL_MAX);
    }
}
