//! What `net_vhost` tells of the other side's queues.
//!
//! A vhost-user device has as many queues as it was made with, and the other side uses as many of them as it
//! likes. What is sent to a queue that it does not use is not taken.

use super::Port;
use super::queue::QueueId;

/// Queues of a vhost-user device at most, both ways: more changes than that cannot be waiting.
const CHANGES_MAX: usize = 512;

/// A change of what the other side does with a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueState {
    /// The queue's number, within its direction.
    pub queue: QueueId,
    /// Whether it is one of those that this side receives from; otherwise this side sends to it.
    pub is_rx: bool,
    /// Whether the other side uses it now.
    pub is_enabled: bool,
}

impl Port {
    /// The queues whose state has changed since the last call. Of any other driver's port: none.
    #[must_use]
    pub fn queue_changes(&self) -> Vec<QueueState> {
        if self.info().driver != "net_vhost" {
            return Vec::new();
        }
        let next = || {
            let mut event = dpdk_sys::rte_eth_vhost_queue_event::default();
            // SAFETY: the port is attached and net_vhost's; `event` is writable.
            let code = unsafe { dpdk_sys::rte_eth_vhost_get_queue_event(self.id().0, &raw mut event) };
            (code == 0).then_some(QueueState {
                queue: QueueId(event.queue_id),
                is_rx: event.rx,
                is_enabled: event.enable,
            })
        };
        std::iter::from_fn(next).take(CHANGES_MAX).collect()
    }
}
