"""Scenarios with ovs-testcontroller, Open vSwitch's simple controller: a learning switch, a hub, and more."""

import collections
import shutil

import lab

Scenario = collections.namedtuple("Scenario", "run missing")
HOSTS = {"h1": "198.18.0.1/24", "h2": "198.18.0.2/24", "h3": "198.18.0.3/24"}
VERSIONS = ("OpenFlow10", "OpenFlow13", "OpenFlow15")
# What it does with a packet: a rule for each flow; nothing but answering each with a packet-out; rules that flood; one
# rule for everything whose action is NORMAL.
MODES = {"learning": [], "noflow": ["--noflow"], "hub": ["--hub"], "normal": ["--normal"]}


def scenarios():
    """All of them, by name."""
    def missing():
        return None if shutil.which("ovs-testcontroller") else \
            "there is no ovs-testcontroller (Debian: openvswitch-testcontroller)"

    return {f"testcontroller/{mode}/{version}":
            Scenario(lambda place, mode=mode, version=version: _run(place, mode, version), missing)
            for mode in MODES for version in VERSIONS}


def _run(place, mode, version):
    ports = place.add_hosts(HOSTS)

    def start():
        return place.start("ovs-testcontroller", [
            "ovs-testcontroller", "--protocols", version, "--max-idle=60", f"--unixctl={place.directory}/control",
            "-vsyslog:off"] + MODES[mode] + ["ptcp:6653:127.0.0.1"])

    controller = start()
    place.start_switch(ports, version)
    for one, address in (("h1", "198.18.0.2"), ("h2", "198.18.0.3"), ("h3", "198.18.0.1")):
        place.reaches(f"{one} reaches {address}", one, address)
    flows = place.flows()
    if mode == "noflow":
        place.check("it makes no rules for hosts", not any("dl_dst" in flow for flow in flows), "\n".join(flows))
    else:
        lab.pings("h1", "198.18.0.2", count=3, wait_s=2)
        place.becomes("a rule of the controller counts packets", lambda: any(
            "n_packets=0," not in flow and "CONTROLLER" not in flow for flow in place.flows()),
            deadline_s=5, detail=lambda: "\n".join(place.flows()))
    if isinstance(place.switch, lab.OpenVSwitch):
        # What it drops for want of a controller it drops until the packets stop for that long, controller or not.
        place.switch.vsctl("set", "Open_vSwitch", ".", "other_config:max-idle=100")
    controller.stop()
    controller = start()
    place.becomes("the switch comes back to a controller that was started anew", lambda: lab.has_connection(6653))
    place.reaches("h1 reaches 198.18.0.3 then", "h1", "198.18.0.3")
    place.check("the controller runs, and complains about nothing", controller.alive() and
                not any(word in controller.tail() for word in ("error", "ERR")), controller.tail())
