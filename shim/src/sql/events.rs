//! `locktrace_events`: the newest records of this process's log.
#![forbid(unsafe_code)]

use super::cell::{Value, hash, integer, nonzero, seconds, text, words};
use super::snapshot::Snapshot;
use super::text::{Words, slots, state, time};
use crate::clock::TickScale;
use crate::event::{Flags, Kind, KnownKind as Known, Level, slot_mask};
use crate::format::record::Record;
use crate::recorder::{Log, sql_texts};

/// The most records that are shown.
const MOST: u64 = 65_536;

/// Records and their numbers, oldest first. Their texts are in the log.
#[derive(Debug)]
pub(super) struct Events {
    records: Snapshot<(u64, Record)>,
    log: &'static Log,
    clock: TickScale,
}

impl Events {
    /// Copies the records that the ring still has whole; `None` where there is no memory.
    pub(super) fn copy(log: &'static Log) -> Option<Events> {
        let end = log.records();
        let first = end.saturating_sub(log.capacity().min(MOST));
        let mut records = Snapshot::new(usize::try_from(end - first).ok()?)?;
        for number in first..end {
            if let Some(record) = log.record(number) {
                records.push((number, record));
            }
        }
        Some(Events { records, log, clock: TickScale::now() })
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn value<'a>(&'a mut self, row: usize, column: usize, into: &'a mut Words) -> Value<'a> {
        let Some((number, record)) = self.records.rows().get(row) else { return Value::Null };
        match column {
            0 => integer(*number),
            1 => words(into, |into| {
                if let Some(ns) = self.clock.real_ns(record.start) {
                    time(into, ns);
                }
            }),
            2 => nonzero(record.conn),
            3 => text(self.log.database(record.file)),
            4 => words(into, |into| into.part("", format_args!("{}", record.kind))),
            5 => words(into, |into| asked(into, record)),
            6 if has_result(record.kind) => words(into, |into| into.part("", format_args!("{}", record.rc))),
            7 if !record.flags.has(Flags::ONE_CLOCK) => seconds(self.clock.ns(record.duration)),
            8 => words(into, |into| state(into, record.after, record.shm_shared, record.shm_exclusive)),
            9 => integer(record.tid),
            10 => text(sql_texts::find(record.sql)),
            11 => words(into, |into| into.part("", format_args!("{}", record.file_kind))),
            // The same bits, as SQLite's integers are signed.
            12 => Value::Integer(record.arg as i64),
            13 => words(into, |into| record.flags.names().for_each(|name| into.part(",", format_args!("{name}")))),
            14 => hash(into, record.sql),
            _ => Value::Null,
        }
    }
}

/// Whether records of this kind have a result code.
fn has_result(kind: Kind) -> bool {
    match kind.known() {
        Some(Known::Sleep | Known::Wrote | Known::Handle | Known::CkptStart | Known::CkptDone) => false,
        Some(Known::Open | Known::Close | Known::Lock | Known::Unlock | Known::CheckReserved | Known::ShmLock) => true,
        Some(Known::ShmMap | Known::ShmUnmap | Known::Sync | Known::Delete) | None => true,
    }
}

/// What a call asked for: a level, or slots (`S` shared, `X` exclusive, `U` released).
fn asked(into: &mut Words, record: &Record) {
    match record.kind.known() {
        Some(Known::Lock | Known::Unlock) => into.part("", format_args!("{}", Level(record.requested.0))),
        Some(Known::CheckReserved) => into.part("", format_args!("{}", Level::RESERVED)),
        Some(Known::ShmLock) => {
            let how = match record.flags {
                flags if flags.has(Flags::SHM_UNLOCK) => "U",
                flags if flags.has(Flags::SHM_EXCLUSIVE) => "X",
                _ => "S",
            };
            slots(into, slot_mask(record.shm_offset, record.shm_n), how);
        }
        Some(Known::Open | Known::Close | Known::ShmMap | Known::ShmUnmap | Known::Sync | Known::Sleep | Known::Delete) => {}
        Some(Known::CkptStart | Known::CkptDone | Known::Wrote | Known::Handle) | None => {}
    }
}
