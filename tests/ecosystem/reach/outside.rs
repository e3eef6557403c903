//! Programs that `locktrace run` does not reach: they run as they do bare, and it prints why there is no trace.

use super::row::{Row, have};
use crate::bundled;
use crate::packages::{once, skipped, succeed};
use crate::place::PYTHON;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A place with the program, linked with SQLite by these flags; nothing where that is not possible, and that has been said.
fn program(link: &str) -> Option<Row> {
    let sqlite = bundled::library()?.join("sqlite3.o");
    let row = Row::new(&["amalgamation.c"]);
    let (sqlite, source) = (sqlite.display(), bundled::source());
    let cc = format!("cc -O1 -I{} -o program amalgamation.c {sqlite} {link} -lpthread -ldl -lm", source.display());
    succeed(row.place.command("sh").args(["-c", &cc])).map_err(|why| skipped(&format!("no program with {link:?}: {why}"))).ok()?;
    Some(row)
}

/// Bare and traced there is no difference, and no trace; `locktrace run` gives this reason.
fn unreached(row: &Row, options: &[&str], command: &[&str], reason: &str) {
    let bare = row.bare(command);
    assert_eq!((bare.code, &*bare.out), (Some(0), "busy\ndone 2\n"), "the bare program does not work: {}", bare.err);
    row.without_database();
    let (traced, summary) = row.traced_with(options, command);
    assert_eq!(traced, bare, "traced, and bare; locktrace says: {summary}");
    assert!(summary.contains("no trace") && summary.contains(reason), "{reason:?} in {summary:?}");
}

#[test]
fn static_program() {
    let Some(row) = program("-static") else { return };
    unreached(&row, &[], &["./program"], "static");
    assert_eq!(row.doctor(&["./program"]), "no");
}

/// Clang's control-flow integrity ends a program that calls a function of a preloaded library by address.
#[test]
fn cfi_program() {
    let source = bundled::source();
    let main = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ecosystem/reach/programs/amalgamation.c");
    let cc = format!(
        "nice clang -O1 -g0 -flto -fvisibility=hidden -fsanitize=cfi-icall -fuse-ld=lld -I{0} -o program {main} {0}/sqlite3.c -lpthread -ldl -lm",
        source.display()
    );
    let made_from = [cc.as_bytes(), &fs::read(main).unwrap()].concat();
    let make = |home: &Path| succeed(Command::new("timeout").args(["400", "sh", "-c", &cc]).current_dir(home));
    let home = match once("reach-cfi", &made_from, &["test", "-x", "program"], make) {
        Ok(home) => home,
        Err(why) => return skipped(&format!("no program with control-flow integrity (Debian: clang, lld): {why}")),
    };
    let row = Row::new(&[]);
    fs::copy(home.join("program"), row.place.path("program")).unwrap();
    unreached(&row, &[], &["./program"], "control-flow integrity");
}

/// The loader takes no library from `LD_PRELOAD` into a program that gains rights.
#[test]
fn setuid_program() {
    let nobody = ["setpriv", "--reuid=65534", "--clear-groups"];
    if !have(&[&nobody[..], &["/bin/true"]].concat(), "another user (root's right)") {
        return;
    }
    let Some(row) = program("-pie") else { return };
    fs::set_permissions(row.place.path("program"), fs::Permissions::from_mode(0o4755)).unwrap();
    unreached(&row, &[], &[&nobody[..], &["./program"]].concat(), "setuid");
}

/// musl's loader takes a library from `LD_PRELOAD`, too, and ends a program for which it cannot load one: here, a child of a shell.
#[test]
fn musl_program() {
    let row = Row::new(&[]);
    // SQLite for glibc cannot be linked with musl; what matters is that the program starts.
    let program = "#include <stdio.h>\nint main(void) { return puts(\"busy\\ndone 2\") < 0; }\n";
    fs::write(row.place.path("said.c"), program).unwrap();
    if let Err(why) = succeed(row.place.command("musl-gcc").args(["-o", "said", "said.c"])) {
        return skipped(&format!("nothing can be built for musl here (Debian: musl-tools): {why}"));
    }
    unreached(&row, &[], &["./said"], "no database");
    assert_eq!(row.doctor(&["./said"]), "no");
}

#[test]
fn excluded_by_name() {
    let row = Row::new(&["dbapi.py"]);
    let file = fs::canonicalize(PYTHON).unwrap();
    let name = file.file_name().unwrap().to_str().unwrap();
    unreached(&row, &["--not", name], &[PYTHON, "dbapi.py", "sqlite3"], "--not");
    assert!(!row.place.path("locktrace-trace").exists());
}

/// A process that is excluded starts another one, which is not.
#[test]
fn child_of_what_is_excluded_by_name() {
    let row = Row::new(&["dbapi.py"]);
    let (traced, summary) = row.traced_with(&["--not", "timeout"], &["timeout", "30", PYTHON, "dbapi.py", "sqlite3"]);
    assert_eq!((traced.code, &*traced.out), (Some(0), "busy\ndone 2\n"), "{summary}");
    assert!(summary.contains("the application saw `database is locked` 1 time"), "{summary}");
}
