//! The end of a growing names file: complete lines, each once.

use crate::trace::directory::parse;
use crate::trace::error::{Place, Problem};
use crate::trace::growing_lines::GrowingLines;
use crate::trace::names::Object;
use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

/// The end of a growing names file.
pub(crate) struct NamesTail {
    path: PathBuf,
    lines: GrowingLines,
    line: u64,
}

impl NamesTail {
    pub(crate) fn new(path: PathBuf) -> NamesTail {
        NamesTail { path, lines: GrowingLines::default(), line: 0 }
    }

    /// Whether it should be read even if its log has no new records.
    pub(crate) fn is_waiting(&self) -> bool {
        self.lines.is_waiting()
    }

    /// Passes every new complete line to `each`.
    pub(crate) fn read(&mut self, now: Instant, each: &mut impl FnMut(Result<Object, Problem>)) {
        // A file of an older version, or a copy, ends with its last line. Then one system call is enough.
        if !self.lines.is_waiting() && std::fs::metadata(&self.path).is_ok_and(|meta| meta.len() == self.lines.offset()) {
            return;
        }
        // If the file is missing, the names are unknown, and the records are still used.
        let Ok(file) = File::open(&self.path) else { return };
        let mut read = |from: u64, len: usize| {
            let mut bytes = vec![0; len];
            let n = crate::trace::ring::read_up_to(&file, &mut bytes, from).ok()?;
            bytes.truncate(n);
            Some(bytes)
        };
        let (path, number) = (&self.path, &mut self.line);
        self.lines.read(now, &mut read, &mut |line| {
            *number += 1;
            let what = |what| Problem::unusable(path, Place::Line(*number), format!("{what}; the line is skipped"));
            each(parse(line).map_err(what));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_names_comes_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1-1.names");
        let mut tail = NamesTail::new(path.clone());
        let read = |tail: &mut NamesTail| {
            let mut lines = Vec::new();
            tail.read(Instant::now(), &mut |line| lines.push(line.map(|line| line.len()).map_err(|problem| problem.place)));
            lines
        };
        assert_eq!(read(&mut tail), []);
        std::fs::write(&path, "{\"a\":1}\n{\"a\":1,").unwrap();
        assert_eq!(read(&mut tail), [Ok(1)]);
        assert_eq!(read(&mut tail), []);
        std::fs::write(&path, "{\"a\":1}\n{\"a\":1,\"b\":2}\nno\n").unwrap();
        assert_eq!(read(&mut tail), [Ok(2), Err(Place::Line(3))]);
    }
}
