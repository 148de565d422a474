//! Another configuration for a running switch: read, checked, compared, carried out step by step, and taken back
//! whole if a step fails.
//!
//! ```text
//!   file or text --config--> Config --plan--> steps --carry_out--> the switch of the new configuration
//!                                                       | a step fails
//!                                                       +--> what was done is undone, last first
//! ```
//! [`Target::carry_out`] does one step and returns the steps that take it back, which is more than the step's
//! inverse where the running switch held what the configuration did not know: a rule that `add-flow` had put in the
//! place of a new one comes back, so do all rules of a bridge that went, and a port comes back as commands had set it.
//! Starting a switch is the same with
//! nothing as the old configuration ([`Manner::Start`]), so a thing is made in one place.
//!
//! # Strict and lenient
//! A start lives with a port that can't be opened; a change does not, for whoever asked for it is there to read
//! why. Taking back is lenient again: a port that went and does not open any more is left as a failed one, which
//! the error says.
//!
//! # Who waits
//! The control thread does all of it, and between steps it goes on serving upcalls, megaflows and exporters
//! ([`Switch::pause`]). Reading and checking files and opening devices run on a thread of their own while it goes on
//! turning. Closing a device does not: its last step is the datapath's. Other requests, scrapes and what OpenFlow
//! connections ask for wait until the change is done, so nobody sees half of one, and nothing that a controller was told
//! is done is taken back with it. Workers wait for nothing: a step gives them commands, and they
//! carry out a bounded number of those in a turn.
//!
//! # What is not kept
//! A port that is replaced or taken back is a new device: its counters, its megaflows and the addresses learned on
//! it begin anew. So does a rule that went and came back. That can only be where something fails after it, and
//! the order of the plan puts what may fail first.
//!
//! # Threads
//! The control thread.

#[cfg(test)]
mod tests;

use super::plan::{BridgeSettings, Change, Placement, Plan, Refusal, Step, plan};
use super::ports::{FailedPort, PortRecord, link_word, merged};
use super::requests::patch_counters;
use super::switch::{BridgeState, PortFault, Switch, SwitchError};
use crate::config::{self, Config, Dummies, Faults, PortConfig, WorkerPlacement};
use crate::dpif::DpifError;
use crate::metrics::MetricsServerError;
use crate::ofproto::{self, BridgeId, FlowModError, Ofproto, OfprotoError};
use crate::openflow::format::format_flow_mod;
use crate::openflow::{FlowMod, FlowModCommand, NoNames, OfError};
use crate::sync::Nanos;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use tracing::level_filters::LevelFilter;

/// Longest time of steps between two looks at what packets need: upcalls wait no longer for a change of many rules.
const PAUSE_INTERVAL: Nanos = Nanos::from_millis(5);

/// Where a configuration came from that was in no file.
const AT_START: &str = "what the switch was started with";

/// What a configuration says of the process around the switch.
pub trait Surroundings {
    /// Sets the least severe log line that is written.
    fn set_log_level(&mut self, level: LevelFilter);

    /// Serves metrics at another address, or not at all.
    ///
    /// # Errors
    /// Why they can't be served there; then they are served where they were.
    fn set_metrics_listen(&mut self, listen: Option<SocketAddr>) -> Result<(), MetricsServerError>;

    /// Picks a core for each worker; none for one that is to run on any.
    fn place_workers(&mut self, placement: &Placement) -> Vec<Option<u16>>;

    /// Moves the threads that are not workers to where they are to be beside these workers.
    fn place_other_threads(&mut self, placement: &Placement, worker_cores: &[Option<u16>]);
}

/// No process around the switch: a test or a simulation drives it.
#[derive(Clone, Copy, Default, Debug)]
pub struct NoSurroundings;

impl Surroundings for NoSurroundings {
    fn set_log_level(&mut self, _level: LevelFilter) {}

    fn set_metrics_listen(&mut self, _listen: Option<SocketAddr>) -> Result<(), MetricsServerError> {
        Ok(())
    }

    fn place_workers(&mut self, placement: &Placement) -> Vec<Option<u16>> {
        match &placement.workers {
            WorkerPlacement::Auto { count } => vec![None; usize::from(*count)],
            WorkerPlacement::Cores(cores) => cores.iter().map(|core| Some(*core)).collect(),
        }
    }

    fn place_other_threads(&mut self, _placement: &Placement, _worker_cores: &[Option<u16>]) {}
}

/// Where a configuration comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// The file that the switch was started with, read again.
    StartFile,
    /// A file.
    File(PathBuf),
    /// Text, and the file that it is said to be from: names in it are relative to that.
    Text {
        /// The file's name.
        name: String,
        /// The text.
        text: String,
    },
}

/// Where the switch's configurations come from.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Origin {
    /// The file that it was started with; none if it was not started with one.
    pub file: Option<PathBuf>,
    /// Whether ports of type `dummy` are taken.
    pub dummies: Dummies,
    /// Whether devices on the PCI bus can be had: DPDK leaves it alone if it was started without one.
    pub has_pci: bool,
}

/// The configuration that is in force, and how that came about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InForce {
    /// It.
    pub config: Config,
    /// Where it came from, in words.
    pub source: String,
    /// Since when, in nanoseconds since 1970.
    pub since_unix_ns: u64,
    /// What the last change came to; none if none was asked for.
    pub last: Option<LastApply>,
    /// Changes asked for, by [`ApplyOutcome::index`].
    pub counts: [u64; ApplyOutcome::ALL.len()],
    pub(super) origin: Origin,
}

impl InForce {
    pub(super) fn at_start(config: &Config, now_unix_ns: u64) -> InForce {
        InForce {
            config: config.clone(),
            source: AT_START.to_owned(),
            since_unix_ns: now_unix_ns,
            last: None,
            counts: [0; ApplyOutcome::ALL.len()],
            origin: Origin::default(),
        }
    }
}

/// The last change that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LastApply {
    /// Where the configuration came from.
    pub source: String,
    /// When, in nanoseconds since 1970.
    pub at_unix_ns: u64,
    /// What came of it.
    pub outcome: ApplyOutcome,
    /// Why it was not applied.
    pub error: Option<String>,
}

/// What came of a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ApplyOutcome {
    /// It is in force.
    Applied,
    /// It was not begun: the file has faults, or asks for what takes a restart.
    Refused,
    /// A step failed, and the switch is as it was.
    RolledBack,
    /// A step failed, and something could not be brought back.
    Incomplete,
}

impl ApplyOutcome {
    /// All of them.
    pub const ALL: [ApplyOutcome; 4] =
        [ApplyOutcome::Applied, ApplyOutcome::Refused, ApplyOutcome::RolledBack, ApplyOutcome::Incomplete];

    /// The word for it in replies and metrics.
    pub fn name(self) -> &'static str {
        match self {
            ApplyOutcome::Applied => "applied",
            ApplyOutcome::Refused => "refused",
            ApplyOutcome::RolledBack => "rolled_back",
            ApplyOutcome::Incomplete => "incomplete",
        }
    }

    /// Its place in [`ApplyOutcome::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }
}

/// A change that was made, or would be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Where the configuration came from.
    pub source: String,
    /// What was, or would be, done.
    pub plan: Plan,
    /// What went wrong without keeping the change from being made: devices that did not close well.
    pub warnings: Vec<String>,
    /// How long it took.
    pub duration: Nanos,
}

/// Why a configuration was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// There is no file to read again.
    #[error("the switch was started without a file, so there is none to read again: name one")]
    NoFile,
    /// The configuration has faults.
    #[error("{0}")]
    Faults(Faults),
    /// It asks for what can't be done while the switch runs.
    #[error("{}", lines(.0))]
    Restart(Vec<Refusal>),
    /// A step failed.
    #[error("step {number} of {count}, {step}: {source}; {}", rollback_text(.left))]
    Failed {
        /// Which step, counted from 1.
        number: usize,
        /// Of how many.
        count: usize,
        /// What it was to do.
        step: String,
        /// What it met.
        source: SwitchError,
        /// What could not be brought back.
        left: Vec<SwitchError>,
    },
}

fn lines(refusals: &[Refusal]) -> String {
    refusals.iter().map(Refusal::to_string).collect::<Vec<_>>().join("\n")
}

fn rollback_text(left: &[SwitchError]) -> String {
    if left.is_empty() {
        return "all is as it was before".to_owned();
    }
    let left: Vec<String> = left.iter().map(SwitchError::to_string).collect();
    format!("what was done is taken back, but: {}", left.join("; "))
}

impl ApplyError {
    /// What came of the change.
    pub fn outcome(&self) -> ApplyOutcome {
        match self {
            ApplyError::NoFile | ApplyError::Faults(_) | ApplyError::Restart(_) => ApplyOutcome::Refused,
            ApplyError::Failed { left, .. } if left.is_empty() => ApplyOutcome::RolledBack,
            ApplyError::Failed { .. } => ApplyOutcome::Incomplete,
        }
    }
}

/// How a step is carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Manner {
    /// The switch starts: a port that can't be opened is noted, and the step is done.
    Start,
    /// The configuration changes: what can't be done is an error, and the step has no effect.
    Change,
    /// A change is taken back: what can't be done is an error, but a port is noted as one that failed.
    Restore,
}

/// What steps are carried out on: the switch, or a test's idea of one.
pub(super) trait Target {
    /// Carries a step out. Returns the steps that take it back, in order.
    ///
    /// # Errors
    /// Why it can't be done; then it has had no effect, except as [`Manner::Restore`] says.
    fn carry_out(&mut self, step: &Step, manner: Manner) -> Result<Vec<Step>, SwitchError>;
}

/// Why a list of steps was not carried out: the place of the step that failed, what it met, and what could not be
/// taken back.
#[derive(Debug)]
pub(super) struct StepFailure {
    index: usize,
    source: SwitchError,
    left: Vec<SwitchError>,
}

/// Carries out all steps or, as far as the target lets it, none.
pub(super) fn carry_out_all(target: &mut dyn Target, steps: &[Step]) -> Result<(), StepFailure> {
    let mut done = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        match target.carry_out(step, Manner::Change) {
            Ok(undo) => done.push(undo),
            Err(source) => {
                let mut left = Vec::new();
                for undo in done.iter().rev().flatten() {
                    left.extend(target.carry_out(undo, Manner::Restore).err());
                }
                return Err(StepFailure { index, source, left });
            }
        }
    }
    Ok(())
}

/// The running switch as a target.
struct Live<'a> {
    switch: &'a mut Switch,
    surroundings: &'a mut dyn Surroundings,
    /// Ports that had failed before the change: that they still do is no news.
    failed_before: BTreeSet<String>,
    warnings: Vec<String>,
    last_pause: Nanos,
    /// Ports that went in this change: if one of them comes again, what commands changed of it holds.
    closed: Vec<ClosedPort>,
}

/// A port that a change took away.
struct ClosedPort {
    bridge: String,
    /// What the old configuration said of it.
    from: PortConfig,
    /// What it was.
    was: PortConfig,
}

impl Target for Live<'_> {
    fn carry_out(&mut self, step: &Step, manner: Manner) -> Result<Vec<Step>, SwitchError> {
        // Rules come by the thousand.
        if manner != Manner::Start && !matches!(step, Step::Rule { .. }) {
            tracing::info!("{}{step}", if manner == Manner::Restore { "taking back: " } else { "" });
        }
        let done = match step {
            Step::LogLevel(change) => {
                change.to.into_iter().for_each(|level| self.surroundings.set_log_level(level));
                Ok(vec![step.inverse()])
            }
            Step::Metrics(change) => {
                self.surroundings.set_metrics_listen(change.to.flatten())?;
                Ok(vec![step.inverse()])
            }
            Step::Workers(change) => {
                change.to.iter().try_for_each(|placement| self.set_workers(placement))?;
                Ok(vec![step.inverse()])
            }
            Step::Bridge { bridge, change } => self.switch.change_bridge(bridge, change),
            Step::Meter { bridge, change } => self.switch.change_meter(bridge, change),
            Step::Group { bridge, change } => self.switch.change_group(bridge, change),
            Step::Rule { bridge, change } => self.switch.change_rule(bridge, change, manner),
            Step::Ipfix { bridge, change } => self.switch.change_exporter(bridge, change),
            Step::Port { bridge, change } => self.change_port(bridge, change, manner),
        };
        if manner != Manner::Start {
            self.switch.pause(&mut self.last_pause);
        }
        done
    }
}

impl Live<'_> {
    fn set_workers(&mut self, placement: &Placement) -> Result<(), SwitchError> {
        let cores = self.surroundings.place_workers(placement);
        self.switch.ofproto.set_workers(&cores).map_err(SwitchError::Workers)?;
        self.switch.ofproto.set_placement(placement.queues);
        self.surroundings.place_other_threads(placement, &cores);
        Ok(())
    }

    fn change_port(
        &mut self,
        bridge: &str,
        change: &Change<PortConfig>,
        manner: Manner,
    ) -> Result<Vec<Step>, SwitchError> {
        let index = self.switch.bridge_index(bridge)?;
        // What it is, not what the configuration says, is what is taken back.
        let was = change.from.as_ref().map(|from| self.switch.port_as_it_is(index, from));
        let mut is = change.to.clone();
        match (&change.from, &change.to) {
            (Some(from), Some(to)) => {
                self.switch.set_port(index, from, to)?;
                is = Some(self.switch.port_as_it_is(index, to));
            }
            (Some(from), None) => {
                if manner == Manner::Change
                    && let Some(was) = was.clone()
                {
                    self.closed.push(ClosedPort { bridge: bridge.to_owned(), from: from.clone(), was });
                }
                if let Some(warning) = self.switch.remove_port(index, &from.netdev.name)? {
                    tracing::warn!(bridge, port = from.netdev.name, "the port is gone, but: {warning}");
                    self.warnings.push(format!("port {} is gone, but: {warning}", from.netdev.name));
                }
            }
            (None, Some(to)) => {
                let is_known = self.failed_before.contains(&to.netdev.name);
                let to = self.as_commands_left_it(bridge, to, manner);
                match self.switch.add_port(index, &to, manner) {
                    Err(SwitchError::Port { .. }) if manner == Manner::Restore && is_known => {}
                    added => added?,
                }
            }
            (None, None) => {}
        }
        self.switch.name_interfaces();
        Ok(vec![Step::Port { bridge: bridge.to_owned(), change: Change { from: is, to: was } }])
    }

    /// What a port is to be that comes: if it went before in this change, what the configurations agree on stays as
    /// it was.
    fn as_commands_left_it(&self, bridge: &str, to: &PortConfig, manner: Manner) -> PortConfig {
        let is_meant =
            |closed: &&ClosedPort| closed.bridge == bridge && closed.from.netdev.name == to.netdev.name;
        match self.closed.iter().find(is_meant) {
            Some(ClosedPort { from, was, .. }) if manner == Manner::Change => {
                PortConfig { settings: merged(&was.settings, &from.settings, &to.settings), ..to.clone() }
            }
            _ => to.clone(),
        }
    }
}

impl Switch {
    /// Says where its configurations come from: the file to read again, for one.
    pub fn set_origin(&mut self, origin: Origin) {
        if let Some(file) = &origin.file {
            self.in_force.source = file.display().to_string();
        }
        self.in_force.origin = origin;
    }

    /// The configuration that is in force.
    pub fn in_force(&self) -> &InForce {
        &self.in_force
    }

    /// Makes all that a configuration asks for, in a switch that has nothing yet.
    pub(super) fn begin(&mut self, config: &Config) -> Result<(), SwitchError> {
        let nothing = Config { bridges: Vec::new(), ..config.clone() };
        let mut live = Live {
            switch: self,
            surroundings: &mut NoSurroundings,
            failed_before: BTreeSet::new(),
            warnings: Vec::new(),
            last_pause: Nanos(0),
            closed: Vec::new(),
        };
        for step in plan(&nothing, config).steps {
            live.carry_out(&step, Manner::Start)?;
        }
        Ok(())
    }

    /// What [`Switch::apply`] would do.
    ///
    /// # Errors
    /// What is wrong with the configuration. That something takes a restart is no error here.
    pub fn diff(&mut self, wanted: &Wanted) -> Result<Applied, ApplyError> {
        let start = self.clock.now();
        let (source, _, plan) = self.plan_for(wanted)?;
        let duration = self.clock.now().since(start);
        Ok(Applied { source, plan, warnings: Vec::new(), duration })
    }

    /// Makes the switch that of another configuration, or leaves it as it is. When this returns, no packet
    /// received afterwards is handled by what was before.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub fn apply(
        &mut self,
        wanted: &Wanted,
        surroundings: &mut dyn Surroundings,
    ) -> Result<Applied, ApplyError> {
        let start = self.clock.now();
        let result = self.apply_unrecorded(wanted, surroundings, start);
        let (outcome, source, error) = match &result {
            Ok(applied) => (ApplyOutcome::Applied, applied.source.clone(), None),
            Err(error) => (error.outcome(), self.source_of(wanted), Some(error.to_string())),
        };
        self.in_force.counts[outcome.index()] += 1;
        self.in_force.last = Some(LastApply { source, at_unix_ns: self.unix_now_ns(), outcome, error });
        result
    }

    fn apply_unrecorded(
        &mut self,
        wanted: &Wanted,
        surroundings: &mut dyn Surroundings,
        start: Nanos,
    ) -> Result<Applied, ApplyError> {
        let (source, config, plan) = self.plan_for(wanted)?;
        if !plan.refusals.is_empty() {
            return Err(ApplyError::Restart(plan.refusals));
        }
        let warnings = self.carry_out_plan(&plan, surroundings)?;
        // The files that it names may be new where it is not.
        self.openflow.read_certificates();
        self.in_force.config = config;
        self.in_force.source.clone_from(&source);
        self.in_force.since_unix_ns = self.unix_now_ns();
        let duration = self.clock.now().since(start);
        let (steps, millis) = (plan.steps.len(), duration.as_millis());
        tracing::info!(source, steps, millis, "configuration applied");
        Ok(Applied { source, plan, warnings, duration })
    }

    /// Carries a plan out, or nothing of it. Returns what is worth a warning.
    fn carry_out_plan(
        &mut self,
        plan: &Plan,
        surroundings: &mut dyn Surroundings,
    ) -> Result<Vec<String>, ApplyError> {
        let failed = self.bridges.iter().flat_map(|bridge| &bridge.failed_ports);
        let failed_before = failed.map(|port| port.name().to_owned()).collect();
        let last_pause = self.clock.now();
        let (warnings, closed) = (Vec::new(), Vec::new());
        let mut live = Live { switch: self, surroundings, failed_before, warnings, last_pause, closed };
        live.switch.is_changing = true;
        let result = carry_out_all(&mut live, &plan.steps);
        let warnings = std::mem::take(&mut live.warnings);
        if !plan.steps.is_empty() {
            self.ofproto.settle();
        }
        self.is_changing = false;
        self.openflow.note_heard_nobody(self.clock.now());
        match result {
            Ok(()) => Ok(warnings),
            Err(StepFailure { index, source, left }) => {
                let (number, count, step) = (index + 1, plan.steps.len(), plan.steps[index].to_string());
                Err(ApplyError::Failed { number, count, step, source, left })
            }
        }
    }

    /// Reads and checks a configuration, and compares it with the one in force.
    fn plan_for(&mut self, wanted: &Wanted) -> Result<(String, Config, Plan), ApplyError> {
        let source = self.source_of(wanted);
        let origin = self.in_force.origin.clone();
        let wanted = match wanted {
            Wanted::StartFile => Wanted::File(origin.file.ok_or(ApplyError::NoFile)?),
            wanted => wanted.clone(),
        };
        // Files of a million rules take seconds to read; it is lent out meanwhile, and nobody else asks for it.
        let running = self.in_force.config.clone();
        let read = move || -> Result<(Config, Plan), Faults> {
            let config = match wanted {
                Wanted::Text { name, text } => config::parse_onto(&name, &text, origin.dummies, &running)?,
                Wanted::File(path) => config::load_onto(&path, origin.dummies, &running)?,
                Wanted::StartFile => running.clone(),
            };
            let mut plan = plan(&running, &config);
            if !origin.has_pci {
                plan.refuse_pci(&config);
            }
            Ok((config, plan))
        };
        let (config, plan) = self.beside(read).map_err(ApplyError::Faults)?;
        Ok((source, config, plan))
    }

    fn source_of(&self, wanted: &Wanted) -> String {
        match wanted {
            Wanted::StartFile => {
                let file = self.in_force.origin.file.as_deref();
                file.map_or_else(|| AT_START.to_owned(), |file| file.display().to_string())
            }
            Wanted::File(path) => path.display().to_string(),
            Wanted::Text { name, .. } => name.clone(),
        }
    }

    pub(super) fn unix_now_ns(&self) -> u64 {
        self.clock.wall_origin_ns().saturating_add(self.clock.now().0)
    }

    /// Gives packets their due if steps have taken a while.
    fn pause(&mut self, last: &mut Nanos) {
        let now = self.clock.now();
        if now.since(*last) >= PAUSE_INTERVAL {
            self.turn(now);
            *last = self.clock.now();
        }
    }

    /// Runs `work` on a thread of its own, and turns the switch until it is done.
    fn beside<T: Send>(&mut self, work: impl FnOnce() -> T + Send) -> T {
        if !self.is_parallel {
            return work();
        }
        let mut work = Some(work);
        let result = std::thread::scope(|scope| {
            let take = || work.take().map(|work| work());
            let helper = std::thread::Builder::new().name("config".to_owned()).spawn_scoped(scope, take);
            let helper = helper.ok()?;
            while !helper.is_finished() {
                self.turn_beside(self.clock.now());
            }
            helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        match (result, work) {
            (Some(result), _) => result,
            (None, Some(work)) => work(),
            (None, None) => unreachable!("work that was taken has a result"),
        }
    }

    pub(super) fn bridge_index(&self, name: &str) -> Result<usize, SwitchError> {
        let index = self.bridges.iter().position(|bridge| bridge.name == name);
        index.ok_or_else(|| SwitchError::NoSuchBridge { bridge: name.to_owned() })
    }

    fn change_bridge(
        &mut self,
        name: &str,
        change: &Change<BridgeSettings>,
    ) -> Result<Vec<Step>, SwitchError> {
        let failed = |source| SwitchError::Bridge { bridge: name.to_owned(), source };
        let mut undo = vec![Step::Bridge { bridge: name.to_owned(), change: change.clone() }.inverse()];
        match (&change.from, &change.to) {
            (None, Some(to)) => {
                let settings = settings(&ofproto::BridgeConfig::new(name, to.datapath_id), to);
                let id = self.ofproto.bridge_add(settings).map_err(failed)?;
                let name = name.to_owned();
                let (ports, failed_ports) = (BTreeMap::new(), Vec::new());
                self.openflow.configure(id, &name, &to.openflow, self.clock.now());
                self.bridges.push(BridgeState { id, name, exporter: None, ports, failed_ports });
            }
            (Some(_), Some(to)) => {
                let id = self.bridges[self.bridge_index(name)?].id;
                let old = self.ofproto.bridge(id).ok_or(OfprotoError::NoSuchBridge(id)).map_err(failed)?;
                let settings = settings(old, to);
                self.ofproto.bridge_set(id, settings).map_err(failed)?;
                self.openflow.configure(id, name, &to.openflow, self.clock.now());
            }
            (Some(_), None) => {
                let index = self.bridge_index(name)?;
                let id = self.bridges[index].id;
                let own = |meter| Step::Meter { bridge: name.to_owned(), change: Change::add(meter) };
                undo.extend(self.ofproto.meter_desc(id).into_iter().map(own));
                let own = |group| Step::Group { bridge: name.to_owned(), change: Change::add(group) };
                undo.extend(self.groups(id).into_iter().map(own));
                undo.extend(
                    self.rules(id)
                        .into_iter()
                        .map(|rule| Step::Rule { bridge: name.to_owned(), change: Change::add(rule) }),
                );
                self.openflow.remove(id);
                self.ofproto.bridge_del(id).map_err(failed)?;
                self.bridges.remove(index);
            }
            (None, None) => {}
        }
        Ok(undo)
    }

    /// All rules of a bridge, as adds.
    pub(super) fn rules(&self, bridge: BridgeId) -> Vec<FlowMod> {
        let tables = self.ofproto.snapshot().get(bridge).map(|bridge| &bridge.tables);
        let rules = (0..=u8::MAX)
            .flat_map(|table| tables.into_iter().flat_map(move |tables| tables.in_order(table)))
            .map(|(_, rule)| rule.to_flow_mod());
        rules.collect()
    }

    fn change_rule(
        &mut self,
        bridge: &str,
        change: &Change<FlowMod>,
        manner: Manner,
    ) -> Result<Vec<Step>, SwitchError> {
        let id = self.bridges[self.bridge_index(bridge)?].id;
        let Some(rule) = change.to.as_ref().or(change.from.as_ref()) else { return Ok(Vec::new()) };
        let tables = self.ofproto.snapshot().get(id).map(|bridge| &bridge.tables);
        let before = tables.and_then(|tables| tables.exact(rule.table, rule.priority, &rule.matching));
        let before = before.map(|rule| rule.to_flow_mod());
        let flow_mod = match &change.to {
            Some(rule) => rule.clone(),
            None => FlowMod { command: FlowModCommand::DeleteStrict, actions: Vec::new(), ..rule.clone() },
        };
        let mut done = self.ofproto.flow_mod(id, &flow_mod);
        if manner == Manner::Restore && done == Err(FlowModError::OpenFlow(OfError::FlowModOverlap)) {
            // It overlaps what came after it, as it did before the change.
            let mut flow_mod = flow_mod.clone();
            flow_mod.flags.check_overlap = false;
            done = self.ofproto.flow_mod(id, &flow_mod);
        }
        done.map_err(|source| SwitchError::Rule {
            bridge: bridge.to_owned(),
            rule: format_flow_mod(rule, &NoNames),
            source,
        })?;
        let before = before.map(|mut rule| {
            // What it counted before the change is not to be lost when it comes back.
            rule.flags.reset_counts = false;
            rule
        });
        let change = Change { from: change.to.clone(), to: before };
        let is_change = change.from.is_some() || change.to.is_some();
        Ok(is_change.then(|| Step::Rule { bridge: bridge.to_owned(), change }).into_iter().collect())
    }

    /// Opens a port of a bridge. Except for a change, one that can't be opened is noted.
    fn add_port(&mut self, index: usize, port: &PortConfig, manner: Manner) -> Result<(), SwitchError> {
        let BridgeState { id, name, .. } = &self.bridges[index];
        let (id, bridge) = (*id, name.clone());
        let source = match self.open_port(id, port) {
            Ok(link) => {
                let link_state = link.is_up;
                let link = link_word(link_state);
                tracing::info!(bridge, port = port.netdev.name, link, "port added");
                let record = PortRecord { is_link_up: link_state, ..PortRecord::new(port, self.clock.now()) };
                self.bridges[index].ports.insert(port.number, record);
                return Ok(());
            }
            Err(source) => source,
        };
        if manner != Manner::Change {
            tracing::error!(bridge, "{source}; the switch goes on without the port, and tries it again");
            let failed = FailedPort::new(port, source.to_string(), self.clock.now());
            self.bridges[index].failed_ports.push(failed);
            self.bridges[index].ports.insert(port.number, PortRecord::new(port, self.clock.now()));
        }
        if manner == Manner::Start { Ok(()) } else { Err(SwitchError::Port { bridge, source }) }
    }

    /// Changes a port's settings, those that differ, since others may have been changed at run time, and the places of
    /// its queues.
    fn set_port(&mut self, index: usize, from: &PortConfig, port: &PortConfig) -> Result<(), SwitchError> {
        let is = self.port_as_it_is(index, from);
        let settings = merged(&is.settings, &from.settings, &port.settings);
        let bridge = &self.bridges[index];
        let is_failed = bridge.failed_ports.iter().any(|failed| failed.name() == port.netdev.name);
        // Nothing to set would still make it forget the addresses learned there.
        if !is_failed && settings != is.settings {
            let (id, name) = (bridge.id, bridge.name.clone());
            let set = self.ofproto.port_set(id, port.number, settings.clone());
            set.map_err(|source| SwitchError::Port { bridge: name, source: PortFault::Ofproto(source) })?;
            self.follow_admin(id, port.number);
        }
        let wanted = PortConfig { settings, ..port.clone() };
        if !is_failed && port.netdev.kind.has_device() {
            self.pin_queues(self.bridges[index].id, &wanted);
        }
        self.bridges[index].want(wanted);
        Ok(())
    }

    /// A port as it is: what the configuration says, and what commands have changed since.
    pub(super) fn port_as_it_is(&self, index: usize, port: &PortConfig) -> PortConfig {
        let bridge = &self.bridges[index];
        let record = bridge.ports.get(&port.number).filter(|record| record.wanted.name() == port.name());
        let mut is = record.map_or_else(|| port.clone(), |record| record.wanted.clone());
        let ports = self.ofproto.ports(bridge.id);
        if let Some(running) = ports.into_iter().find(|running| running.config.name == port.name()) {
            is.settings = ofproto::PortConfig { number: is.settings.number, ..running.config };
        }
        is
    }

    /// Removes a port. Returns what its device said, if it did not close well: the port is gone all the same.
    fn remove_port(&mut self, index: usize, port: &str) -> Result<Option<OfprotoError>, SwitchError> {
        let bridge = &self.bridges[index];
        let is_open = !bridge.failed_ports.iter().any(|failed| failed.name() == port);
        let mut records = bridge.ports.values();
        if let Some(record) = records.find(|record| record.wanted.name() == port)
            && is_open
            && record.wanted.netdev.kind.has_device()
        {
            let netdev = record.wanted.netdev.clone();
            let name = bridge.name.clone();
            let failed = |source| SwitchError::Port { bridge: name, source: PortFault::Netdev(source) };
            self.wait_for_opener(&netdev).map_err(failed)?;
        }
        let bridge = &mut self.bridges[index];
        bridge.ports.retain(|_, record| record.wanted.name() != port);
        if let Some(at) = bridge.failed_ports.iter().position(|failed| failed.name() == port) {
            bridge.failed_ports.remove(at);
            return Ok(None);
        }
        let id = bridge.id;
        let running = self.ofproto.ports(id).into_iter().find(|running| running.config.name == port);
        let patch = running.as_ref().and_then(|running| self.ofproto.patch_stats(id, running.number));
        let removed = running.map(|running| self.ofproto.port_del(id, running.number));
        if let (Some(Ok(_)), Some(patch)) = (&removed, patch) {
            self.removed_patches = self.removed_patches.plus(&patch_counters(&patch));
        }
        match removed {
            None => Ok(None),
            Some(Ok(removed)) => Ok(removed.closed.err().map(|error| DpifError::from(error).into())),
            Some(Err(source)) => {
                let bridge = self.bridges[index].name.clone();
                Err(SwitchError::Port { bridge, source: PortFault::Ofproto(source) })
            }
        }
    }
}

/// What a bridge is to be: what the configuration says, the rest as it is.
fn settings(old: &ofproto::BridgeConfig, to: &BridgeSettings) -> ofproto::BridgeConfig {
    ofproto::BridgeConfig {
        datapath_id: to.datapath_id,
        mac_ageing: Nanos::from_secs(to.mac_ageing_s.into()),
        mac_table_len_max: to.mac_table_size,
        forward_bpdu: to.forward_bpdu,
        fragments: to.fragments,
        controller_rate: to.controller_rate,
        mirrors: to.mirrors.clone(),
        ..old.clone()
    }
}
