//! The lines of `/proc/locks`, and the holders of locks on one file. No heap, however long the list is.
#![forbid(unsafe_code)]

use crate::event::{Level, Request, Slot};
use std::ops::RangeInclusive;

const PENDING: u64 = 0x4000_0000;
const RESERVED: u64 = PENDING + 1;
const SHARED: RangeInclusive<u64> = PENDING + 2..=PENDING + 511;
const SHM: u64 = 120;

/// The kinds of locks, by the number that a [`Held`] has.
pub(super) const HOW: [&str; 3] = ["posix", "ofd", "flock"];
pub(super) const POSIX: u8 = 0;
const OFD: u8 = 1;
pub(super) const FLOCK: u8 = 2;

/// One line of `/proc/locks`: a lock that is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Held {
    pub(super) how: u8,
    write: bool,
    /// −1 for a lock of an open file description, 0 for a process of another namespace.
    pid: i64,
    pub(super) dev: (u64, u64),
    pub(super) ino: u64,
    bytes: RangeInclusive<u64>,
}

/// Reads one line; `None` for a lock that is waited for, a lease and the like.
pub(super) fn held(line: &[u8]) -> Option<Held> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace().skip(1);
    let how = match words.next()? {
        "POSIX" => POSIX,
        "OFDLCK" => OFD,
        "FLOCK" => FLOCK,
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

impl Request {
    /// Whether this lock refuses it: they share bytes, and one of the two is for writing.
    pub(super) fn is_refused_by(self, held: &Held) -> bool {
        let (bytes, write) = (&held.bytes, held.write);
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

/// All locks on the file that one process has, or that all open file descriptions have together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Holding {
    pub(super) pid: i64,
    pub(super) how: u8,
    /// Some of them conflict with the request,
    pub(super) refuses: bool,
    /// and one of those is held for writing;
    pub(super) write: bool,
    /// the slots of those.
    pub(super) slots: u8,
    /// Which of the three bytes or ranges that make up a level are held for writing: PENDING, RESERVED, SHARED.
    levels: u8,
}

impl Holding {
    /// The level that these locks make up.
    pub(super) fn level(&self) -> Level {
        match self.levels {
            levels if levels & 4 != 0 => Level::EXCLUSIVE,
            levels if levels & 1 != 0 => Level::PENDING,
            levels if levels & 2 != 0 => Level::RESERVED,
            // The PENDING byte is read-locked for a moment on the way to SHARED.
            _ => Level::SHARED,
        }
    }

    fn add(&mut self, held: &Held, refuses: bool) {
        if refuses {
            self.refuses = true;
            self.write |= held.write;
            self.slots |= slots(&held.bytes);
        }
        for (bit, byte) in [PENDING, RESERVED, *SHARED.start()].iter().enumerate() {
            self.levels |= u8::from(held.write && held.bytes.contains(byte)) << bit;
        }
    }
}

/// Bytes of one [`Holding`] in memory.
const SIZE: usize = 16;
/// Bytes of memory for [`Holdings`]: 4,096 of them. Further ones are left out.
pub(super) const SPACE: usize = 4096 * SIZE;

/// The holders of locks on the file, in the order of the list.
#[derive(Debug)]
pub(super) struct Holdings<'a> {
    places: &'a mut [[u8; SIZE]],
    len: usize,
    /// Whether the device agrees, too.
    pub(super) exact: bool,
}

impl<'a> Holdings<'a> {
    /// No holders.
    pub(super) fn new(space: &'a mut [u8]) -> Holdings<'a> {
        Holdings { places: space.as_chunks_mut().0, len: 0, exact: false }
    }

    /// Adds a lock to those of its holder.
    pub(super) fn add(&mut self, held: &Held, refuses: bool) {
        let known = self.iter().position(|holding| (holding.pid, holding.how) == (held.pid, held.how));
        let at = known.unwrap_or(self.len);
        let Some(place) = self.places.get_mut(at) else { return };
        let mut holding = match known {
            Some(_) => decode(place),
            None => Holding { pid: held.pid, how: held.how, refuses: false, write: false, slots: 0, levels: 0 },
        };
        holding.add(held, refuses);
        *place = encode(holding);
        self.len = self.len.max(at + 1);
    }

    /// Each of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = Holding> {
        self.places.iter().take(self.len).map(decode)
    }
}

fn encode(holding: Holding) -> [u8; SIZE] {
    let Holding { pid, how, refuses, write, slots, levels } = holding;
    let [a, b, c, d, e, f, g, h] = pid.to_le_bytes();
    [a, b, c, d, e, f, g, h, how, u8::from(refuses), u8::from(write), slots, levels, 0, 0, 0]
}

fn decode(bytes: &[u8; SIZE]) -> Holding {
    let [a, b, c, d, e, f, g, h, how, refuses, write, slots, levels, ..] = *bytes;
    let pid = i64::from_le_bytes([a, b, c, d, e, f, g, h]);
    Holding { pid, how, refuses: refuses != 0, write: write != 0, slots, levels }
}
