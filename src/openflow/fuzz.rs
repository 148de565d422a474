//! The bodies of the fuzz targets for the syntax of flows, groups and meters, and for the wire formats; `tests` below
//! replays their committed corpora.

use super::format::{format_actions, format_flow_mod, format_group_mod, format_match, format_meter_mod};
use super::message::{Message, Version};
use super::parse::{
    parse_actions, parse_flow_mod, parse_flow_stats_request, parse_group_mod, parse_match, parse_meter_mod,
};
use super::wire::{self, WireSettings};
use super::{FlowModCommand, GroupModCommand, Match, MeterModCommand, NoNames};

/// Reads any bytes as each kind of text. What is accepted must be read back from what it is written as; a fault
/// must lie within the text and say something.
pub fn fuzz_flow_syntax(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    let check = |error: super::parse::ParseError| {
        assert!(error.offset() <= text.len(), "{error} lies past the end of {text:?}");
        assert!(!error.to_string().is_empty());
    };
    let commands = [
        FlowModCommand::Add,
        FlowModCommand::Modify,
        FlowModCommand::ModifyStrict,
        FlowModCommand::Delete,
        FlowModCommand::DeleteStrict,
    ];
    for command in commands {
        match parse_flow_mod(text, command, &NoNames) {
            Ok(flow_mod) => {
                let written = format_flow_mod(&flow_mod, &NoNames);
                assert_eq!(
                    parse_flow_mod(&written, command, &NoNames),
                    Ok(flow_mod),
                    "{text:?} as {written:?}"
                );
            }
            Err(error) => check(error),
        }
    }
    match parse_match(text, &NoNames) {
        Ok(matching) => {
            let written = format_match(&matching, &NoNames);
            assert_eq!(parse_match(&written, &NoNames), Ok(matching), "{text:?} as {written:?}");
        }
        Err(error) => check(error),
    }
    let any = Match::any();
    match parse_actions(text, &any, &NoNames) {
        Ok(actions) => {
            let written = format_actions(&actions, &NoNames);
            assert_eq!(parse_actions(&written, &any, &NoNames), Ok(actions), "{text:?} as {written:?}");
        }
        Err(error) => check(error),
    }
    if let Err(error) = parse_flow_stats_request(text, &NoNames) {
        check(error);
    }
}

/// The same for groups and meters.
pub fn fuzz_group_syntax(data: &[u8]) {
    let text = &*String::from_utf8_lossy(data);
    let check = |error: super::parse::ParseError| {
        assert!(error.offset() <= text.len(), "{error} lies past the end of {text:?}");
        assert!(!error.to_string().is_empty());
    };
    let commands = [
        GroupModCommand::Add,
        GroupModCommand::Modify,
        GroupModCommand::AddOrModify,
        GroupModCommand::Delete,
        GroupModCommand::InsertBucket(0),
        GroupModCommand::RemoveBucket(0),
    ];
    for command in commands {
        match parse_group_mod(text, command, &NoNames) {
            Ok(group_mod) => {
                let written = format_group_mod(&group_mod, &NoNames);
                let again = parse_group_mod(&written, command, &NoNames);
                assert_eq!(again, Ok(group_mod), "{text:?} as {written:?}");
            }
            Err(error) => check(error),
        }
    }
    for command in [MeterModCommand::Add, MeterModCommand::Modify, MeterModCommand::Delete] {
        match parse_meter_mod(text, command) {
            Ok(meter_mod) => {
                let written = format_meter_mod(&meter_mod);
                assert_eq!(parse_meter_mod(&written, command), Ok(meter_mod), "{text:?} as {written:?}");
            }
            Err(error) => check(error),
        }
    }
}

/// Reads any bytes as a frame: of the first byte, bit 0 says whether the connection chose NXM, bit 1 whether tables stand
/// in commands; the rest is the frame, whose length is made right. What is read can be written, as messages of no more than
/// their longest, and is read again as the same if it fits one message.
pub fn fuzz_wire(data: &[u8]) {
    let Some((&choices, frame)) = data.split_first() else { return };
    let Some(version) = frame.first().and_then(|&number| Version::from_wire(number)) else { return };
    let settings = WireSettings { version, nxm: choices & 1 != 0, table_id: choices & 2 != 0 };
    let mut frame = frame[..frame.len().min(usize::from(u16::MAX))].to_vec();
    if let Some(len) = frame.get(2..4).map(<[u8]>::len) {
        let frame_len = (frame.len() as u16).to_be_bytes();
        frame[2..2 + len].copy_from_slice(&frame_len);
    }
    let Ok(message) = wire::decode(&frame, &settings) else { return };
    let frames = wire::encode(&message, 1, &settings);
    assert!(frames.iter().all(|frame| frame.len() <= usize::from(u16::MAX)));
    // What is split is more than one message, and what does not fit a message is left out.
    let [written] = &frames[..] else { return };
    // Of a hello only the versions that we know are kept.
    if matches!(message, Message::Hello(_)) {
        return;
    }
    let again = wire::decode(written, &settings);
    assert_eq!(again.as_ref(), Ok(&message), "{settings:?}: {frame:02x?} as {written:02x?}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// The targets and their bodies.
    const TARGETS: [(&str, fn(&[u8])); 3] = [
        ("flow_syntax", fuzz_flow_syntax),
        ("group_syntax", fuzz_group_syntax),
        ("openflow_wire", fuzz_wire),
    ];

    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
        let entries = std::fs::read_dir(directory).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.iter().map(|path| std::fs::read(path).unwrap()).collect()
    }

    #[test]
    fn the_corpus_is_read_without_panic_and_read_back_the_same() {
        for (target, run) in TARGETS {
            let corpus = corpus(target);
            assert!(corpus.len() >= 24, "{target}: {}", corpus.len());
            corpus.iter().for_each(|data| run(data));
        }
    }

    /// Pieces of the corpus, cut, joined and altered: near enough to flows to get past the first check.
    #[test]
    fn altered_flows_are_read_without_panic() {
        for (target, run) in TARGETS {
            alter(&corpus(target), run);
        }
    }

    fn alter(corpus: &[Vec<u8>], run: fn(&[u8])) {
        for seed in 0..20_000 {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut data = Vec::new();
            for _ in 0..random.u8(1..4) {
                let source = &corpus[random.usize(..corpus.len())];
                let start = random.usize(..=source.len());
                let end = random.usize(start..=source.len());
                data.extend_from_slice(&source[start..end]);
            }
            for _ in 0..random.u8(..3) {
                let alphabet = b"=:,()[]./|+-*\"\\ 0x9af\xc3\xa9\0";
                let at = random.usize(..=data.len());
                data.insert(at, alphabet[random.usize(..alphabet.len())]);
            }
            let data_in_message = String::from_utf8_lossy(&data).into_owned();
            let outcome = std::panic::catch_unwind(|| run(&data));
            assert!(outcome.is_ok(), "seed {seed}: {data_in_message:?}");
        }
    }
}
