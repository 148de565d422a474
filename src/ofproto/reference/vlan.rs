//! Which VLAN a frame is in, which ports are in it, and what tag it has there.
//!
//! After the column `vlan_mode` of table `Port` in `ovs-vswitchd.conf.db(5)`, one question a function, apart from
//! [`crate::ofproto::bridge::VlanMode`]'s own answers.

use crate::ofproto::bridge::VlanMode;

/// Where a frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lies {
    pub(super) vlan: u16,
    /// Whether the tag that it came with is the customer's, and says nothing here.
    pub(super) is_tunnelled: bool,
}

/// Where a frame is that comes in by a port with this VLAN id, 0 for none; none if the port refuses it.
pub(super) fn entered(mode: &VlanMode, vid: u16) -> Option<Lies> {
    let is_tunnelled = matches!(mode, VlanMode::Dot1qTunnel { .. });
    let vlan = match mode {
        // An access port takes no tags, but for such as have a priority only.
        VlanMode::Access { tag } if vid == 0 => *tag,
        VlanMode::Access { .. } => return None,
        VlanMode::Dot1qTunnel { tag, customer } if customer.contains(vid) => *tag,
        VlanMode::Dot1qTunnel { .. } => return None,
        VlanMode::NativeTagged { tag, .. } | VlanMode::NativeUntagged { tag, .. } if vid == 0 => *tag,
        _ => vid,
    };
    is_member(mode, vlan).then_some(Lies { vlan, is_tunnelled })
}

/// Whether a port is in a VLAN. A native VLAN need not be among the trunk's.
pub(super) fn is_member(mode: &VlanMode, vlan: u16) -> bool {
    let (own, trunk) = match mode {
        VlanMode::Access { tag } | VlanMode::Dot1qTunnel { tag, .. } => (Some(*tag), None),
        VlanMode::Trunk { allowed } => (None, Some(allowed)),
        VlanMode::NativeTagged { tag, allowed } | VlanMode::NativeUntagged { tag, allowed } => {
            (Some(*tag), Some(allowed))
        }
    };
    own == Some(vlan) || trunk.is_some_and(|trunk| trunk.contains(vlan))
}

/// Whether a port serves a customer's VLAN, 0 for no tag: only tunnel ports ask.
pub(super) fn serves(mode: &VlanMode, customer_vid: u16) -> bool {
    match mode {
        VlanMode::Dot1qTunnel { customer, .. } => customer.contains(customer_vid),
        _ => true,
    }
}

/// The id in the tag that a frame of a VLAN has on a port's wire; none if it has no tag of the switch's own there.
pub(super) fn tag_on_wire(mode: &VlanMode, vlan: u16) -> Option<u16> {
    let is_untagged = match mode {
        VlanMode::Access { .. } | VlanMode::Dot1qTunnel { .. } => true,
        VlanMode::NativeUntagged { tag, .. } => *tag == vlan,
        VlanMode::Trunk { .. } | VlanMode::NativeTagged { .. } => false,
    };
    // VLAN 0 is that of frames without one.
    (!is_untagged && vlan != 0).then_some(vlan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ofproto::bridge::VlanSet;

    #[test]
    fn each_mode_takes_in_and_lets_out_what_it_is_for() {
        let allowed: VlanSet = [0, 20].into_iter().collect();
        let customer: VlanSet = [5].into_iter().collect();
        // The mode; VLANs of frames without a tag, and with 5, 10, 20; tags of frames of VLANs 0, 10 and 20 that leave.
        let cases = [
            (VlanMode::Access { tag: 10 }, [Some(10), None, None, None], [None, Some(None), None]),
            (
                VlanMode::Trunk { allowed: allowed.clone() },
                [Some(0), None, None, Some(20)],
                [Some(None), None, Some(Some(20))],
            ),
            (
                VlanMode::NativeTagged { tag: 10, allowed: allowed.clone() },
                [Some(10), None, Some(10), Some(20)],
                [Some(None), Some(Some(10)), Some(Some(20))],
            ),
            (
                VlanMode::NativeUntagged { tag: 10, allowed },
                [Some(10), None, Some(10), Some(20)],
                [Some(None), Some(None), Some(Some(20))],
            ),
            (
                VlanMode::Dot1qTunnel { tag: 10, customer },
                [None, Some(10), None, None],
                [None, Some(None), None],
            ),
        ];
        for (mode, ins, outs) in cases {
            assert_eq!([0, 5, 10, 20].map(|vid| entered(&mode, vid).map(|lies| lies.vlan)), ins, "{mode:?}");
            let out = |vlan| is_member(&mode, vlan).then(|| tag_on_wire(&mode, vlan));
            assert_eq!([0, 10, 20].map(out), outs, "{mode:?}");
            assert_eq!(serves(&mode, 7), !matches!(mode, VlanMode::Dot1qTunnel { .. }), "{mode:?}");
        }
    }
}
