"""Scenarios with applications that come with Ryu: its learning switches, and a router and a firewall with REST APIs."""

import collections
import json
import os
import urllib.error
import urllib.request

import lab

Scenario = collections.namedtuple("Scenario", "run missing")
PYTHON = os.path.join(lab.ROOT, "target/conformance/ryu/bin/python")
LEARNING = {"simple_switch": "OpenFlow10", "simple_switch_12": "OpenFlow12", "simple_switch_13": "OpenFlow13",
            "simple_switch_14": "OpenFlow14", "simple_switch_15": "OpenFlow15"}
REST_VERSIONS = ("OpenFlow10", "OpenFlow12", "OpenFlow13")
REST_PORT = 8080
# Ryu 4.34 takes a name from eventlet which later versions do not have. It tells an application's answer that has been
# written already from others, and these applications give no such answers.
MANAGER = "import eventlet.wsgi; eventlet.wsgi.ALREADY_HANDLED = object(); from ryu.cmd import manager; manager.main()"


def scenarios():
    """All of them, by name."""
    def missing():
        return None if os.path.exists(PYTHON) else "Ryu can't be installed from PyPI"

    found = {f"ryu/{name}": Scenario(lambda place, name=name, version=version: _learn(place, name, version), missing)
             for name, version in LEARNING.items()}
    for name, run in (("rest_router", _route), ("rest_firewall", _firewall)):
        for version in REST_VERSIONS:
            found[f"ryu/{name}/{version}"] = Scenario(
                lambda place, run=run, version=version: run(place, version), missing)
    return found


def _start(place, application):
    daemon = place.start("ryu", [
        PYTHON, "-c", MANAGER, "--verbose", "--ofp-listen-host=127.0.0.1", "--ofp-tcp-listen-port=6653",
        "--wsapi-host=127.0.0.1", f"--wsapi-port={REST_PORT}", f"ryu.app.{application}"])
    lab.wait_for("Ryu", lambda: daemon.alive() and lab.listens(6653))
    return daemon


def _no_errors(place, controller):
    """Nothing that Ryu sent was refused, and nothing that it got was too much for it."""
    with open(controller.log, encoding="utf-8", errors="replace") as log:
        bad = [line.strip() for line in log if "EventOFPErrorMsg received" in line or "Traceback" in line]
    place.check("Ryu got no error and had none", controller.alive() and not bad, "\n".join(bad[:5]))


def _learn(place, application, version):
    controller = _start(place, application)
    place.start_switch(place.add_hosts(
        {"h1": "198.18.0.1/24", "h2": "198.18.0.2/24", "h3": "198.18.0.3/24"}), version)
    for host, address in (("h1", "198.18.0.2"), ("h2", "198.18.0.3"), ("h3", "198.18.0.1")):
        place.reaches(f"{host} reaches {address}", host, address)
    lab.pings("h1", "198.18.0.2", count=3, wait_s=2)
    place.becomes("a rule for hosts counts packets", lambda: any(
        "dl_dst" in flow and "n_packets=0," not in flow for flow in place.flows()),
        deadline_s=5, detail=lambda: "\n".join(place.flows()))
    _no_errors(place, controller)


def _ask(method, path, body=None):
    """What the REST API answers; None if it does not."""
    request = urllib.request.Request(f"http://127.0.0.1:{REST_PORT}{path}", method=method,
                                     data=None if body is None else json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.read().decode()
    except (urllib.error.URLError, OSError):
        return None


def _order(place, name, method, path, body=None):
    """Writes down whether the switch did what the API was asked for: the application waits for its answers."""
    answer = _ask(method, path, body)
    place.check(name, answer is not None and "success" in answer and "failure" not in answer, f"it answered {answer}")


def _route(place, version):
    controller = _start(place, "rest_router")
    hosts = {"h1": "198.18.1.10/24", "h2": "198.18.2.10/24", "h3": "198.18.3.10/24"}
    place.start_switch(place.add_hosts(
        {name: {"address": address, "gateway": address.replace(".10/24", ".1")}
         for name, address in hosts.items()}), version)
    # A network behind h3.
    lab.in_host("h3", "ip", "address", "add", "198.19.9.1/32", "dev", "lo")
    place.becomes("the switch joins the router",
                  lambda: "0000000000000001" in (_ask("GET", "/router/0000000000000001") or ""))
    for address in hosts.values():
        address = address.replace(".10/24", ".1/24")
        _order(place, f"it takes the address {address}", "POST", "/router/0000000000000001", {"address": address})
    place.reaches("h1 reaches its gateway", "h1", "198.18.1.1")
    place.reaches("h1 reaches h2, in another network", "h1", "198.18.2.10")
    place.reaches("h3 reaches h1, in another network", "h3", "198.18.1.10")
    _order(place, "it takes a static route", "POST", "/router/0000000000000001",
           {"destination": "198.19.9.0/24", "gateway": "198.18.3.10"})
    place.reaches("h1 reaches a host along the static route", "h1", "198.19.9.1")
    _order(place, "it takes the route away", "DELETE", "/router/0000000000000001", {"route_id": "1"})
    place.becomes("h1 reaches it no more", lambda: not lab.pings("h1", "198.19.9.1"), deadline_s=15)
    place.reaches("h1 still reaches h2", "h1", "198.18.2.10")
    _no_errors(place, controller)


def _firewall(place, version):
    controller = _start(place, "rest_firewall")
    place.start_switch(place.add_hosts(
        {"h1": "198.18.0.1/24", "h2": "198.18.0.2/24", "h3": "198.18.0.3/24"}), version)
    rules = "/firewall/rules/0000000000000001"
    place.becomes("the switch joins the firewall",
                  lambda: "0000000000000001" in (_ask("GET", "/firewall/module/status") or ""))
    place.check("nothing passes before it is enabled", not lab.pings("h1", "198.18.0.2"), "a ping passed")
    _order(place, "it is enabled", "PUT", "/firewall/module/enable/0000000000000001")
    place.check("nothing passes without a rule", not lab.pings("h1", "198.18.0.2"), "a ping passed")
    for one, other in (("198.18.0.1", "198.18.0.2"), ("198.18.0.2", "198.18.0.1")):
        _order(place, f"it allows ICMP from {one} to {other}", "POST", rules,
               {"nw_src": one + "/32", "nw_dst": other + "/32", "nw_proto": "ICMP"})
    place.reaches("h1 reaches h2", "h1", "198.18.0.2")
    place.check("h1 does not reach h3", not lab.pings("h1", "198.18.0.3"), "a ping passed")
    answers = place.start("listener", ["nc", "-lk", "7000"], host="h2")
    place.check("ICMP is allowed, TCP is not", not _connects("h1", "198.18.0.2", 7000), "it connected")
    for one, other in (("198.18.0.1", "198.18.0.2"), ("198.18.0.2", "198.18.0.1")):
        _order(place, f"it allows all IPv4 from {one} to {other}", "POST", rules,
               {"nw_src": one + "/32", "nw_dst": other + "/32", "priority": "10"})
    place.becomes("h1 gets a TCP connection to h2", lambda: _connects("h1", "198.18.0.2", 7000), deadline_s=10)
    _order(place, "it denies that port", "POST", rules,
           {"nw_dst": "198.18.0.2/32", "nw_proto": "TCP", "tp_dst": "7000", "actions": "DENY", "priority": "20"})
    place.becomes("h1 gets no connection any more", lambda: not _connects("h1", "198.18.0.2", 7000), deadline_s=10)
    place.check("the listener was there", answers.alive())
    place.reaches("h1 still reaches h2", "h1", "198.18.0.2")
    place.check("the rules can be read back", '"tp_dst": 7000' in (_ask("GET", rules) or ""), str(_ask("GET", rules)))
    _order(place, "all rules are taken away", "DELETE", rules, {"rule_id": "all"})
    place.becomes("nothing passes any more", lambda: not lab.pings("h1", "198.18.0.2"), deadline_s=15)
    _no_errors(place, controller)


def _connects(host, address, port):
    return lab.succeeds(host, "nc", "-z", "-w", "2", address, str(port))
