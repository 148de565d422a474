//! Groups (OpenFlow 1.5.1 section 5.10): buckets as action sets on copies of the packet.
//!
//! A select group that chooses by the datapath's hash sends its copy round: the hash is computed there, and the
//! bucket chosen when the copy comes back, by as many bits of the hash as the group looks at. Where only one bucket
//! can be chosen there is nothing to hash.

use super::action_set::ActionSet;
use super::frozen::Todo;
use super::{Context, Credit, Stop};
use crate::dpif::{Action as DpAction, ControllerReason, DropReason};
use crate::flow::{Field, Flow};
use crate::ofproto::groups::{Group, hash_fields, hashed_bits};
use crate::openflow::{Bucket, GroupType, SelectionMethod};

impl<'a> Context<'a> {
    /// Processes the packet by a group; afterwards it is as before.
    pub(super) fn group(&mut self, number: u32) -> Result<(), Stop> {
        let bridge = self.bridge;
        let Some(group) = bridge.groups.get(number) else {
            self.reason = Some(DropReason::NoLiveBucket);
            return Ok(());
        };
        self.packet.must_be_here()?;
        let mark = self.credits.len();
        self.credits.push(Credit::Group { bridge: self.bridge_id, group: number, serial: group.serial() });
        let result = self.group_by_type(group);
        if result == Err(Stop::Redo) {
            self.credits.truncate(mark);
        }
        result
    }

    fn group_by_type(&mut self, group: &'a Group) -> Result<(), Stop> {
        let bridge = self.bridge;
        let is_live = |bucket: &Bucket| bridge.is_bucket_live(bucket);
        match group.group_type {
            GroupType::All | GroupType::Indirect => {
                if group.buckets.is_empty() {
                    self.reason = Some(DropReason::NoLiveBucket);
                }
                group.buckets.iter().try_for_each(|bucket| self.bucket(group, bucket))
            }
            GroupType::FastFailover => {
                let bucket = group.buckets.iter().find(|bucket| is_live(bucket));
                self.bucket_if_any(group, bucket)
            }
            GroupType::Select => self.select(group),
        }
    }

    fn select(&mut self, group: &'a Group) -> Result<(), Stop> {
        let bridge = self.bridge;
        let is_eligible = |bucket: &&Bucket| bucket.weight > 0 && bridge.is_bucket_live(bucket);
        let mut eligible = group.buckets.iter().filter(is_eligible);
        let (first, second) = (eligible.next(), eligible.next());
        if second.is_none() {
            return self.bucket_if_any(group, first);
        }
        match &group.selection {
            SelectionMethod::DpHash => {
                // The hash is over the headers as they are.
                let mut headers = Flow::default();
                (headers.key.eth_type, headers.key.nw_proto) = (u16::MAX, u8::MAX);
                self.packet.must_know(&headers.key)?;
                self.aside(|copy| {
                    copy.packet.commit(&mut copy.actions);
                    copy.emit(DpAction::Hash { basis: group.number, symmetric: false })?;
                    let rule = copy.rule;
                    copy.do_later(rule, Todo::Choose(group.number));
                    Err(Stop::Frozen)
                })
            }
            SelectionMethod::Hash { fields } => {
                self.packet.look(&hashed_bits(fields))?;
                let hash = hash_fields(&self.packet.view(), fields, group.number);
                let index = group.pick(|bits| Ok(hash & bits), |bucket| bridge.is_bucket_live(bucket))?;
                self.bucket_if_any(group, index.map(|index| &group.buckets[index]))
            }
        }
    }

    /// Goes on with a copy that went round for its hash.
    pub(super) fn choose_by_hash(&mut self, number: u32) -> Result<(), Stop> {
        let bridge = self.bridge;
        let Some(group) = bridge.groups.get(number).filter(|group| group.group_type == GroupType::Select)
        else {
            self.reason = Some(DropReason::NoLiveBucket);
            return Ok(());
        };
        let packet = &mut self.packet;
        let read = |bits: u32| packet.read(Field::DpHash, bits.into()).map(|hash| hash as u32);
        let index = group.pick(read, |bucket| bridge.is_bucket_live(bucket))?;
        self.packet.hide_hash();
        self.bucket_if_any(group, index.map(|index| &group.buckets[index]))
    }

    fn bucket_if_any(&mut self, group: &Group, bucket: Option<&Bucket>) -> Result<(), Stop> {
        match bucket {
            Some(bucket) => self.bucket(group, bucket),
            None => {
                self.reason = Some(DropReason::NoLiveBucket);
                Ok(())
            }
        }
    }

    fn bucket(&mut self, group: &Group, bucket: &Bucket) -> Result<(), Stop> {
        let (group, serial) = (group.number, group.bucket_serial());
        self.credits.push(Credit::Bucket { bridge: self.bridge_id, group, serial, bucket: bucket.id });
        let actions = ActionSet::of(&bucket.actions).take();
        self.go_deeper()?;
        let result = self.aside(|copy| {
            copy.rule = copy.rule.because(ControllerReason::Group);
            copy.do_actions(&actions).map(drop)
        });
        self.depth -= 1;
        result
    }
}
