"""Gives ovs-ofctl the same commands for an Open vSwitch bridge and for the switch under test, and compares what it says.

What differs by nature (times, addresses, counters of noise, transaction ids) is taken out of both outputs first. What
differs on purpose is in ofctl_expected.txt, with the reason; an entry there that is about nothing any more fails too.
"""

import argparse
import contextlib
import difflib
import os
import re
import sys

import lab
import ofctl_watch

VERSIONS = ["OpenFlow10", "OpenFlow11", "OpenFlow12", "OpenFlow13", "OpenFlow14", "OpenFlow15"]
PORTS = 3
SNOOP_PORT = 6650
PARTS = ["steps", "monitor", "snoop"]
# A command and its arguments; BR is the bridge, FILE(...) a file with lines divided by `;`.
RULES = [
    "add-flow BR table=0,priority=10,in_port=1,actions=output:2",
    "add-flow BR table=0,priority=20,tcp,nw_dst=198.18.0.0/16,tp_dst=80,actions=mod_nw_dst:198.18.0.1,output:3",
    "add-flow BR priority=5,ip,idle_timeout=100,hard_timeout=200,cookie=0x1234,actions=dec_ttl,NORMAL",
    "add-flow BR priority=30,arp,actions=CONTROLLER:128",
    "add-flow BR priority=40,dl_vlan=10,actions=strip_vlan,FLOOD",
    "add-flow BR priority=50,in_port=2,ip,reg0=1,actions=load:5->NXM_NX_REG1[],resubmit(,1)",
    "add-flow BR table=1,priority=1,actions=drop",
]
# Actions of Nicira's extension: each is added and told; some are not to be had.
EXTENSIONS = [
    "del-flows BR",
    "add-flow BR priority=1,actions=learn(table=3,hard_timeout=10,NXM_OF_VLAN_TCI[0..11],"
    "NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],output:NXM_OF_IN_PORT[])",
    "add-flow BR priority=2,ip,actions=learn(table=3,idle_timeout=5,priority=7,cookie=0x9,delete_learned,send_flow_rem,"
    "fin_idle_timeout=2,fin_hard_timeout=4,eth_type=0x800,NXM_OF_IP_DST[]=NXM_OF_IP_SRC[],load:0x1->NXM_NX_REG0[0..4],"
    "load:NXM_OF_IN_PORT[]->NXM_NX_REG1[0..15])",
    "add-flow BR priority=3,actions=learn(table=3,limit=4,result_dst=NXM_NX_REG2[0],NXM_OF_ETH_SRC[])",
    "add-flow BR priority=4,actions=learn(table=255,NXM_OF_ETH_SRC[])",
    "add-flow BR priority=4,actions=learn(table=3,NXM_OF_IP_DST[]=NXM_OF_IP_SRC[])",
    "dump-flows BR", "del-flows BR",
    "add-flow BR priority=1,actions=multipath(eth_src,50,modulo_n,1,0,NXM_NX_REG0[])",
    "add-flow BR priority=2,actions=multipath(symmetric_l4,1024,hrw,12,0,NXM_NX_REG0[0..15]),output:NXM_NX_REG0[0..15]",
    "add-flow BR priority=3,actions=multipath(symmetric_l3l4,5,iter_hash,8,7,NXM_NX_REG3[5..10])",
    "add-flow BR priority=4,actions=multipath(nw_src,0,hash_threshold,16,0,NXM_NX_REG3[28..31])",
    "add-flow BR priority=5,actions=multipath(eth_src,50,modulo_n,100,0,NXM_NX_REG0[0..3])",
    "add-flow BR priority=6,actions=multipath(eth_src,50,modulo_n,4,0,NXM_OF_IN_PORT[])",
    "dump-flows BR", "del-flows BR",
    "add-flow BR priority=1,actions=bundle(eth_src,0,hrw,ofport,members:1,2,3)",
    "add-flow BR priority=2,actions=bundle(symmetric_l4,60,active_backup,ofport,members:2,1)",
    "add-flow BR priority=3,actions=bundle(nw_dst,0,hrw,ofport,members:)",
    "add-flow BR priority=4,actions=bundle_load(symmetric_l3l4+udp,0,hrw,ofport,NXM_NX_REG0[0..15],members:1,2),"
    "output:NXM_NX_REG0[0..15]",
    "add-flow BR priority=5,actions=bundle_load(eth_src,0,hrw,ofport,NXM_NX_REG0[0..14],members:1,2)",
    "add-flow BR priority=6,actions=bundle(eth_src,0,hrw,ofport,members:1,controller)",
    "dump-flows BR", "del-flows BR",
    "add-flow BR priority=1,ip,conj_id=7,actions=output:1",
    "add-flow BR priority=1,ip,nw_src=198.18.0.1,actions=conjunction(7,1/2)",
    "add-flow BR priority=1,tcp,tp_dst=80,actions=conjunction(7,2/2),conjunction(8,1/3)",
    "add-flow BR priority=1,tcp,tp_dst=81,actions=conjunction(7,2/2),note:01",
    "add-flow BR priority=2,actions=conjunction(7,1/2),output:1",
    "add-flow BR priority=3,actions=conjunction(7,1/1)", "add-flow BR priority=4,actions=conjunction(7,3/2)",
    "add-flow BR priority=5,actions=conjunction(7,1/65)", "add-flow BR priority=6,conj_id=9,actions=conjunction(7,1/2)",
    "add-flow BR priority=7,actions=conjunction(7,64/64)",
    "dump-flows BR", "dump-flows BR conj_id=7", "del-flows BR",
    "add-flow BR priority=1,actions=push:NXM_NX_REG0[],pop:NXM_NX_REG1[]",
    "add-flow BR priority=2,actions=push:NXM_OF_ETH_SRC[0..15],pop:NXM_NX_REG1[16..31],output:1",
    "add-flow BR priority=3,actions=push:NXM_OF_IP_SRC[],pop:NXM_NX_REG1[]",
    "add-flow BR priority=4,actions=pop:NXM_NX_REG1[]",
    "add-flow BR priority=5,actions=push:NXM_OF_IN_PORT[],pop:NXM_OF_IN_PORT[]",
    "add-flow BR priority=6,actions=push:NXM_NX_REG0[],pop:NXM_OF_IP_FRAG[]",
    "dump-flows BR", "del-flows BR",
    "add-flow BR priority=1,actions=note:01.02.03.04.05.06.07,output:1",
    "add-flow BR priority=2,actions=note:01.02.03.04.05.06",
    "add-flow BR priority=3,tcp,actions=fin_timeout(idle_timeout=5,hard_timeout=10),output:1",
    "add-flow BR priority=4,tcp,actions=fin_timeout(idle_timeout=5)",
    "add-flow BR priority=5,ip,actions=fin_timeout(hard_timeout=10)",
    "add-flow BR priority=6,actions=sample(probability=100,collector_set_id=1,obs_domain_id=2,obs_point_id=3)",
    "add-flow BR priority=7,actions=sample(probability=65535,collector_set_id=1,obs_domain_id=2,obs_point_id=3,"
    "sampling_port=1,egress),output:1",
    "add-flow BR priority=8,actions=sample(probability=5,sampling_port=2)",
    "add-flow BR priority=9,actions=sample(probability=0)",
    "dump-flows BR", "del-flows BR",
    "add-flow BR priority=1,actions=output:NXM_NX_REG0[]", "add-flow BR priority=2,actions=output:NXM_NX_REG0[16..31]",
    "add-flow BR priority=3,actions=output:NXM_OF_IP_SRC[]",
    "add-flow BR priority=4,actions=output:NXM_NX_XXREG0[3..18]",
    "add-flow BR priority=5,actions=output(port=1,max_len=100)",
    "add-flow BR priority=6,actions=output(port=1,max_len=10)",
    "add-flow BR priority=7,actions=output(port=in_port,max_len=100),output(port=normal,max_len=100)",
    "add-flow BR priority=8,actions=clone(output:1,load:5->NXM_NX_REG0[]),output:2",
    "add-flow BR priority=9,actions=clone(clone(output:1),push:NXM_NX_REG0[],pop:NXM_NX_REG1[],note:05)",
    "add-flow BR priority=10,actions=clone()", "add-flow BR priority=11,actions=clone(output:70000)",
    "add-flow BR priority=12,actions=check_pkt_larger(1500)->NXM_NX_REG0[0],output:1",
    "dump-flows BR", "del-flows BR",
    "add-flow BR priority=1,actions=exit", "add-flow BR priority=2,actions=set_queue:5,output:1,pop_queue",
    "add-flow BR priority=3,ip,actions=dec_ttl(1,2),output:1", "add-flow BR priority=4,ip,actions=dec_ttl,mod_nw_ttl:9",
    "add-flow BR priority=5,actions=controller(userdata=01.02.03,max_len=77,id=5)",
    "add-flow BR priority=6,actions=controller(reason=invalid_ttl)",
    "add-flow BR priority=7,actions=move:NXM_OF_ETH_SRC[0..31]->NXM_NX_REG5[]",
    "add-flow BR priority=8,actions=load:0xf->NXM_NX_REG5[4..7],resubmit:2,resubmit(1,2),resubmit(,3)",
    "add-flow BR priority=9,actions=enqueue(1,5)",
    "add-flow BR priority=10,actions=move:NXM_OF_IP_SRC[]->NXM_NX_REG5[]",
    "add-flow BR priority=11,ip,actions=mod_nw_tos:8,mod_nw_ecn:1",
    "add-flow BR priority=12,mpls,actions=pop_mpls:0x0800,dec_ttl",
    "add-flow BR priority=13,ip,actions=push_mpls:0x8847,output:1",
    "add-flow BR priority=14,mpls,actions=set_mpls_label:5,set_mpls_tc:3,set_mpls_ttl:9,dec_mpls_ttl",
    "dump-flows BR", "del-flows BR",
]
# A bridge on its own begins with a rule, and not every switch has the same.
STEPS = ["del-flows BR"] + RULES + [
    "show BR", "dump-flows BR", "dump-flows BR tcp", "dump-flows BR cookie=0x1234/-1", "dump-flows BR out_port=3",
    "dump-aggregate BR", "dump-aggregate BR arp", "dump-tables BR", "dump-ports BR", "dump-ports BR 1",
    "dump-ports-desc BR", "dump-desc BR", "get-frags BR", "queue-stats BR", "queue-get-config BR 1",
    "dump-table-features BR", "dump-table-desc BR", "dump-ipfix-bridge BR",
    "mod-flows BR in_port=1,actions=output:3", "dump-flows BR in_port=1",
    "--strict mod-flows BR priority=40,dl_vlan=10,actions=output:1", "dump-flows BR dl_vlan=10",
    "mod-flows BR udp,actions=output:1", "--strict del-flows BR priority=30,arp", "del-flows BR tcp",
    "dump-flows BR", "del-flows BR cookie=0x1234/-1", "dump-flows BR",
    "replace-flows BR FILE(priority=1,actions=NORMAL;priority=9,ip,actions=drop)", "dump-flows BR",
    "diff-flows BR FILE(priority=1,actions=NORMAL;priority=8,ip,actions=drop)",
    "--bundle replace-flows BR FILE(priority=2,actions=NORMAL)", "dump-flows BR",
    "--bundle add-flows BR FILE(priority=3,actions=output:1;priority=4,ip,actions=output:2)", "dump-flows BR",
    "--bundle add-flows BR FILE(priority=6,actions=output:1;priority=7,ip,actions=group:99)", "dump-flows BR",
    "bundle BR FILE(flow add priority=11,actions=output:1;group add group_id=7,type=all,bucket=output:1)",
    "add-group BR group_id=1,type=all,bucket=output:1,bucket=output:2",
    "add-group BR group_id=2,type=select,bucket=weight:1,output:1,bucket=weight:2,output:2",
    "add-group BR group_id=3,type=indirect,bucket=output:1",
    "add-group BR group_id=4,type=ff,bucket=watch_port:1,output:1", "add-group BR group_id=1,type=all,bucket=output:1",
    "mod-group BR group_id=3,type=indirect,bucket=output:3", "mod-group BR group_id=77,type=all,bucket=output:1",
    "insert-buckets BR group_id=1,command_bucket_id=last,bucket=bucket_id:9,output:3",
    "dump-groups BR", "dump-groups BR 1", "dump-group-features BR", "dump-group-stats BR",
    "add-flow BR priority=60,actions=group:2", "add-flow BR priority=61,actions=group:98",
    "del-groups BR group_id=1", "dump-groups BR", "del-groups BR", "dump-flows BR",
    "add-meter BR meter=1,kbps,band=type=drop,rate=1000", "add-meter BR meter=2,pktps,burst,stats,"
    "band=type=drop,rate=100,burst_size=50", "add-meter BR meter=1,kbps,band=type=drop,rate=1",
    "mod-meter BR meter=1,kbps,band=type=drop,rate=2000", "mod-meter BR meter=9,kbps,band=type=drop,rate=2000",
    "dump-meters BR", "dump-meter BR meter=2", "meter-stats BR", "meter-features BR",
    "add-flow BR priority=62,actions=meter:1,output:1", "add-flow BR priority=63,actions=meter:5,output:1",
    "del-meters BR meter=1", "dump-flows BR", "del-meters BR", "dump-meters BR",
    "packet-out BR in_port=controller,packet=" + "02" * 12 + "0800" + "00" * 46 + ",actions=output:1",
    "packet-out BR in_port=controller,packet=" + "02" * 12 + "0800" + "00" * 46 + ",actions=output:77",
    "mod-port BR 1 no-flood", "dump-ports-desc BR 1", "mod-port BR 1 flood", "mod-port BR 99 up",
    "mod-table BR 0 evict", "mod-table BR 0 noevict", "set-frags BR nx-match", "get-frags BR", "set-frags BR normal",
    "add-flow BR table=255,actions=drop", "add-flow BR tcp,tp_src=1,actions=output:0xfff0",
    "add-flow BR check_overlap,priority=1,actions=drop", "probe BR", "ping BR 10", "del-flows BR", "dump-flows BR",
] + EXTENSIONS
NOISE = [
    (r"\(xid=0x[0-9a-f]+\)", "(xid)"), (r"duration[=:]?[0-9.]+s", "duration"), (r"dpid:[0-9a-f]{16}", "dpid"),
    (r"addr:[0-9a-f:]{17}", "addr"), (r"[0-9.]+ms|time=[0-9.]+ *ms?", "ms"), (r"(?:ref|dut)([0-9]+)", r"port\1"),
    (r"(?:unix|tcp):\S*mgmt", "BRIDGE"), (r"\d{4}-\d\d-\d\dT[0-9:.]+Z\|\d+\|", ""), (r"\b(?:idle|hard)_age=\d+, ", ""),
    (r"xid=[0-9a-f]{8}", "xid"), (r"(rx|tx) pkts=\d+, bytes=\d+", r"\1 pkts, bytes"),
    # Controller-status of 1.5, which this ovs-ofctl and this Open vSwitch do not know.
    (r"(?m)^.*unknown OpenFlow message \(version 6, type 35\)\n", ""),
    (r"(?m)^\*\*\*decode error: OFPBRC_BAD_TYPE\*\*\*\n00000000  06 23 .*\n(?:0000.*\n?)*", ""),
    # dump-desc: who made it is no matter of conformance.
    (r"(Manufacturer|Hardware|Software|Serial Num|DP Description): .*", r"\1"),
]


def normalise(output, is_sorted=True):
    """The output without what differs from run to run, in an order of its own: that of rules is not specified."""
    for pattern, replacement in NOISE:
        output = re.sub(pattern, replacement, output)
    lines = [line.rstrip() for line in output.splitlines()]
    return sorted(lines) if is_sorted else lines


EXPECTED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ofctl_expected.txt")


class Expected:
    """Lines of differences that are meant: `VERSIONS | COMMAND | LINE`, where the two last are regular expressions."""

    def __init__(self, path):
        self.rows = []
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip() and not line.startswith("#"):
                    versions, command, pattern = (part.strip() for part in line.split(" | ", 2))
                    versions = VERSIONS if versions == "all" else ["OpenFlow" + one for one in versions.split(",")]
                    self.rows.append([number, versions, re.compile(command), re.compile(pattern), 0])

    def is_meant(self, version, step, line):
        """Whether a line of a difference, `+` or `-` before it, is in the list."""
        found = [row for row in self.rows
                 if version in row[1] and row[2].fullmatch(step) and row[3].fullmatch(line)]
        for row in found:
            row[4] += 1
        return bool(found)

    def unused(self, versions):
        """Numbers of the lines of entries about these versions that nothing matched."""
        return [row[0] for row in self.rows if not row[4] and set(row[1]) <= set(versions)]


def ofctl(directory, version, target, step):
    """What ovs-ofctl prints for a step."""
    lines = re.search(r"FILE\((.*)\)$", step)
    if lines:
        path = os.path.join(directory, "lines")
        with open(path, "w", encoding="utf-8") as file:
            file.write(lines.group(1).replace(";", "\n") + "\n")
        step = step[:lines.start()] + path
    words = [target if word == "BR" else word for word in step.split()]
    return lab.run("timeout", "10", "ovs-ofctl", "-O", version, *words, check=False)


class Tally:
    """What was compared so far."""

    def __init__(self, name, show):
        self.name, self.show = name, show
        self.expected = Expected(EXPECTED)
        self.passed = self.meant = self.failed = 0

    def compare(self, version, step, ours, theirs):
        """Counts an answer, and tells differences that are not meant."""
        if self.show:
            print(f"{version}: {step}", *theirs, sep="\n    ")
        if ours == theirs:
            self.passed += 1
            return
        lines = list(difflib.unified_diff(theirs, ours, "ovs", self.name, lineterm="", n=0))[2:]
        lines = [line for line in lines if not line.startswith("@@")]
        unmeant = [line for line in lines if not self.expected.is_meant(version, step, line)]
        if not unmeant:
            self.meant += 1
            return
        self.failed += 1
        print(f"FAILED: {version}: {step}")
        for line in unmeant:
            print("    " + line)

    def tell(self, versions):
        """Prints the sums; the exit code is 0 only if nothing failed. Entries about these versions must be needed."""
        for number in self.expected.unused(versions):
            self.failed += 1
            print(f"FAILED: ofctl_expected.txt:{number}: there is no such difference")
        print(f"{self.passed} passed, {self.meant} differ as they are meant to, {self.failed} failed")
        return 1 if self.failed else 0


def compare_snoops(tally, directory, reference, switch, versions):
    """Compares what is snooped at bridges that have a controller, which those of the other parts have not."""
    other = switch
    if switch is not reference:
        other = lab.SWITCHES[switch.name](os.path.join(directory, "snooped"))
    parts = []
    with contextlib.ExitStack() as stack:
        if other is not switch:
            stack.enter_context(lab.stopping(other))
        for side, one, number in (("dut", other, 3), ("ref", reference, 4)):
            port = SNOOP_PORT + number
            controller = ofctl_watch.Controller(port)
            stack.enter_context(lab.stopping(controller))
            lab.add_wire(f"{side}4", f"far-{side}4")
            one.add_bridge(f"{side}s", number, [f"{side}4"], [f"tcp:127.0.0.1:{port}"], versions)
            parts.append((side, one, controller))
        for version in versions:
            printed = [ofctl_watch.snoop(
                directory, version, VERSIONS.index(version) + 1, one, f"{side}s", controller,
                lambda step, one=one, side=side: ofctl(directory, version, one.management(f"{side}s"), step))
                       for side, one, controller in parts]
            tally.compare(version, "snoop BR", *(normalise(text, False) for text in printed))


def main():
    """Reads the command line, runs, and tells the differences; the exit code is 0 if there are none."""
    parser = argparse.ArgumentParser(prog="scripts/conformance ofctl", description=__doc__.splitlines()[0])
    parser.add_argument("--switch", choices=sorted(lab.SWITCHES), default="penstock", help="the switch under test")
    parser.add_argument("--version", action="append", choices=VERSIONS, help="all, unless some are named")
    parser.add_argument("--only", choices=PARTS, help="the commands, what monitors see or snoopers, alone")
    parser.add_argument("--show", action="store_true", help="show what Open vSwitch answers, too")
    arguments = parser.parse_args()
    directory = lab.enter()
    for number in range(1, PORTS + 1):
        for side in ("ref", "dut"):
            lab.add_wire(f"{side}{number}", f"far-{side}{number}")
    reference = lab.OpenVSwitch(directory)
    switch = reference if arguments.switch == reference.name else lab.SWITCHES[arguments.switch](directory)
    versions = arguments.version or VERSIONS
    tally = Tally(switch.name, arguments.show)
    with lab.stopping(reference, switch):
        for side, one, number in (("ref", reference, 1), ("dut", switch, 2)):
            one.add_bridge(f"{side}0", number, [f"{side}{port}" for port in range(1, PORTS + 1)], [], versions)
        sides = (("dut", switch), ("ref", reference))

        def do(version, one, side):
            return lambda step: ofctl(directory, version, one.management(f"{side}0"), step)

        for version in versions:
            for step in STEPS if arguments.only in (None, "steps") else []:
                tally.compare(version, step, *(normalise(do(version, one, side)(step)) for side, one in sides))
            for watch in ofctl_watch.MONITORS if arguments.only in (None, "monitor") else []:
                if version in (watch.versions or versions):
                    printed = (ofctl_watch.play(watch, directory, version, one, side, do(version, one, side))
                               for side, one in sides)
                    tally.compare(version, watch.label(), *(normalise(text, False) for text in printed))
            switch.alive()
        if arguments.only in (None, "snoop"):
            compare_snoops(tally, directory, reference, switch, versions)
    return tally.tell(versions if switch is not reference and not arguments.only else [])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except lab.LabError as error:
        sys.exit(f"conformance: {error}")
