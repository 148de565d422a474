//! Actions compiled: a flat list of operations, settled once at install.
//!
//! Compilation decides everything that does not depend on the packet: which output is the last use of the
//! packet and so may take it instead of a copy, which `sample` actions the worker can meter by itself and in
//! which flow cache, which outputs are cut short. The worker then runs down the list.
//!
//! Lists are nested (samples, clones, length checks) [`ACTION_DEPTH_MAX`](crate::dpif::ACTION_DEPTH_MAX) deep at most, so
//! that running them can't exhaust the stack; what is deeper compiles to a drop.

use crate::dpif::{
    Action, DropReason, ExporterId, MeterId, ObservationDirection, UserspaceCookie, is_nested_within_bounds,
};
use crate::flow::extract::FRAME_SIZE_MIN;
use crate::flow::{DpPort, Field};

/// What the worker does for one action.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Op {
    /// Send a copy out of a port.
    OutputCopy(DpPort),
    /// Send the packet itself out of a port; nothing follows that needs it.
    Output(DpPort),
    /// Send a copy of the first bytes out of a port.
    OutputCopyTrunc { port: DpPort, size: usize },
    /// Cut the packet itself to so many bytes and send it out of a port.
    OutputTrunc { port: DpPort, size: usize },
    /// The packet dies.
    Drop(DropReason),
    /// Write bits of both Ethernet addresses, destination first, 96 bits in all.
    SetEthernet { value: u128, mask: u128 },
    /// Write bits of a field.
    Set { field: Field, value: u128, mask: u128 },
    /// Write bits of a field that says what the headers after it are.
    Reshape { field: Field, value: u128, mask: u128 },
    /// Add an outer tag.
    PushVlan { tpid: u16, tci: u16 },
    /// Take the outer tag off.
    PopVlan,
    /// Write bits of the mark in the key that travels with the packet.
    SetMark { value: u32, mask: u32 },
    /// Add a label stack entry.
    PushMpls { eth_type: u16, lse: u32 },
    /// Take a label stack entry off.
    PopMpls { eth_type: u16 },
    /// Copy a TTL into the outermost label.
    CopyTtlOut,
    /// Copy the TTL of the outermost label into what is below.
    CopyTtlIn,
    /// Put a backbone header before the frame.
    PushPbb { itag: u32 },
    /// Take the backbone header off.
    PopPbb,
    /// Count the TTL down; the packet leaves the program here if it runs out.
    DecTtl { to_controller: Option<UserspaceCookie> },
    /// Count the packet in a flow cache of this worker.
    Observe { exporter: ExporterId, direction: ObservationDirection, egress: Option<DpPort> },
    /// Run other operations on a copy, by chance.
    Sample { probability: u32, on_copy: OnCopy },
    /// Run other operations on a copy.
    CloneCopy(OnCopy),
    /// Go on with other operations: nothing follows that needs the packet.
    Clone(Box<[Op]>),
    /// Hold the packet to a meter; it leaves the program here if it dies of it.
    Meter(MeterId),
    /// Compute the hash that travels with the packet.
    Hash { basis: u32, symmetric: bool },
    /// Go on with one list or the other.
    CheckPktLen { len: u16, greater: Box<[Op]>, less_equal: Box<[Op]> },
    /// Look the packet up again, and go on with what is found.
    Recirc(u32),
    /// Hand a copy up, of so many bytes at most.
    UserspaceCopy { cookie: UserspaceCookie, size: usize },
    /// Hand the packet itself up, of so many bytes at most.
    Userspace { cookie: UserspaceCookie, size: usize },
    /// Nothing takes the packet: it dies of [`DropReason::Rule`], unless a copy has gone its way in its stead.
    End,
}

/// Operations for a copy, and what they tell of how to make it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct OnCopy {
    pub(super) ops: Box<[Op]>,
    /// The port that the copy is sent to first; [`DpPort::NONE`] if it may go elsewhere before.
    pub(super) first_output: DpPort,
    /// Whether it is changed on the way there.
    pub(super) is_changed: bool,
}

impl OnCopy {
    fn new(ops: Box<[Op]>) -> OnCopy {
        let (mut first_output, mut is_changed) = (DpPort::NONE, false);
        for op in &ops {
            match op {
                Op::Output(port)
                | Op::OutputCopy(port)
                | Op::OutputTrunc { port, .. }
                | Op::OutputCopyTrunc { port, .. } => {
                    first_output = *port;
                    break;
                }
                // A meter remarks few packets.
                Op::SetMark { .. } | Op::Hash { .. } | Op::Observe { .. } | Op::Meter(_) => {}
                Op::Sample { .. }
                | Op::CloneCopy(_)
                | Op::Clone(_)
                | Op::CheckPktLen { .. }
                | Op::Recirc(_)
                | Op::UserspaceCopy { .. }
                | Op::Userspace { .. }
                | Op::Drop(_)
                | Op::End => break,
                // What is left changes the packet.
                _ => is_changed = true,
            }
        }
        OnCopy { ops, first_output, is_changed }
    }
}

/// Actions, ready to run. Made by the control thread, read by workers, freed by the control thread
/// ([`super::programs`]).
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Program {
    pub(super) ops: Box<[Op]>,
    /// What it was made of.
    pub(super) actions: Box<[Action]>,
    /// Whether any of it asks for more of a packet's key than the port. What does not is run on packets whose keys were never
    /// made.
    pub(super) needs_key: bool,
}

impl Program {
    /// Compiles a list of actions. `can_meter` is false in tests that look at upcalls of sampled packets.
    pub(super) fn compile(actions: &[Action], can_meter: bool) -> Program {
        let ops: Box<[Op]> = if is_nested_within_bounds(actions) {
            compile_list(actions, sole_output(actions), can_meter)
        } else {
            Box::new([Op::Drop(DropReason::TooManyActions)])
        };
        let needs_key = ops.iter().any(Op::needs_key);
        Program { ops, actions: actions.into(), needs_key }
    }

    /// The port, if sending the packet to one is all that the program does; else [`DpPort::NONE`].
    pub(super) fn sole_output(&self) -> DpPort {
        match *self.ops {
            [Op::Output(port)] => port,
            _ => DpPort::NONE,
        }
    }

    /// Whether packets may leave by it, and not all go up or die.
    pub(super) fn lets_leave(&self) -> bool {
        !matches!(*self.ops, [Op::Userspace { .. }] | [Op::Drop(_)])
    }
}

/// The port that a packet leaves by, if it is only one: what an ingress record tells as its egress interface.
fn sole_output(actions: &[Action]) -> Option<DpPort> {
    match Outputs::of(actions) {
        Outputs::One(port) => Some(port),
        Outputs::None | Outputs::Several => None,
    }
}

/// Where a list may send the packet.
#[derive(Clone, Copy, PartialEq)]
enum Outputs {
    None,
    One(DpPort),
    /// To several ports, or who knows where.
    Several,
}

impl Outputs {
    fn of(actions: &[Action]) -> Outputs {
        actions.iter().fold(Outputs::None, |before, action| match action {
            Action::Output(port) => before.and(Outputs::One(*port)),
            Action::Clone(actions) => before.and(Outputs::of(actions)),
            Action::CheckPktLen { greater, less_equal, .. } => {
                let (greater, less_equal) = (Outputs::of(greater), Outputs::of(less_equal));
                // The packet takes one of the two.
                before.and(if greater == less_equal { greater } else { Outputs::Several })
            }
            Action::Recirc(_) => Outputs::Several,
            // A sample is of a copy that nobody takes for the packet.
            _ => before,
        })
    }

    fn and(self, other: Outputs) -> Outputs {
        match (self, other) {
            (Outputs::None, one) | (one, Outputs::None) => one,
            _ => Outputs::Several,
        }
    }
}

fn compile_list(actions: &[Action], egress: Option<DpPort>, can_meter: bool) -> Box<[Op]> {
    // Everything after the last action that needs the packet only prepares for what never comes.
    let Some(last_use) = actions.iter().rposition(Action::is_visible) else { return Box::new([Op::End]) };
    let mut ops = Vec::with_capacity(last_use + 2);
    // Bytes that the next output or userspace action takes.
    let mut size = None;
    for (index, action) in actions[..=last_use].iter().enumerate() {
        let is_last = index == last_use;
        if let Action::Trunc(len) = action {
            size = Some((*len as usize).max(FRAME_SIZE_MIN));
        }
        let Some(op) = compile_one(action, is_last, &mut size, egress, can_meter) else { continue };
        let takes = op.takes_packet();
        match (ops.last_mut(), &op) {
            (Some(Op::SetEthernet { value: before, mask: all }), Op::SetEthernet { value, mask }) => {
                *before = *before & !mask | value;
                *all |= mask;
            }
            _ => ops.push(op),
        }
        if takes {
            // By contract the last action; what would follow is unreachable.
            return ops.into_boxed_slice();
        }
    }
    ops.push(Op::End);
    ops.into_boxed_slice()
}

fn compile_one(
    action: &Action,
    is_last: bool,
    size: &mut Option<usize>,
    egress: Option<DpPort>,
    can_meter: bool,
) -> Option<Op> {
    Some(match action {
        Action::Output(port) => match (size.take(), is_last) {
            (None, true) => Op::Output(*port),
            (None, false) => Op::OutputCopy(*port),
            (Some(size), true) => Op::OutputTrunc { port: *port, size },
            (Some(size), false) => Op::OutputCopyTrunc { port: *port, size },
        },
        Action::Userspace(cookie) => {
            let (cookie, size) = (*cookie, size.take().unwrap_or(usize::MAX));
            if is_last { Op::Userspace { cookie, size } } else { Op::UserspaceCopy { cookie, size } }
        }
        Action::Drop(reason) => Op::Drop(*reason),
        Action::Set { field: Field::PktMark, value, mask } => {
            Op::SetMark { value: *value as u32, mask: *mask as u32 }
        }
        Action::Set { field: field @ (Field::EthType | Field::IpProto), value, mask } => {
            Op::Reshape { field: *field, value: *value, mask: *mask }
        }
        Action::Set { field: Field::EthDst, value, mask } => {
            Op::SetEthernet { value: (value & mask) << 48, mask: mask << 48 }
        }
        Action::Set { field: Field::EthSrc, value, mask } => {
            Op::SetEthernet { value: value & mask, mask: *mask }
        }
        Action::Set { field, value, mask } => Op::Set { field: *field, value: *value, mask: *mask },
        Action::PushVlan { tpid, tci } => Op::PushVlan { tpid: *tpid, tci: *tci },
        Action::PopVlan => Op::PopVlan,
        Action::PushMpls { eth_type, lse } => Op::PushMpls { eth_type: *eth_type, lse: *lse },
        Action::PopMpls { eth_type } => Op::PopMpls { eth_type: *eth_type },
        Action::CopyTtlOut => Op::CopyTtlOut,
        Action::CopyTtlIn => Op::CopyTtlIn,
        Action::PushPbb { itag } => Op::PushPbb { itag: *itag },
        Action::PopPbb => Op::PopPbb,
        Action::DecTtl { to_controller } => Op::DecTtl { to_controller: *to_controller },
        Action::Sample { probability, actions } => {
            return compile_sample(*probability, actions, egress, can_meter);
        }
        Action::Clone(actions) => {
            if !action.is_visible() {
                return None;
            }
            let ops = compile_list(actions, sole_output(actions), can_meter);
            if is_last { Op::Clone(ops) } else { Op::CloneCopy(OnCopy::new(ops)) }
        }
        Action::Trunc(_) => return None,
        Action::Meter(id) => Op::Meter(*id),
        Action::Hash { basis, symmetric } => Op::Hash { basis: *basis, symmetric: *symmetric },
        Action::Recirc(id) => Op::Recirc(*id),
        Action::CheckPktLen { len, greater, less_equal } => Op::CheckPktLen {
            len: *len,
            greater: compile_list(greater, egress, can_meter),
            less_equal: compile_list(less_equal, egress, can_meter),
        },
    })
}

impl Op {
    /// Whether the program ends here: the packet goes where the operation sends it.
    fn takes_packet(&self) -> bool {
        matches!(
            self,
            Op::Output(_)
                | Op::OutputTrunc { .. }
                | Op::Userspace { .. }
                | Op::Drop(_)
                | Op::Clone(_)
                | Op::CheckPktLen { .. }
                | Op::Recirc(_)
        )
    }

    /// Whether it asks for more of the packet's key than the port.
    fn needs_key(&self) -> bool {
        match self {
            Op::Hash { .. }
            | Op::Observe { .. }
            | Op::Sample { .. }
            | Op::Recirc(_)
            | Op::Userspace { .. }
            | Op::UserspaceCopy { .. } => true,
            Op::CloneCopy(on_copy) => on_copy.ops.iter().any(Op::needs_key),
            Op::Clone(ops) => ops.iter().any(Op::needs_key),
            Op::CheckPktLen { greater, less_equal, .. } => {
                greater.iter().chain(less_equal).any(Op::needs_key)
            }
            Op::Output(_)
            | Op::OutputCopy(_)
            | Op::OutputTrunc { .. }
            | Op::OutputCopyTrunc { .. }
            | Op::Drop(_)
            | Op::SetMark { .. }
            | Op::Meter(_)
            | Op::End => false,
            // A TTL that has run out is told of by a key that is made then, of the packet as it is.
            change => !change.only_changes(),
        }
    }

    /// Whether all that it does is to change the packet.
    #[inline]
    pub(super) fn only_changes(&self) -> bool {
        matches!(
            self,
            Op::SetEthernet { .. }
                | Op::Set { .. }
                | Op::Reshape { .. }
                | Op::PushVlan { .. }
                | Op::PopVlan
                | Op::PushMpls { .. }
                | Op::PopMpls { .. }
                | Op::CopyTtlOut
                | Op::CopyTtlIn
                | Op::PushPbb { .. }
                | Op::PopPbb
                | Op::DecTtl { .. }
        )
    }
}

/// A `sample` becomes a metering operation where it only hands the packet to IPFIX.
fn compile_sample(
    probability: u32,
    actions: &[Action],
    packet_egress: Option<DpPort>,
    can_meter: bool,
) -> Option<Op> {
    if probability == 0 || actions.is_empty() {
        return None;
    }
    if let [Action::Userspace(UserspaceCookie::Ipfix { exporter, direction, output })] = actions
        && can_meter
    {
        let egress = match direction {
            ObservationDirection::Ingress => packet_egress,
            ObservationDirection::Egress => *output,
        };
        let observe = Op::Observe { exporter: *exporter, direction: *direction, egress };
        return Some(match probability {
            u32::MAX => observe,
            _ => Op::Sample { probability, on_copy: OnCopy::new(Box::new([observe])) },
        });
    }
    let ops = compile_list(actions, None, can_meter);
    Some(Op::Sample { probability, on_copy: OnCopy::new(ops) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORTER: ExporterId = ExporterId(3);

    fn ipfix(direction: ObservationDirection, output: Option<DpPort>) -> Action {
        let cookie = UserspaceCookie::Ipfix { exporter: EXPORTER, direction, output };
        Action::Sample { probability: u32::MAX, actions: vec![Action::Userspace(cookie)] }
    }

    #[test]
    fn only_the_last_output_takes_the_packet() {
        let actions =
            [Action::Output(DpPort(1)), Action::PopVlan, Action::Output(DpPort(2)), Action::PopVlan];
        let program = Program::compile(&actions, true);
        assert_eq!(*program.ops, [Op::OutputCopy(DpPort(1)), Op::PopVlan, Op::Output(DpPort(2))]);
    }

    #[test]
    fn a_full_sample_to_ipfix_is_metered_here_and_knows_where_the_packet_goes() {
        let actions = [ipfix(ObservationDirection::Ingress, None), Action::Output(DpPort(9))];
        let observe =
            |egress| Op::Observe { exporter: EXPORTER, direction: ObservationDirection::Ingress, egress };
        assert_eq!(*Program::compile(&actions, true).ops, [observe(Some(DpPort(9))), Op::Output(DpPort(9))]);
        let first_op = |rest: &[Action]| {
            let actions = [&[ipfix(ObservationDirection::Ingress, None)], rest].concat();
            Program::compile(&actions, true).ops[0].clone()
        };
        let out = |port| vec![Action::Output(DpPort(port))];
        let check = |greater, less_equal| [Action::CheckPktLen { len: 9, greater, less_equal }];
        assert_eq!(first_op(&[Action::Clone(out(2))]), observe(Some(DpPort(2))));
        assert_eq!(first_op(&[Action::Clone(out(2)), Action::Output(DpPort(2))]), observe(None));
        assert_eq!(first_op(&check(out(3), out(3))), observe(Some(DpPort(3))));
        assert_eq!(first_op(&check(out(3), out(4))), observe(None));
        assert_eq!(first_op(&[Action::Recirc(7)]), observe(None), "who knows where it will go");
    }

    #[test]
    fn a_cut_is_of_the_next_output_or_userspace_action_alone() {
        let cookie = UserspaceCookie::Sflow { output: None };
        let (out, up) = (Action::Output(DpPort(1)), Action::Userspace(cookie));
        let actions =
            [Action::Trunc(5), Action::PopVlan, out.clone(), up.clone(), Action::Trunc(99), up, out];
        let size = usize::MAX;
        assert_eq!(
            *Program::compile(&actions, true).ops,
            [
                Op::PopVlan,
                Op::OutputCopyTrunc { port: DpPort(1), size: 14 },
                Op::UserspaceCopy { cookie, size },
                Op::UserspaceCopy { cookie, size: 99 },
                Op::Output(DpPort(1))
            ]
        );
    }

    #[test]
    fn the_last_clone_takes_the_packet_and_one_without_effect_is_left_out() {
        let clone = |actions: &[Action]| Action::Clone(actions.to_vec());
        let out = Action::Output(DpPort(1));
        let seen = clone(std::slice::from_ref(&out));
        let program = Program::compile(&[seen.clone(), clone(&[Action::PopVlan]), seen, clone(&[])], true);
        let ops = || Box::from([Op::Output(DpPort(1))]);
        assert_eq!(*program.ops, [Op::CloneCopy(OnCopy::new(ops())), Op::Clone(ops())]);
    }

    #[test]
    fn a_copy_knows_where_it_is_sent_first_and_whether_it_is_changed_before() {
        let first = |actions: &[Action]| {
            let program =
                Program::compile(&[Action::Clone(actions.to_vec()), Action::Output(DpPort(9))], true);
            match &program.ops[0] {
                Op::CloneCopy(on_copy) => (on_copy.first_output, on_copy.is_changed),
                other => panic!("{other:?}"),
            }
        };
        let (one, two) = (Action::Output(DpPort(1)), Action::Output(DpPort(2)));
        assert_eq!(first(std::slice::from_ref(&one)), (DpPort(1), false));
        assert_eq!(first(&[two.clone(), Action::PopVlan, one.clone()]), (DpPort(2), false));
        assert_eq!(first(&[Action::Trunc(60), Action::PopVlan, one.clone(), two]), (DpPort(1), true));
        let up = Action::Userspace(UserspaceCookie::Sflow { output: None });
        assert_eq!(first(&[up, one]), (DpPort::NONE, false));
    }

    #[test]
    fn lists_are_nested_only_so_deep() {
        let nested = |depth: usize| {
            let inner = vec![Action::Output(DpPort(1))];
            (1..depth).fold(inner, |actions, _| vec![Action::Clone(actions), Action::Output(DpPort(2))])
        };
        let max = crate::dpif::ACTION_DEPTH_MAX;
        assert_ne!(*Program::compile(&nested(max), true).ops, [Op::Drop(DropReason::TooManyActions)]);
        assert_eq!(*Program::compile(&nested(max + 1), true).ops, [Op::Drop(DropReason::TooManyActions)]);
    }

    #[test]
    fn a_datapath_that_cannot_meter_hands_the_sample_up() {
        let actions = [ipfix(ObservationDirection::Ingress, None), Action::Output(DpPort(9))];
        assert!(matches!(&Program::compile(&actions, false).ops[0], Op::Sample { .. }));
    }

    #[test]
    fn only_a_program_that_is_one_output_has_a_sole_output() {
        let sole_output = |actions: &[Action]| Program::compile(actions, true).sole_output();
        assert_eq!(sole_output(&[Action::Output(DpPort(1))]), DpPort(1));
        assert_eq!(sole_output(&[Action::PopVlan, Action::Output(DpPort(1))]), DpPort::NONE);
        assert_eq!(sole_output(&[Action::Output(DpPort(1)), Action::Output(DpPort(2))]), DpPort::NONE);
        assert_eq!(sole_output(&[]), DpPort::NONE);
    }

    #[test]
    fn writes_of_ethernet_addresses_are_one() {
        let set = |field, value, mask| Action::Set { field, value, mask };
        let (dst, src, out) = (Field::EthDst, Field::EthSrc, Action::Output(DpPort(1)));
        let both = [set(src, 0xa, 0xff), set(dst, 0xb, 0xffff), set(src, 0x30, 0xf0), out.clone()];
        let merged = Op::SetEthernet { value: 0xb << 48 | 0x3a, mask: 0xffff << 48 | 0xff };
        assert_eq!(*Program::compile(&both, true).ops, [merged, Op::Output(DpPort(1))]);
        // What is sent in between is as the first had left it.
        let between = [set(src, 0xa, 0xff), out.clone(), set(src, 0xb, 0xff), out];
        assert_eq!(Program::compile(&between, true).ops.len(), 4);
    }

    #[test]
    fn nothing_to_do_is_a_drop() {
        assert_eq!(*Program::compile(&[], true).ops, [Op::End]);
        assert_eq!(*Program::compile(&[Action::PopVlan], true).ops, [Op::End]);
    }

    #[test]
    fn a_ttl_that_may_go_to_the_controller_is_counted_down_even_at_the_end() {
        let cookie = UserspaceCookie::Sflow { output: None };
        let actions = [Action::Output(DpPort(1)), Action::DecTtl { to_controller: Some(cookie) }];
        assert_eq!(Program::compile(&actions, true).ops[1], Op::DecTtl { to_controller: Some(cookie) });
    }

    #[test]
    fn a_sample_at_the_end_still_accounts_for_the_packet() {
        let program = Program::compile(&[ipfix(ObservationDirection::Ingress, None)], true);
        assert_eq!(program.ops.last(), Some(&Op::End));
    }
}
