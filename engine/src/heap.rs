//! Counts heap allocations per thread, so that a test can prove a path allocates nothing and a
//! running worker can export how often it did after it was ready.
//!
//! It counts what goes through Rust's global allocator. What C code takes from `malloc` by itself
//! is not seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system allocator with a counter per thread. A binary or test opts in with
/// `#[global_allocator] static HEAP: engine::heap::Counting = engine::heap::Counting;`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counting;

thread_local! {
    // `const` and without a destructor, so that reading it neither allocates nor can be too late.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// How often this thread has allocated or grown an allocation since it started. Stays zero where
/// [`Counting`] is not the global allocator.
pub fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

fn count() {
    ALLOCATIONS.with(|count| count.set(count.get() + 1));
}

// SAFETY: every method passes its arguments unchanged to `System`, which upholds the contract of
// `GlobalAlloc`; the counter beside it neither allocates nor unwinds (u64 cannot reach overflow).
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise about `layout` is `System`'s precondition.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise: `pointer` came from this allocator, hence from `System`,
        // with this `layout`, and `new_size` is valid for it.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}
