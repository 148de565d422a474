"""The peer: ovs-vswitchd with DPDK, in directories of its own, with the best settings that it has for a scenario."""

import contextlib
import os
import re
import subprocess
import sys
import time

import checks
import measure
from source import RigError
from switches import Switch

BINARY = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"

# What is tried for each scenario: chances of 1 in so many that a flow enters the exact-match cache (0: never), with and
# without the signature-match cache. 100 is the default.
SETTINGS = tuple({"emc-insert-inv-prob": emc, "smc-enable": smc} for emc in ("100", "1", "0") for smc in ("false", "true"))
# More megaflows than any scenario has.
FLOW_LIMIT = 4_000_000
# A setting is tried for so long, after as long again to fill its caches, and so often: what else runs on the machine
# makes one or another look slow.
TRIAL_S, TRIAL_COUNT = 0.3, 2
# Of more megaflows than that the masks are not looked at: they are counted from texts of a hundred bytes for each.
DUMP_MEGAFLOWS_MAX = 200_000


def is_there():
    """Whether it can be measured; says so if not."""
    if os.path.exists(BINARY):
        return True
    print("SKIPPED: Open vSwitch: apt install openvswitch-switch-dpdk", file=sys.stderr)
    return False


class OpenVSwitch(Switch):
    """Open vSwitch of the distribution, with its userspace datapath on DPDK."""

    name = "ovs"

    def __init__(self, rig, worker_count=1):
        super().__init__(rig, worker_count)
        self.directory = os.path.join(rig.directory, "ovs")
        os.makedirs(self.directory, exist_ok=True)
        self.environment = {key: self.directory for key in ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR")}
        self.database = None

    def start(self, scenario, flow_count):
        """Starts it with a scenario's rules; returns when every flow has its megaflow, under the settings that are best."""
        socket = os.path.join(self.directory, "db.sock")
        path = os.path.join(self.directory, "conf.db")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        self._run("ovsdb-tool", "create", path, SCHEMA)
        log = os.path.join(self.directory, "ovsdb.log")
        with open(log, "wb") as file:
            self.database = subprocess.Popen(
                ["ovsdb-server", path, f"--remote=punix:{socket}", f"--unixctl={self.directory}/ovsdb.ctl", "-vsyslog:off"],
                env=dict(os.environ, **self.environment), stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self._wait_for_file(socket)
        self._vsctl("init")
        self._vsctl(
            "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
            f"other_config:pmd-cpu-mask={sum(1 << core for core in self.rig.worker_cores(self.worker_count)):#x}",
            f"other_config:dpdk-lcore-mask={1 << self.rig.control_core:#x}",
            "other_config:dpdk-socket-mem=256" if self.rig.has_hugepages else "other_config:dpdk-alloc-mem=256",
            "other_config:dpdk-extra=" + ("--in-memory --no-pci" if self.rig.has_hugepages else "--no-huge --no-pci"),
            f"other_config:flow-limit={FLOW_LIMIT}", "other_config:max-idle=600000")
        self._vsctl(
            "add-br", "br0", "--", "set", "Bridge", "br0", "datapath_type=netdev", "fail_mode=secure",
            "--", "add-port", "br0", "source", "--", "set", "Interface", "source", "type=dpdk", "ofport_request=1",
            "options:dpdk-devargs=net_null0,size=64,no-rx=0", f"options:n_rxq={self.worker_count}",
            "--", "add-port", "br0", "sink", "--", "set", "Interface", "sink", "type=dpdk", "ofport_request=2",
            "options:dpdk-devargs=net_null1,size=64,no-rx=1")
        self.expected = checks.expected(scenario)
        self.shared.set_traffic(scenario.traffic)
        portions = scenario.traffic.portions(flow_count)
        self.shared.draw(portions[0][0], 1)
        self.spawn([BINARY, f"unix:{socket}", f"--unixctl={self.directory}/vswitchd.ctl", "-vsyslog:off", "-vconsole:warn"],
                   variables=self.environment)
        self._set_rules(scenario)
        for first, extent, count in portions:
            self.shared.draw(first, extent)
            wanted = (scenario.megaflow_count(count) or 1) * (checks.MEGAFLOWS_LEAST if count == portions[-1][2] else 0.98)
            self.wait_for(lambda: self._megaflows() >= wanted, f"come to {wanted:.0f} megaflows", 180, 0.5)
        self.extent = portions[-1][1]
        self.wait_until_warm()
        self._choose()

    def _set_rules(self, scenario):
        rules = os.path.join(self.directory, "rules")
        with open(rules, "w", encoding="utf-8") as file:
            file.writelines(rule + "\n" for rule in scenario.rules)
        target = f"unix:{self.directory}/br0.mgmt"
        self._run("ovs-ofctl", "-OOpenFlow13", "add-flows", target, rules)
        # Once megaflows follow the rules, revalidation rests: where its core is shared, it takes so long with a hundred
        # thousand that it lowers the limit of megaflows, and removes some. That is none of a polling thread's rate.
        self._appctl("revalidator/wait")
        self._appctl("revalidator/pause")
        self._appctl("upcall/set-flow-limit", str(FLOW_LIMIT))

    def _megaflows(self):
        shown = self._appctl("upcall/show")
        # "  flows         : (current 3) (avg 3) (max 3) (limit 200000)"
        return int(shown.partition("(current ")[2].partition(")")[0] or 0)

    def holds(self):
        megaflows = self._megaflows()
        masks = self._mask_count() if megaflows <= DUMP_MEGAFLOWS_MAX else None
        return {"megaflows": megaflows, "masks": masks}

    def _mask_count(self):
        """How many masks there are: what megaflows are without their values, "src=/0.0.0.63" of "src=10.0.0.1/0.0.0.63"."""
        flows = (line.partition(", packets:") for line in self._appctl("dpctl/dump-flows").splitlines())
        return len({re.sub(r"=[^/,()]+", "=", flow) for flow, packets, _ in flows if packets})

    def _choose(self):
        """Tries every setting, and keeps the quickest."""
        rates = [0] * len(SETTINGS)
        for index, settings in [*enumerate(SETTINGS)] * TRIAL_COUNT:
            self._set(settings)
            # Twice each flow, or for as long as a window.
            time.sleep(max(TRIAL_S, 2 * self.extent / 5e6))
            rates[index] = max(rates[index], measure.window(self, TRIAL_S)["packets_per_cpu_second"])
        self.settings = SETTINGS[rates.index(max(rates))]
        self.trials = [dict(settings, packets_per_cpu_second=rate) for settings, rate in zip(SETTINGS, rates)]
        self._set(self.settings)
        time.sleep(max(TRIAL_S, 2 * self.extent / 5e6))

    def _set(self, settings):
        # Waits until they are in force: packets are lost while they change.
        self._run("ovs-vsctl", f"--db=unix:{self.directory}/db.sock", "--timeout=30", "set", "Open_vSwitch", ".",
                  *(f"other_config:{key}={value}" for key, value in settings.items()))

    def counters(self):
        shown = self._appctl("dpif-netdev/pmd-stats-show")
        misses = packets = 0
        for line in shown.splitlines():
            key, _, value = line.strip().partition(": ")
            if key == "miss with success upcall":
                misses += int(value)
            elif key == "packets received":
                packets += int(value)
        return {"rx_packets": packets, "misses": misses}

    def stop(self):
        super().stop()
        if self.database:
            self.database.terminate()
            self.database.wait()
            self.database = None

    def _wait_for_file(self, path):
        end = time.monotonic() + 10
        while not os.path.exists(path):
            if time.monotonic() > end:
                raise RigError(f"ovsdb-server did not open {path}")
            time.sleep(0.01)

    def _vsctl(self, *command):
        self._run("ovs-vsctl", f"--db=unix:{self.directory}/db.sock", "--no-wait", *command)

    def _appctl(self, *command):
        return self._run("ovs-appctl", "-t", f"{self.directory}/vswitchd.ctl", *command)

    def _run(self, *command):
        result = subprocess.run(command, env=dict(os.environ, **self.environment), stdin=subprocess.DEVNULL,
                                capture_output=True, text=True, timeout=60, check=False)
        if result.returncode != 0:
            raise RigError(f"{' '.join(command)} failed: {result.stderr.strip()}")
        return result.stdout
