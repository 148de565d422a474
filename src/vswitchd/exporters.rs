//! Exporters that come, change and go while the switch runs.
//!
//! An exporter whose settings change is another exporter: it gets a number of its own in the datapath, another
//! UDP session and counters from zero. The old one is *retired*: the workers finish its open records, which may
//! take some turns, and they still go to the old collector. Its number is not given to another before all of them
//! are out, so that no record reaches a collector that it is not for. If the change is rolled back meanwhile, the
//! old one takes its place again, and goes on counting.
//!
//! # Threads
//! The control thread.
//!
//! # Bounds
//! [`RETIRE_TIME_MAX`] for the last records; what is not sent by then is lost and logged. Exporters of bridges and
//! retired ones are [`EXPORTER_COUNT_MAX`] together.

use super::plan::{Change, Step};
use super::switch::{BridgeExporter, Switch, SwitchError};
use crate::config::IpfixConfig;
use crate::datapath::EXPORTER_COUNT_MAX;
use crate::dpif::ExporterId;
use crate::ipfix::Moment;
use crate::ofproto::Ofproto;
use crate::sync::Nanos;

/// Records may be on their way from a worker although it counts none as open any more: no exporter is gone sooner.
const RETIRE_TIME_MIN: Nanos = Nanos::from_secs(1);

/// Time that the last records of an exporter get to leave the workers and to be sent.
const RETIRE_TIME_MAX: Nanos = Nanos::from_secs(5);

/// An exporter on its way out.
#[derive(Debug)]
pub(super) struct RetiringExporter {
    /// The bridge that it was for.
    pub(super) bridge: String,
    /// Since when.
    since: Nanos,
    /// It.
    pub(super) exporter: BridgeExporter,
}

impl Switch {
    /// Gives a bridge another exporter, or none.
    pub(super) fn change_exporter(
        &mut self,
        bridge: &str,
        change: &Change<IpfixConfig>,
    ) -> Result<Vec<Step>, SwitchError> {
        let index = self.bridge_index(bridge)?;
        let id = self.bridges[index].id;
        let next = change.to.as_ref().map(|config| self.exporter_for(bridge, config)).transpose()?;
        let metering = next.as_ref().map(BridgeExporter::metering);
        self.ofproto
            .set_ipfix(id, metering)
            .map_err(|source| SwitchError::Bridge { bridge: bridge.to_owned(), source })?;
        let since = self.clock.now();
        if let Some(exporter) = std::mem::replace(&mut self.bridges[index].exporter, next) {
            self.retiring.push(RetiringExporter { bridge: bridge.to_owned(), since, exporter });
        }
        self.name_interfaces();
        Ok(vec![Step::Ipfix { bridge: bridge.to_owned(), change: change.clone() }.inverse()])
    }

    /// An exporter with these settings: the bridge's old one, if it had them and is not gone yet.
    fn exporter_for(&mut self, bridge: &str, config: &IpfixConfig) -> Result<BridgeExporter, SwitchError> {
        let is_it =
            |retiring: &RetiringExporter| retiring.bridge == bridge && retiring.exporter.config == *config;
        if let Some(at) = self.retiring.iter().position(is_it) {
            return Ok(self.retiring.remove(at).exporter);
        }
        // Numbered without gaps as far as it goes, since datapaths keep them in arrays.
        let is_taken = |id: &ExporterId| self.exporters().any(|exporter| exporter.id == *id);
        let id = (0..EXPORTER_COUNT_MAX as u16).map(ExporterId).find(|id| !is_taken(id));
        let id = id.ok_or_else(|| SwitchError::TooManyExporters { bridge: bridge.to_owned() })?;
        Switch::make_exporter(id, config)
            .map_err(|source| SwitchError::Exporter { bridge: bridge.to_owned(), source })
    }

    /// Lets retired exporters go whose records are all sent, or whose time is over.
    pub(super) fn retire(&mut self, moment: Moment) {
        if self.retiring.is_empty() {
            return;
        }
        let open: Vec<u64> =
            self.retiring.iter().map(|retiring| self.open_records(retiring.exporter.id)).collect();
        let mut open = open.into_iter();
        self.retiring.retain_mut(|RetiringExporter { bridge, since, exporter }| {
            let (age, open) = (moment.now.since(*since), open.next().unwrap_or(0));
            if age < RETIRE_TIME_MAX && (age < RETIRE_TIME_MIN || open > 0) {
                return true;
            }
            exporter.exporter.flush(moment);
            exporter.send(moment);
            let messages = exporter.exporter.queue_len();
            let is_over = messages == 0 || age >= RETIRE_TIME_MAX;
            if is_over && (messages > 0 || open > 0) {
                tracing::warn!(
                    bridge,
                    messages,
                    records = open,
                    "IPFIX messages and records of an exporter that was replaced are lost: they were not sent in time"
                );
            }
            !is_over
        });
    }
}
