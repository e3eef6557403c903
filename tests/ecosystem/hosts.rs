//! Fixes in the words of the framework: each program reads and then writes in one transaction while another connection writes.

use crate::packages;
use crate::place::{Place, parts};
use crate::seen::Seen;

/// What they have in common: a WAL database, and a writer in a thread of its own between `held` and `refused`.
const BESIDE_A_WRITER: &str = "
import sqlite3, threading

sqlite3.connect('app.db').executescript('PRAGMA journal_mode=WAL; CREATE TABLE t(x)')
held, refused = threading.Event(), threading.Event()


def write():
    db = sqlite3.connect('app.db', isolation_level=None)
    db.execute('BEGIN IMMEDIATE')
    db.execute('INSERT INTO t VALUES (1)')
    held.set()
    assert refused.wait(60)
    db.execute('COMMIT')


writer = threading.Thread(target=write)
writer.start()
assert held.wait(60)
";

/// Runs this program, which imports that first, under this name, and finds that advice in its report.
fn advised(name: &str, import: &str, program: &str, advice: &str) {
    let Some(python) = packages::python() else { return };
    let place = Place::new();
    std::fs::write(
        place.path(name),
        format!("{import}{BESIDE_A_WRITER}{program}\nfinally:\n    refused.set()\n    writer.join()\n"),
    )
    .unwrap();
    let (code, out, err) = parts(&place.run(&[&python, name, "test"]));
    assert_eq!((code, out.contains("database is locked")), (Some(0), true), "{out}{err}");
    Seen::of(&place).advises("upgrade-refused", advice);
}

#[test]
fn django() {
    let program = "
import django
from django.conf import settings

settings.configure(DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': 'app.db'}})
django.setup()
from django.db import OperationalError, connection, transaction

try:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute('SELECT count(*) FROM t')
        cursor.fetchall()
        cursor.execute('INSERT INTO t VALUES (2)')
except OperationalError as error:
    print(error)
";
    advised("manage.py", "", program, "settings.py: \"OPTIONS\": {\"transaction_mode\": \"IMMEDIATE\"} in DATABASES");
}

#[test]
fn sqlalchemy() {
    let import = "from sqlalchemy import create_engine, event\nfrom sqlalchemy.exc import OperationalError\n";
    let program = "
engine = create_engine('sqlite:///app.db')


@event.listens_for(engine, 'connect')
def connect(connection, record):
    connection.isolation_level = None


@event.listens_for(engine, 'begin')
def begin(connection):
    connection.exec_driver_sql('BEGIN')


try:
    with engine.begin() as connection:
        connection.exec_driver_sql('SELECT count(*) FROM t').fetchall()
        connection.exec_driver_sql('INSERT INTO t VALUES (2)')
except OperationalError as error:
    print(error)
";
    advised("app.py", import, program, "conn.exec_driver_sql(\"BEGIN IMMEDIATE\") in a \"begin\" event");
}
