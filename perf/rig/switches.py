"""The switches that are measured: each is started with the source loaded, paused, resumed and stopped alike.

A paused switch is stopped by SIGSTOP, so that several can own the same core and be measured in turns without being
started anew: the caches and flow tables that they have filled stay as they are.
"""

import contextlib
import os
import signal
import subprocess
import time

from source import RigError, Shared

START_DEADLINE_S = 30
# Penstock removes megaflows after 10 s in which nothing used them, a pause included.
RESTED_S = 5
# A switch that is told to stop and has counted nothing for so long has stopped.
PAUSED_S = 0.005


def is_warm_over(misses, packets):
    """Whether so few of the packets missed that it does not show: one in 100 000, at 10 us each, is 0.1 ns."""
    return misses * 100_000 <= packets


def put_first(pid):
    """Gives a program the cores before everything else on the machine, as an appliance's switch would have them.

    Where the kernel shares cores out by session first (autogroup), a process's own niceness counts only within
    its session, so the session gets the same. What the kernel does not let us do is left undone: results are
    per second of CPU time."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, -20)
    with contextlib.suppress(OSError), open(f"/proc/{pid}/autogroup", "w", encoding="utf-8") as file:
        file.write("-20")


class Switch:
    """A program with two net_null ports: one receives from the source, the other swallows."""

    # Its name in tables and results.
    name = ""

    def __init__(self, rig, worker_count=1):
        self.rig = rig
        self.process = None
        # Polling threads, each with a receive queue.
        self.worker_count = worker_count
        # Packets that meet each flow about once; 0 if it has nothing to learn.
        self.extent = 0
        self.paused_at = time.monotonic()
        # What frames must look like that come out (checks.expected), if that is known.
        self.expected = None
        # What was chosen for a scenario, where there is a choice, and how each choice fared.
        self.settings, self.trials = {}, []
        self.log_path = os.path.join(rig.directory, f"{self.name}.log")
        self.shared = Shared(os.path.join(rig.directory, f"{self.name}.shared"))

    def spawn(self, command, stdin=subprocess.DEVNULL, variables=None):
        """Starts the program and waits until it receives packets. `variables` are more of its environment."""
        environment = dict(os.environ, **self.shared.environment(self.rig.library, self.rig.draws), **(variables or {}))
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=stdin,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.rig.directory,
                start_new_session=True,
            )
        put_first(self.process.pid)
        self.wait_for(lambda: self.shared.is_attached() and self.shared.find_source(self.worker_count), "receive a packet")

    def wait_for(self, condition, what, deadline_s=START_DEADLINE_S, interval_s=0.01):
        """Waits for a condition, which it looks at every so often, as long as the program lives."""
        end = time.monotonic() + deadline_s
        while not condition():
            if self.process.poll() is not None:
                raise RigError(f"{self.name} ended by itself ({self.process.returncode}):\n{self.log_tail()}")
            if time.monotonic() > end:
                raise RigError(f"{self.name} did not {what} within {deadline_s} s:\n{self.log_tail()}")
            time.sleep(interval_s)

    def log_tail(self):
        """The end of what the program wrote."""
        with open(self.log_path, "rb") as log:
            return log.read()[-2000:].decode(errors="replace")

    def has_rested(self):
        """Whether it was paused for so long that megaflows may have gone."""
        return self.extent > 0 and time.monotonic() - self.paused_at > RESTED_S

    def wait_until_warm(self):
        """Waits until next to nothing misses any more, over as many packets as meet each flow twice on average.

        Not until nothing does: flows are drawn at random, and where the worker's core is taken away for seconds,
        one or another is idle for long enough to be removed, and comes back."""
        start = self.counters()

        def is_warm():
            nonlocal start
            now = self.counters()
            packets = now["rx_packets"] - start["rx_packets"]
            if packets < 2 * self.extent:
                return False
            is_quiet = is_warm_over(now["misses"] - start["misses"], packets)
            start = now
            return is_quiet

        # Asking is work for the control thread, which is to set flows up.
        interval_s = 0.02 if self.extent < 10_000 else 0.2
        self.wait_for(is_warm, "forward without misses", deadline_s=120, interval_s=interval_s)

    def pause(self):
        """Takes it off its cores; it has stopped when this returns."""
        self.process.send_signal(signal.SIGSTOP)
        self.wait_for(self._is_stopped, "stop")
        self.paused_at = time.monotonic()

    def _is_stopped(self):
        before = self.shared.totals()
        time.sleep(PAUSED_S)
        return self.shared.totals() == before

    def resume(self):
        """Lets it run on."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """Ends it."""
        if self.process is None:
            return
        self.resume()
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def counters(self):
        """The switch's own counters, if it has any that a result should hold."""
        return {}

    def holds(self):
        """How many megaflows it has, and how many masks they have, if it is a switch that has some."""
        return {}


class Testpmd(Switch):
    """DPDK's own forwarder: what the machine could do if a switch had nothing to decide."""

    def __init__(self, rig, mode):
        self.mode = mode
        self.name = f"testpmd-{mode}"
        super().__init__(rig)

    def start(self):
        """Starts it."""
        memory = ["--in-memory", "-m", "128"] if self.rig.has_hugepages else ["--no-huge", "--no-shconf", "-m", "128"]
        command = ["dpdk-testpmd", "--lcores", f"0@{self.rig.control_core},1@{self.rig.worker_core}"]
        command += memory + ["--no-pci", "--no-telemetry", f"--file-prefix=rig-{self.mode}-{os.getpid()}"]
        command += ["--vdev=net_null0,size=64,no-rx=0", "--vdev=net_null1,size=64,no-rx=1", "--"]
        command += ["--nb-cores=1", f"--forward-mode={self.mode}", "--total-num-mbufs=16384", "--burst=32"]
        # Its ports never run dry, so it would throw packets away for seconds before it forwards any.
        command += ["--mbcache=512", "--no-mlockall", "--no-flush-rx", "--auto-start", "--interactive"]
        # It runs until its input ends.
        self.spawn(command, stdin=subprocess.PIPE)
