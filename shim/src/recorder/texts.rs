//! STAND-IN, to be dropped at the merge: what the recorder will answer without a heap, by way of what answers today.

use super::line::{Fixed, Length, Line, Sink};
use super::logs;
use crate::memory;
use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicPtr, Ordering};

struct Known {
    hash: u64,
    text: &'static [u8],
    next: *mut Known,
}

static KNOWN: AtomicPtr<Known> = AtomicPtr::new(std::ptr::null_mut());

/// The text of a statement; `None` where none was kept.
pub fn find(hash: u64) -> Option<&'static [u8]> {
    let head = KNOWN.load(Ordering::Acquire);
    let mut at = head;
    // SAFETY: null, or kept for ever and published whole.
    while let Some(known) = unsafe { at.as_ref() } {
        if known.hash == hash {
            return Some(known.text);
        }
        at = known.next;
    }
    let text = memory::keep_bytes(from_files([hash]).remove(&hash)?.as_bytes())?;
    let fresh = memory::keep(Known { hash, text, next: head })?;
    let _ = KNOWN.compare_exchange(head, fresh, Ordering::AcqRel, Ordering::Relaxed);
    Some(text)
}

/// The path of the database with this number in this log.
pub(super) fn database(key: u64, path: impl FnOnce() -> Option<Vec<u8>>) -> Option<&'static [u8]> {
    static PATHS: AtomicPtr<Known> = AtomicPtr::new(std::ptr::null_mut());
    let head = PATHS.load(Ordering::Acquire);
    let mut at = head;
    // SAFETY: null, or kept for ever and published whole.
    while let Some(known) = unsafe { at.as_ref() } {
        if known.hash == key {
            return Some(known.text);
        }
        at = known.next;
    }
    let text = memory::keep_bytes(&path()?)?;
    let fresh = memory::keep(Known { hash: key, text, next: head })?;
    let _ = PATHS.compare_exchange(head, fresh, Ordering::AcqRel, Ordering::Relaxed);
    Some(text)
}

/// A whole line on the heap, for the names file of today.
pub(super) fn built(t: &str, fill: impl Fn(&mut Line<'_>)) -> String {
    let build = |out: &mut dyn Sink| {
        let mut line = Line::new(out, t);
        fill(&mut line);
        line.finish();
    };
    let mut length = Length::default();
    build(&mut length);
    let mut memory = vec![0; length.0];
    build(&mut Fixed::new(&mut memory));
    String::from_utf8(memory).unwrap_or_default()
}

/// Texts from the names files.
fn from_files(hashes: impl IntoIterator<Item = u64>) -> HashMap<u64, String> {
    let mut wanted: HashMap<u64, Option<String>> = hashes.into_iter().filter(|&hash| hash != 0).map(|hash| (hash, None)).collect();
    let mut missing = wanted.len();
    for log in logs() {
        if missing == 0 {
            break;
        }
        let Ok(file) = log.names_file() else { continue };
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        while missing > 0 {
            line.clear();
            // A names file is bounded, and so is each of its lines.
            if lines.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
                if let Some((hash, text)) = sql_line(&line)
                    && let Some(slot @ None) = wanted.get_mut(&hash)
                {
                    *slot = Some(text);
                    missing -= 1;
                }
            } else {
                break;
            }
        }
    }
    wanted.into_iter().filter_map(|(hash, text)| Some((hash, text?))).collect()
}

/// The hash and the text of a line that names a statement, as `Names::sql` writes it.
fn sql_line(line: &[u8]) -> Option<(u64, String)> {
    let rest = line.strip_prefix(br#"{"t":"sql","sql":""#)?;
    let (hash, rest) = rest.split_at_checked(16)?;
    let hash = u64::from_str_radix(std::str::from_utf8(hash).ok()?, 16).ok()?;
    let text = unquote(std::str::from_utf8(rest.strip_prefix(br#"","text":""#)?).ok()?)?;
    Some((hash, text))
}

/// The JSON string that begins here, up to its closing quote.
fn unquote(json: &str) -> Option<String> {
    let mut text = String::new();
    let mut chars = json.chars();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                'u' => {
                    let digits = chars.as_str().get(..4)?;
                    text.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
                    chars = chars.as_str().get(4..)?.chars();
                }
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["SELECT 1", "a\"\\b\n\r\t\u{1}\u{7f}é", ""] {
            let line = built("sql", |line| {
                line.hex("sql", 0xfedc).text("text", text.as_bytes()).number("len", 3);
            });
            assert_eq!(sql_line(line.as_bytes()), Some((0xfedc, text.to_owned())));
            // Torn anywhere before the text ends, it is no text.
            let end = line.find(",\"len\"").unwrap();
            for cut in 0..end {
                assert_eq!(sql_line(&line.as_bytes()[..cut]), None, "{cut}");
            }
        }
        assert_eq!(sql_line(br#"{"t":"thread","tid":7,"name":"x"}"#), None);
    }
}
