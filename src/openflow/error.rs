//! OpenFlow errors: each type and code that this switch sends, in one table.
//!
//! The code that detects a fault names the variant; the codecs turn it into the type and code of the version
//! that the connection speaks. Types and codes are those of OpenFlow 1.5.1 section 7.5.4.

/// A fault in what a controller asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum OfError {
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_TABLE_FULL.
    #[error("the table is full")]
    FlowModTableFull,
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_BAD_TABLE_ID.
    #[error("there is no such table: tables are numbered 0 to 254")]
    FlowModBadTableId,
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_OVERLAP.
    #[error("the rule overlaps another of the same priority, and check_overlap was asked for")]
    FlowModOverlap,
    /// OFPET_BAD_ACTION, OFPBAC_BAD_OUT_PORT.
    #[error("an action names a port that can't be sent to")]
    BadActionOutPort,
    /// OFPET_BAD_ACTION, OFPBAC_MATCH_INCONSISTENT.
    #[error("an action needs a header that the match does not promise")]
    BadActionMatchInconsistent,
    /// OFPET_BAD_ACTION, OFPBAC_BAD_SET_ARGUMENT.
    #[error("an action sets a field that can't be written, or a value that does not fit")]
    BadActionSetArgument,
    /// OFPET_BAD_ACTION, OFPBAC_BAD_ARGUMENT.
    #[error("an action has an argument that is not allowed")]
    BadActionArgument,
    /// OFPET_BAD_INSTRUCTION, OFPBIC_BAD_TABLE_ID.
    #[error("goto_table must lead to a later table")]
    BadInstructionTableId,
    /// OFPET_BAD_MATCH, OFPBMC_BAD_PREREQ.
    #[error("a field is matched without the fields that make it meaningful")]
    BadMatchPrerequisite,
    /// OFPET_BAD_MATCH, OFPBMC_BAD_VALUE.
    #[error("a field is matched against a value that it can't have")]
    BadMatchValue,
    /// OFPET_BAD_MATCH, OFPBMC_BAD_MASK.
    #[error("a field is matched with a mask that it does not allow")]
    BadMatchMask,
}

impl OfError {
    /// Type and code as OpenFlow 1.5 numbers them.
    pub fn type_and_code(self) -> (u16, u16) {
        match self {
            OfError::FlowModTableFull => (5, 1),
            OfError::FlowModBadTableId => (5, 2),
            OfError::FlowModOverlap => (5, 3),
            OfError::BadActionOutPort => (2, 4),
            OfError::BadActionArgument => (2, 5),
            OfError::BadActionMatchInconsistent => (2, 10),
            OfError::BadActionSetArgument => (2, 15),
            OfError::BadInstructionTableId => (3, 2),
            OfError::BadMatchMask => (4, 8),
            OfError::BadMatchValue => (4, 7),
            OfError::BadMatchPrerequisite => (4, 9),
        }
    }
}
