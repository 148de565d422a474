//! Devices being opened, one at a time and each on a thread of its own, while the control thread goes on turning.
//!
//! Most devices open in milliseconds. But a driver may wait for somebody: `virtio-user` asks the other side of its
//! socket and waits for as long as that does not answer, and nothing can call a thread back out of a driver. So
//! nobody here waits for a device without a bound. Who asks for one ([`Switch::open_device`]) turns the switch for up
//! to [`OPENING_TIME_MAX`]; a try of a port that was not there ([`Switch::try_a_device`]) is looked after by the turns.
//!
//! A device that takes longer keeps the provider, and DPDK's locks with it, so no other device can be opened or closed
//! until it is done; who asks for that then is told which one it is, at once ([`Switch::wait_for_opener`]). When it is
//! done it becomes the port's that still wants it, or is closed. If the switch ends before, its devices are left to the
//! process's end.
//!
//! In a switch that is not parallel, a test's or a simulation's, a device is opened on the spot.
//!
//! # Threads
//! The control thread; a helper for each device, which hands provider and device back by its end.

use super::switch::Switch;
use crate::netdev::{Netdev, NetdevConfig, NetdevError, NetdevProvider};
use crate::ofproto::BridgeId;
use crate::sync::Nanos;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Longest time that somebody who asks for a device waits for it, or for the one before it. Drivers that wait for
/// nobody take a second or two at most, with links that come up slowly; `penstockctl` waits 30 seconds for its reply.
const OPENING_TIME_MAX: Nanos = Nanos::from_secs(10);

/// Longest time that the end of the switch waits for a device that is being opened.
const END_TIME_MAX: Duration = Duration::from_secs(1);

/// How long the control thread rests when a helper is at work and packets need nothing.
pub(super) const HELPER_REST: Duration = Duration::from_micros(100);

/// Who opens devices, and what it is at.
#[derive(Debug)]
pub(super) struct Opener {
    /// None while it is at work.
    provider: Option<Box<dyn NetdevProvider>>,
    opening: Option<Opening>,
    /// Whether somebody waits for a device: then none is begun for ports that are tried again.
    is_awaited: bool,
}

/// What comes back from a helper.
type Opened = Result<Box<dyn Netdev>, NetdevError>;

#[derive(Debug)]
struct Opening {
    helper: JoinHandle<(Box<dyn NetdevProvider>, Opened)>,
    config: NetdevConfig,
    purpose: Purpose,
    since: Nanos,
    /// Whether the log says that it takes long.
    is_reported: bool,
}

/// Who wants the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    /// Who asked for it, and waits.
    Asked,
    /// A port of a bridge that was not there, if it still is not and still wants this device.
    Port(BridgeId),
    /// Nobody any more.
    Nobody,
}

/// What a helper is done with.
#[derive(Debug)]
struct Done {
    purpose: Purpose,
    config: NetdevConfig,
    opened: Opened,
}

impl Opener {
    pub(super) fn new(provider: Box<dyn NetdevProvider>) -> Opener {
        Opener { provider: Some(provider), opening: None, is_awaited: false }
    }

    /// Whether a port that was not there can be tried.
    pub(super) fn is_free(&self) -> bool {
        self.provider.is_some() && !self.is_awaited
    }

    /// Begins to open a device; the provider must be here.
    fn begin(&mut self, config: NetdevConfig, purpose: Purpose, now: Nanos) -> Result<(), NetdevError> {
        let take = |slot: &Mutex<Option<_>>| slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Shared, so that it is not lost where no thread can be had.
        let slot = Arc::new(Mutex::new(self.provider.take()));
        let (helpers_slot, wanted) = (Arc::clone(&slot), config.clone());
        let body = move || {
            let mut provider: Box<dyn NetdevProvider> = take(&helpers_slot).expect("only a helper takes it");
            let opened = provider.open(wanted);
            (provider, opened)
        };
        match std::thread::Builder::new().name("open".to_owned()).spawn(body) {
            Ok(helper) => {
                self.opening = Some(Opening { helper, config, purpose, since: now, is_reported: false });
                Ok(())
            }
            Err(error) => {
                self.provider = take(&slot);
                Err(refusal(&config, format!("no thread can be started for it: {error}")))
            }
        }
    }

    /// Takes back what a helper has, if there is one and it is done.
    fn finish(&mut self) -> Option<Done> {
        let opening = self.opening.take_if(|opening| opening.helper.is_finished())?;
        let Opening { helper, config, purpose, .. } = opening;
        let (provider, opened) = helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        self.provider = Some(provider);
        Some(Done { purpose, config, opened })
    }

    /// The same, unless somebody waits for it.
    fn finish_unasked(&mut self) -> Option<Done> {
        if self.opening.as_ref()?.purpose == Purpose::Asked { None } else { self.finish() }
    }

    /// Waits for a moment, at the switch's end, for what is still being opened, and closes it. Returns whether other
    /// devices can be closed now.
    pub(super) fn end(&mut self) -> bool {
        let end = std::time::Instant::now() + END_TIME_MAX;
        while self.opening.is_some() {
            if let Some(done) = self.finish() {
                close(done.opened);
            } else if std::time::Instant::now() >= end {
                let name = self.opening.as_ref().map(|opening| opening.config.name.as_str());
                tracing::warn!(
                    port = name,
                    "its device is still being opened: all are left to the process's end"
                );
                return false;
            } else {
                std::thread::sleep(HELPER_REST);
            }
        }
        true
    }

    /// Whether a device is being opened.
    pub(super) fn is_busy(&self) -> bool {
        self.opening.is_some()
    }
}

fn refusal(config: &NetdevConfig, reason: String) -> NetdevError {
    NetdevError::Open { name: config.name.clone(), kind: config.kind.name(), reason }
}

/// Closes a device that nobody wants any more.
fn close(opened: Opened) {
    if let Ok(Err(error)) = opened.map(Netdev::close) {
        tracing::debug!("{error}");
    }
}

impl Switch {
    /// Opens a device for who waits for it, beside the turns of the switch.
    ///
    /// # Errors
    /// Why not; [`NetdevError::Open`] also if it, or the one that is being opened before it, takes too long.
    pub(super) fn open_device(&mut self, config: NetdevConfig) -> Opened {
        if !self.is_parallel
            && let Some(provider) = &mut self.opener.provider
        {
            return provider.open(config);
        }
        self.wait_for_opener(&config)?;
        self.wait_for_device(config)
    }

    /// Waits until no device is being opened, so that a port's can be opened or closed.
    ///
    /// # Errors
    /// [`NetdevError::Open`] if that takes too long.
    pub(super) fn wait_for_opener(&mut self, config: &NetdevConfig) -> Result<(), NetdevError> {
        self.opener.is_awaited = true;
        let waited = self.wait_for_opening(config);
        self.opener.is_awaited = false;
        waited
    }

    fn wait_for_opening(&mut self, config: &NetdevConfig) -> Result<(), NetdevError> {
        while let Some(opening) = &self.opener.opening {
            let now = self.clock.now();
            let time = now.since(opening.since);
            if time >= OPENING_TIME_MAX {
                let before = &opening.config.name;
                let seconds = time.0 / 1_000_000_000;
                let reason = format!(
                    "the device of port {before} is being opened for {seconds} s now, and no other one can be \
                     opened or closed meanwhile: see to the other side of {before}"
                );
                return Err(refusal(config, reason));
            }
            self.turn_beside(now);
        }
        Ok(())
    }

    fn wait_for_device(&mut self, config: NetdevConfig) -> Opened {
        let start = self.clock.now();
        self.opener.begin(config.clone(), Purpose::Asked, start)?;
        loop {
            if let Some(done) = self.opener.finish() {
                return done.opened;
            }
            let now = self.clock.now();
            if now.since(start) >= OPENING_TIME_MAX {
                self.opener.opening.iter_mut().for_each(|opening| opening.purpose = Purpose::Nobody);
                let seconds = OPENING_TIME_MAX.0 / 1_000_000_000;
                let reason = format!("it did not open within {seconds} s: does the other side answer?");
                return Err(refusal(&config, reason));
            }
            self.turn_beside(now);
        }
    }

    /// Turns the switch while a helper is at work.
    pub(super) fn turn_beside(&mut self, now: Nanos) {
        if !self.turn(now).worked {
            std::thread::sleep(HELPER_REST);
        }
    }

    /// Tries to open the device of a port that was not there. What comes of it is known at once, or in a later turn,
    /// by [`Switch::finish_try`].
    pub(super) fn try_a_device(
        &mut self,
        bridge: BridgeId,
        config: &NetdevConfig,
        now: Nanos,
    ) -> Option<Opened> {
        if !self.is_parallel
            && let Some(provider) = &mut self.opener.provider
        {
            return Some(provider.open(config.clone()));
        }
        self.opener.begin(config.clone(), Purpose::Port(bridge), now).err().map(Err)
    }

    /// What came of a try, if a helper is done with one: for which bridge, and which device.
    pub(super) fn finish_try(&mut self, now: Nanos) -> Option<(BridgeId, NetdevConfig, Opened)> {
        if let Some(opening) = &mut self.opener.opening
            && !opening.is_reported
            && now.since(opening.since) >= OPENING_TIME_MAX
        {
            opening.is_reported = true;
            tracing::warn!(
                port = opening.config.name,
                "its device is still being opened: does the other side answer? no other device can be opened or closed meanwhile"
            );
        }
        let Done { purpose, config, opened } = self.opener.finish_unasked()?;
        let Purpose::Port(bridge) = purpose else {
            close(opened);
            return None;
        };
        Some((bridge, config, opened))
    }

    /// Closes a device that no port wants any more.
    pub(super) fn close_unwanted(&self, opened: Opened) {
        close(opened);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::dpif::model::{ModelConfig, ModelDpif};
    use crate::netdev::dummy::DummyProvider;
    use crate::ofproto::Ofproto;
    use crate::sync::Clock;
    use crate::vswitchd::apply::{ApplyError, ApplyOutcome, NoSurroundings, Origin, Wanted};
    use crate::vswitchd::{Parts, ProcessInfo};
    use std::collections::BTreeSet;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Instant;

    /// Devices in memory, and names of those whose driver waits for somebody.
    #[derive(Clone, Default, Debug)]
    struct Devices {
        dummies: DummyProvider,
        waiting: Arc<Mutex<BTreeSet<String>>>,
        opened: Arc<AtomicU64>,
    }

    impl Devices {
        fn is_waiting(&self, name: &str) -> bool {
            self.waiting.lock().expect("nobody panics with it").contains(name)
        }

        fn let_go(&self, name: &str) {
            self.waiting.lock().expect("nobody panics with it").remove(name);
        }
    }

    impl NetdevProvider for Devices {
        fn open(&mut self, config: NetdevConfig) -> Opened {
            while self.is_waiting(&config.name) {
                std::thread::sleep(Duration::from_millis(1));
            }
            let opened = self.dummies.open(config);
            self.opened.fetch_add(1, Ordering::SeqCst);
            opened
        }
    }

    /// A clock that is a hundred times as fast as time.
    #[derive(Debug)]
    struct FastClock(Instant);

    impl Clock for FastClock {
        fn now(&self) -> Nanos {
            Nanos(self.0.elapsed().as_nanos() as u64 * 100)
        }

        fn wall_origin_ns(&self) -> u64 {
            0
        }

        fn cycles(&self) -> u64 {
            0
        }
    }

    fn text(ports: &str) -> String {
        format!("bridges: [{{name: br0, internal_port: false, ports: [{ports}]}}]")
    }

    fn parse(ports: &str) -> Config {
        crate::config::parse("t.yaml", &text(ports)).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn switch(ports: &str, devices: &Devices) -> Switch {
        let parts = Parts {
            dpif: Box::new(ModelDpif::new(ModelConfig::default())),
            devices: Box::new(devices.clone()),
            clock: Arc::new(FastClock(Instant::now())),
            process: ProcessInfo::default(),
            is_parallel: true,
        };
        let mut switch = Switch::new(&parse(ports), parts).expect("the configuration is good");
        let dummies = crate::config::Dummies::Taken;
        switch.set_origin(Origin { dummies, ..Origin::default() });
        switch
    }

    fn ports(switch: &Switch) -> Vec<String> {
        let ports = switch.ofproto().ports(switch.bridges[0].id);
        ports.into_iter().map(|port| port.config.name).collect()
    }

    fn turn_until(switch: &mut Switch, what: &str, mut is_so: impl FnMut(&Switch) -> bool) {
        let end = Instant::now() + Duration::from_secs(30);
        while !is_so(switch) {
            assert!(Instant::now() < end, "waited in vain until {what}");
            switch.turn(switch.clock.now());
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn apply(switch: &mut Switch, ports: &str) -> Result<(), ApplyError> {
        let wanted = Wanted::Text { name: "new.yaml".to_owned(), text: text(ports) };
        switch.apply(&wanted, &mut NoSurroundings).map(|_| ())
    }

    const A_B: &str = "{name: a, type: dummy}, {name: b, type: dummy}";

    #[test]
    fn a_driver_that_waits_keeps_nobody_waiting_but_who_asks_for_its_device_and_that_for_a_while() {
        let devices = Devices::default();
        devices.waiting.lock().expect("nobody panics with it").insert("a".to_owned());
        let mut switch = switch(A_B, &devices);
        let errors: Vec<_> = switch.bridges[0].failed_ports.iter().map(|port| port.error.clone()).collect();
        assert!(
            errors[0].contains("port a: cannot open dummy device: it did not open within 10 s"),
            "{errors:?}"
        );
        assert!(errors[1].contains("the device of port a is being opened for 1"), "{errors:?}");
        // Changes that need no device are made, others are refused.
        apply(&mut switch, &A_B.replace("name: b", "name: b, protected: true"))
            .expect("b need not be opened");
        let error = apply(&mut switch, &format!("{A_B}, {{name: c, type: dummy}}")).expect_err("c can't be");
        assert_eq!(error.outcome(), ApplyOutcome::RolledBack);
        assert!(
            error.to_string().contains("port c: cannot open dummy device: the device of port a"),
            "{error}"
        );
        assert_eq!(ports(&switch), [""; 0]);
        devices.let_go("a");
        turn_until(&mut switch, "both are there", |switch| ports(switch) == ["a", "b"]);
        assert!(switch.bridges[0].failed_ports.is_empty());
        switch.stop();
    }

    #[test]
    fn a_try_that_waits_is_nobodys_when_its_port_has_gone_and_its_device_is_closed() {
        let devices = Devices::default();
        devices.dummies.refuse("b", Some("not yet"));
        let mut switch = switch(A_B, &devices);
        assert_eq!(ports(&switch), ["a"]);
        devices.waiting.lock().expect("nobody panics with it").insert("b".to_owned());
        devices.dummies.refuse("b", None);
        turn_until(&mut switch, "b is tried", |switch| switch.opener.opening.is_some());
        for _ in 0..100 {
            switch.turn(switch.clock.now());
        }
        assert_eq!(ports(&switch), ["a"], "and the switch goes on");
        apply(&mut switch, "{name: a, type: dummy}").expect("b is not there to be closed");
        let before = devices.opened.load(Ordering::SeqCst);
        devices.let_go("b");
        turn_until(&mut switch, "the helper is done", |switch| switch.opener.opening.is_none());
        assert_eq!(devices.opened.load(Ordering::SeqCst), before + 1);
        assert!(devices.dummies.handle("b").expect("it was opened").is_closed());
        assert_eq!(ports(&switch), ["a"]);
        switch.stop();
    }

    #[test]
    fn the_end_does_not_wait_for_a_driver_that_waits() {
        let devices = Devices::default();
        devices.waiting.lock().expect("nobody panics with it").insert("b".to_owned());
        let switch = switch(A_B, &devices);
        assert_eq!(ports(&switch), ["a"]);
        let start = Instant::now();
        switch.stop();
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        devices.let_go("b");
    }
}
