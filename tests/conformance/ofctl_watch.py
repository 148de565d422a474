"""What `ovs-ofctl monitor` and `ovs-ofctl snoop` print while something happens at a bridge.

Each scenario is played on both switches in the same way: ovs-ofctl is started, events happen one after the other, each
only when the messages that the one before causes are there, and then all that was printed is compared, in its order.
"""

import os
import re
import socket
import struct
import subprocess
import tempfile

import lab

# Messages that a scenario waits for; a switch that does not send them is compared by what it has sent by then.
PATIENCE_S = 5

ETHERNET = "020000000002" + "020000000001"


def udp(ttl):
    """A datagram, from the Ethernet type on."""
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 46, 0, 0, ttl, 17, 0, *map(socket.inet_aton, ADDRESSES))
    total = sum(struct.unpack("!10H", header))
    checksum = 0xFFFF ^ (total + (total >> 16)) & 0xFFFF
    return "0800" + (header[:10] + struct.pack("!H", checksum) + header[12:]).hex() + "00350035001a0000" + "00" * 18


ADDRESSES = ("198.18.0.1", "198.18.0.2")
PLAIN = ETHERNET + udp(64)
OLD = ETHERNET + udp(1)
VLAN = ETHERNET + "8100600a" + udp(64)
ARP = ETHERNET + "0806" + "0001080006040001" + "020000000001c6120001" + "000000000000c6120002" + "00" * 18

# What is printed of a message begins in the first column with its name.
MESSAGE = re.compile(r"^(?:OFPT|OFPST|NXT|NXST|ONFT|ONFST|OFPRAW)_\w+", re.MULTILINE)


class Watch:
    """A scenario: its name, ovs-ofctl's arguments, commands before it, and events with the number of messages of each.

    An event is a command of ovs-ofctl, or `frame PORT BYTES`: a frame that comes in by a port.
    """

    def __init__(self, name, command, before, events, versions=None):
        self.name, self.command, self.before, self.events, self.versions = name, command, before, events, versions

    def label(self):
        """What it is called where differences are told."""
        return f"{self.command}: {self.name}"


TO_CONTROLLER = ["del-flows BR", "add-flow BR priority=9,in_port=1,cookie=0x77,actions=controller"]
FRAMES = [(f"frame 1 {PLAIN}", 1), (f"frame 1 {ARP}", 1), (f"frame 1 {VLAN}", 1)]
ACTIONS = ["del-flows BR",
           "add-flow BR priority=9,in_port=1,cookie=0x77,actions=load:7->NXM_NX_REG3[],controller(max_len=20)",
           "add-flow BR priority=9,in_port=2,actions=controller(reason=invalid_ttl),controller(reason=no_match,max_len=9)",
           "add-flow BR priority=9,in_port=3,actions=mod_vlan_vid:5,controller(userdata=01.02.03.04.05),resubmit(,1)",
           "add-flow BR table=1,cookie=5,actions=set_tunnel:0x1234,mod_nw_tos:32,controller"]
RULES = [("add-flow BR priority=5,udp,cookie=0x1,actions=output:1", 1),
         ("add-flow BR table=1,priority=6,tcp,cookie=0x2,idle_timeout=100,actions=output:2", 1),
         ("mod-flows BR udp,actions=output:3", 1),
         ("--strict mod-flows BR priority=5,udp,actions=output:3,output:1", 1),
         ("add-flow BR priority=5,udp,cookie=0x3,actions=drop", 1),
         ("del-flows BR tcp", 1), ("del-flows BR", 1)]
REMOVED = ["del-flows BR", "add-flow BR priority=7,tcp,cookie=0x9,send_flow_rem,importance=2,actions=output:1",
           "add-flow BR priority=8,udp,cookie=0xa,send_flow_rem,idle_timeout=1,actions=output:1",
           "add-flow BR priority=6,actions=output:2"]
KNOWN = ["del-flows BR", "add-flow BR priority=3,arp,cookie=0x5,actions=output:2"]
FROM_13 = ["OpenFlow13", "OpenFlow14", "OpenFlow15"]

BEFORE_13 = ["OpenFlow10", "OpenFlow11", "OpenFlow12"]
TTL = ["del-flows BR", "add-flow BR ip,actions=dec_ttl,output:2"]
TO_1 = [(f"frame 1 {PLAIN}", 1), (f"frame 2 {PLAIN}", 1), (f"frame 3 {VLAN}", 2)]

MONITORS = [
    # Packets that rules send, in each form of packet-ins, and those of packet-outs.
    Watch("packets of a rule", "monitor BR 65534", TO_CONTROLLER, FRAMES),
    Watch("packets of a rule", "monitor BR 1", TO_CONTROLLER, FRAMES),
    Watch("packets of actions", "-P standard monitor BR 65534", ACTIONS, TO_1),
    Watch("packets of actions", "-P nxt_packet_in monitor BR 65534", ACTIONS, TO_1),
    Watch("packets of actions", "-P nxt_packet_in2 monitor BR 65534", ACTIONS, TO_1),
    Watch("nobody asked", "monitor BR", TO_CONTROLLER, [(f"frame 1 {PLAIN}", 0)]),
    Watch("packet-outs", "monitor BR 65534", TO_CONTROLLER,
          [(f"packet-out BR in_port=1,packet={PLAIN},actions=controller", 1),
           (f"packet-out BR in_port=controller,packet={ARP},actions=controller", 1),
           (f"packet-out BR in_port=1,packet={PLAIN},actions=table", 1)]),
    # Misses: up to 1.2 they go to controllers, from 1.3 on only if a rule says so.
    Watch("a miss", "monitor BR 65534", ["del-flows BR"], [(f"frame 1 {PLAIN}", 1)], BEFORE_13),
    Watch("a miss", "monitor BR 65534", ["del-flows BR"], [(f"frame 1 {PLAIN}", 0)], FROM_13),
    Watch("a table-miss rule", "monitor BR 65534", ["del-flows BR", "add-flow BR priority=0,actions=controller"],
          [(f"frame 1 {PLAIN}", 1)]),
    Watch("a TTL runs out", "monitor BR 65534 invalid_ttl", TTL, [(f"frame 1 {OLD}", 1)], BEFORE_13),
    Watch("a TTL runs out", "monitor BR 65534", TTL, [(f"frame 1 {OLD}", 0)]),
    # What else a connection is told that has asked for packets.
    Watch("rules are deleted", "monitor BR 65534", REMOVED,
          [("--strict del-flows BR priority=7,tcp", 1), ("del-flows BR out_port=2", 0)]),
    Watch("rules are deleted", "monitor BR", REMOVED, [("del-flows BR", 0)]),
    Watch("ports change", "monitor BR 65534", [], [("mod-port BR 1 no-forward", 1), ("mod-port BR 1 forward", 1)]),
    # Changes of rules.
    Watch("rules change", "monitor BR watch:", KNOWN, RULES),
    Watch("rules change", "monitor BR watch:!initial,!add", KNOWN,
          [(event, 0 if event.startswith("add") else count) for event, count in RULES[:4]]),
    Watch("rules change", "monitor BR watch:!delete,!modify", KNOWN,
          [(RULES[0][0], 1), (RULES[2][0], 0), (RULES[6][0], 0)]),
    Watch("rules change", "monitor BR watch:!actions", KNOWN, RULES),
    Watch("rules change", "monitor BR watch:table=1", KNOWN, [(RULES[0][0], 0), (RULES[1][0], 1), (RULES[6][0], 1)]),
    Watch("rules change", "monitor BR watch:out_port=2", KNOWN,
          [(RULES[0][0], 0), (RULES[1][0], 1), (RULES[6][0], 1)]),
    Watch("rules change", "monitor BR watch:udp", KNOWN, [(RULES[0][0], 1), (RULES[1][0], 0), (RULES[6][0], 1)]),
    Watch("rules change", "monitor BR watch:!own watch:tcp,!initial", KNOWN, RULES),
    Watch("nonsense is asked for", "monitor BR watch:nonsense", KNOWN, []),
    Watch("both", "monitor BR 65534 watch:", KNOWN + TO_CONTROLLER[1:], [(RULES[0][0], 1), (f"frame 1 {PLAIN}", 1)]),
]


def send_frame(interface, data):
    """Sends a frame from the far side of a port."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind((interface, 0))
        sender.send(bytes.fromhex(data))


class Ofctl(lab.Daemon):
    """An ovs-ofctl that goes on until it is told to end, or ends by itself."""

    def __init__(self, directory, version, words):
        self.control = os.path.join(directory, "ofctl.ctl")
        self.directory = tempfile.mkdtemp(dir=directory)
        super().__init__(self.directory, "ofctl", ["ovs-ofctl", f"--unixctl={self.control}", "-O", version] + words)

    def text(self):
        """All that it has printed."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def is_over(self):
        """Whether it has ended by itself."""
        return self.process.poll() is not None

    def barrier(self):
        """Waits until the switch has done all that was asked of it on this connection."""
        lab.wait_for("ovs-ofctl", lambda: self.is_over() or subprocess.run(
            ["timeout", "10", "ovs-appctl", "-t", self.control, "ofctl/barrier"], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, check=False).returncode == 0)

    def wait_for(self, what, condition):
        """Waits for what it prints, not for ever; returns whether it came."""
        try:
            return lab.wait_for(what, lambda: condition(self.text()) or self.is_over(), PATIENCE_S)
        except lab.LabError:
            return False


def play(watch, directory, version, switch, side, command):
    """What ovs-ofctl prints in a scenario; `command(step)` has ovs-ofctl carry out another command."""
    target = switch.management(f"{side}0")
    for step in watch.before:
        command(step)
    ofctl = Ofctl(directory, version, [target if word == "BR" else word for word in watch.command.split()])
    with lab.stopping(ofctl):
        ofctl.barrier()
        for event, count in watch.events:
            before = len(MESSAGE.findall(ofctl.text()))
            if event.startswith("frame "):
                _, port, data = event.split()
                send_frame(f"far-{side}{port}", data)
            else:
                command(event)
            ofctl.wait_for("messages", lambda text, all=before + count: len(MESSAGE.findall(text)) >= all)
            ofctl.barrier()
        return ofctl.text()
