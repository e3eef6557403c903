//! The threads of a log: how many were named, and those that could not be yet.

use super::failure::Failure;
use crate::memory::Mapping;
use crate::sys;
use rustix::io::Errno;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Distinct threads named in one log.
pub const MAX_THREADS: u32 = 4096;
/// Threads that wait for their names at a time.
const WAITING: usize = 256;

/// Descriptors that must be left to the program while one of them is ours.
const LEFT: u32 = 16;

/// How the calling thread is asked for its number and name.
#[derive(Debug)]
pub(super) struct Asking {
    /// The program may have so many descriptors.
    descriptors: u32,
    /// Few of them were left.
    short: AtomicBool,
}

impl Asking {
    /// For a program with this limit.
    pub const fn new(descriptors: u32) -> Asking {
        Asking { descriptors, short: AtomicBool::new(false) }
    }

    /// The calling thread's number and name, by calls that SQLite makes, too: a program may have installed a filter of system calls that nobody
    /// has seen. It takes a descriptor for a moment, which a program near its limit may need: there, or without `/proc`, there is no name, and the
    /// number is asked for; it is 0 where a filter is known of.
    pub fn ask<'a>(&self, sealed: bool, room: &'a mut [u8; 64]) -> (u32, &'a [u8]) {
        let short = self.short.load(Ordering::Relaxed);
        let read = if short { None } else { sys::read_on(c"/proc/thread-self/stat", room) };
        let (stat, descriptor) = read.unwrap_or_default();
        if descriptor >= self.descriptors.saturating_sub(LEFT) {
            self.short.store(true, Ordering::Relaxed);
        }
        match numbered(stat) {
            Some(of) => of,
            None if sealed => (0, &[]),
            None => (rustix::thread::gettid().as_raw_nonzero().get() as u32, &[]),
        }
    }
}

/// The number and name that stand in a thread's `stat`.
fn numbered(stat: &[u8]) -> Option<(u32, &[u8])> {
    // `4712 (a name) S …`; a name can have a parenthesis in it.
    let open = stat.iter().position(|&byte| byte == b'(').unwrap_or(stat.len());
    let close = stat.iter().rposition(|&byte| byte == b')').unwrap_or(stat.len());
    let digits = stat.get(..open).unwrap_or_default().trim_ascii_end();
    let tid = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some((tid, stat.get(open + 1..close).unwrap_or_default()))
}

/// A thread without a name. A thread's name is 15 bytes long at most.
#[derive(Debug)]
struct Waiting {
    /// 0: nobody; [`TAKEN`]: being filled in, or being named.
    tid: AtomicU32,
    name: [AtomicU64; 2],
}

const TAKEN: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub(super) struct Threads {
    pub asking: Asking,
    count: AtomicU32,
    waiting: &'static [Waiting; WAITING],
}

impl Threads {
    /// None.
    pub fn new(asking: Asking) -> Result<Threads, Failure> {
        let memory = Mapping::new(size_of::<[Waiting; WAITING]>()).ok_or(Failure::from(Errno::NOMEM))?;
        // SAFETY: as many zero bytes as the list has, page-aligned, never given back; atomics of 0 are all zeros.
        Ok(Threads { asking, count: AtomicU32::new(0), waiting: unsafe { memory.leak().cast().as_ref() } })
    }

    /// Counts another thread; gives how many there were before.
    pub fn count(&self) -> u32 {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        // Never round: past the cap one more or less is all the same.
        if before > MAX_THREADS {
            self.count.store(MAX_THREADS + 1, Ordering::Relaxed);
        }
        before
    }

    /// Keeps a thread until there is room for its name; `false` where too many wait.
    pub fn put_aside(&self, tid: u32, name: &[u8]) -> bool {
        let free = |place: &&Waiting| place.tid.compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok();
        let Some(place) = self.waiting.iter().find(free) else { return false };
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(name.iter().take(15)).for_each(|(to, from)| *to = *from);
        for (word, bytes) in place.name.iter().zip(bytes.as_chunks::<8>().0) {
            word.store(u64::from_ne_bytes(*bytes), Ordering::Relaxed);
        }
        place.tid.store(tid, Ordering::Release);
        true
    }

    /// Names those that wait; `false`: there is still no room.
    pub fn retry(&self, name: &dyn Fn(u32, &[u8]) -> bool) -> bool {
        self.waiting.iter().all(|place| {
            let tid = place.tid.load(Ordering::Acquire);
            if tid == 0 || tid == TAKEN || place.tid.compare_exchange(tid, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_err() {
                return true;
            }
            let mut bytes = [0; 16];
            for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(&place.name) {
                *bytes = word.load(Ordering::Relaxed).to_ne_bytes();
            }
            let len = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
            let named = name(tid, bytes.get(..len).unwrap_or_default());
            place.tid.store(if named { 0 } else { tid }, Ordering::Release);
            named
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn who_waits_is_named_once() {
        let threads = Threads::new(Asking::new(1024)).unwrap();
        assert!(threads.put_aside(7, b"a-name-that-is-longer"));
        assert!(threads.put_aside(8, b""));
        let said = RefCell::new(Vec::new());
        let name = |room: usize| {
            threads.retry(&|tid, name| {
                let mut said = said.borrow_mut();
                said.len() < room && {
                    said.push((tid, name.to_vec()));
                    true
                }
            })
        };
        assert!(!name(1));
        assert!(name(9) && name(9));
        assert_eq!(*said.borrow(), [(7, b"a-name-that-is-".to_vec()), (8, Vec::new())]);
        assert_eq!((0..WAITING + 5).filter(|_| threads.put_aside(9, b"x")).count(), WAITING);
    }

    #[test]
    fn a_thread_is_asked_for() {
        let named = || {
            let mut room = [0; 64];
            let own = rustix::thread::gettid().as_raw_nonzero().get() as u32;
            assert_eq!(Asking::new(1024).ask(true, &mut room), (own, &b"a )name("[..]));
            // Near the limit it is seen once, and then no descriptor is taken.
            let few = Asking::new(LEFT);
            assert_eq!(few.ask(true, &mut room), (own, &b"a )name("[..]));
            assert_eq!(few.ask(true, &mut room), (0, &b""[..]));
            assert_eq!(few.ask(false, &mut room), (own, &b""[..]));
        };
        std::thread::Builder::new().name("a )name(".into()).spawn(named).unwrap().join().unwrap();
    }

    #[test]
    fn the_count_never_goes_round() {
        let threads = Threads::new(Asking::new(1024)).unwrap();
        assert_eq!((0..MAX_THREADS + 100).filter(|_| threads.count() < MAX_THREADS).count(), MAX_THREADS as usize);
        assert!((0..1000).all(|_| threads.count() > MAX_THREADS));
    }
}
