"""What the source sends: kinds of frames, and which flows they belong to. The other half is in source.c."""

import functools
import itertools
import random
from array import array
from dataclasses import dataclass

# enum kind of source.c.
TAGGED, CHECKSUM, ROUTED, LISTED = 1, 2, 4, 8
# enum sizes of source.c, and how many of twelve frames have which size.
SIZES = {"64": {64: 12}, "1514": {1514: 12}, "imix": {64: 7, 590: 4, 1514: 1}}
# New flows that a switch is given to set up at a time.
FLOWS_AT_ONCE = 50_000

# The draws of flows that are not equally likely; half of LIST_LEN of source.c. They are read anew when they have been read,
# so that a flow that is among them comes back before it is forgotten, and one that is not never comes: else the rarest of
# a million would be set up again and again, and that is not what is measured here.
DRAW_COUNT = 1 << 22
DRAW_SEED = 1


@dataclass(frozen=True)
class Traffic:
    """Frames of one kind."""

    is_tagged: bool = False
    has_checksum: bool = False
    # Few flows have many destinations, and not many sources.
    is_routed: bool = False
    # How likely flows are: the one of rank n, of all, 1/n as likely as the first.
    is_zipf: bool = False
    sizes: str = "64"

    def __post_init__(self):
        # Nobody writes the payload of longer frames.
        assert not self.has_checksum or self.sizes == "64"

    def kind(self):
        """enum kind."""
        return TAGGED * self.is_tagged | CHECKSUM * self.has_checksum | ROUTED * self.is_routed | LISTED * self.is_zipf

    def size_number(self):
        """enum sizes."""
        return list(SIZES).index(self.sizes)

    def mean_size(self):
        """Of all frames, in bytes."""
        return sum(size * count for size, count in SIZES[self.sizes].items()) / 12

    def fields(self):
        """What is the same in all frames, or how it begins. See checks.py."""
        return {
            "eth_dst": "02:00:00:00:00:02",
            "eth_src": "02:00:00:00:00:01",
            "vlan": 100 if self.is_tagged else None,
            "ttl": 64,
            "ip_src": "10.0.",
            "ip_dst": "172.16.",
            "has_checksum": self.has_checksum,
        }

    def flow_count(self, flow_count):
        """How many flows come of so many that there are."""
        return len(zipf(flow_count)[1]) if self.is_zipf else flow_count

    def portions(self, flow_count):
        """From where on and how far the source is to draw while a switch sets flows up, step by step, and how many flows it
        then draws. A million at once is a test of flow set-up, and not what is measured here."""
        count_max = self.flow_count(flow_count)
        counts = [*range(FLOWS_AT_ONCE, count_max, FLOWS_AT_ONCE), count_max]
        if not self.is_zipf:
            return [(0, count, count) for count in counts]
        return [*((DRAW_COUNT, count, count) for count in counts), (0, DRAW_COUNT, count_max)]


@functools.lru_cache(maxsize=1)
def zipf(flow_count):
    """Draws, flow 0 the most likely, the next half as likely, then a third; and the flows that are among them, in an order
    that is neither theirs nor the draws': a switch is to learn them in one order and to meet them in another."""
    weights = list(itertools.accumulate(1 / rank for rank in range(1, flow_count + 1)))
    generator = random.Random(DRAW_SEED)
    draws = array("I", generator.choices(range(flow_count), cum_weights=weights, k=DRAW_COUNT))
    flows = array("I", sorted(set(draws)))
    generator.shuffle(flows)
    return draws, flows


def write_draws(path, flow_count):
    """Writes the list for the source: draws, flows, and nothing up to its length."""
    draws, flows = zipf(flow_count)
    with open(path, "wb") as file:
        draws.tofile(file)
        flows.tofile(file)
        file.truncate(2 * DRAW_COUNT * draws.itemsize)
