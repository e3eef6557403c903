//! C programs with SQLite's amalgamation compiled in, in the ways people compile it.

use super::row::{Row, Sql};
use crate::bundled;
use crate::packages::{once, skipped, succeed};
use std::path::PathBuf;
use std::process::Command;

/// The object file of SQLite, compiled once with these flags, or nothing, which has been said.
fn object(name: &str, flags: &str) -> Option<PathBuf> {
    let source = bundled::source();
    let made_from = format!("{}\n{flags}\n", source.display());
    let made = once(&format!("reach-sqlite-{name}"), made_from.as_bytes(), &["test", "-s", "sqlite3.o"], |home| {
        let cc = format!("nice cc -fPIC -g0 {flags} -c -o sqlite3.o {}/sqlite3.c", source.display());
        succeed(Command::new("timeout").args(["300", "sh", "-c", &cc]).current_dir(home))
    });
    let made = made.map_err(|why| skipped(&format!("SQLite cannot be compiled here: {why}"))).ok()?;
    Some(made.join("sqlite3.o"))
}

/// The object file that other tests use, too: `-O1`, all of SQLite.
fn common() -> Option<PathBuf> {
    Some(bundled::library()?.join("sqlite3.o"))
}

/// Links the program with a SQLite, and runs it.
fn program(sqlite: Option<PathBuf>, link: &str, sql: Sql) {
    let Some(sqlite) = sqlite else { return };
    let row = Row::new(&["amalgamation.c"]);
    let (sqlite, source) = (sqlite.display(), bundled::source());
    let cc = format!("cc -O1 -I{} -o program amalgamation.c {sqlite} {link} -lpthread -ldl -lm", source.display());
    succeed(row.place.command("sh").args(["-c", &cc])).unwrap();
    row.refused_and_known(&["./program"], sql);
}

#[test]
fn pie() {
    program(common(), "-pie", Sql::Text);
}

#[test]
fn pie_stripped() {
    program(common(), "-pie -s", Sql::Text);
}

#[test]
fn no_pie() {
    program(common(), "-no-pie", Sql::Text);
}

#[test]
fn no_pie_stripped() {
    program(common(), "-no-pie -s", Sql::Text);
}

/// Its functions are in the dynamic symbol table.
#[test]
fn exported() {
    program(common(), "-pie -rdynamic", Sql::Text);
}

/// Nothing in the program's data is writable but what has to be.
#[test]
fn full_relro() {
    program(common(), "-pie -s -Wl,-z,relro,-z,now", Sql::Text);
}

#[test]
fn unoptimised() {
    program(object("O0", "-O0"), "-pie", Sql::Text);
}

#[test]
fn unoptimised_stripped() {
    program(object("O0", "-O0"), "-pie -s", Sql::Text);
}

/// No table of functions, but symbols.
#[test]
fn omit_load_extension() {
    program(object("omit-load-extension", "-O1 -DSQLITE_OMIT_LOAD_EXTENSION"), "-pie", Sql::Text);
}

/// Neither a table of functions nor symbols.
#[test]
fn omit_load_extension_stripped() {
    program(object("omit-load-extension", "-O1 -DSQLITE_OMIT_LOAD_EXTENSION"), "-pie -s", Sql::Without);
}

#[test]
fn omit_compileoption_diags_stripped() {
    program(object("omit-diags", "-O1 -DSQLITE_OMIT_COMPILEOPTION_DIAGS"), "-pie -s", Sql::Text);
}

/// It calls no function of pthreads.
#[test]
fn threadsafe_0_stripped() {
    program(object("threadsafe-0", "-O1 -DSQLITE_THREADSAFE=0"), "-pie -s", Sql::Text);
}

/// A library of the program's own, which exports SQLite's functions except for two, as Firefox's does.
#[test]
fn library_without_sourceid() {
    let Some(sqlite) = common() else { return };
    let row = Row::new(&["amalgamation.c"]);
    let map = "{ global: sqlite3_open; sqlite3_open_v2; sqlite3_exec; sqlite3_close; sqlite3_errmsg; sqlite3_libversion; sqlite3_vfs_find;
        sqlite3_vfs_register; sqlite3_next_stmt; sqlite3_sql; sqlite3_stmt_busy; sqlite3_file_control; local: *; };";
    std::fs::write(row.place.path("exports.map"), map).unwrap();
    let cc = format!(
        "cc -shared -s -o libprivate.so {} -Wl,--version-script=exports.map -lpthread -ldl -lm && \
         cc -O1 -I{} -o program amalgamation.c ./libprivate.so",
        sqlite.display(),
        bundled::source().display()
    );
    succeed(row.place.command("sh").args(["-c", &cc])).unwrap();
    row.refused(&["./program"], Sql::Text);
}
