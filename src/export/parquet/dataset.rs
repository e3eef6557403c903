//! Where rows go: `TABLE/host=…/day=…/TRACE.N.parquet`, and which files of an earlier export of the same trace they replace.
//!
//! Input: rows with their host and day. Output: files. They have hidden names until all are whole, so that nobody reads half an export. `TRACE` is the id of
//! the host's first log in the trace, so that exports of several traces into one directory stand side by side, and another export of the same one, grown
//! or not, takes the place of the first. Few files are open at once: one that was closed and is needed again goes on as the next `N`.
#![forbid(unsafe_code)]

use super::part::{self, Part};
use super::tables::{ALL, Table};
use crate::export::unfinished::Unfinished;
use crate::trace::{Log, LogId, Trace};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Files of one table that are open at once.
const OPEN: usize = 4;

/// What stands for a host or a day that is not known (Hive's name for NULL).
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Bytes of a host's name in a path; longer ones are cut.
const LONGEST: usize = 150;

/// Days since 1970; `None` where the time is not known.
pub(super) type Day = Option<i64>;

/// A host of the trace.
struct Host {
    /// As it is in paths.
    name: String,
    /// What the names of its files begin with.
    trace: String,
}

struct Open {
    host: usize,
    day: Day,
    part: Part,
    used: u64,
}

#[derive(Default)]
struct Files {
    open: Vec<Open>,
    /// How many there are of each host and day.
    counts: HashMap<(usize, Day), u32>,
}

/// See the module.
pub(super) struct Dataset {
    root: PathBuf,
    hosts: Vec<Host>,
    /// The host of each log.
    of_log: Vec<usize>,
    files: [Files; ALL.len()],
    /// Files that wait for their names.
    partial: Vec<(PathBuf, PathBuf)>,
    unfinished: Unfinished,
    clock: u64,
    /// What every file says about the trace.
    pub about: Vec<(&'static str, String)>,
}

impl Dataset {
    pub(super) fn new(root: &Path, trace: &Trace, unfinished: Unfinished) -> io::Result<Dataset> {
        unfinished.create_dir(root)?;
        let (mut hosts, mut of_log): (Vec<Host>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut firsts: Vec<&Log> = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for log in trace.logs() {
            let name = log.names.host().filter(|host| !host.is_empty()).map_or_else(|| NULL.to_owned(), escaped);
            let index = *known.entry(name.clone()).or_insert(hosts.len());
            if index == hosts.len() {
                hosts.push(Host { name, trace: String::new() });
                firsts.push(log);
            }
            if (log.first.real_ns, &log.id) < (firsts[index].first.real_ns, &firsts[index].id) {
                firsts[index] = log;
            }
            of_log.push(index);
        }
        for (host, first) in hosts.iter_mut().zip(firsts) {
            // A dot ends it.
            host.trace = escaped(&first.id).replace('.', "%2E");
        }
        let files = [(); ALL.len()].map(|()| Files::default());
        Ok(Dataset { root: root.to_owned(), hosts, of_log, files, partial: Vec::new(), unfinished, clock: 0, about: Vec::new() })
    }

    /// The number of a log's host.
    pub(super) fn host(&self, log: LogId) -> usize {
        self.of_log.get(log.0 as usize).copied().unwrap_or(0)
    }

    /// Adds a row.
    pub(super) fn push(&mut self, table: usize, log: LogId, day: Day, row: &[part::Cell<'_, '_>]) -> io::Result<()> {
        let host = self.host(log);
        self.clock += 1;
        let open = &mut self.files[table].open;
        let found = open.iter().position(|open| open.host == host && open.day == day);
        let index = match found {
            Some(index) => index,
            None => self.begin(table, host, day)?,
        };
        let open = &mut self.files[table].open[index];
        open.used = self.clock;
        open.part.push(row).map_err(|error| self.failed(&error))
    }

    /// Begins a file; closes another one where too many are open.
    fn begin(&mut self, table: usize, host: usize, day: Day) -> io::Result<usize> {
        let files = &mut self.files[table];
        if files.open.len() >= OPEN
            && let Some((index, _)) = files.open.iter().enumerate().min_by_key(|(_, open)| open.used)
        {
            let oldest = files.open.swap_remove(index);
            oldest.part.finish().map_err(|error| self.failed(&error))?;
        }
        let count = self.files[table].counts.entry((host, day)).or_default();
        let number = *count;
        *count += 1;
        let Host { name, trace } = &self.hosts[host];
        let dir = self.root.join(ALL[table].name).join(format!("host={name}")).join(format!("day={}", date(day)));
        self.unfinished.create_dir(&dir)?;
        let whole = dir.join(format!("{trace}.{number}.parquet"));
        // Readers leave out names that begin with a dot.
        let partial = dir.join(format!(".{trace}.{number}.parquet.partial"));
        let file = self.unfinished.create(&partial)?;
        self.partial.push((partial, whole));
        let part = Part::new(ALL[table], file, &self.about).map_err(|error| self.failed(&error))?;
        let open = &mut self.files[table].open;
        open.push(Open { host, day, part, used: self.clock });
        Ok(open.len() - 1)
    }

    /// Ends all files, gives them their names, and removes those of an earlier export of the same trace.
    pub(super) fn finish(&mut self, day: Day) -> io::Result<()> {
        for table in 0..ALL.len() {
            if self.files[table].counts.is_empty() {
                // So that every table can be read, and says what its columns are.
                self.begin(table, 0, day)?;
            }
            for open in std::mem::take(&mut self.files[table].open) {
                open.part.finish().map_err(|error| self.failed(&error))?;
            }
        }
        let earlier = self.earlier()?;
        let partial = std::mem::take(&mut self.partial);
        self.unfinished.finish(|| {
            let mut written = 0;
            for (partial, whole) in partial {
                let size = fs::metadata(&partial).and_then(|meta| fs::rename(&partial, &whole).map(|()| meta.len()));
                written += size.map_err(|error| said(&whole, &error))?;
            }
            for file in earlier {
                fs::remove_file(&file).map_err(|error| said(&file, &error))?;
                // The day may have been its only one.
                file.parent().map(fs::remove_dir);
            }
            Ok(written)
        })?;
        Ok(())
    }

    /// The files of an earlier export of this trace whose names are not used again; of one that was killed, too.
    fn earlier(&self) -> io::Result<Vec<PathBuf>> {
        let mut earlier = Vec::new();
        for (table, files) in ALL.iter().zip(&self.files) {
            for (index, host) in self.hosts.iter().enumerate() {
                let dir = self.root.join(table.name).join(format!("host={}", host.name));
                let days = match fs::read_dir(&dir) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    days => days.map_err(|error| said(&dir, &error))?,
                };
                for day in days {
                    let day = day.map_err(|error| said(&dir, &error))?.path();
                    let Ok(names) = fs::read_dir(&day) else { continue };
                    for name in names.flatten() {
                        let path = name.path();
                        let name = name.file_name();
                        let Some(name) = name.to_str() else { continue };
                        if left(&path, &host.trace) && !self.partial.iter().any(|(partial, _)| *partial == path) {
                            earlier.push(path);
                            continue;
                        }
                        let Some(number) = number(name, &host.trace) else { continue };
                        let used = files
                            .counts
                            .iter()
                            .any(|(&(of, on), &count)| of == index && number < count && day.ends_with(format!("day={}", date(on))));
                        if !used {
                            earlier.push(path);
                        }
                    }
                }
            }
        }
        Ok(earlier)
    }

    fn failed(&self, error: &dyn std::fmt::Display) -> io::Error {
        said(&self.root, error)
    }
}

impl Drop for Dataset {
    fn drop(&mut self) {
        self.unfinished.remove();
    }
}

/// The number of a file of this trace.
fn number(name: &str, trace: &str) -> Option<u32> {
    name.strip_prefix(trace)?.strip_prefix('.')?.strip_suffix(".parquet")?.parse().ok()
}

/// Whether nobody writes this unfinished file of this trace any more. (One that goes on has a lock on it.)
fn left(path: &Path, trace: &str) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix('.')?.strip_suffix(".partial"));
    name.is_some_and(|name| number(name, trace).is_some()) && File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// The table with this place among all.
pub(super) fn place(table: &Table) -> usize {
    ALL.iter().position(|one| one.name == table.name).unwrap_or(0)
}

/// The day of a time in nanoseconds since 1970.
pub(super) fn day(ns: Option<i64>) -> Day {
    ns.map(|ns| ns.div_euclid(86_400_000_000_000))
}

fn date(day: Day) -> String {
    let Some(day) = day.and_then(|day| u64::try_from(day).ok()) else { return NULL.to_owned() };
    let midnight = std::time::UNIX_EPOCH + std::time::Duration::from_secs(day * 86_400);
    humantime::format_rfc3339_seconds(midnight).to_string().chars().take(10).collect()
}

/// A name as a part of a path, so that readers of Hive's layout give it back: what a path or they take for something else as `%XX`.
fn escaped(name: &str) -> String {
    use std::fmt::Write;
    let mut out = String::new();
    for (at, c) in name.char_indices() {
        if out.len() > LONGEST {
            // Names that differ only behind that stay apart.
            let _ = write!(out, "~{:016x}", shim::format::sql_hash(name.as_bytes()));
            break;
        }
        let plain = !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '~') || (c == '_' && at > 0);
        // Not `.` and `..`, and no hidden files.
        if plain && !(c == '.' && at == 0) && !c.is_control() {
            out.push(c);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

fn said(path: &Path, error: &dyn std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parts_of_paths() {
        assert_eq!(escaped("web-1.eu_x"), "web-1.eu_x");
        assert_eq!(escaped("../a b/c=%+"), "%2E.%2Fa%20b%2Fc%3D%25%2B");
        assert_eq!(escaped("\u{e9}\0\u{85}"), "\u{e9}%00%C2%85");
        assert_eq!(escaped(NULL), "%5F_HIVE_DEFAULT_PARTITION__");
        let long = [escaped(&"x".repeat(1000)), escaped(&("x".repeat(999) + "y"))];
        assert!(long[0] != long[1] && long[0].len() < 200, "{long:?}");
    }

    #[test]
    fn days_are_those_of_utc() {
        assert_eq!(date(day(Some(1_700_000_000_000_000_000))), "2023-11-14");
        assert_eq!(date(day(Some(86_399_999_999_999))), "1970-01-01");
        assert_eq!(date(day(Some(i64::MAX))), "2262-04-11");
        assert_eq!(date(day(None)), NULL);
    }

    #[test]
    fn files_of_a_trace_are_known_by_name() {
        assert_eq!(number("1-a.0.parquet", "1-a"), Some(0));
        assert_eq!(number("1-ab.0.parquet", "1-a"), None);
        assert_eq!(number("1-a.0.parquet.bak", "1-a"), None);
    }
}
