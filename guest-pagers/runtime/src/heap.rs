//! The heap of ordinary programs: one large area whose pages appear when they are touched.

use core::{
    alloc::{GlobalAlloc, Layout},
    fmt,
    ptr::{self, NonNull},
};
use linked_list_allocator::LockedHeap;
use protocol::layout::{HEAP_BASE, HEAP_END};

/// The allocator that [`crate::entry!`] installs.
pub struct Heap(LockedHeap);

impl Heap {
    /// An allocator that has not been used yet.
    pub const fn new() -> Self {
        Self(LockedHeap::empty())
    }
}

impl Default for Heap {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Heap")
    }
}

// SAFETY: hands on what the wrapped allocator, which keeps the contract, gives.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut heap = self.0.lock();
        if heap.size() == 0 {
            // Not before there is need: the first page of the heap is touched here.
            // SAFETY: happens once; the area is reserved for the heap and its pager fills it with
            // zero pages. Only ordinary programs have this allocator.
            unsafe { heap.init(ptr::with_exposed_provenance_mut(HEAP_BASE), HEAP_END - HEAP_BASE) }
        }
        heap.allocate_first_fit(layout).map_or(ptr::null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if let Some(block) = NonNull::new(block) {
            // SAFETY: the caller vouches that the block came from `alloc` with this layout.
            unsafe { self.0.lock().deallocate(block, layout) }
        }
    }
}
