//! The SQL texts of this process: one copy of each, found by its hash, kept for the life of the process and inherited by its children.
//!
//! A table of pointers with open addressing, at most half full, without a lock. A text is kept once, together with the log it is named in.

use super::Log;
use super::config::SqlPolicy;
use super::name_state::NameState;
use crate::memory::{keep, keep_bytes};
use std::collections::HashMap;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

/// Distinct SQL texts that are kept.
pub const MAX_SQL: u32 = 8192;

const PLACES: usize = MAX_SQL as usize * 2;

/// One text.
#[derive(Debug)]
pub(super) struct Text {
    hash: u64,
    /// As it was prepared, up to [`super::config::MAX_SQL_BYTES`].
    kept: &'static [u8],
    /// Its whole length.
    len: u64,
    /// It was kept under a policy by which texts are shown.
    shown: AtomicBool,
    named: NameState,
}

static TABLE: [AtomicPtr<Text>; PLACES] = [const { AtomicPtr::new(ptr::null_mut()) }; PLACES];
static COUNT: AtomicU32 = AtomicU32::new(0);

/// The places for this hash, in the order of the search.
fn probe(hash: u64) -> impl Iterator<Item = &'static AtomicPtr<Text>> {
    let start = hash as usize % PLACES;
    TABLE.iter().skip(start).chain(TABLE.iter().take(start))
}

/// The text in this place.
fn at(place: &AtomicPtr<Text>) -> Option<&'static Text> {
    // SAFETY: null, or kept for the life of the process and whole before it was published with Release.
    unsafe { place.load(Ordering::Acquire).as_ref() }
}

/// The text with this hash, keeping a copy if it is new. `None` past [`MAX_SQL`], or where there is no memory.
fn intern(hash: u64, text: &[u8], len: usize) -> Option<&'static Text> {
    for place in probe(hash) {
        let there = match at(place) {
            Some(there) => there,
            None => {
                if COUNT.load(Ordering::Relaxed) >= MAX_SQL {
                    return None;
                }
                let fresh =
                    Text { hash, kept: keep_bytes(text)?, len: len as u64, shown: AtomicBool::new(false), named: NameState::new() };
                let fresh = ptr::from_mut(keep(fresh)?);
                match place.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
                    Ok(_) => {
                        COUNT.fetch_add(1, Ordering::Relaxed);
                        // SAFETY: kept just now, for the life of the process.
                        return Some(unsafe { &*fresh });
                    }
                    // SAFETY: as in `at`; another thread's text is there now.
                    Err(theirs) => unsafe { &*theirs },
                }
            }
        };
        if there.hash == hash {
            return Some(there);
        }
    }
    None
}

/// The kept copy of this text of `len` bytes, of which `text` is the beginning; a NUL follows it. The text is named in this log, if the log's
/// policy allows that. `None` past [`MAX_SQL`] texts, or where there is no memory.
pub fn learn(log: &Log, hash: u64, text: &[u8], len: usize) -> Option<&'static [u8]> {
    let found = intern(hash, text, len);
    if log.policy() == SqlPolicy::Text {
        match found {
            Some(found) => {
                found.shown.store(true, Ordering::Relaxed);
                name(log, found);
            }
            None => log.cap_sql(),
        }
    }
    Some(found?.kept)
}

/// The kept text with this hash, where the policy allows showing it.
pub fn find(hash: u64) -> Option<&'static [u8]> {
    let found = probe(hash).map_while(at).find(|text| text.hash == hash)?;
    found.shown.load(Ordering::Relaxed).then_some(found.kept)
}

/// The texts of these statements, as far as they were kept. 0 stands for no statement. For Rust programs: it allocates.
pub fn texts(hashes: impl IntoIterator<Item = u64>) -> HashMap<u64, String> {
    let text = |hash| Some((hash, String::from_utf8_lossy(find(hash)?).into_owned()));
    hashes.into_iter().filter(|&hash| hash != 0).filter_map(text).collect()
}

fn name(log: &Log, text: &'static Text) -> bool {
    log.name(&text.named, "sql", &|line| {
        line.hex("sql", text.hash).text("text", text.kept).number("len", text.len as i64);
    })
}

/// Names the texts whose names are missing in this log; `false`: there is still no room.
pub(super) fn retry(log: &Log) -> bool {
    TABLE.iter().filter_map(at).filter(|text| text.named.is_missed(log.serial())).all(|text| name(log, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once() {
        // The table is the process's: hashes of these tests' own, all from one place on.
        let base = 77 + (PLACES as u64) * 1000;
        let first = intern(base, b"SELECT 1", 8).unwrap();
        assert!(ptr::eq(first, intern(base, b"SELECT 1", 8).unwrap()));
        let collides = intern(base + PLACES as u64, b"SELECT 2", 9000).unwrap();
        assert_eq!((collides.kept, collides.len), (&b"SELECT 2"[..], 9000));
        assert_eq!(find(base), None, "it was not learnt under a policy that shows it");
        first.shown.store(true, Ordering::Relaxed);
        assert_eq!(find(base), Some(&b"SELECT 1"[..]));
        assert_eq!(find(base + 1), None);
        std::thread::scope(|scope| {
            let intern =
                || (0..200u64).map(|i| ptr::from_ref(intern(base + i * 31, b"x", 1).unwrap()) as usize).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(intern)).collect();
            let seen: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            assert!(seen.iter().all(|addresses| *addresses == seen[0]));
        });
    }
}
