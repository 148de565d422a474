"""Whether what is measured is what it is said to be: what a switch holds, and what the frames look like that it sends."""

import struct

from source import RigError
from traffic import SIZES

# A flow that is just being set up again is no fault. See switches.is_warm_over.
MEGAFLOWS_LEAST = 0.9999
# How far the mean size may be off that so many frames have: five times what chance does to that of IMIX.
SIZE_TOLERANCE = 0.2
SEEN_LEAST = 1_000


def holds(name, scenario, flow_count, held):
    """Raises unless a switch holds the megaflows and masks that the scenario is about."""
    wanted = scenario.megaflow_count(scenario.traffic.flow_count(flow_count))
    if wanted is not None and not wanted * MEGAFLOWS_LEAST <= held["megaflows"] <= wanted:
        raise RigError(f"{name} holds {held['megaflows']} megaflows, and {wanted} are what is to be measured")
    if None not in (scenario.masks, held["masks"]) and held["masks"] != scenario.masks:
        raise RigError(f"{name} holds megaflows of {held['masks']} masks, and {scenario.masks} are to be measured")


def expected(scenario):
    """What frames must look like that come out: see `fields`. A text or a number is what it must be, or how it begins; a
    set or range, what it must be one of."""
    came = {"udp_src": range(1024, 1024 + (1 << 15)), "udp_dst": range(5000, 5256), **scenario.traffic.fields()}
    fields = {**came, **scenario.changes}
    grown = 4 * ((fields["vlan"] is not None) - (came["vlan"] is not None))
    sizes = {size + grown for size in SIZES[scenario.traffic.sizes]}
    return {**fields, "size": sizes, "mean_size": scenario.traffic.mean_size() + grown}


def looks(name, sample, wanted):
    """Raises unless the frame of a sample looks as is wanted."""
    try:
        found = fields(sample.frame, sample.frame_size)
    except ValueError as error:
        raise RigError(f"{name} sends {error}: {sample.frame[:64].hex()}") from error
    for key, value in found.items():
        want = wanted[key]
        if isinstance(want, str):
            is_right = value.startswith(want)
        elif isinstance(want, (set, range)):
            is_right = value in want
        else:
            is_right = value == want
        if not is_right:
            raise RigError(f"{name} sends frames whose {key} is {value}, not {want}: {sample.frame[:64].hex()}")


def mean_size(name, start, end, wanted_mean):
    """Raises unless the frames that were seen between two samples of a queue have about the size wanted."""
    packets, size = end.seen_packets - start.seen_packets, end.seen_bytes - start.seen_bytes
    if packets >= SEEN_LEAST and abs(size / packets - wanted_mean) > SIZE_TOLERANCE * wanted_mean:
        raise RigError(f"{name} sends frames of {size / packets:.0f} bytes on average, not of {wanted_mean:.0f}")


def fields(frame, size):
    """A frame's fields. Raises ValueError if checksums or lengths are wrong."""
    vlan, at = None, 14
    (ether_type,) = struct.unpack_from("!H", frame, 12)
    if ether_type == 0x8100:
        tci, ether_type = struct.unpack_from("!HH", frame, 14)
        vlan, at = tci & 0xFFF, 18
    (_, _, length, _, _, ttl, protocol, _, source, destination) = struct.unpack_from("!BBHHHBBH4s4s", frame, at)
    udp_src, udp_dst, udp_length, udp_checksum = struct.unpack_from("!HHHH", frame, at + 20)
    if (ether_type, protocol) != (0x0800, 17) or length != size - at or udp_length != length - 20:
        raise ValueError("frames that are not UDP over IPv4, or not of their length")
    if _sum(frame[at : at + 20]) != 0xFFFF:
        raise ValueError("frames with a wrong IPv4 checksum")
    # Of longer frames the payload is not known, and there is no checksum in them.
    if udp_checksum and _sum(frame[at + 12 : at + length] + struct.pack("!HH", protocol, udp_length)) != 0xFFFF:
        raise ValueError("frames with a wrong UDP checksum")
    return {
        "eth_dst": frame[0:6].hex(":"),
        "eth_src": frame[6:12].hex(":"),
        "vlan": vlan,
        "ttl": ttl,
        "ip_src": ".".join(map(str, source)),
        "ip_dst": ".".join(map(str, destination)),
        "udp_src": udp_src,
        "udp_dst": udp_dst,
        "has_checksum": udp_checksum != 0,
        "size": size,
    }


def _sum(data):
    """The ones' complement sum of bytes, an even number of them (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total
