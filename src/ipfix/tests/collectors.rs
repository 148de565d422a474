//! The exporter against collectors that other people wrote, over a real socket.

use super::*;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take that other processes do.
const PATIENCE: Duration = Duration::from_secs(30);

/// A directory that goes away with its test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("penstock-ipfix-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A child process that does not outlive its test.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether `program` is there; `version_option` makes it print its version and end.
fn is_installed(program: &str, version_option: &str) -> bool {
    let found = Command::new(program)
        .arg(version_option)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        println!("SKIPPED: {program} is not installed");
    }
    found
}

/// Waits until `is_so`, or fails after [`PATIENCE`].
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Receive queue and drops of the UDP socket on 127.0.0.1 at `port`, from the kernel's table.
fn udp_socket(port: u16) -> Option<(u64, u64)> {
    let table = fs::read_to_string("/proc/net/udp").unwrap();
    let line = table.lines().find(|line| line.contains(&format!(" 0100007F:{port:04X} ")))?;
    let columns: Vec<&str> = line.split_whitespace().collect();
    let receive_queue = columns[4].split(':').nth(1).unwrap();
    Some((u64::from_str_radix(receive_queue, 16).unwrap(), columns[12].parse().unwrap()))
}

/// Pushes `count` random records and sends all of it, no faster than the collector takes it.
fn export(
    exporter: &mut Exporter,
    count: usize,
    send: &mut dyn FnMut(&[u8]) -> Result<(), SendError>,
) -> [u64; 3] {
    exporter.set_interfaces(interfaces());
    let mut random = fastrand::Rng::with_seed(42);
    let mut sums = [0; 3];
    for _ in 0..count {
        let record = random_record(&mut random);
        for (sum, more) in sums.iter_mut().zip([1, record.packets, record.octets]) {
            *sum += more;
        }
        exporter.push(&record, at(1_000));
        exporter.poll(at(1_000), send);
    }
    exporter.flush(at(1_000));
    exporter.poll(at(1_000), send);
    assert_eq!(exporter.queue_len(), 0);
    sums
}

#[test]
fn nfcapd_and_nfdump_see_the_same_totals() {
    if !is_installed("nfcapd", "-V") || !is_installed("nfdump", "-V") {
        return;
    }
    let scratch = Scratch::new("nfcapd");
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let log = fs::File::create(scratch.0.join("log")).unwrap();
    let flows = scratch.0.join("flows");
    fs::create_dir(&flows).unwrap();
    let nfcapd = Command::new("nfcapd")
        .args(["-4", "-b", "127.0.0.1", "-p", &port.to_string(), "-w"])
        .arg(&flows)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn();
    let mut nfcapd = Reaped(nfcapd.unwrap());
    wait_until("nfcapd's socket", || udp_socket(port).is_some());

    let collector = format!("127.0.0.1:{port}").parse().unwrap();
    let mut sender = UdpSender::new(collector);
    let mut exporter = Exporter::new(ExporterConfig { collector, ..config() }).unwrap();
    let sums = export(&mut exporter, 2_000, &mut |message| {
        wait_until("an empty socket", || udp_socket(port).unwrap().0 < 50_000);
        sender.send(message)
    });
    wait_until("nfcapd to read all", || udp_socket(port).unwrap().0 == 0);
    assert_eq!(udp_socket(port).unwrap().1, 0, "the kernel dropped messages");
    Command::new("kill").arg(nfcapd.0.id().to_string()).status().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while nfcapd.0.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "nfcapd does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    let log = fs::read_to_string(scratch.0.join("log")).unwrap();
    assert_eq!(read_nfdump(&flows), sums, "nfcapd's log:\n{log}");
    // What nfcapd itself has to say about gaps and templates it does not understand.
    assert!(log.contains("Sequence Errors: 0, Bad Packets: 0"), "{log}");
    for trouble in ["error:", "kip", "nknown", "alformed", "No template"] {
        assert!(!log.contains(trouble), "{trouble} in nfcapd's log:\n{log}");
    }
}

/// Records, packets and octets in a directory of nfcapd's.
fn read_nfdump(flows: &Path) -> [u64; 3] {
    let output = Command::new("nfdump")
        .arg("-R")
        .arg(flows)
        .args(["-q", "-N", "-o", "fmt:%pkt %byt"])
        .output()
        .unwrap();
    let mut sums = [0; 3];
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().unwrap());
        let (Some(packets), Some(octets)) = (numbers.next(), numbers.next()) else { continue };
        sums = [sums[0] + 1, sums[1] + packets, sums[2] + octets];
    }
    sums
}

/// A capture file of UDP datagrams to port 4739, as `pcap-savefile(5)` describes it.
fn capture(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0002_0004, 0, 0, 65_535, 101] {
        // Version 2.4 is two 16-bit numbers.
        let word = if word == 0x0002_0004 { 0x0004_0002 } else { word };
        file.extend(word.to_le_bytes());
    }
    for message in messages {
        let udp_size = (message.len() + 8) as u16;
        let mut packet = vec![0x45, 0];
        packet.extend((udp_size + 20).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
        packet.extend([0x30, 0x39, 0x12, 0x83]);
        packet.extend(udp_size.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(message);
        let size = packet.len() as u32;
        for word in [1_577_836_801, 0, size, size] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

#[test]
fn tshark_decodes_every_record_without_complaint() {
    if !is_installed("tshark", "--version") {
        return;
    }
    let scratch = Scratch::new("tshark");
    let mut messages = Vec::new();
    let mut exporter = Exporter::new(config()).unwrap();
    let sums = export(&mut exporter, 500, &mut |message| {
        messages.push(message.to_vec());
        Ok(())
    });
    let path = scratch.0.join("export.pcap");
    fs::write(&path, capture(&messages)).unwrap();
    let tshark = |arguments: &[&str]| {
        let mut command = Command::new("tshark");
        command.arg("-n").arg("-r").arg(&path).args(["-d", "udp.port==4739,cflow"]).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let sum = |field: &str| -> (u64, u64) {
        let text = tshark(&["-T", "fields", "-e", field]);
        let numbers = text.split([',', '\n']).filter(|number| !number.is_empty());
        numbers.fold((0, 0), |(count, sum), number| (count + 1, sum + number.parse::<u64>().unwrap()))
    };
    assert_eq!(sum("cflow.packets"), (sums[0], sums[1]));
    assert_eq!(sum("cflow.octets"), (sums[0], sums[2]));
    // Malformed packets, sequence gaps, padding in the wrong place: all are expert information.
    let complaints =
        tshark(&["-Y", "_ws.expert || _ws.malformed", "-T", "fields", "-e", "_ws.expert.message"]);
    assert_eq!(complaints, "");
    assert!(!tshark(&["-Y", "cflow.template_frame", "-T", "fields", "-e", "frame.number"]).is_empty());
    let names = tshark(&["-T", "fields", "-e", "cflow.if_name"]);
    assert!(names.contains("p1") && names.contains("br0"), "{names}");
}

#[test]
fn a_collector_that_is_down_is_found_out_and_found_again() {
    let collector = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = collector.local_addr().unwrap();
    drop(collector);
    let mut sender = UdpSender::new(address);
    let mut exporter = Exporter::new(ExporterConfig { collector: address, ..config() }).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let mut millis = 0;
    // The first message draws the refusal that the second one meets.
    wait_until("the refusal", || {
        exporter.push(&random_record(&mut random), at(millis));
        exporter.flush(at(millis));
        exporter.poll(at(millis), &mut |message| sender.send(message));
        millis += 1;
        exporter.collector_state() != CollectorState::Reachable
    });
    let waiting = exporter.queue_len();
    assert!(waiting > 0);
    let collector = UdpSocket::bind(address).unwrap();
    collector.set_read_timeout(Some(PATIENCE)).unwrap();
    wait_until("the recovery", || {
        millis += 1_000;
        exporter.poll(at(millis), &mut |message| sender.send(message));
        exporter.collector_state() == CollectorState::Reachable && exporter.queue_len() == 0
    });
    // Templates come first: the collector knows nothing.
    let mut buffer = [0; 2_000];
    let size = collector.recv(&mut buffer).unwrap();
    assert_eq!(buffer[16..18], [0, 2]);
    assert!(size > 100);
    assert!(exporter.stats().send_errors > 0);
}
