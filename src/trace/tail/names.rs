//! The end of a names file that grows: whole lines, each once.

use crate::trace::directory::parse;
use crate::trace::error::{Place, Problem};
use crate::trace::names::Object;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

/// A longer line is no line of names.
const LONGEST_LINE: usize = 16 << 20;

/// The end of a names file that grows.
pub(crate) struct NamesTail {
    path: PathBuf,
    offset: u64,
    line: u64,
    /// The beginning of a line whose end was not there yet.
    partial: Vec<u8>,
}

impl NamesTail {
    pub(crate) fn new(path: PathBuf) -> NamesTail {
        NamesTail { path, offset: 0, line: 0, partial: Vec::new() }
    }

    /// Hands every whole line that is new to `each`.
    pub(crate) fn read(&mut self, each: &mut impl FnMut(Result<Object, Problem>)) {
        // Nothing is new, most of the time: that costs one system call.
        if std::fs::metadata(&self.path).is_ok_and(|meta| meta.len() == self.offset) {
            return;
        }
        // It may not be there: names are then unknown, and the records still say what they can.
        let Ok(mut file) = File::open(&self.path) else { return };
        if file.seek(SeekFrom::Start(self.offset)).is_err() {
            return;
        }
        let before = self.partial.len();
        if file.take(LONGEST_LINE as u64).read_to_end(&mut self.partial).is_err() {
            self.partial.truncate(before);
            return;
        }
        self.offset += (self.partial.len() - before) as u64;
        let mut rest = 0;
        while let Some(end) = self.partial.get(rest..).and_then(|bytes| bytes.iter().position(|&byte| byte == b'\n')) {
            self.line += 1;
            let line = self.partial.get(rest..rest + end).unwrap_or_default();
            let what = |what| Problem::unusable(&self.path, Place::Line(self.line), format!("{what}; the line is skipped"));
            each(parse(line).map_err(what));
            rest += end + 1;
        }
        self.partial.drain(..rest);
        if self.partial.len() >= LONGEST_LINE {
            self.partial.clear();
        }
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
            tail.read(&mut |line| lines.push(line.map(|line| line.len()).map_err(|problem| problem.place)));
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
