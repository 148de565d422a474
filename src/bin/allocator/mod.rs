//! The daemon's allocator: mimalloc, asked for what it gives anyway.
//!
//! `mi_malloc` aligns every block of 16 bytes and more to 16 (`MI_MAX_ALIGN_SIZE`). `mi_malloc_aligned`, which the crate
//! always calls, does not count on that: where no block of the size is at hand it takes one that is larger by the
//! alignment, unless the size is a power of two, and takes the slow path for it, time and again. So a rule of 48 bytes of
//! actions and 80 of match took 64 and 96. Here an alignment of up to 16 is not asked for, but looked at.
//!
//! # Safety
//! A block that is not aligned as it has to be is given back, and one is asked for by its alignment: what mimalloc does
//! inside may change. It never asks for the layout of what it frees.

#![allow(unsafe_code, reason = "an allocator is an unsafe trait; what it does is that of the crate")]

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};

/// See the module.
#[derive(Debug)]
pub(crate) struct Allocator;

/// Alignment that mimalloc gives unasked.
const ALIGN_UNASKED: usize = 16;

/// The same without an alignment, if it need not be asked for: then size and alignment are both small, and the size is
/// one that is aligned.
fn unasked(layout: Layout) -> Option<Layout> {
    let is_given = layout.align() <= ALIGN_UNASKED && layout.align() <= layout.size();
    Layout::from_size_align(layout.size(), 1).ok().filter(|_| is_given)
}

fn is_aligned(block: *mut u8, layout: Layout) -> bool {
    block.addr() & (layout.align() - 1) == 0
}

// SAFETY: each block comes from `MiMalloc`, which is an allocator, with the size that was asked for; its alignment is
// looked at. `MiMalloc` frees by the pointer alone, so that it does not matter by which layout a block was asked for.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(unasked) = unasked(layout) {
            // SAFETY: the size is that of `layout`, for which the caller has promised what is asked of it.
            let block = unsafe { MiMalloc.alloc(unasked) };
            if is_aligned(block, layout) {
                return block;
            }
            // SAFETY: it has just come from there.
            unsafe { MiMalloc.dealloc(block, unasked) };
        }
        // SAFETY: what the caller has promised.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if let Some(unasked) = unasked(layout) {
            // SAFETY: as in `alloc`.
            let block = unsafe { MiMalloc.alloc_zeroed(unasked) };
            if is_aligned(block, layout) {
                return block;
            }
            // SAFETY: it has just come from there.
            unsafe { MiMalloc.dealloc(block, unasked) };
        }
        // SAFETY: what the caller has promised.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the block came from `MiMalloc`, which does not look at the layout.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: the block came from `MiMalloc`, which looks at nothing of the layout but the alignment to keep.
        unsafe { MiMalloc.realloc(block, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn blocks_of_every_size_are_aligned_and_hold_what_they_should() {
        // Here, for a bench without a harness has the module and no tests.
        use super::*;
        for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
            for size in (1..300).chain([512, 1000, 4096, 5000, 100_000, 1 << 20, (4 << 20) + 8]) {
                let layout = Layout::from_size_align(size, align).expect("both are small");
                // SAFETY: the size is not 0.
                let blocks: Vec<*mut u8> =
                    (0..5).map(|_| unsafe { Allocator.alloc_zeroed(layout) }).collect();
                for &block in &blocks {
                    assert!(!block.is_null() && is_aligned(block, layout), "{size} {align}");
                    // SAFETY: the block is that large.
                    unsafe { block.add(size - 1).write(7) };
                }
                for block in blocks {
                    // SAFETY: it came from there with this layout, and the new size is not 0.
                    let block = unsafe { Allocator.realloc(block, layout, size + 100) };
                    assert!(is_aligned(block, layout));
                    // SAFETY: the block is larger than that.
                    assert_eq!(unsafe { block.add(size - 1).read() }, 7);
                    let larger = Layout::from_size_align(size + 100, align).expect("both are small");
                    // SAFETY: it came from there with this layout.
                    unsafe { Allocator.dealloc(block, larger) };
                }
            }
        }
    }
}
