"""OpenFlow 1.4 as bytes that are made before a clock runs, and a connection that counts what comes back.

A controller in Python is quick enough because it makes nothing while it is measured: it sends megabytes that are ready,
and looks at the heads of what it reads.
"""

import select
import socket
import struct
import time

VERSION = 5
HELLO, ERROR, ECHO_REQUEST, ECHO_REPLY = 0, 1, 2, 3
SET_CONFIG, PACKET_IN, PACKET_OUT, FLOW_MOD, MULTIPART_REQUEST, MULTIPART_REPLY = 9, 10, 13, 14, 18, 19
BARRIER_REQUEST, BARRIER_REPLY, BUNDLE_CONTROL, BUNDLE_ADD = 20, 21, 33, 34
ADD, MODIFY_STRICT, DELETE, DELETE_STRICT = 0, 2, 3, 4
ANY = 0xFFFFFFFF
PORT_CONTROLLER = 0xFFFFFFFD
NO_BUFFER = 0xFFFFFFFF
# OFPBCT_*, and the flags: atomic and ordered.
OPEN_REQUEST, COMMIT_REQUEST, BUNDLE_FLAGS = 0, 4, 3
FLOW_STATS, MORE = 1, 1


class PeerError(Exception):
    """The switch said or did what it should not have."""


def message(kind, body=b"", xid=1):
    """A whole message."""
    return struct.pack("!BBHI", VERSION, kind, 8 + len(body), xid) + body


def oxm(field, value):
    """A match of OpenFlow's basic class, without a mask or with its bytes after the value's."""
    return struct.pack("!HBB", 0x8000, field << 1, len(value)) + value


def masked(field, value, mask):
    """The same, with a mask."""
    return struct.pack("!HBB", 0x8000, field << 1 | 1, len(value) + len(mask)) + value + mask


def ofp_match(oxms):
    """The match structure, padded."""
    length = 4 + len(oxms)
    return struct.pack("!HH", 1, length) + oxms + bytes(-length % 8)


def output(port, max_len=0):
    """An output action."""
    return struct.pack("!HHIH6x", 0, 16, port, max_len)


def flow_mod(command, match, priority, actions=b"", table=0):
    """A flow-mod; no actions mean no instructions."""
    apply = struct.pack("!HH4x", 4, 8 + len(actions)) + actions if actions else b""
    head = struct.pack("!QQBBHHHIIIHH", 0, 0, table, command, 0, 0, priority, NO_BUFFER, ANY, ANY, 0, 0)
    return message(FLOW_MOD, head + match + apply)


def packet_out(actions, frame):
    """A packet-out of a whole frame, that came from the controller."""
    head = struct.pack("!IIH6x", NO_BUFFER, PORT_CONTROLLER, len(actions))
    return message(PACKET_OUT, head + actions + frame)


def bundle(number, messages):
    """The messages as one bundle, with its open and its commit."""
    head = struct.pack("!IHH", number, 0, BUNDLE_FLAGS)
    added = (message(BUNDLE_ADD, head + inner) for inner in messages)
    control = (struct.pack("!IHH", number, kind, BUNDLE_FLAGS) for kind in (OPEN_REQUEST, COMMIT_REQUEST))
    opened, committed = (message(BUNDLE_CONTROL, body) for body in control)
    return b"".join([opened, *added, committed])


BARRIER = message(BARRIER_REQUEST)
DUMP = message(MULTIPART_REQUEST, struct.pack("!HH4x", FLOW_STATS, 0)
               + struct.pack("!B3xII4xQQ", 0xFF, ANY, ANY, 0, 0) + ofp_match(b""))


class Connection:
    """A connection to a bridge's management socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.sendall(message(HELLO, struct.pack("!HHI", 1, 8, 1 << VERSION)))
        self._left = b""
        self.counts = {}
        self.wait(lambda: HELLO in self.counts)
        # Who asks for bytes of packets gets packet-ins.
        self.socket.sendall(message(SET_CONFIG, struct.pack("!HH", 0, 0xFFFF)))
        self.socket.setblocking(False)

    def close(self):
        """Ends it."""
        self.socket.close()

    def exchange(self, data, is_done, deadline_s=600):
        """Sends all of it while reading what comes, until `is_done()`; returns the seconds that it took."""
        self.counts = {}
        start = time.monotonic()
        view = memoryview(data)
        sent = 0
        while sent < len(view) or not is_done():
            if time.monotonic() - start > deadline_s:
                raise PeerError(f"nothing more came after {deadline_s} s: {self.counts}")
            wanted = [self.socket] if sent < len(view) else []
            readable, writable, _ = select.select([self.socket], wanted, [], 1)
            if writable:
                sent += self.socket.send(view[sent:sent + (1 << 18)])
            if readable:
                self._read()
        return time.monotonic() - start

    def wait(self, is_done):
        """Reads until `is_done()`."""
        while not is_done():
            self._read()

    def has(self, kind, count=1):
        """For `exchange`: whether so many messages of a kind have come."""
        return lambda: self.counts.get(kind, 0) >= count

    def _read(self):
        data = self.socket.recv(1 << 20)
        if not data:
            raise PeerError(f"the switch closed the connection: {self.counts}")
        data = self._left + data
        place = 0
        end = len(data)
        counts = self.counts
        while end - place >= 8:
            kind = data[place + 1]
            length = data[place + 2] << 8 | data[place + 3]
            if end - place < length:
                break
            counts[kind] = counts.get(kind, 0) + 1
            if kind == ERROR:
                raise PeerError(f"the switch refused something: {data[place:place + length].hex()}")
            if kind == ECHO_REQUEST:
                self.socket.sendall(message(ECHO_REPLY))
            if kind == MULTIPART_REPLY and not data[place + 11] & MORE:
                counts["last part"] = counts.get("last part", 0) + 1
            place += length
        self._left = data[place:]
