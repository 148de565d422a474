//! The process around the switch, as a configuration speaks of it: where metrics are served, how much is logged,
//! where the threads run that are not workers.
//!
//! # Threads
//! The control thread.

use super::apply::Surroundings;
use super::plan::Placement;
use crate::metrics::{MetricsServer, MetricsServerError};
use mio::Registry;
use std::fmt;
use std::net::SocketAddr;
use std::ops::Range;
use tracing::level_filters::LevelFilter;

/// The process.
pub struct Process {
    metrics: Option<MetricsServer>,
    /// Where the metrics port is polled, once there is a loop.
    poll: Option<(Registry, Range<usize>)>,
    set_log_level: Box<dyn FnMut(LevelFilter)>,
    cores: Cores,
}

/// Who picks cores for workers, and who moves the other threads out of their way.
pub struct Cores {
    /// Picks a core for each worker.
    pub place_workers: Box<dyn FnMut(&Placement) -> Vec<Option<u16>>>,
    /// Keeps the other threads to where they are to be beside these workers.
    pub place_other_threads: Box<dyn FnMut(&Placement, &[Option<u16>])>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

impl Process {
    /// A process with this metrics port.
    pub fn new(
        metrics: Option<MetricsServer>,
        set_log_level: Box<dyn FnMut(LevelFilter)>,
        cores: Cores,
    ) -> Process {
        Process { metrics, poll: None, set_log_level, cores }
    }

    /// Enters the metrics port, and those that will be in its place, into a poll.
    ///
    /// # Errors
    /// [`MetricsServerError`].
    pub fn register(&mut self, registry: Registry, tokens: Range<usize>) -> Result<(), MetricsServerError> {
        if let Some(metrics) = &mut self.metrics {
            metrics.register(&registry, tokens.clone())?;
        }
        self.poll = Some((registry, tokens));
        Ok(())
    }

    /// The metrics port, if metrics are served.
    pub fn metrics(&mut self) -> Option<&mut MetricsServer> {
        self.metrics.as_mut()
    }

    fn listen(&self, address: SocketAddr) -> Result<MetricsServer, MetricsServerError> {
        let mut metrics = MetricsServer::bind(address)?;
        if let Some((registry, tokens)) = &self.poll {
            metrics.register(registry, tokens.clone())?;
        }
        tracing::info!("metrics at http://{}/metrics", metrics.address());
        Ok(metrics)
    }
}

impl Surroundings for Process {
    fn set_log_level(&mut self, level: LevelFilter) {
        (self.set_log_level)(level);
    }

    fn set_metrics_listen(&mut self, listen: Option<SocketAddr>) -> Result<(), MetricsServerError> {
        let Some(address) = listen else {
            self.metrics = None;
            return Ok(());
        };
        let made = match self.listen(address) {
            // It may be we who have the port, on another address of this host.
            Err(MetricsServerError::AddressInUse { .. })
                if self.metrics.as_ref().is_some_and(|old| old.address().port() == address.port()) =>
            {
                let old = self.metrics.take().map(|old| old.address());
                let made = self.listen(address);
                if let (Err(_), Some(old)) = (&made, old) {
                    self.metrics = self.listen(old).ok();
                }
                made
            }
            made => made,
        };
        self.metrics = Some(made?);
        Ok(())
    }

    fn place_workers(&mut self, placement: &Placement) -> Vec<Option<u16>> {
        (self.cores.place_workers)(placement)
    }

    fn place_other_threads(&mut self, placement: &Placement, worker_cores: &[Option<u16>]) {
        (self.cores.place_other_threads)(placement, worker_cores);
    }
}
