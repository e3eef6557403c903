//! The state of running programs, followed record by record.
#![forbid(unsafe_code)]

use super::meter::Meter;
use crate::analysis::locks::activity::has_checked;
use crate::analysis::locks::databases::Identity;
use crate::analysis::locks::journal_mode::Mode;
use crate::analysis::locks::lock::{LockId, Request};
use crate::analysis::locks::reading::Reading;
use crate::analysis::locks::state::{Change, ConnId, Hold, Locks};
use crate::analysis::locks::wal_sizes::WalSizes;
use crate::analysis::waits::follow::{Meaning, OpenWait};
use crate::analysis::waits::wait::Wait;
use crate::trace::{Event, LogId, Trace};
use shim::event::{FileKind, Kind, Level, Slot};
use shim::format::header::{Anchor, ClockKind};
use shim::format::record::Record;
use std::collections::{HashMap, VecDeque};

/// How many of a connection's latest records are kept.
const RECENT: usize = 16;

/// How many closed connections are remembered.
const CLOSED: usize = 1024;

/// The longest time from a call's return until its record arrives here: the reader reads now and then, and holds records back to sort
/// them. What a snapshot shows may have been over for that long.
pub const LAG_NS: u64 = 400_000_000;

/// The present instant, and the trace that has the names.
#[derive(Clone, Copy)]
pub struct When<'t> {
    /// The trace: the names in the records, and the meaning of their ticks.
    pub trace: &'t Trace,
    /// The reader's clock: its kind, its boot, and its present reading.
    pub here: (ClockKind, [u8; 16], Anchor),
}

impl When<'_> {
    /// How many nanoseconds ago this log's clock showed these ticks. `None` if the length of a tick is unknown.
    pub fn ago(&self, log: LogId, ticks: u64) -> Option<u64> {
        let (kind, boot, anchor) = &self.here;
        let clock = self.trace.clock(log);
        if clock.kind == *kind && clock.boot_id == *boot {
            return clock.to_ns(anchor.ticks.saturating_sub(ticks));
        }
        // For a log of another host or boot, only the wall clock compares.
        Some(anchor.real_ns.saturating_sub(self.trace.real_ns(log, ticks)?))
    }

    /// The same instant on the reader's own clock, in nanoseconds.
    pub(super) fn here_ns(&self, log: LogId, ticks: u64) -> Option<u64> {
        Some(self.here.2.monotonic_ns.saturating_sub(self.ago(log, ticks)?))
    }

    /// The instant up to which every record has arrived.
    pub(super) fn known_ns(&self) -> u64 {
        self.here.2.monotonic_ns.saturating_sub(LAG_NS)
    }
}

/// An open connection.
pub(super) struct Conn {
    pub(super) id: ConnId,
    pub(super) db: Option<u32>,
    pub(super) locks: Locks,
    pub(super) mode: Mode,
    pub(super) open_wait: Option<OpenWait>,
    /// Its last call was `xCheckReservedLock`: it looks for a hot journal.
    pub(super) checked: bool,
    /// Its last attempt was refused, and it may only have wanted to know whether it is the last connection.
    pub(super) undecided: bool,
    /// When it became the writer, in ticks.
    pub(super) writing: Option<u64>,
    /// The number of its last record.
    pub(super) number: u64,
    /// When the call of that record ended, in ticks.
    pub(super) at: u64,
    /// The thread of that call.
    pub(super) tid: u32,
    /// The statement seen last.
    pub(super) sql: u64,
    /// Its latest records with their numbers.
    pub(super) recent: VecDeque<(u64, Record)>,
}

impl Conn {
    fn new(id: ConnId) -> Conn {
        Conn {
            id,
            db: None,
            locks: Locks::default(),
            mode: Mode::default(),
            open_wait: None,
            checked: false,
            undecided: false,
            writing: None,
            number: 0,
            at: 0,
            tid: 0,
            sql: 0,
            recent: VecDeque::new(),
        }
    }

    /// Its locks, with or without the SHARED that it keeps for its whole life in WAL mode.
    pub(super) fn held(&self, with_lifetime: bool) -> impl Iterator<Item = (LockId, Hold)> + '_ {
        let without = self.mode.lifetime && !with_lifetime;
        self.locks.held().filter(move |(lock, _)| !(without && *lock == LockId::file(Level::SHARED)))
    }

    /// Whether it is the database's only writer: it has WRITE, or RESERVED and above.
    fn writes(&self) -> bool {
        self.locks.level.0 >= Level::RESERVED || self.locks.exclusive & (1 << Slot::WRITE.0) != 0
    }
}

/// What is counted for a database.
#[derive(Default)]
pub(super) struct Database {
    /// Its path, as the first process gave it.
    pub(super) path: Option<String>,
    pub(super) writing: Meter,
    /// For at least one writer it is unknown how long it was one.
    pub(super) unknown: bool,
    pub(super) refused: Meter,
    pub(super) wal: u64,
    pub(super) wal_began: bool,
    pub(super) any_wal: bool,
}

/// What is counted for a process.
#[derive(Default)]
pub(super) struct Process {
    pub(super) records: Meter,
    pub(super) ended: bool,
    /// The locks it held when it ended.
    pub(super) held: usize,
    pub(super) lost: u64,
    /// Records before this one are missing.
    pub(super) doubt: u64,
}

/// The state of running programs.
#[derive(Default)]
pub struct Current {
    pub(super) conns: HashMap<ConnId, Conn>,
    /// The connections that closed last. A late record of one does not bring it back.
    pub(super) closed: VecDeque<ConnId>,
    pub(super) databases: Vec<Database>,
    pub(super) known: HashMap<Identity, u32>,
    pub(super) files: HashMap<(LogId, u32), u32>,
    pub(super) processes: Vec<Process>,
    pub(super) changes: Vec<Change>,
    pub(super) wal_sizes: WalSizes,
    pub(super) refused: u64,
    pub(super) gave_up: u64,
    /// The sums count from now on.
    pub(super) counting: bool,
}

impl Current {
    /// Starts the sums of refusals, of waits that gave up and of -wal sizes. Call it when the existing records are read.
    pub fn count(&mut self) {
        self.counting = true;
    }

    /// Removes a process that is no longer followed. Either it has ended, which released its locks, or its log is gone, and its state is
    /// unknown.
    pub fn ended(&mut self, log: LogId) {
        let held = self.conns.values().filter(|conn| conn.id.log == log && conn.held(false).next().is_some()).count();
        self.conns.retain(|id, _| id.log != log);
        let process = self.process(log);
        (process.ended, process.held) = (true, held);
    }

    /// Sets how many records of this process were lost, the last of them before the record with number `before`.
    pub fn lost(&mut self, log: LogId, records: u64, before: u64) {
        let process = self.process(log);
        (process.lost, process.doubt) = (records, before);
    }

    fn process(&mut self, log: LogId) -> &mut Process {
        let index = log.0 as usize;
        if self.processes.len() <= index {
            self.processes.resize_with(index + 1, Process::default);
        }
        &mut self.processes[index]
    }

    /// Follows one record.
    pub fn event(&mut self, when: &When<'_>, event: &Event) {
        let Event { log, number, ref record } = *event;
        let end = when.here_ns(log, record.end());
        if let Some(end) = end {
            self.process(log).records.add(end, 1);
        }
        let Some(id) = ConnId::of(log, record) else { return };
        let db = (record.file != 0).then(|| self.database(when.trace, log, record.file));
        let fresh = !self.conns.contains_key(&id);
        if fresh && (record.kind == Kind::SLEEP || self.closed.contains(&id)) {
            return;
        }
        let conn = self.conns.entry(id).or_insert_with(|| Conn::new(id));
        if number < conn.number {
            // This record came late: a later one has already shown the state.
            return;
        }
        conn.db = conn.db.or(db);
        (conn.number, conn.at, conn.tid) = (number, record.end(), record.tid);
        if record.sql != 0 {
            conn.sql = record.sql;
        }
        if conn.recent.len() == RECENT {
            conn.recent.pop_front();
        }
        conn.recent.push_back((number, *record));
        let closing = matches!(record.kind, Kind::SHM_UNMAP | Kind::CLOSE);
        let refused = std::mem::take(&mut conn.undecided) && !closing;
        locks(conn, event, &mut self.changes);
        let database = conn.db.and_then(|db| self.databases.get_mut(db as usize));
        let mut none = Database::default();
        let database = database.unwrap_or(&mut none);
        database.any_wal |= conn.mode.wal;
        wrote(conn, when, log, record, database);
        if self.counting
            && let Some(db) = conn.db
            && let Some(size) = self.wal_sizes.record(db, record)
        {
            (database.wal, database.wal_began) = (size, database.wal_began || size == 0);
        }
        let gave_up = waited(conn, when, event);
        conn.checked = has_checked(conn.checked, record.kind);
        let request = Request::of(record).filter(|request| record.rc.is_busy() && !request.is_optional());
        conn.undecided = conn.mode.wal && request == Some(Request::File(Level::EXCLUSIVE));
        let refused = u64::from(refused) + u64::from(request.is_some() && !conn.undecided);
        if refused > 0
            && let Some(end) = end
        {
            database.refused.add(end, refused);
        }
        if self.counting {
            self.refused += refused;
            self.gave_up += u64::from(gave_up);
        }
        if record.kind == Kind::CLOSE && record.file_kind == FileKind::DATABASE {
            self.conns.remove(&id);
            if self.closed.len() == CLOSED {
                self.closed.pop_front();
            }
            self.closed.push_back(id);
        }
    }

    /// The database of this file of a log.
    fn database(&mut self, trace: &Trace, log: LogId, file: u32) -> u32 {
        if let Some(&known) = self.files.get(&(log, file)) {
            return known;
        }
        let fresh = self.databases.len() as u32;
        let about = trace.log(log);
        let name = about.names.file(file);
        let index = match name {
            None => fresh,
            Some(name) => *self.known.entry(Identity::of(about, name)).or_insert(fresh),
        };
        if index == fresh {
            self.databases.push(Database { path: name.map(|name| name.path.text.clone()), ..Database::default() });
        }
        self.files.insert((log, file), index);
        index
    }
}

/// Follows the connection's locks and its journal mode.
fn locks(conn: &mut Conn, event: &Event, changes: &mut Vec<Change>) {
    let Event { number, ref record, .. } = *event;
    conn.mode.before(record);
    changes.clear();
    conn.locks.apply((record.start, record.end()), number, record, changes);
    conn.mode.after(record, conn.locks.level.0);
}

/// Adds up how long the database had a writer.
fn wrote(conn: &mut Conn, when: &When<'_>, log: LogId, record: &Record, database: &mut Database) {
    match (conn.writing, conn.writes()) {
        (None, true) => conn.writing = Some(record.end()),
        (Some(since), false) => {
            conn.writing = None;
            // A release counts from its start: the next writer may have the lock before this call returns.
            match (when.here_ns(log, since), when.here_ns(log, record.start)) {
                (Some(from), Some(to)) => database.writing.stretch(from, to.max(from)),
                _ => database.unknown = true,
            }
        }
        _ => {}
    }
}

/// Joins a record to the connection's wait, ends it, or begins one. Returns whether one ended without success.
fn waited(conn: &mut Conn, when: &When<'_>, event: &Event) -> bool {
    let Event { number, ref record, .. } = *event;
    let mut gave_up = false;
    if let Some(waiting) = &mut conn.open_wait {
        let clock = when.trace.clock(event.log);
        let meaning = waiting.follow(record, number, |until| clock.to_ns(record.start.saturating_sub(until)));
        match meaning {
            Meaning::Waits => {
                if record.kind == Kind::SLEEP {
                    waiting.slept = true;
                    waiting.wait.sleeps += 1;
                } else if record.kind == Kind::LOCK && record.rc.is_busy() {
                    // The connection has to start again with SHARED, and was refused that.
                    waiting.again(record.end(), number);
                } else if record.kind == Kind::LOCK && record.requested == Level::SHARED {
                    waiting.shared = Some((record.end(), number));
                }
                return false;
            }
            Meaning::Reads => conn.open_wait = None,
            Meaning::Refused => {
                waiting.again(record.end(), number);
                return false;
            }
            Meaning::Granted => {
                conn.open_wait = None;
                return false;
            }
            Meaning::Over => {
                let wait = &waiting.wait;
                gave_up = !wait.closing && (!wait.request.is_optional() || wait.sleeps > 0);
                conn.open_wait = None;
            }
        }
    }
    if let Some(request) = Request::of(record).filter(|_| record.rc.is_busy()) {
        let span = (record.start, record.end());
        let mut wait = Wait::new(conn.id, conn.db, request, number, record, span);
        (wait.before.wal, wait.before.checked) = (wait.before.wal || conn.mode.wal, conn.checked);
        wait.before.reading = Reading::under(&mut conn.locks, conn.mode.lifetime);
        conn.open_wait = Some(OpenWait::new(wait, 0));
    }
    gave_up
}

/// The rank of a lock among a connection's locks. The strongest has the lowest rank.
pub(super) fn by_weight(lock: LockId) -> u8 {
    match (lock.level(), lock.slot()) {
        (Some(Level::SHARED), _) => 6,
        (Some(level), _) => 4 - level.0.min(4),
        (_, Some(Slot::WRITE)) => 3,
        (_, Some(slot)) if !slot.is_read() || lock.is_exclusive_slot() => 4,
        _ => 5,
    }
}
