//! The names file: what the numbers in the records mean, one JSON object a line (the schema is in [`crate::format`]).
//!
//! A mapped file like the ring, so that naming costs no descriptor, and no system call except the one that makes the next piece ready. A thread
//! claims a place for its line, writes all of it but the first byte, and that byte last. So a place that begins with a NUL holds no line: its
//! writer has not finished, or died. Lines survive the ring's wrapping and the process's end.

use super::failure::Failure;
use super::line::{Length, Line, Sink};
use super::mapped_file::{FIRST, MappedFile};
use crate::clock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Bytes of a names file, most of which never get disk space.
pub const MAX_BYTES: u64 = 4 << 20;
/// Bytes that are made ready at a time.
const STEP: u64 = 16 << 10;
/// The pause after a piece could not be made ready (in nanoseconds): a full disk stays full for a while.
const PATIENCE: u64 = 100_000_000;

const FULL: Failure = Failure::new("the names file is full");
const LATER: Failure = Failure::new("there was no room a moment ago");
const UNSTABLE: Failure = Failure::new("what was to be named changed meanwhile");

/// A names file being written.
#[derive(Debug)]
pub(super) struct NamesFile {
    file: MappedFile,
    /// Where the next line begins. Never above `ready`.
    end: AtomicU64,
    /// Bytes that take stores.
    ready: AtomicU64,
    /// Until this time (of `CLOCK_MONOTONIC`) nothing is made ready.
    retry_at: AtomicU64,
    /// A thread is making a piece ready by writing zeros, which two must not do at once.
    preparing: AtomicBool,
}

impl NamesFile {
    /// A file of names in this one, whose first page is ready and holds zeros.
    pub fn new(file: MappedFile) -> NamesFile {
        NamesFile {
            file,
            end: AtomicU64::new(0),
            ready: AtomicU64::new(FIRST as u64),
            retry_at: AtomicU64::new(0),
            preparing: AtomicBool::new(false),
        }
    }

    /// The file, to be discarded. It must not be in use.
    pub fn into_file(self) -> MappedFile {
        self.file
    }

    /// Drops all its pages from memory. The contents stay in the file.
    pub fn rest(&self) {
        self.file.rest(0, self.file.len());
    }

    /// Whether another attempt after a failure is due.
    pub fn may_retry(&self) -> bool {
        clock::monotonic_ns() >= self.retry_at.load(Ordering::Relaxed)
    }

    /// Appends one line, which `build` fills in. `build` is called twice, and must write the same text both times.
    pub fn write(&self, t: &str, build: &dyn Fn(&mut Line<'_>)) -> Result<(), Failure> {
        let emit = |out: &mut dyn Sink| {
            let mut line = Line::new(out, t);
            build(&mut line);
            line.finish();
        };
        let mut length = Length::default();
        emit(&mut length);
        let at = self.claim(length.0 as u64)?;
        // SAFETY: the range was claimed by this call alone, and `claim` gives out only what is ready.
        let place = unsafe { std::slice::from_raw_parts_mut(self.file.base().as_ptr().add(at as usize), length.0) };
        let mut place = LinePlace { bytes: place, len: 0, first: 0 };
        emit(&mut place);
        place.finish()
    }

    /// Claims this many bytes, all of them ready. Returns where they begin.
    fn claim(&self, len: u64) -> Result<u64, Failure> {
        let mut end = self.end.load(Ordering::Relaxed);
        loop {
            let to = end.checked_add(len).filter(|&to| to <= self.file.len() as u64).ok_or(FULL)?;
            if to > self.ready.load(Ordering::Relaxed) {
                self.prepare(to)?;
            }
            match self.end.compare_exchange_weak(end, to, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Ok(end),
                Err(now) => end = now,
            }
        }
    }

    /// Makes everything before this byte ready.
    fn prepare(&self, to: u64) -> Result<(), Failure> {
        let now = clock::monotonic_ns();
        if now < self.retry_at.load(Ordering::Relaxed) {
            return Err(LATER);
        }
        let alone = self.file.writes_zeros();
        if alone && self.preparing.swap(true, Ordering::Acquire) {
            return Err(LATER);
        }
        let ready = self.ready.load(Ordering::Relaxed);
        let up = to.next_multiple_of(STEP).min(self.file.len() as u64);
        let done = if up > ready { self.file.prepare(ready as usize, (up - ready) as usize) } else { Ok(()) };
        match done {
            Ok(()) => {
                self.ready.fetch_max(up, Ordering::Relaxed);
            }
            Err(_) => self.retry_at.store(now.saturating_add(PATIENCE), Ordering::Relaxed),
        }
        if alone {
            self.preparing.store(false, Ordering::Release);
        }
        done
    }

    /// Makes this many bytes ready, as far as that is possible.
    #[cfg(feature = "preload")]
    pub fn make_ready(&self, bytes: u64) {
        let _ = self.prepare(bytes.min(self.file.len() as u64));
    }

    /// Copies the file from this byte on. Returns the number of bytes. Other threads may be writing there: see the module.
    pub fn copy(&self, from: u64, into: &mut [u8]) -> usize {
        let end = self.end.load(Ordering::Relaxed);
        let len = end.saturating_sub(from).min(into.len() as u64) as usize;
        for (byte, at) in into.iter_mut().take(len).zip(from as usize..) {
            // SAFETY: below `end`, and so inside the mapping and ready. Bytes that another thread is writing are read as they are.
            *byte = unsafe { &*self.file.base().as_ptr().add(at).cast::<AtomicU8>() }.load(Ordering::Acquire);
        }
        len
    }
}

/// A claimed place for one line.
struct LinePlace<'a> {
    bytes: &'a mut [u8],
    len: usize,
    /// The line's first byte, which is written last.
    first: u8,
}

impl Sink for LinePlace<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if self.len == 0
            && let Some((&first, rest)) = bytes.split_first()
        {
            (self.first, self.len, bytes) = (first, 1, rest);
        }
        let end = self.len.saturating_add(bytes.len());
        if let Some(room) = self.bytes.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
        }
        self.len = end;
    }
}

impl LinePlace<'_> {
    /// Completes the line. A text that is longer than its place leaves no line.
    fn finish(self) -> Result<(), Failure> {
        let short = self.bytes.len().checked_sub(self.len).ok_or(UNSTABLE);
        let (first, last) = match (short, self.bytes) {
            (Ok(short), [first, rest @ .., last]) => {
                if short > 0 {
                    let from = rest.len().saturating_sub(short);
                    rest.get_mut(from..).unwrap_or_default().fill(b' ');
                }
                (Some(first), last)
            }
            (_, [.., last]) => (None, last),
            (_, []) => return Err(UNSTABLE),
        };
        *last = b'\n';
        let Some(first) = first else { return Err(UNSTABLE) };
        // SAFETY: a byte of our own place. Release: a reader that finds it finds the rest of the line.
        unsafe { &*std::ptr::from_mut(first).cast::<AtomicU8>() }.store(self.first, Ordering::Release);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;
    use crate::path::Path;
    use std::cell::Cell;

    fn names(dir: &std::path::Path, len: usize, sealed: bool) -> NamesFile {
        let limits = Limits { sealed, ..Limits::look().unwrap() };
        let path = Path::new(&[dir.to_str().unwrap().as_bytes(), b"/x.names"]).unwrap();
        NamesFile::new(MappedFile::create(&path, len, &limits).unwrap())
    }

    #[test]
    fn lines_of_many_threads_stay_whole() {
        for sealed in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let names = names(dir.path(), 1 << 20, sealed);
            let write = |thread: u32| {
                let mut written = 0;
                while written < 1000 {
                    // A thread that finds another one making room gets an error, and tries again.
                    written += u32::from(
                        names
                            .write("x", &|line| {
                                line.number("thread", thread).number("n", written);
                            })
                            .is_ok(),
                    );
                }
            };
            std::thread::scope(|scope| (0..4).for_each(|thread| drop(scope.spawn(move || write(thread)))));
            let bytes = std::fs::read(dir.path().join("x.names")).unwrap();
            let end = bytes.iter().position(|&byte| byte == 0).unwrap();
            assert!(bytes[end..].iter().all(|&byte| byte == 0));
            let mut lines: Vec<&[u8]> = bytes[..end].split_inclusive(|&byte| byte == b'\n').collect();
            assert_eq!(lines.len(), 4000);
            assert!(lines.iter().all(|line| line.starts_with(b"{\"t\":\"x\",") && line.ends_with(b"}\n")));
            lines.sort_unstable();
            lines.dedup();
            assert_eq!(lines.len(), 4000);
            let mut copy = vec![0; end + 10];
            assert_eq!(names.copy(0, &mut copy), end);
            assert_eq!(&copy[..end], &bytes[..end]);
        }
    }

    #[test]
    fn a_line_that_changes_between_its_passes_is_padded_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let names = names(dir.path(), 1 << 16, false);
        let changing = |texts: [&'static str; 2]| {
            let pass = Cell::new(0);
            names.write("x", &|line| {
                line.str("text", texts[pass.replace(1)]);
            })
        };
        changing(["long", "s"]).unwrap();
        assert_eq!(changing(["s", "long"]), Err(UNSTABLE));
        changing(["last", "last"]).unwrap();
        let bytes = std::fs::read(dir.path().join("x.names")).unwrap();
        let lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
        assert_eq!(lines[0], b"{\"t\":\"x\",\"text\":\"s\"}   ");
        assert_eq!(lines[1][0], 0, "not a line");
        assert_eq!(lines[2], b"{\"t\":\"x\",\"text\":\"last\"}");
    }

    #[test]
    fn a_full_file_takes_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let names = names(dir.path(), 4096, false);
        let write = || {
            names.write("x", &|line| {
                line.str("text", "0123456789");
            })
        };
        let written = (0..1000).take_while(|_| write().is_ok()).count();
        assert!((100..200).contains(&written), "{written}");
        assert_eq!(write(), Err(FULL));
    }
}
