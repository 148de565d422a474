//! Tables and the actions of their rules.

use super::frozen::Todo;
use super::track::Decrement;
use super::{Context, Credit, CurrentRule, RESUBMIT_COUNT_MAX, RESUBMIT_DEPTH_MAX, Stop};
use crate::dpif::{Action as DpAction, ControllerReason, DropReason};
use crate::flow::{Field, Flow, OfPort, VLAN_CFI};
use crate::ofproto::NO_COOKIE;
use crate::ofproto::tables::{MissHandling, TABLE_COUNT};
use crate::openflow::flow_mod::TableId;
use crate::openflow::message::PacketInReason;
use crate::openflow::meter::BandType;
use crate::openflow::{Action, Subfield};

impl Context<'_> {
    /// Looks up in a table, does what the rule says, and goes on where it says. `in_port` stands in for the
    /// ingress port during the first look-up.
    pub(super) fn tables_from(
        &mut self,
        first: TableId,
        in_port: Option<OfPort>,
        is_resubmit: bool,
    ) -> Result<(), Stop> {
        if self.bridge.config.is_standalone {
            return self.normal();
        }
        let mut next = Some(first);
        while let Some(table) = next {
            let is_first = table == first;
            let found = match self.look_up(table, in_port.filter(|_| is_first)) {
                Err(Stop::Redo) => {
                    let rule = self.rule;
                    let in_port = in_port.filter(|_| is_first);
                    self.do_later(rule, Todo::Table { table, in_port, is_resubmit: is_resubmit && is_first });
                    return Err(Stop::Frozen);
                }
                other => other?,
            };
            let bridge = self.bridge_id;
            let Some(rule) = found else {
                self.credits.push(Credit::Miss { bridge, table });
                match self.bridge.tables.settings(table).miss {
                    MissHandling::Drop => {}
                    _ if is_resubmit && is_first => {}
                    MissHandling::Controller => {
                        self.rule = CurrentRule { cookie: NO_COOKIE, ..self.rule.in_peer() };
                        self.controller(ControllerReason::TableMiss, u16::MAX, 0, &[])?;
                    }
                    MissHandling::Continue if usize::from(table) + 1 < TABLE_COUNT => {
                        next = Some(table + 1);
                        continue;
                    }
                    MissHandling::Continue => {}
                }
                // OpenFlow 1.5.1 section 5.4: without a table-miss entry the packet is dropped. A resubmit is
                // not a step of the pipeline: if it finds nothing, nothing happens.
                if !(is_resubmit && is_first) {
                    self.action_set.clear();
                    self.packet.set_actset_output(OfPort::UNSET);
                }
                self.reason = self.reason.or(Some(DropReason::TableMiss));
                return Ok(());
            };
            self.credits.push(Credit::Rule { bridge, table, rule });
            let entry = self.bridge.tables.rule(rule).expect("it was just found");
            let is_miss = entry.is_table_miss();
            let reason = if is_miss { ControllerReason::TableMiss } else { ControllerReason::ApplyAction };
            self.rule =
                CurrentRule { id: Some(rule), table, cookie: entry.cookie, ..self.rule.because(reason) };
            next = self.do_actions(&entry.actions)?;
        }
        Ok(())
    }

    fn look_up(&mut self, table: TableId, in_port: Option<OfPort>) -> Result<Option<super::RuleId>, Stop> {
        self.packet.must_be_here()?;
        let mut flow = self.packet.view();
        flow.in_port = in_port.unwrap_or(flow.in_port);
        let mut looked = Flow::default();
        let found = self.bridge.tables.lookup(table, &flow, &mut looked).map(|(id, _)| id);
        self.packet.look(&looked)?;
        Ok(found)
    }

    /// Does actions in order; returns the table to go to, if they say so. What has to wait for the packet to go round
    /// is noted with all that comes after it.
    pub(super) fn do_actions(&mut self, actions: &[Action]) -> Result<Option<TableId>, Stop> {
        let rule = self.rule;
        for (index, action) in actions.iter().enumerate() {
            if let Action::GotoTable(table) = action {
                return Ok(Some(*table));
            }
            let checkpoint = self.packet.may_stop().then(|| self.checkpoint());
            let undone = match self.do_action(action) {
                Ok(()) => continue,
                Err(Stop::Redo) => {
                    if let Some(checkpoint) = checkpoint {
                        self.roll_back(checkpoint);
                    }
                    index
                }
                Err(Stop::Frozen) => index + 1,
                Err(other) => return Err(other),
            };
            if undone < actions.len() {
                self.do_later(rule, Todo::Actions(actions[undone..].to_vec()));
            }
            return Err(Stop::Frozen);
        }
        Ok(None)
    }

    fn do_action(&mut self, action: &Action) -> Result<(), Stop> {
        match action {
            Action::Output(port) | Action::OutputMaxLen { port, .. } => self.output(*port)?,
            Action::OutputReg { source, max_len } => self.output_reg(*source, *max_len)?,
            Action::OutputTrunc { port, max_len } => {
                self.max_len = Some(*max_len);
                let result = self.output(*port);
                self.max_len = None;
                result?;
            }
            Action::Controller { max_len, controller_id, reason, userdata } => {
                let reason = match reason {
                    PacketInReason::ApplyAction => self.controller_reason(),
                    PacketInReason::TableMiss => ControllerReason::TableMiss,
                    PacketInReason::InvalidTtl => ControllerReason::InvalidTtl,
                    PacketInReason::ActionSet => ControllerReason::ActionSet,
                    PacketInReason::Group => ControllerReason::Group,
                    PacketInReason::PacketOut => ControllerReason::PacketOut,
                };
                self.controller(reason, *max_len, *controller_id, userdata)?;
            }
            Action::SetField { field, value, mask } => self.write(*field, *value, *mask)?,
            Action::Move { source, destination } => {
                if let Some(value) = self.read_subfield(*source)? {
                    let value = value << destination.first_bit;
                    self.write(destination.field, value, destination.mask())?;
                }
            }
            Action::SetVlanVid(_) | Action::SetVlanPcp(_) | Action::PushVlan(_) | Action::PopVlan => {
                self.change_tags(action)?;
            }
            Action::PushMpls(_)
            | Action::PopMpls(_)
            | Action::CopyTtlOut
            | Action::CopyTtlIn
            | Action::PushPbb
            | Action::PopPbb => self.change_layers(action)?,
            Action::DecTtl => self.decrement_ttl()?,
            Action::DecMplsTtl => self.decrement_mpls_ttl()?,
            Action::Group(group) => self.group(*group)?,
            Action::Meter(meter) => self.meter(*meter)?,
            Action::Clone(actions) => {
                self.go_deeper()?;
                let result = self.aside(|copy| copy.do_actions(actions).map(drop));
                self.depth -= 1;
                result?;
            }
            Action::CheckPktLarger { len, destination } => {
                self.length_check = Some((*len, *destination));
                return Err(Stop::Frozen);
            }
            Action::Resubmit { in_port, table, ct: _ } => self.resubmit(*in_port, *table)?,
            Action::ClearActions => self.change_action_set(super::ActionSet::clear),
            Action::WriteActions(written) => self.change_action_set(|set| set.write(written)),
            Action::WriteMetadata { value, mask } => {
                self.packet.write(Field::Metadata, u128::from(*value), u128::from(*mask))?;
            }
            Action::Enqueue { port, .. } => self.output(*port)?,
            Action::Exit => return Err(Stop::Exit),
            Action::DecTtlIds(_)
            | Action::Learn(_)
            | Action::Multipath(_)
            | Action::Bundle(_)
            | Action::FinTimeout { .. }
            | Action::Sample { .. }
            | Action::StackPush(_)
            | Action::StackPop(_) => self.do_extension(action)?,
            // The datapath has no queues, and rules with clauses are found by none.
            Action::SetQueue(_) | Action::PopQueue | Action::Conjunction { .. } => {}
            Action::Note(_) | Action::GotoTable(_) => {}
        }
        Ok(())
    }

    fn change_tags(&mut self, action: &Action) -> Result<(), Stop> {
        match action {
            Action::SetVlanVid(vid) => self.packet.write_tci(vid | VLAN_CFI, 0x0fff | VLAN_CFI),
            Action::SetVlanPcp(pcp) => {
                self.packet.write_tci(u16::from(*pcp) << 13 | VLAN_CFI, 0xe000 | VLAN_CFI)
            }
            Action::PushVlan(tpid) => self.packet.push_tag(*tpid),
            _ => self.packet.pop_tag(),
        }
    }

    fn change_layers(&mut self, action: &Action) -> Result<(), Stop> {
        let (packet, actions) = (&mut self.packet, &mut self.actions);
        match action {
            Action::PushMpls(eth_type) => packet.push_mpls(*eth_type, actions),
            Action::PopMpls(eth_type) => packet.pop_mpls(*eth_type, actions),
            Action::CopyTtlOut => packet.copy_ttl(true, actions),
            Action::CopyTtlIn => packet.copy_ttl(false, actions),
            Action::PushPbb => packet.push_pbb(actions),
            _ => packet.pop_pbb(actions),
        }?;
        self.check_action_count()
    }

    /// Writes bits of a field.
    pub(super) fn write(&mut self, field: Field, value: u128, bits: u128) -> Result<(), Stop> {
        self.packet.write_any(field, value, bits, &mut self.actions)?;
        self.check_action_count()
    }

    fn change_action_set(&mut self, change: impl FnOnce(&mut super::ActionSet)) {
        change(&mut self.action_set);
        self.packet.set_actset_output(self.action_set.output());
    }

    /// The value of some bits of a field, at the low end; none if the packet has no such field.
    pub(super) fn read_subfield(&mut self, source: Subfield) -> Result<Option<u128>, Stop> {
        if !self.packet.meets(source.field.info().prerequisite)? {
            return Ok(None);
        }
        let value = self.packet.read(source.field, source.mask())?;
        Ok(Some(value >> source.first_bit))
    }

    pub(super) fn resubmit(&mut self, in_port: Option<OfPort>, table: Option<TableId>) -> Result<(), Stop> {
        self.go_deeper()?;
        let rule = self.rule;
        let in_port = in_port.filter(|&port| port != OfPort::IN_PORT);
        let result = self.tables_from(table.unwrap_or(rule.table), in_port, true);
        self.depth -= 1;
        self.rule = rule;
        result
    }

    /// Into the pipeline, as if it had just come in (OFPP_TABLE, of packet-outs alone): where nothing matches, what the
    /// table does with such packets is done.
    pub(super) fn submit(&mut self) -> Result<(), Stop> {
        self.go_deeper()?;
        let rule = self.rule;
        let result = self.tables_from(0, None, false);
        self.depth -= 1;
        self.rule = rule;
        result
    }

    /// Before whatever leads to more actions than the rule's own: a resubmit, a patch, a bucket, a clone.
    pub(super) fn go_deeper(&mut self) -> Result<(), Stop> {
        if self.depth >= RESUBMIT_DEPTH_MAX || self.resubmits >= RESUBMIT_COUNT_MAX {
            return Err(Stop::Limit(DropReason::ResubmitLimit));
        }
        self.depth += 1;
        self.resubmits += 1;
        Ok(())
    }

    /// OpenFlow 1.5.1 section 5.11. A meter that is not there any more lets everything pass.
    fn meter(&mut self, number: u32) -> Result<(), Stop> {
        let Some(meter) = self.bridge.meters.get(number) else { return Ok(()) };
        // Bits count as they are, and DSCP is remarked as it is.
        self.packet.commit(&mut self.actions);
        self.emit(DpAction::Meter(meter.id))?;
        let is_drop = |band: &crate::openflow::Band| band.band_type == BandType::Drop;
        let bands = &meter.config.bands;
        self.packet.pass_meter(bands.iter().any(is_drop), !bands.iter().all(is_drop));
        Ok(())
    }

    /// OpenFlow 1.5.1 section 5.8: a packet whose TTL would run out goes no further.
    fn decrement_ttl(&mut self) -> Result<(), Stop> {
        match self.packet.decrement_ttl()? {
            Decrement::NotIp | Decrement::Done => Ok(()),
            Decrement::Emit => {
                let to_controller = self.invalid_ttl_cookie();
                if to_controller.is_some() {
                    // The datapath hands up the whole packet.
                    if self.len_max().is_some() {
                        self.packet.must_have_lived()?;
                    }
                    self.packet.commit(&mut self.actions);
                }
                self.emit(DpAction::DecTtl { to_controller })
            }
            Decrement::Expired => self.expire(),
        }
    }

    fn decrement_mpls_ttl(&mut self) -> Result<(), Stop> {
        self.packet.look_at(Field::EthType, u128::MAX)?;
        if !self.packet.flow().key.is_mpls() {
            return Ok(());
        }
        match self.packet.read(Field::MplsTtl, 0xff)? {
            0 | 1 => self.expire(),
            ttl => self.packet.write(Field::MplsTtl, ttl - 1, 0xff),
        }
    }
}
