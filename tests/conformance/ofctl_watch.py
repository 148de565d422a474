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
PATIENCE_S = 4

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
           "add-flow BR priority=9,in_port=2,"
           "actions=controller(reason=invalid_ttl),controller(reason=no_match,max_len=9)",
           "add-flow BR priority=9,in_port=3,actions=strip_vlan,controller(userdata=01.02.03.04.05),resubmit(,1)",
           "add-flow BR table=1,cookie=5,actions=set_tunnel:0x1234,controller"]
RULES = [("add-flow BR priority=5,udp,cookie=0x1,actions=output:1", 1),
         ("add-flow BR table=1,priority=6,tcp,cookie=0x2,idle_timeout=100,actions=output:2", 1),
         ("mod-flows BR udp,actions=output:3", 1),
         ("--strict mod-flows BR priority=5,udp,actions=output:3,output:1", 1),
         ("mod-flows BR udp,actions=output:3,output:1", 0),
         ("add-flow BR priority=5,udp,cookie=0x3,actions=drop", 1),
         ("del-flows BR tcp", 1), ("del-flows BR", 1)]
REMOVED = ["del-flows BR", "add-flow BR priority=7,tcp,cookie=0x9,send_flow_rem,importance=2,actions=output:1",
           "add-flow BR priority=8,udp,cookie=0xa,send_flow_rem,idle_timeout=60,actions=output:1",
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
    # Changes of rules, with and without those of its own, of which there are none.
    Watch("rules change", "monitor BR watch:", KNOWN, RULES),
    Watch("rules change", "monitor BR watch:!own,!initial,!add", KNOWN,
          [(event, 0 if event.startswith("add") else count) for event, count in RULES[:4]]),
    Watch("rules change", "monitor BR watch:!own,!delete,!modify", KNOWN,
          [(RULES[0][0], 1), (RULES[2][0], 0), (RULES[-1][0], 0)]),
    Watch("rules change", "monitor BR watch:!own,!actions", KNOWN, RULES),
    Watch("rules change", "monitor BR watch:!own,table=1", KNOWN, [(RULES[0][0], 0), (RULES[1][0], 1), (RULES[-1][0], 1)]),
    Watch("rules change", "monitor BR watch:!own,out_port=2", KNOWN,
          [(RULES[0][0], 0), (RULES[1][0], 1), (RULES[-1][0], 1)]),
    Watch("rules change", "monitor BR watch:!own,udp", KNOWN, [(RULES[0][0], 1), (RULES[1][0], 0), (RULES[-1][0], 1)]),
    Watch("rules change", "monitor BR watch:!own watch:tcp,!initial", KNOWN, RULES),
    Watch("nonsense is asked for", "monitor BR watch:nonsense", KNOWN, []),
    Watch("both", "monitor BR 65534 watch:!own", KNOWN + TO_CONTROLLER[1:], [(RULES[0][0], 1), (f"frame 1 {PLAIN}", 1)]),
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
                switch.bring_up_to_date()
                _, port, data = event.split()
                send_frame(f"far-{side}{port}", data)
            else:
                command(event)
            ofctl.wait_for("messages", lambda text, all=before + count: len(MESSAGE.findall(text)) >= all)
            ofctl.barrier()
        return ofctl.text()


class Controller:
    """A controller that says what it is told to, and otherwise listens."""

    def __init__(self, port):
        self.listener = socket.create_server(("127.0.0.1", port))
        self.listener.settimeout(lab.DEADLINE_S)
        self.connection, self.version = None, 0

    def accept(self, version):
        """Waits for the switch and shakes hands in a version, by its number on the wire."""
        self.version = version
        while True:
            self.connection, _ = self.listener.accept()
            self.connection.settimeout(lab.DEADLINE_S)
            try:
                self.send(0)
                self.receive_until(0)
                return self.barrier()
            except (lab.LabError, OSError):
                # One that has waited for so long that the switch has given it up.
                self.close()

    def send(self, kind, xid=1):
        """Sends a message that is nothing but a header."""
        self.connection.sendall(struct.pack("!BBHI", self.version, kind, 8, xid))

    def _receive(self, size):
        data = b""
        while len(data) < size:
            more = self.connection.recv(size - len(data))
            if not more:
                raise lab.LabError("the switch has closed the controller's connection")
            data += more
        return data

    def receive_until(self, kind):
        """Reads up to a message of a type."""
        while True:
            _, got, size, _ = struct.unpack("!BBHI", self._receive(8))
            self._receive(size - 8)
            if got == kind:
                return

    def ask(self, request, reply, xid=1):
        """Sends a request and waits for its reply."""
        self.send(request, xid)
        self.receive_until(reply)

    def barrier(self):
        """Returns when all that was asked before is done."""
        self.ask(*((18, 19) if self.version == 1 else (20, 21)))

    def close(self):
        """Hangs up."""
        if self.connection:
            self.connection.close()
        self.connection = None

    def stop(self):
        """Ends it."""
        self.close()
        self.listener.close()


ECHO, CONFIG, UNKNOWN, ERROR = (2, 3), (7, 8), 99, 1
SNOOPED = ["del-flows BR", "add-flow BR priority=9,in_port=1,cookie=0x77,actions=controller",
           "add-flow BR priority=7,tcp,cookie=0x9,send_flow_rem,actions=output:1"]


def snoop(directory, version, number, switch, bridge, controller, command):
    """What `ovs-ofctl snoop` prints while a controller and a switch have something to say to each other.

    It is there when it shows an echo, and has all when it shows another.
    """
    controller.accept(number)
    for step in SNOOPED:
        command(step)
    ofctl = Ofctl(directory, version, ["snoop", switch.management(bridge).replace(".mgmt", ".snoop")])
    with lab.stopping(ofctl):

        def is_shown(xid):
            controller.ask(*ECHO, xid)
            return re.search(rf"OFPT_ECHO_REPLY.*xid={xid:#x}\)", ofctl.text())

        def wait_until_shown(xid):
            return lab.wait_for("the snooper", lambda: ofctl.is_over() or is_shown(xid))

        wait_until_shown(0x1001)
        controller.barrier()
        controller.ask(*CONFIG)
        controller.ask(UNKNOWN, ERROR)
        switch.bring_up_to_date()
        send_frame(f"far-{bridge[:3]}4", PLAIN)
        controller.receive_until(10)
        command("--strict del-flows BR priority=7,tcp")
        controller.receive_until(11)
        command("mod-port BR 1 no-forward")
        controller.receive_until(12)
        command("mod-port BR 1 forward")
        controller.receive_until(12)
        wait_until_shown(0x1002)
        text = ofctl.text()
    controller.close()
    lines = text.splitlines()
    ours = [at for at, line in enumerate(lines) if "xid=0x1001)" in line]
    lines = lines[(ours or [-1])[-1] + 1:]
    return "\n".join(line for line in lines if "OFPT_ECHO_" not in line)
