//! One line of JSON for the names file, built by hand: the shim carries no serialiser into other people's processes.
#![forbid(unsafe_code)]

use std::fmt::Write as _;

/// An object being written; [`Line::finish`] closes it and adds the newline.
#[derive(Debug)]
pub struct Line(String);

impl Line {
    /// An object whose first key says what it is.
    pub fn new(t: &str) -> Line {
        let mut line = Line(String::with_capacity(256));
        line.0.push_str("{\"t\":");
        quote(&mut line.0, t);
        line
    }

    /// An object inside another one; see [`Line::objects`].
    pub fn object() -> Line {
        Line("{".to_owned())
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        quote(&mut self.0, key);
        self.0.push(':');
    }

    /// A number.
    pub fn number(mut self, key: &str, value: impl Into<i128>) -> Line {
        self.key(key);
        let _ = write!(self.0, "{}", value.into());
        self
    }

    /// A 64-bit value, as 16 hexadecimal digits.
    pub fn hex(mut self, key: &str, value: u64) -> Line {
        self.key(key);
        let _ = write!(self.0, "\"{value:016x}\"");
        self
    }

    /// `true` or `false`.
    pub fn bool(mut self, key: &str, value: bool) -> Line {
        self.key(key);
        self.0.push_str(if value { "true" } else { "false" });
        self
    }

    /// `null`.
    pub fn null(mut self, key: &str) -> Line {
        self.key(key);
        self.0.push_str("null");
        self
    }

    /// Text that is UTF-8 for sure.
    pub fn str(mut self, key: &str, value: &str) -> Line {
        self.key(key);
        quote(&mut self.0, value);
        self
    }

    /// Text that should be UTF-8: where it is not, U+FFFD stands for the bad bytes, and `<key>_bytes` has them all.
    pub fn text(mut self, key: &str, value: &[u8]) -> Line {
        if let Ok(value) = std::str::from_utf8(value) {
            return self.str(key, value);
        }
        self.key(key);
        quote(&mut self.0, &String::from_utf8_lossy(value));
        self.key(&format!("{key}_bytes"));
        self.0.push('"');
        for byte in value {
            let _ = write!(self.0, "{byte:02x}");
        }
        self.0.push('"');
        self
    }

    /// An array of texts, or null; bytes that are not UTF-8 become U+FFFD.
    pub fn texts<T: AsRef<[u8]>>(mut self, key: &str, values: Option<&[T]>) -> Line {
        let Some(values) = values else { return self.null(key) };
        self.key(key);
        self.0.push('[');
        for (i, value) in values.iter().enumerate() {
            if i > 0 {
                self.0.push(',');
            }
            quote(&mut self.0, &String::from_utf8_lossy(value.as_ref()));
        }
        self.0.push(']');
        self
    }

    /// An array of objects.
    pub fn objects(mut self, key: &str, objects: impl Iterator<Item = Line>) -> Line {
        self.key(key);
        self.0.push('[');
        for (i, object) in objects.enumerate() {
            self.0.push_str(if i > 0 { "," } else { "" });
            self.0.push_str(&object.0);
            self.0.push('}');
        }
        self.0.push(']');
        self
    }

    /// The finished line, newline included.
    pub fn finish(mut self) -> String {
        self.0.push_str("}\n");
        self.0
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_whatever_is_in_them() {
        let line = Line::new("sql")
            .hex("sql", 0xab)
            .text("text", b"a\"\\\n\x01\x7f\xc3\xa9")
            .text("bad", b"\xff\x41")
            .number("n", -3)
            .bool("b", true)
            .texts("list", Some(&["x", "y"]))
            .texts::<&str>("none", None)
            .objects("in", [Line::object().number("a", 1).str("b", "x"), Line::object()].into_iter())
            .finish();
        assert_eq!(
            line,
            "{\"t\":\"sql\",\"sql\":\"00000000000000ab\",\"text\":\"a\\\"\\\\\\n\\u0001\\u007f\u{e9}\",\"bad\":\"\u{fffd}A\",\
             \"bad_bytes\":\"ff41\",\"n\":-3,\"b\":true,\"list\":[\"x\",\"y\"],\"none\":null,\
             \"in\":[{\"a\":1,\"b\":\"x\"},{}]}\n"
        );
    }
}
