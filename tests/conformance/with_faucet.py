"""Scenarios with Faucet and with Gauge beside it: VLANs, routes between them, ACLs, a meter, and statistics of it all.

h1 and h2 are in VLAN 100, which their ports do not tag; h3 and h4 in VLAN 200, which only h4's port tags. An Open
vSwitch between that port and h4 tags for it, for not every kernel has interfaces of VLANs. Faucet answers for a gateway
in each VLAN and routes between them.
"""

import collections
import os
import re
import urllib.error
import urllib.request

import lab

Scenario = collections.namedtuple("Scenario", "run missing")
PROGRAMS = os.path.join(lab.ROOT, "target/conformance/faucet/bin")
GAUGE_PORT, FAUCET_METRICS, GAUGE_METRICS = 6654, 9302, 9303
HOSTS = {
    "h1": {"address": "198.18.1.1/24", "gateway": "198.18.1.254"},
    "h2": {"address": "198.18.1.2/24", "gateway": "198.18.1.254"},
    "h3": {"address": "198.18.2.3/24", "gateway": "198.18.2.254"},
    "h4": {"address": "198.18.2.4/24", "gateway": "198.18.2.254"},
}
FAUCET = """\
vlans:
  left: {vid: 100, faucet_vips: ["198.18.1.254/24"], faucet_mac: "0e:00:00:00:01:00"}
  right: {vid: 200, faucet_vips: ["198.18.2.254/24"], faucet_mac: "0e:00:00:00:02:00"}
routers: {between: {vlans: [left, right]}}
meters:
  wide: {meter_id: 1, entry: {flags: KBPS, bands: [{type: DROP, rate: 1000000}]}}
acls:
  guard:
    - rule: {dl_type: 0x800, nw_proto: 6, tcp_dst: 7001, actions: {allow: 0}}
    - rule: {dl_type: 0x800, nw_proto: 1, ipv4_dst: 198.18.2.4/32, actions: {allow: 0}}
    - rule: {dl_type: 0x800, nw_proto: 17, actions: {allow: 1, meter: wide}}
    - rule: {actions: {allow: 1}}
dps:
  br0:
    dp_id: 1
    hardware: %s
    interfaces:
      1: {native_vlan: left, acls_in: [guard]}
      2: {native_vlan: left}
      3: {native_vlan: right}
      4: {tagged_vlans: [right]}
"""
GAUGE = """\
faucet_configs: [%(directory)s/faucet.yaml]
dbs:
  metrics: {type: prometheus, prometheus_addr: 127.0.0.1, prometheus_port: 9303}
  ports: {type: text, file: %(directory)s/port_stats.txt}
  meters: {type: text, file: %(directory)s/meter_stats.txt}
watchers:
  ports: {dps: [br0], type: port_stats, interval: 2, db: metrics}
  states: {dps: [br0], type: port_state, interval: 2, db: metrics}
  rules: {dps: [br0], type: flow_table, interval: 2, db: metrics}
  ports_in_file: {dps: [br0], type: port_stats, interval: 2, db: ports}
  meters_in_file: {dps: [br0], type: meter_stats, interval: 2, db: meters}
"""


def scenarios():
    """All of them, by name."""
    def missing():
        return None if os.path.exists(os.path.join(PROGRAMS, "faucet")) else "Faucet can't be installed from PyPI"

    return {"faucet": Scenario(_run, missing)}


def _metrics(port):
    """What an exporter of Prometheus metrics says, a line each."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as response:
            return response.read().decode().splitlines()
    except (urllib.error.URLError, OSError):
        return []


def _metric(port, name, *labels):
    """The sum of a metric over all that have the labels; None if there is none."""
    values = [float(line.rsplit(" ", 1)[1]) for line in _metrics(port)
              if re.match(name + r"[{ ]", line) and all(label in line for label in labels)]
    return sum(values) if values else None


def _start(place, name, port):
    upper = name.upper()
    path = os.path.join(place.directory, name)
    daemon = place.start(name + "-process", [
        os.path.join(PROGRAMS, name), "--verbose", "--ryu-ofp-listen-host=127.0.0.1",
        f"--ryu-ofp-tcp-listen-port={port}", "--ryu-config-file=/dev/null"],
        {"PATH": PROGRAMS + ":" + os.environ["PATH"], f"{upper}_CONFIG": path + ".yaml", f"{upper}_LOG": path + ".log",
         f"{upper}_EXCEPTION_LOG": path + "-exceptions.log", "FAUCET_PROMETHEUS_ADDR": "127.0.0.1",
         "FAUCET_PROMETHEUS_PORT": str(FAUCET_METRICS)})
    lab.wait_for(name, lambda: daemon.alive() and lab.listens(port))
    return daemon


def _complaints(place, name):
    """What the log of Faucet or Gauge says of errors."""
    lines = []
    for file in (name + ".log", name + "-exceptions.log"):
        path = os.path.join(place.directory, file)
        if os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as log:
                lines += [line.strip() for line in log if re.search(r"OFPErrorMsg|Traceback|Error|ERROR", line)]
    # Faucet says that of itself when it sends before it has seen the switch.
    return [line for line in lines if not line.endswith("send_flow_msgs: DP not up")]


def _connects(port):
    return lab.succeeds("h1", "nc", "-z", "-w", "2", "198.18.2.3", str(port))


def _run(place, hardware="Open vSwitch"):
    for name, text in (("faucet", FAUCET % hardware), ("gauge", GAUGE % {"directory": place.directory})):
        with open(os.path.join(place.directory, name + ".yaml"), "w", encoding="utf-8") as file:
            file.write(text)
    faucet = _start(place, "faucet", 6653)
    gauge = _start(place, "gauge", GAUGE_PORT)
    ports = place.add_hosts(HOSTS)
    ports[3] = _tag(place, ports[3])
    place.start_switch(ports, "OpenFlow13", [lab.CONTROLLER, f"tcp:127.0.0.1:{GAUGE_PORT}"])
    place.becomes("Faucet has set the switch up", lambda: _metric(FAUCET_METRICS, "dp_status") == 1)
    _forwarding(place)
    _gauge(place)
    _ports(place)

    faucet.stop()
    place.check("h1 reaches h2 while Faucet is away", lab.pings("h1", "198.18.1.2", wait_s=3), "a ping got no answer")
    faucet = _start(place, "faucet", 6653)
    place.becomes("Faucet has set the switch up again", lambda: _metric(FAUCET_METRICS, "dp_status") == 1)
    place.reaches("h1 reaches h2 again", "h1", "198.18.1.2")
    place.reaches("h1 reaches h3 again", "h1", "198.18.2.3")
    for name, daemon in (("faucet", faucet), ("gauge", gauge)):
        complaints = _complaints(place, name)
        place.check(f"{name} runs, and complains about nothing", daemon.alive() and not complaints,
                    "\n".join(complaints[:5]))


def _tag(place, port):
    """Puts a bridge between a host and the switch, for whose port it tags; returns the new port for the switch."""
    lab.add_wire("trunk", "untagged")
    bridge = place.open_vswitch()
    bridge.add_bridge("tagger", 9, [port, "trunk"], [], ["OpenFlow13"], fail_mode="standalone")
    bridge.vsctl("set", "Port", port, "tag=200")
    return "untagged"


def _forwarding(place):
    for name, host, address in (
            ("h1 reaches h2 in its VLAN", "h1", "198.18.1.2"), ("h3 reaches h4, whose port tags", "h3", "198.18.2.4"),
            ("h1 reaches its gateway", "h1", "198.18.1.254"), ("h4 reaches its gateway", "h4", "198.18.2.254"),
            ("h1 reaches h3 in the other VLAN", "h1", "198.18.2.3"),
            ("h2 reaches h4 in the other VLAN", "h2", "198.18.2.4")):
        place.reaches(name, host, address)
    place.check("the ACL drops ICMP from h1 to h4", not lab.pings("h1", "198.18.2.4", count=2), "a ping passed")
    listeners = [place.start(f"listener-{port}", ["nc", "-lk", str(port)], host="h3") for port in (7000, 7001)]
    place.becomes("h1 gets a TCP connection to h3", lambda: _connects(7000), deadline_s=10)
    place.check("the ACL drops the other port", not _connects(7001), "it connected")
    place.check("its listener was there", all(one.alive() for one in listeners))
    listener = place.start("udp-listener", ["nc", "-luk", "7002"], host="h3")
    lab.in_host("h1", "sh", "-c", "echo through the meter | nc -u -w 1 198.18.2.3 7002")
    place.becomes("UDP passes through the meter", lambda: "meter" in listener.tail(), deadline_s=5)
    flows = place.flows()
    place.check("a rule that drops has counted", any(
        "tp_dst=7001" in flow and "n_packets=0," not in flow for flow in flows),
        "\n".join(flow for flow in flows if "tp_dst=7001" in flow))
    place.check("a rule of a learnt host has counted", any(
        "dl_dst" in flow and "goto" not in flow and "n_packets=0," not in flow for flow in flows),
        "\n".join(flow for flow in flows if "dl_dst" in flow and "goto" not in flow))


def _gauge(place):
    port = 'port="1"'
    place.becomes("Gauge counts packets of h1's port",
                  lambda: (_metric(GAUGE_METRICS, "of_port_rx_packets", port) or 0) > 0)
    before = _metric(GAUGE_METRICS, "of_port_rx_packets", port) or 0
    lab.run("ip", "netns", "exec", "h1", "ping", "-q", "-c", "50", "-i", "0.01", "198.18.1.2", check=False)
    place.becomes("Gauge counts 50 packets more",
                  lambda: (_metric(GAUGE_METRICS, "of_port_rx_packets", port) or 0) >= before + 50, deadline_s=15,
                  detail=lambda: f"{before}, then {_metric(GAUGE_METRICS, 'of_port_rx_packets', port)}")
    place.becomes("Gauge knows the state of h1's port",
                  lambda: _metric(GAUGE_METRICS, "of_port_state", port) is not None, detail=lambda: "\n".join(
                      line for line in _metrics(GAUGE_METRICS) if "of_port_st" in line))
    place.becomes("Gauge counts packets of rules", lambda: any(
        re.match(r"flow_packet_count\S*\{", line) and not line.endswith(" 0.0")
        for line in _metrics(GAUGE_METRICS)), deadline_s=15)
    # In files: as metrics of Prometheus, Faucet 1.10 asks for ports' statistics where it should for meters'.
    for name, what in (("port_stats", "ports"), ("meter_stats", "the meter")):
        path = os.path.join(place.directory, name + ".txt")
        place.becomes(f"Gauge writes what it counts of {what} into a file", lambda path=path: _has_counted(path),
                      deadline_s=15)


def _has_counted(path):
    """Whether a file of Gauge has a number of packets that is not 0."""
    if not os.path.exists(path):
        return False
    with open(path, encoding="utf-8") as lines:
        return any(re.search(r"packets?.in\t[1-9]|packet.in.count\t[1-9]", line) for line in lines)


def _ports(place):
    """What the switch says of a port by itself."""
    def status():
        return _metric(FAUCET_METRICS, "port_status", 'port="2"')

    place.becomes("Faucet knows that h2's port is up", lambda: status() == 1)
    lab.in_host("h2", "ip", "link", "set", "dev", "eth0", "down")
    place.becomes("Faucet hears that h2's port has gone down", lambda: status() == 0, deadline_s=10)
    lab.in_host("h2", "ip", "link", "set", "dev", "eth0", "up")
    lab.in_host("h2", "ip", "route", "replace", "default", "via", "198.18.1.254")
    place.becomes("Faucet hears that h2's port is up again", lambda: status() == 1, deadline_s=10)
    place.reaches("h1 reaches h2 after that", "h1", "198.18.1.2")
