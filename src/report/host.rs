//! Which framework or driver a process uses, where its trace proves it.
//!
//! In come the names of a log: the command line, and the shape of its statements; out goes a [`Host`], or nothing. A guess would name the wrong setting: where
//! two hosts are possible, none is named.
#![forbid(unsafe_code)]

use crate::analysis::{Analysis, ConnId};
use crate::trace::Log;

/// A framework or driver whose settings have names of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    /// Django.
    Django,
    /// SQLAlchemy.
    SqlAlchemy,
    /// aiosqlite.
    Aiosqlite,
    /// better-sqlite3.
    BetterSqlite3,
    /// rusqlite.
    Rusqlite,
    /// Rails' Active Record.
    Rails,
    /// Python's own `sqlite3`, with nothing else known.
    Python,
}

/// The host of each log. Finding it reads every statement of a log, so that it is done once for a report.
pub struct Hosts(Vec<Option<Host>>);

impl Hosts {
    /// Those of a whole trace.
    pub fn of(analysis: &Analysis<'_>) -> Hosts {
        Hosts(analysis.trace.logs().iter().map(of_log).collect())
    }

    /// The host of a connection.
    pub fn host(&self, who: ConnId) -> Option<Host> {
        self.0.get(who.log.0 as usize).copied().flatten()
    }
}

fn of_log(log: &Log) -> Option<Host> {
    let names = &log.names;
    let command = names.argv().unwrap_or_default();
    let said = |what: &str| command.iter().any(|part| part.rsplit('/').next() == Some(what));
    let exe = names.exe().and_then(|exe| exe.rsplit('/').next()).unwrap_or_default();
    // Tables and savepoints that only these make.
    let any = |test: &dyn Fn(&str) -> bool| names.sqls().any(|sql| test(&sql.text.text));
    if said("manage.py") || said("django-admin") || any(&|sql| sql.contains("\"django_migrations\"") || is_django_savepoint(sql)) {
        return Some(Host::Django);
    }
    if any(&|sql| {
        sql.contains("\"schema_migrations\"") || sql.contains("\"ar_internal_metadata\"") || sql.contains("active_record_")
    }) {
        return Some(Host::Rails);
    }
    if any(&|sql| sql.starts_with("SAVEPOINT sa_savepoint_") || sql.contains("alembic_version")) {
        return Some(Host::SqlAlchemy);
    }
    let threads = || names.threads().any(|name| name.text.starts_with("_connection_worker"));
    if exe.starts_with("python") {
        return Some(if threads() { Host::Aiosqlite } else { Host::Python });
    }
    None
}

/// `SAVEPOINT "s140234_x1"`: a thread's number and a counter.
fn is_django_savepoint(sql: &str) -> bool {
    let Some(name) = sql.strip_prefix("SAVEPOINT \"s").and_then(|rest| rest.strip_suffix('"')) else { return false };
    name.split_once("_x").is_some_and(|(thread, counter)| {
        [thread, counter].iter().all(|digits| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn djangos_savepoints() {
        assert!(is_django_savepoint("SAVEPOINT \"s140234_x1\""));
        assert!(!is_django_savepoint("SAVEPOINT \"s_x1\"") && !is_django_savepoint("SAVEPOINT sa_savepoint_1"));
    }
}
