//! Actions compiled: a flat list of operations, settled once at install.
//!
//! Compilation decides everything that does not depend on the packet: which output is the last use of the
//! packet and so may take it instead of a copy, which `sample` actions the worker can meter by itself and in
//! which flow cache, whether anything is changed at all. The worker then runs down the list.

use crate::dpif::{Action, DropReason, ExporterId, ObservationDirection, UserspaceCookie};
use crate::flow::{DpPort, Field};

/// What the worker does for one action.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Op {
    /// Send a copy out of a port.
    OutputCopy(DpPort),
    /// Send the packet itself out of a port; nothing follows that needs it.
    Output(DpPort),
    /// The packet dies.
    Drop(DropReason),
    /// Write bits of a field.
    Set { field: Field, value: u128, mask: u128 },
    /// Add an outer tag.
    PushVlan { tpid: u16, tci: u16 },
    /// Take the outer tag off.
    PopVlan,
    /// Count the TTL down; the packet leaves the program here if it runs out.
    DecTtl { to_controller: Option<UserspaceCookie> },
    /// Count the packet in a flow cache of this worker.
    Meter { exporter: ExporterId, direction: ObservationDirection, egress: Option<DpPort> },
    /// Run other operations on a copy, by chance.
    Sample { probability: u32, ops: Box<[Op]> },
    /// Hand a copy up.
    UserspaceCopy(UserspaceCookie),
    /// Hand the packet itself up.
    Userspace(UserspaceCookie),
    /// Nothing takes the packet: it dies of [`DropReason::Rule`], unless a copy has gone its way in its stead.
    End,
}

/// A megaflow's actions, ready to run. Made by the control thread, read by one worker, freed by the control
/// thread.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Program {
    pub(super) ops: Box<[Op]>,
}

impl Program {
    /// Compiles a list of actions. `can_meter` is false in tests that look at upcalls of sampled packets.
    pub(super) fn compile(actions: &[Action], can_meter: bool) -> Program {
        let egress = sole_output(actions);
        Program { ops: compile_list(actions, egress, can_meter) }
    }

    /// What running it on a packet costs at most, in units of at most some 200 ns: a copy of a full-size packet.
    pub(super) fn cost(&self) -> u32 {
        cost(&self.ops)
    }

    /// The port, if sending the packet to one is all that the program does; else [`DpPort::NONE`].
    pub(super) fn sole_output(&self) -> DpPort {
        match *self.ops {
            [Op::Output(port)] => port,
            _ => DpPort::NONE,
        }
    }
}

fn cost(ops: &[Op]) -> u32 {
    let of_op = |op: &Op| match op {
        Op::Sample { ops, .. } => 1 + cost(ops),
        _ => 1,
    };
    // One more for the packet itself.
    ops.iter().map(of_op).fold(1, u32::saturating_add)
}

/// The port that a packet leaves by, if it is only one: what an ingress record tells as its egress interface.
fn sole_output(actions: &[Action]) -> Option<DpPort> {
    let mut outputs = actions.iter().filter_map(|action| match action {
        Action::Output(port) => Some(*port),
        _ => None,
    });
    match (outputs.next(), outputs.next()) {
        (Some(port), None) => Some(port),
        _ => None,
    }
}

fn compile_list(actions: &[Action], egress: Option<DpPort>, can_meter: bool) -> Box<[Op]> {
    // Everything after the last action that needs the packet only prepares for what never comes.
    let Some(last_use) = actions.iter().rposition(uses_packet) else { return Box::new([Op::End]) };
    let last_takes = matches!(actions[last_use], Action::Output(_) | Action::Userspace(_) | Action::Drop(_));
    let mut ops = Vec::with_capacity(last_use + 2);
    for (index, action) in actions[..=last_use].iter().enumerate() {
        let is_last = index == last_use;
        match action {
            Action::Output(port) if is_last => ops.push(Op::Output(*port)),
            Action::Output(port) => ops.push(Op::OutputCopy(*port)),
            Action::Userspace(cookie) if is_last => ops.push(Op::Userspace(*cookie)),
            Action::Userspace(cookie) => ops.push(Op::UserspaceCopy(*cookie)),
            Action::Drop(reason) => {
                // A drop is the last action by contract; what would follow is unreachable.
                ops.push(Op::Drop(*reason));
                break;
            }
            Action::Set { field, value, mask } => {
                ops.push(Op::Set { field: *field, value: *value, mask: *mask });
            }
            Action::PushVlan { tpid, tci } => ops.push(Op::PushVlan { tpid: *tpid, tci: *tci }),
            Action::PopVlan => ops.push(Op::PopVlan),
            Action::DecTtl { to_controller } => ops.push(Op::DecTtl { to_controller: *to_controller }),
            Action::Sample { probability, actions } => {
                ops.extend(compile_sample(*probability, actions, egress, can_meter));
            }
            _ => unimplemented!(),
        }
    }
    if !last_takes {
        ops.push(Op::End);
    }
    ops.into_boxed_slice()
}

/// Whether an action does something with the packet as it then is, rather than only changing it.
fn uses_packet(action: &Action) -> bool {
    match action {
        Action::Output(_) | Action::Userspace(_) | Action::Drop(_) | Action::Sample { .. } => true,
        Action::DecTtl { to_controller } => to_controller.is_some(),
        Action::Set { .. } | Action::PushVlan { .. } | Action::PopVlan => false,
        _ => unimplemented!(),
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
        let meter = Op::Meter { exporter: *exporter, direction: *direction, egress };
        return Some(match probability {
            u32::MAX => meter,
            _ => Op::Sample { probability, ops: Box::new([meter]) },
        });
    }
    let ops = compile_list(actions, None, can_meter);
    Some(Op::Sample { probability, ops })
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
        let meter = Op::Meter {
            exporter: EXPORTER,
            direction: ObservationDirection::Ingress,
            egress: Some(DpPort(9)),
        };
        assert_eq!(*Program::compile(&actions, true).ops, [meter, Op::Output(DpPort(9))]);
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
