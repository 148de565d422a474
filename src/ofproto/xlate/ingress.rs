//! What a packet meets before any rule: its port's settings, mirrors, and what becomes of fragments.

use super::{Context, Stop};
use crate::dpif::DropReason;
use crate::flow::Field;
use crate::ofproto::bridge::{FragmentPolicy, Port, StpState};

/// The address of spanning tree's own frames (IEEE 802.1D-2004 section 7.12.3), and the first of those that bridges
/// keep to themselves (IEEE 802.1Q table 8-1).
const STP_ADDRESS: u128 = 0x0180_c200_0000;
/// The bits that all addresses of that table share.
const RESERVED_BITS: u128 = 0xffff_ffff_fff0;

impl Context<'_> {
    /// Takes the packet in by its port. Returns whether rules are to see it.
    pub(super) fn enter(&mut self) -> Result<bool, Stop> {
        let bridge = self.bridge;
        let in_port = self.packet.flow().in_port;
        if let Some(port) = bridge.ports.get(&in_port) {
            if let Some(reason) = self.refusal(bridge.mirrors.is_output(in_port), port)? {
                self.reason = Some(reason);
                return Ok(false);
            }
            self.mirror(in_port, bridge.mirrors.of_source(in_port))?;
            // Rules see what a learning port gets, so that NORMAL learns, but nothing comes of it.
            self.is_muted |= port.config.stp == StpState::Learning && !self.is_reserved()?;
        }
        if bridge.config.fragments == FragmentPolicy::Drop && self.packet.read(Field::IpFrag, u128::MAX)? != 0
        {
            self.reason = Some(DropReason::Fragment);
            return Ok(false);
        }
        Ok(true)
    }

    /// Why a port does not take the packet in.
    fn refusal(&mut self, is_mirror_output: bool, port: &Port) -> Result<Option<DropReason>, Stop> {
        let flags = port.config.flags;
        if is_mirror_output {
            return Ok(Some(DropReason::MirrorOutput));
        }
        let refuses = if flags.no_receive == flags.no_receive_stp {
            flags.no_receive
        } else if self.packet.is(Field::EthDst, STP_ADDRESS, u128::MAX >> 80)? {
            flags.no_receive_stp
        } else {
            flags.no_receive
        };
        if flags.down || refuses {
            return Ok(Some(DropReason::PortNoReceive));
        }
        let is_closed =
            matches!(port.config.stp, StpState::Disabled | StpState::Blocking | StpState::Listening);
        let is_blocked = is_closed && !self.is_reserved()?;
        Ok(is_blocked.then_some(DropReason::StpBlocked))
    }

    /// Whether it is for a group address that bridges keep to themselves (IEEE 802.1Q table 8-1).
    pub(super) fn is_reserved(&mut self) -> Result<bool, Stop> {
        self.packet.is(Field::EthDst, STP_ADDRESS, RESERVED_BITS)
    }
}
