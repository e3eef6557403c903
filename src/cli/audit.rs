//! `locktrace audit`: finds processes that held locks at the same time although SQLite's rules exclude that.
#![forbid(unsafe_code)]

use super::io::{Failure, open, output, width};
use crate::analysis::audit::{Audit, AuditedHold, LEAST_NS, Violation};
use crate::report::human::{count, cut, duration};
use crate::report::losses;
use crate::trace::text::Clean;
use crate::trace::{Tally, Trace, total};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

/// Check every lock of every process against SQLite's rules.
///
/// SQLite allows one holder of RESERVED, one of PENDING, none beside EXCLUSIVE, and one holder of each exclusive wal-index lock. If two processes
/// certainly held locks that exclude each other at the same time, a lock was lost behind SQLite's back, and the database can be damaged. Either a
/// process opened and closed the database file beside SQLite, which drops all its POSIX locks on it, or the file system does not keep its locks.
/// Each violation names the records that prove it.
#[derive(clap::Args)]
#[command(after_long_help = "\
A violation is always certain: both holds were recorded from beginning to end, no record between
them was lost, and the clocks agree.

Examples:
  locktrace audit                         the trace in LOCKTRACE_DIR or ./locktrace-trace
  locktrace audit trace --kept            only what is left of a trace whose oldest records were overwritten
  locktrace audit trace --json | jq '.violations[].overlap_ns'

Exit codes:
  0  No violation.
  1  Violations.
  2  Cannot judge: records are missing (see --kept), nothing could be judged, or the trace cannot be
     read.")]
pub(super) struct AuditVerb {
    /// A trace directory, a file of JSON lines, or - for JSON lines on standard input
    ///
    /// Without it: the directory in LOCKTRACE_DIR, or ./locktrace-trace.
    trace: Option<PathBuf>,
    /// Write one JSON object
    #[arg(long)]
    json: bool,
    /// Judge only the records that are left: lost ones do not make the exit code 2
    #[arg(long)]
    kept: bool,
}

const ADVICE: &str = "A lock was lost while SQLite believed it had it. Look for code that opens and closes the database file beside SQLite \
                      (a copy, a checksum, a backup by file: closing any descriptor of it drops all the process's POSIX locks), for two SQLite \
                      libraries in one process, and at the file system; then run PRAGMA integrity_check.";

impl AuditVerb {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let trace = open(self.trace.as_deref())?;
        let audit = Audit::of(&trace)?;
        let mut out = output();
        if self.json {
            write_json(&trace, &audit, &mut out)?
        } else {
            write_text(&trace, &audit, width(), &mut out)?
        }
        out.flush()?;
        Ok(match () {
            () if !audit.violations.is_empty() => ExitCode::from(1),
            () if !audit.can_judge() || (lost(&audit) > 0 && !self.kept) => ExitCode::from(2),
            () => ExitCode::SUCCESS,
        })
    }
}

/// The records that are missing.
fn lost(audit: &Audit) -> u64 {
    total(audit.summary.tallies.iter().map(Tally::unread))
}

fn path<'t>(trace: &'t Trace, held: &AuditedHold) -> &'t str {
    trace.log(held.log).names.file(held.file).map_or("a database without a name", |file| file.path.text.as_str())
}

fn write_text(trace: &Trace, audit: &Audit, width: usize, out: &mut impl Write) -> io::Result<()> {
    for (number, violation) in (1..).zip(&audit.violations) {
        let Violation { first, second, overlap_ns } = violation;
        writeln!(
            out,
            "{number}. {}: held by two processes for {} [posix-lock-lost]",
            Clean(path(trace, first)),
            duration(*overlap_ns)
        )?;
        for held in [first, second] {
            let log = trace.log(held.log);
            let sql = log.names.sql(held.sql).map_or("", |sql| sql.text.text.as_str());
            let line = format!(
                "   pid {} c{} {}, records {} to {} of log {}  {sql}",
                log.pid, held.conn, held.lock, held.taken, held.given, log.id
            );
            writeln!(out, "{}", cut(line.trim_end(), width.max(100)))?;
        }
    }
    if audit.more > 0 {
        writeln!(out, "… and {} more", count(audit.more))?;
    }
    if !audit.violations.is_empty() {
        writeln!(out, "\n{ADVICE}\n")?;
    }
    let found = audit.violations.len() as u64 + audit.more;
    writeln!(
        out,
        "{} found{}. {} holds judged; {} used by more than one process.",
        match found {
            0 => "No violation".to_owned(),
            1 => "1 violation".to_owned(),
            more => format!("{} violations", count(more)),
        },
        match lost(audit) {
            0 => String::new(),
            1 => " in the records that are left; 1 is missing".to_owned(),
            more => format!(" in the records that are left; {} are missing", count(more)),
        },
        count(audit.judged),
        if audit.shared == 1 { "1 database".to_owned() } else { format!("{} databases", count(audit.shared)) }
    )?;
    if audit.doubtful > 0 {
        let what = "overlaps may be violations: some of the records between their proofs were lost";
        writeln!(out, "{} {what}.", count(audit.doubtful))?;
    }
    if audit.shared > 0 && audit.judged == 0 {
        writeln!(out, "Nothing could be judged: no hold was recorded from beginning to end.")?;
    }
    if audit.incomparable {
        writeln!(out, "Some logs have clocks that cannot be compared. Holds in such logs were not compared with each other.")?;
    }
    if audit.other > 0 {
        let what = "locks are of databases that are not judged: not on the VFS unix, or without a known device and inode";
        writeln!(out, "{} {what}.", count(audit.other))?;
    }
    for (log, tally) in trace.logs().iter().zip(&audit.summary.tallies).filter(|(_, tally)| tally.unread() > 0) {
        writeln!(out, "log {}: {}", log.id, losses(tally))?;
    }
    for problem in &audit.summary.problems {
        writeln!(out, "{problem}")?;
    }
    Ok(())
}

/// One object: `schema` (1), `least_ns` (a shorter overlap is none), `judged`, `shared`, `doubtful`, `other`, `incomparable`, `more`,
/// `lost` (the records that are missing), `overwritten` (of them, those that later ones replaced), and `violations[]` (`database`, `cause`, `overlap_ns`, `held[]`: the earlier first).
fn write_json(trace: &Trace, audit: &Audit, out: &mut impl Write) -> io::Result<()> {
    let held = |held: &AuditedHold| {
        let log = trace.log(held.log);
        json!({
            "pid": log.pid, "log": log.id, "connection": held.conn, "lock": held.lock.name(), "mode": held.lock.mode(), "tid": held.tid,
            "sql": log.names.sql(held.sql).map(|sql| sql.text.text.as_str()), "taken": held.taken, "given": held.given,
        })
    };
    let violations: Vec<Value> = audit
        .violations
        .iter()
        .map(|found| {
            json!({
                "database": path(trace, &found.first), "cause": "posix-lock-lost", "overlap_ns": found.overlap_ns,
                "held": [held(&found.first), held(&found.second)],
            })
        })
        .collect();
    let whole = json!({
        "schema": 1, "least_ns": LEAST_NS, "judged": audit.judged, "shared": audit.shared, "doubtful": audit.doubtful,
        "other": audit.other, "incomparable": audit.incomparable, "more": audit.more, "lost": lost(audit),
        "overwritten": total(audit.summary.tallies.iter().map(|tally| tally.overwritten)), "violations": violations,
    });
    serde_json::to_writer_pretty(&mut *out, &whole)?;
    out.write_all(b"\n")
}
