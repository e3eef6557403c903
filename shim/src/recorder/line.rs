//! A line of JSON, written piece by piece into memory of fixed size: no heap, no serialiser.
//!
//! A line is built twice with the same calls: first into a [`Length`], which only counts, and then into the place that was claimed for
//! so many bytes.
#![forbid(unsafe_code)]

use std::fmt::{self, Write as _};

/// The target of a line's pieces.
pub trait Sink {
    /// Takes the next bytes.
    fn put(&mut self, bytes: &[u8]);
}

/// Counts the bytes of a line.
#[derive(Debug, Default)]
pub struct Length(pub usize);

impl Sink for Length {
    fn put(&mut self, bytes: &[u8]) {
        self.0 = self.0.saturating_add(bytes.len());
    }
}

/// Fills a piece of memory. What does not fit is left out.
#[derive(Debug)]
pub struct Fixed<'a> {
    into: &'a mut [u8],
    len: usize,
}

impl<'a> Fixed<'a> {
    /// Empty.
    pub fn new(into: &'a mut [u8]) -> Fixed<'a> {
        Fixed { into, len: 0 }
    }

    /// The bytes so far.
    pub fn bytes(&self) -> &[u8] {
        self.into.get(..self.len).unwrap_or_default()
    }
}

impl Sink for Fixed<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let room = self.into.get_mut(self.len..).unwrap_or_default();
        let n = bytes.len().min(room.len());
        if let (Some(room), Some(bytes)) = (room.get_mut(..n), bytes.get(..n)) {
            room.copy_from_slice(bytes);
            self.len += n;
        }
    }
}

/// An object that is being written; [`Line::finish`] closes it and adds the newline.
pub struct Line<'a> {
    out: &'a mut dyn Sink,
    empty: bool,
}

impl fmt::Debug for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Line")
    }
}

impl<'a> Line<'a> {
    /// An object whose first key is `t`, its type.
    pub fn new(out: &'a mut dyn Sink, t: &str) -> Line<'a> {
        out.put(b"{");
        let mut line = Line { out, empty: true };
        line.str("t", t);
        line
    }

    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.empty) {
            self.out.put(b",");
        }
        quote(self.out, key.as_bytes());
        self.out.put(b":");
    }

    fn format(&mut self, arguments: fmt::Arguments<'_>) {
        let _ = Text(self.out).write_fmt(arguments);
    }

    /// A number.
    pub fn number(&mut self, key: &str, value: impl Into<i128>) -> &mut Line<'a> {
        self.key(key);
        // An i128 is formatted by slow code, and nearly all of these fit a word.
        match i64::try_from(value.into()) {
            Ok(value) => self.format(format_args!("{value}")),
            Err(_) => self.out.put(b"null"),
        }
        self
    }

    /// A 64-bit value, as 16 hexadecimal digits.
    pub fn hex(&mut self, key: &str, value: u64) -> &mut Line<'a> {
        self.key(key);
        self.format(format_args!("\"{value:016x}\""));
        self
    }

    /// `true` or `false`.
    pub fn bool(&mut self, key: &str, value: bool) -> &mut Line<'a> {
        self.key(key);
        self.out.put(if value { b"true" } else { b"false" });
        self
    }

    /// `null`.
    pub fn null(&mut self, key: &str) -> &mut Line<'a> {
        self.key(key);
        self.out.put(b"null");
        self
    }

    /// Text that is UTF-8.
    pub fn str(&mut self, key: &str, value: &str) -> &mut Line<'a> {
        self.key(key);
        quote(self.out, value.as_bytes());
        self
    }

    /// Text that should be UTF-8. Where it is not, U+FFFD replaces the bad bytes, and `<key>_bytes` has all bytes.
    pub fn text(&mut self, key: &str, value: &[u8]) -> &mut Line<'a> {
        self.key(key);
        quote(self.out, value);
        if std::str::from_utf8(value).is_ok() {
            return self;
        }
        self.out.put(b",\"");
        self.out.put(key.as_bytes());
        self.out.put(b"_bytes\":\"");
        value.iter().for_each(|byte| self.format(format_args!("{byte:02x}")));
        self.out.put(b"\"");
        self
    }

    /// An array of texts; bytes that are not UTF-8 become U+FFFD.
    pub fn texts<'t>(&mut self, key: &str, values: impl IntoIterator<Item = &'t [u8]>) -> &mut Line<'a> {
        self.key(key);
        self.out.put(b"[");
        for (i, value) in values.into_iter().enumerate() {
            self.out.put(if i > 0 { b"," } else { b"" });
            quote(self.out, value);
        }
        self.out.put(b"]");
        self
    }

    /// An array of objects, each filled in by `fill`.
    pub fn objects<T>(&mut self, key: &str, items: impl IntoIterator<Item = T>, fill: impl Fn(&mut Line<'_>, T)) -> &mut Line<'a> {
        self.key(key);
        self.out.put(b"[");
        for (i, item) in items.into_iter().enumerate() {
            self.out.put(if i > 0 { b",{" } else { b"{" });
            fill(&mut Line { out: &mut *self.out, empty: true }, item);
            self.out.put(b"}");
        }
        self.out.put(b"]");
        self
    }

    /// Closes it, newline included.
    pub fn finish(&mut self) {
        self.out.put(b"}\n");
    }
}

/// Formatted text into a sink.
struct Text<'a>(&'a mut dyn Sink);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.put(text.as_bytes());
        Ok(())
    }
}

fn quote(out: &mut dyn Sink, bytes: &[u8]) {
    out.put(b"\"");
    for chunk in bytes.utf8_chunks() {
        escape(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.put("\u{fffd}".as_bytes());
        }
    }
    out.put(b"\"");
}

fn escape(out: &mut dyn Sink, text: &str) {
    let special = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\' | 0x7f);
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(special) {
        let (plain, from) = rest.split_at_checked(at).unwrap_or((rest, &[]));
        let Some((&byte, after)) = from.split_first() else { break };
        out.put(plain);
        match byte {
            b'"' => out.put(b"\\\""),
            b'\\' => out.put(b"\\\\"),
            b'\n' => out.put(b"\\n"),
            b'\r' => out.put(b"\\r"),
            b'\t' => out.put(b"\\t"),
            other => {
                let _ = write!(Text(out), "\\u{other:04x}");
            }
        }
        rest = after;
    }
    out.put(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_whatever_is_in_them() {
        let build = |out: &mut dyn Sink| {
            Line::new(out, "sql")
                .hex("sql", 0xab)
                .text("text", b"a\"\\\n\x01\x7f\xc3\xa9")
                .text("bad", b"\xff\x41")
                .number("n", -3)
                .bool("b", true)
                .texts("list", [&b"x"[..], b"y"])
                .null("none")
                .objects("in", [Some(1), None], |line, n| {
                    if let Some(n) = n {
                        line.number("a", n).str("b", "x");
                    }
                })
                .finish();
        };
        let (mut length, mut memory) = (Length::default(), [0; 256]);
        build(&mut length);
        let mut fixed = Fixed::new(&mut memory);
        build(&mut fixed);
        assert_eq!(
            std::str::from_utf8(fixed.bytes()).unwrap(),
            "{\"t\":\"sql\",\"sql\":\"00000000000000ab\",\"text\":\"a\\\"\\\\\\n\\u0001\\u007f\u{e9}\",\"bad\":\"\u{fffd}A\",\
             \"bad_bytes\":\"ff41\",\"n\":-3,\"b\":true,\"list\":[\"x\",\"y\"],\"none\":null,\
             \"in\":[{\"a\":1,\"b\":\"x\"},{}]}\n"
        );
        assert_eq!(length.0, fixed.bytes().len());
        let mut short = [0; 10];
        let mut fixed = Fixed::new(&mut short);
        build(&mut fixed);
        assert_eq!(fixed.bytes(), b"{\"t\":\"sql\"");
    }
}
