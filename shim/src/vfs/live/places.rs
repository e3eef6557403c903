//! Where the open files stand, so that others find them and they stay while they are looked at.
//!
//! [`Place`]s are never freed. Each has a lock of its own, which is taken to open, to close and to copy that one row, never by a
//! transition, and nothing is waited for under it. In the child of a `fork` no other thread lives on to give one up, so all are
//! taken off there.

use crate::recorder::Errno;
use crate::vfs::file::File;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::time::Duration;

/// A place for one open file.
#[derive(Debug)]
pub(super) struct Place {
    file: AtomicPtr<File>,
    locked: AtomicBool,
}

/// Some places, and where the next are. Never freed.
#[derive(Debug)]
struct Block {
    places: [Place; 32],
    next: AtomicPtr<Block>,
}

impl Block {
    const fn new() -> Block {
        let places = [const { Place { file: AtomicPtr::new(ptr::null_mut()), locked: AtomicBool::new(false) } }; 32];
        Block { places, next: AtomicPtr::new(ptr::null_mut()) }
    }
}

static FIRST: Block = Block::new();

/// All of them.
pub(super) fn places() -> impl Iterator<Item = &'static Place> {
    // SAFETY: null, or a block that was leaked before it was published with Release.
    let next = |block: &&'static Block| unsafe { block.next.load(Ordering::Acquire).as_ref() };
    std::iter::successors(Some(&FIRST), next).flat_map(|block| &block.places)
}

/// Adds a block at the end.
fn grow() -> bool {
    let layout = std::alloc::Layout::new::<Block>();
    // SAFETY: not of size zero.
    let fresh = unsafe { std::alloc::alloc(layout) }.cast::<Block>();
    if fresh.is_null() {
        return false;
    }
    // SAFETY: as large and aligned as a Block.
    unsafe { fresh.write(Block::new()) };
    let mut last = &FIRST;
    while let Err(next) = last.next.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
        // SAFETY: not null, and published whole.
        last = unsafe { &*next };
    }
    true
}

impl Place {
    fn lock(&self) -> Held<'_> {
        let mut tries = 0;
        while self.locked.swap(true, Ordering::Acquire) {
            tries += 1;
            if tries < 100 {
                std::thread::yield_now();
            } else {
                // Whoever has it may need this processor to go on.
                std::thread::sleep(Duration::from_micros(20));
            }
        }
        Held(self)
    }

    /// Whether a file stands there.
    pub(super) fn is_taken(&self) -> bool {
        !self.file.load(Ordering::Relaxed).is_null()
    }

    /// Shows its file to `look`, if there is one; it is not closed meanwhile.
    pub(super) fn look(&self, look: impl FnOnce(&File)) {
        let _held = self.lock();
        // SAFETY: null, or a file that is not closed before its place is given up, for which this lock is needed.
        if let Some(file) = unsafe { self.file.load(Ordering::Relaxed).as_ref() } {
            look(file);
        }
    }
}

struct Held<'a>(&'a Place);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.locked.store(false, Ordering::Release);
    }
}

/// In the child of a `fork`.
pub(super) fn unlock_all() {
    places().for_each(|place| place.locked.store(false, Ordering::Relaxed));
}

impl File {
    /// Gives an open database file its place among the others. Without memory for a place it has none, and is not shown.
    #[cold]
    pub(in crate::vfs) fn enter(&self) {
        let _errno = Errno::save();
        let place = places().find_map(|place| {
            if !place.file.load(Ordering::Relaxed).is_null() {
                return None;
            }
            let _held = place.lock();
            let free = place.file.load(Ordering::Relaxed).is_null();
            free.then(|| place.file.store(ptr::from_ref(self).cast_mut(), Ordering::Relaxed)).map(|()| place)
        });
        match place {
            Some(place) => self.live.place.store(ptr::from_ref(place).cast_mut(), Ordering::Relaxed),
            None => {
                if grow() {
                    self.enter();
                }
            }
        }
    }

    /// Takes a database file out of its place, before it is closed: from here on nobody looks at it.
    #[cold]
    pub(in crate::vfs) fn leave(&self) {
        // SAFETY: null, or a place, which is never freed.
        if let Some(place) = unsafe { self.live.place.load(Ordering::Relaxed).as_ref() } {
            let _held = place.lock();
            place.file.store(ptr::null_mut(), Ordering::Relaxed);
        }
    }
}
