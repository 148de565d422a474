//! The MAC table of a bridge: which address was last seen on which port, VLAN by VLAN (IEEE 802.1Q section 8.8).
//!
//! # Why
//! Kept in trees, not in hash tables: what is evicted, dumped or expired must come in one order, always, so
//! that a simulation replays; and addresses come from strangers. When the table is full, the address that was
//! unseen for longest makes room, of the port that has most: so a port that makes addresses up pushes out its
//! own.
//!
//! # Threads
//! Changed by the control thread; read by translations on a shared borrow.
//!
//! # Bounds
//! As many addresses as the bridge's configuration says.

use super::FdbEntry;
use crate::flow::OfPort;
use crate::netdev::MacAddress;
use crate::sync::Nanos;
use std::collections::{BTreeMap, BTreeSet};

type Place = (u16, MacAddress);

/// The table.
#[derive(Debug)]
pub struct MacTable {
    entries: BTreeMap<Place, Entry>,
    /// For each port that has addresses: they, longest unseen first.
    by_port: BTreeMap<OfPort, BTreeSet<(Nanos, Place)>>,
    len_max: usize,
    ageing: Nanos,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    port: OfPort,
    last_seen: Nanos,
}

impl MacTable {
    /// An empty table of up to `len_max` addresses, which are forgotten `ageing` after they were last seen.
    pub fn new(len_max: usize, ageing: Nanos) -> MacTable {
        MacTable { entries: BTreeMap::new(), by_port: BTreeMap::new(), len_max, ageing }
    }

    /// Where an address was last seen.
    pub fn lookup(&self, vlan: u16, mac: MacAddress) -> Option<OfPort> {
        self.entries.get(&(vlan, mac)).map(|entry| entry.port)
    }

    /// Notes that an address was seen on a port. News older than what is known of it are no news: so the last
    /// counters of a cached flow from where a host was before do not bring it back there.
    ///
    /// Returns whether look-ups of some address now have another answer.
    pub fn learn(&mut self, vlan: u16, mac: MacAddress, port: OfPort, seen: Nanos) -> bool {
        let place = (vlan, mac);
        let known = self.entries.get(&place).copied();
        if self.len_max == 0 || known.is_some_and(|entry| seen < entry.last_seen) {
            return false;
        }
        match known {
            Some(entry) => self.unindex(place, entry),
            None if self.entries.len() >= self.len_max => self.evict(),
            None => {}
        }
        self.entries.insert(place, Entry { port, last_seen: seen });
        self.by_port.entry(port).or_default().insert((seen, place));
        known.is_none_or(|entry| entry.port != port)
    }

    fn unindex(&mut self, place: Place, entry: Entry) {
        let places = self.by_port.get_mut(&entry.port).expect("every entry is indexed by its port");
        places.remove(&(entry.last_seen, place));
        if places.is_empty() {
            self.by_port.remove(&entry.port);
        }
    }

    fn remove(&mut self, place: Place) {
        if let Some(entry) = self.entries.remove(&place) {
            self.unindex(place, entry);
        }
    }

    /// Forgets the address unseen for longest, of the port that has most.
    fn evict(&mut self) {
        let fullest = self.by_port.values().max_by_key(|places| places.len());
        if let Some(&(_, place)) = fullest.and_then(|places| places.first()) {
            self.remove(place);
        }
    }

    /// Forgets what was not seen for the ageing time; returns whether there was any.
    pub fn expire(&mut self, now: Nanos) -> bool {
        let ageing = self.ageing;
        let places = self.by_port.values().flat_map(|places| {
            places.iter().take_while(move |(seen, _)| now.since(*seen) >= ageing).map(|&(_, place)| place)
        });
        let old: Vec<Place> = places.collect();
        old.iter().for_each(|&place| self.remove(place));
        !old.is_empty()
    }

    /// Forgets what is on a port; returns whether there was any.
    pub fn forget_port(&mut self, port: OfPort) -> bool {
        let places: Vec<Place> = self.by_port.get(&port).into_iter().flatten().map(|&(_, p)| p).collect();
        places.iter().for_each(|&place| self.remove(place));
        !places.is_empty()
    }

    /// Forgets everything; returns whether there was anything.
    pub fn flush(&mut self) -> bool {
        self.by_port.clear();
        !std::mem::take(&mut self.entries).is_empty()
    }

    /// Changes the limits; returns whether addresses had to go.
    pub fn set_limits(&mut self, len_max: usize, ageing: Nanos) -> bool {
        (self.len_max, self.ageing) = (len_max, ageing);
        let too_many = self.entries.len().saturating_sub(len_max);
        (0..too_many).for_each(|_| self.evict());
        too_many > 0
    }

    /// All addresses, by VLAN and address.
    pub fn dump(&self, now: Nanos) -> Vec<FdbEntry> {
        let entry = |(&(vlan, mac), entry): (&Place, &Entry)| FdbEntry {
            vlan,
            mac,
            port: entry.port,
            age_ns: now.since(entry.last_seen).0,
        };
        self.entries.iter().map(entry).collect()
    }

    /// Addresses in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: MacAddress = [2, 0, 0, 0, 0, 1];

    fn table() -> MacTable {
        MacTable::new(4, Nanos(100))
    }

    #[test]
    fn an_address_is_where_it_was_last_seen_in_its_vlan() {
        let mut table = table();
        assert!(table.learn(5, A, OfPort(1), Nanos(10)));
        assert!(!table.learn(5, A, OfPort(1), Nanos(20)), "a refresh changes no answer");
        assert_eq!((table.lookup(5, A), table.lookup(6, A)), (Some(OfPort(1)), None));
        assert!(table.learn(5, A, OfPort(2), Nanos(30)), "a move does");
        assert_eq!(table.lookup(5, A), Some(OfPort(2)));
        assert!(!table.learn(5, A, OfPort(1), Nanos(25)), "old news");
        assert_eq!(table.lookup(5, A), Some(OfPort(2)));
    }

    #[test]
    fn addresses_age_from_when_they_were_last_seen() {
        let mut table = table();
        table.learn(0, A, OfPort(1), Nanos(10));
        table.learn(0, [1; 6], OfPort(1), Nanos(10));
        table.learn(0, A, OfPort(1), Nanos(50));
        assert!(!table.expire(Nanos(109)) && table.expire(Nanos(110)));
        assert_eq!((table.len(), table.lookup(0, A)), (1, Some(OfPort(1))));
        assert!(table.expire(Nanos(150)) && table.is_empty() && table.by_port.is_empty());
    }

    #[test]
    fn a_full_table_pushes_out_the_oldest_of_the_fullest_port() {
        let mut table = table();
        table.learn(0, A, OfPort(1), Nanos(0));
        for n in 1..=5 {
            table.learn(0, [n; 6], OfPort(2), Nanos(u64::from(n)));
        }
        assert_eq!((table.len(), table.lookup(0, A)), (4, Some(OfPort(1))));
        assert_eq!((table.lookup(0, [2; 6]), table.lookup(0, [3; 6])), (None, Some(OfPort(2))));
        assert!(table.set_limits(1, Nanos(100)) && table.len() == 1);
        assert!(table.set_limits(0, Nanos(100)) && !table.learn(0, A, OfPort(1), Nanos(9)));
    }

    #[test]
    fn the_index_by_port_stays_true_over_random_operations() {
        for seed in 0..100 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut table = MacTable::new(8, Nanos(40));
            for now in 0..200 {
                let (mac, port) = ([rng.u8(0..12); 6], OfPort(rng.u32(1..4)));
                match rng.u8(0..20) {
                    0 => drop(table.forget_port(port)),
                    1 => drop(table.expire(Nanos(now))),
                    2 => drop(table.flush()),
                    _ => drop(table.learn(rng.u16(0..2), mac, port, Nanos(now - rng.u64(0..=now.min(9))))),
                }
                let indexed = table
                    .by_port
                    .iter()
                    .flat_map(|(p, places)| places.iter().map(move |&(seen, place)| (place, (*p, seen))));
                let indexed: BTreeMap<_, _> = indexed.collect();
                let entries = table.entries.iter().map(|(&place, e)| (place, (e.port, e.last_seen)));
                assert_eq!(indexed, entries.collect(), "seed {seed}");
                assert!(table.len() <= 8);
            }
        }
    }
}
