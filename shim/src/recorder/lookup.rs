//! Names looked up for those who show this process to itself: the texts of statements, and the present names of threads.
//!
//! Two forms of each. [`texts::find`](super::texts::find) and [`thread_comm`] use no heap, and answer SQL in other people's programs.
//! [`texts`] and [`thread_name`] give `String`s to the Rust program that links the crate. Cold: never called on the way of a lock.
#![forbid(unsafe_code)]

use super::logs;
use crate::sys::{self, Path};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};

/// The name of a thread of this process: its present one; `None` when it has ended. Without a heap.
pub(crate) fn thread_comm(tid: u32, into: &mut [u8]) -> Option<&[u8]> {
    let mut path = Path::new(&[])?;
    write!(path, "/proc/self/task/{tid}/comm").ok()?;
    Some(sys::read_file(path.as_c_str(), into)?.trim_ascii_end())
}

/// The name of a thread of this process: its present one; `None` when it has ended.
pub fn thread_name(tid: u32) -> Option<String> {
    Some(String::from_utf8_lossy(thread_comm(tid, &mut [0; 64])?).into_owned())
}

/// The texts of these statements, as far as they were kept. 0 stands for no statement and has none.
pub fn texts(hashes: impl IntoIterator<Item = u64>) -> HashMap<u64, String> {
    let text = |hash| Some((hash, String::from_utf8_lossy(super::texts::find(hash)?).into_owned()));
    hashes.into_iter().filter(|&hash| hash != 0).filter_map(text).collect()
}

/// STAND-IN, to be dropped at the merge with what is below: texts from the names files.
pub(super) fn from_files(hashes: impl IntoIterator<Item = u64>) -> HashMap<u64, String> {
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
    use super::super::texts::built;
    use super::*;

    #[test]
    fn a_thread_has_a_name_until_it_ends() {
        let named = |name: &str| {
            let here = || (rustix::thread::gettid().as_raw_pid() as u32, thread_name(rustix::thread::gettid().as_raw_pid() as u32));
            std::thread::Builder::new().name(name.to_owned()).spawn(here).unwrap().join().unwrap()
        };
        let (tid, name) = named("a-name-of-15-by");
        assert_eq!(name.as_deref(), Some("a-name-of-15-by"));
        let mut room = [0; 64];
        let before = crate::recorder::heap::used(|| assert!(thread_comm(std::process::id(), &mut room).is_some()));
        assert_eq!(before, 0);
        let path = format!("/proc/self/task/{tid}");
        while std::fs::exists(&path).unwrap() {
            std::thread::yield_now();
        }
        assert_eq!(thread_name(tid), None);
    }

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
