//! Actions of Open vSwitch's own: links, learning, the stack, samples.

use super::{Context, Credit, Stop};
use crate::dpif::{Action as DpAction, ControllerReason, DropReason, ObservationDirection, UserspaceCookie};
use crate::flow::{Field, FlowKey, OfPort};
use crate::ofproto::bridge::Port;
use crate::ofproto::learn::{Learned, learned_rule};
use crate::ofproto::links::{choose_link, choose_member, hash, hashed_bits, port_of_number};
use crate::openflow::action::{
    Action, Bundle, BundleAlgorithm, HashFields, Learn, Multipath, SampleDirection, Subfield,
};
use std::sync::Arc;

/// Values on a packet's stack at most.
pub(in crate::ofproto) const STACK_LEN_MAX: usize = 1_024;

/// FIN and RST.
const ENDING_FLAGS: u16 = 0x005;

impl Context<'_> {
    /// One of these actions.
    pub(super) fn do_extension(&mut self, action: &Action) -> Result<(), Stop> {
        match action {
            Action::StackPush(source) => self.push(*source),
            Action::StackPop(destination) => match self.stack.last().copied() {
                Some(value) => {
                    self.load(*destination, value)?;
                    self.stack.pop();
                    Ok(())
                }
                None => Ok(()),
            },
            Action::Multipath(multipath) => self.multipath(multipath),
            Action::Bundle(bundle) => self.bundle(bundle),
            Action::Learn(learn) => self.learn(learn),
            Action::FinTimeout { idle_s, hard_s } => self.fin_timeout(*idle_s, *hard_s),
            Action::Sample { .. } => self.sample(action),
            Action::DecTtlIds(ids) => self.decrement_ttl_telling(ids),
            _ => Ok(()),
        }
    }

    fn load(&mut self, to: Subfield, value: u128) -> Result<(), Stop> {
        self.write(to.field, value << to.first_bit & to.mask(), to.mask())
    }

    fn push(&mut self, source: Subfield) -> Result<(), Stop> {
        if let Some(value) = self.read_subfield(source)? {
            if self.stack.len() >= STACK_LEN_MAX {
                return Err(Stop::Limit(DropReason::TooManyActions));
            }
            self.stack.push(value);
        }
        Ok(())
    }

    /// The packet's hash; looks at what it is over.
    fn link_hash(&mut self, fields: HashFields, basis: u16) -> Result<u32, Stop> {
        self.packet.look_at_key(FlowKey { eth_type: u16::MAX, ..FlowKey::ZERO })?;
        if self.packet.flow().key.is_ip() && fields != HashFields::EthSrc {
            self.packet.look_at_key(FlowKey { nw_proto: u8::MAX, nw_frag: u8::MAX, ..FlowKey::ZERO })?;
        }
        let bits = hashed_bits(fields, &self.packet.view());
        self.packet.look(&bits)?;
        Ok(hash(fields, &self.packet.view(), basis))
    }

    fn multipath(&mut self, multipath: &Multipath) -> Result<(), Stop> {
        let hash = self.link_hash(multipath.fields, multipath.basis)?;
        self.load(multipath.destination, choose_link(multipath, hash).into())
    }

    fn bundle(&mut self, bundle: &Bundle) -> Result<(), Stop> {
        let hash = match bundle.algorithm {
            BundleAlgorithm::ActiveBackup => 0,
            BundleAlgorithm::HighestRandomWeight => self.link_hash(bundle.fields, bundle.basis)?,
        };
        let ports = &self.bridge.ports;
        let chosen = choose_member(bundle, hash, |port| ports.get(&port).is_some_and(Port::is_live));
        match bundle.destination {
            // As a number of 16 bits.
            Some(destination) => self.load(destination, u128::from(chosen.0 as u16)),
            None if chosen == OfPort::NONE => Ok(()),
            None => self.output(chosen),
        }
    }

    fn learn(&mut self, learn: &Learn) -> Result<(), Stop> {
        let Some(flow_mod) = learned_rule(learn, |source| self.read_subfield(source))? else {
            return Ok(());
        };
        if let Some(bit) = learn.result {
            let may_learn = self.bridge.may_learn(&flow_mod, learn.limit);
            self.load(bit, u128::from(may_learn))?;
        }
        self.packet.must_be_here()?;
        let learned = Learned { bridge: self.bridge_id, flow_mod, limit: learn.limit };
        self.credits.push(Credit::LearnRule(Arc::new(learned)));
        Ok(())
    }

    fn fin_timeout(&mut self, idle_s: u16, hard_s: u16) -> Result<(), Stop> {
        if !self.packet.meets(Field::TcpFlags.info().prerequisite)? {
            return Ok(());
        }
        if self.packet.read(Field::TcpFlags, ENDING_FLAGS.into())? == 0 {
            return Ok(());
        }
        let Some(rule) = self.rule.id else { return Ok(()) };
        self.packet.must_be_here()?;
        self.credits.push(Credit::FinTimeout { bridge: self.bridge_id, rule, idle_s, hard_s });
        Ok(())
    }

    /// A copy goes to the collectors, which is no way for the packet to go.
    fn sample(&mut self, action: &Action) -> Result<(), Stop> {
        let Action::Sample {
            probability,
            collector_set_id,
            obs_domain_id,
            obs_point_id,
            sampling_port,
            direction,
        } = *action
        else {
            return Ok(());
        };
        if self.is_muted {
            return Ok(());
        }
        self.packet.commit(&mut self.actions);
        let output = self.bridge.ports.get(&sampling_port).map(|port| port.dp_port);
        let direction = match direction {
            SampleDirection::Default | SampleDirection::Ingress => ObservationDirection::Ingress,
            SampleDirection::Egress => ObservationDirection::Egress,
        };
        let cookie = UserspaceCookie::FlowSample {
            probability,
            collector_set_id,
            obs_domain_id,
            obs_point_id,
            output,
            direction,
        };
        let probability = u32::from(probability) << 16 | u32::from(probability);
        self.emit(DpAction::Sample { probability, actions: vec![DpAction::Userspace(cookie)] })
    }

    /// The packet's own TTL has to be looked at: the datapath could tell only one controller.
    fn decrement_ttl_telling(&mut self, ids: &[u16]) -> Result<(), Stop> {
        self.packet.look_at(Field::EthType, u128::MAX)?;
        if !self.packet.flow().key.is_ip() {
            return Ok(());
        }
        let ttl = self.packet.read(Field::IpTtl, 0xff)?;
        if ttl > 1 {
            return self.packet.write(Field::IpTtl, ttl - 1, 0xff);
        }
        if self.bridge.config.invalid_ttl_to_controller {
            for &id in ids {
                self.controller(ControllerReason::InvalidTtl, u16::MAX, id, &[])?;
            }
        }
        Err(Stop::TtlExpired)
    }

    /// Out of the port whose number some bits hold.
    pub(super) fn output_reg(&mut self, source: Subfield, max_len: u16) -> Result<(), Stop> {
        let Some(number) = self.read_subfield(source)? else { return Ok(()) };
        match port_of_number(number) {
            OfPort::CONTROLLER => self.controller(self.controller_reason(), max_len, 0, &[]),
            port => self.output(port),
        }
    }
}
