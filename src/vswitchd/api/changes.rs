//! The words of `diff`, `apply` and of what `show` says of the configuration.

use serde::{Deserialize, Serialize};

/// Parameters of `diff`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffParams {
    /// The configuration file, an absolute path on the switch's host. None: the file that it was started with.
    #[serde(default)]
    pub path: Option<String>,
    /// The configuration itself. `path` then only says where it comes from: what it names is relative to that.
    #[serde(default)]
    pub text: Option<String>,
}

/// Parameters of `apply`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplyParams {
    /// As for `diff`.
    #[serde(default)]
    pub path: Option<String>,
    /// As for `diff`.
    #[serde(default)]
    pub text: Option<String>,
    /// Only say what would be done: as `diff`, but what can't be done is an error.
    #[serde(default)]
    pub dry_run: bool,
}

/// The configuration that is in force.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ConfigInfo {
    /// Where it came from: a file.
    pub source: String,
    /// Since when, in seconds since 1970.
    pub since_unix_s: f64,
    /// How long that is.
    pub age_s: f64,
    /// What the last `apply` or SIGHUP came to; none if there was none.
    pub last_apply: Option<LastApplyInfo>,
}

/// What the last change that was asked for came to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LastApplyInfo {
    /// Where the configuration came from.
    pub source: String,
    /// When, in seconds since 1970.
    pub at_unix_s: f64,
    /// How long ago that is.
    pub age_s: f64,
    /// `applied`, `refused` (nothing was begun), `rolled_back` (a step failed, all is as it was) or `incomplete`
    /// (a step failed, and something could not be brought back).
    pub outcome: String,
    /// Why it was not applied.
    pub error: Option<String>,
}

/// Reply to `diff` and `apply`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PlanReply {
    /// Where the configuration came from.
    pub source: String,
    /// Where the one that it is compared with came from.
    pub in_force: String,
    /// Whether the changes were made.
    pub is_applied: bool,
    /// Whether there is any difference, `restart_needed` included.
    pub is_different: bool,
    /// How many changes there are.
    pub change_count: u64,
    /// The changes, in the order in which they are made; at most [`PLAN_CHANGES_MAX`].
    pub changes: Vec<ChangeInfo>,
    /// Changes that only a restart can make. `apply` refuses a configuration that has some.
    pub restart_needed: Vec<RestartInfo>,
    /// What went wrong without keeping the changes from being made.
    pub warnings: Vec<String>,
    /// How long it took.
    pub duration_s: f64,
}

/// Changes that a reply lists at most: the others are counted.
pub const PLAN_CHANGES_MAX: usize = 10_000;

/// One change.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChangeInfo {
    /// What happens.
    pub change: ChangeKind,
    /// To what: `bridge`, `port`, `rule`, `ipfix`, `workers`, `metrics`, `log_level`.
    pub object: String,
    /// The bridge that it belongs to, or is.
    pub bridge: Option<String>,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// What comes, what goes, or what changes and how: `mac_ageing_s 300 -> 60`.
    pub detail: String,
}

/// What happens to a thing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It comes.
    Add,
    /// It changes.
    Change,
    /// It goes.
    Remove,
}

/// A key whose change takes a restart.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RestartInfo {
    /// The key.
    pub key: String,
    /// What runs.
    pub from: String,
    /// What is asked for.
    pub to: String,
}
