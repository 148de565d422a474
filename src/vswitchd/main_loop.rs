//! The control thread's loop: one `mio` poll over the workers' doorbell, the control socket, the metrics port and
//! signals, around [`Switch::turn`].
//!
//! While there is work the loop turns without sleeping and looks at its sockets between turns; when there is
//! none it says so at the doorbell, looks once more, and sleeps until something rings or the next deadline.
//!
//! # Threads
//! The control thread, from start to end.

use super::api::{self, Reply, Request};
use super::control::{CONNECTION_COUNT_MAX, ControlError, ControlHandler, ControlServer};
use super::process::Process;
use super::switch::Switch;
use crate::metrics::{MetricsServerError, exposition};
use crate::sync::{Clock, Doorbell, Nanos};
use mio::{Events, Poll, Token, Waker};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook_mio::v1_0::Signals;
use std::io;
use std::sync::Arc;
use std::time::Duration;

const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const CONTROL: std::ops::Range<usize> = 16..17 + CONNECTION_COUNT_MAX;
const METRICS: std::ops::Range<usize> = 256..289;
/// From here on: OpenFlow listeners and connections.
const OPENFLOW: usize = 1024;

/// How often connections without progress are looked for.
const HOUSEKEEPING_INTERVAL: Nanos = Nanos::from_secs(1);

/// Why the loop could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// The system would not give us what a loop needs.
    #[error("cannot {step}: {source}")]
    Io {
        /// What for.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A worker's thread has ended in a panic, whose message stands above in the log.
    #[error(
        "a worker thread has died, and its ports are no longer served: restart the switch, and report its panic"
    )]
    WorkerDied,
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The metrics port.
    #[error(transparent)]
    Metrics(#[from] MetricsServerError),
}

/// The loop, before it has a switch: its doorbell is what the datapath is made with.
pub struct MainLoop {
    poll: Poll,
    signals: Signals,
    doorbell: Arc<Doorbell>,
    clock: Arc<dyn Clock>,
}

/// What the loop serves besides packets.
#[derive(Debug)]
pub struct Servers {
    /// `penstockctl`'s socket.
    pub control: ControlServer,
    /// The process around the switch: Prometheus' port, and what else a configuration can change of it.
    pub process: Process,
}

/// Where requests of the control socket are answered: by the switch, in its process.
struct Desk<'a> {
    switch: &'a mut Switch,
    process: &'a mut Process,
}

impl ControlHandler for Desk<'_> {
    fn call(&mut self, request: Request) -> Result<Reply, api::Error> {
        self.switch.answer(request, self.process)
    }
}

impl MainLoop {
    /// Makes the poll, takes over SIGTERM, SIGINT and SIGHUP.
    ///
    /// # Errors
    /// [`LoopError::Io`].
    pub fn new(clock: Arc<dyn Clock>) -> Result<MainLoop, LoopError> {
        let failed = |step| move |source| LoopError::Io { step, source };
        let poll = Poll::new().map_err(failed("create an event poll"))?;
        let waker = Waker::new(poll.registry(), WAKER).map_err(failed("create an eventfd"))?;
        let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(failed("take over signals"))?;
        poll.registry()
            .register(&mut signals, SIGNALS, mio::Interest::READABLE)
            .map_err(failed("wait for signals"))?;
        let doorbell = Doorbell::new(move || {
            // It fails only if the counter of the eventfd is full: then the loop is awake anyway.
            drop(waker.wake());
        });
        Ok(MainLoop { poll, signals, doorbell: Arc::new(doorbell), clock })
    }

    /// What wakes the loop.
    pub fn doorbell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.doorbell)
    }

    /// Runs until a signal or a `stop` request, then stops the switch.
    ///
    /// # Errors
    /// [`LoopError`]; the switch is stopped all the same.
    pub fn run(mut self, mut switch: Switch, mut servers: Servers) -> Result<(), LoopError> {
        let ended = self.serve(&mut switch, &mut servers);
        tracing::info!("stopping");
        switch.stop();
        tracing::info!("stopped");
        ended
    }

    fn serve(&mut self, switch: &mut Switch, servers: &mut Servers) -> Result<(), LoopError> {
        servers.control.register(self.poll.registry(), CONTROL)?;
        let registry = self.poll.registry().try_clone();
        let registry = registry.map_err(|source| LoopError::Io { step: "share the event poll", source })?;
        servers.process.register(registry, METRICS)?;
        let openflow = switch.openflow_mut().register(self.poll.registry(), OPENFLOW);
        openflow.map_err(|source| LoopError::Io { step: "share the event poll", source })?;
        let mut events = Events::with_capacity(256);
        let mut next_housekeeping = Nanos(0);
        while !switch.is_stopping() {
            self.wait(switch, &mut events)?;
            let now = self.clock.now();
            if self.dispatch(&events, switch, servers, now) {
                return Ok(());
            }
            if now >= next_housekeeping {
                next_housekeeping = now.plus(HOUSEKEEPING_INTERVAL);
                if !switch.is_alive() {
                    return Err(LoopError::WorkerDied);
                }
                servers.control.expire(now);
                if let Some(metrics) = servers.process.metrics() {
                    metrics.expire(now);
                }
            }
        }
        // The reply to `stop` is on its way: give the client's side of the socket a last turn.
        Ok(())
    }

    /// Does what is due, then waits for events: not at all if there was something to do.
    fn wait(&mut self, switch: &mut Switch, events: &mut Events) -> Result<(), LoopError> {
        let mut turn = switch.turn(self.clock.now());
        if !turn.worked {
            self.doorbell.about_to_sleep();
            turn = switch.turn(self.clock.now());
        }
        let timeout = if turn.worked { Duration::ZERO } else { Duration::from_nanos(turn.sleep_max.0) };
        let polled = self.poll.poll(events, Some(timeout));
        self.doorbell.awake();
        match polled {
            Err(source) if source.kind() != io::ErrorKind::Interrupted => {
                Err(LoopError::Io { step: "wait for events", source })
            }
            _ => Ok(()),
        }
    }

    /// Serves what is ready. Returns whether the switch is to stop.
    fn dispatch(&mut self, events: &Events, switch: &mut Switch, servers: &mut Servers, now: Nanos) -> bool {
        for event in events {
            let token = event.token();
            if token == SIGNALS {
                for signal in self.signals.pending() {
                    if signal == SIGHUP {
                        tracing::info!("SIGHUP: the configuration is read again");
                        switch.reload(&mut servers.process);
                    } else {
                        tracing::info!(signal, "told to stop");
                        return true;
                    }
                }
            } else if servers.control.owns(token) {
                let mut desk = Desk { switch, process: &mut servers.process };
                servers.control.handle(token, now, &mut desk);
            } else if switch.openflow_mut().owns(token) {
                switch.openflow_mut().handle(token);
            } else if let Some(metrics) = servers.process.metrics()
                && metrics.owns(token)
            {
                let control = servers.control.stats();
                metrics.handle(token, now, &mut |http| exposition(&switch.metrics(control, http)));
            }
        }
        false
    }
}
