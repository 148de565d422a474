//! The VLAN tags of a packet.
//!
//! Tags come and go, so they are kept as a stack, each with its place in the original packet if it has one. A
//! look at "the outer tag" after a pop is a look at the original's inner one.

use super::{Stop, Tracker};
use crate::dpif::{Action, DropReason};
use crate::flow::{Field, FlowKey, VLAN_CFI};

/// Tags that rules may have added to a packet at any time: more are the work of a rule gone wild. Those that it
/// came with do not count, since how many they are is not looked at.
const ADDED_TAG_COUNT_MAX: usize = 16;

/// Bytes of a tag.
pub(super) const TAG_SIZE: i32 = 4;

/// A VLAN tag of the packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag {
    /// Tells tags of a packet apart, whatever they hold.
    id: u32,
    tpid: u16,
    /// With [`VLAN_CFI`] set.
    tci: u16,
    /// Bits of `tci` that rules wrote.
    written: u16,
    /// Which tag of the original packet it is, from the outermost.
    origin: Option<usize>,
}

/// The tags of a packet at some point, to come back to.
#[derive(Clone, Debug)]
pub(in crate::ofproto::xlate) struct Tags(Vec<Tag>);

/// The tags that a packet comes with.
pub(super) fn original(key: &FlowKey) -> Vec<Tag> {
    let original = [(key.vlan_tpid, key.vlan_tci), (key.inner_vlan_tpid, key.inner_vlan_tci)];
    let present = original.into_iter().enumerate().take_while(|(_, (_, tci))| tci & VLAN_CFI != 0);
    let tag = |(place, (tpid, tci))| Tag { id: place as u32, tpid, tci, written: 0, origin: Some(place) };
    let mut tags: Vec<Tag> = present.map(tag).collect();
    tags.reverse();
    tags
}

impl Tracker {
    /// Looks at the tag that now is `depth` below the outermost, or at there being none.
    pub(super) fn look_at_tag(&mut self, depth: usize, tci: u16, tpid: u16) -> Result<(), Stop> {
        if tci | tpid == 0 {
            return Ok(());
        }
        if self.tags_are_unknown {
            return Err(Stop::Redo);
        }
        let count = self.tags.len();
        if depth < count {
            let tag = self.tags[count - 1 - depth];
            if let Some(place) = tag.origin {
                self.look_at_original_tag(place, tci & !tag.written, tpid);
            }
            return Ok(());
        }
        let originals = self.tags.iter().filter(|tag| tag.origin.is_some()).count();
        let added = count - originals;
        let popped = self.original_tag_count - originals;
        self.look_at_original_tag(popped + depth - added, tci, tpid);
        Ok(())
    }

    fn look_at_original_tag(&mut self, place: usize, tci: u16, tpid: u16) {
        let mask = &mut self.mask.0;
        match place {
            0 => (mask.vlan_tci, mask.vlan_tpid) = (mask.vlan_tci | tci, mask.vlan_tpid | tpid),
            1 => {
                mask.inner_vlan_tci |= tci;
                mask.inner_vlan_tpid |= tpid;
            }
            // The key does not say what lies deeper.
            _ => {}
        }
    }

    /// Writes bits of the outer tag. With [`VLAN_CFI`] among `bits`, its value says whether there is to be one.
    pub(in crate::ofproto::xlate) fn write_tci(&mut self, value: u16, bits: u16) -> Result<(), Stop> {
        self.look_at_tag(0, VLAN_CFI, 0)?;
        let bits_in_tag = bits & !VLAN_CFI;
        let is_wanted = if bits & VLAN_CFI != 0 { value & VLAN_CFI != 0 } else { !self.tags.is_empty() };
        match (self.tags.last_mut(), is_wanted) {
            (Some(tag), true) => {
                tag.tci = (tag.tci & !bits_in_tag) | (value & bits_in_tag);
                tag.written |= bits_in_tag;
            }
            (Some(_), false) => drop(self.tags.pop()),
            (None, true) => self.add_tag(0x8100, value & bits_in_tag)?,
            (None, false) => {}
        }
        self.show_tags();
        Ok(())
    }

    /// Adds an outer tag that starts as a copy of the one before it (OpenFlow 1.5.1 table 5.8).
    pub(in crate::ofproto::xlate) fn push_tag(&mut self, tpid: u16) -> Result<(), Stop> {
        self.look_at_tag(0, u16::MAX, 0)?;
        let tci = self.tags.last().map_or(0, |tag| tag.tci);
        self.add_tag(tpid, tci)?;
        self.show_tags();
        Ok(())
    }

    /// Tags that rules have added.
    pub(super) fn added_tags(&self) -> usize {
        self.earlier_tags + self.tags.iter().filter(|tag| tag.origin.is_none()).count()
    }

    fn add_tag(&mut self, tpid: u16, tci: u16) -> Result<(), Stop> {
        if self.added_tags() >= ADDED_TAG_COUNT_MAX {
            return Err(Stop::Limit(DropReason::TooManyActions));
        }
        let (id, tci) = (self.next_tag_id, tci | VLAN_CFI);
        self.next_tag_id += 1;
        self.tags.push(Tag { id, tpid, tci, written: u16::MAX, origin: None });
        Ok(())
    }

    /// Takes the outer tag off, if there is one.
    pub(in crate::ofproto::xlate) fn pop_tag(&mut self) -> Result<(), Stop> {
        self.look_at_tag(0, VLAN_CFI, 0)?;
        self.tags.pop();
        self.show_tags();
        Ok(())
    }

    /// Whether there is a tag.
    pub(in crate::ofproto::xlate) fn has_tag(&mut self) -> Result<bool, Stop> {
        self.look_at_tag(0, VLAN_CFI, 0)?;
        Ok(!self.tags.is_empty())
    }

    /// How many tags there are, as far as the key tells.
    pub(super) fn tag_count(&mut self) -> Result<usize, Stop> {
        let count = self.tags.len();
        (0..=count).try_for_each(|depth| self.look_at_tag(depth, VLAN_CFI, 0))?;
        Ok(count)
    }

    /// Adds an outer tag that holds just this.
    pub(in crate::ofproto::xlate) fn push_new_tag(&mut self, tpid: u16, tci: u16) -> Result<(), Stop> {
        if self.tags_are_unknown {
            return Err(Stop::Redo);
        }
        self.add_tag(tpid, tci)?;
        self.show_tags();
        Ok(())
    }

    /// The tags, to come back to.
    pub(in crate::ofproto::xlate) fn tags(&self) -> Tags {
        Tags(self.tags.clone())
    }

    /// Puts the tags back. What is known of them has not changed in between.
    pub(in crate::ofproto::xlate) fn set_tags(&mut self, tags: &Tags) {
        self.tags.clone_from(&tags.0);
        self.show_tags();
    }

    /// Writes the two outer tags where look-ups see them.
    fn show_tags(&mut self) {
        let mut outer = self.tags.iter().rev().map(|tag| (tag.tpid, tag.tci));
        let key = &mut self.flow.key;
        (key.vlan_tpid, key.vlan_tci) = outer.next().unwrap_or((0, 0));
        (key.inner_vlan_tpid, key.inner_vlan_tci) = outer.next().unwrap_or((0, 0));
    }

    /// Pops down to the tags that both have, writes the outermost of those, pushes the others.
    pub(super) fn commit_tags(&mut self, actions: &mut Vec<Action>) {
        let pairs = self.base_tags.iter().zip(&self.tags);
        let common = pairs.take_while(|(base, tag)| base.id == tag.id).count();
        actions.extend((common..self.base_tags.len()).map(|_| Action::PopVlan));
        self.growth += TAG_SIZE * (self.tags.len() as i32 - self.base_tags.len() as i32);
        if common > 0 {
            let (base, tag) = (self.base_tags[common - 1], self.tags[common - 1]);
            // Bits that were written, sent, and then put back hold what the original has.
            let bits = (tag.written | base.written) & !VLAN_CFI;
            if let Some(place) = tag.origin {
                self.look_at_original_tag(place, bits & !tag.written, 0);
            }
            let known = base.written | self.mask_of_original_tag(tag.origin);
            if bits & !(known & !(base.tci ^ tag.tci)) != 0 {
                let (value, mask) = (u128::from(tag.tci & bits), u128::from(bits));
                actions.push(Action::Set { field: Field::VlanTci, value, mask });
            }
        }
        for index in common..self.tags.len() {
            let tag = self.tags[index];
            if let Some(place) = tag.origin {
                self.look_at_original_tag(place, !tag.written, u16::MAX);
            }
            actions.push(Action::PushVlan { tpid: tag.tpid, tci: tag.tci & !VLAN_CFI });
        }
        // What was just pushed or written is known from here on, as is what the mask already says.
        self.base_tags.clone_from(&self.tags);
    }

    /// The frame is another: what tags it has is not known, or known to be none.
    pub(super) fn forget_tags(&mut self, are_unknown: bool) {
        (self.tags.clear(), self.base_tags.clear());
        // Past the tags that the key tells of, so that none of those is looked at for there being no tag.
        (self.tags_are_unknown, self.original_tag_count) = (are_unknown, 2);
        self.show_tags();
    }

    fn mask_of_original_tag(&self, place: Option<usize>) -> u16 {
        match place {
            Some(0) => self.mask.0.vlan_tci,
            Some(1) => self.mask.0.inner_vlan_tci,
            _ => 0,
        }
    }
}
