"""A place for switches, controllers and hosts that leaves nothing behind: what all conformance runs have in common.

`enter` puts the calling program into network, mount and process namespaces of its own, where names of interfaces and
hosts, addresses and port numbers are free. The kernel takes all of it away when the program ends, whatever ended it:
interfaces, hosts, and every process that was started. Files are under a directory which `enter`'s parent removes.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

CONTROLLER = "tcp:127.0.0.1:6653"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_INSIDE = "PENSTOCK_CONFORMANCE_DIR"
_PR_SET_PDEATHSIG = 1
_SYS_PIDFD_GETFD, _SO_RCVBUFFORCE = 438, 33
# How long anything may take that has no reason to take long, even on a machine that is busy.
DEADLINE_S = 60


class LabError(Exception):
    """Something that a run needs does not work, so that it can tell nothing about the switch."""


def die_with_parent(number=signal.SIGKILL):
    """For preexec_fn: the child gets a signal when its parent has gone, however that went."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def enter():
    """Runs the calling program again in namespaces of its own; returns only there, with its directory for files."""
    if _INSIDE in os.environ:
        run("mount", "-t", "sysfs", "sysfs", "/sys")
        os.makedirs("/run/netns", exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        # Nobody's neighbour discovery is to come between the packets of a test.
        run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        run("ip", "link", "set", "dev", "lo", "up")
        return os.environ[_INSIDE]
    if os.geteuid() != 0:
        sys.exit("conformance: it takes root, for namespaces and interfaces")
    directory = tempfile.mkdtemp(prefix="penstock-conformance.")
    os.chmod(directory, 0o755)
    command = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable]
    child = subprocess.Popen(command + sys.argv, env=dict(os.environ, **{_INSIDE: directory}),
                             preexec_fn=die_with_parent)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: child.kill())
    try:
        sys.exit(abs(child.wait()))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def run(*command, input=None, check=True, timeout=DEADLINE_S):
    """Runs a command to its end and returns what it printed, errors too."""
    done = subprocess.run(command, input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", stdin=None if input is not None else subprocess.DEVNULL, timeout=timeout)
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(command)}: {done.stdout.strip()}")
    return done.stdout


def wait_for(what, condition, deadline_s=DEADLINE_S):
    """Waits until `condition()` is true and returns what it returned."""
    end = time.monotonic() + deadline_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise LabError(f"waited {deadline_s} s in vain for {what}")
        time.sleep(0.05)


def listens(port, host=None):
    """Whether something listens on a TCP port."""
    return f":{port} " in in_host(host, "ss", "-Hltn")


def has_connection(port):
    """Whether somebody is connected to what listens on a TCP port."""
    return bool(run("ss", "-Htn", "state", "established", f"sport = :{port}").strip())


class Daemon:
    """A process that runs in the background and logs into a file."""

    def __init__(self, directory, name, command, env=None, host=None):
        self.name = name
        self.log = os.path.join(directory, name + ".log")
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(_in(host) + command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=dict(os.environ, **(env or {})))

    def alive(self):
        """Whether it still runs; raises with the end of its log if not."""
        if self.process.poll() is None:
            return True
        raise LabError(f"{self.name} ended with code {self.process.returncode}:\n{self.tail()}")

    def tail(self, size=2000):
        """The end of its log."""
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-size:]

    def stop(self):
        """Ends it, by force if it does not end by itself."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def _in(host):
    return ["ip", "netns", "exec", host] if host else []


def in_host(host, *command, check=True):
    """Runs a command on a host of the lab; None is where the switches are."""
    return run(*_in(host), *command, check=check)


def add_wire(one, other):
    """A pair of interfaces, each the other's wire, without any offloads that would leave checksums undone."""
    run("ip", "link", "add", one, "type", "veth", "peer", "name", other)
    for name in (one, other):
        run("ethtool", "-K", name, "tx", "off", check=False)
        run("ip", "link", "set", "dev", name, "up")


def add_host(name, port, address, gateway=None):
    """A network namespace whose eth0 is wired to the switch's interface `port`."""
    run("ip", "netns", "add", name)
    add_wire(port, "eth0")
    run("ip", "link", "set", "dev", "eth0", "netns", name)
    in_host(name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
    in_host(name, "ip", "link", "set", "dev", "lo", "up")
    in_host(name, "ip", "link", "set", "dev", "eth0", "up")
    in_host(name, "ip", "address", "add", address, "dev", "eth0")
    if gateway:
        in_host(name, "ip", "route", "add", "default", "via", gateway)


def succeeds(host, *command):
    """Whether a command on a host ends well."""
    return subprocess.run(_in(host) + list(command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                          stdin=subprocess.DEVNULL, check=False, timeout=DEADLINE_S).returncode == 0


def pings(host, address, count=1, wait_s=1):
    """Whether a host gets an answer."""
    return succeeds(host, "ping", "-n", "-q", "-c", str(count), "-W", str(wait_s), address)


def wait_for_ports(switch, bridge, ports, version):
    """Waits until ovs-ofctl finds all ports at a bridge."""
    target = switch.management(bridge)
    wait_for(f"bridge {bridge}", lambda: switch.alive() and os.path.exists(target.removeprefix("unix:")))
    wait_for(f"the ports of {bridge}", lambda: all(
        f"({port})" in run("ovs-ofctl", "-O", version, "show", target, check=False) for port in ports))


class OpenVSwitch:
    """An ovs-vswitchd with its own database and directories, whose bridges use the userspace datapath."""

    name = "ovs"

    def __init__(self, directory, _binary=None):
        self.directory = os.path.join(directory, "ovs")
        os.makedirs(self.directory)
        self._env = {key: self.directory for key in ("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR")}
        database = os.path.join(self.directory, "conf.db")
        database_socket = os.path.join(self.directory, "db.sock")
        self._vsctl = ["ovs-vsctl", f"--db=unix:{database_socket}", "--no-wait"]
        self.control = os.path.join(self.directory, "vswitchd.ctl")
        run("ovsdb-tool", "create", database, "/usr/share/openvswitch/vswitch.ovsschema")
        quiet = ["-vconsole:warn", "-vsyslog:off"]
        self.daemons = [Daemon(self.directory, "ovsdb-server", [
            "ovsdb-server", database, f"--remote=punix:{database_socket}", f"--unixctl={self.directory}/ovsdb.ctl"] + quiet,
            self._env)]
        wait_for("ovsdb-server", lambda: self.daemons[0].alive() and os.path.exists(database_socket))
        run(*self._vsctl, "init")
        self.daemons.append(Daemon(self.directory, "ovs-vswitchd", [
            "ovs-vswitchd", f"unix:{database_socket}", "--disable-system", f"--unixctl={self.control}"] + quiet,
            self._env))
        self.pid = self.daemons[1].process.pid

    def add_bridge(self, bridge, datapath_id, ports, controllers, versions, fail_mode="secure"):
        """A bridge whose port number N is the N-th of `ports`; returns when they are all there."""
        command = ["--", "add-br", bridge, "--", "set", "Bridge", bridge, "datapath_type=netdev",
                   f"fail_mode={fail_mode}", f"other_config:datapath-id={datapath_id:016x}",
                   "other_config:disable-in-band=true", "protocols=[" + ",".join(versions) + "]"]
        for number, port in enumerate(ports, 1):
            command += ["--", "add-port", bridge, port, "--", "set", "Interface", port, f"ofport_request={number}"]
        run(*self._vsctl, *command)
        if controllers:
            names = [f"@c{number}" for number in range(len(controllers))]
            command = ["set", "Bridge", bridge, f"controller=[{','.join(names)}]"]
            for name, controller in zip(names, controllers):
                command += ["--", f"--id={name}", "create", "Controller", f'target="{controller}"',
                            "inactivity_probe=0", "max_backoff=1000"]
            run(*self._vsctl, *command)
        wait_for_ports(self, bridge, ports, versions[0])

    def vsctl(self, *command):
        """Runs ovs-vsctl on it."""
        return run(*self._vsctl, *command)

    def management(self, bridge):
        """What ovs-ofctl calls the bridge."""
        return f"unix:{self.directory}/{bridge}.mgmt"

    def bring_up_to_date(self):
        """Has it forward by its rules of now: it answers a barrier before its datapath does."""
        run("ovs-appctl", "-t", self.control, "revalidator/purge")

    def alive(self):
        """Whether all of it runs."""
        return all(daemon.alive() for daemon in self.daemons)

    def stop(self):
        """Ends it."""
        for daemon in reversed(self.daemons):
            daemon.stop()


class Penstock:
    """A penstockd with one bridge."""

    name = "penstock"

    def __init__(self, directory, binary=None):
        self.directory = os.path.join(directory, "penstock")
        os.makedirs(self.directory)
        self.binary = binary or _find_penstockd()
        self.daemon = None
        # af-packet: interfaces that are there; tap: it makes them.
        self.port_type = "af-packet"

    def add_bridge(self, bridge, datapath_id, ports, controllers, versions, fail_mode="secure"):
        """As OpenVSwitch.add_bridge; it can be called once."""
        config = os.path.join(self.directory, "penstock.yaml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f"""\
switch: {{name: conformance, run_dir: {self.directory}}}
dpdk: {{hugepages: never}}
metrics: {{listen: "off"}}
bridges:
  - name: {bridge}
    internal_port: false
    datapath_id: "{datapath_id:016x}"
    openflow:
      versions: [{", ".join(versions)}]
      controllers: [{", ".join(f'"{controller}"' for controller in controllers)}]
      fail_mode: {fail_mode}
      backoff_max_s: 1
    ports:
""")
            for number, port in enumerate(ports, 1):
                file.write(f"      - {{name: {port}, type: {self.port_type}, interface: {port}, number: {number}}}\n")
        run(self.binary, "--check", config)
        self.daemon = Daemon(self.directory, "penstockd", [self.binary, "--config", config])
        self.pid = self.daemon.process.pid
        wait_for_ports(self, bridge, ports, versions[0])

    def management(self, bridge):
        """What ovs-ofctl calls the bridge."""
        return f"unix:{self.directory}/{bridge}.mgmt"

    def bring_up_to_date(self):
        """Nothing: it is."""

    def alive(self):
        """Whether it runs."""
        return self.daemon.alive()

    def stop(self):
        """Ends it."""
        if self.daemon:
            self.daemon.stop()


def _find_penstockd():
    """The newest of the builds that there are."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target"))
    binaries = [os.path.join(target, profile, "penstockd") for profile in ("release", "debug")]
    binaries = [binary for binary in binaries if os.path.exists(binary)]
    if not binaries:
        raise LabError("there is no penstockd in target/release and target/debug: build it first")
    return max(binaries, key=os.path.getmtime)


def give_packet_sockets_room(pid, size=64 << 20):
    """Lets a process's packet sockets hold so many bytes: by default they hold a hundred packets, which at 20 000 a second
    come in while their reader is away for 5 ms."""
    libc = ctypes.CDLL(None, use_errno=True)
    process = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            descriptor = libc.syscall(_SYS_PIDFD_GETFD, process, int(name), 0)
            if descriptor < 0:
                continue
            try:
                opened = socket.socket(fileno=descriptor)
            except OSError:
                # No socket.
                os.close(descriptor)
                continue
            with opened:
                if opened.family == socket.AF_PACKET:
                    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)
    finally:
        os.close(process)


SWITCHES = {"ovs": OpenVSwitch, "penstock": Penstock}


@contextlib.contextmanager
def stopping(*things):
    """Stops what was started, the last first, and does so whatever happens in between."""
    try:
        yield
    finally:
        for thing in reversed(things):
            thing.stop()
