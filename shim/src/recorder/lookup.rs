//! What was written read back: records, and the texts behind hashes, for those who show this process to itself.
//!
//! In come hashes of statements; out come their texts, from the names files that this process (or the one it was forked from) writes.
//! Nothing is kept in memory for it. Cold: it reads files, and is never called on the way of a lock.
#![forbid(unsafe_code)]

use super::logs;
use crate::format::header;
use crate::format::record::{Record, SIZE};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader};
use std::os::unix::fs::FileExt;

/// The texts of these statements, as far as they were kept. 0 stands for no statement and has none.
pub fn texts(hashes: impl IntoIterator<Item = u64>) -> HashMap<u64, String> {
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

/// Records of this process's log.
#[derive(Debug)]
pub struct Recent {
    /// By their numbers, oldest first.
    pub records: Vec<(u64, Record)>,
    /// The paths of the databases in them.
    pub databases: HashMap<u32, Vec<u8>>,
}

/// The most records that [`recent`] gives.
const MOST: u64 = 65_536;

/// The newest records of this process's log that are whole, as far as the ring still has them; `None` before there is a log.
pub fn recent() -> io::Result<Option<Recent>> {
    let Some(log) = super::control::own_log() else { return Ok(None) };
    // The file, not the mapping: where the disk was full, touching that could kill.
    let file = log.ring_file()?;
    let (capacity, end) = (log.capacity(), log.records());
    let mut records = Vec::new();
    let mut databases = HashMap::new();
    let mut buffer = [0; 64 * SIZE];
    let mut next = end.saturating_sub(capacity.min(MOST));
    while next < end {
        let index = next % capacity;
        let n = (end - next).min(capacity - index).min(64) as usize;
        let part = buffer.get_mut(..n * SIZE).unwrap_or_default();
        file.read_exact_at(part, header::SIZE as u64 + index * SIZE as u64)?;
        for (number, bytes) in (next..).zip(part.as_chunks::<SIZE>().0) {
            if let Ok(record) = Record::decode(bytes, number) {
                records.push((number, record));
                databases.entry(record.file).or_insert_with(|| log.database(record.file));
            }
        }
        next += n as u64;
    }
    let databases = databases.into_iter().filter_map(|(number, path)| Some((number, path?))).collect();
    Ok(Some(Recent { records, databases }))
}

/// The name of a thread of this process: its present one; `None` when it has ended.
pub fn thread_name(tid: u32) -> Option<String> {
    let name = std::fs::read(format!("/proc/self/task/{tid}/comm")).ok()?;
    Some(String::from_utf8_lossy(name.trim_ascii_end()).into_owned())
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
    use super::super::json::Line;
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in ["SELECT 1", "a\"\\b\n\r\t\u{1}\u{7f}é", ""] {
            let line = Line::new("sql").hex("sql", 0xfedc).text("text", text.as_bytes()).number("len", 3).finish();
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
