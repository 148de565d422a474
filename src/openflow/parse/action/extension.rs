//! Actions of Open vSwitch with arguments of their own: queues, links, learning, the stack.

use super::super::error::{Allowed, ParseError};
use super::super::token::{Form, Item, Items, Token};
use super::super::value::{self, bounded};
use super::ActionParser;
use crate::flow::{Flow, OfPort};
use crate::openflow::action::{
    Action, BUNDLE_MEMBER_COUNT_MAX, Bundle, BundleAlgorithm, CLAUSE_COUNT_MAX, HashFields,
    LEARN_SPEC_COUNT_MAX, Learn, LearnSource, LearnSpec, Multipath, MultipathAlgorithm, SampleDirection,
    Subfield,
};
use crate::openflow::ports::parse_port;

impl ActionParser<'_> {
    /// One of these actions, if the name is one of theirs.
    pub(super) fn extension(&self, name: &str, item: Item<'_>) -> Result<Option<Action>, ParseError> {
        let value = item.value;
        let bare = |action| item.expect_bare().map(|()| action);
        let action = match name {
            "set_queue" => Action::SetQueue(bounded(value, name, u32::MAX.into())?),
            "pop_queue" => bare(Action::PopQueue)?,
            "enqueue" => self.enqueue(item)?,
            "exit" => bare(Action::Exit)?,
            "conjunction" => conjunction(item)?,
            "learn" => Action::Learn(Box::new(self.learn(item)?)),
            "multipath" => Action::Multipath(Box::new(self.multipath(item)?)),
            "bundle" => Action::Bundle(Box::new(self.bundle(item, false)?)),
            "bundle_load" => Action::Bundle(Box::new(self.bundle(item, true)?)),
            "fin_timeout" => fin_timeout(item)?,
            "sample" => self.sample(item)?,
            "push" => {
                let source = self.subfield(value)?;
                self.check_present(value, source.field)?;
                Action::StackPush(source)
            }
            "pop" => {
                let destination = self.subfield(value)?;
                self.check_writable(value, destination.field)?;
                Action::StackPop(destination)
            }
            _ => return Ok(None),
        };
        Ok(Some(action))
    }

    /// `enqueue:port:queue` and `enqueue(port,queue)`.
    fn enqueue(&self, item: Item<'_>) -> Result<Action, ParseError> {
        let bad = || item.value.bad_value(item.key.text, Allowed::PortAndQueue);
        let separator = if item.form == Form::Parentheses { ',' } else { ':' };
        let (port, queue) = item.value.split_unquoted(separator).ok_or_else(bad)?;
        let is_output = |port: &OfPort| {
            (port.0 != 0 && *port <= OfPort::MAX) || matches!(*port, OfPort::LOCAL | OfPort::IN_PORT)
        };
        let port = parse_port(port.trim().text, self.ports).filter(is_output).ok_or_else(bad)?;
        Ok(Action::Enqueue { port, queue: bounded(queue.trim(), item.key.text, u32::MAX.into())? })
    }

    /// Bits of a field that a number can be written to.
    fn written_bits(&self, text: Token<'_>, bits_min: u16) -> Result<Subfield, ParseError> {
        let destination = self.subfield(text)?;
        self.check_writable(text, destination.field)?;
        if destination.bits < bits_min {
            return Err(text.bad_value(destination.field.info().name, Allowed::WideSubfield(bits_min)));
        }
        Ok(destination)
    }

    /// `multipath(fields,basis,algorithm,links,argument,field[bits])`.
    fn multipath(&self, item: Item<'_>) -> Result<Multipath, ParseError> {
        let bad = || item.value.bad_value(item.key.text, Allowed::MultipathArguments);
        let parts = split(item.value);
        let &[fields, basis, algorithm, links, argument, destination] = &parts[..] else { return Err(bad()) };
        let algorithms = MultipathAlgorithm::ALL.into_iter();
        let found = algorithms.into_iter().find(|known| known.name() == algorithm.text);
        let count: u32 = bounded(links, "links", 65_536)?;
        let link_max = count.checked_sub(1).and_then(|max| u16::try_from(max).ok());
        let link_max = link_max.ok_or_else(|| links.bad_value("links", Allowed::NumberWithin(1, 65_536)))?;
        let bits_min = 16 - link_max.leading_zeros() as u16;
        Ok(Multipath {
            fields: hash_fields(fields)?,
            basis: bounded(basis, "basis", 0xffff)?,
            algorithm: found.ok_or_else(|| algorithm.bad_value("multipath", Allowed::MultipathAlgorithm))?,
            link_max,
            argument: bounded(argument, "argument", u32::MAX.into())?,
            destination: self.written_bits(destination, bits_min)?,
        })
    }

    /// `bundle(fields,basis,algorithm,ofport,members:port,...)`, and `bundle_load` with `field[bits]` before the members.
    fn bundle(&self, item: Item<'_>, is_load: bool) -> Result<Bundle, ParseError> {
        let bad = || item.value.bad_value(item.key.text, Allowed::BundleArguments);
        let parts = split(item.value);
        let [fields, basis, algorithm, kind, rest @ ..] = &parts[..] else { return Err(bad()) };
        let (destination, rest) = match (is_load, rest) {
            (true, [destination, rest @ ..]) => (Some(self.written_bits(*destination, 16)?), rest),
            (true, []) => return Err(bad()),
            (false, rest) => (None, rest),
        };
        if !kind.text.eq_ignore_ascii_case("ofport") {
            return Err(bad());
        }
        let found = [BundleAlgorithm::ActiveBackup, BundleAlgorithm::HighestRandomWeight]
            .into_iter()
            .find(|known| known.name() == algorithm.text);
        let (first, others) = rest.split_first().ok_or_else(bad)?;
        let head = ["members:", "slaves:"].into_iter().find(|head| first.text.starts_with(head));
        let first = first.tail(head.ok_or_else(bad)?.len()).trim();
        let texts = [first].into_iter().chain(others.iter().copied());
        let mut members = Vec::new();
        for text in texts.filter(|text| !text.text.is_empty()) {
            let port = parse_port(text.text, self.ports);
            members.push(port.ok_or_else(|| text.bad_value("members", Allowed::Port))?);
        }
        if members.len() > BUNDLE_MEMBER_COUNT_MAX {
            return Err(bad());
        }
        Ok(Bundle {
            algorithm: found.ok_or_else(|| algorithm.bad_value("bundle", Allowed::BundleAlgorithm))?,
            fields: hash_fields(*fields)?,
            basis: bounded(*basis, "basis", 0xffff)?,
            members,
            destination,
        })
    }

    /// `sample(probability=..,collector_set_id=..,obs_domain_id=..,obs_point_id=..,sampling_port=..,ingress|egress)`.
    fn sample(&self, item: Item<'_>) -> Result<Action, ParseError> {
        let (mut probability, mut collector_set_id, mut obs_domain_id, mut obs_point_id) = (0, 0, 0, 0);
        let (mut sampling_port, mut direction) = (OfPort::NONE, SampleDirection::Default);
        let mut arguments = Items::of(item.value);
        while let Some(argument) = arguments.next()? {
            let (value, name) = (argument.value, argument.key.text);
            match name {
                "probability" => probability = bounded(value, name, 0xffff)?,
                "collector_set_id" => collector_set_id = bounded(value, name, u32::MAX.into())?,
                "obs_domain_id" => obs_domain_id = bounded(value, name, u32::MAX.into())?,
                "obs_point_id" => obs_point_id = bounded(value, name, u32::MAX.into())?,
                "sampling_port" => {
                    let port = parse_port(value.text, self.ports);
                    sampling_port = port.ok_or_else(|| value.bad_value(name, Allowed::Port))?;
                }
                "ingress" => direction = SampleDirection::Ingress,
                "egress" => direction = SampleDirection::Egress,
                _ => {
                    let allowed = "probability, collector_set_id, obs_domain_id, obs_point_id, sampling_port, ingress \
                                   and egress";
                    return Err(unsupported("sample", &argument, allowed));
                }
            }
        }
        if probability == 0 {
            return Err(item.value.bad_value("probability", Allowed::NumberWithin(1, 65_535)));
        }
        Ok(Action::Sample {
            probability,
            collector_set_id,
            obs_domain_id,
            obs_point_id,
            sampling_port,
            direction,
        })
    }

    /// `learn(...)`.
    fn learn(&self, item: Item<'_>) -> Result<Learn, ParseError> {
        let mut learn = Learn::new();
        // What the learned rule asks for, which says what shared names mean in it.
        let mut learned = ActionParser { ports: self.ports, flow: Some(Flow::default()), place: self.place };
        let mut arguments = Items::of(item.value);
        while let Some(argument) = arguments.next()? {
            let (value, name) = (argument.value, argument.key.text);
            match name {
                "table" => learn.table = bounded(value, name, 254)?,
                "priority" => learn.priority = bounded(value, name, 0xffff)?,
                "idle_timeout" => learn.idle_timeout_s = bounded(value, name, 0xffff)?,
                "hard_timeout" => learn.hard_timeout_s = bounded(value, name, 0xffff)?,
                "fin_idle_timeout" => learn.fin_idle_timeout_s = bounded(value, name, 0xffff)?,
                "fin_hard_timeout" => learn.fin_hard_timeout_s = bounded(value, name, 0xffff)?,
                "cookie" => learn.cookie = bounded(value, name, u64::MAX.into())?,
                "limit" => learn.limit = bounded(value, name, u32::MAX.into())?,
                "send_flow_rem" => learn.send_flow_removed = argument.expect_bare().map(|()| true)?,
                "delete_learned" => learn.delete_learned = argument.expect_bare().map(|()| true)?,
                "result_dst" => {
                    let bit = self.written_bits(value, 1)?;
                    if bit.bits != 1 {
                        return Err(value.bad_value(name, Allowed::OneBit));
                    }
                    learn.result = Some(bit);
                }
                _ => {
                    let spec = self.learn_spec(&learned, argument)?;
                    if let LearnSpec::Match { source: LearnSource::Value(value), destination } = spec
                        && let Some(flow) = &mut learned.flow
                    {
                        flow.set_masked(
                            destination.field,
                            value << destination.first_bit,
                            destination.mask(),
                        );
                    }
                    if learn.specs.len() == LEARN_SPEC_COUNT_MAX {
                        return Err(argument.key.bad_value("learn", Allowed::LearnSpecCount));
                    }
                    learn.specs.push(spec);
                }
            }
        }
        Ok(learn)
    }

    /// `field[bits]`, `field[bits]=source`, `field=value`, `load:source->field[bits]`, `output:field[bits]`.
    fn learn_spec(&self, learned: &ActionParser<'_>, item: Item<'_>) -> Result<LearnSpec, ParseError> {
        let value = item.value;
        match (item.key.text, item.form) {
            ("output", Form::Colon) => {
                let source = self.subfield(value)?;
                self.check_present(value, source.field)?;
                Ok(LearnSpec::Output(source))
            }
            ("load", Form::Colon) => {
                let bad = || value.bad_value("load", Allowed::Assignment);
                let (from, to) = value.split_once("->").ok_or_else(bad)?;
                let destination = learned.subfield(to)?;
                if !destination.field.info().writable {
                    return Err(ParseError::ReadOnly { offset: to.offset, found: to.text.to_owned() });
                }
                Ok(LearnSpec::Load { source: self.learn_source(from, destination)?, destination })
            }
            (_, Form::Bare) => {
                let source = self.subfield(item.key)?;
                self.check_present(item.key, source.field)?;
                Ok(LearnSpec::Match { source: LearnSource::Field(source), destination: source })
            }
            (_, Form::Equals) => {
                // `in_port=name` and the like are a whole field against a value as matches write it.
                if !item.key.text.contains('[') {
                    let field = learned.field(item.key)?;
                    if let Ok((number, mask)) = value::masked(value, item.key.text, field.info(), self.ports)
                        && mask == field.full_mask()
                    {
                        let destination = Subfield::whole(field);
                        return Ok(LearnSpec::Match { source: LearnSource::Value(number), destination });
                    }
                }
                let destination = learned.subfield(item.key)?;
                Ok(LearnSpec::Match { source: self.learn_source(value, destination)?, destination })
            }
            _ => Err(unsupported("learn", &item, "what ovs-actions(7) says of it")),
        }
    }

    fn learn_source(&self, text: Token<'_>, destination: Subfield) -> Result<LearnSource, ParseError> {
        if value::number(text.text).is_some() {
            let max = u128::MAX >> (128 - u32::from(destination.bits));
            return Ok(LearnSource::Value(bounded(text, "learn", max)?));
        }
        let source = self.subfield(text)?;
        self.check_present(text, source.field)?;
        let (source_bits, destination_bits) = (source.bits, destination.bits);
        if source_bits != destination_bits {
            return Err(ParseError::WidthsDiffer { offset: text.offset, source_bits, destination_bits });
        }
        Ok(LearnSource::Field(source))
    }
}

/// What stands between commas that are not in quotes.
fn split(text: Token<'_>) -> Vec<Token<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((part, more)) = rest.split_unquoted(',') {
        parts.push(part.trim());
        rest = more;
    }
    parts.push(rest.trim());
    parts
}

fn hash_fields(text: Token<'_>) -> Result<HashFields, ParseError> {
    let found = HashFields::ALL.into_iter().find(|fields| fields.name() == text.text);
    found.ok_or_else(|| text.bad_value("fields", Allowed::HashFields))
}

fn unsupported(action: &str, argument: &Item<'_>, allowed: &'static str) -> ParseError {
    let (offset, action, argument) = (argument.key.offset, action.to_owned(), argument.name());
    ParseError::UnsupportedArgument { offset, action, argument, allowed }
}

/// `conjunction(id,k/n)`.
fn conjunction(item: Item<'_>) -> Result<Action, ParseError> {
    let bad = || item.value.bad_value(item.key.text, Allowed::Clause);
    let (id, clause) = item.value.split_once(",").ok_or_else(bad)?;
    let (clause, count) = clause.split_once("/").ok_or_else(bad)?;
    let number = |text: Token<'_>| value::number(text.trim().text).and_then(|n| u8::try_from(n).ok());
    let (clause, clause_count) = number(clause).zip(number(count)).ok_or_else(bad)?;
    if !(2..=CLAUSE_COUNT_MAX).contains(&clause_count) || !(1..=clause_count).contains(&clause) {
        return Err(bad());
    }
    let id = bounded(id.trim(), item.key.text, u32::MAX.into())?;
    Ok(Action::Conjunction { id, clause: clause - 1, clause_count })
}

/// `fin_timeout(idle_timeout=..,hard_timeout=..)`.
fn fin_timeout(item: Item<'_>) -> Result<Action, ParseError> {
    let (mut idle_s, mut hard_s) = (0, 0);
    let mut arguments = Items::of(item.value);
    while let Some(argument) = arguments.next()? {
        match argument.key.text {
            name @ "idle_timeout" => idle_s = bounded(argument.value, name, 0xffff)?,
            name @ "hard_timeout" => hard_s = bounded(argument.value, name, 0xffff)?,
            _ => {
                return Err(unsupported(
                    "fin_timeout",
                    &argument,
                    "idle_timeout=SECONDS and hard_timeout=SECONDS",
                ));
            }
        }
    }
    Ok(Action::FinTimeout { idle_s, hard_s })
}
