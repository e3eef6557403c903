//! Questions that a database of `locktrace export --format sqlite` answers: who waited for whom. Queries that should use an index use it.
#![allow(clippy::unwrap_used)]

use crate::common::Process;
use crate::hosts::{self, Host};
use rusqlite::Connection;
use shim::event::Flags;
use sqlite_locktrace::analysis::Options;
use sqlite_locktrace::export::{self, sqlite::Sqlite};
use sqlite_locktrace::trace::Trace;
use std::path::Path;
use std::process::Command;

fn exported(trace: &Path, to: &Path) -> Connection {
    let trace = Trace::open(trace).unwrap();
    export::run(&trace, Options::default(), Box::new(Sqlite::create(&trace, to, true).unwrap())).unwrap();
    Connection::open(to).unwrap()
}

/// The rows of a query, as JSON arrays.
fn rows(db: &Connection, columns: &str, rest: &str) -> Vec<String> {
    let mut statement = db.prepare(&format!("SELECT json_array({columns}) {rest}")).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn waits_are_shared_out_among_whom_they_were_for() {
    let dir = tempfile::tempdir().unwrap();
    hosts::waiters(dir.path());
    let db = exported(dir.path(), &dir.path().join("out.db"));
    let columns = "incident, statement, thread, wants, round(waited_ms, 3), position, blocker_pid, blocker_connection, blocker_statement, blocker_lock,
                   round(share_ms, 4), outcome";
    assert_eq!(
        rows(&db, columns, "FROM waits ORDER BY incident, position"),
        [
            // Three attempts were refused by the one reader, two by the other.
            r#"[1,"UPDATE t","worker","EXCLUSIVE",8.502,1,100,1,"SELECT one","SHARED",5.1012,"succeeded-after-wait"]"#,
            r#"[1,"UPDATE t","worker","EXCLUSIVE",8.502,2,100,2,"SELECT two","SHARED",3.4008,"succeeded-after-wait"]"#,
            r#"[2,"SELECT nobody",null,"RESERVED",0.002,null,null,null,null,null,0.002,"gave-up"]"#,
        ]
    );
    assert_eq!(rows(&db, "incident", "FROM waits"), ["[1]", "[1]", "[2]"], "longest first");
    assert_eq!(rows(&db, "attempts, sleeps, slept_us", "FROM incidents"), ["[3,3,8000]", "[1,0,0]"]);
}

/// One waits for one that waits for another: the incidents are linked as `explain` shows them.
#[test]
fn who_is_in_the_way_may_wait_itself() {
    let mut process = Process::new(100);
    process.run(
        "10 c1 open\n20 c2 open\n30 c3 open
         100 c1 SHARED -- SELECT 1
         200 c2 SHARED -- UPDATE a
         300 c2 RESERVED -- UPDATE a
         400 c2 EXCLUSIVE=BUSY -- UPDATE a
         500 c3 SHARED -- UPDATE b
         600 c3 RESERVED=BUSY -- UPDATE b
         610+1000 c3 sleep 1000
         620+2000 c2 sleep 2000
         1700 c3 RESERVED=BUSY -- UPDATE b
         1800 c3 U(NONE) -- UPDATE b
         2700 c2 EXCLUSIVE=BUSY -- UPDATE a
         2800 c2 U(NONE) -- UPDATE a
         3000 c1 U(NONE)",
    );
    let dir = tempfile::tempdir().unwrap();
    process.write(dir.path());
    let db = exported(dir.path(), &dir.path().join("out.db"));
    let links = rows(
        &db,
        "s.text, b.state, i.id, b.waits_in",
        "FROM incidents i JOIN blockers b ON b.incident = i.id JOIN statements s ON s.id = i.statement ORDER BY i.id",
    );
    assert_eq!(links, [r#"["UPDATE a","running",1,null]"#, r#"["UPDATE b","waiting",2,1]"#]);
}

/// A connection that came by a fork is not the one that has its number here.
#[test]
fn a_forked_connection_is_another_one() {
    let mut process = Process::new(100);
    process.run("10 c1 open\n20 c1 SHARED\n30 c1 U(NONE)");
    let mut forked = process.records[1..].to_vec();
    for record in &mut forked {
        (record.flags, record.start) = (record.flags.with(Flags::FORKED), record.start + 100_000);
    }
    process.records.extend(forked);
    let dir = tempfile::tempdir().unwrap();
    process.write(dir.path());
    let db = exported(dir.path(), &dir.path().join("out.db"));
    let holds = rows(&db, "c.number, c.forked", "FROM holds h JOIN connections c ON c.id = h.connection ORDER BY h.id");
    assert_eq!(holds, ["[1,0]", "[1,1]"]);
}

/// A hold that ended before anybody saw has no length: what is known is by when it was over.
#[test]
fn a_hold_whose_end_nobody_saw_has_no_length() {
    let mut process = Process::new(100);
    process.run("10 c1 open\n20 c1 SHARED\n30 c1 U(NONE)\n40 c1 SHARED\n50 c1 U(NONE)");
    process.records.remove(2);
    let dir = tempfile::tempdir().unwrap();
    process.write(dir.path());
    let db = exported(dir.path(), &dir.path().join("out.db"));
    let holds = rows(&db, "ended, held_ns, until_ns - since_ns", "FROM holds ORDER BY id");
    assert_eq!(holds, [r#"["unseen",null,20000]"#, r#"["released",8000,10000]"#]);
}

#[test]
fn shares_add_up_to_what_was_waited() {
    let dir = tempfile::tempdir().unwrap();
    hosts::write(&hosts::HOSTS[0], dir.path());
    let db = exported(dir.path(), &dir.path().join("out.db"));
    let off = rows(
        &db,
        "sum(w.share_ms), i.waited_ns",
        "FROM waits w JOIN incidents i ON i.id = w.incident GROUP BY i.id HAVING abs(sum(w.share_ms) - i.waited_ns / 1e6) > 1e-6",
    );
    assert_eq!(off, Vec::<String>::new());
    let lost = rows(&db, "count(*)", "FROM incidents WHERE id NOT IN (SELECT incident FROM waits)");
    assert_eq!(lost, ["[0]"]);
    // By whom was most waited for? The same as in statement_pairs, where one hold blocked each.
    let by_blocker = "FROM waits GROUP BY statement, blocker_statement ORDER BY statement, blocker_statement";
    let from_pairs = "FROM statement_pairs ORDER BY victim, blocker";
    assert_eq!(
        rows(&db, "statement, blocker_statement, count(*), round(sum(share_ms), 3)", by_blocker),
        rows(&db, "victim, blocker, incidents, round(waited_ns / 1e6, 3)", from_pairs)
    );
}

/// The questions of docs/export.md, asked with the stock shell.
#[test]
fn the_documentation_asks_what_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    hosts::waiters(dir.path());
    let path = dir.path().join("out.db");
    drop(exported(dir.path(), &path));
    let readme = include_str!("../../docs/export.md");
    let asked: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("sqlite> SELECT")).collect();
    assert!(asked.len() >= 2, "{asked:?}");
    let answers = asked.iter().map(|rest| {
        let output = Command::new("sqlite3").arg(&path).arg(format!("SELECT{rest}")).output().unwrap();
        assert!(output.status.success(), "{rest}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    });
    let answers: Vec<String> = answers.collect();
    assert!(answers[0].starts_with("8.502|UPDATE t|100|SELECT one|running\n"), "{answers:?}");
    assert!(answers[1].starts_with("SELECT one|5.10"), "{answers:?}");
}

/// Which tables a query goes through from end to end, and which it looks up: the steps of its plan, of the SQLite that comes with us and of the stock one.
fn plans(db: &Connection, path: &Path, sql: &str) -> [Vec<String>; 2] {
    let mut statement = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let ours = statement.query_map([], |row| row.get("detail")).unwrap().collect::<Result<_, _>>().unwrap();
    let shell = Command::new("sqlite3").arg(path).arg(format!("EXPLAIN QUERY PLAN {sql}")).output().unwrap();
    assert!(shell.status.success(), "{sql}: {}", String::from_utf8_lossy(&shell.stderr));
    // As a tree: `   |--SCAN d`.
    let tree = String::from_utf8(shell.stdout).unwrap();
    [ours, tree.lines().filter_map(|line| Some(line.split_once("--")?.1.to_owned())).collect()]
}

/// What the documentation offers to ask, and what there is an index for. The large tables are `events`, `holds`, `refusals`, and those of incidents where
/// all of them are kept.
#[test]
fn questions_use_the_indexes_that_are_there_for_them() {
    let dir = tempfile::tempdir().unwrap();
    hosts::write(&Host { name: "busy", fights: 1_000, sqlite: "3.40.1", seed: 1 }, dir.path());
    let path = dir.path().join("out.db");
    let db = exported(dir.path(), &path);
    assert!(db.query_row("SELECT count(*) FROM events", [], |row| row.get::<_, i64>(0)).unwrap() > 10_000);
    let questions = [
        ("SELECT * FROM longest_holds LIMIT 10", "SEARCH h USING INDEX holds_by_length"),
        ("SELECT * FROM hold_details WHERE id = 7", "SEARCH h USING INTEGER PRIMARY KEY"),
        ("SELECT * FROM hold_details WHERE statement_hash = 'x'", "SEARCH h USING INDEX holds_by_statement"),
        (
            "SELECT * FROM holds WHERE database = 0 AND lock = 'WRITE' AND mode = 'EXCLUSIVE' AND since_ns BETWEEN 1 AND 2",
            "SEARCH holds USING INDEX holds_by_lock",
        ),
        ("SELECT * FROM holds WHERE connection = 7 AND record = 9", "SEARCH holds USING INDEX holds_by_record"),
        ("SELECT * FROM write_occupancy", "SCAN holds USING INDEX holds_of_writers"),
        ("SELECT * FROM waits LIMIT 10", "SCAN i USING INDEX incidents_by_length"),
        ("SELECT * FROM waits WHERE incident = 7", "SEARCH i USING INTEGER PRIMARY KEY"),
        ("SELECT * FROM incident_details WHERE id = 7", "SEARCH i USING INTEGER PRIMARY KEY"),
        ("SELECT * FROM errors", "SCAN i"),
        ("SELECT * FROM incidents WHERE cause = 'no-busy-timeout'", "SEARCH incidents USING INDEX incidents_by_cause"),
        ("SELECT * FROM incidents WHERE first_ns BETWEEN 1 AND 2", "SEARCH incidents USING INDEX incidents_by_time"),
        ("SELECT * FROM idle_in_transaction", "SEARCH b USING INDEX blockers_by_state"),
        ("SELECT * FROM refusals_by_statement", "SCAN r USING INDEX refusals_by_statement_"),
        ("SELECT * FROM refusals WHERE database = 0 AND at_ns BETWEEN 1 AND 2", "SEARCH refusals USING INDEX refusals_by_time"),
        ("SELECT * FROM events WHERE at_ns BETWEEN 1 AND 2", "SEARCH events USING INDEX events_by_time"),
        (
            "SELECT v.* FROM evidence e JOIN events v ON v.process = e.process AND v.record = e.record WHERE e.incident = 7",
            "SEARCH v USING INDEX events_by_record",
        ),
    ];
    let large = ["h", "holds", "v", "events", "r", "refusals", "i", "incidents", "b", "blockers", "e", "evidence"];
    for (sql, step) in questions {
        for steps in plans(&db, &path, sql) {
            let at = steps.iter().position(|found| found.starts_with(step)).unwrap_or_else(|| panic!("{sql}: {steps:#?}"));
            // Not once for each row of something else.
            let inside = steps[..at].iter().any(|before| before.starts_with("SCAN") && !before.starts_with("SCAN e"));
            assert!(step.starts_with("SEARCH") || !inside, "{sql}: {steps:#?}");
            // Nothing else that may be large is gone through, and nothing is sorted where the beginning of an order is asked for.
            let through = |found: &str| {
                let table = found.strip_prefix("SCAN ")?.split(' ').next()?;
                (large.contains(&table) && !found.starts_with(step)).then(|| found.to_owned())
            };
            let through: Vec<String> = steps.iter().filter_map(|found| through(found)).collect();
            assert!(through.is_empty(), "{sql}: {steps:#?}");
            assert!(!sql.contains("LIMIT") || steps.iter().all(|found| !found.contains("TEMP B-TREE")), "{sql}: {steps:#?}");
        }
    }
    let views: Vec<String> = rows(&db, "name", "FROM sqlite_schema WHERE type = 'view'");
    let small = ["who_blocks_whom", "causes_by_harm", "hazards_by_database", "lossy_processes"];
    for view in views.iter().map(|view| view.trim_matches(|c| "[]\"".contains(c))) {
        assert!(small.contains(&view) || questions.iter().any(|(sql, _)| sql.contains(view)), "{view} is asked");
    }
}
