//! This test binary, started again as a child: a program on rusqlite's bundled SQLite.
//!
//! The environment gives it a role. With the role `host` it reads commands on standard input, one JSON object a line, and writes answers
//! behind a mark. The Python twin of the host is `tests/programs/host.py`.
//!
//! | `do` | keys | answer |
//! | --- | --- | --- |
//! | `version` | | `version` |
//! | `open` | `conn`, `path` (or a URI) | |
//! | `sql` | `conn`, `sql` | `rows` |
//! | `step` | `conn`, `sql`: steps once and leaves the statement busy | `row` |
//! | `reset` | `conn`: ends the statement of the newest `step` | |
//! | `close` | `conn` | |
//!
//! Every answer has `tid`, and where SQLite failed `error` and the extended `code`. With `thread`, a new thread of that name does it.

use super::host::MARK;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, Rows};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

/// The environment variable that makes this binary a child.
pub const ROLE: &str = "LOCKTRACE_TEST_ROLE";

#[test]
#[ignore = "the other tests start it as a child process"]
fn run() {
    match std::env::var(ROLE).as_deref() {
        Ok("host") => host(),
        Ok("load") => super::load::child(),
        Ok(role) => panic!("no such role: {role}"),
        // Somebody ran all ignored tests.
        Err(_) => {}
    }
}

/// Writes one answer.
pub fn say(answer: &impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    // The harness may have left its own line unfinished.
    writeln!(out, "\n{MARK}{answer}").and_then(|()| out.flush()).expect("the parent reads until the child ends");
}

/// The number of the calling thread.
pub fn tid() -> u32 {
    let link = std::fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

fn host() {
    sqlite_locktrace::Builder::new().install().unwrap();
    let mut connections = HashMap::new();
    let mut lines = std::io::stdin().lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
    serve(&mut connections, &mut lines, None);
}

type Connections = HashMap<String, Rc<Connection>>;

/// Does commands until there are no more, or until the statement of `stepping` is to be reset.
fn serve(connections: &mut Connections, lines: &mut dyn Iterator<Item = Value>, stepping: Option<&str>) {
    while let Some(command) = lines.next() {
        let name = command["conn"].as_str().unwrap_or_default().to_owned();
        match command["do"].as_str().unwrap() {
            "reset" => {
                assert_eq!(stepping, Some(&*name), "cursors end in the reverse order of their beginning");
                return;
            }
            "step" => {
                let connection = Rc::clone(&connections[&name]);
                step(&connection, connections, lines, &name, command["sql"].as_str().unwrap());
            }
            "close" => {
                let connection = Rc::try_unwrap(connections.remove(&name).unwrap()).expect("no statement of it is being stepped");
                say(&answered(connection.close().map(|()| Map::new()).map_err(|(_, error)| error)));
            }
            "open" if command["thread"].is_null() => {
                let opened = open(command["path"].as_str().unwrap());
                say(&answered(opened.map(|connection| {
                    connections.insert(name, Rc::new(connection));
                    Map::new()
                })));
            }
            "sql" => match command["thread"].as_str() {
                None => say(&answered(sql(&connections[&name], command["sql"].as_str().unwrap()))),
                Some(thread) => {
                    let connection = Rc::try_unwrap(connections.remove(&name).unwrap()).expect("it is not in use");
                    let text = command["sql"].as_str().unwrap();
                    let (connection, answer) = std::thread::scope(|scope| {
                        let work = || {
                            let answer = answered(sql(&connection, text));
                            (connection, answer)
                        };
                        let thread = std::thread::Builder::new().name(thread.to_owned()).spawn_scoped(scope, work);
                        thread.unwrap().join().unwrap()
                    });
                    connections.insert(name, Rc::new(connection));
                    say(&answer);
                }
            },
            "version" => say(&json!({"version": rusqlite::version_number()})),
            other => panic!("no such command: {other}"),
        }
    }
}

fn step(connection: &Connection, all: &mut Connections, lines: &mut dyn Iterator<Item = Value>, name: &str, text: &str) {
    let mut statement = match connection.prepare(text) {
        Ok(statement) => statement,
        Err(error) => return say(&answered(Err(error))),
    };
    let mut rows = statement.raw_query();
    match one(&mut rows) {
        Ok(row) => say(&answered(Ok(Map::from_iter([("row".to_owned(), row.into())])))),
        Err(error) => return say(&answered(Err(error))),
    }
    serve(all, lines, Some(name));
    drop(rows);
    drop(statement);
    say(&answered(Ok(Map::new())));
}

fn open(path: &str) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::ZERO)?;
    Ok(connection)
}

fn sql(connection: &Connection, text: &str) -> rusqlite::Result<Map<String, Value>> {
    let mut statement = connection.prepare(text)?;
    let mut rows = statement.raw_query();
    let mut all = Vec::new();
    while let Some(row) = one(&mut rows)? {
        all.push(row);
    }
    Ok(Map::from_iter([("rows".to_owned(), all.into())]))
}

fn one(rows: &mut Rows<'_>) -> rusqlite::Result<Option<Value>> {
    let Some(row) = rows.next()? else { return Ok(None) };
    let columns = row.as_ref().column_count();
    let values = (0..columns).map(|column| {
        Ok(match row.get::<_, Sql>(column)? {
            Sql::Null => Value::Null,
            Sql::Integer(number) => number.into(),
            Sql::Real(number) => number.into(),
            Sql::Text(text) => text.into(),
            Sql::Blob(bytes) => format!("{} bytes", bytes.len()).into(),
        })
    });
    values.collect::<rusqlite::Result<Vec<Value>>>().map(|row| Some(row.into()))
}

fn answered(result: rusqlite::Result<Map<String, Value>>) -> Value {
    let mut answer = result.unwrap_or_else(|error| {
        let code = error.sqlite_error().map(|error| error.extended_code);
        let text = match &error {
            rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
            other => other.to_string(),
        };
        Map::from_iter([("error".to_owned(), text.into()), ("code".to_owned(), code.into())])
    });
    answer.insert("tid".to_owned(), tid().into());
    answer.into()
}
