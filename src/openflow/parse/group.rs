//! Groups, as `add-group` and its like take them (`ovs-ofctl(8)`, "Group Syntax").

use super::action::ActionParser;
use super::error::{Allowed, ParseError};
use super::matching::resolve_anyhow;
use super::token::{Form, Item, Items, Token};
use super::value::{self, bounded};
use crate::flow::fields::Format;
use crate::flow::{Field, Flow, OfPort};
use crate::openflow::group::{
    BUCKET_ALL, BUCKET_FIRST, BUCKET_ID_MAX, BUCKET_LAST, Bucket, DEFAULT_HASH_FIELDS, GROUP_ALL, GROUP_ANY,
    GROUP_MAX, GroupMod, GroupModCommand, GroupType, SelectionMethod,
};
use crate::openflow::ports::{PortNames, parse_port};

/// What a group is made of, for the complaint about anything else.
const KEYWORDS: &str =
    "group_id, type, selection_method, selection_method_param, fields, command_bucket_id and bucket";

/// Reads a group-mod as `ovs-ofctl` takes it for `command`. A number in `command` is not looked at: it is the
/// text's `command_bucket_id`.
///
/// A bucket without a number gets its place, counted from 0, or the lowest free number if that is taken. To delete,
/// no group at all means all of them.
///
/// # Errors
/// The first fault found.
pub fn parse_group_mod(
    text: &str,
    command: GroupModCommand,
    ports: &dyn PortNames,
) -> Result<GroupMod, ParseError> {
    let (head, buckets) = split_buckets(Token::whole(text))?;
    let mut reader = GroupReader::new(command, ports);
    reader.read(head)?;
    reader.finish(text.len(), &buckets)
}

/// The text before the first bucket; and each bucket: its keyword, and what is attached to it.
type SplitGroup<'a> = (Token<'a>, Vec<(Token<'a>, Token<'a>)>);

fn split_buckets(text: Token<'_>) -> Result<SplitGroup<'_>, ParseError> {
    let mut starts: Vec<(Token<'_>, Token<'_>)> = Vec::new();
    let mut items = Items::of(text);
    while let Some(key) = items.key()? {
        let rest = items.rest();
        if key.text == "bucket" && rest.text.starts_with('=') {
            starts.push((key, rest.tail(1)));
            items = Items::of(rest.tail(1));
        } else {
            items.value()?;
        }
    }
    let end = text.offset + text.text.len();
    let mut ends = starts.iter().map(|(key, _)| key.offset).chain([end]);
    let head = text.head(ends.next().unwrap_or(end) - text.offset);
    let buckets =
        starts.iter().zip(ends).map(|(&(key, content), end)| (key, content.head(end - content.offset)));
    Ok((head, buckets.collect()))
}

/// Reads what comes before the buckets.
struct GroupReader<'a> {
    command: GroupModCommand,
    ports: &'a dyn PortNames,
    seen: Vec<&'a str>,
    group: Option<u32>,
    group_type: Option<GroupType>,
    /// Its keyword, and whether it is `hash`.
    method: Option<(Token<'a>, bool)>,
    fields: Option<(Token<'a>, Flow)>,
    place: Option<u32>,
}

impl<'a> GroupReader<'a> {
    fn new(command: GroupModCommand, ports: &'a dyn PortNames) -> GroupReader<'a> {
        GroupReader {
            command,
            ports,
            seen: Vec::new(),
            group: None,
            group_type: None,
            method: None,
            fields: None,
            place: None,
        }
    }

    /// The command in words, for errors.
    fn here(&self) -> &'static str {
        match self.command {
            GroupModCommand::Add => "when a group is added",
            GroupModCommand::Modify | GroupModCommand::AddOrModify => "when a group is changed",
            GroupModCommand::Delete => "when groups are deleted",
            GroupModCommand::InsertBucket(_) => "when buckets are inserted",
            GroupModCommand::RemoveBucket(_) => "when buckets are removed",
        }
    }

    fn is_whole(&self) -> bool {
        use GroupModCommand as Command;
        matches!(self.command, Command::Add | Command::Modify | Command::AddOrModify)
    }

    fn takes(&self, keyword: &str) -> bool {
        let is_insert = matches!(self.command, GroupModCommand::InsertBucket(_));
        match keyword {
            "group_id" => true,
            "type" | "bucket" => self.is_whole() || is_insert,
            "command_bucket_id" => is_insert || matches!(self.command, GroupModCommand::RemoveBucket(_)),
            _ => self.is_whole(),
        }
    }

    fn read(&mut self, text: Token<'a>) -> Result<(), ParseError> {
        let mut items = Items::of(text);
        while let Some(item) = items.next()? {
            self.keyword(item)?;
        }
        Ok(())
    }

    fn keyword(&mut self, item: Item<'a>) -> Result<(), ParseError> {
        let (name, value) = (item.key.text, item.value);
        let is_known = matches!(
            name,
            "group_id"
                | "type"
                | "selection_method"
                | "selection_method_param"
                | "fields"
                | "command_bucket_id"
        );
        let (offset, keyword) = (item.key.offset, item.name());
        if !is_known {
            return Err(ParseError::UnknownWord { offset, found: keyword, known: KEYWORDS });
        }
        if !self.takes(name) {
            return Err(ParseError::KeywordNotAllowed { offset, keyword, here: self.here() });
        }
        if self.seen.contains(&name) {
            return Err(ParseError::Duplicate { offset, keyword });
        }
        self.seen.push(name);
        match name {
            "group_id" => self.group = Some(self.group_id(value)?),
            "type" => self.group_type = Some(group_type(value)?),
            "selection_method" => {
                let is_hash = match value.text {
                    "hash" => true,
                    "dp_hash" => false,
                    _ => return Err(value.bad_value(name, Allowed::SelectionMethod)),
                };
                self.method = Some((item.key, is_hash));
            }
            "selection_method_param" if value::number(value.text) != Some(0) => {
                return Err(value.bad_value(name, Allowed::NumberWithin(0, 0)));
            }
            "selection_method_param" => {}
            "fields" => self.fields = Some((item.key, hash_fields(item)?)),
            _ => self.place = Some(self.bucket_place(value)?),
        }
        Ok(())
    }

    fn group_id(&self, value: Token<'_>) -> Result<u32, ParseError> {
        if self.command != GroupModCommand::Delete {
            return bounded(value, "group_id", GROUP_MAX.into());
        }
        if value.text == "all" {
            return Ok(GROUP_ALL);
        }
        let bad = |_| value.bad_value("group_id", Allowed::GroupOrAll);
        bounded(value, "group_id", GROUP_MAX.into()).map_err(bad)
    }

    fn bucket_place(&self, value: Token<'_>) -> Result<u32, ParseError> {
        let name = "command_bucket_id";
        match value.text {
            "first" => Ok(BUCKET_FIRST),
            "last" => Ok(BUCKET_LAST),
            "all" if matches!(self.command, GroupModCommand::RemoveBucket(_)) => Ok(BUCKET_ALL),
            _ => {
                let bad = |_| value.bad_value(name, Allowed::BucketPlace);
                bounded(value, name, BUCKET_ID_MAX.into()).map_err(bad)
            }
        }
    }

    fn finish(self, end: usize, buckets: &[(Token<'a>, Token<'a>)]) -> Result<GroupMod, ParseError> {
        let missing = |what, remedy| ParseError::Missing { offset: end, what, remedy };
        let is_delete = self.command == GroupModCommand::Delete;
        let group = self.group.or(is_delete.then_some(GROUP_ALL));
        let group = group.ok_or_else(|| missing("the group's number", "group_id=NUMBER"))?;
        if self.is_whole() && self.group_type.is_none() {
            return Err(missing("the group's type", "type=all, select, indirect or fast_failover"));
        }
        if let Some((key, _)) = buckets.first()
            && !self.takes("bucket")
        {
            let (offset, keyword) = (key.offset, key.text.to_owned());
            return Err(ParseError::KeywordNotAllowed { offset, keyword, here: self.here() });
        }
        let place = || {
            let what = "the place among the buckets";
            self.place.ok_or_else(|| missing(what, "command_bucket_id=NUMBER, first or last"))
        };
        let command = match self.command {
            GroupModCommand::InsertBucket(_) => GroupModCommand::InsertBucket(place()?),
            GroupModCommand::RemoveBucket(_) => GroupModCommand::RemoveBucket(place()?),
            other => other,
        };
        let group_type = self.group_type.unwrap_or(GroupType::All);
        let selection = self.selection(group_type)?;
        let is_whole = self.is_whole();
        let buckets = read_buckets(buckets, group_type, is_whole, self.ports)?;
        if is_whole && group_type == GroupType::Indirect && buckets.len() != 1 {
            return Err(missing("the only bucket of an indirect group", "one bucket=... and no other"));
        }
        Ok(GroupMod { command, group, group_type, selection, buckets })
    }

    fn selection(&self, group_type: GroupType) -> Result<SelectionMethod, ParseError> {
        let refuse = |key: Token<'_>, here| {
            Err(ParseError::KeywordNotAllowed { offset: key.offset, keyword: key.text.to_owned(), here })
        };
        match (self.method, &self.fields) {
            (Some((key, _)), _) if group_type != GroupType::Select => {
                refuse(key, "in a group that is not of type select")
            }
            (Some((_, true)), fields) => {
                let default = || {
                    let mut flow = Flow::default();
                    DEFAULT_HASH_FIELDS.iter().for_each(|&field| flow.set(field, u128::MAX));
                    flow
                };
                let fields = Box::new(fields.map_or_else(default, |(_, fields)| fields));
                Ok(SelectionMethod::Hash { fields })
            }
            (_, &Some((key, _))) => refuse(key, "without selection_method=hash"),
            (_, None) => Ok(SelectionMethod::DpHash),
        }
    }
}

fn group_type(value: Token<'_>) -> Result<GroupType, ParseError> {
    match value.text {
        "all" => Ok(GroupType::All),
        "select" => Ok(GroupType::Select),
        "indirect" => Ok(GroupType::Indirect),
        "ff" | "fast_failover" => Ok(GroupType::FastFailover),
        _ => Err(value.bad_value("type", Allowed::GroupType)),
    }
}

/// `fields(ip_src,eth_dst=MASK)` and `fields=ip_src`: the bits to hash.
fn hash_fields(item: Item<'_>) -> Result<Flow, ParseError> {
    let mut flow = Flow::default();
    let mut fields = Items::of(item.value);
    while let Some(named) = fields.next()? {
        let field = resolve_anyhow(named.key)?;
        if field == Field::RecircId {
            return Err(ParseError::Internal { offset: named.key.offset, found: named.name() });
        }
        let mask = if named.form == Form::Bare {
            field.full_mask()
        } else {
            let number = match field.info().format {
                Format::Ethernet => value::mac(named.value.text),
                Format::Ipv4 => value::ipv4(named.value.text),
                Format::Ipv6 => value::ipv6(named.value.text),
                _ => value::number(named.value.text),
            };
            let fits = number.filter(|&mask| mask != 0 && mask & !field.full_mask() == 0);
            fits.ok_or_else(|| named.value.bad_value(named.key.text, Allowed::HashedBits))?
        };
        flow.set_masked(field, u128::MAX, mask);
    }
    if flow == Flow::default() {
        let remedy = "the names of fields, as in fields(ip_src,ip_dst)";
        return Err(ParseError::Missing { offset: item.value.offset, what: "what to hash", remedy });
    }
    Ok(flow)
}

/// A bucket as far as it has been read.
struct RawBucket<'a> {
    key: Token<'a>,
    id: Option<(Token<'a>, u32)>,
    weight: Option<u16>,
    watch_port: OfPort,
    watch_group: u32,
    actions: Token<'a>,
}

fn read_buckets(
    texts: &[(Token<'_>, Token<'_>)],
    group_type: GroupType,
    is_whole: bool,
    ports: &dyn PortNames,
) -> Result<Vec<Bucket>, ParseError> {
    let mut raws = Vec::new();
    for &(key, text) in texts {
        raws.push(read_bucket(key, text, group_type, is_whole, ports)?);
    }
    let mut taken = std::collections::BTreeSet::new();
    for (token, id) in raws.iter().filter_map(|raw| raw.id) {
        if !taken.insert(id) {
            return Err(ParseError::Duplicate { offset: token.offset, keyword: format!("bucket_id {id}") });
        }
    }
    let mut buckets = Vec::new();
    for (place, raw) in raws.into_iter().enumerate() {
        let id = match raw.id {
            Some((_, id)) => id,
            None => {
                // There are fewer buckets than numbers: a text of so many would not fit into memory.
                let candidates = std::iter::once(place as u32).chain(0..=BUCKET_ID_MAX);
                let id = candidates.into_iter().find(|id| !taken.contains(id)).unwrap_or(BUCKET_ID_MAX);
                taken.insert(id);
                id
            }
        };
        let default_weight = u16::from(group_type == GroupType::Select);
        buckets.push(Bucket {
            id,
            weight: raw.weight.unwrap_or(default_weight),
            watch_port: raw.watch_port,
            watch_group: raw.watch_group,
            actions: ActionParser::of_bucket(ports).list(raw.actions)?,
        });
    }
    Ok(buckets)
}

fn read_bucket<'a>(
    key: Token<'a>,
    text: Token<'a>,
    group_type: GroupType,
    is_whole: bool,
    ports: &dyn PortNames,
) -> Result<RawBucket<'a>, ParseError> {
    let (watch_port, watch_group) = (OfPort::NONE, GROUP_ANY);
    let actions = text.tail(text.text.len());
    let mut raw = RawBucket { key, id: None, weight: None, watch_port, watch_group, actions };
    let mut seen = Vec::new();
    let mut items = Items::of(text);
    while let Some(word) = items.key()? {
        let rest = items.rest();
        if matches!(word.text, "actions" | "action") && rest.text.starts_with('=') {
            raw.actions = rest.tail(1);
            break;
        }
        // Anything unknown begins the actions.
        if !matches!(word.text, "weight" | "bucket_id" | "watch_port" | "watch_group") {
            raw.actions = text.tail(word.offset - text.offset);
            break;
        }
        if seen.contains(&word.text) {
            return Err(ParseError::Duplicate { offset: word.offset, keyword: word.text.to_owned() });
        }
        seen.push(word.text);
        let (form, value) = items.value()?;
        bucket_keyword(&mut raw, Item { key: word, form, value }, group_type, is_whole, ports)?;
    }
    let watches = raw.watch_port != OfPort::NONE || raw.watch_group != GROUP_ANY;
    let offset = raw.key.offset;
    if is_whole && group_type == GroupType::FastFailover && !watches {
        let (what, remedy) = ("what the bucket's liveness hangs on", "watch_port:PORT or watch_group:GROUP");
        return Err(ParseError::Missing { offset, what, remedy });
    }
    if !is_whole && raw.id.is_none() {
        let (what, remedy) = ("the number of the bucket to insert", "bucket_id:NUMBER");
        return Err(ParseError::Missing { offset, what, remedy });
    }
    Ok(raw)
}

fn bucket_keyword<'a>(
    raw: &mut RawBucket<'a>,
    item: Item<'a>,
    group_type: GroupType,
    is_whole: bool,
    ports: &dyn PortNames,
) -> Result<(), ParseError> {
    let (name, value) = (item.key.text, item.value);
    let refuse =
        |here| Err(ParseError::KeywordNotAllowed { offset: item.key.offset, keyword: name.to_owned(), here });
    let is_watch = matches!(name, "watch_port" | "watch_group");
    if is_whole && is_watch && matches!(group_type, GroupType::All | GroupType::Indirect) {
        return refuse("in a group that is not of type select or fast_failover");
    }
    if is_whole && name == "weight" && group_type != GroupType::Select {
        return refuse("in a group that is not of type select");
    }
    match name {
        "weight" => raw.weight = Some(bounded(value, name, 0xffff)?),
        "bucket_id" => raw.id = Some((item.key, bounded(value, name, BUCKET_ID_MAX.into())?)),
        "watch_group" if value.text == "any" => {}
        "watch_group" => raw.watch_group = bounded(value, name, GROUP_MAX.into())?,
        _ => {
            let can_be_watched = |port: &OfPort| {
                (port.0 != 0 && *port <= OfPort::MAX) || matches!(*port, OfPort::LOCAL | OfPort::NONE)
            };
            let port = parse_port(value.text, ports).filter(can_be_watched);
            raw.watch_port = port.ok_or_else(|| value.bad_value(name, Allowed::Port))?;
        }
    }
    Ok(())
}
