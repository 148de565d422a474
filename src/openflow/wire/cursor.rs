//! Reading bytes in order, each read checked against the end.

use crate::flow::OfPort;
use crate::openflow::OfError;
use bytes::BufMut;

/// What is left to read of some bytes, and the error that says that they are too few.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    data: &'a [u8],
    short: OfError,
}

impl<'a> Reader<'a> {
    /// Reads `data`; `short` is the error of every read past its end.
    pub(super) fn new(data: &'a [u8], short: OfError) -> Reader<'a> {
        Reader { data, short }
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.data
    }

    pub(super) fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The next `count` bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], OfError> {
        let (head, rest) = self.data.split_at_checked(count).ok_or(self.short)?;
        self.data = rest;
        Ok(head)
    }

    /// The next `count` bytes as a reader of their own.
    pub(super) fn part(&mut self, count: usize) -> Result<Reader<'a>, OfError> {
        Ok(Reader { data: self.bytes(count)?, short: self.short })
    }

    /// Leaves bytes unread, whatever they are.
    pub(super) fn skip(&mut self, count: usize) -> Result<(), OfError> {
        self.bytes(count).map(drop)
    }

    /// Reads padding that has to be zero; `error` if it is not.
    pub(super) fn zeros(&mut self, count: usize, error: OfError) -> Result<(), OfError> {
        if self.bytes(count)?.iter().all(|&byte| byte == 0) { Ok(()) } else { Err(error) }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], OfError> {
        let (head, rest) = self.data.split_first_chunk().ok_or(self.short)?;
        self.data = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, OfError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, OfError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, OfError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, OfError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A number of up to 16 bytes.
    pub(super) fn number(&mut self, bytes: usize) -> Result<u128, OfError> {
        Ok(match *self.bytes(bytes)? {
            [a] => a.into(),
            [a, b] => u16::from_be_bytes([a, b]).into(),
            [a, b, c, d] => u32::from_be_bytes([a, b, c, d]).into(),
            ref bytes => bytes.iter().fold(0, |number, &byte| number << 8 | u128::from(byte)),
        })
    }
}

/// Writes the low `bytes` bytes of a number, 16 at most.
pub(super) fn put_number(out: &mut Vec<u8>, number: u128, bytes: usize) {
    out.put_slice(&number.to_be_bytes()[16 - bytes..]);
}

/// Writes zeros until `out`, counted from `start`, is a multiple of 8 long.
pub(super) fn pad8(out: &mut Vec<u8>, start: usize) {
    out.resize(start + (out.len() - start).next_multiple_of(8), 0);
}

/// Writes a length of 16 bits into the place left for it; lengths beyond are the caller's to avoid.
pub(super) fn patch_u16(out: &mut [u8], at: usize, value: usize) {
    out[at..at + 2].copy_from_slice(&(value as u16).to_be_bytes());
}

/// A port as 1.0 and Nicira's extension number them, in 16 bits: the reserved ports are the highest.
pub(super) fn port_from_u16(number: u16) -> OfPort {
    OfPort(u32::from(number) | if number >= OfPort::UNSET.0 as u16 { 0xffff_0000 } else { 0 })
}

/// The same way back. There is no port that does not fit: [`OfPort::MAX`] is 1.0's.
pub(super) fn port_to_u16(port: OfPort) -> u16 {
    port.0 as u16
}

/// Whether the number is one that a port can have, or a reserved one.
pub(super) fn is_port_number(port: OfPort) -> bool {
    port <= OfPort::MAX || port >= OfPort::UNSET
}
