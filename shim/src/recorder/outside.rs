//! The search of `/proc/locks` for who holds a refused lock. It finds holders that no trace contains.
//!
//! A [`Question`] names a database and a [`Request`]; its [`Answer`] becomes one line of the names file. `vfs::outside` asks, after refusals
//! only. The files read are `/proc/locks` and two of each process named there. The database is never opened: closing
//! it would drop this process's POSIX locks. All memory is the caller's: [`SCRATCH`] bytes, in which the answer stays.
//!
//! SQLite's unix VFS locks bytes (`os_unix.c`): of the database file `PENDING_BYTE` (0x40000000), the one after it (RESERVED) and the 510 after
//! that (SHARED); of the `-shm` file one byte for each slot, from 120 (`UNIX_SHM_BASE`). These bytes are compared, so that another
//! program that locks the whole file is found, too.
//!
//! The kernel hands out the list page by page, and a lock can move to another page while others come and go. Measured here
//! (Linux 6.18): of 3,000 readings of a list of 2,000 changing locks 36 missed a lock that was held all the time, never two in a row; lists
//! of one page never missed any. So the list is read up to [`READINGS`] times before the answer is "nobody".
//!
//! | file | what it holds |
//! | --- | --- |
//! | `outside` | the question and its answer |
//! | `held` | the lines of the list, and the holders of locks on one file |
//! | `files` | reading `/proc` without taking descriptors that the program needs |
#![forbid(unsafe_code)]

mod files;
mod held;

pub(crate) use files::is_short;

use super::config::SqlPolicy;
use super::line::Line;
use crate::event::{Level, Request, Slot};
use crate::path::Path;
use held::{Holding, Holdings, held};
use std::fmt::Write as _;

/// How often the list is read before the answer is "nobody".
const READINGS: u32 = 3;
/// Bytes of the list that are read: about 20,000 locks.
const LIST: usize = 1 << 20;
/// Holders named in one answer. Further ones are counted.
const HOLDERS: usize = 8;
/// Bytes of the name of a program that are kept; the kernel has no more.
const COMM: usize = 16;
/// Bytes of a command line that are kept.
const COMMAND: usize = 1024;
/// Bytes of memory that a question needs.
pub(crate) const SCRATCH: usize = LIST + held::SPACE + HOLDERS * (COMM + COMMAND);

/// A holder of what was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder<'a> {
    /// The process; −1 = a lock of an open file description, whose processes the kernel does not show; 0 = another namespace's.
    pub pid: i64,
    /// `posix`, `ofd` or `flock`.
    pub how: &'static str,
    /// Whether the conflicting lock is held for writing.
    pub write: bool,
    /// The conflicting locks.
    pub locks: Locks,
    /// Whether device and inode are the database's; otherwise only the inode is, on a file system that shows other device numbers.
    pub exact: bool,
    /// Whether it is this process: another connection in it.
    pub own: bool,
    /// The process by `/proc`, where it can be read.
    pub process: Option<Process<'a>>,
}

/// What a holder has of the locks that were asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Locks {
    /// The level that its locks on the database file make up.
    Level(Level),
    /// Slots of the wal-index: bit *i* is slot *i*.
    Slots(u8),
}

impl Locks {
    /// SQLite's names for them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let (level, slots) = match self {
            Locks::Level(level) => (level.name(), 0),
            Locks::Slots(slots) => (None, slots),
        };
        let slots = (0..Slot::COUNT).filter(move |slot| slots & (1 << slot) != 0).filter_map(|slot| Slot(slot).name());
        level.into_iter().chain(slots)
    }
}

/// A process, as `/proc` describes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Process<'a> {
    /// The name of its program, up to 15 bytes.
    pub comm: &'a [u8],
    /// Its command line, or the beginning of it, with a NUL after each argument; empty where it could not be read.
    pub command: &'a [u8],
    /// When it started: `_SC_CLK_TCK` since boot.
    pub started: u64,
}

impl<'a> Process<'a> {
    /// The arguments of its command line.
    pub fn argv(&self) -> impl Iterator<Item = &'a [u8]> {
        let all = self.command.strip_suffix(b"\0").unwrap_or(self.command).split(|&byte| byte == 0);
        all.take(if self.command.is_empty() { 0 } else { usize::MAX })
    }
}

/// The answer of `/proc/locks`.
#[allow(clippy::large_enum_variant)] // no heap
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<'a> {
    /// These holders, and this many more.
    Found(Holders<'a>, u32),
    /// No holder that this process can see.
    Nobody,
    /// The list could not be read, for this reason.
    Failed(&'static str),
}

/// The holders in one answer, in the order of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holders<'a>([Option<Holder<'a>>; HOLDERS]);

impl<'a> Holders<'a> {
    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Holder<'a>> {
        self.0.iter().flatten()
    }
}

/// A question to `/proc/locks`.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// `/proc`; another directory in tests.
    pub proc: &'a [u8],
    /// Device and inode of the file that the request was about.
    pub file: (u64, u64),
    /// Whether its VFS uses `flock(2)`. Only locks of the same kind conflict.
    pub flock: bool,
    /// What was refused.
    pub request: Request,
    /// How much of command lines may be kept: they can contain statements.
    pub policy: SqlPolicy,
}

impl Question<'_> {
    /// Reads the list, in memory of [`SCRATCH`] bytes. Also returns how often it was read.
    pub fn ask<'s>(&self, scratch: &'s mut [u8]) -> (Answer<'s>, u32) {
        let Some(((list, space), rest)) = scratch.split_at_mut_checked(LIST).and_then(|(list, rest)| {
            let (space, rest) = rest.split_at_mut_checked(held::SPACE)?;
            Some(((list, space), rest))
        }) else {
            return (Answer::Failed("there is no memory for the list of locks"), 0);
        };
        let own = self.own();
        for reading in 1..=READINGS {
            let mut found = Holdings::new(space);
            let whole = match self.read(list, &mut found) {
                Ok(whole) => whole,
                Err(why) => return (Answer::Failed(why), reading),
            };
            let in_the_way = |holding: &Holding| holding.refuses && !self.may_be_its_own(holding, own);
            if found.iter().any(|holding| in_the_way(&holding)) {
                return (self.describe(found.iter().filter(in_the_way), found.exact, own, rest), reading);
            }
            if !whole {
                return (Answer::Failed("/proc/locks is longer than 1048576 bytes"), reading);
            }
        }
        (Answer::Nobody, READINGS)
    }

    /// Reads the list once, and adds every holder of a lock on the file to `found`. Returns whether the end of the list was reached.
    #[inline(never)]
    fn read(&self, list: &mut [u8], found: &mut Holdings<'_>) -> Result<bool, &'static str> {
        let path = Path::new(&[self.proc, b"/locks"]).ok_or("the path of /proc is too long")?;
        let room = list.len();
        let list = files::read_first(path.as_c_str(), list)?;
        // Where the list is longer than the memory, its last line may be half a line.
        let end = if list.len() < room { room } else { list.iter().rposition(|&byte| byte == b'\n').unwrap_or(0) };
        let all = || list.get(..end).unwrap_or(list).split(|&byte| byte == b'\n').filter_map(held);
        let of_file = |held: &held::Held| held.ino == self.file.1 && (held.how == held::FLOCK) == self.flock;
        found.exact = all().any(|held| of_file(&held) && self.is_exact(&held));
        let exact = found.exact;
        for held in all().filter(of_file).filter(|held| !exact || self.is_exact(held)) {
            found.add(&held, self.flock || self.request.is_refused_by(&held));
        }
        Ok(list.len() < room)
    }

    /// Whether the device agrees, too. Some file systems (btrfs, overlayfs) show programs another device than the kernel's own.
    fn is_exact(&self, held: &held::Held) -> bool {
        let dev = self.file.0;
        held.dev == (libc::major(dev).into(), libc::minor(dev).into())
    }

    /// This process, in the numbering of `/proc`: that of the namespace it was mounted in.
    #[inline(never)]
    fn own(&self) -> Option<i64> {
        let mut number = [0; 24];
        let link = crate::sys::read_link(Path::new(&[self.proc, b"/self"])?.as_c_str(), &mut number)?;
        std::str::from_utf8(link).ok()?.parse().ok()
    }

    /// The kernel does not distinguish the connections of a process, and one that asks for EXCLUSIVE has SHARED already. So the locks of its own
    /// process may be its own.
    fn may_be_its_own(&self, holding: &Holding, own: Option<i64>) -> bool {
        let alone = matches!(self.request, Request::File(level) if level > Level::RESERVED);
        alone && holding.how == held::POSIX && own == Some(holding.pid)
    }

    fn describe<'s>(
        &self,
        mut found: impl Iterator<Item = Holding>,
        exact: bool,
        own: Option<i64>,
        mut memory: &'s mut [u8],
    ) -> Answer<'s> {
        let mut holders = [const { None }; HOLDERS];
        for (place, holding) in holders.iter_mut().zip(&mut found) {
            let (room, rest) = memory.split_at_mut_checked(COMM + COMMAND).unwrap_or_default();
            memory = rest;
            *place = Some(Holder {
                pid: holding.pid,
                how: held::HOW.get(usize::from(holding.how)).copied().unwrap_or_default(),
                write: holding.write,
                locks: self.locks(&holding),
                exact,
                own: own == Some(holding.pid),
                process: if holding.pid > 0 { self.process(holding.pid, room) } else { None },
            });
        }
        Answer::Found(Holders(holders), u32::try_from(found.count()).unwrap_or(u32::MAX))
    }

    /// The locks of one holder in SQLite's terms: the level they make up, or the slots among those asked for.
    fn locks(&self, holding: &Holding) -> Locks {
        match self.request {
            _ if self.flock => Locks::Level(Level::EXCLUSIVE),
            Request::Shm { mask, .. } => Locks::Slots(holding.slots & mask),
            Request::File(_) => Locks::Level(holding.level()),
        }
    }

    /// A process by `/proc`. The command line of one that sleeps uninterruptibly is not read: that takes a lock of its memory
    /// map, for which we might wait.
    #[inline(never)]
    fn process<'s>(&self, pid: i64, room: &'s mut [u8]) -> Option<Process<'s>> {
        let mut path = Path::new(&[self.proc])?;
        write!(path, "/{pid}/").ok()?;
        path.push(b"stat")?;
        let mut stat = [0; 512];
        let stat = files::read(path.as_c_str(), &mut stat).ok()?;
        let open = stat.iter().position(|&byte| byte == b'(')?;
        let close = stat.iter().rposition(|&byte| byte == b')')?;
        let mut words = std::str::from_utf8(stat.get(close + 1..)?).ok()?.split_ascii_whitespace();
        let waits = words.next()? == "D";
        let started = words.nth(18)?.parse().ok()?; // field 22 of proc_pid_stat(5)
        let name = stat.get(open + 1..close)?;
        let (comm, command) = room.split_at_mut_checked(COMM)?;
        let comm = comm.get_mut(..name.len().min(COMM))?;
        comm.copy_from_slice(name.get(..comm.len())?);
        path.set(&[self.proc])?;
        write!(path, "/{pid}/cmdline").ok()?;
        let command = if waits { &[] } else { files::read(path.as_c_str(), command).unwrap_or_default() };
        let command = match self.policy {
            SqlPolicy::Text => command,
            _ => command.split_inclusive(|&byte| byte == 0).next().unwrap_or_default(),
        };
        Some(Process { comm, command, started })
    }
}

/// Adds an answer to a line of the kind `outside`, with the same text each time; see [`crate::format`].
pub(crate) fn write_line(line: &mut Line<'_>, conn: u32, start: u64, after: u64, answer: &Answer<'_>, readings: u32) {
    line.number("conn", conn).hex("start", start).number("after", after).number("readings", readings);
    let (holders, more) = match answer {
        Answer::Failed(why) => {
            line.str("failed", why);
            return;
        }
        Answer::Nobody => (None, 0),
        Answer::Found(holders, more) => (Some(holders), *more),
    };
    let each = holders.into_iter().flat_map(Holders::iter);
    line.objects("holders", each, |line, holder: &Holder<'_>| {
        line.number("pid", holder.pid)
            .str("how", holder.how)
            .str("mode", if holder.write { "write" } else { "read" })
            .texts("locks", holder.locks.names().map(str::as_bytes))
            .bool("exact", holder.exact)
            .bool("own", holder.own);
        if let Some(process) = &holder.process {
            line.text("comm", process.comm).texts("argv", process.argv()).number("started", process.started);
        }
    });
    line.number("more", more);
}

#[cfg(test)]
mod tests;
