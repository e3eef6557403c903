//! One cell of a table, and the forms of its values.
#![forbid(unsafe_code)]

use super::text::Words;

/// The value of a cell. A text is the row's, or that of the [`Words`] it was written to.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    /// UTF-8, as a rule: paths and statements are the program's.
    Text(&'a [u8]),
}

pub(super) fn integer(number: impl TryInto<i64>) -> Value<'static> {
    number.try_into().map_or(Value::Null, Value::Integer)
}

pub(super) fn nonzero(number: u32) -> Value<'static> {
    if number == 0 { Value::Null } else { integer(number) }
}

/// Nanoseconds, as seconds.
pub(super) fn seconds(ns: Option<u64>) -> Value<'static> {
    ns.map_or(Value::Null, |ns| Value::Real(ns as f64 / 1e9))
}

pub(super) fn text(text: Option<&[u8]>) -> Value<'_> {
    text.map_or(Value::Null, Value::Text)
}

/// The text that `fill` writes; null where that is empty.
pub(super) fn words(words: &mut Words, fill: impl FnOnce(&mut Words)) -> Value<'_> {
    fill(words);
    text(Some(words.bytes()).filter(|bytes| !bytes.is_empty()))
}

/// The hash of a statement; null for 0, which stands for no statement.
pub(super) fn hash(into: &mut Words, sql: u64) -> Value<'_> {
    words(into, |into| {
        if sql != 0 {
            into.part("", format_args!("{sql:016x}"));
        }
    })
}
