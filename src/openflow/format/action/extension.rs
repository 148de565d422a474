//! Actions of Open vSwitch with arguments of their own.

use super::super::matching::format_value;
use super::format_subfield;
use crate::flow::OfPort;
use crate::flow::format::format_hexadecimal as hexadecimal;
use crate::openflow::action::{
    Action, Bundle, Learn, LearnSource, LearnSpec, Multipath, SampleDirection, Subfield,
};
use crate::openflow::format::DEFAULT_PRIORITY;
use crate::openflow::ports::{PortNames, format_port};

pub(super) fn format_multipath(multipath: &Multipath) -> String {
    let Multipath { fields, basis, algorithm, link_max, argument, destination } = *multipath;
    format!(
        "multipath({},{basis},{},{},{argument},{})",
        fields.name(),
        algorithm.name(),
        u32::from(link_max) + 1,
        format_subfield(destination)
    )
}

pub(super) fn format_bundle(bundle: &Bundle, ports: &dyn PortNames) -> String {
    let Bundle { algorithm, fields, basis, members, destination } = bundle;
    let members: Vec<_> = members.iter().map(|&port| format_port(port, ports)).collect();
    let (name, destination) = match destination {
        Some(destination) => ("bundle_load", format!("{},", format_subfield(*destination))),
        None => ("bundle", String::new()),
    };
    let (fields, algorithm, members) = (fields.name(), algorithm.name(), members.join(","));
    format!("{name}({fields},{basis},{algorithm},ofport,{destination}members:{members})")
}

pub(super) fn format_fin_timeout(idle_s: u16, hard_s: u16) -> String {
    let mut parts = Vec::new();
    if idle_s != 0 {
        parts.push(format!("idle_timeout={idle_s}"));
    }
    if hard_s != 0 {
        parts.push(format!("hard_timeout={hard_s}"));
    }
    format!("fin_timeout({})", parts.join(","))
}

/// An [`Action::Sample`].
pub(super) fn format_sample(action: &Action, ports: &dyn PortNames) -> String {
    let Action::Sample {
        probability,
        collector_set_id,
        obs_domain_id,
        obs_point_id,
        sampling_port,
        direction,
    } = *action
    else {
        return String::new();
    };
    let port = match sampling_port {
        OfPort::NONE => String::new(),
        port => format!(",sampling_port={}", format_port(port, ports)),
    };
    let direction = match direction {
        SampleDirection::Default => "",
        SampleDirection::Ingress => ",ingress",
        SampleDirection::Egress => ",egress",
    };
    format!(
        "sample(probability={probability},collector_set_id={collector_set_id},obs_domain_id={obs_domain_id},\
         obs_point_id={obs_point_id}{port}{direction})"
    )
}

pub(super) fn format_learn(learn: &Learn, ports: &dyn PortNames) -> String {
    let mut parts = vec![format!("table={}", learn.table)];
    let numbers = [
        ("idle_timeout", learn.idle_timeout_s),
        ("hard_timeout", learn.hard_timeout_s),
        ("fin_idle_timeout", learn.fin_idle_timeout_s),
        ("fin_hard_timeout", learn.fin_hard_timeout_s),
    ];
    for (name, number) in numbers.into_iter().filter(|&(_, number)| number != 0) {
        parts.push(format!("{name}={number}"));
    }
    if learn.priority != DEFAULT_PRIORITY {
        parts.push(format!("priority={}", learn.priority));
    }
    for (name, is_set) in
        [("send_flow_rem", learn.send_flow_removed), ("delete_learned", learn.delete_learned)]
    {
        if is_set {
            parts.push(name.to_owned());
        }
    }
    if learn.cookie != 0 {
        parts.push(format!("cookie={:#x}", learn.cookie));
    }
    if learn.limit != 0 {
        parts.push(format!("limit={}", learn.limit));
    }
    if let Some(bit) = learn.result {
        parts.push(format!("result_dst={}", format_subfield(bit)));
    }
    parts.extend(learn.specs.iter().map(|spec| format_spec(spec, ports)));
    format!("learn({})", parts.join(","))
}

fn format_spec(spec: &LearnSpec, ports: &dyn PortNames) -> String {
    match *spec {
        LearnSpec::Match { source: LearnSource::Field(source), destination } if source == destination => {
            format_subfield(source)
        }
        LearnSpec::Match { source: LearnSource::Value(value), destination }
            if destination == Subfield::whole(destination.field) =>
        {
            let field = destination.field;
            let value = format_value(field, value, field.full_mask(), ports);
            format!("{}={value}", field.info().name)
        }
        LearnSpec::Match { source, destination } => {
            format!("{}={}", format_subfield(destination), format_source(source))
        }
        LearnSpec::Load { source, destination } => {
            format!("load:{}->{}", format_source(source), format_subfield(destination))
        }
        LearnSpec::Output(source) => format!("output:{}", format_subfield(source)),
    }
}

fn format_source(source: LearnSource) -> String {
    match source {
        LearnSource::Field(source) => format_subfield(source),
        LearnSource::Value(value) => hexadecimal(value),
    }
}
