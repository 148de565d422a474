//! Agents without sockets.
