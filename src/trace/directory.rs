//! The logs of a trace directory, with their headers and names but without records.
//!
//! One bad file never hides the others: it becomes a problem. Only a directory in which nothing can be read is an error.
#![forbid(unsafe_code)]

use super::error::{Error, Place, Problem};
use super::growing_lines::{Piece, piece};
use super::names::{Names, Taken};
use super::{Log, ring};
use shim::format::header::MAGIC;
use shim::format::{NAMES_EXTENSION, RING_EXTENSION};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Longer lines cannot be lines of names, and are skipped.
const LONGEST_LINE: u64 = 16 << 20;

#[derive(Default)]
struct LogFiles {
    ring: bool,
    names: bool,
}

/// Reads the headers and names of every log in a directory.
pub(crate) fn read(dir: &Path) -> Result<(Vec<Log>, Vec<Problem>), Error> {
    let entries = std::fs::read_dir(dir).map_err(|error| Error::io(dir, Place::Whole, "read the directory", error))?;
    let mut pairs: BTreeMap<String, LogFiles> = BTreeMap::new();
    let mut problems = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Error::io(dir, Place::Whole, "read the directory", error))?;
        let path = entry.path();
        let (Some(stem), Some(extension)) = (path.file_stem(), path.extension()) else { continue };
        let (ring, names) = (extension == RING_EXTENSION, extension == NAMES_EXTENSION);
        if !ring && !names {
            continue;
        }
        let Some(id) = stem.to_str() else {
            problems.push(Problem::unusable(&path, Place::Whole, "the file's name is not UTF-8; expected <pid>-<start>; not used"));
            continue;
        };
        let pair = pairs.entry(id.to_owned()).or_default();
        pair.ring |= ring;
        pair.names |= names;
    }
    if pairs.is_empty() && problems.is_empty() {
        return Err(match below(dir) {
            Some(there) => Error::new(dir, Place::Whole, format!("no trace in this directory, but in {}", there.display())),
            None => Error::new(dir, Place::Whole, EMPTY),
        });
    }
    let mut logs = Vec::new();
    for (id, pair) in pairs {
        let names_path = dir.join(format!("{id}.{NAMES_EXTENSION}"));
        if !pair.ring {
            let what = format!("no {id}.{RING_EXTENSION} beside it: names without records; not used");
            problems.push(Problem::unusable(&names_path, Place::Whole, what));
            continue;
        }
        let ring_path = dir.join(format!("{id}.{RING_EXTENSION}"));
        let header = match ring::open(&ring_path) {
            Ok((_, header)) => header,
            Err(error) => {
                problems.push(unfinished(&ring_path).unwrap_or_else(|| error.into_problem()));
                continue;
            }
        };
        let mut names = Names::default();
        if pair.names {
            read_names(&names_path, &mut names, &mut problems);
        } else {
            let what = format!("no {id}.{NAMES_EXTENSION} beside it: its paths, threads and SQL are unknown");
            problems.push(Problem::unusable(&ring_path, Place::Whole, what));
        }
        if header.lost_names > 0 {
            let what =
                format!("{} lines of names could not be written (disk full?): some paths or SQL are unknown", header.lost_names);
            problems.push(Problem::unusable(&names_path, Place::Whole, what));
        }
        for (what, limit) in names.caps() {
            let what = format!("more than {limit} names of kind `{what}`: later ones are unknown");
            problems.push(Problem::notice(&names_path, Place::Whole, what));
        }
        logs.push(Log::new(id, ring_path, &header, names));
    }
    if logs.is_empty() {
        let more = problems.len().saturating_sub(1);
        let first = problems.first().map(Problem::to_string).unwrap_or_default();
        let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
        return Err(Error::new(dir, Place::Whole, format!("nothing in this trace can be read: {first}{more}")));
    }
    Ok((logs, problems))
}

/// The notice about a ring file without a header: its process is creating it, or died while it did.
fn unfinished(ring: &Path) -> Option<Problem> {
    use std::io::Read as _;
    let mut magic = [0; MAGIC.len()];
    std::fs::File::open(ring).ok()?.read_exact(&mut magic).ok()?;
    let what = "it has no header yet: its process is creating it, or died while it did; not used";
    (magic == [0; MAGIC.len()]).then(|| Problem::notice(ring, Place::Whole, what))
}

/// The trace directory just below this one that `run` or `demo` may have made.
fn below(dir: &Path) -> Option<PathBuf> {
    let has_rings = |dir: &Path| {
        let mut entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.any(|entry| entry.path().extension().is_some_and(|extension| extension == RING_EXTENSION))
    };
    ["locktrace-trace", "trace"].iter().map(|name| dir.join(name)).find(|there| has_rings(there))
}

const EMPTY: &str = "no trace in this directory: expected <id>.ring files. Was LOCKTRACE_DIR set to it in the traced process, was the \
                     extension loaded there, and did it open a database afterwards?";

/// Reads one names file. Each bad line is a problem, and the rest is used.
fn read_names(path: &Path, names: &mut Names, problems: &mut Vec<Problem>) {
    let file = match std::fs::metadata(path)
        .and_then(|meta| if meta.is_file() { std::fs::File::open(path) } else { Err(std::io::Error::other("not a regular file")) })
    {
        Ok(file) => file,
        Err(error) => {
            problems.push(Error::io(path, Place::Whole, "read the names", error).into_problem());
            return;
        }
    };
    let mut reader = BufReader::with_capacity(NULS, file);
    let mut bad = BadLines::default();
    let mut bytes = Vec::new();
    for line in 1.. {
        let skipped = match skip_nuls(&mut reader) {
            Ok(Some(skipped)) => skipped,
            Ok(None) => break,
            Err(error) => {
                problems.push(Error::io(path, Place::Line(line), "read the names", error).into_problem());
                break;
            }
        };
        match next_line(&mut reader, &mut bytes) {
            Ok(LineRead::End) => break,
            Ok(LineRead::Torn) => {
                let what =
                    "torn last line (no newline at its end): the process died while it wrote it, or the disk was full; not used";
                problems.push(Problem::notice(path, Place::Line(line), what));
                break;
            }
            Ok(LineRead::TooLong) => bad.note(path, line, format!("longer than {LONGEST_LINE} bytes"), problems),
            Ok(LineRead::Whole) => {
                let (text, before) = match piece(&bytes) {
                    Piece::Line(text, 0) if skipped && !text.starts_with(b"{") => (&[][..], text),
                    Piece::Line(text, gap) => (text, bytes.get(..gap).unwrap_or_default()),
                    Piece::Gap => (&[][..], &bytes[..]),
                };
                // A claimed place without any byte written is not reported.
                if before.iter().any(|&byte| byte != 0) {
                    problems.push(Problem::notice(path, Place::Line(line), HALF));
                }
                if text.is_empty() && !before.is_empty() {
                    continue;
                }
                match parse(text).and_then(|object| names.take(object)) {
                    Ok(Taken::Yes) => {}
                    Ok(Taken::Unknown(t)) => bad.unknown(path, line, &t, problems),
                    Err(what) => bad.note(path, line, what, problems),
                }
            }
            Err(error) => {
                problems.push(Error::io(path, Place::Line(line), "read the names", error).into_problem());
                break;
            }
        }
    }
    bad.rest(path, problems);
}

/// This many NULs are the end of what was written: except for the first line, no claimed place is as long.
const NULS: usize = 64 << 10;

/// Skips NULs. Returns whether there were any, or `None` at the end of what was written.
fn skip_nuls(reader: &mut impl BufRead) -> std::io::Result<Option<bool>> {
    let mut skipped = 0;
    loop {
        let buffer = reader.fill_buf()?;
        let nuls = buffer.iter().take_while(|&&byte| byte == 0).count();
        if nuls == 0 {
            return Ok(Some(skipped > 0));
        }
        reader.consume(nuls);
        skipped += nuls;
        if skipped >= NULS {
            return Ok(None);
        }
    }
}

const HALF: &str = "half a line: the process is writing it, or died while it did; not used";

/// Parses one JSON object.
pub(crate) fn parse(line: &[u8]) -> Result<super::names::Object, String> {
    serde_json::from_slice(line).map_err(|error| format!("expected a JSON object: {error}"))
}

/// The result of reading a line.
pub(crate) enum LineRead {
    /// A whole line; its bytes are in the buffer.
    Whole,
    /// The file ended without a newline.
    Torn,
    /// Skipped.
    TooLong,
    /// The file ended.
    End,
}

/// Reads one line into `bytes`, without its newline and up to [`LONGEST_LINE`].
pub(crate) fn next_line(reader: &mut impl BufRead, bytes: &mut Vec<u8>) -> std::io::Result<LineRead> {
    use std::io::Read as _;
    bytes.clear();
    reader.by_ref().take(LONGEST_LINE).read_until(b'\n', bytes)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        return Ok(LineRead::Whole);
    }
    if bytes.is_empty() {
        return Ok(LineRead::End);
    }
    if (bytes.len() as u64) < LONGEST_LINE {
        return Ok(LineRead::Torn);
    }
    loop {
        let chunk = reader.fill_buf()?;
        if chunk.is_empty() {
            return Ok(LineRead::Torn);
        }
        let newline = chunk.iter().position(|&byte| byte == b'\n');
        let used = newline.map_or(chunk.len(), |at| at + 1);
        reader.consume(used);
        if newline.is_some() {
            return Ok(LineRead::TooLong);
        }
    }
}

/// The bad lines of one file. The first few get a problem each, the others are counted.
#[derive(Default)]
pub(crate) struct BadLines {
    shown: u64,
    more: u64,
    /// Unknown line types that have been reported.
    unknown: Vec<String>,
}

impl BadLines {
    /// Reports a line of an unknown type, as a notice and once for each type.
    pub(crate) fn unknown(&mut self, path: &Path, line: u64, t: &str, problems: &mut Vec<Problem>) {
        if self.unknown.len() < 5 && !self.unknown.iter().any(|known| known == t) {
            let what = format!("lines of the unknown type {t:?} are skipped (a newer locktrace wrote them?)");
            problems.push(Problem::notice(path, Place::Line(line), what));
            self.unknown.push(t.to_owned());
        }
    }

    /// Reports a skipped line.
    pub(crate) fn note(&mut self, path: &Path, line: u64, what: String, problems: &mut Vec<Problem>) {
        if self.shown < 5 {
            self.shown += 1;
            problems.push(Problem::unusable(path, Place::Line(line), format!("{what}; the line is skipped")));
        } else {
            self.more += 1;
        }
    }

    /// Reports the number of the lines that were only counted.
    pub(crate) fn rest(&self, path: &Path, problems: &mut Vec<Problem>) {
        if self.more > 0 {
            problems.push(Problem::unusable(path, Place::Whole, format!("{} more lines are bad and were skipped", self.more)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The threads that this names file names, and what is wrong with it.
    fn threads(bytes: &[u8]) -> (Vec<u32>, Vec<String>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1-1.names");
        std::fs::write(&path, bytes).unwrap();
        let (mut names, mut problems) = (Names::default(), Vec::new());
        read_names(&path, &mut names, &mut problems);
        let found = (1..10).filter(|&tid| names.thread(tid).is_some()).collect();
        (found, problems.iter().map(|problem| format!("{:?} {}", problem.place, problem.what)).collect())
    }

    #[test]
    fn places_without_a_line_are_nothing_and_half_lines_are_said() {
        let line = |tid: u32| format!("{{\"t\":\"thread\",\"tid\":{tid},\"name\":\"x\"}}\n").into_bytes();
        let headless = |tid: u32| [b"\0", line(tid).get(1..).unwrap()].concat();
        let zeros = vec![0; 200_000];
        assert_eq!(threads(&[line(1), line(2)].concat()), (vec![1, 2], vec![]));
        assert_eq!(threads(&[&line(1)[..], &zeros].concat()), (vec![1], vec![]));
        assert_eq!(threads(&[&line(1)[..], &[0; 70], &line(2), &zeros].concat()), (vec![1, 2], vec![]));
        let (found, problems) = threads(&[&line(1)[..], &headless(2), &line(3), &zeros].concat());
        assert_eq!((found, problems.len()), (vec![1, 3], 1));
        assert!(problems[0].starts_with("Line(2) half a line"), "{problems:?}");
        let half = [&b"\0\"t\":"[..], &[0; 60]].concat();
        let (found, problems) = threads(&[&line(1)[..], &half, &line(3), &zeros].concat());
        assert_eq!((found, problems.len()), (vec![1, 3], 1), "{problems:?}");
        let (found, problems) = threads(&[&line(1)[..], &half, &zeros].concat());
        assert_eq!((found, problems.len()), (vec![1], 1), "{problems:?}");
        assert!(problems[0].contains("torn last line"), "{problems:?}");
        let (found, problems) = threads(&[&line(1)[..], b"{\"t\":\"thre"].concat());
        assert_eq!((found, problems.len()), (vec![1], 1), "{problems:?}");
    }
}
