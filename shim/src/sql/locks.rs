//! `locktrace_locks`: what every traced connection of this process holds.
#![forbid(unsafe_code)]

use super::cell::{Value, hash, integer, nonzero, seconds, text, words};
use super::snapshot::Snapshot;
use super::text::{Words, held_slots, slots, time};
use crate::event::{Level, Request};
use crate::recorder::{sql_texts, thread_comm};
use crate::vfs::live::{self, Refused, Since};
use std::ffi::CStr;

/// Bytes of a path that are shown; SQLite's unix VFS opens none that is longer than 512.
const PATH: usize = 1024;
/// Connections that may open while they are counted.
const MORE: usize = 32;

/// A traced connection's file, copied from its live row.
#[derive(Clone, Copy, Debug)]
struct Lock {
    number: u32,
    path: [u8; PATH],
    len: usize,
    vfs: &'static CStr,
    sqlite: &'static str,
    handle: usize,
    level: Level,
    shared: u8,
    exclusive: u8,
    writing: Option<Since>,
    reading: Option<Since>,
    refused: Option<Refused>,
    forked: bool,
    shared_cache: bool,
}

impl Lock {
    fn new(row: &live::Row<'_>) -> Lock {
        let shown = row.path.get(..PATH).unwrap_or(row.path);
        let mut path = [0; PATH];
        path.iter_mut().zip(shown).for_each(|(into, byte)| *into = *byte);
        Lock {
            number: row.number,
            path,
            len: shown.len(),
            vfs: row.vfs,
            sqlite: row.sqlite,
            handle: row.handle,
            level: row.level,
            shared: row.shared,
            exclusive: row.exclusive,
            writing: row.writing,
            reading: row.reading,
            refused: row.refused,
            forked: row.forked,
            shared_cache: row.shared_cache,
        }
    }

    /// The hold that the row describes: the one that blocks others, or else the one that only reads.
    fn hold(&self) -> Option<Since> {
        self.writing.or(self.reading)
    }
}

/// The rows, in the order of the connections' numbers.
#[derive(Debug)]
pub(super) struct Locks(Snapshot<Lock>);

impl Locks {
    /// Copies the rows; `None` where there is no memory.
    pub(super) fn copy() -> Option<Locks> {
        let mut room = live::open_files() + MORE;
        loop {
            let mut all = Snapshot::new(room)?;
            let mut seen = 0_usize;
            live::each(&mut |row| {
                seen += 1;
                all.push(Lock::new(row));
            });
            // More were opened in between.
            if seen > room {
                room = seen.saturating_add(MORE).saturating_mul(2);
                continue;
            }
            all.rows().sort_unstable_by_key(|lock| lock.number);
            return Some(Locks(all));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn value<'a>(&'a mut self, row: usize, column: usize, into: &'a mut Words) -> Value<'a> {
        let Some(lock) = self.0.rows().get(row) else { return Value::Null };
        let hold = lock.hold();
        let statement = |since: Option<Since>| text(since.and_then(|since| sql_texts::find(since.sql)));
        match column {
            0 => integer(lock.number),
            1 => text(lock.path.get(..lock.len)),
            2 => integer(crate::recorder::pid()),
            3 => words(into, |into| into.part("", format_args!("{}", lock.level))),
            4 => words(into, |into| held_slots(into, lock.shared, lock.exclusive)),
            5 => seconds(hold.and_then(|hold| hold.ago_ns)),
            6 => words(into, |into| {
                if let Some(ns) = hold.and_then(|hold| hold.real_ns) {
                    time(into, ns);
                }
            }),
            7 => hold.map_or(Value::Null, |hold| nonzero(hold.tid)),
            8 => thread(into, hold),
            9 => statement(hold),
            10 => seconds(lock.reading.and_then(|reading| reading.ago_ns)),
            11 => words(into, |into| match lock.refused {
                Some(Refused { request: Request::File(level), .. }) => into.part("", format_args!("{level}")),
                Some(Refused { request: Request::Shm { mask, exclusive }, .. }) => {
                    slots(into, mask, if exclusive { "X" } else { "S" })
                }
                None => {}
            }),
            12 => seconds(lock.refused.and_then(|refused| refused.last.ago_ns)),
            13 => statement(lock.refused.map(|refused| refused.last)),
            14 => words(into, |into| {
                for (_, name) in [(lock.forked, "forked"), (lock.shared_cache, "shared_cache")].iter().filter(|(set, _)| *set) {
                    into.part(",", format_args!("{name}"));
                }
            }),
            15 => hash(into, hold.map_or(0, |hold| hold.sql)),
            16 => integer(lock.handle),
            17 => Value::Text(lock.vfs.to_bytes()),
            18 => Value::Text(lock.sqlite.as_bytes()),
            _ => Value::Null,
        }
    }
}

/// The present name of the thread that took a lock; null when it has ended.
fn thread(into: &mut Words, hold: Option<Since>) -> Value<'_> {
    let mut room = [0; 64];
    match hold.and_then(|hold| thread_comm(hold.tid, &mut room)) {
        Some(name) => {
            into.put(name);
            Value::Text(into.bytes())
        }
        None => Value::Null,
    }
}
