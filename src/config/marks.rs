//! Where everything stands: a tree of line numbers in the shape of the file.
//!
//! `serde` knows values and not lines, and stops where a key stands twice. So a file is first read as a stream
//! of YAML events, which gives the line of every value and every duplicate key, and which guards the reading
//! proper: what is nested too deep never reaches a recursive reader, and anchors, which could make a short file
//! expand without bound, are not accepted at all.

use super::fault::{FaultKind, Faults, KeyPath, Step};
use saphyr_parser::{Event, Parser, ScalarStyle};
use std::collections::HashMap;

/// How deep mappings and lists can be nested. A configuration needs 7: the ids in
/// `bridges: [{ports: [{vlan: {trunk: [..]}}]}]`.
pub(super) const DEPTH_MAX: usize = 16;

/// How long a key can be. With [`DEPTH_MAX`] this bounds a path, and so a message.
const KEY_SIZE_MAX: usize = 256;

/// A value's line and those of the values inside it.
#[derive(Debug)]
pub(super) struct Marks {
    line: usize,
    children: Children,
}

#[derive(Debug)]
enum Children {
    /// A single value; whether it is written as the bare word `null`.
    Scalar {
        is_null_word: bool,
    },
    List(Vec<Marks>),
    Mapping(HashMap<String, Marks>),
}

/// A mapping or list that is still open.
struct Open {
    marks: Marks,
    /// In a mapping: the key whose value comes next, and its line.
    key: Option<(String, usize)>,
}

impl Marks {
    /// Reads the structure of `text`. Duplicate keys are reported and passed over; none is returned for what
    /// nothing more can be said about.
    pub(super) fn read(text: &str, faults: &mut Faults) -> Option<Marks> {
        let mut reader = Reader { open: Vec::new(), root: None, documents: 0 };
        for event in Parser::new_from_str(text) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let reason = error.info().to_owned();
                    faults.push(error.marker().line(), reader.path(), FaultKind::Syntax { reason });
                    return None;
                }
            };
            if let Err(kind) = reader.on_event(event, span.start.line(), faults) {
                faults.push(span.start.line(), reader.path(), kind);
                return None;
            }
        }
        Some(reader.root.unwrap_or(Marks { line: 1, children: Children::Scalar { is_null_word: false } }))
    }

    /// The line of the value at `path`; where there is none, of the innermost value around that place.
    pub(super) fn line(&self, path: &KeyPath) -> usize {
        self.innermost(path).1.line
    }

    /// Whether the value at `path` is the bare word `null`, which is YAML's way to say nothing and also the
    /// name of a kind of port.
    pub(super) fn is_null_word(&self, path: &KeyPath) -> bool {
        let (depth, marks) = self.innermost(path);
        depth == path.0.len() && matches!(marks.children, Children::Scalar { is_null_word: true })
    }

    /// The innermost value on the way along `path`, and how many steps lead to it.
    fn innermost(&self, path: &KeyPath) -> (usize, &Marks) {
        let mut marks = self;
        for (depth, step) in path.0.iter().enumerate() {
            let inner = match (&marks.children, step) {
                (Children::List(list), Step::Index(index)) => list.get(*index),
                (Children::Mapping(mapping), Step::Key(key)) => mapping.get(key),
                _ => None,
            };
            match inner {
                Some(inner) => marks = inner,
                None => return (depth, marks),
            }
        }
        (path.0.len(), marks)
    }
}

struct Reader {
    open: Vec<Open>,
    root: Option<Marks>,
    documents: usize,
}

impl Reader {
    fn on_event(&mut self, event: Event<'_>, line: usize, faults: &mut Faults) -> Result<(), FaultKind> {
        match event {
            Event::Alias(_) => Err(FaultKind::NotSupported { what: "aliases" }),
            Event::Scalar(_, _, anchor, tag) if anchor != 0 || tag.is_some() => Err(anchor_or_tag(anchor)),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag)
                if anchor != 0 || tag.is_some() =>
            {
                Err(anchor_or_tag(anchor))
            }
            Event::Scalar(text, style, ..) => self.scalar(&text, style == ScalarStyle::Plain, line, faults),
            Event::SequenceStart(..) => self.start(line, Children::List(Vec::new())),
            Event::MappingStart(..) => self.start(line, Children::Mapping(HashMap::new())),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(Open { marks, .. }) = self.open.pop() {
                    self.value(marks);
                }
                Ok(())
            }
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(FaultKind::NotSupported { what: "several documents" });
                }
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    /// A key, if one is due here; otherwise a value.
    fn scalar(
        &mut self,
        text: &str,
        is_plain: bool,
        line: usize,
        faults: &mut Faults,
    ) -> Result<(), FaultKind> {
        let Some(Open { marks: Marks { children: Children::Mapping(mapping), .. }, key: key @ None }) =
            self.open.last_mut()
        else {
            let is_null_word = is_plain && text == "null";
            self.value(Marks { line, children: Children::Scalar { is_null_word } });
            return Ok(());
        };
        if text.len() > KEY_SIZE_MAX {
            return Err(FaultKind::NotSupported { what: "keys of more than 256 bytes" });
        }
        *key = Some((text.to_owned(), line));
        if let Some(first) = mapping.get(text) {
            let first_line = first.line;
            faults.push(line, self.path(), FaultKind::DuplicateKey { first_line });
        }
        Ok(())
    }

    fn start(&mut self, line: usize, children: Children) -> Result<(), FaultKind> {
        let in_place_of_key = matches!(
            self.open.last(),
            Some(Open { marks: Marks { children: Children::Mapping(_), .. }, key: None })
        );
        if in_place_of_key {
            return Err(FaultKind::NotSupported { what: "keys that are not words" });
        }
        if self.open.len() == DEPTH_MAX {
            return Err(FaultKind::NotSupported { what: "more than 16 levels" });
        }
        self.open.push(Open { marks: Marks { line, children }, key: None });
        Ok(())
    }

    /// Puts a value where it belongs. The value of a key stands on the key's line, for that is where one looks
    /// for it; of two equal keys the first stays.
    fn value(&mut self, mut marks: Marks) {
        match self.open.last_mut() {
            None => self.root = Some(marks),
            Some(Open { marks: Marks { children: Children::Mapping(mapping), .. }, key }) => {
                if let Some((key, line)) = key.take() {
                    marks.line = line;
                    mapping.entry(key).or_insert(marks);
                }
            }
            Some(Open { marks: Marks { children: Children::List(list), .. }, .. }) => list.push(marks),
            Some(Open { marks: Marks { children: Children::Scalar { .. }, .. }, .. }) => {
                unreachable!("only lists and mappings are opened")
            }
        }
    }

    /// The path of the value that is being read.
    fn path(&self) -> KeyPath {
        let step = |open: &Open| match (&open.marks.children, &open.key) {
            (Children::List(list), _) => Some(Step::Index(list.len())),
            (_, Some((key, _))) => Some(Step::Key(key.clone())),
            _ => None,
        };
        KeyPath(self.open.iter().filter_map(step).collect())
    }
}

fn anchor_or_tag(anchor: usize) -> FaultKind {
    FaultKind::NotSupported { what: if anchor != 0 { "anchors" } else { "tags" } }
}
