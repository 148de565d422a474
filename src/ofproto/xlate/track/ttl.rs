//! The TTL of an IP packet.
//!
//! A decrement is emitted as a decrement, which need not look at the TTL: [`Ttl::Blind`]. But a packet whose TTL
//! runs out there must not count for what comes after it. If something comes after it that counts, the
//! translation is done again and looks at the highest bit that is set and the zeros above it: enough to know
//! that the TTL does not run out, and all TTLs make at most eight megaflows ([`Ttl::Bounded`]). Only if something
//! reads the TTL after a decrement is it done once more, with the TTL exact ([`Ttl::Exact`]).

use super::{Stop, Tracker};
use crate::flow::Field;

/// How much of the TTL a decrement looks at. See the module.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::ofproto::xlate) enum Ttl {
    /// Nothing: the datapath finds out.
    Blind,
    /// Enough to know that it does not run out.
    Bounded,
    /// All of it.
    Exact,
}

/// How a decrement of the TTL came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ofproto::xlate) enum Decrement {
    /// The packet has none.
    NotIp,
    /// Emit [`crate::dpif::Action::DecTtl`]: the value is not known.
    Emit,
    /// It is done, on a known value.
    Done,
    /// The value is known to be 0 or 1.
    Expired,
}

impl Tracker {
    /// Takes one off the TTL; says what else is to be done.
    pub(in crate::ofproto::xlate) fn decrement_ttl(&mut self) -> Result<Decrement, Stop> {
        self.look_at(Field::EthType, u128::MAX)?;
        if !self.flow.key.is_ip() {
            return Ok(Decrement::NotIp);
        }
        if self.unknown.nw_ttl != 0 {
            return Err(Stop::Redo);
        }
        let is_looked_at = self.mask.0.nw_ttl | self.written.nw_ttl == u8::MAX && !self.ttl_is_unknown;
        // Where a part of it is written, no decrement of the datapath's would get it right.
        if self.ttl < Ttl::Exact && !is_looked_at && self.written.nw_ttl == 0 {
            return self.decrement_inexactly();
        }
        self.look_at(Field::IpTtl, 0xff)?;
        if self.flow.key.nw_ttl <= 1 {
            return Ok(Decrement::Expired);
        }
        self.flow.key.nw_ttl -= 1;
        (self.written.nw_ttl, self.pending.nw_ttl) = (u8::MAX, u8::MAX);
        Ok(Decrement::Done)
    }

    fn decrement_inexactly(&mut self) -> Result<Decrement, Stop> {
        if self.ttl == Ttl::Bounded && !self.ttl_is_unknown {
            let highest = self.flow.key.nw_ttl.checked_ilog2().filter(|&bit| bit > 0);
            let Some(bit) = highest else {
                // All bits but the lowest are zero.
                self.look_at(Field::IpTtl, 0xfe)?;
                return Ok(Decrement::Expired);
            };
            // And at the zeros above it, so that every TTL is in one megaflow only.
            self.look_at(Field::IpTtl, 0xff << bit)?;
            self.ttl_bound = 1 << bit;
        }
        if self.ttl == Ttl::Bounded && self.ttl_bound <= 1 {
            return Err(Stop::ReadTtl);
        }
        self.ttl_bound = self.ttl_bound.saturating_sub(1);
        (self.ttl_is_unknown, self.detached.nw_ttl) = (true, u8::MAX);
        self.may_have_expired = self.ttl == Ttl::Blind;
        Ok(Decrement::Emit)
    }
}
