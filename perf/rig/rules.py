"""Sets of rules, as ovs-ofctl and penstockd both read them, for a switch that receives on port 1 and sends to port 2."""

import math

PORT_TO_PORT = ("priority=1,in_port=1,actions=output:2",)
UDP = ("priority=1,in_port=1,udp,actions=output:2",)
PUSH_VLAN = ("priority=1,in_port=1,actions=push_vlan:0x8100,set_field:4196->vlan_vid,output:2",)
POP_VLAN = ("priority=1,in_port=1,dl_vlan=100,actions=pop_vlan,output:2",)
SET_MAC_DEC_TTL = (
    "priority=1,in_port=1,ip,actions="
    "set_field:02:00:00:00:01:01->eth_src,set_field:02:00:00:00:01:02->eth_dst,dec_ttl,output:2",
)
SET_UDP_PORT = ("priority=1,in_port=1,udp,actions=set_field:4000->udp_dst,output:2",)
SET_IP_PORT = ("priority=1,in_port=1,udp,actions=set_field:192.168.1.2->ip_dst,set_field:4000->udp_dst,output:2",)

HOP_COUNT = 16


def _reading(match, *bits):
    """A rule that reads bits of fields, each (field, first, last): `move` makes a megaflow tell them apart."""
    moves = (
        f"move:{field}[{first}..{last}]->NXM_NX_REG{register}[0..{last - first}]"
        for register, (field, first, last) in enumerate(bits)
    )
    return f"priority=1,in_port=1,udp,{match}actions={','.join(moves)},output:2"


# All bits of addresses and ports: a flow's megaflow is exact.
FIVE_TUPLE = (
    _reading("", ("NXM_OF_IP_SRC", 0, 31), ("NXM_OF_IP_DST", 0, 31), ("NXM_OF_UDP_SRC", 0, 15), ("NXM_OF_UDP_DST", 0, 15)),
)


def few_megaflows(mask_count):
    """256 megaflows over so many masks, a power of four: the lowest bits of the source address say which rule it is, and
    that rule reads others of address and port, at places of its own, so that no two rules' megaflows have the same mask."""
    side = math.isqrt(mask_count)
    # 256 / mask_count megaflows to a mask, told apart by so many bits of either field.
    bit_count = int(math.log2(256 // mask_count)) // 2
    rules = []
    for number in range(mask_count):
        address, port = (number // side) * bit_count + 6, (number % side) * bit_count + 7
        rules.append(
            _reading(
                _is_number(number, mask_count),
                ("NXM_OF_IP_SRC", address, address + bit_count - 1),
                ("NXM_OF_UDP_SRC", port, port + bit_count - 1),
            )
        )
    return tuple(rules)


def many_megaflows(mask_count):
    """A megaflow for each flow, over so many masks, a power of four: each rule reads what tells all flows apart (the source
    address, a bit of the destination), and further bits, how many is its own."""
    side = math.isqrt(mask_count)
    return tuple(
        _reading(
            _is_number(number, mask_count),
            ("NXM_OF_IP_SRC", 0, 15),
            ("NXM_OF_IP_DST", 0, number // side),
            ("NXM_OF_UDP_SRC", 0, number % side),
        )
        for number in range(mask_count)
    )


def _is_number(number, mask_count):
    return f"nw_src=0.0.0.{number}/0.0.0.{mask_count - 1},"


def router():
    """Four tables: admission by the router's own address, an access list, routes, next hops."""
    refused = ["tcp,tp_dst=22", "tcp,tp_dst=23", "udp,tp_dst=53", "udp,tp_dst=161", "udp,tp_dst=1900"]
    refused += [f"ip,nw_src=10.0.{subnet}.0/24" for subnet in range(1, 9)]
    # Half of each eighth network goes another way.
    routes = [(f"172.16.{subnet}.0/24", subnet) for subnet in range(256)]
    routes += [(f"172.16.{subnet}.128/25", subnet + 1) for subnet in range(0, 256, 8)]
    return (
        "table=0,priority=1,in_port=1,ip,dl_dst=02:00:00:00:00:02,actions=goto_table:1",
        *(f"table=1,priority=2,{match},actions=drop" for match in refused),
        "table=1,priority=1,ip,nw_dst=172.16.0.0/12,actions=goto_table:2",
        *(
            f"table=2,priority={network.partition('/')[2]},ip,nw_dst={network},"
            f"actions=dec_ttl,set_field:{1 + hop % HOP_COUNT}->reg0,goto_table:3"
            for network, hop in routes
        ),
        *(
            f"table=3,priority=1,reg0={hop},actions="
            f"set_field:02:00:00:00:01:00->eth_src,set_field:02:00:00:00:02:{hop:02x}->eth_dst,output:2"
            for hop in range(1, HOP_COUNT + 1)
        ),
    )
