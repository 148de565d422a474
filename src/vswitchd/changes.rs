//! `diff`, `apply` and SIGHUP: requests for another configuration, answered.

use super::api::{
    ApplyParams, ChangeInfo, ChangeKind, ConfigInfo, DiffParams, Error, ErrorCode, LastApplyInfo,
    PLAN_CHANGES_MAX, PlanReply, RestartInfo,
};
use super::apply::{Applied, ApplyError, Surroundings, Wanted};
use super::plan::{StepKind, StepText};
use super::switch::Switch;
use std::path::PathBuf;

impl Switch {
    pub(super) fn diff_request(&mut self, params: &DiffParams) -> Result<PlanReply, Error> {
        let wanted = wanted(params.path.as_deref(), params.text.as_deref())?;
        let in_force = self.in_force.source.clone();
        let planned = self.diff(&wanted).map_err(|error| refused(&error))?;
        Ok(reply(&planned, in_force, false))
    }

    pub(super) fn apply_request(
        &mut self,
        params: &ApplyParams,
        surroundings: &mut dyn Surroundings,
    ) -> Result<PlanReply, Error> {
        let wanted = wanted(params.path.as_deref(), params.text.as_deref())?;
        let in_force = self.in_force.source.clone();
        if params.dry_run {
            let planned = self.diff(&wanted).map_err(|error| refused(&error))?;
            if planned.plan.refusals.is_empty() {
                return Ok(reply(&planned, in_force, false));
            }
            return Err(refused(&ApplyError::Restart(planned.plan.refusals)));
        }
        let applied = self.apply(&wanted, surroundings).map_err(|error| {
            log_error("apply", &error);
            refused(&error)
        })?;
        Ok(reply(&applied, in_force, true))
    }

    /// What SIGHUP asks for: the file that the switch was started with, read again. What is wrong goes to the log.
    pub fn reload(&mut self, surroundings: &mut dyn Surroundings) {
        match self.apply(&Wanted::StartFile, surroundings) {
            Ok(applied) => {
                for warning in applied.warnings {
                    tracing::warn!("{warning}");
                }
            }
            Err(error) => log_error("SIGHUP", &error),
        }
    }

    /// What `show` says of the configuration.
    pub(super) fn config_info(&self) -> ConfigInfo {
        let now_unix_ns = self.unix_now_ns();
        let seconds = |ns: u64| ns as f64 / 1e9;
        let age_s = |at: u64| seconds(now_unix_ns.saturating_sub(at));
        let last_apply = self.in_force.last.as_ref().map(|last| LastApplyInfo {
            source: last.source.clone(),
            at_unix_s: seconds(last.at_unix_ns),
            age_s: age_s(last.at_unix_ns),
            outcome: last.outcome.name().to_owned(),
            error: last.error.clone(),
        });
        ConfigInfo {
            source: self.in_force.source.clone(),
            since_unix_s: seconds(self.in_force.since_unix_ns),
            age_s: age_s(self.in_force.since_unix_ns),
            last_apply,
        }
    }
}

/// Says in the log why a configuration was not applied: each fault on a line of its own.
fn log_error(asked_by: &str, error: &ApplyError) {
    for line in error.to_string().lines() {
        tracing::error!("{asked_by}: {line}");
    }
    let outcome = error.outcome().name();
    tracing::error!(outcome, "{asked_by}: the configuration is not applied: what was in force still is");
}

/// Where a request's configuration is.
fn wanted(path: Option<&str>, text: Option<&str>) -> Result<Wanted, Error> {
    match (path, text) {
        (None, None) => Ok(Wanted::StartFile),
        (path, Some(text)) => {
            Ok(Wanted::Text { name: path.unwrap_or("request").to_owned(), text: text.to_owned() })
        }
        (Some(path), None) => {
            let file = PathBuf::from(path);
            if file.is_absolute() {
                return Ok(Wanted::File(file));
            }
            let shown: String = path.chars().take(60).collect();
            let message =
                format!("path {shown:?} is not absolute, and the switch's directory is not the client's");
            Err(Error::new(ErrorCode::InvalidParams, message))
        }
    }
}

fn refused(error: &ApplyError) -> Error {
    let code = match error {
        ApplyError::Faults(_) => ErrorCode::BadConfig,
        ApplyError::NoFile | ApplyError::Restart(_) | ApplyError::Failed { .. } => ErrorCode::Refused,
    };
    Error::new(code, error.to_string())
}

fn reply(applied: &Applied, in_force: String, is_applied: bool) -> PlanReply {
    let Applied { source, plan, warnings, duration } = applied;
    let restart = plan.refusals.iter().map(|refusal| RestartInfo {
        key: refusal.key.to_owned(),
        from: refusal.from.clone(),
        to: refusal.to.clone(),
    });
    PlanReply {
        source: source.clone(),
        in_force,
        is_applied,
        is_different: !plan.is_empty(),
        change_count: plan.steps.len() as u64,
        changes: plan.steps.iter().take(PLAN_CHANGES_MAX).map(|step| change_info(step.describe())).collect(),
        restart_needed: restart.collect(),
        warnings: warnings.clone(),
        duration_s: duration.0 as f64 / 1e9,
    }
}

fn change_info(text: StepText) -> ChangeInfo {
    let StepText { kind, object, bridge, name, detail } = text;
    let change = match kind {
        StepKind::Add => ChangeKind::Add,
        StepKind::Change => ChangeKind::Change,
        StepKind::Remove => ChangeKind::Remove,
    };
    ChangeInfo { change, object: object.to_owned(), bridge, name, detail }
}
