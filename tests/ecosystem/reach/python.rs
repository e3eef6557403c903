//! Python's modules: the system's library, by the loader and by `dlopen`; modules that export a SQLite of their own, and that hide it.

use super::row::{Row, Sql};
use crate::packages;
use crate::place::PYTHON;

/// The Python that has the modules of `requirements.txt`.
fn modules() -> Option<String> {
    packages::venv("reach-python", "reach/requirements.txt", "import apsw, libsql, pysqlite3, sqlcipher3")
}

#[test]
fn system_python() {
    Row::new(&["dbapi.py"]).refused_and_known(&[PYTHON, "dbapi.py", "sqlite3"], Sql::Text);
}

/// `dlopen` and `dlsym`, as foreign function interfaces of all languages do.
#[test]
fn ctypes() {
    Row::new(&["with_ctypes.py"]).refused_and_known(&[PYTHON, "with_ctypes.py"], Sql::Text);
}

/// A module with a SQLite of its own, whose functions it exports.
#[test]
fn pysqlite3() {
    let Some(python) = modules() else { return };
    Row::new(&["dbapi.py"]).refused_and_known(&[&python, "dbapi.py", "pysqlite3"], Sql::Text);
}

/// A module with a SQLite of its own, which it hides.
#[test]
fn apsw() {
    let Some(python) = modules() else { return };
    Row::new(&["with_apsw.py"]).refused_and_known(&[&python, "with_apsw.py"], Sql::Text);
}

/// SQLite3 Multiple Ciphers: its VFS sits on SQLite's.
#[test]
fn apsw_sqlite3mc() {
    // It has the name of the other apsw, so it needs a directory of its own.
    let Some(python) = packages::venv("reach-python-mc", "reach/mc-requirements.txt", "import apsw; apsw.mc_version") else {
        return;
    };
    Row::new(&["with_apsw.py"]).refused_and_known(&[&python, "with_apsw.py"], Sql::Text);
}

#[test]
fn sqlcipher3() {
    let Some(python) = modules() else { return };
    Row::new(&["dbapi.py"]).refused_and_known(&[&python, "dbapi.py", "sqlcipher3.dbapi2"], Sql::Text);
}

/// A SQLite in an extension of DuckDB, which loads it with `dlopen`.
#[test]
fn duckdb_sqlite_scanner() {
    let imports = "import duckdb, duckdb_extension_sqlite_scanner";
    let Some(python) = packages::venv("reach-duckdb", "reach/duckdb-requirements.txt", imports) else { return };
    // Which SQLite that is, `locktrace doctor` does not see: the script loads a file that it has looked for.
    Row::new(&["with_duckdb.py"]).refused(&[&python, "with_duckdb.py"], Sql::Prepared("INSERT INTO t VALUES (?);"));
}

/// A fork of SQLite inside a Rust module.
#[test]
fn libsql() {
    let Some(python) = modules() else { return };
    Row::new(&["dbapi.py"]).refused_and_known(&[&python, "dbapi.py", "libsql"], Sql::Text);
}
