"""The packet source (source.c): builds it, and shares its file with the switches that it is loaded into."""

import mmap
import os
import struct
import subprocess
import time
from dataclasses import dataclass

# The layout of `struct shared` in source.c: a header of 64 bytes, then a sample for each queue.
MAGIC = 0x50454E53
HEADER_SIZE = 64
SAMPLE_SIZE = 256
SEEN_SIZE = 128
TOTAL_AT = 192
PORT_COUNT_MAX = 32
QUEUE_COUNT_MAX = 8
SHARED_SIZE = HEADER_SIZE + 2 * PORT_COUNT_MAX * QUEUE_COUNT_MAX * SAMPLE_SIZE


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
    # In the bursts in which samples were taken.
    seen_packets: int
    seen_bytes: int
    # The first packet of the last of them: its size, and how it begins.
    frame_size: int
    frame: bytes


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

    def environment(self, library, draws):
        """What loads the library into a program. `draws` names the list of draws."""
        return {"LD_PRELOAD": library, "RIG_SHARED": self.path, "RIG_DRAWS": draws}

    def set_traffic(self, traffic):
        """What the source sends, from now on."""
        self.memory[16:24] = struct.pack("=II", traffic.kind(), traffic.size_number())

    def draw(self, first, extent):
        """How many flows the source draws from, from now on; of listed ones, from where on and how much of the list."""
        self.memory[24:28] = struct.pack("=I", first)
        self.memory[4:8] = struct.pack("=I", extent)

    def is_attached(self):
        """Whether a switch has started its ports."""
        return struct.unpack("=I", self.memory[0:4])[0] == MAGIC

    def tsc_hz(self):
        """Cycles of the time stamp counter in a second."""
        return struct.unpack("=Q", self.memory[8:16])[0]

    @staticmethod
    def _sample_at(direction, port, queue):
        return HEADER_SIZE + ((direction * PORT_COUNT_MAX + port) * QUEUE_COUNT_MAX + queue) * SAMPLE_SIZE

    def _sample(self, direction, port, queue):
        at = self._sample_at(direction, port, queue)
        while True:
            before, *counts = struct.unpack("=8Q", self.memory[at : at + 64])
            frame = self.memory[at + 64 : at + 64 + SEEN_SIZE]
            after = struct.unpack("=Q", self.memory[at : at + 8])[0]
            if before == after and before % 2 == 0:
                return Sample(*counts, frame)
            time.sleep(0)

    def _samples(self, direction, port):
        return [self._sample(direction, port, queue) for queue in range(QUEUE_COUNT_MAX)]

    def find_source(self, queue_count):
        """Whether packets have come out of all queues of one of the two ports, which is then known to be the source."""
        for source, sink in ((0, 1), (1, 0)):
            if all(self._sample(0, source, queue).packets > 0 for queue in range(queue_count)):
                self.source, self.sink = source, sink
                return True
        return False

    def rx(self):
        """What the source has sent, queue by queue."""
        return self._samples(0, self.source)

    def tx(self):
        """What the sink has swallowed, queue by queue."""
        return self._samples(1, self.sink)

    def totals(self):
        """Packets that the source has sent and that the sink has swallowed up to now."""
        return tuple(
            sum(
                struct.unpack_from("=Q", self.memory, self._sample_at(direction, port, queue) + TOTAL_AT)[0]
                for queue in range(QUEUE_COUNT_MAX)
            )
            for direction, port in ((0, self.source), (1, self.sink))
        )
