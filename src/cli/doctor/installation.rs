//! The check of this installation, without a program: whether recording works, and for which of the usual programs.
//!
//! The self test runs this command again, as a program with a SQLite of its own. It records one transaction into a scratch directory, and the trace is
//! read back.
#![forbid(unsafe_code)]

use super::finding::{Diagnosis, Finding, FindingLevel, Way, WayVerdict};
use super::subject::Subject;
use super::trial::Scratch;
use super::ways;
use crate::Builder;
use rusqlite::Connection;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// The programs that are looked up on the `PATH`.
const USUAL: [&str; 7] = ["python3", "sqlite3", "node", "bun", "deno", "php", "ruby"];

/// Examines the installation. `library` is the unpacked library, or the reason why it could not be unpacked.
pub(super) fn examine(library: &Result<std::path::PathBuf, String>) -> Diagnosis {
    let mut diagnosis = Diagnosis::default();
    let tried = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}")).and_then(|own| {
        let scratch = Scratch::new()?;
        scratch.records(Command::new(own).args(["doctor", "--self-test"]).arg(scratch.database()).env_remove("LD_PRELOAD"))
    });
    let own = match tried {
        Ok(()) => Way::new("crate", WayVerdict::Works, "this command recorded a transaction of its own and read it back"),
        Err(why) => Way::new("crate", WayVerdict::No, format!("this command could not record a transaction of its own: {why}")),
    };
    diagnosis.ways.push(Way { tried: true, ..own });
    let Ok(library) = library else { return diagnosis };
    for name in USUAL {
        let subject = Subject::of(&[OsString::from(name)]);
        let Some(file) = &subject.named else { continue };
        let sqlite = match (subject.libraries.first().and_then(|library| library.version.clone()), subject.answer()) {
            (Some(version), _) => format!("SQLite {version}"),
            (None, Some(answer)) => answer.error.clone().unwrap_or_else(|| "SQLite of an unknown version".to_owned()),
            (None, None) => "it did not answer".to_owned(),
        };
        let verdicts: Vec<String> = ways::of(&subject, library)
            .iter()
            .map(|way| format!("{}: {}{}", way.name, way.verdict.name(), if way.tried { " (tried)" } else { "" }))
            .collect();
        let what = format!("{name} ({}): {sqlite}; {}", file.display(), verdicts.join(", "));
        let finding = Finding::new("program", FindingLevel::Ok, what);
        diagnosis.findings.push(finding.typed(format!("locktrace doctor -- {name}")));
    }
    diagnosis
}

/// Records one transaction, in a process of its own.
pub(super) fn self_test(database: &Path) -> Result<(), String> {
    Builder::new().install().map_err(|error| error.to_string())?;
    let connection = Connection::open(database).map_err(|error| error.to_string())?;
    connection.execute_batch("CREATE TABLE t(x)").map_err(|error| error.to_string())
}
