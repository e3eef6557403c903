//! The rows of a dataset that come from the finished analysis: incidents, hazards, texts of statements, processes.
#![forbid(unsafe_code)]

use super::dataset::{Dataset, Day, day, place};
use super::part::Cell;
use super::{micros, some, tables};
use crate::analysis::framework::Frameworks;
use crate::analysis::{Analysis, ConnId, Hazard, Incident, LockId, State};
use crate::export::table_values::{self, TableValues, integer};
use crate::report::{fix, ranking, words};
use crate::trace::text::to_hex;
use crate::trace::{LogId, Trace};
use std::collections::{HashMap, HashSet};
use std::io;

/// Longest statement in a row of another table, in characters.
const SHOWN: usize = 1000;

pub(super) fn write(to: &mut Dataset, values: &TableValues<'_>, analysis: &Analysis<'_>) -> io::Result<()> {
    // If only a part of the incidents is kept, their files say so.
    let all: u64 = ranking::causes(analysis).iter().map(|cause| cause.count).sum();
    let listed = analysis.incidents.len() as u64;
    to.about.push(("locktrace.incidents_not_listed", all.saturating_sub(listed).to_string()));
    let frameworks = Frameworks::of(analysis.trace);
    let commands: Vec<Option<String>> = analysis.trace.logs().iter().map(|log| command(log.names.argv()?)).collect();
    for (number, incident) in (1..).zip(&analysis.incidents) {
        self::incident(to, values, analysis, (&frameworks, &commands), number, incident)?;
    }
    for hazard in &analysis.hazards {
        self::hazard(to, values, analysis, hazard)?;
    }
    statements(to, values, analysis.trace)?;
    processes(to, values, analysis, &commands)
}

fn command(argv: Vec<&str>) -> Option<String> {
    serde_json::to_string(&argv).ok()
}

/// The day on which a log began.
fn began(trace: &Trace, log: LogId) -> Day {
    day(integer(trace.log(log).first.real_ns))
}

/// The beginning of a statement's text.
fn shown(trace: &Trace, who: ConnId, hash: u64) -> Option<&str> {
    let text = words::sql_text(trace, who, hash)?;
    Some(text.char_indices().nth(SHOWN).map_or(text, |(end, _)| &text[..end]))
}

/// A text that may be unknown.
fn text(text: Option<&str>) -> Cell<'static, '_> {
    text.map_or(Cell::Null, Cell::Text)
}

fn incident(
    to: &mut Dataset,
    values: &TableValues<'_>,
    analysis: &Analysis<'_>,
    (frameworks, commands): (&Frameworks, &[Option<String>]),
    number: u64,
    incident: &Incident,
) -> io::Result<()> {
    let (trace, who) = (analysis.trace, incident.who);
    let log = trace.log(who.log);
    let first = values.at(who.log, incident.first);
    let contributing: Vec<&str> = incident.contributing.iter().map(|item| item.id()).collect();
    let (contributing, fix) = (contributing.join(" "), fix::of(analysis, frameworks, incident).text());
    let command = |log: LogId| commands.get(log.0 as usize).and_then(Option::as_deref);
    let lock = LockId::of(incident.request);
    let database = incident.db.and_then(|db| analysis.databases.get(db as usize)?.paths.first());
    let mut row = vec![
        Cell::Text(&log.id),
        Cell::count(number),
        Cell::int(micros(first)),
        Cell::int(first),
        Cell::int(analysis.ns(who.log, incident.first, incident.until).and_then(integer)),
        Cell::Int(incident.attempts.into()),
        Cell::Int(incident.sleeps.into()),
        Cell::Text(incident.end.id()),
        Cell::Text(incident.cause.id()),
        Cell::Text(&contributing),
        Cell::Text(&fix),
        Cell::Int(log.pid.into()),
        text(command(who.log)),
        Cell::int(some(incident.tid)),
        text(words::thread(trace, who, incident.tid)),
        Cell::Int(who.conn.into()),
        text(database.map(String::as_str)),
        Cell::Text(lock.name()),
        Cell::Text(table_values::mode(lock)),
        Cell::Hash(incident.sql),
        text(shown(trace, who, incident.sql)),
    ];
    let untraced: Vec<_> = words::untraced_holders(analysis, incident).collect();
    let blockers = incident.blockers.len() as u64 + u64::from(incident.more_blockers) + untraced.len() as u64;
    row.push(Cell::count(blockers));
    let outside = untraced.first().map(|holder| (holder.pid, holder.command(), holder.lock()));
    match (incident.blockers.first(), &outside) {
        (Some(blocker), _) => {
            let holding = &analysis.blocking_holds[blocker.hold as usize];
            let of = holding.who;
            row.extend([
                Cell::Text(&trace.log(of.log).id),
                Cell::Int(trace.log(of.log).pid.into()),
                text(command(of.log)),
                Cell::int(some(blocker.tid)),
                text(words::thread(trace, of, blocker.tid)),
                Cell::Int(of.conn.into()),
                Cell::Text(holding.lock.name()),
                Cell::Text(table_values::mode(holding.lock)),
                Cell::Hash(holding.sql),
                text(shown(trace, of, holding.sql)),
                Cell::Text(blocker.state.id()),
                Cell::Bool(blocker.certain),
                Cell::Bool(blocker.same_thread),
                Cell::int(blocker.held_before_ns.and_then(integer)),
                Cell::int(blocker.held_after_ns.and_then(integer)),
            ]);
        }
        (None, Some((pid, command, lock))) => {
            // The texts from the kernel's list of locks: `RESERVED`, `X WRITE`.
            row.extend([
                Cell::Null,
                Cell::int((*pid > 0).then_some(*pid)),
                Cell::Text(command),
                Cell::Null,
                Cell::Null,
                Cell::Null,
            ]);
            let (mode, lock) = table_values::outside(lock);
            row.extend([
                Cell::Text(lock),
                Cell::Text(mode),
                Cell::Null,
                Cell::Null,
                Cell::Text(State::Untraced.id()),
                Cell::Bool(false),
            ]);
        }
        (None, None) => {}
    }
    row.resize(tables::INCIDENTS.columns().count(), Cell::Null);
    to.push(place(&tables::INCIDENTS), who.log, day(first), &row)
}

fn hazard(to: &mut Dataset, values: &TableValues<'_>, analysis: &Analysis<'_>, hazard: &Hazard) -> io::Result<()> {
    let database = analysis.databases.get(hazard.db as usize);
    let evidence = hazard.evidence.first().copied();
    let any = database.and_then(|database| database.logs.first().copied());
    let id = evidence.map(|evidence| evidence.0).or(any).unwrap_or(LogId(0));
    let log = values.trace.log(id);
    let versions = log.names.sqlite_versions().join(", ");
    let row = [
        Cell::Text(&log.id),
        evidence.map_or(Cell::Null, |evidence| Cell::count(evidence.1)),
        Cell::Int(log.pid.into()),
        Cell::Text(&versions),
        database.and_then(|database| database.paths.first()).map_or(Cell::Null, |path| Cell::Text(path)),
        Cell::Text(hazard.kind.id()),
        Cell::Text(&hazard.what),
    ];
    to.push(place(&tables::HAZARDS), id, began(values.trace, id), &row)
}

fn statements(to: &mut Dataset, values: &TableValues<'_>, trace: &Trace) -> io::Result<()> {
    let mut written: HashSet<(usize, u64)> = HashSet::new();
    let mut days: HashMap<usize, Day> = HashMap::new();
    let logs = || (0..).map(LogId).zip(values.trace.logs());
    for (id, _) in logs() {
        let began = began(trace, id);
        days.entry(to.host(id)).and_modify(|day| *day = began.min(*day)).or_insert(began);
    }
    for (id, log) in logs() {
        let host = to.host(id);
        for (hash, sql) in log.names.numbered_sqls() {
            if written.insert((host, hash)) {
                let row = [Cell::Hash(hash), Cell::Text(&sql.text.text), Cell::count(sql.len)];
                to.push(place(&tables::STATEMENTS), id, days.get(&host).copied().flatten(), &row)?;
            }
        }
    }
    Ok(())
}

fn processes(to: &mut Dataset, values: &TableValues<'_>, analysis: &Analysis<'_>, commands: &[Option<String>]) -> io::Result<()> {
    for (id, log) in (0..).map(LogId).zip(values.trace.logs()) {
        let first = integer(log.first.real_ns);
        let tally = analysis.summary.tallies.get(id.0 as usize).copied().unwrap_or_default();
        let versions = log.names.sqlite_versions().join(", ");
        let boot = to_hex(&log.boot_id);
        let command = commands.get(id.0 as usize).and_then(Option::as_deref);
        let row = [
            Cell::Lasting(&log.id),
            Cell::Int(log.pid.into()),
            Cell::int(micros(first)),
            Cell::int(first),
            Cell::lasting(log.names.exe()),
            command.map_or(Cell::Null, Cell::Text),
            Cell::Text(&versions),
            Cell::lasting(log.names.policy()),
            if log.boot_id == [0; 16] { Cell::Null } else { Cell::Text(&boot) },
            Cell::Bool(values.trace.clock(id).ns_per_tick().is_some()),
            Cell::count(tally.head),
            Cell::count(tally.read),
            Cell::count(tally.overwritten),
            Cell::count(tally.lost),
            Cell::count(tally.empty),
            Cell::count(tally.torn),
            Cell::count(tally.missing),
            Cell::count(log.lost_names),
        ];
        to.push(place(&tables::PROCESSES), id, began(values.trace, id), &row)?;
    }
    Ok(())
}
