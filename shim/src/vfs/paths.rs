//! The paths of databases, kept for the life of the process: a thread that reads another's connection must not read SQLite's memory.
//!
//! Each path is kept once. Past [`MOST`] distinct ones, or without memory, a path is not kept, and its database is shown without one.

use crate::format::sql_hash;
use crate::memory;
use std::ffi::{CStr, c_char};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The most paths that are kept.
const MOST: usize = 1024;

/// A table with open addressing. At most half of it is searched.
static KEPT: [AtomicPtr<c_char>; MOST] = [const { AtomicPtr::new(ptr::null_mut()) }; MOST];

/// The kept copy of this path.
pub(super) fn keep(path: &CStr) -> Option<&'static CStr> {
    let start = sql_hash(path.to_bytes()) as usize % MOST;
    let mut fresh: Option<&'static CStr> = None;
    for place in KEPT.iter().skip(start).chain(KEPT.iter().take(start)).take(MOST / 2) {
        let mut there = place.load(Ordering::Acquire);
        if there.is_null() {
            let ours = match fresh {
                Some(ours) => ours,
                None => *fresh.insert(memory::keep_c_str(path)?),
            };
            match place.compare_exchange(ptr::null_mut(), ours.as_ptr().cast_mut(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(ours),
                Err(now) => there = now,
            }
        }
        // SAFETY: a kept string, which stays for the life of the process.
        let there = unsafe { CStr::from_ptr(there) };
        if there == path {
            return Some(there);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_kept_once() {
        let first = keep(c"/a/b.db").unwrap();
        assert_eq!(first, c"/a/b.db");
        assert!(ptr::eq(first.as_ptr(), keep(c"/a/b.db").unwrap().as_ptr()));
        assert!(!ptr::eq(first.as_ptr(), keep(c"/a/c.db").unwrap().as_ptr()));
    }
}
