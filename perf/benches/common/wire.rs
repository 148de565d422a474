//! A device that makes packets up and takes them back, for next to nothing: the benches' NIC.
//!
//! Receiving takes up to a burst of packets from a stock, writes into each the frame of a flow drawn at random,
//! and hands it on; transmitting puts packets back into the stock. Flows are drawn and not taken in turns, since
//! a switch that met them in the order in which it learned them would find its memory laid out in that order.

use penstock::netdev::dummy::{DummyHandle, DummyNetdev};
use penstock::netdev::{
    Link, MacAddress, Netdev, NetdevConfig, NetdevError, NetdevStats, RxQueue, TxBurst, TxCopier, TxQueue,
};
use penstock::packet::build::FrameBuilder;
use penstock::packet::{BURST_LEN_MAX, Packet, PacketBatch};
use std::sync::{Arc, Mutex};

/// Packets in the stock: two bursts, so that receiving never waits for transmitting.
const STOCK_LEN: usize = 2 * BURST_LEN_MAX;

/// The frame of a flow: 64 bytes of UDP over IPv4, with addresses and ports of its own.
pub(crate) fn flow_frame(flow: u32) -> Vec<u8> {
    let [_, high, mid, low] = flow.to_be_bytes();
    FrameBuilder::new()
        .ipv4([10, 0, mid, low], [172, 16, 0, high])
        .udp(source_port(flow), 5000 + u16::from(high))
        .payload(&[0; 22])
        .build()
}

/// An odd factor: flows that are neighbours by address are not by port.
fn source_port(flow: u32) -> u16 {
    1024 + (flow.wrapping_mul(40_503) & 0x7fff) as u16
}

/// Makes a frame of [`flow_frame`] that of another flow, and makes good what the last round did to its TTL.
/// Checksums stay as they were: nobody here looks at them.
fn rewrite(frame: &mut [u8], flow: u32) {
    let [_, high, mid, low] = flow.to_be_bytes();
    frame[22] = 64;
    frame[28..30].copy_from_slice(&[mid, low]);
    frame[33] = high;
    frame[34..36].copy_from_slice(&source_port(flow).to_be_bytes());
    frame[36..38].copy_from_slice(&(5000 + u16::from(high)).to_be_bytes());
}

/// Draws flows at random: always the same ones, for the same seed.
#[derive(Clone, Debug)]
pub(crate) struct Flows {
    count: u32,
    random: u64,
}

impl Flows {
    /// Of `count` flows.
    pub(crate) fn new(count: u32) -> Flows {
        Flows { count, random: 1 }
    }

    /// The next flow. Knuth's MMIX generator; its upper half, scaled.
    pub(crate) fn draw(&mut self) -> u32 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.random >> 32) * u64::from(self.count)) >> 32) as u32
    }
}

/// The packets that are not under way. One lock for each burst, never contended.
type Stock = Arc<Mutex<Vec<Packet>>>;

/// The source, as a device: receives flows for ever, and transmits back into its stock.
#[derive(Debug)]
pub(crate) struct WireNetdev {
    inner: DummyNetdev,
    stock: Stock,
    flows: Option<Flows>,
}

impl WireNetdev {
    /// A source of flows (or of nothing, without any), and a sink.
    fn new(name: &str, stock: &Stock, flows: Option<Flows>) -> WireNetdev {
        let (inner, _): (DummyNetdev, DummyHandle) = DummyNetdev::new(DummyNetdev::test_config(name, 1));
        WireNetdev { inner, stock: Arc::clone(stock), flows }
    }

    /// Two devices of one stock: the first receives these flows, the second only swallows.
    pub(crate) fn pair(flow_count: u32) -> [Box<dyn Netdev>; 2] {
        let packets = (0..STOCK_LEN).map(|_| Packet::from_bytes(&flow_frame(0))).collect();
        let stock = Arc::new(Mutex::new(packets));
        let source = WireNetdev::new("source", &stock, Some(Flows::new(flow_count)));
        [Box::new(source), Box::new(WireNetdev::new("sink", &stock, None))]
    }
}

impl Netdev for WireNetdev {
    fn config(&self) -> &NetdevConfig {
        self.inner.config()
    }

    fn rx_queue_count(&self) -> u16 {
        u16::from(self.flows.is_some())
    }

    fn tx_queue_count(&self) -> u16 {
        1
    }

    fn take_rx_queue(&mut self, _index: u16) -> Option<Box<dyn RxQueue>> {
        let flows = self.flows.clone()?;
        Some(Box::new(WireRx { stock: Arc::clone(&self.stock), flows }))
    }

    fn take_tx_queue(&mut self, _index: u16) -> Option<Box<dyn TxQueue>> {
        Some(Box::new(WireTx(Arc::new(WireCopier { stock: Arc::clone(&self.stock) }))))
    }

    fn start(&mut self) -> Result<(), NetdevError> {
        Ok(())
    }

    fn mac(&self) -> MacAddress {
        self.inner.mac()
    }

    fn mtu(&self) -> u16 {
        self.inner.mtu()
    }

    fn link(&self) -> Link {
        Link { is_up: true, full_duplex: true, ..Link::default() }
    }

    fn set_admin(&mut self, _is_up: bool) -> Result<(), NetdevError> {
        Ok(())
    }

    fn stats(&self) -> NetdevStats {
        self.inner.stats()
    }

    fn extended_stats(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    fn driver(&self) -> String {
        "wire".to_owned()
    }

    fn close(self: Box<Self>) -> Result<(), NetdevError> {
        Ok(())
    }
}

#[derive(Debug)]
struct WireRx {
    stock: Stock,
    flows: Flows,
}

impl RxQueue for WireRx {
    fn rx_burst(&mut self, batch: &mut PacketBatch) -> usize {
        let mut stock = self.stock.lock().expect("no bench panics with the lock");
        let before = batch.len();
        while !batch.is_full()
            && let Some(mut packet) = stock.pop()
        {
            rewrite(packet.headers_mut().expect("not shared").data_mut(), self.flows.draw());
            batch.push(packet);
        }
        batch.len() - before
    }
}

#[derive(Debug)]
struct WireTx(Arc<WireCopier>);

#[derive(Debug)]
struct WireCopier {
    stock: Stock,
}

impl TxQueue for WireTx {
    fn tx_burst(&mut self, batch: &mut PacketBatch) -> TxBurst {
        let sent = batch.len();
        self.0.stock.lock().expect("no bench panics with the lock").extend(batch.drain(..));
        TxBurst { sent, ..TxBurst::default() }
    }

    fn copy_packet(&mut self, packet: &mut Packet) -> Option<Packet> {
        self.0.copy_packet(packet)
    }

    fn takes_segments(&self) -> bool {
        self.0.takes_segments()
    }

    fn copier(&self) -> Arc<dyn TxCopier> {
        Arc::clone(&self.0) as Arc<dyn TxCopier>
    }
}

impl TxCopier for WireCopier {
    fn copy_packet(&self, packet: &mut Packet) -> Option<Packet> {
        let mut copy = self.stock.lock().expect("no bench panics with the lock").pop()?;
        copy.reset_to(packet).then_some(copy)
    }

    fn takes_segments(&self) -> bool {
        true
    }
}
