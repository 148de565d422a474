//! What can be wrong with a configuration file, and how it is said.
//!
//! A fault is a line, a path of keys, and a [`FaultKind`] whose text names what is wrong and then what is
//! allowed. [`Faults`] gathers them, at most one for each path and line (the first says why, a second would only be
//! its echo) and at most [`FAULTS_MAX`].

use crate::openflow::OfError;
use crate::openflow::parse::ParseError;
use std::fmt;

/// Faults that are gathered from one file at most: the rest is no help to who mends the first fifty, and the
/// time to find them stays bounded.
pub const FAULTS_MAX: usize = 50;

/// Characters of a value that a message repeats at most.
const SHOWN_LEN_MAX: usize = 60;

/// A step from a value of the file to one inside it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Step {
    /// To the value of a key.
    Key(String),
    /// To an element of a list, counted from 0.
    Index(usize),
}

/// Where in the file a value stands: `bridges[0].ports[2].mtu`. Empty for the file as a whole.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct KeyPath(pub Vec<Step>);

impl KeyPath {
    /// The path of `key` in the mapping here.
    #[must_use]
    pub fn key(&self, key: &str) -> KeyPath {
        let mut steps = self.0.clone();
        steps.push(Step::Key(key.to_owned()));
        KeyPath(steps)
    }

    /// The path of an element of the list here.
    #[must_use]
    pub fn index(&self, index: usize) -> KeyPath {
        let mut steps = self.0.clone();
        steps.push(Step::Index(index));
        KeyPath(steps)
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if index == 0 => f.write_str(&shown(key))?,
                Step::Key(key) => write!(f, ".{}", shown(key))?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Text from the file as a message can carry it: without control characters, and cut to a bearable length.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN_LEN_MAX)
        .map(|c| if c.is_control() || is_format_control(c) { '\u{fffd}' } else { c })
        .collect();
    if text.chars().nth(SHOWN_LEN_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}

/// Characters that change how a terminal lays out what follows (Unicode's bidirectional controls).
fn is_format_control(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What is wrong, and what is allowed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FaultKind {
    /// A file can't be read.
    #[error("can't be read: {reason}; allowed: a regular file in UTF-8")]
    Unreadable {
        /// What the system says.
        reason: String,
    },
    /// A file is larger than is looked at.
    #[error("is too large; allowed: a file of at most {size_max} bytes")]
    TooLarge {
        /// The bound.
        size_max: usize,
    },
    /// The text is no YAML.
    #[error("not YAML: {reason}; allowed: one YAML document")]
    Syntax {
        /// What the parser says.
        reason: String,
    },
    /// The text is YAML, but with something that a configuration needs not have.
    #[error("{what} are not understood here; allowed: plain mappings, lists and values")]
    NotSupported {
        /// Anchors, tags, and so on.
        what: &'static str,
    },
    /// A key stands twice in one mapping.
    #[error("is given twice, first on line {first_line}; allowed: once")]
    DuplicateKey {
        /// Where it stands first.
        first_line: usize,
    },
    /// There is no such key.
    #[error("there is no such key; {}", .nearest.as_ref().map_or_else(|| format!("allowed: {}", .allowed.join(", ")), |near| format!("did you mean {near}?")))]
    UnknownKey {
        /// The key that is probably meant.
        nearest: Option<String>,
        /// The keys that there are.
        allowed: Vec<String>,
    },
    /// The value is not one that the key can have.
    #[error("{found} is wrong; allowed: {allowed}")]
    WrongValue {
        /// What stands there.
        found: String,
        /// What could.
        allowed: String,
    },
    /// Something that must be there is not.
    #[error("is missing; allowed: {allowed}")]
    Missing {
        /// What could stand there.
        allowed: &'static str,
    },
    /// A value that must be the only one of its kind is not.
    #[error("{value} is taken by {by}; allowed: one that is not")]
    Taken {
        /// The value.
        value: String,
        /// The path of who has it.
        by: String,
    },
    /// A key that can't stand beside another.
    #[error("can't be together with {other}; allowed: {allowed}")]
    Conflict {
        /// The other key, with its value where that matters.
        other: String,
        /// How it could be.
        allowed: &'static str,
    },
    /// There are more of something than the switch can have.
    #[error("there are {count}; allowed: {count_max} {what}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there can be.
        count_max: usize,
        /// Of what.
        what: &'static str,
    },
    /// A rule, a group or a meter is not one.
    #[error("{0}")]
    Rule(#[from] ParseError),
    /// A group or a meter is one that no switch can have.
    #[error("{0}")]
    OpenFlow(OfError),
}

/// One thing that is wrong with a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The file: the configuration, or a file of rules that it names.
    pub file: String,
    /// Line, counted from 1; 0 if it is about the file as a whole.
    pub line: usize,
    /// Where, in keys.
    pub path: KeyPath,
    /// What.
    pub kind: FaultKind,
}

/// All that is wrong with a file, the configuration's own faults first, then by line. Prints one line for each fault:
/// `file:line: key.path: what is wrong; allowed: what is allowed`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Faults {
    file: String,
    faults: Vec<Fault>,
    is_cut: bool,
}

impl Faults {
    pub(super) fn new(file: &str) -> Faults {
        Faults { file: file.to_owned(), faults: Vec::new(), is_cut: false }
    }

    /// The faults. Never empty in an `Err`.
    pub fn list(&self) -> &[Fault] {
        &self.faults
    }

    /// Whether there may be more faults than [`FAULTS_MAX`].
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Adds a fault of the configuration file.
    pub(super) fn push(&mut self, line: usize, path: KeyPath, kind: FaultKind) {
        self.push_in(&self.file.clone(), line, path, kind);
    }

    /// Adds a fault of a file that the configuration names.
    pub(super) fn push_in(&mut self, file: &str, line: usize, path: KeyPath, kind: FaultKind) {
        let is_same = |fault: &Fault| fault.path == path && fault.line == line && fault.file == file;
        let is_echo = !path.0.is_empty() && self.faults.iter().any(is_same);
        if is_echo {
            return;
        }
        if self.faults.len() == FAULTS_MAX {
            self.is_cut = true;
        } else {
            self.faults.push(Fault { file: file.to_owned(), line, path, kind });
        }
    }

    pub(super) fn sort(&mut self) {
        let own_file = self.file.clone();
        self.faults.sort_by(|a, b| {
            let key = |fault: &Fault| (fault.file != own_file, fault.file.clone(), fault.line);
            key(a).cmp(&key(b))
        });
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Fault { file, line, path, kind }) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(file)?;
            if *line > 0 {
                write!(f, ":{line}")?;
            }
            if !path.0.is_empty() {
                write!(f, ": {path}")?;
            }
            write!(f, ": {kind}")?;
        }
        if self.is_cut {
            write!(f, "\n{}: more may be wrong: only {FAULTS_MAX} faults are listed", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
