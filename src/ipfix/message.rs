//! Messages: header, sets, records, padding, and how many records fit.
//!
//! A [`MessageBuilder`] takes records one at a time and keeps them in sets: a record whose set is the open one
//! is appended to it, another closes that set and opens its own. Sequence number and export time are those of
//! the moment of sending (RFC 7011 section 3.1), which is not the moment of building, since a message may wait
//! for the collector: so they are written last, by [`Message::stamp`].

/// Octets of a message header (RFC 7011 section 3.1).
pub const MESSAGE_HEADER_SIZE: usize = 16;
/// Octets of a set header (RFC 7011 section 3.3.2).
pub const SET_HEADER_SIZE: usize = 4;
/// Set id of template sets (RFC 7011 section 3.3.2).
pub const TEMPLATE_SET_ID: u16 = 2;
/// Set id of options template sets.
pub const OPTIONS_TEMPLATE_SET_ID: u16 = 3;

const VERSION: u16 = 10;
/// Sets begin at multiples of this (RFC 7011 section 3.3.1).
const SET_ALIGNMENT: usize = 4;

/// What the records in a message add up to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MessageCounts {
    /// Data records, those described by options templates among them: what the sequence number counts.
    pub data_records: u32,
    /// Flow records.
    pub flow_records: u64,
    /// Packets in those.
    pub packets: u64,
    /// Octets in those.
    pub octets: u64,
    /// Template and options template records.
    pub templates: u64,
}

/// A finished message that has yet to be sent.
#[derive(Debug)]
pub struct Message {
    bytes: Vec<u8>,
    /// What is in it.
    pub counts: MessageCounts,
}

impl Message {
    /// Writes what is known when it is sent, and gives the bytes to send.
    ///
    /// `export_time` is in seconds since 1970; `sequence` counts the data records sent before.
    pub fn stamp(&mut self, export_time: u32, sequence: u32) -> &[u8] {
        self.bytes[4..8].copy_from_slice(&export_time.to_be_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_be_bytes());
        &self.bytes
    }

    /// Octets of the message.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The buffer, for the next message.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

/// A message being put together.
#[derive(Debug)]
pub struct MessageBuilder {
    observation_domain_id: u32,
    size_max: usize,
    bytes: Vec<u8>,
    set: Option<OpenSet>,
    counts: MessageCounts,
}

/// The set that records are being added to.
#[derive(Clone, Copy, Debug)]
struct OpenSet {
    id: u16,
    /// Where its header is.
    start: usize,
    /// Octets of its shortest record.
    record_size_min: usize,
}

impl MessageBuilder {
    /// An empty message of at most `size_max` octets, 512 to 65 535.
    pub fn new(observation_domain_id: u32, size_max: u16) -> MessageBuilder {
        let size_max = usize::from(size_max);
        let mut builder = MessageBuilder {
            observation_domain_id,
            size_max,
            bytes: Vec::new(),
            set: None,
            counts: MessageCounts::default(),
        };
        builder.reset(Vec::with_capacity(size_max));
        builder
    }

    /// Largest record that fits into a message of `size_max` octets, padding included.
    pub fn record_size_max(size_max: u16) -> usize {
        usize::from(size_max).saturating_sub(MESSAGE_HEADER_SIZE + SET_HEADER_SIZE) & !(SET_ALIGNMENT - 1)
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == MESSAGE_HEADER_SIZE
    }

    /// Whether a record of `size` octets in a set with this id still fits.
    pub fn has_room(&self, set_id: u16, size: usize) -> bool {
        let start = match self.set {
            Some(set) if set.id == set_id => self.bytes.len(),
            _ => self.bytes.len().next_multiple_of(SET_ALIGNMENT) + SET_HEADER_SIZE,
        };
        (start + size).next_multiple_of(SET_ALIGNMENT) <= self.size_max
    }

    /// Appends a record that [`MessageBuilder::has_room`] says fits: `write` appends its octets.
    pub fn add(&mut self, set_id: u16, write: impl FnOnce(&mut Vec<u8>)) {
        if self.set.is_none_or(|set| set.id != set_id) {
            self.close_set();
            self.set = Some(OpenSet { id: set_id, start: self.bytes.len(), record_size_min: usize::MAX });
            self.bytes.extend(set_id.to_be_bytes());
            self.bytes.extend([0; 2]);
        }
        let before = self.bytes.len();
        write(&mut self.bytes);
        let size = self.bytes.len() - before;
        self.set.iter_mut().for_each(|set| set.record_size_min = set.record_size_min.min(size));
        assert!(self.bytes.len() <= self.size_max, "a record was added that does not fit");
    }

    /// The counts of what is in it, to add to.
    pub fn counts_mut(&mut self) -> &mut MessageCounts {
        &mut self.counts
    }

    /// Finishes the message and begins another in `buffer`.
    pub fn finish(&mut self, buffer: Vec<u8>) -> Message {
        self.close_set();
        let length = self.bytes.len() as u16;
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
        let counts = self.counts;
        Message { bytes: self.reset(buffer), counts }
    }

    /// Begins anew in `buffer`; returns the old one.
    fn reset(&mut self, mut buffer: Vec<u8>) -> Vec<u8> {
        buffer.clear();
        buffer.extend(VERSION.to_be_bytes());
        // Length, export time and sequence number come later.
        buffer.extend([0; 10]);
        buffer.extend(self.observation_domain_id.to_be_bytes());
        self.set = None;
        self.counts = MessageCounts::default();
        std::mem::replace(&mut self.bytes, buffer)
    }

    /// Pads the open set to the alignment and writes its length. RFC 7011 section 3.3.1: padding is of zeros
    /// and shorter than any record of the set, or it would be read as one more.
    fn close_set(&mut self) {
        let Some(set) = self.set.take() else { return };
        let padded = self.bytes.len().next_multiple_of(SET_ALIGNMENT);
        if padded - self.bytes.len() < set.record_size_min {
            self.bytes.resize(padded, 0);
        }
        let length = (self.bytes.len() - set.start) as u16;
        self.bytes[set.start + 2..set.start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_laid_out_as_in_the_rfc() {
        let mut builder = MessageBuilder::new(7, 512);
        builder.add(TEMPLATE_SET_ID, |bytes| bytes.extend([1, 44, 0, 1, 0, 4, 0, 1]));
        builder.add(300, |bytes| bytes.extend([6, 6, 6, 6, 6]));
        builder.counts_mut().data_records += 1;
        let mut message = builder.finish(vec![0xa5; 600]);
        #[rustfmt::skip]
        let expected = [
            0, 10, 0, 40, 0x5e, 0x0b, 0xe1, 0x00, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 7,
            0, 2, 0, 12, 1, 44, 0, 1, 0, 4, 0, 1,
            1, 44, 0, 12, 6, 6, 6, 6, 6, 0, 0, 0,
        ];
        assert_eq!(message.stamp(0x5e0b_e100, u32::MAX - 1), expected);
        assert_eq!(message.counts.data_records, 1);
        assert!(builder.is_empty());
        assert_eq!(
            builder.finish(Vec::new()).stamp(0, 0),
            [0, 10, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]
        );
    }

    #[test]
    fn padding_is_shorter_than_any_record() {
        let mut builder = MessageBuilder::new(0, 512);
        builder.add(301, |bytes| bytes.extend([2, 2, 2]));
        builder.add(300, |bytes| bytes.push(1));
        let mut message = builder.finish(Vec::new());
        assert_eq!(message.stamp(0, 0)[16..], [1, 45, 0, 8, 2, 2, 2, 0, 1, 44, 0, 5, 1]);
    }

    #[test]
    fn what_has_room_fits_and_fills_the_message() {
        let seed = fastrand::u64(..);
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..500 {
            let size_max = random.u16(512..1500);
            let mut builder = MessageBuilder::new(0, size_max);
            loop {
                let (id, size) = (random.u16(256..259), random.usize(1..200));
                if !builder.has_room(id, size) {
                    // Set header and padding of the set before are all that may be in the way.
                    let slack = size + SET_HEADER_SIZE + 2 * (SET_ALIGNMENT - 1);
                    assert!(builder.bytes.len() + slack > usize::from(size_max), "seed {seed}");
                    break;
                }
                builder.add(id, |bytes| bytes.resize(bytes.len() + size, 1));
            }
            assert!(builder.finish(Vec::new()).size() <= usize::from(size_max), "seed {seed}");
            let largest = MessageBuilder::record_size_max(size_max);
            assert!(builder.has_room(256, largest) && !builder.has_room(256, largest + 1));
        }
    }
}
