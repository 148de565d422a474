//! The whole switch as its users meet it: `penstockd` and `penstockctl` as they were built, real kernel interfaces,
//! real network stacks in namespaces, collectors and tools that are not ours.
//!
//! Each test has a network namespace for the switch and one for each host on it ([`lab::Lab`]), so that tests
//! run beside each other, leave nothing in the machine's own namespace, and take everything with them when
//! they end, be it by a panic. A few run at a time, for workers want cores.
//!
//! They need root (or CAP_NET_ADMIN and CAP_SYS_ADMIN), `/dev/net/tun` and the programs that `scripts/setup`
//! installs. A test that cannot run fails and says what is missing; only what a machine may rightly not have
//! (free memory for hugepages) is skipped, with a line `SKIPPED: test: why` on standard error.
//!
//! What they leave out: speed (`perf/`), and whatever the unit tests beside the code prove on their own.

mod barrier;
mod config;
mod faults;
mod forwarding;
mod ipfix;
mod kernel_ports;
mod lab;
mod lifecycle;
mod live;
mod metrics;
mod openflow;
#[path = "../../pmd/tests/common/packet_socket.rs"]
mod packet_socket;
mod peers;
mod pipeline;
mod ports;
mod rules;
mod script;
mod soak;
mod switch;
mod testpmd;
mod vlan;
mod workers;
