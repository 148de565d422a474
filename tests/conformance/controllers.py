"""Lets controllers that others wrote run the switch, and looks at what then reaches the hosts behind it.

                 Faucet and Gauge, an application of Ryu, or ovs-testcontroller
                                        |
                    h1 ----- 1 the switch under test 2 ----- h2
                             3                       4
                             |                       |
                             h3                      h4

What is done with a controller are the scenarios of with_*.py. Each has all of this for itself, in namespaces of its own
(lab.py), and checks things by name.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import lab
import with_faucet
import with_ryu
import with_testcontroller

SCENARIOS = {name: scenario for module in (with_faucet, with_ryu, with_testcontroller)
             for name, scenario in module.scenarios().items()}
# No scenario takes that long, even on a machine that is busy.
SCENARIO_S = 300
# What is shown of a long detail; --logs leaves all.
DETAIL_LINES = 8

Check = collections.namedtuple("Check", "scenario name failure")


class Lab:
    """What a scenario has: a switch, directories, and somebody who writes down what it finds."""

    def __init__(self, arguments, directory):
        self.directory = directory
        self.switch = lab.SWITCHES[arguments.switch](directory, *[arguments.penstockd] * bool(arguments.penstockd))
        self.version = None
        self._started = [self.switch]

    def capture(self, wanted):
        """Writes down what is said in OpenFlow, if that is wanted."""
        if wanted:
            file = os.path.join(self.directory, "openflow.pcap")
            self.start("tcpdump", ["tcpdump", "-Z", "root", "-i", "lo", "-U", "-w", file, "tcp portrange 6653-6654"])
            lab.wait_for("tcpdump", lambda: os.path.exists(file))

    def add_hosts(self, hosts):
        """Hosts, each on the port of the switch that has its place: `name: address`, or more arguments of add_host."""
        for number, (name, address) in enumerate(hosts.items(), 1):
            lab.add_host(name, f"port{number}", **(address if isinstance(address, dict) else {"address": address}))
        return [f"port{number}" for number in range(1, len(hosts) + 1)]

    def start_switch(self, ports, version, controllers=(lab.CONTROLLER,)):
        """Starts the switch under test with a bridge br0 of datapath id 1 that speaks one version of OpenFlow."""
        self.version = version
        self.switch.add_bridge("br0", 1, ports, controllers, [version])

    def open_vswitch(self):
        """An Open vSwitch for what the switch under test has no part in: of two, each would make an ovs-netdev."""
        if isinstance(self.switch, lab.OpenVSwitch):
            return self.switch
        self._started.append(lab.OpenVSwitch(self.directory))
        return self._started[-1]

    def start(self, *arguments, **options):
        """A daemon that ends with the scenario; arguments are those of lab.Daemon, without the directory."""
        daemon = lab.Daemon(self.directory, *arguments, **options)
        self._started.append(daemon)
        return daemon

    def flows(self):
        """The rules of the switch, a line each."""
        return [line.strip() for line in lab.run(
            "ovs-ofctl", "-O", self.version, "dump-flows", self.switch.management("br0")).splitlines()
            if "actions=" in line]

    def check(self, name, passed, detail=""):
        """Writes down that something was as it has to be, or was not."""
        failure = None if passed else "\n        ".join(detail.splitlines()[:DETAIL_LINES]) or "it is not so"
        print(json.dumps({"name": name, "failure": failure}), flush=True)
        return passed

    def becomes(self, name, condition, deadline_s=lab.DEADLINE_S, detail=None):
        """Writes down whether something came true in time."""
        end = time.monotonic() + deadline_s
        result = condition()
        while not result and time.monotonic() < end:
            time.sleep(0.1)
            result = condition()
        return self.check(name, result, f"not in {deadline_s} s" + (f": {detail()}" if detail and not result else ""))

    def reaches(self, name, host, address):
        """Writes down whether a host gets an answer to a ping, at some time soon."""
        return self.becomes(name, lambda: lab.pings(host, address), deadline_s=15)

    def stop(self):
        """Ends all that was started; the switch last."""
        for thing in reversed(self._started):
            thing.stop()


def run_scenario(arguments):
    """Inside the namespaces: one scenario."""
    directory = lab.enter()
    place = Lab(arguments, directory)
    try:
        place.capture(arguments.capture)
        SCENARIOS[arguments.part].run(place)
        place.check("the switch still runs", place.switch.alive())
    except (lab.LabError, OSError, subprocess.SubprocessError) as error:
        place.check("all that it takes works", False, str(error))
    finally:
        place.stop()
        if arguments.logs:
            shutil.copytree(directory, os.path.join(arguments.logs, arguments.part), dirs_exist_ok=True,
                            ignore=lambda folder, names: [name for name in names if not (
                                os.path.isfile(path := os.path.join(folder, name)) or os.path.isdir(path))])
    return 0


def start_scenario(arguments, name):
    """Outside: runs a scenario to its end and returns what it checked."""
    command = [sys.executable, __file__, "--switch", arguments.switch, "--part", name]
    for option, value in (("--logs", arguments.logs), ("--penstockd", arguments.penstockd)):
        command += [option, value] if value else []
    # By that signal it ends in order, and takes its files along.
    part = subprocess.Popen(command + ["--capture"] * arguments.capture, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                            preexec_fn=lambda: lab.die_with_parent(signal.SIGTERM))
    try:
        output = part.communicate(timeout=SCENARIO_S)[0]
    except subprocess.TimeoutExpired:
        part.terminate()
        output = part.communicate()[0] + f"\nit was ended after {SCENARIO_S} s"
    lines = output.splitlines()
    checks = [Check(name, **json.loads(line)) for line in lines if line.startswith('{"name"')]
    if part.returncode != 0 or not checks:
        rest = "\n        ".join(line for line in lines if not line.startswith('{"name"'))
        checks.append(Check(name, "it ran to its end", rest[-2000:].strip() or f"code {part.returncode}"))
    return checks


def tell(arguments, checks, skipped, seconds):
    """Prints all that was checked; the exit code is 0 if nothing failed and something passed."""
    failed = [check for check in checks if check.failure is not None]
    for name, reason in skipped.items():
        print(f"SKIPPED: {name}: {reason}")
    print(f"It took {seconds:.0f} s.")
    print(f"{len(checks) - len(failed)} passed, {len(failed)} failed, {len(skipped)} scenarios skipped")
    if arguments.markdown:
        lines = ["| controller | passed | failed |", "|---|---:|---:|"]
        for name in arguments.chosen:
            own = [check for check in checks if check.scenario == name]
            bad = sum(check.failure is not None for check in own)
            lines.append(f"| {name} | skipped: {skipped[name]} | |" if name in skipped else
                         f"| {name} | {len(own) - bad} | {bad} |")
        lines += [""] + [f"- {check.scenario}: {check.name}: failed: {check.failure.splitlines()[0]}"
                         for check in failed]
        with open(arguments.markdown, "w", encoding="utf-8") as file:
            file.write(f"# Controllers with `{arguments.switch}`\n\n" + "\n".join(lines).rstrip() + "\n")
    return 1 if failed or not checks and not skipped else 0


def main():
    """Reads the command line, runs, reports."""
    parser = argparse.ArgumentParser(prog="scripts/conformance controllers", description=__doc__.splitlines()[0])
    parser.add_argument("--switch", choices=sorted(lab.SWITCHES), default="penstock", help="the switch under test")
    parser.add_argument("--penstockd", metavar="PATH", help="the penstockd to run; if not said, the newest built")
    parser.add_argument("--only", action="append", metavar="TEXT", help="only scenarios with this in their name")
    parser.add_argument("--list", action="store_true", help="name the scenarios, and run none")
    parser.add_argument("--jobs", type=int, default=2, help="scenarios that run side by side (default: 2)")
    parser.add_argument("--logs", metavar="DIRECTORY", help="leave the logs of everything there, per scenario")
    parser.add_argument("--capture", action="store_true", help="leave what was said in OpenFlow among the logs")
    parser.add_argument("--markdown", metavar="FILE", help="write a table of the results there")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        return run_scenario(arguments)
    arguments.chosen = [name for name in SCENARIOS if any(text in name for text in arguments.only or [""])]
    if arguments.list:
        print(*arguments.chosen, sep="\n")
        return 0
    for option in ("logs", "penstockd", "markdown"):
        if getattr(arguments, option):
            setattr(arguments, option, os.path.abspath(getattr(arguments, option)))
    started = time.monotonic()
    missing = {name: SCENARIOS[name].missing() for name in arguments.chosen}
    skipped = {name: reason for name, reason in missing.items() if reason}
    checks = []
    with concurrent.futures.ThreadPoolExecutor(max(1, arguments.jobs)) as pool:
        parts = [pool.submit(start_scenario, arguments, name) for name in arguments.chosen if name not in skipped]
        for part in parts:
            for check in part.result():
                checks.append(check)
                print(("passed: " if check.failure is None else "FAILED: ") + f"{check.scenario}: {check.name}" +
                      (f"\n        {check.failure}" if check.failure else ""), flush=True)
    return tell(arguments, checks, skipped, time.monotonic() - started)


if __name__ == "__main__":
    sys.exit(main())
