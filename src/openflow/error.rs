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
    /// OFPET_BAD_ACTION, OFPBAC_BAD_OUT_GROUP.
    #[error("an action names a group that is not there")]
    BadActionOutGroup,
    /// OFPET_BAD_ACTION, OFPBAC_BAD_METER.
    #[error("an action names a meter that is not there")]
    BadActionMeter,
    /// OFPET_BAD_ACTION, OFPBAC_UNSUPPORTED_ORDER.
    #[error("the meter must stand before all other actions")]
    BadActionOrder,
    /// OFPET_BAD_INSTRUCTION, OFPBIC_BAD_TABLE_ID.
    #[error("goto_table must lead to a later table")]
    BadInstructionTableId,
    /// OFPET_BAD_MATCH, OFPBMC_BAD_PREREQ.
    #[error("a field is matched without the fields that make it meaningful")]
    BadMatchPrerequisite,
    /// OFPET_BAD_MATCH, OFPBMC_BAD_FIELD.
    #[error("a field is matched that no rule can look at")]
    BadMatchField,
    /// OFPET_BAD_MATCH, OFPBMC_BAD_VALUE.
    #[error("a field is matched against a value that it can't have")]
    BadMatchValue,
    /// OFPET_BAD_MATCH, OFPBMC_BAD_MASK.
    #[error("a field is matched with a mask that it does not allow")]
    BadMatchMask,
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_GROUP_EXISTS.
    #[error("there is a group of this number already; modify it instead")]
    GroupModExists,
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_INVALID_GROUP.
    #[error(
        "the group can't be: groups are numbered 0 to 4294967040, only a select group has weights and a selection \
         method, an indirect group has one bucket, and each bucket of a fast failover group watches something"
    )]
    GroupModInvalid,
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_OUT_OF_GROUPS.
    #[error("the bridge can have no more groups")]
    GroupModOutOfGroups,
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_OUT_OF_BUCKETS.
    #[error("a group can have no more buckets")]
    GroupModOutOfBuckets,
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_WATCH_UNSUPPORTED.
    #[error(
        "buckets of this type of group watch nothing: only select and fast failover groups look at liveness"
    )]
    GroupModWatchUnsupported,
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_LOOP.
    #[error("a bucket leads back to the group itself, through one group or several")]
    GroupModLoop,
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_UNKNOWN_GROUP.
    #[error("there is no group of this number")]
    GroupModUnknown,
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_CHAINED_GROUP.
    #[error("a bucket of another group names the group")]
    GroupModChained,
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_BAD_BUCKET.
    #[error("a bucket has a number, or an action, that it can't have")]
    GroupModBadBucket,
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_BAD_WATCH.
    #[error("a bucket watches a port or a group that can't be watched")]
    GroupModBadWatch,
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_UNKNOWN_BUCKET.
    #[error("the group has no bucket of this number")]
    GroupModUnknownBucket,
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_BUCKET_EXISTS.
    #[error("two buckets of the group would have one number")]
    GroupModBucketExists,
    /// OFPET_METER_MOD_FAILED, OFPMMFC_METER_EXISTS.
    #[error("there is a meter of this number already; modify it instead")]
    MeterModExists,
    /// OFPET_METER_MOD_FAILED, OFPMMFC_INVALID_METER.
    #[error("meters are numbered 1 to 4294901760")]
    MeterModInvalid,
    /// OFPET_METER_MOD_FAILED, OFPMMFC_UNKNOWN_METER.
    #[error("there is no meter of this number")]
    MeterModUnknown,
    /// OFPET_METER_MOD_FAILED, OFPMMFC_BAD_RATE.
    #[error("a band of the meter has a rate of 0")]
    MeterModBadRate,
    /// OFPET_METER_MOD_FAILED, OFPMMFC_BAD_BAND.
    #[error("a meter needs at least one band")]
    MeterModBadBand,
    /// OFPET_METER_MOD_FAILED, OFPMMFC_BAD_BAND_VALUE.
    #[error("a band that remarks DSCP raises the drop precedence by at least one step")]
    MeterModBadBandValue,
    /// OFPET_METER_MOD_FAILED, OFPMMFC_OUT_OF_METERS.
    #[error("the switch can have no more meters")]
    MeterModOutOfMeters,
    /// OFPET_METER_MOD_FAILED, OFPMMFC_OUT_OF_BANDS.
    #[error("a meter can have no more bands")]
    MeterModOutOfBands,
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
            OfError::BadActionOutGroup => (2, 9),
            OfError::BadActionMatchInconsistent => (2, 10),
            OfError::BadActionOrder => (2, 11),
            OfError::BadActionSetArgument => (2, 15),
            OfError::BadActionMeter => (2, 17),
            OfError::BadInstructionTableId => (3, 2),
            OfError::BadMatchField => (4, 6),
            OfError::BadMatchMask => (4, 8),
            OfError::BadMatchValue => (4, 7),
            OfError::BadMatchPrerequisite => (4, 9),
            OfError::GroupModExists => (6, 0),
            OfError::GroupModInvalid => (6, 1),
            OfError::GroupModOutOfGroups => (6, 3),
            OfError::GroupModOutOfBuckets => (6, 4),
            OfError::GroupModWatchUnsupported => (6, 6),
            OfError::GroupModLoop => (6, 7),
            OfError::GroupModUnknown => (6, 8),
            OfError::GroupModChained => (6, 9),
            OfError::GroupModBadBucket => (6, 12),
            OfError::GroupModBadWatch => (6, 13),
            OfError::GroupModUnknownBucket => (6, 15),
            OfError::GroupModBucketExists => (6, 16),
            OfError::MeterModExists => (12, 1),
            OfError::MeterModInvalid => (12, 2),
            OfError::MeterModUnknown => (12, 3),
            OfError::MeterModBadRate => (12, 6),
            OfError::MeterModBadBand => (12, 8),
            OfError::MeterModBadBandValue => (12, 9),
            OfError::MeterModOutOfMeters => (12, 10),
            OfError::MeterModOutOfBands => (12, 11),
        }
    }
}
