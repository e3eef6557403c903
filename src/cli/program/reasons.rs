//! The messages that `locktrace run` makes from the [`notes`](super::notes) at its end: what went wrong, and why nothing was recorded.
//!
//! All texts from traced processes are printed without control characters.
#![forbid(unsafe_code)]

use super::notes::{Note, NoteKind};
use crate::trace::text::Clean;
use std::process::ExitStatus;

/// Most lines about what went wrong.
const MOST_LINES: usize = 5;

/// Characters of a text that a line shows.
const LONGEST: usize = 400;

/// What went wrong in a traced process, the worst first.
pub(in crate::cli) fn troubles(notes: &[Note]) -> Vec<String> {
    let mut troubles: Vec<(&Note, String)> = notes.iter().filter_map(|note| Some((note, trouble(note)?))).collect();
    troubles.sort_by_key(|(note, _)| note.kind);
    let more = troubles.len().saturating_sub(MOST_LINES);
    let mut lines: Vec<String> = troubles.into_iter().take(MOST_LINES).map(|(_, line)| line).collect();
    if more > 0 {
        lines.push(format!(
            "{more} more such {} from other processes, or with other reasons",
            if more == 1 { "line" } else { "lines" }
        ));
    }
    lines
}

fn trouble(note: &Note) -> Option<String> {
    let (who, why) = (who(note), shown(&note.why));
    Some(match note.kind {
        NoteKind::NotRecording => format!("{who}: not recording: {why}"),
        // The recorder's text has the kind: records, names.
        NoteKind::Lost => format!("{who}: {why}"),
        NoteKind::Config => format!("{who}: {why}"),
        NoteKind::NotCovered => format!("{who}: {} is not traced: {why}", its_sqlite(note)),
        NoteKind::Covered if without_sql(note) => format!(
            "{who}: {} is traced without the text of its SQL: it has no symbols that lead to its functions",
            its_sqlite(note)
        ),
        NoteKind::Covered | NoteKind::Memory | NoteKind::Excluded => return None,
    })
}

fn without_sql(note: &Note) -> bool {
    note.why.starts_with("no functions")
}

/// The program, and how many of its processes.
fn who(note: &Note) -> String {
    let exe = if note.exe.is_empty() { "a program".to_owned() } else { shown(&note.exe) };
    match note.others {
        0 => format!("{exe} (pid {})", note.pid),
        1 => format!("{exe} (pid {} and one other process)", note.pid),
        others => format!("{exe} (pid {} and {others} other processes)", note.pid),
    }
}

fn its_sqlite(note: &Note) -> String {
    if note.module.is_empty() {
        "its SQLite".to_owned()
    } else if note.module == note.exe {
        "the SQLite inside it".to_owned()
    } else {
        format!("the SQLite in {}", shown(&note.module))
    }
}

/// A text from outside, cut to what a line has room for.
fn shown(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", Clean(&text[..end])),
        None => Clean(text).to_string(),
    }
}

/// A run that recorded nothing.
pub(in crate::cli) struct EmptyRun<'r> {
    /// The program.
    pub name: &'r str,
    pub status: ExitStatus,
    /// Whether `run` said before the start that the program cannot be traced.
    pub explained: bool,
    /// The names of `--not`.
    pub excluded: &'r [String],
}

/// Why nothing was recorded.
pub(in crate::cli) fn nothing(notes: &[Note], run: &EmptyRun<'_>) -> String {
    let EmptyRun { name, status, explained, excluded } = *run;
    let first = |kind: NoteKind| notes.iter().find(|note| note.kind == kind);
    if first(NoteKind::NotRecording).or(first(NoteKind::Config)).is_some() {
        return "no trace: recording failed (a line above says why)".to_owned();
    }
    if let Some(note) = first(NoteKind::Memory) {
        let mut why = format!(
            "no trace: {} opened only databases in memory or temporary ones. Nobody else can open these, so there are no locks to record",
            who(note)
        );
        // Whatever the version: python3.13, python3-intel64.
        if note.exe.rsplit('/').next().is_some_and(|file| file.starts_with("python")) {
            why.push_str(
                ". Django's tests do so by default (an in-memory test database). To trace them, give the test database a file: \
                 DATABASES = {\"default\": {…, \"TEST\": {\"NAME\": \"test.sqlite3\"}}}",
            );
        }
        return why;
    }
    let covered: Vec<String> = notes.iter().filter(|note| note.kind == NoteKind::Covered).map(ready).collect();
    if !covered.is_empty() {
        let mut why =
            format!("no trace: no database was opened. Ready to be traced: {}", covered[..covered.len().min(3)].join("; "));
        if let Some(more) = covered.len().checked_sub(3).filter(|more| *more > 0) {
            why.push_str(&format!("; and {more} more"));
        }
        if first(NoteKind::NotCovered).is_some() {
            why.push_str(". One that cannot be traced may have opened a database (a line above says which)");
        }
        why.push_str(&ended(status));
        return why;
    }
    if first(NoteKind::NotCovered).is_some() {
        return "no trace: the only SQLite that was found cannot be traced (a line above says why). If it can load SQLite extensions, \
                load the one that `locktrace extension` prints"
            .to_owned();
    }
    if let Some(note) = first(NoteKind::Excluded) {
        return format!("no trace: {} was left out, as --not says, and no SQLite was found in any other process", who(note));
    }
    let mut why = format!("no trace: no database was recorded while {name} ran");
    if !explained {
        why.push_str(
            ": no SQLite was found in any process that a preloaded library gets into. The program opened no database; or a static, musl or \
             setuid program that it started did; or a Go program that has SQLite translated to Go; or a service that was running \
             before. `locktrace doctor -- PROGRAM` says which way works for one",
        );
        if !excluded.is_empty() {
            why.push_str(&format!(". --not left {} out", shown(&excluded.join(", "))));
        }
        why.push_str(&ended(status));
    }
    why
}

/// A process that was ready to be traced but opened no database.
fn ready(note: &Note) -> String {
    let version =
        if note.why.starts_with(|c: char| c.is_ascii_digit()) { format!(", version {}", shown(&note.why)) } else { String::new() };
    format!("{} and {}{version}", who(note), its_sqlite(note))
}

/// How the program ended, if that can be the reason.
fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!(". Signal {signal} ended the program, perhaps before it came to that"),
        (None, Some(code)) if code != 0 => format!(". The program ended with code {code}, perhaps before it came to that"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn note(kind: NoteKind, exe: &str, module: &str, why: &str) -> Note {
        Note { kind, pid: 7, others: 0, exe: exe.to_owned(), module: module.to_owned(), why: why.to_owned() }
    }

    fn run(status: i32) -> EmptyRun<'static> {
        EmptyRun { name: "x", status: ExitStatus::from_raw(status), explained: false, excluded: &[] }
    }

    fn why(notes: &[Note]) -> String {
        nothing(notes, &run(0))
    }

    #[test]
    fn what_went_wrong_comes_worst_first_and_clean() {
        let notes = [
            note(NoteKind::Covered, "/bin/x", "/bin/x", "3.50.1"),
            note(NoteKind::Covered, "/bin/x", "/lib/m.so", "no functions: without SQL"),
            note(NoteKind::NotCovered, "/bin/x", "/lib/c.so", "its calls are checked (CFI)"),
            Note { others: 2, ..note(NoteKind::NotRecording, "/bin/\x1b[31mx", "", "/t: Permission denied\nmore") },
        ];
        assert_eq!(
            troubles(&notes),
            [
                "/bin/\\u{1b}[31mx (pid 7 and 2 other processes): not recording: /t: Permission denied more",
                "/bin/x (pid 7): the SQLite in /lib/c.so is not traced: its calls are checked (CFI)",
                "/bin/x (pid 7): the SQLite in /lib/m.so is traced without the text of its SQL: it has no symbols that lead to its functions",
            ]
        );
        let many: Vec<Note> = (0..9).map(|number| note(NoteKind::Lost, "/bin/x", "", &format!("{number}"))).collect();
        let lines = troubles(&many);
        assert_eq!((lines.len(), &*lines[5]), (6, "4 more such lines from other processes, or with other reasons"));
        let long = troubles(&[note(NoteKind::Config, "/bin/x", "", &"é".repeat(5000))]);
        assert!(long[0].len() < 1000 && long[0].ends_with('…'), "{long:?}");
    }

    #[test]
    fn the_reason_is_the_one_that_the_notes_give() {
        let covered = note(NoteKind::Covered, "/bin/x", "/lib/s.so", "3.50.1");
        let memory = note(NoteKind::Memory, "/usr/bin/python3.11", "", "");
        let left = note(NoteKind::NotCovered, "/bin/x", "/lib/c.so", "CFI");
        let failed = note(NoteKind::NotRecording, "/bin/x", "", "/t: no");
        for (notes, says) in [
            (&[][..], "no SQLite was found in any process"),
            (&[note(NoteKind::Excluded, "/bin/x", "", "")], "/bin/x (pid 7) was left out, as --not says"),
            (std::slice::from_ref(&left), "the only SQLite that was found cannot be traced"),
            (
                &[left.clone(), covered.clone()],
                "no database was opened. Ready to be traced: /bin/x (pid 7) and the SQLite in /lib/s.so, version 3.50.1. One that cannot be traced may",
            ),
            (&[covered.clone(), memory.clone()], "TEST"),
            (&[memory.clone(), note(NoteKind::Config, "/bin/x", "", "LOCKTRACE_LIMIT is \"x\"")], "recording failed"),
            (&[memory, covered, left.clone(), failed], "recording failed"),
        ] {
            let why = why(notes);
            assert!(why.starts_with("no trace: ") && why.contains(says), "{why}");
        }
        let killed = nothing(&[], &run(9));
        assert!(killed.contains("Signal 9 ended the program"), "{killed}");
        let left_out = nothing(&[], &EmptyRun { excluded: &["node".to_owned()], ..run(0) });
        assert!(left_out.ends_with(". --not left node out"), "{left_out}");
        // Of the program itself, at its end: no module, no version.
        let ended = why(&[note(NoteKind::Covered, "/bin/x", "", "no database was opened")]);
        assert_eq!(ended, "no trace: no database was opened. Ready to be traced: /bin/x (pid 7) and its SQLite");
        assert_eq!(nothing(&[], &EmptyRun { explained: true, ..run(0) }), "no trace: no database was recorded while x ran");
    }
}
