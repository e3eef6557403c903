//! `locktrace run` and `locktrace extension` on unchanged programs: what their traces show, and that the programs do not notice.
//!
//! Each program is a process of its own. A case that needs something the machine lacks (a compiler, a second Python) is skipped with a printed line.
#![allow(clippy::unwrap_used)]

mod conduct;
mod input;
mod named_vfs;
mod notes;
mod reach;
mod said;

use crate::place::Place;
use shim::event::{Kind, Level};
use sqlite_locktrace::trace::Trace;
use std::path::Path;

fn seen(place: &Place) -> Seen {
    Seen::in_directory(&place.path("locktrace-trace"))
}

/// What a trace says.
struct Seen {
    processes: usize,
    versions: Vec<String>,
    /// Databases opened, by their file's name.
    opened: Vec<String>,
    /// Statements that took RESERVED.
    writers: Vec<String>,
    records: u64,
}

impl Seen {
    fn in_directory(dir: &Path) -> Seen {
        let trace = Trace::open(dir).unwrap();
        let mut seen = Seen { processes: trace.logs().len(), versions: vec![], opened: vec![], writers: vec![], records: 0 };
        for log in trace.logs() {
            seen.versions.extend(log.names.sqlite_versions().iter().map(|version| (*version).to_owned()));
        }
        for event in trace.events().unwrap() {
            let (names, record) = (&trace.log(event.log).names, event.record);
            seen.records += 1;
            if record.kind == Kind::OPEN {
                let path = Path::new(&names.file(record.file).unwrap().path.text);
                seen.opened.push(path.file_name().unwrap().to_str().unwrap().to_owned());
            }
            if record.kind == Kind::LOCK && record.requested == Level::RESERVED && record.rc.is_ok() {
                seen.writers.push(names.sql(record.sql).map_or_else(String::new, |sql| sql.text.text.clone()));
            }
        }
        seen
    }
}

const WRITES: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute('CREATE TABLE t(x)')
db.execute('INSERT INTO t VALUES(1)')
db.commit()
print(db.execute('SELECT count(*) FROM t').fetchone()[0])
";
