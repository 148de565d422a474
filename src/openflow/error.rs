//! OpenFlow errors: each type and code of every version, in one table.
//!
//! The code that detects a fault names the variant; the codecs turn it into the type and code of the version that the
//! connection speaks ([`OfError::wire`]). Types and codes are those of OpenFlow 1.5.1 section 7.5.4 and of the same
//! section of the older ones; what those can't say stands as Open vSwitch says it, by errors of Nicira or of the Open
//! Networking Foundation. An error that a version has in neither way is told as the nearest that it has.

use super::message::Version;

/// Experimenter number of Nicira.
pub const EXPERIMENTER_NICIRA: u32 = 0x0000_2320;
/// Experimenter number of the Open Networking Foundation.
pub const EXPERIMENTER_ONF: u32 = 0x4f4e_4600;

/// An error as one version tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorWire {
    /// By a type and a code of the specification.
    Standard {
        /// `type`.
        error_type: u16,
        /// `code`.
        code: u16,
    },
    /// By those of an experimenter. From OpenFlow 1.2 on there is only `exp_type`: that is `error_type`, and `code` is 0.
    Experimenter {
        /// Whose.
        experimenter: u32,
        /// `exp_type`; in Open vSwitch's `nx_vendor_error` of 1.0 and 1.1, `type`.
        error_type: u16,
        /// In `nx_vendor_error`, `code`.
        code: u16,
    },
}

#[allow(non_snake_case, reason = "they read as kinds of ErrorWire in the table")]
const fn Standard(error_type: u16, code: u16) -> ErrorWire {
    ErrorWire::Standard { error_type, code }
}

#[allow(non_snake_case, reason = "as above")]
const fn Nicira(error_type: u16, code: u16) -> ErrorWire {
    ErrorWire::Experimenter { experimenter: EXPERIMENTER_NICIRA, error_type, code }
}

#[allow(non_snake_case, reason = "as above")]
const fn Onf(error_type: u16, code: u16) -> ErrorWire {
    ErrorWire::Experimenter { experimenter: EXPERIMENTER_ONF, error_type, code }
}

/// Makes the enum and its tables of rows: a variant, what it says, how it is told in OpenFlow 1.N for ranges of N, and
/// the variant that stands for it in the versions left.
macro_rules! errors {
    ($(
        #[$doc:meta]
        $name:ident, $text:literal, [$($minors:pat => $wire:expr),*] $(, else $nearest:ident)?;
    )*) => {
        /// A fault in what a controller asked for.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
        pub enum OfError {
            $(#[$doc] #[error($text)] $name,)*
        }

        impl OfError {
            /// All of them.
            pub const ALL: &[OfError] = &[$(OfError::$name),*];

            /// How OpenFlow 1.`minor` tells it, if it can.
            fn own_wire(self, minor: u8) -> Option<ErrorWire> {
                match self {
                    $(OfError::$name => match minor {
                        $($minors => Some($wire),)*
                        #[allow(unreachable_patterns, reason = "errors that every version has")]
                        _ => None,
                    })*
                }
            }

            /// What stands for it in versions that don't have it.
            fn nearest(self) -> OfError {
                match self {
                    $($(OfError::$name => OfError::$nearest,)?)*
                    _ => OfError::NiciraUnencodable,
                }
            }
        }
    };
}

errors! {
    /// OFPET_HELLO_FAILED, OFPHFC_INCOMPATIBLE.
    HelloIncompatible, "there is no version of OpenFlow that both sides speak", [0..=5 => Standard(0, 0)];
    /// OFPET_HELLO_FAILED, OFPHFC_EPERM.
    HelloEperm, "the connection is not allowed", [0..=5 => Standard(0, 1)];
    /// OFPET_BAD_REQUEST, OFPBRC_BAD_VERSION.
    BadRequestVersion, "the message is of another version of OpenFlow than the connection",
        [0..=5 => Standard(1, 0)];
    /// OFPET_BAD_REQUEST, OFPBRC_BAD_TYPE.
    BadRequestType, "there is no such type of message in this version, or it is not for a switch",
        [0..=5 => Standard(1, 1)];
    /// OFPET_BAD_REQUEST, OFPBRC_BAD_MULTIPART.
    BadRequestMultipart, "there is no such type of multipart (statistics) request in this version",
        [0..=5 => Standard(1, 2)];
    /// OFPET_BAD_REQUEST, OFPBRC_BAD_EXPERIMENTER.
    BadRequestExperimenter, "the message is of an experimenter that is not known here",
        [0..=5 => Standard(1, 3)];
    /// OFPET_BAD_REQUEST, OFPBRC_BAD_EXP_TYPE.
    BadRequestExpType, "the experimenter has no such type of message here",
        [0..=5 => Standard(1, 4)];
    /// OFPET_BAD_REQUEST, OFPBRC_EPERM.
    BadRequestEperm, "the request is not allowed", [0..=5 => Standard(1, 5)];
    /// OFPET_BAD_REQUEST, OFPBRC_BAD_LEN.
    BadRequestLen, "the message, or a part of it, has a length that it can't have",
        [0..=5 => Standard(1, 6)];
    /// OFPET_BAD_REQUEST, OFPBRC_BUFFER_EMPTY.
    BadRequestBufferEmpty, "the buffered packet was used already",
        [0..=5 => Standard(1, 7)], else BadRequestBufferUnknown;
    /// OFPET_BAD_REQUEST, OFPBRC_BUFFER_UNKNOWN.
    BadRequestBufferUnknown, "there is no buffered packet: this switch buffers none",
        [0..=5 => Standard(1, 8)];
    /// OFPET_BAD_REQUEST, OFPBRC_BAD_TABLE_ID.
    BadRequestTableId, "the request names a table that is not there",
        [0..=0 => Nicira(1, 512), 1..=5 => Standard(1, 9)];
    /// OFPET_BAD_REQUEST, OFPBRC_IS_SLAVE.
    BadRequestIsSlave, "a controller with role slave may only read",
        [0..=1 => Standard(1, 5), 2..=5 => Standard(1, 10)];
    /// OFPET_BAD_REQUEST, OFPBRC_BAD_PORT.
    BadRequestPort, "the request names a port that can't be meant there",
        [0..=1 => Nicira(1, 514), 2..=5 => Standard(1, 11)];
    /// OFPET_BAD_REQUEST, OFPBRC_BAD_PACKET.
    BadRequestPacket, "the packet in the packet-out can't be sent",
        [2..=5 => Standard(1, 12)], else BadRequestLen;
    /// OFPET_BAD_REQUEST, OFPBRC_MULTIPART_BUFFER_OVERFLOW.
    BadRequestMultipartOverflow, "a multipart request is longer than this switch keeps",
        [3..=5 => Standard(1, 13)], else BadRequestLen;
    /// OFPET_BAD_REQUEST, OFPBRC_MULTIPART_REQUEST_TIMEOUT.
    BadRequestMultipartRequestTimeout, "the rest of a multipart request did not come in time",
        [3..=3 => Onf(2640, 0), 4..=5 => Standard(1, 14)], else BadRequestMultipart;
    /// OFPET_BAD_REQUEST, OFPBRC_MULTIPART_REPLY_TIMEOUT.
    BadRequestMultipartReplyTimeout, "the rest of a multipart reply did not come in time",
        [3..=3 => Onf(2641, 0), 4..=5 => Standard(1, 15)], else BadRequestMultipart;
    /// OFPET_BAD_REQUEST, OFPBRC_MULTIPART_BAD_SCHED.
    BadRequestMultipartSched, "a request came within a multipart request that must not be broken",
        [5..=5 => Standard(1, 16)], else BadRequestMultipart;
    /// OFPET_BAD_REQUEST, OFPBRC_PIPELINE_FIELDS_ONLY.
    BadRequestPipelineFieldsOnly, "the match of a packet-out holds a field that is no pipeline field",
        [5..=5 => Standard(1, 17)], else BadMatchField;
    /// OFPET_BAD_REQUEST, OFPBRC_UNKNOWN.
    BadRequestUnknown, "the request failed for a reason that has no code",
        [5..=5 => Standard(1, 18)], else NiciraUnencodable;
    /// NXBRC_NXM_INVALID.
    NiciraMatchInvalid, "an NXM match is cut off or has a length that it can't have",
        [0..=1 => Nicira(1, 256), 2..=5 => Nicira(2, 0)];
    /// NXBRC_NXM_BAD_TYPE.
    NiciraMatchType, "an NXM match holds a field, mask or value that it can't",
        [0..=1 => Nicira(1, 257), 2..=5 => Nicira(3, 0)];
    /// NXBRC_MUST_BE_ZERO.
    NiciraMustBeZero, "bytes that must be zero are not", [0..=1 => Nicira(1, 515), 2..=5 => Nicira(4, 0)];
    /// NXBRC_BAD_REASON.
    NiciraBadReason, "the reason is none that there is", [0..=1 => Nicira(1, 516), 2..=5 => Nicira(5, 0)];
    /// NXBRC_FM_BAD_EVENT.
    NiciraMonitorEvent, "the event of the flow monitor is none that there is",
        [0..=1 => Nicira(1, 520), 2..=5 => Nicira(9, 0)];
    /// NXBRC_UNENCODABLE_ERROR.
    NiciraUnencodable, "the request failed for a reason that this version has no code for",
        [0..=1 => Nicira(1, 521), 2..=5 => Nicira(10, 0)];
    /// OFPET_BAD_ACTION, OFPBAC_BAD_TYPE.
    BadActionType, "there is no such type of action in this version", [0..=5 => Standard(2, 0)];
    /// OFPET_BAD_ACTION, OFPBAC_BAD_LEN.
    BadActionLen, "an action has a length that it can't have", [0..=5 => Standard(2, 1)];
    /// OFPET_BAD_ACTION, OFPBAC_BAD_EXPERIMENTER.
    BadActionExperimenter, "an action is of an experimenter that is not known here",
        [0..=5 => Standard(2, 2)];
    /// OFPET_BAD_ACTION, OFPBAC_BAD_EXP_TYPE.
    BadActionExpType, "the experimenter has no such type of action here",
        [0..=5 => Standard(2, 3)];
    /// OFPET_BAD_ACTION, OFPBAC_BAD_OUT_PORT.
    BadActionOutPort, "an action names a port that can't be sent to", [0..=5 => Standard(2, 4)];
    /// OFPET_BAD_ACTION, OFPBAC_BAD_ARGUMENT.
    BadActionArgument, "an action has an argument that is not allowed", [0..=5 => Standard(2, 5)];
    /// OFPET_BAD_ACTION, OFPBAC_EPERM.
    BadActionEperm, "an action is not allowed", [0..=5 => Standard(2, 6)];
    /// OFPET_BAD_ACTION, OFPBAC_TOO_MANY.
    BadActionTooMany, "there are more actions than this switch can keep", [0..=5 => Standard(2, 7)];
    /// OFPET_BAD_ACTION, OFPBAC_BAD_QUEUE.
    BadActionQueue, "an action names a queue that is not there", [0..=5 => Standard(2, 8)];
    /// OFPET_BAD_ACTION, OFPBAC_BAD_OUT_GROUP.
    BadActionOutGroup, "an action names a group that is not there",
        [0..=0 => Nicira(2, 9), 1..=5 => Standard(2, 9)];
    /// OFPET_BAD_ACTION, OFPBAC_MATCH_INCONSISTENT.
    BadActionMatchInconsistent, "an action needs a header that the match does not promise",
        [0..=0 => Nicira(1, 522), 1..=5 => Standard(2, 10)];
    /// OFPET_BAD_ACTION, OFPBAC_UNSUPPORTED_ORDER.
    BadActionOrder, "the meter must stand before all other actions",
        [1..=5 => Standard(2, 11)], else BadActionArgument;
    /// OFPET_BAD_ACTION, OFPBAC_BAD_TAG.
    BadActionTag, "an action pushes a tag, or leaves a protocol, that it can't",
        [1..=5 => Standard(2, 12)], else BadActionArgument;
    /// OFPET_BAD_ACTION, OFPBAC_BAD_SET_TYPE.
    BadActionSetType, "an action sets a field that there is not",
        [0..=1 => Nicira(1, 523), 2..=5 => Standard(2, 13)];
    /// OFPET_BAD_ACTION, OFPBAC_BAD_SET_LEN.
    BadActionSetLen, "an action sets a field with a length that is not its own",
        [0..=1 => Nicira(1, 524), 2..=5 => Standard(2, 14)];
    /// OFPET_BAD_ACTION, OFPBAC_BAD_SET_ARGUMENT.
    BadActionSetArgument, "an action sets a field that can't be written, or a value that does not fit",
        [0..=1 => Nicira(1, 525), 2..=5 => Standard(2, 15)];
    /// OFPET_BAD_ACTION, OFPBAC_BAD_SET_MASK.
    BadActionSetMask, "an action sets a field with a mask that it does not allow",
        [3..=4 => Onf(4250, 0), 5..=5 => Standard(2, 16)], else BadActionSetArgument;
    /// OFPET_BAD_ACTION, OFPBAC_BAD_METER.
    BadActionMeter, "an action names a meter that is not there",
        [5..=5 => Standard(2, 17)], else MeterModUnknown;
    /// NXBAC_MUST_BE_ZERO.
    NiciraActionMustBeZero, "bytes of an action that must be zero are not",
        [0..=1 => Nicira(2, 256), 2..=5 => Nicira(11, 0)];
    /// NXBAC_BAD_CONJUNCTION.
    NiciraActionConjunction, "conjunction can't stand beside any action but conjunction and note",
        [0..=1 => Nicira(2, 526), 2..=5 => Nicira(15, 0)];
    /// NXBAC_BAD_HEADER_TYPE.
    NiciraActionHeaderType, "encap or decap names a header that it can't",
        [3..=5 => Nicira(39, 0)], else BadActionArgument;
    /// NXBAC_UNKNOWN_ED_PROP.
    NiciraActionUnknownProperty, "encap has a property that is not known",
        [3..=5 => Nicira(40, 0)], else BadActionArgument;
    /// NXBAC_BAD_ED_PROP.
    NiciraActionProperty, "encap has a property that can't be",
        [3..=5 => Nicira(41, 0)], else BadActionArgument;
    /// NXBAC_CT_DATAPATH_SUPPORT.
    NiciraActionCtUnsupported, "an action needs connection tracking, which this switch does not have",
        [0..=1 => Nicira(1, 265), 2..=5 => Nicira(42, 0)];
    /// NXBMC_CT_DATAPATH_SUPPORT.
    NiciraMatchCtUnsupported, "a match needs connection tracking, which this switch does not have",
        [0..=1 => Nicira(1, 264), 2..=5 => Nicira(43, 0)];
    /// OFPET_BAD_INSTRUCTION, OFPBIC_UNKNOWN_INST.
    BadInstructionUnknown, "there is no such instruction in this version",
        [1..=5 => Standard(3, 0)], else BadInstructionUnsupported;
    /// OFPET_BAD_INSTRUCTION, OFPBIC_UNSUP_INST.
    BadInstructionUnsupported, "an instruction is not possible here",
        [0..=0 => Nicira(2, 257), 1..=5 => Standard(3, 1)];
    /// OFPET_BAD_INSTRUCTION, OFPBIC_BAD_TABLE_ID.
    BadInstructionTableId, "goto_table must lead to a later table",
        [1..=5 => Standard(3, 2)], else BadInstructionUnsupported;
    /// OFPET_BAD_INSTRUCTION, OFPBIC_UNSUP_METADATA.
    BadInstructionMetadata, "write_metadata has a value that it can't have",
        [1..=5 => Standard(3, 3)], else BadInstructionUnsupported;
    /// OFPET_BAD_INSTRUCTION, OFPBIC_UNSUP_METADATA_MASK.
    BadInstructionMetadataMask, "write_metadata has a mask that it can't have",
        [1..=5 => Standard(3, 4)], else BadInstructionUnsupported;
    /// OFPET_BAD_INSTRUCTION, OFPBIC_BAD_EXPERIMENTER.
    BadInstructionExperimenter, "an instruction is of an experimenter that is not known here",
        [1..=5 => Standard(3, 5)], else BadInstructionUnsupported;
    /// OFPET_BAD_INSTRUCTION, OFPBIC_BAD_EXP_TYPE.
    BadInstructionExpType, "the experimenter has no such type of instruction here",
        [1..=1 => Standard(3, 5), 2..=5 => Standard(3, 6)], else BadInstructionUnsupported;
    /// OFPET_BAD_INSTRUCTION, OFPBIC_BAD_LEN.
    BadInstructionLen, "an instruction has a length that it can't have",
        [2..=5 => Standard(3, 7)], else BadInstructionUnknown;
    /// OFPET_BAD_INSTRUCTION, OFPBIC_EPERM.
    BadInstructionEperm, "an instruction is not allowed",
        [2..=5 => Standard(3, 8)], else BadInstructionUnsupported;
    /// OFPET_BAD_INSTRUCTION, OFPBIC_DUP_INST.
    BadInstructionDup, "an instruction stands there twice",
        [1..=1 => Nicira(3, 256), 2..=3 => Onf(2600, 0), 4..=5 => Standard(3, 9)],
         else BadInstructionUnsupported;
    /// OFPET_BAD_MATCH, OFPBMC_BAD_TYPE.
    BadMatchType, "the match is of a type that this version does not have",
        [1..=5 => Standard(4, 0)], else NiciraMatchInvalid;
    /// OFPET_BAD_MATCH, OFPBMC_BAD_LEN.
    BadMatchLen, "the match, or a field of it, has a length that it can't have",
        [1..=5 => Standard(4, 1)], else NiciraMatchInvalid;
    /// OFPET_BAD_MATCH, OFPBMC_BAD_TAG.
    BadMatchTag, "the match looks for a tag that it can't",
        [1..=5 => Standard(4, 2)], else BadMatchWildcards;
    /// OFPET_BAD_MATCH, OFPBMC_BAD_DL_ADDR_MASK.
    BadMatchDlAddrMask, "the match has a mask for an Ethernet address that can't be",
        [1..=5 => Standard(4, 3)], else BadMatchMask;
    /// OFPET_BAD_MATCH, OFPBMC_BAD_NW_ADDR_MASK.
    BadMatchNwAddrMask, "the match has a mask for an IP address that can't be",
        [1..=5 => Standard(4, 4)], else BadMatchMask;
    /// OFPET_BAD_MATCH, OFPBMC_BAD_WILDCARDS.
    BadMatchWildcards, "the match leaves fields out in a way that can't be",
        [0..=0 => Nicira(1, 262), 1..=5 => Standard(4, 5)];
    /// OFPET_BAD_MATCH, OFPBMC_BAD_FIELD.
    BadMatchField, "a field is matched that no rule can look at",
        [0..=0 => Nicira(0, 263), 1..=5 => Standard(4, 6)];
    /// OFPET_BAD_MATCH, OFPBMC_BAD_VALUE.
    BadMatchValue, "a field is matched against a value that it can't have",
        [0..=0 => Nicira(1, 258), 1..=5 => Standard(4, 7)];
    /// OFPET_BAD_MATCH, OFPBMC_BAD_MASK.
    BadMatchMask, "a field is matched with a mask that it does not allow",
        [0..=1 => Nicira(1, 259), 2..=5 => Standard(4, 8)];
    /// OFPET_BAD_MATCH, OFPBMC_BAD_PREREQ.
    BadMatchPrerequisite, "a field is matched without the fields that make it meaningful",
        [0..=1 => Nicira(1, 260), 2..=5 => Standard(4, 9)];
    /// OFPET_BAD_MATCH, OFPBMC_DUP_FIELD.
    BadMatchDupField, "a field is matched twice", [0..=1 => Nicira(1, 261), 2..=5 => Standard(4, 10)];
    /// OFPET_BAD_MATCH, OFPBMC_EPERM.
    BadMatchEperm, "the match is not allowed", [2..=5 => Standard(4, 11)], else BadMatchField;
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_UNKNOWN.
    FlowModUnknown, "the flow-mod failed for a reason that has no code",
        [1..=5 => Standard(5, 0)], else FlowModUnsupported;
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_TABLE_FULL.
    FlowModTableFull, "the table is full", [0..=0 => Standard(3, 0), 1..=5 => Standard(5, 1)];
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_BAD_TABLE_ID.
    FlowModBadTableId, "there is no such table: tables are numbered 0 to 254",
        [1..=5 => Standard(5, 2)], else NiciraFlowModTableId;
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_OVERLAP.
    FlowModOverlap, "the rule overlaps another of the same priority, and check_overlap was asked for",
        [0..=0 => Standard(3, 1), 1..=5 => Standard(5, 3)];
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_EPERM.
    FlowModEperm, "the flow-mod is not allowed", [0..=0 => Standard(3, 2), 1..=5 => Standard(5, 4)];
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_BAD_TIMEOUT.
    FlowModBadTimeout, "the rule has a timeout that it can't have",
        [1..=5 => Standard(5, 5)], else FlowModUnsupported;
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_BAD_COMMAND.
    FlowModBadCommand, "the flow-mod has a command that there is not",
        [0..=0 => Standard(3, 4), 1..=5 => Standard(5, 6)];
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_BAD_FLAGS.
    FlowModBadFlags, "the flow-mod has a flag that there is not in this version",
        [0..=0 => Nicira(3, 258), 1..=1 => Nicira(5, 258), 2..=5 => Standard(5, 7)];
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_CANT_SYNC.
    FlowModCantSync, "the rule can't be kept equal in tables that go together",
        [4..=5 => Standard(5, 8)], else FlowModUnknown;
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_BAD_PRIORITY.
    FlowModBadPriority, "the rule has a priority that it can't have",
        [3..=3 => Onf(2360, 0), 4..=5 => Standard(5, 9)], else FlowModUnknown;
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_IS_SYNC.
    FlowModIsSync, "the table takes its rules from another and no others",
        [4..=5 => Standard(5, 10)], else FlowModEperm;
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_BAD_EMERG_TIMEOUT.
    FlowModBadEmergencyTimeout, "an emergency rule has no timeout",
        [0..=0 => Standard(3, 3)], else FlowModBadTimeout;
    /// OFPET_FLOW_MOD_FAILED, OFPFMFC_UNSUPPORTED.
    FlowModUnsupported, "the rule is not possible here", [0..=0 => Standard(3, 5)], else FlowModUnknown;
    /// NXFMFC_HARDWARE.
    NiciraFlowModHardware, "the hardware did not take the rule",
        [0..=1 => Nicira(5, 256), 2..=5 => Nicira(12, 0)];
    /// NXFMFC_BAD_TABLE_ID.
    NiciraFlowModTableId, "there is no such table", [0..=1 => Nicira(5, 257), 2..=5 => Nicira(13, 0)];
    /// NXFMFC_INVALID_TLV_FIELD.
    NiciraFlowModTlvField, "the rule looks at a tunnel option that is not mapped",
        [0..=1 => Nicira(1, 536), 2..=5 => Nicira(37, 0)];
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_GROUP_EXISTS.
    GroupModExists, "there is a group of this number already; modify it instead",
        [0..=0 => Nicira(6, 0), 1..=5 => Standard(6, 0)];
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_INVALID_GROUP.
    GroupModInvalid,
        "the group can't be: groups are numbered 0 to 4294967040, only a select group has weights and a \
         selection method, an indirect group has one bucket, and each bucket of a fast failover group watches something",
        [0..=0 => Nicira(6, 1), 1..=5 => Standard(6, 1)];
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_WEIGHT_UNSUPPORTED.
    GroupModWeightUnsupported, "buckets can't have unequal weights here",
        [0..=0 => Nicira(6, 2), 1..=5 => Standard(6, 2)];
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_OUT_OF_GROUPS.
    GroupModOutOfGroups, "the bridge can have no more groups",
        [0..=0 => Nicira(6, 3), 1..=5 => Standard(6, 3)];
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_OUT_OF_BUCKETS.
    GroupModOutOfBuckets, "a group can have no more buckets",
        [0..=0 => Nicira(6, 4), 1..=5 => Standard(6, 4)];
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_CHAINING_UNSUPPORTED.
    GroupModChainingUnsupported, "a group can't lead to this group",
        [0..=0 => Nicira(6, 5), 1..=5 => Standard(6, 5)];
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_WATCH_UNSUPPORTED.
    GroupModWatchUnsupported,
        "buckets of this type of group watch nothing: only select and fast failover groups look at \
         liveness",
        [0..=0 => Nicira(6, 6), 1..=5 => Standard(6, 6)];
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_LOOP.
    GroupModLoop, "a bucket leads back to the group itself, through one group or several",
        [0..=0 => Nicira(6, 7), 1..=5 => Standard(6, 7)];
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_UNKNOWN_GROUP.
    GroupModUnknown, "there is no group of this number", [0..=0 => Nicira(6, 8), 1..=5 => Standard(6, 8)];
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_CHAINED_GROUP.
    GroupModChained, "a bucket of another group names the group",
        [0..=0 => Nicira(6, 9), 2..=5 => Standard(6, 9)], else GroupModInvalid;
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_BAD_TYPE.
    GroupModBadType, "the group has a type that there is not",
        [0..=0 => Nicira(6, 10), 2..=5 => Standard(6, 10)], else GroupModInvalid;
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_BAD_COMMAND.
    GroupModBadCommand, "the group-mod has a command that there is not in this version",
        [0..=0 => Nicira(6, 11), 2..=5 => Standard(6, 11)], else GroupModInvalid;
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_BAD_BUCKET.
    GroupModBadBucket, "a bucket has a number, or an action, that it can't have",
        [0..=0 => Nicira(6, 12), 2..=5 => Standard(6, 12)], else GroupModInvalid;
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_BAD_WATCH.
    GroupModBadWatch, "a bucket watches a port or a group that can't be watched",
        [0..=0 => Nicira(6, 13), 2..=5 => Standard(6, 13)], else GroupModWatchUnsupported;
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_EPERM.
    GroupModEperm, "the group-mod is not allowed",
        [0..=0 => Nicira(6, 14), 2..=5 => Standard(6, 14)], else GroupModInvalid;
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_UNKNOWN_BUCKET.
    GroupModUnknownBucket, "the group has no bucket of this number",
        [0..=0 => Nicira(6, 15), 5..=5 => Standard(6, 15)], else GroupModBadBucket;
    /// OFPET_GROUP_MOD_FAILED, OFPGMFC_BUCKET_EXISTS.
    GroupModBucketExists, "two buckets of the group would have one number",
        [0..=0 => Nicira(6, 16), 5..=5 => Standard(6, 16)], else GroupModBadBucket;
    /// OFPET_PORT_MOD_FAILED, OFPPMFC_BAD_PORT.
    PortModBadPort, "there is no port of this number", [0..=0 => Standard(4, 0), 1..=5 => Standard(7, 0)];
    /// OFPET_PORT_MOD_FAILED, OFPPMFC_BAD_HW_ADDR.
    PortModBadHwAddr, "the port has another MAC address",
        [0..=0 => Standard(4, 1), 1..=5 => Standard(7, 1)];
    /// OFPET_PORT_MOD_FAILED, OFPPMFC_BAD_CONFIG.
    PortModBadConfig, "the port can't be set up like this", [1..=5 => Standard(7, 2)], else BadRequestEperm;
    /// OFPET_PORT_MOD_FAILED, OFPPMFC_BAD_ADVERTISE.
    PortModBadAdvertise, "the port can't advertise this", [1..=5 => Standard(7, 3)], else BadRequestEperm;
    /// OFPET_PORT_MOD_FAILED, OFPPMFC_EPERM.
    PortModEperm, "the port-mod is not allowed", [2..=5 => Standard(7, 4)], else BadRequestEperm;
    /// OFPET_TABLE_MOD_FAILED, OFPTMFC_BAD_TABLE.
    TableModBadTable, "there is no such table", [1..=5 => Standard(8, 0)], else BadRequestType;
    /// OFPET_TABLE_MOD_FAILED, OFPTMFC_BAD_CONFIG.
    TableModBadConfig, "a table can't be set up like this", [1..=5 => Standard(8, 1)], else BadRequestType;
    /// OFPET_TABLE_MOD_FAILED, OFPTMFC_EPERM.
    TableModEperm, "the table-mod is not allowed", [2..=5 => Standard(8, 2)], else BadRequestEperm;
    /// OFPET_QUEUE_OP_FAILED, OFPQOFC_BAD_PORT.
    QueueOpBadPort, "there is no port of this number", [0..=0 => Standard(5, 0), 1..=5 => Standard(9, 0)];
    /// OFPET_QUEUE_OP_FAILED, OFPQOFC_BAD_QUEUE.
    QueueOpBadQueue, "the port has no queue of this number",
        [0..=0 => Standard(5, 1), 1..=5 => Standard(9, 1)];
    /// OFPET_QUEUE_OP_FAILED, OFPQOFC_EPERM.
    QueueOpEperm, "the request about queues is not allowed",
        [0..=0 => Standard(5, 2), 1..=5 => Standard(9, 2)];
    /// NXQOFC_QUEUE_ERROR.
    NiciraQueueError, "the queues can't be read", [4..=5 => Nicira(23, 0)], else QueueOpEperm;
    /// OFPET_SWITCH_CONFIG_FAILED, OFPSCFC_BAD_FLAGS.
    SwitchConfigBadFlags, "the switch can't be set up with these flags",
        [1..=5 => Standard(10, 0)], else NiciraMustBeZero;
    /// OFPET_SWITCH_CONFIG_FAILED, OFPSCFC_BAD_LEN.
    SwitchConfigBadLen, "packets to the controller can't be cut to this length",
        [1..=5 => Standard(10, 1)], else BadRequestLen;
    /// OFPET_SWITCH_CONFIG_FAILED, OFPSCFC_EPERM.
    SwitchConfigEperm, "the switch's settings must not be changed",
        [2..=5 => Standard(10, 2)], else BadRequestEperm;
    /// OFPET_ROLE_REQUEST_FAILED, OFPRRFC_STALE.
    RoleStale, "the generation id is older than one that was given before",
        [2..=5 => Standard(11, 0)], else RoleBadRole;
    /// OFPET_ROLE_REQUEST_FAILED, OFPRRFC_UNSUP.
    RoleUnsupported, "the role can't be changed here", [2..=5 => Standard(11, 1)], else RoleBadRole;
    /// OFPET_ROLE_REQUEST_FAILED, OFPRRFC_BAD_ROLE.
    RoleBadRole, "there is no such role", [0..=1 => Nicira(1, 513), 2..=5 => Standard(11, 2)];
    /// OFPET_ROLE_REQUEST_FAILED, OFPRRFC_ID_UNSUP.
    RoleIdUnsupported, "a controller can't choose its id here",
        [5..=5 => Standard(11, 3)], else RoleUnsupported;
    /// OFPET_ROLE_REQUEST_FAILED, OFPRRFC_ID_IN_USE.
    RoleIdInUse, "another controller has this id", [5..=5 => Standard(11, 4)], else RoleUnsupported;
    /// OFPET_METER_MOD_FAILED, OFPMMFC_UNKNOWN.
    MeterModUnknownFailure, "the meter-mod failed for a reason that has no code",
        [3..=5 => Standard(12, 0)], else BadRequestType;
    /// OFPET_METER_MOD_FAILED, OFPMMFC_METER_EXISTS.
    MeterModExists, "there is a meter of this number already; modify it instead",
        [3..=5 => Standard(12, 1)], else BadRequestType;
    /// OFPET_METER_MOD_FAILED, OFPMMFC_INVALID_METER.
    MeterModInvalid, "meters are numbered 1 to 4294901760", [3..=5 => Standard(12, 2)], else BadRequestType;
    /// OFPET_METER_MOD_FAILED, OFPMMFC_UNKNOWN_METER.
    MeterModUnknown, "there is no meter of this number", [3..=5 => Standard(12, 3)], else BadActionArgument;
    /// OFPET_METER_MOD_FAILED, OFPMMFC_BAD_COMMAND.
    MeterModBadCommand, "the meter-mod has a command that there is not",
        [3..=5 => Standard(12, 4)], else BadRequestType;
    /// OFPET_METER_MOD_FAILED, OFPMMFC_BAD_FLAGS.
    MeterModBadFlags, "the meter has flags that can't be, or not together",
        [3..=5 => Standard(12, 5)], else BadRequestType;
    /// OFPET_METER_MOD_FAILED, OFPMMFC_BAD_RATE.
    MeterModBadRate, "a band of the meter has a rate of 0", [3..=5 => Standard(12, 6)], else BadRequestType;
    /// OFPET_METER_MOD_FAILED, OFPMMFC_BAD_BURST.
    MeterModBadBurst, "a band of the meter has a burst size that it can't have",
        [3..=5 => Standard(12, 7)], else BadRequestType;
    /// OFPET_METER_MOD_FAILED, OFPMMFC_BAD_BAND.
    MeterModBadBand, "a meter needs at least one band", [3..=5 => Standard(12, 8)], else BadRequestType;
    /// OFPET_METER_MOD_FAILED, OFPMMFC_BAD_BAND_VALUE.
    MeterModBadBandValue, "a band that remarks DSCP raises the drop precedence by at least one step",
        [3..=5 => Standard(12, 9)], else BadRequestType;
    /// OFPET_METER_MOD_FAILED, OFPMMFC_OUT_OF_METERS.
    MeterModOutOfMeters, "the switch can have no more meters",
        [3..=5 => Standard(12, 10)], else BadRequestType;
    /// OFPET_METER_MOD_FAILED, OFPMMFC_OUT_OF_BANDS.
    MeterModOutOfBands, "a meter can have no more bands", [3..=5 => Standard(12, 11)], else BadRequestType;
    /// OFPET_TABLE_FEATURES_FAILED, OFPTFFC_BAD_TABLE.
    TableFeaturesBadTable, "there is no such table", [3..=5 => Standard(13, 0)], else BadRequestMultipart;
    /// OFPET_TABLE_FEATURES_FAILED, OFPTFFC_BAD_METADATA.
    TableFeaturesBadMetadata, "the tables can't match or write these metadata bits only",
        [3..=5 => Standard(13, 1)], else BadRequestMultipart;
    /// OFPET_TABLE_FEATURES_FAILED, OFPTFFC_EPERM.
    TableFeaturesEperm, "what the tables can do must not be changed",
        [3..=5 => Standard(13, 5)], else BadRequestMultipart;
    /// OFPET_TABLE_FEATURES_FAILED, OFPTFFC_BAD_CAPA.
    TableFeaturesBadCapabilities, "a table can't have these capabilities",
        [5..=5 => Standard(13, 6)], else TableFeaturesEperm;
    /// OFPET_TABLE_FEATURES_FAILED, OFPTFFC_BAD_MAX_ENT.
    TableFeaturesBadMaxEntries, "a table can't have this size",
        [5..=5 => Standard(13, 7)], else TableFeaturesEperm;
    /// OFPET_TABLE_FEATURES_FAILED, OFPTFFC_BAD_FEATURES.
    TableFeaturesBadFeatures, "a table can't have these features",
        [5..=5 => Standard(13, 8)], else TableFeaturesEperm;
    /// OFPET_TABLE_FEATURES_FAILED, OFPTFFC_BAD_COMMAND.
    TableFeaturesBadCommand, "there is no such command for table features",
        [5..=5 => Standard(13, 9)], else TableFeaturesEperm;
    /// OFPET_TABLE_FEATURES_FAILED, OFPTFFC_TOO_MANY.
    TableFeaturesTooMany, "there can't be so many tables",
        [5..=5 => Standard(13, 10)], else TableFeaturesEperm;
    /// NXTFFC_DUP_TABLE.
    NiciraTableFeaturesDuplicate, "a table stands there twice",
        [3..=5 => Nicira(44, 0)], else BadRequestMultipart;
    /// OFPET_BAD_PROPERTY, OFPBPC_BAD_TYPE.
    BadPropertyType, "there is no such type of property there",
        [0..=1 => Nicira(13, 2), 2..=2 => Nicira(25, 0), 3..=3 => Standard(13, 2), 4..=5 => Standard(14,
         0)];
    /// OFPET_BAD_PROPERTY, OFPBPC_BAD_LEN.
    BadPropertyLen, "a property has a length that it can't have",
        [0..=1 => Nicira(13, 3), 2..=2 => Nicira(26, 0), 3..=3 => Standard(13, 3), 4..=5 => Standard(14,
         1)];
    /// OFPET_BAD_PROPERTY, OFPBPC_BAD_VALUE.
    BadPropertyValue, "a property has a value that it can't have",
        [0..=1 => Nicira(13, 4), 2..=2 => Nicira(27, 0), 3..=3 => Standard(13, 4), 4..=5 => Standard(14,
         2)];
    /// OFPET_BAD_PROPERTY, OFPBPC_TOO_MANY.
    BadPropertyTooMany, "there are more properties than there can be",
        [0..=1 => Nicira(14, 3), 2..=2 => Nicira(28, 0), 3..=3 => Onf(4443, 0), 4..=5 => Standard(14, 3)];
    /// OFPET_BAD_PROPERTY, OFPBPC_DUP_TYPE.
    BadPropertyDuplicate, "a property stands there twice",
        [0..=1 => Nicira(14, 4), 2..=2 => Nicira(29, 0), 3..=3 => Onf(4444, 0), 4..=5 => Standard(14, 4)];
    /// OFPET_BAD_PROPERTY, OFPBPC_BAD_EXPERIMENTER.
    BadPropertyExperimenter, "a property is of an experimenter that is not known here",
        [0..=1 => Nicira(14, 5), 2..=2 => Nicira(30, 0), 3..=3 => Onf(4445, 0), 4..=5 => Standard(14, 5)];
    /// OFPET_BAD_PROPERTY, OFPBPC_BAD_EXP_TYPE.
    BadPropertyExpType, "the experimenter has no such type of property here",
        [0..=1 => Nicira(14, 6), 2..=2 => Nicira(31, 0), 3..=3 => Onf(4446, 0), 4..=5 => Standard(14, 6)];
    /// OFPET_BAD_PROPERTY, OFPBPC_BAD_EXP_VALUE.
    BadPropertyExpValue, "an experimenter's property has a value that it can't have",
        [0..=1 => Nicira(14, 7), 2..=2 => Nicira(32, 0), 3..=3 => Onf(4447, 0), 4..=5 => Standard(14, 7)];
    /// OFPET_BAD_PROPERTY, OFPBPC_EPERM.
    BadPropertyEperm, "a property is not allowed",
        [0..=1 => Nicira(14, 8), 2..=2 => Nicira(33, 0), 3..=3 => Onf(4448, 0), 4..=5 => Standard(14, 8)];
    /// OFPET_ASYNC_CONFIG_FAILED, OFPACFC_INVALID.
    AsyncInvalid, "a mask of unasked messages has a bit that means nothing",
        [3..=3 => Onf(2370, 0), 4..=5 => Standard(15, 0)], else NiciraBadReason;
    /// OFPET_ASYNC_CONFIG_FAILED, OFPACFC_UNSUPPORTED.
    AsyncUnsupported, "these unasked messages can't be chosen",
        [3..=3 => Onf(2371, 0), 4..=5 => Standard(15, 1)], else NiciraBadReason;
    /// OFPET_ASYNC_CONFIG_FAILED, OFPACFC_EPERM.
    AsyncEperm, "the choice of unasked messages is not allowed",
        [3..=3 => Onf(2372, 0), 4..=5 => Standard(15, 2)], else BadRequestEperm;
    /// OFPET_FLOW_MONITOR_FAILED, OFPMOFC_UNKNOWN.
    MonitorUnknownFailure, "the flow monitor failed for a reason that has no code",
        [4..=5 => Standard(16, 0)], else NiciraUnencodable;
    /// OFPET_FLOW_MONITOR_FAILED, OFPMOFC_MONITOR_EXISTS.
    MonitorExists, "there is a flow monitor of this number already",
        [0..=1 => Nicira(1, 517), 2..=3 => Nicira(6, 0), 4..=5 => Standard(16, 1)];
    /// OFPET_FLOW_MONITOR_FAILED, OFPMOFC_INVALID_MONITOR.
    MonitorInvalid, "the flow monitor can't be", [4..=5 => Standard(16, 2)], else MonitorExists;
    /// OFPET_FLOW_MONITOR_FAILED, OFPMOFC_UNKNOWN_MONITOR.
    MonitorUnknown, "there is no flow monitor of this number",
        [0..=1 => Nicira(1, 519), 2..=3 => Nicira(8, 0), 4..=5 => Standard(16, 3)];
    /// OFPET_FLOW_MONITOR_FAILED, OFPMOFC_BAD_COMMAND.
    MonitorBadCommand, "the flow monitor request has a command that there is not",
        [4..=5 => Standard(16, 4)], else NiciraMonitorEvent;
    /// OFPET_FLOW_MONITOR_FAILED, OFPMOFC_BAD_FLAGS.
    MonitorBadFlags, "the flow monitor has flags that can't be",
        [0..=1 => Nicira(1, 518), 2..=3 => Nicira(7, 0), 4..=5 => Standard(16, 5)];
    /// OFPET_FLOW_MONITOR_FAILED, OFPMOFC_BAD_TABLE_ID.
    MonitorBadTableId, "the flow monitor names a table that is not there",
        [4..=5 => Standard(16, 6)], else BadRequestTableId;
    /// OFPET_FLOW_MONITOR_FAILED, OFPMOFC_BAD_OUT.
    MonitorBadOut, "the flow monitor names a port or group that can't be",
        [4..=5 => Standard(16, 7)], else BadRequestPort;
    /// OFPET_BUNDLE_FAILED, OFPBFC_UNKNOWN.
    BundleUnknown, "the bundle failed for a reason that has no code",
        [3..=3 => Onf(2300, 0), 4..=5 => Standard(17, 0)], else BadRequestType;
    /// OFPET_BUNDLE_FAILED, OFPBFC_EPERM.
    BundleEperm, "the bundle is not allowed",
        [3..=3 => Onf(2301, 0), 4..=5 => Standard(17, 1)], else BadRequestEperm;
    /// OFPET_BUNDLE_FAILED, OFPBFC_BAD_ID.
    BundleBadId, "there is no bundle of this number",
        [3..=3 => Onf(2302, 0), 4..=5 => Standard(17, 2)], else BadRequestType;
    /// OFPET_BUNDLE_FAILED, OFPBFC_BUNDLE_EXIST.
    BundleExists, "there is a bundle of this number already",
        [3..=3 => Onf(2303, 0), 4..=5 => Standard(17, 3)], else BadRequestType;
    /// OFPET_BUNDLE_FAILED, OFPBFC_BUNDLE_CLOSED.
    BundleClosed, "the bundle was closed",
        [3..=3 => Onf(2304, 0), 4..=5 => Standard(17, 4)], else BadRequestType;
    /// OFPET_BUNDLE_FAILED, OFPBFC_OUT_OF_BUNDLES.
    BundleOutOfBundles, "there can be no more bundles",
        [3..=3 => Onf(2305, 0), 4..=5 => Standard(17, 5)], else BadRequestType;
    /// OFPET_BUNDLE_FAILED, OFPBFC_BAD_TYPE.
    BundleBadType, "there is no such type of bundle control message for a switch",
        [3..=3 => Onf(2306, 0), 4..=5 => Standard(17, 6)], else BadRequestType;
    /// OFPET_BUNDLE_FAILED, OFPBFC_BAD_FLAGS.
    BundleBadFlags, "the bundle has flags that can't be, or others than it was opened with",
        [3..=3 => Onf(2307, 0), 4..=5 => Standard(17, 7)], else BadRequestType;
    /// OFPET_BUNDLE_FAILED, OFPBFC_MSG_BAD_LEN.
    BundleMsgBadLen, "the message in the bundle has a length that it can't have",
        [3..=3 => Onf(2308, 0), 4..=5 => Standard(17, 8)], else BadRequestLen;
    /// OFPET_BUNDLE_FAILED, OFPBFC_MSG_BAD_XID.
    BundleMsgBadXid, "the message in the bundle has another transaction id than the one around it",
        [3..=3 => Onf(2309, 0), 4..=5 => Standard(17, 9)], else BadRequestType;
    /// OFPET_BUNDLE_FAILED, OFPBFC_MSG_UNSUP.
    BundleMsgUnsupported, "messages of this type can't be in a bundle",
        [3..=3 => Onf(2310, 0), 4..=5 => Standard(17, 10)], else BadRequestType;
    /// OFPET_BUNDLE_FAILED, OFPBFC_MSG_CONFLICT.
    BundleMsgConflict, "the message contradicts another of the bundle",
        [3..=3 => Onf(2311, 0), 4..=5 => Standard(17, 11)], else BadRequestType;
    /// OFPET_BUNDLE_FAILED, OFPBFC_MSG_TOO_MANY.
    BundleMsgTooMany, "the bundle can hold no more messages",
        [3..=3 => Onf(2312, 0), 4..=5 => Standard(17, 12)], else BadRequestType;
    /// OFPET_BUNDLE_FAILED, OFPBFC_MSG_FAILED.
    BundleMsgFailed, "a message of the bundle failed",
        [3..=3 => Onf(2313, 0), 4..=5 => Standard(17, 13)], else BadRequestType;
    /// OFPET_BUNDLE_FAILED, OFPBFC_TIMEOUT.
    BundleTimeout, "the bundle was not used for too long",
        [3..=3 => Onf(2314, 0), 4..=5 => Standard(17, 14)], else BadRequestType;
    /// OFPET_BUNDLE_FAILED, OFPBFC_BUNDLE_IN_PROGRESS.
    BundleInProgress, "the bundle locks what is asked for",
        [3..=3 => Onf(2315, 0), 4..=5 => Standard(17, 15)], else BadRequestType;
    /// OFPET_BUNDLE_FAILED, OFPBFC_SCHED_NOT_SUPPORTED.
    BundleSchedUnsupported, "bundles can't be scheduled here",
        [5..=5 => Standard(17, 16)], else BundleUnknown;
    /// OFPET_BUNDLE_FAILED, OFPBFC_SCHED_FUTURE.
    BundleSchedFuture, "the bundle is scheduled too late", [5..=5 => Standard(17, 17)], else BundleUnknown;
    /// OFPET_BUNDLE_FAILED, OFPBFC_SCHED_PAST.
    BundleSchedPast, "the bundle is scheduled too early", [5..=5 => Standard(17, 18)], else BundleUnknown;
    /// OFPET_BUNDLE_FAILED, OFPBFC_BAD_VERSION.
    BundleBadVersion, "the message in the bundle is of another version",
        [4..=5 => Nicira(22, 0)], else BadRequestVersion;
    /// NXTTMFC_BAD_COMMAND.
    NiciraTlvBadCommand, "the tunnel option map has no such command",
        [0..=1 => Nicira(1, 527), 2..=5 => Nicira(16, 0)];
    /// NXTTMFC_BAD_OPT_LEN.
    NiciraTlvBadOptionLen, "a tunnel option has a length that it can't have",
        [0..=1 => Nicira(1, 528), 2..=5 => Nicira(17, 0)];
    /// NXTTMFC_BAD_FIELD_IDX.
    NiciraTlvBadFieldIndex, "there is no such tunnel metadata field",
        [0..=1 => Nicira(1, 529), 2..=5 => Nicira(18, 0)];
    /// NXTTMFC_TABLE_FULL.
    NiciraTlvTableFull, "there can be no more tunnel options",
        [0..=1 => Nicira(1, 530), 2..=5 => Nicira(19, 0)];
    /// NXTTMFC_ALREADY_MAPPED.
    NiciraTlvAlreadyMapped, "the tunnel option or field is mapped already",
        [0..=1 => Nicira(1, 531), 2..=5 => Nicira(20, 0)];
    /// NXTTMFC_DUP_ENTRY.
    NiciraTlvDuplicate, "a tunnel option stands there twice",
        [0..=1 => Nicira(1, 532), 2..=5 => Nicira(21, 0)];
    /// NXTTMFC_INVALID_TLV_DEL.
    NiciraTlvInUse, "a rule looks at the tunnel option", [0..=1 => Nicira(1, 537), 2..=5 => Nicira(38, 0)];
}

/// Steps that [`OfError::nearest`] takes at most until a version has the error.
const NEAREST_STEPS_MAX: usize = 4;

impl OfError {
    /// How `version` tells it, or else the nearest error that it has.
    pub fn wire(self, version: Version) -> ErrorWire {
        let minor = version as u8 - 1;
        let mut error = self;
        for _ in 0..NEAREST_STEPS_MAX {
            match error.own_wire(minor) {
                Some(wire) => return wire,
                None => error = error.nearest(),
            }
        }
        Nicira(10, 0)
    }

    /// The error that `version` tells like this; the first, where several are told alike.
    pub fn from_wire(wire: ErrorWire, version: Version) -> Option<OfError> {
        let minor = version as u8 - 1;
        OfError::ALL.iter().copied().find(|error| error.own_wire(minor) == Some(wire))
    }

    /// Type and code as OpenFlow 1.5 numbers them; of an experimenter's, 0xffff and its own type.
    pub fn type_and_code(self) -> (u16, u16) {
        match self.wire(Version::V15) {
            ErrorWire::Standard { error_type, code } => (error_type, code),
            ErrorWire::Experimenter { error_type, .. } => (0xffff, error_type),
        }
    }
}

#[cfg(test)]
mod tests;
