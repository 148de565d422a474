//! A collector that forgives nothing: decodes messages and holds each to RFC 7011.

use std::collections::HashMap;

/// A template as it came over the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct WireTemplate {
    pub(super) scope_count: usize,
    /// Enterprise, element and length.
    pub(super) fields: Vec<(u32, u16, u16)>,
}

impl WireTemplate {
    fn record_size(&self) -> usize {
        self.fields.iter().map(|&(_, _, len)| usize::from(len)).sum()
    }
}

/// A data record: template id, and element and value of each field.
#[derive(Clone, Debug)]
pub(super) struct WireRecord {
    pub(super) template: u16,
    pub(super) is_option: bool,
    pub(super) fields: Vec<(u16, Vec<u8>)>,
}

impl WireRecord {
    /// The value of an element, as a number; panics if the record has none.
    pub(super) fn number(&self, element: u16) -> u64 {
        self.bytes(element).iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }

    pub(super) fn bytes(&self, element: u16) -> &[u8] {
        let field = self.fields.iter().find(|(id, _)| *id == element);
        &field.unwrap_or_else(|| panic!("no element {element} in {self:?}")).1
    }
}

/// One transport session, as its collector sees it. Every method panics at the first breach.
#[derive(Default, Debug)]
pub(super) struct Checker {
    pub(super) templates: HashMap<(u32, u16), WireTemplate>,
    /// Sequence number that the next message of a domain must have.
    next_sequence: HashMap<u32, u32>,
    export_time: u32,
    pub(super) records: Vec<WireRecord>,
    pub(super) messages: u64,
    pub(super) template_records: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

impl Checker {
    /// Takes the next message. `size_max` bounds it.
    pub(super) fn message(&mut self, message: &[u8], size_max: usize) {
        assert!(message.len() <= size_max, "a message of {} octets", message.len());
        // RFC 7011 section 3.1.
        assert_eq!(u16_at(message, 0), 10, "version");
        assert_eq!(usize::from(u16_at(message, 2)), message.len(), "length");
        let export_time = u32_at(message, 4);
        assert!(export_time >= self.export_time, "export time goes back");
        self.export_time = export_time;
        let (sequence, domain) = (u32_at(message, 8), u32_at(message, 12));
        let expected = *self.next_sequence.entry(domain).or_insert(0);
        assert_eq!(sequence, expected, "sequence number");
        let before = self.records.len();
        let mut at = 16;
        assert!(at < message.len(), "a message without sets");
        while at < message.len() {
            assert!(at + 4 <= message.len(), "a set header that is cut short");
            let (id, length) = (u16_at(message, at), usize::from(u16_at(message, at + 2)));
            assert!(length > 4 && at + length <= message.len(), "a set of length {length} at {at}");
            let body = &message[at + 4..at + length];
            match id {
                2 => self.definitions(domain, body, false),
                3 => self.definitions(domain, body, true),
                256.. => self.data(domain, id, body),
                // RFC 7011 section 3.3.2: 0 and 1 are not used, 4 to 255 are reserved.
                _ => panic!("set id {id}"),
            }
            at += length;
        }
        let records = (self.records.len() - before) as u32;
        self.next_sequence.insert(domain, expected.wrapping_add(records));
        self.messages += 1;
    }

    /// RFC 7011 sections 3.4.1 and 3.4.2.
    fn definitions(&mut self, domain: u32, mut body: &[u8], is_option: bool) {
        let header = if is_option { 6 } else { 4 };
        let mut count = 0;
        while body.len() >= header {
            let (id, field_count) = (u16_at(body, 0), usize::from(u16_at(body, 2)));
            let scope_count = if is_option { usize::from(u16_at(body, 4)) } else { 0 };
            assert!(id >= 256, "template id {id}");
            assert!(field_count > 0, "template {id} is withdrawn, over UDP");
            // RFC 7011 section 3.4.2.2: the scope count must not be zero.
            assert!(!is_option || (1..=field_count).contains(&scope_count), "scope count {scope_count}");
            body = &body[header..];
            let mut fields = Vec::new();
            for _ in 0..field_count {
                let (element, length) = (u16_at(body, 0), u16_at(body, 2));
                let has_enterprise = element & 0x8000 != 0;
                let enterprise = if has_enterprise { u32_at(body, 4) } else { 0 };
                assert!(element & 0x7fff != 0 && length != 0);
                assert!(length < 65_535, "the switch sends no value of variable length");
                fields.push((enterprise, element & 0x7fff, length));
                body = &body[if has_enterprise { 8 } else { 4 }..];
            }
            let template = WireTemplate { scope_count, fields };
            // RFC 7011 section 8.1: a template id is not to be used anew for another template.
            let known = self.templates.insert((domain, id), template.clone());
            assert!(known.is_none_or(|known| known == template), "template {id} has changed");
            count += 1;
        }
        assert!(count > 0, "a template set without templates");
        assert!(body.iter().all(|&byte| byte == 0), "padding that is not zero");
        self.template_records += count;
    }

    /// RFC 7011 sections 3.3.1 and 3.4.3.
    fn data(&mut self, domain: u32, id: u16, mut body: &[u8]) {
        let template = self.templates.get(&(domain, id));
        let template = template.unwrap_or_else(|| panic!("data before its template, {id}")).clone();
        let mut count = 0;
        while body.len() >= template.record_size() {
            let mut fields = Vec::new();
            for &(_, element, length) in &template.fields {
                let (value, rest) = body.split_at(usize::from(length));
                fields.push((element, value.to_vec()));
                body = rest;
            }
            self.records.push(WireRecord { template: id, is_option: template.scope_count > 0, fields });
            count += 1;
        }
        assert!(count > 0, "a data set without records");
        assert!(body.iter().all(|&byte| byte == 0), "padding that is not zero");
        assert!(body.len() < 8, "more padding than to any alignment");
    }

    /// Records of flows.
    pub(super) fn flows(&self) -> impl Iterator<Item = &WireRecord> {
        self.records.iter().filter(|record| !record.is_option)
    }

    /// Sum of an element over all flows.
    pub(super) fn sum(&self, element: u16) -> u64 {
        self.flows().map(|record| record.number(element)).sum()
    }
}
