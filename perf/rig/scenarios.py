"""What is measured: rules, traffic, what a switch must then have and send, and how far ahead of its rival ours is to be."""

from dataclasses import dataclass, field

import rules
from traffic import Traffic

# Every flow has a megaflow of its own.
EACH = "each"
CHECKED = Traffic(has_checksum=True)


@dataclass(frozen=True)
class Scenario:
    """One set of rules under one kind of traffic."""

    name: str
    title: str
    rules: tuple
    # For each number of flows the least ratio to the rival that is wanted, or none.
    targets: dict
    traffic: Traffic = Traffic()
    # How many megaflows the traffic comes to, EACH, or None where switches may differ; and how many masks they have.
    megaflows: object = 1
    masks: object = 1
    # Fields that come out otherwise than they came in. See checks.py.
    changes: dict = field(default_factory=dict)
    # Workers, and receive queues as well.
    worker_count: int = 1
    # Whom ours is compared with: the best that Open vSwitch does, or ours with one worker.
    rival: str = "ovs"

    def megaflow_count(self, flow_count):
        """How many megaflows so many flows come to; None: nobody can say."""
        return flow_count if self.megaflows == EACH else self.megaflows


@dataclass(frozen=True)
class Flatness:
    """Ours in one scenario is to run at least at such a share of its rate in another."""

    name: str
    of: str
    share: float


SCENARIOS = (
    Scenario("port-to-port", "port to port, no header needed", rules.PORT_TO_PORT, {1: 2.0}),
    Scenario("one-megaflow", "one megaflow on UDP", rules.UDP, {1_000: 2.0, 100_000: 3.0, 1_000_000: 3.0}),
    Scenario(
        "five-tuple",
        "exact 5-tuple megaflows",
        rules.FIVE_TUPLE,
        {1: None, 1_000: 2.5, 8_000: 3.5, 100_000: 5.0, 1_000_000: 4.0},
        megaflows=EACH,
    ),
    *(
        Scenario(
            f"masks-{count}",
            f"256 megaflows over {count} masks",
            rules.few_megaflows(count),
            {100_000: target},
            megaflows=256,
            masks=count,
        )
        for count, target in ((4, 4.0), (16, 2.5), (64, 2.5))
    ),
    *(
        Scenario(
            f"megaflows-{count}-masks",
            f"a megaflow for each flow, over {count} masks",
            rules.many_megaflows(count),
            {100_000: target},
            megaflows=EACH,
            masks=count,
        )
        for count, target in ((16, 8.0), (64, 20.0))
    ),
    Scenario("vlan-push", "push a VLAN tag", rules.PUSH_VLAN, {1_000: 2.0}, changes={"vlan": 100}),
    Scenario(
        "vlan-pop", "pop a VLAN tag", rules.POP_VLAN, {1_000: 2.0}, traffic=Traffic(is_tagged=True), changes={"vlan": None}
    ),
    Scenario(
        "set-mac-dec-ttl",
        "set Ethernet addresses, decrement TTL",
        rules.SET_MAC_DEC_TTL,
        {1_000: 2.0},
        changes={"eth_src": "02:00:00:00:01:01", "eth_dst": "02:00:00:00:01:02", "ttl": 63},
    ),
    Scenario(
        "set-udp-port", "set UDP port", rules.SET_UDP_PORT, {1_000: 2.5}, traffic=CHECKED, changes={"udp_dst": 4000}
    ),
    Scenario(
        "set-ip-port",
        "set IPv4 address and UDP port",
        rules.SET_IP_PORT,
        {1_000: 2.5},
        traffic=CHECKED,
        changes={"ip_dst": "192.168.1.2", "udp_dst": 4000},
    ),
    Scenario(
        "router",
        "router of four tables",
        rules.router(),
        {10_000: 4.0},
        traffic=Traffic(is_routed=True),
        megaflows=None,
        masks=None,
        changes={"eth_src": "02:00:00:00:01:00", "eth_dst": "02:00:00:00:02:", "ttl": 63},
    ),
    Scenario(
        "zipf",
        "exact 5-tuple megaflows, Zipf(1.0)",
        rules.FIVE_TUPLE,
        {1_000_000: 4.0},
        traffic=Traffic(is_zipf=True),
        megaflows=EACH,
    ),
    *(
        Scenario(f"{name}-{sizes}", f"{title}, {words}", of, {flow_count: 1.5}, traffic=Traffic(sizes=sizes))
        for sizes, words in (("imix", "IMIX"), ("1514", "1514 bytes"))
        for name, title, of, flow_count in (
            ("port-to-port", "port to port", rules.PORT_TO_PORT, 1),
            ("one-megaflow", "one megaflow on UDP", rules.UDP, 100_000),
        )
    ),
    Scenario(
        "two-workers",
        "exact 5-tuple megaflows, two workers with a queue each",
        rules.FIVE_TUPLE,
        {100_000: 1.85},
        megaflows=EACH,
        worker_count=2,
        rival="penstock-one",
    ),
)

FLATNESS = (Flatness("masks-64", "masks-4", 0.8),)
