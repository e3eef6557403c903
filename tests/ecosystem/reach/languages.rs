//! Languages whose modules Debian has. All of them use the system's library.

use super::row::{Row, Sql, have};
use crate::packages::{once, skipped, succeed};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// PHP loads its modules with `RTLD_DEEPBIND`: a preloaded library does not come before theirs.
fn php(program: &str, class: &str) {
    let probe = format!("exit(class_exists('{class}') ? 0 : 1);");
    if !have(&["php", "-r", &probe], "PHP with SQLite (Debian: php-cli, php-sqlite3)") {
        return;
    }
    Row::new(&[program]).refused_and_known(&["php", program], Sql::Text);
}

#[test]
fn php_pdo() {
    php("pdo.php", "PDO");
}

#[test]
fn php_sqlite3() {
    php("sqlite3.php", "SQLite3");
}

#[test]
fn ruby() {
    if have(&["ruby", "-rsqlite3", "-e", ""], "Ruby's sqlite3 gem (Debian: ruby, ruby-sqlite3)") {
        Row::new(&["gem.rb"]).refused_and_known(&["ruby", "gem.rb"], Sql::Text);
    }
}

#[test]
fn perl() {
    if have(&["perl", "-MDBD::SQLite", "-e", ""], "Perl's DBD::SQLite (Debian: libdbd-sqlite3-perl)") {
        Row::new(&["dbd.pl"]).refused(&["perl", "dbd.pl"], Sql::Text);
    }
}

#[test]
fn tcl() {
    let place = Row::new(&["package.tcl"]);
    fs::write(place.place.path("probe.tcl"), "package require sqlite3\n").unwrap();
    let probe = place.place.path("probe.tcl");
    if have(&["tclsh", probe.to_str().unwrap()], "Tcl's sqlite3 package (Debian: tcl, libsqlite3-tcl)") {
        place.refused(&["tclsh", "package.tcl"], Sql::Text);
    }
}

/// Where Debian has xerial's driver; its native part is the system's library.
const JAR: &str = "/usr/share/java/sqlite-jdbc.jar";

/// The directory with the compiled `Refused.java`.
fn java_classes() -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ecosystem/reach/programs/Refused.java");
    let made_from = fs::read(&source).unwrap();
    let made = once("reach-java", &made_from, &["test", "-s", "Refused.class"], |home| {
        succeed(Command::new("timeout").args(["120", "javac", "-d", "."]).arg(&source).current_dir(home))
    });
    made.map_err(|why| skipped(&format!("a Java program cannot be compiled here (Debian: default-jdk-headless): {why}"))).ok()
}

#[test]
fn java_xerial() {
    if !Path::new(JAR).exists() || !jni().exists() {
        return skipped("xerial's sqlite-jdbc (Debian: libxerial-sqlite-jdbc-java, libxerial-sqlite-jdbc-jni) is not there");
    }
    let Some(classes) = java_classes() else { return };
    let path = format!("{}:{JAR}", classes.display());
    Row::new(&[]).refused(&["java", "-cp", &path, "Refused"], Sql::Text);
}

/// Its native part.
fn jni() -> PathBuf {
    PathBuf::from(format!("/usr/lib/{}-linux-gnu/jni/libsqlitejdbc.so", std::env::consts::ARCH))
}
