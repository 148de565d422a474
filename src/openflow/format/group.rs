//! Groups, in the shape of `ovs-ofctl -O OpenFlow15 dump-groups` and `dump-group-stats`.

use super::action::format_actions;
use super::format_duration;
use crate::flow::fields::{FIELDS, Format};
use crate::flow::format::{format_hexadecimal, format_mac};
use crate::flow::{Field, Flow, OfPort};
use crate::openflow::group::{
    BUCKET_ALL, BUCKET_FIRST, BUCKET_LAST, Bucket, GROUP_ALL, GROUP_ANY, GroupDesc, GroupMod,
    GroupModCommand, GroupStats, GroupType, SelectionMethod,
};
use crate::openflow::names::set_field_name;
use crate::openflow::ports::{PortNames, format_port};
use std::net::{Ipv4Addr, Ipv6Addr};

/// A group as [`parse_group_mod`](crate::openflow::parse::parse_group_mod) reads it to add it.
pub fn format_group_desc(desc: &GroupDesc, ports: &dyn PortNames) -> String {
    let GroupDesc { group, group_type, selection, buckets } = desc;
    let mut parts = vec![format!("group_id={group}"), format!("type={}", type_name(*group_type))];
    if let SelectionMethod::Hash { fields } = selection {
        parts.push("selection_method=hash".to_owned());
        parts.push(format!("fields({})", format_hash_fields(fields)));
    }
    parts.extend(buckets.iter().map(|bucket| format_bucket(bucket, *group_type, ports)));
    parts.join(",")
}

/// A group-mod as [`parse_group_mod`](crate::openflow::parse::parse_group_mod) reads it for the same command. What that
/// command does not take is left out.
pub fn format_group_mod(group_mod: &GroupMod, ports: &dyn PortNames) -> String {
    let GroupMod { command, group, group_type, selection, buckets } = group_mod;
    let place = |at: u32| match at {
        BUCKET_FIRST => "first".to_owned(),
        BUCKET_LAST => "last".to_owned(),
        BUCKET_ALL => "all".to_owned(),
        number => number.to_string(),
    };
    match *command {
        GroupModCommand::Add | GroupModCommand::Modify | GroupModCommand::AddOrModify => {
            let (selection, buckets) = (selection.clone(), buckets.clone());
            format_group_desc(
                &GroupDesc { group: *group, group_type: *group_type, selection, buckets },
                ports,
            )
        }
        GroupModCommand::Delete if *group == GROUP_ALL => "group_id=all".to_owned(),
        GroupModCommand::Delete => format!("group_id={group}"),
        GroupModCommand::InsertBucket(at) => {
            let head = [
                format!("group_id={group}"),
                format!("type={}", type_name(*group_type)),
                format!("command_bucket_id={}", place(at)),
            ];
            let buckets = buckets.iter().map(|bucket| format_bucket(bucket, *group_type, ports));
            head.into_iter().chain(buckets).collect::<Vec<_>>().join(",")
        }
        GroupModCommand::RemoveBucket(at) => format!("group_id={group},command_bucket_id={}", place(at)),
    }
}

/// One line of `dump-group-stats`.
pub fn format_group_stats(stats: &GroupStats) -> String {
    let GroupStats { group, reference_count, packets, bytes, duration_ns, buckets } = stats;
    let mut line = format!(
        "group_id={group},duration={},ref_count={reference_count},packet_count={packets},byte_count={bytes}",
        format_duration(*duration_ns)
    );
    for (index, (packets, bytes)) in buckets.iter().enumerate() {
        line.push_str(&format!(",bucket{index}:packet_count={packets},byte_count={bytes}"));
    }
    line
}

/// The name of a type of group, as `ovs-ofctl` prints it.
pub fn type_name(group_type: GroupType) -> &'static str {
    match group_type {
        GroupType::All => "all",
        GroupType::Select => "select",
        GroupType::Indirect => "indirect",
        GroupType::FastFailover => "ff",
    }
}

fn format_bucket(bucket: &Bucket, group_type: GroupType, ports: &dyn PortNames) -> String {
    let Bucket { id, weight, watch_port, watch_group, actions } = bucket;
    let mut parts = vec![format!("bucket=bucket_id:{id}")];
    if *weight != u16::from(group_type == GroupType::Select) {
        parts.push(format!("weight:{weight}"));
    }
    if *watch_port != OfPort::NONE {
        parts.push(format!("watch_port:{}", format_port(*watch_port, ports)));
    }
    if *watch_group != GROUP_ANY {
        parts.push(format!("watch_group:{watch_group}"));
    }
    parts.push(format!("actions={}", format_actions(actions, ports)));
    parts.join(",")
}

/// The bits that are hashed, each by the first field that has it: several protocols share their places in a flow.
fn format_hash_fields(fields: &Flow) -> String {
    let mut rest = *fields;
    let mut parts = Vec::new();
    for field in (0..16).map(Field::Reg).chain(FIELDS.iter().map(|info| info.field)) {
        let mask = rest.get(field);
        if mask == 0 {
            continue;
        }
        rest.set(field, 0);
        let name = set_field_name(field);
        parts.push(if mask == field.full_mask() {
            name.to_owned()
        } else {
            format!("{name}={}", format_mask(field, mask))
        });
    }
    parts.join(",")
}

fn format_mask(field: Field, mask: u128) -> String {
    match field.info().format {
        Format::Ethernet => format_mac(mask),
        Format::Ipv4 => Ipv4Addr::from(mask as u32).to_string(),
        Format::Ipv6 => Ipv6Addr::from(mask).to_string(),
        _ => format_hexadecimal(mask),
    }
}
