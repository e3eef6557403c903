//! Who holds the lock that was refused, as the kernel tells it: for holders that no trace knows.
//!
//! In come a database's identity and what was asked for ([`Request`]); out comes an [`Answer`], which goes to the names file as one line.
//! Called by `vfs::outside`, on refusals only. It reads `/proc/locks` and two files of each process named there, and never opens the
//! database: closing it would drop this process's POSIX locks.
//!
//! SQLite's unix VFS locks bytes (`os_unix.c`): of the database file `PENDING_BYTE` (0x40000000), the one after it (RESERVED) and the 510 after
//! that (SHARED); of the `-shm` file one byte for each slot, from 120 (`UNIX_SHM_BASE`). What is compared are these bytes, so that a program
//! that is not SQLite but locks the whole file is found, too.
//!
//! The kernel gives the list out a page at a time, and a lock can slip from one page to the other while others come and go. Measured here
//! (Linux 6.18): of 3,000 readings of a list of 2,000 changing locks 36 missed a lock that was held all the time, never two in a row; lists
//! of one page never missed any. So there are up to [`READINGS`] before the answer is "nobody".
#![forbid(unsafe_code)]

use super::config::SqlPolicy;
use super::json::Line;
use crate::event::{Level, Slot};
use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::Path;

/// Readings of the list before nobody holds the lock.
const READINGS: u32 = 3;
/// Bytes of the list that are read: about 20,000 locks.
const LIST: u64 = 1 << 20;
/// Holders named in one answer; more are counted.
const HOLDERS: usize = 8;
/// Bytes of a command line that are kept.
const COMMAND: u64 = 1024;

const PENDING: u64 = 0x4000_0000;
const RESERVED: u64 = PENDING + 1;
const SHARED: RangeInclusive<u64> = PENDING + 2..=PENDING + 511;
const SHM: u64 = 120;

/// What was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// A level of the database file.
    File(Level),
    /// Slots of the wal-index.
    Shm {
        /// Bit *i* is slot *i*.
        mask: u8,
        /// Exclusive, or shared.
        exclusive: bool,
    },
}

impl Request {
    /// Whether a lock on these bytes refuses it: the same bytes, and one of the two for writing.
    fn is_refused_by(self, bytes: &RangeInclusive<u64>, write: bool) -> bool {
        let covers = |wanted: RangeInclusive<u64>| wanted.start() <= bytes.end() && bytes.start() <= wanted.end();
        match self {
            Request::File(Level::SHARED) => write && (covers(PENDING..=PENDING) || covers(SHARED)),
            Request::File(Level::RESERVED) => covers(RESERVED..=RESERVED),
            Request::File(_) => covers(PENDING..=PENDING) || covers(SHARED),
            Request::Shm { mask, exclusive } => (write || exclusive) && mask & slots(bytes) != 0,
        }
    }
}

/// The slots whose bytes are in this range.
fn slots(bytes: &RangeInclusive<u64>) -> u8 {
    (0..Slot::COUNT).filter(|&slot| bytes.contains(&(SHM + u64::from(slot)))).fold(0, |mask, slot| mask | 1 << slot)
}

/// One line of `/proc/locks`: a lock that is held.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Held {
    how: &'static str,
    write: bool,
    /// −1 for a lock of an open file description, 0 for a process of another namespace.
    pid: i64,
    dev: (u64, u64),
    ino: u64,
    bytes: RangeInclusive<u64>,
}

/// Reads one line; `None` for one that waits for its lock, and for leases and the like.
fn held(line: &str) -> Option<Held> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let how = match words.next()? {
        "POSIX" => "posix",
        "OFDLCK" => "ofd",
        "FLOCK" => "flock",
        _ => return None,
    };
    let _advisory = words.next()?;
    let write = match words.next()? {
        "WRITE" => true,
        "READ" => false,
        _ => return None,
    };
    let pid = words.next()?.parse().ok()?;
    let mut file = words.next()?.split(':');
    let hex = |word: &str| u64::from_str_radix(word, 16).ok();
    let dev = (hex(file.next()?)?, hex(file.next()?)?);
    let ino = file.next()?.parse().ok()?;
    let start = words.next()?.parse().ok()?;
    let end = match words.next()? {
        "EOF" => u64::MAX,
        end => end.parse().ok()?,
    };
    Some(Held { how, write, pid, dev, ino, bytes: start..=end })
}

/// Somebody who holds what was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holder {
    /// The process; −1 = a lock of an open file description, whose processes the kernel does not tell; 0 = another namespace's.
    pub pid: i64,
    /// `posix`, `ofd` or `flock`.
    pub how: &'static str,
    /// Whether what stands in the way is held for writing.
    pub write: bool,
    /// What stands in the way, in SQLite's names: a level, or slots.
    pub locks: Vec<&'static str>,
    /// Device and inode are the database's; otherwise only the inode is, on a file system that gives out other device numbers.
    pub exact: bool,
    /// It is this process: another connection in it.
    pub own: bool,
    /// What the kernel says of the process, where it does.
    pub process: Option<Process>,
}

/// A process, as `/proc` describes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Process {
    /// The name of its program, up to 15 bytes.
    pub comm: Vec<u8>,
    /// Its command line, or the beginning of it; nothing where it could not be read.
    pub argv: Vec<Vec<u8>>,
    /// When it started: `_SC_CLK_TCK` since boot.
    pub started: u64,
}

/// What the kernel answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// These, and so many more.
    Found(Vec<Holder>, u32),
    /// Nobody that this process can see.
    Nobody,
    /// It could not be asked, for this reason.
    Failed(String),
}

/// Where to look, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// `/proc`, but for tests.
    pub proc: &'a Path,
    /// Device and inode of the file that was to be locked.
    pub file: (u64, u64),
    /// Only locks of the kind that its VFS takes are in its way.
    pub flock: bool,
    /// What was refused.
    pub request: Request,
    /// How much of command lines may be kept: they can hold statements.
    pub policy: SqlPolicy,
}

impl Question<'_> {
    /// Asks; also gives the number of readings.
    pub fn ask(&self) -> (Answer, u32) {
        let mut readings = 0;
        let answer = loop {
            readings += 1;
            match self.read() {
                Ok((found, _)) if !found.is_empty() => break self.describe(&found),
                Ok((_, true)) if readings < READINGS => {}
                Ok((_, true)) => break Answer::Nobody,
                Ok((_, false)) => break Answer::Failed(format!("/proc/locks is longer than {LIST} bytes")),
                Err(error) => break Answer::Failed(error.to_string()),
            }
        };
        (answer, readings)
    }

    /// Everybody in the way by one reading, each with all locks on the file; and whether the reading reached the end of the list.
    fn read(&self) -> io::Result<(Vec<Vec<Held>>, bool)> {
        let text = read(&self.proc.join("locks"), LIST)?;
        let of_file = |held: &Held| held.ino == self.file.1 && (held.how == "flock") == self.flock;
        let mut found: Vec<Held> = String::from_utf8_lossy(&text).lines().filter_map(held).filter(of_file).collect();
        if found.iter().any(|held| self.is_exact(held)) {
            found.retain(|held| self.is_exact(held));
        }
        let mut holders: Vec<Vec<Held>> = Vec::new();
        for held in found {
            match holders.iter_mut().find(|all| all.first().is_some_and(|first| (first.pid, first.how) == (held.pid, held.how))) {
                Some(all) => all.push(held),
                None => holders.push(vec![held]),
            }
        }
        holders.retain(|all| all.iter().any(|held| self.is_refused_by(held)) && !self.may_be_its_own(all));
        Ok((holders, (text.len() as u64) < LIST))
    }

    /// Whether the device agrees, too. Some file systems (btrfs, overlayfs) show programs another one than the kernel's own.
    fn is_exact(&self, held: &Held) -> bool {
        let dev = self.file.0;
        held.dev == (libc::major(dev).into(), libc::minor(dev).into())
    }

    fn is_refused_by(&self, held: &Held) -> bool {
        self.flock || self.request.is_refused_by(&held.bytes, held.write)
    }

    /// This process, in whatever numbering `/proc` has: that of the namespace it was mounted in.
    fn own(&self) -> Option<i64> {
        std::fs::read_link(self.proc.join("self")).ok()?.to_str()?.parse().ok()
    }

    /// The kernel does not tell the connections of a process apart, and one that asks for EXCLUSIVE has SHARED already: the locks of its own
    /// process are no news then.
    fn may_be_its_own(&self, all: &[Held]) -> bool {
        let alone = matches!(self.request, Request::File(level) if level > Level::RESERVED);
        alone && all.first().is_some_and(|held| held.how == "posix" && self.own() == Some(held.pid))
    }

    fn describe(&self, found: &[Vec<Held>]) -> Answer {
        let own = self.own();
        let holders = found.iter().take(HOLDERS).filter_map(|all| {
            let first = all.first()?;
            Some(Holder {
                pid: first.pid,
                how: first.how,
                write: all.iter().any(|held| held.write && self.is_refused_by(held)),
                locks: self.names(all),
                exact: self.is_exact(first),
                own: own == Some(first.pid),
                process: if first.pid > 0 { self.process(first.pid) } else { None },
            })
        });
        Answer::Found(holders.collect(), found.len().saturating_sub(HOLDERS) as u32)
    }

    /// What these locks of one holder are in SQLite's names: the level they make up, or the slots among those asked for.
    fn names(&self, all: &[Held]) -> Vec<&'static str> {
        let mask = match self.request {
            _ if self.flock => return vec!["EXCLUSIVE"],
            Request::Shm { mask, .. } => mask,
            Request::File(_) => {
                let covers = |byte: u64, write: bool| all.iter().any(|held| (held.write || !write) && held.bytes.contains(&byte));
                let level = match () {
                    () if covers(*SHARED.start(), true) => Level::EXCLUSIVE,
                    () if covers(PENDING, true) => Level::PENDING,
                    () if covers(RESERVED, true) => Level::RESERVED,
                    // The PENDING byte is read-locked for a moment on the way to SHARED.
                    () => Level::SHARED,
                };
                return level.name().into_iter().collect();
            }
        };
        let held = all.iter().filter(|held| self.is_refused_by(held)).fold(0, |held, other| held | slots(&other.bytes)) & mask;
        (0..Slot::COUNT).filter(|slot| held & (1 << slot) != 0).filter_map(|slot| Slot(slot).name()).collect()
    }

    /// What `/proc` says of a process. One that sleeps uninterruptibly is not asked for its command line: that needs a lock of its memory
    /// map, for which we would have to wait.
    fn process(&self, pid: i64) -> Option<Process> {
        let dir = self.proc.join(pid.to_string());
        let stat = read(&dir.join("stat"), 1024).ok()?;
        let open = stat.iter().position(|&byte| byte == b'(')?;
        let close = stat.iter().rposition(|&byte| byte == b')')?;
        let comm = stat.get(open + 1..close)?.to_vec();
        let rest = String::from_utf8_lossy(stat.get(close + 1..)?).into_owned();
        let mut words = rest.split_ascii_whitespace();
        let waits = words.next()? == "D";
        let started = words.nth(18)?.parse().ok()?; // field 22 of proc_pid_stat(5)
        let line = if waits { Vec::new() } else { read(&dir.join("cmdline"), COMMAND).unwrap_or_default() };
        let mut argv: Vec<Vec<u8>> = line.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
        argv.pop_if(|last| last.is_empty());
        argv.truncate(if self.policy == SqlPolicy::Text { usize::MAX } else { 1 });
        Some(Process { comm, argv, started })
    }
}

/// The beginning of a file.
fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The line of the names file; see [`crate::format`].
pub fn line(conn: u32, start: u64, after: u64, answer: &Answer, readings: u32) -> String {
    let line = Line::new("outside").number("conn", conn).hex("start", start).number("after", after).number("readings", readings);
    let (holders, more) = match answer {
        Answer::Failed(why) => return line.str("failed", why).finish(),
        Answer::Nobody => (&[][..], 0),
        Answer::Found(holders, more) => (&holders[..], *more),
    };
    let holders = holders.iter().map(|holder| {
        let line = Line::object()
            .number("pid", holder.pid)
            .str("how", holder.how)
            .str("mode", if holder.write { "write" } else { "read" })
            .texts("locks", Some(&holder.locks))
            .bool("exact", holder.exact)
            .bool("own", holder.own);
        match &holder.process {
            None => line,
            Some(process) => line.text("comm", &process.comm).texts("argv", Some(&process.argv)).number("started", process.started),
        }
    });
    line.objects("holders", holders).number("more", more).finish()
}

#[cfg(test)]
mod tests;
