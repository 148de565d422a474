//! Packets outside DPDK's pools: for tests, for simulation, and for the control thread.
//!
//! They can do what mbufs can: be spread over segments, and share bytes with other packets. So all code above
//! `netdev` runs without DPDK in every form that a packet may take.
//!
//! A `HeapBuf` is behind a count of references, and written only by the last that holds one. A packet that is to be
//! edited while others share its buffer gets a new one with a copy of its headers, and the shared bytes behind it
//! as a segment. That allocates: workers on DPDK never come here.

use super::{HEADERS_SIZE_MAX, HEADROOM_SIZE, NoHeadroom};
use std::ops::Range;
use std::sync::Arc;

/// A buffer, and what follows it.
#[derive(Clone, Debug)]
pub(super) struct HeapBuf {
    /// From `start` on, the first segment's data.
    bytes: Vec<u8>,
    start: usize,
    rest: Vec<Segment>,
    /// Bytes in all segments.
    size: usize,
    /// See [`super::Packet::has_partial_checksum`].
    pub(super) has_partial_checksum: bool,
    #[cfg(debug_assertions)]
    _alive: Alive,
}

#[cfg(debug_assertions)]
thread_local! {
    static ALIVE: std::cell::Cell<i64> = const { std::cell::Cell::new(0) };
}

/// Buffers that this thread has made, less those that it has freed.
#[cfg(debug_assertions)]
pub(super) fn alive() -> i64 {
    ALIVE.get()
}

/// Counts a buffer while it is there.
#[cfg(debug_assertions)]
#[derive(Debug)]
struct Alive;

#[cfg(debug_assertions)]
impl Alive {
    fn new() -> Alive {
        ALIVE.set(ALIVE.get() + 1);
        Alive
    }
}

#[cfg(debug_assertions)]
impl Clone for Alive {
    fn clone(&self) -> Alive {
        Alive::new()
    }
}

#[cfg(debug_assertions)]
impl Drop for Alive {
    fn drop(&mut self) {
        // A buffer may be freed when its thread has let go of what is its own.
        let _ = ALIVE.try_with(|alive| alive.set(alive.get() - 1));
    }
}

/// A run of bytes in somebody's buffer.
#[derive(Clone, Debug)]
struct Segment {
    of: Arc<HeapBuf>,
    range: Range<usize>,
}

impl Segment {
    fn data(&self) -> &[u8] {
        &self.of.bytes[self.range.clone()]
    }
}

/// The bytes of the first segment, and of those behind it.
#[derive(Clone, Debug)]
pub(super) struct Segments<'a> {
    head: Option<&'a [u8]>,
    rest: std::slice::Iter<'a, Segment>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.head.take().or_else(|| self.rest.next().map(Segment::data))
    }
}

impl HeapBuf {
    /// Empty, with room for `size` bytes behind the headroom.
    pub(super) fn with_capacity(size: usize) -> HeapBuf {
        let mut bytes = Vec::with_capacity(HEADROOM_SIZE + size);
        bytes.resize(HEADROOM_SIZE, 0);
        HeapBuf {
            bytes,
            start: HEADROOM_SIZE,
            rest: Vec::new(),
            size: 0,
            has_partial_checksum: false,
            #[cfg(debug_assertions)]
            _alive: Alive::new(),
        }
    }

    /// One segment with these bytes one after the other.
    pub(super) fn from_pieces<'a>(pieces: impl Iterator<Item = &'a [u8]> + Clone) -> HeapBuf {
        let mut buf = HeapBuf::with_capacity(pieces.clone().map(<[u8]>::len).sum());
        pieces.for_each(|piece| buf.bytes.extend_from_slice(piece));
        buf.size = buf.data().len();
        buf
    }

    /// A segment for each of these.
    pub(super) fn from_segments(segments: &[&[u8]]) -> HeapBuf {
        let (head, rest) = segments.split_first().map_or((&[][..], &[][..]), |(head, rest)| (*head, rest));
        let mut buf = HeapBuf::from_pieces([head].into_iter());
        for bytes in rest {
            buf.size += bytes.len();
            let of = Arc::new(HeapBuf::from_pieces([*bytes].into_iter()));
            buf.rest.push(Segment { range: of.start..of.bytes.len(), of });
        }
        buf
    }

    /// Whether a packet of `size` bytes fits the memory that there is.
    pub(super) fn has_room_for(&self, size: usize) -> bool {
        HEADROOM_SIZE + size <= self.bytes.capacity()
    }

    /// Makes these the bytes, one after the other, in the memory that there is. False, and nothing changed, if they
    /// do not fit. Never allocates.
    pub(super) fn refill<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]> + Clone) -> bool {
        let size: usize = pieces.clone().map(<[u8]>::len).sum();
        if !self.has_room_for(size) {
            return false;
        }
        self.start = HEADROOM_SIZE;
        self.bytes.truncate(HEADROOM_SIZE);
        pieces.for_each(|piece| self.bytes.extend_from_slice(piece));
        self.rest.clear();
        self.size = size;
        self.has_partial_checksum = false;
        true
    }

    #[inline]
    pub(super) fn data(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    #[inline]
    pub(super) fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..]
    }

    /// Bytes in all segments.
    #[inline]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn is_contiguous(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn segments(&self) -> Segments<'_> {
        Segments { head: Some(self.data()), rest: self.rest.iter() }
    }

    pub(super) fn push_front(&mut self, size: usize) -> Result<(), NoHeadroom> {
        let start = self.start.checked_sub(size);
        self.start = start.ok_or(NoHeadroom { headroom: self.start, wanted: size })?;
        self.size += size;
        Ok(())
    }

    /// Cuts bytes off, which are there.
    pub(super) fn pull_front(&mut self, size: usize) {
        self.start += size;
        self.size -= size;
        if !self.rest.is_empty() {
            self.gather();
        }
    }

    /// Cuts bytes off behind, but for the first `size`.
    pub(super) fn truncate(&mut self, size: usize) {
        let mut left = size.saturating_sub(self.data().len());
        self.bytes.truncate(self.start.saturating_add(size));
        for segment in &mut self.rest {
            segment.range.end = segment.range.end.min(segment.range.start + left);
            left -= segment.range.len();
        }
        self.rest.retain(|segment| !segment.range.is_empty());
        self.size = self.size.min(size);
    }

    /// Moves bytes forward until the first segment has [`HEADERS_SIZE_MAX`], or all. Allocates.
    pub(super) fn gather(&mut self) {
        while let missing = HEADERS_SIZE_MAX.saturating_sub(self.data().len())
            && missing > 0
            && let Some(second) = self.rest.first_mut()
        {
            let count = missing.min(second.range.len());
            self.bytes.extend_from_slice(&second.data()[..count]);
            second.range.start += count;
            if second.range.is_empty() {
                self.rest.remove(0);
            }
        }
    }

    /// A buffer of its own for what `shared` says: a copy of the headers, the rest shared behind it.
    pub(super) fn unshared(shared: &Arc<HeapBuf>) -> HeapBuf {
        let size = shared.data().len().min(HEADERS_SIZE_MAX);
        let mut buf = HeapBuf::from_pieces([&shared.data()[..size]].into_iter());
        let range = shared.start + size..shared.bytes.len();
        if !range.is_empty() {
            buf.rest.push(Segment { of: Arc::clone(shared), range });
        }
        buf.rest.extend(shared.rest.iter().cloned());
        buf.size = shared.size();
        buf.has_partial_checksum = shared.has_partial_checksum;
        buf
    }
}
