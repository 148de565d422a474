//! Checksums of packets: the Internet checksum, its incremental update, and SCTP's CRC32c.
//!
//! The Internet checksum (RFC 1071) is the complement of a one's complement sum of 16-bit words. [`Sum`]
//! adds the words up in 64 bits and folds once at the end, so the loop has no carry to look after. A changed
//! field does not need the whole packet read again: [`Delta`] is the difference that the change makes to the
//! sum (RFC 1624), and [`Delta::apply`] moves a stored checksum by it. A checksum that was wrong before stays
//! wrong by as much, as it must: a switch that repaired it would bless a corrupted packet.
//!
//! One's complement has two zeros. A sum over words that are not all zero comes out as 0xffff, never as 0, so
//! a checksum is never 0xffff; only UDP, where 0 means "no checksum", writes 0xffff for 0 (RFC 768), and whoever
//! edits UDP does that. An update gives the very number that a full computation would.
//!
//! Thread safety: pure functions. Bounds: a [`Sum`] takes 2^32 words of 32 bits before it could overflow; packets are at
//! most 64 KiB. It leaves out offload: that is [`super::offload`]'s.

/// A one's complement sum under way.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sum(u64);

impl Sum {
    /// An empty sum.
    pub const ZERO: Sum = Sum(0);

    /// Adds bytes that start at an even offset of what is summed; an odd last byte counts as if a zero
    /// followed (RFC 1071 section 1).
    #[must_use]
    pub fn add_bytes(self, data: &[u8]) -> Sum {
        // Words of 32 bits: two 16-bit words side by side, and 2^32 = 1 in one's complement arithmetic too.
        let (chunks, rest) = data.as_chunks::<4>();
        let mut sum = self.0;
        for chunk in chunks {
            sum += u64::from(u32::from_be_bytes(*chunk));
        }
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        Sum(sum + u64::from(u32::from_be_bytes(last)))
    }

    /// Adds one word.
    #[must_use]
    pub const fn add_u16(self, word: u16) -> Sum {
        Sum(self.0 + word as u64)
    }

    /// Adds two words, the more significant first.
    #[must_use]
    pub const fn add_u32(self, words: u32) -> Sum {
        Sum(self.0 + words as u64)
    }

    /// The checksum: the complement of the folded sum.
    pub const fn finish(self) -> u16 {
        !fold(self.0)
    }
}

/// Folds a sum to 16 bits. Zero comes out only if every word was zero.
#[inline]
const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

/// The Internet checksum of `data` (RFC 1071). Over data that holds its own right checksum it is 0.
pub fn checksum(data: &[u8]) -> u16 {
    Sum::ZERO.add_bytes(data).finish()
}

/// The pseudo-header over IPv4 (RFC 9293 section 3.1, RFC 768). `size` is of transport header and payload.
pub fn pseudo_header_v4(src: u32, dst: u32, protocol: u8, size: u16) -> Sum {
    Sum::ZERO.add_u32(src).add_u32(dst).add_u16(u16::from(protocol)).add_u16(size)
}

/// The pseudo-header over IPv6 (RFC 8200 section 8.1). `size` is of transport header and payload.
pub fn pseudo_header_v6(src: &[u8; 16], dst: &[u8; 16], protocol: u8, size: u32) -> Sum {
    Sum::ZERO.add_bytes(src).add_bytes(dst).add_u32(size).add_u16(u16::from(protocol))
}

/// Zero, in one's complement, written so that a sum with it in it never folds to the other zero.
const NEUTRAL: u32 = 0xffff;

/// What a change of some words does to a one's complement sum: the sum of `!old + new` over the words
/// (RFC 1624 section 3, equation 3). A change that leaves the sum as it is differs from no change.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Delta(u32);

impl Delta {
    /// No change.
    pub const ZERO: Delta = Delta(0);

    /// One word changes.
    #[inline]
    pub const fn of_u16(old: u16, new: u16) -> Delta {
        if old == new { Delta::ZERO } else { Delta(NEUTRAL + !old as u32 + new as u32) }
    }

    /// Bytes at an even offset of what is summed change. `N` is even and at most 64.
    #[inline]
    pub fn of_bytes<const N: usize>(old: &[u8; N], new: &[u8; N]) -> Delta {
        const { assert!(N.is_multiple_of(2) && N <= 64) };
        if old == new {
            return Delta::ZERO;
        }
        let mut sum = NEUTRAL;
        for (old, new) in old.as_chunks::<2>().0.iter().zip(new.as_chunks::<2>().0) {
            sum += u32::from(!u16::from_be_bytes(*old)) + u32::from(u16::from_be_bytes(*new));
        }
        Delta(sum)
    }

    /// Whether nothing changes.
    #[inline]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The checksum that `checksum` becomes.
    #[inline]
    pub const fn apply(self, checksum: u16) -> u16 {
        if self.is_zero() {
            return checksum;
        }
        !fold(!checksum as u64 + self.0 as u64)
    }
}

/// `checksum` after one word of what it covers went from `old` to `new`.
#[inline]
pub const fn update_u16(checksum: u16, old: u16, new: u16) -> u16 {
    Delta::of_u16(old, new).apply(checksum)
}

/// `checksum` after two words of what it covers went from `old` to `new`.
#[inline]
pub fn update_u32(checksum: u16, old: u32, new: u32) -> u16 {
    Delta::of_bytes(&old.to_be_bytes(), &new.to_be_bytes()).apply(checksum)
}

/// `checksum` after an IPv6 address that it covers went from `old` to `new`.
#[inline]
pub fn update_u128(checksum: u16, old: &[u8; 16], new: &[u8; 16]) -> u16 {
    Delta::of_bytes(old, new).apply(checksum)
}

/// Where SCTP's common header has its checksum, and how many bytes that is.
const SCTP_CHECKSUM: std::ops::Range<usize> = 8..12;

/// The CRC32c of an SCTP packet, from its common header to its end, its own checksum field counted as zero
/// (RFC 9260 section 6.8). It is stored little-endian: that is what the RFC's bit order comes to. None if the
/// packet is shorter than a common header.
pub fn sctp_crc32c(packet: &[u8]) -> Option<u32> {
    let (before, after) = (packet.get(..SCTP_CHECKSUM.start)?, packet.get(SCTP_CHECKSUM.end..)?);
    let crc = crc32c::crc32c(before);
    let crc = crc32c::crc32c_append(crc, &[0; 4]);
    Some(crc32c::crc32c_append(crc, after))
}

/// What a change from `old` to `new`, with `behind` bytes after it, does to a CRC32c: the exclusive or with the
/// stored one gives the new one. A CRC is linear: that of the difference of two messages is the difference of
/// theirs, whatever the bytes are that do not differ, so that only how many there are need be known.
pub fn crc32c_difference<const N: usize>(old: [u8; N], new: [u8; N], behind: usize) -> u32 {
    if old == new {
        return 0;
    }
    crc32c::crc32c_combine(crc32c::crc32c(&old) ^ crc32c::crc32c(&new), 0, behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071 section 1 to the letter.
    fn naive(data: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in data.chunks(2) {
            sum += u32::from(pair[0]) * 256 + u32::from(*pair.get(1).unwrap_or(&0));
            if sum > 0xffff {
                sum -= 0xffff;
            }
        }
        !(sum as u16)
    }

    fn random_bytes(rng: &mut fastrand::Rng, size: usize) -> Vec<u8> {
        // Runs of 0x00 and 0xff bring out the two zeros.
        let byte = |rng: &mut fastrand::Rng| match rng.u8(..3) {
            0 => 0,
            1 => 0xff,
            _ => rng.u8(..),
        };
        (0..size).map(|_| byte(rng)).collect()
    }

    #[test]
    fn the_example_of_rfc_1071_comes_out() {
        let data = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(checksum(&data), !0xddf2);
    }

    #[test]
    fn the_checksum_equals_the_naive_one_at_every_size() {
        let mut rng = fastrand::Rng::with_seed(1);
        for size in 0..2000 {
            let data = random_bytes(&mut rng, size % 300);
            assert_eq!(checksum(&data), naive(&data), "{data:02x?}");
        }
    }

    #[test]
    fn an_update_equals_a_full_recomputation() {
        let mut rng = fastrand::Rng::with_seed(2);
        for round in 0..20_000 {
            let mut data = random_bytes(&mut rng, 40);
            // A header that is not all zero, as every real one: else the sum has the other zero.
            data[39] = 1;
            let before = naive(&data);
            let new = random_bytes(&mut rng, 16);
            let (after, full) = match round % 3 {
                0 => {
                    let old = u16::from_be_bytes([data[4], data[5]]);
                    data[4..6].copy_from_slice(&new[..2]);
                    (update_u16(before, old, u16::from_be_bytes([new[0], new[1]])), naive(&data))
                }
                1 => {
                    let old = u32::from_be_bytes(data[4..8].try_into().expect("four bytes"));
                    data[4..8].copy_from_slice(&new[..4]);
                    let new = u32::from_be_bytes(new[..4].try_into().expect("four bytes"));
                    (update_u32(before, old, new), naive(&data))
                }
                _ => {
                    let old: [u8; 16] = data[4..20].try_into().expect("sixteen bytes");
                    data[4..20].copy_from_slice(&new);
                    (update_u128(before, &old, &new.try_into().expect("sixteen bytes")), naive(&data))
                }
            };
            assert_eq!(after, full, "round {round}: {data:02x?}");
        }
    }

    #[test]
    fn an_update_keeps_a_wrong_checksum_wrong() {
        let right = naive(&[1, 2, 3, 4]);
        let moved = update_u16(right ^ 0x0100, 0x0102, 0x0502);
        assert_ne!(moved, naive(&[5, 2, 3, 4]));
        assert_eq!(update_u16(moved, 0x0502, 0x0102), right ^ 0x0100);
    }

    #[test]
    fn the_pseudo_headers_are_those_of_the_rfcs() {
        let mut v4 = vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0x12, 0x34];
        assert_eq!(pseudo_header_v4(0x0a00_0001, 0x0a00_0002, 17, 0x1234).finish(), naive(&v4));
        let (src, dst) = ([0x20; 16], [0xfe; 16]);
        v4.clear();
        v4.extend(src);
        v4.extend(dst);
        v4.extend([0, 1, 2, 3, 0, 0, 0, 58]);
        assert_eq!(pseudo_header_v6(&src, &dst, 58, 0x0001_0203).finish(), naive(&v4));
    }

    #[test]
    fn the_crc_of_an_sctp_packet_is_bitwise_crc32c() {
        let mut rng = fastrand::Rng::with_seed(3);
        for size in 12..200 {
            let mut packet = random_bytes(&mut rng, size);
            let fast = sctp_crc32c(&packet).expect("long enough");
            packet[8..12].fill(0);
            let mut crc = u32::MAX;
            for byte in packet {
                crc ^= u32::from(byte);
                for _ in 0..8 {
                    // The polynomial 0x1edc6f41, reflected.
                    crc = (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
                }
            }
            assert_eq!(fast, !crc);
        }
        assert_eq!(sctp_crc32c(&[0; 11]), None);
    }

    #[test]
    fn a_crc_moves_by_the_difference_as_if_it_were_computed_anew() {
        let mut rng = fastrand::Rng::with_seed(4);
        for size in (12..300).chain([1480, 8960, 65_000]) {
            let mut packet = random_bytes(&mut rng, size);
            let before = sctp_crc32c(&packet).expect("long enough");
            let at = rng.usize(..3);
            let old: [u8; 2] = packet[at..at + 2].try_into().expect("two bytes");
            let new = [rng.u8(..), rng.u8(..)];
            packet[at..at + 2].copy_from_slice(&new);
            let after = sctp_crc32c(&packet).expect("long enough");
            assert_eq!(before ^ after, crc32c_difference(old, new, size - at - 2), "{size} bytes");
        }
        assert_eq!(crc32c_difference([1, 2], [1, 2], 100), 0);
    }
}
