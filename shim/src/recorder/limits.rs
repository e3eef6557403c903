//! What the kernel lets this process do, read from `/proc` when a log is opened: limits, the user, a filter of system calls.
//!
//! Plain `open`, `pread` and `close` only: SQLite makes those itself, so a filter that lets SQLite work lets them through.

use super::failure::Failure;
use crate::memory::{self, Mapping};
use crate::path::Path;
use crate::sys::{self, number};
use std::ffi::CStr;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limits {
    /// A filter of system calls is in force. One that is not expected may kill the program, so only those that SQLite makes are made.
    pub sealed: bool,
    /// The effective user.
    pub uid: u32,
    /// The most bytes a file may have. Going past it would not fail but raise `SIGXFSZ`, which kills.
    pub file_size: u64,
    /// How many bytes may still be mapped; see [`memory::left`].
    pub memory: u64,
}

impl Limits {
    /// Those of this process, now. `None` where `/proc` cannot be read.
    pub fn look() -> Option<Limits> {
        let mut scratch = Mapping::new(16 << 10)?;
        let status = sys::read_file(c"/proc/thread-self/status", scratch.bytes())?;
        let (sealed, uid) = (is_filtered(status), u32::try_from(number(status, b"Uid:", 1)?).ok()?);
        let limits = sys::read_file(c"/proc/self/limits", scratch.bytes())?;
        // A limit that is no number is "unlimited".
        let file_size = number(limits, b"Max file size", 0).unwrap_or(u64::MAX);
        Some(Limits { sealed, uid, file_size, memory: memory::left() })
    }

    /// The reason where [`Limits::look`] sees nothing.
    pub const UNKNOWN: Failure = Failure::new("/proc cannot be read, so what this process may do is not known");
}

/// The program is about to install a filter of system calls, or has one of its own.
static FILTER: AtomicBool = AtomicBool::new(false);

/// From here on only system calls are made that SQLite makes, too.
#[cfg(feature = "preload")]
pub(super) fn expect_filter() {
    FILTER.store(true, Ordering::Relaxed);
}

/// Whether that is known of this process, or of one it was forked from.
pub(super) fn filter_expected() -> bool {
    FILTER.load(Ordering::Relaxed)
}

/// Whether a filter of system calls is in force, or may be, that the program made for itself.
pub(super) fn sealed() -> bool {
    let Some(mut scratch) = Mapping::new(16 << 10) else { return true };
    sys::read_file(c"/proc/thread-self/status", scratch.bytes()).is_none_or(is_filtered)
}

/// The same by this thread's `status`. Once it is so it stays so, in this process and in those that it forks.
///
/// A container's runtime filters the system calls of everything in it, and refuses few. So what matters are the filters a process has more than its
/// parent; of a container's first process, the first filter is the runtime's.
fn is_filtered(status: &[u8]) -> bool {
    if filter_expected() {
        return true;
    }
    // A kernel without seccomp has no such line. Where nothing was read, nobody knows.
    let filtered = match number(status, b"Seccomp:", 0) {
        Some(mode) => mode != 0,
        None => number(status, b"Uid:", 0).is_none(),
    };
    let own = filtered && !is_inherited(status).unwrap_or(false);
    // A unit test's filter is on one thread of the tests' process.
    if own && cfg!(not(test)) {
        FILTER.store(true, Ordering::Relaxed);
    }
    own
}

/// Whether this process's parent has as many filters. `None` where that is not known: the count is there since Linux 5.9.
fn is_inherited(status: &[u8]) -> Option<bool> {
    let filters = number(status, b"Seccomp_filters:", 0)?;
    let parent = match number(status, b"PPid:", 0)? {
        0 => 1,
        parent => {
            let mut path = Path::new(&[])?;
            write!(path, "/proc/{parent}/status").ok()?;
            let mut scratch = Mapping::new(16 << 10)?;
            number(sys::read_file(path.as_c_str(), scratch.bytes())?, b"Seccomp_filters:", 0)?
        }
    };
    Some(filters > 0 && filters <= parent)
}

/// The type of the file system with this device number, as `/proc/self/mountinfo` lists it: `ext4`, say. For where `statfs` is not to be
/// called. `None` where it is not listed.
pub(super) fn mounted(dev: u64) -> Option<FileSystem> {
    let mut scratch = Mapping::new(256 << 10)?;
    let text = sys::read_file(c"/proc/self/mountinfo", scratch.bytes())?;
    // `36 35 98:0 /root /mount options - ext4 /dev/vda rw` (proc_pid_mountinfo(5))
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let mut words = line.split(|&byte| byte == b' ');
        let mut device = std::str::from_utf8(words.nth(2)?).ok()?.split(':');
        let (major, minor): (u32, u32) = (device.next()?.parse().ok()?, device.next()?.parse().ok()?);
        if libc::makedev(major, minor) != dev {
            return None;
        }
        words.find(|word| *word == b"-")?;
        Some(FileSystem::named(words.next()?))
    })
}

/// A file system, as far as it matters what a store into a mapped page can meet there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FileSystem {
    /// One where a page that was once made ready takes every later store: ext2, ext3, ext4, xfs.
    Disk,
    /// The same, and in memory: tmpfs, ramfs.
    Memory,
    /// Any other. Copy-on-write file systems need new space for each write-back, network ones may lose their server.
    Other,
}

impl FileSystem {
    fn named(name: &[u8]) -> FileSystem {
        match name {
            b"ext2" | b"ext3" | b"ext4" | b"xfs" => FileSystem::Disk,
            b"tmpfs" | b"ramfs" => FileSystem::Memory,
            _ => FileSystem::Other,
        }
    }

    /// The one this path is on.
    pub fn of(path: &CStr, sealed: bool) -> Option<FileSystem> {
        if sealed {
            return mounted(sys::stat(path)?.0);
        }
        // The type is wider than the magic number on some architectures, and signed.
        Some(match rustix::fs::statfs(path).ok()?.f_type as u32 {
            0xef53 | 0x5846_5342 => FileSystem::Disk,
            0x0102_1994 | 0x8584_58f6 => FileSystem::Memory,
            _ => FileSystem::Other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_understood() {
        let found = Limits::look().unwrap();
        // SAFETY: no preconditions.
        assert_eq!(found.uid, unsafe { libc::geteuid() });
        assert_eq!(found.sealed, sealed());
        let status = b"Name:\tx\nUid:\t1\t2\t3\t4\nVmSize:\t   12 kB\n";
        assert_eq!(
            (number(status, b"Uid:", 1), number(status, b"VmSize:", 0), number(status, b"Vm:", 0)),
            (Some(2), Some(12), None)
        );
        let limits = b"Limit  Soft\nMax file size   unlimited  unlimited  bytes\nMax address space  5  unlimited  bytes\n";
        assert_eq!((number(limits, b"Max file size", 0), number(limits, b"Max address space", 0)), (None, Some(5)));
    }

    #[test]
    fn both_ways_name_the_same_file_system() {
        for path in [c"/proc", c"/dev/shm", c"/tmp", c"/"] {
            let (asked, listed) = (FileSystem::of(path, false), FileSystem::of(path, true));
            // Where the device is not listed (btrfs), it is unknown: that is no safe one either.
            assert!(asked.is_some() && listed.is_none_or(|listed| Some(listed) == asked), "{path:?}: {asked:?} {listed:?}");
        }
        assert_eq!(FileSystem::of(c"/no/such/path", false), None);
    }
}
