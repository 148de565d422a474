"""What all switches of a run share."""

import os

import machine

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

    def binary(self, name):
        """The path of one of our binaries."""
        return os.path.join(self.binaries, name)
