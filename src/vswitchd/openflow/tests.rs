//! Agents without sockets, and connections over real ones.

mod sockets;
