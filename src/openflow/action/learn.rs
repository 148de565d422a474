//! `learn`: a rule that a packet makes (`ovs-actions(7)`, NXAST_LEARN and NXAST_LEARN2).

use super::Subfield;
use crate::openflow::flow_mod::TableId;

/// Parts of a learned rule at most: with all fields matched and all registers loaded there are fewer.
pub const LEARN_SPEC_COUNT_MAX: usize = 256;

/// What rule to make of a packet.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Learn {
    /// Where it comes: 0 to 254.
    pub table: TableId,
    /// Its priority.
    pub priority: u16,
    /// Its idle timeout in seconds; 0: none.
    pub idle_timeout_s: u16,
    /// Its hard timeout in seconds; 0: none.
    pub hard_timeout_s: u16,
    /// What its idle timeout is once a FIN or RST has used it; 0: as before. See [`super::Action::FinTimeout`].
    pub fin_idle_timeout_s: u16,
    /// What its hard timeout is then; 0: as before.
    pub fin_hard_timeout_s: u16,
    /// Its cookie.
    pub cookie: u64,
    /// Whether controllers are told when it goes.
    pub send_flow_removed: bool,
    /// Whether learned rules of this table and cookie go with the last rule that has such a `learn`.
    pub delete_learned: bool,
    /// Learned rules of this table and cookie at most, beyond which no new one is made; 0: no limit.
    pub limit: u32,
    /// A bit that is set to whether the rule is there afterwards.
    pub result: Option<Subfield>,
    /// What it matches and does, [`LEARN_SPEC_COUNT_MAX`] at most.
    pub specs: Vec<LearnSpec>,
}

impl Learn {
    /// What `learn()` without arguments means: table 1, the default priority.
    pub fn new() -> Learn {
        Learn {
            table: 1,
            priority: 32_768,
            idle_timeout_s: 0,
            hard_timeout_s: 0,
            fin_idle_timeout_s: 0,
            fin_hard_timeout_s: 0,
            cookie: 0,
            send_flow_removed: false,
            delete_learned: false,
            limit: 0,
            result: None,
            specs: Vec::new(),
        }
    }
}

impl Default for Learn {
    fn default() -> Learn {
        Learn::new()
    }
}

/// One part of a learned rule.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LearnSpec {
    /// It matches these bits.
    Match {
        /// Against what.
        source: LearnSource,
        /// The bits.
        destination: Subfield,
    },
    /// It writes these bits.
    Load {
        /// With what.
        source: LearnSource,
        /// The bits.
        destination: Subfield,
    },
    /// It outputs to the port that these bits hold now, when it is learned.
    Output(Subfield),
}

/// Where a value of a learned rule comes from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum LearnSource {
    /// Bits of the packet that is learned from; as many as it goes to.
    Field(Subfield),
    /// A number, at the low end; no wider than what it goes to.
    Value(u128),
}
