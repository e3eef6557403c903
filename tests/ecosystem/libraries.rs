//! Several SQLites in one process, and languages other than Python.

use crate::packages::{self, skipped};
use crate::place::{Place, parts};
use crate::seen::{Seen, took_write};
use serde_json::{Value, json};

/// Which SQLite took the write lock with which statement, in order.
fn writers(seen: &Seen) -> Vec<(String, String)> {
    let writers = seen.records.iter().filter(|record| took_write(record));
    writers.map(|record| (seen.version(record).to_owned(), record["text"].as_str().unwrap_or("").to_owned())).collect()
}

/// A module beside Python's `sqlite3`, each with a SQLite of its own. They take turns: SQLite's locks do not keep two SQLites
/// of one process apart, and a program that relies on that is broken with us as without us.
fn beside_pythons_own(module: &str, own: &str) {
    let Some(python) = packages::python() else { return };
    let place = Place::new();
    let program = format!(
        "
import sqlite3, sys, {module}
system = sqlite3.connect('a.db', isolation_level=None)
{own}
system.execute('CREATE TABLE t(x)')
own.cursor().execute('BEGIN IMMEDIATE')
own.cursor().execute('COMMIT')
system.execute('INSERT INTO t VALUES (1)')
version = 'SELECT sqlite_version()'
print(system.execute(version).fetchone()[0], own.cursor().execute(version).fetchone()[0])
"
    );
    let extension = place.extension();
    let bare =
        parts(&place.command(&python).args(["-c", &program.replace("loader.", "None and loader."), &extension]).output().unwrap());
    assert_eq!(bare.0, Some(0), "{}", bare.2);
    std::fs::remove_file(place.path("a.db")).unwrap();
    let (code, out, err) = parts(&place.run(&[&python, "-c", &program, &extension]));
    assert_eq!((code, &out), (Some(0), &bare.1), "each call reaches its own SQLite, as without us: {err}");
    let [system, own] = out.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{out}") };
    let seen = Seen::of(&place);
    assert_ne!(system, own, "two SQLites");
    let mut versions = [system, own];
    versions.sort_unstable();
    let mut recorded: Vec<&str> = seen.logs()[0]["sqlite"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    recorded.sort_unstable();
    assert_eq!((seen.logs().len(), &*recorded), (1, &versions[..]));
    let say = |version: &str, sql: &str| (version.to_owned(), sql.to_owned());
    let expected = [say(system, "CREATE TABLE t(x)"), say(own, "BEGIN IMMEDIATE"), say(system, "INSERT INTO t VALUES (1)")];
    assert_eq!(writers(&seen), expected, "each once, and through its own SQLite");
}

/// It exports its SQLite: `run` reaches it.
#[test]
fn pysqlite3_beside_sqlite3() {
    beside_pythons_own("pysqlite3", "own = pysqlite3.connect('a.db', isolation_level=None)");
}

/// It hides its SQLite: `run` does not reach it, an extension does; `run` has the other one.
#[test]
fn apsw_beside_sqlite3() {
    beside_pythons_own(
        "apsw",
        "loader = apsw.Connection(':memory:')
loader.enable_load_extension(True)
loader.load_extension(sys.argv[1])
own = apsw.Connection('a.db')",
    );
}

/// A writer that holds its transaction, and another that is refused: what every language's test asserts.
fn one_refusal(seen: &Seen) {
    let refusals = seen.report["refusals"].as_array().unwrap();
    let [refusal] = &refusals[..] else { panic!("one refusal: {refusals:?}") };
    assert_eq!((&refusal["conn"], &refusal["text"]), (&json!(2), &json!("INSERT INTO t VALUES (2)")), "{refusal}");
    let [by] = &refusal["holders"].as_array().unwrap()[..] else { panic!("one holder: {refusal}") };
    let named: [&Value; 4] = [&by["conn"], &by["lock"], &by["text"], &by["certain"]];
    assert_eq!(named, [&json!(1), &json!("RESERVED"), &json!("BEGIN IMMEDIATE"), &json!(true)], "{refusal}");
}

/// Its SQLite is inside a module that hides it: the extension is loaded once, on a connection of its own.
#[test]
fn nodes_better_sqlite3_through_the_extension() {
    let Some(home) = packages::node() else { return };
    let place = Place::new();
    let program = "
const Database = require(process.argv[1] + '/node_modules/better-sqlite3');
if (process.argv[2]) new Database(':memory:').loadExtension(process.argv[2]).close();
const [one, other] = [new Database('a.db'), new Database('a.db', { timeout: 0 })];
one.exec('CREATE TABLE t(x)');
one.exec('BEGIN IMMEDIATE');
try { other.prepare('INSERT INTO t VALUES (2)').run(); } catch (error) { console.log(error.code); }
one.exec('COMMIT');
console.log(other.prepare('INSERT INTO t VALUES (3)').run().changes, one.pragma('integrity_check', { simple: true }));
";
    let node = |extension: &str| {
        let mut command = place.command("timeout");
        command.env("LOCKTRACE_DIR", place.path("locktrace-trace"));
        parts(&command.args(["30", "node", "-e", program, home.to_str().unwrap(), extension]).output().unwrap())
    };
    let bare = node("");
    assert_eq!((bare.0, &*bare.1), (Some(0), "SQLITE_BUSY\n1 ok\n"), "{}", bare.2);
    std::fs::remove_file(place.path("a.db")).unwrap();
    assert_eq!(node(&place.extension()), bare);
    let seen = Seen::of(&place);
    one_refusal(&seen);
    seen.had_loaded("better_sqlite3.node");
    seen.advises("no-busy-timeout", "no timeout can help");
}

/// Debian's gem uses the system's SQLite, which `run` reaches.
#[test]
fn rubys_sqlite3_gem() {
    let place = Place::new();
    let probe = place.command("timeout").args(["30", "ruby", "-rsqlite3", "-e", ""]).output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return skipped("there is no ruby with the sqlite3 gem (Debian: ruby, ruby-sqlite3)");
    }
    let program = "
one, other = SQLite3::Database.new('a.db'), SQLite3::Database.new('a.db')
one.execute('CREATE TABLE t(x)')
one.execute('BEGIN IMMEDIATE')
begin
  other.execute('INSERT INTO t VALUES (2)')
rescue SQLite3::BusyException => error
  puts error.message
end
one.execute('COMMIT')
other.execute('INSERT INTO t VALUES (3)')
puts one.get_first_value('SELECT count(*) FROM t')
";
    let (code, out, err) = parts(&place.run(&["ruby", "-rsqlite3", "-e", program]));
    assert_eq!((code, &*out), (Some(0), "database is locked\n1\n"), "{err}");
    let seen = Seen::of(&place);
    one_refusal(&seen);
    seen.had_loaded("sqlite3_native.so");
    seen.advises("no-busy-timeout", "no timeout can help");
}
