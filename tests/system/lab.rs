//! Namespaces, hosts and what waits for them.

use crate::packet_socket::PacketSocket;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};
use std::{process, thread};
use tempfile::TempDir;

/// Longest wait for anything. Generous, for it is only spent where something is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Tests that run at one time: each has a worker that wants a core.
const LAB_COUNT_MAX: u32 = 2;

/// What namespaces' names begin with.
const PREFIX: &str = "pstest";

static LAB_NUMBER: AtomicU32 = AtomicU32::new(0);

/// Waits until `probe` has an answer.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {} s for {what}", DEADLINE.as_secs());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Says on standard error, past the test runner's capture, that the calling test did not run.
pub(crate) fn skip(test: &str, why: &str) {
    let mut stderr = std::io::stderr();
    // Nobody left to tell.
    let _ = writeln!(stderr, "SKIPPED: {test}: {why}");
}

/// Runs a program to its end; it must succeed. Returns its standard output.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    let output = output(command);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {error}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a program to its end.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> Output {
    match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) => panic!("{command:?}: {error}: scripts/setup installs what these tests need"),
    }
}

fn ip(arguments: &str) -> String {
    run(Command::new("ip").args(arguments.split(' ')))
}

/// The tests' places, of which there are few: a permit is held by every lab.
#[derive(Debug)]
struct Permit;

static PERMITS: (Mutex<u32>, Condvar) = (Mutex::new(LAB_COUNT_MAX), Condvar::new());

impl Permit {
    fn take() -> Permit {
        let free = PERMITS.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = PERMITS.1.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Permit
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *PERMITS.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        PERMITS.1.notify_one();
    }
}

/// A network namespace. Dropping it ends the processes in it and deletes it.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    fn create(name: String) -> Namespace {
        ip(&format!("netns add {name}"));
        let namespace = Namespace { name };
        // What the kernel says of its own accord (duplicate address detection, router solicitations) would get
        // into the counts.
        for which in ["all", "default"] {
            namespace.sysctl(&format!("net.ipv6.conf.{which}.disable_ipv6"), "1");
        }
        namespace.ip("link set lo up");
        namespace
    }

    /// A program that runs in it. It becomes that program, so its process id is the program's.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).stdin(Stdio::null());
        command
    }

    /// `ip` in it.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.name))
    }

    /// Sets a kernel parameter in it.
    pub(crate) fn sysctl(&self, key: &str, value: &str) {
        run(self.command("sysctl").args(["-q", "-w", &format!("{key}={value}")]));
    }

    /// Runs `f` on a thread in it. Sockets that `f` makes stay in it, whoever uses them afterwards.
    pub(crate) fn enter<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let file = File::open(Path::new("/run/netns").join(&self.name)).expect("the namespace is there");
        let body = move || {
            setns(file, CloneFlags::CLONE_NEWNET).expect("root may enter a namespace");
            f()
        };
        thread::scope(|scope| match scope.spawn(body).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Names of the interfaces in it, without the loopback.
    pub(crate) fn interfaces(&self) -> Vec<String> {
        let links: serde_json::Value =
            serde_json::from_str(&self.ip("-json link show")).expect("ip writes JSON");
        let names = links.as_array().expect("a list").iter();
        names
            .map(|link| link["ifname"].as_str().expect("a name").to_owned())
            .filter(|name| name != "lo")
            .collect()
    }

    /// A UDP socket in it.
    #[track_caller]
    pub(crate) fn udp(&self, address: SocketAddr) -> UdpSocket {
        let socket = self.enter(|| UdpSocket::bind(address));
        let socket = socket.unwrap_or_else(|error| panic!("{}: cannot bind {address}: {error}", self.name));
        socket.set_read_timeout(Some(DEADLINE)).expect("a timeout that is not 0");
        socket
    }

    /// A TCP listener in it.
    pub(crate) fn tcp_listen(&self, address: SocketAddr) -> TcpListener {
        self.enter(|| TcpListener::bind(address)).expect("the address is free")
    }

    /// A TCP connection from it.
    pub(crate) fn tcp_connect(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        let stream = self.enter(|| TcpStream::connect_timeout(&address, DEADLINE))?;
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout that is not 0");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout that is not 0");
        Ok(stream)
    }

    /// Whether somebody in it has a UDP socket bound to this port.
    pub(crate) fn has_udp_port(&self, port: u16) -> bool {
        let table = run(self.command("cat").arg("/proc/net/udp"));
        table.lines().any(|line| {
            line.split_whitespace()
                .nth(1)
                .is_some_and(|local| local.rsplit(':').next() == Some(&format!("{port:04X}")))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove_namespace(&self.name);
    }
}

/// Ends what runs in a namespace of ours, and removes it. Nothing is left to do about what fails here.
fn remove_namespace(name: &str) {
    let pids = Command::new("ip").args(["netns", "pids", name]).stdin(Stdio::null()).output();
    let pids = pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    for pid in pids.split_whitespace().filter_map(|pid| pid.parse().ok()) {
        // A thread of ours that is just in there is not to be ended.
        if pid != process::id() as i32 {
            let _ =
                nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
    let _ =
        Command::new("ip").args(["netns", "del", name]).stdin(Stdio::null()).stderr(Stdio::null()).status();
}

/// Removes what earlier runs left that were killed themselves.
fn remove_leftovers() {
    let Ok(entries) = fs::read_dir("/run/netns") else { return };
    for name in entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok())
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            remove_namespace(&name);
        }
    }
}

/// Fails with the reason where these tests cannot run.
fn check_machine() {
    assert!(Path::new("/dev/net/tun").exists(), "these tests need /dev/net/tun: modprobe tun");
    assert!(
        nix::unistd::geteuid().is_root(),
        "these tests make network namespaces and taps: run them as root"
    );
}

/// A host: a namespace with one interface, `eth0`, which is a tap of the switch.
#[derive(Debug)]
pub(crate) struct Host {
    /// Its namespace.
    pub(crate) namespace: Namespace,
    /// Its address.
    pub(crate) address: IpAddr,
}

impl std::ops::Deref for Host {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

impl Host {
    /// Its hardware address.
    pub(crate) fn mac(&self) -> String {
        let link: serde_json::Value =
            serde_json::from_str(&self.ip("-json link show eth0")).expect("ip writes JSON");
        link[0]["address"].as_str().expect("an address").to_owned()
    }

    /// Tells it another host's hardware address, so that it need not ask.
    pub(crate) fn knows(&self, address: IpAddr, mac: &str) {
        self.ip(&format!("neigh replace {address} lladdr {mac} dev eth0 nud permanent"));
    }

    /// Pings; every request must be answered.
    #[track_caller]
    pub(crate) fn pings(&self, to: IpAddr, count: u16) {
        ping(self, to, count);
    }

    /// As [`Host::pings`], with requests of so many bytes, IPv4's header aside.
    #[track_caller]
    pub(crate) fn pings_of(&self, to: IpAddr, count: u16, size: usize) {
        ping_of(self, to, count, size);
    }

    /// Gives it a further address on an interface of it, of either family.
    pub(crate) fn add_address(&self, interface: &str, address: &str) -> IpAddr {
        let host = host_address(address);
        if host.is_ipv6() {
            self.sysctl(&format!("net.ipv6.conf.{interface}.disable_ipv6"), "0");
            self.sysctl(&format!("net.ipv6.conf.{interface}.accept_dad"), "0");
        }
        let more = if host.is_ipv6() { " nodad" } else { "" };
        self.ip(&format!("address add {address} dev {interface}{more}"));
        host
    }

    /// Gives it an interface `name` whose packets have the tag of a VLAN; false if its kernel has no VLANs.
    pub(crate) fn add_vlan(&self, name: &str, vid: u16) -> bool {
        let add = format!("-n {} link add link eth0 name {name} type vlan id {vid}", self.name);
        let added = output(Command::new("ip").args(add.split(' ')));
        let errors = String::from_utf8_lossy(&added.stderr);
        if errors.contains("Unknown device type") {
            return false;
        }
        assert!(added.status.success(), "ip {add}: {errors}");
        self.ip(&format!("link set dev {name} up"));
        true
    }

    /// Pings once; returns whether an answer came within half a second.
    #[track_caller]
    pub(crate) fn tries(&self, to: IpAddr) -> bool {
        let socket = ping_socket(self, to);
        send_ping(&socket, 1);
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a timeout that is not 0");
        socket.recv(&mut [0; 128]).is_ok()
    }

    /// Pings in vain: none of three requests is answered within a second.
    #[track_caller]
    pub(crate) fn does_not_reach(&self, to: IpAddr) {
        let socket = ping_socket(self, to);
        (0..3).for_each(|sequence| send_ping(&socket, sequence));
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout that is not 0");
        let received = socket.recv(&mut [0; 128]);
        assert!(received.is_err(), "{} reaches {to}", self.address);
    }

    /// A UDP socket on its address; 0 takes a free port.
    #[track_caller]
    pub(crate) fn udp_socket(&self, port: u16) -> UdpSocket {
        self.udp(SocketAddr::new(self.address, port))
    }

    /// A raw socket on its interface.
    pub(crate) fn packets(&self) -> PacketSocket {
        self.enter(|| PacketSocket::open("eth0")).expect("the interface is there")
    }
}

/// Pings from `namespace`, one request after the other; every one must be answered. (`ping` itself gives up on
/// the last answer after twice the longest round trip so far, which on a busy machine is too early.)
#[track_caller]
pub(crate) fn ping(namespace: &Namespace, to: IpAddr, count: u16) {
    ping_of(namespace, to, count, PING_SIZE);
}

/// As [`ping`], with requests of so many bytes.
#[track_caller]
fn ping_of(namespace: &Namespace, to: IpAddr, count: u16, size: usize) {
    let socket = ping_socket(namespace, to);
    let mut buffer = vec![0; 65536];
    for sequence in 0..count {
        let request = ping_request(sequence, size);
        socket.send(&request).expect("a request is sent");
        let received = socket.recv(&mut buffer);
        let name = &namespace.name;
        assert!(received.is_ok(), "{name}: ping {sequence} of {count} to {to}, {size} bytes: {received:?}");
        assert_eq!(buffer[6..8], sequence.to_be_bytes(), "answers come in order");
        assert!(received.ok() == Some(size) && buffer[8..size] == request[8..], "the answer is another");
    }
}

/// A socket for ICMP echoes. It has the calls of a UDP socket; the kernel fills in identifier and checksum.
fn ping_socket(namespace: &Namespace, to: IpAddr) -> UdpSocket {
    namespace.sysctl("net.ipv4.ping_group_range", "0 0");
    let flags = SockFlag::SOCK_CLOEXEC;
    let open = || socket(AddressFamily::Inet, SockType::Datagram, flags, SockProtocol::Icmp);
    let socket = UdpSocket::from(namespace.enter(open).expect("root may ping"));
    socket.set_read_timeout(Some(DEADLINE)).expect("a timeout that is not 0");
    socket.connect((to, 0)).expect("a route");
    socket
}

/// Bytes in an ordinary request, IPv4's header aside.
const PING_SIZE: usize = 64;

fn send_ping(socket: &UdpSocket, sequence: u16) {
    socket.send(&ping_request(sequence, PING_SIZE)).expect("a request is sent");
}

fn ping_request(sequence: u16, size: usize) -> Vec<u8> {
    let mut request: Vec<u8> = (0..size).map(|index| (index / 8) as u8).collect();
    // RFC 792: type 8 (echo), code 0, checksum and identifier (the kernel's), sequence number.
    request[..8].copy_from_slice(&[8, 0, 0, 0, 0, 0, 0, 0]);
    request[6..8].copy_from_slice(&sequence.to_be_bytes());
    request
}

/// One test's network: the switch's namespace, a directory for its files. Hosts are made by
/// [`Lab::host`].
#[derive(Debug)]
pub(crate) struct Lab {
    /// Where switches run: their taps are made here, collectors listen here on loopback.
    pub(crate) namespace: Namespace,
    dir: TempDir,
    prefix: String,
    host_count: AtomicU32,
    _permit: Permit,
}

impl Lab {
    /// A new one, when it is its turn.
    #[track_caller]
    pub(crate) fn new() -> Lab {
        check_machine();
        static SWEEP: Once = Once::new();
        SWEEP.call_once(remove_leftovers);
        let permit = Permit::take();
        let number = LAB_NUMBER.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{PREFIX}{}-{number}", process::id());
        Lab {
            namespace: Namespace::create(format!("{prefix}-sw")),
            dir: tempfile::Builder::new()
                .prefix("penstock-system-")
                .tempdir()
                .expect("a directory for temporary files"),
            prefix,
            host_count: AtomicU32::new(0),
            _permit: permit,
        }
    }

    /// A file in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A namespace with nothing in it.
    pub(crate) fn empty_namespace(&self) -> Namespace {
        let number = self.host_count.fetch_add(1, Ordering::Relaxed);
        Namespace::create(format!("{}-h{number}", self.prefix))
    }

    /// Plugs a host into the switch's tap `interface`: the tap's kernel side moves into a namespace of its own,
    /// as `eth0`, with an address such as `198.18.0.1/24`.
    #[track_caller]
    pub(crate) fn host(&self, interface: &str, address: &str) -> Host {
        let host = Host { namespace: self.empty_namespace(), address: host_address(address) };
        self.plug(interface, address, &host);
        host
    }

    /// Plugs an existing host, whose interface is gone, into a tap again.
    pub(crate) fn plug(&self, interface: &str, address: &str, host: &Host) {
        self.namespace.ip(&format!("link set dev {interface} netns {}", host.name));
        host.ip(&format!("link set dev {interface} name eth0"));
        if host.address.is_ipv6() {
            host.sysctl("net.ipv6.conf.eth0.disable_ipv6", "0");
            host.sysctl("net.ipv6.conf.eth0.accept_dad", "0");
            host.sysctl("net.ipv6.conf.eth0.addr_gen_mode", "1");
            host.sysctl("net.ipv6.conf.eth0.router_solicitations", "0");
        }
        host.ip("link set dev eth0 up");
        host.ip(&format!("address add {address} dev eth0"));
    }
}

fn host_address(address: &str) -> IpAddr {
    let host = address.split('/').next().expect("split has a first part");
    host.parse().expect("an address with a prefix length")
}

/// A program in the background, ended with its guard.
#[derive(Debug)]
pub(crate) struct Background(pub(crate) Child);

impl Background {
    /// Starts it.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Background {
        match command.spawn() {
            Ok(child) => Background(child),
            Err(error) => panic!("{command:?}: {error}: scripts/setup installs what these tests need"),
        }
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(mut self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.0.id() as i32);
        nix::sys::signal::kill(pid, signal).expect("it is still there, for nobody waited for it");
        self.0.wait().expect("it is our child");
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
