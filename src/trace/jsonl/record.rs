//! One record as a JSON object, written and read. The table of its keys is in [`super`].
//!
//! Every field of a record survives, also numbers without a name.
#![forbid(unsafe_code)]

use crate::trace::{Event, LogId, Trace};
use serde::{Deserialize, Serialize, Serializer};
use shim::event::{FileKind, Flags, Kind, KnownKind as Known, Level, ResultCode, Slot};
use shim::format::record::{MAX_DURATION, Record};
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Display;

/// A value shown by its `Display`.
struct Shown<T>(T);

impl<T: Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// A mask of slots as an array of their names.
struct Slots(u8);

impl Serialize for Slots {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((0..Slot::COUNT).filter(|slot| self.0 & (1 << slot) != 0).filter_map(|slot| Slot(slot).name()))
    }
}

const FLAG_NAMES: [&str; 8] =
    ["redundant", "shm_unlock", "shm_exclusive", "one_clock", "sql_unknown", "forked", "shared_cache", "assumed"];

/// Flags as an array of their names.
struct FlagNames(u8);

impl Serialize for FlagNames {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((0..8).filter(|bit| self.0 & (1 << bit) != 0).map(|bit| FLAG_NAMES[bit]))
    }
}

/// A number that JSON can hold, or a string.
#[derive(Deserialize)]
#[serde(untagged)]
enum Wide<'a> {
    Number(u64),
    Text(#[serde(borrow)] Cow<'a, str>),
}

impl Serialize for Wide<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Wide::Number(number) if *number >= 1 << 53 => serializer.collect_str(number),
            Wide::Number(number) => serializer.serialize_u64(*number),
            Wide::Text(text) => serializer.serialize_str(text),
        }
    }
}

#[derive(Serialize)]
struct Out<'a> {
    t: &'static str,
    log: &'a str,
    n: Wide<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Shown<humantime::Rfc3339Timestamp>>,
    start: Shown<u64>,
    duration: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ns: Option<u64>,
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conn: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
    kind: Shown<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<Shown<Level>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    slots: Option<Slots>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shm_offset: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shm_n: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    op: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<&'static str>,
    before: Shown<Level>,
    after: Shown<Level>,
    shm_shared: Slots,
    shm_exclusive: Slots,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_kind: Option<Shown<FileKind>>,
    rc: i32,
    result: Shown<ResultCode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<FlagNames>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sql: Option<Shown<Hash>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arg: Option<Wide<'a>>,
}

struct Hash(u64);

impl Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The mask of an offset and a count, when these two follow from it.
fn plain_mask(offset: u8, n: u8) -> Option<u8> {
    let fits = n >= 1 && u32::from(offset) + u32::from(n) <= u32::from(Slot::COUNT);
    fits.then(|| shim::event::slot_mask(offset, n))
}

/// Writes one line.
pub fn write(trace: &Trace, event: &Event, out: &mut impl std::io::Write) -> std::io::Result<()> {
    let log = trace.log(event.log);
    let Event { number, ref record, .. } = *event;
    let shm = record.kind == Kind::SHM_LOCK;
    let own = Flags::SHM_UNLOCK.with(Flags::SHM_EXCLUSIVE).0;
    let flags = if shm { record.flags.0 & !own } else { record.flags.0 };
    let slots = if shm { plain_mask(record.shm_offset, record.shm_n) } else { None };
    let raw_slots = slots.is_none() && (record.shm_offset, record.shm_n) != (0, 0);
    let time = trace.real_ns(event.log, record.start).map(|ns| {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(ns);
        Shown(humantime::format_rfc3339_nanos(time))
    });
    let measured = !record.flags.has(Flags::ONE_CLOCK);
    let line = Out {
        t: "record",
        log: &log.id,
        n: Wide::Number(number),
        time,
        start: Shown(record.start),
        duration: record.duration,
        ns: if measured { trace.clock(event.log).to_ns(record.duration) } else { None },
        pid: log.pid,
        tid: record.tid,
        thread: log.names.thread(record.tid).map(|name| name.text.as_str()),
        conn: (record.conn != 0).then_some(record.conn),
        file: (record.file != 0).then_some(record.file),
        path: log.names.file(record.file).map(|file| file.path.text.as_str()),
        kind: Shown(record.kind),
        lock: (matches!(record.kind, Kind::LOCK | Kind::UNLOCK) || record.requested != Level::NONE)
            .then_some(Shown(record.requested)),
        slots: slots.map(Slots),
        shm_offset: raw_slots.then_some(record.shm_offset),
        shm_n: raw_slots.then_some(record.shm_n),
        op: shm.then(|| if record.flags.has(Flags::SHM_UNLOCK) { "unlock" } else { "lock" }),
        mode: shm.then(|| if record.flags.has(Flags::SHM_EXCLUSIVE) { "EXCLUSIVE" } else { "SHARED" }),
        before: Shown(record.before),
        after: Shown(record.after),
        shm_shared: Slots(record.shm_shared),
        shm_exclusive: Slots(record.shm_exclusive),
        file_kind: (record.file_kind != FileKind::NONE).then_some(Shown(record.file_kind)),
        rc: record.rc.0,
        result: Shown(record.rc),
        flags: (flags != 0).then_some(FlagNames(flags)),
        sql: (record.sql != 0).then_some(Shown(Hash(record.sql))),
        text: log.names.sql(record.sql).map(|sql| sql.text.text.as_str()),
        arg: (record.arg != 0 || has_arg(record.kind)).then_some(Wide::Number(record.arg)),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// Whether an `arg` of 0 has a meaning for this kind.
fn has_arg(kind: Kind) -> bool {
    match kind.known() {
        Some(Known::CheckReserved | Known::ShmMap | Known::ShmUnmap | Known::Sleep | Known::Wrote) => true,
        Some(Known::Open | Known::Close | Known::Lock | Known::Unlock | Known::ShmLock | Known::Sync | Known::Delete) => false,
        Some(Known::CkptStart | Known::CkptDone | Known::Handle) | None => false,
    }
}

type Name<'a> = Cow<'a, str>;

#[derive(Deserialize)]
struct In<'a> {
    #[serde(borrow)]
    log: Name<'a>,
    #[serde(borrow)]
    n: Wide<'a>,
    #[serde(borrow)]
    start: Wide<'a>,
    #[serde(default)]
    duration: u64,
    #[serde(default)]
    tid: u32,
    #[serde(default)]
    conn: u32,
    #[serde(default)]
    file: u32,
    #[serde(borrow)]
    kind: Name<'a>,
    #[serde(borrow, default)]
    lock: Option<Name<'a>>,
    #[serde(borrow, default)]
    slots: Vec<Name<'a>>,
    #[serde(default)]
    shm_offset: u8,
    #[serde(default)]
    shm_n: u8,
    #[serde(borrow, default)]
    op: Option<Name<'a>>,
    #[serde(borrow, default)]
    mode: Option<Name<'a>>,
    #[serde(borrow, default)]
    before: Option<Name<'a>>,
    #[serde(borrow, default)]
    after: Option<Name<'a>>,
    #[serde(borrow, default)]
    shm_shared: Vec<Name<'a>>,
    #[serde(borrow, default)]
    shm_exclusive: Vec<Name<'a>>,
    #[serde(borrow, default)]
    file_kind: Option<Name<'a>>,
    #[serde(default)]
    rc: i32,
    #[serde(borrow, default)]
    flags: Vec<Name<'a>>,
    #[serde(borrow, default)]
    sql: Option<Name<'a>>,
    #[serde(borrow, default)]
    arg: Option<Wide<'a>>,
}

/// Reads one line. The error says what was expected.
pub(super) fn read(line: &[u8], logs: &HashMap<String, LogId>) -> Result<Event, String> {
    let line: In<'_> = serde_json::from_slice(line).map_err(|error| format!("expected a record: {error}"))?;
    let log = *logs.get(line.log.as_ref()).ok_or("expected \"log\", the id of a log described before")?;
    let kind = match Kind::from_name(&line.kind) {
        Some(kind) => kind,
        None => Kind(numbered(&line.kind, "kind#").ok_or_else(|| format!("unknown \"kind\" {:?}", line.kind))?),
    };
    let mut flags = 0;
    for name in &line.flags {
        let bit = FLAG_NAMES.iter().position(|known| known == name).ok_or_else(|| format!("unknown flag {name:?}"))?;
        flags |= 1 << bit;
    }
    match line.op.as_deref() {
        None | Some("lock") => {}
        Some("unlock") => flags |= Flags::SHM_UNLOCK.0,
        Some(other) => return Err(format!("unknown \"op\" {other:?}; expected \"lock\" or \"unlock\"")),
    }
    match line.mode.as_deref() {
        None | Some("SHARED") => {}
        Some("EXCLUSIVE") => flags |= Flags::SHM_EXCLUSIVE.0,
        Some(other) => return Err(format!("unknown \"mode\" {other:?}; expected \"SHARED\" or \"EXCLUSIVE\"")),
    }
    let asked = mask(&line.slots)?;
    let (shm_offset, shm_n) =
        if asked == 0 { (line.shm_offset, line.shm_n) } else { (asked.trailing_zeros() as u8, asked.count_ones() as u8) };
    if asked != 0 && shim::event::slot_mask(shm_offset, shm_n) != asked {
        return Err("\"slots\" must be neighbours: one call covers a run of them".to_owned());
    }
    let record = Record {
        start: wide(&line.start).ok_or("expected \"start\", ticks as a decimal string")?,
        duration: line.duration.min(MAX_DURATION),
        kind,
        flags: Flags(flags),
        tid: line.tid,
        conn: line.conn,
        file: line.file,
        rc: ResultCode(line.rc),
        before: level(line.before.as_deref(), "before")?,
        requested: level(line.lock.as_deref(), "lock")?,
        after: level(line.after.as_deref(), "after")?,
        shm_offset,
        shm_n,
        shm_shared: mask(&line.shm_shared)?,
        shm_exclusive: mask(&line.shm_exclusive)?,
        file_kind: match line.file_kind.as_deref() {
            None => FileKind::NONE,
            Some(name) => match (0..=4).map(FileKind).find(|kind| kind.name() == Some(name)) {
                Some(kind) => kind,
                None => FileKind(numbered(name, "file#").ok_or_else(|| format!("unknown \"file_kind\" {name:?}"))?),
            },
        },
        sql: match line.sql.as_deref() {
            None => 0,
            Some(hex) => u64::from_str_radix(hex, 16).map_err(|_| "expected \"sql\", 16 hexadecimal digits")?,
        },
        arg: match &line.arg {
            None => 0,
            Some(arg) => wide(arg).ok_or("expected \"arg\", a number or a decimal string")?,
        },
    };
    Ok(Event { log, number: wide(&line.n).ok_or("expected \"n\", a number")?, record })
}

fn wide(value: &Wide<'_>) -> Option<u64> {
    match value {
        Wide::Number(number) => Some(*number),
        Wide::Text(text) => text.parse().ok(),
    }
}

fn numbered(name: &str, prefix: &str) -> Option<u8> {
    name.strip_prefix(prefix)?.parse().ok()
}

fn level(name: Option<&str>, key: &str) -> Result<Level, String> {
    let Some(name) = name else { return Ok(Level::NONE) };
    let known = (0..=4).map(Level).find(|level| level.name() == Some(name));
    known.or_else(|| numbered(name, "lock#").map(Level)).ok_or_else(|| format!("unknown lock {name:?} in {key:?}"))
}

fn mask(names: &[Name<'_>]) -> Result<u8, String> {
    names.iter().try_fold(0, |mask, name| {
        let slot = (0..Slot::COUNT).find(|&slot| Slot(slot).name() == Some(name));
        Ok(mask | 1 << slot.ok_or_else(|| format!("unknown wal-index lock {name:?}"))?)
    })
}
