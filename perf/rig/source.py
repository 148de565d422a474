"""The packet source (source.c): builds it, and shares its file with the switches that it is loaded into."""

import mmap
import os
import struct
import subprocess
import time
from dataclasses import dataclass

# The layout of `struct shared` in source.c: a header of 64 bytes, then 64 bytes for each queue.
MAGIC = 0x50454E53
HEADER_SIZE = 64
SAMPLE_SIZE = 64
PORT_COUNT_MAX = 32
QUEUE_COUNT_MAX = 8
SHARED_SIZE = HEADER_SIZE + 2 * PORT_COUNT_MAX * QUEUE_COUNT_MAX * SAMPLE_SIZE
# Packets between two samples of a queue.
SAMPLE_INTERVAL = 1 << 16


class RigError(Exception):
    """Something that makes a measurement impossible or worthless; the text says what to do."""


def build(source, library):
    """Compiles the library unless it is newer than its source."""
    if os.path.exists(library) and os.path.getmtime(library) > os.path.getmtime(source):
        return
    os.makedirs(os.path.dirname(library), exist_ok=True)
    try:
        flags = subprocess.run(
            ["pkg-config", "--cflags", "libdpdk"], check=True, capture_output=True, text=True
        ).stdout.split()
        command = ["gcc", "-O3", "-march=native", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", library, source]
        subprocess.run(command + flags + ["-ldl"], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise RigError(f"cannot compile {os.path.basename(source)} ({error}): apt install gcc pkg-config libdpdk-dev")


@dataclass(frozen=True)
class Sample:
    """What one queue had counted at one moment."""

    packets: int
    cpu_ns: int
    tsc: int
    thread: int


class Shared:
    """The file that the library in one switch counts into."""

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.truncate(SHARED_SIZE)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), SHARED_SIZE)
        # Which port of DPDK's is which, as long as nobody knows better.
        self.source, self.sink = 0, 1

    def environment(self, library):
        """What loads the library into a program."""
        return {"LD_PRELOAD": library, "RIG_SHARED": self.path}

    def set_flow_count(self, count):
        """How many flows the source draws from, from now on."""
        self.memory[4:8] = struct.pack("=I", count)

    def is_attached(self):
        """Whether a switch has started its ports."""
        return struct.unpack("=I", self.memory[0:4])[0] == MAGIC

    def tsc_hz(self):
        """Cycles of the time stamp counter in a second."""
        return struct.unpack("=Q", self.memory[8:16])[0]

    def _sample(self, direction, port, queue):
        at = HEADER_SIZE + ((direction * PORT_COUNT_MAX + port) * QUEUE_COUNT_MAX + queue) * SAMPLE_SIZE
        while True:
            before, packets, cpu_ns, tsc, thread = struct.unpack("=5Q", self.memory[at : at + 40])
            after = struct.unpack("=Q", self.memory[at : at + 8])[0]
            if before == after and before % 2 == 0:
                return Sample(packets, cpu_ns, tsc, thread)
            time.sleep(0)

    def find_source(self):
        """Whether packets have come out of one of the two ports, which is then known to be the source."""
        for source, sink in ((0, 1), (1, 0)):
            if self._sample(0, source, 0).packets > 0:
                self.source, self.sink = source, sink
                return True
        return False

    def rx(self, queue=0):
        """What the source has sent."""
        return self._sample(0, self.source, queue)

    def tx(self):
        """What the sink has swallowed, by the queue that the polling thread sends to."""
        samples = (self._sample(1, self.sink, queue) for queue in range(QUEUE_COUNT_MAX))
        return max(samples, key=lambda sample: sample.packets)
