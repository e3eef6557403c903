//! A snapshot as sorted lines of table cells, with its numbers and ids turned into text. The screen and the plain text lay these [`Line`]s out.
//!
//! Texts of traced programs are shown without control characters.
#![forbid(unsafe_code)]

use crate::analysis::current::{LAG_NS, ProcessRow, Row, Snapshot};
use crate::analysis::{ConnId, LockId};
use crate::report::human::{count, cut, duration};
use crate::report::words;
use crate::trace::{LogId, Trace};
use std::cmp::Reverse;

/// Statements are cut to this many columns before they are laid out.
const LONGEST: usize = 400;

/// The order of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Sort {
    /// Blockers, each followed by the connections that wait for it.
    #[default]
    Chains,
    /// The oldest hold or wait first.
    Age,
    /// By process.
    Process,
    /// By database.
    Database,
    /// By statement.
    Statement,
}

impl Sort {
    /// The next order.
    pub fn next(self) -> Sort {
        match self {
            Sort::Chains => Sort::Age,
            Sort::Age => Sort::Process,
            Sort::Process => Sort::Database,
            Sort::Database => Sort::Statement,
            Sort::Statement => Sort::Chains,
        }
    }

    /// Its name on the screen.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Chains => "who waits for whom",
            Sort::Age => "age",
            Sort::Process => "process",
            Sort::Database => "database",
            Sort::Statement => "statement",
        }
    }
}

/// The kind of a line, which has a colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineKind {
    /// It holds locks and blocks nobody.
    Holds,
    /// Others wait for it.
    Blocks,
    /// It waits.
    Waits,
    /// It was refused, and has not tried again.
    Refused,
    /// It has ended.
    Ended,
}

/// A connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The row of the snapshot.
    pub row: usize,
    /// Its kind.
    pub look: LineKind,
    /// How long it has held or waited.
    pub age: String,
    /// What it holds or wants.
    pub lock: String,
    /// Process, thread, connection.
    pub who: String,
    /// Its blocker, or how many connections wait for it.
    pub between: String,
    /// The file name of its database.
    pub database: String,
    /// Its statement.
    pub sql: String,
}

/// The connections whose statement, path, process or lock contains the filter, in this order.
pub fn lines(snapshot: &Snapshot, trace: &Trace, sort: Sort, filter: &str) -> Vec<Line> {
    let rows = &snapshot.rows;
    let mut order: Vec<(usize, usize)> = (0..rows.len()).map(|row| (row, 0)).collect();
    let path = |row: &Row| row.db.and_then(|db| snapshot.databases.get(db as usize)?.path.as_deref());
    match sort {
        Sort::Chains => order = chains(rows),
        Sort::Age => order.sort_by_key(|&(row, _)| Reverse(rows[row].age_ns())),
        Sort::Process => order.sort_by_key(|&(row, _)| (trace.log(rows[row].who.log).pid, rows[row].who)),
        Sort::Database => order.sort_by_key(|&(row, _)| (path(&rows[row]), Reverse(rows[row].age_ns()))),
        Sort::Statement => order.sort_by_key(|&(row, _)| (sql(trace, rows[row].who, rows[row].statement()), rows[row].who)),
    }
    let filter = filter.to_lowercase();
    let found = |row: &Row| filter.is_empty() || matches(snapshot, trace, row, &filter);
    order.retain(|&(row, _)| found(&rows[row]));
    order.into_iter().map(|(row, depth)| line(snapshot, trace, row, depth)).collect()
}

/// Each blocking row, followed by the rows that wait for it. The depth counts the rows above it in the chain. Each row comes once.
fn chains(rows: &[Row]) -> Vec<(usize, usize)> {
    let mut behind: Vec<Vec<usize>> = vec![Vec::new(); rows.len()];
    for (waiter, row) in rows.iter().enumerate() {
        // If it has several blockers: under the one with the oldest hold.
        if let Some(&first) = row.blockers.iter().max_by_key(|&&blocker| (rows[blocker].age_ns(), Reverse(blocker))) {
            behind[first].push(waiter);
        }
    }
    let by_harm = |&row: &usize| (Reverse(rows[row].blocks), Reverse(rows[row].age_ns()));
    behind.iter_mut().for_each(|waiters| waiters.sort_by_key(by_harm));
    let mut roots: Vec<usize> = (0..rows.len()).collect();
    // First the rows that wait for nobody. The rows left after them wait in a circle.
    roots.sort_by_key(|row| (!rows[*row].blockers.is_empty(), by_harm(row)));
    let mut seen = vec![false; rows.len()];
    let mut order = Vec::new();
    for root in roots {
        let mut left = vec![(root, 0)];
        while let Some((row, depth)) = left.pop() {
            if !std::mem::replace(&mut seen[row], true) {
                order.push((row, depth));
                left.extend(behind[row].iter().rev().map(|&waiter| (waiter, depth + 1)));
            }
        }
    }
    order
}

fn matches(snapshot: &Snapshot, trace: &Trace, row: &Row, filter: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(filter);
    let log = trace.log(row.who.log);
    has(&who(trace, row.who, row.tid))
        || has(&lock(row))
        || sql(trace, row.who, row.statement()).is_some_and(|sql| has(&sql))
        || row.db.and_then(|db| snapshot.databases.get(db as usize)?.path.as_deref()).is_some_and(has)
        || log.names.argv().is_some_and(|argv| argv.iter().any(|argument| has(argument)))
}

fn line(snapshot: &Snapshot, trace: &Trace, index: usize, depth: usize) -> Line {
    let row = &snapshot.rows[index];
    let look = match row.wants {
        Some(want) if want.over => LineKind::Refused,
        Some(_) => LineKind::Waits,
        None if row.blocks > 0 => LineKind::Blocks,
        None => LineKind::Holds,
    };
    let path = row.db.and_then(|db| snapshot.databases.get(db as usize)).map(|database| path(database.path.as_deref()));
    let indent = if depth == 0 { String::new() } else { format!("{}└ ", "  ".repeat(depth.min(8) - 1)) };
    Line {
        row: index,
        look,
        age: age(row),
        lock: indent + &lock(row),
        who: who(trace, row.who, row.wants.map_or(row.tid, |want| want.tid)),
        between: between(snapshot, trace, row),
        database: path.map_or_else(String::new, |path| base(&path)),
        sql: sql(trace, row.who, row.statement()).map_or_else(String::new, |sql| cut(&sql, LONGEST)),
    }
}

/// How long it has held or waited.
pub fn age(row: &Row) -> String {
    lasting(row.age_ns(), row.wants.is_some() || row.held.first().is_none_or(|held| held.seen))
}

/// How long something lasts, with `≥` if its beginning was not recorded. A state that began a moment ago may be over by now: the snapshot of a
/// connection that takes and releases a lock all the time is a moment old. So such an age is not shown exactly.
pub fn lasting(ns: Option<u64>, seen: bool) -> String {
    match (ns, seen) {
        (None, _) | (Some(..LAG_NS), false) => "?".to_owned(),
        (Some(..LAG_NS), true) => "< 0.4 s".to_owned(),
        (Some(ns), true) => short(ns),
        (Some(ns), false) => format!("≥ {}", short(ns)),
    }
}

/// A duration with few digits, because it is redrawn all the time.
fn short(ns: u64) -> String {
    match ns {
        0..1_000_000_000 => format!("{} ms", ns / 1_000_000),
        1_000_000_000..100_000_000_000 => format!("{:.1} s", (ns / 100_000_000) as f64 / 10.0),
        _ => duration(ns),
    }
}

/// A length of time that may be unknown.
pub fn ago(ns: Option<u64>) -> String {
    ns.map_or_else(|| "an unknown time".to_owned(), short)
}

/// The locks that it wants and holds. Of the levels of the database file only the highest, which includes the others.
pub fn lock(row: &Row) -> String {
    let mut held: Vec<LockId> = Vec::new();
    for lock in row.held.iter().map(|held| held.lock) {
        if lock.level().is_none() || held.iter().all(|other| other.level().is_none()) {
            held.push(lock);
        }
    }
    let held = held.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let doubt = if row.doubted { "?" } else { "" };
    match row.wants {
        None => format!("{held}{doubt}"),
        Some(want) => {
            let how = if want.over { "refused" } else { "wants" };
            let has = if held.is_empty() { String::new() } else { format!(", has {held}{doubt}") };
            format!("{how} {}{has}", want.request)
        }
    }
}

/// `4711 python3 c2`: process, the name of the thread, connection.
pub fn who(trace: &Trace, who: ConnId, tid: u32) -> String {
    let log = trace.log(who.log);
    let name = words::thread(trace, who, tid).map(str::to_owned).or_else(|| program(trace, who.log));
    let name = name.map_or_else(String::new, |name| format!(" {}", cut(&name, 15)));
    format!("{}{name} c{}{}", log.pid, who.conn, if who.forked { " (forked)" } else { "" })
}

fn program(trace: &Trace, log: LogId) -> Option<String> {
    let names = &trace.log(log).names;
    let name = names.argv().and_then(|argv| argv.first().copied()).or(names.exe())?;
    Some(base(name))
}

/// The command line of a process.
pub fn command(trace: &Trace, log: LogId) -> String {
    let argv = trace.log(log).names.argv().map(|argv| argv.join(" "));
    cut(&argv.or_else(|| program(trace, log)).unwrap_or_else(|| "(not named)".to_owned()), LONGEST)
}

/// Its blocker, or how many connections wait for it.
fn between(snapshot: &Snapshot, trace: &Trace, row: &Row) -> String {
    if row.waits() {
        let oldest = row.blockers.iter().max_by_key(|&&blocker| (snapshot.rows[blocker].age_ns(), Reverse(blocker)));
        let Some(&first) = oldest else { return outside(trace, row).unwrap_or_else(|| "for ?".to_owned()) };
        let by = snapshot.rows[first].who;
        let more = if row.blockers.len() > 1 { format!(" +{}", row.blockers.len() - 1) } else { String::new() };
        return format!("for {} c{}{more}", trace.log(by.log).pid, by.conn);
    }
    match row.blocks {
        0 => String::new(),
        blocks => format!("blocks {}", count(blocks as u64)),
    }
}

/// The untraced holder that the kernel named, if no traced connection blocks.
pub fn outside(trace: &Trace, row: &Row) -> Option<String> {
    let answer = trace.log(row.who.log).names.outside(row.who.conn, row.wants?.since)?;
    let first = answer.others().next()?;
    Some(format!("for untraced {first}"))
}

/// A statement's text, or its hash; `None` if none was running.
pub fn sql(trace: &Trace, who: ConnId, hash: u64) -> Option<String> {
    if hash == 0 {
        return None;
    }
    Some(words::sql_text(trace, who, hash).map_or_else(|| format!("sql {hash:016x}"), str::to_owned))
}

/// A database's path.
pub fn path(path: Option<&str>) -> String {
    path.map_or_else(|| "(not named)".to_owned(), |path| cut(path, LONGEST))
}

fn base(path: &str) -> String {
    cut(path.rsplit('/').next().unwrap_or(path), LONGEST)
}

/// A share of the time.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "?".to_owned(), |share| format!("{:.0} %", share * 100.0))
}

/// Bytes, in SQLite's units of a -wal: roughly.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// The bytes in a -wal since it was last restarted.
pub fn wal(wal: Option<(u64, bool)>) -> String {
    match wal {
        None => "-".to_owned(),
        Some((0, false)) => "?".to_owned(),
        Some((size, whole)) => format!("{}{}", if whole { "" } else { "≥ " }, bytes(size)),
    }
}

/// Whether a process runs. If it has ended: on how many connections it held locks then.
pub fn state(process: &ProcessRow) -> String {
    match (process.ended, process.held_at_end) {
        (false, _) => "followed".to_owned(),
        (true, 0) => "ended".to_owned(),
        (true, held) => format!("ended holding locks on {held}"),
    }
}

/// The processes to show: those with connections first, the most active ones first; those that have ended last.
pub fn processes(snapshot: &Snapshot, trace: &Trace, filter: &str) -> Vec<ProcessRow> {
    let filter = filter.to_lowercase();
    let found = |process: &ProcessRow| {
        let text = format!("{} {}", trace.log(process.log).pid, command(trace, process.log));
        filter.is_empty() || text.to_lowercase().contains(&filter)
    };
    let mut processes: Vec<ProcessRow> = snapshot.processes.iter().copied().filter(found).collect();
    let rank = |process: &ProcessRow| {
        (process.ended, Reverse(process.waiters), Reverse(process.holders), Reverse(process.connections), process.log)
    };
    processes.sort_by_key(rank);
    processes
}

/// The databases to show, as indices into those of the snapshot: the busiest first.
pub fn databases(snapshot: &Snapshot, filter: &str) -> Vec<usize> {
    let filter = filter.to_lowercase();
    let all = &snapshot.databases;
    let mut found: Vec<usize> = (0..all.len())
        .filter(|&index| filter.is_empty() || path(all[index].path.as_deref()).to_lowercase().contains(&filter))
        .collect();
    let ten = |index: usize| (all[index].occupied.map_or(0.0, |share| share.1) * 1e6) as u64;
    found.sort_by_key(|&index| (Reverse(all[index].waiters), Reverse(ten(index)), Reverse(all[index].holders), index));
    found
}
