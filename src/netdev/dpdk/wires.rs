//! Kind `ring`: loops and wires between ports of this switch.
//!
//! A wire has two ends, each a port that names the other. It is made when the first of them is opened and lasts
//! until both are closed, so that an end may be taken out and put back. While one end is missing the other's link
//! is down; what is sent then waits in the ring until that is full. What waits for an end that is closed is freed
//! with it.

use super::super::{NetdevConfig, NetdevError};
use super::devargs::device_name;
use super::open_error;
use pmd::{Eal, Port, Ring};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// All wires that have an open end.
#[derive(Debug, Default)]
pub(super) struct Wires(Mutex<Vec<Weak<Wire>>>);

/// Two ends, and the rings between them.
#[derive(Debug)]
struct Wire {
    /// The ports' names.
    ends: [String; 2],
    /// Rings that each end receives from, one a queue.
    inbound: [Vec<Arc<Ring>>; 2],
    /// Whether each end is open. Relaxed: it orders nothing, and only the control thread uses it.
    open: [AtomicBool; 2],
}

/// An open end. Dropping it closes it.
#[derive(Debug)]
pub(super) struct WireEnd {
    wire: Arc<Wire>,
    side: usize,
}

impl WireEnd {
    /// Whether the other end is open, too.
    pub(super) fn is_linked(&self) -> bool {
        self.wire.open[1 - self.side].load(Ordering::Relaxed)
    }
}

impl Drop for WireEnd {
    fn drop(&mut self) {
        self.wire.open[self.side].store(false, Ordering::Relaxed);
    }
}

/// A port whose queues lead back into itself.
pub(super) fn open_loop(eal: &Eal, config: &NetdevConfig) -> Result<Port, NetdevError> {
    let rings = make_rings(eal, config, config.tx_queue_len)?;
    attach(eal, config, rings.clone(), rings)
}

impl Wires {
    /// A port at one end of the wire to `peer`.
    pub(super) fn open_end(
        &self,
        eal: &Eal,
        config: &NetdevConfig,
        peer: &str,
    ) -> Result<(Port, WireEnd), NetdevError> {
        let mut wires = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        wires.retain(|wire| wire.strong_count() > 0);
        let is_between = |wire: &Arc<Wire>| {
            let side = wire.ends.iter().position(|end| *end == config.name)?;
            (wire.ends[1 - side] == peer).then(|| (Arc::clone(wire), side))
        };
        let found = wires.iter().filter_map(Weak::upgrade).find_map(|wire| is_between(&wire));
        let (wire, side) = match found {
            Some(found) => found,
            None => {
                let wire = Arc::new(Wire {
                    ends: [config.name.clone(), peer.to_owned()],
                    inbound: [
                        make_rings(eal, config, config.rx_queue_len)?,
                        make_rings(eal, config, config.tx_queue_len)?,
                    ],
                    open: Default::default(),
                });
                wires.push(Arc::downgrade(&wire));
                (wire, 0)
            }
        };
        let (rx, tx) = (wire.inbound[side].clone(), wire.inbound[1 - side].clone());
        if rx.len() != usize::from(config.rx_queue_count) {
            let reason = format!("its peer {peer} has {} queues: give both ends the same", rx.len());
            return Err(open_error(config, reason));
        }
        let port = attach(eal, config, rx, tx)?;
        wire.open[side].store(true, Ordering::Relaxed);
        Ok((port, WireEnd { wire, side }))
    }
}

fn make_rings(eal: &Eal, config: &NetdevConfig, len: u16) -> Result<Vec<Arc<Ring>>, NetdevError> {
    let ring = |_| Ring::create(eal, len).map_err(|error| open_error(config, error));
    (0..config.rx_queue_count).map(ring).collect()
}

fn attach(
    eal: &Eal,
    config: &NetdevConfig,
    rx: Vec<Arc<Ring>>,
    tx: Vec<Arc<Ring>>,
) -> Result<Port, NetdevError> {
    Port::from_rings(eal, &device_name("ring"), rx, tx).map_err(|error| open_error(config, error))
}
