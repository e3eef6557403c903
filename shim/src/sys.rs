//! System calls as the recorder makes them: raw, so that the program cannot notice.
//!
//! The C library's wrappers set `errno`, which SQLite's unix VFS reads after its own calls have returned (`xGetLastError`); and `open`,
//! `read`, `write` and `close` are cancellation points, where `pthread_cancel` unwinds the thread through our frames. rustix makes the system
//! call itself and returns the error. What is here puts its pieces together without a heap: a [`Path`] of fixed size, and files that are
//! read into memory of the caller's.

use crate::memory::Mapping;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::CStr;
use std::fmt::{self, Write};
use std::mem::ManuallyDrop;

/// A file's name, in fixed memory.
#[derive(Clone)]
pub struct Path {
    /// NUL from `len` on.
    bytes: [u8; Path::MOST + 1],
    len: usize,
}

impl Path {
    /// The longest one, in bytes. Longer ones are an error where they are made.
    pub const MOST: usize = 1023;

    /// These pieces, one behind the other; `None` if it is too long, or holds a NUL.
    pub fn new(pieces: &[&[u8]]) -> Option<Path> {
        let mut path = Path { bytes: [0; Path::MOST + 1], len: 0 };
        path.set(pieces)?;
        Some(path)
    }

    /// Makes it these pieces; `None` where they do not fit or hold a NUL, and it is as many of them as fit then.
    pub fn set(&mut self, pieces: &[&[u8]]) -> Option<()> {
        self.clear();
        pieces.iter().try_for_each(|piece| self.push(piece))
    }

    /// Makes it empty.
    pub fn clear(&mut self) {
        self.bytes.iter_mut().take(self.len).for_each(|byte| *byte = 0);
        self.len = 0;
    }

    /// Adds this piece; `None`, and the path is as it was, if it does not fit or holds a NUL.
    pub fn push(&mut self, piece: &[u8]) -> Option<()> {
        let end = self.len.checked_add(piece.len()).filter(|&end| end <= Path::MOST)?;
        if piece.contains(&0) {
            return None;
        }
        self.bytes.get_mut(self.len..end)?.copy_from_slice(piece);
        self.len = end;
        Some(())
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// For a system call.
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }
}

/// Formatted pieces, as in `write!(path, "{pid}.ring")`; an error where they do not fit.
impl Write for Path {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes()).ok_or(fmt::Error)
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_c_str().fmt(f)
    }
}

/// Empty paths in memory of their own. A thread's stack may have room for few.
pub struct Paths<const N: usize>(Mapping);

impl<const N: usize> Paths<N> {
    /// So many; `None` where there is no memory.
    pub fn new() -> Option<Paths<N>> {
        const { assert!(align_of::<Path>() <= 4096) };
        Mapping::new(size_of::<[Path; N]>()).map(Paths)
    }

    /// Each of them.
    pub fn each(&mut self) -> &mut [Path; N] {
        // SAFETY: as many zero bytes as they have, page-aligned, this value's alone; a path of zeros is an empty one, and what was written there
        // since are paths.
        unsafe { &mut *self.0.bytes().as_mut_ptr().cast() }
    }
}

/// An open file, closed by the system call itself.
///
/// An `OwnedFd` must not be dropped in the program: where any of its crates switches on rustix's feature `std`, it is the standard library's,
/// which closes through the C library, at a cancellation point.
#[derive(Debug)]
pub struct Fd(ManuallyDrop<OwnedFd>);

impl From<OwnedFd> for Fd {
    fn from(fd: OwnedFd) -> Fd {
        Fd(ManuallyDrop::new(fd))
    }
}

impl AsFd for Fd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Fd {
    fn as_raw_fd(&self) -> rustix::fd::RawFd {
        self.0.as_raw_fd()
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: it is open and owned, and nobody uses it from here on: its own destructor never runs.
        unsafe { rustix::io::close(self.0.as_raw_fd()) };
    }
}

/// The beginning of a file, as much of it as `into` holds. `None` where it cannot be read.
pub fn read_file<'a>(path: &CStr, into: &'a mut [u8]) -> Option<&'a [u8]> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = Fd::from(rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()?);
    let mut len = 0;
    while len < into.len() {
        // As SQLite reads: a filter of system calls may know no other way.
        match rustix::io::pread(&file, into.get_mut(len..)?, len as u64) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    into.get(..len)
}

/// In a text of lines, the number in this place of the line that begins so.
pub fn number(text: &[u8], line: &[u8], place: usize) -> Option<u64> {
    let line = text.split(|&byte| byte == b'\n').find_map(|text| text.strip_prefix(line))?;
    let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    std::str::from_utf8(words.nth(place)?).ok()?.parse().ok()
}

/// Where a symbolic link leads.
pub fn read_link<'a>(path: &CStr, into: &'a mut [u8]) -> Option<&'a [u8]> {
    // The call that the C library's `readlink` makes, which SQLite uses: a filter of system calls may know no other.
    #[cfg(target_arch = "x86_64")]
    let len = {
        let errno = kept_errno();
        // SAFETY: a NUL-terminated path, and memory of this length.
        let len = unsafe { libc::syscall(libc::SYS_readlink, path.as_ptr(), into.as_mut_ptr(), into.len()) };
        drop(errno);
        usize::try_from(len).ok()?
    };
    #[cfg(not(target_arch = "x86_64"))]
    let len = rustix::fs::readlinkat_raw(CWD, path, &mut *into).ok()?;
    into.get(..len)
}

/// Takes a file away; by the call that SQLite makes.
pub fn unlink(path: &CStr) {
    #[cfg(target_arch = "x86_64")]
    {
        let _errno = kept_errno();
        // SAFETY: a NUL-terminated path.
        unsafe { libc::syscall(libc::SYS_unlink, path.as_ptr()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = rustix::fs::unlinkat(CWD, path, rustix::fs::AtFlags::empty());
}

/// The C library's `syscall` sets `errno`: puts it back.
#[cfg(target_arch = "x86_64")]
fn kept_errno() -> crate::recorder::Errno {
    crate::recorder::Errno::save()
}

/// Device and inode of what has this name. It is not opened: closing a database would drop the process's POSIX locks on it.
pub fn stat(path: &CStr) -> Option<(u64, u64)> {
    let stat = rustix::fs::stat(path).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_does_not_fit_is_none() {
        let mut path = Path::new(&[b"/a", b"/", b"b"]).unwrap();
        assert_eq!((path.as_bytes(), path.as_c_str()), (&b"/a/b"[..], c"/a/b"));
        write!(path, "-{}", 7).unwrap();
        assert_eq!(path.as_bytes(), b"/a/b-7");
        assert!(path.push(&[b'x'; Path::MOST]).is_none());
        assert!(path.push(b"\0").is_none());
        assert_eq!(path.as_bytes(), b"/a/b-7");
        path.set(&[b"/", b"c"]).unwrap();
        assert_eq!((path.as_bytes(), path.as_c_str()), (&b"/c"[..], c"/c"));
    }

    #[test]
    fn paths_in_memory_of_their_own_are_empty_and_apart() {
        let mut paths = Paths::<3>::new().unwrap();
        let [one, two, three] = paths.each();
        one.set(&[b"/1"]).unwrap();
        three.set(&[&[b'x'; Path::MOST]]).unwrap();
        assert_eq!((one.as_bytes(), two.as_bytes(), three.as_bytes().len()), (&b"/1"[..], &b""[..], Path::MOST));
    }

    #[test]
    fn files_are_read_as_far_as_there_is_room() {
        let mut room = [0; 4];
        assert_eq!(read_file(c"/proc/self/comm", &mut room).unwrap().len(), 4);
        assert!(read_file(c"/no/such/file", &mut room).is_none());
        assert!(stat(c"/").is_some());
        assert!(stat(c"/no/such/file").is_none());
        assert!(read_link(c"/proc/self/exe", &mut [0; 512]).is_some_and(|path| path.starts_with(b"/")));
    }
}
