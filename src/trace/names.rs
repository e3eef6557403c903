//! The names of a log: paths, threads and statements by the numbers in its records.
//!
//! They come from the JSON objects of a `.names` file, or of JSON lines. Unknown line types and keys are no error. A line without a required key is
//! one, and the error names the key. [`Names::lines`] returns every line again, for JSON lines.
#![forbid(unsafe_code)]

use super::outside::Outside;
use super::text::{Text, from_hex, to_hex};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// A JSON object of a names line.
pub(crate) type Object = Map<String, Value>;

/// A database file, as the process that opened it saw it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileName {
    /// The number of the SQLite library that opened it.
    pub lib: u64,
    /// Its path.
    pub path: Text,
    /// Device and inode, if `stat` worked.
    pub dev_ino: Option<(u64, u64)>,
    /// File system type.
    pub fs: Option<String>,
}

/// A statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SqlText {
    /// The text as prepared. It is cut if it is shorter than `len`.
    pub text: Text,
    /// Its whole length in bytes.
    pub len: u64,
}

/// The contents of a names file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Names {
    process: Option<Object>,
    libraries: Vec<Object>,
    recordings: Vec<Object>,
    caps: Vec<Object>,
    files: HashMap<u32, FileName>,
    threads: HashMap<u32, Text>,
    sql: HashMap<u64, SqlText>,
    outside: HashMap<(u32, u64), Outside>,
}

/// The result of taking a line in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Taken {
    /// The line was used.
    Yes,
    /// This version does not know the line type.
    Unknown(String),
}

impl Names {
    /// The database with this number.
    pub fn file(&self, file: u32) -> Option<&FileName> {
        self.files.get(&file)
    }

    /// Every database, in no particular order.
    pub fn files(&self) -> impl Iterator<Item = &FileName> {
        self.files.values()
    }

    /// Every database with its number, in the order of these.
    pub fn numbered_files(&self) -> impl Iterator<Item = (u32, &FileName)> {
        sorted(&self.files).into_iter()
    }

    /// The version of the SQLite library with this number, such as `3.40.1`.
    pub fn sqlite_version(&self, lib: u64) -> Option<&str> {
        let library = self.libraries.iter().find(|library| library.get("lib").and_then(Value::as_u64) == Some(lib))?;
        library.get("sqlite")?.as_str()
    }

    /// The name of this thread; if its id had several names, all of them.
    pub fn thread(&self, tid: u32) -> Option<&Text> {
        self.threads.get(&tid)
    }

    /// The statement with this hash.
    pub fn sql(&self, hash: u64) -> Option<&SqlText> {
        self.sql.get(&hash)
    }

    /// The kernel's answer about the refused attempt of this connection that began at these ticks, if the recorder asked.
    pub fn outside(&self, conn: u32, start: u64) -> Option<&Outside> {
        self.outside.get(&(conn, start))
    }

    /// Every statement, in no particular order.
    pub fn sqls(&self) -> impl Iterator<Item = &SqlText> {
        self.sql.values()
    }

    /// Every statement with its hash, in the order of these.
    pub fn numbered_sqls(&self) -> impl Iterator<Item = (u64, &SqlText)> {
        sorted(&self.sql).into_iter()
    }

    /// The name of every thread, in no particular order.
    pub fn threads(&self) -> impl Iterator<Item = &Text> {
        self.threads.values()
    }

    /// The executable of the process, as text.
    pub fn exe(&self) -> Option<&str> {
        self.process.as_ref()?.get("exe")?.as_str()
    }

    /// The command line of the process, as text.
    pub fn argv(&self) -> Option<Vec<&str>> {
        let argv = self.process.as_ref()?.get("argv")?.as_array()?;
        Some(argv.iter().filter_map(Value::as_str).collect())
    }

    /// The characteristic modules that the process had loaded when its log began; `None` if they were not recorded.
    pub fn modules(&self) -> Option<Vec<&str>> {
        let modules = self.process.as_ref()?.get("modules")?.as_array()?;
        Some(modules.iter().filter_map(Value::as_str).collect())
    }

    /// Whether the recorder is linked into the program: a Rust program that installed it in its own SQLite.
    pub fn is_linked(&self) -> bool {
        self.libraries.iter().any(|library| library.get("linked") == Some(&Value::Bool(true)))
    }

    /// The host on which the process ran.
    pub fn host(&self) -> Option<&str> {
        self.process.as_ref()?.get("host")?.as_str()
    }

    /// What SQL was captured: `text`, `hash` or `off`.
    pub fn policy(&self) -> Option<&str> {
        self.process.as_ref()?.get("policy")?.as_str()
    }

    /// The SQLite versions in the process.
    pub fn sqlite_versions(&self) -> Vec<&str> {
        let mut versions: Vec<&str> =
            self.libraries.iter().filter_map(|library| library.get("sqlite").and_then(Value::as_str)).collect();
        versions.dedup();
        versions
    }

    /// The VFS that was wrapped in the SQLite library with this number, usually `unix`.
    pub fn base_vfs(&self, lib: u64) -> Option<&str> {
        let library = self.libraries.iter().find(|library| library.get("lib").and_then(Value::as_u64) == Some(lib))?;
        library.get("base")?.as_str()
    }

    /// The kinds of names that reached their limits, with these limits.
    pub fn caps(&self) -> impl Iterator<Item = (&str, u64)> {
        self.caps.iter().map(|cap| {
            let what = cap.get("what").and_then(Value::as_str).unwrap_or("names of an unknown kind");
            (what, cap.get("limit").and_then(Value::as_u64).unwrap_or(0))
        })
    }

    /// Whether the program paused the recording (`PRAGMA locktrace = off`).
    pub fn was_off(&self) -> bool {
        self.recordings.iter().any(|line| line.get("on") == Some(&Value::Bool(false)))
    }

    /// Whether a SQLite of this process may wait for locks inside the system call: its build options say so, or are unknown.
    pub fn may_wait_in_the_kernel(&self) -> bool {
        let options = |library: &Object| library.get("options").and_then(Value::as_array).cloned();
        let waits =
            |options: Vec<Value>| options.iter().any(|option| option.as_str().is_some_and(|option| option.contains("SETLK")));
        self.libraries.is_empty() || self.libraries.iter().any(|library| options(library).is_none_or(waits))
    }

    /// Those of these lines.
    #[cfg(test)]
    pub(crate) fn of(lines: Vec<Value>) -> Names {
        let mut names = Names::default();
        for line in lines {
            assert_eq!(names.take(object(line.clone())), Ok(Taken::Yes), "{line}");
        }
        names
    }

    /// Takes in one line. An error says what was expected.
    pub(crate) fn take(&mut self, mut line: Object) -> Result<Taken, String> {
        let kind = line.get("t").and_then(Value::as_str).ok_or("expected an object with a text \"t\"")?.to_owned();
        line.remove("log");
        match kind.as_str() {
            "process" => {
                self.process.get_or_insert(line);
            }
            "library" => self.libraries.push(line),
            "recording" => self.recordings.push(line),
            "cap" => self.caps.push(line),
            "file" => {
                let file = number(&line, "file")?.ok_or("a `file` line needs a number \"file\"")?;
                let file = u32::try_from(file).map_err(|_| "\"file\" must fit 32 bits")?;
                let dev_ino = number(&line, "dev")?.zip(number(&line, "ino")?);
                let fs = line.get("fs").and_then(Value::as_str).map(str::to_owned);
                let name = FileName { lib: number(&line, "lib")?.unwrap_or(0), path: text(&line, "path")?, dev_ino, fs };
                if self.files.get(&file).is_some_and(|known| *known != name) {
                    return Err(format!("file {file} was already named, with another path or inode; the first one is used"));
                }
                self.files.insert(file, name);
            }
            "thread" => {
                let tid = number(&line, "tid")?.ok_or("a `thread` line needs a number \"tid\"")?;
                let tid = u32::try_from(tid).map_err(|_| "\"tid\" must fit 32 bits")?;
                let name = text(&line, "name")?;
                self.threads.entry(tid).and_modify(|known| add_name(known, &name)).or_insert(name);
            }
            "sql" => {
                let hash = line.get("sql").and_then(Value::as_str).and_then(|hex| u64::from_str_radix(hex, 16).ok());
                let hash = hash.ok_or("a `sql` line needs \"sql\", 16 hexadecimal digits")?;
                let text = text(&line, "text")?;
                let len = number(&line, "len")?.unwrap_or(text.as_bytes().len() as u64);
                self.sql.entry(hash).or_insert(SqlText { text, len });
            }
            "outside" => {
                let outside = Outside::read(line)?;
                self.outside.insert((outside.conn, outside.start), outside);
            }
            _ => return Ok(Taken::Unknown(kind)),
        }
        Ok(Taken::Yes)
    }

    /// Every line that was taken in, in a fixed order, as its type and its other keys.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (&'static str, Object)> + '_ {
        let fixed = |t: &'static str| move |line: &Object| (t, line.clone());
        let files = sorted(&self.files).into_iter().map(|(file, name)| {
            let (dev, ino) = name.dev_ino.unzip();
            let mut line = object(json!({"file": file, "lib": name.lib, "dev": dev, "ino": ino, "fs": name.fs}));
            put_text(&mut line, "path", &name.path);
            ("file", line)
        });
        let threads = sorted(&self.threads).into_iter().map(|(tid, name)| {
            let mut line = object(json!({"tid": tid}));
            put_text(&mut line, "name", name);
            ("thread", line)
        });
        let sql = sorted(&self.sql).into_iter().map(|(hash, sql)| {
            let mut line = object(json!({"sql": format!("{hash:016x}"), "len": sql.len}));
            put_text(&mut line, "text", &sql.text);
            ("sql", line)
        });
        let outside = sorted(&self.outside).into_iter().map(|(_, outside)| ("outside", outside.line()));
        let process = self.process.iter().map(fixed("process"));
        let libraries = self.libraries.iter().map(fixed("library"));
        let recordings = self.recordings.iter().map(fixed("recording"));
        let caps = self.caps.iter().map(fixed("cap"));
        process.chain(libraries).chain(files).chain(threads).chain(sql).chain(outside).chain(recordings).chain(caps)
    }
}

/// Adds the name of a thread. If its id was used before by another thread, it keeps both names.
fn add_name(known: &mut Text, name: &Text) {
    if !known.text.split(" or ").any(|part| part == name.text) && known.text.len() < 100 {
        known.text = format!("{} or {}", known.text, name.text);
        known.bytes = None;
    }
}

fn sorted<K: Ord + Copy, V>(map: &HashMap<K, V>) -> Vec<(K, &V)> {
    let mut entries: Vec<(K, &V)> = map.iter().map(|(&key, value)| (key, value)).collect();
    entries.sort_by_key(|entry| entry.0);
    entries
}

pub(crate) fn object(value: Value) -> Object {
    match value {
        Value::Object(object) => object,
        _ => Object::new(),
    }
}

fn number(line: &Object, key: &str) -> Result<Option<u64>, String> {
    match line.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| format!("\"{key}\" must be a whole number")),
    }
}

fn text(line: &Object, key: &str) -> Result<Text, String> {
    let text = line.get(key).and_then(Value::as_str).ok_or_else(|| format!("expected a text \"{key}\""))?;
    let bytes = match line.get(&format!("{key}_bytes")) {
        None | Some(Value::Null) => None,
        Some(value) => {
            let bytes = value.as_str().and_then(from_hex);
            Some(bytes.ok_or_else(|| format!("\"{key}_bytes\" must be hexadecimal digits"))?.into_boxed_slice())
        }
    };
    Ok(Text { text: text.to_owned(), bytes })
}

fn put_text(line: &mut Object, key: &str, text: &Text) {
    line.insert(key.to_owned(), Value::from(text.text.as_str()));
    if let Some(bytes) = &text.bytes {
        line.insert(format!("{key}_bytes"), Value::from(to_hex(bytes)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_reads_back_from_its_export() {
        let names = Names::of(vec![
            json!({"t": "process", "v": 1, "pid": 7, "argv": ["a", "b"], "host": "h", "later": {"x": 1}}),
            json!({"t": "library", "lib": 0, "sqlite": "3.40.1", "options": null}),
            json!({"t": "file", "file": 1, "lib": 0, "path": "/a\u{fffd}", "path_bytes": "2f61ff", "dev": 1, "ino": 2, "fs": "ext4"}),
            json!({"t": "thread", "tid": 7, "name": "main"}),
            json!({"t": "thread", "tid": 7, "name": "pool"}),
            json!({"t": "sql", "sql": "00000000000000ff", "text": "SELECT", "len": 600}),
            json!({"t": "outside", "conn": 1, "start": "00000000000000ff", "after": 9, "readings": 3, "failed": "no /proc"}),
            json!({"t": "outside", "conn": 2, "start": "ffffffffffffffff", "after": 9, "readings": 1, "more": 0, "holders": [
                {"pid": 4711, "how": "posix", "mode": "write", "locks": ["RESERVED"], "exact": true, "own": false, "comm": "a\u{fffd}",
                    "comm_bytes": "61ff", "argv": ["a", "app.db"], "started": 12},
                {"pid": -1, "how": "ofd", "mode": "read", "locks": ["READ1", "READ2"], "exact": false, "own": false}]}),
            json!({"t": "recording", "on": false, "ticks": "00000000000000ff"}),
            json!({"t": "cap", "what": "sql", "limit": 3}),
        ]);
        assert_eq!(names.file(1).unwrap().path.as_bytes(), b"/a\xff");
        assert_eq!(names.thread(7).unwrap().text, "main or pool");
        assert_eq!(names.sql(255).unwrap().len, 600);
        assert_eq!(names.caps().collect::<Vec<_>>(), [("sql", 3)]);
        let outside = names.outside(2, u64::MAX).unwrap();
        assert_eq!(outside.others().map(ToString::to_string).collect::<Vec<_>>(), ["pid 4711 a app.db"]);
        assert_eq!(
            outside.holders.iter().map(super::super::OutsideHolder::lock).collect::<Vec<_>>(),
            ["RESERVED", "S READ1+READ2"]
        );
        assert_eq!(names.outside(1, 255).unwrap().failed.as_deref(), Some("no /proc"));
        let mut back = Names::default();
        for (t, mut line) in names.lines() {
            line.insert("t".into(), t.into());
            line.insert("log".into(), "7-1".into());
            assert_eq!(back.take(line), Ok(Taken::Yes));
        }
        assert_eq!(back, names);
    }

    #[test]
    fn a_bad_line_says_what_was_expected() {
        let mut names = Names::default();
        let mut take = |value: Value| names.take(object(value));
        assert_eq!(take(json!({"t": "weather"})), Ok(Taken::Unknown("weather".into())));
        assert!(take(json!({})).unwrap_err().contains("\"t\""));
        assert!(take(json!({"t": "file", "file": -1, "path": "x"})).unwrap_err().contains("\"file\""));
        assert!(take(json!({"t": "file", "file": 1, "path": 5})).unwrap_err().contains("\"path\""));
        assert!(take(json!({"t": "thread", "tid": 1, "name": "x", "name_bytes": "zz"})).unwrap_err().contains("name_bytes"));
        assert!(take(json!({"t": "outside", "conn": 1, "start": 7})).unwrap_err().contains("outside"));
        assert!(take(json!({"t": "sql", "sql": "no", "text": ""})).unwrap_err().contains("hexadecimal"));
    }
}
