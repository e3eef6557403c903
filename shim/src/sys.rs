//! The recorder's system calls: raw, so that the program cannot notice.
//!
//! The C library's wrappers set `errno`, which SQLite reads, and `open`,
//! `read`, `write` and `close` are cancellation points, where `pthread_cancel` unwinds the thread through our frames. rustix makes the system
//! call itself and returns the error. Files are read into memory of the caller's.

#[cfg(target_arch = "x86_64")]
use crate::errno::SavedErrno;
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use std::ffi::CStr;
use std::mem::ManuallyDrop;

/// An open file, closed by the system call itself.
///
/// An `OwnedFd` must not be dropped in the program: where any crate enables rustix's feature `std`, it is the standard library's,
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
        // SAFETY: it is open and owned, and not used from here on: its own destructor never runs.
        unsafe { rustix::io::close(self.0.as_raw_fd()) };
    }
}

/// The beginning of a file, as much of it as `into` holds. `None` where it cannot be read.
pub fn read_file<'a>(path: &CStr, into: &'a mut [u8]) -> Option<&'a [u8]> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = Fd::from(rustix::fs::openat(CWD, path, flags, Mode::empty()).ok()?);
    let mut len = 0;
    while len < into.len() {
        // `pread`, as SQLite reads: a filter of system calls may forbid any other way.
        match rustix::io::pread(&file, into.get_mut(len..)?, len as u64) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
    }
    into.get(..len)
}

/// In a text of lines, the number at this place of the line that begins with `line`.
pub fn number(text: &[u8], line: &[u8], place: usize) -> Option<u64> {
    let line = text.split(|&byte| byte == b'\n').find_map(|text| text.strip_prefix(line))?;
    let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    std::str::from_utf8(words.nth(place)?).ok()?.parse().ok()
}

/// Where a symbolic link leads.
pub fn read_link<'a>(path: &CStr, into: &'a mut [u8]) -> Option<&'a [u8]> {
    // The system call of the C library's `readlink`, which SQLite uses: a filter of system calls may forbid any other.
    #[cfg(target_arch = "x86_64")]
    let len = {
        let errno = SavedErrno::save();
        // SAFETY: a NUL-terminated path, and memory of this length.
        let len = unsafe { libc::syscall(libc::SYS_readlink, path.as_ptr(), into.as_mut_ptr(), into.len()) };
        drop(errno);
        usize::try_from(len).ok()?
    };
    #[cfg(not(target_arch = "x86_64"))]
    let len = rustix::fs::readlinkat_raw(CWD, path, &mut *into).ok()?;
    into.get(..len)
}

/// Deletes a file, by the system call that SQLite makes.
pub fn unlink(path: &CStr) {
    #[cfg(target_arch = "x86_64")]
    {
        let _errno = SavedErrno::save();
        // SAFETY: a NUL-terminated path.
        unsafe { libc::syscall(libc::SYS_unlink, path.as_ptr()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = rustix::fs::unlinkat(CWD, path, rustix::fs::AtFlags::empty());
}

/// The device and inode of a path. It is not opened: closing a database would drop the process's POSIX locks on it.
pub fn stat(path: &CStr) -> Option<(u64, u64)> {
    let stat = rustix::fs::stat(path).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// This process's number, asked of the kernel.
pub fn pid() -> u32 {
    rustix::process::getpid().as_raw_pid().unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

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
