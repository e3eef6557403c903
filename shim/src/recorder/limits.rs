//! The limits of this process, read from `/proc` when a log is opened: sizes, the user, a filter of system calls.
//!
//! The only system calls are `open`, `pread` and `close`: SQLite makes those itself, so a filter that SQLite can work under allows them.

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
    /// A filter of system calls is in force. A call that it does not expect may kill the program, so only calls that SQLite makes are made.
    pub sealed: bool,
    /// The effective user.
    pub uid: u32,
    /// The most bytes a file may have. Writing past it raises `SIGXFSZ`, which kills.
    pub file_size: u64,
    /// Bytes that may still be mapped; see [`memory::left`].
    pub memory: u64,
}

impl Limits {
    /// The present limits. `None` where `/proc` cannot be read.
    pub fn look() -> Option<Limits> {
        let mut scratch = Mapping::new(16 << 10)?;
        let status = sys::read_file(c"/proc/thread-self/status", scratch.bytes())?;
        let (sealed, uid) = (is_filtered(status), u32::try_from(number(status, b"Uid:", 1)?).ok()?);
        let limits = sys::read_file(c"/proc/self/limits", scratch.bytes())?;
        // A limit without a number is "unlimited".
        let file_size = number(limits, b"Max file size", 0).unwrap_or(u64::MAX);
        Some(Limits { sealed, uid, file_size, memory: memory::left() })
    }

    /// The reason where [`Limits::look`] gives `None`.
    pub const UNKNOWN: Failure = Failure::new("/proc cannot be read, so what this process may do is not known");
}

/// The program is about to install a filter of system calls, or has one of its own.
static FILTER: AtomicBool = AtomicBool::new(false);

/// From now on only system calls that SQLite makes are made.
#[cfg(feature = "preload")]
pub(super) fn expect_filter() {
    FILTER.store(true, Ordering::Relaxed);
}

/// Whether that holds for this process, or for one it was forked from.
pub(super) fn filter_expected() -> bool {
    FILTER.load(Ordering::Relaxed)
}

/// Whether a filter of system calls that the program made for itself is in force, or may be.
pub(super) fn sealed() -> bool {
    let Some(mut scratch) = Mapping::new(16 << 10) else { return true };
    sys::read_file(c"/proc/thread-self/status", scratch.bytes()).is_none_or(is_filtered)
}

/// The same by this thread's `status`. A `true` is remembered, in this process and in those that it forks.
///
/// A container's runtime filters the system calls of everything in it, and forbids few. So only the filters count that a process has beyond those
/// of its parent. The first filter of a container's first process is the runtime's.
fn is_filtered(status: &[u8]) -> bool {
    if filter_expected() {
        return true;
    }
    // A kernel without seccomp has no such line. Where nothing was read, there may be a filter.
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

/// Whether this process's parent has as many filters. `None` where that is not known: Linux shows the count since 5.9.
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

/// The file system with this device number, by `/proc/self/mountinfo`: for processes where `statfs` must not be called. `None` where it is not
/// listed.
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

/// A kind of file system, by what a store into a mapped page can meet there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FileSystem {
    /// One where a page that was once made ready takes every later store: ext2, ext3, ext4, xfs.
    Disk,
    /// The same in memory: tmpfs, ramfs.
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

    /// The one of this path.
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
            // A device that is not listed (btrfs) is unknown, and counts as unsafe.
            assert!(asked.is_some() && listed.is_none_or(|listed| Some(listed) == asked), "{path:?}: {asked:?} {listed:?}");
        }
        assert_eq!(FileSystem::of(c"/no/such/path", false), None);
    }
}
