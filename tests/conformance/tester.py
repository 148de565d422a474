"""The switch tester of os-ken, made to run a list of test files and to write one line of JSON for each test.

    tester.py VERSION FILES RESULTS TESTER_CONTROL [TARGET_CONTROL]

It is os-ken's own tester in all that it sends and compares. What differs, and why:

- Nothing settles. Its pauses (a second before table counters are read, one after each test if asked for) are gone:
  a barrier reply means done. Where a packet that nobody will answer has to have arrived first, the target's own port
  counter says so. Open vSwitch answers a barrier before its datapath forwards by the new rules, and its counters of
  rules and tables follow up to a second later; *_CONTROL, its control sockets, are told to bring both up to date: of
  the tester before throughput is read, of the target, if that is an Open vSwitch, before packets and counters.
- CRC32c of SCTP is computed right. On Python 3 os-ken's own function mixes up bytes and their length, so that its
  packets have a checksum that no switch could arrive at.
- The burst size of a meter is compared only if the meter has the flag OFPMF_BURST: without it the field means nothing
  (OpenFlow 1.3.5 section A.3.4.5), and a switch may say which burst it allows.
- The match of a rule is compared as it was on the wire, not as the test's author wrote it: 10::0 is the same as 10::.
- Packets that a throughput test sends are paced by the clock and serialised once, so that 20 000 a second are sent
  when the test says so, on a busy machine too.
- A packet that differs from the expected one is shown in hexadecimal; with a throughput that does, how much was sent
  and how much the target took, which on a machine that is too slow for the test is less than it asks for.
- A test that upsets the tester itself is a failure of that test, and the next one is run.
- A test in which the tester's own counter says that it sent nothing has tested nothing, and is run once more.
"""

import json
import os
import socket
import struct
import sys
import time

os.environ["OSKEN_HUB_TYPE"] = "eventlet"

from os_ken.lib import hub  # noqa: E402

hub.patch(thread=False)

from os_ken import cfg  # noqa: E402
from os_ken import log  # noqa: E402,F401 (it brings options that the tester reads)
from os_ken.base import app_manager  # noqa: E402
from os_ken.lib.packet import sctp  # noqa: E402
from os_ken.tests.switch import tester  # noqa: E402

tester.INTERVAL = 0
OFPMF_BURST = 1 << 2
# What os-ken says of a tester that has not sent the packet.
SENT_NOTHING = "no change in tx_packets on tester"


def _crc32c_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC32C = _crc32c_table()


def crc32c(_self, data):
    """RFC 4960 appendix B, as the number that struct's `!I` puts into the packet."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    return struct.unpack("!I", struct.pack("<I", crc ^ 0xFFFFFFFF))[0]


sctp.sctp._checksum = crc32c


class Tester(tester.OfTester):
    """Runs the files that the command line lists instead of all in a directory."""

    def __init__(self):
        self.detail = None
        self.received = None
        self.arrived = False
        # What a throughput test has sent, and what the target says it took.
        self.load, self.note = None, ""
        self.tester_control, self.target_control = sys.argv[4], (sys.argv[5:] + [None])[0]
        super().__init__()

    def _test_sequential_execute(self, test_dir):
        with open(sys.argv[2], encoding="utf-8") as files, \
                open(sys.argv[3], "w", encoding="utf-8", buffering=1) as results:
            for line in files:
                name = line.strip()
                for test in tester.TestFile(os.path.join(test_dir, name), self.logger).tests:
                    started = time.monotonic()
                    detail = self._run(test)
                    json.dump({"file": name, "test": test.description, "failure": detail,
                               "seconds": round(time.monotonic() - started, 3)}, results)
                    results.write("\n")
        os._exit(0)

    def _run(self, test):
        """The reason why the test failed, or None."""
        failure = self._run_once(test)
        return self._run_once(test) if failure and SENT_NOTHING in failure else failure

    def _run_once(self, test):
        self.detail, self.load, self.note = None, None, ""
        try:
            result = self._test_execute(test, None)
        except Exception as error:  # pylint: disable=broad-except
            self.waiter = None
            return f"The tester failed: {type(error).__name__}: {error}"
        return None if result == tester.TEST_OK else self.detail or result

    def _test(self, state, *args):
        if state == tester.STATE_GET_MATCH_COUNT:
            self.received = self._received()
        if state == tester.STATE_GET_THROUGHPUT:
            if self.load is None:
                self.load = {"before": self._counts()}
            else:
                self.load["after"] = self._counts()
        try:
            return super()._test(state, *args)
        except tester.TestMessageBase as error:
            self.detail = str(error) + self.note
            raise

    def _received(self):
        counts = super()._test(tester.STATE_TARGET_PKT_COUNT, True)
        return counts[self.target_recv_port]["rx"]

    def _counts(self):
        counts = super()._test(tester.STATE_TARGET_PKT_COUNT, True)
        return counts[self.target_recv_port]["rx"], counts[self.target_send_port_1]["tx"]

    def _test_send_barrier(self):
        super()._test_send_barrier()
        deadline = time.monotonic() + tester.WAIT_TIMER
        while (received := self._received()) == self.received and time.monotonic() < deadline:
            hub.sleep(0.001)
        self.arrived = received != self.received
        self.state = tester.STATE_SEND_BARRIER

    def _test_flow_unmatching_check(self, before_stats, pkt):
        bring_up_to_date(self.target_control)
        # The packet is counted at its port before its table is asked: no barrier is about that.
        deadline = time.monotonic() + tester.WAIT_TIMER
        while True:
            try:
                return super()._test_flow_unmatching_check(before_stats, pkt)
            except tester.TestError:
                if time.monotonic() > deadline:
                    if not self.arrived:
                        raise ValueError("the packet that it sent did not arrive at the target") from None
                    raise
            hub.sleep(0.001)

    def _one_time_packet_send(self, pkt):
        # The tester too goes on by stale megaflows, and then does not tell what it gets.
        bring_up_to_date(self.tester_control)
        bring_up_to_date(self.target_control)
        super()._one_time_packet_send(pkt)

    def _continuous_packet_send(self, pkt):
        bring_up_to_date(self.target_control)
        packets = pkt[tester.KEY_PACKETS]
        rate, duration_s = packets[tester.KEY_PKTPS], packets[tester.KEY_DURATION_TIME]
        fixed = self._packet_out(packets["packet_binary"])
        sent, started = 0, time.monotonic()
        while (elapsed := time.monotonic() - started) < duration_s:
            # What a stall has kept back is not made up for in one burst, which queues might not hold.
            count = min(int(elapsed * rate) - sent, max(1, int(2 * tester.CONTINUOUS_THREAD_INTVL * rate)))
            if not packets["randomize"]:
                messages = fixed * count
            else:
                messages = b"".join(self._packet_out(evaluate(packets["packet_text"])) for _ in range(count))
            if messages:
                self.tester_sw.dp.send(messages)
            sent += count
            self.load.update(sent=sent, wanted=rate * duration_s)
            hub.sleep(tester.CONTINUOUS_THREAD_INTVL)

    def _packet_out(self, data):
        datapath = self.tester_sw.dp
        message = datapath.ofproto_parser.OFPPacketOut(
            datapath=datapath, buffer_id=datapath.ofproto.OFP_NO_BUFFER, in_port=datapath.ofproto.OFPP_CONTROLLER,
            data=data, actions=[datapath.ofproto_parser.OFPActionOutput(self.tester_sw.tester_send_port)])
        datapath.set_xid(message)
        message.serialize()
        return bytes(message.buf)

    def _compare_flow(self, stats1, stats2):
        if self.target_sw.dp.ofproto.OFP_VERSION > tester.ofproto_v1_0.OFP_VERSION:
            wire = bytearray()
            stats2.match.serialize(wire, 0)
            stats2.match = type(stats2.match).parser(bytes(wire), 0)
        return super()._compare_flow(stats1, stats2)

    @classmethod
    def _compare_meter(cls, stats1, stats2):
        if not stats2.flags & OFPMF_BURST:
            for band, sent in zip(stats1.bands, stats2.bands):
                band.burst_size = sent.burst_size
        return super()._compare_meter(stats1, stats2)

    @classmethod
    def _diff_packets(cls, model_pkt, rcv_pkt):
        return (f"{super()._diff_packets(model_pkt, rcv_pkt)} "
                f"(got {bytes(rcv_pkt.data).hex()}, not {bytes(model_pkt.data).hex()})")

    def _test_get_throughput(self):
        bring_up_to_date(self.tester_control)
        return super()._test_get_throughput()

    def _test_throughput_check(self, throughputs, start, end):
        load, self.load = self.load, None
        taken, given = (after - before for before, after in zip(load["before"], load["after"]))
        self.note = (f" in {end[0] - start[0]:.2f} s, where of {load['wanted']} packets {load['sent']} were sent, "
                     f"{taken} reached the target and {given} left it")
        return super()._test_throughput_check(throughputs, start, end)


def evaluate(packet_text):
    """A packet that a test describes in os-ken's own words, with its random numbers drawn anew."""
    message = eval("/".join(packet_text), vars(tester))  # pylint: disable=eval-used
    message.serialize()
    return bytes(message.data)


def bring_up_to_date(control):
    """Makes an Open vSwitch forward by its rules of now, and count what it has forwarded."""
    if control is None:
        return
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(control)
        connection.sendall(b'{"id":0,"method":"revalidator/purge","params":[]}')
        reply = b""
        while True:
            reply += connection.recv(4096)
            try:
                assert json.loads(reply)["error"] is None, reply
                return
            except ValueError:
                continue


def main():
    """Serves on 127.0.0.1:6653 until all tests have been run."""
    version = sys.argv[1]
    suites = os.path.dirname(tester.__file__)
    cfg.CONF(args=["--ofp-listen-host", "127.0.0.1", "--ofp-tcp-listen-port", "6653",
                   "--test-switch-dir", suites, "--test-switch-target-version", version,
                   "--test-switch-tester-version", version],
             project="os_ken", default_config_files=[])
    app_manager.AppManager.run_apps(["os_ken.controller.ofp_handler", "tester"])


if __name__ == "__main__":
    main()
