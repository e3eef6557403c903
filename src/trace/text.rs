//! Text from traced processes, made safe to print: paths, thread names and SQL can contain any bytes.
//!
//! [`Text`] keeps the text of a names file, also bytes that were not UTF-8. [`Clean`] prints any text on one line without control characters, so that
//! a name can neither break a line nor control a terminal.
#![forbid(unsafe_code)]

use std::fmt;
use std::fmt::Write as _;

/// A text that may not have been UTF-8 in its process.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Text {
    /// The text as UTF-8, with U+FFFD for each bad byte.
    pub text: String,
    /// All its bytes, if they were not UTF-8.
    pub bytes: Option<Box<[u8]>>,
}

impl Text {
    /// Its bytes in the process.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.as_deref().unwrap_or(self.text.as_bytes())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text { text: text.to_owned(), bytes: None }
    }
}

/// Shows text on one line: a line break or tab and the white space after it as one space, other control characters and
/// those that change the direction or position of what follows as `\u{…}`.
pub struct Clean<'a>(pub &'a str);

impl fmt::Display for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut blank = false;
        for c in self.0.chars() {
            match c {
                ' ' if blank => continue,
                '\t' | '\n' | '\r' => {
                    if !blank {
                        f.write_char(' ')?;
                    }
                    blank = true;
                    continue;
                }
                c if is_unprintable(c) => write!(f, "\\u{{{:x}}}", c as u32)?,
                c => f.write_char(c)?,
            }
            blank = false;
        }
        Ok(())
    }
}

/// Control characters, bidirectional overrides, zero-width marks, line and paragraph separators, tags, and noncharacters (not allowed in XML).
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{fffe}'..='\u{ffff}' | '\u{e0000}'..='\u{e007f}')
}

/// Lower-case hexadecimal digits of these bytes.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// The bytes of these hexadecimal digits; `None` if they are not pairs of digits.
pub(crate) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).map(|value| value as u8);
    digits.as_chunks::<2>().0.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(Clean("SELECT\n\t  1").to_string(), "SELECT 1");
        assert_eq!(Clean("\x1b[31mred\x07").to_string(), "\\u{1b}[31mred\\u{7}");
        assert_eq!(Clean("a\u{202e}b\u{9b}c").to_string(), "a\\u{202e}b\\u{9b}c");
        assert_eq!(Clean("naïve 表 <script>\"'").to_string(), "naïve 表 <script>\"'");
    }

    #[test]
    fn hexadecimal_reads_back() {
        assert_eq!(from_hex(&to_hex(&[0, 0x7f, 0xff])), Some(vec![0, 0x7f, 0xff]));
        assert_eq!(from_hex("0"), None);
        assert_eq!(from_hex("0g"), None);
        assert_eq!(from_hex("é"), None);
    }
}
