//! `locktrace demo`: a built-in contended workload, recorded and reported.
//!
//! The workload is a small shop: two web processes of four threads each, an importer that reads before it writes, and a billing process that keeps
//! a write transaction open while it waits for a slow service. They are real processes on a real database,
//! and their timing is not scripted, so every run differs a little. Each is this program again, with a hidden `--role`.
#![forbid(unsafe_code)]

use super::io::quote::quoted;
use super::io::{Failure, output, width};
use crate::Builder;
use crate::analysis::{Analysis, Options};
use crate::report::text;
use crate::trace::Trace;
use rusqlite::{Connection, ErrorCode, OptionalExtension, TransactionBehavior};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Record a contended workload and report it, in a few seconds.
///
/// Starts four processes with ten connections on one database: web requests, an importer, and a billing job that holds a write
/// transaction while it waits for something else. Then prints the report.
#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  locktrace demo                   about two seconds of contention, then the report
  locktrace demo --seconds 10 -o /tmp/shop
  locktrace cat /tmp/shop/trace    prints every record

Exit codes:
  0  The workload was recorded and reported.
  2  Wrong usage, or the directory cannot be used.")]
pub(super) struct Demo {
    /// The directory for the database and the trace; it must be empty or new
    ///
    /// The default is a new directory among the temporary files. It is kept in both cases.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// How many seconds the workload runs
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    #[arg(long, hide = true)]
    role: Option<Role>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Role {
    Web,
    Import,
    Billing,
}

/// The results of one connection.
#[derive(Clone, Copy, Default, Debug)]
struct Done {
    ok: u64,
    locked: u64,
}

const CREW: [Role; 4] = [Role::Web, Role::Web, Role::Import, Role::Billing];

impl Demo {
    pub(super) fn run(self) -> Result<(), Failure> {
        let length = Duration::from_secs(self.seconds);
        if let (Some(role), Some(dir)) = (self.role, &self.output) {
            return work(role, dir, length).map_err(|error| Failure::Other(format!("demo {role:?}: {error}")));
        }
        let dir = fresh_dir(self.output)?;
        let database = dir.join("shop.db");
        let traces = dir.join("trace");
        prepare(&database).map_err(|error| Failure::Other(format!("{}: {error}", database.display())))?;
        if std::io::stderr().is_terminal() {
            eprintln!("{} processes contend for {} during {} s …", CREW.len(), database.display(), self.seconds);
        }
        let done = play(&dir, &traces, self.seconds)?;

        let trace = Trace::open(&traces)?.named(quoted(traces.as_os_str()));
        let analysis = Analysis::of(&trace, Options { longest: 5, ..Options::default() })?;
        let mut out = output();
        writeln!(
            out,
            "The application did {} statements and transactions, and got \"database is locked\" {} times. locktrace's view:\n",
            done.ok, done.locked
        )?;
        text::write(&analysis, text::Style { width: width(), refusals: 5 }, &mut out)?;
        writeln!(out, "\nThe trace is in {0}. To see more of it:", traces.display())?;
        writeln!(out, "  locktrace report {} --all", traces.display())?;
        writeln!(out, "  locktrace cat {}", traces.display())?;
        out.flush()?;
        Ok(())
    }
}

/// The directory to use: the one asked for if it is empty or new, or a new one.
fn fresh_dir(asked: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let dir = asked.unwrap_or_else(|| std::env::temp_dir().join(format!("locktrace-demo-{}", std::process::id())));
    let fail = |error: std::io::Error| Failure::Other(format!("{}: {error}", dir.display()));
    std::fs::create_dir_all(&dir).map_err(fail)?;
    if std::fs::read_dir(&dir).map_err(fail)?.next().is_some() {
        return Err(Failure::Other(format!(
            "{} is not empty: give a directory that is empty or does not exist yet",
            dir.display()
        )));
    }
    Ok(std::path::absolute(&dir).unwrap_or(dir))
}

/// Creates the database before the workload starts; not traced.
fn prepare(path: &Path) -> rusqlite::Result<()> {
    let db = Connection::open(path)?;
    db.pragma_update(None, "journal_mode", "wal")?;
    db.execute_batch(
        "CREATE TABLE stock(item INTEGER PRIMARY KEY, count INTEGER NOT NULL);
         CREATE TABLE orders(id INTEGER PRIMARY KEY, item INTEGER NOT NULL, paid INTEGER NOT NULL DEFAULT 0);
         WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 500)
         INSERT INTO stock SELECT i, 1000 FROM n;",
    )
}

/// Starts the crew, waits for it, and adds up its results.
fn play(dir: &Path, traces: &Path, seconds: u64) -> Result<Done, Failure> {
    let program = std::env::current_exe().map_err(|error| Failure::Other(format!("cannot find this program: {error}")))?;
    let mut children = Vec::new();
    for role in CREW {
        let role =
            <Role as clap::ValueEnum>::to_possible_value(&role).map_or_else(String::new, |value| value.get_name().to_owned());
        let child = Command::new(&program)
            .args(["demo", "--role", &role, "--seconds", &seconds.to_string(), "--output"])
            .arg(dir)
            .env("LOCKTRACE_DIR", traces)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::Other(format!("cannot start {}: {error}", program.display())))?;
        children.push((role, child));
    }
    let mut sum = Done::default();
    for (role, child) in children {
        let out = child.wait_with_output().map_err(|error| Failure::Other(format!("demo {role}: {error}")))?;
        let said = String::from_utf8_lossy(&out.stdout);
        let mut numbers = said.split_whitespace().map(str::parse::<u64>);
        match (out.status.success(), numbers.next(), numbers.next()) {
            (true, Some(Ok(ok)), Some(Ok(locked))) => {
                sum.ok += ok;
                sum.locked += locked;
            }
            _ => return Err(Failure::Other(format!("demo {role} ended with {}", out.status))),
        }
    }
    Ok(sum)
}

/// Runs one process of the crew. Prints how many statements succeeded and how many got "database is locked".
fn work(role: Role, dir: &Path, length: Duration) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    Builder::new().install()?;
    let (database, end) = (dir.join("shop.db"), Instant::now() + length);
    let job = |number: usize| -> rusqlite::Result<Done> {
        let mut db = Connection::open(&database)?;
        db.pragma_update(None, "synchronous", "NORMAL")?;
        let mut done = Done::default();
        for turn in (number as i64 * 7..).take_while(|_| Instant::now() < end) {
            let result = match role {
                Role::Web => request(&mut db, turn),
                Role::Import => import(&mut db, turn),
                Role::Billing => bill(&mut db),
            };
            match result {
                Ok(()) => done.ok += 1,
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => done.locked += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    };
    let threads = if role == Role::Web { 4 } else { 1 };
    let results: Vec<rusqlite::Result<Done>> = std::thread::scope(|scope| {
        let spawn = |number| {
            let name = format!("{role:?}-{number}").to_lowercase();
            std::thread::Builder::new().name(name).spawn_scoped(scope, move || job(number))
        };
        let handles: Vec<_> = (0..threads).map(spawn).collect();
        let join = |handle: std::io::Result<std::thread::ScopedJoinHandle<'_, _>>| match handle.map(|handle| handle.join()) {
            Ok(Ok(result)) => result,
            _ => Ok(Done::default()),
        };
        handles.into_iter().map(join).collect()
    });
    let mut sum = Done::default();
    for done in results {
        let done = done?;
        sum.ok += done.ok;
        sum.locked += done.locked;
    }
    println!("{} {}", sum.ok, sum.locked);
    Ok(())
}

/// A request: a lookup and now and then a write, with a timeout shorter than billing's transaction.
fn request(db: &mut Connection, turn: i64) -> rusqlite::Result<()> {
    db.busy_timeout(Duration::from_millis(50))?;
    let item = turn % 500 + 1;
    let count: Option<i64> = db.query_row("SELECT count FROM stock WHERE item = ?1", [item], |row| row.get(0)).optional()?;
    if turn % 4 == 0 && count.is_some() {
        db.execute("INSERT INTO orders(item) VALUES(?1)", [item])?;
    }
    std::thread::sleep(Duration::from_millis(2));
    Ok(())
}

/// The importer reads and then writes in one deferred transaction. SQLite refuses it at once if another connection wrote or is writing.
fn import(db: &mut Connection, turn: i64) -> rusqlite::Result<()> {
    db.busy_timeout(Duration::from_secs(5))?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Deferred)?;
    let total: i64 = transaction.query_row("SELECT sum(count) FROM stock", [], |row| row.get(0))?;
    std::thread::sleep(Duration::from_millis(5));
    let changed = transaction.execute("UPDATE stock SET count = count + 1 WHERE item = ?1", [(turn + total) % 500 + 1]);
    changed.and_then(|_| transaction.commit())?;
    std::thread::sleep(Duration::from_millis(10));
    Ok(())
}

/// Billing marks orders as paid, and calls its payment service before it commits.
fn bill(db: &mut Connection) -> rusqlite::Result<()> {
    db.busy_timeout(Duration::from_secs(5))?;
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute("UPDATE orders SET paid = 1 WHERE paid = 0", [])?;
    std::thread::sleep(Duration::from_millis(120)); // the payment service
    transaction.commit()?;
    std::thread::sleep(Duration::from_millis(200));
    Ok(())
}
