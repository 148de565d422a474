//! MPLS labels and backbone headers: what comes and goes below the tags, and hides or shows what lies deeper.
//!
//! These actions are emitted at once, after all that was written before them. A header that is pushed hides all below
//! it: those fields are then known to be absent. One that is popped shows what the key has not told: those fields are
//! then unknown.
//!
//! A key has three labels, so a fourth is unknown when three are popped. A label stack entry that is all zeros can't be
//! told from one that is not whole, so where one is popped its successor is taken to be unknown too.

use super::tags::TAG_SIZE;
use super::{Stop, Tracker, mark};
use crate::dpif::{Action, DropReason};
use crate::flow::{DpPort, ETH_TYPE_NONE, Field, Flow, FlowKey};

/// Labels and backbone headers that rules may add to a packet.
const ADDED_HEADER_COUNT_MAX: usize = 16;
/// The bottom-of-stack bit of a label stack entry.
pub(super) const BOTTOM: u32 = 1 << 8;
/// The TTL in a label stack entry.
const TTL: u32 = 0xff;
/// Bytes of a label stack entry.
const LABEL_SIZE: i32 = 4;
/// Bytes of an outer Ethernet header with its service tag.
const BACKBONE_SIZE: i32 = 18;
const PBB: u16 = 0x88e7;

/// A label stack entry of the packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label {
    /// As it is.
    lse: u32,
    /// Bits that rules wrote.
    written: u32,
    /// Bits that only the datapath knows.
    unknown: u32,
    /// Bits that a datapath action wrote: the original says nothing of them.
    lost: u32,
    /// Its place in the original packet.
    origin: Option<usize>,
    /// As the datapath has it.
    base: u32,
    /// Bits of `base` that are known without looking at the packet.
    base_known: u32,
}

impl Label {
    pub(super) fn has_unknown(&self) -> bool {
        self.unknown != 0
    }

    /// Bits that a datapath action wrote, to a value that is not known.
    pub(super) fn lose(&mut self, bits: u32) {
        self.unknown |= bits;
        self.lost |= bits;
        self.lse &= !bits;
        self.written &= !bits;
        self.base &= !bits;
        self.base_known &= !bits;
    }
}

/// The labels that a packet comes with, as far as the key tells.
pub(super) fn original(key: &FlowKey) -> Vec<Label> {
    if !key.is_mpls() {
        return Vec::new();
    }
    let label = |(place, &lse): (usize, &u32)| Label {
        lse,
        written: 0,
        unknown: 0,
        lost: 0,
        origin: Some(place),
        base: lse,
        base_known: 0,
    };
    let mut labels: Vec<Label> = key.mpls_lse.iter().enumerate().map(label).collect();
    labels.reverse();
    labels
}

/// What the network header and all below it hold, and the service tag.
pub(super) fn below_tags() -> FlowKey {
    let mut key = FlowKey::ZERO;
    *key.words_mut() = [u64::MAX; crate::flow::FLOW_KEY_WORDS];
    (key.in_port, key.eth_type, key.recirc_id) = (DpPort(0), 0, 0);
    (key.eth_dst, key.eth_src, key.pkt_mark, key.dp_hash) = ([0; 6], [0; 6], 0, 0);
    (key.vlan_tci, key.inner_vlan_tci, key.vlan_tpid, key.inner_vlan_tpid) = (0, 0, 0, 0);
    (key.mpls_lse, key.pad1, key.pad2) = ([0; 3], 0, 0);
    key
}

impl Tracker {
    /// Looks at bits of the label that now is `depth` below the outermost.
    pub(super) fn look_at_label(&mut self, depth: usize, bits: u32) -> Result<(), Stop> {
        if bits == 0 {
            return Ok(());
        }
        if self.labels_are_unknown {
            return Err(Stop::Redo);
        }
        let count = self.labels.len();
        if depth >= count {
            // Below three labels of the key there may be more; a packet without any has none, by its type.
            return if self.flow.key.is_mpls() { Err(Stop::Redo) } else { Ok(()) };
        }
        let label = self.labels[count - 1 - depth];
        if let Some(place) = label.origin {
            self.mask.0.mpls_lse[place] |= bits & !label.written & !label.unknown;
        }
        if label.unknown & bits != 0 { Err(Stop::Redo) } else { Ok(()) }
    }

    /// Writes bits of the outermost label.
    pub(super) fn write_label(&mut self, field: Field, value: u128, bits: u128) -> Result<(), Stop> {
        if self.labels_are_unknown || self.labels.is_empty() {
            return Err(Stop::Redo);
        }
        let mut marked = FlowKey::ZERO;
        mark(&mut marked, field, bits);
        let label = self.labels.last_mut().expect("it is not empty");
        let mut written =
            Flow { key: FlowKey { mpls_lse: [label.lse, 0, 0], ..FlowKey::ZERO }, ..Flow::default() };
        written.set_masked(field, value, bits);
        label.lse = written.key.mpls_lse[0];
        label.written |= marked.mpls_lse[0];
        label.unknown &= !marked.mpls_lse[0];
        self.show_labels();
        Ok(())
    }

    /// Emits what makes the outermost label the flow's.
    pub(super) fn commit_label(&mut self, actions: &mut Vec<Action>) {
        let Some(label) = self.labels.last_mut() else { return };
        let looked = label.origin.map_or(0, |place| self.mask.0.mpls_lse[place]) & !label.lost;
        for field in [Field::MplsLabel, Field::MplsTc, Field::MplsTtl] {
            let mut marked = FlowKey::ZERO;
            mark(&mut marked, field, u128::MAX);
            let bits = label.written & marked.mpls_lse[0];
            let unsettled = bits & !((label.base_known | looked) & !(label.lse ^ label.base));
            if unsettled != 0 {
                let shift = marked.mpls_lse[0].trailing_zeros();
                let (value, mask) = (u128::from((label.lse & bits) >> shift), u128::from(bits >> shift));
                actions.push(Action::Set { field, value, mask });
            }
            label.base = (label.base & !bits) | (label.lse & bits);
            label.base_known |= bits;
        }
    }

    /// Writes the outer labels where look-ups see them.
    pub(super) fn show_labels(&mut self) {
        let mut outer = self.labels.iter().rev().map(|label| label.lse);
        self.flow.key.mpls_lse = std::array::from_fn(|_| outer.next().unwrap_or(0));
    }

    fn count_header(&mut self) -> Result<(), Stop> {
        if self.added_headers >= ADDED_HEADER_COUNT_MAX {
            return Err(Stop::Limit(DropReason::TooManyActions));
        }
        self.added_headers += 1;
        Ok(())
    }

    /// The datapath's hash has served its purpose: for rules it is 0, whichever datapath carries them out.
    pub(in crate::ofproto::xlate) fn hide_hash(&mut self) {
        self.hide(&FlowKey { dp_hash: u32::MAX, ..FlowKey::ZERO });
    }

    /// These bits of the packet are gone: they read as zero, whatever the packet.
    fn hide(&mut self, bits: &FlowKey) {
        self.lose(bits);
        let words = self.written.words_mut().iter_mut().zip(bits.words());
        words.for_each(|(written, bits)| *written |= bits);
    }

    /// These bits of the packet are others than they were, and unknown.
    pub(super) fn forget(&mut self, bits: &FlowKey) {
        self.lose(bits);
        let words = self.unknown.words_mut().iter_mut().zip(bits.words());
        words.for_each(|(unknown, bits)| *unknown |= bits);
    }

    fn lose(&mut self, bits: &FlowKey) {
        let all = [
            &mut self.flow.key,
            &mut self.written,
            &mut self.pending,
            &mut self.base,
            &mut self.committed,
            &mut self.unknown,
        ];
        for key in all {
            key.words_mut().iter_mut().zip(bits.words()).for_each(|(word, bits)| *word &= !bits);
        }
        let words = self.detached.words_mut().iter_mut().zip(bits.words());
        words.for_each(|(detached, bits)| *detached |= bits);
        if bits.nw_ttl != 0 {
            (self.ttl_is_unknown, self.ttl_bound) = (false, 0);
        }
    }

    pub(super) fn set_eth_type(&mut self, eth_type: u16) {
        (self.flow.key.eth_type, self.base.eth_type) = (eth_type, eth_type);
        (self.written.eth_type, self.unknown.eth_type) = (u16::MAX, 0);
    }

    /// Adds a label (OpenFlow 1.5.1 table 5.8).
    pub(in crate::ofproto::xlate) fn push_mpls(
        &mut self,
        eth_type: u16,
        actions: &mut Vec<Action>,
    ) -> Result<(), Stop> {
        self.look_at(Field::EthType, u128::MAX)?;
        let is_ip = self.flow.key.is_ip();
        let lse = if self.flow.key.is_mpls() {
            self.look_at_label(0, !BOTTOM)?;
            self.flow.key.mpls_lse[0] & !BOTTOM
        } else {
            // The specification's defaults: over anything but IP the TTL is 0 too.
            BOTTOM
        };
        self.count_header()?;
        self.commit(actions);
        actions.push(Action::PushMpls { eth_type, lse });
        self.growth += LABEL_SIZE;
        let known = u32::MAX;
        let mut label =
            Label { lse, written: known, unknown: 0, lost: 0, origin: None, base: lse, base_known: known };
        if is_ip {
            // The datapath reads the TTL, so that it need not be in the mask.
            actions.push(Action::CopyTtlOut);
            label.lose(TTL);
        }
        if !self.flow.key.is_mpls() {
            self.labels.clear();
        }
        self.labels.push(label);
        self.hide(&below_tags());
        self.set_eth_type(eth_type);
        self.show_labels();
        Ok(())
    }

    /// Takes the outermost label off, if there is one.
    pub(in crate::ofproto::xlate) fn pop_mpls(
        &mut self,
        eth_type: u16,
        actions: &mut Vec<Action>,
    ) -> Result<(), Stop> {
        self.look_at(Field::EthType, u128::MAX)?;
        if !self.flow.key.is_mpls() {
            return Ok(());
        }
        let is_mpls_below = matches!(eth_type, 0x8847 | 0x8848);
        let outermost = self.flow.key.mpls_lse[0];
        let top = self.labels.last().copied().filter(|_| !self.labels_are_unknown).ok_or(Stop::Redo)?;
        // One bit that is set says that the entry is there: the bottom of stack, or else the first that is found.
        let is_there = top.origin.is_none() || outermost != 0;
        if top.origin.is_some() || is_mpls_below {
            self.look_at_label(0, BOTTOM)?;
        }
        if top.origin.is_some() && outermost & BOTTOM == 0 {
            self.look_at_label(0, u32::MAX << outermost.checked_ilog2().unwrap_or(0))?;
        }
        self.commit(actions);
        actions.push(Action::PopMpls { eth_type });
        if is_there {
            self.growth -= LABEL_SIZE;
        }
        self.labels.pop();
        self.set_eth_type(eth_type);
        if is_mpls_below && is_there && outermost & BOTTOM == 0 {
            self.labels_are_unknown = self.labels.is_empty();
            self.show_labels();
            return Ok(());
        }
        self.labels.clear();
        self.show_labels();
        self.labels_are_unknown = true;
        let mut bits = below_tags();
        if !is_there {
            bits.eth_type = u16::MAX;
        }
        self.forget(&bits);
        Ok(())
    }

    /// Copies a TTL between the outermost label and what lies below it.
    pub(in crate::ofproto::xlate) fn copy_ttl(
        &mut self,
        is_out: bool,
        actions: &mut Vec<Action>,
    ) -> Result<(), Stop> {
        self.look_at(Field::EthType, u128::MAX)?;
        if !self.flow.key.is_mpls() {
            return Ok(());
        }
        self.commit(actions);
        actions.push(if is_out { Action::CopyTtlOut } else { Action::CopyTtlIn });
        let depth = usize::from(!is_out);
        if let Some(place) = self.labels.len().checked_sub(1 + depth) {
            self.labels[place].lose(TTL);
        }
        self.show_labels();
        Ok(())
    }

    /// Puts a backbone header before the frame.
    pub(in crate::ofproto::xlate) fn push_pbb(&mut self, actions: &mut Vec<Action>) -> Result<(), Stop> {
        self.look_at(Field::EthType, u128::MAX)?;
        let mut itag = 0;
        if self.flow.key.eth_type == PBB {
            itag = self.read(Field::PbbIsid, u128::MAX)? as u32;
        }
        if self.tags_are_unknown {
            return Err(Stop::Redo);
        }
        self.count_header()?;
        self.commit(actions);
        actions.push(Action::PushPbb { itag });
        self.growth += BACKBONE_SIZE;
        self.forget_tags(false);
        self.labels.clear();
        self.labels_are_unknown = false;
        self.show_labels();
        self.hide(&below_tags());
        self.set_eth_type(PBB);
        (self.flow.key.pbb_itag, self.base.pbb_itag) = (itag, itag);
        self.committed.pbb_itag = u32::MAX;
        Ok(())
    }

    /// Takes the backbone header off, if there is one; then nothing is known of the frame.
    pub(in crate::ofproto::xlate) fn pop_pbb(&mut self, actions: &mut Vec<Action>) -> Result<(), Stop> {
        self.look_at(Field::EthType, u128::MAX)?;
        if self.flow.key.eth_type != PBB {
            return Ok(());
        }
        // They go too: how many there are says how long the frame is then.
        let tag_count = self.tag_count()?;
        self.commit(actions);
        actions.push(Action::PopPbb);
        self.growth -= BACKBONE_SIZE + tag_count as i32 * TAG_SIZE;
        self.forget_tags(true);
        self.labels.clear();
        (self.labels_are_unknown, self.flow.key.mpls_lse) = (true, [0; 3]);
        let mut bits = below_tags();
        (bits.eth_type, bits.eth_dst, bits.eth_src) = (u16::MAX, [0xff; 6], [0xff; 6]);
        self.forget(&bits);
        self.flow.key.eth_type = ETH_TYPE_NONE;
        Ok(())
    }
}
