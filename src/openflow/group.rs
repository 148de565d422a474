//! Groups: lists of buckets that a rule's actions can name (OpenFlow 1.5.1 sections 5.10 and 7.3.4.3).

use super::action::Action;
use crate::flow::{Field, Flow, OfPort};

/// Highest number of a group (`OFPG_MAX`).
pub const GROUP_MAX: u32 = 0xffff_ff00;
/// `OFPG_ALL`: every group, where a request allows it.
pub const GROUP_ALL: u32 = 0xffff_fffc;
/// `OFPG_ANY`: no group in particular.
pub const GROUP_ANY: u32 = 0xffff_ffff;
/// Highest number of a bucket (`OFPG_BUCKET_MAX`).
pub const BUCKET_ID_MAX: u32 = 0xffff_ff00;
/// `OFPG_BUCKET_FIRST`: before all others, or the first.
pub const BUCKET_FIRST: u32 = 0xffff_fffd;
/// `OFPG_BUCKET_LAST`: after all others, or the last.
pub const BUCKET_LAST: u32 = 0xffff_fffe;
/// `OFPG_BUCKET_ALL`: every bucket.
pub const BUCKET_ALL: u32 = 0xffff_ffff;

/// What is hashed by the selection method `hash` if no fields are named.
pub const DEFAULT_HASH_FIELDS: [Field; 11] = [
    Field::EthSrc,
    Field::EthDst,
    Field::VlanTci,
    Field::EthType,
    Field::Ipv4Src,
    Field::Ipv4Dst,
    Field::Ipv6Src,
    Field::Ipv6Dst,
    Field::IpProto,
    Field::TcpSrc,
    Field::TcpDst,
];

/// How a group's buckets are used.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum GroupType {
    /// A copy of the packet to each.
    All,
    /// One, chosen by [`SelectionMethod`] among those that live, in proportion to their weights.
    Select,
    /// The only one.
    Indirect,
    /// The first that lives.
    FastFailover,
}

/// How a select group chooses.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum SelectionMethod {
    /// By the datapath's hash of the five-tuple, from this basis on (`selection_method=dp_hash`): a few megaflows serve
    /// all connections.
    #[default]
    DpHash,
    /// By a hash of these bits of the flow as they are when the group is reached (`selection_method=hash,fields(...)`).
    Hash {
        /// The bits; never none.
        fields: Box<Flow>,
    },
}

/// A list of actions, and when it may be used.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Bucket {
    /// Its number, unique in the group; at most [`BUCKET_ID_MAX`].
    pub id: u32,
    /// Its share of a select group; 0: never chosen.
    pub weight: u16,
    /// It lives only while this port does; [`OfPort::NONE`]: does not matter.
    pub watch_port: OfPort,
    /// It lives only while this group has a bucket that does; [`GROUP_ANY`]: does not matter.
    pub watch_group: u32,
    /// What to do, carried out as an action set on a copy of the packet.
    pub actions: Vec<Action>,
}

/// What a group-mod does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GroupModCommand {
    /// Add a group; one of its number must not be there.
    Add,
    /// Replace a group that is there.
    Modify,
    /// Replace a group, or add it (Open vSwitch's `--may-create`).
    AddOrModify,
    /// Delete the group, and the rules that name it; [`GROUP_ALL`]: all groups. Deleting what is not there is no fault.
    Delete,
    /// Insert the buckets before all others ([`BUCKET_FIRST`]), after them ([`BUCKET_LAST`]) or after the one named.
    InsertBucket(u32),
    /// Remove the bucket named, the first, the last, or all ([`BUCKET_ALL`]).
    RemoveBucket(u32),
}

/// A change of the groups.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupMod {
    /// What to do.
    pub command: GroupModCommand,
    /// Which group.
    pub group: u32,
    /// How its buckets are used; not looked at by [`GroupModCommand::Delete`] and the bucket commands.
    pub group_type: GroupType,
    /// How a select group chooses; likewise.
    pub selection: SelectionMethod,
    /// The buckets; none to delete.
    pub buckets: Vec<Bucket>,
}

/// What a switch tells of a group's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupDesc {
    /// Its number.
    pub group: u32,
    /// How its buckets are used.
    pub group_type: GroupType,
    /// How it chooses.
    pub selection: SelectionMethod,
    /// Its buckets.
    pub buckets: Vec<Bucket>,
}

/// What a switch has counted for a group.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GroupStats {
    /// Its number.
    pub group: u32,
    /// Rules and groups that name it.
    pub reference_count: u32,
    /// Packets that it processed.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// How long it has been there, in nanoseconds.
    pub duration_ns: u64,
    /// Packets and bytes of each bucket, in order.
    pub buckets: Vec<(u64, u64)>,
}
