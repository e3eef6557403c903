//! `locktrace export --format sqlite`: a consistent database that agrees with `report --json`, and that a plain `sqlite3` reads.
#![allow(clippy::unwrap_used)]

use crate::common::Process;
use crate::hosts::{self, HOSTS};
use crate::place::{Place, parts};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use serde_json::Value;
use sqlite_locktrace::analysis::Options;
use sqlite_locktrace::export::{self, sqlite::Sqlite};
use sqlite_locktrace::trace::Trace;
use std::path::Path;
use std::process::Command;

/// The database of a trace.
fn exported(trace: &Path, to: &Path, events: bool) -> Connection {
    let trace = Trace::open(trace).unwrap();
    let _ = std::fs::remove_file(to);
    export::run(&trace, Options::default(), Box::new(Sqlite::create(&trace, to, events).unwrap())).unwrap();
    let db = Connection::open(to).unwrap();
    assert_eq!(lines(&db, "PRAGMA foreign_key_check"), "");
    assert_eq!(lines(&db, "PRAGMA integrity_check"), "ok");
    db
}

/// The rows of a query as lines.
fn lines(db: &Connection, sql: &str) -> String {
    let mut statement = db.prepare(sql).unwrap();
    let columns = statement.column_count();
    let cell = |cell: Cell| match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => number.to_string(),
        Cell::Text(text) => text,
        Cell::Blob(bytes) => format!("{bytes:02x?}"),
    };
    let rows = statement.query_map([], |row| {
        let cells: Result<Vec<String>, _> = (0..columns).map(|column| row.get::<_, Cell>(column).map(cell)).collect();
        Ok(cells?.join("|"))
    });
    rows.unwrap().collect::<Result<Vec<_>, _>>().unwrap().join("\n")
}

fn number(db: &Connection, sql: &str) -> i64 {
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn report(trace: &Path) -> Value {
    let place = Place::new();
    let (code, out, err) = parts(&place.locktrace(&["report", "--json", trace.to_str().unwrap()]));
    assert_eq!(code, Some(0), "{err}");
    serde_json::from_str(&out).unwrap()
}

/// The named keys of each object of an array, as lines.
fn picked(array: &Value, keys: &[&str]) -> String {
    let cell = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(yes) => u8::from(*yes).to_string(),
        other => other.to_string(),
    };
    let row =
        |object: &Value| keys.iter().map(|key| cell(object.pointer(key).unwrap_or(&Value::Null))).collect::<Vec<_>>().join("|");
    array.as_array().unwrap().iter().map(row).collect::<Vec<_>>().join("\n")
}

#[test]
fn it_says_what_the_report_says() {
    for host in &HOSTS {
        let dir = tempfile::tempdir().unwrap();
        let trace = dir.path().join("trace");
        std::fs::create_dir(&trace).unwrap();
        hosts::write(host, &trace);
        let db = exported(&trace, &dir.path().join("out.db"), true);
        let report = report(&trace);

        assert_eq!(Some(number(&db, "SELECT count(*) FROM events")), report["records"].as_i64());
        let causes = picked(&report["causes"], &["/id", "/count", "/gave_up", "/waited_ns", "/fix"]);
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(|line| line.replace("|NULL", "|0")).collect();
            lines.sort();
            lines.join("\n")
        };
        assert_eq!(sorted(&lines(&db, "SELECT cause, incidents, gave_up, waited_ns, fix FROM causes")), sorted(&causes));
        // The same from the incidents themselves.
        let by_incident = "SELECT i.cause, count(*), sum(i.outcome = 'gave-up'), sum(i.waited_ns), c.fix FROM incidents i JOIN causes c USING(cause)
            GROUP BY 1 HAVING max(i.fix = c.fix)";
        assert_eq!(sorted(&lines(&db, by_incident)), sorted(&causes));
        assert!(causes.lines().count() >= 3, "{causes}");
        let pairs = picked(&report["statements"], &["/victim", "/blocker", "/count", "/gave_up", "/waited_ns"]);
        assert_eq!(lines(&db, "SELECT victim, blocker, incidents, gave_up, waited_ns FROM statement_pairs ORDER BY id"), pairs);
        let from_blockers = "SELECT s.text, t.text, count(*), sum(outcome = 'gave-up'), sum(waited_ns) FROM incidents i
            JOIN blockers b ON b.incident = i.id AND b.position = 1 JOIN statements s ON s.id = i.statement JOIN statements t ON t.id = b.statement
            GROUP BY 1, 2";
        assert_eq!(sorted(&lines(&db, from_blockers)), sorted(&pairs));
        let incidents = [
            "/id",
            "/victim/sql_hash",
            "/cause",
            "/outcome",
            "/waited_ns",
            "/attempts",
            "/first",
            "/blockers/0/pid",
            "/blockers/0/state",
        ];
        assert_eq!(
            lines(
                &db,
                "SELECT i.id, s.hash, cause, outcome, waited_ns, i.attempts, first, pid, state FROM incidents i LEFT JOIN statements s ON s.id = i.statement
                 LEFT JOIN blockers b ON b.incident = i.id AND b.position = 1 ORDER BY 1"
            ),
            picked(&report["incidents"], &incidents)
        );
        assert_eq!(lines(&db, "SELECT hazard, what FROM hazards"), picked(&report["hazards"], &["/id", "/what"]));
        assert_eq!(!lines(&db, "SELECT 1 FROM hazards WHERE hazard = 'wal-reset-exposure'").is_empty(), host.sqlite != "3.54.1");

        // Sums over holds and refusals against the report's locks.
        let keys = [
            "/lock",
            "/mode",
            "/acquired",
            "/refused",
            "/held/count",
            "/held/max_ns",
            "/held/total_ns",
            "/unknown_holds",
            "/open_holds",
        ];
        let locks = picked(&report["databases"][0]["locks"], &keys).replace("|NULL|", "||").replace("|0||0|", "|0|0|0|");
        let in_table = "SELECT lock, mode, acquired, refused, held_count, coalesce(held_max_ns, 0), coalesce(held_total_ns, 0), unknown_holds, open_holds FROM locks";
        assert_eq!(sorted(&lines(&db, in_table)), sorted(&locks));
        let from_holds = "SELECT lock, mode, sum(seen) AS acquired, (SELECT count(*) FROM refusals r WHERE r.lock = h.lock AND r.mode = h.mode),
            count(*) FILTER (WHERE ended = 'released' AND held_ns IS NOT NULL), coalesce(max(held_ns) FILTER (WHERE ended = 'released'), 0),
            coalesce(sum(held_ns) FILTER (WHERE ended = 'released'), 0), count(*) FILTER (WHERE ended <> 'open' AND held_ns IS NULL),
            count(*) FILTER (WHERE ended = 'open') FROM holds h WHERE NOT lifetime OR ended = '?' GROUP BY 1, 2";
        // SHARED is acquired for the life of a connection here; the report counts that, and no hold of it.
        let others = |text: &str| sorted(text).lines().filter(|line| !line.starts_with("SHARED")).collect::<Vec<_>>().join("\n");
        assert_eq!(others(&lines(&db, from_holds)), others(&locks));

        // Every hold that is over took its part of some minutes; they add up.
        let held = number(&db, "SELECT sum(until_ns - since_ns) FROM holds WHERE lock = 'WRITE'") as f64;
        let occupied: f64 = db.query_row("SELECT sum(occupied) FROM write_occupancy", [], |row| row.get(0)).unwrap();
        assert!((occupied * 6e10 - held).abs() < 1e6, "{occupied} minutes, {held} ns");
        assert!(number(&db, "SELECT count(*) FROM write_occupancy WHERE occupied > 0.99") >= 2, "some minutes are full");
    }
}

#[test]
fn json_lines_give_the_same_database() {
    let dir = tempfile::tempdir().unwrap();
    hosts::write(&HOSTS[0], dir.path());
    let (a, b) = (dir.path().join("a.db"), dir.path().join("b.db"));
    let jsonl = dir.path().join("trace.jsonl");
    let place = Place::new();
    let path = dir.path().to_str().unwrap();
    let (code, lines_of_json, err) = parts(&place.locktrace(&["cat", path, "--json"]));
    assert_eq!(code, Some(0), "{err}");
    std::fs::write(&jsonl, lines_of_json).unwrap();
    let [a, b] = [exported(dir.path(), &a, true), exported(&jsonl, &b, true)];
    let tables = lines(&a, "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite%'");
    assert!(tables.lines().count() > 30, "{tables}");
    for table in tables.lines() {
        let all = format!("SELECT * FROM {table}");
        assert_eq!(lines(&a, &all), lines(&b, &all), "{table}");
    }
}

#[test]
fn a_plain_sqlite3_reads_every_view_and_the_schema_explains_itself() {
    let dir = tempfile::tempdir().unwrap();
    hosts::write(&HOSTS[0], dir.path());
    let path = dir.path().join("out.db");
    let db = exported(dir.path(), &path, true);
    let shell = |sql: &str| {
        let output = Command::new("timeout").args(["60", "sqlite3", "-bail", path.to_str().unwrap(), sql]).output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr)), (Some(0), "".into()), "{sql}");
        String::from_utf8(output.stdout).unwrap()
    };
    let views = lines(&db, "SELECT name FROM sqlite_schema WHERE type = 'view'");
    assert!(views.lines().count() >= 10, "{views}");
    for view in views.lines() {
        let found = shell(&format!("SELECT * FROM {view}"));
        assert!(!found.is_empty() || view == "lossy_processes", "{view} is empty");
        let comment = shell(&format!("SELECT sql LIKE '%  -- %' FROM sqlite_schema WHERE name = '{view}'"));
        assert_eq!(comment, "1\n", "{view} says what it is");
    }
    assert_eq!(shell("PRAGMA user_version; PRAGMA application_id; PRAGMA integrity_check"), "1\n1282102386\nok\n");
    assert!(shell(".schema holds").contains("-- from the end of the call that took it to until"));
    assert!(!shell("SELECT tbl, stat FROM sqlite_stat1").is_empty(), "ANALYZE was run");
    let plan = shell("EXPLAIN QUERY PLAN SELECT * FROM longest_holds LIMIT 5");
    assert!(plan.contains("holds_by_length") && !plan.contains("TEMP B-TREE"), "{plan}");
}

#[test]
fn the_rows_of_a_small_trace() {
    let dir = tempfile::tempdir().unwrap();
    hosts::write(&hosts::Host { name: "small", fights: 2, sqlite: "3.40.1", seed: 1 }, dir.path());
    let db = exported(dir.path(), &dir.path().join("out.db"), true);
    let mut found = String::new();
    for table in lines(&db, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'").lines() {
        let rows = lines(&db, &format!("SELECT * FROM {table}"));
        found.push_str(&format!("{table}\n  {}\n", rows.replace('\n', "\n  ")));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expected/export-sqlite.txt");
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&path).unwrap(), "UPDATE_EXPECTED=1 cargo test --test export writes it again");
}

#[test]
fn hostile_names_stay_what_they_are() {
    let long = format!("INSERT INTO t VALUES ('{}')", "x".repeat(1 << 20));
    let sqls = ["SELECT '; DROP TABLE holds; --", "a\0b", "\u{202e}<script>\"\u{fffd}", long.as_str()];
    let mut process = Process::new(7);
    process.names[0] = process.names[0].replace(r#""host":"h""#, r#""host":"'\"\u0000;--\n""#);
    process.name(r#"{"t":"file","file":5,"lib":0,"path":"/d/\ufffd'","path_bytes":"2f642fff27","dev":8,"ino":99,"fs":"x' OR 1"}"#);
    process.thread(101, "'); DROP TABLE threads; --\0");
    process.run("10 c1 open\n20 c1 SHARED -- first");
    for record in &mut process.records {
        record.file = 5;
    }
    for (at, sql) in (0..).zip(sqls) {
        process.run(&format!("{} c1 RESERVED\n{} c1 U(SHARED)", 100 + at * 10, 105 + at * 10));
        let hash = shim::format::sql_hash(sql.as_bytes());
        process.name(serde_json::json!({"t": "sql", "sql": format!("{hash:016x}"), "text": sql, "len": sql.len()}).to_string());
        let last = process.records.len();
        process.records[last - 2..].iter_mut().for_each(|record| (record.sql, record.file) = (hash, 5));
    }
    // A statement of which only the hash was kept, and one that is no UTF-8.
    process.records[1].sql = 0xffff_ffff_ffff_fffe;
    process.name(r#"{"t":"sql","sql":"00000000000000aa","text":"b\ufffd","text_bytes":"62ff","len":9}"#);
    process.run("900 c1 RESERVED");
    (process.records.last_mut().unwrap().sql, process.records.last_mut().unwrap().file) = (0xaa, 5);
    let dir = tempfile::tempdir().unwrap();
    process.write(dir.path());
    let db = exported(dir.path(), &dir.path().join("out'; --.db"), true);
    for sql in sqls {
        let found: i64 = db
            .query_row(
                "SELECT count(*) FROM holds h JOIN statements s ON s.id = h.statement WHERE s.text = ?1 AND lock = 'RESERVED'",
                [sql],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(found, 1, "{}", &sql[..5.min(sql.len())]);
    }
    assert_eq!(lines(&db, "SELECT path, path_bytes FROM databases"), "/d/\u{fffd}'|[2f, 64, 2f, ff, 27]");
    assert_eq!(
        lines(&db, "SELECT hash, text, text_bytes, length FROM statements WHERE text IS NULL OR text_bytes IS NOT NULL ORDER BY 1"),
        "00000000000000aa|b\u{fffd}|[62, ff]|9\nfffffffffffffffe|NULL|NULL|NULL"
    );
    assert_eq!(lines(&db, "SELECT name FROM threads"), "'); DROP TABLE threads; --\0");
    assert_eq!(lines(&db, "SELECT host FROM processes"), "'\"\0;--\n");
}

#[test]
fn traces_with_little_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let empty = Process::new(100);
    empty.write(dir.path());
    let out = dir.path().join("out.db");
    let db = exported(dir.path(), &out, true);
    assert_eq!(
        lines(
            &db,
            "SELECT (SELECT count(*) FROM processes), (SELECT count(*) FROM holds), (SELECT value FROM about WHERE key = 'records')"
        ),
        "1|0|0"
    );
    for view in lines(&db, "SELECT name FROM sqlite_schema WHERE type = 'view'").lines() {
        assert_eq!(lines(&db, &format!("SELECT * FROM {view}")), "", "{view}");
    }
    drop(db);

    // Only losses: a ring that promises what it has not.
    let mut lossy = Process::new(100);
    (lossy.header.capacity, lossy.header.head, lossy.header.lost_space, lossy.header.lost_names) = (1024, 900, 100, 3);
    lossy.header.last = None;
    lossy.write(dir.path());
    let db = exported(dir.path(), &out, false);
    assert_eq!(
        lines(&db, "SELECT head, read, lost, lost_names, head = read + overwritten + lost + empty + torn + missing FROM losses"),
        "900|0|100|3|1"
    );
    assert_eq!(lines(&db, "SELECT pid FROM lossy_processes"), "100");
    assert_eq!(lines(&db, "SELECT value FROM about WHERE key = 'records_not_read'"), "900");
    // One anchor gives no lengths.
    assert_eq!(number(&db, "SELECT lengths_known FROM processes"), 0);
}

#[test]
fn lengths_that_are_not_known_are_null() {
    let mut process = Process::new(100);
    process.header.last = None;
    process.run("10 c1 open\n20 c1 SHARED -- SELECT 1\n30 c1 U(NONE)\n40 c1 RESERVED=BUSY");
    let dir = tempfile::tempdir().unwrap();
    process.write(dir.path());
    let db = exported(dir.path(), &dir.path().join("out.db"), true);
    assert_eq!(lines(&db, "SELECT since, until, held_ns FROM holds"), "NULL|NULL|NULL");
    assert_eq!(lines(&db, "SELECT at, at_ns FROM refusals"), "NULL|NULL");
    assert_eq!(number(&db, "SELECT count(*) FROM events WHERE at IS NULL AND took_ns IS NULL"), 4);
}

/// Fewer in a debug build, where it would take a quarter of a minute.
const STATEMENTS: u64 = if cfg!(debug_assertions) { 5_000 } else { 100_000 };

#[test]
fn many_statements_and_many_processes() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::new(1);
    process.run("10 c1 open\n20 c1 SHARED -- SELECT 1\n30 c1 U(NONE)");
    let [shared, unlock] = [process.records[1], process.records[2]];
    for i in 0..STATEMENTS {
        let sql = format!("SELECT {i}");
        let hash = shim::format::sql_hash(sql.as_bytes());
        process.name(format!(r#"{{"t":"sql","sql":"{hash:016x}","text":"{sql}","len":{}}}"#, sql.len()));
        for record in [shared, unlock] {
            process.records.push(shim::format::record::Record { start: record.start + (i + 1) * 100_000, sql: hash, ..record });
        }
    }
    process.write(dir.path());
    for pid in 2..=500 {
        let mut process = Process::new(pid);
        process.run("10 c1 open\n20 c1 SHARED -- SELECT 1\n30 c1 U(NONE)\n40 c1 close");
        process.write(dir.path());
    }
    let db = exported(dir.path(), &dir.path().join("out.db"), false);
    assert_eq!(number(&db, "SELECT count(*) FROM statements"), STATEMENTS as i64);
    assert_eq!(number(&db, "SELECT count(DISTINCT statement) FROM holds"), STATEMENTS as i64);
    assert_eq!(lines(&db, "SELECT count(*), count(DISTINCT process), count(DISTINCT database) FROM connections"), "500|500|1");
    assert_eq!(lines(&db, "SELECT count(*), processes FROM databases"), "1|500");
}

#[test]
fn only_its_own_files_are_replaced() {
    let place = Place::new();
    hosts::write(&HOSTS[2], &{
        std::fs::create_dir(place.path("trace")).unwrap();
        place.path("trace")
    });
    let export = |to: &str| parts(&place.locktrace(&["export", "trace", "--format", "sqlite", "-o", to]));
    // A database of the user's, a text, a directory: left as they are.
    Connection::open(place.path("app.db")).unwrap().execute_batch("CREATE TABLE precious(x)").unwrap();
    std::fs::write(place.path("notes"), "precious").unwrap();
    for name in ["app.db", "notes", ".", "no/such/directory.db", "-"] {
        let before = std::fs::read(place.path(name)).ok();
        let (code, out, err) = export(name);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{name}: {err}");
        assert!(err.contains(if name == "-" { "standard output" } else { name }), "{name}: {err}");
        assert_eq!(std::fs::read(place.path(name)).ok(), before, "{name}");
        assert!(!place.path(&format!("{name}.partial")).exists());
    }
    // One of our own is replaced, and so is what an interrupted export left.
    let wrote = |(code, out, err): (Option<i32>, String, String)| {
        assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
        assert!(err.starts_with("locktrace: wrote trace.db: ") && err.lines().count() == 1, "{err}");
        assert!(!place.path("trace.db.partial").exists());
        std::fs::read(place.path("trace.db")).unwrap()
    };
    let first = wrote(export("trace.db"));
    std::fs::write(place.path("trace.db.partial"), "half").unwrap();
    assert!(wrote(export("trace.db")) == first);
    let (code, _, err) = parts(&place.locktrace(&["export", "trace", "-o", "trace.csv", "--events"]));
    assert_eq!(code, Some(2));
    assert!(err.contains("--events is for --format sqlite"), "{err}");
}
