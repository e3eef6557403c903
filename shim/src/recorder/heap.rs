//! How often a piece of code asks the heap: for tests of what must not.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static USED: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A plain cell without a destructor: there as long as the thread is.
    USED.with(|used| used.set(used.get() + 1));
}

// SAFETY: everything is the system's allocator; counting touches a cell of the thread alone.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, len: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, len) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many requests this thread makes of the heap in here.
pub(crate) fn used(f: impl FnOnce()) -> u64 {
    let before = USED.get();
    f();
    USED.get() - before
}

#[test]
fn it_counts() {
    assert_eq!(used(|| drop(std::hint::black_box(Box::new(1)))), 2);
    assert_eq!(used(|| ()), 0);
}
