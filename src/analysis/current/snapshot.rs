//! A snapshot of running programs at one moment, in numbers and ids. The code that displays it looks up the names and lays out the rows.
//!
//! A connection has a [`Row`] if it holds a lock that another could wait for, or was refused one.
#![forbid(unsafe_code)]

use super::live_state::{Conn, Current, When, by_weight};
use super::meter::Meter;
use crate::analysis::locks::lock::{LockId, Request};
use crate::analysis::locks::state::{ConnId, Hold, NEVER};
use crate::trace::{LogId, total};
use shim::event::Level;
use shim::format::record::Record;
use std::collections::HashMap;

/// A refused connection that has been silent for this long counts as no longer waiting. SQLite's own handler sleeps 100 ms at most between
/// two attempts.
const SILENT_NS: u64 = 500_000_000;

/// How long a refused connection is shown after it gave up.
const FORGET_NS: u64 = 10_000_000_000;

/// The state of running programs at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The connections that hold or want a lock.
    pub rows: Vec<Row>,
    /// Every database.
    pub databases: Vec<DatabaseRow>,
    /// Every process.
    pub processes: Vec<ProcessRow>,
    /// The open connections that the records show.
    pub connections: usize,
    /// Refused attempts in the last second, and in the last ten.
    pub refused_in: (u64, u64),
    /// Refused attempts since the beginning, without those of closing connections and those that SQLite carries on without.
    pub refused: u64,
    /// Waits since the beginning that ended without success, or have been silent for half a second.
    pub gave_up: u64,
    /// Records that were lost before they could be read.
    pub lost: u64,
}

/// A lock of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HeldLock {
    /// The lock.
    pub lock: LockId,
    /// The thread that took it; 0 if that call was not seen.
    pub tid: u32,
    /// The hash of the statement that took it; 0 = none, or unknown.
    pub sql: u64,
    /// How long it has been held; `None` if the length of a tick is unknown.
    pub age_ns: Option<u64>,
    /// Whether the call that took it was seen. Otherwise it has been held for *at least* that long.
    pub seen: bool,
}

/// A lock that a connection was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Want {
    /// What the connection asked for.
    pub request: Request,
    /// The thread that asked.
    pub tid: u32,
    /// The hash of the statement that asked; 0 = none, or unknown.
    pub sql: u64,
    /// When its first attempt began, in ticks of its log.
    pub since: u64,
    /// How long ago that was.
    pub age_ns: Option<u64>,
    /// How long ago the connection made its last call.
    pub silent_ns: Option<u64>,
    /// Refused attempts.
    pub attempts: u32,
    /// The connection has not tried again for so long that it counts as having given up.
    pub over: bool,
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Row {
    /// The connection.
    pub who: ConnId,
    /// Its database, an index into [`Snapshot::databases`].
    pub db: Option<u32>,
    /// The locks it holds, the strongest first. The lifetime SHARED of WAL mode only if it refuses another connection.
    pub held: Vec<HeldLock>,
    /// The lock that it was refused and has not got since.
    pub wants: Option<Want>,
    /// Records were lost after its last one: it may have other locks by now.
    pub doubted: bool,
    /// The connections that hold a lock that refuses this one, as indices into [`Snapshot::rows`]. Empty if this one does not wait.
    pub blockers: Vec<usize>,
    /// How many connections wait for this one, directly or through others.
    pub blocks: usize,
    /// The thread of its last call.
    pub tid: u32,
    /// The hash of the statement seen last; 0 = none, or unknown.
    pub sql: u64,
    /// How long ago its last call ended.
    pub silent_ns: Option<u64>,
    /// Its latest records with their numbers, oldest first.
    pub recent: Vec<(u64, Record)>,
}

impl Row {
    /// How long it has waited or, if it does not, has held its strongest lock.
    pub fn age_ns(&self) -> Option<u64> {
        match (&self.wants, self.held.first()) {
            (Some(want), _) => want.age_ns,
            (None, Some(held)) => held.age_ns,
            (None, None) => None,
        }
    }

    /// Whether it is waiting now.
    pub fn waits(&self) -> bool {
        self.wants.is_some_and(|want| !want.over)
    }

    /// The statement to show: the one that waits, or took the strongest lock, or ran last.
    pub fn statement(&self) -> u64 {
        let want = self.wants.map_or(0, |want| want.sql);
        let held = self.held.first().map_or(0, |held| held.sql);
        [want, held, self.sql].into_iter().find(|&sql| sql != 0).unwrap_or(0)
    }
}

/// A database.
#[derive(Clone, Debug, Default)]
pub struct DatabaseRow {
    /// Its path; `None` if the trace has no name for it.
    pub path: Option<String>,
    /// The share (0 to 1) of the last second, and of the last ten, in which it had a writer (WRITE, or RESERVED and above). `None` if unknown.
    pub occupied: Option<(f64, f64)>,
    /// Refused attempts in the last second, and in the last ten.
    pub refused_in: (u64, u64),
    /// Bytes written to its -wal since the log last restarted; `None` without WAL. Also whether that restart was seen: otherwise there may be
    /// more bytes.
    pub wal: Option<(u64, bool)>,
    /// Connections that hold a lock.
    pub holders: usize,
    /// Connections that wait.
    pub waiters: usize,
}

/// A process.
#[derive(Clone, Copy, Debug)]
pub struct ProcessRow {
    /// Its log.
    pub log: LogId,
    /// Its connections.
    pub connections: usize,
    /// Those that hold a lock.
    pub holders: usize,
    /// Those that wait.
    pub waiters: usize,
    /// Records in the last second.
    pub records: u64,
    /// It has ended, or is no longer followed.
    pub ended: bool,
    /// Connections that held a lock when it ended.
    pub held_at_end: usize,
    /// Records that were lost before they could be read.
    pub lost: u64,
}

impl Current {
    /// The state at this moment.
    pub fn snapshot(&self, when: &When<'_>) -> Snapshot {
        let doubt = |conn: &Conn| self.processes.get(conn.id.log.0 as usize).is_some_and(|process| conn.number < process.doubt);
        let mut by_database: HashMap<u32, Vec<&Conn>> = HashMap::new();
        let mut rows: Vec<Row> = Vec::new();
        let mut index: HashMap<ConnId, usize> = HashMap::new();
        let mut silent = 0;
        let mut conns: Vec<&Conn> = self.conns.values().collect();
        conns.sort_unstable_by_key(|conn| conn.id);
        for conn in conns {
            let wants = want(conn, when);
            silent += u64::from(conn.open_wait.as_ref().is_some_and(|waiting| {
                let wait = &waiting.wait;
                !wait.closing && (!wait.request.is_optional() || wait.sleeps > 0) && is_over(conn, when)
            }));
            if let Some(db) = conn.db
                && conn.locks.held().next().is_some()
            {
                by_database.entry(db).or_default().push(conn);
            }
            let held = held(conn, when, false);
            if !held.is_empty() || wants.is_some() {
                index.insert(conn.id, rows.len());
                rows.push(row(conn, when, held, wants, doubt(conn)));
            }
        }
        for waiter in 0..rows.len() {
            let Some(request) = rows[waiter].wants.filter(|want| !want.over).map(|want| want.request) else { continue };
            let (who, db) = (rows[waiter].who, rows[waiter].db);
            let others = db.and_then(|db| by_database.get(&db));
            let mut blockers = Vec::new();
            for conn in others.into_iter().flatten().filter(|conn| conn.id != who) {
                if !conn.locks.held().any(|(lock, _)| lock.refuses(request)) {
                    continue;
                }
                let shared = LockId::file(Level::SHARED);
                let by_lifetime = conn.mode.lifetime && shared.refuses(request);
                let place = *index.entry(conn.id).or_insert_with(|| {
                    rows.push(row(conn, when, held(conn, when, true), None, doubt(conn)));
                    rows.len() - 1
                });
                if by_lifetime && rows[place].held.iter().all(|held| held.lock != shared) {
                    rows[place].held = held(conn, when, true);
                }
                blockers.push(place);
            }
            rows[waiter].blockers = blockers;
        }
        count_blocked(&mut rows);
        let known = when.known_ns();
        let mut snapshot = Snapshot {
            connections: self.conns.len(),
            refused: self.refused,
            gave_up: self.gave_up + if self.counting { silent } else { 0 },
            lost: total(self.processes.iter().map(|process| process.lost)),
            databases: self.databases(when, &rows),
            processes: self.processes(known, &rows),
            rows,
            ..Snapshot::default()
        };
        snapshot.refused_in = snapshot
            .databases
            .iter()
            .fold((0, 0), |(one, ten), database| (one + database.refused_in.0, ten + database.refused_in.1));
        snapshot
    }

    fn databases(&self, when: &When<'_>, rows: &[Row]) -> Vec<DatabaseRow> {
        let known = when.known_ns();
        let mut open: Vec<Meter> = Vec::new();
        let mut unknown: Vec<bool> = self.databases.iter().map(|database| database.unknown).collect();
        open.resize_with(self.databases.len(), Meter::default);
        for conn in self.conns.values() {
            if let (Some(db), Some(since)) = (conn.db, conn.writing) {
                match when.here_ns(conn.id.log, since) {
                    Some(since) => open[db as usize].stretch(since, known.max(since)),
                    None => unknown[db as usize] = true,
                }
            }
        }
        let mut out: Vec<DatabaseRow> = Vec::new();
        for (number, database) in self.databases.iter().enumerate() {
            // A share is at most the whole. Two writers' times can overlap by the time that the lock took to change hands.
            let share = |tenths: u64| {
                let ns = database.writing.sum(known, tenths) + open[number].sum(known, tenths);
                (ns as f64 / (tenths as f64 * 1e8)).min(1.0)
            };
            let here = |row: &&Row| row.db == Some(number as u32);
            out.push(DatabaseRow {
                path: database.path.clone(),
                occupied: (!unknown[number]).then(|| (share(10), share(100))),
                refused_in: (database.refused.sum(known, 10), database.refused.sum(known, 100)),
                wal: database.any_wal.then_some((database.wal, database.wal_began)),
                holders: rows.iter().filter(here).filter(|row| !row.held.is_empty()).count(),
                waiters: rows.iter().filter(here).filter(|row| row.waits()).count(),
            });
        }
        out
    }

    fn processes(&self, known: u64, rows: &[Row]) -> Vec<ProcessRow> {
        let mut out: Vec<ProcessRow> = Vec::new();
        for (log, process) in (0..).map(LogId).zip(&self.processes) {
            out.push(ProcessRow {
                log,
                connections: 0,
                holders: 0,
                waiters: 0,
                records: process.records.sum(known, 10),
                ended: process.ended,
                held_at_end: process.held,
                lost: process.lost,
            });
        }
        for conn in self.conns.keys() {
            if let Some(process) = out.get_mut(conn.log.0 as usize) {
                process.connections += 1;
            }
        }
        for row in rows {
            if let Some(process) = out.get_mut(row.who.log.0 as usize) {
                process.holders += usize::from(!row.held.is_empty());
                process.waiters += usize::from(row.waits());
            }
        }
        out
    }
}

fn row(conn: &Conn, when: &When<'_>, held: Vec<HeldLock>, wants: Option<Want>, doubted: bool) -> Row {
    Row {
        who: conn.id,
        db: conn.db,
        held,
        wants,
        doubted,
        blockers: Vec::new(),
        blocks: 0,
        tid: conn.tid,
        sql: conn.sql,
        silent_ns: when.ago(conn.id.log, conn.at),
        recent: conn.recent.iter().copied().collect(),
    }
}

/// The connection's locks, the strongest first.
fn held(conn: &Conn, when: &When<'_>, with_lifetime: bool) -> Vec<HeldLock> {
    let one = |(lock, hold): (LockId, Hold)| HeldLock {
        lock,
        tid: hold.tid,
        sql: hold.sql,
        // For a hold that began unseen, `from` is the record that showed it. If the recorder read the clock only once for the call, only
        // the call's start is known.
        age_ns: when.ago(conn.id.log, if hold.from == NEVER { hold.asked } else { hold.from }),
        seen: hold.seen,
    };
    let mut held: Vec<HeldLock> = conn.held(with_lifetime).map(one).collect();
    held.sort_by_key(|held| by_weight(held.lock));
    // For a writer that went on from RESERVED, the statement that took RESERVED says more than the COMMIT.
    let reserved = held.iter().find(|held| held.lock == LockId::file(Level::RESERVED)).copied();
    if let (Some(first), Some(reserved)) = (held.first_mut(), reserved)
        && reserved.sql != 0
    {
        first.sql = reserved.sql;
    }
    held
}

fn want(conn: &Conn, when: &When<'_>) -> Option<Want> {
    let wait = &conn.open_wait.as_ref().filter(|waiting| !waiting.wait.closing)?.wait;
    let silent_ns = when.ago(conn.id.log, conn.at);
    let over = is_over(conn, when);
    // A lock that SQLite carries on without at once is no wait. A wait that was given up long ago is not shown.
    if (wait.request.is_optional() && wait.sleeps == 0) || (over && silent_ns.is_some_and(|ns| ns > FORGET_NS)) {
        return None;
    }
    Some(Want {
        request: wait.request,
        tid: wait.tid,
        sql: wait.sql,
        since: wait.from,
        age_ns: when.ago(conn.id.log, wait.from),
        silent_ns,
        attempts: wait.attempts,
        over,
    })
}

fn is_over(conn: &Conn, when: &When<'_>) -> bool {
    when.ago(conn.id.log, conn.at).is_none_or(|ns| ns > SILENT_NS)
}

/// Counts for each row the connections that wait for it, directly or through others.
fn count_blocked(rows: &mut [Row]) {
    let mut behind: Vec<Vec<usize>> = vec![Vec::new(); rows.len()];
    for (waiter, row) in rows.iter().enumerate() {
        for &blocker in &row.blockers {
            behind[blocker].push(waiter);
        }
    }
    let mut seen = vec![usize::MAX; rows.len()];
    for root in 0..rows.len() {
        let mut left = behind[root].clone();
        seen[root] = root;
        while let Some(next) = left.pop() {
            if seen[next] != root {
                seen[next] = root;
                rows[root].blocks += 1;
                left.extend(&behind[next]);
            }
        }
    }
}
