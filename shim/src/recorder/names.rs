//! The names file: what the numbers in the records mean, one JSON object a line (the schema is in [`crate::format`]).
//!
//! Written once each and rarely, by one `write` call a line, so that they outlive the ring's wrapping and the process's end. All
//! of it is bounded: past a cap a thing keeps its number and loses its name, and one `cap` line says so.

use super::config::SqlPolicy;
use super::disk;
use super::json::Line;
use super::process;
use super::seen::{Insert, Seen};
use crate::clock;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Distinct SQL texts named in one log.
pub const MAX_SQL: u32 = 8192;
/// Distinct threads named in one log.
pub const MAX_THREADS: u32 = 4096;
/// Distinct databases named in one log.
pub const MAX_FILES: usize = 4096;
/// Answers to the question who holds a lock outside this trace, in one log: so many at once, one more each second, and so many in all.
pub const OUTSIDE_AT_ONCE: u32 = 256;
/// See [`OUTSIDE_AT_ONCE`].
pub const MAX_OUTSIDE: u32 = 4096;
/// Bytes of a names file.
pub const MAX_BYTES: u64 = 16 << 20;

/// One SQLite library, as its VFS was installed.
#[derive(Clone, Copy, Debug)]
pub struct Library {
    /// Its number in this process, from 1.
    pub number: u32,
    /// `sqlite3_libversion()`.
    pub sqlite: &'static str,
    /// `sqlite3_sourceid()`.
    pub source_id: &'static str,
    /// Its compile-time options, where it can tell.
    pub options: Option<unsafe extern "C" fn(std::ffi::c_int) -> *const std::ffi::c_char>,
    /// The name our VFS has there.
    pub vfs: &'static str,
    /// The name of the VFS it wraps.
    pub base: &'static str,
    /// The program itself installed it, in the SQLite that it links: a Rust program.
    pub linked: bool,
}

#[derive(PartialEq, Eq, Debug)]
struct FileKey {
    lib: u32,
    /// Device and inode, where `stat` tells.
    identity: Option<(u64, u64)>,
    /// Its path, too: a deleted database's inode soon belongs to another one.
    path: Vec<u8>,
}

/// A names file being written.
#[derive(Debug)]
pub struct Names {
    path: PathBuf,
    identity: disk::Identity,
    limit: u64,
    bytes: AtomicU64,
    /// The last write failed, perhaps half-way: the next line starts on a fresh one.
    broken: AtomicBool,
    /// Lines still to be dropped without a try, after a failure.
    backoff: AtomicU32,
    sql: Seen,
    threads: AtomicU32,
    outside: AtomicU32,
    /// When this log began: nanoseconds of `CLOCK_MONOTONIC`.
    born: u64,
    files: Mutex<Vec<FileKey>>,
    libraries: Mutex<Vec<u32>>,
}

impl Names {
    /// Creates the file with its first line, which describes this process.
    pub fn create(path: &Path, started_ns: u64, forked: bool, policy: SqlPolicy) -> io::Result<Names> {
        let mut scratch = crate::memory::Mapping::new(process::SCRATCH).ok_or(io::ErrorKind::OutOfMemory)?;
        let facts = process::read(scratch.bytes());
        let line = super::texts::built("process", |line| facts.write(line, started_ns, forked, policy));
        let seen = Seen::new()?;
        let identity = disk::identity(&disk::create(path)?)?;
        let names = Names {
            path: path.to_owned(),
            identity,
            limit: MAX_BYTES.min(disk::size_limit()),
            bytes: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            backoff: AtomicU32::new(0),
            sql: seen,
            threads: AtomicU32::new(0),
            outside: AtomicU32::new(0),
            born: clock::monotonic_ns(),
            files: Mutex::new(Vec::new()),
            libraries: Mutex::new(Vec::new()),
        };
        names.write(&line).inspect_err(|_| {
            let _ = std::fs::remove_file(path);
        })?;
        Ok(names)
    }

    /// The file, to be read.
    pub fn open(&self) -> io::Result<std::fs::File> {
        disk::reopen(&self.path, self.identity)
    }

    /// Appends one line. After a failure, most of the next ones are dropped untried: a full disk stays full for a while.
    fn write(&self, line: &str) -> io::Result<()> {
        let backoff = self.backoff.load(Ordering::Relaxed);
        if backoff > 0 {
            self.backoff.store(backoff - 1, Ordering::Relaxed);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let before = self.bytes.fetch_add(line.len() as u64 + 1, Ordering::Relaxed);
        if before + line.len() as u64 + 1 > self.limit {
            self.bytes.store(self.limit, Ordering::Relaxed);
            return Err(io::ErrorKind::StorageFull.into());
        }
        let result = if self.broken.load(Ordering::Relaxed) {
            disk::append(&self.path, self.identity, format!("\n{line}").as_bytes())
        } else {
            disk::append(&self.path, self.identity, line.as_bytes())
        };
        self.broken.store(result.is_err(), Ordering::Relaxed);
        if result.is_err() {
            self.backoff.store(256, Ordering::Relaxed);
        }
        result
    }

    fn cap(&self, what: &str, limit: u64) -> io::Result<()> {
        self.write(&Line::new("cap").str("what", what).number("limit", limit).finish())
    }

    /// Names a thread.
    pub fn thread(&self, tid: u32, name: &[u8]) -> io::Result<()> {
        match self.threads.fetch_add(1, Ordering::Relaxed) {
            n if n < MAX_THREADS => self.write(&Line::new("thread").number("tid", tid).text("name", name).finish()),
            n if n == MAX_THREADS => self.cap("thread", MAX_THREADS.into()),
            _ => Ok(()),
        }
    }

    /// Names a SQL text of this many bytes in all, if it is new to this log.
    pub fn sql(&self, hash: u64, text: &[u8], len: usize) -> io::Result<()> {
        match self.sql.insert(hash) {
            Insert::Old | Insert::Full => Ok(()),
            Insert::New(n) if n < MAX_SQL => {
                let line = Line::new("sql").hex("sql", hash).text("text", text).number("len", len as u64).finish();
                let result = self.write(&line);
                if result.is_err() {
                    self.sql.forget(hash);
                }
                result
            }
            Insert::New(_) => self.cap("sql", MAX_SQL.into()),
        }
    }

    /// The number of a database, naming it and its library when they are new to this log. 0 past the cap.
    pub fn file(&self, library: &Library, path: &[u8]) -> (u32, io::Result<()>) {
        let stat = disk::stat(path);
        let key = FileKey { lib: library.number, identity: stat, path: path.to_vec() };
        // Poisoned means that a thread panicked here before; the list itself is whole either way.
        let mut files = self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(index) = files.iter().position(|known| *known == key) {
            return (index as u32 + 1, Ok(()));
        }
        let mut result = self.library(library);
        if files.len() >= MAX_FILES {
            if files.len() == MAX_FILES && files.try_reserve(1).is_ok() {
                files.push(FileKey { lib: 0, identity: None, path: Vec::new() });
                result = result.and(self.cap("file", MAX_FILES as u64));
            }
            return (0, result);
        }
        if let Err(error) = files.try_reserve(1) {
            return (0, Err(io::Error::other(error)));
        }
        files.push(key);
        let number = files.len() as u32;
        drop(files);
        let line = Line::new("file").number("file", number).number("lib", library.number).text("path", path);
        let line = match stat {
            Some((dev, ino)) => line.number("dev", dev).number("ino", ino),
            None => line.null("dev").null("ino"),
        };
        let line = match disk::file_system(path) {
            Some(name) => line.str("fs", &name),
            None => line.null("fs"),
        };
        (number, result.and(self.write(&line.finish())))
    }

    /// The path of the database with this number.
    pub fn database(&self, number: u32) -> Option<Vec<u8>> {
        let files = self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Some(files.get((number as usize).checked_sub(1)?)?.path.clone())
    }

    /// Notes that recording was stopped, or goes on.
    pub fn recording(&self, on: bool, ticks: u64) -> io::Result<()> {
        self.write(&Line::new("recording").bool("on", on).hex("ticks", ticks).finish())
    }

    /// Device and inode of the database with this number, where `stat` told them when it was named.
    pub fn identity(&self, number: u32) -> Option<(u64, u64)> {
        let files = self.files.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        files.get((number as usize).checked_sub(1)?)?.identity
    }

    /// Whether there is room for another answer of `/proc/locks` at this time. Past the cap nobody is asked any more, and one line says so.
    pub fn has_room_outside(&self, now: u64) -> bool {
        let seconds = u32::try_from(now.saturating_sub(self.born) / 1_000_000_000).unwrap_or(u32::MAX);
        self.outside.load(Ordering::Relaxed) < OUTSIDE_AT_ONCE.saturating_add(seconds).min(MAX_OUTSIDE)
    }

    /// Keeps an answer of `/proc/locks`: a finished line.
    pub fn outside(&self, line: &str) -> io::Result<()> {
        match self.outside.fetch_add(1, Ordering::Relaxed) + 1 {
            n if n < MAX_OUTSIDE => self.write(line),
            n if n == MAX_OUTSIDE => self.write(line).and(self.cap("outside", MAX_OUTSIDE.into())),
            _ => Ok(()),
        }
    }

    fn library(&self, library: &Library) -> io::Result<()> {
        let mut libraries = self.libraries.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if libraries.contains(&library.number) {
            return Ok(());
        }
        libraries.push(library.number);
        drop(libraries);
        let line = Line::new("library")
            .number("lib", library.number)
            .str("sqlite", library.sqlite)
            .str("source_id", library.source_id)
            .texts(
                "options",
                library
                    .options
                    .map(|get| {
                        (0..)
                            .map(|n| unsafe { get(n) })
                            .take_while(|o| !o.is_null())
                            .map(|o| unsafe { std::ffi::CStr::from_ptr(o) }.to_bytes())
                            .collect::<Vec<_>>()
                    })
                    .as_deref(),
            )
            .str("vfs", library.vfs)
            .str("base", library.base)
            .bool("linked", library.linked);
        self.write(&line.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn past_the_cap_there_is_one_line_and_then_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.names");
        let names = Names::create(&path, 0, false, SqlPolicy::Text).unwrap();
        for tid in 0..MAX_THREADS + 10 {
            names.thread(tid, b"t").unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().filter(|line| line.contains(r#""t":"thread""#)).count(), MAX_THREADS as usize);
        assert_eq!(text.lines().filter(|line| line.contains(r#"{"t":"cap","what":"thread","limit":4096}"#)).count(), 1);
    }

    #[test]
    fn answers_of_the_kernel_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.names");
        let names = Names::create(&path, 0, false, SqlPolicy::Text).unwrap();
        let after = |seconds: u64| names.born + seconds * 1_000_000_000;
        for asked in 0..MAX_OUTSIDE {
            assert_eq!(names.has_room_outside(after(0)), asked < OUTSIDE_AT_ONCE);
            assert!(names.has_room_outside(after(u64::from(MAX_OUTSIDE))));
            names.outside("{}\n").unwrap();
        }
        assert!(!names.has_room_outside(after(1 << 30)));
        names.outside("{}\n").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().filter(|line| *line == "{}").count(), MAX_OUTSIDE as usize);
        assert_eq!(text.lines().filter(|line| line.contains(r#"{"t":"cap","what":"outside","limit":4096}"#)).count(), 1);
    }

    #[test]
    fn a_database_is_named_once_a_library() {
        let dir = tempfile::tempdir().unwrap();
        let (path, db) = (dir.path().join("x.names"), dir.path().join("app.db"));
        std::fs::write(&db, "").unwrap();
        let names = Names::create(&path, 0, false, SqlPolicy::Text).unwrap();
        let library = |number| Library {
            number,
            sqlite: "3.0.0",
            source_id: "",
            options: None,
            vfs: "locktrace",
            base: "unix",
            linked: false,
        };
        let bytes = db.as_os_str().as_bytes();
        assert_eq!(names.file(&library(1), bytes).0, 1);
        assert_eq!(names.file(&library(1), bytes).0, 1);
        assert_eq!(names.file(&library(2), bytes).0, 2);
        // Replaced under the same name: another database.
        std::fs::write(dir.path().join("new"), "").unwrap();
        std::fs::rename(dir.path().join("new"), &db).unwrap();
        assert_eq!(names.file(&library(1), bytes).0, 3);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().filter(|line| line.contains(r#""t":"library""#)).count(), 2);
        assert_eq!(text.lines().filter(|line| line.contains(r#""t":"file""#)).count(), 3);
    }
}
