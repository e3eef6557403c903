//! One record: 64 bytes, eight little-endian words.
//!
//! | offset | size | field |
//! | --- | --- | --- |
//! | 0 | 8 | check word over the other seven and the record's number ([`super::check`]) |
//! | 8 | 8 | `start`: when the call began, in the log's clock ticks |
//! | 16 | 6 | `duration`: ticks until the base VFS returned (0 and [`Flags::ONE_CLOCK`] where only the start is known) |
//! | 22 | 1 | [`Kind`] |
//! | 23 | 1 | [`Flags`] |
//! | 24 | 4 | `tid`: OS thread id |
//! | 28 | 4 | `conn`: the connection, counted from 1 in the process that opened it; 0 = not known |
//! | 32 | 4 | `file`: the database, a number of the names file; 0 = not known |
//! | 36 | 4 | result code (signed) |
//! | 40 | 1 | `before`: the connection's lock on the database file before the call ([`Level`]) |
//! | 41 | 1 | `requested`: the level asked for (`xLock`, `xUnlock`) |
//! | 42 | 1 | `after`: its lock after the call |
//! | 43 | 1 | `shm_offset`: first slot of an `xShmLock` |
//! | 44 | 1 | `shm_n`: how many slots it covers |
//! | 45 | 1 | `shm_shared`: mask of slots held SHARED after the call |
//! | 46 | 1 | `shm_exclusive`: mask of slots held EXCLUSIVE after the call |
//! | 47 | 1 | [`FileKind`] |
//! | 48 | 8 | `sql`: hash of the statement that was running; 0 = none was |
//! | 56 | 8 | `arg`: by kind |
//!
//! Every record carries the connection's whole lock state after the call, so that a reader that lost some records knows the state
//! again from the next one.
#![forbid(unsafe_code)]

use super::check;
use crate::event::{FileKind, Flags, Kind, KnownKind as Known, Level, Request, ResultCode, slot_mask};

/// Bytes in a record.
pub const SIZE: usize = 64;

/// Words in a record.
pub const WORDS: usize = 8;

/// The longest duration a record can hold, in ticks (about 26 hours at 3 GHz); longer ones are stored as this.
pub const MAX_DURATION: u64 = (1 << 48) - 1;

const _: () = assert!(SIZE == WORDS * size_of::<u64>());

/// A decoded record; see the module for units.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // The module's byte table documents each field.
pub struct Record {
    pub start: u64,
    pub duration: u64,
    pub kind: Kind,
    pub flags: Flags,
    pub tid: u32,
    pub conn: u32,
    pub file: u32,
    pub rc: ResultCode,
    pub before: Level,
    pub requested: Level,
    pub after: Level,
    pub shm_offset: u8,
    pub shm_n: u8,
    pub shm_shared: u8,
    pub shm_exclusive: u8,
    pub file_kind: FileKind,
    pub sql: u64,
    pub arg: u64,
}

impl Record {
    /// A record of this kind with every other field zero.
    pub const fn new(kind: Kind) -> Record {
        Record {
            start: 0,
            duration: 0,
            kind,
            flags: Flags(0),
            tid: 0,
            conn: 0,
            file: 0,
            rc: ResultCode(0),
            before: Level(0),
            requested: Level(0),
            after: Level(0),
            shm_offset: 0,
            shm_n: 0,
            shm_shared: 0,
            shm_exclusive: 0,
            file_kind: FileKind(0),
            sql: 0,
            arg: 0,
        }
    }

    /// The seven words after the check word.
    #[inline(always)]
    pub const fn to_words(&self) -> [u64; 7] {
        let duration = if self.duration > MAX_DURATION { MAX_DURATION } else { self.duration };
        [
            self.start,
            duration | (self.kind.0 as u64) << 48 | (self.flags.0 as u64) << 56,
            self.tid as u64 | (self.conn as u64) << 32,
            self.file as u64 | (self.rc.0 as u32 as u64) << 32,
            u64::from_le_bytes([
                self.before.0,
                self.requested.0,
                self.after.0,
                self.shm_offset,
                self.shm_n,
                self.shm_shared,
                self.shm_exclusive,
                self.file_kind.0,
            ]),
            self.sql,
            self.arg,
        ]
    }

    /// The record that these seven words hold. Total: every value decodes.
    #[inline(always)]
    pub const fn from_words(words: &[u64; 7]) -> Record {
        let state = words[4].to_le_bytes();
        Record {
            start: words[0],
            duration: words[1] & MAX_DURATION,
            kind: Kind((words[1] >> 48) as u8),
            flags: Flags((words[1] >> 56) as u8),
            tid: words[2] as u32,
            conn: (words[2] >> 32) as u32,
            file: words[3] as u32,
            rc: ResultCode((words[3] >> 32) as i32),
            before: Level(state[0]),
            requested: Level(state[1]),
            after: Level(state[2]),
            shm_offset: state[3],
            shm_n: state[4],
            shm_shared: state[5],
            shm_exclusive: state[6],
            file_kind: FileKind(state[7]),
            sql: words[5],
            arg: words[6],
        }
    }

    /// The 64 bytes of this record as record number `number`.
    pub fn encode(&self, number: u64) -> [u8; SIZE] {
        let words = self.to_words();
        let mut bytes = [0; SIZE];
        bytes[..8].copy_from_slice(&check(&words, number).to_le_bytes());
        for (chunk, word) in bytes[8..].chunks_exact_mut(8).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// The record in this slot, if it is whole and is number `number`.
    #[inline]
    pub fn decode(bytes: &[u8; SIZE], number: u64) -> Result<Record, Slot> {
        let [stored, words @ ..] = words(bytes);
        if stored == check(&words, number) {
            return Ok(Record::from_words(&words));
        }
        Err(if stored == 0 && words == [0; 7] { Slot::Empty } else { Slot::Torn })
    }

    /// The record in this slot, which [`Record::decode`] has found to be whole.
    #[inline]
    pub fn decode_again(bytes: &[u8; SIZE]) -> Record {
        let [_, words @ ..] = words(bytes);
        Record::from_words(&words)
    }

    /// When the base VFS had returned, in ticks; equal to `start` where that was not measured.
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.duration)
    }
}

impl Request {
    /// What this record's call asked for; `None` where it asked for no lock.
    #[inline]
    pub const fn of(record: &Record) -> Option<Request> {
        match record.kind.known() {
            Some(Known::Lock) => Some(Request::File(record.requested)),
            Some(Known::ShmLock) if !record.flags.has(Flags::SHM_UNLOCK) => Some(Request::Shm {
                mask: slot_mask(record.shm_offset, record.shm_n),
                exclusive: record.flags.has(Flags::SHM_EXCLUSIVE),
            }),
            Some(
                Known::ShmLock
                | Known::Unlock
                | Known::Open
                | Known::Close
                | Known::CheckReserved
                | Known::ShmMap
                | Known::ShmUnmap
                | Known::Sync
                | Known::Sleep
                | Known::Delete,
            ) => None,
            Some(Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle) | None => None,
        }
    }
}

#[inline(always)]
fn words(bytes: &[u8; SIZE]) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (word, le) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*le);
    }
    words
}

/// Why a slot does not hold the record it should.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// Never written: its record was lost before it had disk space, or is being written for the first time.
    Empty,
    /// Half a record, a record of another lap, or damage.
    Torn,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Record {
        Record {
            start: 0x1122_3344_5566_7788,
            duration: 0xabcd,
            kind: Kind::SHM_LOCK,
            flags: Flags::SHM_EXCLUSIVE.with(Flags::FORKED),
            tid: 4_000_000_001,
            conn: 7,
            file: 3,
            rc: ResultCode(-5),
            before: Level::SHARED,
            requested: Level::RESERVED,
            after: Level::PENDING,
            shm_offset: 1,
            shm_n: 2,
            shm_shared: 0b1000,
            shm_exclusive: 0b110,
            file_kind: FileKind::SHM,
            sql: u64::MAX,
            arg: 42,
        }
    }

    #[test]
    fn a_record_survives_its_bytes() {
        let record = sample();
        assert_eq!(Record::decode(&record.encode(9), 9), Ok(record));
        assert_eq!(Record::decode(&record.encode(9), 10), Err(Slot::Torn));
        assert_eq!(Record::decode(&[0; SIZE], 0), Err(Slot::Empty));
    }

    #[test]
    fn the_byte_table_is_what_is_written() {
        let bytes = sample().encode(0);
        assert_eq!(bytes[8..16], 0x1122_3344_5566_7788u64.to_le_bytes());
        assert_eq!(bytes[16..22], [0xcd, 0xab, 0, 0, 0, 0]);
        assert_eq!((bytes[22], bytes[23]), (6, 4 | 32));
        assert_eq!(bytes[24..28], 4_000_000_001u32.to_le_bytes());
        assert_eq!(bytes[28..32], 7u32.to_le_bytes());
        assert_eq!(bytes[32..36], 3u32.to_le_bytes());
        assert_eq!(bytes[36..40], (-5i32).to_le_bytes());
        assert_eq!(bytes[40..48], [1, 2, 3, 1, 2, 0b1000, 0b110, 4]);
        assert_eq!(bytes[48..56], [0xff; 8]);
        assert_eq!(bytes[56..64], 42u64.to_le_bytes());
    }

    #[test]
    fn a_duration_too_long_to_hold_is_the_longest() {
        let record = Record { duration: u64::MAX, ..sample() };
        let back = Record::decode(&record.encode(0), 0).unwrap();
        assert_eq!((back.duration, back.kind, back.flags), (MAX_DURATION, record.kind, record.flags));
    }

    #[test]
    fn every_word_pattern_decodes_and_encodes_back() {
        for seed in 0..1000u64 {
            let words: [u64; 7] = std::array::from_fn(|i| (seed * 7 + i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            assert_eq!(Record::from_words(&words).to_words(), words);
        }
    }
}
