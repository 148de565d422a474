"""What is measured: sets of rules, and the numbers of flows that each is measured with."""

from dataclasses import dataclass

# `move` reads the four fields, so that a megaflow must tell all their bits apart: a flow's megaflow is exact.
FIVE_TUPLE_RULE = (
    "priority=1,in_port=1,udp,actions="
    "move:NXM_OF_IP_SRC[]->NXM_NX_REG0[],move:NXM_OF_IP_DST[]->NXM_NX_REG1[],"
    "move:NXM_OF_UDP_SRC[]->NXM_NX_REG2[0..15],move:NXM_OF_UDP_DST[]->NXM_NX_REG3[0..15],output:2"
)


@dataclass(frozen=True)
class Scenario:
    """Rules for a switch that receives on port 1 and sends to port 2."""

    name: str
    title: str
    rules: tuple
    flow_counts: tuple
    # Whether every flow has a megaflow of its own; otherwise all share one.
    is_exact: bool = False

    def megaflow_count(self, flow_count):
        """How many megaflows the traffic comes to."""
        return flow_count if self.is_exact else 1


SCENARIOS = (
    Scenario("port-to-port", "port to port, no header needed", ("priority=1,in_port=1,actions=output:2",), (1,)),
    Scenario(
        "one-megaflow",
        "one megaflow on UDP",
        ("priority=1,in_port=1,udp,actions=output:2",),
        (1_000, 100_000, 1_000_000),
    ),
    Scenario(
        "five-tuple",
        "exact 5-tuple megaflows",
        (FIVE_TUPLE_RULE,),
        (1, 1_000, 100_000, 1_000_000),
        is_exact=True,
    ),
)
