//! The words of `openflow`.

use serde::{Deserialize, Serialize};

/// Parameters of `openflow`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenFlowParams {
    /// Only this bridge's connections.
    #[serde(default)]
    pub bridge: Option<String>,
}

/// Reply to `openflow`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OpenFlowReply {
    /// Bridges, in the order of their names.
    pub bridges: Vec<OpenFlowInfo>,
}

/// The OpenFlow side of a bridge.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OpenFlowInfo {
    /// Its name.
    pub bridge: String,
    /// What it does while none of its controllers is there: `standalone` or `secure`.
    pub fail_mode: String,
    /// Whether that is so now, and it forwards as a learning switch for it.
    pub is_standalone: bool,
    /// Versions that it agrees to: `OpenFlow13`.
    pub versions: Vec<String>,
    /// Packets for controllers that were dropped because they were more than `controller_rate_limit` allows.
    pub packet_ins_limited: u64,
    /// Controllers, in the order of the configuration; then each place that is listened at, and behind it who called.
    pub connections: Vec<ConnectionInfo>,
}

/// A controller, a place that is listened at, or who called there.
#[derive(Clone, PartialEq, Default, Debug, Serialize, Deserialize)]
pub struct ConnectionInfo {
    /// Which of those.
    pub kind: ConnectionKind,
    /// As the configuration names it: `tcp:192.0.2.1:6653`, `ptcp:6653:127.0.0.1`; of who called, the place.
    pub target: String,
    /// Where who called is: `tcp:192.0.2.1:39914`, or `unix`.
    pub peer: Option<String>,
    /// How it stands.
    pub state: ConnectionState,
    /// Until the next try, in state `backoff`.
    pub next_try_s: Option<f64>,
    /// The version agreed on: `OpenFlow13`. None: not connected.
    pub version: Option<String>,
    /// The controller's role: `equal`, `master` or `slave`. None: not connected.
    pub role: Option<String>,
    /// Since a version was agreed on.
    pub connected_s: Option<f64>,
    /// Why the last try came to nothing, or the last connection ended; connected again or not.
    pub last_error: Option<String>,
    /// Connections that agreed on a version, those that last among them.
    pub connects: u64,
    /// Of a controller, tries that came to nothing and connections that ended; of a place, peers that agreed on no
    /// version.
    pub failures: u64,
    /// Messages that came in: of a controller or a place, over all its connections.
    pub messages_received: u64,
    /// Messages sent, as before.
    pub messages_sent: u64,
    /// Errors among them.
    pub errors_sent: u64,
    /// Packet-ins and other notices that were dropped because the peer did not keep up, or was to get no more packet-ins than `rate_limit` allows.
    pub notices_dropped: u64,
}

/// What a [`ConnectionInfo`] is of.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionKind {
    /// A controller that the switch calls.
    #[default]
    Controller,
    /// A place that is listened at.
    Listener,
    /// Who called there.
    Peer,
    /// The bridge's management socket, or who called there (`peer` is not none).
    Management,
}

impl ConnectionKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            ConnectionKind::Controller => "controller",
            ConnectionKind::Listener => "listener",
            ConnectionKind::Peer => "peer",
            ConnectionKind::Management => "management",
        }
    }
}

/// How a connection stands: Open vSwitch's words.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// It is being made, or no version is agreed on yet.
    Connecting,
    /// There is none; it is tried again.
    #[default]
    Backoff,
    /// It is there.
    Active,
    /// It is there, and the peer has been silent for so long that it was asked for a sign of life.
    Idle,
    /// A place is open for who calls.
    Listening,
}

impl ConnectionState {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            ConnectionState::Connecting => "connecting",
            ConnectionState::Backoff => "backoff",
            ConnectionState::Active => "active",
            ConnectionState::Idle => "idle",
            ConnectionState::Listening => "listening",
        }
    }
}
