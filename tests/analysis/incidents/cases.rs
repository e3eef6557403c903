//! Case files: what happened, and the incidents that the analysis must find in it. The files are in `cases/`, one for each family.
//!
//! ```text
//! # A comment.
//! section A reader asks for WRITE while another connection holds it
//! every case begins
//! wal c1 c2
//! 100 c1 S READ1 -- INSERT a
//! 110 c1 X WRITE -- INSERT a
//! every case ends
//! 900 c1 U WRITE
//!
//! case it rolls back
//! 120 c2 S READ1 -- SELECT b
//! 200 c2 X WRITE=BUSY -- INSERT b
//! 300 c2 U READ1 -- ROLLBACK
//! found upgrade-refused gave-up <- INSERT a (running)
//! ```
//!
//! A case's records are those with which each case of its section begins, its own, and those with which each case ends. Most are written as
//! `tests/common` has them. The order of lines is the order in which records were written; the analysis sorts them by time. Beside records:
//!
//! | line | meaning |
//! | --- | --- |
//! | `wal c1 c2` | these connections open the database in WAL mode, at 1 to 4 µs, 5 to 8 µs and so on |
//! | `200 c2 tries, sleeps 1000 2000:` | c2 makes the calls of the indented lines below, 10 µs apart, then SQLite's busy handler sleeps for 1000 µs; and so on until the last try |
//! | `lost 150 c2 check` | this record was written, and is damaged in the file |
//! | `process 100` | what follows is of another process; one that is not named is process 7 |
//! | `python` | the process is Python, which can have no busy handler but SQLite's |
//! | `database 2 /data/other.db 43` | what follows is of this database: its number, path and inode |
//! | `last seen 85000`, `last seen never` | when the process showed last that it lives; by default ten seconds after the start |
//! | `text lost: UPDATE b` | the trace does not have this statement's text |
//! | `asked: 4711`, `asked: 200 own`, `asked: nobody` | the kernel's answer to the first refused call: which process holds the lock, `own` for the same one |
//!
//! `found` lines list all incidents in their order, as [`super::judge`] writes them; `found nothing` stands for none. `found 2 attempts, 1 blocker: …`
//! checks these numbers, too.
//!
//! `LOCKTRACE_CASE=upgrade cargo test --test analysis every_case` runs the cases whose file, section or title has this text in it.

use super::judge::{attempts, damage, found_in};
use crate::common::{Process, anchor_at};
use std::path::{Path, PathBuf};

/// A line of a file, and its number from 1 on.
type Line = (usize, String);

#[derive(Clone, Default, Debug)]
struct Case {
    file: String,
    section: String,
    title: Line,
    lines: Vec<Line>,
    expected: Vec<String>,
}

/// Where a line belongs.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Nowhere,
    Begin,
    End,
    Case,
}

/// The cases of a file.
fn cases(file: &str, text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let (mut section, mut begin, mut end) = (String::new(), Vec::<Line>::new(), Vec::<Line>::new());
    let mut part = Part::Nowhere;
    // A case is whole where the next one, a section or the file ends it.
    let mut open: Option<Case> = None;
    let mut close = |open: &mut Option<Case>, begin: &[Line], end: &[Line]| {
        let Some(mut case) = open.take() else { return };
        assert!(!case.expected.is_empty(), "{file}:{}: this case has no `found` line", case.title.0);
        case.expected.retain(|line| line != "nothing");
        case.lines = [begin, &case.lines, end].concat();
        cases.push(case);
    };
    for (number, line) in (1..).zip(text.lines()) {
        let at = |what: &str| panic!("{file}:{number}: {what}: {line}");
        if let Some(title) = line.strip_prefix("section ") {
            close(&mut open, &begin, &end);
            (section, begin, end, part) = (title.to_owned(), vec![], vec![], Part::Nowhere);
        } else if let Some(title) = line.strip_prefix("case ") {
            close(&mut open, &begin, &end);
            let title = (number, title.to_owned());
            open = Some(Case { file: file.to_owned(), section: section.clone(), title, ..Case::default() });
            part = Part::Case;
        } else if line == "every case begins" || line == "every case ends" {
            if part == Part::Case {
                at("this belongs before the section's first case");
            }
            part = if line.ends_with("begins") { Part::Begin } else { Part::End };
        } else if let Some(incident) = line.strip_prefix("found ") {
            match &mut open {
                Some(case) => case.expected.push(incident.to_owned()),
                None => at("no case"),
            }
        } else if !line.is_empty() && !line.starts_with('#') {
            let line = (number, line.to_owned());
            match (part, &mut open) {
                (Part::Begin, _) => begin.push(line),
                (Part::End, _) => end.push(line),
                (Part::Case, Some(case)) if case.expected.is_empty() => case.lines.push(line),
                (Part::Case, _) => at("a record belongs before `found`"),
                (Part::Nowhere, _) => at("this belongs to no case"),
            }
        }
    }
    close(&mut open, &begin, &end);
    cases
}

/// A process of a case, and what is done to it when all of its records are there.
struct Player {
    process: Process,
    /// Records that are damaged in the file, by number.
    lost: Vec<usize>,
    without: Vec<String>,
    asked: Option<String>,
}

impl Player {
    fn new(pid: u32) -> Player {
        Player { process: Process::new(pid), lost: Vec::new(), without: Vec::new(), asked: None }
    }

    /// One line; the indented ones below it are `below`.
    fn line(&mut self, line: &str, below: &[&str]) {
        if let Some(conns) = line.strip_prefix("wal ") {
            for (at, conn) in (0..).zip(conns.split(' ')) {
                let calls = ["open", "SHARED", "open wal", "map"];
                (1..).zip(calls).for_each(|(n, call)| {
                    self.process.run(&format!("{} {conn} {call}", at * calls.len() + n));
                });
            }
        } else if let Some((first, sleeps)) = line.strip_suffix(':').and_then(|line| line.split_once(" tries, sleeps ")) {
            let (at, conn) = first.split_once(' ').unwrap();
            let sleeps: Vec<u64> = sleeps.split(' ').map(|sleep| sleep.parse().unwrap()).collect();
            self.process.run(&attempts(at.parse().unwrap(), conn, below, &sleeps));
        } else if let Some(record) = line.strip_prefix("lost ") {
            self.lost.push(self.process.records.len());
            self.process.run(record);
        } else if let Some(seen) = line.strip_prefix("last seen ") {
            self.process.header.last = (seen != "never").then(|| anchor_at(seen.parse().unwrap()));
        } else if let Some(database) = line.strip_prefix("database ") {
            let words: Vec<&str> = database.split(' ').collect();
            self.process.database(words[0].parse().unwrap(), words[1], words[2].parse().unwrap());
        } else if line == "python" {
            python(&mut self.process);
        } else if let Some(text) = line.strip_prefix("text lost: ") {
            self.without.push(format!(r#""text":"{text}""#));
        } else if let Some(holder) = line.strip_prefix("asked: ") {
            self.asked = Some(holder.to_owned());
        } else {
            self.process.run(line);
        }
    }

    fn write(mut self, dir: &Path) {
        for text in &self.without {
            let all = self.process.names.len();
            self.process.names.retain(|line| !line.contains(text));
            assert!(self.process.names.len() < all, "no statement with {text}");
        }
        if let Some(holder) = self.asked {
            let line = answer(&self.process, &holder);
            self.process.name(line);
        }
        self.process.write(dir);
        damage(dir, &self.process, &self.lost);
    }
}

/// Makes a process one of Python's, whose `sqlite3` cannot set a busy handler of its own.
fn python(process: &mut Process) {
    let module =
        r#""exe":"/usr/bin/python3.11","modules":["/usr/lib/python3.11/lib-dynload/_sqlite3.cpython-311-x86_64-linux-gnu.so"]"#;
    process.names[0] = process.names[0].replace(r#""exe":"/usr/bin/app""#, module);
    process.names[1] = process.names[1].replace(r#""options":null"#, r#""options":["THREADSAFE=1"]"#);
}

/// What the kernel answered to the first call that was refused: one process, or nobody.
fn answer(process: &Process, holder: &str) -> String {
    let refused = process.records.iter().find(|record| record.rc.is_busy()).unwrap();
    let (pid, own) = holder.strip_suffix(" own").map_or((holder, false), |pid| (pid, true));
    let holders = match pid {
        "nobody" => String::new(),
        pid => {
            format!(r#"{{"pid":{pid},"how":"posix","mode":"write","locks":["WRITE"],"exact":true,"own":{own},"comm":"sqlite3"}}"#)
        }
    };
    let (conn, start) = (refused.conn, refused.start);
    format!(r#"{{"t":"outside","conn":{conn},"start":"{start:016x}","after":9,"readings":1,"holders":[{holders}]}}"#)
}

/// Says in which line of a file a panic came about.
struct Place<'a>(&'a str, usize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("in {}:{}", self.0, self.1);
        }
    }
}

impl Case {
    /// What is found, as its `found` lines would have it.
    fn play(&self) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let mut player = Player::new(7);
        let mut lines = self.lines.iter().peekable();
        while let Some((number, line)) = lines.next() {
            let _place = Place(&self.file, *number);
            if let Some(pid) = line.strip_prefix("process ") {
                let next = Player::new(pid.parse().unwrap());
                let last = std::mem::replace(&mut player, next);
                if !last.process.records.is_empty() {
                    last.write(dir.path());
                }
                continue;
            }
            let mut below = Vec::new();
            while let Some((_, call)) = lines.next_if(|(_, line)| line.starts_with(' ')) {
                below.push(call.trim());
            }
            player.line(line, &below);
        }
        let _place = Place(&self.file, self.title.0);
        player.write(dir.path());
        let counted = |(line, (attempts, blockers)): (String, (u32, usize))| {
            let wanted = self.expected.iter().any(|expected| expected.ends_with(&format!(": {line}")));
            let s = |n: usize| if n == 1 { "" } else { "s" };
            let counts = format!("{attempts} attempt{}, {blockers} blocker{}: ", s(attempts as usize), s(blockers));
            (if wanted { counts } else { String::new() }) + &line
        };
        found_in(dir.path()).into_iter().map(counted).collect()
    }

    /// What is wrong with what is found, in words.
    fn wrong(&self) -> Option<String> {
        let found = self.play();
        let list = |lines: &[String]| match lines {
            [] => "\n    nothing".to_owned(),
            lines => lines.iter().map(|line| format!("\n    {line}")).collect(),
        };
        (found != self.expected).then(|| {
            let Case { file, section, title: (number, title), expected, .. } = self;
            format!("{file}:{number}: {section}: {title}\n  must be found:{}\n  found:{}", list(expected), list(&found))
        })
    }
}

#[test]
fn every_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = "tests/analysis/incidents/cases";
    let mut files: Vec<PathBuf> = std::fs::read_dir(root.join(directory)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let wanted = std::env::var("LOCKTRACE_CASE").unwrap_or_default();
    let of = |path: &PathBuf| {
        let name = format!("{directory}/{}", path.file_name().unwrap().to_str().unwrap());
        cases(&name, &std::fs::read_to_string(path).unwrap())
    };
    let is_wanted =
        |case: &Case| [&case.file, &case.section, &case.title.1].iter().any(|text| text.contains(&wanted)) || wanted.is_empty();
    let chosen: Vec<Case> = files.iter().flat_map(of).filter(is_wanted).collect();
    assert!(!chosen.is_empty(), "no case has {wanted:?} in its file, section or title");
    let wrong: Vec<String> = chosen.iter().filter_map(Case::wrong).collect();
    println!("{} cases", chosen.len());
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), chosen.len(), wrong.join("\n"));
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let text = "section S\nevery case begins\n10 c1 SHARED -- SELECT a\n\ncase C\n20 c2 SHARED\n30 c2 RESERVED\n\
                40 c2 EXCLUSIVE=BUSY\n50 c2 U(NONE)\nfound nothing\n";
    let wrong = cases("f", text)[0].wrong().unwrap();
    assert!(wrong.starts_with("f:5: S: C\n  must be found:\n    nothing\n  found:\n    "), "{wrong}");
    for (text, place) in [
        ("case C\n10 c1 open\n", "f:1: "),
        ("10 c1 open\n", "f:1: "),
        ("section S\nfound nothing\n", "f:2: "),
        ("case C\nfound nothing\n10 c1 open\n", "f:3: "),
        ("section S\ncase C\nfound nothing\nevery case begins\n", "f:4: "),
    ] {
        let panic = std::panic::catch_unwind(|| cases("f", text)).unwrap_err();
        let said = panic.downcast_ref::<String>().unwrap();
        assert!(said.starts_with(place), "{text:?}: {said}");
    }
}
