//! A scanner of the program's output that knows where an escape sequence or a character is incomplete, so that nothing is written into it.
//!
//! It also reports when the program has changed the scrolling region, on which the panel relies. It recognises as much of ECMA-48 and UTF-8 as that
//! needs, and does not interpret other sequences.
#![forbid(unsafe_code)]

/// What the next byte belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum ScanState {
    #[default]
    Ground,
    /// After ESC.
    Escape,
    /// After ESC and an intermediate byte, such as `ESC ( B`.
    Intermediate,
    /// A control sequence.
    Control,
    /// A string that ends with BEL or ESC \: a title, a picture.
    Text,
    /// ESC inside such a string.
    TextEscape,
    /// This many bytes of a character are missing.
    Utf8(u8),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Escapes {
    state: ScanState,
    /// The first bytes of a control sequence.
    sequence: Vec<u8>,
    /// The program has saved the cursor and not restored it yet. A terminal can save one cursor.
    saved: bool,
    /// The program has set or reset the scrolling region, or reset the terminal.
    region: bool,
}

impl Escapes {
    /// Follows what the program writes.
    pub(super) fn follow(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.byte(byte);
        }
    }

    /// Whether something else can be written between these bytes and the next ones.
    pub(super) fn is_between(&self) -> bool {
        self.state == ScanState::Ground
    }

    /// Whether the program has a cursor saved that it has not restored.
    pub(super) fn has_saved(&self) -> bool {
        self.saved
    }

    /// Whether the scrolling region has to be set again. The call clears this.
    pub(super) fn take_region(&mut self) -> bool {
        std::mem::take(&mut self.region)
    }

    fn byte(&mut self, byte: u8) {
        self.state = match (self.state, byte) {
            (ScanState::Text, 0x1b) => ScanState::TextEscape,
            (ScanState::Text, 0x07) => ScanState::Ground,
            (ScanState::Text, _) => ScanState::Text,
            (ScanState::TextEscape, b'\\') => ScanState::Ground,
            // Another sequence begins.
            (ScanState::TextEscape, _) => self.escape(byte),
            // ESC, CAN and SUB end any sequence.
            (_, 0x1b) => ScanState::Escape,
            (_, 0x18 | 0x1a) => ScanState::Ground,
            (ScanState::Escape, _) => self.escape(byte),
            (ScanState::Intermediate, 0x20..=0x2f) => ScanState::Intermediate,
            (ScanState::Intermediate, 0x30..=0x7e) => ScanState::Ground,
            (ScanState::Control, 0x40..=0x7e) => {
                self.control(byte);
                ScanState::Ground
            }
            // A terminal executes control characters inside a sequence, and the sequence goes on.
            (ScanState::Intermediate | ScanState::Control, _) => {
                if self.state == ScanState::Control && self.sequence.len() < 16 && byte >= 0x20 {
                    self.sequence.push(byte);
                }
                self.state
            }
            (ScanState::Utf8(left), 0x80..=0xbf) if left > 1 => ScanState::Utf8(left - 1),
            (ScanState::Utf8(_), 0x80..=0xbf) => ScanState::Ground,
            (ScanState::Ground | ScanState::Utf8(_), 0xc2..=0xdf) => ScanState::Utf8(1),
            (ScanState::Ground | ScanState::Utf8(_), 0xe0..=0xef) => ScanState::Utf8(2),
            (ScanState::Ground | ScanState::Utf8(_), 0xf0..=0xf4) => ScanState::Utf8(3),
            (ScanState::Ground | ScanState::Utf8(_), _) => ScanState::Ground,
        };
    }

    fn escape(&mut self, byte: u8) -> ScanState {
        match byte {
            b'[' => {
                self.sequence.clear();
                return ScanState::Control;
            }
            b']' | b'P' | b'X' | b'^' | b'_' => return ScanState::Text,
            0x20..=0x2f => return ScanState::Intermediate,
            b'7' => self.saved = true,
            b'8' => self.saved = false,
            // Reset to the initial state.
            b'c' => (self.saved, self.region) = (false, true),
            _ => {}
        }
        ScanState::Ground
    }

    fn control(&mut self, last: u8) {
        match (last, self.sequence.as_slice()) {
            (b's', b"") => self.saved = true,
            (b'u', b"") => self.saved = false,
            (b'r', sequence) if !sequence.starts_with(b"?") => self.region = true,
            (b'p', b"!") => self.region = true,
            // The alternate screen, and back: some terminals keep a region for each.
            (b'h' | b'l', b"?1049" | b"?47" | b"?1047") => self.region = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(bytes: &[u8]) -> Escapes {
        let mut escapes = Escapes::default();
        escapes.follow(bytes);
        escapes
    }

    /// At which places of these bytes something else may be written.
    fn places(bytes: &[u8]) -> Vec<usize> {
        (0..=bytes.len()).filter(|&end| after(&bytes[..end]).is_between()).collect()
    }

    #[test]
    fn nothing_is_written_into_a_sequence_or_a_character() {
        assert_eq!(places(b"ab\r\n"), [0, 1, 2, 3, 4]);
        assert_eq!(places(b"\x1b[1;31mx"), [0, 7, 8]);
        assert_eq!(places("é表😀x".as_bytes()), [0, 2, 5, 9, 10]);
        assert_eq!(places(b"\x1b]0;a title\x07x"), [0, 12, 13]);
        assert_eq!(places(b"\x1bPq\x1b\\x"), [0, 5, 6]);
        assert_eq!(places(b"\x1b(Bx"), [0, 3, 4]);
        assert_eq!(places(b"\x1b7\x1b8"), [0, 2, 4]);
        assert_eq!(places(b"\x1b[3\x18x"), [0, 4, 5], "cancelled");
        assert_eq!(places(b"\x1b[3\x1b[mx"), [0, 6, 7], "another one begins");
        // What is no UTF-8 does not keep us waiting.
        assert_eq!(places(b"\xff\xe9x"), [0, 1, 3]);
        assert_eq!(places(b"\xc3(x"), [0, 2, 3]);
    }

    #[test]
    fn what_the_panel_rests_on() {
        for (bytes, region) in [
            (&b"\x1b[r"[..], true),
            (b"\x1b[1;20r", true),
            (b"\x1b[?1r", false),
            (b"\x1bc", true),
            (b"\x1b[!p", true),
            (b"\x1b[?1049h", true),
            (b"\x1b[31m", false),
            (b"\x1b[?25h", false),
        ] {
            let mut escapes = after(bytes);
            assert_eq!((escapes.take_region(), escapes.take_region()), (region, false), "{bytes:?}");
        }
        assert!(after(b"\x1b7x").has_saved() && !after(b"\x1b7x\x1b8").has_saved());
        assert!(after(b"\x1b[sx").has_saved() && !after(b"\x1b[sx\x1b[u").has_saved());
    }
}
