//! `locktrace doctor` on programs of every kind: what it finds, what it suggests, its exit code, and that it leaves nothing behind.
//!
//! A case that needs something the machine lacks (a compiler, a second Python) is skipped with a printed line.
#![allow(clippy::unwrap_used)]

use crate::place::{PYTHON, Place, parts, text};
use serde_json::Value;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

/// Asks, and gives the exit code and the JSON object. Temporary files go to the place, and must be gone afterwards.
fn ask(place: &Place, arguments: &[&str]) -> (i32, Value) {
    let temporary = place.path("tmp");
    let _ = std::fs::create_dir(&temporary);
    let mut command = place.command("timeout");
    command.args(["120", env!("CARGO_BIN_EXE_locktrace"), "doctor", "--json"]).args(arguments).env("TMPDIR", &temporary);
    let output = command.output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0, "nothing is left behind");
    assert!(!place.path("locktrace-trace").exists(), "no trace is made");
    (output.status.code().unwrap(), found)
}

/// The verdict on a way, and its object.
fn way<'v>(found: &'v Value, name: &str) -> (&'v str, &'v Value) {
    let way = found["ways"].as_array().unwrap().iter().find(|way| way["way"] == name).unwrap_or(&Value::Null);
    (way["verdict"].as_str().unwrap_or("not listed"), way)
}

fn ids(found: &Value) -> Vec<&str> {
    found["findings"].as_array().unwrap().iter().map(|finding| finding["id"].as_str().unwrap()).collect()
}

/// Writes an executable script.
fn script(place: &Place, name: &str, content: &str) {
    std::fs::write(place.path(name), content).unwrap();
    std::fs::set_permissions(place.path(name), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn the_systems_python_both_ways() {
    let place = Place::new();
    let (code, found) = ask(&place, &["--", PYTHON, "my app.py"]);
    assert_eq!(code, 0, "{found}");
    for name in ["run", "extension"] {
        let (verdict, way) = way(&found, name);
        assert_eq!((verdict, way["tried"].as_bool()), ("works", Some(true)), "{way}");
    }
    assert_eq!(way(&found, "run").1["type"], format!("locktrace run -- {PYTHON} 'my app.py'"));
    let library = &found["libraries"][0];
    assert_eq!(library["symbols"], "shared, exported");
    assert!(library["path"].as_str().unwrap().contains("libsqlite3.so"), "{library}");
    let version = place.command(PYTHON).args(["-c", "import sqlite3; print(sqlite3.sqlite_version)"]).output().unwrap();
    assert_eq!(library["version"], text(&version.stdout).trim());
    assert_eq!(found["schema"], 1);
}

/// What is tried is really tried: an interpreter that opens no database, and one that hangs up, are no way in.
#[test]
fn an_interpreter_that_records_nothing_is_no_way_in() {
    let place = Place::new();
    let answer = r#"@locktrace {"version":"3.40.1","extensions":true}"#;
    script(&place, "python3", &format!("#!/bin/sh\ncase $# in 2) echo '{answer}';; esac\n"));
    let (code, found) = ask(&place, &["--", "./python3"]);
    assert_eq!((code, way(&found, "run").0, way(&found, "extension").0), (1, "no", "no"), "{found}");
    assert!(way(&found, "run").1["why"].as_str().unwrap().contains("nothing was recorded"), "{found}");
    script(&place, "python3", "#!/bin/sh\necho broken >&2; exit 7\n");
    let (_, found) = ask(&place, &["--", "./python3"]);
    assert!(ids(&found).contains(&"not-asked") && found.to_string().contains("it did not answer: broken"), "{found}");
}

#[test]
fn a_python_without_extensions() {
    let place = Place::new();
    if !place.has_plain_python() {
        return;
    }
    let (code, found) = ask(&place, &["--", "python3", "app.py"]);
    assert_eq!((code, way(&found, "run").0, way(&found, "extension").0), (0, "works", "no"), "{found}");
    assert!(ids(&found).contains(&"no-load-extension"));
    assert!(way(&found, "extension").1["why"].as_str().unwrap().contains("without enable_load_extension"));
}

#[test]
fn the_shell_and_scripts() {
    let place = Place::new();
    let (code, found) = ask(&place, &["--", "sqlite3", "a.db"]);
    assert_eq!((code, way(&found, "run").0, way(&found, "extension").0), (0, "works", "works"), "{found}");
    // A script is its interpreter; nothing of the script is run.
    script(&place, "manage.py", &format!("#!/usr/bin/env -S A=b {PYTHON} -u\nopen('was run', 'w')\n"));
    let (code, found) = ask(&place, &["--", "./manage.py", "runserver"]);
    assert_eq!((code, way(&found, "run").0), (0, "works"), "{found}");
    assert!(found["subject"]["language"].as_str().unwrap().starts_with("Python 3"), "{found}");
    let (_, found) = ask(&place, &["--", "env", "A=b", "./manage.py"]);
    assert_eq!(way(&found, "run").0, "works", "{found}");
    assert!(!place.path("was run").exists());
    script(&place, "start.sh", "#!/bin/sh\nexec ./server\n");
    let (code, found) = ask(&place, &["--", "./start.sh"]);
    assert_eq!((code, way(&found, "run").0, way(&found, "extension").0), (0, "may work", "may work"), "{found}");
}

#[test]
fn what_cannot_be_started() {
    let place = Place::new();
    std::fs::write(place.path("plain"), "text").unwrap();
    script(&place, "script", "#!/no/such/interpreter\n");
    script(&place, "text", "no program\n");
    for (command, id) in [
        ("no-such-program-anywhere", Some("command-not-found")),
        ("./no/such", Some("command-not-found")),
        ("./plain", Some("not-executable")),
        ("./", Some("not-executable")),
        ("./script", Some("interpreter-missing")),
        ("./text", None),
    ] {
        let (code, found) = ask(&place, &["--", command]);
        assert_eq!((code, way(&found, "run").0), (1, "no"), "{command}: {found}");
        assert!(id.is_none_or(|id| ids(&found).contains(&id)), "{command}: {found}");
    }
    assert_eq!(place.locktrace(&["doctor", "--no-such-option"]).status.code(), Some(2));
}

#[test]
fn programs_into_which_nothing_gets() {
    let place = Place::new();
    if !place.built("int main(void) { return 0; }", &["-static"]) {
        return;
    }
    let (code, found) = ask(&place, &["--", "./main"]);
    assert_eq!((code, way(&found, "run").0, way(&found, "extension").0), (1, "no", "no"), "{found}");
    assert!(ids(&found).contains(&"static-program"));
    // The same, called a program for another processor.
    let mut bytes = std::fs::read(place.path("main")).unwrap();
    bytes[18] ^= 0x55;
    std::fs::write(place.path("main"), bytes).unwrap();
    let (code, found) = ask(&place, &["--", "./main"]);
    assert_eq!(code, 1);
    assert!(ids(&found).contains(&"other-architecture"), "{found}");
    // And one that names musl's loader (a link: the name is what counts).
    let loader = place.path("ld-musl-x86_64.so.1");
    symlink("/lib64/ld-linux-x86-64.so.2", &loader).unwrap();
    if place.built("int main(void) { return 0; }", &[&format!("-Wl,--dynamic-linker={}", loader.display())]) {
        let (code, found) = ask(&place, &["--", "./main"]);
        assert_eq!((code, way(&found, "run").0, way(&found, "extension").0), (1, "no", "no"), "{found}");
        assert!(ids(&found).contains(&"musl"));
    }
}

/// What stands for a Go program: a C program with the section that Go's linker writes.
fn go_program(place: &Place, modules: &str, flags: &[&str]) -> bool {
    let mut section = b"\xff Go buildinf:\x08\x02".to_vec();
    section.resize(32, 0);
    for text in ["go1.24.1", modules] {
        assert!(text.len() < 128, "one byte of length");
        section.push(text.len() as u8);
        section.extend(text.as_bytes());
    }
    std::fs::write(place.path("section"), section).unwrap();
    let code = "__asm__(\".section .go.buildinfo,\\\"a\\\"\\n.incbin \\\"section\\\"\\n.text\"); int main(void) { return 3; }";
    place.built(code, flags)
}

#[test]
fn a_go_program_with_sqlite_in_go() {
    let place = Place::new();
    for (modules, flags, pure) in [
        ("dep\tmodernc.org/sqlite\tv1.38.0\th1:x=\n", &["-static"][..], true),
        ("dep\tgithub.com/ncruces/go-sqlite3\tv0.26.0\n", &[], true),
        ("dep\tgithub.com/mattn/go-sqlite3\tv1.14.0\n", &[], false),
    ] {
        if !go_program(&place, modules, flags) {
            return;
        }
        let (code, found) = ask(&place, &["--", "./main"]);
        assert_eq!(ids(&found).contains(&"pure-go"), pure, "{found}");
        let (code_of_run, _, err) = parts(&place.run(&["./main"]));
        assert_eq!(
            (code_of_run, err.contains("runs untraced: this Go program has SQLite translated to Go")),
            (Some(3), pure),
            "{err}"
        );
        if pure {
            assert_eq!((code, way(&found, "run").0, way(&found, "extension").0), (1, "no", "no"), "{found}");
            assert!(way(&found, "run").1["why"].as_str().unwrap().contains("mattn/go-sqlite3"), "{found}");
            assert!(
                !err.contains("static program") && err.contains("no trace: no database was recorded while ./main ran\n"),
                "{err}"
            );
        }
    }
}

/// The trial is one of the module that the script imports, and not of the standard library's.
#[test]
fn the_scripts_own_module_is_tried() {
    let place = Place::new();
    std::fs::write(place.path("plain.py"), "import sqlite3\n").unwrap();
    std::fs::write(place.path("foreign.py"), "import ctypes, ctypes.util\nlib = ctypes.CDLL('libsqlite3.so.0')\n").unwrap();
    std::fs::write(place.path("broken.py"), "from models import Thing\n").unwrap();
    std::fs::write(place.path("models.py"), "import sqlcipher3\n").unwrap();
    let (_, found) = ask(&place, &["--", PYTHON, "plain.py"]);
    assert_eq!(way(&found, "run").1["why"], "its interpreter wrote a database, and the locks were recorded", "{found}");
    // Each that is imported is tried, and the best verdict needs all of them.
    std::fs::write(place.path("both.py"), "import sqlite3\nimport ctypes\nlib = ctypes.CDLL('libsqlite3.so.0')\n").unwrap();
    let (_, found) = ask(&place, &["--", PYTHON, "both.py"]);
    assert!(
        way(&found, "extension").1["why"].as_str().unwrap().starts_with("it loaded the extension with sqlite3 and with ctypes,"),
        "{found}"
    );
    let (_, found) = ask(&place, &["--", PYTHON, "foreign.py"]);
    assert_eq!((way(&found, "run").1["tried"].as_bool(), way(&found, "extension").0), (Some(true), "works"), "{found}");
    assert!(way(&found, "extension").1["why"].as_str().unwrap().contains("with ctypes"), "{found}");
    assert!(way(&found, "extension").1["type"].as_str().unwrap().contains("sqlite3_load_extension"), "{found}");
    assert_eq!(found["libraries"][0]["module"], "ctypes");
    // Imported by a module of the script's own, and not installed: nothing is said of the standard library's SQLite.
    let (_, found) = ask(&place, &["--", PYTHON, "broken.py"]);
    if found.to_string().contains("No module named 'sqlcipher3'") {
        assert_eq!((way(&found, "run").0, way(&found, "run").1["tried"].as_bool()), ("may work", Some(false)), "{found}");
        assert!(ids(&found).contains(&"no-sqlite"), "{found}");
    }
}

/// What stands for Node: it answers for whatever driver it is asked about, and the sqlite3 shell does what the code says.
const NODE: &str = r#"#!/bin/sh
code=$2
part() { printf '%s' "$code" | sed -n "s/$1/\1/p"; }
database=$(part '.*("\([^"]*\)")\.exec.*')
case $code in
*@locktrace*)
    wanted=$(part '^const wanted = "\([^"]*\)".*')
    echo "@locktrace {\"version\":\"3.40.1\",\"extensions\":true,\"module\":\"${wanted:-better-sqlite3}\"}" ;;
*loadExtension*)
    sqlite3 -cmd ".load $(part '.*loadExtension("\([^"]*\)").*')" -cmd ".open $database" :memory: 'CREATE TABLE t(x)' ;;
*) sqlite3 "$database" 'CREATE TABLE t(x)' ;;
esac
"#;

#[test]
fn the_driver_that_a_script_of_node_requires_is_tried() {
    let place = Place::new();
    script(&place, "node", NODE);
    std::fs::write(place.path("app.js"), "const { DatabaseSync } = require('node:sqlite');\n").unwrap();
    let (code, found) = ask(&place, &["--", "./node", "app.js"]);
    assert_eq!((code, way(&found, "run").0, way(&found, "extension").0), (0, "works", "works"), "{found}");
    assert!(way(&found, "run").1["why"].as_str().unwrap().contains("wrote a database with node:sqlite"), "{found}");
    assert!(way(&found, "extension").1["type"].as_str().unwrap().contains("{ allowExtension: true }"), "{found}");
    // A mapper imports its driver itself: the package names it.
    std::fs::write(place.path("app.js"), "require('knex')\n").unwrap();
    std::fs::write(place.path("package.json"), r#"{"dependencies": {"sqlite3": "6"}}"#).unwrap();
    let (_, found) = ask(&place, &["--", "./node", "app.js"]);
    assert!(found.to_string().contains("with sqlite3"), "{found}");
}

/// A SQLite is known by its texts. A message that ends as an option does is no option.
#[test]
fn texts_of_a_sqlite_without_symbols() {
    let place = Place::new();
    let texts = |more: &str| {
        format!(
            "const char *volatile t[] = {{\"SQLite format 3\", \"unix-excl\", \"unix-dotfile\", {more}}}; int main(void) {{ return !t[0]; }}"
        )
    };
    let loads = "\"unable to open shared library [%.*s]\"";
    if !place.built(&texts(&format!("\"built with SQLITE_OMIT_LOAD_EXTENSION\", {loads}")), &[]) {
        return;
    }
    let (code, found) = ask(&place, &["--", "./main"]);
    assert_eq!((code, way(&found, "run").0, way(&found, "extension").0), (0, "works", "may work"), "{found}");
    assert_eq!(found["libraries"][0]["symbols"], "inside, hidden");
    for omits in [&format!("\"OMIT_LOAD_EXTENSION\", {loads}"), "\"\""] {
        assert!(place.built(&texts(omits), &[]));
        let (_, found) = ask(&place, &["--", "./main"]);
        assert_eq!((way(&found, "run").0, way(&found, "extension").0), ("works", "no"), "{found}");
    }
    // A tool that reads database files.
    assert!(place.built("const char *volatile t = \"SQLite format 3\"; int main(void) { return !t; }", &[]));
    let (_, found) = ask(&place, &["--", "./main"]);
    assert_eq!(found["libraries"].as_array().unwrap().len(), 0, "{found}");
}

/// The loader looks beside the file that a link leads to.
#[test]
fn a_program_behind_a_link_finds_the_library_beside_it() {
    let place = Place::new();
    std::fs::create_dir(place.path("real")).unwrap();
    std::fs::write(place.path("beside.c"), "int beside(void) { return 0; }").unwrap();
    let library = place.command("gcc").args(["-shared", "-fPIC", "-o", "real/libbeside.so", "beside.c"]).status();
    if !library.is_ok_and(|status| status.success())
        || !place.built("int beside(void); int main(void) { return beside(); }", &["-Lreal", "-lbeside", "-Wl,-rpath,$ORIGIN"])
    {
        return;
    }
    std::fs::rename(place.path("main"), place.path("real/main")).unwrap();
    symlink("real/main", place.path("main")).unwrap();
    assert!(place.command("./main").status().unwrap().success());
    let (_, found) = ask(&place, &["--", "./main"]);
    assert!(!ids(&found).contains(&"library-missing"), "{found}");
}

#[test]
fn a_setuid_copy_of_the_shell() {
    let place = Place::new();
    let copy = place.path("sqlite3");
    std::fs::copy("/usr/bin/sqlite3", &copy).unwrap();
    if chown(&copy, Some(65_534), Some(65_534)).is_err() {
        return println!("skipped: only root can give a program to another user");
    }
    std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o4755)).unwrap();
    let (code, found) = ask(&place, &["--", "./sqlite3"]);
    assert_eq!((code, way(&found, "run").0, way(&found, "extension").0), (0, "no", "may work"), "{found}");
    assert!(ids(&found).contains(&"setuid"));
}

#[test]
fn a_program_is_judged_by_how_it_is_linked() {
    let place = Place::new();
    let main = "int sqlite3_libversion_number(void); int sqlite3_open_v2(); \n\
                int main(void) { return sqlite3_open_v2 == 0 || sqlite3_libversion_number() == 0; }";
    if place.built(main, &["-l:libsqlite3.so.0"]) {
        let (code, found) = ask(&place, &["--", "./main"]);
        assert_eq!((code, way(&found, "run").0), (0, "works"), "{found}");
        assert_eq!(way(&found, "run").1["tried"], false);
        assert!(found["libraries"][0]["version"].as_str().unwrap().starts_with("3."), "read from its symbol: {found}");
    }
    // Needed, and nowhere to be found.
    std::fs::write(place.path("gone.c"), "int gone(void) { return 0; }").unwrap();
    let library = place.command("gcc").args(["-shared", "-fPIC", "-o", "libgone.so", "gone.c"]).status();
    if library.is_ok_and(|status| status.success())
        && place.built("int gone(void); int main(void) { return gone(); }", &["-L.", "-lgone"])
    {
        let (_, found) = ask(&place, &["--", "./main"]);
        assert!(ids(&found).contains(&"library-missing") && found.to_string().contains("libgone.so"), "{found}");
    }
    // SQLite inside, nothing of it exported: this command is such a program, and is covered in place.
    let (code, found) = ask(&place, &["--", env!("CARGO_BIN_EXE_locktrace"), "cat"]);
    assert_eq!((code, way(&found, "run").0), (0, "works"), "{found}");
    assert_eq!((way(&found, "crate").0, way(&found, "extension").0), ("may work", "may work"));
    assert_eq!(found["libraries"][0]["symbols"], "inside, hidden");
}

#[test]
fn a_database_is_read_and_not_opened() {
    let place = Place::new();
    let make = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA journal_mode=' + sys.argv[2])\n\
                c.execute('CREATE TABLE t(x)'); c.commit(); import os; os._exit(0)";
    for (name, mode) in [("wal.db", "WAL"), ("roll.db", "DELETE")] {
        assert!(place.command(PYTHON).args(["-c", make, name, mode]).status().unwrap().success());
    }
    std::fs::write(place.path("empty.db"), "").unwrap();
    std::fs::write(place.path("text.db"), "no database, and longer than one hundred bytes".repeat(3)).unwrap();
    let before = files(&place);
    let what = |name: &str| {
        let (_, found) = ask(&place, &["--db", name, "--", PYTHON]);
        found["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| format!("{}: {}: {}\n", f["level"].as_str().unwrap(), f["id"].as_str().unwrap(), f["what"].as_str().unwrap()))
            .collect::<String>()
    };
    let (wal, roll) = (what("wal.db"), what("roll.db"));
    assert!(wal.contains("ok: journal-mode: wal.db is in WAL mode") && wal.contains("ok: wal-size: the -wal has"), "{wal}");
    assert!(wal.contains("file system of type"), "{wal}");
    assert!(roll.contains("note: journal-mode: roll.db is in a rollback journal mode"), "{roll}");
    assert!(what("empty.db").contains("ok: journal-mode: empty.db is empty"));
    assert!(what("text.db").contains("problem: database: text.db: byte 0: this is not a SQLite database"));
    assert!(what("none.db").contains("problem: database: none.db: "));
    assert!(what(".").contains("problem: database: . is not a regular file"));
    // The exposure is that of a WAL database on an old SQLite, and of no other.
    let version = place.command(PYTHON).args(["-c", "import sqlite3; print(sqlite3.sqlite_version)"]).output().unwrap();
    if text(&version.stdout).trim() == "3.40.1" {
        assert!(wal.contains("warning: wal-reset-exposure: ") && !roll.contains("wal-reset"), "{wal}{roll}");
    }
    assert_eq!(files(&place), before, "nothing is created, changed or removed");
}

/// Every database file here, with its content.
fn files(place: &Place) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();
    files.sort();
    files
}

#[test]
fn this_machine() {
    let place = Place::new();
    let mut command = place.command("timeout");
    let output =
        command.args(["120", env!("CARGO_BIN_EXE_locktrace"), "doctor"]).env("LD_PRELOAD", "/no/such.so").output().unwrap();
    let (code, out, err) = parts(&output);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("tried: this command recorded a transaction of its own and read it back"), "{out}");
    assert!(out.contains("sqlite3 (") && out.contains("liblocktrace.so"), "{out}");
    assert!(out.contains("[preload-set]"), "{out}");
    assert!(!out.contains('\x1b') && !Path::new(&place.path("locktrace-trace")).exists());
}
