//! The first 4096 bytes of a ring file.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 8 | magic `"LOCKTRC\n"` |
//! | 8 | 4 | format version |
//! | 12 | 4 | header size (4096) |
//! | 16 | 4 | record size (64) |
//! | 20 | 4 | clock: 1 x86 TSC, 2 Arm virtual counter, 3 `CLOCK_MONOTONIC` in nanoseconds |
//! | 24 | 8 | capacity in records, a power of two |
//! | 32 | 4 | pid |
//! | 36 | 4 | 0 |
//! | 40 | 16 | boot id of the host, 0 where unknown: ticks of different boots do not compare |
//! | 56 | 24 | first anchor: ticks, `CLOCK_MONOTONIC` ns, `CLOCK_REALTIME` ns, all at one instant |
//! | 80 | 8 | check word of the seven 8-byte words from offset 24, numbered by the format version |
//! | 128 | 8 | `head`: records claimed so far |
//! | 192 | 8 | `lost_space`: of those, never written: the disk was full, or the log not open yet |
//! | 200 | 8 | `lost_names`: names lines that could not be written |
//! | 256 | 24 | last anchor, like the first; rewritten now and then |
//! | 280 | 8 | check word of the last anchor's three words and four zero words, number 0 |
//!
//! Offsets from 128 on change while the process runs, each by whole aligned words. The rest is written once, before `head`
//! exceeds 0. All other bytes are 0.
#![forbid(unsafe_code)]

use super::{VERSION, check, record};
use std::fmt;

/// Bytes in the header.
pub const SIZE: usize = 4096;

/// The first eight bytes of every ring file.
pub const MAGIC: [u8; 8] = *b"LOCKTRC\n";

/// Word offsets (in units of 8 bytes) of the fields that change while the process runs.
pub mod word {
    /// `head`.
    pub const HEAD: usize = 128 / 8;
    /// `lost_space`.
    pub const LOST_SPACE: usize = 192 / 8;
    /// `lost_names`.
    pub const LOST_NAMES: usize = 200 / 8;
    /// Last anchor: ticks, monotonic, real, check.
    pub const LAST_ANCHOR: usize = 256 / 8;
}

/// What a log's ticks are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ClockKind {
    /// The x86 time stamp counter, invariant and synchronised between cores.
    Tsc,
    /// The Arm generic timer's virtual counter.
    Cntvct,
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    Monotonic,
    /// A number this version does not know.
    Unknown(u32),
}

impl ClockKind {
    /// The number in the header.
    pub const fn number(self) -> u32 {
        match self {
            ClockKind::Tsc => 1,
            ClockKind::Cntvct => 2,
            ClockKind::Monotonic => 3,
            ClockKind::Unknown(number) => number,
        }
    }

    /// The kind with this number.
    pub const fn from_number(number: u32) -> ClockKind {
        match number {
            1 => ClockKind::Tsc,
            2 => ClockKind::Cntvct,
            3 => ClockKind::Monotonic,
            number => ClockKind::Unknown(number),
        }
    }
}

/// One instant, on three clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Anchor {
    /// The log's own clock.
    pub ticks: u64,
    /// `CLOCK_MONOTONIC`, in nanoseconds.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME`, in nanoseconds since 1970.
    pub real_ns: u64,
}

impl Anchor {
    /// The check word that follows a last anchor.
    pub const fn check(&self) -> u64 {
        check(&[self.ticks, self.monotonic_ns, self.real_ns, 0, 0, 0, 0], 0)
    }
}

/// A decoded header; see the module for units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // The module's byte table documents each field.
pub struct Header {
    pub clock: ClockKind,
    pub capacity: u64,
    pub pid: u32,
    pub boot_id: [u8; 16],
    pub first: Anchor,
    pub head: u64,
    pub lost_space: u64,
    pub lost_names: u64,
    /// `None` when it was never written, or was being written when the process died.
    pub last: Option<Anchor>,
}

/// Why bytes are not a header this version can read: at which offset of the file, and what was expected there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// The file ends inside the header: `have` bytes of 4096.
    Short {
        /// The bytes of the file.
        have: usize,
    },
    /// Not a ring file: the first 8 bytes are not the magic.
    Magic,
    /// A format version this program does not know.
    Version {
        /// The version in the file.
        found: u32,
    },
    /// A fixed field does not hold what this version requires.
    Field {
        /// Byte offset in the file.
        offset: usize,
        /// The field's name.
        name: &'static str,
        /// What it holds.
        found: u64,
        /// What it should hold.
        expected: &'static str,
    },
    /// The check word over the fixed fields does not match: the header is damaged.
    Check,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            HeaderError::Short { have: 0 } => write!(f, "byte 0: the file is empty; expected a {SIZE}-byte header"),
            HeaderError::Short { have } => write!(f, "byte {have}: the file ends inside its {SIZE}-byte header"),
            HeaderError::Magic => write!(f, "byte 0: not a locktrace ring file (expected \"LOCKTRC\\n\")"),
            HeaderError::Version { found } => write!(
                f,
                "byte 8: format version {found}; this locktrace reads version {VERSION}{}",
                if found > VERSION { " (a newer locktrace wrote it: use that one to read it)" } else { "" }
            ),
            HeaderError::Field { offset, name, found, expected } => {
                write!(f, "byte {offset}: {name} is {found}; expected {expected}")
            }
            HeaderError::Check => write!(f, "byte 80: the header's check word does not match: it is damaged"),
        }
    }
}

impl std::error::Error for HeaderError {}

fn get_u64(bytes: &[u8], offset: usize) -> u64 {
    let mut le = [0; 8];
    le.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_le_bytes(le)
}

fn get_u32(bytes: &[u8], offset: usize) -> u32 {
    let mut le = [0; 4];
    le.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(le)
}

fn fixed_check(bytes: &[u8]) -> u64 {
    let words: [u64; 7] = std::array::from_fn(|i| get_u64(bytes, 24 + 8 * i));
    check(&words, u64::from(VERSION))
}

impl Header {
    /// The header of a ring that nothing was written to.
    pub const fn new(clock: ClockKind, capacity: u64, pid: u32, boot_id: [u8; 16], first: Anchor) -> Header {
        Header { clock, capacity, pid, boot_id, first, head: 0, lost_space: 0, lost_names: 0, last: None }
    }

    /// The header's 4096 bytes.
    pub fn encode(&self) -> Box<[u8; SIZE]> {
        let mut bytes = Box::new([0; SIZE]);
        self.fill(&mut bytes);
        bytes[..8].copy_from_slice(&MAGIC);
        bytes
    }

    /// Fills these zeros with the header, except the magic number, which is written last.
    pub fn fill(&self, bytes: &mut [u8; SIZE]) {
        let mut put = |offset: usize, value: &[u8]| bytes[offset..offset + value.len()].copy_from_slice(value);
        put(8, &VERSION.to_le_bytes());
        put(12, &(SIZE as u32).to_le_bytes());
        put(16, &(record::SIZE as u32).to_le_bytes());
        put(20, &self.clock.number().to_le_bytes());
        put(24, &self.capacity.to_le_bytes());
        put(32, &self.pid.to_le_bytes());
        put(40, &self.boot_id);
        put(56, &self.first.ticks.to_le_bytes());
        put(64, &self.first.monotonic_ns.to_le_bytes());
        put(72, &self.first.real_ns.to_le_bytes());
        put(word::HEAD * 8, &self.head.to_le_bytes());
        put(word::LOST_SPACE * 8, &self.lost_space.to_le_bytes());
        put(word::LOST_NAMES * 8, &self.lost_names.to_le_bytes());
        if let Some(last) = self.last {
            put(256, &last.ticks.to_le_bytes());
            put(264, &last.monotonic_ns.to_le_bytes());
            put(272, &last.real_ns.to_le_bytes());
            put(280, &last.check().to_le_bytes());
        }
        let check = fixed_check(&bytes[..]);
        bytes[80..88].copy_from_slice(&check.to_le_bytes());
    }

    /// Reads a header from the start of a file.
    pub fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
        if bytes.len() < SIZE {
            let magic = bytes.len().min(MAGIC.len());
            return Err(if bytes[..magic] == MAGIC[..magic] {
                HeaderError::Short { have: bytes.len() }
            } else {
                HeaderError::Magic
            });
        }
        if bytes[..8] != MAGIC {
            return Err(HeaderError::Magic);
        }
        let version = get_u32(bytes, 8);
        if version != VERSION {
            return Err(HeaderError::Version { found: version });
        }
        let field = |offset: usize, name, found: u64, expected| HeaderError::Field { offset, name, found, expected };
        if get_u32(bytes, 12) != SIZE as u32 {
            return Err(field(12, "header size", get_u32(bytes, 12).into(), "4096"));
        }
        if get_u32(bytes, 16) != record::SIZE as u32 {
            return Err(field(16, "record size", get_u32(bytes, 16).into(), "64"));
        }
        if get_u64(bytes, 80) != fixed_check(bytes) {
            return Err(HeaderError::Check);
        }
        let capacity = get_u64(bytes, 24);
        if !capacity.is_power_of_two() || capacity > 1 << 40 {
            return Err(field(24, "capacity", capacity, "a power of two"));
        }
        let anchor = |offset: usize| Anchor {
            ticks: get_u64(bytes, offset),
            monotonic_ns: get_u64(bytes, offset + 8),
            real_ns: get_u64(bytes, offset + 16),
        };
        let mut boot_id = [0; 16];
        boot_id.copy_from_slice(&bytes[40..56]);
        let last = anchor(word::LAST_ANCHOR * 8);
        Ok(Header {
            clock: ClockKind::from_number(get_u32(bytes, 20)),
            capacity,
            pid: get_u32(bytes, 32),
            boot_id,
            first: anchor(56),
            head: get_u64(bytes, word::HEAD * 8),
            lost_space: get_u64(bytes, word::LOST_SPACE * 8),
            lost_names: get_u64(bytes, word::LOST_NAMES * 8),
            last: (get_u64(bytes, 280) == last.check()).then_some(last),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header {
        Header {
            clock: ClockKind::Tsc,
            capacity: 65_536,
            pid: 4711,
            boot_id: *b"0123456789abcdef",
            first: Anchor { ticks: 1, monotonic_ns: 2, real_ns: 3 },
            head: 99,
            lost_space: 5,
            lost_names: 6,
            last: Some(Anchor { ticks: 10, monotonic_ns: 20, real_ns: 30 }),
        }
    }

    #[test]
    fn a_header_survives_its_bytes() {
        assert_eq!(Header::decode(&sample().encode()[..]), Ok(sample()));
        let unanchored = Header { last: None, ..sample() };
        assert_eq!(Header::decode(&unanchored.encode()[..]), Ok(unanchored));
    }

    #[test]
    fn every_bad_header_says_where_and_what() {
        let good = sample().encode();
        assert_eq!(Header::decode(&[]), Err(HeaderError::Short { have: 0 }));
        assert_eq!(Header::decode(&good[..100]), Err(HeaderError::Short { have: 100 }));
        assert_eq!(Header::decode(b"SQLite format 3\0"), Err(HeaderError::Magic));
        let with = |offset: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[offset] = value;
            Header::decode(&bytes[..])
        };
        assert_eq!(with(0, b'x'), Err(HeaderError::Magic));
        assert_eq!(with(8, 9), Err(HeaderError::Version { found: 9 }));
        assert!(with(8, 9).unwrap_err().to_string().contains("newer"));
        assert!(matches!(with(16, 65), Err(HeaderError::Field { offset: 16, .. })));
        assert_eq!(with(33, 1), Err(HeaderError::Check));
        assert_eq!(with(60, 1), Err(HeaderError::Check));
        let odd = Header { capacity: 1000, ..sample() };
        assert!(matches!(Header::decode(&odd.encode()[..]), Err(HeaderError::Field { offset: 24, .. })));
    }

    #[test]
    fn a_torn_last_anchor_is_no_anchor() {
        let mut bytes = sample().encode();
        bytes[265] ^= 1;
        assert_eq!(Header::decode(&bytes[..]).unwrap().last, None);
    }
}
