//! The threads of a log: how many were named, and those that wait for their names.

use super::failure::Failure;
use crate::memory::Mapping;
use crate::path::Path;
use crate::sys;
use rustix::io::Errno;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Distinct threads named in one log.
pub const MAX_THREADS: u32 = 4096;
/// Threads that wait for their names at a time.
const WAITING: usize = 256;

/// The calling thread's number and name. `sealed`: by system calls that SQLite makes, too. They take a descriptor for a moment, which a program at
/// its limit may need, so otherwise other calls are made.
pub(super) fn ask(sealed: bool, room: &mut [u8; 64]) -> (u32, &[u8]) {
    if sealed {
        // `4712 (a name) S …`; a name can contain a parenthesis.
        let stat = sys::read_file(c"/proc/thread-self/stat", room).unwrap_or_default();
        let open = stat.iter().position(|&byte| byte == b'(').unwrap_or(stat.len());
        let close = stat.iter().rposition(|&byte| byte == b')').unwrap_or(stat.len());
        let digits = stat.get(..open).unwrap_or_default().trim_ascii_end();
        let tid = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0);
        return (tid, stat.get(open + 1..close).unwrap_or_default());
    }
    // SAFETY: PR_GET_NAME writes up to 16 bytes, NUL included, to the buffer it is given. It does not fail, so `errno` stays.
    unsafe { libc::syscall(libc::SYS_prctl, libc::PR_GET_NAME, room.as_mut_ptr(), 0, 0, 0) };
    let name = std::ffi::CStr::from_bytes_until_nul(room).unwrap_or_default().to_bytes();
    (rustix::thread::gettid().as_raw_nonzero().get() as u32, name)
}

/// The present name of a thread of this process; `None` when it has ended. Without the heap.
pub(crate) fn thread_comm(tid: u32, into: &mut [u8]) -> Option<&[u8]> {
    let mut path = Path::new(&[])?;
    write!(path, "/proc/self/task/{tid}/comm").ok()?;
    Some(sys::read_file(path.as_c_str(), into)?.trim_ascii_end())
}

/// The present name of a thread of this process; `None` when it has ended.
pub fn thread_name(tid: u32) -> Option<String> {
    Some(String::from_utf8_lossy(thread_comm(tid, &mut [0; 64])?).into_owned())
}

/// A thread without a name. A thread's name is 15 bytes long at most.
#[derive(Debug)]
struct Waiting {
    /// 0 = the entry is free; [`TAKEN`]: being filled in, or being named.
    tid: AtomicU32,
    name: [AtomicU64; 2],
}

const TAKEN: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub(super) struct Threads {
    count: AtomicU32,
    waiting: &'static [Waiting; WAITING],
}

impl Threads {
    /// None.
    pub fn new() -> Result<Threads, Failure> {
        let memory = Mapping::new(size_of::<[Waiting; WAITING]>()).ok_or(Failure::from(Errno::NOMEM))?;
        // SAFETY: as many zero bytes as the list has, page-aligned, never given back; atomics of 0 are all zeros.
        Ok(Threads { count: AtomicU32::new(0), waiting: unsafe { memory.leak().cast().as_ref() } })
    }

    /// Counts another thread. Returns how many there were before.
    pub fn count(&self) -> u32 {
        let before = self.count.fetch_add(1, Ordering::Relaxed);
        // The count must not wrap. Past the cap its exact value does not matter.
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
        let threads = Threads::new().unwrap();
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
    fn both_ways_name_the_same_thread() {
        let named = || {
            let (mut one, mut other) = ([0; 64], [0; 64]);
            let (asked, read) = (ask(false, &mut one), ask(true, &mut other));
            assert_eq!((asked.0, asked.1), (read.0, read.1));
            assert_eq!(asked.1, b"a-name");
        };
        std::thread::Builder::new().name("a-name".into()).spawn(named).unwrap().join().unwrap();
    }

    #[test]
    fn the_count_never_goes_round() {
        let threads = Threads::new().unwrap();
        assert_eq!((0..MAX_THREADS + 100).filter(|_| threads.count() < MAX_THREADS).count(), MAX_THREADS as usize);
        assert!((0..1000).all(|_| threads.count() > MAX_THREADS));
    }

    #[test]
    fn a_thread_has_a_name_until_it_ends() {
        let named = |name: &str| {
            let here = || (rustix::thread::gettid().as_raw_pid() as u32, thread_name(rustix::thread::gettid().as_raw_pid() as u32));
            std::thread::Builder::new().name(name.to_owned()).spawn(here).unwrap().join().unwrap()
        };
        let (tid, name) = named("a-name-of-15-by");
        assert_eq!(name.as_deref(), Some("a-name-of-15-by"));
        let mut room = [0; 64];
        crate::recorder::heap::unnoticed(|| assert!(thread_comm(std::process::id(), &mut room).is_some()));
        let path = format!("/proc/self/task/{tid}");
        while std::fs::exists(&path).unwrap() {
            std::thread::yield_now();
        }
        assert_eq!(thread_name(tid), None);
    }
}
