"""Runs os-ken's switch test suites against a switch, with an Open vSwitch as the tester, and says how it did.

                    controller: tester.py, os-ken
                      /                      \\
            target: the switch 1 ----- 1 tester: Open vSwitch
                               2 ----- 2
                               3 ----- 3

Each of the parts that run side by side has all of this for itself, in namespaces of its own (lab.py).
"""

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile
import time

import lab
import report

VERSIONS = {"of10": "OpenFlow10", "of13": "OpenFlow13", "of14": "OpenFlow14"}
PORTS = 3
# A test that sends so many packets a second keeps tester and switch each a core busy: such tests come last, alone.
HEAVY_PPS = 10_000
# No test sends for longer than this.
STALLED_S = 120


def test_files(directory, suite):
    """All files of a suite: name, seconds for which its tests send, most packets a second that they send, and tests."""
    files = []
    for folder, _, names in sorted(os.walk(os.path.join(directory, suite))):
        for name in sorted(names):
            if not name.endswith(".json"):
                continue
            path = os.path.join(folder, name)
            with open(path, encoding="utf-8") as file:
                tests = [test for test in json.load(file) if isinstance(test, dict)]
            packets = [step["ingress"]["packets"] for test in tests for step in test["tests"]
                       if isinstance(step["ingress"], dict)]
            files.append((os.path.relpath(path, directory), sum(one.get("duration_time", 30) for one in packets),
                          max((one.get("pktps", 1000) for one in packets), default=0),
                          [test["description"] for test in tests]))
    return files


def split(files):
    """Parts to run one beside the other, the longest first, as (heavy, names). A test of throughput only waits most of
    its time, so each file of such tests is a part; those that send much are heavy. Quick tests are two parts."""
    parts = [(rate >= HEAVY_PPS, [name]) for name, seconds, rate, _ in files if seconds]
    quick = [name for name, seconds, _, _ in files if not seconds]
    return parts + [(False, quick[number::2]) for number in range(2) if quick[number::2]]


def run_part(arguments):
    """Inside the namespaces: one suite's files, one after the other."""
    directory = lab.enter()
    version = VERSIONS[arguments.suite]
    tester = lab.OpenVSwitch(directory)
    # Two of them in one network namespace would both make an interface ovs-netdev.
    target = tester if arguments.switch == tester.name else lab.SWITCHES[arguments.switch](directory)
    ports = {role: [f"{role}{number}" for number in range(1, PORTS + 1)] for role in ("tester", "target")}
    if target is tester:
        for wire in zip(ports["target"], ports["tester"]):
            lab.add_wire(*wire)
    else:
        # The tester sits on the other side of its taps: frames pass as they are, where packet sockets would take the
        # kernel's word for a service tag.
        target.port_type, ports["tester"] = "tap", ports["target"]
    controller = lab.Daemon(directory, "os-ken", [
        sys.executable, os.path.join(os.path.dirname(__file__), "tester.py"), version.lower(), arguments.files,
        arguments.results, tester.control] + [tester.control] * (target is tester))
    with lab.stopping(tester, target, controller):
        lab.wait_for("os-ken", lambda: controller.alive() and lab.listens(6653))
        for role, switch, datapath_id in (("target", target, 1), ("tester", tester, 2)):
            switch.add_bridge(f"{role}0", datapath_id, ports[role], [lab.CONTROLLER], list(VERSIONS.values()))
        lab.give_packet_sockets_room(tester.pid)
        if target is not tester:
            # The same for its taps, towards the target.
            for port in ports["target"]:
                lab.run("ip", "link", "set", "dev", port, "txqueuelen", "20000")
        size, changed = -1, time.monotonic()
        while controller.process.poll() is None:
            if not (tester.alive() and target.alive()):
                break
            now = os.path.getsize(arguments.results) if os.path.exists(arguments.results) else -1
            if now != size:
                size, changed = now, time.monotonic()
            if time.monotonic() - changed > STALLED_S:
                raise lab.LabError(f"no test has ended for {STALLED_S} s\n{controller.tail()}")
            time.sleep(0.2)
        if controller.process.returncode != 0:
            raise lab.LabError(f"os-ken's tester ended with {controller.process.returncode}\n{controller.tail()}")


def start_part(switch, suite, names, scratch):
    """Outside: runs a part to its end and returns its results."""
    _, files = tempfile.mkstemp(dir=scratch)
    results = files + ".results"
    with open(files, "w", encoding="utf-8") as file:
        file.writelines(name + "\n" for name in names)
    subprocess.run([sys.executable, __file__, "--switch", switch, "--part", suite, files, results], check=False,
                   stdin=subprocess.DEVNULL)
    if not os.path.exists(results):
        return []
    with open(results, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def run_suites(arguments):
    """All suites in parts, some at a time: the results of all tests."""
    directory = next(os.path.join(path, "os_ken/tests/switch") for path in sys.path
                     if os.path.isdir(os.path.join(path, "os_ken/tests/switch")))
    chosen = {suite: [file for file in test_files(directory, suite)
                      if any(pattern in file[0] for pattern in arguments.only or [""])]
              for suite in arguments.suite or sorted(VERSIONS)}
    results = {}
    with tempfile.TemporaryDirectory(prefix="penstock-conformance.") as scratch, \
            concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        parts = [(heavy, suite, names) for suite, files in chosen.items() for heavy, names in split(files)]
        light = [pool.submit(start_part, arguments.switch, suite, names, scratch)
                 for heavy, suite, names in parts if not heavy]
        told = [result for part in light for result in part.result()]
        told += [result for heavy, suite, names in parts if heavy
                 for result in start_part(arguments.switch, suite, names, scratch)]
        for result in told:
            results.setdefault(result["file"], []).append(result)
    return [result for files in chosen.values() for result in report.complete(files, results)]


def main():
    """Reads the command line, runs, reports."""
    parser = argparse.ArgumentParser(prog="scripts/conformance", description=__doc__.splitlines()[0])
    parser.add_argument("--switch", choices=sorted(lab.SWITCHES), default="penstock", help="the switch under test")
    parser.add_argument("--suite", action="append", choices=sorted(VERSIONS), help="all, unless some are named")
    parser.add_argument("--only", action="append", metavar="TEXT", help="only test files with this in their name")
    parser.add_argument("--jobs", type=int, default=6, help="parts that run side by side (default: 6)")
    parser.add_argument("--markdown", metavar="FILE", help="write the summary there too")
    parser.add_argument("--part", nargs=3, metavar=("SUITE", "FILES", "RESULTS"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        arguments.suite, arguments.files, arguments.results = arguments.part
        try:
            return run_part(arguments)
        except lab.LabError as error:
            return f"conformance: {error}"
    started = time.monotonic()
    results = run_suites(arguments)
    return report.tell(arguments.switch, results, time.monotonic() - started, arguments.markdown)


if __name__ == "__main__":
    sys.exit(main())
