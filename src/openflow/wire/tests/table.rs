//! The table of messages in `docs/openflow.md`: it claims for each just what is written and read here.

use super::*;
use crate::openflow::error::{EXPERIMENTER_NICIRA, EXPERIMENTER_ONF};
use std::collections::{BTreeMap, BTreeSet};

/// Who gave a message its form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Form {
    OpenFlow,
    Onf,
    Nicira,
}

/// By a message's name: forms, and the versions with them.
type Forms = BTreeMap<String, BTreeMap<Form, BTreeSet<Version>>>;

/// The name of a message: of its variant, or, of multipart messages, of what they are about.
fn name(message: &Message) -> String {
    let text = format!("{message:?}");
    let text = match message {
        Message::MultipartRequest { .. } | Message::MultipartReply { .. } => {
            text.split_once("body: ").map_or("", |(_, body)| body)
        }
        _ => &text,
    };
    let end = text.find(|char: char| !char.is_ascii_alphanumeric()).unwrap_or(text.len());
    match message {
        Message::MultipartRequest { .. } => format!("MultipartRequest::{}", &text[..end]),
        Message::MultipartReply { .. } => format!("MultipartReply::{}", &text[..end]),
        _ => text[..end].to_owned(),
    }
}

/// Whose form a frame has.
fn form(frame: &[u8], version: Version) -> Form {
    let number = |at: usize| frame[at..at + 4].iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
    let experimenter = match header::type_from_wire(frame[1], version) {
        Some(types::EXPERIMENTER) => number(8),
        Some(types::MULTIPART_REQUEST | types::MULTIPART_REPLY) if frame[8..10] == [0xff; 2] => {
            number(if version == Version::V10 { 12 } else { 16 })
        }
        _ => return Form::OpenFlow,
    };
    match experimenter {
        EXPERIMENTER_ONF => Form::Onf,
        EXPERIMENTER_NICIRA => Form::Nicira,
        other => panic!("{other:#x}: {frame:02x?}"),
    }
}

/// What is written, and read back by the test of all messages.
fn written() -> Forms {
    let mut forms = Forms::new();
    for seed in 0..40 {
        for version in Version::ALL {
            let mut random = Rng::with_seed(seed);
            let settings = random_settings(&mut random, version);
            for message in random_messages(&mut random, &settings) {
                let frame = encode(&message, 1, &settings).swap_remove(0);
                let of_form = forms.entry(name(&message)).or_default();
                of_form.entry(form(&frame, version)).or_default().insert(version);
            }
        }
    }
    forms
}

fn number(version: Version) -> String {
    format!("1.{}", version as u8 - 1)
}

/// Versions in words: `1.0 on`, `1.0 to 1.3`, `1.3`.
fn words(versions: Option<&BTreeSet<Version>>) -> String {
    let Some((first, last)) = versions.and_then(|them| Some((*them.first()?, *them.last()?))) else {
        return "-".to_owned();
    };
    let count = last as usize - first as usize + 1;
    assert_eq!(versions.map(BTreeSet::len), Some(count), "there are no gaps: {versions:?}");
    match (first, last) {
        _ if first == last => number(first),
        (_, Version::V15) => format!("{} on", number(first)),
        _ => format!("{} to {}", number(first), number(last)),
    }
}

#[test]
fn the_document_claims_what_is_written_and_read() {
    let mut written = written();
    let text = include_str!("../../../../docs/openflow.md");
    let (_, section) = text.split_once("\n## Messages\n").expect("there is a table of messages");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut faults = Vec::new();
    for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let cells: Vec<&str> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [name, standard, onf, nicira, ..] = cells[..] else { panic!("{row}") };
        let names = match name.strip_prefix("MultipartRequest::") {
            None => vec![name.to_owned()],
            Some(body) => vec![name.to_owned(), format!("MultipartReply::{body}")],
        };
        for name in names {
            let Some(forms) = written.remove(&name) else {
                faults.push(format!("{name}: it is there twice, or nobody writes it"));
                continue;
            };
            let all = [Form::OpenFlow, Form::Onf, Form::Nicira].map(|form| words(forms.get(&form)));
            if all != [standard, onf, nicira] {
                faults.push(format!("{name}: it is {all:?}, not {:?}", [standard, onf, nicira]));
            }
        }
    }
    for (name, forms) in written {
        let all = [Form::OpenFlow, Form::Onf, Form::Nicira].map(|form| words(forms.get(&form)));
        faults.push(format!("| `{name}` | {} |", all.join(" | ")));
    }
    assert!(faults.is_empty(), "docs/openflow.md:\n{}", faults.join("\n"));
}
