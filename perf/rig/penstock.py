"""Ours."""

import json
import os
import subprocess

import checks
from switches import Switch

# Of a worker's counters, those that add up.
COUNTS = ("rx_packets", "emc_hits", "megaflow_hits", "megaflow_probes", "misses", "upcalls_lost", "busy_cycles",
          "idle_cycles", "megaflows")

CONFIG = """\
switch:
  name: {name}
  run_dir: {directory}
  log_level: warn
dpdk:
  hugepages: {hugepages}
workers:
  cores: {worker_cores}
  control_core: {control_core}
  idle: spin
  emc_entries: {emc_entries}
  megaflows_max: {megaflows_max}
bridges:
  - name: br0
    internal_port: false
    rules:
{rules}
    ports:
      - {{name: source, type: "null", number: 1, receive: true, rx_queues: {queue_count}}}
      - {{name: sink, type: "null", number: 2, receive: false}}
metrics:
  listen: off
"""


class Penstock(Switch):
    """Penstock, of a name of its own if there are several."""

    def __init__(self, rig, worker_count=1, name="penstock"):
        self.name = name
        super().__init__(rig, worker_count)
        self.socket = os.path.join(rig.directory, f"{name}.sock")

    def start(self, scenario, flow_count):
        """Starts it with a scenario's rules, and returns when every flow has its megaflow."""
        # As an operator would who expects so many flows: twice the room in the cache, a little in the table.
        emc_entries = 1 << max(16, (2 * flow_count - 1).bit_length())
        worker_cores = self.rig.worker_cores(self.worker_count)
        config = CONFIG.format(
            name=self.name,
            directory=self.rig.directory,
            hugepages="require" if self.rig.has_hugepages else "never",
            worker_cores=worker_cores,
            # Where workers take all cores, it goes where there is room.
            control_core="auto" if self.rig.control_core in worker_cores else self.rig.control_core,
            queue_count=self.worker_count,
            emc_entries=min(emc_entries, 1 << 22),
            megaflows_max=max(200_000, flow_count + flow_count // 8),
            rules="\n".join(f"      - {json.dumps(rule)}" for rule in scenario.rules),
        )
        path = os.path.join(self.rig.directory, f"{self.name}.yaml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        self.expected = checks.expected(scenario)
        self.shared.set_traffic(scenario.traffic)
        portions = scenario.traffic.portions(flow_count)
        self.shared.draw(*portions[0][:2])
        self.spawn([self.rig.binary("penstockd"), "--config", path])
        self.wait_for(lambda: os.path.exists(self.socket), "open its control socket")
        for first, extent, count in portions[:-1]:
            self.shared.draw(first, extent)
            nearly_all = (scenario.megaflow_count(count) or 0) * 0.98
            what = f"come to {nearly_all:.0f} megaflows"
            self.wait_for(lambda: self.holds()["megaflows"] >= nearly_all, what, deadline_s=60, interval_s=0.1)
        first, self.extent, _ = portions[-1]
        self.shared.draw(first, self.extent)
        self.wait_until_warm()

    def _workers(self):
        command = [self.rig.binary("penstockctl"), "--socket", self.socket, "--json", "pmd"]
        result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        reply = json.loads(result.stdout)
        return reply.get("result", reply)["workers"]

    def pmd(self):
        """The first worker's counters."""
        return self._workers()[0]

    def holds(self):
        workers = self._workers()
        return {
            "megaflows": sum(worker["megaflows"] for worker in workers),
            "masks": max(worker["megaflow_masks"] for worker in workers),
        }

    def counters(self):
        workers = self._workers()
        return {name: sum(worker[name] for worker in workers) for name in COUNTS}
