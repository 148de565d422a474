"""What all switches of a run share."""

import os

import machine
from source import RigError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Rig:
    """Cores, files and binaries."""

    def __init__(self, directory, hugepages, binaries=None):
        self.directory = directory
        self.hugepages = hugepages
        self.has_hugepages = hugepages.is_there
        self.worker_core, self.control_core = machine.cores()
        self.binaries = os.path.abspath(binaries or os.path.join(ROOT, "target", "release"))
        self.library = os.path.join(ROOT, "target", "rig", "source.so")
        # Written if a scenario needs it.
        self.draws = os.path.join(directory, "draws")

    def worker_cores(self, count):
        """The cores of so many workers: the control core is among them only if there are no others."""
        cores = sorted(os.sched_getaffinity(0), reverse=True)
        if count > len(cores):
            raise RigError(f"{count} workers need {count} cores, and there are {len(cores)}")
        return cores[:count]

    def binary(self, name):
        """The path of one of our binaries."""
        return os.path.join(self.binaries, name)
