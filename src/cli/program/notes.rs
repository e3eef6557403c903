//! The notes of the preloaded library: a file of JSON lines, because the streams of a traced program belong to the program.
//!
//! `locktrace run` creates the file and names it in `LOCKTRACE_NOTES`. Every traced process appends whole lines to it, also processes of other
//! users. A line is `{"t":"note","pid":123,"exe":"/usr/bin/x","kind":"lost","module":"","why":"in words"}`, of at most 4 KiB. Any process that
//! knows the name can write to the file. So lines that are no notes are skipped, and only the beginning of the file is read.
#![forbid(unsafe_code)]

use serde_json::Value;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The environment variable that names the file.
pub(in crate::cli) const VARIABLE: &str = "LOCKTRACE_NOTES";

/// How many bytes of the file are read, and how many different notes in them.
const MOST_BYTES: u64 = 4 << 20;
const MOST_NOTES: usize = 1000;

/// What a note is about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(in crate::cli) enum NoteKind {
    /// The log of a process could not be created.
    NotRecording,
    /// Records or names are being lost.
    Lost,
    /// A `LOCKTRACE_…` variable has a bad value.
    Config,
    /// A SQLite was found and stays untraced.
    NotCovered,
    /// A SQLite was found and is traced.
    Covered,
    /// A database without locks was opened: in memory, or temporary.
    Memory,
    /// The process is one that `--not` names.
    Excluded,
}

impl NoteKind {
    fn of(name: &str) -> Option<NoteKind> {
        Some(match name {
            "not-recording" => NoteKind::NotRecording,
            "lost" => NoteKind::Lost,
            "config" => NoteKind::Config,
            "not-covered" => NoteKind::NotCovered,
            "covered" => NoteKind::Covered,
            "memory" => NoteKind::Memory,
            "excluded" => NoteKind::Excluded,
            _ => return None,
        })
    }
}

/// A note, and how many processes wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cli) struct Note {
    pub kind: NoteKind,
    /// The first process that wrote it.
    pub pid: u32,
    /// How many others wrote the same.
    pub others: usize,
    /// The program's file.
    pub exe: String,
    /// The file with the SQLite in question; empty if there is none.
    pub module: String,
    pub why: String,
}

/// The file, removed when dropped.
pub(in crate::cli) struct Notes {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl Notes {
    /// Creates the file, in memory if possible: notes often report that a disk is full.
    pub(in crate::cli) fn new() -> io::Result<Notes> {
        let places = [PathBuf::from("/dev/shm"), std::env::temp_dir(), PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
        let mut result = Err(io::ErrorKind::NotFound.into());
        for place in places {
            result = Notes::below(&place);
            if result.is_ok() {
                break;
            }
        }
        result
    }

    fn below(place: &Path) -> io::Result<Notes> {
        let dir = tempfile::Builder::new().prefix("locktrace-notes-").tempdir_in(place)?;
        // Other users can open a file whose name they know, and can neither list nor replace it. Set after creation, so that no umask applies.
        fs::set_permissions(dir.path(), Permissions::from_mode(0o711))?;
        let path = dir.path().join("notes");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.set_permissions(Permissions::from_mode(0o622))?;
        Ok(Notes { path, _dir: dir })
    }

    pub(in crate::cli) fn path(&self) -> &Path {
        &self.path
    }

    /// The notes. Equal notes are merged, in the order of their first occurrence.
    pub(in crate::cli) fn read(&self) -> Vec<Note> {
        let mut bytes = Vec::new();
        // What was read before an error is used.
        let _ = File::open(&self.path).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut bytes));
        gather(&bytes)
    }
}

fn gather(bytes: &[u8]) -> Vec<Note> {
    let mut notes: Vec<Note> = Vec::new();
    // Counts each process once for equal notes.
    let mut writers = HashSet::new();
    for note in bytes.split(|&byte| byte == b'\n').filter_map(parse) {
        let same =
            |known: &Note| known.kind == note.kind && known.exe == note.exe && known.module == note.module && known.why == note.why;
        match notes.iter().position(same) {
            Some(place) => notes[place].others += usize::from(writers.insert((place, note.pid))),
            None if notes.len() < MOST_NOTES => {
                writers.insert((notes.len(), note.pid));
                notes.push(note);
            }
            None => {}
        }
    }
    notes
}

fn parse(line: &[u8]) -> Option<Note> {
    // The recorder's texts are UTF-8; a path in them need not be.
    let value: Value = serde_json::from_str(&String::from_utf8_lossy(line)).ok()?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    if text("t") != "note" {
        return None;
    }
    Some(Note {
        kind: NoteKind::of(&text("kind"))?,
        pid: u32::try_from(value.get("pid")?.as_u64()?).ok()?,
        others: 0,
        exe: text("exe"),
        module: text("module"),
        why: text("why"),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::io::Write;

    fn line(pid: u32, kind: &str, why: &str) -> String {
        format!("{}\n", serde_json::json!({"t": "note", "pid": pid, "exe": "/bin/x", "kind": kind, "module": "", "why": why}))
    }

    #[test]
    fn equal_notes_are_one_and_what_is_no_note_is_skipped() {
        let mut bytes =
            [line(1, "lost", "a"), line(2, "lost", "a"), line(1, "lost", "a"), line(3, "memory", "")].concat().into_bytes();
        bytes.extend_from_slice(b"\xff\xfe\n{\"t\":\"note\"}\n[]\n\n{\"t\":\"note\",\"pid\":-1,\"kind\":\"lost\"}\n");
        bytes.extend(line(4, "no-such-kind", "").into_bytes());
        bytes.extend(b"{\"t\":\"note\",\"pid\":5,\"exe\":\"/\xff\",\"kind\":\"lost\",\"why\":\"bytes\"}\n");
        // A process was killed in the middle of its line.
        bytes.extend(&line(6, "lost", "torn").as_bytes()[..30]);
        let notes = gather(&bytes);
        let merged: Vec<_> = notes.iter().map(|note| (note.kind, note.pid, note.others, &*note.why)).collect();
        assert_eq!(merged, [(NoteKind::Lost, 1, 1, "a"), (NoteKind::Memory, 3, 0, ""), (NoteKind::Lost, 5, 0, "bytes")]);
        assert_eq!(gather(&vec![b'['; 1 << 20]), [], "nesting without end");
    }

    #[test]
    fn a_flood_is_cut() {
        let notes = Notes::new().unwrap();
        let mut file = OpenOptions::new().append(true).open(notes.path()).unwrap();
        for number in 0..3 * MOST_NOTES {
            file.write_all(line(1, "lost", &number.to_string()).as_bytes()).unwrap();
        }
        file.write_all(&vec![b'x'; 2 * MOST_BYTES as usize]).unwrap();
        assert_eq!(notes.read().len(), MOST_NOTES);
    }

    #[test]
    fn the_file_is_there_for_every_user_and_gone_afterwards() {
        let notes = Notes::new().unwrap();
        let path = notes.path().to_owned();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o711, 0o622));
        drop(notes);
        assert!(!path.parent().unwrap().exists());
    }
}
