//! Checks for tests that a program would not notice a piece of code: requests to the heap, `errno`, cancellation points.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static USED: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A plain cell without a destructor works as long as the thread runs.
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

/// How many requests to the heap this thread makes in `f`.
pub(crate) fn used(f: impl FnOnce()) -> u64 {
    let before = USED.get();
    f();
    USED.get() - before
}

unsafe extern "C" {
    fn pthread_setcancelstate(state: std::ffi::c_int, before: *mut std::ffi::c_int) -> std::ffi::c_int;
}

/// Runs this on the calling thread while it is being cancelled. It must reach no cancellation point (which would end the process here), request
/// nothing from the heap, and keep `errno`. Afterwards the thread cannot be cancelled any more.
#[allow(dead_code)] // not used by every test binary
pub(crate) fn unnoticed(f: impl FnOnce()) {
    const ENABLE: std::ffi::c_int = 0;
    const DISABLE: std::ffi::c_int = 1;
    let (mut errno, mut before) = (0, 0);
    let used = used(|| {
        // SAFETY: the calls have no preconditions, and `before` is an int of ours. The mark of the cancellation stays; only a cancellation
        // point acts on it, and there is none once they are switched off.
        unsafe {
            pthread_setcancelstate(DISABLE, &raw mut before);
            libc::pthread_cancel(libc::pthread_self());
            pthread_setcancelstate(ENABLE, &raw mut before);
            *libc::__errno_location() = 77;
        }
        f();
        // SAFETY: as above.
        unsafe {
            errno = *libc::__errno_location();
            pthread_setcancelstate(DISABLE, &raw mut before);
        }
    });
    assert_eq!((used, errno), (0, 77));
}

#[test]
fn it_counts() {
    assert_eq!(used(|| drop(std::hint::black_box(Box::new(1)))), 2);
    assert_eq!(used(|| ()), 0);
}
