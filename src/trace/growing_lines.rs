//! The lines of a growing names file: each once, and only complete ones.
//!
//! A writer claims a place for its line, and writes the line's first byte last (`shim::format`). So a place that begins with a NUL is a gap: its line
//! is not written yet, or its writer died. Lines after a gap are returned at once. The gap is read again until its line is there, or [`PATIENCE`] has
//! passed.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

/// How long a claimed place may stay empty before it is abandoned.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of the first read. Reads become larger while no line ends in them.
const STEP: usize = 16 << 10;
/// A longer line cannot be a line of names.
const LONGEST_LINE: usize = 16 << 20;
/// Most gaps that are read again.
const MOST_GAPS: usize = 256;

/// A place that was claimed but not written yet.
#[derive(Debug)]
struct Gap {
    from: u64,
    to: u64,
    since: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct GrowingLines {
    offset: u64,
    gaps: Vec<Gap>,
}

/// The bytes between two newlines.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Piece<'a> {
    /// A line, and the length of a gap before it.
    Line(&'a [u8], usize),
    /// A gap only.
    Gap,
}

/// Finds the line in a piece without its newline: it comes after the last NUL.
pub(crate) fn piece(bytes: &[u8]) -> Piece<'_> {
    let Some(last) = bytes.iter().rposition(|&byte| byte == 0) else { return Piece::Line(bytes, 0) };
    match bytes.get(last + 1..) {
        Some(line) if line.first() == Some(&b'{') => Piece::Line(line, last + 1),
        _ => Piece::Gap,
    }
}

impl GrowingLines {
    /// Whether nothing was read so far, or a gap has to be read again.
    pub(crate) fn is_waiting(&self) -> bool {
        self.offset == 0 || !self.gaps.is_empty()
    }

    /// The offset of the next line.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Passes every new complete line to `each`, without its newline. `read` returns the bytes from an offset on, at most this many, and fewer only at
    /// the end of the file.
    pub(crate) fn read(&mut self, now: Instant, read: &mut dyn FnMut(u64, usize) -> Option<Vec<u8>>, each: &mut dyn FnMut(&[u8])) {
        self.gaps.retain(|gap| {
            let len = usize::try_from(gap.to - gap.from).unwrap_or(usize::MAX);
            let bytes = read(gap.from, len).unwrap_or_default();
            if bytes.len() == len && !bytes.contains(&0) {
                bytes.split_inclusive(|&byte| byte == b'\n').for_each(|line| each(line.strip_suffix(b"\n").unwrap_or(line)));
                return false;
            }
            now.duration_since(gap.since) < PATIENCE
        });
        let mut step = STEP;
        while let Some(bytes) = read(self.offset, step) {
            let mut at = 0;
            while let Some(end) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == b'\n')) {
                let start = self.offset + at as u64;
                let (line, gap) = match piece(bytes.get(at..at + end).unwrap_or_default()) {
                    Piece::Line(line, gap) => (Some(line), gap),
                    Piece::Gap => (None, end + 1),
                };
                if gap > 0 && self.gaps.len() < MOST_GAPS {
                    self.gaps.push(Gap { from: start, to: start + gap as u64, since: now });
                }
                if let Some(line) = line {
                    each(line);
                }
                at += end + 1;
            }
            self.offset += at as u64;
            let rest = bytes.get(at..).unwrap_or_default();
            // The end of the file, or of its written part.
            if bytes.len() < step || rest.iter().all(|&byte| byte == 0) && at == 0 {
                break;
            }
            if at == 0 && step >= LONGEST_LINE {
                // Too long for a line of names. What follows is read the next time.
                self.offset += step as u64;
                break;
            }
            step = (step * 4).min(LONGEST_LINE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is new in this file, at this time.
    fn new(lines: &mut GrowingLines, now: Instant, file: &[u8]) -> Vec<String> {
        let mut said = Vec::new();
        let mut read = |from: u64, len: usize| Some(file.iter().skip(from as usize).take(len).copied().collect());
        lines.read(now, &mut read, &mut |line| said.push(String::from_utf8_lossy(line).into_owned()));
        said
    }

    #[test]
    fn what_stands_behind_the_last_nul_is_the_line() {
        assert_eq!(piece(b"{}"), Piece::Line(b"{}", 0));
        assert_eq!(piece(b"no"), Piece::Line(b"no", 0));
        assert_eq!(piece(b""), Piece::Line(b"", 0));
        assert_eq!(piece(b"\0\0{}"), Piece::Line(b"{}", 2));
        assert_eq!(piece(b"\0\"t\":\0\0{}"), Piece::Line(b"{}", 7));
        assert_eq!(piece(b"\0\"t\":1}"), Piece::Gap);
        assert_eq!(piece(b"\0\0"), Piece::Gap);
    }

    #[test]
    fn a_gap_is_looked_at_again_and_hides_nothing() {
        let (mut lines, now) = (GrowingLines::default(), Instant::now());
        let zeros = [0; 40_000];
        let with = |text: &[u8]| [text, &zeros].concat();
        assert!(lines.is_waiting());
        assert_eq!(new(&mut lines, now, &with(b"{1}\n")), ["{1}"]);
        assert!(!lines.is_waiting());
        // Two places are claimed, and the second is written first.
        assert_eq!(new(&mut lines, now, &with(b"{1}\n\0\0\0\0{3}\n")), ["{3}"]);
        assert!(lines.is_waiting());
        assert_eq!(new(&mut lines, now, &with(b"{1}\n\x002}\n{3}\n{4}\n")), ["{4}"]);
        assert_eq!(new(&mut lines, now, &with(b"{1}\n{2}\n{3}\n{4}\n")), ["{2}"]);
        assert!(!lines.is_waiting());
        assert_eq!(new(&mut lines, now, &with(b"{1}\n{2}\n{3}\n{4}\n")), [""; 0]);
        // Written but for its first byte.
        assert_eq!(new(&mut lines, now, &with(b"{1}\n{2}\n{3}\n{4}\n\x005}\n{6}\n")), ["{6}"]);
        let late = now + 2 * PATIENCE;
        assert_eq!(new(&mut lines, late, &with(b"{1}\n{2}\n{3}\n{4}\n\x005}\n{6}\n")), [""; 0]);
        assert!(!lines.is_waiting(), "its writer died");
    }

    #[test]
    fn many_and_long_lines_come_in_one_reading() {
        let (mut lines, now) = (GrowingLines::default(), Instant::now());
        let long = format!("{{{}}}\n", "x".repeat(100_000));
        let text = [long.as_bytes(), &b"{2}\n".repeat(20_000), &[0; 1 << 20]].concat();
        assert_eq!(new(&mut lines, now, &text).len(), 20_001);
        assert_eq!(lines.offset(), (long.len() + 80_000) as u64);
    }
}
