"""The machine: what it is, for the record, and its hugepages, lent for the time of a run."""

import os
import platform
import re
import subprocess
import time

from source import RigError

HUGEPAGE_FILE = "/proc/sys/vm/nr_hugepages"
# Four switches with 128 MiB of packet memory each, one with 256, and room for rounding and the kernel.
HUGEPAGE_COUNT = 512
HUGEPAGE_COUNT_OF_ONE = 192


def read(path, default=""):
    """A file's text, or the default if there is no such file."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return default


def _meminfo(key):
    match = re.search(rf"^{key}:\s+(\d+)", read("/proc/meminfo"), re.MULTILINE)
    return int(match.group(1)) if match else 0


class Hugepages:
    """Reserves 2 MiB pages if too few are free, and gives back what it reserved."""

    def __init__(self, is_wanted):
        self.before = None
        self.is_there = is_wanted and self._reserve(HUGEPAGE_COUNT)
        if not self.is_there:
            self.give_back()

    def _reserve(self, count):
        missing = count - _meminfo("HugePages_Free")
        try:
            if missing > 0:
                now = int(read(HUGEPAGE_FILE))
                self.before = now if self.before is None else self.before
                self._write(now + missing)
        except (OSError, ValueError):
            return False
        return _meminfo("HugePages_Free") >= count

    def ensure(self):
        """Sees to it that one more switch finds enough: something else may have taken some, or given them back."""
        if self.is_there and not self._reserve(HUGEPAGE_COUNT_OF_ONE):
            raise RigError("something else takes the hugepages while switches are measured: run it again")

    @staticmethod
    def _write(count):
        with open(HUGEPAGE_FILE, "w", encoding="utf-8") as file:
            file.write(f"{count}\n")

    def give_back(self):
        """Sets the number of pages to what it was."""
        if self.before is not None:
            self._write(self.before)
            self.before = None


def describe(has_hugepages, worker_core, control_core):
    """What a result says of the machine."""
    model = re.search(r"^model name\s*:\s*(.*)$", read("/proc/cpuinfo"), re.MULTILINE)
    dpdk = subprocess.run(["pkg-config", "--modversion", "libdpdk"], capture_output=True, text=True, check=False)
    return {
        "cpu": model.group(1) if model else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(_meminfo("MemTotal") / (1 << 20), 1),
        "kernel": platform.release(),
        "is_virtual": "hypervisor" in read("/proc/cpuinfo"),
        "hugepages": "2 MiB" if has_hugepages else "none",
        "dpdk": dpdk.stdout.strip(),
        "worker_core": worker_core,
        "control_core": control_core,
    }


def commit(root):
    """The commit that is checked out, and whether files differ from it."""

    def git(*arguments):
        result = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=False)
        return result.stdout.strip()

    return {"commit": git("rev-parse", "--short=12", "HEAD"), "is_modified": bool(git("status", "--porcelain", "-uno"))}


def cores():
    """The cores to use: the highest for the worker, the lowest for all else."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) < 2:
        raise RigError("two cores are needed, one for the worker and one for everything else")
    return available[-1], available[0]


def now():
    """The date and time, UTC, for the record."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
