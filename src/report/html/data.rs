//! The data that the page's script draws, as one JSON object. `timeline/model.js` reads it.
//!
//! Times are whole nanoseconds (or ticks) since `origin`. A piece is eight numbers: what it is, the time since the beginning of the piece before, length,
//! flags, thread, statement, record, and the record that ended it plus one (0 = none).
#![forbid(unsafe_code)]

use super::bins::{Scale, letters};
use super::escape;
use super::fold::Drawn;
use super::overview::Overview;
use super::selection::{Listed, Selection};
use super::sqls::{Sqls, Statement};
use super::time::Unit;
use crate::analysis::{Analysis, LockId};
use crate::report::{fix, ranking, words};
use crate::trace::LogId;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// How many records of a proof are listed.
const EVIDENCE: usize = 24;

#[derive(Serialize)]
pub(super) struct Data {
    ticks: bool,
    /// Milliseconds since 1970 at `origin`; null if the times are ticks.
    origin_ms: Option<f64>,
    length: u64,
    locks: Vec<String>,
    dbs: Vec<String>,
    processes: Vec<String>,
    /// The names of threads, by the index of the process in `processes` and the thread's number: `0:1234`.
    threads: BTreeMap<String, String>,
    sql: Vec<Statement>,
    bins: (i64, u64),
    /// The refused attempts in each bin, relative to the bin with most. Empty if `incidents` has every incident.
    refused: String,
    /// `rows` has every hold: nothing is drawn as density.
    complete: bool,
    /// The command that explains an incident, but for its number.
    explain: String,
    windows: Vec<(i64, u64)>,
    rows: Vec<RowData>,
    incidents: Vec<IncidentData>,
    causes: BTreeMap<&'static str, [String; 2]>,
    /// The worst incident of the worst cause, which the timeline shows first.
    worst: Option<u32>,
}

#[derive(Serialize)]
struct RowData {
    db: Option<u32>,
    process: Option<u32>,
    name: String,
    tid: u32,
    connections: u64,
    holds: u64,
    density: Vec<(usize, String)>,
    pieces: Vec<u64>,
}

#[derive(Serialize)]
struct IncidentData {
    id: u32,
    db: Option<u32>,
    row: u32,
    at: Option<u64>,
    length: Option<u64>,
    ended: &'static str,
    cause: &'static str,
    also: Vec<&'static str>,
    lock: String,
    who: String,
    sql: u32,
    attempts: u32,
    blockers: Vec<BlockerData>,
    outside: Vec<String>,
    proof: Vec<(u32, u64, &'static str)>,
    more_proof: usize,
}

#[derive(Serialize)]
struct BlockerData {
    row: u32,
    who: String,
    lock: String,
    what: usize,
    from: Option<u64>,
    until: Option<u64>,
    sql: u32,
    last: u32,
    state: &'static str,
    certain: bool,
    same_thread: bool,
    number: u64,
}

/// How much the page draws one by one, and how much it does not.
pub(super) struct Counts {
    pub(super) holds: u64,
    pub(super) shown: u64,
    pub(super) complete: bool,
    pub(super) cut_statements: u64,
    pub(super) folded: u64,
}

/// The data, and the counts of what is not in it.
pub(super) fn of(
    analysis: &Analysis<'_>,
    overview: &mut Overview<'_, '_>,
    selection: &Selection,
    (drawn, place): (Vec<Drawn>, Vec<u32>),
) -> (Data, Counts) {
    let scale = overview.scale.unwrap_or(Scale::new(0));
    let firsts = drawn.iter().filter_map(|row| row.pieces.first()).map(|piece| piece.since);
    let incidents = selection.incidents.iter().filter_map(|listed| listed.from);
    // The first drawn piece may not be the first event of the trace.
    let begins = analysis.span.filter(|_| overview.time.unit == Unit::Nanoseconds).map(|(from, _)| from);
    let origin = firsts.chain(incidents).chain(begins).min().map_or(scale.origin, |first| first.min(scale.origin));
    let mut builder = DataBuilder {
        analysis,
        origin,
        place,
        sqls: Sqls::new(analysis.trace),
        processes: Vec::new(),
        by_log: HashMap::new(),
        threads: BTreeMap::new(),
    };
    let incidents: Vec<IncidentData> = selection.incidents.iter().map(|listed| builder.incident(listed)).collect();
    let mut counts = Counts { holds: overview.holds, shown: 0, complete: overview.all.is_some(), cut_statements: 0, folded: 0 };
    let mut rows = Vec::with_capacity(drawn.len());
    for mut row in drawn {
        counts.shown +=
            row.pieces.iter().filter(|piece| usize::from(piece.what.0) < LockId::COUNT && piece.flags & 8 == 0).count() as u64;
        counts.folded += if row.who.is_none() { row.connections } else { 0 };
        counts.complete &= row.who.is_some();
        rows.push(builder.row(&mut row, &scale, overview.all.is_some()));
    }
    counts.cut_statements = builder.sqls.cut;
    let until = overview.until.max(selection.incidents.iter().filter_map(|listed| listed.until).max().unwrap_or(0));
    let data = Data {
        ticks: overview.time.unit == Unit::Ticks,
        origin_ms: (overview.time.unit == Unit::Nanoseconds && analysis.records > 0).then_some(origin as f64 / 1e6),
        length: until.saturating_sub(origin),
        locks: LockId::all().map(|lock| lock.to_string()).collect(),
        dbs: analysis.databases.iter().map(database).collect(),
        processes: builder.processes,
        threads: builder.threads,
        sql: builder.sqls.all,
        refused: if selection.unlisted > 0 { letters(&overview.refused.of_most(&scale)) } else { String::new() },
        bins: (scale.origin.wrapping_sub(origin) as i64, scale.width),
        complete: counts.complete,
        explain: words::explain_command(analysis),
        windows: selection
            .windows
            .iter()
            .map(|window| (window.from.wrapping_sub(origin) as i64, window.until - window.from))
            .collect(),
        rows,
        incidents,
        causes: causes(analysis),
        worst: ranking::causes(analysis).first().map(|harm| harm.worst + 1),
    };
    (data, counts)
}

impl Data {
    /// Whether the timeline is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// The path of a database, for display.
pub(super) fn database(db: &crate::analysis::Database) -> String {
    db.paths.first().map_or_else(|| "(a database whose name was not recorded)".to_owned(), |path| escape::line(path, 300))
}

/// What each cause means, and what removes it.
fn causes(analysis: &Analysis<'_>) -> BTreeMap<&'static str, [String; 2]> {
    ranking::causes(analysis)
        .into_iter()
        .map(|harm| (harm.cause.id(), [harm.cause.entry().meaning.to_owned(), harm.fix.text()]))
        .collect()
}

struct DataBuilder<'a, 't> {
    analysis: &'a Analysis<'t>,
    origin: u64,
    place: Vec<u32>,
    sqls: Sqls<'a>,
    processes: Vec<String>,
    by_log: HashMap<LogId, u32>,
    threads: BTreeMap<String, String>,
}

impl DataBuilder<'_, '_> {
    fn process(&mut self, log: LogId) -> u32 {
        let next = self.processes.len() as u32;
        let number = *self.by_log.entry(log).or_insert(next);
        if number == next {
            self.processes.push(process(self.analysis, log));
        }
        number
    }

    fn thread(&mut self, log: LogId, tid: u32) {
        if tid == 0 {
            return;
        }
        let process = self.process(log);
        if let Some(name) = self.analysis.trace.log(log).names.thread(tid) {
            self.threads.entry(format!("{process}:{tid}")).or_insert_with(|| escape::line(&name.text, 60));
        }
    }

    fn row(&mut self, row: &mut Drawn, scale: &Scale, all: bool) -> RowData {
        let process = row.log.map(|log| self.process(log));
        let name = match row.who {
            Some(who) => format!("c{}{}", who.conn, if who.forked { " (forked)" } else { "" }),
            None if row.connections == 0 => "other connections".to_owned(),
            None => crate::report::style::many(row.connections, "more connection"),
        };
        if let Some(log) = row.log {
            self.thread(log, row.tid);
        }
        let mut before = self.origin;
        let mut last_tid = row.tid;
        let mut pieces = Vec::with_capacity(row.pieces.len() * 8);
        for piece in &row.pieces {
            let log = row.log.unwrap_or(LogId(0));
            if piece.tid != last_tid {
                last_tid = piece.tid;
                self.thread(log, piece.tid);
            }
            let sql = self.sqls.number(log, piece.sql);
            let end = piece.end_number.map_or(0, |number| number.saturating_add(1));
            pieces.extend([
                piece.what.0.into(),
                piece.since.saturating_sub(before),
                piece.length(),
                piece.flags.into(),
                piece.tid.into(),
                sql.into(),
                piece.number,
                end,
            ]);
            before = piece.since.max(before);
        }
        // If every piece is in the row, the density adds nothing.
        let density = if all && row.who.is_some() {
            Vec::new()
        } else {
            let shares = row.shares.iter_mut().enumerate();
            shares.filter_map(|(kind, shares)| Some((kind, letters(&shares.as_mut()?.shares(scale))))).collect()
        };
        RowData { db: row.db, process, name, tid: row.tid, connections: row.connections, holds: row.holds, density, pieces }
    }

    fn since(&self, at: Option<u64>) -> Option<u64> {
        at.map(|at| at.saturating_sub(self.origin))
    }

    fn incident(&mut self, listed: &Listed) -> IncidentData {
        let analysis = self.analysis;
        let incident = &analysis.incidents[listed.index as usize];
        let mut blockers = Vec::with_capacity(incident.blockers.len());
        for (blocker, drawn) in incident.blockers.iter().zip(&listed.blockers) {
            let holding = &analysis.blocking_holds[blocker.hold as usize];
            blockers.push(BlockerData {
                row: self.place[drawn.row as usize],
                who: escape::line(&words::who(analysis, holding.who, blocker.tid), 120),
                lock: holding.lock.to_string(),
                what: holding.lock.index(),
                from: self.since(drawn.since),
                until: self.since(drawn.until),
                sql: self.sqls.number(holding.who.log, holding.sql),
                last: self.sqls.number(holding.who.log, holding.last_sql),
                state: blocker.state.id(),
                certain: blocker.certain,
                same_thread: blocker.same_thread,
                number: holding.number,
            });
        }
        let proof = incident.evidence.iter().take(EVIDENCE);
        IncidentData {
            id: listed.index + 1,
            db: incident.db,
            row: self.place[listed.row as usize],
            at: self.since(listed.from),
            length: listed.from.zip(listed.until).map(|(from, until)| until.saturating_sub(from)),
            ended: incident.end.id(),
            cause: incident.cause.id(),
            also: incident.contributing.iter().map(|item| item.id()).collect(),
            lock: incident.request.to_string(),
            who: escape::line(&words::who(analysis, incident.who, incident.tid), 120),
            sql: self.sqls.number(incident.who.log, incident.sql),
            attempts: incident.attempts,
            blockers,
            outside: words::untraced_holders(analysis, incident).map(|outsider| escape::line(&outsider.to_string(), 200)).collect(),
            proof: proof.map(|item| (analysis.trace.log(item.log).pid, item.number, fix::shows(item.role))).collect(),
            more_proof: incident.evidence.len().saturating_sub(EVIDENCE),
        }
    }
}

/// A process, for display.
pub(super) fn process(analysis: &Analysis<'_>, log: LogId) -> String {
    let log = analysis.trace.log(log);
    let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
    let command = match log.names.argv() {
        Some(argv) if !argv.is_empty() => {
            let first = base(argv[0]);
            let rest = argv[1..].iter().take(4).map(|part| base(part));
            std::iter::once(first).chain(rest).collect::<Vec<_>>().join(" ")
        }
        _ => log.names.exe().map(base).unwrap_or_default(),
    };
    escape::line(format!("pid {} {command}", log.pid).trim_end(), 80)
}
